"""AP-10K (Yu et al. 2021) as pairs of animals, in the layout that GeoAware-SC's notebook makes.

AP-10K itself has no pairs. Those that papers report are drawn by ``prepare_ap10k.ipynb`` of
GeoAware-SC (Zhang et al. 2024), at random and in the order in which a file system lists files, so
they cannot be drawn again elsewhere: the notebook's folders are read as they are. Of two animals,
the key points annotated in both are compared.

The folder is the one that holds ``PairAnnotation``. Paths in its files are relative to where the
notebook ran; what follows "ImageAnnotation" is looked up here.
"""

import re
from collections.abc import Collection
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from counterpoint.benchmarks.datasets._tables import Origin, files_in, read_json, require_file
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
from counterpoint.geometry import Points, SizeWH

SPLITS = ("trn", "val", "test")
SUBSETS = ("intra-species", "cross-species", "cross-family")

# fmt: off
KEYPOINTS = (
    "left eye", "right eye", "nose", "neck", "root of tail", "left shoulder", "left elbow",
    "left front paw", "right shoulder", "right elbow", "right front paw", "left hip", "left knee",
    "left back paw", "right hip", "right knee", "right back paw",
)
# fmt: on

ORIGIN = Origin(
    archive="ap-10k.zip",
    url="https://github.com/AlexTheBad/AP-10K, run GeoAware-SC's prepare_ap10k.ipynb on it",
    folder="the folder that holds PairAnnotation",
)


_NAME = re.compile(r"[^:_]+[:_](.+)")
"""Of a pair's file; "_" stands for the colon where a file system knows none in names."""


class Animal(NamedTuple):
    """One annotated picture.

    Attributes:
        picture: its path.
        species: "brown bear".
        size_wh: pixels.
        points_px: (17, 2); of no meaning where not annotated.
        annotated: (17,).
        box: around the animal.
    """

    picture: Path
    species: str
    size_wh: SizeWH
    points_px: Points
    annotated: Bool[np.ndarray, " points"]
    box: Box


def read_ap10k(
    root: Path | str,
    subset: str = "intra-species",
    split: str = "test",
    *,
    categories: Collection[str] | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> KeypointPairs:
    """Read the pairs of AP-10K.

    Args:
        root: the folder that holds ``PairAnnotation``.
        subset: of one species, of two species of a family, or of two families.
        split: "test" is what papers report.
        categories: only these: species, families, or "all" for cross-family pairs.
        limit: only the first so many pairs of them, in the order of their files' names.
        skip_bad: list pairs that cannot be used in `KeypointPairs.skipped` instead of raising.

    Raises:
        BadInput: a file is missing or not what it should be, or no pair is left.
        UnknownName: no such split, subset or category.
    """
    root = Path(root).expanduser()
    for kind, name, known in (("split", split, SPLITS), ("subset", subset, SUBSETS)):
        if name not in known:
            raise UnknownName(f"{kind} of AP-10K", name, known)
    end = "" if subset == "intra-species" else "_" + subset.replace("-", "_")
    folder = root / "PairAnnotation" / f"{split}{end}"
    if not folder.is_dir():
        raise ORIGIN.missing(folder)
    chosen, unread = select(
        enumerate(files_in(folder, ".json"), 1),
        lambda path: (_category(path), _identity(path)),
        str(folder),
        categories=categories,
        limit=limit,
        skip_bad=skip_bad,
    )
    animals = cache(lambda path: read_animal(root / path))
    found, bad = read_pairs(chosen, lambda path: _pair(path, animals), skip_bad=skip_bad)
    request = {"reader": "ap10k", "subset": subset, "split": split, "limit": limit}
    request |= {"categories": categories and list(categories), "skip_bad": skip_bad}
    return finish(f"AP-10K {subset} {split}", root, request, found, unread + bad)


def read_animal(path: Path) -> Animal:
    """One file of ``ImageAnnotation``, in COCO's terms.

    Raises:
        BadInput: missing, not such a file, or its picture is missing.
    """
    entries = read_json(path, ORIGIN)
    table = np.asarray(entries.get("keypoints", ()), dtype=object).reshape(-1)
    if len(table) != 3 * len(KEYPOINTS):
        raise BadInput(f"expected {len(KEYPOINTS)} key points in {path}, got {len(table) / 3:g}")
    rows = table.reshape(-1, 3)
    left, top, w, h = box_of(entries.get("bbox"), "'bbox'", path)
    folder = path.parents[3] / "JPEGImages" / path.parents[1].name / path.parent.name
    return Animal(
        require_file(folder / f"{path.stem}.jpg", ORIGIN),
        path.parent.name,
        (_side(entries, "width", path), _side(entries, "height", path)),
        points_of(rows[:, :2].tolist(), "'keypoints'", path),
        np.array([flag in (1, 2) for flag in rows[:, 2]]),
        (left, top, left + w, top + h),
    )


def _category(path: Path) -> str:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise BadInput(f"expected a name like source-target:category.json, got {path.name}")
    return match[1]


def _identity(path: Path) -> str:
    """Of a pair, whatever stands for the colon."""
    category = _category(path)
    return f"{path.stem[: -len(category) - 1]}:{category}"


def _pair(path: Path, animals: Any) -> KeypointPair:
    entries = read_json(path, ORIGIN)
    names = [entries.get(f"{side}_json_path") for side in ("src", "trg")]
    source, target = (animals(_here(name, path)) for name in names)
    both = np.flatnonzero(source.annotated & target.annotated)
    return KeypointPair(
        id=_identity(path),
        category=_category(path),
        source=source.picture,
        target=target.picture,
        source_size_wh=source.size_wh,
        target_size_wh=target.size_wh,
        source_px=source.points_px[both],
        target_px=target.points_px[both],
        keypoint_ids=tuple(KEYPOINTS[i] for i in both),
        source_box=source.box,
        target_box=target.box,
    )


def _here(name: Any, path: Path) -> Path:
    """What follows "ImageAnnotation" in a path of another machine, below it here."""
    parts = PurePosixPath(name.replace("\\", "/")).parts if isinstance(name, str) else ()
    if parts[-4:-3] != ("ImageAnnotation",) or ".." in parts[-3:]:
        raise BadInput(f"expected paths below ImageAnnotation in {path}, got {name!r:.80}")
    return Path(*parts[-4:])


def _side(entries: dict[str, Any], name: str, path: Path) -> int:
    side = entries.get(name)
    if not isinstance(side, int) or side < 1:
        raise BadInput(f"expected {name!r} of at least 1 px in {path}, got {side!r:.40}")
    return side
