"""Protocols `davis` and `jhmdb`: masks and joints of a video's first frame, propagated and scored.

To the letter, after DIFT's evaluation:

1. Frames: DAVIS' at a short side of 480 pixels, the long side scaled likewise and floored to a
   multiple of 32 (832 x 480 for 854 x 480); JHMDB's at 320 x 320, squashed. OpenCV's bilinear. A
   model that needs sides of another multiple (a transformer's patches) has both floored to it.
2. Features: time step, tap, ensemble as published for the model's family; the empty prompt.
3. Propagation: `counterpoint.tasks.tracking.propagation`, with the family's parameters.
4. The first frame's mask is resized to the feature grid, nearest neighbour; joints become Gaussians
   of half a cell around their exact places.
5. Scores: J and F of every object (`mask_metrics`), the first and last frame left out; PCK of
   joints (`joint_metrics`), the first frame left out.

Beside every model stands the control that looks at nothing: the first frame's annotation, copied.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.datasets.davis import DavisSequence
from counterpoint.benchmarks.datasets.jhmdb import Clip
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, SizeWH
from counterpoint.images import Picture
from counterpoint.options import Options
from counterpoint.tasks.masks import Mask
from counterpoint.tasks.tracking.propagation import (
    LabelPropagator,
    Propagation,
    gaussian_labels,
    mask_of,
    one_hot_labels,
    points_of,
)
from counterpoint.tasks.tracking.temporal import (
    PUBLISHED,
    Setting,
    resized,
    temporal_input,
)

JHMDB_SIDE = 320

_AT_ONCE = 8  # frames decoded at a time

Joints = Float[np.ndarray, "frames joints 2"]


@runtime_checkable
class Video(Protocol):
    """Anything with numbered frames."""

    def picture(self, frame: int) -> Picture:
        """A frame, decoded."""
        ...


DAVIS_SETTINGS = PUBLISHED
"""By family, as the DIFT paper has them; other families have their own defaults, and ADM's
propagation."""

JHMDB_SETTINGS: Mapping[str, Setting] = {
    # Recalled from the paper's appendix, with little confidence: none of these is in its code.
    "stable-diffusion": Setting(
        t=51,
        tap="up:2",
        ensemble=8,
        propagation=Propagation(temperature=0.1, topk=15, radius=5, context=14),
    ),
    "adm": Setting(
        t=101,
        tap="out:5",
        ensemble=4,
        propagation=Propagation(temperature=0.2, topk=15, radius=5),
    ),
}
"""By family."""

davis_input = temporal_input


def jhmdb_input(multiple: int = 1) -> SizeWH:
    """The model's input for a clip of JHMDB."""
    side = JHMDB_SIDE // multiple * multiple
    return side, side


def stream_features(
    backbone: Backbone, video: Video, frames: int, input_wh: SizeWH, options: Options
) -> Iterator[FeatureMap]:
    """Feature maps of a video's first frames, resized to ``input_wh``, one at a time."""
    for start in range(0, frames, _AT_ONCE):
        some = range(start, min(start + _AT_ONCE, frames))
        yield from backbone.stream([resized(video.picture(i), input_wh) for i in some], options)


def track_masks(
    backbone: Backbone, sequence: DavisSequence, setting: Setting, options: Options
) -> Iterator[Mask]:
    """Masks of every frame, the first as given, at the video's size.

    Args:
        backbone: the model.
        sequence: the video.
        setting: how labels are propagated.
        options: how features are extracted (`Setting.options`); a size replaces the protocol's.

    Raises:
        BadInput: frames of different sizes, or a mask that cannot be used.
    """
    yield sequence.first_mask
    input_wh = options.size_wh or davis_input(sequence.size_wh, backbone.multiple)
    maps = stream_features(backbone, sequence, len(sequence), input_wh, options)
    first = next(maps)
    labels = one_hot_labels(sequence.first_mask, first.grid_wh, sequence.objects + 1)
    propagator = LabelPropagator(first, labels, setting.propagation)
    for fmap in maps:
        yield mask_of(propagator.step(fmap), input_wh, sequence.size_wh)


def track_joints(backbone: Backbone, clip: Clip, setting: Setting, options: Options) -> Joints:
    """Joints of every frame, the first as given, pixels of the clip; NaN where lost.

    Arguments as in `track_masks`.
    """
    frames = len(clip.joints_px)
    input_wh = options.size_wh or jhmdb_input(backbone.multiple)
    maps = stream_features(backbone, clip, frames, input_wh, options)
    first = next(maps)
    to_grid = PixelTransform.resize(clip.size_wh, input_wh).then(first.to_grid)
    labels = gaussian_labels(to_grid.apply(clip.joints_px[0]), first.grid_wh)
    propagator = LabelPropagator(first, labels, setting.propagation)
    found = np.full(clip.joints_px.shape, np.nan)
    found[0] = clip.joints_px[0]
    for i, fmap in enumerate(maps, 1):
        cells = points_of(propagator.step(fmap))
        kept = np.isfinite(cells).all(axis=1)
        found[i, kept] = to_grid.invert().apply(cells[kept])
    return found
