"""Pairs of pictures with the same key points: what every semantic data set is read into."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from counterpoint.errors import BadInput, PointError, UnknownName
from counterpoint.geometry import Points, SizeWH, as_points, inside
from counterpoint.images import Picture

SLACK_PX = 2.0
"""How far beyond the picture an annotator's click may lie, pixels of the picture."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, pixels of the picture."""

T = TypeVar("T")
Read = TypeVar("Read")


@dataclass(frozen=True)
class Difficulty:
    """How a pair differs, in SPair-71k's own numbers.

    Attributes:
        viewpoint: 0 easy, 1 medium, 2 hard.
        scale: 0 easy, 1 medium, 2 hard.
        truncation: 0 none, 1 source, 2 target, 3 both.
        occlusion: 0 none, 1 source, 2 target, 3 both.
    """

    viewpoint: int
    scale: int
    truncation: int
    occlusion: int

    def __post_init__(self) -> None:
        for name, words in LEVELS.items():
            level = getattr(self, name)
            if level not in range(len(words)):
                raise BadInput(f"expected {name} from 0 to {len(words) - 1}, got {level}")

    @property
    def words(self) -> dict[str, str]:
        """Each flag's level in words."""
        return {name: LEVELS[name][level] for name, level in asdict(self).items()}


_GRADES = ("easy", "medium", "hard")
_SIDES = ("none", "source", "target", "both")
LEVELS = {"viewpoint": _GRADES, "scale": _GRADES, "truncation": _SIDES, "occlusion": _SIDES}
"""What the numbers of a `Difficulty` stand for."""


@dataclass(frozen=True, eq=False)
class KeypointPair:
    """Two pictures and points of one, with where they are in the other.

    Attributes:
        id: unique in its data set.
        category: of what is seen ("cat", "car(G)").
        source: path of the picture in which the points are given.
        target: of the picture to search.
        source_size_wh: width and height, pixels.
        target_size_wh: of the target.
        source_px: (N, 2), (x, y) in pixels of the source picture; N at least 1.
        target_px: (N, 2), the same points in the target picture.
        keypoint_ids: what each point is, where the data set says so.
        source_box: around the thing, where known.
        target_box: likewise.
        difficulty: where known.
    """

    id: str
    category: str
    source: Path
    target: Path
    source_size_wh: SizeWH
    target_size_wh: SizeWH
    source_px: Float[np.ndarray, "source_points 2"]
    target_px: Float[np.ndarray, "target_points 2"]
    keypoint_ids: tuple[str, ...] | None = None
    source_box: Box | None = None
    target_box: Box | None = None
    difficulty: Difficulty | None = None

    def __post_init__(self) -> None:
        counts = [len(self.source_px), len(self.target_px)]
        counts += [] if self.keypoint_ids is None else [len(self.keypoint_ids)]
        if len(set(counts)) != 1 or 0 in counts:
            raise BadInput(
                f"expected as many points in both pictures of pair {self.id}, at least one, "
                f"got {' and '.join(map(str, counts))}"
            )
        for name, size_wh, box in (
            ("source", self.source_size_wh, self.source_box),
            ("target", self.target_size_wh, self.target_box),
        ):
            if min(size_wh) < 1:
                raise BadInput(f"expected a {name} picture of at least 1 x 1 px in pair {self.id}")
            _require_box(box, name, self.id)

    @property
    def noun(self) -> str:
        """The category as a word for a prompt: "car" of "car(G)"."""
        return self.category.partition("(")[0]


