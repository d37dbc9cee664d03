"""Points and boxes as soft labels on a feature grid, and read back from them.

A point is a small Gaussian. Carried through a video its label spreads; where it is, is read at the
mode: the mean of the cells around the largest one. How well it has held together, `Reading.hold`,
is what tells a point that is still followed from one that is lost.

A box is the ellipse of half its area in its middle, which holds little background; it is read back
by how far the middle 80 per cent of the label have moved and stretched.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from torch import Tensor

from counterpoint.errors import BadInput
from counterpoint.geometry import PixelTransform, Points, SizeWH
from counterpoint.tasks.tracking.propagation import Labels

Boxes = Float[np.ndarray, "boxes 4"]
"""Each (x, y, width, height) in pixels: x and y of the first pixel that it holds."""

MODE_CELLS = 2
"""The mode's surroundings, cells to each side."""

TEMPERATURE = 0.02
"""Of the softmax that places a point between cells, in units of cosine."""

_ELLIPSE = 0.5  # squared radius in half sides: half the area that touches the box's sides
_SHARES = (0.1, 0.9)  # of a label's mass, whose places are a box's lower and upper marks
_FLOOR = 0.3  # of a label's peak: what lies below is smear


@dataclass(frozen=True, eq=False)
class Reading:
    """Points read from their label maps.

    Attributes:
        points_grid: (N, 2), (x, y), cells; NaN for an empty map.
        hold: (N,), 0 to 1: the label's peak times the share of it that lies around the peak.
    """

    points_grid: Float[np.ndarray, "n 2"]
    hold: Float[np.ndarray, " n"]


