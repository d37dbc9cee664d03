"""Label maps as people look at them, and as files."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from counterpoint.errors import BadInput
from counterpoint.files import atomic_path
from counterpoint.images import Picture

LabelMap = UInt8[np.ndarray, "height width"]
Colours = UInt8[np.ndarray, "256 3"]

_GOLDEN = 0.381966
"""Of a turn: hues so far apart from each other stay apart however many there are."""


def part_colours() -> Colours:
    """Colour of each label, black for 0; the same whatever the number of parts."""
    numbers = np.arange(256)
    hue = np.mod(numbers * _GOLDEN - _GOLDEN + 0.0, 1.0) * 179
    value = np.array([255, 190, 230])[numbers % 3]
    saturation = np.array([230, 210, 140])[numbers // 3 % 3]
    hsv = np.stack([hue, saturation, value], axis=1).round().astype(np.uint8)
    colours = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]
    colours[0] = 0
    return colours


COLOURS = part_colours()


def save_label_map(labels: LabelMap, path: str | Path) -> Path:
    """Write labels as a palette PNG, atomically: pixel values are the labels."""
    image = Image.fromarray(labels)
    image.putpalette(COLOURS.tobytes())
    with atomic_path(path) as beside:
        image.save(beside, format="PNG", optimize=False)
    return Path(path)


def overlay_parts(picture: Picture, labels: LabelMap) -> UInt8[np.ndarray, "height width 3"]:
    """The picture under its parts' colours, their borders in dark; what has no part is greyed.

    Raises:
        BadInput: labels of another size.
    """
    if labels.shape != picture.rgb.shape[:2]:
        raise BadInput(f"expected labels of shape {picture.rgb.shape[:2]}, got {labels.shape}")
    grey = cv2.cvtColor(np.ascontiguousarray(picture.rgb), cv2.COLOR_RGB2GRAY)[..., None]
    ground = np.where(labels[..., None] > 0, picture.rgb, 0.35 * grey + 30)
    mixed = np.where(labels[..., None] > 0, 0.5 * ground + 0.5 * COLOURS[labels], ground)
    mixed[_borders(labels, max(1, round(min(labels.shape) / 300)))] = (20, 20, 20)
    return mixed.astype(np.uint8)


def _borders(labels: LabelMap, width_px: int) -> np.ndarray:
    """Pixels within about ``width_px`` of another label, (height, width) of bool."""
    kernel = np.ones((width_px + 1, width_px + 1), np.uint8)
    return cv2.dilate(labels, kernel) != cv2.erode(labels, kernel)
