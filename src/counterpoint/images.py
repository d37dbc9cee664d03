"""From anything that is a picture to RGB, and from RGB to a model's input.

Whatever comes (a path, PIL, numpy, torch; EXIF-rotated, 16 bit, CMYK, palette, with alpha) leaves
as an upright 8-bit RGB `Picture`. `fit_picture` then resizes or pads it to a model's input and
returns the `PixelTransform` that ties the two frames together.
"""

import glob
import hashlib
import os
import struct
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader, BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, UnidentifiedImageError

from counterpoint.errors import ImageError
from counterpoint.geometry import PixelTransform, SizeWH
from counterpoint.options import Fit

if TYPE_CHECKING:
    import torch

    ImageLike: TypeAlias = "str | Path | bytes | Image.Image | np.ndarray | torch.Tensor | Picture"
else:
    ImageLike = Any
"""What the API takes as a picture."""

# fmt: off
SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff",
    ".webp",
))
# fmt: on
"""File endings that `find_pictures` takes for pictures inside folders."""

MAX_PIXELS = 178_956_970
"""Larger pictures are refused as decompression bombs (PIL's own limit, twice its warning).

Between PIL's warning and this limit a picture is read like any other, without a warning.
"""

EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright 8-bit RGB picture.

    Attributes:
        rgb: (rows, columns, 3), uint8.
        name: where it came from, for messages; a path or a kind ("array").
    """

    rgb: UInt8[np.ndarray, "rows columns 3"]
    name: str = "array"

    def __post_init__(self) -> None:
        shape = self.rgb.shape
        if self.rgb.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ImageError(
                "expected pixels (rows, columns, 3) of uint8, "
                f"got {shape} of {self.rgb.dtype}; load_picture takes other kinds"
            )

    def __repr__(self) -> str:
        return "Picture({!r}, {} x {})".format(self.name, *self.size_wh)

    @property
    def size_wh(self) -> SizeWH:
        """Width and height in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the pixels and their shape: equal pictures, equal hash, whatever the file."""
        shape = struct.pack("<2q", *self.rgb.shape[:2])
        return hashlib.sha256(shape + np.ascontiguousarray(self.rgb).tobytes()).hexdigest()

    def pil(self) -> Image.Image:
        """The same as a PIL image."""
        return Image.fromarray(np.ascontiguousarray(self.rgb))


@dataclass(frozen=True, eq=False)
class FittedPicture:
    """A picture brought to a model's input size.

    Attributes:
        rgb: (rows, columns, 3), uint8, at the input's size.
        to_input: from the original's pixels to the input's.
        valid: (rows, columns), False where the input was padded; None: valid everywhere.
    """

    rgb: UInt8[np.ndarray, "rows columns 3"]
    to_input: PixelTransform
    valid: Bool[np.ndarray, "rows columns"] | None


def load_picture(source: ImageLike) -> Picture:
    """Read a picture from a path, bytes, PIL image, numpy array or torch tensor.

    Arrays: (rows, columns), (rows, columns, 1, 3 or 4); tensors: (1, 3 or 4, rows, columns) too.
    uint8 is taken as it is, uint16 by its upper byte, float as 0 to 1. EXIF rotation is applied,
    CMYK and palettes are converted, transparency is laid over white, the first frame is taken.
    The picture is a copy: what becomes of an array or PIL image later does not change it.

    Raises:
        ImageError: missing, a folder, empty, truncated, not a picture, of absurd size or shape.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, Image.Image):
        with decoding("PIL image"):
            return Picture(_to_rgb(source, "PIL image"), "PIL image")
    if isinstance(source, bytes):
        return Picture(_decode(BytesIO(source), "the bytes given"), "bytes")
    if isinstance(source, str | os.PathLike):
        return Picture(_read(Path(source)), str(source))
    if isinstance(source, np.ndarray):
        return Picture(_from_array(np.asarray(source)))
    if type(source).__module__.split(".")[0] == "torch":
        return Picture(_from_array(_channels_last(_tensor_array(source))), "tensor")
    raise ImageError(
        "expected a path, bytes, PIL image, numpy array or torch tensor, "
        f"got {type(source).__name__}"
    )


MASK_LEVEL = 32
"""From this brightness of any colour on, a mask's pixel counts; below lies JPEG's own noise."""


def load_mask(source: ImageLike) -> Bool[np.ndarray, "rows columns"]:
    """Read a mask from anything that `load_picture` reads: true where it is not black.

    Grey, black and white, and palette masks (DAVIS: any object) alike.

    Raises:
        ImageError: as `load_picture`.
    """
    return load_picture(source).rgb.max(axis=2) >= MASK_LEVEL


