"""How features of videos are made: frame size, time step, layer and propagation by model family."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cv2

from counterpoint.backbones.spec import ModelSpec
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture
from counterpoint.options import Options
from counterpoint.tasks.tracking.propagation import Propagation

SHORT_SIDE = 480
MULTIPLE = 32


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a family of models carries labels with.

    Attributes:
        t: time step; None: the model's own.
        tap: where features are read; None: the model's own.
        ensemble: draws of noise averaged; None: the model's own.
        propagation: the parameters.
    """

    t: int | None = None
    tap: str | None = None
    ensemble: int | None = None
    propagation: Propagation = field(default_factory=lambda: Propagation(temperature=0.1, topk=10))

    def options(self, given: Options) -> Options:
        """The options given, filled up with the setting's.

        Raises:
            BadInput: a way to fit pictures other than the protocol's.
        """
        if given.fit not in (None, "squash"):
            raise BadInput(f"expected frames squashed to the protocol's size, got fit {given.fit}")
        return replace(
            given,
            t=self.t if given.t is None else given.t,
            tap=given.tap or self.tap,
            ensemble=given.ensemble or self.ensemble,
            prompt=given.prompt or "",
            fit="keep",  # frames come at the protocol's size
        )


PUBLISHED: Mapping[str, Setting] = {
    "stable-diffusion": Setting(
        t=51, tap="up:2", ensemble=8, propagation=Propagation(temperature=0.2, topk=15)
    ),
    "adm": Setting(
        t=51, tap="out:7", ensemble=4, propagation=Propagation(temperature=0.1, topk=10)
    ),
}
"""By family, as the DIFT paper has them on DAVIS; other families have their own defaults, and ADM's
propagation."""

TEMPORAL: Mapping[str, Setting] = {**PUBLISHED, "small": Setting(t=20, tap="up:1")}
"""What suits video, by family: the published settings, and for the embedded model the tap and time
step that its model card gives for views of one scene."""

_OTHERS = Setting()


def setting_of(
    spec: ModelSpec, settings: Mapping[str, Setting], changes: Mapping[str, Any] | None = None
) -> Setting:
    """What labels are carried with by a model.

    Args:
        spec: its row of the zoo.
        settings: by family.
        changes: parameters of `Propagation` to change; those that are None stay.
    """
    return setting_for(spec.family, settings, changes)


def setting_for(
    family: str, settings: Mapping[str, Setting], changes: Mapping[str, Any] | None = None
) -> Setting:
    """As `setting_of`, for a family by its name; "" stands for one that is not known."""
    setting = settings.get(family, _OTHERS)
    kept = {name: value for name, value in (changes or {}).items() if value is not None}
    return replace(setting, propagation=replace(setting.propagation, **kept))


def temporal_input(size_wh: SizeWH, multiple: int = 1) -> SizeWH:
    """The model's input for a video, as on DAVIS: a short side of 480, the long one floored to 32s.

    >>> temporal_input((854, 480)), temporal_input((480, 854))
    ((832, 480), (480, 832))
    >>> temporal_input((854, 480), multiple=14)
    (826, 476)
    """
    short, long = sorted(size_wh)
    scaled = SHORT_SIDE * long // short // MULTIPLE * MULTIPLE
    w, h = (scaled, SHORT_SIDE) if size_wh[0] >= size_wh[1] else (SHORT_SIDE, scaled)
    return w // multiple * multiple, h // multiple * multiple


def seen_as(picture: Picture, size_wh: SizeWH) -> frozenset[str]:
    """Hashes of what features of a frame may be of: the frame, or the frame `resized`."""
    return frozenset((picture.content_hash, resized(picture, size_wh).content_hash))


def resized(picture: Picture, size_wh: SizeWH) -> Picture:
    """A picture at another size by OpenCV's bilinear filter, as the original evaluation has it."""
    if picture.size_wh == size_wh:
        return picture
    return Picture(cv2.resize(picture.rgb, size_wh, interpolation=cv2.INTER_LINEAR), picture.name)
