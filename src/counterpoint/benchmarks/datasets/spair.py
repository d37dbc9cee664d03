"""SPair-71k (Min et al. 2019) in its original layout: pairs of pictures of 18 categories.

The folder is the one that holds ``PairAnnotation``. Which pairs there are is said by
``Layout/{large,small}/{trn,val,test}.txt``, a pair a line ("000001-2008_002719-2008_004100:bus");
each pair has a file in ``PairAnnotation``, each picture lies in ``JPEGImages/<category>``. Pictures
are read when they are used, ``ImageAnnotation`` only by `read_image_annotation`.

File systems of Windows know no colon in names: there unpackers write "_" in its place, which is
read as well.

Coordinates are taken as they are, as every published evaluation does.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.benchmarks.datasets._pictures import Pictures
from counterpoint.benchmarks.datasets._tables import Origin, corrupt, read_json, read_lines
from counterpoint.benchmarks.datasets.keypoints import (
    LEVELS,
    Box,
    Difficulty,
    KeypointPair,
    KeypointPairs,
    box_of,
    finish,
    points_of,
    read_pairs,
    require_categories,
    select,
)
from counterpoint.errors import BadInput, UnknownName
from counterpoint.geometry import SizeWH

LAYOUTS = ("large", "small")
SPLITS = ("trn", "val", "test")

# fmt: off
CATEGORIES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "train", "tvmonitor",
)
# fmt: on

WHOLE = {"trn": 53340, "val": 5384, "test": 12234}
"""Pairs of the large layout."""

ORIGIN = Origin(
    archive="SPair-71k.tar.gz",
    url="https://cvlab.postech.ac.kr/research/SPair-71k",
    folder="the folder that holds PairAnnotation",
)

_LINE = re.compile(r"[^/\\]+:(\w+)")

_FLAGS = {
    "viewpoint": "viewpoint_variation",
    "scale": "scale_variation",
    "truncation": "truncation",
    "occlusion": "occlusion",
}


@dataclass(frozen=True)
class ImageAnnotation:
    """What ``ImageAnnotation`` says of one picture.

    Attributes:
        category: of what is seen.
        keypoints_px: (x, y) by key point id, those that are annotated.
        box: around the thing.
    """

    category: str
    keypoints_px: Mapping[str, tuple[float, float]]
    box: Box


def read_spair(
    root: Path | str,
    split: str = "test",
    layout: str = "large",
    *,
    categories: Collection[str] | None = None,
    difficulty: Mapping[str, Collection[str]] | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> KeypointPairs:
    """Read the pairs of SPair-71k.

    Args:
        root: the folder that holds ``PairAnnotation``.
        split: "test" is what papers report.
        layout: "small" lists a part of the pairs of "large".
        categories: only these.
        difficulty: only pairs of these levels, such as ``{"viewpoint": ["easy", "medium"],
            "truncation": ["none"]}`` (`keypoints.LEVELS`); a pair without flags is a bad one then.
        limit: only the first so many pairs of them, in the order of the list.
        skip_bad: list pairs that cannot be used in `KeypointPairs.skipped` instead of raising.

    Raises:
        BadInput: a file is missing or not what it should be, or no pair is left.
        UnknownName: no such split, layout, category or level, or none of it in the list.
    """
    root = Path(root).expanduser()
    levels = _levels(difficulty)
    for kind, name, known in (("split", split, SPLITS), ("layout", layout, LAYOUTS)):
        if name not in known:
            raise UnknownName(f"{kind} of SPair-71k", name, known)
    require_categories(categories, CATEGORIES, "category of SPair-71k")
    path = root / "Layout" / layout / f"{split}.txt"
    chosen, unread = select(
        ((number, (number, line)) for number, line in read_lines(path, ORIGIN)),
        lambda row: (_category(path, *row), row[1]),
        str(path),
        categories=categories,
        limit=None if levels else limit,
        skip_bad=skip_bad,
    )
    folder = root / "PairAnnotation" / split
    pictures = Pictures(ORIGIN)
    pairs, bad = read_pairs(
        chosen,
        lambda row: _pair(root, folder, row[1], pictures),
        skip_bad=skip_bad,
        keep=lambda pair: _is_of(pair, levels),
        limit=limit,
    )
    request = {"reader": "spair", "split": split, "layout": layout, "limit": limit}
    request |= {"categories": categories and list(categories), "skip_bad": skip_bad}
    request |= {"difficulty": levels} if levels else {}
    name = f"SPair-71k {layout} {split}"
    for flag, wanted in levels.items():
        name += f", {flag} {'|'.join(wanted)}"
    whole = WHOLE[split] if layout == "large" else None
    return finish(name, root, request, pairs, unread + bad, whole)


def _levels(difficulty: Mapping[str, Collection[str]] | None) -> dict[str, list[str]]:
    """The levels asked for, by flag, in the flags' own order; flags of which all will do left out.

    Raises:
        UnknownName: no such flag or level.
    """
    asked = difficulty or {}
    for flag, wanted in asked.items():
        if flag not in LEVELS:
            raise UnknownName("difficulty flag of SPair-71k", flag, LEVELS)
        for level in wanted:
            if level not in LEVELS[flag]:
                raise UnknownName(f"level of {flag}", level, LEVELS[flag])
    named = {
        flag: [one for one in levels if one in asked.get(flag, ())]
        for flag, levels in LEVELS.items()
    }
    return {flag: levels for flag, levels in named.items() if levels}


def _is_of(pair: KeypointPair, levels: Mapping[str, Collection[str]]) -> bool:
    """Whether a pair is of the levels asked for."""
    if levels and pair.difficulty is None:
        raise BadInput(
            f"expected difficulty flags of pair {pair.id} to choose by, found none; leave "
            f"{', '.join(levels)} out, or skip such pairs"
        )
    if not levels or pair.difficulty is None:
        return True
    words = pair.difficulty.words
    return all(words[flag] in wanted for flag, wanted in levels.items())


def read_image_annotation(root: Path | str, category: str, picture: str) -> ImageAnnotation:
    """What is annotated in one picture, whether or not another shares it.

    Args:
        root: the folder that holds ``ImageAnnotation``.
        category: the picture's.
        picture: its name, with or without ".jpg".

    Raises:
        BadInput: missing, or not such a file.
    """
    folder = Path(root).expanduser() / "ImageAnnotation" / category
    path = folder / f"{picture.removesuffix('.jpg')}.json"
    entries = read_json(path, ORIGIN)
    points = entries.get("kps")
    if not isinstance(points, dict):
        raise BadInput(f"expected key points by id as 'kps' in {path}")
    given = {str(name): xy for name, xy in points.items() if xy is not None}
    found = points_of(list(given.values()), "'kps'", path).tolist()
    return ImageAnnotation(
        category,
        {name: (x, y) for name, (x, y) in zip(given, found, strict=True)},
        box_of(entries.get("bndbox"), "'bndbox'", path),
    )


def _category(path: Path, number: int, line: str) -> str:
    match = _LINE.fullmatch(line)
    if match is None or match[1] not in CATEGORIES:
        raise corrupt(path, number, line, "a pair as id-source-target:category")
    return match[1]


def annotation_of(folder: Path, line: str) -> Path:
    """The file of a pair of the lists, in the folder of its split."""
    path = folder / f"{line}.json"
    if ":" in line and not path.exists():
        without = folder / f"{line.replace(':', '_')}.json"
        return without if without.exists() else path
    return path


def _pair(root: Path, folder: Path, line: str, pictures: Pictures) -> KeypointPair:
    path = annotation_of(folder, line)
    entries = read_json(path, ORIGIN)
    category = line.rpartition(":")[2]
    if entries.get("category") != category:
        came = entries.get("category")
        raise BadInput(f"expected the category {category} in {path}, got {came!r}")
    place = root / "JPEGImages" / category
    ids = _need(entries, "kps_ids", list, path) if "kps_ids" in entries else None
    return KeypointPair(
        id=line,
        category=category,
        source=pictures.find(place, _need(entries, "src_imname", str, path)),
        target=pictures.find(place, _need(entries, "trg_imname", str, path)),
        source_size_wh=_size(entries, "src_imsize", path),
        target_size_wh=_size(entries, "trg_imsize", path),
        source_px=points_of(_need(entries, "src_kps", list, path), "'src_kps'", path),
        target_px=points_of(_need(entries, "trg_kps", list, path), "'trg_kps'", path),
        keypoint_ids=None if ids is None else tuple(str(identity) for identity in ids),
        source_box=box_of(entries.get("src_bndbox"), "'src_bndbox'", path),
        target_box=box_of(entries.get("trg_bndbox"), "'trg_bndbox'", path),
        difficulty=_difficulty(entries, path),
    )


def _need(entries: dict[str, Any], name: str, kind: type, path: Path) -> Any:
    value = entries.get(name)
    if not isinstance(value, kind):
        raise BadInput(f"expected {name!r} as {kind.__name__} in {path}, got {value!r:.60}")
    return value


def _size(entries: dict[str, Any], name: str, path: Path) -> SizeWH:
    """Width and height; the file holds (width, height, channels)."""
    numbers = _need(entries, name, list, path)
    if len(numbers) < 2 or not all(isinstance(n, int) and n > 0 for n in numbers[:2]):
        raise BadInput(f"expected {name!r} as width, height, channels in {path}, got {numbers}")
    return numbers[0], numbers[1]


def _difficulty(entries: dict[str, Any], path: Path) -> Difficulty | None:
    """The flags, all four or none."""
    found = {name: entries.get(key) for name, key in _FLAGS.items()}
    if all(level is None for level in found.values()):
        return None
    numbers = {name: level for name, level in found.items() if isinstance(level, int)}
    if len(numbers) < len(found):
        raise BadInput(f"expected all of {', '.join(_FLAGS.values())} as numbers in {path}")
    try:
        return Difficulty(**numbers)
    except BadInput as error:
        raise BadInput(f"{error} in {path}") from error
