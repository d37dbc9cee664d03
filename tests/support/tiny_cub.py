"""CUB-200-2011 in its original layout, with three painted birds."""

import numpy as np
from PIL import Image

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
PARTS = ("back", "beak", "left eye", "tail")
CLASSES = ("001.Red_Bird", "002.Blue_Bird", "003.Unseen_Bird")

# (class, box x y width height, parts x y visible), pictures 60 x 40.
BIRDS = (
    (1, (10, 8, 30, 20), ((14, 12, 1), (30, 12, 1), (14, 24, 1), (30, 24, 1))),
    (1, (0, 0, 40, 30), ((35, 6, 1), (6, 6, 1), (6, 25, 1), (0, 0, 0))),
    (2, (20, 10, 40, 30), ((55, 35, 1), (25, 35, 1), (0, 0, 0), (25, 15, 1))),
)


def paint(parts):
    rgb = np.full((40, 60, 3), 128, np.uint8)
    for (x, y, visible), colour in zip(parts, COLOURS, strict=True):
        if visible:
            rgb[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = colour
    return Image.fromarray(rgb)


def write_cub(root):
    """A data set of three painted birds whose parts have colours of their own."""
    (root / "parts").mkdir(parents=True)
    tables = {name: [] for name in ("images", "image_class_labels", "bounding_boxes")}
    split, locations = [], []
    for number, (label, box, parts) in enumerate(BIRDS, 1):
        name = f"{CLASSES[label - 1]}/bird_{number}.png"
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        paint(parts).save(root / "images" / name)
        tables["images"].append(f"{number} {name}")
        tables["image_class_labels"].append(f"{number} {label}")
        tables["bounding_boxes"].append(f"{number} " + " ".join(f"{v:.1f}" for v in box))
        split.append(f"{number} {number % 2}")
        for part, (x, y, visible) in enumerate(parts, 1):
            locations.append(f"{number} {part} {x:.1f} {y:.1f} {visible}")
    tables["classes"] = [f"{i} {name}" for i, name in enumerate(CLASSES, 1)]
    tables["train_test_split"] = split
    tables["parts/parts"] = [f"{i} {name}" for i, name in enumerate(PARTS, 1)]
    tables["parts/part_locs"] = locations
    for name, lines in tables.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root
