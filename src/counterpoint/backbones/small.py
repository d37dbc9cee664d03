"""The embedded model: a pixel-space diffusion U-Net that this project trains itself."""

from contextlib import nullcontext
from dataclasses import replace
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from counterpoint.backbones import small_net
from counterpoint.backbones.base import Tap
from counterpoint.backbones.hooks import run_to_taps, run_with_taps
from counterpoint.backbones.network import DiffusionBackbone, Posterior, Taps
from counterpoint.backbones.unet import Attention
from counterpoint.backbones.weights import file_sha256
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import MissingWeights
from counterpoint.geometry import SizeWH


class Small(DiffusionBackbone):
    """The embedded model, or other weights of its architecture.

    Taps: "mid", the up blocks "up:I", and their layers "up:I.layer:J".
    """

    def _build(self, download: bool) -> None:  # noqa: ARG002 (inside the package)
        path = Path(self.spec.name).expanduser()
        place = nullcontext(path) if path.is_file() else as_file(embedded_weights())
        with place as file:
            weights = small_net.load(file)
            self._use(_fused(weights.network(self.dtype)), file_sha256(file))
        self.history = weights.history

    @classmethod
    def from_network(
        cls, network: small_net.SmallNet, *, name: str = "small", device: str = "cpu"
    ) -> "Small":
        """A backbone around a network in memory, such as a training run's average."""
        model = cls.__new__(cls)
        spec = replace(ZOO["small"], name=name)
        model._configure(spec, torch.device(device), torch.float32)
        model._use(network, "")
        return model

    @classmethod
    def untrained(
        cls, seed: int = 0, *, config: small_net.NetConfig | None = None, device: str = "cpu"
    ) -> "Small":
        """A network with random weights: what the architecture alone gives.

        Args:
            seed: of the weights.
            config: the network's shape; by default the embedded one's.
            device: where to run.
        """
        if config is None:
            with as_file(embedded_weights()) as inside:
                config = small_net.load(inside).config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = small_net.build(config).eval().requires_grad_(False)
        return cls.from_network(_fused(network), name="small, untrained", device=device)

    def _use(self, network: small_net.SmallNet, sha256: str) -> None:
        self.config = network.config
        self.multiple = network.config.multiple_px
        self._sha256 = sha256
        self._places = {tap.name: tap.module for tap in small_net.taps(network.config)}
        self._taps = tuple(
            Tap(tap.name, tap.channels, tap.stride_px) for tap in small_net.taps(network.config)
        )
        self._net = network.to(self.device)
        self._abar = small_net.alphas_cumprod(network.config).double()

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights' file; empty for weights that never were one."""
        return self._sha256

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Every tap of the network."""
        return self._taps

    def _encode(self, pixels: Float[Tensor, "batch 3 rows columns"]) -> Posterior:
        return Posterior(pixels)

    def _add_noise(self, clean: Tensor, noise: Tensor, t: int) -> Tensor:
        abar = self._abar[t]
        return abar.sqrt().item() * clean + (1 - abar).sqrt().item() * noise

    def decode(
        self, state: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """The state is pixels already."""
        return state

    def _denoise(self, noisy: Tensor, t: int, prompt: str, taps: tuple[str, ...]) -> Taps:  # noqa: ARG002
        order = list(self._places)
        modules = {tap: self._net.get_submodule(self._places[tap]) for tap in taps}
        steps = torch.full((len(noisy),), t, device=noisy.device)
        last = modules[max(taps, key=order.index)]
        return run_to_taps(modules, last, lambda: self._net(noisy, steps))

    def _whole_pass(
        self,
        noisy: Tensor,
        t: int,
        prompt: str,  # noqa: ARG002
        taps: tuple[str, ...],
    ) -> tuple[Taps, Tensor]:
        modules = {tap: self._net.get_submodule(self._places[tap]) for tap in taps}
        steps = torch.full((len(noisy),), t, device=noisy.device)
        found, output = run_with_taps(modules, lambda: self._net(noisy, steps))
        return found, small_net.clean_estimate(self.config, output, noisy, steps).clamp(-1, 1)

    @property
    def native_wh(self) -> SizeWH:
        """The size of the training crops."""
        return self.config.train_size_px, self.config.train_size_px


def _fused(network: small_net.SmallNet) -> small_net.SmallNet:
    """The network with fused attention.

    Training keeps plain products, which are faster in bf16 on a CPU; on the grids of whole
    photographs their matrix of all pairs of cells costs more than the rest of the network.
    """
    for module in network.modules():
        if isinstance(module, Attention):
            module.fused = True
    return network


def embedded_weights() -> Traversable:
    """Where the package keeps the weights."""
    inside = files("counterpoint").joinpath("weights", "small.safetensors")
    if not inside.is_file():
        raise MissingWeights(
            "the embedded weights are not in this installation of counterpoint: reinstall it, "
            "or give --model a weights file"
        )
    return inside
