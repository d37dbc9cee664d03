"""Pictures that lists name: where they lie, how large they are, whether all of them is there.

Headers are read, not pixels: a data set's pictures are decoded when they are used.
"""

import os
from pathlib import Path

from PIL import Image

from counterpoint.benchmarks.datasets._tables import Origin, find_file
from counterpoint.errors import ImageError
from counterpoint.geometry import SizeWH
from counterpoint.images import EXIF_ORIENTATION, load_picture

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG, _PNG_END = b"\x89P", b"IEND\xaeB`\x82"


class Pictures:
    """Pictures of one data set, each file looked for and its header read once.

    Args:
        origin: where missing pictures are to be had.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._places: dict[tuple[Path, str], Path] = {}
        self._sizes: dict[Path, SizeWH] = {}

    def find(self, folder: Path, *names: str) -> Path:
        """The first of these files that is there, under its own name.

        Raises:
            BadInput: none; the first is named.
        """
        for name in names:
            if (folder, name) in self._places:
                return self._places[folder, name]
            found = find_file(folder / name)
            if found is not None:
                self._places[folder, name] = found
                return found
        raise self._origin.missing(folder / names[0])

    def of(self, path: Path) -> SizeWH:
        """Width and height of the upright picture.

        Raises:
            BadInput: missing.
            ImageError: not a picture.
        """
        if path not in self._sizes:
            self._sizes[path] = _header_size(path, self._origin)
        return self._sizes[path]

    def whole(self, path: Path) -> SizeWH:
        """The same, of a picture that is not cut off.

        Whether a file ends as a JPEG or PNG must takes no time to see; those that do not, and other
        kinds, are decoded.

        Raises:
            BadInput: missing.
            ImageError: not a picture, or cut off.
        """
        size_wh = self.of(path)
        if not _ends_well(path):
            load_picture(path)
        return size_wh


def _ends_well(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(2)
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(_PNG_END)))
        end = file.read()
    return (start == _JPEG and end.endswith(_JPEG_END)) or (start == _PNG and end == _PNG_END)


def _header_size(path: Path, origin: Origin) -> SizeWH:
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(EXIF_ORIENTATION, 1) >= 5  # on its side
            w, h = image.size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise origin.missing(path) from error
    except Exception as error:  # PIL raises nearly anything on damaged files
        reason = " ".join(str(error).split())
        if path.is_file() and not path.stat().st_size:
            reason = "the file is empty"
        raise ImageError(
            f"expected a picture at {path}: {reason}; unpack the archive again"
        ) from error
    return (h, w) if turned else (w, h)
