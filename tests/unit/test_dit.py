"""Diffusion transformers on tiny pipelines in the real layout, against plain diffusers."""

import gc
import json
import shutil

import diffusers
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from counterpoint.backbones import dit, dit_text, load
from counterpoint.backbones.dit import DiffusionTransformer, discard_massive
from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import (
    BadInput,
    MissingWeights,
    ModelError,
    UnknownName,
    WeightsMismatch,
)
from counterpoint.images import load_picture
from counterpoint.options import Options
from support.tiny_dit import write_tiny_flux, write_tiny_pixart, write_tiny_sd3

WRITERS = {
    "sd3": write_tiny_sd3,
    "sd3-without-t5": lambda folder: write_tiny_sd3(folder, t5=False),
    "flux": write_tiny_flux,
    "flux-schnell": lambda folder: write_tiny_flux(folder, guided=False),
    "pixart": write_tiny_pixart,
    "pixart-sigma": lambda folder: write_tiny_pixart(folder, sigma=True),
}
FAMILIES = ("sd3", "flux", "pixart")
PROMPT, T = "A photo of a cat", 260


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("dit")
    return {name: write(root / name) for name, write in WRITERS.items()}


@pytest.fixture(params=WRITERS)
def kind(request):
    return request.param


@pytest.fixture
def folder(folders, kind):
    return folders[kind]


@pytest.fixture
def crop(photo):
    return photo[:64, :96]


class Fixed:
    """The same draws for both sides of a comparison."""

    def draw(self, kind, picture_sha256, member, shape):
        seed = {"posterior": 1, "diffusion": 2}[kind]
        return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


class NoNoise:
    """Zeros: only the picture speaks."""

    def draw(self, kind, picture_sha256, member, shape):
        return torch.zeros(tuple(shape))


