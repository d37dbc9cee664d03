"""`counterpoint scene` and `align --export`: to hloc and COLMAP, and through COLMAP's mapper."""

import json
import shutil

import h5py
import numpy as np
import pycolmap
import pytest
from PIL import Image

from counterpoint.cli.app import main
from support.tiny_hpatches import warp
from support.tiny_scene import FOCAL_PX, fundamental, pose, write_scene


@pytest.fixture(scope="module")
def corner(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("scene") / "images", 4)


@pytest.fixture(scope="module")
def done(corner, tmp_path_factory):
    """The command's results, made once."""
    out = tmp_path_factory.mktemp("done")
    words = ["scene", corner, "--out", out, "--model", "sift", "--threshold", "2"]
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, words), "--focal", str(FOCAL_PX)])
    assert stopped.value.code == 0
    return out


def off_lines(first_px, second_px, matrix):
    """Distance of points from their epipolar lines, pixels."""
    lines = np.c_[first_px, np.ones(len(first_px))] @ matrix.T
    off = (lines * np.c_[second_px, np.ones(len(second_px))]).sum(axis=1)
    return np.abs(off) / np.hypot(lines[:, 0], lines[:, 1])


def test_the_database_holds_the_true_geometry(done):
    with pycolmap.Database.open(done / "database.db") as database:
        [camera] = database.read_all_cameras()
        assert camera.params.tolist() == [FOCAL_PX, 160, 120, 0]
        ids = {image.name: image.image_id for image in database.read_all_images()}
        assert sorted(ids) == [f"view{i}.png" for i in range(4)]
        assert database.num_matched_image_pairs() == database.num_verified_image_pairs() == 6
        first, second = ids["view0.png"], ids["view1.png"]
        geometry = database.read_two_view_geometry(first, second)
        assert geometry.config == pycolmap.TwoViewGeometryConfiguration.CALIBRATED
        assert len(geometry.inlier_matches) > 100
        inliers = geometry.inlier_matches
        ends = [
            database.read_keypoints(i)[inliers[:, k], :2] - 0.5
            for k, i in enumerate((first, second))
        ]
        assert np.quantile(off_lines(*ends, fundamental(0, 1)), 0.9) < 2


def test_hlocs_files_agree_with_the_database(done):
    assert (done / "pairs.txt").read_text().splitlines()[0] == "view0.png view1.png"
    with (
        h5py.File(done / "features.h5") as features,
        h5py.File(done / "matches.h5") as matches,
        pycolmap.Database.open(done / "database.db") as database,
    ):
        points = database.read_keypoints(1)[:, :2]
        np.testing.assert_allclose(features["view0.png/keypoints"][()] + 0.5, points, atol=1e-4)
        found = matches["view0.png/view1.png/matches0"][()]
        chosen = np.flatnonzero(found > -1)
        assert np.array_equal(np.c_[chosen, found[chosen]], database.read_matches(1, 2))


def test_colmap_verifies_the_matches_by_itself(done, tmp_path):
    path = shutil.copy(done / "database.db", tmp_path / "copy.db")
    with pycolmap.Database.open(path) as database:
        ours = database.num_inlier_matches()
        database.clear_two_view_geometries()
    pycolmap.geometric_verification(path)
    with pycolmap.Database.open(path) as database:
        assert database.num_inlier_matches() > 0.9 * ours


def test_colmap_maps_the_scene(done, corner, tmp_path):
    """Camera centres, up to a similarity, where they were."""
    path = shutil.copy(done / "database.db", tmp_path / "copy.db")
    pycolmap.set_random_seed(0)
    options = pycolmap.IncrementalPipelineOptions()
    options.ba_refine_focal_length = False
    options.ba_refine_extra_params = False
    maps = pycolmap.incremental_mapping(path, corner, tmp_path, options)
    assert len(maps) == 1
    images = sorted(maps[0].images.values(), key=lambda image: image.name)
    assert [image.name for image in images] == [f"view{i}.png" for i in range(4)]
    found = np.array([image.projection_center() for image in images])
    true = np.array([-turn.T @ shift for turn, shift in map(pose, range(4))])
    similar = pycolmap.estimate_sim3d(found, true)
    moved = np.array([similar * centre for centre in found])
    assert np.linalg.norm(moved - true, axis=1).max() < 0.08 * np.linalg.norm(true[0] - true[-1])
    assert maps[0].compute_mean_reprojection_error() < 0.6


