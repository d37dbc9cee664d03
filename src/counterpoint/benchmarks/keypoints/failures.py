"""Where a method fails (DIFT, figure 19): the worst pairs, and what their pictures have in common.

From a file of predictions, without a model: every pair is judged again under one protocol and
threshold; the worst are those with the smallest share of points found, and among equals the largest
mean distance from the truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from counterpoint.benchmarks.datasets.keypoints import KeypointPairs
from counterpoint.benchmarks.keypoints.maps import picture_of
from counterpoint.benchmarks.keypoints.parts import Judged, judge
from counterpoint.benchmarks.keypoints.predictions import Predictions
from counterpoint.benchmarks.keypoints.protocols import Protocol
from counterpoint.benchmarks.keypoints.report import PairReport, pair_report, slug, tables
from counterpoint.benchmarks.tables import Table
from counterpoint.errors import BadInput, UnknownName
from counterpoint.plots import Canvas, captioned, draw_truth, join_columns, stack_rows

Sort = Literal["error", "scale", "rotation", "viewpoint"]
"""By what the worst pairs are arranged: the method's error, or how much the pictures differ."""

_KEYS: dict[Sort, Callable[[Judged], tuple[float | int, ...]]] = {
    "error": lambda one: (-one.share, one.error),
    "scale": lambda one: (one.change.scale or 0.0,),
    "rotation": lambda one: (one.change.rotation_deg or 0.0,),
    "viewpoint": lambda one: (
        one.pair.difficulty.viewpoint if one.pair.difficulty else -1,
        bool(one.change.mirrored),
        one.change.shape or 0.0,
    ),
}


@dataclass(frozen=True, eq=False)
class Failures:
    """The worst pairs of one method.

    Attributes:
        report: all its figures, and tables by category, flag, change and key point.
        worst: in the order they are shown.
        alpha: threshold, in units of the protocol's length.
        sort: what the order is.
        dataset: whose pairs they are.
    """

    report: PairReport
    worst: tuple[Judged, ...]
    alpha: float
    sort: Sort
    dataset: KeypointPairs

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON: the report's, and every worst pair."""
        return self.report.to_dict() | {
            "alpha": self.alpha,
            "sort": self.sort,
            "worst": [_entry(one) for one in self.worst],
        }


def find_failures(
    dataset: KeypointPairs,
    predictions: Predictions,
    protocol: Protocol,
    *,
    alpha: float | None = None,
    count: int = 24,
    sort: Sort = "error",
    skip_bad: bool = False,
) -> Failures:
    """The worst pairs, and tables of everything.

    Args:
        dataset: whose predictions they are.
        predictions: of one method.
        protocol: what is correct.
        alpha: threshold; by default the protocol's first.
        count: how many pairs to show.
        sort: how these are arranged, the extreme first.
        skip_bad: list pairs that the protocol cannot score instead of raising.

    Raises:
        BadInput: as `score`; a count below 1.
    """
    if count < 1:
        raise BadInput(f"expected at least 1 pair to show, got {count}")
    if sort not in get_args(Sort):
        raise UnknownName("order of failures", sort, get_args(Sort))
    share = protocol.alphas[0] if alpha is None else alpha
    report = pair_report(dataset, [predictions], [protocol], [share], skip_bad=skip_bad)
    judged = judge(dataset, predictions.points, protocol, share)
    worst = sorted(judged, key=_KEYS["error"], reverse=True)[:count]
    arranged = sorted(worst, key=_KEYS[sort], reverse=True)
    return Failures(report, tuple(arranged), share, sort, dataset)


def draw_failure(failures: Failures, one: Judged, *, height_px: int = 360) -> Canvas:
    """A pair: the points given, where they are (rings), where they were found (dots).

    Raises:
        ImageError: a picture that cannot be read any more.
    """
    pair = one.pair
    source = picture_of(failures.dataset, pair.source, pair.source_size_wh)
    target = picture_of(failures.dataset, pair.target, pair.target_size_wh)
    ends = (pair.source_px, one.found_px, pair.target_px, one.correct)
    return captioned(draw_truth(source, target, *ends, height_px=height_px), caption(one))


def draw_gallery(canvases: Sequence[Canvas], columns: int = 2) -> Canvas:
    """Drawings in rows, on one sheet."""
    rows = [canvases[i : i + columns] for i in range(0, len(canvases), columns)]
    return stack_rows([join_columns(row) for row in rows])


def caption(one: Judged) -> str:
    """What is below a pair's drawing."""
    found = f"{int(one.correct.sum())} of {len(one.correct)} found, mean error {one.error:.2f}"
    flags = one.pair.difficulty.words if one.pair.difficulty else {}
    hard = [f"{name} {level}" for name, level in flags.items() if level not in ("easy", "none")]
    return "; ".join(filter(None, [one.pair.category, found, one.change.line, ", ".join(hard)]))


def file_name(number: int, one: Judged) -> str:
    """Of a pair's drawing: "03-cat-000012.png"."""
    return f"{number:02d}-{slug(one.pair.id)[:60]}.png"


def page(failures: Failures, names: Sequence[str] = ()) -> str:
    """Everything as one Markdown page; ``names`` are the drawings' files beside it."""
    report = failures.report
    method, rule = report.rows[-1].method, report.rows[-1].scores[0].rule
    parts = [
        f"# Where {method} fails on {report.dataset}",
        report.title,
        *(table.markdown().strip() for table in tables(report)),
        f"## The {len(failures.worst)} worst pairs",
        f"Correct: {rule}, alpha {failures.alpha:g}. Left the points given; right rings where they "
        "are, dots where they were found: green near enough, red not. Arranged by "
        f"{failures.sort}, the largest first; errors are in units of the protocol's length.",
    ]
    for number, one in enumerate(failures.worst, 1):
        parts.append(f"**{number}.** `{one.pair.id}`: {caption(one)}")
        if number <= len(names):
            parts.append(f"![{one.pair.id}]({names[number - 1]})")
    return "\n\n".join(parts) + "\n"


def shown_tables(failures: Failures) -> tuple[Table, ...]:
    """The tables that fit on a screen; the page has all."""
    return tables(failures.report, keypoints=40)


def _entry(one: Judged) -> dict[str, Any]:
    pair = one.pair
    return {
        "id": pair.id,
        "category": pair.category,
        "source": Path(pair.source).name,
        "target": Path(pair.target).name,
        "points": len(one.correct),
        "found": int(one.correct.sum()),
        "mean_error": one.error,
        "flags": pair.difficulty.words if pair.difficulty else None,
        "change": asdict(one.change),
    }
