"""`FeatureMap`: sampling, cutting, joining, and files that come back bit for bit or not at all."""

import errno
import json
import os
import struct
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from counterpoint.errors import BadInput, FeatureFileError, PointError, StorageError
from counterpoint.features import FORMAT, METADATA_KEY, FeatureMap, read_header, sample_grid
from counterpoint.geometry import PixelTransform
from counterpoint.provenance import Provenance

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

sides = st.integers(1, 30)
sizes = st.tuples(sides, sides)
MADE = Provenance(
    model="small",
    weights_sha256="ab" * 32,
    tap="up:1+up:2",
    timesteps=(101, 261),
    prompt='a "bird"\n☺',
    seed=7,
    ensemble=8,
    fit="pad",
    size_wh=(96, 64),
    dtype="bfloat16",
    picture_sha256="cd" * 32,
    version="0.1.0",
)


def random_map(grid_wh=(5, 3), image_wh=(80, 48), channels=4, seed=0, **fields):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(channels, grid_wh[1], grid_wh[0], generator=generator)
    return FeatureMap(values, image_wh, **fields)


def all_pixels(size_wh):
    w, h = size_wh
    return np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).reshape(-1, 2)


class TestSample:
    @given(sizes, sizes)
    def test_at_whole_pixels_is_interpolate(self, grid_wh, image_wh):
        fmap = random_map(grid_wh, image_wh)
        (w, h) = image_wh
        expected = F.interpolate(fmap.values[None], (h, w), mode="bilinear", align_corners=False)[0]
        found = fmap.sample(all_pixels(image_wh))
        torch.testing.assert_close(found, expected.flatten(1).T, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
    def test_in_every_dtype_as_interpolate_does(self, dtype):
        fmap = random_map((7, 5), (31, 23)).to(dtype)
        expected = F.interpolate(fmap.values[None], (23, 31), mode="bilinear", align_corners=False)
        found = fmap.sample(all_pixels((31, 23)))
        assert found.dtype == dtype
        one_rounding = max(torch.finfo(dtype).eps, 1e-6)
        torch.testing.assert_close(
            found, expected[0].flatten(1).T, rtol=one_rounding, atol=one_rounding / 4
        )

    def test_half_precision_is_rounded_once_at_the_end(self):
        fmap = random_map((7, 5), (31, 23)).to(torch.bfloat16)
        points = [(3.3, 4.4), (17.7, 20.1)]
        exact = fmap.to(torch.float32).sample(points).to(torch.bfloat16)
        assert torch.equal(fmap.sample(points), exact)

    @given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
    def test_beyond_the_border_the_border_goes_on(self, x, y):
        fmap = random_map()
        inside = np.clip((x, y), -0.5, [79.5, 47.5])
        assert torch.equal(fmap.sample([(x, y)]), fmap.sample([inside]))

    def test_at_a_cells_centre_is_the_cell(self):
        fmap = random_map()
        centre = fmap.to_grid.invert().apply([(2, 1)])
        assert centre.tolist() == [[39.5, 23.5]]
        assert torch.equal(fmap.sample(centre)[0], fmap.values[:, 1, 2])

    def test_through_padding_and_resizing(self):
        """100 x 60 is resized to 50 x 30 and padded to 64 x 32; cells are 8 pixels of that."""
        to_input = PixelTransform.resize((100, 60), (50, 30))
        fmap = random_map((8, 4), (100, 60), input_size_wh=(64, 32), to_input=to_input)
        x, y = 4 * 8 + 3.5, 2 * 8 + 3.5  # the centre of cell (4, 2) in the input
        original = ((x + 0.5) * 2 - 0.5, (y + 0.5) * 2 - 0.5)
        torch.testing.assert_close(fmap.sample([original])[0], fmap.values[:, 2, 4])
        assert fmap.stride_px == (16.0, 16.0)

    def test_no_points(self):
        assert random_map().sample([]).shape == (0, 4)

    def test_junk_points(self):
        with pytest.raises(PointError):
            random_map().sample([(1, np.nan)])

    def test_one_cell(self):
        fmap = random_map((1, 1), (9, 9))
        assert torch.equal(fmap.sample([(0, 0), (8, 8)]), fmap.values[:, 0].T.repeat(2, 1))

    def test_keeps_gradients(self):
        values = torch.randn(2, 3, 3, requires_grad=True)
        sample_grid(values, np.array([[0.5, 0.5]])).sum().backward()
        assert values.grad.sum() == pytest.approx(2)


class TestChecks:
    @pytest.mark.parametrize(
        "fields",
        [
            {"values": torch.zeros(0, 3, 3)},
            {"values": torch.zeros(3, 0, 3)},
            {"image_size_wh": (0, 5)},
            {"input_size_wh": (5, 0), "to_input": PixelTransform()},
        ],
    )
    def test_refused(self, fields):
        with pytest.raises(BadInput, match="^expected ") as error:
            FeatureMap(**{"values": torch.zeros(2, 3, 3), "image_size_wh": (9, 9), **fields})
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("values", "valid"),
        [
            (torch.zeros(3, 3), None),
            (torch.zeros(1, 2, 2).long(), None),
            (torch.zeros(2, 3, 3), torch.ones(2, 3, dtype=torch.bool)),
            (torch.zeros(2, 3, 3), torch.ones(3, 3)),
        ],
    )
    def test_other_shapes_and_dtypes(self, values, valid):
        """Where shapes are checked, as in this test run, these come first, as TypeErrors."""
        with pytest.raises((BadInput, TypeError)):
            FeatureMap(values, (9, 9), valid=valid)

    def test_is_immutable(self):
        with pytest.raises(FrozenInstanceError):
            random_map().values = torch.zeros(1, 1, 1)

    def test_sizes(self):
        fmap = random_map()
        assert (fmap.channels, fmap.grid_wh, fmap.stride_px) == (4, (5, 3), (16.0, 16.0))
        assert fmap.input_wh == (80, 48)

    def test_to_another_dtype(self):
        fmap = random_map(valid=torch.ones(3, 5, dtype=torch.bool)).to(torch.float64)
        assert fmap.values.dtype == torch.float64
        assert fmap.valid.dtype == torch.bool

    def test_normalised_keeps_zero_vectors(self):
        fmap = random_map()
        fmap.values[:, 0, 0] = 0
        norms = fmap.normalised().values.norm(dim=0)
        assert norms[0, 0] == 0
        torch.testing.assert_close(norms.flatten()[1:], torch.ones(14))


