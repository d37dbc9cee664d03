"""What can be said to `counterpoint edit`, and the edit that it asks for."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from counterpoint.errors import BadInput, PointError

if TYPE_CHECKING:
    from counterpoint.images import Picture
    from counterpoint.tasks.edits.layers import Edit
    from counterpoint.tasks.edits.points import Carrying

Flag = Parameter(negative="")
FEATHER = 2.0
"""Pixels over which an edit cut out by a mask fades out, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class What:
    """What is carried: a sticker set on SOURCE, or an edited copy of SOURCE.

    Attributes:
        sticker: a picture, its alpha kept.
        at: where on SOURCE it lies, X,Y in pixels.
        anchor: what of the sticker lies there: its centre, or its top left corner.
        width: of the sticker on SOURCE, pixels; by default its own.
        scale: pixels of SOURCE per pixel of the sticker, instead of a width.
        rotate: degrees, clockwise.
        edited: a copy of SOURCE with changes, of its size; they are found as the difference.
        mask: where the changes of --edited lie, if they are not to be found.
        feather: pixels of SOURCE over which the edges fade; by default 2 with --mask, else 0: a
            sticker and a difference found bring soft edges.
        opacity: 0 to 1.
    """

    sticker: Path | None = None
    at: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    anchor: Literal["centre", "corner"] = "centre"
    width: float | None = None
    scale: float | None = None
    rotate: Annotated[float, Parameter(allow_leading_hyphen=True)] = 0.0
    edited: Path | None = None
    mask: Path | None = None
    feather: float | None = None
    opacity: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How it is carried.

    Attributes:
        warp: auto takes what the matches support best; thin-plate bends.
        count: about how many points are sampled inside the edit.
        threshold: within which a match agrees, pixels of the target; by default a tenth of the
            edit's size, or two cells of the feature grid if that is less.
        min_support: share of the points that must agree, 0 to 1; else the edit is refused. By
            default a quarter, a tenth where chance is far off.
        context: sample also around the edit, as far as this share of its size.
        whole: draw all of it, also where a part lacks support.
        mirror: try the target's mirror image too, for objects that face the other way.
        relight: follow the change of colour from SOURCE to the target around the matches.
        across: the features that suit; objects: the same part of other objects; views: other views
            of the same thing. By default objects, for videos views.
    """

    warp: Literal["auto", "similarity", "affine", "homography", "thin-plate"] = "auto"
    count: int = 256
    threshold: float | None = None
    min_support: float | None = None
    context: float = 0.0
    whole: Annotated[bool, Flag] = False
    mirror: Annotated[bool, Flag] = False
    relight: Annotated[bool, Flag] = False
    across: Literal["objects", "views"] | None = None


@dataclass(frozen=True, kw_only=True)
class Moving:
    """Of videos.

    Attributes:
        video: take folders among the TARGETs for videos, frame by frame in natural order.
        smooth: how far in time the warps are made steady, frames; 0: not.
        gap: bridge up to so many frames, on end, in which the edit is not found.
    """

    video: Annotated[bool, Flag] = False
    smooth: float = 1.5
    gap: int = 5


WhatOptions = Annotated[What, Parameter(name="*", group="Edit")]
FittingOptions = Annotated[Fitting, Parameter(name="*", group="Warp")]
MovingOptions = Annotated[Moving, Parameter(name="*", group="Video")]

EDIT = What()
WARP = Fitting()
VIDEO = Moving()


def build_edit(source: "Picture", what: What) -> "Edit":
    """The edit that was asked for, over the source picture.

    Raises:
        BadInput: neither or both of sticker and edited copy, or an edit that cannot be used.
    """
    if (what.sticker is None) == (what.edited is None):
        came = "neither" if what.sticker is None else "both"
        raise BadInput(f"expected either --sticker or --edited, got {came}; see edit --help")
    edit = _from_sticker(source, what) if what.sticker else _from_copy(source, what)
    usual = FEATHER if what.mask else 0.0
    feather = usual if what.feather is None else what.feather
    return edit.feathered(feather).faded(what.opacity)


def _from_sticker(source: "Picture", what: What) -> "Edit":
    from counterpoint.cli.common import parse_points
    from counterpoint.tasks.edits.originals import load_rgba
    from counterpoint.tasks.edits.sources import Placing, sticker_edit

    assert what.sticker is not None
    if what.mask is not None:
        raise BadInput("expected --mask with --edited only; a sticker brings its own alpha")
    if what.at is None:
        raise PointError("expected --at X,Y, the sticker's place on SOURCE, got none")
    [place] = parse_points([what.at])
    placing = Placing(anchor=what.anchor, width_px=what.width, scale=what.scale, rotate=what.rotate)
    return sticker_edit(load_rgba(what.sticker), source.size_wh, place, placing)


def _from_copy(source: "Picture", what: What) -> "Edit":
    from counterpoint.images import load_mask, load_picture
    from counterpoint.tasks.edits.sources import difference_edit

    assert what.edited is not None
    given = [n for n in ("at", "width", "scale") if getattr(what, n) is not None]
    if given or what.rotate:
        option = given[0] if given else "rotate"
        raise BadInput(f"expected --{option} with --sticker only, got it with --edited")
    mask = load_mask(what.mask) if what.mask else None
    return difference_edit(source, load_picture(what.edited), mask)


def carrying(fitting: Fitting, seed: int) -> "Carrying":
    """The same for `counterpoint.tasks.edits.carry.carry_edit`."""
    from counterpoint.tasks.edits.points import Carrying

    return Carrying(
        warp=fitting.warp,
        points=fitting.count,
        threshold_px=fitting.threshold,
        min_support=fitting.min_support,
        context=fitting.context,
        leave_out=not fitting.whole,
        seed=seed,
    )
