"""The search for the warps of an edit's islands among its matches."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

from counterpoint.geometry import Points, inside
from counterpoint.matching import Matches
from counterpoint.tasks.edits.layers import Edit, Kept
from counterpoint.tasks.edits.points import CHOICES, Carrying
from counterpoint.tasks.edits.support import supported_part
from counterpoint.tasks.edits.warp_fits import NoWarp, WarpFit, choose_warp
from counterpoint.tasks.edits.warps import WarpKind, implausible, usual_scale

_SUPPORT, _CLEAR_SUPPORT = 0.25, 0.1
"""Shares of the points that must agree by default, and where the matches are clear:"""

_CLEAR_CHANCE, _CLEAR_SPREAD, _CLEAR_RETURNING = -30.0, 0.5, 0.3
"""`log10_chance` below this; inliers spread over this share of the points' area at least, and this
share at least of the points whose matches lead back. Chosen with the embedded model on pictures
where the truth is known and on others that do not show the object (docs/edits.md): matches of
neighbouring points err together, so chance alone would let wrong warps pass."""

_ALIKE = 0.8
"""Of the support that an island has alone, what a common warp must keep."""

_SEEN = 0.1
"""Share of an edit that must lie inside the target."""


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
class Search:
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
        stiff: list[WarpKind] = [k for k in CHOICES[self.how.warp] if k != "thin-plate"]
        kinds = tuple(stiff or CHOICES["affine"])
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
            kinds=kinds or CHOICES[self.how.warp],
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
        kept, share = (
            supported_part(self.matches.source_px[seen], fit.inliers[seen])
            if self.how.leave_out
            else (None, 1.0)
        )
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
        usual = usual_scale(self.edit.source_wh, self.matches.target_size_wh)
        return implausible(fit.warp, corners, self.how.plausible, usual)


def _area(points: Points) -> float:
    """How much room points take: the area of their deviations' ellipse, up to a factor."""
    return 0.0 if len(points) < 3 else float(max(np.linalg.det(np.cov(points.T)), 0.0)) ** 0.5
