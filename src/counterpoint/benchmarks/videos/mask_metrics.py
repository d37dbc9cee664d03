"""J and F of masks, as DAVIS scores them (Perazzi et al. 2016; Pont-Tuset et al. 2017).

A metric is a value: `update` gives a new one with a video more, `joined` puts together what was
scored apart, `compute` the figures, in per cent. What they are computed from is kept video by
video and ordered by name, so that shards in any order give the same figures.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from counterpoint.benchmarks.metrics import RESAMPLES, Estimate, Interval
from counterpoint.errors import BadInput

BOUNDARY_TOLERANCE = 0.008
"""How far boundaries may lie apart, as a share of the picture's diagonal."""

RECALL_ABOVE = 0.5
"""Frames that score more count as recalled."""

Binary = Bool[np.ndarray, "_ _"]
Mask = Shaped[np.ndarray, "_ _"]
Values = Float[np.ndarray, " frames"]


def region_similarity(predicted: Binary, true: Binary) -> float:
    """J, the intersection over the union, 0 to 1; two empty masks agree.

    Raises:
        BadInput: masks of different sizes.
    """
    _require_one_size(predicted, true)
    union = np.count_nonzero(predicted | true)
    return np.count_nonzero(predicted & true) / union if union else 1.0


def boundary_accuracy(
    predicted: Binary, true: Binary, tolerance: float | int = BOUNDARY_TOLERANCE
) -> float:
    """F, precision and recall of boundary pixels in one figure, 0 to 1 (Perazzi et al. 2016).

    A boundary pixel is found when the other boundary passes within ``tolerance`` of the diagonal,
    rounded up to whole pixels. Two masks without boundaries agree.

    Raises:
        BadInput: masks of different sizes.
    """
    _require_one_size(predicted, true)
    reach = int(np.ceil(tolerance * np.linalg.norm(true.shape)))
    mine, theirs = boundary(predicted), boundary(true)
    n_mine, n_theirs = np.count_nonzero(mine), np.count_nonzero(theirs)
    if not n_mine or not n_theirs:
        # Precision of no boundary at all is 1, its recall 0, and the other way around.
        return float(n_mine == n_theirs)
    precision = np.count_nonzero(mine & _dilated(theirs, reach)) / n_mine
    recall = np.count_nonzero(theirs & _dilated(mine, reach)) / n_theirs
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def boundary(mask: Binary) -> Binary:
    """Pixels that differ from their neighbour to the right, below, or both, as DAVIS draws them.

    In the last row and column only the neighbour within it counts; the last pixel never does.
    """
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


@dataclass(frozen=True)
class ObjectScores:
    """One object of one sequence, frame by frame, without the first and the last frame.

    Attributes:
        sequence: its name.
        label: the object's number, from 1.
        region: J, 0 to 1.
        boundary: F, 0 to 1.
    """

    sequence: str
    label: int
    region: tuple[float, ...]
    boundary: tuple[float, ...]


@dataclass(frozen=True)
class Statistics:
    """Of J or F, in per cent: means over objects of each object's figure.

    Attributes:
        mean: over the frames.
        recall: share of frames above one half.
        decay: mean of the first quarter of the frames minus that of the last.
    """

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True)
class JFScore:
    """DAVIS' figures over a set of objects.

    Attributes:
        region: of J.
        boundary: of F.
        both: J&F, the mean of the two means, with an interval by bootstrap over sequences.
        sequences: how many.
        objects: over all sequences.
        frames: scored, over all sequences.
    """

    region: Statistics
    boundary: Statistics
    both: Estimate
    sequences: int
    objects: int
    frames: int


