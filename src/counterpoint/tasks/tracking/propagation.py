"""Label propagation: what is marked in a video's first frame, carried to every later one.

As evaluated on DAVIS-2017 and JHMDB by DIFT (section 6.2), after Jabri et al. 2020 and DINO. A cell
of the new frame takes the labels of the cells that look most like it, in the first frame and the
last few:

- weights ``exp(cos / temperature)``, within a square neighbourhood (``radius`` cells to each side)
  of the same place;
- of all context positions together the ``topk`` largest, those equal to the last of them too,
  scaled to sum 1;
- the weighted mean of their soft labels, which is carried on as it is.

`LabelPropagator` takes one frame's features at a time, and never forms the affinity of all cells
with all: only a tile of cells against the neighbourhoods of that tile, in every context frame at
once. What it holds is the context (``context + 1`` frames) and one tile's scores, however long the
video. Labels are (labels, rows, columns); with masks, label 0 is the background.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import SizeWH, as_points
from counterpoint.tasks.masks import Mask

Labels = Float[Tensor, "labels rows columns"]
Features = Tensor | FeatureMap
"""Of one frame, (channels, rows, columns), floating point."""

AnyLabels = Float[Tensor, "_ _ _"]
"""Labels whose grid is checked against the features' with words."""

MAX_LABELS = 256
"""Labels of a mask, the background among them: what 8 bits hold."""

_SCORES_MB = {"cpu": 64, "cuda": 512}
"""Room for one tile's scores."""

_TILE = {"cpu": (8, 8), "cuda": (16, 16)}
"""Rows and columns of cells that are answered together. Small tiles waste few products on cells
outside a neighbourhood; large ones need fewer calls."""


@dataclass(frozen=True, kw_only=True)
class Propagation:
    """The parameters of label propagation; by default those of DIFT_sd on DAVIS-2017.

    Attributes:
        temperature: of the softmax over cosines, above 0.
        topk: how many context positions vote on a cell.
        radius: of the square neighbourhood, cells to each side; None: everywhere.
        context: how many of the last frames are asked, beside the first.
    """

    temperature: float | int = 0.2
    topk: int = 15
    radius: int | None = 15
    context: int = 28

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise BadInput(f"expected a temperature above 0, got {self.temperature}")
        if self.topk < 1 or self.context < 0 or (self.radius is not None and self.radius < 0):
            raise BadInput(
                "expected topk of at least 1, context and radius of at least 0, "
                f"got {self.topk}, {self.context}, {self.radius}"
            )


