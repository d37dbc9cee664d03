"""Pictures of results as uint8 arrays (rows, columns, 3): matches, heat maps, components."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from counterpoint.errors import BadInput
from counterpoint.files import atomic_path
from counterpoint.geometry import PixelTransform
from counterpoint.images import Picture
from counterpoint.matching import Matches

Canvas = UInt8[np.ndarray, "_ _ 3"]
Spot = Float[np.ndarray, "2"]

MARGIN_PX = 12
_PAPER = (250, 250, 248)
_INK = (40, 40, 40)


def draw_matches(
    source: Picture, target: Picture, matches: Matches, *, height_px: int = 480, lines: bool = True
) -> Canvas:
    """Both pictures side by side, each match in one colour, numbered, opaque where confident.

    Args:
        source: the picture the points were given in.
        target: the other one.
        matches: what `match` returned for them.
        height_px: of the drawing.
        lines: join the points of each match.
    """
    panels, placed = _side_by_side([source, target], height_px)
    starts = placed[0].apply(matches.source_px)
    ends = placed[1].apply(matches.target_px)
    colours = distinct_colours(len(matches))
    image = Image.fromarray(panels).convert("RGBA")
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    crowded = len(matches) > 24
    for i in np.argsort(matches.confidence, kind="stable"):
        alpha = int(70 + 185 * matches.confidence[i])
        colour = (*colours[i], alpha)
        if lines:
            pen.line([*starts[i], *ends[i]], fill=(*colours[i], alpha * 2 // 3), width=2)
        for spot in (starts[i], ends[i]):
            _spot(pen, spot, colour, "" if crowded else str(i + 1), height_px)
    return np.asarray(Image.alpha_composite(image, layer).convert("RGB"))


def draw_heat(
    picture: Picture,
    similarity: Float[np.ndarray | Tensor, "rows columns"],
    point_px: ArrayLike | None = None,
    *,
    height_px: int = 480,
) -> Canvas:
    """A picture under its similarity map, from its lowest (dark) to its highest value (bright).

    Args:
        picture: the target.
        similarity: of the picture's size, as from `similarity_map`.
        point_px: where to set a cross; by default at the maximum.
        height_px: of the drawing.
    """
    scores = torch.as_tensor(similarity).float().cpu().numpy()
    if scores.shape != picture.rgb.shape[:2]:
        raise BadInput(f"expected a map of shape {picture.rgb.shape[:2]}, got {scores.shape}")
    if point_px is None:
        row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
        point_px = (float(column), float(row))
    low, high = float(scores.min()), float(scores.max())
    # The square sharpens the peak: cosines over one picture crowd together near the top.
    level = ((scores - low) / max(high - low, 1e-12)) ** 2
    heat = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2GRAY)[..., None]
    mixed = (0.35 * grey + 0.65 * heat).astype(np.uint8)
    canvas, (placed,) = _side_by_side([Picture(mixed, picture.name)], height_px)
    image = Image.fromarray(canvas)
    _cross(ImageDraw.Draw(image), placed.apply(point_px)[0], height_px)
    return np.asarray(image)


def draw_query(picture: Picture, point_px: ArrayLike, *, height_px: int = 480) -> Canvas:
    """A picture with one point marked: the left half of a heat map's pair."""
    canvas, (placed,) = _side_by_side([picture], height_px)
    image = Image.fromarray(canvas)
    _cross(ImageDraw.Draw(image), placed.apply(point_px)[0], height_px)
    return np.asarray(image)


def draw_components(
    pictures: Sequence[Picture], colours: Sequence[ArrayLike], *, height_px: int = 320
) -> Canvas:
    """Pictures above, their cells' colours (rows, columns, 3), 0 to 1, below."""
    above = [_fit_height(p.rgb, height_px) for p in pictures]
    below = [
        cv2.resize(
            (np.asarray(c, dtype=np.float32) * 255).round().astype(np.uint8),
            (top.shape[1], top.shape[0]),
            interpolation=cv2.INTER_NEAREST,
        )
        for c, top in zip(colours, above, strict=True)
    ]
    return stack_rows([join_columns(above), join_columns(below)])


