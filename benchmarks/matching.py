"""Exact matching against the plain reference: the same pixels, time and memory, in one run.

    python benchmarks/matching.py [--channels 1280] [--grid 48] [--size 375x500] [--points 10 100]

Every contender runs in a fresh process on one thread, over the same features and points. Times are
medians of processor seconds, so that a busy machine does not count; memory is a process's peak
during its first call, above what it held before (on Linux).

- ``reference``: protocol `dift` as its evaluation has it. Both maps are upsampled to the pictures'
  sizes; for every point the target is normalised and multiplied.
- ``reference, normalised once``: the same with one normalisation and one product for all points.
- ``match without the way back``: from two feature maps, nothing prepared; pixel and margin.
- ``match``: with the way back, so both directions.
- ``match, prepared maps``: the last on maps prepared beforehand.

``--features smooth`` has neighbouring cells alike, as networks' are; ``noise`` is white noise;
``plain`` is a target that is the same everywhere, where no bound leaves anything out.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from counterpoint.features import FeatureMap
from counterpoint.matching import PreparedMap, match
from counterpoint.options import parse_size

Predict = Callable[[np.ndarray], np.ndarray]


def reference(source: FeatureMap, target: FeatureMap, points_px: np.ndarray) -> np.ndarray:
    """The protocol to the letter: (N, 2) whole pixels of the target."""
    up_source, up_target = upsampled(source), upsampled(target)
    w, _ = target.image_size_wh
    found = []
    for x, y in points_px.astype(int):
        vector = F.normalize(up_source[:, y, x], dim=0)
        cosines = F.normalize(up_target.flatten(1).T, dim=1) @ vector
        found.append(divmod(int(cosines.argmax()), w)[::-1])
    return np.array(found)


def reference_once(source: FeatureMap, target: FeatureMap, points_px: np.ndarray) -> np.ndarray:
    """The same, the target normalised once; a hundred points to a product."""
    up_source, up_target = upsampled(source), upsampled(target)
    w, _ = target.image_size_wh
    x, y = torch.as_tensor(points_px.astype(int)).T
    unit = F.normalize(up_target.flatten(1), dim=0)
    vectors = F.normalize(up_source[:, y, x], dim=0).T
    best = torch.cat([(some @ unit).argmax(dim=1) for some in vectors.split(100)])
    return torch.stack([best % w, best // w], dim=1).numpy()


def upsampled(fmap: FeatureMap) -> torch.Tensor:
    w, h = fmap.image_size_wh
    return F.interpolate(fmap.values[None], (h, w), mode="bilinear", align_corners=False)[0]


def exact(
    source: FeatureMap | PreparedMap,
    target: FeatureMap | PreparedMap,
    points_px: np.ndarray,
    cycle: bool,
) -> np.ndarray:
    return match(source, target, points_px, cycle=cycle).target_px.astype(int)


CONTENDERS = {
    "reference": lambda a, b: partial(reference, a, b),
    "reference, normalised once": lambda a, b: partial(reference_once, a, b),
    "match without the way back": lambda a, b: partial(exact, a, b, cycle=False),
    "match": lambda a, b: partial(exact, a, b, cycle=True),
    "match, prepared maps": lambda a, b: partial(exact, PreparedMap(a), PreparedMap(b), cycle=True),
}


@dataclass(frozen=True)
class Result:
    """One contender at one number of points: seconds, bytes above the start, predictions."""

    seconds: float
    peak: int
    found: np.ndarray


def run(name: str, folder: Path, size_wh: tuple[int, int], count: int, repeats: int) -> Result:
    """In a process of its own: once for peak memory, then timed."""
    torch.set_num_threads(1)
    maps = [FeatureMap(torch.from_numpy(np.load(folder / f"{i}.npy")), size_wh) for i in (0, 1)]
    points_px = np.load(folder / "points.npy")[:count]
    predict = CONTENDERS[name](*maps)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident_bytes("VmRSS")
    found = predict(points_px)
    peak = resident_bytes("VmHWM") - before
    return Result(statistics.median(timed(predict, points_px) for _ in range(repeats)), peak, found)


def timed(predict: Predict, points_px: np.ndarray) -> float:
    start = time.process_time()
    predict(points_px)
    return time.process_time() - start


def resident_bytes(field: str) -> int:
    """Memory of this process as Linux counts it: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def make_features(kind: str, channels: int, grid: int, seed: int = 0) -> list[np.ndarray]:
    """Two maps of which the second is the first, moved by (5, 3) cells and disturbed."""
    generator = torch.Generator().manual_seed(seed)
    first, other = torch.randn(2, channels, grid, grid, generator=generator)
    if kind == "smooth":
        first, other = (
            F.avg_pool2d(F.pad(m[None], [2] * 4, "circular"), 5, 1)[0] for m in (first, other)
        )
    if kind == "plain":
        other = torch.ones_like(other)
        return [first.numpy(), other.numpy()]
    return [m.numpy() for m in (first, 0.7 * first.roll((3, 5), (1, 2)) + 0.3 * other)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--channels", type=int, default=1280)
    parser.add_argument("--grid", type=int, default=48, help="cells a side")
    parser.add_argument("--size", type=parse_size, default=(375, 500), help="of both pictures")
    parser.add_argument("--points", type=int, nargs="+", default=[10])
    parser.add_argument("--features", choices=["smooth", "noise", "plain"], default="smooth")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    return parser.parse_args()


def report(count: int, results: dict[str, Result]) -> None:
    """A table; ratios are to the first row, agreement is the share of equal pixels."""
    base = next(iter(results.values()))
    print(f"\n{count} points".ljust(33) + "seconds   times faster   peak MB   same pixels")
    for name, result in results.items():
        same = (result.found == base.found).all(axis=1).mean()
        faster = base.seconds / result.seconds
        print(f"{name:32}{result.seconds:7.4f}{faster:15.1f}{result.peak / 1e6:10.0f}{same:14.0%}")


def main() -> None:
    args = arguments()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        folder, (w, h) = Path(temporary), args.size
        for i, values in enumerate(make_features(args.features, args.channels, args.grid)):
            np.save(folder / f"{i}.npy", values)
        points = np.random.default_rng(0).integers(0, (w, h), (max(args.points), 2))
        np.save(folder / "points.npy", points)
        shape = f"{args.channels} x {args.grid} x {args.grid}"
        print(f"{args.features} features {shape}, pictures of {w} x {h} pixels")
        for count in args.points:
            results = {}
            for name in args.only:
                repeats = min(args.repeats, 3) if name.startswith("reference") else args.repeats
                with context.Pool(1) as fresh:
                    results[name] = fresh.apply(run, (name, folder, args.size, count, repeats))
            report(count, results)


if __name__ == "__main__":
    main()
