"""What a model's network looks like from outside: its taps, its size; known without its weights.

Models of the zoo are described by a table in the package, made from their published configurations
by ``benchmarks/backbones.py``; whatever lies on this machine describes itself.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from math import ceil, lcm, prod
from typing import Any

from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.spec import ModelSpec
from counterpoint.backbones.zoo import ZOO
from counterpoint.geometry import SizeWH


@dataclass(frozen=True)
class TapLayout:
    """A place where features can be read.

    Attributes:
        name: what a person types.
        channels: length of the feature vectors.
        stride_px: pixels of the model's input per cell.
    """

    name: str
    channels: int
    stride_px: int

    def grid(self, input_wh: SizeWH) -> SizeWH:
        """Columns and rows of the features of an input."""
        return ceil(input_wh[0] / self.stride_px), ceil(input_wh[1] / self.stride_px)


@dataclass(frozen=True)
class NetworkLayout:
    """A network from outside.

    Attributes:
        taps: in the order of the forward pass.
        multiple: both sides of the input are padded to a multiple of this, pixels.
        tap: name of the default one.
        parameters: of all networks that features need, text encoders left out; 0: not known.
        kept: of these, how many are in memory for features at the default tap; 0: not known.
    """

    taps: tuple[TapLayout, ...]
    multiple: int
    tap: str
    parameters: int = 0
    kept: int = 0

    def padded(self, size_wh: SizeWH) -> SizeWH:
        """The model's input for a size, with its padding."""
        width, height = (ceil(side / self.multiple) * self.multiple for side in size_wh)
        return width, height


@dataclass(frozen=True)
class Grid:
    """Where a tap's features of an input lie.

    Attributes:
        tap: the tap.
        input_wh: the model's input with its padding, pixels.
        cells_wh: columns and rows of the features.
    """

    tap: TapLayout
    input_wh: SizeWH
    cells_wh: SizeWH


def grids(spec: ModelSpec, size_wh: SizeWH | None = None) -> list[Grid]:
    """Every tap's grid for an input of a size; no weights are loaded.

    Args:
        spec: the model. Of a fusion, a tap is a pair as in `Fusion.taps`, on the finer grid.
        size_wh: as asked for, before padding; by default the model's own, each its own in a fusion.

    Raises:
        MissingWeights: neither in the table nor on this machine.
    """
    if not spec.members:
        layout = layout_of(spec)
        input_wh = layout.padded(size_wh or spec.size_wh)
        return [Grid(tap, input_wh, tap.grid(input_wh)) for tap in layout.taps]
    members = [spec_of(name) for name in spec.members]
    first, second = (grids(member, size_wh) for member in members)
    a, b = (
        next(grid for grid in found if grid.tap.name == layout_of(member).tap)
        for member, found in zip(members, (first, second), strict=True)
    )
    return [
        *(_finer(grid, b) for grid in first),
        *(_finer(a, grid) for grid in second if grid != b),
    ]


def _finer(a: Grid, b: Grid) -> Grid:
    """Both as one, on the grid that `FeatureMap.concat` chooses."""
    finer = a if prod(a.cells_wh) >= prod(b.cells_wh) else b
    name, channels = f"{a.tap.name},{b.tap.name}", a.tap.channels + b.tap.channels
    return replace(finer, tap=TapLayout(name, channels, finer.tap.stride_px))


def layout_of(spec: ModelSpec) -> NetworkLayout:
    """A model's layout; no weights are loaded.

    Raises:
        MissingWeights: neither in the table nor on this machine.
    """
    if spec.members:
        return _fused(spec)
    return published().get(_published_name(spec)) or _of_files(spec)


def _published_name(spec: ModelSpec) -> str:
    """The zoo's name of a model that was asked for by a hub id."""
    rows = (row.name for row in ZOO.values() if spec.name in row.hub_ids)
    return next(rows, spec.name)


@cache
def published() -> dict[str, NetworkLayout]:
    """The layouts of the zoo's models, by name."""
    text = files("counterpoint.backbones").joinpath("layouts.json").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = json.loads(text)
    return {name: _from_json(name, entries) for name, entries in table.items()}


def _from_json(name: str, entries: dict[str, Any]) -> NetworkLayout:
    taps = tuple(TapLayout(*tap) for tap in entries["taps"])
    sizes = (entries[key] for key in ("parameters", "kept"))
    return NetworkLayout(taps, entries["multiple"], ZOO[name].tap, *sizes)


def _of_files(spec: ModelSpec) -> NetworkLayout:
    """From the files on this machine: networks are built without memory."""
    import torch

    from counterpoint.backbones import load_spec

    model = load_spec(spec, torch.device("cpu"), torch.float32)
    taps = tuple(TapLayout(tap.name, tap.channels, tap.stride_px) for tap in model.taps)
    return NetworkLayout(taps, model.multiple, model.spec.tap)


def _fused(spec: ModelSpec) -> NetworkLayout:
    """Both models as one; sizes are not known unless both models' are."""
    a, b = (layout_of(spec_of(name)) for name in spec.members)
    known = a.parameters and b.parameters
    return NetworkLayout(
        taps=tuple(grid.tap for grid in grids(spec)),
        multiple=lcm(a.multiple, b.multiple),
        tap=f"{a.tap},{b.tap}",
        parameters=a.parameters + b.parameters if known else 0,
        kept=a.kept + b.kept if known else 0,
    )
