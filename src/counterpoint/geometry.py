"""The pixel convention, and the maps between frames of pixels.

A point is (x, y), float, in pixels. Pixel *centres* lie at whole numbers; (0, 0) is the centre of
the top left pixel, so a picture W pixels wide covers x from -0.5 to W - 0.5. Resizing from width W
to width w takes x to ``(x + 0.5) * w / W - 0.5``. A feature cell is a pixel of the feature grid
under the same rule. No other module computes a coordinate change of its own.
"""

from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from counterpoint.errors import BadInput, PointError

SizeWH = tuple[int, int]
Points = Float[np.ndarray, "n 2"]


@dataclass(frozen=True)
class PixelTransform:
    """An axis-aligned affine map between two frames of pixels: ``u = scale * x + offset``.

    Attributes:
        scale_xy: pixels of the new frame per pixel of the old one, along x and y. Negative: flip.
        offset_xy: where the old frame's pixel (0, 0) lies in the new frame, in pixels.

    >>> half = PixelTransform.resize((100, 60), (50, 30))
    >>> half.apply([(0, 0), (99, 59)]).tolist()
    [[-0.25, -0.25], [49.25, 29.25]]
    >>> half.invert().apply(half.apply([(3, 5)])).tolist()
    [[3.0, 5.0]]
    """

    scale_xy: tuple[float, float] = (1.0, 1.0)
    offset_xy: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        numbers = np.asarray([self.scale_xy, self.offset_xy])
        if numbers.shape != (2, 2) or not np.isfinite(numbers).all() or 0 in self.scale_xy:
            raise BadInput(f"expected finite, non-zero scales in a PixelTransform, got {self}")

    @classmethod
    def resize(cls, from_wh: SizeWH, to_wh: SizeWH) -> "PixelTransform":
        """From a picture of size ``from_wh`` to the same picture resized to ``to_wh``."""
        if min(*from_wh, *to_wh) < 1:
            raise BadInput(f"expected sizes of at least 1 x 1, got {from_wh} and {to_wh}")
        sx, sy = to_wh[0] / from_wh[0], to_wh[1] / from_wh[1]
        return cls((sx, sy), (0.5 * sx - 0.5, 0.5 * sy - 0.5))

    @classmethod
    def pad(cls, left: int, top: int) -> "PixelTransform":
        """From a picture to the same with ``left`` columns and ``top`` rows added before it."""
        return cls(offset_xy=(float(left), float(top)))

    @classmethod
    def crop(cls, left: int, top: int) -> "PixelTransform":
        """From a picture to its part that begins at pixel (``left``, ``top``)."""
        return cls(offset_xy=(-float(left), -float(top)))

    @classmethod
    def flip_x(cls, width: int) -> "PixelTransform":
        """From a picture ``width`` pixels wide to its mirror image."""
        return cls((-1.0, 1.0), (float(width - 1), 0.0))

    def then(self, after: "PixelTransform") -> "PixelTransform":
        """Compose: this map first, ``after`` second."""
        (sx, sy), (ox, oy) = self.scale_xy, self.offset_xy
        (tx, ty), (px, py) = after.scale_xy, after.offset_xy
        return PixelTransform((sx * tx, sy * ty), (ox * tx + px, oy * ty + py))

    def invert(self) -> "PixelTransform":
        """The map back."""
        (sx, sy), (ox, oy) = self.scale_xy, self.offset_xy
        return PixelTransform((1 / sx, 1 / sy), (-ox / sx, -oy / sy))

    def apply(self, points: ArrayLike) -> Points:
        """Map points (N, 2) of the old frame to the new one, float64."""
        return as_points(points) * self.scale_xy + np.asarray(self.offset_xy)

    def matrix(self) -> Float[np.ndarray, "3 3"]:
        """The same map as a homography."""
        (sx, sy), (ox, oy) = self.scale_xy, self.offset_xy
        return np.array([[sx, 0, ox], [0, sy, oy], [0, 0, 1]], dtype=np.float64)


