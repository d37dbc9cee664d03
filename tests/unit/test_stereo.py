"""Protocol `motorcycle-grid`, on a shifted picture with a known disparity."""

import numpy as np
import pytest

from counterpoint.backbones import load
from counterpoint.benchmarks.stereo import (
    score_same_position,
    score_stereo,
    stereo_grid,
    stereo_rows,
)
from counterpoint.errors import BadInput
from counterpoint.images import Picture

SHIFT = 8


@pytest.fixture
def grid():
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (48, 64 + SHIFT, 3), dtype=np.uint8)
    disparity = np.full((48, 64), float(SHIFT))
    disparity[:24, 40:] = np.inf
    left, right = Picture(wide[:, :64].copy()), Picture(wide[:, SHIFT:].copy())
    return stereo_grid(left, right, disparity, 48)


def test_a_match_lies_to_the_left_by_the_disparity(grid):
    assert (grid.left_px - grid.right_px == [SHIFT, 0]).all()
    assert (grid.right_px[:, 0] >= 0).all()


def test_points_without_a_truth_are_left_out(grid):
    x, y = grid.left_px.T
    assert not ((x >= 40) & (y < 24)).any()
    assert ((x >= 40) & (y >= 24)).any()


def test_colours_find_every_point_of_a_shifted_picture(grid):
    [row] = score_stereo(load("rgb", device="cpu"), grid)
    assert (row.share, row.median_px, row.input_wh, row.t) == (100, 0, (64, 48), None)
    still = score_same_position(grid)
    assert (still.share, still.median_px, still.points) == (0, SHIFT, row.points)


def test_controls_come_first(grid):
    rows = stereo_rows(load("rgb", device="cpu"), grid)
    assert [row.method for row in rows] == ["same position", "sift", "rgb"]


def test_no_truth_at_all():
    picture = Picture(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(BadInput, match="none of 16"):
        stereo_grid(picture, picture, np.full((4, 4), np.nan), 16)
