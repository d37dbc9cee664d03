"""Warps of pictures: similarity, affine, homography, and the thin plate that bends.

The thin-plate spline is Bookstein's (PAMI 1989), smoothed as Wahba's (Spline Models, 1990).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from counterpoint.errors import BadInput
from counterpoint.geometry import Points, SizeWH, apply_homography, as_points
from counterpoint.tasks.scenes.homography import Matrix

WarpKind = Literal["similarity", "affine", "homography", "thin-plate"]


@dataclass(frozen=True, eq=False)
class Bend:
    """What a thin plate adds to its affine part: ``sum_i weights_i U(|x - centres_i| / scale)``.

    Attributes:
        centres: (n, 2), pixels of the source.
        weights: (n, 2), pixels of the target.
        scale: pixels of the source that count as one; ``U(r) = r^2 log r``.
    """

    centres: Points
    weights: Points
    scale: float | int

    def apply(self, points: Points) -> Points:
        """The displacement at points (N, 2), pixels of the target."""
        return _kernel(_distances(points, self.centres) / self.scale) @ self.weights


@dataclass(frozen=True, eq=False)
class Warp:
    """A map from the pixels of a source picture to those of a target.

    Attributes:
        kind: what was fitted.
        matrix: (3, 3); of a thin plate, its affine part.
        bend: of a thin plate, the rest.

    >>> shift = Warp("similarity", np.array([[1.0, 0, 5], [0, 1, 0], [0, 0, 1]]))
    >>> shift.apply([(1, 2)]).tolist(), shift.invert([(6, 2)]).tolist()
    ([[6.0, 2.0]], [[1.0, 2.0]])
    """

    kind: WarpKind
    matrix: Matrix
    bend: Bend | None = None

    def apply(self, points_px: ArrayLike) -> Points:
        """Source points (N, 2) in the target."""
        points = as_points(points_px)
        moved = apply_homography(self.matrix, points)
        return moved if self.bend is None else moved + self.bend.apply(points)

    def depths(self, points_px: Points) -> Float[np.ndarray, " n"]:
        """How far before the horizon source points (N, 2) lie; it is 0 there, and changes sign."""
        return points_px @ self.matrix[2, :2] + self.matrix[2, 2]

    def jacobians(
        self, points_px: ArrayLike, step_px: float | int = 0.5
    ) -> Float[np.ndarray, "n 2 2"]:
        """Derivatives at source points (N, 2): ``[:, i, j]`` is of target axis i by source axis j.

        By central differences over ``step_px`` to each side.
        """
        points = as_points(points_px)
        steps = np.array([(step_px, 0), (0, step_px)])
        ends = [(self.apply(points + s) - self.apply(points - s)) / (2 * step_px) for s in steps]
        return np.stack(ends, axis=2)

    def invert(self, points_px: ArrayLike) -> Points:
        """Target points (N, 2) in the source; of a thin plate by Newton's method from its affine
        part, NaN where that does not arrive within a hundredth of a pixel.
        """
        points = as_points(points_px)
        found = apply_homography(np.linalg.inv(self.matrix), points)
        if self.bend is None:
            return found
        for _ in range(12):
            missed = self.apply(found) - points
            jacobians = self.jacobians(found)
            sound = np.abs(np.linalg.det(jacobians)) > 1e-9
            jacobians[~sound] = np.eye(2)
            step = np.linalg.solve(jacobians, missed[..., None])[..., 0]
            limit = 0.5 * self.bend.scale
            length = np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12)
            found = found - step * np.minimum(1, limit / length)
        found[np.linalg.norm(self.apply(found) - points, axis=1) > 0.01] = np.nan
        return found

    def then(self, matrix: ArrayLike) -> "Warp":
        """This warp, followed by an affine map of the target's pixels."""
        after = np.asarray(matrix, dtype=np.float64)
        moved = replace(self, matrix=after @ self.matrix)
        if self.bend is None:
            return moved
        return replace(moved, bend=replace(self.bend, weights=self.bend.weights @ after[:2, :2].T))


