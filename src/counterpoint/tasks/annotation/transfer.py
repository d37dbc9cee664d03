"""Annotation transfer: key points of annotated pictures, found in another, by vote.

Every reference has its own opinion where a point lies (an exact match, with its way back). How they
become one place:

- "median": the geometric median of the matches, each weighted by its confidence and by how much its
  reference looks like the target (Weiszfeld's iteration);
- "medoid": the match that most weight lies near, so that a minority elsewhere changes nothing, and
  then the geometric median of those near it;
- "pooled": the best place of the references' mean similarity map, each standardised;
- "placed": the same, plus the logarithm of the density of the references' own places. For crops
  around things, which say where on a thing a point tends to lie.

Features alone mix up left and right; with a mirrored view each reference takes the better of the
two, and then stands for the point of the other side (see `matching.orientation`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from counterpoint.errors import BadInput, UnknownName
from counterpoint.features import sample_grid
from counterpoint.geometry import PixelTransform, Points, SizeWH, grid_points
from counterpoint.matching import Evidence, PreparedMap, match

Vote = Literal["median", "medoid", "pooled", "placed"]

NEAR = 0.1
"""Votes within this share of the view's longer side agree."""

_PLACE_SPREAD = 0.15  # of the density of places, shares of the view's longer side
_PLACE_FLOOR = 1e-4  # of that density: a place that no reference has is unlikely, not impossible
_LATTICE = 256  # points at which two views are compared
_WINDOW_CELLS = 2.5  # around the best cell, for the place between cells
_WINDOW_TEMPERATURE = 0.2  # in deviations of a similarity map


@dataclass(frozen=True, eq=False)
class View:
    """A picture, or a part of it, as features.

    Attributes:
        features: of the view; its pixels are those of the view.
        mirror: of the mirrored view, in the same frame (`matching.unmirrored`); None: not asked.
        length_px: what distances are a share of: the thing's longer side, pixels of the view.
    """

    features: PreparedMap
    mirror: PreparedMap | None
    length_px: float

    @property
    def size_wh(self) -> SizeWH:
        """Of the view, pixels."""
        return self.features.size_wh

    @property
    def side_px(self) -> int:
        """The longer side, pixels."""
        return max(self.size_wh)

    @cached_property
    def layout(self) -> Float[Tensor, "points channels"]:
        """Unit features at a lattice of places, for comparing views as wholes."""
        return F.normalize(self.features.vectors(grid_points(self.size_wh, _LATTICE)), dim=1)

    @cached_property
    def mirror_layout(self) -> Float[Tensor, "points channels"]:
        """Those of the mirrored view, in the mirror's own frame."""
        assert self.mirror is not None
        places = PixelTransform.flip_x(self.size_wh[0]).apply(grid_points(self.size_wh, _LATTICE))
        return F.normalize(self.mirror.vectors(places), dim=1)


@dataclass(frozen=True, eq=False)
class Reference:
    """One annotated thing.

    Attributes:
        view: around it.
        points_px: (K, 2), its key points in the view's pixels; of no meaning where not visible.
        visible: (K,), which are annotated.
        mask: (rows, columns) of the view, its pixels; None: not annotated.
        name: of its picture.
    """

    view: View
    points_px: Points
    visible: Bool[np.ndarray, " k"]
    mask: Bool[np.ndarray, "rows columns"] | None = None
    name: str = ""


