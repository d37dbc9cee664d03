"""Co-segmentation: like parts of several pictures, found together, in the same colours.

After the co-segmentation of DINO-ViT features (Amir et al. 2021) and section 4 of DINOv2 (Oquab et
al. 2023), here on any feature maps:

1. The first principal component of all cells tells foreground from background; which side is
   which, the pictures' borders say.
2. Foreground cells, projected on their own principal components, are clustered by k-means.
3. A cluster is *salient* if enough of the pictures have it and it is not a margin of theirs: many
   networks mark the cells at a picture's edge, and those are alike everywhere. Others are left out
   of label maps.

What is fitted is a `PartModel`: linear projections and centres, one small file, which labels any
further map of the same kind. Its scores are linear in the features, so labels at full resolution
are those of bilinearly upsampled features, although only scores are upsampled.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from counterpoint.errors import BadInput, FeatureFileError
from counterpoint.features import FeatureMap
from counterpoint.files import save_tensors
from counterpoint.provenance import Provenance
from counterpoint.tasks.parts.components import (
    border_cells,
    outward_sign,
    principal_axes,
    require_channels,
    unit_cells,
    valid_bounds,
    valid_cells,
)
from counterpoint.tasks.parts.kmeans import choose_k, kmeans
from counterpoint.tasks.parts.upsample import upsampled

FORMAT = "counterpoint/parts/1"
METADATA_KEY = "counterpoint"

MAX_PARTS = 255
"""Of a label map: 8 bits, 0 for the background."""

Grid = Int[np.ndarray, "grid_rows grid_columns"]
LabelMap = UInt8[np.ndarray, "height width"]
"""0: no part; parts count from 1."""

_MOST_CELLS = 60_000
"""That k-means sees; drawn evenly from the pictures where there are more."""

_PRESENT = 0.02
"""Share of a picture's foreground from which on a part counts as there."""


@dataclass(frozen=True, kw_only=True)
class Segmenting:
    """How parts are found.

    Attributes:
        k: how many parts, 1 to 255; None: by the silhouette, 2 to 10.
        foreground: tell foreground from background by the first component, and look for parts in
            the foreground alone.
        votes: a part is salient if at least this share of the pictures has it, 0 to 1.
        components: principal components that are clustered.
        seed: of the starts of k-means.
    """

    k: int | None = 8
    foreground: bool = True
    votes: float | int = 0.5
    components: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.k is not None and not 1 <= self.k <= MAX_PARTS:
            raise BadInput(f"expected 1 to {MAX_PARTS} parts, got {self.k}")
        if not 0 <= self.votes <= 1 or self.components < 1:
            raise BadInput(
                "expected votes from 0 to 1 and at least 1 component, "
                f"got {self.votes} and {self.components}"
            )


