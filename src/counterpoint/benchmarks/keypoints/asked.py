"""Pairs with every point of the source that could be asked for: those the target does not show too.

Data sets score points that both pictures show. Somebody who asks for a point does not know that, so
confidence is judged on all points of the source picture: of those that the target does not show
(hidden, turned away, outside the picture) every match is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from counterpoint.benchmarks.birds.crops import CubCrops
from counterpoint.benchmarks.datasets.keypoints import Box, KeypointPair
from counterpoint.benchmarks.keypoints.course import Course, crop_course
from counterpoint.benchmarks.keypoints.sides import by_name, of_spair, sides
from counterpoint.geometry import Points

Spot = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of one pair.

    Attributes:
        pair: with the points that both pictures show.
        absent_px: (M, 2), points of the source picture that the target does not show.
        sides: pairs of indices of points that are each other's mirror image, counted over those
            of the pair and then the absent ones.
    """

    pair: KeypointPair
    absent_px: Points
    sides: tuple[tuple[int, int], ...] = ()

    @property
    def points_px(self) -> Points:
        """All points (N + M, 2), brought inside the source picture."""
        every = np.concatenate([self.pair.source_px, self.absent_px])
        return every.clip(0, np.asarray(self.pair.source_size_wh) - 1)


@dataclass(frozen=True, eq=False)
class Quiz:
    """A data set's pairs with all points that are asked for.

    Attributes:
        course: the pairs and how they are scored.
        asked: by pair id, in the pairs' order.
    """

    course: Course
    asked: Mapping[str, Asked]

    @property
    def absent(self) -> int:
        """Points that their target does not show, over all pairs."""
        return sum(len(one.absent_px) for one in self.asked.values())


def ask_crops(benchmark: CubCrops, part_names: Sequence[str]) -> Quiz:
    """Of bird crops (protocol `cub-crops`): every part that the source crop shows."""
    course = crop_course(benchmark)
    partners = by_name(part_names)
    asked: dict[str, Asked] = {}
    for drawn, pair in zip(benchmark.pairs, course.dataset.pairs, strict=True):
        source, target = benchmark.crops[drawn.source], benchmark.crops[drawn.target]
        lost = np.flatnonzero(source.visible & ~target.visible).tolist()
        names = [part_names[i] for i in (*drawn.parts, *lost)]
        asked[pair.id] = Asked(pair, source.parts_px[lost], sides(names, partners))
    return Quiz(course, asked)


def ask_pairs(course: Course) -> Quiz:
    """Of any data set: every point that some pair of it gives for the source picture.

    A pair's annotation holds the points that both pictures show. A picture's own points are those
    of all its pairs together, so what another pair gives and this one does not is not shown by this
    one's target. Of a picture in a single pair nothing is known to be absent.
    """
    known: dict[tuple[str, str, Box | None], dict[Spot, str]] = {}
    for pair in course.dataset.pairs:
        for key, points in _both(pair):
            known.setdefault(key, {}).update(points)
    asked: dict[str, Asked] = {}
    for pair in course.dataset.pairs:
        (key, shown), _ = _both(pair)
        named = set(pair.keypoint_ids or ())  # a key point that lies elsewhere is not absent
        absent = {
            spot: name
            for spot, name in known[key].items()
            if spot not in shown and name not in named
        }
        names = [*(pair.keypoint_ids or ()), *absent.values()]
        partners = _partners(course, pair, names)
        lost = np.array(list(absent), dtype=float).reshape(-1, 2)
        asked[pair.id] = Asked(pair, lost, sides(names, partners) if pair.keypoint_ids else ())
    return Quiz(course, asked)


def _both(
    pair: KeypointPair,
) -> tuple[
    tuple[tuple[str, str, Box | None], dict[Spot, str]],
    tuple[tuple[str, str, Box | None], dict[Spot, str]],
]:
    """Of source and target: the thing (category, picture, box), and its points with their names."""
    names = pair.keypoint_ids or ("",) * len(pair.source_px)
    source = (pair.category, str(pair.source), pair.source_box)
    target = (pair.category, str(pair.target), pair.target_box)
    return (source, _spots(pair.source_px, names)), (target, _spots(pair.target_px, names))


def _spots(points_px: Points, names: Sequence[str]) -> dict[Spot, str]:
    spots = ((float(x), float(y)) for x, y in points_px)
    return dict(zip(spots, names, strict=True))


def _partners(course: Course, pair: KeypointPair, names: Sequence[str]) -> dict[str, str]:
    if course.dataset.request.get("reader") == "spair":
        return of_spair(pair.category)
    return by_name(names)
