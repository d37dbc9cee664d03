"""PF-PASCAL (Ham et al. 2018): pairs of pictures of 20 classes, the split of SCNet.

The folder is the one that holds ``PF-dataset-PASCAL``, or that holds ``JPEGImages`` and
``Annotations`` themselves. Which pictures are compared is said by a CSV list with the points in it,
``{val,test}_pairs_pf_pascal.csv`` or ``{val,test}_pairs.csv`` (also in ``image_pairs``); any other
list serves as well and gives the set another name. Boxes come from ``Annotations``, where it is
there; so do the points of lists that have none: those that both pictures have.

Coordinates are taken as they are, as every published evaluation does.
"""

from collections.abc import Collection
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float

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
    Box,
    KeypointPair,
    KeypointPairs,
    box_of,
    finish,
    points_of,
    read_pairs,
    select,
)
from counterpoint.errors import BadInput, UnknownName
from counterpoint.geometry import Points

SPLITS = ("val", "test")
_SIDES = ("source", "target")
WHOLE = 299
"""Pairs of the test split."""

# fmt: off
CATEGORIES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on
"""In the order of the list's class numbers, from 1."""

ORIGIN = Origin(
    archive="PF-dataset-PASCAL.zip and test_pairs_pf_pascal.csv",
    url="https://www.di.ens.fr/willow/research/proposalflow",
    folder="the folder that holds PF-dataset-PASCAL",
)


def read_pf_pascal(
    root: Path | str,
    split: str = "test",
    *,
    pairs: Path | str | None = None,
    categories: Collection[str] | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> KeypointPairs:
    """Read the pairs of PF-PASCAL.

    Args:
        root: the folder that holds ``PF-dataset-PASCAL`` or ``JPEGImages``.
        split: "test" (299 pairs) is what papers report.
        pairs: the list; by default the split's.
        categories: only these.
        limit: only the first so many pairs of them, in the order of the list.
        skip_bad: list pairs that cannot be used in `KeypointPairs.skipped` instead of raising.

    Raises:
        BadInput: a file is missing or not what it should be, or no pair is left.
        UnknownName: no such split, or no such category in the list.
    """
    root = Path(root).expanduser()
    if split not in SPLITS:
        raise UnknownName("split of PF-PASCAL", split, SPLITS)
    usual = (f"{split}_pairs_pf_pascal.csv", f"{split}_pairs.csv")
    folders = list_folders(root)
    path = (
        Path(pairs).expanduser()
        if pairs
        else find_list(folders, usual, f"{split}_pairs*.csv", ORIGIN)
    )
    chosen, unread = select(
        ((row.number, row) for row in read_rows(path, ORIGIN)),
        lambda row: (_category(row), _id(row)),
        str(path),
        categories=categories,
        limit=limit,
        skip_bad=skip_bad,
    )
    sizes, boxes, places, annotated = Pictures(ORIGIN), cache(_box), cache(picture_at), cache(_kps)

    def points(row: Row, source: Path, target: Path) -> tuple[Points, Points]:
        if any(name in row.cells for name in ("XA", "YA", "XB", "YB")):
            return _points(row, "A"), _points(row, "B")
        a, b = (annotated(picture, _category(row)) for picture in (source, target))
        both = _shared(a, b, row)
        return a[both], b[both]

    def pair(row: Row) -> KeypointPair:
        source, target = (places(root, row.path_of(f"{side}_image")) for side in _SIDES)
        source_px, target_px = points(row, source, target)
        return KeypointPair(
            id=_id(row),
            category=_category(row),
            source=source,
            target=target,
            source_size_wh=sizes.of(source),
            target_size_wh=sizes.of(target),
            source_px=source_px,
            target_px=target_px,
            source_box=boxes(source, _category(row)),
            target_box=boxes(target, _category(row)),
        )

    request = {
        "reader": "pascal",
        "split": split,
        "pairs": pairs and str(path.absolute()),
        "limit": limit,
    }
    request |= {"categories": categories and list(categories), "skip_bad": skip_bad}
    name = f"PF-PASCAL {split if path.name in usual else path.stem}"
    found, bad = read_pairs(chosen, pair, skip_bad=skip_bad)
    return finish(
        name, root, request, found, unread + bad, WHOLE if name == "PF-PASCAL test" else None
    )


def list_folders(root: Path) -> tuple[Path, ...]:
    """Where lists lie."""
    return root, root / "PF-dataset-PASCAL", root / "image_pairs"


def picture_at(root: Path, written: PurePosixPath) -> Path:
    """Where a picture of the list lies.

    Raises:
        BadInput: missing.
    """
    return find_picture(root, written, f"JPEGImages/{written.name}", ORIGIN)


def _category(row: Row) -> str:
    number = row.get("class")
    if not number.isdecimal() or not 1 <= int(number) <= len(CATEGORIES):
        raise row.corrupt(f"a class from 1 to {len(CATEGORIES)}")
    return CATEGORIES[int(number) - 1]


def _id(row: Row) -> str:
    source, target = (row.path_of(f"{side}_image").stem for side in _SIDES)
    return f"{source}-{target}:{_category(row)}"


def _points(row: Row, side: str) -> Points:
    """The points of one picture: two cells of numbers between semicolons."""
    x, y = (row.numbers(row.cells.get(f"{axis}{side}", "").split(";")) for axis in "XY")
    if len(x) != len(y):
        raise row.corrupt(f"as many X{side} as Y{side}")
    return points_of(np.stack([x, y], axis=1), f"points {side} of line {row.number}", row.path)


def _kps(picture: Path, category: str) -> Points:
    """The points (N, 2) of a picture's annotation, NaN where it does not show them.

    Raises:
        BadInput: missing, damaged, or no such points.
    """
    path = picture.parent.parent / "Annotations" / category / f"{picture.stem}.mat"
    table = np.asarray(read_mat(path, "kps", ORIGIN))
    if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind not in "fiu":
        raise BadInput(f"expected 'kps' as (N, 2) in {path}, got {table.dtype} {table.shape}")
    return table.astype(np.float64)


def _shared(
    source: Float[np.ndarray, "source_points 2"],
    target: Float[np.ndarray, "target_points 2"],
    row: Row,
) -> Bool[np.ndarray, " points"]:
    """Which points both pictures show."""
    if source.shape != target.shape:
        raise BadInput(
            f"expected as many 'kps' in both annotations of line {row.number} of {row.path}, "
            f"got {len(source)} and {len(target)}"
        )
    return np.asarray(np.isfinite(np.hstack([source, target])).all(axis=1))


def _box(picture: Path, category: str) -> Box | None:
    """The box in a picture's annotation; None where the annotations are not here at all."""
    folder = picture.parent.parent / "Annotations" / category
    if not folder.parent.is_dir():
        return None
    path = folder / f"{picture.stem}.mat"
    box = np.asarray(read_mat(path, "bbox", ORIGIN)).reshape(-1)
    if box.shape != (4,):
        raise BadInput(f"expected 'bbox' of 4 numbers in {path}, got {box.shape}")
    return box_of(box.tolist(), "'bbox'", path)
