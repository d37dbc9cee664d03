"""Views of one rigid scene: key points, their matches, the matrices that tie them."""

from typing import TYPE_CHECKING

from counterpoint.lazy import lazy_names

if TYPE_CHECKING:
    from counterpoint.tasks.scenes.homography import (
        Estimate,
        NoEstimate,
        Robust,
        estimate,
        overlay,
        supported,
    )
    from counterpoint.tasks.scenes.local_features import (
        KeyPoints,
        detect,
        detect_scored,
        geometric_options,
    )
    from counterpoint.tasks.scenes.views import (
        View,
        ViewPair,
        choose_pairs,
        match_views,
        relate,
        view_of,
    )

__all__ = [
    "Estimate",
    "KeyPoints",
    "NoEstimate",
    "Robust",
    "View",
    "ViewPair",
    "choose_pairs",
    "detect",
    "detect_scored",
    "estimate",
    "geometric_options",
    "match_views",
    "overlay",
    "relate",
    "supported",
    "view_of",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Estimate": "homography",
        "KeyPoints": "local_features",
        "NoEstimate": "homography",
        "Robust": "homography",
        "View": "views",
        "ViewPair": "views",
        "choose_pairs": "views",
        "detect": "local_features",
        "detect_scored": "local_features",
        "estimate": "homography",
        "geometric_options": "local_features",
        "match_views": "views",
        "overlay": "homography",
        "relate": "views",
        "supported": "homography",
        "view_of": "views",
    },
)