def as_points(points: ArrayLike) -> Points:
    """Points as a float64 array (N, 2); a single (x, y) becomes (1, 2).

    Raises:
        PointError: not pairs of finite numbers.
    """
    try:
        array = np.asarray(_plain(points), dtype=np.float64)
    except (TypeError, ValueError) as error:
        came = shorten(repr(points), 60)
        raise PointError(f"expected points as (x, y) pairs of numbers, got {came}") from error
    if array.shape == (0,):
        return array.reshape(0, 2)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 2:
        raise PointError(f"expected points as (x, y) pairs, got an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise PointError("expected finite points, got NaN or infinity")
    return array


def _plain(points: Any) -> Any:
    """Numbers as they are; a tensor cut from its graph; no text, though numpy would parse it."""
    if hasattr(points, "detach"):
        return points.detach().cpu().double()
    if np.asarray(points).dtype.kind in "USOc":
        raise TypeError("not real numbers")
    return points


def inside(points_px: ArrayLike, size_wh: SizeWH, *, slack_px: float = 0.0) -> NDArray[np.bool_]:
    """Which points (N, 2) lie on a picture of size ``size_wh``, edges of its pixels included.

    ``slack_px`` widens the picture on every side.
    """
    points = as_points(points_px)
    low, high = -0.5 - slack_px, np.asarray(size_wh) - 0.5 + slack_px
    within = (points >= low) & (points <= high)
    return np.logical_and(within[:, 0], within[:, 1])


def require_inside(points_px: ArrayLike, size_wh: SizeWH, what: str = "the picture") -> Points:
    """The points as an array, or a `PointError` that names the first one outside."""
    points = as_points(points_px)
    outside = ~inside(points, size_wh)
    if outside.any():
        x, y = points[int(np.argmax(outside))]
        w, h = size_wh
        raise PointError(
            f"expected points inside {what} (x 0 to {w - 1}, y 0 to {h - 1}), got ({x:g}, {y:g})"
        )
    return points


def grid_points(size_wh: SizeWH, count: int) -> Points:
    """About ``count`` points on a regular grid over a picture, at whole pixels, (N, 2).

    The grid's cells are as square as the count allows and every point is a cell's centre.
    """
    if count < 1:
        raise BadInput(f"expected a grid of at least 1 point, got {count}")
    w, h = size_wh
    columns = int(np.clip(round((count * w / h) ** 0.5), 1, w))
    rows = int(np.clip(round(count / columns), 1, h))
    x = np.round((np.arange(columns) + 0.5) * w / columns - 0.5)
    y = np.round((np.arange(rows) + 0.5) * h / rows - 0.5)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def apply_homography(homography: ArrayLike, points_px: ArrayLike) -> Points:
    """Points (N, 2) under a 3 x 3 homography; those sent to infinity come back as ``inf``."""
    points = as_points(points_px)
    matrix = np.asarray(homography, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        came = shorten(str(matrix.tolist()), 80)
        raise BadInput(f"expected a homography of 3 x 3 finite numbers, got {came}")
    ahead = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        mapped = ahead[:, :2] / ahead[:, 2:]
    mapped[ahead[:, 2] == 0] = np.inf
    return mapped


def picture_corners(size_wh: SizeWH) -> Points:
    """Centres of the four corner pixels, clockwise from the top left, (4, 2)."""
    w, h = size_wh
    return np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], dtype=np.float64)


def camera_matrix(focal_px: float, size_wh: SizeWH) -> Float[np.ndarray, "3 3"]:
    """Intrinsic matrix of a camera whose principal point is the picture's centre."""
    x, y = picture_corners(size_wh).mean(axis=0)
    return np.array([[focal_px, 0, x], [0, focal_px, y], [0, 0, 1]], dtype=np.float64)


def camera_rays(
    camera: Float[np.ndarray, "3 3"], points_px: ArrayLike
) -> Float[np.ndarray, "points 3"]:
    """Unit vectors from a camera's centre through points (N, 2) of its picture.

    >>> camera_rays(camera_matrix(4.0, (3, 3)), [(1, 1), (4, 1)]).tolist()
    [[0.0, 0.0, 1.0], [0.6, 0.0, 0.8]]
    """
    points = as_points(points_px)
    rays = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ np.linalg.inv(camera).T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def to_colmap(points_px: ArrayLike) -> Points:
    """To COLMAP's convention, where the centre of the top left pixel is (0.5, 0.5)."""
    return as_points(points_px) + 0.5


def from_colmap(points: ArrayLike) -> Points:
    """From COLMAP's convention to ours."""
    return as_points(points) - 0.5


_COLMAP_SHIFT = PixelTransform(offset_xy=(0.5, 0.5))


def homography_to_colmap(homography: ArrayLike) -> Float[np.ndarray, "3 3"]:
    """A homography between two pictures' pixels, for points in COLMAP's convention.

    >>> shift = [[1, 0, 3], [0, 1, 4], [0, 0, 1]]
    >>> homography_to_colmap(shift).tolist() == shift
    True
    """
    there, back = _COLMAP_SHIFT.matrix(), _COLMAP_SHIFT.invert().matrix()
    return there @ np.asarray(homography, dtype=np.float64) @ back


def fundamental_to_colmap(fundamental: ArrayLike) -> Float[np.ndarray, "3 3"]:
    """A fundamental matrix between two pictures' pixels, for points in COLMAP's convention."""
    back = _COLMAP_SHIFT.invert().matrix()
    return back.T @ np.asarray(fundamental, dtype=np.float64) @ back


Coordinates = Float[np.ndarray, "*_ 2"]
"""Points in any arrangement, NaN where there is none."""


def to_tapvid(points_px: Coordinates, size_wh: SizeWH) -> Coordinates:
    """To TAP-Vid's convention: shares of width and height from the picture's top left corner.

    >>> to_tapvid(np.array([[-0.5, 3.5]]), (8, 8)).tolist()
    [[0.0, 0.5]]
    """
    return (points_px + 0.5) / np.asarray(size_wh, dtype=np.float64)


def from_tapvid(points: Coordinates, size_wh: SizeWH) -> Coordinates:
    """From TAP-Vid's convention to ours, for a picture of ``size_wh``.

    >>> from_tapvid(np.array([[0.0, 0.5]]), (8, 8)).tolist()
    [[-0.5, 3.5]]
    """
    return points * np.asarray(size_wh, dtype=np.float64) - 0.5


def from_matlab(points: Coordinates) -> Coordinates:
    """From MATLAB's convention, where the centre of the top left pixel is (1, 1) (JHMDB's joints).

    >>> from_matlab(np.array([[1.0, 3.0]])).tolist()
    [[0.0, 2.0]]
    """
    return points - 1


def to_mot(boxes_px: Float[np.ndarray, "*_ 4"]) -> Float[np.ndarray, "*_ 4"]:
    """Boxes (x, y, w, h) to MOTChallenge's convention, where the top left pixel is (1, 1).

    >>> to_mot(np.array([[0.0, 4.0, 10.0, 20.0]])).tolist()
    [[1.0, 5.0, 10.0, 20.0]]
    """
    return boxes_px + np.array([1.0, 1.0, 0.0, 0.0])
