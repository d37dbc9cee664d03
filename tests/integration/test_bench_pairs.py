"""`counterpoint bench spair|willow|pascal|ap10k` and `score`: miniatures and real pictures."""

import json

import numpy as np
import pytest

from counterpoint.benchmarks.datasets.pf_pascal import read_pf_pascal
from counterpoint.benchmarks.datasets.pf_willow import read_pf_willow, willow_points
from counterpoint.benchmarks.datasets.spair import read_spair
from counterpoint.benchmarks.keypoints.protocols import find_protocol, score
from counterpoint.benchmarks.keypoints.run import predict_prior
from support.tiny_datasets import edit_json, write_ap10k, write_pascal, write_spair, write_willow


def test_spair_then_score_under_another_protocol(run, tmp_path):
    root, out = write_spair(tmp_path / "SPair-71k"), tmp_path / "out"
    figures, text = tmp_path / "figures.json", tmp_path / "tables.md"
    asked = ("bench", "spair", "--data", root, "--model", "rgb", "--out", out)
    code, shown, _ = run(*asked, "--json", figures, "--markdown", text)
    assert code == 0
    assert "Protocol dift: distance <= alpha * longer side of the target's box; 12 pairs" in shown
    assert "Protocol geoaware: distance < alpha" in shown
    report = json.loads(figures.read_text())
    assert [row["method"] for row in report["rows"]] == ["same position", "sift", "rgb"]
    assert report["rows"][-1]["scores"][0]["macro"]["value"] == pytest.approx(100)
    assert "| dog | 6 | 18 |" in text.read_text()
    kept = out / "spair-71k-large-test-12-of-12234-pairs-rgb.safetensors"
    again = ("score", kept, "--data", root, "--protocol", "willow-source-extent", "--alpha", 0.2)
    code, shown, _ = run(*again)
    assert code == 0
    assert "longer side of the source's key points" in shown
    assert "@0.2 per image" in shown
    code, _, said = run(*asked, "--subpixel", "window")
    assert code == 2
    assert "was made with matching = 'argmax', asked was 'window'" in said


def test_scoring_needs_the_pairs_that_were_predicted(run, tmp_path):
    root, out = write_spair(tmp_path / "SPair-71k"), tmp_path / "out"
    one = ("--categories", "dog", "--limit", 1, "--no-controls")
    assert run("bench", "spair", "--data", root, "--model", "rgb", *one, "--out", out)[0] == 0
    [kept] = out.glob("*.safetensors")
    assert run("score", kept, "--data", root)[0] == 0
    edit_json(root / "PairAnnotation/test/000007-dog_0-dog_1:dog.json", trg_kps=[[1, 1]] * 3)
    code, _, said = run("score", kept, "--data", root)
    assert code == 2
    assert "expected predictions of the pairs at" in said


def test_willow_pascal_ap10k(run, tmp_path):
    roots = {
        "willow": write_willow(tmp_path / "willow"),
        "pascal": write_pascal(tmp_path / "pascal"),
        "ap10k": write_ap10k(tmp_path / "ap10k"),
    }
    rules = {
        "willow": "Protocol willow-source-extent",
        "pascal": "Protocol pf-pascal-geoaware",
        "ap10k": "Protocol geoaware",
    }
    for name, root in roots.items():
        code, shown, said = run("bench", name, "--data", root, "--model", "rgb", "--no-controls")
        assert (code, said) == (0, "")
        assert rules[name] in shown
        assert "100.0" in shown
    code, _, said = run("bench", "pascal", "--data", roots["pascal"], "--protocol", "pf-pascal-box")
    assert code == 2
    assert "expected a target box for protocol pf-pascal-box" in said


def test_bad_pairs_stop_or_are_listed(run, tmp_path):
    root = write_spair(tmp_path / "SPair-71k")
    (root / "JPEGImages/cat/cat_0.jpg").unlink()
    asked = ("bench", "spair", "--data", root, "--model", "rgb", "--no-controls")
    code, _, said = run(*asked)
    assert code == 2
    assert "no such file" in said
    text = tmp_path / "tables.md"
    code, shown, _ = run(*asked, "--skip-bad", "--markdown", text)
    assert code == 0
    assert "8 of 12234 pairs: 24 points, 4 pairs skipped" in shown
    assert "8 pairs, 24 points, 4 skipped" in shown
    assert shown.count("skipped 0000") == 4
    assert "- skipped 000001-cat_0-cat_1:cat: no such file" in text.read_text()


