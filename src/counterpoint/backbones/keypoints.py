"""Networks that find key points, and what they have in common: size, frame, order, number."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from counterpoint.backbones.spec import ModelSpec
from counterpoint.errors import BadInput
from counterpoint.geometry import Points, SizeWH, inside
from counterpoint.images import Picture, fit_picture, to_unit_floats


@dataclass(frozen=True, eq=False)
class KeyPoints:
    """Key points of one picture.

    Attributes:
        points_px: (N, 2), pixels of the picture.
        scores: (N,), the higher the better; of what kind, the detector says.
    """

    points_px: Points
    scores: Float[np.ndarray, " scores"]

    def __post_init__(self) -> None:
        if len(self.points_px) != len(self.scores):
            raise BadInput(
                f"expected a score a key point, got {len(self.scores)} of {len(self.points_px)}"
            )

    def __len__(self) -> int:
        return len(self.points_px)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How a network looks for key points.

    Attributes:
        size_px: pictures whose longer side is longer are reduced to this; 0: none is.
        nms_px: how far around a key point there is no other, pixels of the network's input; None:
            as the network was published.
        min_score: what a key point scores at least; None: as the network was published.
    """

    size_px: int = 1024
    nms_px: int | None = None
    min_score: float | None = None

    def __post_init__(self) -> None:
        if self.size_px < 0 or (self.nms_px or 0) < 0 or (self.min_score or 0) < 0:
            raise BadInput(
                "expected a size, a distance and a score of 0 or more for the key points, got "
                f"{self.size_px} px, {self.nms_px} px and {self.min_score}"
            )


class KeyPointNetwork(ABC):
    """A network that finds key points.

    Args:
        spec: its row.
        device: where it runs, in float32.
        detection: how it looks.
        download: fetch missing weights.

    Attributes:
        multiple: both sides of its input are padded to a multiple of this, edges repeated.
    """

    multiple: int = 1

    def __init__(
        self,
        spec: ModelSpec,
        device: torch.device,
        detection: Detection | None = None,
        *,
        download: bool = False,
    ) -> None:
        self.spec, self.device = spec, device
        self.detection = detection or Detection()
        self._build(download)

    @abstractmethod
    def _build(self, download: bool) -> None:
        """Find the weights and build the network."""

    @abstractmethod
    def _find(
        self, pixels: Float[Tensor, "3 rows columns"], picture_wh: SizeWH
    ) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
        """Places (x, y) in pixels of the input, centres at whole numbers, and their scores.

        Args:
            pixels: red, green and blue from 0 to 1, padded.
            picture_wh: the part of it, from the left and the top, that is no padding.
        """

    def detect(self, picture: Picture, count: int) -> KeyPoints:
        """Key points of a picture, at most ``count``, the highest scores first.

        Raises:
            BadInput: a count below 1.
        """
        if count < 1:
            raise BadInput(f"expected at least 1 key point, got {count}")
        inner_wh = reduced(picture.size_wh, self.detection.size_px)
        fitted = fit_picture(picture, inner_wh, "squash", self.multiple)
        with torch.inference_mode():
            pixels = torch.from_numpy(to_unit_floats(fitted.rgb)).to(self.device)
            found, scored = (part.double().cpu().numpy() for part in self._find(pixels, inner_wh))
        kept = inside(found, inner_wh)
        best = np.argsort(-scored[kept], kind="stable")[:count]
        places = fitted.to_input.invert().apply(found[kept][best])
        return KeyPoints(places, scored[kept][best])


def reduced(size_wh: SizeWH, longer_px: int) -> SizeWH:
    """A size whose longer side is at most so long, in the same proportion; 0: as it is.

    >>> reduced((2000, 1001), 1000), reduced((640, 480), 1000), reduced((640, 480), 0)
    ((1000, 500), (640, 480), (640, 480))
    """
    longer = max(size_wh)
    if not longer_px or longer <= longer_px:
        return size_wh
    width, height = (max(1, round(side * longer_px / longer)) for side in size_wh)
    return width, height


def suppress(
    scores: Float[Tensor, "rows columns"], radius_px: int
) -> Float[Tensor, "rows columns"]:
    """The scores of those that no higher one within the radius rules out, 0 elsewhere.

    As SuperPoint's authors have it: the local maxima stay; twice more, so do the maxima of what
    lies further than the radius from all that stayed. Equal neighbours stay together.
    """

    def highest(values: Tensor) -> Tensor:
        return F.max_pool2d(values[None], 2 * radius_px + 1, stride=1, padding=radius_px)[0]

    stays = scores == highest(scores)
    for _ in range(2):
        ruled_out = highest(stays.float()) > 0
        rest = scores.masked_fill(ruled_out, 0)
        stays |= (rest == highest(rest)) & ~ruled_out
    return scores.masked_fill(~stays, 0)
