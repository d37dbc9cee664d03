"""Scoring SPair-like pairs against the plain reference: time and memory a pair, in one run.

    OMP_NUM_THREADS=1 python benchmarks/pairs.py [--pictures 40] [--pairs 300] [--reference-pairs 5]

Pictures of 375 x 500 pixels (JPEG files), features of 1280 channels on 48 x 48 cells (half
precision, in files), 10 to 15 key points a pair, as SPair-71k with Stable Diffusion's `up:1`. Every
contender runs in a fresh process on one thread; times are processor seconds, memory is the peak
above what the process held before (Linux).

- ``reference``: protocol `dift` as its evaluation has it: features read once a picture (not
  counted); for every pair both maps are upsampled to the pictures' sizes, and for every point the
  target is normalised and multiplied; then the distances to the truth.
- ``reference, normalised once``: the same with one normalisation and one product a pair.
- ``counterpoint``: `predict_pairs` and `score`, everything counted: pictures decoded and checked,
  features read from the cache, prepared, matched, predictions written to their file, PCK with its
  bootstrap intervals.
- ``counterpoint, little memory``: the same with 64 MB for maps that wait for their next pair, so
  that features are read again.
"""

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from matching import make_features, reference, reference_once, resident_bytes
from PIL import Image

from counterpoint.backbones.base import Backbone, Place, Tap
from counterpoint.backbones.noise import NoiseSource
from counterpoint.backbones.spec import ModelSpec
from counterpoint.backbones.zoo import ZOO
from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs
from counterpoint.benchmarks.keypoints.maps import CACHE_BYTES
from counterpoint.benchmarks.keypoints.protocols import find_protocol, score
from counterpoint.benchmarks.keypoints.run import predict_pairs
from counterpoint.benchmarks.metrics import correct_points
from counterpoint.features import FeatureMap
from counterpoint.images import ImageLike, Picture, load_picture
from counterpoint.options import Options
from counterpoint.provenance import Provenance
from counterpoint.store import FeatureCache

SIZE_WH = (500, 375)
CHANNELS, GRID = 1280, 48
CATEGORY = 20  # pictures


class Stored(Backbone):
    """A model whose features lie in a cache already."""

    def __init__(self, folder: Path) -> None:
        self.cache = FeatureCache(folder)
        spec: ModelSpec = replace(ZOO["rgb"], name="stored")
        super().__init__(spec, torch.device("cpu"), torch.float32)

    @property
    def taps(self) -> tuple[Tap, ...]:
        return (Tap("up:1", CHANNELS, 16),)

    def provenance(self, picture: Picture, options: Options) -> Provenance:  # noqa: ARG002
        return note(picture)

    def stream_grid(
        self,
        pictures: Sequence[ImageLike],
        taps: Sequence[str],  # noqa: ARG002
        options: Options | None = None,  # noqa: ARG002
        noise: NoiseSource | None = None,  # noqa: ARG002
    ) -> Iterator[dict[Place, FeatureMap]]:
        for picture in pictures:
            fmap = self.cache.get(note(load_picture(picture)))
            assert fmap is not None
            yield {(None, "up:1"): fmap}


def note(picture: Picture) -> Provenance:
    return Provenance(model="stored", tap="up:1", picture_sha256=picture.content_hash)


