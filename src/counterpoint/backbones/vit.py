"""Vision transformers: DINO, DINOv2, DINOv3, CLIP and SigLIP, as transformers' classes run them.

A network is built on the ``meta`` device, which costs no memory, and only what runs is ever given
weights: the embeddings and the layers up to the last tap asked for. Of checkpoints that hold an
image and a text half, only the image half is read.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from counterpoint.backbones.base import Tap
from counterpoint.backbones.hooks import run_to_taps
from counterpoint.backbones.network import Batch, CleanBackbone, Setting, Taps
from counterpoint.backbones.weights import TensorFiles, joint_sha256, resolve_weights
from counterpoint.errors import ModelError, UnknownName

RGBTriple = tuple[float, float, float]
Input = dict[str, Any]

FACETS = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
"""The attention's projections that are taps, and their modules."""


def _pixels(pixels: Tensor, patch: int) -> Input:  # noqa: ARG001
    return {"pixel_values": pixels}


def _interpolated(pixels: Tensor, patch: int) -> Input:  # noqa: ARG001
    return {"pixel_values": pixels, "interpolate_pos_encoding": True}


def _patches(pixels: Tensor, patch: int) -> Input:
    """Patches as rows, each (row, column, channel) flattened: what NaFlex models take."""
    batch, _, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    split = pixels.reshape(batch, 3, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": split.reshape(batch, rows * columns, patch * patch * 3),
        "pixel_attention_mask": None,
        "spatial_shapes": torch.tensor([[rows, columns]] * batch),
    }


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What differs between architectures.

    Attributes:
        config: transformers' class of the configuration.
        model: transformers' class of the network.
        input: from normalised pixels and the patch size to the network's arguments.
        mean: of the training pictures' colours, where no preprocessor_config.json says it.
        std: likewise.
    """

    config: str
    model: str
    input: Callable[[Tensor, int], Input]
    mean: RGBTriple = (0.485, 0.456, 0.406)
    std: RGBTriple = (0.229, 0.224, 0.225)


_VIT = _Kind(config="ViTConfig", model="ViTModel", input=_interpolated)
_DINOV2 = _Kind(config="Dinov2Config", model="Dinov2Model", input=_pixels)
_REGISTERS = _Kind(
    config="Dinov2WithRegistersConfig", model="Dinov2WithRegistersModel", input=_pixels
)
_DINOV3 = _Kind(config="DINOv3ViTConfig", model="DINOv3ViTModel", input=_pixels)
_CLIP = _Kind(
    config="CLIPVisionConfig",
    model="CLIPVisionModel",
    input=_interpolated,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
_HALF = (0.5, 0.5, 0.5)
_SIGLIP = _Kind(
    config="SiglipVisionConfig",
    model="SiglipVisionModel",
    input=_interpolated,
    mean=_HALF,
    std=_HALF,
)
_NAFLEX = _Kind(
    config="Siglip2VisionConfig", model="Siglip2VisionModel", input=_patches, mean=_HALF, std=_HALF
)

KINDS: dict[str, _Kind] = {
    "vit": _VIT,
    "dinov2": _DINOV2,
    "dinov2_with_registers": _REGISTERS,
    "dinov3_vit": _DINOV3,
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    # SigLIP 2 of fixed resolution is published as "siglip"; only the NaFlex models are "siglip2".
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _NAFLEX,
    "siglip2_vision_model": _NAFLEX,
}
"""By the ``model_type`` of a checkpoint's config.json."""


