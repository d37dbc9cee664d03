"""Results of many runs on one page: predictions, sweeps and ``--json`` files found under folders.

A table a data set and protocol. Every figure stands with its 95 % interval, its protocol and its
number of samples; below the measured rows stand the papers' figures for the same measure, and where
the measured ones are of a part of the benchmark, the page says so.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counterpoint.benchmarks.keypoints.predictions import (
    SUFFIX,
    read_prediction_header,
    read_predictions,
)
from counterpoint.benchmarks.keypoints.protocols import find_protocol
from counterpoint.benchmarks.keypoints.report import AVERAGES, pair_report
from counterpoint.benchmarks.keypoints.sets import PAIR_SETS, read_same
from counterpoint.benchmarks.planes.hpatches import AUC_PX, WITHIN_PX
from counterpoint.benchmarks.published import SPAIR_CATEGORIES, is_part, references
from counterpoint.benchmarks.sweep.result import FORMAT as SWEEP
from counterpoint.benchmarks.sweep.result import MARK
from counterpoint.benchmarks.sweep.rows import Row
from counterpoint.benchmarks.tables import Cells
from counterpoint.errors import BadInput, StorageError
from counterpoint.features import read_header


@dataclass(frozen=True)
class Line:
    """One method's figures in one run.

    Attributes:
        dataset: and how much of it.
        protocol: by name.
        rule: what it says, in words; "" where the file does not.
        samples: "65 pairs, 561 points".
        method: whose.
        setting: tap, time step, ensemble.
        figures: texts by measure.
        source: the file.
        categories: per point at the first threshold, by category.
    """

    dataset: str
    protocol: str
    rule: str
    samples: str
    method: str
    setting: str
    figures: Mapping[str, str]
    source: Path
    categories: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """The table of a sweep.

    Attributes:
        title: what it is of.
        cells: taps down, time steps across.
        source: the file.
    """

    title: str
    cells: Cells
    source: Path


@dataclass(frozen=True)
class Collected:
    """Everything that was found.

    Attributes:
        lines: of all runs.
        grids: of sweeps.
        left_out: files that are in no table, and why.
    """

    lines: tuple[Line, ...]
    grids: tuple[Grid, ...]
    left_out: tuple[tuple[Path, str], ...]


def collect(folders: Sequence[Path | str], data: Mapping[str, Path] | None = None) -> Collected:
    """Read every result under folders, in the order of their names.

    Args:
        folders: or single files.
        data: folders of data sets by the name of their reader ("spair"), to score predictions.

    Raises:
        BadInput: no such folder, or nothing to read in any.
    """
    lines: list[Line] = []
    grids: list[Grid] = []
    left_out: list[tuple[Path, str]] = []
    for path in _files(folders):
        try:
            if path.suffix == SUFFIX:
                lines += [] if _holds_features(path) else _predictions(path, data or {})
                continue
            entries = json.loads(path.read_bytes())
            if not isinstance(entries, dict) or not ({"rows", "cells"} & entries.keys()):
                continue  # counts and settings that lie beside results
            if "worst" in entries:
                continue  # `counterpoint failures`: figures that stand in another file too
            if entries.get("format") == SWEEP:
                grids.append(_grid(path, entries))
                lines.append(_best(path, entries))
            else:
                lines += _rows(path, entries)
        except (BadInput, StorageError) as error:
            left_out.append((path, str(error)))
        except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            left_out.append((path, f"expected a result's JSON ({reason})"))
    if not lines and not left_out:
        raise BadInput(f"expected results in {', '.join(map(str, folders))}, found none")
    return Collected(tuple(lines), tuple(grids), tuple(left_out))


def _files(folders: Sequence[Path | str]) -> Iterator[Path]:
    for folder in map(Path, folders):
        if folder.is_file():
            yield folder
        elif folder.is_dir():
            for path in sorted(folder.rglob("*")):
                inner = path.relative_to(folder).parts
                hidden = any(part.startswith(".") or part.endswith(".parts") for part in inner)
                if path.suffix in (SUFFIX, ".json") and not hidden:
                    yield path
        else:
            raise BadInput(f"expected a folder or file of results, got {folder}")


def _holds_features(path: Path) -> bool:
    """Whether a file holds a feature map, which may lie beside results."""
    try:
        read_header(path)
    except StorageError:
        return False
    return True


def _predictions(path: Path, data: Mapping[str, Path]) -> list[Line]:
    reader = str(read_prediction_header(path).origin.request.get("reader", ""))
    if reader not in data:
        raise BadInput(f"not scored: give the data set's folder, --data {reader}=DIR")
    made = read_predictions(path)
    dataset = read_same(data[reader], made.origin, path)
    protocols = [find_protocol(name) for name in PAIR_SETS[reader].protocols]
    report = pair_report(dataset, [made], protocols, skip_bad=True)
    return list(_pair_lines(path, report.to_dict()))


def _rows(path: Path, entries: dict[str, Any]) -> list[Line]:
    first = entries["rows"][0]
    if "scores" in first:
        return list(_pair_lines(path, entries))
    if "pck" in first:
        return list(_crop_lines(path, entries))
    if "way" in first:
        return list(_generated_lines(path, entries))
    return list(_other_lines(path, entries))


def _pair_lines(path: Path, entries: dict[str, Any]) -> Iterator[Line]:
    """Of `PairReport`: a line a method and protocol."""
    for row in entries["rows"]:
        by_protocol: dict[str, list[dict[str, Any]]] = {}
        for one in row["scores"]:
            by_protocol.setdefault(one["protocol"], []).append(one)
        for protocol, scores in by_protocol.items():
            first = scores[0]
            figures = {
                f"PCK@{one['alpha']:g} {average}": _figure(one[average.replace(" ", "_")])
                for one in scores
                for average in AVERAGES
            }
            skipped = f", {len(first['skipped'])} skipped" if first["skipped"] else ""
            yield Line(
                dataset=entries["dataset"],
                protocol=protocol,
                rule=first["rule"],
                samples=f"{first['pairs']} pairs, {first['points']} points{skipped}",
                method=row["method"],
                setting=_setting(row),
                figures=figures,
                source=path,
                categories={c["name"]: _figure(c["per_point"]) for c in first["categories"]},
            )


def _crop_lines(path: Path, entries: dict[str, Any]) -> Iterator[Line]:
    """Of `CubReport`."""
    for row in entries["rows"]:
        pck = row["pck"]
        value = {"value": pck["per_point"], "interval": pck["interval"]}
        yield Line(
            dataset=f"CUB-200-2011 bird crops, {len(entries['classes'])} classes, "
            f"{entries['pairs']} pairs drawn with seed {entries['seed']}",
            protocol=entries["protocol"],
            rule=f"distance <= alpha * side of the {entries['crop_px']} px crop",
            samples=f"{pck['pairs']} pairs, {pck['points']} points",
            method=row["method"],
            setting=_setting(row),
            figures={f"PCK@{pck['alpha']:g} per point": _figure(value)},
            source=path,
        )


def _generated_lines(path: Path, entries: dict[str, Any]) -> Iterator[Line]:
    """Of `GenerationReport`."""
    w, h = entries["size_wh"]
    twins = "" if entries["twin"] == "none" else f", twins by {entries['twin']}"
    what = f"pictures of {w} x {h} px by {entries['model']}{twins}, seed {entries['seed']}"
    labels = {"cycle": "there and back", "truth": "on the truth", "shared": "as the other way"}
    for row in entries["rows"]:
        yield Line(
            dataset=what,
            protocol="generated",
            rule=f"distance <= {entries['alpha']:g} of the longer side; {entries['sampler']}",
            samples=f"{row['pairs']} pairs, {row['points']} points",
            method=f"{entries['model']}, {row['way']}",
            setting=_setting(row),
            figures={words: _figure(row[key]) for key, words in labels.items() if row[key]},
            source=path,
        )


def _other_lines(path: Path, entries: dict[str, Any]) -> Iterator[Line]:
    """Of any report with a protocol and rows in which estimates lie at some depth."""
    counts = [f"{entries['pairs']} pairs"] if isinstance(entries.get("pairs"), int) else []
    counts += [
        f"{len(entries[what])} {what}"
        for what in ("sequences", "clips", "videos")
        if isinstance(entries.get(what), list)
    ]
    for row in entries["rows"]:
        figures = dict(_estimates(row))
        if not figures:
            raise BadInput("expected estimates with intervals in its rows, found none")
        yield Line(
            dataset=entries["dataset"],
            protocol=entries["protocol"],
            rule="",
            samples=", ".join(counts),
            method=row["method"],
            setting=_setting(row),
            figures=figures,
            source=path,
        )


def _estimates(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every estimate in nested entries, named by what leads to it."""
    if isinstance(value, dict):
        if "value" in value and isinstance(value.get("interval"), dict):
            yield name, _figure(value)
            return
        own = next((str(value[key]) for key in ("name", "group") if key in value), "")
        for key, entry in value.items():
            yield from _estimates(entry, " ".join(filter(None, (name, own, _LABELS.get(key, key)))))
    elif isinstance(value, list):
        last = name.rpartition(" ")[2]
        of_each = [f" @{px:g} px" for px in _THRESHOLDS_PX.get(last, ())]
        numbered = (
            of_each if len(of_each) == len(value) else [f" {i + 1}" for i in range(len(value))]
        )
        for suffix, entry in zip(numbered, value, strict=True):
            named = isinstance(entry, dict) and ("name" in entry or "group" in entry)
            yield from _estimates(entry, name if named else name + suffix)


