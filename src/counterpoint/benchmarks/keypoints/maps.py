"""What a model makes of pairs' pictures: each picture once, while memory lasts.

Pairs are put into an order in which those of one picture come close to each other, and are taken a
few at a time; maps wait in a `MapCache` of bounded size for their next pair.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs
from counterpoint.benchmarks.keypoints.prompts import prompt_for
from counterpoint.errors import BadInput
from counterpoint.geometry import Points, SizeWH
from counterpoint.images import Picture, load_picture
from counterpoint.matching import PreparedMap, Subpixel, match

CACHE_BYTES = 2 << 30
"""Memory for feature maps that wait for their next pair."""

_AT_ONCE = 8  # pictures of one shard

Key = tuple[Path, str]
"""A picture and the prompt that its features were made with."""

T = TypeVar("T")

Read = Callable[[Key, SizeWH], Picture | None]
Make = Callable[[str, list[Picture]], Iterable[T]]


def needed_by(pairs: Iterable[KeypointPair], prompt: str | None) -> dict[Key, SizeWH]:
    """The pictures of some pairs, each once, with their sizes.

    Args:
        pairs: in which order they come.
        prompt: "{category}" in it stands for each pair's own.
    """
    needed: dict[Key, SizeWH] = {}
    for pair in pairs:
        source, target = keys_of(pair, prompt)
        needed |= {source: pair.source_size_wh, target: pair.target_size_wh}
    return needed


def keys_of(pair: KeypointPair, prompt: str | None) -> tuple[Key, Key]:
    """Of a pair's source and target."""
    words = prompt_for(pair.noun, prompt)
    return (pair.source, words), (pair.target, words)


class MapCache(Generic[T]):
    """Feature maps by picture, the longest unused dropped first when they take too many bytes.

    Args:
        limit_bytes: how many they may take; what is put in last stays in any case.
        bytes_of: how many a picture's take, such as `size_bytes`.
    """

    def __init__(self, limit_bytes: int, bytes_of: Callable[[T], int]) -> None:
        self.limit_bytes = limit_bytes
        self.bytes_of = bytes_of
        self.held_bytes = 0
        self._maps: OrderedDict[Key, T] = OrderedDict()

    def get(self, key: Key) -> T | None:
        """A picture's, now the most recently used; None if it is not there."""
        if key in self._maps:
            self._maps.move_to_end(key)
        return self._maps.get(key)

    def put(self, key: Key, maps: T) -> None:
        """Keep a picture's; others may go."""
        self._maps[key] = maps
        self.held_bytes += self.bytes_of(maps)
        while self.held_bytes > self.limit_bytes and len(self._maps) > 1:
            _, oldest = self._maps.popitem(last=False)
            self.held_bytes -= self.bytes_of(oldest)

    def held_or_made(self, needed: Mapping[Key, SizeWH], read: Read, make: Make[T]) -> dict[Key, T]:
        """What is needed, from memory or made now; pictures of one prompt are made together.

        Args:
            needed: from `needed_by`.
            read: a picture, or None for one that cannot be used, which is then left out.
            make: called with a prompt and its pictures.
        """
        found = {key: held for key in needed if (held := self.get(key)) is not None}
        missing: dict[str, dict[Key, Picture]] = {}
        for key in needed:
            picture = None if key in found else read(key, needed[key])
            if picture is not None:
                missing.setdefault(key[1], {})[key] = picture
        for prompt, pictures in missing.items():
            made = make(prompt, list(pictures.values()))
            for key, maps in zip(pictures, made, strict=True):
                found[key] = maps
                self.put(key, maps)
        return found


def size_bytes(prepared: PreparedMap) -> int:
    """About what a prepared map takes: its values, and tables by cell and by pixel."""
    channels, rows, columns = prepared.values.shape
    w, h = prepared.size_wh
    return 4 * rows * columns * (channels + 64) + 4 * w * h


def find_points(
    source: PreparedMap, target: PreparedMap, pair: KeypointPair, subpixel: Subpixel = "argmax"
) -> Points:
    """Where a pair's points are in its target, by nearest neighbours of these maps, (N, 2).

    A key point that lies a little beyond its picture is read at the nearest pixel inside.
    """
    inside_px = pair.source_px.clip(0, np.asarray(pair.source_size_wh) - 1)
    found = match(source, target, inside_px, subpixel=subpixel, margin_radius=None, cycle=False)
    return found.target_px


def in_good_order(pairs: Sequence[KeypointPair]) -> list[KeypointPair]:
    """The pairs so that a picture's pairs come close to each other, for a cache of any size.

    Category by category; within one along a Z-order curve over (source, target), pictures numbered
    by first occurrence.
    """
    categories: dict[str, int] = {}
    numbers: dict[tuple[str, Path], int] = {}

    def key(pair: KeypointPair) -> tuple[int, int]:
        category = categories.setdefault(pair.category, len(categories))
        source, target = (
            numbers.setdefault((pair.category, path), len(numbers))
            for path in (pair.source, pair.target)
        )
        return category, _interleaved(source, target)

    keys = {pair.id: key(pair) for pair in pairs}
    return sorted(pairs, key=lambda pair: keys[pair.id])


def _interleaved(a: int, b: int) -> int:
    """The bits of two numbers, alternating."""
    bits = range(max(a, b).bit_length())
    return sum((a >> i & 1) << 2 * i + 1 | (b >> i & 1) << 2 * i for i in bits)


def shards(pairs: Sequence[KeypointPair]) -> Iterator[list[KeypointPair]]:
    """Runs of pairs that share a few pictures."""
    run: list[KeypointPair] = []
    pictures: set[Path] = set()
    for pair in pairs:
        if run and len(pictures | {pair.source, pair.target}) > _AT_ONCE:
            yield run
            run, pictures = [], set()
        run.append(pair)
        pictures |= {pair.source, pair.target}
    if run:
        yield run


def picture_of(dataset: KeypointPairs, path: Path, size_wh: SizeWH) -> Picture:
    """One of a data set's pictures, as its pairs see it.

    Raises:
        ImageError: it cannot be read.
        BadInput: its size is not the annotation's.
    """
    return dataset.crops[path] if path in dataset.crops else load_sized(path, size_wh)


def load_sized(path: Path, size_wh: SizeWH) -> Picture:
    """A picture, which must have the size that its annotation gives."""
    picture = load_picture(path)
    if picture.size_wh != size_wh:
        (w, h), (there_w, there_h) = size_wh, picture.size_wh
        raise BadInput(
            f"expected a picture of {w} x {h} px at {path}, as its annotation says, got "
            f"{there_w} x {there_h}; unpack the archive again"
        )
    return picture
