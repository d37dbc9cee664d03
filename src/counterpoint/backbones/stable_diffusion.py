"""Stable Diffusion 1.x and 2.x: DIFT_sd (Tang et al. 2023), on today's diffusers."""

from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from counterpoint.backbones.base import Tap
from counterpoint.backbones.latent import VAE, Checkpoint, PipelineFolder, UNet
from counterpoint.backbones.network import DiffusionBackbone, Posterior, Taps
from counterpoint.backbones.single_file import SingleFile
from counterpoint.backbones.spec import ModelSpec
from counterpoint.backbones.weights import joint_sha256, resolve_weights
from counterpoint.errors import WeightsMismatch
from counterpoint.geometry import SizeWH


class StableDiffusion(DiffusionBackbone):
    """Stable Diffusion 1.x or 2.x: a pipeline in diffusers layout, or a single file.

    Taps are the four up blocks, "up:0" to "up:3", and the decoder's 15 layers, "up:B.layer:L"
    with L from 0 to 14; see `UNet`.
    """

    added_conditions: str | None = None
    """What the U-Net is told beside the prompt's tokens, as diffusers calls it."""

    def _build(self, download: bool) -> None:
        self.checkpoint = self._open(self.spec, download)
        self.vae = self._open_vae()
        self.multiple = self.vae.stride_px
        self.unet = UNet(self.checkpoint.unet(), self.multiple, self.device, self.dtype)
        self._check()
        self._scheduler = self.checkpoint.scheduler()
        self._embeddings: dict[str, dict[str, Tensor]] = {}

    def _open(self, spec: ModelSpec, download: bool) -> Checkpoint:
        place = resolve_weights(spec, download=download)
        return SingleFile(place) if spec.layout == "file" else PipelineFolder(place)

    def _open_vae(self) -> VAE:
        return VAE(self.checkpoint.vae(), self.device, self.dtype)

    def _check(self) -> None:
        """Refuse U-Nets that want other inputs than this family gives."""
        config, latents = self.unet.network.config, self.vae.network.config.latent_channels
        place, kind = self.checkpoint.place, config.addition_embed_type
        if kind != self.added_conditions:
            raise WeightsMismatch(
                f"{place}: expected a U-Net with added conditions {self.added_conditions}, got "
                f"{kind}; Stable Diffusion XL and 1.x or 2.x are different families"
            )
        if config.in_channels != latents:
            raise WeightsMismatch(
                f"{place}: expected a U-Net for {latents} channels of latents, got conv_in.weight "
                f"for {config.in_channels}; models for inpainting and the like need more than a "
                "picture"
            )

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Every layer, and every block right after its last layer."""
        return self.unet.taps

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the U-Net's, the VAE's and the text encoder's files."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return joint_sha256(self.checkpoint.paths())

    def held_parameters(self) -> int:
        """Parameters of U-Net and VAE that are in memory now."""
        return self.unet.part.held_parameters() + self.vae.part.held_parameters()

    def _encode(self, pixels: Float[Tensor, "batch 3 rows columns"]) -> Posterior:
        return self.vae.encode(pixels)

    def _add_noise(self, clean: Tensor, noise: Tensor, t: int) -> Tensor:
        step = torch.tensor([t], device=clean.device)
        return self._scheduler.add_noise(clean[None], noise[None], step)[0]

    def decode(
        self, state: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Latents to pixels in -1 to 1, by the VAE's decoder, which is loaded now."""
        return self.vae.decode(state)

    def _denoise(self, noisy: Tensor, t: int, prompt: str, taps: tuple[str, ...]) -> Taps:
        return self.unet.features(noisy, t, taps, self._conditions(noisy, prompt))

    def _whole_pass(
        self, noisy: Tensor, t: int, prompt: str, taps: tuple[str, ...]
    ) -> tuple[Taps, Tensor]:
        found, output = self.unet.whole(noisy, t, taps, self._conditions(noisy, prompt))
        output, abar = output.to(noisy), self._scheduler.alphas_cumprod[t]
        signal, sigma = abar.sqrt().item(), (1 - abar).sqrt().item()
        kind = self._scheduler.config.prediction_type
        if kind == "v_prediction":
            return found, signal * noisy - sigma * output
        return found, output if kind == "sample" else (noisy - sigma * output) / signal

    @property
    def native_wh(self) -> SizeWH:
        """The size that the U-Net's configuration names."""
        side = self.unet.network.config.sample_size * self.multiple
        return side, side

    def _conditions(self, noisy: Tensor, prompt: str) -> dict[str, Any]:
        """What the U-Net is told beside the latents and the time step."""
        hidden = self._embedded(prompt)["hidden"]
        return {"encoder_hidden_states": hidden.expand(len(noisy), -1, -1)}

    def _embedded(self, prompt: str) -> dict[str, Tensor]:
        """Embeddings of a prompt, computed once."""
        if prompt not in self._embeddings:
            found = self._embed(prompt)
            self._embeddings[prompt] = {name: e.to(self.dtype) for name, e in found.items()}
        return self._embeddings[prompt]

    def _embed(self, prompt: str) -> dict[str, Tensor]:
        """ "hidden": the text encoder's last hidden states (1, tokens, width)."""
        ids = self.checkpoint.token_ids(prompt).to(self.device)
        with torch.inference_mode():
            return {"hidden": self._text_encoder(ids)[0]}

    @cached_property
    def _text_encoder(self) -> Any:
        return self.checkpoint.text_encoder(self.dtype).to(self.device)