@dataclass(frozen=True, eq=False)
class Ballot:
    """What every reference says of one target.

    Attributes:
        places_px: (R, K, 2), its matches in the target view; of no meaning where it has no say.
        confidence: (R, K), of these matches, not calibrated; 0 where it has no say.
        cycle: (R, K), errors of the way back in longer sides of the reference's view.
        similarity: (R, K, cells), cosines with every cell of the target.
        own_px: (R, K, 2), where the point lies in the reference, carried by the views' sizes alone.
        likeness: (R,), how much the reference looks like the target, -1 to 1.
        weight: (R, K), of its say, by likeness; 0 where it has none.
        flipped: (R,), whether it was matched with the mirrored target.
        cells_px: (cells, 2), centres of the target's cells.
        stride_px: between cells.
        side_px: of the target view.
    """

    places_px: Float[np.ndarray, "r k 2"]
    confidence: Float[np.ndarray, "r k"]
    cycle: Float[np.ndarray, "r k"]
    similarity: Float[np.ndarray, "r k cells"]
    own_px: Float[np.ndarray, "r k 2"]
    likeness: Float[np.ndarray, " r"]
    weight: Float[np.ndarray, "r k"]
    flipped: Bool[np.ndarray, " r"]
    cells_px: Float[np.ndarray, "cells 2"]
    stride_px: float
    side_px: int


@dataclass(frozen=True, eq=False)
class Elected:
    """Where the points lie in the target, and what speaks for it.

    Attributes:
        points_px: (K, 2), pixels of the target view; of no meaning without voters.
        evidence: (K, 4), for a calibration: the references' mean cosine there; how much better it
            is than the best place elsewhere (in deviations of the similarity map, where maps are
            pooled, or in shares of the weight); the mean error of the way back; the mean distance
            of the votes.
        raw: (K,), confidence that is not calibrated: the votes' own, less the farther they lie.
        agreeing: (K,), references whose match lies near.
        voters: (K,), references that have the point at all.
    """

    points_px: Points
    evidence: Evidence
    raw: Float[np.ndarray, " k"]
    agreeing: Int[np.ndarray, " k"]
    voters: Int[np.ndarray, " k"]


def transfer(
    references: Sequence[Reference],
    target: View,
    vote: Vote = "placed",
    *,
    sides: Int[np.ndarray, " k"] | None = None,
) -> Elected:
    """Find the references' key points in a target.

    Args:
        references: of one kind of thing, with the same K key points.
        target: where to look.
        vote: how several references become one place; see the module.
        sides: (K,), the index of each point's other side (`left_and_right`), used where the target
            has a mirrored view.

    Raises:
        BadInput: no references.
        UnknownName: no such vote.
    """
    if vote not in get_args(Vote):
        raise UnknownName("vote", vote, get_args(Vote))
    return elect(poll(references, target, sides), vote)


def poll(
    references: Sequence[Reference], target: View, sides: Int[np.ndarray, " k"] | None = None
) -> Ballot:
    """Every reference's own opinion; see `transfer`.

    Raises:
        BadInput: no references.
    """
    if not references:
        raise BadInput("expected at least one annotated reference, got none")
    fits = [better_side(reference.view, target) for reference in references]
    likeness = np.array([fit for fit, _ in fits])
    says = [
        _ask(reference, target, flip, sides)
        for reference, (_, flip) in zip(references, fits, strict=True)
    ]
    say = np.stack([one.visible for one in says])
    return Ballot(
        places_px=np.stack([one.places_px for one in says]),
        confidence=np.stack([one.confidence for one in says]),
        cycle=np.stack([one.cycle for one in says]),
        similarity=np.stack([one.similarity for one in says]),
        own_px=np.stack([one.own_px for one in says]),
        likeness=likeness,
        weight=say * likeness_weights(likeness)[:, None],
        flipped=np.array([flip for _, flip in fits]),
        cells_px=target.features.cells_px,
        stride_px=max(target.features.stride_px),
        side_px=target.side_px,
    )


def likeness_weights(likeness: Float[np.ndarray, " r"]) -> Float[np.ndarray, " r"]:
    """Of references: e times as much for each standard deviation more alike, at most 1.

    Cosines of whole views crowd together, differently for every model; their order and spread are
    what tells.
    """
    spread = float(likeness.std())
    return np.exp((likeness - likeness.max()) / spread) if spread > 1e-9 else likeness * 0 + 1


