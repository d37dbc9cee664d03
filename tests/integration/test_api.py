"""Each use in one call from Python: what comes out, and what bad input is told."""

import importlib
import json

import cv2
import numpy as np
import pytest
from PIL import Image

import counterpoint as cp
from counterpoint.api import draw_tracked
from counterpoint.backbones import own_model
from counterpoint.backbones.controls import RGB
from counterpoint.errors import BadInput, ImageError, PointError, UnknownName
from counterpoint.tasks.edits import Carrying, edited_copy, sticker_on
from counterpoint.tasks.tracking import Prompt, Tracking
from counterpoint.videos import MemoryVideo, open_video

CAMERA = np.array([[1.02, 0.05, -12], [-0.04, 1.0, 9], [5e-5, 0, 1]])
RED = np.full((20, 20, 4), (255, 0, 0, 255), np.uint8)


@pytest.fixture(scope="module")
def views():
    """Two pictures, 225 x 150, tied by a known homography."""
    from skimage.data import chelsea

    cat = chelsea()[:220, :320]
    return cat, cv2.warpPerspective(cat, CAMERA, (300, 210))


@pytest.mark.parametrize("name", ["scenes", "edits", "annotation", "tracking", "parts"])
def test_names_of_the_tasks_are_there(name):
    package = importlib.import_module(f"counterpoint.tasks.{name}")
    assert dir(package) == sorted(package.__all__)
    assert all(getattr(package, public) is not None for public in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing


def test_names_of_the_api_are_there():
    import counterpoint.api as api

    assert dir(api) == sorted(api.__all__)
    assert all(callable(getattr(api, name)) for name in api.__all__)


class TestAlign:
    def test_the_homography_is_found(self, views):
        found = cp.align(*views, "sift", count=300)
        corners = np.array([[[0.0, 0], [299, 0], [299, 209], [0, 209]]])
        ends = [cv2.perspectiveTransform(corners, m) for m in (found.matrix, CAMERA)]
        assert np.abs(ends[0] - ends[1]).max() < 3
        assert (found.reason, len(found.inliers)) == ("", found.found.support)
        assert found.warped().size_wh == found.target.size_wh == found.overlay().size_wh

    def test_the_warped_picture_is_the_other_view(self, views):
        warped = cp.align(*views, "sift", count=300).warped().rgb
        inner = np.s_[40:150, 40:250]
        off = np.abs(warped[inner].astype(int) - views[1][inner])
        still = np.abs(views[0][inner].astype(int) - views[1][inner])
        assert off.mean() < 8 < 16 < still.mean()

    def test_features_of_both_need_no_model(self, views):
        maps = cp.extract(list(views), "sift", fit="keep")
        found = cp.align(*views, "no such model", features=tuple(maps), count=200)
        assert np.array_equal(found.matrix, cp.align(*views, "sift", count=200).matrix)

    def test_features_of_other_pictures_are_refused(self, views):
        maps = cp.extract(list(views), "sift", size=64)
        with pytest.raises(BadInput, match="those of another picture"):
            cp.align(*views, features=tuple(maps[::-1]))

    def test_points_of_ones_own(self, views):
        points = [(60, 60), (200, 60), (200, 150), (60, 150), (130, 100), (160, 70)]
        ends = cv2.perspectiveTransform(np.array([points], float), CAMERA)[0]
        found = cp.align(*views, "sift", keypoints=(points, ends), size=300)
        assert len(found.matches) <= 6
        with pytest.raises(PointError, match="the target picture"):
            cp.align(*views, "sift", keypoints=(points, [(999, 3)]))

    def test_without_a_matrix_there_is_a_reason(self, views):
        found = cp.align(views[0], np.full((90, 90, 3), 128, np.uint8), "rgb", size=32)
        assert found.matrix is None
        assert "needs 4 matches" in found.reason
        assert len(found.inliers) == 0
        assert found.draw().shape[2] == 3
        with pytest.raises(BadInput, match="expected a homography to warp by, got none: a homog"):
            found.warped()

    def test_essential_wants_focal_lengths(self, views):
        with pytest.raises(BadInput, match="expected focal_px"):
            cp.align(*views, "sift", relation="essential")
        with pytest.raises(BadInput, match="above 0 pixels, got -1 and 300"):
            cp.align(*views, "sift", relation="essential", focal_px=(-1, 300))


class TestEdit:
    def test_many_targets_at_once(self, views):
        change = sticker_on(views[0], RED, (150, 100), width_px=80)
        good, same = cp.edit(views[0], [views[1], views[0]], change, "sift", size=(304, 208))
        assert good.carried
        assert same.carried
        assert same.picture.rgb[100, 150].tolist() == [255, 0, 0]
        assert good.picture.rgb[tuple(np.s_[105:110, 130:135])].mean(axis=(0, 1))[0] > 200
        assert good.draw().shape[2] == 3

    def test_a_refusal_leaves_the_target(self, views):
        change = sticker_on(views[0], RED, (150, 100), width_px=80)
        grey = np.full((200, 300, 3), 128, np.uint8)
        refused = cp.edit(views[0], grey, change, "sift", size=128)
        assert not refused.carried
        assert refused.reason
        assert refused.picture is refused.target

    def test_mirror_images(self, views):
        change = sticker_on(views[0], RED, (90, 100), width_px=80)
        facing = views[0][:, ::-1].copy()
        how = Carrying(points=64)
        settings = {"how": how, "size": (320, 224)}
        plain = cp.edit(views[0], facing, change, "sift", **settings)
        turned = cp.edit(views[0], facing, change, "sift", mirror=True, **settings)
        assert len(turned.inliers) > len(plain.inliers)
        assert turned.picture.rgb[100, 319 - 90].tolist() == [255, 0, 0]

    @pytest.mark.parametrize("kind", ["array", "rgb", "pil", "path"])
    def test_stickers_of_any_kind(self, kind, views, tmp_path):
        Image.fromarray(RED).save(tmp_path / "red.png")
        given = {
            "array": RED,
            "rgb": RED[..., :3],
            "pil": Image.fromarray(RED),
            "path": tmp_path / "red.png",
        }[kind]
        change = sticker_on(views[0], given, (50, 60), scale=2)
        assert np.array_equal(change.rgba, RED)

    def test_what_is_no_sticker(self, views):
        with pytest.raises(ImageError, match="expected a sticker as a path"):
            sticker_on(views[0], object(), (5, 5))
        with pytest.raises(UnknownName, match="did you mean 'views'"):
            # Unwrapped: elsewhere in the tests the types of arguments are checked first.
            cp.edit.__wrapped__(*views, sticker_on(views[0], RED, (5, 5)), across="view")

    def test_an_edited_copy(self, views):
        painted = views[0].copy()
        painted[50:90, 60:120] = (10, 200, 30)
        mask = np.zeros(painted.shape[:2], np.uint8)
        mask[50:90, 60:120] = 255
        for change in (edited_copy(views[0], painted), edited_copy(views[0], painted, mask)):
            assert np.abs(change.outline_px[0] - (59.5, 49.5)).max() <= 2


class TestTrack:
    @pytest.fixture
    def frames(self, views):
        return [views[0][:128, 4 * i : 4 * i + 160] for i in range(4)]

    def test_masks_from_arrays_and_files(self, frames, tmp_path):
        mask = np.zeros((128, 160), np.uint8)
        mask[30:80, 40:100] = 3
        Image.fromarray(mask).save(tmp_path / "mask.png")
        by_array = list(cp.track(frames, "sift", mask=mask > 0, size=(160, 128)))
        by_file = list(cp.track(frames, "sift", mask=tmp_path / "mask.png", size=(160, 128)))
        assert len(by_array) == 4
        for (_, a), (_, b) in zip(by_array, by_file, strict=True):
            assert a.same_as(b)

    def test_a_video_is_an_array_or_a_list_or_a_folder(self, frames, tmp_path):
        for number, frame in enumerate(frames):
            cp.save_png(frame, tmp_path / f"{number}.png")
        marks = {"points": (80, 60), "boxes": (30, 30, 50, 40), "size": (160, 128)}
        found = [
            [tracked.points_px.tolist() for _, tracked in cp.track(video, "sift", **marks)]
            for video in (frames, np.stack(frames), tmp_path, MemoryVideo(frames, fps=5))
        ]
        assert found[0] == found[1] == found[2] == found[3]

    def test_nothing_runs_before_it_is_asked_for(self, frames):
        ask = cp.track([frames[0], "missing.png"], "rgb", points=(3, 3), size=(16, 16))
        assert next(ask)[1].visible.tolist() == [True]
        with pytest.raises(ImageError, match="no such file"):
            next(ask)

    @pytest.mark.parametrize(
        ("marks", "said"),
        [
            ({}, "got nothing"),
            ({"points": [(500, 3)]}, "inside the frame"),
            ({"boxes": [(3, 3, 9)]}, "as x, y, width, height"),
            ({"boxes": [(3, 3, 0, 9)]}, "got an empty one"),
            ({"mask": np.zeros((128, 160), np.uint8)}, "only background"),
            ({"mask": np.ones((5, 160), np.uint8)}, "the frame's size"),
            ({"mask": np.full((128, 160), 0.5)}, "whole numbers 0 to 255"),
            ({"mask": np.full((128, 160), 256)}, "whole numbers 0 to 255"),
        ],
    )
    def test_bad_marks_are_told_at_once(self, marks, said, frames):
        with pytest.raises((BadInput, PointError), match=said):
            next(cp.track(frames, "rgb", size=(16, 16), **marks))

    def test_later_marks_and_settings(self, frames):
        later = {2: Prompt(points_px=np.array([[20.0, 30.0]]))}
        how = Tracking(visible=0.0)
        marks = {"points": (80, 60), "later": later, "how": how, "size": (160, 128)}
        found = [tracked for _, tracked in cp.track(frames, "sift", **marks)]
        assert found[2].points_px.tolist() == [[20.0, 30.0]]
        assert all(tracked.visible.all() for tracked in found)

    def test_drawings(self, frames):
        results = cp.track(frames, "sift", points=[(80, 60), (90, 70)], size=(160, 128))
        drawn = list(draw_tracked(results, limbs=[(0, 1)], names=["a", "b"]))
        assert [canvas.shape for canvas in drawn] == [(128, 160, 3)] * 4
        assert all((canvas != frame).any() for canvas, frame in zip(drawn, frames, strict=True))

    def test_no_pictures_are_no_video(self):
        with pytest.raises(ImageError, match="at least one picture"):
            open_video([])
        with pytest.raises(ImageError, match="at least one picture"):
            MemoryVideo([])


class TestAnnotate:
    @pytest.fixture
    def labels(self, tmp_path, views):
        (tmp_path / "pictures").mkdir()
        for i in range(3):
            cp.save_png(views[0][:200, 10 * i : 10 * i + 240], tmp_path / f"pictures/{i}.png")
        images = [{"id": i, "file_name": f"{i}.png", "width": 240, "height": 200} for i in range(3)]
        thing = {
            "id": 1,
            "image_id": 0,
            "category_id": 7,
            "keypoints": [170, 105, 2, 90, 100, 2],
            "bbox": [20, 20, 200, 160],
        }
        kinds = [{"id": 7, "name": "cat", "keypoints": ["eye", "cheek"]}]
        content = {"images": images, "categories": kinds, "annotations": [thing]}
        path = tmp_path / "labels.json"
        path.write_text(json.dumps(content))
        return path

    def test_the_rest_is_annotated(self, labels):
        done = cp.annotate(labels, images=labels.parent / "pictures", model="sift", size=(240, 200))
        points = {one.image_id: one.keypoints_px for one in done.annotations.instances}
        for i in (1, 2):
            assert np.abs(points[i] - [(170 - 10 * i, 105), (90 - 10 * i, 100)]).max() < 8
        assert [row["rank"] for row in done.review] == [1, 2]

    def test_files_go_out_whole_or_alone(self, labels):
        done = cp.annotate(
            labels,
            [labels.parent / "pictures/1.png"],
            images=labels.parent / "pictures",
            model="rgb",
            size=32,
        )
        for merge, count in ((False, 1), (True, 2)):
            [path] = done.save(labels.with_name("out.json"), merge=merge)
            assert len(json.loads(path.read_text())["annotations"]) == count

    def test_boxes_cut_things_out(self, labels):
        content = json.loads(labels.read_text())
        content["annotations"] = [
            {"id": i, "image_id": i, "category_id": 7, "bbox": [20, 20, 200, 160]} for i in (1, 2)
        ]
        content["categories"][0].pop("keypoints")
        boxes = labels.with_name("boxes.json")
        boxes.write_text(json.dumps(content))
        done = cp.annotate(
            labels, images=labels.parent / "pictures", boxes=boxes, model="rgb", size=32
        )
        assert [result.found[0].instance.box for result in done.results] == [(20, 20, 200, 160)] * 2

    def test_what_cannot_be(self, labels):
        with pytest.raises(BadInput, match="expected the folder of the references' pictures"):
            cp.annotate(labels, images=labels)
        pictures = labels.parent / "pictures"
        with pytest.raises(BadInput, match="found none"):
            cp.annotate(labels, [pictures / "0.png"], images=pictures)
        (pictures / "0.png").unlink()
        with pytest.raises(ImageError, match=r"expected the picture 0\.png below"):
            cp.annotate(labels, [pictures / "1.png"], images=pictures, model="rgb", size=32)


class TestModels:
    def test_a_loaded_model_is_not_moved_in_silence(self, views):
        model = cp.load("rgb", device="cpu")
        assert cp.extract(views[0], model, device="cpu", dtype="float32", size=16).channels == 4
        with pytest.raises(BadInput, match="give them to load"):
            cp.extract(views[0], model, dtype="bfloat16")

    def test_a_model_of_ones_own(self, views):
        mine = own_model(RGB, "mine", tap="pixels", size_wh=(32, 24))
        fmap = cp.extract(views[0], mine)
        assert (fmap.provenance.model, fmap.grid_wh) == ("mine", (32, 24))
        assert mine.spec.family == "own"


def test_things_say_what_they_are(views):
    a, b = cp.extract(list(views), "rgb", size=16)
    assert repr(a) == "FeatureMap(rgb pixels: 4 x 16 x 16 of a picture 320 x 220)"
    assert repr(cp.match(a, b, [(1, 1)])).startswith("Matches(1 from 320 x 220 to 300 x 210, conf")
    assert repr(cp.match(a, b, np.zeros((0, 2)))) == "Matches(0 from 320 x 220 to 300 x 210)"
    assert repr(cp.load_picture(views[0])) == "Picture('array', 320 x 220)"
