"""Pair lists of the Proposal Flow data sets: a CSV table of two pictures and their points."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from counterpoint.benchmarks.datasets._tables import Origin, corrupt, find_file, read_text
from counterpoint.errors import BadInput, MissingExtra


@dataclass(frozen=True)
class Row:
    """One line of a list.

    Attributes:
        path: of the list.
        number: of the line, from 1 (the header).
        cells: by the header's names.
    """

    path: Path
    number: int
    cells: dict[str, str]

    def get(self, *names: str) -> str:
        """The cell of the first of these columns that there is.

        Raises:
            BadInput: none of them.
        """
        for name in names:
            if name in self.cells:
                return self.cells[name]
        raise BadInput(f"expected a column {names[0]} in {self.path}, got {', '.join(self.cells)}")

    def path_of(self, *names: str) -> PurePosixPath:
        """The cell of the first of these columns that there is, as a path, however it is written.

        Raises:
            BadInput: no such column, or an empty cell.
        """
        written = self.get(*names).replace("\\", "/")
        if not written or ".." in PurePosixPath(written).parts:
            raise self.corrupt(f"the path of a picture as {names[0]}")
        return PurePosixPath(written)

    def numbers(self, texts: Sequence[str]) -> list[float]:
        """Cells as numbers.

        Raises:
            BadInput: one is no number.
        """
        try:
            return [float(text) for text in texts]
        except ValueError as error:
            raise self.corrupt("numbers as coordinates") from error

    def corrupt(self, expected: str) -> BadInput:
        """The error for this line."""
        return corrupt(self.path, self.number, ",".join(self.cells.values()), expected)


def find_picture(root: Path, written: PurePosixPath, instead: str, origin: Origin) -> Path:
    """A picture that a list names below ``PF-dataset``, or where other archives unpack it.

    Lists name pictures from the folder above the data set's own ("PF-dataset/car(G)/a.png"). The
    same lists come with archives without that folder (DHPF's, CATs'), and the folder itself may be
    given as the root.

    Args:
        root: the data set's.
        written: in the list.
        instead: the same picture, from a root without the outer folder.
        origin: for the error.

    Raises:
        BadInput: it is at neither place.
    """
    first = root / written
    found = find_file(first) or find_file(root / instead)
    if found is None:
        here = first if first.parent.is_dir() else root / instead
        raise origin.missing(here if here.parent.is_dir() else first)
    return found


def find_list(folders: Sequence[Path], names: Sequence[str], pattern: str, origin: Origin) -> Path:
    """The pair list of a data set: one of the usual names, else the only one that fits.

    Raises:
        BadInput: none, or several of which none has a usual name.
    """
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    fitting = sorted(
        path for folder in folders for path in folder.glob(pattern) if not path.name.startswith(".")
    )
    if len(fitting) > 1:
        listed = ", ".join(path.name for path in fitting)
        raise BadInput(f"expected one pair list in {folders[0]}, got {listed}; say which")
    if not fitting:
        raise origin.missing(folders[0] / names[0])
    return fitting[0]


def read_rows(path: Path, origin: Origin) -> Iterator[Row]:
    """The lines of a list with a header.

    A line of another length has cells too few; what needs them says so.

    Raises:
        BadInput: missing, empty, or not text.
    """
    reader = csv.reader(io.StringIO(read_text(path, origin), newline=""))
    header = [name.strip() for name in next(reader, [])]
    if len(header) < 2:
        raise BadInput(f"expected a header of at least two columns in {path}")
    for cells in reader:
        if cells:
            yield Row(path, reader.line_num, dict(zip(header, map(str.strip, cells), strict=False)))


def read_mat(path: Path, name: str, origin: Origin) -> object:
    """One variable of a MATLAB file.

    Raises:
        BadInput: missing, damaged, or without that variable.
        MissingExtra: scipy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtra("bench", "MATLAB files") from error
    if not path.is_file():
        raise origin.missing(path)
    try:
        found = loadmat(path, variable_names=[name])
    except Exception as error:  # of damaged files scipy raises nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"expected a MATLAB file at {path}: {reason}") from error
    if name not in found:
        raise BadInput(f"expected a variable {name!r} in {path}, found none")
    return found[name]
