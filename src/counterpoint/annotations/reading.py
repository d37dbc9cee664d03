"""What the readers share: problems told or collected, and checked entries of foreign documents."""

from collections.abc import Generator
from contextlib import contextmanager
from math import isfinite
from textwrap import shorten
from typing import Any, cast

import numpy as np

from counterpoint.errors import BadInput, MissingExtra
from counterpoint.geometry import Points, SizeWH, inside

SLACK_PX = 1.0
"""How far beyond the picture's edge an annotated point may lie; it is then set on the edge."""


class Report:
    """Problems of a file: each raises, or is noted and its entry left out.

    Args:
        skip: note and go on.
    """

    def __init__(self, skip: bool = False) -> None:
        self._skip = skip
        self.lines: list[str] = []

    def add(self, problem: str) -> None:
        """Tell of an entry that cannot be used.

        Raises:
            BadInput: unless problems are noted.
        """
        if not self._skip:
            raise BadInput(f"{problem}; mend it, or leave such entries out with --skip-bad")
        self.lines.append(problem)

    @contextmanager
    def entry(self, what: str) -> Generator[None]:
        """Around reading one entry: whatever is wrong with it becomes a problem of ``what``."""
        try:
            yield
        except MissingExtra:
            raise
        except BadInput as error:
            self.add(f"{what}: {error}")
        except (KeyError, IndexError) as error:
            self.add(f"{what}: expected an entry {error}, got none")
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            self.add(f"{what}: {shorten(str(error), 120)}")


def mapping(value: Any, what: str) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        BadInput: something else.
    """
    if not isinstance(value, dict):
        raise BadInput(f"expected an object as {what}, got {shorten(repr(value), 60)}")
    return cast("dict[str, Any]", value)


def listing(value: Any, what: str) -> list[Any]:
    """A list of JSON.

    Raises:
        BadInput: something else.
    """
    if not isinstance(value, list):
        raise BadInput(f"expected a list as {what}, got {shorten(repr(value), 60)}")
    return cast("list[Any]", value)


def number(value: Any, what: str) -> float:
    """A finite number, also as text.

    Raises:
        BadInput: something else.
    """
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise BadInput(f"expected a number as {what}, got {shorten(repr(value), 40)}") from error
    if isinstance(value, bool) or not isfinite(found):
        raise BadInput(f"expected a finite number as {what}, got {value!r}")
    return found


def size_of(width: Any, height: Any) -> SizeWH | None:
    """A picture's size, or None where its file does not state it.

    Raises:
        BadInput: sizes below 1.
    """
    if width in (None, "", 0, "0") and height in (None, "", 0, "0"):
        return None
    w, h = round(number(width, "width")), round(number(height, "height"))
    if min(w, h) < 1:
        raise BadInput(f"expected a picture of at least 1 x 1, got {w} x {h}")
    return w, h


def on_picture(
    points_px: Points,
    visibility: np.ndarray,
    names: tuple[str, ...],
    size_wh: SizeWH | None,
) -> Points:
    """Points on their picture; those beyond its edge by less than the slack are set on it.

    Raises:
        BadInput: a point farther outside.
    """
    if size_wh is None:
        return points_px
    outside = ~inside(points_px, size_wh, slack_px=SLACK_PX) & (visibility > 0)
    if outside.any():
        first = int(np.argmax(outside))
        x, y = points_px[first]
        raise BadInput(
            f"expected key point {names[first]!r} inside its picture of "
            f"{size_wh[0]} x {size_wh[1]}, got ({x:g}, {y:g})"
        )
    return points_px.clip(0, np.asarray(size_wh) - 1.0)


def plain(value: float) -> int | float:
    """A number for JSON: two decimals at most, whole where it is."""
    rounded = round(float(value), 2)
    return int(rounded) if rounded == int(rounded) else rounded
