"""Pipelines of diffusion transformers, random and tiny, in the real layout of diffusers."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from support.tiny_sd import write_tokenizer

T5_WIDTH, CLIP_WIDTH = 24, 8

PIXART_LEGACY = {
    "_class_name": "Transformer2DModel",
    "double_self_attention": False,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "use_linear_projection": False,
}
"""How the published alpha's config differs from what today's class writes."""


def write_tiny_sd3(folder: Path, *, t5: bool = True) -> Path:
    """Stable Diffusion 3.5 medium's shape, 16 channels wide, 4 blocks, about 1.5 MB."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = SD3Transformer2DModel(
            sample_size=16,
            num_layers=4,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=T5_WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=2 * CLIP_WIDTH,
            pos_embed_max_size=128,
            dual_attention_layers=(0, 1),
            qk_norm="rms_norm",
        )
        network.save_pretrained(folder / "transformer")
        _write_flow_vae(folder / "vae")
        _write_clip(folder, "", CLIPTextModelWithProjection)
        _write_clip(folder, "_2", CLIPTextModelWithProjection)
        if t5:
            _write_t5(folder, "_3")
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")
    return _write_index(folder, "StableDiffusion3Pipeline")


def write_tiny_flux(folder: Path, *, guided: bool = True) -> Path:
    """FLUX.1's shape, 16 channels wide, 2 double-stream and 3 single-stream blocks."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = FluxTransformer2DModel(
            num_layers=2,
            num_single_layers=3,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=T5_WIDTH,
            pooled_projection_dim=CLIP_WIDTH,
            guidance_embeds=guided,
            axes_dims_rope=(2, 2, 4),
        )
        network.save_pretrained(folder / "transformer")
        _write_flow_vae(folder / "vae")
        _write_clip(folder, "", CLIPTextModel)
        _write_t5(folder, "_2")
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")
    return _write_index(folder, "FluxPipeline")


def write_tiny_pixart(folder: Path, *, sigma: bool = False) -> Path:
    """PixArt-alpha's shape at 1024 px (or Sigma's), 24 channels wide, 3 blocks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PixArtTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            num_layers=3,
            cross_attention_dim=24,
            caption_channels=T5_WIDTH,
            use_additional_conditions=False if sigma else None,
            interpolation_scale=2 if sigma else None,
        )
        network.save_pretrained(folder / "transformer")
        _write_vae(folder / "vae", latent_channels=4, scaling_factor=0.18215)
        _write_t5(folder, "")
    if not sigma:
        path = folder / "transformer" / "config.json"
        config = json.loads(path.read_text())
        del config["use_additional_conditions"], config["interpolation_scale"]
        path.write_text(json.dumps(config | PIXART_LEGACY))
    DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02).save_pretrained(
        folder / "scheduler"
    )
    return _write_index(folder, "PixArtSigmaPipeline" if sigma else "PixArtAlphaPipeline")


def _write_index(folder: Path, name: str) -> Path:
    (folder / "model_index.json").write_text(json.dumps({"_class_name": name}))
    return folder


def _write_flow_vae(folder: Path) -> None:
    """The VAE of SD 3 and FLUX: 16 channels, shifted, without quantisation layers."""
    _write_vae(
        folder,
        latent_channels=16,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _write_vae(folder: Path, **settings: Any) -> None:
    AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        **settings,
    ).save_pretrained(folder)


def _write_clip(folder: Path, which: str, cls: Any) -> None:
    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=CLIP_WIDTH,
        intermediate_size=16,
        projection_dim=CLIP_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    cls(config).save_pretrained(folder / f"text_encoder{which}")
    write_tokenizer(folder / f"tokenizer{which}")


def _write_t5(folder: Path, which: str) -> None:
    """T5 1.1's encoder, and a tokenizer of single letters."""
    config = T5Config(
        vocab_size=128,
        d_model=T5_WIDTH,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    T5EncoderModel(config).save_pretrained(folder / f"text_encoder{which}")
    place = folder / f"tokenizer{which}"
    place.mkdir()
    letters = [(chr(code), -3.0) for code in range(33, 127)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    tokenizer = Tokenizer(models.Unigram([*special, *letters], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(place / "tokenizer.json"))
    settings = {
        "tokenizer_class": "T5Tokenizer",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "extra_ids": 0,
        "model_max_length": 512,
    }
    (place / "tokenizer_config.json").write_text(json.dumps(settings))
