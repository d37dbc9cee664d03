"""The table of protocol `cub-crops`: a model by time step and tap, beside its controls.

Controls that every correspondence figure needs beside it: the same-position prior, the colours
themselves, dense SIFT, and the model's own network with random weights.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from counterpoint.backbones.base import Backbone, library_version
from counterpoint.benchmarks.birds.crops import PROTOCOL, CubCrops, Row, score_prior, score_taps
from counterpoint.benchmarks.controls import Tell, hand_made, with_untrained
from counterpoint.benchmarks.datasets.keypoints import Skipped
from counterpoint.benchmarks.tables import Cells, size_text
from counterpoint.benchmarks.taps import blocks, require_taps
from counterpoint.options import Options

log = logging.getLogger(__name__)

CropMethod = Callable[[CubCrops], tuple[Row, ...]]
"""Scores a way to match on bird crops, a row a tap."""


@dataclass(frozen=True)
class CubReport:
    """All rows of one run of protocol `cub-crops`.

    Attributes:
        protocol: its name.
        model: whose table it is.
        weights_sha256: of the model's weights.
        classes: of the birds.
        pictures: that occur in pairs.
        pairs: scored.
        points: over all pairs.
        crop_px: side of the crops.
        alpha: PCK's threshold, as a share of the side.
        seed: of pairs, noise and random weights.
        version: counterpoint's.
        rows: controls first.
        skipped: pictures that could not be used, and why.
    """

    protocol: str
    model: str
    weights_sha256: str
    classes: tuple[str, ...]
    pictures: int
    pairs: int
    points: int
    crop_px: int
    alpha: float
    seed: int
    version: str
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON; without the counts of single pairs."""
        plain = asdict(self)
        for row in plain["rows"]:
            del row["counts"]
        return plain

    @property
    def title(self) -> str:
        """One line that says what the figures are."""
        return (
            f"{self.protocol}: PCK@{self.alpha:g} of the crop's side, per point, in per cent "
            f"± half its 95 % interval; {self.pairs} pairs, {self.points} points, "
            f"{self.pictures} pictures, {self.crop_px} px crops, seed {self.seed}"
            + (f", {len(self.skipped)} pictures skipped" if self.skipped else "")
        )


def cub_report(
    backbone: Backbone,
    benchmark: CubCrops,
    *,
    timesteps: Sequence[int] = (),
    taps: Sequence[str] | None = None,
    options: Options | None = None,
    skipped: tuple[Skipped, ...] = (),
    tell: Tell | None = None,
) -> CubReport:
    """Score a model and its controls.

    Args:
        backbone: the model.
        benchmark: from `birds.crops.prepare`.
        timesteps: by default the model's own.
        taps: by default the blocks of the network, not its single layers.
        options: the rest; its seed should be the benchmark's.
        skipped: pictures that the reader left out.
        tell: called with a few words before each part of the work.

    Raises:
        UnknownName: a tap that the model does not have.
    """
    names = require_taps(backbone, taps or blocks(backbone))
    rows = _rows(backbone, benchmark, timesteps, names, options, tell)
    return CubReport(
        protocol=PROTOCOL,
        model=backbone.spec.name,
        weights_sha256=backbone.weights_sha256,
        classes=tuple(dict.fromkeys(crop.bird.class_name for crop in benchmark.crops)),
        pictures=len(benchmark.pictures),
        pairs=len(benchmark.pairs),
        points=benchmark.points,
        crop_px=benchmark.size_px,
        alpha=benchmark.alpha,
        seed=benchmark.seed,
        version=library_version(),
        rows=tuple(rows),
        skipped=skipped,
    )


def _rows(
    backbone: Backbone,
    benchmark: CubCrops,
    timesteps: Sequence[int],
    taps: Sequence[str],
    options: Options | None,
    tell: Tell | None,
) -> Iterator[Row]:
    for words, method in crop_methods(backbone, timesteps, taps, options, benchmark.seed):
        (tell or log.info)(words)
        yield from method(benchmark)


def crop_methods(
    backbone: Backbone,
    timesteps: Sequence[int],
    taps: Sequence[str],
    options: Options | None,
    seed: int,
) -> Iterator[tuple[str, CropMethod]]:
    """A model's controls, then itself, time step by time step, each with words that say what it is.

    Args:
        backbone: the model.
        timesteps: by default the model's own.
        taps: of the model.
        options: the rest.
        seed: of random weights.
    """
    yield "same position", lambda crops: (score_prior(crops),)
    for model in hand_made(backbone):
        yield model.spec.name, lambda crops, model=model: score_taps(model, crops)
    for model in with_untrained(backbone, seed):
        for t in list(timesteps) or [backbone.spec.t]:

            def method(
                crops: CubCrops, model: Backbone = model, t: int | None = t
            ) -> tuple[Row, ...]:
                return score_taps(model, crops, t=t, taps=taps, options=options)

            yield model.spec.name if t is None else f"{model.spec.name} at t = {t}", method


def cells(report: CubReport) -> Cells:
    """The report's figures, arranged to be read: taps down, time steps across."""
    steps = list(dict.fromkeys(row.t for row in report.rows))
    lines: dict[tuple[str, str, str], dict[int | None, str]] = {}
    for row in report.rows:
        figure = row.pck.interval.around(row.pck.per_point)
        lines.setdefault((row.method, row.tap, size_text(row.input_wh)), {})[row.t] = figure
    header = ("method", "tap", "input", *("no noise" if t is None else f"t={t}" for t in steps))
    rows = tuple((*key, *(line.get(t, "") for t in steps)) for key, line in lines.items())
    return Cells(header, rows)
