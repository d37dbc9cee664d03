"""Exact matching against a plain dense reference, and what surrounds it."""

import json
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from counterpoint.errors import BadInput, PointError, UnknownName
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform
from counterpoint.matching import (
    Matches,
    PreparedMap,
    exact,
    find,
    match,
    mutual_matches,
    mutual_nearest,
    similarity_map,
)
from counterpoint.matching.tables import Gram

# The plain reference, in float64: it builds the full-resolution map.


def upsampled(fmap):
    """Features at every pixel, (channels, height, width), wherever the grid lies."""
    (w, h), (columns, rows) = fmap.image_size_wh, fmap.grid_wh
    (sx, sy), (ox, oy) = fmap.to_grid.scale_xy, fmap.to_grid.offset_xy
    u = torch.arange(w, dtype=torch.float64) * sx + ox
    v = torch.arange(h, dtype=torch.float64) * sy + oy
    u, v = 2 * u / max(columns - 1, 1) - 1, 2 * v / max(rows - 1, 1) - 1
    at = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)[None]
    return F.grid_sample(fmap.values.double()[None], at, padding_mode="border", align_corners=True)[
        0
    ]


def interpolated(fmap):
    """The same as the original implementation has it, for maps without padding or flips."""
    w, h = fmap.image_size_wh
    return F.interpolate(fmap.values.double()[None], (h, w), mode="bilinear")[0]


def reference_cosines(source, target, point, up=upsampled):
    """(height, width) cosines of one whole source pixel with every target pixel."""
    x, y = point
    vector = F.normalize(up(source)[:, y, x], dim=0)
    return torch.einsum("c,chw->hw", vector, F.normalize(up(target), dim=0)).numpy()


def stands_out(cosines, by=2e-5):
    flat = np.sort(cosines, axis=None)
    return len(flat) == 1 or flat[-1] - flat[-2] > by


def random_map(seed, size_wh, grid_wh=(6, 5), channels=16, smooth=0, **geometry):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(channels, grid_wh[1], grid_wh[0], generator=generator)
    if smooth:
        pool = torch.nn.AvgPool2d(2 * smooth + 1, 1, smooth, count_include_pad=False)
        values = pool(values[None])[0]
    return FeatureMap(values, size_wh, **geometry)


def random_points(seed, size_wh, count=6):
    return np.random.default_rng(seed).integers(0, size_wh, (count, 2)).astype(float)


sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
grids = st.tuples(st.integers(1, 7), st.integers(1, 7))
seeds = st.integers(0, 2**31)
few = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


placings = st.fixed_dictionaries(
    {
        "size_wh": sizes,
        "grid_wh": grids,
        "smooth": st.integers(0, 2),
        "flip": st.booleans(),
        "pad": st.tuples(*[st.integers(0, 9)] * 4),
    }
)
depths = st.sampled_from([1, 2, 3, 8, 32])


def placed(seed, channels, size_wh, grid_wh, smooth, flip, pad):
    """A map of a picture that was perhaps flipped, padded (or not marked so) and resized."""
    left, top, right, bottom = pad
    to_input = PixelTransform.flip_x(size_wh[0]) if flip else PixelTransform()
    return random_map(
        seed,
        size_wh,
        grid_wh,
        channels,
        smooth,
        to_input=to_input.then(PixelTransform.pad(left, top)),
        input_size_wh=(size_wh[0] + left + right, size_wh[1] + top + bottom),
    )


@few
@given(placings, placings, depths, seeds)
def test_matches_are_the_dense_references_argmax(first, second, channels, seed):
    source, target = placed(seed, channels, **first), placed(seed + 1, channels, **second)
    points = random_points(seed, source.image_size_wh, 3)
    found = match(source, target, points)
    for point, row in zip(points.astype(int), found, strict=True):
        cosines = reference_cosines(source, target, point)
        x, y = (int(c) for c in row.target_px)
        assert cosines[y, x] >= cosines.max() - 2e-5
        assert row.similarity == pytest.approx(cosines.max(), abs=2e-5)
        if stands_out(cosines):
            assert (y, x) == np.unravel_index(cosines.argmax(), cosines.shape)


