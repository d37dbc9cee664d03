"""The rows of a sweep: a model at work, and the counts of correct points that it keeps.

A row of a sweep is one time step, ensemble size and prompt: what one forward pass a picture (and
ensemble member) decides. All its taps are read from that pass, matched, counted and forgotten; what
is kept is one small file a row, the number of correct points of every pair at every tap.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.datasets.keypoints import KeypointPair
from counterpoint.benchmarks.keypoints.course import Course
from counterpoint.benchmarks.keypoints.maps import (
    Make,
    MapCache,
    find_points,
    in_good_order,
    keys_of,
    needed_by,
    shards,
    size_bytes,
)
from counterpoint.benchmarks.keypoints.prompts import takes_prompt
from counterpoint.benchmarks.taps import joined_tap, singles_of
from counterpoint.errors import StorageError
from counterpoint.files import write_text
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture
from counterpoint.matching import PreparedMap
from counterpoint.options import Options

FORMAT = "counterpoint/sweep-row/1"

NOT_COUNTED = -1

Maps = Mapping[str, PreparedMap]
"""One picture's maps by tap."""

Counts = Int[np.ndarray, " pairs"]


@dataclass(frozen=True)
class Row:
    """What a forward pass depends on.

    Attributes:
        t: time step; None: the model sees no noise.
        ensemble: draws averaged.
        prompt: text condition, "{category}" in it for each pair's own.
    """

    t: int | None
    ensemble: int
    prompt: str

    @property
    def words(self) -> str:
        """For a person."""
        noise = "no noise" if self.t is None else f"t = {self.t}, ensemble of {self.ensemble}"
        return noise + (f", prompt {self.prompt!r}" if self.prompt else "")

    @property
    def slug(self) -> str:
        """For a file."""
        digest = hashlib.sha256(self.prompt.encode()).hexdigest()[:8]
        return f"{'clean' if self.t is None else f't{self.t}'}-n{self.ensemble}-{digest}"


class RowCounts:
    """Correct points of every pair at every tap, on disk.

    While a row runs its counts lie in a folder beside its file, a few pairs a shard, each written
    beside and renamed; `finish` makes them one file.

    Attributes:
        path: the file.
        origin: hash of everything that decides a count beside the row and the tap.
        row: whose counts.
        pairs: how many the data set has.
        correct: by tap, (pairs,); `NOT_COUNTED` where there is no count.
    """

    def __init__(self, folder: Path, origin: str, row: Row, pairs: int) -> None:
        self.path = folder / f"{row.slug}.json"
        self.origin = origin
        self.row = row
        self.pairs = pairs
        self.correct: dict[str, Counts] = {}

    @classmethod
    def open(cls, folder: Path, origin: str, row: Row, pairs: int) -> "RowCounts":
        """Begin, or go on with what an earlier run left; damaged shards count as not there.

        Raises:
            StorageError: the file is damaged, or was made in another way.
        """
        found = cls(folder, origin, row, pairs)
        if found.path.exists():
            found._take(found.path)
        for shard in sorted(found.parts.glob("[!.]*.json")) if found.parts.is_dir() else ():
            try:
                entries = json.loads(shard.read_bytes())
            except ValueError:
                continue
            found._put(entries, shard)
        return found

    @property
    def parts(self) -> Path:
        """The folder of shards."""
        return self.path.with_suffix(".parts")

    def missing(
        self, taps: Sequence[str], pairs: Sequence[int]
    ) -> dict[tuple[str, ...], list[int]]:
        """Pairs by the taps at which they are not counted yet."""
        found: dict[tuple[str, ...], list[int]] = {}
        tables = {tap: self.of(tap) for tap in taps}
        for pair in pairs:
            lacking = tuple(tap for tap in taps if tables[tap][pair] == NOT_COUNTED)
            if lacking:
                found.setdefault(lacking, []).append(pair)
        return found

    def of(self, tap: str) -> Counts:
        """The counts at one tap."""
        return self.correct.setdefault(tap, np.full(self.pairs, NOT_COUNTED))

    def add(self, pairs: Sequence[int], correct: Mapping[str, Sequence[int]]) -> None:
        """Write a shard: some pairs at some taps."""
        entries = self._note() | {
            "pairs": list(pairs),
            "correct": {tap: list(counts) for tap, counts in correct.items()},
        }
        text = json.dumps(entries)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        write_text(self.parts / f"{name}.json", text)
        self._put(entries, self.path)

    def finish(self) -> None:
        """Make the one file, and remove the shards."""
        if not self.parts.is_dir():
            return
        counts = {tap: table.tolist() for tap, table in self.correct.items()}
        entries = self._note() | {"pairs": list(range(self.pairs)), "correct": counts}
        write_text(self.path, json.dumps(entries))
        shutil.rmtree(self.parts, ignore_errors=True)

    def _note(self) -> dict[str, Any]:
        row = {"t": self.row.t, "ensemble": self.row.ensemble, "prompt": self.row.prompt}
        return {"format": FORMAT, "origin": self.origin, "row": row}

    def _take(self, path: Path) -> None:
        try:
            entries = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise StorageError(f"expected counts of a sweep, got {path} ({reason})") from error
        self._put(entries, path)

    def _put(self, entries: dict[str, Any], path: Path) -> None:
        expected = self._note()
        if {name: entries.get(name) for name in expected} != expected:
            raise StorageError(
                f"{path} was made with other settings; choose another --out, or remove it"
            )
        for tap, counts in entries["correct"].items():
            self.of(tap)[entries["pairs"]] = counts


