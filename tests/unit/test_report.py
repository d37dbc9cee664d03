"""`counterpoint report`: results of several commands on one page, beside papers' figures."""

import json

import pytest

from counterpoint.benchmarks.collected import collect, page
from counterpoint.benchmarks.published import REFERENCES, SPAIR_CATEGORIES, is_part, references
from support.tiny_datasets import write_spair


def test_published_figures():
    [dift] = [r for r in references("SPair-71k large test", "dift") if "per image" in r.measure and
              r.method == "DIFT, SD 2.1" and "@0.1 " in r.measure]  # fmt: skip
    assert (dift.text, dift.samples) == ("52.9", "12234 pairs")
    assert not is_part("SPair-71k large test", dift)
    assert is_part("SPair-71k large test, 65 of 12234 pairs", dift)
    assert not [r for r in references("SPair-71k large test", "geoaware") if "DIFT" in r.method]
    assert len(SPAIR_CATEGORIES) == 18
    assert sum(SPAIR_CATEGORIES.values()) / 18 == pytest.approx(57.7, abs=0.05)  # the macro figure
    assert all(r.text.endswith("(recalled)") == r.recalled for r in REFERENCES)


def test_predictions_benches_and_sweeps_on_one_page(run, tmp_path):
    root, out = write_spair(tmp_path / "SPair-71k"), tmp_path / "out"
    bench = ("bench", "spair", "--data", root, "--model", "rgb", "--no-controls")
    assert run(*bench, "--json", out / "bench.json")[0] == 0
    assert run(*bench, "--out", out / "predictions")[0] == 0
    sweep = ("sweep", "spair", "--data", root, "--model", "rgb", "--out", out / "sweep")
    assert run(*sweep)[0] == 0
    code, text, _ = run("report", out, "--data", f"spair={root}")
    assert code == 0
    assert text.count("## SPair-71k large test, 12 of 12234 pairs, protocol dift") == 1
    assert "Correct: distance <= alpha * longer side of the target's box." in text
    assert "the papers' are on all of SPair-71k large test (12234 pairs)" in text
    assert "| rgb | pixels | 12 pairs, 36 points | 100.0 [100.0, 100.0] |" in text
    assert "rgb, best of 1 settings on these pairs" in text
    assert "| *DIFT, SD 2.1* | *published* | *all 12234 pairs* | *52.9* | *59.5* | *57.7* |" in text
    assert "| *DiTF, FLUX* | *published, protocol not known* |" in text
    assert "| cat | 100.0 [100.0, 100.0] |" in text
    assert "*77.7*" in text
    assert "## Sweeps" in text
    assert "Left out" not in text
    assert text.count("bench.json`") == 2  # under dift and geoaware
    page_path = tmp_path / "report.md"
    assert run("report", out, "--out", page_path)[0] == 0
    assert "not scored: give the data set's folder, --data spair=DIR" in page_path.read_text()


def test_whole_benchmarks_are_not_called_a_part(tmp_path):
    estimate = {"value": 50.0, "interval": {"low": 49.0, "high": 51.0, "level": 0.95}}
    scored = {"protocol": "dift", "rule": "r", "alpha": 0.1, "pairs": 12234, "points": 88328}
    scored |= dict.fromkeys(("per_image", "per_point", "macro"), estimate)
    row = {"method": "sd21", "tap": "up:1", "t": "261"}
    row["scores"] = [scored | {"skipped": [], "categories": []}]
    entries = {"dataset": "SPair-71k large test", "rows": [row]}
    (tmp_path / "a.json").write_text(json.dumps(entries))
    text = page(collect([tmp_path]))
    assert "do not compare" not in text
    assert "| sd21 | up:1, t=261 | 12234 pairs, 88328 points | 50.0 [49.0, 51.0] |" in text


def test_reports_of_other_shapes(tmp_path):
    estimate = {"value": 50.0, "interval": {"low": 40.0, "high": 60.0}}
    groups = [{"group": "overall", "pairs": 5, "accuracy": [estimate] * 3, "auc": [estimate] * 4}]
    row = {"method": "sd21", "tap": "up:2", "t": "0", "estimator": "lmeds", "groups": groups}
    entries = {"dataset": "HPatches, 1 of 108 sequences", "protocol": "hpatches-dift"}
    entries |= {"pairs": 5, "sequences": ["v_a"], "rows": [row]}
    (tmp_path / "a.json").write_text(json.dumps(entries))
    (tmp_path / "b.json").write_text(json.dumps(entries | {"rows": [{"method": "sd21"}]}))
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "d.json").write_text("{}")
    found = collect([tmp_path])
    assert list(found.lines[0].figures)[:2] == [
        "overall accuracy @1 px",
        "overall accuracy @3 px",
    ]
    assert len(found.lines[0].figures) == 7
    assert found.lines[0].samples == "5 pairs, 1 sequences"
    assert [path.name for path, _ in found.left_out] == ["b.json", "c.json"]
    text = page(found)
    assert "*45.6 (recalled)*" in text
    assert "do not compare directly" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "expected a folder or file of results"),
        ((".", "--data", "spair"), "expected --data as NAME=DIR"),
    ],
)
def test_bad_arguments(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, said = run("report", *arguments)
    assert code == 2
    assert message in said
    assert "expected results in ., found none" in run("report", ".")[2]
