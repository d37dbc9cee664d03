"""Colours and foreground by principal components, on maps whose answer is known."""

import numpy as np
import pytest
import torch

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.tasks.parts.components import _percentiles, joint_pca, principal_axes


def a_map(values, **fields):
    return FeatureMap(values, (values.shape[2] * 8, values.shape[1] * 8), **fields)


def random_map(rows=6, columns=9, channels=12, seed=0):
    values = torch.randn(channels, rows, columns, generator=torch.Generator().manual_seed(seed))
    return a_map(values)


def blob(rows=16, columns=20, seed=0, box=(4, 12, 6, 14)):
    """A box of one feature on ground of another, both with some noise; and the box as a mask."""
    generator = torch.Generator().manual_seed(seed)
    values = 0.05 * torch.randn(8, rows, columns, generator=generator)
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    mask[box[0] : box[1], box[2] : box[3]] = True
    values[0] += (~mask).float()
    values[1] += mask.float()
    return a_map(values), mask


class TestColours:
    def test_are_shaped_like_the_grids_and_lie_in_0_to_1(self):
        maps = [random_map(6, 9), random_map(3, 4, seed=1), random_map(1, 1, seed=2)]
        colours, masks = joint_pca(maps)
        assert [c.shape for c in colours] == [(6, 9, 3), (3, 4, 3), (1, 1, 3)]
        assert [m.shape for m in masks] == [(6, 9), (3, 4), (1, 1)]
        assert all(bool(m.all()) for m in masks)
        assert all(float(c.min()) >= 0 and float(c.max()) <= 1 for c in colours)

    def test_are_the_components_stretched_between_percentiles(self):
        """Against numpy's SVD of the same cells."""
        fmap = random_map(12, 15)
        [found], _ = joint_pca([fmap])
        cells = fmap.values.flatten(1).T.double().numpy()
        cells /= np.linalg.norm(cells, axis=1, keepdims=True)
        centred = cells - cells.mean(axis=0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        projected = centred @ axes[:3].T
        low, high = np.percentile(projected, (2, 98), axis=0)
        expected = ((projected - low) / (high - low)).clip(0, 1).reshape(12, 15, 3)
        for k in range(3):
            straight = np.abs(found[..., k].numpy() - expected[..., k]).max()
            mirrored = np.abs(found[..., k].numpy() - (1 - expected[..., k])).max()
            assert min(straight, mirrored) < 1e-4

    def test_mean_the_same_in_every_picture(self):
        """Two crops of one map, coloured together, agree where they overlap."""
        whole = random_map(10, 12).values
        left, right = a_map(whole[:, :, :8].clone()), a_map(whole[:, :, 4:].clone())
        (a, b), _ = joint_pca([left, right])
        torch.testing.assert_close(a[:, 4:], b[:, :4])

    def test_do_not_depend_on_the_order_of_the_pictures(self):
        maps = [random_map(seed=1), random_map(seed=2)]
        (a, b), _ = joint_pca(maps)
        (b2, a2), _ = joint_pca(maps[::-1])
        torch.testing.assert_close(a, a2, atol=1e-4, rtol=0)
        torch.testing.assert_close(b, b2, atol=1e-4, rtol=0)

    def test_do_not_depend_on_the_length_of_the_vectors(self):
        fmap = random_map()
        longer = a_map(fmap.values * torch.linspace(0.1, 9, 54).reshape(6, 9))
        torch.testing.assert_close(
            joint_pca([fmap])[0][0], joint_pca([longer])[0][0], atol=1e-4, rtol=0
        )

    def test_leave_out_padding(self):
        valid = torch.ones(6, 9, dtype=torch.bool)
        valid[4:] = False
        values = random_map().values
        spoilt = values.clone()
        spoilt[:, 4:] = 1e6
        a, masks = joint_pca([a_map(values, valid=valid)])
        b, _ = joint_pca([a_map(spoilt, valid=valid)])
        torch.testing.assert_close(a[0], b[0])
        assert torch.equal(masks[0], valid)
        assert (a[0][4:] == 0).all()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_of_every_dtype(self, dtype):
        [colours], _ = joint_pca([random_map().to(dtype)])
        assert colours.dtype == torch.float32
        assert float(colours.std()) > 0.1

    @pytest.mark.parametrize("channels", [1, 2])
    def test_of_fewer_channels_than_colours(self, channels):
        [colours], _ = joint_pca([random_map(channels=channels)])
        assert colours.shape == (6, 9, 3)
        assert (colours[..., channels:] == 0).all()
        assert bool(torch.isfinite(colours).all())

    @pytest.mark.parametrize("foreground", [False, True])
    @pytest.mark.parametrize("value", [0.0, 1.0, 0.3, 1e-20, 1e20])
    def test_of_a_constant_map_are_not_noise(self, value, foreground):
        """One direction everywhere; lengths differ, so that unit vectors differ by rounding."""
        generator = torch.Generator().manual_seed(0)
        vector = torch.randn(384, 1, 1, generator=generator)
        flat = value * vector * (1 + torch.rand(37, 41, generator=generator))
        colours, _ = joint_pca([a_map(flat), a_map(flat[:, :5].clone())], foreground=foreground)
        for colour in colours:
            assert float(colour.max()) < 0.2
            assert float(colour.flatten(0, 1).std(dim=0).max()) < 0.05

    def test_of_one_cell(self):
        [colours], _ = joint_pca([random_map(1, 1)])
        assert colours.shape == (1, 1, 3)

    def test_keep_the_maps_as_they_were(self):
        fmap = random_map()
        before = fmap.values.clone()
        joint_pca([fmap], foreground=True)
        assert torch.equal(fmap.values, before)

    def test_of_maps_with_gradients(self):
        values = torch.randn(4, 3, 3, requires_grad=True)
        [colours], _ = joint_pca([a_map(values)])
        assert not colours.requires_grad


class TestForeground:
    @pytest.mark.parametrize("seed", range(6))
    def test_is_the_blob_and_not_the_border(self, seed):
        fmap, box = blob(seed=seed)
        [colours], [mask] = joint_pca([fmap], foreground=True)
        assert torch.equal(mask, box)
        assert (colours[~box] == 0).all()
        assert float(colours[box].std()) > 0.05

    def test_whichever_feature_the_ground_has(self):
        fmap, box = blob()
        swapped = fmap.values[[1, 0, *range(2, 8)]]
        _, [mask] = joint_pca([a_map(swapped)], foreground=True)
        assert torch.equal(mask, box)

    def test_also_where_the_blob_fills_most(self):
        fmap, box = blob(box=(1, 15, 1, 19))
        _, [mask] = joint_pca([fmap], foreground=True)
        assert torch.equal(mask, box)

    def test_of_several_pictures_together(self):
        (a, box_a), (b, box_b) = blob(seed=1), blob(10, 30, seed=2, box=(2, 8, 11, 20))
        _, masks = joint_pca([a, b], foreground=True)
        assert torch.equal(masks[0], box_a)
        assert torch.equal(masks[1], box_b)

    def test_the_border_is_the_pictures_and_not_the_paddings(self):
        """Padded on the right and below with the blob's own feature."""
        fmap, box = blob()
        values = torch.zeros(8, 24, 28)
        values[1] = 1
        values[:, :16, :20] = fmap.values
        valid = torch.zeros(24, 28, dtype=torch.bool)
        valid[:16, :20] = True
        _, [mask] = joint_pca([a_map(values, valid=valid)], foreground=True)
        assert torch.equal(mask[:16, :20], box)
        assert not mask[16:].any()
        assert not mask[:, 20:].any()

    def test_colours_the_blob_by_its_own_components(self):
        """The blob's halves differ a little; by themselves they take the whole range."""
        fmap, box = blob()
        fmap.values[2, :, 10:] += 0.4 * box[:, 10:]
        [colours], _ = joint_pca([fmap], foreground=True)
        left, right = colours[4:12, 6:10, 0], colours[4:12, 10:14, 0]
        assert abs(float(left.mean()) - float(right.mean())) > 0.4


class TestAxes:
    def test_signs_are_fixed_by_the_largest_weight(self):
        cells = torch.randn(500, 7, generator=torch.Generator().manual_seed(3))
        _, axes = principal_axes(cells, 3)
        largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
        assert (largest > 0).all()
        _, mirrored = principal_axes(cells.flip(0), 3)
        torch.testing.assert_close(axes, mirrored, atol=1e-5, rtol=0)

    def test_are_orthonormal_and_in_falling_order_of_variance(self):
        scales = torch.tensor([1.0, 5, 2, 9, 0.1])
        cells = torch.randn(5000, 5, generator=torch.Generator().manual_seed(0)) * scales + 100
        mean, axes = principal_axes(cells, 3)
        torch.testing.assert_close(mean, cells.mean(dim=0))
        torch.testing.assert_close(axes.T @ axes, torch.eye(3), atol=1e-5, rtol=0)
        assert axes.abs().argmax(dim=0).tolist() == [3, 1, 2]

    def test_in_pieces_are_as_of_the_whole(self):
        """More cells than one piece holds."""
        cells = torch.randn(20_001, 6, generator=torch.Generator().manual_seed(1))
        cells *= torch.arange(1.0, 7)
        mean, axes = principal_axes(cells, 3)
        _, _, expected = np.linalg.svd((cells - mean).double().numpy(), full_matrices=False)
        overlap = np.abs((expected[:3] * axes.T.numpy()).sum(axis=1))
        np.testing.assert_allclose(overlap, 1, atol=1e-6)

    def test_where_channels_are_fewer_the_missing_are_zero(self):
        _, axes = principal_axes(torch.randn(20, 2), 3)
        assert axes.shape == (2, 3)
        assert (axes[:, 2] == 0).all()


def test_more_cells_than_torchs_quantile_takes():
    many = torch.arange(2**24 + 2, dtype=torch.float32)[:, None]
    with pytest.raises(RuntimeError, match="too large"):
        torch.quantile(many[:, 0], 0.5)
    low, high = _percentiles(many)
    assert float(low) == pytest.approx(0.02 * 2**24, rel=1e-5)
    assert float(high) == pytest.approx(0.98 * 2**24, rel=1e-5)


class TestRefusals:
    def test_no_maps(self):
        with pytest.raises(BadInput, match="expected at least one feature map, got none"):
            joint_pca([])

    def test_maps_of_different_models(self):
        with pytest.raises(BadInput, match=r"got \[4, 12\] channels; use one model"):
            joint_pca([random_map(), random_map(channels=4)])

    @pytest.mark.parametrize("foreground", [False, True])
    def test_nothing_but_padding(self, foreground):
        """A picture smaller than half a cell has none whose centre lies on it."""
        padding = a_map(torch.ones(2, 3, 3), valid=torch.zeros(3, 3, dtype=torch.bool))
        with pytest.raises(BadInput, match="got only padding"):
            joint_pca([padding], foreground=foreground)
        colours, masks = joint_pca([padding, random_map(channels=2)], foreground=foreground)
        assert (colours[0] == 0).all()
        assert not masks[0].any()

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_features_that_are_no_numbers(self, value):
        fmap = random_map()
        fmap.values[0, 0, 0] = value
        with pytest.raises(BadInput, match="expected finite features, got NaN or infinity"):
            joint_pca([fmap])
