"""Confidence as a probability: the fit, its promises, its file, and where it applies."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.backbones.small import embedded_weights
from counterpoint.backbones.weights import file_sha256
from counterpoint.errors import BadInput, StorageError
from counterpoint.features import FeatureMap
from counterpoint.matching import (
    Calibration,
    Evidence,
    Matches,
    Note,
    calibration,
    evidence,
    match,
    spread_px,
)
from counterpoint.matching.calibration import find_calibration, shipped
from counterpoint.matching.evidence import COLUMNS
from counterpoint.provenance import Provenance

MADE_BY = Provenance(model="small", weights_sha256="abc", tap="up:1", timesteps=(50,))


def drawn(n, seed=0):
    """Evidence, and truth that depends on margin and way back in a known way."""
    rng = np.random.default_rng(seed)
    values = np.stack(
        [
            rng.uniform(0.5, 0.99, n),
            rng.exponential(0.03, n),
            rng.exponential(0.1, n),
            rng.exponential(0.1, n),
            rng.exponential(0.05, n),
        ],
        axis=1,
    )
    odds = 1.2 * np.log(values[:, 1] + 1e-3) - 0.8 * np.log(values[:, 2] + 0.01) + 2.5
    truth = 1 / (1 + np.exp(-odds))
    return Evidence(values), rng.random(n) < truth, truth


def some_matches(n=4, **changes):
    rng = np.random.default_rng(1)
    columns = {
        "source_px": rng.uniform(0, 40, (n, 2)),
        "target_px": rng.uniform(0, 40, (n, 2)),
        "similarity": rng.uniform(0.5, 0.9, n),
        "margin": rng.uniform(0, 0.2, n),
        "cycle_px": rng.uniform(0, 20, n),
        "source_size_wh": (80, 60),
        "target_size_wh": (50, 100),
    }
    return Matches(**{**columns, **changes})


def test_evidence_is_relative_to_the_pictures():
    found = evidence(some_matches(), np.full(4, 25.0)).values
    matches = some_matches()
    assert np.allclose(found[:, 2], matches.cycle_px / 80)
    assert np.allclose(found[:, 3], 0.25)
    own = some_matches(disagreement_px=np.full(4, 50.0))
    assert np.allclose(evidence(own).values[:, 3], 0.5)
    assert evidence(matches).known == ("similarity", "margin", "cycle")
    assert evidence(some_matches(margin=np.full(4, np.nan))).known == ("similarity", "cycle")
    told = some_matches(prominence=np.array([0.1, 0.2, 0.3, 0.4]))
    assert evidence(told).values[:, COLUMNS.index("prominence")].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert evidence(told).known == ("similarity", "margin", "cycle", "prominence")


def test_evidence_from_before_there_was_prominence():
    older = Evidence(np.full((3, 4), 0.5))
    assert older.values.shape == (3, len(COLUMNS))
    assert older.known == ("similarity", "margin", "cycle", "disagreement")
    both = Evidence.joined([older, Evidence(np.full((2, 5), 0.5))])
    assert len(both) == 5
    assert "prominence" not in both.known
    with pytest.raises(BadInput, match="without prominence; match with a margin_radius"):
        both.rising(["prominence"])


def test_a_file_from_before_there_was_prominence_is_read(tmp_path):
    old = {
        "format": "counterpoint/calibration/1",
        "columns": ["similarity", "margin", "cycle"],
        "mean": [1.1, -3.8, 2.3],
        "scale": [0.2, 1.0, 1.2],
        "weights": [0.1, 0.4, 0.1],
        "intercept": -1.8,
        "steps": [],
        "note": {"dataset": "birds", "points": 6706},
    }
    (tmp_path / "old.json").write_text(json.dumps(old))
    mine = Calibration.load(tmp_path / "old.json")
    found = some_matches(prominence=np.full(4, 0.2))
    assert np.array_equal(
        mine.apply(found).confidence, mine.apply(some_matches()).confidence
    )  # it takes no notice of what it was not fitted on
    odds = mine.log_odds(evidence(found))
    by_hand = (np.arctanh(found.similarity[0]) - 1.1) / 0.2 * 0.1 - 1.8
    by_hand += (np.log(found.margin[0] + 1e-3) + 3.8) * 0.4
    by_hand += (-np.log(found.cycle_px[0] / 80 + 0.01) - 2.3) / 1.2 * 0.1
    assert odds[0] == pytest.approx(by_hand)


def test_the_fit_finds_the_probabilities_that_made_the_truth():
    train, right, _ = drawn(6000)
    fitted = Calibration.fit(train, right)
    test, _, truth = drawn(2000, seed=1)
    assert np.abs(fitted.probability(test) - truth).mean() < 0.02
    slopes = dict(zip(fitted.columns, np.array(fitted.weights) / fitted.scale, strict=True))
    assert slopes["margin"] == pytest.approx(1.2, abs=0.1)
    assert slopes["cycle"] == pytest.approx(0.8, abs=0.1)
    assert fitted.weights[0] < 0.1  # similarity decides nothing here


def test_the_fit_is_the_minimum_of_the_penalised_loss():
    train, right, _ = drawn(300)
    fitted = Calibration.fit(train, right, columns=["margin", "cycle"], penalty=3.0)
    rows = (train.rising(fitted.columns) - fitted.mean) / fitted.scale
    target = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

    def loss(w):
        odds = rows @ w[:2] + w[2]
        return np.sum(np.logaddexp(0, odds) - target * odds) + 1.5 * np.square(w[:2]).sum()

    best = np.array([*fitted.weights, fitted.intercept])
    for step in np.concatenate([np.eye(3), -np.eye(3)]) * 1e-3:
        assert loss(best) < loss(best + step)


def test_what_points_the_wrong_way_gets_no_weight():
    train, right, _ = drawn(800)
    turned = train.values.copy()
    turned[:, 0] = np.where(right, 0.6, 0.9)  # the similar ones are wrong
    fitted = Calibration.fit(Evidence(turned), right)
    assert fitted.weights[0] == 0
    assert min(fitted.weights) == 0


numbers = st.tuples(
    st.floats(-1, 1), st.floats(0, 2), st.floats(0, 1.5), st.floats(0, 1.5), st.floats(-0.1, 1)
)


@settings(max_examples=60, deadline=None)
@given(numbers, numbers, st.booleans())
def test_better_evidence_is_never_less_probable(a, b, isotonic):
    train, right, _ = drawn(300, seed=3)
    fitted = Calibration.fit(train, right, isotonic=isotonic)
    pairs = [*zip(a, b, strict=True)]
    more = [COLUMNS[i] in ("similarity", "margin", "prominence") for i in range(len(COLUMNS))]
    worse = [min(pair) if up else max(pair) for pair, up in zip(pairs, more, strict=True)]
    better = [max(pair) if up else min(pair) for pair, up in zip(pairs, more, strict=True)]
    low, high = fitted.probability(Evidence(np.array([worse, better])))
    assert 0 <= low <= high + 1e-12 <= 1 + 1e-12


def test_few_matches_are_an_error_or_stay_near_their_share():
    train, _, _ = drawn(15)
    right = np.zeros(15, bool)
    right[:6] = True
    with pytest.raises(BadInput, match="at least 10 right and 10 wrong .* got 6 right of 15"):
        Calibration.fit(train, right)
    near = Calibration.fit(train, right, at_least=1, penalty=1e6).probability(train)
    assert np.allclose(near, near[0], atol=1e-3)
    assert near[0] == pytest.approx(0.4, abs=0.1)
    all_right = Calibration.fit(train, np.ones(15, bool), at_least=0).probability(train)
    assert ((all_right > 0.7) & (all_right < 1)).all()


def test_separable_matches_do_not_make_it_certain():
    train, _, _ = drawn(60)
    right = train.values[:, 1] > np.median(train.values[:, 1])
    found = Calibration.fit(train, right).probability(train)
    assert ((found > 0.001) & (found < 0.999)).all()


def test_isotonic_steps_are_pooled_shares():
    values = np.full((6, 4), np.nan)
    values[:, 0] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    right = np.array([False, True, False, True, True, True])
    fitted = Calibration.fit(Evidence(values), right, isotonic=True, at_least=1)
    # By hand: {F}, {T F}, {T T T}; with one right and one wrong added: 1/3, 2/4, 4/5.
    assert [round(share, 3) for _, share in fitted.steps] == [0.333, 0.5, 0.8]
    at_blocks = fitted.probability(Evidence(values))
    assert at_blocks[0] == pytest.approx(1 / 3)
    assert at_blocks[-1] == pytest.approx(0.8)


def test_what_it_looks_at_must_be_there():
    train, right, _ = drawn(200)
    fitted = Calibration.fit(train, right)
    with pytest.raises(BadInput, match="got some without disagreement; give members"):
        fitted.apply(some_matches(prominence=np.zeros(4)))
    with pytest.raises(BadInput, match="expected the truth of 200 matches, got 3"):
        Calibration.fit(train, right[:3])
    with pytest.raises(BadInput, match=r"expected evidence \(N, 5\)"):
        Evidence(np.zeros((2, 3)))


def test_no_matches_have_no_probabilities():
    train, right, _ = drawn(200)
    fitted = Calibration.fit(train, right, columns=["margin"])
    none = np.zeros(0)
    empty = some_matches(0, similarity=none, margin=none, cycle_px=none)
    assert len(fitted.apply(empty).confidence) == 0


@pytest.mark.parametrize("isotonic", [False, True])
def test_a_file_brings_the_same_back(tmp_path, isotonic):
    train, right, _ = drawn(200)
    note = Note(dataset="birds, even", absent=7, features=MADE_BY)
    fitted = Calibration.fit(train, right, isotonic=isotonic, note=note)
    fitted.save(tmp_path / "c.json")
    back = Calibration.load(tmp_path / "c.json")
    assert back == fitted
    assert back.note.points == 200
    assert back.note.correct == right.sum()
    assert np.array_equal(back.probability(train), fitted.probability(train))
    assert json.loads((tmp_path / "c.json").read_text())["note"]["features"]["tap"] == "up:1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": "counterpoint/calibration/1"}',
        '{"format": "counterpoint/calibration/9"}',
        '{"format": "counterpoint/calibration/1", "columns": ["margin"], "mean": [0], '
        '"scale": [0], "weights": [1], "intercept": 0}',
        '{"format": "counterpoint/calibration/1", "columns": ["margin"], "mean": [0], '
        '"scale": [1], "weights": [-1], "intercept": 0}',
        '{"format": "counterpoint/calibration/1", "columns": ["charm"], "mean": [0], '
        '"scale": [1], "weights": [1], "intercept": 0}',
        '{"format": "counterpoint/calibration/1", "columns": ["margin"], "mean": [], '
        '"scale": [1], "weights": [1], "intercept": 0}',
        '{"format": "counterpoint/calibration/1", "columns": [], "mean": [], '
        '"scale": [], "weights": [], "intercept": NaN}',
    ],
)
def test_files_that_are_none_are_an_error(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(StorageError, match="expected a calibration file of counterpoint, got"):
        Calibration.load(tmp_path / "c.json")


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(StorageError, match="found none; make one with: counterpoint calibrate"):
        Calibration.load(tmp_path / "c.json")


def test_calibrated_matches_carry_their_probability():
    train, right, _ = drawn(300)
    fitted = Calibration.fit(train, right, columns=["margin", "cycle"])
    plain = some_matches()
    found = fitted.apply(plain)
    assert not plain.calibrated
    assert found.calibrated
    assert np.array_equal(found.confidence, fitted.probability(evidence(plain)))
    assert not np.array_equal(found.confidence, plain.confidence)
    assert np.array_equal(found.select(np.array([2, 0])).confidence, found.confidence[[2, 0]])
    assert [row.confidence for row in found] == found.confidence.tolist()
    told = found.to_dict()
    assert told["calibrated"]
    assert told["matches"][1]["confidence"] == found.confidence[1]
    assert "disagreement_px" not in told["matches"][0]
    spread = some_matches(disagreement_px=np.array([1.0, 2, np.nan, 4]))
    rows = spread.select(slice(1, None)).to_dict()["matches"]
    assert [row["disagreement_px"] for row in rows] == [2, None, 4]


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_probabilities_lie_from_0_to_1(share):
    with pytest.raises(BadInput, match="expected probabilities from 0 to 1"):
        some_matches(probability=np.full(4, share))


def test_it_serves_features_made_alike():
    train, right, _ = drawn(200)
    fitted = Calibration.fit(train, right, note=Note(features=MADE_BY))
    other = replace(MADE_BY, model="elsewhere.safetensors", seed=3, picture_sha256="x", version="9")
    assert fitted.serves(MADE_BY, other)
    assert not fitted.serves(MADE_BY, MADE_BY, "window")
    for change in (
        {"weights_sha256": "abd"},
        {"tap": "up:2"},
        {"timesteps": (51,)},
        {"ensemble": 2},
        {"size_wh": (64, 64)},
        {"fit": "pad"},
        {"dtype": "bfloat16"},
    ):
        assert not fitted.serves(MADE_BY, replace(MADE_BY, **change)), change
        assert not fitted.serves(replace(MADE_BY, **change), MADE_BY), change
    assert not Calibration.fit(train, right).serves(MADE_BY, MADE_BY)
    bare = replace(MADE_BY, weights_sha256="")
    unweighted = Calibration.fit(train, right, note=Note(features=bare))
    assert not unweighted.serves(replace(bare, model="rgb"), bare)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(8, 6, 9, generator=generator)
    source = FeatureMap(values, (90, 60), provenance=replace(MADE_BY, picture_sha256="a"))
    return source, replace(source, values=values.flip(2))


@pytest.fixture
def ship(monkeypatch):
    """Calibrations as if they came with the package."""

    def _ship(*calibrations):
        monkeypatch.setattr(calibration, "shipped", lambda: calibrations)

    return _ship


def test_matches_are_calibrated_where_the_package_can(pair, ship):
    train, right, _ = drawn(300)
    mine = Calibration.fit(train, right, columns=["margin", "cycle"], note=Note(features=MADE_BY))
    ship(mine)
    points = [(5, 5), (40, 20)]
    found = match(*pair, points)
    assert np.array_equal(found.confidence, mine.probability(evidence(found)))
    for otherwise in (
        {"calibration": None},
        {"margin_radius": None},
        {"margin_radius": 0.2},
        {"cycle": False},
        {"subpixel": "window"},
    ):
        assert not match(*pair, points, **otherwise).calibrated, otherwise
    others = [replace(one, provenance=replace(MADE_BY, tap="mid")) for one in pair]
    assert not match(*others, points).calibrated
    own = Calibration.fit(train, right, columns=["similarity"])
    found = match(*others, points, margin_radius=None, cycle=False, calibration=own)
    assert np.array_equal(found.confidence, own.probability(evidence(found)))
    with pytest.raises(BadInput, match="without margin; match with a margin_radius"):
        match(*pair, points, margin_radius=None, calibration=mine)


def test_members_must_be_as_many_as_it_was_fitted_with(ship):
    train, right, _ = drawn(300)
    plain = Calibration.fit(train, right, columns=["margin"], note=Note(features=MADE_BY))
    four = Calibration.fit(train, right, note=Note(features=MADE_BY, members=4))
    ship(four, plain)
    both = MADE_BY, MADE_BY, "argmax"
    assert find_calibration(*both, COLUMNS, members=4) is four
    assert find_calibration(*both, COLUMNS, members=2) is plain
    assert find_calibration(*both, COLUMNS[:3]) is plain
    assert find_calibration(*both, ("similarity",)) is None


def test_what_is_shipped_is_for_the_embedded_weights():
    assert shipped(), "fit it: counterpoint calibrate cub --crop 256, see docs/confidence.md"
    sha256 = file_sha256(embedded_weights())
    for one in shipped():
        features = one.note.features
        assert features is not None
        assert features.weights_sha256 == sha256, "fit it again, see docs/confidence.md"
        assert not features.picture_sha256
        assert one.note.dataset
        assert one.note.absent < one.note.points
        assert one.note.matching == "argmax"


def test_members_that_agree_have_no_spread(pair):
    source, target = pair
    points = [(5, 5), (40, 20), (80, 50)]
    found = match(source, target, points)
    assert spread_px([source], [target], points, found.target_px).tolist() == [0, 0, 0]
    generator = torch.Generator().manual_seed(1)
    stranger = replace(source, values=torch.randn(8, 6, 9, generator=generator))
    far = match(stranger, target, points).target_px
    expected = np.linalg.norm(far - found.target_px, axis=1) / 2
    spread = spread_px([source, stranger], [target, target], points, found.target_px)
    assert np.allclose(spread, expected)
    assert expected.max() > 0
    for members in ([], [source]):
        with pytest.raises(BadInput, match="as many members of the source as of the target"):
            spread_px(members, [], points, found.target_px)
