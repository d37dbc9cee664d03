"""CleanDIFT on a tiny U-Net in the published layout."""

import shutil

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from counterpoint.backbones import load
from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import MissingWeights, ModelError, WeightsMismatch
from counterpoint.images import fit_picture, load_picture, to_unit_floats
from counterpoint.options import Options
from support.tiny_sd import tiny_unet, unet_on_meta, write_tiny_cleandift

SIZE = Options(size="96x64")
BLOCKS = ("up:0", "up:1", "up:2", "up:3")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_tiny_cleandift(tmp_path_factory.mktemp("models") / "tiny-cleandift")


@pytest.fixture
def model(path):
    return load(str(path), device="cpu")


def read_by_hooks(path, photo, prompt, t):
    """As the model's card says: the U-Net's weights replaced in a pipeline of diffusers."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        path.parent, local_files_only=True, safety_checker=None, feature_extractor=None
    )
    pipeline.unet.load_state_dict(load_file(path), strict=True)
    found = {}
    for number, block in enumerate(pipeline.unet.up_blocks):
        block.register_forward_hook(lambda _m, _i, out, n=number: found.update({f"up:{n}": out}))
    rgb = fit_picture(load_picture(photo), (96, 64), "squash", 8).rgb
    with torch.inference_mode():
        pixels = torch.from_numpy(to_unit_floats(rgb))[None] * 2 - 1
        clean = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
        hidden, _ = pipeline.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)
        pipeline.unet(clean, t, encoder_hidden_states=hidden)
    return found


@pytest.mark.parametrize("prompt", ["", "a photo of a cat"])
def test_features_equal_those_of_the_u_net_in_diffusers_pipeline(path, model, photo, prompt):
    expected = read_by_hooks(path, photo, prompt, 261)
    [maps] = model.extract_taps([photo], BLOCKS, SIZE.but(prompt=prompt))
    for block in BLOCKS:
        limit = 1e-5 * expected[block].abs().max()
        assert (maps[block].values - expected[block][0]).abs().max() <= limit


def test_nothing_is_drawn_and_the_time_step_is_not_asked_for(model, photo):
    class Forbidden:
        def draw(self, kind, picture_sha256, member, shape):
            pytest.fail("a draw")

    [maps] = model.extract_taps([photo], ["up:1"], SIZE, Forbidden())
    [other] = model.extract([photo], SIZE.but(t=700, ensemble=8, seed=3))
    assert torch.equal(maps["up:1"].values, other.values)
    assert (other.provenance.timesteps, other.provenance.ensemble) == ((), 1)


def test_the_whole_training_state_serves_with_its_learned_time_step(path, tmp_path, photo):
    folder = shutil.copytree(path.parent, tmp_path / "copy")
    inside = load_file(path)
    state = {f"unet_feature_extractor_cleandift.{name}": value for name, value in inside.items()}
    other = tiny_unet().state_dict()
    state |= {f"unet_feature_extractor_base.{name}": value for name, value in other.items()}
    state |= {"timestep": torch.tensor(300.5), "time_in_proj.weight": torch.zeros(2, 2)}
    save_file(state, folder / "cleandift_sd21_full.safetensors")
    model = load(str(folder / "cleandift_sd21_full.safetensors"), device="cpu")
    expected = read_by_hooks(path, photo, "", 300.5)["up:1"]
    [fmap] = model.extract([photo], SIZE)
    assert (fmap.values - expected[0]).abs().max() <= 1e-5 * expected.abs().max()


def test_by_name_the_pipeline_of_the_zoo_serves(path, tiny_sd, tmp_path, monkeypatch, photo):
    monkeypatch.setenv("COUNTERPOINT_MODELS", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"the file cleandift_sd21_unet.safetensors at "):
        load("cleandift-sd21")
    (tmp_path / "cleandift-sd21").mkdir()
    shutil.copy(path, tmp_path / "cleandift-sd21")
    with pytest.raises(MissingWeights, match=r"cleandift-sd21 .*the weights of sd21 are not on"):
        load("cleandift-sd21")
    shutil.copytree(tiny_sd, tmp_path / "sd21")
    shutil.rmtree(tmp_path / "sd21" / "unet")
    (tmp_path / "sd21" / "unet").mkdir()
    shutil.copy(tiny_sd / "unet" / "config.json", tmp_path / "sd21" / "unet")
    [a] = load("cleandift-sd21", device="cpu").extract([photo], SIZE)
    [b] = load(str(path), device="cpu").extract([photo], SIZE)
    assert torch.equal(a.values, b.values)


def test_a_download_brings_the_pipeline_as_well(monkeypatch):
    import huggingface_hub

    asked = []

    def refuse(hub_id, *_, **__):
        asked.append(hub_id)
        raise RuntimeError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(MissingWeights):
        load("cleandift-sd15", download=True)
    assert asked == list(ZOO["sd15"].hub_ids)


def test_only_files_of_that_name_are_taken_for_it(path, tmp_path):
    assert spec_of(str(path)).family == "cleandift"
    assert spec_of(str(path)).t is None
    shutil.copy(path, tmp_path / "diffusion_pytorch_model.safetensors")
    assert spec_of(str(tmp_path / "diffusion_pytorch_model.safetensors")).family == "small"


@pytest.mark.parametrize(("width", "name"), [(768, "sd15"), (1024, "sd21")])
def test_the_prompts_width_tells_the_versions_apart(tmp_path, width, name):
    key = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    save_file({key: torch.zeros(1, width)}, tmp_path / "my_cleandift.safetensors")
    spec = spec_of(str(tmp_path / "my_cleandift.safetensors"))
    assert (spec.base, spec.size_wh) == (name, ZOO[f"cleandift-{name}"].size_wh)


def test_a_u_net_of_another_version_says_what_differs(path, tmp_path, photo):
    folder = shutil.copytree(path.parent, tmp_path / "copy")
    save_file(tiny_unet(cross_attention_dim=24).state_dict(), folder / path.name)
    with pytest.raises(WeightsMismatch, match=r"attn2.to_k.weight \(16, 24\), expected \(16, 16\)"):
        load(str(folder / path.name)).extract([photo], SIZE)


def test_memory_that_runs_out_leads_to_smaller_chunks(model, photo, monkeypatch):
    whole = model.extract([photo, photo[::-1]], SIZE)
    original, calls = model.unet.features, []

    def tight(latents, *arguments):
        calls.append(len(latents))
        if len(latents) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return original(latents, *arguments)

    monkeypatch.setattr(model.unet, "features", tight)
    again = model.extract([photo, np.ascontiguousarray(photo[::-1])], SIZE)
    assert calls[0] == 2 and calls[-2:] == [1, 1]
    for a, b in zip(whole, again, strict=True):
        torch.testing.assert_close(a.values, b.values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "heads", "linear", "parameters"),
    [(768, 8, False, 859_520_964), (1024, (5, 10, 20, 20), True, 865_910_724)],
)
def test_the_full_size_is_stable_diffusions(width, heads, linear, parameters):
    unet = unet_on_meta(
        {
            "cross_attention_dim": width,
            "attention_head_dim": heads,
            "use_linear_projection": linear,
        }
    )
    assert sum(p.numel() for p in unet.network.parameters()) == parameters
    blocks = [(t.channels, t.stride_px) for t in unet.taps if t.name in BLOCKS]
    assert blocks == [(1280, 32), (1280, 16), (640, 8), (320, 8)]


def test_a_pipeline_without_text_encoder_is_named(path, tmp_path, photo):
    folder = shutil.copytree(path.parent, tmp_path / "copy")
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(ModelError, match=r"text encoder .* in .*copy/text_encoder"):
        load(str(folder / path.name)).extract([photo], SIZE)