def better_side(reference: View, target: View) -> tuple[float, bool]:
    """How much two views look alike, place by place, and whether mirrored."""
    plain = float((reference.layout * target.layout).sum(dim=1).mean())
    if target.mirror is None:
        return plain, False
    turned = float((reference.layout * target.mirror_layout).sum(dim=1).mean())
    return max(plain, turned), turned > plain


@dataclass(frozen=True, eq=False)
class _Say:
    """One reference's: see `Ballot`."""

    places_px: Float[np.ndarray, "k 2"]
    confidence: Float[np.ndarray, " k"]
    cycle: Float[np.ndarray, " k"]
    similarity: Float[np.ndarray, "k cells"]
    own_px: Float[np.ndarray, "k 2"]
    visible: Bool[np.ndarray, " k"]


def _ask(
    reference: Reference, target: View, flip: bool, sides: Int[np.ndarray, " k"] | None
) -> _Say:
    count = len(reference.points_px)
    order = sides if flip and sides is not None else np.arange(count)
    points, visible = reference.points_px[order], reference.visible[order]
    asked = target.mirror if flip and target.mirror is not None else target.features
    source = reference.view.features
    found = match(source, asked, points[visible], calibration=None)
    cells_px = target.features.cells_px
    places, own = np.zeros((count, 2)), np.zeros((count, 2))
    confidence, cycle = np.zeros(count), np.zeros(count)
    similarity = np.zeros((count, len(cells_px)))
    places[visible], confidence[visible] = found.target_px, found.confidence
    cycle[visible] = found.cycle_px / reference.view.side_px
    similarity[visible] = _cosines(source, points[visible], asked, cells_px)
    placed = PixelTransform.resize(reference.view.size_wh, target.size_wh)
    if flip:
        placed = placed.then(PixelTransform.flip_x(target.size_wh[0]))
    own[visible] = placed.apply(points[visible])
    return _Say(places, confidence, cycle, similarity, own, visible)


def _cosines(
    source: PreparedMap,
    points_px: Points,
    asked: PreparedMap,
    cells_px: Float[np.ndarray, "cells 2"],
) -> Float[np.ndarray, "n cells"]:
    """Of the source's points with the target's cells, wherever the mirror's own cells lie."""
    if not len(points_px):
        return np.zeros((0, len(cells_px)))
    scores = asked.scores(source.vectors(points_px)) * asked.cell_inverse
    return sample_grid(scores, asked.to_grid.apply(cells_px)).T.double().cpu().numpy()


def elect(ballot: Ballot, vote: Vote) -> Elected:
    """One place for every point; see `transfer`."""
    count = ballot.weight.shape[1]
    places, margin = np.zeros((count, 2)), np.zeros(count)
    for k in np.flatnonzero(ballot.weight.sum(axis=0) > 0).tolist():
        find = _best_cell if vote in ("pooled", "placed") else _among_matches
        places[k], margin[k] = find(ballot, k, vote)
    share = ballot.weight / np.maximum(ballot.weight.sum(axis=0), 1e-12)
    apart = np.linalg.norm(ballot.places_px - places, axis=2) / ballot.side_px
    at = np.linalg.norm(ballot.cells_px - places[:, None], axis=2).argmin(axis=1)
    there = ballot.similarity[:, np.arange(count), at]
    columns = ((share * c).sum(axis=0) for c in (there, ballot.cycle, apart))
    similarity, cycle, disagreement = columns
    say = ballot.weight > 0
    return Elected(
        places,
        Evidence(np.stack([similarity, margin, cycle, disagreement], axis=1)),
        (share * ballot.confidence * np.exp(-apart / NEAR)).sum(axis=0),
        ((apart <= NEAR) & say).sum(axis=0),
        say.sum(axis=0),
    )


