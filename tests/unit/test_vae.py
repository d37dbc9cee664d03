"""The VAE's encoder alone, on a tiny one in the real layout, and its full size without memory."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from counterpoint.backbones import load
from counterpoint.backbones.latent import vae_of
from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import MissingWeights, UnknownName, WeightsMismatch
from counterpoint.images import fit_picture, load_picture, to_unit_floats
from counterpoint.options import Options
from support.tiny_sd import tiny_vae, write_tiny_vae

SIZE = Options(size="96x64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_vae(tmp_path_factory.mktemp("models") / "tiny-vae")


@pytest.fixture
def model(folder):
    return load(str(folder), device="cpu")


def test_taps_equal_what_hooks_read_in_diffusers_own(model, folder, photo):
    network = AutoencoderKL.from_pretrained(folder, local_files_only=True)
    expected = {}
    places = {f"down:{i}": block for i, block in enumerate(network.encoder.down_blocks)}
    for name, module in {**places, "mid": network.encoder.mid_block}.items():
        module.register_forward_hook(lambda _m, _i, out, n=name: expected.update({n: out}))
    pixels = torch.from_numpy(to_unit_floats(fit(photo)))[None] * 2 - 1
    with torch.inference_mode():
        expected["latent"] = network.encode(pixels).latent_dist.mean
    [maps] = model.extract_taps([photo], [tap.name for tap in model.taps], SIZE)
    assert list(maps) == ["down:0", "down:1", "down:2", "down:3", "mid", "latent"]
    for name, values in expected.items():
        torch.testing.assert_close(maps[name].values, values[0], rtol=1e-4, atol=1e-5)


def fit(photo):
    return fit_picture(load_picture(photo), (96, 64), "squash", 8).rgb


def test_only_the_encoder_up_to_the_tap_is_held(model, photo):
    model.extract([photo], SIZE.but(tap="down:1"))
    held = {name for name, p in model.part.network.named_parameters() if not p.is_meta}
    assert held
    assert all(n.startswith(("encoder.conv_in", "encoder.down_blocks.")) for n in held)
    assert not any(n.startswith(("encoder.down_blocks.2", "encoder.down_blocks.3")) for n in held)
    before = model.held_parameters()
    model.extract([photo], SIZE)
    assert before < model.held_parameters()
    assert all(p.is_meta for p in model.part.network.decoder.parameters())


def test_a_pipelines_vae_folder_serves(tiny_sd, photo):
    model = load(str(tiny_sd / "vae"), device="cpu")
    assert model.spec.family == "vae"
    [fmap] = model.extract([photo], SIZE)
    assert fmap.values.shape == (4, 8, 12)
    assert fmap.provenance.timesteps == ()


def test_by_name_its_own_folder_comes_before_a_pipelines(tiny_sd, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERPOINT_MODELS", str(tmp_path))
    with pytest.raises(MissingWeights, match="stabilityai/sd-vae-ft-mse"):
        load("vae")
    shutil.copytree(tiny_sd, tmp_path / "sd15")
    assert load("vae").folder == tmp_path / "sd15" / "vae"
    shutil.copytree(folder, tmp_path / "vae")
    assert load("vae").folder == tmp_path / "vae"
    assert load("vae").spec is ZOO["vae"]


def test_a_vae_without_the_last_convolution_serves(tmp_path, photo):
    network = tiny_vae(use_quant_conv=False, use_post_quant_conv=False, latent_channels=16)
    network.save_pretrained(tmp_path / "vae")
    [fmap] = load(str(tmp_path / "vae"), device="cpu").extract([photo], SIZE)
    pixels = torch.from_numpy(to_unit_floats(fit(photo)))[None] * 2 - 1
    with torch.inference_mode():
        expected = network.eval().encode(pixels).latent_dist.mean[0]
    torch.testing.assert_close(fmap.values, expected, rtol=1e-4, atol=1e-5)


def test_float16_runs_in_float32_where_the_configuration_asks_for_it(folder, model, photo):
    half = load(str(folder), device="cpu", dtype="float16")
    [a], [b] = model.extract([photo], SIZE), half.extract([photo], SIZE)
    assert b.values.dtype == torch.float16
    assert half.part.network.encoder.conv_in.weight.dtype == torch.float32
    torch.testing.assert_close(a.values, b.values.float(), rtol=1e-3, atol=1e-3)


def test_another_network_is_refused(tiny_sd, tmp_path, photo):
    shutil.copytree(tiny_sd / "vae", tmp_path / "vae")
    weights = "diffusion_pytorch_model.safetensors"
    shutil.copy(tiny_sd / "unet" / weights, tmp_path / "vae" / weights)
    with pytest.raises(WeightsMismatch, match=r"lacks encoder.conv_in.weight, .* and \d+ more"):
        load(str(tmp_path / "vae")).extract([photo], SIZE)
    config = (tmp_path / "vae" / "config.json").read_text()
    (tmp_path / "vae" / "config.json").write_text(config.replace("KL", "Tiny"))
    with pytest.raises(UnknownName, match="AutoencoderKL"):
        vae_of(tmp_path / "vae")


def test_the_full_size_has_the_taps_of_the_published_one(tmp_path):
    config = {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({}, tmp_path / "diffusion_pytorch_model.safetensors")
    model = load(str(tmp_path))
    assert sum(p.numel() for p in model.part.network.parameters()) == 83_653_863
    assert [(tap.channels, tap.stride_px) for tap in model.taps] == [
        *[(128, 2), (256, 4), (512, 8), (512, 8)],
        *[(512, 8), (4, 8)],
    ]
    assert model.held_parameters() == 0


def test_the_row_is_for_a_folder_of_one_network():
    spec = ZOO["vae"]
    assert (spec.layout, spec.t, spec.marker) == ("model", None, "config.json")
    assert spec_of("stabilityai/sd-vae-ft-mse").family == "vae"
