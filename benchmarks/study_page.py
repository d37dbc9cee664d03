"""The page of the study: tables and verdicts, from the results alone.

Nothing on the page between its markers is typed by hand.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from study_claims import CLAIMS
from study_results import METHODS, TAP, Results, Row, cub_figure, figure, main_score

from counterpoint.backbones.zoo import ZOO
from counterpoint.files import write_text

ABSENT = "*not run*"


def sweep_table(results: Results) -> str:
    cells = results.of("sweep")["cells"]
    taps, steps = (list(dict.fromkeys(cell[key] for cell in cells)) for key in ("tap", "t"))
    by_place = {(cell["tap"], cell["t"]): cell["per_point"] for cell in cells}
    rows = [(tap, *(figure(by_place[tap, t]) for t in steps)) for tap in taps]
    return markdown(("tap", *(f"t = {t}" for t in steps)), rows)


def noise_table(results: Results) -> str:
    kinds = {
        "x_t: with noise": "sweep",
        "zero: sqrt(abar) x_0": "mean-only",
        "none: x_0": "no-noise",
    }
    steps = [cell["t"] for cell in results.cells("no-noise", tap=TAP)]
    rows = []
    for words, name in kinds.items():
        by_t = {cell["t"]: figure(cell["per_point"]) for cell in results.cells(name, tap=TAP)}
        rows.append((words, *(by_t[t] for t in steps)))
    return markdown(("shown", *(f"t = {t}" for t in steps)), rows)


def ensemble_table(results: Results) -> str:
    cells = results.cells("ensemble", tap=TAP)
    sizes = list(dict.fromkeys(cell["ensemble"] for cell in cells))
    steps = list(dict.fromkeys(cell["t"] for cell in cells))
    by_place = {(cell["t"], cell["ensemble"]): figure(cell["per_point"]) for cell in cells}
    rows = [(f"t = {t}", *(by_place[t, size] for size in sizes)) for t in steps]
    return markdown(("", *(f"{size} draws" if size > 1 else "1 draw" for size in sizes)), rows)


def cub_table(results: Results) -> str:
    rows = [
        (row["method"], row["tap"], figure(cub_figure(row))) for row in results.of("cub")["rows"]
    ]
    return markdown(("method", "tap", "PCK@0.1 per point"), rows)


def pairs_table(results: Results) -> str:
    parts = []
    for name in ("spair", "willow", "pascal"):
        report = results.of(name)
        score = main_score(report["rows"][-1])
        rows = [
            (row["method"], row["tap"], *(figure(main_score(row)[k]) for k in AVERAGES))
            for row in report["rows"]
        ]
        title = f"{report['dataset']}: {score['pairs']} pairs, {score['points']} points, protocol "
        title += f"{score['protocol']}, PCK@{score['alpha']:g}"
        parts += [
            title,
            markdown(("method", "tap", *(k.replace("_", " ") for k in AVERAGES)), rows),
        ]
    return "\n\n".join(part.strip() for part in parts)


AVERAGES = ("per_image", "per_point", "macro")


def category_table(results: Results) -> str:
    rows: list[tuple[str, ...]] = []
    for name in ("spair", "willow", "pascal"):
        report = results.of(name)
        by_method = {
            row["method"]: {part["name"]: part for part in main_score(row)["categories"]}
            for row in report["rows"]
        }
        for part in main_score(report["rows"][-1])["categories"]:
            figures = (figure(by_method[m][part["name"]]["per_point"]) for m in METHODS)
            rows.append((name, part["name"], str(part["pairs"]), *figures))
    return markdown(("set", "category", "pairs", *METHODS), rows)


def keypoint_table(results: Results) -> str:
    parts = results.of("cub-failures")["rows"][-1]["keypoints"]
    ranked = sorted(parts, key=lambda part: -part["per_point"]["value"])
    rows = [(p["name"], str(p["points"]), figure(p["per_point"])) for p in ranked]
    return markdown(("part of the bird", "points", "PCK@0.1"), rows)


def change_table(results: Results) -> str:
    sets = {
        "CUB crops": results.of("cub-failures")["rows"][-1],
        "SPair part": results.of("spair")["rows"][-1],
        "PF-WILLOW, @0.05": results.of("willow")["rows"][-1],
    }
    columns = {name: {part["name"]: part for part in row["changes"]} for name, row in sets.items()}
    names = list(dict.fromkeys(part for column in columns.values() for part in column))
    order = list(dict.fromkeys(name.partition(":")[0] for name in names))
    rows = [
        (name, *(_part(columns[each].get(name)) for each in sets))
        for label in order
        for name in names
        if name.startswith(label) and not name.endswith("not known")
    ]
    return markdown(("change", *sets), rows)


def _part(part: Row | None) -> str:
    if part is None:
        return ""
    return f"{figure(part['per_point'])} ({part['pairs']} pairs)"


def planes_table(results: Results) -> str:
    parts = []
    for name in ("hpatches", "oxford"):
        report = results.of(name)
        rows = []
        for row in report["rows"]:
            group = row["groups"][0]
            rows.append(
                (
                    row["method"],
                    *(f"{one['value']:.1f}" for one in group["matching"]),
                    *(f"{one['value']:.0f}" for one in group["accuracy"]),
                )
            )
        header = (
            "method",
            *(f"MMA@{px}" for px in (1, 3, 5)),
            *(f"corners@{px}" for px in (1, 3, 5)),
        )
        title = f"{report['dataset']} ({', '.join(report['sequences'])}), {report['pairs']} pairs, "
        parts += [f"{title}protocol {report['protocol']}", markdown(header, rows)]
    return "\n\n".join(part.strip() for part in parts)


def davis_table(results: Results) -> str:
    report = results.of("davis")
    rows = [
        (
            name,
            figure(score["both"]),
            f"{score['region']['mean']:.1f}",
            f"{score['boundary']['mean']:.1f}",
        )
        for name, score in report["scores"].items()
    ]
    table = markdown(("method", "J&F", "J", "F"), rows)
    return f"{report['dataset']}, protocol {report['protocol']}\n\n{table}"


def twins_table(results: Results) -> str:
    rows = []
    for name in ("shift", "flip"):
        report = results.of(name)
        by_place: dict[tuple[str, int], dict[str, Row]] = {}
        for row in report["rows"]:
            by_place.setdefault((row["tap"], row["t"]), {})[row["way"]] = row
        for (tap, t), both in by_place.items():
            if tap in (TAP, "up:2", "mid"):
                met, real = both["on the way"]["truth"], both["as real"]["truth"]
                rows.append((name, tap, str(t), figure(met), figure(real)))
    return markdown(("twin", "tap", "t", "met on the way", "as real"), rows)


def facts(results: Results) -> str:
    first = next(iter(results.steps.values()))
    seconds = sum(step["seconds"] for step in results.steps.values())
    return (
        f"Weights {first['weights_sha256'][:12]}, default tap {TAP}, t = {ZOO['small'].t}; "
        f"all steps together took {seconds / 60:.0f} minutes."
    )


BLOCKS: dict[str, Callable[[Results], str]] = {
    "facts": facts,
    "sweep": sweep_table,
    "noise": noise_table,
    "ensemble": ensemble_table,
    "cub": cub_table,
    "pairs": pairs_table,
    "categories": category_table,
    "keypoints": keypoint_table,
    "changes": change_table,
    "planes": planes_table,
    "davis": davis_table,
    "twins": twins_table,
}


def render(results: Results, page: Path, commands: dict[str, str]) -> None:
    """Fill the page between its markers.

    A marker names a table of `BLOCKS`, "claim N" (within a line), or "command STEP ...".
    """

    def fill(found: re.Match[str]) -> str:
        name = found["name"]
        kind, _, rest = name.partition(" ")
        if kind == "claim":
            return f"<!-- begin {name} -->{_tried(CLAIMS[rest], results)}<!-- end -->"
        if kind == "command":
            body = "\n".join(f"    {commands[one]}" for one in rest.split())
        else:
            body = _tried(BLOCKS[name], results).strip()
        return f"<!-- begin {name} -->\n\n{body}\n\n<!-- end -->"

    marked = r"<!-- begin (?P<name>[^>]+?) -->.*?<!-- end -->"
    write_text(page, re.sub(marked, fill, page.read_text(), flags=re.DOTALL))


def _tried(block: Callable[[Results], str], results: Results) -> str:
    try:
        return block(results)
    except KeyError as error:
        return f"{ABSENT} ({error.args[0]})"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As GitHub shows it; columns of figures to the right."""
    lines = [tuple(row) for row in rows]
    numeric = [all(re.match(r"[0-9]|$", row[i]) for row in lines) for i in range(len(header))]
    bars = tuple("---:" if right else "---" for right in numeric)
    return "\n".join("| " + " | ".join(line) + " |" for line in (tuple(header), bars, *lines))
