"""Hand-made features that every table of results needs beside it."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from counterpoint.backbones.base import Tap
from counterpoint.backbones.network import Batch, CleanBackbone, Setting, Taps
from counterpoint.geometry import PixelTransform

SIFT_STRIDE_PX = 8
SIFT_DIAMETER_PX = 14.0
"""Diameter of the key points; the descriptor's window is six diameters wide, 4 x 4 bins.

Stride, diameter, input size (128 px) and the square root were chosen on the very benchmark where
the control is reported: the best of 36 settings by the mean PCK of two draws of 600 CUB pairs
(protocol `cub-crops`, 64 px crops). Bins of 2 to 16 px of the crop were tried, inputs of 32 to
256 px, strides of 1 to 8 px of the crop, more blur before, with and without the root. So the
control is, if anything, too good.
"""


class RGB(CleanBackbone):
    """The colours themselves, one cell a pixel, so that the nearest is the nearest in colour.

    Channels: red, green and blue from -1 to 1, and ``sqrt(3 - r^2 - g^2 - b^2)``, which gives
    every cell the same length: at cells, the cosine is one minus a sixth of the squared Euclidean
    distance of the colours. Without it mid-grey would have no direction.
    """

    @property
    def taps(self) -> tuple[Tap, ...]:
        """One: the pixels."""
        return (Tap("pixels", 4, 1),)

    def _forward(self, batch: Batch, setting: Setting) -> Taps:  # noqa: ARG002
        colours = batch.pixels * 2 - 1
        left = 3 - colours.square().sum(dim=1, keepdim=True)
        return {"pixels": torch.cat([colours, left.clamp(min=0).sqrt()], dim=1)}


class DenseSIFT(CleanBackbone):
    """Upright RootSIFT descriptors on a regular grid, one scale, unit length.

    OpenCV's SIFT (Lowe 2004) of the grey picture; descriptors divided by their sum, then their
    square root (Arandjelovic and Zisserman 2012).
    """

    multiple = SIFT_STRIDE_PX

    @property
    def taps(self) -> tuple[Tap, ...]:
        """One: the descriptors."""
        return (Tap("descriptors", 128, SIFT_STRIDE_PX),)

    def _forward(self, batch: Batch, setting: Setting) -> Taps:  # noqa: ARG002
        grids = [self._describe(pixels) for pixels in batch.pixels]
        roots = F.normalize(torch.stack(grids).to(self.device), p=1, dim=1).sqrt()
        return {"descriptors": F.normalize(roots, dim=1)}

    def _describe(self, pixels: Tensor) -> Tensor:
        rgb = (pixels * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        rows, columns = rgb.shape[0] // SIFT_STRIDE_PX, rgb.shape[1] // SIFT_STRIDE_PX
        to_pixels = PixelTransform.resize((columns, rows), (rgb.shape[1], rgb.shape[0]))
        cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        centres = to_pixels.apply(cells.reshape(-1, 2)).tolist()
        spots = [cv2.KeyPoint(x, y, SIFT_DIAMETER_PX, 0) for x, y in centres]
        _, found = cv2.SIFT.create().compute(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), spots)
        described = np.asarray(found, dtype=np.float32).reshape(rows, columns, 128)
        return torch.from_numpy(described).permute(2, 0, 1)
