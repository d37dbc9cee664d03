"""Annotation transfer of masks: which of a target's cells look like the inside of the references'.

A cell of the target is compared with every cell of a reference: how like it is to the most similar
ones inside the mask, less how like to those outside. References vote with their likeness; where
things are cropped, the share of references that cover a place counts too. The result is cleaned:
smoothed, parts much smaller than the largest dropped, holes filled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from counterpoint.errors import BadInput
from counterpoint.features import sample_grid
from counterpoint.geometry import PixelTransform, Points, SizeWH, grid_points
from counterpoint.matching import PreparedMap
from counterpoint.tasks.annotation.transfer import Reference, View, better_side, likeness_weights

_NEAREST = 3  # cells inside and outside that a cell is compared with
_PRIOR_FLOOR = 0.05
_KEPT_PART = 0.1  # of the largest part's area
_SCORED = 64  # rows and columns on which masks are compared with each other

Mask = Bool[np.ndarray, "_ _"]


@dataclass(frozen=True, eq=False)
class CarriedMask:
    """A mask in the target, and how sure it is.

    Attributes:
        scores: (rows, columns) of the target's view, above 0 inside.
        confidence: 0 to 1: mean overlap (IoU) of what each reference alone would give with the
            result, where there are several; otherwise how clearly the cells decide.
    """

    scores: Float[np.ndarray, "rows columns"]
    confidence: float

    @property
    def mask(self) -> Mask:
        """(rows, columns) of the view, cleaned."""
        return clean(self.scores > 0)


def carry_mask(
    references: Sequence[Reference], target: View, *, placed: bool = True, threshold: float = 0.0
) -> CarriedMask:
    """Find the references' things in a target, as a mask.

    Args:
        references: with masks.
        target: where to look.
        placed: whether where the references' masks lie in their views tells something.
        threshold: of the score, in deviations; see `best_threshold`.

    Raises:
        BadInput: no reference with a mask.
    """
    return _joined(_scores_alone(references, target, placed), threshold)


@dataclass(frozen=True, eq=False)
class _Alone:
    """Scores by each reference alone, on the view's pixels, and the references' weights."""

    scores: Float[np.ndarray, "r rows columns"]
    weight: Float[np.ndarray, " r"]


def _scores_alone(references: Sequence[Reference], target: View, placed: bool) -> _Alone:
    usable = [one for one in references if one.mask is not None and one.mask.any()]
    if not usable:
        raise BadInput("expected a reference with a mask, got none")
    fits = [better_side(one.view, target) for one in usable]
    size_wh = target.size_wh
    scores = [
        _of_one(one, target, flip, placed) for one, (_, flip) in zip(usable, fits, strict=True)
    ]
    weight = likeness_weights(np.array([fit for fit, _ in fits]))
    fine = np.stack([_on_pixels(one, target.features, size_wh) for one in scores])
    return _Alone(fine, weight / weight.sum())


def _joined(alone: _Alone, threshold: float) -> CarriedMask:
    total = np.tensordot(alone.weight, alone.scores, axes=1) - threshold
    if len(alone.scores) == 1:
        inside = total[total > 0]
        sure = float(np.tanh(inside).mean()) if len(inside) else 0.0
        return CarriedMask(total, sure)
    final = _small(total) > 0
    overlaps = [overlap(_small(one) > threshold, final) for one in alone.scores]
    return CarriedMask(total, float(alone.weight @ np.array(overlaps)))


def _of_one(
    reference: Reference, target: View, flip: bool, placed: bool
) -> Float[np.ndarray, "rows columns"]:
    """Scores on the target's own grid, in deviations."""
    assert reference.mask is not None
    asked = target.mirror if flip and target.mirror is not None else target.features
    contrast = _contrast(reference.view.features, reference.mask, asked)
    _, rows, columns = target.features.values.shape
    cells_px = _all_cells_px(target.features)
    contrast = sample_grid(contrast[None], asked.to_grid.apply(cells_px)).double().cpu().numpy()
    contrast = contrast[:, 0] / max(float(contrast.std()), 1e-12)
    if placed:
        to_reference = PixelTransform.resize(target.size_wh, reference.view.size_wh)
        if flip:
            to_reference = PixelTransform.flip_x(target.size_wh[0]).then(to_reference)
        inside = _soft_at(reference.mask, to_reference.apply(cells_px))
        contrast = contrast + np.log(inside / (1 - inside)) / 2
    return contrast.reshape(rows, columns)


