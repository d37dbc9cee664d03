"""Label propagation: banded and chunked equals the full affinity, and what goes around it."""

import gc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.tasks.tracking.propagation import (
    LabelPropagator,
    Propagation,
    gaussian_labels,
    mask_of,
    one_hot_labels,
    points_of,
    propagate,
)


def full(frames, labels, how):
    """The algorithm as published: every affinity at once. Soft labels of frames 1 and on."""
    _, rows, columns = frames[0].shape
    y, x = np.divmod(np.arange(rows * columns), columns)
    reach = rows + columns if how.radius is None else how.radius
    near = (abs(y[:, None] - y) <= reach) & (abs(x[:, None] - x) <= reach)
    near = torch.from_numpy(near)
    units = [F.normalize(f.double(), dim=0).flatten(1) for f in frames]
    known = [labels.double().flatten(1)]
    for i in range(1, len(frames)):
        context = [0, *range(max(1, i - how.context), i)]
        affinity = torch.cat(
            [torch.exp(units[j].T @ units[i] / how.temperature) * near for j in context]
        )
        least = affinity.topk(min(how.topk, len(affinity)), dim=0).values.amin(dim=0)
        affinity[affinity < least] = 0
        affinity = affinity / affinity.sum(dim=0)
        known.append(torch.cat([known[j] for j in context], dim=1) @ affinity)
    return [k.reshape(-1, rows, columns) for k in known[1:]]


def scene(seed, frames, channels, rows, columns, labels=3):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(frames, channels, rows, columns, generator=generator)
    return list(values), torch.rand(labels, rows, columns, generator=generator)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    frames=st.integers(2, 7),
    channels=st.integers(2, 6),
    rows=st.integers(1, 7),
    columns=st.integers(1, 8),
    topk=st.integers(1, 12),
    radius=st.one_of(st.none(), st.integers(0, 6)),
    context=st.integers(0, 4),
    tile=st.one_of(st.none(), st.tuples(st.integers(1, 9), st.integers(1, 9))),
)
def test_banded_equals_full(seed, frames, channels, rows, columns, topk, radius, context, tile):
    maps, labels = scene(seed, frames, channels, rows, columns)
    how = Propagation(temperature=0.3, topk=topk, radius=radius, context=context)
    propagator = LabelPropagator(maps[0], labels, how, tile=tile)
    for fmap, expected in zip(maps[1:], full(maps, labels, how), strict=True):
        assert (propagator.step(fmap) - expected).abs().max() < 1e-4


