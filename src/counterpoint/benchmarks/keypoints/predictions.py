"""Predictions of a whole data set in one file, with what made them; scoring is another step.

While they are made they lie in a folder beside the file (``NAME.parts``), some pairs a shard, each
shard written beside and renamed. A run that is killed at any point goes on where the last shard
ends; at the end the shards become the one file. Every shard and the file name what made them, and
nothing that was made otherwise is ever mixed in.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from counterpoint.benchmarks.datasets.keypoints import Skipped, plain
from counterpoint.errors import BadInput, StorageError
from counterpoint.files import save_tensors
from counterpoint.geometry import Points, as_points
from counterpoint.provenance import Provenance
from counterpoint.store import comparable

FORMAT = "counterpoint/predictions/1"
METADATA_KEY = "counterpoint"
SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What made predictions: enough to make them again, and to know them from others.

    Attributes:
        method: "sd21", "sd21, untrained", "same position".
        features: of the model; the prompt with "{category}" in it where that is filled in, no
            picture's hash.
        matching: "argmax" or "window", as `match` takes it; "" for methods that do not match.
        dataset: its name.
        request: how it was read (`KeypointPairs.request`).
        pairs_sha256: fingerprint of its list of pairs.
    """

    method: str
    features: Provenance
    matching: str = ""
    dataset: str
    request: Mapping[str, Any] = field(default_factory=dict)
    pairs_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return plain(asdict(self))

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> "Origin":
        """Back from `to_dict`."""
        known: dict[str, Any] = dict(entries)
        known["features"] = Provenance.from_dict(known["features"])
        return cls(**known)

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for predictions to be the same.

        Without the library's version, which is only a note, and without how the list was read:
        the fingerprint says what came of it.
        """
        entries = self.to_dict() | {"features": plain(comparable(self.features))}
        del entries["request"]
        return entries


@dataclass(frozen=True)
class Predictions:
    """Predicted points of every pair.

    Attributes:
        origin: what made them.
        points: by pair id, (N, 2), pixels of the target picture.
        skipped: pairs that could not be run, and why.
    """

    origin: Origin
    points: Mapping[str, Points]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Header:
    """What a file says of itself without its points.

    Attributes:
        origin: what made the predictions.
        ids: of the pairs, in the file's order.
        skipped: pairs that could not be run, and why.
    """

    origin: Origin
    ids: tuple[str, ...]
    skipped: tuple[Skipped, ...]


class PredictionFile:
    """A file of predictions in the making; `open` one, `add` to it, `finish` it.

    Attributes:
        path: the file that will be.
        origin: what makes the predictions.
        points: by pair id, those that there are.
        skipped: pairs that could not be run, by id.
    """

    def __init__(self, path: Path, origin: Origin) -> None:
        self.path = path
        self.origin = origin
        self.points: dict[str, Points] = {}
        self.skipped: dict[str, Skipped] = {}

    @classmethod
    def open(cls, path: Path | str, origin: Origin) -> "PredictionFile":
        """Begin, or go on with what an earlier run left, finished or not.

        Shards that are damaged count as not there.

        Raises:
            StorageError: a file or shard is there that was made in another way.
        """
        path = Path(path)
        if path.suffix != SUFFIX:
            raise StorageError(f"expected a path that ends in {SUFFIX}, got {path}")
        found = cls(path, origin)
        shards = sorted(found.parts.glob(f"*{SUFFIX}")) if found.parts.is_dir() else []
        for shard in [path, *shards] if path.exists() else shards:
            found._take(shard, damaged=shard != path)
        return found

    @property
    def parts(self) -> Path:
        """The folder of shards."""
        return self.path.with_name(f"{self.path.stem}.parts")

    def holds(self, identity: str) -> bool:
        """Whether a pair is done: predicted, or found impossible."""
        return identity in self.points or identity in self.skipped

    def add(self, points: Mapping[str, Points], skipped: Sequence[Skipped] = ()) -> None:
        """Write a shard.

        Raises:
            BadInput: a pair that is there already.
            StorageError: the folder cannot be written, or the disk is full.
        """
        again = [i for i in (*points, *(bad.id for bad in skipped)) if self.holds(i)]
        if again:
            raise BadInput(f"expected predictions of new pairs, {again[0]} is there already")
        if not points and not skipped:
            return
        ids = json.dumps([*points, *(bad.id for bad in skipped)])
        name = hashlib.sha256(ids.encode()).hexdigest()[:16]
        _save(self.parts / f"{name}{SUFFIX}", Predictions(self.origin, points, tuple(skipped)))
        self.points.update(points)
        self.skipped.update({bad.id: bad for bad in skipped})

    def finish(self, ids: Sequence[str]) -> Predictions:
        """Make the one file, in this order of pairs, and remove the shards.

        Raises:
            BadInput: a pair is missing.
            StorageError: the folder cannot be written, or the disk is full.
        """
        missing = [identity for identity in ids if not self.holds(identity)]
        if missing:
            raise BadInput(f"expected every pair before the end, {missing[0]} is not there yet")
        ordered = {identity: self.points[identity] for identity in ids if identity in self.points}
        skipped = tuple(self.skipped[identity] for identity in ids if identity in self.skipped)
        whole = Predictions(self.origin, ordered, skipped)
        if not self.path.exists() or self.parts.is_dir():
            _save(self.path, whole)
            shutil.rmtree(self.parts, ignore_errors=True)
        return whole

    def _take(self, shard: Path, *, damaged: bool) -> None:
        try:
            theirs = read_predictions(shard)
        except StorageError:
            if damaged:
                return
            raise
        require_same(theirs.origin, self.origin, shard)
        self.points.update(theirs.points)
        self.skipped.update({bad.id: bad for bad in theirs.skipped})


def read_predictions(path: Path | str) -> Predictions:
    """Read predictions back, bit for bit.

    Raises:
        StorageError: missing, truncated, or not such a file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header = read_prediction_header(path)
    try:
        tensors = load_file(path)
        ends = np.cumsum(tensors["counts"].numpy())[:-1]
        parts = np.split(tensors["points"].numpy(), ends) if header.ids else []
        points = dict(zip(header.ids, map(as_points, parts), strict=True))
    except (OSError, SafetensorError, LookupError, ValueError, TypeError) as error:
        raise StorageError(_damaged(path, error)) from error
    return Predictions(header.origin, points, header.skipped)


