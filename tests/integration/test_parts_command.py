"""`counterpoint parts` on painted pictures, videos and real birds."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from counterpoint.tasks.parts.pictures import COLOURS
from counterpoint.videos import VideoWriter, open_video

BODY, HEAD, GROUND = (210, 60, 30), (200, 30, 190), (90, 160, 90)
SMALL = ("--model", "rgb", "--size", "24")


def beast(index, size_wh=(96, 72)):
    """A red body with a purple head on green; and a mask, 1 and 2."""
    width, height = size_wh
    rgb = np.full((height, width, 3), GROUND, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    left, top = 16 + 4 * index, 20 + 2 * (index % 3)
    for number, colour, box in (
        (1, BODY, (top, top + 24, left, left + 36)),
        (2, HEAD, (top - 8, top + 8, left + 32, left + 48)),
    ):
        rows, columns = slice(*box[:2]), slice(*box[2:])
        rgb[rows, columns], mask[rows, columns] = colour, number
    return rgb, mask


@pytest.fixture
def herd(tmp_path):
    folder = tmp_path / "herd"
    (folder / "far").mkdir(parents=True)
    for i in range(4):
        name = f"{'far/' if i == 3 else ''}{i}.png"
        Image.fromarray(beast(i)[0]).save(folder / name)
    return folder


def opened(path):
    with Image.open(path) as image:
        return np.array(image), image.mode


def true_parts(labels, mask):
    """Which label each true part mostly has, and how much of it."""
    found = []
    for number in (1, 2):
        counts = np.bincount(labels[mask == number], minlength=256)
        found.append((int(counts.argmax()), counts.max() / counts.sum()))
    return found


def test_parts_of_a_folder(run, herd, tmp_path):
    out = tmp_path / "out"
    code, shown, _ = run("parts", herd, "--out", out, "--k", 2, "--json", *SMALL)
    assert code == 0
    result = json.loads(shown)
    assert json.loads((out / "parts.json").read_text()) == result
    assert [part["salient"] for part in result["parts"]] == [True, True]
    assert [entry["labels"] for entry in result["pictures"]] == [
        *(f"labels/{i}.png" for i in range(3)),
        "labels/far/3.png",
    ]
    same = set()
    for i, entry in enumerate(result["pictures"]):
        labels, mode = opened(out / entry["labels"])
        mask = beast(i)[1]
        assert (mode, labels.shape) == ("P", mask.shape)
        (body, most), (head, much) = true_parts(labels, mask)
        assert min(most, much) > 0.8
        assert (labels[mask == 0] == 0).mean() > 0.9
        same.add((body, head))
        expected = np.bincount(labels.ravel(), minlength=3)[1:] / labels.size
        assert [entry["parts"][key] for key in "12"] == pytest.approx(expected, abs=1e-5)
    [(body, head)] = same  # consistent over the set
    assert {body, head} == {1, 2}
    assert result["parts"][body - 1]["colour"] == COLOURS[body].tolist()
    overlay, _ = opened(out / "overlays/far/3.jpg")
    assert overlay.shape == (72, 96, 3)
    assert opened(out / "contact.jpg")[0].shape[0] > 72


def test_a_fitted_model_labels_other_pictures(run, herd, tmp_path):
    out = tmp_path / "out"
    run("parts", herd, "--out", out, "--k", 2, *SMALL)
    with safe_open(out / "parts.safetensors", "pt") as file:
        assert file.get_tensor("centres").shape[0] == 2
    Image.fromarray(beast(5, (110, 80))[0]).save(tmp_path / "new.png")
    # The model and the size come from the file.
    asked = ("parts", tmp_path / "new.png", "--fitted", out / "parts.safetensors", "--json")
    code, shown, _ = run(*asked, "--out", tmp_path / "again")
    result = json.loads(shown)
    assert (code, result["model"]) == (0, "rgb")
    labels, _ = opened(tmp_path / "again/labels/new.png")
    old, _ = opened(out / "labels/0.png")
    parts_of = [
        true_parts(one, m) for one, m in ((labels, beast(5, (110, 80))[1]), (old, beast(0)[1]))
    ]
    assert [p for p, _ in parts_of[0]] == [p for p, _ in parts_of[1]]
    assert not (tmp_path / "again/parts.safetensors").exists()
    code, _, said = run(*asked, "--out", tmp_path / "x", "--model", "rgb", "--size", 32)
    assert (code, "expected maps of one kind, got size_wh" in said) == (2, True)
    code, _, said = run(*asked, "--out", tmp_path / "x", "--model", "sift")
    assert code == 2
    assert "expected maps of" in said


def test_one_sample_of_many(run, herd, tmp_path):
    code, shown, _ = run("parts", herd, "--out", tmp_path / "o", "--k", 2, "--sample", 2, *SMALL)
    assert code == 0
    assert "4 pictures" in shown
    labels, _ = opened(tmp_path / "o/labels/1.png")
    assert min(share for _, share in true_parts(labels, beast(1)[1])) > 0.8


def test_masks(run, herd, tmp_path):
    masks = tmp_path / "masks"
    (masks / "far").mkdir(parents=True)
    for i in range(4):
        name = f"{'far/' if i == 3 else ''}{i}.png"
        Image.fromarray((beast(i)[1] == 1).astype(np.uint8) * 255).save(masks / name)
    asked = ("parts", herd, "--out", tmp_path / "out", "--k", 1, *SMALL)
    code, _, _ = run(*asked, "--mask", masks)
    assert code == 0
    for i in range(3):
        labels, _ = opened(tmp_path / f"out/labels/{i}.png")
        assert np.array_equal(labels > 0, beast(i)[1] == 1)
    code, _, said = run(*asked, "--mask", masks / "0.png")
    assert (code, "a mask for each of 4 pictures, got 1" in said) == (2, True)
    Image.fromarray(np.ones((5, 5), np.uint8) * 255).save(masks / "0.png")
    code, _, said = run(*asked, "--mask", masks)
    assert (code, "a mask of its picture's size, 96 x 72" in said) == (2, True)


def test_stored_features(run, herd, tmp_path):
    run("extract", herd, "--out", tmp_path / "features", *SMALL)
    asked = ("parts", herd, "--k", 2, "--features", tmp_path / "features")
    code, shown, _ = run(*asked, "--out", tmp_path / "a", "--json")
    assert (code, json.loads(shown)["model"]) == (0, "rgb")
    run("parts", herd, "--k", 2, "--out", tmp_path / "b", *SMALL)
    for i in range(3):
        a, b = (opened(tmp_path / f"{place}/labels/{i}.png")[0] for place in "ab")
        assert np.array_equal(a, b)
    # What was fitted to files labels pictures by the model that made them, and the other way.
    fitted = ("--fitted", tmp_path / "a/parts.safetensors")
    code, _, said = run("parts", herd, *fitted, "--out", tmp_path / "c")
    assert code == 0, said
    code, _, said = run(*asked[:2], *asked[4:], *fitted, "--out", tmp_path / "d")
    assert code == 0, said
    for i in range(3):
        a, c, d = (opened(tmp_path / f"{place}/labels/{i}.png")[0] for place in "acd")
        assert np.array_equal(a, c)
        assert np.array_equal(a, d)
    code, _, said = run(*asked, "--out", tmp_path / "a", "--model", "sift")
    assert (code, "expected no --model with --features" in said) == (2, True)
    Image.fromarray(beast(1)[0]).save(herd / "0.png")
    code, _, said = run(*asked, "--out", tmp_path / "a")
    assert (code, "is of another picture than" in said) == (2, True)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "walk.mp4"
    with VideoWriter(path, 12, (96, 72)) as writer:
        for i in range(6):
            writer.add(beast(i)[0])
    return path


def check_video(out, name, fps):
    video = open_video(out / f"{name}.parts.mp4")
    assert (video.size_wh, video.count, video.fps) == ((96, 72), 6, fps)
    numbers = set()
    for i, frame in enumerate(video):
        labels, _ = opened(out / f"labels/{i:05}.png")
        (body, most), (head, much) = true_parts(labels, beast(i)[1])
        assert min(most, much) > 0.75
        numbers.add((body, head))
        inner = beast(i)[1] == 1
        inner[:-6, :-6] &= beast(i)[1][6:, 6:] == 1
        inner[6:, 6:] &= beast(i)[1][:-6, :-6] == 1
        colour = (np.array(BODY) + COLOURS[body].astype(int)) // 2
        off = np.abs(np.median(frame.rgb[inner], axis=0) - colour)
        assert off.max() < 25  # the codec's
    assert [set(pair) for pair in numbers] == [{1, 2}]


def test_a_video(run, clip, tmp_path):
    code, shown, _ = run("parts", clip, "--out", tmp_path / "o", "--k", 2, "--sample", 3, *SMALL)
    assert code == 0
    assert "6 pictures" in shown
    check_video(tmp_path / "o", "walk", 12)


def test_a_folder_of_frames(run, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(6):
        Image.fromarray(beast(i)[0]).save(frames / f"{i:05}.png")
    (frames / "00006.png").write_bytes(b"broken")
    asked = ("parts", frames, "--video", "--fps", 10, "--out", tmp_path / "o", "--k", 2)
    code, _, said = run(*asked, *SMALL)
    assert code == 1
    assert "skipped" in said
    check_video(tmp_path / "o", "frames", 10)


def test_videos_and_bad_input(run, clip, herd, tmp_path):
    out = ("--out", tmp_path / "o")
    for words, reason in (
        (("parts", *out), "expected pictures, folders"),
        (("parts", clip, herd, *out), "one video at a time, got 2"),
        (("parts", clip, "--mask", herd, *out), "no --mask with a video"),
        (("parts", herd, "--k", 0, *out, *SMALL), "expected 1 to 255 parts"),
        (("parts", herd, "--k", "many", *out), "many"),
        (("parts", herd, "--sample", 0, *out, *SMALL), "a sample of at least 1"),
        (("parts", herd, "--fitted", clip, *out), "expected fitted parts"),
        (("parts", herd, "--features", clip, *out), "a folder of feature files"),
        (("parts", tmp_path / "none.mp4", *out), "no such file"),
        (("parts", herd, "--out", clip), "expected a folder for --out"),
        (("parts", herd / "0.png", "--k", 250, "--model", "rgb", "--size", 8, *out), "different"),
    ):
        code, _, said = run(*words)
        assert (code, reason in said) == (2, True), said


def test_unreadable_pictures_are_skipped(run, herd, tmp_path):
    (herd / "1.png").write_bytes(b"broken")
    out = tmp_path / "out"
    code, shown, said = run("parts", herd, "--out", out, "--k", 2, "--json", *SMALL)
    assert code == 1
    assert said.count("skipped: expected a picture") == 1
    result = json.loads(shown)
    assert (len(result["pictures"]), len(result["skipped"])) == (3, 1)
    shutil.rmtree(herd)
    herd.mkdir()
    (herd / "1.png").write_bytes(b"broken")
    code, _, said = run("parts", herd, "--out", tmp_path / "o", *SMALL)
    assert (code, "pictures that can be read, got none" in said) == (2, True)


def test_one_tone_and_no_part_at_all(run, herd, tmp_path):
    Image.fromarray(np.full((30, 40, 3), 128, np.uint8)).save(tmp_path / "flat.png")
    asked = ("parts", tmp_path / "flat.png", "--out", tmp_path / "o")
    code, _, said = run(*asked, *SMALL)
    assert (code, "expected features that differ" in said) == (2, True)
    run("parts", herd, "--out", tmp_path / "fit", "--k", 2, *SMALL)
    Image.fromarray(np.full((72, 96, 3), GROUND, np.uint8)).save(tmp_path / "flat.png")
    code, shown, _ = run(*asked, "--fitted", tmp_path / "fit/parts.safetensors")
    assert code == 1
    assert "1 pictures, parts on 0% of their area; none in 1" in shown


def test_real_birds(run, shared, tmp_path):
    birds = sorted((shared / "data/CUB_200_2011/images").glob("003*/*.jpg"))[:3]
    asked = ("parts", *birds, "--out", tmp_path / "o", "--k", 3, "--size", 64, "--json")
    code, shown, _ = run(*asked)
    result = json.loads(shown)
    assert code == 0
    for path, entry in zip(birds, result["pictures"], strict=True):
        labels, _ = opened(tmp_path / "o" / entry["labels"])
        with Image.open(path) as image:
            assert labels.shape == image.size[::-1]
        assert 0 < entry["share"] < 1
