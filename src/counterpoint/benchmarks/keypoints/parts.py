"""Predictions point by point: which were found, and PCK of key points and of kinds of pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs
from counterpoint.benchmarks.keypoints.changes import LEVELS, Change, change_of
from counterpoint.benchmarks.keypoints.protocols import Part, Protocol
from counterpoint.benchmarks.metrics import PCK
from counterpoint.errors import BadInput
from counterpoint.geometry import Points

NO_NAME = "not annotated"


@dataclass(frozen=True, eq=False)
class Judged:
    """One pair's prediction, point by point.

    Attributes:
        pair: the pair.
        found_px: (N, 2), predicted, pixels of the target.
        correct: (N,), which are near enough.
        length_px: what the threshold is a share of, pixels of the target.
        change: how the pictures differ.
    """

    pair: KeypointPair
    found_px: Points
    correct: Bool[np.ndarray, " points"]
    length_px: float
    change: Change

    @property
    def share(self) -> float:
        """Share of points found, 0 to 1."""
        return float(self.correct.mean())

    @property
    def error(self) -> float:
        """Mean distance from the truth, in units of the protocol's length."""
        apart = np.linalg.norm(self.found_px - self.pair.target_px, axis=1)
        return float(apart.mean()) / self.length_px


def judge(
    dataset: KeypointPairs,
    predictions: Mapping[str, Points],
    protocol: Protocol,
    alpha: float | None = None,
) -> tuple[Judged, ...]:
    """Every pair that has a prediction and that the protocol can score, in the data set's order.

    Args:
        dataset: whose predictions they are.
        predictions: by pair id.
        protocol: what is correct.
        alpha: threshold; by default the protocol's first.
    """
    share = protocol.alphas[0] if alpha is None else alpha
    found: list[Judged] = []
    for pair in dataset.pairs:
        if pair.id not in predictions:
            continue
        try:
            length_px = protocol.length_px(pair)
        except BadInput:  # `score` lists it
            continue
        points = predictions[pair.id]
        correct = protocol.correct(pair, points, share)
        found.append(Judged(pair, points, correct, length_px, change_of(pair)))
    return tuple(found)


def keypoint_parts(
    judged: Sequence[Judged], alpha: float, *, strict: bool = False, seed: int = 0
) -> tuple[Part, ...]:
    """PCK of each key point by name, "cat: 3" where there are several categories.

    Points without a name count under "not annotated" (of their category). Empty where none has one.
    """
    if not any(one.pair.keypoint_ids for one in judged):
        return ()
    several = len({one.pair.category for one in judged}) > 1
    counts: dict[str, list[tuple[int, int]]] = {}
    for one in judged:
        ids = one.pair.keypoint_ids or (NO_NAME,) * len(one.correct)
        of_pair: dict[str, list[bool]] = {}
        for identity, hit in zip(ids, one.correct.tolist(), strict=True):
            name = f"{one.pair.category}: {identity}" if several else identity
            of_pair.setdefault(name, []).append(hit)
        for name, hits in of_pair.items():
            counts.setdefault(name, []).append((sum(hits), len(hits)))
    ordered = sorted(counts, key=lambda name: _natural(name))
    return tuple(_part(name, counts[name], alpha, strict, seed) for name in ordered)


def change_parts(
    judged: Sequence[Judged], alpha: float, *, strict: bool = False, seed: int = 0
) -> tuple[Part, ...]:
    """PCK by how the pictures differ, "scale change: 2x and more"; see `Change.words`."""
    parts: list[Part] = []
    for label, levels in LEVELS.items():
        for level in levels:
            counts = [
                (int(one.correct.sum()), len(one.correct))
                for one in judged
                if one.change.words[label] == level
            ]
            if counts:
                parts.append(_part(f"{label}: {level}", counts, alpha, strict, seed))
    return tuple(parts)


def _part(
    name: str, counts: Sequence[tuple[int, int]], alpha: float, strict: bool, seed: int
) -> Part:
    correct, points = (tuple(column) for column in zip(*counts, strict=True))
    pck = PCK(alpha, strict, correct, points)
    return Part(name, len(points), sum(points), pck.per_point(seed), pck.per_image(seed))


def _natural(name: str) -> tuple[str, bool, int, str]:
    """Categories by the alphabet, their key points by number where they are numbers."""
    category, _, identity = name.rpartition(": ")
    number = int(identity) if identity.isdecimal() else 0
    return category, identity == NO_NAME, number, identity
