"""What the benchmarks' commands share at their end: where results go, and writing them."""

import json as json_format
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from counterpoint.cli.bench.parameters import Flag
from counterpoint.cli.common import console, print_tables

if TYPE_CHECKING:
    from counterpoint.benchmarks.tables import Table


@dataclass(frozen=True, kw_only=True)
class Results:
    """Where results go.

    Attributes:
        out: keep the predictions in this folder, to be gone on with after a stop.
        json: write all figures here.
        markdown: write the tables here.
        skip_bad: list what cannot be used (missing or damaged files, masks of another size, objects
            that the first mask does not have) beside the figures, instead of stopping at the first.
    """

    out: Path | None = None
    json: Path | None = None
    markdown: Path | None = None
    skip_bad: Annotated[bool, Flag] = False


Resulting = Annotated[Results, Parameter(name="*", group="Results")]


def show_report(
    title: str,
    tables: "Iterable[Table]",
    lines: Sequence[str],
    figures: Mapping[str, Any],
    results: Results,
) -> None:
    """Print a report and write what was asked for.

    Args:
        title: what the figures are of.
        tables: to be read.
        lines: that belong below them, such as what was left out.
        figures: all of them, as plain values.
        results: where to write.
    """
    tables = tuple(tables)
    print_tables(title, tables, lines)
    write_report(title, tables, lines, figures, json=results.json, markdown=results.markdown)
    if results.out:
        console().print(f"predictions in {results.out}")


def write_report(
    title: str,
    tables: "Iterable[Table]",
    lines: Sequence[str],
    figures: Mapping[str, Any],
    *,
    json: Path | None,
    markdown: Path | None,
) -> None:
    """Write a report's figures as JSON, its tables as Markdown, where asked for."""
    from counterpoint.files import write_text

    if json:
        write_text(json, json_format.dumps(figures, indent=2, allow_nan=False) + "\n")
    if markdown:
        parts = [title + "\n", *(table.markdown() for table in tables)]
        write_text(markdown, "\n".join([*parts, *(f"- {line}\n" for line in lines)]))
    for path in (json, markdown):
        if path:
            console().print(f"wrote {path}")
