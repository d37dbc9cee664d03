"""The encoder of a latent diffusion model's VAE alone: the negative control of the DIFT paper."""

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from counterpoint.backbones.base import Tap
from counterpoint.backbones.hooks import run_to_taps
from counterpoint.backbones.latent import vae_of
from counterpoint.backbones.network import Batch, CleanBackbone, Setting, Taps
from counterpoint.backbones.sdxl import vae_dtype
from counterpoint.backbones.spec import ModelSpec
from counterpoint.backbones.weights import find_weights, joint_sha256, resolve_weights
from counterpoint.backbones.zoo import ZOO

PIPELINES = ("sd21", "sd21-base", "sd15")
"""Models of the zoo with the same encoder, which serve where the VAE's own repository is not."""


class VAEEncoder(CleanBackbone):
    """The encoder of an ``AutoencoderKL``.

    Taps: the down blocks "down:I" (each after its downsampler), "mid", and "latent", the mean of
    the posterior, not scaled. No noise is added and nothing is drawn.
    """

    def _build(self, download: bool) -> None:
        self.folder = _folder(self.spec, download)
        self.part = vae_of(self.folder)
        self._network_dtype = vae_dtype(self.part.network.config, self.dtype)
        self._taps, self._modules = self._find_taps()
        self.multiple = self._taps[-1].stride_px

    def _find_taps(self) -> tuple[tuple[Tap, ...], dict[str, str]]:
        """Taps, and the names of the modules that give them."""
        config = self.part.network.config
        widths: list[int] = list(config.block_out_channels)
        coarsest = 2 ** (len(widths) - 1)
        taps: list[Tap] = []
        modules: dict[str, str] = {}
        for i, width in enumerate(widths):
            taps.append(Tap(f"down:{i}", width, min(2 ** (i + 1), coarsest)))
            modules[f"down:{i}"] = f"encoder.down_blocks.{i}"
        taps += [
            Tap("mid", widths[-1], coarsest),
            Tap("latent", config.latent_channels, coarsest),
        ]
        modules["mid"] = "encoder.mid_block"
        quantised = self.part.network.quant_conv is not None
        modules["latent"] = "quant_conv" if quantised else "encoder.conv_out"
        return tuple(taps), modules

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Down blocks, the middle block, the latent."""
        return self._taps

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the VAE's files."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return joint_sha256(self.part.files.paths)

    def held_parameters(self) -> int:
        """Parameters in memory now."""
        return self.part.held_parameters()

    def _forward(self, batch: Batch, setting: Setting) -> Taps:
        names = list(self._modules)
        last = max(setting.taps, key=names.index)
        self.part.hold(self._modules_to(last), self.device, self._network_dtype)
        # One by one, as the layers at full resolution need most of the memory.
        found = [self._read(p, setting.taps, last) for p in batch.pixels * 2 - 1]
        return {tap: torch.cat([taps[tap] for taps in found]) for tap in setting.taps}

    def _read(self, pixels: Tensor, taps: tuple[str, ...], last: str) -> Taps:
        network = self.part.network
        values = run_to_taps(
            {tap: network.get_submodule(self._modules[tap]) for tap in taps},
            network.get_submodule(self._modules[last]),
            lambda: network.encode(pixels[None].to(self._network_dtype)),
        )
        if "latent" in values:
            # Mean and logarithm of the variance, one after the other.
            values["latent"] = values["latent"].chunk(2, dim=1)[0]
        return {tap: value.to(self.dtype) for tap, value in values.items()}

    def _modules_to(self, tap: str) -> list[str]:
        """Names of the modules that run up to a tap."""
        if tap == "latent":
            return ["encoder", "quant_conv"]
        names = list(self._modules)
        ran = [self._modules[name] for name in names[: names.index(tap) + 1]]
        return ["encoder.conv_in", *ran]


def _folder(spec: ModelSpec, download: bool) -> Path:
    """Where the VAE is: its own folder, or that of a pipeline with the same encoder."""
    found = find_weights(spec)
    if found is None and spec is ZOO["vae"] and not download:
        for pipeline in (find_weights(ZOO[name]) for name in PIPELINES):
            if pipeline is not None:
                return pipeline / "vae"
    return found or resolve_weights(spec, download=download)
