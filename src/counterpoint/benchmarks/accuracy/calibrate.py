"""Fitting a confidence on one part of a data set and judging it on another.

All points of a source picture are asked for, those that the target does not show too: their matches
are wrong. A match is right within ``alpha`` of the target picture's longer side.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from counterpoint.benchmarks.accuracy.gallery import Gallery, Views
from counterpoint.benchmarks.accuracy.reliability import Judged, Numbers, Trust, trust
from counterpoint.benchmarks.accuracy.report import threshold_table, trust_table
from counterpoint.benchmarks.keypoints.asked import Asked, Quiz
from counterpoint.benchmarks.keypoints.maps import in_good_order, shards
from counterpoint.benchmarks.keypoints.protocols import Protocol
from counterpoint.benchmarks.tables import Table
from counterpoint.errors import BadInput
from counterpoint.matching import Calibration, Evidence, Note, Subpixel, evidence, match, spread_px
from counterpoint.matching.calibration import find_calibration
from counterpoint.matching.evidence import COLUMNS
from counterpoint.provenance import Provenance

ALPHA = 0.1
"""Of the target picture's longer side, within which a match is right."""

RIGHT = Protocol(
    name="confidence",
    length="target picture",
    alphas=(ALPHA,),
    summary="confidence, threshold from the target picture's longer side",
)
"""When a match is right, on every data set."""

RANKING = "as matched"
"""`Matches.confidence` without a calibration."""

Tell = Callable[[int, int], None]
"""Hears how many pairs are done, of how many."""


@dataclass(frozen=True, eq=False)
class Matching:
    """How matches are made, for evidence.

    Attributes:
        gallery: the model at work on the data set.
        subpixel: as `match` takes it.
        alpha: a match is right within this share of the target picture's longer side.
    """

    gallery: Gallery
    subpixel: Subpixel = "argmax"
    alpha: float = ALPHA

    def note(self, quiz: Quiz) -> Note:
        """What a calibration that is fitted on these matches will say of itself."""
        return Note(
            dataset=quiz.course.dataset.name,
            absent=quiz.absent,
            alpha=self.alpha,
            matching=self.subpixel,
            members=self.gallery.members,
            features=self.gallery.provenance,
        )


def judge(quiz: Quiz, matching: Matching, tell: Tell | None = None) -> Judged:
    """Match every point that is asked for, and say which matches are right.

    Raises:
        ImageError: a picture that cannot be read.
    """
    pairs = quiz.course.dataset.pairs
    numbers = {pair.id: i for i, pair in enumerate(pairs)}
    found: dict[int, Judged] = {}
    for shard in shards(in_good_order(pairs)):
        asked = [quiz.asked[pair.id] for pair in shard]
        for one, views in zip(asked, matching.gallery.views(asked), strict=True):
            number = numbers[one.pair.id]
            found[number] = _judge_pair(one, views, matching, number)
        if tell:
            tell(len(found), len(pairs))
    rows = [found[number] for number in sorted(found)]
    return Judged(
        Evidence.joined([row.evidence for row in rows]),
        np.concatenate([row.ranking for row in rows]),
        np.concatenate([row.correct for row in rows]),
        np.concatenate([row.absent for row in rows]),
        np.concatenate([row.pair for row in rows]),
    )


def _judge_pair(asked: Asked, views: Views, matching: Matching, number: int) -> Judged:
    points_px = asked.points_px
    found = match(
        views.source, views.target, points_px, subpixel=matching.subpixel, calibration=None
    )
    if views.members:
        sources, targets = zip(*views.members, strict=True)
        spread = spread_px(sources, targets, points_px, found.target_px)
        found = replace(found, disagreement_px=spread)
    present = len(asked.pair.source_px)
    correct = np.zeros(len(found), dtype=bool)
    correct[:present] = RIGHT.correct(asked.pair, found.target_px[:present], matching.alpha)
    absent = np.arange(len(found)) >= present
    return Judged(evidence(found), found.confidence, correct, absent, np.full(len(found), number))


