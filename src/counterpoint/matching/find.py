"""Points of one picture in another, at full resolution."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from counterpoint.errors import BadInput, PointError, UnknownName
from counterpoint.features import FeatureMap
from counterpoint.geometry import Points, SizeWH, require_inside
from counterpoint.matching.calibration import Calibration, find_calibration
from counterpoint.matching.evidence import evidence
from counterpoint.matching.exact import Disc, best_pixels, picture_rows
from counterpoint.matching.matches import Matches
from counterpoint.matching.prepared import PreparedMap, prepare

Subpixel = Literal["argmax", "window", "grid-window"]

WINDOW_CELLS = 3
"""How far the window of "window" reaches by default, to each side."""

WINDOW_SHARE = 7 / 60
"""How far that of "grid-window" does, as a share of the grid's longer side: GeoAware-SC takes 7
cells of a grid of 60 x 60."""

PROMINENT_SHARE = 0.05
"""Of the target's cells: those most like a point, which its match is compared with."""

MARGIN_RADIUS = 0.1
"""The neighbourhood that a margin leaves out, in longer sides of the target picture."""


def match(
    source: FeatureMap | PreparedMap,
    target: FeatureMap | PreparedMap,
    points_px: ArrayLike,
    *,
    subpixel: Subpixel = "argmax",
    window_cells: int | None = None,
    temperature: float = 0.02,
    margin_radius: float | None = MARGIN_RADIUS,
    cycle: bool = True,
    calibration: Calibration | Literal["shipped"] | None = "shipped",
    chunk: int = 256,
) -> Matches:
    """Find points of the source picture in the target picture.

    The match is the target's whole pixel of the largest cosine similarity when both maps are
    upsampled bilinearly (``align_corners=False``) to their pictures' sizes and normalised after:
    DIFT, section 3 (Tang et al. 2023), and protocol ``dift``. Of pixels that tie exactly, the
    first in row-major order is taken. A zero vector has the cosine 0 with everything.

    Args:
        source: features of the source picture.
        target: features of the target picture; a `PreparedMap` where there will be more queries.
        points_px: (N, 2), x and y in the source picture's pixels; whole numbers or not.
        subpixel: "argmax" for that pixel itself. "window" for the mean of the grid cells around
            it, weighted by ``softmax(cosine / temperature)``, not on whole pixels and free of the
            grid's pull. "grid-window" for that mean around the *cell* of the largest cosine, with
            the wider window of GeoAware-SC (Zhang et al. 2024, window soft-argmax; its evaluation
            takes 7 of 60 cells to each side and a temperature of 0.02, after SFNet, Lee et al.
            2019), for figures beside theirs.
        window_cells: the window reaches this many cells to each side of its middle; by default 3
            for "window", and for "grid-window" 7 of a grid of 60, in proportion on others.
        temperature: of that softmax, in units of cosine.
        margin_radius: the neighbourhood that `Matches.margin` leaves out, a disc of this share of
            the target picture's longer side, but of two cells' distance at least. None: no margin
            and no prominence, which saves the search for the rival.
        cycle: also match back, for `Matches.cycle_px`. Costs as much again.
        calibration: makes `Matches.confidence` a probability: one of your own, "shipped" for the
            package's, where it has one for these very features and this matching, None for none.
        chunk: queries at once; memory grows with it, the result does not depend on it.

    >>> import torch
    >>> values = torch.randn(16, 6, 6, generator=torch.Generator().manual_seed(0))
    >>> left, right = FeatureMap(values, (60, 60)), FeatureMap(values.flip(2), (60, 60))
    >>> found = match(left, right, [(15, 24), (44, 5)])
    >>> found.target_px.tolist(), found.cycle_px.tolist()
    ([[44.0, 24.0], [15.0, 5.0]], [0.0, 0.0])

    Raises:
        PointError: a point outside the source picture.
        BadInput: maps of different channels, NaN or infinite features, parameters out of range, or
            a calibration of your own that looks at more than was asked for.
    """
    ready_source, ready_target = prepare(source), prepare(target)
    points_px = require_inside(points_px, ready_source.size_wh, "the source picture")
    how = _How(subpixel, window_cells, temperature, margin_radius, chunk)
    found = _locate(ready_target, ready_source.vectors(points_px), how)
    cycle_px = np.full(len(points_px), np.nan)
    if cycle:
        vectors = ready_target.vectors(found.points_px)
        back = _locate(ready_source, vectors, replace(how, margin_radius=None))
        cycle_px = np.linalg.norm(back.points_px - points_px, axis=1)
    matches = Matches(
        points_px,
        found.points_px,
        found.cosine,
        np.full(len(points_px), np.nan) if margin_radius is None else found.cosine - found.rival,
        cycle_px,
        ready_source.size_wh,
        ready_target.size_wh,
        prominence=None if margin_radius is None else found.cosine - found.crowd,
    )
    if calibration == "shipped":
        usual = margin_radius == MARGIN_RADIUS and len(matches) > 0
        calibration = _shipped(ready_source, ready_target, matches, subpixel) if usual else None
    return matches if calibration is None else calibration.apply(matches)


