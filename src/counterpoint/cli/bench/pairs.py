"""`counterpoint bench spair`, `willow`, `pascal`, `ap10k`, and `counterpoint score`."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from counterpoint.cli.bench.parameters import Flag, Several
from counterpoint.cli.bench.results import write_report
from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    console,
    open_model,
    output_folder,
    print_tables,
)
from counterpoint.errors import BadInput

if TYPE_CHECKING:
    from counterpoint.benchmarks.datasets.keypoints import Skipped
    from counterpoint.benchmarks.keypoints.protocols import Protocol
    from counterpoint.benchmarks.keypoints.report import PairReport


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which pairs.

    Attributes:
        categories: only these.
        limit: only the first so many pairs.
        skip_bad: list pairs that cannot be used (damaged or missing files, points outside their
            picture) beside the figures, instead of stopping at the first.
    """

    categories: Annotated[list[str] | None, Several] = None
    limit: int | None = None
    skip_bad: Annotated[bool, Flag] = False


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How predictions are scored and where the figures go.

    Attributes:
        protocol: by name; by default those that papers use for the data set.
        alpha: thresholds; by default each protocol's own.
        json: write all figures here.
        markdown: write the tables here.
    """

    protocol: Annotated[list[str] | None, Several] = None
    alpha: Annotated[list[float] | None, Several] = None
    json: Path | None = None
    markdown: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Running:
    """How predictions are made.

    Attributes:
        out: keep the predictions in this folder, to be scored again and gone on with.
        subpixel: "argmax" for the pixel of the largest cosine, "window" for a mean around it.
        no_controls: only the model, without same position, colours, dense SIFT and untrained.
    """

    out: Path | None = None
    subpixel: Literal["argmax", "window"] = "argmax"
    no_controls: Annotated[bool, Flag] = False


Graded = list[Literal["easy", "medium", "hard"]] | None
Sided = list[Literal["none", "source", "target", "both"]] | None


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """Only pairs of these levels of SPair-71k's flags; by default of all.

    Attributes:
        viewpoint: how different the viewpoints are.
        scale: how different the sizes are.
        truncation: in which picture part of the thing is cut off.
        occlusion: in which picture part of it is hidden.
    """

    viewpoint: Annotated[Graded, Several] = None
    scale: Annotated[Graded, Several] = None
    truncation: Annotated[Sided, Several] = None
    occlusion: Annotated[Sided, Several] = None


Flagged = Annotated[Difficulty, Parameter(name="*", group="Difficulty")]
Selected = Annotated[Selection, Parameter(name="*", group="Pairs")]
Scored = Annotated[Scoring, Parameter(name="*", group="Scores")]
Run = Annotated[Running, Parameter(name="*", group="Run")]

_ALL = Selection()
_ANY = Difficulty()
_USUAL = Scoring()
_PLAIN = Running()


def spair(
    *,
    data: Path,
    split: Literal["trn", "val", "test"] = "test",
    layout: Literal["large", "small"] = "large",
    difficulty: Flagged = _ANY,
    selection: Selected = _ALL,
    run: Run = _PLAIN,
    scoring: Scored = _USUAL,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Key points on SPair-71k: PCK per image, per point and macro (protocol dift, geoaware).

    Models that take a prompt are given "a photo of a {category}", or --prompt in its place, in
    which "{category}" stands for each pair's own.

    Parameters
    ----------
    data
        The folder of SPair-71k that holds PairAnnotation.
    split
        Which pairs; papers report "test".
    layout
        "small" is a part of "large".
    """
    return _bench(
        "spair",
        data,
        selection,
        run,
        scoring,
        options,
        split=split,
        layout=layout,
        difficulty={flag: levels for flag, levels in asdict(difficulty).items() if levels},
    )


