"""Annotation transfer on birds (CUB-200-2011) and SPair's cats: how many of a target's key points
a few annotated pictures give, by the number of references, the way they vote, and the model.

    python benchmarks/annotation.py cub CUB_200_2011 --size 128 --json out/annotation.jsonl
    python benchmarks/annotation.py spair SPair-71k --category cat
    python benchmarks/annotation.py badja BADJA DAVIS --references 1 3 5 --size 256
    python benchmarks/annotation.py masks DAVIS --size 256
    python benchmarks/annotation.py cat out/cat
    python benchmarks/annotation.py chart out/annotation.jsonl docs/figures/annotation-risk.png

Targets never are references. Crops are squares around the boxes; PCK's threshold is a share of the
box's longer side. "mean place" is the control that looks at no pixel: the mean of the references'
places on the box; "centre" puts every point on the middle of the box. References are drawn several
times; "+-" is the deviation over the draws.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.annotations import Annotations, Category, ImageEntry, Instance
from counterpoint.annotations.coco import write_coco
from counterpoint.annotations.model import Box
from counterpoint.backbones import load
from counterpoint.benchmarks.datasets.cub import CUB, read_cub
from counterpoint.benchmarks.datasets.keypoints import KeypointPair
from counterpoint.features import Extractor, FeatureMap
from counterpoint.files import write_text
from counterpoint.images import ImageLike, Picture, load_picture
from counterpoint.options import Options
from counterpoint.tasks.annotation.annotator import Annotator, Transfer
from counterpoint.tasks.annotation.score import Judged, Score, judge, score

ALPHA = 0.1
RISKS = (0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Bench:
    """Annotated pictures: where each lies, and its one thing."""

    name: str
    annotations: Annotations
    folder: Path

    def load(self, image: ImageEntry) -> Picture:
        return load_picture(self.folder / image.file_name)

    def part(self, chosen: Sequence[int]) -> Annotations:
        images = tuple(self.annotations.images[i] for i in chosen)
        keys = {image.id for image in images}
        kept = tuple(one for one in self.annotations.instances if one.image_id in keys)
        return self.annotations.with_instances(images, kept)


class Remembering:
    """An extractor that keeps what it made: every draw of references costs only matching."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self._kept: dict[str, FeatureMap] = {}

    def extract(self, pictures: list[ImageLike], options: Options) -> list[FeatureMap]:
        given = [load_picture(picture) for picture in pictures]
        new = {p.content_hash: p for p in given if p.content_hash not in self._kept}
        made = self._extractor.extract(list(new.values()), options) if new else []
        self._kept.update(zip(new, made, strict=True))
        return [self._kept[p.content_hash] for p in given]


def birds_as_coco(cub: CUB, root: Path) -> Bench:
    """CUB as annotations; clicks a little beyond the edge are set on it."""
    names = tuple(name.replace(" ", "_") for name in cub.part_names)
    images, things = [], []
    for bird in cub.birds:
        size_wh = load_picture(bird.path).size_wh
        name = bird.path.relative_to(root / "images").as_posix()
        images.append(ImageEntry(id=bird.image_id, file_name=name, size_wh=size_wh))
        on = bird.parts_px.clip(0, np.asarray(size_wh) - 1.0) * bird.visible[:, None]
        things.append(
            Instance(
                id=bird.image_id,
                image_id=bird.image_id,
                category_id=1,
                keypoints_px=on,
                visibility=bird.visible * 2,
                box=bird.box_xywh,
            )
        )
    kind = Category(id=1, name="bird", keypoints=names)
    made = Annotations(categories=(kind,), images=tuple(images), instances=tuple(things))
    return Bench("CUB", made, root / "images")


