"""Edits: warps, layers, differences, what is carried, refused or left out; pictures' own kinds."""

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from counterpoint.errors import BadInput, ImageError
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, apply_homography
from counterpoint.images import Picture
from counterpoint.tasks.edits.carry import carry_edit
from counterpoint.tasks.edits.layers import Edit, blend, render
from counterpoint.tasks.edits.motion import (
    Steadying,
    frame_findings,
    least_squares,
    smooth_in_time,
    steady,
    track_summary,
    unsteadiness,
)
from counterpoint.tasks.edits.originals import load_original, load_rgba
from counterpoint.tasks.edits.points import Carrying, sample_points
from counterpoint.tasks.edits.search import Search
from counterpoint.tasks.edits.sources import Placing, difference_edit, sticker_edit
from counterpoint.tasks.edits.warp_fits import NoWarp, WarpFit, choose_warp, fit_warp
from counterpoint.tasks.edits.warps import Plausible, Warp, implausible, smooth_plate

WH = (200, 160)
SQUARE = np.stack(np.meshgrid(np.arange(40, 121, 8.0), np.arange(30, 111, 8.0)), -1).reshape(-1, 2)
CELLS = np.arange(len(SQUARE))

SIMILARITY = np.array([[0.9, -0.2, 30], [0.2, 0.9, -10], [0, 0, 1]])
AFFINE = np.array([[1.2, 0.3, -10], [-0.1, 0.7, 30], [0, 0, 1]])
HOMOGRAPHY = np.array([[0.8, 0.1, 5], [-0.1, 0.9, 20], [2e-3, -1e-3, 1]])


def noisy(matrix, rng, sigma=0.4, wrong=0.4):
    """Matches under a matrix, some of them anywhere."""
    ends = apply_homography(matrix, SQUARE) + rng.normal(0, sigma, SQUARE.shape)
    lost = rng.random(len(ends)) < wrong
    ends[lost] = rng.random((lost.sum(), 2)) * WH
    return ends, ~lost


def bent(points):
    return points + np.stack([9 * np.sin(points[:, 1] / 18), 7 * np.cos(points[:, 0] / 20)], 1)


@pytest.mark.parametrize(
    ("matrix", "kind"),
    [(SIMILARITY, "similarity"), (AFFINE, "affine"), (HOMOGRAPHY, "homography")],
)
def test_the_simplest_warp_that_explains_the_matches_is_chosen(matrix, kind):
    ends, right = noisy(matrix, np.random.default_rng(3))
    found = choose_warp(SQUARE, ends, WH, threshold_px=1.5, cells=CELLS)
    assert found.warp.kind == kind
    assert (found.inliers & right).sum() > 0.95 * right.sum()
    assert (found.inliers & ~right).sum() <= 1
    corners = [(40, 30), (120, 30), (120, 110), (40, 110)]
    off = np.linalg.norm(found.warp.apply(corners) - apply_homography(matrix, corners), axis=1)
    assert off.max() < 1


def test_a_bent_surface_takes_a_thin_plate():
    rng = np.random.default_rng(0)
    ends = bent(SQUARE) + rng.normal(0, 0.3, SQUARE.shape)
    ends[::5] = rng.random((len(ends[::5]), 2)) * WH
    found = choose_warp(SQUARE, ends, WH, threshold_px=1.5, cells=CELLS)
    assert found.warp.kind == "thin-plate"
    inner = SQUARE[(abs(SQUARE - (80, 70)) < 33).all(axis=1)]
    off = np.linalg.norm(found.warp.apply(inner) - bent(inner), axis=1)
    assert np.median(off) < 1
    # The best plane is far from it.
    plane = choose_warp(
        SQUARE, ends, WH, threshold_px=1.5, cells=CELLS, kinds=("affine", "homography")
    )
    assert isinstance(plane, NoWarp) or plane.support < found.support / 1.2


@pytest.mark.parametrize("kind", ["similarity", "affine", "homography", "thin-plate"])
def test_matches_at_random_give_no_warp(kind):
    for seed in range(5):
        ends = np.random.default_rng(seed).random(SQUARE.shape) * WH
        assert isinstance(choose_warp(SQUARE, ends, WH, threshold_px=4, kinds=(kind,)), NoWarp)


def test_points_of_one_cell_are_one_witness():
    ends, _ = noisy(SIMILARITY, np.random.default_rng(1), wrong=0.0)
    alone = fit_warp(SQUARE, ends, WH, "similarity", threshold_px=2)
    together = fit_warp(SQUARE, ends, WH, "similarity", threshold_px=2, cells=0 * CELLS)
    assert alone.log10_chance < -100
    assert together.log10_chance == 0
    assert isinstance(choose_warp(SQUARE, ends, WH, threshold_px=2, cells=0 * CELLS), NoWarp)


