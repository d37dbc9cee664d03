"""The page of the study: tables, charts and verdicts, from the results alone.

Nothing on the page between its markers is typed by hand. Two figures differ here when their 95 per
cent intervals do not overlap; else they are called alike.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.backbones.zoo import ZOO
from counterpoint.benchmarks.report import Cells
from counterpoint.charts import Curve, draw_curves, draw_heat_map
from counterpoint.files import write_text

Estimate = dict[str, Any]
Row = dict[str, Any]

TAP = ZOO["small"].tap
ABSENT = "*not run: the data are not here*"


@dataclass(frozen=True)
class Results:
    """What the steps found, by name."""

    steps: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "Results":
        paths = sorted(folder.glob("*.json"))
        return cls({path.stem: json.loads(path.read_text()) for path in paths})

    def of(self, name: str) -> dict[str, Any]:
        """A step's result; KeyError where it was not run."""
        return self.steps[name]["result"]

    def cells(self, name: str, **fixed: Any) -> list[Row]:
        """A sweep's cells with these settings."""
        found = self.of(name)["cells"]
        return [cell for cell in found if all(cell[key] == v for key, v in fixed.items())]


def figure(estimate: Estimate) -> str:
    interval = estimate["interval"]
    return f"{estimate['value']:.1f} ± {(interval['high'] - interval['low']) / 2:.1f}"


def differ(a: Estimate, b: Estimate) -> int:
    """1: the first is higher, -1: lower, 0: their intervals overlap."""
    if a["interval"]["low"] > b["interval"]["high"]:
        return 1
    return -1 if a["interval"]["high"] < b["interval"]["low"] else 0


WORDS = {1: "above", 0: "like", -1: "below"}


# Tables


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
    rows = [(row["method"], row["tap"], figure(_cub(row))) for row in results.of("cub")["rows"]]
    return markdown(("method", "tap", "PCK@0.1 per point"), rows)


def _cub(row: Row) -> Estimate:
    return {"value": row["pck"]["per_point"], "interval": row["pck"]["interval"]}


def pairs_table(results: Results) -> str:
    parts = []
    for name in ("spair", "willow", "pascal"):
        report = results.of(name)
        score = report["rows"][-1]["scores"][0]
        rows = [
            (row["method"], row["tap"], *(figure(row["scores"][0][k]) for k in AVERAGES))
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
            row["method"]: {part["name"]: part for part in row["scores"][0]["categories"]}
            for row in report["rows"]
        }
        for part in report["rows"][-1]["scores"][0]["categories"]:
            figures = (figure(by_method[m][part["name"]]["per_point"]) for m in METHODS)
            rows.append((name, part["name"], str(part["pairs"]), *figures))
    return markdown(("set", "category", "pairs", *METHODS), rows)


METHODS = ("same position", "sift", "small, untrained", "small")


def keypoint_table(results: Results) -> str:
    parts = results.of("cub-failures")["rows"][-1]["keypoints"]
    ranked = sorted(parts, key=lambda part: -part["per_point"]["value"])
    rows = [(p["name"], str(p["points"]), figure(p["per_point"])) for p in ranked]
    return markdown(("part of the bird", "points", "PCK@0.1"), rows)