def find_pictures(places: list[str] | list[Path]) -> list[Path]:
    """Paths of the pictures at files, folders (recursively, by ending) and glob patterns, sorted.

    Hidden files and folders are passed over, as by patterns: thumbnails, half-written files.

    Raises:
        ImageError: a place that holds no picture.
    """
    found: list[Path] = []
    for place in places:
        path = Path(place)
        # os.path answers False where Path raises, such as for a name too long.
        if os.path.isdir(place):  # noqa: PTH112
            inside = sorted(p for p in path.rglob("*") if _is_shown_picture(p, path))
        elif os.path.exists(place) or not glob.has_magic(str(place)):  # noqa: PTH110
            inside = [path]
        else:
            inside = [Path(p) for p in sorted(glob.glob(str(place), recursive=True))]  # noqa: PTH207
            inside = [p for p in inside if p.is_file()]
        if not inside:
            raise ImageError(f"expected pictures at {place}, found none; {_what_else(path)}")
        found.extend(inside)
    return list(dict.fromkeys(found))


def _what_else(place: Path) -> str:
    """What to do where no picture was found: what a folder has instead, if anything."""
    if not os.path.isdir(place):  # noqa: PTH112
        return "check folder or pattern"
    files = (path for path in place.rglob("*") if path.suffix and path.is_file())
    endings = sorted({path.suffix.lower() for path in islice(files, 1000)})
    if not endings:
        return "check folder or pattern"
    return f"it has files of {', '.join(endings[:5])}, which are not read as pictures"


def _is_shown_picture(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and not path.is_dir()


def _read(path: Path) -> UInt8[np.ndarray, "rows columns 3"]:
    try:
        if path.is_dir():
            raise ImageError(f"expected a picture, got a folder: {path}")
        # Not read in one piece: a film given by mistake is refused by its first bytes.
        with path.open("rb") as file:
            whole = file if file.seekable() else BytesIO(file.read())
            return _decode(whole, str(path))
    except FileNotFoundError as error:
        raise ImageError(f"no such file: {path}") from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"expected the path of a picture, got {str(path)!r}: {error}") from error


def _decode(file: BytesIO | BufferedReader, name: str) -> UInt8[np.ndarray, "rows columns 3"]:
    with decoding(name):
        if not file.read(1):
            raise ImageError(f"expected a picture, got an empty file: {name}")
        file.seek(0)
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(_too_large(name, image.size))
            return _to_rgb(image, name)


@contextmanager
def decoding(name: str) -> Generator[None]:
    """Around PIL's work: its warnings are not the caller's business, its errors become ours.

    On damaged files PIL raises nearly anything (struct.error, RuntimeError, AttributeError, ...).
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"expected a picture (JPEG, PNG, TIFF, ...), got {name}{_instead(name)}"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(name, None)) from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ImageError(f"cannot decode {name}: {reason}; it is damaged or cut off") from error


def _instead(name: str) -> str:
    """What to do with a file of a kind that people take for a picture, by its ending."""
    kind = Path(name).suffix.lower().lstrip(".")
    if kind in ("heic", "heif", "psd", "cr2", "cr3", "nef", "arw", "dng", "raw", "jxl"):
        return f": {kind.upper()} cannot be read; convert it to JPEG or PNG"
    if kind in ("svg", "eps", "pdf", "ai"):
        return f": {kind.upper()} cannot be read; draw it as PNG at the size that you need"
    if kind in ("mp4", "mov", "avi", "mkv", "webm", "m4v", "mpg", "mpeg"):
        return ": a video; see `counterpoint track`, or take frames out of it"
    return ""


def _too_large(name: str, size_wh: SizeWH | None) -> str:
    came = f"{size_wh[0]} x {size_wh[1]}" if size_wh else "more"
    return f"expected at most {MAX_PIXELS / 1e6:.0f} megapixels, got {came} in {name}; shrink it"


def _to_rgb(image: Image.Image, name: str) -> UInt8[np.ndarray, "rows columns 3"]:
    if 0 in image.size:
        raise ImageError(f"expected a picture of at least 1 x 1, got {image.size} in {name}")
    image = turn_upright(image)
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return _from_array(_wide_grey(np.asarray(image), image.mode))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        front = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", front.size, "white"), front)
    return np.array(image.convert("RGB"))


def turn_upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says; where the EXIF cannot be read, as it is."""
    image.load()  # before the EXIF is asked: loading turns a TIFF by itself
    try:
        turn = _UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # whatever PIL raises on damaged EXIF, the pixels may be sound
        turn = None
    return image if turn is None else image.transpose(turn)


