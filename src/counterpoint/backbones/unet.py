"""The U-Net of the embedded model, in plain torch.

The network of DDPM (Ho et al. 2020): resnets with a time embedding, self-attention at some levels,
skips from the way down to the way up. Tensors are named, ordered and drawn as those of diffusers'
`UNet2DModel`, whose outputs it has (`tests/unit/test_unet.py`). It stands here because importing
diffusers brings half of transformers and SciPy with it: 3.5 seconds, which was two thirds of what
finding a point with the embedded model took.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

Grid = Float[Tensor, "_ _ _ _"]  # batch, channels, rows, columns
Embedding = Float[Tensor, "_ _"]  # batch, channels

EPS = 1e-5
"""Of the group norms."""

MAX_PERIOD = 10000
"""Of the time steps' sinusoids."""


class ResnetBlock(nn.Module):
    """Two convolutions around a residual, the time embedding added between them."""

    def __init__(self, channels: int, out_channels: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, EPS)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, EPS)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        differs = channels != out_channels
        self.conv_shortcut = nn.Conv2d(channels, out_channels, 1) if differs else None

    def forward(self, grid: Grid, embedding: Embedding) -> Grid:
        """The block's output, of ``out_channels`` channels."""
        inner = self.conv1(F.silu(self.norm1(grid)))
        inner = inner + self.time_emb_proj(F.silu(embedding))[:, :, None, None]
        inner = self.conv2(F.silu(self.norm2(inner)))
        return inner + (grid if self.conv_shortcut is None else self.conv_shortcut(grid))


class Attention(nn.Module):
    """Self-attention between all cells of a grid, around a residual.

    Attributes:
        fused: torch's fused attention, which holds no matrix of all pairs of cells. On a CPU in
            bfloat16 plain products are three times faster.
        together: so many neighbours in the batch see each other's cells as well as their own.
    """

    def __init__(self, channels: int, head_dim: int, groups: int) -> None:
        super().__init__()
        self.heads = channels // head_dim
        self.fused = False
        self.together = 1
        inner = self.heads * head_dim
        self.group_norm = nn.GroupNorm(groups, channels, EPS)
        self.to_q = nn.Linear(channels, inner)
        self.to_k = nn.Linear(channels, inner)
        self.to_v = nn.Linear(channels, inner)
        self.to_out = nn.ModuleList([nn.Linear(inner, channels)])

    def forward(self, grid: Grid) -> Grid:
        """The block's output, shaped like its input."""
        cells = self.group_norm(grid.flatten(2)).transpose(1, 2)
        cells = cells.reshape(len(cells) // self.together, -1, cells.shape[2])
        q, k, v = (
            to(cells).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for to in (self.to_q, self.to_k, self.to_v)
        )
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = _attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)).view_as(q)
        out = self.to_out[0](mixed.transpose(1, 2).flatten(2))
        out = out.reshape(len(grid), -1, out.shape[2])
        return out.transpose(1, 2).reshape(grid.shape) + grid


def _attend(
    q: Float[Tensor, "heads cells dim"],
    k: Float[Tensor, "heads cells dim"],
    v: Float[Tensor, "heads cells dim"],
) -> Float[Tensor, "heads cells dim"]:
    """Plain products; the softmax in float32."""
    nothing = torch.empty(len(q), q.shape[1], k.shape[1], dtype=q.dtype, device=q.device)
    scale = q.shape[2] ** -0.5
    scores = torch.baddbmm(nothing, q, k.transpose(1, 2), beta=0, alpha=scale)
    return torch.bmm(scores.float().softmax(dim=-1).to(q.dtype), v)


class Downsample(nn.Module):
    """Half the grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, grid: Grid) -> Grid:
        """(B, C, h / 2, w / 2)."""
        return self.conv(grid)


class Upsample(nn.Module):
    """Twice the grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, grid: Grid) -> Grid:
        """(B, C, 2 h, 2 w)."""
        return self.conv(F.interpolate(grid, scale_factor=2.0, mode="nearest"))


@dataclass(frozen=True)
class Level:
    """The shape of one level's blocks.

    Attributes:
        channels: of its grid.
        embedding: length of the time embedding.
        groups: of the group norms.
        head_dim: channels of an attention head; None: no attention.
    """

    channels: int
    embedding: int
    groups: int
    head_dim: int | None


class Block(nn.Module):
    """Resnets of one level, each with its attention where there is any.

    Args:
        inputs: channels that each resnet takes.
        level: its shape.
        attended: how many of the resnets have an attention behind them.
    """

    attentions: nn.ModuleList | None

    def __init__(self, inputs: Sequence[int], level: Level, attended: int | None = None) -> None:
        super().__init__()
        resnets, attentions = list[nn.Module](), list[nn.Module]()
        attended = len(inputs) if attended is None else attended
        for number, channels in enumerate(inputs):
            resnets.append(ResnetBlock(channels, level.channels, level.embedding, level.groups))
            if level.head_dim is not None and number < attended:
                attentions.append(Attention(level.channels, level.head_dim, level.groups))
        self.attentions = nn.ModuleList(attentions) if attentions else None
        self.resnets = nn.ModuleList(resnets)

    def layer(self, number: int, grid: Grid, embedding: Embedding) -> Grid:
        """One resnet, and its attention."""
        grid = self.resnets[number](grid, embedding)
        attended = self.attentions is not None and number < len(self.attentions)
        return self.attentions[number](grid) if self.attentions and attended else grid


