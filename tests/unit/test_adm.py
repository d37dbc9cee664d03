"""The guided-diffusion backbone on a tiny checkpoint under the original's names."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from counterpoint.backbones import load
from counterpoint.backbones.adm import alphas_cumprod
from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import MissingWeights, ModelError, WeightsMismatch
from counterpoint.images import load_picture
from counterpoint.options import Options
from support.tiny_adm import (
    HEAD_CHANNELS,
    OriginalNames,
    published_shapes,
    tiny_tensors,
    write_tiny_adm,
)

SMALL = Options(size=64, ensemble=1)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_tiny_adm(tmp_path_factory.mktemp("adm"))


@pytest.fixture
def model(path):
    return load(str(path), device="cpu")


@pytest.fixture(scope="module")
def expected(path, photo):
    """The tiny network's features at its last block."""
    return load(str(path), device="cpu").extract([photo], SMALL.but(tap="out:5"))[0].values


def write(folder, tensors, **config):
    path = write_tiny_adm(folder, tensors)
    known = {"num_head_channels": HEAD_CHANNELS}
    path.with_name("config.json").write_text(json.dumps(known | config))
    return path


def test_the_published_network_by_its_names_and_shapes(tmp_path):
    tensors = {n: torch.empty(s, device="meta") for n, s in published_shapes().items()}
    torch.save(tensors, tmp_path / "256x256_diffusion_uncond.pt")
    model = load(str(tmp_path / "256x256_diffusion_uncond.pt"), device="cpu", dtype="float32")
    assert sum(p.numel() for p in model._net.parameters()) == 552_814_086
    assert model.held_parameters() == 0
    assert model.multiple == 32
    assert model._file.architecture.out_channels == 6
    assert [tap.name for tap in model.taps] == [f"out:{i}" for i in range(18)]
    strides = [32] * 2 + [16] * 3 + [8] * 3 + [4] * 3 + [2] * 3 + [1] * 4
    assert [tap.stride_px for tap in model.taps] == strides
    channels = [1024] * 6 + [512] * 6 + [256] * 6
    assert [tap.channels for tap in model.taps] == channels


def test_the_defaults_are_the_papers():
    row = ZOO["adm"]
    assert (row.t, row.tap, row.ensemble, row.size_wh) == (101, "out:4", 8, (512, 512))
    assert row.sources == (row.url,)


def test_what_lies_behind_the_last_tap_is_neither_run_nor_held(model, photo):
    ran = []
    for number, block in enumerate(model._net.up_blocks):
        block.register_forward_pre_hook(lambda *_, n=number: ran.append(n))
    model.extract([photo], SMALL.but(tap="out:2"))
    assert ran == [0, 1]
    held = {name for name, p in model._net.named_parameters() if not p.is_meta}
    assert any(name.startswith("up_blocks.1.resnets.0") for name in held)
    behind = ("up_blocks.1.resnets.1", "up_blocks.1.upsamplers", "up_blocks.2", "conv_norm_out")
    assert not any(name.startswith((*behind, "conv_out")) for name in held)


def test_a_later_tap_is_loaded_when_it_is_asked_for(model, photo, expected):
    assert model.held_parameters() == 0
    model.extract([photo], SMALL.but(tap="out:0"))
    first = model.held_parameters()
    [late] = model.extract([photo], SMALL.but(tap="out:5"))
    assert 0 < first < model.held_parameters()
    assert torch.equal(late.values, expected)


def test_single_precision_and_safetensors_give_the_same(tmp_path, photo, expected):
    single = {name: value.float() for name, value in tiny_tensors().items()}
    files = [write(tmp_path / "single", single), write(tmp_path / "safe", {}).with_name("a.st")]
    files[1] = files[1].with_suffix(".safetensors")
    save_file(tiny_tensors(), files[1])
    for file in files:
        assert spec_of(str(file)).family == "adm"
        [got] = load(str(file), device="cpu").extract([photo], SMALL.but(tap="out:5"))
        assert torch.equal(got.values, expected)


def test_a_file_before_the_zip_format_gives_the_same(tmp_path, photo, expected):
    path = write(tmp_path, tiny_tensors())
    torch.save(tiny_tensors(), path, _use_new_zipfile_serialization=False)
    [got] = load(str(path), device="cpu").extract([photo], SMALL.but(tap="out:5"))
    assert torch.equal(got.values, expected)


def test_both_orders_of_queries_keys_and_values(tmp_path, photo, expected):
    tensors = tiny_tensors()
    for name, value in tensors.items():
        if ".qkv." in name:  # from (heads, 3, head) to (3, heads, head)
            parts = value.unflatten(0, (-1, 3, HEAD_CHANNELS)).transpose(0, 1)
            tensors[name] = parts.flatten(0, 2).contiguous()
    path = write(tmp_path, tensors, use_new_attention_order=True)
    [got] = load(str(path), device="cpu").extract([photo], SMALL.but(tap="out:5"))
    assert torch.equal(got.values, expected)
    path = write(tmp_path, tensors)
    [wrong] = load(str(path), device="cpu").extract([photo], SMALL.but(tap="out:5"))
    assert not torch.allclose(wrong.values, expected, rtol=1e-2)


