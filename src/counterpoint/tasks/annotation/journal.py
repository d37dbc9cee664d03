"""What an annotation run has done so far, line by line in one file, so that a stop loses nothing.

The first line says what the run is of (references, model, options); each other line is one target
with everything found in it, written to the disk before the next target is begun. A line cut off by
a stop is passed over, and its target done again. In memory is where each line begins, no more.
"""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from counterpoint.annotations import Category, Instance, Outline
from counterpoint.annotations.runs import encode_coco
from counterpoint.errors import BadInput, StorageError
from counterpoint.files import atomic_path, explain, write_text
from counterpoint.tasks.annotation.annotator import Found
from counterpoint.tasks.annotation.outlines import KeptOutline

FORMAT = "counterpoint/annotate/1"


class _Noted(NamedTuple):
    """A target that is done: its picture, and where its line begins in the file."""

    picture_sha256: str
    offset: int


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
        self._done: dict[str, _Noted] = {}
        header = json.loads(json.dumps({"format": FORMAT, **about}))
        if overwrite or not path.exists():
            write_text(path, json.dumps(header) + "\n")
        else:
            self._read(header)

    def _read(self, header: dict[str, Any]) -> None:
        with self.path.open("rb") as file:
            found = _parsed(file.readline())
            if not isinstance(found, dict) or found.get("format") != FORMAT:
                raise StorageError(f"expected a run of annotate in {self.path}, got another file")
            for name, value in header.items():
                if found.get(name) != value:
                    raise StorageError(
                        f"{self.path} is of a run with another {name}; choose another --out, or "
                        "begin anew with --overwrite"
                    )
            cut_off = self._index(file)
        if cut_off:  # what follows must not be glued to it
            self._mend()

    def _index(self, file: BinaryIO) -> bool:
        """Note where the targets' lines begin, from here on; whether the last one is cut off."""
        offset, line = file.tell(), b"\n"
        for line in iter(file.readline, b""):
            entry = _parsed(line)
            if entry is not None:
                self._done[entry["target"]] = _Noted(entry["picture_sha256"], offset)
            offset += len(line)
        return not line.endswith(b"\n")

    def _mend(self) -> None:
        """Write the file again, its whole lines only."""
        with (
            self.path.open("rb") as file,
            atomic_path(self.path) as beside,
            beside.open("wb") as mended,
        ):
            whole = (line for line in file if _parsed(line) is not None)
            mended.writelines(line.rstrip(b"\n") + b"\n" for line in whole)
        with self.path.open("rb") as file:
            file.readline()
            self._index(file)

    def find(self, target: str, picture_sha256: str) -> dict[str, Any] | None:
        """What was noted of a target, unless its picture has changed since.

        Raises:
            StorageError: the file has been changed meanwhile.
        """
        noted = self._done.get(target)
        if noted is None or noted.picture_sha256 != picture_sha256:
            return None
        with self.path.open("rb") as file:
            file.seek(noted.offset)
            entry = _parsed(file.readline())
        if not isinstance(entry, dict) or entry.get("target") != target:
            raise StorageError(f"{self.path} was changed while it was read; run again")
        return entry

    def add(self, entry: dict[str, Any]) -> None:
        """Note one target, on the disk when this returns.

        Raises:
            StorageError: the disk is full, or the file cannot be written.
        """
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        try:
            with self.path.open("ab") as file:
                offset = file.seek(0, os.SEEK_END)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(explain(error, self.path)) from error
        self._done[entry["target"]] = _Noted(entry["picture_sha256"], offset)


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
    if isinstance(outline, KeptOutline):
        size = [outline.size_wh[1], outline.size_wh[0]]
        return {"style": outline.style, "size": size, "counts": outline.runs.tolist()}
    if outline.mask is None:
        return {"style": outline.style, "polygons": [p.tolist() for p in outline.polygons]}
    return {"style": outline.style, **encode_coco(outline.mask, compressed=False)}


def _outline(entry: dict[str, Any]) -> Outline:
    if "polygons" in entry:
        polygons = tuple(np.asarray(p, dtype=np.float64) for p in entry["polygons"])
        return Outline("polygon", polygons)
    rows, columns = entry["size"]
    runs = np.asarray(entry["counts"], dtype=np.int64)
    return KeptOutline(entry["style"], runs, (columns, rows))