class TestCrop:
    @given(st.data())
    def test_samples_as_the_whole_does(self, data):
        w, h = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
        valid = torch.ones(7, 9, dtype=torch.bool)
        fmap = random_map((9, 7), (w, h), valid=valid, provenance=MADE)
        left, top = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
        size = data.draw(st.integers(1, w - left)), data.draw(st.integers(1, h - top))
        part = fmap.crop(left, top, size)
        pixels = all_pixels(size)
        torch.testing.assert_close(
            part.sample(pixels), fmap.sample(pixels + np.array([left, top])), rtol=1e-4, atol=1e-5
        )
        assert part.image_size_wh == size
        assert part.valid.shape == part.values.shape[1:]
        assert part.provenance == MADE
        np.testing.assert_allclose(part.stride_px, fmap.stride_px)

    def test_keeps_no_more_cells_than_touch_the_part(self):
        part = random_map((10, 10), (100, 100)).crop(22, 40, (11, 5))
        assert part.grid_wh == (3, 2)  # centres at 14.5, 24.5, 34.5; and 34.5, 44.5

    def test_crops_of_crops_add_up(self):
        fmap = random_map((10, 10), (100, 80))
        twice = fmap.crop(13, 7, (60, 60)).crop(5, 11, (20, 30))
        once = fmap.crop(18, 18, (20, 30))
        pixels = all_pixels((20, 30))
        torch.testing.assert_close(twice.sample(pixels), once.sample(pixels))

    def test_of_a_mirrored_input(self):
        fmap = random_map((10, 8), (100, 80), to_input=PixelTransform.flip_x(100))
        part = fmap.crop(13, 7, (21, 30))
        pixels = all_pixels((21, 30))
        torch.testing.assert_close(part.sample(pixels), fmap.sample(pixels + np.array([13, 7])))

    @pytest.mark.parametrize(
        "part", [(-1, 0, (5, 5)), (0, -1, (5, 5)), (76, 0, (5, 5)), (0, 44, (5, 5)), (0, 0, (0, 5))]
    )
    def test_outside_the_picture(self, part):
        with pytest.raises(BadInput, match=r"^expected a part of the 80 x 48 picture, got"):
            random_map().crop(*part)