def test_matches_that_meet_in_one_place_are_no_small_copy():
    heap = np.array([100, 80]) + np.random.default_rng(0).normal(0, 3, SQUARE.shape)
    assert isinstance(choose_warp(SQUARE, heap, WH, threshold_px=8, cells=CELLS), NoWarp)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[-1, 0, 150], [0, 1, 0], [0, 0, 1]], "mirrors the edit; if the object faces the other"),
        ([[0.1, 0, 50], [0, 0.1, 50], [0, 0, 1]], "scales the edit by 0.1"),
        ([[3.0, 0, -100], [0, 0.5, 10], [0, 0, 1]], "stretches the edit 6 times"),
        ([[1, 0, 0], [0, 1, 0], [-0.0125, 0, 1]], "horizon of the homography crosses the edit"),
        ([[1, 0, 0], [0, 1, 0], [0.02, 0, 1]], "implausible"),
    ],
)
def test_implausible_warps_are_refused(matrix, message):
    warp = Warp("homography", np.array(matrix, dtype=float))
    assert message in implausible(warp, SQUARE)
    ends = warp.apply(SQUARE)
    if np.isfinite(ends).all() and "horizon" not in message:
        found = choose_warp(SQUARE, ends, (400, 300), threshold_px=1, kinds=("homography",))
        assert message.split(";")[0] in found.reason


def test_plausible_is_asked_relative_to_the_pictures_sizes():
    ends = SQUARE * 8.0
    assert "scales" in choose_warp(SQUARE, ends, (1600, 1280), threshold_px=4).reason
    for threshold in (4, 80):
        found = choose_warp(SQUARE, ends, (1600, 1280), threshold_px=threshold, source_wh=WH)
        assert found.support == len(SQUARE)
    with pytest.raises(BadInput, match="at least 1"):
        Plausible(scale=0.5)


def test_bad_matches():
    with pytest.raises(BadInput, match="as many points as matches, got 3 and 2"):
        fit_warp(SQUARE[:3], SQUARE[:2], WH, "affine", threshold_px=1)
    with pytest.raises(BadInput, match="at least one kind"):
        choose_warp(SQUARE, SQUARE, WH, threshold_px=1, kinds=())
    nothing = np.zeros((0, 2))
    found = choose_warp(nothing, nothing, WH, threshold_px=1)
    assert found.reason == "a warp needs 2 matches, got 0"
    line = np.stack([np.arange(30.0) * 4, np.arange(30.0)], 1)
    assert "line or in one place" in choose_warp(line, line, WH, threshold_px=2).reason


@pytest.mark.parametrize(
    "warp",
    [
        Warp("similarity", SIMILARITY),
        Warp("homography", HOMOGRAPHY),
        smooth_plate(SQUARE, bent(SQUARE)),
        smooth_plate(SQUARE, bent(SQUARE)).then(PixelTransform.flip_x(200).matrix()),
    ],
)
def test_warps_invert(warp):
    points = np.random.default_rng(0).uniform((45, 35), (115, 105), (30, 2))
    assert np.allclose(warp.invert(warp.apply(points)), points, atol=0.05)
    up = np.array([0, 0.1])
    numeric = (warp.apply(points + up) - warp.apply(points - up)) / 0.2
    assert np.allclose(warp.jacobians(points)[:, :, 1], numeric, atol=0.02)


def test_a_stiff_plate_is_affine_and_a_loose_one_passes_through():
    assert np.allclose(smooth_plate(SQUARE, bent(SQUARE)).apply(SQUARE), bent(SQUARE), atol=1e-6)
    stiff = smooth_plate(SQUARE, apply_homography(AFFINE, SQUARE), stiffness=10.0)
    assert np.allclose(stiff.matrix, AFFINE, atol=1e-6)
    assert np.allclose(stiff.bend.weights, 0, atol=1e-6)


# Layers


def red(width, height):
    return np.broadcast_to(np.uint8([255, 0, 0, 255]), (height, width, 4)).copy()


