"""`counterpoint annotate`: label one or a few pictures, get the rest."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter

from counterpoint.cli.annotate.report import print_summary, summarise
from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    output_folder,
    print_json,
    progress,
)
from counterpoint.errors import BadInput, ImageError

if TYPE_CHECKING:
    from counterpoint.annotations import Annotations
    from counterpoint.annotations.model import Box
    from counterpoint.images import Picture
    from counterpoint.options import Options
    from counterpoint.tasks.annotation.annotator import Annotator, Found
    from counterpoint.tasks.annotation.journal import Journal
    from counterpoint.tasks.annotation.results import Result
    from counterpoint.tasks.annotation.score import Score
    from counterpoint.tasks.annotation.targets import Target

FormatName = Literal["coco", "label-studio", "cvat"]

SHEET = 16
"""Pictures on a contact sheet."""


@dataclass(frozen=True, kw_only=True)
class Transferring:
    """How annotations are transferred.

    Attributes:
        vote: how several references become one place. median: of their matches. medoid: the match
            that most lie near. pooled: the best of their mean similarity. placed: the same, beside
            where on the thing the point lies in them; the default with boxes, medoid without.
        flip: also look at the mirrored target, left and right exchanged; the better of the two.
        min_confidence: key points below are hidden: v = 0, x = y = 0.
        box_scale: side of the square that is cut out around a thing, in longer sides of its box.
        alpha: confidence is the probability to be within this share of the thing's longer side.
    """

    vote: Literal["median", "medoid", "pooled", "placed"] | None = None
    flip: Annotated[bool, Parameter(negative="")] = False
    min_confidence: float = 0.0
    box_scale: float = 1.25
    alpha: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is read and written, beside the references and targets.

    Attributes:
        format: of REFERENCES; found from its content otherwise.
        to: format of what is written; that of REFERENCES otherwise.
        boxes: an annotation file with boxes of the things in the targets.
        truth: an annotation file with the targets' true key points, to be scored against.
        merge: write the references' annotations too.
        url_prefix: before pictures' names in tasks for Label Studio.
        skip_bad: report entries and pictures that cannot be used, and go on without them.
        overwrite: begin anew where OUT holds a run already.
    """

    format: FormatName | None = None
    to: FormatName | None = None
    boxes: Path | None = None
    truth: Path | None = None
    merge: Annotated[bool, Parameter(negative="")] = False
    url_prefix: str = "/data/local-files/?d="
    skip_bad: Annotated[bool, Parameter(negative="")] = False
    overwrite: Annotated[bool, Parameter(negative="")] = False


How = Annotated[Transferring, Parameter(name="*", group="Transfer")]
Where = Annotated[Files, Parameter(name="*", group="Files")]

_USUAL = Transferring()
_FILES = Files()


