"""Stored features of videos and pictures: what `extract` writes, and that commands use just it."""

import gc
import json
import weakref

import numpy as np
import pytest
from PIL import Image

from counterpoint.cli.extract import _Work
from counterpoint.features import FeatureMap
from counterpoint.videos import VideoWriter
from support.tiny_video import SIZE_WH, paint, places, save_mask

FRAMES = 6
RGB = ("--model", "rgb", "--device", "cpu")
SIZE = ("--size", "48x32")
MARKS = ("--context", 2, "--radius", 4, "--quiet", "--no-video")


@pytest.fixture
def film(tmp_path):
    """A folder of frames, the same as a file, and what is marked in the first frame."""
    folder = tmp_path / "clip"
    folder.mkdir()
    with VideoWriter(tmp_path / "clip.mp4", 25, SIZE_WH, crf=4) as writer:
        for i in range(FRAMES):
            rgb, mask = paint(i)
            writer.add(rgb)
            Image.fromarray(rgb).save(folder / f"{i:05}.png")
            if i == 0:
                save_mask(tmp_path / "mask.png", mask)
    return tmp_path


def marks(film):
    (x, y), _ = places(0)
    points = ("--points", f"{x + 10},{y + 10}", "--boxes", f"{x},{y},20,20")
    return ("--mask", film / "mask.png", *points, *MARKS)


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix != ".mp4"
    }


# --- extract


def test_frames_of_a_file_and_of_a_folder(run, film):
    code, shown, _ = run("extract", film / "clip", film / "clip.mp4", "--out", film / "f", *RGB)
    assert (code, f"{2 * FRAMES} written" in shown) == (0, True)
    names = sorted(str(p.relative_to(film / "f")) for p in (film / "f").rglob("*.safetensors"))
    assert names[0] == "clip.mp4/00000.safetensors"
    assert names[FRAMES:][1] == "clip/00001.png.safetensors"
    assert len(names) == 2 * FRAMES
    (film / "f/clip.mp4/00003.safetensors").unlink()
    again = run("extract", film / "clip", film / "clip.mp4", "--out", film / "f", *RGB)
    assert f"1 written, {2 * FRAMES - 1} already there" in again[1]
    one = FeatureMap.load(film / "f/clip.mp4/00003.safetensors")
    assert one.image_size_wh == SIZE_WH


def test_one_frame_is_in_memory_at_a_time(run, film, monkeypatch):
    alive, most = [], []
    do = _Work._do

    def counted(self, entry):
        alive.append(weakref.ref(entry))
        gc.collect()
        most.append(sum(one() is not None for one in alive))
        do(self, entry)

    monkeypatch.setattr(_Work, "_do", counted)
    run("extract", film / "clip.mp4", "--out", film / "f", *RGB)
    assert len(most) == FRAMES
    assert max(most) <= 2


def test_videos_below_a_folder_and_what_is_broken(run, film):
    (film / "clip/00002.png").write_bytes(b"no picture")
    (film / "bad.mp4").write_bytes(b"no video")
    code, shown, said = run("extract", film, "--out", film / "f", *RGB)
    assert (code, f"{2 * FRAMES} written, 0 already there, 2 failed" in shown) == (1, True)
    assert "00002.png" in said and "bad.mp4" in said
    assert (film / "f/clip.mp4/00000.safetensors").is_file()
    (film / "only").mkdir()
    (film / "clip.mp4").rename(film / "only/clip.mp4")
    assert run("extract", film / "only", "--out", film / "g", *RGB)[0] == 0
    assert len(list((film / "g/clip.mp4").iterdir())) == FRAMES


def test_moving_gifs_are_pictures_unless_told_otherwise(run, film):
    first, *rest = (Image.fromarray(paint(i)[0]) for i in range(3))
    first.save(film / "a.gif", save_all=True, append_images=rest, duration=100)
    run("extract", film / "a.gif", "--out", film / "f", *RGB)
    assert (film / "f/a.gif.safetensors").is_file()
    run("extract", film / "a.gif", "--out", film / "g", "--video", *RGB)
    assert len(list((film / "g/a.gif").iterdir())) == 3


