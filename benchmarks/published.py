"""The published configurations of the zoo's models: what decides their networks.

By model, then by component, with the names and values of the published config.json files; entries
that stand at their class's default or do not touch the network are left out. The component "" is a
model that is one network in one folder. Of image-text models the image half is given.
"""

from typing import Any

Config = dict[str, Any]

VAE: Config = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 512,
}
VAE_XL: Config = VAE | {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True}
_VAE_16: Config = VAE | {
    "latent_channels": 16,
    "sample_size": 1024,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "force_upcast": True,
}
VAE_SD3: Config = _VAE_16 | {"scaling_factor": 1.5305, "shift_factor": 0.0609}
VAE_FLUX: Config = _VAE_16 | {"scaling_factor": 0.3611, "shift_factor": 0.1159}

UNET_1: Config = {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 768,
    "sample_size": 64,
}
UNET_2: Config = UNET_1 | {
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
UNET_XL: Config = {
    "_class_name": "UNet2DConditionModel",
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
    "transformer_layers_per_block": [1, 2, 10],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}

SD3: Config = {
    "_class_name": "SD3Transformer2DModel",
    "sample_size": 128,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
SD35_MEDIUM: Config = SD3 | {
    "pos_embed_max_size": 384,
    "qk_norm": "rms_norm",
    "dual_attention_layers": list(range(13)),
}
SD35_LARGE: Config = SD3 | {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "qk_norm": "rms_norm",
}
FLUX: Config = {
    "_class_name": "FluxTransformer2DModel",
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
}
_PIXART: Config = {
    "num_layers": 28,
    "attention_head_dim": 72,
    "num_attention_heads": 16,
    "cross_attention_dim": 1152,
    "caption_channels": 4096,
    "sample_size": 128,
}
# Older than diffusers' own class for it.
PIXART_ALPHA: Config = _PIXART | {
    "_class_name": "Transformer2DModel",
    "in_channels": 4,
    "out_channels": 8,
    "norm_type": "ada_norm_single",
}
PIXART_SIGMA: Config = _PIXART | {
    "_class_name": "PixArtTransformer2DModel",
    "in_channels": 4,
    "out_channels": 8,
    "interpolation_scale": 2,
    "use_additional_conditions": False,
}


def _dinov2(width: int, heads: int, layers: int, **more: Any) -> Config:
    return {
        "model_type": "dinov2",
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "mlp_ratio": 4,
        "patch_size": 14,
        "image_size": 518,
        **more,
    }


def _vit(
    model_type: str,
    width: int,
    heads: int,
    layers: int,
    inner: int,
    patch: int,
    image: int,
    **more: Any,
) -> Config:
    return {
        "model_type": model_type,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "intermediate_size": inner,
        "patch_size": patch,
        "image_size": image,
        **more,
    }


def _vision(model_type: str, *shape: int) -> Config:
    return {"model_type": model_type, "vision_config": _vit(f"{model_type}_vision_model", *shape)}


_REGISTERS: Config = {"model_type": "dinov2_with_registers", "num_register_tokens": 4}
_DINOV3: Config = {"num_register_tokens": 4, "key_bias": False, "rope_theta": 100.0}

VITS: dict[str, Config] = {
    "dino-vitb8": _vit("vit", 768, 12, 12, 3072, 8, 224),
    "dinov2-vits14": _dinov2(384, 6, 12),
    "dinov2-vitb14": _dinov2(768, 12, 12),
    "dinov2-vitl14": _dinov2(1024, 16, 24),
    "dinov2-vitg14": _dinov2(1536, 24, 40, use_swiglu_ffn=True),
    "dinov2-vits14-reg": _dinov2(384, 6, 12, **_REGISTERS),
    "dinov2-vitb14-reg": _dinov2(768, 12, 12, **_REGISTERS),
    "dinov2-vitl14-reg": _dinov2(1024, 16, 24, **_REGISTERS),
    "dinov2-vitg14-reg": _dinov2(1536, 24, 40, use_swiglu_ffn=True, **_REGISTERS),
    "dinov3-vits16": _vit("dinov3_vit", 384, 6, 12, 1536, 16, 224, **_DINOV3),
    "dinov3-vitb16": _vit("dinov3_vit", 768, 12, 12, 3072, 16, 224, **_DINOV3),
    "dinov3-vitl16": _vit("dinov3_vit", 1024, 16, 24, 4096, 16, 224, **_DINOV3),
    "openclip-vith14": _vision("clip", 1280, 16, 32, 5120, 14, 224),
    "siglip2-base-patch16-224": _vision("siglip", 768, 12, 12, 3072, 16, 224),
    "siglip2-base-patch16-512": _vision("siglip", 768, 12, 12, 3072, 16, 512),
    "siglip2-large-patch16-512": _vision("siglip", 1024, 16, 24, 4096, 16, 512),
    "siglip2-so400m-patch14-384": _vision("siglip", 1152, 16, 27, 4304, 14, 384),
    "siglip2-so400m-patch16-512": _vision("siglip", 1152, 16, 27, 4304, 16, 512),
    "siglip2-base-patch16-naflex": _vision("siglip2", 768, 12, 12, 3072, 16, 224),
    "siglip2-so400m-patch16-naflex": _vision("siglip2", 1152, 16, 27, 4304, 16, 224),
}
"""Vision transformers; of image-text models the image half."""

PUBLISHED: dict[str, dict[str, Config]] = {
    "sd15": {"unet": UNET_1, "vae": VAE},
    "sd21": {
        "unet": UNET_2 | {"sample_size": 96, "upcast_attention": True},
        "vae": VAE | {"sample_size": 768},
    },
    "sd21-base": {"unet": UNET_2, "vae": VAE | {"sample_size": 768}},
    "sd-turbo": {"unet": UNET_2, "vae": VAE | {"sample_size": 768}},
    "sdxl": {"unet": UNET_XL, "vae": VAE_XL},
    "sdxl-turbo": {"unet": UNET_XL | {"sample_size": 64}, "vae": VAE_XL},
    "vae": {"": VAE | {"sample_size": 256}},
    "sd3": {"transformer": SD3, "vae": VAE_SD3},
    "sd35-medium": {"transformer": SD35_MEDIUM, "vae": VAE_SD3},
    "sd35-large": {"transformer": SD35_LARGE, "vae": VAE_SD3},
    "flux": {"transformer": FLUX, "vae": VAE_FLUX},
    "flux-schnell": {"transformer": FLUX | {"guidance_embeds": False}, "vae": VAE_FLUX},
    "pixart": {"transformer": PIXART_ALPHA, "vae": VAE},
    "pixart-sigma": {"transformer": PIXART_SIGMA, "vae": VAE_XL},
    **{name: {"": config} for name, config in VITS.items()},
}
"""By model and component. CleanDIFT's networks are those of its base; guided diffusion has no
configuration, its shapes are in ``tests/support/tiny_adm.py``."""
