"""Key points, descriptors and robust matrices, on points and pictures with a known truth."""

import cv2
import numpy as np
import pytest
import torch

from counterpoint.errors import BadInput, PointError
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, apply_homography
from counterpoint.images import Picture
from counterpoint.options import Options
from counterpoint.tasks.scenes.homography import (
    Estimate,
    NoEstimate,
    Robust,
    estimate,
    log10_chance,
    mean_corner_error,
    overlay,
    supported,
    transfer_error,
)
from counterpoint.tasks.scenes.local_features import descriptors, detect, geometric_options
from support.tiny_hpatches import texture, warp

TRUE = np.array([[1.1, 0.04, 16], [-0.05, 0.98, -9], [1.5e-4, 7e-5, 1]])
METHODS = ("lmeds", "ransac", "usac", "magsac")
WH = (640, 480)


def matched(n=200, wrong=60, seed=0):
    """Points and their images under TRUE, the first ``wrong`` of them random."""
    rng = np.random.default_rng(seed)
    source = rng.uniform((0, 0), WH, (n, 2))
    target = apply_homography(TRUE, source)
    target[:wrong] = rng.uniform((0, 0), WH, (wrong, 2))
    return source, target


@pytest.mark.parametrize("method", METHODS)
def test_a_homography_in_spite_of_wrong_matches(method):
    source, target = matched()
    found = estimate(source, target, "homography", Robust(method=method))
    assert isinstance(found, Estimate)
    assert mean_corner_error(found.matrix, TRUE, WH) < 0.02
    assert found.inliers[60:].all()
    assert found.support < 145
    assert supported(found, source, target, WH) is found


def scene(n=200, wrong=50, shift=(0.5, 0.05, 0.1), spread_px=0.0):
    """Points of a scene with depth in two cameras; the true rotation and shift."""
    rng = np.random.default_rng(3)
    camera = np.array([[500, 0, 320], [0, 500, 240], [0, 0, 1.0]])
    other = np.array([[450, 0, 310], [0, 450, 250], [0, 0, 1.0]])
    turn, _ = cv2.Rodrigues(np.array([0.02, 0.15, -0.05]))
    shift = np.array(shift)
    points = rng.uniform((-2, -1.5, 4), (2, 1.5, 8), (n, 3))
    first, second = points @ camera.T, (points @ turn.T + shift) @ other.T
    source, target = (p[:, :2] / p[:, 2:] for p in (first, second))
    target += rng.normal(0, spread_px, target.shape)
    target[:wrong] = rng.uniform((0, 0), WH, (wrong, 2))
    cross = np.array([[0, -shift[2], shift[1]], [shift[2], 0, -shift[0]], [-shift[1], shift[0], 0]])
    return source, target, (camera, other), cross @ turn


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("relation", ["fundamental", "essential"])
def test_epipolar_geometry_in_spite_of_wrong_matches(relation, method):
    source, target, cameras, essential = scene()
    robust = Robust(method=method, threshold_px=1.0)
    found = estimate(source, target, relation, robust, cameras=cameras)
    assert found.inliers[50:].mean() > 0.97
    assert found.support < 165
    true = essential
    if relation == "fundamental":
        first, second = (np.linalg.inv(camera) for camera in cameras)
        true = second.T @ essential @ first
    cosine = (found.matrix * true).sum() / np.linalg.norm(found.matrix) / np.linalg.norm(true)
    assert abs(cosine) > 0.999
    assert supported(found, source, target, WH, 1.0) is found


def test_a_match_agrees_within_the_threshold():
    source, target = matched(60, 0)
    target[:2] += [[2.0, 0], [0, 4]]
    found = estimate(source, target, "homography", Robust(method="magsac", threshold_px=3.0))
    assert np.flatnonzero(~found.inliers).tolist() == [1]


def line_distances(matrix, source, target):
    """Of points of the target from the lines of their matches."""
    lines = np.c_[source, np.ones(len(source))] @ matrix.T
    off = (lines * np.c_[target, np.ones(len(target))]).sum(axis=1)
    return np.abs(off) / np.hypot(lines[:, 0], lines[:, 1])


@pytest.mark.parametrize("relation", ["fundamental", "essential"])
def test_lines_agree_in_both_pictures(relation):
    """Four times as large, the second picture has four times the distances."""
    source, target, (first, second), _ = scene(200, 0)
    target = 4 * (target + np.random.default_rng(0).normal(0, 0.5, target.shape))
    cameras = first, np.diag([4.0, 4, 1]) @ second
    robust = Robust(method="ransac", threshold_px=2.0)
    found = estimate(source, target, relation, robust, cameras=cameras)
    matrix = found.matrix
    if relation == "essential":
        matrix = np.linalg.inv(cameras[1]).T @ matrix @ np.linalg.inv(cameras[0])
    here = line_distances(matrix, source, target) <= 2
    there = line_distances(matrix.T, target, source) <= 2
    assert np.array_equal(found.inliers, here & there)
    assert here.sum() < there.sum()


