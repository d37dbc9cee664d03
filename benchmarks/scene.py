"""How true `counterpoint scene` is: a stereo pair, a plane, and painted views through COLMAP.

The stereo pair is scikit-image's `stereo_motorcycle`: matches of the database against the
disparity at the nearest pixel, and the pose of its essential matrix against a shift along x alone.
The plane is HPatches' graffiti. The painted views are those of `tests/support/tiny_scene.py`,
through COLMAP's incremental mapper at its defaults.

    python benchmarks/scene.py --model small --graffiti HPatches/extra/v_oxford_graf
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pycolmap
from PIL import Image
from skimage.data import stereo_motorcycle

from counterpoint.cli.app import main as counterpoint
from counterpoint.geometry import camera_matrix, from_colmap
from counterpoint.tasks.scenes.homography import mean_corner_error

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.tiny_scene import FOCAL_PX, pose, write_scene

STEREO_FOCAL_PX = 994.978
"""Of the pair at a quarter of its size, as its calibration file says."""

VIEWS = 6


def scene(images: Path, out: Path, *words: str) -> dict:
    """What the command found, as its scene.json has it."""
    try:
        counterpoint(["scene", str(images), "--out", str(out), *words])
    except SystemExit as stopped:
        if stopped.code == 2:
            raise
    return json.loads((out / "scene.json").read_text())


def stereo(place: Path, model: str) -> str:
    """Matches against the disparity, and the pose against the rig's."""
    left, right, disparity = stereo_motorcycle()
    images = place / "stereo"
    images.mkdir()
    for name, rgb in (("left.png", left), ("right.png", right)):
        Image.fromarray(rgb).save(images / name)
    scene(
        images,
        place / "out",
        *("--model", model, "--focal", str(STEREO_FOCAL_PX), "--threshold", "2"),
    )
    with pycolmap.Database.open(place / "out/database.db") as database:
        found = database.read_two_view_geometry(1, 2)
        first, second = (
            from_colmap(database.read_keypoints(i)[found.inlier_matches[:, i - 1], :2])
            for i in (1, 2)
        )
    column, row = first.round().astype(int).T
    shift = disparity[row, column]
    known = np.isfinite(shift)
    off = np.hypot(*(second - first + np.stack([shift, np.zeros_like(shift)], axis=1))[known].T)
    camera = camera_matrix(STEREO_FOCAL_PX, (left.shape[1], left.shape[0]))
    _, turn, along, _ = cv2.recoverPose(found.E, first, second, camera)
    turned = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    sideways = np.degrees(np.arctan2(np.hypot(*along[1:, 0]), abs(along[0, 0])))
    return (
        f"stereo pair: {len(first)} agree; of {known.sum()} with known disparity "
        f"{(off <= 2).mean():.0%} within 2 px, {(off <= 5).mean():.0%} within 5; pose "
        f"{turned:.2f} deg off in rotation, {sideways:.2f} in direction"
    )


def graffiti(folder: Path, place: Path, model: str) -> Iterator[str]:
    """Homographies of HPatches' first picture with the others."""
    pairs = place / "pairs.txt"
    pairs.write_text("".join(f"1.ppm {i}.ppm\n" for i in range(2, 7)))
    found = scene(folder, place / "graffiti", "--model", model, "--pairs", str(pairs))
    with Image.open(folder / "1.ppm") as image:
        size_wh = image.size
    for pair in found["pairs"]:
        said = f"{pair['matches']} matches, {pair['inliers']} agree"
        if pair["relation"] == "homography":
            true = np.loadtxt(folder / f"H_1_{pair['second'][0]}")
            error = mean_corner_error(pair["matrix"], true, size_wh)
            said += f"; mean corner error {error:.1f} px of {size_wh[0]} x {size_wh[1]}"
        yield f"{pair['first']} {pair['second']}: {said} {pair['reason']}"


def painted(place: Path, model: str, *focal: str) -> str:
    """Through COLMAP's mapper."""
    images = write_scene(place / "painted", VIEWS)
    out = place / f"mapped{len(focal)}"
    scene(images, out, "--model", model, "--threshold", "2", *focal)
    pycolmap.set_random_seed(0)
    maps = pycolmap.incremental_mapping(out / "database.db", images, out)
    return f"painted, {' '.join(focal) or 'no focal'}: " + "; ".join(map(mapped, maps.values()))


def mapped(model: pycolmap.Reconstruction) -> str:
    """One model of the mapper: how much of it there is, and where its cameras are."""
    views = [image for image in model.images.values() if image.has_pose]
    numbers = [int(Path(image.name).stem.removeprefix("view")) for image in views]
    true = np.array([-turn.T @ shift for turn, shift in map(pose, numbers)])
    said = (
        f"{len(views)} of {VIEWS} views, {model.num_points3D()} points, reprojection error "
        f"{model.compute_mean_reprojection_error():.2f} px"
    )
    if len(views) < 3:
        return said
    found = np.array([image.projection_center() for image in views])
    similar = pycolmap.estimate_sim3d(found, true)
    off = np.array([similar * centre for centre in found]) - true
    ends = [-turn.T @ shift for turn, shift in (pose(0), pose(VIEWS - 1))]
    apart = np.square(off).sum(axis=1).mean() ** 0.5 / np.linalg.norm(ends[0] - ends[1])
    focal = next(iter(model.cameras.values())).mean_focal_length()
    return f"{said}, centres {apart:.1%} off, focal length {focal:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="small")
    parser.add_argument("--graffiti", type=Path, help="HPatches' folder of that sequence")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        place = Path(folder)
        print(stereo(place, given.model), flush=True)
        for line in graffiti(given.graffiti, place, given.model) if given.graffiti else ():
            print(line, flush=True)
        for focal in (("--focal", str(FOCAL_PX)), ()):
            print(painted(place, given.model, *focal), flush=True)


if __name__ == "__main__":
    main()
