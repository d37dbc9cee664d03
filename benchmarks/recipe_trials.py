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
from recipe_experiments import experiment

from counterpoint.backbones.small import Small
from counterpoint.backbones.small_net import NetConfig
from counterpoint.benchmarks.birds.crops import CubCrops, prepare, score_prior, score_taps
from counterpoint.benchmarks.datasets.cub import read_cub
from counterpoint.benchmarks.stereo import motorcycle, score_stereo
from counterpoint.files import write_bytes
from counterpoint.options import Options
from counterpoint.training import TrainConfig, train

SIZES_PX, STEPS, PAIRS = (64, 128), (50, 150), 400

FIRST = TrainConfig(net=NetConfig(schedule="linear"), t_high=500, second_view=None)
"""The recipe that was shipped first; every trial is a change of it."""

SECOND_VIEW: dict[str, Any] = {"t_high": 300, "second_view": (300, 900), "crop_area": 0.2}
COSINE: dict[str, Any] = {"schedule": "squaredcos_cap_v2"}

UVIT: dict[str, Any] = {
    "patch_px": 8,
    "widths": (256,),
    "layers": 3,
    "attention": (True,),
}

TRIALS: dict[str, tuple[dict[str, Any], dict[str, Any], *tuple[str, ...]]] = {
    # name: (changes of the network, changes of the recipe, experiments of recipe_experiments.py)
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
    "cosine schedule, seed 1": ({"schedule": "squaredcos_cap_v2"}, {"seed": 1}),
    "animals only": ({}, {"below_wnid": "n026"}),
    "two layers a level": ({"layers": 2}, {}),
    "batch 192": ({}, {"batch": 192}),
    "cosine, pink noise": (COSINE, {}, "pink noise"),
    "cosine, two levels of noise": (COSINE, {}, "two levels"),
    "cosine, hidden blocks": (COSINE, {"t_high": 100}, "hidden blocks"),
    "cosine, second view": (
        COSINE,
        SECOND_VIEW,
    ),
    "cosine, second view, jitter": (COSINE, SECOND_VIEW, "jitter"),
    "cosine, min-SNR": (COSINE, {}, "min-SNR"),
    "cosine, jitter": (COSINE, {}, "jitter"),
    "cosine, animals only": (COSINE, {"below_wnid": "n026"}),
    "cosine, two layers a level": (COSINE | {"layers": 2}, {}),
    "the shipped weights' recipe, colours apart": (
        COSINE,
        {"t_high": 300, "second_view": (500, 950), "muon_rate": 0.004, "seed": 5},
        "colours apart",
    ),
    "cosine, 96 px": (COSINE | {"train_size_px": 96}, {}),
    "cosine, t 20 to 700": (COSINE, {"t_high": 700}),
    "cosine, t 20 to 300": (COSINE, {"t_high": 300}),
    "cosine, U-ViT": (COSINE | UVIT, {}, "U-ViT"),
    "cosine, U-ViT, two levels": (COSINE | UVIT, {}, "U-ViT", "two levels"),
    "cosine, U-ViT, pink noise": (COSINE | UVIT, {}, "U-ViT", "pink noise"),
}


def configuration(name: str, *, compiled: bool) -> TrainConfig:
    """A trial's recipe."""
    of_net, of_recipe, *_ = TRIALS[name]
    return FIRST.but(net=replace(FIRST.net, **of_net), compile=compiled, **of_recipe)


def pictures_in(config: TrainConfig, data: Path, seconds: float) -> int:
    """How many pictures the recipe sees in a time, from a short run of it."""
    speeds: list[float] = []
    short = config.but(pictures=60 * config.batch, report_steps=10, checkpoint_seconds=1e9)
    torch.compiler.reset()  # else torch stops compiling after eight networks
    with tempfile.TemporaryDirectory() as folder:
        train(short, data, folder, on_progress=lambda r: speeds.append(r.pictures_per_second))
    return int(seconds * sorted(speeds[1:])[len(speeds[1:]) // 2])


def scores(weights: Path, benchmark: CubCrops, reader: type[Small]) -> dict[str, Any]:
    """PCK by tap, mean over input sizes and time steps, and the stereo pair."""
    model = reader(
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


def run(
    name: str,
    data: Path,
    benchmark: CubCrops,
    seconds: float,
    keep: Path | None,
    *,
    compiled: bool,
    pictures: int | None = None,
    init_from: Path | None = None,
) -> dict[str, Any]:
    """Train and score one trial; keep its weights in a folder if there is one."""
    config, experiments = configuration(name, compiled=compiled), TRIALS[name][2:]
    with experiment(experiments) as reader:
        pictures = pictures or pictures_in(config, data, seconds)
        losses: list[float] = []
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            weights = train(
                config.but(pictures=pictures, checkpoint_seconds=1e9),
                data,
                folder,
                init_from=init_from,
                on_progress=lambda r: losses.append(r.loss),
            )
            took = time.monotonic() - began
            found = scores(weights, benchmark, reader)
            if keep:
                write_bytes(keep / f"{name}.safetensors", weights.read_bytes())
    return {
        "trial": name,
        "pictures": pictures,
        "seconds": round(took),
        "loss": losses[-1],
        **found,
        "config": asdict(config),
        "experiments": experiments,
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
    parser.add_argument("--pictures", type=int, help="so many, however long it takes")
    parser.add_argument("--init-from", type=Path, help="weights to begin with")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--keep", type=Path, help="folder for the trials' weights")
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
                trial = run(
                    name,
                    args.data,
                    benchmark,
                    args.seconds,
                    args.keep,
                    compiled=not args.eager,
                    pictures=args.pictures,
                    init_from=args.init_from,
                )
                done.append(trial)
                with args.out.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
                print(summary(done[-1]), flush=True)
    cells = ", ".join(f"{size} px t {t}" for size in SIZES_PX for t in STEPS)
    print(f"| trial | pictures | PCK, best tap's mean | tap | {cells} | stereo, best tap |")
    print("|---|---|---|---|---|---|")
    print("\n".join(summary(entry) for entry in sorted(done, key=lambda e: e["trial"])))


if __name__ == "__main__":
    main()
