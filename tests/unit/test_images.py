"""Pictures of every kind, sound and broken; and their way to a model's input."""

import os
import struct
import threading
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from counterpoint import images
from counterpoint.errors import ImageError
from counterpoint.images import (
    MAX_PIXELS,
    Picture,
    find_pictures,
    fit_picture,
    load_picture,
    to_unit_floats,
)

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

ROWS, COLUMNS = 7, 13
RGB = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
GREY16 = np.random.default_rng(1).integers(0, 65536, (ROWS, COLUMNS), dtype=np.uint16)
WHITE = [255, 255, 255]


def encoded(array, kind="PNG", mode=None, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array, mode)
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def written_by_cv2(ending, array):
    """Encoded by OpenCV, another implementation; RGB or RGBA in."""
    if array.ndim == 3:
        array = array[..., [2, 1, 0, 3][: array.shape[2]]]
    done, data = cv2.imencode(ending, array)
    assert done
    return data.tobytes()


def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width, height, *, depth=8, colour=0, raw=b"\0" * 10, extra=b""):
    """A PNG by hand, which may claim any size."""
    header = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def tiff_big_endian(grey):
    """A 16-bit grey TIFF in Motorola order, uncompressed, by hand."""
    h, w = grey.shape
    data = grey.astype(">u2").tobytes()
    short = 1 << 16  # a SHORT lies in the upper half of its field
    rows = [
        *((256, 4, w), (257, 4, h), (258, 3, 16 * short), (259, 3, short), (262, 3, short)),
        *((273, 4, 0), (277, 3, short), (278, 4, h), (279, 4, len(data))),
    ]
    start = 8 + 2 + 12 * len(rows) + 4
    entries = b"".join(
        struct.pack(">HHII", tag, kind, 1, start if tag == 273 else value)
        for tag, kind, value in rows
    )
    return b"MM\0*" + struct.pack(">IH", 8, len(rows)) + entries + b"\0\0\0\0" + data


def one_line(error, *parts):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    for part in parts:
        assert part in text, text


class TestEveryKindOfSource:
    @pytest.mark.parametrize(
        "source",
        [
            RGB,
            RGB.astype(np.float32) / 255,
            RGB.astype(np.float64) / 255,
            RGB.astype(np.float16) / np.float16(255),
            (RGB.astype(np.float32) / 255).astype(">f4"),
            RGB.astype(np.uint16) * 257,
            (RGB.astype(np.uint16) * 257).astype(">u2"),
            np.asfortranarray(RGB),
            RGB[::-1, ::-1].copy()[::-1, ::-1],
            np.repeat(RGB, 3, axis=1)[:, ::3],
            np.dstack([RGB, np.full((ROWS, COLUMNS), 255, np.uint8)]),
            torch.from_numpy(RGB),
            torch.from_numpy(RGB).permute(2, 0, 1),
            torch.from_numpy(RGB).permute(2, 0, 1)[None],
            torch.from_numpy(RGB).permute(2, 0, 1).float() / 255,
            torch.from_numpy(RGB).permute(2, 0, 1).double() / 255,
            (torch.from_numpy(RGB).permute(2, 0, 1).float() / 255).requires_grad_(),
            Image.fromarray(RGB),
            encoded(RGB),
            encoded(RGB, "BMP"),
            encoded(RGB, "TIFF"),
            encoded(RGB, "PPM"),
            encoded(RGB, "WEBP", lossless=True),
            written_by_cv2(".png", RGB),
            written_by_cv2(".tiff", RGB),
        ],
        ids=lambda s: f"{type(s).__name__}-{getattr(s, 'dtype', '')}",
    )
    def test_gives_the_same_picture(self, source):
        picture = load_picture(source)
        assert (picture.rgb == RGB).all()
        assert picture.size_wh == (COLUMNS, ROWS)
        assert picture.content_hash == Picture(RGB).content_hash

    def test_from_files(self, tmp_path):
        path = tmp_path / "a.png"
        path.write_bytes(encoded(RGB))
        for source in (path, str(path)):
            picture = load_picture(source)
            assert (picture.rgb == RGB).all()
            assert picture.name == str(path)

    def test_a_picture_stays_itself(self):
        picture = Picture(RGB)
        assert load_picture(picture) is picture

    @pytest.mark.parametrize(
        "source",
        [
            RGB[..., 0],
            RGB[..., :1],
            torch.from_numpy(RGB[..., 0]),
            torch.from_numpy(RGB[..., 0])[None],
            Image.fromarray(RGB[..., 0]),
            encoded(RGB[..., 0]),
        ],
    )
    def test_grey_becomes_three_equal_channels(self, source):
        assert (load_picture(source).rgb == RGB[..., :1]).all()

    def test_jpeg_is_as_pil_decodes_it(self):
        data = encoded(RGB, "JPEG")
        assert (load_picture(data).rgb == np.asarray(Image.open(BytesIO(data)))).all()

    @pytest.mark.parametrize("mask", [np.eye(5, 7, dtype=bool), torch.eye(5, 7).bool()])
    def test_truth_values_are_black_and_white(self, mask):
        rgb = load_picture(mask).rgb
        assert rgb[0, 0].tolist() == WHITE
        assert rgb[0, 1].tolist() == [0, 0, 0]

    def test_a_pipe_such_as_a_shells_process_substitution(self, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(encoded(RGB),))
        writer.start()
        assert (load_picture(pipe).rgb == RGB).all()
        writer.join()

    @pytest.mark.parametrize(
        "name", ["with space.png", "größe ☺.png", "a[1]*.png", "-x.png", "no_ending", "text.txt"]
    )
    def test_file_names_of_every_kind(self, tmp_path, name):
        (tmp_path / name).write_bytes(encoded(RGB))
        assert (load_picture(tmp_path / name).rgb == RGB).all()
        assert find_pictures([str(tmp_path / name)]) == [tmp_path / name]


