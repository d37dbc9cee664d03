"""Key points of a picture, and what a feature map says of each."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from counterpoint.backbones.keypoints import KeyPointNetwork, KeyPoints
from counterpoint.backbones.spec import Family, ModelSpec
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import (
    PixelTransform,
    Points,
    as_points,
    grid_points,
    inside,
    require_inside,
)
from counterpoint.images import Picture
from counterpoint.matching.find import require_known
from counterpoint.options import Options

Detector = Literal["sift", "orb", "grid"]
Sampling = Literal["exact", "dift"]

MAX_KEYPOINTS = 1000

GEOMETRIC: Mapping[Family, Mapping[str, Any]] = {
    "stable-diffusion": {"t": 0, "tap": "up:2", "ensemble": 8, "prompt": ""},
    "adm": {"t": 41, "tap": "out:11", "ensemble": 4, "size": 768},
    "small": {"t": 20, "tap": "up:1", "fit": "keep"},
    "rgb": {"fit": "keep"},
    "sift": {"fit": "keep"},
}
"""Settings for geometry, by family: the paper's for Stable Diffusion and ADM; for the embedded
model the ones its model card gives, chosen on the stereo pair of protocol `motorcycle-grid`."""


def geometric_options(spec: ModelSpec, options: Options) -> Options:
    """The options, and where they are silent what suits geometry; other families keep their own."""
    usual = dict(GEOMETRIC.get(spec.family, {}))
    if options.size is not None or options.fit is not None:
        usual = {name: value for name, value in usual.items() if name not in ("size", "fit")}
    return options.but(**{k: v for k, v in usual.items() if getattr(options, k) is None})


def detect(
    picture: Picture, detector: Detector | KeyPointNetwork, count: int = MAX_KEYPOINTS
) -> Points:
    """Key points (N, 2) of a picture, at most ``count``, strongest first; of a grid row by row.

    Args:
        picture: where to look.
        detector: OpenCV's "sift" (Lowe 2004) or "orb" (Rublee et al. 2011, whose coarse levels
            are up to a pixel off); "grid": about ``count`` points at even distances; or a network,
            from `counterpoint.backbones.detectors.load_detector`.
        count: how many.

    Raises:
        UnknownName: no such detector.
        BadInput: a count below 1.
    """
    return detect_scored(picture, detector, count).points_px


def detect_scored(
    picture: Picture, detector: Detector | KeyPointNetwork, count: int = MAX_KEYPOINTS
) -> KeyPoints:
    """As `detect`, with the detector's responses; 1 for the points of a grid."""
    if isinstance(detector, KeyPointNetwork):
        return detector.detect(picture, count)
    require_known("detector", detector, get_args(Detector))
    if count < 1:
        raise BadInput(f"expected at least 1 key point, got {count}")
    if detector == "grid":
        points = grid_points(picture.size_wh, count)[:count]
        return KeyPoints(points, np.ones(len(points)))
    grey = cv2.cvtColor(np.ascontiguousarray(picture.rgb), cv2.COLOR_RGB2GRAY)
    if detector == "sift":
        # Without precise upscaling OpenCV's points are off by a quarter of a pixel.
        found = cv2.SIFT.create(enable_precise_upscale=True).detect(grey)
    else:
        found = cv2.ORB.create(nfeatures=count).detect(grey)
    responses: dict[Any, float] = {}
    for spot in sorted(found, key=lambda spot: -spot.response):
        responses.setdefault(spot.pt, spot.response)  # SIFT: once for each orientation
    places, scores = as_points(list(responses)), np.array(list(responses.values()), np.float64)
    kept = inside(places, picture.size_wh)
    return KeyPoints(places[kept][:count], scores[kept][:count])


def descriptors(
    fmap: FeatureMap, points_px: ArrayLike, sampling: Sampling = "exact"
) -> Float[Tensor, "points channels"]:
    """Features at key points (N, 2) of the picture, bilinear, (N, channels), not normalised.

    Args:
        fmap: of the picture.
        points_px: pixels of the picture.
        sampling: "exact" is this project's pixel convention. "dift" is what DIFT's evaluation
            does: coordinates scaled by (w - 1) / 2, as for align_corners=True, but read with
            align_corners=False, zeros beyond the grid. It shifts points by up to half a cell.

    Raises:
        PointError: a point outside the picture.
        BadInput: "dift" of a map whose input was padded: the original only squashes.
    """
    require_known("sampling", sampling, get_args(Sampling))
    points = require_inside(points_px, fmap.image_size_wh)
    if sampling == "exact":
        return fmap.sample(points)
    width, height = fmap.image_size_wh
    squash = PixelTransform.resize(fmap.image_size_wh, fmap.input_wh)
    assert fmap.to_input is not None
    if not np.allclose(fmap.to_input.matrix(), squash.matrix()) or min(width, height) < 2:
        raise BadInput(
            "expected the features of a squashed picture for sampling 'dift', got a padded or "
            "cropped one; use --fit squash, or sampling 'exact'"
        )
    to_unit = PixelTransform((2 / (width - 1), 2 / (height - 1)), (-1.0, -1.0))
    places = torch.from_numpy(to_unit.apply(points)).to(fmap.values)
    sampled = F.grid_sample(fmap.values[None], places[None, None], align_corners=False)
    return sampled[0, :, 0].T
