"""`counterpoint bench davis` and `jhmdb`, end to end on miniatures and on real frames."""

import json

import numpy as np
import pytest
from PIL import Image

from counterpoint.backbones import load
from counterpoint.backbones.zoo import ZOO
from counterpoint.benchmarks.datasets.davis import read_davis, read_mask
from counterpoint.benchmarks.videos.mask_metrics import JF
from counterpoint.benchmarks.videos.propagation import (
    DAVIS_SETTINGS,
    JHMDB_SETTINGS,
    davis_input,
    jhmdb_input,
    track_masks,
)
from counterpoint.cli.app import main
from counterpoint.errors import BadInput
from counterpoint.options import Options
from counterpoint.tasks.tracking.propagation import Propagation
from counterpoint.tasks.tracking.temporal import setting_of
from support.tiny_video import SIZE_WH, paint, save_mask, write_davis, write_jhmdb

# Small inputs: `rgb` has a cell a pixel.
FAST = ("--model", "rgb", "--size", "48x32", "--device", "cpu")


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in arguments])
    return stop.value.code


@pytest.fixture
def mini(tmp_path):
    return write_davis(tmp_path / "DAVIS")


def test_davis(mini, tmp_path, capsys):
    out, report = tmp_path / "out", tmp_path / "davis.json"
    places = ("--out", out, "--json", report, "--markdown", tmp_path / "davis.md")
    assert run("bench", "davis", "--data", mini, *FAST, *places) == 0
    shown = capsys.readouterr().out
    assert "part of DAVIS-2017 val (videos: 2), 12 frames, input 48x32, tap pixels" in shown
    assert "first frame copied" in shown
    found = json.loads(report.read_text())
    control, model = found["scores"].values()
    assert list(found["scores"]) == ["first frame copied", "rgb"]
    assert model["both"]["value"] > 90 > 60 > control["both"]["value"]
    assert (model["sequences"], model["objects"], model["frames"]) == (2, 4, 8)
    assert set(model["by_sequence"]) == {"one", "two"}
    assert found["made_by"]["propagation"]["temperature"] == 0.1
    assert found["published"][0].startswith("Published, on all 30 sequences: DIFT, SD 2.1, J&F 70;")
    table = (tmp_path / "davis.md").read_text()
    assert "| method | J&F | 95 % | J | recall | decay | F | recall | decay |" in table


def test_masks_are_written_in_davis_layout(mini, tmp_path):
    out = tmp_path / "out"
    assert run("bench", "davis", "--data", mini, *FAST, "--out", out, "--sequences", "two") == 0
    assert sorted(p.name for p in out.iterdir()) == ["davis.json", "two"]
    assert sorted(p.name for p in (out / "two").iterdir()) == [f"{i:05}.png" for i in range(6)]
    sequence = read_davis(mini, sequences=["two"]).sequences[0]
    with Image.open(out / "two/00003.png") as image:
        assert (image.mode, image.size) == ("P", SIZE_WH)
    masks = [read_mask(out / f"two/{i:05}.png") for i in range(6)]
    assert np.array_equal(masks[0], sequence.mask(0))
    true = [sequence.mask(i) for i in range(6)]
    assert JF().update("two", masks, true).compute().both.value > 90


def test_a_second_run_goes_on_where_the_first_ended(mini, tmp_path, monkeypatch):
    out = tmp_path / "out"
    command = ("bench", "davis", "--data", mini, *FAST, "--out", out)
    assert run(*command) == 0
    (out / "two/00004.png").unlink()
    (out / "one/00001.png").write_bytes(b"half a")
    tracked = []

    def spy(backbone, sequence, *more):
        tracked.append(sequence.name)
        return track_masks(backbone, sequence, *more)

    monkeypatch.setattr("counterpoint.benchmarks.videos.run.track_masks", spy)
    assert run(*command) == 0
    assert tracked == ["one", "two"]
    assert run(*command) == 0
    assert tracked == ["one", "two"]
    assert run(*command, "--limit-frames", 4) == 0  # what is there serves
    assert tracked == ["one", "two"]


def test_nothing_made_otherwise_is_mixed_in(mini, tmp_path, capsys):
    out = tmp_path / "out"
    command = ("bench", "davis", "--data", mini, *FAST, "--out", out)
    assert run(*command) == 0
    capsys.readouterr()
    for change, said in (
        (("--topk", 3), "propagation.topk = 10, asked was 3"),
        (("--model", "sift"), "features.model = 'rgb', asked was 'sift'"),
        (("--size", "24x16"), "input = '48x32', asked was '24x16'"),
    ):
        assert run(*command[:4], *_changed(FAST, change), "--out", out) == 2
        assert said in capsys.readouterr().err
    (out / "davis.json").write_text("{")
    assert run(*command) == 2
    assert "cannot be read" in capsys.readouterr().err


