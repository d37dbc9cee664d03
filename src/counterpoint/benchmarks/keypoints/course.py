"""Pairs, and how a prediction on them is scored: what sweeps, ladders and calibrations run on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from counterpoint.benchmarks.birds.crops import PROTOCOL, CubCrops
from counterpoint.benchmarks.birds.keypoints import crops_as_pairs
from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs
from counterpoint.benchmarks.keypoints.maps import Key, picture_of
from counterpoint.benchmarks.keypoints.prompts import PROMPT
from counterpoint.benchmarks.keypoints.protocols import Protocol, find_protocol
from counterpoint.geometry import Points, SizeWH
from counterpoint.images import Picture


@dataclass(frozen=True, eq=False)
class Course:
    """Pairs, and how a prediction on them is scored.

    Attributes:
        dataset: the pairs.
        protocol: says when a point is correct.
        alpha: threshold, in units of the protocol's length.
        prompt: for models that take one, by default.
    """

    dataset: KeypointPairs
    protocol: Protocol
    alpha: float
    prompt: str | None = None

    def picture(self, key: Key, size_wh: SizeWH) -> Picture:
        """One of the pairs' pictures; errors as `picture_of`."""
        return picture_of(self.dataset, key[0], size_wh)

    def correct(self, pair: KeypointPair, predicted_px: Points) -> Bool[np.ndarray, " points"]:
        """Which of a pair's points, (N, 2), are found."""
        return self.protocol.correct(pair, predicted_px, self.alpha)


def keypoint_course(
    dataset: KeypointPairs, protocol: Protocol, alpha: float | None = None
) -> Course:
    """Any data set of key point pairs; by default at the protocol's first threshold."""
    alpha = protocol.alphas[0] if alpha is None else alpha
    return Course(dataset, protocol, alpha, prompt=PROMPT)


def crop_course(benchmark: CubCrops) -> Course:
    """Bird crops (protocol `cub-crops`), with the same pairs and figures as `score_taps`."""
    return Course(crops_as_pairs(benchmark), find_protocol(PROTOCOL), benchmark.alpha)
