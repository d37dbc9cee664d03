"""The readers of SPair-71k and AP-10K, on miniatures in their layouts; bad input of every kind."""

import json

import numpy as np
import pytest

from counterpoint.benchmarks.datasets import _pictures
from counterpoint.benchmarks.datasets._tables import find_file
from counterpoint.benchmarks.datasets.ap10k import KEYPOINTS, read_ap10k
from counterpoint.benchmarks.datasets.keypoints import Difficulty, KeypointPair, Skipped
from counterpoint.benchmarks.datasets.spair import read_image_annotation, read_spair
from counterpoint.benchmarks.keypoints.sets import read_again
from counterpoint.errors import BadInput, UnknownName
from support.tiny_datasets import (
    POINTS,
    SIZES_WH,
    edit_json,
    write_ap10k,
    write_spair,
)


@pytest.fixture
def mini(tmp_path):
    return write_spair(tmp_path / "SPair-71k")


def first_pair(root):
    return root / "PairAnnotation/test/000001-cat_0-cat_1:cat.json"


def test_reads_what_is_there(mini):
    spair = read_spair(mini)
    assert spair.name == "SPair-71k large test, 12 of 12234 pairs"
    assert (len(spair.pairs), spair.points, len(spair.pictures)) == (12, 36, 6)
    assert spair.categories == ("cat", "dog")
    pair = spair.pairs[0]
    assert (pair.id, pair.category, pair.noun) == ("000001-cat_0-cat_1:cat", "cat", "cat")
    assert pair.source == mini / "JPEGImages/cat/cat_0.jpg"
    assert (pair.source_size_wh, pair.target_size_wh) == (SIZES_WH[0], SIZES_WH[1])
    assert pair.source_px.tolist() == [list(xy) for xy in POINTS[0][2:]]
    assert pair.target_px.tolist() == [list(xy) for xy in POINTS[1][2:]]
    assert pair.keypoint_ids == ("2", "3", "4")
    assert pair.source_box == (7, 7, 55, 41)
    assert pair.difficulty == Difficulty(viewpoint=0, scale=1, truncation=3, occlusion=0)
    assert pair.difficulty.words == {
        "viewpoint": "easy",
        "scale": "medium",
        "truncation": "both",
        "occlusion": "none",
    }


def test_the_small_layout_and_choices(mini):
    small = read_spair(mini, layout="small")
    assert [pair.category for pair in small.pairs] == ["cat", "dog"]
    assert small.name == "SPair-71k small test, 2 pairs"
    dogs = read_spair(mini, categories=["dog"], limit=2)
    assert [pair.id[:6] for pair in dogs.pairs] == ["000007", "000008"]
    for wrong in ({"layout": "medium"}, {"split": "tset"}, {"categories": ["cta"]}):
        with pytest.raises(UnknownName, match="of SPair-71k"):
            read_spair(mini, **wrong)
    with pytest.raises(UnknownName, match=r"category in .*test\.txt 'boat'.*Known: cat, dog"):
        read_spair(mini, categories=["boat"])
    with pytest.raises(BadInput, match="limit of at least 1"):
        read_spair(mini, limit=0)


def test_what_is_not_annotated_is_not_invented(tmp_path):
    pair = read_spair(write_spair(tmp_path, flags=False)).pairs[0]
    assert pair.keypoint_ids is None
    assert pair.difficulty is None


def test_reads_no_picture(mini):
    for picture in (mini / "JPEGImages").rglob("*.jpg"):
        picture.write_bytes(b"")
    assert len(read_spair(mini).pairs) == 12


def test_each_picture_is_looked_for_once(mini, monkeypatch):
    """12 pairs of 6 pictures: of 12,234 pairs this is what keeps reading a matter of seconds."""
    asked = []

    def counted(path):
        asked.append(path)
        return find_file(path)

    monkeypatch.setattr(_pictures, "find_file", counted)
    assert len(read_spair(mini).pairs) == 12
    assert len(asked) == len(set(asked)) == 6


