"""An edit of one picture, carried to another by their features (DIFT, figure 6).

Points are sampled inside the edit, matched, and a warp is fitted to the matches by RANSAC. Pure:
feature maps and an edit in, warps out; `counterpoint.tasks.layers.render` draws them. An edit
that the matches do not support is refused, with the reason; so is each island of it.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, Points, SizeWH, as_points, inside
from counterpoint.matching import Matches, PreparedMap, match
from counterpoint.matching.find import require_known
from counterpoint.matching.prepared import prepare
from counterpoint.tasks.layers import Edit, Kept, Overlay, render
from counterpoint.tasks.warps import NoWarp, Plausible, WarpFit, WarpKind, choose_warp, implausible

Choice = Literal["auto", "similarity", "affine", "homography", "thin-plate"]

_CHOICES: dict[Choice, tuple[WarpKind, ...]] = {
    "auto": ("similarity", "affine", "homography", "thin-plate"),
    "similarity": ("similarity",),
    "affine": ("affine",),
    "homography": ("homography",),
    "thin-plate": ("thin-plate",),
}

_SUPPORT, _CLEAR_SUPPORT = 0.25, 0.1
"""Shares of the points that must agree by default, and where the matches are clear:"""

_CLEAR_CHANCE, _CLEAR_SPREAD, _CLEAR_RETURNING = -30.0, 0.5, 0.3
"""`log10_chance` below this; inliers spread over this share of the points' area at least, and this
share at least of the points whose matches lead back. Chosen with the embedded model on pictures
where the truth is known and on others that do not show the object (docs/edits.md): matches of
neighbouring points err together, so chance alone would let wrong warps pass."""

_REACH = 2.0
"""How far a point speaks for its surroundings, in distances of neighbouring points."""

_LATTICE = 48
"""Cells along the longer side of the grid on which support is weighed."""

_ALIKE = 0.8
"""Of the support that an island has alone, what a common warp must keep."""

_ERROR_SHARE = 0.1
"""Share of an edit's size by which a match may be off, unless told otherwise."""

_SEEN = 0.1
"""Share of an edit that must lie inside the target."""


@dataclass(frozen=True, kw_only=True)
class Carrying:
    """How an edit is carried.

    Attributes:
        warp: of which kind; "auto" takes what the matches support best.
        points: about how many are sampled inside the edit, evenly.
        threshold_px: within which a match agrees, pixels of the target. None: two cells of the
            target's feature grid or a tenth of the edit's size (the root of its area), whichever
            is less, but 3 px at least.
        min_support: share of the sampled points that must agree, 0 to 1. None: a quarter; a tenth
            where they are spread over the edit, many of those whose matches lead back, and chance
            would give such agreement less than once in 10^30.
        context: points are also sampled around the edit, as far as this share of its size; they
            help to find the warp, not to support the edit.
        leave_out: leave out the part of an edit that lacks the support which the rest has.
        plausible: what a warp may do.
        seed: of the sampling.
    """

    warp: Choice = "auto"
    points: int = 256
    threshold_px: float | int | None = None
    min_support: float | int | None = None
    context: float | int = 0.0
    leave_out: bool = True
    plausible: Plausible = field(default_factory=Plausible)
    seed: int = 0

    def __post_init__(self) -> None:
        require_known("warp", self.warp, get_args(Choice))
        if self.points < 4:
            raise BadInput(f"expected at least 4 points inside the edit, got {self.points}")
        if self.threshold_px is not None and not self.threshold_px > 0:
            raise BadInput(f"expected a threshold above 0 px, got {self.threshold_px:g}")
        if not 0 <= (self.min_support or 0) <= 1 or not 0 <= self.context <= 2:
            raise BadInput(
                "expected a support from 0 to 1 and a context from 0 to 2, "
                f"got {self.min_support or 0:g} and {self.context:g}"
            )


