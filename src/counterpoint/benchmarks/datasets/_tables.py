"""What readers of data sets share: where to get them, files that are there, text that can be read.

Archives packed on a Mac carry files of its own beside the data (``.DS_Store``, ``._name``,
``.AppleDouble``): whatever begins with a dot is no part of a data set.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from counterpoint.errors import BadInput


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from, for the error that says that part of it is missing.

    Attributes:
        archive: what to download.
        url: from where.
        folder: which folder to give once it is unpacked.
    """

    archive: str
    url: str
    folder: str

    def missing(self, path: Path) -> BadInput:
        """The error for a file that is not there, or is a link to one that is not."""
        what = "a link to nothing" if path.is_symlink() else "no such file"
        return BadInput(
            f"{what}: {path}; get {self.archive} from {self.url}, unpack it, and give {self.folder}"
        )


def find_file(path: Path) -> Path | None:
    """A file as a list names it, or the only one whose name differs in upper and lower case alone.

    Lists are written where file systems do not tell "1.JPG" from "1.jpg".
    """
    if path.is_file():
        return path
    alike = _by_lower(path.parent, _changed(path.parent)).get(path.name.lower(), ())
    return path.with_name(alike[0]) if len(alike) == 1 else None


def require_file(path: Path, origin: Origin) -> Path:
    """The file, under its own name.

    Raises:
        BadInput: missing.
    """
    found = find_file(path)
    if found is None:
        raise origin.missing(path)
    return found


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """Files of a folder that end so (".jpg"), in upper or lower case, by name; none hidden.

    A folder that is not there has none.
    """
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in suffixes and not path.name.startswith(".")
        )
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise BadInput(f"cannot list {folder}: {error.strerror or error}") from error


@lru_cache(maxsize=64)
def _by_lower(folder: Path, changed: int) -> dict[str, tuple[str, ...]]:
    """Names in a folder by what they are in lower case; read anew when the folder has changed."""
    if not changed:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for path in folder.iterdir():
        if path.is_file():
            found[path.name.lower()] = (*found.get(path.name.lower(), ()), path.name)
    return found


def _changed(folder: Path) -> int:
    """When a folder's list of names last changed, nanoseconds; 0 where there is no such folder."""
    try:
        return folder.stat().st_mtime_ns if folder.is_dir() else 0
    except OSError:
        return 0


def read_text(path: Path, origin: Origin) -> str:
    """A file's text, without the mark that some editors put in front.

    Raises:
        BadInput: missing (the error says where to get it), or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise origin.missing(path) from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"cannot read {path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} "
            f"at {error.start}; unpack the archive again, or save the file as UTF-8"
        ) from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error


def read_lines(path: Path, origin: Origin) -> Iterator[tuple[int, str]]:
    """Numbered lines, from 1, blank ones left out."""
    lines = read_text(path, origin).splitlines()
    return ((n, line.strip()) for n, line in enumerate(lines, 1) if line.strip())


def read_json(path: Path, origin: Origin) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        BadInput: missing, or not such a file.
    """
    entries = read_any_json(path, origin)
    if not isinstance(entries, dict):
        raise BadInput(f"expected a JSON object in {path}, got {type(entries).__name__}")
    return entries


def read_any_json(path: Path, origin: Origin) -> Any:
    """What a JSON file holds.

    Raises:
        BadInput: missing, empty, or damaged.
    """
    text = read_text(path, origin)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error) if text.strip() else "the file is empty"
        raise BadInput(f"expected JSON in {path}: {reason}; unpack the archive again") from error


def corrupt(path: Path, number: int, line: str, expected: str) -> BadInput:
    """The error for a line that is not what it should be."""
    return BadInput(f"expected {expected} in line {number} of {path}, got {line[:80]!r}")
