"""Label Studio: exports (JSON and JSON-MIN) in, tasks with predictions out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from counterpoint.annotations.conventions import (
    edges_to_pixels,
    percent_to_pixels,
    pixels_to_edges,
    pixels_to_percent,
)
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
from counterpoint.annotations.reading import Report, listing, mapping, number, on_picture, size_of
from counterpoint.annotations.runs import decode_brush, encode_brush
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH
from counterpoint.images import SUFFIXES

NAMES = {
    "keypointlabels": ("keypoints", "image"),
    "rectanglelabels": ("boxes", "image"),
    "polygonlabels": ("polygons", "image"),
    "brushlabels": ("brush", "image"),
}
"""The control tag's name and its object's, where the input does not tell them."""

URL_PREFIX = "/data/local-files/?d="
"""Before a picture's path, where the input does not have the picture."""

_NOTES = "_label_studio"


def looks_like_tasks(document: Any) -> bool:
    """Whether a parsed JSON document is a list of Label Studio's tasks, or one task."""
    tasks = cast("list[Any]", document) if isinstance(document, list) else [document]
    return (
        bool(tasks)
        and all(isinstance(task, dict) for task in tasks)
        and any("data" in task or _flat_results(task) for task in tasks)
    )


def read_label_studio(document: Any, report: Report) -> Annotations:
    """Read an export of Label Studio, already parsed.

    Of a task's annotations the one marked as ground truth counts, or else the first that was not
    cancelled. Key points, rectangles, polygons and brush strokes are taken; `grouping` says which
    are of one thing.

    Raises:
        BadInput: not an export, or (unless ``report`` collects) an entry that cannot be used.
    """
    tasks = listing(document if isinstance(document, list) else [document], "the tasks")
    images: dict[Key, ImageEntry] = {}
    marks: list[tuple[Key, list[Mark]]] = []
    names: dict[str, tuple[str, str]] = {}
    data_key = ""
    for row, task in enumerate(tasks):
        with report.entry(f"task number {row + 1}"):
            given = mapping(task, "a task")
            key: Key = given.get("id", row + 1)
            if key in images:
                raise BadInput(f"expected ids that occur once, got {key} twice")
            data_key, file_name = _picture_of(given)
            results = _results(given)
            size_wh = _size_of(results)
            images[key] = ImageEntry(
                id=key, file_name=file_name, size_wh=size_wh, extra={"_task": given}
            )
            marks.append((key, list(_marks(results, size_wh, key, names, report))))
    categories, instances = group_marks(marks, (), report)
    notes = {"names": names, "data_key": data_key or "image"}
    return Annotations(
        categories=categories,
        images=tuple(images.values()),
        instances=tuple(found for found in instances if found.visibility.any() or _solid(found)),
        extra={_NOTES: notes},
        form="label-studio",
    )


def _solid(found: Instance) -> bool:
    return found.box is not None or found.outline is not None


def _picture_of(task: dict[str, Any]) -> tuple[str, str]:
    """The key and value of a task's data that names its picture."""
    data = mapping(task["data"], "'data'") if "data" in task else task
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    shown = [name for name, value in texts.items() if _is_picture(value)]
    for name in ("image", "img", *shown):
        if name in texts:
            return name, texts[name]
    raise BadInput(f"expected a picture's name or URL in the task's data, got {sorted(data)}")


def _is_picture(text: str) -> bool:
    return PurePosixPath(text.split("?d=")[-1].split("?")[0]).suffix.lower() in SUFFIXES


def _results(task: dict[str, Any]) -> list[dict[str, Any]]:
    if "data" not in task:
        return _flat_results(task)
    made = [
        mapping(one, "an annotation")
        for one in listing(task.get("annotations", task.get("completions")) or [], "'annotations'")
    ]
    valid = [one for one in made if not one.get("was_cancelled")]
    chosen = next((one for one in valid if one.get("ground_truth")), valid[0] if valid else {})
    return [mapping(one, "a region") for one in listing(chosen.get("result", []), "'result'")]