def test_a_sticker_covers_just_its_pixels():
    placing = Placing(anchor="corner")
    edit = sticker_edit(red(20, 10), WH, (30, 40), placing)
    alpha = edit.coverage.full(WH)
    assert alpha[40:50, 30:50].min() > 0.999
    alpha[40:50, 30:50] = 0
    assert alpha.max() < 1e-3
    doubled = sticker_edit(red(20, 10), WH, (30, 40), Placing(anchor="corner", scale=2))
    assert doubled.coverage.alpha.sum() == pytest.approx(800, rel=1e-3)
    assert doubled.outline_px.min(axis=0).tolist() == [29.5, 39.5]
    turned = sticker_edit(red(20, 10), WH, (80, 60), Placing(rotate=90, width_px=40))
    assert np.ptp(turned.outline_px, axis=0).round(3).tolist() == [20, 40]
    assert turned.outline_px.mean(axis=0).round(3).tolist() == [80, 60]


def test_a_large_sticker_is_averaged_not_skipped_through():
    stripes = red(400, 400)
    stripes[:, ::2, :3] = 255
    edit = sticker_edit(stripes, WH, (80, 80), Placing(width_px=40))
    seen = edit.coverage
    inner = seen.colour[8:-8, 8:-8] / seen.alpha[8:-8, 8:-8, None]
    assert np.abs(inner - (1, 0.5, 0.5)).max() < 0.03


def test_render_under_a_homography_equals_opencv():
    photo = np.random.default_rng(0).integers(0, 255, (16, 20, 3), np.uint8)
    photo = cv2.resize(photo, (100, 80), interpolation=cv2.INTER_CUBIC)
    layer = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    edit = Edit(layer, np.eye(3), (100, 80), np.ones((80, 100), np.int64))
    matrix = np.array([[1.1, 0.1, 20], [-0.1, 1.0, 30], [1e-3, 0, 1]])
    seen = render(edit, Warp("homography", matrix), (200, 160))
    ours = blend(np.zeros((160, 200, 3), np.uint8), seen)
    theirs = cv2.warpPerspective(photo, matrix, (200, 160))
    area = np.full(photo.shape[:2], 255, np.uint8)
    inner = cv2.erode(cv2.warpPerspective(area, matrix, (200, 160)), np.ones((7, 7))) > 254
    assert inner.sum() > 4000
    assert np.abs(ours.astype(int) - theirs)[inner].mean() < 2
    assert not ours[
        cv2.dilate(cv2.warpPerspective(area, matrix, (200, 160)), np.ones((5, 5))) == 0
    ].any()


def test_render_under_a_plate_lands_where_it_says():
    dot = np.zeros((160, 200, 4), np.uint8)
    dot[69:72, 79:82] = 255
    edit = Edit(dot, np.eye(3), WH, (dot[..., 3] > 0).astype(np.int64))
    warp = smooth_plate(SQUARE, bent(SQUARE))
    alpha = render(edit, warp, WH).full(WH)
    y, x = np.indices(alpha.shape)
    centre = np.array([(x * alpha).sum(), (y * alpha).sum()]) / alpha.sum()
    assert np.allclose(centre, warp.apply([(80, 70)])[0], atol=0.3)


def test_what_lies_outside_the_target_draws_nothing():
    edit = sticker_edit(red(20, 10), WH, (80, 60))
    away = Warp("similarity", np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]]))
    seen = render(edit, away, WH)
    assert seen.alpha.size == 0 or not seen.alpha.any()
    half = Warp("similarity", np.array([[1.0, 0, 120], [0, 1, 0], [0, 0, 1]]))
    assert render(edit, half, WH).alpha.sum() == pytest.approx(95, rel=0.02)


def test_feather_fades_inwards_only():
    edit = sticker_edit(red(40, 40), WH, (80, 60)).feathered(8)
    alpha = edit.coverage.full(WH)
    assert alpha[60, 80] == 1
    profile = alpha[60, 55:81]
    assert (np.diff(profile) >= -1e-6).all()
    assert 0 < alpha[60, 62] < 0.5
    assert alpha[60, 59] < 0.02
    with pytest.raises(BadInput, match="feather"):
        edit.feathered(-1)
    with pytest.raises(BadInput, match="opacity"):
        edit.faded(0)
    assert edit.faded(0.5).coverage.alpha.max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sticker_edit(np.zeros((9, 9, 4), np.uint8), WH, (5, 5)), "wholly transparent"),
        (lambda: sticker_edit(red(20, 10), WH, (500, 40)), r"on the source picture \(200 x 160\)"),
        (lambda: sticker_edit(red(20, 10), WH, (np.nan, 40)), "finite x and y"),
        (lambda: Placing(scale=1, width_px=5), "width or its scale, got both"),
        (lambda: Placing(scale=0), "scale above 0, got 0"),
        (lambda: Placing(rotate=float("inf")), "degrees"),
    ],
)
def test_bad_stickers(make, message):
    with pytest.raises(BadInput, match=message):
        make()


