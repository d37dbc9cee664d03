"""What `counterpoint track` shows: the overlay's video, and how far it has come."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from counterpoint.cli.track.marks import Marked

if TYPE_CHECKING:
    from counterpoint.tasks.tracking.prompts import Tracked
    from counterpoint.videos import Frame, Video

_Flag = Parameter(negative="")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is written and said.

    Attributes:
        out: the folder for everything. What is there already is gone on with.
        fps: of the overlay of a folder of pictures.
        trail: over how many frames a point's way is drawn.
        no_video: write no overlay.
        names: write points' names beside them.
        json: print a summary as JSON.
        quiet: show no progress.
    """

    out: Path = Path("out")
    fps: float = 24.0
    trail: int = 20
    no_video: Annotated[bool, _Flag] = False
    names: Annotated[bool, _Flag] = False
    json: Annotated[bool, _Flag] = False
    quiet: Annotated[bool, _Flag] = False


@contextmanager
def overlay(
    path: Path, video: "Video", marked: Marked, every: int, shown: Shown
) -> "Generator[Callable[[Frame, Tracked], None]]":
    """A function that draws a frame into the overlay's file."""
    from counterpoint.plots import distinct_colours
    from counterpoint.tasks.tracking.overlays import Overlay
    from counterpoint.videos import VideoWriter

    if shown.no_video:
        yield lambda _frame, _found: None
        return
    drawing = Overlay(
        distinct_colours(len(marked.names)),
        distinct_colours(len(marked.boxes)),
        limbs=marked.limbs,
        names=marked.names if shown.names else (),
        trail=shown.trail,
    )
    fps = video.fps / every if video.fps else shown.fps
    clock = Clock(fps)
    with VideoWriter(path, fps, video.size_wh) as writer:

        def draw(frame: "Frame", found: "Tracked") -> None:
            writer.add(drawing.draw(frame.picture.rgb, found), clock(frame.time_s))

        yield draw


class Clock:
    """Times of the overlay's frames from 0 on, always growing; None where the first has none.

    Args:
        fps: at which frames without a time follow the last one.

    >>> clock = Clock(10)
    >>> [clock(time_s) for time_s in (5.0, 5.5, None, 5.2)]
    [0.0, 0.5, 0.6, 0.601]
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._begin: float | None = None
        self._last: float | None = None

    def __call__(self, time_s: float | None) -> float | None:
        """The overlay's time of the next frame, by its own."""
        if self._last is None:  # the first frame decides
            self._begin = time_s
            self._last = 0.0
            return None if time_s is None else 0.0
        if self._begin is None:
            return None
        at = self._last + 1 / self._fps if time_s is None else time_s - self._begin
        self._last = max(at, self._last + 1e-3)
        return self._last
