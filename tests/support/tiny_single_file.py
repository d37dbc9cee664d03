"""Stable Diffusion as one file under the names of the original code, written from a pipeline."""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel

from support.tiny_sd import (
    tiny_text,
    tiny_unet,
    tiny_vae,
    write_index,
    write_scheduler,
    write_tokenizer,
)

Tensors = dict[str, Tensor]

CLIP, OPEN_CLIP = "cond_stage_model.transformer.text_model.", "cond_stage_model.model."

_RESNET = (
    ("norm1.", "in_layers.0."),
    ("conv1.", "in_layers.2."),
    ("time_emb_proj.", "emb_layers.1."),
    ("norm2.", "out_layers.0."),
    ("conv2.", "out_layers.3."),
    ("conv_shortcut.", "skip_connection."),
)
_UNET = (
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
)
_VAE = (
    ("mid_block.resnets.0.", "mid.block_1."),
    ("mid_block.resnets.1.", "mid.block_2."),
    ("mid_block.attentions.0.group_norm.", "mid.attn_1.norm."),
    ("mid_block.attentions.0.to_q.", "mid.attn_1.q."),
    ("mid_block.attentions.0.to_k.", "mid.attn_1.k."),
    ("mid_block.attentions.0.to_v.", "mid.attn_1.v."),
    ("mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."),
    (".resnets.", ".block."),
    ("downsamplers.0.", "downsample."),
    ("upsamplers.0.", "upsample."),
    ("conv_shortcut.", "nin_shortcut."),
    ("conv_norm_out.", "norm_out."),
    ("down_blocks.", "down."),
)


def write_tiny_single_file(folder: Path, version: int = 1) -> Path:
    """One file beside a tokenizer, from the pipeline in ``folder/pipeline``; returns the file.

    The pipeline has the shape of Stable Diffusion 1.5 or 2.1 in float16, but for fewer levels and
    layers, and no more channels than the original code's 32 groups and heads of 64 ask for.

    Args:
        folder: where to.
        version: 1 or 2.
    """
    pipeline = _write_pipeline(folder / "pipeline", version)
    write_tokenizer(folder / "tokenizer", **_padding(version))
    path = folder / f"sd{version}.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        save_file(original(pipeline, version), path, {"format": "pt"})
    return path


def _padding(version: int) -> dict[str, str]:
    return {"pad": "!"} if version == 2 else {}


def _write_pipeline(folder: Path, version: int) -> Path:
    shape = {
        "block_out_channels": (64, 64),
        "attention_head_dim": 8 if version == 1 else (1, 1),
        "use_linear_projection": version == 2,
        "upcast_attention": version == 2,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 32,
        "cross_attention_dim": 64,
    }
    words = {
        "hidden_size": 64,
        "num_attention_heads": 1,
        "intermediate_size": 128,
        "hidden_act": "quick_gelu" if version == 1 else "gelu",
    }
    with torch.random.fork_rng():
        torch.manual_seed(version)
        tiny_unet(**shape).half().save_pretrained(folder / "unet")
        vae = tiny_vae(block_out_channels=(64,) * 4, norm_num_groups=32)
        vae.half().save_pretrained(folder / "vae")
        tiny_text(**words).half().save_pretrained(folder / "text_encoder")
    write_scheduler(folder / "scheduler")
    # Token 0 is "!" in CLIP's vocabulary, as it is here.
    write_tokenizer(folder / "tokenizer", **_padding(version))
    write_index(
        folder,
        "StableDiffusionPipeline",
        unet="UNet2DConditionModel",
        vae="AutoencoderKL",
        text_encoder="CLIPTextModel",
        tokenizer="CLIPTokenizer",
        scheduler="DDIMScheduler",
    )
    return folder


