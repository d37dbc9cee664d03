"""`counterpoint bench davis` and `jhmdb`: masks and joints carried through videos."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from counterpoint.cli.bench.parameters import Flag, Several
from counterpoint.cli.bench.results import Resulting, Results, show_report
from counterpoint.cli.common import DEFAULTS, ModelOptions, console, open_model, output_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from counterpoint.benchmarks.videos.report import VideoRun
    from counterpoint.options import Options


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


Propagated = Annotated[Parameters, Parameter(name="*", group="Propagation")]

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
    from counterpoint.benchmarks.videos.run import run_davis

    dataset = read_davis(
        data,
        year,
        split,
        sequences=sequences,
        limit=limit,
        limit_frames=limit_frames,
        skip_bad=results.skip_bad,
    )
    return run_videos(run_davis, dataset, parameters, results, options)


def jhmdb(
    *,
    data: Path,
    split: Literal[1, 2, 3] = 1,
    clips: Annotated[list[str] | None, Several] = None,
    limit: int | None = None,
    limit_frames: int | None = None,
    skip_lost: Annotated[bool, Flag] = False,
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
    from counterpoint.benchmarks.videos.run import run_jhmdb

    dataset = read_jhmdb(
        data,
        split,
        clips=clips,
        limit=limit,
        limit_frames=limit_frames,
        skip_bad=results.skip_bad,
    )
    return run_videos(run_jhmdb, dataset, parameters, results, options, skip_lost=skip_lost)


def run_videos(
    run: "Callable[..., VideoRun]",
    dataset: Any,
    parameters: Parameters,
    results: Results,
    options: "Options",
    **more: Any,
) -> int:
    """Run a video benchmark, print and write its outcome; the exit code."""
    from counterpoint.benchmarks.videos.report import tables

    out = output_folder(results.out) if results.out else None
    backbone = open_model(options)
    with console().status("reading") as status:
        found = run(
            backbone,
            dataset,
            options,
            asdict(parameters),
            out=out,
            skip_bad=results.skip_bad,
            tell=lambda words: status.update(words),
            **more,
        )
    show_report(found.title, tables(found), found.lines, found.to_dict(), results)
    return 0
