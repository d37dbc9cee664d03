"""COCO: things with key points, polygons or run lengths, and boxes, in one JSON document."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from counterpoint.annotations.conventions import (
    coco_keypoints_to_pixels,
    edges_to_pixels,
    pixels_to_edges,
)
from counterpoint.annotations.model import (
    Annotations,
    Box,
    Category,
    ImageEntry,
    Instance,
    Key,
    Outline,
)
from counterpoint.annotations.reading import (
    Report,
    listing,
    mapping,
    number,
    on_picture,
    plain,
    size_of,
)
from counterpoint.annotations.runs import decode_coco, encode_coco, mask_of
from counterpoint.errors import BadInput
from counterpoint.geometry import Points, SizeWH

_OF_CATEGORY = {"id", "name", "keypoints", "skeleton"}
_OF_IMAGE = {"id", "file_name", "width", "height"}
_OF_INSTANCE = {
    "id",
    "image_id",
    "category_id",
    "keypoints",
    "num_keypoints",
    "segmentation",
    "bbox",
    "area",
    "iscrowd",
    "score",
}


def read_coco(document: Any, report: Report) -> Annotations:
    """Read COCO's JSON, already parsed.

    Raises:
        BadInput: not a COCO document, or (unless ``report`` collects) an entry that cannot be used.
    """
    whole = mapping(document, "a COCO document")
    for name in ("images", "categories"):
        if name not in whole:
            raise BadInput(f"expected {name!r} in a COCO document, found {', '.join(whole)}")
    categories = _read_categories(listing(whole["categories"], "'categories'"), report)
    images = _read_images(listing(whole["images"], "'images'"), report)
    sizes = {image.id: image.size_wh for image in images}
    kinds = {kind.id: kind for kind in categories}
    instances: dict[int, Instance] = {}
    for row, entry in enumerate(listing(whole.get("annotations", []), "'annotations'")):
        with report.entry(_named("annotation", row, entry)):
            found = _instance(mapping(entry, "an annotation"), row, kinds, sizes)
            _require_new(found.id, instances)
            instances[found.id] = found
    extra = _others(whole, {"images", "categories", "annotations"})
    return Annotations(
        categories=categories,
        images=images,
        instances=tuple(instances.values()),
        extra=extra,
        form="coco",
    )


def write_coco(annotations: Annotations) -> dict[str, Any]:
    """The annotations as a COCO document, ready for JSON."""
    sizes = {image.id: image.size_wh for image in annotations.images}
    numbers = _image_numbers(annotations)
    kinds = {kind.id: kind for kind in annotations.categories}
    return {
        **_foreign(annotations.extra),
        "images": [_image_entry(image, numbers) for image in annotations.images],
        "categories": [_category_entry(kind) for kind in annotations.categories],
        "annotations": [
            _instance_entry(one, numbers[one.image_id], sizes[one.image_id], kinds[one.category_id])
            for one in annotations.instances
        ],
    }


def _named(kind: str, row: int, entry: Any) -> str:
    known = isinstance(entry, dict) and "id" in entry
    return f"{kind} {entry['id']}" if known else f"{kind} number {row + 1}"


def _others(entry: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in known}


def _foreign(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What the file itself said, without the readers' own notes."""
    return {name: value for name, value in extra.items() if not name.startswith("_")}


def _require_new(key: Any, seen: Collection[Any]) -> None:
    if key in seen:
        raise BadInput(f"expected ids that occur once, got {key} twice")


def _read_categories(entries: list[Any], report: Report) -> tuple[Category, ...]:
    found: dict[int, Category] = {}
    for row, entry in enumerate(entries):
        with report.entry(_named("category", row, entry)):
            given = mapping(entry, "a category")
            key = _id(given["id"])
            _require_new(key, found)
            found[key] = Category(
                id=key,
                name=str(given["name"]),
                keypoints=_keypoint_names(given.get("keypoints")),
                skeleton=_skeleton(given.get("skeleton"), len(given.get("keypoints") or [])),
                extra=_others(given, _OF_CATEGORY),
            )
    return tuple(found.values())


