"""`counterpoint failures`: the worst pairs of a prediction file, drawn, and what they share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from counterpoint.cli.bench.parameters import Flag
from counterpoint.cli.common import output_folder, print_json, print_tables

if TYPE_CHECKING:
    from counterpoint.benchmarks.keypoints.failures import Failures


def failures(
    predictions: Path,
    /,
    *,
    data: Path,
    out: Path = Path("out/failures"),
    protocol: str | None = None,
    alpha: float | None = None,
    worst: int = 24,
    sort: Literal["error", "scale", "rotation", "viewpoint"] = "error",
    skip_bad: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Draw the worst pairs of a prediction file, with the truth; tables of where it fails.

    Tables are by category, difficulty flag (where the data set has them), change of scale,
    rotation, facing and shape (measured on boxes and key points), and by key point. Runs no model.

    Parameters
    ----------
    predictions
        A file that `counterpoint bench NAME ... --out` wrote.
    data
        The folder of the data set, as for the command that made it.
    out
        Folder for the drawings, a page, all figures as JSON.
    protocol
        By name; by default the first that papers use for the data set.
    alpha
        Threshold; by default the protocol's first.
    worst
        How many pairs to draw.
    sort
        How these are arranged, the largest first.
    skip_bad
        List pairs that the protocol cannot score, instead of stopping at the first.
    json
        Print the figures as JSON.
    """
    from counterpoint.benchmarks.keypoints.failures import find_failures, shown_tables
    from counterpoint.benchmarks.keypoints.predictions import read_predictions
    from counterpoint.benchmarks.keypoints.protocols import find_protocol
    from counterpoint.benchmarks.keypoints.sets import PAIR_SETS, read_same

    made = read_predictions(predictions)
    dataset = read_same(data, made.origin, predictions)
    rule = find_protocol(protocol or PAIR_SETS[str(dataset.request["reader"])].protocols[0])
    folder = output_folder(out)
    found = find_failures(
        dataset, made, rule, alpha=alpha, count=worst, sort=sort, skip_bad=skip_bad
    )
    written = _write(folder, found)
    if json:
        print_json(found.to_dict() | {"files": [str(path) for path in written]})
        return 0
    lines = [f"wrote {path}" for path in written[:3]]
    lines.append(f"and {len(written) - 3} drawings beside it")
    print_tables(found.report.title, shown_tables(found), lines)
    return 0


def _write(folder: Path, found: "Failures") -> list[Path]:
    """The page, the figures, the sheet, and every drawing."""
    from json import dumps

    from counterpoint.benchmarks.keypoints.failures import (
        draw_failure,
        draw_gallery,
        file_name,
        page,
    )
    from counterpoint.files import write_text
    from counterpoint.plots import save_png

    names = [file_name(number, one) for number, one in enumerate(found.worst, 1)]
    canvases = [draw_failure(found, one) for one in found.worst]
    drawn = [save_png(c, folder / name) for c, name in zip(canvases, names, strict=True)]
    sheet = save_png(draw_gallery(canvases[:8]), folder / "worst.png")
    write_text(folder / "failures.md", page(found, names))
    write_text(folder / "failures.json", dumps(found.to_dict(), indent=2, allow_nan=False) + "\n")
    return [folder / "failures.md", folder / "failures.json", sheet, *drawn]
