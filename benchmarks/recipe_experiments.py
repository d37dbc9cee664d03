"""Experiments on the embedded model's recipe that are no options of it.

Each swaps one piece of the training for the time of a trial: what noise is added, how the loss is
weighted, how pictures are augmented, or the network itself. All stay denoising of pictures by a
diffusion model. `recipe_trials.py` runs them by name.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from counterpoint.backbones import small_net
from counterpoint.backbones.small import Small
from counterpoint.backbones.small_net import NetConfig, NetTap, SmallNet
from counterpoint.training import augment, recipe
from counterpoint.training.objective import NoisyBatch, Objective

BLOCK_PX = 8
SNR_LIMIT = 5.0


def pink(noise: Tensor) -> Tensor:
    """White noise (..., height, width) with the amplitude of natural pictures, 1 / frequency.

    Unit variance on average over all frequencies; the constant is that of the lowest frequency.
    """
    height, width = noise.shape[-2:]
    down = torch.fft.fftfreq(height, device=noise.device)[:, None]
    across = torch.fft.rfftfreq(width, device=noise.device)[None]
    amplitude = 1 / (down.square() + across.square()).sqrt().clamp(min=1 / 64)
    full = torch.cat([amplitude, amplitude[:, 1 : (width + 1) // 2]], dim=1)
    amplitude = amplitude / full.square().mean().sqrt()
    return torch.fft.irfft2(torch.fft.rfft2(noise.float()) * amplitude, s=(height, width)).to(noise)


class PinkNoise(Objective):
    """Noise with a natural spectrum: every frequency is drowned at the same time step."""

    def add_noise(self, clean: Tensor, generator: torch.Generator) -> NoisyBatch:
        t = self._steps(len(clean), generator, clean.device)
        noise = pink(torch.randn(clean.shape, generator=generator, device=clean.device))
        return _noisy(self, clean, noise, t)

    def _steps(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        low, high = self.config.t_low, self.config.t_high
        return torch.randint(low, high + 1, (n,), generator=generator, device=device)


class TwoLevels(Objective):
    """A random half of a picture's blocks is noisier by up to 400 steps; t names the cleaner half.

    What lies under the noisier blocks has to come from the rest of the picture.
    """

    share = 0.5
    further = (100, 400)

    def add_noise(self, clean: Tensor, generator: torch.Generator) -> NoisyBatch:
        n, device = len(clean), clean.device
        low, high = self.config.t_low, self.config.t_high
        t = torch.randint(low, high + 1, (n,), generator=generator, device=device)
        more = torch.randint(*self.further, (n,), generator=generator, device=device)
        cells = clean.shape[-1] // BLOCK_PX
        chosen = torch.rand(n, 1, cells, cells, generator=generator, device=device) < self.share
        chosen = chosen.repeat_interleave(BLOCK_PX, 2).repeat_interleave(BLOCK_PX, 3)
        noisier = self.alphas[(t + more).clamp(max=999)].view(n, 1, 1, 1)
        alpha = torch.where(chosen, noisier, self.alphas[t].view(n, 1, 1, 1))
        noise = torch.randn(clean.shape, generator=generator, device=device)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        return NoisyBatch(noisy, t, self.alphas[t].view(n, 1, 1, 1))


class HiddenBlocks(TwoLevels):
    """Three quarters of the blocks are all but noise: masked pictures, told by denoising."""

    share = 0.75
    further = (500, 800)


class MinSNR(Objective):
    """min-SNR weights (Hang et al. 2023): for the clean picture, the signal-to-noise up to 5."""

    def loss(self, predicted: Tensor, clean: Tensor, batch: NoisyBatch) -> Tensor:
        snr = batch.alpha / (1 - batch.alpha)
        return (snr.clamp(max=SNR_LIMIT) * (predicted - clean).square()).mean() / SNR_LIMIT


def _noisy(objective: Objective, clean: Tensor, noise: Tensor, t: Tensor) -> NoisyBatch:
    alpha = objective.alphas[t].view(-1, 1, 1, 1)
    return NoisyBatch(alpha.sqrt() * clean + (1 - alpha).sqrt() * noise, t, alpha)


def jittered(pixels: Tensor, size_px: int, generator: torch.Generator, **options: Any) -> Tensor:
    """`random_crops` with mild changes of brightness, contrast and each colour's strength."""
    crops = _crops(pixels, size_px, generator, **options)

    def around(centre: float, by: float, channels: int) -> Tensor:
        u = torch.rand(len(crops), channels, 1, 1, generator=generator, device=crops.device)
        return centre + by * (2 * u - 1)

    return (crops * around(1, 0.2, 1) * around(1, 0.1, 3) + around(0, 0.2, 1)).clamp(-1, 1)


