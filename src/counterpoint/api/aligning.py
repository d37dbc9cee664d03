"""`align`: the matrix between two views of one scene, in one call."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from counterpoint.api.extracting import opened
from counterpoint.backbones.base import Backbone
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import SizeWH, camera_matrix, require_inside
from counterpoint.images import ImageLike, Picture, load_picture
from counterpoint.matching import Matches, Metric, mutual_matches
from counterpoint.plots import draw_matches
from counterpoint.tasks.scenes.homography import (
    Estimate,
    Matrix,
    NoEstimate,
    Robust,
    overlay,
)
from counterpoint.tasks.scenes.local_features import (
    MAX_KEYPOINTS,
    Detector,
    detect,
    geometric_options,
)
from counterpoint.tasks.scenes.views import AnyRelation, relate

DRAWN = 120
"""Matches in the picture of the inliers, at most."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """Two views of one scene, and the matrix that ties them.

    Attributes:
        source: the picture that the matrix leads from.
        target: the one it leads to.
        matches: mutual nearest neighbours.
        found: the matrix and which matches it explains, or why there is none.
    """

    source: Picture
    target: Picture
    matches: Matches
    found: Estimate | NoEstimate

    @property
    def matrix(self) -> Matrix | None:
        """(3, 3), source to target pixels (essential: rays); None where there is none."""
        return None if isinstance(self.found, NoEstimate) else self.found.matrix

    @property
    def reason(self) -> str:
        """Why there is no matrix; "" where there is one."""
        return self.found.reason if isinstance(self.found, NoEstimate) else ""

    @property
    def inliers(self) -> Matches:
        """The matches that the matrix explains; none where there is no matrix."""
        none: Bool[np.ndarray, " n"] = np.zeros(len(self.matches), dtype=bool)
        return self.matches.select(getattr(self.found, "inliers", none))

    def warped(self) -> Picture:
        """The source as the target's camera would see it, white where it shows nothing.

        Raises:
            BadInput: there is no homography.
        """
        white = (255, 255, 255)
        rgb = cv2.warpPerspective(
            np.ascontiguousarray(self.source.rgb),
            self._homography(),
            self.target.size_wh,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=white,
        )
        return Picture(np.asarray(rgb, dtype=np.uint8), f"{self.source.name}, warped")

    def overlay(self) -> Picture:
        """The source, warped, half transparent over the target.

        Raises:
            BadInput: there is no homography.
        """
        return overlay(self.source, self.target, self._homography())

    def draw(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """Both pictures beside each other, with at most 120 of the matches that agree."""
        return draw_matches(self.source, self.target, self.inliers.thinned(DRAWN))

    def _homography(self) -> Matrix:
        if isinstance(self.found, Estimate) and self.found.relation == "homography":
            return self.found.matrix
        came = self.reason or f"{self.found.relation}, which ties points to lines"
        raise BadInput(f"expected a homography to warp by, got none: {came}")


def align(
    source: ImageLike,
    target: ImageLike,
    model: str | Backbone = "small",
    *,
    relation: AnyRelation = "homography",
    keypoints: Detector | tuple[Any, Any] = "sift",
    count: int = MAX_KEYPOINTS,
    metric: Metric = "cosine",
    robust: Robust | None = None,
    focal_px: float | int | tuple[float | int, float | int] | None = None,
    features: tuple[FeatureMap, FeatureMap] | None = None,
    **options: Any,
) -> Aligned:
    """The matrix that takes one view to another, or the reason why there is none.

    What `counterpoint align` does: key points, features there, mutual nearest neighbours, a robust
    fit, refused where chance would give as much agreement.

    Args:
        source: a picture of any kind.
        target: another view of the same scene.
        model: a loaded model, or its name.
        relation: "homography" (a plane, or a camera that only turns), "fundamental" (any scene),
            "essential" (with ``focal_px``), "auto".
        keypoints: "sift", "orb"; "grid", whose points are sought among all pixels of the target;
            or points (N, 2) of the source and (M, 2) of the target.
        count: key points of a picture, at most.
        metric: of the features.
        robust: how the matrix is found; by default MAGSAC++ within 3 pixels.
        focal_px: focal length of both cameras, or of each, pixels; their centres are taken for the
            principal points.
        features: of both pictures, stored ones for example: no model is run.
        options: as in `Options`; where they are silent, what suits geometry.

    Raises:
        ImageError: a picture that cannot be read.
        UnknownName: an unknown model, option, detector or relation.
        BadInput: features of other pictures, "essential" without a focal length.

    >>> from skimage.data import chelsea
    >>> cat = chelsea()
    >>> found = align(cat[:220, :300], cat[:220, 20:320], "sift")
    >>> np.abs(found.matrix - [[1, 0, -20], [0, 1, 0], [0, 0, 1]]).max() < 0.1
    np.True_
    """
    pictures = load_picture(source), load_picture(target)
    cameras = _cameras(focal_px, relation, pictures)
    first, second = _points(pictures, keypoints, count)
    if features is None:
        backbone, chosen = opened(model, options)
        maps = backbone.extract(list(pictures), geometric_options(backbone.spec, chosen))
    else:
        maps = list(features)
        for picture, fmap in zip(pictures, maps, strict=True):
            _require_of(fmap, picture)
    matches = mutual_matches(maps[0], maps[1], first, second, metric=metric)
    ends = matches.source_px, matches.target_px
    found = relate(*ends, pictures[1].size_wh, relation, robust, cameras=cameras)
    return Aligned(*pictures, matches, found)


def _points(
    pictures: tuple[Picture, Picture], keypoints: Detector | tuple[Any, Any], count: int
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "m 2"] | None]:
    """Where features are compared; None: at every pixel of the target."""
    if not isinstance(keypoints, str):
        source, target = keypoints
        return (
            require_inside(source, pictures[0].size_wh, "the source picture"),
            require_inside(target, pictures[1].size_wh, "the target picture"),
        )
    first = detect(pictures[0], keypoints, count)
    # Two grids would agree best on no motion at all; every pixel of the target may answer.
    return first, None if keypoints == "grid" else detect(pictures[1], keypoints, count)


def _cameras(
    focal_px: float | int | tuple[float | int, float | int] | None,
    relation: AnyRelation,
    pictures: tuple[Picture, Picture],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 3"]] | None:
    if focal_px is None:
        if relation == "essential":
            raise BadInput("expected focal_px, in pixels, for an essential matrix, got none")
        return None
    first, second = focal_px if isinstance(focal_px, tuple) else (focal_px, focal_px)
    if not min(first, second) > 0:
        raise BadInput(f"expected focal lengths above 0 pixels, got {first:g} and {second:g}")
    sizes: tuple[SizeWH, SizeWH] = pictures[0].size_wh, pictures[1].size_wh
    return camera_matrix(float(first), sizes[0]), camera_matrix(float(second), sizes[1])


def _require_of(fmap: FeatureMap, picture: Picture) -> None:
    """See that a map is of a picture, by its pixels where it says of which.

    Raises:
        BadInput: it is of another.
    """
    known = fmap.provenance.picture_sha256
    if fmap.image_size_wh != picture.size_wh or (known and known != picture.content_hash):
        raise BadInput(f"expected features of {picture.name}, got those of another picture")