# Differences


def through_jpeg(rgb, quality):
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return Picture(np.asarray(Image.open(buffer).convert("RGB")))


@pytest.fixture
def edited(photo):
    """A photograph and a copy with a disc and a bar on it; where they are."""
    drawn = photo.copy()
    cv2.circle(drawn, (150, 90), 25, (20, 200, 60), -1)
    cv2.rectangle(drawn, (300, 200), (360, 215), (250, 20, 200), -1)
    return photo, drawn, (drawn != photo).any(axis=2)


@pytest.mark.parametrize("quality", [None, 95, 75, 50])
def test_the_difference_is_found_in_spite_of_compression(edited, quality):
    photo, drawn, where = edited
    copy = Picture(drawn) if quality is None else through_jpeg(drawn, quality)
    edit = difference_edit(Picture(photo), copy)
    found = edit.coverage.full((451, 300)) > 0.5
    assert edit.island_count == 2
    assert (found & where).sum() / (found | where).sum() > (0.97 if quality is None else 0.9)


def test_a_ring_stays_open_and_neighbours_are_one_island(photo):
    drawn = photo.copy()
    cv2.circle(drawn, (150, 90), 25, (255, 0, 255), 4)
    cv2.circle(drawn, (182, 90), 3, (255, 0, 255), -1)
    edit = difference_edit(Picture(photo), Picture(drawn))
    alpha = edit.coverage.full((451, 300))
    assert alpha[90, 150] == 0
    assert alpha[90, 125] > 0.9
    assert edit.island_count == 1


def test_a_rim_is_cleaned_of_its_ground(photo):
    large = cv2.resize(photo, None, fx=4, fy=4)
    cv2.circle(large, (600, 360), 100, (20, 255, 60), -1, cv2.LINE_AA)
    drawn = cv2.resize(large, (451, 300), interpolation=cv2.INTER_AREA)
    ground = cv2.resize(
        cv2.resize(photo, None, fx=4, fy=4), (451, 300), interpolation=cv2.INTER_AREA
    )
    edit = difference_edit(Picture(ground), Picture(drawn))
    on_blue = blend(np.full((300, 451, 3), (0, 0, 255), np.uint8), edit.coverage)
    # Only green, blue, and mixes of the two: nothing of the fur comes along.
    green = (on_blue[..., 1].astype(float) / 255).clip(0, 1)[..., None]
    expected = green * (20, 255, 60) + (1 - green) * (0, 0, 255)
    assert np.abs(on_blue - expected).max() < 50


def test_mask_says_where_the_edit_lies(edited):
    photo, drawn, _ = edited
    mask = np.zeros((300, 451), bool)
    mask[60:120, 120:180] = True
    edit = difference_edit(Picture(photo), Picture(drawn), mask)
    assert edit.island_count == 1
    assert edit.coverage.alpha.sum() == pytest.approx(3600, rel=0.01)


@pytest.mark.parametrize(
    ("change", "mask", "message"),
    [
        (lambda p: p, None, "found no difference beyond noise"),
        (lambda p: through_jpeg(p, 60).rgb, None, "found no difference beyond noise"),
        (lambda p: p[:, :-1], None, "source's size, 451 x 300, got 450 x 300"),
        (lambda p: 255 - p, None, "differences over .*% of it; give --mask"),
        (lambda p: 255 - p, np.zeros((300, 451), bool), "got an empty one"),
        (lambda p: 255 - p, np.ones((300, 450), bool), "mask of the source's size"),
    ],
)
def test_bad_copies(photo, change, mask, message):
    with pytest.raises(BadInput, match=message):
        difference_edit(Picture(photo), Picture(np.ascontiguousarray(change(photo))), mask)


# Carrying


def dotted(seed=0, cells=40, channels=24):
    """Features that tell every place from every other, 5 px a cell."""
    values = torch.randn(channels, cells, cells, generator=torch.Generator().manual_seed(seed))
    return FeatureMap(values, (5 * cells, 5 * cells))


def warped_features(fmap, matrix, holes=()):
    """The features of the same scene under a homography of its pixels, noise where holes lie."""
    cells = np.stack(np.meshgrid(np.arange(40), np.arange(40)), -1).reshape(-1, 2)
    at = fmap.to_grid.invert().apply(cells)
    values = fmap.sample(apply_homography(np.linalg.inv(matrix), at)).T.reshape(-1, 40, 40)
    noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(9))
    for rows, columns in holes:
        values[:, rows, columns] = noise[:, rows, columns]
    return FeatureMap(values.contiguous(), fmap.image_size_wh)


