"""Stable Diffusion 1.x and 2.x as one `.safetensors` file under the names of the original code.

CompVis' and Stability's latent diffusion code names the U-Net ``model.diffusion_model.*``, the
VAE ``first_stage_model.*`` and the text encoder ``cond_stage_model.*``: OpenAI's CLIP in 1.x,
OpenCLIP in 2.x. Such a file holds no configuration, so that is read off the tensors' shapes, and
no tokenizer.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from counterpoint.backbones.latent import (
    Part,
    clip_name,
    from_diffusers,
    has_tokenizer,
    on_meta,
    text_network,
    token_ids,
)
from counterpoint.backbones.weights import TensorFiles, find_weights
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import MissingWeights, WeightsMismatch

Shapes = dict[str, tuple[int, ...]]

UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."

_HEAD_CHANNELS = 64
"""Per attention head: of CLIP's text encoders, and of the U-Nets of 2.x. Those of 1.x have eight
heads at every level."""

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_VAE_NAMES = (
    (r"\bdown\.(\d+)\.block\.", r"down_blocks.\1.resnets."),
    (r"\bdown\.(\d+)\.downsample\.", r"down_blocks.\1.downsamplers.0."),
    (r"\bup\.(\d+)\.block\.", r"up_blocks.\1.resnets."),
    (r"\bup\.(\d+)\.upsample\.", r"up_blocks.\1.upsamplers.0."),
    (r"\bmid\.block_1\.", "mid_block.resnets.0."),
    (r"\bmid\.block_2\.", "mid_block.resnets.1."),
    (r"\bmid\.attn_1\.norm\.", "mid_block.attentions.0.group_norm."),
    (r"\bmid\.attn_1\.([qkv])\.", r"mid_block.attentions.0.to_\1."),
    (r"\bmid\.attn_1\.proj_out\.", "mid_block.attentions.0.to_out.0."),
    (r"\bnin_shortcut\.", "conv_shortcut."),
    (r"\bnorm_out\.", "conv_norm_out."),
)
_OPEN_CLIP_NAMES = (
    (r"^transformer\.resblocks\.", "encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.", ".self_attn."),
    (r"^token_embedding\.", "embeddings.token_embedding."),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^ln_final\.", "final_layer_norm."),
)


class SingleFile:
    """A Stable Diffusion 1.x or 2.x checkpoint of one file.

    Args:
        place: the file.

    Raises:
        WeightsMismatch: a part is not in the file; says which.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._shapes: Shapes = TensorFiles(place).shapes()
        if any(name.startswith("conditioner.embedders.") for name in self._shapes):
            raise WeightsMismatch(
                f"expected a file of Stable Diffusion 1.x or 2.x, got one of XL, {place}, which is "
                "read from a folder in diffusers layout only"
            )
        for part in (UNET, VAE, OPEN_CLIP if self._open_clip else CLIP):
            if not any(name.startswith(part) for name in self._shapes):
                raise WeightsMismatch(
                    f"expected a whole Stable Diffusion checkpoint, got {place}, which lacks "
                    f"{part}*; take the file with U-Net, VAE and text encoder"
                )

    @property
    def _open_clip(self) -> bool:
        """Whether the text encoder is OpenCLIP's, as in 2.x."""
        return f"{OPEN_CLIP}positional_embedding" in self._shapes

    def unet(self) -> Part:
        """The U-Net."""
        shapes = self._below(UNET)
        network = on_meta("UNet2DConditionModel", self._config(unet_config, shapes))
        per_level = _blocks_per_level(shapes)
        return Part(network, self._files(UNET, lambda name: unet_name(name, per_level)))

    def vae(self) -> Part:
        """The VAE."""
        config = self._config(vae_config, self._below(VAE))
        levels = len(config["block_out_channels"])
        return Part(
            on_meta("AutoencoderKL", config), self._files(VAE, lambda name: vae_name(name, levels))
        )

    def scheduler(self) -> Any:
        """The noise schedule that all Stable Diffusion models of 1.x and 2.x share."""
        return from_diffusers("DDIMScheduler")(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        )

    def paths(self) -> list[Path]:
        """The file."""
        return [self.place]

    def _below(self, prefix: str) -> Shapes:
        names = [name for name in self._shapes if name.startswith(prefix)]
        return {name.removeprefix(prefix): self._shapes[name] for name in names}

    def _files(self, prefix: str, rename: Callable[[str], str]) -> TensorFiles:
        """The file's tensors below a prefix renamed, the others under their own names."""
        return TensorFiles(self.place, lambda name: _renamed(name, prefix, rename))

    def _config(self, read: Callable[[Shapes], dict[str, Any]], shapes: Shapes) -> dict[str, Any]:
        """A configuration read off shapes, or the name of the tensor that it needed."""
        try:
            return read(shapes)
        except KeyError as error:
            raise WeightsMismatch(
                f"{self.place}: the checkpoint lacks {error.args[0]}; is it for another network?"
            ) from error

    def token_ids(self, prompt: str) -> Int[Tensor, "1 tokens"]:
        """A prompt as tokens, by the tokenizer beside the file or of a pipeline on this machine.

        The empty prompt needs no tokenizer.

        Raises:
            MissingWeights: there is none.
        """
        if not prompt:
            return self._empty_prompt()
        folder = self._tokenizer()
        if folder is None:
            raise MissingWeights(
                f"expected a tokenizer for the prompt {prompt!r}, found none: put the folder "
                f"tokenizer/ of {' or '.join(ZOO[self._siblings[0]].hub_ids)} beside {self.place}, "
                "or leave the prompt empty"
            )
        return token_ids(folder, prompt)

    @property
    def _siblings(self) -> tuple[str, ...]:
        """Models of the zoo with the same tokenizer."""
        return ("sd21", "sd21-base", "sd-turbo") if self._open_clip else ("sd15",)

    def _tokenizer(self) -> Path | None:
        pipelines = [find_weights(ZOO[name]) for name in self._siblings]
        folders = [self.place.parent, *(place for place in pipelines if place)]
        found = (folder / "tokenizer" for folder in folders)
        return next((path for path in found if has_tokenizer(path)), None)

    def _empty_prompt(self) -> Int[Tensor, "1 tokens"]:
        """Start, end, padding."""
        config = self._text_config()
        start, end = config["bos_token_id"], config["eos_token_id"]
        padding = [config["pad_token_id"]] * (config["max_position_embeddings"] - 2)
        return torch.tensor([[start, end, *padding]])

    def _text_config(self) -> dict[str, Any]:
        if self._open_clip:
            shapes = {open_clip_name(n): shape for n, shape in self._below(OPEN_CLIP).items()}
        else:
            shapes = {clip_name(n, ""): shape for n, shape in self._below(CLIP).items()}
        return self._config(partial(text_config, open_clip=self._open_clip), shapes)

    def text_encoder(self, dtype: torch.dtype) -> Any:
        """The text encoder.

        Raises:
            WeightsMismatch: tensors are missing or have other shapes; names them.
        """
        from transformers import CLIPTextConfig

        config = CLIPTextConfig(**self._text_config())
        return text_network("CLIPTextModel", config, self._text_files, dtype)

    def _text_files(self, to: str) -> TensorFiles:
        if self._open_clip:
            return _OpenCLIPFiles(self.place, lambda name: clip_name(open_clip_name(name), to))
        return self._files(CLIP, lambda name: clip_name(name, to))


