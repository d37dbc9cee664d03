"""J and F, body joints and point tracks, by hand and against plain definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from counterpoint.benchmarks.videos.joint_metrics import JointPCK
from counterpoint.benchmarks.videos.mask_metrics import (
    JF,
    boundary,
    boundary_accuracy,
    region_similarity,
    statistics,
)
from counterpoint.benchmarks.videos.track_metrics import TapVid, queries_of
from counterpoint.errors import BadInput

SQUARE = np.zeros((20, 30), bool)
SQUARE[5:15, 5:15] = True
NONE = np.zeros_like(SQUARE)


def shifted(mask, pixels):
    return np.roll(mask, pixels, axis=1)


def test_region_by_hand():
    assert region_similarity(SQUARE, SQUARE) == 1
    assert region_similarity(shifted(SQUARE, 5), SQUARE) == pytest.approx(50 / 150)
    assert region_similarity(NONE, SQUARE) == 0
    assert region_similarity(NONE, NONE) == 1
    with pytest.raises(BadInput, match="one size"):
        region_similarity(NONE[:5], SQUARE)


def test_boundary_pixels_by_hand():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:3] = True
    assert boundary(mask).astype(int).tolist() == [
        [1, 1, 1, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    corner = np.zeros((3, 3), bool)
    corner[2, 2] = True
    assert boundary(corner).astype(int).tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 0]]


@settings(max_examples=40, deadline=None)
@given(
    masks=arrays(bool, (2, 9, 11), elements=st.booleans()),
    tolerance=st.sampled_from([0.01, 0.08, 0.2]),
)
def test_boundary_accuracy_is_its_definition(masks, tolerance):
    mine, theirs = (np.argwhere(boundary(mask)) for mask in masks)
    reach = np.ceil(tolerance * np.hypot(9, 11))

    def found(these, those):
        if not len(these):
            return 1.0
        gaps = np.linalg.norm(these[:, None] - those[None], axis=2)
        return float((gaps <= reach).any(axis=1).mean())

    precision, recall = found(mine, theirs), found(theirs, mine)
    total = precision + recall
    expected = 2 * precision * recall / total if total else 0
    assert boundary_accuracy(masks[0], masks[1], tolerance) == pytest.approx(expected)


def test_boundary_accuracy_of_empty_masks():
    assert boundary_accuracy(NONE, NONE) == 1
    assert boundary_accuracy(NONE, SQUARE) == 0
    assert boundary_accuracy(SQUARE, NONE) == 0
    # 0.008 of the diagonal of 20 x 30, rounded up, is 1 pixel.
    assert boundary_accuracy(shifted(SQUARE, 1), SQUARE) == 1
    assert boundary_accuracy(shifted(SQUARE, 3), SQUARE) < 1


def test_statistics_by_hand():
    found = statistics(np.array([1.0, 0.9, 0.8, 0.5, 0.4, 0.3, 0.2, 0.1]))
    assert found.mean == pytest.approx(100 * 4.2 / 8)
    assert found.recall == pytest.approx(100 * 3 / 8)  # 0.5 itself is not above
    # Quarters end at frames 1, 3, 5, 6, 8 (rounded), ends shared.
    assert found.decay == pytest.approx(100 * (np.mean([1, 0.9, 0.8]) - np.mean([0.3, 0.2, 0.1])))
    assert statistics(np.array([0.7])).decay == 0


def video(frames=5):
    """Two objects; the second is missed."""
    true = np.zeros((frames, 20, 30), np.uint8)
    true[:, SQUARE] = 1
    true[:, 2:4, 20:28] = 2
    return np.where(true == 2, 0, true), true


def test_objects_and_ends():
    predicted, true = video()
    predicted[[0, -1]] = 0  # neither counts
    score = JF().update("v", predicted, true).compute()
    assert score.region.mean == pytest.approx(50)
    assert score.boundary.mean == pytest.approx(50)
    assert score.both.value == pytest.approx(50)
    assert (score.sequences, score.objects, score.frames) == (1, 2, 3)
    assert score.both.interval.low == score.both.interval.high == pytest.approx(50)


def test_shards_in_any_order_give_the_same():
    predicted, true = video()
    a, b = JF().update("a", true, true), JF().update("b", predicted, true)
    one, other = a.joined(b), b.joined(a)
    assert one == other
    assert one.compute() == other.compute()
    assert one.compute().both.value == pytest.approx(75)
    assert {name: s.both.value for name, s in one.by_sequence().items()} == {"a": 100, "b": 50}
    with pytest.raises(BadInput, match="a has been scored already"):
        one.update("a", true, true)


def test_masks_that_cannot_be_scored():
    predicted, true = video()
    extra = true.copy()
    extra[3, 0, 0] = 3
    cases = [
        (predicted[:, :10], true, r"one size in frame 0 of v"),
        (predicted[:2], true[:2], "at least 3 frames of v"),
        (predicted[:4], true, "got fewer"),
        (predicted, true[:4], "got more"),
        (predicted, np.zeros_like(true), "empty mask"),
        (extra, true, "objects 1 to 2.* got 3 in the prediction of frame 3"),
        (predicted, extra, "got 3 in the annotation of frame 3"),
    ]
    for mine, theirs, said in cases:
        with pytest.raises(BadInput, match=said):
            JF().update("v", mine, theirs)
    with pytest.raises(BadInput, match="at least one sequence"):
        JF().compute()


# Joints.


def skeleton(frames=3):
    """Fifteen joints in a box of 30 x 40: diagonal 50, length 30."""
    rng = np.random.default_rng(0)
    joints = rng.uniform((10, 20), (40, 60), (15, 2))
    joints[0], joints[1] = (10, 20), (40, 60)
    return np.repeat(joints[None], frames, axis=0)


def test_joints_by_hand():
    true = skeleton()
    mine = true.copy()
    mine[1, 0, 0] += 3.0  # 0.1 of the length: right at the threshold
    mine[1, 1, 0] += 3.1
    mine[2, 2, 1] += 6.1
    mine[0] += 500  # the first frame does not count
    near, far = JointPCK().update("clip", mine, true).compute()
    assert (near.alpha, far.alpha) == (0.1, 0.2)
    assert near.per_joint[:4] == (100, 50, 50, 100)
    assert near.mean.value == pytest.approx(100 * 14 / 15)
    assert far.per_joint[:4] == (100, 100, 50, 100)
    assert (near.videos, near.points, near.lost) == (1, 30, 0)


def test_joints_are_averaged_joint_by_joint_over_all_frames():
    long, short = skeleton(9), skeleton(3)
    off = short + 100
    score = JointPCK((0.1,)).update("a", long, long).update("b", off, short).compute()[0]
    assert score.mean.value == pytest.approx(100 * 8 / 10)


def test_lost_joints_count_as_wrong_or_not_at_all():
    true = skeleton()
    mine = true.copy()
    mine[1, 3] = np.nan
    wrong = JointPCK((0.1,)).update("clip", mine, true).compute()[0]
    assert (wrong.per_joint[3], wrong.lost, wrong.points) == (50, 1, 30)
    left_out = JointPCK((0.1,), skip_lost=True).update("clip", mine, true).compute()[0]
    assert (left_out.per_joint[3], left_out.lost, left_out.points) == (100, 1, 29)
    # Without joint 0 the box of frame 1 is smaller, and so is the length.
    mine = true.copy()
    mine[1, 0] = np.nan
    mine[1, 5, 0] += 2.99
    assert JointPCK((0.1,)).update("c", mine, true).compute()[0].per_joint[5] == 100
    assert JointPCK((0.1,), skip_lost=True).update("c", mine, true).compute()[0].per_joint[5] == 50


def test_joints_that_cannot_be_scored():
    true = skeleton()
    point = np.zeros_like(true)
    cases = [
        (true[:, :3], true, "joints"),
        (true[:1], true[:1], "at least 2 frames"),
        (true, np.full_like(true, np.nan), "finite joints"),
        (point, point, "one place"),
    ]
    for mine, theirs, said in cases:
        with pytest.raises(BadInput, match=said):
            JointPCK().update("clip", mine, theirs)
    one = JointPCK().update("clip", true, true)
    with pytest.raises(BadInput, match="clip has been scored already"):
        one.joined(one)
    with pytest.raises(BadInput, match="same thresholds"):
        one.joined(JointPCK((0.3,)))
    with pytest.raises(BadInput, match="one number of joints"):
        one.update("other", true[:, :3], true[:, :3])
    with pytest.raises(BadInput, match="at least one video"):
        JointPCK().compute()
    lost = true.copy()
    lost[:, 3] = np.nan
    with pytest.raises(BadInput, match="one that never was"):
        JointPCK(skip_lost=True).update("clip", lost, true).compute()


# Tracks.


def test_queries_by_hand():
    occluded = np.array([[1, 1, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]], bool)
    first = queries_of(occluded, "first")
    assert (first.tracks.tolist(), first.frames.tolist()) == ([0, 1], [2, 0])
    strided = queries_of(occluded, "strided")
    assert sorted(zip(strided.tracks.tolist(), strided.frames.tolist(), strict=True)) == [
        (0, 5),
        (1, 0),
        (1, 5),
    ]


def test_tracks_by_hand():
    # One query in frame 1 of 4 of a video of 128 x 256: x counts double at 256 x 256.
    true = np.zeros((1, 4, 2))
    mine = np.zeros((1, 4, 2))
    mine[0, 2] = (1.5, 0)  # 3 pixels off
    mine[0, 3] = (0, 0.5)
    occluded = np.array([[False, False, False, False]])
    said = np.array([[True, True, False, True]])
    frames = np.array([1])
    score = TapVid("first").update("v", frames, mine, said, true, occluded, (128, 256)).compute()
    # Frames 2 and 3 count. Within 1 and 2: only frame 3; within 4, 8, 16 both.
    assert score.figures.delta_avg == pytest.approx(100 * (2 * 0.5 + 3 * 1) / 5)
    assert score.figures.occlusion_accuracy == pytest.approx(50)
    # Shown is only frame 2: false at 1 and 2 (0 hits over 2 + 1), a hit beyond (1 over 2).
    assert score.figures.average_jaccard == pytest.approx(100 * (2 * 0 + 3 * 0.5) / 5)
    assert (score.videos, score.queries) == (1, 1)
    strided = TapVid("strided").update("v", frames, mine, said, true, occluded, (128, 256))
    assert strided.compute().figures.occlusion_accuracy == pytest.approx(100 / 3)


def plain_jaccard(mine, said, true, hidden, counted, threshold):
    """TAP-Vid's, counted point by point."""
    hits = false = missed = 0
    for place in np.argwhere(counted):
        q, f = place
        near = np.linalg.norm(mine[q, f] - true[q, f]) < threshold
        if not said[q, f] and near and not hidden[q, f]:
            hits += 1
        else:
            false += not said[q, f]
            missed += not hidden[q, f]
    return hits / (hits + false + missed)


