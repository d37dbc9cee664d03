"""Pictures of results as uint8 arrays (rows, columns, 3): matches, heat maps, components."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.files import atomic_path
from counterpoint.geometry import PixelTransform, SizeWH
from counterpoint.images import Picture
from counterpoint.matching import Matches

Canvas = UInt8[np.ndarray, "_ _ 3"]
Spot = Float[np.ndarray, "2"]

MARGIN_PX = 12
_FINE = 2  # marks are drawn this much larger, then reduced: smooth edges
_PAPER = (250, 250, 248)
_INK = (40, 40, 40)
_FOUND, _MISSED = (40, 200, 90), (235, 60, 50)
_NUMBERED = 24  # points, above which numbers would hide the picture


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

    >>> white = Picture(np.full((60, 80, 3), 255, np.uint8))
    >>> at, one = np.array([[9.0, 9.0]]), np.ones(1)
    >>> found = Matches(at, at, one, one, 0 * one, white.size_wh, white.size_wh)
    >>> draw_matches(white, white, found, height_px=120).shape
    (120, 332, 3)

    Raises:
        BadInput: the matches are of pictures of other sizes.
    """
    if (matches.source_size_wh, matches.target_size_wh) != (source.size_wh, target.size_wh):
        raise BadInput(
            f"expected matches of pictures of {source.size_wh} and {target.size_wh}, "
            f"got of {matches.source_size_wh} and {matches.target_size_wh}"
        )
    canvas, panels = _side_by_side([source, target], height_px)
    starts = panels[0].placed.apply(matches.source_px)
    ends = panels[1].placed.apply(matches.target_px)
    colours = distinct_colours(len(matches))
    alphas = (90 + 165 * matches.confidence).astype(int).tolist()
    marks = _Marks((canvas.shape[1], canvas.shape[0]), height_px)
    crowded = len(matches) > _NUMBERED
    rising = np.argsort(matches.confidence, kind="stable").tolist()
    for i in rising if lines else ():
        marks.line(starts[i], ends[i], (*colours[i], alphas[i] * 3 // 4))
    for i in rising:
        for spot, panel in zip((starts[i], ends[i]), panels, strict=True):
            marks.spot(spot, (*colours[i], alphas[i]))
            if not crowded:
                marks.label(str(i + 1), spot, panel)
    return marks.over(canvas)


def draw_truth(
    source: Picture,
    target: Picture,
    source_px: ArrayLike,
    found_px: ArrayLike,
    true_px: ArrayLike,
    correct: ArrayLike,
    *,
    height_px: int = 480,
) -> Canvas:
    """Given points left; right where they are (rings), where they were found (dots), and the way.

    Green where found near enough, red where not; numbered where there are few.

    Args:
        source: the picture in which the points are given.
        target: the one in which they were looked for.
        source_px: (N, 2), pixels of the source.
        found_px: (N, 2), pixels of the target.
        true_px: (N, 2), pixels of the target.
        correct: (N,), whether each was found.
        height_px: of the drawing.

    >>> white = Picture(np.full((60, 80, 3), 255, np.uint8))
    >>> draw_truth(white, white, [(9, 9)], [(9, 9)], [(40, 9)], [False], height_px=120).shape
    (120, 332, 3)
    """
    canvas, (left, right) = _side_by_side([source, target], height_px)
    starts = left.placed.apply(source_px)
    ends, truths = right.placed.apply(found_px), right.placed.apply(true_px)
    hits = np.asarray(correct, dtype=bool)
    if not len(starts) == len(ends) == len(truths) == len(hits):
        raise BadInput(
            f"expected as many points everywhere, got {len(starts)}, {len(ends)}, {len(truths)} "
            f"and {len(hits)}"
        )
    marks = _Marks((canvas.shape[1], canvas.shape[0]), height_px)
    colours = [_FOUND if hit else _MISSED for hit in hits]
    for end, truth, colour in zip(ends, truths, colours, strict=True):
        marks.line(truth, end, (*colour, 190))
        marks.ring(truth, (*colour, 255))
    for number, (start, end, colour) in enumerate(zip(starts, ends, colours, strict=True), 1):
        for spot, panel in ((start, left), (end, right)):
            marks.spot(spot, (*colour, 255))
            if len(hits) <= _NUMBERED:
                marks.label(str(number), spot, panel)
    return marks.over(canvas)


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

    >>> black = Picture(np.zeros((60, 80, 3), np.uint8))
    >>> draw_heat(black, np.random.default_rng(0).random((60, 80)), height_px=120).shape
    (120, 160, 3)
    """
    scores = torch.as_tensor(similarity).detach().float().cpu().numpy()
    if scores.shape != picture.rgb.shape[:2]:
        raise BadInput(f"expected a map of shape {picture.rgb.shape[:2]}, got {scores.shape}")
    if point_px is None:
        row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
        point_px = (float(column), float(row))
    heat = cv2.applyColorMap(_levels(scores), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(np.ascontiguousarray(picture.rgb), cv2.COLOR_RGB2GRAY)[..., None]
    mixed = (0.35 * grey + 0.65 * heat).astype(np.uint8)
    return draw_query(Picture(mixed, picture.name), point_px, height_px=height_px)


def _levels(scores: Float[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    """From the lowest to the highest score, 0 to 255; -1 stands for padding and is left out."""
    if not np.isfinite(scores).all():
        raise BadInput("expected a finite similarity map, got NaN or infinity")
    high = float(scores.max())
    low = float(scores.min(where=scores > -1, initial=high))
    # The square sharpens the peak: cosines over one picture crowd together near the top.
    return (np.clip((scores - low) / max(high - low, 1e-12), 0, 1) ** 2 * 255).astype(np.uint8)


def draw_query(picture: Picture, point_px: ArrayLike, *, height_px: int = 480) -> Canvas:
    """A picture with one point marked: the left half of a heat map's pair."""
    canvas, [panel] = _side_by_side([picture], height_px)
    marks = _Marks((canvas.shape[1], canvas.shape[0]), height_px)
    marks.cross(panel.placed.apply(point_px)[0])
    return marks.over(canvas)


def draw_components(
    pictures: Sequence[Picture],
    colours: Sequence[ArrayLike],
    *,
    maps: Sequence[FeatureMap] | None = None,
    height_px: int = 320,
) -> Canvas:
    """Pictures above, their cells' colours below.

    Args:
        pictures: the pictures.
        colours: of each picture's cells, (rows, columns, 3), 0 to 1.
        maps: the feature maps that the colours are of; needed where the input was padded, to set
            each cell where it lies. By default the cells span the picture.
        height_px: of each row.

    >>> black = Picture(np.zeros((60, 80, 3), np.uint8))
    >>> draw_components([black], [np.ones((3, 4, 3))], height_px=120).shape
    (252, 160, 3)
    """
    above = [_fit_height(p.rgb, height_px) for p in pictures]
    below = [
        _shown_on((top.shape[1], top.shape[0]), np.asarray(cells, dtype=np.float32), fmap)
        for top, cells, fmap in zip(above, colours, maps or [None] * len(above), strict=True)
    ]
    return stack_rows([join_columns(above), join_columns(below)])


def _shown_on(
    size_wh: SizeWH, cells: Float[np.ndarray, "grid_rows grid_columns 3"], fmap: FeatureMap | None
) -> Canvas:
    """A drawing of the picture in which each pixel has its nearest cell's colour.

    Cells on padding, which lies right and below, take no part.
    """
    rows, columns, _ = cells.shape
    last_y, last_x = rows - 1, columns - 1
    if fmap is not None and fmap.valid is not None and bool(fmap.valid.any()):
        last_y, last_x = fmap.valid.nonzero().amax(dim=0).tolist()
    if fmap is None:
        to_grid = PixelTransform.resize(size_wh, (columns, rows))
    else:
        to_grid = PixelTransform.resize(size_wh, fmap.image_size_wh).then(fmap.to_grid)
    diagonal = np.repeat(np.arange(max(size_wh))[:, None], 2, axis=1)
    x, y = np.rint(to_grid.apply(diagonal)).astype(int).T
    x, y = x[: size_wh[0]].clip(0, last_x), y[: size_wh[1]].clip(0, last_y)
    return (np.clip(cells[y][:, x], 0, 1) * 255).round().astype(np.uint8)


def draw_strip(pictures: Sequence[Picture], *, height_px: int = 256, columns: int = 6) -> Canvas:
    """Pictures in even rows of at most ``columns``, each with its name below.

    >>> black = Picture(np.zeros((60, 80, 3), np.uint8), "night")
    >>> draw_strip([black, black], height_px=60).shape
    (84, 172, 3)
    """
    rows_needed = -(-len(pictures) // columns)
    columns = -(-len(pictures) // max(rows_needed, 1))
    tiles = [captioned(_fit_height(p.rgb, height_px), p.name) for p in pictures]
    rows = [join_columns(tiles[i : i + columns]) for i in range(0, len(tiles), max(columns, 1))]
    return stack_rows(rows)


def join_columns(panels: Sequence[Canvas]) -> Canvas:
    """Panels beside each other with a margin between."""
    _require_some(panels)
    height = max(p.shape[0] for p in panels)
    return _in_line([_grow(p, rows=height) for p in panels], _blank(height, MARGIN_PX), axis=1)


def stack_rows(panels: Sequence[Canvas]) -> Canvas:
    """Panels below each other with a margin between."""
    _require_some(panels)
    width = max(p.shape[1] for p in panels)
    return _in_line([_grow(p, columns=width) for p in panels], _blank(MARGIN_PX, width), axis=0)


def _in_line(panels: Sequence[Canvas], gap: Canvas, axis: int) -> Canvas:
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=axis)


def _require_some(panels: Sequence[Canvas]) -> None:
    if not panels:
        raise BadInput("expected at least one picture to draw, got none")


def save_png(canvas: Canvas, path: str | Path) -> Path:
    """Write a drawing as PNG, atomically.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> save_png(np.zeros((2, 3, 3), np.uint8), f"{folder}/dark.png").name
    'dark.png'
    """
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


class _Panel(NamedTuple):
    """A picture in a drawing: where its pixels went, and the first and last column it fills."""

    placed: PixelTransform
    left: int
    right: int


def _side_by_side(pictures: Sequence[Picture], height_px: int) -> tuple[Canvas, list[_Panel]]:
    """Pictures at one height in a row, and where each lies."""
    drawn = [_fit_height(p.rgb, height_px) for p in pictures]
    panels: list[_Panel] = []
    left = 0
    for picture, canvas in zip(pictures, drawn, strict=True):
        width = canvas.shape[1]
        resize = PixelTransform.resize(picture.size_wh, (width, canvas.shape[0]))
        placed = resize.then(PixelTransform.pad(left, 0))
        panels.append(_Panel(placed, left, left + width - 1))
        left += width + MARGIN_PX
    return join_columns(drawn), panels


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


def captioned(panel: Canvas, text: str) -> Canvas:
    """A drawing with a line of text below, cut to its width."""
    strip = Image.fromarray(_blank(24, panel.shape[1]))
    pen, font = ImageDraw.Draw(strip), _font(15)
    shown = " ".join(text.split())[-300:]
    while len(shown) > 1 and pen.textlength(shown, font) > panel.shape[1] - 8:
        shown = "…" + shown[2:]  # of a path, the end says most
    pen.text((4, 3), shown, fill=_INK, font=font)
    return np.concatenate([panel, np.asarray(strip)])


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


class _Marks:
    """Lines, dots and labels over a drawing, smooth at their edges.

    Args:
        size_wh: of the drawing, pixels.
        height_px: the height that sets the marks' sizes.
    """

    def __init__(self, size_wh: SizeWH, height_px: int) -> None:
        self._size_wh = size_wh
        large_wh = (size_wh[0] * _FINE, size_wh[1] * _FINE)
        self._large = PixelTransform.resize(size_wh, large_wh)
        self._layer = Image.new("RGBA", large_wh, (0, 0, 0, 0))
        self._pen = ImageDraw.Draw(self._layer)
        self._radius = max(4.0, height_px / 80)
        self._font = _font(max(12, height_px // 30) * _FINE)

    def line(self, start: Spot, end: Spot, colour: tuple[int, ...]) -> None:
        """From point to point, with a dark edge that shows it on any ground."""
        ends = self._large.apply([start, end]).ravel().tolist()
        self._pen.line(ends, fill=(0, 0, 0, colour[-1] // 2), width=4 * _FINE)
        self._pen.line(ends, fill=colour, width=2 * _FINE)

    def spot(self, spot: Spot, colour: tuple[int, ...]) -> None:
        """A dot with a light rim."""
        x, y = self._large.apply(spot)[0].tolist()
        r, rim = self._radius * _FINE, (255, 255, 255, colour[-1])
        self._pen.ellipse([x - r, y - r, x + r, y + r], colour, rim, width=2 * _FINE)

    def ring(self, spot: Spot, colour: tuple[int, ...]) -> None:
        """An open circle, wider than a dot, with a dark edge."""
        x, y = self._large.apply(spot)[0].tolist()
        r = 1.7 * self._radius * _FINE
        for width, ink in ((4, (0, 0, 0, colour[-1] // 2)), (2, colour)):
            self._pen.ellipse([x - r, y - r, x + r, y + r], None, ink, width=width * _FINE)

    def label(self, text: str, spot: Spot, panel: _Panel) -> None:
        """Right of a dot and above it, or where there is room inside the panel."""
        (x, y), gap = spot.tolist(), self._radius + 2
        width, rise = self._pen.textlength(text, self._font) / _FINE, self._radius + 4
        before = x + gap + width > panel.right and x - gap - width >= panel.left
        y = float(np.clip(y - rise, 0, max(0, self._size_wh[1] - 2 * rise - 4)))
        at = self._large.apply((x - gap - width if before else x + gap, y))[0].tolist()
        ink, edge = (255, 255, 255, 255), (0, 0, 0, 200)
        self._pen.text(at, text, ink, self._font, stroke_width=2 * _FINE, stroke_fill=edge)

    def cross(self, spot: Spot) -> None:
        """A white cross with a dark edge."""
        x, y = self._large.apply(spot)[0].tolist()
        r = 2 * self._radius * _FINE
        for width, colour in ((5, (0, 0, 0, 255)), (2, (255, 255, 255, 255))):
            self._pen.line([x - r, y, x + r, y], colour, width * _FINE)
            self._pen.line([x, y - r, x, y + r], colour, width * _FINE)

    def over(self, canvas: Canvas) -> Canvas:
        """The drawing with the marks on it."""
        marks = self._layer.reduce(_FINE)
        ground = Image.fromarray(canvas).convert("RGBA")
        return np.array(Image.alpha_composite(ground, marks).convert("RGB"))
