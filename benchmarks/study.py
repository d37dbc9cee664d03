"""The study: every claim of the paper that the embedded model can be asked about, in one run.

    OMP_NUM_THREADS=1 python benchmarks/study.py --data DIR [--out out/study] [--quick]

DIR holds the data sets under their own names (CUB_200_2011, SPair-71k, ...); what is not there is
left out, and the page says so. Every step is a command of counterpoint; a step that was done with
the same command and weights is not done again, so a run that was stopped goes on. In the end the
figures are written as small JSON files (docs/study-data), charts (docs/figures/study-*.png) and
into docs/study.md, between its markers. ``--quick`` takes a little of everything and writes the
page and its figures below OUT instead; ``--page-only`` runs nothing.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study_charts import draw_charts
from study_page import render
from study_results import TAP, Results

ROOT = Path(__file__).resolve().parent.parent
CODE = "from counterpoint.cli.app import main; main()"

STEPS_T = ["0", "20", "50", "100", "150", "200", "300", "400", "600", "800"]


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: of the step and of its JSON file.
        words: after ``counterpoint``; "{data}" stands for the data set's folder, "{out}" for the
            step's own, "{before}" for that of the step it builds on.
        result: the JSON file with its figures, below the step's folder.
        folder: of the data set, below the data; "" for none.
        quick: what replaces or follows the words in a quick run.
        before: the step whose predictions it needs.
    """

    name: str
    words: tuple[str, ...]
    result: str
    folder: str = ""
    quick: tuple[str, ...] = ()
    before: str = ""

    def shown(self) -> str:
        """As a person would type it."""
        words = " ".join(self.words).replace("{data}", self.folder.rpartition("/")[2])
        return "counterpoint " + words.replace("{out}", self.name).replace("{before}", self.before)


def step(
    name: str, line: str, result: str, folder: str = "", quick: str = "", before: str = ""
) -> Step:
    return Step(name, tuple(line.split()), result, folder, tuple(quick.split()), before)


PASCAL_LIST = "PF-dataset-PASCAL/test_pairs_subset.csv"
CUB = "CUB_200_2011"
SWEEP = f"sweep cub --data {{data}} --out {{out}} --size 128 --t {' '.join(STEPS_T)}"
ENSEMBLE = "sweep cub --data {data} --out {out} --size 128 --t 50 400"
BENCH = "--json {out}/result.json --out {out}"
FAIL = "failures {before}/*.safetensors --data {data} --out {out} --worst 8"
FEW = "--limit 40 --t 20 150 400"
TWINS = "generate --count 8 --t 50 150 400 700 --tap all --out {out}"
PASCAL = f"bench pascal --data {{data}} --pairs {{data}}/{PASCAL_LIST} {BENCH}"
HPATCHES = "HPatches/hpatches-sequences-release"
SPAIR_FAIL = FAIL.replace("/*", "/*-small")
PLANES = (
    "bench hpatches --data {data} --protocol hpatches-exact --estimator ransac "
    "--json {out}/result.json"
)

STEPS = (
    step("sweep", f"{SWEEP} --tap all", "sweep.json", CUB, FEW),
    step("no-noise", f"{SWEEP} --tap {TAP} --noise none", "sweep.json", CUB, FEW),
    step("mean-only", f"{SWEEP} --tap {TAP} --noise zero", "sweep.json", CUB, FEW),
    step(
        "ensemble",
        f"{ENSEMBLE} --tap {TAP} --ensemble 1 2 4 8",
        "sweep.json",
        CUB,
        "--limit 40 --ensemble 1 2",
    ),
    step("cub", f"bench cub --data {{data}} --size 128 {BENCH}", "result.json", CUB, "--pairs 40"),
    step("cub-failures", FAIL, "failures.json", CUB, before="cub"),
    step("spair", f"bench spair --data {{data}} {BENCH}", "result.json", "SPair-71k", "--limit 8"),
    step("spair-failures", SPAIR_FAIL, "failures.json", "SPair-71k", before="spair"),
    step(
        "willow", f"bench willow --data {{data}} {BENCH}", "result.json", "PF-WILLOW", "--limit 20"
    ),
    step("pascal", PASCAL, "result.json", "PF-PASCAL", "--limit 8"),
    step("hpatches", PLANES, "result.json", HPATCHES, "--count 100"),
    step("oxford", PLANES, "result.json", "HPatches/extra", "--count 100"),
    step(
        "davis",
        "bench davis --data {data} --tap up:1 --t 20 --limit-frames 25 --json {out}/result.json",
        "result.json",
        "DAVIS",
        "--limit-frames 4",
    ),
    step("shift", f"{TWINS} --twin shift", "generation.json", quick="--count 2 --steps 10"),
    step("flip", f"{TWINS} --twin flip", "generation.json", quick="--count 2 --steps 10"),
    step("drawn", f"{TWINS.replace('8', '4', 1)}", "generation.json", quick="--count 2 --steps 10"),
)


