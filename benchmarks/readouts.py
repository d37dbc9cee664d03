"""Ways to read the embedded model's features out, each on its own: what the network alone gives,
and what is fitted on training pictures around it.

    python benchmarks/readouts.py --data PACKED --cub CUB_200_2011 --half odd
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from counterpoint.backbones import load
from counterpoint.benchmarks.birds.crops import (
    CubCrops,
    nearest,
    prepare,
    score_method,
    score_prior,
)
from counterpoint.benchmarks.datasets.cub import read_cub
from counterpoint.features import FeatureMap, join
from counterpoint.images import Picture
from counterpoint.options import Options
from counterpoint.training.pictures import load_packed

Change = Callable[[Tensor], Tensor]
"""From values (channels, rows, columns) to others of the same shape."""


class Statistics:
    """Of features at one place, over training pictures (pictures, channels, rows, columns)."""

    def __init__(self, values: Tensor) -> None:
        self.mean = values.mean((0, 2, 3))[:, None, None]
        self.by_cell = values.mean(0)
        centred = (values - self.mean).permute(1, 0, 2, 3).flatten(1)
        self.spread, self.axes = torch.linalg.eigh(centred @ centred.T / centred.shape[1])

    def whiten(self, shrinkage: float) -> Change:
        """ZCA: all directions with the same variance, the smallest ones damped."""
        scale = (self.spread.clamp(min=0) + shrinkage * self.spread.mean()) ** -0.5
        matrix = (self.axes * scale) @ self.axes.T
        return lambda x: (matrix @ (x - self.mean).flatten(1)).reshape(x.shape)

    def principal(self, count: int) -> Change:
        """Only the first principal components, in the place of all."""
        axes = self.axes[:, -count:]
        matrix = axes @ axes.T
        return lambda x: (matrix @ (x - self.mean).flatten(1)).reshape(x.shape)

    def changes(self) -> dict[str, Change]:
        return {
            "as they are": lambda x: x,
            "less the mean": lambda x: x - self.mean,
            "less the mean of each cell": lambda x: x - self.by_cell,
            "whitened": self.whiten(0.1),
            "32 components": self.principal(32),
        }


def pck(benchmark: CubCrops, maps: Sequence[FeatureMap]) -> str:
    by_index = dict(zip(benchmark.pictures, maps, strict=True))
    score = score_method(benchmark, nearest(benchmark, by_index)).compute()
    return score.interval.around(score.per_point)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cub", type=Path, required=True)
    parser.add_argument("--model", default="small")
    parser.add_argument("--half", choices=["even", "odd"], default="odd")
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--pictures", type=int, default=600, help="training pictures for fitting")
    parser.add_argument("--t", type=int, nargs=2, default=[50, 150])
    parser.add_argument("--taps", nargs=2, default=["up:1.layer:3", "up:1.layer:4"])
    args = parser.parse_args()
    model = load(args.model, device="cpu")
    benchmark = prepare(read_cub(args.cub).half(args.half), pairs=args.pairs)
    crops = list(benchmark.pictures.values())
    packed = load_packed(args.data)
    chosen = torch.randperm(len(packed.pixels), generator=torch.Generator().manual_seed(0))
    training = [
        Picture(packed.pixels[i].permute(1, 2, 0).numpy().copy(), f"training {i}")
        for i in chosen[: args.pictures].tolist()
    ]
    print(f"same position {score_prior(benchmark).pck.per_point:.1f}")
    for size in (64, 128):
        options = Options(size=size, t=tuple(args.t))
        grids = list(model.stream_grid(crops, args.taps, options))
        for place in grids[0]:
            fitted = model.stream_grid(training, [place[1]], options.but(t=place[0]))
            stats = Statistics(torch.stack([grid[place].values for grid in fitted]))
            for name, change in stats.changes().items():
                maps = [replace(g[place], values=change(g[place].values)) for g in grids]
                print(f"{size} px, t {place[0]}, {place[1]}: {name} {pck(benchmark, maps)}")
        (a, b), (s, t) = args.taps, args.t
        several = {
            f"t {s}+{t}, {b}": [(s, b), (t, b)],
            f"t {t}, {a}+{b}": [(t, a), (t, b)],
            f"t {s}+{t}, {a}+{b}": [(s, a), (t, a), (s, b), (t, b)],
        }
        for name, places in several.items():
            maps = [join([grid[place] for place in places]) for grid in grids]
            print(f"{size} px, {name}: concatenated {pck(benchmark, maps)}", flush=True)
        for draws in (2, 8):
            maps = model.extract(crops, Options(size=size, t=t, tap=b, ensemble=draws))
            print(f"{size} px, t {t}, {b}: ensemble of {draws} {pck(benchmark, maps)}", flush=True)


if __name__ == "__main__":
    main()
