"""OpenAI's guided diffusion, 256 x 256 unconditional: DIFT_adm (Tang et al. 2023).

The published checkpoint (Dhariwal and Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis")
is a bare state dict. Its tensors' names and shapes say what the network is; it runs as diffusers'
`UNet2DModel`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from jaxtyping import Float
from torch import Tensor

from counterpoint.backbones.base import Tap
from counterpoint.backbones.hooks import run_to_taps, run_with_taps
from counterpoint.backbones.network import DiffusionBackbone, Posterior, Taps
from counterpoint.backbones.weights import TensorFiles, file_sha256, resolve_weights
from counterpoint.errors import ModelError, WeightsMismatch
from counterpoint.geometry import SizeWH
from counterpoint.options import TIMESTEPS

Shape = tuple[int, ...]

# Modules outside the blocks, and what a block's modules are called inside: diffusers' name by the
# original's.
_OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_INSIDE = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
    "group_norm": "norm",
    "to_q": "qkv",
    "to_k": "qkv",
    "to_v": "qkv",
    "to_out.0": "proj_out",
}
_QKV = ("to_q", "to_k", "to_v")


class ADM(DiffusionBackbone):
    """A guided-diffusion U-Net in pixel space, from a checkpoint under the original's names.

    Taps are the output blocks, "out:0" to "out:17" in the published network (DIFT's
    ``up_ft_index``): a residual block, its attention where it has one, its upsampler where it ends
    a resolution.

    A ``config.json`` beside the checkpoint may say what tensors do not show: ``num_head_channels``
    (64 if it says nothing) and ``use_new_attention_order`` (false).
    """

    def _build(self, download: bool) -> None:
        self.path = resolve_weights(self.spec, download=download)
        self._file = _OriginalFile(self.path)
        self._net = self._file.network
        self._blocks = self._file.architecture.output_blocks()
        self._taps = self._file.architecture.taps()
        self.multiple = self._taps[0].stride_px
        self._abar = alphas_cumprod()

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The output blocks."""
        return self._taps

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the checkpoint."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return file_sha256(self.path)

    def held_parameters(self) -> int:
        """Parameters that are in memory now."""
        return sum(p.numel() for p in self._net.parameters() if not p.is_meta)

    def _encode(self, pixels: Float[Tensor, "batch 3 rows columns"]) -> Posterior:
        return Posterior(pixels)

    def _add_noise(self, clean: Tensor, noise: Tensor, t: int) -> Tensor:
        abar = self._abar[t]
        return abar.sqrt().item() * clean + (1 - abar).sqrt().item() * noise

    def decode(
        self, state: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """The state is pixels already."""
        return state

    def _denoise(self, noisy: Tensor, t: int, prompt: str, taps: tuple[str, ...]) -> Taps:  # noqa: ARG002
        numbers = {tap: int(tap.removeprefix("out:")) for tap in taps}
        last = max(numbers.values())
        self._file.fill(self._net, self._modules_to(last), self.device, self.dtype)
        return run_to_taps(
            {tap: self._net.get_submodule(self._blocks[i][-1]) for tap, i in numbers.items()},
            self._net.get_submodule(self._blocks[last][-1]),
            lambda: self._net(noisy.to(self.dtype), t),
        )

    def _whole_pass(
        self,
        noisy: Tensor,
        t: int,
        prompt: str,  # noqa: ARG002
        taps: tuple[str, ...],
    ) -> tuple[Taps, Tensor]:
        whole = [name for name, _ in self._net.named_children()]
        self._file.fill(self._net, whole, self.device, self.dtype)
        modules = {
            tap: self._net.get_submodule(self._blocks[int(tap.removeprefix("out:"))][-1])
            for tap in taps
        }
        found, output = run_with_taps(modules, lambda: self._net(noisy.to(self.dtype), t).sample)
        # The last three of six channels are the learned variance, which DDIM does not ask.
        epsilon, abar = output[:, :3].to(noisy), self._abar[t]
        clean = (noisy - (1 - abar).sqrt().item() * epsilon) / abar.sqrt().item()
        return found, clean.clamp(-1, 1)

    @property
    def native_wh(self) -> SizeWH:
        """What the published network was trained on."""
        return 256, 256

    def _modules_to(self, block: int) -> list[str]:
        """Names of the modules that run up to an output block."""
        behind = {"up_blocks", "conv_norm_out", "conv_out"}
        before = [name for name, _ in self._net.named_children() if name not in behind]
        return before + [name for modules in self._blocks[: block + 1] for name in modules]


def alphas_cumprod() -> Float[Tensor, "timesteps"]:
    """The signal's share of the variance, abar_t: linear betas from 1e-4 to 0.02, in float64."""
    betas = torch.linspace(1e-4, 0.02, TIMESTEPS, dtype=torch.float64)
    return (1 - betas).cumprod(0)


@dataclass(frozen=True)
class Architecture:
    """What a guided-diffusion U-Net looks like: residual blocks that resize, scale-shift norms.

    Attributes:
        channels: per resolution, the finest first.
        attention: per resolution, whether its residual blocks are followed by attention.
        layers: residual blocks per resolution on the way down; one more on the way up.
        out_channels: 3, or 6 where the variance is learned too.
        head_channels: width of an attention head.
        new_attention_order: queries, keys and values are split before the heads, not inside them.
    """

    channels: tuple[int, ...]
    attention: tuple[bool, ...]
    layers: int
    out_channels: int
    head_channels: int = 64
    new_attention_order: bool = False

    @classmethod
    def of(cls, shapes: Mapping[str, Shape]) -> "Architecture":
        """Read off the tensors' original names and shapes.

        Raises:
            KeyError: of a tensor that every such network has.
        """
        # The first block with a second residual block, the upsampler, ends the first resolution.
        blocks = _count(shapes, "output_blocks")
        second = ("1.in_layers.0.weight", "2.in_layers.0.weight")
        ends = (i for i in range(blocks) if any(f"output_blocks.{i}.{s}" in shapes for s in second))
        layers = next(ends, blocks - 1)
        if layers < 1:
            raise KeyError("output_blocks.1.0.in_layers.0.weight")
        firsts = [f"input_blocks.{i}" for i in range(1, 1 + blocks, layers + 1)]
        return cls(
            channels=tuple(shapes[f"{first}.0.out_layers.3.weight"][0] for first in firsts),
            attention=tuple(f"{first}.1.qkv.weight" in shapes for first in firsts),
            layers=layers,
            out_channels=shapes["out.2.weight"][0],
        )

    def network(self) -> Any:
        """The network on ``meta``."""
        down = {True: "AttnDownBlock2D", False: "ResnetDownsampleBlock2D"}
        up = {True: "AttnUpBlock2D", False: "ResnetUpsampleBlock2D"}
        with torch.device("meta"):
            network = UNet2DModel(
                out_channels=self.out_channels,
                block_out_channels=self.channels,
                layers_per_block=self.layers,
                down_block_types=tuple(down[attends] for attends in self.attention),
                up_block_types=tuple(up[attends] for attends in reversed(self.attention)),
                downsample_type="resnet",
                upsample_type="resnet",
                resnet_time_scale_shift="scale_shift",
                attention_head_dim=self.head_channels,
                attn_norm_num_groups=32,
            )
        return network.eval().requires_grad_(False)

    def taps(self) -> tuple[Tap, ...]:
        """The output blocks, in the order they run."""
        found: list[Tap] = []
        stride = 2 ** (len(self.channels) - 1)
        for i, modules in enumerate(self.output_blocks()):
            if "upsamplers" in modules[-1]:
                stride //= 2
            found.append(Tap(f"out:{i}", self.channels[-1 - i // (self.layers + 1)], stride))
        return tuple(found)

    def input_blocks(self) -> list[tuple[str, ...]]:
        """Names of diffusers' modules, by the original's input block."""
        blocks = [("conv_in",)]
        for level, attends in enumerate(self.attention):
            blocks += [
                _modules(f"down_blocks.{level}", i, attends=attends) for i in range(self.layers)
            ]
            blocks.append((f"down_blocks.{level}.downsamplers.0",))
        return blocks[:-1]  # the coarsest resolution ends without one

    def output_blocks(self) -> list[tuple[str, ...]]:
        """Names of diffusers' modules, by the original's output block, in the order they run."""
        blocks: list[tuple[str, ...]] = []
        for level, attends in enumerate(reversed(self.attention)):
            blocks += [
                _modules(f"up_blocks.{level}", i, attends=attends) for i in range(self.layers + 1)
            ]
            if level < len(self.attention) - 1:
                blocks[-1] += (f"up_blocks.{level}.upsamplers.0",)
        return blocks

    def original_modules(self) -> dict[str, str]:
        """The original's name of every module, by diffusers'."""
        sides = {"input_blocks": self.input_blocks(), "output_blocks": self.output_blocks()}
        return _OUTSIDE | {
            module: f"{side}.{block}.{child}"
            for side, blocks in sides.items()
            for block, modules in enumerate(blocks)
            for child, module in enumerate(modules)
        }


def _modules(block: str, layer: int, *, attends: bool) -> tuple[str, ...]:
    resnet = f"{block}.resnets.{layer}"
    return (resnet, f"{block}.attentions.{layer}") if attends else (resnet,)


def _count(shapes: Iterable[str], blocks: str) -> int:
    return len({name.split(".")[1] for name in shapes if name.startswith(f"{blocks}.")})


class _OriginalFile(TensorFiles):
    """A checkpoint under the original's names, read under those of diffusers.

    Args:
        path: `.pt` or `.safetensors`.

    Raises:
        WeightsMismatch: it holds another network.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        shapes = self.shapes()
        try:
            self.architecture = _with_config(Architecture.of(shapes), path)
            self.network = self.architecture.network()
        except (KeyError, IndexError, ValueError) as error:
            raise _foreign(path, shapes, error) from error
        stored = self._stored_names()
        self._check(shapes, stored)
        self._where = {name: self._where[stored[name]] for name in stored}

    def _stored_names(self) -> dict[str, str]:
        """The original's name of every parameter, by diffusers'."""
        modules = self.architecture.original_modules()
        names: dict[str, str] = {}
        for name in self.network.state_dict():
            outer = next(module for module in modules if name.startswith(f"{module}."))
            *inner, leaf = name.removeprefix(f"{outer}.").split(".")
            inside = [_INSIDE[".".join(inner)]] if inner else []
            names[name] = ".".join([modules[outer], *inside, leaf])
        return names

    def _check(self, shapes: Mapping[str, Shape], stored: Mapping[str, str]) -> None:
        expected = {
            stored[name]: _stored_shape(name, tuple(value.shape))
            for name, value in self.network.state_dict().items()
        }
        differing = {
            "lacks": [name for name in expected if name not in shapes],
            "has no place for": [name for name in shapes if name not in expected],
            "has other shapes:": [
                f"{name} {shapes[name]}, expected {shape}"
                for name, shape in expected.items()
                if shapes.get(name, shape) != shape
            ],
        }
        for what, names in differing.items():
            if names:
                raise _mismatch(self.paths[0], what, names)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The named tensors; queries, keys and values are one in the file."""
        for name, tensor in super().read(names):
            part = next((i for i, which in enumerate(_QKV) if f".{which}." in name), None)
            yield name, tensor if part is None else self._part(tensor, part)

    def _part(self, qkv: Tensor, part: int) -> Tensor:
        head = self.architecture.head_channels
        if self.architecture.new_attention_order:
            return qkv.chunk(3)[part]
        return qkv.unflatten(0, (-1, 3, head))[:, part].flatten(0, 1)


def _stored_shape(name: str, shape: Shape) -> Shape:
    """The shape in the file: attention is by 1-D convolutions, queries, keys and values in one."""
    if ".attentions." not in name or ".group_norm." in name:
        return shape
    thrice = 3 if any(f".{which}." in name for which in _QKV) else 1
    return (thrice * shape[0], *shape[1:], *([1] if len(shape) == 2 else []))


def _with_config(architecture: Architecture, path: Path) -> Architecture:
    """What ``config.json`` beside the checkpoint says of the attention's heads."""
    file = path.with_name("config.json")
    try:
        config: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
        head = int(config.get("num_head_channels", architecture.head_channels))
        new_order = bool(config.get("use_new_attention_order", False))
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"expected a JSON object with num_head_channels in {file}, got {error}"
        ) from error
    found = replace(architecture, head_channels=head, new_attention_order=new_order)
    _check_heads(found, path)
    return found


def _check_heads(architecture: Architecture, path: Path) -> None:
    head = architecture.head_channels
    # The middle block attends whatever the coarsest resolution does.
    attends = (*architecture.attention[:-1], True)
    for channels, has in zip(architecture.channels, attends, strict=True):
        if has and (head < 1 or channels % head):
            raise WeightsMismatch(
                f"{path}: {channels} channels are no multiple of {head} channels a head; say "
                f"num_head_channels in {path.with_name('config.json')}"
            )


def _foreign(path: Path, shapes: Iterable[str], error: Exception) -> WeightsMismatch:
    lacking = f"lacks {error.args[0]}" if isinstance(error, KeyError) else "has other shapes"
    return WeightsMismatch(
        f"{path}: expected guided diffusion's original names, but it {lacking} and has "
        f"{', '.join(list(shapes)[:3])}; is it for another network?"
    )


def _mismatch(path: Path, what: str, names: list[str]) -> WeightsMismatch:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return WeightsMismatch(
        f"{path} {what} {', '.join(names[:4])}{more}; expected an unconditional guided-diffusion "
        "network with scale-shift norms and residual blocks that resize"
    )