def test_only_pairs_of_some_difficulty(run, tmp_path):
    root, out = write_spair(tmp_path / "SPair-71k"), tmp_path / "out"
    asked = ("bench", "spair", "--data", root, "--model", "rgb", "--no-controls", "--out", out)
    code, shown, _ = run(*asked, "--viewpoint", "easy", "hard", "--scale", "medium")
    assert code == 0
    assert "SPair-71k large test, viewpoint easy|hard, scale medium, 4 of 12234 pairs" in shown
    [file] = out.glob("*.safetensors")
    code, shown, _ = run("score", file, "--data", root)  # the same pairs are found again
    assert code == 0
    assert "4 of 12234 pairs" in shown
    code, _, said = run(*asked, "--viewpoint", "simple")
    assert code == 2
    assert "simple" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--protocol", "difft"), "unknown protocol 'difft': did you mean 'dift'"),
        (("--categories", "cta"), "unknown category of SPair-71k 'cta': did you mean 'cat'"),
        (("--layout", "medium"), "medium"),
        (("--limit", "0"), "expected a limit of at least 1"),
        (("--alpha", "0"), "expected a threshold above 0"),
    ],
)
def test_bad_arguments(run, tmp_path, arguments, message):
    root = write_spair(tmp_path)
    code, _, said = run("bench", "spair", "--data", root, "--model", "rgb", *arguments)
    assert code == 2
    assert message in said
    assert len(said.strip().splitlines()) == 1


def real(shared, name):
    folder = shared / "data" / name
    if not folder.is_dir():
        pytest.skip(f"no {name} here")
    return folder


class TestReal:
    def test_spair(self, shared):
        root = real(shared, "SPair-71k")
        test = read_spair(root)
        assert (len(test.pairs), test.points, len(test.pictures)) == (65, 561, 70)
        assert len(read_spair(root, "val").pairs) == 61
        first = test.pairs[0]
        assert first.keypoint_ids == ("0", "1", "2", "16", "18", "22", "23")
        assert first.difficulty is not None
        assert first.difficulty.words == {
            "viewpoint": "medium",
            "scale": "medium",
            "truncation": "source",
            "occlusion": "none",
        }
        assert test.pairs[-1].difficulty is None
        assert test.pairs[-1].keypoint_ids is None
        prior = score(test, predict_prior(test).points, find_protocol("dift"))[0]
        assert prior.per_point.value == pytest.approx(100 * 24 / 561)

    def test_willow(self, shared):
        willow = read_pf_willow(real(shared, "PF-WILLOW"))
        assert willow.name == "PF-WILLOW test_pairs_pf_regenerated, 900 pairs"
        assert (willow.points, len(willow.pictures), len(willow.categories)) == (9000, 100, 10)
        for pair in willow.pairs[::50]:
            difference = willow_points(pair.source.with_suffix(".mat")) - pair.source_px
            assert np.abs(difference).max() < 1e-6

    def test_pascal(self, shared):
        root = real(shared, "PF-PASCAL")
        folder = root / "PF-dataset-PASCAL"
        part = read_pf_pascal(root, pairs=folder / "test_pairs_subset.csv")
        assert len(part.pairs) == 65
        full = folder / "test_pairs_pf_pascal_full299.csv"
        left = read_pf_pascal(root, pairs=full, skip_bad=True)
        assert (len(left.pairs), len(left.skipped)) == (65, 234)

    def test_the_command(self, shared, run, tmp_path):
        root = real(shared, "SPair-71k")
        figures = tmp_path / "figures.json"
        asked = ("bench", "spair", "--data", root, "--model", "sift", "--limit", 12)
        assert run(*asked, "--json", figures)[0] == 0
        report = json.loads(figures.read_text())
        assert report["dataset"] == "SPair-71k large test, 12 of 12234 pairs"
        assert [row["method"] for row in report["rows"]] == ["same position", "rgb", "sift"]
        assert all(0 <= s["per_image"]["value"] <= 100 for r in report["rows"] for s in r["scores"])
