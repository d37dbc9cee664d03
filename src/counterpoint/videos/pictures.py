"""Folders and lists of pictures as videos."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from counterpoint.errors import ImageError
from counterpoint.geometry import SizeWH
from counterpoint.images import SUFFIXES, load_picture
from counterpoint.videos.base import Broken, RawFrame, Resized, Video


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """What to sort by so that numbers inside names count as numbers.

    >>> sorted(["f10.png", "f2.png", "F1.png"], key=natural_key)
    ['F1.png', 'f2.png', 'f10.png']
    """
    parts = re.split(r"(\d+)", text.casefold())
    return tuple((0, int(part)) if i % 2 else (1, part) for i, part in enumerate(parts))


def pictures_in(folder: Path) -> list[Path]:
    """A folder's own pictures, sorted naturally.

    Raises:
        ImageError: there are none.
    """
    inside = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    shown = [path for path in inside if not path.name.startswith(".") and path.is_file()]
    if not shown:
        raise ImageError(f"expected pictures in the folder {folder}, found none")
    # The name itself last, so that f1.png and f01.png have an order too.
    return sorted(shown, key=lambda path: (natural_key(path.name), path.name))


class PictureVideo(Video):
    """Pictures as a video; see `open_video`."""

    def __init__(self, name: str, paths: Sequence[Path], broken: Broken, resized: Resized) -> None:
        super().__init__(broken, resized)
        self.name, self.paths = name or "video", tuple(paths)
        self.fps, self.count = None, len(self.paths)
        self.size_wh = self._first_size()
        stems = {path.stem for path in self.paths}
        self._named = len(stems) == len(self.paths)

    def frame_name(self, number: int) -> str:
        """The picture's stem; a number where stems repeat."""
        return self.paths[number].stem if self._named else super().frame_name(number)

    def _first_size(self) -> SizeWH:
        for path in self.paths:
            try:
                return load_picture(path).size_wh
            except ImageError:
                if self._broken == "raise":
                    raise
        raise ImageError(f"expected a picture that can be read in {self.name}, found none")

    def decoded(self) -> Iterator[RawFrame]:
        """Every frame in order, its pixels not yet made."""
        for number, path in enumerate(self.paths):
            yield RawFrame(number, None, lambda path=path: load_picture(path))
