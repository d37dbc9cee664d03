"""Running a method over a data set's pairs of key points: each picture's features once.

A method predicts, `counterpoint.benchmarks.keypoints.protocols` scores. Predictions are whole
pixels of the largest cosine (`counterpoint.match`), read at the key point itself; a key point that
lies up to `SLACK_PX` beyond its picture is read at the nearest pixel inside.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from counterpoint.backbones.base import Backbone, library_version
from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.spec import ModelSpec
from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs, Skipped
from counterpoint.benchmarks.keypoints.predictions import Origin, PredictionFile, Predictions
from counterpoint.errors import BadInput
from counterpoint.geometry import PixelTransform, Points, SizeWH
from counterpoint.images import Picture, load_picture
from counterpoint.matching import PreparedMap, Subpixel, match
from counterpoint.options import Options
from counterpoint.provenance import Provenance

log = logging.getLogger(__name__)

CACHE_BYTES = 2 << 30
"""Memory for feature maps that wait for their next pair."""

PROMPT = "a photo of a {category}"
"""Text condition of semantic tasks (DIFT, section 4.2), for models that take one."""

PRIOR = "same position"

BLANK = Picture(np.zeros((1, 1, 3), np.uint8))
"""Stands for any picture where only a model's options are asked for."""

_PROMPTED = ("stable-diffusion", "sdxl", "cleandift", "sd3", "flux", "pixart")
_AT_ONCE = 8  # pictures of one shard

Tell = Callable[[int, int], None]
"""Hears how many pairs are done, of how many."""

Key = tuple[Path, str]
"""A picture and the prompt that its features were made with."""

T = TypeVar("T")


def takes_prompt(spec: ModelSpec) -> bool:
    """Whether a model's features depend on a prompt."""
    members = [spec_of(name) for name in spec.members]
    return any(row.family in _PROMPTED for row in [spec, *members])


def origin_of(
    backbone: Backbone,
    dataset: KeypointPairs,
    options: Options | None = None,
    subpixel: Subpixel = "argmax",
) -> Origin:
    """What `predict_pairs` will note in its file."""
    options = with_prompt(backbone, options or Options())
    return Origin(
        method=backbone.spec.name,
        features=backbone.provenance(BLANK, options).without_picture(),
        matching=subpixel,
        dataset=dataset.name,
        request=dataset.request,
        pairs_sha256=dataset.fingerprint,
    )


def predict_pairs(
    backbone: Backbone,
    dataset: KeypointPairs,
    options: Options | None = None,
    *,
    subpixel: Subpixel = "argmax",
    file: Path | None = None,
    skip_bad: bool = False,
    cache_bytes: int = CACHE_BYTES,
    tell: Tell | None = None,
) -> Predictions:
    """Predict every pair's points with a model.

    Args:
        backbone: the model.
        dataset: the pairs.
        options: of the features; its ``model``, ``device`` and ``dtype`` are not used. "{category}"
            in the prompt stands for the pair's category; by default `PROMPT`.
        subpixel: as `match` takes it.
        file: where predictions are kept; a run that was stopped goes on from there. None: in
            memory only.
        skip_bad: list pairs whose pictures cannot be used instead of raising.
        cache_bytes: memory for feature maps, beside the few in use.
        tell: called now and then.

    Raises:
        ImageError: a picture that cannot be read.
        BadInput: a picture whose size is not the annotation's.
        StorageError: the file was made in another way.
    """
    options = with_prompt(backbone, options or Options())
    origin = origin_of(backbone, dataset, options, subpixel)
    run = _Run(backbone, dataset, options, subpixel, MapCache(cache_bytes, size_bytes))
    kept = PredictionFile.open(file, origin) if file else None
    return _predict(dataset, origin, kept, run.predict, skip_bad, tell)


def predict_prior(dataset: KeypointPairs) -> Predictions:
    """The same-position prior: the point at the same share of the target's width and height."""
    features = Provenance(model=PRIOR, version=library_version())
    origin = Origin(
        method=PRIOR,
        features=features,
        dataset=dataset.name,
        request=dataset.request,
        pairs_sha256=dataset.fingerprint,
    )
    points = {
        pair.id: PixelTransform.resize(pair.source_size_wh, pair.target_size_wh).apply(
            pair.source_px
        )
        for pair in dataset.pairs
    }
    return Predictions(origin, points)


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


