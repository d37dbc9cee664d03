"""`counterpoint ladder`, `calibrate`, and what `match` does with their results, end to end."""

import json

import numpy as np
import pytest
from PIL import Image

from counterpoint.benchmarks.accuracy import ladder
from counterpoint.cli.app import main
from counterpoint.matching import Calibration
from support.painted_birds import write_birds
from support.tiny_datasets import write_spair, write_willow

POINTS = ("--at", "170,110", "--at", "250,100")


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    return write_birds(tmp_path_factory.mktemp("birds") / "CUB", count=16)


@pytest.fixture
def pictures(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "cat.png")
    Image.fromarray(photo[:250, 30:400]).save(tmp_path / "crop.png")
    Image.fromarray(photo[:, ::-1].copy()).save(tmp_path / "mirrored.png")
    return tmp_path


@pytest.fixture(scope="module")
def calibration(birds, tmp_path_factory):
    """Fitted on painted birds, whose colours find themselves: only absent points are wrong."""
    place = tmp_path_factory.mktemp("calibration")
    words = ["calibrate", "cub", "--data", birds, "--limit", 40, "--model", "rgb"]
    words += ["--out", place / "rgb.json", "--charts", place / "charts"]
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 0
    return place / "rgb.json"


def test_a_calibration_is_fitted_judged_and_noted(calibration):
    charts = calibration.parent / "charts"
    fitted = Calibration.load(calibration)
    note = fitted.note
    assert note.features.model == "rgb"
    assert "even birds" in note.dataset
    assert 0 < note.absent <= note.points - note.correct
    assert sorted(p.name for p in charts.iterdir()) == [
        "confidence.json", "confidence.md", "reliability.png", "risk-coverage.png",
    ]  # fmt: skip
    judged = json.loads((charts / "confidence.json").read_text())
    assert "odd birds" in judged["dataset"]
    rows = {row["name"]: row for row in judged["rows"]}
    assert rows["calibrated"]["auroc_absent"]["value"] > 90  # no other square has its colour
    assert rows["calibrated"]["ece"]["value"] < rows["as matched"]["ece"]["value"]
    assert rows["margin alone"]["ranks_only"]


def test_calibrate_prints_json_alone(run, birds, tmp_path):
    code, text, _ = run(
        "calibrate", "cub", "--data", birds, "--half", "odd", "--limit", "40", "--model", "rgb",
        "--out", tmp_path / "c.json", "--json", "--columns", "margin", "--isotonic",
    )  # fmt: skip
    assert code == 0
    found = json.loads(text)
    assert found["calibration"]["columns"] == ["margin"]
    assert found["calibration"]["steps"]
    assert "even birds" in found["judged"]["dataset"]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cub", ["--judge", "test"], "expected no --judge for cub"),
        ("cub", ["--split", "val"], "expected no --split"),
        ("cub", ["--members", "2"], "a model that sees noise for members, rgb sees none"),
        ("cub", ["--columns", "disagreement"], "got some without disagreement"),
        ("cub", ["--limit", "1"], "at least 10 right and 10 wrong matches"),
        ("willow", [], "willow has none"),
        ("spair", ["--split", "test"], "another split to judge on than test"),
        ("spair", ["--half", "odd"], "expected no --half for spair"),
    ],
)
def test_calibrate_says_what_it_cannot(run, birds, tmp_path, name, arguments, message):
    out = tmp_path / "c.json"
    code, text, err = run(
        "calibrate", name, "--data", birds, "--model", "rgb", "--out", out,
        *(arguments if "--limit" in arguments else ("--limit", "40", *arguments)),
    )  # fmt: skip
    assert code == 2
    assert not text
    assert message in err
    assert not out.exists()


def test_a_ladder_prints_and_writes_its_tables(run, birds, tmp_path):
    out = tmp_path / "out"
    command = ("ladder", "cub", "--data", birds, "--limit", "8", "--size", "32", "--draws", "2")
    code, text, err = run(*command, "--fuse", "rgb", "--out", out)
    assert code == 0, err
    for rung in ("argmax", "grid-window", "mutual only", "flip, by", "fusion", "all together"):
        assert rung in text
    written = {path.name for path in out.iterdir()}
    assert {
        "ladder.json",
        "ladder.md",
        "ladder.png",
        "confidence.json",
        "reliability.png",
    } <= written
    found = json.loads((out / "ladder.json").read_text())
    rows = {row["rung"]: row for row in found["rows"]}
    assert rows["fusion"]["features"].startswith("small+rgb")
    assert rows["fusion"]["per_point"]["0.1"]["value"] > rows["argmax"]["per_point"]["0.1"]["value"]
    # Without a calibration for this size the ranking is judged alone.
    assert "not calibrated" in text


