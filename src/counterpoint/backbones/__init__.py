"""Models that turn pictures into feature maps: `load` one by name, `available` lists them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from counterpoint.backbones.zoo import CLASSES, ZOO, ModelSpec, spec_of
from counterpoint.errors import MissingExtra

if TYPE_CHECKING:
    from counterpoint.backbones.base import Backbone
    from counterpoint.options import Dtype

_EXTRA_MODULES = {"sd": "transformers"}


def load(
    model: str = "small",
    *,
    device: str | None = None,
    dtype: Dtype | None = None,
    download: bool = False,
) -> Backbone:
    """Load a model.

    Args:
        model: a name of the zoo, a folder in diffusers layout, a hub id ("owner/name"), or a
            `.safetensors` file of the `small` architecture.
        device: "cpu", "cuda", "mps"; by default the best there is.
        dtype: "float32", "bfloat16" or "float16"; by default float32 on the CPU, float16 on CUDA.
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
    spec = spec_of(model)
    if spec.extra and find_spec(_EXTRA_MODULES[spec.extra]) is None:
        raise MissingExtra(spec.extra, f"{spec.name} and its family")
    import torch

    from counterpoint.backbones.base import pick_device

    module, _, cls = CLASSES[spec.family].partition(":")
    where = pick_device(device)
    default = "float16" if where.type == "cuda" else "float32"
    precision: torch.dtype = getattr(torch, dtype or default)
    return getattr(import_module(module), cls)(spec, where, precision, download=download)


def available() -> tuple[ModelSpec, ...]:
    """Every model of the zoo, whether its weights are on this machine or not.

    >>> [row.name for row in available()][:2]
    ['small', 'sd21']
    """
    return tuple(ZOO.values())
