"""Several views of one scene, matched pair by pair: what structure from motion starts from."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import Points, SizeWH
from counterpoint.matching.find import require_known
from counterpoint.matching.mutual import Metric, mutual_matches, mutual_nearest
from counterpoint.tasks.scenes.homography import (
    Estimate,
    Matrix,
    NoEstimate,
    Relation,
    Robust,
    estimate,
    supported,
)
from counterpoint.tasks.scenes.local_features import KeyPoints, descriptors

AnyRelation = Relation | Literal["auto"]
Pairing = Literal["all", "sequential"]
Pair = tuple[int, int]

SEQUENTIAL = 10
"""Views that each is paired with, of those after it, where pairs are "sequential"."""


@dataclass(frozen=True, eq=False)
class View:
    """A picture's key points and what the features say of each.

    Attributes:
        name: of the picture, relative to the folder of all.
        size_wh: of the picture, pixels.
        keypoints: its key points.
        descriptors: (N, channels), on the CPU.
    """

    name: str
    size_wh: SizeWH
    keypoints: KeyPoints
    descriptors: Float[Tensor, "n channels"]

    def __post_init__(self) -> None:
        if len(self.descriptors) != len(self.keypoints):
            raise BadInput(
                f"expected a descriptor a key point, got {len(self.descriptors)} of "
                f"{len(self.keypoints)} in {self.name}"
            )

    @property
    def points_px(self) -> Points:
        """(N, 2), pixels of the picture."""
        return self.keypoints.points_px


@dataclass(frozen=True, eq=False)
class ViewPair:
    """Two views, their matches, and the matrix that ties them.

    Attributes:
        first: index of the view that the matrix leads from.
        second: of the one it leads to.
        matches: (M, 2), indices of key points of both.
        cosine: (M,), of their features.
        found: a matrix that explains some of the matches, or why there is none.
    """

    first: int
    second: int
    matches: Int[np.ndarray, "m 2"]
    cosine: Float[np.ndarray, " m"]
    found: Estimate | NoEstimate

    @property
    def agreeing(self) -> Bool[np.ndarray, " m"]:
        """Which matches the matrix explains; none where there is no matrix."""
        if isinstance(self.found, NoEstimate):
            return np.zeros(len(self.matches), dtype=bool)
        return self.found.inliers

    @property
    def inliers(self) -> Int[np.ndarray, "k 2"]:
        """The matches that the matrix explains."""
        return self.matches[self.agreeing]


def view_of(name: str, fmap: FeatureMap, keypoints: KeyPoints) -> View:
    """A view by its features; see `descriptors`.

    Raises:
        PointError: a key point outside the picture.
    """
    sampled = descriptors(fmap, keypoints.points_px).float().cpu()
    return View(name, fmap.image_size_wh, keypoints, sampled)


def choose_pairs(count: int, pairing: Pairing, window: int = SEQUENTIAL) -> list[Pair]:
    """Which views are matched: all with all, or each with the next few, in order.

    >>> choose_pairs(3, "all")
    [(0, 1), (0, 2), (1, 2)]
    >>> choose_pairs(4, "sequential", 1)
    [(0, 1), (1, 2), (2, 3)]
    """
    require_known("pairing", pairing, get_args(Pairing))
    if window < 1:
        raise BadInput(f"expected a window of at least 1 view, got {window}")
    everyone = combinations(range(count), 2)
    return [(i, j) for i, j in everyone if pairing == "all" or j - i <= window]


def match_views(
    views: Sequence[View],
    pair: Pair,
    relation: AnyRelation = "auto",
    robust: Robust | None = None,
    *,
    metric: Metric = "cosine",
    cameras: tuple[Matrix, Matrix] | None = None,
) -> ViewPair:
    """Mutual nearest neighbours among two views' key points, and the matrix that ties them.

    Args:
        views: all of them.
        pair: indices of two.
        relation: as `relate`.
        robust: as `relate`.
        metric: of the features.
        cameras: as `relate`.
    """
    a, b = (views[index] for index in pair)
    matches = mutual_nearest(a.descriptors, b.descriptors, metric)
    cosine = _cosines(a.descriptors, b.descriptors, matches)
    ends = a.points_px[matches[:, 0]], b.points_px[matches[:, 1]]
    found = relate(*ends, b.size_wh, relation, robust, cameras=cameras)
    return ViewPair(*pair, matches, cosine, found)


def match_grid(
    views: list[View],
    maps: Sequence[FeatureMap],
    pair: Pair,
    relation: AnyRelation = "auto",
    robust: Robust | None = None,
    *,
    cameras: tuple[Matrix, Matrix] | None = None,
) -> ViewPair:
    """As `match_views`, the first view's points sought among all pixels of the second.

    Two grids would agree best on no motion at all. The pixels found become key points of the
    second view, which is replaced in the list.
    """
    i, j = pair
    found = mutual_matches(maps[i], maps[j], views[i].points_px)
    views[j] = with_points(views[j], maps[j], found.target_px)
    ends = found.source_px, found.target_px
    at = np.stack(
        [indices_of(views[i].points_px, ends[0]), indices_of(views[j].points_px, ends[1])], axis=1
    )
    matrix = relate(*ends, views[j].size_wh, relation, robust, cameras=cameras)
    return ViewPair(i, j, at, found.similarity, matrix)


def with_points(view: View, fmap: FeatureMap, points_px: Points) -> View:
    """The view with further key points, those it has already left out."""
    known = {tuple(point) for point in view.points_px.tolist()}
    fresh = [p for p in dict.fromkeys(map(tuple, points_px.tolist())) if p not in known]
    if not fresh:
        return view
    added = view_of(view.name, fmap, KeyPoints(np.array(fresh), np.ones(len(fresh))))
    points = np.concatenate([view.points_px, added.points_px])
    scores = np.concatenate([view.keypoints.scores, added.keypoints.scores])
    sampled = torch.cat([view.descriptors, added.descriptors])
    return View(view.name, view.size_wh, KeyPoints(points, scores), sampled)


def indices_of(points_px: Points, chosen_px: Float[np.ndarray, "m 2"]) -> Int[np.ndarray, " m"]:
    """Where each of some points stands among all."""
    places = {tuple(point): i for i, point in reversed(list(enumerate(points_px.tolist())))}
    return np.array([places[tuple(point)] for point in chosen_px.tolist()], dtype=np.int64)


def relate(
    source_px: Points,
    target_px: Points,
    target_wh: SizeWH,
    relation: AnyRelation = "auto",
    robust: Robust | None = None,
    *,
    cameras: tuple[Matrix, Matrix] | None = None,
) -> Estimate | NoEstimate:
    """The matrix that ties matches, where its support means something; see `supported`.

    "auto": an essential matrix where the cameras are known, else a fundamental one; where that is
    refused, as of a plane, a homography.

    Args:
        source_px: (N, 2).
        target_px: (N, 2), their matches.
        target_wh: of the target picture, pixels.
        relation: what to look for.
        robust: how; by default MAGSAC++ within 3 pixels.
        cameras: of both pictures, for "essential".
    """
    robust = robust or Robust(method="magsac")
    if relation != "auto":
        found = estimate(source_px, target_px, relation, robust, cameras=cameras)
        return supported(
            found, source_px, target_px, target_wh, robust.threshold_px, cameras=cameras
        )
    general: Relation = "fundamental" if cameras is None else "essential"
    first = relate(source_px, target_px, target_wh, general, robust, cameras=cameras)
    if isinstance(first, Estimate):
        return first
    plane = relate(source_px, target_px, target_wh, "homography", robust)
    return plane if isinstance(plane, Estimate) else first


def _cosines(
    a: Float[Tensor, "n channels"], b: Float[Tensor, "m channels"], pairs: Int[np.ndarray, "k 2"]
) -> Float[np.ndarray, " k"]:
    from torch.nn.functional import cosine_similarity

    left, right = a[pairs[:, 0]].double(), b[pairs[:, 1]].double()
    return cosine_similarity(left, right).numpy().clip(-1, 1)
