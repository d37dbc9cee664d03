"""Stable Diffusion XL on a tiny pipeline in the real layout, and its full size without memory."""

import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from counterpoint.backbones import load
from counterpoint.backbones.latent import PipelineFolder
from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import ModelError, WeightsMismatch
from counterpoint.images import fit_picture, load_picture, to_unit_floats
from counterpoint.options import Options
from support.tiny_sd import unet_on_meta, write_tiny_sd
from support.tiny_sdxl import XL, write_tiny_sdxl

SIZE = "96x64"
HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")


@pytest.fixture
def model(folder):
    return load(str(folder), device="cpu")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


class Fixed:
    """One draw a kind."""

    def __init__(self):
        made = torch.Generator().manual_seed(5)
        shape = (4, HEIGHT // 8, WIDTH // 8)
        self.draws = {
            kind: torch.randn(shape, generator=made) for kind in ("posterior", "diffusion")
        }

    def draw(self, kind, picture_sha256, member, shape):
        assert tuple(shape) == tuple(self.draws[kind].shape)
        return self.draws[kind]


def read_by_hooks(folder, photo, prompt, t, noise):
    """The up blocks' outputs in diffusers' own pipeline, with its own embeddings of the prompt."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
    found = {}
    for number, block in enumerate(pipeline.unet.up_blocks):
        block.register_forward_hook(lambda _m, _i, out, n=number: found.update({f"up:{n}": out}))
    fitted = fit_picture(load_picture(photo), (WIDTH, HEIGHT), "squash", 8)
    pixels = torch.from_numpy(to_unit_floats(fitted.rgb))[None] * 2 - 1
    with torch.inference_mode():
        spread = pipeline.vae.encode(pixels).latent_dist
        clean = spread.mean + spread.std * noise.draws["posterior"][None]
        clean = clean * pipeline.vae.config.scaling_factor
        eps = noise.draws["diffusion"][None]
        noisy = pipeline.scheduler.add_noise(clean, eps, torch.tensor([t]))
        hidden, empty_hidden, pooled, empty_pooled = pipeline.encode_prompt(
            prompt or "anything", do_classifier_free_guidance=True
        )
        if not prompt:
            hidden, pooled = empty_hidden, empty_pooled
        sizes = pipeline._get_add_time_ids(
            (HEIGHT, WIDTH), (0, 0), (HEIGHT, WIDTH), torch.float32, pooled.shape[-1]
        )
        added = {"text_embeds": pooled, "time_ids": sizes}
        pipeline.unet(noisy, t, encoder_hidden_states=hidden, added_cond_kwargs=added)
    return found


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("prompt", ["", "a photo of a cat"])
def test_features_equal_those_of_diffusers_pipeline(copy, photo, prompt, zeros):
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(
        json.dumps(index | {"force_zeros_for_empty_prompt": zeros})
    )
    noise = Fixed()
    expected = read_by_hooks(copy, photo, prompt, 261, noise)
    options = Options(size=SIZE, ensemble=1, t=261, prompt=prompt)
    [maps] = load(str(copy), device="cpu").extract_taps([photo], list(expected), options, noise)
    assert set(expected) == {"up:0", "up:1", "up:2"}
    for tap, values in expected.items():
        limit = 1e-5 * values.abs().max()
        assert (maps[tap].values - values[0]).abs().max() <= limit


def test_the_network_is_told_the_size_of_the_input(model, photo):
    told = []
    model.unet.network.register_forward_pre_hook(
        lambda _m, _a, named: told.append(named["added_cond_kwargs"]["time_ids"]),
        with_kwargs=True,
    )
    model.extract([photo], Options(size=SIZE, ensemble=2))
    assert told[0].tolist() == [[HEIGHT, WIDTH, 0, 0, HEIGHT, WIDTH]] * 2


def test_text_encoders_are_loaded_only_for_a_prompt(model, photo, monkeypatch):
    loaded = []
    original = PipelineFolder.text_encoder

    def noted(self, dtype, name, kind):
        loaded.append(name)
        return original(self, dtype, name, kind)

    monkeypatch.setattr(PipelineFolder, "text_encoder", noted)
    options = Options(size=SIZE, ensemble=1)
    [empty] = model.extract([photo], options)
    assert loaded == []
    [cat] = model.extract([photo], options.but(prompt="a cat"))
    [again] = model.extract([photo], options.but(prompt="a cat"))
    assert loaded == ["text_encoder", "text_encoder_2"]
    assert not torch.equal(empty.values, cat.values)
    assert torch.equal(cat.values, again.values)


def test_what_lies_behind_the_last_tap_is_not_held(model, photo):
    model.extract([photo], Options(size=SIZE, tap="up:0", ensemble=1))
    held = {name for name, p in model.unet.network.named_parameters() if not p.is_meta}
    assert any(name.startswith("add_embedding") for name in held)
    assert any(name.startswith("up_blocks.0.upsamplers") for name in held)
    assert not any(name.startswith(("up_blocks.1", "up_blocks.2", "conv_out")) for name in held)


@pytest.mark.parametrize(("upcast", "expected"), [(True, torch.float32), (False, torch.float16)])
def test_the_vae_runs_in_float32_where_float16_would_overflow(copy, photo, upcast, expected):
    path = copy / "vae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"force_upcast": upcast}))
    model = load(str(copy), device="cpu", dtype="float16")
    [fmap] = model.extract([photo], Options(size=SIZE, ensemble=1))
    assert fmap.values.dtype == torch.float16
    assert model.vae.network.encoder.conv_in.weight.dtype == expected
    assert model.unet.network.conv_in.weight.dtype == torch.float16


def test_all_weights_count_for_the_checksum(model, copy):
    from safetensors.torch import load_file, save_file

    path = copy / "text_encoder_2" / "model.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    assert load(str(copy)).weights_sha256 != model.weights_sha256


def test_a_folder_is_known_by_its_pipeline(folder):
    spec = spec_of(str(folder))
    assert spec.family == "sdxl"
    assert (spec.tap, spec.size_wh) == (ZOO["sdxl"].tap, (1024, 1024))
    parts = ("unet", "vae", "text_encoder", "text_encoder_2")
    assert sorted(spec.weighted_components) == sorted(parts)


def test_a_u_net_of_the_other_family_is_refused(copy, tmp_path):
    plain = write_tiny_sd(tmp_path / "plain")
    shutil.copytree(plain / "unet", tmp_path / "unet")
    for target, source in ((plain, copy), (copy, tmp_path)):
        shutil.rmtree(target / "unet")
        shutil.copytree(source / "unet", target / "unet")
    with pytest.raises(WeightsMismatch, match="added conditions None, got text_time"):
        load(str(plain))
    with pytest.raises(WeightsMismatch, match="added conditions text_time, got None"):
        load(str(copy))


def test_weights_of_another_text_encoder_say_what_differs(copy, photo):
    options = Options(size=SIZE, ensemble=1, prompt="a cat")
    shutil.copy(copy / "text_encoder/model.safetensors", copy / "text_encoder_2/model.safetensors")
    with pytest.raises(WeightsMismatch, match=r"text_encoder_2: .*text_projection.weight"):
        load(str(copy)).extract([photo], options)
    (copy / "text_encoder_2/config.json").unlink()
    with pytest.raises(ModelError, match=r"CLIPTextModelWithProjection.* in .*text_encoder_2"):
        load(str(copy)).extract([photo], options)


def test_the_full_size_has_the_papers_parameters_and_layers():
    config = {
        **XL,
        "block_out_channels": (320, 640, 1280),
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048,
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "sample_size": 128,
    }
    unet = unet_on_meta(config)
    every = sum(p.numel() for p in unet.network.parameters())
    assert every == 2_567_463_684
    blocks = [(t.name, t.channels, t.stride_px) for t in unet.taps if "layer" not in t.name]
    assert blocks == [("up:0", 1280, 16), ("up:1", 640, 8), ("up:2", 320, 8)]
    assert sum("layer" in tap.name for tap in unet.taps) == 11
    parts = [unet.network.get_submodule(name) for name in unet._modules_to("up:0")]
    kept = sum(p.numel() for part in parts for p in part.parameters())
    assert kept / every == pytest.approx(0.954, abs=0.001)
