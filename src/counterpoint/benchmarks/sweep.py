"""The best time step and layer, by search (DIFT, section 4.2): a grid of settings, same pairs.

A grid is time steps x ensemble sizes x prompts (rows) x taps. A row runs each picture through the
network once, all taps are read from that pass, and no feature outlives its last pair: counts of
correct points are all that is kept (`counterpoint.benchmarks.sweep_rows`). A sweep that is killed
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
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from counterpoint.backbones.base import Backbone, library_version
from counterpoint.benchmarks.datasets.keypoints import plain
from counterpoint.benchmarks.metrics import PCK, Estimate
from counterpoint.benchmarks.pairs import CACHE_BYTES, takes_prompt
from counterpoint.benchmarks.protocols import require_scorable
from counterpoint.benchmarks.report import Cells
from counterpoint.benchmarks.sweep_rows import (
    NOT_COUNTED,
    Course,
    Row,
    RowCounts,
    RowRun,
    passes_a_row,
)
from counterpoint.benchmarks.taps import blocks, require_taps
from counterpoint.errors import BadInput, StorageError
from counterpoint.features import Provenance
from counterpoint.files import write_text
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture
from counterpoint.options import Options
from counterpoint.store import comparable

FORMAT = "counterpoint/sweep/1"

LEAST_PROBE = 10
"""Pairs below which nothing is dropped."""

_AXES = ("tap", "timesteps", "ensemble", "prompt", "picture_sha256")

Tell = Callable[[str], None]
"""Hears what is being done now."""


@dataclass(frozen=True)
class Grid:
    """Every setting of a sweep.

    Attributes:
        rows: what forward passes depend on.
        taps: where features are read in each, "up:1+up:2" for two joined.
    """

    rows: tuple[Row, ...]
    taps: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """The score of one setting, in per cent.

    Attributes:
        t: time step; None: no noise.
        tap: where features were read.
        ensemble: draws averaged.
        prompt: text condition.
        pairs: scored; fewer than the sweep's where dropped.
        points: of these.
        per_point: correct points over all (micro).
        per_image: mean over pairs.
        macro: mean over categories.
        dropped: given up after a few pairs, see `counterpoint.benchmarks.sweep`.
    """

    t: int | None
    tap: str
    ensemble: int
    prompt: str
    pairs: int
    points: int
    per_point: Estimate
    per_image: Estimate
    macro: Estimate
    dropped: bool


@dataclass(frozen=True)
class Sweep:
    """The result.

    Attributes:
        dataset: its name.
        protocol: its name.
        rule: when a point is correct.
        alpha: threshold.
        model: whose features.
        weights_sha256: of the model's weights.
        pairs: asked for.
        points: over all pairs.
        pictures: that occur in pairs.
        pairs_sha256: fingerprint of the list of pairs.
        seed: of the noise and the intervals.
        drop_after: pairs after which hopeless cells were dropped; None: none was.
        version: counterpoint's.
        cells: every one of the grid, rows first.
        settings: what was the same in all of them.
    """

    dataset: str
    protocol: str
    rule: str
    alpha: float
    model: str
    weights_sha256: str
    pairs: int
    points: int
    pictures: int
    pairs_sha256: str
    seed: int
    drop_after: int | None
    version: str
    cells: tuple[Cell, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return {"format": FORMAT, **plain(asdict(self))}

    @property
    def best(self) -> Cell:
        """The cell with the highest figure per point, of those that were not dropped."""
        return max((c for c in self.cells if not c.dropped), key=lambda c: c.per_point.value)

    @property
    def title(self) -> str:
        """One line that says what the figures are."""
        return (
            f"{self.model} on {self.dataset}: PCK@{self.alpha:g}, protocol {self.protocol} "
            f"({self.rule}), per point, in per cent ± half its 95 % interval; {self.pairs} pairs, "
            f"{self.points} points, {self.pictures} pictures, seed {self.seed}"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the table needs to know beside it."""
        best, dropped = self.best, sum(cell.dropped for cell in self.cells)
        setting = Row(best.t, best.ensemble, best.prompt).words
        found = [
            f"Best of {len(self.cells)} settings: {best.tap}, {setting}: {figure(best)}. Chosen "
            "on these very pairs: to report it, score it on others."
        ]
        if dropped:
            found.append(
                f"{MARK} {dropped} settings dropped after {self.drop_after} pairs, of which these "
                "figures are: their interval lay below the best one's."
            )
        return tuple(found)


MARK = "(dropped)"
"""Stands beside the figure of a cell that was dropped."""


def figure(cell: Cell) -> str:
    """A cell's figure with its interval, and its mark."""
    interval = cell.per_point.interval
    text = f"{cell.per_point.value:.1f} ± {(interval.high - interval.low) / 2:.1f}"
    return f"{text} {MARK}" if cell.dropped else text


