"""Two pictures of one rigid scene, and the matrix that ties their matches.

Three relations: a homography (a plane, or a camera that only turns), a fundamental matrix (any
scene, ``x_target^T F x_source = 0``), an essential matrix (the same with known cameras).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from counterpoint.errors import BadInput
from counterpoint.geometry import (
    Points,
    SizeWH,
    apply_homography,
    as_points,
    camera_rays,
    picture_corners,
)
from counterpoint.images import Picture
from counterpoint.matching.find import require_known
from counterpoint.tasks.scenes.chance import (
    Relation,
    distinct_places,
    log10_false_alarms,
    share_near,
)

Method = Literal["lmeds", "ransac", "usac", "magsac"]
Matrix = Float[np.ndarray, "3 3"]

_OFF_PLANE = 3
"""Thresholds beyond which a match is off a plane, and not only inaccurate."""

_ACCURATE = 3
"""Standard deviations within which a match is as accurate as the others."""

_FINEST_PX = 0.1
"""No key point is known to be more accurate."""

_TRIMMED_STEPS = 10

_APART = 4
"""Thresholds within which matches are no evidence of their own: detectors see a corner more than
once, and a homography that shrinks a picture meets any crowd of key points."""

_LINE_PX = 1e-3
"""Points that spread less than this across their main direction lie on a line."""

CHANCE = -3.0
"""`log10_chance` below which agreement is taken for more than chance."""


@dataclass(frozen=True, kw_only=True)
class Robust:
    """How OpenCV finds a matrix in spite of wrong matches.

    Attributes:
        method: "lmeds" (least median of squares: needs more right matches than wrong ones),
            "ransac", "usac" (its newer framework), "magsac" (MAGSAC++, Barath et al. 2020).
        threshold_px: within which a match agrees, pixels of the target; "lmeds" chooses its own
            for the fit.
        confidence: asked of the search, 0 to 1.
        max_iterations: of the search; an essential matrix takes OpenCV's own.
    """

    method: Method = "lmeds"
    threshold_px: float = 3.0
    confidence: float = 0.995
    max_iterations: int = 2000

    def __post_init__(self) -> None:
        require_known("estimator", self.method, get_args(Method))
        if not (self.threshold_px > 0 and 0 < self.confidence < 1 and self.max_iterations > 0):
            raise BadInput(
                "expected a threshold and iterations above 0 and a confidence between 0 and 1, "
                f"got {self.threshold_px:g} px, {self.max_iterations} and {self.confidence:g}"
            )

    @property
    def flag(self) -> int:
        """OpenCV's number."""
        return {
            "lmeds": cv2.LMEDS,
            "ransac": cv2.RANSAC,
            "usac": cv2.USAC_DEFAULT,
            "magsac": cv2.USAC_MAGSAC,
        }[self.method]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A matrix that ties two pictures.

    Attributes:
        relation: what it is.
        matrix: (3, 3), from source to target pixels; essential: of the cameras' rays.
        inliers: (matches,), which matches it explains: its own distance is at most the threshold;
            for epipolar lines, in both pictures.
    """

    relation: Relation
    matrix: Matrix
    inliers: Bool[np.ndarray, " matches"]

    @property
    def support(self) -> int:
        """How many matches it explains."""
        return int(self.inliers.sum())


@dataclass(frozen=True)
class NoEstimate:
    """No matrix, and why.

    Attributes:
        relation: what was looked for.
        reason: one line.
    """

    relation: Relation
    reason: str


@dataclass(frozen=True)
class _Rule:
    """What a relation needs, and how chance would serve it.

    Attributes:
        name: in messages, with its article.
        sample: matches that a minimal solution takes.
        solutions: how many such a sample can have.
        needed: matches below which the matrix is not determined.
    """

    name: str
    sample: int
    solutions: int
    needed: int


_RULES: Mapping[Relation, _Rule] = {
    "homography": _Rule("a homography", 4, 1, 4),
    "fundamental": _Rule("a fundamental matrix", 7, 3, 8),
    "essential": _Rule("an essential matrix", 5, 10, 6),
}


def estimate(
    source_px: ArrayLike,
    target_px: ArrayLike,
    relation: Relation = "homography",
    robust: Robust | None = None,
    *,
    cameras: tuple[Matrix, Matrix] | None = None,
) -> Estimate | NoEstimate:
    """The matrix that most matches agree on, or why there is none.

    Args:
        source_px: (N, 2), pixels of the source picture; the order may change the result.
        target_px: (N, 2), their matches in the target picture.
        relation: what to look for.
        robust: how; by default least median of squares.
        cameras: intrinsic matrices of both pictures, for "essential".

    Raises:
        PointError: points that are not finite (x, y) pairs.
        BadInput: different numbers of points; "essential" without cameras.

    >>> square = [(0, 0), (10, 0), (10, 10), (0, 10)]
    >>> estimate(square, [(x + 5, y) for x, y in square]).matrix.round(3).tolist()[0]
    [1.0, 0.0, 5.0]
    >>> estimate(square[:3], square[:3]).reason
    'a homography needs 4 matches, got 3'
    """
    require_known("relation", relation, get_args(Relation))
    source, target = as_points(source_px), as_points(target_px)
    if len(source) != len(target):
        raise BadInput(f"expected as many points as matches, got {len(source)} and {len(target)}")
    if relation == "essential" and cameras is None:
        raise BadInput("expected both cameras' matrices for an essential matrix, got none")
    robust = robust or Robust()
    rule = _RULES[relation]
    if len(source) < rule.needed:
        reason = f"{rule.name} needs {rule.needed} matches, got {len(source)}"
        return NoEstimate(relation, reason)
    if reason := _degenerate(source, target, rule):
        return NoEstimate(relation, reason)
    matrix = _search(source, target, relation, robust, cameras)
    if matrix is None or matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return NoEstimate(relation, f"{robust.method} found {rule.name} for no part of the matches")
    distance = _distance(matrix, source, target, relation, cameras)
    return Estimate(relation, matrix, distance <= robust.threshold_px)


def _search(
    source: Points,
    target: Points,
    relation: Relation,
    robust: Robust,
    cameras: tuple[Matrix, Matrix] | None,
) -> np.ndarray | None:
    """OpenCV's answer: 3 x 3, several stacked, or none."""
    flag, px, sure, most = (
        robust.flag,
        robust.threshold_px,
        robust.confidence,
        robust.max_iterations,
    )
    try:
        if relation == "homography":
            found, _ = cv2.findHomography(source, target, flag, px, maxIters=most, confidence=sure)
        elif relation == "fundamental":
            found, _ = cv2.findFundamentalMat(source, target, flag, px, sure, most)
        else:
            assert cameras is not None
            first, second = (np.asarray(camera, dtype=np.float64) for camera in cameras)
            found, _ = cv2.findEssentialMat(
                source, target, first, None, second, None, flag, sure, px
            )
    except cv2.error:  # what it says of unusable points differs between its versions
        return None
    answer: Any = found  # its stubs do not know that there may be none
    return None if answer is None else np.asarray(answer, dtype=np.float64)


