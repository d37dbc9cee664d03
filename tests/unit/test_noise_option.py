"""What a diffusion model is shown: with noise, scaled without, or the picture as it is."""

import numpy as np
import pytest
import torch

from counterpoint.backbones import load
from counterpoint.backbones.small import Small
from counterpoint.backbones.small_net import NetConfig
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.images import fit_picture, load_picture, to_unit_floats
from counterpoint.options import Options
from support.models import model_path

TINY = NetConfig(widths=(16, 32), attention=(False, True), head_dim=16, groups=8, train_size_px=16)
PICTURE = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize(("noise", "signal"), [("none", 1.0), ("zero", None)])
def test_the_network_sees_what_the_name_says(noise, signal):
    model = Small.untrained(0, config=TINY)
    seen, plain = [], model._denoise

    def watch(noisy, *rest):
        seen.append(noisy)
        return plain(noisy, *rest)

    model._denoise = watch
    [fmap] = model.extract([PICTURE], Options(t=400, tap="up:0", noise=noise, size=16))
    clean = torch.from_numpy(to_unit_floats(PICTURE)) * 2 - 1
    signal = model._abar[400].sqrt() if signal is None else signal
    torch.testing.assert_close(seen[0][0], (signal * clean).float())
    assert (fmap.provenance.noise, fmap.provenance.ensemble) == (noise, 1)


def test_nothing_is_drawn_so_the_seed_and_the_vae_do_not_matter(tmp_path):
    model = load(model_path("tiny-sd", tmp_path), device="cpu")
    asked = Options(t=50, size=64, noise="none")
    one, other = (model.extract([PICTURE], asked.but(seed=seed))[0] for seed in (0, 1))
    assert torch.equal(one.values, other.values)
    assert model.provenance(load_picture(PICTURE), asked).ensemble == 1
    fitted = fit_picture(load_picture(PICTURE), (64, 64), "squash")
    pixels = torch.from_numpy(to_unit_floats(fitted.rgb))[None] * 2 - 1
    with torch.inference_mode():
        latent = model._encode(pixels)
        found = model._denoise(latent.mean * latent.scale, 50, "", (model.spec.tap,))
    torch.testing.assert_close(one.values, found[model.spec.tap][0], atol=1e-5, rtol=1e-5)


def test_provenance_keeps_it_and_older_files_mean_noise(tmp_path):
    model = Small.untrained(0, config=TINY)
    [usual] = model.extract([PICTURE], Options(t=50, tap="up:0", size=16))
    assert usual.provenance.noise == ""
    [bare] = model.extract([PICTURE], Options(t=50, tap="up:0", size=16, noise="zero"))
    bare.save(tmp_path / "f.safetensors")
    assert FeatureMap.load(tmp_path / "f.safetensors").provenance == bare.provenance
    assert not torch.equal(usual.values, bare.values)


def test_models_without_noise_take_no_notice():
    model = load("rgb", device="cpu")
    assert model.provenance(load_picture(PICTURE), Options(noise="none")).noise == ""


def test_an_ensemble_of_nothing_is_refused():
    with pytest.raises(BadInput, match="ensemble of 1 with noise 'none'"):
        Options(noise="none", ensemble=8)
    assert Options(noise="zero", ensemble=1).noise == "zero"
