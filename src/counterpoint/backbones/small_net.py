"""The network of the embedded model: a small diffusion U-Net over patches of pixels.

A `UNet` between a pixel-unshuffle and a pixel-shuffle, so that its finest grid has one cell per
patch. One safetensors file holds the weights and, in its metadata, the configuration
and the history of the compute that went into them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from counterpoint.backbones.unet import UNet, cosine_betas, linear_betas
from counterpoint.errors import BadInput, MissingWeights, ModelError, UnknownName, WeightsMismatch
from counterpoint.files import write_bytes

Prediction = Literal["sample", "epsilon", "v_prediction"]
"""What the network's output stands for, in diffusers' words; "sample" is the clean picture."""

Schedule = Literal["linear", "squaredcos_cap_v2"]

FORMAT = "counterpoint-small/1"
TIMESTEPS = 1000


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """The shape of the network and the diffusion it was trained for.

    Attributes:
        patch_px: side of the patch that becomes one cell of the finest grid.
        widths: channels by level, finest first; each level halves the grid.
        layers: resnets a level on the way down (one more on the way up).
        attention: which levels attend, finest first.
        head_dim: channels of an attention head.
        groups: of the group norms.
        prediction: what the output stands for.
        schedule: diffusers' name of the noise schedule, over 1000 steps.
        train_size_px: side of the training crops.
    """

    patch_px: int = 4
    widths: tuple[int, ...] = (64, 128, 192)
    layers: int = 1
    attention: tuple[bool, ...] = (False, True, True)
    head_dim: int = 32
    groups: int = 16
    prediction: Prediction = "sample"
    schedule: Schedule = "linear"
    train_size_px: int = 64

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.attention):
            raise BadInput(
                f"expected one attention flag per level, got {len(self.widths)} widths and "
                f"{len(self.attention)} flags"
            )
        if any(width % self.groups for width in self.widths):
            raise BadInput(f"expected widths divisible by {self.groups}, got {self.widths}")
        if self.train_size_px % self.multiple_px:
            raise BadInput(
                f"expected a training size divisible by {self.multiple_px}, "
                f"got {self.train_size_px}"
            )
        for value, known in ((self.prediction, Prediction), (self.schedule, Schedule)):
            if value not in get_args(known):
                raise UnknownName("prediction or schedule", value, get_args(known))

    @property
    def multiple_px(self) -> int:
        """Both sides of the input must be divisible by this."""
        return self.patch_px * 2 ** (len(self.widths) - 1)

    def to_json(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "NetConfig":
        """Back from `to_json`.

        Raises:
            BadInput: not such a text, or a field that this version does not know.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            for name in ("widths", "attention"):
                fields[name] = tuple(fields[name])
            return cls(**fields)
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"expected a network configuration as JSON, got {error}") from error


def alphas_cumprod(config: NetConfig) -> Float[Tensor, "1000"]:
    """The schedule's cumulative product: ``x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise``."""
    betas = linear_betas if config.schedule == "linear" else cosine_betas
    return (1 - betas(TIMESTEPS)).cumprod(dim=0)


def clean_estimate(
    config: NetConfig,
    predicted: Float[Tensor, "batch 3 height width"],
    noisy: Float[Tensor, "batch 3 height width"],
    t: Int[Tensor, "batch"],
) -> Float[Tensor, "batch 3 height width"]:
    """The network's estimate of the clean picture, whatever its output stands for."""
    if config.prediction == "sample":
        return predicted
    alpha = alphas_cumprod(config).to(noisy)[t].view(-1, 1, 1, 1)
    if config.prediction == "epsilon":
        return (noisy - (1 - alpha).sqrt() * predicted) / alpha.sqrt()
    return alpha.sqrt() * noisy - (1 - alpha).sqrt() * predicted


