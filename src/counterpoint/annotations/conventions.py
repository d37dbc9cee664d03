"""Other tools' coordinates and this project's, whose pixel centres lie at whole numbers.

- COCO's key points are pixels counted from 0, so they name pixel centres: the same as ours.
- COCO's polygons and boxes, and all of CVAT's coordinates, measure from the picture's upper left
  corner, where the first pixel spans 0 to 1: our coordinate plus a half.
- Label Studio's are the same in per cent of the picture's width and height.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from counterpoint.geometry import (
    PixelTransform,
    Points,
    SizeWH,
    as_points,
    from_colmap,
    to_colmap,
)

Percent = Float[np.ndarray, "n 2"]
_HUNDRED = (100, 100)


def coco_keypoints_to_pixels(points: ArrayLike) -> Points:
    """COCO's key points, which are ours already: a checked copy."""
    return as_points(points).copy()


def edges_to_pixels(points: ArrayLike) -> Points:
    """From coordinates measured from the picture's corner (COCO's polygons, CVAT) to ours."""
    return from_colmap(points)


def pixels_to_edges(points_px: ArrayLike) -> Points:
    """From ours to coordinates measured from the picture's corner."""
    return to_colmap(points_px)


def percent_to_pixels(points: ArrayLike, size_wh: SizeWH) -> Points:
    """From Label Studio's per cent of a picture of ``size_wh`` to our pixels.

    >>> percent_to_pixels([(50, 50)], (9, 5)).tolist()
    [[4.0, 2.0]]
    """
    return PixelTransform.resize(_HUNDRED, size_wh).apply(edges_to_pixels(points))


def pixels_to_percent(points_px: ArrayLike, size_wh: SizeWH) -> Percent:
    """From our pixels to Label Studio's per cent."""
    return pixels_to_edges(PixelTransform.resize(size_wh, _HUNDRED).apply(points_px))