@dataclass(frozen=True, eq=False)
class PartModel:
    """What tells parts from features.

    Attributes:
        mean: (channels,), of all cells.
        axis: (channels,), foreground where ``(cell - mean) @ axis > 0``; None: everywhere.
        inner_mean: (channels,), of the foreground's cells.
        axes: (channels, components), theirs.
        centres: (parts, components), largest part first.
        salient: (parts,), which parts enough of the pictures have.
        present: (parts,), share of the pictures that have each.
        margin: (parts,), which lie along the pictures' edges: of their cells, more are outermost
            ones than half way from chance to all. Never salient.
        provenance: of the maps it was fitted on; those it labels must be of the same kind.
    """

    mean: Float[Tensor, " channels"]
    axis: Float[Tensor, " channels"] | None
    inner_mean: Float[Tensor, " channels"]
    axes: Float[Tensor, "channels components"]
    centres: Float[Tensor, "parts components"]
    salient: Bool[np.ndarray, " parts"]
    present: Float[np.ndarray, " parts"]
    margin: Bool[np.ndarray, " parts"]
    provenance: Provenance

    @property
    def k(self) -> int:
        """How many parts, salient or not."""
        return len(self.centres)

    def labels(
        self,
        fmap: FeatureMap,
        mask: Bool[np.ndarray, "height width"] | None = None,
        *,
        all_parts: bool = False,
    ) -> LabelMap:
        """The part of each pixel of the picture, 0 for none.

        Args:
            fmap: of the picture, by the model and settings this was fitted with.
            mask: of the picture's size; pixels outside it have no part.
            all_parts: those that are not salient as well.

        Raises:
            BadInput: a map of another kind, a mask of another size, NaN or infinity.
        """
        self.require_kind(fmap)
        width, height = fmap.image_size_wh
        if mask is not None and mask.shape != (height, width):
            raise BadInput(
                f"expected a mask of the picture's size, {width} x {height}, "
                f"got {mask.shape[1]} x {mask.shape[0]}"
            )
        bounds = valid_bounds(valid_cells(fmap)) if fmap.valid is not None else None
        parts, inside = self._scores(unit_cells(fmap))
        kept = np.arange(1, self.k + 1, dtype=np.uint8)
        kept = kept if all_parts else np.where(self.salient, kept, 0).astype(np.uint8)
        found = np.empty((height, width), np.uint8)
        for rows, band in upsampled(torch.cat([parts, inside]), fmap, bounds):
            labels = kept[band[:-1].argmax(axis=0)]
            found[rows] = np.where(band[-1] > 0, labels, 0)
        return found if mask is None else np.where(mask, found, 0).astype(np.uint8)

    def grid_labels(self, fmap: FeatureMap) -> Grid:
        """The part of each cell, salient or not, 0 for background and cells that are not valid."""
        self.require_kind(fmap)
        parts, inside = self._scores(unit_cells(fmap))
        labels = parts.argmax(dim=0) + 1
        return torch.where((inside[0] > 0) & valid_cells(fmap), labels, 0).numpy()

    def _scores(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Of cells (rows, columns, channels): each part's score, and the foreground's.

        ``2 x.c - c.c`` orders centres c by their distance from x, and is linear in x.
        """
        inner = (cells - self.inner_mean) @ self.axes
        parts = inner @ (2 * self.centres.T) - self.centres.square().sum(dim=1)
        if self.axis is None:
            inside = torch.ones_like(parts[..., :1])
        else:
            inside = ((cells - self.mean) @ self.axis)[..., None]
        return parts.permute(2, 0, 1), inside.permute(2, 0, 1)

    def require_kind(self, fmap: FeatureMap) -> None:
        """See that a map was made as those this was fitted on.

        Raises:
            BadInput: by another model or with other settings; says which.
        """
        if fmap.channels != len(self.mean):
            raise BadInput(
                f"expected maps of {len(self.mean)} channels, as the parts were fitted on, "
                f"got {fmap.channels}; use the same model and tap"
            )
        differs = _difference(self.provenance, fmap.provenance)
        if differs:
            raise BadInput(f"expected maps of one kind, got {differs}; extract them alike")

    def save(self, path: str | Path, note: dict[str, Any] | None = None) -> None:
        """Write to one safetensors file, atomically.

        Args:
            path: the file.
            note: whatever else shall be kept, plain JSON; see `load_parts`.
        """
        tensors = {
            "mean": self.mean,
            "inner_mean": self.inner_mean,
            "axes": self.axes,
            "centres": self.centres,
            "salient": torch.from_numpy(self.salient.astype(np.uint8)),
            "present": torch.from_numpy(self.present.astype(np.float32)),
            "margin": torch.from_numpy(self.margin.astype(np.uint8)),
        }
        if self.axis is not None:
            tensors["axis"] = self.axis
        meta = {"format": FORMAT, "provenance": asdict(self.provenance), "note": note or {}}
        kept = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_tensors(path, kept, {METADATA_KEY: json.dumps(meta)})


def load_parts(path: str | Path) -> tuple[PartModel, dict[str, Any]]:
    """Read a fitted model back, and the note kept with it.

    Raises:
        FeatureFileError: missing, damaged, or not a file of fitted parts.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()[METADATA_KEY])
            if meta["format"] != FORMAT:
                raise FeatureFileError(f"expected format {FORMAT} in {path}, got {meta['format']}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model = PartModel(
            tensors["mean"],
            tensors.get("axis"),
            tensors["inner_mean"],
            tensors["axes"],
            tensors["centres"],
            tensors["salient"].bool().numpy(),
            tensors["present"].double().numpy(),
            tensors["margin"].bool().numpy(),
            Provenance.from_dict(meta["provenance"]),
        )
        return model, dict(meta["note"])
    except FeatureFileError:
        raise
    except FileNotFoundError as error:
        raise FeatureFileError(f"no such file of fitted parts: {path}") from error
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        raise FeatureFileError(
            f"expected fitted parts (from `counterpoint parts`), got {path}, which is "
            f"damaged or foreign: {' '.join(str(error).split())[:120]}"
        ) from error


