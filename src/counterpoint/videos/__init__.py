"""Videos in and out: files through PyAV, folders and lists of pictures; frames as `Picture`s.

A frame's number counts from 0 in the order of showing, those that cannot be decoded included, so
numbers mean the same whatever is skipped. Frames come upright: the file's rotation and mirroring
are applied. Nothing is decoded before it is asked for, and one frame at a time is in memory.
"""

from collections.abc import Sequence
from pathlib import Path

from counterpoint.errors import ImageError
from counterpoint.images import SUFFIXES, ImageLike
from counterpoint.videos.base import Broken, Frame, Resized, SkippedFrame, Video
from counterpoint.videos.files import FileVideo, turned
from counterpoint.videos.memory import MemoryVideo
from counterpoint.videos.pictures import PictureVideo, natural_key, pictures_in
from counterpoint.videos.write import VideoWriter

__all__ = [
    "FileVideo",
    "Frame",
    "MemoryVideo",
    "PictureVideo",
    "SkippedFrame",
    "Video",
    "VideoWriter",
    "natural_key",
    "open_video",
    "turned",
]

MOVING = frozenset((".gif", ".webp", ".avif"))
"""Picture endings that may hold several frames: read as videos when they stand alone."""


def open_video(
    source: str | Path | Sequence[ImageLike],
    *,
    broken: Broken = "raise",
    resized: Resized = "raise",
) -> Video:
    """Open a video file, a folder of pictures, or a list of pictures in order.

    A folder's pictures are sorted naturally (frame2 before frame10); what lies in folders inside
    it, hidden files and other files are passed over. Audio, subtitles and covers are not frames.

    Args:
        source: a path, or pictures: their paths, or arrays and the like.
        broken: "skip" passes over frames that cannot be decoded, and takes what there is of a file
            that is cut off; what was skipped is listed in `Video.skipped`.
        resized: what to do with frames of another size than the first: "skip" them, or "resize"
            them to it.

    Raises:
        ImageError: missing, empty, no video, without frames.
        MissingExtra: a video file, and PyAV is not installed.
    """
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.is_dir():
            return PictureVideo(path.resolve().name, pictures_in(path), broken, resized)
        if path.suffix.lower() not in SUFFIXES - MOVING:
            return FileVideo(path, broken, resized)
        return PictureVideo(path.stem, [path], broken, resized)
    if not all(isinstance(one, str | Path) for one in source):
        return MemoryVideo(source, broken=broken, resized=resized)
    paths = [Path(one).expanduser() for one in source]  # pyright: ignore[reportArgumentType]
    if not paths:
        raise ImageError("expected at least one picture as a video, got none")
    return PictureVideo(paths[0].resolve().parent.name, paths, broken, resized)
