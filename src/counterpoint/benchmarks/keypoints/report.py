"""The tables of key point benchmarks: a model beside its controls, on the same pairs.

One table a protocol, all three averages at every threshold with their intervals; then, under the
first protocol and threshold, by category, by difficulty flag, by how the pictures differ
(`counterpoint.benchmarks.keypoints.changes`) and by key point. Where a paper's figure is known for
the very data set, it stands below.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from counterpoint.backbones.base import Backbone, library_version
from counterpoint.benchmarks.controls import Tell, compared
from counterpoint.benchmarks.datasets.keypoints import KeypointPairs, Skipped
from counterpoint.benchmarks.keypoints.parts import change_parts, judge, keypoint_parts
from counterpoint.benchmarks.keypoints.predictions import Predictions
from counterpoint.benchmarks.keypoints.protocols import PROTOCOLS, Part, Protocol, Score, score
from counterpoint.benchmarks.keypoints.run import predict_pairs, predict_prior
from counterpoint.benchmarks.metrics import Estimate
from counterpoint.benchmarks.published import published_lines
from counterpoint.benchmarks.tables import Cells, Table, setting_text, size_text
from counterpoint.matching import Subpixel
from counterpoint.options import Options

Average = Literal["per image", "per point", "macro"]

AVERAGES: tuple[Average, ...] = ("per image", "per point", "macro")


@dataclass(frozen=True)
class MethodScores:
    """One method's scores.

    Attributes:
        method: "sd21", "sd21, untrained", "same position".
        tap: where its features were read; "" where there is nothing to choose.
        t: time steps, "50+150" for several; "" without noise.
        input_wh: the model's input size, pixels; None: none.
        scores: protocol by protocol, threshold by threshold.
        changes: under the first of them, by how the pictures differ.
        keypoints: likewise each key point; empty where the data set does not name them.
    """

    method: str
    tap: str
    t: str
    input_wh: tuple[int, int] | None
    scores: tuple[Score, ...]
    changes: tuple[Part, ...] = ()
    keypoints: tuple[Part, ...] = ()


@dataclass(frozen=True)
class PairReport:
    """All scores of one run on one data set.

    Attributes:
        dataset: its name.
        pairs: asked for and readable.
        points: over all pairs.
        pictures: that occur in pairs.
        pairs_sha256: fingerprint of the list of pairs.
        categories: that occur.
        skipped: pairs that the reader left out.
        seed: of noise, random weights and intervals.
        version: counterpoint's.
        rows: controls first, the model last.
    """

    dataset: str
    pairs: int
    points: int
    pictures: int
    pairs_sha256: str
    categories: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    seed: int
    version: str
    rows: tuple[MethodScores, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON; without the counts of single pairs."""
        plain = asdict(self)
        for row in plain["rows"]:
            for one in row["scores"]:
                del one["counts"]
        return plain

    @property
    def title(self) -> str:
        """One line that says what the figures are of."""
        left_out = f", {len(self.skipped)} pairs skipped" if self.skipped else ""
        many = len(self.categories) != 1
        categories = f"{len(self.categories)} categories" if many else "1 category"
        return (
            f"{self.dataset}: {self.points} points{left_out}, "
            f"{self.pictures} pictures, {categories}, seed {self.seed}; "
            "in per cent ± half the 95 % interval"
        )


def methods(
    backbone: Backbone,
    dataset: KeypointPairs,
    options: Options,
    *,
    subpixel: Subpixel = "argmax",
    controls: bool = True,
    out: Path | None = None,
    skip_bad: bool = False,
    tell: Tell | None = None,
) -> Iterator[Predictions]:
    """Predictions of the controls, then of the model.

    Args:
        backbone: the model.
        dataset: the pairs.
        options: of the model's features; controls run at their own best setting.
        subpixel: as `match` takes it.
        controls: the same position, colours, dense SIFT and the network untrained as well.
        out: folder that keeps the predictions, and from which a stopped run goes on.
        skip_bad: as `predict_pairs` takes it.
        tell: called with a few words now and then.
    """
    if controls:
        yield predict_prior(dataset)
    for model, chosen in compared(backbone, options, controls=controls):
        name = model.spec.name

        def hear(done: int, of: int, name: str = name) -> None:
            if tell:
                tell(f"{name}: {done} of {of} pairs")

        hear(0, len(dataset.pairs))
        yield predict_pairs(
            model,
            dataset,
            chosen,
            subpixel=subpixel,
            file=None if out is None else out / f"{slug(f'{dataset.name} {name}')}.safetensors",
            skip_bad=skip_bad,
            tell=hear,
        )


