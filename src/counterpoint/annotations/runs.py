"""Masks as run lengths: COCO's, CVAT's, and Label Studio's brush strokes; and as polygons."""

import warnings
from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from counterpoint.annotations.conventions import pixels_to_edges
from counterpoint.annotations.model import Box, Outline
from counterpoint.errors import BadInput, MissingExtra
from counterpoint.geometry import PixelTransform, SizeWH

Mask = Bool[np.ndarray, "rows columns"]
Runs = Int[np.ndarray, " runs"]


def mask_of(outline: Outline, size_wh: SizeWH) -> Mask:
    """The outline's pixels in a picture, as pycocotools sets them.

    Raises:
        BadInput: a mask of another size than the picture.
        MissingExtra: pycocotools is not installed.
    """
    if outline.mask is not None:
        if outline.mask.shape != size_wh[::-1]:
            raise BadInput(
                f"expected a mask of the picture's size {size_wh}, got {outline.mask.shape[::-1]}"
            )
        return outline.mask
    return polygons_to_mask(outline.polygons, size_wh)


def polygons_to_mask(polygons: Sequence[Float[np.ndarray, "_ 2"]], size_wh: SizeWH) -> Mask:
    """The union of polygons (corners, 2), pixels, as pycocotools sets it."""
    tools = _pycocotools()
    flat = [pixels_to_edges(polygon).ravel().tolist() for polygon in polygons]
    if not flat:
        return np.zeros(size_wh[::-1], dtype=bool)
    runs = tools.merge(tools.frPyObjects(flat, size_wh[1], size_wh[0]))
    return _decoded(runs)


def mask_to_polygons(mask: Mask) -> tuple[Float[np.ndarray, "_ 2"], ...]:
    """The outer borders of a mask's parts, (corners, 2), pixels, along the pixels' edges.

    Holes are lost, as COCO's polygons cannot say them. Traced at twice the size, so that borders
    run along the edges and not through the centres of the outermost pixels.
    """
    fine = np.repeat(np.repeat(np.pad(mask, 1).astype(np.uint8), 2, axis=0), 2, axis=1)
    traced, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    to_mask = PixelTransform.resize((2, 2), (1, 1)).then(PixelTransform.crop(1, 1))
    found: list[Float[np.ndarray, "_ 2"]] = []
    for border in traced:
        simple = cv2.approxPolyDP(border, 1.0, closed=True).reshape(-1, 2)
        corners = to_mask.apply(simple)
        if len(corners) >= 3:
            found.append(corners)
    return tuple(found)


def box_of_mask(mask: Mask) -> Box | None:
    """Around a mask's pixels, edges included; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    left, top = float(columns[0]), float(rows[0])
    return left, top, float(columns[-1]) + 1 - left, float(rows[-1]) + 1 - top


def box_of_points(points_px: Float[np.ndarray, "n 2"]) -> Box | None:
    """Around points' pixels, edges included; None without points."""
    if not len(points_px):
        return None
    low, high = pixels_to_edges(points_px).min(axis=0), pixels_to_edges(points_px).max(axis=0)
    (left, top), (w, h) = (low - 0.5).tolist(), (high - low + 1).tolist()
    return left, top, w, h