def write(folder: Path, pictures: int) -> None:
    """JPEG files and their features: a pattern a category, moved and disturbed in each picture."""
    rng, cache = np.random.default_rng(0), FeatureCache(folder / "features")
    for number in range(pictures):
        small = rng.integers(0, 255, (15, 20, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize(SIZE_WH, Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:03d}.jpg", quality=90)
        shape = ("smooth", CHANNELS, GRID)
        pattern = make_features(*shape, seed=number // CATEGORY)[0]
        own = make_features(*shape, seed=1000 + number)[0]
        moved = np.roll(pattern, rng.integers(0, GRID, 2), axis=(1, 2))
        values = torch.from_numpy(0.7 * moved + 0.3 * own).half()
        loaded = load_picture(folder / f"{number:03d}.jpg")
        cache.put(FeatureMap(values, SIZE_WH, provenance=note(loaded)))


def dataset(folder: Path, pictures: int, pairs: int) -> KeypointPairs:
    """Ordered pairs within a category, 10 to 15 points each, a box around the thing."""
    every = [
        pair for pair in permutations(range(pictures), 2) if len({i // CATEGORY for i in pair}) == 1
    ]
    chosen = sorted(random.Random(0).sample(every, pairs))
    rng, found = np.random.default_rng(0), []
    for number, (source, target) in enumerate(chosen):
        count = int(rng.integers(10, 16))
        source_px, target_px = (rng.integers(0, SIZE_WH, (count, 2)).astype(float) for _ in "ab")
        found.append(
            KeypointPair(
                id=f"{number:06d}",
                category=f"category {source // CATEGORY}",
                source=folder / f"{source:03d}.jpg",
                target=folder / f"{target:03d}.jpg",
                source_size_wh=SIZE_WH,
                target_size_wh=SIZE_WH,
                source_px=source_px,
                target_px=target_px,
                source_box=(50, 50, 450, 325),
                target_box=(50, 50, 450, 325),
            )
        )
    return KeypointPairs("made-up pairs", folder, {"reader": "spair"}, tuple(found))


@dataclass(frozen=True)
class Result:
    """Seconds a pair, bytes above the start, predictions by pair."""

    seconds: float
    peak: int
    found: dict[str, np.ndarray]


def run_reference(folder: Path, pictures: int, pairs: int, count: int) -> Result:
    return run_plain(folder, pictures, pairs, count, reference)


def run_once(folder: Path, pictures: int, pairs: int, count: int) -> Result:
    return run_plain(folder, pictures, pairs, count, reference_once)


def run_plain(
    folder: Path,
    pictures: int,
    pairs: int,
    count: int,
    predict: Callable[[FeatureMap, FeatureMap, np.ndarray], np.ndarray],
) -> Result:
    """Some of the pairs, each timed on its own: the median."""
    torch.set_num_threads(1)
    some = dataset(folder, pictures, pairs).pairs[:: max(1, pairs // count)][:count]
    stored = Stored(folder / "features")
    maps = {
        path: replace(fmap, values=fmap.values.float())
        for path in {p for pair in some for p in (pair.source, pair.target)}
        for fmap in stored.extract([path])
    }
    before, seconds, found = start_memory(), [], {}
    for pair in some:
        start = time.process_time()
        points = predict(maps[pair.source], maps[pair.target], pair.source_px)
        correct_points(points, pair.target_px, 0.1 * 400)
        seconds.append(time.process_time() - start)
        found[pair.id] = points
    return Result(statistics.median(seconds), resident_bytes("VmHWM") - before, found)


def run_ours(folder: Path, pictures: int, pairs: int, cache_bytes: int) -> Result:
    """All pairs, everything counted."""
    torch.set_num_threads(1)
    data, stored = dataset(folder, pictures, pairs), Stored(folder / "features")
    with tempfile.TemporaryDirectory() as out:
        before, start = start_memory(), time.process_time()
        file = Path(out) / "predictions.safetensors"
        made = predict_pairs(stored, data, file=file, cache_bytes=cache_bytes)
        score(data, made.points, find_protocol("dift"))
        seconds = time.process_time() - start
    return Result(seconds / pairs, resident_bytes("VmHWM") - before, dict(made.points))


def start_memory() -> int:
    """What the process holds; its peak begins anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident_bytes("VmRSS")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--reference-pairs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder, args.pictures)
        given = (folder, args.pictures, args.pairs)
        contenders = {
            "reference": (run_reference, args.reference_pairs),
            "reference, normalised once": (run_once, args.reference_pairs),
            "counterpoint": (run_ours, CACHE_BYTES),
            "counterpoint, little memory": (run_ours, 64 << 20),
        }
        results: dict[str, list[Result]] = {name: [] for name in contenders}
        for _ in range(args.repeats):
            for name, (how, last) in contenders.items():
                with context.Pool(1) as fresh:
                    results[name].append(fresh.apply(how, (*given, last)))
    print(f"{args.pictures} pictures, {args.pairs} pairs; medians of {args.repeats} runs in turn")
    print("contender".ljust(30) + "ms a pair   times faster   peak MB   same pixels")
    base = statistics.median(one.seconds for one in results["reference"])
    expected = results["reference"][0].found
    for name, several in results.items():
        seconds = statistics.median(one.seconds for one in several)
        peak = statistics.median(one.peak for one in several)
        same = np.mean([(several[0].found[i] == points).all() for i, points in expected.items()])
        ratio = base / seconds
        print(f"{name:30}{seconds * 1e3:9.1f}{ratio:15.0f}{peak / 1e6:10.0f}{same:14.0%}")


if __name__ == "__main__":
    main()
