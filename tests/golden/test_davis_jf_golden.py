"""J and F against the official DAVIS evaluation, on real annotations and a method's masks."""

import json

import numpy as np
import pytest

from counterpoint.benchmarks.datasets.davis import read_davis, read_mask
from counterpoint.benchmarks.videos.mask_metrics import JF, boundary_accuracy, region_similarity

SEQUENCES = ("blackswan", "camel", "dog")


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden/davis_jf/expected.json").read_text())


def masks_of(shared, name):
    sequence = read_davis(shared / "data/DAVIS", sequences=[name]).sequences[0]
    folder = shared / "golden/davis_jf/osvos" / name
    predicted = [read_mask(folder / path.name) for path in sequence.masks]
    return predicted, [sequence.mask(i) for i in range(len(sequence))]


@pytest.mark.parametrize("name", SEQUENCES)
def test_every_frame_scores_as_by_the_official_code(shared, golden, name):
    predicted, true = masks_of(shared, name)
    pairs = [(a == 1, b == 1) for a, b in zip(predicted, true, strict=True)]
    region = np.array([region_similarity(*pair) for pair in pairs])
    edge = np.array([boundary_accuracy(*pair) for pair in pairs])
    assert np.abs(region - golden[name]["J"]).max() < 1e-9
    assert np.abs(edge - golden[name]["F"]).max() < 1e-9
    score = JF().update(name, predicted, true).compute()
    for letter, statistics in (("J", score.region), ("F", score.boundary)):
        for figure in ("mean", "recall", "decay"):
            expected = 100 * golden[name][f"{letter}_{figure}"]
            assert getattr(statistics, figure) == pytest.approx(expected, abs=1e-9)


def test_the_means_and_shards_in_any_order(shared, golden):
    shards = [JF().update(name, *masks_of(shared, name)) for name in SEQUENCES]
    whole = shards[0].joined(shards[1]).joined(shards[2])
    assert shards[2].joined(shards[0].joined(shards[1])) == whole
    score = whole.compute()
    assert score.region.mean == pytest.approx(100 * golden["mean"]["J"], abs=1e-9)
    assert score.boundary.mean == pytest.approx(100 * golden["mean"]["F"], abs=1e-9)
    both = 50 * (golden["mean"]["J"] + golden["mean"]["F"])
    assert score.both.value == pytest.approx(both, abs=1e-9)
    assert (score.sequences, score.objects, score.frames) == (3, 3, 200 - 6)
