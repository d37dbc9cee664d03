"""Changes to the embedded model's recipe, one at a time, at equal compute.

Each trial measures its own speed first, so that every one trains for the same time with its rates
falling to zero at the end. It is scored on one half of the birds (even index), the half for
choosing; nothing here looks at the other. One JSON line a trial; a trial that is there is not run
again.

    python benchmarks/recipe_trials.py --data PACKED --cub CUB_200_2011 --out TRIALS.jsonl
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from counterpoint.backbones.small import Small
from counterpoint.benchmarks.cub_pairs import CubCrops, prepare, score_prior, score_taps
from counterpoint.benchmarks.datasets.cub import read_cub
from counterpoint.benchmarks.stereo import motorcycle, score_stereo
from counterpoint.options import Options
from counterpoint.training import TrainConfig, preset, train

SIZES_PX, STEPS, PAIRS = (64, 128), (50, 150), 400

TRIALS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # name: (changes of the network, changes of the recipe)
    "as shipped": ({}, {}),
    "as shipped, seed 1": ({}, {"seed": 1}),
    "t 200 to 900": ({}, {"t_low": 200, "t_high": 900}),
    "patch 2": (
        {"patch_px": 2, "widths": (32, 64, 128, 192), "attention": (False, False, True, True)},
        {},
    ),
    "AdamW alone": ({}, {"muon_rate": 0.0}),
    "Muon 0.02": ({}, {"muon_rate": 0.02}),
    "Muon 0.003": ({}, {"muon_rate": 0.003}),
    "Muon, decay 0.05": ({}, {"muon_weight_decay": 0.05}),
    "v-prediction": ({"prediction": "v_prediction"}, {}),
    "32 px, patch 2": ({"patch_px": 2, "train_size_px": 32}, {}),
    "32 px, patch 4": ({"train_size_px": 32}, {}),
    "one level, attention": (
        {"widths": (128,), "layers": 4, "attention": (True,), "groups": 16},
        {},
    ),
    "narrow": ({"widths": (48, 96, 128)}, {}),
    "wide": ({"widths": (96, 192, 288)}, {}),
    "crops from 8 per cent": ({}, {"crop_area": 0.08}),
    "crops from 80 per cent": ({}, {"crop_area": 0.8}),
    "t 20 to 200": ({}, {"t_high": 200}),
    "t 0 to 100": ({}, {"t_low": 0, "t_high": 100}),
    "patch 8": ({"patch_px": 8, "widths": (128, 192), "attention": (True, True)}, {}),
    "four levels": (
        {"widths": (64, 128, 192, 192), "attention": (False, True, True, True)},
        {},
    ),
    "batch 24": ({}, {"batch": 24}),
    "epsilon-prediction": ({"prediction": "epsilon"}, {}),
    "cosine schedule": ({"schedule": "squaredcos_cap_v2"}, {}),
    "animals only": ({}, {"below_wnid": "n026"}),
    "two layers a level": ({"layers": 2}, {}),
    "batch 192": ({}, {"batch": 192}),
}


def configuration(name: str) -> TrainConfig:
    """A trial's recipe."""
    of_net, of_recipe = TRIALS[name]
    small = preset("small")
    return small.but(net=replace(small.net, **of_net), compile=True, **of_recipe)


def pictures_in(config: TrainConfig, data: Path, seconds: float) -> int:
    """How many pictures the recipe sees in a time, from a short run of it."""
    speeds: list[float] = []
    short = config.but(pictures=60 * config.batch, report_steps=10, checkpoint_seconds=1e9)
    torch.compiler.reset()  # else torch stops compiling after eight networks
    with tempfile.TemporaryDirectory() as folder:
        train(short, data, folder, on_progress=lambda r: speeds.append(r.pictures_per_second))
    return int(seconds * sorted(speeds[1:])[len(speeds[1:]) // 2])


def scores(weights: Path, benchmark: CubCrops) -> dict[str, Any]:
    """PCK by tap, mean over input sizes and time steps, and the stereo pair."""
    model = Small(
        replace(Small.untrained().spec, name=str(weights)), torch.device("cpu"), torch.float32
    )
    cells: dict[str, list[float]] = {}
    for size in SIZES_PX:
        for t in STEPS:
            for row in score_taps(model, benchmark, t=t, options=Options(size=size)):
                cells.setdefault(row.tap, []).append(row.pck.per_point)
    grid = motorcycle()
    stereo = {row.tap: row.share for row in score_stereo(model, grid, t=20)}
    return {"pck": cells, "stereo": stereo}


def run(name: str, data: Path, benchmark: CubCrops, seconds: float) -> dict[str, Any]:
    """Train and score one trial."""
    config = configuration(name)
    pictures = pictures_in(config, data, seconds)
    losses: list[float] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        weights = train(
            config.but(pictures=pictures, checkpoint_seconds=1e9),
            data,
            folder,
            on_progress=lambda r: losses.append(r.loss),
        )
        took = time.monotonic() - began
        found = scores(weights, benchmark)
    return {
        "trial": name,
        "pictures": pictures,
        "seconds": round(took),
        "loss": losses[-1],
        **found,
        "config": asdict(config),
    }


def summary(entry: dict[str, Any]) -> str:
    """One row of the table: the best tap by its mean over sizes and time steps."""
    means = {tap: fmean(values) for tap, values in entry["pck"].items()}
    tap = max(means, key=means.__getitem__)
    geo = max(entry["stereo"], key=entry["stereo"].__getitem__)
    cells = " ".join(f"{value:.1f}" for value in entry["pck"][tap])
    return (
        f"| {entry['trial']} | {entry['pictures'] / 1000:.0f} k | {means[tap]:.1f} | {tap} "
        f"| {cells} | {entry['stereo'][geo]:.0f} ({geo}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cub", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/small-trials.jsonl"))
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--only", nargs="*", default=list(TRIALS))
    parser.add_argument("--table", action="store_true", help="only print what is there")
    args = parser.parse_args()
    done = (
        [json.loads(line) for line in args.out.read_text().splitlines()]
        if args.out.exists()
        else []
    )
    if not args.table:
        benchmark = prepare(read_cub(args.cub).half("even"), pairs=PAIRS)
        print(f"same position {score_prior(benchmark).pck.per_point:.1f}")
        for name in args.only:
            if name not in {entry["trial"] for entry in done}:
                done.append(run(name, args.data, benchmark, args.seconds))
                with args.out.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
                print(summary(done[-1]), flush=True)
    cells = ", ".join(f"{size} px t {t}" for size in SIZES_PX for t in STEPS)
    print(f"| trial | pictures | PCK, best tap's mean | tap | {cells} | stereo, best tap |")
    print("|---|---|---|---|---|---|")
    print("\n".join(summary(entry) for entry in sorted(done, key=lambda e: e["trial"])))


if __name__ == "__main__":
    main()
