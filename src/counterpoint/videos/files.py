"""Video files through PyAV, frame by frame.

Files are opened with FFmpeg's network protocols switched off, and playlists are refused.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counterpoint.errors import ImageError
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture
from counterpoint.videos.base import Broken, RawFrame, Resized, Rgb, Video, pyav, reason_of

if TYPE_CHECKING:
    from av.video.frame import VideoFrame as AvFrame

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")  # name other files, maybe elsewhere


class FileVideo(Video):
    """A video file; see `open_video`."""

    def __init__(self, path: Path, broken: Broken, resized: Resized) -> None:
        super().__init__(broken, resized)
        self.path, self.name = path, path.stem
        with self._opened() as container:
            stream = self._stream(container)
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else None
            self.count = stream.frames or None
        self.size_wh = self._first_size()

    def _first_size(self) -> SizeWH:
        reason = ""
        for raw in self.decoded():
            try:
                return raw.picture().size_wh
            except ImageError as error:
                if self._broken == "raise":
                    raise
                reason = f": {error}"
        raise ImageError(f"expected frames in {self.path}, found none that can be decoded{reason}")

    def _opened(self) -> Any:
        av = pyav()
        if not self.path.is_file():
            kind = "expected a file or folder" if self.path.exists() else "no such file"
            raise ImageError(f"{kind}: {self.path}")
        self._check_head()
        try:
            # "file:" keeps a colon in a name from being read as a protocol.
            return av.open(f"file:{self.path}", options={"protocol_whitelist": "file"})
        except (av.FFmpegError, OSError, ValueError) as error:
            raise ImageError(
                f"expected a video (MP4, MKV, MOV, WebM, AVI, ...), got {self.path}: "
                f"{reason_of(error)}; it may be damaged, cut off, or no video"
            ) from error

    def _check_head(self) -> None:
        try:
            with self.path.open("rb") as file:
                head = file.read(64)
        except OSError as error:
            raise ImageError(f"cannot read {self.path}: {error.strerror or error}") from error
        if not head:
            raise ImageError(f"expected a video, got an empty file: {self.path}")
        if head.lstrip(b"\xef\xbb\xbf \r\n").startswith(_PLAYLISTS):
            raise ImageError(f"expected a video file, got a playlist: {self.path}; open its parts")

    def _stream(self, container: Any) -> Any:
        from av.stream import Disposition

        # A song's cover is a stream of one picture.
        moving = [
            stream
            for stream in container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        if not moving:
            kinds = sorted({stream.type for stream in container.streams}) or ["none"]
            raise ImageError(
                f"expected a video stream in {self.path}, found {' and '.join(kinds)} only"
            )
        best = container.streams.best("video")
        stream = best if best in moving else moving[0]
        if stream.codec_context is None:
            raise ImageError(f"{self.path} is of a codec that this FFmpeg cannot decode")
        return stream

    def decoded(self) -> Iterator[RawFrame]:
        """Every frame in order, its pixels not yet made."""
        av = pyav()
        with self._opened() as container:
            stream = self._stream(container)
            number, end_s = 0, 0.0
            packets = container.demux(stream)
            while True:
                try:
                    # The reader or the decoder may stumble; both leave a frame out.
                    packet = next(packets, None)
                    frames = [] if packet is None else packet.decode()
                except (av.FFmpegError, OSError) as error:
                    yield self._lost(number, reason_of(error))
                    number += 1
                    continue
                if packet is None:
                    break
                for frame in frames:
                    time_s = self._time(frame, stream)
                    yield RawFrame(number, time_s, self._reader(number, frame))
                    number += 1
                    end_s = max(end_s, (time_s or 0) + _frame_s(frame, self.fps))
            if cut := self._cut_off(container, stream, number, end_s):
                yield self._lost(number, cut)

    def _reader(self, number: int, frame: "AvFrame") -> Callable[[], Picture]:
        name = f"{self.path}#{number}"
        if frame.is_corrupt:
            return self._lost(number, "its data are damaged").picture
        return lambda: Picture(_upright_rgb(frame), name)

    def _lost(self, number: int, reason: str) -> RawFrame:
        def fail() -> Picture:
            raise ImageError(f"cannot decode frame {number} of {self.path}: {reason}")

        return RawFrame(number, None, fail)

    def _time(self, frame: "AvFrame", stream: Any) -> float | None:
        if frame.pts is None:
            return None
        return float(frame.time - (stream.start_time or 0) * stream.time_base)

    def _cut_off(self, container: Any, stream: Any, number: int, end_s: float) -> str:
        """Why the file seems to end too early, or nothing."""
        said_s = _said_duration(container, stream)
        if said_s is None or end_s >= said_s - max(0.02 * said_s, 2.5 / (self.fps or 25)):
            return ""
        if stream.frames and number >= stream.frames:
            return ""
        return f"the file ends there, at {end_s:.2f} of {said_s:.2f} s; it is cut off"


def _said_duration(container: Any, stream: Any) -> float | None:
    """The video's length as its file has it, seconds; the whole file's only for a lone stream."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1
    return container.duration / pyav().time_base if alone and container.duration else None


def _frame_s(frame: "AvFrame", fps: float | None) -> float:
    shown = frame.duration
    if shown and frame.time_base:
        return float(shown * frame.time_base)
    return 1 / fps if fps else 0.0


def _upright_rgb(frame: "AvFrame") -> Rgb:
    rgb = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return rgb
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return np.ascontiguousarray(turned(rgb, (a, b, c, d)))


def turned(rgb: Rgb, matrix: tuple[int, int, int, int]) -> Rgb:
    """A picture under a display matrix (a, b, c, d): x to a x + c y, y to b x + d y.

    Only quarter turns and mirrorings are applied; other turns go to the nearest of them.
    """
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    return rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
