"""TSS' layout in miniature: a patch of random colours that moves, once into its mirror image."""

from pathlib import Path

import numpy as np
from PIL import Image

from counterpoint.benchmarks.datasets.flo import write_flo

SIZES_WH = ((30, 22), (36, 26))
PATCH = 10
PLACES = ((6, 5), (20, 12))
"""Top left corner (x, y) of the patch in both pictures."""


def patch(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (PATCH, PATCH, 3), dtype=np.uint8)


def write_pair(folder: Path, *, seed=0, flipped=False) -> Path:
    """Both pictures, masks and flows; ``flipped`` has the patch mirrored in picture 2."""
    folder.mkdir(parents=True)
    across, down = np.meshgrid(np.arange(PATCH), np.arange(PATCH))
    mirrored = PATCH - 1 - across if flipped else across
    for side in (1, 2):
        (w, h), (x, y), (u, v) = SIZES_WH[side - 1], PLACES[side - 1], PLACES[2 - side]
        rgb = np.full((h, w, 3), 128, np.uint8)
        rgb[y : y + PATCH, x : x + PATCH] = (
            patch(seed)[:, ::-1] if flipped * (side == 2) else patch(seed)
        )
        mask = np.zeros((h, w), np.uint8)
        mask[y : y + PATCH, x : x + PATCH] = 100  # whatever is not black
        flow = np.full((h, w, 2), np.nan, np.float32)
        flow[y : y + PATCH, x : x + PATCH] = np.stack(
            [u + mirrored - (x + across), v - y + 0 * down], -1
        )
        Image.fromarray(rgb).save(folder / f"image{side}.png")
        Image.fromarray(mask).save(folder / f"mask{side}.png")
        write_flo(folder / f"flow{side}.flo", flow)
    (folder / "flip_gt.txt").write_text("1" if flipped else "0")
    return folder


def write_tss(root: Path) -> Path:
    """Two cars, a horse, and a mirrored bus."""
    write_pair(root / "FG3DCar/001_005", seed=1)
    write_pair(root / "FG3DCar/001_021", seed=2)
    write_pair(root / "JODS/horse_01_02", seed=3)
    write_pair(root / "PASCAL/bus_01_03", seed=4, flipped=True)
    return root
