"""Every reader and every kind of damage: an error of one line, or a skip that is counted and named.

What is used and what is skipped always add up to what there was: the denominator never changes
silently.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from counterpoint.benchmarks.datasets.ap10k import read_ap10k
from counterpoint.benchmarks.datasets.badja import BadjaVideo, read_badja_videos
from counterpoint.benchmarks.datasets.davis import DavisSequence, read_davis
from counterpoint.benchmarks.datasets.hpatches import read_hpatches
from counterpoint.benchmarks.datasets.jhmdb import Clip, read_jhmdb
from counterpoint.benchmarks.datasets.pf_pascal import read_pf_pascal
from counterpoint.benchmarks.datasets.pf_willow import read_pf_willow
from counterpoint.benchmarks.datasets.spair import read_spair
from counterpoint.benchmarks.datasets.tapvid import TrackedVideo, read_tapvid
from counterpoint.benchmarks.datasets.tss import TSSPair, read_tss
from counterpoint.benchmarks.videos.run import usable_of
from counterpoint.errors import BadInput
from support.tiny_datasets import edit_json, write_ap10k, write_pascal, write_spair, write_willow
from support.tiny_hpatches import write_hpatches
from support.tiny_tss import write_tss
from support.tiny_video import (
    paint,
    save_mask,
    write_badja,
    write_davis,
    write_jhmdb,
    write_tapvid,
)

Read = Callable[..., tuple[int, list[str]]]
"""From a folder and ``skip_bad`` to how much can be used and what is skipped."""


@dataclass(frozen=True)
class Reader:
    """A data set in miniature.

    Attributes:
        write: makes it in a folder.
        read: reads it and checks it, as its benchmark does before it runs anything.
        whole: how much there is, undamaged.
    """

    write: Callable
    read: Read
    whole: int


def pairs_of(read, **choices) -> Read:
    def found(root, skip_bad):
        data = read(root, skip_bad=skip_bad, **choices)
        return len(data.pairs), [bad.id for bad in data.skipped]

    return found


def checked(read, videos, check) -> Read:
    def found(root, skip_bad):
        data = read(root, skip_bad=skip_bad)
        usable, bad = usable_of(getattr(data, videos), check, skip_bad)
        return len(usable), [one.id for one in (*data.skipped, *bad)]

    return found


def _planes(root, skip_bad):
    data = read_hpatches(root, skip_bad=skip_bad)
    return len(data.sequences), [bad.id for bad in data.skipped]


READERS = {
    "spair": Reader(write_spair, pairs_of(read_spair), 12),
    "willow": Reader(write_willow, pairs_of(read_pf_willow), 12),
    "willow by .mat": Reader(
        lambda root: write_willow(root, columns=False), pairs_of(read_pf_willow), 12
    ),
    "pascal": Reader(lambda root: write_pascal(root, boxes=True), pairs_of(read_pf_pascal), 2),
    "ap10k": Reader(lambda root: add_ap10k(write_ap10k(root)), pairs_of(read_ap10k), 3),
    "hpatches": Reader(write_hpatches, _planes, 2),
    "tss": Reader(write_tss, checked(read_tss, "pairs", TSSPair.check), 4),
    "davis": Reader(write_davis, checked(read_davis, "sequences", DavisSequence.check), 2),
    "jhmdb": Reader(write_jhmdb, checked(read_jhmdb, "clips", Clip.check), 2),
    "tapvid": Reader(
        lambda root: write_tapvid(root / "tapvid_davis.pkl").parent,
        checked(read_tapvid, "videos", TrackedVideo.check),
        2,
    ),
    "badja": Reader(
        lambda root: write_badja(root, ("camel", "dog")),
        checked(read_badja_videos, "videos", BadjaVideo.check),
        2,
    ),
}


def add_ap10k(root):
    """Two more pairs, one without the first animal, so that some are left when it is bad."""
    folder = root / "PairAnnotation/test"
    [path] = folder.glob("*.json")
    pair = json.loads(path.read_text())
    first, second = pair["src_json_path"], pair["trg_json_path"]
    other = second.replace("Felidae/cat/000000000002", "Bovidae/cow/000000000004")
    for name, source, target in (("2-1", second, first), ("2-4", second, other)):
        entries = {"src_json_path": source, "trg_json_path": target}
        (folder / f"{name}:cat.json").write_text(json.dumps(entries))
    return root


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
        import pickle

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
    ("pascal", overwrite("PF-dataset-PASCAL/Annotations/cat/p_1.mat"), "a MATLAB file", 1),
    ("pascal", cell(",8,", ",88,"), "a class from 1 to 20", 1),
    ("pascal", cell("30.0000", "-500"), "inside its", 1),
    ("ap10k", remove("JPEGImages/Felidae/cat/*1.jpg"), "no such file", 2),
    ("ap10k", overwrite("PairAnnotation/test/2-1:cat.json"), "expected JSON", 1),
    ("ap10k", overwrite("ImageAnnotation/Felidae/cat/*1.json"), "expected JSON", 2),
    ("ap10k", change("ImageAnnotation/Felidae/cat/*1.json", keypoints=[1, 2]), "17 key points", 2),
    ("ap10k", change("ImageAnnotation/Felidae/cat/*1.json", width=5), "inside its", 2),
    ("hpatches", remove("v_wall/4.ppm"), "no such file", 1),
    ("hpatches", overwrite("v_wall/H_1_3"), "expected three numbers in line 1", 1),
    ("tss", remove("JODS/*/image2.png"), "no such file", 1),
    ("tss", overwrite("JODS/*/flow1.flo"), "expected a .flo file", 1),
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
    ("davis", more_labels, "expected objects 1 to 2", 1),
    ("jhmdb", remove("Rename_Images/walk/first/00003.png"), "no such file", 1),
    ("jhmdb", remove("joint_positions/walk/first/*.mat"), "no such file", 1),
    ("jhmdb", overwrite("joint_positions/walk/first/*.mat"), "expected a MATLAB file", 1),
    ("jhmdb", save_mat("joint_positions/walk/first/*.mat", pos_img=[[1]]), "expected joints", 1),
    ("tapvid", track(points=away), "inside its frames", 1),
    ("tapvid", track(occluded=lambda o: o | True), "that are visible, got none", 1),
    ("tapvid", track(video=lambda v: v[:2]), "expected points", 1),
    ("tapvid", track(video=lambda _: [b"no picture"]), "cannot|expected", 1),
    ("badja", remove("DAVIS/JPEGImages/480p/camel/00002.jpg"), "no such file", 1),
    ("badja", overwrite("joint_annotations/camel.json"), "expected BADJA's annotations", 1),
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
