"""Tables that stand between a grid of features and a picture's pixels."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

SLACK = 1e-5  # what rounding may take from a bound
_TILE_PX = 128  # the longest side of a tile, so that a coarse grid cannot make a huge one
_CANCELLED = 1e-10  # squared norms below this share of the cells' are rounding, not direction
BLOCK = 2**17  # numbers at once in what goes through blocks: about what a core's cache holds
_PIVOT = 0.05  # of a Cholesky factor: smaller, and rounding would spoil the second bound
_BOUNDLESS = 1e9


@dataclass(frozen=True)
class Axis:
    """One axis of the picture against the grid's.

    A pixel lies ``fraction`` of the way from cell ``low`` to cell ``high``. A tile is a run of
    pixels after the same cell, ``tile_cell``, its last pixel repeated up to a common length.
    """

    low: Int[Tensor, " pixels"]
    high: Int[Tensor, " pixels"]
    nearest: Int[Tensor, " pixels"]
    fraction: Float[Tensor, " pixels"]
    tile_cell: Int[Tensor, " tiles"]
    tile_px: Int[Tensor, "tiles longest"]
    one_tile_a_cell: bool

    @classmethod
    def of(
        cls, at: Float[np.ndarray, " pixels"], cells: int, device: torch.device, fine: torch.dtype
    ) -> "Axis":
        """From where each pixel lies among the cells; beyond the outermost, at the outermost."""
        at = at.clip(0, cells - 1)
        low = np.floor(at).clip(0, max(cells - 2, 0)).astype(np.int64)
        nearest = np.ceil(at - 0.5).astype(np.int64)
        tile_px = _tiles(low)
        tile_cell = low[tile_px[:, 0]]
        tables = low, np.minimum(low + 1, cells - 1), nearest, at - low, tile_cell, tile_px
        low, high, nearest, fraction, cell, px = (torch.from_numpy(t).to(device) for t in tables)
        plain = np.array_equal(tile_cell, np.arange(max(cells - 1, 1)))
        return cls(low, high, nearest, fraction.to(fine), cell, px, plain)

    @property
    def longest_px(self) -> int:
        """Pixels of the longest tile."""
        return self.tile_px.shape[1]

    def after(self, cell: Int[Tensor, " some"]) -> Int[Tensor, " some"]:
        """The next cell, or the same where there is but one."""
        return cell + (self.high[0] - self.low[0])

    def per_tile(self, values: Tensor, dim: int) -> Tensor:
        """Values between every two cells as values of the tiles."""
        return values if self.one_tile_a_cell else values.index_select(dim, self.tile_cell)


def _tiles(low: Int[np.ndarray, " pixels"]) -> Int[np.ndarray, "tiles longest"]:
    """The pixels of each tile."""
    pixel = np.arange(len(low))
    begins = np.diff(low, prepend=-1) != 0
    into_run = pixel - np.maximum.accumulate(np.where(begins, pixel, 0))
    start = np.flatnonzero(into_run % _TILE_PX == 0)
    count = np.diff(start, append=len(low))
    return start[:, None] + np.minimum(np.arange(count.max()), count[:, None] - 1)


@dataclass(frozen=True)
class Gram:
    """Inner products of every cell with itself and its neighbours; at the edges, clamped.

    ``diagonal`` is of a cell and the one right below; ``antidiagonal`` of the one to the right
    and the one below.
    """

    own: Float[Tensor, "rows columns"]
    right: Float[Tensor, "rows columns"]
    down: Float[Tensor, "rows columns"]
    diagonal: Float[Tensor, "rows columns"]
    antidiagonal: Float[Tensor, "rows columns"]

    @classmethod
    def of(
        cls, values: Float[Tensor, "channels rows columns"], work: torch.dtype, fine: torch.dtype
    ) -> "Gram":
        """Products in ``work``, their sums in ``fine``."""
        _, h, w = values.shape
        flat = values.flatten(1)
        offsets = (0, 0), (0, 1), (0, w), (0, w + 1), (1, w)
        own, right, down, diagonal, antidiagonal = (
            _dots(flat, first, second, work, fine).reshape(h, w) for first, second in offsets
        )
        right[:, -1], down[-1] = own[:, -1], own[-1]
        for across in (diagonal, antidiagonal):
            across[:, -1], across[-1] = down[:, -1], right[-1]
        return cls(own, right, down, diagonal, antidiagonal)

    def inverse_norm(self) -> Float[Tensor, "rows columns"]:
        """One over every cell's norm; 0 for zero vectors."""
        return torch.where(self.own > 0, self.own.rsqrt(), 0)

    def unit(self) -> Float[Tensor, "down across 4 4"]:
        """Cosines with each other of every four cells: upper left, upper right, lower two."""
        h, w = self.own.shape
        up, low = slice(max(h - 1, 1)), slice(min(h - 1, 1), None)
        left, right = slice(max(w - 1, 1)), slice(min(w - 1, 1), None)
        n = self.inverse_norm()
        a, b, c, d = n[up, left], n[up, right], n[low, left], n[low, right]
        ab, cd = self.right[up, left] * a * b, self.right[low, left] * c * d
        ac, bd = self.down[up, left] * a * c, self.down[up, right] * b * d
        ad, bc = self.diagonal[up, left] * a * d, self.antidiagonal[up, left] * b * c
        o = torch.ones_like(ab)
        rows = [o, ab, ac, ad], [ab, o, bc, bd], [ac, bc, o, cd], [ad, bd, cd, o]
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def least_norm(unit: Float[Tensor, "down across 4 4"]) -> Float[Tensor, "down across"]:
    """A lower bound of ``|sum_i p_i u_i|^2`` over the weights p."""
    rows = unit.mean(dim=-1)
    return 2 * rows.amin(dim=-1) - rows.mean(dim=-1)


