"""Where edits come from: a sticker set on a picture, or an edited copy of it."""

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from counterpoint.errors import BadInput
from counterpoint.geometry import PixelTransform, SizeWH
from counterpoint.images import Picture
from counterpoint.matching.find import require_known
from counterpoint.tasks.edits.layers import Edit

Anchor = Literal["centre", "corner"]

_KINDS = 24
"""Kinds of texture between which the noise of two copies may differ."""

_SEED, _GROW = 14.0, 6.0
"""Levels of 0 to 255 by which an edit differs at its clearest place, and everywhere."""

_OVER_NOISE = 8.0
"""How many times the usual difference of its texture an edit's clearest place must reach."""

_LOUDEST = 5.0
"""Usual difference of a texture, in levels, up to which it may be noise."""

_SMOOTH_PX = 1.2
"""Blur under which compression noise goes and edits stay."""

_RIM_PX = 4
"""Width in which an edit's rim may be mixed with its ground."""

_REACHES_PX = (_RIM_PX, 16)
"""How far around a pixel its change is compared with the strongest one."""

_FAINT = 0.15
"""Share of an edit in a pixel of its rim below which there is none."""

_HOLE = 0.02
"""Holes up to this share of an edit are part of it."""

_MOST = 0.9
"""Share of a picture up to which a difference is taken for an edit."""


@dataclass(frozen=True, kw_only=True)
class Placing:
    """How a sticker lies on a picture.

    Attributes:
        anchor: what of it lies at the place given: its centre, or its top left pixel.
        width_px: of the sticker on the picture, pixels; None: see ``scale``.
        scale: pixels of the picture per pixel of the sticker; None: 1.
        rotate: degrees, clockwise as seen, about the anchor.
    """

    anchor: Anchor = "centre"
    width_px: float | int | None = None
    scale: float | int | None = None
    rotate: float | int = 0.0

    def __post_init__(self) -> None:
        require_known("anchor", self.anchor, get_args(Anchor))
        if self.width_px is not None and self.scale is not None:
            raise BadInput("expected a sticker's width or its scale, got both")
        for name, size in (("width", self.width_px), ("scale", self.scale)):
            if size is not None and not 0 < size < 1e5:
                raise BadInput(f"expected a sticker's {name} above 0, got {size:g}")
        if not np.isfinite(self.rotate):
            raise BadInput(f"expected degrees to rotate by, got {self.rotate:g}")

    def matrix(self, sticker_wh: SizeWH, at_px: tuple[float | int, float | int]) -> np.ndarray:
        """From the sticker's pixels to those of the picture, (3, 3)."""
        scale = self.scale or 1.0
        if self.width_px is not None:
            scale = self.width_px / sticker_wh[0]
        turn = np.deg2rad(self.rotate)
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        # Scaled, a corner pixel's outer edge stays where it was, not its centre.
        middle = (np.asarray(sticker_wh) - 1) / 2 if self.anchor == "centre" else (-0.5, -0.5)
        ends = np.asarray(at_px) - (0.0 if self.anchor == "centre" else 0.5)
        linear = np.array([[cos, -sin], [sin, cos]])
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = linear, ends - linear @ middle
        return matrix


_AS_IT_IS = Placing()


