"""`counterpoint bench tapvid` and `badja`: points followed through videos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from counterpoint.cli.bench.parameters import Flag, Several
from counterpoint.cli.bench.results import Resulting, Results
from counterpoint.cli.bench.videos import Parameters, Propagated, run_videos
from counterpoint.cli.common import DEFAULTS, ModelOptions

if TYPE_CHECKING:
    from counterpoint.benchmarks.videos.point_tracks import How

Ways = Annotated[list[Literal["nearest", "propagated"]] | None, Several]

_PAPER = Parameters()
_SHOWN = Results()


def tapvid(
    *,
    data: Path,
    queries: Literal["first", "strided"] = "first",
    by: Ways = None,
    videos: Annotated[list[str] | None, Several] = None,
    limit: int | None = None,
    visible_px: float = 8.0,
    visible_hold: float | None = None,
    parameters: Propagated = _PAPER,
    results: Resulting = _SHOWN,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Points followed through TAP-Vid's videos: average Jaccard, delta_avg, occlusion accuracy.

    Two rows a model: each point's nearest neighbour in every frame, and its label propagated from
    frame to frame. Beside them, every point left in its place.

    Parameters
    ----------
    data
        tapvid_davis.pkl, or the folder that holds it. Only arrays are read from it.
    queries
        first: each track from its first visible frame; strided: all visible tracks in every fifth
        frame, followed both ways.
    by
        Only these ways: nearest, propagated.
    videos
        Only these.
    limit
        Only the first so many of them.
    visible_px
        A nearest neighbour is called visible when its way back ends within so many pixels of the
        model's input.
    visible_hold
        A propagated point is called visible while its label holds together so well, 0 to 1; by
        default as `counterpoint track` does.
    """
    from counterpoint.benchmarks.datasets.tapvid import read_tapvid
    from counterpoint.benchmarks.videos.point_tracks import Seeing
    from counterpoint.benchmarks.videos.track_run import run_tapvid

    hold = {} if visible_hold is None else {"hold": visible_hold}
    seeing = Seeing(cycle_px=visible_px, **hold)
    dataset = read_tapvid(data, videos=videos, limit=limit, skip_bad=results.skip_bad)
    asked = {"mode": queries, "hows": _ways(by), "seeing": seeing}
    return run_videos(run_tapvid, dataset, parameters, results, options, **asked)


def badja(
    *,
    data: Path,
    davis: Path | None = None,
    resolution: Literal["480p", "Full-Resolution"] = "480p",
    by: Ways = None,
    animals: Annotated[list[str] | None, Several] = None,
    limit: int | None = None,
    limit_frames: int | None = None,
    count_not_given: Annotated[bool, Flag] = False,
    parameters: Propagated = _PAPER,
    results: Resulting = _SHOWN,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Animals' joints followed through BADJA's videos: PCK@0.2 of the area's root, and 3 px.

    Two rows a model: each joint's nearest neighbour in every frame, and its label propagated from
    frame to frame. Beside them, every joint left in its place.

    Parameters
    ----------
    data
        The folder of BADJA that holds joint_annotations.
    davis
        The folder of DAVIS that holds JPEGImages; by default DAVIS in the folder of BADJA.
    resolution
        Which of DAVIS' pictures.
    by
        Only these ways: nearest, propagated.
    animals
        Only these, such as camel; by default those whose videos are DAVIS', as papers report.
    limit
        Only the first so many of them.
    limit_frames
        Only the first so many frames of each.
    count_not_given
        Count joints that the first annotated frame does not show as wrong, instead of leaving them
        out.
    """
    from counterpoint.benchmarks.datasets.badja import read_badja_videos
    from counterpoint.benchmarks.videos.track_run import run_badja

    dataset = read_badja_videos(
        data,
        davis,
        resolution=resolution,
        animals=animals,
        limit=limit,
        limit_frames=limit_frames,
        skip_bad=results.skip_bad,
    )
    asked = {"hows": _ways(by), "count_not_given": count_not_given}
    return run_videos(run_badja, dataset, parameters, results, options, **asked)


def _ways(by: "list[How] | None") -> "tuple[How, ...]":
    return tuple(dict.fromkeys(by)) if by else ("nearest", "propagated")
