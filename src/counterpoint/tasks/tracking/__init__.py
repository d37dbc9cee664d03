"""What is marked in a video's frame, carried to the others."""

from typing import TYPE_CHECKING

from counterpoint.lazy import lazy_names

if TYPE_CHECKING:
    from counterpoint.tasks.tracking.overlays import Overlay
    from counterpoint.tasks.tracking.prompts import Prompt, Tracked
    from counterpoint.tasks.tracking.propagation import Propagation
    from counterpoint.tasks.tracking.tracker import Tracker, Tracking

__all__ = [
    "Overlay",
    "Prompt",
    "Propagation",
    "Tracked",
    "Tracker",
    "Tracking",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Overlay": "overlays",
        "Prompt": "prompts",
        "Propagation": "propagation",
        "Tracked": "prompts",
        "Tracker": "tracker",
        "Tracking": "tracker",
    },
)
