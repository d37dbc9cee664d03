"""The state of a run: everything needed to go on to the same weights, in one safetensors file."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from counterpoint.backbones.small_net import SmallNet
from counterpoint.errors import BadInput, ModelError
from counterpoint.files import write_bytes
from counterpoint.training.optimizer import Optimizer

FORMAT = "counterpoint-training/1"


@dataclass
class Progress:
    """Where a run is.

    Attributes:
        step: steps done.
        pictures: pictures seen.
        seconds: spent training, over all resumed parts, scores and checkpoints included.
        curve: losses and held-out scores so far, one entry each.
        before: history of the weights that this run started from.
    """

    step: int = 0
    pictures: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    before: list[dict[str, Any]] = field(default_factory=list)


class Averages:
    """Exponential moving averages of the weights, over several horizons (Polyak averaging)."""

    def __init__(self, net: SmallNet, horizons: tuple[int, ...], batch: int) -> None:
        self.horizons = horizons
        self._batch = batch
        self.values = {h: {k: v.detach().clone() for k, v in _named(net)} for h in horizons}

    @torch.no_grad()
    def update(self, net: SmallNet, step: int) -> None:
        """Take in the weights after ``step`` steps; early ones are forgotten sooner.

        Until a run is about ten horizons long, this warm-up decides: averages whose horizons
        are longer than a tenth of the pictures seen so far are the same.
        """
        weights = [v.detach() for _, v in _named(net)]
        for horizon, values in self.values.items():
            decay = min(1 - self._batch / max(horizon, self._batch), step / (10 + step))
            torch._foreach_lerp_(list(values.values()), weights, 1 - decay)


@dataclass
class RunState:
    """A run in memory.

    Attributes:
        net: weights, fp32.
        optimizer: with its moments.
        averages: of the weights.
        progress: counters and curve.
    """

    net: SmallNet
    optimizer: Optimizer
    averages: Averages
    progress: Progress

    def save(self, path: Path, recipe: dict[str, Any], data_sha256: str) -> None:
        """Write atomically: a kill at any moment leaves the last checkpoint whole.

        Raises:
            StorageError: the disk is full or the place cannot be written.
            ModelError: a weight is NaN or infinite; the last checkpoint is kept.
        """
        tensors = self._tensors()
        for name, value in tensors.items():
            if not torch.isfinite(value).all():
                raise ModelError(f"expected finite weights, got NaN or infinity in {name}")
        stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        metadata = {
            "format": FORMAT,
            "recipe": json.dumps(recipe),
            "data_sha256": data_sha256,
            "progress": json.dumps(vars(self.progress)),
        }
        write_bytes(path, to_bytes(stored, metadata))

    def restore(self, path: Path, recipe: dict[str, Any], data_sha256: str) -> None:
        """Take over what `save` wrote.

        Raises:
            BadInput: it belongs to another recipe or other pictures.
            ModelError: not a checkpoint, or a truncated one.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                _check(path, metadata, recipe, data_sha256)
                self.progress = Progress(**json.loads(metadata["progress"]))
                self._load({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            if isinstance(error, (BadInput, ModelError)):
                raise
            raise ModelError(
                f"cannot resume from {path}: {error}; remove it to start over"
            ) from error

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {f"net/{name}": p for name, p in _named(self.net)}
        tensors |= self.optimizer.moments
        for horizon, values in self.averages.values.items():
            tensors |= {f"ema{horizon}/{name}": value for name, value in values.items()}
        return tensors

    @torch.no_grad()
    def _load(self, tensors: dict[str, Tensor]) -> None:
        for name, value in self._tensors().items():
            value.copy_(tensors[name])
        self.optimizer.count = self.progress.step


def _named(net: SmallNet) -> list[tuple[str, torch.nn.Parameter]]:
    return list(net.named_parameters())


def _check(path: Path, metadata: dict[str, str], recipe: dict[str, Any], data_sha256: str) -> None:
    if metadata.get("format") != FORMAT:
        raise ModelError(f"expected a checkpoint of format {FORMAT}, got another file: {path}")
    saved: dict[str, Any] = json.loads(metadata["recipe"])
    changed = sorted(k for k in saved.keys() | recipe.keys() if saved.get(k) != recipe.get(k))
    if changed:
        raise BadInput(
            f"expected the recipe that {path} was made with, but {', '.join(changed)} changed; "
            "use the same options, or another folder with --init-from"
        )
    if metadata["data_sha256"] != data_sha256:
        raise BadInput(
            f"expected the pictures that {path} was trained on, these differ; "
            "use the same pictures, or another folder with --init-from"
        )