@few
@given(sizes, sizes, grids, grids, seeds)
def test_plain_resizes_equal_interpolate(size_a, size_b, grid_a, grid_b, seed):
    source = random_map(seed, size_a, grid_a, smooth=1)
    target = random_map(seed + 1, size_b, grid_b, smooth=1)
    [point] = random_points(seed, size_a, 1).astype(int)
    cosines = reference_cosines(source, target, point, up=interpolated)
    assert similarity_map(source, target, point).numpy() == pytest.approx(cosines, abs=1e-5)
    [row] = match(source, target, [point])
    if stands_out(cosines):
        expected = np.unravel_index(cosines.argmax(), cosines.shape)[::-1]
        assert row.target_px == tuple(map(float, expected))


@few
@given(placings, depths, seeds, st.booleans())
def test_pruning_changes_nothing(placing, channels, seed, leave_out):
    target = placed(seed, channels, **placing)
    ready = PreparedMap(target)
    vectors = torch.randn(5, channels, generator=torch.Generator().manual_seed(seed))
    scores = ready.scores(vectors)
    centres = torch.from_numpy(random_points(seed, target.image_size_wh, 5)).long()
    away = exact.Disc(centres, 0.3 * max(target.image_size_wh)) if leave_out else None
    found = [exact.best_pixels(ready, scores, away)]
    for cost in (0, 10**9):  # every tile, one by one; the whole picture, row by row
        with patch.multiple(exact, _LOOK_UP=cost, _OUT_OF_ROW=cost, _TINY=cost):
            found.append(exact.best_pixels(ready, scores, away, prune=False))
    for other in found[1:]:
        assert torch.equal(found[0][0], other[0])
        assert torch.equal(found[0][1], other[1])


@pytest.mark.parametrize("grid_wh", [(40, 30), (20, 15), (5, 4)])
def test_a_plain_picture_is_gone_through_row_by_row(grid_wh, monkeypatch):
    """Of pixels that are all alike it is the first; margins and masks hold there, too."""
    gone = []
    whole = exact._pictures_best
    monkeypatch.setattr(exact, "_pictures_best", lambda *a: (gone.append(len(a[2])), whole(*a))[1])
    plain = FeatureMap(torch.ones(3, *grid_wh[::-1]), image_size_wh=(80, 60))
    mask = np.ones((60, 80), bool)
    mask[:30] = False
    source = random_map(0, (80, 60), (5, 4), 3)
    masked = plain.masked(mask)
    below = int(PreparedMap(masked).pixel_valid.int().argmax()) // 80
    assert 28 <= below <= 30
    for target, row in ((plain, 0), (masked, below)):
        found = match(source, target, random_points(1, (80, 60), 4), cycle=False)
        assert (found.target_px == (0, row)).all()
        assert np.abs(found.margin).max() < 1e-6
    assert gone == [4, 4, 4, 4]  # for the best pixels, and for their rivals


@few
@given(placings, placings, depths, seeds)
def test_margin_is_over_the_best_outside_a_disc(first, second, channels, seed):
    source, target = placed(seed, channels, **first), placed(seed + 1, channels, **second)
    points = random_points(seed, source.image_size_wh, 2)
    found = match(source, target, points, margin_radius=0.25)
    w, h = target.image_size_wh
    radius = max(0.25 * max(w, h), 2 * max(target.stride_px))
    x, y = np.meshgrid(np.arange(w), np.arange(h))
    for point, row in zip(points.astype(int), found, strict=True):
        outside = (x - row.target_px[0]) ** 2 + (y - row.target_px[1]) ** 2 > radius**2
        cosines = reference_cosines(source, target, point)
        rival = cosines[outside].max(initial=-1)
        assert row.margin == pytest.approx(row.similarity - rival, abs=4e-5)


def test_thinned_matches_keep_both_ends():
    found = match(
        *(random_map(i, (20, 20), (5, 5), 4) for i in (0, 1)), random_points(0, (20, 20), 9)
    )
    assert np.array_equal(found.thinned(3).source_px, found.source_px[[0, 4, 8]])
    assert len(found.thinned(20)) == 9
    assert len(found.select(slice(0, 0)).thinned(5)) == 0


def test_many_points_of_a_real_sized_pair_equal_the_reference():
    source = random_map(0, (333, 500), (48, 32), 24, smooth=2)
    target = random_map(1, (375, 299), (48, 48), 24, smooth=1)
    points = random_points(2, source.image_size_wh, 20)
    found = match(source, target, points)
    for point, row in zip(points.astype(int), found, strict=True):
        cosines = reference_cosines(source, target, point, up=interpolated)
        assert row.target_px[::-1] == np.unravel_index(cosines.argmax(), cosines.shape)