def run(one: Step, data: Path, out: Path, weights: str, *, quick: bool) -> dict[str, Any] | None:
    """Do a step, unless it is done; its result with what made it. None: there is none."""
    if one.folder and not (data / one.folder).exists():
        print(f"{one.name}: left out, no {one.folder} in the data")
        return None
    folder = out / one.name
    places = {
        "{data}": str(data / one.folder),
        "{out}": str(folder),
        "{before}": str(out / one.before),
    }
    words = [_placed(word, places) for word in (one.words if not quick else _quick(one))]
    note = folder / "done.json"
    if note.is_file() and json.loads(note.read_text())["words"] == words:
        return json.loads(note.read_text())["kept"]
    start = time.perf_counter()
    print(f"{one.name}: {one.shown()}", flush=True)
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        print(f"{one.name} failed with {done.returncode}: {' '.join(words)}")
        return None
    seconds = time.perf_counter() - start
    found = json.loads((folder / one.result).read_text())
    result = condensed(found, keypoints=one.result.startswith("failures"))
    kept = {"command": one.shown(), "weights_sha256": weights, "seconds": round(seconds, 1)}
    kept |= {"result": result}
    note.write_text(json.dumps({"words": words, "kept": kept}))
    return kept


def _placed(word: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        word = word.replace(name, place)
    if "*" in word:
        path = Path(word)
        return str(next(iter(sorted(path.parent.glob(path.name))), path))
    return word


def _quick(one: Step) -> tuple[str, ...]:
    """The words with some options' values replaced, others added."""
    words, more = list(one.words), list(one.quick)
    while more:
        name = more.pop(0)
        values = []
        while more and not more[0].startswith("--"):
            values.append(more.pop(0))
        if name in words:
            start = words.index(name)
            end = start + 1
            while end < len(words) and not words[end].startswith("--"):
                end += 1
            del words[start:end]
        words += [name, *values]
    return tuple(words)


_BULKY = (
    *("results", "by_sequence", "skipped", "settings", "made_by", "notes", "published", "worst"),
    *("level", "rule", "flags", "auc"),
)


def condensed(value: Any, name: str = "", *, keypoints: bool = False) -> Any:
    """A result without single pairs and with short numbers: small enough to keep."""
    if isinstance(value, dict):
        return {
            key: condensed(v, key, keypoints=keypoints)
            for key, v in value.items()
            if key not in _BULKY and (keypoints or key != "keypoints")
        }
    if isinstance(value, list):
        return [condensed(entry, keypoints=keypoints) for entry in value]
    if isinstance(value, float):
        return (
            float(f"{value:.4g}")
            if name in ("alpha", "likeness", "similarity")
            else round(value, 1)
        )
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out/study"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--page-only", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[one.name for one in STEPS])
    args = parser.parse_args()
    weights = weights_sha256()
    out = args.out.resolve() / f"{weights[:12]}{'-quick' if args.quick else ''}"
    docs = out / "docs" if args.quick else ROOT / "docs"
    (docs / "study-data").mkdir(parents=True, exist_ok=True)
    if args.quick:
        shutil.copy(ROOT / "docs" / "study.md", docs)
    for one in () if args.page_only else STEPS:
        if args.only and one.name not in args.only:
            continue
        kept = run(one, args.data.resolve(), out, weights, quick=args.quick)
        path = docs / "study-data" / f"{one.name}.json"
        if kept is None:
            path.unlink(missing_ok=True)
            continue
        path.write_text(json.dumps(kept, separators=(",", ":")) + "\n")
        copy_picture(one, out, docs)
    results = Results.read(docs / "study-data", weights)
    draw_charts(results, docs / "figures")
    render(results, docs / "study.md", {one.name: one.shown() for one in STEPS})
    print(f"wrote {docs / 'study.md'}")
    missing = [one.name for one in STEPS if one.name not in results.steps]
    if missing:
        raise SystemExit(f"not on the page: {', '.join(missing)}")


def copy_picture(one: Step, out: Path, docs: Path) -> None:
    """The model's own pictures with their matches may be shown; nothing else is."""
    if one.name not in ("flip", "drawn"):
        return
    from PIL import Image

    name = f"matches-{TAP.replace(':', '-')}.png"
    (docs / "figures").mkdir(parents=True, exist_ok=True)
    picture = Image.open(out / one.name / name).convert("RGB")
    picture.thumbnail((900, 2000))
    picture.save(docs / "figures" / f"study-{one.name}.jpg", quality=78)


def weights_sha256() -> str:
    from counterpoint.backbones import load

    return load("small", device="cpu").weights_sha256


if __name__ == "__main__":
    main()