@dataclass(frozen=True, eq=False)
class CarriedPart:
    """Islands of an edit that move together.

    Attributes:
        islands: which, from 1.
        fit: the warp; its inliers are counted over all points of `CarriedEdit.matches`.
        support: share of these islands' points inside the target that agree.
        kept: where it is drawn; None: everywhere.
        kept_share: how much of it is, 0 to 1.
    """

    islands: tuple[int, ...]
    fit: WarpFit
    support: float
    kept: Kept | None
    kept_share: float


@dataclass(frozen=True)
class RefusedIsland:
    """An island that is left out, and why."""

    island: int
    reason: str


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
    search = _Search(edit, matches, island, returns, cells, threshold, how)
    parts, refused = search.run()
    return CarriedEdit(edit, matches, island, returns, threshold, parts, refused)


def _usual_threshold(edit: Edit, target: PreparedMap) -> float:
    """Pixels of the target; see `Carrying.threshold_px`."""
    areas = [np.prod(size) for size in (target.size_wh, edit.source_wh)]
    covered = float((edit.coverage.alpha > 0).sum() * areas[0] / areas[1])
    return max(3.0, min(2.0 * max(target.stride_px), _ERROR_SHARE * covered**0.5))


def _cells(source: PreparedMap, points: Points) -> Int[np.ndarray, " n"]:
    """The number of the grid's cell that each source point lies in."""
    x, y = np.floor(source.to_grid.apply(points) + 0.5).T.astype(np.int64)
    return y * (source.values.shape[2] + 2) + x


def sample_points(edit: Edit, how: Carrying) -> tuple[Points, Int[np.ndarray, " n"]]:
    """Points inside an edit, one drawn from every cell of a grid that it touches.

    Returns:
        Whole pixels (N, 2) of the source picture, and the island each lies on; 0 for points around
        the edit.
    """
    alpha = edit.coverage.full(edit.source_wh)
    covered = alpha >= 0.5 * float(alpha.max())
    chosen = _stratified(covered, how.points, how.seed)
    island = edit.island_at(chosen)
    # A point at the rim may fall between the layer's own pixels.
    island[island == 0] = 1 if edit.island_count == 1 else _nearest(chosen, island)
    if not how.context:
        return chosen, island
    width = max(1, round(how.context * float(covered.sum()) ** 0.5))
    distance = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, 5)
    ring = (distance > 0) & (distance <= width)
    around = _stratified(ring, round(how.points * ring.sum() / covered.sum()), how.seed)
    none = np.zeros(len(around), dtype=island.dtype)
    return np.concatenate([chosen, around]), np.concatenate([island, none])


def _nearest(points: Points, island: Int[np.ndarray, " n"]) -> Int[np.ndarray, " k"]:
    """For points without an island, that of the nearest point with one."""
    known = np.flatnonzero(island > 0)
    lost = points[island == 0]
    distance = np.linalg.norm(lost[:, None] - points[known][None], axis=2)
    return island[known[distance.argmin(axis=1)]]


