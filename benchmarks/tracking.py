"""What `counterpoint track` gives: on BADJA's joints, and on a generated scene of known truth.

    python benchmarks/tracking.py badja --davis DAVIS --badja BADJA --size 416x240
    python benchmarks/tracking.py generated --out out/tracking

`badja`: joints and the animal's box are given in the first annotated frame. Printed: the share of
visible joints within 0.2 of the root of the animal's area; TAP-Vid's delta_avg; how often a point
is rightly said to be visible and in its place; the mean overlap of boxes. `generated`: a camera
turns and nears a cat while a disc passes over it; the frames, tracks and a strip of pictures go to
--out.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from counterpoint.backbones import load
from counterpoint.benchmarks.datasets.badja import read_badja
from counterpoint.benchmarks.datasets.davis import read_davis
from counterpoint.geometry import apply_homography
from counterpoint.options import Options
from counterpoint.tasks.prompts import Prompt
from counterpoint.tasks.readout import read_points
from counterpoint.tasks.temporal import TEMPORAL, setting_of, temporal_input
from counterpoint.tasks.tracking import Tracker, Tracking, frame_features
from counterpoint.videos import open_video

THRESHOLDS = (1, 2, 4, 8, 16)


def box_of(mask):
    rows, columns = np.nonzero(mask)
    x, y = columns.min(), rows.min()
    return np.array([[x, y, columns.max() + 1 - x, rows.max() + 1 - y]], dtype=float)


def overlap(a, b):
    first, last = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    common = np.prod(np.clip(last - first, 0, None))
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def delta_avg(error):
    return np.mean([(error < threshold).mean() for threshold in THRESHOLDS])


def percent(which):
    return f"{100 * which.mean():.1f} %"


def badja(given):
    backbone = load(given.model)
    for animal, frames in read_badja(given.badja, given.animals).items():
        [sequence] = read_davis(given.davis, sequences=[animal]).sequences
        track_animal(animal, frames, sequence, backbone, given)


def track_animal(animal, frames, sequence, backbone, given):
    setting = setting_of(backbone.spec, TEMPORAL)
    options = setting.options(Options(model=given.model, size=given.size))
    video, shown = open_video(sequence.frames), frames[0].visible
    size_wh, start = video.size_wh, frames[0].frame
    input_wh = options.size_wh or temporal_input(size_wh, backbone.multiple)
    prompt = Prompt(
        points_px=frames[0].joints_at(size_wh)[shown], boxes_px=box_of(sequence.mask(start))
    )
    how = Tracking(propagation=setting.propagation)
    tracker = Tracker({start: prompt}, how, size_wh)
    annotated = {one.frame: one for one in frames[1:]}
    rows, boxes = [], []
    for frame in video.frames(start, frames[-1].frame + 1):
        fmap = frame_features(backbone, frame.picture, options, input_wh)
        found = tracker.step(fmap, frame.number)
        true_box, still = box_of(sequence.mask(frame.number))[0], prompt.boxes_px[0]
        boxes.append([overlap(found.boxes_px[0], true_box), overlap(still, true_box)])
        if one := annotated.get(frame.number):
            scale = np.array(size_wh) / fmap.grid_wh
            labels = tracker.memory.labels[: len(found.points_px)]
            plain = (read_points(labels).points_grid + 0.5) * scale - 0.5
            true, visible = one.joints_at(size_wh)[shown], one.visible[shown]
            near = 0.2 * np.sqrt((sequence.mask(frame.number) > 0).sum())
            places = {"copied": prompt.points_px, "label": plain, "refined": found.points_px}
            rows.append((true, visible, near, places, found.visible))
    report(animal, rows, np.array(boxes)[1:], size_wh)


def report(animal, rows, boxes, size_wh):
    visible = np.stack([row[1] for row in rows])
    print(f"{animal}: {len(rows)} frames, {visible.sum()} visible joints of {visible.size}")
    for name in ("copied", "label", "refined"):
        off = np.stack([row[3][name] - row[0] for row in rows])
        error = np.linalg.norm(off, axis=2)
        near = error < np.array([row[2] for row in rows])[:, None]
        scaled = np.linalg.norm(off * 256 / np.array(size_wh), axis=2)[visible]
        at = " ".join(f"{100 * (scaled < t).mean():.1f}" for t in THRESHOLDS)
        print(
            f"  {name:8} within 0.2 {100 * near[visible].mean():.1f}  delta_avg "
            f"{100 * delta_avg(scaled):.1f} ({at})"
        )
    said = np.stack([row[4] for row in rows])
    right = visible & near
    print(
        f"  said visible {percent(said)}, of these right {percent(right[said])}\n"
        f"  agrees with visible and in place {percent(said == right)} (always visible "
        f"{percent(right)}), with visible {percent(said == visible)} (always {percent(visible)})"
    )
    print("  box overlap {:.3f}, copied {:.3f}".format(*boxes.mean(axis=0)))


SIZE_WH = (384, 256)
MARKS = np.array([[141, 96], [292, 112], [236, 226], [215, 105], [92, 160], [128, 205]], float)
NAMES = ("left-eye", "right-eye", "nose", "brow", "cheek", "whiskers")
BOX = (196, 206, 76, 48)


def camera(i):
    """From the first frame's pixels to those of frame i: turning, nearing, moving."""
    angle, zoom, shift = 0.012 * i, 1 + 0.008 * i, (1.6 * i, -0.9 * i)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    x, y = SIZE_WH[0] / 2, SIZE_WH[1] / 2
    return np.array(
        [
            [cos, -sin, x - cos * x + sin * y + shift[0]],
            [sin, cos, y - sin * x - cos * y + shift[1]],
            [0, 0, 1],
        ]
    )


