"""`annotate`: a few annotated pictures, and the rest annotated alike, in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.annotations import (
    Annotations,
    read_annotations,
    write_annotations,
)
from counterpoint.api.extracting import opened
from counterpoint.backbones.base import Backbone
from counterpoint.errors import BadInput
from counterpoint.images import load_picture
from counterpoint.tasks.annotation.annotator import Annotator, Transfer
from counterpoint.tasks.annotation.results import ByName, Result, collect, review_rows, things_of
from counterpoint.tasks.annotation.targets import Target, find_targets, picture_loader


@dataclass(frozen=True, eq=False)
class Annotated:
    """Pictures annotated as others are.

    Attributes:
        references: what was transferred from.
        results: a picture each, with everything found and how sure it is.
    """

    references: Annotations
    results: tuple[Result, ...]

    @property
    def annotations(self) -> Annotations:
        """What was found, in the references' categories."""
        return collect(self.references, self.results)

    @property
    def review(self) -> list[dict[str, Any]]:
        """A row a thing; those come first that a person should look at first."""
        return review_rows(self.results)

    def save(self, path: str | Path, form: str | None = None, *, merge: bool = False) -> list[Path]:
        """Write an annotation file, atomically.

        Args:
            path: the file.
            form: "coco", "label-studio" or "cvat"; by default as the references came.
            merge: with the references' own annotations in it.

        Returns:
            The files written.
        """
        found = collect(self.references, self.results, merge=merge)
        return write_annotations(found, path, form)


def annotate(
    references: str | Path | Annotations,
    targets: Sequence[str | Path] | None = None,
    *,
    images: str | Path,
    model: str | Backbone = "small",
    boxes: str | Path | Annotations | None = None,
    how: Transfer | None = None,
    **options: Any,
) -> Annotated:
    """Annotate pictures as the references are annotated.

    What `counterpoint annotate` does, without its files. Targets go one at a time: memory does not
    grow with their number.

    Args:
        references: a COCO, Label Studio or CVAT file, or what `read_annotations` gave.
        targets: pictures, folders or glob patterns; by default the pictures that the references'
            file names and says nothing of.
        images: the folder of the references' pictures.
        model: a loaded model, or its name.
        boxes: where the things lie in the targets (and then things are cut out): a file, or
            annotations with the targets' names.
        how: votes, mirroring, the least confidence; by default crops where there are boxes.
        options: as in `Options`.

    Raises:
        BadInput: a file that cannot be read, no references, no targets, two of one name, boxes of
            unknown things.
        ImageError: a picture that is missing or cannot be read.
    """
    given = references if isinstance(references, Annotations) else read_annotations(references)
    places = read_annotations(boxes) if isinstance(boxes, str | Path) else boxes
    folder = Path(images)
    if not folder.is_dir():
        raise BadInput(f"expected the folder of the references' pictures, got {folder}")

    chosen = find_targets(given, targets or (), folder)
    backbone, settings = opened(model, options)
    annotator = Annotator(
        given, picture_loader(folder), backbone, settings, how or Transfer(crop=places is not None)
    )
    known = None if places is None else (places, ByName(places))
    results = [_one(annotator, name, target, given, known) for name, target in chosen.items()]
    return Annotated(given, tuple(results))


def _one(
    annotator: Annotator,
    name: str,
    target: Target,
    given: Annotations,
    boxes: tuple[Annotations, ByName] | None,
) -> Result:
    picture, things = load_picture(target.path), None
    if boxes is not None:
        image = boxes[1].find(name)
        if image is None:
            raise BadInput(f"expected boxes of {name}, found none")
        things = things_of(boxes[0], given, image)
    found = annotator.annotate(picture, things)
    return Result(name, picture.size_wh, tuple(found), target.image)
