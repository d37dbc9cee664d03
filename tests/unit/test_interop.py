"""hloc's files, COLMAP's database and the matcher's dictionary, read back by their own readers."""

import h5py
import numpy as np
import pycolmap
import pytest
import torch
from PIL import Image

from counterpoint.backbones import load
from counterpoint.errors import BadInput, ImageError, MissingExtra, PointError
from counterpoint.features import FeatureMap
from counterpoint.geometry import (
    apply_homography,
    from_colmap,
    fundamental_to_colmap,
    homography_to_colmap,
    to_colmap,
)
from counterpoint.images import Picture, load_picture
from counterpoint.interop import (
    Matcher,
    SceneCamera,
    write_database,
    write_features,
    write_matches,
    write_pairs,
)
from counterpoint.interop.hloc import read_pairs
from counterpoint.options import Options
from counterpoint.tasks.scenes.homography import Estimate, NoEstimate
from counterpoint.tasks.scenes.keypoint_files import read_keypoints
from counterpoint.tasks.scenes.local_features import KeyPoints, detect, detect_scored
from counterpoint.tasks.scenes.views import (
    View,
    ViewPair,
    choose_pairs,
    indices_of,
    match_grid,
    match_views,
    relate,
    view_of,
    with_points,
)
from support.tiny_hpatches import texture, warp
from support.tiny_scene import CAMERA, SIZE_WH, fundamental

WH = (64, 48)


def a_view(name, count=20, channels=5, seed=0, size_wh=WH):
    rng = np.random.default_rng(seed)
    points = rng.uniform((0, 0), np.array(size_wh) - 1, (count, 2))
    descriptors = torch.from_numpy(rng.normal(size=(count, channels))).float()
    return View(name, size_wh, KeyPoints(points, rng.uniform(size=count)), descriptors)


VIEWS = [a_view("sub/1.jpg"), a_view("2.jpg", 15, seed=1), a_view("3.jpg", 9, seed=2)]
MATRIX = np.array([[1.02, 0.1, 3], [-0.05, 0.98, -2], [1e-4, 2e-4, 1]])
FOUND = Estimate("homography", MATRIX, np.array([True, False, True]))
PAIRS = [
    ViewPair(0, 1, np.array([[0, 3], [5, 1], [7, 14]]), np.array([0.9, 0.5, -0.1]), FOUND),
    ViewPair(2, 0, np.array([[8, 19]]), np.array([0.7]), NoEstimate("fundamental", "too few")),
]


class TestConvention:
    def test_points_and_matrices_agree(self):
        points = np.array([(3.0, 4), (50, 20)])
        there = apply_homography(MATRIX, points)
        shifted = apply_homography(homography_to_colmap(MATRIX), to_colmap(points))
        np.testing.assert_allclose(from_colmap(shifted), there)
        f = fundamental(0, 1)
        before = np.r_[points[0], 1] @ f.T @ np.r_[there[0], 1]
        a, b = to_colmap(points)[0], to_colmap(there)[0]
        after = np.r_[a, 1] @ fundamental_to_colmap(f).T @ np.r_[b, 1]
        assert after == pytest.approx(before)


