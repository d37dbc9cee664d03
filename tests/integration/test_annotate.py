"""`counterpoint annotate`, end to end: made-up pictures, every format, the real birds."""

import csv
import json
import warnings

import numpy as np
import pytest
from PIL import Image

from counterpoint.annotations import read_annotations, write_annotations

NAMES = ["red", "left_blue", "right_blue"]
COLOURS = [(255, 0, 0), (0, 0, 255), (0, 200, 255)]
OFFSETS = [(0, 0), (26, 0), (13, 20)]
SIZE = (120, 90)


def paint(path, at, seed):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(110, 140, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    for (dx, dy), colour in zip(OFFSETS, COLOURS, strict=True):
        x, y = at[0] + dx, at[1] + dy
        rgb[y - 5 : y + 6, x - 5 : x + 6] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)


def entry(key, at, *, points=True):
    box = [at[0] - 8, at[1] - 8, 43, 37]
    made = {"id": key, "image_id": key, "category_id": 3, "bbox": box, "iscrowd": 0}
    made["area"] = box[2] * box[3]
    if points:
        flat = [v for dx, dy in OFFSETS for v in (at[0] + dx, at[1] + dy, 2)]
        made |= {"keypoints": flat, "num_keypoints": 3}
        left, top, right, bottom = at[0] - 5, at[1] - 5, at[0] + 32, at[1] + 26
        made["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
    return made


def document(places, *, annotated, points=True):
    kind = {"id": 3, "name": "toy", "supercategory": "thing"}
    kind |= {"keypoints": NAMES, "skeleton": [[1, 2], [2, 3]]} if points else {}
    return {
        "info": {"contributor": "us"},
        "licenses": [{"id": 1}],
        "images": [
            {"id": i, "file_name": f"set/{i}.png", "width": SIZE[0], "height": SIZE[1]}
            for i in range(1, len(places) + 1)
        ],
        "categories": [kind],
        "annotations": [
            entry(i, places[i - 1], points=points)
            for i in range(1, len(places) + 1)
            if i in annotated
        ],
    }


PLACES = [(20, 20), (50, 30), (30, 45), (60, 20), (70, 50), (25, 35)]


@pytest.fixture
def toys(tmp_path):
    for number, at in enumerate(PLACES, 1):
        paint(tmp_path / "photos" / "set" / f"{number}.png", at, number)
    given = {
        "refs.json": document(PLACES, annotated=(1, 2, 3)),
        "boxes.json": document(PLACES, annotated=range(1, 7), points=False),
        "truth.json": document(PLACES, annotated=range(1, 7)),
    }
    for name, value in given.items():
        (tmp_path / name).write_text(json.dumps(value))
    return tmp_path


def arguments(toys, *more, refs="refs.json", out="out"):
    photos = toys / "photos"
    asked = ("annotate", toys / refs, "--images", photos, "--out", toys / out, "--model", "rgb")
    return (*asked, "--size", 32, *more)


def test_the_rest_is_annotated(run, toys):
    boxes = ("--boxes", toys / "boxes.json", "--truth", toys / "truth.json")
    code, shown, said = run(*arguments(toys, *boxes, "--json"))
    assert code == 0, said
    found = json.loads(shown)
    assert (found["targets"], found["things"], found["problems"]) == (3, 3, [])
    assert found["score"]["pck"] > 0.8
    [kind] = found["kinds"]
    assert (kind["references"], kind["calibrated"]) == (3, False)
    assert "at least 10 right and 10 wrong" in kind["reason"]
    assert kind["mask_overlap_leave_one_out"] > 0.5
    names = ["annotations.json", "best.png", "journal.jsonl", "review.csv", "review.json"]
    assert sorted(p.name for p in (toys / "out").iterdir()) == [*names, "worst.png"]
    rows = list(csv.DictReader((toys / "out" / "review.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    confidence = [float(row["confidence"]) for row in rows]
    assert confidence == sorted(confidence)


def test_what_is_written_is_coco(run, toys):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    code, _, _ = run(*arguments(toys, "--boxes", toys / "boxes.json"))
    assert code == 0
    path = toys / "out" / "annotations.json"
    found = json.loads(path.read_text())
    given = json.loads((toys / "refs.json").read_text())
    for kept in ("info", "licenses", "categories"):
        assert found[kept] == given[kept]
    assert [image["id"] for image in found["images"]] == [4, 5, 6]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pycocotools' own arrays
        made, truth = COCO(str(path)), COCO(str(toys / "truth.json"))
        for one in made.loadAnns(made.getAnnIds()):
            mask = made.annToMask(one)
            assert mask.shape == SIZE[::-1]
            assert abs(int(mask.sum()) - one["area"]) < 1
            assert mask.sum() > 100
        scored = COCOeval(truth, truth.loadRes(found["annotations"]), "keypoints")
        scored.params.kpt_oks_sigmas = np.full(3, 0.1)
        scored.params.imgIds = [4, 5, 6]
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert scored.stats[0] > 0.5


def test_a_stopped_run_goes_on(run, toys, monkeypatch):
    from counterpoint.tasks.annotation.annotator import Annotator

    targets = [toys / "photos" / "set" / f"{number}.png" for number in (4, 5, 6)]
    asked = arguments(toys, *targets[:2], "--json")
    whole, _, _ = run(*arguments(toys, *targets, out="whole"))
    assert run(*asked)[0] == whole == 0
    done = []
    usual = Annotator.annotate

    def counted(self, picture, things=None):
        done.append(picture.name)
        return usual(self, picture, things)

    monkeypatch.setattr(Annotator, "annotate", counted)
    code, _, _ = run(*arguments(toys, *targets))
    assert code == 0
    assert done == [str(targets[2])]
    one, other = ((toys / out / "annotations.json").read_text() for out in ("out", "whole"))
    assert one == other
    code, _, said = run(*arguments(toys, *targets, "--flip"))
    assert code == 2
    assert "another transfer; choose another --out" in said
    assert run(*arguments(toys, *targets, "--flip", "--overwrite"))[0] == 0


def test_nothing_is_lost_when_interrupted(run, toys, monkeypatch):
    from counterpoint.tasks.annotation.annotator import Annotator

    usual = Annotator.annotate

    def stopped(self, picture, things=None):
        if picture.name.endswith("5.png"):
            raise KeyboardInterrupt
        return usual(self, picture, things)

    monkeypatch.setattr(Annotator, "annotate", stopped)
    code, _, said = run(*arguments(toys))
    assert (code, "Run the same command to go on" in said) == (130, True)
    assert [p.name for p in (toys / "out").iterdir()] == ["journal.jsonl"]
    monkeypatch.setattr(Annotator, "annotate", usual)
    code, shown, _ = run(*arguments(toys, "--json"))
    assert (code, json.loads(shown)["targets"]) == (0, 3)


def test_uncertain_points_are_hidden(run, toys):
    code, shown, _ = run(*arguments(toys, "--min-confidence", 1, "--json"))
    found = json.loads(shown)
    assert (code, found["shown"], found["hidden"]) == (0, 0, 9)
    for one in json.loads((toys / "out" / "annotations.json").read_text())["annotations"]:
        assert one["keypoints"] == [0] * 9
        assert one["num_keypoints"] == 0
        assert len(one["keypoint_scores"]) == 3


def test_merged_with_the_references(run, toys):
    assert run(*arguments(toys, "--merge"))[0] == 0
    found = json.loads((toys / "out" / "annotations.json").read_text())
    given = json.loads((toys / "refs.json").read_text())
    assert found["annotations"][:3] == given["annotations"]
    assert [one["image_id"] for one in found["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert found["images"] == given["images"]


@pytest.mark.parametrize("form", ["label-studio", "cvat"])
def test_other_formats(run, toys, form):
    given = read_annotations(toys / "refs.json")
    scored = [type(one)(**(one.__dict__ | {"score": 1.0})) for one in given.instances]
    refs = toys / f"refs.{form}"
    write_annotations(given.with_instances(given.images, tuple(scored)), refs, form)
    if form == "label-studio":
        tasks = json.loads(refs.read_text())
        for task in tasks:
            task["annotations"] = task.pop("predictions", [])
        refs.write_text(json.dumps(tasks))
    code, shown, said = run(*arguments(toys, refs=refs.name), "--json")
    assert code == 0, said
    assert json.loads(shown)["targets"] == 3
    name = "annotations.xml" if form == "cvat" else "annotations.json"
    assert (toys / "out" / name).is_file()
    if form == "cvat":
        found = read_annotations(toys / "out" / name)
        assert len(found.instances) == 3
        assert found.categories[0].keypoints == tuple(NAMES)
    else:
        tasks = json.loads((toys / "out" / name).read_text())
        kinds = {r["type"] for t in tasks for r in t["predictions"][0]["result"]}
        assert kinds == {"keypointlabels", "polygonlabels", "rectanglelabels"}
        assert tasks[0]["data"]["image"].endswith("set/4.png")


def test_converted_on_the_way(run, toys):
    assert run(*arguments(toys, "--to", "label-studio"))[0] == 0
    folder = toys / "out"
    [config] = folder.glob("*.label-config.xml")
    assert "KeyPointLabels" in config.read_text()
    tasks = json.loads((folder / "annotations.json").read_text())
    assert tasks[0]["data"] == {"image": "/data/local-files/?d=set/4.png"}
    assert 0 <= tasks[0]["predictions"][0]["score"] <= 1


def test_targets_are_told_apart_by_their_place(run, toys):
    """A name that a reference has too, in another folder, is another picture."""
    paint(toys / "more" / "1.png", (40, 40), 9)
    code, _, said = run(*arguments(toys, toys / "more" / "1.png", "--merge"))
    assert code == 0, said
    found = json.loads((toys / "out" / "annotations.json").read_text())
    assert found["images"][0]["file_name"] == "set/1.png"
    assert (found["images"][-1]["id"], found["images"][-1]["file_name"]) == (7, "1.png")
    assert [one["image_id"] for one in found["annotations"]] == [1, 2, 3, 7]
    paint(toys / "set" / "4.png", (40, 40), 9)
    both = toys / "photos" / "set" / "4.png", toys / "set" / "4.png"
    code, _, said = run(*arguments(toys, *both, out="other"))
    assert code == 2
    assert "both called set/4.png" in said


def test_bad_boxes_are_told_of(run, toys):
    given = json.loads((toys / "boxes.json").read_text())
    given["annotations"].append({**given["annotations"][0], "id": 99, "bbox": [1, 1, 0, 3]})
    (toys / "boxes.json").write_text(json.dumps(given))
    asked = arguments(toys, "--boxes", toys / "boxes.json", "--skip-bad", "--json")
    code, shown, _ = run(*asked)
    [problem] = json.loads(shown)["problems"]
    assert (code, "boxes.json: annotation 99: expected a box" in problem) == (1, True)


def test_bad_pictures(run, toys):
    (toys / "photos" / "set" / "5.png").write_bytes(b"no picture")
    code, _, said = run(*arguments(toys))
    assert code == 2
    assert "5.png" in said.splitlines()[-1]
    assert "--skip-bad" in said
    code, shown, said = run(*arguments(toys, "--skip-bad", "--json"))
    found = json.loads(shown)
    assert (code, found["targets"], len(found["problems"])) == (1, 2, 1)
    assert "skipped: " in said


def changed(toys, change):
    given = json.loads((toys / "refs.json").read_text())
    change(given)
    (toys / "bad.json").write_text(json.dumps(given))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["images"][0].update(file_name="none.png"), "expected the picture none.png"),
        (lambda d: d["images"][0].update(width=90, height=120), "turned by its EXIF?"),
        (lambda d: d["images"].append(d["images"][0]), "expected ids that occur once"),
        (lambda d: d["annotations"][0].update(category_id=8), "expected a category of 3 (toy)"),
        (lambda d: d["annotations"][0].update(keypoints=[1, 1, 2]), "expected 3 key points"),
        (lambda d: d["annotations"][0].update(keypoints=[500, 1, 2] * 3), "inside its picture"),
    ],
)
def test_bad_references_are_told_or_left_out(run, toys, change, said):
    changed(toys, change)
    target = toys / "photos" / "set" / "6.png"
    code, _, told = run(*arguments(toys, target, refs="bad.json"))
    assert code == 2
    assert said in told
    assert len(told.splitlines()) == 1
    assert not (toys / "out").exists()
    code, shown, _ = run(*arguments(toys, target, "--skip-bad", "--json", refs="bad.json"))
    found = json.loads(shown)
    assert (code, found["targets"]) == (1, 1)
    assert said in found["problems"][0]


def test_bad_requests(run, toys):
    def told(*more, refs="refs.json"):
        code, _, said = run(*arguments(toys, *more, refs=refs))
        assert code == 2
        return said

    changed(toys, lambda d: d.update(annotations=[]))
    assert "found none (boxes alone say too little" in told(refs="bad.json")
    changed(toys, lambda d: d.update(images=d["images"][:3]))
    assert "expected targets, or pictures without annotations" in told(refs="bad.json")
    assert "expected pictures at" in told(toys / "out.d*")
    changed(toys, lambda d: d.update(images=d["images"][:4]))
    (toys / "few.json").write_text((toys / "bad.json").read_text())
    other = toys / "photos" / "set" / "6.png"
    assert "expected boxes of set/6.png" in told(other, "--boxes", toys / "few.json")
    assert "least confidence from 0 to 1" in told("--min-confidence", 2)
    (toys / "cut.json").write_text('{"images": [')
    assert "is the file cut off" in told(refs="cut.json")
    code, _, said = run(
        "annotate", toys / "refs.json", "--images", toys / "none", "--out", toys / "o"
    )
    assert code == 2
    assert "expected the folder of the references' pictures" in said


def test_table(run, toys):
    boxes = ("--boxes", toys / "boxes.json", "--truth", toys / "truth.json")
    code, shown, _ = run(*arguments(toys, *boxes))
    assert code == 0
    assert "toy: 3 references" in shown
    assert "confidence is not calibrated" in shown
    assert "3 targets: 3 things, 9 key points, 0 hidden" in shown
    assert "against the truth: PCK@0.1" in shown
    assert "need no click" in shown


def test_real_birds(run, shared, tmp_path):
    from counterpoint.annotations.coco import write_coco

    root = shared / "data" / "CUB_200_2011"
    if not root.is_dir():
        pytest.skip("the birds are not here")
    import annotation

    from counterpoint.benchmarks.datasets.cub import read_cub

    birds = read_cub(root, limit=5)
    bench = annotation.birds_as_coco(birds, root)
    whole = write_coco(bench.annotations)
    keys = [one["id"] for one in whole["images"]]
    refs = {**whole, "images": whole["images"][:4], "annotations": whole["annotations"][:4]}
    for name, value in (("refs.json", refs), ("whole.json", whole)):
        (tmp_path / name).write_text(json.dumps(value))
    targets = [bench.folder / one["file_name"] for one in whole["images"][4:]]
    asked = ["annotate", tmp_path / "refs.json", *targets, "--images", bench.folder]
    asked += ["--boxes", tmp_path / "whole.json", "--truth", tmp_path / "whole.json"]
    code, shown, said = run(*asked, "--out", tmp_path / "out", "--size", 64, "--json")
    assert code == 0, said
    found = json.loads(shown)
    assert (found["targets"], len(keys)) == (1, 5)
    assert found["kinds"][0]["references"] == 4
    assert 0 <= found["score"]["pck"] <= 1
    assert found["score"]["points"] > 5
