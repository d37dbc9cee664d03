"""PCK and its interval, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.benchmarks.metrics import PCK, bootstrap, correct_points
from counterpoint.errors import BadInput


def two_pairs(**options):
    """Distances 5, 10, 10.5 of a length of 100; then 0 of a length of 10."""
    pck = PCK(alpha=0.1, **options)
    pck = pck.update([(3, 4), (10, 0), (0, 10.5)], [(0, 0)] * 3, length_px=100)
    return pck.update([(7, 7)], [(7, 7)], length_px=10)


def test_averages_by_hand():
    score = two_pairs().compute()
    assert score.per_point == pytest.approx(100 * 3 / 4)
    assert score.per_image == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert (score.pairs, score.points, score.alpha) == (2, 4, 0.1)


def test_at_the_threshold_strict_says_no():
    assert two_pairs(strict=True).compute().per_point == pytest.approx(100 * 2 / 4)
    assert correct_points([(1, 0)], [(0, 0)], 1.0).tolist() == [True]
    assert correct_points([(1, 0)], [(0, 0)], 1.0, strict=True).tolist() == [False]


def test_the_threshold_scales_with_each_pairs_own_length():
    pck = PCK(0.5).update([(4, 0)], [(0, 0)], length_px=8)
    assert pck.update([(4, 0)], [(0, 0)], length_px=7).correct == (1, 0)


def test_an_update_leaves_the_old_one_as_it_was():
    first = PCK().update([(0, 0)], [(0, 0)], length_px=1)
    second = first.update([(9, 9)], [(0, 0)], length_px=1)
    assert (first.correct, first.points) == ((1,), (1,))
    assert (second.correct, second.points) == ((1, 0), (1, 1))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=20))
def test_a_score_lies_in_its_interval_range(counts):
    pairs = [(min(hits, total), total) for hits, total in counts]
    pck = PCK(correct=tuple(hits for hits, _ in pairs), points=tuple(n for _, n in pairs))
    score = pck.compute()
    ratios = [100 * hits / total for hits, total in pairs]
    assert 0 <= score.per_point <= 100
    assert min(ratios) - 1e-9 <= score.interval.low <= score.interval.high <= max(ratios) + 1e-9


def test_equal_pairs_leave_no_doubt():
    interval = bootstrap(np.array([1] * 5), np.array([4] * 5))
    assert (interval.low, interval.high, interval.level) == (25.0, 25.0, 0.95)


def test_the_interval_is_the_binomial_one_for_single_points():
    # 1000 pairs of one point, 30 per cent correct: 1.96 * sqrt(0.3 * 0.7 / 1000) = 2.84 per cent.
    correct = np.arange(1000) % 10 < 3
    interval = bootstrap(correct.astype(int), np.ones(1000, int), resamples=4000)
    assert interval.low == pytest.approx(30 - 2.84, abs=0.35)
    assert interval.high == pytest.approx(30 + 2.84, abs=0.35)


def test_the_seed_decides_the_interval():
    correct, points = np.arange(97) ** 2 % 8, np.full(97, 8)
    assert bootstrap(correct, points, seed=1) == bootstrap(correct, points, seed=1)
    assert bootstrap(correct, points, seed=1) != bootstrap(correct, points, seed=2)


def test_the_lead_is_paired():
    points = (4,) * 12
    hits = (0, 3) * 6
    better = PCK(correct=tuple(h + 1 for h in hits), points=points)
    worse = PCK(correct=hits, points=points)
    lead = better.lead_over(worse)
    assert (lead.low, lead.high) == (25.0, 25.0)  # always one of four ahead: no doubt at all
    assert better.compute().interval.low < worse.compute().interval.high


@pytest.mark.parametrize(
    ("predicted", "truth", "length"),
    [([(0, 0)], [(0, 0), (1, 1)], 1.0), ([], [], 1.0), ([(0, 0)], [(0, 0)], 0.0)],
)
def test_bad_pairs(predicted, truth, length):
    with pytest.raises(BadInput, match="expected"):
        PCK().update(predicted, truth, length_px=length)


def test_nothing_to_score():
    with pytest.raises(BadInput, match="at least one pair"):
        PCK().compute()


def test_a_lead_needs_the_same_pairs():
    with pytest.raises(BadInput, match="same pairs"):
        PCK(correct=(1,), points=(2,)).lead_over(PCK(correct=(1,), points=(3,)))
