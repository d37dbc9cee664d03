"""Parts of a sweep by hand-worked cases: rows, counts on disk, tables."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs
from counterpoint.benchmarks.keypoints.course import Course
from counterpoint.benchmarks.keypoints.protocols import find_protocol
from counterpoint.benchmarks.metrics import Estimate, Interval
from counterpoint.benchmarks.sweep.charts import draw_sweep
from counterpoint.benchmarks.sweep.plan import Grid
from counterpoint.benchmarks.sweep.result import Cell, Sweep, cells, markdown
from counterpoint.benchmarks.sweep.rows import NOT_COUNTED, Row, RowCounts
from counterpoint.benchmarks.sweep.search import _Rows, _survivors
from counterpoint.benchmarks.tables import Cells


def cell(t, tap, value, *, ensemble=1, dropped=False):
    estimate = Estimate(value, Interval(value - 2, value + 2))
    pairs = 10 if dropped else 30
    return Cell(t, tap, ensemble, "", pairs, 2 * pairs, estimate, estimate, estimate, dropped)


def sweep(*found, drop_after=None):
    return Sweep(
        dataset="birds",
        protocol="cub-crops",
        rule="near",
        alpha=0.1,
        model="small",
        weights_sha256="",
        pairs=30,
        points=60,
        pictures=9,
        pairs_sha256="",
        seed=0,
        drop_after=drop_after,
        version="1",
        cells=found,
    )


def test_rows_have_files_of_their_own():
    rows = [Row(20, 1, ""), Row(20, 8, ""), Row(None, 1, ""), Row(20, 1, "a {category}")]
    assert len({row.slug for row in rows}) == 4
    assert rows[0].words == "t = 20, ensemble of 1"
    assert rows[2].words == "no noise"
    assert rows[3].words.endswith("prompt 'a {category}'")


def test_counts_are_kept_in_shards_then_in_one_file(tmp_path):
    row = Row(20, 1, "")
    counts = RowCounts.open(tmp_path, "x", row, 4)
    assert counts.missing(["a", "b"], range(4)) == {("a", "b"): [0, 1, 2, 3]}
    counts.add([2, 0], {"a": [5, 0], "b": [1, 2]})
    counts.add([1], {"a": [7]})
    again = RowCounts.open(tmp_path, "x", row, 4)
    assert again.of("a").tolist() == [0, 7, 5, NOT_COUNTED]
    assert again.missing(["a", "b"], range(4)) == {("b",): [1], ("a", "b"): [3]}
    again.finish()
    assert not again.parts.exists()
    assert np.array_equal(RowCounts.open(tmp_path, "x", row, 4).of("b"), again.of("b"))


def test_the_table_and_its_marks():
    found = sweep(
        cell(20, "mid", 30.0),
        cell(20, "up:1", 9.0, dropped=True),
        cell(50, "mid", 40.0),
        cell(50, "up:1", 8.0, dropped=True),
        drop_after=10,
    )
    assert cells(found) == Cells(
        ("tap", "ensemble", "prompt", "t=20", "t=50"),
        (
            ("mid", "1", "", "30.0 ± 2.0", "40.0 ± 2.0"),
            ("up:1", "1", "", "9.0 ± 2.0 (dropped)", "8.0 ± 2.0 (dropped)"),
        ),
    )
    text = markdown(found, ["heat-map.png"])
    assert "Best of 4 settings: mid, t = 50, ensemble of 1: 40.0 ± 2.0." in text
    assert "2 settings dropped after 10 pairs" in text
    assert text.endswith("![heat-map](heat-map.png)\n")
    assert json.loads(json.dumps(found.to_dict()))["cells"][1]["dropped"] is True


def test_the_best_is_by_point_and_was_not_dropped():
    by_category = replace(cell(50, "mid", 30.0), macro=Estimate(99.0, Interval(98.0, 100.0)))
    found = sweep(cell(20, "mid", 40.0), by_category, cell(50, "up:1", 90.0, dropped=True))
    assert found.best is found.cells[0]


def test_only_cells_wholly_below_the_best_are_hopeless(tmp_path):
    """Of 20 pairs of 10 points: the same everywhere, so intervals are points; or spread."""
    points, size = np.zeros((10, 2)), (9, 9)
    pairs = [
        KeypointPair(str(i), "cat", Path("a"), Path("b"), size, size, points, points)
        for i in range(20)
    ]
    dataset = KeypointPairs("cats", Path(), {}, tuple(pairs))
    course = Course(dataset, find_protocol("dift"), 0.1)
    counts = {
        "best": [5] * 20,
        "as good": [5] * 20,
        "reaches up": [0, 9] * 10,
        "just below": [5] * 19 + [4],  # its interval's upper end is that of the best
        "hopeless": [4] * 20,
    }
    rows = _Rows(tmp_path, "x", 20)
    row, other = Row(20, 1, ""), Row(50, 1, "")
    rows.open(row).add(range(20), counts)
    rows.open(other).add(range(20), dict.fromkeys(counts, [3] * 20))
    grid = Grid((row, other), tuple(counts))
    left = _survivors(course, grid, rows, range(20))
    assert left == {row: ("best", "as good", "reaches up", "just below")}
    assert _survivors(course, grid, rows, [0, 2, 4])[row] == ("best", "as good", "just below")


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ((cell(None, "pixels", 9.0),), ["heat-map.png"]),
        ((cell(20, "mid", 9.0), cell(50, "mid", 8.0)), ["heat-map.png", "against-t.png"]),
        ((cell(None, "a", 9.0), cell(None, "b", 8.0)), ["heat-map.png", "against-layer.png"]),
        (
            (cell(20, "a", 9.0), cell(20, "a", 8.0, ensemble=8)),
            ["heat-map.png", "heat-map1.png", "against-ensemble.png"],
        ),
        (
            (cell(20, "a", 9.0), cell(50, "b", 3.0, dropped=True)),
            ["heat-map.png", "against-t.png", "against-layer.png"],
        ),
    ],
    ids=["one", "t", "layer", "ensemble", "dropped"],
)
def test_figures_that_the_grid_has_room_for(tmp_path, found, names):
    assert [path.name for path in draw_sweep(sweep(*found), tmp_path)] == names
