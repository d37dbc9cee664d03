"""DIFT features of guided diffusion against the original implementation's."""

import json

import numpy as np
import pytest
import torch

from counterpoint.backbones import load
from counterpoint.options import Options

CASES = range(2)
BLOCKS = 14  # of the 18, those whose values are stored


class Injected:
    """The original run's own draws."""

    def __init__(self, case):
        self.noise = torch.from_numpy(case["noise"])

    def draw(self, kind, picture_sha256, member, shape):
        assert kind == "diffusion"
        assert self.noise[member].shape == tuple(shape)
        return self.noise[member]


@pytest.fixture(scope="module")
def model(shared):
    return load(str(shared / "golden/adm/model.pt"), device="cpu")


@pytest.mark.parametrize("number", CASES)
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_every_output_block_equals_the_originals(model, shared, number, micro_batch):
    case = np.load(shared / f"golden/adm/case{number}.npz")
    meta = json.loads((shared / "golden/adm/cases.json").read_text())[number]
    assert [f"out{i}" for i in range(BLOCKS)] == list(meta["shapes"])
    model.micro_batch = micro_batch
    options = Options(t=meta["t"], ensemble=meta["ensemble"], fit="keep")
    blocks = [f"out:{i}" for i in range(BLOCKS)]
    [maps] = model.extract_taps([case["image"]], blocks, options, noise=Injected(case))
    for i, block in enumerate(blocks):
        expected = case[f"out{i}"]
        got = maps[block].values.numpy()
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()
