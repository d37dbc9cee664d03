"""What is said of each claim of the paper, by rule, from the results alone."""

from collections.abc import Callable

from study_results import (
    METHODS,
    TAP,
    WORDS,
    Estimate,
    Results,
    Row,
    cub_figure,
    differ,
    figure,
    main_score,
)


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
        row["method"]: cub_figure(row)
        for row in results.of("cub")["rows"]
        if row["tap"] in (TAP, "", "descriptors")
    }
    parts.append(_against("birds", rows))
    for name in ("spair", "willow", "pascal"):
        rows = {row["method"]: main_score(row)["per_point"] for row in results.of(name)["rows"]}
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
        if cell["t"] != best["t"]
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
    texts, signs, clear = [], [], False
    for t in dict.fromkeys(cell["t"] for cell in cells):
        row = [cell["per_point"] for cell in cells if cell["t"] == t]
        signs.append(row[-1]["value"] - row[0]["value"])
        clear = clear or differ(row[-1], row[0]) != 0
        texts.append(f"t = {t}: {figure(row[0])} to {figure(row[-1])}")
    rises = "holds" if clear else "not decided"
    verdict = rises if min(signs) > 0 else "in part" if max(signs) > 0 else "does not"
    draws = max(cell["ensemble"] for cell in cells)
    inside = "" if clear else ", all within the intervals"
    return f"**{verdict}**: from 1 draw to {draws}, {'; '.join(texts)}{inside}"


def noise_claim(results: Results) -> str:
    texts = []
    for cell in results.cells("no-noise", tap=TAP):
        with_noise = results.cells("sweep", tap=TAP, t=cell["t"])[0]["per_point"]
        texts.append((cell["t"], differ(with_noise, cell["per_point"])))
    above = [str(t) for t, sign in texts if sign > 0]
    below = [str(t) for t, sign in texts if sign < 0]
    words = [
        f"{side} that without at t = {', '.join(steps)}"
        for side, steps in (("above", above), ("below", below))
        if steps
    ]
    verdict = "holds" if above and not below else "in part" if above else "does not"
    found = ", ".join(words) or "neither above nor below that without at any t"
    return f"**{verdict}**: with noise, PCK is {found}, by intervals that do not overlap"


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
