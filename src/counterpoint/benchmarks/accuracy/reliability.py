"""How far a confidence can be trusted: reliability, risk and coverage, and points that are absent.

- Reliability: of matches of like confidence, the share that is right. The expected calibration
  error (ECE; Naeini et al. 2015, here over bins of equal count, Nguyen and O'Connor 2015) is the
  mean distance of the two.
- Risk and coverage (El-Yaniv and Wiener 2010): of the most confident share of all matches
  (coverage), the share that is wrong (risk). AURC is the mean risk over all coverages (Geifman et
  al. 2019); the best any ranking could have stands beside it, and that of no ranking.
- AUROC: of a right and a wrong match, how often the right one has the higher confidence; and of a
  point that the target shows and one that it does not, how often the former has it. 50 per cent is
  chance.

Intervals are by bootstrap over pairs, 95 per cent.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from counterpoint.benchmarks.metrics import RESAMPLES, Estimate, Interval
from counterpoint.errors import BadInput
from counterpoint.matching import Evidence

BINS = 10
"""Of the reliability curve, each with as many matches."""

Numbers = Float[np.ndarray, " n"]
Truth = Bool[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Judged:
    """Matches whose truth is known, of many pairs.

    Attributes:
        evidence: of the N matches.
        ranking: (N,), `Matches.confidence` without any calibration.
        correct: (N,), within the threshold of the true point; False where that is absent.
        absent: (N,), the target does not show the point.
        pair: (N,), the number of the pair that each is of.
    """

    evidence: Evidence
    ranking: Numbers
    correct: Truth
    absent: Truth
    pair: Int[np.ndarray, " n"]

    def __post_init__(self) -> None:
        columns = (self.ranking, self.correct, self.absent, self.pair)
        if {len(column) for column in columns} != {len(self.evidence)} or not len(self.evidence):
            raise BadInput("expected at least one match, and as many values in every column")
        if bool((self.correct & self.absent).any()):
            raise BadInput("expected no match to be right where its point is absent")


@dataclass(frozen=True)
class Bin:
    """Matches of like confidence.

    Attributes:
        confidence: their mean, 0 to 1.
        correct: the share that is right, 0 to 1.
        low: lower end of its 95 per cent interval (Wilson), as if all were independent.
        high: upper end.
        count: how many.
    """

    confidence: float
    correct: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class RiskPoint:
    """The most confident share of the matches.

    Attributes:
        coverage: that share, 0 to 1.
        confidence: of the least confident among them.
        risk: the share of them that is wrong, 0 to 1.
    """

    coverage: float
    confidence: float
    risk: float


@dataclass(frozen=True)
class Trust:
    """How far one confidence can be trusted on one set of matches.

    Attributes:
        name: of the confidence.
        matches: how many.
        correct: share that is right, 0 to 1.
        absent: share whose point the target does not show, 0 to 1.
        ece: expected calibration error, per cent.
        brier: mean squared distance of confidence from truth (Brier 1950), 0 to 1.
        auroc: right above wrong, per cent; None where all are the same.
        auroc_absent: shown above absent, per cent; None where none is absent.
        aurc: mean risk over coverages, per cent.
        aurc_best: the same of the best ranking there could be.
        bins: the reliability curve.
        curve: risk by coverage.
        ranks_only: it was never meant as a probability, so that its distance from one says nothing.
    """

    name: str
    matches: int
    correct: float
    absent: float
    ece: Estimate
    brier: float
    auroc: Estimate | None
    auroc_absent: Estimate | None
    aurc: Estimate
    aurc_best: float
    bins: tuple[Bin, ...]
    curve: tuple[RiskPoint, ...]
    ranks_only: bool = False


def trust(name: str, confidence: Numbers, judged: Judged, seed: int = 0) -> Trust:
    """Measure a confidence.

    Args:
        name: for tables and charts.
        confidence: (N,) of the judged matches, 0 to 1.
        judged: their truth.
        seed: of the bootstrap.

    Raises:
        BadInput: confidences of another number or outside 0 to 1.
    """
    if len(confidence) != len(judged.correct) or not ((confidence >= 0) & (confidence <= 1)).all():
        raise BadInput(
            f"expected {len(judged.correct)} confidences from 0 to 1, got {len(confidence)}"
        )
    correct, present = judged.correct, ~judged.absent
    weights = _resampled_weights(judged.pair, seed)
    order = np.argsort(-confidence, kind="stable")
    return Trust(
        name=name,
        matches=len(correct),
        correct=float(correct.mean()),
        absent=float(judged.absent.mean()),
        ece=_estimate(lambda w: _ece(confidence, correct, order, w), weights),
        brier=float(np.square(confidence - correct).mean()),
        auroc=_maybe(lambda w: _auroc(confidence, correct, order, w), weights, correct),
        auroc_absent=_maybe(lambda w: _auroc(confidence, present, order, w), weights, present),
        aurc=_estimate(lambda w: _aurc(confidence, correct, order, w), weights),
        aurc_best=100 * best_aurc(correct),
        bins=reliability_bins(confidence, correct),
        curve=risk_curve(confidence, correct),
    )


def reliability_bins(confidence: Numbers, correct: Truth, bins: int = BINS) -> tuple[Bin, ...]:
    """Matches by rising confidence, in bins of (nearly) equal count.

    >>> [one] = reliability_bins(np.array([0.2, 0.4]), np.array([False, True]), bins=1)
    >>> round(one.confidence, 3), one.correct, one.count
    (0.3, 0.5, 2)
    """
    order = np.argsort(confidence, kind="stable")
    found: list[Bin] = []
    for some in np.array_split(order, min(bins, len(order))):
        share, n = float(correct[some].mean()), len(some)
        low, high = _wilson(share, n)
        found.append(Bin(float(confidence[some].mean()), share, low, high, n))
    return tuple(found)


def risk_curve(confidence: Numbers, correct: Truth, points: int = 50) -> tuple[RiskPoint, ...]:
    """Risk of the most confident matches, at about ``points`` coverages up to all of them."""
    order = np.argsort(-confidence, kind="stable")
    risk = _risks(confidence[order], correct[order])
    n = len(order)
    counts = np.unique(np.ceil(np.arange(1, points + 1) * n / points).astype(int))
    return tuple(
        RiskPoint(k / n, float(confidence[order[k - 1]]), float(risk[k - 1]))
        for k in counts.tolist()
    )


def best_aurc(correct: Truth) -> float:
    """AURC (0 to 1) of a ranking that puts every right match before every wrong one."""
    best_first = np.sort(correct)[::-1]
    return float((1 - np.cumsum(best_first) / np.arange(1, len(correct) + 1)).mean())


def _risks(confidence: Numbers, correct: Truth) -> Numbers:
    """Risk of the first k matches for each k; of equal confidences none comes first."""
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    share = np.bincount(group, weights=correct) / sizes
    return 1 - np.cumsum(share[group]) / np.arange(1, len(correct) + 1)


Weights = Float[np.ndarray, "samples n"]
Statistic = Callable[[Weights], Float[np.ndarray, " samples"]]


def _resampled_weights(pair: Int[np.ndarray, " n"], seed: int) -> Callable[[int], Weights]:
    """How often each match occurs when pairs are drawn with replacement, some samples at a time."""
    _, group = np.unique(pair, return_inverse=True)
    pairs = int(group.max()) + 1
    rng = np.random.default_rng(seed)

    def draw(samples: int) -> Weights:
        drawn = rng.integers(0, pairs, (samples, pairs))
        counts = np.stack([np.bincount(row, minlength=pairs) for row in drawn])
        return counts[:, group].astype(float)

    return draw


def _estimate(statistic: Statistic, draw: Callable[[int], Weights]) -> Estimate:
    """A figure with its interval, in per cent."""
    one = draw(1)
    value = float(statistic(np.ones_like(one))[0])
    block = max(1, (1 << 21) // one.shape[1])
    samples = [
        statistic(draw(min(block, RESAMPLES - start))) for start in range(0, RESAMPLES, block)
    ]
    low, high = np.nanpercentile(100 * np.concatenate(samples), [2.5, 97.5])
    return Estimate(100 * value, Interval(float(low), float(high)))


def _maybe(statistic: Statistic, draw: Callable[[int], Weights], truth: Truth) -> Estimate | None:
    """Nothing where there is nothing to tell apart."""
    return None if bool(truth.all()) or not bool(truth.any()) else _estimate(statistic, draw)


def _ece(
    confidence: Numbers, correct: Truth, order: Int[np.ndarray, " n"], weights: Weights
) -> Float[np.ndarray, " samples"]:
    total = np.zeros(len(weights))
    for some in np.array_split(order[::-1], min(BINS, len(order))):
        gap = confidence[some] - correct[some]
        total += np.abs(weights[:, some] @ gap)
    return total / weights.sum(axis=1)


def _auroc(
    confidence: Numbers, positive: Truth, order: Int[np.ndarray, " n"], weights: Weights
) -> Float[np.ndarray, " samples"]:
    """Mann and Whitney's statistic with weights; ties count half."""
    _, group = np.unique(confidence[order], return_inverse=True)
    pos = _by_group(weights[:, order] * positive[order], group)
    neg = _by_group(weights[:, order] * ~positive[order], group)
    below = np.cumsum(neg, axis=1) - neg / 2
    with np.errstate(invalid="ignore"):
        return (pos * below).sum(axis=1) / (pos.sum(axis=1) * neg.sum(axis=1))


def _by_group(
    values: Float[np.ndarray, "samples n"], group: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "samples groups"]:
    """Sums over groups, which run from high to low along the columns."""
    turned = values[:, ::-1]
    starts = np.flatnonzero(np.diff(group[::-1], prepend=-1))
    return np.add.reduceat(turned, starts, axis=1)


def _aurc(
    confidence: Numbers, correct: Truth, order: Int[np.ndarray, " n"], weights: Weights
) -> Float[np.ndarray, " samples"]:
    w = weights[:, order]
    wrong = np.cumsum(w * ~correct[order], axis=1)
    covered = np.cumsum(w, axis=1)
    # Equal confidences come or go together: each has the risk at their group's end.
    last = np.flatnonzero(np.diff(confidence[order], append=-1.0))
    _, group = np.unique(-confidence[order], return_inverse=True)
    risk = wrong[:, last] / np.maximum(covered[:, last], 1e-12)
    return (w * risk[:, group]).sum(axis=1) / w.sum(axis=1)


def _wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's (1927) interval of a share of n, 0 to 1."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def figure(estimate: Estimate | None) -> str:
    """As tables have it: the figure and half its interval; "-" where there is none."""
    return "-" if estimate is None else estimate.shown()
