"""`counterpoint bench tapvid` and `badja`, end to end on miniatures."""

import json
import pickle

import numpy as np
import pytest

from counterpoint.backbones import load
from counterpoint.benchmarks.datasets.badja import read_badja_videos
from counterpoint.benchmarks.videos.track_run import run_badja
from counterpoint.options import Options
from support.tiny_video import drifting_entry, tapvid_entry, write_badja, write_tapvid

# `rgb` has a cell a pixel.
FAST = ("--model", "rgb", "--device", "cpu")


def test_tapvid(run, tmp_path):
    out = tmp_path / "out"
    write_tapvid(tmp_path / "tapvid_davis.pkl", make=drifting_entry)
    asked = ("bench", "tapvid", "--data", tmp_path, *FAST, "--size", "96x64", "--out", out)
    asked += ("--radius", 8)
    code, shown, said = run(*asked, "--json", tmp_path / "r.json", "--markdown", tmp_path / "r.md")
    assert (code, said) == (0, "")
    assert "tapvid: part of TAP-Vid-DAVIS (videos: 2), 8 frames, input 96x64" in shown
    found = json.loads((tmp_path / "r.json").read_text())
    assert list(found["scores"]) == ["left in place", "rgb, nearest", "rgb, propagated"]
    assert found["protocol"] == "tapvid-first"
    left, nearest, propagated = (s["figures"]["delta_avg"] for s in found["scores"].values())
    assert nearest > 90
    assert propagated > left + 20
    jaccard = found["scores"]["rgb, nearest"]["figures"]["average_jaccard"]
    assert jaccard > found["scores"]["left in place"]["figures"]["average_jaccard"] + 50
    assert found["scores"]["rgb, nearest"]["queries"] == 6
    assert found["rows"][0]["tap"] == "" and found["rows"][1]["tap"] == "pixels"
    assert sorted(p.name for p in out.iterdir()) == ["nearest", "propagated", "tapvid.json"]
    kept = out / "propagated/b.npz"
    before = kept.stat().st_mtime_ns
    (out / "propagated/a.npz").write_bytes(b"half a")
    assert run(*asked)[0] == 0  # goes on where it was
    assert kept.stat().st_mtime_ns == before
    assert np.load(out / "propagated/a.npz")["points_px"].shape == (3, 4, 2)
    code, _, said = run(*asked, "--queries", "strided")
    assert code == 2
    assert "queries = 'first', asked was 'strided'" in said


def test_tapvid_strided_goes_both_ways(run, tmp_path):
    write_tapvid(tmp_path / "tapvid_davis.pkl", ("a",))
    asked = ("bench", "tapvid", "--data", tmp_path, *FAST, "--size", "48x32", "--by", "propagated")
    code, shown, _ = run(*asked, "--queries", "strided", "--json", tmp_path / "r.json")
    assert code == 0
    assert "Queries: strided." in shown
    found = json.loads((tmp_path / "r.json").read_text())
    assert list(found["scores"]) == ["left in place", "rgb, propagated"]
    assert found["scores"]["rgb, propagated"]["queries"] == 3  # of one in frame 0, both in 5


def test_tapvid_bad_videos_stop_or_are_listed(run, tmp_path):
    entries = {"good": tapvid_entry(), "bad": tapvid_entry(), "away": tapvid_entry()}
    entries["bad"]["occluded"] = entries["bad"]["occluded"][:, :2]
    entries["away"]["points"][0, 3] = 1.5
    (tmp_path / "tapvid_davis.pkl").write_bytes(pickle.dumps(entries))
    asked = ("bench", "tapvid", "--data", tmp_path, *FAST, "--size", "24x16", "--by", "nearest")
    code, _, said = run(*asked)
    assert code == 2
    assert "of video bad" in said
    code, shown, _ = run(*asked, "--skip-bad", "--json", tmp_path / "r.json")
    assert code == 0
    assert "skipped bad: expected points" in shown
    assert "skipped away: expected points of video away inside its frames" in shown
    found = json.loads((tmp_path / "r.json").read_text())
    assert [one["id"] for one in found["skipped"]] == ["bad", "away"]
    assert found["dataset"] == "part of TAP-Vid-DAVIS (videos: 1)"


def test_badja(run, tmp_path):
    root, out = write_badja(tmp_path / "BADJA", ("camel", "dog")), tmp_path / "out"
    asked = ("bench", "badja", "--data", root, *FAST, "--size", "48x32", "--out", out)
    code, shown, said = run(*asked, "--json", tmp_path / "r.json")
    assert (code, said) == (0, "")
    assert "badja: part of BADJA (videos: 2), 10 frames, input 48x32" in shown
    assert "0 joints that the first annotated frame does not show do not count." in shown
    found = json.loads((tmp_path / "r.json").read_text())
    assert list(found["scores"]) == ["left in place", "rgb, nearest", "rgb, propagated"]
    left, _, propagated = (s["pck"][1]["mean"]["value"] for s in found["scores"].values())
    assert propagated >= left
    assert found["scores"]["rgb, nearest"]["by_video"]["dog"]["points"] == 4
    kept = out / "nearest/dog.npz"
    assert np.load(kept)["points_px"].shape == (2, 5, 2)
    before = kept.stat().st_mtime_ns
    assert run(*asked)[0] == 0
    assert kept.stat().st_mtime_ns == before
    code, _, said = run(*asked, "--radius", 3)
    assert code == 2
    assert "propagation.radius = 15, asked was 3" in said


def test_badja_bad_videos_stop_or_are_listed(run, tmp_path):
    root = write_badja(tmp_path, ("camel", "dog", "bear"))
    (root / "DAVIS/Annotations/480p/dog/00003.png").write_bytes(b"no mask")
    (root / "joint_annotations/bear.json").write_text("[{")
    asked = ("bench", "badja", "--data", root, *FAST, "--size", "24x16", "--by", "nearest")
    assert run(*asked)[0] == 2
    code, shown, _ = run(*asked, "--skip-bad")
    assert code == 0
    assert "skipped bear: expected JSON in" in shown
    assert "skipped dog: cannot read the mask" in shown
    assert "(videos: 1)" in shown
    assert run(*asked, "--skip-bad", "--animals", "bear", "dog")[0] == 2


def test_features_carry_joints_better_than_leaving_them(tmp_path):
    dataset = read_badja_videos(write_badja(tmp_path))
    found = run_badja(
        load("rgb", device="cpu"), dataset, Options(size="48x32"), hows=("propagated",)
    )
    left, propagated = (score.compute()[0].mean.value for score in found.scores.values())
    assert propagated > left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--visible-hold", "2"), "hold of 0 to 1"),
        (("--videos", "c"), "unknown video of tapvid_davis.pkl 'c'"),
        (("--by", "hand"), "hand"),
        (("--fit", "pad"), "expected frames squashed"),
    ],
)
def test_bad_arguments(run, tmp_path, arguments, message):
    write_tapvid(tmp_path / "tapvid_davis.pkl")
    code, _, said = run("bench", "tapvid", "--data", tmp_path, *FAST, *arguments)
    assert code == 2
    assert message in said
    assert len(said.strip().splitlines()) == 1
