"""`counterpoint match`: the same points in other pictures."""

from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    output_folder,
    parse_points,
    print_json,
)
from counterpoint.cli.match.show import Found, Shown, as_plain, draw, print_table
from counterpoint.cli.sources import Running, open_source
from counterpoint.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from counterpoint.cli.sources import Source
    from counterpoint.features import FeatureMap
    from counterpoint.geometry import Points
    from counterpoint.images import Picture
    from counterpoint.matching import Calibration, Match, Matches, PreparedMap

Subpixel = Literal["argmax", "window", "grid-window"]
Flip = Literal["similarity", "mutual"]


@dataclass(frozen=True, kw_only=True)
class How:
    """How points are found, and which matches count.

    Attributes:
        subpixel: argmax: the best whole pixel. window: soft-argmax in a window around it.
            grid-window: the same around the best cell, as GeoAware-SC does it.
        flip: search the target or its mirror image, whichever fits the source better: by the mean
            similarity of all cells, or by how many cells choose each other.
        sides: two points of --at, by number, that are each other's mirror image, such as 1,2 for
            a left and a right eye; repeat for more. For --flip.
        members: draw the noise so many times more, and let their disagreement count for confidence.
        mutual: only matches that lead back to where they came from, within a cell of the features.
        max_cycle: only matches whose way back ends within this share of the source picture's
            longer side.
        calibration: for confidence, a file of `counterpoint calibrate`; by default the package's
            own, where it has one for these very features.
        min_confidence: only matches of at least this confidence, 0 to 1.
    """

    subpixel: Subpixel = "argmax"
    flip: Flip | None = None
    sides: Annotated[list[str] | None, Parameter(negative="")] = None
    members: int = 0
    mutual: Annotated[bool, Parameter(negative="")] = False
    max_cycle: float | None = None
    calibration: Path | None = None
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise BadInput(f"expected --min-confidence from 0 to 1, got {self.min_confidence:g}")
        if self.max_cycle is not None and not self.max_cycle > 0:
            raise BadInput(f"expected --max-cycle above 0, got {self.max_cycle:g}")
        if self.members < 0:
            raise BadInput(f"expected --members of at least 0, got {self.members}")
        if self.sides and not self.flip:
            raise BadInput("expected --flip with --sides: they are exchanged in a mirrored target")


Matching = Annotated[How, Parameter(name="*", group="Matching")]
_PLAIN = How()


