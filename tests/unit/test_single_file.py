"""Stable Diffusion in one file under the original names, against its pipeline in folders."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from counterpoint.backbones import load
from counterpoint.backbones.latent import on_meta
from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.single_file import (
    open_clip_name,
    text_config,
    unet_config,
    unet_name,
    vae_config,
    vae_name,
)
from counterpoint.errors import MissingWeights, ModelError, WeightsMismatch
from counterpoint.options import Options
from support.tiny_single_file import (
    original_clip,
    original_open_clip,
    original_unet,
    original_vae,
    write_tiny_single_file,
)

SIZE = Options(size="96x64", ensemble=2)
UNET, VAE = "model.diffusion_model.", "first_stage_model."
FULL_UNET = {
    1: {"cross_attention_dim": 768, "attention_head_dim": 8},
    2: {
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
        "upcast_attention": True,
    },
}
"""What the published configurations say beside diffusers' defaults."""

FULL_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
FULL_TEXT = {
    1: {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "quick_gelu",
    },
    2: {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
    },
}
ENDS = {
    1: {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407},
    2: {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 0},
}


@pytest.fixture(scope="module", params=[1, 2])
def version(request):
    return request.param


@pytest.fixture(scope="module")
def path(version, tmp_path_factory):
    return write_tiny_single_file(tmp_path_factory.mktemp("models") / "tiny", version)


@pytest.fixture
def alone(path, tmp_path):
    return shutil.copy(path, tmp_path / "alone.safetensors")


@pytest.mark.parametrize("prompt", ["", "a photo of a cat"])
def test_features_equal_those_of_the_pipeline(path, photo, prompt):
    taps = ["up:0", "up:1.layer:3", "up:1"]
    options = SIZE.but(prompt=prompt)
    [one] = load(str(path), device="cpu").extract_taps([photo], taps, options)
    [other] = load(str(path.parent / "pipeline"), device="cpu").extract_taps([photo], taps, options)
    for tap in taps:
        assert torch.equal(one[tap].values, other[tap].values)


def test_the_decoder_serves_too(path, photo):
    one, other = (load(str(p), device="cpu") for p in (path, path.parent / "pipeline"))
    a, b = (model.noisy(photo, [300], SIZE)[0] for model in (one, other))
    assert a.content_hash == b.content_hash


def test_the_empty_prompt_needs_no_tokenizer(path, alone, photo):
    [one], [other] = (load(str(p), device="cpu").extract([photo], SIZE) for p in (path, alone))
    assert torch.equal(one.values, other.values)
    ids = load(str(path)).checkpoint
    folder = load(str(path.parent / "pipeline")).checkpoint
    assert torch.equal(ids.token_ids(""), folder.token_ids(""))


def test_another_prompt_says_which_tokenizer_to_put_where(alone, photo, version):
    repository = {1: "stable-diffusion-v1-5", 2: "stable-diffusion-2-1"}[version]
    with pytest.raises(MissingWeights, match=f"prompt 'a cat', found none: .*{repository}.*beside"):
        load(str(alone), device="cpu").extract([photo], SIZE.but(prompt="a cat"))


def test_the_tokenizer_of_a_pipeline_on_this_machine_serves(
    path, alone, version, tmp_path, monkeypatch, photo
):
    monkeypatch.setenv("COUNTERPOINT_MODELS", str(tmp_path))
    shutil.copytree(path.parent / "pipeline", tmp_path / {1: "sd15", 2: "sd21"}[version])
    options = SIZE.but(prompt="a cat")
    [one], [other] = (load(str(p), device="cpu").extract([photo], options) for p in (path, alone))
    assert torch.equal(one.values, other.values)


def test_only_what_runs_is_held(path, photo):
    model = load(str(path), device="cpu")
    assert model.held_parameters() == 0
    model.extract([photo], SIZE.but(tap="up:0"))
    held = {name for name, p in model.unet.network.named_parameters() if not p.is_meta}
    assert not any(name.startswith(("up_blocks.1", "conv_out")) for name in held)
    assert all(p.is_meta for p in model.vae.network.decoder.parameters())