class TestHloc:
    def test_features(self, tmp_path):
        path = write_features(tmp_path / "features.h5", VIEWS)
        with h5py.File(path) as file:
            group = file["sub/1.jpg"]
            assert sorted(group) == ["descriptors", "image_size", "keypoints", "scores"]
            np.testing.assert_allclose(group["keypoints"][()], VIEWS[0].points_px, atol=1e-5)
            assert group["descriptors"].shape == (5, 20)
            assert group["image_size"][()].tolist() == [64, 48]
            assert group["keypoints"].attrs["uncertainty"] == 1
        assert [p.name for p in tmp_path.iterdir()] == ["features.h5"]

    def test_matches_as_hloc_reads_them(self, tmp_path):
        path = write_matches(tmp_path / "matches.h5", VIEWS, PAIRS)
        with h5py.File(path) as file:
            matches = file["sub-1.jpg/2.jpg"]["matches0"][()]
            scores = file["sub-1.jpg/2.jpg"]["matching_scores0"][()]
            assert matches.shape == scores.shape == (20,)
            chosen = np.flatnonzero(matches > -1)
            assert np.stack([chosen, matches[chosen]], 1).tolist() == [[0, 3], [5, 1], [7, 14]]
            np.testing.assert_allclose(scores[chosen], [0.9, 0.5, 0])
            assert file["3.jpg/sub-1.jpg/matches0"][8] == 19

    def test_inliers_only(self, tmp_path):
        path = write_matches(tmp_path / "matches.h5", VIEWS, PAIRS, inliers=True)
        with h5py.File(path) as file:
            assert np.flatnonzero(file["sub-1.jpg/2.jpg/matches0"][()] > -1).tolist() == [0, 7]
            assert (file["3.jpg/sub-1.jpg/matches0"][()] == -1).all()

    def test_pairs_there_and_back(self, tmp_path):
        path = write_pairs(tmp_path / "pairs.txt", VIEWS, PAIRS)
        assert path.read_text() == "sub/1.jpg 2.jpg\n3.jpg sub/1.jpg\n"
        names = [view.name for view in VIEWS]
        assert read_pairs(path, names) == [(0, 1), (2, 0)]
        path.write_text("# chosen\n\n2.jpg 3.jpg\n3.jpg 2.jpg\n")
        assert read_pairs(path, names) == [(1, 2)]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "expected pairs in"),
            ("2.jpg\n", "line 1"),
            ("2.jpg 4.jpg\n", "line 1"),
            ("2.jpg 3.jpg\n3.jpg 3.jpg\n", "two different pictures in line 2"),
        ],
    )
    def test_bad_lists_of_pairs(self, tmp_path, text, said):
        path = tmp_path / "pairs.txt"
        path.write_text(text)
        with pytest.raises(BadInput, match=said):
            read_pairs(path, [view.name for view in VIEWS])
        with pytest.raises(BadInput, match="cannot read"):
            read_pairs(tmp_path / "none.txt", ["a"])

    def test_names_that_hloc_cannot_tell_apart(self, tmp_path):
        clash = [a_view("a/b.jpg"), a_view("a-b.jpg")]
        with pytest.raises(BadInput, match=r"a/b.jpg and a-b.jpg; rename one"):
            write_matches(tmp_path / "m.h5", clash, [])
        with pytest.raises(BadInput, match="without spaces"):
            write_pairs(tmp_path / "p.txt", [a_view("my cat.jpg")], [])
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_extra(self, tmp_path, monkeypatch):
        for name in ("h5py", "pycolmap"):
            monkeypatch.setitem(__import__("sys").modules, name, None)
        with pytest.raises(MissingExtra, match=r"counterpoint\[colmap\]"):
            write_features(tmp_path / "f.h5", VIEWS)
        with pytest.raises(MissingExtra, match=r"counterpoint\[colmap\]"):
            write_database(tmp_path / "d.db", [], [], [])
        with pytest.raises(MissingExtra, match=r"counterpoint\[colmap\]"):
            read_keypoints(tmp_path / "f.h5", "1.jpg", WH, 5)


def cameras(focal_px=100.0, known=True):
    return [SceneCamera(size_wh=v.size_wh, focal_px=focal_px, known=known) for v in VIEWS]


