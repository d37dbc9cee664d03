"""What a sweep runs on, and the counts of correct points that it keeps while it runs.

A row of a sweep is one time step, ensemble size and prompt: what one forward pass a picture (and
ensemble member) decides. All its taps are read from that pass, matched, counted and forgotten; what
is kept is one small file a row, the number of correct points of every pair at every tap.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.birds.crops import PROTOCOL, CubCrops
from counterpoint.benchmarks.birds.keypoints import crops_as_pairs
from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs
from counterpoint.benchmarks.keypoints.protocols import Protocol, find_protocol
from counterpoint.benchmarks.keypoints.run import (
    PROMPT,
    Key,
    MapCache,
    in_good_order,
    load_sized,
    shards,
    size_bytes,
    takes_prompt,
)
from counterpoint.benchmarks.metrics import correct_points
from counterpoint.errors import StorageError
from counterpoint.features import join
from counterpoint.files import write_text
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture
from counterpoint.matching import PreparedMap, match
from counterpoint.options import Options

FORMAT = "counterpoint/sweep-row/1"

CUB_CROPS = find_protocol(PROTOCOL)

NOT_COUNTED = -1

Maps = Mapping[str, PreparedMap]
"""One picture's maps by tap."""

Counts = Int[np.ndarray, " pairs"]


@dataclass(frozen=True, eq=False)
class Course:
    """Pairs, and how a prediction on them is scored.

    Attributes:
        dataset: the pairs.
        protocol: says when a point is correct.
        alpha: threshold, in units of the protocol's length.
        pictures: those that are not files of their own (crops), by the path they came from.
        prompt: for models that take one, by default.
    """

    dataset: KeypointPairs
    protocol: Protocol
    alpha: float
    pictures: Mapping[Path, Picture] = field(default_factory=dict)
    prompt: str | None = None

    def picture(self, path: Path, size_wh: SizeWH) -> Picture:
        """One of the pairs' pictures."""
        return self.pictures[path] if path in self.pictures else load_sized(path, size_wh)

    def hits(self, pair: KeypointPair, maps: Mapping[Path, PreparedMap]) -> int:
        """How many of a pair's points are found by nearest neighbours of these maps."""
        inside_px = pair.source_px.clip(0, np.asarray(pair.source_size_wh) - 1)
        found = match(
            maps[pair.source], maps[pair.target], inside_px, cycle=False, margin_radius=None
        )
        threshold_px = self.alpha * self.protocol.length_px(pair)
        strict = self.protocol.strict
        hits = correct_points(found.target_px, pair.target_px, threshold_px, strict=strict)
        return int(hits.sum())


def keypoint_course(
    dataset: KeypointPairs, protocol: Protocol, alpha: float | None = None
) -> Course:
    """Any data set of key point pairs; by default at the protocol's first threshold."""
    alpha = protocol.alphas[0] if alpha is None else alpha
    return Course(dataset, protocol, alpha, prompt=PROMPT)


def crop_course(benchmark: CubCrops) -> Course:
    """Bird crops (protocol `cub-crops`), with the same pairs and figures as `score_taps`."""
    dataset = crops_as_pairs(benchmark)
    return Course(dataset, CUB_CROPS, benchmark.alpha, dataset.crops)


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
        maps = self._maps(pairs, row, taps, held)
        correct: dict[str, list[int]] = {tap: [] for tap in taps}
        for pair in pairs:
            prompt = _prompt(row, pair)
            for tap in taps:
                both = {path: maps[path, prompt][tap] for path in (pair.source, pair.target)}
                correct[tap].append(self.course.hits(pair, both))
        return correct

    def _maps(
        self, pairs: Sequence[KeypointPair], row: Row, taps: tuple[str, ...], held: MapCache[Maps]
    ) -> dict[Key, Maps]:
        """Every picture's maps at every tap, from memory or one forward pass each."""
        needed = {
            (path, _prompt(row, pair)): size_wh
            for pair in pairs
            for path, size_wh in (
                (pair.source, pair.source_size_wh),
                (pair.target, pair.target_size_wh),
            )
        }
        maps = {key: found for key in needed if (found := held.get(key)) is not None}
        missing: dict[str, list[Key]] = {}
        for key in needed:
            if key not in maps:
                missing.setdefault(key[1], []).append(key)
        singles = list(dict.fromkeys(single for tap in taps for single in tap.split("+")))
        for prompt, keys in missing.items():
            pictures = [self.course.picture(key[0], needed[key]) for key in keys]
            asked = replace(self.options, t=row.t, ensemble=row.ensemble, tap=None)
            asked = replace(asked, prompt=prompt if takes_prompt(self.backbone.spec) else None)
            made = self.backbone.stream_taps(pictures, singles, asked)
            for key, by_tap in zip(keys, made, strict=True):
                maps[key] = {
                    tap: PreparedMap(join([by_tap[name] for name in tap.split("+")]))
                    for tap in taps
                }
                held.put(key, maps[key])
        return maps


def _maps_bytes(maps: Maps) -> int:
    return sum(map(size_bytes, maps.values()))


def _prompt(row: Row, pair: KeypointPair) -> str:
    return row.prompt.replace("{category}", pair.noun)


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
        sizes = {
            (path, pair.noun): size_wh
            for pair in shard
            for path, size_wh in (
                (pair.source, pair.source_size_wh),
                (pair.target, pair.target_size_wh),
            )
        }
        missing = [key for key in sizes if held.get(key) is None]
        passes += len(missing)
        for key in missing:
            held.put(key, sizes[key])
    return passes
