"""`counterpoint track`, end to end: generated videos, every format, stops, and bad input."""

import csv
import json

import av
import numpy as np
import pytest
from PIL import Image

from counterpoint.benchmarks.datasets.davis import read_davis, read_mask
from counterpoint.benchmarks.videos.mask_metrics import JF
from counterpoint.benchmarks.videos.propagation import track_masks
from counterpoint.cli.track.frames import check_input
from counterpoint.cli.track.show import Clock
from counterpoint.errors import BadInput
from counterpoint.geometry import from_tapvid
from counterpoint.options import Options
from counterpoint.tasks.tracking.folder import TrackFolder
from counterpoint.tasks.tracking.temporal import TEMPORAL, setting_of
from counterpoint.videos import VideoWriter, open_video
from support.tiny_video import SIDE, SIZE_WH, paint, places, save_mask

FAST = ("--model", "rgb", "--size", "48x32", "--device", "cpu", "--quiet")
SHORT = ("--context", 3, "--radius", 4)
FRAMES = 8


@pytest.fixture
def run(run):
    return lambda *words: run("track", *words)


@pytest.fixture
def film(tmp_path):
    """A folder of frames, the same as a file, and the first frame's mask."""
    folder = tmp_path / "squares"
    folder.mkdir()
    with VideoWriter(tmp_path / "squares.mp4", 25, SIZE_WH, crf=4) as writer:
        for i in range(FRAMES):
            rgb, mask = paint(i)
            writer.add(rgb)
            Image.fromarray(rgb).save(folder / f"{i:05}.png")
            if i in (0, 4):
                save_mask(tmp_path / f"mask{i}.png", mask)
    return tmp_path


def middles(frame):
    return [(x + SIDE / 2, y + SIDE / 2) for x, y in places(frame)]


def everything(film):
    (ax, ay), (bx, by) = middles(0)
    (x, y), _ = places(0)
    pose = film / "pose.json"
    joints = {"top": [ax, ay - 6], "bottom": [ax, ay + 6], "unknown": None}
    pose.write_text(json.dumps({"joints": joints, "limbs": [["top", "bottom"]]}))
    marks = ("--mask", film / "mask0.png", "--points", f"{ax},{ay}", f"blue={bx},{by}")
    return (*marks, "--pose", pose, "--boxes", f"red={x},{y},{SIDE},{SIDE}")