def _shipped(
    source: PreparedMap, target: PreparedMap, matches: Matches, subpixel: Subpixel
) -> Calibration | None:
    """The package's calibration for matches that were found as usual, where there is one."""
    made_by = source.provenance, target.provenance
    return find_calibration(*made_by, subpixel, evidence(matches).known)


def similarity_map(
    source: FeatureMap | PreparedMap,
    target: FeatureMap | PreparedMap,
    point_px: ArrayLike | tuple[float | int, float | int],
) -> Float[Tensor, "height width"]:
    """Cosine similarity of one source point with every pixel of the target picture.

    Args:
        source: features of the source picture.
        target: features of the target picture.
        point_px: (x, y) in the source picture's pixels.

    Returns:
        (height, width) of the target picture, float32, -1 to 1; -1 where no valid cell is near.

    >>> import torch
    >>> fmap = FeatureMap(torch.eye(4).reshape(4, 2, 2), image_size_wh=(4, 2))
    >>> similarity_map(fmap, fmap, (0, 0))
    tensor([[1.0000, 0.9487, 0.3162, 0.0000],
            [0.0000, 0.0000, 0.0000, 0.0000]])

    Raises:
        PointError: not one point, or outside the source picture.
        BadInput: as `match`.
    """
    ready_source, ready_target = prepare(source), prepare(target)
    points_px = require_inside(np.asarray(point_px), ready_source.size_wh, "the source picture")
    if len(points_px) != 1:
        raise PointError(f"expected one point, got {len(points_px)}")
    [scores] = ready_target.scores(ready_source.vectors(points_px))
    return torch.cat(list(picture_rows(ready_target, scores)))


@dataclass(frozen=True)
class _How:
    """How points are located; `match` explains the fields."""

    subpixel: Subpixel
    window_cells: int | None
    temperature: float
    margin_radius: float | None
    chunk: int

    def __post_init__(self) -> None:
        require_known("subpixel", self.subpixel, get_args(Subpixel))
        if min(1 if self.window_cells is None else self.window_cells, self.chunk) < 1:
            raise BadInput(
                "expected at least one cell in the window and one query in a chunk, "
                f"got window_cells={self.window_cells} and chunk={self.chunk}"
            )
        if not self.temperature > 0:
            raise BadInput(f"expected a temperature above 0, got {self.temperature}")
        if self.margin_radius is not None and not self.margin_radius >= 0:
            raise BadInput(f"expected a margin radius of at least 0, got {self.margin_radius}")


@dataclass(frozen=True)
class _Located:
    """Where vectors lie.

    Points (N, 2), their cosines (N,), the rivals' (N,), and the mean of the best cells' (N,).
    """

    points_px: Points
    cosine: Float[np.ndarray, " n"]
    rival: Float[np.ndarray, " n"]
    crowd: Float[np.ndarray, " n"]


def _locate(ready: PreparedMap, vectors: Float[Tensor, "n channels"], how: _How) -> _Located:
    parts = [_locate_some(ready, some, how) for some in vectors.split(how.chunk) if len(some)]
    if not parts:
        return _Located(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0))
    return _Located(
        np.concatenate([part.points_px for part in parts]),
        np.concatenate([part.cosine for part in parts]),
        np.concatenate([part.rival for part in parts]),
        np.concatenate([part.crowd for part in parts]),
    )


