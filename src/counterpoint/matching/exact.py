"""The exact maximum of the cosine over a picture's pixels, most of them never visited.

Most pixels need not be visited. With ``c_i`` the cosines at the four cells, u_i their unit
vectors and U these vectors' cosines with each other, ``cos(p) = sum_i p_i c_i / |sum_i p_i u_i|``
where the p_i are non-negative and sum to one. Two bounds follow, one good for cells that are alike
and one for cells that are not:

- ``cos(p) <= max_i c_i / sqrt(m)`` with ``m = min_p p'Up``, which convexity bounds from below by
  the tangent at equal weights: ``m >= 2 min_i(row mean of U) - mean of U``;
- ``cos(p) <= sqrt(c'U^-1 c)``, the length of the projection of s on the span of the u_i.

Only the tiles of the picture whose bounds reach the best cosine seen are evaluated, in float64
where the device has it. Where that would be most of them (plain surfaces, grids as fine as the
picture) the picture is gone through row by row. Nothing here is approximate.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from counterpoint.matching.prepared import PreparedMap
from counterpoint.matching.tables import BLOCK, SLACK, Axis

_LOOK_UP = 32
"""So many pixels in a row cost what it takes to look at a tile at all."""

_OUT_OF_ROW = 3
"""A pixel of a tile costs so many in a row."""

_TINY = 4
"""Pixels of a tile, on average, from which on bounds cost less than they save."""


@dataclass(frozen=True)
class Disc:
    """A disc of pixels a query: its centres (x, y) and the radius."""

    centre: Int[Tensor, "queries xy"]
    radius_px: float

    def holds(
        self, query: Int[Tensor, " pairs"], px: Int[Tensor, "pairs w"], py: Int[Tensor, "pairs h"]
    ) -> Bool[Tensor, "pairs h w"]:
        """Which pixels of each pair's tile lie in its query's disc."""
        cx, cy = self.centre[query].T[:, :, None]
        squared = ((py - cy) ** 2)[:, :, None] + ((px - cx) ** 2)[:, None, :]
        return squared <= self.radius_px**2

    def cover(self, x: Axis, y: Axis) -> Bool[Tensor, "queries down across"]:
        """Which tiles lie wholly in the disc: those whose farthest corner does."""
        dx, dy = (
            torch.maximum((c - axis.tile_px[:, 0]).abs(), (c - axis.tile_px[:, -1]).abs())
            for c, axis in zip(self.centre.T[:, :, None], (x, y), strict=True)
        )
        return (dy**2)[:, :, None] + (dx**2)[:, None, :] <= self.radius_px**2


def best_pixels(
    ready: PreparedMap,
    scores: Float[Tensor, "queries rows columns"],
    away: "Disc | None" = None,
    *,
    prune: bool = True,
) -> tuple[Float[Tensor, " queries"], Int[Tensor, "queries xy"]]:
    """The best cosine and its pixel (x, y), the first in row-major order where several tie.

    ``away`` leaves out the pixels of a disc; where nothing is left the cosine is -1. Without
    ``prune`` every pixel is evaluated: the same result, for tests.
    """
    (x, y), (w, h) = ready.axes, ready.size_wh
    if len(x.tile_cell) * len(y.tile_cell) * _TINY > w * h:
        every = torch.arange(len(scores), device=scores.device)
        best, first = _pictures_best(ready, scores, every, away)
    else:
        best, first = _best_by_tiles(ready, scores, away, prune=prune)
    return best.clamp(-1, 1), torch.stack([first % w, first // w], dim=1)


def _best_by_tiles(
    ready: PreparedMap,
    scores: Float[Tensor, "queries rows columns"],
    away: "Disc | None",
    *,
    prune: bool,
) -> tuple[Float[Tensor, " queries"], Int[Tensor, " queries"]]:
    """The best cosine and its pixel, counted row by row."""
    (x, y), area = ready.axes, ready.size_wh[0] * ready.size_wh[1]
    every = torch.arange(len(scores), device=scores.device)
    cosines = scores * ready.cell_inverse
    bounds = _bounds(ready, cosines, away)
    likely = _likely(ready, cosines, bounds, away).argmax(dim=1)
    seen, _ = _tiles_best(ready, scores, every, likely, away)
    reach = (seen - SLACK).clamp(min=-2) if prune else torch.full_like(seen, -2)
    reaches = bounds >= reach[:, None]
    whole = reaches.sum(dim=1) * _LOOK_UP > area
    query, tile = (reaches & ~whole[:, None]).nonzero(as_tuple=True)
    reaching = _reaching(ready, cosines, query, tile, reach)
    query, tile = query[reaching], tile[reaching]
    cost = _LOOK_UP + _OUT_OF_ROW * x.longest_px * y.longest_px
    whole |= torch.bincount(query, minlength=len(every)) * cost > area
    query, tile = query[~whole[query]], tile[~whole[query]]
    cosine, pixel = _tiles_best(ready, scores, query, tile, away)
    best = torch.full_like(seen, -torch.inf).scatter_reduce(0, query, cosine, "amax")
    pixel = torch.where(cosine == best[query], pixel, area)
    first = torch.full_like(every, area).scatter_reduce(0, query, pixel, "amin")
    if bool(whole.any()):
        best[whole], first[whole] = _pictures_best(ready, scores, every[whole], away)
    return best, first


def _bounds(
    ready: PreparedMap, cosines: Float[Tensor, "queries rows columns"], away: "Disc | None"
) -> Float[Tensor, "queries tiles"]:
    """The first bound of the cosine in every tile of the picture; -inf where nothing counts."""
    (x, y), between = ready.axes, ready.between
    best = _pairwise(torch.maximum, cosines)
    bounds = y.per_tile(x.per_tile(torch.maximum(best * between.may, best * between.must), 2), 1)
    if ready.valid is not None:
        bounds = bounds.masked_fill(ready.tile_shut, -torch.inf)
    if away is not None:
        bounds = bounds.masked_fill(away.cover(x, y), -torch.inf)
    return bounds.flatten(1)


def _likely(
    ready: PreparedMap,
    cosines: Float[Tensor, "queries rows columns"],
    bounds: Float[Tensor, "queries tiles"],
    away: "Disc | None",
) -> Float[Tensor, "queries tiles"]:
    """Which tile will hold the best pixel: the cosine halfway between its four cells."""
    x, y = ready.axes
    middle = _pairwise(torch.add, cosines) * ready.between.middle
    likely = y.per_tile(x.per_tile(middle, 2), 1).flatten(1)
    if away is not None:  # of a tile mostly in the disc, the best pixels may be the hidden ones
        wider = replace(away, radius_px=away.radius_px + (x.longest_px + y.longest_px) / 4)
        likely = likely.masked_fill(wider.cover(x, y).flatten(1), -torch.inf)
    return likely.masked_fill(bounds == -torch.inf, -torch.inf)


def _reaching(
    ready: PreparedMap,
    cosines: Float[Tensor, "queries rows columns"],
    query: Int[Tensor, " pairs"],
    tile: Int[Tensor, " pairs"],
    reach: Float[Tensor, " queries"],
) -> Bool[Tensor, " pairs"]:
    """For which pairs of a query and a tile the second bound reaches the query's best."""
    kept: list[Tensor] = []
    at_once = BLOCK // 16
    for some, tiles in zip(query.split(at_once), tile.split(at_once), strict=True):
        row, column = _cell_of(ready, tiles)
        corners = torch.stack(_corners(ready, cosines, some, row, column), dim=1)[:, :, None]
        projected = ready.between.whiten[row, column] @ corners
        kept.append(projected.flatten(1).norm(dim=1) >= reach[some])
    return torch.cat(kept)