def test_a_map_finds_itself():
    fmap = random_map(0, (61, 47), (8, 7))
    points = np.stack(np.meshgrid(np.arange(4, 57), np.arange(4, 44)), axis=-1).reshape(-1, 2)
    found = match(fmap, fmap, points)
    assert np.array_equal(found.target_px, points)
    assert found.similarity == pytest.approx(1)
    assert (found.cycle_px == 0).all()


def test_prominence_is_over_the_mean_of_the_best_twentieth_of_the_cells():
    generator = torch.Generator().manual_seed(3)
    source = FeatureMap(torch.randn(16, 9, 10, generator=generator), (100, 90))
    target = FeatureMap(torch.randn(16, 12, 8, generator=generator), (64, 96))
    points = [(20, 30), (77, 8), (3, 88)]
    found = match(source, target, points)
    wanted = F.normalize(source.sample(points), dim=1)
    cells = F.normalize(target.values.flatten(1), dim=0)
    best = (wanted @ cells).sort(dim=1, descending=True).values[:, :5]  # of 96 cells
    assert np.allclose(found.prominence, found.similarity - best.mean(dim=1).numpy(), atol=1e-5)
    assert np.array_equal(found.select(np.array([2, 0])).prominence, found.prominence[[2, 0]])
    assert found.to_dict()["matches"][1]["prominence"] == found.prominence[1]
    assert match(source, target, points, margin_radius=None).prominence is None


def test_prominence_is_over_what_a_mask_leaves():
    generator = torch.Generator().manual_seed(4)
    source = FeatureMap(torch.randn(16, 8, 8, generator=generator), (64, 64))
    mask = np.zeros((64, 64), bool)
    mask[20:50, 20:50] = True
    target = FeatureMap(torch.randn(16, 8, 8, generator=generator), (64, 64)).masked(mask)
    points = [(9, 9), (40, 33)]
    found = match(source, target, points)
    wanted = F.normalize(source.sample(points), dim=1)
    cells = F.normalize(target.values[:, target.valid], dim=0)
    assert 10 < cells.shape[1] < 30
    best = (wanted @ cells).amax(dim=1)  # one of so few
    assert np.allclose(found.prominence, found.similarity - best.numpy(), atol=1e-5)


def test_translating_the_picture_translates_the_matches():
    source = random_map(0, (128, 96), (16, 12), 32)
    target = replace(source, values=source.values.roll((2, 3), (1, 2)))
    points = random_points(1, (80, 56), 40) + 12
    assert np.array_equal(match(source, target, points).target_px, points + np.array([24, 16]))


def test_flipping_the_input_flips_nothing():
    plain = random_map(0, (57, 41), (9, 6))
    flipped = replace(plain, values=plain.values.flip(2), to_input=PixelTransform.flip_x(57))
    source, points = random_map(1, (30, 30)), random_points(2, (30, 30), 20)
    one, other = (match(source, target, points) for target in (plain, flipped))
    assert np.array_equal(one.target_px, other.target_px)
    assert one.similarity == pytest.approx(other.similarity, abs=1e-6)


def padded(fmap, left, top, right, bottom, filling):
    """The map of the same picture in a padded input, whole cells around it."""
    sx, sy = (round(s) for s in fmap.stride_px)
    values = F.pad(fmap.values, (left, right, top, bottom), value=filling)
    valid = F.pad(torch.ones(fmap.values.shape[1:], dtype=torch.bool), (left, right, top, bottom))
    (w, h), (columns, rows) = fmap.image_size_wh, (values.shape[2], values.shape[1])
    to_input = PixelTransform.pad(left * sx, top * sy)
    assert (w, h) == (fmap.grid_wh[0] * sx, fmap.grid_wh[1] * sy)
    return FeatureMap(values, (w, h), (columns * sx, rows * sy), to_input, valid)


@pytest.mark.parametrize("filling", [0.0, 1e3, float("nan")])
def test_padding_takes_part_in_nothing(filling):
    plain = random_map(0, (48, 40), (6, 5))
    wide = padded(plain, 2, 1, 0, 3, filling)
    points = random_points(1, (48, 40), 30)
    expected = match(plain, plain, points)
    for source, target in ((plain, wide), (wide, plain), (wide, wide)):
        found = match(source, target, points)
        assert np.array_equal(found.target_px, expected.target_px)
        assert found.similarity == pytest.approx(expected.similarity, abs=1e-6)
        assert found.margin == pytest.approx(expected.margin, abs=1e-6)


