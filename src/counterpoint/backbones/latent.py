"""What the latent diffusion models with a U-Net share: a VAE, a U-Net with taps, a checkpoint.

Networks are built on the ``meta`` device, which costs no memory, and only the modules that run are
ever given weights.
"""

import json
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from counterpoint.backbones.base import Tap
from counterpoint.backbones.hooks import run_to_taps, run_with_taps
from counterpoint.backbones.network import Posterior, Taps
from counterpoint.backbones.weights import TensorFiles, weight_files
from counterpoint.errors import ModelError, UnknownName

# The VAEs of 2022 name their attention's layers otherwise.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class Part:
    """A network without memory, and the files that its weights come from.

    Args:
        network: a diffusers model on the ``meta`` device.
        files: its weights, under the network's names.
    """

    def __init__(self, network: Any, files: TensorFiles) -> None:
        self.network = network
        self.files = files

    def hold(self, modules: Iterable[str], device: torch.device, dtype: torch.dtype) -> None:
        """Give the named modules their weights, unless they have them already."""
        self.files.fill(self.network, modules, device, dtype)

    def held_parameters(self) -> int:
        """Parameters in memory now."""
        return sum(p.numel() for p in self.network.parameters() if not p.is_meta)


@runtime_checkable
class Checkpoint(Protocol):
    """Where a model's networks come from: a pipeline's folder or a single file."""

    place: Path

    def unet(self) -> Part:
        """The U-Net."""
        ...

    def vae(self) -> Part:
        """The VAE."""
        ...

    def scheduler(self) -> Any:
        """The noise schedule."""
        ...

    def token_ids(self, prompt: str) -> Int[Tensor, "1 tokens"]:
        """A prompt as the text encoder reads it, padded to its full length."""
        ...

    def text_encoder(self, dtype: torch.dtype) -> Any:
        """The text encoder, on the CPU."""
        ...

    def paths(self) -> list[Path]:
        """Every file of weights, in a fixed order."""
        ...


class PipelineFolder:
    """A pipeline in diffusers layout.

    Args:
        place: the folder that holds ``model_index.json``.
        text_encoders: names of the folders with text encoders.
    """

    def __init__(self, place: Path, text_encoders: tuple[str, ...] = ("text_encoder",)) -> None:
        self.place = place
        self._text_encoders = text_encoders

    def unet(self, files: TensorFiles | None = None) -> Part:
        """The U-Net in ``unet/``, with its own weights or those of other files."""
        network = on_meta("UNet2DConditionModel", self.place / "unet")
        return Part(network, files or TensorFiles(self.place / "unet"))

    def vae(self) -> Part:
        """The VAE in ``vae/``."""
        return vae_of(self.place / "vae")

    def scheduler(self) -> Any:
        """The checkpoint's noise schedule as DDIM, whichever sampler its config names."""
        folder = self.place / "scheduler"
        try:
            return from_diffusers("DDIMScheduler").from_pretrained(folder, local_files_only=True)
        except OSError as error:
            raise ModelError(f"expected scheduler_config.json in {folder}") from error

    def token_ids(self, prompt: str, name: str = "tokenizer") -> Int[Tensor, "1 tokens"]:
        """A prompt as tokens, by the tokenizer in the named folder."""
        return token_ids(self.place / name, prompt)

    def text_encoder(
        self, dtype: torch.dtype, name: str = "text_encoder", class_name: str = "CLIPTextModel"
    ) -> Any:
        """The text encoder in the named folder, of a class of transformers."""
        from transformers import CLIPTextConfig

        folder = self.place / name
        if not (folder / "config.json").is_file():
            raise ModelError(f"expected config.json of a text encoder ({class_name}) in {folder}")
        config = CLIPTextConfig.from_pretrained(folder, local_files_only=True)
        return text_network(
            class_name, config, lambda to: TensorFiles(folder, lambda n: clip_name(n, to)), dtype
        )

    def paths(self, *, unet: bool = True) -> list[Path]:
        """Weights of the U-Net (unless it is another's), the VAE, the text encoders."""
        parts = (*(["unet"] if unet else []), "vae", *self._text_encoders)
        return [path for part in parts for path in weight_files(self.place / part)]

    def option(self, name: str, default: Any) -> Any:
        """An entry of ``model_index.json``."""
        index: dict[str, Any] = json.loads((self.place / "model_index.json").read_text())
        return index.get(name, default)


