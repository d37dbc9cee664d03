"""The note in a folder of predictions that says what made them, so that no others are mixed in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.datasets.keypoints import plain
from counterpoint.errors import StorageError
from counterpoint.files import write_text
from counterpoint.images import Picture
from counterpoint.options import Options
from counterpoint.store import comparable

BLANK = Picture(np.zeros((1, 1, 3), np.uint8))
"""Stands for any picture where only a model's options are asked for."""


def note_origin(note: Path, origin: Mapping[str, Any]) -> None:
    """Write what makes a folder's predictions, or check that those there were made like that.

    Args:
        note: the JSON file.
        origin: plain values.

    Raises:
        StorageError: they were made in another way, or the note cannot be read.
    """
    asked = plain(origin)
    if note.exists():
        _require_same(note, asked)
    else:
        write_text(note, json.dumps(asked, indent=2) + "\n")


def features_note(backbone: Backbone, picture: Picture, options: Options) -> dict[str, Any]:
    """What decides a model's features, whatever the picture."""
    made = comparable(backbone.provenance(picture, options))
    del made["picture_sha256"]
    return made


def _require_same(note: Path, asked: Mapping[str, Any]) -> None:
    try:
        there = _flat(json.loads(note.read_text()))
    except (OSError, ValueError, AttributeError) as error:
        raise StorageError(
            f"expected what made the predictions in {note}, which cannot be read; remove the folder"
        ) from error
    ours = _flat(asked)
    for name in sorted(there.keys() | ours.keys()):
        if there.get(name) != ours.get(name):
            raise StorageError(
                f"{note.parent} was made with {name} = {there.get(name)!r}, asked was "
                f"{ours.get(name)!r}; choose another --out, or remove the folder"
            )


def _flat(entries: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entries.items():
        inner = _flat(value, f"{before}{name}.") if isinstance(value, dict) else {}
        flat |= inner or {f"{before}{name}": value}
    return flat
