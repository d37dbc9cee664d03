"""What a folder holds of a data set: files counted, those that lists name and that are not there.

Lists are opened, never pictures; the readers check contents. A file of no bytes, such as a download
that was stopped leaves, counts as not there.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from counterpoint.benchmarks.datasets._named import Needs
from counterpoint.benchmarks.datasets._tables import Origin, find_file
from counterpoint.errors import BadInput

NAMED = 10
"""Missing files that are named; the others are only counted."""


@dataclass(frozen=True)
class Part:
    """One kind of file.

    Attributes:
        what: "pictures", "pair lists".
        patterns: as `Path.glob` takes them, from the data set's folder; none: files that the lists
            name are counted.
        whole: how many the whole data set has; None: as many as its lists name, at least one.
        needs: files that the lists name.
    """

    what: str
    patterns: tuple[str, ...] = ()
    whole: int | None = None
    needs: Needs | None = None


@dataclass(frozen=True)
class DatasetEntry:
    """A row of the catalogue.

    Attributes:
        name: what a person types.
        title: the data set's own name.
        reader: the module that reads it.
        origin: where to get it, and which folder to give.
        size: how much there is.
        licence: terms, in short.
        layout: what lies in the folder.
        markers: patterns any of which tells the folder from others.
        parts: what is counted.
    """

    name: str
    title: str
    reader: str
    origin: Origin
    size: str
    licence: str
    layout: str
    markers: tuple[str, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class PartFound:
    """How much of one kind is there.

    Attributes:
        what: as in `Part`.
        found: files that are there.
        expected: of how many; None: unknown.
        missing: files that a list names and that are not there or empty, in the list's order.
    """

    what: str
    found: int
    expected: int | None
    missing: tuple[Path, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return not self.missing and self.found >= (self.expected or 1)


@dataclass(frozen=True)
class Checked:
    """What a folder holds of a data set.

    Attributes:
        entry: of the catalogue.
        root: its folder; None: it is not there.
        parts: each kind of file.
        problems: lists that cannot be read.
    """

    entry: DatasetEntry
    root: Path | None
    parts: tuple[PartFound, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """complete, partial or absent."""
        if self.root is None:
            return "absent"
        whole = not self.problems and all(part.complete for part in self.parts)
        return "complete" if whole else "partial"


def check_folder(root: Path, entries: Collection[DatasetEntry]) -> tuple[Checked, ...]:
    """What lies in a folder, or in the folders in it (two levels deep), of these data sets.

    A data set that is in the folder of another of its kind is a part of that one.

    Raises:
        BadInput: no such folder, or it cannot be listed.
    """
    if root.is_file():
        raise BadInput(f"expected a folder, got the file {root}; unpack archives first")
    if not root.is_dir():
        raise BadInput(f"expected a folder, got {root}")
    try:
        places = list(_places(root, set()))
    except OSError as error:
        raise BadInput(f"cannot list {root}: {error.strerror or error}") from error
    found: list[Checked] = []
    for entry in entries:
        there: list[Path] = []
        for place in places:
            inside = any(other in place.parents for other in there)
            if not inside and any(_any(place, marker) for marker in entry.markers):
                there.append(place)
        found += [_check(entry, place) for place in there]
    return tuple(found)


def _places(root: Path, seen: set[Path], depth: int = 2) -> Iterator[Path]:
    """Folders, each once however links lead to it."""
    actual = root.resolve()
    if actual in seen:
        return
    seen.add(actual)
    yield root
    for path in sorted(root.iterdir()) if depth else ():
        if path.is_dir() and not path.name.startswith("."):
            try:
                yield from _places(path, seen, depth - 1)
            except PermissionError:  # somebody else's folder beside the data sets
                continue


def _any(root: Path, pattern: str) -> bool:
    return any(_shown(path, root) for path in root.glob(pattern))


def _shown(path: Path, root: Path) -> bool:
    """Whether nothing below the root is hidden on the way to a file."""
    return not any(part.startswith(".") for part in path.relative_to(root).parts)


def _check(entry: DatasetEntry, root: Path) -> Checked:
    found: list[PartFound] = []
    problems: list[str] = []
    for part in entry.parts:
        needed: list[Path] = []
        try:
            needed = list(dict.fromkeys(part.needs(root) if part.needs else ()))
        except BadInput as error:
            problems.append(str(error))
        missing = tuple(path for path in needed if not _is_there(path))
        expected = max(part.whole or 0, len(needed)) or None
        count = _count(root, part.patterns) if part.patterns else len(needed) - len(missing)
        found.append(PartFound(part.what, count, expected, missing))
    return Checked(entry, root, tuple(found), tuple(dict.fromkeys(problems)))


def _count(root: Path, patterns: Collection[str]) -> int:
    return sum(_shown(path, root) for pattern in patterns for path in root.glob(pattern))


def _is_there(path: Path) -> bool:
    if path.is_dir():
        return True
    found = find_file(path)
    return found is not None and found.stat().st_size > 0
