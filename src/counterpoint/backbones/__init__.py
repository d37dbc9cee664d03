"""Models that turn pictures into feature maps: `load` one by name, `available` lists them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from counterpoint.backbones.recognise import spec_of
from counterpoint.backbones.spec import CLASSES, ModelSpec
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import MissingExtra

if TYPE_CHECKING:
    import torch

    from counterpoint.backbones.base import Backbone
    from counterpoint.options import Dtype

_EXTRA_MODULES = {"sd": "transformers", "vit": "transformers"}


def load(
    model: str = "small",
    *,
    device: str | None = None,
    dtype: Dtype | None = None,
    download: bool = False,
) -> Backbone:
    """Load a model.

    Args:
        model: a name of the zoo; a folder in diffusers or transformers layout; a hub id
            ("owner/name"); a file of weights (`.safetensors` of `small` or of Stable Diffusion,
            `.pt` of guided diffusion); or two of these as one, "A+B" or "A+B@0.3" where B's share
            is not a half.
        device: "cpu", "cuda", "mps"; by default the best there is.
        dtype: "float32", "bfloat16" or "float16"; by default float32 on the CPU, on CUDA
            float16, or bfloat16 for diffusion transformers.
        download: fetch missing weights from the hub. Without it, nothing touches the network.

    Raises:
        UnknownName: nothing of that name; names the nearest.
        MissingWeights: not on this machine; says what to put where.
        MissingExtra: an optional dependency is not installed.

    >>> import counterpoint
    >>> model = counterpoint.load("small")
    >>> model.spec.name
    'small'
    """
    import torch

    from counterpoint.backbones.base import pick_device

    spec, where = spec_of(model), pick_device(device)
    default = spec.cuda_dtype if where.type == "cuda" else "float32"
    return load_spec(spec, where, getattr(torch, dtype or default), download=download)


def load_spec(
    spec: ModelSpec, device: torch.device, dtype: torch.dtype, *, download: bool = False
) -> Backbone:
    """As `load`, for a row that need not be in the zoo."""
    if spec.extra and find_spec(_EXTRA_MODULES[spec.extra]) is None:
        raise MissingExtra(spec.extra, f"{spec.name} and its family")
    module, _, cls = CLASSES[spec.family].partition(":")
    return getattr(import_module(module), cls)(spec, device, dtype, download=download)


def own_model(
    kind: type[Backbone],
    name: str,
    *,
    device: str | None = None,
    dtype: Dtype = "float32",
    **row: Any,
) -> Backbone:
    """A model of a class of your own, ready for everything that takes a model.

    Args:
        kind: a subclass of `Backbone`: most easily of `backbones.network.CleanBackbone`, which
            needs ``taps`` and ``_forward``, and may have ``_build``.
        name: what it is called in results.
        device: "cpu", "cuda", "mps"; by default the best there is.
        dtype: of the network.
        row: the rest of `ModelSpec`, by name: tap, size_wh, fit, t, ensemble, ...

    Raises:
        BadInput: no such device on this machine.
    """
    import torch

    from counterpoint.backbones.base import pick_device

    summary = (kind.__doc__ or name).strip().splitlines()[0]
    own: dict[str, Any] = {"family": "own", "summary": summary, "licence": "your own", **row}
    spec = ModelSpec(name=name, **own)
    return kind(spec, pick_device(device), getattr(torch, dtype))


def available() -> tuple[ModelSpec, ...]:
    """Every model of the zoo, whether its weights are on this machine or not.

    >>> [row.name for row in available()][:2]
    ['small', 'sd21']
    """
    return tuple(ZOO.values())
