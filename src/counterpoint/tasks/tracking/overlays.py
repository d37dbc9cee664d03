"""Frames with what is followed drawn on them: masks, trails, points, limbs, boxes."""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import UInt8

from counterpoint.errors import BadInput
from counterpoint.tasks.masks import PALETTE, Mask
from counterpoint.tasks.tracking.prompts import Tracked

Canvas = UInt8[np.ndarray, "rows columns 3"]
Colour = tuple[int, int, int]

_SHIFT = 4  # OpenCV's fractional bits of coordinates
_GREY = (150, 150, 150)


class Overlay:
    """Draws frame after frame, remembering where points were.

    Args:
        colours: of the points, one each.
        box_colours: of the boxes, one each.
        limbs: pairs of points that are joined.
        names: of the points, written beside them; none by default.
        trail: over how many frames a point's way is drawn.

    >>> nobody = Tracked(None, np.zeros((0, 2)), np.zeros(0, bool), np.zeros(0),
    ...                  np.zeros((0, 4)), np.zeros(0))
    >>> Overlay([], []).draw(np.zeros((4, 6, 3), np.uint8), nobody).shape
    (4, 6, 3)
    """

    def __init__(
        self,
        colours: Sequence[Colour],
        box_colours: Sequence[Colour],
        *,
        limbs: Sequence[tuple[int, int]] = (),
        names: Sequence[str] = (),
        trail: int = 20,
    ) -> None:
        self._colours, self._box_colours = colours, box_colours
        self._limbs, self._names = limbs, names
        self._trail: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=max(1, trail))

    def draw(self, rgb: Canvas, found: Tracked) -> Canvas:
        """A frame's pixels with its results on them; the frame itself is left as it is.

        Raises:
            BadInput: results with other numbers of points or boxes than there are colours.
        """
        counts = len(found.points_px), len(found.boxes_px)
        if counts != (len(self._colours), len(self._box_colours)):
            raise BadInput(f"expected colours for {counts[0]} points and {counts[1]} boxes")
        canvas = rgb.copy() if found.mask is None else lay_mask(rgb, found.mask)
        unit = max(1.0, min(rgb.shape[:2]) / 320)
        self._draw_boxes(canvas, found, unit)
        self._trail.append((found.points_px, found.visible))
        self._draw_trails(canvas, unit)
        self._draw_limbs(canvas, found, unit)
        self._draw_points(canvas, found, unit)
        return canvas

    def _draw_boxes(self, canvas: Canvas, found: Tracked, unit: float) -> None:
        for (x, y, w, h), colour in zip(found.boxes_px, self._box_colours, strict=True):
            if np.isfinite(x + y + w + h):
                ends = _fixed((x - 0.5, y - 0.5)), _fixed((x + w - 0.5, y + h - 0.5))
                cv2.rectangle(canvas, *ends, (0, 0, 0), round(3.5 * unit), cv2.LINE_AA, _SHIFT)
                cv2.rectangle(canvas, *ends, colour, round(2 * unit), cv2.LINE_AA, _SHIFT)

    def _draw_trails(self, canvas: Canvas, unit: float) -> None:
        for (before, seen), (after, shown) in pairwise(self._trail):
            for i in np.flatnonzero(seen & shown).tolist():
                self._line(canvas, before[i], after[i], self._colours[i], 1.2 * unit)

    def _draw_limbs(self, canvas: Canvas, found: Tracked, unit: float) -> None:
        for a, b in self._limbs:
            if found.visible[a] and found.visible[b]:
                ends = found.points_px[a], found.points_px[b]
                self._line(canvas, *ends, (0, 0, 0), 3.5 * unit)
                self._line(canvas, *ends, (240, 240, 240), 1.5 * unit)

    def _draw_points(self, canvas: Canvas, found: Tracked, unit: float) -> None:
        """Seen ones full, lost ones as a small grey ring at the last guess."""
        for i, (point, seen) in enumerate(zip(found.points_px, found.visible, strict=True)):
            if not np.isfinite(point).all():
                continue
            size, at = 3.2 * unit, _fixed(point)
            if not seen:
                ring = round(0.6 * size * 2**_SHIFT)
                cv2.circle(canvas, at, ring, _GREY, max(1, round(unit)), cv2.LINE_AA, _SHIFT)
                continue
            for grown, colour in ((1.2, (0, 0, 0)), (0.5, (255, 255, 255)), (0, self._colours[i])):
                radius = round((size + grown * unit) * 2**_SHIFT)
                cv2.circle(canvas, at, radius, colour, -1, cv2.LINE_AA, _SHIFT)
            if self._names:
                self._write(canvas, self._names[i], point, unit)

    def _write(self, canvas: Canvas, text: str, point: np.ndarray, unit: float) -> None:
        x, y = (point + np.array([5.0, -4.0]) * unit).round().astype(int).tolist()
        font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.38 * unit
        thick, edge = max(1, round(unit)), max(1, round(0.7 * unit))
        # OpenCV sets thick letters wider apart: the edge is the same letters, moved.
        for dx, dy in ((-edge, 0), (edge, 0), (0, -edge), (0, edge), (0, 0)):
            colour = (0, 0, 0) if dx or dy else (255, 255, 255)
            cv2.putText(canvas, text, (x + dx, y + dy), font, scale, colour, thick, cv2.LINE_AA)

    def _line(
        self, canvas: Canvas, start: np.ndarray, end: np.ndarray, colour: Colour, width: float
    ) -> None:
        ends = _fixed(start), _fixed(end)
        cv2.line(canvas, *ends, colour, max(1, round(width)), cv2.LINE_AA, _SHIFT)


def _fixed(point: np.ndarray | tuple[float, float]) -> tuple[int, int]:
    """A place as OpenCV's fixed-point numbers, far ones held near."""
    x, y = np.clip(np.asarray(point, dtype=np.float64), -1e4, 3e4)
    return round(float(x) * 2**_SHIFT), round(float(y) * 2**_SHIFT)


def lay_mask(rgb: Canvas, mask: Mask, opacity: float = 0.45) -> Canvas:
    """A mask's objects in DAVIS' colours over a picture, their outlines opaque."""
    if mask.shape != rgb.shape[:2]:
        raise BadInput(f"expected a mask of shape {rgb.shape[:2]}, got {mask.shape}")
    mixed = (rgb * (1 - opacity) + PALETTE[mask] * opacity).round().astype(np.uint8)
    canvas = np.where((mask > 0)[..., None], mixed, rgb)
    edge = np.zeros(mask.shape, bool)
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    reach = max(1, round(min(mask.shape) / 320))
    grown = cv2.dilate(edge.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    canvas[grown & (mask > 0)] = PALETTE[mask[grown & (mask > 0)]]
    canvas[edge & (mask == 0)] = 255
    return canvas
