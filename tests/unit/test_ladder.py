"""The ladder: its rungs do what they say, on the same pairs, each feature made once."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from counterpoint.backbones import load
from counterpoint.benchmarks.accuracy.calibrate import Matching, judge
from counterpoint.benchmarks.accuracy.gallery import Gallery, Views
from counterpoint.benchmarks.accuracy.ladder import ladder_tables, run_ladder
from counterpoint.benchmarks.accuracy.rungs import Rung, Setting, Steps, Tally, find, plan
from counterpoint.benchmarks.birds.crops import prepare, score_taps
from counterpoint.benchmarks.datasets.cub import read_cub
from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs
from counterpoint.benchmarks.keypoints.asked import Asked, Quiz, ask_crops
from counterpoint.benchmarks.keypoints.course import keypoint_course
from counterpoint.benchmarks.keypoints.protocols import find_protocol
from counterpoint.errors import BadInput, StorageError
from counterpoint.features import FeatureMap
from counterpoint.matching import PreparedMap, match, unmirrored
from counterpoint.options import Options
from support.painted_birds import PARTS, write_birds

SMALL = Options(size=32)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    root = write_birds(tmp_path_factory.mktemp("ladder") / "CUB", count=6)
    return prepare(read_cub(root), pairs=12)


@pytest.fixture
def quiz(crops):
    return ask_crops(crops, PARTS)


@pytest.fixture
def counted(monkeypatch):
    """The embedded model, counting pictures put through it."""
    backbone = load("small", device="cpu")
    backbone.passes = 0
    denoise = backbone._denoise

    def counting(noisy, *rest):
        backbone.passes += len(noisy)
        return denoise(noisy, *rest)

    monkeypatch.setattr(backbone, "_denoise", counting)
    return backbone


def names(rungs):
    return [rung.name for rung in rungs]


def test_a_plan_holds_what_the_model_can_do():
    settings, rungs = plan(load("small", device="cpu"), SMALL)
    assert names(rungs)[0] == "argmax"
    assert {"several time steps", "several layers", "ensemble"} <= set(names(rungs))
    assert names(rungs)[-1] == "all together"
    by_name = {one.name: one.options for one in settings}
    assert by_name["several time steps"].t == (20, 50, 80)
    assert by_name["several layers"].tap == "up:0+up:1.layer:4"
    assert by_name["all"] == replace(SMALL, t=(20, 50, 80), tap="up:0+up:1.layer:4", ensemble=8)
    assert {rung.setting for rung in rungs} == set(by_name)
    _, clean = plan(load("rgb"), Options())
    assert not {"several time steps", "several layers", "ensemble", "fusion"} & set(names(clean))


def test_a_plan_joins_another_model_in():
    own = load("small", device="cpu")
    steps = Steps(timesteps=(50, 900), taps="mid+up:1", ensemble=1, fuse=load("small+rgb"))
    settings, rungs = plan(own, replace(SMALL, tap="up:1"), steps)
    by_name = {one.name: one for one in settings}
    assert by_name["fusion"].options.tap == "up:1,pixels"
    assert by_name["fusion"].backbone.spec.name == "small+rgb"
    assert by_name["all"].options.tap == "mid,pixels+up:1,pixels"
    assert by_name["all"].options.t == (50, 900)
    assert "ensemble" not in names(rungs)
    late = plan(own, replace(SMALL, t=900))[0]
    assert {one.name: one for one in late}["several time steps"].options.t == (360, 900, 999)


def test_the_argmax_is_what_bench_gives(crops, quiz):
    backbone = load("small", device="cpu")
    [row] = score_taps(backbone, crops, taps=[backbone.spec.tap], options=SMALL)
    settings = (Setting("plain", backbone, SMALL),)
    found = run_ladder(quiz, settings, (Rung(name="argmax"),), alphas=(0.1,))
    assert found.rows[1].per_point["0.1"].value == pytest.approx(row.pck.per_point)
    assert found.rows[1].per_image["0.1"].value == pytest.approx(row.pck.per_image)
    assert found.points == crops.points


def test_every_feature_is_made_once_and_finished_rungs_are_not_run_again(quiz, counted, tmp_path):
    pictures = len(
        {path for one in quiz.asked.values() for path in (one.pair.source, one.pair.target)}
    )
    targets = len({one.pair.target for one in quiz.asked.values()})
    settings = (Setting("plain", counted, SMALL),)
    rungs = (
        Rung(name="argmax"),
        Rung(name="window", subpixel="window"),
        Rung(name="mutual", max_cycle=0.0),
        Rung(name="flip", flip="mutual"),
    )
    first = run_ladder(quiz, settings, rungs, out=tmp_path)
    assert counted.passes == pictures + targets
    again = run_ladder(quiz, settings, rungs, out=tmp_path)
    assert counted.passes == pictures + targets
    assert again == first
    run_ladder(quiz, (Setting("plain", counted, replace(SMALL, t=20)),), rungs, out=tmp_path)
    assert counted.passes == 2 * (pictures + targets)
    (tmp_path / "rungs" / "mutual.json").write_text("{")
    with pytest.raises(StorageError, match=r"a finished rung at .*mutual\.json, which is damaged"):
        run_ladder(quiz, settings, rungs, out=tmp_path)


def test_filters_keep_fewer_points_and_the_rest_keeps_all(quiz):
    settings, rungs = plan(load("small", device="cpu"), SMALL, Steps(ensemble=1, max_cycle=0.001))
    found = run_ladder(quiz, settings, rungs)
    rows = {row.rung: row for row in found.rows}
    assert rows["way back within 0.001"].kept.value < 100
    for rung in rungs:
        row = rows[rung.name]
        whole = row.kept.value == 100
        assert whole or rung.max_cycle is not None, rung.name
        assert (row.lead is not None) == (whole and rung.name != "argmax")
        assert (row.flipped is None) == (rung.flip is None)
        assert row.pair_seconds > 0
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["rows"][0]["rung"] == "same position"
    first, second, compared = ladder_tables(found)
    assert [line[0] for line in first.cells.rows] == ["same position", *names(rungs)]
    assert {len(line) for line in first.cells.rows} == {len(first.cells.header)}
    assert {len(line) for line in second.cells.rows} == {len(second.cells.header)}
    assert [line[0] for line in compared.cells.rows] == names(rungs)


def test_a_rung_without_any_match_has_no_figure(quiz):
    settings = (Setting("plain", load("small", device="cpu"), SMALL),)
    rungs = (Rung(name="argmax"), Rung(name="none", max_cycle=1e-9))
    found = run_ladder(quiz, settings, rungs)
    lines = {line[0]: line for table in ladder_tables(found)[:2] for line in table.cells.rows}
    if found.rows[2].kept.value == 0:
        assert found.rows[2].per_point == {}
        assert "-" in lines["none"]


SIZE_WH = (80, 40)


def asked_of(source_px, target_px, sides=()):
    pair = KeypointPair(
        id="a", category="bird", source=Path("a.png"), target=Path("b.png"), source_size_wh=SIZE_WH,
        target_size_wh=SIZE_WH, source_px=np.array(source_px, float),
        target_px=np.array(target_px, float),
    )  # fmt: skip
    return Asked(pair, np.zeros((0, 2)), sides)


def test_a_flip_mends_what_looks_the_other_way():
    """The target is the source mirrored, seen by features that know sides."""
    generator = torch.Generator().manual_seed(0)
    source, stranger = (
        FeatureMap(torch.randn(12, 8, 16, generator=generator), SIZE_WH) for _ in range(2)
    )
    views = Views(*(PreparedMap(one) for one in (source, stranger, unmirrored(source))))
    points = [(12, 12), (40, 20), (60, 30)]
    mirror = [(79 - x, y) for x, y in points]
    for criterion in ("similarity", "mutual"):
        rung = Rung(name="flip", flip=criterion)
        matches, kept, flipped = find(rung, asked_of(points, mirror), views)
        assert flipped
        assert kept.all()
        assert np.abs(matches.target_px - mirror).max() <= 2
    # A left and a right eye change places: what looks like the left eye is the right one.
    swapped, _, _ = find(rung, asked_of(points, mirror, sides=((0, 2),)), views)
    assert np.abs(swapped.target_px - [mirror[2], mirror[1], mirror[0]]).max() <= 2
    plain, _, flipped = find(Rung(name="argmax"), asked_of(points, mirror), views)
    assert not flipped
    assert np.array_equal(
        plain.target_px, match(source, stranger, points, calibration=None).target_px
    )


def test_a_filter_keeps_what_comes_back():
    generator = torch.Generator().manual_seed(0)
    a, b = (FeatureMap(torch.randn(12, 8, 16, generator=generator), SIZE_WH) for _ in range(2))
    views = Views(PreparedMap(a), PreparedMap(b))
    points = [(x, y) for x in range(4, 80, 8) for y in range(4, 40, 8)]
    asked = asked_of(points, points)
    cycle = match(a, b, points).cycle_px
    for share, limit in ((0.0, 5.0), (0.1, 8.0), (0.5, 40.0)):
        _, kept, _ = find(Rung(name="cycle", max_cycle=share), asked, views)
        assert np.array_equal(kept, cycle <= limit)


def test_what_is_filtered_out_is_not_correct(quiz):
    generator = torch.Generator().manual_seed(0)
    a, b = (FeatureMap(torch.randn(12, 8, 16, generator=generator), SIZE_WH) for _ in range(2))
    points = [(x, y) for x in range(4, 80, 8) for y in range(4, 40, 8)]
    found = match(a, b, points, calibration=None)
    kept = int((found.cycle_px <= 5).sum())
    assert 0 < kept < len(points)
    for max_cycle, expected in ((0.0, kept), (None, len(points))):
        tally = Tally(Rung(name="cycle", max_cycle=max_cycle), (0.1,))
        # Every match is right by the truth that is given.
        tally.take(asked_of(points, found.target_px), Views(PreparedMap(a), PreparedMap(b)), quiz)
        counts = tally.counts(["a"], 0.0)
        assert counts.points == (len(points),)
        assert counts.kept == (expected,)
        assert counts.correct == {"0.1": (expected,)}


class Given(Gallery):
    """A gallery with the same views for every pair."""

    def views(self, asked):
        return [self.found for _ in asked]


def test_matches_are_judged_by_the_targets_longer_side_and_absent_ones_are_wrong():
    values = torch.randn(12, 6, 8, generator=torch.Generator().manual_seed(0))
    source, target = (FeatureMap(values, size_wh) for size_wh in ((40, 30), (60, 80)))
    points_px = np.array([(4, 4), (20, 10), (30, 14)], float)
    found_px = match(source, target, points_px, calibration=None).target_px
    pair = KeypointPair(
        id="a", category="cat", source=Path("a.png"), target=Path("b.png"),
        source_size_wh=(40, 30), target_size_wh=(60, 80), source_px=points_px,
        target_px=found_px + np.array([(0, 7.9), (0, 8.1), (0, 0)]),
    )  # fmt: skip
    dataset = KeypointPairs("made-up pairs", Path(), {"reader": "spair"}, (pair,))
    course = keypoint_course(dataset, find_protocol("dift"))
    gallery = Given(load("rgb"), Options(), course)
    gallery.found = Views(PreparedMap(source), PreparedMap(target))
    judged = judge(
        Quiz(course, {"a": Asked(pair, np.array([[10.0, 5.0]]))}), Matching(gallery, alpha=0.1)
    )
    assert judged.correct.tolist() == [True, False, True, False]
    assert judged.absent.tolist() == [False, False, False, True]


def test_members_need_noise_and_are_no_part_of_the_ensemble(quiz, counted):
    with pytest.raises(BadInput, match="a model that sees noise for members, rgb sees none"):
        Gallery(load("rgb"), Options(), quiz.course, members=2)
    gallery = Gallery(counted, replace(SMALL, seed=7), quiz.course, members=2)
    asked = list(quiz.asked.values())[:1]
    [views] = gallery.views(asked)
    assert counted.passes == 2 * 3
    seeds = [one.provenance.seed for one, _ in views.members]
    assert seeds == [8, 9]
    assert views.mirror is None
    assert gallery.provenance.picture_sha256 == ""
    assert gallery.made == 2
