"""Running a method over a data set's pairs of key points: each picture's features once.

A method predicts, `counterpoint.benchmarks.keypoints.protocols` scores. Predictions are whole
pixels of the largest cosine (`counterpoint.match`), read at the key point itself; a key point that
lies up to `SLACK_PX` beyond its picture is read at the nearest pixel inside.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from counterpoint.backbones.base import Backbone, library_version
from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs, Skipped
from counterpoint.benchmarks.keypoints.maps import (
    CACHE_BYTES,
    Key,
    MapCache,
    find_points,
    in_good_order,
    keys_of,
    needed_by,
    picture_of,
    shards,
    size_bytes,
)
from counterpoint.benchmarks.keypoints.predictions import Origin, PredictionFile, Predictions
from counterpoint.benchmarks.keypoints.prompts import with_prompt
from counterpoint.benchmarks.made_by import BLANK
from counterpoint.errors import BadInput
from counterpoint.geometry import PixelTransform, Points, SizeWH
from counterpoint.images import Picture
from counterpoint.matching import PreparedMap, Subpixel
from counterpoint.options import Options
from counterpoint.provenance import Provenance

PRIOR = "same position"

Tell = Callable[[int, int], None]
"""Hears how many pairs are done, of how many."""


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
        bad: dict[Key, str] = {}

        def read(key: Key, size_wh: SizeWH) -> Picture | None:
            try:
                return picture_of(self.dataset, key[0], size_wh)
            except BadInput as error:
                if not skip_bad:
                    raise
                bad[key] = str(error)
                return None

        needed = needed_by(pairs, self.options.prompt)
        maps = self.cache.held_or_made(needed, read, self._make)
        points: dict[str, Points] = {}
        skipped: list[Skipped] = []
        for pair in pairs:
            source, target = keys_of(pair, self.options.prompt)
            reason = bad.get(source) or bad.get(target)
            if reason:
                skipped.append(Skipped(pair.id, reason))
            else:
                points[pair.id] = find_points(maps[source], maps[target], pair, self.subpixel)
        return points, skipped

    def _make(self, prompt: str, pictures: list[Picture]) -> Iterator[PreparedMap]:
        asked = replace(self.options, prompt=prompt or self.options.prompt)
        return map(PreparedMap, self.backbone.stream(pictures, asked))


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
