"""CleanDIFT (Stracke et al., CVPR 2025): diffusion features of the clean picture, without noise.

A Stable Diffusion U-Net, trained further so that one pass over the clean latent gives what the
original gives over noisy ones. Published is that U-Net alone; the VAE, the text encoder and the
configuration are those of the pipeline that it came from.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from counterpoint.backbones.base import Tap
from counterpoint.backbones.latent import VAE, PipelineFolder, UNet
from counterpoint.backbones.network import Batch, CleanBackbone, Setting, Taps
from counterpoint.backbones.spec import ModelSpec
from counterpoint.backbones.weights import TensorFiles, joint_sha256, resolve_weights
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import MissingWeights

TIMESTEP = 261.0
"""What the U-Net is told in place of a time step: a learned number that began as 261, stored in the
files of the whole training state only. At the training's learning rate of 1e-5 it hardly moves."""

_INSIDE = "unet_feature_extractor_cleandift."


class CleanDIFT(CleanBackbone):
    """A CleanDIFT U-Net in the VAE and the text encoder of its Stable Diffusion pipeline.

    Taps are those of Stable Diffusion. The latent is the mean of the VAE's posterior (the original
    code draws from it; its standard deviation is small), so nothing is random and one pass is all.

    The pipeline is the folder that the file lies in, where that is one; else the model of the zoo
    that the row names.
    """

    def _build(self, download: bool) -> None:
        path = resolve_weights(self.spec, download=download)
        self.pipeline = PipelineFolder(_base(path, self.spec, download))
        files = TensorFiles(path, lambda name: name.removeprefix(_INSIDE))
        self.timestep = _timestep(files)
        self.vae = VAE(self.pipeline.vae(), self.device, self.dtype)
        self.multiple = self.vae.stride_px
        self.unet = UNet(self.pipeline.unet(files), self.multiple, self.device, self.dtype)
        self._embeddings: dict[str, Tensor] = {}

    @property
    def taps(self) -> tuple[Tap, ...]:
        """As of Stable Diffusion."""
        return self.unet.taps

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over CleanDIFT's file and the pipeline's VAE and text encoder."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return joint_sha256([*self.unet.part.files.paths, *self.pipeline.paths(unet=False)])

    def held_parameters(self) -> int:
        """Parameters of U-Net and VAE that are in memory now."""
        return self.unet.part.held_parameters() + self.vae.part.held_parameters()

    def _forward(self, batch: Batch, setting: Setting) -> Taps:
        posterior = self.vae.encode(batch.pixels * 2 - 1)
        hidden = self._embed(setting.prompt).expand(len(batch.pixels), -1, -1)
        return self.unet.features(
            posterior.mean * posterior.scale,
            self.timestep,
            setting.taps,
            {"encoder_hidden_states": hidden},
        )

    def _embed(self, prompt: str) -> Tensor:
        """Text embeddings (1, tokens, width) of a prompt, computed once."""
        if prompt not in self._embeddings:
            ids = self.pipeline.token_ids(prompt).to(self.device)
            self._embeddings[prompt] = self._text_encoder(ids)[0].to(self.dtype)
        return self._embeddings[prompt]

    @cached_property
    def _text_encoder(self) -> Any:
        return self.pipeline.text_encoder(self.dtype).to(self.device)


def _base(path: Path, spec: ModelSpec, download: bool) -> Path:
    """The folder of the pipeline that a CleanDIFT file belongs to."""
    if (path.parent / "model_index.json").is_file():
        return path.parent
    try:
        return resolve_weights(ZOO[spec.base], download=download)
    except MissingWeights as error:
        raise MissingWeights(
            f"{spec.name} takes VAE and text encoder of another: {error}"
        ) from error


def _timestep(files: TensorFiles) -> float:
    if "timestep" not in files:
        return TIMESTEP
    [(_, learned)] = files.read(["timestep"])
    return float(learned)
