"""`counterpoint bench tss`, end to end on a miniature."""

import json

import pytest

from support.tiny_tss import PATCH, write_pair, write_tss

FAST = ("--model", "rgb", "--fit", "keep", "--device", "cpu", "--no-controls")


def test_every_pixel_is_found_by_its_colour(run, tmp_path):
    root, out = write_tss(tmp_path / "TSS"), tmp_path / "out"
    asked = ("bench", "tss", "--data", root, *FAST, "--out", out)
    code, shown, said = run(*asked, "--json", tmp_path / "r.json", "--markdown", tmp_path / "r.md")
    assert (code, said) == (0, "")
    assert "Protocol tss: TSS, pairs: 2 of 195 FG3DCar, 1 of 81 JODS, 1 of 124 PASCAL" in shown
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["pairs"], found["flipped"], found["pixels"]) == (4, 1, 4 * 2 * PATCH**2)
    [row] = found["rows"]
    at = found["figures"]["rgb"]["T=5"]
    assert row["T=5 mean"] == at["mean"]
    assert list(row)[-5:] == [
        f"T=5 {g}" for g in ("FG3DCar", "JODS", "PASCAL", "mean", "unmirrored")
    ]
    assert at["mean"]["value"] > 99
    assert [g["group"] for g in at["groups"]] == ["FG3DCar", "JODS", "PASCAL"]
    assert at["lost"] == 0
    assert (
        "| method | setting | input | FG3DCar | JODS | PASCAL | mean |"
        in (tmp_path / "r.md").read_text()
    )
    flow = out / "rgb/PASCAL/bus_01_03/flow2.flo"
    before = flow.stat().st_mtime_ns
    (out / "rgb/JODS/horse_01_02/flow1.flo").write_bytes(b"half a")
    assert run(*asked)[0] == 0  # goes on where it was
    assert flow.stat().st_mtime_ns == before
    assert len((out / "rgb/JODS/horse_01_02/flow1.flo").read_bytes()) == 12 + 8 * 30 * 22
    code, shown, _ = run("bench", "tss", "--data", root, "--flows", out / "rgb")
    assert code == 0
    assert "100.0" in shown
    code, _, said = run(*asked, "--step", 2)
    assert code == 2
    assert "was made with protocol = 'tss', asked was 'tss/every-2-pixels'" in said


def test_controls_and_fewer_pixels(run, tmp_path, monkeypatch):
    monkeypatch.setattr("counterpoint.benchmarks.controls.HAND_MADE", ("rgb",))  # the quicker one
    root, figures = write_tss(tmp_path), tmp_path / "r.json"
    asked = ("bench", "tss", "--data", root, "--model", "small", "--size", "32", "--step", 5)
    code, shown, _ = run(*asked, "--mirror-known", "--groups", "JODS", "--json", figures)
    assert code == 0
    assert "Protocol tss/every-5-pixels/mirrored-known" in shown
    found = json.loads(figures.read_text())
    methods = ["same position", "rgb", "small, untrained", "small"]
    assert [row["method"] for row in found["rows"]] == methods
    assert found["pixels"] == 2 * 4


def test_known_mirrors_help_where_a_thing_is_mirrored(run, tmp_path):
    """SIFT's descriptors of a mirror image are others; mirrored back they are found again."""
    write_pair(tmp_path / "PASCAL/bus_01_02", flipped=True)
    shares = {}
    for words in ((), ("--mirror-known",)):
        figures = tmp_path / f"{len(words)}.json"
        asked = ("bench", "tss", "--data", tmp_path, "--model", "sift", "--fit", "keep")
        assert run(*asked, "--no-controls", *words, "--json", figures)[0] == 0
        row = json.loads(figures.read_text())["rows"][0]
        shares[words] = row["T=5 mean"]["value"]
    assert shares[("--mirror-known",)] > shares[()] + 20


def test_bad_pairs_stop_or_are_listed(run, tmp_path):
    root = write_tss(tmp_path / "TSS")
    (root / "FG3DCar/001_021/image2.png").unlink()
    (root / "JODS/horse_01_02/flow2.flo").write_bytes(b"PIEH")
    asked = ("bench", "tss", "--data", root, *FAST)
    code, _, said = run(*asked)
    assert code == 2
    assert "001_021/image2.png; get TSS_CVPR2016.zip" in said
    code, shown, _ = run(*asked, "--skip-bad", "--json", tmp_path / "r.json")
    assert code == 0
    assert "2 pairs both ways, 2 skipped" in shown
    assert "skipped JODS/horse_01_02: expected a .flo file" in shown.replace("\n", " ")
    skipped = json.loads((tmp_path / "r.json").read_text())["skipped"]
    assert [one["id"] for one in skipped] == ["FG3DCar/001_021", "JODS/horse_01_02"]
    assert run(*asked, "--skip-bad", "--groups", "JODS")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--step", "0"), "expected every 1st"),
        (("--threshold", "0"), "expected thresholds above 0"),
        (("--groups", "CARS"), "CARS"),
        (("--flows", "nowhere"), "expected a flow at"),
    ],
)
def test_bad_arguments(run, tmp_path, arguments, message):
    code, _, said = run("bench", "tss", "--data", write_tss(tmp_path), *FAST, *arguments)
    assert code == 2
    assert message in said
    assert len(said.strip().splitlines()) == 1
