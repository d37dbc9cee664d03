"""The best time step and layer, by search (DIFT, section 4.2): a grid of settings, same pairs.

A grid is time steps x ensemble sizes x prompts (rows) x taps. A row runs each picture through the
network once, all taps are read from that pass, and no feature outlives its last pair: counts of
correct points are all that is kept (`counterpoint.benchmarks.sweep.rows`). A sweep that is killed
goes on where it was: no pair that was counted is counted again; only the pictures that were in
memory are put through the network once more. More time steps, taps, ensembles or prompts may be
asked for later; a changed model, data set, protocol, size or seed is refused.

**Dropping.** With ``drop_after`` K, every cell is first scored on the same K pairs, spread evenly
over the list. A cell is dropped when its 95 % interval on them (per point, bootstrap over pairs)
lies wholly below that of the cell with the best figure: its upper end below the best one's lower
end. Which cells those are depends on nothing but the K pairs. A dropped cell keeps its score on the
K pairs and is marked wherever it is shown. The K pairs' pictures are run twice by the others.
"""

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from counterpoint.backbones.base import Backbone, library_version
from counterpoint.benchmarks.controls import Tell
from counterpoint.benchmarks.datasets.keypoints import plain
from counterpoint.benchmarks.keypoints.course import Course
from counterpoint.benchmarks.keypoints.maps import CACHE_BYTES
from counterpoint.benchmarks.keypoints.protocols import require_scorable
from counterpoint.benchmarks.made_by import BLANK
from counterpoint.benchmarks.metrics import PCK, Estimate
from counterpoint.benchmarks.sweep.plan import Grid
from counterpoint.benchmarks.sweep.result import Cell, Sweep
from counterpoint.benchmarks.sweep.rows import NOT_COUNTED, Row, RowCounts, RowRun
from counterpoint.errors import BadInput, StorageError
from counterpoint.files import write_text
from counterpoint.options import Options
from counterpoint.provenance import Provenance
from counterpoint.store import comparable

LEAST_PROBE = 10
"""Pairs below which nothing is dropped."""

_AXES = ("tap", "timesteps", "ensemble", "prompt", "picture_sha256")


def run_sweep(
    backbone: Backbone,
    course: Course,
    grid: Grid,
    out: Path,
    options: Options | None = None,
    *,
    jobs: int = 1,
    drop_after: int | None = None,
    cache_bytes: int = CACHE_BYTES,
    tell: Tell | None = None,
) -> Sweep:
    """Score every setting of a grid.

    Args:
        backbone: the model.
        course: the pairs and their protocol.
        grid: from `make_grid`.
        out: folder that keeps the counts, and from which a stopped sweep goes on.
        options: the rest of the features' options; other processes load its ``model`` again.
        jobs: processes, a row at a time each.
        drop_after: give up hopeless settings after so many pairs; see the module.
        cache_bytes: memory of each process for maps that wait for their next pair.
        tell: called with a few words now and then.

    Raises:
        StorageError: the folder holds counts that were made in another way.
        BadInput: pairs that the protocol cannot score, jobs or drop_after out of range.
    """
    options = replace(options or Options(), t=None, tap=None, ensemble=None, prompt=None)
    if jobs < 1 or (drop_after is not None and drop_after < LEAST_PROBE):
        raise BadInput(
            f"expected at least 1 job and {LEAST_PROBE} pairs before dropping, "
            f"got {jobs} and {drop_after}"
        )
    require_scorable(course.dataset, course.protocol)
    everything = range(len(course.dataset.pairs))
    settings = sweep_settings(backbone, course, options)
    rows = _Rows(out / "rows", _keep(out, settings), len(everything))
    run = RowRun(backbone, course, options, cache_bytes)
    probe: Sequence[int] = ()
    with _workers(run, rows, min(jobs, len(grid.rows))) as work:
        left = dict.fromkeys(grid.rows, grid.taps)
        if drop_after is not None and drop_after < len(everything):
            probe = [i * len(everything) // drop_after for i in range(drop_after)]
            work(left, probe, tell)
            left = _survivors(course, grid, rows, probe)
        work(left, everything, tell)
    return _result(backbone, course, grid, rows, probe, options, settings)


def sweep_settings(backbone: Backbone, course: Course, options: Options) -> dict[str, Any]:
    """What decides a count beside time step, tap, ensemble and prompt."""
    return plain(
        {
            "dataset": course.dataset.name,
            "pairs_sha256": course.dataset.fingerprint,
            "protocol": course.protocol.name,
            "rule": course.protocol.rule,
            "alpha": course.alpha,
            **_fixed(backbone.provenance(BLANK, replace(options, t=None, tap=None))),
        }
    )


def _fixed(provenance: Provenance) -> dict[str, Any]:
    """A provenance without what a sweep varies."""
    entries = {k: v for k, v in comparable(provenance).items() if k not in (*_AXES, "parts")}
    return entries | {"parts": [_fixed(part) for part in provenance.parts]}


def _keep(out: Path, settings: dict[str, Any]) -> str:
    """Note a folder's settings, or check that they are those it was begun with; their hash.

    Raises:
        StorageError: they are not.
    """
    path = out / "settings.json"
    if path.exists():
        try:
            there = json.loads(path.read_bytes())
        except ValueError as error:
            raise StorageError(f"expected a sweep's settings in {path}: {error}") from error
        for name in sorted(settings.keys() | there.keys()):
            if there.get(name) != settings.get(name):
                raise StorageError(
                    f"{out} holds a sweep made with {name} = {there.get(name)!r}, asked was "
                    f"{settings.get(name)!r}; choose another --out"
                )
    else:
        write_text(path, json.dumps(settings, indent=2) + "\n")
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Rows:
    """Where counts lie."""

    folder: Path
    origin: str
    pairs: int

    def open(self, row: Row) -> RowCounts:
        return RowCounts.open(self.folder, self.origin, row, self.pairs)


_Work = Callable[[dict[Row, tuple[str, ...]], Sequence[int], Tell | None], None]


@contextmanager
def _workers(run: RowRun, rows: _Rows, jobs: int) -> Generator[_Work]:
    """Something that counts pairs at taps of rows: here, or in other processes."""
    if jobs == 1:
        yield lambda left, pairs, tell: _one_by_one(run, rows, left, pairs, tell)
        return
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    given = (run.course, run.options, run.cache_bytes, rows, threads)
    with ProcessPoolExecutor(jobs, context, _begin, given) as pool:

        def work(left: dict[Row, tuple[str, ...]], pairs: Sequence[int], tell: Tell | None) -> None:
            futures = {pool.submit(_in_worker, row, taps, pairs): row for row, taps in left.items()}
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    future.result()
                    if tell:
                        tell(f"{done} of {len(futures)} rows, last {futures[future].words}")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

        yield work


def _one_by_one(
    run: RowRun,
    rows: _Rows,
    left: dict[Row, tuple[str, ...]],
    pairs: Sequence[int],
    tell: Tell | None,
) -> None:
    for number, (row, taps) in enumerate(left.items(), 1):
        counts = rows.open(row)
        todo = sum(map(len, counts.missing(taps, pairs).values()))
        done = len(pairs) - todo

        def hear(some: int, row: Row = row, number: int = number) -> None:
            nonlocal done
            done += some
            if tell:
                tell(f"{row.words}: {done} of {len(pairs)} pairs, row {number} of {len(left)}")

        hear(0)
        run.run(counts, taps, pairs, hear)


class _Worker:
    """What a process has loaded."""

    run: RowRun
    rows: _Rows


def _begin(course: Course, options: Options, cache_bytes: int, rows: _Rows, threads: int) -> None:
    """Load the model in a new process."""
    from counterpoint.backbones import load

    parent = multiprocessing.parent_process()
    if parent is not None:  # whoever started us may be killed: then there is nobody to work for

        def leave() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=leave, daemon=True).start()
    torch.set_num_threads(threads)
    backbone = load(options.model, device=options.device, dtype=options.dtype)
    _Worker.run = RowRun(backbone, course, options, cache_bytes)
    _Worker.rows = rows


