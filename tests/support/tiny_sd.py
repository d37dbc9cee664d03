"""A Stable Diffusion pipeline of random weights, tiny, in the real file layout of diffusers."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedModel

from counterpoint.backbones.latent import Part, UNet, on_meta

SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def write_tiny_sd(folder: Path, *, shard_size: str = "10GB") -> Path:
    """The shape of Stable Diffusion 2.1 with 16 to 32 channels, about 3 MB."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tiny_unet().save_pretrained(folder / "unet", max_shard_size=shard_size)
        tiny_vae().save_pretrained(folder / "vae")
        tiny_text().save_pretrained(folder / "text_encoder")
    write_scheduler(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
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


def write_tiny_vae(folder: Path) -> Path:
    """A VAE in a folder of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tiny_vae().save_pretrained(folder)
    return folder


def write_tiny_cleandift(folder: Path) -> Path:
    """CleanDIFT's file for the U-Net inside the folder of its pipeline; returns the file."""
    path = write_tiny_sd(folder) / "cleandift_sd21_unet.safetensors"
    with torch.random.fork_rng():
        # Random attention spreads a change over the picture: by these weights only a little.
        torch.manual_seed(10)
        save_file(tiny_unet().state_dict(), path)
    return path


def unet_on_meta(config: dict[str, Any]) -> UNet:
    """A U-Net of any size with its taps and without weights or files."""
    part = Part.__new__(Part)
    part.network = on_meta("UNet2DConditionModel", config)
    return UNet(part, 8, torch.device("cpu"), torch.float32)


def tiny_unet(**changes: Any) -> UNet2DConditionModel:
    """Stable Diffusion 2.1's with few channels."""
    shape = {
        "block_out_channels": (16, 16, 32, 32),
        "cross_attention_dim": 16,
        "attention_head_dim": (2, 2, 4, 4),
        "norm_num_groups": 8,
        "use_linear_projection": True,
        "sample_size": 16,
    }
    return UNet2DConditionModel(**shape | changes)


def tiny_vae(**changes: Any) -> AutoencoderKL:
    """Stable Diffusion's with few channels."""
    shape = {
        "block_out_channels": (8, 8, 16, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "sample_size": 128,
    }
    return AutoencoderKL(**shape | changes)


def tiny_text(kind: type = CLIPTextModel, **changes: Any) -> PreTrainedModel:
    """A text encoder of few channels for the tokenizer of `write_tokenizer`."""
    shape = {
        "vocab_size": 514,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": 512,
        "eos_token_id": 513,
        "pad_token_id": 513,
    }
    return kind(CLIPTextConfig(**shape | changes))


def write_scheduler(folder: Path) -> None:
    """The noise schedule that all Stable Diffusion models share."""
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        steps_offset=1,
    ).save_pretrained(folder)


def write_index(folder: Path, pipeline: str, **parts: str) -> None:
    """A pipeline's ``model_index.json``."""
    index: dict[str, Any] = {"_class_name": pipeline}
    for name, kind in parts.items():
        library = "transformers" if kind.startswith("CLIP") else "diffusers"
        index[name] = [library, kind]
    (folder / "model_index.json").write_text(json.dumps(index))


def write_tokenizer(folder: Path, *, pad: str = SPECIAL[1]) -> None:
    """CLIP's byte-level tokenizer without merges: every byte a token, alone or ending a word."""
    folder.mkdir()
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in visible] + [chr(256 + i) for i in range(256 - len(visible))]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *SPECIAL]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[1],
        "unk_token": SPECIAL[1],
        "pad_token": pad,
        "model_max_length": 77,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