def size_bytes(prepared: PreparedMap) -> int:
    """About what a prepared map takes: its values, and tables by cell and by pixel."""
    channels, rows, columns = prepared.values.shape
    w, h = prepared.size_wh
    return 4 * rows * columns * (channels + 64) + 4 * w * h


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


def with_prompt(backbone: Backbone, options: Options, usual: str | None = PROMPT) -> Options:
    """The options with the usual prompt where none is given; none for a model that takes none."""
    if not takes_prompt(backbone.spec):
        return replace(options, prompt=None)
    return replace(options, prompt=usual if options.prompt is None else options.prompt)


@dataclass(frozen=True)
class _Run:
    """A model at work: what it needs for any of its pairs."""

    backbone: Backbone
    dataset: KeypointPairs
    options: Options
    subpixel: Subpixel
    cache: MapCache[PreparedMap]

    def predict(
        self, pairs: Sequence[KeypointPair], skip_bad: bool
    ) -> tuple[dict[str, Points], list[Skipped]]:
        """The points of a few pairs, and those that cannot be run."""
        sizes = {key: size for pair in pairs for key, size in self._needs(pair).items()}
        maps, bad = self._maps(sizes, skip_bad)
        points: dict[str, Points] = {}
        skipped: list[Skipped] = []
        for pair in pairs:
            source, target = self._keys(pair)
            reason = bad.get(source) or bad.get(target)
            if reason:
                skipped.append(Skipped(pair.id, reason))
                continue
            inside_px = pair.source_px.clip(0, np.asarray(pair.source_size_wh) - 1)
            found = match(
                maps[source],
                maps[target],
                inside_px,
                subpixel=self.subpixel,
                margin_radius=None,
                cycle=False,
            )
            points[pair.id] = found.target_px
        return points, skipped

    def _keys(self, pair: KeypointPair) -> tuple[Key, Key]:
        prompt = (self.options.prompt or "").replace("{category}", pair.noun)
        return (pair.source, prompt), (pair.target, prompt)

    def _needs(self, pair: KeypointPair) -> dict[Key, SizeWH]:
        source, target = self._keys(pair)
        return {source: pair.source_size_wh, target: pair.target_size_wh}

    def _maps(
        self, sizes: Mapping[Key, SizeWH], skip_bad: bool
    ) -> tuple[dict[Key, PreparedMap], dict[Key, str]]:
        """Every picture's map, from the cache or made now; and what is wrong with the others."""
        maps: dict[Key, PreparedMap] = {}
        bad: dict[Key, str] = {}
        missing: dict[str, dict[Key, Picture]] = {}
        for key, size_wh in sizes.items():
            cached = self.cache.get(key)
            if cached is not None:
                maps[key] = cached
                continue
            try:
                picture = picture_of(self.dataset, key[0], size_wh)
                missing.setdefault(key[1], {})[key] = picture
            except BadInput as error:
                if not skip_bad:
                    raise
                bad[key] = str(error)
        for prompt, pictures in missing.items():
            asked = replace(self.options, prompt=prompt or self.options.prompt)
            made = self.backbone.stream(list(pictures.values()), asked)
            for key, fmap in zip(pictures, made, strict=True):
                maps[key] = PreparedMap(fmap)
                self.cache.put(key, maps[key])
        return maps, bad


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


def _predict(
    dataset: KeypointPairs,
    origin: Origin,
    file: PredictionFile | None,
    predict: Callable[[Sequence[KeypointPair], bool], tuple[dict[str, Points], list[Skipped]]],
    skip_bad: bool,
    tell: Tell | None,
) -> Predictions:
    points: dict[str, Points] = {}
    skipped: dict[str, Skipped] = {}
    if file and file.skipped and not skip_bad:
        first = next(iter(file.skipped.values()))
        raise BadInput(
            f"{first.reason}; mend it and remove {file.path}, or pass skip_bad (--skip-bad)"
        )
    left = [pair for pair in dataset.pairs if not (file and file.holds(pair.id))]
    done = len(dataset.pairs) - len(left)
    for some in shards(in_good_order(left)):
        found, bad = predict(some, skip_bad)
        if file:
            file.add(found, bad)
        points.update(found)
        skipped.update({one.id: one for one in bad})
        done += len(some)
        if tell:
            tell(done, len(dataset.pairs))
    ids = [pair.id for pair in dataset.pairs]
    if file:
        return file.finish(ids)
    ordered = {identity: points[identity] for identity in ids if identity in points}
    return Predictions(origin, ordered, tuple(skipped[i] for i in ids if i in skipped))


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