def test_the_noise_is_that_of_a_thousand_linear_steps():
    betas = np.linspace(0.0001, 0.02, 1000, dtype=np.float64)
    assert np.allclose(alphas_cumprod().numpy(), np.cumprod(1 - betas), rtol=1e-12, atol=0)


def test_noise_is_added_in_pixel_space(model):
    clean, noise = torch.full((3, 4, 4), 0.5), torch.ones(3, 4, 4)
    abar = float(alphas_cumprod()[101])
    noisy = model._add_noise(clean, noise, 101)
    assert torch.allclose(noisy, torch.tensor(0.5 * abar**0.5 + (1 - abar) ** 0.5).expand(3, 4, 4))
    assert torch.equal(model.decode(noisy[None])[0], noisy)


def test_noisy_pictures_are_pixels(model, photo):
    near, far = model.noisy(photo, [0, 999], SMALL)
    squashed = load_picture(photo).pil().resize((64, 64), 3)
    assert np.abs(near.rgb.astype(int) - np.asarray(squashed).astype(int)).mean() < 3
    assert abs(far.rgb.mean() - 127.5) < 10


def test_sizes_that_do_not_fit_are_padded(model, photo):
    assert model.multiple == 4
    [fmap] = model.extract([photo[:61, :66]], SMALL.but(fit="keep"))
    assert fmap.input_wh == (68, 64)
    assert fmap.valid is not None


def test_heads_that_do_not_fit_ask_for_a_config(tmp_path):
    path = write_tiny_adm(tmp_path)
    path.with_name("config.json").unlink()
    with pytest.raises(WeightsMismatch, match="no multiple of 64 .* say num_head_channels in"):
        load(str(path))
    path.with_name("config.json").write_text("[]")
    with pytest.raises(ModelError, match="expected a JSON object with num_head_channels"):
        load(str(path))


def without(name):
    return {n: v for n, v in tiny_tensors().items() if n != name}


SD_UNET = {"conv_in.weight": torch.zeros(4, 4, 3, 3), "time_embedding.linear_1.bias": torch.ones(4)}
SD_ORIGINAL = {
    "input_blocks.1.0.out_layers.3.weight": torch.zeros(32, 32, 3, 3),
    "input_blocks.1.1.transformer_blocks.0.norm1.weight": torch.zeros(32),
    "output_blocks.0.0.in_layers.0.weight": torch.zeros(64),
    "output_blocks.1.1.conv.weight": torch.zeros(32, 32, 3, 3),
    "out.2.weight": torch.zeros(4, 32, 3, 3),
}
CLASSES = tiny_tensors() | {"label_emb.weight": torch.zeros(1000, 128)}
NARROW = tiny_tensors() | {"input_blocks.0.0.weight": torch.zeros(16, 3, 3, 3)}
ODD = {n: torch.zeros(s).half() for n, s in OriginalNames(16, (1, 1), 1, (1,)).shapes.items()}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (SD_UNET, r"lacks output_blocks.1.0.in_layers.0.weight and has conv_in.weight"),
        (SD_ORIGINAL, r"pt lacks input_blocks.0.0.weight, .* and \d+ more; expected an uncond"),
        (without("time_embed.2.bias"), r"pt lacks time_embed.2.bias; expected an unconditional"),
        (CLASSES, r"has no place for label_emb.weight; expected an unconditional"),
        (NARROW, r"input_blocks.0.0.weight \(16, 3, 3, 3\), expected \(32, 3, 3, 3\)"),
        (ODD, r"has other shapes and has time_embed.0.weight"),
        ([torch.zeros(3)], r"holds no tensors by name"),
        ({"state_dict": tiny_tensors()}, r"holds no tensors by name"),
    ],
    ids=["sd", "sd-original", "missing", "classes", "shape", "groups", "list", "nested"],
)
def test_another_network_says_what_differs(tmp_path, tensors, message):
    path = write(tmp_path, tensors)
    with pytest.raises(WeightsMismatch, match=message) as caught:
        load(str(path))
    assert "\n" not in str(caught.value)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("run",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_refused(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "harmful.pt"
    torch.save({"time_embed.0.weight": Harmful()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsMismatch, match=r"asks to run \w+\.mkdir \(refused\)") as caught:
        load(str(path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kept", [0, 100, 5000, -100])
def test_a_damaged_file_is_named(tmp_path, path, kept):
    cut = tmp_path / "cut.pt"
    cut.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsMismatch, match="cut.pt, which is damaged, cut off or foreign"):
        load(str(cut))


def test_weights_in_the_folder_of_models_are_found(path, tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERPOINT_MODELS", str(tmp_path))
    write_tiny_adm(tmp_path / "adm")
    assert load("adm", device="cpu").path == tmp_path / "adm" / path.name


def test_without_weights_the_error_says_where_they_are():
    with pytest.raises(MissingWeights, match=r"put the file 256x256_diffusion_uncond.pt at .*adm"):
        load("adm")
    with pytest.raises(MissingWeights, match=r"counterpoint models fetch adm.*openaipublic"):
        load("adm")