def _contrast(source: PreparedMap, mask: Mask, asked: PreparedMap) -> Float[Tensor, "rows columns"]:
    """How much more each cell asked looks like the source's inside than like its outside."""
    at = _all_cells_px(source).round().astype(int).clip(0, np.array(source.size_wh) - 1)
    inside = mask[at[:, 1], at[:, 0]]
    if not inside.any():  # a thing smaller than a cell: the cell nearest to its middle
        middle = np.argwhere(mask)[:, ::-1].mean(axis=0)
        inside[np.linalg.norm(at - middle, axis=1).argmin()] = True
    cells = source.values.flatten(1).T
    like = asked.scores(cells.to(asked.device)) * asked.cell_inverse
    own, other = (_most_alike(like[torch.from_numpy(chosen)]) for chosen in (inside, ~inside))
    return own - other


def _most_alike(cosines: Float[Tensor, "cells rows columns"]) -> Float[Tensor, "rows columns"]:
    if not len(cosines):
        return cosines.new_zeros(cosines.shape[1:])
    return cosines.topk(min(_NEAREST, len(cosines)), dim=0).values.mean(dim=0)


def _all_cells_px(ready: PreparedMap) -> Points:
    _, rows, columns = ready.values.shape
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    return ready.to_grid.invert().apply(cells)


def _soft_at(mask: Mask, points_px: Points) -> Float[np.ndarray, " n"]:
    """How much of a mask lies around points, 0 to 1, bounded away from both."""
    sigma = max(mask.shape) / 20
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)
    sampled = sample_grid(torch.from_numpy(soft)[None], points_px)[:, 0].double().numpy()
    return sampled.clip(_PRIOR_FLOOR, 1 - _PRIOR_FLOOR)


def _on_pixels(
    cells: Float[np.ndarray, "rows columns"], ready: PreparedMap, size_wh: SizeWH
) -> Float[np.ndarray, "height width"]:
    """A grid's numbers at the view's pixels, bilinear."""
    w, h = size_wh
    x = ready.to_grid.apply(np.repeat(np.arange(w), 2).reshape(-1, 2))[:, 0]
    y = ready.to_grid.apply(np.repeat(np.arange(h), 2).reshape(-1, 2))[:, 1]
    at_x, at_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    grid = cells.astype(np.float32)
    how = cv2.INTER_LINEAR
    fine = cv2.remap(grid, at_x, at_y, how, borderMode=cv2.BORDER_REPLICATE)
    return fine.astype(np.float64)


def clean(mask: Mask) -> Mask:
    """Smoothed, without parts much smaller than the largest one, and without holes."""
    size = max(3, round(max(mask.shape) / 100) * 2 + 1)
    smooth = cv2.medianBlur(mask.astype(np.uint8), min(size, 255))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(smooth, connectivity=8)
    if count < 2:
        return np.zeros(mask.shape, dtype=bool)
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.isin(parts, 1 + np.flatnonzero(areas >= _KEPT_PART * areas.max())).astype(np.uint8)
    borders, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(kept, borders, -1, 1, cv2.FILLED).astype(bool)


def overlap(a: Mask, b: Mask) -> float:
    """Intersection over union, 0 to 1; two empty masks agree."""
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def best_threshold(references: Sequence[Reference], *, placed: bool = True) -> tuple[float, float]:
    """The threshold under which the references' masks are found best from each other.

    Returns:
        The threshold, and the mean overlap (IoU) it gives, leave one out; 0 and NaN where fewer
        than two references have masks.
    """
    usable = [one for one in references if one.mask is not None and one.mask.any()]
    if len(usable) < 2:
        return 0.0, float("nan")
    tried = np.linspace(-1.5, 1.5, 31)
    table = [_overlaps(usable, i, placed, tried) for i in range(len(usable))]
    mean = np.mean(table, axis=0)
    best = int(mean.argmax())
    return float(tried[best]), float(mean[best])


def _overlaps(
    references: Sequence[Reference], index: int, placed: bool, tried: Float[np.ndarray, " n"]
) -> list[float]:
    held = references[index]
    assert held.mask is not None
    others = [*references[:index], *references[index + 1 :]]
    found = carry_mask(others, held.view, placed=placed)
    scores, truth = _small(found.scores), _small(held.mask.astype(np.float64)) > 0.5
    return [overlap(scores > level, truth) for level in tried]


def _small(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "_ _"]:
    """At few pixels, for comparing."""
    h, w = values.shape
    at = grid_points((w, h), _SCORED * _SCORED).astype(int)
    columns = np.unique(at[:, 0])
    rows = np.unique(at[:, 1])
    return values[np.ix_(rows, columns)]