def _degenerate(source: Points, target: Points, rule: _Rule) -> str:
    """Why points of one of the pictures determine no matrix; "" where nothing is wrong."""
    for name, points in (("source", source), ("target", target)):
        different = len(np.unique(points, axis=0))
        if different < rule.needed:
            return (
                f"degenerate: only {different} different points in the {name}, "
                f"expected at least {rule.needed}"
            )
        if width_px(points) < _LINE_PX:
            return f"degenerate: all {len(points)} points of the {name} lie on a line"
    return ""


def width_px(points: Points) -> float:
    """How far points spread across their main direction: a standard deviation, pixels."""
    centred = points - points.mean(axis=0)
    return float(np.linalg.svd(centred, compute_uv=False)[-1]) / len(points) ** 0.5


def _distance(
    matrix: Matrix,
    source: Points,
    target: Points,
    relation: Relation,
    cameras: tuple[Matrix, Matrix] | None,
) -> Float[np.ndarray, " matches"]:
    """How far each match is from what the matrix says, pixels."""
    if relation == "homography":
        return transfer_error(matrix, source, target)
    if relation == "essential":
        assert cameras is not None
        first, second = (np.linalg.inv(camera) for camera in cameras)
        matrix = second.T @ matrix @ first
    ones = np.ones((len(source), 1))
    a, b = np.concatenate([source, ones], axis=1), np.concatenate([target, ones], axis=1)
    in_target, in_source = a @ matrix.T, b @ matrix
    off = np.abs((b * in_target).sum(axis=1))
    slopes = np.minimum(*(np.hypot(line[:, 0], line[:, 1]) for line in (in_target, in_source)))
    return np.divide(off, slopes, out=np.full(len(off), np.inf), where=slopes > 0)