def _flat_results(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of JSON-MIN: regions stand under their control's name, their values beside their sizes."""
    found: list[dict[str, Any]] = []
    for name, regions in task.items():
        for region in cast("list[Any]", regions) if isinstance(regions, list) else []:
            kind = next((k for k in NAMES if isinstance(region, dict) and k in region), "")
            if kind:
                found.append({"type": kind, "from_name": name, "value": region, **region})
    return found


def _size_of(results: Sequence[Mapping[str, Any]]) -> SizeWH | None:
    for region in results:
        size = size_of(region.get("original_width"), region.get("original_height"))
        if size is not None:
            return size
    return None


def _marks(
    results: Sequence[dict[str, Any]],
    size_wh: SizeWH | None,
    key: Key,
    names: dict[str, tuple[str, str]],
    report: Report,
) -> Iterator[Mark]:
    for region in results:
        kind = region.get("type")
        if kind not in NAMES:
            continue  # choices, texts, relations
        with report.entry(f"task {key}, region {region.get('id', '')}"):
            if size_wh is None:
                raise BadInput("expected original_width and original_height, got none")
            if region.get("image_rotation"):
                raise BadInput("expected a picture that was not turned in the tool (rotation 0)")
            default = NAMES[kind]
            tags = str(region.get("from_name") or default[0])
            names.setdefault(kind, (tags, str(region.get("to_name") or default[1])))
            yield _mark(kind, region, size_wh)


def _mark(kind: str, region: dict[str, Any], size_wh: SizeWH) -> Mark:
    value = mapping(region["value"], "'value'")
    labels = listing(value[kind], f"'{kind}'")
    if len(labels) != 1:
        raise BadInput(f"expected one label, got {labels}")
    common: dict[str, Any] = {
        "label": str(labels[0]),
        "id": str(region.get("id") or ""),
        "group": str(region.get("parentID") or region.get("parent_id") or ""),
    }
    if kind == "keypointlabels":
        at = (number(value["x"], "'x'"), number(value["y"], "'y'"))
        seen = np.full(1, 2)
        placed = on_picture(percent_to_pixels(at, size_wh), seen, (common["label"],), size_wh)
        return Mark(kind="keypoint", point_px=(float(placed[0, 0]), float(placed[0, 1])), **common)
    if kind == "rectanglelabels":
        return Mark(kind="box", box=_box(value, size_wh), **common)
    if kind == "polygonlabels":
        corners = np.asarray(listing(value["points"], "'points'"), dtype=np.float64)
        if corners.ndim != 2 or len(corners) < 3:
            raise BadInput(f"expected a polygon of at least 3 corners, got {len(corners)}")
        outline = Outline("polygon", (percent_to_pixels(corners, size_wh),))
        return Mark(kind="outline", outline=outline, **common)
    if value.get("format", "rle") != "rle":
        raise BadInput(f"expected brush strokes as rle, got {value.get('format')!r}")
    mask = decode_brush(listing(value["rle"], "'rle'"), size_wh)
    return Mark(kind="outline", outline=Outline("rle", mask=mask), **common)


def _box(value: dict[str, Any], size_wh: SizeWH) -> Box:
    """Of a rectangle, perhaps turned about its upper left corner: the upright box around it."""
    x, y, w, h = (number(value[name], f"'{name}'") for name in ("x", "y", "width", "height"))
    corners = percent_to_pixels([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], size_wh)
    angle = np.deg2rad(number(value.get("rotation") or 0, "'rotation'"))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    edges = pixels_to_edges((corners - corners[0]) @ turn.T + corners[0])
    low = edges.min(axis=0).clip(0, size_wh)
    high = edges.max(axis=0).clip(0, size_wh)
    (left, top), (wide, tall) = low.tolist(), (high - low).tolist()
    if min(wide, tall) <= 0:
        raise BadInput("expected a rectangle with some area on the picture, got none")
    return left, top, wide, tall


def write_label_studio(
    annotations: Annotations, *, url_prefix: str = URL_PREFIX
) -> list[dict[str, Any]]:
    """Tasks to import: what was annotated as it came, what was found as predictions with scores.

    Kinds of regions that the input's own project does not have are left out, since Label Studio
    refuses them; from another format all are written, for a project made with `label_config`.
    """
    notes = annotations.extra.get(_NOTES, {})
    names = notes.get("names") or NAMES
    data_key = notes.get("data_key", "image")
    kinds = {kind.id: kind for kind in annotations.categories}
    tasks: list[dict[str, Any]] = []
    for image in annotations.images:
        found = [one for one in annotations.of_image(image.id) if one.score is not None]
        task = _task(image, data_key, url_prefix)
        if found:
            task["predictions"] = [_prediction(found, kinds, image, names)]
        tasks.append(task)
    return tasks


def _task(image: ImageEntry, data_key: str, url_prefix: str) -> dict[str, Any]:
    if "_task" in image.extra:
        return dict(image.extra["_task"])
    is_url = "://" in image.file_name or image.file_name.startswith("/data/")
    return {"data": {data_key: image.file_name if is_url else url_prefix + image.file_name}}


def _prediction(
    found: Sequence[Instance],
    kinds: Mapping[int, Category],
    image: ImageEntry,
    names: Mapping[str, tuple[str, str]],
) -> dict[str, Any]:
    if image.size_wh is None:
        raise BadInput(f"expected the size of {image.file_name}, got none")
    regions = [
        {
            **region,
            "original_width": image.size_wh[0],
            "original_height": image.size_wh[1],
            "image_rotation": 0,
        }
        for one in found
        for region in _regions(one, kinds[one.category_id], image.size_wh, names)
    ]
    score = min(one.score for one in found if one.score is not None)
    return {"model_version": "counterpoint", "score": round(score, 4), "result": regions}


def _regions(
    one: Instance, kind: Category, size_wh: SizeWH, names: Mapping[str, tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    def region(tag: str, name: str, value: dict[str, Any], score: float | None) -> dict[str, Any]:
        from_name, to_name = names[tag]
        marked = {"id": f"i{one.id}{name}", "type": tag, "value": value}
        marked |= {"from_name": from_name, "to_name": to_name, "origin": "prediction"}
        return marked if score is None else {**marked, "score": round(score, 4)}

    parent = {}
    if one.box is not None and "rectanglelabels" in names:
        yield region("rectanglelabels", "box", _rectangle(one.box, kind.name, size_wh), one.score)
        parent = {"parentID": f"i{one.id}box"}
    for number_, (name, value) in enumerate(_outline_values(one, kind.name, size_wh)):
        if name in names:
            yield {**region(name, f"shape{number_}", value, one.score), **parent}
    if "keypointlabels" in names:
        for row in np.flatnonzero(one.visibility).tolist():
            score = None if one.keypoint_scores is None else float(one.keypoint_scores[row])
            value = _point(one.keypoints_px[row], kind.keypoints[row], size_wh)
            yield {**region("keypointlabels", f"point{row}", value, score), **parent}


def _point(point_px: np.ndarray, name: str, size_wh: SizeWH) -> dict[str, Any]:
    x, y = _rounded(point_px, size_wh)[0]
    return {"x": x, "y": y, "width": 0.5, "keypointlabels": [name]}


def _rectangle(box: Box, label: str, size_wh: SizeWH) -> dict[str, Any]:
    left, top, w, h = box
    (x0, y0), (x1, y1) = _rounded(edges_to_pixels([(left, top), (left + w, top + h)]), size_wh)
    sides = {"x": x0, "y": y0, "width": round(x1 - x0, 4), "height": round(y1 - y0, 4)}
    return {**sides, "rotation": 0, "rectanglelabels": [label]}


def _outline_values(
    one: Instance, label: str, size_wh: SizeWH
) -> Iterator[tuple[str, dict[str, Any]]]:
    if one.outline is None:
        return
    if one.outline.mask is not None:
        rle = encode_brush(one.outline.mask)
        yield "brushlabels", {"format": "rle", "rle": rle, "brushlabels": [label]}
    for polygon in one.outline.polygons:
        points = _rounded(polygon, size_wh)
        yield "polygonlabels", {"points": points, "polygonlabels": [label], "closed": True}


def _rounded(points_px: ArrayLike, size_wh: SizeWH) -> list[list[float]]:
    return pixels_to_percent(points_px, size_wh).clip(0, 100).round(4).tolist()


def label_config(annotations: Annotations) -> str:
    """The labelling interface, XML, of a project that these tasks can be imported into."""
    from xml.sax.saxutils import quoteattr

    notes = annotations.extra.get(_NOTES, {})
    names = notes.get("names") or NAMES
    things = [kind.name for kind in annotations.categories]
    points = list(dict.fromkeys(p for kind in annotations.categories for p in kind.keypoints))
    tags = {"keypointlabels": "KeyPointLabels", "rectanglelabels": "RectangleLabels"}
    tags |= {"polygonlabels": "PolygonLabels", "brushlabels": "BrushLabels"}
    to_name = next(iter(names.values()))[1]
    lines = [f'  <Image name={quoteattr(to_name)} value="${notes.get("data_key", "image")}"/>']
    for kind, (name, to) in names.items():
        labels = points if kind == "keypointlabels" else things
        if not labels:
            continue
        lines.append(f"  <{tags[kind]} name={quoteattr(name)} toName={quoteattr(to)}>")
        lines += [f"    <Label value={quoteattr(label)}/>" for label in labels]
        lines.append(f"  </{tags[kind]}>")
    return "\n".join(["<View>", *lines, "</View>", ""])
