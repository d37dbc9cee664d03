"""CVAT: "CVAT for images 1.1", one XML document."""

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from counterpoint.annotations.conventions import edges_to_pixels, pixels_to_edges
from counterpoint.annotations.grouping import Mark, group_marks
from counterpoint.annotations.model import (
    Annotations,
    Box,
    Category,
    ImageEntry,
    Instance,
    Key,
    Outline,
)
from counterpoint.annotations.reading import Report, number, on_picture, size_of
from counterpoint.annotations.runs import decode_cvat, encode_cvat
from counterpoint.errors import BadInput
from counterpoint.geometry import Points, SizeWH

_NOTES = "_cvat"


def parse_xml(text: str) -> ET.Element:
    """The document's root.

    Raises:
        BadInput: not XML, or XML that declares entities.
    """
    # CVAT writes no DOCTYPE; without one no entity can be made to grow or to read other files.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BadInput("expected CVAT's XML, which has no DOCTYPE; got one")
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise BadInput(f"expected CVAT's XML, got text that is not XML ({error})") from error


def read_cvat(root: ET.Element, report: Report) -> Annotations:
    """Read CVAT's XML, already parsed: points, skeletons, polygons, boxes, masks.

    Raises:
        BadInput: not "CVAT for images", or (unless ``report`` collects) an entry that cannot be
            used.
    """
    if root.tag != "annotations" or root.find("track") is not None:
        came = "CVAT for video" if root.find("track") is not None else f"<{root.tag}>"
        raise BadInput(f"expected 'CVAT for images 1.1' with root <annotations>, got {came}")
    images: dict[Key, ImageEntry] = {}
    marks: list[tuple[Key, list[Mark]]] = []
    shapes: set[str] = set()
    for row, element in enumerate(root.iter("image")):
        with report.entry(f"image number {row + 1}"):
            key = int(element.attrib["id"])
            if key in images:
                raise BadInput(f"expected ids that occur once, got {key} twice")
            size_wh = size_of(element.get("width"), element.get("height"))
            if size_wh is None:
                raise BadInput("expected width and height of the image, got none")
            images[key] = _image(element, key, size_wh)
            marks.append((key, list(_marks(element, size_wh, key, report))))
            shapes |= {shape.tag for shape in element}
    declared = _declared(root, shapes)
    categories, instances = group_marks(marks, declared, report)
    meta = root.find("meta")
    notes = {
        "meta": None if meta is None else ET.tostring(meta, encoding="unicode"),
        "shapes": sorted(shapes),
    }
    return Annotations(
        categories=categories,
        images=tuple(images.values()),
        instances=instances,
        extra={_NOTES: notes},
        form="cvat",
    )


def _image(element: ET.Element, key: int, size_wh: SizeWH) -> ImageEntry:
    extra = {"_image": ET.tostring(element, encoding="unicode")}
    return ImageEntry(id=key, file_name=element.attrib["name"], size_wh=size_wh, extra=extra)


def _declared(root: ET.Element, shapes: set[str]) -> list[Category]:
    """Categories of the labels in <meta>: skeletons with their points, and what is no point."""
    labels = [
        (one.findtext("name") or "", one.findtext("type") or "", one.findtext("parent") or "")
        for one in root.iterfind("meta//label")
    ]
    points: dict[str, list[str]] = {}
    for name, _, parent in labels:
        if parent:
            points.setdefault(parent, []).append(name)
    lone = "points" in shapes
    return [
        Category(id=row, name=name, keypoints=tuple(points.get(name, ())))
        for row, (name, kind, parent) in enumerate(labels, 1)
        if name and not parent and kind != "points" and (kind == "skeleton" or not lone)
    ]


def _marks(element: ET.Element, size_wh: SizeWH, key: int, report: Report) -> Iterator[Mark]:
    for row, shape in enumerate(element):
        with report.entry(f"image {key}, <{shape.tag}> number {row + 1}"):
            name = f"shape{row}"
            group = shape.get("group_id") or "0"
            group = "" if group == "0" else f"group{group}"
            if shape.tag == "skeleton":
                yield Mark(kind="skeleton", label=shape.attrib["label"], id=name, group=group)
                for part in shape.iterfind("points"):
                    yield _point(part, size_wh, group or name)
            elif shape.tag == "points":
                yield from _points(shape, size_wh, name, group)
            elif shape.tag in ("box", "polygon", "mask"):
                yield _solid(shape, size_wh, name, group)


