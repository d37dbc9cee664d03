"""Protocols `hpatches-dift` and `hpatches-exact`, and the reader, on miniatures."""

import json

import numpy as np
import pytest

from counterpoint.backbones import load
from counterpoint.backbones.detectors import load_detector
from counterpoint.benchmarks.datasets.hpatches import (
    LEFT_OUT,
    OTHERS,
    read_hpatches,
    read_keypoints,
)
from counterpoint.benchmarks.planes import report as planes_report
from counterpoint.benchmarks.planes.hpatches import (
    CornerScore,
    PairResult,
    Setting,
    View,
    find_views,
    score_pair,
)
from counterpoint.benchmarks.planes.report import hpatches_report, tables
from counterpoint.errors import BadInput, ImageError, PointError, UnknownName
from counterpoint.images import Picture
from counterpoint.options import Options
from counterpoint.tasks.scenes.homography import Robust
from support.tiny_hpatches import (
    HOMOGRAPHIES,
    SIZE_WH,
    write_hpatches,
    write_keypoints,
    write_sequence,
)
from support.tiny_superpoint import write_superpoint


@pytest.fixture
def root(tmp_path):
    return write_hpatches(tmp_path / "hpatches-sequences-release")


def test_the_layout_is_read(root):
    data = read_hpatches(root)
    assert [s.name for s in data.sequences] == ["i_dim", "v_wall"]
    assert [s.kind for s in data.sequences] == ["illumination", "viewpoint"]
    assert data.name == "HPatches, 2 of 108 sequences"
    wall = data.sequences[1]
    assert wall.picture(3).size_wh == (SIZE_WH[0] + 1, SIZE_WH[1])
    for number, expected in zip(OTHERS, HOMOGRAPHIES, strict=True):
        assert np.allclose(wall.homography(number), expected)
    assert read_hpatches(root.parent).name == data.name


def test_sequences_are_chosen(root):
    assert [s.name for s in read_hpatches(root, kind="viewpoint").sequences] == ["v_wall"]
    assert [s.name for s in read_hpatches(root, limit=1).sequences] == ["i_dim"]
    assert [s.name for s in read_hpatches(root, sequences=["v_wall"]).sequences] == ["v_wall"]
    with pytest.raises(UnknownName, match="unknown sequence 'v_wal': did you mean 'v_wall'"):
        read_hpatches(root, sequences=["v_wal"])
    with pytest.raises(BadInput, match="limit of at least 1"):
        read_hpatches(root, limit=0)
    with pytest.raises(BadInput, match="found none"):
        read_hpatches(root, sequences=["i_dim"], kind="viewpoint")


def test_eight_sequences_are_left_out_unless_asked_for(root):
    assert len(LEFT_OUT) == 8
    write_sequence(root / "v_talent")
    data = read_hpatches(root)
    assert data.left_out == ("v_talent",)
    assert "v_talent" not in [s.name for s in data.sequences]
    everything = read_hpatches(root, all_sequences=True)
    assert (len(everything.sequences), everything.left_out) == (3, ())
    assert everything.name == "HPatches, 3 of 116 sequences"
    assert len(read_hpatches(root, sequences=["v_talent"]).sequences) == 1


def as_oxford(folder, suffix="ppm"):
    """A sequence's files under the names of Oxford's archives."""
    for number in (1, *OTHERS):
        (folder / f"{number}.ppm").rename(folder / f"img{number}.{suffix}")
    for number in OTHERS:
        (folder / f"H_1_{number}").rename(folder / f"H1to{number}p")
    return folder


def test_oxford_in_its_own_layout(tmp_path):
    folder = as_oxford(write_sequence(tmp_path / "graf"))
    data = read_hpatches(tmp_path)
    assert data.name == "Oxford, 1 of 8 sequences"
    assert data.sequences[0].kind == "viewpoint"
    (folder / "H1to4p").unlink()
    with pytest.raises(BadInput, match=r"no such file: .*H1to4p; .*robots\.ox\.ac\.uk"):
        read_hpatches(tmp_path)


