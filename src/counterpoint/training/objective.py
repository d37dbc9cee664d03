"""What the network learns: the clean picture under the noise (Ho et al. 2020, equation 4)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from counterpoint.backbones.small_net import alphas_cumprod
from counterpoint.training.config import TrainConfig


@dataclass(frozen=True)
class NoisyBatch:
    """Pictures with noise added.

    Attributes:
        noisy: x_t.
        t: the time steps.
        alpha: cumulative alpha by picture.
    """

    noisy: Float[Tensor, "batch 3 side side"]
    t: Int[Tensor, "batch"]
    alpha: Float[Tensor, "batch 1 1 1"]


class Objective:
    """Adds noise and measures how well the network removes it."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.alphas = alphas_cumprod(config.net).to(device)

    def add_noise(
        self, clean: Float[Tensor, "batch 3 side side"], generator: Generator
    ) -> NoisyBatch:
        """Noise at random time steps: ``x_t = sqrt(a) x_0 + sqrt(1 - a) noise``.

        With ``config.second_view``, every second picture has its time steps.
        """
        low, high = self.config.t_low, self.config.t_high
        device, n = clean.device, len(clean)
        t = torch.randint(low, high + 1, (n,), generator=generator, device=device)
        if self.config.second_view:
            low, high = self.config.second_view
            t[1::2] = torch.randint(low, high + 1, (n // 2,), generator=generator, device=device)
        alpha = self.alphas[t].view(n, 1, 1, 1)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        return NoisyBatch(alpha.sqrt() * clean + (1 - alpha).sqrt() * noise, t, alpha)

    def loss(
        self,
        predicted: Float[Tensor, "batch 3 side side"],
        clean: Float[Tensor, "batch 3 side side"],
        batch: NoisyBatch,
    ) -> Float[Tensor, ""]:
        """Mean square error in the units of what the network predicts."""
        return self._residual(predicted, clean, batch).square().mean()

    def _residual(self, predicted: Tensor, clean: Tensor, batch: NoisyBatch) -> Tensor:
        """Predicted less true: the picture, the noise, or v = sqrt(a) noise - sqrt(1 - a) x_0."""
        prediction = self.config.net.prediction
        if prediction == "sample":
            return predicted - clean
        signal, sigma = batch.alpha.sqrt(), (1 - batch.alpha).sqrt()
        noise = (batch.noisy - signal * clean) / sigma.clamp(min=1e-4)
        if prediction == "epsilon":
            return predicted - noise
        return predicted - (signal * noise - sigma * clean)
