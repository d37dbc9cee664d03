"""Figure 2 of the DIFT paper: generated pictures, matched by the features met on the way.

Between two pictures that the model itself generates, the features of the very passes that made them
are compared ("on the way"), and beside them those of the same pictures taken as real ones, noise
added anew at the same time step ("as real"). There is no ground truth between pictures of two
draws; what can be said is how consistent the matches are. Where the second picture is the first
one's twin, made from its noise shifted or mirrored, the truth is known as far as the network
follows the change, which `likeness` tells.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from counterpoint.backbones.base import Backbone, Place, library_version
from counterpoint.backbones.sampling import Generated
from counterpoint.benchmarks.metrics import PCK, Estimate, correct_points
from counterpoint.benchmarks.tables import Cells
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, Points, SizeWH, grid_points, inside
from counterpoint.images import Picture
from counterpoint.matching import Matches, match
from counterpoint.options import Options
from counterpoint.plots import (
    Canvas,
    captioned,
    draw_matches,
    draw_truth,
    join_columns,
    stack_rows,
)

Way = Literal["on the way", "as real"]

WAYS: tuple[Way, ...] = ("on the way", "as real")

Maps = Mapping[Place, FeatureMap]


@dataclass(frozen=True, eq=False)
class MatchedPair:
    """Two generated pictures and their features, both ways.

    Attributes:
        first: its points are given.
        second: they are looked for here.
        maps: by way, those of the first and of the second, by (time step, tap).
        points_px: (N, 2), a grid of the first picture's pixels.
        moved: from the first to the second, pixels; None: nobody knows.
    """

    first: Picture
    second: Picture
    maps: Mapping[Way, tuple[Maps, Maps]]
    points_px: Points
    moved: PixelTransform | None

    def matches(self, way: Way, place: Place, points_px: Points | None = None) -> Matches:
        """The points' matches by the features of one way, place and draw."""
        source, target = (maps[place] for maps in self.maps[way])
        return match(source, target, self.points_px if points_px is None else points_px)


@dataclass(frozen=True)
class Agreement:
    """How well matches agree, in per cent of points within ``alpha`` of the picture's longer side.

    Attributes:
        way: "on the way" or "as real".
        t: time step.
        tap: where features were read.
        pairs: of pictures.
        points: over all pairs.
        cycle: matching back ends at the point it began at.
        truth: the match lies where the twin's change puts it; None without twins.
        shared: the match of the other way is at the same place.
        similarity: mean cosine of the matches.
    """

    way: Way
    t: int
    tap: str
    pairs: int
    points: int
    cycle: Estimate
    truth: Estimate | None
    shared: Estimate
    similarity: float


