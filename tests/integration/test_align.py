"""`counterpoint align` and `bench hpatches`: warped pictures and the real graffiti."""

import json

import numpy as np
import pytest
from PIL import Image

from counterpoint.tasks.scenes.homography import mean_corner_error
from support.tiny_hpatches import warp, write_hpatches, write_keypoints
from support.tiny_superpoint import write_superpoint

TRUE = np.array([[0.98, 0.05, 8], [-0.04, 1.02, 6], [1e-4, -5e-5, 1]])


@pytest.fixture
def views(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(warp(photo, TRUE)).save(tmp_path / "b.png")
    Image.fromarray(np.full((80, 90, 3), 77, np.uint8)).save(tmp_path / "flat.png")
    return tmp_path


@pytest.mark.parametrize("keypoints", ["sift", "orb"])
def test_align_finds_the_homography(run, views, keypoints):
    asked = ("align", views / "a.png", views / "b.png", "--model", "sift")
    out = views / "out"
    code, shown, _ = run(*asked, "--keypoints", keypoints, "--json", "--out", out)
    assert code == 0
    found = json.loads(shown)
    assert mean_corner_error(found["matrix"], TRUE, (451, 300)) < 3
    assert 20 < found["inliers"] == len(found["inlier_matches"]["matches"]) <= found["matches"]
    assert (found["relation"], found["estimator"], found["reason"]) == ("homography", "magsac", "")
    assert sorted(p.name for p in out.iterdir()) == ["a--b.inliers.png", "a--b.overlay.png"]
    with Image.open(out / "a--b.overlay.png") as laid_over:
        assert laid_over.size == (451, 300)
    code, shown, _ = run(*asked, "--estimator", "ransac")
    assert code == 0
    assert "inliers; homography:" in shown


def test_align_with_the_embedded_model(run, views):
    asked = ("align", views / "a.png", views / "b.png", "--json", "--keypoints", "grid")
    code, shown, _ = run(*asked, "--threshold", 6, "--count", 600)
    found = json.loads(shown)
    assert code == 0
    assert 500 < found["keypoints"][0] <= 600
    assert found["keypoints"][1] is None
    assert mean_corner_error(found["matrix"], TRUE, (451, 300)) < 5


def test_align_with_superpoint(run, tmp_path, photo):
    """A shift by whole cells moves even a random network's key points as far."""
    Image.fromarray(photo[:240, :400]).save(tmp_path / "a.png")
    Image.fromarray(photo[8:248, 16:416]).save(tmp_path / "b.png")
    weights = write_superpoint(tmp_path / "superpoint")
    asked = ("align", tmp_path / "a.png", tmp_path / "b.png", "--model", "sift", "--json")
    code, shown, _ = run(*asked, "--detector", weights, "--count", 300, "--nms", 3)
    found = json.loads(shown)
    assert (code, found["keypoints"]) == (0, [300, 300])
    shift = np.array([[1, 0, -16], [0, 1, -8], [0, 0, 1.0]])
    assert mean_corner_error(found["matrix"], shift, (400, 240)) < 0.5
    code, shown, _ = run(*asked, "--keypoints", weights, "--min-score", 0.999)
    assert (code, json.loads(shown)["keypoints"]) == (1, [0, 0])


def test_align_says_what_a_detector_lacks(run, views):
    asked = ("align", views / "a.png", views / "b.png", "--keypoints")
    code, _, said = run(*asked, "superpoint")
    assert code == 2
    assert "models fetch superpoint" in said
    assert "by --keypoints FILES" in said
    code, _, said = run(*asked, "surf")
    assert code == 2
    assert "expected --keypoints sift, orb, grid, superpoint, aliked, disk, xfeat, a" in said
    for wrong in (("--nms", 3), ("--min-score", 0.1), ("--detector-size", 640)):
        code, _, said = run(*asked, "orb", *wrong)
        assert code == 2
        assert "with a network's key points (superpoint" in said
    code, _, said = run(*asked, "orb", "--count", 0)
    assert code == 2
    assert "expected --count of at least 1" in said


def test_align_refuses_with_a_reason(run, views):
    code, shown, _ = run("align", views / "a.png", views / "flat.png", "--model", "rgb")
    assert code == 1
    assert "0 mutual matches; no homography: a homography needs 4 matches, got 0" in shown
    asked = ("align", views / "a.png", views / "flat.png", "--model", "rgb", "--keypoints", "grid")
    code, shown, _ = run(*asked, "--count", 60, "--json", "--out", views / "out")
    found = json.loads(shown)
    assert (code, found["matrix"], found["pictures"]) == (1, None, [])
    assert found["reason"]
    assert not (views / "out").exists()
    # A picture is a plane: it leaves the fundamental matrix open.
    asked = ("align", views / "a.png", views / "b.png", "--model", "sift")
    code, shown, _ = run(*asked, "--relation", "fundamental")
    assert code == 1
    assert "lie on a plane; ask for a homography" in shown
    code, _, said = run(*asked, "--relation", "essential")
    assert code == 2
    assert "expected --focal in pixels" in said
    code, _, said = run("align", views / "a.png", views / "nowhere.png")
    assert code == 2
    assert "nowhere.png" in said


def test_align_two_real_views(run, shared):
    folder = shared / "data/HPatches/extra/v_oxford_graf"
    asked = ("align", folder / "1.ppm", folder / "2.ppm", "--model", "sift", "--json")
    code, shown, _ = run(*asked)
    assert code == 0
    true = np.loadtxt(folder / "H_1_2")
    assert mean_corner_error(json.loads(shown)["matrix"], true, (800, 640)) < 2


def test_align_a_real_scene_with_depth(run, tmp_path):
    from skimage.data import stereo_motorcycle

    left, right, disparity = stereo_motorcycle()
    Image.fromarray(left).save(tmp_path / "left.png")
    Image.fromarray(right).save(tmp_path / "right.png")
    views = (tmp_path / "left.png", tmp_path / "right.png")
    asked = ("align", *views, "--model", "sift", "--threshold", 1, "--json")
    y, x = np.argwhere(np.isfinite(disparity))[::997].T
    ones = np.ones(len(x))
    source = np.c_[x, y, ones]
    target = np.c_[x - disparity[y, x], y, ones]
    code, shown, _ = run(*asked, "--relation", "fundamental")
    assert code == 0
    lines = source @ np.array(json.loads(shown)["matrix"]).T
    distance = np.abs((lines * target).sum(axis=1)) / np.hypot(lines[:, 0], lines[:, 1])
    assert np.median(distance) < 1
    code, shown, _ = run(*asked, "--relation", "essential", "--focal", 994.978)
    assert code == 0
    essential = np.array(json.loads(shown)["matrix"])
    assert np.abs(essential[[1, 2], [2, 1]]).min() > 0.6  # a shift along x alone


def test_bench_hpatches(run, tmp_path):
    root = write_hpatches(tmp_path / "hpatches-sequences-release")
    figures, text = tmp_path / "figures.json", tmp_path / "tables.md"
    asked = ("bench", "hpatches", "--data", root, "--model", "sift", "--size", "192x144")
    code, shown, said = run(*asked, "--json", figures, "--markdown", text, "--count", 500)
    assert (code, said) == (0, "")
    assert "Protocol hpatches-dift/sift-keypoints/500-points: HPatches, 2 of 108" in shown
    report = json.loads(figures.read_text())
    assert [row["method"] for row in report["rows"]] == ["same position", "rgb", "sift"]
    assert len(report["rows"][0]["results"]) == 10
    assert "Viewpoint: 5 pairs" in text.read_text()
    points = write_keypoints(tmp_path / "points", ["i_dim", "v_wall"])
    chosen = ("--keypoints", points, "--sequences", "v_wall", "--estimator", "ransac", "magsac")
    code, shown, _ = run(*asked, *chosen, "--no-controls", "--protocol", "hpatches-exact")
    assert code == 0
    assert "Protocol hpatches-exact: HPatches, 1 of 108 sequences, 5 pairs" in shown
    assert "magsac" in shown


def test_bench_hpatches_with_a_learned_detector(run, tmp_path):
    root = write_hpatches(tmp_path / "sequences")
    asked = ("bench", "hpatches", "--data", root, "--model", "rgb", "--protocol", "hpatches-exact")
    folder = write_superpoint(tmp_path / "superpoint")
    code, shown, said = run(*asked, "--keypoints", folder, "--no-controls", "--kind", "viewpoint")
    assert code == 0, said
    assert "Protocol hpatches-exact/superpoint-keypoints: HPatches, 1 of 108" in shown
    code, _, said = run(*asked, "--keypoints", "superpoint")
    assert (code, "superpoint" in said, said.count("\n")) == (2, True, 1)


def test_bench_hpatches_bad_input(run, tmp_path):
    root = write_hpatches(tmp_path / "sequences")
    asked = ("bench", "hpatches", "--data", root, "--model", "rgb", "--no-controls")
    code, _, said = run(*asked, "--keypoints", "surf")
    assert code == 2
    assert (
        "sift, grid, superpoint, aliked, disk, xfeat or a folder of their files, got 'surf'" in said
    )
    (root / "v_wall/H_1_3").unlink()
    code, _, said = run(*asked)
    assert code == 2
    assert "no such file" in said
    assert "H_1_3; get hpatches-sequences-release.tar.gz" in said
    grid = ("--keypoints", "grid", "--count", 100, "--protocol", "hpatches-exact")
    code, shown, _ = run(*asked, *grid, "--skip-bad")
    assert code == 0
    assert "skipped v_wall: no such file" in shown
    code, _, said = run(*asked, "--fit", "pad", "--limit", 1)
    assert code == 2
    assert "use --fit squash, or sampling 'exact'" in said
