"""DIFT features of Stable Diffusion against the original implementation's."""

import json

import numpy as np
import pytest
import torch

from counterpoint.backbones import load
from counterpoint.options import Options

CASES = range(4)
BLOCKS = ("up:0", "up:1", "up:2", "up:3")


class Injected:
    """The original run's own draws."""

    def __init__(self, case):
        self.draws = {"posterior": case["vae_eps"], "diffusion": case["noise"]}

    def draw(self, kind, picture_sha256, member, shape):
        draw = torch.from_numpy(self.draws[kind][member]).float()
        assert draw.shape == tuple(shape)
        return draw


@pytest.fixture(scope="module")
def model(shared):
    return load(str(shared / "golden/tiny_sd"), device="cpu")


@pytest.mark.parametrize("number", CASES)
@pytest.mark.parametrize("micro_batch", [1, 3, 8])
def test_features_equal_the_originals(model, shared, number, micro_batch):
    case = np.load(shared / f"golden/sd/case{number}.npz")
    meta = json.loads((shared / "golden/sd/cases.json").read_text())[number]
    model.micro_batch = micro_batch
    options = Options(t=meta["t"], ensemble=meta["ensemble"], prompt=meta["prompt"], fit="keep")
    [maps] = model.extract_taps([case["image"]], BLOCKS, options, noise=Injected(case))
    for block in range(4):
        expected = case[f"up{block}"].astype(np.float32)
        got = maps[f"up:{block}"].values.numpy()
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()