def match(
    source: Path,
    /,
    *targets: Path,
    at: Annotated[list[str] | None, Parameter(negative="", allow_leading_hyphen=True)] = None,
    grid: int = 64,
    mask: Annotated[list[Path] | None, Parameter(negative="", consume_multiple=True)] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    out: Path | None = None,
    features: Path | None = None,
    how: Matching = _PLAIN,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Find points of SOURCE in each TARGET.

    A point whose match does not count (--mutual, --max-cycle, --min-confidence) has no match; where
    none of all points has one, the exit code is 1.

    Parameters
    ----------
    source
        The picture in which the points are given.
    targets
        The pictures to search.
    at
        A point X,Y of SOURCE in pixels; repeat for more. Without it, a regular grid is matched.
    grid
        About how many points the grid has.
    mask
        Masks of the targets, in their order, of their size: matches lie where they are not black.
    json
        Print JSON instead of a table.
    out
        A folder for pictures: matches (of a grid, the more confident half), and a heat map for
        each point given.
    features
        The folder of `extract`'s files for these pictures: no model is run. For --flip, with the
        mirror images that `extract --flip` writes.
    """
    from counterpoint.geometry import grid_points, require_inside
    from counterpoint.images import load_picture

    if not targets:
        raise BadInput("expected at least one TARGET picture after SOURCE; see match --help")
    pictures = [load_picture(path) for path in (source, *targets)]
    points = require_inside(parse_points(at), pictures[0].size_wh, str(source)) if at else None
    sides = _sides(how, 0 if points is None else len(points))
    chosen = grid_points(pictures[0].size_wh, grid) if points is None else points
    place = output_folder(out) if out else None
    calibration = _load(how)
    maps = open_source(options, features, [source, *targets])
    results: list[dict[str, object]] = []
    accepted = 0
    for picture, views in zip(pictures[1:], _views(maps, pictures, mask or [], how), strict=True):
        found = _find(views, chosen, how, sides, calibration)
        accepted += int(found.accepted.sum())
        model = views.source.provenance.model
        shown = Shown(pictures[0], picture, model, found, given=bool(at))
        written = draw(place, shown) if place else []
        if json:
            results.append(as_plain(shown, written))
        else:
            print_table(shown, written)
    if json:
        print_json(results)
    return 0 if accepted else 1


@dataclass(frozen=True, eq=False)
class _Views:
    """Prepared maps: of the source, of one target, of its mirror image, of both by member."""

    source: "PreparedMap"
    target: "PreparedMap"
    mirror: "PreparedMap | None"
    members: "list[tuple[PreparedMap, PreparedMap]]"


def _views(
    maps: "Source", pictures: "list[Picture]", masks: list[Path], how: How
) -> "Iterator[_Views]":
    """The source with each target in turn; of the targets' maps a batch is in memory."""
    from counterpoint.matching import PreparedMap, mirrored, unmirrored

    targets = pictures[1:]
    if masks and len(masks) != len(targets):
        raise BadInput(f"expected a mask for each of {len(targets)} targets, got {len(masks)}")
    every = [one.stream(pictures) for one in (maps, *_members(maps, how))]
    sources = [PreparedMap(next(stream)) for stream in every]
    turned = maps.stream([mirrored(one) for one in targets]) if how.flip else repeat(None)
    each = zip(zip(*every, strict=True), turned, masks or repeat(None), strict=False)
    for found, mirror, mask in each:
        target, *others = (PreparedMap(_masked(fmap, mask)) for fmap in found)
        yield _Views(
            sources[0],
            target,
            None if mirror is None else PreparedMap(_masked(unmirrored(mirror), mask)),
            list(zip(sources[1:], others, strict=True)),
        )


def _members(maps: "Source", how: How) -> "Sequence[Source]":
    """The same features from single draws of noise, each its own."""
    if not how.members:
        return ()
    if not isinstance(maps, Running):
        raise BadInput("expected no --members with --features, whose files have their draws")
    model, options = maps.model, maps.options
    if model.spec.t is None:
        raise BadInput(
            f"expected a model that sees noise for --members, {model.spec.name} sees none"
        )
    seeds = range(options.seed + 1, options.seed + 1 + how.members)
    return [Running(model, options.but(ensemble=1, seed=seed)) for seed in seeds]


def _masked(fmap: "FeatureMap", mask: Path | None) -> "FeatureMap":
    from counterpoint.images import load_mask

    return fmap if mask is None else fmap.masked(load_mask(mask))


def _sides(how: How, points: int) -> list[tuple[int, int]]:
    """Pairs of indices from texts such as "1,2"."""
    import numpy as np

    from counterpoint.matching import swap_sides

    found: list[tuple[int, int]] = []
    for text in how.sides or []:
        numbers = [int(part) for part in text.split(",") if part.strip().isdigit()]
        if len(numbers) != 2 or not all(1 <= number <= points for number in numbers):
            raise BadInput(
                f"expected two numbers of --at points (1 to {points}) as --sides, like 1,2; "
                f"got {text!r}"
            )
        found.append((numbers[0] - 1, numbers[1] - 1))
    swap_sides(np.zeros((points, 2)), found)  # said before anything is run
    return found


def _find(
    views: _Views,
    points_px: "Points",
    how: How,
    sides: list[tuple[int, int]],
    calibration: "Calibration | None",
) -> "Found":
    """Matches in one target, with what confidence there is, and which of them count."""
    from counterpoint.matching import align_target, match, spread_px, swap_sides

    source, target = views.source, views.target
    alignment, asked_px = None, points_px
    if how.flip and views.mirror:
        alignment = align_target(source, target, views.mirror, how.flip)
        if alignment.flip:
            target, asked_px = views.mirror, swap_sides(points_px, sides)
    matches = match(source, target, asked_px, subpixel=how.subpixel, calibration=None)
    if views.members:
        sources, targets = (list(maps) for maps in zip(*views.members, strict=True))
        spread = spread_px(sources, targets, asked_px, matches.target_px)
        matches = replace(matches, disagreement_px=spread)
    fitted = calibration or _shipped(source, target, matches, how)
    matches = replace(fitted.apply(matches) if fitted else matches, source_px=points_px)
    reasons = [_reason(one, how, max(source.stride_px), source.size_wh) for one in matches]
    return Found(matches, tuple(reasons), source, target, asked_px, fitted, alignment)


def _load(how: How) -> "Calibration | None":
    from counterpoint.matching import Calibration

    given = Calibration.load(how.calibration) if how.calibration else None
    if given and "disagreement" in given.columns and given.note.members != how.members:
        raise BadInput(
            f"expected --members {given.note.members}, which {how.calibration} was fitted with, "
            f"got {how.members}"
        )
    return given


def _shipped(
    source: "PreparedMap", target: "PreparedMap", matches: "Matches", how: How
) -> "Calibration | None":
    """The package's calibration; those were fitted without mirrors."""
    from counterpoint.matching import evidence
    from counterpoint.matching.calibration import find_calibration

    if how.flip:
        return None
    made_by = source.provenance, target.provenance
    return find_calibration(*made_by, how.subpixel, evidence(matches).known, how.members)


def _reason(one: "Match", how: How, cell_px: float, size_wh: tuple[int, int]) -> str:
    """Why a match does not count; "" where it does."""
    if how.mutual and one.cycle_px > cell_px:
        return f"leads back {one.cycle_px:.1f} px away, more than a cell of {cell_px:.1f} px"
    if how.max_cycle is not None and one.cycle_px > how.max_cycle * max(size_wh):
        return f"leads back {one.cycle_px:.1f} px away, more than {how.max_cycle:g} of the side"
    if one.confidence < how.min_confidence:
        return f"confidence {one.confidence:.2f} below {how.min_confidence:g}"
    return ""