@dataclass(frozen=True, eq=False)
class RowRun:
    """A model at work on rows.

    Attributes:
        backbone: the model.
        course: the pairs.
        options: of the features; its ``t``, ``tap``, ``ensemble`` and ``prompt`` are not used.
        cache_bytes: memory for maps that wait for their next pair, beside those of 8 pictures in
            use.
    """

    backbone: Backbone
    course: Course
    options: Options
    cache_bytes: int

    def run(
        self,
        counts: RowCounts,
        taps: Sequence[str],
        pairs: Sequence[int],
        tell: Callable[[int], None] | None = None,
    ) -> None:
        """Count what is not counted yet; ``tell`` hears of each few pairs that are done."""
        index = {pair.id: i for i, pair in enumerate(self.course.dataset.pairs)}
        for lacking, some in counts.missing(taps, pairs).items():
            held: MapCache[Maps] = MapCache(self.cache_bytes, _maps_bytes)
            chosen = [self.course.dataset.pairs[i] for i in some]
            for shard in shards(in_good_order(chosen)):
                found = self._count(shard, counts.row, lacking, held)
                counts.add([index[pair.id] for pair in shard], found)
                if tell:
                    tell(len(shard))
        counts.finish()

    def _count(
        self, pairs: Sequence[KeypointPair], row: Row, taps: tuple[str, ...], held: MapCache[Maps]
    ) -> dict[str, list[int]]:
        """Each pair's correct points at each tap; a picture's taps from one forward pass."""
        needed = needed_by(pairs, row.prompt)
        maps = held.held_or_made(needed, self.course.picture, self._maker(row, taps))
        correct: dict[str, list[int]] = {tap: [] for tap in taps}
        for pair in pairs:
            source, target = keys_of(pair, row.prompt)
            for tap in taps:
                found = find_points(maps[source][tap], maps[target][tap], pair)
                correct[tap].append(int(self.course.correct(pair, found).sum()))
        return correct

    def _maker(self, row: Row, taps: tuple[str, ...]) -> Make[Maps]:
        asked = replace(self.options, t=row.t, ensemble=row.ensemble, tap=None)
        prompted = takes_prompt(self.backbone.spec)

        def make(prompt: str, pictures: list[Picture]) -> Iterator[Maps]:
            options = replace(asked, prompt=prompt if prompted else None)
            for by_tap in self.backbone.stream_taps(pictures, singles_of(taps), options):
                yield {tap: PreparedMap(joined_tap(by_tap, tap)) for tap in taps}

        return make


def _maps_bytes(maps: Maps) -> int:
    return sum(map(size_bytes, maps.values()))


def passes_a_row(course: Course, picture_bytes: Callable[[SizeWH], int], limit_bytes: int) -> int:
    """How many pictures a row will put through the network: at least each once.

    Args:
        course: the pairs.
        picture_bytes: what the maps of a picture of some size take.
        limit_bytes: what may be held.
    """
    held: MapCache[SizeWH] = MapCache(limit_bytes, picture_bytes)
    passes = 0
    for shard in shards(in_good_order(course.dataset.pairs)):
        sizes = needed_by(shard, "{category}")
        missing = [key for key in sizes if held.get(key) is None]
        passes += len(missing)
        for key in missing:
            held.put(key, sizes[key])
    return passes
