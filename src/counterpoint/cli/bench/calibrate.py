"""`counterpoint calibrate`: confidence as a probability, fitted where the truth is known."""

import json as json_format
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from counterpoint.cli.bench.courses import Name, Selected, Selection, read_quiz
from counterpoint.cli.bench.parameters import Flag, Several
from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    console,
    open_model,
    output_folder,
    print_json,
    print_tables,
)
from counterpoint.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from counterpoint.benchmarks.accuracy.calibrate import TrustReport
    from counterpoint.benchmarks.accuracy.reliability import Judged
    from counterpoint.benchmarks.keypoints.asked import Quiz
    from counterpoint.matching import Calibration

Tell = Callable[[str], None]


def calibrate(
    name: Name,
    /,
    *,
    selection: Selected,
    out: Path,
    judge: Literal["trn", "val", "test"] | None = None,
    alpha: float = 0.1,
    members: int = 0,
    columns: Annotated[list[str] | None, Several] = None,
    subpixel: Literal["argmax", "window", "grid-window"] = "argmax",
    isotonic: Annotated[bool, Flag] = False,
    charts: Path | None = None,
    json: Annotated[bool, Flag] = False,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Fit the probability that a match is right, judge it on other pictures, and write it to OUT.

    Of cub, it is fitted on one half of the birds (--half, by default even) and judged on the other;
    of the other data sets on one split and judged on another. Points that the target does not show
    are asked for as well, and their matches are wrong. Use the file with: counterpoint match
    --calibration OUT.

    Parameters
    ----------
    name
        The data set: cub (bird crops), spair, pascal, ap10k.
    out
        The calibration, a JSON file.
    judge
        Of the data sets with splits: the split to judge on, by default "test"; fitted on "val".
    alpha
        A match is right within this share of the target picture's longer side.
    members
        Single draws of noise whose disagreement counts as evidence; each costs a forward pass a
        picture.
    columns
        What to look at: similarity, margin, cycle, disagreement, prominence. By default all there
        is.
    subpixel
        As for `counterpoint match`.
    isotonic
        Isotonic regression on top, for thousands of matches.
    charts
        A folder for the reliability and the risk-coverage curve.
    json
        Print JSON instead of tables.
    """
    from counterpoint.benchmarks.accuracy.calibrate import Matching, trust_report
    from counterpoint.benchmarks.accuracy.calibrate import judge as judge_matches
    from counterpoint.benchmarks.accuracy.gallery import Gallery
    from counterpoint.matching import Calibration

    if out.is_dir():
        raise BadInput(f"expected a file for --out, got a folder: {out}")
    fit_on, judge_on = _parts(name, selection, judge, options.seed)
    folder = output_folder(charts) if charts else None
    backbone = open_model(options)
    found: list[tuple[Matching, Judged]] = []
    with ExitStack() as stack:
        shown = console(quiet=json)
        status = stack.enter_context(shown.status("reading"))
        for words, quiz in (("fitting", fit_on), ("judging", judge_on)):
            gallery = Gallery(backbone, options, quiz.course, members=members)
            matching = Matching(gallery, subpixel, alpha)
            found.append((matching, judge_matches(quiz, matching, _hear(status.update, words))))
        (matching, fitted_to), (judged_by, judged) = found
        note = matching.note(fit_on)
        fitted = Calibration.fit(
            fitted_to.evidence, fitted_to.correct, columns=columns, isotonic=isotonic, note=note
        )
        status.update("measuring")
        report = trust_report(judge_on, judged, judged_by, fitted, seed=options.seed)
    fitted.save(out)
    _show(fitted, report, folder, [out], as_json=json)
    return 0


def _hear(update: Tell, words: str) -> Callable[[int, int], None]:
    return lambda done, of: update(f"{words}: {done} of {of} pairs")


def _parts(name: Name, chosen: Selection, judge: str | None, seed: int) -> "tuple[Quiz, Quiz]":
    """The pairs to fit on, and others to judge on."""
    if name == "willow":
        raise BadInput("expected a data set with parts to fit and to judge on, willow has none")
    if name == "cub":
        if judge is not None:
            raise BadInput("expected no --judge for cub: its other half judges")
        half = chosen.half or "even"
        other = "odd" if half == "even" else "even"
        return (
            read_quiz(name, chosen, half=half, split=chosen.split, seed=seed),
            read_quiz(name, chosen, half=other, split=chosen.split, seed=seed),
        )
    split, judged = chosen.split or "val", judge or "test"
    if split == judged:
        raise BadInput(f"expected another split to judge on than {split}; see --split and --judge")
    return (
        read_quiz(name, chosen, half=chosen.half, split=split, seed=seed),
        read_quiz(name, chosen, half=chosen.half, split=judged, seed=seed),
    )


def _show(
    fitted: "Calibration",
    report: "TrustReport",
    folder: Path | None,
    written: list[Path],
    *,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    if folder:
        written += draw_and_write(report, folder)
    if as_json:
        paths = [str(path) for path in written]
        print_json({"calibration": asdict(fitted), "judged": report.to_dict(), "files": paths})
        return
    print_tables(report.title, report.tables, [*_model_lines(fitted)])
    for path in written:
        console().print(f"wrote {path}")


def _model_lines(fitted: "Calibration") -> list[str]:
    weights = ", ".join(
        f"{name} {weight:.2f}" for name, weight in zip(fitted.columns, fitted.weights, strict=True)
    )
    note = fitted.note
    return [
        f"fitted on {note.points} matches, {note.correct} right, {note.absent} of points that the "
        f"target does not show ({note.dataset}); weight per deviation: {weights}",
    ]


def draw_and_write(report: "TrustReport", folder: Path) -> list[Path]:
    """Numbers and, with matplotlib, charts of a report."""
    from counterpoint.benchmarks.accuracy.report import draw_trust
    from counterpoint.files import write_text

    text = json_format.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"
    write_text(folder / "confidence.json", text)
    parts = [f"{report.title}\n", *(table.markdown() for table in report.tables)]
    write_text(folder / "confidence.md", "\n".join(parts))
    written = [folder / "confidence.json", folder / "confidence.md"]
    try:
        return [*written, *draw_trust(report.shown, folder, f", {report.dataset}")]
    except MissingExtra as error:
        console().print(str(error))
        return written
