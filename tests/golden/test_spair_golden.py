"""Predictions and PCK of protocol `dift` on SPair, against the original evaluation's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs
from counterpoint.benchmarks.keypoints.protocols import find_protocol, score
from counterpoint.features import FeatureMap
from counterpoint.matching import PreparedMap, match, similarity_map

ALPHA = 0.1


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden/spair"
    expected = json.loads((folder / "expected.json").read_text())
    values = np.load(folder / "features.npz")
    sizes = {pair["src"]: pair["src_imsize"] for pair in expected["pairs"]}
    sizes |= {pair["trg"]: pair["trg_imsize"] for pair in expected["pairs"]}
    maps = {
        name: FeatureMap(torch.from_numpy(values[name]), (size[0], size[1]))
        for name, size in sizes.items()
    }
    return expected, maps


def correct(pair, predicted):
    """Within alpha times the longer side of the target's box, the edge included."""
    left, top, right, bottom = pair["trg_bndbox"]
    distance = np.linalg.norm(predicted - np.array(pair["trg_kps"]), axis=1)
    return distance <= ALPHA * max(right - left, bottom - top)


def test_every_prediction_is_the_originals(golden):
    expected, maps = golden
    for pair in expected["pairs"]:
        found = match(maps[pair["src"]], maps[pair["trg"]], np.array(pair["src_kps"]))
        assert found.target_px.tolist() == pair["pred"]
        assert correct(pair, found.target_px).tolist() == pair["correct"]


def test_pck_per_image_and_per_point_is_the_originals(golden):
    expected, maps = golden
    prepared = {name: PreparedMap(fmap) for name, fmap in maps.items()}
    hits = [
        correct(
            pair,
            match(
                maps[pair["src"]],
                prepared[pair["trg"]],
                np.array(pair["src_kps"]),
                cycle=False,
                chunk=5,
            ).target_px,
        )
        for pair in expected["pairs"]
    ]
    assert np.mean([np.mean(hit) for hit in hits]) == pytest.approx(expected["pck_per_image"])
    assert np.mean(np.concatenate(hits)) == pytest.approx(expected["pck_per_point"])


def test_heat_maps_peak_at_the_predictions(golden):
    expected, maps = golden
    for pair in expected["pairs"]:
        point, (x, y) = pair["src_kps"][0], pair["pred"][0]
        heat = similarity_map(maps[pair["src"]], maps[pair["trg"]], point)
        assert heat.shape == (pair["trg_imsize"][1], pair["trg_imsize"][0])
        assert heat[y, x] == heat.max()


def as_pair(pair, index):
    return KeypointPair(
        id=str(index),
        category=pair["trg"],
        source=Path(pair["src"]),
        target=Path(pair["trg"]),
        source_size_wh=tuple(pair["src_imsize"][:2]),
        target_size_wh=tuple(pair["trg_imsize"][:2]),
        source_px=np.array(pair["src_kps"], float),
        target_px=np.array(pair["trg_kps"], float),
        target_box=tuple(float(edge) for edge in pair["trg_bndbox"]),
    )


def test_protocol_dift_scores_as_the_original(golden):
    expected, _ = golden
    pairs = tuple(as_pair(pair, i) for i, pair in enumerate(expected["pairs"]))
    dataset = KeypointPairs("golden", Path("golden"), {}, pairs)
    predicted = {str(i): np.array(p["pred"], float) for i, p in enumerate(expected["pairs"])}
    [found] = score(dataset, predicted, find_protocol("dift"), [ALPHA])
    assert found.per_image.value == pytest.approx(100 * expected["pck_per_image"], rel=1e-9)
    assert found.per_point.value == pytest.approx(100 * expected["pck_per_point"], rel=1e-9)
    assert found.counts.correct == tuple(sum(pair["correct"]) for pair in expected["pairs"])
    by_target = {}
    for pair in expected["pairs"]:
        by_target.setdefault(pair["trg"], []).extend(pair["correct"])
    macro = np.mean([np.mean(hits) for hits in by_target.values()])
    assert found.macro.value == pytest.approx(100 * macro, rel=1e-9)
