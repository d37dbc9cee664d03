"""Following masks, points and boxes over made-up features: exact where it can be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from counterpoint.errors import BadInput, ImageError, PointError, StorageError
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, from_tapvid, to_mot, to_tapvid
from counterpoint.tasks.masks import PALETTE, load_objects, read_mask, write_mask
from counterpoint.tasks.tracking.folder import Subject, TrackFolder
from counterpoint.tasks.tracking.overlays import Overlay, lay_mask
from counterpoint.tasks.tracking.prompts import Prompt, Tracked
from counterpoint.tasks.tracking.propagation import (
    Propagation,
    mask_of,
    one_hot_labels,
    propagate,
)
from counterpoint.tasks.tracking.readout import (
    box_labels,
    box_marks,
    moved_boxes,
    read_points,
    refine_points,
)
from counterpoint.tasks.tracking.tracker import Tracker, Tracking, track

ROWS, COLUMNS, STRIDE = 12, 16, 4
SIZE = (COLUMNS * STRIDE, ROWS * STRIDE)
SHARP = Tracking(propagation=Propagation(temperature=0.02, topk=3, radius=4, context=3))


def scene(frames=6, step=1, seed=0):
    """Smooth random features that move ``step`` cells to the right in every frame."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randn(24, ROWS + 2, COLUMNS + frames * step + 2, generator=generator)
    wide = torch.nn.functional.avg_pool2d(wide, 3, stride=1)
    starts = [(frames - i) * step for i in range(frames)]
    return [FeatureMap(wide[:, :, s : s + COLUMNS].clone(), SIZE) for s in starts]


def square(x=16, y=12, side=16, number=1):
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[y : y + side, x : x + side] = number
    return mask


def points(*places):
    return np.array(places, dtype=float)


# Following.


def test_masks_are_those_of_label_propagation():
    maps, mask = scene(), square()
    how = SHARP.propagation
    labels = one_hot_labels(mask, (COLUMNS, ROWS))
    expected = [mask_of(found, SIZE) for found in propagate(maps, labels, how)]
    found = [one.mask for one in track(maps, {0: Prompt(mask=mask)}, SHARP)]
    assert np.array_equal(found[0], mask)
    assert all(np.array_equal(a, b) for a, b in zip(found[1:], expected, strict=True))
    assert (found[3] == square(28)).mean() > 0.95


def test_points_move_with_the_features():
    start = points((13.5, 21.5), (20.0, 13.0))
    for i, found in enumerate(track(scene(), {0: Prompt(points_px=start)}, SHARP)):
        assert np.abs(found.points_px - (start + points((i * STRIDE, 0)))).max() < 1.5
        assert found.visible.all()
        assert found.hold.min() > 0.2


def test_only_visible_points_are_refined():
    prompt = Prompt(points_px=points((14.2, 22.9), (20.0, 13.0)))

    def run(**changes):
        results = track(scene(), {0: prompt}, replace(SHARP, **changes))
        return np.stack([one.points_px for one in results])

    plain = run(refine=0)
    assert np.array_equal(run(), plain)
    assert np.array_equal(run(refine=2, visible=1.0)[1:], plain[1:])
    assert not np.allclose(run(refine=2), plain)


def test_boxes_move_and_stretch():
    box = points((12, 8, 20, 24))
    for i, found in enumerate(track(scene(), {0: Prompt(boxes_px=box)}, SHARP)):
        assert np.abs(found.boxes_px - (box + points((i * STRIDE, 0, 0, 0)))).max() < 3
        assert 0 < found.box_peak[0] <= 1


def test_everything_at_once_is_each_alone():
    maps = scene()
    mask, at, box = square(), points((13.5, 21.5)), points((12, 8, 20, 24))
    prompts = (Prompt(mask=mask, points_px=at, boxes_px=box), Prompt(mask=mask))
    both, alone = (list(track(maps, {0: prompt}, SHARP)) for prompt in prompts)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(both, alone, strict=True))
    only = list(track(maps, {0: Prompt(points_px=at)}, SHARP))
    assert all(np.allclose(a.points_px, b.points_px) for a, b in zip(both, only, strict=True))


def test_overlapping_boxes_are_kept_apart():
    boxes = points((12, 8, 20, 24), (12, 8, 40, 24))
    found = list(track(scene(3), {0: Prompt(boxes_px=boxes)}, SHARP))[-1].boxes_px
    assert found[1, 2] - found[0, 2] > 12