class VAE:
    """Pictures to latents and back: the variational autoencoder of latent diffusion.

    Args:
        part: an ``AutoencoderKL`` and its weights.
        device: where to run.
        dtype: in what precision.
    """

    def __init__(self, part: Part, device: torch.device, dtype: torch.dtype) -> None:
        self.part = part
        self.network = part.network
        self.device = device
        self.dtype = dtype

    @property
    def stride_px(self) -> int:
        """Pixels per cell of the latents."""
        return 2 ** (len(self.network.config.block_out_channels) - 1)

    def encode(self, pixels: Float[Tensor, "batch 3 rows columns"]) -> Posterior:
        """The posterior of pictures, pixels from -1 to 1."""
        self.part.hold(("encoder", "quant_conv"), self.device, self.dtype)
        # One by one: the VAE at full resolution, not the U-Net, sets the peak of memory.
        spread = [self.network.encode(p[None].to(self.dtype)).latent_dist for p in pixels]
        mean, std = (torch.cat([getattr(s, name) for s in spread]) for name in ("mean", "std"))
        return Posterior(mean, std, float(self.network.config.scaling_factor))

    def decode(
        self, latents: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Scaled latents to pixels in -1 to 1, by the decoder, which is loaded now."""
        self.part.hold(("decoder", "post_quant_conv"), self.device, self.dtype)
        unscaled = latents.to(self.dtype) / self.network.config.scaling_factor
        return self.network.decode(unscaled, return_dict=False)[0]


class UNet:
    """A conditional U-Net with taps in its decoder, held and run up to the last tap only.

    Taps are the up blocks, "up:B" (each after its upsampler, as in the DIFT paper), and the
    decoder's layers, "up:B.layer:L", L counted over all blocks (the paper's figure 13): every
    resnet with its attention counts as one, every upsampler as one.

    Args:
        part: a ``UNet2DConditionModel`` and its weights.
        stride_px: pixels per cell of the latents.
        device: where to run.
        dtype: in what precision.
    """

    def __init__(
        self, part: Part, stride_px: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.part = part
        self.network = part.network
        self.device = device
        self.dtype = dtype
        self._layers = _decoder_layers(self.network)
        self.taps = self._find_taps(stride_px)

    def _find_taps(self, stride_px: int) -> tuple[Tap, ...]:
        found: list[Tap] = []
        widths = list(reversed(self.network.config.block_out_channels))
        stride = stride_px * 2 ** (len(widths) - 1)
        for i, layer in enumerate(self._layers):
            if layer.module.endswith("upsamplers.0"):
                stride //= 2
            found.append(Tap(f"up:{layer.block}.layer:{i}", widths[layer.block], stride))
            if layer.last:
                found.append(Tap(f"up:{layer.block}", widths[layer.block], stride))
        return tuple(found)

    def features(
        self, latents: Tensor, t: int | float, taps: tuple[str, ...], conditions: dict[str, Any]
    ) -> Taps:
        """One pass up to the last tap and no further.

        Args:
            latents: (batch, channels, rows, columns), noisy and scaled.
            t: time step.
            taps: what to read.
            conditions: further arguments of the network, such as ``encoder_hidden_states``.
        """
        order = [tap.name for tap in self.taps]
        last = max(taps, key=order.index)
        self.part.hold(self._modules_to(last), self.device, self.dtype)
        return run_to_taps(
            {tap: self.network.get_submodule(self._layer_of(tap).module) for tap in taps},
            self.network.get_submodule(self._layer_of(last).module),
            lambda: self.network(latents.to(self.dtype), t, **conditions),
        )

    def whole(
        self, latents: Tensor, t: int | float, taps: tuple[str, ...], conditions: dict[str, Any]
    ) -> tuple[Taps, Tensor]:
        """One pass to the end; arguments as of `features`. Also what the network returned."""
        self.part.hold([n for n, _ in self.network.named_children()], self.device, self.dtype)
        return run_with_taps(
            {tap: self.network.get_submodule(self._layer_of(tap).module) for tap in taps},
            lambda: self.network(latents.to(self.dtype), t, **conditions).sample,
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
        others = [n for n, _ in self.network.named_children()]
        behind = {"up_blocks", "conv_norm_out", "conv_out"}
        return [name for name in others if name not in behind] + decoder


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


def vae_of(folder: Path) -> Part:
    """The VAE in a folder of its own."""
    return Part(on_meta("AutoencoderKL", folder), TensorFiles(folder, _todays_name))


def _todays_name(stored: str) -> str:
    parts = stored.split(".")
    if "attentions" in parts and parts[-2] in _OLD_ATTENTION:
        parts[-2] = _OLD_ATTENTION[parts[-2]]
    return ".".join(parts)


def on_meta(class_name: str, source: Path | dict[str, Any]) -> Any:
    """A diffusers network without memory, from its configuration or the folder that holds it.

    Raises:
        ModelError: no configuration in the folder.
        UnknownName: the configuration is another network's.
    """
    cls = from_diffusers(class_name)
    config: dict[str, Any] = _config(cls, source) if isinstance(source, Path) else source
    with torch.device("meta"):
        network: nn.Module = cls.from_config(config)
    return network.eval().requires_grad_(False)


def _config(cls: Any, folder: Path) -> dict[str, Any]:
    name = cls.__name__
    try:
        config: dict[str, Any] = cls.load_config(folder, local_files_only=True)
    except OSError as error:
        raise ModelError(f"expected config.json of a {name} in {folder}") from error
    if config.get("_class_name") != name:
        raise UnknownName(f"network in {folder}", str(config.get("_class_name")), [name])
    return config


def from_diffusers(class_name: str) -> Any:
    """A class of diffusers.

    Raises:
        ModelError: torchvision keeps diffusers from being imported.
    """
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


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer of CLIP."""
    parts = ("vocab.json", "merges.txt")
    return all((folder / name).is_file() for name in parts) or (folder / "tokenizer.json").is_file()


