"""SuperPoint of random weights, tiny, in the hub's transformers layout.

Saving gives the tensor names of the published checkpoint (``encoder.conv_blocks.0.conv_a...``).
"""

from pathlib import Path
from typing import Any

import torch

TINY: dict[str, Any] = {
    "encoder_hidden_sizes": (6, 6, 8, 8),
    "decoder_hidden_size": 16,
    "descriptor_decoder_dim": 12,
}


def write_superpoint(folder: Path, **values: Any) -> Path:
    """By default 10 thousand parameters; scores spread as a trained network's do."""
    import transformers

    config = transformers.SuperPointConfig(**{**TINY, **values})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = transformers.SuperPointForKeypointDetection(config)
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        # A trained network is surer of itself.
        network.keypoint_decoder.conv_score_b.weight.data *= 4
    network.save_pretrained(folder)
    return folder
