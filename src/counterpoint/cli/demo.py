"""`counterpoint demo`: real photographs matched by the embedded model, offline."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.cli.common import console, output_folder
from counterpoint.errors import MissingExtra
from counterpoint.options import Options

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from counterpoint.backbones.base import Backbone
    from counterpoint.features import FeatureMap
    from counterpoint.matching import Matches

GEOMETRIC_TAP = "up:1"
"""Finer than what serves meaning; every diffusion U-Net here has it."""

FACE_BOX = (110, 0, 320, 210)
"""Left, top, right and bottom of the astronaut's head: at like scale, faces match better."""

FACE = {
    "left eye": (91.0, 101.0),
    "right eye": (137.0, 102.0),
    "nose": (115.0, 128.0),
    "mouth": (116.0, 146.0),
}
"""Points on the head (left and right as seen), pixels of the box."""


def demo(*, out: Path = Path("out"), model: str = "small") -> int:
    """Match real photographs: a person and a cat, and two views of one scene with known truth.

    Parameters
    ----------
    out
        The folder for the pictures.
    model
        The model to use.
    """
    if find_spec("skimage") is None:
        raise MissingExtra("demo", "The demo's photographs")
    from counterpoint.backbones import load

    output_folder(out)
    shown = console()
    backbone = load(model)
    shown.print(f"model {backbone.spec.name}: {backbone.spec.summary}\n")
    written = [*_across_species(backbone, out, shown), *_two_views(backbone, out, shown)]
    shown.print("wrote " + "\n      ".join(str(path) for path in written))
    return 0


def _across_species(model: "Backbone", out: Path, shown: "Console") -> list[Path]:
    """A person's face to a cat's: match picture, heat map, components."""
    from skimage import data

    from counterpoint.images import Picture
    from counterpoint.matching import match, similarity_map
    from counterpoint.plots import (
        draw_components,
        draw_heat,
        draw_matches,
        draw_query,
        join_columns,
        save_png,
    )
    from counterpoint.tasks.parts.components import joint_pca

    left, top, right, bottom = FACE_BOX
    person = Picture(data.astronaut()[top:bottom, left:right], "astronaut")
    cat = Picture(data.chelsea(), "chelsea")
    maps = model.extract([person, cat])
    points = list(FACE.values())
    matches = match(maps[0], maps[1], points)
    _print_points(shown, "a person to a cat", list(FACE), matches)
    if model.spec.name == "small":
        shown.print("across species the embedded model is weak; see `counterpoint models`\n")
    heat = similarity_map(maps[0], maps[1], points[0])
    pair = [draw_query(person, points[0]), draw_heat(cat, heat, matches.target_px[0])]
    colours, _ = joint_pca(maps)
    return [
        save_png(draw_matches(person, cat, matches), out / "face-matches.png"),
        save_png(join_columns(pair), out / "face-heat.png"),
        save_png(draw_components([person, cat], colours, maps=maps), out / "face-pca.png"),
    ]


def _two_views(model: "Backbone", out: Path, shown: "Console") -> list[Path]:
    """A stereo pair, whose disparities were measured: matches, and their true error in pixels."""
    from counterpoint.benchmarks.stereo import motorcycle
    from counterpoint.matching import match
    from counterpoint.plots import draw_matches, save_png

    grid = motorcycle(250)
    views = grid.left, grid.right
    # Geometry wants little noise and fine grids: the pictures' own size.
    maps = model.extract(views, Options(fit="keep", t=20, tap=GEOMETRIC_TAP))
    matches = match(maps[0], maps[1], grid.left_px)
    _print_errors(shown, matches, grid.right_px, maps[0])
    confident = matches.select(matches.confidence.argsort()[::-1][:40])
    return [save_png(draw_matches(*views, confident), out / "views-matches.png")]


def _print_points(shown: "Console", title: str, names: list[str], matches: "Matches") -> None:
    from rich.table import Table

    table = Table("point", "from x,y", "to x,y", title=title, title_justify="left")
    table.add_column("confidence", justify="right")
    table.add_column("similarity", justify="right")
    for i, name in enumerate(names):
        table.add_row(
            name,
            "{:.0f}, {:.0f}".format(*matches.source_px[i]),
            "{:.0f}, {:.0f}".format(*matches.target_px[i]),
            f"{matches.confidence[i]:.2f}",
            f"{matches.similarity[i]:.3f}",
        )
    shown.print(table)


def _print_errors(
    shown: "Console", matches: "Matches", truth: "np.ndarray", fmap: "FeatureMap"
) -> None:
    import numpy as np
    from rich.table import Table

    errors = np.linalg.norm(matches.target_px - truth, axis=1)
    order = np.argsort(matches.confidence)[::-1]
    table = Table("points", title="two views of one scene, true error", title_justify="left")
    for heading in ("count", "median px", "within 5 px", "within 10 px"):
        table.add_column(heading, justify="right")
    halves = {"all with ground truth": order, "the more confident half": order[: len(order) // 2]}
    for name, rows in halves.items():
        e = errors[rows]
        table.add_row(
            name,
            str(len(e)),
            f"{np.median(e):.1f}",
            f"{(e <= 5).mean():.0%}",
            f"{(e <= 10).mean():.0%}",
        )
    shown.print(table)
    shown.print("one cell of the feature grid is {:.1f} x {:.1f} px".format(*fmap.stride_px))
