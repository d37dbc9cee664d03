"""The readers of JHMDB and BADJA, on miniatures in the same layouts."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from counterpoint.benchmarks.datasets.badja import read_badja
from counterpoint.benchmarks.datasets.jhmdb import JOINTS, read_jhmdb
from counterpoint.errors import BadInput, UnknownName
from support.tiny_video import SIZE_WH, joints_of, paint, write_jhmdb

FIRST = "walk/first"


@pytest.fixture
def mini(tmp_path):
    return write_jhmdb(tmp_path / "JHMDB", ("walk/first", "catch/second"))


def mat_of(root, name=FIRST):
    return root / f"joint_positions/{name}/joint_positions.mat"


def test_reads_test_clips_only(mini):
    jhmdb = read_jhmdb(mini)
    assert [clip.name for clip in jhmdb.clips] == ["catch/second", FIRST]
    clip = jhmdb.clips[1]
    assert (len(clip), clip.size_wh, len(JOINTS)) == (5, SIZE_WH, 15)
    assert np.array_equal(clip.picture(4).rgb, paint(4)[0])
    assert jhmdb.named(2) == "part of JHMDB test split 1 (videos: 2)"
    assert jhmdb.named(268) == "JHMDB test split 1"


def test_joints_count_from_one(mini):
    clip = read_jhmdb(mini, clips=[FIRST]).clips[0]
    assert np.allclose(clip.joints_px, [joints_of(i) for i in range(5)])


def test_chooses_and_limits(mini):
    assert [c.name for c in read_jhmdb(mini, clips=["second"]).clips] == ["catch/second"]
    assert [c.name for c in read_jhmdb(mini, clips=["walk"]).clips] == [FIRST]
    assert [c.name for c in read_jhmdb(mini, clips=["walk", "second"], limit=1).clips] == [
        "catch/second"
    ]
    assert [c.name for c in read_jhmdb(mini, limit=1).clips] == ["catch/second"]
    assert len(read_jhmdb(mini, limit_frames=3).clips[0]) == 3
    with pytest.raises(UnknownName, match="walk/first"):
        read_jhmdb(mini, clips=["walk/frist"])
    with pytest.raises(BadInput, match="at least 2 frames"):
        read_jhmdb(mini, limit_frames=1)


@pytest.mark.parametrize(
    "gone",
    [
        f"Rename_Images/{FIRST}/00002.png",
        f"joint_positions/{FIRST}/joint_positions.mat",
    ],
)
def test_what_is_missing_is_named_or_listed(mini, gone):
    (mini / gone).unlink()
    with pytest.raises(BadInput) as error:
        read_jhmdb(mini)
    message = str(error.value)
    assert message.startswith(f"no such file: {mini / gone}; get Rename_Images.tar.gz")
    found = read_jhmdb(mini, skip_bad=True)
    assert [clip.name for clip in found.clips] == ["catch/second"]
    assert [(bad.id, bad.reason) for bad in found.skipped] == [(FIRST, message)]


def test_no_lists(mini):
    with pytest.raises(BadInput, match=r"walk_test_split2\.txt; get"):
        read_jhmdb(mini, 2)


def test_a_corrupt_line(mini):
    (mini / "splits/walk_test_split1.txt").write_text("first.avi 2\nfirst.avi\n")
    with pytest.raises(BadInput, match=r"in line 2 of .*walk_test_split1\.txt, got 'first\.avi'"):
        read_jhmdb(mini)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (np.zeros((2, 14, 5)), r"joints \(2, 15, frames\).*got \(2, 14, 5\)"),
        (np.zeros((2, 15, 1)), r"got \(2, 15, 1\)"),
        (np.full((2, 15, 5), np.nan), "finite joints"),
        (np.zeros((2, 15, 6)), r"no such file: .*00006\.png"),
    ],
)
def test_corrupt_joints(mini, table, said):
    savemat(mat_of(mini), {"pos_img": table})
    clip = read_jhmdb(mini, clips=[FIRST]).clips[0]
    with pytest.raises(BadInput, match=said) as error:
        clip.check()
    assert "\n" not in str(error.value)


def test_joints_that_are_no_matlab_file(mini):
    mat_of(mini).write_text("no")
    with pytest.raises(BadInput, match="expected a MATLAB file"):
        read_jhmdb(mini, clips=[FIRST]).clips[0].check()
    savemat(mat_of(mini), {"other": 1})
    with pytest.raises(BadInput, match="a variable 'pos_img'"):
        read_jhmdb(mini, clips=[FIRST]).clips[0].check()


def test_the_real_part_of_it(shared):
    found = read_jhmdb(shared / "data/JHMDB", skip_bad=True)
    assert {len(clip) for clip in found.clips} == {17, 40}
    assert len(found.skipped) == 24
    for clip in found.clips:
        assert clip.size_wh == (320, 240)
        inside = (clip.joints_px > -20) & (clip.joints_px < (340, 260))
        assert inside.all()


# BADJA.


@pytest.fixture
def badja(tmp_path):
    (tmp_path / "joint_annotations").mkdir()
    entry = {
        "image_path": "DAVIS/JPEGImages/Full-Resolution/cat/00007.jpg",
        "segmentation_path": "DAVIS/Annotations/Full-Resolution/cat/00007.png",
        "joints": [[539.5, 959.5], [0, 0]],
        "visibility": [True, False],
    }
    path = tmp_path / "joint_annotations/cat.json"
    path.write_text(json.dumps([entry]))
    return tmp_path, path, entry


def test_rows_and_columns_become_points(badja):
    [frame] = read_badja(badja[0])["cat"]
    assert frame.joints_px.tolist() == [[959.5, 539.5], [0, 0]]
    assert frame.visible.tolist() == [True, False]
    assert frame.frame == 7
    # The middle of the picture stays the middle.
    assert frame.joints_at((854, 480))[0].tolist() == [426.5, 239.5]


def test_bad_annotations(badja):
    root, path, entry = badja
    with pytest.raises(UnknownName, match="cat"):
        read_badja(root, ["dog"])
    with pytest.raises(BadInput, match=r"camel\.json; get the repository BADJA"):
        read_badja(root / "elsewhere")
    for broken in ({**entry, "visibility": [True]}, {"joints": []}, 3):
        path.write_text(json.dumps([broken]))
        with pytest.raises(BadInput, match=r"BADJA's annotations in .*cat\.json"):
            read_badja(root)
    path.write_text("{")
    with pytest.raises(BadInput, match="expected JSON in"):
        read_badja(root)


def test_real_joints_lie_on_the_animal(shared):
    from counterpoint.benchmarks.datasets.davis import read_davis

    camel = read_davis(shared / "data/DAVIS", sequences=["camel"]).sequences[0]
    hits = []
    for frame in read_badja(shared / "data/BADJA", ["camel"])["camel"]:
        x, y = frame.joints_at((854, 480))[frame.visible].round().astype(int).T
        hits += camel.mask(frame.frame)[y.clip(0, 479), x.clip(0, 853)].tolist()
    assert np.mean(hits) > 0.8
