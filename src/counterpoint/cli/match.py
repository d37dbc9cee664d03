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
    from counterpoint.matching import Matches

Subpixel = Literal["argmax", "window"]


def match(
    source: Path,
    /,
    *targets: Path,
    at: Annotated[list[str] | None, Parameter(negative="", allow_leading_hyphen=True)] = None,
    grid: int = 64,
    mutual: bool = False,
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
    subpixel
        argmax: the best whole pixel. window: soft-argmax in a window around it.
    min_confidence
        Leave out matches below this confidence, 0 to 1.
    json
        Print JSON instead of a table.
    out
        A folder for pictures: matches, and a heat map for each point given.
    """
    from counterpoint.errors import BadInput
    from counterpoint.geometry import grid_points, require_inside
    from counterpoint.images import load_picture

    if not targets:
        raise BadInput("expected at least one TARGET picture after SOURCE; see match --help")
    pictures = [load_picture(path) for path in (source, *targets)]
    points = require_inside(parse_points(at), pictures[0].size_wh, str(source)) if at else None
    chosen = grid_points(pictures[0].size_wh, grid) if points is None else points
    place = output_folder(out) if out else None
    maps = open_model(options).extract(pictures, options)
    results: list[dict[str, object]] = []
    for picture, fmap in zip(pictures[1:], maps[1:], strict=True):
        matches = _match(maps[0], fmap, chosen, subpixel, mutual)
        matches = matches.select(matches.confidence >= min_confidence)
        written = []
        if place:
            written = _draw(place, pictures[0], picture, maps[0], fmap, matches, bool(at))
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


def _match(
    source: "FeatureMap", target: "FeatureMap", points: "Points", subpixel: Subpixel, mutual: bool
) -> "Matches":
    from counterpoint.matching import match as find

    matches = find(source, target, points, subpixel=subpixel)
    if not mutual:
        return matches
    # There and back within one cell of the grid: nearer than that the features cannot tell.
    return matches.select(matches.cycle_px <= max(source.stride_px))


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


def _draw(
    place: Path,
    source: "Picture",
    target: "Picture",
    source_map: "FeatureMap",
    target_map: "FeatureMap",
    matches: "Matches",
    heat: bool,
) -> list[Path]:
    from counterpoint.matching import similarity_map
    from counterpoint.plots import draw_heat, draw_matches, draw_query, join_columns, save_png

    stem = f"{Path(source.name).stem}--{Path(target.name).stem}"
    written = [save_png(draw_matches(source, target, matches), place / f"{stem}.matches.png")]
    for i in range(len(matches) if heat else 0):
        similarity = similarity_map(source_map, target_map, matches.source_px[i])
        panels = [
            draw_query(source, matches.source_px[i]),
            draw_heat(target, similarity, matches.target_px[i]),
        ]
        written.append(save_png(join_columns(panels), place / f"{stem}.heat-{i + 1}.png"))
    return written
