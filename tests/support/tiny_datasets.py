"""Data sets in their original layouts, with a handful of painted pictures.

Every key point is a square of its own colour on grey, so that the model `rgb` finds each of them.
"""

import csv
import json
from itertools import permutations
from pathlib import Path

import numpy as np
from PIL import Image

# fmt: off
COLOURS = (
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255),
    (255, 255, 255), (0, 0, 0), (255, 128, 0), (0, 128, 255),
)
# fmt: on

SIZES_WH = ((64, 48), (50, 70), (61, 61))
POINTS = (
    ((8, 8), (30, 10), (52, 12), (10, 38), (33, 36)),
    ((40, 60), (10, 58), (24, 8), (42, 30), (8, 30)),
    ((30, 30), (50, 50), (10, 50), (50, 10), (10, 10)),
)
"""Of three pictures, five points each, in the order of `COLOURS`."""

MORE = (
    ((56, 36), (20, 24), (44, 24), (20, 8), (46, 40)),
    ((25, 44), (40, 12), (10, 12), (25, 26), (10, 44)),
    ((30, 50), (30, 10), (50, 30), (10, 30), (20, 40)),
)
"""Five more of the same pictures, for data sets that need ten."""


def paint(size_wh, points, half=3):
    """A picture with a square of its own colour at each point; None: none."""
    rgb = np.full((size_wh[1], size_wh[0], 3), 128, np.uint8)
    for point, colour in zip(points, COLOURS, strict=False):
        if point is not None:
            x, y = (round(c) for c in point)
            rgb[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1] = colour
    return Image.fromarray(rgb)


def write_spair(root: Path, *, categories=("cat", "dog"), flags=True) -> Path:
    """Three pictures a category, every ordered pair in the test list, one in the small layout.

    The points of picture k lack the k-th, so that pairs share three of five.
    """
    names = []
    for category in categories:
        folder, notes = root / "JPEGImages" / category, root / "ImageAnnotation" / category
        folder.mkdir(parents=True)
        notes.mkdir(parents=True)
        for k, (size_wh, points) in enumerate(zip(SIZES_WH, POINTS, strict=True)):
            shown = [None if i == k else xy for i, xy in enumerate(points)]
            # JPEG in name; PNG inside keeps the colours.
            paint(size_wh, shown).save(folder / f"{category}_{k}.jpg", "PNG")
            note = {"category": category, "kps": {str(i): xy for i, xy in enumerate(shown)}}
            note["bndbox"] = _box(shown)
            (notes / f"{category}_{k}.json").write_text(json.dumps(note))
        for source, target in permutations(range(3), 2):
            names.append(f"{len(names) + 1:06d}-{category}_{source}-{category}_{target}:{category}")
            _write_spair_pair(root, names[-1], category, source, target, flags)
    for layout, listed in {"large": names, "small": names[::6]}.items():
        (root / "Layout" / layout).mkdir(parents=True)
        (root / "Layout" / layout / "test.txt").write_text("\n".join(listed) + "\n")
    return root


def _write_spair_pair(root, name, category, source, target, flags):
    shared = [i for i in range(5) if i not in (source, target)]
    entries = {"pair_id": int(name[:6]), "filename": name, "category": category}
    for side, k in (("src", source), ("trg", target)):
        entries[f"{side}_imname"] = f"{category}_{k}.jpg"
        entries[f"{side}_imsize"] = [*SIZES_WH[k], 3]
        entries[f"{side}_kps"] = [list(POINTS[k][i]) for i in shared]
        entries[f"{side}_bndbox"] = _box([xy for i, xy in enumerate(POINTS[k]) if i != k])
    if flags:
        entries["kps_ids"] = [str(i) for i in shared]
        entries |= {"viewpoint_variation": source, "scale_variation": target}
        entries |= {"truncation": 3 if source == 0 else 0, "occlusion": 0}
    path = root / "PairAnnotation/test" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))


def _box(points):
    shown = np.array([xy for xy in points if xy is not None])
    return [*(shown.min(axis=0) - 3).tolist(), *(shown.max(axis=0) + 3).tolist()]