def test_holes_in_the_mask_are_never_matched():
    fmap = random_map(0, (64, 64), (8, 8))
    valid = torch.ones(8, 8, dtype=torch.bool)
    valid[2:5, 3:7] = False
    found = match(fmap, replace(fmap, valid=valid), random_points(1, (64, 64), 200))
    nearest = np.floor(found.target_px / 8).astype(int)
    assert valid.numpy()[nearest[:, 1], nearest[:, 0]].all()
    holed = similarity_map(fmap, replace(fmap, valid=valid), (30, 30))
    assert (holed[16:40, 24:56] == -1).all()
    assert (holed[:16] > -1).all()


def test_only_padding_is_an_error():
    fmap = random_map(0, (8, 8))
    with pytest.raises(BadInput, match="only padding"):
        PreparedMap(replace(fmap, valid=torch.zeros(5, 6, dtype=torch.bool)))


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 9), (9, 1), (3, 200)])
@pytest.mark.parametrize("grid_wh", [(1, 1), (1, 5), (5, 1), (48, 48)])
def test_tiny_pictures_and_single_cells(size_wh, grid_wh):
    fmap = random_map(0, size_wh, grid_wh)
    points = random_points(1, size_wh, 3)
    found = match(fmap, fmap, points, subpixel="window")
    assert found.similarity == pytest.approx(1)
    assert (found.target_px >= 0).all()
    assert (found.target_px <= np.array(size_wh) - 1).all()


@pytest.mark.parametrize("grid_wh", [(1, 1), (1, 4), (5, 1), (3, 4)])
def test_gram_maps_are_of_the_clamped_neighbours(grid_wh):
    v = random_map(0, (9, 9), grid_wh, 5).values
    y, x = torch.meshgrid(*(torch.arange(n) for n in v.shape[1:]), indexing="ij")
    below, beside = (y + 1).clamp(max=grid_wh[1] - 1), (x + 1).clamp(max=grid_wh[0] - 1)
    gram = Gram.of(v, torch.float32, torch.float64)
    expected = {
        "own": (v * v),
        "right": v * v[:, y, beside],
        "down": v * v[:, below, x],
        "diagonal": v * v[:, below, beside],
        "antidiagonal": v[:, y, beside] * v[:, below, x],
    }
    for name, products in expected.items():
        assert getattr(gram, name).numpy() == pytest.approx(products.sum(dim=0).numpy(), abs=1e-5)


def test_large_tiles_are_cut():
    fmap = random_map(0, (700, 300), (2, 1), 4)
    assert [axis.longest_px for axis in PreparedMap(fmap).axes] == [128, 128]
    [row] = match(fmap, fmap, [(350, 200)])
    assert row.target_px == (350, 0)  # one row of cells: every row of pixels ties, the first counts


def test_ties_go_to_the_first_pixel_row_by_row():
    constant = FeatureMap(torch.ones(5, 4, 4) * 0.3, (40, 30))
    found = match(constant, constant, [(7, 20), (39, 29)])
    assert found.target_px.tolist() == [[0, 0], [0, 0]]
    assert found.margin == pytest.approx(0)


def test_zero_vectors_have_cosine_zero():
    fmap = random_map(0, (30, 30), (3, 3))
    nothing = replace(fmap, values=torch.zeros_like(fmap.values))
    for source, target in ((nothing, fmap), (fmap, nothing), (nothing, nothing)):
        [row] = match(source, target, [(3, 3)])
        assert (row.similarity, row.confidence) == (0, 0)
        assert row.target_px == (0, 0)


def test_cells_that_cancel_out_do_not_outshine_the_match():
    values = torch.tensor([[[1.0, -1.0, 0.4]], [[0.0, 1e-7, 1.0]]])
    target = FeatureMap(values, (30, 10))
    source = FeatureMap(torch.tensor([0.0, 1.0]).reshape(2, 1, 1), (1, 1))
    cosines = reference_cosines(source, target, (0, 0))
    [row] = match(source, target, [(0, 0)])
    assert row.target_px == (29, 0) or cosines[0, int(row.target_px[0])] == cosines.max()
    assert similarity_map(source, target, (0, 0)).abs().max() <= 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_an_error(bad):
    good = random_map(0, (30, 30), (3, 3))
    values = good.values.clone()
    values[2, 1, 1] = bad
    for source, target in (
        (good, replace(good, values=values)),
        (replace(good, values=values), good),
    ):
        with pytest.raises(BadInput, match="finite"):
            match(source, target, [(15, 15)])