def fit_parts(maps: Sequence[FeatureMap], settings: Segmenting | None = None) -> PartModel:
    """Find the parts that several pictures share.

    Args:
        maps: one a picture, of one kind. Cells that are not valid (padding, outside a mask) take
            no part.
        settings: how; by default 8 parts of the foreground.

    Raises:
        BadInput: no maps, maps of different kinds, features that do not differ, more parts than
            different cells.

    >>> ramp = torch.linspace(0, 1, 64).reshape(1, 8, 8)
    >>> fmap = FeatureMap(torch.cat([ramp, 1 - ramp, ramp**2, ramp**3]), (32, 32))
    >>> np.unique(fit_parts([fmap], Segmenting(k=3, foreground=False)).labels(fmap)).tolist()
    [1, 2, 3]
    """
    settings = settings or Segmenting()
    _require_alike(maps)
    shown = [fmap for fmap in maps if bool(valid_cells(fmap).any())]
    rng = np.random.default_rng(settings.seed)
    mean, axis, inner = _foreground(shown, settings, rng)
    inner_mean, axes = principal_axes(inner, min(settings.components, inner.shape[1]))
    projected = ((inner - inner_mean) @ axes).numpy()
    k = settings.k or choose_k(projected, settings.seed)
    centres = torch.from_numpy(kmeans(projected, k, settings.seed))
    none = np.zeros(k)
    kind = _kind(maps[0].provenance)
    model = PartModel(mean, axis, inner_mean, axes, centres, none > 0, none, none > 0, kind)
    return _voted(model, shown, settings.votes)


def _voted(model: PartModel, maps: Sequence[FeatureMap], votes: float) -> PartModel:
    """With what the pictures say of each part."""
    labels = [model.grid_labels(fmap) for fmap in maps]
    present = np.mean([_presence(grid, model.k) for grid in labels], axis=0)
    edges = [_edge(fmap) for fmap in maps]
    cells = np.concatenate([grid.ravel() for grid in labels])
    at_edge = np.concatenate([edge.ravel() for edge in edges])
    valid = np.concatenate([valid_cells(fmap).numpy().ravel() for fmap in maps])
    chance = float(at_edge.sum() / valid.sum())
    of_part = np.bincount(cells, minlength=model.k + 1)[1:]
    outermost = np.bincount(cells[at_edge], minlength=model.k + 1)[1:]
    margin = outermost > of_part * (1 + chance) / 2
    return replace(model, present=present, margin=margin, salient=(present >= votes) & ~margin)


def _edge(fmap: FeatureMap) -> Bool[np.ndarray, "grid_rows grid_columns"]:
    """The outermost cells that lie on the picture; a mask's edge is none."""
    valid = valid_cells(fmap)
    edge = torch.zeros_like(valid)
    bounds = valid_bounds(valid)
    edge[bounds] = border_cells(valid[bounds])
    return edge.numpy()


def _require_alike(maps: Sequence[FeatureMap]) -> None:
    require_channels(maps)
    for fmap in maps[1:]:
        if differs := _difference(maps[0].provenance, fmap.provenance):
            raise BadInput(f"expected maps of one kind, got {differs}; extract them alike")


def _foreground(
    maps: Sequence[FeatureMap], settings: Segmenting, rng: np.random.Generator
) -> tuple[Tensor, Tensor | None, Float[Tensor, "cells channels"]]:
    """Mean and axis that tell foreground, and the foreground's cells, at most `_MOST_CELLS`."""
    cells = torch.cat([_some(unit_cells(m)[valid_cells(m)], len(maps), rng) for m in maps])
    mean, axes = principal_axes(cells, 1)
    if float((cells - mean).square().mean()) < 1e-10:
        raise BadInput("expected features that differ, got the same in every cell; is it one tone?")
    if not settings.foreground:
        return mean, None, cells
    sides = [(((unit_cells(m) - mean) @ axes)[..., 0] > 0) for m in maps]
    axis = axes[:, 0] * outward_sign(sides, [valid_cells(m) for m in maps])
    return mean, axis, cells[(cells - mean) @ axis > 0]


def _some(
    cells: Float[Tensor, "cells channels"], pictures: int, rng: np.random.Generator
) -> Float[Tensor, "some channels"]:
    most = max(1, _MOST_CELLS // pictures)
    if len(cells) <= most:
        return cells
    return cells[torch.from_numpy(np.sort(rng.permutation(len(cells))[:most]))]


def _presence(labels: Grid, k: int) -> Bool[np.ndarray, " k"]:
    """Which parts a picture has."""
    counts = np.bincount(labels.ravel(), minlength=k + 1)[1:]
    return counts >= max(1.0, _PRESENT * float(counts.sum()))


def shares(labels: LabelMap, k: int) -> Float[np.ndarray, " k"]:
    """Share of a picture's pixels that each part has, (k,)."""
    return np.bincount(labels.ravel(), minlength=k + 1)[1:] / labels.size


def _kind(provenance: Provenance) -> Provenance:
    """What the maps of a set have in common."""
    return replace(
        provenance, picture_sha256="", parts=tuple(_kind(part) for part in provenance.parts)
    )


def _difference(a: Provenance, b: Provenance) -> str:
    """In what two maps were made differently; "" where alike. Precision and version are notes."""
    mine, theirs = asdict(_kind(a)), asdict(_kind(b))
    for name, value in mine.items():
        if name not in ("dtype", "version") and value != theirs[name]:
            return f"{name} {value!r} and {theirs[name]!r}"
    return ""