class TestMasks:
    def test_cells_count_by_their_centres(self):
        fmap = random_map((6, 4))  # of a picture whose size the helper sets
        width, height = fmap.image_size_wh
        mask = np.zeros((height, width), bool)
        mask[: height // 2] = True
        valid = fmap.masked(mask).valid
        assert valid[:2].all()
        assert not valid[2:].any()
        assert torch.equal(fmap.masked(torch.from_numpy(mask)).valid, valid)

    def test_padding_stays_padding(self):
        padded = torch.ones(4, 6, dtype=torch.bool)
        padded[:, 4:] = False
        fmap = random_map((6, 4), valid=padded)
        width, height = fmap.image_size_wh
        assert torch.equal(fmap.masked(np.ones((height, width))).valid, padded)

    @pytest.mark.parametrize(
        ("shape", "message"), [((3, 3), "expected a mask of the picture's size"), (None, "empty")]
    )
    def test_masks_that_cannot_be(self, shape, message):
        fmap = random_map((6, 4))
        with pytest.raises(BadInput, match=message):
            fmap.masked(np.zeros(shape or fmap.image_size_wh[::-1]))


class TestJoining:
    @given(sizes, sizes, sizes)
    def test_resampled_is_sampled_at_the_others_cells(self, mine, theirs, image_wh):
        a, b = random_map(mine, image_wh), random_map(theirs, image_wh, channels=2)
        moved = a.resampled_like(b)
        assert moved.grid_wh == b.grid_wh
        assert moved.channels == a.channels
        w, h = theirs
        expected = F.interpolate(a.values[None], (h, w), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(moved.values, expected, rtol=1e-5, atol=1e-5)

    def test_resampled_like_itself_is_itself(self):
        fmap = random_map()
        torch.testing.assert_close(fmap.resampled_like(fmap).values, fmap.values)

    @given(st.floats(0, 1), st.integers(0, 99))
    def test_cosines_of_a_concatenation_are_weighted_means(self, weight, seed):
        a = random_map((6, 4), (60, 40), channels=5, seed=seed)
        b = random_map((3, 2), (60, 40), channels=3, seed=seed + 1)
        joined = a.concat(b, weight)
        assert joined.channels == 8
        assert joined.grid_wh == (6, 4)

        def cosines(fmap):
            flat = fmap.normalised().values.flatten(1)
            return flat.T @ flat

        expected = (1 - weight) * cosines(a) + weight * cosines(b.resampled_like(a))
        torch.testing.assert_close(cosines(joined), expected, rtol=1e-4, atol=1e-5)
        flat = joined.values.flatten(1)
        torch.testing.assert_close(flat.norm(dim=0), torch.ones(24))

    def test_the_finer_grid_wins_from_either_side(self):
        fine, coarse = random_map((6, 4)), random_map((3, 2), channels=3)
        assert fine.concat(coarse).grid_wh == coarse.concat(fine).grid_wh == (6, 4)
        torch.testing.assert_close(
            coarse.concat(fine).values[:3] * 2**0.5,
            coarse.resampled_like(fine).normalised().values,
        )

    def test_a_cell_counts_where_both_maps_do(self):
        valid = torch.zeros(4, 6, dtype=torch.bool)
        valid[:, 3:] = True
        fine, coarse = random_map((6, 4), valid=valid), random_map((3, 2))
        assert torch.equal(coarse.concat(fine).valid, valid)
        upper = torch.tensor([[True] * 3, [False] * 3])
        both = random_map((3, 2), valid=upper).concat(fine).valid
        assert both[:2, 3:].all()
        assert both.sum() == 6

    def test_provenance_names_both(self):
        a = random_map(provenance=MADE)
        b = random_map(
            provenance=replace(MADE, model="sift", weights_sha256="", tap="x", timesteps=(261, 5))
        )
        joined = a.concat(b).provenance
        assert joined.model == "small+sift"
        assert joined.tap == "up:1+up:2+x"
        assert joined.timesteps == (101, 261, 5)
        assert joined.weights_sha256 == "ab" * 32 + "+"
        assert a.concat(a).provenance.model == "small"

    @pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
    def test_weights_out_of_range(self, weight):
        with pytest.raises(BadInput, match="expected a weight from 0 to 1"):
            random_map().concat(random_map(), weight)

    @pytest.mark.parametrize("join", ["concat", "resampled_like"])
    def test_maps_of_other_pictures(self, join):
        other = random_map(image_wh=(48, 80))
        fmap = random_map((9, 9))
        with pytest.raises(BadInput, match="expected maps of one picture, got sizes"):
            getattr(other, join)(fmap)


def bits(tensor):
    return tensor.contiguous().view(torch.uint8)


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16, torch.float64])
def any_bits(request):
    """Values of every bit pattern: NaN with payloads, infinities, denormals, negative zero."""
    width = torch.finfo(request.param).bits // 8
    raw = np.random.default_rng(0).integers(0, 256, 3 * 4 * 5 * width, dtype=np.uint8)
    return torch.from_numpy(raw).view(request.param).reshape(3, 4, 5)