def square_edit(at=(100, 100), side=80):
    return sticker_edit(red(side, side), (200, 200), at)


MOVED = np.array([[0.95, -0.1, 12], [0.1, 0.95, -8], [0, 0, 1.0]])


@pytest.mark.parametrize("matrix", [MOVED, np.array([[1, 0.1, -20], [0, 0.9, 5], [6e-4, 0, 1]])])
def test_an_edit_is_carried_to_its_place(matrix):
    fmap, edit = dotted(), square_edit()
    found = carry_edit(edit, fmap, warped_features(fmap, matrix), Carrying(points=120))
    [part] = found.parts
    truth = apply_homography(matrix, edit.outline_px)
    assert np.linalg.norm(part.fit.warp.apply(edit.outline_px) - truth, axis=1).max() < 4
    assert part.support > 0.8
    assert found.reason == ""
    [overlay] = found.overlays()
    centre = apply_homography(matrix, [(100, 100)])[0].round().astype(int)
    assert overlay.full((200, 200))[centre[1], centre[0]] == 1
    row = found.to_dict()
    assert row["inliers"] == part.fit.support
    assert row["parts"][0]["kind"] == part.fit.warp.kind


@pytest.mark.parametrize("warp", ["similarity", "affine", "homography", "thin-plate"])
def test_the_kind_of_warp_can_be_chosen(warp):
    fmap = dotted()
    found = carry_edit(
        square_edit(), fmap, warped_features(fmap, MOVED), Carrying(warp=warp, points=120)
    )
    assert found.parts[0].fit.warp.kind == warp
    off = found.parts[0].fit.warp.apply([(100, 100)]) - apply_homography(MOVED, [(100, 100)])
    assert np.abs(off).max() < 3


def test_a_target_without_the_object_is_refused():
    for seed in range(1, 6):
        found = carry_edit(square_edit(), dotted(), dotted(seed), Carrying(points=80))
        assert not found.carried
        assert found.reason
        assert found.overlays() == []
        assert not found.inliers.any()


def test_weak_support_is_refused_with_the_reason():
    fmap = dotted()
    # All but a corner of the edit is hidden.
    hidden = warped_features(fmap, np.eye(3), [(slice(0, 40), slice(16, 40))])
    how = Carrying(points=120, min_support=0.5)
    found = carry_edit(square_edit(), fmap, hidden, how)
    assert "of its points agree on a similarity warp, 50% are asked" in found.reason


def test_a_hidden_part_is_left_out():
    fmap, edit = dotted(), square_edit()
    hidden = warped_features(fmap, np.eye(3), [(slice(0, 40), slice(20, 40))])
    found = carry_edit(edit, fmap, hidden, Carrying(points=250))
    [part] = found.parts
    alpha = found.overlays()[0].full((200, 200))
    assert alpha[70:130, 66:88].mean() > 0.95
    assert alpha[70:130, 115:138].mean() < 0.1
    assert 0.35 < part.kept_share < 0.7
    whole = carry_edit(edit, fmap, hidden, Carrying(points=250, leave_out=False))
    assert whole.overlays()[0].alpha.sum() == pytest.approx(6400, rel=0.05)


def test_islands_go_their_own_ways():
    fmap = dotted()
    left, right = np.eye(3), np.eye(3)
    left[0, 2], right[1, 2] = -20, 25
    a, b = warped_features(fmap, left), warped_features(fmap, right)
    values = a.values.clone()
    values[..., 20:] = b.values[..., 20:]
    layer = np.zeros((200, 200, 4), np.uint8)
    layer[60:120, 30:80], layer[60:120, 120:170] = 255, 255
    islands = np.zeros((200, 200), np.int64)
    islands[60:120, 30:80], islands[60:120, 120:170] = 1, 2
    edit = Edit(layer, np.eye(3), (200, 200), islands)
    found = carry_edit(edit, fmap, FeatureMap(values, (200, 200)), Carrying(points=160))
    assert sorted(part.islands for part in found.parts) == [(1,), (2,)]
    shift = {p.islands: p.fit.warp.apply([(100, 100)])[0] - (100, 100) for p in found.parts}
    assert np.allclose(shift[(1,)], (-20, 0), atol=4)
    assert np.allclose(shift[(2,)], (0, 25), atol=4)
    # Where one is hidden, the other is still carried, and the report says which is not.
    values[..., 20:] = dotted(5).values[..., 20:]
    found = carry_edit(edit, fmap, FeatureMap(values, (200, 200)), Carrying(points=160))
    assert [part.islands for part in found.parts] == [(1,)]
    assert [refused.island for refused in found.refused] == [2]