def coloured(pixels: Tensor, size_px: int, generator: torch.Generator, **options: Any) -> Tensor:
    """`random_crops`, each with contrast, saturation, hue and brightness of its own.

    Contrast by a quarter, saturation by a half, hue by an eighth of a turn, brightness by 0.15.
    """
    crops = _crops(pixels, size_px, generator, **options)

    def around(by: float) -> Tensor:
        return by * (2 * torch.rand(len(crops), 1, 1, 1, generator=generator) - 1).to(crops)

    mean = crops.mean(dim=(1, 2, 3), keepdim=True)
    crops = mean + (crops - mean) * (1 + around(0.25))
    angle, saturation = around(math.pi / 4)[:, :, 0], (1 + around(0.5))[:, :, 0]
    grey = torch.full((3, 3), 1 / 3).to(crops)
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]).to(crops) / 3**0.5
    turned = angle.cos() * (torch.eye(3).to(crops) - grey) + angle.sin() * across
    crops = torch.einsum("nij,njhw->nihw", grey + saturation * turned, crops)
    return (crops + around(0.15)).clamp(-1, 1)


_crops = augment.random_crops


class TransformerNet(SmallNet):
    """A U-ViT (Bao et al. 2023) in the place of the U-Net: tokens of patches, long skips."""

    def __init__(self, config: NetConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.unet = _UViT(config)


class _UViT(nn.Module):
    """Width and depth from ``widths[0]`` and ``layers`` (blocks before the middle one)."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        width, channels = config.widths[0], 3 * config.patch_px**2
        self.width = width
        self.conv_in = nn.Conv2d(channels, width, 1)
        self.time_embedding = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )
        heads = width // config.head_dim
        self.down = nn.ModuleList(_Block(width, heads) for _ in range(config.layers))
        self.mid = _Block(width, heads)
        self.joins = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(config.layers))
        self.up = nn.ModuleList(_Block(width, heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.conv_out = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, patches: Tensor, t: Tensor) -> Tensor:
        height, width = patches.shape[-2:]
        x = self.conv_in(patches).flatten(2).transpose(1, 2)
        x = x + _places(height, width, self.width, x.device).to(x.dtype)
        time = self.time_embedding(_waves(t.float(), self.width).to(x.dtype))
        x = torch.cat([time[:, None].to(x.dtype), x], dim=1)
        kept: list[Tensor] = []
        for block in self.down:
            x = block(x, height)
            kept.append(x)
        x = self.mid(x, height)
        for join, block in zip(self.joins, self.up, strict=True):
            x = block(join(torch.cat([x, kept.pop()], dim=2)), height)
        x = self.norm(x)[:, 1:].transpose(1, 2).unflatten(2, (height, width))
        return self.conv_out(x)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.seen = _Grid()

    def forward(self, x: Tensor, height: int) -> Tensor:
        h = self.norm1(x)
        q, k, v = (
            part(h).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(attended)
        x = x + self.narrow(F.gelu(self.wide(self.norm2(x)), approximate="tanh"))
        self.seen(x, height)
        return x


class _Grid(nn.Module):
    """The tokens as a grid, (batch, width, rows, columns): a place to hook."""

    def forward(self, x: Tensor, height: int) -> Tensor:
        return x[:, 1:].transpose(1, 2).unflatten(2, (height, -1))


def _waves(t: Tensor, width: int) -> Tensor:
    frequencies = torch.exp(torch.linspace(0, -9.2, width // 2, device=t.device))
    angles = t[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _places(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Sines and cosines of a cell's place, in units of an eighth of the picture."""
    rows = (torch.arange(height, device=device) + 0.5) * 8 / height
    columns = (torch.arange(width, device=device) + 0.5) * 8 / width
    grid = torch.cat(
        [
            _waves(rows, channels // 2)[:, None].expand(height, width, -1),
            _waves(columns, channels // 2)[None].expand(height, width, -1),
        ],
        dim=-1,
    )
    return grid.flatten(0, 1)


def _transformer(config: NetConfig) -> SmallNet:
    return TransformerNet(config)


def _transformer_taps(config: NetConfig) -> tuple[NetTap, ...]:
    width, stride = config.widths[0], config.patch_px
    places = ["mid.seen", *(f"up.{i}.seen" for i in range(config.layers))]
    return tuple(NetTap(place[:-5], f"unet.{place}", width, stride) for place in places)


class PinkSmall(Small):
    """`Small` under the noise that it was trained with."""

    def _add_noise(self, clean: Tensor, noise: Tensor, t: int) -> Tensor:
        return super()._add_noise(clean, pink(noise), t)


EXPERIMENTS: Mapping[str, tuple[tuple[Any, str, Any], ...]] = {
    # name: what is swapped: (of what, name, by what)
    "pink noise": ((recipe, "Objective", PinkNoise),),
    "two levels": ((recipe, "Objective", TwoLevels),),
    "hidden blocks": ((recipe, "Objective", HiddenBlocks),),
    "min-SNR": ((recipe, "Objective", MinSNR),),
    "jitter": ((recipe, "random_crops", jittered),),
    "colours apart": ((recipe, "random_crops", coloured),),
    "U-ViT": ((small_net, "build", _transformer), (small_net, "taps", _transformer_taps)),
}
BACKBONES: Mapping[str, type[Small]] = {"pink noise": PinkSmall}
"""How the network is read, where `Small` would not do."""


@contextmanager
def experiment(names: Sequence[str]) -> Generator[type[Small]]:
    """The training with pieces swapped, and the class that reads the weights."""
    with ExitStack() as stack:
        for name in names:
            for of, piece, by in EXPERIMENTS[name]:
                stack.enter_context(patch.object(of, piece, by))
        readers = [BACKBONES[name] for name in names if name in BACKBONES]
        yield readers[0] if readers else Small
