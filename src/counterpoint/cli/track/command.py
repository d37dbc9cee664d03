"""`counterpoint track`: masks, points, boxes and poses of one frame, followed through a video."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from counterpoint.cli.bench.videos import Parameters, Propagated
from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    console,
    output_folder,
    print_json,
    progress,
)
from counterpoint.cli.track.marks import Marked, Marks, read_marks
from counterpoint.cli.track.show import Shown, overlay
from counterpoint.errors import BadInput

if TYPE_CHECKING:
    from counterpoint.cli.track.frames import FrameSource
    from counterpoint.tasks.tracking.folder import TrackFolder
    from counterpoint.tasks.tracking.prompts import Tracked
    from counterpoint.tasks.tracking.tracker import Tracking
    from counterpoint.videos import Frame, Video

_Flag = Parameter(negative="")


@dataclass(frozen=True, kw_only=True)
class Which:
    """Which frames.

    Attributes:
        start: the first frame, from 0.
        stop: the first frame that is left alone.
        every: 2 takes every second frame.
        skip_bad: pass over frames that cannot be decoded, and take what there is of a file that is
            cut off, instead of stopping there.
        resize: bring frames of another size than the first to its size.
    """

    start: int = 0
    stop: int | None = None
    every: int = 1
    skip_bad: Annotated[bool, _Flag] = False
    resize: Annotated[bool, _Flag] = False


@dataclass(frozen=True, kw_only=True)
class Following:
    """How points are read.

    Attributes:
        refine: move a point to where the features look most like its own, at most so many cells;
            by default not at all.
        visible: from which hold on a point counts as visible, 0 to 1, by default 0.012; 0: always.
        gone: an object or box whose label has its peak below this is gone, 0 to 1; by default none
            ever is.
    """

    refine: int | None = None
    visible: float | None = None
    gone: float | None = None


Marking = Annotated[Marks, Parameter(name="*", group="What is followed")]
Framing = Annotated[Which, Parameter(name="*", group="Frames")]
Followed = Annotated[Following, Parameter(name="*", group="Points and boxes")]
Showing = Annotated[Shown, Parameter(name="*", group="Output")]

_NOTHING = Marks()
_ALL = Which()
_USUAL = Following()
_PLACES = Shown()
_PAPER = Parameters()


def track(
    video: Path,
    /,
    *,
    features: Path | None = None,
    marks: Marking = _NOTHING,
    which: Framing = _ALL,
    following: Followed = _USUAL,
    parameters: Propagated = _PAPER,
    shown: Showing = _PLACES,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Follow what is marked in the first frame through VIDEO, a file or a folder of pictures.

    Labels are carried from frame to frame by their features, as on DAVIS. Where the options for
    features are silent, they are what suits video: the paper's for Stable Diffusion and ADM. A run
    that was stopped goes on where it was when the same command is given again. The exit code is 1
    when everything is lost right behind the first frame.

    Parameters
    ----------
    video
        A video file (needs the extra "video"), or a folder of pictures, sorted naturally.
    features
        The folder of `extract`'s files for these frames: no model is run. `extract --for track`
        writes those that would be made here.
    """
    from counterpoint.cli.track.frames import open_frames
    from counterpoint.videos import open_video

    film = open_video(
        video,
        broken="skip" if which.skip_bad else "raise",
        resized="resize" if which.resize else "raise",
    )
    marked = read_marks(marks, which.start)
    for prompt in marked.prompts.values():
        prompt.check(film.size_wh)
    _check_frames(marked, which, film.count)
    place = output_folder(shown.out)
    source = open_frames(film, _first(film, which), features, options, asdict(parameters))
    job = _Job.of(film, marked, which, following, source, features, place)
    try:
        summary = job.run(shown)
    except KeyboardInterrupt:
        done = len(job.folder.done)
        sys.stderr.write(f"counterpoint: stopped after {done} frames; the same command goes on\n")
        return 130
    if shown.json:
        print_json(summary)
    else:
        _print(summary)
    return 1 if summary["lost"] else 0


