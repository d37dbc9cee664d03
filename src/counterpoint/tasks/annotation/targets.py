"""References and targets of annotation transfer: which pictures, and what they are called."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from counterpoint.annotations import Annotations, ImageEntry, find_picture
from counterpoint.errors import BadInput, ImageError
from counterpoint.files import absolute
from counterpoint.images import Picture, find_pictures, load_picture


class Target(NamedTuple):
    """Where a target lies, and its entry in the references' file, if that names it."""

    path: Path
    image: ImageEntry | None


def picture_loader(images: Path) -> Callable[[ImageEntry], Picture]:
    """From an entry of the references' file to its picture below a folder."""

    def load(image: ImageEntry) -> Picture:
        path = find_picture(images, image.file_name)
        if path is None:
            raise ImageError(f"expected the picture {image.file_name} below {images}, found none")
        return load_picture(path)

    return load


def find_targets(
    given: Annotations,
    targets: Sequence[str | Path],
    images: Path,
    skip: Callable[[str], None] | None = None,
) -> dict[str, Target]:
    """The targets by name; pictures that are references are none, whatever links lead to them.

    Args:
        given: the references' file.
        targets: pictures, folders or glob patterns; none: what the file names and says nothing of.
        images: the folder of the references' pictures.
        skip: told of each picture that the file names and the folder lacks, where it would be a
            target; None: they are an error.

    Returns:
        By name: the path below ``images``, or else below the targets' common folder.

    Raises:
        BadInput: there are none, or two of one name.
        ImageError: a place that holds no picture; a picture that is missing.
    """
    annotated = {one.image_id for one in given.instances}
    named = [(image, find_picture(images, image.file_name)) for image in given.images]
    entries = {path.resolve(): image for image, path in named if path}
    references = {place for place, image in entries.items() if image.id in annotated}
    if targets:
        paths = find_pictures(list(map(str, targets)))
    else:
        lacking = [one.file_name for one, path in named if not path and one.id not in annotated]
        _report(lacking, images, skip)
        paths = [path for _, path in named if path]
    chosen = {path.resolve(): path for path in paths if path.resolve() not in references}
    if not chosen:
        raise BadInput(
            "expected targets, or pictures without annotations in the references' file, found "
            "none; name pictures or folders"
        )
    found: dict[str, Target] = {}
    names = _names(list(chosen.values()), images)
    for (place, path), name in zip(chosen.items(), names, strict=True):
        if name in found:
            raise BadInput(
                f"expected targets of different names, got {found[name].path} and {path}, "
                f"both called {name}; annotate them one folder at a time"
            )
        found[name] = Target(path, entries.get(place))
    return found


def _report(lacking: Sequence[str], images: Path, skip: Callable[[str], None] | None) -> None:
    """Say which pictures are missing."""
    if lacking and skip is None:
        raise ImageError(
            f"expected every picture without annotations that the file names below {images}, "
            f"found all but {len(lacking)}, such as {lacking[0]}; copy them there, or name targets"
        )
    for name in lacking:
        assert skip is not None
        skip(f"expected the picture {name} below {images}, found none")


def _names(paths: list[Path], images: Path) -> list[str]:
    """Of each path, in order; a link is called as it is, not as what it leads to."""
    common = Path(os.path.commonpath([absolute(path).parent for path in paths]))
    places = (_below(path, images) or absolute(path).relative_to(common) for path in paths)
    return [place.as_posix() for place in places]


def _below(path: Path, folder: Path) -> Path | None:
    """A path from a folder, also where links lead to the one or the other."""
    for inner, outer in (
        (absolute(path), absolute(folder)),
        (path.resolve(), folder.resolve()),
    ):
        if inner.is_relative_to(outer):
            return inner.relative_to(outer)
    return None
