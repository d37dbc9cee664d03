"""Feature maps at several taps of one forward pass, single or joined ("up:1+up:2")."""

from collections.abc import Mapping, Sequence
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
    for single in singles_of(names):
        if single not in known:
            raise UnknownName(f"tap of {backbone.spec.name}", single, known)
    return tuple(names)


def singles_of(names: Sequence[str]) -> list[str]:
    """The single taps that names are made of, each once.

    >>> singles_of(["up:0", "up:0+up:1"])
    ['up:0', 'up:1']
    """
    return list(dict.fromkeys(single for name in names for single in name.split("+")))


def joined_tap(maps: Mapping[str, FeatureMap], name: str) -> FeatureMap:
    """A picture's map at a tap, single or joined, from those at single taps."""
    return join([maps[single] for single in name.split("+")])


def extract_joined(
    backbone: Backbone,
    pictures: Sequence[Picture],
    names: Sequence[str],
    t: int | None,
    options: Options,
) -> list[dict[str, FeatureMap]]:
    """Every picture's maps by name; ``t`` None: the options', else the model's."""
    options = options if t is None else replace(options, t=t)
    found = backbone.extract_taps(list(pictures), singles_of(names), options)
    return [{name: joined_tap(maps, name) for name in names} for maps in found]


def timestep(fmap: FeatureMap) -> int | None:
    """The time step behind a map; None: no noise."""
    return next(iter(fmap.provenance.timesteps), None)