def ties(seed, frames=4, rows=5, columns=6):
    """Every cell is one of three unit vectors: cosines are 0 or 1, exactly."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 3, (frames, rows, columns), generator=generator)
    labels = torch.rand(2, rows, columns, generator=generator)
    return list(F.one_hot(kinds, 3).permute(0, 3, 1, 2).float()), labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("radius", [None, 0, 2])
@pytest.mark.parametrize("topk", [1, 4, 40])
@pytest.mark.parametrize("tile", [None, (1, 1), (2, 3)])
def test_all_that_tie_with_the_last_are_kept(seed, radius, topk, tile):
    maps, labels = ties(seed)
    how = Propagation(temperature=0.5, topk=topk, radius=radius, context=2)
    propagator = LabelPropagator(maps[0], labels, how, tile=tile)
    for fmap, expected in zip(maps[1:], full(maps, labels, how), strict=True):
        assert (propagator.step(fmap) - expected).abs().max() < 1e-5


def test_a_tie_by_hand():
    # One query; the first two of three context cells look alike, and topk is 1.
    features = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])
    labels = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])
    found = LabelPropagator(features, labels, Propagation(topk=1, context=0)).step(features)
    assert found[:, 0, 0].tolist() == [0.5, 0.5]
    assert found[:, 0, 2].tolist() == [0.0, 0.0]


def test_weights_by_hand():
    # Cosines 1 and 0 at temperature 0.5: weights e^2 and 1.
    features = torch.eye(2).reshape(2, 1, 2)
    labels = torch.eye(2).reshape(2, 1, 2)
    found = LabelPropagator(features, labels, Propagation(temperature=0.5)).step(features)
    assert found[0, 0, 0].item() == pytest.approx(np.exp(2) / (np.exp(2) + 1), rel=1e-6)


def test_a_tiny_temperature_does_not_overflow():
    maps, labels = scene(0, 2, 4, 3, 3)
    how = Propagation(temperature=1e-4, topk=5)
    assert torch.isfinite(LabelPropagator(maps[0], labels, how).step(maps[1])).all()


def test_the_first_frame_stays_and_old_ones_go():
    # Frame 0 alone knows the label; later frames look like nothing before them.
    seen, other = torch.eye(2).reshape(2, 2, 1, 1)
    labels = torch.ones(1, 1, 1)
    propagator = LabelPropagator(seen, labels, Propagation(topk=1, context=2))
    for fmap in [other] * 5:
        propagator.add(fmap, torch.zeros(1, 1, 1))
    assert propagator.step(seen).item() == 1
    assert propagator.step(other).item() == 0


def test_what_is_corrected_is_gone_on_from():
    maps, labels = scene(1, 3, 4, 4, 4)
    how = Propagation(topk=1, context=1, temperature=0.1)
    propagator = LabelPropagator(maps[0], labels, how)
    mine = torch.full_like(labels, 9.0)
    propagator.add(maps[1], mine)
    assert (propagator.step(maps[1]) == 9).all()


def test_memory_does_not_grow_with_the_video():
    maps, labels = scene(0, 1, 4, 6, 6)
    propagator = LabelPropagator(maps[0], labels, Propagation(context=3))

    def held():
        gc.collect()
        tensors = [t for t in gc.get_objects() if type(t) is torch.Tensor]
        return sum(t.nbytes for t in tensors if t.layout == torch.strided)

    for _ in range(4):
        propagator.step(maps[0])
    before = held()
    for _ in range(20):
        propagator.step(maps[0])
    assert held() == before
    assert propagator._context.filled == 4


def test_big_tiles_shrink_to_the_room_there_is(monkeypatch):
    maps, labels = scene(2, 3, 4, 9, 11)
    how = Propagation(topk=3, radius=2)
    whole = list(propagate(maps, labels, how))
    monkeypatch.setattr("counterpoint.tasks.tracking.propagation._SCORES_MB", {"cpu": 1e-3})
    propagator = LabelPropagator(maps[0], labels, how)
    assert max(t.rows.stop - t.rows.start for t in propagator._tiles()) < 8
    for fmap, expected in zip(maps[1:], whole, strict=True):
        assert (propagator.step(fmap) - expected).abs().max() < 1e-5


def test_feature_maps_and_half_precision():
    maps, labels = scene(3, 3, 8, 5, 5)
    plain = list(propagate(maps, labels))
    wrapped = list(propagate((FeatureMap(m, (40, 40)) for m in maps), labels))
    assert all(torch.equal(a, b) for a, b in zip(plain, wrapped, strict=True))
    half = list(propagate([m.half() for m in maps], labels))
    assert half[0].dtype == torch.float32
    assert (half[0] - plain[0]).abs().max() < 0.05


def test_nothing_given_is_changed():
    maps, labels = scene(4, 2, 4, 4, 4)
    before = [m.clone() for m in maps], labels.clone()
    list(propagate(maps, labels))
    assert all(torch.equal(a, b) for a, b in zip(maps, before[0], strict=True))
    assert torch.equal(labels, before[1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 0.0}, "temperature above 0"),
        ({"temperature": float("nan")}, "temperature above 0"),
        ({"topk": 0}, "topk of at least 1"),
        ({"radius": -1}, "radius of at least 0"),
        ({"context": -1}, "context and radius"),
    ],
)
def test_parameters_out_of_range(changes, said):
    with pytest.raises(BadInput, match=said):
        Propagation(**changes)


def test_bad_input_is_said_in_one_line():
    maps, labels = scene(5, 2, 4, 4, 5)
    propagator = LabelPropagator(maps[0], labels)
    bad = maps[1].clone()
    bad[0, 0, 0] = torch.nan
    padded = FeatureMap(maps[1], (40, 32), valid=torch.arange(5).expand(4, 5) < 4)
    calls = [
        (lambda: LabelPropagator(maps[0], labels[:, :2]), "at the features' grid"),
        (lambda: LabelPropagator(maps[0], labels[:0]), "at the features' grid"),
        (lambda: LabelPropagator(maps[0], labels / 0), "finite labels"),
        (lambda: LabelPropagator(maps[0], labels, tile=(0, 4)), "1 x 1 cells"),
        (lambda: propagator.step(maps[1][:, :2]), "of one shape"),
        (lambda: propagator.step(bad), "finite features"),
        (lambda: propagator.step(padded), "without padding"),
        (lambda: propagator.step(maps[1].long()), "floating point"),
        (lambda: propagator.add(maps[1], labels[:1]), r"= \(3, 4, 5\)"),
        (lambda: list(propagate([], labels)), "at least one frame"),
    ]
    for call, said in calls:
        with pytest.raises(BadInput, match=said) as error:
            call()
        assert "\n" not in str(error.value)
    assert torch.isfinite(propagator.step(maps[1])).all()


# From masks and key points to labels and back.


def test_one_hot_takes_the_middle_of_each_cell():
    mask = np.zeros((8, 8), np.uint8)
    mask[2, 2] = 1  # where nearest neighbour looks in a cell of 4 x 4
    mask[0, 4:] = 2
    labels = one_hot_labels(mask, (2, 2))
    assert labels.shape == (3, 2, 2)
    assert labels.argmax(dim=0).tolist() == [[1, 0], [0, 0]]
    assert one_hot_labels(mask, (2, 2), count=5).shape == (5, 2, 2)


@pytest.mark.parametrize(
    ("mask", "count", "said"),
    [
        (np.zeros((2, 2, 3), int), None, "whole numbers"),
        (np.zeros((2, 2)), None, "whole numbers"),
        (np.zeros((0, 2), int), None, "whole numbers"),
        (np.full((2, 2), -1), None, "got -1"),
        (np.full((2, 2), 300), None, "0 to 255"),
        (np.full((2, 2), 3), 3, "0 to 2"),
    ],
)
def test_masks_that_are_none(mask, count, said):
    with pytest.raises(BadInput, match=said):
        one_hot_labels(mask, (1, 1), count)


def test_a_hard_mask_comes_back():
    mask = np.zeros((32, 48), np.uint8)
    mask[8:24, 8:24] = 1
    mask[8:24, 32:40] = 2
    found = mask_of(one_hot_labels(mask, (12, 8)), (48, 32))
    assert (found == mask).mean() > 0.97
    assert set(np.unique(found)) == {0, 1, 2}
    assert mask_of(one_hot_labels(mask, (12, 8)), (48, 32), (97, 63)).shape == (63, 97)


def test_channels_are_stretched_before_the_largest_wins():
    labels = torch.tensor([[[0.9, 0.8]], [[0.1, 0.2]]])
    assert mask_of(labels, (2, 1)).tolist() == [[0, 1]]


def test_empty_and_constant_channels():
    nothing = torch.zeros(1, 2)
    ramp = torch.tensor([[0.0, 0.5]])
    assert mask_of(torch.stack([ramp, nothing]), (2, 1)).tolist() == [[0, 0]]
    # Positive everywhere alike: 0 / 0 in the original, which wins.
    assert mask_of(torch.stack([ramp, nothing + 0.1]), (2, 1)).tolist() == [[1, 1]]


@given(x=st.floats(2, 9), y=st.floats(2, 7))
def test_a_key_point_comes_back(x, y):
    found = points_of(gaussian_labels([(x, y)], (12, 10)))
    assert np.abs(found - (x, y)).max() < 0.5
    whole = points_of(gaussian_labels([(round(x), round(y))], (12, 10)), top=1)
    assert whole.tolist() == [[round(x), round(y)]]


def test_the_mean_of_the_top_three_by_hand():
    labels = torch.zeros(1, 3, 4)
    labels[0, 1, 1], labels[0, 1, 2], labels[0, 2, 1], labels[0, 0, 0] = 2.0, 1.0, 1.0, 0.5
    assert points_of(labels).tolist() == [[1.25, 1.25]]


def test_lost_points_are_nan():
    labels = gaussian_labels([(3, 3), (-9, 3)], (8, 8))
    assert labels[1].max() == 0
    found = points_of(labels)
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()
    with pytest.raises(BadInput, match="sigma above 0"):
        gaussian_labels([(3, 3)], (8, 8), sigma=0)
    with pytest.raises(BadInput, match="got 0 points"):
        gaussian_labels([], (8, 8))