def test_json_sequential_and_unknown_cameras(run, corner, tmp_path):
    out = tmp_path / "out"
    asked = ("scene", corner, "--out", out, "--model", "rgb", "--count", 120, "--json")
    _, shown, _ = run(*asked, "--pairs", "sequential", "--window", 1, "--export", "colmap")
    result = json.loads(shown)
    assert [view["name"] for view in result["views"]] == [f"view{i}.png" for i in range(4)]
    assert len(result["pairs"]) == 3
    assert result["image_path"] == str(corner)
    assert sorted(p.name for p in out.iterdir()) == ["database.db", "scene.json"]
    assert json.loads((out / "scene.json").read_text()) == result
    with pycolmap.Database.open(out / "database.db") as database:
        [camera] = database.read_all_cameras()
        assert (camera.focal_length, camera.has_prior_focal_length) == (384, False)


def test_a_grid_and_a_list_of_pairs(run, corner, tmp_path):
    (tmp_path / "pairs.txt").write_text("view1.png view0.png\n")
    asked = ("scene", corner, "--out", tmp_path / "out", "--model", "sift", "--json")
    grid = ("--keypoints", "grid", "--count", 150, "--pairs", tmp_path / "pairs.txt")
    code, shown, _ = run(*asked, *grid, "--threshold", 4)
    assert code == 0
    [pair] = json.loads(shown)["pairs"]
    assert (pair["first"], pair["second"]) == ("view1.png", "view0.png")
    assert pair["inliers"] > 40
    with pycolmap.Database.open(tmp_path / "out/database.db") as database:
        assert database.num_keypoints_for_image(1) > 150  # the grid, and what was found
        assert len(database.read_two_view_geometry(2, 1).inlier_matches) == pair["inliers"]


def test_key_points_of_another_tool(run, done, corner, tmp_path):
    """Its own export serves as the file of key points."""
    asked = ("scene", corner, "--model", "rgb", "--out", tmp_path / "out", "--json", "--count", 40)
    code, shown, _ = run(*asked, "--keypoints", done / "features.h5")
    assert [view["keypoints"] for view in json.loads(shown)["views"]] == [40] * 4
    code, _, said = run(*asked, "--keypoints", "surf")
    assert (code, "a folder or HDF5 file of key points" in said) == (2, True)
    np.savez(tmp_path / "a.npz", keypoints=np.zeros((3, 2)))
    code, _, said = run(*asked, "--keypoints", tmp_path / "a.npz")
    assert (code, "one npz for each of 4 pictures, got 1" in said) == (2, True)


def test_stored_features(run, corner, tmp_path):
    stored = tmp_path / "features"
    code, _, _ = run("extract", corner, "--out", stored, "--model", "rgb", "--size", 64)
    asked = ("scene", corner, "--out", tmp_path / "out", "--count", 50, "--features", stored)
    _, shown, _ = run(*asked)
    assert "4 views, 6 pairs" in shown
    assert json.loads((tmp_path / "out/scene.json").read_text())["model"] == "rgb"
    pair = [corner / f"view{i}.png" for i in range(2)]
    _, shown, _ = run("align", *pair, "--features", stored, "--count", 50, "--json")
    assert json.loads(shown)["model"] == "rgb"
    code, _, said = run(*asked, "--model", "sift")
    assert (code, "expected no --model with --features" in said) == (2, True)
    code, _, said = run(*asked[:-1], tmp_path / "nowhere")
    assert (code, "expected a folder of feature files" in said) == (2, True)


