"""A COLMAP database (Schönberger and Frahm 2016), ready for mapping.

Cameras, images, key points, matches, and two-view geometries: the matches that a fundamental,
essential or homography matrix explains, with that matrix. In COLMAP the centre of the top left
pixel is (0.5, 0.5); points and matrices change convention in `geometry`. Written by ``pycolmap``,
so the schema is that of the version installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from counterpoint.errors import BadInput, MissingExtra
from counterpoint.files import atomic_path
from counterpoint.geometry import SizeWH, fundamental_to_colmap, homography_to_colmap, to_colmap
from counterpoint.tasks.scenes.homography import NoEstimate
from counterpoint.tasks.scenes.views import View, ViewPair

CameraMode = Literal["auto", "single", "per-image"]
"""As COLMAP's: "auto" gives pictures of one size and focal length one camera."""

FOCAL_FACTOR = 1.2
"""Focal length over the longer side where nothing is known; COLMAP's default."""

MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")


@dataclass(frozen=True, kw_only=True)
class SceneCamera:
    """What is known of a picture's camera.

    Attributes:
        size_wh: of the picture, upright, pixels.
        focal_px: focal length, pixels.
        known: whether that is known, by a person or EXIF, and not a guess.
    """

    size_wh: SizeWH
    focal_px: float
    known: bool

    @classmethod
    def guess(
        cls, size_wh: SizeWH, path: Path | None = None, focal_px: float | None = None
    ) -> "SceneCamera":
        """By the focal length given, else by EXIF as COLMAP reads it, else 1.2 longer sides."""
        if focal_px is not None:
            return cls(size_wh=size_wh, focal_px=focal_px, known=True)
        usual = FOCAL_FACTOR * max(size_wh)
        exif = _exif_focal(path) if path else None
        return cls(size_wh=size_wh, focal_px=exif or usual, known=exif is not None)


def write_database(
    path: str | Path,
    views: Sequence[View],
    pairs: Sequence[ViewPair],
    cameras: Sequence[SceneCamera],
    *,
    mode: CameraMode = "auto",
    model: str = "SIMPLE_RADIAL",
) -> Path:
    """Write the database, beside its name first; a file of that name is replaced.

    Args:
        path: the file.
        views: the pictures, in the order of their ids.
        pairs: their matches; without a two-view geometry where there is no matrix.
        cameras: one for each view.
        mode: which pictures share a camera.
        model: COLMAP's camera model.

    Raises:
        BadInput: another number of cameras, views of one name, pictures of several sizes with
            "single".
        MissingExtra: pycolmap is not installed.
        StorageError: the file cannot be written.
    """
    if len(cameras) != len(views):
        raise BadInput(f"expected a camera for each of {len(views)} views, got {len(cameras)}")
    if model not in MODELS:
        raise BadInput(f"expected a camera model of {', '.join(MODELS)}, got {model!r}")
    if len({view.name for view in views}) < len(views):
        raise BadInput("expected views of different names, got some twice")
    pycolmap = _pycolmap()
    numbers = _camera_numbers(cameras, mode)
    with atomic_path(path) as beside, pycolmap.Database.open(beside) as database:
        for number in dict.fromkeys(numbers):
            camera = cameras[numbers.index(number)]
            _write_camera(database, pycolmap, camera, model, number)
        ids = [
            _write_view(database, pycolmap, view, number)
            for view, number in zip(views, numbers, strict=True)
        ]
        for pair in pairs:
            _write_pair(database, pycolmap, pair, ids)
    return Path(path)


def _camera_numbers(cameras: Sequence[SceneCamera], mode: CameraMode) -> list[int]:
    """For each view its camera's number, from 1, one for those that share it."""
    sizes = {camera.size_wh for camera in cameras}
    if mode == "single":
        if len(sizes) > 1:
            raise BadInput(f"expected pictures of one size for one camera, got {sorted(sizes)}")
        return [1] * len(cameras)
    if mode == "per-image":
        return list(range(1, len(cameras) + 1))
    different = list(dict.fromkeys(cameras))
    return [different.index(camera) + 1 for camera in cameras]


def _write_camera(
    database: Any, pycolmap: Any, camera: SceneCamera, model: str, number: int
) -> None:
    made = pycolmap.Camera.create_from_model_name(number, model, camera.focal_px, *camera.size_wh)
    made.has_prior_focal_length = camera.known
    database.write_camera(made, use_camera_id=True)


def _write_view(database: Any, pycolmap: Any, view: View, camera: int) -> int:
    image = database.write_image(pycolmap.Image(name=view.name, camera_id=camera))
    database.write_keypoints(image, to_colmap(view.points_px).astype(np.float32))
    return int(image)


def _write_pair(database: Any, pycolmap: Any, pair: ViewPair, ids: Sequence[int]) -> None:
    first, second = ids[pair.first], ids[pair.second]
    database.write_matches(first, second, pair.matches.astype(np.uint32))
    if not isinstance(pair.found, NoEstimate):
        geometry = _geometry(pycolmap, pair)
        database.write_two_view_geometry(first, second, geometry)


def _geometry(pycolmap: Any, pair: ViewPair) -> Any:
    """A pair's matrix and inliers; COLMAP finds the pose itself."""
    assert not isinstance(pair.found, NoEstimate)
    kinds = pycolmap.TwoViewGeometryConfiguration
    geometry = pycolmap.TwoViewGeometry()
    geometry.inlier_matches = pair.inliers.astype(np.uint32)
    matrix = pair.found.matrix
    if pair.found.relation == "homography":
        geometry.config = kinds.PLANAR_OR_PANORAMIC
        geometry.H = homography_to_colmap(matrix)
    elif pair.found.relation == "fundamental":
        geometry.config = kinds.UNCALIBRATED
        geometry.F = fundamental_to_colmap(matrix)
    else:
        geometry.config = kinds.CALIBRATED
        geometry.E = matrix  # of rays: no pixels in it
    return geometry


def _exif_focal(path: Path) -> float | None:
    """Focal length in pixels by a picture's EXIF, as COLMAP reads it; None where it says none."""
    pycolmap = _pycolmap()
    try:
        camera = pycolmap.infer_camera_from_image(path)
    except (ValueError, RuntimeError, OSError):  # a kind of picture that COLMAP does not read
        return None
    return float(camera.mean_focal_length()) if camera.has_prior_focal_length else None


def _pycolmap() -> Any:
    try:
        import pycolmap
    except ImportError as error:
        raise MissingExtra("colmap", "COLMAP databases") from error
    return pycolmap
