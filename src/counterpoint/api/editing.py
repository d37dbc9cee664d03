"""`edit`: an edit of one picture carried to others, in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args, overload

import numpy as np
from jaxtyping import UInt8

from counterpoint.api.extracting import opened
from counterpoint.backbones.base import Backbone
from counterpoint.images import ImageLike, Picture, load_picture
from counterpoint.matching import Matches, PreparedMap, mirrored
from counterpoint.matching.find import require_known
from counterpoint.plots import draw_matches
from counterpoint.tasks.edits.carry import CarriedEdit, carry_edit
from counterpoint.tasks.edits.layers import Edit, blend
from counterpoint.tasks.edits.points import Carrying
from counterpoint.tasks.scenes.local_features import geometric_options

Across = Literal["objects", "views"]

DRAWN = 32
"""Matches in a drawing, at most."""


@dataclass(frozen=True, eq=False)
class Edited:
    """A target picture and what became of the edit there.

    Attributes:
        source: the picture that was edited, without the edit.
        target: the other picture as it was.
        found: warps, matches, what was refused and why.
    """

    source: Picture
    target: Picture
    found: CarriedEdit

    @property
    def carried(self) -> bool:
        """Whether any of the edit is drawn."""
        return self.found.carried

    @property
    def reason(self) -> str:
        """Why nothing, or not all of it, is drawn; "" where all is."""
        return self.found.reason

    @property
    def inliers(self) -> Matches:
        """The matches that agree with a warp."""
        return self.found.matches.select(self.found.inliers)

    @cached_property
    def picture(self) -> Picture:
        """The target with the edit; the target itself where it was refused.

        A file's own kind (16 bit, alpha, EXIF) is kept by
        ``edits.load_original(path).with_overlays(found.overlays()).save(...)``.
        """
        rgb = self.target.rgb
        for overlay in self.found.overlays():
            rgb = blend(rgb, overlay)
        return self.target if rgb is self.target.rgb else Picture(rgb, self.target.name)

    def draw(self) -> UInt8[np.ndarray, "rows columns 3"]:
        """The edited source and the edited target, with at most 32 of the matches that agree."""
        shown = Picture(blend(self.source.rgb, self.found.edit.coverage), self.source.name)
        return draw_matches(shown, self.picture, self.inliers.thinned(DRAWN))


@overload
def edit(
    source: ImageLike,
    target: ImageLike,
    change: Edit,
    model: str | Backbone = "small",
    *,
    how: Carrying | None = None,
    across: Across = "objects",
    mirror: bool = False,
    **options: Any,
) -> Edited: ...
@overload
def edit(
    source: ImageLike,
    target: Sequence[ImageLike],
    change: Edit,
    model: str | Backbone = "small",
    *,
    how: Carrying | None = None,
    across: Across = "objects",
    mirror: bool = False,
    **options: Any,
) -> list[Edited]: ...
def edit(
    source: ImageLike,
    target: ImageLike | Sequence[ImageLike],
    change: Edit,
    model: str | Backbone = "small",
    *,
    how: Carrying | None = None,
    across: Across = "objects",
    mirror: bool = False,
    **options: Any,
) -> Edited | list[Edited]:
    """Carry an edit of one picture to another, or to several in a list.

    What `counterpoint edit` does with pictures. A target whose matches do not support the edit is
    left as it is, and says why.

    Args:
        source: the picture without the edit.
        target: a picture of any kind; or a list or tuple of them.
        change: the edit: `counterpoint.tasks.edits.sticker_on` or `edited_copy` makes one.
        model: a loaded model, or its name.
        how: the warp, its support, its points.
        across: "objects" for things of one kind, "views" for one scene: then, where the options
            are silent, features are what suits geometry.
        mirror: also look at the target's mirror image, and take the better.
        options: as in `Options`.

    Raises:
        ImageError: a picture that cannot be read.
        BadInput: an edit of a picture of another size.
    """
    require_known("kind of change", across, get_args(Across))
    given = load_picture(source)
    backbone, chosen = opened(model, options)
    if across == "views":
        chosen = geometric_options(backbone.spec, chosen)
    [source_map] = backbone.extract([given], chosen)
    ready, settings = PreparedMap(source_map), how or Carrying(seed=chosen.seed)

    def carried(one: ImageLike) -> Edited:
        picture = load_picture(one)
        looked = [picture, mirrored(picture)] if mirror else [picture]
        maps = backbone.extract(looked, chosen)
        tries = [carry_edit(change, ready, fmap, settings) for fmap in maps]
        best = max(range(len(tries)), key=lambda i: int(tries[i].inliers.sum()))
        return Edited(given, picture, tries[best].mirrored() if best else tries[best])

    if isinstance(target, list | tuple):
        return [carried(one) for one in target]
    return carried(cast("ImageLike", target))