_LABELS = {"groups": "", "scores": "", "matching": "matches"}
_THRESHOLDS_PX = {"accuracy": WITHIN_PX, "matches": WITHIN_PX, "auc": AUC_PX}


def _setting(row: dict[str, Any]) -> str:
    t = row.get("t")
    parts = [row.get("tap") or "", "" if t in (None, "") else f"t={t}"]
    parts += [str(row[key]) for key in ("estimator",) if row.get(key)]
    return ", ".join(filter(None, parts))


def _best(path: Path, entries: dict[str, Any]) -> Line:
    """The best cell of a `Sweep`."""
    kept = [cell for cell in entries["cells"] if not cell["dropped"]]
    best = max(kept, key=lambda cell: cell["per_point"]["value"])
    row = Row(best["t"], best["ensemble"], best["prompt"])
    return Line(
        dataset=entries["dataset"],
        protocol=entries["protocol"],
        rule=entries["rule"],
        samples=f"{best['pairs']} pairs, {best['points']} points",
        method=f"{entries['model']}, best of {len(entries['cells'])} settings on these pairs",
        setting=f"{best['tap']}, {row.words}",
        figures={
            f"PCK@{entries['alpha']:g} {average}": _figure(best[average.replace(" ", "_")])
            for average in AVERAGES
        },
        source=path,
    )