def decode_coco(segmentation: dict[str, Any], size_wh: SizeWH) -> Mask:
    """COCO's run lengths, compressed text or numbers, down the columns.

    Raises:
        BadInput: not run lengths, or of another size than the picture.
        MissingExtra: pycocotools is not installed, and the runs are compressed.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [size_wh[1], size_wh[0]]:
        raise BadInput(f"expected run lengths of size {[size_wh[1], size_wh[0]]}, got {size}")
    if isinstance(counts, list):
        return _from_runs(_whole(cast("list[Any]", counts)), (size_wh[1], size_wh[0]), order="F")
    if not isinstance(counts, str | bytes):
        raise BadInput(f"expected run lengths as text or numbers, got {type(counts).__name__}")
    raw = counts.encode() if isinstance(counts, str) else counts
    _require_complete(raw, size_wh)
    return _decoded({"size": size, "counts": raw})


def encode_coco(mask: Mask, *, compressed: bool) -> dict[str, Any]:
    """A mask as COCO's run lengths.

    Raises:
        MissingExtra: pycocotools is not installed, and ``compressed`` is asked for.
    """
    size = [mask.shape[0], mask.shape[1]]
    if not compressed:
        return {"size": size, "counts": _to_runs(mask.ravel(order="F")).tolist()}
    made = _pycocotools().encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": size, "counts": made["counts"].decode()}


def decode_cvat(text: str, box: tuple[int, int, int, int], size_wh: SizeWH) -> Mask:
    """CVAT's mask: run lengths along the rows of a part (left, top, width, height) of a picture.

    Raises:
        BadInput: runs that do not fill the part, or a part outside the picture.
    """
    left, top, w, h = box
    if min(left, top) < 0 or min(w, h) < 1 or left + w > size_wh[0] or top + h > size_wh[1]:
        raise BadInput(f"expected a mask inside the picture of {size_wh}, got {box}")
    whole = np.zeros(size_wh[::-1], dtype=bool)
    whole[top : top + h, left : left + w] = _from_runs(_whole(text.split(",")), (h, w), order="C")
    return whole


def encode_cvat(mask: Mask) -> tuple[str, tuple[int, int, int, int]]:
    """The reverse of `decode_cvat`: the runs, and the part of the picture they fill.

    Raises:
        BadInput: an empty mask.
    """
    box = box_of_mask(mask)
    if box is None:
        raise BadInput("expected a mask with some pixel, got an empty one")
    left, top, w, h = (round(side) for side in box)
    runs = _to_runs(mask[top : top + h, left : left + w].ravel())
    return ", ".join(map(str, runs.tolist())), (left, top, w, h)


def decode_brush(numbers: Sequence[Any], size_wh: SizeWH) -> Mask:
    """Label Studio's brush strokes: bytes of packed run lengths (thi.ng's rle-pack) of RGBA pixels.

    Raises:
        BadInput: damaged, or of another size than the picture.
    """
    pixels = _unpack(np.unpackbits(np.asarray(_whole(numbers), dtype=np.uint8)))
    if len(pixels) != size_wh[0] * size_wh[1] * 4:
        raise BadInput(
            f"expected a brush mask of {size_wh[0]} x {size_wh[1]} RGBA pixels, "
            f"got {len(pixels)} numbers"
        )
    return pixels.reshape(size_wh[1], size_wh[0], 4)[..., 3] > 0


def encode_brush(mask: Mask) -> list[int]:
    """A mask as Label Studio's brush strokes; see `decode_brush`."""
    values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] + 1))
    lengths = np.diff(starts, append=len(values))
    bits = [f"{len(values):032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _RUN_BITS)]
    for length, value in zip(lengths.tolist(), values[starts].tolist(), strict=True):
        parts = range(0, length, 1 << 16)
        bits += [_packed_run(min(length - start, 1 << 16), value) for start in parts]
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


_RUN_BITS = (3, 4, 8, 16)


def _packed_run(length: int, value: int) -> str:
    kind = next(i for i, bits in enumerate(_RUN_BITS) if length <= 1 << bits)
    return f"1{kind:02b}{length - 1:0{_RUN_BITS[kind]}b}{value:08b}"


class _Bits:
    """Numbers of any width from a row of bits.

    Raises:
        BadInput: read beyond the end.
    """

    def __init__(self, bits: NDArray[np.uint8]) -> None:
        self._text = "".join(map(str, bits.tolist()))
        self._at = 0

    def take(self, width: int) -> int:
        part = self._text[self._at : self._at + width]
        if len(part) < width:
            raise BadInput("expected whole brush run lengths, got them cut off")
        self._at += width
        return int(part, 2)


def _unpack(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What rle-pack packed: a count, a word's width, four run widths; then runs and literals."""
    source = _Bits(bits)
    count, width = source.take(32), source.take(5) + 1
    if width != 8 or count > 1 << 31:
        raise BadInput(f"expected brush run lengths of bytes, got words of {width} bits")
    sizes = [source.take(4) + 1 for _ in range(4)]
    out = np.zeros(count, dtype=np.uint8)
    at = 0
    while at < count:
        is_run = source.take(1)
        end = at + 1 + source.take(sizes[source.take(2)])
        if is_run:
            out[at:end] = source.take(8)
        else:
            literal = [source.take(8) for _ in range(at, min(end, count))]
            out[at : at + len(literal)] = literal
        at = end
    return out


def _to_runs(flat: Bool[np.ndarray, " pixels"]) -> Runs:
    """Lengths of runs, the first one of unset pixels, perhaps of none."""
    edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=np.int8(0)))
    return np.diff(np.concatenate([[0], edges, [len(flat)]]))


def _from_runs(runs: Runs, shape: tuple[int, int], order: str) -> Mask:
    if (runs < 0).any() or int(runs.sum()) != shape[0] * shape[1]:
        raise BadInput(
            f"expected run lengths that sum to {shape[0]} x {shape[1]} pixels, got {runs.sum()}"
        )
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _whole(numbers: Sequence[Any]) -> Runs:
    try:
        return np.asarray([int(number) for number in numbers], dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput("expected run lengths as whole numbers") from error


def _require_complete(raw: bytes, size_wh: SizeWH) -> None:
    """Compressed runs fill the picture; pycocotools reads beyond it where they do not."""
    runs: list[int] = []
    at = 0
    while at < len(raw):
        value, shift, more = 0, 0, True
        while more and at < len(raw):
            letter = raw[at] - 48
            if not 0 <= letter < 64:
                raise BadInput("expected COCO's compressed run lengths, got other text")
            value |= (letter & 0x1F) << shift
            more, at, shift = bool(letter & 0x20), at + 1, shift + 5
            if not more and letter & 0x10:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    _from_runs(np.asarray(runs, dtype=np.int64), (size_wh[1], size_wh[0]), "F")


def _decoded(runs: dict[str, Any]) -> Mask:
    tools = _pycocotools()
    with warnings.catch_warnings():  # its arrays are of an older numpy's kind
        warnings.simplefilter("ignore", DeprecationWarning)
        return tools.decode(runs).astype(bool)


def _pycocotools() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingExtra("annotate", "COCO's polygons and masks") from error
    return mask
