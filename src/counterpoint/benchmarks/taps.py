"""Feature maps at several taps of one forward pass, single or joined ("up:1+up:2")."""

from collections.abc import Sequence
from dataclasses import replace

from counterpoint.backbones.base import Backbone
from counterpoint.errors import UnknownName
from counterpoint.features import FeatureMap, join
from counterpoint.images import Picture
from counterpoint.options import Options


def blocks(backbone: Backbone) -> tuple[str, ...]:
    """Taps at the ends of blocks, and the model's own default where that is a single layer."""
    default = backbone.spec.tap
    return tuple(t.name for t in backbone.taps if ".layer:" not in t.name or t.name == default)


def require_taps(backbone: Backbone, names: Sequence[str]) -> tuple[str, ...]:
    """The names, single or joined ("up:1+up:2"), or an error at once and not after minutes.

    Raises:
        UnknownName: a tap that the model does not have.
    """
    known = [tap.name for tap in backbone.taps]
    for single in (single for name in names for single in name.split("+")):
        if single not in known:
            raise UnknownName(f"tap of {backbone.spec.name}", single, known)
    return tuple(names)


def extract_joined(
    backbone: Backbone,
    pictures: Sequence[Picture],
    names: Sequence[str],
    t: int | None,
    options: Options,
) -> list[dict[str, FeatureMap]]:
    """Every picture's maps by name; ``t`` None: the options', else the model's."""
    options = options if t is None else replace(options, t=t)
    singles = list(dict.fromkeys(single for name in names for single in name.split("+")))
    found = backbone.extract_taps(list(pictures), singles, options)
    return [
        {name: join([maps[single] for single in name.split("+")]) for name in names}
        for maps in found
    ]


def timestep(fmap: FeatureMap) -> int | None:
    """The time step behind a map; None: no noise."""
    return next(iter(fmap.provenance.timesteps), None)