def test_a_video_of_another_size_than_the_features_pictures():
    start = points((27.0, 43.0))
    big = (2 * SIZE[0], 2 * SIZE[1])
    found = list(track(scene(), {0: Prompt(points_px=start)}, SHARP, big))
    assert np.abs(found[3].points_px - (start + points((3 * STRIDE * 2, 0)))).max() < 3
    wide = Prompt(mask=np.kron(square(), np.ones((2, 2), np.uint8)))
    assert list(track(scene(), {0: wide}, SHARP, big))[2].mask.shape == big[::-1]


def test_a_lost_point_is_not_visible():
    maps = scene(5)
    rng = torch.Generator().manual_seed(9)
    maps[3:] = [replace(m, values=torch.randn(m.values.shape, generator=rng)) for m in maps[3:]]
    wide = Propagation(temperature=0.2, topk=40, radius=8, context=3)
    wide = Tracking(propagation=wide, visible=0.1)
    found = list(track(maps, {0: Prompt(points_px=points((13.5, 21.5)))}, wide))
    assert found[2].visible[0]
    assert found[0].visible[0] and not found[4].visible[0]
    assert found[4].hold[0] < found[1].hold[0] < found[0].hold[0]
    always = track(maps, {0: Prompt(points_px=points((13.5, 21.5)))}, replace(wide, visible=0))
    assert all(one.visible[0] for one in always)


def test_what_is_gone():
    maps = scene(5)
    rng = torch.Generator().manual_seed(9)
    maps[3:] = [replace(m, values=torch.randn(m.values.shape, generator=rng)) for m in maps[3:]]
    wide = Tracking(propagation=Propagation(temperature=0.2, topk=40, radius=8, context=3))
    prompt = Prompt(mask=square(), boxes_px=points((12, 8, 20, 24)))
    strict = list(track(maps, {0: prompt}, replace(wide, gone=0.7)))
    assert strict[2].mask.any() and np.isfinite(strict[2].boxes_px).all()
    assert not strict[4].mask.any() and np.isnan(strict[4].boxes_px).all()
    assert list(track(maps, {0: prompt}, wide))[4].mask.any()


# Later prompts.


def test_a_point_that_begins_later():
    late = Prompt(points_px=points((30, 20)), point_ids=(1,))
    prompts = {0: Prompt(points_px=points((13.5, 21.5))), 2: late}
    found = list(track(scene(), prompts, SHARP))
    assert np.isnan(found[1].points_px[1]).all() and not found[1].visible[1]
    assert found[2].points_px[1].tolist() == [30, 20]
    assert np.abs(found[4].points_px[1] - (38, 20)).max() < 2


def test_a_point_set_right():
    """It began in frame 1, was wrong, and is where it is said to be from frame 3 on."""
    prompts = {
        0: Prompt(points_px=points((13.5, 21.5))),
        1: Prompt(points_px=points((30.0, 20.0)), point_ids=(1,)),
        3: Prompt(points_px=points((40.0, 30.0)), point_ids=(1,)),
    }
    found = list(track(scene(), prompts, SHARP))
    assert found[3].points_px[1].tolist() == [40, 30]
    assert np.abs(found[5].points_px[1] - (48, 30)).max() < 2
    assert np.abs(found[5].points_px[0] - (33.5, 21.5)).max() < 1.5


def test_a_mask_set_right_leaves_the_others():
    prompts = {
        0: Prompt(mask=square(36, 24, number=2)),
        1: Prompt(mask=square(8, 4)),
        3: Prompt(mask=square(8, 28, 12)),
    }
    found = list(track(scene(), prompts, SHARP))
    assert (found[2].mask[8:20, 16:28] == 1).mean() > 0.8
    two = found[3].mask
    assert (two[28:40, 8:20] == 1).all()
    assert (two == 1).sum() == 144
    assert (two == 2).sum() > 100
    later = found[5].mask
    assert (later[32:40, 20:28] == 1).mean() > 0.7
    assert (later[4:20] == 1).mean() < 0.05
    assert (later == 2).sum() > 100


def test_a_new_object_later():
    prompts = {0: Prompt(mask=square(8, 4)), 2: Prompt(mask=square(36, 24, number=2))}
    found = list(track(scene(), prompts, SHARP))
    assert set(np.unique(found[1].mask)) == {0, 1}
    assert set(np.unique(found[4].mask)) == {0, 1, 2}


