"""Protocol `cub-crops`: the same part on another bird, in small square crops.

To the letter:

1. Birds: every picture of the data set given (`read_cub`), or of some classes of it.
2. Crops: the square around the box (side 1.15 times its longer side, border repeated where it
   leaves the picture), resized with PIL's bicubic filter to ``size_px`` (64) pixels.
3. Pairs: ordered, of different pictures, of any classes; drawn by `draw_pairs` from a seed. The
   first 200 of 600 pairs are the 200 pairs of the same seed. A pair's points are the parts that
   are visible in both pictures and lie inside both crops; pairs without any are not drawn.
4. Features: of each crop once, shared by all its pairs; the backbone resizes the crop to its own
   input size, which the result states.
5. Match: the whole pixel of the target crop whose feature, bilinearly interpolated, has the
   largest cosine with the feature interpolated at the source point (`counterpoint.match`).
6. Score: PCK at ``alpha`` (0.1) of the crop's side, ``<=``, per point (micro) unless another
   average is named, with a 95 per cent bootstrap interval over pairs.

Left and right parts keep their names: a left eye's match is a left eye, visible in both.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.datasets.cub import CUB, BirdCrop, crop_bird
from counterpoint.benchmarks.metrics import PCK, PCKScore
from counterpoint.benchmarks.taps import extract_joined, timestep
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import Points
from counterpoint.images import Picture
from counterpoint.matching import PreparedMap, match
from counterpoint.options import Options

PROTOCOL = "cub-crops"

Predict = Callable[["Pair"], Points]
"""A method: from a pair to the predicted points (N, 2), pixels of the target crop."""


@dataclass(frozen=True)
class Pair:
    """Two birds and the parts to find.

    Attributes:
        source: index of the crop in which the parts are given.
        target: index of the crop to search.
        parts: which parts, rows of `BirdCrop.parts_px`.
    """

    source: int
    target: int
    parts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CubCrops:
    """The protocol, ready to score methods.

    Attributes:
        crops: of every bird.
        pairs: what is scored.
        pictures: the crops that occur in pairs, decoded, by index.
        size_px: side of the crops.
        alpha: PCK's threshold, as a share of the side.
        seed: of the pairs.
    """

    crops: tuple[BirdCrop, ...]
    pairs: tuple[Pair, ...]
    pictures: Mapping[int, Picture]
    size_px: int
    alpha: float
    seed: int

    @property
    def points(self) -> int:
        """Points over all pairs."""
        return sum(len(pair.parts) for pair in self.pairs)

    def source_px(self, pair: Pair) -> Points:
        """The given points (N, 2), pixels of the source crop."""
        return self.crops[pair.source].parts_px[list(pair.parts)]

    def target_px(self, pair: Pair) -> Points:
        """The true points (N, 2), pixels of the target crop."""
        return self.crops[pair.target].parts_px[list(pair.parts)]


@dataclass(frozen=True)
class Row:
    """One method's score.

    Attributes:
        method: "small", "small, untrained", "same position", ...
        tap: where its features were read; "" where there is nothing to choose.
        t: time step; None: no noise.
        input_wh: the model's input size, pixels; None: none.
        pck: the score.
        counts: what the score was computed from, to compare methods pair by pair.
    """

    method: str
    tap: str
    t: int | None
    input_wh: tuple[int, int] | None
    pck: PCKScore
    counts: PCK


def prepare(
    dataset: CUB, *, pairs: int = 600, size_px: int = 64, alpha: float = 0.1, seed: int = 0
) -> CubCrops:
    """Draw the pairs and decode their crops.

    Raises:
        BadInput: the data set has not so many pairs.
        ImageError: a picture that cannot be read.
    """
    if size_px < 1 or not alpha > 0:
        raise BadInput(f"expected crops of at least 1 px and alpha above 0, got {size_px}, {alpha}")
    crops = tuple(crop_bird(bird, size_px) for bird in dataset.birds)
    drawn = draw_pairs(np.stack([crop.visible for crop in crops]), pairs, seed)
    used = sorted({index for pair in drawn for index in (pair.source, pair.target)})
    pictures = {index: crops[index].picture() for index in used}
    return CubCrops(crops, drawn, pictures, size_px, alpha, seed)


def draw_pairs(
    visible: Bool[np.ndarray, "pictures parts"], count: int, seed: int = 0
) -> tuple[Pair, ...]:
    """``count`` different ordered pairs of different pictures with a part visible in both.

    The rule: ``rng = random.Random(seed)``, Python's Mersenne Twister, the same on every machine
    and version; source ``int(rng.random() * n)``, then target likewise, n pictures in the data
    set's order; a pair of one picture, without a common part, or drawn before is passed over.

    Raises:
        BadInput: there are not so many pairs.
    """
    masks: list[int] = (visible @ (1 << np.arange(visible.shape[1]))).tolist()
    there_are = sum(int((np.array(masks) & mask > 0).sum() - (mask > 0)) for mask in masks)
    if not 1 <= count <= there_are:
        raise BadInput(f"expected 1 to {there_are} pairs of {len(visible)} pictures, got {count}")
    drawn: dict[tuple[int, int], None] = {}
    for source, target in _candidates(random.Random(seed), len(visible)):
        if source != target and masks[source] & masks[target]:
            drawn[source, target] = None
        if len(drawn) == count:
            break
    return tuple(_pair(visible, source, target) for source, target in drawn)


def _candidates(rng: random.Random, n: int) -> Iterator[tuple[int, int]]:
    while True:
        yield int(rng.random() * n), int(rng.random() * n)


def _pair(visible: Bool[np.ndarray, "pictures parts"], source: int, target: int) -> Pair:
    parts = np.flatnonzero(visible[source] & visible[target])
    return Pair(source, target, tuple(parts.tolist()))


def score_method(benchmark: CubCrops, predict: Predict) -> PCK:
    """PCK's counts for any method."""
    pck = PCK(benchmark.alpha)
    for pair in benchmark.pairs:
        pck = pck.update(predict(pair), benchmark.target_px(pair), benchmark.size_px)
    return pck


