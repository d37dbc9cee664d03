"""What each way to more accuracy gives on a data set, without any training, on the same pairs.

A rung is one change to the plain argmax: how the match is read out, which matches are kept, whether
the target may be mirrored, which features are compared. Every rung runs on the same pairs and
points; features of a picture are made once a setting and shared by all its rungs and pairs.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.backbones.base import library_version
from counterpoint.benchmarks.accuracy.gallery import Gallery
from counterpoint.benchmarks.accuracy.reliability import figure
from counterpoint.benchmarks.accuracy.rungs import (
    Rung,
    RungCounts,
    RungFile,
    Setting,
    Tally,
)
from counterpoint.benchmarks.controls import Tell
from counterpoint.benchmarks.keypoints.asked import Quiz
from counterpoint.benchmarks.keypoints.maps import CACHE_BYTES, in_good_order, shards
from counterpoint.benchmarks.keypoints.run import PRIOR, predict_prior
from counterpoint.benchmarks.metrics import Estimate, Interval, bootstrap
from counterpoint.benchmarks.tables import Cells, Table
from counterpoint.charts import Curve, draw_curves

ALPHAS = (0.1, 0.05)
"""Thresholds, the first foremost."""


@dataclass(frozen=True)
class RungScore:
    """A rung's figures, in per cent with intervals by bootstrap over pairs.

    Attributes:
        rung: its name.
        features: what was compared, in words.
        kept: share of the points that have a match.
        per_point: by threshold, correct ones over all kept points.
        per_image: by threshold, mean over pairs of each pair's share.
        lead: over the plain argmax at the first threshold, per point, on the same resampled pairs;
            None where not all points are kept.
        flipped: share of pairs whose target was mirrored, per cent; None: never tried.
        pair_seconds: for a pair alone: features of its pictures and matching.
    """

    rung: str
    features: str
    kept: Estimate
    per_point: dict[str, Estimate]
    per_image: dict[str, Estimate]
    lead: Interval | None
    flipped: float | None
    pair_seconds: float


@dataclass(frozen=True)
class Ladder:
    """The rungs of one model on one data set.

    Attributes:
        dataset: its name.
        rule: when a point is correct.
        pairs: how many.
        points: that both pictures show.
        model: whose ladder.
        weights_sha256: of its weights.
        seed: of noise and intervals.
        version: counterpoint's.
        rows: the same position first.
    """

    dataset: str
    rule: str
    pairs: int
    points: int
    model: str
    weights_sha256: str
    seed: int
    version: str
    rows: tuple[RungScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return asdict(self)

    @property
    def title(self) -> str:
        """One line that says what the figures are of."""
        return (
            f"{self.dataset}: {self.points} points, {self.model}, seed {self.seed}; PCK in per "
            f"cent ± half the 95 % interval; {self.rule}"
        )


def run_ladder(
    quiz: Quiz,
    settings: Sequence[Setting],
    rungs: Sequence[Rung],
    *,
    alphas: Sequence[float] = ALPHAS,
    out: Path | None = None,
    cache_bytes: int = CACHE_BYTES,
    seed: int = 0,
    tell: Tell | None = None,
) -> Ladder:
    """Climb it.

    Args:
        quiz: the pairs.
        settings: the features, the plain ones first.
        rungs: the plain argmax first.
        alphas: thresholds.
        out: folder that keeps finished rungs, which are not run again.
        cache_bytes: memory for maps that wait for their next pair.
        seed: of the intervals.
        tell: called with a few words now and then.

    Raises:
        ImageError: a picture that cannot be read.
        StorageError: ``out`` cannot be written.
    """
    found: dict[str, RungCounts] = {}
    for setting in settings:
        mine = [rung for rung in rungs if rung.setting == setting.name]
        gallery = Gallery(
            setting.backbone,
            setting.options,
            quiz.course,
            mirror=any(rung.flip for rung in mine),
            cache_bytes=cache_bytes,
        )
        found |= _climb(quiz, gallery, mine, alphas, out, tell)
    rows = [_prior(quiz, alphas, seed)]
    words = {setting.name: setting.words for setting in settings}
    plain = found[rungs[0].name]
    rows += [
        _score(rung, words[rung.setting], found[rung.name], plain, alphas, seed) for rung in rungs
    ]
    first = settings[0].backbone
    return Ladder(
        dataset=quiz.course.dataset.name,
        rule=quiz.course.protocol.rule,
        pairs=len(quiz.asked),
        points=quiz.course.dataset.points,
        model=first.spec.name,
        weights_sha256=first.weights_sha256,
        seed=seed,
        version=library_version(),
        rows=tuple(rows),
    )


def _climb(
    quiz: Quiz,
    gallery: Gallery,
    rungs: Sequence[Rung],
    alphas: Sequence[float],
    out: Path | None,
    tell: Tell | None,
) -> dict[str, RungCounts]:
    """The rungs of one setting: from disk, or all in one pass over the pairs."""
    files = {rung.name: RungFile(out, quiz, gallery, rung, alphas) for rung in rungs}
    found = {name: held for name, file in files.items() if (held := file.read()) is not None}
    left = [rung for rung in rungs if rung.name not in found]
    tallies = {rung.name: Tally(rung, alphas) for rung in left}
    done, pairs = 0, quiz.course.dataset.pairs
    for shard in shards(in_good_order(pairs)) if left else ():
        asked = [quiz.asked[pair.id] for pair in shard]
        for one, views in zip(asked, gallery.views(asked), strict=True):
            for tally in tallies.values():
                tally.take(one, views, quiz)
        done += len(shard)
        if tell:
            tell(f"{', '.join(tallies)}: {done} of {len(pairs)} pairs")
    for name, tally in tallies.items():
        found[name] = tally.counts([pair.id for pair in pairs], gallery.seconds_a_picture)
        files[name].write(found[name])
    return found


def _prior(quiz: Quiz, alphas: Sequence[float], seed: int) -> RungScore:
    """The same-position prior: what looking at nothing gives."""
    course = quiz.course
    predicted = predict_prior(course.dataset).points
    rows = [
        [int(course.protocol.correct(pair, predicted[pair.id], a).sum()) for a in alphas]
        for pair in course.dataset.pairs
    ]
    points = tuple(len(pair.source_px) for pair in course.dataset.pairs)
    correct = {f"{a:g}": tuple(row[i] for row in rows) for i, a in enumerate(alphas)}
    counts = RungCounts(points, points, correct, 0, 0.0, 0.0)
    return _score(Rung(name=PRIOR), "", counts, counts, alphas, seed)


def _score(
    rung: Rung,
    features: str,
    counts: RungCounts,
    plain: RungCounts,
    alphas: Sequence[float],
    seed: int,
) -> RungScore:
    points, kept = np.array(counts.points), np.array(counts.kept)
    whole = counts.kept == plain.kept == counts.points and counts is not plain
    pictures = 3 if rung.flip else 2
    pair_seconds = counts.match_seconds / len(points) + pictures * counts.picture_seconds
    share = Estimate(100 * float(kept.sum() / points.sum()), bootstrap(kept, points, seed=seed))
    by_alpha = {f"{alpha:g}": counts.pck(alpha) for alpha in alphas}
    scored = {name: pck for name, pck in by_alpha.items() if pck.points}
    lead = counts.pck(alphas[0]).lead_over(plain.pck(alphas[0]), seed) if whole else None
    return RungScore(
        rung=rung.name,
        features=features,
        kept=share,
        per_point={name: pck.per_point(seed) for name, pck in scored.items()},
        per_image={name: pck.per_image(seed) for name, pck in scored.items()},
        lead=lead,
        flipped=100 * counts.flipped / len(points) if rung.flip else None,
        pair_seconds=pair_seconds,
    )


def ladder_tables(ladder: Ladder) -> tuple[Table, ...]:
    """One a threshold, and what the rungs compare."""
    names = list(ladder.rows[0].per_point)
    return (*(_at(ladder, name, name == names[0]) for name in names), _compared(ladder))


def _at(ladder: Ladder, alpha: str, first: bool) -> Table:
    header = ("rung", "kept, %", "per point", "per image")
    header += ("over argmax", "s a pair") if first else ()
    lines = [_line(row, alpha)[: len(header)] for row in ladder.rows]
    notes = (
        "Kept: points that have a match at all; PCK is of these, so a filter's stands beside its "
        "share of kept points.",
        "Over argmax: 95 % interval of the lead per point on the same pairs. Seconds: a pair "
        "alone, features of its pictures and matching, on this machine.",
    )
    cells = Cells(header, tuple(lines))
    return Table(f"PCK@{alpha}", cells, notes if first else ())


def _line(row: RungScore, alpha: str) -> tuple[str, ...]:
    lead = "" if row.lead is None else f"{row.lead.low:+.1f} to {row.lead.high:+.1f}"
    kept = "100" if row.kept.value == 100 else figure(row.kept)
    seconds = f"{row.pair_seconds:.2f}" if row.pair_seconds else ""
    per_point, per_image = figure(row.per_point.get(alpha)), figure(row.per_image.get(alpha))
    return (row.rung, kept, per_point, per_image, lead, seconds)


def _compared(ladder: Ladder) -> Table:
    lines: list[tuple[str, ...]] = []
    for row in ladder.rows:
        flipped = "" if row.flipped is None else f"{row.flipped:.0f}"
        if row.features:
            lines.append((row.rung, row.features, flipped))
    return Table("What is compared", Cells(("rung", "features", "flipped, %"), tuple(lines)))


def draw_ladder(ladder: Ladder, out: Path) -> Path:
    """PCK per point of every rung with its interval, a curve a threshold, as a PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    curves: list[Curve] = []
    for alpha in ladder.rows[0].per_point:
        rows = [row for row in ladder.rows if alpha in row.per_point]
        found = {_place(row): row.per_point[alpha] for row in rows}
        intervals = [one.interval for one in found.values()]
        curves.append(
            Curve(
                f"PCK@{alpha}",
                tuple(found),
                tuple(one.value for one in found.values()),
                tuple(one.low for one in intervals),
                tuple(one.high for one in intervals),
            )
        )
    title = f"{ladder.model} on {ladder.dataset}"
    return draw_curves(curves, out, title=title, labels=("", "PCK per point, %"))


def _place(row: RungScore) -> str:
    return row.rung if row.kept.value == 100 else f"{row.rung} ({row.kept.value:.0f} % kept)"