class DownBlock(Block):
    """A level on the way down."""

    def __init__(self, inputs: Sequence[int], level: Level, *, last: bool) -> None:
        super().__init__(inputs, level)
        self.downsamplers = None if last else nn.ModuleList([Downsample(level.channels)])

    def forward(self, grid: Grid, embedding: Embedding) -> tuple[Grid, list[Grid]]:
        """The output, and the grids for the way up."""
        kept: list[Grid] = []
        for number in range(len(self.resnets)):
            grid = self.layer(number, grid, embedding)
            kept.append(grid)
        if self.downsamplers is not None:
            grid = self.downsamplers[0](grid)
            kept.append(grid)
        return grid, kept


class MidBlock(Block):
    """The coarsest grid: a resnet, attention, a resnet."""

    def __init__(self, level: Level) -> None:
        super().__init__((level.channels, level.channels), level, attended=1)

    def forward(self, grid: Grid, embedding: Embedding) -> Grid:
        """The output, shaped like the input."""
        return self.layer(1, self.layer(0, grid, embedding), embedding)


class UpBlock(Block):
    """A level on the way up."""

    def __init__(self, inputs: Sequence[int], level: Level, *, last: bool) -> None:
        super().__init__(inputs, level)
        self.upsamplers = None if last else nn.ModuleList([Upsample(level.channels)])

    def forward(self, grid: Grid, kept: list[Grid], embedding: Embedding) -> Grid:
        """The output.

        Args:
            grid: from below.
            kept: grids of the way down, the last first taken; those used are taken out.
            embedding: of the time steps.
        """
        for number in range(len(self.resnets)):
            grid = self.layer(number, torch.cat([grid, kept.pop()], dim=1), embedding)
        return grid if self.upsamplers is None else self.upsamplers[0](grid)


class TimeEmbedding(nn.Module):
    """Time steps as vectors: sinusoids through two linear layers."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = nn.Linear(channels, out_channels)
        self.linear_2 = nn.Linear(out_channels, out_channels)

    def forward(self, t: Int[Tensor, " batch"]) -> Embedding:
        """The vectors of time steps, (B, out_channels)."""
        waves = sinusoids(t, self.channels).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


def sinusoids(t: Int[Tensor, " batch"], channels: int) -> Float[Tensor, "batch channels"]:
    """Cosines, then sines, of time steps at ``channels / 2`` frequencies."""
    half = channels // 2
    exponent = -math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32, device=t.device)
    angle = t[:, None].float() * (exponent / half).exp()
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class UNet(nn.Module):
    """The network.

    Args:
        channels: of input and output.
        widths: channels by level, finest first.
        layers: resnets a level on the way down; one more on the way up.
        attention: which levels attend, finest first.
        head_dim: channels of an attention head.
        groups: of the group norms.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        layers: int,
        attention: Sequence[bool],
        head_dim: int,
        groups: int,
    ) -> None:
        super().__init__()
        embedding, last = 4 * widths[0], len(widths) - 1
        levels = [
            Level(width, embedding, groups, head_dim if on else None)
            for width, on in zip(widths, attention, strict=True)
        ]
        # Built in this order, random weights are those of the same seed in diffusers.
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], embedding)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for i, level in enumerate(levels):
            inputs = [widths[max(i - 1, 0)], *[widths[i]] * (layers - 1)]
            self.down_blocks.append(DownBlock(inputs, level, last=i == last))
        self.mid_block = MidBlock(replace(levels[-1], head_dim=head_dim))
        for i, level in reversed([*enumerate(levels)]):
            below = [widths[min(i + 1, last)], *[widths[i]] * layers]
            skips = [*[widths[i]] * layers, widths[max(i - 1, 0)]]
            inputs = [a + b for a, b in zip(below, skips, strict=True)]
            self.up_blocks.append(UpBlock(inputs, level, last=i == 0))
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], EPS)
        self.conv_out = nn.Conv2d(widths[0], channels, 3, padding=1)

    def forward(self, grid: Grid, t: Int[Tensor, " batch"]) -> Grid:
        """The prediction.

        Args:
            grid: (B, C, h, w); sides divisible by 2 to the power of the levels less one.
            t: (B,) time steps.
        """
        embedding = self.time_embedding(t)
        grid = self.conv_in(grid)
        kept = [grid]
        for block in self.down_blocks:
            grid, more = block(grid, embedding)
            kept += more
        grid = self.mid_block(grid, embedding)
        for block in self.up_blocks:
            grid = block(grid, kept, embedding)
        return self.conv_out(F.silu(self.conv_norm_out(grid)))


def attend_across(network: nn.Module, views: int = 2) -> None:
    """Let every attention see all crops of a picture, neighbours in the batch, at once.

    The idea of cross-view completion (CroCo, Weinzaepfel et al. 2022) as denoising: where one crop
    is mostly noise, what it shows can be taken from another, by finding it there. Crops that are
    all alike get what the ordinary attention gives each alone, so weights trained with this are
    read without it.
    """
    for module in network.modules():
        if isinstance(module, Attention):
            module.together = views


def linear_betas(count: int) -> Float[Tensor, " steps"]:
    """DDPM's noise schedule (Ho et al. 2020): from 0.0001 to 0.02."""
    return torch.linspace(1e-4, 0.02, count, dtype=torch.float32)


def cosine_betas(count: int) -> Float[Tensor, " steps"]:
    """The squared cosine of Nichol and Dhariwal (2021)."""

    def kept(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    steps = (1 - kept((i + 1) / count) / kept(i / count) for i in range(count))
    return torch.tensor([min(beta, 0.999) for beta in steps], dtype=torch.float32)
