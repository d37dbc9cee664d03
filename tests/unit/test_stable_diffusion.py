"""The Stable Diffusion backbone on a tiny pipeline in the real layout."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from counterpoint.backbones import load
from counterpoint.backbones.stable_diffusion import StableDiffusion
from counterpoint.errors import MissingWeights, ModelError, UnknownName, WeightsMismatch
from counterpoint.options import Options

ENDS = {"up:0": 3, "up:1": 7, "up:2": 11, "up:3": 14}


@pytest.fixture
def model(tiny_sd):
    return load(str(tiny_sd), device="cpu")


@pytest.fixture
def copy(tiny_sd, tmp_path):
    return shutil.copytree(tiny_sd, tmp_path / "copy")


def test_the_decoder_has_fifteen_layers_and_blocks_end_where_the_paper_says(model, photo):
    names = [tap.name for tap in model.taps]
    layers = [name for name in names if "layer" in name]
    assert [int(name.rpartition(":")[2]) for name in layers] == list(range(15))
    [maps] = model.extract_taps([photo], names, Options(size=64, ensemble=1))
    for block, layer in ENDS.items():
        assert torch.equal(maps[block].values, maps[f"{block}.layer:{layer}"].values)
    assert len({maps[name].values.sum().item() for name in layers}) == 15


def test_what_lies_behind_the_last_tap_is_neither_run_nor_held(model, photo):
    ran = []
    for number, block in enumerate(model.unet.network.up_blocks):
        block.register_forward_pre_hook(lambda *_, n=number: ran.append(n))
    model.extract([photo], Options(size=64, tap="up:1", ensemble=1))
    assert ran == [0, 1]
    held = {name for name, p in model.unet.network.named_parameters() if not p.is_meta}
    assert any(name.startswith("up_blocks.1.upsamplers") for name in held)
    assert not any(name.startswith(("up_blocks.2", "up_blocks.3", "conv_out")) for name in held)
    assert all(p.is_meta for p in model.vae.network.decoder.parameters())


def test_a_layer_tap_stops_inside_its_block(model, photo):
    model.extract([photo], Options(size=64, tap="up:1.layer:5", ensemble=1))
    held = {name for name, p in model.unet.network.named_parameters() if not p.is_meta}
    assert any(name.startswith("up_blocks.1.attentions.1") for name in held)
    assert not any(name.startswith("up_blocks.1.resnets.2") for name in held)


def test_a_later_tap_is_loaded_when_it_is_asked_for(model, photo):
    before = model.held_parameters()
    model.extract([photo], Options(size=64, tap="up:0", ensemble=1))
    middle = model.held_parameters()
    [late] = model.extract([photo], Options(size=64, tap="up:3", ensemble=1))
    fresh = load(str(model.checkpoint.place), device="cpu")
    [direct] = fresh.extract([photo], Options(size=64, tap="up:3", ensemble=1))
    assert 0 == before < middle < model.held_parameters()
    assert torch.equal(late.values, direct.values)


def test_the_prompt_matters_and_is_embedded_once(model, photo, monkeypatch, capfd):
    options = Options(size=64, ensemble=1)
    [empty] = model.extract([photo], options)
    assert capfd.readouterr() == ("", "")  # no bar of transformers' own
    [cat] = model.extract([photo], options.but(prompt="a photo of a cat"))
    assert not torch.equal(empty.values, cat.values)
    monkeypatch.setattr(StableDiffusion, "_embed", lambda *_: pytest.fail("embedded again"))
    [again] = model.extract([photo], options.but(prompt="a photo of a cat"))
    assert torch.equal(cat.values, again.values)


def test_members_of_the_ensemble_draw_their_own_posterior_and_noise(model, photo):
    drawn = []

    class Recorder:
        def draw(self, kind, picture_sha256, member, shape):
            drawn.append((kind, member))
            return torch.randn(tuple(shape))

    encoded = []
    model.vae.network.encoder.register_forward_hook(lambda *_: encoded.append(1))
    model.extract_taps([photo], ["up:1"], Options(size=64, ensemble=3), Recorder())
    assert drawn == [(k, m) for m in range(3) for k in ("posterior", "diffusion")]
    assert len(encoded) == 1


def test_sharded_and_bin_weights_give_the_same(tiny_sd, copy, photo, tmp_path):
    from support.tiny_sd import write_tiny_sd

    options = Options(size=64, ensemble=1)
    [expected] = load(str(tiny_sd), device="cpu").extract([photo], options)
    sharded = write_tiny_sd(tmp_path / "sharded", shard_size="1MB")
    assert len(list((sharded / "unet").glob("*.safetensors"))) > 1
    for component in ("unet", "vae"):
        path = copy / component / "diffusion_pytorch_model.safetensors"
        torch.save(load_file(path), path.with_suffix(".bin"))
        path.unlink()
    for folder in (sharded, copy):
        [got] = load(str(folder), device="cpu").extract([photo], options)
        assert torch.equal(got.values, expected.values)


def test_a_checkpoint_of_another_network_says_what_differs(copy, photo):
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["conv_in.weight"] = torch.zeros(8, 4, 3, 3)
    save_file(tensors, path)
    with pytest.raises(WeightsMismatch, match=r"conv_in.weight \(8, 4, 3, 3\), expected \(16, 4"):
        load(str(copy), device="cpu").extract([photo], Options(size=64))
    del tensors["conv_in.weight"]
    save_file(tensors, path)
    with pytest.raises(WeightsMismatch, match=r"lacks conv_in.weight"):
        load(str(copy), device="cpu").extract([photo], Options(size=64))


def test_truncated_weights_are_named(copy):
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match="damaged or cut off"):
        load(str(copy))


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("unet/config.json", "expected config.json of a UNet2DConditionModel"),
        ("unet/diffusion_pytorch_model.safetensors", "expected weights .* found none"),
        ("scheduler/scheduler_config.json", "expected scheduler_config.json"),
    ],
)
def test_missing_parts_are_named(copy, lost, message):
    (copy / lost).unlink()
    with pytest.raises(ModelError, match=message):
        load(str(copy))


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("tokenizer", "expected vocab.json and merges.txt of a tokenizer in .*copy/tokenizer"),
        ("text_encoder", "expected config.json of a text encoder .* in .*copy/text_encoder"),
    ],
)
def test_a_missing_text_encoder_is_named(copy, photo, lost, message):
    shutil.rmtree(copy / lost)
    with pytest.raises(ModelError, match=message):
        load(str(copy), device="cpu").extract([photo], Options(size=64))


def test_another_pipeline_is_refused(copy):
    config = json.loads((copy / "unet/config.json").read_text())
    config["_class_name"] = "SD3Transformer2DModel"
    (copy / "unet/config.json").write_text(json.dumps(config))
    with pytest.raises(UnknownName, match="UNet2DConditionModel"):
        load(str(copy))


def test_an_empty_folder_says_what_it_should_hold(tmp_path):
    with pytest.raises(MissingWeights, match="expected model_index.json and weights"):
        load(str(tmp_path))


def test_offline_the_error_says_what_to_put_where():
    with pytest.raises(MissingWeights, match=r"put its folder at .*models/sd21, or run"):
        load("sd21")


def test_a_folder_of_models_and_the_hub_cache_are_searched(tiny_sd, tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERPOINT_MODELS", str(tmp_path))
    shutil.copytree(tiny_sd, tmp_path / "sd21")
    assert load("sd21").checkpoint.place == tmp_path / "sd21"
    assert load("sd21").spec.t == 261


def test_the_hub_cache_is_searched_the_mirror_too(tiny_sd, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--sd2-community--stable-diffusion-2-1"
    shutil.copytree(tiny_sd, cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    from counterpoint.backbones.weights import find_weights
    from counterpoint.backbones.zoo import ZOO

    found = find_weights(ZOO["sd21"])
    assert found is not None
    assert found.parent.parent.name == cached.name
    (found / "vae" / "diffusion_pytorch_model.safetensors").unlink()  # a broken-off download
    assert find_weights(ZOO["sd21"]) is None


def test_noisy_pictures_come_from_the_decoder(model, photo):
    seen = model.noisy(photo, [0, 500, 999], Options(size=64))
    assert [p.size_wh for p in seen] == [(64, 64)] * 3
    assert len({p.content_hash for p in seen}) == 3


def test_a_downloaded_model_must_be_asked_for(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("network without asking")
    )
    with pytest.raises(MissingWeights):
        load("someone/some-model")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", _refuse)
    with pytest.raises(MissingWeights, match="cannot download someone/some-model: .*no such"):
        load("someone/some-model", download=True)


def _refuse(*_, **__):
    raise RuntimeError("no such repository")
