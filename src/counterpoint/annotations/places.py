"""Where a picture that an annotation file names lies on this machine."""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file."""


def find_picture(folder: Path, file_name: str) -> Path | None:
    """The picture below ``folder`` that ``file_name`` means, or None.

    A name, a relative path, the path or the ``?d=`` of a URL; tried whole and then with fewer and
    fewer leading folders, last without the eight letters that Label Studio puts before the names
    of uploads. Nothing outside the folder is looked at.
    """
    for tail in _tails(file_name):
        path = folder / tail
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # a name that no file can have
            continue
    return None


def base_name(file_name: str) -> str:
    """The last part of a name, path or URL.

    >>> base_name("/data/local-files/?d=birds/a%20b.jpg")
    'a b.jpg'
    """
    return _path_of(file_name).name


def _tails(file_name: str) -> list[PurePosixPath]:
    parts = [part for part in _path_of(file_name).parts if part not in ("/", ".", "..")]
    tails = [PurePosixPath(*parts[i:]) for i in range(len(parts))]
    if parts and (short := _UPLOAD_PREFIX.sub("", parts[-1])) != parts[-1]:
        tails.append(PurePosixPath(short))
    return tails


def _path_of(file_name: str) -> PurePosixPath:
    text = file_name.replace("\\", "/")
    if "?d=" in text:
        return PurePosixPath(parse_qs(urlsplit(text).query).get("d", [""])[0])
    if "://" in text:
        return PurePosixPath(unquote(urlsplit(text).path))
    return PurePosixPath(text)