def test_bad_pictures_and_bad_input(run, corner, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(corner, folder)
    (folder / "view2.png").write_bytes(b"broken")
    with Image.open(folder / "view3.png") as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.convert("RGB").save(folder / "view3.jpg", exif=exif)
    asked = ("scene", folder, "--out", tmp_path / "out", "--model", "rgb", "--count", 60)
    code, shown, said = run(*asked)
    assert code == 1
    assert "skipped: expected a picture" in said
    assert "4 views, 6 pairs" in shown
    assert "1 turned by EXIF (view3.jpg)" in shown
    code, _, said = run(*asked, "--camera-mode", "single")
    assert (code, "pictures of one size for one camera" in said) == (2, True)
    for words, reason in (
        (("--pairs", "some"), "expected --pairs all, sequential or a file"),
        (("--focal", -3), "expected --focal above 0"),
        (("--relation", "essential"), "expected --focal in pixels"),
    ):
        code, _, said = run(*asked, *words)
        assert (code, reason in said) == (2, True)
    code, _, said = run("scene", corner / "view0.png", "--out", tmp_path / "o", "--model", "rgb")
    assert (code, "at least 2 pictures" in said) == (2, True)
    code, _, said = run("scene", "--out", tmp_path / "o")
    assert (code, "expected pictures" in said) == (2, True)


def test_nothing_goes_together(run, tmp_path):
    for name, level in (("a", 40), ("b", 200)):
        Image.fromarray(np.full((40, 50, 3), level, np.uint8)).save(tmp_path / f"{name}.png")
    asked = ("scene", tmp_path / "a.png", tmp_path / "b.png", "--model", "rgb", "--json")
    code, shown, _ = run(*asked, "--out", tmp_path / "out")
    [pair] = json.loads(shown)["pairs"]
    assert code == 1
    assert pair["relation"] is None
    assert "needs 8 matches, got 0" in pair["reason"]
    with pycolmap.Database.open(tmp_path / "out/database.db") as database:
        assert (database.num_images(), database.num_verified_image_pairs()) == (2, 0)


@pytest.mark.parametrize("keypoints", ["sift", "grid"])
def test_align_exports_its_pair(run, photo, tmp_path, keypoints):
    true = np.array([[0.98, 0.05, 8], [-0.04, 1.02, 6], [1e-4, -5e-5, 1]])
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(warp(photo, true)).save(tmp_path / "b.png")
    asked = ("align", tmp_path / "a.png", tmp_path / "b.png", "--model", "sift", "--json")
    chosen = ("--keypoints", keypoints, "--count", 100, "--export", "colmap", "hloc")
    code, shown, _ = run(*asked, *chosen, "--out", tmp_path / "out")
    assert code == 0
    result = json.loads(shown)
    assert [p.split("/")[-1] for p in result["exported"]] == [
        "pairs.txt",
        "features.h5",
        "matches.h5",
        "database.db",
    ]
    with pycolmap.Database.open(tmp_path / "out/database.db") as database:
        geometry = database.read_two_view_geometry(1, 2)
        assert len(geometry.inlier_matches) == result["inliers"]
        chosen = database.read_keypoints(1)[geometry.inlier_matches[:, 0], :2] - 0.5
        expected = [match["source_px"] for match in result["inlier_matches"]["matches"]]
        np.testing.assert_allclose(chosen, expected, atol=1e-4)
    code, _, said = run(*asked, "--export", "hloc")
    assert (code, "expected a folder, --out, for --export" in said) == (2, True)


def test_align_with_files_of_key_points(run, photo, tmp_path):
    rng = np.random.default_rng(0)
    points = rng.uniform((0, 0), (450, 299), (80, 2))
    for name in "ab":
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
        np.savez(tmp_path / f"{name}.npz", keypoints=points)
    asked = ("align", tmp_path / "a.png", tmp_path / "b.png", "--model", "rgb", "--json")
    for words in ((tmp_path / "a.npz", tmp_path / "b.npz"), (tmp_path,)):
        code, shown, _ = run(*asked, "--keypoints", *words)
        found = json.loads(shown)
        assert (code, found["keypoints"]) == (0, [80, 80])
        assert np.allclose(found["matrix"], np.eye(3), atol=1e-4)