@pytest.mark.parametrize("mode", ["first", "strided"])
@pytest.mark.parametrize("seed", range(4))
def test_tracks_against_counting(mode, seed):
    rng = np.random.default_rng(seed)
    true = rng.uniform(0, 256, (6, 8, 2))
    mine = true + rng.normal(0, 5, true.shape)
    hidden, said = rng.random((2, 6, 8)) < 0.3
    frames = rng.integers(0, 6, 6)
    at = np.arange(8)
    counted = at > frames[:, None] if mode == "first" else at != frames[:, None]
    score = TapVid(mode).update("v", frames, mine, said, true, hidden, (256, 256)).compute()
    expected = [plain_jaccard(mine, said, true, hidden, counted, t) for t in (1, 2, 4, 8, 16)]
    assert score.figures.average_jaccard == pytest.approx(100 * np.mean(expected))


def test_perfect_tracks_and_shards():
    true = np.random.default_rng(0).uniform(0, 50, (3, 5, 2))
    hidden = np.zeros((3, 5), bool)
    frames = np.array([0, 1, 2])
    a = TapVid("first").update("a", frames, true, hidden, true, hidden, (50, 50))
    b = TapVid("first").update("b", frames, true + 99, ~hidden, true, hidden, (50, 50))
    assert a.compute().figures.average_jaccard == 100
    assert a.joined(b) == b.joined(a)
    both = a.joined(b).compute()
    assert (both.figures.average_jaccard, both.figures.delta_avg) == (50, 50)
    assert (both.interval.low, both.interval.high) == (0, 100)
    # A position that is missing is wrong, whatever is said of it.
    lost = np.full_like(true, np.nan)
    none = TapVid("first").update("c", frames, lost, hidden, true, hidden, (50, 50)).compute()
    assert none.figures.delta_avg == 0


def test_tracks_that_cannot_be_scored():
    true = np.zeros((2, 4, 2))
    hidden = np.zeros((2, 4), bool)
    frames = np.array([0, 1])
    tap = TapVid("first")
    cases = [
        ((frames, true[:, :3], hidden, true, hidden), "of one shape"),
        ((frames[:1], true, hidden, true, hidden), "of one shape"),
        ((frames + 3, true, hidden, true, hidden), "frames 0 to 3"),
        ((frames, true, hidden, true, ~hidden), "visible points"),
    ]
    for arguments, said in cases:
        with pytest.raises(BadInput, match=said):
            tap.update("v", *arguments, (50, 50))
    with pytest.raises(BadInput, match="one query mode"):
        tap.joined(TapVid("strided"))
    with pytest.raises(BadInput, match="at least one video"):
        tap.compute()