class TestTheCallersArrays:
    @pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.bool_])
    def test_read_only_arrays_are_taken_and_nothing_is_edited(self, kind):
        array = (RGB.astype(np.float32) / 255).astype(kind) if kind != np.uint8 else RGB.copy()
        before = array.copy()
        array.setflags(write=False)
        fit_picture(load_picture(array), (20, 20), "pad", 16)
        assert (array == before).all()

    @pytest.mark.parametrize("as_source", [lambda a: a, torch.from_numpy, lambda a: a[..., 0]])
    def test_later_edits_of_the_array_do_not_reach_the_picture(self, as_source):
        array = RGB.copy()
        picture = load_picture(as_source(array))
        before = picture.rgb.copy()
        array[:] = 0
        assert (picture.rgb == before).all()

    def test_a_pil_image_stays_as_it_was(self):
        image = Image.fromarray(RGB)
        image.getexif()[0x0112] = 6
        load_picture(image)
        assert image.size == (COLUMNS, ROWS)
        assert image.getexif()[0x0112] == 6


class TestDepths:
    @pytest.mark.parametrize("ending", [".png", ".tiff"])
    def test_16_bit_grey(self, ending):
        assert (load_picture(written_by_cv2(ending, GREY16)).rgb[..., 1] == GREY16 >> 8).all()

    @pytest.mark.parametrize("ending", [".png", ".tiff"])
    def test_16_bit_rgb(self, ending):
        rgb16 = np.dstack([GREY16, GREY16.T.reshape(GREY16.shape), GREY16[::-1]])
        assert (load_picture(written_by_cv2(ending, rgb16)).rgb == rgb16 >> 8).all()

    def test_16_bit_rgba_over_white(self):
        rgba16 = np.zeros((1, 2, 4), np.uint16)
        rgba16[0, 0] = (65535, 0, 0, 65535)
        found = load_picture(written_by_cv2(".png", rgba16)).rgb
        assert found.tolist() == [[[255, 0, 0], WHITE]]

    def test_big_endian_tiff(self):
        data = tiff_big_endian(GREY16)
        assert Image.open(BytesIO(data)).mode == "I;16B"
        assert (load_picture(data).rgb[..., 0] == GREY16 >> 8).all()

    @pytest.mark.parametrize("mode", ["I;16", "I"])
    def test_pils_wide_grey(self, mode):
        image = Image.fromarray(GREY16) if mode == "I;16" else Image.fromarray(GREY16.astype("i4"))
        assert image.mode == mode
        assert (load_picture(image).rgb[..., 2] == GREY16 >> 8).all()

    @pytest.mark.parametrize("mode", ["I", "F"])
    def test_grey_of_unknown_white_that_stays_below_256_is_8_bit(self, mode):
        image = Image.fromarray(RGB[..., 0]).convert(mode)
        assert (load_picture(image).rgb[..., 0] == RGB[..., 0]).all()

    def test_float_grey_of_0_to_1(self):
        image = Image.fromarray(RGB[..., 0].astype(np.float32) / 255)
        assert (load_picture(image).rgb[..., 0] == RGB[..., 0]).all()

    def test_float_grey_of_nan(self):
        with pytest.raises(ImageError, match="got NaN or infinity"):
            load_picture(Image.fromarray(np.array([[0.5, np.nan]], np.float32)))

    def test_a_16_bit_pgm(self):
        data = b"P5 2 1 65535\n" + struct.pack(">2H", 0x1234, 0xFF00)
        assert load_picture(data).rgb[0, :, 0].tolist() == [0x12, 0xFF]

    def test_1_bit(self):
        bits = np.eye(9, dtype=bool)
        for data in (encoded(Image.fromarray(bits)), encoded(Image.fromarray(bits), "TIFF")):
            assert (load_picture(data).rgb[..., 0] == bits * 255).all()

    def test_float_rounds_to_the_nearest(self):
        found = load_picture(np.array([[0.0, 0.4999 / 255, 0.5001 / 255, 1.0]])).rgb[0, :, 0]
        assert found.tolist() == [0, 0, 1, 255]

    def test_float_may_stray_by_rounding_only(self):
        assert load_picture(np.array([[-0.0005, 1.0005]])).rgb[0, :, 0].tolist() == [0, 255]


