"""Pictures in their own kind: what is drawn on them leaves depth, alpha, colours and size alone.

`counterpoint.images` brings everything to 8-bit RGB for the models; here a target keeps what it
was. 16-bit grey and RGB, alpha, CMYK, JPEG's tables, colour profile and EXIF stay; only the EXIF's
rotation is carried out and set to upright. Palettes and bilevel pictures become RGB and grey: they
cannot hold new colours.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from counterpoint.errors import ImageError
from counterpoint.files import atomic_path
from counterpoint.images import EXIF_ORIENTATION, Picture, decoding, load_picture, turn_upright
from counterpoint.tasks.edits.layers import Overlay

_WRITTEN = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "PPM": ".ppm",
}
"""File formats that are written as they were read; all others become PNG."""

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Original:
    """A picture in its own kind, upright.

    Attributes:
        picture: the same as 8-bit RGB, for models and drawings.
        pixels: (rows, columns[, channels]), in the picture's own depth.
        mode: PIL's name of the kind; "RGB;16" and "RGBA;16" for 16 bits a colour.
        format: PIL's name of the file format; "" where there was no file.
        keep: what the file says beside its pixels, for PIL to save again.
    """

    picture: Picture
    pixels: np.ndarray
    mode: str
    format: str = ""
    keep: dict[str, Any] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """The ending of the file that `save` writes."""
        return _WRITTEN.get(self.format, ".png")

    def with_overlays(self, overlays: list[Overlay]) -> "Original":
        """A copy with overlays blended in, in order; elsewhere every bit is as it was."""
        pixels = self.pixels.copy()
        for overlay in overlays:
            if overlay.alpha.size:
                pixels[overlay.part] = _blended(pixels[overlay.part], overlay, self.mode)
        picture = Picture(_as_rgb(pixels, self.mode), self.picture.name)
        return Original(picture, pixels, self.mode, self.format, self.keep)

    def save(self, path: str | Path) -> Path:
        """Write the picture, atomically; the ending should be that of `suffix`."""
        with atomic_path(path) as beside:
            if self.mode.endswith(";16") and self.mode != "I;16":
                beside.write_bytes(_wide_png(self.pixels))
            else:
                image = _image(self.pixels, self.mode)
                image.save(beside, **_save_options(self.format, self.keep))
        return Path(path)


def load_original(path: str | Path) -> Original:
    """Read a picture in its own kind.

    Raises:
        ImageError: as `counterpoint.images.load_picture`.
    """
    picture = load_picture(path)
    with decoding(str(path)), Image.open(path) as image:
        wide = _wide_rgb(Path(path), image)
        format_name, upright = image.format or "", _plain(turn_upright(image))
        keep = _kept(image)  # last: it sets the rotation to upright
        pixels = np.array(upright) if wide is None else wide
        mode = upright.mode if wide is None else f"{'RGBA' if wide.shape[2] == 4 else 'RGB'};16"
    if pixels.shape[:2] != picture.rgb.shape[:2]:
        raise ImageError(f"expected {path} to be read alike twice; did it change meanwhile?")
    return Original(picture, pixels, mode, format_name, keep)


def load_rgba(path: str | Path) -> UInt8[np.ndarray, "rows columns 4"]:
    """Read a sticker: its colours and alpha, upright; opaque where the file has no alpha.

    Raises:
        ImageError: as `counterpoint.images.load_picture`.
    """
    rgb = load_picture(path).rgb
    with decoding(str(path)), Image.open(path) as image:
        upright = turn_upright(image)
        if "transparency" in upright.info or upright.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
            return np.array(upright.convert("RGBA"))
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], axis=2)


def _plain(image: Image.Image) -> Image.Image:
    """In a kind whose pixels are levels that can be mixed."""
    if image.mode in ("RGB", "L", "RGBA", "LA", "CMYK", "I;16", "F"):
        transparent = "transparency" in image.info and image.mode in ("RGB", "L")
        return image.convert("RGBA" if image.mode == "RGB" else "LA") if transparent else image
    if image.mode in ("I;16B", "I;16L", "I;16N", "I"):
        levels = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(levels.astype(np.uint16))
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _wide_rgb(path: Path, image: Image.Image) -> np.ndarray | None:
    """16-bit colours of a PNG, which PIL would cut to 8; None where there are none."""
    with path.open("rb") as file:
        head = file.read(26)
    if image.format != "PNG" or head[24] != 16 or head[25] not in (2, 6):
        return None
    read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.dtype != np.uint16 or read.ndim != 3:
        return None
    order = cv2.COLOR_BGRA2RGBA if read.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(read, order)


def _wide_png(pixels: np.ndarray) -> bytes:
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    _, data = cv2.imencode(".png", cv2.cvtColor(pixels, order))
    return data.tobytes()


def _kept(image: Image.Image) -> dict[str, Any]:
    """What a file says beside its pixels, the rotation set to upright."""
    image.load()
    keep = {name: image.info[name] for name in ("icc_profile", "dpi") if image.info.get(name)}
    try:
        exif = image.getexif()
        if EXIF_ORIENTATION in exif:
            exif[EXIF_ORIENTATION] = 1
        if len(exif):
            keep["exif"] = exif.tobytes()
    except Exception:  # damaged EXIF is not carried on
        keep.pop("exif", None)
    if image.format in ("JPEG", "MPO"):
        from PIL import JpegImagePlugin

        keep["qtables"] = getattr(image, "quantization", None)
        sampling = JpegImagePlugin.get_sampling(image)  # pyright: ignore[reportArgumentType]
        keep["subsampling"] = max(0, sampling)
    if image.format == "TIFF":
        keep["compression"] = image.info.get("compression")
    return keep


def _save_options(format_name: str, keep: dict[str, Any]) -> dict[str, Any]:
    """What PIL's writer of a format takes of what was kept."""
    known = {
        "JPEG": ("icc_profile", "dpi", "exif", "qtables", "subsampling"),
        "MPO": ("icc_profile", "dpi", "exif", "qtables", "subsampling"),
        "PNG": ("icc_profile", "dpi", "exif"),
        "WEBP": ("icc_profile", "exif"),
        "TIFF": ("icc_profile", "dpi"),
    }
    chosen = {name: keep[name] for name in known.get(format_name, ()) if keep.get(name)}
    if format_name == "WEBP":
        chosen["quality"] = 95
    if format_name == "TIFF":
        lossless = ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")
        chosen["compression"] = (
            keep["compression"] if keep.get("compression") in lossless else "raw"
        )
    return chosen


