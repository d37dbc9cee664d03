"""Writing what was matched for other tools."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from counterpoint.errors import BadInput
from counterpoint.files import absolute, common_folder

if TYPE_CHECKING:
    from counterpoint.interop import CameraMode
    from counterpoint.tasks.scenes.views import View, ViewPair

Export = Literal["hloc", "colmap"]
Exports = Annotated[list[Export] | None, Parameter(negative="", consume_multiple=True)]

FEATURES, MATCHES, PAIRS, DATABASE = "features.h5", "matches.h5", "pairs.txt", "database.db"


def names_below(paths: Sequence[Path], root: Path | None = None) -> tuple[Path, list[str]]:
    """The folder of pictures, by default the deepest that holds all, and their names there.

    Raises:
        BadInput: two paths of one picture.
    """
    root = common_folder(paths) if root is None else root
    names = [absolute(path).relative_to(absolute(root)).as_posix() for path in paths]
    if len(set(names)) < len(names):
        raise BadInput("expected different pictures, got one twice")
    return root, names


def write_exports(
    place: Path,
    views: "Sequence[View]",
    pairs: "Sequence[ViewPair]",
    kinds: Sequence[str],
    paths: Sequence[Path],
    focal_px: Sequence[float | None],
    mode: "CameraMode" = "auto",
    camera_model: str = "SIMPLE_RADIAL",
) -> list[Path]:
    """Files of each kind below a folder.

    Raises:
        MissingExtra: h5py or pycolmap is not installed.
    """
    from counterpoint import interop

    written: list[Path] = []
    if "hloc" in kinds:
        written += [
            interop.write_pairs(place / PAIRS, views, pairs),
            interop.write_features(place / FEATURES, views),
            interop.write_matches(place / MATCHES, views, pairs),
        ]
    if "colmap" in kinds:
        cameras = [
            interop.SceneCamera.guess(view.size_wh, path, focal)
            for view, path, focal in zip(views, paths, focal_px, strict=True)
        ]
        made = interop.write_database(
            place / DATABASE, views, pairs, cameras, mode=mode, model=camera_model
        )
        written.append(made)
    return written
