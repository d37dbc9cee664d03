"""Edits carried to pictures where the truth is known, and to pictures that do not show the object.

A square is carried from a source to a target; the error is the mean distance of its corners (of a
scene with depth: of the points inside it, median) from the truth, pixels of the target.

    python benchmarks/edits.py --across objects
    python benchmarks/edits.py --across views --graffiti v_oxford_graf
    python benchmarks/edits.py --spair SPair-71k --pictures out

``known``: scikit-image's pictures against themselves, warped. ``stereo``: its motorcycle, left to
right, by the measured disparity. ``graffiti``: Oxford's graffiti wall (Mikolajczyk et al. 2005), a
folder in HPatches' layout. ``strangers``: every source on the others' pictures, where refusing is
right. With ``--spair`` instead: cats to cats and dogs to dogs, a square over the middle of the
source's key points; its error is the median over the key points inside, in the target box's longer
side.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data

from counterpoint.backbones import load
from counterpoint.geometry import apply_homography
from counterpoint.images import Picture, load_picture
from counterpoint.matching import PreparedMap
from counterpoint.options import Options
from counterpoint.plots import draw_strip, save_png
from counterpoint.tasks.edits.carry import CarriedEdit, carry_edit
from counterpoint.tasks.edits.layers import Edit, blend
from counterpoint.tasks.edits.points import Carrying
from counterpoint.tasks.edits.sources import sticker_edit
from counterpoint.tasks.scenes.local_features import geometric_options

SIDES = (90, 180)
PLACES = {
    "astronaut": ((220, 120), (300, 350)),
    "coffee": ((300, 200), (150, 100)),
    "chelsea": ((200, 150), (300, 100)),
    "motorcycle": ((330, 300), (500, 330), (150, 150)),
    "graffiti": ((400, 320), (250, 250), (560, 300)),
}
"""Centres of the squares, pixels of the source."""

Truth = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """A source, a target, and where the source's points lie in it; None: nowhere."""

    kind: str
    name: str
    source: str
    target: str
    truth: Truth | None


class Stage:
    """Pictures by name, and their features, extracted once."""

    def __init__(self, model: str, across: str) -> None:
        self.model = load(model)
        options = Options(model=model)
        views = across == "views"
        self.options = geometric_options(self.model.spec, options) if views else options
        self.pictures: dict[str, Picture] = {}
        self._maps: dict[str, PreparedMap] = {}

    def map(self, name: str) -> PreparedMap:
        if name not in self._maps:
            [fmap] = self.model.extract([self.pictures[name]], self.options)
            self._maps[name] = PreparedMap(fmap)
        return self._maps[name]

    def forget(self) -> None:
        """Other pictures follow under the same names."""
        self._maps.clear()


def known_warps() -> dict[str, np.ndarray]:
    """Homographies about a picture's centre, for pictures of about 500 pixels."""
    centre = np.array([[1, 0, 225.0], [0, 1, 150], [0, 0, 1]])

    def about(matrix: list[list[float]]) -> np.ndarray:
        return centre @ np.array(matrix) @ np.linalg.inv(centre)

    def turned(degrees: float, scale: float = 1.0) -> np.ndarray:
        c, s = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
        return about([[c, -s, 0], [s, c, 0], [0, 0, 1]])

    return {
        "crop": np.array([[1.0, 0, -40], [0, 1, -20], [0, 0, 1]]),
        "smaller": turned(0, 0.7),
        "turned 10": turned(10),
        "turned 30": turned(30),
        "turned 90": turned(90),
        "perspective": about([[1, 0.1, 0], [0.05, 0.9, 0], [6e-4, 3e-4, 1]]),
    }


def cases(stage: Stage, graffiti: Path | None) -> Iterator[Case]:
    for name in ("astronaut", "coffee", "chelsea"):
        stage.pictures[name] = Picture(getattr(data, name)(), name)
    left, right, disparity = data.stereo_motorcycle()
    stage.pictures |= {"motorcycle": Picture(left, "left"), "right": Picture(right, "right")}
    stage.pictures["rocket"] = Picture(data.rocket(), "rocket")
    for name in ("astronaut", "coffee", "chelsea"):
        yield from _warped(stage, name)
    yield Case("stereo", "motorcycle", "motorcycle", "right", _by_disparity(disparity))
    if graffiti:
        stage.pictures["graffiti"] = load_picture(graffiti / "1.ppm")
        for number in range(2, 7):
            name = f"graffiti {number}"
            stage.pictures[name] = load_picture(graffiti / f"{number}.ppm")
            yield Case("graffiti", f"1 to {number}", "graffiti", name, _by(graffiti, number))
    known = [name for name in PLACES if name in stage.pictures]
    for source, target in permutations([*known, "rocket"], 2):
        if source in PLACES:
            yield Case("strangers", f"{source} on {target}", source, target, None)


