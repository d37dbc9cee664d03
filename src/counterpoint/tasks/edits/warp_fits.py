"""Warps fitted to matches in spite of wrong ones, and the choice among them.

From rigid to flexible: similarity (4 numbers), affine (6), homography (8), thin plate. Which one
the matches support best is asked of chance: the fit that random matches would reach least often
wins (the number of false alarms of Moisan and Stival, IJCV 2004), so that freedom has to pay for
itself in matches.
"""

from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from counterpoint.errors import BadInput
from counterpoint.geometry import Points, SizeWH, as_points
from counterpoint.matching.find import require_known
from counterpoint.tasks.edits.warps import (
    USUAL,
    Plausible,
    Warp,
    WarpKind,
    implausible,
    plate_without_each,
    usual_scale,
)
from counterpoint.tasks.scenes.homography import (
    CHANCE,
    Matrix,
    NoEstimate,
    Robust,
    estimate,
    log10_false_alarms,
    share_near,
    width_px,
)

SAMPLE = {"similarity": 2, "affine": 3, "homography": 4}
"""Matches that determine each projective warp."""

_STIFFNESS = (1.0, 0.1, 0.01)
"""Of a thin plate, in units of the kernel over points brought to unit spread; stiff ones first."""

_PLATE = 8
"""Matches that a thin plate must explain at least."""

_AGAINST = 1.3
"""How many times its matches an implausible warp must explain to overrule a plausible one."""

_WORTH = 1.5
"""How many times the matches of the best projective warp a thin plate must explain."""


@dataclass(frozen=True, eq=False)
class WarpFit:
    """A warp and the matches that speak for it.

    Attributes:
        warp: from source to target pixels.
        inliers: (matches,), which lie within the threshold of where it takes them. Of a thin plate
            each match is judged by the plate fitted without it.
        log10_chance: how often matches at random would agree so well, as in
            `counterpoint.tasks.scenes.homography.log10_chance`; negative numbers are good.
    """

    warp: Warp
    inliers: Bool[np.ndarray, " matches"]
    log10_chance: float

    @property
    def support(self) -> int:
        """How many matches it explains."""
        return int(self.inliers.sum())


@dataclass(frozen=True)
class NoWarp:
    """No warp, and why.

    Attributes:
        reason: one line.
    """

    reason: str


def fit_warp(
    source_px: ArrayLike,
    target_px: ArrayLike,
    target_wh: SizeWH,
    kind: WarpKind,
    *,
    threshold_px: float | int,
    cells: ArrayLike | None = None,
    expected_scale: float | int = 1.0,
) -> WarpFit | NoWarp:
    """The warp of one kind that most matches agree on, by RANSAC, or why there is none.

    Args:
        source_px: (N, 2), pixels of the source picture; the order may change the result.
        target_px: (N, 2), their matches in the target picture.
        target_wh: of the target picture, pixels.
        kind: of warp.
        threshold_px: within which a match agrees, pixels of the target.
        cells: (N,), in which cell of the feature grid each source point lies: points of one cell
            are one witness, not several, when agreement is weighed against chance.
        expected_scale: target pixels per source pixel that the threshold is meant for. Where a
            warp shrinks more than that, the threshold shrinks with it: points that all match to
            about one place agree with any warp that brings them together there.

    Raises:
        UnknownName: no such kind.
        PointError: points that are not finite (x, y) pairs.
        BadInput: different numbers of points.
    """
    require_known("warp", kind, get_args(WarpKind))
    source, target = as_points(source_px), as_points(target_px)
    if len(source) != len(target):
        raise BadInput(f"expected as many points as matches, got {len(source)} and {len(target)}")
    witness = np.arange(len(source)) if cells is None else np.asarray(cells)
    alpha = share_near("homography", target_wh, float(threshold_px))
    if kind == "thin-plate":
        return _fit_plate(source, target, threshold_px, witness, alpha, expected_scale)
    matrix = _search(source, target, kind, threshold_px)
    if isinstance(matrix, NoWarp):
        return matrix
    warp = Warp(kind, matrix)
    distance = _distance(warp, source, target)
    inliers = distance <= threshold_px
    inliers &= distance <= threshold_px * _shrinking(warp, source[inliers], expected_scale)
    return WarpFit(warp, inliers, _chance(inliers, witness, SAMPLE[kind], alpha))


