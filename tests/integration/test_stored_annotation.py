"""`counterpoint annotate` with stored features, and what a run holds in memory."""

import gc
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from counterpoint.features import read_header

RGB = ("--model", "rgb", "--device", "cpu")

NAMES = ["red", "left_blue", "right_blue"]
COLOURS = [(255, 0, 0), (0, 0, 255), (0, 200, 255)]
OFFSETS = [(0, 0), (26, 0), (13, 20)]
PLACES = [(20, 20), (50, 30), (30, 45), (60, 20)]


def write_toys(root, grow=1):
    """Four pictures of one toy, two of them annotated."""
    wide, high = 120 * grow, 90 * grow
    things = []
    for number, (x, y) in enumerate(PLACES, 1):
        rgb = np.random.default_rng(number).integers(110, 140, (90, 120, 3)).astype(np.uint8)
        for (dx, dy), colour in zip(OFFSETS, COLOURS, strict=True):
            rgb[y + dy - 5 : y + dy + 6, x + dx - 5 : x + dx + 6] = colour
        rgb = cv2.resize(rgb, (wide, high), interpolation=cv2.INTER_NEAREST)
        path = root / "photos/set" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(path)
        flat = [v for dx, dy in OFFSETS for v in ((x + dx) * grow, (y + dy) * grow, 2)]
        box = [(x - 8) * grow, (y - 8) * grow, 43 * grow, 37 * grow]
        mask = np.zeros((high, wide), bool)
        mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
        starts = np.flatnonzero(np.diff(mask.ravel(order="F").astype(int), prepend=0))
        runs = np.diff([0, *starts, mask.size]).tolist()
        outline = {"size": [high, wide], "counts": runs}
        thing = {"id": number, "image_id": number, "category_id": 3, "bbox": box, "iscrowd": 0}
        things.append({**thing, "area": box[2] * box[3], "keypoints": flat, "num_keypoints": 3})
        things[-1]["segmentation"] = outline
    images = [
        {"id": i, "file_name": f"set/{i}.png", "width": wide, "height": high} for i in range(1, 5)
    ]
    kind = {"id": 3, "name": "toy", "keypoints": NAMES, "skeleton": []}
    for name, chosen in (("refs.json", things[:2]), ("boxes.json", things)):
        document = {"images": images, "categories": [kind], "annotations": chosen}
        (root / name).write_text(json.dumps(document))
    return root


@pytest.fixture
def toys(tmp_path):
    return write_toys(tmp_path)


def labelling(toys, out, *more):
    photos = toys / "photos"
    return ("annotate", toys / "refs.json", "--images", photos, "--out", toys / out, *more)


def same_labels(toys, a, b):
    for name in ("annotations.json", "review.csv", "worst.png"):
        assert (toys / a / name).read_bytes() == (toys / b / name).read_bytes()


def test_annotations_equal_those_of_the_running_model(run, toys):
    making = (*RGB, "--size", 32)
    how = ("--boxes", toys / "boxes.json", "--flip")
    assert run(*labelling(toys, "run", *how, *making))[0] == 0
    files = ("--boxes", toys / "boxes.json", toys / "refs.json", "--flip")
    write = ("extract", toys / "photos", "--for", "annotate", *files, "--out", toys / "f")
    code, shown, _ = run(*write, *making)
    assert (code, "8 written" in shown) == (0, True)  # a square each, and its mirror image
    assert "0 written, 8 already there" in run(*write, *making)[1]
    stored = labelling(toys, "stored", *how, "--features", toys / "f", "--json")
    code, shown, said = run(*stored)
    assert code == 0, said
    same_labels(toys, "run", "stored")
    made = {"model": "rgb", "tap": "pixels", "stored": str(toys / "f")}
    assert json.loads(shown)["features"] == made
    header = json.loads((toys / "stored/journal.jsonl").read_text().splitlines()[0])
    assert header["features"]["stored"]["model"] == "rgb"
    run(*stored)
    same_labels(toys, "run", "stored")


