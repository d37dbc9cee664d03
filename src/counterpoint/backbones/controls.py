"""Hand-made features that every table of results needs beside it."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from counterpoint.backbones.base import Backbone, Batch, Setting, Tap, Taps
from counterpoint.backbones.noise import NoiseSource
from counterpoint.backbones.zoo import ModelSpec

SIFT_STRIDE_PX = 4
SIFT_DIAMETER_PX = 24.0
"""Diameter of the key points; the descriptor's window is twelve scales, six diameters, wide."""


class RGB(Backbone):
    """The colours themselves, -1 to 1, one cell a pixel."""

    def __init__(
        self,
        spec: ModelSpec,
        device: torch.device,
        dtype: torch.dtype,
        *,
        download: bool = False,  # noqa: ARG002
    ) -> None:
        super().__init__(spec, device, dtype)

    @property
    def taps(self) -> tuple[Tap, ...]:
        """One: the pixels."""
        return (Tap("pixels", 3, 1),)

    def _forward(self, batch: Batch, setting: Setting, noise: NoiseSource) -> Taps:  # noqa: ARG002
        return {"pixels": batch.pixels * 2 - 1}


class DenseSIFT(Backbone):
    """Upright SIFT descriptors (Lowe 2004, OpenCV's) on a regular grid, one scale, unit length."""

    multiple = SIFT_STRIDE_PX

    def __init__(
        self,
        spec: ModelSpec,
        device: torch.device,
        dtype: torch.dtype,
        *,
        download: bool = False,  # noqa: ARG002
    ) -> None:
        super().__init__(spec, device, dtype)
        self._sift = cv2.SIFT.create()

    @property
    def taps(self) -> tuple[Tap, ...]:
        """One: the descriptors."""
        return (Tap("descriptors", 128, SIFT_STRIDE_PX),)

    def _forward(self, batch: Batch, setting: Setting, noise: NoiseSource) -> Taps:  # noqa: ARG002
        grids = [self._describe(pixels) for pixels in batch.pixels]
        return {"descriptors": F.normalize(torch.stack(grids).to(self.device), dim=1)}

    def _describe(self, pixels: Tensor) -> Tensor:
        rgb = (pixels * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        rows, columns = rgb.shape[0] // SIFT_STRIDE_PX, rgb.shape[1] // SIFT_STRIDE_PX
        centre = (SIFT_STRIDE_PX - 1) / 2
        spots = [
            cv2.KeyPoint(
                x * SIFT_STRIDE_PX + centre, y * SIFT_STRIDE_PX + centre, SIFT_DIAMETER_PX, 0
            )
            for y in range(rows)
            for x in range(columns)
        ]
        _, found = self._sift.compute(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), spots)
        described = np.asarray(found, dtype=np.float32).reshape(rows, columns, 128)
        return torch.from_numpy(described).permute(2, 0, 1)