def _changed(words, change):
    words = list(words)
    if change[0] in words:
        words[words.index(change[0]) + 1] = change[1]
        return words
    return [*words, *change]


def test_bad_sequences_stop_or_are_listed(mini, tmp_path, capsys):
    mask = paint(2)[1]
    mask[0, 0] = 7
    save_mask(mini / "Annotations/480p/one/00002.png", mask)
    command = ("bench", "davis", "--data", mini, *FAST)
    assert run(*command) == 2
    error = capsys.readouterr().err
    assert "objects 1 to 2" in error and "one/00002.png" in error
    report = tmp_path / "davis.json"
    assert run(*command, "--skip-bad", "--json", report) == 0
    shown = capsys.readouterr().out.replace("\n", " ")
    assert "context 28 + 1, 1 skipped" in shown
    assert "skipped one: expected objects 1 to 2" in shown
    found = json.loads(report.read_text())
    assert [bad["id"] for bad in found["skipped"]] == ["one"]
    assert found["scores"]["rgb"]["sequences"] == 1
    assert run(*command, "--skip-bad", "--sequences", "one") == 2
    assert "expected a video that can be used, got none" in capsys.readouterr().err


def test_2016_has_one_object_a_video(mini, tmp_path, capsys):
    """Lists and masks as DAVIS-2016's own archive has them: pairs of paths, black and white."""
    (mini / "ImageSets/2016/val.txt").unlink()
    lines = [
        f"/JPEGImages/480p/{name}/{i:05}.jpg /Annotations/480p/{name}/{i:05}.png"
        for name in ("one", "two")
        for i in range(6)
    ]
    (mini / "ImageSets/480p").mkdir()
    (mini / "ImageSets/480p/val.txt").write_text("\n".join(lines) + "\n")
    out, report = tmp_path / "out", tmp_path / "davis.json"
    both = ("bench", "davis", "--data", mini, *FAST, "--out", out)
    assert run(*both) == 0  # 2017, two objects: 255 is not among its masks yet
    for path in (mini / "Annotations/480p").rglob("*.png"):
        save_mask(path, (read_mask(path) > 0).astype(np.uint8) * 255, "L")
    capsys.readouterr()
    assert run(*both, "--year", "2016") == 2  # the same videos, other masks
    assert "year = None, asked was '2016'" in capsys.readouterr().err
    command = ("bench", "davis", "--data", mini, *FAST, "--year", "2016", "--json", report)
    assert run(*command) == 0
    assert "part of DAVIS-2016 val (videos: 2), 12 frames" in capsys.readouterr().out
    found = json.loads(report.read_text())
    assert found["protocol"] == "davis-2016"
    assert (found["scores"]["rgb"]["objects"], found["scores"]["rgb"]["sequences"]) == (2, 2)
    assert found["scores"]["rgb"]["both"]["value"] > 90
    assert found["rows"][1]["J&F"]["value"] == found["scores"]["rgb"]["both"]["value"]


def test_bad_requests(mini, tmp_path, capsys):
    assert run("bench", "davis", "--data", tmp_path, *FAST) == 2
    assert "val.txt; get DAVIS-2017-trainval-480p.zip" in capsys.readouterr().err
    assert run("bench", "davis", "--data", mini, *FAST, "--fit", "pad") == 2
    assert "expected frames squashed" in capsys.readouterr().err
    assert run("bench", "davis", "--data", mini, *FAST, "--temperature", "0") == 2
    assert "temperature above 0" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run("bench", "davis", "--data", mini, *FAST, "--out", tmp_path / "file") == 2
    assert "expected a folder for --out" in capsys.readouterr().err


