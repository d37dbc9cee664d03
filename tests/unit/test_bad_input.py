"""Every reader and every kind of damage: an error of one line, or a skip that is counted and named.

What is used and what is skipped always add up to what there was: the denominator never changes
silently.
"""

import json
import pickle
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from counterpoint.benchmarks.datasets.ap10k import read_ap10k
from counterpoint.benchmarks.datasets.pf_pascal import read_pf_pascal
from counterpoint.benchmarks.datasets.pf_willow import read_pf_willow
from counterpoint.benchmarks.datasets.spair import read_spair
from counterpoint.benchmarks.datasets.tss import read_tss
from counterpoint.errors import BadInput
from support.tiny_datasets import edit_json, write_ap10k, write_pascal, write_spair, write_willow
from support.tiny_readers import READERS
from support.tiny_tss import write_tss
from support.tiny_video import paint, save_mask


def remove(pattern):
    return lambda root: next(iter(sorted(root.glob(pattern)))).unlink()


def overwrite(pattern, content=b"\x00 no such thing {"):
    return lambda root: next(iter(sorted(root.glob(pattern)))).write_bytes(content)


def change(pattern, **entries):
    return lambda root: edit_json(next(iter(sorted(root.glob(pattern)))), **entries)


def cell(old, new):
    """Another number in the first row of the only list."""

    def damage(root):
        [path] = [*root.glob("*.csv"), *root.glob("*/*.csv")]
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return damage


def save_mat(pattern, **variables):
    from scipy.io import savemat

    return lambda root: savemat(next(iter(sorted(root.glob(pattern)))), variables)


def resized(pattern):
    """A picture or mask of another size."""

    def damage(root):
        path = next(iter(sorted(root.glob(pattern))))
        with Image.open(path) as image:
            image.resize((image.width + 3, image.height)).save(path, "PNG")

    return damage


def cut_off(pattern):
    """A picture of which the last quarter is gone."""

    def damage(root):
        path = next(iter(sorted(root.glob(pattern))))
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])

    return damage


def empty(pattern):
    return overwrite(pattern, b"")


def dangling(pattern):
    """A link to nothing in a file's place."""

    def damage(root):
        path = next(iter(sorted(root.glob(pattern))))
        path.unlink()
        path.symlink_to(root / "moved away")

    return damage


def encoded(spoil):
    """A video's frames as pictures in their files' bytes, one of them spoilt."""

    def damage(root):
        frames = []
        for i in range(6):
            Image.fromarray(paint(i)[0]).save(file := BytesIO(), "jpeg")
            frames.append(file.getvalue())
        frames[4] = spoil(frames[4])
        track(video=lambda _: frames)(root)

    return damage


def smaller(data):
    Image.open(BytesIO(data)).resize((8, 8)).save(file := BytesIO(), "jpeg")
    return file.getvalue()


def more_labels(root):
    mask = paint(2)[1]
    mask[0, 0] = 7
    save_mask(root / "Annotations/480p/one/00002.png", mask)


def joint_away(root):
    path = root / "joint_annotations/camel.json"
    listed = json.loads(path.read_text())
    listed[1]["joints"][0] = [9999, 10]
    path.write_text(json.dumps(listed))


def track(**changes):
    def damage(root):
        path = root / "tapvid_davis.pkl"
        entries = pickle.loads(path.read_bytes())
        entries["a"] |= {k: v(entries["a"][k]) for k, v in changes.items()}
        path.write_bytes(pickle.dumps(entries))

    return damage


def away(points):
    return np.where(np.arange(points.shape[1])[None, :, None] == 3, 7, points).astype(np.float32)


PAIR = "PairAnnotation/test/000001-*.json"
JPG = "JPEGImages/480p/one"

