"""HPatches (Balntas et al. 2017): six pictures of a plane each, and the homographies between them.

Layout of ``hpatches-sequences-release``: folders ``v_*`` (the viewpoint changes) and ``i_*`` (the
illumination does) with ``1.ppm`` to ``6.ppm`` and ``H_1_2`` to ``H_1_6``, each three lines of three
numbers that take a pixel of picture 1 to its place in the other. The sequences of Oxford
(Mikolajczyk et al. 2005) are read in that layout and in their own: ``img1.ppm`` (or ``.pgm``) and
``H1to2p``, in a folder a sequence, for their archives unpack without one; a sequence's own folder
serves as well.

Key points come from files of this format: an npz with ``keypoints`` (N, 2), x and y in pixels of
the picture, centres at whole numbers, and, if it likes, ``scores`` (N,), the higher the better.
Their names: ``SEQUENCE/1.npz``, ``SEQUENCE/1.ppm.npz`` or, as SuperPoint's are published,
``SEQUENCE/1.ppm.superpoint``.

Tables are read and checked at once, pictures and key points when they are used.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from counterpoint.benchmarks.datasets._tables import Origin, corrupt, read_lines
from counterpoint.benchmarks.datasets.keypoints import Skipped, usable
from counterpoint.errors import BadInput, UnknownName
from counterpoint.geometry import Points
from counterpoint.images import Picture, load_picture
from counterpoint.tasks.scenes.keypoint_files import read_npz

Kind = Literal["illumination", "viewpoint"]

# fmt: off
LEFT_OUT = (
    "i_contruction", "i_crownnight", "i_dc", "i_pencils", "i_whitebuilding", "v_artisans",
    "v_astronautis", "v_talent",
)
# fmt: on
"""Sequences that papers leave out for the size of their pictures, D2-Net (Dusmanu et al. 2019)
first; spelt as the data set spells them."""

SEQUENCES, ALL_SEQUENCES = 108, 116
"""In the data set, without and with those left out."""

OXFORD_SEQUENCES = 8

OTHERS = (2, 3, 4, 5, 6)
"""Numbers of the pictures that picture 1 is paired with."""

ORIGIN = Origin(
    archive="hpatches-sequences-release.tar.gz",
    url="https://github.com/hpatches/hpatches-dataset",
    folder="the folder that holds v_* and i_*",
)
OXFORD_ORIGIN = Origin(
    archive="the sequence's archive",
    url="https://www.robots.ox.ac.uk/~vgg/research/affine",
    folder="the folder that holds the sequences' folders",
)

_OXFORD: dict[str, Kind] = {
    "bark": "viewpoint",
    "boat": "viewpoint",
    "graf": "viewpoint",
    "wall": "viewpoint",
    "bikes": "illumination",
    "leuven": "illumination",
    "trees": "illumination",
    "ubc": "illumination",
    "graffiti": "viewpoint",  # its folder's other name
}
"""What changes: the camera's place, or else (light, focus, compression) what it makes of it."""


@dataclass(frozen=True, eq=False)
class PlanarSequence:
    """Six pictures of a plane.

    Attributes:
        name: of its folder.
        kind: what changes.
        paths: of pictures 1 to 6.
        homographies: from picture 1 to 2, 3, 4, 5 and 6, each (3, 3), pixels to pixels.
    """

    name: str
    kind: Kind
    paths: tuple[Path, ...]
    homographies: tuple[Float[np.ndarray, "3 3"], ...]

    def picture(self, number: int) -> Picture:
        """One of the pictures, 1 to 6.

        Raises:
            ImageError: it cannot be read.
        """
        return load_picture(self.paths[number - 1])

    def homography(self, number: int) -> Float[np.ndarray, "3 3"]:
        """From picture 1 to picture ``number``, 2 to 6."""
        return self.homographies[OTHERS.index(number)]

    @property
    def of_oxford(self) -> bool:
        """Whether it is one of Oxford's and no part of HPatches."""
        return "oxford" in self.name or self.name.lower() in _OXFORD


@dataclass(frozen=True, eq=False)
class HPatches:
    """The data set, or the part of it that was asked for.

    Attributes:
        sequences: by name.
        left_out: those there that papers leave out, and so does this.
        skipped: those that cannot be used, where skipping was asked for.
    """

    sequences: tuple[PlanarSequence, ...]
    left_out: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def name(self) -> str:
        """The data set's name, or how much of it this is."""
        oxford = sum(sequence.of_oxford for sequence in self.sequences)
        count = len(self.sequences) - oxford
        usual = not any(sequence.name in LEFT_OUT for sequence in self.sequences)
        parts = []
        if count == ALL_SEQUENCES or (count == SEQUENCES and usual):
            parts = ["HPatches" if usual else f"HPatches, all {ALL_SEQUENCES} sequences"]
        elif count:
            parts = [f"HPatches, {count} of {SEQUENCES if usual else ALL_SEQUENCES} sequences"]
        if oxford:
            parts += [f"Oxford, {oxford} of {OXFORD_SEQUENCES} sequences"]
        return " and ".join(parts)