def _point(part: ET.Element, size_wh: SizeWH, group: str) -> Mark:
    label = part.attrib["label"]
    flag = 0 if part.get("outside") == "1" else 1 if part.get("occluded") == "1" else 2
    placed = _coordinates(part.attrib["points"])
    if len(placed) != 1:
        raise BadInput(f"expected one point {label!r}, got {len(placed)}")
    placed = on_picture(placed, np.full(1, flag), (label,), size_wh)
    at = (float(placed[0, 0]), float(placed[0, 1]))
    return Mark(kind="keypoint", label=label, group=group, point_px=at, visibility=flag)


def _points(shape: ET.Element, size_wh: SizeWH, name: str, group: str) -> Iterator[Mark]:
    """One point is a key point of its label's name; several are its label's points 1, 2, ..."""
    label, placed = shape.attrib["label"], _coordinates(shape.attrib["points"])
    if len(placed) == 1:
        yield _point(shape, size_wh, group)
        return
    yield Mark(kind="skeleton", label=label, id=name, group=group)
    names = tuple(str(count) for count in range(1, len(placed) + 1))
    placed = on_picture(placed, np.full(len(placed), 2), names, size_wh)
    for count, (x, y) in zip(names, placed.tolist(), strict=True):
        yield Mark(kind="keypoint", label=count, group=group or name, point_px=(x, y))


def _solid(shape: ET.Element, size_wh: SizeWH, name: str, group: str) -> Mark:
    given, label = shape.attrib, shape.attrib["label"]
    if shape.tag == "box":
        sides = [number(given[side], side) for side in ("xtl", "ytl", "xbr", "ybr")]
        if number(given.get("rotation", 0), "rotation"):
            raise BadInput("expected upright boxes, got a turned one")
        box = (sides[0], sides[1], sides[2] - sides[0], sides[3] - sides[1])
        if min(box[2:]) <= 0:
            raise BadInput(f"expected a box with some area, got {sides}")
        return Mark(kind="box", label=label, id=name, group=group, box=box)
    if shape.tag == "polygon":
        corners = _coordinates(given["points"])
        if len(corners) < 3:
            raise BadInput(f"expected a polygon of at least 3 corners, got {len(corners)}")
        outline = Outline("polygon", (corners,))
    else:
        left, top, w, h = (round(number(given[s], s)) for s in ("left", "top", "width", "height"))
        outline = Outline("rle", mask=decode_cvat(given["rle"], (left, top, w, h), size_wh))
    return Mark(kind="outline", label=label, id=name, group=group, outline=outline)


