"""`counterpoint match`: the same points in other pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    console,
    open_model,
    output_folder,
    parse_points,
    print_json,
)

if TYPE_CHECKING:
    from counterpoint.features import FeatureMap
    from counterpoint.geometry import Points
    from counterpoint.images import Picture
    from counterpoint.matching import Matches, PreparedMap

Subpixel = Literal["argmax", "window"]


def match(
    source: Path,
    /,
    *targets: Path,
    at: Annotated[list[str] | None, Parameter(negative="", allow_leading_hyphen=True)] = None,
    grid: int = 64,
    mutual: bool = False,
    mask: Annotated[list[Path] | None, Parameter(negative="", consume_multiple=True)] = None,
    subpixel: Subpixel = "argmax",
    min_confidence: float = 0.0,
    json: Annotated[bool, Parameter(negative="")] = False,
    out: Path | None = None,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Find points of SOURCE in each TARGET.

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
    mutual
        Keep only matches that lead back to where they came from.
    mask
        Masks of the targets, in their order, of their size: matches lie where they are not black.
    subpixel
        argmax: the best whole pixel. window: soft-argmax in a window around it.
    min_confidence
        Leave out matches below this confidence, 0 to 1.
    json
        Print JSON instead of a table.
    out
        A folder for pictures: matches (of a grid, the more confident half), and a heat map for
        each point given.
    """
    from counterpoint.errors import BadInput
    from counterpoint.geometry import grid_points, require_inside
    from counterpoint.images import load_picture
    from counterpoint.matching import PreparedMap

    if not targets:
        raise BadInput("expected at least one TARGET picture after SOURCE; see match --help")
    pictures = [load_picture(path) for path in (source, *targets)]
    points = require_inside(parse_points(at), pictures[0].size_wh, str(source)) if at else None
    chosen = grid_points(pictures[0].size_wh, grid) if points is None else points
    place = output_folder(out) if out else None
    fmaps = open_model(options).extract(pictures, options)
    fmaps[1:] = _masked(fmaps[1:], mask or [])
    first, *others = map(PreparedMap, fmaps)
    results: list[dict[str, object]] = []
    for picture, ready in zip(pictures[1:], others, strict=True):
        matches = _match(first, ready, chosen, subpixel, mutual)
        matches = matches.select(matches.confidence >= min_confidence)
        written: list[Path] = []
        if place:
            shown = matches if at else _more_confident_half(matches)
            written = _draw_matches(place, pictures[0], picture, shown)
        if place and at:
            written += _draw_heat(place, pictures[0], picture, first, ready, matches)
        if json:
            results.append(
                {
                    "source": pictures[0].name,
                    "target": picture.name,
                    "model": options.model,
                    "matches": matches.to_dict(),
                    "pictures": [str(path) for path in written],
                }
            )
        else:
            _print_table(picture.name, matches, written)
    if json:
        print_json(results)
    return 0


def _masked(fmaps: "list[FeatureMap]", masks: list[Path]) -> "list[FeatureMap]":
    from counterpoint.errors import BadInput
    from counterpoint.images import load_mask

    if masks and len(masks) != len(fmaps):
        raise BadInput(f"expected a mask for each of {len(fmaps)} targets, got {len(masks)}")
    pairs = zip(fmaps, masks, strict=True) if masks else []
    return [fmap.masked(load_mask(path)) for fmap, path in pairs] or fmaps


def _match(
    source: "PreparedMap",
    target: "PreparedMap",
    points: "Points",
    subpixel: Subpixel,
    mutual: bool,
) -> "Matches":
    from counterpoint.matching import match as find

    matches = find(source, target, points, subpixel=subpixel)
    if not mutual:
        return matches
    # There and back within one cell of the grid: nearer than that the features cannot tell.
    return matches.select(matches.cycle_px <= max(source.stride_px))


def _more_confident_half(matches: "Matches") -> "Matches":
    best_first = matches.confidence.argsort(kind="stable")[::-1]
    return matches.select(best_first[: -(-len(matches) // 2)])


def _print_table(name: str, matches: "Matches", written: list[Path]) -> None:
    from rich.table import Table

    shown = console()
    table = Table("#", "source x,y", "target x,y", title=f"points in {name}", title_justify="left")
    for heading in ("confidence", "similarity", "margin", "cycle px"):
        table.add_column(heading, justify="right")
    for i in range(len(matches)):
        table.add_row(
            str(i + 1),
            "{:g}, {:g}".format(*matches.source_px[i].round(1)),
            "{:g}, {:g}".format(*matches.target_px[i].round(1)),
            f"{matches.confidence[i]:.2f}",
            f"{matches.similarity[i]:.3f}",
            f"{matches.margin[i]:.3f}",
            f"{matches.cycle_px[i]:.1f}",
        )
    shown.print(table)
    for path in written:
        shown.print(f"wrote {path}")


def _stem(source: "Picture", target: "Picture") -> str:
    return f"{Path(source.name).stem}--{Path(target.name).stem}"


def _draw_matches(
    place: Path, source: "Picture", target: "Picture", matches: "Matches"
) -> list[Path]:
    from counterpoint.plots import draw_matches, save_png

    path = place / f"{_stem(source, target)}.matches.png"
    return [save_png(draw_matches(source, target, matches), path)]


def _draw_heat(
    place: Path,
    source: "Picture",
    target: "Picture",
    source_map: "PreparedMap",
    target_map: "PreparedMap",
    matches: "Matches",
) -> list[Path]:
    """For each point: where it is asked for, beside the target under its similarity map."""
    from counterpoint.matching import similarity_map
    from counterpoint.plots import draw_heat, draw_query, join_columns, save_png

    written: list[Path] = []
    for number, found in enumerate(matches, 1):
        similarity = similarity_map(source_map, target_map, found.source_px)
        panels = [
            draw_query(source, found.source_px),
            draw_heat(target, similarity, found.target_px),
        ]
        path = place / f"{_stem(source, target)}.heat-{number}.png"
        written.append(save_png(join_columns(panels), path))
    return written