class TestColmap:
    def test_all_of_it_reads_back(self, tmp_path):
        path = write_database(tmp_path / "d.db", VIEWS, PAIRS, cameras())
        with pycolmap.Database.open(path) as database:
            [camera] = database.read_all_cameras()
            assert (camera.model_name, camera.has_prior_focal_length) == ("SIMPLE_RADIAL", True)
            assert camera.params.tolist() == [100, 32, 24, 0]
            ids = {image.name: image.image_id for image in database.read_all_images()}
            assert sorted(ids) == ["2.jpg", "3.jpg", "sub/1.jpg"]
            points = database.read_keypoints(ids["2.jpg"])
            np.testing.assert_allclose(points, VIEWS[1].points_px + 0.5, atol=1e-4)
            first, second, third = ids["sub/1.jpg"], ids["2.jpg"], ids["3.jpg"]
            assert database.read_matches(first, second).tolist() == [[0, 3], [5, 1], [7, 14]]
            assert database.read_matches(third, first).tolist() == [[8, 19]]
            geometry = database.read_two_view_geometry(first, second)
            assert geometry.inlier_matches.tolist() == [[0, 3], [7, 14]]
            kinds = pycolmap.TwoViewGeometryConfiguration
            assert geometry.config == kinds.PLANAR_OR_PANORAMIC
            np.testing.assert_allclose(geometry.H, homography_to_colmap(MATRIX))
            assert not database.exists_two_view_geometry(third, first)
        assert [p.name for p in tmp_path.iterdir()] == ["d.db"]

    @pytest.mark.parametrize("relation", ["fundamental", "essential"])
    def test_the_way_round_does_not_matter(self, tmp_path, relation):
        """Ids rise with the list, but a pair may lead from the later view to the earlier."""
        matrix = fundamental(0, 1)
        found = Estimate(relation, matrix, np.array([True, True]))
        pair = ViewPair(1, 0, np.array([[2, 3], [4, 5]]), np.ones(2), found)
        path = write_database(tmp_path / "d.db", VIEWS[:2], [pair], cameras()[:2])
        with pycolmap.Database.open(path) as database:
            geometry = database.read_two_view_geometry(2, 1)
            assert geometry.inlier_matches.tolist() == [[2, 3], [4, 5]]
            if relation == "fundamental":
                expected, got = fundamental_to_colmap(matrix), geometry.F
                assert geometry.config == pycolmap.TwoViewGeometryConfiguration.UNCALIBRATED
            else:
                expected, got = matrix, geometry.E
                assert geometry.config == pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            np.testing.assert_allclose(got, expected)
            turned = database.read_two_view_geometry(1, 2)
            assert turned.inlier_matches.tolist() == [[3, 2], [5, 4]]

    def test_who_shares_a_camera(self, tmp_path):
        def count(mode, given):
            path = write_database(tmp_path / f"{mode}.db", VIEWS, [], given, mode=mode)
            with pycolmap.Database.open(path) as database:
                return database.num_cameras()

        other = [SceneCamera(size_wh=(9, 9), focal_px=1.0, known=False), *cameras()[1:]]
        assert [count(mode, cameras()) for mode in ("auto", "single", "per-image")] == [1, 1, 3]
        assert count("auto", other) == 2
        with pytest.raises(BadInput, match="pictures of one size for one camera"):
            count("single", other)

    def test_a_file_in_the_way_is_replaced(self, tmp_path):
        (tmp_path / "d.db").write_text("old")
        path = write_database(tmp_path / "d.db", VIEWS, PAIRS, cameras())
        with pycolmap.Database.open(path) as database:
            assert database.num_images() == 3

    def test_focal_lengths(self, tmp_path):
        image = Image.fromarray(np.zeros((30, 40, 3), np.uint8))
        image.save(tmp_path / "plain.jpg")
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0xA405] = 50  # FocalLengthIn35mmFilm
        image.save(tmp_path / "exif.jpg", exif=exif)
        guess = SceneCamera.guess((40, 30), tmp_path / "plain.jpg")
        assert (guess.focal_px, guess.known) == (48, False)
        read = SceneCamera.guess((40, 30), tmp_path / "exif.jpg")
        assert read.known
        assert read.focal_px == pytest.approx(50 / 35 * 40, rel=0.05)
        given = SceneCamera.guess((40, 30), tmp_path / "exif.jpg", 77.0)
        assert (given.focal_px, given.known) == (77, True)
        (tmp_path / "odd.webp").write_bytes(b"no picture")
        assert not SceneCamera.guess((40, 30), tmp_path / "odd.webp").known

    def test_refusals(self, tmp_path):
        with pytest.raises(BadInput, match="a camera for each of 3 views, got 1"):
            write_database(tmp_path / "d.db", VIEWS, [], cameras()[:1])
        with pytest.raises(BadInput, match="expected a camera model"):
            write_database(tmp_path / "d.db", VIEWS, [], cameras(), model="FISHY")
        with pytest.raises(BadInput, match="different names"):
            write_database(tmp_path / "d.db", VIEWS[:1] * 3, [], cameras())
        assert list(tmp_path.iterdir()) == []


