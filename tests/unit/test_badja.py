"""BADJA's videos and its PCK, by miniatures and hand-worked cases."""

import json

import numpy as np
import pytest

from counterpoint.benchmarks.datasets.badja import read_badja_videos
from counterpoint.benchmarks.videos.badja_metrics import BadjaPCK
from counterpoint.errors import BadInput, PointError, UnknownName
from support.tiny_video import SIDE, SIZE_WH, animal_joints, paint, save_mask, write_badja


def annotation(root, animal="camel"):
    return root / f"joint_annotations/{animal}.json"


def change(root, i, **entries):
    path = annotation(root)
    listed = json.loads(path.read_text())
    listed[i] |= entries
    path.write_text(json.dumps(listed))


class TestReader:
    def test_videos(self, tmp_path):
        badja = read_badja_videos(write_badja(tmp_path))
        [video] = badja.videos
        video.check()
        assert (video.name, len(video), video.indices) == ("camel", 5, (0, 2, 4))
        assert [path.name for path in video.frames] == [f"{i:05}.jpg" for i in range(1, 6)]
        assert video.size_wh == SIZE_WH
        assert np.allclose(video.joints_px[1, :2], animal_joints(3))
        assert video.visible.tolist() == [[True, True, False]] * 3
        assert video.areas_px.tolist() == [2 * SIDE**2] * 3
        assert badja.named(1) == "part of BADJA (videos: 1)"
        assert badja.named(7) == "BADJA"

    def test_davis_elsewhere_and_choices(self, tmp_path):
        root = write_badja(tmp_path / "BADJA", ("camel", "dog", "tiger"))
        (root / "DAVIS").rename(tmp_path / "elsewhere")
        with pytest.raises(BadInput, match=r"00001\.jpg; .* give it with --davis"):
            read_badja_videos(root)
        found = read_badja_videos(root, tmp_path / "elsewhere")
        assert [video.name for video in found.videos] == ["camel", "dog"]  # as papers report
        davis = tmp_path / "elsewhere"
        assert [v.name for v in read_badja_videos(root, davis, animals=["tiger"]).videos] == [
            "tiger"
        ]
        assert len(read_badja_videos(root, davis, limit=1).videos) == 1
        [short] = read_badja_videos(root, davis, limit=1, limit_frames=4).videos
        assert (len(short), short.indices) == (3, (0, 2))  # nothing after the last scored frame
        with pytest.raises(UnknownName, match="unknown animal of BADJA 'camle'"):
            read_badja_videos(root, davis, animals=["camle"])
        with pytest.raises(BadInput, match="at least 2 frames"):
            read_badja_videos(root, davis, limit_frames=1)

    def test_missing_files_stop_or_are_listed(self, tmp_path):
        root = write_badja(tmp_path, ("camel", "dog"))
        (root / "DAVIS/JPEGImages/480p/dog/00002.jpg").unlink()
        with pytest.raises(BadInput, match=r"dog/00002\.jpg"):
            read_badja_videos(root)
        badja = read_badja_videos(root, skip_bad=True)
        assert [bad.id for bad in badja.skipped] == ["dog"]
        assert [video.name for video in badja.videos] == ["camel"]
        with pytest.raises(BadInput, match=r"found none; no such file: .*dog/00002\.jpg"):
            read_badja_videos(root, animals=["dog"], skip_bad=True)

    def test_damage(self, tmp_path):
        root = write_badja(tmp_path)
        before = annotation(root).read_text()
        for text, message in (
            ("{", "expected JSON in"),
            ("[]", "annotated frames of camel, got none"),
            ('[{"joints": []}]', "expected BADJA's annotations"),
        ):
            annotation(root).write_text(text)
            with pytest.raises(BadInput, match=message):
                read_badja_videos(root)
        annotation(root).write_text(before)
        change(root, 1, image_path="../../etc/passwd")
        with pytest.raises(BadInput, match="annotations in|below the folder of BADJA"):
            read_badja_videos(root)
        annotation(root).write_text(before)
        change(root, 1, image_path="DAVIS/JPEGImages/Full-Resolution/camel/00001.jpg")
        with pytest.raises(BadInput, match="in order, each once"):
            read_badja_videos(root)

    def test_what_is_said_before_anything_is_run(self, tmp_path):
        root = write_badja(tmp_path)
        before = annotation(root).read_text()
        change(root, 1, joints=[[50, 2400], [20, 20], [0, 0]])
        with pytest.raises(PointError, match=r"joints of camel inside its frames of 96 x 64 px"):
            read_badja_videos(root).videos[0].check()
        annotation(root).write_text(before)
        change(root, 0, visibility=[False] * 3)
        with pytest.raises(BadInput, match="a visible joint in the first, got 3 and 0"):
            read_badja_videos(root).videos[0].check()
        annotation(root).write_text(before)
        mask = root / "DAVIS/Annotations/480p/camel/00003.png"
        save_mask(mask, paint(3)[1][:, :40])
        with pytest.raises(
            BadInput, match="mask of 96 x 64 px, as the frames of camel, got 40 x 64"
        ):
            read_badja_videos(root).videos[0].check()
        save_mask(mask, paint(3)[1] * 0)
        with pytest.raises(BadInput, match="got an empty mask"):
            read_badja_videos(root).videos[0].check()