def _check_frames(marked: Marked, which: Which, count: int | None) -> None:
    if which.start < 0 or which.every < 1:
        raise BadInput(
            f"expected --start from 0 and --every from 1, got {which.start} and {which.every}"
        )
    if count is not None and which.start >= count:
        raise BadInput(f"expected --start within the {count} frames, got {which.start}")
    for frame in marked.prompts:
        past = frame < which.start or (which.stop is not None and frame >= which.stop)
        if past or (frame - which.start) % which.every:
            raise BadInput(
                f"expected marks in frames that are tracked (from {which.start} on, every "
                f"{which.every}), got frame {frame}"
            )
        if count is not None and frame >= count:
            raise BadInput(f"expected marks within the {count} frames, got frame {frame}")


def _first(video: "Video", which: Which) -> "Frame":
    found = next(video.frames(which.start, which.stop, which.every), None)
    if found is None:  # not every file says how many frames it has
        raise BadInput(f"expected frames of {video.name} from {which.start} on, found none")
    return found


@dataclass(frozen=True, eq=False)
class _Job:
    """One run.

    Attributes:
        video: what is read.
        which: of its frames.
        marked: what is followed.
        source: of the frames' features.
        stored: the folder that they are read from; None: a model runs.
        tracking: how labels are followed.
        folder: where results go.
    """

    video: "Video"
    which: Which
    marked: Marked
    source: "FrameSource"
    stored: Path | None
    tracking: "Tracking"
    folder: "TrackFolder"

    @classmethod
    def of(
        cls,
        video: "Video",
        marked: Marked,
        which: Which,
        following: Following,
        source: "FrameSource",
        stored: Path | None,
        place: Path,
    ) -> "_Job":
        from counterpoint.tasks.tracking.folder import Subject, TrackFolder
        from counterpoint.tasks.tracking.tracker import Tracking

        given = {k: v for k, v in asdict(following).items() if v is not None}
        tracking = Tracking(propagation=source.propagation, **given)
        subject = Subject(
            name=video.name,
            size_wh=video.size_wh,
            names=marked.names,
            limbs=marked.limbs,
            numbers=marked.numbers,
            boxes=len(marked.boxes),
        )
        origin = _origin(which, marked, source, tracking)
        kept = tracking.propagation.context
        folder = TrackFolder(place, subject, origin, kept, video.frame_name)
        return cls(video, which, marked, source, stored, tracking, folder)

    def run(self, shown: Shown) -> dict[str, Any]:
        """Track, write, and say what came of it."""
        from counterpoint.tasks.tracking.tracker import Tracker

        self.folder.begin()
        tracker = Tracker(self.marked.prompts, self.tracking, self.video.size_wh)
        total = _total(self.video.count, self.which)
        tally = _Tally(len(self.marked.names))
        with ExitStack() as stack:
            where = self.folder.video, self.video, self.marked, self.which.every
            draw = stack.enter_context(overlay(*where, shown))
            advance = stack.enter_context(progress(total, quiet=shown.quiet))
            for frame, found in self._results(tracker):
                draw(frame, found)
                tally.add(found)
                advance()
        return self._summary(self.folder.finish(self.video.count), tally, shown)

    def _results(self, tracker: Any) -> "Iterator[tuple[Frame, Tracked]]":
        """Of every frame: what is there already, then what is new."""
        done, lines = len(self.folder.done), self.folder.lines()
        kept = min(max(1, self.tracking.propagation.context), done - 1)
        going_on = not self.folder.complete(self.video.count)
        frames = self.video.frames(self.which.start, self.which.stop, self.which.every)
        for i, frame in enumerate(frames):
            if i < done:
                if going_on and i == 0:
                    tracker.resume(self.source.features(frame), frame.number, done - 1 - kept)
                elif going_on and i >= done - kept:
                    memory = self.folder.memory(frame.number)
                    tracker.recall(self.source.features(frame), frame.number, memory)
                yield frame, self.folder.read(next(lines))
            else:
                found = tracker.step(self.source.features(frame), frame.number)
                self.folder.add(frame.number, frame.time_s, found, tracker.memory)
                yield frame, found

    def _summary(self, written: list[Path], tally: "_Tally", shown: Shown) -> dict[str, Any]:
        folder = self.folder
        places = [str(path) for path in written]
        if folder.subject.numbers:
            places.append(str(folder.masks))
        if not shown.no_video:
            places.append(str(folder.video))
        return {
            "video": self.video.name,
            "size_wh": list(self.video.size_wh),
            "input_wh": list(self.source.input_wh),
            "model": self.source.model,
            "tap": self.source.tap,
            "features": None if self.stored is None else str(self.stored),
            "frames": tally.frames,
            "first": folder.done[0],
            "last": folder.done[-1],
            "objects": list(folder.subject.numbers),
            "points": dict(zip(folder.subject.names, tally.visible, strict=True)),
            "boxes": list(self.marked.boxes),
            "skipped": [{"frame": one.number, "reason": one.reason} for one in self.video.skipped],
            "lost": tally.frames > 1 and not tally.alive,
            "written": places,
        }


