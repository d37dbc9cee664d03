"""What several commands share: options, points, tables. Imports nothing heavy."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from counterpoint.errors import BadInput, PointError
from counterpoint.options import Options

if TYPE_CHECKING:
    from rich.console import Console

    from counterpoint.backbones.base import Backbone
    from counterpoint.benchmarks.pair_report import Table

ModelOptions = Annotated[Options, Parameter(name="*", group="Features")]
"""The shared options, flattened into a command's own."""

DEFAULTS = Options()


def open_model(options: Options) -> "Backbone":
    """The model that the options name, from this machine's weights."""
    from counterpoint.backbones import load

    return load(options.model, device=options.device, dtype=options.dtype)


def parse_points(texts: list[str]) -> list[tuple[float, float]]:
    """Points from "X,Y" texts, pixels.

    >>> parse_points(["12,34.5"])
    [(12.0, 34.5)]
    """
    points: list[tuple[float, float]] = []
    for text in texts:
        parts = text.split(",")
        try:
            x, y = (float(part) for part in parts)
        except ValueError as error:
            raise PointError(f"expected a point as X,Y (like 120,85), got {text!r}") from error
        points.append((x, y))
    return points


def console(*, quiet: bool = False) -> "Console":
    """A rich console on standard output, or one that says nothing."""
    from rich.console import Console

    return Console(quiet=quiet, highlight=False)


def print_tables(title: str, tables: "Iterable[Table]", lines: Iterable[str] = ()) -> None:
    """A report: its title, its tables each with their notes, and lines at the end."""
    from rich import table as rich_table

    shown = console()
    shown.print(title)
    for arranged in tables:
        shown.print(f"\n{arranged.title}")  # a table's own title is folded to its width
        table = rich_table.Table(*arranged.cells.header)
        for row in arranged.cells.rows:
            table.add_row(*row)
        shown.print(table)
        for note in arranged.notes:
            shown.print(note)
    for line in lines:
        shown.print(line)


def print_json(value: Any) -> None:
    """Machine-readable output, alone on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def output_folder(out: Path) -> Path:
    """The folder for results, made if need be.

    Raises:
        BadInput: a file of that name stands in the way.
    """
    if out.exists() and not out.is_dir():
        raise BadInput(f"expected a folder for --out, got a file: {out}")
    return out
