"""Transferred key points against the truth: PCK, risk by coverage, how honest the confidence is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from counterpoint.annotations import Instance
from counterpoint.annotations.model import Box
from counterpoint.errors import BadInput
from counterpoint.geometry import Points

BINS = 10
"""Of equal numbers of points, for the calibration error."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Points that were transferred, beside the truth.

    Attributes:
        confidence: (N,), 0 to 1.
        correct: (N,), annotated there, within the threshold.
        annotated: (N,), annotated at all: seen or covered.
    """

    confidence: Float[np.ndarray, " n"]
    correct: Bool[np.ndarray, " n"]
    annotated: Bool[np.ndarray, " n"]

    @classmethod
    def joined(cls, parts: Sequence["Judged"]) -> "Judged":
        """Several things' points, one after another."""
        none = np.zeros(0, dtype=bool)
        return cls(
            np.concatenate([np.zeros(0), *(part.confidence for part in parts)]),
            np.concatenate([none, *(part.correct for part in parts)]),
            np.concatenate([none, *(part.annotated for part in parts)]),
        )


def judge(
    points_px: Points,
    confidence: Float[np.ndarray, " k"],
    found: Bool[np.ndarray, " k"],
    truth: Instance,
    length_px: float,
    alpha: float,
) -> Judged:
    """Points of one thing.

    Args:
        points_px: (K, 2), of the whole picture.
        confidence: (K,).
        found: (K,), which were looked for: those that some reference has.
        truth: the same thing as annotated.
        length_px: what ``alpha`` is a share of.
        alpha: a point is correct within this share.

    Raises:
        BadInput: another number of key points in the truth.
    """
    if len(truth.keypoints_px) != len(points_px):
        raise BadInput(
            f"expected {len(points_px)} key points in the truth, got {len(truth.keypoints_px)}"
        )
    annotated = truth.visibility > 0
    apart = np.linalg.norm(points_px - truth.keypoints_px, axis=1)
    correct = annotated & (apart <= alpha * length_px)
    return Judged(confidence[found], correct[found], annotated[found])


@dataclass(frozen=True, eq=False)
class Score:
    """How good transferred points are; shares from 0 to 1, NaN where nothing is to be said.

    Attributes:
        alpha: a point is correct within this share of the thing's longer side.
        points: annotated points that were looked for.
        pck: share of these that are correct.
        pck_confident_half: of their more confident half.
        absent: points that were looked for and are not annotated.
        calibration_error: mean distance of confidence and share correct over bins of equal numbers
            of points (ECE), absent ones counted as wrong.
        coverage: (N,), shares of all points looked for, most confident first.
        risk: (N,), share of these that are wrong, absent ones among them.
    """

    alpha: float
    points: int
    pck: float
    pck_confident_half: float
    absent: int
    calibration_error: float
    coverage: Float[np.ndarray, " n"]
    risk: Float[np.ndarray, " n"]

    def saved(self, risk: float) -> float:
        """Clicks saved: the largest share of points to take as they are of which at most ``risk``
        are wrong, the most confident ones."""
        allowed = self.coverage[self.risk <= risk]
        return float(allowed.max()) if len(allowed) else 0.0


def score(judged: Judged, alpha: float) -> Score:
    """The score of all points judged.

    Raises:
        BadInput: no annotated point among them.
    """
    if not judged.annotated.any():
        raise BadInput("expected annotated key points in the truth of some target, found none")
    order = np.argsort(-judged.confidence, kind="stable")
    correct, annotated = judged.correct[order], judged.annotated[order]
    present = correct[annotated]
    count = np.arange(1, len(correct) + 1)
    return Score(
        alpha=alpha,
        points=int(annotated.sum()),
        pck=float(present.mean()),
        pck_confident_half=float(present[: -(-len(present) // 2)].mean()),
        absent=int((~annotated).sum()),
        calibration_error=_calibration_error(judged.confidence[order], correct),
        coverage=count / len(correct),
        risk=np.cumsum(~correct) / count,
    )


def _calibration_error(
    confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]
) -> float:
    """Points come sorted by confidence."""
    parts = [part for part in np.array_split(np.arange(len(correct)), BINS) if len(part)]
    gaps = [abs(float(confidence[part].mean() - correct[part].mean())) for part in parts]
    return float(np.average(gaps, weights=[len(part) for part in parts]))


def box_overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    tall = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(wide, 0.0) * max(tall, 0.0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)
