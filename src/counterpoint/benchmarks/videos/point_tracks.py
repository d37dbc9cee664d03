"""Points followed through a video's features, two ways.

**nearest**: a point's feature in the frame where it is given, and its exact match in every other
frame (`counterpoint.match`), without regard to the frames between. It is called visible where the
match leads back to within ``cycle_px`` of the point.

**propagated**: a Gaussian at each point, carried from frame to frame as label propagation does
(`counterpoint.tasks.tracking.propagation`), and read at its map's mode, as `counterpoint track`
does. It is called visible while its label holds together
(`counterpoint.tasks.tracking.readout.Reading.hold`); a point whose map is empty stays where it was
last seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import Points
from counterpoint.matching import PreparedMap, match
from counterpoint.tasks.tracking.propagation import LabelPropagator, Propagation, gaussian_labels
from counterpoint.tasks.tracking.readout import read_points
from counterpoint.tasks.tracking.tracker import VISIBLE

How = Literal["nearest", "propagated"]
HOWS: tuple[How, ...] = ("nearest", "propagated")


@dataclass(frozen=True, kw_only=True)
class Seeing:
    """When a point is called visible.

    Attributes:
        cycle_px: how far from its start the way back may end, pixels of the model's input.
        hold: of a label, 0 to 1.
    """

    cycle_px: float = 8.0
    hold: float = VISIBLE

    def __post_init__(self) -> None:
        if not self.cycle_px >= 0 or not 0 <= self.hold <= 1:
            raise BadInput(
                "expected a cycle of at least 0 px and a hold of 0 to 1, got "
                f"{self.cycle_px} and {self.hold}"
            )


@dataclass(frozen=True, eq=False)
class Tracks:
    """Where points are in every frame.

    Attributes:
        points_px: (points, frames, 2), (x, y), pixels.
        occluded: (points, frames), whether they are said to be hidden.
    """

    points_px: Float[np.ndarray, "_ _ 2"]
    occluded: Bool[np.ndarray, "_ _"]


@runtime_checkable
class Follower(Protocol):
    """Follows some points from the frame where they are given, a frame at a time."""

    def step(self, fmap: FeatureMap | PreparedMap) -> tuple[Points, Bool[np.ndarray, " points"]]:
        """Places (N, 2) in the next frame's pixels, and which are visible."""
        ...


class Nearest:
    """Follows points by their own features alone.

    Args:
        first: features of the frame where they are given.
        points_px: (N, 2) in that frame.
        seeing: when they are called visible.
    """

    def __init__(
        self, first: FeatureMap | PreparedMap, points_px: Points, seeing: Seeing | None = None
    ) -> None:
        self.source = first if isinstance(first, PreparedMap) else PreparedMap(first)
        self.points_px = points_px
        self.seeing = seeing or Seeing()

    def step(self, fmap: FeatureMap | PreparedMap) -> tuple[Points, Bool[np.ndarray, " points"]]:
        """As `Follower` has it; frames may come in any order."""
        found = match(self.source, fmap, self.points_px, margin_radius=None)
        return found.target_px.copy(), found.cycle_px <= self.seeing.cycle_px


class Propagated:
    """Follows points by label propagation; frames must come in order.

    Args:
        first: features of the frame where they are given.
        points_px: (N, 2) in that frame.
        propagation: its parameters.
        seeing: when they are called visible.
    """

    def __init__(
        self,
        first: FeatureMap,
        points_px: Points,
        propagation: Propagation,
        seeing: Seeing | None = None,
    ) -> None:
        self.to_grid = first.to_grid
        self.seeing = seeing or Seeing()
        labels = gaussian_labels(self.to_grid.apply(points_px), first.grid_wh)
        self.last_px = points_px.copy()
        self.propagator = LabelPropagator(first, labels, propagation)

    def step(self, fmap: FeatureMap | PreparedMap) -> tuple[Points, Bool[np.ndarray, " points"]]:
        """As `Follower` has it.

        Raises:
            BadInput: a prepared map, whose padding is cut.
        """
        if isinstance(fmap, PreparedMap):
            raise BadInput("expected a frame's feature map as it is, got a prepared one")
        reading = read_points(self.propagator.step(fmap))
        there = np.isfinite(reading.points_grid).all(axis=1)
        self.last_px[there] = self.to_grid.invert().apply(reading.points_grid[there])
        return self.last_px.copy(), there & (reading.hold >= self.seeing.hold)


def follow_all(
    maps: Sequence[FeatureMap],
    points_px: Points,
    frames: Int[np.ndarray, " points"],
    how: How,
    propagation: Propagation,
    seeing: Seeing | None = None,
    *,
    backwards: bool = False,
) -> Tracks:
    """Points given in various frames of a video, followed to its end.

    Args:
        maps: features of every frame.
        points_px: (N, 2), each in its own frame's pixels.
        frames: (N,), that frame.
        how: which way.
        propagation: parameters of the one.
        seeing: when a point is called visible.
        backwards: to the video's beginning as well; otherwise points are said to be hidden, and
            where they are given, before that.
    """
    if how not in HOWS:
        raise BadInput(f"expected points followed {' or '.join(HOWS)}, got {how!r}")
    tracks = np.repeat(points_px[:, None], len(maps), axis=1)
    occluded = np.arange(len(maps)) < frames[:, None]
    ready = [PreparedMap(fmap) for fmap in maps] if how == "nearest" else maps
    for start in np.unique(frames).tolist():
        some = np.flatnonzero(frames == start)
        for order in _orders(start, len(maps), backwards):
            follower: Follower = (
                Nearest(ready[start], points_px[some], seeing)
                if how == "nearest"
                else Propagated(maps[start], points_px[some], propagation, seeing)
            )
            for i in order:
                places, visible = follower.step(ready[i])
                tracks[some, i], occluded[some, i] = places, ~visible
    return Tracks(tracks, occluded)


def _orders(start: int, frames: int, backwards: bool) -> Iterator[range]:
    yield range(start + 1, frames)
    if backwards:
        yield range(start - 1, -1, -1)