def test_what_does_not_go_together(run, film):
    asked = ("extract", film / "clip", "--out", film / "f", *RGB)
    for words, reason in (
        (("--for", "track", "--flip"), "no --flip with --for track"),
        (("--boxes", film / "none.json"), "--boxes with --for annotate only"),
        (("--for", "annotate", "--box-scale", "0"), "a box scale from 1 to 10"),
        (("--for", "track", "--fit", "pad"), "got fit pad"),
    ):
        code, _, said = run(*asked, *words)
        assert (code, reason in said) == (2, True), said
    assert not (film / "f").exists()


# --- track


@pytest.mark.parametrize("source", ["clip", "clip.mp4"])
def test_tracks_equal_those_of_the_running_model(run, film, source):
    """With noise and a network: the very same files, and what made them says the same."""
    asked = ("track", film / source, *marks(film))
    small = ("--size", "64x32", "--device", "cpu")
    assert run("extract", film / source, "--for", "track", "--out", film / "f", *small)[0] == 0
    assert run(*asked, "--out", film / "run", *small)[0] == 0
    code, shown, _ = run(*asked, "--features", film / "f", "--out", film / "stored", "--json")
    assert code == 0
    assert contents(film / "run") == contents(film / "stored")
    found = json.loads(shown)
    assert (found["model"], found["tap"], found["input_wh"]) == ("small", "up:1", [64, 32])
    assert found["features"] == str(film / "f")


def test_plain_features_and_any_layout_serve_as_well(run, film):
    run("extract", film / "clip", film / "clip.mp4", "--out", film / "f", *RGB, *SIZE)
    for source in ("clip", "clip.mp4"):
        asked = ("track", film / source, *marks(film), "--features", film / "f")
        assert run(*asked, "--out", film / source[-3:])[0] == 0
        listed = json.loads((film / source[-3:] / "clip.points.json").read_text())
        (x, y), _ = places(FRAMES - 1)
        assert np.abs(np.subtract(listed["frames"][-1]["points"][0], (x + 10, y + 10))).max() < 12


def test_a_stop_with_the_model_goes_on_with_stored_features(run, film):
    asked = ("track", film / "clip", *marks(film))
    run("extract", film / "clip", "--for", "track", "--out", film / "f", *RGB, *SIZE)
    for out in ("whole", "parts"):
        run(*asked, *RGB, *SIZE, "--out", film / out)
    log = film / "parts/.clip.track/log.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:4]))
    # What the stopped run would remember: the frames before the cut.
    short = (*asked, *RGB, *SIZE, "--out", film / "short", "--stop", 4)
    run(*short)
    for number in (2, 3):
        name = f".clip.track/{number}.safetensors"
        (film / "parts" / name).write_bytes((film / "short" / name).read_bytes())
    assert run(*asked, "--features", film / "f", "--out", film / "parts")[0] == 0
    assert contents(film / "parts") == contents(film / "whole")


def test_few_maps_are_in_memory_at_once(run, film, monkeypatch):
    run("extract", film / "clip", "--for", "track", "--out", film / "f", *RGB, *SIZE)
    alive, most = [], []
    load = FeatureMap.load.__func__

    def counted(cls, path):
        fmap = load(cls, path)
        alive.append(weakref.ref(fmap.values))
        gc.collect()
        most.append(sum(one() is not None for one in alive))
        return fmap

    monkeypatch.setattr(FeatureMap, "load", classmethod(counted))
    asked = ("track", film / "clip", *marks(film), "--features", film / "f")
    assert run(*asked, "--out", film / "o")[0] == 0
    assert len(most) == FRAMES + 1
    assert max(most) <= 5  # the first, two of context, the last, and the new one


