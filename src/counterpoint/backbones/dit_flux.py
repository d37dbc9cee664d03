"""FLUX.1 (Black Forest Labs 2024), with DiTF features."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from counterpoint.backbones.dit import FlowTransformer, Stream, Tokens
from counterpoint.backbones.dit_text import Condition, TextEncoders

GUIDANCE = 3.5
"""The guidance that FLUX.1-dev is told: the pipeline's default, and DiTF's."""


class Flux(FlowTransformer):
    """A FLUX.1 pipeline in diffusers layout.

    Latents are packed 2 x 2 into tokens. The network takes sigma as its time step. Taps are those
    of the 19 double-stream blocks, "block:0" to "block:18", then of the 38 single-stream ones,
    "single:0" to "single:37"; DiTF counts through, so that its block 28 is "single:9".
    """

    network: ClassVar[tuple[str, ...]] = ("FluxTransformer2DModel",)
    blocks: ClassVar[dict[str, str]] = {
        "block": "transformer_blocks",
        "single": "single_transformer_blocks",
    }
    text_encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")

    @property
    def _patch(self) -> int:
        return 2

    def _modulation(self, block: str) -> str:
        return f"{block}.{'norm' if block.startswith('single') else 'norm1'}"

    def _modulate(self, block: Any, stream: Stream) -> Tokens:
        norm = block.norm1 if hasattr(block, "norm1") else block.norm
        return norm(stream.hidden, emb=stream.emb)[0]

    def _pass(self, noisy: Tensor, t: int, condition: Condition) -> None:
        assert condition.pooled is not None
        batch, device = len(noisy), noisy.device
        guided = bool(self._net.config.guidance_embeds)
        self._net(
            pack(noisy),
            encoder_hidden_states=condition.tokens.expand(batch, -1, -1),
            pooled_projections=condition.pooled.expand(batch, -1),
            timestep=torch.full((batch,), t / 1000, device=device),
            img_ids=positions(noisy),
            txt_ids=torch.zeros(condition.tokens.shape[1], 3, device=device),
            guidance=torch.full((batch,), GUIDANCE, device=device) if guided else None,
        )

    def _condition(self, prompt: str) -> Condition:
        encoders = TextEncoders(self.folder, self.device, self.dtype)
        _, pooled = encoders.clip("", prompt, projected=False)
        # As the original code has it: schnell, which takes no guidance, has learned shorter texts.
        length = 512 if self._net.config.guidance_embeds else 256
        tokens, _ = encoders.t5("_2", prompt, length)
        return Condition(tokens, pooled=pooled)


def pack(latents: Tensor) -> Tensor:
    """Latents (batch, C, 2 h, 2 w) as tokens (batch, h w, 4 C) of 2 x 2 each."""
    batch, channels, height, width = latents.shape
    cells = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, 4 * channels)


def positions(latents: Tensor) -> Tensor:
    """Each token's place for the rotary embedding, (tokens, 3): zero, row, column."""
    rows, columns = (
        torch.arange(side // 2, dtype=torch.float32, device=latents.device)
        for side in latents.shape[-2:]
    )
    grid = torch.cartesian_prod(rows, columns)
    return torch.cat([torch.zeros_like(grid[:, :1]), grid], dim=1)
