"""Mirrored targets, and the grid's own window: against plain references."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from counterpoint.backbones import load
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform
from counterpoint.images import Picture
from counterpoint.matching import (
    PreparedMap,
    align_target,
    match,
    match_either,
    mirrored,
    orientation,
    swap_sides,
    unmirrored,
)

SIZE_WH = (93, 61)


def random_map(seed=0, size_wh=SIZE_WH, grid_wh=(9, 7), channels=16, **geometry):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(channels, grid_wh[1], grid_wh[0], generator=generator)
    return FeatureMap(values, size_wh, **geometry)


def noisy(fmap, by, seed=5):
    generator = torch.Generator().manual_seed(seed)
    noise = by * torch.randn(fmap.values.shape, generator=generator)
    return replace(fmap, values=fmap.values + noise)


def of_mirrored(fmap):
    """The map that a network without a sense of side would give for the mirrored picture."""
    return replace(fmap, values=fmap.values.flip(2))


def test_a_mirrored_picture_is_mirrored_and_a_copy():
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    turned = mirrored(Picture(rgb, "cat.png"))
    assert turned.rgb[0].tolist() == rgb[0, ::-1].tolist()
    assert turned.name == "cat.png"
    assert not np.shares_memory(turned.rgb, rgb)


@pytest.mark.parametrize("fit", ["squash", "pad", "keep"])
def test_features_of_a_mirrored_picture_lie_on_the_picture_as_it_is(photo, fit):
    """Of colours, which know no side: the same features at the same points."""
    model, picture = load("rgb"), Picture(photo[:61, :93])
    options = {"fit": fit, "size": 64}
    from counterpoint.options import Options

    [plain] = model.extract([picture], Options(**options))
    [turned] = model.extract([mirrored(picture)], Options(**options))
    placed = unmirrored(turned)
    x, y = np.meshgrid(np.linspace(12, 80, 9), np.linspace(12, 48, 7))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    assert placed.image_size_wh == plain.image_size_wh
    smooth = (plain.sample(points) - placed.sample(points)).abs().mean()
    wrong = (plain.sample(points) - turned.sample(points)).abs().mean()
    # "keep" pads on the right: the mirrored picture's cells lie elsewhere by part of a cell.
    assert smooth < 0.25 * wrong


@pytest.mark.parametrize("criterion", ["similarity", "mutual"])
def test_the_better_side_is_searched_and_points_come_back(criterion):
    source = random_map()
    truth = PixelTransform.flip_x(SIZE_WH[0])
    target = noisy(of_mirrored(source), 0.05)  # the thing looks the other way
    # A network with a sense of side: its features of the thing are like those of the source only
    # where the picture is mirrored; as it is they are somebody else's.
    stranger = random_map(3)
    placed = unmirrored(noisy(source, 0.05))
    points = np.array([(10.0, 20.0), (60.0, 30.0), (80.0, 50.0), (25.0, 44.0)])
    found = match_either(source, stranger, placed, points, criterion=criterion)
    assert found.alignment.flip
    assert np.abs(found.matches.target_px - truth.apply(points)).max() <= 3
    assert np.array_equal(found.matches.source_px, points)
    assert found.matches.target_size_wh == SIZE_WH
    plain = match_either(source, target, unmirrored(random_map(4)), points, criterion=criterion)
    assert not plain.alignment.flip
    assert np.array_equal(
        plain.matches.target_px, match(source, target, points, calibration=None).target_px
    )


def test_where_both_fit_alike_the_target_stays_as_it_is():
    source, target = random_map(), random_map(1)
    for criterion in ("similarity", "mutual"):
        found = align_target(source, target, target, criterion)
        assert found.plain == found.mirrored
        assert not found.flip


def test_how_well_a_target_fits_by_hand():
    def one(*rows):
        return FeatureMap(torch.tensor(rows, dtype=torch.float32).T[:, None], (len(rows), 1))

    source, target = one((1, 0), (0, 1), (3, 0)), one((0, 2), (1, 1), (-1, 0))
    found = align_target(source, target, target, "similarity")
    assert found.plain == pytest.approx((2**-0.5 + 1 + 2**-0.5) / 3)
    # Cells 1 and 0 choose each other, and cell 0 and the middle one (before its twin, cell 2).
    assert align_target(source, target, target, "mutual").plain == 2


def test_of_fine_grids_some_cells_are_compared(monkeypatch):
    monkeypatch.setattr(orientation, "MAX_CELLS", 20)
    source, target = random_map(), random_map(1)
    thinned = [replace(one, values=one.values[:, ::2, ::2]) for one in (source, target)]
    for criterion in ("similarity", "mutual"):
        found = align_target(source, target, target, criterion).plain
        assert found == align_target(*thinned, thinned[1], criterion).plain
    mask = np.zeros(SIZE_WH[::-1], bool)
    mask[11:17, 13:20] = True  # the cell in row 1 and column 1, which is passed over
    alone = align_target(source.masked(mask), source, target).plain
    assert 0 < alone < 1


def test_masks_count_in_both_frames():
    source = random_map()
    mask = np.zeros(SIZE_WH[::-1], bool)
    mask[:, :40] = True
    placed = unmirrored(source).masked(mask)
    points = [(x, y) for x in range(3, 90, 9) for y in range(2, 60, 11)]
    found = match_either(source, random_map(3).masked(mask), placed, points)
    assert found.alignment.flip
    assert found.matches.target_px[:, 0].max() < 45
    only = source.masked(mask)
    assert align_target(only, source, random_map(2)).plain == pytest.approx(1)


def test_sides_are_exchanged_in_the_mirror_only():
    source = random_map()
    points = np.array([(10.0, 20.0), (60.0, 30.0), (40.0, 50.0)])
    exchanged = match_either(
        source, random_map(3), unmirrored(source), points, sides=[(0, 1)], cycle=False
    )
    truth = PixelTransform.flip_x(SIZE_WH[0]).apply(points[[1, 0, 2]])
    assert exchanged.alignment.flip
    assert np.abs(exchanged.matches.target_px - truth).max() <= 2
    assert np.array_equal(exchanged.matches.source_px, points)
    as_is = match_either(source, source, unmirrored(random_map(3)), points, sides=[(0, 1)])
    assert np.abs(as_is.matches.target_px - points).max() <= 2


@pytest.mark.parametrize("sides", [[(0, 3)], [(0, 0)], [(-1, 1)], [(0, 1), (1, 2)], [(0, 1, 2)]])
def test_sides_that_are_none_are_an_error(sides):
    with pytest.raises(BadInput, match="as sides|in one pair of sides"):
        swap_sides([(0, 0), (1, 1), (2, 2)], sides)


def reference_window(source, target, point, reach, temperature=0.02):
    """Window soft-argmax over a dense grid, cell by cell: GeoAware-SC's, in this convention."""
    vector = F.normalize(source.sample([point])[0].double(), dim=0)
    cells = F.normalize(target.values.double(), dim=0)
    cosines = torch.einsum("c,chw->hw", vector, cells).numpy()
    row, column = np.unravel_index(cosines.argmax(), cosines.shape)
    y, x = np.mgrid[: cosines.shape[0], : cosines.shape[1]]
    near = (np.abs(y - row) <= reach) & (np.abs(x - column) <= reach)
    weight = np.where(near, np.exp(cosines / temperature), 0)
    mean = [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()]
    return target.to_grid.invert().apply([mean])[0].clip(0, np.array(target.image_size_wh) - 1)


@pytest.mark.parametrize("grid_wh", [(9, 7), (30, 20), (5, 26)])
@pytest.mark.parametrize("reach", [None, 1, 4])
def test_the_grids_window_is_around_its_best_cell(grid_wh, reach):
    source, target = random_map(), random_map(1, grid_wh=grid_wh)
    points = [(10, 20), (60, 30), (92, 60), (0, 0), (33.5, 12.25)]
    found = match(source, target, points, subpixel="grid-window", window_cells=reach)
    cells = reach or max(1, round(7 / 60 * max(grid_wh)))
    expected = [reference_window(source, target, point, cells) for point in points]
    assert np.allclose(found.target_px, expected, atol=1e-3)


def test_the_grids_window_stays_on_a_mask():
    source, target = random_map(), random_map(1)
    mask = np.zeros(SIZE_WH[::-1], bool)
    mask[:30, 50:] = True
    points = [(x, y) for x in range(3, 90, 9) for y in range(2, 60, 11)]
    found = match(source, target.masked(mask), points, subpixel="grid-window").target_px
    assert found[:, 0].min() >= 45
    assert found[:, 1].max() <= 35
    assert PreparedMap(target.masked(mask)).provenance == target.provenance