def test_features_that_cannot_be_tracked_with(run, film):
    asked = ("track", film / "clip", *marks(film), "--out", film / "o", "--features", film / "f")
    assert "a folder of feature files for --features" in run(*asked)[2]
    write = ("extract", film / "clip", "--for", "track", "--out", film / "f", *RGB, "--overwrite")

    def refused(reason, *more):
        code, _, said = run(*asked, *more)
        assert (code, reason in said, len(said.splitlines())) == (2, True, 1), said

    run(*write, *SIZE)
    making = ("--t", 5, "--tap", "up:1", "--size", 64, "--ensemble", 2, "--model", "sift")
    for i in range(0, len(making), 2):
        refused(f"expected no {making[i]} with --features", *making[i : i + 2])
    file = film / "f/00003.png.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    refused("damaged, cut off or foreign")
    file.write_bytes((film / "f/00002.png.safetensors").read_bytes())
    refused(f"{file} is of another picture than {film / 'clip/00003.png'}")
    fmap = FeatureMap.load(film / "f/00002.png.safetensors")
    file.unlink()
    refused(f"no such feature file: {file}")
    run("extract", film / "clip/00003.png", "--out", film / "f", *RGB, "--size", "32x32")
    refused("features of every frame on one grid")
    run(*write, *SIZE)
    finer = ("--out", film / "f", "--for", "track", *SIZE, "--overwrite", "--model", "sift")
    run("extract", film / "clip/00003.png", *finer)
    refused("expected features that were all made alike, got model = 'sift'")
    assert fmap.provenance.model == "rgb"


def test_features_of_a_model_that_is_not_known_here(run, film, caplog):
    from dataclasses import replace

    run("extract", film / "clip", "--for", "track", "--out", film / "f", *RGB, *SIZE)
    for path in (film / "f").iterdir():
        fmap = FeatureMap.load(path)
        replace(fmap, provenance=replace(fmap.provenance, model="/their/model")).save(path)
    asked = ("track", film / "clip", *marks(film), "--out", film / "o", "--features", film / "f")
    assert run(*asked)[0] == 0
    assert "/their/model, which is not known here" in caplog.text


# --- edit

STICKER = ("--at", "90,80", "--count", "80")