def test_a_ladder_reads_other_data_sets(run, tmp_path):
    spair = write_spair(tmp_path / "SPair-71k")
    command = ("--model", "rgb", "--json")
    code, text, err = run("ladder", "spair", "--data", spair, *command)
    assert code == 0, err
    found = json.loads(text)
    assert found["ladder"]["points"] == 36
    argmax = found["ladder"]["rows"][1]
    assert argmax["per_point"]["0.1"]["value"] == 100
    # Each pair lacks one of the four points that its source shows.
    assert found["confidence"]["rows"][0]["absent"] == pytest.approx(0.25)
    assert found["confidence"]["rows"][0]["auroc_absent"]["value"] > 60
    code, text, _ = run(
        "ladder", "willow", "--data", write_willow(tmp_path / "W"), "--limit", "3", *command
    )
    assert code == 0
    assert json.loads(text)["confidence"]["rows"][0]["auroc_absent"] is None


def test_a_ladder_judges_a_calibration(run, birds, calibration):
    code, text, err = run(
        "ladder", "cub", "--data", birds, "--half", "odd", "--limit", "20", "--model", "rgb",
        "--calibration", calibration,
    )  # fmt: skip
    assert code == 0, err
    assert "even birds" in text
    assert "calibrated" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory", "0"], "expected --memory and --max-cycle above 0"),
        (["--layers", "up:9"], "unknown tap"),
        (["--steps", "20+1000"], "expected t from 0 to 999, got 1000"),
        (["--fuse", "smal"], "unknown model 'smal'"),
        (["--calibration", "none.json"], "found none; make one with"),
        (["--protocol", "dift"], "no --protocol but cub-crops for cub"),
        (["--half", "odd", "--limit", "9999"], "expected 1 to"),
    ],
)
def test_a_ladder_says_what_it_cannot(run, birds, arguments, message, monkeypatch):
    few = () if "--limit" in arguments else ("--limit", "3")
    monkeypatch.setattr(ladder, "run_ladder", None)  # all of it is said before the work begins
    code, text, err = run("ladder", "cub", "--data", birds, "--size", "32", *few, *arguments)
    assert code == 2
    assert not text
    assert message in " ".join(err.split())


def test_the_default_model_is_calibrated_and_says_so(run, pictures):
    code, text, _ = run("match", pictures / "cat.png", pictures / "crop.png", *POINTS)
    assert code == 0
    assert "probability that the match lies within 10 %" in text
    code, text, _ = run("match", pictures / "cat.png", pictures / "crop.png", *POINTS, "--json")
    [found] = json.loads(text)
    assert found["matches"]["calibrated"]
    assert "even birds" in found["calibration"]["fitted_on"]
    code, text, _ = run(
        "match", pictures / "cat.png", pictures / "crop.png", *POINTS, "--model", "rgb"
    )
    assert "confidence is a ranking here and no probability" in text


def test_a_calibration_of_ones_own_decides_what_has_no_match(run, pictures, calibration, tmp_path):
    command = ("match", pictures / "cat.png", pictures / "crop.png", *POINTS, "--model", "rgb")
    command += ("--calibration", calibration)
    _, text, _ = run(*command, "--json")
    [every] = json.loads(text)
    confidence = [row["confidence"] for row in every["matches"]["matches"]]
    between = sum(confidence) / 2
    assert min(confidence) < between < max(confidence)
    code, text, _ = run(*command, "--json", "--min-confidence", between, "--out", tmp_path / "o")
    assert code == 0
    [found] = json.loads(text)
    [kept], [lost] = found["matches"]["matches"], found["no_match"]
    assert {kept["point"], lost["point"]} == {1, 2}
    assert kept["confidence"] == max(confidence)
    assert "target_px" not in lost
    assert "below" in lost["reason"]
    assert len(found["pictures"]) == 3  # matches, and each point's heat map all the same
    code, text, _ = run(*command, "--min-confidence", between)
    assert f"no match for point {lost['point']}: confidence" in text
    assert text.count("no match") == 2
    code, text, _ = run(*command, "--min-confidence", 1, "--json")
    assert code == 1
    assert json.loads(text)[0]["matches"]["matches"] == []


def test_a_calibration_of_other_features_is_mistrusted(run, pictures, calibration):
    code, text, _ = run(
        "match", pictures / "cat.png", pictures / "crop.png", *POINTS, "--model", "sift",
        "--calibration", calibration,
    )  # fmt: skip
    assert code == 0
    assert "fitted on other features: mistrust" in text