def _among_matches(ballot: Ballot, k: int, vote: Vote) -> tuple[Float[np.ndarray, "2"], float]:
    """The geometric median of one point's matches, or of those that most weight lies near.

    The margin is the share of the weight near the place, less the largest share elsewhere.
    """
    voting = np.flatnonzero(ballot.weight[:, k] > 0)
    places = ballot.places_px[voting, k]
    # A match without any confidence still counts a little: it may be the only one.
    weight = ballot.weight[voting, k] * (ballot.confidence[voting, k] + 1e-3)
    apart = np.linalg.norm(places[:, None] - places, axis=2) / ballot.side_px
    support = np.exp(-((apart / NEAR) ** 2)) @ weight / weight.sum()
    if vote == "medoid":
        near = apart[int(support.argmax())] <= NEAR
        place = geometric_median(places[near], weight[near])
    else:
        place = geometric_median(places, weight)
    far = np.linalg.norm(places - place, axis=1) > NEAR * ballot.side_px
    own = float(weight[~far].sum() / weight.sum())
    return place, max(own - float(support[far].max(initial=0)), 0.0)


def geometric_median(
    points: Float[np.ndarray, "n 2"], weight: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "2"]:
    """The place of the least weighted sum of distances (Weiszfeld 1937), by 50 iterations.

    >>> geometric_median(np.array([[0.0, 0], [0, 0], [9, 9]]), np.ones(3)).round(2).tolist()
    [0.0, 0.0]
    """
    place = weight @ points / weight.sum()
    for _ in range(50):
        pull = weight / np.maximum(np.linalg.norm(points - place, axis=1), 1e-6)
        place = pull @ points / pull.sum()
    return place


def _best_cell(ballot: Ballot, k: int, vote: Vote) -> tuple[Float[np.ndarray, "2"], float]:
    """The place of the highest pooled score, between cells; and its lead over places elsewhere."""
    weight = ballot.weight[:, k] / ballot.weight[:, k].sum()
    maps = ballot.similarity[:, k]
    spread = np.maximum(maps.std(axis=1, keepdims=True), 1e-12)
    score = weight @ ((maps - maps.mean(axis=1, keepdims=True)) / spread)
    if vote == "placed":
        apart = np.linalg.norm(ballot.cells_px - ballot.own_px[:, k, None], axis=2)
        share = apart / (_PLACE_SPREAD * ballot.side_px)
        score = score + np.log(weight @ np.exp(-(share**2) / 2) + _PLACE_FLOOR)
    best = int(score.argmax())
    near_px = np.linalg.norm(ballot.cells_px - ballot.cells_px[best], axis=1)
    window = near_px <= _WINDOW_CELLS * ballot.stride_px
    pull = np.exp((score[window] - score[best]) / _WINDOW_TEMPERATURE)
    elsewhere = score[near_px > NEAR * ballot.side_px]
    place = pull @ ballot.cells_px[window] / pull.sum()
    return place, float(score[best] - elsewhere.max(initial=score.min()))


_SIDES = (("left", "right"), ("l", "r"))


def left_and_right(names: Sequence[str]) -> Int[np.ndarray, " k"]:
    """Each key point's other side, by name: "left_eye" and "right_eye", "eye_L" and "eye_R".

    A point without another side is its own.

    >>> left_and_right(["nose", "left eye", "right eye", "L_F_Paw", "R_F_Paw"]).tolist()
    [0, 2, 1, 4, 3]
    """
    index = {name.lower(): i for i, name in enumerate(names)}
    return np.array([_other_side(name.lower(), index, i) for i, name in enumerate(names)], int)


def _other_side(name: str, index: dict[str, int], own: int) -> int:
    import re

    for pair in _SIDES:
        for side, other in (pair, pair[::-1]):
            # A side is a word of its own, or stands at the start of one ("lefteye", "leftEye").
            edge = r"(?![a-z])" if len(side) == 1 else ""
            turned = re.sub(rf"(?<![a-z]){side}{edge}", other, name)
            if turned != name and index.get(turned, own) != own:
                return index[turned]
    return own
