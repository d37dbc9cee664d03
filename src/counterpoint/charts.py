"""Figures of numbers, drawn with matplotlib (extra `figures`): heat maps, curves with bands."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from counterpoint.errors import BadInput, MissingExtra
from counterpoint.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any colour vision; yellow is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

DPI = 150


@dataclass(frozen=True)
class Curve:
    """A line with the band of its intervals.

    Attributes:
        name: for the legend.
        x: positions: numbers, or names, which are then the places of a row.
        y: values.
        low: the band's lower edge.
        high: its upper edge.
    """

    name: str
    x: tuple[float | int | str, ...]
    y: tuple[float | int, ...]
    low: tuple[float | int, ...]
    high: tuple[float | int, ...]

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.x, self.y, self.low, self.high)}
        if len(lengths) != 1 or lengths == {0}:
            raise BadInput(f"expected as many x, y, low and high in {self.name!r}, at least one")


def draw_heat_map(
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    out: Path | str,
    *,
    title: str = "",
    unit: str = "",
    labels: tuple[str, str] = ("", ""),
    faint: Bool[np.ndarray, "rows columns"] | None = None,
) -> Path:
    """A table as colours, each cell with its number, the largest one framed.

    Args:
        values: NaN where there is none.
        rows: their names.
        columns: their names.
        out: the PNG.
        title: above.
        unit: beside the colour bar.
        labels: of the columns' axis and of the rows'.
        faint: cells that do not count (hatched, never framed).

    Raises:
        BadInput: names that do not fit the table, or no number in it.
        MissingExtra: matplotlib is not installed.
    """
    faint = np.zeros(values.shape, bool) if faint is None else faint
    counted = np.where(faint, np.nan, values)
    if values.shape != (len(rows), len(columns)) or np.isnan(counted).all():
        raise BadInput(
            f"expected numbers for {len(rows)} rows and {len(columns)} columns, got {values.shape}"
        )
    width = max(len(name) for name in rows) * 0.08 + 0.75 * len(columns) + 2
    figure = _figure((max(width, 0.075 * len(title)), 0.34 * len(rows) + 1.5))
    axes = figure.subplots()
    shown = axes.imshow(values, cmap="cividis", aspect="auto")
    figure.colorbar(shown, ax=axes, label=unit)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.set_title(title, fontsize=9)
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for row, column in np.argwhere(~np.isnan(values)).tolist():
        value = values[row, column]
        colour = "black" if value > middle else "white"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color=colour)
        if faint[row, column]:
            _frame(axes, row, column, hatch="///", linewidth=0, edgecolor="white", alpha=0.6)
    best = np.unravel_index(np.nanargmax(counted), values.shape)
    _frame(axes, int(best[0]), int(best[1]), linewidth=2, edgecolor="#D55E00")
    return _save(figure, out)


def draw_curves(
    curves: Sequence[Curve],
    out: Path | str,
    *,
    title: str = "",
    labels: tuple[str, str] = ("", ""),
) -> Path:
    """Lines with bands, in one picture.

    Args:
        curves: at least one; all with numbers or all with names as ``x``.
        out: the PNG.
        title: above.
        labels: of x and of y.

    Raises:
        BadInput: no curve.
        MissingExtra: matplotlib is not installed.
    """
    if not curves:
        raise BadInput("expected at least one curve, got none")
    names = list(dict.fromkeys(x for curve in curves for x in curve.x if isinstance(x, str)))
    figure = _figure((max(7.0, 0.5 * len(names), 0.075 * len(title)), 4.2))
    axes = figure.subplots()
    for number, curve in enumerate(curves):
        x = [names.index(place) if isinstance(place, str) else place for place in curve.x]
        colour = COLOURS[number % len(COLOURS)]
        style = "o-" if number < len(COLOURS) else "s--"
        axes.plot(x, curve.y, style, color=colour, markersize=4, linewidth=1.4, label=curve.name)
        axes.fill_between(x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    if names:
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.set_ylim(bottom=0)
    axes.set_title(title, fontsize=9)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return _save(figure, out)


def _figure(size_inches: tuple[float, float]) -> "Figure":
    if find_spec("matplotlib") is None:
        raise MissingExtra("figures", "charts")
    from matplotlib.figure import Figure

    return Figure(figsize=size_inches, layout="constrained")


def _frame(axes: "Axes", row: int, column: int, **style: object) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, **style))  # pyright: ignore[reportArgumentType]


def _save(figure: "Figure", out: Path | str) -> Path:
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    write_bytes(out, drawn.getvalue())
    return Path(out)