def test_one_picture_by_itself(mini):
    note = read_image_annotation(mini, "cat", "cat_0.jpg")
    assert list(note.keypoints_px) == ["1", "2", "3", "4"]
    assert note.keypoints_px["4"] == POINTS[0][4]
    assert note.box == (7, 7, 55, 41)
    with pytest.raises(BadInput, match=r"no such file: .*cat_9\.json"):
        read_image_annotation(mini, "cat", "cat_9")


def test_the_fingerprint_is_of_the_list_not_of_the_place(mini, tmp_path):
    spair = read_spair(mini)
    moved = read_spair(mini.rename(tmp_path / "elsewhere"))
    assert moved.fingerprint == spair.fingerprint
    assert read_spair(moved.root, limit=11).fingerprint != spair.fingerprint
    edit_json(first_pair(moved.root), trg_kps=[[24, 8], [42, 31], [8, 30]])
    assert read_spair(moved.root).fingerprint != spair.fingerprint


def test_a_request_reads_the_same_again(mini):
    asked = read_spair(mini, layout="small", categories=["dog"], limit=1)
    request = json.loads(json.dumps(asked.request))
    assert read_again(mini, request).fingerprint == asked.fingerprint
    with pytest.raises(UnknownName, match="data set of key point pairs 'spare'"):
        read_again(mini, request | {"reader": "spare"})


def break_json(root):
    first_pair(root).write_text('{"category": "cat", ')


def break_bytes(root):
    first_pair(root).write_bytes(b"\xff\xfe")


def make_list(root):
    first_pair(root).write_text("[1]")


def lose_pair(root):
    first_pair(root).unlink()


def lose_points(root):
    edit_json(first_pair(root), trg_kps=None)


def drop_point(root):
    edit_json(first_pair(root), trg_kps=[[24, 8]])


def empty_points(root):
    edit_json(first_pair(root), src_kps=[], trg_kps=[], kps_ids=[])


def point_outside(root):
    edit_json(first_pair(root), src_kps=[[52, 12], [10, 38], [33, 50.5]])


def point_nan(root):
    edit_json(first_pair(root), src_kps=[[52, 12], [10, 38], [33, float("nan")]])


def box_flat(root):
    edit_json(first_pair(root), trg_bndbox=[5, 5, 5, 60])


def box_words(root):
    edit_json(first_pair(root), trg_bndbox=["a", 5, 5, 60])


def flag_beyond(root):
    edit_json(first_pair(root), viewpoint_variation=3)


def flag_lost(root):
    edit_json(first_pair(root), occlusion=None)


def other_category(root):
    edit_json(first_pair(root), category="dog")


def size_odd(root):
    edit_json(first_pair(root), src_imsize=[64])


BREAKS = {
    break_json: "expected JSON in .*000001",
    break_bytes: "cannot read .*000001",
    make_list: "expected a JSON object in .*000001.*got list",
    lose_pair: r"no such file: .*000001.*get SPair-71k\.tar\.gz from https://cvlab",
    lose_points: "expected 'trg_kps' as list in .*000001",
    drop_point: "as many points in both pictures of pair 000001.* got 3 and 1",
    empty_points: "at least one, got 0",
    point_outside: r"inside its source picture of 64 x 48 px, got \(33, 50.5\)",
    point_nan: "'src_kps' in .*000001.*NaN",
    box_flat: r"expected a target box \(left, top, right, bottom\) of some size in pair 000001",
    box_words: "expected 'trg_bndbox' in .*000001.* as 4 numbers",
    flag_beyond: "expected viewpoint from 0 to 2, got 3 in .*000001",
    flag_lost: "expected all of viewpoint_variation, .* in .*000001",
    other_category: "expected the category cat in .*000001.* got 'dog'",
    size_odd: "expected 'src_imsize' as width, height, channels",
}


