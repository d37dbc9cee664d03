"""A guided-diffusion network of random weights, tiny, as the original's bare state dict."""

import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

HEAD_CHANNELS = 16


class OriginalNames:
    """Every tensor of a guided-diffusion U-Net, by the original's names.

    Args:
        base: channels of the first convolution.
        multipliers: of them, per resolution, the finest first.
        layers: residual blocks per resolution on the way down.
        attended: which resolutions attend, counted from the finest.
    """

    def __init__(
        self, base: int, multipliers: Sequence[int], layers: int, attended: Collection[int]
    ) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.time_channels = 4 * base
        self._layer("time_embed.0", self.time_channels, base)
        self._layer("time_embed.2", self.time_channels, self.time_channels)
        self._layer("input_blocks.0.0", base, 3, 3, 3)
        widths = [base * m for m in multipliers]
        channels, skips = base, [base]
        for level, width in enumerate(widths):
            for _ in range(layers):
                block = f"input_blocks.{len(skips)}"
                self._residual(f"{block}.0", channels, width)
                if level in attended:
                    self._attention(f"{block}.1", width)
                channels = width
                skips.append(channels)
            if level < len(widths) - 1:
                self._residual(f"input_blocks.{len(skips)}.0", channels, channels)
                skips.append(channels)
        self._residual("middle_block.0", channels, channels)
        self._attention("middle_block.1", channels)
        self._residual("middle_block.2", channels, channels)
        count = len(skips)
        for level in reversed(range(len(widths))):
            for layer in range(layers + 1):
                block, children = f"output_blocks.{count - len(skips)}", 1
                self._residual(f"{block}.0", channels + skips.pop(), widths[level])
                channels = widths[level]
                if level in attended:
                    self._attention(f"{block}.1", channels)
                    children = 2
                if level and layer == layers:
                    self._residual(f"{block}.{children}", channels, channels)
        self._layer("out.0", channels)
        self._layer("out.2", 6, channels, 3, 3)

    def _layer(self, name: str, *shape: int) -> None:
        self.shapes[f"{name}.weight"] = shape
        self.shapes[f"{name}.bias"] = shape[:1]

    def _residual(self, name: str, before: int, after: int) -> None:
        self._layer(f"{name}.in_layers.0", before)
        self._layer(f"{name}.in_layers.2", after, before, 3, 3)
        self._layer(f"{name}.emb_layers.1", 2 * after, self.time_channels)
        self._layer(f"{name}.out_layers.0", after)
        self._layer(f"{name}.out_layers.3", after, after, 3, 3)
        if before != after:
            self._layer(f"{name}.skip_connection", after, before, 1, 1)

    def _attention(self, name: str, channels: int) -> None:
        self._layer(f"{name}.norm", channels)
        self._layer(f"{name}.qkv", 3 * channels, channels, 1)
        self._layer(f"{name}.proj_out", channels, channels, 1)


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Of 256x256_diffusion_uncond.pt: attention at an eighth of the size and below."""
    return OriginalNames(256, (1, 1, 2, 2, 4, 4), layers=2, attended=(3, 4, 5)).shapes


def tiny_tensors() -> dict[str, Tensor]:
    """Three resolutions of 32 channels, one residual block each, half precision."""
    generator = torch.Generator().manual_seed(0)
    shapes = OriginalNames(32, (1, 1, 1), layers=1, attended=(2,)).shapes
    return {
        name: _values(name, shape, generator).half().contiguous() for name, shape in shapes.items()
    }


def _values(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    drawn = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        # Strong attention would spread every change in a picture over the whole of it.
        gain = 0.1 if "proj_out" in name else 1.0
        return gain * drawn / math.sqrt(math.prod(shape[1:]))
    return 0.1 * drawn + name.endswith((".norm.weight", "layers.0.weight", "out.0.weight"))


def write_tiny_adm(folder: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """Write the tiny network, or other tensors, under the published file's name, about 1 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "256x256_diffusion_uncond.pt"
    torch.save(tiny_tensors() if tensors is None else tensors, path)
    (folder / "config.json").write_text(json.dumps({"num_head_channels": HEAD_CHANNELS}))
    return path
