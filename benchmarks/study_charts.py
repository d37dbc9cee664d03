"""The charts of the study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from study_results import TAP, Estimate, Results

from counterpoint.charts import Curve, draw_curves, draw_heat_map


def draw_charts(results: Results, out: Path) -> None:
    """Every chart whose results are there."""
    out.mkdir(parents=True, exist_ok=True)
    for draw in (chart_t, chart_layers, chart_ensemble, chart_noise, chart_twins):
        try:
            draw(results, out)
        except KeyError as error:
            print(f"{draw.__name__} left out: no {error.args[0]}")


def _curve(name: str, x: Sequence[Any], estimates: Sequence[Estimate]) -> Curve:
    low, high = ([one["interval"][end] for one in estimates] for end in ("low", "high"))
    return Curve(name, tuple(x), tuple(e["value"] for e in estimates), tuple(low), tuple(high))


def _sweep_curve(results: Results, step: str, name: str, x: str = "t", **fixed: Any) -> Curve:
    cells = results.cells(step, **fixed)
    return _curve(name, [cell[x] for cell in cells], [cell["per_point"] for cell in cells])


def chart_t(results: Results, out: Path) -> None:
    taps = list(dict.fromkeys(cell["tap"] for cell in results.of("sweep")["cells"]))
    taps = [tap for tap in taps if ".layer:" not in tap or tap == TAP]
    curves = [_sweep_curve(results, "sweep", tap, tap=tap) for tap in taps]
    title = "Accuracy against the time step, by tap: CUB bird crops"
    draw_curves(curves, out / "study-t.png", title=title, labels=("t", UNIT))


UNIT = "PCK@0.1 per point, %"


def chart_layers(results: Results, out: Path) -> None:
    cells = results.of("sweep")["cells"]
    taps = [
        tap for tap in dict.fromkeys(c["tap"] for c in cells) if ".layer:" in tap or tap == "mid"
    ]
    steps = list(dict.fromkeys(cell["t"] for cell in cells))
    values = np.full((len(taps), len(steps)), np.nan)
    for cell in cells:
        if cell["tap"] in taps:
            values[taps.index(cell["tap"]), steps.index(cell["t"])] = cell["per_point"]["value"]
    names = [str(t) for t in steps]
    title = "Layers of the decoder against the time step"
    labels = ("t", "layer")
    draw_heat_map(
        values, taps, names, out / "study-layers.png", title=title, unit=UNIT, labels=labels
    )


def chart_ensemble(results: Results, out: Path) -> None:
    steps = list(dict.fromkeys(cell["t"] for cell in results.of("ensemble")["cells"]))
    curves = [
        _sweep_curve(results, "ensemble", f"t = {t}", x="ensemble", t=t, tap=TAP) for t in steps
    ]
    title = f"Accuracy against the size of the ensemble, {TAP}"
    draw_curves(curves, out / "study-ensemble.png", title=title, labels=("draws of noise", UNIT))


def chart_noise(results: Results, out: Path) -> None:
    curves = [
        _sweep_curve(results, step, name, tap=TAP)
        for name, step in (
            ("with noise", "sweep"),
            ("scaled, without noise", "mean-only"),
            ("the picture as it is", "no-noise"),
        )
    ]
    title = f"What the network is shown, {TAP}"
    draw_curves(curves, out / "study-noise.png", title=title, labels=("t that it is told", UNIT))


def chart_twins(results: Results, out: Path) -> None:
    curves = []
    for twin in ("shift", "flip"):
        for way in ("on the way", "as real"):
            rows = [
                row for row in results.of(twin)["rows"] if row["tap"] == TAP and row["way"] == way
            ]
            steps = [row["t"] for row in rows]
            curves.append(_curve(f"{twin}, {way}", steps, [row["truth"] for row in rows]))
    title = f"Generated pictures and their twins, {TAP}"
    labels = ("t", "matches within 0.1 of the side, %")
    draw_curves(curves, out / "study-twins.png", title=title, labels=labels)