def original(pipeline: Path, version: int) -> Tensors:
    """A pipeline's tensors under the original names, with the usual surplus."""
    unet = UNet2DConditionModel.from_pretrained(pipeline / "unet")
    vae = AutoencoderKL.from_pretrained(pipeline / "vae")
    text = CLIPTextModel.from_pretrained(pipeline / "text_encoder")
    levels = len(vae.config.block_out_channels)
    tensors = {
        "alphas_cumprod": unet_schedule(),
        **original_unet(unet.state_dict(), unet.config.layers_per_block + 1),
        **original_vae(vae.state_dict(), levels),
        **(original_clip if version == 1 else original_open_clip)(text.state_dict()),
    }
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def unet_schedule() -> Tensor:
    """The cumulative products of the schedule, as files of the original code hold them."""
    return (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2).cumprod(0)


def original_unet(tensors: Tensors, per_level: int) -> Tensors:
    """Under the names of the original code."""
    return {
        f"model.diffusion_model.{_unet_name(name, per_level, tensors)}": value
        for name, value in tensors.items()
    }


def _unet_name(name: str, per_level: int, tensors: Tensors) -> str:
    for new, old in _UNET:
        if name.startswith(new):
            moved = name.replace(new, old, 1)
            return moved if "attentions" in name else _resnet(moved)
    side, level, kind, index, rest = name.split(".", 4)
    block = int(level) * per_level
    if side == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{block + per_level}.0.op.{rest.removeprefix('conv.')}"
        stem = f"input_blocks.{block + int(index) + 1}"
    else:
        if kind == "upsamplers":
            attended = f"up_blocks.{level}.attentions.0.norm.weight" in tensors
            return f"output_blocks.{block + per_level - 1}.{1 + attended}.{rest}"
        stem = f"output_blocks.{block + int(index)}"
    return f"{stem}.1.{rest}" if kind == "attentions" else _resnet(f"{stem}.0.{rest}")


def _resnet(name: str) -> str:
    for new, old in _RESNET:
        name = name.replace(f".{new}", f".{old}")
    return name


def original_vae(tensors: Tensors, levels: int) -> Tensors:
    """Under the names of the original code, attention as 1 x 1 convolutions."""

    def rename(name: str, value: Tensor) -> tuple[str, Tensor]:
        if "attentions" in name and value.ndim == 2:
            value = value[:, :, None, None]
        for new, old in _VAE:
            name = name.replace(new, old)
        name = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
        return f"first_stage_model.{name}", value

    return dict(rename(name, value) for name, value in tensors.items())


def original_clip(tensors: Tensors) -> Tensors:
    """As version 4 of transformers named it."""
    named = {CLIP + name.removeprefix("text_model."): value for name, value in tensors.items()}
    return named | {f"{CLIP}embeddings.position_ids": torch.arange(77)[None]}


def original_open_clip(tensors: Tensors) -> Tensors:
    """OpenCLIP's names, with the last layer that Stable Diffusion 2.x does not use."""
    named = {name.removeprefix("text_model."): value for name, value in tensors.items()}
    width = len(named["final_layer_norm.weight"])
    found = dict(_open_clip(named))
    layers = 1 + max(int(m[1]) for m in map(re.compile(r".*resblocks\.(\d+)").match, found) if m)
    last = {
        name.replace("resblocks.0.", f"resblocks.{layers}."): torch.randn_like(value)
        for name, value in found.items()
        if "resblocks.0." in name
    }
    ends = {"logit_scale": torch.tensor(4.6), "text_projection": torch.randn(width, width)}
    return {OPEN_CLIP + name: value for name, value in (found | last | ends).items()}


def _open_clip(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    for name, value in tensors.items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            parts = [tensors[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            name, value = name.replace(".q_proj.", ".in_proj_"), torch.cat(parts)
        name = name.replace("embeddings.position_embedding.weight", "positional_embedding")
        for new, old in (
            ("embeddings.token_embedding", "token_embedding"),
            ("encoder.layers", "transformer.resblocks"),
            ("layer_norm1", "ln_1"),
            ("layer_norm2", "ln_2"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn", "attn"),
            ("final_layer_norm", "ln_final"),
        ):
            name = name.replace(new, old)
        yield name, value
