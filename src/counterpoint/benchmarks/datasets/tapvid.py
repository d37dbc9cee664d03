"""TAP-Vid (Doersch et al. 2022) as its pickles have it: videos with tracks of points.

``tapvid_davis.pkl`` is a dictionary by video, ``tapvid_rgb_stacking.pkl`` a list; every entry holds
``video``, ``points`` and ``occluded``; videos are arrays, or lists of encoded pictures as the
Kinetics part has them. A pickle can run any code when it is read. These are read by an unpickler
that knows plain containers, numbers, texts and numpy's arrays, and refuses everything else; of
arrays it takes shape, type and bytes itself, so that not even numpy is told what to do.
"""

import io
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from counterpoint.benchmarks.datasets._tables import Origin
from counterpoint.benchmarks.datasets.davis import part_of
from counterpoint.benchmarks.datasets.keypoints import SLACK_PX, Skipped, usable
from counterpoint.errors import BadInput, ImageError, PointError, UnknownName
from counterpoint.geometry import SizeWH, from_tapvid, inside
from counterpoint.images import Picture, load_picture

WHOLE = 30
"""Videos of TAP-Vid-DAVIS."""

ORIGIN = Origin(
    archive="tapvid_davis.zip",
    url="https://storage.googleapis.com/dm-tapnet/tapvid_davis.zip",
    folder="the file tapvid_davis.pkl",
)

_DAVIS = "TAP-Vid-DAVIS"
_KEYS = ("video", "points", "occluded")


Frames = UInt8[np.ndarray, "frames rows columns 3"] | tuple[bytes, ...]
"""Pixels, or pictures as files hold them, decoded when they are used."""


@dataclass(frozen=True, eq=False)
class TrackedVideo:
    """One video.

    Attributes:
        name: its key, or its number in a list.
        frames: in order.
        size_wh: width and height, pixels.
        points_px: (tracks, frames, 2), (x, y), pixels of the video; of no meaning where occluded.
        occluded: (tracks, frames).
    """

    name: str
    frames: Frames
    size_wh: SizeWH
    points_px: Float[np.ndarray, "tracks frames 2"]
    occluded: Bool[np.ndarray, "tracks frames"]

    def __len__(self) -> int:
        return len(self.frames)

    def picture(self, frame: int) -> Picture:
        """A frame.

        Raises:
            ImageError: it cannot be decoded, or has another size than the first.
        """
        name = f"{self.name}, frame {frame}"
        pixels = self.frames[frame]
        rgb = _decoded(pixels, name) if isinstance(pixels, bytes) else pixels
        if (rgb.shape[1], rgb.shape[0]) != self.size_wh:
            raise ImageError(
                "expected frames of one size, {} x {} as the first, got {} x {} at {}".format(
                    *self.size_wh, rgb.shape[1], rgb.shape[0], name
                )
            )
        return Picture(rgb, name)

    def check(self) -> None:
        """See that encoded frames can be decoded, and that visible points lie on their frames.

        Raises:
            ImageError: a frame that cannot be decoded.
            PointError: a point beyond its frame.
            BadInput: no point is ever visible.
        """
        for frame in range(len(self)) if isinstance(self.frames, tuple) else ():
            self.picture(frame)
        shown = self.points_px[~self.occluded]
        if not len(shown):
            raise BadInput(f"expected points of video {self.name} that are visible, got none")
        outside = ~inside(shown, self.size_wh, slack_px=SLACK_PX)
        if outside.any():
            x, y = shown[int(np.argmax(outside))]
            w, h = self.size_wh
            raise PointError(
                f"expected points of video {self.name} inside its frames of {w} x {h} px, got "
                f"({x:g}, {y:g}); check its annotation"
            )


@dataclass(frozen=True, eq=False)
class TapVidSet:
    """The videos of a file, or a part of them.

    Attributes:
        title: "TAP-Vid-DAVIS" for ``tapvid_davis.pkl``, else "TAP-Vid" and the file's name.
        videos: in the file's order.
        skipped: videos that were asked for and cannot be used, with ``skip_bad`` only.
    """

    title: str
    videos: tuple[TrackedVideo, ...]
    skipped: tuple[Skipped, ...] = ()

    def named(self, used: int) -> str:
        """The title where all of TAP-Vid-DAVIS is used, else how much."""
        return part_of(self.title, used, WHOLE if self.title == _DAVIS else None, None)