def annotate(
    references: Path,
    /,
    *targets: str,
    images: Path,
    out: Path,
    json: Annotated[bool, Parameter(negative="")] = False,
    features: Path | None = None,
    how: How = _USUAL,
    files: Where = _FILES,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Transfer the annotations of REFERENCES to TARGETS.

    REFERENCES is a file of COCO, Label Studio or CVAT with one or a few annotated pictures, which
    lie below IMAGES. Key points and outlines are found in every target, each with a confidence that
    is calibrated on the references themselves (each found from the others). Written are
    annotations in the same format, a list of what to look at first, and contact sheets.

    A stopped run goes on where it was. The exit code is 1 where pictures could not be read.

    Parameters
    ----------
    references
        The annotation file.
    targets
        Pictures, folders (searched recursively) or quoted patterns. Without any, the pictures
        that REFERENCES names and that nothing is annotated in.
    images
        The folder that the pictures of REFERENCES lie below.
    out
        A folder for the results.
    json
        Print JSON.
    features
        The folder of `extract`'s files for references and targets: no model is run. `extract --for
        annotate` writes what would be made here: with --boxes squares around the things of the
        files named, with --flip mirror images too.
    """
    seen = _Features(features, options)
    run = _prepare(references, list(targets), images, output_folder(out), how, files, seen)
    try:
        results = run.all()
    except KeyboardInterrupt:
        sys.stderr.write("counterpoint: stopped. Run the same command to go on.\n")
        return 130
    score = _score(run, results, how.alpha) if run.truth else None
    written = _write(run, results)
    kinds = run.annotator.kinds.values()
    summary = summarise(kinds, results, score, run.problems, written)
    summary["features"] = run.origin
    if json:
        print_json(summary)
    else:
        print_summary(summary)
    return 1 if run.problems or not results else 0


class _Features(NamedTuple):
    """Where features come from: the folder of stored ones, if any, and the options as given."""

    folder: Path | None
    options: "Options"


class _Run:
    """One run: what it needs, and what came up."""

    def __init__(
        self,
        given: "Annotations",
        boxes: "Annotations | None",
        truth: "Annotations | None",
        targets: "dict[str, Target]",
        annotator: "Annotator",
        journal: "Journal",
        out: Path,
        files: Files,
        problems: list[str],
        origin: dict[str, Any],
    ) -> None:
        from counterpoint.tasks.annotation.results import ByName

        self.given, self.boxes, self.truth = given, boxes, truth
        self.targets, self.annotator, self.journal = targets, annotator, journal
        self.out, self.files, self.problems = out, files, problems
        self.origin = origin
        self._boxes_by_name = ByName(boxes) if boxes else None

    def all(self) -> "list[Result]":
        """Every target, with progress on standard error; those that cannot be read are told of."""
        results: list[Result] = []
        with progress(len(self.targets)) as advance:
            for name, target in self.targets.items():
                try:
                    results.append(self._one(name, target))
                except (ImageError, BadInput) as error:
                    self._problem(f"{name}: {error}" if name not in str(error) else str(error))
                advance(target.path.name)
        return results

    def _problem(self, line: str) -> None:
        if not self.files.skip_bad:
            raise BadInput(f"{line}; mend it, or go on without it by --skip-bad")
        _skip(self.problems, line)

    def _one(self, name: str, target: "Target") -> "Result":
        from counterpoint.images import load_picture
        from counterpoint.tasks.annotation.journal import from_entry, to_entry
        from counterpoint.tasks.annotation.results import Result

        picture = load_picture(target.path)
        entry: dict[str, Any] | None = self.journal.find(name, picture.content_hash)
        if entry is None:
            things = self._things(name, picture)
            found = self.annotator.annotate(picture, things)
            entry = {
                "target": name,
                "picture_sha256": picture.content_hash,
                "size_wh": list(picture.size_wh),
                "found": [to_entry(one) for one in found],
            }
            self.journal.add(entry)
        kinds = self.annotator.kinds
        again = (from_entry(one, kinds[one["category_id"]].category) for one in entry["found"])
        return Result(name, picture.size_wh, tuple(again), target.image)

    def _things(self, name: str, picture: "Picture") -> "list[tuple[int, Box]] | None":
        from counterpoint.tasks.annotation.results import things_of
        from counterpoint.tasks.annotation.views import require_size

        if self.boxes is None or self._boxes_by_name is None:
            return None
        image = self._boxes_by_name.find(name)
        if image is None:
            raise BadInput(f"expected boxes of {name} in {self.files.boxes}, found none")
        require_size(picture, image)
        return things_of(self.boxes, self.given, image)


def _prepare(
    references: Path,
    targets: list[str],
    images: Path,
    out: Path,
    how: Transferring,
    files: Files,
    seen: _Features,
) -> _Run:
    from counterpoint.cli.annotate.features import open_extractor
    from counterpoint.tasks.annotation.annotator import Annotator, Transfer
    from counterpoint.tasks.annotation.journal import Journal
    from counterpoint.tasks.annotation.targets import find_targets, picture_loader

    if not images.is_dir():
        raise BadInput(f"expected the folder of the references' pictures as --images, got {images}")
    problems: list[str] = []
    given = _read(references, files.format, files, problems)
    boxes = _read(files.boxes, None, files, problems) if files.boxes else None
    truth = _read(files.truth, None, files, problems) if files.truth else None
    skip = partial(_skip, problems) if files.skip_bad else None
    chosen = find_targets(given, targets, images, skip)
    settings = Transfer(crop=boxes is not None, **asdict(how))
    paths = [target.path for target in chosen.values()]
    model = open_extractor(seen.options, seen.folder, paths)
    annotator = Annotator(
        given,
        picture_loader(images),
        model,
        seen.options,
        settings,
        skip,
    )
    about = {
        "references": _digest(references),
        "boxes": _digest(files.boxes),
        "transfer": asdict(settings),
        "features": model.made,
    }
    journal = Journal(out / "journal.jsonl", about, overwrite=files.overwrite)
    origin = model.origin
    return _Run(given, boxes, truth, chosen, annotator, journal, out, files, problems, origin)


def _digest(path: Path | None) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else ""


def _read(path: Path, form: str | None, files: Files, problems: list[str]) -> "Annotations":
    from counterpoint.annotations import read_annotations
    from counterpoint.tasks.annotation.outlines import lightened

    found = lightened(read_annotations(path, form, skip_bad=files.skip_bad))
    for line in found.problems:
        _skip(problems, f"{path}: {line}")
    return found


def _skip(problems: list[str], line: str) -> None:
    problems.append(line)
    sys.stderr.write(f"counterpoint: skipped: {line}\n")


def _score(run: _Run, results: "list[Result]", alpha: float) -> "Score":
    from counterpoint.tasks.annotation.results import judge_results
    from counterpoint.tasks.annotation.score import score

    assert run.truth is not None
    return score(judge_results(results, run.truth, alpha), alpha)


def _write(run: _Run, results: "list[Result]") -> list[Path]:
    import csv
    import io
    import json

    from counterpoint.annotations import write_annotations
    from counterpoint.annotations.formats import SUFFIXES
    from counterpoint.files import write_text
    from counterpoint.tasks.annotation.results import collect, review_rows

    form = run.files.to or run.given.form
    collected = collect(run.given, results, merge=run.files.merge)
    path = run.out / f"annotations{SUFFIXES[form]}"
    written = write_annotations(
        collected,
        path,
        form,
        url_prefix=run.files.url_prefix,
    )
    rows = review_rows(results)
    write_text(run.out / "review.json", json.dumps(rows, indent=1) + "\n")
    table = io.StringIO()
    if rows:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_text(run.out / "review.csv", table.getvalue())
    written += [run.out / "review.csv", run.out / "review.json"]
    return written + list(_sheets(run, results, rows))


def _sheets(run: _Run, results: "list[Result]", rows: list[dict[str, Any]]) -> Iterator[Path]:
    """The worst, and of the better half evenly from the best down."""
    better = rows[len(rows) // 2 :][::-1]
    step = max(1, len(better) // SHEET)
    for name, chosen in (("worst", rows[:SHEET]), ("best", better[::step][:SHEET])):
        if chosen and (name == "worst" or len(rows) > 1):
            yield _sheet(run, results, chosen, run.out / f"{name}.png")


def _sheet(run: _Run, results: "list[Result]", rows: list[dict[str, Any]], path: Path) -> Path:
    from counterpoint.cli.annotate.sheets import draw_sheet
    from counterpoint.images import load_picture

    by_name = {result.name: result for result in results}

    def tile(row: dict[str, Any]) -> "tuple[Picture, Found, str]":
        picture = load_picture(run.targets[row["image"]].path)
        found = by_name[row["image"]].found[row["thing"] - 1]
        return picture, found, f"{row['rank']}: {row['lowest']} {row['confidence']:.2f}"

    return draw_sheet(map(tile, rows), path)