def test_islands_that_move_together_share_a_warp():
    fmap = dotted()
    layer = np.zeros((200, 200, 4), np.uint8)
    layer[60:100, 40:80], layer[60:100, 110:150] = 255, 255
    islands = np.where(layer[..., 3] > 0, np.where(np.arange(200) < 95, 1, 2), 0)
    edit = Edit(layer, np.eye(3), (200, 200), islands.astype(np.int64))
    found = carry_edit(edit, fmap, warped_features(fmap, MOVED), Carrying(points=120))
    assert [part.islands for part in found.parts] == [(1, 2)]


def test_what_leaves_the_target_is_refused():
    fmap = dotted()
    out = np.array([[1, 0, 150], [0, 1, 0], [0, 0, 1.0]])
    found = carry_edit(square_edit(), fmap, warped_features(fmap, out), Carrying(points=100))
    assert not found.carried


def test_a_mirrored_finding_is_carried_back():
    fmap = dotted()
    flipped = FeatureMap(fmap.values.flip(2), (200, 200))
    assert not carry_edit(square_edit((60, 90)), fmap, flipped).carried
    again = FeatureMap(flipped.values.flip(2), (200, 200))
    found = carry_edit(square_edit((60, 90)), fmap, again).mirrored()
    assert np.allclose(found.parts[0].fit.warp.apply([(60, 90)]), (139, 90), atol=1)
    assert found.overlays()[0].full((200, 200))[90, 139] == 1
    assert np.allclose(found.matches.target_px[:, 0], 199 - found.matches.source_px[:, 0])


def test_points_are_spread_over_the_edit_and_drawn_alike():
    edit = square_edit()
    points, island = sample_points(edit, Carrying(points=100))
    assert 80 <= len(points) <= 110
    assert (island == 1).all()
    assert np.array_equal(points, sample_points(edit, Carrying(points=100))[0])
    for x in (60, 80, 100, 120):
        for y in (60, 80, 100, 120):
            inside = (points >= (x, y)) & (points < (x + 20, y + 20))
            assert 3 <= inside.all(axis=1).sum() <= 10
    more, island = sample_points(edit, Carrying(points=100, context=0.25))
    around = more[island == 0]
    assert len(around) > 40
    assert (np.abs(around - 99.5).max(axis=1) > 39.9).all()
    assert (np.abs(around - 99.5).max(axis=1) < 62).all()


@pytest.mark.parametrize("side", [1, 2, 7])
def test_tiny_edits_are_sampled_and_refused(side):
    found = carry_edit(square_edit(side=side), dotted(), dotted())
    assert 1 <= len(found.matches) <= max(5, side**2)
    if side < 3:
        assert not found.carried


def test_bad_carrying():
    fmap = dotted()
    with pytest.raises(BadInput, match="features of the edit's source, 200 x 200"):
        carry_edit(square_edit(), FeatureMap(fmap.values, (100, 100)), fmap)
    for wrong in (
        {"points": 2},
        {"threshold_px": 0},
        {"min_support": 1.5},
        {"context": 9},
    ):
        with pytest.raises(BadInput):
            Carrying(**wrong)


# Videos


def test_steady_warps_are_nearer_to_the_truth_than_single_frames():
    rng, frames = np.random.default_rng(0), 40
    truth = np.array([[[100 + 1.5 * t, 80 + 10 * np.sin(t / 12)]] for t in range(frames)])
    seen = truth + rng.normal(0, 1.5, truth.shape)
    seen[11] += 40  # one frame is wrong
    weight = np.full(frames, 0.8)
    weight[20:23], seen[20:23] = 0, np.nan
    smooth, left = smooth_in_time(seen, weight, 2.0)
    assert left[11] == 0
    sound = np.r_[0:11, 12:20, 23:40]
    before = np.linalg.norm(seen - truth, axis=2)[sound].mean()
    after = np.linalg.norm(smooth - truth, axis=2)
    assert after[sound].mean() < 0.7 * before
    assert after[[11, 20, 21, 22]].max() < 3
    assert unsteadiness(smooth) < 0.4 * unsteadiness(seen[:11])
    as_found, _ = smooth_in_time(seen, weight, 0)
    assert np.allclose(as_found[sound], seen[sound])


