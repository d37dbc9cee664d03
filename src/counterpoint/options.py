"""One typed configuration for extracting features, shared by the API and every command."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from operator import index
from typing import Any, Literal, cast, get_args

from counterpoint.errors import BadInput, UnknownName

Fit = Literal["squash", "pad", "keep"]
Dtype = Literal["float32", "bfloat16", "float16"]
Combine = Literal["concat", "mean"]
Noise = Literal["added", "zero", "none"]
Size = str | int | tuple[int, int]
Steps = int | str | tuple[int, ...]

TIMESTEPS = 1000
"""Training time steps of every discrete diffusion model here; ``t`` runs from 0 to 999."""


_KINDS = (("fit", Fit), ("dtype", Dtype), ("combine", Combine), ("noise", Noise))
_ALWAYS = ("combine", "noise")  # never None


@dataclass(frozen=True, kw_only=True)
class Options:
    """How features are extracted. ``None`` stands for the model's own default.

    Several time steps are also a tuple, (50, 150), and a size an int or (width, height).

    Attributes:
        model: a name known to `counterpoint models`, a folder, or a hub id ("owner/name").
        t: diffusion time step, 0 (clean) to 999 (pure noise); 50+150 for several. By default, as
            tap, ensemble, prompt, size and fit, the model's own; see `counterpoint models show`.
        tap: where features are read: up:1, up:1.layer:7; up:1+up:2 for several.
        combine: several taps or time steps: "concat" normalises and concatenates them, each with
            the same weight; "mean" normalises and averages them.
        ensemble: how many draws of noise are averaged.
        noise: what a diffusion model is shown at time step t. "added": the picture with noise,
            x_t = a x_0 + s e; "zero": a x_0, the mean of that; "none": x_0, the picture as it is.
            Nothing is drawn for the last two.
        prompt: text condition, for models that take one.
        size: model input in pixels: 768, or 960x540 (width x height).
        fit: "squash" resizes to the size; "pad" keeps the aspect and pads; "keep" leaves the
            picture's own size and pads only to what the network needs.
        seed: of the noise; the same seed and picture give the same features.
        device: "cpu", "cuda", "cuda:1", "mps"; by default the best there is.
        dtype: of the network; by default float32 on the CPU, on CUDA what suits the model.
    """

    model: str = "small"
    t: Steps | None = None
    tap: str | None = None
    combine: Combine = "concat"
    ensemble: int | None = None
    noise: Noise = "added"
    prompt: str | None = None
    size: Size | None = None
    fit: Fit | None = None
    seed: int = 0
    device: str | None = None
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        if self.t is not None:
            object.__setattr__(self, "t", _steps(self.t))
        for name in ("ensemble", "seed"):
            # numpy's integers become Python's, so that provenance stays plain JSON.
            if (number := getattr(self, name)) is not None or name == "seed":
                object.__setattr__(self, name, _whole(number, name))
        if self.ensemble is not None and self.ensemble < 1:
            raise BadInput(f"expected an ensemble of at least 1, got {self.ensemble}")
        for name, kinds in _KINDS:
            value = getattr(self, name)
            if value not in get_args(kinds) and (value is not None or name in _ALWAYS):
                raise UnknownName(name, cast("str", value), get_args(kinds))
        if self.noise != "added" and (self.ensemble or 1) > 1:
            raise BadInput(
                f"expected an ensemble of 1 with noise {self.noise!r}, which draws nothing, "
                f"got {self.ensemble}"
            )
        if self.size is not None:
            parse_size(self.size)

    @property
    def timesteps(self) -> tuple[int, ...] | None:
        """The time steps, one or several."""
        if self.t is None:
            return None
        return self.t if isinstance(self.t, tuple) else (index(self.t),)  # pyright: ignore[reportArgumentType]

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """The size as (width, height)."""
        return None if self.size is None else parse_size(self.size)

    def but(self, **changes: Any) -> "Options":
        """A copy with some options changed.

        Raises:
            UnknownName: no such option; names the nearest.
        """
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise UnknownName("option", name, known)
        return replace(self, **changes)


def _steps(t: Any) -> int | tuple[int, ...]:
    """Time steps of any spelling: one as an int, several as a tuple."""
    if isinstance(t, str):
        try:
            given: list[Any] = [int(part) for part in t.split("+")]
        except ValueError as error:
            raise BadInput(f"expected t as a number or like 50+150, got {t!r}") from error
    else:
        given = list(t) if isinstance(t, Iterable) else [t]
    steps = tuple(dict.fromkeys(_whole(step, "t") for step in given))
    wrong = [step for step in steps if not 0 <= step < TIMESTEPS]
    if wrong or not steps:
        got = wrong[0] if wrong else "none"
        raise BadInput(f"expected t from 0 to {TIMESTEPS - 1}, got {got}")
    return steps[0] if len(steps) == 1 else steps


def _whole(number: Any, name: str) -> int:
    """An integer of any kind (Python's, numpy's) as Python's."""
    try:
        return index(number)
    except TypeError as error:
        raise BadInput(f"expected a whole number as {name}, got {number!r}") from error


def parse_size(size: Size) -> tuple[int, int]:
    """A size as (width, height).

    >>> parse_size("768"), parse_size("960x540"), parse_size((64, 32))
    ((768, 768), (960, 540), (64, 32))
    """
    try:
        if isinstance(size, str):
            parts = [int(part) for part in size.lower().split("x")]
        else:
            parts = [index(side) for side in (size if isinstance(size, Iterable) else [size])]
    except (TypeError, ValueError):
        parts = []
    if len(parts) not in (1, 2) or any(not 1 <= side <= 16384 for side in parts):
        raise BadInput(f"expected a size like 768 or 960x540 (sides 1 to 16384), got {size!r}")
    return parts[0], parts[-1]
