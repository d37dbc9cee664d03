"""Scoring under every protocol, by hand; macro averages and shards of PCK."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.benchmarks.datasets.keypoints import (
    Difficulty,
    KeypointPair,
    KeypointPairs,
    Skipped,
)
from counterpoint.benchmarks.keypoints.protocols import (
    PROTOCOLS,
    find_protocol,
    require_scorable,
    score,
)
from counterpoint.benchmarks.metrics import PCK
from counterpoint.errors import BadInput, UnknownName


def pair(identity="a", category="cat", *, n=2, difficulty=None, boxes=True):
    """Source points 40 px apart, target points 30; boxes of 50 and 20 px; pictures of 200, 100."""
    return KeypointPair(
        id=identity,
        category=category,
        source=Path(f"{identity}1.jpg"),
        target=Path(f"{identity}2.jpg"),
        source_size_wh=(200, 90),
        target_size_wh=(80, 100),
        source_px=np.array([(10, 10), (50, 20), (20, 20), (20, 30)][:n], float),
        target_px=np.array([(10, 10), (20, 40), (20, 20), (20, 30)][:n], float),
        source_box=(0.0, 0.0, 50.0, 40.0) if boxes else None,
        target_box=(5.0, 5.0, 25.0, 15.0) if boxes else None,
        difficulty=difficulty,
    )


def dataset(*pairs, skipped=()):
    return KeypointPairs("mini", Path("mini"), {}, pairs, skipped)


def off(one, *distances):
    """Predictions to the right of the truth by so many pixels."""
    return {one.id: one.target_px + [(d, 0) for d in distances]}


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("dift", 20),
        ("geoaware", 20),
        ("willow-source-extent", 40),
        ("willow-target-extent", 30),
        ("pf-pascal", 100),
        ("pf-pascal-geoaware", 100),
        ("pf-pascal-box", 20),
    ],
)
def test_lengths_by_hand(name, length):
    assert find_protocol(name).length_px(pair()) == length


def test_every_protocol_is_tested_and_says_its_rule():
    assert len(PROTOCOLS) == 8
    assert find_protocol("dift").rule == "distance <= alpha * longer side of the target's box"
    assert find_protocol("geoaware").rule == "distance < alpha * longer side of the target's box"
    assert find_protocol("cub-crops").rule.startswith("distance <= alpha * ")
    with pytest.raises(UnknownName, match="protocol 'difft': did you mean 'dift'"):
        find_protocol("difft")


def test_at_the_threshold_the_two_protocols_of_spair_differ():
    one = pair()
    predictions = off(one, 2, 2.01)  # threshold 0.1 * 20
    found = {}
    for name in ("dift", "geoaware"):
        [found[name]] = score(dataset(one), predictions, find_protocol(name), [0.1])
    assert found["dift"].per_point.value == 50
    assert found["geoaware"].per_point.value == 0


def test_a_protocol_says_which_points_are_found():
    one = pair()
    predicted = one.target_px + np.array([(0, 2), (0, 2.01)])
    assert find_protocol("dift").threshold_px(one, 0.1) == 2
    assert find_protocol("dift").correct(one, predicted, 0.1).tolist() == [True, False]
    assert find_protocol("geoaware").correct(one, predicted, 0.1).tolist() == [False, False]
    assert find_protocol("willow-source-extent").correct(one, predicted, 0.05).tolist() == [
        True,
        False,
    ]
    assert find_protocol("willow-target-extent").correct(one, predicted, 0.05).sum() == 0
    with pytest.raises(BadInput, match="as many predictions as points"):
        find_protocol("dift").correct(one, predicted[:1], 0.1)


def test_the_three_averages_by_hand():
    pairs = [pair("a", n=4), pair("b", n=2), pair("c", "dog", n=2)]
    predictions = {
        **off(pairs[0], 0, 0, 0, 9),
        **off(pairs[1], 9, 9),
        **off(pairs[2], 0, 9),
    }
    first, second = score(dataset(*pairs), predictions, find_protocol("dift"), [0.1, 0.5])
    assert (first.alpha, first.pairs, first.points) == (0.1, 3, 8)
    assert first.per_point.value == pytest.approx(100 * 4 / 8)
    assert first.per_image.value == pytest.approx(100 * (3 / 4 + 0 + 1 / 2) / 3)
    assert first.macro.value == pytest.approx(100 * (3 / 6 + 1 / 2) / 2)
    assert [(part.name, part.pairs, part.points) for part in first.categories] == [
        ("cat", 2, 6),
        ("dog", 1, 2),
    ]
    assert first.categories[0].per_point.value == pytest.approx(50)
    assert first.categories[0].per_image.value == pytest.approx(37.5)
    assert second.per_point.value == 100
    assert first.macro.interval.low <= first.macro.value <= first.macro.interval.high
    assert [s.alpha for s in score(dataset(*pairs), predictions, find_protocol("dift"))] == [
        0.1,
        0.05,
        0.01,
    ]


def test_flags_add_up_to_every_pair():
    hard = Difficulty(viewpoint=2, scale=0, truncation=1, occlusion=0)
    easy = Difficulty(viewpoint=0, scale=0, truncation=0, occlusion=3)
    pairs = [pair("a", difficulty=hard), pair("b", difficulty=easy), pair("c")]
    predictions = {**off(pairs[0], 0, 9), **off(pairs[1], 0, 0), **off(pairs[2], 9, 9)}
    [found] = score(dataset(*pairs), predictions, find_protocol("dift"), [0.1])
    values = {part.name: part.per_point.value for part in found.flags}
    assert values == {
        "viewpoint: easy": 100,
        "viewpoint: hard": 50,
        "viewpoint: not annotated": 0,
        "scale: easy": 75,
        "scale: not annotated": 0,
        "truncation: none": 100,
        "truncation: source": 50,
        "truncation: not annotated": 0,
        "occlusion: none": 50,
        "occlusion: both": 100,
        "occlusion: not annotated": 0,
    }
    assert sum(p.pairs for p in found.flags if p.name.startswith("scale")) == 3
    [bare] = score(dataset(pairs[2]), off(pairs[2], 0, 0), find_protocol("dift"), [0.1])
    assert bare.flags == ()


def test_the_denominator_never_shrinks_in_silence():
    one, other = pair("a"), pair("b")
    both = dataset(one, other, skipped=(Skipped("c", "unread"),))
    predictions = off(one, 0, 0)
    protocol = find_protocol("dift")
    with pytest.raises(BadInput, match="a prediction for every pair of mini, b has none"):
        score(both, predictions, protocol)
    why = Skipped("b", "no picture")
    found = score(both, predictions, protocol, skipped=[why])[0]
    assert found.pairs == 1
    assert found.skipped == (Skipped("c", "unread"), why)
    with pytest.raises(BadInput, match="predictions of mini, got one of z"):
        score(both, {**predictions, "z": one.target_px}, protocol, skipped=[why])
    with pytest.raises(BadInput, match="as many predictions as points"):
        score(dataset(one), {"a": one.target_px[:1]}, protocol)


def test_pairs_that_a_protocol_cannot_score():
    one, bare, dot = pair("a"), pair("b", boxes=False), pair("c", n=1)
    predictions = {**off(one, 0, 0), **off(bare, 0, 0), **off(dot, 0)}
    three = dataset(one, bare, dot)
    with pytest.raises(BadInput, match="expected a target box for protocol dift, pair b has none"):
        score(three, predictions, find_protocol("dift"))
    with pytest.raises(BadInput, match="pair b has none"):
        require_scorable(three, find_protocol("dift"))
    found = score(three, predictions, find_protocol("dift"), skip_bad=True)[0]
    assert (found.pairs, [bad.id for bad in found.skipped]) == (2, ["b"])
    extent = find_protocol("willow-target-extent")
    with pytest.raises(BadInput, match="some extent in pair c"):
        score(three, predictions, extent)
    assert score(three, predictions, extent, skip_bad=True)[0].pairs == 2
    with pytest.raises(BadInput, match="expected pairs to score in mini, got none"):
        score(dataset(bare), off(bare, 0, 0), find_protocol("dift"), skip_bad=True)


COUNTS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=12)


@settings(deadline=None)
@given(COUNTS, COUNTS)
def test_shards_join_exactly(left, right):
    def counted(counts):
        pairs = [(min(hits, n), n) for hits, n in counts]
        return PCK(correct=tuple(h for h, _ in pairs), points=tuple(n for _, n in pairs))

    assert counted(left).joined(counted(right)) == counted([*left, *right])
    whole = counted([*left, *right])
    of_left = [i < len(left) for i in range(len(left) + len(right))]
    assert whole.where(of_left) == counted(left)
    one_category = whole.macro(["x"] * len(of_left))
    assert one_category.value == pytest.approx(whole.per_point().value)


def test_figures_of_pck_agree_with_its_score():
    pck = PCK(correct=(0, 3, 2), points=(2, 4, 2))
    score_of = pck.compute(seed=3)
    assert pck.per_point(seed=3).value == score_of.per_point
    assert pck.per_point(seed=3).interval == score_of.interval
    assert pck.per_image().value == pytest.approx(score_of.per_image)
    assert pck.macro(["a", "b", "b"]).value == pytest.approx(100 * (0 + 5 / 6) / 2)


def test_the_macro_interval_draws_within_categories():
    # Each category's pairs are alike: nothing to doubt, however unlike the categories are.
    pck = PCK(correct=(0, 0, 4, 4, 4), points=(4,) * 5)
    interval = pck.macro(["a", "a", "b", "b", "b"]).interval
    assert (interval.low, interval.high) == (50, 50)
    assert pck.per_point().interval.low < 60 < pck.per_point().interval.high


def test_figures_need_pairs_that_fit():
    pck = PCK(correct=(1, 1), points=(2, 2))
    with pytest.raises(BadInput, match="expected 2 categories, got 1"):
        pck.macro(["a"])
    with pytest.raises(BadInput, match="a choice of 2 pairs, got 1"):
        pck.where([True])
    with pytest.raises(BadInput, match="one threshold"):
        pck.joined(PCK(alpha=0.05))
    with pytest.raises(BadInput, match="at least one pair"):
        PCK().per_image()