class Plain:
    """Diffusers and transformers as their users use them: whole networks, nothing cut short."""

    def __init__(self, folder, kind):
        self.kind = kind
        self.family = kind.split("-")[0]
        network = {
            "sd3": diffusers.SD3Transformer2DModel,
            "flux": diffusers.FluxTransformer2DModel,
            "pixart": diffusers.PixArtTransformer2DModel,
        }[self.family]
        self.net = network.from_pretrained(folder / "transformer")
        self.vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae")
        self.pipeline = getattr(self, f"_{self.family}_pipeline")(folder)

    def _common(self, folder):
        return {"vae": self.vae, "transformer": self.net}

    def _sd3_pipeline(self, folder):
        clips = {
            f"text_encoder{n}": transformers.CLIPTextModelWithProjection.from_pretrained(
                folder / f"text_encoder{n}"
            )
            for n in ("", "_2")
        }
        t5 = {"text_encoder_3": None, "tokenizer_3": None}
        if self.kind == "sd3":
            t5 = _t5(folder, "_3")
        return diffusers.StableDiffusion3Pipeline(
            **self._common(folder),
            **clips,
            **t5,
            tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            tokenizer_2=transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        )

    def _flux_pipeline(self, folder):
        return diffusers.FluxPipeline(
            **self._common(folder),
            **_t5(folder, "_2"),
            text_encoder=transformers.CLIPTextModel.from_pretrained(folder / "text_encoder"),
            tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        )

    def _pixart_pipeline(self, folder):
        sigma = self.kind == "pixart-sigma"
        cls = diffusers.PixArtSigmaPipeline if sigma else diffusers.PixArtAlphaPipeline
        scheduler = diffusers.DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler")
        return cls(**self._common(folder), **_t5(folder, ""), scheduler=scheduler)

    @torch.no_grad()
    def latents(self, rgb):
        pixels = torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255 * 2 - 1
        spread = self.vae.encode(pixels).latent_dist
        clean = spread.mean + spread.std * Fixed().draw("posterior", "", 0, spread.mean.shape)
        clean = (clean - (self.vae.config.shift_factor or 0)) * self.vae.config.scaling_factor
        noise = Fixed().draw("diffusion", "", 0, clean.shape)
        if self.family == "pixart":
            abar = diffusers.DDPMScheduler(beta_start=0.0001, beta_end=0.02).alphas_cumprod[T]
            return abar**0.5 * clean + (1 - abar) ** 0.5 * noise
        return (1 - T / 1000) * clean + T / 1000 * noise

    @torch.no_grad()
    def features(self, rgb, block):
        """What a plain hook sees: the stream into a block, and what its attention is fed."""
        seen = {}
        module = self.net.get_submodule(block)
        attention = getattr(module, "attn", None) or module.attn1

        def stream(_module, args, named):
            seen["raw"] = args[0] if args else named["hidden_states"]

        def modulated(_module, args, named):
            seen["dit"] = args[0] if args else named["hidden_states"]

        module.register_forward_pre_hook(stream, with_kwargs=True)
        attention.register_forward_pre_hook(modulated, with_kwargs=True)
        latents = self.latents(rgb)
        getattr(self, f"_{self.family}")(latents)
        rows, columns = latents.shape[2] // 2, latents.shape[3] // 2
        tokens = rows * columns  # the image's come last where the text's are beside them
        return {
            name: value[0, -tokens:].T.reshape(-1, rows, columns) for name, value in seen.items()
        }

    def _sd3(self, latents):
        embeds, _, pooled, _ = self.pipeline.encode_prompt(PROMPT, None, None)
        self.net(latents, embeds, pooled, torch.tensor([float(T)]))

    def _flux(self, latents):
        _, channels, height, width = latents.shape
        guided = self.kind == "flux"
        embeds, pooled, text_ids = self.pipeline.encode_prompt(
            PROMPT, max_sequence_length=512 if guided else 256
        )
        self.net(
            self.pipeline._pack_latents(latents, 1, channels, height, width),
            encoder_hidden_states=embeds,
            pooled_projections=pooled,
            timestep=torch.tensor([T / 1000]),
            img_ids=self.pipeline._prepare_latent_image_ids(
                1, height // 2, width // 2, "cpu", torch.float32
            ),
            txt_ids=text_ids,
            guidance=torch.tensor([3.5]) if guided else None,
        )

    def _pixart(self, latents):
        embeds, mask, _, _ = self.pipeline.encode_prompt(PROMPT, False)
        size = {"resolution": None, "aspect_ratio": None}
        if self.kind == "pixart":
            size = {
                "resolution": torch.tensor([[64.0, 96.0]]),
                "aspect_ratio": torch.tensor([[64 / 96]]),
            }
        self.net(
            latents,
            encoder_hidden_states=embeds,
            encoder_attention_mask=mask,
            timestep=torch.tensor([T]),
            added_cond_kwargs=size,
        )


def _t5(folder, which):
    return {
        f"text_encoder{which}": transformers.T5EncoderModel.from_pretrained(
            folder / f"text_encoder{which}"
        ),
        f"tokenizer{which}": transformers.T5TokenizerFast.from_pretrained(
            folder / f"tokenizer{which}"
        ),
    }


def blocks(kind):
    if kind.startswith("flux"):
        return {"block:1": "transformer_blocks.1", "single:2": "single_transformer_blocks.2"}
    return {"block:0": "transformer_blocks.0", "block:2": "transformer_blocks.2"}


