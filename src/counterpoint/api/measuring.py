"""`bench`, `score` and `sweep`: correspondence on data sets of key point pairs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from counterpoint.api.extracting import opened
from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.keypoints.course import keypoint_course
from counterpoint.benchmarks.keypoints.predictions import read_predictions
from counterpoint.benchmarks.keypoints.protocols import Protocol, find_protocol, require_scorable
from counterpoint.benchmarks.keypoints.report import PairReport, methods, pair_report
from counterpoint.benchmarks.keypoints.sets import PAIR_SETS, PairSet, read_same
from counterpoint.benchmarks.sweep.plan import make_grid
from counterpoint.benchmarks.sweep.result import Sweep
from counterpoint.benchmarks.sweep.search import run_sweep
from counterpoint.errors import BadInput, UnknownName
from counterpoint.matching import Subpixel

Tell = Callable[[str], None]


def bench(
    name: str,
    data: str | Path,
    model: str | Backbone = "small",
    *,
    protocols: Sequence[str] = (),
    alphas: Sequence[float] | None = None,
    controls: bool = True,
    subpixel: Subpixel = "argmax",
    out: str | Path | None = None,
    choose: dict[str, Any] | None = None,
    tell: Tell | None = None,
    **options: Any,
) -> PairReport:
    """Correspondence on a data set of key point pairs, beside hand-made controls.

    What `counterpoint bench spair` and its like do.

    Args:
        name: "spair", "willow", "pascal", "ap10k" or "cub".
        data: its folder.
        model: a loaded model, or its name.
        protocols: by default those that papers use for the set.
        alphas: thresholds; by default each protocol's own.
        controls: the same position, colours, dense SIFT and the network untrained as well.
        subpixel: as `match` takes it.
        out: a folder that keeps the predictions, for `score`, and to go on with after a stop.
        choose: which pairs, as the set's reader takes it: ``{"split": "val", "limit": 20}``.
        tell: called with a few words now and then.
        options: as in `Options`.

    Raises:
        UnknownName: no such data set, protocol, model or option.
        BadInput: a folder without the data set, pairs that a protocol cannot score.
    """
    row = _pair_set(name)
    dataset = row.read(Path(data), **(choose or {}))
    asked = _protocols(protocols, row)
    for protocol in asked:
        require_scorable(dataset, protocol)  # said before anything is run
    backbone, chosen = opened(model, options)
    with TemporaryDirectory() as nowhere:
        kept = Path(out or nowhere)
        made = methods(
            backbone, dataset, chosen, subpixel=subpixel, controls=controls, out=kept, tell=tell
        )
        return pair_report(dataset, list(made), asked, alphas, seed=chosen.seed)


def score(
    predictions: Sequence[str | Path],
    data: str | Path,
    *,
    protocols: Sequence[str] = (),
    alphas: Sequence[float] | None = None,
) -> PairReport:
    """Score predictions again, under other protocols and thresholds; runs no model.

    Args:
        predictions: files that `bench` kept, of the same pairs.
        data: the data set's folder.
        protocols: by default those that papers use for the set.
        alphas: thresholds; by default each protocol's own.

    Raises:
        StorageError: a file that is missing or damaged.
        BadInput: no files, predictions of other pairs.
    """
    if not predictions:
        raise BadInput("expected files of predictions, got none")
    made = [read_predictions(path) for path in predictions]
    dataset = read_same(data, made[0].origin, Path(predictions[0]))
    for path, one in zip(predictions[1:], made[1:], strict=True):
        if one.origin.pairs_sha256 != dataset.fingerprint:
            raise BadInput(f"expected predictions of the pairs of {predictions[0]}, got {path}")
    asked = _protocols(protocols, _pair_set(str(dataset.request["reader"])))
    return pair_report(dataset, made, asked, alphas)


def sweep(
    name: str,
    data: str | Path,
    out: str | Path,
    model: str | Backbone = "small",
    *,
    t: Sequence[int] = (),
    tap: Sequence[str] = (),
    ensemble: Sequence[int] = (),
    prompt: Sequence[str] = (),
    protocol: str | None = None,
    alpha: float | None = None,
    jobs: int = 1,
    drop_after: int | None = None,
    choose: dict[str, Any] | None = None,
    tell: Tell | None = None,
    **options: Any,
) -> Sweep:
    """Time steps by layers on a data set of key point pairs, every layer from one pass.

    What `counterpoint sweep` does, without its charts (`benchmarks.sweep.charts.draw_sweep`).

    Args:
        name: "spair", "willow", "pascal", "ap10k" or "cub".
        data: its folder.
        out: a folder that keeps the counts: the same call goes on after a stop.
        model: a loaded model, or its name.
        t: time steps; by default the model's own.
        tap: where features are read; by default the ends of the network's blocks.
        ensemble: draws of noise averaged.
        prompt: text conditions, for models that take one.
        protocol: by default the first that papers use for the set.
        alpha: threshold; by default the protocol's first.
        jobs: processes, which load the model by its name again.
        drop_after: give up hopeless settings after so many pairs.
        choose: which pairs, as the set's reader takes it.
        tell: called with a few words now and then.
        options: the rest of `Options`.

    Raises:
        UnknownName: no such data set, protocol, model, tap or option.
        StorageError: the folder holds counts that were made in another way.
    """
    row = _pair_set(name)
    dataset = row.read(Path(data), **(choose or {}))
    course = keypoint_course(dataset, find_protocol(protocol or row.protocols[0]), alpha)
    backbone, chosen = opened(model, options)
    grid = make_grid(backbone, course, timesteps=t, taps=tap, ensembles=ensemble, prompts=prompt)
    place = Path(out)
    return run_sweep(
        backbone, course, grid, place, chosen, jobs=jobs, drop_after=drop_after, tell=tell
    )


def _pair_set(name: str) -> PairSet:
    if name not in PAIR_SETS:
        raise UnknownName("data set of key point pairs", name, PAIR_SETS)
    return PAIR_SETS[name]


def _protocols(names: Sequence[str], row: PairSet) -> list[Protocol]:
    return [find_protocol(name) for name in names or row.protocols]