def write_willow(root: Path, *, columns=True, name="test_pairs_pf.csv") -> Path:
    """Two classes of three pictures, every ordered pair of a class, the points as ``.mat`` too."""
    from scipy.io import savemat

    rows, header = [], ["imageA", "imageB"]
    header += [f"{axis}{side}{i}" for side in "AB" for axis in "XY" for i in range(1, 11)]
    for label in ("car(G)", "duck(S)"):
        folder = root / "PF-dataset" / label
        folder.mkdir(parents=True)
        tables = [np.array([*a, *b], float) + 0.25 for a, b in zip(POINTS, MORE, strict=True)]
        for k, table in enumerate(tables):
            paint(SIZES_WH[k], table).save(folder / f"pic_{k}.png")
            savemat(folder / f"pic_{k}.mat", {"pts_coord": table.T})
        for a, b in permutations(range(3), 2):
            pictures = [f"PF-dataset/{label}/pic_{k}.png" for k in (a, b)]
            rows.append([*pictures, *tables[a].T.ravel(), *tables[b].T.ravel()])
    width = len(header) if columns else 2
    with (root / name).open("w", newline="") as file:
        csv.writer(file).writerows([header[:width], *(row[:width] for row in rows)])
    return root


def write_pascal(root: Path, *, boxes=False, columns=True, name="test_pairs_pf_pascal.csv") -> Path:
    """One picture of class 3 (bird) and two of class 8 (cat); two pairs, of five and three."""
    from scipy.io import savemat

    base = root / "PF-dataset-PASCAL"
    (base / "JPEGImages").mkdir(parents=True)
    for k, points in enumerate(POINTS):
        paint(SIZES_WH[k], points).save(base / "JPEGImages" / f"p_{k}.jpg", "PNG")
        for label in ("bird", "cat") if boxes else ():
            folder = base / "Annotations" / label
            folder.mkdir(parents=True, exist_ok=True)
            table = {"kps": np.array(points, float), "bbox": np.array([_box(points)], float)}
            savemat(folder / f"p_{k}.mat", table)
    rows = [["source_image", "target_image", "class", "XA", "YA", "XB", "YB"]]
    for label, source, target, n in ((8, 0, 1, 5), (3, 2, 0, 3)):
        cells = [f"PF-dataset-PASCAL/JPEGImages/p_{k}.jpg" for k in (source, target)]
        cells.append(str(label))
        for k in (source, target):
            x, y = np.array(POINTS[k][:n], float).T
            cells += [";".join(f"{v:.4f}" for v in x), ";".join(f"{v:.4f}" for v in y)]
        rows.append(cells)
    rows = rows if columns else [row[:3] for row in rows]
    with (base / name).open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def write_ap10k(root: Path) -> Path:
    """Three animals of two species of one family, one of another; a pair of each subset."""
    animals = (
        ("Felidae", "cat", 1, 0),
        ("Felidae", "cat", 2, 1),
        ("Felidae", "lion", 3, 2),
        ("Bovidae", "cow", 4, 0),
    )
    paths = {}
    for family, species, number, k in animals:
        for folder in ("ImageAnnotation", "JPEGImages"):
            (root / folder / family / species).mkdir(parents=True, exist_ok=True)
        stem = f"{family}/{species}/{number:012d}"
        paint(SIZES_WH[k], POINTS[k]).save(root / f"JPEGImages/{stem}.jpg", "PNG")
        table = [[*xy, 2] for xy in POINTS[k]] + [[0, 0, 0]] * 12
        table[k] = [0, 0, 0]
        left, top, right, bottom = _box(POINTS[k])
        entries = {
            "keypoints": [n for row in table for n in row],
            "bbox": [left, top, right - left, bottom - top],
        }
        entries |= {"width": SIZES_WH[k][0], "height": SIZES_WH[k][1]}
        (root / f"ImageAnnotation/{stem}.json").write_text(json.dumps(entries))
        paths[number] = f"data/ap-10k/ImageAnnotation/{stem}.json"
    for folder, source, target, category in (
        ("test", 1, 2, "cat"),
        ("test_cross_species", 1, 3, "Felidae"),
        ("test_cross_family", 2, 4, "all"),
    ):
        path = root / f"PairAnnotation/{folder}/{source:012d}-{target:012d}:{category}.json"
        path.parent.mkdir(parents=True)
        pair = {"src_json_path": paths[source], "trg_json_path": paths[target]}
        path.write_text(json.dumps(pair))
    return root


def edit_json(path: Path, **changes) -> None:
    """Change entries of a JSON file; None removes one."""
    entries = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in entries.items() if v is not None}))
