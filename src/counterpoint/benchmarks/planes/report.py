"""Reports of protocols `hpatches-dift` and `hpatches-exact`: a model beside its controls."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.backbones.base import Backbone, library_version
from counterpoint.benchmarks.controls import Tell, compared
from counterpoint.benchmarks.datasets.hpatches import OTHERS, HPatches, PlanarSequence
from counterpoint.benchmarks.datasets.keypoints import Skipped
from counterpoint.benchmarks.planes.hpatches import (
    AUC_PX,
    PROTOCOLS,
    WITHIN_PX,
    CornerScore,
    Group,
    GroupScore,
    PairResult,
    Setting,
    View,
    find_views,
    score_pair,
)
from counterpoint.benchmarks.published import published_lines
from counterpoint.benchmarks.tables import Cells, Table, setting_text, size_text
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import SizeWH
from counterpoint.matching import Metric, mutual_nearest
from counterpoint.options import Options
from counterpoint.tasks.scenes.homography import Method, Robust
from counterpoint.tasks.scenes.local_features import descriptors


@dataclass(frozen=True)
class MethodRow:
    """One method's scores with one estimator.

    Attributes:
        method: "sd21", "same position", ...
        tap: where features were read; "" where there is nothing to choose.
        t: time steps, "50+150" for several; "" without noise.
        input_wh: the model's input, pixels; None where pictures keep their own size.
        metric: of the descriptors.
        estimator: of the homography.
        groups: overall, and by kind.
        results: pair by pair.
    """

    method: str
    tap: str
    t: str
    input_wh: SizeWH | None
    metric: Metric
    estimator: Method
    groups: tuple[GroupScore, ...]
    results: tuple[PairResult, ...]


@dataclass(frozen=True)
class HPatchesReport:
    """All scores of one run.

    Attributes:
        protocol: its full name.
        dataset: and how much of it.
        sequences: that were scored.
        left_out: those there that papers leave out, and so does this.
        skipped: those that could not be used.
        pairs: scored.
        seed: of noise, random weights and intervals.
        version: counterpoint's.
        rows: controls first, the model last.
    """

    protocol: str
    dataset: str
    sequences: tuple[str, ...]
    left_out: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    pairs: int
    seed: int
    version: str
    rows: tuple[MethodRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return asdict(self)

    @property
    def title(self) -> str:
        """One line that says what the figures are of."""
        skipped = f", {len(self.skipped)} sequences skipped" if self.skipped else ""
        return (
            f"Protocol {self.protocol}: {self.dataset}, {self.pairs} pairs{skipped}, "
            f"seed {self.seed}; in per cent ± half the 95 % interval"
        )


def hpatches_report(
    backbone: Backbone,
    dataset: HPatches,
    options: Options,
    setting: Setting | None = None,
    *,
    controls: bool = True,
    skip_bad: bool = False,
    tell: Tell | None = None,
) -> HPatchesReport:
    """Score a model, after its controls, on the same key points.

    Args:
        backbone: the model.
        dataset: from `read_hpatches`.
        options: of the model's features; controls run at their usual setting for geometry.
        setting: the protocol.
        controls: the same position, colours, dense SIFT and the network untrained as well.
        skip_bad: list sequences with unreadable pictures or key points instead of raising.
        tell: called with a few words now and then.

    Raises:
        BadInput: no sequence can be used.
    """
    setting = setting or Setting()
    methods = list(_methods(backbone, options, setting, controls))
    skipped = list(dataset.skipped)
    used: list[str] = []
    for sequence in dataset.sequences:
        try:
            views = find_views(sequence, setting)
        except BadInput as error:
            if not skip_bad:
                raise
            skipped.append(Skipped(sequence.name, str(error)))
            continue
        used.append(sequence.name)
        for method in methods:
            if tell:
                tell(f"{sequence.name} ({len(used)} of {len(dataset.sequences)}): {method.name}")
            method.run(sequence, views, setting)
    if not used:
        raise BadInput(f"expected a sequence that can be used, got none: {skipped[0].reason}")
    return HPatchesReport(
        protocol=setting.name,
        dataset=HPatches(tuple(s for s in dataset.sequences if s.name in used)).name,
        sequences=tuple(used),
        left_out=dataset.left_out,
        skipped=tuple(skipped),
        pairs=len(used) * len(OTHERS),
        seed=options.seed,
        version=library_version(),
        rows=tuple(row for method in methods for row in method.rows(options.seed)),
    )


Describe = Callable[[Sequence[View]], Iterator[Tensor]]


class _Scored:
    """A method and its results so far, by estimator.

    Args:
        name: of the method.
        metric: of its descriptors.
        estimators: of the homographies.
        describe: from pictures to descriptors (N, channels) at their key points.
    """

    def __init__(
        self, name: str, metric: Metric, estimators: tuple[Method, ...], describe: Describe
    ) -> None:
        self.name = name
        self.metric: Metric = metric
        self.describe = describe
        self.scores: dict[Method, CornerScore] = dict.fromkeys(estimators, CornerScore())
        self.used: FeatureMap | None = None

    def run(self, sequence: PlanarSequence, views: Sequence[View], setting: Setting) -> None:
        described = list(self.describe(views))
        for number in OTHERS:
            pairs = mutual_nearest(described[0], described[number - 1], self.metric)
            for method, score in self.scores.items():
                robust = Robust(method=method, threshold_px=setting.threshold_px)
                result = score_pair(sequence, number, views[0], views[number - 1], pairs, robust)
                self.scores[method] = score.update(result)

    def rows(self, seed: int) -> Iterator[MethodRow]:
        note = None if self.used is None else self.used.provenance
        tap, t = ("", "") if note is None else (note.tap, "+".join(map(str, note.timesteps)))
        size = None if note is None else note.size_wh
        for method, score in self.scores.items():
            groups = score.compute(seed)
            yield MethodRow(self.name, tap, t, size, self.metric, method, groups, score.results)


def _methods(
    backbone: Backbone, options: Options, setting: Setting, controls: bool
) -> Iterator[_Scored]:
    estimators = setting.estimators_for(backbone.spec.family)
    if controls:
        yield _Scored("same position", "l2", estimators, _positions)
    for model, chosen in compared(backbone, options, controls=controls):
        yield _of_model(model, setting.options_for(model, chosen), setting, estimators)


def _of_model(
    model: Backbone, options: Options, setting: Setting, estimators: tuple[Method, ...]
) -> _Scored:
    def describe(views: Sequence[View]) -> Iterator[Tensor]:
        maps = model.stream([view.picture for view in views], options)
        for view, fmap in zip(views, maps, strict=True):
            scored.used = scored.used or fmap
            yield descriptors(fmap, view.keypoints_px, PROTOCOLS[setting.protocol])

    metric = setting.metric_for(model.spec.family)
    scored = _Scored(model.spec.name, metric, estimators, describe)
    return scored


def _positions(views: Sequence[View]) -> Iterator[Tensor]:
    return (torch.from_numpy(view.keypoints_px) for view in views)


def tables(report: HPatchesReport) -> tuple[Table, ...]:
    """Accuracy, AUC and matching accuracy of every method: over all pairs, and by kind."""
    header = (
        *("method", "setting", "input", "metric", "estimator"),
        *(f"acc@{px:g}" for px in WITHIN_PX),
        *(f"AUC@{px:g}" for px in AUC_PX),
        *(f"MMA@{px:g}" for px in WITHIN_PX),
        "matches",
        "none",
    )
    found: list[Table] = []
    groups = report.rows[0].groups
    for first in groups[1:] if len(groups) == 2 else groups:  # of one kind alone: a single table
        lines = tuple(_line(row, first.group) for row in report.rows)
        title = f"{first.group.capitalize()}: {first.pairs} pairs"
        found.append(Table(title, Cells(header, lines)))
    notes = (
        "acc: corners at most so many px off; AUC: of the corner error; MMA: matches at most so "
        "many px off; matches: mean a pair; none: pairs without homography, counted as wrong.",
        *published_lines(report.dataset, "hpatches-dift"),
    )
    return (*found[:-1], Table(found[-1].title, found[-1].cells, notes))


def _line(row: MethodRow, group: Group) -> tuple[str, ...]:
    score = next(one for one in row.groups if one.group == group)
    size, setting = size_text(row.input_wh, own=bool(row.tap)), setting_text(row.tap, row.t)
    counts = [r.matches for r in row.results if group in ("overall", r.kind)]
    figures = (*score.accuracy, *score.auc, *score.matching)
    return (
        *(row.method, setting, size, row.metric, row.estimator),
        *(figure.shown(score.pairs) for figure in figures),
        f"{np.mean(counts):.0f}",
        str(score.without),
    )
