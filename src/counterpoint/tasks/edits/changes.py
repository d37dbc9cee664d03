"""Edits from pictures of any kind: a sticker set on one, or an edited copy of it."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from counterpoint.errors import ImageError
from counterpoint.images import ImageLike, load_mask, load_picture
from counterpoint.tasks.edits.layers import Edit
from counterpoint.tasks.edits.originals import load_rgba
from counterpoint.tasks.edits.sources import Placing, difference_edit, sticker_edit


def sticker_on(
    source: ImageLike,
    sticker: Any,
    at_px: tuple[float | int, float | int],
    **placing: Any,
) -> Edit:
    """A sticker on a picture.

    Args:
        source: the picture, of any kind.
        sticker: with transparency or without: a path, a PIL image, an array (rows, columns, 4) or
            (rows, columns, 3) of uint8.
        at_px: where it lies, (x, y), pixels of the source.
        placing: as in `Placing`: anchor, width_px or scale, rotate.

    Raises:
        ImageError: a picture that cannot be read.
        BadInput: a wholly transparent sticker, or one that does not touch the picture.

    >>> red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    >>> edit = sticker_on(np.zeros((60, 90, 3), np.uint8), red, (40, 30), width_px=20)
    >>> edit.outline_px.min(axis=0).tolist(), edit.outline_px.max(axis=0).tolist()
    ([30.0, 20.0], [50.0, 40.0])
    """
    size_wh = load_picture(source).size_wh
    return sticker_edit(_rgba(sticker), size_wh, at_px, Placing(**placing))


def edited_copy(source: ImageLike, edited: ImageLike, mask: ImageLike | None = None) -> Edit:
    """What was changed in an edited copy of a picture, found as the difference.

    Args:
        source: the picture as it was, of any kind.
        edited: the copy, of the same size.
        mask: where the edit lies, not black there; by default it is found.

    Raises:
        ImageError: a picture that cannot be read.
        BadInput: as `difference_edit`.
    """
    known = None if mask is None else load_mask(mask)
    return difference_edit(load_picture(source), load_picture(edited), known)


def _rgba(sticker: Any) -> UInt8[np.ndarray, "rows columns 4"]:
    if isinstance(sticker, str | PathLike):
        return load_rgba(Path(sticker))
    if isinstance(sticker, Image.Image):
        return np.array(sticker.convert("RGBA"))
    pixels = np.asarray(sticker)
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 4 and pixels.size:
        return pixels.copy()
    if pixels.dtype == object:
        raise ImageError(
            f"expected a sticker as a path, PIL image or array, got {type(sticker).__name__}"
        )
    return np.array(load_picture(pixels).pil().convert("RGBA"))
