"""The pixel convention, as properties on odd and non-square sizes."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import counterpoint.geometry as checked
from counterpoint.errors import BadInput, PointError
from counterpoint.geometry import (
    PixelTransform,
    apply_homography,
    as_points,
    from_colmap,
    grid_points,
    inside,
    picture_corners,
    require_inside,
    to_colmap,
)

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

sides = st.integers(1, 3000)
sizes = st.tuples(sides, sides)
small_sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
coordinates = st.floats(-5000, 5000)
scales = st.floats(0.01, 100) | st.floats(-100, -0.01)
transforms = st.builds(
    PixelTransform, st.tuples(scales, scales), st.tuples(coordinates, coordinates)
)
some_points = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def unchecked():
    """The module without the shape checks of the test run: what a user's wrong types meet."""
    spec = importlib.util.spec_from_file_location("unchecked_geometry", checked.__file__)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def close(a, b):
    """Equal up to rounding of numbers as large as the transforms above make them."""
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-6)


class TestResize:
    @given(sizes, sizes, coordinates, coordinates)
    def test_is_the_half_pixel_rule(self, from_wh, to_wh, x, y):
        (u, v) = PixelTransform.resize(from_wh, to_wh).apply((x, y))[0]
        close(u, (x + 0.5) * to_wh[0] / from_wh[0] - 0.5)
        close(v, (y + 0.5) * to_wh[1] / from_wh[1] - 0.5)

    def test_is_not_the_naive_rule(self):
        at_stride_16 = PixelTransform.resize((768, 512), (48, 32)).invert().apply((0, 0))
        assert at_stride_16.tolist() == [[7.5, 7.5]]

    @given(sizes, sizes)
    def test_keeps_the_pictures_edges(self, from_wh, to_wh):
        w, h = from_wh
        edges = PixelTransform.resize(from_wh, to_wh).apply([(-0.5, -0.5), (w - 0.5, h - 0.5)])
        close(edges, [(-0.5, -0.5), (to_wh[0] - 0.5, to_wh[1] - 0.5)])

    @given(sizes, sizes, sizes, some_points)
    def test_in_two_steps_is_the_same_as_in_one(self, a, b, c, points):
        two = PixelTransform.resize(a, b).then(PixelTransform.resize(b, c))
        close(two.apply(points), PixelTransform.resize(a, c).apply(points))

    @given(sizes, sizes, some_points)
    def test_back_is_the_inverse(self, a, b, points):
        back = PixelTransform.resize(a, b).invert()
        close(back.apply(points), PixelTransform.resize(b, a).apply(points))

    @given(small_sizes, small_sizes)
    def test_is_where_torch_samples(self, from_wh, to_wh):
        """Of a picture whose values are its coordinates, a resized pixel shows its origin."""
        (W, H), (w, h) = from_wh, to_wh
        y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
        ramps = torch.stack([x, y]).double()[None]
        seen = F.interpolate(ramps, (h, w), mode="bilinear", align_corners=False)[0].numpy()
        pixels = np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).reshape(-1, 2)
        origin = PixelTransform.resize(from_wh, to_wh).invert().apply(pixels)
        origin = origin.clip(0, [W - 1, H - 1])
        np.testing.assert_allclose(seen.reshape(2, -1).T, origin, atol=1e-5)

    @pytest.mark.parametrize("wh", [(0, 5), (5, 0), (-1, 5)])
    def test_refuses_empty_sizes(self, wh):
        with pytest.raises(BadInput, match="expected sizes of at least 1 x 1"):
            PixelTransform.resize(wh, (4, 4))
        with pytest.raises(BadInput, match="expected sizes of at least 1 x 1"):
            PixelTransform.resize((4, 4), wh)


class TestPadCropFlip:
    @given(small_sizes, st.data())
    def test_pad_follows_a_pixel(self, size, data):
        w, h = size
        left, top = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9))
        x, y = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
        picture = np.zeros((h, w))
        picture[y, x] = 1
        padded = np.pad(picture, ((top, 3), (left, 2)))
        u, v = PixelTransform.pad(left, top).apply((x, y))[0].astype(int)
        assert padded[v, u] == 1

    @given(small_sizes, st.data())
    def test_crop_follows_a_pixel(self, size, data):
        w, h = size
        x, y = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
        left, top = data.draw(st.integers(0, x)), data.draw(st.integers(0, y))
        picture = np.zeros((h, w))
        picture[y, x] = 1
        u, v = PixelTransform.crop(left, top).apply((x, y))[0].astype(int)
        assert picture[top:, left:][v, u] == 1

    @given(st.integers(0, 99), st.integers(0, 99), some_points)
    def test_crop_undoes_pad(self, left, top, points):
        both = PixelTransform.pad(left, top).then(PixelTransform.crop(left, top))
        close(both.apply(points), points)

    @given(small_sizes, st.data())
    def test_flip_follows_a_pixel_and_undoes_itself(self, size, data):
        w, h = size
        x, y = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
        picture = np.zeros((h, w))
        picture[y, x] = 1
        flip = PixelTransform.flip_x(w)
        u, v = flip.apply((x, y))[0].astype(int)
        assert picture[:, ::-1][v, u] == 1
        assert flip.then(flip) == PixelTransform((1.0, 1.0), (0.0, 0.0))


