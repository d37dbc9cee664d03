"""The figures of a sweep: heat maps (t x tap), and curves against time step, layer, ensemble.

Figures 5 (against t) and 13 (against the layer) of the DIFT paper, with 95 % bands.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from counterpoint.benchmarks.sweep.result import Cell, Sweep
from counterpoint.charts import Curve, draw_curves, draw_heat_map

MOST_CURVES = 7
"""Of more lines, those with the highest points are shown: as many as there are colours."""


def draw_sweep(sweep: Sweep, out: Path) -> tuple[Path, ...]:
    """Draw every figure that the grid has room for.

    Cells that were dropped are hatched in the heat maps and left out of the curves.

    Args:
        sweep: the result.
        out: folder for the PNGs.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    best = sweep.best
    drawn = [
        _heat_map(sweep, group, out / f"heat-map{number or ''}.png")
        for number, group in enumerate(_groups(sweep))
    ]
    rest = [c for c in sweep.cells if (c.ensemble, c.prompt) == (best.ensemble, best.prompt)]
    if len({cell.t for cell in sweep.cells}) > 1:
        drawn.append(
            _curves(
                sweep, rest, "time step t", lambda c: c.t, lambda c: c.tap, out / "against-t.png"
            )
        )
    if len({cell.tap for cell in sweep.cells}) > 1:
        drawn.append(
            _curves(
                sweep,
                rest,
                "layer, in the order of the network",
                lambda c: c.tap,
                lambda c: "no noise" if c.t is None else f"t = {c.t}",
                out / "against-layer.png",
            )
        )
    if len({cell.ensemble for cell in sweep.cells}) > 1:
        at_best = [c for c in sweep.cells if (c.t, c.prompt) == (best.t, best.prompt)]
        path = out / "against-ensemble.png"
        name = "draws of noise averaged"
        drawn.append(_curves(sweep, at_best, name, lambda c: c.ensemble, lambda c: c.tap, path))
    return tuple(drawn)


def _groups(sweep: Sweep) -> list[list[Cell]]:
    """Cells by ensemble and prompt; of groups that were dropped as a whole there is no figure."""
    found: dict[tuple[int, str], list[Cell]] = {}
    for cell in sweep.cells:
        found.setdefault((cell.ensemble, cell.prompt), []).append(cell)
    return [group for group in found.values() if not all(cell.dropped for cell in group)]


def _heat_map(sweep: Sweep, group: Sequence[Cell], out: Path) -> Path:
    taps = list(dict.fromkeys(cell.tap for cell in group))
    steps = list(dict.fromkeys(cell.t for cell in group))
    values = np.full((len(taps), len(steps)), np.nan)
    dropped = np.zeros(values.shape, bool)
    for cell in group:
        place = taps.index(cell.tap), steps.index(cell.t)
        values[place], dropped[place] = cell.per_point.value, cell.dropped
    first = group[0]
    return draw_heat_map(
        values,
        taps,
        ["no noise" if t is None else str(t) for t in steps],
        out,
        title=_title(sweep, first.ensemble, first.prompt)
        + (f"\nhatched: dropped after {sweep.drop_after} pairs" if dropped.any() else ""),
        unit=_unit(sweep),
        labels=("time step t", "layer"),
        faint=dropped,
    )


def _curves(
    sweep: Sweep,
    group: Sequence[Cell],
    label: str,
    place: Callable[[Cell], float | int | str | None],
    name: Callable[[Cell], str],
    out: Path,
) -> Path:
    lines: dict[str, list[Cell]] = {}
    for cell in group:
        if not cell.dropped and place(cell) is not None:
            lines.setdefault(name(cell), []).append(cell)
    lines = _merged(lines, place)
    top = {key: max(c.per_point.value for c in some) for key, some in lines.items()}
    kept = sorted(lines, key=lambda key: -top[key])[:MOST_CURVES]
    curves: list[Curve] = []
    for key in (key for key in lines if key in kept):
        some = lines[key]
        if all(isinstance(place(cell), int) for cell in some):
            some = sorted(some, key=lambda cell: float(place(cell) or 0))
        scores = [cell.per_point for cell in some]
        x = tuple(where for cell in some if (where := place(cell)) is not None)
        curves.append(
            Curve(
                key,
                x,
                tuple(score.value for score in scores),
                tuple(score.interval.low for score in scores),
                tuple(score.interval.high for score in scores),
            )
        )
    shown = "" if len(kept) == len(lines) else f"; the best {len(kept)} of {len(lines)} lines"
    title = f"{_title(sweep, sweep.best.ensemble, sweep.best.prompt)}; bands: 95 %{shown}"
    return draw_curves(curves, out, title=title, labels=(label, _unit(sweep)))


def _merged(lines: dict[str, list[Cell]], place: Callable[[Cell], object]) -> dict[str, list[Cell]]:
    """Lines that are the same (a block's end and its last layer) as one, with both names."""
    names: dict[tuple[object, ...], list[str]] = {}
    for name, some in lines.items():
        names.setdefault(tuple((place(c), c.per_point) for c in some), []).append(name)
    return {" = ".join(same): lines[same[0]] for same in names.values()}


def _title(sweep: Sweep, ensemble: int, prompt: str) -> str:
    with_prompt = f", prompt {prompt!r}" if prompt else ""
    return (
        f"{sweep.model} on {sweep.dataset}\nprotocol {sweep.protocol}, {sweep.points} points, "
        f"ensemble of {ensemble}{with_prompt}"
    )


def _unit(sweep: Sweep) -> str:
    return f"PCK@{sweep.alpha:g} per point, %"
