"""CUB-200-2011's layout with any number of painted birds: parts are squares of their own colour."""

from pathlib import Path

import numpy as np

from support.tiny_datasets import paint

PARTS = ("back", "beak", "left eye", "right eye", "tail")
SIZE_WH = (56, 40)


def birds(count: int, seed: int = 0):
    """Every bird's parts (x, y, visible): each bird lacks one or two, in turn."""
    rng = np.random.default_rng(seed)
    corners = np.array([(12, 8), (40, 8), (12, 30), (40, 30), (26, 19)])
    for bird in range(count):
        places = corners + rng.integers(-3, 4, corners.shape)
        shown = np.ones(len(PARTS), bool)
        shown[[bird % len(PARTS), (2 * bird) % len(PARTS)]] = False
        yield [(int(x), int(y), bool(v)) for (x, y), v in zip(places, shown, strict=True)]


def write_birds(root: Path, count: int = 12) -> Path:
    """``count`` birds of one class."""
    name = "001.Painted_Bird"
    (root / "images" / name).mkdir(parents=True)
    (root / "parts").mkdir()
    lines: dict[str, list[str]] = {
        "classes": [f"1 {name}"],
        "parts/parts": [f"{i} {part}" for i, part in enumerate(PARTS, 1)],
    }

    def add(table: str, line: str) -> None:
        lines.setdefault(table, []).append(line)

    for number, parts in enumerate(birds(count), 1):
        file = f"{name}/bird_{number}.png"
        points = [(x, y) if visible else None for x, y, visible in parts]
        paint(SIZE_WH, points).save(root / "images" / file)
        add("images", f"{number} {file}")
        add("image_class_labels", f"{number} 1")
        add("bounding_boxes", f"{number} 2 0 52 40")
        add("train_test_split", f"{number} 1")
        for part, (x, y, visible) in enumerate(parts, 1):
            place = f"{x}.0 {y}.0 1" if visible else "0.0 0.0 0"
            add("parts/part_locs", f"{number} {part} {place}")
    for table, rows in lines.items():
        (root / f"{table}.txt").write_text("\n".join(rows) + "\n")
    return root