def transfer_error(
    homography: ArrayLike, source_px: ArrayLike, target_px: ArrayLike
) -> Float[np.ndarray, " points"]:
    """Distance of each target point from where the homography takes its source point, pixels."""
    return np.linalg.norm(apply_homography(homography, source_px) - as_points(target_px), axis=1)


def mean_corner_error(found: ArrayLike, true: ArrayLike, size_wh: SizeWH) -> float:
    """Mean distance of a picture's four corners under two homographies, pixels.

    Infinite where one of them sends a corner to infinity.
    """
    corners = picture_corners(size_wh)
    ends = [apply_homography(matrix, corners) for matrix in (found, true)]
    if not np.isfinite(ends).all():
        return float("inf")
    return float(np.linalg.norm(ends[0] - ends[1], axis=1).mean())


def log10_chance(
    support: int,
    matches: int,
    target_wh: SizeWH,
    relation: Relation = "homography",
    threshold_px: float = 3.0,
) -> float:
    """How often matches at random would agree so well: log10 of the expected number of times.

    The number of false alarms of Moisan and Stival (IJCV 2004): ``s (n - m) C(n, k) C(k, m)
    alpha^(k - m)`` for k of n matches, samples of m with s solutions, and ``alpha`` the share of
    the target within the threshold of a point, or of a line.

    Args:
        support: matches that agree.
        matches: all of them.
        target_wh: of the target picture, pixels.
        relation: on what.
        threshold_px: within which they do.

    >>> log10_chance(8, 300, (800, 640)) > 0, log10_chance(12, 300, (800, 640)) < -3
    (True, True)
    """
    rule, alpha = _RULES[relation], share_near(relation, target_wh, threshold_px)
    return log10_false_alarms(support, matches, rule.sample, rule.solutions, alpha)


def supported(
    found: Estimate | NoEstimate,
    source_px: ArrayLike,
    target_px: ArrayLike,
    target_wh: SizeWH,
    threshold_px: float = 3.0,
    *,
    cameras: tuple[Matrix, Matrix] | None = None,
) -> Estimate | NoEstimate:
    """The estimate if its support means something, else why not.

    Refused: agreement that chance would give as well (`log10_chance` above `CHANCE`, of a crowd of
    points one counted); for a
    homography also inliers on a line or in one place, and one that folds the picture between them;
    a fundamental matrix where all that agrees lies on one plane, which leaves it undetermined; an
    essential one where the camera did no more than turn.

    Args:
        found: from `estimate`.
        source_px: (N, 2), the points it was given.
        target_px: (N, 2).
        target_wh: of the target picture, pixels.
        threshold_px: the threshold it was given.
        cameras: those it was given.
    """
    if isinstance(found, NoEstimate):
        return found
    source, target = as_points(source_px), as_points(target_px)
    kept, total, name = found.support, len(found.inliers), _RULES[found.relation].name
    reason = ""
    starts, ends = source[found.inliers], target[found.inliers]
    apart = min(distinct_places(points, _APART * threshold_px) for points in (starts, ends))
    if log10_chance(apart, total, target_wh, found.relation, threshold_px) > CHANCE:
        reason = f"only {kept} of {total} matches agree on {name}, as many as chance would give"
    elif found.relation == "homography":
        reason = _flaw(found, source, target, threshold_px)
    elif found.relation == "fundamental" and _flat(found, source, target, target_wh, threshold_px):
        reason = f"degenerate: the {kept} matches that agree lie on a plane; ask for a homography"
    elif cameras and _turned(found, source, target, target_wh, threshold_px, cameras):
        reason = f"degenerate: the {kept} matches that agree are those of a camera that only turned"
    return NoEstimate(found.relation, reason) if reason else found


def _flaw(found: Estimate, source: Points, target: Points, threshold_px: float) -> str:
    """What is wrong with a homography that has support."""
    starts, ends = source[found.inliers], target[found.inliers]
    if min(width_px(starts), width_px(ends)) < threshold_px:
        return f"degenerate: the {len(ends)} matches that agree lie on a line or in one place"
    depth = starts @ found.matrix[2, :2] + found.matrix[2, 2]
    if depth.min() <= 0 <= depth.max():
        return "degenerate: the homography found folds the picture"
    return ""