def test_the_chunk_changes_nothing():
    source, target = random_map(0, (90, 70), (9, 7)), random_map(1, (80, 90), (8, 9))
    points = random_points(2, (90, 70), 23)
    whole = match(source, target, points, subpixel="window")
    for chunk in (1, 7, 23):
        parts = match(source, target, points, subpixel="window", chunk=chunk)
        for name in ("target_px", "similarity", "margin", "cycle_px"):
            assert getattr(parts, name) == pytest.approx(getattr(whole, name), abs=1e-4)


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements any tensor had that was made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else [out]:
            if isinstance(made, torch.Tensor):
                self.elements = max(self.elements, made.numel())
        return out


def test_the_full_resolution_map_is_never_built():
    size_wh, channels = (640, 480), 64
    source = random_map(0, size_wh, (16, 12), channels, smooth=1)
    target = random_map(1, size_wh, (16, 12), channels, smooth=1)
    with LargestTensor() as largest:
        match(source, target, random_points(2, size_wh, 300))
        similarity_map(source, target, (5, 5))
    assert largest.elements <= 640 * 480  # one channel of it: the heat map itself


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_computed_in_float32(dtype):
    source, target = (random_map(seed, (60, 50), smooth=1).to(dtype) for seed in (0, 1))
    points = random_points(2, (60, 50), 20)
    found, expected = (
        match(a, b, points)
        for a, b in ((source, target), (source.to(torch.float32), target.to(torch.float32)))
    )
    assert np.array_equal(found.target_px, expected.target_px)
    assert np.array_equal(found.similarity, expected.similarity)


def test_autocast_and_gradients_are_left_outside():
    source, target = random_map(0, (60, 50)), random_map(1, (60, 50))
    points = random_points(2, (60, 50), 20)
    expected = match(source, target, points)
    learning = replace(source, values=source.values.requires_grad_())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = match(learning, target, points)
    assert np.array_equal(found.similarity, expected.similarity)


def test_prepared_maps_answer_the_same():
    source, target = random_map(0, (60, 50)), random_map(1, (60, 50))
    points = random_points(2, (60, 50), 20)
    ready = PreparedMap(source), PreparedMap(target)
    expected = match(source, target, points)
    for _ in range(2):
        assert np.array_equal(match(*ready, points).target_px, expected.target_px)


def test_points_between_pixels_are_read_bilinearly():
    ramp = torch.stack([torch.arange(4.0), 3 - torch.arange(4.0)]).reshape(2, 1, 4)
    fmap = FeatureMap(ramp, (4, 1))
    [row] = match(fmap, FeatureMap(ramp, (8, 1)), [(1.25, 0)])
    assert row.target_px == (3, 0)
    assert row.similarity == pytest.approx(1)


def bump(centre_px, size_wh=(160, 128), grid_wh=(20, 16), sigma_cells=2.0):
    """A target whose cosine with (1, 0) is a Gaussian of the distance from a point."""
    fmap = FeatureMap(torch.zeros(2, grid_wh[1], grid_wh[0]), size_wh)
    cx, cy = fmap.to_grid.apply([centre_px])[0]
    y, x = torch.meshgrid(torch.arange(grid_wh[1]), torch.arange(grid_wh[0]), indexing="ij")
    cosine = torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma_cells**2)).float()
    return replace(fmap, values=torch.stack([cosine, (1 - cosine**2).sqrt()]))


def test_the_window_finds_a_bumps_centre_between_pixels():
    source = FeatureMap(torch.tensor([1.0, 0.0]).reshape(2, 1, 1), (1, 1))
    centres = np.random.default_rng(0).uniform((40, 40), (120, 88), (30, 2))
    errors = {"argmax": [], "window": []}
    for centre in centres:
        target = bump(tuple(centre))
        for subpixel, error in errors.items():
            [row] = match(source, target, [(0, 0)], subpixel=subpixel, temperature=0.1)
            error.append(np.linalg.norm(np.array(row.target_px) - centre))
    assert np.max(errors["window"]) < 0.25  # of 8 pixels' stride
    assert np.mean(errors["window"]) < 0.1 * np.mean(errors["argmax"])


