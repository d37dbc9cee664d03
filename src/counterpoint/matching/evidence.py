"""What speaks for a match or against it, made independent of the pictures' sizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from counterpoint.errors import BadInput
from counterpoint.matching.matches import Matches

COLUMNS = ("similarity", "margin", "cycle", "disagreement", "prominence")
"""What `evidence` gives, in this order; NaN where it was not asked for."""

_NEAR = 0.01  # share of a side below which ways back and disagreements count alike
_SMALL = 1e-3  # margin in units of cosine, likewise
_FLAT = 0.01  # prominence, likewise
_BEFORE = 4  # columns, when there was no prominence


def _fisher(similarity: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.arctanh(np.clip(similarity, -0.9999, 0.9999))


def _log_margin(margin: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.log(np.maximum(margin, 0) + _SMALL)


def _log_prominence(prominence: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.log(np.maximum(prominence, 0) + _FLAT)


def _minus_log(share: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return -np.log(np.maximum(share, 0) + _NEAR)


_RISING: Mapping[str, Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]]] = {
    "similarity": _fisher,
    "margin": _log_margin,
    "cycle": _minus_log,
    "disagreement": _minus_log,
    "prominence": _log_prominence,
}
"""To what should rise with the probability, spread out where differences matter."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for or against matches.

    Attributes:
        values: (N, 5), columns as in `COLUMNS`: cosine, -1 to 1; margin, in units of cosine; the
            way back's error in longer sides of the source picture; the disagreement of an
            ensemble's members in longer sides of the target picture; prominence, in units of
            cosine. NaN: not asked for. Of (N, 4) the prominence is taken as not asked for.

    >>> some = Evidence(np.array([[0.9, 0.1, 0.0, np.nan, 0.05]]))
    >>> len(some), some.known
    (1, ('similarity', 'margin', 'cycle', 'prominence'))

    Raises:
        BadInput: another number of columns.
    """

    values: Float[np.ndarray, "n columns"]

    def __post_init__(self) -> None:
        if self.values.ndim == 2 and self.values.shape[1] == _BEFORE:
            unknown = np.full((len(self.values), 1), np.nan)
            object.__setattr__(self, "values", np.concatenate([self.values, unknown], axis=1))
        if self.values.ndim != 2 or self.values.shape[1] != len(COLUMNS):
            raise BadInput(
                f"expected evidence (N, {len(COLUMNS)}): {', '.join(COLUMNS)}; "
                f"got {self.values.shape}"
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def known(self) -> tuple[str, ...]:
        """Columns that every match has; all of them where there is no match."""
        columns = zip(COLUMNS, self.values.T, strict=True)
        return tuple(name for name, column in columns if bool(np.isfinite(column).all()))

    def select(self, which: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"] | slice) -> "Evidence":
        """That of some of the matches: a mask (N,), indices, or a slice."""
        return Evidence(self.values[which])

    @classmethod
    def joined(cls, parts: Sequence["Evidence"]) -> "Evidence":
        """That of several pictures' matches, one after another."""
        return cls(np.concatenate([np.zeros((0, len(COLUMNS))), *(part.values for part in parts)]))

    def rising(self, columns: Sequence[str]) -> Float[np.ndarray, "n some"]:
        """Some columns, transformed so that more speaks for the match.

        Raises:
            BadInput: a column that is not known.
        """
        missing = [name for name in columns if name not in self.known]
        if missing:
            raise BadInput(
                f"expected matches with {', '.join(columns)}, got some without "
                f"{', '.join(missing)}; {_HOW_TO_GET[missing[0]]}"
            )
        chosen = [_RISING[name](self.values[:, COLUMNS.index(name)]) for name in columns]
        return np.stack(chosen, axis=1) if chosen else np.zeros((len(self), 0))


_HOW_TO_GET = {
    "similarity": "match again",
    "margin": "match with a margin_radius",
    "prominence": "match with a margin_radius",
    "cycle": "match with cycle=True",
    "disagreement": "give members (--members) as many as the calibration was fitted with",
}


def evidence(matches: Matches, disagreement_px: Float[np.ndarray, " n"] | None = None) -> Evidence:
    """What is known of matches, made independent of the pictures' sizes.

    Args:
        matches: of one pair of pictures.
        disagreement_px: (N,), pixels of the target picture (`spread_px`); by default the matches'
            own, where they carry it.
    """
    spread = matches.disagreement_px if disagreement_px is None else disagreement_px
    nothing = np.full(len(matches), np.nan)
    spread = nothing if spread is None else np.asarray(spread, float)
    columns = (
        matches.similarity,
        matches.margin,
        matches.cycle_px / max(matches.source_size_wh),
        spread / max(matches.target_size_wh),
        nothing if matches.prominence is None else matches.prominence,
    )
    return Evidence(np.stack(columns, axis=1))
