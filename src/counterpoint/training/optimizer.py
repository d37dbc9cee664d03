"""The optimiser: Muon for the network's inner matrices, AdamW for everything else.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) orthogonalises the momentum of
a weight matrix; a convolution's weight is a matrix of outputs by everything else. Its steps are
as large where the gradient is all noise: while the rate is high the loss falls and features lose
correspondence, and a rate brought to zero restores it (docs/small-trials.md). So the recipe's
rates fall from the start.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from counterpoint.backbones.small_net import SmallNet
from counterpoint.training.config import TrainConfig

_BETAS = (0.9, 0.99)
_EPSILON = 1e-8
_MOMENTUM = 0.95
_OUTER = ("unet.conv_in.", "unet.conv_out.", "unet.time_embedding.")
"""The first, the last and the time layers are AdamW's even where they are matrices."""


class Optimizer:
    """Updates a network in place.

    Args:
        net: the network.
        config: rates and decays.
        bf16: orthogonalise in bfloat16.

    Attributes:
        moments: all running state, by "momentum/<name>", "first/<name>" or "second/<name>".
        count: steps done, for AdamW's bias correction.
    """

    def __init__(self, net: SmallNet, config: TrainConfig, *, bf16: bool = True) -> None:
        self.count = 0
        self._dtype = torch.bfloat16 if bf16 else torch.float32
        self.moments: dict[str, Tensor] = {}
        self._config = config
        self._inner, self._outer = _split(net, muon=config.muon_rate > 0)
        for name, p in self._inner.items():
            self.moments[f"momentum/{name}"] = torch.zeros_like(p)
        for name, p in self._outer.items():
            self.moments[f"first/{name}"] = torch.zeros_like(p)
            self.moments[f"second/{name}"] = torch.zeros_like(p)

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update from the gradients.

        Args:
            factor: both learning rates are multiplied by it: warm-up and cool-down.
        """
        self.count += 1
        for name, p in self._inner.items():
            if p.grad is not None:
                self._muon(p, p.grad, self.moments[f"momentum/{name}"], factor)
        for name, p in self._outer.items():
            if p.grad is not None:
                first, second = self.moments[f"first/{name}"], self.moments[f"second/{name}"]
                self._adamw(p, p.grad, first, second, factor)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in (*self._inner.values(), *self._outer.values()):
            p.grad = None

    def _muon(self, p: Tensor, gradient: Tensor, momentum: Tensor, factor: float) -> None:
        rate = self._config.muon_rate * factor
        momentum.mul_(_MOMENTUM).add_(gradient)
        matrix = gradient.add(momentum, alpha=_MOMENTUM).flatten(1)
        direction = orthogonalised(matrix.to(self._dtype))
        tall = max(1.0, direction.shape[0] / direction.shape[1]) ** 0.5
        p.mul_(1 - rate * self._config.muon_weight_decay)
        p.add_(direction.to(p.dtype).view(p.shape), alpha=-rate * tall)

    def _adamw(
        self, p: Tensor, gradient: Tensor, first: Tensor, second: Tensor, factor: float
    ) -> None:
        rate = self._config.rate * factor
        first.lerp_(gradient, 1 - _BETAS[0])
        second.lerp_(gradient.square(), 1 - _BETAS[1])
        if p.ndim > 1:
            p.mul_(1 - rate * self._config.weight_decay)
        scale = (second / (1 - _BETAS[1] ** self.count)).sqrt_().add_(_EPSILON)
        p.addcdiv_(first, scale, value=-rate / (1 - _BETAS[0] ** self.count))


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought to about 1, by five Newton-Schulz steps.

    Args:
        matrix: (rows, columns).

    Returns:
        The same shape and precision; bfloat16 is precise enough.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalised(matrix.T).T.contiguous()
    x = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ x
    return x


def _split(net: SmallNet, *, muon: bool) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Muon's parameters and AdamW's, by name."""
    inner = dict(_inner(net)) if muon else {}
    return inner, {name: p for name, p in net.named_parameters() if name not in inner}


def _inner(net: SmallNet) -> Iterator[tuple[str, nn.Parameter]]:
    for name, p in net.named_parameters():
        if p.ndim > 1 and not name.startswith(_OUTER):
            yield name, p