@dataclass(frozen=True, kw_only=True)
class Plausible:
    """What a warp may do to a picture's piece before it is taken for a mistake.

    Attributes:
        scale: it may grow or shrink by this factor, beyond the ratio of the pictures' sizes.
        stretch: the most that one direction may grow over another, anywhere.
        perspective: the most that its area may grow at one end over the other.
    """

    scale: float | int = 5.0
    stretch: float | int = 3.5
    perspective: float | int = 9.0

    def __post_init__(self) -> None:
        if min(self.scale, self.stretch, self.perspective) < 1:
            raise BadInput(f"expected limits of at least 1, got {self}")


USUAL = Plausible()


def implausible(
    warp: Warp,
    points_px: ArrayLike,
    plausible: Plausible = USUAL,
    expected_scale: float | int = 1.0,
) -> str:
    """What is wrong with a warp over some source points; "" where nothing is.

    Args:
        warp: to be judged.
        points_px: (N, 2), source points, such as the outline of what it carries.
        plausible: the limits.
        expected_scale: target pixels per source pixel that would be no change of scale.
    """
    points = as_points(points_px)
    depth = warp.depths(points)
    if depth.min() <= 0 <= depth.max():
        return f"degenerate: the horizon of the {warp.kind} crosses the edit"
    jacobians = warp.jacobians(points)
    area = np.linalg.det(jacobians)
    if (area < 0).all():
        return (
            f"degenerate: the {warp.kind} found mirrors the edit; if the object faces the other "
            "way, match the target's mirror image (--mirror)"
        )
    if area.min() <= 0:
        return f"degenerate: the {warp.kind} found folds the edit"
    lengths = np.linalg.svd(jacobians, compute_uv=False)
    scale = float(np.sqrt(np.median(area))) / expected_scale
    stretch = float((lengths[:, 0] / lengths[:, 1]).max())
    perspective = float(area.max() / area.min())
    if not 1 / plausible.scale <= scale <= plausible.scale:
        return f"implausible: the {warp.kind} found scales the edit by {scale:.2g}"
    if stretch > plausible.stretch:
        return f"implausible: the {warp.kind} found stretches the edit {stretch:.2g} times"
    if perspective > plausible.perspective:
        return f"implausible: one end of the edit would grow {perspective:.2g} times over another"
    return ""


def usual_scale(source_wh: SizeWH, target_wh: SizeWH) -> float:
    """Target pixels per source pixel where two pictures show the same: by their areas.

    >>> usual_scale((100, 80), (50, 40))
    0.5
    """
    return float((np.prod(target_wh) / np.prod(source_wh)) ** 0.5)


def _kernel(distance: np.ndarray) -> np.ndarray:
    square = distance**2
    return 0.5 * square * np.log(np.maximum(square, 1e-300))


def _distances(
    a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "m 2"]
) -> Float[np.ndarray, "n m"]:
    return np.linalg.norm(a[:, None] - b[None], axis=2)


def smooth_plate(source_px: ArrayLike, target_px: ArrayLike, stiffness: float | int = 0.0) -> Warp:
    """The thin plate through matches (``stiffness`` 0), or near them.

    Args:
        source_px: (N, 2), at least 3 that are not on a line.
        target_px: (N, 2).
        stiffness: what bending costs; large ones leave the affine part alone.
    """
    return plate_without_each(as_points(source_px), as_points(target_px), float(stiffness))[0]


def plate_without_each(
    source: Points, target: Points, stiffness: float
) -> tuple[Warp, Float[np.ndarray, " n"]]:
    """A smoothed thin plate, and each match's distance from the plate without it, pixels."""
    n, middle = len(source), source.mean(axis=0)
    scale = float(np.sqrt(((source - middle) ** 2).sum(axis=1).mean())) or 1.0
    unit = (source - middle) / scale
    kernel, plane = _kernel(_distances(unit, unit)), np.c_[unit, np.ones(n)]
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = kernel + stiffness * np.eye(n)
    system[:n, n:], system[n:, :n] = plane, plane.T
    solved = np.linalg.pinv(system, hermitian=True)[:, :n]
    hat = np.c_[kernel, plane] @ solved
    rest = np.maximum(1 - np.diag(hat), 1e-9)
    off = np.linalg.norm(target - hat @ target, axis=1) / rest  # exact for linear smoothers
    weights, affine = np.split(solved @ target, [n])
    matrix = np.eye(3)
    matrix[:2, :2] = affine[:2].T / scale
    matrix[:2, 2] = affine[2] - matrix[:2, :2] @ middle
    bend = Bend(source.copy(), weights, scale)
    return Warp("thin-plate", matrix, bend), off
