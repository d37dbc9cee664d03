"""A scene with depth, painted: three textured walls of a corner, seen by cameras that are known."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SIZE_WH = (320, 240)
FOCAL_PX = 300.0
CAMERA = np.array([[FOCAL_PX, 0, 159.5], [0, FOCAL_PX, 119.5], [0, 0, 1.0]])

# Each wall: its corner, and the edges along its texture's columns and rows.
WALLS = (
    ((-3, -2, 7), (6, 0, 0), (0, 4, 0)),
    ((-3, 2, 7), (6, 0, 0), (0, -0.4, -5)),
    ((-3, -2, 7), (0.6, 0, -5), (0, 4, 0)),
    ((0.2, -0.4, 5.5), (1.6, 0, 0.5), (0, 1.6, 0)),
)
TEXTURE_PX = 400


def wall_texture(seed):
    """Blotches of several sizes."""
    rng = np.random.default_rng(seed)
    total = np.zeros((TEXTURE_PX, TEXTURE_PX, 3))
    for cells, share in ((8, 0.3), (24, 0.3), (70, 0.4)):
        coarse = rng.uniform(0, 255, (cells, cells, 3))
        size = (TEXTURE_PX, TEXTURE_PX)
        total += share * cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return total.clip(0, 255).astype(np.uint8)


def pose(index, step=0.5):
    """Rotation and translation, camera from world; cameras go along an arc."""
    turn, _ = cv2.Rodrigues(np.array([0.02 * index, -0.07 * index, 0.01 * index]))
    centre = np.array([step * (index - 1.5), 0.12 * (index - 1.5) ** 2, -0.05 * index])
    return turn, -turn @ centre


def paint_view(index):
    """The picture that camera ``index`` takes."""
    turn, shift = pose(index)
    canvas = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8)
    for seed, (corner, across, down) in enumerate(WALLS):
        plane = np.stack([np.array(across), np.array(down), np.array(corner)], axis=1)
        to_plane = np.diag([1 / (TEXTURE_PX - 1), 1 / (TEXTURE_PX - 1), 1])
        basis = turn @ plane
        basis[:, 2] += shift
        matrix = CAMERA @ basis @ to_plane
        warped = cv2.warpPerspective(wall_texture(seed), matrix, SIZE_WH, flags=cv2.INTER_AREA)
        area = np.full((TEXTURE_PX, TEXTURE_PX), 255, np.uint8)
        seen = cv2.warpPerspective(area, matrix, SIZE_WH) > 250
        canvas[seen] = warped[seen]
    return canvas


def write_scene(folder: Path, count=4) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(paint_view(index)).save(folder / f"view{index}.png")
    return folder


def fundamental(first, second):
    """From pixels of one view to lines of another, of norm 1."""
    (turn_a, shift_a), (turn_b, shift_b) = pose(first), pose(second)
    turn = turn_b @ turn_a.T
    shift = shift_b - turn @ shift_a
    cross = np.array([[0, -shift[2], shift[1]], [shift[2], 0, -shift[0]], [-shift[1], shift[0], 0]])
    back = np.linalg.inv(CAMERA)
    matrix = back.T @ cross @ turn @ back
    return matrix / np.linalg.norm(matrix)
