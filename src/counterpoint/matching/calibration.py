"""Confidence as a probability: a model that was fitted on the truth.

A `Calibration` turns what speaks for a match (`Evidence`) into the probability that the match is
right: logistic regression (Platt 1999, with his smoothed targets) on monotone transforms of each
number, with a ridge penalty and no weight of the wrong sign, so that more margin never means less
confidence; optionally isotonic regression on top (Zadrozny and Elkan 2002).

A calibration holds for what it was fitted on: a model, its tap and time step, a kind of picture and
a meaning of "right". It carries that along in its `Note`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from counterpoint.errors import BadInput, StorageError
from counterpoint.files import write_text
from counterpoint.matching.evidence import COLUMNS, Evidence, evidence
from counterpoint.matching.logistic import isotonic_steps, logistic, sigmoid, smoothed
from counterpoint.matching.matches import Matches
from counterpoint.provenance import Provenance

FORMAT = "counterpoint/calibration/1"

AT_LEAST = 10
"""Right and wrong matches that a fit needs of each."""

PENALTY = 1.0
"""Of the ridge: that of a normal prior of deviation 1 on weights per deviation of a column."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a calibration was fitted on.

    Attributes:
        dataset: and which part of it.
        points: matches that it was fitted on.
        correct: of these.
        absent: of these, points that are not in the target picture at all; they count as wrong.
        alpha: a match is right within this share of the length.
        length: of what.
        matching: as `match` takes ``subpixel``.
        members: single draws of noise behind the disagreement; 0: none.
        features: what made the feature maps, without a picture; None: not known.
    """

    dataset: str = ""
    points: int = 0
    correct: int = 0
    absent: int = 0
    alpha: float = 0.1
    length: str = "target picture's longer side"
    matching: str = "argmax"
    members: int = 0
    features: Provenance | None = None

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> "Note":
        """Back from JSON; entries of later versions are left out."""
        known = {field.name for field in fields(cls)}
        found = {name: value for name, value in entries.items() if name in known}
        if found.get("features") is not None:
            found["features"] = Provenance.from_dict(found["features"])
        return cls(**found)

    @property
    def meaning(self) -> str:
        """What the probability is of, in words."""
        return f"within {100 * self.alpha:g} % of the {self.length}"


@dataclass(frozen=True)
class Calibration:
    """From evidence to the probability that a match is right.

    Attributes:
        columns: of the evidence that it looks at.
        mean: of each transformed column, where it was fitted.
        scale: deviation of each.
        weights: of each, per deviation; none is negative.
        intercept: of the log odds.
        steps: isotonic regression on top: log odds and the probability there, both rising, between
            which it is linear; empty: none.
        note: what it was fitted on.

    >>> rng = np.random.default_rng(0)
    >>> values = np.full((400, 4), np.nan)
    >>> values[:, 1] = rng.uniform(0, 0.2, 400)
    >>> right = rng.uniform(0, 0.2, 400) < values[:, 1]
    >>> fitted = Calibration.fit(Evidence(values), right)
    >>> little, much = fitted.probability(Evidence(np.full((2, 4), [[0.01], [0.19]])))
    >>> fitted.columns, bool(little < 0.3 and much > 0.7)
    (('margin',), True)
    """

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    steps: tuple[tuple[float, float], ...] = ()
    note: Note = Note()

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.columns, self.mean, self.scale, self.weights)}
        numbers = [*self.mean, *self.scale, *self.weights, self.intercept, *np.ravel(self.steps)]
        unknown = [name for name in self.columns if name not in COLUMNS]
        if len(lengths) != 1 or unknown or not np.isfinite(numbers).all():
            raise BadInput(
                "expected a calibration with a finite mean, scale and weight for each of its "
                f"columns ({', '.join(COLUMNS)}), got {self.columns} and {len(numbers)} numbers"
            )
        if min(self.scale, default=1) <= 0 or min(self.weights, default=0) < 0:
            raise BadInput("expected a calibration with scales above 0 and no negative weight")
        if (np.diff(np.reshape(self.steps, (-1, 2)), axis=0) < 0).any():
            raise BadInput("expected a calibration whose steps rise")

    @classmethod
    def fit(
        cls,
        evidence: Evidence,
        correct: Bool[np.ndarray, " n"],
        *,
        columns: Sequence[str] | None = None,
        isotonic: bool = False,
        penalty: float = PENALTY,
        at_least: int = AT_LEAST,
        note: Note | None = None,
    ) -> "Calibration":
        """Fit to matches whose truth is known.

        Args:
            evidence: of N matches.
            correct: (N,), which of them are right.
            columns: to look at; by default all that are known of every match.
            isotonic: isotonic regression on top, for thousands of matches; few are overfitted.
            penalty: of the ridge, larger for smaller weights.
            at_least: right and wrong matches needed of each; with fewer the probabilities stay
                close to the share that is right.
            note: what the matches are; counts are filled in.

        Raises:
            BadInput: too few matches of either kind, or columns that are not known.
        """
        if len(correct) != len(evidence):
            raise BadInput(f"expected the truth of {len(evidence)} matches, got {len(correct)}")
        right = int(correct.sum())
        if min(right, len(correct) - right) < at_least:
            raise BadInput(
                f"expected at least {at_least} right and {at_least} wrong matches to fit a "
                f"calibration, got {right} right of {len(correct)}; give more annotated pictures"
            )
        chosen = evidence.known if columns is None else tuple(columns)
        rising = evidence.rising(chosen)
        mean = rising.mean(axis=0) if len(rising) else np.zeros(len(chosen))
        scale = rising.std(axis=0) if len(rising) else np.ones(len(chosen))
        scale = np.where(scale > 1e-12, scale, 1.0)
        weights, intercept = logistic((rising - mean) / scale, smoothed(correct), penalty)
        noted = replace(note or Note(), points=len(correct), correct=right)
        middle, spread, slopes = (tuple(column.tolist()) for column in (mean, scale, weights))
        fitted = cls(chosen, middle, spread, slopes, intercept, note=noted)
        return fitted._with_steps(evidence, correct) if isotonic else fitted

    def _with_steps(self, evidence: Evidence, correct: Bool[np.ndarray, " n"]) -> "Calibration":
        return replace(self, steps=isotonic_steps(self.log_odds(evidence), correct))

    def log_odds(self, evidence: Evidence) -> Float[np.ndarray, " n"]:
        """Of each match being right, by the logistic model alone.

        Raises:
            BadInput: evidence that lacks a column.
        """
        standard = (evidence.rising(self.columns) - np.array(self.mean)) / np.array(self.scale)
        return standard @ np.array(self.weights) + self.intercept

    def probability(self, evidence: Evidence) -> Float[np.ndarray, " n"]:
        """That each match is right, (N,), 0 to 1.

        Raises:
            BadInput: evidence that lacks a column.
        """
        odds = self.log_odds(evidence)
        if self.steps:
            at, share = np.array(self.steps).T
            return np.interp(odds, at, share)
        return sigmoid(odds)

    def apply(self, matches: Matches) -> Matches:
        """The matches with their probability, which `Matches.confidence` then is.

        Raises:
            BadInput: matches without margin, way back or disagreement where it looks at them.
        """
        return replace(matches, probability=self.probability(evidence(matches)))

    def serves(self, source: Provenance, target: Provenance, matching: str = "argmax") -> bool:
        """Whether it was fitted on such features and such matching.

        The same weights, tap, time steps, prompt, ensemble, size and precision; another picture and
        another seed of the noise are the same thing. Without weights there is nothing to tie it to,
        beside the model's name.
        """
        own = self.note.features
        if own is None or matching != self.note.matching:
            return False
        return _settings(source) == _settings(own) == _settings(target)

    def save(self, path: Path | str) -> None:
        """Write as JSON, atomically.

        Raises:
            StorageError: the folder cannot be written.
        """
        write_text(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> "Calibration":
        """Read back what `save` wrote.

        Raises:
            StorageError: missing, damaged, or not such a file.
        """
        try:
            return cls._parse(Path(path).expanduser().read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise StorageError(
                f"expected a calibration at {path}, found none; make one with: counterpoint "
                "calibrate"
            ) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            raise StorageError(
                f"expected a calibration file of counterpoint, got {path} ({reason}); "
                "make it again with: counterpoint calibrate"
            ) from error

    @classmethod
    def _parse(cls, text: str) -> "Calibration":
        entries = json.loads(text)
        if entries.get("format") != FORMAT:
            raise ValueError(f"its format is {entries.get('format')!r}, not {FORMAT!r}")
        return cls(
            columns=tuple(entries["columns"]),
            mean=_floats(entries["mean"]),
            scale=_floats(entries["scale"]),
            weights=_floats(entries["weights"]),
            intercept=float(entries["intercept"]),
            steps=tuple((float(at), float(share)) for at, share in entries.get("steps", ())),
            note=Note.from_dict(entries.get("note", {})),
        )


@cache
def shipped() -> tuple[Calibration, ...]:
    """Calibrations that come with the package, those that look at more evidence first."""
    inside = files("counterpoint").joinpath("matching", "calibrations")
    if not inside.is_dir():
        return ()
    found = [
        Calibration._parse(file.read_text(encoding="utf-8"))
        for file in sorted(inside.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".json")
    ]
    return tuple(sorted(found, key=lambda one: -len(one.columns)))


def find_calibration(
    source: Provenance,
    target: Provenance,
    matching: str,
    known: Sequence[str],
    members: int = 0,
) -> Calibration | None:
    """The shipped calibration for such features and such evidence, or None.

    Args:
        source: what made the source picture's features.
        target: what made the target's.
        matching: as `match` takes ``subpixel``.
        known: columns of evidence that the matches have.
        members: single draws behind the disagreement.
    """
    for one in shipped():
        fits = set(one.columns) <= set(known) and one.note.members in (0, members)
        if fits and one.serves(source, target, matching):
            return one
    return None


def _settings(features: Provenance) -> Provenance:
    """What two sets of features must share for one calibration."""
    parts = tuple(_settings(part) for part in features.parts)
    # Weights are told by their SHA-256, not by what a file with them is called.
    model = "" if features.weights_sha256 else features.model
    return replace(features, model=model, picture_sha256="", version="", seed=0, parts=parts)


def _floats(numbers: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(number) for number in numbers)