def striped(seed=0):
    """A map that tells every cell from every other."""
    generator = torch.Generator().manual_seed(seed)
    return FeatureMap(torch.randn(16, 12, 16, generator=generator), WH)


class TestViews:
    def test_pairs(self):
        assert len(choose_pairs(5, "all")) == 10
        assert choose_pairs(1, "all") == []
        with pytest.raises(BadInput, match="window of at least 1"):
            choose_pairs(3, "sequential", 0)

    def test_matches_are_indices_of_mutual_neighbours(self):
        a = a_view("a", 12, seed=4)
        order = np.random.default_rng(0).permutation(12)
        points = KeyPoints(a.points_px[order] + 0.25, np.ones(12))
        b = View("b", WH, points, a.descriptors[order.tolist()])
        pair = match_views([a, b], (0, 1), "homography")
        assert np.array_equal(order[pair.matches[:, 1]], pair.matches[:, 0])
        assert len(pair.matches) == 12
        np.testing.assert_allclose(pair.cosine, 1)
        shift = [[1, 0, 0.25], [0, 1, 0.25], [0, 0, 1]]
        np.testing.assert_allclose(pair.found.matrix, shift, atol=1e-3)
        assert np.array_equal(pair.inliers, pair.matches)

    def test_a_grid_finds_pixels_and_makes_them_key_points(self):
        fmap = striped()
        views = [view_of(n, fmap, detect_scored(Picture(texture(0, WH)), "grid", 30)) for n in "ab"]
        before = len(views[1].keypoints)
        pair = match_grid(views, [fmap, fmap], (0, 1), "homography")
        ends = views[0].points_px[pair.matches[:, 0]], views[1].points_px[pair.matches[:, 1]]
        assert np.linalg.norm(ends[0] - ends[1], axis=1).max() <= 4
        assert len(views[1].keypoints) >= before
        again = with_points(views[1], fmap, ends[1])
        assert again is views[1]

    def test_indices_of(self):
        points = np.array([(1.0, 2), (3, 4), (1, 2)])
        assert indices_of(points, points[[2, 1]]).tolist() == [0, 1]

    def test_relation_by_itself(self):
        """Depth: fundamental, or essential where cameras are known; a plane: homography."""
        rng = np.random.default_rng(0)
        near = rng.uniform((20, 20), (300, 220), (150, 2))
        plane = apply_homography(MATRIX, near)
        found = relate(near, plane, (400, 300))
        assert found.relation == "homography"
        depth = rng.uniform(4, 8, (150, 1))
        points = np.c_[near, np.ones(150)] @ np.linalg.inv(CAMERA).T * depth
        moved = points @ CAMERA.T + np.array([0.5, 0.1, 0.05]) @ CAMERA.T
        there = moved[:, :2] / moved[:, 2:]
        assert relate(near, there, SIZE_WH).relation == "fundamental"
        known = relate(near, there, SIZE_WH, cameras=(CAMERA, CAMERA))
        assert known.relation == "essential"
        nothing = relate(near, rng.uniform((0, 0), SIZE_WH, (150, 2)), SIZE_WH)
        assert isinstance(nothing, NoEstimate)

    def test_a_descriptor_for_each_key_point(self):
        with pytest.raises(BadInput, match="a descriptor a key point, got 3 of 2"):
            View("a", WH, KeyPoints(np.zeros((2, 2)), np.ones(2)), torch.zeros(3, 4))
        with pytest.raises(BadInput, match="a score a key point"):
            KeyPoints(np.zeros((2, 2)), np.ones(3))