def _wide_grey(grey: np.ndarray, mode: str) -> np.ndarray:
    """Grey of more than 8 bits as uint16, uint8 or 0 to 1.

    PIL's modes "I" and "F" do not say what white is: 255 unless a value tells otherwise.
    """
    if mode == "F":
        return grey / (255.0 if grey.max() > 1 else 1.0)
    if mode == "I" and grey.max() <= 255:
        return np.clip(grey, 0, 255).astype(np.uint8)
    return np.clip(grey, 0, 65535).astype(np.uint16)


def _tensor_array(tensor: "torch.Tensor") -> np.ndarray:
    try:
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except (TypeError, RuntimeError) as error:  # sparse, or without data
        reason = " ".join(str(error).split())
        raise ImageError(f"expected a dense tensor of pixels: {reason}") from error


def _channels_last(array: np.ndarray) -> np.ndarray:
    """From torch's (1, 3 or 4, rows, columns), which wins where both orders would fit."""
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    return array


def _from_array(array: np.ndarray) -> UInt8[np.ndarray, "rows columns 3"]:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4))
    if not fits or 0 in array.shape:
        raise ImageError(f"expected an array (rows, columns[, 1, 3 or 4]), got shape {array.shape}")
    array = _to_uint8(array[..., None] if array.ndim == 2 else array)
    if array.shape[-1] == 4:
        return _to_rgb(Image.fromarray(np.ascontiguousarray(array)), "array")
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)), order="C")


def _to_uint8(array: np.ndarray) -> UInt8[np.ndarray, "rows columns channels"]:
    kind, width = array.dtype.kind, array.dtype.itemsize
    if (kind, width) == ("u", 1):
        return array
    if (kind, width) == ("u", 2):
        return (array >> 8).astype(np.uint8)
    if kind == "b":
        return array.astype(np.uint8) * 255
    if kind == "f":
        low, high = array.min(), array.max()
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # not so for NaN either
            came = f"{low:g} to {high:g}" if np.isfinite(array).all() else "NaN or infinity"
            raise ImageError(f"expected float pixels from 0 to 1, got {came}; divide by the white")
        return np.round(np.clip(array, 0, 1) * 255).astype(np.uint8)
    raise ImageError(
        f"expected uint8, uint16, bool or float pixels, got {array.dtype}; "
        "convert values of 0 to 255 with astype('uint8')"
    )


def fit_picture(picture: Picture, size_wh: SizeWH, fit: Fit, multiple: int = 1) -> FittedPicture:
    """Bring a picture to a model's input.

    Args:
        picture: the picture.
        size_wh: the input's size; with "keep" it is not used.
        fit: "squash": resize to ``size_wh``, the aspect ratio lost; "pad": resize to fit inside,
            pad right and bottom; "keep": no resizing.
        multiple: both sides are padded to a multiple of this (right and bottom, edge repeated).

    Resizing is PIL's bicubic, as in the DIFT paper's code.
    """
    inner = _inner_size(picture.size_wh, size_wh, fit)
    outer = inner if fit != "pad" else size_wh
    outer = (-(-outer[0] // multiple) * multiple, -(-outer[1] // multiple) * multiple)
    rgb = picture.rgb
    if inner != picture.size_wh:
        rgb = np.asarray(picture.pil().resize(inner, Image.Resampling.BICUBIC))
    to_input = PixelTransform.resize(picture.size_wh, inner)
    if outer == inner:
        return FittedPicture(rgb, to_input, None)
    right, bottom = outer[0] - inner[0], outer[1] - inner[1]
    rgb = np.pad(rgb, ((0, bottom), (0, right), (0, 0)), mode="edge")
    valid = np.zeros((outer[1], outer[0]), dtype=bool)
    valid[: inner[1], : inner[0]] = True
    return FittedPicture(rgb, to_input, valid)


def _inner_size(own_wh: SizeWH, size_wh: SizeWH, fit: Fit) -> SizeWH:
    if fit == "keep":
        return own_wh
    if fit == "squash":
        return size_wh
    scale = min(size_wh[0] / own_wh[0], size_wh[1] / own_wh[1])
    w, h = (max(1, round(side * scale)) for side in own_wh)
    return min(w, size_wh[0]), min(h, size_wh[1])


def to_unit_floats(
    rgb: UInt8[np.ndarray, "rows columns 3"],
) -> Float[np.ndarray, "3 rows columns"]:
    """Pixels as float32 from 0 to 1, channels first."""
    return np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.float32) / 255