def _image(pixels: np.ndarray, mode: str) -> Image.Image:
    if mode != "CMYK":  # four channels would be taken for RGBA
        return Image.fromarray(pixels)
    return Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())


def _as_rgb(pixels: np.ndarray, mode: str) -> UInt8[np.ndarray, "rows columns 3"]:
    if mode == "CMYK":
        return np.array(_image(pixels, mode).convert("RGB"))
    if mode in ("LA", "F"):
        return load_picture(_image(pixels, mode)).rgb
    return load_picture(pixels).rgb


def _blended(under: np.ndarray, overlay: Overlay, mode: str) -> np.ndarray:
    """An overlay over pixels of any kind, in that kind."""
    alpha = overlay.alpha[..., None]
    flat = under[..., None] if under.ndim == 2 else under
    colour, white = _in_kind(overlay, mode), _white(under, mode)
    if mode.split(";")[0] in ("RGBA", "LA"):
        mixed = _over_transparent(flat / white, colour, alpha) * white
    else:
        mixed = colour * white + flat * (1 - alpha)
    if under.dtype.kind == "u":
        mixed = np.clip(np.round(mixed), 0, np.iinfo(under.dtype).max)
    mixed = np.where(alpha > 0, mixed, flat).astype(under.dtype)
    return mixed.reshape(under.shape)


def _white(pixels: np.ndarray, mode: str) -> float:
    if mode == "F":
        return 255.0 if pixels.max(initial=0) > 1 else 1.0
    return float(np.iinfo(pixels.dtype).max)


def _in_kind(overlay: Overlay, mode: str) -> np.ndarray:
    """An overlay's colours, multiplied by alpha, in a picture's own colours, 0 to 1."""
    if mode in ("L", "LA", "I;16", "F"):
        return (overlay.colour @ _GREY)[..., None]
    if mode != "CMYK":
        return overlay.colour
    plain = overlay.colour / np.maximum(overlay.alpha[..., None], 1e-6)
    image = Image.fromarray(np.round(plain.clip(0, 1) * 255).astype(np.uint8)).convert("CMYK")
    return np.asarray(image).astype(np.float32) / 255 * overlay.alpha[..., None]


def _over_transparent(under: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Porter and Duff's "over" onto pixels with an alpha of their own, 0 to 1."""
    below = under[..., -1:] * (1 - alpha)
    total = alpha + below
    mixed = (colour + under[..., :-1] * below) / np.maximum(total, 1e-6)
    return np.concatenate([mixed, total], axis=2)