def test_a_folder_that_is_one_of_oxfords_sequences(tmp_path, monkeypatch):
    folder = as_oxford(write_sequence(tmp_path / "Graffiti"))
    [sequence] = read_hpatches(folder).sequences
    assert (sequence.name, sequence.kind, sequence.of_oxford) == ("Graffiti", "viewpoint", True)
    monkeypatch.chdir(folder)
    assert read_hpatches(".").sequences[0].name == "Graffiti"
    as_oxford(write_sequence(tmp_path / "boat"), "pgm")
    assert [s.name for s in read_hpatches(tmp_path).sequences] == ["Graffiti", "boat"]
    folder.rename(tmp_path / "mine")
    with pytest.raises(BadInput, match=r"expected a sequence named bark, boat, .*mine; rename it"):
        read_hpatches(tmp_path)


def test_both_layouts_read_the_same(tmp_path):
    [plain] = read_hpatches(write_sequence(tmp_path / "a/wall").parent).sequences
    [own] = read_hpatches(as_oxford(write_sequence(tmp_path / "b/wall")).parent).sequences
    assert np.array_equal(plain.homographies, own.homographies)
    assert all(np.array_equal(plain.picture(i).rgb, own.picture(i).rgb) for i in (1, *OTHERS))


@pytest.mark.parametrize("name", ["3.ppm", "H_1_5"])
def test_a_missing_file_is_named(root, name):
    (root / "v_wall" / name).unlink()
    with pytest.raises(BadInput, match=f"no such file: .*v_wall/{name}; get hpatches-sequences"):
        read_hpatches(root)
    data = read_hpatches(root, skip_bad=True)
    assert [bad.id for bad in data.skipped] == ["v_wall"]
    assert [s.name for s in data.sequences] == ["i_dim"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 0 0\n0 1 0\n", "three lines of three finite numbers"),
        ("1 0 0\n0 1\n0 0 1\n", "three lines of three finite numbers"),
        ("1 0 0\n0 nan 0\n0 0 1\n", "three lines of three finite numbers"),
        ("1 0 0\n0 one 0\n0 0 1\n", "three numbers in line 2 of"),
        ("1 0 0\n2 0 0\n0 0 1\n", "got a singular matrix"),
    ],
)
def test_a_homography_that_is_none(root, text, expected):
    (root / "v_wall/H_1_2").write_text(text)
    with pytest.raises(BadInput, match=expected):
        read_hpatches(root)


def test_no_sequences_at_all(tmp_path):
    with pytest.raises(BadInput, match="get hpatches-sequences-release"):
        read_hpatches(tmp_path)
    with pytest.raises(BadInput, match="no such file: .*nowhere"):
        read_hpatches(tmp_path / "nowhere")
    write_sequence(tmp_path / "wall_2")
    with pytest.raises(BadInput, match="begin with v_ or i_"):
        read_hpatches(tmp_path)


def test_keypoint_files(root, tmp_path):
    sequence = read_hpatches(root, kind="viewpoint").sequences[0]
    picture, points = sequence.picture(1), write_keypoints(tmp_path / "points", ["v_wall"])
    best = read_keypoints(points, sequence, 1, picture, 3)
    with np.load(points / "v_wall/1.npz") as file:
        assert np.array_equal(best, file["keypoints"][[39, 38, 37]])  # the highest scores
        (points / "v_wall/1.ppm.superpoint").write_bytes((points / "v_wall/1.npz").read_bytes())
    (points / "v_wall/1.npz").unlink()
    assert len(read_keypoints(points, sequence, 1, picture, 1000)) == 40
    with pytest.raises(BadInput, match=r"no key points at .*v_wall/1\.npz \(nor 1\.ppm\.npz nor"):
        read_keypoints(tmp_path, sequence, 1, picture, 9)