def read_animal(badja: Path, davis: Path, animal: str) -> Bench:
    """One video of BADJA: joints in some frames of DAVIS, boxes around DAVIS' masks."""
    from counterpoint.annotations.runs import box_of_mask
    from counterpoint.benchmarks.datasets.badja import read_badja
    from counterpoint.images import load_mask

    [frames] = read_badja(badja, [animal]).values()
    folder = davis / "JPEGImages" / "480p" / animal
    images, things = [], []
    for number, frame in enumerate(frames, 1):
        name = f"{frame.frame:05d}.jpg"
        mask = load_mask(davis / "Annotations" / "480p" / animal / f"{frame.frame:05d}.png")
        size_wh = mask.shape[1], mask.shape[0]
        images.append(ImageEntry(id=number, file_name=name, size_wh=size_wh))
        on = frame.joints_at(size_wh).clip(0, np.asarray(size_wh) - 1.0)
        things.append(
            Instance(
                id=number,
                image_id=number,
                category_id=1,
                keypoints_px=on * frame.visible[:, None],
                visibility=frame.visible * 2,
                box=box_of_mask(mask),
            )
        )
    names = tuple(f"joint_{k}" for k in range(len(frames[0].joints_px)))
    kind = Category(id=1, name=animal, keypoints=names)
    made = Annotations(categories=(kind,), images=tuple(images), instances=tuple(things))
    return Bench(f"BADJA {animal}", made, folder)


def measure_masks(davis: Path, args: argparse.Namespace) -> None:
    """DAVIS: two frames' masks as references, three others as targets; overlap (IoU)."""
    from counterpoint.tasks.annotation.masks import overlap

    for video, references in (("blackswan", (0, 25)), ("dog", (0, 30)), ("camel", (0, 40))):
        bench = _masked_frames(davis, video, [*references, 10, 18, 45])
        for crop in (True, False):
            model, options = load("small", device="cpu"), Options(size=args.size)
            annotator = Annotator(
                bench.part([0, 1]), bench.load, model, options, Transfer(crop=crop)
            )
            found = []
            for image in bench.annotations.images[2:]:
                [truth] = bench.annotations.of_image(image.id)
                assert truth.box is not None
                things = [(1, truth.box)] if crop else None
                [one] = annotator.annotate(bench.load(image), things)
                empty = one.instance.outline is None
                mask = truth.outline.mask & False if empty else one.instance.outline.mask
                found.append((overlap(mask, truth.outline.mask), one.mask_confidence))
            text = ", ".join(f"{value:.2f} (confidence {sure:.2f})" for value, sure in found)
            print(f"{video}, {'boxes' if crop else 'whole pictures'}: IoU {text}", flush=True)


def _masked_frames(davis: Path, video: str, frames: Sequence[int]) -> Bench:
    from counterpoint.annotations import Outline
    from counterpoint.annotations.runs import box_of_mask
    from counterpoint.images import load_mask

    images, things = [], []
    for number in frames:
        mask = load_mask(davis / "Annotations" / "480p" / video / f"{number:05d}.png")
        size_wh = mask.shape[1], mask.shape[0]
        images.append(ImageEntry(id=number, file_name=f"{number:05d}.jpg", size_wh=size_wh))
        outline, box = Outline("rle", mask=mask), box_of_mask(mask)
        one = Instance(id=number, image_id=number, category_id=1, outline=outline, box=box)
        things.append(one)
    kind = Category(id=1, name=video)
    made = Annotations(categories=(kind,), images=tuple(images), instances=tuple(things))
    return Bench(video, made, davis / "JPEGImages" / "480p" / video)


def measure_pairs(root: Path, category: str, args: argparse.Namespace) -> None:
    """SPair, pair by pair: the source is the one reference, its points those of the pair."""
    from counterpoint.benchmarks.datasets.spair import read_spair

    pairs = read_spair(root, categories=[category]).pairs
    benches = [_pair(pair) for pair in pairs]
    for name, centre in (("mean place", False), ("centre of the box", True)):
        found = Judged.joined([by_place(one, [0], [1], centre=centre) for one in benches])
        about = {"model": name, "references": 1}
        report(f"SPair {category}", about, summary([score(found, ALPHA)]), args)
    for model in args.models:
        extractor, options = Remembering(load(model, device="cpu")), Options(size=args.size)
        for how in ways(args):
            parts = []
            for one in benches:
                annotator = Annotator(one.part([0]), one.load, extractor, options, how)
                parts.append(by_transfer(one, annotator, [1]))
            about = {"model": model, "references": 1, **asdict(how)}
            found = summary([score(Judged.joined(parts), ALPHA)])
            report(f"SPair {category}", about, found, args)