@dataclass(frozen=True)
class Between:
    """How cosines between every four cells are bound to those at the cells.

    The best of the four may be multiplied by ``may``, must be by ``must`` where it is negative;
    ``middle`` turns their sum into the cosine halfway; ``whiten`` turns them into coordinates in
    their span.
    """

    may: Float[Tensor, "down across"]
    must: Float[Tensor, "down across"]
    middle: Float[Tensor, "down across"]
    whiten: Float[Tensor, "down across 4 4"]

    @classmethod
    def of(cls, unit: Float[Tensor, "down across 4 4"]) -> "Between":
        """From the cosines of every four cells' vectors with each other."""
        least = least_norm(unit) - SLACK
        middle = unit.mean(dim=(-1, -2)).clamp(min=SLACK).rsqrt() / 4
        must = (least > 0).float()
        return cls(least.clamp(min=1e-12).rsqrt().float(), must, middle.float(), _whitening(unit))


def _whitening(unit: Float[Tensor, "down across 4 4"]) -> Float[Tensor, "down across 4 4"]:
    """L^-1 of ``U = LL'``; where four cells are too alike for it, what bounds nothing."""
    eye = torch.eye(4, dtype=torch.float64)
    lower, failed = torch.linalg.cholesky_ex(unit.cpu().double() - SLACK * eye)
    unusable = (failed > 0) | (lower.diagonal(dim1=-2, dim2=-1).amin(dim=-1) < _PIVOT)
    lower = torch.where(unusable[..., None, None], eye / _BOUNDLESS, lower)
    inverse = torch.linalg.solve_triangular(lower, eye, upper=False)
    return inverse.to(unit)


def _dots(
    flat: Float[Tensor, "channels cells"],
    first: int,
    second: int,
    work: torch.dtype,
    fine: torch.dtype,
) -> Float[Tensor, " cells"]:
    """Inner products of cells ``first + i`` and ``second + i``, some channels at a time."""
    cells = flat.shape[1]
    total = torch.zeros(cells, dtype=fine, device=flat.device)
    count = max(0, cells - second)
    for part in flat.split(max(1, BLOCK // cells)):
        part = part.to(work)
        product = part[:, first : first + count] * part[:, second : second + count]
        total[:count] += product.sum(dim=0)
    return total


@dataclass(frozen=True)
class RowNorms:
    """Of the grid's rows, upsampled along x: squared norms, and products with the next row.

    ``floor`` is the squared norm under which a pixel between cells that cancel out is rounding.
    """

    square: Float[Tensor, "rows width"]
    cross: Float[Tensor, "rows width"]
    floor: Float[Tensor, "rows width"]

    @classmethod
    def of(cls, gram: Gram, x: Axis) -> "RowNorms":
        """Five Gram maps at grid resolution become three at the picture's width."""
        ends = gram.own[:, x.low], gram.own[:, x.high]
        square = _blend(*ends, 2 * gram.right[:, x.low], x.fraction)
        mixed = (gram.diagonal + gram.antidiagonal)[:, x.low]
        cross = _blend(gram.down[:, x.low], gram.down[:, x.high], mixed, x.fraction)
        own = torch.lerp(*ends, x.fraction)
        floor = _CANCELLED * torch.maximum(own, torch.cat([own[1:], own[-1:]]))
        return cls(square, cross, floor + torch.finfo(own.dtype).tiny)

    def inverse(
        self,
        rows: tuple[Int[Tensor, "*some 1"], Int[Tensor, "*some 1"]],
        column: Int[Tensor, "*#some width"],
        fraction: Float[Tensor, "*#some high 1"],
    ) -> Float[Tensor, "*some high width"]:
        """One over the norms between two rows: at some columns, ``fraction`` of the way down."""
        start, end = (self.square[row, column].unsqueeze(-2) for row in rows)
        cross, floor = (t[rows[0], column].unsqueeze(-2) for t in (self.cross, self.floor))
        return torch.maximum(_blend(start, end, 2 * cross, fraction), floor).rsqrt()


def _blend(start: Tensor, end: Tensor, mixed: Tensor, fraction: Tensor) -> Tensor:
    """``(1 - f)^2 start + f (1 - f) mixed + f^2 end``, exact where all three agree."""
    bend = start + end - mixed
    return torch.lerp(start, end, fraction) - fraction * (1 - fraction) * bend


def fine_dtype(device: torch.device) -> torch.dtype:
    """float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64
