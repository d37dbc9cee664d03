"""Writing videos."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from counterpoint.errors import BadInput, StorageError
from counterpoint.files import atomic_path
from counterpoint.geometry import SizeWH
from counterpoint.videos.base import Rgb, pyav, reason_of

_TICKS = 90_000  # a second, where frames carry times of their own
_BT709 = 1  # as H.273 numbers it


class VideoWriter:
    """Writes an H.264 MP4 (yuv420p, BT.709), beside its name first and renamed at the end.

    Where FFmpeg was built without x264 the codec is MPEG-4 part 2. A picture of odd width or height
    is padded by its last column or row: the format halves both for colour.

    Args:
        path: the file.
        fps: frames a second.
        size_wh: of every frame, pixels.
        crf: x264's quality: 0 is lossless, 18 looks it, 51 is the worst.

    Raises:
        BadInput: a size or rate that no video has, a frame of another size, or a time that does
            not grow.
        MissingExtra: PyAV is not installed.
        StorageError: the file cannot be written. So is a video without frames.

    >>> import tempfile
    >>> from counterpoint.videos import open_video
    >>> path = Path(tempfile.mkdtemp()) / "dark.mp4"
    >>> with VideoWriter(path, 25, (33, 21)) as writer:
    ...     for _ in range(3):
    ...         writer.add(np.zeros((21, 33, 3), np.uint8))
    >>> open_video(path).count, open_video(path).size_wh
    (3, (34, 22))
    """

    def __init__(
        self, path: str | Path, fps: float | int, size_wh: SizeWH, *, crf: int = 18
    ) -> None:
        if not 0 < fps <= 1000:
            raise BadInput(f"expected frames a second above 0 and up to 1000, got {fps}")
        if min(size_wh) < 1 or max(size_wh) > 16384:
            raise BadInput(f"expected frames of 1 to 16384 pixels a side, got {size_wh}")
        self.size_wh, self._path, self._fps, self._crf = size_wh, Path(path), fps, crf
        self._open = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._timed = False
        self._last_tick = -1

    def __enter__(self) -> "VideoWriter":
        self._container = self._open.enter_context(self._file())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @contextmanager
    def _file(self) -> Generator[Any]:
        """The container, closed and renamed at the end; gone if anything fails."""
        av = pyav()
        try:
            with atomic_path(self._path) as beside:
                options = {"movflags": "faststart"}
                with av.open(str(beside), "w", format="mp4", options=options) as container:
                    yield container
                    self._flush()
        except av.FFmpegError as error:
            raise StorageError(f"cannot write {self._path}: {reason_of(error)}") from error

    def add(self, rgb: Rgb, time_s: float | None = None) -> None:
        """Append a frame (rows, columns, 3).

        Args:
            rgb: its pixels.
            time_s: when it is shown, seconds; given for every frame or for none, which follow one
                another evenly.
        """
        w, h = self.size_wh
        if rgb.shape != (h, w, 3) or rgb.dtype != np.uint8:
            raise BadInput(f"expected a frame {(h, w, 3)} of uint8, got {rgb.shape} of {rgb.dtype}")
        if self._stream is None:
            self._timed = time_s is not None
            self._stream = self._new_stream()
        if self._timed != (time_s is not None):
            raise BadInput("expected times with every frame of a video or with none")
        self._encode(rgb, self._last_tick + 1 if time_s is None else round(time_s * _TICKS))

    def _encode(self, rgb: Rgb, tick: int) -> None:
        if tick <= self._last_tick:
            raise BadInput(f"expected times that grow, got {tick / _TICKS:g} s after one as late")
        self._last_tick = tick
        av = pyav()
        even = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = tick, self._stream.codec_context.time_base
        self._container.mux(self._stream.encode(frame))

    def _new_stream(self) -> Any:
        codecs = pyav().codecs_available
        h264 = "libx264" in codecs
        options = {"crf": str(self._crf), "preset": "medium"} if h264 else {"qscale": "3"}
        rate = Fraction(self._fps).limit_denominator(1001)
        stream = self._container.add_stream("libx264" if h264 else "mpeg4", rate, options=options)
        stream.width, stream.height = (side + side % 2 for side in self.size_wh)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS) if self._timed else 1 / rate
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = 1  # limited, as "MPEG" above
        return stream

    def _flush(self) -> None:
        if self._stream is None:
            raise StorageError(f"cannot write {self._path}: a video needs at least one frame")
        self._container.mux(self._stream.encode())
