"""PF-WILLOW (Ham et al. 2016): 900 pairs of 100 pictures in ten classes, ten key points each.

The folder is the one that holds ``PF-dataset``, whose folders are the classes ("car(G)"), or that
holds the classes themselves; each picture has a ``.mat`` file with its points beside it. Which
pictures are compared is said by a CSV list: ``test_pairs_pf.csv`` or ``test_pairs.csv``, the same
900 pairs under two names; its points are those of the ``.mat`` files. Any other list serves as well
and gives the set another name.

Coordinates are taken as they are, as every published evaluation does.
"""

from collections.abc import Collection
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

from counterpoint.benchmarks.datasets._pair_lists import (
    Row,
    find_list,
    find_picture,
    read_mat,
    read_rows,
)
from counterpoint.benchmarks.datasets._pictures import Pictures
from counterpoint.benchmarks.datasets._tables import Origin
from counterpoint.benchmarks.datasets.keypoints import (
    KeypointPair,
    KeypointPairs,
    finish,
    points_of,
    read_pairs,
    select,
)
from counterpoint.errors import BadInput
from counterpoint.geometry import Points

POINTS = 10
_NUMBERS = tuple(str(i) for i in range(1, POINTS + 1))
WHOLE = 900
LISTS = ("test_pairs_pf.csv", "test_pairs.csv")

ORIGIN = Origin(
    archive="PF-dataset.zip and test_pairs_pf.csv",
    url="https://www.di.ens.fr/willow/research/proposalflow",
    folder="the folder that holds PF-dataset",
)


def read_pf_willow(
    root: Path | str,
    *,
    pairs: Path | str | None = None,
    categories: Collection[str] | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> KeypointPairs:
    """Read the pairs of PF-WILLOW.

    Args:
        root: the folder that holds ``PF-dataset`` or the classes' folders.
        pairs: the list; by default the only one there. Without columns of points, these come from
            the ``.mat`` files.
        categories: only these classes ("car(G)").
        limit: only the first so many pairs of them, in the order of the list.
        skip_bad: list pairs that cannot be used in `KeypointPairs.skipped` instead of raising.

    Raises:
        BadInput: a file is missing or not what it should be, or no pair is left.
        UnknownName: no such class in the list.
    """
    root = Path(root).expanduser()
    path = Path(pairs).expanduser() if pairs else _find_list(root)
    chosen, unread = select(
        ((row.number, row) for row in read_rows(path, ORIGIN)),
        lambda row: (_category(row), _id(row)),
        str(path),
        categories=categories,
        limit=limit,
        skip_bad=skip_bad,
    )
    sizes, points, places = Pictures(ORIGIN), cache(willow_points), cache(picture_at)

    def place(row: Row, side: str) -> Path:
        return places(root, row.path_of(f"image{side}"))

    def pair(row: Row) -> KeypointPair:
        pictures = [place(row, side) for side in "AB"]
        where = [_given(row, side) for side in "AB"]
        # .mat files serve lists without points; read in any case they would need scipy.
        found = [
            points(picture.with_suffix(".mat")) if given is None else given
            for picture, given in zip(pictures, where, strict=True)
        ]
        return KeypointPair(
            id=_id(row),
            category=_category(row),
            source=pictures[0],
            target=pictures[1],
            source_size_wh=sizes.of(pictures[0]),
            target_size_wh=sizes.of(pictures[1]),
            source_px=found[0],
            target_px=found[1],
            keypoint_ids=_NUMBERS,
        )

    request = {"reader": "willow", "pairs": pairs and str(path.absolute()), "limit": limit}
    request |= {"categories": categories and list(categories), "skip_bad": skip_bad}
    usual = path.name in LISTS
    name = "PF-WILLOW" if usual else f"PF-WILLOW {path.stem}"
    found, bad = read_pairs(chosen, pair, skip_bad=skip_bad)
    return finish(name, root, request, found, unread + bad, WHOLE if usual else None)


def willow_points(path: Path) -> Points:
    """The ten key points (10, 2) of a picture's ``.mat`` file.

    Raises:
        BadInput: missing, damaged, or other than 2 x 10 numbers.
    """
    table = np.asarray(read_mat(path, "pts_coord", ORIGIN))
    if table.shape != (2, POINTS):
        raise BadInput(f"expected 'pts_coord' of 2 x {POINTS} in {path}, got {table.shape}")
    return points_of(table.T, "'pts_coord'", path)


def _find_list(root: Path) -> Path:
    return find_list((root, root / "PF-dataset"), LISTS, "test_pairs*.csv", ORIGIN)


def picture_at(root: Path, written: PurePosixPath) -> Path:
    """Where a picture of the list lies.

    Raises:
        BadInput: missing.
    """
    return find_picture(root, written, "/".join(written.parts[-2:]), ORIGIN)


def _category(row: Row) -> str:
    folder = row.path_of("imageA").parent.name
    if not folder:
        raise row.corrupt("a picture as PF-dataset/class/name.png")
    return folder


def _id(row: Row) -> str:
    source, target = (row.path_of(f"image{side}") for side in "AB")
    return f"{source.stem}-{target.stem}:{_category(row)}"


def _given(row: Row, side: str) -> Points | None:
    """The points of one picture, where the list has them."""
    if f"X{side}1" not in row.cells:
        return None
    columns = [[f"{axis}{side}{i}" for i in range(1, POINTS + 1)] for axis in "XY"]
    texts = [[row.cells.get(name, "") for name in names] for names in columns]
    x, y = (row.numbers(cells) for cells in texts)
    return points_of(np.stack([x, y], axis=1), f"points {side} of line {row.number}", row.path)