@pytest.mark.parametrize("method", METHODS)
def test_no_homography_says_why(method):
    robust = Robust(method=method)
    line = np.stack([np.arange(30.0), 2 * np.arange(30.0)], axis=1)
    once = np.ones((9, 2))
    for points, reason in (
        (np.zeros((0, 2)), "a homography needs 4 matches, got 0"),
        (line[:3], "a homography needs 4 matches, got 3"),
        (line, "degenerate: all 30 points of the source lie on a line"),
        (once, "degenerate: only 1 different points in the source, expected at least 4"),
    ):
        found = estimate(points, points, "homography", robust)
        assert found == NoEstimate("homography", reason)
        assert supported(found, points, points, WH) is found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("relation", ["fundamental", "essential"])
def test_too_few_or_equal_points_have_no_epipolar_geometry(relation, method):
    robust, eye = Robust(method=method), (np.eye(3), np.eye(3))
    few = estimate(np.eye(2), np.eye(2), relation, robust, cameras=eye)
    assert "needs" in few.reason
    once = np.ones((12, 2))
    found = estimate(once, once, relation, robust, cameras=eye)
    assert "only 1 different points in the source" in found.reason


@pytest.mark.parametrize("method", METHODS)
def test_a_plane_leaves_the_fundamental_matrix_open(method):
    source, target = matched(200, 40)
    rng = np.random.default_rng(5)
    found = estimate(
        source, target + rng.normal(0, 0.3, target.shape), "fundamental", Robust(method=method)
    )
    refused = supported(found, source, target, WH)
    assert "lie on a plane; ask for a homography" in refused.reason


@pytest.mark.parametrize("method", ["ransac", "magsac"])
@pytest.mark.parametrize("spread_px", [0.0, 0.3, 1.0])
def test_a_camera_that_only_turned_has_no_essential_matrix(method, spread_px):
    source, target, cameras, _ = scene(shift=(0, 0, 0), spread_px=spread_px)
    found = estimate(source, target, "essential", Robust(method=method), cameras=cameras)
    refused = supported(found, source, target, WH, cameras=cameras)
    assert "of a camera that only turned" in refused.reason


@pytest.mark.parametrize("shift", [0.06, 0.5])
def test_a_small_shift_is_seen_where_points_are_accurate(shift):
    """0.06 before a depth of 4 to 8 moves near and far points apart by 3 pixels, a threshold."""
    source, target, cameras, _ = scene(shift=(shift, 0, 0), spread_px=0.1)
    found = estimate(source, target, "essential", Robust(method="magsac"), cameras=cameras)
    assert supported(found, source, target, WH, cameras=cameras) is found
    rough, ends, *_ = scene(shift=(0.06, 0, 0), spread_px=1.0)
    found = estimate(rough, ends, "essential", Robust(method="magsac"), cameras=cameras)
    assert "only turned" in supported(found, rough, ends, WH, cameras=cameras).reason


def test_bad_points():
    square = np.array([(0, 0), (9, 0), (9, 9), (0, 9.0)])
    with pytest.raises(PointError, match="expected finite points"):
        estimate(square * np.nan, square)
    with pytest.raises(BadInput, match="as many points as matches, got 4 and 3"):
        estimate(square, square[:3])
    with pytest.raises(BadInput, match="expected both cameras' matrices"):
        estimate(square, square, "essential")
    with pytest.raises(BadInput, match="expected a threshold"):
        Robust(threshold_px=0.0)


@pytest.mark.parametrize("method", METHODS)
def test_random_matches_have_no_support(method):
    for seed in range(20):
        source, target = matched(150, 150, seed)
        found = estimate(source, target, "homography", Robust(method=method))
        refused = supported(found, source, target, WH)
        assert isinstance(refused, NoEstimate)


def test_chance_falls_with_support():
    odds = [log10_chance(k, 300, WH) for k in (4, 8, 12, 40)]
    assert odds[0] == 0
    assert odds[1] > odds[2] > odds[3]
    assert log10_chance(12, 300, WH, "fundamental") > log10_chance(12, 300, WH)


def test_support_on_a_line_or_a_folded_picture_is_refused():
    source, _ = matched(100, 0)
    flat = np.stack([source[:, 0], np.full(100, 7.0)], axis=1)
    everyone = np.ones(100, dtype=bool)
    found = Estimate("homography", np.eye(3), everyone)
    assert "lie on a line" in supported(found, flat, flat, WH).reason
    folding = np.array([[1, 0, 0], [0, 1, 0], [-1 / 300, 0, 1.0]])
    folded = Estimate("homography", folding, everyone)
    assert "folds the picture" in supported(folded, source, source, WH).reason


def test_corner_error_by_hand():
    shift = np.array([[1, 0, 3], [0, 1, 4], [0, 0, 1.0]])
    assert mean_corner_error(shift, np.eye(3), WH) == 5
    away = np.array([[1, 0, 0], [0, 1, 0], [-1 / 639, 0, 1.0]])
    assert mean_corner_error(away, np.eye(3), WH) == np.inf
    assert transfer_error(shift, [(0, 0)], [(0, 0)]).tolist() == [5]