def score_prior(benchmark: CubCrops) -> Row:
    """The same-position prior: the target point is where the source point is."""
    counts = score_method(benchmark, benchmark.source_px)
    return Row("same position", "", None, None, counts.compute(), counts)


def score_taps(
    backbone: Backbone,
    benchmark: CubCrops,
    *,
    t: int | None = None,
    taps: Sequence[str] | None = None,
    options: Options | None = None,
    method: str | None = None,
) -> tuple[Row, ...]:
    """One row a tap, all from one forward pass a picture (and ensemble member).

    Every picture's maps stay in memory: their size times pictures times taps.

    Args:
        backbone: the model.
        benchmark: from `prepare`.
        t: time step; by default the options', else the model's.
        taps: names, "up:1+up:2" for two joined; by default all, in the order of the network.
        options: the rest; its ``model``, ``tap``, ``device`` and ``dtype`` are not used.
        method: the rows' name, by default the model's.
    """
    names = list(taps or [tap.name for tap in backbone.taps])
    indices, pictures = zip(*benchmark.pictures.items(), strict=True)
    found = extract_joined(backbone, pictures, names, t, options or Options())
    rows: list[Row] = []
    for name in names:
        maps = {index: taps_of[name] for index, taps_of in zip(indices, found, strict=True)}
        counts = score_method(benchmark, nearest(benchmark, maps))
        used = maps[indices[0]]
        title = method or backbone.spec.name
        rows.append(Row(title, name, timestep(used), used.input_wh, counts.compute(), counts))
    return tuple(rows)


def score_backbone(
    backbone: Backbone,
    benchmark: CubCrops,
    *,
    t: int | None = None,
    taps: Sequence[str] | None = None,
    options: Options | None = None,
) -> dict[str, float]:
    """PCK per point, in per cent, by tap: what a training run shows now and then.

    `prepare` once, outside the loop; arguments as in `score_taps`.
    """
    rows = score_taps(backbone, benchmark, t=t, taps=taps, options=options)
    return {row.tap: row.pck.per_point for row in rows}


def nearest(benchmark: CubCrops, maps: Mapping[int, FeatureMap]) -> Predict:
    """The method "nearest neighbour of the features", given every crop's map by its index."""
    ready = {index: PreparedMap(fmap) for index, fmap in maps.items()}

    def predict(pair: Pair) -> Points:
        points = benchmark.source_px(pair)
        return match(
            ready[pair.source], ready[pair.target], points, margin_radius=None, cycle=False
        ).target_px

    return predict