def make_grid(
    backbone: Backbone,
    course: Course,
    *,
    timesteps: Sequence[int] = (),
    taps: Sequence[str] = (),
    ensembles: Sequence[int] = (),
    prompts: Sequence[str] = (),
) -> Grid:
    """Every combination; what is not given is the model's own, taps the ends of its blocks.

    Raises:
        UnknownName: no such tap.
        BadInput: a time step or ensemble for a model without noise, a prompt for one without text.
    """
    own = backbone.provenance(_BLANK, Options())
    if not own.timesteps and (timesteps or ensembles):
        name = backbone.spec.name
        raise BadInput(f"expected no --t and --ensemble for {name}, which sees no noise")
    if prompts and not takes_prompt(backbone.spec):
        raise BadInput(f"expected no --prompt for {backbone.spec.name}, which takes none")
    steps: Sequence[int | None] = [*timesteps] or [*own.timesteps] or [None]
    usual = course.prompt if course.prompt and takes_prompt(backbone.spec) else own.prompt
    for t in steps:
        for n in ensembles:
            Options(t=t, ensemble=n)  # says what is wrong with them
    rows = [
        Row(t, n, prompt)
        for prompt in prompts or [usual]
        for n in ensembles or [own.ensemble]
        for t in steps
    ]
    names = require_taps(backbone, tuple(taps) or blocks(backbone))
    return Grid(tuple(dict.fromkeys(rows)), tuple(dict.fromkeys(names)))


@dataclass(frozen=True)
class Plan:
    """What a sweep will take, said before it starts.

    Attributes:
        rows: of the grid.
        taps: of each.
        passes: forward passes in all, a batch of one each.
        pictures: of the data set.
        all_bytes: of the maps of every picture at every tap of a row.
        held_bytes: how many of them are kept.
        again: how often a picture goes through the network in a row, on average.
    """

    rows: int
    taps: int
    passes: int
    pictures: int
    all_bytes: int
    held_bytes: int
    again: float

    @property
    def words(self) -> str:
        """In one or two sentences."""
        text = (
            f"{self.rows} rows x {self.taps} taps, {self.pictures} pictures: {self.passes} forward "
            f"passes; the maps of a row take {self.all_bytes / 2**30:.2f} GiB"
        )
        if self.again > 1:
            text += (
                f", of which {self.held_bytes / 2**30:.3g} GiB are held: each picture goes through "
                f"{self.again:.1f} times a row; --memory {ceil(self.all_bytes / 2**30)} would "
                "make it once"
            )
        return text


def plan_sweep(
    backbone: Backbone,
    course: Course,
    grid: Grid,
    options: Options,
    cache_bytes: int = CACHE_BYTES,
) -> Plan:
    """How many forward passes and how much memory, if nothing is done yet."""
    asked = backbone.provenance(_BLANK, replace(options, t=None, tap=None)).size_wh
    taps = {tap.name: tap for tap in backbone.taps}

    def picture_bytes(size_wh: SizeWH) -> int:
        w, h = asked or size_wh
        total = 0
        for name in grid.taps:
            parts = [taps[single] for single in name.split("+")]
            cells = max(ceil(w / p.stride_px) * ceil(h / p.stride_px) for p in parts)
            channels = sum(part.channels for part in parts)
            total += 4 * cells * (channels + 64) + 4 * size_wh[0] * size_wh[1]
        return total

    sizes = {
        path: size_wh
        for pair in course.dataset.pairs
        for path, size_wh in (
            (pair.source, pair.source_size_wh),
            (pair.target, pair.target_size_wh),
        )
    }
    passes = passes_a_row(course, picture_bytes, cache_bytes)
    return Plan(
        rows=len(grid.rows),
        taps=len(grid.taps),
        passes=passes * sum(row.ensemble for row in grid.rows),
        pictures=len(sizes),
        all_bytes=sum(picture_bytes(size_wh) for size_wh in sizes.values()),
        held_bytes=cache_bytes,
        again=passes / len(sizes),
    )


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
            **_fixed(backbone.provenance(_BLANK, replace(options, t=None, tap=None))),
        }
    )


_BLANK = Picture(np.zeros((1, 1, 3), np.uint8))


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


def cells(sweep: Sweep) -> Cells:
    """The figures, taps down and time steps across."""
    steps = list(dict.fromkeys(cell.t for cell in sweep.cells))
    lines: dict[tuple[str, str, str], dict[int | None, str]] = {}
    for cell in sweep.cells:
        key = (cell.tap, str(cell.ensemble), cell.prompt)
        lines.setdefault(key, {})[cell.t] = figure(cell)
    header = ("tap", "ensemble", "prompt", *(_step(t) for t in steps))
    rows = tuple((*key, *(line.get(t, "") for t in steps)) for key, line in lines.items())
    return Cells(header, rows)


def markdown(sweep: Sweep, pictures: Sequence[str] = ()) -> str:
    """The result as a page; ``pictures`` are figures' file names beside it."""
    parts = [sweep.title, cells(sweep).markdown().strip(), *sweep.notes]
    parts += [f"![{Path(name).stem}]({name})" for name in pictures]
    return "\n\n".join(parts) + "\n"


def write_sweep(sweep: Sweep, out: Path, pictures: Sequence[str] = ()) -> tuple[Path, ...]:
    """Write ``sweep.json`` and ``sweep.md``."""
    paths = out / "sweep.json", out / "sweep.md"
    write_text(paths[0], json.dumps(sweep.to_dict(), indent=2, allow_nan=False) + "\n")
    write_text(paths[1], markdown(sweep, pictures))
    return paths


def _step(t: int | None) -> str:
    return "no noise" if t is None else f"t={t}"