class TestFiles:
    @pytest.mark.parametrize("masked", [False, True])
    def test_come_back_bit_for_bit(self, tmp_path, any_bits, masked):
        valid = torch.rand(4, 5) > 0.5 if masked else None
        to_input = PixelTransform((0.1, -1 / 3), (1e-17, 12345.6789))
        fmap = FeatureMap(any_bits, (81, 47), (96, 64), to_input, valid, MADE)
        fmap.save(tmp_path / "x.safetensors")
        back = FeatureMap.load(tmp_path / "x.safetensors")
        assert back.values.dtype == fmap.values.dtype
        assert torch.equal(bits(back.values), bits(fmap.values))
        assert (back.image_size_wh, back.input_size_wh) == ((81, 47), (96, 64))
        assert back.to_input == to_input
        assert back.provenance == MADE
        assert (back.valid is None) == (not masked)
        assert not masked or torch.equal(back.valid, valid)

    def test_of_a_view_a_gradient_or_a_crop(self, tmp_path):
        values = torch.randn(4, 6, 8, requires_grad=True)
        fmap = FeatureMap(values.permute(0, 2, 1)[:, ::2], (30, 30)).crop(3, 3, (20, 20))
        fmap.save(str(tmp_path / "x"))
        assert torch.equal(FeatureMap.load(str(tmp_path / "x")).values, fmap.values)

    @given(
        st.builds(
            dict,
            model=st.text(max_size=9),
            tap=st.text(max_size=9),
            prompt=st.text(max_size=9),
            timesteps=st.lists(st.integers(0, 999), max_size=3).map(tuple),
            seed=st.integers(),
            size_wh=st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)),
        )
    )
    def test_provenance_of_every_kind(self, tmp_path_factory, entries):
        provenance = Provenance(**entries)
        path = tmp_path_factory.getbasetemp() / "provenance.safetensors"
        random_map(provenance=provenance).save(path)
        assert read_header(path).provenance == provenance

    def test_the_header_is_read_without_the_tensor(self, tmp_path, monkeypatch):
        path = tmp_path / "x.safetensors"
        random_map((6, 4), provenance=MADE).to(torch.bfloat16).save(path)
        monkeypatch.setattr("safetensors.torch.load_file", pytest.fail)
        monkeypatch.setattr(torch, "frombuffer", pytest.fail)
        header = read_header(path)
        assert header.shape == (4, 4, 6)
        assert header.dtype == "BF16"
        assert header.provenance == MADE
        assert header.image_size_wh == header.input_size_wh == (80, 48)
        assert header.to_input == PixelTransform((1.0, 1.0), (0.0, 0.0))

    def test_the_header_of_a_huge_file_is_read_in_little_memory(self, tmp_path):
        """A sparse file of 4 TiB, whose header is sound."""
        shape = [1 << 10, 1 << 15, 1 << 15]
        path = tmp_path / "huge"
        write_raw(path, shape=shape, size=4 << 40)
        assert read_header(path).shape == tuple(shape)

    def test_others_can_read_it(self, tmp_path):
        from safetensors import safe_open

        fmap = random_map(provenance=MADE)
        fmap.save(tmp_path / "x")
        with safe_open(tmp_path / "x", "pt") as file:
            assert torch.equal(file.get_tensor("values"), fmap.values)
            [note] = file.metadata().values()
            assert json.loads(note)["provenance"]["tap"] == "up:1+up:2"

    def test_equal_maps_give_equal_files(self, tmp_path):
        valid = torch.ones(3, 5, dtype=torch.bool)
        for name in "ab":
            random_map(provenance=MADE, valid=valid).save(tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_entries_of_a_later_version_are_passed_over(self, tmp_path):
        write_raw(tmp_path / "x", provenance={"model": "m", "colour": "red"})
        assert read_header(tmp_path / "x").provenance == Provenance(model="m")


GEOMETRY = {
    "image_size_wh": [2, 2],
    "input_size_wh": [2, 2],
    "scale_xy": [1, 1],
    "offset_xy": [0, 0],
}


def write_raw(path, shape=(1, 1, 1), size=4, **changes):
    """A feature file by hand, with any part changed."""
    note = {"format": FORMAT, "geometry": GEOMETRY, "provenance": {"model": "m"}, **changes}
    entry = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, size]}
    header = {"__metadata__": {METADATA_KEY: json.dumps(note)}, "values": entry}
    data = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(data)) + data)
        file.truncate(8 + len(data) + size)