def pair_report(
    dataset: KeypointPairs,
    predictions: Sequence[Predictions],
    protocols: Sequence[Protocol],
    alphas: Sequence[float] | None = None,
    *,
    skip_bad: bool = False,
    seed: int = 0,
) -> PairReport:
    """Score every method under every protocol.

    Args:
        dataset: whose predictions they are.
        predictions: of each method.
        protocols: at least one.
        alphas: thresholds; by default each protocol's own.
        skip_bad: list pairs that a protocol cannot score instead of raising.
        seed: of the intervals.
    """
    rows: list[MethodScores] = []
    for made in predictions:
        found: list[Score] = []
        for protocol in protocols:
            found += score(
                dataset,
                made.points,
                protocol,
                alphas,
                skipped=made.skipped,
                skip_bad=skip_bad,
                seed=seed,
            )
        features = made.origin.features
        t = "+".join(map(str, features.timesteps))
        alpha, strict = found[0].alpha, protocols[0].strict
        judged = judge(dataset, made.points, protocols[0], alpha)
        rows.append(
            MethodScores(
                method=made.origin.method,
                tap=features.tap,
                t=t,
                input_wh=features.size_wh,
                scores=tuple(found),
                changes=change_parts(judged, alpha, strict=strict, seed=seed),
                keypoints=keypoint_parts(judged, alpha, strict=strict, seed=seed),
            )
        )
    return PairReport(
        dataset=dataset.name,
        pairs=len(dataset.pairs),
        points=dataset.points,
        pictures=len(dataset.pictures),
        pairs_sha256=dataset.fingerprint,
        categories=dataset.categories,
        skipped=dataset.skipped,
        seed=seed,
        version=library_version(),
        rows=tuple(rows),
    )


def tables(report: PairReport, keypoints: int | None = None) -> tuple[Table, ...]:
    """Every table of a report: one a protocol, then categories, flags, changes, key points.

    Args:
        report: from `pair_report`.
        keypoints: leave the table of key points out where it has more rows than this.
    """
    protocols = list(dict.fromkeys(s.protocol for row in report.rows for s in row.scores))
    found = [_by_method(report, name) for name in protocols]
    parts = {kind: own(report.rows[-1]) for kind, own in _PARTS.items()}
    if keypoints is not None and len(parts["key point"]) > keypoints:
        del parts["key point"]
    found += [_by_part(report, kind, some) for kind, some in parts.items() if some]
    return tuple(found)


_PARTS: dict[str, Callable[[MethodScores], tuple[Part, ...]]] = {
    "category": lambda row: row.scores[0].categories,
    "flag": lambda row: row.scores[0].flags,
    "change": lambda row: row.changes,
    "key point": lambda row: row.keypoints,
}
"""What a method's points are divided by."""


def _by_method(report: PairReport, protocol: str) -> Table:
    lines: list[tuple[str, ...]] = []
    header: tuple[str, ...] = ()
    for row in report.rows:
        scores = [one for one in row.scores if one.protocol == protocol]
        header = tuple(f"@{one.alpha:g} {average}" for one in scores for average in AVERAGES)
        setting = setting_text(row.tap, row.t), size_text(row.input_wh)
        figures = (each.shown() for one in scores for each in _averages(one))
        lines.append((row.method, *setting, *figures))
    first = next(one for one in report.rows[-1].scores if one.protocol == protocol)
    title = f"Protocol {protocol}: {first.rule}; {first.pairs} pairs, {first.points} points"
    if first.skipped:
        title += f", {len(first.skipped)} skipped"
    cells = Cells(("method", "setting", "input", *header), tuple(lines))
    apart = PROTOCOLS[protocol].apart if protocol in PROTOCOLS else ""
    lines_below = published_lines(report.dataset, protocol)
    return Table(title, cells, (*lines_below, apart) if apart else lines_below)


def _by_part(report: PairReport, kind: str, parts: tuple[Part, ...]) -> Table:
    first = report.rows[-1].scores[0]
    columns = [
        {part.name: part.per_point.shown(part.pairs) for part in _PARTS[kind](row)}
        for row in report.rows
    ]
    lines = [
        (part.name, str(part.pairs), str(part.points), *(c.get(part.name, "") for c in columns))
        for part in parts
    ]
    header = (kind, "pairs", "points", *(row.method for row in report.rows))
    title = f"By {kind}: protocol {first.protocol} @{first.alpha:g}, per point"
    return Table(title, Cells(header, tuple(lines)))


def _averages(one: Score) -> tuple[Estimate, ...]:
    return one.per_image, one.per_point, one.macro


def slug(text: str) -> str:
    """A text as a file name: "spair-71k-large-test-small-untrained"."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "model"