def read_tapvid(
    path: Path | str,
    *,
    videos: Collection[str] | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> TapVidSet:
    """Read the videos of a pickle. It is read whole: for DAVIS, 1.6 GB.

    Args:
        path: the file, or a folder that holds ``tapvid_davis.pkl``.
        videos: only these.
        limit: only the first so many of them.
        skip_bad: list videos that cannot be used in `TapVidSet.skipped` instead of raising.

    Raises:
        BadInput: missing, damaged, not such a file, or one that asks for more than arrays.
        UnknownName: no such video.
    """
    path = Path(path).expanduser()
    path = path / "tapvid_davis.pkl" if path.is_dir() else path
    entries = _entries(path)
    for name in videos or ():
        if name not in entries:
            raise UnknownName(f"video of {path.name}", name, entries)
    chosen = [name for name in entries if videos is None or name in videos][:limit]
    found, skipped = usable(
        [(name, name) for name in chosen],
        lambda name: _video(path, name, entries[name]),
        skip_bad=skip_bad,
    )
    if not found:
        why = f"; {skipped[0].reason}" if skipped else ""
        raise BadInput(f"expected videos in {path}, found none{why}")
    title = _DAVIS if path.stem == "tapvid_davis" else f"TAP-Vid {path.stem}"
    return TapVidSet(title, found, skipped)


def _entries(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            found = _ArraysOnly(file).load()
    except FileNotFoundError as error:
        raise ORIGIN.missing(path) from error
    except BadInput as error:
        raise BadInput(f"{error}, in {path}; get it from {ORIGIN.url}") from error
    except Exception as error:  # damaged pickles raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"expected a TAP-Vid pickle at {path}: {reason}") from error
    if isinstance(found, list):
        return {str(i): entry for i, entry in enumerate(found)}
    if isinstance(found, dict) and all(isinstance(name, str) for name in found):
        return found
    raise BadInput(f"expected a dictionary of videos in {path}, got {type(found).__name__}")


def _video(path: Path, name: str, entry: Any) -> TrackedVideo:
    if not isinstance(entry, dict) or any(key not in entry for key in _KEYS):
        raise BadInput(f"expected {', '.join(_KEYS)} of video {name} in {path}")
    frames = _frames(path, name, _array_of(entry["video"]))
    points, occluded = (np.asarray(_array_of(entry[key])) for key in ("points", "occluded"))
    shape = occluded.shape
    fits = (
        len(shape) == 2
        and occluded.dtype == np.bool_
        and points.shape == (*shape, 2)
        and points.dtype.kind == "f"
        and shape[1] == len(frames)
    )
    if not fits:
        raise BadInput(
            f"expected points (tracks, {len(frames)}, 2) and occluded (tracks, {len(frames)}) of "
            f"video {name} in {path}, got {points.dtype} {points.shape}, {occluded.dtype} {shape}"
        )
    if not np.isfinite(points[~occluded]).all():
        raise BadInput(f"expected finite points of video {name} in {path}, got NaN or infinity")
    size_wh = _size(path, name, frames)
    points_px = from_tapvid(points.astype(np.float64), size_wh)
    return TrackedVideo(name, frames, size_wh, points_px, occluded)


def _frames(path: Path, name: str, video: Any) -> Frames:
    if isinstance(video, list | tuple) and video and all(isinstance(f, bytes) for f in video):
        return tuple(video)
    if not isinstance(video, np.ndarray):
        raise BadInput(f"expected frames of video {name} in {path}, got {type(video).__name__}")
    if video.ndim != 4 or video.shape[3] != 3 or 0 in video.shape or video.dtype != np.uint8:
        raise BadInput(
            f"expected frames (frames, rows, columns, 3) of uint8 of video {name} in {path}, "
            f"got {video.dtype} {video.shape}"
        )
    return video


def _size(path: Path, name: str, frames: Frames) -> SizeWH:
    """Width and height of the first frame."""
    first = frames[0]
    rgb = _decoded(first, f"{path}, video {name}, frame 0") if isinstance(first, bytes) else first
    return rgb.shape[1], rgb.shape[0]


def _decoded(data: bytes, name: str) -> UInt8[np.ndarray, "rows columns 3"]:
    try:
        return load_picture(data).rgb
    except ImageError as error:
        raise ImageError(f"{error} ({name})") from error


class _Kind:
    """A dtype in a pickle: a kind of number and its size, which a state may only turn around.

    numpy's own dtype takes any state, and would believe that numbers are addresses of objects.
    """

    def __init__(self, kind: Any, *_: Any) -> None:
        made = np.dtype(kind) if isinstance(kind, str) else None
        if made is None or made.kind not in "biuf":
            came = type(kind).__name__ if made is None else made
            raise BadInput(f"expected a pickle of numbers, got an array of {came}")
        self.dtype = made

    def __setstate__(self, state: Any) -> None:
        """Which byte comes first; what else there is belongs to other kinds of arrays."""
        order = state[1] if isinstance(state, tuple) and len(state) > 4 else None
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise BadInput("expected a pickle of plain numbers, got another kind of array")
        self.dtype = self.dtype.newbyteorder(order)


class _Held:
    """An array in a pickle, until all of it has been read."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        """Version, shape, kind, whether columns come first, bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise BadInput("expected the state of an array in a pickle, got another")
        _, shape, kind, columns_first, data = state
        self.array = _from_bytes(data, kind, shape, "F" if columns_first else "C")


def _from_bytes(data: Any, kind: Any, shape: Any, order: Any = "C", axes: Any = None) -> np.ndarray:
    """An array, if there are as many bytes as it takes; with order "K", its axes in this order."""
    if not isinstance(kind, _Kind) or not isinstance(data, bytes | bytearray):
        raise BadInput(f"expected an array's bytes in a pickle, got {type(data).__name__}")
    sides = shape if isinstance(shape, tuple) else (shape,)
    if not all(isinstance(n, int) and n >= 0 for n in sides) or order not in ("C", "F", "A", "K"):
        raise BadInput(f"expected the shape of an array in a pickle, got {shape!r:.60}")
    if prod(sides) * kind.dtype.itemsize != len(data):
        raise BadInput(f"expected the bytes of an array {sides} in a pickle, got {len(data)} bytes")
    flat = np.frombuffer(data, kind.dtype) if data else np.zeros(0, kind.dtype)
    array = flat.reshape(sides, order="F" if order == "F" else "C")
    return array if axes is None else array.transpose(axes)


def _array_of(found: Any) -> Any:
    """What an entry holds, arrays as such."""
    if isinstance(found, _Held):
        return found.array
    return [_array_of(one) for one in found] if isinstance(found, list) else found


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of numpy's arrays, numbers, texts and containers, and nothing else."""

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file)

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """What a pickle may call: stand-ins for what makes arrays."""
        # numpy 2 moved `core` to `_core`; files name either.
        place = module_name.replace("numpy.core.", "numpy._core.")
        if (place, global_name) in _MAKERS:
            return _MAKERS[place, global_name]
        raise BadInput(f"expected a pickle of arrays only, got {module_name}.{global_name}")


def _latin1(text: str, encoding: str) -> bytes:
    """How old pickles spell bytes."""
    if encoding != "latin1":
        raise BadInput(f"expected a pickle of arrays only, got an encoding {encoding!r}")
    return text.encode("latin1")


def _scalar(kind: Any, data: Any) -> Any:
    """One number."""
    return _from_bytes(data, kind, ())[()]


_MAKERS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Held,
    ("numpy", "dtype"): _Kind,
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Held(),
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_bytes,
    ("_codecs", "encode"): _latin1,
}
"""Names in numpy's own pickles; those of other versions in other places."""
