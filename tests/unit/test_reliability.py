"""How far confidence can be trusted: every figure against a plain reference or by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from counterpoint.benchmarks.accuracy.reliability import (
    Judged,
    best_aurc,
    reliability_bins,
    risk_curve,
    trust,
)
from counterpoint.benchmarks.accuracy.report import draw_trust, threshold_table, trust_table
from counterpoint.errors import BadInput
from counterpoint.matching import Evidence


def judged(correct, absent=None, pair=None, ranking=None):
    n = len(correct)
    return Judged(
        Evidence(np.zeros((n, 4))),
        np.linspace(0, 1, n) if ranking is None else np.asarray(ranking, float),
        np.asarray(correct, bool),
        np.zeros(n, bool) if absent is None else np.asarray(absent, bool),
        np.arange(n) if pair is None else np.asarray(pair),
    )


def plain_auroc(confidence, positive):
    above = confidence[positive][:, None] - confidence[~positive]
    return ((above > 0).sum() + 0.5 * (above == 0).sum()) / above.size


def plain_aurc(confidence, correct):
    return np.mean([1 - correct[confidence >= c].mean() for c in confidence])


def test_by_hand():
    confidence = np.array([0.9, 0.8, 0.3, 0.2])
    found = trust("c", confidence, judged([True, False, True, False]))
    assert found.auroc.value == pytest.approx(75)  # 3 of the 4 pairs of right and wrong
    assert found.aurc.value == pytest.approx(100 * (0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found.aurc_best == pytest.approx(100 * (0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert found.brier == pytest.approx((0.1**2 + 0.8**2 + 0.7**2 + 0.2**2) / 4)
    # Four bins of one match each.
    assert found.ece.value == pytest.approx(100 * (0.1 + 0.8 + 0.7 + 0.2) / 4)
    assert found.auroc_absent is None
    assert (found.matches, found.correct, found.absent) == (4, 0.5, 0)


few_levels = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(few_levels)
def test_areas_are_those_of_the_plain_references_with_ties(rows):
    confidence = np.array([level / 6 for level, _ in rows])
    correct = np.array([right for _, right in rows])
    found = trust("c", confidence, judged(correct))
    assert found.aurc.value == pytest.approx(100 * plain_aurc(confidence, correct), abs=1e-6)
    if found.auroc is None:
        assert correct.all() or not correct.any()
    else:
        expected = 100 * plain_auroc(confidence, correct)
        assert found.auroc.value == pytest.approx(expected, abs=1e-6)
    assert found.aurc_best == pytest.approx(100 * best_aurc(correct))
    assert found.aurc_best <= found.aurc.value + 1e-6 or len(set(confidence.tolist())) < len(rows)


def test_what_is_calibrated_has_no_error_and_what_is_not_has():
    rng = np.random.default_rng(0)
    confidence = rng.random(3000)
    sample = judged(rng.random(3000) < confidence)
    assert trust("honest", confidence, sample).ece.value < 4
    boastful = trust("boastful", confidence**0.3, sample)
    assert boastful.ece.value == pytest.approx(100 * (1 / 1.3 - 0.5), abs=3)
    assert boastful.auroc.value == trust("honest", confidence, sample).auroc.value


def test_absent_points_are_told_apart_from_wrong_ones():
    confidence = np.array([0.9, 0.7, 0.5, 0.3, 0.1])
    sample = judged([True, False, False, False, False], absent=[0, 0, 0, 1, 1])
    found = trust("c", confidence, sample)
    assert found.auroc_absent.value == 100
    assert found.absent == pytest.approx(0.4)
    turned = trust("c", 1 - confidence, sample)
    assert turned.auroc_absent.value == 0


def test_intervals_are_over_pairs():
    rng = np.random.default_rng(0)
    truth = rng.random(50) < 0.5
    confidence = np.where(truth, 0.6, 0.4) + rng.normal(0, 0.15, 50)
    confidence = confidence.clip(0, 1)
    single = trust("c", confidence, judged(truth))
    # Each match ten times over in its pair says nothing more than once.
    many = judged(np.repeat(truth, 10), pair=np.repeat(np.arange(50), 10))
    repeated = trust("c", np.repeat(confidence, 10), many)
    assert repeated.auroc.value == pytest.approx(single.auroc.value)
    for one, other in ((single.auroc, repeated.auroc), (single.aurc, repeated.aurc)):
        width = one.interval.high - one.interval.low
        assert other.interval.high - other.interval.low == pytest.approx(width, rel=0.15)
        assert one.interval.low <= one.value <= one.interval.high
    as_if_free = trust("c", np.repeat(confidence, 10), judged(np.repeat(truth, 10)))
    free = as_if_free.auroc.interval
    assert free.high - free.low < 0.6 * (single.auroc.interval.high - single.auroc.interval.low)


def test_bins_hold_like_counts_and_wilsons_interval():
    confidence = np.linspace(0, 0.99, 101)
    correct = np.arange(101) % 2 == 0
    bins = reliability_bins(confidence, correct)
    assert sorted({one.count for one in bins}) == [10, 11]
    assert [one.confidence for one in bins] == sorted(one.confidence for one in bins)
    [ten] = reliability_bins(np.full(10, 0.5), np.arange(10) < 2, bins=1)
    assert (ten.low, ten.high) == pytest.approx((0.0567, 0.5098), abs=1e-4)  # 2 of 10


def test_the_curve_ends_with_all_matches():
    confidence = np.linspace(1, 0.1, 10)
    curve = risk_curve(confidence, np.arange(10) < 4, points=5)
    assert [point.coverage for point in curve] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert [point.risk for point in curve] == pytest.approx([0, 0, 1 / 3, 0.5, 0.6])
    assert curve[1].confidence == pytest.approx(0.7)
    alike = risk_curve(np.full(10, 0.5), np.arange(10) < 4, points=5)
    assert [point.risk for point in alike] == pytest.approx([0.6] * 5)


@pytest.mark.parametrize("confidence", [[0.1], [0.1, 1.2], [0.1, np.nan]])
def test_confidences_that_are_none_are_an_error(confidence):
    with pytest.raises(BadInput, match="expected 2 confidences from 0 to 1"):
        trust("c", np.array(confidence), judged([True, False]))


def test_judgements_that_contradict_themselves_are_an_error():
    with pytest.raises(BadInput, match="no match to be right where its point is absent"):
        judged([True], absent=[True])
    with pytest.raises(BadInput, match="at least one match"):
        judged([])


def test_tables_and_charts_show_what_was_found(tmp_path):
    rng = np.random.default_rng(0)
    sample = judged(rng.random(200) < 0.4, pair=np.arange(200) // 5)
    rows = [trust(name, rng.random(200), sample) for name in ("as matched", "calibrated")]
    table = trust_table(rows)
    assert [line[0] for line in table.cells.rows] == ["as matched", "calibrated"]
    assert f"{rows[1].ece.value:.1f} ±" in table.cells.rows[1][2]
    assert "200 points asked for" in table.notes[0]
    kept = threshold_table(rows[1]).cells.rows
    assert [line[0] for line in kept][-1] == "100"
    assert kept[-1][2] == f"{100 * rows[1].correct:.1f}"
    for path in draw_trust(rows, tmp_path):
        with Image.open(path) as image:
            assert image.size[0] > 500
