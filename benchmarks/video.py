"""Label propagation against the plain algorithm: one frame, time and memory, in one run.

    python benchmarks/video.py [--grid 104x60] [--channels 640] [--context 28] [--radius 15]

The defaults are DIFT_sd's on DAVIS-2017: 832 x 480 pixels, up block 2 of Stable Diffusion 2.1, a
full context. Every contender runs in a fresh process on one thread, over the same features. Times
are medians of processor seconds, so that a busy machine does not count; memory is a process's peak
above what it held before the first frame's features were made, the context's features included.

- ``reference``: the affinity of all cells with all cells of all context frames, times the
  neighbourhood's mask, `topk` over it, and a product with the labels; in place where it can be,
  and without the original's copies of the mask. It needs 9 GB at the defaults.
- ``banded``: `counterpoint.tasks.tracking.propagation.LabelPropagator`.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from counterpoint.options import parse_size
from counterpoint.tasks.tracking.propagation import LabelPropagator, Propagation

Step = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Case:
    """What is propagated: grid (columns, rows), channels, labels, the parameters."""

    grid_wh: tuple[int, int]
    channels: int
    labels: int
    settings: Propagation

    def features(self, frame: int) -> torch.Tensor:
        """Smooth features of a scene that moves a cell a frame, (channels, rows, columns)."""
        w, h = self.grid_wh
        scene, own = (smooth((self.channels, h, w), seed) for seed in (0, 1 + frame))
        return 0.8 * scene.roll(frame, 2) + 0.2 * own

    def marks(self, frame: int) -> torch.Tensor:
        """Soft labels, (labels, rows, columns)."""
        w, h = self.grid_wh
        return torch.softmax(smooth((self.labels, h, w), 1000).roll(frame, 2) * 20, dim=0)


def smooth(shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return F.avg_pool2d(F.pad(noise[None], [2] * 4, "circular"), 5, 1)[0]


def reference(case: Case) -> Step:
    """The algorithm as published, all at once."""
    set_, (w, h) = case.settings, case.grid_wh
    frames = range(set_.context + 1)
    context = [F.normalize(case.features(i), dim=0).flatten(1) for i in frames]
    labels = torch.stack([case.marks(i).flatten(1) for i in frames])
    query = F.normalize(case.features(set_.context + 1), dim=0).flatten(1)
    near = neighbourhood(w, h, set_.radius)

    def step() -> torch.Tensor:
        sources = torch.stack(context)
        queries = query.T.expand(len(context), -1, -1)
        affinity = torch.bmm(queries, sources).div_(set_.temperature).exp_().mul_(near)
        affinity = affinity.transpose(1, 2).reshape(-1, w * h)
        least = affinity.topk(set_.topk, dim=0).values.amin(dim=0)
        affinity[affinity < least] = 0
        affinity /= affinity.sum(dim=0, keepdim=True)
        return (labels.transpose(0, 1).flatten(1) @ affinity).reshape(-1, h, w)

    return step


def neighbourhood(w: int, h: int, radius: int | None) -> torch.Tensor:
    """1 where two cells are at most ``radius`` apart along both axes, (cells, cells)."""
    cells = torch.arange(h * w)
    y, x = cells // w, cells % w
    reach = w + h if radius is None else radius
    return (((y[:, None] - y).abs() <= reach) & ((x[:, None] - x).abs() <= reach)).float()


def banded(case: Case) -> Step:
    context = case.settings.context
    propagator = LabelPropagator(case.features(0), case.marks(0), case.settings)
    for i in range(1, context + 1):
        propagator.add(case.features(i), case.marks(i))
    query = case.features(context + 1)
    # Each call carries the query on in place of the oldest frame: as much work as the one before.
    return lambda: propagator.step(query)


CONTENDERS = {"reference": reference, "banded": banded}


@dataclass(frozen=True)
class Result:
    """One contender: seconds a frame, bytes above the start, the labels found."""

    seconds: float
    peak: int
    found: np.ndarray


def run(name: str, case: Case, repeats: int) -> Result:
    """In a process of its own: once for peak memory, then timed."""
    torch.set_num_threads(1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident_bytes("VmRSS")
    with torch.inference_mode():
        step = CONTENDERS[name](case)
        first, found = timed(step)
        peak = resident_bytes("VmHWM") - before
        seconds = [timed(step)[0] for _ in range(repeats)] or [first]
    return Result(statistics.median(seconds), peak, found.numpy())


def timed(step: Step) -> tuple[float, torch.Tensor]:
    start = time.process_time()
    found = step()
    return time.process_time() - start, found


def resident_bytes(field: str) -> int:
    """Memory of this process as Linux counts it: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--grid", type=parse_size, default=(104, 60), help="columns x rows")
    parser.add_argument("--channels", type=int, default=640)
    parser.add_argument("--labels", type=int, default=3)
    parser.add_argument("--context", type=int, default=28)
    parser.add_argument("--radius", type=int, default=15)
    parser.add_argument("--topk", type=int, default=15)
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--repeats", type=int, default=3, help="of each; 0: the first call counts")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    return parser.parse_args()


def main() -> None:
    args = arguments()
    settings = Propagation(
        temperature=args.temperature, topk=args.topk, radius=args.radius, context=args.context
    )
    case = Case(args.grid, args.channels, args.labels, settings)
    w, h = case.grid_wh
    print(f"{args.channels} x {h} x {w} features, {args.context} + 1 context frames, {settings}")
    print("".ljust(12) + "seconds a frame   times faster   peak MB   largest difference")
    base = None
    for name in args.only:
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            result = fresh.apply(run, (name, case, args.repeats))
        base = base or result
        faster, off = base.seconds / result.seconds, abs(result.found - base.found).max()
        print(
            f"{name:12}{result.seconds:15.2f}{faster:15.1f}{result.peak / 1e6:10.0f}{off:21.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