@pytest.mark.parametrize(
    "entries",
    [
        {"points": np.ones((2, 2))},
        {"keypoints": np.ones((2, 3))},
        {"keypoints": np.ones((2, 2)), "scores": np.ones(3)},
        {"keypoints": np.array([["a", "b"]])},
    ],
)
def test_keypoint_files_in_another_format(root, tmp_path, entries):
    sequence = read_hpatches(root, kind="viewpoint").sequences[0]
    (tmp_path / "v_wall").mkdir()
    np.savez(tmp_path / "v_wall/1.npz", **entries)
    with pytest.raises(BadInput, match=r"expected an npz with keypoints \(N, 2\)"):
        read_keypoints(tmp_path, sequence, 1, sequence.picture(1), 9)


def test_damaged_keypoints_and_points_outside(root, tmp_path):
    sequence = read_hpatches(root, kind="viewpoint").sequences[0]
    (tmp_path / "v_wall").mkdir()
    path = tmp_path / "v_wall/1.npz"
    for data in (b"", b"PK\x03\x04 cut off", b"no archive"):
        path.write_bytes(data)
        with pytest.raises(BadInput, match="expected an npz"):
            read_keypoints(tmp_path, sequence, 1, sequence.picture(1), 9)
    np.savez(path, keypoints=[(500.0, 3.0)])
    with pytest.raises(PointError, match=r"got \(500, 3\)"):
        read_keypoints(tmp_path, sequence, 1, sequence.picture(1), 9)


def test_true_matches_give_the_true_homography(root):
    wall = read_hpatches(root, kind="viewpoint").sequences[0]
    views = find_views(wall, Setting(keypoints="grid", count=100))
    assert all((np.diff(view.keypoints_px[:, 0]) >= 0).all() for view in views)  # as np.unique
    first = View(views[0].picture, np.array([(20, 20), (70, 22), (68, 50), (24, 51), (40, 40.0)]))
    from counterpoint.geometry import apply_homography

    moved = apply_homography(wall.homography(5), first.keypoints_px)
    other = View(views[4].picture, moved)
    rows = np.stack([np.arange(5), np.arange(5)], axis=1)
    result = score_pair(wall, 5, first, other, rows, Robust())
    assert result.corner_px < 1e-3
    assert (result.matches, result.correct) == (5, (5, 5, 5))
    none = score_pair(wall, 5, first, other, rows[:0], Robust())
    assert (none.corner_px, none.correct) == (None, (0, 0, 0))
    assert none.reason == "a homography needs 4 matches, got 0"


@pytest.fixture
def still(tmp_path):
    """A sequence in which nothing moves, and a view of its pictures' size with given points."""
    write_sequence(tmp_path / "i_still", identity=True)
    return read_hpatches(tmp_path).sequences[0]


def test_matches_right_at_a_threshold_are_correct(still):
    points = np.array([(20, 20), (70, 22), (68, 50), (24, 51), (40, 40.0)])
    off = points + np.array([(0, 1), (3, 0), (0, -5), (3, 4), (0, 5.01)])
    rows = np.stack([np.arange(5), np.arange(5)], axis=1)
    views = [View(still.picture(1), at) for at in (points, off)]
    assert score_pair(still, 2, *views, rows, Robust()).correct == (1, 2, 4)


def test_the_corners_are_those_of_picture_1(still):
    """All moves by 1.1: corners (0, 0), (95, 0), (95, 71), (0, 71) by a tenth of their length."""
    points = np.array([(20, 20), (70, 22), (68, 50), (24, 51), (40, 40.0)])
    large = Picture(np.zeros((200, 300, 3), np.uint8))
    first, other = View(still.picture(1), points), View(large, points * 1.1)
    rows = np.stack([np.arange(5), np.arange(5)], axis=1)
    found = score_pair(still, 2, first, other, rows, Robust())
    (w, h) = SIZE_WH
    expected = (0 + (w - 1) + np.hypot(w - 1, h - 1) + (h - 1)) / 4 / 10
    assert found.corner_px == pytest.approx(expected, abs=1e-3)


