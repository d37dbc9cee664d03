"""Predictions and PCK of protocol `dift` on SPair, against the original evaluation's."""

import json

import numpy as np
import pytest
import torch

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
