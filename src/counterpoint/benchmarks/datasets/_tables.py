"""What readers of data sets share: where to get them, and text that is there and can be read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
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
        """The error for a file that is not there."""
        return BadInput(
            f"no such file: {path}; get {self.archive} from {self.url}, unpack it, and give "
            f"{self.folder}"
        )


def read_text(path: Path, origin: Origin) -> str:
    """A file's text.

    Raises:
        BadInput: missing (the error says where to get it), or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise origin.missing(path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {error}") from error


def read_lines(path: Path, origin: Origin) -> Iterator[tuple[int, str]]:
    """Numbered lines, from 1, blank ones left out."""
    lines = read_text(path, origin).splitlines()
    return ((n, line.strip()) for n, line in enumerate(lines, 1) if line.strip())


def read_json(path: Path, origin: Origin) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        BadInput: missing, or not such a file.
    """
    try:
        entries = json.loads(read_text(path, origin))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"expected JSON in {path}: {error}; unpack the archive again") from error
    if not isinstance(entries, dict):
        raise BadInput(f"expected a JSON object in {path}, got {type(entries).__name__}")
    return entries


def corrupt(path: Path, number: int, line: str, expected: str) -> BadInput:
    """The error for a line that is not what it should be."""
    return BadInput(f"expected {expected} in line {number} of {path}, got {line[:80]!r}")
