"""`counterpoint data`: the data sets, and what of them is here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from counterpoint.cli.bench.parameters import Flag
from counterpoint.cli.common import console, print_json

if TYPE_CHECKING:
    from counterpoint.benchmarks.datasets.catalogue import Checked, DatasetEntry, PartFound

app = cyclopts.App(help="List the data sets; check one's folder.", help_format="plaintext")


@app.default
def data(*, json: Annotated[bool, Flag] = False) -> int:
    """List every data set: what its folder holds, size, licence, where to get it.

    Parameters
    ----------
    json
        Print JSON instead of text.
    """
    from rich.table import Table

    from counterpoint.benchmarks.datasets.catalogue import CATALOGUE

    if json:
        print_json([_as_dict(entry) for entry in CATALOGUE.values()])
        return 0
    table = Table("name", "data set", "what it is, its terms, where to get it", show_lines=True)
    for entry in CATALOGUE.values():
        table.add_row(entry.name, entry.title, _about(entry))
    console().print(table)
    return 0


@app.command
def check(
    folder: Path,
    /,
    *,
    name: str | None = None,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Say what is complete in a folder: exit code 0 complete, 1 partial or absent.

    Files are counted and lists read; a file of no bytes counts as missing. No picture is opened:
    the benchmarks' readers see to contents.

    Parameters
    ----------
    folder
        A data set's folder, or one that holds several.
    name
        Look for this data set only.
    json
        Print JSON instead of text.
    """
    from counterpoint.benchmarks.datasets.catalogue import NAMED, check

    found = check(folder, name)
    if json:
        print_json([_found(one) for one in found])
    elif not found:
        console().print(f"no data set recognised in {folder}; counterpoint data lists layouts")
    for one in found if not json else ():
        where = "" if one.root is None else f" in {one.root}"
        console().print(f"{one.entry.title}: {one.state}{where}", soft_wrap=True)
        if one.state != "complete":
            origin = one.entry.origin
            console().print(f"  get {origin.archive} from {origin.url}", soft_wrap=True)
        for part in one.parts:
            console().print(f"  {part.what}: {_count(part)}")
            for path in part.missing[:NAMED]:
                console().print(f"    missing {path}", soft_wrap=True)
            if len(part.missing) > NAMED:
                console().print(f"    and {len(part.missing) - NAMED} more")
        for problem in one.problems:
            console().print(f"  {problem}", soft_wrap=True)
    return 0 if found and all(one.state == "complete" for one in found) else 1


def _count(part: "PartFound") -> str:
    of = "" if part.expected is None else f" of {part.expected}"
    listed = f"; {len(part.missing)} missing or empty" if part.missing else ""
    return f"{part.found}{of}{listed}"


def _about(entry: "DatasetEntry") -> str:
    lines = [
        entry.size,
        f"licence: {entry.licence}",
        f"from: {entry.origin.archive}, {entry.origin.url}",
        f"folder: {entry.layout}",
    ]
    return "\n".join(lines)


def _as_dict(entry: "DatasetEntry") -> dict[str, object]:
    return {
        "name": entry.name,
        "title": entry.title,
        "reader": entry.reader,
        "archive": entry.origin.archive,
        "url": entry.origin.url,
        "folder": entry.origin.folder,
        "size": entry.size,
        "licence": entry.licence,
        "layout": entry.layout,
    }


def _found(one: "Checked") -> dict[str, object]:
    parts = [
        {
            "what": part.what,
            "found": part.found,
            "expected": part.expected,
            "missing": [str(path) for path in part.missing],
        }
        for part in one.parts
    ]
    return {
        "name": one.entry.name,
        "state": one.state,
        "folder": None if one.root is None else str(one.root),
        "parts": parts,
        "problems": list(one.problems),
    }