@dataclass(frozen=True)
class Skipped:
    """A pair that was left out, and why.

    Attributes:
        id: of the pair, or what stands for it in the list.
        reason: one line.
    """

    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class KeypointPairs:
    """A data set, or the part of it that was asked for.

    Attributes:
        name: what a score is a score of: "SPair-71k large test", or for a part of it
            "SPair-71k large test, 65 of 12234 pairs".
        root: the folder that was read.
        request: which reader, with which choices: enough to read the same again.
        pairs: in the order of the data set's list.
        skipped: what was asked for and could not be used, with `skip_bad` only.
        crops: pictures that are not files of their own, by the path they were cut from.
    """

    name: str
    root: Path
    request: Mapping[str, Any]
    pairs: tuple[KeypointPair, ...]
    skipped: tuple[Skipped, ...] = ()
    crops: Mapping[Path, Picture] = field(default_factory=dict)

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that occur, in their order."""
        return tuple(dict.fromkeys(pair.category for pair in self.pairs))

    @property
    def points(self) -> int:
        """Points over all pairs."""
        return sum(len(pair.source_px) for pair in self.pairs)

    @property
    def pictures(self) -> tuple[Path, ...]:
        """Every picture once."""
        both = (path for pair in self.pairs for path in (pair.source, pair.target))
        return tuple(dict.fromkeys(both))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the list: ids, categories, picture names and sizes, points of both pictures.

        Not of the pictures' pixels, nor of where the data set lies.
        """
        digest = hashlib.sha256()
        for pair in self.pairs:
            names = (pair.id, pair.category, pair.source.name, pair.target.name)
            sizes = (*pair.source_size_wh, *pair.target_size_wh)
            digest.update(json.dumps([*names, *sizes]).encode())
            digest.update(np.ascontiguousarray(pair.source_px, dtype="<f8").tobytes())
            digest.update(np.ascontiguousarray(pair.target_px, dtype="<f8").tobytes())
        return digest.hexdigest()


def read_pairs(
    items: Iterable[tuple[str, T]],
    read: Callable[[T], KeypointPair],
    *,
    skip_bad: bool,
    keep: Callable[[KeypointPair], bool] | None = None,
    limit: int | None = None,
) -> tuple[tuple[KeypointPair, ...], tuple[Skipped, ...]]:
    """Every pair of a list; with ``skip_bad`` those that cannot be used are listed apart.

    Points farther than `SLACK_PX` beyond their picture make a pair unusable.

    Args:
        items: each pair's id and what ``read`` takes.
        read: makes the pair, or raises `BadInput`.
        skip_bad: list bad pairs instead of raising.
        keep: whether a pair is one of those asked for, or `BadInput`; None: all are.
        limit: no more are read once there are so many.

    Raises:
        BadInput: a bad pair, or an id that occurs twice.
        PointError: a point outside its picture.
    """
    pairs: list[KeypointPair] = []
    skipped: list[Skipped] = []
    seen: set[str] = set()
    for identity, item in items:
        if limit is not None and len(pairs) >= limit:
            break
        try:
            if identity in seen:
                raise BadInput(f"expected each pair once, got {identity} twice")
            pair = _require_inside(read(item))
            seen.add(identity)
            if keep is None or keep(pair):
                pairs.append(pair)
        except BadInput as error:
            if not skip_bad:
                raise
            skipped.append(Skipped(identity, str(error)))
    return tuple(pairs), tuple(skipped)


def usable(
    items: Iterable[tuple[str, T]], read: Callable[[T], Read], *, skip_bad: bool
) -> tuple[tuple[Read, ...], tuple[Skipped, ...]]:
    """What can be read of a list; with ``skip_bad`` the rest is listed apart.

    Args:
        items: each one's id and what ``read`` takes.
        read: makes the sequence, video or pair, or raises `BadInput`.
        skip_bad: list bad ones instead of raising.

    Raises:
        BadInput: a bad one.
    """
    found: list[Read] = []
    skipped: list[Skipped] = []
    for identity, item in items:
        try:
            found.append(read(item))
        except BadInput as error:
            if not skip_bad:
                raise
            skipped.append(Skipped(identity, str(error)))
    return tuple(found), tuple(skipped)