@dataclass(frozen=True)
class GenerationReport:
    """All figures of one run.

    Attributes:
        model: that generated and matched.
        weights_sha256: of it.
        sampler: how pictures were made.
        pairs: of pictures.
        twin: "none", "shift", "flip".
        alpha: threshold, as a share of the picture's longer side.
        size_wh: of the pictures, pixels.
        seed: of all noise.
        likeness: mean correlation of a picture's pixels, moved, with its twin's; None: no twins.
        version: counterpoint's.
        rows: time steps by taps by ways.
    """

    model: str
    weights_sha256: str
    sampler: str
    pairs: int
    twin: str
    alpha: float
    size_wh: tuple[int, int]
    seed: int
    likeness: float | None
    version: str
    rows: tuple[Agreement, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return asdict(self)

    @property
    def title(self) -> str:
        """One line that says what the figures are."""
        w, h = self.size_wh
        pairs = "1 pair" if self.pairs == 1 else f"{self.pairs} pairs"
        known = (
            "no ground truth"
            if self.likeness is None
            else f"twins by {self.twin}, pixels' correlation {self.likeness:.2f}"
        )
        return (
            f"{self.model}, {pairs} of generated pictures of {w} x {h} px ({self.sampler}; {known})"
            f": points within {self.alpha:g} of the longer side, in per cent; seed {self.seed}"
        )


def pair_up(
    backbone: Backbone,
    generated: Sequence[Generated],
    options: Options | None = None,
    points: int = 64,
) -> tuple[MatchedPair, ...]:
    """Every picture with its twin, or where there are none, every two pictures.

    Args:
        backbone: the model that made them; it looks at them once more, as at real pictures.
        generated: what `generate` returned.
        options: the same as for `generate`.
        points: about how many, on a grid.

    Raises:
        BadInput: a single picture without a twin.
    """
    taps = list(dict.fromkeys(tap for _, tap in generated[0].maps))
    size = generated[0].picture.size_wh
    asked = replace(options or Options(), ensemble=1, size=size, fit="squash")
    real = list(backbone.stream_grid([one.picture for one in generated], taps, asked))
    numbers = _numbers(generated)
    if not numbers:
        raise BadInput("expected two generated pictures to match, got one; ask for 2, or a twin")
    found: list[MatchedPair] = []
    for i, j in numbers:
        first, second = generated[i], generated[j]
        kept_px = _known(grid_points(size, points), second.moved, size)
        maps: dict[Way, tuple[Maps, Maps]] = {
            "on the way": (first.maps, second.maps),
            "as real": (real[i], real[j]),
        }
        found.append(MatchedPair(first.picture, second.picture, maps, kept_px, second.moved))
    return tuple(found)


def _numbers(generated: Sequence[Generated]) -> list[tuple[int, int]]:
    twins = [(i - 1, i) for i, one in enumerate(generated) if one.moved is not None]
    return twins or list(combinations(range(len(generated)), 2))


def _known(
    points_px: Points, moved: PixelTransform | None, size_wh: SizeWH
) -> Float[np.ndarray, "kept 2"]:
    """The points that are in the second picture too; all where nobody knows."""
    return points_px if moved is None else points_px[inside(moved.apply(points_px), size_wh)]


def likeness(generated: Sequence[Generated]) -> float | None:
    """Mean Pearson correlation of pictures' pixels, moved as their twins are, with the twins'.

    None: there are no twins.
    """
    found = [
        _correlation(generated[i], generated[j])
        for i, j in _numbers(generated)
        if generated[j].moved is not None
    ]
    return float(np.mean(found)) if found else None


def _correlation(first: Generated, twin: Generated) -> float:
    moved: PixelTransform | None = twin.moved
    assert moved is not None
    w, h = first.picture.size_wh
    every = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).reshape(-1, 2)
    there = moved.apply(every)
    kept = inside(there, (w, h))
    (x, y), (u, v) = every[kept].T, there[kept].round().astype(int).T
    ours = first.picture.rgb[y, x].ravel().astype(float)
    theirs = twin.picture.rgb[v, u].ravel().astype(float)
    if not (ours.std() and theirs.std()):  # a flat picture correlates with nothing
        return 0.0
    return float(np.corrcoef(ours, theirs)[0, 1])


def agreements(pairs: Sequence[MatchedPair], alpha: float, seed: int = 0) -> Iterator[Agreement]:
    """Figures of every place, both ways."""
    for place in pairs[0].maps["on the way"][0]:
        found = {way: [pair.matches(way, place) for pair in pairs] for way in WAYS}
        for way, other in zip(WAYS, reversed(WAYS), strict=True):
            yield _agreement(pairs, place, way, found[way], found[other], alpha, seed)


def _agreement(
    pairs: Sequence[MatchedPair],
    place: Place,
    way: Way,
    matches: Sequence[Matches],
    others: Sequence[Matches],
    alpha: float,
    seed: int,
) -> Agreement:
    t, tap = place
    assert t is not None
    side = max(pairs[0].first.size_wh)
    points = tuple(len(found) for found in matches)
    back = tuple(int((found.cycle_px <= alpha * side).sum()) for found in matches)
    shared, truth = PCK(alpha), PCK(alpha)
    for pair, found, other in zip(pairs, matches, others, strict=True):
        shared = shared.update(found.target_px, other.target_px, side)
        if pair.moved is not None:
            truth = truth.update(found.target_px, pair.moved.apply(found.source_px), side)
    return Agreement(
        way=way,
        t=t,
        tap=tap,
        pairs=len(pairs),
        points=sum(points),
        cycle=PCK(alpha, False, back, points).per_point(seed),
        truth=truth.per_point(seed) if truth.points else None,
        shared=shared.per_point(seed),
        similarity=float(np.concatenate([found.similarity for found in matches]).mean()),
    )