class TestColours:
    def test_cmyk_jpeg_as_photoshop_writes_it(self):
        """Adobe's are stored inverted; OpenCV is the witness."""
        flat = np.zeros((16, 16, 3), np.uint8)
        flat[:, :8] = (200, 30, 40)
        flat[:, 8:] = (250, 250, 250)
        data = encoded(Image.fromarray(flat).convert("CMYK"), "JPEG", quality=95)
        assert b"Adobe" in data
        found = load_picture(data).rgb.astype(int)
        witness = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert abs(found - flat).max() < 12
        assert abs(found - witness).max() < 12

    def test_cmyk_tiff(self):
        data = encoded(Image.fromarray(RGB).convert("CMYK"), "TIFF")
        assert (load_picture(data).rgb == RGB).all()

    def test_palette(self):
        image = Image.new("P", (2, 1))
        image.putpalette([255, 0, 0, 0, 255, 0])
        image.putpixel((1, 0), 1)
        assert load_picture(encoded(image)).rgb.tolist() == [[[255, 0, 0], [0, 255, 0]]]
        clear = encoded(image, transparency=0)
        assert load_picture(clear).rgb.tolist() == [[WHITE, [0, 255, 0]]]
        half = encoded(image, transparency=b"\x80\xff")
        assert load_picture(half).rgb.tolist() == [[[255, 127, 127], [0, 255, 0]]]

    @pytest.mark.parametrize(
        "source",
        [
            encoded(np.array([[[9, 0], [9, 255], [0, 128]]], np.uint8)),
            Image.fromarray(np.array([[[9, 0], [9, 255], [0, 128]]], np.uint8)),
            encoded(np.array([[[9, 9, 9, 0], [9, 9, 9, 255], [0, 0, 0, 128]]], np.uint8)),
            np.array([[[9, 9, 9, 0], [9, 9, 9, 255], [0, 0, 0, 128]]], np.uint8),
            np.array([[[9, 9, 9, 0], [9, 9, 9, 255], [0, 0, 0, 128]]], np.float32) / 255,
        ],
        ids=["LA png", "LA pil", "RGBA png", "array", "float array"],
    )
    def test_alpha_lies_over_white(self, source):
        assert load_picture(source).rgb[0].tolist() == [WHITE, [9] * 3, [127] * 3]

    def test_a_transparent_colour(self):
        grey = Image.fromarray(np.array([[0, 100]], np.uint8))
        assert load_picture(encoded(grey, transparency=0)).rgb[0, :, 0].tolist() == [255, 100]
        rgb = Image.fromarray(np.array([[[0, 0, 0], [1, 2, 3]]], np.uint8))
        found = load_picture(encoded(rgb, transparency=(0, 0, 0))).rgb
        assert found.tolist() == [[WHITE, [1, 2, 3]]]

    @pytest.mark.parametrize("mode", ["YCbCr", "HSV", "PA", "RGBX", "RGBa"])
    def test_rarer_modes(self, mode):
        image = Image.fromarray(np.full((2, 3, 3), 128, np.uint8))
        image = image.quantize(4).convert(mode) if mode == "PA" else image
        if mode == "RGBa":
            image = image.convert("RGBA")
        assert abs(load_picture(image.convert(mode)).rgb.astype(int) - 128).max() <= 1

    def test_a_mode_that_pil_cannot_convert(self):
        with pytest.raises(ImageError) as error:
            load_picture(Image.new("La", (2, 2)))
        one_line(error, "cannot decode PIL image")

    @pytest.mark.parametrize(
        ("kind", "options"), [("GIF", {}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
    )
    def test_of_a_film_the_first_frame(self, kind, options):
        first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
        data = encoded(first, kind, save_all=True, append_images=[second], **options)
        assert Image.open(BytesIO(data)).n_frames == 2
        assert (load_picture(data).rgb == [255, 0, 0]).all()


def stored(upright, orientation):
    """How a camera stores an upright picture under each EXIF orientation."""
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]


def with_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


class TestExif:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
    def test_every_orientation_comes_upright(self, orientation, kind):
        lossless = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(
            np.ascontiguousarray(stored(RGB, orientation)),
            kind,
            exif=with_orientation(orientation),
            **lossless,
        )
        assert (load_picture(data).rgb == RGB).all()

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_as_pil_turns_a_jpeg(self, orientation):
        data = encoded(RGB, "JPEG", exif=with_orientation(orientation))
        from PIL import ImageOps

        turned = ImageOps.exif_transpose(Image.open(BytesIO(data)))
        assert (load_picture(data).rgb == np.asarray(turned)).all()

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_16_bit_pictures_turn_too(self, orientation):
        turned = Image.fromarray(np.ascontiguousarray(stored(GREY16, orientation)))
        data = encoded(turned, exif=with_orientation(orientation))
        assert (load_picture(data).rgb[..., 0] == GREY16 >> 8).all()

    @pytest.mark.parametrize("orientation", [0, 9, 255])
    def test_orientations_that_do_not_exist_are_left(self, orientation):
        data = encoded(RGB, exif=with_orientation(orientation))
        assert (load_picture(data).rgb == RGB).all()

    @pytest.mark.parametrize(
        "exif",
        [b"Exif\0\0", b"Exif\0\0MM", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"x" * 99],
    )
    def test_damaged_exif_does_not_cost_the_picture(self, exif):
        assert load_picture(encoded(RGB, "JPEG", exif=exif)).size_wh == (COLUMNS, ROWS)


class TestBrokenFiles:
    @pytest.mark.parametrize(
        ("content", "parts"),
        [
            (b"", ["expected a picture, got an empty file"]),
            (b"only text, no picture\n" * 9, ["expected a picture (JPEG, PNG, TIFF, ...)"]),
            (b"\xff\xd8\xff", ["x.jpg"]),
            (b"\x89PNG\r\n\x1a\n", ["x.jpg"]),
            (b"GIF89a", ["x.jpg"]),
            (b"\0" * 5000, ["expected a picture"]),
            (b"P6 4 4 255\n123", ["cannot decode", "damaged or cut off"]),
            (b"P6 0 4 255\n", ["x.jpg"]),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ["expected a picture"]),
        ],
        ids=["empty", "text", "jpeg", "png", "gif", "zeros", "ppm", "ppm of width 0", "svg"],
    )
    def test_files_that_are_no_pictures(self, tmp_path, content, parts):
        (tmp_path / "x.jpg").write_bytes(content)
        with pytest.raises(ImageError) as error:
            load_picture(tmp_path / "x.jpg")
        one_line(error, "x.jpg", *parts)

    def test_missing(self, tmp_path):
        with pytest.raises(ImageError) as error:
            load_picture(tmp_path / "no such.png")
        one_line(error, "no such file", "no such.png")

    def test_a_folder(self, tmp_path):
        with pytest.raises(ImageError) as error:
            load_picture(str(tmp_path))
        one_line(error, "expected a picture, got a folder")

    def test_a_broken_link(self, tmp_path):
        (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
        with pytest.raises(ImageError, match=r"no such file: .*link\.png"):
            load_picture(tmp_path / "link.png")

    def test_a_link_to_itself(self, tmp_path):
        (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
        with pytest.raises(ImageError) as error:
            load_picture(tmp_path / "loop.png")
        one_line(error, "loop.png")

    @pytest.mark.parametrize("path", ["n" * 5000, "nul\0byte"])
    def test_names_that_no_file_can_have(self, path):
        with pytest.raises(ImageError) as error:
            load_picture(path[:300] if "\0" not in path else path)
        one_line(error)

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
    def test_permission_denied(self, tmp_path):
        (tmp_path / "x.png").write_bytes(encoded(RGB))
        (tmp_path / "x.png").chmod(0)
        with pytest.raises(ImageError, match=r"cannot read .*x\.png: Permission denied"):
            load_picture(tmp_path / "x.png")

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
    @pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9])
    def test_cut_off_is_never_half_a_picture(self, kind, share):
        data = encoded(Image.fromarray(RGB).resize((90, 70)), kind)
        with pytest.raises(ImageError) as error:
            load_picture(data[: int(len(data) * share)])
        one_line(error)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_cut_off_anywhere_is_an_error_or_the_whole_picture(self, kind):
        data = encoded(RGB, kind)
        whole = load_picture(data).rgb
        for length in range(len(data)):
            try:
                found = load_picture(data[:length]).rgb
            except ImageError as error:
                assert "\n" not in str(error)  # noqa: PT017
            else:
                assert (found == whole).all()

    @settings(max_examples=300)
    @given(
        st.sampled_from(
            [
                encoded(RGB),
                encoded(RGB, "JPEG", exif=with_orientation(6)),
                encoded(RGB, "GIF"),
                encoded(RGB, "WEBP"),
                encoded(RGB, "BMP"),
                encoded(GREY16),
            ]
        ),
        st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6),
    )
    def test_damaged_bytes_raise_nothing_else(self, data, changes):
        bytes_ = bytearray(data)
        for place, value in changes:
            bytes_[int(place * len(bytes_))] = value
        try:
            load_picture(bytes(bytes_))
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017

    def test_other_errors_of_pils_decoders_become_ours(self, monkeypatch):
        def fail(*args, **kwargs):
            raise struct.error("required argument is not an integer")

        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(ImageError) as error:
            load_picture(b"anything")
        one_line(error, "cannot decode the bytes given: required argument is not an integer")

    def test_out_of_memory_is_not_called_damage(self, monkeypatch):
        def fail(*args, **kwargs):
            raise MemoryError

        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(MemoryError):
            load_picture(b"anything")

    def test_a_film_given_by_mistake_is_not_read_to_its_end(self, tmp_path):
        with (tmp_path / "film.mp4").open("wb") as film:
            film.truncate(1 << 40)  # a tebibyte, in a sparse file
        with pytest.raises(ImageError, match="expected a picture"):
            load_picture(tmp_path / "film.mp4")