class _Tally:
    """What has been found so far.

    Attributes:
        frames: how many.
        visible: in how many of them each point is.
        alive: in how many behind the first there is anything.
    """

    def __init__(self, points: int) -> None:
        self.frames = self.alive = 0
        self.visible = [0] * points

    def add(self, found: "Tracked") -> None:
        """One more frame."""
        self.visible = [n + int(v) for n, v in zip(self.visible, found.visible, strict=True)]
        self.alive += self.frames > 0 and _alive(found)
        self.frames += 1


def _alive(found: "Tracked") -> bool:
    """Whether anything that was followed is still there."""
    import numpy as np

    masked = found.mask is not None and bool(found.mask.any())
    return masked or bool(found.visible.any()) or bool(np.isfinite(found.boxes_px).any())


def _total(count: int | None, which: Which) -> int | None:
    ends = [end for end in (count, which.stop) if end is not None]
    return len(range(which.start, min(ends), which.every)) if ends and count is not None else None


def _origin(
    which: Which, marked: Marked, source: "FrameSource", tracking: "Tracking"
) -> dict[str, Any]:
    """What must agree for two runs to give the same."""
    return {
        "features": source.made,
        "input_wh": list(source.input_wh),
        "tracking": asdict(tracking),
        "frames": {"start": which.start, "stop": which.stop, "every": which.every},
        "bad_frames": [which.skip_bad, which.resize],
        "marks": _digest(marked),
    }


def _digest(marked: Marked) -> str:
    """SHA-256 of everything that is marked."""
    import hashlib

    total = hashlib.sha256(repr((marked.numbers, marked.names, marked.boxes)).encode())
    for frame, prompt in marked.prompts.items():
        ids = prompt.point_ids, prompt.box_ids
        total.update(repr((frame, ids, prompt.mask is None)).encode())
        for array in (prompt.mask, prompt.points_px, prompt.boxes_px):
            total.update(b"" if array is None else array.tobytes())
    return total.hexdigest()


def _print(summary: dict[str, Any]) -> None:
    shown = console()
    shown.print(
        "{video}: {frames} frames ({first} to {last}) at {}x{}, tap {tap}".format(
            *summary["input_wh"], **summary
        )
    )
    for name, visible in summary["points"].items():
        shown.print(f"point {name}: visible in {visible} of {summary['frames']} frames")
    for bad in summary["skipped"]:
        shown.print(f"skipped {bad['reason']}", soft_wrap=True)
    if summary["lost"]:
        shown.print("nothing of what was marked is left behind the first frame")
    for path in summary["written"]:
        shown.print(f"wrote {path}", soft_wrap=True)