def _shrinking(warp: Warp, points: Points, expected_scale: float | int) -> float:
    """How much a warp shrinks what is around some points, up to 1."""
    if not len(points):
        return 1.0
    area = np.abs(np.linalg.det(warp.jacobians(points)))
    return min(1.0, float(np.median(area)) ** 0.5 / expected_scale)


def _distance(warp: Warp, source: Points, target: Points) -> Float[np.ndarray, " n"]:
    return np.linalg.norm(warp.apply(source) - target, axis=1)


def _chance(
    inliers: Bool[np.ndarray, " n"], witness: np.ndarray, sample: int, alpha: float
) -> float:
    support, total = len(np.unique(witness[inliers])), len(np.unique(witness))
    return log10_false_alarms(support, total, sample, 1, alpha)


def _search(
    source: Points, target: Points, kind: WarpKind, threshold_px: float | int
) -> Matrix | NoWarp:
    """OpenCV's RANSAC, refined over the matches that agree."""
    needed = SAMPLE[kind]
    if len(source) < needed:
        return NoWarp(f"a warp needs {needed} matches, got {len(source)}")
    if kind == "homography":
        robust = Robust(method="ransac", threshold_px=float(threshold_px))
        found = estimate(source, target, "homography", robust)
        return NoWarp(found.reason) if isinstance(found, NoEstimate) else found.matrix
    search = cv2.estimateAffine2D if kind == "affine" else cv2.estimateAffinePartial2D
    try:
        rows, _ = search(
            source, target, method=cv2.RANSAC, ransacReprojThreshold=threshold_px, maxIters=5000
        )
    except cv2.error:  # what it says of unusable points differs between its versions
        rows = None
    if rows is None or not np.isfinite(rows).all():
        return NoWarp(f"RANSAC found no {kind} warp for any part of the {len(source)} matches")
    return np.vstack([rows, (0.0, 0.0, 1.0)])


def choose_warp(
    source_px: ArrayLike,
    target_px: ArrayLike,
    target_wh: SizeWH,
    *,
    threshold_px: float | int,
    cells: ArrayLike | None = None,
    kinds: tuple[WarpKind, ...] = ("similarity", "affine", "homography", "thin-plate"),
    plausible: Plausible = USUAL,
    source_wh: SizeWH | None = None,
) -> WarpFit | NoWarp:
    """Of several kinds the warp that the matches support best, by what chance would give.

    Refused are warps that chance would give too (`log10_chance` above -3), inliers on a line or in
    one place, and what is not `Plausible` over the matches: mirror images, folds, a horizon that
    crosses, extreme scale or stretch. A plausible warp falls with an implausible one that explains
    far more.

    Args:
        source_px: (N, 2), pixels of the source picture.
        target_px: (N, 2), their matches in the target picture.
        target_wh: of the target picture, pixels.
        threshold_px: within which a match agrees, pixels of the target.
        cells: as for `fit_warp`.
        kinds: to choose from.
        plausible: what a warp may do.
        source_wh: of the source picture, pixels; by default as the target's.

    Raises:
        UnknownName: no such kind.
        PointError: points that are not finite (x, y) pairs.
        BadInput: different numbers of points, or no kind.

    >>> x, y = np.meshgrid(np.arange(6), np.arange(6))
    >>> square = np.stack([x.ravel(), y.ravel()], axis=1) * 20.0
    >>> found = choose_warp(square, square * 0.9 + 7, (200, 200), threshold_px=2)
    >>> found.warp.kind, found.support, found.warp.apply([(0, 0)]).round(2).tolist()
    ('similarity', 36, [[7.0, 7.0]])
    >>> choose_warp(square[:2], square[:2], (200, 200), threshold_px=2).reason
    'only 2 of 2 matches agree on a warp, as many as chance would give'
    """
    if not kinds:
        raise BadInput("expected at least one kind of warp, got none")
    source, target = as_points(source_px), as_points(target_px)
    expected = usual_scale(source_wh or target_wh, target_wh)
    best: WarpFit | None = None
    refused: list[tuple[int, str]] = []
    for kind in sorted(kinds, key=get_args(WarpKind).index):
        fit = fit_warp(
            source,
            target,
            target_wh,
            kind,
            threshold_px=threshold_px,
            cells=cells,
            expected_scale=expected,
        )
        if isinstance(fit, NoWarp):
            refused.append((0, fit.reason))
        elif reason := _refusal(fit, source, target, threshold_px, plausible, expected):
            # A thin plate bends after wrong matches too: what it does wrong tells nothing.
            refused.append((fit.support if kind != "thin-plate" else 1, reason))
        elif best is None or _better(fit, best):
            best = fit
    most, reason = max(refused, key=lambda said: said[0], default=(0, ""))
    # Where most matches tell of a mirror image, the few that fit another warp too prove nothing.
    return NoWarp(reason) if best is None or most > _AGAINST * best.support else best