def test_the_file_is_known_by_its_tensors(path, alone, version, tmp_path):
    spec = spec_of(str(path))
    assert (spec.family, spec.layout) == ("stable-diffusion", "file")
    assert spec.size_wh == {1: (512, 512), 2: (768, 768)}[version]
    assert len(load(str(path)).weights_sha256) == 64
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert spec_of(str(tmp_path / "other.safetensors")).family == "small"
    with pytest.raises(ModelError, match="to be of format counterpoint-small/"):
        load(str(tmp_path / "other.safetensors"))


def test_a_file_that_was_cut_off_is_named(alone):
    alone.write_bytes(alone.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="damaged or cut off"):
        load(str(alone))


def change(path, **changes):
    """Write a file again with tensors replaced, or left out where None."""
    tensors = load_file(path) | {name.replace("/", "."): v for name, v in changes.items()}
    save_file({name: value for name, value in tensors.items() if value is not None}, path)


def test_a_tensor_that_is_missing_or_of_another_shape_is_named(alone, photo, version):
    change(alone, **{f"{UNET}middle_block.0.in_layers.2.bias": torch.zeros(3)})
    with pytest.raises(WeightsMismatch, match=r"mid_block.resnets.0.conv1.bias \(3,\), expected"):
        load(str(alone)).extract([photo], SIZE)
    change(alone, **{f"{UNET}middle_block.0.in_layers.2.bias": None})
    with pytest.raises(WeightsMismatch, match=r"lacks mid_block.resnets.0.conv1.bias"):
        load(str(alone)).extract([photo], SIZE)


@pytest.mark.parametrize(
    "lost",
    [f"{UNET}input_blocks.1.0.out_layers.3.weight", f"{VAE}encoder.down.0.block.0.conv1.weight"],
)
def test_a_file_too_incomplete_to_tell_its_configuration_is_refused(alone, lost):
    name = lost.removeprefix(UNET).removeprefix(VAE)
    change(alone, **{lost: None})
    with pytest.raises(WeightsMismatch, match=f"lacks {name}; is it for another"):
        load(str(alone))


def test_a_text_encoder_that_lacks_a_tensor_is_named(alone, photo, version):
    lost = {
        1: "cond_stage_model.transformer.text_model.encoder.layers.1.self_attn.q_proj.weight",
        2: "cond_stage_model.model.transformer.resblocks.1.attn.in_proj_weight",
    }[version]
    change(alone, **{lost: None})
    with pytest.raises(WeightsMismatch, match=r"lacks (text_model.)?encoder.layers.1.self_attn"):
        load(str(alone)).extract([photo], SIZE)


@pytest.mark.parametrize("prefix", [UNET, VAE, "cond_stage_model."])
def test_a_file_without_one_of_its_parts_is_refused(alone, prefix):
    tensors = {n: v for n, v in load_file(alone).items() if not n.startswith(prefix)}
    save_file(tensors, alone)
    with pytest.raises(
        ModelError, match=rf"which lacks {prefix}" if prefix != UNET else "expected"
    ):
        load(str(alone))


def test_a_file_of_xl_is_refused(alone):
    change(alone, **{"conditioner.embedders.1.model.positional_embedding": torch.zeros(2)})
    with pytest.raises(WeightsMismatch, match="got one of XL, .*folder in diffusers layout"):
        load(str(alone))


def test_a_model_for_inpainting_is_refused(alone):
    change(alone, **{f"{UNET}input_blocks.0.0.weight": torch.zeros(64, 9, 3, 3)})
    with pytest.raises(
        WeightsMismatch, match="for 4 channels of latents, got conv_in.weight for 9"
    ):
        load(str(alone))


