"""Parts of pictures that are compared: squares around things, and annotations in their frames."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool

from counterpoint.annotations import ImageEntry, Instance, Outline
from counterpoint.annotations.conventions import edges_to_pixels
from counterpoint.annotations.model import Box
from counterpoint.annotations.runs import box_of_mask, box_of_points, mask_of
from counterpoint.errors import BadInput
from counterpoint.geometry import PixelTransform, Points, SizeWH
from counterpoint.images import Picture
from counterpoint.tasks.annotation.masks import CarriedMask, clean

BOX_SCALE = 1.25
"""Side of a square around a thing, in longer sides of its box."""

VIEW_PX = 512
"""Views larger than this are shrunk before they are looked at: longer side, pixels."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A part of a picture, or all of it, perhaps shrunk.

    Attributes:
        picture: what is seen.
        to_cut: from the whole picture's pixels to this one's.
        whole_wh: the whole picture's size.
    """

    picture: Picture
    to_cut: PixelTransform
    whole_wh: SizeWH

    def onto_whole(self, points_px: Points) -> Points:
        """Points of the cut in the whole picture, within its bounds."""
        whole = self.to_cut.invert().apply(points_px)
        return whole.clip(0, np.asarray(self.whole_wh) - 1.0)


def cut_out(picture: Picture, box: Box | None, scale: float | int = BOX_SCALE) -> Cut:
    """The square around a box, its border repeated beyond the picture; without a box everything.

    Raises:
        BadInput: a box that lies outside the picture.
    """
    to_cut, rgb = PixelTransform(), picture.rgb
    if box is not None:
        left, top, side = _square(box, picture.size_wh, scale)
        rows = np.arange(top, top + side).clip(0, picture.size_wh[1] - 1)
        columns = np.arange(left, left + side).clip(0, picture.size_wh[0] - 1)
        rgb, to_cut = picture.rgb[np.ix_(rows, columns)], PixelTransform.crop(left, top)
    size_wh = rgb.shape[1], rgb.shape[0]
    shrink = VIEW_PX / max(size_wh)
    if shrink < 1:
        small_wh = max(1, round(size_wh[0] * shrink)), max(1, round(size_wh[1] * shrink))
        rgb = cv2.resize(rgb, small_wh, interpolation=cv2.INTER_AREA)
        to_cut = to_cut.then(PixelTransform.resize(size_wh, small_wh))
    return Cut(Picture(np.ascontiguousarray(rgb), picture.name), to_cut, picture.size_wh)


def _square(box: Box, size_wh: SizeWH, scale: float | int) -> tuple[int, int, int]:
    left, top, w, h = box
    if left >= size_wh[0] or top >= size_wh[1] or left + w <= 0 or top + h <= 0:
        raise BadInput(f"expected a box on the picture of {size_wh[0]} x {size_wh[1]}, got {box}")
    side = max(2, round(scale * max(w, h)))
    [middle] = edges_to_pixels([(left + w / 2, top + h / 2)])
    x, y = np.round(middle - (side - 1) / 2).astype(int).tolist()
    return x, y, side


def require_size(picture: Picture, image: ImageEntry) -> None:
    """That a picture is as large as its annotation file states.

    Raises:
        BadInput: it is not; says so where it lies on its side.
    """
    if image.size_wh in (None, picture.size_wh):
        return
    turned = " (turned by its EXIF?)" if image.size_wh == picture.size_wh[::-1] else ""
    raise BadInput(
        f"expected {image.file_name} to be {image.size_wh[0]} x {image.size_wh[1]} as its "  # pyright: ignore[reportOptionalSubscript]
        f"annotations state, got {picture.size_wh[0]} x {picture.size_wh[1]}{turned}"
    )


def extent(one: Instance, size_wh: SizeWH) -> Box | None:
    """The box of a thing, or that around its outline, or that around its points."""
    if one.box is not None:
        return one.box
    if one.outline is not None:
        return box_of_mask(mask_of(one.outline, size_wh))
    return box_of_points(one.keypoints_px[one.visibility > 0])


def longer_side_px(cut: Cut, box: Box | None) -> float:
    """A box's longer side in pixels of the cut; without a box the cut's own."""
    if box is None:
        return float(max(cut.picture.size_wh))
    return max(box[2] * abs(cut.to_cut.scale_xy[0]), box[3] * abs(cut.to_cut.scale_xy[1]))


def mask_on_cut(cut: Cut, outline: Outline | None) -> Bool[np.ndarray, "_ _"] | None:
    """An outline's pixels in a cut."""
    if outline is None:
        return None
    whole = mask_of(outline, cut.whole_wh).astype(np.float32)
    w, h = cut.picture.size_wh
    matrix = cut.to_cut.matrix()[:2]
    return cv2.warpAffine(whole, matrix, (w, h), flags=cv2.INTER_LINEAR) > 0.5


def mask_on_whole(carried: CarriedMask, cut: Cut) -> Bool[np.ndarray, "_ _"]:
    """A mask carried to a cut, at the whole picture's pixels."""
    w, h = cut.whole_wh
    matrix = cut.to_cut.invert().matrix()[:2]
    scores = carried.scores.astype(np.float32)
    fine = cv2.warpAffine(scores, matrix, (w, h), flags=cv2.INTER_LINEAR, borderValue=-1e6)
    return clean(fine > 0)


def covered_by(one: Instance, size_wh: SizeWH) -> float:
    """The longer side of what is annotated, pixels: what PCK's threshold is a share of."""
    box = extent(one, size_wh)
    return 0.0 if box is None else float(max(box[2:]))
