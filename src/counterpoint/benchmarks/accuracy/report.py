"""Tables and charts of how far confidence can be trusted."""

from collections.abc import Sequence
from pathlib import Path

from counterpoint.benchmarks.accuracy.reliability import Trust, figure
from counterpoint.benchmarks.tables import Cells, Table
from counterpoint.charts import Curve, draw_curves


def trust_table(rows: Sequence[Trust], title: str = "How far confidence can be trusted") -> Table:
    """Every confidence of the same matches, as one table."""
    header = ("confidence", "mean", "ECE", "Brier", "AUROC right", "AUROC shown", "AURC")
    lines = tuple(
        (
            row.name,
            *_as_probability(row),
            figure(row.auroc),
            figure(row.auroc_absent),
            figure(row.aurc),
        )
        for row in rows
    )
    first = rows[0]
    notes = (
        f"{first.matches} points asked for, {100 * first.absent:.1f} % of them not shown by the "
        f"target; {100 * first.correct:.1f} % of all matches are right. AURC of the best ranking "
        f"{first.aurc_best:.1f}, of none {100 - 100 * first.correct:.1f}; AUROC of none 50.",
    )
    return Table(title, Cells(header, lines), notes)


def _as_probability(row: Trust) -> tuple[str, str, str]:
    """Mean, ECE and Brier score."""
    if row.ranks_only:
        return "", "", ""
    mean = sum(one.confidence * one.count for one in row.bins) / row.matches
    return f"{100 * mean:.1f}", figure(row.ece), f"{row.brier:.3f}"


def threshold_table(row: Trust, levels: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 1.0)) -> Table:
    """What is kept, and how much of it is right, by coverage."""
    lines: list[tuple[str, ...]] = []
    for level in levels:
        at = min(row.curve, key=lambda point: abs(point.coverage - level))
        lines.append(
            (
                f"{100 * at.coverage:.0f}",
                f"{at.confidence:.3f}",
                f"{100 - 100 * at.risk:.1f}",
            )
        )
    header = ("kept, %", "least confidence", "right, %")
    return Table(f"The most confident: {row.name}", Cells(header, tuple(lines)))


def draw_trust(rows: Sequence[Trust], out: Path, title: str = "") -> tuple[Path, Path]:
    """The reliability and the risk-coverage curve as two PNGs: ``reliability``, ``risk-coverage``.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    reliability = draw_curves(
        [_ideal(rows), *map(_reliability_curve, rows)],
        out / "reliability.png",
        title=f"Reliability{title}",
        labels=("mean confidence of a tenth of the matches, %", "share that is right, %"),
    )
    wrong = 100 - 100 * rows[0].correct
    chance = Curve("no ranking", (0, 100), (wrong, wrong), (wrong, wrong), (wrong, wrong))
    risk = draw_curves(
        [chance, *map(_risk_curve, rows)],
        out / "risk-coverage.png",
        title=f"Risk and coverage{title}",
        labels=("the most confident matches, % of all", "share that is wrong, %"),
    )
    return reliability, risk


def _ideal(rows: Sequence[Trust]) -> Curve:
    end = 100 * max(max(b.confidence, b.high) for row in rows for b in row.bins)
    return Curve("perfect", (0, end), (0, end), (0, end), (0, end))


def _reliability_curve(row: Trust) -> Curve:
    x, y, low, high = (
        tuple(100 * getattr(one, name) for one in row.bins)
        for name in ("confidence", "correct", "low", "high")
    )
    return Curve(row.name, x, y, low, high)


def _risk_curve(row: Trust) -> Curve:
    x = tuple(100 * one.coverage for one in row.curve)
    y = tuple(100 * one.risk for one in row.curve)
    return Curve(row.name, x, y, y, y)
