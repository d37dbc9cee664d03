"""Which part of an edit the matches support."""

import numpy as np
from jaxtyping import Bool, Float

from counterpoint.geometry import PixelTransform, Points
from counterpoint.tasks.edits.layers import Kept

_REACH = 2.0
"""How far a point speaks for its surroundings, in distances of neighbouring points."""

_LATTICE = 48
"""Cells along the longer side of the grid on which support is weighed."""

_FEW = 20
"""Points below which no part is told from another."""


def supported_part(points_px: Points, agree: Bool[np.ndarray, " n"]) -> tuple[Kept | None, float]:
    """Which part of an edit has the support that the edit has on the whole.

    Args:
        points_px: (N, 2), those of its points that land inside the target, source pixels.
        agree: (N,), whether each agrees with the warp.

    Returns:
        Where the edit is to be drawn (None: everywhere), and how much of it that is, 0 to 1.
    """
    if agree.all() or len(points_px) < _FEW:
        return None, 1.0
    reach = _REACH * _spacing(points_px)
    lattice, to_cells, shape = _lattice_over(points_px, reach)
    share = _supported_share(lattice, points_px, agree, reach).reshape(shape)
    kept = Kept(share, to_cells)
    drawn = float(kept.at(points_px).mean())
    return (None, 1.0) if drawn > 0.995 else (kept, drawn)


def _spacing(points: Points) -> float:
    """The usual distance from a point to its nearest neighbour, pixels, at least 1."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return max(1.0, 1.5 * float(np.median(distance.min(axis=1))))


def _lattice_over(
    points: Points, margin: float
) -> tuple[Float[np.ndarray, "places 2"], PixelTransform, tuple[int, int]]:
    """A coarse grid over the points' box: its points in pixels, the map to its cells, its shape."""
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    step = float((high - low).max()) / (_LATTICE - 1)
    columns, rows = (np.ceil((high - low) / step).astype(int) + 1).tolist()
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    to_cells = PixelTransform((1 / step, 1 / step), (-low[0] / step, -low[1] / step))
    return to_cells.invert().apply(grid), to_cells, (rows, columns)


def _supported_share(
    places: Float[np.ndarray, "places 2"],
    points: Points,
    agree: Bool[np.ndarray, " n"],
    reach: float,
) -> Float[np.ndarray, " places"]:
    """1 where as many points agree as elsewhere in the edit, 0 where far fewer do.

    Far fewer: under half the usual share, and too few by two to three standard deviations.
    """
    usual = float(agree.mean())
    distance = np.linalg.norm(places[:, None] - points[None], axis=2)
    weight = np.exp(-0.5 * (distance / reach) ** 2)
    total = np.maximum(weight.sum(axis=1), 1e-9)
    here = weight @ agree / total
    count = total**2 / np.maximum((weight**2).sum(axis=1), 1e-12)
    deviation = (usual - here) / np.sqrt(max(usual * (1 - usual), 1e-3) / count)
    too_few = np.clip(deviation - 2, 0, 1) * np.clip((0.6 - here / usual) / 0.2, 0, 1)
    return 1 - too_few
