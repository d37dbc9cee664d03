"""Annotated pictures in the formats of labelling tools: COCO, Label Studio, CVAT.

Whatever comes becomes one `Annotations`, points in this project's pixels; what goes out is written
in any of the three. What a format says beyond that is kept as it came.
"""

from counterpoint.annotations.formats import (
    FORMATS,
    Format,
    read_annotations,
    write_annotations,
)
from counterpoint.annotations.model import (
    Annotations,
    Category,
    ImageEntry,
    Instance,
    Outline,
)
from counterpoint.annotations.places import find_picture

__all__ = [
    "FORMATS",
    "Annotations",
    "Category",
    "Format",
    "ImageEntry",
    "Instance",
    "Outline",
    "find_picture",
    "read_annotations",
    "write_annotations",
]
