"""What several commands share: options, points, tables. Imports nothing heavy."""

import json
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from counterpoint.errors import BadInput, PointError
from counterpoint.options import Options

if TYPE_CHECKING:
    from rich.console import Console

    from counterpoint.backbones.base import Backbone
    from counterpoint.benchmarks.tables import Cells, Table

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
    """A rich console on standard output, or one that says nothing.

    Names of files and pairs are shown as they are: no "[old]" is taken for markup, no ":cat:" for a
    picture of a cat.
    """
    from rich.console import Console

    return Console(quiet=quiet, highlight=False, markup=False, emoji=False)


def print_cells(cells: "Cells") -> None:
    """A table of texts."""
    from rich.table import Table

    table = Table(*cells.header)
    for row in cells.rows:
        table.add_row(*row)
    console().print(table)


@contextmanager
def progress(
    total: int | None, what: str = "", *, quiet: bool = False
) -> "Generator[Callable[..., None]]":
    """A bar with the time left, on standard error.

    Yields:
        What moves it one step on; words given to it stand beside the bar from then on.
    """
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.description}"),
    )
    shown = Console(stderr=True, quiet=quiet)
    with rich_progress.Progress(*columns, console=shown, disable=quiet) as bar:
        task = bar.add_task(what, total=total)

        def advance(words: str | None = None) -> None:
            bar.update(task, advance=1, description=words)

        yield advance


def print_tables(title: str, tables: "Iterable[Table]", lines: Iterable[str] = ()) -> None:
    """A report: its title, its tables each with their notes, and lines at the end."""
    shown = console()
    shown.print(title)
    for arranged in tables:
        shown.print(f"\n{arranged.title}")  # a table's own title is folded to its width
        print_cells(arranged.cells)
        for note in arranged.notes:
            shown.print(note)
    for line in lines:
        shown.print(line, soft_wrap=True)  # a file's name is not cut in two


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