def _grid(path: Path, entries: dict[str, Any]) -> Grid:
    steps = list(dict.fromkeys(cell["t"] for cell in entries["cells"]))
    lines: dict[tuple[str, str, str], dict[int | None, str]] = {}
    for cell in entries["cells"]:
        key = (cell["tap"], str(cell["ensemble"]), cell["prompt"])
        text = _figure(cell["per_point"]) + (f" {MARK}" if cell["dropped"] else "")
        lines.setdefault(key, {})[cell["t"]] = text
    header = ("no noise" if t is None else f"t={t}" for t in steps)
    rows = tuple((*key, *(line.get(t, "") for t in steps)) for key, line in lines.items())
    title = (
        f"{entries['model']} on {entries['dataset']}: PCK@{entries['alpha']:g} per point, protocol "
        f"{entries['protocol']}, {entries['pairs']} pairs, {entries['points']} points"
    )
    if any(cell["dropped"] for cell in entries["cells"]):
        title += f"; {MARK}: given up, the figure is of {entries['drop_after']} pairs"
    return Grid(title, Cells(("tap", "ensemble", "prompt", *header), rows), path)


def _figure(estimate: dict[str, Any]) -> str:
    interval = estimate["interval"]
    return f"{estimate['value']:.1f} [{interval['low']:.1f}, {interval['high']:.1f}]"