@dataclass(frozen=True)
class JF:
    """J and F of every object and frame so far.

    Attributes:
        objects: in the order of sequences' names, then of labels.

    >>> true = np.zeros((4, 8, 8), int)
    >>> true[:, 2:6, 2:6] = 1
    >>> score = JF().update("square", true, true).compute()
    >>> score.both.value, score.frames
    (100.0, 2)
    """

    objects: tuple[ObjectScores, ...] = ()

    def update(self, sequence: str, predicted: Iterable[Mask], true: Iterable[Mask]) -> "JF":
        """With one more sequence.

        Args:
            sequence: its name.
            predicted: of every frame, (rows, columns), 0 for the background, objects from 1.
            true: likewise; the objects are 1 to the largest number of the first mask.

        Raises:
            BadInput: masks of different sizes or numbers, fewer than three frames, an object that
                the first mask does not have, or a sequence that is there already.
        """
        found: list[list[tuple[float, float]]] = []
        objects = 0
        for i, (mine, theirs) in enumerate(_together(sequence, predicted, true)):
            if not i:
                objects = _objects(sequence, theirs)
            _require_labels(sequence, i, mine, theirs, objects)
            found.append([_both(mine == k, theirs == k) for k in range(1, objects + 1)])
        if len(found) < 3:
            raise BadInput(
                f"expected at least 3 frames of {sequence}, for the first and last do not count; "
                f"got {len(found)}"
            )
        scores = np.array(found[1:-1])
        new = JF(
            tuple(
                ObjectScores(sequence, k + 1, *(tuple(map(float, s)) for s in scores[:, k].T))
                for k in range(objects)
            )
        )
        return self.joined(new)

    def joined(self, other: "JF") -> "JF":
        """With what was scored elsewhere.

        Raises:
            BadInput: a sequence is in both.
        """
        names = {o.sequence for o in self.objects}
        require_new(names, (o.sequence for o in other.objects))
        everything = (*self.objects, *other.objects)
        return JF(tuple(sorted(everything, key=lambda o: (o.sequence, o.label))))

    def compute(self, seed: int = 0) -> JFScore:
        """The figures of all objects so far; ``seed`` is the bootstrap's.

        Raises:
            BadInput: no object yet.
        """
        if not self.objects:
            raise BadInput("expected at least one sequence to score, got none")
        region = [statistics(np.array(o.region)) for o in self.objects]
        edge = [statistics(np.array(o.boundary)) for o in self.objects]
        means = np.array([(a.mean + b.mean) / 2 for a, b in zip(region, edge, strict=True)])
        names = list(dict.fromkeys(o.sequence for o in self.objects))
        of = np.array([names.index(o.sequence) for o in self.objects])
        sums, counts = np.bincount(of, means), np.bincount(of)
        frames = {o.sequence: len(o.region) for o in self.objects}
        return JFScore(
            region=_mean_statistics(region),
            boundary=_mean_statistics(edge),
            both=estimate(lambda drawn: sums[drawn].sum() / counts[drawn].sum(), len(names), seed),
            sequences=len(names),
            objects=len(self.objects),
            frames=sum(frames.values()),
        )

    def by_sequence(self) -> dict[str, JFScore]:
        """Each sequence's own figures."""
        names = dict.fromkeys(o.sequence for o in self.objects)
        return {
            name: JF(tuple(o for o in self.objects if o.sequence == name)).compute()
            for name in names
        }


def statistics(values: Values) -> Statistics:
    """DAVIS' mean, recall and decay of one object's frames (0 to 1), in per cent.

    The quarters for the decay share the frames at their ends, as in the official code.
    """
    ends = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[ends[0] : ends[1] + 1], values[ends[3] : ends[4] + 1]
    return Statistics(
        mean=100 * float(values.mean()),
        recall=100 * float((values > RECALL_ABOVE).mean()),
        decay=100 * float(first.mean() - last.mean()),
    )


def _mean_statistics(each: Sequence[Statistics]) -> Statistics:
    table = np.array([(s.mean, s.recall, s.decay) for s in each])
    return Statistics(*(float(column) for column in table.mean(axis=0)))


def _both(predicted: Binary, true: Binary) -> tuple[float, float]:
    return region_similarity(predicted, true), boundary_accuracy(predicted, true)


def _together(
    sequence: str, predicted: Iterable[Mask], true: Iterable[Mask]
) -> Iterable[tuple[Mask, Mask]]:
    """Both masks of every frame, one frame at a time."""
    theirs = iter(true)
    for i, mine in enumerate(predicted):
        other = next(theirs, None)
        if other is None:
            raise BadInput(f"expected a prediction for each of {sequence}'s {i} frames, got more")
        yield mine, other
    if next(theirs, None) is not None:
        raise BadInput(f"expected predictions for every frame of {sequence}, got fewer")


def _objects(sequence: str, first: Mask) -> int:
    objects = int(first.max(initial=0))
    if objects < 1:
        raise BadInput(f"expected objects in the first mask of {sequence}, got an empty mask")
    return objects


def _require_labels(sequence: str, frame: int, mine: Mask, theirs: Mask, objects: int) -> None:
    if mine.shape != theirs.shape:
        raise BadInput(
            f"expected masks of one size in frame {frame} of {sequence}, "
            f"got {mine.shape} for {theirs.shape}"
        )
    for what, mask in (("prediction", mine), ("annotation", theirs)):
        most = int(mask.max(initial=0))
        if most > objects:
            raise BadInput(
                f"expected objects 1 to {objects}, those of the first mask of {sequence}, "
                f"got {most} in the {what} of frame {frame}"
            )


def _require_one_size(predicted: Binary, true: Binary) -> None:
    if predicted.shape != true.shape:
        raise BadInput(f"expected masks of one size, got {predicted.shape} and {true.shape}")


@cache
def _disk(radius: int) -> UInt8[np.ndarray, "side side"]:
    across = np.arange(-radius, radius + 1)
    return (across**2 + across[:, None] ** 2 <= radius**2).astype(np.uint8)


def _dilated(mask: Binary, radius: int) -> Binary:
    """Pixels at most ``radius`` from the mask."""
    import cv2

    return cv2.dilate(mask.astype(np.uint8), _disk(radius)).astype(bool)


def require_new(names: set[str], more: Iterable[str]) -> None:
    """An error that names a video which was scored before, where there is one."""
    again = sorted(names & set(more))
    if again:
        raise BadInput(f"expected each video once, {again[0]} has been scored already")


def estimate(
    statistic: Callable[[Int[np.ndarray, " drawn"]], float], count: int, seed: int
) -> Estimate:
    """A figure of all videos, and its 95 % interval by drawing videos with replacement."""
    rng = np.random.default_rng(seed)
    drawn = [float(statistic(rng.integers(0, count, count))) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(statistic(np.arange(count))), Interval(float(low), float(high)))
