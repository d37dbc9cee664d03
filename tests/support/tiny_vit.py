"""Vision transformers of random weights, tiny, in the hub's transformers layout.

Saving a model gives the tensor names of the published checkpoints (``encoder.layer.0.attention...``
for DINO), whatever transformers calls its modules in memory.
"""

import json
from pathlib import Path
from typing import Any

import torch

LAYERS = 3
WIDTH = 32
_COMMON: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
_TEXT = {
    **_COMMON,
    "vocab_size": 16,
    "max_position_embeddings": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
_DINOV2: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 14,
    "image_size": 56,
}

# Class, and values of its configuration; image-text models hold two configurations.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "dino": ("ViTModel", {**_COMMON, "patch_size": 8, "image_size": 32}),
    "dinov2": ("Dinov2Model", _DINOV2),
    "dinov2-giant": ("Dinov2Model", {**_DINOV2, "use_swiglu_ffn": True}),
    "dinov2-reg": ("Dinov2WithRegistersModel", {**_DINOV2, "num_register_tokens": 4}),
    "dinov3": (
        "DINOv3ViTModel",
        {**_COMMON, "patch_size": 16, "image_size": 64, "num_register_tokens": 4},
    ),
    "clip": (
        "CLIPModel",
        {
            "vision_config": {**_COMMON, "patch_size": 14, "image_size": 56},
            "text_config": _TEXT,
            "projection_dim": 16,
        },
    ),
    "clip-vision": ("CLIPVisionModel", {**_COMMON, "patch_size": 14, "image_size": 56}),
    "siglip": (
        "SiglipModel",
        {"vision_config": {**_COMMON, "patch_size": 16, "image_size": 64}, "text_config": _TEXT},
    ),
    "siglip2-naflex": (
        "Siglip2Model",
        {"vision_config": {**_COMMON, "patch_size": 16, "num_patches": 16}, "text_config": _TEXT},
    ),
}


def write_tiny_vit(folder: Path, kind: str, *, shard_size: str = "10GB") -> Path:
    """One of `MODELS`: 3 layers, 32 channels, about 0.2 MB."""
    import transformers

    name, values = MODELS[kind]
    network_class = getattr(transformers, name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = network_class(network_class.config_class(**values))
        for parameter in network.parameters():
            # What training leaves at neither zero nor one: biases, class tokens, layer scales.
            parameter.data += 0.05 * torch.randn_like(parameter)
    network.save_pretrained(folder, max_shard_size=shard_size)
    return folder


def write_preprocessor(folder: Path, mean: list[float], std: list[float]) -> None:
    """The colours' statistics, as checkpoints carry them."""
    values = {"image_mean": mean, "image_std": std, "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