def token_ids(folder: Path, prompt: str) -> Int[Tensor, "1 tokens"]:
    """A prompt as CLIP's tokens, padded and cut to the text encoder's length.

    Raises:
        ModelError: no tokenizer in the folder.
    """
    from transformers import CLIPTokenizer

    if not has_tokenizer(folder):
        raise ModelError(f"expected vocab.json and merges.txt of a tokenizer in {folder}")
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    tokens = tokenizer(
        prompt,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return tokens.input_ids


def text_network(
    class_name: str, config: Any, files_below: Callable[[str], TensorFiles], dtype: torch.dtype
) -> Any:
    """A text encoder of CLIP's kind, on the CPU.

    Args:
        class_name: of transformers ("CLIPTextModel").
        config: a ``CLIPTextConfig``.
        files_below: its weights, with the given prefix before the names of the transformer.
        dtype: in what precision.

    Raises:
        WeightsMismatch: tensors are missing or have other shapes; names them.
    """
    import transformers

    with torch.device("meta"):
        network: Any = getattr(transformers, class_name)(config)
    inner = getattr(network, "text_model", network)
    inner.embeddings.position_ids = torch.arange(config.max_position_embeddings)[None]
    # Version 5 of transformers dropped the prefix, but not beside a projection.
    part = Part(network, files_below("" if inner is network else "text_model."))
    part.hold([name for name, _ in network.named_children()], torch.device("cpu"), dtype)
    return network.eval().requires_grad_(False)


def clip_name(stored: str, prefix: str) -> str:
    """The name of a tensor of CLIP's text encoder with a prefix before the transformer's names."""
    bare = stored.removeprefix("text_model.")
    inside = bare.startswith(("embeddings.", "encoder.", "final_layer_norm."))
    return prefix + bare if inside else stored


@contextmanager
def no_progress_bar() -> Generator[None]:
    """Without transformers' own bar, which would run through the command's output."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
