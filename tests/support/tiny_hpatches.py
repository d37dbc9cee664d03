"""HPatches' layout in miniature: one painted plane, seen through known homographies."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SIZE_WH = (96, 72)

HOMOGRAPHIES = (
    ((1, 0, 4), (0, 1, 2), (0, 0, 1)),
    ((1.02, 0.03, -3), (-0.02, 0.98, 3), (0, 0, 1)),
    ((0.97, -0.05, 5), (0.05, 0.97, -2), (0, 0, 1)),
    ((1.05, 0.02, -4), (0.01, 1.04, -3), (2e-4, 1e-4, 1)),
    ((1, 0.06, -2), (0.02, 1.03, -1), (-1e-4, 2e-4, 1)),
)
"""From picture 1 to pictures 2 to 6."""


def texture(seed=0, size_wh=SIZE_WH, cell=6):
    """Blotches of random colours, smooth enough to survive a warp."""
    rng = np.random.default_rng(seed)
    w, h = size_wh
    coarse = rng.integers(0, 256, (h // cell + 2, w // cell + 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC)


def warp(rgb, homography):
    matrix = np.array(homography, dtype=np.float64)
    return cv2.warpPerspective(rgb, matrix, (rgb.shape[1], rgb.shape[0]))


def write_sequence(folder: Path, *, seed=0, size_wh=SIZE_WH, identity=False) -> Path:
    """Six pictures and five homographies; an identity serves illumination changes."""
    folder.mkdir(parents=True)
    first = texture(seed, size_wh)
    Image.fromarray(first).save(folder / "1.ppm")
    for number, homography in enumerate(HOMOGRAPHIES, 2):
        matrix = np.eye(3) if identity else np.array(homography, dtype=np.float64)
        other = (first * (1 - 0.05 * number)).astype(np.uint8) if identity else warp(first, matrix)
        Image.fromarray(other).save(folder / f"{number}.ppm")
        lines = ("   ".join(f"{entry:.7e}" for entry in row) for row in matrix)
        (folder / f"H_1_{number}").write_text("\n".join(lines) + "\n")
    return folder


def write_hpatches(root: Path, names=("i_dim", "v_wall")) -> Path:
    """Sequences by name, each of another texture and, nearly, another size."""
    for k, name in enumerate(names):
        size_wh = SIZE_WH[0] + k, SIZE_WH[1]
        write_sequence(root / name, seed=k, size_wh=size_wh, identity=name.startswith("i_"))
    return root


def write_keypoints(root: Path, names, size_wh=SIZE_WH, count=40) -> Path:
    """Random key points with scores, the same in all six pictures."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, np.array(size_wh) - 1, (count, 2))
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(1, 7):
            np.savez(root / name / f"{number}.npz", keypoints=points, scores=np.arange(count))
    return root
