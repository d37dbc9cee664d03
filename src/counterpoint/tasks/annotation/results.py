"""From things found to an annotation file, to what a person should look at first, to a score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from counterpoint.annotations import Annotations, ImageEntry, Instance
from counterpoint.annotations.model import Box
from counterpoint.annotations.places import base_name
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH
from counterpoint.tasks.annotation.annotator import Found
from counterpoint.tasks.annotation.score import Judged, box_overlap, judge
from counterpoint.tasks.annotation.views import covered_by


@dataclass(frozen=True, eq=False)
class Result:
    """One target, done.

    Attributes:
        name: of its picture, as it will stand in the file.
        size_wh: of the picture.
        found: things in it.
        image: its entry in the references' file; None where that does not name it.
    """

    name: str
    size_wh: SizeWH
    found: tuple[Found, ...]
    image: ImageEntry | None = None


class ByName:
    """The pictures of an annotation file by the names that they may be called.

    A name stands for the only picture with its last part; of several, for the one whose file name
    ends with it, or it with the file name; otherwise for none.
    """

    def __init__(self, given: Annotations) -> None:
        self._by_base: dict[str, list[ImageEntry]] = {}
        for image in given.images:
            self._by_base.setdefault(base_name(image.file_name), []).append(image)

    def find(self, name: str) -> ImageEntry | None:
        """The picture that a name means."""
        fitting = self._by_base.get(base_name(name), [])
        if len(fitting) > 1:
            fitting = [image for image in fitting if _same_path(image.file_name, name)]
        return fitting[0] if len(fitting) == 1 else None


def _same_path(a: str, b: str) -> bool:
    a, b = (text.replace("\\", "/") for text in (a, b))
    return a == b or a.endswith("/" + b) or b.endswith("/" + a)


def things_of(
    boxes: Annotations, references: Annotations, image: ImageEntry
) -> list[tuple[int, Box]]:
    """Categories, as the references number them, and boxes of the things in one picture.

    Categories go by name; where the references know one kind alone, and the boxes too, it is that.

    Raises:
        BadInput: a category that the references do not have.
    """
    numbers = {kind.name: kind.id for kind in references.categories}
    names = {kind.id: kind.name for kind in boxes.categories}
    if len(references.categories) == 1 == len(boxes.categories):
        numbers[boxes.categories[0].name] = references.categories[0].id
    found: list[tuple[int, Box]] = []
    for one in boxes.of_image(image.id):
        if one.box is None or one.crowd:
            continue
        name = names[one.category_id]
        if name not in numbers:
            raise BadInput(
                f"expected boxes of {', '.join(numbers)}, got one of {name!r} in {image.file_name}"
            )
        found.append((numbers[name], one.box))
    return found


def collect(
    references: Annotations, results: Sequence[Result], *, merge: bool = False
) -> Annotations:
    """Everything found as annotations, in the references' categories and with their notes.

    Args:
        references: what was transferred from.
        results: of the targets, in the order in which they are to stand.
        merge: keep what the references hold, and add to it.
    """
    images = {image.id: image for image in references.images} if merge else {}
    instances: list[Instance] = list(references.instances) if merge else []
    taken = (image.id for image in references.images if isinstance(image.id, int))
    fresh = count(1 + max(taken, default=0))
    numbers = count(1 + max((one.id for one in instances), default=0))
    for result in results:
        image = result.image or ImageEntry(id=next(fresh), file_name=result.name)
        images[image.id] = replace(image, size_wh=result.size_wh)
        instances += [
            replace(found.instance, id=next(numbers), image_id=image.id) for found in result.found
        ]
    return references.with_instances(tuple(images.values()), tuple(instances))


def review_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """A row a thing, those first that a person should look at first.

    ``confidence`` is the lowest of its points (and of its mask), ``lowest`` says which.
    """
    rows = [
        _review_row(result, number, found)
        for result in results
        for number, found in enumerate(result.found, 1)
    ]
    rows.sort(key=lambda row: (row["confidence"], row["image"], row["thing"]))
    return [{"rank": rank, **row} for rank, row in enumerate(rows, 1)]


def _review_row(result: Result, number: int, found: Found) -> dict[str, Any]:
    asked = [k for k in range(len(found.confidence)) if found.voters[k]]
    names = found.category.keypoints
    lowest = min(asked, key=lambda k: found.confidence[k]) if asked else None
    hidden = [names[k] for k in asked if not found.instance.visibility[k]]
    named = "" if lowest is None else names[lowest]
    if found.mask_confidence is not None and found.mask_confidence <= found.lowest:
        named = "mask"
    mean = found.instance.score or 0.0
    share = [float(found.agreeing[k] / found.voters[k]) for k in asked]
    return {
        "image": result.name,
        "thing": number,
        "category": found.category.name,
        "confidence": round(found.lowest, 4),
        "lowest": named,
        "mean_confidence": round(mean, 4),
        "agreement": round(sum(share) / len(share), 4) if share else None,
        "shown": int((found.instance.visibility > 0).sum()),
        "hidden": " ".join(name.replace(" ", "_") for name in hidden),
        "mask_confidence": None
        if found.mask_confidence is None
        else round(found.mask_confidence, 4),
        "calibrated": found.calibrated,
    }


def judge_results(results: Sequence[Result], truth: Annotations, alpha: float) -> Judged:
    """All key points found beside the truth, of the targets that it knows.

    Things go together by kind and, of several, by the overlap of their boxes.

    Raises:
        BadInput: a truth with other key points.
    """
    known, parts = ByName(truth), list[Judged]()
    kinds = {kind.name: kind for kind in truth.categories}
    for result in results:
        image = known.find(result.name)
        if image is None:
            continue
        left = [one for one in truth.of_image(image.id) if not one.crowd]
        for found in result.found:
            kind = kinds.get(found.category.name)
            one = None if kind is None else _partner(found, left, kind.id)
            if one is None or kind is None or not len(one.keypoints_px):
                continue
            if kind.keypoints != found.category.keypoints:
                raise BadInput(
                    f"expected key points {', '.join(found.category.keypoints)} of "
                    f"{kind.name!r} in the truth, got {', '.join(kind.keypoints)}"
                )
            left.remove(one)
            length = covered_by(one, result.size_wh)
            asked = found.voters > 0
            parts.append(judge(found.points_px, found.confidence, asked, one, length, alpha))
    return Judged.joined(parts)


def _partner(found: Found, left: Sequence[Instance], category_id: int) -> Instance | None:
    same = [one for one in left if one.category_id == category_id]
    box = found.instance.box
    if not same or box is None:
        return same[0] if same else None
    return max(same, key=lambda one: box_overlap(box, one.box) if one.box else 0.0)


def counts(results: Sequence[Result]) -> Mapping[str, int]:
    """How much was found: things, key points shown and hidden."""
    things = [found for result in results for found in result.found]
    shown = sum(int((one.instance.visibility > 0).sum()) for one in things)
    asked = sum(int((one.voters > 0).sum()) for one in things)
    return {"things": len(things), "shown": shown, "hidden": asked - shown}
