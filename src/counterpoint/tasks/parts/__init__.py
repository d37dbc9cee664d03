"""Parts that pictures share: principal components and co-segmentation."""

from typing import TYPE_CHECKING

from counterpoint.lazy import lazy_names

if TYPE_CHECKING:
    from counterpoint.tasks.parts.components import joint_pca
    from counterpoint.tasks.parts.pictures import overlay_parts, save_label_map
    from counterpoint.tasks.parts.segmentation import (
        PartModel,
        Segmenting,
        fit_parts,
        load_parts,
        shares,
    )

__all__ = [
    "PartModel",
    "Segmenting",
    "fit_parts",
    "joint_pca",
    "load_parts",
    "overlay_parts",
    "save_label_map",
    "shares",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PartModel": "segmentation",
        "Segmenting": "segmentation",
        "fit_parts": "segmentation",
        "joint_pca": "components",
        "load_parts": "segmentation",
        "overlay_parts": "pictures",
        "save_label_map": "pictures",
        "shares": "segmentation",
    },
)