# Reader, damage, what the error says, how much of it is skipped.
BAD = [
    ("spair", overwrite(PAIR), "expected JSON", 1),
    ("spair", overwrite(PAIR, b"[" * 100_000), "expected JSON", 1),
    ("spair", remove(PAIR), "no such file", 1),
    ("spair", empty(PAIR), "expected JSON in .*: the file is empty; unpack the archive", 1),
    ("spair", overwrite(PAIR, b'{"category": "c\xe9t"}'), "UTF-8 text, got byte 0xe9 at 15; ", 1),
    ("spair", dangling("JPEGImages/cat/cat_0.jpg"), "a link to nothing: .*cat_0.jpg; get SP", 4),
    ("spair", dangling(PAIR), "a link to nothing: ", 1),
    ("spair", remove("JPEGImages/cat/cat_0.jpg"), "no such file", 4),
    ("spair", change(PAIR, src_kps=[[900, 8], [30, 10], [52, 12]]), "inside its source", 1),
    ("spair", change(PAIR, trg_kps=[[1, 8]]), "as many points in both", 1),
    ("spair", change(PAIR, src_kps=[], trg_kps=[], kps_ids=[]), "at least one", 1),
    ("spair", change(PAIR, category="dog"), "expected the category cat", 1),
    ("spair", change(PAIR, viewpoint_variation=9), "viewpoint from 0 to 2", 1),
    ("willow", cell("24.25", "9999"), "inside its", 1),
    ("willow", cell("24.25", "none"), "numbers as coordinates", 1),
    ("willow", remove("PF-dataset/car(G)/pic_0.png"), "no such file", 4),
    ("willow by .mat", overwrite("PF-dataset/car(G)/pic_0.mat"), "expected a MATLAB file", 4),
    ("willow by .mat", remove("PF-dataset/car(G)/pic_0.mat"), "no such file", 4),
    ("willow by .mat", save_mat("PF-dataset/car(G)/pic_0.mat", other=1), "a variable 'pts_c", 4),
    ("willow by .mat", save_mat("PF-dataset/car(G)/pic_0.mat", pts_coord=[1]), "2 x 10", 4),
    ("pascal", remove("PF-dataset-PASCAL/JPEGImages/p_1.jpg"), "no such file", 1),
    ("pascal", overwrite("PF-dataset-PASCAL/JPEGImages/p_1.jpg"), "expected a picture", 1),
    ("willow", empty("PF-dataset/car(G)/pic_0.png"), "pic_0.png: the file is empty; unpack", 4),
    ("willow", cell("PF-dataset/car(G)/", "../"), "the path of a picture", 1),
    ("willow by .mat", empty("PF-dataset/car(G)/pic_0.mat"), "MATLAB file .*pic_0.mat: ", 4),
    ("pascal", overwrite("PF-dataset-PASCAL/Annotations/cat/p_1.mat"), "a MATLAB file", 1),
    ("pascal", cell(",8,", ",88,"), "a class from 1 to 20", 1),
    ("pascal", cell("30.0000", "-500"), "inside its", 1),
    ("ap10k", remove("JPEGImages/Felidae/cat/*1.jpg"), "no such file", 2),
    ("ap10k", overwrite("PairAnnotation/test/2-1:cat.json"), "expected JSON", 1),
    ("ap10k", overwrite("ImageAnnotation/Felidae/cat/*1.json"), "expected JSON", 2),
    ("ap10k", change("ImageAnnotation/Felidae/cat/*1.json", keypoints=[1, 2]), "17 key points", 2),
    ("ap10k", change("ImageAnnotation/Felidae/cat/*1.json", width=5), "inside its", 2),
    ("ap10k", dangling("ImageAnnotation/Felidae/cat/*1.json"), "a link to nothing", 2),
    ("hpatches", remove("v_wall/4.ppm"), "no such file", 1),
    ("hpatches", empty("v_wall/H_1_3"), "three lines of three finite numbers", 1),
    ("hpatches", overwrite("v_wall/H_1_3"), "expected three numbers in line 1", 1),
    ("tss", remove("JODS/*/image2.png"), "no such file", 1),
    ("tss", overwrite("JODS/*/flow1.flo"), "expected a .flo file", 1),
    ("tss", empty("JODS/*/flow1.flo"), "expected a .flo file", 1),
    ("tss", cut_off("JODS/*/flow1.flo"), "bytes of .* vectors in .*flow1.flo", 1),
    ("tss", cut_off("JODS/*/image1.png"), "image1.png: .*truncated; unpack", 1),
    ("tss", cut_off("JODS/*/mask1.png"), "cannot read the mask", 1),
    ("tss", overwrite("JODS/*/image1.png"), "expected a picture", 1),
    ("tss", resized("JODS/*/mask1.png"), "its picture's size", 1),
    ("tss", resized("JODS/*/image1.png"), "its picture's size", 1),
    ("tss", overwrite("JODS/*/mask1.png"), "cannot read the mask", 1),
    ("davis", remove(f"{JPG}/00002.jpg"), "no such file", 1),
    ("davis", remove("Annotations/480p/one/00002.png"), "no such file", 1),
    ("davis", overwrite("Annotations/480p/one/00002.png"), "cannot read the mask", 1),
    ("davis", overwrite(f"{JPG}/00002.jpg"), "expected a picture", 1),
    ("davis", resized("Annotations/480p/one/00002.png"), "masks of one size", 1),
    ("davis", resized(f"{JPG}/00002.jpg"), "frames of one size", 1),
    ("davis", cut_off(f"{JPG}/00002.jpg"), "00002.jpg: .*damaged or cut off", 1),
    ("davis", empty(f"{JPG}/00002.jpg"), "00002.jpg: the file is empty", 1),
    ("davis", dangling(f"{JPG}/00002.jpg"), "a link to nothing: .*00002.jpg", 1),
    ("davis", empty("Annotations/480p/one/00002.png"), "cannot read the mask", 1),
    ("davis", more_labels, "expected objects 1 to 2", 1),
    ("jhmdb", cut_off("Rename_Images/walk/first/00003.png"), "00003.png: .*truncated; unpack", 1),
    ("jhmdb", resized("Rename_Images/walk/first/00003.png"), "frames of one size", 1),
    ("jhmdb", remove("Rename_Images/walk/first/00003.png"), "no such file", 1),
    ("jhmdb", remove("joint_positions/walk/first/*.mat"), "no such file", 1),
    ("jhmdb", overwrite("joint_positions/walk/first/*.mat"), "expected a MATLAB file", 1),
    ("jhmdb", save_mat("joint_positions/walk/first/*.mat", pos_img=[[1]]), "expected joints", 1),
    ("tapvid", track(points=away), "inside its frames", 1),
    ("tapvid", track(occluded=lambda o: o | True), "that are visible, got none", 1),
    ("tapvid", track(video=lambda v: v[:2]), "expected points", 1),
    ("tapvid", track(video=lambda _: [b"no picture"]), "cannot|expected", 1),
    ("tapvid", encoded(lambda data: data[:200]), "damaged or cut off .*frame 4", 1),
    ("tapvid", encoded(lambda _: b""), "an empty file.*frame 4", 1),
    ("tapvid", encoded(smaller), "frames of one size, 96 x 64 .* got 8 x 8 at a, frame 4", 1),
    ("badja", cut_off("DAVIS/JPEGImages/480p/camel/00002.jpg"), "00002.jpg: .*cut off", 1),
    ("badja", empty("joint_annotations/camel.json"), "the file is empty", 1),
    ("badja", remove("DAVIS/JPEGImages/480p/camel/00002.jpg"), "no such file", 1),
    ("badja", overwrite("joint_annotations/camel.json"), "expected JSON", 1),
    ("badja", joint_away, "joints of camel inside", 1),
    ("badja", resized("DAVIS/Annotations/480p/camel/00003.png"), "expected a mask of", 1),
    ("badja", overwrite("DAVIS/Annotations/480p/camel/00003.png"), "cannot read the mask", 1),
]