def refused(path, *parts):
    for read in (FeatureMap.load, read_header):
        with pytest.raises(FeatureFileError) as error:
            read(path)
        text = str(error.value)
        assert "\n" not in text
        assert str(path) in text
        assert all(part in text for part in parts), text


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "x.safetensors"
    random_map((2, 2), provenance=MADE).save(path)
    return path


class TestDamagedFiles:
    def test_cut_off_at_every_byte(self, tmp_path):
        path = tmp_path / "x.safetensors"
        random_map((2, 2), valid=torch.ones(2, 2, dtype=torch.bool)).save(path)
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            refused(path, "expected a counterpoint feature file")

    def test_bytes_too_many(self, tmp_path):
        path = tmp_path / "x.safetensors"
        random_map().save(path)
        path.write_bytes(path.read_bytes() + b"\0")
        refused(path, "damaged, cut off or foreign", "extract again")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\0",
            b"\0" * 8,
            b"\0" * 5000,
            b"\xff" * 5000,
            b"just text, and more than eight bytes of it",
            struct.pack("<Q", 2) + b"{}",
            struct.pack("<Q", 2) + b"[]",
            struct.pack("<Q", 4) + b"null",
            struct.pack("<Q", 1) + b"3",
            struct.pack("<Q", 5) + b'"abc"',
            struct.pack("<Q", 2) + b"\xff\xfe",
            struct.pack("<Q", 16) + b'{"values": null}',
            struct.pack("<Q", 20) + b'{"__metadata__": []}',
            struct.pack("<Q", 200_000) + b"[" * 200_000,
        ],
        ids=range(15),
    )
    def test_foreign_bytes(self, tmp_path, content):
        (tmp_path / "x").write_bytes(content)
        refused(tmp_path / "x", "expected a counterpoint feature file")

    def test_other_safetensors(self, tmp_path):
        save_file({"weight": torch.zeros(2)}, tmp_path / "a")
        refused(tmp_path / "a", "expected a counterpoint feature file")
        save_file({"values": torch.zeros(1, 2, 2)}, tmp_path / "b", metadata={"format": "pt"})
        refused(tmp_path / "b", "expected a counterpoint feature file")
        save_file(
            {"values": torch.zeros(1, 2, 2)}, tmp_path / "c", metadata={METADATA_KEY: "not json"}
        )
        refused(tmp_path / "c", "expected a counterpoint feature file")

    def test_another_version_of_the_format(self, tmp_path):
        write_raw(tmp_path / "x", format="counterpoint/feature-map/9")
        refused(tmp_path / "x", f"expected format {FORMAT}", "got counterpoint/feature-map/9")

    @pytest.mark.parametrize(
        "changes",
        [
            {"geometry": "no json"},
            {"geometry": {}},
            {"geometry": []},
            {"geometry": {"image_size_wh": 3}},
            {"provenance": "{"},
            {"provenance": []},
            {"provenance": {}},
            {"provenance": {"model": "m", "timesteps": 5}},
            {"shape": (1,)},
            {"shape": ("a", "b", "c")},
            {"geometry": {**GEOMETRY, "scale_xy": [0, 1]}},
            {"geometry": {**GEOMETRY, "scale_xy": [1, 1, 1], "offset_xy": [0, 0, 0]}},
            {"geometry": {**GEOMETRY, "offset_xy": ["a", "b"]}},
            {"geometry": {**GEOMETRY, "offset_xy": [float("nan"), 0]}},
            {"geometry": {**GEOMETRY, "image_size_wh": [2.5, 2]}},
            {"geometry": {**GEOMETRY, "input_size_wh": ["a", 2]}},
            {"geometry": {**GEOMETRY, "input_size_wh": [2]}},
        ],
        ids=str,
    )
    def test_headers_that_make_no_sense(self, tmp_path, changes):
        write_raw(tmp_path / "x", **changes)
        refused(tmp_path / "x", "damaged, cut off or foreign")

    def test_a_picture_of_no_size(self, tmp_path):
        write_raw(tmp_path / "x", geometry={**GEOMETRY, "image_size_wh": [0, 2]})
        with pytest.raises(FeatureFileError, match="damaged, cut off or foreign"):
            FeatureMap.load(tmp_path / "x")

    @settings(max_examples=200)
    @given(
        changes=st.lists(
            st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=4
        )
    )
    def test_any_damage_raises_nothing_else(self, sound, changes):
        data = bytearray(sound.read_bytes())
        for place, value in changes:
            data[place % len(data)] = value
        path = sound.with_name("damaged")
        path.write_bytes(data)
        for read in (FeatureMap.load, read_header):
            try:
                read(path)
            except FeatureFileError as error:
                assert "\n" not in str(error)  # noqa: PT017

    def test_missing(self, tmp_path):
        refused(tmp_path / "gone", "no such feature file")

    def test_a_folder(self, tmp_path):
        refused(tmp_path, "expected a counterpoint feature file")

    def test_a_damaged_file_is_a_storage_error(self):
        assert issubclass(FeatureFileError, StorageError)


