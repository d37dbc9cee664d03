"""`extract`: pictures to feature maps, in one call."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast, overload

from counterpoint.backbones import load
from counterpoint.backbones.base import Backbone
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
    name = model if isinstance(model, str) else model.spec.name
    chosen = Options().but(model=name, **options)
    backbone = _loaded(name, chosen.device, chosen.dtype) if isinstance(model, str) else model
    if isinstance(pictures, list | tuple):
        return backbone.extract(pictures, chosen)
    return backbone.extract([cast("ImageLike", pictures)], chosen)[0]


@lru_cache(maxsize=2)
def _loaded(name: str, device: str | None, dtype: Dtype | None) -> Backbone:
    return load(name, device=device, dtype=dtype)