def named(case):
    return f"{case[0]}: {case[2]}"


@pytest.mark.parametrize("case", BAD, ids=named)
def test_bad_input_stops_or_is_listed(tmp_path, case):
    name, damage, message, lost = case
    reader = READERS[name]
    root = reader.write(tmp_path / "data" if name != "tapvid" else tmp_path)
    assert reader.read(root, False) == (reader.whole, [])
    damage(root)
    with pytest.raises(BadInput, match=message) as error:
        reader.read(root, False)
    assert "\n" not in str(error.value)
    used, skipped = reader.read(root, True)
    assert (used, len(skipped)) == (reader.whole - lost, lost)
    assert len(set(skipped)) == lost


LISTS = [
    ("spair", "Layout/large/test.txt"),
    ("willow", "test_pairs_pf.csv"),
    ("pascal", "PF-dataset-PASCAL/test_pairs_pf_pascal.csv"),
    ("davis", "ImageSets/2017/val.txt"),
    ("jhmdb", "splits/walk_test_split1.txt"),
    ("tapvid", "tapvid_davis.pkl"),
]


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(("name", "path"), LISTS)
def test_a_missing_or_unreadable_list_always_stops(tmp_path, name, path, skip_bad):
    """Without its list nobody can say how much is missing."""
    reader = READERS[name]
    root = reader.write(tmp_path / "data" if name != "tapvid" else tmp_path)
    for content in (b"", b"\xff\xfe\x00no text", None):
        if content is None:
            (root / path).unlink()
        else:
            (root / path).write_bytes(content)
        with pytest.raises(BadInput) as error:
            reader.read(root, skip_bad)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("read", "write", "category"),
    [
        (read_spair, write_spair, "horse"),
        (read_pf_willow, write_willow, "wine(S)"),
        (read_pf_pascal, write_pascal, "horse"),
        (read_ap10k, write_ap10k, "horse"),
        (read_tss, write_tss, "train"),
    ],
)
def test_a_category_without_pairs_is_an_error(tmp_path, read, write, category):
    root = write(tmp_path)
    for skip_bad in (False, True):
        with pytest.raises(BadInput, match=f"unknown category .*'{category[:4]}"):
            read(root, categories=[category], skip_bad=skip_bad)
