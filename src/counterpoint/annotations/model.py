"""What annotations are, whatever file they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH, as_points

Key = int | str
"""Of a picture within its file."""

Box = tuple[float, float, float, float]
"""Left and top edge, width and height, pixels, as in COCO: a whole picture is (0, 0, W, H), so that
edges lie half a pixel before the centre of the pixel they begin."""

OutlineStyle = Literal["polygon", "rle", "counts"]
"""Polygons; run lengths as COCO's compressed text; run lengths as a list of numbers."""


@dataclass(frozen=True, kw_only=True)
class Category:
    """A kind of thing, and the key points it has.

    Attributes:
        id: within its file.
        name: of the kind.
        keypoints: names, in the order of an instance's points.
        skeleton: pairs of key points to join with a line, counted from 1 as COCO does.
        extra: whatever else its file says.
    """

    id: int
    name: str
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImageEntry:
    """A picture that a file names.

    Attributes:
        id: within its file.
        file_name: as its file has it: a name, a path below some folder, or a URL.
        size_wh: width and height that its file states, pixels; None where it does not.
        extra: whatever else its file says.
    """

    id: Key
    file_name: str
    size_wh: SizeWH | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Outline:
    """The pixels of a thing.

    Attributes:
        style: how it is written.
        polygons: each (corners, 2), pixels with centres at whole numbers; none for a mask.
        mask: (rows, columns) of the whole picture; None for polygons.
    """

    style: OutlineStyle
    polygons: tuple[Float[np.ndarray, "_ 2"], ...] = ()
    mask: Bool[np.ndarray, "rows columns"] | None = None

    def __post_init__(self) -> None:
        if (self.style == "polygon") != (self.mask is None):
            raise BadInput(f"expected polygons, or a mask with style rle or counts: {self.style}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Instance:
    """One annotated thing in one picture.

    Attributes:
        id: within its file.
        image_id: of its picture.
        category_id: of its kind.
        keypoints_px: (K, 2), (x, y) with pixel centres at whole numbers; (0, 0) where hidden. Its
            category's key points in their order, or none at all.
        visibility: (K,), COCO's flags: 0 not annotated, 1 covered, 2 seen.
        outline: its pixels, if annotated.
        box: around it, if annotated.
        crowd: many things at once; never a reference.
        score: 0 to 1, of what was found and not annotated.
        keypoint_scores: (K,), likewise, or None.
        extra: whatever else its file says.
    """

    id: int
    image_id: Key
    category_id: int
    keypoints_px: Float[np.ndarray, "k 2"] = field(default_factory=lambda: np.zeros((0, 2)))
    visibility: Int[np.ndarray, " k"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    outline: Outline | None = None
    box: Box | None = None
    crowd: bool = False
    score: float | None = None
    keypoint_scores: Float[np.ndarray, " k"] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        as_points(self.keypoints_px)
        if len(self.keypoints_px) != len(self.visibility):
            raise BadInput(
                f"expected a flag for each of {len(self.keypoints_px)} key points of instance "
                f"{self.id}, got {len(self.visibility)}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotations:
    """Everything that an annotation file holds.

    Attributes:
        categories: kinds of things.
        images: pictures, annotated or not.
        instances: things in them.
        extra: what else stands in the file, by its key (info, licenses, ...).
        form: "coco", "label-studio" or "cvat": how it was written.
        problems: what was left out when read with ``skip_bad``, a line each.
    """

    categories: tuple[Category, ...] = ()
    images: tuple[ImageEntry, ...] = ()
    instances: tuple[Instance, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    form: str = "coco"
    problems: tuple[str, ...] = ()

    def category(self, category_id: int) -> Category:
        """The category of that id."""
        return next(kind for kind in self.categories if kind.id == category_id)

    def image(self, image_id: Key) -> ImageEntry:
        """The picture of that id."""
        return next(image for image in self.images if image.id == image_id)

    def of_image(self, image_id: Key) -> tuple[Instance, ...]:
        """Everything annotated in one picture."""
        return tuple(self._by_image.get(image_id, ()))

    @cached_property
    def _by_image(self) -> dict[Key, list[Instance]]:
        found: dict[Key, list[Instance]] = {}
        for one in self.instances:
            found.setdefault(one.image_id, []).append(one)
        return found

    def with_instances(
        self, images: tuple[ImageEntry, ...], instances: tuple[Instance, ...]
    ) -> "Annotations":
        """The same categories and notes over other pictures and things."""
        return replace(self, images=images, instances=instances)