def finish(
    name: str,
    root: Path,
    request: Mapping[str, Any],
    pairs: tuple[KeypointPair, ...],
    skipped: tuple[Skipped, ...],
    whole: int | None = None,
) -> KeypointPairs:
    """The data set, if it holds something.

    Args:
        name: of all of it; a part's says how many pairs it has.
        root: the folder.
        request: as in `KeypointPairs`.
        pairs: that can be used.
        skipped: that cannot.
        whole: how many pairs all of it has, where known.

    Raises:
        BadInput: no pair.
    """
    if not pairs:
        why = f"; {len(skipped)} skipped, the first: {skipped[0].reason}" if skipped else ""
        raise BadInput(f"expected pairs in {name} at {root}, found none{why}")
    if len(pairs) != whole:
        name += f", {len(pairs)}{f' of {whole}' if whole else ''} pairs"
    return KeypointPairs(name, root, plain(request), pairs, skipped)


def require_categories(wanted: Collection[str] | None, known: Sequence[str], kind: str) -> None:
    """An error that names the nearest known one, unless every category is known."""
    for category in wanted or ():
        if category not in known:
            raise UnknownName(kind, category, known)


def select(
    rows: Iterable[tuple[int, T]],
    name: Callable[[T], tuple[str, str]],
    where: str,
    *,
    categories: Collection[str] | None,
    limit: int | None,
    skip_bad: bool,
) -> tuple[list[tuple[str, T]], tuple[Skipped, ...]]:
    """The first ``limit`` rows of a list that are of these categories, by their pair's id.

    Args:
        rows: numbered.
        name: a row's category and id, or `BadInput`.
        where: the list, for messages.
        categories: None: all.
        limit: None: no limit.
        skip_bad: list rows without category or id instead of raising.

    Raises:
        UnknownName: a category that no row is of.
        BadInput: a bad row, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise BadInput(f"expected a limit of at least 1 pair, got {limit}")
    listed: list[tuple[str, str, T]] = []
    skipped: list[Skipped] = []
    for number, row in rows:
        try:
            listed.append((*name(row), row))
        except BadInput as error:
            if not skip_bad:
                raise
            skipped.append(Skipped(f"line {number}", str(error)))
    known = list(dict.fromkeys(category for category, _, _ in listed))
    require_categories(categories, known, f"category in {where}")
    kept = [(i, row) for c, i, row in listed if categories is None or c in categories]
    return kept[:limit], tuple(skipped)


def plain(choices: Mapping[str, Any]) -> dict[str, Any]:
    """A request as JSON gives it back: no tuples, no paths."""
    return json.loads(json.dumps(choices, default=str))


def points_of(xy: Any, what: str, path: Path) -> Points:
    """Points (N, 2) of a file.

    Raises:
        BadInput: not such points.
    """
    try:
        return as_points(xy)
    except PointError as error:
        raise BadInput(f"expected {what} in {path} as (x, y) pairs: {error}") from error


def box_of(numbers: Any, what: str, path: Path) -> Box:
    """A box of a file, as left, top, right, bottom.

    Raises:
        BadInput: not four finite numbers.
    """
    try:
        left, top, right, bottom = (float(number) for number in numbers)
    except (TypeError, ValueError) as error:
        came = repr(numbers)[:60]
        raise BadInput(f"expected {what} in {path} as 4 numbers, got {came}") from error
    return left, top, right, bottom


def _require_inside(pair: KeypointPair) -> KeypointPair:
    """The pair, if all its points lie on their pictures or hardly beyond."""
    for name, points_px, (w, h) in (
        ("source", pair.source_px, pair.source_size_wh),
        ("target", pair.target_px, pair.target_size_wh),
    ):
        outside = ~inside(points_px, (w, h), slack_px=SLACK_PX)
        if outside.any():
            x, y = points_px[int(np.argmax(outside))]
            raise PointError(
                f"expected points of pair {pair.id} inside its {name} picture of {w} x {h} px, "
                f"got ({x:g}, {y:g}); check its annotation"
            )
    return pair


def _require_box(box: Box | None, name: str, identity: str) -> None:
    if box is None:
        return
    left, top, right, bottom = box
    if not (all(map(isfinite, box)) and right > left and bottom > top):
        raise BadInput(
            f"expected a {name} box (left, top, right, bottom) of some size in pair {identity}, "
            f"got {box}"
        )