class TestAlgebra:
    @given(transforms, transforms, transforms, some_points)
    def test_composition_is_associative(self, a, b, c, points):
        left, right = a.then(b).then(c), a.then(b.then(c))
        np.testing.assert_allclose(left.scale_xy, right.scale_xy, rtol=1e-12)
        np.testing.assert_allclose(left.apply(points), right.apply(points), rtol=1e-9, atol=1e-3)

    @given(transforms, transforms, some_points)
    def test_composition_is_one_after_the_other(self, a, b, points):
        np.testing.assert_allclose(
            a.then(b).apply(points), b.apply(a.apply(points)), rtol=1e-9, atol=1e-4
        )

    @given(transforms, some_points)
    def test_inverse_leads_back(self, a, points):
        np.testing.assert_allclose(a.invert().apply(a.apply(points)), points, atol=1e-6)
        np.testing.assert_allclose(a.apply(a.invert().apply(points)), points, atol=1e-6)

    @given(transforms, transforms)
    def test_inverse_of_a_composition(self, a, b):
        one, other = a.then(b).invert(), b.invert().then(a.invert())
        np.testing.assert_allclose(one.scale_xy, other.scale_xy, rtol=1e-9)
        np.testing.assert_allclose(one.offset_xy, other.offset_xy, rtol=1e-9, atol=1e-3)

    def test_identity(self):
        assert PixelTransform().apply([(1.5, -2)]).tolist() == [[1.5, -2.0]]
        assert PixelTransform().then(PixelTransform()) == PixelTransform().invert()

    def test_order_matters(self):
        grow, shift = PixelTransform.resize((4, 4), (8, 8)), PixelTransform.pad(3, 0)
        assert grow.then(shift).apply((0, 0)).tolist() == [[3.5, 0.5]]
        assert shift.then(grow).apply((0, 0)).tolist() == [[6.5, 0.5]]

    @given(transforms, some_points)
    def test_matrix_is_the_same_map(self, a, points):
        np.testing.assert_allclose(
            apply_homography(a.matrix(), points), a.apply(points), rtol=1e-9, atol=1e-6
        )

    def test_points_are_not_edited(self):
        points = np.array([[1.0, 2.0]])
        PixelTransform.pad(5, 5).apply(points)
        to_colmap(points)
        assert points.tolist() == [[1.0, 2.0]]

    @pytest.mark.parametrize(
        ("scale", "offset"),
        [
            ((0.0, 1.0), (0.0, 0.0)),
            ((1.0, np.nan), (0.0, 0.0)),
            ((1.0, np.inf), (0.0, 0.0)),
            ((1.0, 1.0), (0.0, -np.inf)),
        ],
    )
    def test_refuses_what_has_no_inverse(self, scale, offset):
        with pytest.raises(BadInput, match="expected finite, non-zero scales"):
            PixelTransform(scale, offset)

    def test_refuses_other_numbers_of_axes(self, unchecked):
        with pytest.raises(BadInput, match="expected finite, non-zero scales"):
            unchecked.PixelTransform((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


class TestPoints:
    @pytest.mark.parametrize(
        ("given_points", "shape"),
        [
            ([], (0, 2)),
            (np.zeros((0, 2)), (0, 2)),
            ((3, 4), (1, 2)),
            ([3, 4], (1, 2)),
            ([(3, 4)], (1, 2)),
            (np.zeros((5, 2), np.uint8), (5, 2)),
            (torch.zeros(5, 2), (5, 2)),
            (torch.zeros(5, 2, requires_grad=True), (5, 2)),
            (torch.zeros(5, 2, dtype=torch.bfloat16), (5, 2)),
        ],
    )
    def test_pairs_of_every_kind(self, given_points, shape):
        points = as_points(given_points)
        assert points.shape == shape
        assert points.dtype == np.float64

    @pytest.mark.parametrize(
        "junk",
        [
            5,
            "12",
            "ab",
            ["1", "2"],
            b"xy",
            None,
            {},
            {"x": 1, "y": 2},
            pytest.param(object(), id="object"),
            [None, None],
            [1, 2, 3],
            [1],
            [[1], [2, 3]],
            [(1, 2), (3,)],
            [(1, 2, 3)],
            [[[1, 2]]],
            [[], []],
            np.zeros((0, 3)),
            np.zeros((2, 0)),
            np.zeros((3, 3)),
            [1j, 2],
            np.zeros((2, 2), complex),
            torch.zeros(3),
            [np.nan, 0],
            [(0, 0), (np.inf, 1)],
            ["x" * 1000, "y\ny"],
        ],
        ids=lambda junk: repr(junk)[:25],
    )
    def test_junk_is_one_short_line(self, unchecked, junk):
        with pytest.raises(PointError, match="^expected ") as caught:
            unchecked.as_points(junk)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 150

    @given(sizes)
    def test_edges_of_the_border_pixels_are_inside(self, size):
        w, h = size
        edge = [(-0.5, -0.5), (w - 0.5, h - 0.5), (-0.5, h - 0.5), (0, 0), (w - 1, h - 1)]
        assert inside(edge, size).all()
        assert require_inside(edge, size).shape == (5, 2)

    @given(sizes, st.floats(1e-6, 1e6))
    def test_beyond_the_edge_is_outside(self, size, beyond):
        w, h = size
        points = [
            (-0.5 - beyond, 0),
            (0, -0.5 - beyond),
            (w - 0.5 + beyond, 0),
            (0, h - 0.5 + beyond),
        ]
        assert not inside(points, size).any()

    def test_width_and_height_are_not_swapped(self):
        assert inside([(9, 0), (0, 9)], (10, 5)).tolist() == [True, False]

    def test_require_inside_names_the_first_point_outside(self):
        with pytest.raises(PointError) as caught:
            require_inside([(0, 0), (10, 2), (99, 99)], (10, 5), "cat.png")
        assert str(caught.value) == (
            "expected points inside cat.png (x 0 to 9, y 0 to 4), got (10, 2)"
        )

    def test_no_points_are_all_inside(self):
        assert require_inside([], (3, 3)).shape == (0, 2)

    @given(some_points)
    def test_colmap_and_back(self, points):
        assert to_colmap((0, 0)).tolist() == [[0.5, 0.5]]
        close(from_colmap(to_colmap(points)), points)

    @given(sizes)
    def test_corners_are_pixels_and_run_clockwise(self, size):
        corners = picture_corners(size)
        assert inside(corners, size).all()
        (w, h), (x, y) = size, corners.T
        area = 0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1))
        assert area == pytest.approx((w - 1) * (h - 1))