@pytest.mark.parametrize("name", [harm.__name__ for harm in BREAKS])
def test_a_bad_pair_is_an_error_or_a_listed_skip(mini, name):
    harm = next(harm for harm in BREAKS if harm.__name__ == name)
    harm(mini)
    with pytest.raises(BadInput, match=BREAKS[harm]) as caught:
        read_spair(mini)
    assert "\n" not in str(caught.value)
    left = read_spair(mini, skip_bad=True)
    assert left.skipped == (Skipped("000001-cat_0-cat_1:cat", str(caught.value)),)
    assert len(left.pairs) == 11
    assert left.name == "SPair-71k large test, 11 of 12234 pairs"


def test_a_click_just_beyond_the_picture_is_taken(mini):
    edit_json(first_pair(mini), src_kps=[[52, 12], [10, 38], [33, 49.4]])
    assert read_spair(mini).pairs[0].source_px[2].tolist() == [33, 49.4]


def test_a_picture_missing_from_the_list_spoils_all_its_pairs(mini):
    (mini / "JPEGImages/cat/cat_2.jpg").unlink()
    with pytest.raises(BadInput, match=r"no such file: .*cat_2\.jpg; get SPair-71k"):
        read_spair(mini)
    left = read_spair(mini, skip_bad=True)
    assert (len(left.pairs), len(left.skipped)) == (8, 4)


def test_bad_lines_of_the_list(mini):
    path = mini / "Layout/large/test.txt"
    path.write_text(path.read_text().replace(":cat", ":cta", 1))
    with pytest.raises(BadInput, match=r"expected a pair as .* in line 1 of .*test\.txt"):
        read_spair(mini)
    assert read_spair(mini, skip_bad=True).skipped[0].id == "line 1"
    path.write_text("../../secret:cat\n")
    with pytest.raises(BadInput, match="in line 1"):
        read_spair(mini)
    path.write_text("\n")
    with pytest.raises(BadInput, match="expected pairs in SPair-71k large test .* found none"):
        read_spair(mini)
    path.unlink()
    with pytest.raises(BadInput, match="no such file: .*give the folder that holds PairAnn"):
        read_spair(mini)


def test_a_pair_listed_twice(mini):
    path = mini / "Layout/large/test.txt"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    with pytest.raises(BadInput, match="expected each pair once, got 000001"):
        read_spair(mini)
    assert len(read_spair(mini, skip_bad=True).pairs) == 12


def test_nothing_left_says_why(mini):
    for picture in (mini / "JPEGImages").rglob("*.jpg"):
        picture.unlink()
    with pytest.raises(BadInput, match="found none; 12 skipped, the first: no such file"):
        read_spair(mini, skip_bad=True)


