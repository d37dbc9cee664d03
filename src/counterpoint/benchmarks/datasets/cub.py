"""CUB-200-2011 (Wah et al. 2011) in its original layout: birds, their boxes, fifteen parts.

The folder is the one that holds ``images.txt``. The tables are read and checked at once, pictures
only when they are used. Part of the data set serves as well: tables cut to some pictures.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from PIL import Image

from counterpoint.benchmarks.datasets._pictures import Pictures
from counterpoint.benchmarks.datasets._tables import Origin, corrupt, read_lines
from counterpoint.benchmarks.datasets.keypoints import Skipped, usable
from counterpoint.errors import BadInput, PointError, UnknownName
from counterpoint.geometry import PixelTransform, Points, SizeWH, as_points, inside
from counterpoint.images import Picture, fit_picture, load_picture

BOX_SCALE = 1.15
"""Side of a bird's crop, in longer sides of its box."""

SLACK_PX = 2.0
"""How far beyond the picture an annotator's click may lie, pixels of the picture."""

ORIGIN = Origin(
    archive="CUB_200_2011.tgz",
    url="https://www.vision.caltech.edu/datasets/cub_200_2011",
    folder="the folder that holds images.txt",
)

T = TypeVar("T")

Half = Literal["even", "odd"]


@dataclass(frozen=True, eq=False)
class Bird:
    """One picture and what is annotated in it, in pixels of the picture.

    Attributes:
        image_id: as in ``images.txt``, from 1.
        path: of the picture.
        class_id: as in ``classes.txt``, from 1.
        class_name: "001.Black_footed_Albatross".
        box_xywh: left, top, width and height of the box around the bird.
        parts_px: (parts, 2), (x, y); of no meaning where not visible.
        visible: (parts,).
        for_training: its side of the data set's own split.
    """

    image_id: int
    path: Path
    class_id: int
    class_name: str
    box_xywh: tuple[float, float, float, float]
    parts_px: Float[np.ndarray, "parts 2"]
    visible: Bool[np.ndarray, " parts"]
    for_training: bool


