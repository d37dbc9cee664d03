"""Stable Diffusion XL (Podell et al. 2023): two text encoders and conditioning on sizes."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from counterpoint.backbones.latent import VAE, PipelineFolder
from counterpoint.backbones.spec import ModelSpec
from counterpoint.backbones.stable_diffusion import StableDiffusion
from counterpoint.backbones.weights import resolve_weights

TOKENS = 77
"""Length of a prompt, padding included."""

_ENCODERS = (
    ("tokenizer", "text_encoder", "CLIPTextModel"),
    ("tokenizer_2", "text_encoder_2", "CLIPTextModelWithProjection"),
)


class StableDiffusionXL(StableDiffusion):
    """A Stable Diffusion XL pipeline in diffusers layout.

    Taps are as in `StableDiffusion`: three up blocks, "up:0" to "up:2", and the decoder's 11
    layers. "up:0" has the stride and the width of 1.x' and 2.x' "up:1".

    The network is told that the picture always had the size of the model's input and is not
    cropped (the paper's section 2.2). The empty prompt is a condition of zeros, as in training,
    where the pipeline says so (``force_zeros_for_empty_prompt``); no text encoder is loaded then.
    """

    added_conditions = "text_time"

    checkpoint: PipelineFolder

    def _open(self, spec: ModelSpec, download: bool) -> PipelineFolder:
        folder = resolve_weights(spec, download=download)
        return PipelineFolder(folder, tuple(name for _, name, _ in _ENCODERS))

    def _open_vae(self) -> VAE:
        part = self.checkpoint.vae()
        return VAE(part, self.device, vae_dtype(part.network.config, self.dtype))

    def _conditions(self, noisy: Tensor, prompt: str) -> dict[str, Any]:
        embedded, batch = self._embedded(prompt), len(noisy)
        height, width = (side * self.multiple for side in noisy.shape[-2:])
        # Original size, top left corner of the crop, target size: rows before columns.
        # In float32, as bfloat16 does not have all of them.
        sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
        added = {
            "text_embeds": embedded["pooled"].expand(batch, -1),
            "time_ids": sizes.to(self.device).expand(batch, -1),
        }
        hidden = embedded["hidden"].expand(batch, -1, -1)
        return {"encoder_hidden_states": hidden, "added_cond_kwargs": added}

    def _embed(self, prompt: str) -> dict[str, Tensor]:
        """ "hidden" (1, tokens, width) of both text encoders, "pooled" (1, width) of the second."""
        if not prompt and self.checkpoint.option("force_zeros_for_empty_prompt", True):
            config = self.unet.network.config
            pooled = config.projection_class_embeddings_input_dim
            pooled -= 6 * config.addition_time_embed_dim
            hidden = torch.zeros(1, TOKENS, config.cross_attention_dim, device=self.device)
            return {"hidden": hidden, "pooled": torch.zeros(1, pooled, device=self.device)}
        with torch.inference_mode():
            outputs = [
                encoder(
                    self.checkpoint.token_ids(prompt, tokenizer).to(self.device),
                    output_hidden_states=True,
                )
                for (tokenizer, *_), encoder in zip(_ENCODERS, self._text_encoders, strict=True)
            ]
        # The last layer but one of each.
        hidden = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        return {"hidden": hidden, "pooled": outputs[-1].text_embeds}

    @cached_property
    def _text_encoders(self) -> tuple[Any, ...]:
        return tuple(
            self.checkpoint.text_encoder(self.dtype, folder, kind).to(self.device)
            for _, folder, kind in _ENCODERS
        )


def vae_dtype(config: Any, dtype: torch.dtype) -> torch.dtype:
    """The precision that a VAE needs: XL's overflows in float16, and its configuration says so."""
    return torch.float32 if dtype == torch.float16 and config.force_upcast else dtype
