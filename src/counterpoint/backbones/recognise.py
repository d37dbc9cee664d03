"""From what a person types to a row: a name, a folder, a file, a hub id, or two as one."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from counterpoint.backbones.spec import ModelSpec
from counterpoint.backbones.zoo import (
    FLUX,
    PIXART,
    SD3,
    SDXL,
    STABLE_DIFFUSION,
    VAE,
    VIT,
    ZOO,
    vit_tap,
)
from counterpoint.errors import BadInput, UnknownName

_PIPELINES: dict[str, ModelSpec] = {
    "StableDiffusionXLPipeline": SDXL,
    "AutoencoderKL": VAE,
    "StableDiffusion3Pipeline": SD3,
    "FluxPipeline": FLUX,
    "PixArtAlphaPipeline": PIXART,
    "PixArtSigmaPipeline": PIXART,
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
        found = _PIPELINES.get(_class_of(path), STABLE_DIFFUSION)
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
        known = next((row for row in ZOO.values() if model in row.hub_ids), STABLE_DIFFUSION)
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
        summary=f"{VIT.summary}, from a folder",
        licence="see the model's own card",
        hub_ids=(),
        note="",
        tap=vit_tap(model_type, layers),
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
        row = replace(
            STABLE_DIFFUSION, summary="a Stable Diffusion checkpoint of one file", layout="file"
        )
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