class LabelPropagator:
    """Carries labels from frame to frame; its memory does not grow with the video.

    Args:
        features: of the first frame.
        labels: of the first frame, at the features' grid; any real numbers (`one_hot_labels`,
            `gaussian_labels`).
        settings: the parameters.
        tile: rows and columns of cells answered together; by default what suits the device. The
            result depends on it by rounding only.

    Raises:
        BadInput: labels of another grid, or features that are padded, NaN or infinite.

    >>> first = torch.eye(4).reshape(4, 2, 2)
    >>> labels = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]])
    >>> propagator = LabelPropagator(first, labels, Propagation(topk=1))
    >>> propagator.step(first.flip(2))[0].tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """

    def __init__(
        self,
        features: Features,
        labels: AnyLabels,
        settings: Propagation | None = None,
        *,
        tile: tuple[int, int] | None = None,
    ) -> None:
        self.settings = settings or Propagation()
        values = _values(features)
        _require_labels(labels, len(labels), values.shape[1:])
        if tile is not None and min(tile) < 1:
            raise BadInput(f"expected a tile of at least 1 x 1 cells, got {tile}")
        self._tile = tile
        unit = _unit(values)
        self._context = _Context(self.settings.context, unit, labels.to(unit))

    @torch.no_grad()
    def step(self, features: Features) -> Labels:
        """Soft labels of the next frame, float32, (labels, rows, columns).

        Raises:
            BadInput: features of another grid or number of channels, padded, NaN or infinite.
        """
        unit = self._checked(features)
        found = unit.new_empty(*unit.shape[:2], self._context.labels.shape[-1])
        for tile in self._tiles():
            found[tile.rows, tile.columns] = self._answer(tile, unit[tile.rows, tile.columns])
        labels = found.permute(2, 0, 1).contiguous()
        self._context.push(unit, labels)
        return labels

    @torch.no_grad()
    def add(self, features: Features, labels: AnyLabels) -> None:
        """Take the next frame's labels as known, such as corrected by hand, and go on from them.

        Raises:
            BadInput: as `step`; or labels of another grid or number.
        """
        unit = self._checked(features)
        _require_labels(labels, self._context.labels.shape[-1], unit.shape[:2])
        self._context.push(unit, labels.to(unit))

    @torch.no_grad()
    def correct(self, labels: AnyLabels) -> None:
        """Replace the labels of the latest frame, such as by ones corrected by hand.

        Raises:
            BadInput: labels of another grid or number.
        """
        _, rows, columns = self._context.shape
        _require_labels(labels, self._context.labels.shape[-1], (rows, columns))
        self._context.replace_latest(labels)

    def forget(self, which: Sequence[int]) -> None:
        """Set some labels to 0 in all frames but the first and the latest: they were mistaken."""
        self._context.forget(which)

    def skip(self, frames: int) -> None:
        """Count frames that came and went before those now to be added, when a run goes on.

        With the last ``context`` frames added after it, everything lies where it would lie had all
        frames been seen, so that what follows is equal bit for bit.
        """
        self._context.count += frames

    def _checked(self, features: Features) -> Float[Tensor, "rows columns channels"]:
        values = _values(features)
        if values.shape != self._context.shape:
            raise BadInput(
                "expected every frame's features of one shape (channels, rows, columns), got "
                f"{tuple(values.shape)} after {self._context.shape}; resize the frames to one size"
            )
        return _unit(values.to(self._context.device))

    def _tiles(self) -> "Iterator[_Tile]":
        context, radius = self._context, self.settings.radius
        _, rows, columns = context.shape
        kind = context.device.type
        tall, wide = self._tile or _TILE.get(kind, _TILE["cpu"])
        room = _SCORES_MB.get(kind, _SCORES_MB["cpu"]) * 2**18 // context.filled
        reach = rows + columns if radius is None else radius
        while self._tile is None and tall * wide > 1:
            window = min(rows, tall + 2 * reach) * min(columns, wide + 2 * reach)
            if tall * wide * window <= room:
                break
            tall, wide = (tall // 2, wide) if tall > wide else (tall, wide // 2)
        for top in range(0, rows, tall):
            for left in range(0, columns, wide):
                yield _Tile(
                    slice(top, min(top + tall, rows)),
                    slice(left, min(left + wide, columns)),
                    slice(max(0, top - reach), min(top + tall + reach, rows)),
                    slice(max(0, left - reach), min(left + wide + reach, columns)),
                )

    def _answer(
        self, tile: "_Tile", queries: Float[Tensor, "tall wide channels"]
    ) -> Float[Tensor, "tall wide labels"]:
        """Labels of one tile's cells."""
        tall, wide, _ = queries.shape
        scores = self._scores(tile, queries.flatten(0, 1))
        best = scores.amax(dim=1)  # of each line
        groups = best.topk(min(self.settings.topk, len(best)), dim=0, sorted=False)
        inside = _gather_lines(scores, groups.indices)
        k = min(self.settings.topk, inside.shape[1])
        top = inside.topk(k, dim=1, sorted=False)
        least = top.values.amin(dim=1)
        labels = self._mean_of(tile, top, groups.indices)
        # Rare, and only then worth a pass over all scores: others equal to the last of the top k.
        level = torch.isfinite(least) & (
            ((best >= least).sum(dim=0) > len(groups.indices))
            | ((inside >= least[:, None]).sum(dim=1) > k)
        )
        if bool(level.any()):
            labels[level] = self._mean_of_all(tile, scores[:, :, level], least[level])
        return labels.reshape(tall, wide, -1)

    def _scores(
        self, tile: "_Tile", queries: Float[Tensor, "queries channels"]
    ) -> Float[Tensor, "lines across queries"]:
        """Cosines with every cell of the window in every context frame; -inf out of reach.

        A line is a row of the window in one frame, rows first: in a full context a plain view.
        """
        keys = self._context.window(tile)
        lines = keys.flatten(0, 1)
        with torch.autocast(queries.device.type, enabled=False):
            scores = torch.bmm(lines, queries.T.expand(len(lines), -1, -1))
        if self.settings.radius is not None:
            out_of_reach = tile.out_of_reach(self.settings.radius, queries)
            scores.view(*keys.shape[:2], *scores.shape[1:]).add_(out_of_reach[:, None])
        return scores

    def _mean_of(
        self, tile: "_Tile", top: "torch.return_types.topk", groups: Int[Tensor, "groups queries"]
    ) -> Float[Tensor, "queries labels"]:
        """Weighted mean of the labels at the top k positions."""
        width = tile.across.stop - tile.across.start
        lines = groups.T.gather(1, top.indices // width)
        row = lines // self._context.filled + tile.down.start
        slot = lines % self._context.filled
        column = top.indices % width + tile.across.start
        weights = torch.softmax(top.values / self.settings.temperature, dim=1)
        return torch.einsum("qk,qkl->ql", weights, self._context.labels[row, slot, column])

    def _mean_of_all(
        self,
        tile: "_Tile",
        scores: Float[Tensor, "lines across queries"],
        least: Float[Tensor, " queries"],
    ) -> Float[Tensor, "queries labels"]:
        """The same over every position that scores at least ``least``."""
        kept = scores.masked_fill(scores < least, -torch.inf).flatten(0, 1)
        weights = torch.softmax(kept / self.settings.temperature, dim=0)
        return weights.T @ self._context.window_labels(tile).flatten(0, 2)


@dataclass(frozen=True)
class _Tile:
    """Cells that are answered together, and the window of context cells that they reach.

    Attributes:
        rows: of the cells.
        columns: of the cells.
        down: rows of the window.
        across: columns of the window.
    """

    rows: slice
    columns: slice
    down: slice
    across: slice

    def out_of_reach(self, radius: int, like: Tensor) -> Float[Tensor, "down across queries"]:
        """0 where a cell of the window lies in a query's neighbourhood, else -inf."""
        y, x, v, u = (
            torch.arange(s.start, s.stop, device=like.device)
            for s in (self.rows, self.columns, self.down, self.across)
        )
        tall = (v[:, None] - y).abs() > radius
        wide = (u[:, None] - x).abs() > radius
        beyond = (tall[:, None, :, None] | wide[:, None]).flatten(2)
        return like.new_zeros(beyond.shape).masked_fill_(beyond, -torch.inf)


class _Context:
    """Features and labels of the first frame and the last few, by (row, frame, column).

    With frames inside rows, any window's lines of cells are evenly spaced in memory, so that one
    batched product reads them where they lie.
    """

    def __init__(
        self, last: int, unit: Float[Tensor, "rows columns channels"], labels: Labels
    ) -> None:
        rows, columns, channels = unit.shape
        self.device, self.last, self.count = unit.device, last, 0
        self.shape = (channels, rows, columns)
        self.features = unit.new_empty(rows, last + 1, columns, channels)
        self.labels = unit.new_empty(rows, last + 1, columns, len(labels))
        self._put(0, unit, labels)

    @property
    def filled(self) -> int:
        """Frames held: the first and up to ``last`` more."""
        return 1 + min(self.count, self.last)

    def push(self, unit: Float[Tensor, "rows columns channels"], labels: Labels) -> None:
        """Add a frame; the oldest but the first gives way."""
        if self.last:
            self._put(1 + self.count % self.last, unit, labels)
        self.count += 1

    def replace_latest(self, labels: Labels) -> None:
        """Other labels for the frame that was added last, or for the first."""
        if self.count and not self.last:
            return  # nobody remembers it
        slot = 1 + (self.count - 1) % self.last if self.count else 0
        self.labels[:, slot] = labels.permute(1, 2, 0).to(self.labels)

    def forget(self, which: Sequence[int]) -> None:
        """No more of these labels in the frames between the first and the latest."""
        latest = 1 + (self.count - 1) % self.last if self.last and self.count else 0
        between = [slot for slot in range(1, self.filled) if slot != latest]
        for label in which:
            self.labels[:, between, :, label] = 0

    def _put(self, slot: int, unit: Tensor, labels: Labels) -> None:
        self.features[:, slot] = unit
        self.labels[:, slot] = labels.permute(1, 2, 0)

    def window(self, tile: _Tile) -> Float[Tensor, "down frames across channels"]:
        """A view of the features in a tile's window."""
        return self.features[tile.down, : self.filled, tile.across]

    def window_labels(self, tile: _Tile) -> Float[Tensor, "down frames across labels"]:
        """A view of the labels there."""
        return self.labels[tile.down, : self.filled, tile.across]


def _gather_lines(
    scores: Float[Tensor, "lines across queries"], lines: Int[Tensor, "groups queries"]
) -> Float[Tensor, "queries candidates"]:
    """Each query's scores in the lines chosen for it."""
    queries = torch.arange(scores.shape[2], device=scores.device)
    return scores[lines.T, :, queries[:, None]].flatten(1)


def propagate(
    features: Iterable[Features], labels: AnyLabels, settings: Propagation | None = None
) -> Iterator[Labels]:
    """Soft labels of every frame but the first, one at a time; see `LabelPropagator`.

    Args:
        features: of every frame, the first included; taken one by one.
        labels: of the first frame.
        settings: the parameters.
    """
    frames = iter(features)
    first = next(frames, None)
    if first is None:
        raise BadInput("expected the features of at least one frame, got none")
    propagator = LabelPropagator(first, labels, settings)
    for frame in frames:
        yield propagator.step(frame)


def one_hot_labels(mask: ArrayLike, grid_wh: SizeWH, count: int | None = None) -> Labels:
    """A mask of whole numbers as labels at a feature grid: nearest neighbour, then one-hot.

    Args:
        mask: (rows, columns), 0 for the background, 1 to 255 for objects.
        grid_wh: columns and rows of the grid.
        count: of labels; by default one more than the mask's largest number.

    Raises:
        BadInput: not such a mask, or a number that ``count`` does not allow.

    >>> one_hot_labels([[0, 0, 2, 2], [0, 0, 2, 2]], (2, 1)).tolist()
    [[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]]
    """
    array = np.asarray(mask)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "uib":
        raise BadInput(
            f"expected a mask (rows, columns) of whole numbers, got {array.dtype} {array.shape}"
        )
    if array.min() < 0 or array.max() >= min(count or MAX_LABELS, MAX_LABELS):
        raise BadInput(
            f"expected labels 0 to {min(count or MAX_LABELS, MAX_LABELS) - 1} in the mask, "
            f"got {array.min()} to {array.max()}"
        )
    small = Image.fromarray(array.astype(np.uint8)).resize(grid_wh, Image.Resampling.NEAREST)
    numbers = torch.from_numpy(np.array(small, dtype=np.int64))
    total = count or int(array.max()) + 1
    return F.one_hot(numbers, total).permute(2, 0, 1).float()


def mask_of(labels: Labels, input_wh: SizeWH, size_wh: SizeWH | None = None) -> Mask:
    """The mask of a frame from its soft labels.

    Labels are upsampled bilinearly to the model's input; each that is positive anywhere is
    stretched to 0 to 1; the largest wins, the first of equals; nearest neighbour brings the mask
    to the frame's own size. A label that is positive and the same everywhere wins everywhere, as
    the original's 0 / 0 does.

    Args:
        labels: (labels, rows, columns).
        input_wh: the model's input, pixels.
        size_wh: the frame, pixels; by default the input's.
    """
    w, h = input_wh
    fine = F.interpolate(labels[None].float(), (h, w), mode="bilinear", align_corners=False)[0]
    high, low = fine.amax(dim=(1, 2), keepdim=True), fine.amin(dim=(1, 2), keepdim=True)
    stretched = (fine - low) / (high - low)
    stretched = stretched.masked_fill(high == low, torch.inf)
    winner = torch.where(high > 0, stretched, fine).argmax(dim=0)
    mask = winner.to(torch.uint8).cpu().numpy()
    if size_wh is None or size_wh == input_wh:
        return mask
    return np.array(Image.fromarray(mask).resize(size_wh, Image.Resampling.NEAREST))


def gaussian_labels(points_grid: ArrayLike, grid_wh: SizeWH, sigma: float | int = 0.5) -> Labels:
    """A Gaussian bump at each key point, (points, rows, columns), height 1, cut at 3 sigma.

    Args:
        points_grid: (N, 2), (x, y), cells of the grid. One more than 3 sigma off the grid has an
            empty map.
        grid_wh: columns and rows of the grid.
        sigma: cells.
    """
    points = as_points(points_grid)
    if len(points) == 0 or not sigma > 0:
        raise BadInput(f"expected points and a sigma above 0, got {len(points)} points, {sigma}")
    across = np.arange(grid_wh[0]) - points[:, :1]
    down = np.arange(grid_wh[1]) - points[:, 1:]
    squared = (down**2)[:, :, None] + (across**2)[:, None, :]
    bumps = np.exp(-squared / (2 * sigma**2)) * (squared <= (3 * sigma) ** 2)
    return torch.from_numpy(bumps).float()


def points_of(labels: Labels, top: int = 3) -> Float[np.ndarray, "points 2"]:
    """Key points from their label maps: the mean of the ``top`` largest cells, by their values.

    Returns:
        (points, 2), (x, y), cells of the grid; NaN for a map without a positive value.
    """
    columns = labels.shape[2]
    values, cells = labels.flatten(1).double().topk(min(top, labels[0].numel()), dim=1)
    weights = values.clamp_min(0)
    total = weights.sum(dim=1, keepdim=True)
    places = torch.stack([cells % columns, cells // columns], dim=2)
    points = (places * weights[..., None]).sum(dim=1) / total
    return points.masked_fill(total == 0, torch.nan).cpu().numpy()


def _values(features: Features) -> Float[Tensor, "channels rows columns"]:
    """The numbers of a frame, checked."""
    if isinstance(features, FeatureMap):
        if features.valid is not None and not bool(features.valid.all()):
            raise BadInput(
                "expected frames without padding, got a padded feature map; resize the frames to "
                "a size that the model takes as it is"
            )
        features = features.values
    if features.ndim != 3 or not features.is_floating_point() or 0 in features.shape:
        raise BadInput(
            "expected features (channels, rows, columns), floating point, "
            f"got {features.dtype} {tuple(features.shape)}"
        )
    return features.detach()


def _require_labels(labels: AnyLabels, count: int, grid: Sequence[int]) -> None:
    if labels.shape != (count, *grid) or count == 0:
        raise BadInput(
            f"expected labels (labels, rows, columns) = {(max(count, 1), *grid)}, at the features' "
            f"grid; got {tuple(labels.shape)}"
        )
    if not bool(torch.isfinite(labels).all()):
        raise BadInput("expected finite labels, got NaN or infinity")


def _unit(values: Float[Tensor, "channels rows columns"]) -> Tensor:
    """Every cell's vector at unit length, float32, (rows, columns, channels)."""
    unit = F.normalize(values.float(), dim=0)
    if not bool(torch.isfinite(unit).all()):
        raise BadInput("expected finite features, got NaN or infinity; extract them again")
    return unit.permute(1, 2, 0).contiguous()