class TestAbsurdSizes:
    @pytest.mark.parametrize(
        ("width", "height"), [(2**31 - 1, 2**31 - 1), (40000, 40000), (MAX_PIXELS + 1, 1)]
    )
    def test_a_bomb_is_refused_by_its_header(self, width, height):
        with pytest.raises(ImageError) as error:
            load_picture(png(width, height))
        one_line(error, "expected at most 179 megapixels")

    def test_also_where_pils_own_guard_was_switched_off(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        with pytest.raises(ImageError) as error:
            load_picture(png(40000, 40000))
        one_line(error, "got 40000 x 40000")

    def test_between_pils_warning_and_the_limit_is_a_picture_like_any_other(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", ROWS * COLUMNS - 1)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            with Image.open(BytesIO(encoded(RGB))):
                assert [w.category for w in seen] == [Image.DecompressionBombWarning]
            assert (load_picture(encoded(RGB)).rgb == RGB).all()
        assert len(seen) == 1

    def test_a_text_chunk_that_unpacks_to_gigabytes(self):
        text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
        data = png(2, 1, raw=b"\0\1\2", extra=text)
        assert len(data) < 200_000
        with pytest.raises(ImageError) as error:
            load_picture(data)
        one_line(error)

    def test_one_pixel(self):
        picture = load_picture(encoded(RGB[:1, :1]))
        assert picture.size_wh == (1, 1)
        for fit in ("squash", "pad", "keep"):
            fitted = fit_picture(picture, (32, 16), fit, 8)
            assert (fitted.rgb == RGB[0, 0]).all()
            assert fitted.rgb.shape[0] % 8 == fitted.rgb.shape[1] % 8 == 0

    @pytest.mark.parametrize("wh", [(20000, 10), (10, 20000)])
    @pytest.mark.parametrize("fit", ["squash", "pad", "keep"])
    def test_ribbons(self, wh, fit):
        picture = load_picture(np.full((wh[1], wh[0], 3), 77, np.uint8))
        fitted = fit_picture(picture, (512, 256), fit, 64)
        rows, columns = fitted.rgb.shape[:2]
        assert (fitted.rgb == 77).all()
        assert rows % 64 == columns % 64 == 0
        if fit != "keep":
            assert (columns, rows) == (512, 256)
        corners = fitted.to_input.apply([(-0.5, -0.5), (wh[0] - 0.5, wh[1] - 0.5)])
        assert (corners >= -0.5 - 1e-6).all()
        assert (corners <= np.array([columns, rows]) - 0.5 + 1e-6).all()
        assert fitted.valid is None or fitted.valid.any()


class TestArraysThatAreNoPictures:
    @pytest.mark.parametrize(
        ("source", "part"),
        [
            (np.zeros((0, 5, 3), np.uint8), "got shape (0, 5, 3)"),
            (np.zeros((5, 0), np.uint8), "got shape (5, 0)"),
            (np.zeros(4, np.uint8), "got shape (4,)"),
            (np.array(3, np.uint8), "got shape ()"),
            (np.zeros((4, 4, 2), np.uint8), "got shape (4, 4, 2)"),
            (np.zeros((4, 4, 5)), "got shape (4, 4, 5)"),
            (np.zeros((2, 4, 4, 3), np.uint8), "got shape (2, 4, 4, 3)"),
            (np.full((2, 2), np.nan), "got NaN or infinity"),
            (np.array([[0, np.inf]]), "got NaN or infinity"),
            (np.array([[0.0, 255.0]]), "expected float pixels from 0 to 1, got 0 to 255"),
            (np.array([[-1.0, 1.0]]), "expected float pixels from 0 to 1, got -1 to 1"),
            (np.array([[0, 300]]), "got int64"),
            (np.array([[0, -1]], np.int8), "got int8"),
            (np.zeros((2, 2), np.uint32), "got uint32"),
            (np.zeros((2, 2), complex), "got complex128"),
            (np.array([["a", "b"]]), "got <U1"),
            (np.array([[None, 1]]), "got object"),
            (torch.zeros(0, 4, 4), "got shape (0, 4, 4)"),
            (torch.zeros(2, 3, 4, 4), "got shape (2, 3, 4, 4)"),
            (torch.zeros(3, 4, 4).long(), "got int64"),
            (torch.full((3, 4, 4), torch.nan), "got NaN or infinity"),
            (torch.zeros(3, 4, 4, device="meta"), "expected a dense tensor"),
            (torch.eye(3).to_sparse(), "expected a dense tensor"),
            (None, "got NoneType"),
            (7, "got int"),
            ([[1, 2]], "got list"),
            (bytearray(b"x"), "got bytearray"),
            (b"", "got an empty file: the bytes given"),
            (b"junk", "got the bytes given"),
        ],
        ids=lambda value: None if isinstance(value, str) else type(value).__name__,
    )
    def test_are_refused_in_one_line(self, source, part):
        with pytest.raises(ImageError) as error:
            load_picture(source)
        one_line(error, part)

    @pytest.mark.parametrize(
        "rgb", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
    )
    def test_a_picture_cannot_be_made_of_them_either(self, rgb):
        with pytest.raises((ImageError, TypeError)):
            Picture(rgb)


class TestContentHash:
    def test_is_of_the_pixels_whatever_the_file(self, tmp_path):
        hashes = set()
        for kind in ("PNG", "BMP", "TIFF"):
            path = tmp_path / f"x.{kind.lower()}"
            path.write_bytes(encoded(RGB, kind))
            hashes.add(load_picture(path).content_hash)
        assert len(hashes) == 1

    def test_differs_where_a_single_value_does(self):
        other = RGB.copy()
        other[3, 4, 1] ^= 1
        assert Picture(other).content_hash != Picture(RGB).content_hash

    def test_differs_for_other_shapes_of_the_same_bytes(self):
        flat = np.zeros((4, 6, 3), np.uint8)
        shapes = [(4, 6), (6, 4), (2, 12), (24, 1), (1, 24)]
        assert len({Picture(flat.reshape(*s, 3)).content_hash for s in shapes}) == len(shapes)

    def test_does_not_depend_on_the_memory_layout(self):
        assert Picture(np.asfortranarray(RGB)).content_hash == Picture(RGB).content_hash

    def test_is_pinned(self):
        """Noise and caches are keyed by it: a change would silently change every result."""
        assert Picture(np.zeros((1, 2, 3), np.uint8)).content_hash == (
            "2de326654f897e9061e141d28844280ab1a9ebc467130ba66c2836497af6a5dc"
        )


class TestFindPictures:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "deep" / "deeper").mkdir(parents=True)
        (tmp_path / "folder.jpg").mkdir()
        for name in (
            "b.JPG",
            "a.png",
            "deep/c.webp",
            "deep/deeper/d.tiff",
            "notes.txt",
            "x[1].png",
        ):
            (tmp_path / name).write_bytes(b"")
        return tmp_path

    def names(self, folder, *places):
        return [p.relative_to(folder).as_posix() for p in find_pictures([str(p) for p in places])]

    def test_of_a_folder_recursively_by_ending(self, folder):
        expected = ["a.png", "b.JPG", "deep/c.webp", "deep/deeper/d.tiff", "x[1].png"]
        assert self.names(folder, folder) == expected

    @pytest.mark.parametrize("hidden", ["._a.png", ".a.tmp-1234.png", ".thumbnails/a.png"])
    def test_hidden_files_are_passed_over(self, folder, hidden):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).touch()
        assert hidden not in self.names(folder, folder)
        assert self.names(folder, folder / hidden) == [hidden], "unless named"

    def test_below_a_hidden_folder_that_is_named(self, folder):
        (folder / ".album").mkdir()
        (folder / ".album" / "a.png").touch()
        assert self.names(folder, folder / ".album") == [".album/a.png"]

    def test_of_patterns(self, folder):
        assert self.names(folder, folder / "*.png") == ["a.png", "x[1].png"]
        assert self.names(folder, folder / "**" / "*.tiff") == ["deep/deeper/d.tiff"]

    def test_a_name_that_looks_like_a_pattern_is_a_name_first(self, folder):
        assert self.names(folder, folder / "x[1].png") == ["x[1].png"]

    def test_nothing_comes_twice(self, folder):
        assert self.names(folder, folder / "a.png", folder / "*.png", folder / "a.png") == [
            "a.png",
            "x[1].png",
        ]

    def test_files_named_are_taken_whatever_they_are(self, folder):
        """Their errors come when they are read, one by one, so that the others still run."""
        assert self.names(folder, folder / "notes.txt", folder / "gone.png") == [
            "notes.txt",
            "gone.png",
        ]

    @pytest.mark.parametrize("place", ["*.gif", "deep/*.nothing", "folder.jpg"])
    def test_a_place_without_pictures(self, folder, place):
        with pytest.raises(ImageError) as error:
            find_pictures([str(folder / place)])
        one_line(error, "found none; check folder or pattern")

    def test_a_broken_link_is_found_and_fails_alone(self, folder):
        (folder / "deep" / "link.png").symlink_to("gone.png")
        assert "deep/link.png" in self.names(folder, folder)

    def test_a_name_too_long_is_left_to_fail_when_read(self):
        [path] = find_pictures(["n" * 300])
        with pytest.raises(ImageError, match="File name too long"):
            load_picture(path)

    def test_paths_too(self, folder):
        assert find_pictures([folder / "a.png"]) == [Path(folder / "a.png")]


