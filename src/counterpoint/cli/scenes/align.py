"""`counterpoint align`: the homography, fundamental or essential matrix between two pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from counterpoint.cli.common import DEFAULTS, ModelOptions, console, output_folder, print_json
from counterpoint.cli.scenes.exports import Exports, write_exports
from counterpoint.cli.scenes.keypoints import KeyPointFinder, Matching
from counterpoint.cli.sources import geometric_source
from counterpoint.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

    from counterpoint.backbones.keypoints import KeyPoints
    from counterpoint.features import FeatureMap
    from counterpoint.images import Picture
    from counterpoint.matching import Matches
    from counterpoint.options import Options
    from counterpoint.tasks.scenes.homography import Estimate, NoEstimate


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """What is fitted to the matches.

    Attributes:
        relation: homography, for a plane or a camera that only turns; fundamental, for any scene;
            essential, for any scene and a known --focal length.
        estimator: OpenCV's method.
        threshold: within which a match agrees, pixels.
        focal: focal length in pixels, of both pictures, or of each in turn; their centres are
            taken for the principal points.
    """

    relation: Literal["homography", "fundamental", "essential"] = "homography"
    estimator: Literal["lmeds", "ransac", "usac", "magsac"] = "magsac"
    threshold: float = 3.0
    focal: Annotated[list[float] | None, Parameter(negative="", consume_multiple=True)] = None


Matched = Annotated[Matching, Parameter(name="*", group="Matching")]
Fitted = Annotated[Fitting, Parameter(name="*", group="Matrix")]

_USUAL = Matching()
_PLANE = Fitting()


def align(
    source: Path,
    target: Path,
    /,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
    out: Path | None = None,
    export: Exports = None,
    features: Path | None = None,
    matching: Matched = _USUAL,
    fitting: Fitted = _PLANE,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Find the matrix that takes SOURCE to TARGET, pixels to pixels.

    Key points of both pictures, features there, mutual nearest neighbours, a robust fit. Where
    there is none, or no more agreement than chance gives, it says why and exits with 1.

    Where the options for features are silent, they are those for geometry, as in
    `counterpoint bench hpatches`.

    Parameters
    ----------
    source
        The picture to align.
    target
        The picture to align it to.
    json
        Print JSON.
    out
        A folder for pictures: the matches that agree, and of a homography SOURCE over TARGET.
    export
        Write into OUT for other tools; see `counterpoint scene`.
    features
        The folder of `extract`'s files for both pictures: no model is run.
    """
    from counterpoint.images import load_picture

    pictures = load_picture(source), load_picture(target)
    cameras = _cameras(fitting, pictures)
    place = output_folder(out) if out else None
    if export and not place:
        raise BadInput("expected a folder, --out, for --export")
    seen = _see(pictures, [source, target], matching, features, options)
    matches = _match(seen, matching)
    found = _fit(matches, fitting, cameras)
    written = _draw(place, pictures, matches, found) if place else []
    exported = _export(place, seen, matches, found, fitting, export) if place and export else []
    result = _result(pictures, seen, matches, found, fitting, written)
    result["exported"] = [str(path) for path in exported]
    if json:
        print_json(result)
    else:
        _print(result)
    return 0 if result["matrix"] else 1


def _cameras(
    fitting: Fitting, pictures: "tuple[Picture, Picture]"
) -> "tuple[np.ndarray, np.ndarray] | None":
    from counterpoint.geometry import camera_matrix

    if fitting.relation != "essential":
        return None
    focal = fitting.focal or []
    if len(focal) not in (1, 2) or min(focal) <= 0:
        raise BadInput("expected --focal in pixels, one or two above 0, for an essential matrix")
    first, second = (
        camera_matrix(f, p.size_wh) for f, p in zip((focal[0], focal[-1]), pictures, strict=True)
    )
    return first, second


@dataclass(frozen=True, eq=False)
class Seen:
    """One picture, its features, and where they are compared (None: at every pixel)."""

    path: Path
    picture: "Picture"
    fmap: "FeatureMap"
    points: "KeyPoints | None"


def _see(
    pictures: "tuple[Picture, Picture]",
    paths: list[Path],
    matching: Matching,
    features: Path | None,
    options: "Options",
) -> tuple[Seen, Seen]:
    # Before the model, which takes long to load: what is missing should be said at once.
    finder = KeyPointFinder(matching, 2, options.device)
    source = geometric_source(options, features, paths)
    maps = list(source.stream(pictures))
    first = finder.find(pictures[0], 0)
    # Two grids would agree best on no motion at all; every pixel of the target may answer.
    second = None if finder.grid else finder.find(pictures[1], 1)
    return (
        Seen(paths[0], pictures[0], maps[0], first),
        Seen(paths[1], pictures[1], maps[1], second),
    )


