"""What a run of protocol `tss` found: accuracy by method, group and threshold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from counterpoint.benchmarks.datasets.keypoints import Skipped, plain
from counterpoint.benchmarks.flow.metrics import FlowScore
from counterpoint.benchmarks.metrics import Estimate
from counterpoint.benchmarks.tables import Cells, Table, setting_text, size_text
from counterpoint.geometry import SizeWH

MAIN = 5
"""T, the one that papers report."""


@dataclass(frozen=True)
class TSSRow:
    """One method's figures.

    Attributes:
        method: "sd21", "same position", ...
        tap: where features were read; "" where there is nothing to choose.
        t: time steps, "50+150" for several; "" without noise.
        input_wh: the model's input, pixels; None where pictures keep their own size, or none.
        scores: threshold by threshold.
    """

    method: str
    tap: str
    t: str
    input_wh: SizeWH | None
    scores: tuple[FlowScore, ...]


@dataclass(frozen=True)
class TSSReport:
    """All figures of one run.

    Attributes:
        protocol: its full name.
        dataset: and how much of it.
        pairs: scored, two directions each.
        flipped: of these, mirrored ones.
        pixels: that count, over all directions.
        skipped: pairs that could not be used, and why.
        seed: of noise, random weights and intervals.
        version: counterpoint's.
        rows: controls first, the model last.
    """

    protocol: str
    dataset: str
    pairs: int
    flipped: int
    pixels: int
    skipped: tuple[Skipped, ...]
    seed: int
    version: str
    rows: tuple[TSSRow, ...]

    @property
    def title(self) -> str:
        """One line that says what the figures are of."""
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"Protocol {self.protocol}: {self.dataset}; {self.pairs} pairs both ways{skipped}, "
            f"{self.flipped} of them mirrored, {self.pixels} foreground pixels, seed {self.seed}; "
            "in per cent ± half the 95 % interval"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON: the main figures in ``rows``, all in ``figures``."""
        entries = asdict(self)
        for row, plain_row in zip(self.rows, entries["rows"], strict=True):
            del plain_row["scores"]
            plain_row |= {name: asdict(one) for name, one in _measures(row).items()}
        entries["figures"] = {
            row.method: {f"T={score.threshold:g}": asdict(score) for score in row.scores}
            for row in self.rows
        }
        return plain(entries)


def _main(row: TSSRow) -> FlowScore:
    """At the threshold that papers report, where it is there."""
    return next((score for score in row.scores if score.threshold == MAIN), row.scores[0])


def _measures(row: TSSRow) -> dict[str, Estimate]:
    score = _main(row)
    found = {group.group: group.accuracy for group in score.groups} | {"mean": score.mean}
    found |= {} if score.unflipped is None else {"unmirrored": score.unflipped}
    return {f"T={score.threshold:g} {name}": figure for name, figure in found.items()}


def tables(report: TSSReport) -> tuple[Table, ...]:
    """Accuracy by group at the threshold that papers report, then at every threshold."""
    at = [score.threshold for score in report.rows[0].scores]
    main = _main(report.rows[0])
    groups = [group.group for group in main.groups]
    header = ("method", "setting", "input", *groups, "mean", "unmirrored")
    by_group = tuple(_group_line(row, _main(row)) for row in report.rows)
    by_threshold = tuple(
        (
            row.method,
            *(score.mean.shown(score.pairs) for score in row.scores),
            _main(row).per_pixel.shown(main.pairs),
            str(_main(row).lost),
        )
        for row in report.rows
    )
    columns = ("method", *(f"T={t:g}" for t in at), f"T={main.threshold:g} per pixel", "lost")
    notes = (
        "A group's figure is the mean over its pictures of the share of foreground pixels at most "
        "T px off, longer side 100; mean: of the groups; unmirrored: over pictures of pairs that "
        "are not mirrored.",
        "lost: pixels without a prediction, counted as wrong.",
    )
    return (
        Table(f"T = {main.threshold:g}", Cells(header, by_group), notes[:1]),
        Table("Mean of the groups", Cells(columns, by_threshold), notes[1:]),
    )


def _group_line(row: TSSRow, score: FlowScore) -> tuple[str, ...]:
    unflipped = score.unflipped
    return (
        row.method,
        setting_text(row.tap, row.t),
        size_text(row.input_wh, own=bool(row.tap)),
        *(group.accuracy.shown(group.pairs) for group in score.groups),
        score.mean.shown(score.pairs),
        "" if unflipped is None else unflipped.shown(score.pairs),
    )


def left_out(report: TSSReport) -> Sequence[str]:
    """Every pair that is in no figure, and why."""
    return [f"skipped {bad.id}: {bad.reason}" for bad in report.skipped]