def draw_strip(pictures: Sequence[Picture], *, height_px: int = 256, columns: int = 6) -> Canvas:
    """Pictures in rows, each with its name below."""
    tiles = [_captioned(_fit_height(p.rgb, height_px), p.name) for p in pictures]
    rows = [join_columns(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return stack_rows(rows)


def join_columns(panels: Sequence[Canvas]) -> Canvas:
    """Panels beside each other with a margin between."""
    height = max(p.shape[0] for p in panels)
    gap = _blank(height, MARGIN_PX)
    parts: list[Canvas] = []
    for panel in panels:
        parts += [_grow(panel, rows=height), gap]
    return np.concatenate(parts[:-1], axis=1)


def stack_rows(panels: Sequence[Canvas]) -> Canvas:
    """Panels below each other with a margin between."""
    width = max(p.shape[1] for p in panels)
    gap = _blank(MARGIN_PX, width)
    parts: list[Canvas] = []
    for panel in panels:
        parts += [_grow(panel, columns=width), gap]
    return np.concatenate(parts[:-1], axis=0)


def save_png(canvas: Canvas, path: str | Path) -> Path:
    """Write a drawing as PNG, atomically."""
    with atomic_path(path) as beside:
        Image.fromarray(canvas).save(beside, format="PNG")
    return Path(path)


def distinct_colours(count: int) -> list[tuple[int, int, int]]:
    """Bright colours as far apart in hue as they go, the same for the same count."""
    if count == 0:
        return []
    hues = (np.arange(count) * 180 / count).astype(np.uint8)
    values = np.where(np.arange(count) % 2, 200, 255).astype(np.uint8)
    hsv = np.stack([hues, np.full(count, 220, np.uint8), values], axis=1)[None]
    return [tuple(c) for c in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0].tolist()]


def _side_by_side(
    pictures: Sequence[Picture], height_px: int
) -> tuple[Canvas, list[PixelTransform]]:
    """Pictures at one height in a row, and where each picture's pixels went."""
    panels = [_fit_height(p.rgb, height_px) for p in pictures]
    placed: list[PixelTransform] = []
    left = 0
    for picture, panel in zip(pictures, panels, strict=True):
        resize = PixelTransform.resize(picture.size_wh, (panel.shape[1], panel.shape[0]))
        placed.append(resize.then(PixelTransform.pad(left, 0)))
        left += panel.shape[1] + MARGIN_PX
    return join_columns(panels), placed


def _fit_height(rgb: Canvas, height_px: int) -> Canvas:
    """At the given height, but no wider than four heights (panoramas, ribbons)."""
    rows, columns = rgb.shape[:2]
    scale = min(height_px / rows, 4 * height_px / columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(rgb), size, interpolation=how)


def _blank(rows: int, columns: int) -> Canvas:
    return np.full((rows, columns, 3), _PAPER, dtype=np.uint8)


def _grow(panel: Canvas, *, rows: int = 0, columns: int = 0) -> Canvas:
    """With blank paper below or to the right, up to a size."""
    grown = _blank(max(rows, panel.shape[0]), max(columns, panel.shape[1]))
    grown[: panel.shape[0], : panel.shape[1]] = panel
    return grown


def _captioned(panel: Canvas, text: str) -> Canvas:
    strip = Image.fromarray(_blank(24, panel.shape[1]))
    ImageDraw.Draw(strip).text((4, 3), text, fill=_INK, font=_font(15))
    return np.concatenate([panel, np.asarray(strip)])


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def _spot(
    pen: ImageDraw.ImageDraw, spot: Spot, colour: tuple[int, ...], label: str, height_px: int
) -> None:
    x, y = spot.tolist()
    r = max(3.0, height_px / 80)
    ring = (255, 255, 255, colour[-1])
    pen.ellipse([x - r, y - r, x + r, y + r], fill=colour, outline=ring, width=2)
    if label:
        pen.text(
            (x + r + 2, y - r - 4),
            label,
            fill=(255, 255, 255, 255),
            font=_font(max(12, height_px // 30)),
            stroke_width=2,
            stroke_fill=(0, 0, 0, 200),
        )


def _cross(pen: ImageDraw.ImageDraw, spot: Spot, height_px: int) -> None:
    x, y = spot.tolist()
    r = max(6.0, height_px / 40)
    for width, colour in ((5, (0, 0, 0)), (2, (255, 255, 255))):
        pen.line([x - r, y, x + r, y], fill=colour, width=width)
        pen.line([x, y - r, x, y + r], fill=colour, width=width)
