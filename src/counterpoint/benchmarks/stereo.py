"""Protocol `motorcycle-grid`: the same point in the other picture of a real stereo pair.

To the letter: scikit-image's `stereo_motorcycle` (Middlebury 2014, Scharstein et al.; a quarter of
its size: 741 x 500 px), left picture to right. Points: a regular grid of about ``count`` whole
pixels (`grid_points`), those without ground-truth disparity and those whose match lies outside the
right picture left out; points hidden in the right picture stay in. The true match of (x, y) is
(x - disparity, y). Match: as in protocol `cub-crops`, at the pictures' own resolution. Score: the
share of points at most 5 px from the truth, per cent. Pictures enter the network at their own size
unless the options say otherwise. This asks for geometry: nothing about meaning is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.controls import hand_made, with_untrained
from counterpoint.benchmarks.metrics import correct_points
from counterpoint.benchmarks.taps import blocks, extract_joined, require_taps, timestep
from counterpoint.errors import BadInput, MissingExtra
from counterpoint.geometry import Points, grid_points, inside
from counterpoint.images import Picture
from counterpoint.matching import match
from counterpoint.options import Options

PROTOCOL = "motorcycle-grid"

WITHIN_PX = 5.0


@dataclass(frozen=True, eq=False)
class StereoGrid:
    """Points of the left picture and where they are in the right one.

    Attributes:
        left: the source picture.
        right: the target picture.
        left_px: (N, 2), pixels of the left picture.
        right_px: (N, 2), their true matches, pixels of the right picture.
    """

    left: Picture
    right: Picture
    left_px: Points
    right_px: Points


@dataclass(frozen=True)
class StereoRow:
    """One method's score.

    Attributes:
        method: "small", "same position", ...
        tap: where its features were read.
        t: time step; None: no noise.
        input_wh: the model's input size, pixels; None: none.
        share: of points within 5 px of the true match, per cent.
        median_px: median distance from the true match, pixels.
        points: how many.
    """

    method: str
    tap: str
    t: int | None
    input_wh: tuple[int, int] | None
    share: float
    median_px: float
    points: int


def motorcycle(count: int = 400) -> StereoGrid:
    """The pair with about ``count`` grid points (fewer where the truth is not known).

    Raises:
        MissingExtra: scikit-image is not installed.
        BadInput: no point is left.
    """
    try:
        from skimage.data import stereo_motorcycle
    except ImportError as error:
        raise MissingExtra("demo", "the stereo pair's pictures") from error
    left, right, disparity = stereo_motorcycle()
    return stereo_grid(Picture(left, "left"), Picture(right, "right"), disparity, count)


def stereo_grid(left: Picture, right: Picture, disparity: np.ndarray, count: int) -> StereoGrid:
    """Grid points of a rectified pair; ``disparity`` (rows, columns), pixels, else not finite.

    Raises:
        BadInput: no point with a known match inside the right picture.
    """
    points = grid_points(left.size_wh, count)
    x, y = points.astype(int).T
    shift = disparity[y, x].astype(np.float64)
    known = np.isfinite(shift)
    points, shift = points[known], shift[known]
    truth = points - np.stack([shift, np.zeros_like(shift)], axis=1)
    kept = inside(truth, right.size_wh)
    if not kept.any():
        raise BadInput(f"expected grid points with a known match, got none of {count}")
    return StereoGrid(left, right, points[kept], truth[kept])


def score_same_position(grid: StereoGrid) -> StereoRow:
    """The control: every point stays where it is."""
    return _row(grid, grid.left_px, "same position", "", None, None)


def score_stereo(
    backbone: Backbone,
    grid: StereoGrid,
    *,
    t: int | None = None,
    taps: Sequence[str] | None = None,
    options: Options | None = None,
    method: str | None = None,
) -> tuple[StereoRow, ...]:
    """One row a tap, all from one forward pass a picture; arguments as in `score_taps`."""
    names = list(taps or [tap.name for tap in backbone.taps])
    pictures = [grid.left, grid.right]
    left, right = extract_joined(backbone, pictures, names, t, _own_size(options or Options()))
    title = method or backbone.spec.name
    rows: list[StereoRow] = []
    for name in names:
        found = match(
            left[name], right[name], grid.left_px, margin_radius=None, cycle=False
        ).target_px
        used = left[name]
        rows.append(_row(grid, found, title, name, timestep(used), used.input_wh))
    return tuple(rows)


def stereo_rows(
    backbone: Backbone,
    grid: StereoGrid,
    *,
    timesteps: Sequence[int] = (),
    taps: Sequence[str] | None = None,
    options: Options | None = None,
) -> tuple[StereoRow, ...]:
    """A model by time step and tap (by default the ends of its blocks), after its controls.

    Raises:
        UnknownName: a tap that the model does not have.
    """
    names = require_taps(backbone, taps or blocks(backbone))
    rows = [score_same_position(grid)]
    for model in hand_made(backbone):
        rows += score_stereo(model, grid)
    seed = 0 if options is None else options.seed
    for model in with_untrained(backbone, seed):
        for t in list(timesteps) or [backbone.spec.t]:
            rows += score_stereo(model, grid, t=t, taps=names, options=options)
    return tuple(rows)


def _own_size(options: Options) -> Options:
    return options if options.size or options.fit else options.but(fit="keep")


def _row(
    grid: StereoGrid,
    found_px: Points,
    method: str,
    tap: str,
    t: int | None,
    input_wh: tuple[int, int] | None,
) -> StereoRow:
    hits = correct_points(found_px, grid.right_px, WITHIN_PX)
    distance = np.linalg.norm(found_px - grid.right_px, axis=1)
    share, median = 100 * float(hits.mean()), float(np.median(distance))
    return StereoRow(method, tap, t, input_wh, share, median, len(hits))