def test_the_setting_says_how_homographies_are_searched(root, monkeypatch):
    asked, plain = [], planes_report.score_pair

    def watch(sequence, number, first, other, matches, robust):
        asked.append((sequence.name, number, robust.method, robust.threshold_px))
        return plain(sequence, number, first, other, matches, robust)

    monkeypatch.setattr(planes_report, "score_pair", watch)
    metrics, nearest = [], planes_report.mutual_nearest
    monkeypatch.setattr(
        planes_report, "mutual_nearest", lambda a, b, m: (metrics.append(m), nearest(a, b, m))[1]
    )
    setting = Setting(
        protocol="hpatches-exact",
        keypoints="grid",
        count=20,
        metric="l2",
        estimators=("ransac",),
        threshold_px=2.0,
    )
    data = read_hpatches(root, sequences=["v_wall"])
    hpatches_report(load("rgb", device="cpu"), data, Options(), setting, controls=False)
    assert asked == [("v_wall", number, "ransac", 2.0) for number in OTHERS]
    assert metrics == ["l2"] * 5


def results():
    return [
        PairResult("i_a", "illumination", 2, (9, 9), 10, (2, 5, 10), 0.5),
        PairResult("i_a", "illumination", 3, (9, 9), 4, (0, 0, 4), 3.0),
        PairResult("v_b", "viewpoint", 2, (9, 9), 0, (0, 0, 0), None, "too few"),
        PairResult("v_b", "viewpoint", 3, (9, 9), 8, (8, 8, 8), 5.001),
    ]