def _cell_of(
    ready: PreparedMap, tile: Int[Tensor, " pairs"]
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Row and column of the upper left of the four cells around each tile."""
    x, y = ready.axes
    across = len(x.tile_cell)
    return y.tile_cell[tile // across], x.tile_cell[tile % across]


def _corners(
    ready: PreparedMap,
    values: Float[Tensor, "queries rows columns"],
    query: Int[Tensor, " pairs"],
    row: Int[Tensor, " pairs"],
    column: Int[Tensor, " pairs"],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values of a query at the four cells from one on, row by row, each (pairs,)."""
    x, y = ready.axes
    below, right = y.after(row), x.after(column)
    places = (row, column), (row, right), (below, column), (below, right)
    a, b, c, d = (values[query, *place].to(ready.fine) for place in places)
    return a, b, c, d


def _pairwise(
    combine: Callable[[Tensor, Tensor], Tensor], values: Float[Tensor, "queries rows columns"]
) -> Float[Tensor, "queries down across"]:
    """Combine every four cells; a row or column alone stands for its neighbour too."""
    for dim in (2, 1):
        n = values.shape[dim]
        count, second = max(n - 1, 1), min(n - 1, 1)
        values = combine(values.narrow(dim, 0, count), values.narrow(dim, second, count))
    return values


def _tiles_best(
    ready: PreparedMap,
    scores: Float[Tensor, "queries rows columns"],
    query: Int[Tensor, " pairs"],
    tile: Int[Tensor, " pairs"],
    away: "Disc | None",
) -> tuple[Float[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """For pairs of a query and a tile: the best cosine and its pixel, counted row by row."""
    x, y = ready.axes
    at_once = max(1, BLOCK // (x.longest_px * y.longest_px))
    found = [
        _block_best(ready, scores, queries, tiles, away)
        for queries, tiles in zip(query.split(at_once), tile.split(at_once), strict=True)
    ]
    cosine, pixel = (torch.cat(column) for column in zip(*found, strict=True))
    return cosine, pixel


def _block_best(
    ready: PreparedMap,
    scores: Float[Tensor, "queries rows columns"],
    query: Int[Tensor, " pairs"],
    tile: Int[Tensor, " pairs"],
    away: "Disc | None",
) -> tuple[Float[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """As `_tiles_best`, at once."""
    x, y = ready.axes
    py, px = y.tile_px[tile // len(x.tile_cell)], x.tile_px[tile % len(x.tile_cell)]
    cosines = _tile_cosines(ready, scores, query, tile, (py, px))
    if ready.valid is not None:
        shut = ~ready.pixel_valid[py[:, :, None], px[:, None, :]]
        cosines = cosines.masked_fill(shut, -torch.inf)
    if away is not None:
        cosines = cosines.masked_fill(away.holds(query, px, py), -torch.inf)
    best, where = cosines.flatten(1).max(dim=1)
    pair, wide = torch.arange(len(tile), device=tile.device), px.shape[1]
    return best, py[pair, where // wide] * ready.size_wh[0] + px[pair, where % wide]


def _tile_cosines(
    ready: PreparedMap,
    scores: Float[Tensor, "queries rows columns"],
    query: Int[Tensor, " pairs"],
    tile: Int[Tensor, " pairs"],
    pixels: tuple[Int[Tensor, "pairs high"], Int[Tensor, "pairs wide"]],
) -> Float[Tensor, "pairs high wide"]:
    (x, y), (py, px), (row, column) = ready.axes, pixels, _cell_of(ready, tile)
    fx, fy = x.fraction[px], y.fraction[py][:, :, None]
    a, b, c, d = (corner[:, None] for corner in _corners(ready, scores, query, row, column))
    top, bottom = torch.lerp(a, b, fx)[:, None], torch.lerp(c, d, fx)[:, None]
    below = y.after(row)
    norms = ready.norms.inverse((row[:, None], below[:, None]), px, fy)
    return torch.lerp(top, bottom, fy) * norms


@dataclass(frozen=True)
class _Rows:
    """Some rows of the picture, and one over the norms there."""

    rows: Int[Tensor, " some"]
    norms: Float[Tensor, "some width"]

    def cosines(
        self, ready: PreparedMap, scores: Float[Tensor, "rows columns"]
    ) -> Float[Tensor, "some width"]:
        """Of one query; -inf where a pixel is not valid."""
        x, y = ready.axes
        low, high, fraction = y.low[self.rows], y.high[self.rows], y.fraction[self.rows, None]
        first = int(low[0])
        cells = scores[first : int(high[-1]) + 1].to(x.fraction)
        along = torch.lerp(cells[:, x.low], cells[:, x.high], x.fraction)
        cosines = torch.lerp(along[low - first], along[high - first], fraction) * self.norms
        if ready.valid is not None:
            cosines = cosines.masked_fill(~ready.pixel_valid[self.rows], -torch.inf)
        return cosines


def _blocks_of_rows(ready: PreparedMap) -> Iterator[_Rows]:
    """The picture from above, some rows at a time."""
    y, (w, h) = ready.axes[1], ready.size_wh
    device = ready.device
    every = torch.arange(w, device=device)
    for rows in torch.arange(h, device=device).split(max(1, BLOCK // w)):
        low, high, fraction = y.low[rows, None], y.high[rows, None], y.fraction[rows, None, None]
        yield _Rows(rows, ready.norms.inverse((low, high), every, fraction)[:, 0])


def _pictures_best(
    ready: PreparedMap,
    scores: Float[Tensor, "queries rows columns"],
    query: Int[Tensor, " some"],
    away: "Disc | None",
) -> tuple[Float[Tensor, " some"], Int[Tensor, " some"]]:
    """Of some queries: the best cosine of the whole picture and its pixel, counted row by row."""
    width, height = ready.size_wh
    best = torch.full((len(query),), -torch.inf, dtype=ready.fine, device=ready.device)
    first = torch.full_like(query, width * height)
    for block in _blocks_of_rows(ready):
        for i, one in enumerate(query.tolist()):
            cosines = block.cosines(ready, scores[one])
            if away is not None:
                every = torch.arange(width, device=ready.device)
                hidden = away.holds(query[i : i + 1], every[None], block.rows[None])[0]
                cosines = cosines.masked_fill(hidden, -torch.inf)
            value, where = cosines.flatten().max(dim=0)
            if value > best[i]:
                best[i], first[i] = value, block.rows[0] * width + where
    return best, first


def picture_rows(
    ready: PreparedMap, scores: Float[Tensor, "rows columns"]
) -> Iterator[Float[Tensor, "some width"]]:
    """Every pixel's cosine for one query, some of the picture's rows at a time, float32."""
    for block in _blocks_of_rows(ready):
        yield block.cosines(ready, scores).clamp(-1, 1).float()
