"""Diffusion transformers: what `dit_sd3`, `dit_flux` and `dit_pixart` share, and DiTF.

Plain features of these networks are no use for matching: a few fixed channels of the residual
stream are massive and nearly the same at every token, so that every cosine is about one. DiTF
("Unleashing Diffusion Transformers for Visual Correspondence by Modulating Massive Activations",
Gan et al. 2025) mends that without training, in two steps, both built in here:

1. channel discard: the massive channels are set to zero before anything is normalised, so that
   they do not spread through the layer norm's statistics;
2. AdaLN: ``(1 + gamma) * LayerNorm(x) + beta``, where x is the residual stream that enters a block
   and gamma, beta are that block's own modulation of its first norm, at this time step and prompt.
   It is what the block itself would have fed into its attention.

Taps: "block:I" is the DiTF feature of block I, "block:I.raw" the plain residual stream that enters
it; FLUX's single-stream blocks follow as "single:I". Image tokens only. Block I itself need not
run: of it, only the weights of that modulation are held.

Where the paper leaves room: its code names the channels to discard for FLUX alone, see
`PUBLISHED_CHANNELS`; for the other networks (and beside them) `discard_massive` finds them picture
by picture. Its code averages the ensemble before the norm, here every draw is normalised first.
"""

import inspect
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from counterpoint.backbones.base import Tap
from counterpoint.backbones.dit_text import Condition
from counterpoint.backbones.hooks import Reached, run_hooked
from counterpoint.backbones.latent import VAE, Part, from_diffusers, on_meta, vae_of
from counterpoint.backbones.network import DiffusionBackbone, Posterior, Taps
from counterpoint.backbones.weights import (
    TensorFiles,
    joint_sha256,
    resolve_weights,
    weight_files,
)
from counterpoint.errors import ModelError, UnknownName

Tokens = Float[Tensor, "batch tokens channels"]

PUBLISHED_CHANNELS = {("FluxTransformer2DModel", 3072): (154, 1446)}
"""Massive channels by network and width, from the authors' evaluation code."""

MASSIVE = 10.0
"""How far a channel's mean stands out against the typical channel where it counts as massive.

The paper gives 40.7 +- 4.0 over the tokens for FLUX's most massive channel (mean +- deviation) and
-0.4 +- 3.2 for its tenth; SD 3.5 has -44.5 +- 0.5 against -0.2 +- 2.4.
"""


@dataclass(frozen=True)
class Stream:
    """What enters a block.

    Attributes:
        hidden: the residual stream of the image's tokens.
        emb: what the block's modulation is computed from.
    """

    hidden: Tokens
    emb: Tensor


