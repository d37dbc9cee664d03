"""What parts found without labels have to do with parts that people name, and with objects.

On birds (CUB-200-2011, square crops around the birds' boxes): normalised mutual information of the
part that a visible key point lies in and the key point's name, over all birds together. On videos
(DAVIS, fitted on frames of the video itself) and whole pictures: the foreground against masks and
boxes. Beside it the controls: clusters of the place in the picture, and of colours.

    python benchmarks/parts.py --cub CUB_200_2011 --davis DAVIS
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from counterpoint.backbones import load
from counterpoint.benchmarks.datasets.cub import BirdCrop, crop_bird, read_cub
from counterpoint.benchmarks.datasets.davis import read_davis
from counterpoint.images import Picture, load_picture
from counterpoint.options import Options
from counterpoint.tasks.parts.kmeans import kmeans, nearest
from counterpoint.tasks.parts.segmentation import PartModel, Segmenting, fit_parts

CROP_PX = 128


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised by the mean of both entropies, 0 to 1."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    expected = np.outer(rows, columns)
    some = joint > 0
    shared = (joint[some] * np.log(joint[some] / expected[some])).sum()
    entropies = [-(p[p > 0] * np.log(p[p > 0])).sum() for p in (rows, columns)]
    return float(2 * shared / sum(entropies)) if sum(entropies) else 0.0


def bird_points(crops: Sequence[BirdCrop]) -> tuple[list[np.ndarray], np.ndarray]:
    """Visible parts of each crop as whole pixels, and the names' numbers of all of them."""
    places, names = [], []
    for crop in crops:
        seen = crop.visible
        places.append(crop.parts_px[seen].round().astype(int).clip(0, CROP_PX - 1))
        names.append(np.flatnonzero(seen))
    return places, np.concatenate(names)


def birds(root: Path, half: str, options: Options, kinds: Sequence[Segmenting]) -> Iterator[str]:
    """One line a way of finding parts."""
    chosen = read_cub(root).half("even" if half == "even" else "odd").birds
    crops = [crop_bird(bird, CROP_PX) for bird in chosen]
    places, names = bird_points(crops)
    yield f"{len(crops)} bird crops of {CROP_PX} px, {len(names)} visible key points"
    everywhere = np.concatenate(places).astype(float)
    for k in dict.fromkeys(kind.k or 8 for kind in kinds):
        clusters = nearest(everywhere, kmeans(everywhere, k))
        yield f"  place alone, k {k}: {mutual_information(clusters, names):.3f}"
    pictures = [crop.picture() for crop in crops]
    for name in (options.model, "rgb"):
        chosen_options = options if name == options.model else Options(model=name, size=128)
        maps = load(name).extract(pictures, chosen_options)
        for kind in kinds:
            model = fit_parts(maps, kind)
            found = [model.labels(fmap, all_parts=True) for fmap in maps]
            labels = np.concatenate(
                [f[p[:, 1], p[:, 0]] for f, p in zip(found, places, strict=True)]
            )
            score = mutual_information(labels.astype(int), names)
            inside = (labels > 0).mean()
            area = np.mean([(f > 0).mean() for f in found])
            yield (
                f"  {name}, k {kind.k or 'auto'} ({model.k}), foreground {kind.foreground}: "
                f"{score:.3f}; key points in foreground {inside:.2f} of {area:.2f} of the area; "
                f"{int(model.salient.sum())} salient"
            )


def whole_birds(root: Path, half: str, options: Options, most: int) -> Iterator[str]:
    """The foreground of whole pictures against the birds' boxes."""
    chosen = read_cub(root).half("even" if half == "even" else "odd").birds[:most]
    pictures = [load_picture(bird.path) for bird in chosen]
    for name in (options.model, "rgb"):
        chosen_options = options if name == options.model else Options(model=name, size=128)
        maps = load(name).extract(pictures, chosen_options)
        model = fit_parts(maps, Segmenting())
        scores = []
        for bird, picture, fmap in zip(chosen, pictures, maps, strict=True):
            box = np.zeros(picture.rgb.shape[:2], bool)
            x, y, w, h = (round(side) for side in bird.box_xywh)
            box[y : y + h, x : x + w] = True
            found = model.labels(fmap) > 0
            scores.append(((found & box).sum() / max(found.sum(), 1), box.mean()))
        inside, by_chance = np.mean(scores, axis=0)
        yield (
            f"{len(chosen)} whole birds, {name}: {inside:.2f} of the foreground lies in the box, "
            f"which is {by_chance:.2f} of the picture"
        )


def foreground_iou(model: PartModel, maps: Sequence, masks: Sequence[np.ndarray]) -> float:
    """Mean over frames."""
    scores = []
    for fmap, mask in zip(maps, masks, strict=True):
        found, true = model.labels(fmap) > 0, mask > 0
        scores.append((found & true).sum() / max((found | true).sum(), 1))
    return float(np.mean(scores))


def videos(root: Path, options: Options, step: int) -> Iterator[str]:
    """Foreground against masks, every few frames."""
    for sequence in read_davis(root, year="2016").sequences:
        frames = range(0, len(sequence), step)
        pictures: list[Picture] = [sequence.picture(i) for i in frames]
        masks = [sequence.mask(i) for i in frames]
        everything = float(np.mean([(m > 0).mean() for m in masks]))
        for name in (options.model, "rgb"):
            chosen_options = options if name == options.model else Options(model=name, size=128)
            maps = load(name).extract(pictures, chosen_options)
            model = fit_parts(maps, Segmenting())
            yield (
                f"{sequence.name}, {len(maps)} frames, {name}: IoU "
                f"{foreground_iou(model, maps, masks):.3f} (all of the picture {everything:.3f})"
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cub", type=Path)
    parser.add_argument("--davis", type=Path)
    parser.add_argument("--half", choices=["even", "odd"], default="odd")
    parser.add_argument("--model", default="small")
    parser.add_argument("--t", type=int)
    parser.add_argument("--tap")
    parser.add_argument("--size", default="128")
    parser.add_argument("--step", type=int, default=10, help="frames of a video, every so many")
    parser.add_argument("--most", type=int, default=60, help="whole birds")
    given = parser.parse_args()
    options = Options(model=given.model, t=given.t, tap=given.tap, size=given.size)
    kinds = [Segmenting(foreground=shown, k=k) for shown in (False, True) for k in (8, None)]
    lines: list[Iterator[str]] = []
    if given.cub:
        lines += [birds(given.cub, given.half, options, kinds)]
        lines += [whole_birds(given.cub, given.half, options, given.most)]
    if given.davis:
        lines += [videos(given.davis, options, given.step)]
    for line in lines:
        for text in line:
            print(text, flush=True)


if __name__ == "__main__":
    main()