def contents(folder):
    """Every file's bytes but the overlay's: x264 does not always make the same of the same."""
    paths = (p for p in sorted(folder.rglob("*")) if p.is_file())
    kept = (p for p in paths if p.suffix not in (".safetensors", ".mp4"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in kept}


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn into overlays: hashes of pixels, and times."""
    frames = []
    original = VideoWriter.add

    def add(self, rgb, time_s=None):
        frames.append((hash(rgb.tobytes()), time_s))
        original(self, rgb, time_s)

    monkeypatch.setattr(VideoWriter, "add", add)
    return frames


@pytest.mark.parametrize("source", ["squares", "squares.mp4"])
def test_everything_in_every_format(run, film, source):
    out = film / "out"
    code, shown, said = run(film / source, *everything(film), *FAST, *SHORT, "--out", out, "--json")
    assert (code, said) == (0, "")
    summary = json.loads(shown)
    assert (summary["frames"], summary["first"], summary["last"]) == (FRAMES, 0, FRAMES - 1)
    assert summary["objects"] == [1, 2]
    assert list(summary["points"]) == ["1", "blue", "top", "bottom"]
    assert all((film / path).exists() for path in summary["written"])
    folder = out / "Annotations/64p/squares"
    masks = [read_mask(folder / f"{i:05}.png") for i in range(FRAMES)]
    true = [paint(i)[1] for i in range(FRAMES)]
    assert JF().update("squares", masks, true).compute().both.value > 85
    with Image.open(folder / "00003.png") as image:
        assert (image.mode, image.size) == ("P", SIZE_WH)
    video = open_video(out / "squares.mp4")
    assert (video.size_wh, len(list(video))) == (SIZE_WH, FRAMES)
    assert video.fps == pytest.approx(24 if source == "squares" else 25, rel=1e-3)


def test_points_in_three_formats_agree(run, film):
    out = film / "out"
    assert run(film / "squares.mp4", *everything(film), *FAST, *SHORT, "--out", out)[0] == 0
    listed = json.loads((out / "squares.points.json").read_text())
    assert (listed["size_wh"], listed["limbs"]) == ([96, 64], [[2, 3]])
    table = np.array([frame["points"] for frame in listed["frames"]])
    assert table.shape == (FRAMES, 4, 2)
    assert listed["frames"][3]["time_s"] == pytest.approx(0.12)
    arrays = np.load(out / "squares.tapvid.npz")
    assert arrays["points"].shape == (4, FRAMES, 2) and arrays["occluded"].dtype == bool
    assert arrays["frames"].tolist() == list(range(FRAMES))
    again = from_tapvid(arrays["points"].astype(float), SIZE_WH).transpose(1, 0, 2)
    assert np.abs(again - table).max() < 1e-4
    seen = np.array([frame["visible"] for frame in listed["frames"]])
    assert np.array_equal(arrays["occluded"], ~seen.T)
    rows = list(csv.DictReader((out / "squares.points.csv").read_text().splitlines()))
    assert len(rows) == 4 * FRAMES
    assert (rows[5]["point"], float(rows[5]["x"])) == (
        "blue",
        pytest.approx(table[1, 1, 0], abs=1e-3),
    )
    # A flat square has no inner structure: its middle is only known to lie inside.
    for i in range(FRAMES):
        for point, (x, y) in zip(table[i], places(i), strict=False):
            assert (np.abs(point - (x + 10, y + 10)) <= 12).all()


def test_boxes_as_motchallenge_has_them(run, film):
    out = film / "out"
    assert run(film / "squares", *everything(film), *FAST, *SHORT, "--out", out)[0] == 0
    rows = np.loadtxt(out / "squares.boxes.txt", delimiter=",")
    assert rows.shape == (FRAMES, 10)
    assert rows[:, 0].tolist() == list(range(1, FRAMES + 1))
    assert (rows[:, 1] == 1).all() and (rows[:, 7:] == -1).all()
    (x, y), _ = places(0)
    assert rows[0, 2:6].tolist() == [x + 1, y + 1, SIDE, SIDE]
    (x, y), _ = places(FRAMES - 1)
    assert np.abs(rows[-1, 2:4] - (x + 1, y + 1)).max() < 8


def test_masks_equal_the_benchmarks(run, film):
    """The same frames under the protocol's code: not a pixel differs."""
    from counterpoint.backbones import load
    from support.tiny_video import write_davis

    root = write_davis(film / "DAVIS", ("one",))
    mask = root / "Annotations/480p/one/00000.png"
    frames = root / "JPEGImages/480p/one"
    assert run(frames, "--mask", mask, *FAST, "--out", film / "out", "--no-video")[0] == 0
    sequence = read_davis(root, sequences=["one"]).sequences[0]
    model = load("rgb", device="cpu")
    setting = setting_of(model.spec, TEMPORAL)
    options = setting.options(Options(model="rgb", size="48x32"))
    for i, expected in enumerate(track_masks(model, sequence, setting, options)):
        found = read_mask(film / f"out/Annotations/64p/one/{i:05}.png")
        assert np.array_equal(found, expected)
    assert not (film / "out/one.mp4").exists()


@pytest.mark.parametrize("after", [1, 2, 6])
def test_killed_and_gone_on_is_identical(run, film, drawn, monkeypatch, after):
    command = (film / "squares.mp4", *everything(film), *FAST, *SHORT)
    drawn.clear()
    assert run(*command, "--out", film / "whole")[0] == 0
    whole = drawn[:]
    with monkeypatch.context() as patched:
        original = TrackFolder.add

        def stop(self, number, *more):
            if number == after:
                raise KeyboardInterrupt
            original(self, number, *more)

        patched.setattr(TrackFolder, "add", stop)
        code, _, said = run(*command, "--out", film / "parts")
        assert code == 130
        assert f"stopped after {after} frames; the same command goes on" in said
    assert not (film / "parts/squares.mp4").exists()
    drawn.clear()
    assert run(*command, "--out", film / "parts")[0] == 0
    assert contents(film / "parts") == contents(film / "whole")
    assert drawn == whole


def test_killed_in_the_middle_of_a_line(run, film):
    command = (film / "squares", *everything(film), *FAST, "--radius", 4)
    assert run(*command, "--out", film / "whole")[0] == 0
    assert run(*command, "--out", film / "parts")[0] == 0
    log = film / "parts/.squares.track/log.jsonl"
    log.write_text("\n".join(log.read_text().splitlines()[:5])[:-20])
    assert run(*command, "--out", film / "parts")[0] == 0
    assert contents(film / "parts") == contents(film / "whole")


def test_what_is_done_is_not_done_again(run, film, monkeypatch):
    command = (film / "squares", *everything(film), *FAST, *SHORT, "--out", film / "out")
    assert run(*command)[0] == 0
    before = contents(film / "out")

    def never(*arguments):
        raise AssertionError("stepped")

    monkeypatch.setattr("counterpoint.tasks.tracking.tracker.frame_features", never)
    assert run(*command)[0] == 0
    assert contents(film / "out") == before
    code, _, said = run(*command, "--topk", 3)
    assert code == 2
    assert "made with tracking" in said


def test_start_stop_every_and_later_marks(run, film):
    (x, y), _ = middles(2)
    marks = ("--points", f"a={x},{y}", "4:b=30,30", "--mask", f"4:{film / 'mask4.png'}")
    which = ("--start", 2, "--stop", 8, "--every", 2)
    out = film / "out"
    code, shown, _ = run(film / "squares", *marks, *which, *FAST, *SHORT, "--out", out, "--json")
    assert code == 0
    assert json.loads(shown)["frames"] == 3
    frames = json.loads((out / "squares.points.json").read_text())["frames"]
    assert [frame["frame"] for frame in frames] == [2, 4, 6]
    assert frames[0]["points"][1] is None and frames[1]["points"][1] == [30, 30]
    names = sorted(p.name for p in (out / "Annotations/64p/squares").iterdir())
    assert names == ["00002.png", "00004.png", "00006.png"]
    assert not read_mask(out / "Annotations/64p/squares/00002.png").any()
    assert np.array_equal(read_mask(out / "Annotations/64p/squares/00004.png"), paint(4)[1])


def test_object_numbers_are_kept(run, film):
    mask = np.where(paint(0)[1] == 2, 9, paint(0)[1] * 4).astype(np.uint8)
    save_mask(film / "odd.png", mask)
    asked = ("--mask", film / "odd.png", *FAST, *SHORT, "--out", film / "out", "--no-video")
    assert run(film / "squares", *asked)[0] == 0
    found = read_mask(film / "out/Annotations/64p/squares/00005.png")
    assert set(np.unique(found)) == {0, 4, 9}
    assert (found[paint(5)[1] == 2] == 9).mean() > 0.7


def test_broken_frames_are_skipped_on_demand(run, film):
    (film / "squares/00003.png").write_bytes(b"no picture")
    Image.fromarray(paint(5)[0][:, :50]).save(film / "squares/00005.png")
    command = (film / "squares", *everything(film), *FAST, *SHORT)
    code, _, said = run(*command, "--out", film / "a")
    assert code == 2
    assert "00003.png" in said and len(said.splitlines()) == 1
    code, _, said = run(*command, "--out", film / "b", "--skip-bad")
    assert code == 2
    assert "frames of one size" in said
    code, shown, _ = run(*command, "--out", film / "c", "--skip-bad", "--resize", "--json")
    assert code == 0
    summary = json.loads(shown)
    assert summary["frames"] == FRAMES - 1
    assert [bad["frame"] for bad in summary["skipped"]] == [3]
    lost = (*command, "--points", "3:z=30,30", "--out", film / "d", "--skip-bad", "--resize")
    code, _, said = run(*lost)
    assert code == 2
    assert "expected frame 3, which is marked, got frame 4" in said


def test_everything_lost_is_said(run, film):
    flat = film / "flat"
    flat.mkdir()
    for i in range(3):
        colour = (200, 40, 40) if i == 0 else (40, 200, 40)
        rgb = np.full((64, 96, 3), colour, np.uint8)
        Image.fromarray(rgb).save(flat / f"{i}.png")
    asked = ("--points", "50,30", "--visible", 0.9, *FAST, *SHORT, "--out", film / "out")
    code, shown, _ = run(flat, *asked)
    assert code == 1
    assert "nothing of what was marked is left" in shown
    assert "point 1: visible in 1 of 3 frames" in shown


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ((), "expected something marked in frame 0"),
        (("--points", "12"), "expected a point as X,Y (like 120,85)"),
        (("--points", "a,b"), "expected a point as X,Y"),
        (("--points", "nan,3"), "expected a point as X,Y"),
        (("--points", "-5,3"), "-5"),
        (("--points", "a=-5,3"), "inside the frame"),
        (("--points", "96,3"), "inside the frame"),
        (("--points", "1,1", "90:2,2"), "within the 8 frames, got frame 90"),
        (("--points", "a=1,1", "a=2,2"), "expected 'a' once in frame 0"),
        (("--boxes", "1,2,3"), "expected a box as X,Y,W,H"),
        (("--boxes", "1,2,0,9"), "got an empty one"),
        (("--boxes", "1,2,96,9"), "a box's corners"),
        (("--mask", "none.png"), "no such file: none.png"),
        (("--pose", "none.json"), "no such file: none.json"),
        (("--points", "1,1", "--start", "8"), "--start within the 8 frames"),
        (("--points", "1,1", "3:2,2", "--every", "2"), "frames that are tracked"),
        (("--points", "1,1", "--stop", "0"), "frames that are tracked"),
        (("--points", "1,1", "--temperature", "0"), "temperature above 0"),
        (("--points", "1,1", "--visible", "2"), "visible and gone from 0 to 1"),
        (("--points", "1,1", "--fit", "pad"), "expected frames squashed"),
    ],
)
def test_bad_marks(run, film, marks, said):
    code, shown, error = run(film / "squares", *marks, *FAST, "--out", film / "out")
    assert (code, shown) == (2, "")
    assert said in error and len(error.splitlines()) == 1


