"""`FeatureMap`: numbers on a grid, tied to the pixels of a picture, with their provenance."""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import index
from pathlib import Path
from textwrap import shorten
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from torch import Tensor

from counterpoint.errors import BadInput, FeatureFileError
from counterpoint.files import save_tensors
from counterpoint.geometry import PixelTransform, Points, SizeWH, as_points
from counterpoint.images import ImageLike
from counterpoint.options import Combine, Options
from counterpoint.provenance import Provenance, join_provenance

FORMAT = "counterpoint/feature-map/1"
METADATA_KEY = "counterpoint"

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Features of one picture: a grid of vectors, and where each lies in the picture.

    Attributes:
        values: (channels, rows, columns), floating point.
        image_size_wh: width and height of the original picture, pixels.
        input_size_wh: of the model's input, padding included, pixels.
        to_input: from the original picture's pixels to the input's.
        valid: (rows, columns), True where a cell's centre lies on the picture and not on padding;
            None: everywhere.
        provenance: what made it.

    >>> import torch
    >>> ramp = torch.arange(4.0).expand(1, 4, 4)
    >>> fmap = FeatureMap(ramp, image_size_wh=(8, 8))
    >>> fmap.stride_px, fmap.sample([(0.5, 3), (3.5, 3)]).tolist()
    ((2.0, 2.0), [[0.0], [1.5]])
    """

    values: Float[Tensor, "channels rows columns"]
    image_size_wh: SizeWH
    input_size_wh: SizeWH | None = None
    to_input: PixelTransform | None = None
    valid: Bool[Tensor, "rows columns"] | None = None
    provenance: Provenance = field(default_factory=lambda: Provenance(model="unknown"))

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or not self.values.is_floating_point() or 0 in self.values.shape:
            raise BadInput(
                "expected floating point values (channels, rows, columns), "
                f"got {self.values.dtype} {tuple(self.values.shape)}"
            )
        mask = self.valid
        if mask is not None and (mask.shape != self.values.shape[1:] or mask.dtype != torch.bool):
            raise BadInput(
                f"expected a mask of bool {tuple(self.values.shape[1:])}, "
                f"got {mask.dtype} {tuple(mask.shape)}"
            )
        if min(self.image_size_wh) < 1 or min(self.input_size_wh or (1, 1)) < 1:
            raise BadInput(
                "expected a picture and input of at least 1 x 1, "
                f"got {self.image_size_wh} and {self.input_size_wh}"
            )
        if self.input_size_wh is None:
            object.__setattr__(self, "input_size_wh", self.image_size_wh)
        if self.to_input is None:
            resize = PixelTransform.resize(self.image_size_wh, self.input_wh)
            object.__setattr__(self, "to_input", resize)

    def __repr__(self) -> str:
        made, (w, h) = self.provenance, self.image_size_wh
        steps = "+".join(map(str, made.timesteps))
        words = [made.model, made.tap, f"t {steps}" if steps else ""]
        shape = " x ".join(map(str, self.values.shape))
        return f"FeatureMap({' '.join(filter(None, words))}: {shape} of a picture {w} x {h})"

    @property
    def input_wh(self) -> SizeWH:
        """Width and height of the model's input, pixels."""
        assert self.input_size_wh is not None
        return self.input_size_wh

    @property
    def channels(self) -> int:
        """Length of each feature vector."""
        return self.values.shape[0]

    @property
    def grid_wh(self) -> SizeWH:
        """Columns and rows of the grid."""
        return self.values.shape[2], self.values.shape[1]

    @property
    def to_grid(self) -> PixelTransform:
        """From the original picture's pixels to cells of the grid."""
        assert self.to_input is not None
        return self.to_input.then(PixelTransform.resize(self.input_wh, self.grid_wh))

    @property
    def stride_px(self) -> tuple[float, float]:
        """Distance of neighbouring cells in pixels of the original picture, along x and y."""
        sx, sy = self.to_grid.scale_xy
        return 1 / abs(sx), 1 / abs(sy)

    def sample(self, points_px: ArrayLike) -> Float[Tensor, "points channels"]:
        """Features at points (N, 2) of the original picture, bilinear, (N, channels).

        Beyond the outermost cells' centres the border's values go on, as in
        ``interpolate(align_corners=False)``.
        """
        return sample_grid(self.values, self.to_grid.apply(points_px))

    def normalised(self) -> "FeatureMap":
        """The same with every cell's vector of unit length (zero vectors stay zero)."""
        return replace(self, values=F.normalize(self.values, dim=0))

    def to(self, *args: Any) -> "FeatureMap":
        """The same on another device or in another dtype, as `torch.Tensor.to`."""
        values = self.values.to(*args)
        valid = None if self.valid is None else self.valid.to(values.device)
        return replace(self, values=values, valid=valid)

    def crop(self, left: int, top: int, size_wh: SizeWH) -> "FeatureMap":
        """The map of a part of the picture; cells that touch the part are kept whole.

        Args:
            left: first column of the part, pixels of the original.
            top: first row.
            size_wh: of the part, pixels.

        Raises:
            BadInput: the part is empty or reaches beyond the picture.
        """
        (w, h), (full_w, full_h) = size_wh, self.image_size_wh
        if min(w, h) < 1 or left < 0 or top < 0 or left + w > full_w or top + h > full_h:
            raise BadInput(
                f"expected a part of the {full_w} x {full_h} picture, "
                f"got {w} x {h} at ({left}, {top})"
            )
        corners = self.to_grid.apply([(left, top), (left + w - 1, top + h - 1)])
        limits = np.asarray(self.grid_wh) - 1
        x0, y0 = np.clip(np.floor(corners.min(axis=0)), 0, limits).astype(int).tolist()
        x1, y1 = (np.clip(np.ceil(corners.max(axis=0)), 0, limits).astype(int) + 1).tolist()
        # The kept cells become the whole "input": one input pixel a cell, placed by geometry.
        back = PixelTransform.crop(left, top).invert()
        to_cells = back.then(self.to_grid).then(PixelTransform.crop(x0, y0))
        return FeatureMap(
            self.values[:, y0:y1, x0:x1],
            size_wh,
            (x1 - x0, y1 - y0),
            to_cells,
            None if self.valid is None else self.valid[y0:y1, x0:x1],
            self.provenance,
        )

    def resampled_like(self, other: "FeatureMap") -> "FeatureMap":
        """The same features, bilinearly sampled at the cells of another map of the same picture.

        Cells are valid where they are in both maps.
        """
        if self.image_size_wh != other.image_size_wh:
            raise BadInput(
                f"expected maps of one picture, got sizes {self.image_size_wh} "
                f"and {other.image_size_wh}"
            )
        w, h = other.grid_wh
        points_px = other.to_grid.invert().apply(_cells(other.grid_wh))
        values = self.sample(points_px).T.reshape(self.channels, h, w)
        placed = replace(other, values=values, provenance=self.provenance)
        if self.valid is None:
            return placed
        cells = self.to_grid.apply(points_px).round().astype(int)
        x, y = np.clip(cells, 0, np.asarray(self.grid_wh) - 1).T
        return replace(placed, valid=_both_valid(self.valid[y, x].reshape(h, w), other.valid))

    def concat(self, other: "FeatureMap", weight: float = 0.5) -> "FeatureMap":
        """Concatenate with another map of the same picture, on the finer of the two grids.

        Every cell of both maps is normalised first; ``weight`` is ``other``'s share of the
        squared length, so cosines of the result are the weighted means of both maps' cosines. The
        tap in the provenance becomes "a+b", with the weight ("a+b@0.3") where it is not a half.
        """
        if not 0 <= weight <= 1:
            raise BadInput(f"expected a weight from 0 to 1, got {weight}")
        finer = self if np.prod(self.grid_wh) >= np.prod(other.grid_wh) else other
        a, b = (m if m is finer else m.resampled_like(finer) for m in (self, other))
        parts = [
            a.normalised().values * (1 - weight) ** 0.5,
            b.normalised().values.to(a.values) * weight**0.5,
        ]
        joined = self.provenance.fused_with(other.provenance, weight)
        return replace(
            finer, values=torch.cat(parts), valid=_both_valid(a.valid, b.valid), provenance=joined
        )

    def masked(self, mask: ArrayLike | Tensor) -> "FeatureMap":
        """The same map with what lies outside a mask marked as not valid: never matched.

        Args:
            mask: (rows, columns) of the original picture, true (not 0) where features count. A
                cell counts where its centre lies on the mask.

        Raises:
            BadInput: a mask of another size, or one that leaves no cell.
        """
        chosen = np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask)
        width, height = self.image_size_wh
        if chosen.shape != (height, width):
            raise BadInput(
                f"expected a mask of the picture's size, (rows, columns) = {(height, width)}, "
                f"got {chosen.shape}"
            )
        centres = self.to_grid.invert().apply(_cells(self.grid_wh)).round().astype(int)
        x, y = np.clip(centres, 0, np.array([width, height]) - 1).T
        kept = torch.from_numpy(chosen[y, x] != 0).reshape(self.values.shape[1:])
        valid = kept.to(self.values.device) & (True if self.valid is None else self.valid)
        if not valid.any():
            raise BadInput("expected a mask that covers some cell's centre, got none; is it empty?")
        return replace(self, valid=valid)

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file, atomically; geometry and provenance are its metadata.

        Raises:
            StorageError: the folder cannot be written or the disk is full.
        """
        tensors = {"values": self.values.detach().cpu().contiguous()}
        if self.valid is not None:
            tensors["valid"] = self.valid.cpu().contiguous()
        save_tensors(path, tensors, self._metadata())

    def _metadata(self) -> dict[str, str]:
        assert self.to_input is not None
        geometry = {
            "image_size_wh": self.image_size_wh,
            "input_size_wh": self.input_size_wh,
            "scale_xy": self.to_input.scale_xy,
            "offset_xy": self.to_input.offset_xy,
        }
        note = {"format": FORMAT, "geometry": geometry, "provenance": asdict(self.provenance)}
        # One entry: safetensors does not keep the order of several, and equal maps should give
        # equal files.
        return {METADATA_KEY: json.dumps(note)}

    @classmethod
    def load(cls, path: str | Path) -> "FeatureMap":
        """Read a map back, bit for bit.

        Raises:
            FeatureFileError: missing, truncated, or not a feature file.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        header = read_header(path)
        try:
            tensors = load_file(path)
            return cls(
                tensors["values"],
                header.image_size_wh,
                header.input_size_wh,
                header.to_input,
                tensors.get("valid"),
                header.provenance,
            )
        except (SafetensorError, KeyError, OSError, TypeError, ValueError) as error:
            raise FeatureFileError(_damaged(path, error)) from error