def scene():
    """Every place has a colour of its own, (144, 192, 3)."""
    y, x = np.indices((144, 192)).astype(np.float32)
    rgb = np.stack([40 + x * 0.9, 40 + y * 1.3, 230 - 0.5 * x - 0.6 * y], axis=-1)
    return np.clip(rgb, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    targets = tmp_path / "targets"
    targets.mkdir()
    Image.fromarray(scene()).save(tmp_path / "source.png")
    Image.fromarray(np.roll(scene(), 6, axis=0)).save(targets / "a.png")
    Image.fromarray(scene()[:, ::-1].copy()).save(targets / "b.png")
    sticker = np.zeros((40, 60, 4), np.uint8)
    sticker[4:36, 4:56] = (255, 0, 255, 255)
    Image.fromarray(sticker).save(tmp_path / "s.png")
    return tmp_path


def rows_of(out):
    rows = json.loads((out / "edit.json").read_text())
    made = [(row.pop("model"), row.pop("tap", None), row.pop("features", None)) for row in rows]
    text = json.dumps(rows).replace(str(out), "OUT")
    return made, json.loads(text)


def test_edits_equal_those_of_the_running_model(run, folder):
    making = (*RGB, "--size", "96x72")
    asked = ("edit", folder / "source.png", folder / "targets", "--sticker", folder / "s.png")
    asked = (*asked, *STICKER, "--mirror", "--seed", 3)
    assert run(*asked, *making, "--out", folder / "run")[0] == 0
    places = (folder / "source.png", folder / "targets")
    assert run("extract", *places, "--flip", "--out", folder / "f", *making)[0] == 0
    assert (folder / "f/targets/b.png.mirrored.safetensors").is_file()
    code, _, said = run(*asked, "--features", folder / "f", "--out", folder / "stored")
    assert code == 0, said
    (_, ran), (made, stored) = rows_of(folder / "run"), rows_of(folder / "stored")
    assert ran == stored
    assert np.array(ran[1]["parts"][0]["matrix"])[0][0] < 0  # found in the mirror image
    assert made == [("rgb", "pixels", str(folder / "f"))] * 2
    drawn = [contents(folder / place) for place in ("run", "stored")]
    for one in drawn:
        del one["edit.json"]
    assert drawn[0] == drawn[1]


def test_matches_equal_those_of_the_running_model(run, folder):
    making = ("--model", "small", "--size", "96x64", "--t", "20")
    pictures = (folder / "source.png", folder / "targets/a.png", folder / "targets/b.png")
    asked = ("match", *pictures, "--at", "90,80", "--at", "20,30", "--flip", "similarity")
    _, ran, _ = run(*asked, *making, "--json")
    places = (folder / "source.png", folder / "targets")
    assert run("extract", *places, "--flip", "--out", folder / "f", *making)[0] == 0
    code, stored, said = run(*asked, "--features", folder / "f", "--json")
    assert code == 0, said
    assert [one["alignment"]["flip"] for one in json.loads(stored)] == [False, True]
    for one, other in zip(json.loads(stored), json.loads(ran), strict=True):
        for mine, theirs in zip(*(o["matches"]["matches"] for o in (one, other)), strict=True):
            assert mine["target_px"] == theirs["target_px"]
            # Alone or in a batch, a network's sums differ in the last digits.
            assert mine["similarity"] == pytest.approx(theirs["similarity"], abs=1e-5)
    for more, reason in (
        (("--members", "2"), "no --members with --features"),
        (("--t", "50"), "expected no --t with --features"),
    ):
        code, out, said = run(*asked, "--features", folder / "f", *more)
        assert (code, out) == (2, "")
        assert reason in said
    (folder / "f/targets/b.png.mirrored.safetensors").unlink()
    code, _, said = run(*asked, "--features", folder / "f")
    assert (code, "b.png" in said, said.count("\n")) == (2, True, 1)


def test_edits_of_videos_with_stored_features(run, folder):
    clip = folder / "walk"
    clip.mkdir()
    with VideoWriter(folder / "walk.mp4", 10, (192, 144), crf=4) as writer:
        for t in range(3):
            writer.add(np.roll(scene(), t, axis=0))
            Image.fromarray(np.roll(scene(), t, axis=0)).save(clip / f"{t}.png")
    making = (*RGB, "--size", "96x72")
    films = (clip, folder / "walk.mp4")
    asked = ("edit", folder / "source.png", *films, "--video", "--sticker", folder / "s.png")
    run(*asked, *STICKER, *making, "--out", folder / "run")
    places = (folder / "source.png", *films)
    assert run("extract", *places, "--for", "views", "--out", folder / "f", *making)[0] == 0
    code, _, said = run(*asked, *STICKER, "--features", folder / "f", "--out", folder / "stored")
    assert code == 0, said
    assert rows_of(folder / "run")[1] == rows_of(folder / "stored")[1]
    for name in ("0.png", "1.png", "2.png"):
        a, b = (Image.open(folder / place / "walk" / name) for place in ("run", "stored"))
        assert np.array_equal(a, b)


def test_features_that_edits_cannot_use(run, folder):
    asked = ("edit", folder / "source.png", folder / "targets", "--sticker", folder / "s.png")
    asked = (*asked, *STICKER, "--features", folder / "f", "--out", folder / "o")
    run("extract", folder / "targets", "--out", folder / "f", *RGB, "--size", "96x72")
    code, _, said = run(*asked)
    assert (code, "no such feature file" in said, "source.png" in said) == (2, True, True)
    run("extract", folder / "source.png", "--out", folder / "f", *RGB, "--size", "96x72")
    assert "expected no --across views with --features" in run(*asked, "--across", "views")[2]
    assert "expected no --t, --size with --features" in run(*asked, "--t", 1, "--size", 64)[2]
    (folder / "f/b.png.safetensors").unlink()
    code, shown, said = run(*asked)  # the one target without features is told of
    assert (code, said.count("skipped: no such feature file")) == (1, 1)
    assert "1 of 2 carried" in shown
