"""Protocols `tapvid` and `badja`: points followed through videos, and scored.

To the letter:

`tapvid` (Doersch et al. 2022), TAP-Vid-DAVIS:

1. Frames at 256 x 256, squashed, OpenCV's bilinear (floored to what a model needs).
2. Queries: "first", each track from its first visible frame, scored in later frames; or "strided",
   in every fifth frame all tracks visible there, scored in all other frames.
3. Score: positions in a 256 x 256 frame, within 1, 2, 4, 8 and 16 px (``<``); delta_avg over points
   that are visible, whatever is said of them; occlusion accuracy; average Jaccard. Means over
   videos (`track_metrics`).

`badja` (Biggs et al. 2018; Harley et al. 2022):

1. Frames as for DAVIS (short side 480), from the first annotated frame of a video to its last.
2. Joints visible in the first annotated frame, followed to the end; the other annotated frames are
   scored, where the joint is visible (`badja_metrics`).

Both follow points in the two ways of `counterpoint.benchmarks.videos.point_tracks`, with time step,
tap, ensemble and propagation that suit video (`counterpoint.tasks.tracking.temporal.TEMPORAL`: the
paper's for DAVIS). The control looks at nothing: points stay where they were given, visible.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.datasets.badja import Badja, BadjaVideo
from counterpoint.benchmarks.datasets.tapvid import TapVidSet, TrackedVideo
from counterpoint.benchmarks.videos.badja_metrics import BadjaPCK
from counterpoint.benchmarks.videos.files import PredictionFolder
from counterpoint.benchmarks.videos.point_tracks import (
    HOWS,
    Follower,
    How,
    Nearest,
    Propagated,
    Seeing,
    Tracks,
    follow_all,
)
from counterpoint.benchmarks.videos.propagation import davis_input, stream_features
from counterpoint.benchmarks.videos.report import LEFT, VideoRun
from counterpoint.benchmarks.videos.run import Prepared, Tell, prepare_run
from counterpoint.benchmarks.videos.track_metrics import (
    TAP_SIDE,
    Queries,
    QueryMode,
    TapVid,
    queries_of,
)
from counterpoint.geometry import PixelTransform, SizeWH
from counterpoint.options import Options
from counterpoint.tasks.tracking.temporal import TEMPORAL


def run_tapvid(
    backbone: Backbone,
    dataset: TapVidSet,
    options: Options,
    changes: Mapping[str, Any] | None = None,
    *,
    mode: QueryMode = "first",
    hows: Sequence[How] = HOWS,
    seeing: Seeing | None = None,
    out: Path | None = None,
    skip_bad: bool = False,
    tell: Tell | None = None,
) -> VideoRun:
    """Follow every query of every video, and score.

    Args:
        backbone: the model.
        dataset: from `read_tapvid`.
        options: how features are extracted; what is not given is what suits video.
        changes: parameters of `Propagation` to change.
        mode: which queries.
        hows: the ways to follow points, a row each.
        seeing: when a point is called visible.
        out: write the tracks here; videos that are there already are not run again.
        skip_bad: list videos that cannot be used instead of raising.
        tell: hears what is being done.

    Returns:
        `TapVid` by method.

    Raises:
        BadInput: a video that cannot be used, or none that can.
        StorageError: ``out`` holds tracks that were made in another way.
    """
    how = prepare_run(
        backbone, dataset.videos, TrackedVideo.check, TEMPORAL, options, changes, skip_bad
    )
    input_wh = how.options.size_wh or _tap_input(backbone.multiple)
    seeing = seeing or Seeing()
    how.origin.update(queries=mode, seeing=asdict(seeing))
    kept = how.folder(out, "tapvid")
    scores = {LEFT: TapVid(mode)} | {_row(backbone, way): TapVid(mode) for way in hows}
    for _, video in how.told(tell):
        queries = queries_of(video.occluded, mode)

        def made(
            missing: list[How], video: TrackedVideo = video, queries: Queries = queries
        ) -> dict[How, Tracks]:
            run = _TapRun(backbone, video, queries, input_wh, how, seeing)
            return run.follow(missing)

        shape = (len(queries.tracks), len(video))
        found = _kept_or_made(kept, video.name, hows, shape, made)
        rows = {_row(backbone, way): tracks for way, tracks in found.items()}
        for name, tracks in {LEFT: _left(video, queries), **rows}.items():
            scores[name] = scores[name].update(
                video.name,
                queries.frames,
                tracks.points_px,
                tracks.occluded,
                video.points_px[queries.tracks],
                video.occluded[queries.tracks],
                video.size_wh,
            )
    notes = (f"Queries: {mode}. {_seen(seeing)}",)
    return how.outcome(
        "tapvid",
        dataset,
        scores,
        [input_wh],
        options.seed,
        protocol=f"tapvid-{mode}",
        notes=notes,
    )


def _kept_or_made(
    kept: PredictionFolder | None,
    video: str,
    hows: Sequence[How],
    shape: tuple[int, int],
    make: Callable[[list[How]], Mapping[How, Tracks]],
) -> dict[How, Tracks]:
    """A video's tracks by way, in order: those that are kept, the others made and kept."""
    there = {how: kept.tracks(video, how, shape) for how in hows} if kept else {}
    found = {how: tracks for how, tracks in there.items() if tracks is not None}
    missing: list[How] = [how for how in hows if how not in found]
    for how, tracks in (make(missing) if missing else {}).items():
        found[how] = tracks
        if kept:
            kept.keep_tracks(video, how, tracks)
    return {how: found[how] for how in hows}