def dot(size_wh, centre, sigma):
    """A soft bright dot on grey, far from black and white so that bicubic does not clip."""
    w, h = size_wh
    y, x = np.mgrid[:h, :w]
    square = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    value = 60 + 150 * np.exp(-square / (2 * sigma**2))
    return Picture(np.repeat(np.round(value).astype(np.uint8)[..., None], 3, axis=2))


def centroid(rgb):
    weight = np.clip(rgb[..., 0].astype(float) - 66, 0, None)
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


class TestFitPicture:
    @pytest.mark.parametrize("fit", ["squash", "pad", "keep"])
    @pytest.mark.parametrize("multiple", [1, 8, 64])
    @pytest.mark.parametrize(
        ("own_wh", "size_wh", "centre"),
        [
            ((161, 97), (64, 64), (60.0, 40.0)),
            ((97, 161), (64, 48), (50.0, 101.0)),
            ((97, 61), (321, 203), (48.0, 30.0)),
            ((300, 200), (75, 50), (151.0, 77.0)),
            ((90, 120), (90, 120), (33.0, 71.0)),
        ],
    )
    def test_a_dot_lands_where_the_geometry_says(self, own_wh, size_wh, centre, fit, multiple):
        smaller = max(own_wh[0] / size_wh[0], own_wh[1] / size_wh[1], 1)
        fitted = fit_picture(dot(own_wh, centre, 2.5 * smaller), size_wh, fit, multiple)
        expected = fitted.to_input.apply(centre)[0]
        np.testing.assert_allclose(centroid(fitted.rgb), expected, atol=0.1)

    def test_the_dot_would_see_the_naive_rule(self):
        """At stride 4 the half-pixel rule and ``x * w / W`` differ by 0.375 px."""
        fitted = fit_picture(dot((300, 200), (151, 77), 10), (75, 50), "squash")
        naive = np.array([151, 77]) / 4
        assert (abs(centroid(fitted.rgb) - naive) > 0.3).all()

    @settings(max_examples=150)
    @given(
        st.tuples(st.integers(1, 90), st.integers(1, 90)),
        st.tuples(st.integers(1, 90), st.integers(1, 90)),
        st.sampled_from(["squash", "pad", "keep"]),
        st.sampled_from([1, 2, 7, 16]),
    )
    def test_shapes_masks_and_multiples(self, own_wh, size_wh, fit, multiple):
        picture = Picture(np.zeros((own_wh[1], own_wh[0], 3), np.uint8))
        fitted = fit_picture(picture, size_wh, fit, multiple)
        rows, columns = fitted.rgb.shape[:2]
        inner = fitted.to_input.apply([(own_wh[0] - 0.5, own_wh[1] - 0.5)])[0] + 0.5
        asked = own_wh if fit == "keep" else size_wh
        assert columns % multiple == rows % multiple == 0
        assert 0 <= columns - asked[0] < multiple
        assert 0 <= rows - asked[1] < multiple
        np.testing.assert_allclose(inner, inner.round(), atol=1e-9)
        w, h = inner.round().astype(int)
        if fitted.valid is None:
            assert (w, h) == (columns, rows)
        else:
            expected = np.zeros((rows, columns), bool)
            expected[:h, :w] = True
            assert (fitted.valid == expected).all()
        if fit == "pad":  # one side is filled, and the aspect is kept to within a pixel
            scale = min(size_wh[0] / own_wh[0], size_wh[1] / own_wh[1])
            assert w == size_wh[0] or h == size_wh[1]
            assert abs(w - max(1, own_wh[0] * scale)) <= 0.5 + 1e-9
            assert abs(h - max(1, own_wh[1] * scale)) <= 0.5 + 1e-9

    def test_keep_copies_the_pixels_and_repeats_the_edge(self):
        fitted = fit_picture(Picture(RGB), (1, 1), "keep", 8)
        assert fitted.rgb.shape == (8, 16, 3)
        assert (fitted.rgb[:ROWS, :COLUMNS] == RGB).all()
        assert (fitted.rgb[ROWS:, :COLUMNS] == RGB[-1]).all()
        assert (fitted.rgb[:ROWS, COLUMNS:] == RGB[:, -1:]).all()

    def test_a_picture_of_the_right_size_is_not_touched(self):
        for fit in ("squash", "pad", "keep"):
            fitted = fit_picture(Picture(RGB), (COLUMNS, ROWS), fit)
            assert (fitted.rgb == RGB).all()
            assert fitted.valid is None
            assert fitted.to_input == images.PixelTransform()

    def test_resizing_is_pils_bicubic(self):
        fitted = fit_picture(Picture(RGB), (31, 22), "squash")
        expected = Image.fromarray(RGB).resize((31, 22), Image.Resampling.BICUBIC)
        assert (fitted.rgb == np.asarray(expected)).all()

    def test_unit_floats(self):
        floats = to_unit_floats(RGB)
        assert floats.shape == (3, ROWS, COLUMNS)
        assert floats.dtype == np.float32
        assert floats.flags.c_contiguous
        np.testing.assert_allclose(floats[1, 2, 3], RGB[2, 3, 1] / 255)
