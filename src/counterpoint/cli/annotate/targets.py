"""The pictures of `counterpoint annotate`: references and targets, by name."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from counterpoint.errors import BadInput, ImageError

if TYPE_CHECKING:
    from counterpoint.annotations import Annotations, ImageEntry
    from counterpoint.images import Picture


class Target(NamedTuple):
    """Where a target lies, and its entry in the references' file, if that names it."""

    path: Path
    image: "ImageEntry | None"


def picture_loader(images: Path) -> "Callable[[ImageEntry], Picture]":
    """From an entry of the references' file to its picture below a folder."""
    from counterpoint.annotations import find_picture
    from counterpoint.images import load_picture

    def load(image: "ImageEntry") -> "Picture":
        path = find_picture(images, image.file_name)
        if path is None:
            raise ImageError(f"expected the picture {image.file_name} below {images}, found none")
        return load_picture(path)

    return load


def find_targets(given: "Annotations", targets: list[str], images: Path) -> dict[str, Target]:
    """The targets by name; pictures that are references are none.

    Raises:
        BadInput: there are none, or two of one name.
        ImageError: a place that holds no picture.
    """
    from counterpoint.annotations import find_picture
    from counterpoint.images import find_pictures

    annotated = {one.image_id for one in given.instances}
    named = [(image, find_picture(images, image.file_name)) for image in given.images]
    entries = {path.resolve(): image for image, path in named if path}
    references = {path.resolve() for image, path in named if path and image.id in annotated}
    paths = find_pictures(targets) if targets else [path for _, path in named if path]
    chosen = {path.resolve(): path for path in paths}
    places = [place for place in chosen if place not in references]
    if not places:
        raise BadInput(
            "expected TARGETS, or pictures without annotations in the references' file, found "
            "none; name pictures or folders"
        )
    found: dict[str, Target] = {}
    for place, name in zip(places, _names(places, images.resolve()), strict=True):
        if name in found:
            raise BadInput(
                f"expected targets of different names, got {found[name].path} and {chosen[place]}, "
                f"both called {name}; annotate them one folder at a time"
            )
        found[name] = Target(chosen[place], entries.get(place))
    return found


def _names(places: list[Path], folder: Path) -> list[str]:
    """Pictures' names below the references' folder, or else below the targets' common one."""
    common = os.path.commonpath([place.parent for place in places])
    return [
        place.relative_to(folder if place.is_relative_to(folder) else common).as_posix()
        for place in places
    ]
