"""How options are spelled that several commands of `bench` share."""

from typing import Literal

from cyclopts import Parameter

Several = Parameter(negative="", consume_multiple=True)
"""Any number of values behind one name."""

Flag = Parameter(negative="")
"""There or not there, without a "--no-" form."""

Half = Literal["even", "odd"]
"""Birds of even or odd index."""
