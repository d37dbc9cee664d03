"""PCK, the percentage of correct key points, and how sure one can be of it.

A prediction is correct when its distance to the truth is at most ``alpha`` times a length that the
protocol names (a crop's side, a box's longer side). Three averages, which papers all call PCK:

- per point (micro): correct points over all points;
- per point, macro: the mean over categories of their per-point figures;
- per image: the mean over pairs of each pair's share of correct points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from counterpoint.errors import BadInput
from counterpoint.geometry import as_points

RESAMPLES = 1000
"""Bootstrap samples behind an interval."""

_DRAWN_AT_ONCE = 1 << 20  # bounds memory, changes no figure


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in per cent.

    Attributes:
        low: its lower end.
        high: its upper end.
        level: share of such intervals that hold the truth, 0 to 1.
    """

    low: float
    high: float
    level: float = 0.95

    def around(self, value: float) -> str:
        """A figure as tables have it, with half the interval.

        >>> Interval(15.6, 18.4).around(17.1)
        '17.1 ± 1.4'
        """
        return f"{value:.1f} ± {(self.high - self.low) / 2:.1f}"


@dataclass(frozen=True)
class Estimate:
    """A figure and how sure one can be of it.

    Attributes:
        value: in per cent.
        interval: by bootstrap over pairs.
    """

    value: float
    interval: Interval

    def shown(self, samples: int = 2) -> str:
        """As tables have it; of one sample there is nothing to draw from: the figure alone."""
        return self.interval.around(self.value) if samples > 1 else f"{self.value:.1f}"


@dataclass(frozen=True)
class PCKScore:
    """PCK over a set of pairs, in per cent.

    Attributes:
        alpha: threshold, in units of the protocol's length.
        per_point: correct points over all points (micro).
        per_image: mean over pairs of each pair's share of correct points.
        interval: of ``per_point``, by bootstrap over pairs.
        pairs: how many pairs were scored.
        points: how many points.
    """

    alpha: float
    per_point: float
    per_image: float
    interval: Interval
    pairs: int
    points: int


@dataclass(frozen=True)
class PCK:
    """Counts of correct points, pair by pair; `update` gives a new one, nothing is changed.

    Attributes:
        alpha: threshold, in units of the length given to `update`.
        strict: correct when the distance is below the threshold (``<``), not at most it (``<=``).
        correct: of each pair.
        points: of each pair.

    >>> pck = PCK(alpha=0.1)
    >>> pck = pck.update([(0, 0), (9, 9)], [(0, 1), (0, 0)], length_px=10)
    >>> pck = pck.update([(5, 5)], [(5, 5)], length_px=10)
    >>> score = pck.compute()
    >>> round(score.per_point, 1), score.per_image
    (66.7, 75.0)
    """

    alpha: float = 0.1
    strict: bool = False
    correct: tuple[int, ...] = ()
    points: tuple[int, ...] = ()

    def update(self, predicted_px: ArrayLike, true_px: ArrayLike, length_px: float | int) -> "PCK":
        """With one more pair.

        Args:
            predicted_px: (N, 2), (x, y); both in one frame, N at least 1.
            true_px: (N, 2).
            length_px: what ``alpha`` is a share of, pixels of that frame.

        Raises:
            BadInput: no points, different numbers of them, or a length that is not positive.
        """
        hits = correct_points(predicted_px, true_px, self.alpha * length_px, strict=self.strict)
        correct, points = (*self.correct, int(hits.sum())), (*self.points, len(hits))
        return PCK(self.alpha, self.strict, correct, points)

    def compute(self, seed: int = 0) -> PCKScore:
        """The score of all pairs so far; ``seed`` is the bootstrap's.

        Raises:
            BadInput: no pair yet.
        """
        correct, points = self._counts()
        return PCKScore(
            alpha=self.alpha,
            per_point=100 * float(correct.sum() / points.sum()),
            per_image=100 * float((correct / points).mean()),
            interval=bootstrap(correct, points, seed=seed),
            pairs=len(points),
            points=int(points.sum()),
        )

    def per_point(self, seed: int = 0) -> Estimate:
        """Correct points over all points (micro).

        Raises:
            BadInput: no pair yet; so for every figure.
        """
        correct, points = self._counts()
        value = 100 * float(correct.sum() / points.sum())
        return Estimate(value, bootstrap(correct, points, seed=seed))

    def per_image(self, seed: int = 0) -> Estimate:
        """The mean over pairs of each pair's share of correct points."""
        correct, points = self._counts()
        shares = correct / points
        value = 100 * float(shares.mean())
        return Estimate(value, bootstrap(shares, np.ones(len(shares), dtype=int), seed=seed))

    def macro(self, categories: Sequence[str], seed: int = 0) -> Estimate:
        """The mean over categories of their per-point figures.

        Args:
            categories: of each pair, in the order of the updates.
            seed: of the bootstrap, which draws pairs within their category; one with a single pair
                adds nothing to the interval's width.
        """
        correct, points = self._counts()
        if len(categories) != len(points):
            raise BadInput(f"expected {len(points)} categories, got {len(categories)}")
        _, group = np.unique(np.array(categories), return_inverse=True)
        value = 100 * float(_ratios(correct, points, group).mean())
        return Estimate(value, _bootstrap_macro(correct, points, group, seed))

    def where(self, chosen: Sequence[bool] | Bool[np.ndarray, " pairs"]) -> "PCK":
        """The counts of some pairs: those of a category, or those with a flag."""
        kept = np.flatnonzero(np.asarray(chosen)).tolist()
        if len(chosen) != len(self.points):
            raise BadInput(f"expected a choice of {len(self.points)} pairs, got {len(chosen)}")
        correct, points = ([counts[i] for i in kept] for counts in (self.correct, self.points))
        return PCK(self.alpha, self.strict, tuple(correct), tuple(points))

    def joined(self, other: "PCK") -> "PCK":
        """The counts of two shards, this one's pairs first: as if updated with all in one go.

        Raises:
            BadInput: the two were counted under different thresholds.
        """
        if (self.alpha, self.strict) != (other.alpha, other.strict):
            raise BadInput("expected two shards of one threshold, got different ones")
        correct, points = self.correct + other.correct, self.points + other.points
        return PCK(self.alpha, self.strict, correct, points)

    def lead_over(self, other: "PCK", seed: int = 0) -> Interval:
        """By how much this is ahead of another method on the same pairs, per point.

        The same resampled pairs serve both, so what is hard for both cancels out; an interval
        above 0 means ahead.

        Raises:
            BadInput: the two did not score the same pairs.
        """
        (mine, points), (theirs, others) = self._counts(), other._counts()
        if not np.array_equal(points, others):
            raise BadInput("expected two scores of the same pairs, got different numbers of points")
        return bootstrap(mine - theirs, points, seed=seed)

    def _counts(self) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
        if not self.points:
            raise BadInput("expected at least one pair to score, got none")
        return np.array(self.correct), np.array(self.points)


