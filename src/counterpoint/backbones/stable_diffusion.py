"""Stable Diffusion 1.x and 2.x: DIFT_sd (Tang et al. 2023), on today's diffusers.

The U-Net and the VAE are built on the ``meta`` device, which costs no memory, and only the modules
that run are ever given weights: the VAE's encoder, and the U-Net up to the last tap asked for.
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from counterpoint.backbones.base import DiffusionBackbone, Posterior, Tap, Taps
from counterpoint.backbones.hooks import run_to_taps
from counterpoint.backbones.weights import (
    TensorFiles,
    joint_sha256,
    resolve_weights,
    weight_files,
)
from counterpoint.backbones.zoo import ModelSpec
from counterpoint.errors import ModelError, UnknownName

# The VAEs of 2022 name their attention's layers otherwise.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class StableDiffusion(DiffusionBackbone):
    """A Stable Diffusion 1.x or 2.x pipeline in diffusers layout.

    Taps are the four up blocks, "up:0" to "up:3" (each after its upsampler, as in the paper), and
    the decoder's 15 layers, "up:B.layer:L" with L from 0 to 14 (the paper's figure 13): every
    resnet with its attention counts as one, every upsampler as one.

    Args:
        spec: the row of the zoo; its name may be a folder.
        device: where to run.
        dtype: float32, bfloat16 or float16.
        download: fetch the weights when they are not here.
    """

    def __init__(
        self,
        spec: ModelSpec,
        device: torch.device,
        dtype: torch.dtype,
        *,
        download: bool = False,
    ) -> None:
        super().__init__(spec, device, dtype)
        self.folder = resolve_weights(spec, download=download)
        self._unet_files = TensorFiles(self.folder / "unet")
        self._vae_files = TensorFiles(self.folder / "vae", _todays_name)
        self._unet = _on_meta("UNet2DConditionModel", self.folder / "unet")
        self._vae = _on_meta("AutoencoderKL", self.folder / "vae")
        self._scheduler = _scheduler(self.folder)
        self._layers = _decoder_layers(self._unet)
        self._embeddings: dict[str, Tensor] = {}
        self.multiple = 2 ** (len(self._vae.config.block_out_channels) - 1)
        self._taps = self._find_taps()

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Every layer, and every block right after its last layer."""
        return self._taps

    def _find_taps(self) -> tuple[Tap, ...]:
        found: list[Tap] = []
        widths = list(reversed(self._unet.config.block_out_channels))
        stride = self.multiple * 2 ** (len(widths) - 1)
        for i, layer in enumerate(self._layers):
            if layer.module.endswith("upsamplers.0"):
                stride //= 2
            found.append(Tap(f"up:{layer.block}.layer:{i}", widths[layer.block], stride))
            if layer.last:
                found.append(Tap(f"up:{layer.block}", widths[layer.block], stride))
        return tuple(found)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the U-Net's, the VAE's and the text encoder's files."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        text = weight_files(self.folder / "text_encoder")
        return joint_sha256([*self._unet_files.paths, *self._vae_files.paths, *text])

    def held_parameters(self) -> int:
        """Parameters of U-Net and VAE that are in memory now."""
        every = [*self._unet.parameters(), *self._vae.parameters()]
        return sum(p.numel() for p in every if not p.is_meta)

    def _encode(self, pixels: Float[Tensor, "batch 3 rows columns"]) -> Posterior:
        self._vae_files.fill(self._vae, ("encoder", "quant_conv"), self.device, self.dtype)
        # One by one: the VAE at full resolution, not the U-Net, sets the peak of memory.
        spread = [self._vae.encode(p[None]).latent_dist for p in pixels]
        mean = torch.cat([s.mean for s in spread])
        return Posterior(
            mean, torch.cat([s.std for s in spread]), float(self._vae.config.scaling_factor)
        )

    def _add_noise(self, clean: Tensor, noise: Tensor, t: int) -> Tensor:
        step = torch.tensor([t], device=clean.device)
        return self._scheduler.add_noise(clean[None], noise[None], step)[0]

    def decode(
        self, state: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Latents to pixels in -1 to 1, by the VAE's decoder, which is loaded now."""
        self._vae_files.fill(self._vae, ("decoder", "post_quant_conv"), self.device, self.dtype)
        latents = state.to(self.dtype) / self._vae.config.scaling_factor
        return self._vae.decode(latents, return_dict=False)[0]

    def _denoise(self, noisy: Tensor, t: int, prompt: str, taps: tuple[str, ...]) -> Taps:
        order = [tap.name for tap in self.taps]
        last = max(taps, key=order.index)
        self._unet_files.fill(self._unet, self._modules_to(last), self.device, self.dtype)
        hidden = self._embed(prompt).expand(len(noisy), -1, -1)
        return run_to_taps(
            {tap: self._unet.get_submodule(self._layer_of(tap).module) for tap in taps},
            self._unet.get_submodule(self._layer_of(last).module),
            lambda: self._unet(noisy.to(self.dtype), t, encoder_hidden_states=hidden),
        )

    def _layer_of(self, tap: str) -> "_Layer":
        block, _, index = tap.partition(".layer:")
        if index:
            return self._layers[int(index)]
        return next(la for la in self._layers if la.last and f"up:{la.block}" == block)

    def _modules_to(self, tap: str) -> list[str]:
        """Names of the modules that run up to a tap."""
        end = self._layers.index(self._layer_of(tap)) + 1
        decoder = [name for layer in self._layers[:end] for name in layer.modules]
        others = [n for n, _ in self._unet.named_children()]
        behind = {"up_blocks", "conv_norm_out", "conv_out"}
        return [name for name in others if name not in behind] + decoder

    def _embed(self, prompt: str) -> Tensor:
        """Text embeddings (1, tokens, width) of a prompt, computed once."""
        if prompt not in self._embeddings:
            tokenizer, encoder = self._text
            tokens = tokenizer(
                prompt,
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )
            with torch.inference_mode():
                hidden = encoder(tokens.input_ids.to(self.device))[0]
            self._embeddings[prompt] = hidden.to(self.dtype)
        return self._embeddings[prompt]

    @cached_property
    def _text(self) -> tuple[Any, Any]:
        """Tokenizer and text encoder."""
        from transformers import CLIPTextModel, CLIPTokenizer

        try:
            tokenizer = CLIPTokenizer.from_pretrained(
                self.folder / "tokenizer", local_files_only=True
            )
            with _no_progress_bar():
                encoder = CLIPTextModel.from_pretrained(
                    self.folder / "text_encoder", local_files_only=True, dtype=self.dtype
                )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"expected tokenizer/ and text_encoder/ in {self.folder}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        return tokenizer, cast("nn.Module", encoder).to(self.device).eval()


class _Layer:
    """One of the decoder's layers: modules that run, the last of which holds its output."""

    def __init__(self, block: int, *modules: str) -> None:
        self.block = block
        self.modules = modules
        self.module = modules[-1]
        self.last = False


def _decoder_layers(unet: Any) -> list[_Layer]:
    """The layers of the U-Net's up blocks, in the order they run."""
    layers: list[_Layer] = []
    for b, block in enumerate(unet.up_blocks):
        attentions = getattr(block, "attentions", None)
        for r in range(len(block.resnets)):
            names = [f"up_blocks.{b}.resnets.{r}"]
            if attentions is not None:
                names.append(f"up_blocks.{b}.attentions.{r}")
            layers.append(_Layer(b, *names))
        if block.upsamplers is not None:
            layers.append(_Layer(b, f"up_blocks.{b}.upsamplers.0"))
        layers[-1].last = True
    return layers


def _on_meta(class_name: str, folder: Path) -> Any:
    """A diffusers network without memory, from its folder's config."""
    cls = _diffusers(class_name)
    try:
        config = cls.load_config(folder, local_files_only=True)
    except OSError as error:
        raise ModelError(f"expected config.json of a {class_name} in {folder}") from error
    if config.get("_class_name") != class_name:
        raise UnknownName(f"network in {folder}", str(config.get("_class_name")), [class_name])
    with torch.device("meta"):
        network = cls.from_config(config)
    return network.eval().requires_grad_(False)


def _diffusers(class_name: str) -> Any:
    import diffusers

    try:
        return getattr(diffusers, class_name)
    except RuntimeError as error:  # diffusers wraps whatever its own imports raise
        if "torchvision" in str(error):
            raise ModelError(
                "torchvision does not fit the installed torch, and diffusers cannot be imported "
                "beside it: pip uninstall torchvision (counterpoint does not need it)"
            ) from error
        raise


def _scheduler(folder: Path) -> Any:
    """The checkpoint's noise schedule as DDIM, whichever sampler its config names."""
    try:
        return _diffusers("DDIMScheduler").from_pretrained(
            folder / "scheduler", local_files_only=True
        )
    except OSError as error:
        raise ModelError(f"expected scheduler_config.json in {folder / 'scheduler'}") from error


@contextmanager
def _no_progress_bar() -> Generator[None]:
    """Without transformers' own bar, which would run through the command's output."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _todays_name(stored: str) -> str:
    parts = stored.split(".")
    if "attentions" in parts and parts[-2] in _OLD_ATTENTION:
        parts[-2] = _OLD_ATTENTION[parts[-2]]
    return ".".join(parts)
