"""Outlines that are kept for many pictures: masks as run lengths, not as pixels."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int

from counterpoint.annotations import Annotations, Outline
from counterpoint.annotations.model import OutlineStyle
from counterpoint.annotations.runs import decode_coco, encode_coco
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH


class KeptOutline(Outline):
    """An outline of a mask that is held as run lengths; its pixels are made when asked for.

    A mask of a 12-megapixel picture takes 12 MB, its run lengths some 50 kB.

    Args:
        style: how it is written: "rle" or "counts".
        runs: lengths of runs down the columns, the first one of unset pixels, perhaps of none.
        size_wh: of the whole picture, pixels.

    Raises:
        BadInput: runs that do not fill the picture.

    >>> kept = KeptOutline("rle", np.array([1, 2, 1]), (2, 2))
    >>> kept.mask.tolist()
    [[False, True], [True, False]]
    """

    def __init__(
        self, style: OutlineStyle, runs: Int[np.ndarray, " runs"], size_wh: SizeWH
    ) -> None:
        if style == "polygon" or (runs < 0).any() or int(runs.sum()) != size_wh[0] * size_wh[1]:
            raise BadInput(
                f"expected run lengths that fill a picture of {size_wh}, got {runs.sum()}"
            )
        for name, value in (("style", style), ("polygons", ())):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "runs", runs.astype(np.int32))
        object.__setattr__(self, "size_wh", size_wh)

    runs: Int[np.ndarray, " runs"]
    size_wh: SizeWH

    @property
    def mask(self) -> Bool[np.ndarray, "rows columns"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(rows, columns) of the whole picture, made anew each time."""
        width, height = self.size_wh
        return decode_coco({"size": [height, width], "counts": self.runs.tolist()}, self.size_wh)


def kept(style: OutlineStyle, mask: Bool[np.ndarray, "rows columns"]) -> KeptOutline:
    """A mask's outline, as run lengths."""
    runs = encode_coco(mask, compressed=False)["counts"]
    return KeptOutline(style, np.asarray(runs, dtype=np.int64), (mask.shape[1], mask.shape[0]))


def lightened(given: Annotations) -> Annotations:
    """The same annotations, masks held as run lengths."""
    light = tuple(
        replace(one, outline=kept(one.outline.style, one.outline.mask))
        if one.outline is not None and one.outline.mask is not None
        else one
        for one in given.instances
    )
    return given.with_instances(given.images, light)