def test_a_pair_by_hand_is_checked(tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    one = np.array([[1.0, 1.0]])
    with pytest.raises(BadInput, match="source picture of at least 1 x 1 px in pair p"):
        KeypointPair("p", "cat", a, b, (0, 4), (4, 4), one, one)
    with pytest.raises(BadInput, match="got 1 and 1 and 2"):
        KeypointPair("p", "cat", a, b, (4, 4), (4, 4), one, one, ("1", "2"))


class TestAP10K:
    @pytest.fixture
    def mini(self, tmp_path):
        return write_ap10k(tmp_path / "ap-10k")

    def test_the_three_subsets(self, mini):
        found = {}
        for subset in ("intra-species", "cross-species", "cross-family"):
            dataset = read_ap10k(mini, subset)
            [pair] = dataset.pairs
            found[subset] = (pair.category, pair.source.parent.name, pair.target.parent.name)
            assert dataset.name == f"AP-10K {subset} test, 1 pairs"
        assert found == {
            "intra-species": ("cat", "cat", "cat"),
            "cross-species": ("Felidae", "cat", "lion"),
            "cross-family": ("all", "cat", "cow"),
        }

    def test_the_points_annotated_in_both(self, mini):
        [pair] = read_ap10k(mini).pairs
        assert pair.keypoint_ids == KEYPOINTS[2:5]
        assert pair.source_px.tolist() == [list(xy) for xy in POINTS[0][2:]]
        assert pair.target_px.tolist() == [list(xy) for xy in POINTS[1][2:]]
        assert pair.source_box == (5, 5, 55, 41)
        assert pair.target_size_wh == SIZES_WH[1]

    def test_bad_input(self, mini):
        with pytest.raises(BadInput, match="no such file: .*/val; .*prepare_ap10k"):
            read_ap10k(mini, split="val")
        with pytest.raises(UnknownName, match="subset of AP-10K 'intra'"):
            read_ap10k(mini, "intra")
        note = mini / "ImageAnnotation/Felidae/cat/000000000002.json"
        edit_json(note, keypoints=[1, 2, 3])
        with pytest.raises(BadInput, match="expected 17 key points in .* got 1"):
            read_ap10k(mini)
        edit_json(note, keypoints=[[1, 1, 2]] * 17, width="60")
        with pytest.raises(BadInput, match="expected 'width' of at least 1 px"):
            read_ap10k(mini)
        [path] = (mini / "PairAnnotation/test").iterdir()
        edit_json(path, src_json_path="../../etc/passwd.json")
        with pytest.raises(BadInput, match="expected paths below ImageAnnotation"):
            read_ap10k(mini)


class TestDifficulty:
    """The miniature's pairs have the source's number as viewpoint, the target's as scale."""

    def test_levels(self, tmp_path):
        root = write_spair(tmp_path)
        hard = read_spair(root, difficulty={"viewpoint": ["hard"]})
        assert len(hard.pairs) == 4
        assert {pair.difficulty.words["viewpoint"] for pair in hard.pairs} == {"hard"}
        assert hard.name == "SPair-71k large test, viewpoint hard, 4 of 12234 pairs"
        both = read_spair(
            root, difficulty={"truncation": ["none", "source"], "viewpoint": ["medium", "easy"]}
        )
        assert [pair.id[7:] for pair in both.pairs] == [
            "cat_1-cat_0:cat",
            "cat_1-cat_2:cat",
            "dog_1-dog_0:dog",
            "dog_1-dog_2:dog",
        ]
        assert "viewpoint easy|medium, truncation none|source, 4 of" in both.name
        again = read_again(root, both.request)
        assert again.fingerprint == both.fingerprint

    def test_the_limit_is_of_those(self, tmp_path):
        root = write_spair(tmp_path)
        some = read_spair(root, difficulty={"scale": ["hard"]}, limit=3)
        assert [pair.difficulty.scale for pair in some.pairs] == [2, 2, 2]
        assert len(read_spair(root, difficulty={"scale": []}, limit=3).pairs) == 3

    def test_pairs_without_flags_stop_or_are_listed(self, tmp_path):
        root = write_spair(tmp_path)
        path = next((root / "PairAnnotation/test").glob("000001-*.json"))
        flags = ("viewpoint_variation", "scale_variation", "truncation", "occlusion")
        edit_json(path, **dict.fromkeys(flags))
        with pytest.raises(BadInput, match="expected difficulty flags of pair 000001"):
            read_spair(root, difficulty={"viewpoint": ["easy"]})
        found = read_spair(root, difficulty={"viewpoint": ["easy"]}, skip_bad=True)
        assert (len(found.pairs), len(found.skipped)) == (3, 1)
        with pytest.raises(BadInput, match="found none"):
            read_spair(root, difficulty={"occlusion": ["both"]}, skip_bad=True)

    def test_unknown_names(self, tmp_path):
        root = write_spair(tmp_path)
        with pytest.raises(UnknownName, match="unknown difficulty flag of SPair-71k 'view'"):
            read_spair(root, difficulty={"view": ["easy"]})
        with pytest.raises(UnknownName, match="unknown level of occlusion 'easy'"):
            read_spair(root, difficulty={"occlusion": ["easy"]})