class TestKeyPointFiles:
    POINTS = np.array([(1.0, 2), (30, 40), (63, 47.0)], np.float32)

    def test_npz_by_score(self, tmp_path):
        np.savez(tmp_path / "a.npz", keypoints=self.POINTS, scores=[0.1, 0.9, 0.5])
        found = read_keypoints(tmp_path / "a.npz", "any.jpg", WH, 2)
        assert found.points_px.tolist() == [[30, 40], [63, 47]]
        assert found.scores.tolist() == [0.9, 0.5]

    @pytest.mark.parametrize("name", ["seq/1.npz", "seq/1.ppm.superpoint", "1.ppm.npz", "1.npz"])
    def test_a_folder_knows_the_last_parts_of_a_path(self, tmp_path, name):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, keypoints=self.POINTS)
        found = read_keypoints(tmp_path, "/data/seq/1.ppm", WH, 9)
        assert found.points_px.tolist() == self.POINTS.tolist()
        assert found.scores.tolist() == [1, 1, 1]

    def test_hlocs_features_of_half_precision(self, tmp_path):
        """The last point is rounded beyond the picture, and moved back."""
        points = np.array([(1.2, 2), (2047.4, 40)])
        with h5py.File(tmp_path / "f.h5", "w") as file:
            group = file.create_group("sub/1.jpg")
            group["keypoints"] = points.astype(np.float16)
            group["scores"] = np.array([0.3, 0.7], np.float16)
        found = read_keypoints(tmp_path / "f.h5", "/anywhere/sub/1.jpg", (2048, 100), 9)
        assert found.points_px[0].tolist() == [2047, 40]
        np.testing.assert_allclose(found.points_px[1], (1.2, 2), atol=1e-3)

    def test_what_was_exported(self, tmp_path):
        path = write_features(tmp_path / "features.h5", VIEWS)
        found = read_keypoints(path, "sub/1.jpg", WH, 99)
        best = np.argsort(-VIEWS[0].keypoints.scores)
        np.testing.assert_allclose(found.points_px, VIEWS[0].points_px[best], atol=1e-4)

    def test_refusals(self, tmp_path):
        with pytest.raises(BadInput, match=r"expected a\.npz, a\.jpg\.npz or a\.jpg\.superpoint"):
            read_keypoints(tmp_path, "a.jpg", WH, 5)
        with pytest.raises(BadInput, match="no such file"):
            read_keypoints(tmp_path / "a.npz", "a.jpg", WH, 5)
        for wrong, said in (
            ({"points": self.POINTS}, "expected an npz with keypoints"),
            ({"keypoints": self.POINTS.T}, r"got keypoints float32 \(2, 3\)"),
            ({"keypoints": self.POINTS, "scores": [1]}, r"got scores int64 \(1,\) of 3 points"),
        ):
            np.savez(tmp_path / "w.npz", **wrong)
            with pytest.raises(BadInput, match=said):
                read_keypoints(tmp_path / "w.npz", "a.jpg", WH, 5)
        np.savez(tmp_path / "w.npz", keypoints=self.POINTS)
        with pytest.raises(PointError, match="expected points inside the picture of"):
            read_keypoints(tmp_path / "w.npz", "a.jpg", (40, 30), 5)
        (tmp_path / "f.h5").write_bytes(b"x" * 99)
        with pytest.raises(BadInput, match="expected an HDF5 file"):
            read_keypoints(tmp_path / "f.h5", "a.jpg", WH, 5)
        write_features(tmp_path / "f.h5", VIEWS[1:])
        with pytest.raises(BadInput, match=r"called like 2\.jpg, 3\.jpg"):
            read_keypoints(tmp_path / "f.h5", "a.jpg", WH, 5)
        with pytest.raises(BadInput, match="no such file"):
            read_keypoints(tmp_path / "g.h5", "a.jpg", WH, 5)
        with pytest.raises(BadInput, match="at least 1 key point"):
            read_keypoints(tmp_path / "f.h5", "2.jpg", WH, 0)