def _pair(pair: KeypointPair) -> Bench:
    folder = pair.source.parent
    kind = Category(
        id=1, name=pair.category, keypoints=tuple(f"p{k}" for k in range(len(pair.source_px)))
    )
    images, things = [], []
    ends = (
        (1, pair.source, pair.source_size_wh, pair.source_px, pair.source_box),
        (2, pair.target, pair.target_size_wh, pair.target_px, pair.target_box),
    )
    for key, path, size_wh, points, box in ends:
        assert box is not None
        left, top, right, bottom = (float(side) for side in box)
        images.append(ImageEntry(id=key, file_name=path.name, size_wh=size_wh))
        things.append(
            Instance(
                id=key,
                image_id=key,
                category_id=1,
                keypoints_px=np.asarray(points, dtype=np.float64),
                visibility=np.full(len(points), 2),
                box=(left, top, right - left, bottom - top),
            )
        )
    made = Annotations(categories=(kind,), images=tuple(images), instances=tuple(things))
    return Bench("pair", made, folder)


def judged_by(bench: Bench, targets: Sequence[int], find: Callable[[Picture, Box], Any]) -> Judged:
    parts = []
    for i in targets:
        image = bench.annotations.images[i]
        [truth] = bench.annotations.of_image(image.id)
        assert truth.box is not None
        points, confidence, asked = find(bench.load(image), truth.box)
        length = max(truth.box[2:])
        parts.append(judge(points, confidence, asked, truth, length, ALPHA))
    return Judged.joined(parts)


def by_transfer(bench: Bench, annotator: Annotator, targets: Sequence[int]) -> Judged:
    def find(picture: Picture, box: Box) -> Any:
        [found] = annotator.annotate(picture, [(1, box)])
        return found.points_px, found.confidence, found.voters > 0

    return judged_by(bench, targets, find)


def by_place(
    bench: Bench, references: Sequence[int], targets: Sequence[int], *, centre: bool
) -> Judged:
    """Every point at the mean of its places in the references, in shares of the box."""
    own = [bench.annotations.of_image(bench.annotations.images[i].id)[0] for i in references]
    corners = [np.array(one.box[:2]) for one in own if one.box]
    sides = [max(one.box[2:]) for one in own if one.box]
    middles = [
        corner + np.array(one.box[2:]) / 2
        for one, corner in zip(own, corners, strict=True)
        if one.box
    ]
    places = np.stack(
        [(one.keypoints_px - m) / s for one, m, s in zip(own, middles, sides, strict=True)]
    )
    seen = np.stack([one.visibility > 0 for one in own])[..., None]
    mean = (places * seen).sum(axis=0) / np.maximum(seen.sum(axis=0), 1) * (not centre)
    asked = seen.any(axis=(0, 2))

    def find(_: Picture, box: Box) -> Any:
        middle = np.array(box[:2]) + np.array(box[2:]) / 2
        return middle + mean * max(box[2:]), np.ones(len(mean)), asked

    return judged_by(bench, targets, find)