def test_without_context_the_first_frame_alone_counts():
    lone = replace(SHARP, propagation=replace(SHARP.propagation, context=0))
    prompts = {0: Prompt(points_px=points((13.5, 21.5))), 1: Prompt(points_px=points((30, 20)))}
    found = list(track(scene(3), prompts, lone))
    assert found[1].points_px.tolist() == [[30, 20]]


# Going on.


@pytest.mark.parametrize("context", [0, 2, 3, 20])
@pytest.mark.parametrize("done", [1, 2, 4, 6])
def test_going_on_is_equal_bit_for_bit(context, done):
    maps = scene(9)
    how = replace(SHARP, propagation=replace(SHARP.propagation, context=context))
    prompts = {
        0: Prompt(mask=square(), points_px=points((13.5, 21.5)), boxes_px=points((12, 8, 20, 24))),
        5: Prompt(points_px=points((30, 20)), point_ids=(1,)),
    }
    whole, memories, expected = Tracker(prompts, how), [], []
    for fmap in maps:
        expected.append(whole.step(fmap))
        memories.append(whole.memory)
    again = Tracker(prompts, how)
    kept = min(max(1, context), done - 1)
    again.resume(maps[0], 0, done - 1 - kept)
    for i in range(done - kept, done):
        again.recall(maps[i], i, memories[i])
    for i in range(done, len(maps)):
        assert again.step(maps[i], i).same_as(expected[i])


def test_frames_out_of_order_and_prompts_without_a_frame():
    maps, at = scene(3), points((13.5, 21.5))
    with pytest.raises(BadInput, match="got nothing"):
        Tracker({0: Prompt()})
    with pytest.raises(BadInput, match="expected frame 2, which is marked, got frame 0"):
        Tracker({2: Prompt(points_px=at)}).step(maps[0])
    tracker = Tracker({0: Prompt(points_px=at), 2: Prompt(points_px=at)})
    tracker.step(maps[0])
    with pytest.raises(BadInput, match="expected frame 2, which is marked, got frame 4"):
        tracker.step(maps[1], 4)
    tracker.step(maps[1], 1)
    with pytest.raises(BadInput, match="expected frames in order, got 1 after 1"):
        tracker.step(maps[1], 1)
    with pytest.raises(BadInput, match="before its memory"):
        Tracker({0: Prompt(points_px=at)}).memory
    with pytest.raises(BadInput, match="before `recall`"):
        Tracker({0: Prompt(points_px=at)}).recall(maps[0], 0, tracker.memory)


@pytest.mark.parametrize(
    ("prompt", "error", "said"),
    [
        (Prompt(points_px=points((64.6, 3))), PointError, "inside the frame"),
        (Prompt(boxes_px=points((60, 40, 20, 4))), PointError, "a box's corners"),
        (Prompt(boxes_px=points((3, 4, 0, 4))), BadInput, "got an empty one"),
        (Prompt(mask=np.ones((48, 63), np.uint8)), BadInput, "64 x 48, got 63 x 48"),
        (Prompt(mask=np.zeros((48, 64), np.uint8)), BadInput, "only background"),
    ],
)
def test_marks_that_do_not_fit(prompt, error, said):
    with pytest.raises(error, match=said):
        prompt.check(SIZE)


def test_settings_and_ids_out_of_range():
    for wrong in ({"refine": -1}, {"visible": 1.5}, {"gone": -0.1}):
        with pytest.raises(BadInput, match="visible and gone from 0 to 1"):
            Tracking(**wrong)
    with pytest.raises(BadInput, match="point_ids"):
        Prompt(points_px=points((1, 2), (3, 4)), point_ids=(0, 0))


# Reading.


def test_hold_is_the_peak_times_its_share():
    labels = torch.zeros(2, 6, 12)
    labels[0, 2, 2], labels[0, 2, 9] = 0.4, 0.1
    read = read_points(labels)
    assert read.points_grid[0].tolist() == [2, 2]
    assert read.hold.tolist() == pytest.approx([0.4 * 0.4 / 0.5, 0.0])
    assert np.isnan(read.points_grid[1]).all()


