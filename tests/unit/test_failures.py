"""What pairs' pictures have in common, point by point scores, the worst pairs."""

import json
from pathlib import Path

import numpy as np
import pytest

from counterpoint.benchmarks.datasets.keypoints import Difficulty, KeypointPair, KeypointPairs
from counterpoint.benchmarks.keypoints.changes import LEVELS, Change, arrangement, change_of
from counterpoint.benchmarks.keypoints.failures import caption, find_failures, page
from counterpoint.benchmarks.keypoints.parts import change_parts, judge, keypoint_parts
from counterpoint.benchmarks.keypoints.predictions import Origin, Predictions
from counterpoint.benchmarks.keypoints.protocols import find_protocol
from counterpoint.errors import BadInput
from counterpoint.provenance import Provenance

SQUARE = np.array([(10, 10), (30, 10), (30, 50), (10, 44.0)])


def pair(name, target_px=SQUARE, **more):
    given = {
        "id": name,
        "category": "cat",
        "source": Path("a.jpg"),
        "target": Path("b.jpg"),
        "source_size_wh": (100, 100),
        "target_size_wh": (100, 100),
        "source_px": SQUARE,
        "target_px": target_px,
    }
    return KeypointPair(**given | more)


def dataset(*pairs):
    return KeypointPairs("made up", Path(), {"reader": "spair"}, pairs)


@pytest.mark.parametrize("degrees", [0, 30, -30, 90, 179])
@pytest.mark.parametrize("scale", [0.5, 1, 3.0])
def test_rotation_and_scale_are_those_that_were_applied(degrees, scale):
    turn = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    found = arrangement(SQUARE, SQUARE @ matrix + (5, 60))
    assert found.scale == pytest.approx(max(scale, 1 / scale))
    assert found.rotation_deg == pytest.approx(abs(degrees), abs=1e-6)
    assert found.mirrored is False
    assert found.shape == pytest.approx(0, abs=1e-6)


def test_a_mirror_image_is_one():
    found = arrangement(SQUARE, SQUARE * (-2, 2) + 100)
    assert (found.mirrored, found.rotation_deg) == (True, pytest.approx(0))
    assert found.scale == pytest.approx(2)
    assert found.shape == pytest.approx(0, abs=1e-6)


def test_too_few_points_say_less_and_not_something_else():
    assert arrangement(SQUARE[:1], SQUARE[:1]) == Change(None, None, None, None)
    two = arrangement(SQUARE[:2], 2 * SQUARE[:2])
    assert (two.scale, two.rotation_deg) == (pytest.approx(2), pytest.approx(0))
    assert (two.mirrored, two.shape) == (None, None)
    line = np.array([(0, 0), (1, 1), (4, 4.0)])
    assert arrangement(line, line).mirrored is None  # looks alike both ways
    assert arrangement(SQUARE, np.ones((4, 2))).scale is None


def test_noise_in_the_points_is_a_change_of_shape():
    moved = SQUARE + np.random.default_rng(0).normal(0, 10, SQUARE.shape)
    assert 0.1 < arrangement(SQUARE, moved).shape < 1


def test_boxes_go_before_points():
    boxes = {"source_box": (0.0, 0.0, 10.0, 40.0), "target_box": (0.0, 0.0, 40.0, 90.0)}
    assert change_of(pair("a", **boxes)).scale == pytest.approx(3)
    assert change_of(pair("a")).scale == pytest.approx(1)


def test_levels_are_the_listed_ones_and_edges_count_upwards():
    words = Change(1.25, 45.0, True, 0.2).words
    assert words == {
        "scale change": "1.25x to 2x",
        "rotation": "45° and more",
        "facing": "mirrored",
        "shape change": "below 0.25",
    }
    for change in (Change(1.0, 0.0, None, 0.9), Change(9.0, 15.0, False, 0.3)):
        assert all(word in LEVELS[label] for label, word in change.words.items())
    assert set(Change(None, None, None, None).words.values()) == {"not known"}


def off_by(*pixels):
    return SQUARE + np.stack([np.array(pixels), np.zeros(4)], axis=1)


