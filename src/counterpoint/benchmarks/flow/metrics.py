"""Accuracy of dense flow, as TSS scores it (Taniai et al. 2016, section 5, and its evaluation kit).

Of one picture: the share of its foreground pixels whose end point lies at most T pixels from the
true one, where the other picture, into which the flow leads, is thought to have a longer side of
100 pixels. So T = 5 is PCK at 0.05 of that side, on every foreground pixel. A data set's figure is
the mean over its pictures; papers report T = 5 for each group and the mean of the three groups.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from counterpoint.benchmarks.datasets.flo import Flow
from counterpoint.benchmarks.metrics import Estimate
from counterpoint.benchmarks.videos.mask_metrics import estimate
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH

SIDE = 100
"""Longer side of the picture that thresholds are pixels of."""

THRESHOLDS = (1.0, 3.0, 5.0, 10.0)
"""T; 5 is the one that papers report."""


@dataclass(frozen=True)
class FlowCounts:
    """Counts of one direction of one pair.

    Attributes:
        pair: its name, the same for both directions.
        group: of the data set.
        flipped: whether one thing is the other's mirror image.
        correct: pixels at most each threshold off.
        pixels: that count.
        lost: of these, how many have no prediction (they count as wrong).
    """

    pair: str
    group: str
    flipped: bool
    correct: tuple[int, ...]
    pixels: int
    lost: int


@dataclass(frozen=True)
class GroupAccuracy:
    """Accuracy on one group.

    Attributes:
        group: its name.
        pairs: how many, two directions each.
        accuracy: mean over directions, per cent, its interval by bootstrap over pairs.
    """

    group: str
    pairs: int
    accuracy: Estimate


@dataclass(frozen=True)
class FlowScore:
    """Flow accuracy at one threshold, in per cent; intervals by bootstrap over pairs.

    Attributes:
        threshold: T, pixels of a picture with a longer side of 100.
        groups: each group's mean over directions.
        mean: of the groups' figures.
        per_image: mean over all directions.
        unflipped: the same over pairs that are not mirrored; None: there is none.
        per_pixel: correct pixels over all pixels.
        pairs: how many.
        pixels: that count.
        lost: pixels without a prediction.
    """

    threshold: float
    groups: tuple[GroupAccuracy, ...]
    mean: Estimate
    per_image: Estimate
    unflipped: Estimate | None
    per_pixel: Estimate
    pairs: int
    pixels: int
    lost: int


@dataclass(frozen=True)
class FlowAccuracy:
    """Counts, direction by direction; `update` gives a new one, nothing is changed.

    Attributes:
        thresholds: T.
        directions: in the order of groups and pairs.

    >>> true = np.zeros((1, 4, 2), np.float32)
    >>> true[0, 3] = np.nan  # background
    >>> found = true + np.array([[[0, 0], [3, 0], [0, 5.5], [99, 0]]], np.float32)
    >>> accuracy = FlowAccuracy().update("a", "JODS", found, true, (50, 100))
    >>> [round(score.mean.value, 1) for score in accuracy.compute()]
    [33.3, 66.7, 66.7, 100.0]
    """

    thresholds: tuple[float, ...] = THRESHOLDS
    directions: tuple[FlowCounts, ...] = ()

    def update(
        self,
        pair: str,
        group: str,
        predicted: Flow,
        true: Flow,
        target_wh: SizeWH,
        *,
        flipped: bool = False,
        counted: Bool[np.ndarray, "_ _"] | None = None,
    ) -> "FlowAccuracy":
        """With one more direction.

        Args:
            pair: its name.
            group: of the data set.
            predicted: NaN where there is no prediction.
            true: NaN where it is not known: such pixels do not count.
            target_wh: of the picture that the flow leads into, pixels.
            flipped: whether one thing is the other's mirror image.
            counted: only these of the known pixels.

        Raises:
            BadInput: flows of different sizes, or no pixel that counts.
        """
        if predicted.shape != true.shape:
            raise BadInput(
                f"expected flows of one size for {pair}, got {predicted.shape[:2]} and "
                f"{true.shape[:2]} rows and columns"
            )
        known = ~np.isnan(true[..., 0])
        known = known if counted is None else known & counted
        if not known.any():
            raise BadInput(f"expected foreground pixels with a known flow in {pair}, got none")
        off = np.linalg.norm((predicted - true)[known].astype(np.float64), axis=1)
        lost = int(np.isnan(off).sum())
        limits = [t * max(target_wh) / SIDE for t in self.thresholds]
        correct = tuple(int((off <= limit).sum()) for limit in limits)
        new = FlowCounts(pair, group, flipped, correct, len(off), lost)
        return FlowAccuracy(self.thresholds, (*self.directions, new))

    def joined(self, other: "FlowAccuracy") -> "FlowAccuracy":
        """Two shards as one, this one's directions first.

        Raises:
            BadInput: other thresholds.
        """
        if self.thresholds != other.thresholds:
            raise BadInput("expected two shards of one list of thresholds, got different ones")
        return FlowAccuracy(self.thresholds, self.directions + other.directions)

    def compute(self, seed: int = 0) -> tuple[FlowScore, ...]:
        """The figures at each threshold; ``seed`` is the bootstrap's.

        Raises:
            BadInput: no pair yet.
        """
        if not self.directions:
            raise BadInput("expected at least one pair to score, got none")
        return tuple(self._score(i, t, seed) for i, t in enumerate(self.thresholds))

    def _score(self, column: int, threshold: float, seed: int) -> FlowScore:
        every = self.directions
        unflipped = [one for one in every if not one.flipped]
        groups = list(dict.fromkeys(one.group for one in every))
        table = [
            GroupAccuracy(
                group,
                len({one.pair for one in every if one.group == group}),
                _over_pairs([one for one in every if one.group == group], _mean(column), seed),
            )
            for group in groups
        ]
        return FlowScore(
            threshold=threshold,
            groups=tuple(table),
            mean=_over_pairs(every, _mean_of_groups(column), seed),
            per_image=_over_pairs(every, _mean(column), seed),
            unflipped=_over_pairs(unflipped, _mean(column), seed) if unflipped else None,
            per_pixel=_over_pairs(every, _per_pixel(column), seed),
            pairs=len({one.pair for one in every}),
            pixels=sum(one.pixels for one in every),
            lost=sum(one.lost for one in every),
        )


_Statistic = Callable[[Sequence[FlowCounts]], float]


def _mean(column: int) -> _Statistic:
    return lambda some: 100 * float(np.mean([one.correct[column] / one.pixels for one in some]))


def _per_pixel(column: int) -> _Statistic:
    return lambda some: (
        100 * sum(one.correct[column] for one in some) / sum(one.pixels for one in some)
    )


def _mean_of_groups(column: int) -> _Statistic:
    def statistic(some: Sequence[FlowCounts]) -> float:
        shares: dict[str, list[float]] = {}
        for one in some:
            shares.setdefault(one.group, []).append(one.correct[column] / one.pixels)
        return 100 * float(np.mean([np.mean(of) for of in shares.values()]))

    return statistic


def _over_pairs(some: Sequence[FlowCounts], statistic: _Statistic, seed: int) -> Estimate:
    """A figure with its interval: both directions of a pair are drawn together."""
    pairs: dict[str, list[FlowCounts]] = {}
    for one in some:
        pairs.setdefault(one.pair, []).append(one)
    listed = list(pairs.values())

    def of(drawn: Int[np.ndarray, " drawn"]) -> float:
        return statistic([one for i in drawn for one in listed[i]])

    return estimate(of, len(listed), seed)
