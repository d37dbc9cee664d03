"""Packages whose names are there at once, and whose modules are imported when a name is used."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Args:
        package: its ``__name__``.
        homes: each public name, and the module that has it, relative to the package.

    >>> get, names = lazy_names("counterpoint", {"BadInput": "errors"})
    >>> get("BadInput").__module__, names()
    ('counterpoint.errors', ['BadInput'])
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        vars(sys.modules[package])[name] = value  # the next look-up does not come here
        return value

    return get, lambda: sorted(homes)
