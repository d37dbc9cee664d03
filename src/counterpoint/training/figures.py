"""What a training run shows: noisy pictures with the network's estimates, and the curve."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from counterpoint.backbones.small_net import SmallNet, alphas_cumprod, clean_estimate
from counterpoint.errors import BadInput, MissingExtra
from counterpoint.files import write_bytes
from counterpoint.images import Picture
from counterpoint.plots import Canvas, draw_strip

STEPS = (50, 150, 300, 500)
"""Time steps of the sample grid."""


def denoising_grid(
    net: SmallNet,
    pictures: UInt8[Tensor, "pictures 3 side side"],
    timesteps: Sequence[int] = STEPS,
    seed: int = 0,
) -> Canvas:
    """One row a picture: itself, then at each time step the noisy picture and the estimate.

    Args:
        net: the network.
        pictures: uint8 RGB; the side divisible as the network needs.
        timesteps: 0 to 999.
        seed: of the noise.
    """
    clean = pictures.float() / 127.5 - 1
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    columns = [("clean", clean)]
    for t in timesteps:
        alpha = alphas_cumprod(net.config)[t]
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        with torch.inference_mode():
            steps = torch.full((len(noisy),), t)
            found = clean_estimate(net.config, net(noisy, steps), noisy, steps)
        columns += [(f"t = {t}", noisy), ("estimate", found)]
    tiles = [
        Picture(_rgb(batch[row]), name) for row in range(len(clean)) for name, batch in columns
    ]
    return draw_strip(tiles, height_px=128, columns=len(columns))


def _rgb(picture: Tensor) -> UInt8[np.ndarray, "side side 3"]:
    scaled = (picture.clamp(-1, 1) * 127.5 + 127.5).round().byte()
    return scaled.permute(1, 2, 0).numpy()


def draw_curve(curve: Path | str, out: Path | str) -> Path:
    """Loss and held-out scores against pictures seen, as a PNG.

    Args:
        curve: ``curve.jsonl`` of a run.
        out: the PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
        BadInput: not such a file, or an empty one.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtra("figures", "curves")
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    entries = _entries(Path(curve))
    scored = [entry for entry in entries if "scores" in entry]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = [(entry["pictures"], entry["loss"]) for entry in entries if "loss" in entry]
    left.plot(*zip(*losses, strict=True), color="#0072B2", linewidth=0.8)
    left.set(xlabel="pictures seen", ylabel="loss", yscale="log")
    for name in sorted({name for entry in scored for name in entry["scores"]}):
        points = [(e["pictures"], e["scores"][name]) for e in scored if name in e["scores"]]
        right.plot(*zip(*points, strict=True), "o-", markersize=3, label=name)
    right.set(xlabel="pictures seen", ylabel="held out, per cent")
    if scored:
        right.set_ylim(0, 1.1 * max(max(entry["scores"].values()) for entry in scored) or 1)
        right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    write_bytes(out, drawn.getvalue())
    return Path(out)


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise BadInput(f"expected a run's curve.jsonl, cannot read {path}: {error}") from error
    if not any("loss" in entry for entry in entries):
        raise BadInput(f"expected losses in {path}, found none")
    return entries