def _flat(
    found: Estimate, source: Points, target: Points, target_wh: SizeWH, threshold_px: float
) -> bool:
    """Whether nothing but chance speaks for the matrix off the plane of its inliers.

    Beside a plane's homography, two more matches determine the epipole (Chum et al., CVPR 2005).
    """
    robust = Robust(method="ransac", threshold_px=threshold_px)
    plane = estimate(source[found.inliers], target[found.inliers], "homography", robust)
    if isinstance(plane, NoEstimate):
        return False
    off = transfer_error(plane.matrix, source, target) > _OFF_PLANE * threshold_px
    alpha = share_near(found.relation, target_wh, threshold_px)
    agreeing, others = int((off & found.inliers).sum()), int(off.sum())
    return log10_false_alarms(agreeing, others, 2, 1, alpha) > CHANCE


def _turned(
    found: Estimate,
    source: Points,
    target: Points,
    target_wh: SizeWH,
    threshold_px: float,
    cameras: tuple[Matrix, Matrix],
) -> bool:
    """Whether nothing but chance speaks for a shift of the camera beside its rotation.

    Beside a rotation, two more matches determine the shift's direction.
    """
    if found.relation != "essential":
        return False
    turn = _rotation_homography(source[found.inliers], target[found.inliers], cameras)
    # Small shifts show where key points are more accurate than the threshold asks.
    aside = _distance(found.matrix, source, target, found.relation, cameras)[found.inliers]
    spread_px = 1.4826 * float(np.median(aside))  # the standard deviation, of normal errors
    accuracy_px = min(threshold_px, max(_ACCURATE * spread_px, _FINEST_PX))
    off = transfer_error(turn, source, target) > _OFF_PLANE * accuracy_px
    alpha = share_near(found.relation, target_wh, threshold_px)
    agreeing, others = int((off & found.inliers).sum()), int(off.sum())
    return log10_false_alarms(agreeing, others, 2, 1, alpha) > CHANCE


def _rotation_homography(source: Points, target: Points, cameras: tuple[Matrix, Matrix]) -> Matrix:
    """Where a rotation of the camera takes pixels: the best for that half of the matches it fits.

    Least trimmed squares (Rousseeuw 1984), so that wrong matches do not bend it; each step is the
    rotation that brings rays closest to each other (Kabsch 1976).
    """
    first, second = camera_rays(cameras[0], source), camera_rays(cameras[1], target)
    rotation = _rotation(first, second)
    for _ in range(_TRIMMED_STEPS):
        off = np.linalg.norm(first @ rotation.T - second, axis=1)
        nearest = np.argsort(off, kind="stable")[: len(source) // 2 + 1]
        rotation = _rotation(first[nearest], second[nearest])
    return cameras[1] @ rotation @ np.linalg.inv(cameras[0])


def _rotation(first: Float[np.ndarray, "n 3"], second: Float[np.ndarray, "n 3"]) -> Matrix:
    """The rotation that brings rays closest to others."""
    left, _, right = np.linalg.svd(second.T @ first)
    return left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right


def overlay(source: Picture, target: Picture, homography: ArrayLike) -> Picture:
    """The source, warped, half transparent over the target, its outline in yellow.

    What lies behind the homography's horizon is left out.
    """
    matrix = np.asarray(homography, dtype=np.float64)
    size = target.size_wh
    warped = cv2.warpPerspective(np.ascontiguousarray(source.rgb), matrix, size)
    area = np.full(source.rgb.shape[:2], 255, np.uint8)
    covered = cv2.warpPerspective(area, matrix, size) > 127
    covered &= _ahead(matrix, source.size_wh, size)
    mixed = target.rgb.copy()
    mixed[covered] = ((warped[covered].astype(int) + target.rgb[covered]) // 2).astype(np.uint8)
    edge = covered & ~cv2.erode(covered.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    mixed[edge] = (255, 210, 0)
    return Picture(mixed, f"{source.name} over {target.name}")


def _ahead(
    matrix: Matrix, source_wh: SizeWH, target_wh: SizeWH
) -> Bool[np.ndarray, "rows columns"]:
    """Target pixels whose source lies on the same side of the horizon as its picture's centre."""
    centre = picture_corners(source_wh).mean(axis=0)
    back = np.linalg.inv(matrix)[2]
    x, y = np.meshgrid(np.arange(target_wh[0]), np.arange(target_wh[1]))
    return (back[0] * x + back[1] * y + back[2]) * (np.append(centre, 1) @ matrix[2]) > 0
