"""`extract`: pictures to feature maps, in one call."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast, overload

from counterpoint.backbones import load
from counterpoint.backbones.base import Backbone, pick_device
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.images import ImageLike
from counterpoint.options import Dtype, Options


@overload
def extract(pictures: ImageLike, model: str | Backbone = "small", **options: Any) -> FeatureMap: ...
@overload
def extract(
    pictures: Sequence[ImageLike], model: str | Backbone = "small", **options: Any
) -> list[FeatureMap]: ...
def extract(
    pictures: ImageLike | Sequence[ImageLike], model: str | Backbone = "small", **options: Any
) -> FeatureMap | list[FeatureMap]:
    """Features of one picture, or of several in a list.

    Args:
        pictures: a path, PIL image, numpy array (rows, columns[, channels]) or torch tensor
            (channels, rows, columns); or a list or tuple of them.
        model: a loaded model, or its name; models named are kept for the next call.
        options: as in `Options`: t, tap, ensemble, prompt, size, fit, seed, device, dtype.

    Raises:
        ImageError: a picture that cannot be read.
        UnknownName: an unknown model, tap or option; names the nearest known one.

    >>> from skimage.data import chelsea
    >>> fmap = extract(chelsea(), size=64)
    >>> fmap.image_size_wh
    (451, 300)
    """
    backbone, chosen = opened(model, options)
    if isinstance(pictures, list | tuple):
        return backbone.extract(pictures, chosen)
    return backbone.extract([cast("ImageLike", pictures)], chosen)[0]


def opened(model: str | Backbone, options: Mapping[str, Any]) -> tuple[Backbone, Options]:
    """The model, and the options for it.

    Args:
        model: a loaded one, or its name; the last two named are kept for the next call.
        options: as in `Options`, by name.

    Raises:
        UnknownName: an unknown model or option; names the nearest.
        BadInput: a device or a precision other than the loaded model's.
    """
    if isinstance(model, str):
        chosen = Options().but(**{"model": model, **options})
        return _loaded(model, chosen.device, chosen.dtype), chosen
    chosen = Options().but(**{"model": model.spec.name, **options})
    _require_own(model, chosen)
    return model, chosen


def _require_own(model: Backbone, chosen: Options) -> None:
    """A loaded model stays where it is; another device must not be passed over in silence."""
    own = model.device
    asked = own if chosen.device is None else pick_device(chosen.device)
    moved = asked.type != own.type or (asked.index or 0) != (own.index or 0)
    if moved or chosen.dtype not in (None, model.dtype_name):
        raise BadInput(
            f"expected the loaded model's own device and dtype, {own} and {model.dtype_name}, "
            f"got {chosen.device or own} and {chosen.dtype or model.dtype_name}; "
            "give them to load()"
        )


@lru_cache(maxsize=2)
def _loaded(name: str, device: str | None, dtype: Dtype | None) -> Backbone:
    return load(name, device=device, dtype=dtype)