MILD = np.array([[0.98, 0.03, 8], [-0.02, 1.02, 6], [5e-5, -5e-5, 1]])
KEYS = (
    "num_inliers H all_kpts0 all_kpts1 all_desc0 all_desc1 matched_kpts0 matched_kpts1 "
    "inlier_kpts0 inlier_kpts1 matched_confidences"
).split()


@pytest.fixture(scope="module")
def two_views():
    from skimage.data import chelsea

    rgb = np.ascontiguousarray(chelsea()[40:220, 90:330])
    return rgb, warp(rgb, MILD)


def tensor(rgb):
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float() / 255


class TestMatcher:
    @pytest.mark.parametrize("detector", ["sift", "grid"])
    def test_the_contract(self, two_views, detector):
        matcher = Matcher(load("sift"), detector=detector, max_num_keypoints=300)
        found = matcher(tensor(two_views[0]), tensor(two_views[1]))
        assert list(found) == KEYS
        corners = np.array([(30, 30), (200, 30), (200, 150.0)])
        ends = apply_homography(found["H"], corners) - apply_homography(MILD, corners)
        assert np.abs(ends).max() < 3
        matched, inliers = len(found["matched_kpts0"]), found["num_inliers"]
        assert 0 < inliers == len(found["inlier_kpts0"]) == len(found["inlier_kpts1"]) <= matched
        assert found["matched_kpts1"].shape == (matched, 2)
        assert found["matched_confidences"].shape == (matched,)
        for i in "01":
            points, said = found[f"all_kpts{i}"], found[f"all_desc{i}"]
            assert points.shape == (len(said), 2)
            assert (points.dtype, said.dtype) == (np.float32, np.float32)
            every = {tuple(p) for p in points.tolist()}
            assert {tuple(p) for p in found[f"matched_kpts{i}"].tolist()} <= every
            assert {tuple(p) for p in found[f"inlier_kpts{i}"].tolist()} <= every

    def test_pictures_of_every_kind(self, two_views, tmp_path):
        matcher = Matcher(load("rgb"), max_num_keypoints=50)
        Image.fromarray(two_views[0]).save(tmp_path / "a.png")
        first = tensor(two_views[0])
        kinds = (first, first.numpy(), tmp_path / "a.png", Image.fromarray(two_views[0]))
        found = [matcher(kind, kind)["all_kpts0"] for kind in kinds]
        assert all(np.array_equal(found[0], other) for other in found)
        expected = detect(load_picture(two_views[0]), "sift", 50)
        np.testing.assert_allclose(found[0], expected, rtol=1e-6)
        assert matcher.extract(first)["all_desc0"].shape == (len(expected), 4)
        loaded = matcher.load_image(tmp_path / "a.png", resize=(60, 80))
        assert loaded.shape == (3, 60, 80)
        assert torch.equal(matcher.load_image(tmp_path / "a.png"), first)
        turned = matcher.load_image(tmp_path / "a.png", rot_angle=180)
        assert torch.equal(turned, first.flip(1, 2))
        square = first[:, :60, :60]
        Image.fromarray(two_views[0][:60, :60]).save(tmp_path / "square.png")
        turned = matcher.load_image(tmp_path / "square.png", rot_angle=90)
        assert torch.equal(turned, square.rot90(1, (1, 2)))  # counter-clockwise
        with pytest.raises(ImageError, match=r"expected \(3, rows, columns\)"):
            matcher(two_views[0], two_views[0])

    def test_nothing_to_match(self):
        flat = torch.full((3, 40, 50), 0.5)
        found = Matcher(load("rgb"))(flat, flat)
        assert (found["num_inliers"], found["H"]) == (0, None)
        for name in KEYS[2:4] + KEYS[6:10]:
            assert found[name].shape == (0, 2)
        assert found["matched_confidences"].shape == (0,)

    def test_no_homography_asked_for(self, two_views):
        matcher = Matcher(load("rgb"), Options(size=64))
        matcher.skip_ransac = True
        found = matcher(tensor(two_views[0]), tensor(two_views[1]))
        assert (found["num_inliers"], found["H"]) == (0, None)
        assert (matcher.name, matcher.device) == ("rgb", "cpu")