def test_of_a_grid_what_does_not_come_back_is_counted(run, pictures):
    command = ("match", pictures / "cat.png", pictures / "crop.png", "--grid", "30")
    _, text, _ = run(*command, "--json")
    [every] = json.loads(text)
    _, text, _ = run(*command, "--json", "--max-cycle", "0.05")
    [some] = json.loads(text)
    rows = every["matches"]["matches"]
    near = [row["point"] for row in rows if row["cycle_px"] <= 0.05 * 451]
    assert [row["point"] for row in some["matches"]["matches"]] == near
    assert 0 < len(near) < len(rows)
    assert len(some["no_match"]) == len(rows) - len(near)
    _, text, _ = run(*command, "--max-cycle", "0.05")
    assert f"no match: {len(rows) - len(near)} of {len(rows)} points" in text


def test_a_mirrored_target_is_found_in_its_mirror(run, pictures):
    at = ("--at", "170,110", "--at", "280,105", "--at", "230,180", "--t", "20")
    _, text, _ = run(
        "match", pictures / "cat.png", pictures / "mirrored.png", *at, "--flip", "similarity",
        "--json",
    )  # fmt: skip
    [found] = json.loads(text)
    assert found["alignment"]["flip"]
    assert found["alignment"]["mirrored"] > found["alignment"]["plain"]
    assert not found["matches"]["calibrated"]
    places = np.array([row["target_px"] for row in found["matches"]["matches"]])
    wanted = np.array([(450 - 170, 110), (450 - 280, 105), (450 - 230, 180)])
    assert np.abs(places - wanted).max() < 25
    _, text, _ = run(
        "match", pictures / "cat.png", pictures / "mirrored.png", *at, "--flip", "similarity",
        "--sides", "1,2", "--json",
    )  # fmt: skip
    rows = json.loads(text)[0]["matches"]["matches"]
    assert np.abs(np.array(rows[0]["target_px"]) - wanted[1]).max() < 25
    assert np.abs(np.array(rows[2]["target_px"]) - wanted[2]).max() < 25
    assert rows[0]["source_px"] == [170, 110]
    _, text, _ = run(
        "match", pictures / "cat.png", pictures / "mirrored.png", *at, "--flip", "similarity"
    )
    assert "searched in its mirror image" in text


def test_members_tell_of_their_disagreement(run, pictures):
    command = ("match", pictures / "cat.png", pictures / "crop.png", *POINTS, "--size", "64")
    code, text, _ = run(*command, "--members", "2", "--json")
    assert code == 0
    rows = json.loads(text)[0]["matches"]["matches"]
    assert all(row["disagreement_px"] >= 0 for row in rows)
    _, text, _ = run(*command, "--members", "2")
    assert "spread px" in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-confidence", "1.5"], "expected --min-confidence from 0 to 1, got 1.5"),
        (["--max-cycle", "0"], "expected --max-cycle above 0"),
        (["--members", "-1"], "expected --members of at least 0"),
        (["--members", "2", "--model", "rgb"], "for --members, rgb sees none"),
        (["--sides", "1,2"], "expected --flip with --sides"),
        (["--flip", "mutual", "--sides", "1,3"], "two numbers of --at points \\(1 to 2\\)"),
        (["--flip", "mutual", "--sides", "1,1"], "two different points"),
        (["--flip", "sideways"], "sideways"),
        (["--calibration", "none.json"], "expected a calibration at none.json, found none"),
    ],
)
def test_match_says_what_it_cannot(run, pictures, arguments, message):
    import re

    code, text, err = run(
        "match", pictures / "cat.png", pictures / "mirrored.png", *POINTS, "--size", "32",
        *arguments,
    )  # fmt: skip
    assert code == 2
    assert not text
    assert re.search(message, err), err


def test_on_real_birds_the_packages_probabilities_are_nearer_the_truth(run, shared, tmp_path):
    code, text, err = run(
        "calibrate", "cub", "--data", shared / "data/CUB_200_2011", "--half", "even", "--limit",
        "30", "--out", tmp_path / "c.json", "--json",
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(text)
    rows = {row["name"]: row for row in found["judged"]["rows"]}
    assert rows["calibrated"]["ece"]["value"] < rows["as matched"]["ece"]["value"]
    assert 0.05 < rows["as matched"]["absent"] < 0.4
    assert found["calibration"]["note"]["features"]["model"] == "small"