def ramp(size_wh=(80, 60), grid_wh=(10, 6)):
    """A map whose two channels are its cells' columns and rows."""
    w, h = grid_wh
    x, y = torch.arange(float(w)).expand(h, w), torch.arange(float(h))[:, None].expand(h, w)
    return FeatureMap(torch.stack([x, y]), size_wh)


def test_exact_descriptors_follow_the_pixel_convention():
    points = [(10, 20), (40.5, 30), (70, 50)]
    fmap = ramp()
    assert np.allclose(descriptors(fmap, points), fmap.to_grid.apply(points), atol=1e-5)


def test_dift_descriptors_repeat_the_originals_quirk():
    fmap, points = ramp(), torch.tensor([(10.0, 20.0), (40.5, 30), (70, 50)])
    half = torch.tensor([79.0, 59.0]) / 2
    original = torch.nn.functional.grid_sample(
        fmap.values[None], ((points - half) / half)[None, None], align_corners=False
    )[0, :, 0].T
    found = descriptors(fmap, points, "dift")
    assert torch.allclose(found, original, atol=1e-5)
    expected = points * torch.tensor([10 / 79, 6 / 59]) - 0.5
    assert torch.allclose(found, expected, atol=1e-5)
    corner = descriptors(FeatureMap(torch.ones(1, 6, 10), (80, 60)), [(0, 0)], "dift")
    assert corner.item() == pytest.approx(0.25)  # zeros beyond the grid, as in the original


def test_dift_descriptors_need_a_squashed_picture():
    padded = FeatureMap(torch.ones(2, 8, 8), (60, 40), (64, 64), PixelTransform())
    with pytest.raises(BadInput, match="expected the features of a squashed picture"):
        descriptors(padded, [(1, 1)], "dift")
    assert descriptors(padded, [(1, 1)]).shape == (1, 2)
    with pytest.raises(PointError, match=r"got \(60, 0\)"):
        descriptors(padded, [(60, 0)])


@pytest.mark.parametrize("detector", ["sift", "orb", "grid"])
def test_detectors_keep_the_strongest(detector):
    picture = Picture(texture(size_wh=(160, 120)))
    many, few = (detect(picture, detector, count) for count in (1000, 20))
    assert 0 < len(few) <= 20 < len(many) <= 1000
    assert len(np.unique(many, axis=0)) == len(many)
    if detector == "sift":
        assert np.array_equal(many[: len(few)], few)


def test_sift_has_no_bias():
    """Half a turn of the picture takes its points to their mirror images."""
    rgb = texture(size_wh=(161, 120))
    turned = detect(Picture(np.ascontiguousarray(rgb[::-1, ::-1])), "sift")
    apart = detect(Picture(rgb), "sift")[:, None] - (np.array([160, 119]) - turned)
    nearest = np.linalg.norm(apart, axis=2).argmin(axis=1)
    assert np.abs(np.median(apart[np.arange(len(apart)), nearest], axis=0)).max() < 0.02


def test_a_flat_picture_has_no_key_points():
    flat = Picture(np.full((50, 60, 3), 90, np.uint8))
    assert detect(flat, "sift").shape == detect(flat, "orb").shape == (0, 2)
    with pytest.raises(BadInput, match="at least 1"):
        detect(flat, "grid", 0)


def test_settings_for_geometry_fill_silent_options():
    from counterpoint.backbones.zoo import ZOO

    paper = geometric_options(ZOO["sd21"], Options(t=5))
    assert (paper.t, paper.tap, paper.ensemble, paper.prompt, paper.fit) == (5, "up:2", 8, "", None)
    small = geometric_options(ZOO["small"], Options())
    assert (small.t, small.tap, small.fit) == (20, "up:1", "keep")
    assert geometric_options(ZOO["small"], Options(size=64)).fit is None
    adm = geometric_options(ZOO["adm"], Options(tap="out:4"))
    assert (adm.t, adm.tap, adm.ensemble, adm.size) == (41, "out:4", 4, 768)


def test_overlay_lies_where_the_homography_says():
    source = Picture(np.full((40, 60, 3), 200, np.uint8))
    target = Picture(np.zeros((40, 60, 3), np.uint8))
    right = np.array([[1, 0, 20], [0, 1, 0], [0, 0, 1.0]])
    rgb = overlay(source, target, right).rgb
    assert (rgb[:, :20] == 0).all()
    assert (rgb[10:30, 30:50] == 100).all()
    # Behind the horizon nothing is drawn: with the depth's sign alone turned, all is the same.
    assert np.array_equal(overlay(source, target, -right).rgb, rgb)
    tilted = np.array([[1, 0, 0], [0, 1, 0], [-1 / 20, 0, 1.0]])
    assert (warp(source.rgb, tilted) > 0).any()
    overlay(source, target, tilted)
