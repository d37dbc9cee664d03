"""A feature map made ready for many exact queries."""

from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from torch import Tensor

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap, sample_grid
from counterpoint.geometry import PixelTransform, Points, inside
from counterpoint.matching.tables import Axis, Between, Gram, RowNorms, fine_dtype, least_norm

_ILL = 0.05  # tangent bound under which the Gram maps need products in float64


class PreparedMap:
    """A feature map made ready for many exact queries; what is computed is kept.

    `match` and its companions take one wherever they take a `FeatureMap`; prepare a target once to
    ask it many times. It holds the map's values in float32 (shared with the map where they already
    are) and its tables (1 MB for 48 x 48 cells and a picture of 375 x 500).

    Padding is cut off first, and beyond the outermost cells that are left the border's values go
    on: padding takes part in nothing. Where what is left has invalid cells (a mask), a pixel counts
    as valid when the cell nearest to it is.

    Args:
        features: the map.

    >>> import torch
    >>> fmap = FeatureMap(torch.eye(4).reshape(4, 2, 2), image_size_wh=(8, 8))
    >>> ready = PreparedMap(fmap)
    >>> from counterpoint.matching import match
    >>> [match(fmap, ready, [point]).target_px.tolist() for point in [(1, 1), (6, 1)]]
    [[[0.0, 0.0]], [[6.0, 0.0]]]

    Raises:
        BadInput: no valid cell, or (when first asked) features that are NaN or infinite.
    """

    def __init__(self, features: FeatureMap) -> None:
        self.size_wh = features.image_size_wh
        self.stride_px = features.stride_px
        self.provenance = features.provenance
        rows, columns = _valid_box(features)
        self.to_grid = features.to_grid.then(PixelTransform.crop(columns.start, rows.start))
        kept = features.values.detach()[:, rows, columns]
        self.values = kept.to(torch.float32).contiguous()
        valid = None if features.valid is None else features.valid[rows, columns]
        self.valid = None if valid is None or bool(valid.all()) else valid.to(self.values.device)
        if self.valid is not None and not bool(self.pixel_valid.any()):
            raise BadInput("expected a valid cell near some pixel of the picture, got none")

    @property
    def device(self) -> torch.device:
        """Where the values lie."""
        return self.values.device

    @property
    def cells_px(self) -> Points:
        """Centres of the valid cells that lie on the picture, in its pixels, (N, 2)."""
        _, h, w = self.values.shape
        cells = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).reshape(-1, 2)
        if self.valid is not None:
            cells = cells[self.valid.cpu().numpy().reshape(-1)]
        points_px = self.to_grid.invert().apply(cells)
        return points_px[inside(points_px, self.size_wh)]

    def vectors(self, points_px: ArrayLike) -> Float[Tensor, "points channels"]:
        """Features at points (N, 2) of the picture, bilinear, float32, not of unit length.

        Raises:
            BadInput: NaN or infinite features at a point.
        """
        vectors = sample_grid(self.values, self.to_grid.apply(points_px))
        if not bool(torch.isfinite(vectors).all()):
            raise BadInput("expected finite features at the points, got NaN or infinity")
        return vectors

    def scores(
        self, vectors: Float[Tensor, "queries channels"]
    ) -> Float[Tensor, "queries rows columns"]:
        """Inner products of vectors (N, channels), made unit, with every cell, float32."""
        channels, rows, columns = self.values.shape
        if vectors.shape[1] != channels:
            raise BadInput(
                f"expected maps of one number of channels, got {vectors.shape[1]} and {channels}: "
                "were both extracted with the same model and tap?"
            )
        with torch.autocast(self.device.type, enabled=False):
            scores = F.normalize(vectors.to(self.values), dim=1) @ self.values.flatten(1)
        return scores.reshape(len(vectors), rows, columns)

    @cached_property
    def fine(self) -> torch.dtype:
        """What sums and final cosines are computed in."""
        return fine_dtype(self.device)

    @cached_property
    def axes(self) -> tuple["Axis", "Axis"]:
        """The picture against the grid, along x and along y."""
        (w, h), (_, rows, columns) = self.size_wh, self.values.shape
        at = self.to_grid.apply(np.repeat(np.arange(max(w, h)), 2).reshape(-1, 2))
        x = Axis.of(at[:w, 0], columns, self.device, self.fine)
        return x, Axis.of(at[:h, 1], rows, self.device, self.fine)

    @cached_property
    def pixel_valid(self) -> Bool[Tensor, "height width"]:
        """Which pixels lie nearest to a valid cell; only where there is a mask."""
        assert self.valid is not None
        x, y = self.axes
        return self.valid[y.nearest][:, x.nearest]

    @cached_property
    def tile_shut(self) -> Bool[Tensor, "down across"]:
        """Tiles without a valid pixel."""
        x, y = self.axes
        return ~self.pixel_valid[y.tile_px][:, :, x.tile_px].any(dim=3).any(dim=1)

    @cached_property
    def gram(self) -> "Gram":
        """Inner products of neighbouring cells; found finite."""
        gram = Gram.of(self.values, torch.float32, self.fine)
        if not bool(torch.isfinite(gram.own).all()):
            raise BadInput(
                "expected finite features, got NaN, infinity or numbers whose squares overflow: "
                "extract them again, in bfloat16 or float32 if it was float16"
            )
        if self.fine == torch.float64 and bool((least_norm(gram.unit()) < _ILL).any()):
            return Gram.of(self.values, torch.float64, self.fine)
        return gram

    @cached_property
    def cell_inverse(self) -> Float[Tensor, "rows columns"]:
        """One over every cell's norm, 0 for a zero vector."""
        return self.gram.inverse_norm().float()

    @cached_property
    def between(self) -> "Between":
        """What bounds the cosines between every four cells."""
        return Between.of(self.gram.unit())

    @cached_property
    def norms(self) -> "RowNorms":
        """Norms at the picture's width."""
        return RowNorms.of(self.gram, self.axes[0])


def prepare(features: FeatureMap | PreparedMap) -> PreparedMap:
    """The map made ready, unless it is."""
    return features if isinstance(features, PreparedMap) else PreparedMap(features)


def _valid_box(features: FeatureMap) -> tuple[slice, slice]:
    """The rows and columns without padding: those with a valid cell or a centre on the picture."""
    if features.valid is None:
        return slice(0, features.grid_wh[1]), slice(0, features.grid_wh[0])
    if not bool(features.valid.any()):
        raise BadInput("expected a feature map with valid cells, got only padding")
    diagonal = np.repeat(np.arange(max(features.grid_wh)), 2).reshape(-1, 2)
    centres = features.to_grid.invert().apply(diagonal)
    rows, columns = (
        _span(features.valid.any(dim=dim).cpu().numpy(), centres[:, axis], length)
        for dim, axis, length in zip((1, 0), (1, 0), features.image_size_wh[::-1], strict=True)
    )
    return rows, columns


def _span(
    valid: Bool[np.ndarray, " cells"], centres_px: Float[np.ndarray, " more"], length_px: int
) -> slice:
    """From the first to the last cell that is valid or lies on the picture, along one axis."""
    centres = centres_px[: len(valid)]
    kept = np.flatnonzero(valid | ((centres >= -0.5) & (centres <= length_px - 0.5)))
    return slice(int(kept[0]), int(kept[-1]) + 1)