def _stratified(region: Bool[np.ndarray, "rows columns"], count: int, seed: int) -> Points:
    """One random pixel from each square of a grid that the region touches, about ``count``."""
    y, x = np.nonzero(region)
    if not len(x) or count < 1:
        return np.zeros((0, 2))
    order = np.random.default_rng(seed).permutation(len(x))
    side = max(1.0, (len(x) / count) ** 0.5)
    while True:
        square = (y // side).astype(np.int64) * region.shape[1] + (x // side).astype(np.int64)
        _, first = np.unique(square[order], return_index=True)
        if len(first) <= 1.1 * count or len(first) == 1:
            break
        side *= 1.05
    chosen = np.sort(order[first])
    return as_points(np.stack([x[chosen], y[chosen]], axis=1))


@dataclass(frozen=True, eq=False)
class _Search:
    """The search for the warps of an edit's islands."""

    edit: Edit
    matches: Matches
    island: Int[np.ndarray, " n"]
    returns: Bool[np.ndarray, " n"]
    cells: Int[np.ndarray, " n"]
    threshold_px: float | int
    how: Carrying

    def run(self) -> tuple[tuple[CarriedPart, ...], tuple[RefusedIsland, ...]]:
        """Together, then what is left together, then each alone."""
        left = [int(i) for i in np.unique(self.island[self.island > 0])]
        missing = sorted(set(range(1, self.edit.island_count + 1)) - set(left))
        refused = [RefusedIsland(i, "lies outside the source picture") for i in missing]
        parts: list[CarriedPart] = []
        while len(left) > 1 and (part := self._common(left)) is not None:
            parts.append(part)
            left = [i for i in left if i not in part.islands]
        for one in left:
            found = self._part((one,))
            if isinstance(found, NoWarp):
                refused.append(RefusedIsland(one, found.reason))
            else:
                parts.append(found)
        return tuple(parts), tuple(refused)

    def _common(self, islands: list[int]) -> CarriedPart | None:
        """A warp of several islands, for those that agree with it."""
        # A thin plate would bend to follow each of them.
        stiff: list[WarpKind] = [k for k in _CHOICES[self.how.warp] if k != "thin-plate"]
        kinds = tuple(stiff or _CHOICES["affine"])
        fit = self._fit(tuple(islands), kinds)
        if isinstance(fit, NoWarp):
            return None
        agreeing = tuple(i for i in islands if self._agrees(fit, i, kinds))
        if not agreeing:
            return None
        found = self._part(agreeing)
        return None if isinstance(found, NoWarp) else found

    def _agrees(self, common: WarpFit, island: int, kinds: tuple[WarpKind, ...]) -> bool:
        """Whether an island is served as well by a common warp as by one of its own."""
        support = self._support(common, (island,))
        own = self._fit((island,), kinds)
        alone = 0.0 if isinstance(own, NoWarp) else self._support(own, (island,))
        return support >= max(self._needed(common, (island,)), _ALIKE * alone)

    def _fit(
        self, islands: tuple[int, ...], kinds: tuple[WarpKind, ...] | None = None
    ) -> WarpFit | NoWarp:
        """The warp that the returning matches of some islands, and of their surroundings, give."""
        took_part = np.isin(self.island, (0, *islands))
        use = took_part & self.returns
        if use.sum() < 2:
            return NoWarp(f"{use.sum()} of {took_part.sum()} matches lead back to their start")
        fit = choose_warp(
            self.matches.source_px[use],
            self.matches.target_px[use],
            self.matches.target_size_wh,
            threshold_px=self.threshold_px,
            cells=self.cells[use],
            kinds=kinds or _CHOICES[self.how.warp],
            plausible=self.how.plausible,
            source_wh=self.matches.source_size_wh,
        )
        if isinstance(fit, NoWarp):
            return fit
        inliers = np.zeros(len(self.matches), dtype=bool)
        inliers[np.flatnonzero(use)[fit.inliers]] = True
        return replace(fit, inliers=inliers)

    def _part(self, islands: tuple[int, ...]) -> CarriedPart | NoWarp:
        fit = self._fit(islands)
        if isinstance(fit, NoWarp):
            return fit
        mine = np.isin(self.island, islands)
        seen = mine & self._lands_inside(fit)
        if seen.sum() < _SEEN * mine.sum():
            return NoWarp("it would lie outside the target picture")
        support, needed = self._support(fit, islands), self._needed(fit, islands)
        if support < needed:
            name = f"{'an' if fit.warp.kind == 'affine' else 'a'} {fit.warp.kind}"
            return NoWarp(
                f"weak support: {support:.0%} of its points agree on {name} warp, "
                f"{needed:.0%} are asked"
            )
        if reason := self._outline_flaw(fit, islands):
            return NoWarp(reason)
        kept, share = self._kept(fit, seen) if self.how.leave_out else (None, 1.0)
        return CarriedPart(islands, fit, support, kept, share)

    def _lands_inside(self, fit: WarpFit) -> Bool[np.ndarray, " n"]:
        ends = fit.warp.apply(self.matches.source_px)
        finite = np.asarray(np.isfinite(ends).all(axis=1))
        return finite & inside(np.where(finite[:, None], ends, -1e9), self.matches.target_size_wh)

    def _support(self, fit: WarpFit, islands: tuple[int, ...]) -> float:
        """Share of the islands' points which agree, of those that land inside the target."""
        seen = np.isin(self.island, islands) & self._lands_inside(fit)
        return float(fit.inliers[seen].mean()) if seen.any() else 0.0

    def _needed(self, fit: WarpFit, islands: tuple[int, ...]) -> float:
        """The share of the islands' points that must agree."""
        if self.how.min_support is not None:
            return float(self.how.min_support)
        mine = np.isin(self.island, islands)
        agree, returning = mine & fit.inliers, mine & self.returns
        clear = (
            fit.log10_chance < _CLEAR_CHANCE
            and agree.sum() >= _CLEAR_RETURNING * returning.sum()
            and _area(self.matches.source_px[agree])
            >= _CLEAR_SPREAD * _area(self.matches.source_px[mine])
        )
        return _CLEAR_SUPPORT if clear else _SUPPORT

    def _outline_flaw(self, fit: WarpFit, islands: tuple[int, ...]) -> str:
        corners = self.edit.only(islands).outline_px
        areas = [np.prod(size) for size in (self.matches.target_size_wh, self.edit.source_wh)]
        usual = float((areas[0] / areas[1]) ** 0.5)
        return implausible(fit.warp, corners, self.how.plausible, usual)

    def _kept(self, fit: WarpFit, seen: Bool[np.ndarray, " n"]) -> tuple[Kept | None, float]:
        """Where support is not markedly below what the edit has on the whole."""
        points, agree = self.matches.source_px[seen], fit.inliers[seen]
        if agree.all() or len(points) < 20:
            return None, 1.0
        reach = _REACH * _spacing(points)
        lattice, to_cells, shape = _lattice_over(points, reach)
        share = _supported_share(lattice, points, agree, reach).reshape(shape)
        kept = Kept(share, to_cells)
        drawn = float(kept.at(points).mean())
        return (None, 1.0) if drawn > 0.995 else (kept, drawn)


def _area(points: Points) -> float:
    """How much room points take: the area of their deviations' ellipse, up to a factor."""
    return 0.0 if len(points) < 3 else float(max(np.linalg.det(np.cov(points.T)), 0.0)) ** 0.5


def _spacing(points: Points) -> float:
    """The usual distance from a point to its nearest neighbour, pixels, at least 1."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return max(1.0, 1.5 * float(np.median(distance.min(axis=1))))


def _lattice_over(
    points: Points, margin: float
) -> tuple[Float[np.ndarray, "places 2"], PixelTransform, tuple[int, int]]:
    """A coarse grid over the points' box: its points in pixels, the map to its cells, its shape."""
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    step = float((high - low).max()) / (_LATTICE - 1)
    columns, rows = (np.ceil((high - low) / step).astype(int) + 1).tolist()
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    to_cells = PixelTransform((1 / step, 1 / step), (-low[0] / step, -low[1] / step))
    return to_cells.invert().apply(grid), to_cells, (rows, columns)


def _supported_share(
    places: Float[np.ndarray, "places 2"],
    points: Points,
    agree: Bool[np.ndarray, " n"],
    reach: float,
) -> Float[np.ndarray, " places"]:
    """1 where as many points agree as elsewhere in the edit, 0 where far fewer do.

    Far fewer: under half the usual share, and too few by two to three standard deviations.
    """
    usual = float(agree.mean())
    distance = np.linalg.norm(places[:, None] - points[None], axis=2)
    weight = np.exp(-0.5 * (distance / reach) ** 2)
    total = np.maximum(weight.sum(axis=1), 1e-9)
    here = weight @ agree / total
    count = total**2 / np.maximum((weight**2).sum(axis=1), 1e-12)
    deviation = (usual - here) / np.sqrt(max(usual * (1 - usual), 1e-3) / count)
    too_few = np.clip(deviation - 2, 0, 1) * np.clip((0.6 - here / usual) / 0.2, 0, 1)
    return 1 - too_few
