"""Annotation files: COCO, Label Studio, CVAT; there, back, and from one to another; bad input."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from counterpoint.annotations import (
    Annotations,
    ImageEntry,
    Instance,
    Outline,
    find_picture,
    read_annotations,
    write_annotations,
)
from counterpoint.annotations.conventions import (
    coco_keypoints_to_pixels,
    edges_to_pixels,
    percent_to_pixels,
    pixels_to_edges,
    pixels_to_percent,
)
from counterpoint.annotations.places import base_name
from counterpoint.annotations.runs import (
    box_of_mask,
    box_of_points,
    decode_brush,
    decode_coco,
    decode_cvat,
    encode_brush,
    encode_coco,
    encode_cvat,
    mask_of,
    mask_to_polygons,
    polygons_to_mask,
)
from counterpoint.errors import BadInput, UnknownName

MASK = np.zeros((5, 7), dtype=bool)
MASK[1:4, 2:6] = True

# What label_studio_sdk.converter.brush.encode_rle 2.1.2 gives for MASK as RGBA.
# fmt: off
BRUSH = [0, 0, 0, 140, 57, 27, 254, 35, 0, 191, 255, 108, 2, 255, 253, 176, 11, 255, 248, 124, 0]
# fmt: on


def coco():
    return {
        "info": {"year": 2024, "contributor": "us"},
        "licenses": [{"id": 4, "name": "ours"}],
        "house": ["kept"],
        "images": [
            {"id": 3, "file_name": "a.jpg", "width": 7, "height": 5, "license": 4, "flickr": "x"},
            {"id": 9, "file_name": "b.jpg", "width": 7, "height": 5},
        ],
        "categories": [
            {
                "id": 2,
                "name": "cat",
                "supercategory": "animal",
                "keypoints": ["nose", "left_ear", "right_ear"],
                "skeleton": [[1, 2], [1, 3]],
            },
            {"id": 5, "name": "ball", "supercategory": "toy"},
        ],
        "annotations": [
            {
                "id": 11,
                "image_id": 3,
                "category_id": 2,
                "keypoints": [3, 2, 2, 1.5, 0, 1, 0, 0, 0],
                "num_keypoints": 2,
                "segmentation": [[2, 1, 6, 1, 6, 4, 2, 4]],
                "bbox": [2, 1, 4, 3],
                "area": 11.625,
                "iscrowd": 0,
                "attributes": {"mood": "calm"},
            },
            {
                "id": 12,
                "image_id": 3,
                "category_id": 5,
                "segmentation": {"size": [5, 7], "counts": [11, 3, 2, 3, 2, 3, 2, 3, 6]},
                "bbox": [2, 1, 4, 3],
                "area": 12,
                "iscrowd": 1,
            },
        ],
    }


def read(tmp_path, document, name="a.json", **options):
    text = document if isinstance(document, str) else json.dumps(document)
    (tmp_path / name).write_text(text)
    return read_annotations(tmp_path / name, **options)


def again(tmp_path, annotations, form=None):
    [path, *_] = write_annotations(annotations, tmp_path / "out.txt", form)
    return read_annotations(path, form)


def test_conventions():
    assert coco_keypoints_to_pixels([(3, 4)]).tolist() == [[3, 4]]
    # The corner of a picture is half a pixel before the centre of its first pixel.
    assert edges_to_pixels([(0, 0)]).tolist() == [[-0.5, -0.5]]
    assert pixels_to_edges([(-0.5, 2)]).tolist() == [[0, 2.5]]
    assert percent_to_pixels([(0, 100)], (8, 4)).tolist() == [[-0.5, 3.5]]
    back = pixels_to_percent(percent_to_pixels([(12.5, 80)], (80, 30)), (80, 30))
    assert np.allclose(back, [(12.5, 80)])


def test_coco_is_read(tmp_path):
    found = read(tmp_path, coco())
    cat, ball = found.categories
    assert (found.form, cat.keypoints) == ("coco", ("nose", "left_ear", "right_ear"))
    assert (cat.skeleton, cat.extra) == (((1, 2), (1, 3)), {"supercategory": "animal"})
    first, second = found.of_image(3)
    assert first.keypoints_px.tolist() == [[3, 2], [1.5, 0], [0, 0]]
    assert first.visibility.tolist() == [2, 1, 0]
    assert not first.crowd
    assert second.crowd
    assert found.category(5) == ball
    for one in (first, second):
        assert one.outline is not None
        assert (mask_of(one.outline, (7, 5)) == MASK).all()


def test_coco_survives_the_round_trip(tmp_path):
    given = coco()
    [path] = write_annotations(read(tmp_path, given), tmp_path / "back.json")
    assert json.loads(path.read_text()) == given
    compressed = copy.deepcopy(given)
    compressed["annotations"][1]["segmentation"] = encode_coco(MASK, compressed=True)
    [path] = write_annotations(read(tmp_path, compressed), tmp_path / "back.json")
    assert json.loads(path.read_text()) == compressed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["images"].append(d["images"][0]), "image 3: expected ids that occur once"),
        (lambda d: d["annotations"].append(d["annotations"][0]), "annotation 11: expected ids"),
        (lambda d: d["categories"].append(d["categories"][0]), "category 2: expected ids"),
        (lambda d: d["annotations"][0].update(category_id=7), "of 2 (cat), 5 (ball), got"),
        (lambda d: d["annotations"][0].update(image_id=7), "expected an image of 'images'"),
        (lambda d: d["annotations"][0].update(keypoints=[1, 1, 2]), "3 key points (x, y, v)"),
        (lambda d: d["annotations"][0].update(keypoints=[90, 2, 2] * 3), "'nose' inside its"),
        (lambda d: d["annotations"][0].update(keypoints=[1, 2, 7] * 3), "visibility 0, 1 or 2"),
        (lambda d: d["annotations"][0].update(keypoints=["x", 2, 2] * 3), "expected a number"),
        (lambda d: d["annotations"][0].update(bbox=[1, 1, 0, 3]), "expected a box as left, top"),
        (lambda d: d["annotations"][0].update(segmentation=[[1, 2, 3, 4]]), "at least 3 corners"),
        (lambda d: d["annotations"][1]["segmentation"].update(size=[9, 9]), "run lengths of size"),
        (lambda d: d["annotations"][1]["segmentation"].update(counts=[3]), "that sum to 5 x 7"),
        (lambda d: d["annotations"][1]["segmentation"].update(counts="zz~"), "other text"),
        (lambda d: d["annotations"][1]["segmentation"].update(counts="1"), "that sum to 5 x 7"),
        (lambda d: d["annotations"][0].pop("image_id"), "expected an entry 'image_id', got none"),
        (lambda d: d["annotations"].append(3), "annotation number 3"),
        (lambda d: d["categories"][0].update(keypoints=["a", "a"]), "of different names"),
        (lambda d: d["categories"][0].update(skeleton=[[1, 9]]), "skeleton of key points 1 to 3"),
        (lambda d: d["images"][0].pop("file_name"), "image 3: expected an entry 'file_name'"),
    ],
)
def test_bad_coco_is_told_or_left_out(tmp_path, change, said):
    document = coco()
    change(document)
    with pytest.raises(BadInput, match="--skip-bad") as told:
        read(tmp_path, document)
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    kept = read(tmp_path, document, skip_bad=True)
    assert said in kept.problems[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got an empty file"),
        ('{"images": [', "is the file cut off"),
        ("[1, 2]", "found none of them"),
        ('{"a": 1}', "found none of them"),
        ('{"images": []}', "expected 'categories'"),
        ('{"images": {}, "categories": []}', "expected a list as 'images'"),
        ("<annotations><image>", "text that is not XML"),
        ("<svg/>", "with root <annotations>"),
        ("<annotations><track/></annotations>", "got CVAT for video"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "no DOCTYPE"),
        ("[" * 100000, "nested too deeply"),
    ],
)
def test_malformed_files(tmp_path, text, said):
    with pytest.raises(BadInput) as told:
        read(tmp_path, text)
    assert said in str(told.value)


def test_foreign_files(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(BadInput, match="in UTF-8"):
        read_annotations(tmp_path / "a.bin")
    with pytest.raises(BadInput, match="no such annotation file"):
        read_annotations(tmp_path / "none.json")
    with pytest.raises(BadInput, match="cannot read"):
        read_annotations(tmp_path)
    with pytest.raises(UnknownName, match="did you mean 'coco'"):
        read_annotations(tmp_path / "a.bin", "cocoa")


def test_scores_of_key_points_stay(tmp_path):
    document = coco()
    document["annotations"][0].update(score=0.5, keypoint_scores=[0.25, 0.75, 0])
    [path] = write_annotations(read(tmp_path, document), tmp_path / "back.json")
    assert json.loads(path.read_text()) == document


def test_clicks_just_beyond_the_edge_are_set_on_it(tmp_path):
    document = coco()
    document["annotations"][0]["keypoints"][:3] = [7.2, 2, 2]
    assert read(tmp_path, document).instances[0].keypoints_px[0].tolist() == [6, 2]


@given(arrays(bool, (6, 9)))
def test_masks_go_there_and_back(mask):
    size_wh = (9, 6)
    for compressed in (True, False):
        assert (decode_coco(encode_coco(mask, compressed=compressed), size_wh) == mask).all()
    assert (decode_brush(encode_brush(mask), size_wh) == mask).all()
    if mask.any():
        assert (decode_cvat(*encode_cvat(mask), size_wh) == mask).all()


def test_run_lengths_are_those_of_the_tools():
    from pycocotools import mask as tools

    by_hand = {"size": [5, 7], "counts": [11, 3, 2, 3, 2, 3, 2, 3, 6]}
    assert encode_coco(MASK, compressed=False) == by_hand
    assert tools.toBbox(encode_coco(MASK, compressed=True)).tolist() == [2, 1, 4, 3]
    assert tools.area(encode_coco(MASK, compressed=True)) == 12
    assert encode_brush(MASK) == BRUSH
    assert (decode_brush(BRUSH, (7, 5)) == MASK).all()
    # Along the rows of its box, the first run unset: here there is none.
    assert encode_cvat(MASK) == ("0, 12", (2, 1, 4, 3))


@pytest.mark.parametrize("pixel", [(0, 0, 0, 255), (255, 255, 255, 0)])
def test_brush_strokes_without_runs(pixel):
    # Four numbers of 8 bits, the widths of runs, then one stretch of 4 literals: only alpha counts.
    bits = f"{4:032b}{7:05b}0010001101111111" + "0" + "00" + f"{3:03b}"
    bits += "".join(f"{value:08b}" for value in pixel) + "0" * 6
    literal = [int(bits[i : i + 8], 2) for i in range(0, len(bits) // 8 * 8, 8)]
    assert decode_brush(literal, (1, 1)).tolist() == [[pixel[3] > 0]]


@pytest.mark.parametrize("numbers", [[], [0, 0], BRUSH[:9], [-3, "x"], [0, 0, 0, 8, 0, 0, 0]])
def test_damaged_brush_strokes(numbers):
    with pytest.raises(BadInput):
        decode_brush(numbers, (7, 5))


def test_polygons_follow_the_edges():
    [border] = mask_to_polygons(np.pad(MASK, 9))
    shape = np.pad(MASK, 9).shape[::-1]
    assert (polygons_to_mask([border], shape) == np.pad(MASK, 9)).all()
    assert box_of_mask(MASK) == (2, 1, 4, 3)
    assert box_of_mask(MASK & False) is None
    assert box_of_points(np.array([[2.0, 1], [5, 3]])) == (2, 1, 4, 3)
    assert box_of_points(np.zeros((0, 2))) is None


@given(st.integers(15, 40), st.integers(15, 40), st.integers(0, 5))
def test_polygons_of_blobs_lose_little(w, h, seed):
    x, y = np.meshgrid(np.arange(60), np.arange(50))
    blob = ((x - 30) / w) ** 2 + ((y - 25 + seed) / h) ** 2 < 0.4
    back = polygons_to_mask(mask_to_polygons(blob), (60, 50))
    assert (back & blob).sum() / (back | blob).sum() > 0.9


# --- Label Studio


def region(kind, value, name="", parent=""):
    entry = {"type": kind, "from_name": "tag", "to_name": "img", "value": value}
    entry |= {"original_width": 7, "original_height": 5, "image_rotation": 0, "id": name}
    return {**entry, "parentID": parent} if parent else entry


def point(x, y, label, parent=""):
    return region("keypointlabels", {"x": x, "y": y, "keypointlabels": [label]}, parent=parent)


def rectangle(x, y, w, h, name, label="cat", rotation=0):
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": rotation}
    return region("rectanglelabels", {**value, "rectanglelabels": [label]}, name)


def task(number, results, picture="/data/upload/1/0123abcd-a.jpg", **more):
    annotations = [{"id": 1, "result": results, "was_cancelled": False, **more}]
    return {"id": number, "data": {"image": picture}, "annotations": annotations, "meta": {"k": 1}}


def test_label_studio_is_read(tmp_path):
    strokes = {"format": "rle", "rle": BRUSH, "brushlabels": ["cat"]}
    outline = {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["cat"]}
    skipped = {"type": "choices", "value": {"choices": ["good"]}}
    found = read(
        tmp_path,
        [
            task(7, [point(50, 50, "nose"), rectangle(0, 0, 100, 40, "r"), skipped]),
            task(8, [region("brushlabels", strokes), point(10, 50, "ear"), point(9, 9, "nose")]),
            task(9, [region("polygonlabels", outline)]),
            {"id": 10, "data": {"image": "b.jpg"}, "annotations": []},
        ],
    )
    [cat] = found.categories
    assert (found.form, cat.name, cat.keypoints) == ("label-studio", "cat", ("nose", "ear"))
    [first] = found.of_image(7)
    assert np.allclose(first.keypoints_px[0], (3, 2))
    assert (first.visibility.tolist(), first.box) == ([2, 0], (0, 0, 7, 2))
    [second] = found.of_image(8)
    assert (second.outline.mask == MASK).all()
    assert second.visibility.tolist() == [2, 2]
    [third] = found.of_image(9)
    assert np.allclose(third.outline.polygons[0], [[-0.5, -0.5], [3, -0.5], [3, 2]])
    assert found.of_image(10) == ()
    assert found.image(7).file_name == "/data/upload/1/0123abcd-a.jpg"


def test_label_studio_points_go_to_their_boxes(tmp_path):
    boxes = [rectangle(0, 0, 50, 100, "r1"), rectangle(40, 0, 60, 100, "r2")]
    points = [point(10, 10, "nose"), point(90, 10, "nose"), point(45, 10, "ear", parent="r2")]
    # In both, so of the smaller; and just beyond the first one's edge at 50 per cent.
    points += [point(45, 50, "leg"), point(52, 10, "tail")]
    found = read(tmp_path, [task(1, boxes + points)])
    assert found.categories[0].keypoints == ("nose", "leg", "ear", "tail")
    assert [one.visibility.tolist() for one in found.instances] == [[2, 2, 0, 0], [2, 0, 2, 2]]
    with pytest.raises(BadInput, match="once a thing, got it twice"):
        read(tmp_path, [task(1, [point(1, 1, "nose"), point(9, 9, "nose")])])
    small = [rectangle(0, 0, 5, 5, "r1"), rectangle(40, 0, 5, 5, "r2")]
    with pytest.raises(BadInput, match="it is in none"):
        read(tmp_path, [task(1, [*small, point(90, 90, "nose")])])


def test_label_studio_chooses_among_annotations(tmp_path):
    document = task(1, [point(1, 1, "nose")], was_cancelled=True)
    document["annotations"] += task(1, [point(50, 50, "ear")])["annotations"]
    document["annotations"] += task(1, [point(50, 50, "tail")], ground_truth=True)["annotations"]
    assert read(tmp_path, [document]).categories[0].keypoints == ("tail",)
    document["annotations"].pop()
    assert read(tmp_path, [document]).categories[0].keypoints == ("ear",)


def test_label_studio_json_min(tmp_path):
    value = {"x": 50, "y": 50, "keypointlabels": ["nose"]}
    flat = {**value, "original_width": 7, "original_height": 5}
    found = read(tmp_path, [{"image": "a.jpg", "id": 4, "kp": [flat], "annotator": 1}])
    assert found.form == "label-studio"
    assert np.allclose(found.of_image(4)[0].keypoints_px, [(3, 2)])


def test_label_studio_turned_rectangles(tmp_path):
    found = read(tmp_path, [task(1, [rectangle(50, 0, 100 * 2 / 7, 40, "r", rotation=90)])])
    # 2 x 2 pixels turned about the upper left corner at (3.5, 0): to its left.
    assert np.allclose(found.instances[0].box, (1.5, 0, 2, 2))


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([point(120, 0, "nose")], "'nose' inside its picture"),
        ([{**point(1, 1, "nose"), "original_width": None, "original_height": None}], "original_w"),
        ([{**point(1, 1, "nose"), "image_rotation": 90}], "not turned"),
        ([region("keypointlabels", {"x": 1, "y": 1, "keypointlabels": ["a", "b"]})], "one label"),
        ([region("keypointlabels", {"x": 1, "keypointlabels": ["a"]})], "entry 'y'"),
        ([rectangle(0, 0, 0, 0, "r")], "some area"),
        ([region("brushlabels", {"rle": BRUSH[:8], "brushlabels": ["a"]})], "cut off"),
        ([region("polygonlabels", {"points": [[0, 0]], "polygonlabels": ["a"]})], "3 corners"),
    ],
)
def test_bad_label_studio(tmp_path, results, said):
    with pytest.raises(BadInput) as told:
        read(tmp_path, [task(1, results)])
    assert said in str(told.value)
    assert said in read(tmp_path, [task(1, results)], skip_bad=True).problems[0]


def test_label_studio_predictions(tmp_path):
    given = read(tmp_path, [task(7, [point(50, 50, "nose"), rectangle(0, 0, 100, 40, "r")])])
    new = Instance(
        id=5,
        image_id=77,
        category_id=1,
        keypoints_px=np.array([[6.0, 4.0]]),
        visibility=np.array([2]),
        keypoint_scores=np.array([0.25]),
        box=(1.0, 1.0, 2.0, 3.0),
        score=0.5,
    )
    image = ImageEntry(id=77, file_name="sub/b.jpg", size_wh=(7, 5))
    both = given.with_instances((*given.images, image), (*given.instances, new))
    path, config = write_annotations(both, tmp_path / "out.json")
    kept, made = json.loads(path.read_text())
    assert kept == task(7, [point(50, 50, "nose"), rectangle(0, 0, 100, 40, "r")])
    assert made["data"] == {"image": "/data/local-files/?d=sub/b.jpg"}
    [prediction] = made["predictions"]
    assert (prediction["score"], prediction["model_version"]) == (0.5, "counterpoint")
    box, nose = prediction["result"]
    assert (nose["score"], nose["parentID"], nose["from_name"]) == (0.25, box["id"], "tag")
    assert np.allclose([nose["value"]["x"], nose["value"]["y"]], [650 / 7, 90], atol=1e-3)
    assert (nose["original_width"], nose["to_name"]) == (7, "img")
    # The tool reads what it is given as annotations alike.
    as_annotated = {**made, "annotations": [{"result": prediction["result"]}]}
    [one] = read(tmp_path, [as_annotated]).instances
    assert np.allclose(one.keypoints_px, [[6, 4]], atol=1e-3)
    assert np.allclose(one.box, (1, 1, 2, 3), atol=1e-3)
    assert '<Label value="nose"/>' in config.read_text()


# --- CVAT

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
 <meta><task><name>birds</name><labels>
  <label><name>bird</name><type>skeleton</type><svg>&lt;line/&gt;</svg></label>
  <label><name>tail</name><type>points</type><parent>bird</parent></label>
  <label><name>beak</name><type>points</type><parent>bird</parent></label>
 </labels></task></meta>
 <image id="0" name="sub/a.jpg" width="7" height="5" task_id="3">
  <skeleton label="bird" source="manual" z_order="0">
   <points label="beak" source="manual" occluded="1" outside="0" points="3.50,2.50"></points>
   <points label="tail" source="manual" occluded="0" outside="1" points="1.00,1.00"></points>
  </skeleton>
  <box label="bird" source="manual" occluded="0" xtl="1" ytl="1" xbr="5" ybr="4" z_order="0"/>
  <mask label="bird" source="manual" rle="0, 12" left="2" top="1" width="4" height="3"/>
 </image>
 <image id="1" name="b.jpg" width="7" height="5"/>
</annotations>"""