def _coordinates(text: str) -> Points:
    pairs = [[number(part, "a coordinate") for part in pair.split(",")] for pair in text.split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise BadInput(f"expected points as x,y;x,y, got {text[:40]!r}")
    return edges_to_pixels(np.asarray(pairs, dtype=np.float64))


def write_cvat(annotations: Annotations) -> str:
    """The annotations as XML of "CVAT for images 1.1".

    What was annotated stands as it came, what was found as skeletons, polygons, masks and boxes
    with source "auto"; of these only shapes that the input has, where it was CVAT's too. CVAT has
    no place for scores.
    """
    notes = annotations.extra.get(_NOTES, {})
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    meta = notes.get("meta")
    root.append(ET.fromstring(meta) if meta else _meta(annotations))
    kinds = {kind.id: kind for kind in annotations.categories}
    shapes: set[str] = set(notes.get("shapes") or ("skeleton", "polygon", "mask", "box"))
    for row, image in enumerate(annotations.images):
        element = _image_element(image, row)
        found = [one for one in annotations.of_image(image.id) if _is_new(one, image)]
        for one in found:
            for shape in _shapes(one, kinds[one.category_id], shapes):
                element.append(shape)
        root.append(element)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _is_new(one: Instance, image: ImageEntry) -> bool:
    return one.score is not None or "_image" not in image.extra


def _image_element(image: ImageEntry, row: int) -> ET.Element:
    if "_image" in image.extra:
        return ET.fromstring(image.extra["_image"])
    if image.size_wh is None:
        raise BadInput(f"expected the size of {image.file_name}, got none")
    key = str(image.id if isinstance(image.id, int) else row)
    size = {"width": str(image.size_wh[0]), "height": str(image.size_wh[1])}
    return ET.Element("image", {"id": key, "name": image.file_name, **size})


def _shapes(one: Instance, kind: Category, shapes: set[str]) -> Iterator[ET.Element]:
    common = {"source": "auto", "occluded": "0"}
    tail = {"z_order": "0", "group_id": str(one.id)}
    named = {"label": kind.name, **common}
    if one.visibility.any() and "skeleton" in shapes:
        skeleton = ET.Element("skeleton", {"label": kind.name, "source": "auto", **tail})
        skeleton.extend(_parts(one, kind))
        yield skeleton
    elif one.visibility.any() and "points" in shapes:
        for row in np.flatnonzero(one.visibility).tolist():
            at = _text(one.keypoints_px[row : row + 1])
            yield ET.Element(
                "points", {"label": kind.keypoints[row], **common, "points": at, **tail}
            )
    if one.outline is not None and one.outline.mask is not None and "mask" in shapes:
        if one.outline.mask.any():
            yield _mask(one.outline.mask, named, tail)
    elif one.outline is not None and "polygon" in shapes:
        for polygon in one.outline.polygons:
            yield ET.Element("polygon", {**named, "points": _text(polygon), **tail})
    if one.box is not None and "box" in shapes:
        yield ET.Element("box", {**named, **_sides(one.box), **tail})


def _parts(one: Instance, kind: Category) -> Iterator[ET.Element]:
    """Every point of a skeleton; hidden ones are outside, and stand where the others' middle is."""
    seen = one.visibility > 0
    middle = one.keypoints_px[seen].mean(axis=0)
    for row, name in enumerate(kind.keypoints):
        at = one.keypoints_px[row] if seen[row] else middle
        flags = {"occluded": str(int(one.visibility[row] == 1)), "outside": str(int(not seen[row]))}
        entries = {"label": name, "source": "auto", **flags, "points": _text(at[None])}
        yield ET.Element("points", entries)


def _mask(mask: Any, named: dict[str, str], tail: dict[str, str]) -> ET.Element:
    runs, sides = encode_cvat(mask)
    place = dict(zip(("left", "top", "width", "height"), map(str, sides), strict=True))
    return ET.Element("mask", {**named, "rle": runs, **place, **tail})


def _sides(box: Box) -> dict[str, str]:
    left, top, w, h = box
    names = ("xtl", "ytl", "xbr", "ybr")
    values = (left, top, left + w, top + h)
    return {name: f"{value:.2f}" for name, value in zip(names, values, strict=True)}


def _text(points_px: Points) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in pixels_to_edges(points_px).tolist())


def _meta(annotations: Annotations) -> ET.Element:
    meta = ET.Element("meta")
    task = ET.SubElement(meta, "task")
    ET.SubElement(task, "name").text = "counterpoint"
    ET.SubElement(task, "size").text = str(len(annotations.images))
    ET.SubElement(task, "mode").text = "annotation"
    labels = ET.SubElement(task, "labels")
    for kind in annotations.categories:
        _label(labels, kind.name, "skeleton" if kind.keypoints else "any")
        for name in kind.keypoints:
            _label(labels, name, "points", kind.name)
    return meta


def _label(labels: ET.Element, name: str, kind: str, parent: str = "") -> None:
    label = ET.SubElement(labels, "label")
    ET.SubElement(label, "name").text = name
    ET.SubElement(label, "type").text = kind
    ET.SubElement(label, "attributes")
    if parent:
        ET.SubElement(label, "parent").text = parent