@dataclass(frozen=True, kw_only=True)
class FeatureHeader:
    """What a feature file says about itself, read without its tensors.

    Attributes:
        shape: (channels, rows, columns).
        dtype: of the values, safetensors' name ("F32", "BF16", ...).
        image_size_wh: as in `FeatureMap`.
        input_size_wh: as in `FeatureMap`.
        to_input: as in `FeatureMap`.
        provenance: as in `FeatureMap`.
    """

    shape: tuple[int, int, int]
    dtype: str
    image_size_wh: SizeWH
    input_size_wh: SizeWH
    to_input: PixelTransform
    provenance: Provenance


def read_header(path: str | Path) -> FeatureHeader:
    """Read a feature file's geometry and provenance, not its tensors.

    The header must account for every byte of the file, so a truncated file is found here.

    Raises:
        FeatureFileError: missing, truncated, or not a feature file.
    """
    try:
        header = _raw_header(Path(path))
        meta = json.loads(header["__metadata__"][METADATA_KEY])
        if meta["format"] != FORMAT:
            raise FeatureFileError(f"expected format {FORMAT} in {path}, got {meta['format']}")
        geometry = meta["geometry"]
        channels, rows, columns = (index(side) for side in header["values"]["shape"])
        return FeatureHeader(
            shape=(channels, rows, columns),
            dtype=header["values"]["dtype"],
            image_size_wh=_pair(geometry["image_size_wh"], index),
            input_size_wh=_pair(geometry["input_size_wh"], index),
            to_input=PixelTransform(
                _pair(geometry["scale_xy"], float), _pair(geometry["offset_xy"], float)
            ),
            provenance=Provenance.from_dict(meta["provenance"]),
        )
    except FeatureFileError:
        raise
    except FileNotFoundError as error:
        raise FeatureFileError(f"no such feature file: {path}") from error
    except _FOREIGN as error:
        raise FeatureFileError(_damaged(path, error)) from error


