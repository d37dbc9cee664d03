"""Contact sheets of annotated pictures: points coloured by confidence, outlines, names."""

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from counterpoint.annotations.runs import mask_of
from counterpoint.geometry import PixelTransform
from counterpoint.images import Picture
from counterpoint.plots import draw_strip, save_png

if TYPE_CHECKING:
    from collections.abc import Iterable

    from counterpoint.plots import Canvas
    from counterpoint.tasks.annotation.annotator import Found

Text = tuple[str, tuple[int, int]]
Room = tuple[int, int, int, int]

TILE_PX = 300
_COLUMNS = 4
_NAME_PX = 12
_ROOM = 1.35  # around what is annotated, in its longer sides


def draw_sheet(tiles: "Iterable[tuple[Picture, Found, str]]", path: Path) -> Path:
    """Pictures with what was found in them, a line on each and its name below; written as PNG.

    Tiles are taken one by one: of each picture the part that is drawn stays in memory.
    """
    drawn: list[Picture] = []
    for picture, found, text in tiles:
        canvas = _written(draw_found(picture, found), [(text, (6, 17))], 14)
        drawn.append(Picture(canvas, Path(picture.name).name))
    return save_png(draw_strip(drawn, height_px=TILE_PX, columns=_COLUMNS), path)


def draw_found(picture: Picture, found: "Found") -> "Canvas":
    """The part of the picture around one thing, square, at the tile's size.

    Points go from red (confidence 0) to green (1); those that are hidden are hollow.
    """
    left, top, side = _part(picture, found)
    to_tile = PixelTransform.crop(left, top).then(
        PixelTransform.resize((side, side), (TILE_PX, TILE_PX))
    )
    matrix = to_tile.matrix()[:2]
    shrink = cv2.INTER_AREA if side > TILE_PX else cv2.INTER_CUBIC
    canvas = _cut(picture.rgb, left, top, side)
    canvas = cv2.resize(canvas, (TILE_PX, TILE_PX), interpolation=shrink)
    _draw_outline(canvas, picture, found, matrix)
    placed = to_tile.apply(found.points_px).round().astype(int).tolist()
    _draw_skeleton(canvas, found, placed)
    for row, (x, y) in enumerate(placed):
        if found.voters[row]:
            seen = bool(found.instance.visibility[row])
            _draw_point(canvas, (x, y), float(found.confidence[row]), seen)
    return _written(canvas, _names(found, placed), _NAME_PX)


def _part(picture: Picture, found: "Found") -> tuple[int, int, int]:
    """A square around what was found: left, top, side; pixels of the picture."""
    w, h = picture.size_wh
    box = found.instance.box
    points = found.points_px[found.voters > 0]
    low, high = np.array([0.0, 0.0]), np.array([w - 1.0, h - 1.0])
    if box is not None:
        low, high = np.array(box[:2]), np.array(box[:2]) + box[2:]
        if len(points):
            low, high = np.minimum(low, points.min(axis=0)), np.maximum(high, points.max(axis=0))
    room = _ROOM if box is not None else 1.0
    side = max(8, round(room * float((high - low).max())))
    left, top = ((low + high) / 2 - side / 2).round().astype(int).tolist()
    return left, top, side


def _cut(rgb: np.ndarray, left: int, top: int, side: int) -> "Canvas":
    canvas = np.full((side, side, 3), 235, np.uint8)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + side, rgb.shape[0]), min(left + side, rgb.shape[1])
    canvas[y0 - top : y1 - top, x0 - left : x1 - left] = rgb[y0:y1, x0:x1]
    return canvas


def _draw_outline(canvas: "Canvas", picture: Picture, found: "Found", matrix: np.ndarray) -> None:
    if found.instance.outline is None:
        return
    mask = mask_of(found.instance.outline, picture.size_wh).astype(np.uint8)
    there = cv2.warpAffine(mask, matrix, (TILE_PX, TILE_PX), flags=cv2.INTER_NEAREST)
    tinted = canvas[there > 0] * 0.65 + np.array([40, 120, 255]) * 0.35
    canvas[there > 0] = tinted.astype(np.uint8)
    borders, _ = cv2.findContours(there, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, borders, -1, (255, 255, 255), 1, cv2.LINE_AA)


def _draw_skeleton(canvas: "Canvas", found: "Found", placed: "list[list[int]]") -> None:
    for first, second in found.category.skeleton:
        ends = first - 1, second - 1
        if all(found.instance.visibility[end] for end in ends):
            cv2.line(canvas, placed[ends[0]], placed[ends[1]], (255, 255, 255), 1, cv2.LINE_AA)


def _colour(confidence: float) -> tuple[int, int, int]:
    hue = np.array([[[round(60 * min(max(confidence, 0.0), 1.0)), 230, 250]]], np.uint8)
    r, g, b = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return r, g, b


def _draw_point(canvas: "Canvas", at: tuple[int, int], confidence: float, seen: bool) -> None:
    cv2.circle(canvas, at, 6, (20, 20, 20), -1 if seen else 4, cv2.LINE_AA)
    cv2.circle(canvas, at, 5, _colour(confidence), -1 if seen else 2, cv2.LINE_AA)


def _names(found: "Found", placed: "list[list[int]]") -> "list[Text]":
    """Beside the points that are shown, where there is room: none on top of another."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in placed]
    font, texts = ImageFont.load_default(_NAME_PX), list[Text]()
    for row in np.argsort(found.confidence).tolist():
        name = found.category.keypoints[row]
        room = _room(placed[row], round(font.getlength(name)), taken)
        if found.instance.visibility[row] and room is not None:
            taken.append(room)
            texts.append((name, (room[0], room[3] - 2)))
    return texts


def _room(at: list[int], wide: int, taken: list[Room]) -> Room | None:
    """Right of a point, left of it, above or below: the first place that is free."""
    x, y = at
    places = (x + 8, y + 4), (x - 8 - wide, y + 4), (x - wide // 2, y - 9), (x - wide // 2, y + 19)
    for left, base in places:
        room = (left, base - _NAME_PX + 2, left + wide, base + 2)
        inside = min(room[:2]) >= 0 and max(room[2:]) <= TILE_PX
        if inside and not any(_meet(room, other) for other in taken):
            return room
    return None


def _written(canvas: "Canvas", texts: "list[Text]", size_px: int) -> "Canvas":
    """White letters with a dark edge, each from the left end of its base line."""
    image = Image.fromarray(canvas)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size_px)
    for text, at in texts:
        pen.text(at, text, "white", font, anchor="ls", stroke_width=2, stroke_fill="black")
    return np.array(image)


def _meet(a: Room, b: Room) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