def willow(
    *,
    data: Path,
    pairs: Path | None = None,
    selection: Selected = _ALL,
    run: Run = _PLAIN,
    scoring: Scored = _USUAL,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Key points on PF-WILLOW: PCK under both thresholds that papers use.

    Parameters
    ----------
    data
        The folder of PF-WILLOW that holds PF-dataset.
    pairs
        The list of pairs, a CSV file; by default the one there.
    """
    return _bench("willow", data, selection, run, scoring, options, pairs=pairs)


def pascal(
    *,
    data: Path,
    split: Literal["val", "test"] = "test",
    pairs: Path | None = None,
    selection: Selected = _ALL,
    run: Run = _PLAIN,
    scoring: Scored = _USUAL,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Key points on PF-PASCAL: PCK, thresholds from the picture's size.

    Parameters
    ----------
    data
        The folder of PF-PASCAL that holds PF-dataset-PASCAL.
    split
        Which pairs; papers report "test".
    pairs
        The list of pairs, a CSV file; by default the split's.
    """
    return _bench("pascal", data, selection, run, scoring, options, split=split, pairs=pairs)


def ap10k(
    *,
    data: Path,
    subset: Literal["intra-species", "cross-species", "cross-family"] = "intra-species",
    split: Literal["trn", "val", "test"] = "test",
    selection: Selected = _ALL,
    run: Run = _PLAIN,
    scoring: Scored = _USUAL,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Key points on pairs of AP-10K, as GeoAware-SC's notebook draws them.

    Parameters
    ----------
    data
        The folder of AP-10K that holds PairAnnotation.
    subset
        Two animals of one species, of one family, or of two families.
    split
        Which pairs; papers report "test".
    """
    return _bench("ap10k", data, selection, run, scoring, options, subset=subset, split=split)


def score(
    predictions: Path,
    /,
    *more: Path,
    data: Path,
    skip_bad: Annotated[bool, Flag] = False,
    scoring: Scored = _USUAL,
) -> int:
    """Score predictions again, under other protocols and thresholds; runs no model.

    Parameters
    ----------
    predictions
        A file that `counterpoint bench spair ... --out` wrote.
    more
        More of them, of the same pairs.
    data
        The folder of the data set, as for the command that made them.
    skip_bad
        List pairs that a protocol cannot score, instead of stopping at the first.
    """
    from counterpoint.benchmarks.keypoints.predictions import read_predictions
    from counterpoint.benchmarks.keypoints.report import pair_report
    from counterpoint.benchmarks.keypoints.sets import read_same

    made = [read_predictions(path) for path in (predictions, *more)]
    dataset = read_same(data, made[0].origin, predictions)
    for path, one in zip(more, made[1:], strict=True):
        if one.origin.pairs_sha256 != dataset.fingerprint:
            raise BadInput(f"expected predictions of the pairs of {predictions}, got {path}")
    protocols = _protocols(scoring, str(dataset.request["reader"]))
    report = pair_report(dataset, made, protocols, scoring.alpha, skip_bad=skip_bad)
    _show(report)
    _write(report, scoring)
    return 0


def _bench(
    name: str,
    data: Path,
    selection: Selection,
    run: Running,
    scoring: Scoring,
    options: ModelOptions,
    **choices: Any,
) -> int:
    """A model beside its controls on a data set, read with these choices of its reader."""
    from counterpoint.benchmarks.keypoints.protocols import require_scorable
    from counterpoint.benchmarks.keypoints.report import methods, pair_report
    from counterpoint.benchmarks.keypoints.sets import PAIR_SETS

    dataset = PAIR_SETS[name].read(data, **asdict(selection), **choices)
    protocols = _protocols(scoring, str(dataset.request["reader"]))
    for protocol in protocols if not selection.skip_bad else ():
        require_scorable(dataset, protocol)  # said before anything is run
    backbone = open_model(options)
    with ExitStack() as stack:
        out = output_folder(run.out or Path(stack.enter_context(TemporaryDirectory())))
        status = stack.enter_context(console().status("reading"))
        made = methods(
            backbone,
            dataset,
            options,
            subpixel=run.subpixel,
            controls=not run.no_controls,
            out=out,
            skip_bad=selection.skip_bad,
            tell=lambda words: status.update(words),
        )
        found = list(made)
        status.update("scoring")
        report = pair_report(
            dataset,
            found,
            protocols,
            scoring.alpha,
            skip_bad=selection.skip_bad,
            seed=options.seed,
        )
    _show(report)
    _write(report, scoring)
    if run.out:
        console().print(f"predictions in {run.out}; score them again with: counterpoint score")
    return 0


def _protocols(scoring: Scoring, reader: str) -> "list[Protocol]":
    from counterpoint.benchmarks.keypoints.protocols import find_protocol
    from counterpoint.benchmarks.keypoints.sets import PAIR_SETS

    return [find_protocol(name) for name in scoring.protocol or PAIR_SETS[reader].protocols]


def _show(report: "PairReport") -> None:
    from counterpoint.benchmarks.keypoints.report import tables

    print_tables(report.title, tables(report, keypoints=40), _left_out(report))


def _left_out(report: "PairReport") -> Sequence[str]:
    """Every pair that is in no figure, once, and why."""
    found: dict[Skipped, None] = dict.fromkeys(report.skipped)
    for row in report.rows:
        for one in row.scores:
            found |= dict.fromkeys(one.skipped)
    return [f"skipped {bad.id}: {bad.reason}" for bad in found]


def _write(report: "PairReport", scoring: Scoring) -> None:
    from counterpoint.benchmarks.keypoints.report import tables

    write_report(
        report.title,
        tables(report),
        _left_out(report),
        report.to_dict(),
        json=scoring.json,
        markdown=scoring.markdown,
    )