def test_refining_finds_the_place_between_cells():
    generator = torch.Generator().manual_seed(1)
    values = torch.nn.functional.avg_pool2d(torch.randn(32, 14, 18, generator=generator), 3, 1)
    fmap = FeatureMap(values, (COLUMNS, ROWS))
    true = points((5.5, 6.0), (9.0, 3.5), (0.0, 0.0))
    own = fmap.sample(true)
    off = true + points((1, -1), (-1.4, 1), (1, 1))
    assert np.abs(refine_points(off, own, values, 2) - true).max() < 0.5
    assert refine_points(off, own, values, 0) is off
    lost = np.full((1, 2), np.nan)
    assert np.isnan(refine_points(lost, own[:1], values, 2)).all()


def test_a_box_smaller_than_a_cell():
    to_grid = PixelTransform.resize(SIZE, (COLUMNS, ROWS))
    labels = box_labels([(9, 9, 1, 1)], to_grid, (COLUMNS, ROWS))
    assert labels.sum() == 1 and labels[0, 2, 2] == 1
    marks = box_marks(labels)
    assert np.allclose(marks, [[1.6, 1.6, 2.4, 2.4]])
    moved = moved_boxes(points((9, 9, 1, 1)), marks, marks + 1, to_grid)
    assert np.allclose(moved, [[13, 13, 1, 1]])


def test_conventions():
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 48, (5, 3, 2))
    assert np.allclose(from_tapvid(to_tapvid(places, SIZE), SIZE), places)
    assert to_tapvid(points((-0.5, -0.5), (63.5, 47.5)), SIZE).tolist() == [[0, 0], [1, 1]]
    assert to_mot(points((0, 0, 64, 48))).tolist() == [[1, 1, 64, 48]]


# Masks.


def save(path, array, mode=None):
    image = Image.fromarray(array)
    if mode == "P":
        image.putpalette(PALETTE.tobytes())
    image.save(path)
    return path


TWO = np.array([[0, 0, 3, 3], [0, 7, 7, 0]], np.uint8)
DENSE = np.array([[0, 0, 1, 1], [0, 2, 2, 0]], np.uint8)


def test_label_images_of_every_kind(tmp_path):
    kinds = {
        "palette": save(tmp_path / "p.png", TWO, "P"),
        "grey": save(tmp_path / "l.png", TWO),
        "palette's colours": save(tmp_path / "c.png", PALETTE[TWO]),
        "deep": save(tmp_path / "i.png", TWO.astype(np.uint16) * 1000),
        "colours": save(
            tmp_path / "rgb.png", np.array([(0, 0, 0), (9, 200, 77), (255, 0, 9)], np.uint8)[DENSE]
        ),
    }
    for kind, path in kinds.items():
        assert np.array_equal(load_objects(path).mask, DENSE), kind
    assert load_objects(kinds["palette"]).numbers == (3, 7)
    assert load_objects(kinds["palette's colours"]).numbers == (3, 7)
    assert load_objects(kinds["deep"]).numbers == (3000, 7000)
    assert load_objects(kinds["colours"]).numbers == (1, 2)
    rgba = np.dstack([np.full((2, 4, 3), 200, np.uint8), (DENSE > 0).astype(np.uint8) * 255])
    assert np.array_equal(load_objects(save(tmp_path / "a.png", rgba)).mask, DENSE > 0)
    white = save(tmp_path / "w.png", (DENSE > 0).astype(np.uint8) * 255)
    assert load_objects(white).numbers == (1,)
    black_and_white = np.kron((DENSE > 0).astype(np.uint8) * 255, np.ones((32, 32), np.uint8))
    jpeg = load_objects(save(tmp_path / "w.jpg", black_and_white))
    assert np.array_equal(jpeg.mask > 0, black_and_white > 0)


def test_label_images_that_are_none(tmp_path):
    void = TWO.copy()
    void[0, 0] = 255
    photo = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    (tmp_path / "t.png").write_bytes(b"text")
    bad = {
        save(tmp_path / "v.png", void, "P"): "void pixels",
        save(tmp_path / "z.png", 0 * TWO, "P"): "only background",
        save(tmp_path / "photo.png", photo): "at most 255 objects",
        save(tmp_path / "photo.jpg", photo): "without losses",
        tmp_path / "none.png": "no such file",
        tmp_path / "t.png": "cannot read the mask",
    }
    for path, said in bad.items():
        with pytest.raises(ImageError, match=said) as error:
            load_objects(path)
        assert "\n" not in str(error.value)


def test_a_mask_comes_back(tmp_path):
    write_mask(tmp_path / "m.png", TWO)
    assert np.array_equal(read_mask(tmp_path / "m.png"), TWO)
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "P" and image.getpalette()[9:12] == PALETTE[3].tolist()


