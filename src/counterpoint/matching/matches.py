"""Matches: points of one picture, where they lie in another, and how far to trust them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from counterpoint.errors import BadInput
from counterpoint.geometry import Points, SizeWH, require_inside

MARGIN_SCALE = 0.02
"""The margin, in units of cosine, at which `Matches.confidence` reaches 63 per cent of its rest."""

CYCLE_SCALE = 0.05
"""The way back's error, in sides of the source picture, at which it falls to 37 per cent."""

_OPTIONAL = ("disagreement_px", "probability", "prominence")


@dataclass(frozen=True)
class Match:
    """One row of a `Matches`, as plain numbers; the fields are explained there."""

    source_px: tuple[float, float]
    target_px: tuple[float, float]
    similarity: float
    margin: float
    cycle_px: float
    confidence: float


@dataclass(frozen=True, eq=False)
class Matches:
    """Points of a source picture and where they lie in a target picture.

    Attributes:
        source_px: (N, 2), x and y in pixels of the source picture.
        target_px: (N, 2), in pixels of the target picture.
        similarity: (N,), cosine of the features at the best pixel, -1 to 1.
        margin: (N,), similarity minus the best one farther than a neighbourhood from the match;
            -1 stands for the best one where the neighbourhood fills the picture. NaN where it was
            not asked for.
        cycle_px: (N,), distance from the source point to where the match leads back, in pixels of
            the source picture; NaN where it was not asked for.
        source_size_wh: width and height of the source picture, pixels.
        target_size_wh: of the target picture.
        disagreement_px: (N,), how far single members of an ensemble put the match from here, in
            pixels of the target picture (`spread_px`); None: not asked for.
        probability: (N,), 0 to 1, of each match being right, by a `Calibration`; None: by none.
        prominence: (N,), similarity minus the mean over the most similar twentieth of the target's
            cells: how far the match stands out from what is next to it in rank, wherever that
            lies; None: not asked for.

    The arrays are copies that cannot be written to.

    >>> ends = np.array([[1, 2], [3, 4.0]]), np.array([[5, 6], [7, 8.0]])
    >>> scores = np.array([0.9, 0.5]), np.array([0.2, 0]), np.array([0.0, 3])
    >>> m = Matches(*ends, *scores, source_size_wh=(9, 9), target_size_wh=(9, 9))
    >>> len(m), m.select(m.similarity > 0.6).target_px.tolist()
    (2, [[5.0, 6.0]])
    >>> [round(match.confidence, 2) for match in m]
    [0.9, 0.0]

    Raises:
        PointError: points that are not (x, y) pairs or lie outside their picture.
        BadInput: columns of different lengths, or similarities that are not cosines.
    """

    source_px: Points
    target_px: Points
    similarity: Float[np.ndarray, " n"]
    margin: Float[np.ndarray, " n"]
    cycle_px: Float[np.ndarray, " n"]
    source_size_wh: SizeWH
    target_size_wh: SizeWH
    disagreement_px: Float[np.ndarray, " n"] | None = None
    probability: Float[np.ndarray, " n"] | None = None
    prominence: Float[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        source = require_inside(self.source_px, self.source_size_wh, "the source picture")
        target = require_inside(self.target_px, self.target_size_wh, "the target picture")
        columns = {"source_px": source, "target_px": target}
        for name in ("similarity", "margin", "cycle_px"):
            columns[name] = np.asarray(getattr(self, name), dtype=np.float64).reshape(-1)
        for name in _OPTIONAL:
            if getattr(self, name) is not None:
                columns[name] = np.asarray(getattr(self, name), dtype=np.float64).reshape(-1)
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise BadInput(f"expected columns of one length, got {lengths}")
        if not (np.abs(columns["similarity"]) <= 1 + 1e-6).all():
            raise BadInput("expected similarities from -1 to 1")
        share = columns.get("probability", np.zeros(0))
        if not ((share >= 0) & (share <= 1)).all():
            raise BadInput("expected probabilities from 0 to 1")
        for name, column in columns.items():
            frozen = column.copy()
            frozen.setflags(write=False)
            object.__setattr__(self, name, frozen)

    def __repr__(self) -> str:
        ends = ["{} x {}".format(*size) for size in (self.source_size_wh, self.target_size_wh)]
        sure = self.confidence
        known = f", confidence {sure.min():.2f} to {sure.max():.2f}" if len(self) else ""
        return f"Matches({len(self)} from {ends[0]} to {ends[1]}{known})"

    @property
    def confidence(self) -> Float[np.ndarray, " n"]:
        """How far to trust each match, (N,), 0 to 1.

        The probability of being right, where the matches have been calibrated
        (`Matches.calibrated`; what "right" means stands in the `Calibration`). Otherwise a ranking:
        ``max(similarity, 0) * (1 - exp(-margin / 0.02)) * exp(-cycle / (0.05 * side))``: a rival
        elsewhere brings the second factor to 0, a way back that ends elsewhere the third, where
        ``side`` is the source picture's longer one. A factor is left out where the margin or the
        way back was not asked for. Use that to rank, not as a probability.
        """
        if self.probability is not None:
            return self.probability
        margin = np.nan_to_num(np.maximum(self.margin, 0), nan=np.inf)
        alone = 1 - np.exp(-margin / MARGIN_SCALE)
        back = np.exp(-np.nan_to_num(self.cycle_px) / (CYCLE_SCALE * max(self.source_size_wh)))
        return np.clip(self.similarity, 0, 1) * alone * back

    @property
    def calibrated(self) -> bool:
        """Whether `confidence` is a probability and not only a ranking."""
        return self.probability is not None

    def __len__(self) -> int:
        return len(self.source_px)

    def __iter__(self) -> Iterator[Match]:
        columns = (self.similarity, self.margin, self.cycle_px, self.confidence)
        numbers = np.stack(columns, axis=1).tolist()
        for source, target, row in zip(
            self.source_px.tolist(), self.target_px.tolist(), numbers, strict=True
        ):
            yield Match((source[0], source[1]), (target[0], target[1]), *row)

    def thinned(self, count: int) -> "Matches":
        """At most ``count`` of the matches, evenly from the first to the last."""
        evenly = np.linspace(0, len(self) - 1, min(count, len(self)))
        return self.select(evenly.astype(int))

    def select(self, which: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"] | slice) -> "Matches":
        """Some of the matches: a mask (N,), indices in any order, or a slice."""
        return Matches(
            self.source_px[which],
            self.target_px[which],
            self.similarity[which],
            self.margin[which],
            self.cycle_px[which],
            self.source_size_wh,
            self.target_size_wh,
            *(None if column is None else column[which] for column in self._optional),
        )

    @property
    def _optional(self) -> tuple[Float[np.ndarray, " n"] | None, ...]:
        return tuple(getattr(self, name) for name in _OPTIONAL)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain lists and numbers, ready for JSON (NaN becomes None).

        "prominence" and "disagreement_px" stand in it where they were asked for.
        """
        rows: list[dict[str, Any]] = [
            {
                "source_px": list(match.source_px),
                "target_px": list(match.target_px),
                "similarity": match.similarity,
                "margin": None if np.isnan(match.margin) else match.margin,
                "cycle_px": None if np.isnan(match.cycle_px) else match.cycle_px,
                "confidence": match.confidence,
            }
            for match in self
        ]
        for name in ("prominence", "disagreement_px"):
            column = getattr(self, name)
            for row, number in zip(rows, [] if column is None else column.tolist(), strict=False):
                row[name] = None if np.isnan(number) else number
        return {
            "source_size_wh": list(self.source_size_wh),
            "target_size_wh": list(self.target_size_wh),
            "calibrated": self.calibrated,
            "matches": rows,
        }