def _keypoint_names(entry: Any) -> tuple[str, ...]:
    names = tuple(str(name) for name in listing(entry or [], "'keypoints' of a category"))
    if len(set(names)) != len(names):
        raise BadInput(f"expected key points of different names, got {', '.join(names)}")
    return names


def _skeleton(entry: Any, count: int) -> tuple[tuple[int, int], ...]:
    pairs: list[tuple[int, int]] = []
    for pair in listing(entry or [], "'skeleton'"):
        first, second = (int(end) for end in pair)
        if not (1 <= first <= count and 1 <= second <= count):
            raise BadInput(f"expected a skeleton of key points 1 to {count}, got {pair}")
        pairs.append((first, second))
    return tuple(pairs)


def _read_images(entries: list[Any], report: Report) -> tuple[ImageEntry, ...]:
    found: dict[Key, ImageEntry] = {}
    for row, entry in enumerate(entries):
        with report.entry(_named("image", row, entry)):
            given = mapping(entry, "an image")
            key = given["id"]
            if not isinstance(key, int | str):
                raise BadInput(f"expected an id as a number or text, got {key!r}")
            _require_new(key, found)
            found[key] = ImageEntry(
                id=key,
                file_name=str(given["file_name"]),
                size_wh=size_of(given.get("width"), given.get("height")),
                extra=_others(given, _OF_IMAGE),
            )
    return tuple(found.values())


