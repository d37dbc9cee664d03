"""Vision transformers: tiny checkpoints in the hub's layout, full-size ones without weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from published import VITS
from safetensors.torch import load_file, save_file
from torch.nn.functional import layer_norm, linear

from counterpoint.backbones import load
from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.vit import FACETS, network_on_meta, taps_of
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import MissingWeights, ModelError, UnknownName, WeightsMismatch
from counterpoint.options import Options
from support.tiny_vit import LAYERS, WIDTH, write_preprocessor, write_tiny_vit

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
HALF = ([0.5] * 3, [0.5] * 3)

# By kind: transformers' class for the image half, patch, tokens before the patches, colours, and
# the published names of a layer, its first normalisation and its attention's projections.
VIT_NAMES = ("encoder.layer.{}.", "layernorm_before", "attention.attention.{}")
DINOV2_NAMES = ("encoder.layer.{}.", "norm1", "attention.attention.{}")
DINOV3_NAMES = ("layer.{}.", "norm1", "attention.{:.1}_proj")
CLIP_NAMES = ("vision_model.encoder.layers.{}.", "layer_norm1", "self_attn.{:.1}_proj")
BARE_NAMES = ("encoder.layers.{}.", "layer_norm1", "self_attn.{:.1}_proj")
KINDS = {
    "dino": ("ViTModel", 8, 1, IMAGENET, VIT_NAMES),
    "dinov2": ("Dinov2Model", 14, 1, IMAGENET, DINOV2_NAMES),
    "dinov2-giant": ("Dinov2Model", 14, 1, IMAGENET, DINOV2_NAMES),
    "dinov2-reg": ("Dinov2WithRegistersModel", 14, 5, IMAGENET, DINOV2_NAMES),
    "dinov3": ("DINOv3ViTModel", 16, 5, IMAGENET, DINOV3_NAMES),
    "clip": ("CLIPVisionModel", 14, 1, CLIP, CLIP_NAMES),
    "clip-vision": ("CLIPVisionModel", 14, 1, CLIP, BARE_NAMES),
    "siglip": ("SiglipVisionModel", 16, 0, HALF, CLIP_NAMES),
    "siglip2-naflex": ("Siglip2VisionModel", 16, 0, HALF, CLIP_NAMES),
}
NATIVE = 4  # patches a side that the tiny models were made for
GRIDS = {"native": (NATIVE, NATIVE), "other": (7, 5), "turned": (2, 8)}
TAPS = [*(f"vit:{i}" for i in range(LAYERS)), "vit:norm"]


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = write_tiny_vit(tmp_path_factory.mktemp(kind), kind)
        return made[kind]

    return folder


@pytest.fixture(scope="module")
def dino(folders):
    return folders("dino")


@pytest.fixture
def copy(dino, tmp_path):
    return shutil.copytree(dino, tmp_path / "copy")


def picture_of(grid, patch):
    rows, columns = grid
    rng = np.random.default_rng(rows)
    return rng.integers(0, 256, (rows * patch, columns * patch, 3), dtype=np.uint8)


def original(folder, kind, picture, *, plain=False):
    """Every layer's tokens from the whole model as transformers loads and runs it.

    Args:
        folder: of the checkpoint.
        kind: key of `KINDS`.
        picture: (rows, columns, 3), uint8.
        plain: without asking for interpolation, as at the training's own size.

    Returns:
        The input of layer 0 and the outputs of all layers; the model.
    """
    class_name, patch, _, (mean, std), _ = KINDS[kind]
    model = getattr(transformers, class_name).from_pretrained(folder).eval()
    pixels = torch.from_numpy(picture.astype(np.float32) / 255)
    pixels = ((pixels - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1)[None]
    arguments = {"pixel_values": pixels}
    if kind == "siglip2-naflex":
        from transformers.models.siglip2.image_processing_pil_siglip2 import (
            convert_image_to_patches,
        )

        patches = torch.from_numpy(convert_image_to_patches(pixels[0].numpy(), patch))[None]
        shape = [side // patch for side in picture.shape[:2]]
        arguments = {
            "pixel_values": patches,
            "pixel_attention_mask": torch.ones(patches.shape[:2], dtype=torch.int32),
            "spatial_shapes": torch.tensor([shape]),
        }
    elif class_name in ("ViTModel", "CLIPVisionModel", "SiglipVisionModel") and not plain:
        arguments["interpolate_pos_encoding"] = True
    with torch.inference_mode():
        output = model(**arguments, output_hidden_states=True)
    return output.hidden_states, output.last_hidden_state, model


def as_grid(tokens, kind, grid):
    """(1, tokens, channels) to (channels, rows, columns), the special tokens counted off."""
    return tokens[0, KINDS[kind][2] :].T.reshape(-1, *grid)


def assert_equal(got, expected):
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("size", GRIDS)
def test_tokens_equal_the_whole_models(folders, kind, size):
    grid, patch = GRIDS[size], KINDS[kind][1]
    picture = picture_of(grid, patch)
    states, last, model = original(folders(kind), kind, picture, plain=size == "native")
    backbone = load(str(folders(kind)), device="cpu")
    assert (backbone.multiple, len(states)) == (patch, LAYERS + 1)
    [maps] = backbone.extract_taps([picture], TAPS, Options(fit="keep"))
    for layer in range(LAYERS):
        assert_equal(maps[f"vit:{layer}"].values, as_grid(states[layer + 1], kind, grid))
    if "clip" in kind:  # CLIP normalises its class token only
        with torch.inference_mode():
            last = getattr(model, "vision_model", model).post_layernorm(last)
    assert_equal(maps["vit:norm"].values, as_grid(last, kind, grid))


@pytest.mark.parametrize("layer", range(LAYERS))
def test_facets_are_the_stored_projections_of_the_layers_input(folders, kind, layer):
    grid, patch = GRIDS["other"], KINDS[kind][1]
    picture = picture_of(grid, patch)
    states, _, model = original(folders(kind), kind, picture)
    stored = load_file(folders(kind) / "model.safetensors")
    prefix, norm, projection = KINDS[kind][4]
    prefix = prefix.format(layer)
    weight, bias = (stored[f"{prefix}{norm}.{part}"] for part in ("weight", "bias"))
    read = layer_norm(states[layer], (WIDTH,), weight, bias, model.config.layer_norm_eps)
    taps = [f"vit:{layer}.{facet}" for facet in FACETS]
    [maps] = load(str(folders(kind)), device="cpu").extract_taps(
        [picture], taps, Options(fit="keep")
    )
    for facet, tap in zip(FACETS, taps, strict=True):
        name = f"{prefix}{projection.format(facet)}"
        expected = linear(read, stored[f"{name}.weight"], stored.get(f"{name}.bias"))
        assert_equal(maps[tap].values, as_grid(expected, kind, grid))


def test_taps_read_together_equal_taps_read_alone(folders, kind):
    picture = picture_of((3, 4), KINDS[kind][1])
    model = load(str(folders(kind)), device="cpu")
    [maps] = model.extract_taps([picture], [tap.name for tap in model.taps], Options(fit="keep"))
    for name, fmap in maps.items():
        fresh = load(str(folders(kind)), device="cpu")
        [alone] = fresh.extract([picture], Options(fit="keep", tap=name))
        assert torch.equal(alone.values, fmap.values)


def test_any_size_is_padded_to_whole_patches(folders, kind, photo):
    model = load(str(folders(kind)), device="cpu")
    [fmap] = model.extract([photo[:50, :71]], Options(fit="keep"))
    assert fmap.grid_wh == tuple(-(-side // model.multiple) for side in (71, 50))
    assert fmap.valid is not None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_follows_at_every_tap(folders, kind, dtype):
    picture = picture_of((7, 5), KINDS[kind][1])
    full, half = (load(str(folders(kind)), device="cpu", dtype=d) for d in ("float32", dtype))
    names = [tap.name for tap in full.taps]
    [a], [b] = (m.extract_taps([picture], names, Options(fit="keep")) for m in (full, half))
    for name in names:
        cosine = torch.cosine_similarity(a[name].values, b[name].values.float(), dim=0)
        assert cosine.median() > 0.99


def held(model):
    return {name for name, p in model._net.named_parameters() if not p.is_meta}


def test_what_lies_behind_the_last_tap_is_neither_run_nor_held(folders, kind, photo):
    model = load(str(folders(kind)), device="cpu")
    layers = next(
        m for m in model._net.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == LAYERS
    )
    ran = []
    for number, layer in enumerate(layers):
        layer.mlp.register_forward_pre_hook(lambda *_, n=number: ran.append(n))
    assert model.held_parameters() == 0
    model.extract([photo], Options(size=64, tap="vit:1.key"))
    assert ran == [0]
    inside = {name for name in held(model) if ".1." in name}
    assert {name.split(".1.")[1].rpartition(".")[0] for name in inside} == {
        next(n for n, _ in layers[1].named_children() if "norm" in n),
        next(n for n, _ in layers[1].named_modules() if n.endswith("k_proj")),
    }
    assert not any(".2." in name or "head" in name or "pool" in name for name in held(model))
    key_only = model.held_parameters()
    model.extract([photo], Options(size=64, tap="vit:1"))
    assert ran == [0, 0, 1]
    assert not any(".2." in name for name in held(model))
    assert model.held_parameters() > key_only


def test_a_later_tap_is_loaded_when_it_is_asked_for(dino, photo):
    model = load(str(dino), device="cpu")
    model.extract([photo], Options(size=64, tap="vit:0.query"))
    [late] = model.extract([photo], Options(size=64, tap="vit:norm"))
    [direct] = load(str(dino), device="cpu").extract([photo], Options(size=64, tap="vit:norm"))
    assert torch.equal(late.values, direct.values)


def test_colours_are_normalised_as_the_checkpoint_says(copy, photo):
    options = Options(size=64, tap="vit:0")
    [default] = load(str(copy), device="cpu").extract([photo], options)
    write_preprocessor(copy, *IMAGENET)
    [said] = load(str(copy), device="cpu").extract([photo], options)
    assert torch.equal(default.values, said.values)
    write_preprocessor(copy, *HALF)
    [other] = load(str(copy), device="cpu").extract([photo], options)
    assert not torch.allclose(default.values, other.values)
    write_preprocessor(copy, [0.5], [0.5])
    with pytest.raises(ModelError, match=r"image_mean and image_std of three colours in .*\[0.5\]"):
        load(str(copy))


def test_sharded_bin_renamed_and_headed_checkpoints_give_the_same(dino, copy, photo, tmp_path):
    options = Options(size=64, tap="vit:norm")
    [expected] = load(str(dino), device="cpu").extract([photo], options)
    sharded = write_tiny_vit(tmp_path / "sharded", "dino", shard_size="50KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    file = copy / "model.safetensors"
    stored = load_file(file)
    model = transformers.ViTModel.from_pretrained(dino)
    for number, tensors in enumerate(
        (
            dict(model.state_dict()),  # transformers' names of today
            {f"vit.{name}": value for name, value in stored.items()},  # under a classifier
        )
    ):
        save_file(tensors, shutil.copytree(copy, tmp_path / str(number)) / file.name)
    torch.save(stored, copy / "pytorch_model.bin")
    file.unlink()
    for folder in (sharded, copy, tmp_path / "0", tmp_path / "1"):
        [got] = load(str(folder), device="cpu").extract([photo], options)
        assert torch.equal(got.values, expected.values)


def test_a_checkpoint_of_another_network_says_what_differs(copy, photo, folders):
    file = copy / "model.safetensors"
    stored = load_file(file)
    name = "embeddings.patch_embeddings.projection.weight"
    save_file({**stored, name: torch.zeros(16, 3, 8, 8)}, file)
    with pytest.raises(WeightsMismatch, match=rf"{name} \(16, 3, 8, 8\), expected \(32, 3, 8, 8\)"):
        load(str(copy), device="cpu").extract([photo], Options(size=64))
    save_file({key: value for key, value in stored.items() if key != name}, file)
    with pytest.raises(WeightsMismatch, match=f"lacks {name}; is it for another") as raised:
        load(str(copy), device="cpu").extract([photo], Options(size=64))
    assert "\n" not in str(raised.value)
    shutil.copy(folders("dinov2") / "model.safetensors", file)
    with pytest.raises(WeightsMismatch, match=r"lacks .*layernorm_after"):
        load(str(copy), device="cpu").extract([photo], Options(size=64))


def test_a_text_half_alone_lacks_the_image_half(folders, tmp_path, photo):
    folder = shutil.copytree(folders("clip"), tmp_path / "text")
    stored = load_file(folder / "model.safetensors")
    text = {name: value for name, value in stored.items() if name.startswith("text_model.")}
    save_file(text, folder / "model.safetensors")
    with pytest.raises(WeightsMismatch, match="lacks .*embeddings.class_embedding"):
        load(str(folder), device="cpu").extract([photo], Options(size=64))


def test_text_networks_are_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip_text_model"}))
    with pytest.raises(UnknownName, match=r"model_type in .*'clip_text_model'.* Known: vit, dinov"):
        load(str(tmp_path))


def test_damaged_configurations_are_named(copy):
    config = copy / "config.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps({**said, "hidden_size": "wide"}))
    with pytest.raises(ModelError, match="expected the configuration of a ViTModel in") as raised:
        load(str(copy))
    assert "\n" not in str(raised.value)
    (copy / "preprocessor_config.json").write_text("{")
    config.write_text(json.dumps(said))
    with pytest.raises(ModelError, match=r"expected JSON in .*preprocessor_config.json"):
        load(str(copy))


def test_missing_weights_are_named(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(MissingWeights, match="expected weights"):
        load(str(copy))


@pytest.mark.parametrize(
    ("kind", "tap"),
    [
        ("dino", "vit:2.key"),
        ("dinov2", "vit:2"),
        ("dinov2-giant", "vit:2"),
        ("dinov2-reg", "vit:2"),
        ("dinov3", "vit:norm"),
        ("clip", "vit:2"),
        ("clip-vision", "vit:2"),
        ("siglip", "vit:2"),
        ("siglip2-naflex", "vit:2"),
    ],
)
def test_a_folder_is_recognised_by_its_configuration(folders, kind, tap):
    spec = spec_of(str(folders(kind)))
    assert (spec.family, spec.tap, spec.name) == ("vit", tap, str(folders(kind)))
    assert spec.layout == "model"
    assert not spec.hub_ids


def test_configurations_that_leave_out_what_is_usual_are_read(tmp_path):
    config = {"model_type": "siglip", "vision_config": {"model_type": "siglip_vision_model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert spec_of(str(tmp_path)).tap == "vit:9"
    assert len(taps_of(network_on_meta(config))) == 12 * 4 + 1


def test_a_known_hub_id_has_its_rows_settings():
    spec = spec_of("facebook/dinov2-base")
    assert (spec.family, spec.tap, spec.name) == ("vit", "vit:11", "facebook/dinov2-base")
    assert spec_of("google/siglip2-base-patch16-512").size_wh == (512, 512)


def test_gated_weights_say_so():
    with pytest.raises(MissingWeights, match=r"dinov3-vitb16 are not on this .*accept the licence"):
        load("dinov3-vitb16")


MILLIONS = {  # of parameters; of image-text models the image half's
    "dino-vitb8": 86.4,
    "dinov2-vits14": 22.1,
    "dinov2-vitb14": 86.6,
    "dinov2-vitl14": 304.4,
    "dinov2-vitg14": 1136.5,
    "dinov2-vits14-reg": 22.1,
    "dinov2-vitb14-reg": 86.6,
    "dinov2-vitl14-reg": 304.4,
    "dinov2-vitg14-reg": 1136.5,
    "dinov3-vits16": 21.6,
    "dinov3-vitb16": 85.7,
    "dinov3-vitl16": 303.1,
    "openclip-vith14": 630.8,
    "siglip2-base-patch16-224": 92.9,
    "siglip2-base-patch16-512": 93.5,
    "siglip2-large-patch16-512": 316.8,
    "siglip2-so400m-patch14-384": 428.2,
    "siglip2-so400m-patch16-512": 428.8,
    "siglip2-base-patch16-naflex": 92.9,
    "siglip2-so400m-patch16-naflex": 427.9,
}


def test_every_row_has_its_configuration_here():
    assert set(VITS) == set(MILLIONS) == {name for name, row in ZOO.items() if row.family == "vit"}


@pytest.mark.parametrize("name", VITS)
def test_full_size_networks_have_the_rows_taps(name):
    config, millions = VITS[name], MILLIONS[name]
    network = network_on_meta(config)
    vision = config.get("vision_config", config)
    taps = {tap.name: tap for tap in taps_of(network)}
    assert len(taps) == 4 * vision["num_hidden_layers"] + 1
    assert {tap.channels for tap in taps.values()} == {vision["hidden_size"]}
    assert {tap.stride_px for tap in taps.values()} == {vision["patch_size"]}
    assert ZOO[name].tap in taps
    assert all(side % vision["patch_size"] == 0 for side in ZOO[name].size_wh)
    parameters = list(network.parameters())
    assert all(p.is_meta for p in parameters)
    assert sum(p.numel() for p in parameters) / 1e6 == pytest.approx(millions, abs=0.1)
