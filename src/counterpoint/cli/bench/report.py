"""`counterpoint report`: results found under folders, on one page."""

import sys
from pathlib import Path
from typing import Annotated

from counterpoint.cli.bench.parameters import Several
from counterpoint.cli.common import console
from counterpoint.errors import BadInput


def report(
    folder: Path,
    /,
    *more: Path,
    data: Annotated[list[str] | None, Several] = None,
    out: Path | None = None,
) -> int:
    """Collect predictions, sweeps and --json files into one Markdown page.

    Figures are grouped by data set and protocol, with intervals and numbers of samples, beside
    what papers report.

    Parameters
    ----------
    folder
        Where results lie, at any depth; or one file.
    more
        More of them.
    data
        To score prediction files: the reader's name and its folder, as spair=DIR.
    out
        Write the page here instead of printing it.
    """
    from counterpoint.benchmarks.collected import collect, page
    from counterpoint.files import write_text

    found = collect([folder, *more], dict(map(_named, data or [])))
    text = page(found)
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
        console().print(f"wrote {out}")
    return 0


def _named(text: str) -> tuple[str, Path]:
    from counterpoint.benchmarks.keypoints.sets import PAIR_SETS

    name, sign, folder = text.partition("=")
    if not sign or name not in PAIR_SETS:
        raise BadInput(f"expected --data as NAME=DIR, NAME of {', '.join(PAIR_SETS)}, got {text!r}")
    return name, Path(folder)