def correct_points(
    predicted_px: ArrayLike, true_px: ArrayLike, threshold_px: float | int, *, strict: bool = False
) -> Bool[np.ndarray, " points"]:
    """Which predictions lie within ``threshold_px`` of the truth, Euclidean.

    Raises:
        BadInput: no points, different numbers of them, or a threshold that is not positive.
    """
    predicted, true = as_points(predicted_px), as_points(true_px)
    if len(predicted) != len(true) or len(true) == 0:
        raise BadInput(
            f"expected as many predictions as points, at least one; got {len(predicted)} for "
            f"{len(true)}"
        )
    if not threshold_px > 0:
        raise BadInput(f"expected a threshold above 0 px, got {threshold_px}")
    distance = np.linalg.norm(predicted - true, axis=1)
    return distance < threshold_px if strict else distance <= threshold_px


def bootstrap(
    numerators: Float[np.ndarray, " pairs"] | Int[np.ndarray, " pairs"],
    denominators: Int[np.ndarray, " pairs"],
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of ``sum(numerators) / sum(denominators)``, pairs drawn with replacement.

    Pairs that share a picture are not independent: the interval is for other pairs of such
    pictures, and too narrow for other pictures.
    """
    ratios = _resampled(numerators, denominators, resamples, np.random.default_rng(seed))
    tail = 50 * (1 - level)
    low, high = np.percentile(100 * ratios, [tail, 100 - tail])
    return Interval(float(low), float(high), level)


def _resampled(
    numerators: Float[np.ndarray, " pairs"] | Int[np.ndarray, " pairs"],
    denominators: Int[np.ndarray, " pairs"],
    resamples: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, " resamples"]:
    """The ratio of sums of as many pairs, drawn with replacement, again and again."""
    n = len(denominators)
    ratios = np.empty(resamples)
    block = max(1, _DRAWN_AT_ONCE // n)
    for start in range(0, resamples, block):
        drawn = rng.integers(0, n, (min(block, resamples - start), n))
        sums = numerators[drawn].sum(axis=1) / denominators[drawn].sum(axis=1)
        ratios[start : start + block] = sums
    return ratios


def _ratios(
    correct: Int[np.ndarray, " pairs"],
    points: Int[np.ndarray, " pairs"],
    group: Int[np.ndarray, " pairs"],
) -> Float[np.ndarray, " groups"]:
    """Correct points over points of each group."""
    return np.bincount(group, weights=correct) / np.bincount(group, weights=points)


def _bootstrap_macro(
    correct: Int[np.ndarray, " pairs"],
    points: Int[np.ndarray, " pairs"],
    group: Int[np.ndarray, " pairs"],
    seed: int,
    level: float = 0.95,
) -> Interval:
    """As `bootstrap`, of the mean over groups; pairs are drawn within their group, none is lost."""
    rng = np.random.default_rng(seed)
    of_groups = [
        _resampled(correct[group == g], points[group == g], RESAMPLES, rng)
        for g in range(int(group.max()) + 1)
    ]
    means = np.mean(of_groups, axis=0)
    tail = 50 * (1 - level)
    low, high = np.percentile(100 * means, [tail, 100 - tail])
    return Interval(float(low), float(high), level)