class SmallNet(nn.Module):
    """The network, from noisy pictures to its prediction.

    Attributes:
        config: its shape.
        unet: the U-Net over patches; its submodules can be hooked, and ``unet.compile()``
            compiles it in place.
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(
            3 * config.patch_px**2,
            config.widths,
            config.layers,
            config.attention,
            config.head_dim,
            config.groups,
        )

    def forward(
        self, noisy: Float[Tensor, "batch 3 height width"], t: Int[Tensor, "#batch"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """The prediction at noisy pictures.

        Args:
            noisy: x_t; the clean picture's range is -1 to 1. Sides divisible by
                ``config.multiple_px``.
            t: time steps, 0 to 999.
        """
        patches = F.pixel_unshuffle(noisy, self.config.patch_px)
        patches = patches.contiguous(memory_format=torch.channels_last)
        predicted = self.unet(patches, t.expand(len(noisy)))
        return F.pixel_shuffle(predicted, self.config.patch_px)


def build(config: NetConfig) -> SmallNet:
    """The network with fresh random weights, from torch's global generator."""
    net = SmallNet(config)
    return net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True)
class NetTap:
    """A place where features can be read.

    Attributes:
        name: "mid", "up:I" (output of up block I), or "up:I.layer:J", J counted over all up blocks;
            a resnet with its attention, and the upsampler, are one layer each, as in DIFT.
        module: path of the submodule within `SmallNet` whose output it is, (B, C, h, w).
        channels: length of the feature vectors.
        stride_px: input pixels per cell.
    """

    name: str
    module: str
    channels: int
    stride_px: int


def taps(config: NetConfig) -> tuple[NetTap, ...]:
    """Every tap, in the order of the forward pass."""
    levels = len(config.widths)
    found = [NetTap("mid", "unet.mid_block", config.widths[-1], config.multiple_px)]
    layer = 0
    for i in range(levels):
        level = levels - 1 - i
        width, stride = config.widths[level], config.patch_px * 2**level
        kind = "attentions" if config.attention[level] else "resnets"
        places = [(f"{kind}.{j}", stride) for j in range(config.layers + 1)]
        if level:
            places.append(("upsamplers.0", stride // 2))
        for path, grid in places:
            module = f"unet.up_blocks.{i}.{path}"
            found.append(NetTap(f"up:{i}.layer:{layer}", module, width, grid))
            layer += 1
        path, grid = places[-1]
        found.append(NetTap(f"up:{i}", f"unet.up_blocks.{i}.{path}", width, grid))
    return tuple(found)


@dataclass(frozen=True)
class Weights:
    """What a weights file holds.

    Attributes:
        config: of the network.
        tensors: by name, as stored.
        history: one entry per training run that went into them: pictures, seconds, device, ...
    """

    config: NetConfig
    tensors: dict[str, Tensor]
    history: tuple[dict[str, Any], ...]

    def network(self, dtype: torch.dtype = torch.float32) -> SmallNet:
        """The network with these weights, in evaluation mode.

        Raises:
            WeightsMismatch: the tensors are another network's.
        """
        net = build(self.config)
        try:
            net.load_state_dict(self.tensors)
        except RuntimeError as error:
            raise WeightsMismatch(f"weights do not fit {self.config}: {_line(error)}") from error
        return net.to(dtype).eval().requires_grad_(False)


def save(
    path: Path | str,
    config: NetConfig,
    tensors: Mapping[str, Tensor],
    history: tuple[dict[str, Any], ...] = (),
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write one safetensors file, atomically: weights in ``dtype``, the rest as metadata.

    Raises:
        StorageError: the place cannot be written, or the disk is full.
        ModelError: a weight is NaN or infinite.
    """
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise ModelError(f"expected finite weights, got NaN or infinity in {bad[0]}; not saved")
    stored = {name: value.detach().to("cpu", dtype).contiguous() for name, value in tensors.items()}
    metadata = {"format": FORMAT, "config": config.to_json(), "history": json.dumps(list(history))}
    write_bytes(path, to_bytes(stored, metadata))


def load(path: Path | str) -> Weights:
    """Read what `save` wrote.

    Raises:
        MissingWeights: no such file.
        ModelError: truncated, or not such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingWeights(f"expected weights at {path}, found no file; train or copy them there")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ModelError(
                    f"expected {path} to be of format {FORMAT}, got {metadata.get('format')}"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        history = tuple(json.loads(metadata["history"]))
        return Weights(NetConfig.from_json(metadata["config"]), tensors, history)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"cannot read weights from {path}: {_line(error)}") from error


def parameters_in_millions(net: nn.Module) -> float:
    """Size of a network."""
    return math.fsum(p.numel() for p in net.parameters()) / 1e6


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