def test_whole_pictures_that_are_shrunk(run, tmp_path):
    """720 pixels wide: `--for annotate` gives the very same; plain files serve nearly as well."""
    toys = write_toys(tmp_path, grow=6)
    making = (*RGB, "--size", 32)
    assert run(*labelling(toys, "run", *making))[0] == 0
    run("extract", toys / "photos", "--for", "annotate", "--out", toys / "f", *making)
    assert run(*labelling(toys, "stored", "--features", toys / "f"))[0] == 0
    same_labels(toys, "run", "stored")
    run("extract", toys / "photos", "--flip", "--out", toys / "plain", *making)
    assert run(*labelling(toys, "near", "--features", toys / "plain"))[0] == 0
    points = [
        np.array([one["keypoints"] for one in json.loads(text)["annotations"]])
        for text in ((toys / p / "annotations.json").read_text() for p in ("run", "near"))
    ]
    assert np.abs(points[0] - points[1]).max() < 12  # of 720; a cell has 22
    assert run(*labelling(toys, "turned", "--flip", "--features", toys / "plain"))[0] == 0


def test_features_that_annotations_cannot_come_from(run, toys):
    run("extract", toys / "photos", "--out", toys / "f", *RGB, "--size", 32)
    stored = ("--features", toys / "f")

    def refused(reason, *more):
        code, _, said = run(*labelling(toys, "o", *stored, *more))
        assert (code, reason in said, len(said.splitlines())) == (2, True, 1), said

    missing = "as annotate looks at it"
    refused(missing, "--boxes", toys / "boxes.json")
    refused("--flip for mirror images", "--flip")
    refused("expected no --model with --features", "--model", "rgb")
    (toys / "f/1.png.safetensors").unlink()
    refused("1.png as annotate looks at it (120 x 90)")
    run("extract", toys / "photos", "--out", toys / "f", *RGB, "--size", 32)
    (toys / "f/3.png.safetensors").unlink()
    code, _, said = run(*labelling(toys, "o", *stored, "--skip-bad"))
    assert (code, said.count("skipped")) == (1, 1)


def test_boxes_are_asked_for_in_every_picture(run, toys):
    given = json.loads((toys / "boxes.json").read_text())
    given["annotations"] = given["annotations"][:3]
    (toys / "some.json").write_text(json.dumps(given))
    write = ("extract", toys / "photos", "--for", "annotate", "--boxes", toys / "some.json")
    code, shown, said = run(*write, "--out", toys / "f", *RGB, "--size", 32)
    assert (code, "3 written, 0 already there, 1 failed" in shown) == (1, True)
    assert "expected boxes of" in said and "4.png" in said


def reachable(things):
    """Every array that can be reached from some objects, each once."""
    seen, todo, arrays = set(), list(things), []
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            arrays.append(one)
        else:
            todo += gc.get_referents(one)
    return arrays


def test_masks_are_not_kept_as_pixels(run, tmp_path, monkeypatch):
    """What a run holds in the end is far less than one picture's mask."""
    from counterpoint.cli.annotate import command

    toys = write_toys(tmp_path, grow=4)
    held = []
    finish = command._write

    def weigh(run, results):
        assert [len(result.found) for result in results] == [1, 1]
        assert all(one.instance.outline.mask.any() for r in results for one in r.found)
        held.append([a.nbytes for a in reachable([result.found for result in results])])
        held.append(len(json.dumps(run.journal._done)))
        assert not [a for a in reachable([run.given, run.boxes]) if a.shape == (360, 480)]
        return finish(run, results)

    monkeypatch.setattr(command, "_write", weigh)
    boxes = ("--boxes", toys / "boxes.json")
    assert run(*labelling(toys, "o", *boxes, *RGB, "--size", 32))[0] == 0
    arrays, noted = held
    assert len(arrays) >= 10  # points, confidences, run lengths
    assert sum(arrays) < 0.1 * 480 * 360
    assert noted < 300  # of each target a hash and a place in the file
    masks = json.loads((toys / "o/annotations.json").read_text())["annotations"]
    assert all(sum(one["segmentation"]["counts"]) == 480 * 360 for one in masks)


def test_what_is_stored_says_what_it_is_of(run, toys):
    run("extract", toys / "photos", "--flip", "--out", toys / "f", *RGB, "--size", 32)
    hashes = {
        path.name: read_header(path).provenance.picture_sha256 for path in (toys / "f").iterdir()
    }
    assert hashes["1.png.safetensors"] != hashes["1.png.mirrored.safetensors"]
    assert len(set(hashes.values())) == 8
