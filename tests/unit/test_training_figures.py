"""Samples and curves of a training run."""

import json

import cv2
import numpy as np
import pytest
import torch

from counterpoint.backbones import small_net
from counterpoint.errors import BadInput
from counterpoint.training import denoising_grid, draw_curve, preset


class Oracle(torch.nn.Module):
    """A network that knows the clean pictures, in the units of its prediction."""

    def __init__(self, prediction, pictures):
        super().__init__()
        self.config = small_net.NetConfig(prediction=prediction)
        self.clean = pictures.float() / 127.5 - 1

    def forward(self, noisy, t):
        alpha = small_net.alphas_cumprod(self.config)[t].view(-1, 1, 1, 1)
        noise = (noisy - alpha.sqrt() * self.clean) / (1 - alpha).sqrt()
        return {
            "sample": self.clean,
            "epsilon": noise,
            "v_prediction": alpha.sqrt() * noise - (1 - alpha).sqrt() * self.clean,
        }[self.config.prediction]


@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v_prediction"])
def test_the_estimate_is_the_clean_picture_whatever_is_predicted(prediction):
    t = torch.tensor([20, 700])
    pictures = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    oracle = Oracle(prediction, pictures)
    noisy = torch.randn(2, 3, 32, 32)
    found = small_net.clean_estimate(oracle.config, oracle(noisy, t), noisy, t)
    torch.testing.assert_close(found, oracle.clean, atol=1e-4, rtol=1e-4)


def test_the_grid_shows_each_picture_with_its_estimates():
    pictures = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    torch.manual_seed(0)
    net = small_net.build(preset("mini").net).eval()
    grid = denoising_grid(net, pictures, (50, 500))
    height, width, _ = grid.shape
    assert width > 4 * 128  # clean, and twice noisy and estimate
    assert height > 3 * 128
    shown = cv2.resize(grid[:128, :128], (32, 32), interpolation=cv2.INTER_AREA)
    clean = pictures[0].permute(1, 2, 0).numpy()
    assert np.abs(shown.astype(float) - clean).mean() < 40
    assert np.array_equal(grid, denoising_grid(net, pictures, (50, 500)))


def test_a_curve_is_a_picture(tmp_path):
    entries = [
        {"pictures": 10, "seconds": 1, "loss": 0.5},
        {"pictures": 20, "seconds": 2, "loss": 0.2},
        {"pictures": 20, "seconds": 2, "scores": {"PCK up:1": 12.0}},
    ]
    (tmp_path / "curve.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
    path = draw_curve(tmp_path / "curve.jsonl", tmp_path / "curve.png")
    drawn = cv2.imread(str(path))
    assert drawn.shape[1] > drawn.shape[0] > 200
    assert drawn.std() > 5


@pytest.mark.parametrize("text", ["", '{"pictures": 1}\n', "{no json"])
def test_what_is_no_curve_is_said_in_one_line(tmp_path, text):
    (tmp_path / "curve.jsonl").write_text(text)
    with pytest.raises(BadInput, match=r"curve.jsonl") as caught:
        draw_curve(tmp_path / "curve.jsonl", tmp_path / "curve.png")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "curve.png").exists()