def test_cvat_is_read(tmp_path):
    found = read(tmp_path, CVAT)
    [bird] = found.categories
    assert (found.form, bird.name, bird.keypoints) == ("cvat", "bird", ("tail", "beak"))
    [one] = found.instances
    assert one.visibility.tolist() == [0, 1]
    assert one.keypoints_px.tolist() == [[0, 0], [3, 2]]
    assert one.box == (1, 1, 4, 3)
    assert (one.outline.mask == MASK).all()


def test_cvat_points_and_polygons(tmp_path):
    shapes = """<points label="eye" points="1.5,1.5"/><points label="ear" points="2,2"/>
      <polygon label="cat" points="0,0;4,0;4,4" occluded="0"/>
      <points label="path" group_id="4" points="1,1;2,2"/>"""
    document = (
        f'<annotations><image id="0" name="a" width="7" height="5">{shapes}</image></annotations>'
    )
    found = read(tmp_path, document)
    assert [kind.name for kind in found.categories] == ["cat", "path"]
    assert found.categories[1].keypoints == ("1", "2")
    lone = document.replace(shapes, '<points label="eye" points="1.5,1.5"/>')
    [one] = read(tmp_path, lone).instances
    assert one.keypoints_px.tolist() == [[1, 1]]


def test_cvat_survives_and_grows(tmp_path):
    given = read(tmp_path, CVAT)
    new = Instance(
        id=8,
        image_id=1,
        category_id=1,
        keypoints_px=np.array([[2.0, 3.0], [0, 0]]),
        visibility=np.array([2, 0]),
        outline=Outline("rle", mask=MASK),
        box=(0.0, 0.0, 3.0, 3.0),
        score=0.4,
    )
    grown = given.with_instances(given.images, (*given.instances, new))
    [path] = write_annotations(grown, tmp_path / "out.xml")
    text = path.read_text()
    for kept in ("<svg>&lt;line/&gt;</svg>", 'task_id="3"', "<name>birds</name>", 'id="0"'):
        assert kept in text
    old, one = read_annotations(path).instances
    assert (old.visibility.tolist(), old.box) == ([0, 1], (1, 1, 4, 3))
    assert one.keypoints_px.tolist() == [[2, 3], [0, 0]]
    assert (one.box, one.visibility.tolist()) == ((0, 0, 3, 3), [2, 0])
    assert (one.outline.mask == MASK).all()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id="1"', 'id="0"', "ids that occur once"),
        ('points="3.50,2.50"', 'points="3.5"', "points as x,y"),
        ('points="3.50,2.50"', 'points="99,2"', "'beak' inside its picture"),
        ('xtl="1"', 'xtl="a"', "expected a number as xtl"),
        ('xtl="1"', 'xtl="9"', "some area"),
        ('rle="0, 12"', 'rle="0, 9"', "sum to 3 x 4"),
        ('left="2"', 'left="6"', "a mask inside the picture"),
        ('name="b.jpg" width="7"', 'name="b.jpg"', "expected a number as width"),
        ('<box label="bird"', "<box", "expected an entry 'label'"),
    ],
)
def test_bad_cvat(tmp_path, old, new, said):
    assert old in CVAT
    with pytest.raises(BadInput) as told:
        read(tmp_path, CVAT.replace(old, new))
    assert said in str(told.value)
    assert said in read(tmp_path, CVAT.replace(old, new), skip_bad=True).problems[0]