def read_points(labels: Labels, reach: int = MODE_CELLS) -> Reading:
    """Where points are by their label maps (points, rows, columns).

    >>> from counterpoint.tasks.tracking.propagation import gaussian_labels
    >>> read = read_points(gaussian_labels([(3, 2)], (8, 6)))
    >>> read.points_grid.tolist(), read.hold.round(2).tolist()
    ([[3.0, 2.0]], [1.0])
    """
    maps = labels.double().cpu().clamp_min(0)
    peak = maps.flatten(1).amax(dim=1)
    best = maps.flatten(1).argmax(dim=1)
    columns = maps.shape[2]
    centre = torch.stack([best % columns, best // columns], dim=1).double()
    near = maps * _near(centre, maps.shape[1:], reach)
    mass = near.sum(dim=(1, 2))
    points = (_mean_cell(near) / mass[:, None]).masked_fill(mass[:, None] == 0, torch.nan)
    share = mass / maps.sum(dim=(1, 2)).clamp_min(1e-300)
    return Reading(points.numpy(), (peak.clamp(0, 1) * share).numpy())


def refine_points(
    points_grid: Float[np.ndarray, "n 2"],
    templates: Float[Tensor, "n channels"],
    values: Float[Tensor, "channels rows columns"],
    reach: int,
) -> Float[np.ndarray, "n 2"]:
    """Points moved to where the features look most like their own, at most ``reach`` cells away.

    The place between cells is the softmax-weighted mean around the best cell (the window
    soft-argmax of matching). Points that are NaN stay.

    Args:
        points_grid: (x, y), cells.
        templates: each point's own feature, of any length.
        values: the frame's features.
        reach: cells to each side; 0 leaves the points as they are.
    """
    known = np.isfinite(points_grid).all(axis=1)
    if reach < 1 or not known.any():
        return points_grid
    rows, columns = values.shape[1:]
    centre = torch.from_numpy(points_grid[known]).to(values.device)
    steps = torch.arange(-reach, reach + 1, device=values.device)
    x, y = ((centre[:, i : i + 1].round().long() + steps) for i in (0, 1))
    outside = ((y < 0) | (y >= rows))[:, :, None] | ((x < 0) | (x >= columns))[:, None, :]
    x, y = x.clamp(0, columns - 1), y.clamp(0, rows - 1)
    around = F.normalize(values[:, y[:, :, None], x[:, None, :]].float(), dim=0)
    own = F.normalize(templates[torch.from_numpy(known)].to(around), dim=1)
    cosine = torch.einsum("cnyx,nc->nyx", around, own).masked_fill(outside, -torch.inf)
    best = cosine.flatten(1).argmax(dim=1)
    at = torch.stack([best % len(steps), best // len(steps)], dim=1).double()
    near = _near(at, cosine.shape[1:], MODE_CELLS).to(cosine.device)
    logits = (cosine / TEMPERATURE).masked_fill(~near, -torch.inf).flatten(1)
    weight = logits.double().softmax(dim=1).reshape(cosine.shape)
    moved = _mean_cell(weight) - reach + centre.round()
    found = points_grid.copy()
    found[known] = moved.cpu().numpy().clip(0, (columns - 1, rows - 1))
    return found


def _near(
    centre: Float[Tensor, "n 2"], shape: tuple[int, ...], reach: int
) -> Bool[Tensor, "n rows columns"]:
    """Which cells lie within a square around each centre."""
    x, y = (torch.arange(side, device=centre.device) for side in (shape[1], shape[0]))
    wide = (x - centre[:, :1]).abs() <= reach
    tall = (y - centre[:, 1:]).abs() <= reach
    return tall[:, :, None] & wide[:, None, :]


def _mean_cell(weight: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n 2"]:
    """The sum of places (x, y) by weight."""
    x, y = (torch.arange(side, device=weight.device).to(weight) for side in weight.shape[:0:-1])
    return torch.stack([(weight.sum(1) * x).sum(1), (weight.sum(2) * y).sum(1)], dim=1)


def box_labels(boxes: ArrayLike, to_grid: PixelTransform, grid_wh: SizeWH) -> Labels:
    """A label map for each box: 1 on its inner ellipse, (boxes, rows, columns).

    Args:
        boxes: (N, 4).
        to_grid: from the frame's pixels to cells.
        grid_wh: columns and rows.

    >>> quarter = PixelTransform.resize((16, 16), (4, 4))
    >>> box_labels([(0, 0, 16, 16)], quarter, (4, 4))[0].sum().item()
    4.0
    """
    x, y, w, h = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).T
    middle = to_grid.apply(np.stack([x + (w - 1) / 2, y + (h - 1) / 2], axis=1))
    half = np.stack([w, h], axis=1) / 2 * np.abs(to_grid.scale_xy)
    across = (np.arange(grid_wh[0]) - middle[:, :1]) / half[:, :1]
    down = (np.arange(grid_wh[1]) - middle[:, 1:]) / half[:, 1:]
    inner = down[:, :, None] ** 2 + across[:, None, :] ** 2 <= _ELLIPSE
    rows, columns = middle[:, 1].round().astype(int), middle[:, 0].round().astype(int)
    # A box smaller than a cell still has the cell it lies in.
    inner[np.arange(len(inner)), rows.clip(0, grid_wh[1] - 1), columns.clip(0, grid_wh[0] - 1)] = 1
    return torch.from_numpy(inner).float()


def box_marks(labels: Labels) -> Float[np.ndarray, "boxes 4"]:
    """Lower x and y, upper x and y between which the middle 80 per cent of each label lie, cells.

    NaN for an empty map. Edges of cells count: a label on one cell spans 0.8 of it.
    """
    maps = labels.double().cpu().clamp_min(0)
    peak = maps.amax(dim=(1, 2), keepdim=True)
    maps = maps * (maps > _FLOOR * peak)
    sides = [_quantiles(maps.sum(dim=1).numpy()), _quantiles(maps.sum(dim=2).numpy())]
    return np.stack([side[:, i] for i in (0, 1) for side in sides], axis=1)


def _quantiles(profile: Float[np.ndarray, "n cells"]) -> Float[np.ndarray, "n 2"]:
    edges = np.arange(profile.shape[1] + 1) - 0.5
    found = np.full((len(profile), 2), np.nan)
    for i, mass in enumerate(profile):
        if mass.sum() > 0:
            summed = np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum()
            found[i] = np.interp(_SHARES, summed, edges)
    return found


def moved_boxes(
    boxes: Boxes,
    before: Float[np.ndarray, "boxes 4"],
    after: Float[np.ndarray, "boxes 4"],
    to_grid: PixelTransform,
) -> Boxes:
    """Boxes moved and stretched as the marks of their labels were; NaN where a label is empty.

    Args:
        boxes: as given.
        before: `box_marks` of the labels they were given as.
        after: of the labels now.
        to_grid: from the frame's pixels to cells.
    """
    if len(boxes) != len(before) or len(boxes) != len(after):
        raise BadInput(f"expected marks for each of {len(boxes)} boxes")
    stretch = (after[:, 2:] - after[:, :2]) / (before[:, 2:] - before[:, :2])
    shift = ((after[:, :2] + after[:, 2:]) - (before[:, :2] + before[:, 2:])) / 2
    middle = boxes[:, :2] + (boxes[:, 2:] - 1) / 2 + shift / np.asarray(to_grid.scale_xy)
    size = boxes[:, 2:] * stretch
    return np.concatenate([middle - (size - 1) / 2, size], axis=1)


def box_corners(boxes: Boxes) -> Points:
    """First and last pixel of each box, (2 N, 2), to be checked against the frame."""
    first = boxes[:, :2]
    return np.stack([first, first + boxes[:, 2:] - 1], axis=1).reshape(-1, 2)
