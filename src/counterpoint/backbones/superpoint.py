"""SuperPoint (DeTone, Malisiewicz and Rabinovich 2018), by transformers' network.

Of the network only what finds key points is built and given weights. What comes after it is done
here, since transformers (5.23) takes the red channel for the grey picture unless its processor is
told otherwise, brings every picture to 640 x 480 whatever its shape, removes points near the left
and the upper border only, and cuts what it returns to whole pixels after scaling without the half
pixel.
"""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from counterpoint.backbones.keypoints import KeyPointNetwork, suppress
from counterpoint.backbones.weights import TensorFiles, resolve_weights
from counterpoint.errors import ModelError
from counterpoint.geometry import SizeWH

CELL_PX = 8
"""Side of the cells, in each of which the network weighs all pixels against none of them."""

_GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue, as in the pictures that the authors' own code reads."""


class SuperPoint(KeyPointNetwork):
    """SuperPoint in the hub's transformers layout (config.json, model.safetensors).

    Scores are probabilities. What `Detection` leaves open, the checkpoint's config.json says:
    ``keypoint_threshold``, ``nms_radius``; ``border_removal_distance`` counts from the edges of the
    picture as the network sees it.
    """

    multiple = CELL_PX

    def _build(self, download: bool) -> None:
        folder = resolve_weights(self.spec, download=download)
        self._net = _network_on_meta(folder)
        parts = ("encoder", "keypoint_decoder")
        TensorFiles(folder).fill(self._net, parts, self.device, torch.float32)
        config: Any = self._net.config
        asked = self.detection
        self.min_score: float = (
            config.keypoint_threshold if asked.min_score is None else asked.min_score
        )
        self.nms_px: int = config.nms_radius if asked.nms_px is None else asked.nms_px
        self.border_px: int = config.border_removal_distance

    def scores(self, pixels: Float[Tensor, "3 rows columns"]) -> Float[Tensor, "rows columns"]:
        """How likely each pixel is a key point, before any is ruled out.

        Args:
            pixels: red, green and blue from 0 to 1; sides multiples of `CELL_PX`.
        """
        grey = torch.tensordot(pixels.new_tensor(_GREY), pixels, dims=1)
        decoder: Any = self._net.keypoint_decoder
        encoded = self._net.encoder(grey[None, None]).last_hidden_state
        logits = decoder.conv_score_b(torch.relu(decoder.conv_score_a(encoded)))
        return torch.nn.functional.pixel_shuffle(logits.softmax(dim=1)[:, :-1], CELL_PX)[0, 0]

    def _find(
        self, pixels: Float[Tensor, "3 rows columns"], picture_wh: SizeWH
    ) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
        width, height = picture_wh
        scores = suppress(self.scores(pixels)[:height, :width], self.nms_px)
        border = self.border_px
        allowed = torch.zeros_like(scores, dtype=torch.bool)
        allowed[border : height - border, border : width - border] = True
        found = torch.nonzero(allowed & (scores > self.min_score))
        return found.flip(1).to(scores.dtype), scores[found[:, 0], found[:, 1]]


def _network_on_meta(folder: Path) -> Any:
    """The network of a checkpoint's config.json, without memory or weights."""
    import transformers

    path = folder / "config.json"
    try:
        config = transformers.SuperPointConfig.from_dict(json.loads(path.read_text()))
        with torch.device("meta"):
            network = transformers.SuperPointForKeypointDetection(config)
    except Exception as error:  # transformers' checks of a configuration raise many kinds
        raise ModelError(
            f"expected the configuration of a SuperPointForKeypointDetection in {path}, as "
            f"transformers 5 has it: {' '.join(str(error).split())[:200]}"
        ) from error
    if config.keypoint_decoder_dim != CELL_PX**2 + 1 or len(config.encoder_hidden_sizes) != 4:
        raise ModelError(
            f"expected cells of {CELL_PX} x {CELL_PX} pixels and one for none (65 channels, 4 "
            f"blocks) in {path}, got {config.keypoint_decoder_dim} channels and "
            f"{len(config.encoder_hidden_sizes)} blocks"
        )
    return network.eval().requires_grad_(False)
