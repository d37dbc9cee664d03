"""A grid's values at every pixel of its picture, by the map's own geometry."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform

_BAND_ROWS = 64  # at once


def upsampled(
    scores: Float[Tensor, "_ rows columns"],
    fmap: FeatureMap,
    bounds: tuple[slice, slice] | None,
) -> Iterator[tuple[slice, Float[np.ndarray, "_ band width"]]]:
    """Scores at every pixel of the picture, bilinear, a band of rows at a time.

    Beyond the outermost cells that count the border's values go on.
    """
    rows, columns = bounds or (slice(0, scores.shape[1]), slice(0, scores.shape[2]))
    values = scores.numpy()[:, rows, columns]
    across, down = _places(fmap, PixelTransform.crop(columns.start, rows.start))
    x0, x1, fx = _between(across, values.shape[2])
    y0, y1, fy = _between(down, values.shape[1])
    for first in range(0, len(down), _BAND_ROWS):
        some = slice(first, min(first + _BAND_ROWS, len(down)))
        share = fy[some, None]
        lines = values[:, y0[some]] * (1 - share) + values[:, y1[some]] * share
        yield some, lines[..., x0] * (1 - fx) + lines[..., x1] * fx


def _places(fmap: FeatureMap, cut: PixelTransform) -> tuple[np.ndarray, np.ndarray]:
    """Where the picture's columns and rows lie on the grid once it is cut."""
    width, height = fmap.image_size_wh
    diagonal = np.repeat(np.arange(max(width, height))[:, None], 2, axis=1)
    x, y = fmap.to_grid.then(cut).apply(diagonal).astype(np.float32).T
    return x[:width], y[:height]


def _between(
    places: Float[np.ndarray, " n"], length: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    clipped = np.clip(places, 0, length - 1)
    before = np.floor(clipped).astype(int)
    return before, np.minimum(before + 1, length - 1), clipped - before
