"""Masks that number objects: any label image in, palette PNGs as DAVIS has them out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from counterpoint.errors import ImageError
from counterpoint.files import atomic_path
from counterpoint.geometry import SizeWH
from counterpoint.images import MASK_LEVEL, MAX_PIXELS

Mask = UInt8[np.ndarray, "height width"]

MAX_OBJECTS = 255
"""What 8 bits hold beside the background."""


def _palette() -> UInt8[np.ndarray, "256 3"]:
    """PASCAL VOC's colours: the bits of a number, dealt to red, green and blue from the top."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for bit in range(8):
        channel, place = bit % 3, 7 - bit // 3
        colours[:, channel] |= ((numbers >> bit) & 1) << place
    return colours.astype(np.uint8)


PALETTE = _palette()
"""Colours of objects 0 to 255, (256, 3)."""


@dataclass(frozen=True, eq=False)
class Objects:
    """A mask whose objects are numbered without gaps, and what each was called in its file.

    Attributes:
        mask: (rows, columns), 0 for the background, objects 1 to N.
        numbers: of each object in the file: its value, palette index, or for colours that are no
            palette's, its place in the order of appearance.
    """

    mask: Mask
    numbers: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.numbers) <= MAX_OBJECTS:
            raise ImageError(f"expected 1 to {MAX_OBJECTS} objects, got {len(self.numbers)}")

    @property
    def size_wh(self) -> SizeWH:
        """Width and height, pixels."""
        return self.mask.shape[1], self.mask.shape[0]


def load_objects(path: Path | str) -> Objects:
    """Read a label image: palette (indices count), grey of 8 or 16 bits, black and white, coloured.

    Black, or what is transparent, is the background. Colours are those of the DAVIS and VOC
    palette, or else any: each is an object, in the order of first appearance row by row. Black and
    white JPEGs are cut at half; others are refused, since their values are not exact.

    Raises:
        ImageError: missing, damaged, without an object, with more than 255 objects, or with void
            pixels (255 beside other palette indices).
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"expected a mask of at most 179 megapixels, got {path}")
            values = _values(image, path)
    except FileNotFoundError as error:
        raise ImageError(f"no such file: {path}") from error
    except ImageError:
        raise
    except Exception as error:  # PIL raises nearly anything on damaged files
        reason = " ".join(str(error).split())
        raise ImageError(f"cannot read the mask {path}: {reason}") from error
    return _numbered(values, path)


def _values(image: Image.Image, path: Path | str) -> Int[np.ndarray, "rows columns"]:
    """A number a pixel, 0 for the background."""
    if image.format in ("JPEG", "WEBP"):
        return _two_tone(image, path)
    if image.mode == "P":
        indices = np.array(image).astype(np.int64)
        if indices.max() == 255 and len(np.unique(indices)) > 2:
            raise ImageError(
                f"expected objects numbered from 1, got void pixels (255) in {path}; "
                "give them an object's number or 0"
            )
        return indices
    if image.mode in ("1", "L", "I", "I;16", "I;16L", "I;16B", "I;16N"):
        return np.array(image).astype(np.int64)
    return _from_colours(np.array(image.convert("RGBA")))


def _two_tone(image: Image.Image, path: Path | str) -> Int[np.ndarray, "rows columns"]:
    grey = np.array(image.convert("L")).astype(np.int64)
    between = (grey > 2 * MASK_LEVEL) & (grey < 255 - 2 * MASK_LEVEL)
    if between.mean() > 0.05 or np.ptp(np.array(image.convert("RGB")), axis=2).max() > 64:
        raise ImageError(
            f"expected a mask without losses, got a {image.format} of more than black and white: "
            f"{path}; save it as PNG"
        )
    return (grey > 127).astype(np.int64)


def _from_colours(rgba: UInt8[np.ndarray, "rows columns 4"]) -> Int[np.ndarray, "rows columns"]:
    rgb = np.where(rgba[..., 3:] < 128, 0, rgba[..., :3]).astype(np.int64)
    if (rgb == rgb[..., :1]).all():
        return rgb[..., 0]
    codes = rgb @ (1 << 16, 1 << 8, 1)
    found, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    known = {int(code): i for i, code in enumerate(PALETTE.astype(np.int64) @ (65536, 256, 1))}
    if all(int(code) in known for code in found):
        numbers = np.array([known[int(code)] for code in found])
    else:
        coloured = np.flatnonzero(found)
        numbers = np.zeros(len(found), np.int64)
        numbers[coloured[np.argsort(first[coloured])]] = np.arange(1, len(coloured) + 1)
    return numbers[inverse].reshape(codes.shape)


def _numbered(values: Int[np.ndarray, "rows columns"], path: Path | str) -> Objects:
    found, inverse = np.unique(np.append(values, 0), return_inverse=True)
    if found[0] < 0:
        raise ImageError(f"expected a mask of numbers from 0, got {found[0]} in {path}")
    numbers = tuple(int(number) for number in found[1:])
    if not numbers:
        raise ImageError(f"expected an object in the mask {path}, got only background")
    if len(numbers) > MAX_OBJECTS:
        raise ImageError(
            f"expected at most {MAX_OBJECTS} objects in the mask {path}, got {len(numbers)}; is it "
            "a photograph?"
        )
    mask = inverse[:-1].reshape(values.shape).astype(np.uint8)
    # Black and white is one object, whatever white's number.
    return Objects(mask, (1,) if numbers == (255,) else numbers)


def write_mask(path: Path, mask: Mask) -> None:
    """Write a mask as DAVIS has them, a palette PNG, atomically.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    image = Image.fromarray(mask)
    image.putpalette(PALETTE.tobytes())
    with atomic_path(path) as beside:
        image.save(beside, format="PNG")


def read_mask(path: Path) -> Mask:
    """A mask that `write_mask` wrote.

    Raises:
        ImageError: missing or damaged.
    """
    try:
        with Image.open(path) as image:
            return np.array(image.convert("P") if image.mode != "P" else image)
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"cannot read the mask {path}: {' '.join(str(error).split())}") from error
