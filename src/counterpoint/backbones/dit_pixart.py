"""PixArt-alpha and PixArt-Sigma (Chen et al. 2023, 2024), with DiTF features."""

import json
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from counterpoint.backbones.dit import DiffusionTransformer, Stream, Tokens
from counterpoint.backbones.dit_text import Condition, TextEncoders
from counterpoint.backbones.latent import from_diffusers
from counterpoint.backbones.network import Taps
from counterpoint.errors import ModelError

SCHEDULE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
"""What of a scheduler's config says how training added noise; the rest is the sampler's."""

T5_TOKENS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}
"""Length of the texts that each was trained on, by the pipeline's name."""


class PixArt(DiffusionTransformer):
    """A PixArt-alpha or PixArt-Sigma pipeline in diffusers layout.

    Noise is DDPM's, by the betas in the scheduler's config. alpha at 1024 px is also told the
    input's height and width, and their ratio. Prompts are lower-cased and stripped, as in
    diffusers' pipelines without their caption cleaner.
    """

    # Checkpoints older than the class say Transformer2DModel.
    network: ClassVar[tuple[str, ...]] = ("PixArtTransformer2DModel", "Transformer2DModel")
    text_encoders: ClassVar[tuple[str, ...]] = ("text_encoder",)

    def _modulation(self, block: str) -> str:
        return f"{block}.scale_shift_table"

    def _modulate(self, block: Any, stream: Stream) -> Tokens:
        # AdaLN-single: one embedding of the time step for all blocks, six rows, plus each block's
        # own table; the first two rows are shift and scale of the first norm.
        emb = stream.emb.reshape(len(stream.hidden), 6, -1)
        shift, scale = (block.scale_shift_table[None] + emb)[:, :2].split(1, dim=1)
        return block.norm1(stream.hidden) * (1 + scale) + shift

    def _add_noise(self, clean: Tensor, noise: Tensor, t: int) -> Tensor:
        step = torch.tensor([t], device=clean.device)
        return self._schedule.add_noise(clean[None], noise[None], step)[0]

    @cached_property
    def _schedule(self) -> Any:
        cls, folder = from_diffusers("DDPMScheduler"), self.folder / "scheduler"
        try:
            config = cls.load_config(folder, local_files_only=True)
        except OSError as error:
            raise ModelError(f"expected scheduler_config.json in {folder}") from error
        return cls(**{name: config[name] for name in SCHEDULE if name in config})

    def _denoise(self, noisy: Tensor, t: int, prompt: str, taps: tuple[str, ...]) -> Taps:
        self._place_positions()
        return super()._denoise(noisy, t, prompt, taps)

    def _place_positions(self) -> None:
        """Compute the position embedding, which is in no checkpoint, where it is still missing."""
        from diffusers.models.embeddings import get_2d_sincos_pos_embed

        patches = self._net.pos_embed
        if patches.pos_embed.is_meta:
            made = get_2d_sincos_pos_embed(
                self._net.inner_dim,
                patches.base_size,
                base_size=patches.base_size,
                interpolation_scale=patches.interpolation_scale,
                output_type="pt",
            )
            patches.pos_embed = made.float()[None].to(self.device)

    def _pass(self, noisy: Tensor, t: int, condition: Condition) -> None:
        assert condition.mask is not None
        batch = len(noisy)
        self._net(
            noisy,
            encoder_hidden_states=condition.tokens.expand(batch, -1, -1),
            encoder_attention_mask=condition.mask.expand(batch, -1),
            timestep=torch.full((batch,), t, device=noisy.device),
            added_cond_kwargs=self._size_condition(noisy),
        )

    def _size_condition(self, noisy: Tensor) -> dict[str, Tensor | None]:
        """The input's size in pixels, for checkpoints that were trained with it."""
        if not self._net.use_additional_conditions:
            return {"resolution": None, "aspect_ratio": None}
        height, width = (side * self.vae.stride_px for side in noisy.shape[-2:])
        sizes = noisy.new_tensor([height, width]).expand(len(noisy), -1)
        ratios = noisy.new_tensor([height / width]).expand(len(noisy), -1)
        return {"resolution": sizes, "aspect_ratio": ratios}

    def _condition(self, prompt: str) -> Condition:
        encoders = TextEncoders(self.folder, self.device, self.dtype)
        index = json.loads((self.folder / "model_index.json").read_text())
        length = T5_TOKENS.get(index.get("_class_name"), 120)
        tokens, mask = encoders.t5("", prompt.lower().strip(), length, masked=True)
        return Condition(tokens, mask=mask)