def _warped(stage: Stage, name: str) -> Iterator[Case]:
    picture = stage.pictures[name]
    for warp, matrix in known_warps().items():
        moved = cv2.warpPerspective(
            picture.rgb, matrix, picture.size_wh, borderMode=cv2.BORDER_REFLECT
        )
        stage.pictures[f"{name}, {warp}"] = Picture(moved, f"{name}, {warp}")
        truth = _applied(matrix)
        yield Case(f"known: {warp}", name, name, f"{name}, {warp}", truth)
    mirrored = f"{name}, mirrored"
    stage.pictures[mirrored] = Picture(picture.rgb[:, ::-1].copy(), mirrored)
    yield Case("mirrored (to be refused)", name, name, mirrored, None)


def _applied(matrix: np.ndarray) -> Truth:
    return lambda points: apply_homography(matrix, points)


def _by(graffiti: Path, number: int) -> Truth:
    return _applied(np.loadtxt(graffiti / f"H_1_{number}"))


def _by_disparity(disparity: np.ndarray) -> Truth:
    def truth(points: np.ndarray) -> np.ndarray:
        x, y = np.round(points).astype(int).T
        shift = disparity[y.clip(0, disparity.shape[0] - 1), x.clip(0, disparity.shape[1] - 1)]
        return points - np.c_[shift, np.zeros(len(shift))]

    return truth


def error_px(case: Case, edit: Edit, found: CarriedEdit) -> float:
    """Of a carried edit: mean over corners, or the median over its points where there is depth."""
    assert case.truth is not None
    warp = found.parts[0].fit.warp
    points = found.matches.source_px if case.kind == "stereo" else edit.outline_px
    off = np.linalg.norm(warp.apply(points) - case.truth(points), axis=1)
    return float(np.median(off[np.isfinite(off)]) if case.kind == "stereo" else off.mean())


def spair(asked: argparse.Namespace) -> None:
    """Other animals of one kind: mostly beyond the embedded model, and then to be refused."""
    from counterpoint.benchmarks.datasets.spair import read_spair

    pairs = read_spair(asked.spair, categories=("cat", "dog")).pairs
    stage = Stage(asked.model, asked.across)
    errors: list[float] = []
    tried = 0
    for pair in pairs:
        if len(pair.source_px) != len(pair.target_px) or len(pair.source_px) < 4:
            continue
        tried += 1
        low, high = pair.source_px.min(axis=0), pair.source_px.max(axis=0)
        side = max(16, round(0.7 * float((high - low).max())))
        stage.pictures = {"source": load_picture(pair.source), "target": load_picture(pair.target)}
        stage.forget()
        place = tuple(((low + high) / 2).tolist())
        red = np.broadcast_to(np.uint8([220, 30, 60, 200]), (side, side, 4)).copy()
        edit = sticker_edit(red, pair.source_size_wh, place)
        how = Carrying(warp=asked.warp, context=asked.context)
        found = carry_edit(edit, stage.map("source"), stage.map("target"), how)
        if not found.carried:
            continue
        ends = found.parts[0].fit.warp.apply(pair.source_px)
        within = (np.abs(pair.source_px - place) <= side / 2).all(axis=1)
        x0, y0, x1, y1 = pair.target_box
        off = np.linalg.norm(ends - pair.target_px, axis=1) / max(x1 - x0, y1 - y0)
        errors.append(float(np.median(off[within] if within.any() else off)))
        if asked.pictures:
            _side_by_side(asked.pictures / f"{pair.id.replace(':', '-')}.png", stage, edit, found)
    good = [sum(e <= share for e in errors) for share in (0.1, 0.2)]
    print(f"{tried} pairs: {len(errors)} carried, of these {good[0]} within a tenth of the box, ")
    print(f"{good[1]} within a fifth; {tried - len(errors)} refused")


