"""The commands, end to end, on real pictures."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from counterpoint.cli.app import main
from counterpoint.features import FeatureMap, read_header


def run(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return stopped.value.code, out, err


def size_of(path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.fixture
def pictures(tmp_path, photo):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(photo).save(folder / "cat.png")
    Image.fromarray(photo[:, ::-1]).save(folder / "mirrored.png")
    Image.fromarray(photo[:250, 30:400]).save(folder / "crop.jpg")
    return folder


def test_match_at_points_prints_a_table_and_draws(capsys, pictures, tmp_path):
    out = tmp_path / "out"
    code, text, _ = run(
        capsys, "match", pictures / "cat.png", pictures / "crop.jpg", "--at", "170,110",
        "--at", "250,100", "--out", out,
    )  # fmt: skip
    assert code == 0
    assert "170, 110" in text
    assert sorted(p.name for p in out.iterdir()) == [
        "cat--crop.heat-1.png",
        "cat--crop.heat-2.png",
        "cat--crop.matches.png",
    ]
    assert all(size_of(p)[0] > 200 for p in out.iterdir())


def test_match_finds_the_shift_of_a_crop(capsys, pictures):
    code, text, _ = run(
        capsys, "match", pictures / "cat.png", pictures / "crop.jpg", "--at", "170,110", "--json",
        "--fit", "keep",
    )  # fmt: skip
    assert code == 0
    [result] = json.loads(text)
    [found] = result["matches"]["matches"]
    assert np.allclose(found["target_px"], (140, 110), atol=12)
    assert 0 <= found["confidence"] <= 1


def test_match_stays_on_the_targets_masks(capsys, pictures, tmp_path):
    mask = np.zeros((300, 451), np.uint8)
    mask[150:, 200:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    target = pictures / "mirrored.png"
    code, text, _ = run(
        capsys, "match", pictures / "cat.png", target, "--mask", tmp_path / "mask.png", "--json"
    )
    assert code == 0
    found = np.array([m["target_px"] for m in json.loads(text)[0]["matches"]["matches"]])
    assert (found >= [196, 149]).all()  # cells count by their centres
    code, _, err = run(
        capsys, "match", pictures / "cat.png", target, target, "--mask", tmp_path / "mask.png"
    )
    assert code == 2
    assert "expected a mask for each of 2 targets, got 1" in err


def test_match_many_targets_on_a_grid_or_mutually(capsys, pictures):
    targets = [pictures / "mirrored.png", pictures / "crop.jpg"]
    code, text, _ = run(capsys, "match", pictures / "cat.png", *targets, "--grid", "20", "--json")
    assert code == 0
    grid = json.loads(text)
    assert [r["target"] for r in grid] == [str(t) for t in targets]
    assert all(15 <= len(r["matches"]["matches"]) <= 25 for r in grid)
    _, text, _ = run(
        capsys, "match", pictures / "cat.png", targets[1], "--mutual", "--json", "--grid", "200"
    )
    [mutual] = json.loads(text)
    cycles = [m["cycle_px"] for m in mutual["matches"]["matches"]]
    assert cycles
    assert max(cycles) < 30


def test_of_a_grid_the_more_confident_half_is_drawn(capsys, pictures, tmp_path, monkeypatch):
    import counterpoint.plots

    drawn = []
    draw = counterpoint.plots.draw_matches
    monkeypatch.setattr(
        counterpoint.plots, "draw_matches", lambda s, t, m: drawn.append(m) or draw(s, t, m)
    )
    command = ("match", pictures / "cat.png", pictures / "crop.jpg", "--grid", "20", "--json")
    _, text, _ = run(capsys, *command, "--out", tmp_path / "out")
    [result] = json.loads(text)
    every = sorted((m["confidence"] for m in result["matches"]["matches"]), reverse=True)
    assert drawn[0].confidence.tolist() == every[: -(-len(every) // 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--at", "1000,5"], "expected points inside .*cat.png .*got \\(1000, 5\\)"),
        (["--at", "-3,5"], "expected points inside .*cat.png .*got \\(-3, 5\\)"),
        (["--at", "12"], "expected a point as X,Y .*got '12'"),
        (["--t", "1000"], "expected t from 0 to 999, got 1000"),
        (["--tap", "up:9"], "unknown tap of small 'up:9': did you mean"),
        (["--model", "smal"], "unknown model 'smal': did you mean 'small'"),
        (["--model", "sd21"], "the weights of sd21 are not on this machine: put its folder"),
        (["--size", "0"], "expected a size like 768 or 960x540"),
        (["--ensemble", "0"], "expected an ensemble of at least 1, got 0"),
        (["--fit", "stretch"], "stretch"),
        (["--devize", "cpu"], "Unknown option: --devize.*--device"),
        (["--device", "abacus"], "expected a device of this machine, got 'abacus'"),
    ],
)
def test_bad_input_is_one_line(capsys, pictures, arguments, message):
    import re

    code, out, err = run(capsys, "match", pictures / "cat.png", pictures / "crop.jpg", *arguments)
    assert code == 2
    assert not out
    assert re.search(message, err), err
    assert err.startswith("counterpoint: ")
    assert err.count("\n") == 1


def test_match_says_what_is_wrong_with_a_picture(capsys, pictures, tmp_path):
    code, _, err = run(capsys, "match", pictures / "cat.png", tmp_path / "none.png")
    assert (code, err) == (2, f"counterpoint: no such file: {tmp_path / 'none.png'}\n")
    code, _, err = run(capsys, "match", pictures / "cat.png")
    assert code == 2
    assert "expected at least one TARGET" in err


def test_extract_resumes_and_skips_bad_files(capsys, pictures, tmp_path):
    (pictures / "broken.jpg").write_bytes((pictures / "crop.jpg").read_bytes()[:3000])
    out = tmp_path / "features"
    code, text, err = run(capsys, "extract", pictures, "--out", out)
    assert code == 1
    assert "3 written, 0 already there, 1 failed" in text
    assert "skipped: cannot decode" in err
    assert "broken.jpg" in err
    assert sorted(p.name for p in out.iterdir()) == [
        "cat.png.safetensors",
        "crop.jpg.safetensors",
        "mirrored.png.safetensors",
    ]
    (pictures / "broken.jpg").unlink()
    whole = (out / "cat.png.safetensors").read_bytes()
    (out / "cat.png.safetensors").write_bytes(whole[:-100])
    code, text, _ = run(capsys, "extract", pictures, "--out", out)
    assert code == 0
    assert "1 written, 2 already there, 0 failed" in text
    assert (out / "cat.png.safetensors").read_bytes() == whole
    assert FeatureMap.load(out / "crop.jpg.safetensors").image_size_wh == (370, 250)


def test_extract_refuses_to_mix_options(capsys, pictures, tmp_path):
    out = tmp_path / "features"
    assert run(capsys, "extract", pictures / "cat.png", "--out", out, "--seed", "1")[0] == 0
    code, _, err = run(capsys, "extract", pictures / "cat.png", "--out", out, "--seed", "2")
    assert code == 2
    assert "was made with seed = 1, asked was 2; choose another --out, or --overwrite" in err
    more = ("extract", pictures / "cat.png", "--out", out, "--seed", "2", "--overwrite")
    assert run(capsys, *more)[0] == 0
    assert read_header(out / "cat.png.safetensors").provenance.seed == 2


def test_extract_takes_globs_and_says_when_nothing_is_found(capsys, pictures, tmp_path):
    out = tmp_path / "features"
    code, text, _ = run(capsys, "extract", f"{pictures}/*.png", "--out", out)
    assert (code, "2 written" in text) == (0, True)
    code, _, err = run(capsys, "extract", f"{pictures}/*.bmp", "--out", out)
    assert code == 2
    assert "found none" in err
    code, _, err = run(capsys, "extract", pictures, "--out", pictures / "cat.png")
    assert code == 2
    assert "expected a folder for --out, got a file" in err


def test_ctrl_c_in_the_middle_of_extract_leaves_only_whole_files(photo, tmp_path):
    folder, out = tmp_path / "many", tmp_path / "features"
    folder.mkdir()
    for number in range(300):
        Image.fromarray(np.roll(photo, number, axis=1)).save(folder / f"{number:03}.jpg")
    # Where the tests run in the background of a script, SIGINT is ignored, and children inherit it.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heeding}; from counterpoint.cli.app import main; main()"]
    command += ["extract", str(folder), "--out", str(out), "--size", "128"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        deadline = time.monotonic() + 120
        while len(list(out.glob("[!.]*.safetensors"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in err
    assert "Traceback" not in err
    left = list(out.iterdir())
    assert 3 <= len(left) < 300
    assert all(read_header(path).shape for path in left)


def test_pca_and_noise_draw(capsys, pictures, tmp_path):
    out = tmp_path / "pca.png"
    code, text, _ = run(capsys, "pca", pictures, "--mask", "--out", out)
    assert (code, str(out) in text.replace("\n", "")) == (0, True)
    assert size_of(out)[1] > 600
    out = tmp_path / "noise.png"
    code, *_ = run(capsys, "noise", pictures / "cat.png", "--t", "0", "500", "--out", out)
    assert code == 0
    assert size_of(out)[0] > 400
    code, _, err = run(capsys, "noise", pictures / "cat.png", "--t", "1000", "--out", out)
    assert (code, "expected t from 0 to 999, got 1000" in err) == (2, True)
    code, _, err = run(capsys, "noise", pictures / "cat.png", "--model", "sift", "--out", out)
    assert (code, "expected a diffusion model, got sift" in err) == (2, True)


def test_noise_of_a_latent_model_is_decoded(capsys, pictures, tiny_sd, tmp_path):
    out = tmp_path / "noise.png"
    command = ("noise", pictures / "cat.png", "--model", tiny_sd, "--size", "64", "--out", out)
    assert run(capsys, *command, "--t", "261")[0] == 0
    assert out.exists()


def test_a_stable_diffusion_folder_matches(capsys, pictures, tiny_sd):
    code, text, _ = run(
        capsys, "match", pictures / "cat.png", pictures / "cat.png", "--model", tiny_sd, "--json",
        "--size", "128", "--at", "100,100", "--prompt", "a photo of a cat", "--tap", "up:2",
    )  # fmt: skip
    assert code == 0
    [result] = json.loads(text)
    assert result["matches"]["matches"][0]["target_px"] == [100, 100]


def test_models_lists_the_zoo(capsys):
    code, text, _ = run(capsys, "models", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(text)}
    assert rows["small"]["weights_here"]
    assert not rows["sd21"]["weights_here"]
    assert rows["sd21"]["licence"]
    code, text, _ = run(capsys, "models")
    assert code == 0
    assert "sd2-community" in text


def test_the_demo_runs(capsys, tmp_path):
    code, text, _ = run(capsys, "demo", "--out", tmp_path)
    assert code == 0
    assert "median px" in text
    assert {p.name for p in tmp_path.iterdir()} == {
        "face-heat.png",
        "face-matches.png",
        "face-pca.png",
        "views-matches.png",
    }


def test_a_full_disk_is_one_line(pictures, tmp_path):
    """A real limit on file size stands in for the disk: writing beyond it fails."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from counterpoint.cli.app import main; main()"
    )
    out = tmp_path / "features"
    done = subprocess.run(
        [sys.executable, "-c", code, "extract", str(pictures), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("counterpoint: cannot write ")
    assert "Traceback" not in done.stderr
    assert not list(out.iterdir())