def _tap_input(multiple: int) -> SizeWH:
    side = TAP_SIDE // multiple * multiple
    return side, side


class _TapRun:
    """One video's features, made once, and its queries followed through them."""

    def __init__(
        self,
        backbone: Backbone,
        video: TrackedVideo,
        queries: Queries,
        input_wh: SizeWH,
        prepared: Prepared,
        seeing: Seeing,
    ) -> None:
        self.queries, self.setting, self.seeing = queries, prepared.setting, seeing
        self.maps = list(stream_features(backbone, video, len(video), input_wh, prepared.options))
        self.to_input = PixelTransform.resize(video.size_wh, input_wh)
        given_px = video.points_px[queries.tracks, queries.frames]
        places = self.to_input.apply(given_px)
        self.points_px = places.clip(0, np.asarray(input_wh) - 1)  # up to half a pixel beyond

    def follow(self, hows: Sequence[How]) -> dict[How, Tracks]:
        """Tracks in pixels of the video, by way."""
        found: dict[How, Tracks] = {}
        for how in hows:
            tracks = follow_all(
                self.maps,
                self.points_px,
                self.queries.frames,
                how,
                self.setting.propagation,
                self.seeing,
                backwards=True,
            )
            found[how] = replace(tracks, points_px=_to_video(self.to_input, tracks.points_px))
        return found


def _left(video: TrackedVideo, queries: Queries) -> Tracks:
    """The control: every query stays where it is given, visible."""
    given = video.points_px[queries.tracks, queries.frames]
    points = np.repeat(given[:, None], len(video), axis=1)
    return Tracks(points, np.zeros(points.shape[:2], dtype=bool))