def _better(fit: WarpFit, best: WarpFit) -> bool:
    if fit.warp.kind == "thin-plate" and fit.support < _WORTH * best.support:
        return False
    return fit.log10_chance < best.log10_chance


def _refusal(
    fit: WarpFit,
    source: Points,
    target: Points,
    threshold_px: float | int,
    plausible: Plausible,
    expected: float,
) -> str:
    """Why a warp is not to be trusted; "" where nothing is wrong."""
    kept, total = fit.support, len(fit.inliers)
    if fit.log10_chance > CHANCE:
        return f"only {kept} of {total} matches agree on a warp, as many as chance would give"
    starts, ends = source[fit.inliers], target[fit.inliers]
    if min(expected * width_px(starts), width_px(ends)) < threshold_px / 2:
        return f"degenerate: the {kept} matches that agree lie on a line or in one place"
    return implausible(fit.warp, starts, plausible, expected)


def _fit_plate(
    source: Points,
    target: Points,
    threshold_px: float | int,
    witness: np.ndarray,
    alpha: float,
    expected_scale: float | int,
) -> WarpFit | NoWarp:
    """From the affine warp's near matches outwards, at the stiffness that explains most."""
    start = _search(source, target, "affine", 2 * threshold_px)
    if isinstance(start, NoWarp):
        return start
    affine = Warp("affine", start)
    near = _distance(affine, source, target) <= 3 * threshold_px
    threshold_px *= _shrinking(affine, source[near], expected_scale)
    grown = [_grow(source, target, near, threshold_px, s) for s in _STIFFNESS]
    # Each match is judged by a plate that has not seen it: freedom needs no other price, and what
    # started it was an affine sample.
    fits = [
        WarpFit(warp, inliers, _chance(inliers, witness, SAMPLE["affine"], alpha))
        for warp, inliers in grown
        if inliers.sum() >= _PLATE
    ]
    return min(fits, key=_log10_chance, default=NoWarp("too few matches agree on a thin plate"))


def _log10_chance(fit: WarpFit) -> float:
    return fit.log10_chance


def _grow(
    source: Points,
    target: Points,
    chosen: Bool[np.ndarray, " n"],
    threshold_px: float | int,
    stiffness: float,
) -> tuple[Warp, Bool[np.ndarray, " n"]]:
    """Fit, keep what agrees, fit again, until nothing changes."""
    warp = Warp("thin-plate", np.eye(3))
    for _ in range(8):
        if chosen.sum() < _PLATE:
            return warp, np.zeros(len(source), dtype=bool)
        warp, left_out_px = plate_without_each(source[chosen], target[chosen], stiffness)
        distance = _distance(warp, source, target)
        distance[chosen] = left_out_px
        agreeing = distance <= threshold_px
        if (agreeing == chosen).all():
            break
        chosen = agreeing
    return warp, chosen
