"""Miniature videos in the original layouts of DAVIS, JHMDB, TAP-Vid and BADJA: squares move."""

import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from counterpoint.benchmarks.datasets.badja import SIZE_WH as FULL_WH
from counterpoint.benchmarks.datasets.davis import PALETTE
from counterpoint.geometry import PixelTransform

SIZE_WH = (96, 64)
COLOURS = ((220, 40, 40), (40, 60, 220))
SIDE = 20


def places(frame, shift=0):
    """Top left corners (x, y) of both squares."""
    return (8 + 4 * frame + shift, 6 + 2 * frame), (62 - 3 * frame, 38 - shift)


def paint(frame, shift=0):
    """A frame and its mask."""
    w, h = SIZE_WH
    across, down = np.meshgrid(np.arange(w), np.arange(h))
    rgb = np.stack([90 + across // 2, 120 + down, 90 + 0 * across], axis=-1).astype(np.uint8)
    mask = np.zeros((h, w), np.uint8)
    for number, ((x, y), colour) in enumerate(zip(places(frame, shift), COLOURS, strict=True), 1):
        rgb[y : y + SIDE, x : x + SIDE] = colour
        mask[y : y + SIDE, x : x + SIDE] = number
    return rgb, mask


def save_mask(path: Path, mask, mode="P"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    if mode == "P":
        image.putpalette(PALETTE.tobytes())
    image.save(path)


def write_davis(root: Path, sequences=("one", "two"), frames=6) -> Path:
    """Two objects a sequence; lists of 2017, and of 2016 with the objects as one."""
    for shift, name in enumerate(sequences):
        for i in range(frames):
            rgb, mask = paint(i, shift)
            picture = root / f"JPEGImages/480p/{name}/{i:05}.jpg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rgb).save(picture, quality=95)
            save_mask(root / f"Annotations/480p/{name}/{i:05}.png", mask)
    for year in ("2016", "2017"):
        path = root / f"ImageSets/{year}/val.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(sequences) + "\n")
    return root


def joints_of(frame, shift=0):
    """Fifteen points on both squares, (15, 2), pixels, counted from 0."""
    (ax, ay), (bx, by) = places(frame, shift)
    offsets = np.array([(x, y) for y in (3, 10, 17) for x in (3, 10, 17)], dtype=float)
    return np.concatenate([np.add(offsets, (ax, ay)), np.add(offsets[:6], (bx, by))])


def write_jhmdb(root: Path, clips=("walk/first", "walk/second"), frames=5) -> Path:
    from scipy.io import savemat

    lines: dict[str, list[str]] = {}
    for shift, name in enumerate(clips):
        for i in range(frames):
            picture = root / f"Rename_Images/{name}/{i + 1:05}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(paint(i, shift)[0]).save(picture)
        table = np.stack([joints_of(i, shift) + 1 for i in range(frames)], axis=2)
        path = root / f"joint_positions/{name}/joint_positions.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"pos_img": table.transpose(1, 0, 2)})
        action, _, clip = name.partition("/")
        lines.setdefault(action, ["elsewhere.avi 1"]).append(f"{clip}.avi 2")
    (root / "splits").mkdir()
    for action, found in lines.items():
        (root / f"splits/{action}_test_split1.txt").write_text("\n".join(found) + "\n")
    return root


def tapvid_entry(frames=6):
    """The squares' centres as tracks, in shares of width and height; the second is hidden once."""
    rgb = np.stack([paint(i)[0] for i in range(frames)])
    centres = np.array([[np.add(p, SIDE / 2) for p in places(i)] for i in range(frames)])
    occluded = np.zeros((2, frames), bool)
    occluded[1, :2] = True
    return {
        "video": rgb,
        "points": (centres.transpose(1, 0, 2) / SIZE_WH).astype(np.float32),
        "occluded": occluded,
    }


def drifting_entry(frames=4, step=(6, 4)):
    """A window that moves over blotches: three points go the other way, one of them out of view."""
    from support.tiny_hpatches import texture

    w, h = SIZE_WH
    wide = texture(3, (w + 40, h + 40), cell=8)
    corners = [np.array(step) * i for i in range(frames)]
    rgb = np.stack([wide[y : y + h, x : x + w] for x, y in corners])
    starts = np.array([(40.0, 30.0), (70.0, 50.0), (3.0, 40.0)])
    points = np.stack([starts - corner for corner in corners], axis=1)
    return {
        "video": rgb,
        "points": ((points + 0.5) / SIZE_WH).astype(np.float32),
        "occluded": points[..., 0] < 0,
    }


def write_tapvid(path: Path, names=("a", "b"), protocol=4, make=tapvid_entry) -> Path:
    path.write_bytes(pickle.dumps({name: make() for name in names}, protocol=protocol))
    return path


def animal_joints(frame):
    """The centres of both squares, (2, 2), pixels."""
    return np.array([np.add(place, (SIDE - 1) / 2) for place in places(frame)])


def write_badja(root: Path, animals=("camel",), annotated=(1, 3, 5)) -> Path:
    """Both squares are one animal with a joint in the middle of each; a third joint is never seen.

    DAVIS lies in the root, at 480p.
    """
    write_davis(root / "DAVIS", animals)
    for animal in animals:
        entries = []
        for i in annotated:
            full = PixelTransform.resize(SIZE_WH, FULL_WH).apply(animal_joints(i))
            place = f"Full-Resolution/{animal}/{i:05}"
            entries.append(
                {
                    "image_path": f"DAVIS/JPEGImages/{place}.jpg",
                    "segmentation_path": f"DAVIS/Annotations/{place}.png",
                    "joints": [*full[:, ::-1].tolist(), [0, 0]],
                    "visibility": [True, True, False],
                }
            )
        path = root / f"joint_annotations/{animal}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(entries))
    return root