def test_points_are_judged_one_by_one():
    rule = find_protocol("pf-pascal")  # a share of the picture's longer side, 100 px
    data = dataset(pair("a"), pair("b"), pair("c"))
    [a, b] = judge(data, {"a": off_by(0, 10, 11, 40), "b": off_by(0, 0, 0, 0)}, rule, 0.1)
    assert a.correct.tolist() == [True, True, False, False]
    assert (a.share, a.error) == (0.5, pytest.approx((10 + 11 + 40) / 400))
    assert (b.share, b.error) == (1, 0)


def test_key_points_are_counted_by_name_and_category():
    rule = find_protocol("pf-pascal")
    names = {"keypoint_ids": ("10", "9", "tail", "ear")}
    some = dataset(
        pair("a", **names), pair("b", **names), pair("c", category="dog"), pair("d", category="dog")
    )
    wrong = {one.id: off_by(0, 40, 0, 40) for one in some.pairs}
    wrong["b"] = off_by(0, 0, 40, 40)
    parts = keypoint_parts(judge(some, wrong, rule, 0.1), 0.1)
    assert [(part.name, part.points, part.per_point.value) for part in parts] == [
        ("cat: ear", 2, 0),
        ("cat: tail", 2, 50),
        ("cat: 9", 2, 50),
        ("cat: 10", 2, 100),
        ("dog: not annotated", 8, 50),
    ]
    unnamed = judge(dataset(pair("a")), {"a": SQUARE}, rule, 0.1)
    assert keypoint_parts(unnamed, 0.1) == ()
    alone = judge(dataset(pair("a", **names)), {"a": SQUARE}, rule, 0.1)
    assert [part.name for part in keypoint_parts(alone, 0.1)] == ["ear", "tail", "9", "10"]


def test_changes_divide_all_points():
    rule = find_protocol("pf-pascal")
    some = dataset(pair("a"), pair("b", 1.9 * SQUARE), pair("c", SQUARE[:, ::-1]))
    judged = judge(some, {one.id: one.target_px for one in some.pairs}, rule)
    parts = change_parts(judged, 0.05)
    for label in LEVELS:
        assert sum(p.points for p in parts if p.name.startswith(label)) == 12
    assert all(part.per_point.value == 100 for part in parts)
    assert [p.name for p in parts][:2] == ["scale change: below 1.25x", "scale change: 1.25x to 2x"]


def predictions(points):
    return Predictions(
        Origin(method="m", features=Provenance(model="m"), dataset="made up", pairs_sha256=""),
        points,
    )


def test_the_worst_pairs_by_error_or_by_change():
    flags = Difficulty(2, 0, 0, 1)
    some = dataset(
        pair("good"),
        pair("bad", 1.5 * SQUARE),
        pair("worse", SQUARE[::-1] * (-1, 1) + (60, 0)),
        pair("worst", difficulty=flags),
    )
    made = {
        "good": SQUARE,
        "bad": 1.5 * SQUARE + np.array([0, 30]),
        "worse": some.pairs[2].target_px + np.array([0, 20]),
        "worst": SQUARE + np.array([60, 0]),
    }
    rule = find_protocol("pf-pascal")

    def order(sort, count=3):
        found = find_failures(some, predictions(made), rule, alpha=0.1, count=count, sort=sort)
        return [one.pair.id for one in found.worst]

    assert order("error") == ["worst", "bad", "worse"]
    assert order("error", 9)[-1] == "good"
    assert order("scale")[0] == "bad"
    assert order("viewpoint")[0] == "worst"
    found = find_failures(some, predictions(made), rule, alpha=0.1, count=1)
    assert caption(found.worst[0]).startswith("cat; 0 of 4 found, mean error 0.60; scale x1.00")
    assert caption(found.worst[0]).endswith("viewpoint hard, occlusion source")
    text = page(found, ["01.png"])
    assert "viewpoint: hard" in text
    assert "![worst](01.png)" in text
    entries = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert entries["worst"][0]["found"] == 0
    assert entries["rows"][0]["changes"]
    with pytest.raises(BadInput, match="at least 1 pair"):
        find_failures(some, predictions(made), rule, count=0)