class VisionTransformer(CleanBackbone):
    """A vision transformer in the hub's transformers layout (config.json, model.safetensors).

    Taps: "vit:L", the tokens after layer L, counted from 0; "vit:L.query", "vit:L.key" and
    "vit:L.value", what layer L's attention projects, heads one after the other, before any rotary
    embedding; "vit:norm", the last layer's tokens through the network's final normalisation (which
    CLIP itself applies to its class token only). Class and register tokens are dropped.

    At other sizes than the training's, position embeddings are interpolated as transformers does
    it: bicubic (SigLIP 2 NaFlex: bilinear; DINOv3 has rotary ones instead). The authors' own DINO
    and DINOv2 code adds a tenth of a cell to the grid's size first, which moves the embeddings by
    less than that.
    """

    def _build(self, download: bool) -> None:
        self.folder = resolve_weights(self.spec, download=download)
        config = _read_json(self.folder / "config.json")
        self._kind = _kind_of(config, self.folder)
        self._net = network_on_meta(config, self.folder)
        _fill_buffers(self._net, self.device)
        self._files = _Files(self.folder, self._net)
        self._names = {_canonical(name): name for name, _ in self._net.named_modules()}
        self._taps = taps_of(self._net)
        self._depth: int = self._net.config.num_hidden_layers
        self.multiple = _patch_px(self._net)
        self._mean, self._std = (
            colour.to(self.device) for colour in _colours(self.folder, self._kind)
        )

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Every layer's projections and output, then the normalised output."""
        return self._taps

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the weights' files, a text half included."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return joint_sha256(self._files.paths)

    def held_parameters(self) -> int:
        """Parameters that are in memory now."""
        return sum(p.numel() for p in self._net.parameters() if not p.is_meta)

    def _forward(self, batch: Batch, setting: Setting) -> Taps:
        order = [tap.name for tap in self.taps]
        places = {tap: self._place(tap) for tap in setting.taps}
        last = places[max(setting.taps, key=order.index)]
        self._files.fill(self._net, self._modules_to(last, places), self.device, self.dtype)
        pixels = ((batch.pixels - self._mean) / self._std).to(self.dtype)
        found = run_to_taps(
            {tap: self._module(place.read) for tap, place in places.items()},
            self._module(last.read),
            lambda: self._net(**self._kind.input(pixels, self.multiple)),
        )
        rows, columns = (side // self.multiple for side in pixels.shape[2:])
        return {
            tap: _to_grid(self._module(place.then)(found[tap]), rows, columns)
            if place.then
            else _to_grid(found[tap], rows, columns)
            for tap, place in places.items()
        }

    def _place(self, tap: str) -> "_Place":
        where, _, facet = tap.removeprefix("vit:").partition(".")
        if where == "norm":
            return _Place(self._depth - 1, f"layers.{self._depth - 1}", "norm")
        if not facet:
            return _Place(int(where), f"layers.{where}")
        # Not the projection's own output: in what order they run differs between versions.
        return _Place(
            int(where), f"layers.{where}.norm1", f"layers.{where}.attention.{FACETS[facet]}"
        )

    def _modules_to(self, last: "_Place", places: "dict[str, _Place]") -> list[str]:
        """Names of the modules that run."""
        before = ["embeddings", "pre_layrnorm", *(f"layers.{i}" for i in range(last.layer))]
        after = [place.then for place in places.values() if place.then]
        return [self._names[name] for name in (*before, last.read, *after) if name in self._names]

    def _module(self, canonical: str) -> nn.Module:
        return self._net.get_submodule(self._names[canonical])


@dataclass(frozen=True)
class _Place:
    """Where a tap comes from: modules by their canonical names.

    Attributes:
        layer: from 0.
        read: the module whose output is read.
        then: the module that the output still goes through, if any.
    """

    layer: int
    read: str
    then: str = ""


def network_on_meta(config: dict[str, Any], source: str | Path = "config.json") -> Any:
    """The image network of a checkpoint's config.json, without memory or weights.

    Args:
        config: as parsed; of image-text models the part for images is taken.
        source: for messages.

    Raises:
        UnknownName: a ``model_type`` that is not among `KINDS`.
        ModelError: values that do not fit.
    """
    kind = _kind_of(config, source)
    settings_class, network_class = _transformers(kind.config), _transformers(kind.model)
    try:
        settings = settings_class.from_dict(config.get("vision_config", config))
        with torch.device("meta"):
            network = network_class(settings)
    except Exception as error:  # transformers' checks of a configuration raise many kinds
        raise ModelError(
            f"expected the configuration of a {kind.model} in {source}: "
            f"{' '.join(str(error).split())}"
        ) from error
    return network.eval().requires_grad_(False)


def taps_of(network: Any) -> tuple[Tap, ...]:
    """Every tap of a network, in the order of the forward pass."""
    stride_px = _patch_px(network)
    width: int = network.config.hidden_size
    found: list[Tap] = []
    for layer in range(network.config.num_hidden_layers):
        found += [Tap(f"vit:{layer}.{facet}", width, stride_px) for facet in FACETS]
        found.append(Tap(f"vit:{layer}", width, stride_px))
    return (*found, Tap("vit:norm", width, stride_px))


def _patch_px(network: Any) -> int:
    """Side of a patch, pixels."""
    patch = network.config.patch_size
    return patch if isinstance(patch, int) else patch[0]


def _kind_of(config: dict[str, Any], source: str | Path) -> _Kind:
    model_type = str(config.get("model_type"))
    if model_type not in KINDS:
        raise UnknownName(f"model_type in {source}", model_type, KINDS)
    return KINDS[model_type]


def _transformers(name: str) -> Any:
    import transformers

    try:
        return getattr(transformers, name)
    except (AttributeError, ImportError, RuntimeError) as error:
        raise ModelError(
            f"cannot import {name} from transformers {transformers.__version__}: it takes 5.0 or "
            "later, and no torchvision made for another torch (counterpoint needs none)"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"expected JSON in {path}: {error}; fetch it again") from error
    if not isinstance(read, dict):
        raise ModelError(f"expected a JSON object in {path}, got {type(read).__name__}")
    return read


def _colours(folder: Path, kind: _Kind) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of red, green and blue from 0 to 1, each (3, 1, 1)."""
    path = folder / "preprocessor_config.json"
    said = _read_json(path) if path.is_file() else {}
    mean, std = said.get("image_mean", kind.mean), said.get("image_std", kind.std)
    try:
        return torch.tensor(mean).reshape(3, 1, 1), torch.tensor(std).reshape(3, 1, 1)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"expected image_mean and image_std of three colours in {path}, got {mean} and {std}"
        ) from error


def _fill_buffers(network: nn.Module, device: torch.device) -> None:
    """Give the buffers that no checkpoint holds their values, which the meta device cannot."""
    for name, module in list(network.named_modules()):
        ids = module._buffers.get("position_ids")
        if ids is not None:
            module._buffers["position_ids"] = torch.arange(ids.shape[-1], device=device)[None]
        if "inv_freq" in module._buffers:  # rotary embeddings: no weights, so made anew
            made: Any = type(module)
            network.set_submodule(name, made(module.config).to(device).eval())


def _to_grid(
    tokens: Float[Tensor, "batch tokens channels"], rows: int, columns: int
) -> Float[Tensor, "batch channels rows columns"]:
    """The patches' tokens as a grid; class and register tokens come first and are dropped."""
    patches = tokens[:, -rows * columns :]
    return patches.mT.reshape(len(tokens), -1, rows, columns).contiguous()


# Checkpoints keep the names of their day, transformers has renamed its modules more than once:
# both sides are brought to one spelling, which is nearly today's.
_SPELLINGS = (
    (r"^(vision_model|vit|dinov2|dinov2_with_registers)\.", ""),
    (r"^(encoder|model)\.(?=layer)", ""),
    (r"^layer\.", "layers."),
    (r"\.(layernorm_before|layer_norm1)\b", ".norm1"),
    (r"\.(self_attn|attention\.attention)\b", ".attention"),
    (r"\.attention\.query\b", ".attention.q_proj"),
    (r"\.attention\.key\b", ".attention.k_proj"),
    (r"\.attention\.value\b", ".attention.v_proj"),
    (r"\.attention\.output\.dense\b", ".attention.o_proj"),
    (r"\.intermediate\.dense\b", ".mlp.fc1"),
    (r"\.output\.dense\b", ".mlp.fc2"),
    (r"\.mlp\.weights_out\b", ".mlp.down_proj"),
    (r"^(layernorm|post_layernorm)\b", "norm"),
)


def _canonical(name: str) -> str:
    for pattern, spelling in _SPELLINGS:
        name = re.sub(pattern, spelling, name)
    return name


class _Files(TensorFiles):
    """A checkpoint's tensors under the names of a network in memory.

    DINOv2's giant stores the two input projections of its gated MLP as one, gate first.
    """

    def __init__(self, folder: Path, network: nn.Module) -> None:
        names = {_canonical(name): name for name in network.state_dict()}
        super().__init__(folder, lambda stored: names.get(_canonical(stored), _canonical(stored)))

    def __contains__(self, name: str) -> bool:
        return name in self._where or _joint(name) in self._where

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        names = list(names)
        yield from super().read([name for name in names if name in self._where])
        for name in names:
            if name not in self._where:
                [(_, both)] = super().read([_joint(name)])
                yield name, both.chunk(2)[".up_proj." in name]


def _joint(name: str) -> str:
    """The name under which a gate or its twin is stored as one."""
    return re.sub(r"\.(gate|up)_proj\.", ".weights_in.", _canonical(name))
