"""Every error that counterpoint raises on purpose.

::

    CounterpointError
    ├── BadInput (ValueError)        what the caller gave cannot be used
    │   ├── ImageError               a picture that cannot be read
    │   ├── PointError               a point outside its picture
    │   └── UnknownName              no such model, tap, option; says the nearest known ones
    ├── ModelError (RuntimeError)    a model that cannot be loaded or run
    │   ├── MissingWeights           its weights are not on this machine
    │   └── WeightsMismatch          the checkpoint is for another network
    ├── MissingExtra (ImportError)   an optional dependency is not installed; says which extra
    └── StorageError (OSError)       files that cannot be written or read back
        └── FeatureFileError         a feature file that is truncated, foreign or inconsistent

Each message is one line: what was expected, what came, what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

_SHOWN = 24
"""Known names in a message, at most."""


class CounterpointError(Exception):
    """Base of every error raised on purpose; survives pickling, so workers can send it home."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args), self.__dict__ or None


def _again(kind: type[CounterpointError], args: tuple[Any, ...]) -> CounterpointError:
    """The error with its message as it is, past constructors that would compose it anew."""
    return kind.__new__(kind, *args)


class BadInput(CounterpointError, ValueError):
    """What the caller gave cannot be used."""


class ImageError(BadInput):
    """A picture that cannot be read."""


class PointError(BadInput):
    """A point that lies outside its picture."""


class UnknownName(BadInput):
    """A name that nothing answers to.

    >>> UnknownName("model", "smal", ["small", "sd21"])
    UnknownName("unknown model 'smal': did you mean 'small'? Known: small, sd21")
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        near = get_close_matches(str(name), known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        shown = known if len(known) <= _SHOWN else [*known[:_SHOWN], f"{len(known) - _SHOWN} more"]
        super().__init__(f"unknown {kind} {name!r}: {hint}Known: {', '.join(shown)}")


class ModelError(CounterpointError, RuntimeError):
    """A model that cannot be loaded or run."""


class MissingWeights(ModelError):
    """The weights of a model are not on this machine."""


class WeightsMismatch(ModelError):
    """A checkpoint whose tensors do not fit the network; says which keys or shapes differ."""


class MissingExtra(CounterpointError, ImportError):
    """An optional dependency is not installed.

    >>> MissingExtra("sd", "Stable Diffusion backbones")
    MissingExtra("Stable Diffusion backbones need an extra: pip install 'counterpoint[sd]'")
    """

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} need an extra: pip install 'counterpoint[{extra}]'")


class StorageError(CounterpointError, OSError):
    """A file that cannot be written or read back."""


class FeatureFileError(StorageError):
    """A feature file that is truncated, foreign or inconsistent."""
