"""What a video is: a lazy, repeatable sequence of frames of one size."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from counterpoint.errors import BadInput, ImageError, MissingExtra, UnknownName
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture

Rgb = UInt8[np.ndarray, "rows columns 3"]

Broken = Literal["raise", "skip"]
Resized = Literal["raise", "skip", "resize"]


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        number: from 0, in the order of showing.
        time_s: when it is shown, seconds from the video's start; None in folders.
        picture: upright RGB.
    """

    number: int
    time_s: float | None
    picture: Picture


@dataclass(frozen=True)
class SkippedFrame:
    """A frame that was passed over, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class RawFrame:
    """A frame before its pixels are made; ``picture`` raises what is wrong with it."""

    number: int
    time_s: float | None
    picture: Callable[[], Picture]


class Video(ABC):
    """A sequence of pictures, read lazily and as often as one likes; each `iter` starts anew.

    Attributes:
        name: of the file or folder, without its ending.
        size_wh: width and height of the first frame, upright, pixels.
        fps: frames a second, the mean where they vary; None for pictures in a folder.
        count: how many frames there are, where that is known without reading all.
        skipped: what the latest pass has passed over so far.
    """

    name: str
    size_wh: SizeWH
    fps: float | None
    count: int | None

    def __init__(self, broken: Broken, resized: Resized) -> None:
        for kind, value, known in (("broken", broken, Broken), ("resized", resized, Resized)):
            if value not in get_args(known):
                raise UnknownName(f"treatment of {kind} frames", value, get_args(known))
        self._broken, self._resized = broken, resized
        self._skipped: list[SkippedFrame] = []

    @property
    def skipped(self) -> tuple[SkippedFrame, ...]:
        """Frames that the latest pass has passed over so far."""
        return tuple(self._skipped)

    def __iter__(self) -> Iterator[Picture]:
        """Every frame's picture."""
        return (frame.picture for frame in self.frames())

    def frames(self, start: int = 0, stop: int | None = None, every: int = 1) -> Iterator[Frame]:
        """Frames ``start``, ``start + every``, ... below ``stop``, one at a time.

        A file is decoded from its first frame on: seeking is not exact in every format.

        Raises:
            BadInput: numbers out of range.
            ImageError: a frame that cannot be decoded, or of another size, unless the video was
                opened to skip or resize those; or a file that ends before it should.
        """
        if start < 0 or every < 1 or (stop is not None and stop <= start):
            raise BadInput(
                "expected frames from 0 on, a stop behind the start and every of at least 1, "
                f"got start {start}, stop {stop}, every {every}"
            )
        return self._chosen(start, stop, every)

    def frame_name(self, number: int) -> str:
        """What to call a frame's outputs: the picture's stem in folders, else "00012"."""
        return f"{number:05}"

    def _chosen(self, start: int, stop: int | None, every: int) -> Iterator[Frame]:
        self._skipped = []
        for raw in self.decoded():
            if stop is not None and raw.number >= stop:
                return
            if raw.number < start or (raw.number - start) % every:
                continue
            picture = self._taken(raw)
            if picture is not None:
                yield Frame(raw.number, raw.time_s, picture)

    def _taken(self, raw: RawFrame) -> Picture | None:
        """The frame's picture at the video's size, or None where it is to be skipped."""
        try:
            picture = raw.picture()
        except ImageError as error:
            if self._broken == "raise":
                raise
            self._skipped.append(SkippedFrame(raw.number, str(error)))
            return None
        if picture.size_wh == self.size_wh:
            return picture
        return self._other_size(raw.number, picture)

    def _other_size(self, number: int, picture: Picture) -> Picture | None:
        reason = "expected frames of one size, {} x {} as the first, got {} x {} in {}".format(
            *self.size_wh, *picture.size_wh, picture.name
        )
        if self._resized == "raise":
            raise ImageError(f"{reason}; resize the frames to one size, or ask to resize or skip")
        if self._resized == "resize":
            fitted = picture.pil().resize(self.size_wh, Image.Resampling.BICUBIC)
            return Picture(np.array(fitted), picture.name)
        self._skipped.append(SkippedFrame(number, reason))
        return None

    @abstractmethod
    def decoded(self) -> Iterator[RawFrame]:
        """Every frame in order, its pixels not yet made."""


def pyav() -> Any:
    """PyAV, whose types are partly unknown.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtra("video", "video files") from error
    return av


def reason_of(error: Exception) -> str:
    """What FFmpeg or the system said, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