@pytest.mark.parametrize("cells", [1, 2, 9])
def test_the_window_is_the_softmax_mean_of_the_cells_around_the_argmax(cells):
    source, target = random_map(0, (60, 50), smooth=1), random_map(1, (90, 35), (9, 7), smooth=1)
    points, options = random_points(2, (60, 50), 25), {"window_cells": cells, "temperature": 0.1}
    found = match(source, target, points, subpixel="window", **options)
    peaks = target.to_grid.apply(match(source, target, points).target_px)
    cosines = F.normalize(source.sample(points), dim=1) @ F.normalize(
        target.values.flatten(1), dim=0
    )
    x, y = np.meshgrid(np.arange(9), np.arange(7))
    for row, (cx, cy), scores in zip(found, peaks, cosines.reshape(-1, 7, 9).numpy(), strict=True):
        cx, cy = np.clip(cx, 0, 8), np.clip(cy, 0, 6)
        inside = (abs(x - round(cx)) <= cells) & (abs(y - round(cy)) <= cells)
        weight = np.where(inside, np.exp(scores / 0.1), 0)
        mean = [(weight * at).sum() / weight.sum() for at in (x, y)]
        expected = target.to_grid.invert().apply([mean])[0].clip(0, (89, 34))
        assert row.target_px == pytest.approx(tuple(expected), abs=1e-3)


def test_the_window_stays_on_valid_cells():
    target = bump((80, 64))
    valid = torch.ones(16, 20, dtype=torch.bool)
    valid[:, 10:] = False
    source = FeatureMap(torch.tensor([1.0, 0.0]).reshape(2, 1, 1), (1, 1))
    [row] = match(source, replace(target, valid=valid), [(0, 0)], subpixel="window")
    assert row.target_px[0] <= 80


def test_cycle_leads_back_from_where_the_match_lies():
    source, target = random_map(0, (60, 50), smooth=1), random_map(1, (70, 40), smooth=1)
    points = random_points(2, (60, 50), 20)
    found = match(source, target, points)
    back = match(target, source, found.target_px)
    assert found.cycle_px == pytest.approx(np.linalg.norm(back.target_px - points, axis=1))
    without = match(source, target, points, cycle=False)
    assert np.isnan(without.cycle_px).all()
    assert (without.confidence >= found.confidence).all()


def test_no_points_no_matches():
    fmap = random_map(0, (60, 50))
    assert len(match(fmap, fmap, [])) == 0
    assert len(mutual_matches(fmap, fmap, [], [(1, 1)])) == 0
    assert len(mutual_matches(fmap, fmap, [])) == 0


@pytest.mark.parametrize("point", [(60, 0), (-1, 5), (5, 50), (0, -0.6)])
def test_points_outside_their_picture_are_an_error(point):
    fmap = random_map(0, (60, 50))
    with pytest.raises(PointError, match="inside the source picture"):
        match(fmap, fmap, [(1, 1), point])
    with pytest.raises(PointError):
        similarity_map(fmap, fmap, point)
    with pytest.raises(PointError, match="target picture"):
        mutual_matches(fmap, fmap, [(1, 1)], [point])


@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"window_cells": 0}, {"chunk": 0}, {"margin_radius": -0.1}]
)
def test_options_out_of_range_are_an_error(options):
    fmap = random_map(0, (60, 50))
    with pytest.raises(BadInput, match="expected a"):
        match(fmap, fmap, [(1, 1)], **options)


def test_unknown_names_say_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'window'"):
        find.require_known("subpixel", "windw", ("argmax", "window"))


def test_maps_of_different_channels_are_an_error():
    with pytest.raises(BadInput, match="channels, got 16 and 8"):
        match(random_map(0, (60, 50)), random_map(0, (60, 50), channels=8), [(1, 1)])


def test_similarity_maps_are_of_one_point():
    fmap = random_map(0, (60, 50))
    with pytest.raises(PointError, match="one point"):
        similarity_map(fmap, fmap, [(1, 1), (2, 2)])


