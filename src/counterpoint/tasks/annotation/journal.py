"""What an annotation run has done so far, line by line in one file, so that a stop loses nothing.

The first line says what the run is of (references, model, options); each other line is one target
with everything found in it, written to the disk before the next target is begun. A line cut off by
a stop is passed over, and its target done again.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.annotations import Category, Instance, Outline
from counterpoint.annotations.runs import decode_coco, encode_coco
from counterpoint.errors import BadInput, StorageError
from counterpoint.files import explain, write_bytes, write_text
from counterpoint.tasks.annotation.annotator import Found

FORMAT = "counterpoint/annotate/1"


class Journal:
    """The file of a run.

    Args:
        path: of the file; begun where there is none.
        about: what the run is of; anything JSON holds.
        overwrite: begin anew.

    Raises:
        StorageError: the file is of another run, or cannot be written.
    """

    def __init__(self, path: Path, about: dict[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        self._done: dict[str, dict[str, Any]] = {}
        header = json.loads(json.dumps({"format": FORMAT, **about}))
        if overwrite or not path.exists():
            write_text(path, json.dumps(header) + "\n")
        else:
            self._read(header)

    def _read(self, header: dict[str, Any]) -> None:
        lines = self.path.read_bytes().split(b"\n")
        found = _parsed(lines[0])
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise StorageError(f"expected a run of annotate in {self.path}, got another file")
        for name, value in header.items():
            if found.get(name) != value:
                raise StorageError(
                    f"{self.path} is of a run with another {name}; choose another --out, or begin "
                    "anew with --overwrite"
                )
        whole = [lines[0]]
        for line in lines[1:]:
            entry = _parsed(line)
            if entry is not None:
                whole.append(line)
                self._done[entry["target"]] = entry
        if lines[-1]:  # cut off: what follows must not be glued to it
            write_bytes(self.path, b"\n".join([*whole, b""]))

    def find(self, target: str, picture_sha256: str) -> dict[str, Any] | None:
        """What was noted of a target, unless its picture has changed since."""
        entry = self._done.get(target)
        return entry if entry and entry["picture_sha256"] == picture_sha256 else None

    def add(self, entry: dict[str, Any]) -> None:
        """Note one target, on the disk when this returns.

        Raises:
            StorageError: the disk is full, or the file cannot be written.
        """
        self._done[entry["target"]] = entry
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(explain(error, self.path)) from error


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def to_entry(found: Found) -> dict[str, Any]:
    """One thing found, for JSON."""
    one = found.instance
    return {
        "category_id": one.category_id,
        "points_px": found.points_px.round(3).tolist(),
        "visibility": one.visibility.tolist(),
        "confidence": found.confidence.round(6).tolist(),
        "agreeing": found.agreeing.tolist(),
        "voters": found.voters.tolist(),
        "calibrated": found.calibrated,
        "mask_confidence": found.mask_confidence,
        "score": one.score,
        "box": one.box,
        "outline": None if one.outline is None else _outline_entry(one.outline),
    }


def from_entry(entry: dict[str, Any], category: Category) -> Found:
    """Back from `to_entry`.

    Raises:
        BadInput: not such an entry.
    """
    try:
        points = np.asarray(entry["points_px"], dtype=np.float64).reshape(-1, 2)
        visibility = np.asarray(entry["visibility"], dtype=np.int64)
        confidence = np.asarray(entry["confidence"], dtype=np.float64)
        instance = Instance(
            id=0,
            image_id=0,
            category_id=entry["category_id"],
            keypoints_px=np.where(visibility[:, None] > 0, points, 0.0),
            visibility=visibility,
            outline=None if entry["outline"] is None else _outline(entry["outline"]),
            box=None if entry["box"] is None else tuple(entry["box"]),
            score=entry["score"],
            keypoint_scores=confidence,
        )
        agreeing, voters = (np.asarray(entry[name], int) for name in ("agreeing", "voters"))
        sure = entry["mask_confidence"]
        flag = bool(entry["calibrated"])
        return Found(instance, category, points, confidence, agreeing, voters, flag, sure)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"expected a thing found by annotate, got {error!r}") from error


def _outline_entry(outline: Outline) -> dict[str, Any]:
    if outline.mask is None:
        return {"style": outline.style, "polygons": [p.tolist() for p in outline.polygons]}
    return {"style": outline.style, **encode_coco(outline.mask, compressed=False)}


def _outline(entry: dict[str, Any]) -> Outline:
    if "polygons" in entry:
        polygons = tuple(np.asarray(p, dtype=np.float64) for p in entry["polygons"])
        return Outline("polygon", polygons)
    rows, columns = entry["size"]
    return Outline(entry["style"], mask=decode_coco(entry, (columns, rows)))
