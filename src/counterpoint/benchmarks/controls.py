"""What stands beside a model in every table: hand-made features, and its own untrained network."""

import logging
from collections.abc import Iterator

from counterpoint.backbones import load
from counterpoint.backbones.base import Backbone

log = logging.getLogger(__name__)

HAND_MADE = ("rgb", "sift")
"""Models without weights, run at their own best setting."""


def hand_made(beside: Backbone) -> Iterator[Backbone]:
    """The hand-made features, without the model itself where it is one of them."""
    return (load(name, device="cpu") for name in HAND_MADE if name != beside.spec.name)


def with_untrained(backbone: Backbone, seed: int = 0) -> Iterator[Backbone]:
    """The same network with random weights, where its family has such a thing; then itself."""
    if backbone.spec.family == "small":
        from counterpoint.backbones.small import Small

        assert isinstance(backbone, Small)
        twin = Small.untrained(seed, device=str(backbone.device))
        if twin.config == backbone.config:
            yield twin
        else:
            log.warning("no untrained row: %s has another architecture", backbone.spec.name)
    yield backbone
