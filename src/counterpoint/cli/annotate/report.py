"""What `counterpoint annotate` says at its end."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.cli.common import console

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from counterpoint.tasks.annotation.annotator import Kind
    from counterpoint.tasks.annotation.results import Result
    from counterpoint.tasks.annotation.score import Score

RISKS = (0.05, 0.1, 0.2)
"""Shares of wrong points at which the clicks saved are reported."""


def summarise(
    kinds: "Iterable[Kind]",
    results: "Sequence[Result]",
    score: "Score | None",
    problems: list[str],
    written: list[Path],
) -> dict[str, Any]:
    """The run, ready for JSON."""
    from counterpoint.tasks.annotation.results import counts

    return {
        "targets": len(results),
        **counts(results),
        "problems": problems,
        "kinds": [_kind_summary(kind) for kind in kinds],
        "score": None if score is None else _score_summary(score),
        "files": [str(path) for path in written],
    }


def _number(value: float) -> float | None:
    return None if value != value else round(value, 4)


def _kind_summary(kind: "Kind") -> dict[str, Any]:
    test = kind.self_test
    return {
        "category": kind.category.name,
        "references": len(kind.references),
        "pck_leave_one_out": _number(test.pck),
        "calibrated": test.calibration is not None,
        "reason": test.reason,
        "mask_overlap_leave_one_out": _number(kind.mask_overlap),
    }


def _score_summary(score: "Score") -> dict[str, Any]:
    import numpy as np

    last = len(score.coverage) - 1
    at = np.unique(np.linspace(0, last, min(21, last + 1)).round().astype(int)).tolist()
    return {
        "alpha": score.alpha,
        "points": score.points,
        "absent": score.absent,
        "pck": _number(score.pck),
        "pck_confident_half": _number(score.pck_confident_half),
        "calibration_error": _number(score.calibration_error),
        "saved": {f"{risk:g}": _number(score.saved(risk)) for risk in RISKS},
        "risk_coverage": [
            [_number(float(score.coverage[i])), _number(float(score.risk[i]))] for i in at
        ],
    }


def print_summary(summary: dict[str, Any]) -> None:
    """The same for people."""
    shown = console()
    for kind in summary["kinds"]:
        text = f"{kind['category']}: {kind['references']} references"
        if kind["pck_leave_one_out"] is not None:
            text += (
                f", {100 * kind['pck_leave_one_out']:.1f} % of their points found from each other"
            )
        if kind["mask_overlap_leave_one_out"] is not None:
            text += f", masks overlap by {kind['mask_overlap_leave_one_out']:.2f}"
        shown.print(text, soft_wrap=True)
        if not kind["calibrated"] and kind["reason"]:
            shown.print(f"  confidence is not calibrated: {kind['reason']}", soft_wrap=True)
    shown.print(
        f"{summary['targets']} targets: {summary['things']} things, {summary['shown']} key points, "
        f"{summary['hidden']} hidden as too uncertain; {len(summary['problems'])} skipped",
        soft_wrap=True,
    )
    if summary["score"]:
        _print_score(summary["score"])
    for path in summary["files"]:
        shown.print(f"wrote {path}", soft_wrap=True)


def _print_score(score: dict[str, Any]) -> None:
    shown = console()
    shown.print(
        f"against the truth: PCK@{score['alpha']:g} {100 * score['pck']:.1f} of {score['points']} "
        f"points, {100 * score['pck_confident_half']:.1f} of the more confident half; calibration "
        f"error {100 * score['calibration_error']:.1f}; {score['absent']} points are absent",
        soft_wrap=True,
    )
    for risk, saved in score["saved"].items():
        shown.print(f"  at most {float(risk):.0%} wrong: {saved:.1%} of the points need no click")
