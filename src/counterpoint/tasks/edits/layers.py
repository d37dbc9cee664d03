"""A piece of picture with transparency, and how it is laid over another picture.

An `Edit` lies over its source picture; `render` draws it at a target's full resolution under a
warp; what comes out, an `Overlay`, is blended by `Original.with_overlay` or `blend`.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from counterpoint.errors import BadInput
from counterpoint.geometry import PixelTransform, Points, SizeWH, apply_homography
from counterpoint.tasks.edits.warps import Warp
from counterpoint.tasks.scenes.homography import Matrix

Alpha = Float[np.ndarray, "rows columns"]

_FINE = 2
"""Samples a pixel takes along each side where a layer shrinks: small print does not flicker. Where
it does not, one does: pixels that fall on pixels stay as they are."""

_TILE = 512
"""Pixels to a side that are drawn at once: memory stays small whatever the target's size."""

_COARSE_PX = 8
"""A thin plate is inverted at every so many pixels of the target, between them interpolated."""

_RIM = 2
"""Transparent pixels around a layer, so that its border is as smooth as its inner edges."""


@dataclass(frozen=True, eq=False)
class Edit:
    """What was added to a source picture.

    Attributes:
        rgba: (rows, columns, 4), uint8, colours not multiplied by alpha, in a resolution of its
            own.
        to_source: (3, 3), affine, from its pixels to those of the source picture.
        source_wh: width and height of the source picture, pixels.
        islands: (rows, columns), which island each pixel belongs to, 1 to n; 0: none.

    Raises:
        BadInput: wholly transparent, or wholly outside the source picture.
    """

    rgba: UInt8[np.ndarray, "rows columns 4"]
    to_source: Matrix
    source_wh: SizeWH
    islands: Int[np.ndarray, "rows columns"]

    def __post_init__(self) -> None:
        if not (self.rgba[..., 3] > 0).any():
            raise BadInput("expected an edit with visible pixels, got a wholly transparent one")
        if not (self.coverage.alpha > 0).any():
            low, high = np.round([self.outline_px.min(axis=0), self.outline_px.max(axis=0)])
            w, h = self.source_wh
            raise BadInput(
                f"expected an edit on the source picture ({w} x {h}), got one that covers x "
                f"{low[0]:g} to {high[0]:g}, y {low[1]:g} to {high[1]:g}"
            )

    @property
    def island_count(self) -> int:
        """How many islands there are."""
        return int(self.islands.max())

    @cached_property
    def coverage(self) -> "Overlay":
        """The edit over its own source picture."""
        return render(self, Warp("similarity", np.eye(3)), self.source_wh)

    @property
    def outline_px(self) -> Points:
        """The corners of its visible part, pixels of the source picture, (4, 2)."""
        y, x = np.nonzero(self.rgba[..., 3])
        left, top, right, bottom = x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        return apply_homography(self.to_source, corners)

    def only(self, islands: tuple[int, ...]) -> "Edit":
        """The edit with some of its islands alone."""
        if set(islands) >= set(range(1, self.island_count + 1)):
            return self
        if islands not in self._parts:
            chosen = np.isin(self.islands, islands)
            rgba = self.rgba.copy()
            rgba[~chosen, 3] = 0
            part = replace(self, rgba=rgba, islands=np.where(chosen, self.islands, 0))
            self._parts[islands] = part
        return self._parts[islands]

    @cached_property
    def _parts(self) -> "dict[tuple[int, ...], Edit]":
        """What `only` has made: every frame of a video asks for it."""
        return {}

    def island_at(self, points_px: Points) -> Int[np.ndarray, " n"]:
        """Which island lies at source points (N, 2), or nearest within the layer."""
        x, y = np.round(apply_homography(np.linalg.inv(self.to_source), points_px)).T.astype(int)
        rows, columns = self.islands.shape
        return self.islands[y.clip(0, rows - 1), x.clip(0, columns - 1)]

    def faded(self, opacity: float | int) -> "Edit":
        """The edit with its alpha times an opacity, 0 to 1."""
        if not 0 < opacity <= 1:
            raise BadInput(f"expected an opacity above 0 and up to 1, got {opacity:g}")
        rgba = self.rgba.copy()
        rgba[..., 3] = np.round(rgba[..., 3] * opacity)
        return replace(self, rgba=rgba)

    def feathered(self, width_px: float | int) -> "Edit":
        """The edit with edges that fade inwards over a width in pixels of the source picture."""
        if not width_px >= 0:
            raise BadInput(f"expected a feather of at least 0 px, got {width_px:g}")
        width = width_px / float(abs(np.linalg.det(self.to_source[:2, :2])) ** 0.5)
        if width == 0:
            return self
        inside = np.pad(self.rgba[..., 3] > 0, 1).astype(np.uint8)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
        fade = _smooth_step(np.clip(depth / (width + 1), 0, 1))
        rgba = self.rgba.copy()
        rgba[..., 3] = np.round(rgba[..., 3] * fade)
        return self if not rgba[..., 3].any() else replace(self, rgba=rgba)