def _locate_some(ready: PreparedMap, vectors: Float[Tensor, "n channels"], how: _How) -> _Located:
    scores = ready.scores(vectors)
    cosine, pixel = best_pixels(ready, scores)
    rival, crowd = torch.full_like(cosine, -1), torch.full_like(cosine, -1)
    if how.margin_radius is not None:
        crowd = _crowd(ready, scores)
        radius = neighbourhood_px(ready, how.margin_radius)
        rival, _ = best_pixels(ready, scores, Disc(pixel, radius))
    points_px = pixel.cpu().numpy().astype(np.float64)
    if how.subpixel == "window":
        nearest = np.ceil(ready.to_grid.apply(points_px) - 0.5)
        points_px = _refine(ready, scores, nearest, how)
    elif how.subpixel == "grid-window":
        points_px = _refine(ready, scores, _best_cells(ready, scores), how)
    numbers = (column.double().cpu().numpy() for column in (cosine, rival, crowd))
    return _Located(points_px, *numbers)


def _crowd(
    ready: PreparedMap, scores: Float[Tensor, "queries rows columns"]
) -> Float[Tensor, " queries"]:
    """The mean cosine of each query's best cells, `PROMINENT_SHARE` of those that are valid."""
    cosines = scores * ready.cell_inverse
    chosen = cosines.flatten(1) if ready.valid is None else cosines[:, ready.valid]
    count = max(1, round(PROMINENT_SHARE * chosen.shape[1]))
    return chosen.topk(count, dim=1).values.mean(dim=1)


def neighbourhood_px(ready: PreparedMap, margin_radius: float) -> float:
    """Radius in pixels of what counts as the same place as a match."""
    return max(margin_radius * max(ready.size_wh), 2 * max(ready.stride_px))


def _reach(subpixel: Subpixel, grid_wh: SizeWH) -> int:
    """The window's default, in cells."""
    if subpixel == "grid-window":
        return max(1, round(WINDOW_SHARE * max(grid_wh)))
    return WINDOW_CELLS


def _best_cells(
    ready: PreparedMap, scores: Float[Tensor, "queries rows columns"]
) -> Float[np.ndarray, "queries 2"]:
    """The valid cell of the largest cosine for each query: its column and row."""
    cosines = scores * ready.cell_inverse
    if ready.valid is not None:
        cosines = cosines.masked_fill(~ready.valid, -torch.inf)
    best = cosines.flatten(1).argmax(dim=1).cpu().numpy()
    columns = scores.shape[2]
    return np.stack([best % columns, best // columns], axis=1).astype(np.float64)


def _refine(
    ready: PreparedMap,
    scores: Float[Tensor, "queries rows columns"],
    middle: Float[np.ndarray, "queries 2"],
    how: _How,
) -> Points:
    """The softmax-weighted mean position of the cells around each middle cell, (N, 2)."""
    _, h, w = scores.shape
    nearest = middle.clip(0, (w - 1, h - 1))
    window_cells = how.window_cells or _reach(how.subpixel, (w, h))
    centre = torch.as_tensor(nearest, dtype=torch.long, device=scores.device)
    across = torch.arange(-window_cells, window_cells + 1, device=scores.device)
    column, row = (centre[:, :1] + across)[:, None, :], (centre[:, 1:] + across)[:, :, None]
    beyond = (row < 0) | (row >= h) | (column < 0) | (column >= w)
    row, column = row.clamp(0, h - 1), column.clamp(0, w - 1)
    if ready.valid is not None:
        beyond |= ~ready.valid[row, column]
    query = torch.arange(len(scores), device=scores.device)[:, None, None]
    cosines = scores[query, row, column] * ready.cell_inverse[row, column]
    logits = (cosines / how.temperature).masked_fill(beyond, -torch.inf).flatten(1)
    weight = logits.to(ready.fine).softmax(dim=1).reshape(beyond.shape)
    mean = torch.stack([(weight * at).sum(dim=(1, 2)) for at in (column, row)], dim=1)
    refined = ready.to_grid.invert().apply(mean.cpu().numpy())
    return refined.clip(0, np.asarray(ready.size_wh) - 1)


def require_known(kind: str, name: str, known: tuple[str, ...]) -> None:
    """An error that names the nearest known one, unless the name is known."""
    if name not in known:
        raise UnknownName(kind, name, known)
