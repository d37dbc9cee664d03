"""What is known of a model before it is loaded: a row of the zoo."""

from dataclasses import dataclass
from typing import Literal

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
    "superpoint",
    "aliked",
    "disk",
    "xfeat",
    "own",
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
        family: which backbone class runs it; "own": one that is no part of this package.
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
