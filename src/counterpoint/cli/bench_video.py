"""`counterpoint bench davis` and `jhmdb`: masks and joints carried through videos."""

import json as json_format
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from counterpoint.cli.common import DEFAULTS, ModelOptions, console, open_model, output_folder

if TYPE_CHECKING:
    from counterpoint.benchmarks.video_run import VideoRun

Several = Parameter(negative="", consume_multiple=True)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Of the propagation; by default those of the paper for the model's family.

    Attributes:
        temperature: of the softmax over cosines.
        topk: how many context positions vote on a cell.
        radius: of the neighbourhood, cells of the feature grid to each side.
        context: how many of the last frames are asked, beside the first.
    """

    temperature: float | None = None
    topk: int | None = None
    radius: int | None = None
    context: int | None = None


@dataclass(frozen=True, kw_only=True)
class Results:
    """Where results go.

    Attributes:
        out: keep the predictions in this folder, to be gone on with after a stop.
        json: write all figures here.
        markdown: write the tables here.
        skip_bad: list videos that cannot be used (damaged masks, masks of another size, objects
            that the first mask does not have) beside the figures, instead of stopping at the first.
    """

    out: Path | None = None
    json: Path | None = None
    markdown: Path | None = None
    skip_bad: Annotated[bool, Parameter(negative="")] = False


Propagated = Annotated[Parameters, Parameter(name="*", group="Propagation")]
Resulting = Annotated[Results, Parameter(name="*", group="Results")]

_PAPER = Parameters()
_SHOWN = Results()


def davis(
    *,
    data: Path,
    year: Literal["2016", "2017"] = "2017",
    split: str = "val",
    sequences: Annotated[list[str] | None, Several] = None,
    limit: int | None = None,
    limit_frames: int | None = None,
    parameters: Propagated = _PAPER,
    results: Resulting = _SHOWN,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Masks of the first frame carried through DAVIS' videos: J, F and J&F (protocol davis).

    Beside the model stands the first mask, copied to every frame.

    Parameters
    ----------
    data
        The folder of DAVIS that holds JPEGImages.
    year
        2017 has several objects a video, 2016 one.
    split
        Which list of videos; papers report "val".
    sequences
        Only these.
    limit
        Only the first so many of them.
    limit_frames
        Only the first so many frames of each.
    """
    from counterpoint.benchmarks.datasets.davis import read_davis
    from counterpoint.benchmarks.video_run import run_davis

    dataset = read_davis(
        data, year, split, sequences=sequences, limit=limit, limit_frames=limit_frames
    )
    out = output_folder(results.out) if results.out else None
    backbone = open_model(options)
    with console().status("reading") as status:
        run = run_davis(
            backbone,
            dataset,
            options,
            asdict(parameters),
            out=out,
            skip_bad=results.skip_bad,
            tell=lambda words: status.update(words),
        )
    return _report(run, results)


def jhmdb(
    *,
    data: Path,
    split: Literal[1, 2, 3] = 1,
    clips: Annotated[list[str] | None, Several] = None,
    limit: int | None = None,
    limit_frames: int | None = None,
    skip_lost: Annotated[bool, Parameter(negative="")] = False,
    parameters: Propagated = _PAPER,
    results: Resulting = _SHOWN,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Body joints of the first frame carried through JHMDB's clips: PCK (protocol jhmdb).

    Beside the model stand the first joints, copied to every frame.

    Parameters
    ----------
    data
        The folder of JHMDB that holds Rename_Images.
    split
        Which lists of test clips; papers report the first.
    clips
        Only these, such as Juno_walk_f_cm_np1_fr_med_8.
    limit
        Only the first so many of them.
    limit_frames
        Only the first so many frames of each.
    skip_lost
        Leave joints that were lost out of the figures, as papers' code does, instead of counting
        them as wrong.
    """
    from counterpoint.benchmarks.datasets.jhmdb import read_jhmdb
    from counterpoint.benchmarks.video_run import run_jhmdb

    dataset = read_jhmdb(
        data,
        split,
        clips=clips,
        limit=limit,
        limit_frames=limit_frames,
        skip_bad=results.skip_bad,
    )
    out = output_folder(results.out) if results.out else None
    backbone = open_model(options)
    with console().status("reading") as status:
        run = run_jhmdb(
            backbone,
            dataset,
            options,
            asdict(parameters),
            out=out,
            skip_bad=results.skip_bad,
            skip_lost=skip_lost,
            tell=lambda words: status.update(words),
        )
    return _report(run, results)


def _report(run: "VideoRun", results: Results) -> int:
    from rich.table import Table

    from counterpoint.benchmarks.video_run import tables
    from counterpoint.files import write_text

    arranged = tables(run)
    notes = [*run.published, *(f"skipped {one.id}: {one.reason}" for one in run.skipped)]
    console().print(run.title)
    for cells in arranged:
        table = Table(*cells.header)
        for row in cells.rows:
            table.add_row(*row)
        console().print(table)
    for note in notes:
        console().print(note)
    if results.json:
        text = json_format.dumps(run.to_dict(), indent=2, allow_nan=False)
        write_text(results.json, text + "\n")
    if results.markdown:
        parts = [run.title + "\n", *(cells.markdown() for cells in arranged)]
        write_text(results.markdown, "\n".join([*parts, *(f"- {note}\n" for note in notes)]))
    for path in (results.json, results.markdown):
        if path:
            console().print(f"wrote {path}")
    if results.out:
        console().print(f"predictions in {results.out}")
    return 0