def run_badja(
    backbone: Backbone,
    dataset: Badja,
    options: Options,
    changes: Mapping[str, Any] | None = None,
    *,
    hows: Sequence[How] = HOWS,
    count_not_given: bool = False,
    out: Path | None = None,
    skip_bad: bool = False,
    tell: Tell | None = None,
) -> VideoRun:
    """Follow the joints of every video's first annotated frame, and score.

    Args:
        backbone: the model.
        dataset: from `read_badja_videos`.
        options: how features are extracted; what is not given is what suits video.
        changes: parameters of `Propagation` to change.
        hows: the ways to follow points, a row each.
        count_not_given: as `BadjaPCK` has it.
        out: write the tracks here; videos that are there already are not run again.
        skip_bad: list videos that cannot be used instead of raising.
        tell: hears what is being done.

    Returns:
        `BadjaPCK` by method.

    Raises:
        BadInput: a video that cannot be used, or none that can.
        StorageError: ``out`` holds tracks that were made in another way.
    """
    how = prepare_run(
        backbone, dataset.videos, BadjaVideo.check, TEMPORAL, options, changes, skip_bad
    )
    kept = how.folder(out, "badja")
    empty = BadjaPCK(count_not_given)
    scores = {LEFT: empty} | {_row(backbone, way): empty for way in hows}
    sizes: dict[SizeWH, None] = {}
    for words, video in how.told(tell):
        input_wh = how.options.size_wh or davis_input(video.size_wh, backbone.multiple)
        sizes[input_wh] = None

        def made(
            missing: list[How],
            video: BadjaVideo = video,
            input_wh: SizeWH = input_wh,
            words: str = words,
        ) -> dict[How, Tracks]:
            return _follow_joints(backbone, video, input_wh, how, missing, words, tell)

        shape = (int(video.visible[0].sum()), len(video))
        found = _kept_or_made(kept, video.name, hows, shape, made)
        rows = {_row(backbone, way): tracks for way, tracks in found.items()}
        for name, tracks in {LEFT: None, **rows}.items():
            scores[name] = scores[name].update(
                video.name,
                _annotated(video, tracks),
                video.joints_px,
                video.visible,
                video.areas_px,
                video.size_wh,
            )
    not_given = scores[LEFT].compute()[0].not_given
    rule = "count as wrong" if count_not_given else "do not count"
    return how.outcome(
        "badja",
        dataset,
        scores,
        sizes,
        options.seed,
        protocol="badja/not-given-wrong" if count_not_given else "badja",
        notes=(f"{not_given} joints that the first annotated frame does not show {rule}.",),
    )


def _follow_joints(
    backbone: Backbone,
    video: BadjaVideo,
    input_wh: SizeWH,
    prepared: Prepared,
    hows: Sequence[How],
    words: str,
    tell: Tell | None,
) -> dict[How, Tracks]:
    """Joints of the first frame, followed frame by frame: only the followers hold features."""
    to_input = PixelTransform.resize(video.size_wh, input_wh)
    given_px = to_input.apply(video.joints_px[0, video.visible[0]])
    given_px = given_px.clip(0, np.asarray(input_wh) - 1)  # clicks may lie a little beyond
    maps = stream_features(backbone, video, len(video), input_wh, prepared.options)
    first = next(maps)
    followers: dict[How, Follower] = {
        how: Nearest(first, given_px)
        if how == "nearest"
        else Propagated(first, given_px, prepared.setting.propagation)
        for how in hows
    }
    points = {how: np.repeat(given_px[:, None], len(video), axis=1) for how in hows}
    hidden = {how: np.zeros((len(given_px), len(video)), dtype=bool) for how in hows}
    for i, fmap in enumerate(maps, 1):
        if tell:
            tell(f"{words}: frame {i + 1} of {len(video)}")
        for how, follower in followers.items():
            points[how][:, i], visible = follower.step(fmap)
            hidden[how][:, i] = ~visible
    return {how: Tracks(_to_video(to_input, points[how]), hidden[how]) for how in hows}


def _annotated(video: BadjaVideo, tracks: Tracks | None) -> Float[np.ndarray, "annotated joints 2"]:
    """Every joint's place in the annotated frames, NaN where not given; None: left in place."""
    given = video.visible[0]
    places = np.full(video.joints_px.shape, np.nan)
    if tracks is None:
        places[:, given] = video.joints_px[0, given]
    else:
        places[:, given] = tracks.points_px[:, list(video.indices)].transpose(1, 0, 2)
    return places


def _to_video(
    to_input: PixelTransform, points_px: Float[np.ndarray, "_ _ 2"]
) -> Float[np.ndarray, "_ _ 2"]:
    return to_input.invert().apply(points_px.reshape(-1, 2)).reshape(points_px.shape)


def _row(backbone: Backbone, how: How) -> str:
    return f"{backbone.spec.name}, {how}"


def _seen(seeing: Seeing) -> str:
    return (
        f"Called visible: nearest, where the way back ends within {seeing.cycle_px:g} px; "
        f"propagated, where the label's hold is at least {seeing.hold:g}."
    )