@dataclass(frozen=True, eq=False)
class CUB:
    """The data set, or a part of it.

    Attributes:
        birds: in the order of ``images.txt``.
        part_names: "back", "beak", ...; the rows of `Bird.parts_px`.
        skipped: pictures that cannot be used, with ``skip_bad`` only.
    """

    birds: tuple[Bird, ...]
    part_names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that have pictures here, in their order."""
        return tuple(dict.fromkeys(bird.class_name for bird in self.birds))

    def half(self, which: Half) -> "CUB":
        """The birds of even or odd index: one half to choose settings on, the other to report."""
        return replace(self, birds=self.birds[("even", "odd").index(which) :: 2])


@dataclass(frozen=True)
class BirdCrop:
    """The square picture around one bird.

    The square's side is 1.15 times the longer side of the box, its centre that of the box, both
    rounded to whole pixels (or as `acsm_crop` has them); where it leaves the picture, the border is
    repeated. It is resized to ``size_px`` with PIL's bicubic filter, or another, which averages
    when shrinking.

    Attributes:
        bird: whose it is.
        left: first column of the square, pixels of the picture; may be negative.
        top: first row.
        side_px: of the square, pixels of the picture.
        size_px: side of the crop, pixels.
        resample: the filter.
    """

    bird: Bird
    left: int
    top: int
    side_px: int
    size_px: int
    resample: Literal["bicubic", "lanczos"] = "bicubic"

    @property
    def size_wh(self) -> SizeWH:
        """Width and height of the crop, pixels."""
        return self.size_px, self.size_px

    @property
    def to_crop(self) -> PixelTransform:
        """From the picture's pixels to the crop's."""
        square = (self.side_px, self.side_px)
        cut = PixelTransform.crop(self.left, self.top)
        return cut.then(PixelTransform.resize(square, self.size_wh))

    @cached_property
    def parts_px(self) -> Points:
        """The parts (parts, 2) in pixels of the crop; of no meaning where not visible."""
        return self.to_crop.apply(self.bird.parts_px)

    @property
    def visible(self) -> Bool[np.ndarray, " parts"]:
        """Which parts are visible and lie inside the crop."""
        return self.bird.visible & inside(self.parts_px, self.size_wh)

    def picture(self) -> Picture:
        """Read, cut out, padded and resized.

        Raises:
            ImageError: the picture cannot be read.
            PointError: an annotation lies outside the picture.
        """
        whole = _load(self.bird)
        rows = np.arange(self.top, self.top + self.side_px).clip(0, whole.size_wh[1] - 1)
        columns = np.arange(self.left, self.left + self.side_px).clip(0, whole.size_wh[0] - 1)
        square = Picture(whole.rgb[np.ix_(rows, columns)], whole.name)
        if self.resample == "lanczos":
            small = square.pil().resize(self.size_wh, Image.Resampling.LANCZOS)
            return Picture(np.array(small), whole.name)
        return Picture(fit_picture(square, self.size_wh, "squash").rgb, whole.name)


def crop_bird(bird: Bird, size_px: int = 64, box_scale: float = BOX_SCALE) -> BirdCrop:
    """The square around a bird, resized to ``size_px``; nothing is read from disk."""
    x, y, w, h = bird.box_xywh
    side = max(1, round(box_scale * max(w, h)))
    left, top = (round(middle - (side - 1) / 2) for middle in (x + w / 2, y + h / 2))
    return BirdCrop(bird, left, top, side, size_px)


def acsm_crop(bird: Bird, size_px: int = 256) -> BirdCrop:
    """The square of ACSM (Kulkarni et al. 2020), which papers' 14 subsets are evaluated in.

    The box is widened by 5 per cent to each side, its corners rounded, halves up, and its shorter
    side lengthened equally; Lanczos' filter.
    """
    x, y, w, h = bird.box_xywh
    left, top, right, bottom = (
        _half_up(edge) for edge in (x - 0.05 * w, y - 0.05 * h, x + 1.05 * w - 1, y + 1.05 * h - 1)
    )
    wide, tall = right - left + 1, bottom - top + 1
    side = max(1, wide, tall)
    left, top = left - _half_up((side - wide) / 2), top - _half_up((side - tall) / 2)
    return BirdCrop(bird, left, top, side, size_px, "lanczos")


def _half_up(number: float) -> int:
    """Rounded as Python 2 does: halves away from zero."""
    return int(np.copysign(np.floor(abs(number) + 0.5), number))


def cub_to_pixels(points: ArrayLike) -> Points:
    """CUB's coordinates in this project's convention, where they are already: a checked copy.

    The data set does not say whether it counts from 0 or from 1. It counts from 0: boxes begin at
    0, and in classes 1 to 5 the dark centres of the 295 visible eyes lie (0.0, -0.1) +- 0.07 px
    from their annotation, where counting from 1 would make it (-1, -1). Loaders that subtract 1
    (CMR's, ACSM's) are a pixel of the original picture off, about 0.2 px of a 64 px crop.
    """
    return as_points(points).copy()


def read_cub(
    root: Path | str,
    classes: Collection[int | str] | None = None,
    limit: int | None = None,
    *,
    skip_bad: bool = False,
) -> CUB:
    """Read the tables of CUB-200-2011.

    Args:
        root: the folder that holds ``images.txt``.
        classes: only these, by id (1 to 200) or name ("001.Black_footed_Albatross").
        limit: only the first so many pictures of them, in the order of ``images.txt``.
        skip_bad: open every picture's header, and list pictures that are missing, damaged or
            smaller than their annotations in `CUB.skipped`; otherwise an error says so once they
            are used.

    Raises:
        BadInput: a table is missing or a line of it is not what it should be.
        UnknownName: no such class.
    """
    root = Path(root).expanduser()
    images = _keyed(root / "images.txt", "image_id path", str)
    class_names = _keyed(root / "classes.txt", "class_id class_name", str)
    wanted = set(class_names) if classes is None else _class_ids(classes, class_names)
    part_names = _keyed(root / "parts/parts.txt", "part_id part_name", str)
    tables = _Tables(
        images=images,
        labels=_keyed(root / "image_class_labels.txt", "image_id class_id", int),
        boxes=_keyed(root / "bounding_boxes.txt", "image_id x y width height", _box),
        training=_keyed(root / "train_test_split.txt", "image_id is_training", _flag),
    )
    _require_consistent(root, tables, class_names)
    parts = _read_parts(root / "parts/part_locs.txt", set(tables.images), list(part_names))
    chosen = [i for i, label in _in_order(tables) if label in wanted][:limit]
    birds = tuple(_bird(root, i, tables, class_names, parts[i]) for i in chosen)
    birds, skipped = _usable(birds) if skip_bad else (birds, ())
    if not birds:
        why = f"; {len(skipped)} skipped, the first: {skipped[0].reason}" if skipped else ""
        images = root / "images.txt"
        raise BadInput(f"expected pictures in {images}, found none for the classes{why}")
    return CUB(birds, tuple(part_names.values()), skipped)


class _Tables(NamedTuple):
    """By image id."""

    images: dict[int, str]
    labels: dict[int, int]
    boxes: dict[int, tuple[float, float, float, float]]
    training: dict[int, bool]


class _Parts(NamedTuple):
    """Of one image."""

    points_px: Points
    visible: Bool[np.ndarray, " parts"]


def _load(bird: Bird) -> Picture:
    """The whole picture, its annotations checked against its size."""
    if not bird.path.is_file():
        raise ORIGIN.missing(bird.path)
    picture = load_picture(bird.path)
    _require_inside(bird, picture.size_wh)
    return picture


def _require_inside(bird: Bird, size_wh: SizeWH) -> None:
    x, y, w, h = bird.box_xywh
    points = np.concatenate([bird.parts_px[bird.visible], [(x, y), (x + w, y + h)]])
    outside = ~inside(points, size_wh, slack_px=SLACK_PX)
    if outside.any():
        ax, ay = points[int(np.argmax(outside))]
        w, h = size_wh
        raise PointError(
            f"expected parts and box of image {bird.image_id} inside its {w} x {h} pixels, "
            f"got ({ax:g}, {ay:g}); check its lines in part_locs.txt and bounding_boxes.txt"
        )


def _usable(birds: Collection[Bird]) -> tuple[tuple[Bird, ...], tuple[Skipped, ...]]:
    """Birds whose picture is there and as large as its annotations say, and the others."""

    def checked(bird: Bird) -> Bird:
        _require_inside(bird, Pictures(ORIGIN).whole(bird.path))
        return bird

    named = [(f"image {bird.image_id}", bird) for bird in birds]
    return usable(named, checked, skip_bad=True)


def _class_ids(classes: Collection[int | str], names: dict[int, str]) -> set[int]:
    ids = {name: i for i, name in names.items()}
    for wanted in classes:
        if wanted not in ids and wanted not in names:
            raise UnknownName("CUB class", str(wanted), ids)
    return {wanted if isinstance(wanted, int) else ids[wanted] for wanted in classes}


def _in_order(tables: _Tables) -> Iterator[tuple[int, int]]:
    return ((i, tables.labels[i]) for i in tables.images)


def _bird(
    root: Path, image_id: int, tables: _Tables, class_names: dict[int, str], parts: _Parts
) -> Bird:
    label = tables.labels[image_id]
    return Bird(
        image_id,
        root / "images" / tables.images[image_id],
        label,
        class_names[label],
        tables.boxes[image_id],
        parts.points_px,
        parts.visible,
        tables.training[image_id],
    )


def _require_consistent(root: Path, tables: _Tables, class_names: dict[int, str]) -> None:
    others = {
        "image_class_labels.txt": tables.labels,
        "bounding_boxes.txt": tables.boxes,
        "train_test_split.txt": tables.training,
    }
    for name, table in others.items():
        different = sorted(tables.images.keys() ^ table.keys())
        if different:
            raise BadInput(
                f"expected {root / name} and images.txt to list the same images, "
                f"got image {different[0]} in only one of them"
            )
    for image, label in tables.labels.items():
        if label not in class_names:
            raise BadInput(f"expected class {label} of image {image} in {root / 'classes.txt'}")


def _read_parts(path: Path, images: set[int], part_ids: list[int]) -> dict[int, _Parts]:
    """Every image's parts; the table holds each part of each image exactly once."""
    rows = {part: row for row, part in enumerate(part_ids)}
    values = {i: np.full((len(rows), 3), np.nan) for i in images}
    for number, line in read_lines(path, ORIGIN):
        image, part, x, y, visible = _parsed(path, number, line, "image_id part_id x y visible")
        if image not in images or part not in rows or visible not in (0, 1):
            raise corrupt(path, number, line, "an image, a part, x, y and 0 or 1")
        values[int(image)][rows[int(part)]] = x, y, visible
    for image, table in values.items():
        if np.isnan(table).any():
            raise BadInput(f"expected {len(rows)} parts of image {image} in {path}, found fewer")
    return {
        image: _Parts(cub_to_pixels(table[:, :2]), table[:, 2] > 0)
        for image, table in values.items()
    }


def _keyed(path: Path, columns: str, value: Callable[[str], T]) -> dict[int, T]:
    """A table whose first column is an id that occurs once."""
    table: dict[int, T] = {}
    for number, line in read_lines(path, ORIGIN):
        try:
            key, rest = line.split(maxsplit=1)
            if int(key) in table:
                raise corrupt(path, number, line, "an id that occurs once")
            table[int(key)] = value(rest)
        except ValueError as error:
            if isinstance(error, BadInput):
                raise
            raise corrupt(path, number, line, f"'{columns}'") from error
    return table


def _parsed(path: Path, number: int, line: str, columns: str) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
        if len(values) == len(columns.split()) and np.isfinite(values).all():
            return values
    except ValueError:
        pass
    raise corrupt(path, number, line, f"'{columns}'")


def _box(text: str) -> tuple[float, float, float, float]:
    x, y, w, h = (float(word) for word in text.split())
    if not (np.isfinite([x, y, w, h]).all() and w > 0 and h > 0):
        raise ValueError
    return x, y, w, h


def _flag(text: str) -> bool:
    return bool(("0", "1").index(text))