class TestSavingIsAllOrNothing:
    @pytest.fixture
    def older(self, tmp_path):
        random_map(seed=1).save(tmp_path / "x.safetensors")
        return tmp_path / "x.safetensors"

    def unharmed(self, older):
        assert [p.name for p in older.parent.iterdir()] == ["x.safetensors"]
        assert torch.equal(FeatureMap.load(older).values, random_map(seed=1).values)

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError, SystemExit])
    @pytest.mark.parametrize("place", ["os.fsync", "safetensors.torch.save_file"])
    def test_an_interruption_leaves_the_older_file_and_nothing_else(
        self, older, monkeypatch, stop, place
    ):
        def interrupted(*args, **kwargs):
            raise stop

        monkeypatch.setattr(place, interrupted)
        with pytest.raises(stop):
            random_map(seed=2).save(older)
        self.unharmed(older)

    def test_an_interruption_of_the_first_save_leaves_nothing(self, tmp_path, monkeypatch):
        def interrupted(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            random_map().save(tmp_path / "x.safetensors")
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk(self, older, monkeypatch):
        def full(_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="the disk is full; free some space and run again"):
            random_map(seed=2).save(older)
        self.unharmed(older)

    def test_a_system_that_refuses_more_bytes(self, older):
        pytest.importorskip("resource")
        code = (
            "import resource, signal, torch\n"
            "from counterpoint.features import FeatureMap\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
            f"FeatureMap(torch.zeros(9, 99, 99), (9, 9)).save({str(older)!r})\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert "StorageError: cannot write" in done.stderr.splitlines()[-1]
        assert "File too large" in done.stderr.splitlines()[-1]
        self.unharmed(older)

    def test_a_loaded_map_outlives_its_file(self, tmp_path):
        path = tmp_path / "x"
        random_map(seed=1).save(path)
        fmap = FeatureMap.load(path)
        random_map(seed=2).save(path)
        path.unlink()
        assert torch.equal(fmap.values, random_map(seed=1).values)