class TestPCK:
    WIDE = (854, 480)

    def update(self, pck, found, true, visible, area=10000.0, size_wh=WIDE, name="a"):
        found, true = np.array(found, float), np.array(true, float)
        areas = np.full(len(true), area)
        return pck.update(name, found, true, np.array(visible), areas, size_wh)

    def test_both_measures(self):
        """Of an area of 100 x 100, 0.2 of the root is 20; the first frame does not count."""
        true = [[(0, 0), (100, 100)], [(50, 50), (60, 60)]]
        found = [[(9, 9), (9, 9)], [(52, 50), (60, 79.9)]]
        pck = self.update(BadjaPCK(), found, true, [[True, True], [True, True]])
        by_area, near = pck.compute()
        assert (by_area.mean.value, near.mean.value) == (100, 50)
        assert (by_area.points, by_area.lost, by_area.not_given) == (2, 0, 0)
        found[1] = [(53, 50), (60, 80)]  # exactly at the thresholds: not below
        exact = self.update(BadjaPCK(), found, true, [[True, True], [True, True]]).compute()
        assert [one.mean.value for one in exact] == [50, 0]

    def test_sizes_are_brought_to_854_by_480(self):
        true, found = [[(0, 0)], [(50, 50)]], [[(0, 0)], [(55, 50)]]
        shown = [[True], [True]]
        full = self.update(BadjaPCK(), found, true, shown, 10000.0, (1708, 960))
        assert full.videos[0].correct == (1, 1)  # 2.5 px of 854; area's root 50, its share 10
        small = self.update(BadjaPCK(), found, true, shown, 600.0, self.WIDE)
        assert small.videos[0].correct == (0, 0)  # 5 px; share of the root 4.9

    def test_hidden_lost_and_not_given(self):
        true = [[(0, 0), (0, 0), (0, 0)], [(5, 5), (5, 5), (5, 5)]]
        found = [[(0, 0)] * 3, [(5, 5), (np.nan, np.nan), (5, 5)]]
        shown = [[True, True, False], [True, True, True]]
        left_out = self.update(BadjaPCK(), found, true, shown).compute()[0]
        assert (left_out.points, left_out.lost, left_out.not_given) == (2, 1, 1)
        assert left_out.mean.value == 50
        wrong = self.update(BadjaPCK(count_not_given=True), found, true, shown).compute()[0]
        assert (wrong.points, wrong.lost, wrong.not_given) == (3, 2, 1)
        assert wrong.mean.value == pytest.approx(100 / 3)
        hidden = self.update(BadjaPCK(), found, true, [[True] * 3, [True, False, False]])
        assert hidden.compute()[0].points == 1

    def test_the_mean_is_over_videos(self):
        true = np.zeros((2, 4, 2))
        shown = np.ones((2, 4), bool)
        pck = self.update(BadjaPCK(), true, true, shown)
        pck = self.update(pck, true[:, :1] + 999, true[:, :1], shown[:, :1], name="b")
        score = pck.compute()[0]
        assert (score.mean.value, score.per_point, score.videos) == (50, 80, 2)

    def test_refusals(self):
        true, shown = np.zeros((2, 1, 2)), np.ones((2, 1), bool)
        pck = self.update(BadjaPCK(), true, true, shown)
        with pytest.raises(BadInput, match="a has been scored"):
            self.update(pck, true, true, shown)
        with pytest.raises(BadInput, match="same rule"):
            pck.joined(BadjaPCK(count_not_given=True))
        with pytest.raises(BadInput, match="visible again, got none"):
            self.update(BadjaPCK(), true, true, [[True], [False]])
        with pytest.raises(BadInput, match="an area above 0"):
            self.update(BadjaPCK(), true, true, shown, area=0.0)
        with pytest.raises(BadInput, match="of one shape, at least 2 frames"):
            self.update(BadjaPCK(), true[:1], true[:1], shown[:1])
        with pytest.raises(BadInput, match="at least one video"):
            BadjaPCK().compute()
