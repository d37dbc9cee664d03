"""What stands beside a model in every table: hand-made features, and its own untrained network."""

from collections.abc import Iterator

from counterpoint.backbones import load
from counterpoint.backbones.base import Backbone

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
        yield Small.untrained(seed, config=backbone.config, device=str(backbone.device))
    yield backbone
