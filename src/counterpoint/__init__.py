"""counterpoint finds the same point in another picture, with diffusion features (DIFT).

>>> import counterpoint as cp
>>> from skimage.data import astronaut, chelsea
>>> person, cat = cp.extract([astronaut(), chelsea()])
>>> matches = cp.match(person, cat, [(195, 110)])
>>> matches.target_px.shape
(1, 2)

Five ideas: `load` a model, `extract` a `FeatureMap`, `match` two of them, draw or use the
`Matches`. Importing this package loads neither torch nor diffusers; they come with first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counterpoint.api import extract
    from counterpoint.backbones import available, load
    from counterpoint.errors import CounterpointError
    from counterpoint.features import FeatureMap
    from counterpoint.images import Picture, load_picture
    from counterpoint.matching import Matches, match, mutual_matches, similarity_map
    from counterpoint.options import Options
    from counterpoint.plots import (
        draw_components,
        draw_heat,
        draw_matches,
        draw_strip,
        save_png,
    )
    from counterpoint.provenance import Provenance
    from counterpoint.tasks.parts.components import joint_pca

_HOMES = {
    "CounterpointError": "counterpoint.errors",
    "FeatureMap": "counterpoint.features",
    "Matches": "counterpoint.matching",
    "Options": "counterpoint.options",
    "Picture": "counterpoint.images",
    "Provenance": "counterpoint.provenance",
    "available": "counterpoint.backbones",
    "draw_components": "counterpoint.plots",
    "draw_heat": "counterpoint.plots",
    "draw_matches": "counterpoint.plots",
    "draw_strip": "counterpoint.plots",
    "extract": "counterpoint.api",
    "joint_pca": "counterpoint.tasks.parts.components",
    "load": "counterpoint.backbones",
    "load_picture": "counterpoint.images",
    "match": "counterpoint.matching",
    "mutual_matches": "counterpoint.matching",
    "save_png": "counterpoint.plots",
    "similarity_map": "counterpoint.matching",
}

__all__ = [
    "CounterpointError",
    "FeatureMap",
    "Matches",
    "Options",
    "Picture",
    "Provenance",
    "available",
    "draw_components",
    "draw_heat",
    "draw_matches",
    "draw_strip",
    "extract",
    "joint_pca",
    "load",
    "load_picture",
    "match",
    "mutual_matches",
    "save_png",
    "similarity_map",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'counterpoint' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return __all__