def _id(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(f"expected a whole number as id, got {value!r}")
    return value


def _instance(
    given: dict[str, Any],
    row: int,
    kinds: dict[int, Category],
    sizes: dict[Key, SizeWH | None],
) -> Instance:
    image_id, category_id = given["image_id"], given["category_id"]
    if image_id not in sizes:
        raise BadInput(f"expected an image of 'images', got image_id {image_id!r}")
    if category_id not in kinds:
        known = ", ".join(f"{kind.id} ({kind.name})" for kind in kinds.values())
        raise BadInput(f"expected a category of {known}, got category_id {category_id!r}")
    size_wh = sizes[image_id]
    points_px, visibility = _keypoints(given.get("keypoints"), kinds[category_id], size_wh)
    return Instance(
        id=_id(given.get("id", row + 1)),
        image_id=image_id,
        category_id=category_id,
        keypoints_px=points_px,
        visibility=visibility,
        outline=_outline(given.get("segmentation"), size_wh),
        box=_box(given.get("bbox")),
        crowd=bool(given.get("iscrowd", 0)),
        score=None if given.get("score") is None else number(given["score"], "'score'"),
        extra={**_others(given, _OF_INSTANCE), **_area(given.get("area"))},
    )


def _area(entry: Any) -> dict[str, float]:
    """As the file states it: COCO's own differ from the mask's count of pixels."""
    return {} if entry is None else {"_area": number(entry, "'area'")}


def _keypoints(entry: Any, kind: Category, size_wh: SizeWH | None) -> tuple[Points, np.ndarray]:
    count = len(kind.keypoints)
    if entry is None:
        return np.zeros((0, 2)), np.zeros(0, dtype=np.int64)
    flat = [number(value, "a key point's entry") for value in listing(entry, "'keypoints'")]
    if len(flat) != 3 * count:
        raise BadInput(
            f"expected {count} key points (x, y, v) as of category {kind.name!r}, "
            f"got {len(flat)} numbers"
        )
    table = np.asarray(flat).reshape(-1, 3)
    if not np.isin(table[:, 2], (0, 1, 2)).all():
        raise BadInput(f"expected visibility 0, 1 or 2, got {table[:, 2].tolist()}")
    visibility = table[:, 2].astype(np.int64)
    points = coco_keypoints_to_pixels(table[:, :2])
    points[visibility == 0] = 0
    return on_picture(points, visibility, kind.keypoints, size_wh), visibility


def _outline(entry: Any, size_wh: SizeWH | None) -> Outline | None:
    if not entry:
        return None
    if isinstance(entry, dict):
        if size_wh is None:
            raise BadInput("expected 'width' and 'height' of a picture with run lengths")
        given = mapping(entry, "'segmentation'")
        style = "counts" if isinstance(given.get("counts"), list) else "rle"
        return Outline(style, mask=decode_coco(given, size_wh))
    polygons: list[Points] = []
    for polygon in listing(entry, "'segmentation'"):
        flat = [number(value, "a polygon's entry") for value in listing(polygon, "a polygon")]
        if len(flat) < 6 or len(flat) % 2:
            raise BadInput(f"expected polygons of at least 3 corners, got {len(flat)} numbers")
        polygons.append(edges_to_pixels(np.asarray(flat).reshape(-1, 2)))
    return Outline("polygon", tuple(polygons))


def _box(entry: Any) -> Box | None:
    if not entry:
        return None
    sides = [number(side, "a box's entry") for side in listing(entry, "'bbox'")]
    if len(sides) != 4 or min(sides[2:]) <= 0:
        raise BadInput(f"expected a box as left, top, width, height, got {entry}")
    return sides[0], sides[1], sides[2], sides[3]


def _image_numbers(annotations: Annotations) -> dict[Key, Key]:
    """Image ids as COCO's tools want them: whole numbers; others are counted from 1."""
    if all(isinstance(image.id, int) for image in annotations.images):
        return {image.id: image.id for image in annotations.images}
    return {image.id: number for number, image in enumerate(annotations.images, 1)}


def _image_entry(image: ImageEntry, numbers: dict[Key, Key]) -> dict[str, Any]:
    size = (
        {} if image.size_wh is None else dict(zip(("width", "height"), image.size_wh, strict=True))
    )
    return {**_foreign(image.extra), "id": numbers[image.id], "file_name": image.file_name, **size}


def _category_entry(kind: Category) -> dict[str, Any]:
    entry = {**kind.extra, "id": kind.id, "name": kind.name}
    if kind.keypoints:
        entry["keypoints"] = list(kind.keypoints)
        entry["skeleton"] = [list(pair) for pair in kind.skeleton]
    return entry


def _instance_entry(
    one: Instance, image_id: Key, size_wh: SizeWH | None, kind: Category
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        **_foreign(one.extra),
        "id": one.id,
        "image_id": image_id,
        "category_id": one.category_id,
        "iscrowd": int(one.crowd),
    }
    if len(one.keypoints_px):
        entry |= _keypoint_entries(one)
    elif kind.keypoints:
        entry |= {"keypoints": [0] * (3 * len(kind.keypoints)), "num_keypoints": 0}
    area = one.box[2] * one.box[3] if one.box else 0.0
    if one.outline is not None:
        entry["segmentation"] = _segmentation(one.outline)
        if size_wh is not None:
            area = float(mask_of(one.outline, size_wh).sum())
    if one.box is not None:
        entry["bbox"] = [plain(side) for side in one.box]
    stated = one.extra.get("_area")
    entry["area"] = plain(area) if stated is None else _exact(stated)
    if one.score is not None:
        entry["score"] = round(one.score, 4)
    return entry


def _exact(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _keypoint_entries(one: Instance) -> dict[str, Any]:
    rows = zip(one.keypoints_px.tolist(), one.visibility.tolist(), strict=True)
    flat = [value for (x, y), v in rows for value in ((plain(x), plain(y), v) if v else (0, 0, 0))]
    entries: dict[str, Any] = {"keypoints": flat, "num_keypoints": int((one.visibility > 0).sum())}
    if one.keypoint_scores is not None:
        entries["keypoint_scores"] = [round(score, 4) for score in one.keypoint_scores.tolist()]
    return entries


def _segmentation(outline: Outline) -> Any:
    if outline.mask is not None:
        return encode_coco(outline.mask, compressed=outline.style == "rle")
    return [
        [plain(value) for value in pixels_to_edges(polygon).ravel()] for polygon in outline.polygons
    ]