@dataclass(frozen=True, eq=False)
class TrustReport:
    """Confidences judged on one set of matches.

    Attributes:
        dataset: its name.
        model: whose matches.
        features: what made them.
        alpha: a match is right within this share of the target picture's longer side.
        matching: as `match` takes ``subpixel``.
        calibrated_on: the data set that the calibration was fitted on; "" where there is none.
        rows: the ranking as it is, single columns of the evidence, the calibration last.
    """

    dataset: str
    model: str
    features: Provenance
    alpha: float
    matching: str
    calibrated_on: str
    rows: tuple[Trust, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return asdict(self)

    @property
    def title(self) -> str:
        """One line that says what was judged."""
        fitted = f"calibrated on {self.calibrated_on}" if self.calibrated_on else "not calibrated"
        return (
            f"Confidence on {self.dataset}: {self.model}, right within {100 * self.alpha:g} % of "
            f"the target picture's longer side, {fitted}; in per cent ± half the 95 % interval"
        )

    @property
    def tables(self) -> tuple[Table, ...]:
        """To be read."""
        return trust_table(self.rows), threshold_table(self.shown[-1])

    @property
    def shown(self) -> tuple[Trust, ...]:
        """For charts: the ranking, and the calibration where there is one."""
        last = self.rows[-1]
        return (self.rows[0], last) if last.name == "calibrated" else (self.rows[0],)


def trust_report(
    quiz: Quiz,
    judged: Judged,
    matching: Matching,
    calibration: Calibration | None,
    *,
    seed: int = 0,
) -> TrustReport:
    """Judge the ranking, each column of the evidence alone, and the calibration.

    Args:
        quiz: whose matches.
        judged: the matches.
        matching: how they were made.
        calibration: None: there is none.
        seed: of the intervals.
    """
    rows = [trust(RANKING, judged.ranking, judged, seed)]
    for name in judged.evidence.known:
        alone = trust(f"{name} alone", _as_share(judged.evidence, name), judged, seed)
        rows += [replace(alone, ranks_only=True)]
    if calibration is not None:
        confidence = calibration.probability(judged.evidence)
        rows.append(trust("calibrated", confidence, judged, seed))
    backbone = matching.gallery.backbone
    return TrustReport(
        dataset=quiz.course.dataset.name,
        model=backbone.spec.name,
        features=matching.gallery.provenance,
        alpha=matching.alpha,
        matching=matching.subpixel,
        calibrated_on="" if calibration is None else calibration.note.dataset,
        rows=tuple(rows),
    )


_TO_SHARE: Mapping[str, Callable[[Numbers], Numbers]] = {
    "similarity": lambda cosine: np.clip(cosine, 0, 1),
    "margin": lambda margin: np.clip(margin, 0, 1),
    "cycle": lambda share: np.exp(-share),
    "disagreement": lambda share: np.exp(-share),
    "prominence": lambda prominence: np.clip(prominence, 0, 1),
}
"""Any rising map to 0 to 1: of a column alone, only the ranking says something."""


def _as_share(found: Evidence, name: str) -> Numbers:
    return _TO_SHARE[name](found.values[:, COLUMNS.index(name)])


def shipped_for(judged: Judged, matching: Matching) -> Calibration | None:
    """The package's calibration for such matches, or None."""
    made_by = matching.gallery.provenance
    known, members = judged.evidence.known, matching.gallery.members
    found = find_calibration(made_by, made_by, matching.subpixel, known, members)
    if found is not None and found.note.alpha != matching.alpha:
        return None
    return found


def require_for(calibration: Calibration, matching: Matching) -> None:
    """Nothing, or what a calibration of somebody's own lacks for such matches.

    Raises:
        BadInput: another meaning of "right", or members that are not there.
    """
    note = calibration.note
    if note.alpha != matching.alpha:
        raise BadInput(
            f"expected a calibration for alpha {matching.alpha:g}, got one for {note.alpha:g} "
            f"({note.dataset}); calibrate again"
        )
    if "disagreement" in calibration.columns and note.members != matching.gallery.members:
        raise BadInput(
            f"expected --members {note.members}, which the calibration was fitted with, "
            f"got {matching.gallery.members}"
        )