def close(a, b):
    return (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_taps_equal_what_plain_hooks_see_in_plain_diffusers(folder, kind, crop):
    taps = [f"{name}{suffix}" for name in blocks(kind) for suffix in ("", ".raw")]
    options = Options(t=T, prompt=PROMPT, ensemble=1, fit="keep")
    [maps] = load(str(folder), device="cpu").extract_taps([crop], taps, options, Fixed())
    for name, module in blocks(kind).items():
        seen = Plain(folder, kind).features(crop, module)
        assert maps[f"{name}.raw"].values.shape == seen["raw"].shape
        assert close(maps[f"{name}.raw"].values, seen["raw"])
        # Without massive channels DiTF's feature is what the block feeds into its attention.
        assert close(maps[name].values, seen["dit"])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_block_has_two_taps_and_the_middle_one_is_the_default(folders, family):
    model = load(str(folders[family]), device="cpu")
    names = [tap.name for tap in model.taps]
    stems = {
        "sd3": [f"block:{i}" for i in range(4)],
        "flux": ["block:0", "block:1", "single:0", "single:1", "single:2"],
        "pixart": [f"block:{i}" for i in range(3)],
    }[family]
    assert names == [stem + suffix for stem in stems for suffix in ("", ".raw")]
    assert model.spec.tap == stems[len(stems) // 2]
    assert {tap.stride_px for tap in model.taps} == {16}


@pytest.mark.parametrize("family", FAMILIES)
def test_massive_activations_blind_plain_taps_but_not_ditf(folders, family, photo, tmp_path):
    folder = shutil.copytree(folders[family], tmp_path / "massive")
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    stem = "x_embedder" if family == "flux" else "pos_embed.proj"
    # What the picture says must count against positions, as it does after training.
    latent_scale = json.loads((folder / "vae/config.json").read_text())["scaling_factor"]
    tensors[f"{stem}.weight"] *= 15 / latent_scale
    typical = float(tensors[f"{stem}.weight"].abs().mean()) * 8
    tensors[f"{stem}.bias"][5] = 1000 * typical
    save_file(tensors, path)
    model = load(str(folder), device="cpu")
    tap = "single:0" if family == "flux" else "block:1"
    left, right = photo[40:168, 100:228], photo[40:168, 116:244]  # one cell further
    options = Options(t=0, ensemble=1, fit="keep")
    first, second = model.extract_taps([left, right], [tap, f"{tap}.raw"], options, NoNoise())

    def cosines(name):
        a, b = (m[name].normalised().values.flatten(1) for m in (first, second))
        return a.T @ b

    assert cosines(f"{tap}.raw").min() > 0.999
    # Both ends of the row are seen by one picture only; the border also by the VAE's padding.
    found = cosines(tap).argmax(dim=1).reshape(8, 8)[1:-1, 2:-1]
    expected = torch.arange(64).reshape(8, 8)[1:-1, 1:-2]
    assert (found == expected).float().mean() > 0.9
    assert cosines(tap).min() < 0.5


def test_massive_channels_are_set_to_zero_in_each_picture_by_itself():
    hidden = torch.randn(2, 50, 32, generator=torch.Generator().manual_seed(0))
    hidden[0, :, 7] -= 40
    cleaned = discard_massive(hidden, (3,))
    assert (cleaned[:, :, 3] == 0).all()
    assert (cleaned[0, :, 7] == 0).all()
    kept = [c for c in range(32) if c not in (3, 7)]
    assert torch.equal(cleaned[..., kept], hidden[..., kept])
    assert torch.equal(cleaned[1, :, 7], hidden[1, :, 7])


def test_published_channels_are_discarded_by_network_and_width(folders, crop, monkeypatch):
    model = load(str(folders["flux"]), device="cpu")
    options = Options(ensemble=1, fit="keep")
    taps = ["single:0", "single:0.raw"]
    [before] = model.extract_taps([crop], taps, options)
    monkeypatch.setitem(dit.PUBLISHED_CHANNELS, ("FluxTransformer2DModel", 16), (4, 9))
    [after] = model.extract_taps([crop], taps, options)
    assert torch.equal(before["single:0.raw"].values, after["single:0.raw"].values)
    # A channel of zeros before the layer norm: the norm's mean and deviation alone remain.
    stream = after["single:0.raw"].values.index_fill(0, torch.tensor([4, 9]), 0)
    zero = -stream.mean(0) / (stream.var(0, unbiased=False) + 1e-6).sqrt()
    for channel in (4, 9):
        line = after["single:0"].values[channel]
        fitted = np.polyfit(zero.flatten().numpy(), line.flatten().numpy(), 1)
        assert np.abs(np.polyval(fitted, zero.numpy()) - line.numpy()).max() < 1e-4
    assert not torch.allclose(before["single:0"].values, after["single:0"].values)


def test_a_large_channel_that_varies_is_kept():
    hidden = torch.randn(1, 400, 32, generator=torch.Generator().manual_seed(0))
    hidden[0, :, 7] *= 40
    assert torch.equal(discard_massive(hidden), hidden)


def test_what_lies_behind_the_last_tap_is_neither_run_nor_held(folder, kind, crop):
    model = load(str(folder), device="cpu")
    assert model.held_parameters() == 0
    flux = kind.startswith("flux")
    tap, last = ("single:1", "single_transformer_blocks.1") if flux else ("block:1", None)
    last = last or "transformer_blocks.1"
    model.extract([crop], Options(tap=f"{tap}.raw", ensemble=1, fit="keep"))
    held = {name for name, p in model.part.network.named_parameters() if not p.is_meta}
    assert not any(name.startswith(f"{last}.") for name in held)
    before = last.replace(".1", ".0")
    assert any(name.startswith(f"{before}.") for name in held)
    model.extract([crop], Options(tap=tap, ensemble=1, fit="keep"))
    more = {name for name, p in model.part.network.named_parameters() if not p.is_meta} - held
    suffix = "scale_shift_table" if "pixart" in kind else "norm" if flux else "norm1"
    assert more
    assert all(name.startswith(f"{last}.{suffix}") for name in more)
    behind = (last.replace(".1", ".2"), "norm_out", "proj_out")
    assert not any(name.startswith(behind) for name in held | more)
    assert all(p.is_meta for p in model.vae.network.decoder.parameters())


def test_text_encoders_are_gone_once_a_prompt_is_embedded(folders, crop, monkeypatch):
    model = load(str(folders["sd3"]), device="cpu")
    options = Options(ensemble=1, fit="keep")
    [empty] = model.extract([crop], options)
    encoders = (transformers.T5EncoderModel, transformers.CLIPTextModelWithProjection)
    assert not [o for o in gc.get_objects() if type(o) in encoders]
    [cat] = model.extract([crop], options.but(prompt="a cat"))
    assert not torch.equal(empty.values, cat.values)
    monkeypatch.setattr(dit_text.TextEncoders, "_run", lambda *_, **__: pytest.fail("again"))
    [again] = model.extract([crop], options.but(prompt="a cat"))
    assert torch.equal(again.values, cat.values)


def test_sd3_without_t5_says_so(folders, crop, caplog):
    load(str(folders["sd3-without-t5"]), device="cpu").extract([crop], Options(ensemble=1))
    assert "no text_encoder_3 (T5): zeros stand for it" in caplog.text


def test_the_size_is_told_to_alpha_and_changes_its_features(folders, crop, monkeypatch):
    options = Options(ensemble=1, fit="keep")
    model = load(str(folders["pixart"]), device="cpu")
    [told] = model.extract([crop], options)
    lie = {"resolution": torch.tensor([[9.0, 9.0]]), "aspect_ratio": torch.tensor([[1.0]])}
    monkeypatch.setattr(model, "_size_condition", lambda _: lie)
    [lied] = model.extract([crop], options)
    assert not torch.allclose(told.values, lied.values)


def test_flow_noise_is_a_straight_line(folders):
    model = load(str(folders["flux"]), device="cpu")
    clean, noise = torch.full((2,), 3.0), torch.full((2,), -1.0)
    assert torch.equal(model._add_noise(clean, noise, 0), clean)
    assert torch.allclose(model._add_noise(clean, noise, 250), torch.full((2,), 2.0))


def test_pixart_sees_as_much_noise_by_default_as_sd():
    linear = diffusers.DDPMScheduler(beta_start=0.0001, beta_end=0.02)
    sd = diffusers.DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    abar = float(linear.alphas_cumprod[ZOO["pixart"].t])
    assert abar == pytest.approx(float(sd.alphas_cumprod[261]), abs=0.005)


@pytest.mark.parametrize("family", FAMILIES)
def test_latents_survive_there_and_back(folders, family, crop):
    """Scale and shift cancel: the decoder sees what the encoder gave."""
    model = load(str(folders[family]), device="cpu")
    pixels = torch.from_numpy(load_picture(crop).rgb).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        posterior = model._encode(pixels)
        decoded = model.decode(posterior.mean * posterior.scale)
        plain = diffusers.AutoencoderKL.from_pretrained(folders[family] / "vae")
        expected = plain.decode(plain.encode(pixels).latent_dist.mean).sample
    assert close(decoded, expected)
    assert len(model.noisy(crop, [0, 999], Options(fit="keep"))) == 2


def test_the_vae_of_float16_runs_in_float32(folders, crop):
    model = load(str(folders["flux"]), device="cpu", dtype="float16")
    [fmap] = model.extract([crop], Options(ensemble=1, fit="keep"))
    assert fmap.values.dtype == torch.float16
    assert next(model.vae.network.encoder.parameters()).dtype == torch.float32
    held = [p for p in model.part.network.parameters() if not p.is_meta]
    assert {p.dtype for p in held} == {torch.float16}


def test_an_input_beyond_sd3s_positions_is_refused(folders):
    model = load(str(folders["sd3"]), device="cpu")
    wide = np.zeros((16, 2064, 3), np.uint8)
    with pytest.raises(BadInput, match=r"at most 2048 x 2048 pixels .* got 2064 x 16"):
        model.extract([wide], Options(fit="keep", ensemble=1))


def test_a_sentencepiece_vocabulary_alone_says_what_to_install(
    folders, tmp_path, crop, monkeypatch
):
    folder = shutil.copytree(folders["pixart"], tmp_path / "copy")
    (folder / "tokenizer" / "tokenizer.json").rename(folder / "tokenizer" / "spiece.model")
    monkeypatch.setattr(dit_text, "_importable", lambda _: False)
    with pytest.raises(ModelError, match="only spiece.model, .*install sentencepiece protobuf"):
        load(str(folder), device="cpu").extract([crop], Options(ensemble=1))


@pytest.mark.parametrize(
    ("lost", "error", "message"),
    [
        ("transformer/config.json", ModelError, "expected config.json of a FluxTransformer2D"),
        ("transformer/diffusion_pytorch_model.safetensors", MissingWeights, "found none"),
        ("vae/config.json", ModelError, "expected config.json of a AutoencoderKL"),
        ("tokenizer_2/tokenizer.json", ModelError, "expected a T5TokenizerFast"),
        ("text_encoder_2/model.safetensors", ModelError, "expected a T5EncoderModel"),
        ("text_encoder/config.json", WeightsMismatch, "expected a CLIPTextModel"),
    ],
)
def test_missing_parts_are_named(folders, tmp_path, crop, lost, error, message):
    folder = shutil.copytree(folders["flux"], tmp_path / "copy")
    (folder / lost).unlink()
    if lost.startswith("tokenizer"):
        shutil.rmtree(folder / "tokenizer_2")
    with pytest.raises(error, match=message):
        load(str(folder), device="cpu").extract([crop], Options(ensemble=1, fit="keep"))


def test_a_text_encoder_with_holes_is_refused(folders, tmp_path, crop, capfd):
    """Rather than filled with random numbers."""
    folder = shutil.copytree(folders["flux"], tmp_path / "copy")
    path = folder / "text_encoder_2" / "model.safetensors"
    tensors = load_file(path)
    del tensors["encoder.final_layer_norm.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsMismatch, match="lacks encoder.final_layer_norm.weight"):
        load(str(folder), device="cpu").extract([crop], Options(ensemble=1, fit="keep"))
    assert capfd.readouterr() == ("", "")


def test_another_network_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders["flux"], tmp_path / "copy")
    shutil.copy(folders["sd3"] / "transformer/config.json", folder / "transformer/config.json")
    with pytest.raises(UnknownName, match=r"'SD3Transformer2DModel'.*FluxTransformer2DModel"):
        load(str(folder), device="cpu")


def test_a_folders_family_is_what_its_pipeline_says(folders):
    assert {kind: spec_of(str(folder)).family for kind, folder in folders.items()} == {
        "sd3": "sd3",
        "sd3-without-t5": "sd3",
        "flux": "flux",
        "flux-schnell": "flux",
        "pixart": "pixart",
        "pixart-sigma": "pixart",
    }


@pytest.mark.parametrize("name", ["sd3", "sd35-medium", "sd35-large", "flux"])
def test_gated_models_say_so(name):
    with pytest.raises(MissingWeights, match="gated: accept the licence"):
        load(name, device="cpu")


SD3 = {
    "_class_name": "SD3Transformer2DModel",
    "sample_size": 128,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
FLUX = {"_class_name": "FluxTransformer2DModel", "num_layers": 19, "num_single_layers": 38}
PIXART = {
    "_class_name": "PixArtTransformer2DModel",
    "num_layers": 28,
    "caption_channels": 4096,
    "sample_size": 128,
}
FULL_SIZE = {
    "sd3": SD3,
    "sd35-medium": SD3
    | {
        "pos_embed_max_size": 384,
        "qk_norm": "rms_norm",
        "dual_attention_layers": list(range(13)),
    },
    "sd35-large": SD3
    | {
        "num_layers": 38,
        "num_attention_heads": 38,
        "caption_projection_dim": 2432,
        "qk_norm": "rms_norm",
    },
    "flux": FLUX | {"guidance_embeds": True},
    "flux-schnell": FLUX | {"guidance_embeds": False},
    "pixart": PIXART | {"_class_name": "Transformer2DModel"},
    "pixart-sigma": PIXART | {"interpolation_scale": 2, "use_additional_conditions": False},
}
SIZES = {  # millions of parameters, blocks, channels
    "sd3": (2028, 24, 1536),
    "sd35-medium": (2243, 24, 1536),
    "sd35-large": (8057, 38, 2432),
    "flux": (11901, 57, 3072),
    "flux-schnell": (11891, 57, 3072),
    "pixart": (611, 28, 1152),
    "pixart-sigma": (611, 28, 1152),
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_the_published_sizes_are_built_without_memory(name, tmp_path):
    model = full_size(name, tmp_path)
    millions, depth, channels = SIZES[name]
    network = model.part.network
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == millions
    assert all(p.is_meta for p in network.parameters())
    assert len(model.taps) == 2 * depth
    assert {(tap.channels, tap.stride_px) for tap in model.taps} == {(channels, 16)}
    # The default is the middle block by one rule for folders and rows: DiTF's choice for FLUX.
    assert model.spec.tap == ZOO[name].tap
    if name.startswith("flux"):
        assert model.spec.tap == "single:9"


def full_size(name, folder) -> DiffusionTransformer:
    """A pipeline's folder with the published configuration and no tensors."""
    family = ZOO[name].family
    pixart = family == "pixart"
    vae = {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": 4 if pixart else 16,
        "use_quant_conv": pixart,
        "use_post_quant_conv": pixart,
    }
    pipeline = {"sd3": "StableDiffusion3", "flux": "Flux", "pixart": "PixArtAlpha"}[family]
    (folder / "model_index.json").write_text(json.dumps({"_class_name": f"{pipeline}Pipeline"}))
    for part, config in {"transformer": FULL_SIZE[name], "vae": vae}.items():
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps(config))
        save_file({}, folder / part / "diffusion_pytorch_model.safetensors")
    return load(str(folder), device="cpu")