def sticker_edit(
    sticker: UInt8[np.ndarray, "rows columns 4"],
    source_wh: SizeWH,
    at_px: tuple[float | int, float | int],
    placing: Placing = _AS_IT_IS,
) -> Edit:
    """A sticker on a picture.

    Args:
        sticker: (rows, columns, 4), uint8, as `edits.originals.load_rgba` reads it; it is
            carried in this resolution whatever its size on the source.
        source_wh: of the source picture, pixels.
        at_px: where it lies, (x, y), pixels of the source; it may reach beyond the picture.
        placing: its size, rotation and anchor.

    Raises:
        BadInput: a wholly transparent sticker, or one that does not touch the picture.

    >>> red = np.full((10, 20, 4), 255, np.uint8)
    >>> edit = sticker_edit(red, (100, 80), (30, 40), Placing(width_px=40))
    >>> edit.outline_px.round(2).tolist()[0], round(float(edit.coverage.alpha.sum()))
    ([10.0, 30.0], 800)
    """
    if not np.isfinite(at_px).all():
        raise BadInput(f"expected a place as finite x and y, got {at_px}")
    visible = sticker[..., 3] > 0
    matrix = placing.matrix((sticker.shape[1], sticker.shape[0]), at_px)
    return Edit(sticker, matrix, source_wh, visible.astype(np.int64))


def difference_edit(
    source: Picture,
    edited: Picture,
    mask: Bool[np.ndarray, "rows columns"] | None = None,
    *,
    join_share: float | int = 0.02,
    smallest_share: float | int = 2e-4,
) -> Edit:
    """What was changed in an edited copy of a picture.

    Args:
        source: the picture as it was.
        edited: the copy, of the same size.
        mask: where the edit lies, (rows, columns); by default it is found as the difference, noise
            of compression apart.
        join_share: changed places nearer than this share of the picture's diagonal are one island.
        smallest_share: islands smaller than this share of the picture are taken for noise.

    Raises:
        BadInput: pictures or a mask of different sizes; no difference; an empty mask; a difference
            nearly everywhere, which is no edit of a part.
    """
    if source.size_wh != edited.size_wh:
        raise BadInput(
            "expected an edited copy of the source's size, {} x {}, got {} x {}; "
            "resize it, or crop it as the source".format(*source.size_wh, *edited.size_wh)
        )
    if mask is None:
        rgba = _cut_out(source, edited, _changed(source, edited, smallest_share))
    else:
        alpha = _given(mask, source)[..., None].astype(np.uint8) * 255
        rgba = np.concatenate([edited.rgb, alpha], axis=2)
    visible = rgba[..., 3] > 0
    diagonal = float(np.hypot(*source.size_wh))
    islands = _islands(visible, max(1, round(join_share * diagonal / 2)))
    y, x = np.nonzero(visible)
    rows, columns = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
    place = PixelTransform.pad(int(x.min()), int(y.min())).matrix()
    return Edit(rgba[rows, columns], place, source.size_wh, islands[rows, columns])


def _given(mask: Bool[np.ndarray, "rows columns"], source: Picture) -> np.ndarray:
    if mask.shape != source.rgb.shape[:2]:
        raise BadInput(
            "expected a mask of the source's size, {} x {}, got {} x {}".format(
                *source.size_wh, mask.shape[1], mask.shape[0]
            )
        )
    if not mask.any():
        raise BadInput("expected a mask that is not black everywhere, got an empty one")
    return mask


def _changed(source: Picture, edited: Picture, smallest_share: float | int) -> np.ndarray:
    """Where the copy differs by more than noise, holes filled, (rows, columns)."""
    difference = _difference(source, edited)
    needed = _OVER_NOISE * _usual_noise(source, difference)
    seeds = difference > np.maximum(_SEED, needed)
    grown = difference > np.maximum(_GROW, needed / 2)
    count, labels = cv2.connectedComponents(grown.astype(np.uint8), connectivity=8)
    labels = np.asarray(labels, dtype=np.int64)
    sizes = np.bincount(labels.ravel(), minlength=count)
    strong = np.bincount(labels[seeds], minlength=count) > 0
    fine = strong & (sizes >= max(4, smallest_share * labels.size))
    fine[0] = False
    changed = _filled(fine[labels])
    if not changed.any():
        raise BadInput(
            "expected an edited copy that differs from the source, found no difference beyond "
            "noise; give --mask where the edit lies if it is faint"
        )
    if changed.mean() > _MOST:
        raise BadInput(
            f"expected an edit of a part of the picture, got differences over {changed.mean():.0%} "
            "of it; give --mask where the edit lies"
        )
    return changed