def summary(scores: Sequence[Score], own: Sequence[float] = ()) -> dict[str, Any]:
    def both(values: Sequence[float]) -> list[float]:
        return [round(100 * float(np.mean(values)), 1), round(100 * float(np.std(values)), 1)]

    grid = np.linspace(0.05, 1, 20)
    risk = np.mean([np.interp(grid, one.coverage, one.risk) for one in scores], axis=0)
    return {
        "pck": both([one.pck for one in scores]),
        "half": both([one.pck_confident_half for one in scores]),
        "calibration_error": both([one.calibration_error for one in scores]),
        "saved": {f"{level:g}": both([one.saved(level) for one in scores]) for level in RISKS},
        "leave_one_out": both(own) if own else None,
        "points": scores[0].points,
        "absent": scores[0].absent,
        "coverage": grid.round(3).tolist(),
        "risk": risk.round(4).tolist(),
    }


def draw(count: int, wanted: int, targets: Sequence[int], seed: int) -> list[int]:
    left = [i for i in range(count) if i not in set(targets)]
    return np.random.default_rng(seed).choice(left, min(wanted, len(left)), replace=False).tolist()


def measure(bench: Bench, args: argparse.Namespace) -> None:
    count = len(bench.annotations.images)
    order = np.random.default_rng(args.seed).permutation(count)
    targets = order[: min(args.targets, count // 2)].tolist()
    draws = {
        n: [draw(count, n, targets, seed) for seed in range(args.draws)] for n in args.references
    }
    for n in args.references:
        for name, centre in (("mean place", False), ("centre of the box", True)):
            found = [score(by_place(bench, d, targets, centre=centre), ALPHA) for d in draws[n]]
            report(bench.name, {"model": name, "references": n}, summary(found), args)
    for model in args.models:
        backbone = load(model, device="cpu")
        extractor = Remembering(backbone)
        options = Options(model=model, size=args.size)
        for how in ways(args):
            for n in args.references:
                annotators = [
                    Annotator(bench.part(d), bench.load, extractor, options, how) for d in draws[n]
                ]
                scores = [score(by_transfer(bench, one, targets), ALPHA) for one in annotators]
                own = [one.kinds[1].self_test.pck for one in annotators] if n > 1 else []
                about = {"model": model, "references": n, **asdict(how)}
                report(bench.name, about, summary(scores, own), args)


def ways(args: argparse.Namespace) -> list[Transfer]:
    return [Transfer(crop=True, vote=vote, flip=flip) for flip in args.flip for vote in args.votes]


def report(bench: str, about: dict[str, Any], found: dict[str, Any], args: Any) -> None:
    vote = f"{about.get('vote', '')}{' flip' if about.get('flip') else ''}"
    pck, half, error = (found[name] for name in ("pck", "half", "calibration_error"))
    saved = ", ".join(f"{level}: {value[0]:.1f}" for level, value in found["saved"].items())
    print(
        f"{bench} {about['model']:18} {vote:12} {about['references']:3} references: "
        f"PCK {pck[0]:.1f} +- {pck[1]:.1f}, half {half[0]:.1f} +- {half[1]:.1f}, "
        f"ECE {error[0]:.1f}, leave one out {(found['leave_one_out'] or [float('nan')])[0]:.1f}, "
        f"saved at risk {saved}",
        flush=True,
    )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        with args.json.open("a") as file:
            file.write(json.dumps({"set": bench, **about, **found}) + "\n")


CAT = {
    "right_ear": (70, 22),
    "left_ear": (357, 65),
    "right_eye": (173, 111),
    "left_eye": (314, 131),
    "nose": (262, 240),
    "mouth": (258, 272),
}
"""In scikit-image's chelsea; a cat's left is the viewer's right."""

VIEWS = {
    "a": (0, 1.0, 0, 0),
    "b": (8, 0.9, 10, 5),
    "turned": (-16, 0.8, 0, 0),
    "small": (4, 0.6, 40, -20),
    "large": (-5, 1.3, -20, 0),
    "mirrored": (0, 1.0, 0, 0),
    "dark": (10, 0.85, 0, 0),
    "far": (-25, 0.5, -40, 10),
}
"""Degrees, scale and shift; the first two are the references."""


def cat(out: Path) -> None:
    """Eight views of one cat, two of them annotated: the figure of docs/annotation.md."""
    import cv2
    from skimage.data import chelsea

    picture = chelsea()
    h, w = picture.shape[:2]
    points = np.array(list(CAT.values()), dtype=float)
    names = tuple(CAT)
    images, things = [], []
    rng = np.random.default_rng(0)
    for number, (name, (degrees, scale, dx, dy)) in enumerate(VIEWS.items(), 1):
        matrix = cv2.getRotationMatrix2D((w / 2, h / 2), degrees, scale)
        matrix[:, 2] += dx, dy
        if name == "mirrored":
            matrix = np.array([[-1.0, 0, w - 1], [0, 1, 0]])
        view = cv2.warpAffine(picture, matrix, (w, h), flags=cv2.INTER_CUBIC, borderMode=1)
        view = view * (0.45 if name == "dark" else 1) + rng.normal(0, 8 * (number > 2), view.shape)
        Picture(view.clip(0, 255).astype(np.uint8)).pil().save(out / f"{name}.png")
        images.append(ImageEntry(id=number, file_name=f"{name}.png", size_wh=(w, h)))
        at = points @ matrix[:, :2].T + matrix[:, 2]
        one = Instance(
            id=number,
            image_id=number,
            category_id=1,
            keypoints_px=at,
            visibility=np.full(len(at), 2),
        )
        things += [one] if number <= 2 else []
    kind = Category(id=1, name="cat", keypoints=names, skeleton=((1, 3), (2, 4), (3, 5), (4, 5)))
    made = Annotations(categories=(kind,), images=tuple(images), instances=tuple(things))
    write_text(out / "labels.json", json.dumps(write_coco(made)))


def chart(lines: Path, out: Path) -> None:
    """Risk by coverage of the embedded model with crops: birds, and five frames of each video."""
    from counterpoint.charts import Curve, draw_curves

    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    curves = []
    for row in rows:
        birds = row["set"] == "CUB" and row.get("flip")
        video = row["set"].startswith("BADJA") and row["references"] == 5
        if row["model"] == "small" and row.get("vote") == "placed" and (birds or video):
            name = f"{row['set']}, {row['references']} reference{'s' * (row['references'] > 1)}"
            risk = tuple(100 * value for value in row["risk"])
            coverage = tuple(100 * value for value in row["coverage"])
            curves.append(Curve(name, coverage, risk, risk, risk))
    title = "Embedded model: wrong points among the most confident ones"
    labels = "points taken, most confident first (%)", "of these wrong (%)"
    draw_curves(curves, out, title=title, labels=labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["cub", "spair", "badja", "masks", "chart", "coco", "cat"])
    parser.add_argument("path", type=Path)
    parser.add_argument(
        "out", type=Path, nargs="?", help="chart: the PNG; coco: the JSON; badja: DAVIS"
    )
    parser.add_argument("--category", default="cat")
    parser.add_argument("--references", type=int, nargs="+", default=[1, 5, 10, 20])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--targets", type=int, default=80)
    parser.add_argument("--models", nargs="+", default=["small", "sift"])
    parser.add_argument("--votes", nargs="+", default=["placed", "pooled", "medoid", "median"])
    parser.add_argument("--flip", type=int, nargs="+", default=[1, 0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.flip = [bool(flip) for flip in args.flip]
    if args.what == "chart":
        chart(args.path, args.out)
    elif args.what == "badja":
        for animal in ("camel", "dog"):
            measure(read_animal(args.path, args.out, animal), args)
    elif args.what == "masks":
        measure_masks(args.path, args)
    elif args.what == "cat":
        args.path.mkdir(parents=True, exist_ok=True)
        cat(args.path)
    elif args.what == "coco":
        write_text(
            args.out,
            json.dumps(write_coco(birds_as_coco(read_cub(args.path), args.path).annotations)),
        )
    elif args.what == "cub":
        measure(birds_as_coco(read_cub(args.path), args.path), args)
    else:
        measure_pairs(args.path, args.category, args)


if __name__ == "__main__":
    main()
