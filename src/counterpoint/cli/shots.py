"""A command's pictures or its video's frames: one after the other, with names for outputs."""

import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.errors import BadInput, ImageError
from counterpoint.files import absolute, common_folder

if TYPE_CHECKING:
    import numpy as np

    from counterpoint.images import Picture
    from counterpoint.videos import Video


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture or frame.

    Attributes:
        index: in the set or video, from 0.
        stem: for its outputs, a relative path without ending.
        picture: decoded.
        mask: (rows, columns) of bool, or None.
    """

    index: int
    stem: str
    picture: "Picture"
    mask: "np.ndarray | None" = None


class PictureShots:
    """Pictures by their paths; those that cannot be read are reported and passed over.

    Args:
        paths: of the pictures.
        masks: none, or one for each.
    """

    def __init__(self, paths: list[Path], masks: list[Path]) -> None:
        if masks and len(masks) != len(paths):
            raise BadInput(f"expected a mask for each of {len(paths)} pictures, got {len(masks)}")
        self.paths, self._masks = paths, masks
        self.skipped: dict[int, str] = {}

    @property
    def count(self) -> int:
        """How many."""
        return len(self.paths)

    def shots(self, only: Collection[int] | None = None) -> Iterator[Shot]:
        """All of them, or those of some indices."""
        from counterpoint.images import load_picture

        for index, path in enumerate(self.paths):
            if index in self.skipped or (only is not None and index not in only):
                continue
            try:
                picture = load_picture(path)
            except ImageError as error:
                self._skip(index, error)
                continue
            yield Shot(index, self._stems[index], picture, self._mask(index, picture))

    def _mask(self, index: int, picture: "Picture") -> "np.ndarray | None":
        from counterpoint.images import load_mask

        if not self._masks:
            return None
        mask = load_mask(self._masks[index])
        if mask.shape != picture.rgb.shape[:2]:
            raise BadInput(
                "expected a mask of its picture's size, {} x {}, got {} x {} in {}".format(
                    *picture.size_wh, mask.shape[1], mask.shape[0], self._masks[index]
                )
            )
        return mask

    def _skip(self, index: int, error: ImageError) -> None:
        self.skipped[index] = str(error)
        sys.stderr.write(f"counterpoint: skipped: {error}\n")

    @cached_property
    def _stems(self) -> list[str]:
        return stems(self.paths)


class VideoShots:
    """Frames of a video; broken ones are reported and passed over."""

    def __init__(self, video: "Video") -> None:
        self.video = video
        self.skipped: dict[int, str] = {}

    @cached_property
    def count(self) -> int:
        """How many; a file that does not say is read once."""
        return self.video.count or 1 + max(frame.number for frame in self.video.frames())

    def shots(self, only: Collection[int] | None = None) -> Iterator[Shot]:
        """All of them, or those of some numbers."""
        stop = None if only is None else max(only) + 1
        for frame in self.video.frames(stop=stop):
            if only is None or frame.number in only:
                yield Shot(frame.number, self.video.frame_name(frame.number), frame.picture)
        if only is None:
            self.skipped = {skip.number: skip.reason for skip in self.video.skipped}
            for reason in self.skipped.values():
                sys.stderr.write(f"counterpoint: skipped: {reason}\n")


Shots = PictureShots | VideoShots


def evenly(count: int, most: int) -> set[int]:
    """Indices of at most so many of ``count`` shots, at even distances, both ends included.

    >>> sorted(evenly(9, 3)), evenly(2, 3)
    ([0, 4, 8], {0, 1})
    """
    import numpy as np

    return set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist())


def open_shots(places: list[str], masks: list[Path], *, video: bool) -> "Shots":
    """Pictures, folders and patterns; or one video file; with ``video`` a folder of its frames.

    Raises:
        BadInput: a video together with other things, masks for a video.
    """
    from counterpoint.images import SUFFIXES, find_pictures

    if not places:
        raise BadInput("expected pictures, folders, patterns or a video; see --help")
    files = [place for place in places if is_video(place, SUFFIXES)]
    if not files and not video:
        chosen = find_pictures([str(mask) for mask in masks]) if masks else []
        return PictureShots(find_pictures(places), chosen)
    if len(places) > 1:
        raise BadInput(f"expected one video at a time, got {len(places)} inputs")
    if masks:
        raise BadInput("expected no --mask with a video; give its frames as a folder")
    from counterpoint.videos import open_video

    return VideoShots(open_video(places[0], broken="skip", resized="skip"))


def is_video(place: str, picture_endings: Collection[str]) -> bool:
    """Whether a place is a file whose ending is no picture's."""
    path = Path(place)
    return path.is_file() and bool(path.suffix) and path.suffix.lower() not in picture_endings


def stems(paths: list[Path]) -> list[str]:
    """Names for outputs, relative to the deepest common folder, each different.

    >>> stems([Path("a/x/1.jpg"), Path("a/y/1.jpg"), Path("a/y/1.png")])
    ['x/1', 'y/1', 'y/1.png']
    """
    root = common_folder(paths)
    taken: set[str] = set()
    found: list[str] = []
    for path in paths:
        inside = absolute(path).relative_to(root)
        short = inside.with_suffix("").as_posix()
        name = inside.as_posix() if short in taken else short
        taken.add(name)
        found.append(name)
    return found
