"""An edit of one picture, carried to another by their features (DIFT, figure 6).

Points are sampled inside the edit, matched, and a warp is fitted to the matches by RANSAC. Pure:
feature maps and an edit in, warps out; `counterpoint.tasks.edits.layers.render` draws them. An edit
that the matches do not support is refused, with the reason; so is each island of it.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, Points, SizeWH
from counterpoint.matching import Matches, PreparedMap, match
from counterpoint.matching.prepared import prepare
from counterpoint.tasks.edits.layers import Edit, Overlay, render
from counterpoint.tasks.edits.points import Carrying, sample_points
from counterpoint.tasks.edits.search import CarriedPart, RefusedIsland, Search
from counterpoint.tasks.edits.warps import usual_scale

_ERROR_SHARE = 0.1
"""Share of an edit's size by which a match may be off, unless told otherwise."""


@dataclass(frozen=True, eq=False)
class CarriedEdit:
    """An edit in a target picture.

    Attributes:
        edit: what was carried.
        matches: of all points sampled.
        island: (N,), the island each point lies on; 0 for points around the edit.
        returns: (N,), whether the match leads back to its start.
        threshold_px: within which a match agrees, pixels of the target.
        parts: what was found, in the order of finding.
        refused: what was not.
    """

    edit: Edit
    matches: Matches
    island: Int[np.ndarray, " n"]
    returns: Bool[np.ndarray, " n"]
    threshold_px: float | int
    parts: tuple[CarriedPart, ...]
    refused: tuple[RefusedIsland, ...]

    @property
    def carried(self) -> bool:
        """Whether any of it is drawn."""
        return bool(self.parts)

    @property
    def reason(self) -> str:
        """Why nothing, or not all of it, is drawn; "" where all is."""
        reasons = dict.fromkeys(island.reason for island in self.refused)
        return "; ".join(reasons)

    @property
    def inliers(self) -> Bool[np.ndarray, " n"]:
        """Which matches agree with a part's warp, (N,)."""
        agree = [part.fit.inliers for part in self.parts]
        return np.logical_or.reduce([np.zeros(len(self.matches), dtype=bool), *agree])

    def overlays(self) -> list[Overlay]:
        """What is to be laid over the target, in order, at its resolution."""
        return [
            render(self.edit.only(part.islands), part.fit.warp, self.target_wh, part.kept)
            for part in self.parts
        ]

    @property
    def target_wh(self) -> SizeWH:
        """Width and height of the target picture, pixels."""
        return self.matches.target_size_wh

    def mirrored(self) -> "CarriedEdit":
        """The same for a target that is the mirror image of this one."""
        flip = PixelTransform.flip_x(self.target_wh[0])
        parts = tuple(
            replace(part, fit=replace(part.fit, warp=part.fit.warp.then(flip.matrix())))
            for part in self.parts
        )
        ends = flip.apply(self.matches.target_px)
        return replace(self, parts=parts, matches=replace(self.matches, target_px=ends))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain lists and numbers, ready for JSON."""
        return {
            "carried": self.carried,
            "reason": self.reason,
            "points": len(self.matches),
            "returning": int(self.returns.sum()),
            "inliers": int(self.inliers.sum()),
            "threshold_px": self.threshold_px,
            "parts": [_part_dict(part) for part in self.parts],
            "refused": [{"island": r.island, "reason": r.reason} for r in self.refused],
        }


def _part_dict(part: CarriedPart) -> dict[str, Any]:
    warp = part.fit.warp
    bend = warp.bend and {
        "centres": warp.bend.centres.tolist(),
        "weights": warp.bend.weights.tolist(),
        "scale": warp.bend.scale,
    }
    return {
        "islands": list(part.islands),
        "kind": warp.kind,
        "matrix": warp.matrix.tolist(),
        "bend": bend,
        "inliers": part.fit.support,
        "support": part.support,
        "kept": part.kept_share,
        "log10_chance": part.fit.log10_chance,
    }


def carry_edit(
    edit: Edit,
    source: FeatureMap | PreparedMap,
    target: FeatureMap | PreparedMap,
    how: Carrying | None = None,
) -> CarriedEdit:
    """Find where an edit of the source picture belongs in the target picture.

    Only matches that lead back to within a cell of their start take part. The islands of an edit
    are fitted together first; those that do not agree with the common warp are tried again, then
    each alone.

    Args:
        edit: over the source picture.
        source: features of the source picture *without* the edit.
        target: features of the target picture.
        how: by default `Carrying()`.

    Raises:
        BadInput: an edit of a picture of another size than the source map's; maps of different
            channels.

    >>> import torch
    >>> values = torch.randn(24, 20, 20, generator=torch.Generator().manual_seed(0))
    >>> left = FeatureMap(values, (200, 200))
    >>> right = FeatureMap(values.roll((2, 3), (1, 2)), (200, 200))
    >>> red = np.full((80, 80, 4), 255, np.uint8)
    >>> place = PixelTransform.pad(40, 50).matrix()
    >>> edit = Edit(red, place, (200, 200), np.ones((80, 80), int))
    >>> [part] = carry_edit(edit, left, right).parts
    >>> part.fit.warp.kind, part.fit.warp.apply([(80, 90)]).round(1).tolist()
    ('similarity', [[110.0, 110.0]])
    """
    how = how or Carrying()
    ready, other = prepare(source), prepare(target)
    if edit.source_wh != ready.size_wh:
        raise BadInput(
            f"expected features of the edit's source, {edit.source_wh[0]} x {edit.source_wh[1]}, "
            f"got of a picture of {ready.size_wh[0]} x {ready.size_wh[1]}"
        )
    points, island = sample_points(edit, how)
    matches = match(ready, other, points, margin_radius=None)
    returns = matches.cycle_px <= max(ready.stride_px)
    threshold = how.threshold_px or _usual_threshold(edit, other)
    cells = _cells(ready, points)
    search = Search(edit, matches, island, returns, cells, threshold, how)
    parts, refused = search.run()
    return CarriedEdit(edit, matches, island, returns, threshold, parts, refused)


def _usual_threshold(edit: Edit, target: PreparedMap) -> float:
    """Pixels of the target; see `Carrying.threshold_px`."""
    side = float((edit.coverage.alpha > 0).sum()) ** 0.5
    side *= usual_scale(edit.source_wh, target.size_wh)
    return max(3.0, min(2.0 * max(target.stride_px), _ERROR_SHARE * side))


def _cells(source: PreparedMap, points: Points) -> Int[np.ndarray, " n"]:
    """The number of the grid's cell that each source point lies in."""
    x, y = np.floor(source.to_grid.apply(points) + 0.5).T.astype(np.int64)
    return y * (source.values.shape[2] + 2) + x