def read_hpatches(
    root: Path | str,
    *,
    sequences: Collection[str] | None = None,
    kind: Kind | None = None,
    all_sequences: bool = False,
    limit: int | None = None,
    skip_bad: bool = False,
) -> HPatches:
    """Read the sequences' homographies and see that their pictures are there.

    Args:
        root: the folder that holds ``v_*`` and ``i_*``, or Oxford's sequences, or one of these.
        sequences: only these, by name; a name of `LEFT_OUT` is then read as well.
        kind: only those in which this changes.
        all_sequences: `LEFT_OUT` as well.
        limit: only the first so many, by name.
        skip_bad: list sequences that cannot be used, instead of raising.

    Raises:
        BadInput: no sequences; a file is missing, or is not a homography.
        UnknownName: no such sequence there.
    """
    folders = _folders(Path(root).expanduser())
    for name in sequences or ():
        if name not in folders:
            raise UnknownName("sequence", name, folders)
    if limit is not None and limit < 1:
        raise BadInput(f"expected a limit of at least 1 sequence, got {limit}")
    left_out = () if all_sequences or sequences else tuple(set(LEFT_OUT) & folders.keys())
    wanted = [
        folder
        for name, folder in folders.items()
        if name not in left_out
        and (sequences is None or name in sequences)
        and (kind is None or _kind(folder) == kind)
    ]
    named = ((folder.name, folder) for folder in wanted[:limit])
    found, skipped = usable(named, _read_sequence, skip_bad=skip_bad)
    if not found:
        why = f"; {skipped[0].reason}" if skipped else ""
        raise BadInput(f"expected sequences of the kind asked for in {root}, found none{why}")
    return HPatches(found, tuple(sorted(left_out)), skipped)


def read_keypoints(
    root: Path | str, sequence: PlanarSequence, number: int, picture: Picture, count: int
) -> Points:
    """Key points (N, 2) of a picture from their file, at most ``count``.

    The best by ``scores`` where the file has them, else its first.

    Args:
        root: the folder that holds a folder for each sequence; may be that of the pictures.
        sequence: whose.
        number: of the picture, 1 to 6.
        picture: the picture itself, which the points must lie on.
        count: how many at most.

    Raises:
        BadInput: missing, or not in the format that the module describes.
        PointError: a point that is outside the picture or not finite.
    """
    folder = Path(root).expanduser() / sequence.name
    image = sequence.paths[number - 1].name
    names = (f"{number}.npz", f"{image}.npz", f"{image}.superpoint")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise BadInput(
            f"no key points at {folder / names[0]} (nor {' nor '.join(names[1:])}): give the "
            "folder that holds them, or --keypoints sift"
        )
    return read_npz(path, picture.size_wh, count).points_px


def _folders(root: Path) -> dict[str, Path]:
    """Every folder that is a sequence by its name or by what is in it."""
    inner = root / "hpatches-sequences-release"
    root = inner if inner.is_dir() else root
    if not root.is_dir():
        raise ORIGIN.missing(root)
    if _first(root) or _own(root):
        root = root.resolve()  # "." has no name
        return {root.name: root}
    folders = {
        path.name: path
        for path in sorted(root.iterdir())
        if path.is_dir()
        and (path.name.startswith(("v_", "i_")) or _known(path) or _first(path) or _own(path))
    }
    if not folders:
        raise ORIGIN.missing(root / "v_*")
    return folders


def _first(folder: Path) -> bool:
    return (folder / "1.ppm").is_file() and (folder / "H_1_2").is_file()


def _own(folder: Path) -> bool:
    """Whether a folder is one of Oxford's in its own layout."""
    return any((folder / name).is_file() for name in ("H1to2p", "img1.ppm", "img1.pgm"))


def _known(folder: Path) -> bool:
    return folder.name.lower() in _OXFORD


def _kind(folder: Path) -> Kind:
    name = folder.name
    if _known(folder):
        return _OXFORD[name.lower()]
    if name.startswith(("v_", "i_")):
        return "viewpoint" if name.startswith("v_") else "illumination"
    if _own(folder):
        known = ", ".join(_OXFORD)
        raise BadInput(f"expected a sequence named {known}, got {folder}; rename it")
    raise BadInput(f"expected a sequence's name to begin with v_ or i_, got {folder}; rename it")


def _read_sequence(folder: Path) -> PlanarSequence:
    own = (_known(folder) or _own(folder)) and not _first(folder)
    origin = OXFORD_ORIGIN if own or "oxford" in folder.name else ORIGIN
    paths = tuple(_picture_path(folder, number, own, origin) for number in (1, *OTHERS))
    names = [f"H1to{n}p" if own else f"H_1_{n}" for n in OTHERS]
    matrices = tuple(_read_matrix(folder / name, origin) for name in names)
    return PlanarSequence(folder.name, _kind(folder), paths, matrices)


def _picture_path(folder: Path, number: int, own: bool, origin: Origin) -> Path:
    names = [f"img{number}.ppm", f"img{number}.pgm"] if own else [f"{number}.ppm"]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise origin.missing(folder / names[0])
    return path


def _read_matrix(path: Path, origin: Origin) -> Float[np.ndarray, "3 3"]:
    rows: list[list[float]] = []
    for number, line in read_lines(path, origin):
        try:
            rows.append([float(word) for word in line.split()])
        except ValueError as error:
            raise corrupt(path, number, line, "three numbers") from error
    matrix = np.array(rows) if [len(row) for row in rows] == [3, 3, 3] else np.zeros((0, 0))
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise BadInput(f"expected three lines of three finite numbers in {path}; unpack it again")
    if np.linalg.matrix_rank(matrix) < 3:
        raise BadInput(f"expected a homography in {path}, got a singular matrix; unpack it again")
    return matrix