def test_figures_by_hand():
    shards = [CornerScore(), CornerScore()]
    for k, result in enumerate(results()):
        shards[k // 2] = shards[k // 2].update(result)
    joined = shards[0].joined(shards[1])
    overall, light, view = joined.compute()
    assert [e.value for e in overall.accuracy] == [25, 50, 50]
    assert [e.value for e in light.accuracy] == [50, 100, 100]
    assert [e.value for e in view.accuracy] == [0, 0, 0]
    auc = [12.5, 100 * (2.5 / 3) / 4, 100 * (0.9 + 0.4) / 4, 100 * (0.95 + 0.7 + 0.4999) / 4]
    assert np.allclose([e.value for e in overall.auc], auc)
    matching = [100 * (0.2 + 0 + 0 + 1) / 4, 100 * (0.5 + 0 + 0 + 1) / 4, 75]
    assert np.allclose([e.value for e in overall.matching], matching)
    assert (overall.pairs, overall.without, view.without) == (4, 1, 1)
    interval = overall.accuracy[0].interval
    assert interval.low <= 25 <= interval.high
    with pytest.raises(BadInput, match="at least one pair"):
        CornerScore().compute()


@pytest.mark.parametrize("protocol", ["hpatches-dift", "hpatches-exact"])
def test_a_report_end_to_end(root, protocol):
    setting = Setting(protocol=protocol, estimators=("lmeds", "magsac"))
    data, options = read_hpatches(root), Options(model="sift", size=(192, 144))
    report = hpatches_report(load("sift", device="cpu"), data, options, setting)
    assert report.protocol == f"{protocol}/sift-keypoints"
    methods = [(row.method, row.estimator) for row in report.rows]
    assert methods[0] == ("same position", "lmeds")
    assert methods[-2:] == [("sift", "lmeds"), ("sift", "magsac")]
    last = {score.group: score for score in report.rows[-1].groups}
    assert (last["overall"].pairs, last["viewpoint"].pairs) == (10, 5)
    assert last["overall"].accuracy[2].value > 60
    json.dumps(report.to_dict(), allow_nan=False)
    assert [t.title for t in tables(report)] == [
        "Overall: 10 pairs",
        "Illumination: 5 pairs",
        "Viewpoint: 5 pairs",
    ]


def test_same_position_is_right_where_nothing_moves(root):
    data = read_hpatches(root, kind="illumination")
    setting = Setting(keypoints="grid", protocol="hpatches-exact")
    report = hpatches_report(load("rgb", device="cpu"), data, Options(model="rgb"), setting)
    assert report.rows[0].method == "same position"
    assert report.rows[0].groups[0].accuracy[0].value == 100
    assert report.rows[-1].input_wh is None or report.rows[-1].method == "rgb"


def test_an_unreadable_picture_stops_or_is_listed(root):
    (root / "i_dim/4.ppm").write_bytes(b"P6\n96 72\n255\ncut off")
    setting = Setting(keypoints="grid", count=100, protocol="hpatches-exact")
    data, model = read_hpatches(root), load("rgb", device="cpu")
    with pytest.raises(ImageError, match=r"i_dim/4\.ppm"):
        hpatches_report(model, data, Options(), setting, controls=False)
    report = hpatches_report(model, data, Options(), setting, controls=False, skip_bad=True)
    assert [bad.id for bad in report.skipped] == ["i_dim"]
    assert (report.sequences, report.pairs) == (("v_wall",), 5)
    assert "1 sequences skipped" in report.title
    only = read_hpatches(root, sequences=["i_dim"])
    with pytest.raises(BadInput, match="got none: .*4.ppm"):
        hpatches_report(model, only, Options(), setting, controls=False, skip_bad=True)


def test_no_matches_count_as_wrong(root):
    for number in OTHERS:
        flat = Picture(np.full((72, 97, 3), 128, np.uint8))
        flat.pil().save(root / f"v_wall/{number}.ppm")
    data = read_hpatches(root, kind="viewpoint")
    model, options = load("rgb", device="cpu"), Options(model="rgb")
    report = hpatches_report(model, data, options, Setting(protocol="hpatches-exact"))
    score = report.rows[-1].groups[0]
    assert (score.pairs, score.without, score.accuracy[2].value) == (5, 5, 0)
    assert report.rows[-1].results[0].reason == "a homography needs 4 matches, got 0"


def test_settings_follow_the_paper_by_family():
    setting = Setting(count=500, threshold_px=2.0)
    assert setting.name == "hpatches-dift/sift-keypoints/500-points/2px"
    assert setting.metric_for("stable-diffusion") == "cosine"
    assert setting.estimators_for("stable-diffusion") == ("lmeds",)
    assert (setting.metric_for("adm"), setting.estimators_for("adm")) == ("l2", ("ransac",))
    small = load("small", device="cpu")
    squashed = setting.options_for(small, Options())
    assert (squashed.size, squashed.fit, squashed.tap) == (768, "squash", "up:1")
    exact = Setting(protocol="hpatches-exact").options_for(small, Options(t=7))
    assert (exact.size, exact.fit, exact.t) == (None, "keep", 7)
    with pytest.raises(UnknownName, match="protocol"):
        Setting(protocol="hpatches")
    with pytest.raises(BadInput, match="key point"):
        Setting(count=0)


def test_a_networks_key_points_are_looked_for_in_every_picture(root, tmp_path):
    network = load_detector(str(write_superpoint(tmp_path / "superpoint")), device="cpu")
    setting = Setting(protocol="hpatches-exact", keypoints=network, count=30)
    assert setting.name == "hpatches-exact/superpoint-keypoints/30-points"
    [wall] = read_hpatches(root, sequences=["v_wall"]).sequences
    views = find_views(wall, setting)
    found = [np.unique(network.detect(v.picture, 30).points_px, axis=0) for v in views]
    assert all(np.array_equal(v.keypoints_px, f) for v, f in zip(views, found, strict=True))
    assert 0 < len(views[0].keypoints_px) <= 30


def test_files_without_a_detectors_name_carry_the_plain_protocol(root, tmp_path):
    points = write_keypoints(tmp_path / "points", ["i_dim", "v_wall"])
    setting = Setting(protocol="hpatches-exact", keypoints=points)
    report = hpatches_report(
        load("rgb", device="cpu"), read_hpatches(root), Options(), setting, controls=False
    )
    assert report.protocol == "hpatches-exact"
    assert {r.keypoints for r in report.rows[0].results} == {(40, 40)}
