"""counterpoint finds the same point in another picture, with diffusion features (DIFT).

>>> import counterpoint as cp
>>> from skimage.data import astronaut, chelsea
>>> person, cat = cp.extract([astronaut(), chelsea()])
>>> matches = cp.match(person, cat, [(195, 110)])
>>> matches.target_px.shape
(1, 2)

Five ideas: `load` a model, `extract` a `FeatureMap`, `match` two of them, draw or use the
`Matches`. What people do with them is one call each: `align`, `edit`, `annotate`, `track`,
`fit_parts`. Importing this package loads neither torch nor diffusers; they come with first use.
"""

from typing import TYPE_CHECKING

from counterpoint.lazy import lazy_names

if TYPE_CHECKING:
    from counterpoint.api import align, annotate, edit, extract, track
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
    from counterpoint.tasks.parts.segmentation import fit_parts

__all__ = [
    "CounterpointError",
    "FeatureMap",
    "Matches",
    "Options",
    "Picture",
    "Provenance",
    "align",
    "annotate",
    "available",
    "draw_components",
    "draw_heat",
    "draw_matches",
    "draw_strip",
    "edit",
    "extract",
    "fit_parts",
    "joint_pca",
    "load",
    "load_picture",
    "match",
    "mutual_matches",
    "save_png",
    "similarity_map",
    "track",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CounterpointError": "errors",
        "FeatureMap": "features",
        "Matches": "matching",
        "Options": "options",
        "Picture": "images",
        "Provenance": "provenance",
        "align": "api",
        "annotate": "api",
        "available": "backbones",
        "draw_components": "plots",
        "draw_heat": "plots",
        "draw_matches": "plots",
        "draw_strip": "plots",
        "edit": "api",
        "extract": "api",
        "fit_parts": "tasks.parts.segmentation",
        "joint_pca": "tasks.parts.components",
        "load": "backbones",
        "load_picture": "images",
        "match": "matching",
        "mutual_matches": "matching",
        "save_png": "plots",
        "similarity_map": "matching",
        "track": "api",
    },
)
