"""Each use in one call, with pictures and a model's name: what the commands do, from Python.

Below lie the pure functions of `counterpoint.tasks` and `counterpoint.benchmarks`, which take
feature maps and never load a model.
"""

from typing import TYPE_CHECKING

from counterpoint.lazy import lazy_names

if TYPE_CHECKING:
    from counterpoint.api.aligning import Aligned, align
    from counterpoint.api.annotating import Annotated, annotate
    from counterpoint.api.editing import Edited, edit
    from counterpoint.api.extracting import extract
    from counterpoint.api.measuring import bench, score, sweep
    from counterpoint.api.tracking import draw_tracked, track

__all__ = [
    "Aligned",
    "Annotated",
    "Edited",
    "align",
    "annotate",
    "bench",
    "draw_tracked",
    "edit",
    "extract",
    "score",
    "sweep",
    "track",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Aligned": "aligning",
        "Annotated": "annotating",
        "Edited": "editing",
        "align": "aligning",
        "annotate": "annotating",
        "bench": "measuring",
        "draw_tracked": "tracking",
        "edit": "editing",
        "extract": "extracting",
        "score": "measuring",
        "sweep": "measuring",
        "track": "tracking",
    },
)
