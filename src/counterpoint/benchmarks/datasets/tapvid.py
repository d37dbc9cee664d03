"""TAP-Vid (Doersch et al. 2022) as its pickles have it: videos with tracks of points.

``tapvid_davis.pkl`` is a dictionary by video, ``tapvid_rgb_stacking.pkl`` a list; every entry holds
``video``, ``points`` and ``occluded``. A pickle can run any code when it is read. These are read
by an unpickler that makes numpy's arrays and plain containers and refuses everything else.
"""

import io
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from counterpoint.benchmarks.datasets._tables import Origin
from counterpoint.benchmarks.datasets.davis import part_of
from counterpoint.benchmarks.datasets.keypoints import SLACK_PX, Skipped, usable
from counterpoint.errors import BadInput, PointError, UnknownName
from counterpoint.geometry import SizeWH, inside
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


@dataclass(frozen=True, eq=False)
class TrackedVideo:
    """One video.

    Attributes:
        name: its key, or its number in a list.
        rgb: (frames, rows, columns, 3).
        points_px: (tracks, frames, 2), (x, y), pixels of the video; of no meaning where occluded.
        occluded: (tracks, frames).
    """

    name: str
    rgb: UInt8[np.ndarray, "frames rows columns 3"]
    points_px: Float[np.ndarray, "tracks frames 2"]
    occluded: Bool[np.ndarray, "tracks frames"]

    @property
    def size_wh(self) -> SizeWH:
        """Width and height, pixels."""
        return self.rgb.shape[2], self.rgb.shape[1]

    def __len__(self) -> int:
        return len(self.rgb)

    def picture(self, frame: int) -> Picture:
        """A frame."""
        return Picture(self.rgb[frame], f"{self.name}, frame {frame}")

    def check(self) -> None:
        """See that visible points lie on their frames.

        Raises:
            PointError: one does not.
            BadInput: no point is ever visible.
        """
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


def tapvid_to_pixels(
    points: Float[np.ndarray, "tracks frames 2"], size_wh: SizeWH
) -> Float[np.ndarray, "tracks frames 2"]:
    """TAP-Vid's coordinates, shares of width and height from the top left corner, in pixels."""
    return points * np.asarray(size_wh, dtype=np.float64) - 0.5


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
    rgb = _rgb(path, name, entry["video"])
    points, occluded = np.asarray(entry["points"]), np.asarray(entry["occluded"])
    shape = occluded.shape
    fits = (
        len(shape) == 2
        and occluded.dtype == np.bool_
        and points.shape == (*shape, 2)
        and points.dtype.kind == "f"
        and shape[1] == len(rgb)
    )
    if not fits:
        raise BadInput(
            f"expected points (tracks, {len(rgb)}, 2) and occluded (tracks, {len(rgb)}) of video "
            f"{name} in {path}, got {points.dtype} {points.shape} and {occluded.dtype} {shape}"
        )
    if not np.isfinite(points[~occluded]).all():
        raise BadInput(f"expected finite points of video {name} in {path}, got NaN or infinity")
    size_wh = (rgb.shape[2], rgb.shape[1])
    return TrackedVideo(name, rgb, tapvid_to_pixels(points.astype(np.float64), size_wh), occluded)


def _rgb(path: Path, name: str, video: Any) -> UInt8[np.ndarray, "frames rows columns 3"]:
    if isinstance(video, list) and video and all(isinstance(f, bytes) for f in video):
        video = np.stack([load_picture(frame).rgb for frame in video])  # encoded pictures
    if not isinstance(video, np.ndarray):
        raise BadInput(f"expected frames of video {name} in {path}, got {type(video).__name__}")
    if video.ndim != 4 or video.shape[3] != 3 or 0 in video.shape or video.dtype != np.uint8:
        raise BadInput(
            f"expected frames (frames, rows, columns, 3) of uint8 of video {name} in {path}, "
            f"got {video.dtype} {video.shape}"
        )
    return video


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of numpy's arrays, numbers, texts and containers, and nothing else."""

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file)

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """What a pickle may call: only what makes arrays."""
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


def _dtype(kind: Any, *more: Any) -> "np.dtype[Any]":
    """Numbers only: an array of objects could hold anything."""
    made = np.dtype(kind, *more)
    if made.kind not in "biuf":
        raise BadInput(f"expected a pickle of numbers, got an array of {made}")
    return made


def _makers() -> dict[tuple[str, str], Any]:
    """What numpy's own pickles call, as numpy itself says; their places differ by version."""
    array, number = np.zeros(1), np.float64(0)
    return {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _dtype,
        ("numpy._core.multiarray", "_reconstruct"): array.__reduce__()[0],
        ("numpy._core.multiarray", "scalar"): number.__reduce__()[0],
        ("numpy._core.numeric", "_frombuffer"): array.__reduce_ex__(5)[0],
        ("_codecs", "encode"): _latin1,
    }


_MAKERS = _makers()