# --- from one to another


@pytest.mark.parametrize("form", ["coco", "label-studio", "cvat"])
def test_any_format_becomes_any_other(tmp_path, form):
    document = coco()
    document["annotations"][1]["iscrowd"] = 0
    document["annotations"][1]["image_id"] = 9
    given = read(tmp_path, document)
    scored = tuple(Instance(**{**one.__dict__, "score": 0.5}) for one in given.instances)
    [path, *_] = write_annotations(given.with_instances(given.images, scored), tmp_path / "o", form)
    if form == "label-studio":
        tasks = json.loads(path.read_text())
        for one in tasks:
            one["annotations"] = one["predictions"]
        path.write_text(json.dumps(tasks))
    found = read_annotations(path)
    assert found.form == form
    cat, ball = found.instances
    names = [kind.name for kind in found.categories]
    assert sorted(names) == ["ball", "cat"]
    kind = found.category(cat.category_id)
    where = {name: cat.keypoints_px[i] for i, name in enumerate(kind.keypoints)}
    assert np.allclose(where["nose"], (3, 2), atol=0.01)
    assert np.allclose(where["left_ear"], (1.5, 0), atol=0.01)
    assert (mask_of(cat.outline, (7, 5)) == MASK).all()
    assert (mask_of(ball.outline, (7, 5)) == MASK).all()
    assert np.allclose(cat.box, (2, 1, 4, 3), atol=0.01)


def test_nothing_is_half_written(tmp_path):
    with pytest.raises(UnknownName):
        write_annotations(Annotations(), tmp_path / "a.json", "yolo")
    assert list(tmp_path.iterdir()) == []
    assert again(tmp_path, Annotations()).images == ()


# --- where pictures lie


@pytest.mark.parametrize(
    "name",
    [
        "sub/a b.jpg",
        "elsewhere/sub/a b.jpg",
        "/data/local-files/?d=x/sub/a%20b.jpg",
        "https://host/bucket/sub/a%20b.jpg?sign=1",
        "C:\\photos\\sub\\a b.jpg",
        "../../sub/a b.jpg",
    ],
)
def test_pictures_are_found(tmp_path, name):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.jpg").touch()
    assert find_picture(tmp_path, name) == tmp_path / "sub" / "a b.jpg"
    assert base_name(name) == "a b.jpg"


def test_uploads_and_strangers(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path.parent / "outside.jpg").touch()
    assert find_picture(tmp_path, "/data/upload/3/0123abcd-a.jpg") == tmp_path / "a.jpg"
    for name in ("../outside.jpg", "none.jpg", "", "x" * 5000, "a\0b"):
        assert find_picture(tmp_path, name) is None
