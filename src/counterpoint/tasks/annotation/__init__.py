"""Annotation transfer: label one or a few pictures, get the rest."""

from typing import TYPE_CHECKING

from counterpoint.lazy import lazy_names

if TYPE_CHECKING:
    from counterpoint.tasks.annotation.annotator import Annotator, Found, Transfer
    from counterpoint.tasks.annotation.results import Result, collect, review_rows

__all__ = [
    "Annotator",
    "Found",
    "Result",
    "Transfer",
    "collect",
    "review_rows",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Annotator": "annotator",
        "Found": "annotator",
        "Result": "results",
        "Transfer": "annotator",
        "collect": "results",
        "review_rows": "results",
    },
)