def disc(i):
    """Where the disc is, and how large: x, y, radius; it passes over both eyes."""
    return 342 - 14.0 * (i - 4), 92 + 1.0 * (i - 4), 30


def scene(count):
    from skimage.data import chelsea

    whole = np.asarray(Image.fromarray(chelsea()).resize((480, 320), Image.Resampling.LANCZOS))
    to_first = np.array([[1, 0, -48], [0, 1, -32], [0, 0, 1.0]])
    for i in range(count):
        matrix = camera(i) @ to_first
        frame = cv2.warpPerspective(
            whole, matrix, SIZE_WH, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
        )
        x, y, radius = disc(i)
        spot = (round(x * 16), round(y * 16))
        cv2.circle(frame, spot, radius * 16, (60, 90, 160), -1, cv2.LINE_AA, 4)
        true = apply_homography(camera(i), MARKS)
        yield frame, true, np.linalg.norm(true - (x, y), axis=1) <= radius


def generated(given):
    from counterpoint.cli.app import main

    out, frames = Path(given.out), Path(given.out) / "cat"
    frames.mkdir(parents=True, exist_ok=True)
    truth = []
    for i, (frame, true, hidden) in enumerate(scene(given.frames)):
        Image.fromarray(frame).save(frames / f"{i:05}.png")
        truth.append((true, hidden))
    eyes = np.zeros(SIZE_WH[::-1], np.uint8)
    cv2.ellipse(eyes, (138, 92), (42, 36), 0, 0, 360, 1, -1)
    cv2.ellipse(eyes, (293, 110), (25, 31), 20, 0, 360, 2, -1)
    Image.fromarray(eyes).save(out / "eyes.png")
    marks = [f"{name}={x},{y}" for name, (x, y) in zip(NAMES, MARKS, strict=True)]
    size = "x".join(map(str, SIZE_WH))
    asked = ["track", str(frames), "--size", size, "--out", str(out), "--model", given.model]
    marked = ["--mask", str(out / "eyes.png"), "--boxes", ",".join(map(str, BOX))]
    try:
        main([*asked, *marked, "--points", *marks, "--names"])
    except SystemExit as stopped:
        if stopped.code:
            raise
    score(out, truth)
    strip(out)


def score(out, truth):
    arrays = np.load(out / "cat.tapvid.npz")
    found = arrays["points"].transpose(1, 0, 2) * SIZE_WH - 0.5
    said = ~arrays["occluded"].T
    true, hidden = (np.stack(column) for column in zip(*truth, strict=True))
    seen = ~hidden & ((true >= 0) & (true < SIZE_WH)).all(axis=2)
    error = np.linalg.norm(found - true, axis=2)[1:]
    said, seen, hidden = said[1:], seen[1:], hidden[1:]
    print(f"error of points in sight, px: median {np.median(error[seen]):.2f}, ", end="")
    print(f"90 % below {np.quantile(error[seen], 0.9):.2f}")
    print(f"said visible: {said[seen].mean():.3f} of those in sight, {said[hidden].mean():.3f} of ")
    print(f"{hidden.sum()} behind the disc")


def strip(out):
    frames = list(open_video(out / "cat.mp4"))
    chosen = [frames[i].rgb for i in np.linspace(0, len(frames) - 1, 6).round().astype(int)]
    rows = [np.concatenate(chosen[k : k + 3], axis=1) for k in (0, 3)]
    Image.fromarray(np.concatenate(rows)).save(out / "track.jpg", quality=85)
    print(f"wrote {out / 'track.jpg'}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="small")
    kinds = parser.add_subparsers(required=True)
    animals = kinds.add_parser("badja")
    animals.add_argument("--davis", required=True)
    animals.add_argument("--badja", required=True)
    animals.add_argument("--size")
    animals.add_argument("--animals", nargs="+")
    animals.set_defaults(run=badja)
    cat = kinds.add_parser("generated")
    cat.add_argument("--out", default="out/tracking")
    cat.add_argument("--frames", type=int, default=24)
    cat.set_defaults(run=generated)
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    given.run(given)