def _cut_out(
    source: Picture, edited: Picture, changed: Bool[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "rows columns 4"]:
    """The changed pixels, those at the rim cleaned of the source that shines through them.

    Near its rim an edit is mixed with what lies under it, ``E = a F + (1 - a) S``. F is taken from
    the nearest pixel where the change is full, and a is the mix that comes nearest to E.
    """
    over = edited.rgb.astype(np.float32)
    under = source.rgb.astype(np.float32)
    strength = np.where(changed, np.abs(over - under).max(axis=2), 0)
    depth = cv2.distanceTransform(np.pad(changed, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    near, far = (cv2.dilate(strength, np.ones((2 * r + 1,) * 2, np.uint8)) for r in _REACHES_PX)
    # What is faint beside a strong change is noise that it has caused, deep inside excepted.
    inner = (depth > 2 * _RIM_PX) | ((depth > _RIM_PX) & (strength >= 0.4 * far))
    full = changed & (inner | ((strength >= 0.75 * near) & (strength >= 0.2 * far)))
    _, nearest = cv2.distanceTransformWithLabels(
        (~full).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.asarray(nearest, dtype=np.int64)
    colours = np.zeros((int(nearest.max()) + 1, 3), np.float32)
    colours[nearest[full]] = over[full]
    pure = np.where(full[..., None], over, colours[nearest])
    mix = ((over - under) * (pure - under)).sum(axis=2)
    mix /= np.maximum(((pure - under) ** 2).sum(axis=2), 1)
    alpha = np.where(full, 1.0, np.where(changed & (mix > _FAINT), mix.clip(0, 1), 0))
    return np.dstack([pure, np.round(255 * alpha)]).astype(np.uint8)


def _difference(source: Picture, edited: Picture) -> Float[np.ndarray, "rows columns"]:
    """The largest difference of a colour after a slight blur, which noise does not survive."""
    signed = edited.rgb.astype(np.float32) - source.rgb
    return np.abs(cv2.GaussianBlur(signed, (0, 0), _SMOOTH_PX)).max(axis=2)


def _usual_noise(
    source: Picture, difference: Float[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "rows columns"]:
    """The median difference among pixels of like texture: compression errs more where there is
    more to see, in blocks of 8, by the colours' blocks of 16.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(source.rgb), cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = cv2.blur(grey, (17, 17))
    texture = cv2.blur(grey**2, (17, 17)) - mean**2
    edges = np.quantile(texture[::3, ::3], np.linspace(0, 1, _KINDS + 1)[1:-1])
    kind = np.searchsorted(edges, texture)
    median = [np.median(difference[kind == k]) if (kind == k).any() else 0 for k in range(_KINDS)]
    # More is no noise: the edit covers most of what has this texture.
    return np.minimum(np.asarray(median, dtype=np.float32), _LOUDEST)[kind]


def _filled(region: np.ndarray) -> np.ndarray:
    """With gaps of a pixel or two closed, and small holes."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    padded = np.pad(region, 4).astype(np.uint8)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)[4:-4, 4:-4]
    _, holes, stats, _ = cv2.connectedComponentsWithStats(1 - closed, connectivity=4)
    # Where an edit happens to have the source's colours; the inside of a ring stays open.
    small = stats[:, cv2.CC_STAT_AREA] <= max(9.0, _HOLE * closed.sum())
    small[0] = False
    return closed.astype(bool) | small[np.asarray(holes, dtype=np.int64)]


def _islands(region: np.ndarray, reach: int) -> np.ndarray:
    """Connected parts, those within twice a reach of each other joined, 1 to n, 0 elsewhere."""
    near = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, 5) <= reach
    _, labels = cv2.connectedComponents(near.astype(np.uint8), connectivity=8)
    return np.where(region, labels, 0).astype(np.int64)
