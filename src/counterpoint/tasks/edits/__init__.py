"""Edits of one picture carried to others: what is carried, the warps, the blending."""

from typing import TYPE_CHECKING

from counterpoint.lazy import lazy_names

if TYPE_CHECKING:
    from counterpoint.tasks.edits.carry import CarriedEdit, carry_edit
    from counterpoint.tasks.edits.changes import edited_copy, sticker_on
    from counterpoint.tasks.edits.layers import Edit, blend
    from counterpoint.tasks.edits.motion import Steadying, frame_findings, steady
    from counterpoint.tasks.edits.originals import load_original
    from counterpoint.tasks.edits.points import Carrying
    from counterpoint.tasks.edits.sources import Placing

__all__ = [
    "CarriedEdit",
    "Carrying",
    "Edit",
    "Placing",
    "Steadying",
    "blend",
    "carry_edit",
    "edited_copy",
    "frame_findings",
    "load_original",
    "steady",
    "sticker_on",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CarriedEdit": "carry",
        "Carrying": "points",
        "Edit": "layers",
        "Placing": "sources",
        "Steadying": "motion",
        "blend": "layers",
        "carry_edit": "carry",
        "edited_copy": "changes",
        "frame_findings": "motion",
        "load_original": "originals",
        "steady": "motion",
        "sticker_on": "changes",
    },
)
