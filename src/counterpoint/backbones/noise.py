"""Noise that belongs to a picture, not to a moment: the same alone, in a batch, on any worker."""

import hashlib
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

NoiseKind = Literal["posterior", "diffusion"]
"""Which draw: of the VAE's posterior, or of the forward diffusion."""


@runtime_checkable
class NoiseSource(Protocol):
    """Where standard normal draws come from; tests inject their own."""

    def draw(
        self, kind: NoiseKind, picture_sha256: str, member: int, shape: Sequence[int]
    ) -> Tensor:
        """A float32 tensor of ``shape`` on the CPU."""
        ...


class KeyedNoise:
    """Draws from generators keyed by (seed, picture, ensemble member, kind).

    >>> a = KeyedNoise(0).draw("diffusion", "ab", 3, (2, 2))
    >>> b = KeyedNoise(0).draw("diffusion", "ab", 3, (2, 2))
    >>> bool((a == b).all())
    True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def draw(
        self, kind: NoiseKind, picture_sha256: str, member: int, shape: Sequence[int]
    ) -> Tensor:
        """A float32 tensor of ``shape``, drawn on the CPU so that every device sees the same."""
        key = f"{self.seed}/{picture_sha256}/{member}/{kind}".encode()
        seed = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1
        generator = torch.Generator(device="cpu").manual_seed(seed)
        return torch.randn(tuple(shape), generator=generator)