def _match(seen: tuple[Seen, Seen], matching: Matching) -> "Matches":
    from counterpoint.matching import mutual_matches

    a, b = seen
    ends = [None if one.points is None else one.points.points_px for one in seen]
    return mutual_matches(a.fmap, b.fmap, *ends, metric=matching.metric)


def _fit(
    matches: "Matches", fitting: Fitting, cameras: "tuple[np.ndarray, np.ndarray] | None"
) -> "Estimate | NoEstimate":
    from counterpoint.tasks.scenes.homography import Robust
    from counterpoint.tasks.scenes.views import relate

    ends = matches.source_px, matches.target_px
    robust = Robust(method=fitting.estimator, threshold_px=fitting.threshold)
    return relate(*ends, matches.target_size_wh, fitting.relation, robust, cameras=cameras)


def _export(
    place: Path,
    seen: tuple[Seen, Seen],
    matches: "Matches",
    found: "Estimate | NoEstimate",
    fitting: Fitting,
    export: Sequence[str],
) -> list[Path]:
    """The one pair as a scene of two views."""
    import numpy as np

    from counterpoint.backbones.keypoints import KeyPoints
    from counterpoint.cli.scenes.exports import names_below
    from counterpoint.tasks.scenes.views import ViewPair, indices_of, view_of

    points: list[KeyPoints] = []
    for one, ends in zip(seen, (matches.source_px, matches.target_px), strict=True):
        chosen = one.points
        if chosen is None:  # every pixel was asked
            found_px = np.unique(ends, axis=0)
            chosen = KeyPoints(found_px, np.ones(len(found_px)))
        points.append(chosen)
    _, names = names_below([one.path for one in seen])
    views = [view_of(n, one.fmap, p) for n, one, p in zip(names, seen, points, strict=True)]
    rows = [
        indices_of(points[0].points_px, matches.source_px),
        indices_of(points[1].points_px, matches.target_px),
    ]
    pair = ViewPair(0, 1, np.stack(rows, axis=1), matches.similarity, found)
    focal = fitting.focal or [None]
    return write_exports(
        place, views, [pair], export, [one.path for one in seen], [focal[0], focal[-1]]
    )


def _draw(
    place: Path,
    pictures: "tuple[Picture, Picture]",
    matches: "Matches",
    found: "Estimate | NoEstimate",
) -> list[Path]:
    from counterpoint.api.aligning import Aligned
    from counterpoint.plots import save_png

    aligned = Aligned(*pictures, matches, found)
    if aligned.matrix is None:
        return []
    stem = f"{Path(pictures[0].name).stem}--{Path(pictures[1].name).stem}"
    written = [save_png(aligned.draw(), place / f"{stem}.inliers.png")]
    if found.relation == "homography":
        written.append(save_png(aligned.overlay().rgb, place / f"{stem}.overlay.png"))
    return written


def _result(
    pictures: "tuple[Picture, Picture]",
    seen: tuple[Seen, Seen],
    matches: "Matches",
    found: "Estimate | NoEstimate",
    fitting: Fitting,
    written: list[Path],
) -> dict[str, Any]:
    from counterpoint.tasks.scenes.homography import NoEstimate

    none = isinstance(found, NoEstimate)
    return {
        "source": pictures[0].name,
        "target": pictures[1].name,
        "model": seen[0].fmap.provenance.model,
        "keypoints": [None if one.points is None else len(one.points) for one in seen],
        "matches": len(matches),
        "inliers": 0 if none else found.support,
        "relation": fitting.relation,
        "estimator": fitting.estimator,
        "threshold_px": fitting.threshold,
        "matrix": None if none else found.matrix.tolist(),
        "reason": found.reason if none else "",
        "inlier_matches": None if none else matches.select(found.inliers).to_dict(),
        "pictures": [str(path) for path in written],
    }


def _print(result: dict[str, Any]) -> None:
    shown = console()
    first, second = result["keypoints"]
    points = f"{first} grid points" if second is None else f"{first} and {second} key points"
    counts = f"{points}, {result['matches']} mutual matches"
    if result["matrix"]:
        shown.print(f"{counts}, {result['inliers']} inliers; {result['relation']}:")
        for row in result["matrix"]:
            shown.print("  " + " ".join(f"{number:14.7g}" for number in row))
    else:
        shown.print(f"{counts}; no {result['relation']}: {result['reason']}", soft_wrap=True)
    for path in [*result["pictures"], *result["exported"]]:
        shown.print(f"wrote {path}", soft_wrap=True)