def test_names_before_version_5_of_transformers_and_after_serve(path, alone, version, photo):
    if version == 2:
        return
    prefix = "cond_stage_model.transformer."
    tensors = load_file(alone)
    save_file({n.replace(f"{prefix}text_model.", prefix): v for n, v in tensors.items()}, alone)
    [one], [other] = (load(str(p), device="cpu").extract([photo], SIZE) for p in (path, alone))
    assert torch.equal(one.values, other.values)


def test_diffusers_own_conversion_gives_the_pipelines_tensors(path, version):
    """The file is what it claims to be: an independent reader finds the pipeline in it."""
    stored, pipeline = load_file(path), path.parent / "pipeline"
    unet = UNet2DConditionModel.from_pretrained(pipeline / "unet", dtype=torch.float16)
    vae = AutoencoderKL.from_pretrained(pipeline / "vae", dtype=torch.float16)
    equal(convert_ldm_unet_checkpoint(dict(stored), unet.config), unet.state_dict())
    equal(convert_ldm_vae_checkpoint(dict(stored), vae.config), vae.state_dict())
    text = CLIPTextModel.from_pretrained(pipeline / "text_encoder", dtype=torch.float16)
    if version == 1:
        found = convert_ldm_clip_checkpoint(dict(stored))
    else:
        found = convert_open_clip_checkpoint(text, dict(stored))
    wanted = bare(text.state_dict())
    equal({name: bare(found)[name] for name in wanted}, wanted)


def bare(tensors):
    return {name.removeprefix("text_model."): value for name, value in tensors.items()}


def equal(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.equal(found[name].reshape(value.shape).float(), value.float()), name


def shapes_below(prefix, tensors):
    return {name.removeprefix(prefix): tuple(value.shape) for name, value in tensors.items()}


def test_the_full_sizes_u_net_is_read_off_its_shapes(version):
    network = on_meta("UNet2DConditionModel", FULL_UNET[version])
    wanted = network.state_dict()
    shapes = shapes_below(UNET, original_unet(wanted, 3))
    config = unet_config(shapes)
    for name, value in config.items():
        published = network.config[name]
        assert value == (list(published) if isinstance(published, tuple) else published), name
    assert {unet_name(name, 3): shape for name, shape in shapes.items()} == {
        name: tuple(value.shape) for name, value in wanted.items()
    }
    assert "output_blocks.11.1.proj_out.weight" in shapes
    assert "output_blocks.8.2.conv.weight" in shapes
    assert "output_blocks.2.1.conv.weight" in shapes


def test_the_full_sizes_vae_is_read_off_its_shapes():
    network = on_meta("AutoencoderKL", FULL_VAE)
    shapes = shapes_below(VAE, original_vae(network.state_dict(), 4))
    assert vae_config(shapes) == {**FULL_VAE, "latent_channels": 4, "scaling_factor": 0.18215}
    assert {vae_name(name, 4) for name in shapes} == set(network.state_dict())
    assert shapes["decoder.up.0.block.0.nin_shortcut.weight"] == (128, 256, 1, 1)


def test_the_full_sizes_text_encoder_is_read_off_its_shapes(version):
    with torch.device("meta"):
        network = CLIPTextModel(CLIPTextConfig(**FULL_TEXT[version], **ENDS[version]))
    if version == 1:
        prefix = "cond_stage_model.transformer.text_model."
        shapes = shapes_below(prefix, original_clip(network.state_dict()))
    else:
        prefix = "cond_stage_model.model."
        stored = shapes_below(prefix, original_open_clip(network.state_dict()))
        assert stored["transformer.resblocks.23.attn.in_proj_weight"] == (3072, 1024)
        shapes = {open_clip_name(name): shape for name, shape in stored.items()}
    config = text_config(shapes, open_clip=version == 2)
    assert config == {**FULL_TEXT[version], **ENDS[version], "max_position_embeddings": 77}


def test_the_metadata_of_other_programs_does_not_matter(alone, photo):
    metadata = {"modelspec.title": "mine", "ss_sd_model_hash": json.dumps({"a": 1})}
    save_file(load_file(alone), alone, metadata)
    assert spec_of(str(alone)).family == "stable-diffusion"