def test_jhmdb(tmp_path, capsys):
    data, out = write_jhmdb(tmp_path / "JHMDB"), tmp_path / "out"
    report = tmp_path / "jhmdb.json"
    command = ("bench", "jhmdb", "--data", data, "--device", "cpu", "--model", "small")
    places = ("--size", "96x64", "--tap", "up:1", "--t", 20, "--out", out, "--json", report)
    assert run(*command, *places) == 0
    assert "part of JHMDB test split 1 (videos: 2), 10 frames" in capsys.readouterr().out
    found = json.loads(report.read_text())
    control, model = found["scores"].values()
    assert model["pck"][1]["alpha"] == 0.2
    assert model["pck"][1]["mean"]["value"] > control["pck"][1]["mean"]["value"]
    assert model["pck"][0]["points"] == 2 * 4 * 15
    kept = out / "walk/first.json"
    joints = np.array(json.loads(kept.read_text())["joints_px"])
    assert joints.shape == (5, 15, 2)
    before = kept.stat().st_mtime_ns
    assert run(*command, *places) == 0
    assert kept.stat().st_mtime_ns == before
    assert run(*command, *places, "--radius", 3) == 2
    assert "propagation.radius = 15, asked was 3" in capsys.readouterr().err


def test_lost_joints_are_counted(tmp_path):
    data, out = write_jhmdb(tmp_path / "JHMDB", ("walk/first",)), tmp_path / "out"
    command = ("bench", "jhmdb", "--data", data, *FAST, "--out", out, "--json", tmp_path / "r.json")
    assert run(*command) == 0
    kept = out / "walk/first.json"
    joints = json.loads(kept.read_text())["joints_px"]
    joints[2][4] = None
    kept.write_text(json.dumps({"joints_px": joints}))
    assert run(*command) == 0
    figures = json.loads((tmp_path / "r.json").read_text())["scores"]["rgb"]["pck"][0]
    assert (figures["lost"], figures["points"]) == (1, 60)
    assert run(*command, "--skip-lost") == 0
    figures = json.loads((tmp_path / "r.json").read_text())["scores"]["rgb"]["pck"][0]
    assert (figures["lost"], figures["points"]) == (1, 59)


def test_protocol_sizes():
    assert davis_input((854, 480)) == (832, 480)
    assert davis_input((480, 854)) == (480, 832)
    assert davis_input((1920, 1080)) == (832, 480)
    assert davis_input((910, 480)) == (896, 480)
    assert davis_input((854, 480), multiple=14) == (826, 476)
    assert (jhmdb_input(), jhmdb_input(14)) == ((320, 320), (308, 308))


def test_protocol_settings():
    sd = setting_of(ZOO["sd21"], DAVIS_SETTINGS)
    assert (sd.t, sd.tap, sd.ensemble) == (51, "up:2", 8)
    assert sd.propagation == Propagation(temperature=0.2, topk=15, radius=15, context=28)
    adm = setting_of(ZOO["adm"], DAVIS_SETTINGS, {"context": 10, "topk": None})
    assert (adm.t, adm.tap, adm.ensemble) == (51, "out:7", 4)
    assert adm.propagation == Propagation(temperature=0.1, topk=10, radius=15, context=10)
    assert setting_of(ZOO["adm"], JHMDB_SETTINGS).tap == "out:5"
    filled = sd.options(Options(model="sd21", t=99))
    assert (filled.t, filled.tap, filled.prompt, filled.ensemble) == (99, "up:2", "", 8)
    small = setting_of(ZOO["small"], DAVIS_SETTINGS).options(Options())
    assert (small.t, small.tap, small.ensemble) == (None, None, None)
    with pytest.raises(BadInput, match="squashed"):
        sd.options(Options(fit="pad"))


def test_features_of_a_tiny_pipeline(tiny_sd, mini, tmp_path):
    """A Stable Diffusion pipeline runs under the paper's setting, its input the protocol's rule."""
    model = load(str(tiny_sd), device="cpu")
    setting = setting_of(model.spec, DAVIS_SETTINGS)
    one = read_davis(mini, limit_frames=3).sequences[0]
    options = setting.options(Options(size="128x64", ensemble=1))
    masks = list(track_masks(model, one, setting, options))
    assert [mask.shape for mask in masks] == [(64, 96)] * 3
    assert np.array_equal(masks[0], one.first_mask)


def test_real_frames(shared):
    """The embedded model carries a real mask better than leaving it where it was."""
    camel = read_davis(shared / "data/DAVIS", sequences=["camel"], limit_frames=8).sequences[0]
    model = load("small", device="cpu")
    setting = setting_of(model.spec, DAVIS_SETTINGS)
    options = setting.options(Options(size="416x240", tap="up:1", t=20))
    true = [camel.mask(i) for i in range(len(camel))]
    found = JF().update("camel", track_masks(model, camel, setting, options), true).compute()
    control = JF().update("camel", [camel.first_mask] * len(camel), true).compute()
    assert found.both.value > control.both.value
    assert found.region.mean > 85