# Pictures and files.


def found(mask=None):
    return Tracked(
        mask,
        points((10, 10), (30, 20), (np.nan, np.nan)),
        np.array([True, False, False]),
        np.array([0.9, 0.001, 0.0]),
        points((5, 5, 20, 10)),
        np.array([0.8]),
    )


def test_overlays_draw_what_there_is():
    rgb = np.full((48, 64, 3), 90, np.uint8)
    before = rgb.copy()
    overlay = Overlay([(255, 0, 0)] * 3, [(0, 255, 0)], limbs=[(0, 1)], names=["eye", "b", "c"])
    drawn = overlay.draw(rgb, found(square()))
    assert np.array_equal(rgb, before)
    assert drawn[10, 10].tolist() == [255, 0, 0]
    assert drawn[24, 24].tolist() != [90, 90, 90]
    assert (drawn == (0, 255, 0)).all(axis=2).any()
    assert drawn[47, 63].tolist() == [90, 90, 90]
    moved = replace(found(), points_px=points((40, 40), (30, 20), (1, 1)))
    with_trail = overlay.draw(rgb, moved)
    assert with_trail[25, 25].tolist() != [90, 90, 90]
    with pytest.raises(BadInput, match="colours for 3 points and 1 boxes"):
        Overlay([], []).draw(rgb, found())
    with pytest.raises(BadInput, match="expected a mask of shape"):
        lay_mask(rgb, np.zeros((2, 2), np.uint8))


SUBJECT = Subject(name="clip", size_wh=SIZE, names=("a", "b", "c"), numbers=(4,), boxes=1)


def memory():
    return Tracker({0: Prompt(points_px=points((9, 9)))}), scene(1)


def kept_frames(folder, count):
    tracker, [fmap] = memory()
    tracker.step(fmap)
    folder.begin()
    for i in range(len(folder.done), count):
        folder.add(i, i / 10, found(square()), tracker.memory)


def test_what_is_kept_comes_back(tmp_path):
    folder = TrackFolder(tmp_path, SUBJECT, {"a": 1}, 2)
    kept_frames(folder, 4)
    again = TrackFolder(tmp_path, SUBJECT, {"a": 1}, 2)
    assert again.done == [0, 1, 2, 3]
    lines = list(again.lines())
    assert again.read(lines[2]).same_as(found(square()))
    state = tmp_path / ".clip.track"
    assert sorted(p.name for p in state.iterdir()) == [
        "2.safetensors", "3.safetensors", "log.jsonl",
    ]  # fmt: skip
    assert torch.equal(again.memory(3).labels, again.memory(2).labels)
    with Image.open(tmp_path / "Annotations/48p/clip/00001.png") as image:
        assert set(np.unique(np.array(image))) == {0, 4}


def test_a_cut_line_and_a_lost_mask(tmp_path):
    kept_frames(TrackFolder(tmp_path, SUBJECT, {}, 3), 5)
    log = tmp_path / ".clip.track/log.jsonl"
    log.write_text(log.read_text()[:-30])
    cut = TrackFolder(tmp_path, SUBJECT, {}, 3)
    assert cut.done == []  # frame 1's memory, the third before the cut, has gone already
    log.write_text(log.read_text() + "\n")
    kept_frames(TrackFolder(tmp_path, SUBJECT, {}, 9), 5)
    log.write_text(log.read_text()[:-30])
    folder = TrackFolder(tmp_path, SUBJECT, {}, 9)
    assert folder.done == [0, 1, 2, 3]
    folder.begin()
    assert len(log.read_text().splitlines()) == 4
    (tmp_path / "Annotations/48p/clip/00002.png").unlink()
    assert TrackFolder(tmp_path, SUBJECT, {}, 9).done == [0, 1]


def test_nothing_made_otherwise_is_mixed_in(tmp_path):
    TrackFolder(tmp_path, SUBJECT, {"topk": 10}, 2)
    with pytest.raises(StorageError, match="made with topk = 10, asked was 3"):
        TrackFolder(tmp_path, SUBJECT, {"topk": 3}, 2)
    (tmp_path / "clip.track.json").write_text("{")
    with pytest.raises(StorageError, match="cannot be read"):
        TrackFolder(tmp_path, SUBJECT, {"topk": 3}, 2)