@dataclass(frozen=True, eq=False)
class Kept:
    """How far each place of an edit is to be drawn: 1 in full, 0 not at all.

    Attributes:
        share: (rows, columns), 0 to 1, on a coarse grid.
        to_cells: from the source picture's pixels to that grid.
    """

    share: Float[np.ndarray, "rows columns"]
    to_cells: PixelTransform

    def at(self, points_px: Points) -> Float[np.ndarray, " n"]:
        """The share at source points (N, 2), bilinear."""
        x, y = self.to_cells.apply(points_px).T.astype(np.float32)
        values = np.ascontiguousarray(self.share, dtype=np.float32)
        border = cv2.BORDER_REPLICATE
        # OpenCV takes no array of more than 32767 columns.
        sampled = [
            cv2.remap(values, x[some, None], y[some, None], cv2.INTER_LINEAR, borderMode=border)
            for some in np.array_split(np.arange(len(x)), len(x) // 30000 + 1)
        ]
        return np.concatenate(sampled).ravel().astype(np.float64)


@dataclass(frozen=True, eq=False)
class Overlay:
    """What is to be laid over a part of a picture.

    Attributes:
        left: first column of the part.
        top: first row.
        colour: (rows, columns, 3), 0 to 1, already multiplied by alpha.
        alpha: (rows, columns), 0 to 1.
    """

    left: int
    top: int
    colour: Float[np.ndarray, "rows columns 3"]
    alpha: Alpha

    @property
    def part(self) -> tuple[slice, slice]:
        """Rows and columns of the part."""
        rows, columns = self.alpha.shape
        return slice(self.top, self.top + rows), slice(self.left, self.left + columns)

    def full(self, size_wh: SizeWH) -> Alpha:
        """Alpha over a whole picture."""
        whole = np.zeros((size_wh[1], size_wh[0]), np.float32)
        whole[self.part] = self.alpha
        return whole

    def relit(self, gains: Float[np.ndarray, "3"]) -> "Overlay":
        """With each colour multiplied by a factor."""
        lit = np.minimum(self.colour * gains.astype(np.float32), self.alpha[..., None])
        return replace(self, colour=lit)


def blend(rgb: UInt8[np.ndarray, "rows columns 3"], overlay: Overlay) -> np.ndarray:
    """A copy of a picture with an overlay blended in, (rows, columns, 3), uint8."""
    mixed = rgb.copy()
    under = mixed[overlay.part].astype(np.float32)
    over = overlay.colour * 255 + under * (1 - overlay.alpha[..., None])
    # Where nothing lies on top not a single bit may change.
    mixed[overlay.part] = np.where(overlay.alpha[..., None] > 0, np.round(over), under)
    return mixed


def render(edit: Edit, warp: Warp, target_wh: SizeWH, kept: Kept | None = None) -> Overlay:
    """An edit as it appears in a target picture.

    Args:
        edit: over its source picture.
        warp: from the source's pixels to the target's.
        target_wh: of the target picture, pixels.
        kept: which part of it is drawn; by default all.

    Returns:
        An overlay at the target's resolution, of the part that it touches; empty (0 x 0) where the
        edit lies outside. What lies behind a homography's horizon is left out.
    """
    left, top, right, bottom = _box(edit, warp, target_wh)
    if right <= left or bottom <= top:
        nothing = np.zeros((0, 0), np.float32)
        return Overlay(0, 0, np.zeros((0, 0, 3), np.float32), nothing)
    layer, to_layer, fine = _prepared(edit, warp)
    whole = np.zeros((bottom - top, right - left, 4), np.float32)
    for y in range(top, bottom, _TILE):
        for x in range(left, right, _TILE):
            tile = (x, y, min(x + _TILE, right), min(y + _TILE, bottom))
            drawn = _tile(layer, to_layer, edit, warp, tile, fine, kept)
            whole[y - top : tile[3] - top, x - left : tile[2] - left] = drawn
    return Overlay(left, top, whole[..., :3], whole[..., 3])


def _box(edit: Edit, warp: Warp, target_wh: SizeWH) -> tuple[int, int, int, int]:
    """Columns and rows of the target that the edit may touch: left, top, right, bottom."""
    corners = edit.outline_px
    steps = np.linspace(0, 1, 33)[:, None]
    inner = [a + (b - a) * steps for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    rim = np.concatenate(inner)
    if warp.bend is not None:  # the middle of a plate may bulge beyond its rim
        u, v = np.meshgrid(steps, steps)
        a, b, _, d = corners
        rim = np.concatenate([rim, a + u.reshape(-1, 1) * (b - a) + v.reshape(-1, 1) * (d - a)])
    ends = warp.apply(rim[_before(warp, rim, edit)])
    ends = ends[np.isfinite(ends).all(axis=1)]
    if not len(ends):
        return 0, 0, 0, 0
    margin = 2 if warp.bend is None else 2 + _COARSE_PX
    low = np.floor(ends.min(axis=0)) - margin
    high = np.ceil(ends.max(axis=0)) + 1 + margin
    (x0, y0), (x1, y1) = (np.clip(end, 0, target_wh).astype(int).tolist() for end in (low, high))
    return x0, y0, x1, y1


def _prepared(edit: Edit, warp: Warp) -> tuple[np.ndarray, Matrix, int]:
    """The layer, premultiplied, 0 to 1, no finer than the target needs; source to its pixels; and
    the samples that a target pixel takes to a side.

    Where the target has fewer pixels than the layer, those that fall together are averaged.
    """
    rgba = edit.rgba.astype(np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]
    to_layer = np.linalg.inv(edit.to_source)
    centre = edit.outline_px.mean(axis=0, keepdims=True)
    per_px = np.linalg.svd(warp.jacobians(centre)[0] @ edit.to_source[:2, :2], compute_uv=False)
    fine = 1 if per_px.min() > 0.99 else _FINE
    shrink = 1 / max(float(per_px.max()) * fine, 1e-6)
    if shrink > 1.02:
        rows, columns = rgba.shape[:2]
        size = max(1, round(columns / shrink)), max(1, round(rows / shrink))
        rgba = cv2.resize(rgba, size, interpolation=cv2.INTER_AREA)
        to_layer = PixelTransform.resize((columns, rows), size).matrix() @ to_layer
    padded = np.pad(rgba, ((_RIM, _RIM), (_RIM, _RIM), (0, 0)))
    return padded, PixelTransform.pad(_RIM, _RIM).matrix() @ to_layer, fine


def _tile(
    layer: np.ndarray,
    to_layer: Matrix,
    edit: Edit,
    warp: Warp,
    box: tuple[int, int, int, int],
    fine: int,
    kept: Kept | None,
) -> np.ndarray:
    """A part of an overlay, (rows, columns, 4), premultiplied."""
    left, top, right, bottom = box
    size = (right - left) * fine, (bottom - top) * fine
    source = _source_points(warp, box, fine)
    places = apply_homography(to_layer, np.nan_to_num(source, nan=-1e6, posinf=-1e6, neginf=-1e6))
    behind = ~_before(warp, source, edit)
    places[behind] = -1e6
    maps = places.clip(-1e6, 1e6).astype(np.float32).reshape(size[1], size[0], 2)
    drawn = cv2.remap(layer, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)
    if kept is not None:
        share = kept.at(np.nan_to_num(source).clip(-1e6, 1e6)).reshape(size[1], size[0], 1)
        drawn *= share.astype(np.float32)
    return cv2.resize(drawn, (right - left, bottom - top), interpolation=cv2.INTER_AREA)


def _before(warp: Warp, source: Points, edit: Edit) -> np.ndarray:
    """Which source points lie on the edit's side of the horizon."""
    [here] = warp.depths(edit.outline_px.mean(axis=0, keepdims=True))
    with np.errstate(invalid="ignore"):
        return warp.depths(source) * here > 0


def _source_points(warp: Warp, box: tuple[int, int, int, int], fine: int) -> Points:
    """Where the samples of a part of the target lie in the source, (rows * columns, 2)."""
    left, top, right, bottom = box
    size = (right - left) * fine, (bottom - top) * fine
    to_fine = PixelTransform.resize((right - left, bottom - top), size)
    if warp.bend is None:
        samples = to_fine.invert().apply(_lattice(*size))
        return warp.invert(samples + np.array([left, top]))
    columns, rows = (-(-side // _COARSE_PX) + 1 for side in (right - left, bottom - top))
    coarse = warp.invert(_lattice(columns, rows) * _COARSE_PX + np.array([left, top]))
    field = coarse.reshape(rows, columns, 2).astype(np.float32)
    at = to_fine.invert().apply(_lattice(*size)) / _COARSE_PX
    maps = at.astype(np.float32).reshape(size[1], size[0], 2)
    border = cv2.BORDER_REPLICATE
    inner = cv2.remap(field, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=border)
    return inner.reshape(-1, 2).astype(np.float64)


def _lattice(columns: int, rows: int) -> Points:
    grid = np.meshgrid(np.arange(columns, dtype=float), np.arange(rows, dtype=float))
    return np.stack(grid, axis=-1).reshape(-1, 2)


def _smooth_step(share: np.ndarray) -> np.ndarray:
    return share * share * (3 - 2 * share)