def read_prediction_header(path: Path | str) -> Header:
    """What a file of predictions says of itself, without reading its points.

    Raises:
        StorageError: missing, truncated, or not such a file.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise StorageError(f"no such file of predictions: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {})[METADATA_KEY])
        if note["format"] != FORMAT:
            raise ValueError(f"the format is {note['format']!r}")
        skipped = tuple(Skipped(**bad) for bad in note["skipped"])
        return Header(Origin.from_dict(note["origin"]), tuple(note["ids"]), skipped)
    except (OSError, SafetensorError, LookupError, ValueError, TypeError) as error:
        raise StorageError(_damaged(path, error)) from error


def require_same(theirs: Origin, ours: Origin, path: Path) -> None:
    """An error that names the first difference, unless both were made in the same way."""
    there, asked = _flat(theirs.identity), _flat(ours.identity)
    for name in sorted(there.keys() | asked.keys()):
        if there.get(name) != asked.get(name):
            raise StorageError(
                f"{path} was made with {name} = {there.get(name)!r}, asked was "
                f"{asked.get(name)!r}; choose another --out, or remove the file"
            )


def _flat(entries: Mapping[str, Any]) -> dict[str, Any]:
    features = {f"features.{name}": value for name, value in entries["features"].items()}
    return {**features, **{name: v for name, v in entries.items() if name != "features"}}


def _save(path: Path, predictions: Predictions) -> None:
    tables = [as_points(points) for points in predictions.points.values()]
    tensors = {
        "points": torch.from_numpy(np.concatenate([np.zeros((0, 2)), *tables])),
        "counts": torch.tensor([len(table) for table in tables], dtype=torch.int64),
    }
    note = {
        "format": FORMAT,
        "origin": predictions.origin.to_dict(),
        "ids": list(predictions.points),
        "skipped": [asdict(bad) for bad in predictions.skipped],
    }
    save_tensors(path, tensors, {METADATA_KEY: json.dumps(note)})


def _damaged(path: Path | str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return f"expected a file of predictions, got {path} ({reason}); remove it and run again"
