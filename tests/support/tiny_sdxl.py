"""A Stable Diffusion XL pipeline of random weights, tiny, in the real file layout of diffusers."""

import json
from pathlib import Path

import torch
from transformers import CLIPTextModelWithProjection

from support.tiny_sd import (
    tiny_text,
    tiny_unet,
    tiny_vae,
    write_index,
    write_scheduler,
    write_tokenizer,
)

XL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}
"""What Stable Diffusion XL's U-Net has at any size."""


def write_tiny_sdxl(folder: Path, *, zeros: bool = True) -> Path:
    """The shape of Stable Diffusion XL 1.0 with 16 to 32 channels.

    Args:
        folder: where to.
        zeros: the empty prompt is zeros, as in the published pipelines.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tiny_unet(
            **XL,
            block_out_channels=(16, 16, 32),
            attention_head_dim=(2, 2, 4),
            transformer_layers_per_block=(1, 1, 2),
            cross_attention_dim=16 + 24,
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=20 + 6 * 8,
        ).save_pretrained(folder / "unet")
        tiny_vae(scaling_factor=0.13025).save_pretrained(folder / "vae")
        tiny_text().save_pretrained(folder / "text_encoder")
        second = tiny_text(
            CLIPTextModelWithProjection, hidden_size=24, hidden_act="gelu", projection_dim=20
        )
        second.save_pretrained(folder / "text_encoder_2")
    write_scheduler(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
    write_tokenizer(folder / "tokenizer_2", pad="!")
    write_index(
        folder,
        "StableDiffusionXLPipeline",
        unet="UNet2DConditionModel",
        vae="AutoencoderKL",
        text_encoder="CLIPTextModel",
        text_encoder_2="CLIPTextModelWithProjection",
        tokenizer="CLIPTokenizer",
        tokenizer_2="CLIPTokenizer",
        scheduler="DDIMScheduler",
    )
    path = folder / "model_index.json"
    index = json.loads(path.read_text()) | {"force_zeros_for_empty_prompt": zeros}
    path.write_text(json.dumps(index))
    return folder