def test_bad_files(run, film):
    small, pose, text = film / "small.png", film / "pose.json", film / "clip.mp4"
    save_mask(small, paint(0)[1][:50])
    text.write_text("no video")
    pose.write_text('{"nose": [1]}')
    where = ("--out", film / "out", *FAST)
    for source, marks, said in (
        ("squares", ("--mask", small), "expected a mask of the frame's size, 96 x 64, got 96 x 50"),
        ("squares", ("--mask", film / "mask0.png", small), "one mask for frame 0, got two"),
        ("squares", ("--pose", pose), "expected joints as [x, y]"),
        ("clip.mp4", ("--points", "1,1"), "expected a video"),
        ("nothing", ("--points", "1,1"), "no such file"),
    ):
        code, _, error = run(film / source, *marks, *where)
        assert code == 2
        assert said in error and len(error.splitlines()) == 1
    assert not (film / "out").exists()
    (film / "file").write_text("")
    code, _, error = run(film / "squares", "--points", "1,1", *FAST, "--out", film / "file")
    assert code == 2 and "expected a folder for --out" in error


def test_a_start_behind_the_end_of_a_file_that_does_not_say_its_length(run, film):
    with av.open(str(film / "clip.ts"), "w") as container:
        stream = container.add_stream("mpeg2video", 25)
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(paint(i)[0], format="rgb24") for i in range(3)]
        for frame in (*frames, None):
            container.mux(stream.encode(frame))
    asked = ("--points", "1,1", "--start", 9, *FAST, "--out", film / "out")
    code, shown, error = run(film / "clip.ts", *asked)
    assert (code, shown) == (2, "")
    assert "expected frames of clip from 9 on, found none" in error
    assert len(error.splitlines()) == 1 and not (film / "out").exists()


