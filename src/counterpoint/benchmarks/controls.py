"""What stands beside a model in every table: hand-made features, and its own untrained network."""

from collections.abc import Callable, Iterator

from counterpoint.backbones import load
from counterpoint.backbones.base import Backbone
from counterpoint.options import Options

Tell = Callable[[str], None]
"""Hears what is being done now."""

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


def compared(
    backbone: Backbone, options: Options, *, controls: bool = True
) -> Iterator[tuple[Backbone, Options]]:
    """The models of a table with their options: the controls, then the model itself.

    The untrained network has the model's options; hand-made features run at their own best setting.

    Args:
        backbone: the model.
        options: of its features.
        controls: hand-made features and the network untrained as well.
    """
    if not controls:
        yield backbone, options
        return
    for model in hand_made(backbone):
        yield model, Options(seed=options.seed)
    for model in with_untrained(backbone, options.seed):
        yield model, options