def change_table(results: Results) -> str:
    sets = {
        "CUB crops": results.of("cub-failures")["rows"][-1],
        "SPair part": results.of("spair")["rows"][-1],
        "PF-WILLOW": results.of("willow")["rows"][-1],
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


# Verdicts: what is said of each claim, by rule


def claim_2(results: Results) -> str:
    found = []
    for name in ("shift", "flip"):
        rows = [r for r in results.of(name)["rows"] if r["tap"] == TAP and r["t"] >= 400]
        met = [row["truth"] for row in rows if row["way"] == "on the way"]
        real = [row["truth"] for row in rows if row["way"] == "as real"]
        found += list(zip(met, real, strict=True))
    verdict = "holds" if all(differ(met, real) > 0 for met, real in found) else "in part"
    met, real = found[0]
    return (
        f"**{verdict}**: between twins by shifted noise at t = 400, {figure(met)} of the points "
        f"are found by features met on the way, {figure(real)} with noise added anew"
    )


def claim_3(results: Results) -> str:
    parts = []
    rows = {
        row["method"]: _cub(row)
        for row in results.of("cub")["rows"]
        if row["tap"] in (TAP, "", "descriptors")
    }
    parts.append(_against("birds", rows))
    for name in ("spair", "willow", "pascal"):
        rows = {row["method"]: row["scores"][0]["per_point"] for row in results.of(name)["rows"]}
        parts.append(_against(name, rows))
    return "; ".join(parts) + ". The paper's comparison **waits for weights**"


def _against(name: str, rows: dict[str, Estimate]) -> str:
    others = ", ".join(
        f"{WORDS[differ(rows['small'], rows[m])]} {m}" for m in METHODS[:-1] if m in rows
    )
    return f"{name} {figure(rows['small'])}, {others}"


def claim_4(results: Results) -> str:
    cells = results.cells("sweep", tap=TAP)
    best = max(cells, key=lambda cell: cell["per_point"]["value"])
    first, last = cells[0], cells[-1]
    interior = best["t"] not in (first["t"], last["t"])
    falls = differ(best["per_point"], last["per_point"]) > 0
    rises = differ(best["per_point"], first["per_point"]) > 0
    verdict = "holds" if interior and falls and rises else "in part" if falls else "does not"
    ends = (
        f"{WORDS[-1 if lower else 0]} it at t = {cell['t']} ({figure(cell['per_point'])})"
        for cell, lower in ((first, rises), (last, falls))
    )
    found = f"best at t = {best['t']} ({figure(best['per_point'])})"
    return f"**{verdict}**: {found}, {', '.join(ends)}"


def claim_5(results: Results) -> str:
    cells = [c for c in results.of("sweep")["cells"] if ".layer:" in c["tap"]]
    best: dict[str, Row] = {}
    for cell in cells:
        kept = best.get(cell["tap"])
        if kept is None or cell["per_point"]["value"] > kept["per_point"]["value"]:
            best[cell["tap"]] = cell
    layers = list(best)
    top = max(layers, key=lambda tap: best[tap]["per_point"]["value"])
    middle = top not in (layers[0], layers[-1])
    falls = differ(best[top]["per_point"], best[layers[-1]]["per_point"]) > 0
    verdict = "holds" if middle and falls else "in part" if middle or falls else "does not"
    return (
        f"**{verdict}**: of {len(layers)} layers {top} is best ({figure(best[top]['per_point'])}), "
        f"the last, {layers[-1]}, has {figure(best[layers[-1]]['per_point'])}"
    )


def claim_6(results: Results) -> str:
    cells = results.of("sweep")["cells"]
    best = max(cells, key=lambda cell: cell["per_point"]["value"])
    setting = f"{best['tap']} at t = {best['t']}"
    return f"**done**: {len(cells)} settings, best {setting} with {figure(best['per_point'])}"


def claim_8(results: Results) -> str:
    cells = results.cells("ensemble", tap=TAP)
    texts, signs = [], []
    for t in dict.fromkeys(cell["t"] for cell in cells):
        row = [cell["per_point"] for cell in cells if cell["t"] == t]
        signs.append(row[-1]["value"] - row[0]["value"])
        texts.append(f"t = {t}: {figure(row[0])} to {figure(row[-1])}")
    verdict = "holds" if min(signs) > 0 else "in part" if max(signs) > 0 else "does not"
    draws = max(cell["ensemble"] for cell in cells)
    return f"**{verdict}**: from 1 draw to {draws}, {'; '.join(texts)}"


def noise_claim(results: Results) -> str:
    texts = []
    for cell in results.cells("no-noise", tap=TAP):
        with_noise = results.cells("sweep", tap=TAP, t=cell["t"])[0]["per_point"]
        texts.append((cell["t"], differ(with_noise, cell["per_point"])))
    above = [str(t) for t, sign in texts if sign > 0]
    below = [str(t) for t, sign in texts if sign < 0]
    words = [
        f"noise is above none at t = {', '.join(above)}"
        if above
        else "noise is nowhere above none",
        f"below at t = {', '.join(below)}" if below else "nowhere below",
    ]
    verdict = "holds" if above and not below else "in part" if above else "does not"
    return f"**{verdict}**: {', '.join(words)}; elsewhere the intervals overlap"


def claim_12(results: Results) -> str:
    parts = []
    for name in ("hpatches", "oxford"):
        report = results.of(name)
        rows = {row["method"]: row["groups"][0]["matching"][1] for row in report["rows"]}
        parts.append(
            f"{', '.join(report['sequences'])}: small {rows['small']['value']:.1f}, dense SIFT "
            f"{rows['sift']['value']:.1f}, untrained {rows['small, untrained']['value']:.1f}"
        )
    return "MMA@3 " + "; ".join(parts) + ". **Not decided** by two sequences"


def claim_13(results: Results) -> str:
    scores = results.of("davis")["scores"]
    small, copied = scores["small"]["both"], scores["first frame copied"]["both"]
    verdict = "holds" if differ(small, copied) > 0 else "not decided"
    figures = f"J&F {figure(small)}, the first mask copied {figure(copied)}"
    return f"**{verdict}** on three short sequences: {figures}"


def claim_14(results: Results) -> str:
    texts, signs = [], []
    sets = {"birds": results.of("cub-failures")["rows"][-1]}
    sets |= {name: results.of(name)["rows"][-1] for name in ("spair", "willow")}
    for name, row in sets.items():
        parts = {part["name"]: part["per_point"] for part in row["changes"]}
        near, far = (
            parts.get(f"scale change: {which}") for which in ("below 1.25x", "2x and more")
        )
        if near and far:
            signs.append(differ(near, far))
            texts.append(f"{name} {figure(near)} to {figure(far)}")
    verdict = (
        "holds"
        if signs and min(signs) > 0
        else "in part"
        if any(s > 0 for s in signs)
        else "not decided"
    )
    return f"**{verdict}**: from scale changes below 1.25 to 2 and more, {'; '.join(texts)}"


CLAIMS: dict[str, Callable[[Results], str]] = {
    "2": claim_2,
    "noise": noise_claim,
    "3": claim_3,
    "4": claim_4,
    "5": claim_5,
    "6": claim_6,
    "8": claim_8,
    "12": claim_12,
    "13": claim_13,
    "14": claim_14,
}
"""Verdicts by the number of the claim."""


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
    return Cells(tuple(header), tuple(map(tuple, rows))).markdown()


# Charts


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