_FOREIGN = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,
    struct.error,
)
"""What comes of reading any bytes at all as a header."""


def _damaged(path: str | Path, error: Exception) -> str:
    reason = shorten(f"{type(error).__name__}: {error}", 120)
    return (
        f"expected a counterpoint feature file, got {path}, which is damaged, cut off or foreign "
        f"({reason}); delete it and extract again"
    )


def _pair(entry: Any, number: Callable[[Any], T]) -> tuple[T, T]:
    first, second = entry
    return number(first), number(second)


def _raw_header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file, checked against the file's length."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > 100_000_000:
            raise ValueError("no safetensors header")
        header: dict[str, Any] = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    expected = 8 + length + max(ends)
    if path.stat().st_size != expected:
        raise ValueError(f"{path.stat().st_size} bytes where the header promises {expected}")
    return header


def join(maps: Sequence[FeatureMap], combine: Combine = "concat") -> FeatureMap:
    """Several maps of one picture by one model as one map; a single one stays as it is.

    Args:
        maps: of different taps or time steps.
        combine: "concat" gives each the same weight in the cosine; "mean" averages the cells'
            unit vectors, on the finest grid.

    Raises:
        BadInput: a mean of maps with different numbers of channels.
    """
    if len(maps) == 1:
        return maps[0]
    joined = _mean(maps) if combine == "mean" else _concat(maps)
    notes = [fmap.provenance for fmap in maps]
    return replace(joined, provenance=join_provenance(notes, combine))