def _in_worker(row: Row, taps: tuple[str, ...], pairs: Sequence[int]) -> None:
    _Worker.run.run(_Worker.rows.open(row), taps, pairs)


def _survivors(
    course: Course, grid: Grid, rows: _Rows, probe: Sequence[int]
) -> dict[Row, tuple[str, ...]]:
    """Each row's taps that are not hopeless; see the module for the rule."""
    found: dict[tuple[Row, str], Estimate] = {}
    for row in grid.rows:
        counts = rows.open(row)
        for tap in grid.taps:
            found[row, tap] = _pck(course, counts, tap, probe).per_point()
    best = max(found.values(), key=lambda estimate: estimate.value)
    left: dict[Row, tuple[str, ...]] = {}
    for (row, tap), estimate in found.items():
        if estimate.interval.high >= best.interval.low:
            left[row] = (*left.get(row, ()), tap)
    return left


def _pck(course: Course, counts: RowCounts, tap: str, pairs: Sequence[int]) -> PCK:
    correct = counts.of(tap)[list(pairs)]
    points = tuple(len(course.dataset.pairs[i].source_px) for i in pairs)
    return PCK(course.alpha, course.protocol.strict, tuple(correct.tolist()), points)


def _result(
    backbone: Backbone,
    course: Course,
    grid: Grid,
    rows: _Rows,
    probe: Sequence[int],
    options: Options,
    settings: dict[str, Any],
) -> Sweep:
    everything = range(len(course.dataset.pairs))
    cells: list[Cell] = []
    for row in grid.rows:
        counts = rows.open(row)
        for tap in grid.taps:
            dropped = bool((counts.of(tap) == NOT_COUNTED).any())
            pairs = probe if dropped else everything
            pck = _pck(course, counts, tap, pairs)
            categories = [course.dataset.pairs[i].category for i in pairs]
            cells.append(
                Cell(
                    t=row.t,
                    tap=tap,
                    ensemble=row.ensemble,
                    prompt=row.prompt,
                    pairs=len(pairs),
                    points=sum(pck.points),
                    per_point=pck.per_point(options.seed),
                    per_image=pck.per_image(options.seed),
                    macro=pck.macro(categories, options.seed),
                    dropped=dropped,
                )
            )
    return Sweep(
        dataset=course.dataset.name,
        protocol=course.protocol.name,
        rule=course.protocol.rule,
        alpha=course.alpha,
        model=backbone.spec.name,
        weights_sha256=backbone.weights_sha256,
        pairs=len(everything),
        points=course.dataset.points,
        pictures=len(course.dataset.pictures),
        pairs_sha256=course.dataset.fingerprint,
        seed=options.seed,
        drop_after=len(probe) or None,
        version=library_version(),
        cells=tuple(cells),
        settings=settings,
    )
