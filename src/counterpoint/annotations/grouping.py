"""From single marks (points, boxes, polygons, masks) to things, where a format has only marks.

Label Studio and CVAT keep marks side by side. Which belong together is said by a parent or a group;
where it is not, a picture's only box, only polygon and only mask of one label are one thing, and a
point belongs to the smallest box around it, or to the picture's only thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from counterpoint.annotations.conventions import pixels_to_edges
from counterpoint.annotations.model import Box, Category, Instance, Key, Outline
from counterpoint.annotations.reading import Report
from counterpoint.annotations.runs import box_of_mask, box_of_points

MarkKind = Literal["keypoint", "box", "outline", "skeleton"]
NAMELESS = "object"
"""The category of key points that stand alone."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One region of a labelling tool.

    Attributes:
        kind: what it is.
        label: what it is called: a key point's name, or a thing's kind.
        id: within its picture.
        group: marks of one group, or with the id of another mark as group, are of one thing; "":
            not said.
        point_px: of a key point.
        visibility: of a key point, COCO's flag.
        box: of a box.
        outline: of a polygon or mask.
    """

    kind: MarkKind
    label: str
    id: str = ""
    group: str = ""
    point_px: tuple[float, float] | None = None
    visibility: int = 2
    box: Box | None = None
    outline: Outline | None = None


@dataclass
class _Thing:
    """Marks of one thing, as they are gathered."""

    label: str
    kinds: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    box: Box | None = None
    outline: Outline | None = None
    points: dict[str, Mark] = field(default_factory=dict)

    def take(self, mark: Mark) -> None:
        self.kinds.add(mark.kind)
        self.ids |= {name for name in (mark.id, mark.group) if name}
        self.box = mark.box or self.box
        self.outline = mark.outline or self.outline

    def extent(self) -> Box | None:
        if self.box is not None or self.outline is None:
            return self.box
        if self.outline.mask is not None:
            return box_of_mask(self.outline.mask)
        return box_of_points(np.concatenate(self.outline.polygons))


def group_marks(
    by_image: Sequence[tuple[Key, Sequence[Mark]]],
    known: Sequence[Category],
    report: Report,
) -> tuple[tuple[Category, ...], tuple[Instance, ...]]:
    """Things and their categories, from the marks of every picture.

    Args:
        by_image: image ids and the marks in them.
        known: categories that the file itself declares, with their key points in order.
        report: takes marks that belong to nothing.
    """
    gathered = [(key, _things(key, marks, report)) for key, marks in by_image]
    labels = {thing.label for _, things in gathered for thing in things if thing.label}
    lone = labels.pop() if len(labels) == 1 else NAMELESS
    for _, things in gathered:
        for thing in things:
            thing.label = thing.label or lone
    categories = _categories([thing for _, things in gathered for thing in things], known)
    kinds = {kind.name: kind for kind in categories}
    instances: list[Instance] = []
    for key, things in gathered:
        for thing in things:
            instances.append(_instance(thing, kinds[thing.label], key, len(instances) + 1))
    return categories, tuple(instances)


def _things(key: Key, marks: Sequence[Mark], report: Report) -> list[_Thing]:
    things: list[_Thing] = []
    for mark in marks:
        if mark.kind != "keypoint":
            _home(mark, marks, things).take(mark)
    for mark in marks:
        if mark.kind == "keypoint":
            with report.entry(f"image {key!r}, key point {mark.label!r}"):
                _set_point(mark, things)
    return things


def _home(mark: Mark, marks: Sequence[Mark], things: list[_Thing]) -> _Thing:
    """The thing that an outline, box or skeleton is of, perhaps a new one."""
    for thing in things:
        if thing.ids & {name for name in (mark.id, mark.group) if name}:
            return thing
        alike = [m for m in marks if m.kind == mark.kind and m.label == mark.label]
        alone = len(alike) == 1 and not mark.group and mark.kind not in thing.kinds
        others = [other for other in things if other.label == mark.label]
        if alone and thing.label == mark.label and len(others) == 1:
            return thing
    things.append(_Thing(mark.label))
    return things[-1]


def _set_point(mark: Mark, things: list[_Thing]) -> None:
    thing = _owner(mark, things)
    if mark.label in thing.points:
        raise ValueError("expected it once a thing, got it twice; tie points to boxes by parents")
    thing.points[mark.label] = mark


def _owner(mark: Mark, things: list[_Thing]) -> _Thing:
    for thing in things:
        if mark.group and mark.group in thing.ids:
            return thing
    if mark.group or not things:
        new = _Thing("")
        new.take(mark)
        things.append(new)
        return new
    if len(things) == 1:
        return things[0]
    around = [thing for thing in things if _holds(thing.extent(), mark)]
    if not around:
        raise ValueError(f"expected it inside one of {len(things)} boxes, it is in none")
    return min(around, key=lambda thing: _area(thing.extent()))


def _holds(box: Box | None, mark: Mark) -> bool:
    if box is None or mark.point_px is None:
        return False
    (x, y), (left, top, w, h) = pixels_to_edges(mark.point_px)[0].tolist(), box
    return left <= x <= left + w and top <= y <= top + h


def _area(box: Box | None) -> float:
    return float("inf") if box is None else box[2] * box[3]


def _categories(things: Sequence[_Thing], known: Sequence[Category]) -> tuple[Category, ...]:
    """Those declared, then others in the order they come; key points likewise."""
    names: dict[str, dict[str, None]] = {kind.name: dict.fromkeys(kind.keypoints) for kind in known}
    for thing in things:
        names.setdefault(thing.label, {}).update(dict.fromkeys(thing.points))
    declared = {kind.name: kind for kind in known}
    return tuple(
        Category(
            id=number,
            name=name,
            keypoints=tuple(points),
            skeleton=declared[name].skeleton if name in declared else (),
            extra=declared[name].extra if name in declared else {},
        )
        for number, (name, points) in enumerate(names.items(), 1)
    )


def _instance(thing: _Thing, kind: Category, key: Key, number: int) -> Instance:
    points = np.zeros((len(kind.keypoints), 2))
    visibility = np.zeros(len(kind.keypoints), dtype=np.int64)
    for row, name in enumerate(kind.keypoints):
        mark = thing.points.get(name)
        if mark is not None and mark.visibility and mark.point_px is not None:
            points[row], visibility[row] = mark.point_px, mark.visibility
    return Instance(
        id=number,
        image_id=key,
        category_id=kind.id,
        keypoints_px=points,
        visibility=visibility,
        outline=thing.outline,
        box=thing.box,
    )