def page(found: Collected) -> str:
    """Everything as one Markdown page."""
    parts = [
        "# Results",
        "In per cent, with 95 % intervals by bootstrap over samples. Rows in italics are papers' "
        "figures; (recalled): from memory, to be checked before it is quoted.",
    ]
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in found.lines:
        groups.setdefault((line.dataset, line.protocol), []).append(line)
    for (dataset, protocol), lines in groups.items():
        parts += _section(dataset, protocol, lines)
    if found.grids:
        parts.append("## Sweeps")
    for grid in found.grids:
        parts += [grid.title, grid.cells.markdown().strip(), f"From `{grid.source}`."]
    if found.left_out:
        parts.append("## Left out")
        parts.append("\n".join(f"- `{path}`: {reason}" for path, reason in found.left_out))
    return "\n\n".join(parts) + "\n"


def _section(dataset: str, protocol: str, lines: Sequence[Line]) -> Iterator[str]:
    yield f"## {dataset}, protocol {protocol}"
    if rule := lines[0].rule:
        yield f"Correct: {rule}."
    known = references(dataset, protocol)
    measures = list(dict.fromkeys(measure for line in lines for measure in line.figures))
    known = tuple(one for one in known if one.measure in measures)
    if known and is_part(dataset, known[0]):
        yield (
            f"**These are figures on {dataset}; the papers' are on all of {known[0].dataset} "
            f"({known[0].samples}). They do not compare directly.**"
        )
    rows = [
        (line.method, line.setting, line.samples, *(line.figures.get(m, "") for m in measures))
        for line in lines
    ]
    for method, own in dict.fromkeys((one.method, one.protocol) for one in known):
        theirs = [one for one in known if (one.method, one.protocol) == (method, own)]
        texts = {one.measure: f"*{one.text}*" for one in theirs}
        note = "published" if own else "published, protocol not known"
        figures = (texts.get(m, "") for m in measures)
        rows.append((f"*{method}*", f"*{note}*", f"*all {theirs[0].samples}*", *figures))
    yield Cells(("method", "setting", "samples", *measures), tuple(rows)).markdown().strip()
    yield from _categories(dataset, protocol, lines)
    sources = dict.fromkeys(str(line.source) for line in lines)
    yield f"From {', '.join(f'`{source}`' for source in sources)}."


def _categories(dataset: str, protocol: str, lines: Sequence[Line]) -> Iterator[str]:
    """By category, where there are several."""
    lines = [line for line in lines if line.categories]
    names = list(dict.fromkeys(name for line in lines for name in line.categories))
    if len(names) < 2:
        return
    measure = next(m for m in lines[0].figures if m.endswith("per point"))
    paper = SPAIR_CATEGORIES if (protocol, measure) == ("dift", "PCK@0.1 per point") else {}
    paper = paper if dataset.startswith("SPair-71k large test") else {}
    header = ("category", *(line.method for line in lines))
    header += ("*DIFT, SD 2.1, published, all 12234 pairs*",) if paper else ()
    rows: list[tuple[str, ...]] = []
    for name in names:
        figures = tuple(line.categories.get(name, "") for line in lines)
        rows.append((name, *figures, *([f"*{paper.get(name, '')}*"] if paper else [])))
    yield f"By category, {measure}:"
    yield Cells(header, tuple(rows)).markdown().strip()