@pytest.mark.parametrize("kind", ["similarity", "affine", "homography", "thin-plate"])
def test_least_squares_recovers_each_kind(kind):
    matrix = {"similarity": SIMILARITY, "affine": AFFINE}.get(kind, HOMOGRAPHY)
    warp = least_squares(SQUARE, apply_homography(matrix, SQUARE), kind)
    assert np.allclose(warp.apply(SQUARE), apply_homography(matrix, SQUARE), atol=1e-4)


def test_an_edit_follows_through_a_gap_but_not_through_a_long_one():
    fmap, edit = dotted(), square_edit()
    findings = []
    for t in range(16):
        moved = np.array([[1, 0, 2.0 * t], [0, 1, 0], [0, 0, 1]])
        hidden = t in (4, 5, 9, 10, 11, 12)
        target = dotted(3) if hidden else warped_features(fmap, moved)
        findings.append(frame_findings(carry_edit(edit, fmap, target, Carrying(points=60))))
    drawn = steady(edit, findings, (200, 200), Steadying(sigma=1.0, gap=3))
    assert [t for t in range(16) if not drawn[t]] == [9, 10, 11, 12]
    for t in (0, 4, 5, 8, 15):
        [island] = drawn[t]
        assert np.allclose(island.warp.apply([(100, 100)]), (100 + 2 * t, 100), atol=2.5)
        assert island.overlay(edit, (200, 200)).alpha.max() == 1
    summary = track_summary(edit, findings, drawn)
    assert (summary["frames"], summary["frames_with_edit"], summary["frames_refused"]) == (
        16,
        12,
        6,
    )
    assert summary["refusals"][0]["frames"] >= 1
    assert steady(edit, [findings[4]], (200, 200)) == [[]]
    with pytest.raises(BadInput, match="smoothing"):
        Steadying(sigma=-1)


# Pictures in their own kind


def kinds(folder):
    """Pictures of many kinds: name, PIL image, options of saving."""
    rng = np.random.default_rng(0)
    rgb = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (80, 60))
    image = Image.fromarray(rgb)
    grey = image.convert("L")
    clear = image.copy()
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))))
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    yield "rgb.png", image, {}
    yield "grey.png", grey, {}
    yield "alpha.png", clear, {}
    yield "grey-alpha.png", clear.convert("LA"), {}
    yield "wide.png", wide, {}
    yield "wide.tif", wide, {}
    yield "cmyk.tif", image.convert("CMYK"), {}
    yield "palette.gif", image.convert("P"), {}
    yield "bits.png", grey.convert("1"), {}
    yield "photo.jpg", image, {"quality": 90}
    yield "photo.webp", image, {"lossless": True}
    yield "lzw.tif", image, {"compression": "tiff_lzw"}


@pytest.mark.parametrize("name", [name for name, *_ in kinds(None)])
def test_targets_keep_their_kind(name, tmp_path):
    image, options = next((i, o) for n, i, o in kinds(None) if n == name)
    path = tmp_path / name
    image.save(path, **options)
    original = load_original(path)
    edit = sticker_edit(red(20, 20), (80, 60), (40, 30))
    result = original.with_overlays([edit.coverage])
    saved = result.save(tmp_path / f"out{original.suffix}")
    again = load_original(saved)
    assert again.picture.size_wh == (80, 60)
    expected = {"P": "RGB", "1": "L"}.get(image.mode, image.mode)
    assert again.mode == expected
    lossless = original.suffix not in (".jpg", ".webp")
    here = again.pixels[30, 40]
    if expected in ("RGB", "RGBA"):
        assert np.abs(here[:3].astype(int) - (255, 0, 0)).max() <= (0 if lossless else 60)
    outside = np.ones((60, 80), bool)
    outside[18:42, 28:52] = False
    if lossless:
        assert np.array_equal(again.pixels[outside], original.pixels[outside])
    if expected in ("RGBA", "LA"):
        assert here[-1] == 255


