"""What `counterpoint track` gives: on BADJA's joints, and on a generated scene of known truth.

    python benchmarks/tracking.py badja --davis DAVIS --badja BADJA --size 416x240
    python benchmarks/tracking.py generated --out out/tracking

`badja`: joints and the animal's box are given in the first annotated frame. Printed, of the other
annotated frames: what `counterpoint bench badja` scores; how often a point is rightly said to be
visible and in its place, and which threshold of the hold would say it best; and of all frames the
mean overlap of boxes. `generated`: a camera turns and nears a cat while a disc passes over it; the
frames, tracks and a strip of pictures go to --out.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from counterpoint.backbones import load
from counterpoint.benchmarks.datasets.badja import read_badja_videos
from counterpoint.benchmarks.datasets.davis import read_davis
from counterpoint.benchmarks.videos.badja_metrics import AREA_SHARE, BadjaPCK
from counterpoint.geometry import apply_homography, from_tapvid
from counterpoint.options import Options
from counterpoint.tasks.tracking.prompts import Prompt
from counterpoint.tasks.tracking.temporal import TEMPORAL, setting_of
from counterpoint.tasks.tracking.tracker import Tracking, track_video
from counterpoint.videos import open_video


def box_of(mask):
    rows, columns = np.nonzero(mask)
    x, y = columns.min(), rows.min()
    return np.array([[x, y, columns.max() + 1 - x, rows.max() + 1 - y]], dtype=float)


def overlap(a, b):
    first, last = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    common = np.prod(np.clip(last - first, 0, None))
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def percent(which):
    return f"{100 * which.mean():.1f} %"


def badja(given):
    backbone = load(given.model)
    for animal in read_badja_videos(given.badja, given.davis, animals=given.animals).videos:
        setting = setting_of(backbone.spec, TEMPORAL)
        options = setting.options(Options(model=given.model, size=given.size))
        [sequence] = read_davis(given.davis, sequences=[animal.name]).sequences
        start = animal.annotated[0].frame
        boxes = [box_of(sequence.mask(start + i)) for i in range(len(animal))]
        shown = animal.visible[0]
        prompt = Prompt(points_px=animal.joints_px[0, shown], boxes_px=boxes[0])
        how = Tracking(propagation=setting.propagation, refine=given.refine)
        tracked = track_video(open_video(animal.frames), backbone, {0: prompt}, options, how)
        found = [one for _, one in tracked]
        report(animal, shown, [found[i] for i in animal.indices])
        overlaps = [
            [overlap(one.boxes_px[0], true), overlap(boxes[0][0], true)]
            for one, [true] in zip(found[1:], boxes[1:], strict=True)
        ]
        print("  box overlap {:.3f}, left where it was {:.3f}".format(*np.mean(overlaps, axis=0)))


def report(animal, shown, found):
    places = np.full(animal.joints_px.shape, np.nan)
    places[:, shown] = np.stack([one.points_px for one in found])
    scored = animal.joints_px, animal.visible, animal.areas_px, animal.size_wh
    share = BadjaPCK().update(animal.name, places, *scored).compute()[0].mean.value
    print(f"{animal.name}: {len(found) - 1} frames, PCK@0.2 of the area's root {share:.1f} %")
    off = np.linalg.norm(places - animal.joints_px, axis=2)[1:, shown]
    visible = animal.visible[1:, shown]
    right = visible & (off < AREA_SHARE * np.sqrt(animal.areas_px[1:, None]))
    said = np.stack([one.visible for one in found[1:]])
    print(
        f"  said visible {percent(said)}, of these visible and in place {percent(right[said])}\n"
        f"  agrees with visible and in place {percent(said == right)} (always visible "
        f"{percent(right)}), with visible {percent(said == visible)} (always {percent(visible)})"
    )
    hold = np.stack([one.hold for one in found[1:]])
    balanced = [((hold >= h)[right].mean() + (hold < h)[~right].mean()) / 2 for h in hold.ravel()]
    best = np.argmax(balanced)
    print(f"  best threshold {hold.ravel()[best]:.4f}: balanced accuracy {max(balanced):.3f}")


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
    found = from_tapvid(arrays["points"], SIZE_WH).transpose(1, 0, 2)
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
    animals.add_argument("--refine", type=int, default=0)
    animals.set_defaults(run=badja)
    cat = kinds.add_parser("generated")
    cat.add_argument("--out", default="out/tracking")
    cat.add_argument("--frames", type=int, default=24)
    cat.set_defaults(run=generated)
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    given.run(given)
