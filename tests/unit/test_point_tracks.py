"""Points followed through made-up features: squares of unlike vectors that move."""

import numpy as np
import pytest
import torch

from counterpoint.benchmarks.videos.point_tracks import Nearest, Propagated, Seeing, follow_all
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.matching import PreparedMap
from counterpoint.tasks.tracking.propagation import Propagation

GRID = (10, 8)
PROPAGATION = Propagation(temperature=0.05, topk=3, radius=4)
NEAR = 0.6
"""Cells."""


def frame(places, hidden=()):
    """A map of random background with vectors of their own at some cells; one pixel a cell."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(32, GRID[1], GRID[0], generator=generator)
    marks = torch.randn(len(places), 32, generator=generator) * 3
    for i, (x, y) in enumerate(places):
        if i not in hidden:
            values[:, y, x] = marks[i]
    return FeatureMap(values, GRID)


def video(hidden_in=()):
    """Two points: one goes right, one up; the second is hidden in some frames."""
    paths = [[(1 + i, 2), (7, 6 - i)] for i in range(4)]
    maps = [frame(places, (1,) if i in hidden_in else ()) for i, places in enumerate(paths)]
    return maps, np.array(paths, float).transpose(1, 0, 2)


@pytest.mark.parametrize("how", ["nearest", "propagated"])
def test_moving_points_are_found(how):
    maps, true = video()
    tracks = follow_all(maps, true[:, 0], np.array([0, 0]), how, PROPAGATION)
    assert np.abs(tracks.points_px - true).max() < NEAR
    assert not tracks.occluded.any()


@pytest.mark.parametrize("how", ["nearest", "propagated"])
def test_points_given_in_different_frames(how):
    maps, true = video()
    given, frames = np.array([true[0, 1], true[1, 2]]), np.array([1, 2])
    later = follow_all(maps, given, frames, how, PROPAGATION)
    assert later.occluded.tolist() == [[True, False, False, False], [True, True, False, False]]
    assert later.points_px[0, 0].tolist() == true[0, 1].tolist()
    both = follow_all(maps, given, frames, how, PROPAGATION, backwards=True)
    assert np.abs(both.points_px - true).max() < NEAR
    assert not both.occluded.any()


def test_what_cannot_be_found_again_is_called_hidden():
    maps, true = video(hidden_in=(2,))
    seeing = Seeing(cycle_px=1.0)
    tracks = follow_all(maps, true[:, 0], np.array([0, 0]), "nearest", PROPAGATION, seeing)
    assert tracks.occluded.tolist() == [[False] * 4, [False, False, True, False]]
    never = follow_all(
        maps, true[:, 0], np.array([0, 0]), "nearest", PROPAGATION, Seeing(cycle_px=99.0)
    )
    assert not never.occluded.any()


def test_a_fading_label_is_called_hidden_and_an_empty_one_stays():
    maps, true = video()
    follower = Propagated(maps[0], true[:, 0], Propagation(topk=3, radius=0))  # cannot move
    where, visible = follower.step(maps[1])
    assert np.abs(where - true[:, 0]).max() < 0.2
    assert visible.tolist() == [True, True]  # the labels of the same cells
    peaked = Propagated(
        maps[0], true[:, 0], Propagation(topk=80, radius=None, temperature=1.0), Seeing(hold=0.5)
    )
    assert peaked.step(maps[1])[1].tolist() == [False, False]
    follower.propagator.step = lambda _: torch.zeros(2, GRID[1], GRID[0])  # every map is empty
    places, visible = follower.step(maps[2])
    assert places.tolist() == where.tolist()
    assert visible.tolist() == [False, False]


def test_a_prepared_map_serves_the_one_and_not_the_other():
    maps, true = video()
    near = Nearest(PreparedMap(maps[0]), true[:, 0])
    assert np.array_equal(near.step(PreparedMap(maps[1]))[0], near.step(maps[1])[0])
    with pytest.raises(BadInput, match="feature map as it is"):
        Propagated(maps[0], true[:, 0], PROPAGATION).step(PreparedMap(maps[1]))


def test_refusals():
    maps, true = video()
    for wrong in ({"cycle_px": -1.0}, {"hold": 1.5}, {"cycle_px": float("nan")}):
        with pytest.raises(BadInput, match="expected a cycle of at least 0 px"):
            Seeing(**wrong)
    with pytest.raises(BadInput, match="nearest or propagated"):
        follow_all.__wrapped__(maps, true[:, 0], np.array([0, 0]), "by hand", PROPAGATION)
