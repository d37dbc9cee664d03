"""Stable Diffusion 3 and 3.5 (Esser et al. 2024), with DiTF features."""

import logging
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from counterpoint.backbones.dit import FlowTransformer
from counterpoint.backbones.dit_text import Condition, TextEncoders
from counterpoint.errors import BadInput

log = logging.getLogger(__name__)

T5_TOKENS = 256


class StableDiffusion3(FlowTransformer):
    """A Stable Diffusion 3 or 3.5 pipeline in diffusers layout.

    The network takes ``1000 * sigma = t`` as its time step. The prompt goes through two CLIPs and
    T5; where ``text_encoder_3/`` (T5) is absent, zeros stand for it, as in diffusers' pipeline.
    """

    network: ClassVar[tuple[str, ...]] = ("SD3Transformer2DModel",)
    text_encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2", "text_encoder_3")

    def _pass(self, noisy: Tensor, t: int, condition: Condition) -> None:
        self._check_size(noisy)
        assert condition.pooled is not None
        batch = len(noisy)
        self._net(
            noisy,
            encoder_hidden_states=condition.tokens.expand(batch, -1, -1),
            pooled_projections=condition.pooled.expand(batch, -1),
            timestep=torch.full((batch,), float(t), device=noisy.device),
        )

    def _check_size(self, noisy: Tensor) -> None:
        """The network has learned no positions beyond a size."""
        most = int(self._net.config.pos_embed_max_size) * self.multiple
        rows, columns = (side * self.vae.stride_px for side in noisy.shape[-2:])
        if max(rows, columns) > most:
            raise BadInput(
                f"expected an input of at most {most} x {most} pixels for {self.spec.name}, "
                f"got {columns} x {rows}; give a smaller --size"
            )

    def _condition(self, prompt: str) -> Condition:
        encoders = TextEncoders(self.folder, self.device, self.dtype)
        clips = [encoders.clip(which, prompt, projected=True) for which in ("", "_2")]
        width = int(self._net.config.joint_attention_dim)
        clip = torch.cat([hidden for hidden, _ in clips], dim=-1)
        if encoders.has("_3"):
            t5, _ = encoders.t5("_3", prompt, T5_TOKENS)
        else:
            log.warning("%s has no text_encoder_3 (T5): zeros stand for it", self.folder)
            t5 = clip.new_zeros(1, T5_TOKENS, width)
        tokens = torch.cat([F.pad(clip, (0, width - clip.shape[-1])), t5], dim=1)
        return Condition(tokens, pooled=torch.cat([pooled for _, pooled in clips], dim=-1))