def _side_by_side(path: Path, stage: Stage, edit: Edit, found: CarriedEdit) -> None:
    source, target = stage.pictures["source"], stage.pictures["target"].rgb
    for overlay in found.overlays():
        target = blend(target, overlay)
    shown = [Picture(blend(source.rgb, edit.coverage), "source"), Picture(target, path.stem)]
    save_png(draw_strip(shown), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small")
    parser.add_argument("--across", choices=("objects", "views"), default="objects")
    parser.add_argument("--graffiti", type=Path)
    parser.add_argument("--spair", type=Path)
    parser.add_argument("--pictures", type=Path, help="of the edits carried on SPair")
    parser.add_argument("--warp", default="auto")
    parser.add_argument("--context", type=float, default=0.0)
    parser.add_argument("--json", type=Path, help="every placing, one a line")
    parser.add_argument("--worst", type=Path, help="a picture of the worst that were carried")
    asked = parser.parse_args()
    if asked.spair:
        spair(asked)
        return
    stage = Stage(asked.model, asked.across)
    how = Carrying(warp=asked.warp, context=asked.context)
    rows: list[dict] = []
    for case in cases(stage, asked.graffiti):
        for at in PLACES[case.source]:
            for side in SIDES:
                square = np.full((side, side, 4), 255, np.uint8)
                edit = sticker_edit(square, stage.pictures[case.source].size_wh, at)
                found = carry_edit(edit, stage.map(case.source), stage.map(case.target), how)
                row = {"kind": case.kind, "name": case.name, "at": at, "side": side}
                row |= {"reason": found.reason, "error_px": None}
                if found.parts:
                    part = found.parts[0]
                    row |= {"warp": part.fit.warp.kind, "support": round(part.support, 3)}
                    row["log10_chance"] = round(part.fit.log10_chance, 1)
                    if case.truth:
                        row["error_px"] = round(error_px(case, edit, found), 2)
                rows.append(row)
                if asked.json:
                    with asked.json.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    report(rows)
    if asked.worst:
        draw_worst(asked.worst, stage, rows, how)


def draw_worst(path: Path, stage: Stage, rows: list[dict], how: Carrying) -> None:
    """The three largest errors on free pictures: where the square lies, where it should (white)."""
    free = [r for r in rows if r["error_px"] is not None and r["kind"].startswith("known")]
    tiles: list[Picture] = []
    for row in sorted(free, key=lambda r: -r["error_px"])[:3]:
        warp = row["kind"].removeprefix("known: ")
        source, target = row["name"], f"{row['name']}, {warp}"
        side = row["side"]
        red = np.broadcast_to(np.uint8([220, 30, 60, 170]), (side, side, 4)).copy()
        edit = sticker_edit(red, stage.pictures[source].size_wh, row["at"])
        found = carry_edit(edit, stage.map(source), stage.map(target), how)
        drawn = stage.pictures[target].rgb
        for overlay in found.overlays():
            drawn = blend(drawn, overlay)
        corners = apply_homography(known_warps()[warp], edit.outline_px)
        cv2.polylines(drawn, [corners.round().astype(np.int32)], True, (255, 255, 255), 3)
        before = blend(stage.pictures[source].rgb, edit.coverage)
        tiles.append(Picture(before, f"source: {source}"))
        tiles.append(Picture(drawn, f"{warp}: {row['error_px']:.0f} px off"))
    save(path, draw_strip(tiles, height_px=220))


def save(path: Path, canvas: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(canvas).save(path, quality=85)


def report(rows: list[dict]) -> None:
    print("| case | placings | carried | within 5 px | within 10 px | median error px | worst |")
    print("|---|---|---|---|---|---|---|")
    groups = dict.fromkeys(
        r["kind"] if r["kind"] != "graffiti" else f"graffiti {r['name']}" for r in rows
    )
    for group in groups:
        mine = [r for r in rows if group in (r["kind"], f"{r['kind']} {r['name']}")]
        carried = [r for r in mine if "warp" in r]
        errors = np.array([r["error_px"] for r in carried if r["error_px"] is not None])
        figures = "| | | | |"
        if len(errors):
            figures = (
                f"| {(errors <= 5).sum()} | {(errors <= 10).sum()} "
                f"| {np.median(errors):.1f} | {errors.max():.1f} |"
            )
        print(f"| {group} | {len(mine)} | {len(carried)} {figures}")


if __name__ == "__main__":
    main()