@few
@given(placings, placings, depths, seeds)
def test_similarity_maps_equal_the_reference(first, second, channels, seed):
    source, target = placed(seed, channels, **first), placed(seed + 1, channels, **second)
    [point] = random_points(seed, source.image_size_wh, 1).astype(int)
    heat = similarity_map(source, target, point)
    assert heat.dtype == torch.float32
    assert heat.numpy() == pytest.approx(reference_cosines(source, target, point), abs=1e-4)


# Mutual nearest neighbours.


def brute_force_mutual(a, b, metric):
    a, b = a.astype(np.float64), b.astype(np.float64)
    if metric == "cosine":
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    distance = np.linalg.norm(a[:, None] - b[None], axis=2)
    there, back = distance.argmin(axis=1), distance.argmin(axis=0)
    return [[i, int(j)] for i, j in enumerate(there) if back[j] == i]


@few
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 5), seeds)
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_mutual_nearest_equals_brute_force_in_any_chunks(metric, n, m, channels, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(k, channels + 1)).astype(np.float32) for k in (n, m))
    expected = brute_force_mutual(a, b, metric)
    for chunk in (1, 7, 64):
        assert mutual_nearest(a, b, metric, chunk=chunk).tolist() == expected
    assert mutual_nearest(torch.from_numpy(a), torch.from_numpy(b), metric).tolist() == expected


def test_the_two_metrics_differ_by_length():
    a, b = np.array([[1.0, 0.0]]), np.array([[9.0, 0.1], [0.5, 0.5]])
    assert mutual_nearest(a, b, "cosine").tolist() == [[0, 0]]
    assert mutual_nearest(a, b, "l2").tolist() == [[0, 1]]


def test_of_tied_neighbours_the_first_counts():
    same = np.ones((3, 2))
    assert mutual_nearest(same, same).tolist() == [[0, 0]]
    assert mutual_nearest(same, same, "l2", chunk=1).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones((2, 3)), np.full((2, 3), np.nan)),
    ],
)
def test_descriptors_that_do_not_fit_are_an_error(a, b):
    with pytest.raises(BadInput, match="expected descriptors"):
        mutual_nearest(a, b)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_mutual_matches_of_given_points(metric):
    source, target = random_map(0, (60, 50), smooth=1), random_map(1, (70, 40), smooth=1)
    target = replace(target, values=0.5 * target.values + source.values)
    a, b = random_points(2, (60, 50), 40), random_points(3, (70, 40), 30)
    found = mutual_matches(source, target, a, b, metric=metric)
    descriptors = source.sample(a).numpy(), target.sample(b).numpy()
    pairs = np.array(brute_force_mutual(*descriptors, metric))
    assert np.array_equal(found.source_px, a[pairs[:, 0]])
    assert np.array_equal(found.target_px, b[pairs[:, 1]])
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in descriptors]
    cosines = unit[0] @ unit[1].T
    assert found.similarity == pytest.approx(cosines[tuple(pairs.T)], abs=1e-5)
    radius = max(7, 2 * max(target.stride_px))
    for (i, j), margin in zip(pairs, found.margin, strict=True):
        apart = np.linalg.norm(b - b[j], axis=1) > radius
        assert margin == pytest.approx(cosines[i, j] - cosines[i][apart].max(), abs=1e-5)


def test_mutual_matches_over_the_whole_target_lead_back():
    source = random_map(0, (96, 80), (12, 10), 32)
    noise = random_map(1, (96, 80), (12, 10), 32).values
    target = replace(source, values=source.values.roll(2, 2) + 1.5 * noise)
    found = mutual_matches(source, target)
    assert 20 < len(found) < 120
    assert (found.cycle_px <= 8).all()
    assert len(mutual_matches(source, target, tolerance_px=0.0)) < len(found)
    there = match(source, target, found.source_px)
    assert np.array_equal(there.target_px, found.target_px)


def test_the_default_points_are_the_pictures_own_cells():
    fmap = random_map(0, (48, 40), (6, 5))
    wide = padded(fmap, 2, 1, 0, 3, 0.0)
    assert np.array_equal(PreparedMap(wide).cells_px, PreparedMap(fmap).cells_px)
    assert PreparedMap(fmap).cells_px[:2].tolist() == [[3.5, 3.5], [11.5, 3.5]]


def test_pixels_match_by_cosine_only():
    fmap = random_map(0, (60, 50))
    with pytest.raises(BadInput, match="target points"):
        mutual_matches(fmap, fmap, metric="l2")


# Matches.


