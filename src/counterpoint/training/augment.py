"""Augmentation on the device: random resized crops and flips, one call a batch."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Generator, Tensor


def random_crops(
    pixels: UInt8[Tensor, "batch 3 side side"],
    size_px: int,
    generator: Generator,
    *,
    area: float,
    aspect: float,
) -> Float[Tensor, "batch 3 size_px size_px"]:
    """Crops of random place, area and aspect, half of them flipped, resized bilinearly.

    Args:
        pixels: whole pictures, uint8.
        size_px: side of the crops.
        generator: on the pictures' device.
        area: smallest share of the picture that a crop covers; the largest is 1.
        aspect: the ratio of the sides is drawn from 1/aspect to aspect.

    Returns:
        Values from -1 to 1.
    """
    n = len(pixels)

    def uniform() -> Tensor:
        return torch.rand(n, generator=generator, device=pixels.device)

    side = (area + (1 - area) * uniform()).sqrt()
    stretch = ((uniform() - 0.5) * 2 * math.log(aspect)).exp().sqrt()
    width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    flip = (uniform() < 0.5).float() * 2 - 1
    theta = torch.zeros(n, 2, 3, device=pixels.device)
    theta[:, 0, 0], theta[:, 0, 2] = width * flip, (uniform() * 2 - 1) * (1 - width)
    theta[:, 1, 1], theta[:, 1, 2] = height, (uniform() * 2 - 1) * (1 - height)
    grid = F.affine_grid(theta, [n, 3, size_px, size_px], align_corners=False)
    values = pixels.float() / 127.5 - 1
    return F.grid_sample(values, grid, padding_mode="reflection", align_corners=False)