def generation_report(
    backbone: Backbone,
    generated: Sequence[Generated],
    pairs: Sequence[MatchedPair],
    twin: str,
    *,
    alpha: float = 0.1,
    seed: int = 0,
) -> GenerationReport:
    """Everything that is measured of generated pictures.

    Raises:
        BadInput: alpha is not above 0.
    """
    if not alpha > 0:
        raise BadInput(f"expected alpha above 0, got {alpha}")
    note = next(iter(generated[0].maps.values())).provenance
    return GenerationReport(
        model=backbone.spec.name,
        weights_sha256=backbone.weights_sha256,
        sampler=note.noise.removeprefix("sampler ").rpartition(", draw")[0],
        pairs=len(pairs),
        twin=twin,
        alpha=alpha,
        size_wh=generated[0].picture.size_wh,
        seed=seed,
        likeness=likeness(generated),
        version=library_version(),
        rows=tuple(agreements(pairs, alpha, seed)),
    )


LEGEND = (
    "met: features met while the pictures were generated; real: of the finished pictures, noise "
    "added anew. back: matching back ends where it began; true: the match is where the twin's "
    "change puts it; same: both ways match alike."
)
"""What the columns of `cells` are."""


def cells(report: GenerationReport) -> Cells:
    """The figures, both ways beside each other."""
    known = report.likeness is not None
    measures = ("back", "true") if known else ("back",)
    header = ("tap", "t", *(f"{way}: {m}" for way in ("met", "real") for m in measures), "same")
    by_place: dict[tuple[str, int], dict[str, Agreement]] = {}
    taps = list(dict.fromkeys(row.tap for row in report.rows))
    for row in sorted(report.rows, key=lambda row: taps.index(row.tap)):
        by_place.setdefault((row.tap, row.t), {})[row.way] = row
    lines: list[tuple[str, ...]] = []
    for (tap, t), rows in by_place.items():
        figures: list[str] = []
        for way in WAYS:
            row = rows[way]
            estimates = [row.cycle] if row.truth is None else [row.cycle, row.truth]
            figures += [each.shown(row.pairs) for each in estimates]
        shared = rows[WAYS[0]].shared
        lines.append((tap, str(t), *figures, shared.shown(report.pairs)))
    return Cells(header, tuple(lines))


def draw_generation(
    pair: MatchedPair, tap: str, *, alpha: float = 0.1, points: int = 25, height_px: int = 260
) -> Canvas:
    """A pair's matches, time steps below each other, on the way (left) and as real (right).

    Where the truth is known, rings mark it, and matches farther from it than ``alpha`` are red.
    """
    size_wh = pair.first.size_wh
    chosen = _known(grid_points(size_wh, points), pair.moved, size_wh)
    rows: list[Canvas] = []
    for place in pair.maps["on the way"][0]:
        if place[1] == tap:
            panels = [_panel(pair, way, place, chosen, alpha, height_px) for way in WAYS]
            rows.append(join_columns(panels))
    return stack_rows(rows)


def _panel(
    pair: MatchedPair, way: Way, place: Place, points_px: Points, alpha: float, height_px: int
) -> Canvas:
    found = pair.matches(way, place, points_px)
    if pair.moved is None:
        drawn = draw_matches(pair.first, pair.second, found, height_px=height_px, lines=False)
    else:
        true_px, limit_px = pair.moved.apply(found.source_px), alpha * max(pair.first.size_wh)
        correct = correct_points(found.target_px, true_px, limit_px)
        ends = (found.source_px, found.target_px, true_px, correct)
        drawn = draw_truth(pair.first, pair.second, *ends, height_px=height_px)
    words = "features met on the way" if way == "on the way" else "as real, noise added anew"
    return captioned(drawn, f"{words}, t = {place[0]}, {place[1]}")