def some_matches(**changes):
    columns = {
        "source_px": np.array([[1, 2], [3, 4], [5, 6.0]]),
        "target_px": np.array([[7, 6], [5, 4], [3, 2.0]]),
        "similarity": np.array([0.9, 0.8, -0.1]),
        "margin": np.array([0.1, 0.0, 0.2]),
        "cycle_px": np.array([0.0, np.nan, 1.0]),
        "source_size_wh": (8, 8),
        "target_size_wh": (9, 9),
    }
    return Matches(**{**columns, **changes})


def test_matches_are_rows():
    found = some_matches()
    assert [row.target_px for row in found] == [(7, 6), (5, 4), (3, 2)]
    assert len(found.select(found.similarity > 0)) == 2
    assert found.select(np.array([2, 0])).margin.tolist() == [0.2, 0.1]
    assert found.select(slice(1)).target_size_wh == (9, 9)


def test_matches_become_json():
    rows = json.loads(json.dumps(some_matches().to_dict(), allow_nan=False))["matches"]
    assert [row["cycle_px"] for row in rows] == [0.0, None, 1.0]
    assert rows[0]["source_px"] == [1, 2]
    assert rows[0]["confidence"] == pytest.approx(0.9 * (1 - np.exp(-5)))


def test_matches_cannot_be_written_to():
    given = np.array([0.9, 0.8, -0.1])
    found = some_matches(similarity=given)
    with pytest.raises(ValueError, match="read-only"):
        found.similarity[0] = 1
    given[0] = 0
    assert found.similarity[0] == 0.9


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        (PointError, {"source_px": np.array([[1, 2], [3, 4], [8, 6.0]])}),
        (BadInput, {"similarity": np.array([0.9, 1.1, 0.0])}),
        (BadInput, {"similarity": np.array([0.9, np.nan, 0.0])}),
    ],
)
def test_matches_that_make_no_sense_are_an_error(error, changes):
    with pytest.raises(error):
        some_matches(**changes)


def test_confidence_falls_with_each_of_its_causes():
    base = {"similarity": np.full(3, 0.9), "margin": np.full(3, 0.1), "cycle_px": np.zeros(3)}
    worse = [
        {"similarity": np.array([0.9, 0.5, -0.5])},
        {"margin": np.array([0.1, 0.01, -0.01])},
        {"cycle_px": np.array([0.0, 0.5, 5.0])},
    ]
    for change in worse:
        confidence = some_matches(**{**base, **change}).confidence
        assert ((confidence >= 0) & (confidence <= 1)).all()
        assert (np.diff(confidence) < 0).all()


@pytest.mark.parametrize(
    "box", [(slice(0, 4), slice(0, 9)), (slice(5, 12), slice(4, 9)), (slice(2, 4), slice(0, 5))]
)
def test_nothing_is_found_off_a_mask_wherever_it_lies(box):
    """Not even where a mask is a rectangle, whose border's values would go on beyond it."""
    generator = torch.Generator().manual_seed(0)
    source = FeatureMap(torch.randn(8, 12, 9, generator=generator), (90, 120))
    plain = FeatureMap(torch.randn(8, 12, 9, generator=generator), (90, 120))
    mask = np.zeros((120, 90), bool)
    mask[box[0].start * 10 : box[0].stop * 10, box[1].start * 10 : box[1].stop * 10] = True
    target = plain.masked(mask)
    points = [(x, y) for x in range(3, 90, 9) for y in range(2, 120, 11)]
    x, y = match(source, target, points).target_px.astype(int).T
    assert mask[y, x].all()
    cosines = similarity_map(source, target, points[0])
    assert np.array_equal(np.asarray(cosines) > -1, mask)


def test_without_margin_and_way_back_points_are_the_same():
    generator = torch.Generator().manual_seed(0)
    a, b = (FeatureMap(torch.randn(8, 6, 9, generator=generator), (90, 60)) for _ in range(2))
    points = [(x, y) for x in range(3, 90, 9) for y in range(2, 60, 11)]
    full, bare = match(a, b, points), match(a, b, points, margin_radius=None, cycle=False)
    assert np.array_equal(full.target_px, bare.target_px)
    assert np.isnan(bare.margin).all()
    assert np.allclose(bare.confidence, np.clip(bare.similarity, 0, 1))
    assert bare.to_dict()["matches"][0]["margin"] is None
