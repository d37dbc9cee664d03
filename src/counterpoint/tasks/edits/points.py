"""How an edit is carried, and the points inside it that are matched."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Int

from counterpoint.errors import BadInput
from counterpoint.geometry import Points, as_points
from counterpoint.matching.find import require_known
from counterpoint.tasks.edits.layers import Edit
from counterpoint.tasks.edits.warps import Plausible, WarpKind

Choice = Literal["auto", "similarity", "affine", "homography", "thin-plate"]

CHOICES: dict[Choice, tuple[WarpKind, ...]] = {
    "auto": ("similarity", "affine", "homography", "thin-plate"),
    "similarity": ("similarity",),
    "affine": ("affine",),
    "homography": ("homography",),
    "thin-plate": ("thin-plate",),
}


@dataclass(frozen=True, kw_only=True)
class Carrying:
    """How an edit is carried.

    Attributes:
        warp: of which kind; "auto" takes what the matches support best.
        points: about how many are sampled inside the edit, evenly.
        threshold_px: within which a match agrees, pixels of the target. None: two cells of the
            target's feature grid or a tenth of the edit's size (the root of its area), whichever
            is less, but 3 px at least.
        min_support: share of the sampled points that must agree, 0 to 1. None: a quarter; a tenth
            where they are spread over the edit, many of those whose matches lead back, and chance
            would give such agreement less than once in 10^30.
        context: points are also sampled around the edit, as far as this share of its size; they
            help to find the warp, not to support the edit.
        leave_out: leave out the part of an edit that lacks the support which the rest has.
        plausible: what a warp may do.
        seed: of the sampling.
    """

    warp: Choice = "auto"
    points: int = 256
    threshold_px: float | int | None = None
    min_support: float | int | None = None
    context: float | int = 0.0
    leave_out: bool = True
    plausible: Plausible = field(default_factory=Plausible)
    seed: int = 0

    def __post_init__(self) -> None:
        require_known("warp", self.warp, get_args(Choice))
        if self.points < 4:
            raise BadInput(f"expected at least 4 points inside the edit, got {self.points}")
        if self.threshold_px is not None and not self.threshold_px > 0:
            raise BadInput(f"expected a threshold above 0 px, got {self.threshold_px:g}")
        if not 0 <= (self.min_support or 0) <= 1 or not 0 <= self.context <= 2:
            raise BadInput(
                "expected a support from 0 to 1 and a context from 0 to 2, "
                f"got {self.min_support or 0:g} and {self.context:g}"
            )


def sample_points(edit: Edit, how: Carrying) -> tuple[Points, Int[np.ndarray, " n"]]:
    """Points inside an edit, one drawn from every cell of a grid that it touches.

    Returns:
        Whole pixels (N, 2) of the source picture, and the island each lies on; 0 for points around
        the edit.
    """
    alpha = edit.coverage.full(edit.source_wh)
    covered = alpha >= 0.5 * float(alpha.max())
    chosen = _stratified(covered, how.points, how.seed)
    island = edit.island_at(chosen)
    # A point at the rim may fall between the layer's own pixels.
    island[island == 0] = 1 if edit.island_count == 1 else _nearest(chosen, island)
    if not how.context:
        return chosen, island
    width = max(1, round(how.context * float(covered.sum()) ** 0.5))
    distance = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 5)
    ring = (distance > 0) & (distance <= width)
    around = _stratified(ring, round(how.points * ring.sum() / covered.sum()), how.seed)
    none = np.zeros(len(around), dtype=island.dtype)
    return np.concatenate([chosen, around]), np.concatenate([island, none])


def _nearest(points: Points, island: Int[np.ndarray, " n"]) -> Int[np.ndarray, " k"]:
    """For points without an island, that of the nearest point with one."""
    known = np.flatnonzero(island > 0)
    lost = points[island == 0]
    distance = np.linalg.norm(lost[:, None] - points[known][None], axis=2)
    return island[known[distance.argmin(axis=1)]]


def _stratified(region: Bool[np.ndarray, "rows columns"], count: int, seed: int) -> Points:
    """One random pixel from each square of a grid that the region touches, about ``count``."""
    y, x = np.nonzero(region)
    if not len(x) or count < 1:
        return np.zeros((0, 2))
    order = np.random.default_rng(seed).permutation(len(x))
    side = max(1.0, (len(x) / count) ** 0.5)
    while True:
        square = (y // side).astype(np.int64) * region.shape[1] + (x // side).astype(np.int64)
        _, first = np.unique(square[order], return_index=True)
        if len(first) <= 1.1 * count or len(first) == 1:
            break
        side *= 1.05
    chosen = np.sort(order[first])
    return as_points(np.stack([x[chosen], y[chosen]], axis=1))