def test_sixteen_bits_a_colour_stay(tmp_path):
    wide = np.random.default_rng(0).integers(0, 65535, (60, 80, 3)).astype(np.uint16)
    (tmp_path / "wide.png").write_bytes(cv2.imencode(".png", wide)[1].tobytes())
    original = load_original(tmp_path / "wide.png")
    assert original.mode == "RGB;16"
    edit = sticker_edit(red(20, 20), (80, 60), (40, 30))
    saved = original.with_overlays([edit.coverage]).save(tmp_path / "out.png")
    read = cv2.imdecode(np.fromfile(saved, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    assert read[30, 40].tolist() == [0, 0, 65535]  # blue, green, red
    assert np.array_equal(read[:15], wide[:15])


def test_rotation_profile_and_tables_of_a_jpeg(tmp_path):
    image = Image.fromarray(
        cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8), (80, 60))
    )
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    image.save(tmp_path / "a.jpg", quality=80, exif=exif, icc_profile=b"profile", subsampling=0)
    original = load_original(tmp_path / "a.jpg")
    assert original.picture.size_wh == (60, 80)
    saved = original.save(tmp_path / "b.jpg")
    with Image.open(saved) as back, Image.open(tmp_path / "a.jpg") as first:
        assert back.size == (60, 80)
        assert back.getexif().get(0x0112) == 1
        assert back.getexif()[0x010F] == "Maker"
        assert back.info["icc_profile"] == b"profile"
        assert back.quantization == first.quantization
    assert load_original(saved).picture.size_wh == (60, 80)


def test_alpha_of_stickers(tmp_path):
    clear = np.zeros((5, 7, 4), np.uint8)
    clear[2, 3] = (9, 8, 7, 128)
    Image.fromarray(clear).save(tmp_path / "s.png")
    assert np.array_equal(load_rgba(tmp_path / "s.png"), clear)
    Image.fromarray(clear[..., :3]).save(tmp_path / "o.png")
    assert (load_rgba(tmp_path / "o.png")[..., 3] == 255).all()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no")
    with pytest.raises(ImageError):
        load_rgba(tmp_path / "broken.png")
    with pytest.raises(ImageError):
        load_original(tmp_path / "none.png")


def test_relighting_stays_under_alpha():
    seen = sticker_edit(red(20, 20), WH, (40, 30)).coverage
    lit = seen.relit(np.array([0.5, 2, 2]))
    assert lit.colour[..., 0].max() == pytest.approx(0.5, abs=1e-3)
    assert (seen.relit(np.full(3, 2.0)).colour <= seen.alpha[..., None]).all()


def test_light_is_followed_from_source_to_target(photo):
    from counterpoint.cli.edit.pictures import relighting

    fmap, picture = dotted(), photo[50:250, 100:300]
    found = carry_edit(square_edit(), fmap, fmap, Carrying(points=80))
    darker = Picture((picture * np.array([0.6, 0.7, 0.8])).astype(np.uint8))
    assert np.allclose(relighting(Picture(picture), darker, found), (0.6, 0.7, 0.8), atol=0.03)
    assert np.allclose(relighting(Picture(picture), Picture(picture // 9), found), 0.5)


def test_a_mirror_image_that_explains_more_overrules_what_is_left():
    flat = SQUARE.copy()
    flat[:, 0] = 160 - flat[:, 0]  # near its middle column a mirror image is nearly the thing
    found = choose_warp(SQUARE, flat, WH, threshold_px=12, cells=CELLS)
    assert "mirrors" in found.reason


def test_some_islands_alone_are_cut_out_once():
    islands = np.repeat([[1, 0, 2]], 4, axis=0).repeat(3, axis=1)
    edit = Edit(np.full((4, 9, 4), 255, np.uint8), np.eye(3), (20, 10), islands)
    alone = edit.only((2,))
    assert np.array_equal(alone.rgba[..., 3] > 0, islands == 2)
    assert alone is edit.only((2,))
    assert edit.only((1, 2)) is edit


def test_a_tenth_of_the_points_is_enough_where_they_are_clear_and_spread():
    edit, fmap = square_edit(), dotted()
    found = carry_edit(edit, fmap, fmap, Carrying(points=80))
    count, [part] = len(found.matches), found.parts
    order = found.matches.source_px.sum(axis=1).argsort()  # from one corner to the other
    spread, near = np.zeros((2, count), dtype=bool)
    spread[order[::4]] = near[order[: count // 4]] = True

    def needed(agree, chance, returning, **asked):
        how, cells = Carrying(points=80, **asked), np.arange(count)
        known = found.matches, found.island, returning, cells, found.threshold_px
        return Search(edit, *known, how)._needed(WarpFit(part.fit.warp, agree, chance), (1,))

    assert needed(spread, -31.0, spread) == 0.1
    assert needed(spread, -29.0, spread) == 0.25  # chance might
    assert needed(near, -31.0, near) == 0.25  # in a corner
    assert needed(spread, -31.0, np.ones(count, bool)) == 0.25  # too few of those that return
    assert needed(spread, -31.0, spread, min_support=0.5) == 0.5