class _OpenCLIPFiles(TensorFiles):
    """OpenCLIP's text encoder under CLIP's names, the joint projection of attention split."""

    def __init__(self, path: Path, rename: Callable[[str], str]) -> None:
        super().__init__(path, lambda name: _renamed(name, OPEN_CLIP, rename))

    def __contains__(self, name: str) -> bool:
        return super().__contains__(_joint(name)[0])

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The named tensors, one at a time, on the CPU."""
        for name in names:
            stored, third = _joint(name)
            [(_, tensor)] = super().read([stored])
            yield name, tensor if third is None else tensor.chunk(3)[third]


def _renamed(name: str, prefix: str, rename: Callable[[str], str]) -> str:
    """A tensor's name without the prefix and renamed; a name without the prefix as it is."""
    return rename(name.removeprefix(prefix)) if name.startswith(prefix) else name


def _joint(name: str) -> tuple[str, int | None]:
    """Where a query's, key's or value's projection is stored, and which third it is."""
    found = re.search(r"\.([qkv])_proj\.", name)
    if not found:
        return name, None
    return name.replace(found[0], ".in_proj_"), "qkv".index(found[1])


def unet_name(name: str, per_level: int) -> str:
    """From the original U-Net's name of a tensor to diffusers'.

    Args:
        name: without its prefix ("input_blocks.1.0.in_layers.0.weight").
        per_level: input blocks from one downsampling to the next.
    """
    for old, new in _UNET_ENDS.items():
        if name.startswith(f"{old}."):
            return _resnet_name(new + name.removeprefix(old))
    found = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", name)
    if not found:
        return name
    side, block, place, rest = found[1], int(found[2]), int(found[3]), found[4]
    level, index = divmod(block - (side == "input"), per_level)
    stem = f"{'down' if side == 'input' else 'up'}_blocks.{level}"
    if rest.startswith("op."):
        return f"{stem}.downsamplers.0.conv.{rest.removeprefix('op.')}"
    if rest.startswith("conv."):
        return f"{stem}.upsamplers.0.{rest}"
    if place == 0:
        return _resnet_name(f"{stem}.resnets.{index}.{rest}")
    return f"{stem}.attentions.{index}.{rest}"


