"""`counterpoint failures` and `generate`, from the command line."""

import json

import numpy as np
import pytest

from counterpoint.features import FeatureMap
from counterpoint.images import load_picture
from support.tiny_cub import write_cub
from support.tiny_datasets import write_ap10k, write_pascal, write_spair, write_willow

WRITERS = {
    "spair": write_spair,
    "willow": write_willow,
    "pascal": write_pascal,
    "ap10k": write_ap10k,
    "cub": write_cub,
}


@pytest.mark.parametrize("name", list(WRITERS))
def test_failures_of_every_data_set(run, tmp_path, name):
    root, kept, out = WRITERS[name](tmp_path / name), tmp_path / "kept", tmp_path / "out"
    more = ("--pairs", 4) if name == "cub" else ("--no-controls",)
    asked = ("bench", name, "--data", root, "--model", "sift", "--out", kept)
    code, _, said = run(*asked, *more)
    assert (code, said) == (0, "")
    [file] = kept.glob("*.safetensors")
    code, shown, said = run("failures", file, "--data", root, "--out", out, "--worst", 3)
    assert (code, said) == (0, "")
    assert "By change: protocol" in shown
    drawn = sorted(path.name for path in out.glob("0*.png"))
    expected = {"pascal": 2, "ap10k": 1}.get(name, 3)
    assert len(drawn) == expected
    assert all(load_picture(out / each).size_wh[0] > 100 for each in (*drawn, "worst.png"))
    text = (out / "failures.md").read_text()
    assert all(f"]({each})" in text for each in drawn)
    assert ("By key point" in text) == (name != "pascal")
    entries = json.loads((out / "failures.json").read_text())
    assert len(entries["worst"]) == expected
    shares = [one["found"] / one["points"] for one in entries["worst"]]
    assert shares == sorted(shares)
    code, again, _ = run("score", file, "--data", root)
    assert code == 0
    assert "By change" in again


def test_failures_say_what_is_wrong(run, tmp_path):
    root, kept = write_spair(tmp_path / "a"), tmp_path / "kept"
    run("bench", "spair", "--data", root, "--model", "rgb", "--out", kept, "--no-controls")
    [file] = kept.glob("*.safetensors")
    other = write_spair(tmp_path / "b", categories=("cat",))
    code, _, said = run("failures", file, "--data", other, "--out", tmp_path / "out")
    assert code == 2
    assert not (tmp_path / "out").exists()
    code, _, said = run("failures", tmp_path / "none.safetensors", "--data", root)
    assert (code, "no such file of predictions" in said) == (2, True)
    code, _, said = run("failures", file, "--data", root, "--protocol", "dif", "--out", "x")
    assert (code, "did you mean 'dift'" in said) == (2, True)
    (root / "JPEGImages/cat/cat_0.jpg").write_bytes(b"")
    code, _, said = run("failures", file, "--data", root, "--out", tmp_path / "out")
    assert (code, "empty file" in said) == (2, True)


SMALL = ("--steps", 2, "--points", 16, "--seed", 4)


def test_generate_writes_pictures_features_drawings_and_figures(run, tmp_path):
    code, shown, said = run(
        "generate", *SMALL, "--size", 32, "--t", 50, 400, "--tap", "up:0", "up:2", "--out", tmp_path
    )
    assert (code, said) == (0, "")
    assert "no ground truth" in shown
    assert "met: back" in shown
    names = {path.name for path in tmp_path.iterdir()}
    assert {"1.png", "2.png", "pictures.png", "matches-up-0.png", "generation.md"} <= names
    kept = sorted((tmp_path / "features").iterdir())
    assert len(kept) == 2 * 2 * 2
    fmap = FeatureMap.load(kept[0])
    assert fmap.provenance.noise.startswith("sampler ddim, 2 steps")
    assert fmap.image_size_wh == (32, 32)
    rows = json.loads((tmp_path / "generation.json").read_text())["rows"]
    assert [(row["t"], row["tap"], row["way"]) for row in rows][:2] == [
        (50, "up:0", "on the way"),
        (50, "up:0", "as real"),
    ]
    assert len(rows) == 8
    assert all(row["truth"] is None for row in rows)
    code, page, _ = run("report", tmp_path)
    assert code == 0
    assert "## pictures of 32 x 32 px by small, seed 4, protocol generated" in page
    assert page.count("| small, on the way | up:0, t=") == 2
    assert "Left out" not in page


def test_generate_is_the_same_by_seed_and_json_stands_alone(run, tmp_path):
    asked = (
        "generate",
        *SMALL,
        "--size",
        32,
        "--count",
        1,
        "--twin",
        "shift",
        "--t",
        400,
        "--json",
    )
    first, second = (run(*asked, "--out", tmp_path / name) for name in "ab")
    assert first[0] == 0
    figures = json.loads(first[1])
    assert figures["rows"] == json.loads(second[1])["rows"]
    pixels = [load_picture(tmp_path / name / "1-shift.png").rgb for name in "ab"]
    assert np.array_equal(*pixels)
    assert -1 <= figures["likeness"] <= 1
    assert all(row["truth"]["value"] >= 0 for row in figures["rows"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--model", "rgb"), "removes no noise"),
        (("--count", 1), "two pictures"),
        (("--t", 1000), "t from 0 to 999"),
        (("--tap", "up:9"), "unknown tap"),
        (("--prompt", "a cat"), "takes no prompt"),
        (("--guidance", 2), "takes no prompt"),
        (("--size", 40), "divisible by 16"),
        (("--alpha", 0), "alpha above 0"),
    ],
)
def test_generate_says_what_is_wrong_and_writes_nothing(run, tmp_path, given, said):
    out = tmp_path / "out"
    code, _, came = run("generate", *SMALL, *given, "--out", out)
    assert code == 2
    assert said in came
    assert not out.exists()
