"""Mirrored targets: the better of a target and its mirror image, pair by pair.

Features know how a thing looks, not which of its sides is which, and two things that look opposite
ways match badly. So the target is also extracted mirrored, and whichever of the two is nearer to
the source as a whole is searched (test-time adaptive pose alignment, GeoAware-SC, Zhang et al.
2024: they mirror the source and compare distances of nearest neighbours inside the
source's mask).

The map of a mirrored picture goes on in the frame of the picture as it is: its geometry has a
negative scale along x, and points need no turning back.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, Points, as_points
from counterpoint.images import Picture
from counterpoint.matching.find import match, require_known
from counterpoint.matching.matches import Matches
from counterpoint.matching.prepared import PreparedMap, prepare

Criterion = Literal["similarity", "mutual"]

MAX_CELLS = 2500
"""Cells of a map that are compared; of finer grids every second one along each side, or fewer."""


def mirrored(picture: Picture) -> Picture:
    """The picture, left and right exchanged; extract features of this."""
    return Picture(picture.rgb[:, ::-1].copy(), picture.name)


def unmirrored(features: FeatureMap) -> FeatureMap:
    """The features of a `mirrored` picture, placed on the picture as it is.

    >>> import torch
    >>> fmap = FeatureMap(torch.arange(4.0).reshape(1, 1, 4), image_size_wh=(4, 1))
    >>> unmirrored(fmap).sample([(0, 0), (3, 0)]).tolist()
    [[3.0], [0.0]]
    """
    assert features.to_input is not None
    flip = PixelTransform.flip_x(features.image_size_wh[0])
    return replace(features, to_input=flip.then(features.to_input))


@dataclass(frozen=True)
class Alignment:
    """How well a target fits a source, as it is and mirrored.

    Attributes:
        plain: of the target as it is, in the criterion's units.
        mirrored: of its mirror image.
    """

    plain: float
    mirrored: float

    @property
    def flip(self) -> bool:
        """Whether the mirror image fits better; where they tie, the target stays as it is."""
        return self.mirrored > self.plain


def align_target(
    source: FeatureMap | PreparedMap,
    target: FeatureMap | PreparedMap,
    mirror: FeatureMap | PreparedMap,
    criterion: Criterion = "similarity",
) -> Alignment:
    """Compare a target and its mirror image with a source, over all their cells.

    Of grids of more than `MAX_CELLS` cells, so many at regular places. A network that takes no
    notice of sides finds both alike; then nothing is lost by the target as it is.

    Args:
        source: features of the source picture; masked, where a mask is known.
        target: of the target.
        mirror: of the mirrored target, perhaps `unmirrored`: where its cells lie plays no part.
        criterion: "similarity": the mean over the source's cells of their largest cosine with the
            target's cells. "mutual": how many cells of the two choose each other.

    Raises:
        UnknownName: no such criterion.
        BadInput: maps of different channels.
    """
    require_known("criterion", criterion, get_args(Criterion))
    ready = prepare(source)
    plain, flipped = (_fit(ready, prepare(one), criterion) for one in (target, mirror))
    return Alignment(plain, flipped)


def _fit(source: PreparedMap, target: PreparedMap, criterion: Criterion) -> float:
    cosines = target.scores(_cells(source).to(target.device)) * target.cell_inverse
    if target.valid is not None:
        cosines = cosines.masked_fill(~target.valid, -2)
    step = _step(target)
    cosines = cosines[:, ::step, ::step].flatten(1)
    if criterion == "similarity":
        return float(cosines.amax(dim=1).mean())
    back = cosines.argmax(dim=0)
    index = cosines.argmax(dim=1)
    mutual = back[index] == torch.arange(len(index), device=index.device)
    return float(mutual.sum())


def _cells(ready: PreparedMap) -> Float[Tensor, "cells channels"]:
    """The valid ones of those that are compared; where a mask leaves none of these, all."""
    step = _step(ready)
    chosen = ready.values[:, ::step, ::step].flatten(1).T
    if ready.valid is None:
        return chosen
    kept = ready.valid[::step, ::step].flatten()
    return chosen[kept] if bool(kept.any()) else ready.values[:, ready.valid].T


def _step(ready: PreparedMap) -> int:
    rows, columns = ready.values.shape[1:]
    return math.ceil((rows * columns / MAX_CELLS) ** 0.5)


@dataclass(frozen=True, eq=False)
class Oriented:
    """Matches in the better of a target and its mirror image.

    Attributes:
        matches: in the target picture as it is, whichever was searched; ``cycle_px`` is of the
            point that was asked for, which sides may have exchanged.
        alignment: how well both fitted.
    """

    matches: Matches
    alignment: Alignment


def match_either(
    source: FeatureMap | PreparedMap,
    target: FeatureMap | PreparedMap,
    mirror: FeatureMap | PreparedMap,
    points_px: ArrayLike,
    *,
    criterion: Criterion = "mutual",
    sides: Iterable[Sequence[int]] = (),
    **how: Any,
) -> Oriented:
    """Find points in a target or in its mirror image, whichever fits the source better.

    Args:
        source: features of the source picture.
        target: of the target.
        mirror: of the `mirrored` target, `unmirrored`.
        points_px: (N, 2), in the source picture's pixels.
        criterion: as `align_target` takes it.
        sides: as `swap_sides` takes them; used where the mirror image is searched.
        how: as `match` takes it. Without a ``calibration`` of your own there is none: those of the
            package were fitted without mirrors.

    Raises:
        PointError, BadInput: as `match` and `swap_sides`.
    """
    points_px = as_points(points_px)
    exchanged = swap_sides(points_px, sides)
    alignment = align_target(source, target, mirror, criterion)
    how = {"calibration": None, **how}
    if not alignment.flip:
        return Oriented(match(source, target, points_px, **how), alignment)
    found = match(source, mirror, exchanged, **how)
    return Oriented(replace(found, source_px=points_px), alignment)


def swap_sides(points_px: ArrayLike, sides: Iterable[Sequence[int]]) -> Points:
    """Points with those of a left and a right side exchanged: what to ask a mirrored target for.

    In a mirror a left eye looks like a right one, so the left eye's counterpart is found from where
    the source has its right eye. A point whose partner is not given stays where it is.

    Args:
        points_px: (N, 2).
        sides: pairs of indices of points that are each other's mirror image.

    >>> swap_sides([(1, 1), (5, 5), (9, 1)], [(0, 2)]).tolist()
    [[9.0, 1.0], [5.0, 5.0], [1.0, 1.0]]

    Raises:
        BadInput: an index that is no point's, or in two pairs.
    """
    points = as_points(points_px)
    return points[_permutation(len(points), sides)]


def _permutation(count: int, sides: Iterable[Sequence[int]]) -> Int[np.ndarray, " n"]:
    order = np.arange(count)
    named: set[int] = set()
    for pair in sides:
        if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= i < count for i in pair):
            raise BadInput(f"expected two different points of {count} as sides, got {tuple(pair)}")
        if named & set(pair):
            raise BadInput(f"expected each point in one pair of sides, got {tuple(pair)} again")
        named |= set(pair)
        order[list(pair)] = order[list(pair[::-1])]
    return order