def test_sizes_that_the_model_would_pad():
    check_input((832, 480), 16)
    with pytest.raises(BadInput, match="in multiples of 16 for this model, got 100x60; try 96x64"):
        check_input((100, 60), 16)


def test_the_progress_is_on_standard_error(run, film):
    asked = ("--points", "20,20", *FAST[:-1], *SHORT, "--out", film / "out", "--json")
    code, shown, said = run(film / "squares", *asked)
    assert code == 0
    assert json.loads(shown)["frames"] == FRAMES
    assert f"{FRAMES}/{FRAMES}" in said


def test_times_that_stand_still():
    clock = Clock(25)
    assert [clock(t) for t in (None, 1.0, 2.0)] == [None, None, None]
    times = [Clock(25)(0.0)]
    clock = Clock(25)
    times = [clock(t) for t in (0.0, 0.0, 0.04, None)]
    assert times == pytest.approx([0, 0.001, 0.04, 0.08])


def test_real_frames(run, shared, tmp_path):
    """The embedded model, three real frames: near the true mask."""
    root = shared / "data/DAVIS"
    mask = root / "Annotations/480p/camel/00000.png"
    asked = ("--mask", mask, "--points", "400,200", "--size", "208x112", "--stop", 3, "--quiet")
    assert run(root / "JPEGImages/480p/camel", *asked, "--out", tmp_path)[0] == 0
    sequence = read_davis(root, sequences=["camel"], limit_frames=3).sequences[0]
    folder = tmp_path / "Annotations/480p/camel"
    found = [read_mask(folder / f"{i:05}.png") for i in range(3)]
    score = JF().update("camel", found, [sequence.mask(i) for i in range(3)]).compute()
    assert score.region.mean > 75
