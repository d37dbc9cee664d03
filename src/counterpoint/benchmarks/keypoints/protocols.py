"""Scoring predictions of key points, as a step of its own, under every protocol by name.

Published figures differ by up to ten points because papers score differently: by what length the
threshold is measured, whether a point right at it counts, over what is averaged. A `Protocol` says
the first two; all three averages are always given. Predictions are made once and scored under as
many protocols as one likes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from counterpoint.benchmarks.datasets.keypoints import Box, KeypointPair, KeypointPairs, Skipped
from counterpoint.benchmarks.metrics import PCK, Estimate, correct_points
from counterpoint.errors import BadInput, UnknownName
from counterpoint.geometry import Points, SizeWH

Length = Literal[
    "target box",
    "source box",
    "target picture",
    "source picture",
    "target extent",
    "source extent",
]
"""What a threshold is a share of: always the longer of width and height, of the box around the
thing, of the picture, or of the key points' own extent."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How predictions are scored.

    Attributes:
        name: what a person types, and what every score carries.
        length: what alpha is a share of.
        strict: a point right at the threshold counts as wrong (``<``).
        alphas: thresholds that papers report, as shares of the length.
        summary: one line.
        apart: what else papers do beside scoring, which predictions here do not by themselves.
    """

    name: str
    length: Length
    strict: bool = False
    alphas: tuple[float, ...] = (0.1,)
    summary: str
    apart: str = ""

    @property
    def rule(self) -> str:
        """When a point is correct, in words."""
        sign = "<" if self.strict else "<="
        side, _, kind = self.length.partition(" ")
        what = f"{side}'s {'key points' if kind == 'extent' else kind}"
        return f"distance {sign} alpha * longer side of the {what}"

    def length_px(self, pair: KeypointPair) -> float:
        """What alpha is a share of, for one pair, in pixels.

        Raises:
            BadInput: the pair has no such box, or its key points no extent.
        """
        side, _, kind = self.length.partition(" ")
        box: Box | None = getattr(pair, f"{side}_box")
        size_wh: SizeWH = getattr(pair, f"{side}_size_wh")
        points: Points = getattr(pair, f"{side}_px")
        if kind == "picture":
            return float(max(size_wh))
        if kind == "extent":
            extent = float((points.max(axis=0) - points.min(axis=0)).max())
            if extent > 0:
                return extent
            raise BadInput(f"expected key points of some extent in pair {pair.id}, got one place")
        if box is None:
            raise BadInput(
                f"expected a {side} box for protocol {self.name}, pair {pair.id} has none; "
                "score it under a protocol of the picture or the extent"
            )
        left, top, right, bottom = box
        return max(right - left, bottom - top)

    def threshold_px(self, pair: KeypointPair, alpha: float) -> float:
        """How far off a point of a pair may be, pixels of the target; errors as `length_px`."""
        return alpha * self.length_px(pair)

    def correct(
        self, pair: KeypointPair, predicted_px: Points, alpha: float
    ) -> Bool[np.ndarray, " points"]:
        """Which of a pair's points are found.

        Args:
            pair: with the truth.
            predicted_px: (N, 2), pixels of the target.
            alpha: threshold, in units of the protocol's length.

        Raises:
            BadInput: as `length_px`; another number of points.
        """
        limit_px = self.threshold_px(pair, alpha)
        return correct_points(predicted_px, pair.target_px, limit_px, strict=self.strict)


_WILLOW = (0.05, 0.1, 0.15)

_PADDED = (
    "GeoAware-SC and SD+DINO, besides, pad pictures to squares (--fit pad) and predict the centres "
    "of patches; predictions here are whole pixels."
)

_NAMED = (
    Protocol(
        name="dift",
        length="target box",
        alphas=(0.1, 0.05, 0.01),
        summary="SPair-71k as in DIFT (Tang et al. 2023)",
    ),
    Protocol(
        name="geoaware",
        length="target box",
        strict=True,
        alphas=(0.1, 0.05, 0.01),
        summary="SPair-71k and AP-10K, scored as in GeoAware-SC and SD+DINO (Zhang et al.)",
        apart=_PADDED,
    ),
    Protocol(
        name="willow-source-extent",
        length="source extent",
        alphas=_WILLOW,
        summary="PF-WILLOW, threshold from the source's key points, as in CATs (Cho et al. 2021)",
    ),
    Protocol(
        name="willow-target-extent",
        length="target extent",
        alphas=_WILLOW,
        summary="PF-WILLOW, threshold from the target's key points",
    ),
    Protocol(
        name="pf-pascal",
        length="target picture",
        alphas=_WILLOW,
        summary="PF-PASCAL, threshold from the target picture's longer side",
    ),
    Protocol(
        name="pf-pascal-geoaware",
        length="target picture",
        strict=True,
        alphas=_WILLOW,
        summary="PF-PASCAL, scored as in GeoAware-SC",
        apart=_PADDED,
    ),
    Protocol(
        name="pf-pascal-box",
        length="target box",
        alphas=_WILLOW,
        summary="PF-PASCAL, threshold from the target's box; needs its Annotations",
    ),
    Protocol(
        name="cub-crops",
        length="target picture",
        summary="bird crops of CUB-200-2011, threshold from the crop's side",
    ),
)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _NAMED}
"""Every named protocol."""


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UnknownName: no such protocol; names the nearest.
    """
    if name not in PROTOCOLS:
        raise UnknownName("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def require_scorable(dataset: KeypointPairs, protocol: Protocol) -> None:
    """Nothing, or the error that `score` would raise for a pair's length."""
    for pair in dataset.pairs:
        protocol.length_px(pair)


@dataclass(frozen=True)
class Part:
    """The score of some of the pairs: of a category, or of those with a flag.

    Attributes:
        name: "cat", "viewpoint: hard"; "viewpoint: not annotated" where the data set has no flag.
        pairs: how many.
        points: how many.
        per_point: correct points over all.
        per_image: mean over pairs.
    """

    name: str
    pairs: int
    points: int
    per_point: Estimate
    per_image: Estimate


@dataclass(frozen=True)
class Score:
    """PCK of one method on one data set, under one protocol and threshold, in per cent.

    Attributes:
        protocol: its name.
        rule: when a point is correct.
        alpha: threshold, in units of the protocol's length.
        pairs: scored.
        points: scored.
        per_image: mean over pairs of each pair's share.
        per_point: correct points over all (micro).
        macro: mean over categories of their per-point figures.
        categories: each category.
        flags: each level of each difficulty flag; empty where no pair has any.
        skipped: pairs that were asked for and are in no figure.
        counts: what it was computed from, to compare methods pair by pair.
    """

    protocol: str
    rule: str
    alpha: float
    pairs: int
    points: int
    per_image: Estimate
    per_point: Estimate
    macro: Estimate
    categories: tuple[Part, ...]
    flags: tuple[Part, ...]
    skipped: tuple[Skipped, ...]
    counts: PCK


def score(
    dataset: KeypointPairs,
    predictions: Mapping[str, Points],
    protocol: Protocol,
    alphas: Sequence[float] | None = None,
    *,
    skipped: Sequence[Skipped] = (),
    skip_bad: bool = False,
    seed: int = 0,
) -> tuple[Score, ...]:
    """Score predictions.

    Args:
        dataset: whose pairs they are of.
        predictions: by pair id, (N, 2), pixels of the target picture.
        protocol: how.
        alphas: thresholds; by default the protocol's.
        skipped: pairs that have no prediction, and why; they are listed in the score beside the
            data set's own.
        skip_bad: list pairs that this protocol cannot score instead of raising.
        seed: of the intervals' bootstrap.

    Returns:
        One score a threshold, in their order.

    Raises:
        BadInput: a pair has neither a prediction nor a reason for lacking one, predictions of
            other pairs, or pairs that cannot be scored.
    """
    excused = {bad.id for bad in skipped}
    strangers = predictions.keys() - {pair.id for pair in dataset.pairs}
    if strangers:
        raise BadInput(f"expected predictions of {dataset.name}, got one of {min(strangers)}")
    scored: list[KeypointPair] = []
    unscored: list[Skipped] = []
    for pair in dataset.pairs:
        if pair.id in excused and pair.id not in predictions:
            continue
        if pair.id not in predictions:
            raise BadInput(
                f"expected a prediction for every pair of {dataset.name}, {pair.id} has none; "
                "finish the run that makes them"
            )
        try:
            protocol.length_px(pair)
            scored.append(pair)
        except BadInput as error:
            if not skip_bad:
                raise
            unscored.append(Skipped(pair.id, str(error)))
    if not scored:
        raise BadInput(f"expected pairs to score in {dataset.name}, got none")
    left_out = (*dataset.skipped, *skipped, *unscored)
    return tuple(
        _score(scored, predictions, protocol, float(alpha), left_out, seed)
        for alpha in alphas or protocol.alphas
    )


def _score(
    pairs: Sequence[KeypointPair],
    predictions: Mapping[str, Points],
    protocol: Protocol,
    alpha: float,
    skipped: tuple[Skipped, ...],
    seed: int,
) -> Score:
    hits = [protocol.correct(pair, predictions[pair.id], alpha) for pair in pairs]
    correct, points = (tuple(int(count(hit)) for hit in hits) for count in (np.sum, len))
    pck = PCK(alpha, protocol.strict, correct, points)
    categories = [pair.category for pair in pairs]
    return Score(
        protocol=protocol.name,
        rule=protocol.rule,
        alpha=alpha,
        pairs=len(points),
        points=sum(points),
        per_image=pck.per_image(seed),
        per_point=pck.per_point(seed),
        macro=pck.macro(categories, seed),
        categories=_parts(pck, {"": categories}, seed),
        flags=_parts(pck, _levels(pairs), seed),
        skipped=skipped,
        counts=pck,
    )


def _levels(pairs: Sequence[KeypointPair]) -> dict[str, list[str]]:
    """Every pair's level of each flag; nothing where no pair has flags."""
    found = [pair.difficulty.words if pair.difficulty else {} for pair in pairs]
    flags = list(dict.fromkeys(flag for words in found for flag in words))
    return {flag: [words.get(flag, "not annotated") for words in found] for flag in flags}


def _parts(pck: PCK, labels: Mapping[str, Sequence[str]], seed: int) -> tuple[Part, ...]:
    """The score of every value of every label."""
    parts: list[Part] = []
    for label, values in labels.items():
        for value in sorted(set(values), key=_order):
            some = pck.where([v == value for v in values])
            name = f"{label}: {value}" if label else value
            counts = len(some.points), sum(some.points)
            parts.append(Part(name, *counts, some.per_point(seed), some.per_image(seed)))
    return tuple(parts)


_WORDS = ("easy", "medium", "hard", "none", "source", "target", "both", "not annotated")


def _order(value: str) -> tuple[int, str]:
    """Levels from easy to hard, names by the alphabet."""
    return (_WORDS.index(value) if value in _WORDS else 0, value)