class DiffusionTransformer(DiffusionBackbone):
    """A diffusion transformer's pipeline in diffusers layout.

    Networks are built on ``meta`` and hold only what runs: the VAE's encoder, and the transformer
    up to the last tap asked for. Text encoders are loaded for one prompt, then dropped.
    """

    network: ClassVar[tuple[str, ...]]
    """The transformer's diffusers class, and names that older configs have for it."""

    blocks: ClassVar[dict[str, str]] = {"block": "transformer_blocks"}
    """Lists of blocks in the order they run, by what their taps are called."""

    text_encoders: ClassVar[tuple[str, ...]]
    """Folders of the pipeline's text encoders."""

    def _build(self, download: bool) -> None:
        self.folder = resolve_weights(self.spec, download=download)
        self.part = transformer_of(self.folder / "transformer", self.network)
        self._net = self.part.network
        vae_dtype = torch.float32 if self.dtype == torch.float16 else self.dtype
        self.vae = VAE(vae_of(self.folder / "vae"), self.device, vae_dtype)
        self._conditions: dict[str, Condition] = {}
        self.multiple = self.vae.stride_px * self._patch
        self._places = [
            (f"{kind}:{i}", f"{modules}.{i}")
            for kind, modules in self.blocks.items()
            for i in range(len(self._net.get_submodule(modules)))
        ]

    @abstractmethod
    def _pass(self, noisy: Tensor, t: int, condition: Condition) -> None:
        """One forward pass of the transformer, from latents."""

    @abstractmethod
    def _condition(self, prompt: str) -> Condition:
        """Embeddings of a prompt, as the pipeline makes them."""

    def _modulation(self, block: str) -> str:
        """Name of the weights from which a block's first modulation is made."""
        return f"{block}.norm1"

    def _modulate(self, block: Any, stream: Stream) -> Tokens:
        """The block's first AdaLN."""
        return block.norm1(stream.hidden, emb=stream.emb)[0]

    @property
    def _patch(self) -> int:
        """Side of a token, in latents."""
        return int(self._net.config.patch_size)

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Two a block, "block:I" (DiTF) and "block:I.raw", in the order they run."""
        width, stride = self._net.inner_dim, self.multiple
        names = [name + kind for name, _ in self._places for kind in ("", ".raw")]
        return tuple(Tap(name, width, stride) for name in names)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the transformer's, the VAE's and the text encoders' files."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        parts = [self.folder / part for part in self.text_encoders]
        text = [path for part in parts if part.is_dir() for path in weight_files(part)]
        return joint_sha256([*self.part.files.paths, *self.vae.part.files.paths, *text])

    def held_parameters(self) -> int:
        """Parameters of transformer and VAE that are in memory now."""
        return self.part.held_parameters() + self.vae.part.held_parameters()

    @property
    def _shift(self) -> float:
        """What the VAE's latents are off zero by, before they are scaled."""
        return float(self.vae.network.config.shift_factor or 0.0)

    def _encode(self, pixels: Float[Tensor, "batch 3 rows columns"]) -> Posterior:
        found = self.vae.encode(pixels)
        assert found.std is not None
        mean = (found.mean - self._shift).to(self.dtype)
        return Posterior(mean, found.std.to(self.dtype), found.scale)

    def decode(
        self, state: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Latents to pixels in -1 to 1, by the VAE's decoder, which is loaded now."""
        scale = float(self.vae.network.config.scaling_factor)
        return self.vae.decode(state.to(self.vae.dtype) + self._shift * scale).to(self.dtype)

    def _denoise(self, noisy: Tensor, t: int, prompt: str, taps: tuple[str, ...]) -> Taps:
        # The text first: its encoders and the transformer need not be in memory at once.
        if prompt not in self._conditions:
            with torch.inference_mode():
                self._conditions[prompt] = self._condition(prompt)
        condition = self._conditions[prompt]
        self.part.hold(self._needed(taps), self.device, self.dtype)
        asked = {self._block_of(tap): self._net.get_submodule(self._block_of(tap)) for tap in taps}
        streams = streams_into(
            asked, lambda: self._pass(noisy.to(self.dtype), t, condition), self._last(taps)
        )
        rows, columns = (side // self._patch for side in noisy.shape[-2:])
        return {
            tap: self._feature(tap, streams[self._block_of(tap)])
            .transpose(1, 2)
            .unflatten(2, (rows, columns))
            for tap in taps
        }

    def _feature(self, tap: str, stream: Stream) -> Tokens:
        """What a tap gives of the stream that enters its block."""
        if tap.endswith(".raw"):
            return stream.hidden
        known = PUBLISHED_CHANNELS.get((self.network[0], self._net.inner_dim), ())
        cleaned = Stream(discard_massive(stream.hidden, known), stream.emb)
        return self._modulate(self._net.get_submodule(self._block_of(tap)), cleaned)

    def _block_of(self, tap: str) -> str:
        return dict(self._places)[tap.removesuffix(".raw")]

    def _last(self, taps: tuple[str, ...]) -> str:
        """The tapped block that runs last."""
        order = [module for _, module in self._places]
        return max((self._block_of(tap) for tap in taps), key=order.index)

    def _needed(self, taps: tuple[str, ...]) -> list[str]:
        """Names of the modules and parameters that have a part in some taps."""
        order = [module for _, module in self._places]
        behind = {*self.blocks.values(), "norm_out", "proj_out"}
        first = [name for name, _ in self._net.named_children() if name not in behind]
        before = order[: order.index(self._last(taps))]
        modulations = [self._modulation(self._block_of(t)) for t in taps if not t.endswith(".raw")]
        return [*first, *before, *modulations]


class FlowTransformer(DiffusionTransformer):
    """A diffusion transformer trained with flow matching (rectified flow).

    A time step t stands for ``sigma = t / 1000``, the share of noise, whatever the checkpoint's
    scheduler: its shift of the steps with resolution says which sigmas a sampler visits and is no
    part of the network.
    """

    def _add_noise(self, clean: Tensor, noise: Tensor, t: int) -> Tensor:
        """The straight path ``(1 - sigma) * clean + sigma * noise``."""
        sigma = t / 1000
        return (1 - sigma) * clean + sigma * noise


def discard_massive(hidden: Tokens, known: tuple[int, ...] = ()) -> Tokens:
    """A residual stream with its massive channels set to zero.

    Massive are the channels known to be, and in each picture those whose mean over its tokens is
    more than `MASSIVE` times the root mean square of the median channel. A large mean is the same
    at every token, so it says nothing of where; what the cosine would see of it is thrown away.
    """
    values = hidden.float()
    typical = values.square().mean(dim=1).sqrt().median(dim=1, keepdim=True).values
    massive = values.mean(dim=1).abs() > MASSIVE * typical
    massive[:, list(known)] = True
    return hidden.masked_fill(massive[:, None], 0)


def streams_into(
    blocks: dict[str, nn.Module], forward: Callable[[], Any], last: str
) -> dict[str, Stream]:
    """What enters some blocks in a forward pass, which ends before the last of them.

    Args:
        blocks: by name.
        forward: starts the pass.
        last: name of the block that runs last.
    """
    found: dict[str, Stream] = {}

    def reader(name: str) -> Callable[[Any, Any, dict[str, Any]], None]:
        def read(_block: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            hidden = args[0] if args else named["hidden_states"]
            found[name] = Stream(hidden, named["temb"] if "temb" in named else named["timestep"])
            if name == last:
                raise Reached

        return read

    hooks = [
        block.register_forward_pre_hook(reader(name), with_kwargs=True)
        for name, block in blocks.items()
    ]
    run_hooked(hooks, forward)
    return found


def transformer_of(folder: Path, names: tuple[str, ...]) -> Part:
    """A diffusion transformer's network on ``meta``, and its files.

    Args:
        folder: holds config.json and weights.
        names: its diffusers class, and what else a config may call it.
    """
    cls = from_diffusers(names[0])
    try:
        config: dict[str, Any] = cls.load_config(folder, local_files_only=True)
    except OSError as error:
        raise ModelError(f"expected config.json of a {names[0]} in {folder}") from error
    if config.get("_class_name") not in names:
        raise UnknownName(f"network in {folder}", str(config.get("_class_name")), names)
    # Configs of older releases have entries that the class no longer takes.
    known = inspect.signature(cls.__init__).parameters
    settings = {name: value for name, value in config.items() if name in known}
    return Part(on_meta(names[0], settings), TensorFiles(folder))
