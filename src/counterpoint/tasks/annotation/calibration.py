"""What the references say about themselves: each found from the others, beside its truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from counterpoint.errors import BadInput
from counterpoint.matching import Calibration, Evidence, Note
from counterpoint.tasks.annotation.transfer import Elected, Reference, Vote, transfer

ALPHA = 0.1
"""A point is right within this share of the thing's longer side."""


@dataclass(frozen=True, eq=False)
class SelfTest:
    """The references found from each other.

    Attributes:
        correct: (N,), points found where they are; points that are not annotated, and found all the
            same, are wrong.
        annotated: (N,), points that are annotated.
        evidence: of the same points.
        calibration: from evidence to the probability of being right; None where there is none.
        reason: why there is none; empty otherwise.
    """

    correct: Bool[np.ndarray, " n"]
    annotated: Bool[np.ndarray, " n"]
    evidence: Evidence
    calibration: Calibration | None
    reason: str

    @property
    def pck(self) -> float:
        """Share of annotated points found where they are, 0 to 1; NaN without any."""
        chosen = self.correct[self.annotated]
        return float(chosen.mean()) if len(chosen) else float("nan")

    def confidence(self, found: Elected) -> Float[np.ndarray, " k"]:
        """Of each point, 0 to 1: the probability of being right, or where nothing is calibrated the
        raw confidence; 0 where no reference has the point."""
        if self.calibration is None:
            raw = found.raw
        else:
            raw = self.calibration.probability(found.evidence)
        return np.where(found.voters > 0, raw, 0.0)


def leave_one_out(
    references: Sequence[Reference],
    vote: Vote,
    *,
    sides: Int[np.ndarray, " k"] | None = None,
    alpha: float = ALPHA,
) -> SelfTest:
    """Find every reference from all the others, and fit the calibration to what came.

    Args:
        references: of one kind of thing.
        vote: as for `transfer`.
        sides: likewise.
        alpha: a point is right within this share of the thing's longer side.
    """
    parts = [_held_out(references, i, vote, sides, alpha) for i in range(len(references))]
    parts = [part for part in parts if part is not None]
    evidence = Evidence.joined([part[0] for part in parts])
    correct = np.concatenate([np.zeros(0, bool), *(part[1] for part in parts)])
    annotated = np.concatenate([np.zeros(0, bool), *(part[2] for part in parts)])
    if len(references) < 2:
        reason = "one reference cannot be held out; annotate a few more pictures"
        return SelfTest(correct, annotated, evidence, None, reason)
    note = Note(dataset="references, leave one out", alpha=alpha, length="thing's longer side")
    try:
        fitted = Calibration.fit(evidence, correct, note=note)
    except BadInput as error:
        return SelfTest(correct, annotated, evidence, None, str(error))
    return SelfTest(correct, annotated, evidence, fitted, "")


def _held_out(
    references: Sequence[Reference],
    index: int,
    vote: Vote,
    sides: Int[np.ndarray, " k"] | None,
    alpha: float,
) -> tuple[Evidence, Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]] | None:
    """Evidence, truth and presence of one reference's points, those that others have."""
    held, others = references[index], [*references[:index], *references[index + 1 :]]
    if not others or not len(held.points_px):
        return None
    found = transfer(others, held.view, vote, sides=sides)
    asked = found.voters > 0
    apart = np.linalg.norm(found.points_px - held.points_px, axis=1)
    correct = held.visible & (apart <= alpha * held.view.length_px)
    return found.evidence.select(asked), correct[asked], held.visible[asked]