def _resnet_name(name: str) -> str:
    for old, new in _RESNET.items():
        name = name.replace(f".{old}.", f".{new}.")
    return name


def vae_name(name: str, levels: int) -> str:
    """From the original VAE's name of a tensor to diffusers', which counts the decoder's levels
    from the latents on."""
    for old, new in _VAE_NAMES:
        name = re.sub(old, new, name)
    return re.sub(r"up_blocks\.(\d+)", lambda m: f"up_blocks.{levels - 1 - int(m[1])}", name)


def open_clip_name(name: str) -> str:
    """From OpenCLIP's name of a text encoder's tensor to that of CLIP in transformers."""
    for old, new in _OPEN_CLIP_NAMES:
        name = re.sub(old, new, name)
    return name


def unet_config(shapes: Shapes) -> dict[str, Any]:
    """The configuration of a U-Net whose tensors, under the original names, have these shapes."""
    per_level = _blocks_per_level(shapes)
    firsts = range(1, _count(shapes, r"input_blocks\.(\d+)\."), per_level)
    crossed = [f"input_blocks.{i}.1.proj_in.weight" in shapes for i in firsts]
    channels = [shapes[f"input_blocks.{i}.0.out_layers.3.weight"][0] for i in firsts]
    first = next((i for i, cross in zip(firsts, crossed, strict=True) if cross), 1)
    keys = shapes[f"input_blocks.{first}.1.transformer_blocks.0.attn2.to_k.weight"]
    # 2.x came with linear projections into the transformers, heads of one width, and attention
    # that is computed in float32.
    newer = len(shapes[f"input_blocks.{first}.1.proj_in.weight"]) == 2
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": per_level - 1,
        "down_block_types": [f"{'CrossAttn' * cross}DownBlock2D" for cross in crossed],
        "up_block_types": [f"{'CrossAttn' * cross}UpBlock2D" for cross in reversed(crossed)],
        "cross_attention_dim": keys[1],
        # Diffusers' name for the number of heads.
        "attention_head_dim": [max(1, c // _HEAD_CHANNELS) for c in channels] if newer else 8,
        "use_linear_projection": newer,
        "upcast_attention": newer,
    }


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """The configuration of a VAE, as `unet_config`."""
    levels = _count(shapes, r"encoder\.down\.(\d+)\.")
    latent = shapes["decoder.conv_in.weight"][1]
    return {
        "block_out_channels": [
            shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] for i in range(levels)
        ],
        "layers_per_block": _count(shapes, r"encoder\.down\.0\.block\.(\d+)\."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "latent_channels": latent,
        "scaling_factor": 0.18215,
    }


def text_config(shapes: Shapes, *, open_clip: bool) -> dict[str, Any]:
    """The configuration of a text encoder whose tensors, under CLIP's names, have these shapes.

    2.x takes what the last layer but one gives, so the last is left out. The vocabulary ends with
    start and end; 1.x pads with the end, 2.x with token 0.
    """
    vocabulary, width = shapes["embeddings.token_embedding.weight"]
    layers = _count(shapes, r"encoder\.layers\.(\d+)\.")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": layers - open_clip,
        "num_attention_heads": max(1, width // _HEAD_CHANNELS),
        "max_position_embeddings": shapes["embeddings.position_embedding.weight"][0],
        "hidden_act": "gelu" if open_clip else "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": 0 if open_clip else vocabulary - 1,
    }


def _blocks_per_level(shapes: Shapes) -> int:
    """Input blocks from one downsampling to the next."""
    found = (re.match(r"input_blocks\.(\d+)\.0\.op\.", name) for name in shapes)
    one_level = _count(shapes, r"output_blocks\.(\d+)\.") or 1
    return min((int(m[1]) for m in found if m), default=one_level)


def _count(names: Iterable[str], pattern: str) -> int:
    """One more than the greatest number that the pattern finds at the start of a name."""
    found = (re.match(pattern, name) for name in names)
    return max((int(m[1]) for m in found if m), default=-1) + 1
