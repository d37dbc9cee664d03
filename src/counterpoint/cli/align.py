"""`counterpoint align`: the homography, fundamental or essential matrix between two pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    console,
    open_model,
    output_folder,
    print_json,
)

if TYPE_CHECKING:
    import numpy as np

    from counterpoint.images import Picture
    from counterpoint.matching import Matches
    from counterpoint.options import Options
    from counterpoint.tasks.homography import Estimate, NoEstimate

DRAWN = 120
"""Matches in the picture of the inliers, at most."""


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How the pictures are matched.

    Attributes:
        keypoints: where features are compared; the points of a grid are sought among all pixels
            of TARGET.
        count: key points a picture, at most.
        metric: of the features.
    """

    keypoints: Literal["sift", "orb", "grid"] = "sift"
    count: int = 1000
    metric: Literal["cosine", "l2"] = "cosine"


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
    """
    from counterpoint.images import load_picture

    pictures = load_picture(source), load_picture(target)
    cameras = _cameras(fitting, pictures)
    place = output_folder(out) if out else None
    counts, matches = _match(pictures, matching, options)
    found = _fit(matches, fitting, cameras)
    written = _draw(place, pictures, matches, found) if place else []
    result = _result(pictures, options.model, counts, matches, found, fitting, written)
    if json:
        print_json(result)
    else:
        _print(result)
    return 0 if result["matrix"] else 1


def _cameras(
    fitting: Fitting, pictures: "tuple[Picture, Picture]"
) -> "tuple[np.ndarray, np.ndarray] | None":
    import numpy as np

    from counterpoint.errors import BadInput

    if fitting.relation != "essential":
        return None
    focal = fitting.focal or []
    if len(focal) not in (1, 2) or min(focal) <= 0:
        raise BadInput("expected --focal in pixels, one or two above 0, for an essential matrix")
    lengths = (focal[0], focal[-1])
    first, second = (
        np.array([[f, 0, (p.size_wh[0] - 1) / 2], [0, f, (p.size_wh[1] - 1) / 2], [0, 0, 1]])
        for f, p in zip(lengths, pictures, strict=True)
    )
    return first, second


def _match(
    pictures: "tuple[Picture, Picture]", matching: Matching, options: "Options"
) -> "tuple[tuple[int, int | None], Matches]":
    from counterpoint.matching import mutual_matches
    from counterpoint.tasks.local_features import detect, geometric_options

    backbone = open_model(options)
    a, b = backbone.extract(list(pictures), geometric_options(backbone.spec, options))
    first = detect(pictures[0], matching.keypoints, matching.count)
    if matching.keypoints == "grid":
        # Two grids would agree best on no motion at all; every pixel of the target may answer.
        return (len(first), None), mutual_matches(a, b, first, metric=matching.metric)
    second = detect(pictures[1], matching.keypoints, matching.count)
    return (len(first), len(second)), mutual_matches(a, b, first, second, metric=matching.metric)


def _fit(
    matches: "Matches", fitting: Fitting, cameras: "tuple[np.ndarray, np.ndarray] | None"
) -> "Estimate | NoEstimate":
    from counterpoint.tasks.homography import Robust, estimate, supported

    ends = matches.source_px, matches.target_px
    robust = Robust(method=fitting.estimator, threshold_px=fitting.threshold)
    found = estimate(*ends, fitting.relation, robust, cameras=cameras)
    return supported(found, *ends, matches.target_size_wh, fitting.threshold)


def _draw(
    place: Path,
    pictures: "tuple[Picture, Picture]",
    matches: "Matches",
    found: "Estimate | NoEstimate",
) -> list[Path]:
    import numpy as np

    from counterpoint.plots import draw_matches, save_png
    from counterpoint.tasks.homography import NoEstimate, overlay

    if isinstance(found, NoEstimate):
        return []
    agreeing = matches.select(found.inliers)
    evenly = np.linspace(0, len(agreeing) - 1, min(DRAWN, len(agreeing))).astype(int)
    stem = f"{Path(pictures[0].name).stem}--{Path(pictures[1].name).stem}"
    drawing = draw_matches(*pictures, agreeing.select(evenly))
    written = [save_png(drawing, place / f"{stem}.inliers.png")]
    if found.relation == "homography":
        laid_over = overlay(*pictures, found.matrix)
        written.append(save_png(laid_over.rgb, place / f"{stem}.overlay.png"))
    return written


def _result(
    pictures: "tuple[Picture, Picture]",
    model: str,
    counts: tuple[int, int | None],
    matches: "Matches",
    found: "Estimate | NoEstimate",
    fitting: Fitting,
    written: list[Path],
) -> dict[str, Any]:
    from counterpoint.tasks.homography import NoEstimate

    none = isinstance(found, NoEstimate)
    return {
        "source": pictures[0].name,
        "target": pictures[1].name,
        "model": model,
        "keypoints": list(counts),
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
    if not result["matrix"]:
        shown.print(f"{counts}; no {result['relation']}: {result['reason']}", soft_wrap=True)
        return
    shown.print(f"{counts}, {result['inliers']} inliers; {result['relation']}:")
    for row in result["matrix"]:
        shown.print("  " + " ".join(f"{number:14.7g}" for number in row))
    for path in result["pictures"]:
        shown.print(f"wrote {path}")