class TestGrid:
    @given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.integers(1, 500))
    def test_whole_pixels_inside_and_none_twice(self, size, count):
        points = grid_points(size, count)
        assert inside(points, size).all()
        assert (points == points.round()).all()
        assert len(np.unique(points, axis=0)) == len(points) >= 1

    @given(st.integers(50, 2000), st.integers(50, 2000), st.integers(1, 400))
    def test_about_as_many_as_asked_where_there_is_room(self, w, h, count):
        assume(max(w, h) < 5 * min(w, h))
        found = len(grid_points((w, h), count))
        assert abs(found - count) <= 1 + 0.75 * np.sqrt(count) * np.sqrt(max(w, h) / min(w, h))

    def test_one_point_is_the_middle(self):
        assert grid_points((101, 51), 1).tolist() == [[50, 25]]

    def test_more_than_there_are_pixels_is_every_pixel(self):
        assert len(grid_points((4, 3), 10**6)) == 12

    def test_cells_are_square(self):
        points = grid_points((400, 100), 64)
        assert np.diff(np.unique(points[:, 0])).mean() == pytest.approx(25, abs=1)
        assert np.diff(np.unique(points[:, 1])).mean() == pytest.approx(25, abs=1)

    @pytest.mark.parametrize("count", [0, -5])
    def test_refuses_none(self, count):
        with pytest.raises(BadInput, match=f"at least 1 point, got {count}"):
            grid_points((10, 10), count)


class TestHomography:
    def test_by_hand(self):
        projective = [[2, 0, 1], [0, 3, 2], [0.5, 0, 1]]
        assert apply_homography(projective, [(2, 1)]).tolist() == [[2.5, 2.5]]

    def test_scale_of_the_matrix_does_not_matter(self):
        matrix = np.array([[2, 0.1, 1], [0.2, 3, 2], [0.001, 0.002, 1]])
        points = [(5, 7), (-3, 2)]
        close(apply_homography(-7 * matrix, points), apply_homography(matrix, points))

    @given(st.lists(st.floats(-0.2, 0.2), min_size=8, max_size=8), some_points)
    def test_inverse_leads_back(self, bend, points):
        bend[6], bend[7] = bend[6] / 1e5, bend[7] / 1e5
        matrix = np.eye(3) + np.array([*bend, 0]).reshape(3, 3)
        mapped = apply_homography(matrix, points)
        np.testing.assert_allclose(
            apply_homography(np.linalg.inv(matrix), mapped), points, atol=1e-5
        )

    def test_points_at_infinity_come_back_as_infinity_without_a_warning(self):
        vanishing = [[1, 0, 0], [0, 1, 0], [1, 0, -2]]
        mapped = apply_homography(vanishing, [(2, 5), (2, 0), (3, 3)])
        assert np.isinf(mapped[:2]).all()
        assert mapped[2].tolist() == [3, 3]

    def test_no_points(self):
        assert apply_homography(np.eye(3), []).shape == (0, 2)

    @pytest.mark.parametrize("matrix", [np.eye(2), np.ones(9), np.full((3, 3), np.nan)])
    def test_refuses_other_matrices(self, matrix):
        with pytest.raises(BadInput, match="^expected a homography of 3 x 3 finite") as caught:
            apply_homography(matrix, [(0, 0)])
        assert "\n" not in str(caught.value)
