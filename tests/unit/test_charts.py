"""Heat maps and curves are pictures, and what cannot be drawn is said."""

import sys
from importlib import util

import cv2
import numpy as np
import pytest

from counterpoint.charts import Curve, draw_curves, draw_heat_map
from counterpoint.errors import BadInput, MissingExtra

VALUES = np.array([[10.0, 60.0], [90.0, np.nan]])


def test_a_heat_map_frames_the_best_cell_that_counts(tmp_path):
    faint = np.array([[False, False], [True, False]])
    plain = cv2.imread(str(draw_heat_map(VALUES, ["a", "b"], ["20", "50"], tmp_path / "plain.png")))
    path = draw_heat_map(VALUES, ["a", "b"], ["20", "50"], tmp_path / "faint.png", faint=faint)
    marked = cv2.imread(str(path))
    frame = np.array([0x00, 0x5E, 0xD5])  # BGR

    def middle_of_frame(drawn):
        rows, columns = np.nonzero((drawn == frame).all(axis=2))
        return columns.mean(), rows.mean()

    assert plain.shape == marked.shape
    (x, y), (x_marked, y_marked) = middle_of_frame(plain), middle_of_frame(marked)
    assert x_marked > x + 20  # of 90 below left, then of 60 above right
    assert y_marked < y - 20


def test_curves_have_bands_and_may_have_names_as_places(tmp_path):
    numbers = Curve("up:1", (20, 50, 300), (40, 50, 30.5), (35, 45, 25), (45, 55, 36))
    places = Curve("t = 50", ("mid", "up:0"), (40, 50), (35, 45), (45, 55))
    for number, curves in enumerate(([numbers], [places])):
        drawn = cv2.imread(str(draw_curves(curves, tmp_path / f"{number}.png", title="of pairs")))
        assert drawn.shape[1] > drawn.shape[0] > 300
        assert (np.abs(drawn.astype(int) - [0xB2, 0x72, 0x00]).max(axis=2) < 5).sum() > 100


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(BadInput, match="expected numbers for 1 rows and 2 columns, got"):
        draw_heat_map(VALUES, ["a"], ["20", "50"], tmp_path / "a.png")
    with pytest.raises(BadInput, match="expected numbers"):
        draw_heat_map(VALUES * np.nan, ["a", "b"], ["20", "50"], tmp_path / "a.png")
    with pytest.raises(BadInput, match="expected at least one curve"):
        draw_curves([], tmp_path / "a.png")
    with pytest.raises(BadInput, match="as many x, y, low and high in 'a'"):
        Curve("a", (1, 2), (1,), (1,), (1,))
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    found = util.find_spec
    monkeypatch.setattr(
        sys.modules["counterpoint.charts"],
        "find_spec",
        lambda name: None if name == "matplotlib" else found(name),
    )
    with pytest.raises(MissingExtra, match=r"counterpoint\[figures\]"):
        draw_curves([Curve("a", (1,), (1,), (1,), (1,))], tmp_path / "a.png")