def _concat(maps: Sequence[FeatureMap]) -> FeatureMap:
    joined = maps[0]
    for count, other in enumerate(maps[1:], 2):
        joined = joined.concat(other, 1 / count)
    return joined


def _mean(maps: Sequence[FeatureMap]) -> FeatureMap:
    widths = sorted({fmap.channels for fmap in maps})
    if len(widths) > 1:
        raise BadInput(
            f"expected maps with as many channels for a mean, got {widths}; use combine='concat'"
        )
    finest = max(maps, key=lambda fmap: np.prod(fmap.grid_wh))
    placed = [m if m.grid_wh == finest.grid_wh else m.resampled_like(finest) for m in maps]
    total = sum(m.normalised().values.to(finest.values) for m in placed)
    return replace(finest, values=torch.as_tensor(total) / len(maps))


def _cells(grid_wh: SizeWH) -> Points:
    """Every cell's place on the grid, row by row, (cells, 2)."""
    w, h = grid_wh
    return np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).reshape(-1, 2).astype(float)


def _both_valid(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Cells that are valid on two grids of one shape; None: all are."""
    if a is None or b is None:
        return b if a is None else a
    return a & b.to(a.device)


def sample_grid(
    values: Float[Tensor, "channels rows columns"], points_grid: Points
) -> Float[Tensor, "points channels"]:
    """Bilinear samples of a grid at cell coordinates (x, y), the border's values going on."""
    _, h, w = values.shape
    points = as_points(points_grid)
    x0, x1, fx = _between(points[:, 0], w, values)
    y0, y1, fy = _between(points[:, 1], h, values)
    # One gather of whole cells is quicker than four of single numbers.
    corners = torch.cat([y0 * w + x0, y0 * w + x1, y1 * w + x0, y1 * w + x1])
    gathered = values.flatten(1).index_select(1, corners)
    a, b, c, d = gathered.reshape(len(values), 4, len(points)).unbind(1)
    top = a * (1 - fx) + b * fx
    bottom = c * (1 - fx) + d * fx
    return (top * (1 - fy) + bottom * fy).T.to(values.dtype)


def _between(
    places: Float[np.ndarray, " points"], length: int, values: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Along one axis: the cell before each place, the one after, and the share of the latter.

    Shares are float32 at least, so that half-precision maps are rounded once, at the end.
    """
    places = np.clip(places, 0, length - 1)
    before = np.floor(places).astype(np.int64)
    after = np.minimum(before + 1, length - 1)
    share = torch.from_numpy(places - before).to(torch.promote_types(values.dtype, torch.float32))
    return (
        torch.from_numpy(before).to(values.device),
        torch.from_numpy(after).to(values.device),
        share.to(values.device),
    )


@runtime_checkable
class Extractor(Protocol):
    """Anything that turns pictures into feature maps: a backbone, a store, a fake."""

    def extract(self, pictures: list[ImageLike], options: Options) -> list[FeatureMap]:
        """Feature maps of the pictures, in their order."""
        ...
