"""An edit through a video: each frame matched to the source, the warps made steady over time.

Every frame is asked on its own, so nothing drifts and an edit comes back after it was hidden. What
single frames say trembles, and some are wrong: a few points of each island are followed through
time by local lines, fitted robustly (LOWESS: Cleveland, JASA 1979) and weighed by support, and
the frame's warp is fitted to those. Frames that contradict their neighbours lose their say; short
gaps are bridged, long ones stay without the edit.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float

from counterpoint.errors import BadInput
from counterpoint.geometry import PixelTransform, Points, SizeWH
from counterpoint.tasks.edits.carry import CarriedEdit
from counterpoint.tasks.edits.layers import Edit, Kept, Overlay, render
from counterpoint.tasks.edits.search import CarriedPart
from counterpoint.tasks.edits.warps import Warp, WarpKind, implausible, smooth_plate, usual_scale

_SIDE = 4
"""Points to a side that stand for an island's warp."""

_KEPT_SIDE = 24
"""Cells to a side on which the drawn part of an island is kept through time."""

_ROUNDS = 4
"""Of weighing frames down that contradict their neighbours."""

_TOLERANCE = 6.0
"""Times the usual deviation, at which a frame has no say: Cleveland's six medians."""


@dataclass(frozen=True, kw_only=True)
class Steadying:
    """How warps are made steady.

    Attributes:
        sigma: of the Gaussian in time, frames; 0 leaves every frame as it was found.
        gap: frames without the edit, on end, that are bridged.
    """

    sigma: float | int = 1.5
    gap: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= 1000 or self.gap < 0:
            raise BadInput(
                "expected a smoothing of 0 to 1000 frames and a gap of at least 0, "
                f"got {self.sigma:g} and {self.gap}"
            )


_USUAL = Steadying()


@dataclass(frozen=True, eq=False)
class FrameFinding:
    """What one frame says of one island; small, whatever the frame's size.

    Attributes:
        ends: (16, 2), where the island's points lie in the frame; NaN where it was refused.
        kept: (24, 24), which part of it is drawn.
        weight: share of its points that agree; 0 where it was refused.
        kind: of warp, "" where refused.
        reason: why it was refused.
    """

    ends: Points
    kept: Float[np.ndarray, "rows columns"]
    weight: float
    kind: WarpKind | None
    reason: str


@dataclass(frozen=True, eq=False)
class SteadyIsland:
    """One island in one frame, to be drawn.

    Attributes:
        island: which, from 1.
        warp: from source to frame pixels.
        kept: where it is drawn.
        moved_px: how far steadying moved it, median over its points; NaN where the frame itself
            had refused it.
    """

    island: int
    warp: Warp
    kept: Kept
    moved_px: float

    def overlay(self, edit: Edit, frame_wh: SizeWH) -> Overlay:
        """What is to be laid over the frame."""
        return render(edit.only((self.island,)), self.warp, frame_wh, self.kept)


def frame_findings(found: CarriedEdit) -> list[FrameFinding]:
    """What a frame says of each island, in order."""
    parts = {island: part for part in found.parts for island in part.islands}
    reasons = {refused.island: refused.reason for refused in found.refused}
    return [
        _finding(found.edit, island, parts.get(island), reasons.get(island, ""))
        for island in range(1, found.edit.island_count + 1)
    ]


def _finding(edit: Edit, island: int, part: CarriedPart | None, reason: str) -> FrameFinding:
    if part is None:
        lost = np.full((_SIDE**2, 2), np.nan)
        return FrameFinding(lost, np.ones((_KEPT_SIDE, _KEPT_SIDE)), 0.0, None, reason)
    ends = part.fit.warp.apply(island_points(edit, island))
    kept = np.ones(_KEPT_SIDE**2)
    if part.kept is not None:
        kept = part.kept.at(_kept_grid(edit, island).invert().apply(_grid(_KEPT_SIDE)))
    kept = kept.reshape(_KEPT_SIDE, _KEPT_SIDE)
    return FrameFinding(ends, kept, part.support, part.fit.warp.kind, "")


def _box(edit: Edit, island: int) -> tuple[np.ndarray, np.ndarray]:
    outline = edit.only((island,)).outline_px
    return outline.min(axis=0), outline.max(axis=0)


def island_points(edit: Edit, island: int) -> Points:
    """The points that stand for an island's warp: a grid over its box, source pixels, (16, 2)."""
    low, high = _box(edit, island)
    return low + _grid(_SIDE) / (_SIDE - 1) * (high - low)


def _kept_grid(edit: Edit, island: int) -> PixelTransform:
    low, high = _box(edit, island)
    scale = (_KEPT_SIDE - 1) / np.maximum(high - low, 1e-6)
    offset = -low * scale
    return PixelTransform((float(scale[0]), float(scale[1])), (float(offset[0]), float(offset[1])))


def _grid(side: int) -> Points:
    axis = np.arange(side, dtype=np.float64)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def steady(
    edit: Edit,
    findings: Sequence[Sequence[FrameFinding]],
    frame_wh: SizeWH,
    how: Steadying = _USUAL,
) -> list[list[SteadyIsland]]:
    """What to draw on each frame.

    Args:
        edit: over the source picture.
        findings: of each frame, in order, from `frame_findings`.
        frame_wh: of the frames, pixels.
        how: how steady.

    Returns:
        For each frame its islands to be drawn.
    """
    drawn: list[list[SteadyIsland]] = [[] for _ in findings]
    for island in range(1, edit.island_count + 1):
        track = [frame[island - 1] for frame in findings]
        placings = _steady_island(edit, island, track, frame_wh, how)
        for frame, placed in zip(drawn, placings, strict=True):
            if placed is not None:
                frame.append(placed)
    return drawn


def _steady_island(
    edit: Edit, island: int, track: list[FrameFinding], frame_wh: SizeWH, how: Steadying
) -> list[SteadyIsland | None]:
    kinds: Counter[WarpKind] = Counter(f.kind for f in track if f.kind is not None)
    if not kinds:
        return [None] * len(track)
    ends = np.stack([finding.ends for finding in track])
    weight = np.array([finding.weight for finding in track])
    kept = np.stack([finding.kept for finding in track])
    smooth, weight = smooth_in_time(ends, weight, how.sigma)
    kept, _ = smooth_in_time(kept.reshape(len(track), -1, 1), weight, how.sigma, robust=False)
    near = _bridged(weight > 0, how.gap)
    start, kind = island_points(edit, island), kinds.most_common(1)[0][0]
    to_cells = _kept_grid(edit, island)
    usual = usual_scale(edit.source_wh, frame_wh)
    placed: list[SteadyIsland | None] = []
    for t in range(len(track)):
        if not near[t]:
            placed.append(None)
            continue
        warp = least_squares(start, smooth[t], kind)
        share = kept[t].reshape(_KEPT_SIDE, _KEPT_SIDE).clip(0, 1)
        moved = float(np.median(np.linalg.norm(smooth[t] - ends[t], axis=1)))
        sound = not implausible(warp, start, expected_scale=usual)
        placed.append(SteadyIsland(island, warp, Kept(share, to_cells), moved) if sound else None)
    return placed


def _bridged(found: Bool[np.ndarray, " frames"], gap: int) -> Bool[np.ndarray, " frames"]:
    """Frames found, and those in gaps between them that are short enough."""
    near = found.copy()
    at = np.flatnonzero(found)
    for before, after in pairwise(at):
        if after - before - 1 <= gap:
            near[before:after] = True
    return near


def smooth_in_time(
    values: Float[np.ndarray, "frames points axes"],
    weight: Float[np.ndarray, " frames"],
    sigma: float | int,
    *,
    robust: bool = True,
) -> tuple[Float[np.ndarray, "frames points axes"], Float[np.ndarray, " frames"]]:
    """Local lines through time at every frame.

    Args:
        values: by frame; NaN where the weight is 0.
        weight: how far each frame is trusted, 0 or more.
        sigma: of the Gaussian in time, frames; 0: values as they are, gaps on straight lines.
        robust: weigh down frames that contradict their neighbours.

    Returns:
        The smoothed values, at frames without weight too, and the weights left: 0 where a frame
        was found to be wrong.

    >>> line = np.arange(20.0).reshape(20, 1, 1)
    >>> line[7] = 40
    >>> smooth, weight = smooth_in_time(line, np.ones(20), 1.5)
    >>> smooth[6:9].ravel().round(2).tolist(), weight[7].item()
    ([6.0, 7.0, 8.0], 0.0)
    """
    clean = np.where(np.isfinite(values), values, 0.0)
    trusted = weight.astype(np.float64)
    if robust and (trusted > 0).sum() > 4:
        for _ in range(_ROUNDS):
            off = _deviation(clean, trusted, max(sigma, 1.0))
            usual = float(np.median(off[weight > 0]))
            limit = max(_TOLERANCE * usual, 1.0)
            trusted = weight * np.clip(1 - (off / limit) ** 2, 0, 1) ** 2
    if sigma == 0:
        return _straight(clean, trusted), trusted
    return _local_lines(clean, trusted, sigma, leave_out=False), trusted


def _deviation(
    values: np.ndarray, weight: np.ndarray, sigma: float | int
) -> Float[np.ndarray, " n"]:
    """How far each frame lies from the line through its neighbours, median over points."""
    lines = _local_lines(values, weight, sigma, leave_out=True)
    return np.median(np.linalg.norm(values - lines, axis=2), axis=1)


def _local_lines(
    values: np.ndarray, weight: np.ndarray, sigma: float | int, *, leave_out: bool
) -> np.ndarray:
    """At each frame the value of the weighted line through what is around it in time."""
    frames = len(values)
    result = np.empty_like(values)
    times = np.arange(frames, dtype=np.float64)
    known = np.flatnonzero(weight > 0)
    for t in range(frames):
        # Within a long gap the nearest frames decide, however far they are.
        nearest = np.sort(np.abs(known - t))[: 3 + leave_out]
        wide = max(sigma, float(nearest[-1]) / 2 if len(nearest) else sigma)
        some = slice(max(0, int(t - 4 * wide)), int(t + 4 * wide) + 1)
        around = weight[some] * np.exp(-0.5 * ((times[some] - t) / wide) ** 2)
        if leave_out and t - some.start < len(around):
            around[t - some.start] = 0
        result[t] = _line_at(times[some] - t, values[some], around)
    return result


def _line_at(times: np.ndarray, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weighted least-squares line's value at time 0."""
    total = weight.sum()
    if total <= 0:
        return values[len(values) // 2]
    share = weight / total
    mean_time = share @ times
    mean = np.tensordot(share, values, axes=1)
    spread = share @ (times - mean_time) ** 2
    if spread < 1e-9:
        return mean
    slope = np.tensordot(share * (times - mean_time), values - mean, axes=1) / spread
    return mean - slope * mean_time


def _straight(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Values as they are; where there are none, on straight lines between neighbours."""
    known = np.flatnonzero(weight > 0)
    flat = values.reshape(len(values), -1)
    if not len(known):
        return values
    times = np.arange(len(values))
    columns = [np.interp(times, known, column[known]) for column in flat.T]
    return np.stack(columns, axis=1).reshape(values.shape)


def least_squares(source: Points, target: Points, kind: WarpKind) -> Warp:
    """The warp of a kind that comes nearest to all matches (no wrong ones among them).

    Args:
        source: (N, 2), at least 4 points, not on a line.
        target: (N, 2).
        kind: of warp; a thin plate passes through all.
    """
    if kind == "thin-plate":
        return smooth_plate(source, target)
    if kind == "homography":
        matrix, _ = cv2.findHomography(source, target, 0)
        return Warp(kind, np.asarray(matrix, dtype=np.float64))
    matrix = np.eye(3)
    if kind == "affine":
        plane = np.c_[source, np.ones(len(source))]
        matrix[:2] = np.linalg.lstsq(plane, target, rcond=None)[0].T
        return Warp(kind, matrix)
    # As complex numbers a similarity is one product and one sum.
    z, w = source @ np.array([1, 1j]), target @ np.array([1, 1j])
    turn = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean())
    shift = w.mean() - turn * z.mean()
    matrix[:2] = [
        [turn.real, -turn.imag, shift.real],
        [turn.imag, turn.real, shift.imag],
    ]
    return Warp(kind, matrix)


def unsteadiness(ends: Float[np.ndarray, "frames points 2"]) -> float:
    """Median acceleration of points through a video, pixels per frame squared; NaN under 3 frames.

    What trembles accelerates in every frame; smooth motion hardly does.
    """
    if len(ends) < 3:
        return float("nan")
    second = ends[2:] - 2 * ends[1:-1] + ends[:-2]
    length = np.linalg.norm(second, axis=2)
    return float(np.nanmedian(length)) if np.isfinite(length).any() else float("nan")


def track_summary(
    edit: Edit, findings: Sequence[Sequence[FrameFinding]], drawn: Sequence[Sequence[SteadyIsland]]
) -> dict[str, Any]:
    """Plain numbers on a video: how many frames carry the edit, how steady it lies."""
    refused = Counter(f.reason for frame in findings for f in frame if f.reason)
    before = np.stack([frame[0].ends for frame in findings])
    start = island_points(edit, 1)
    first = [next((d for d in frame if d.island == 1), None) for frame in drawn]
    lost = np.full_like(start, np.nan)
    after = np.stack([lost if d is None else d.warp.apply(start) for d in first])
    return {
        "frames": len(findings),
        "frames_with_edit": sum(bool(frame) for frame in drawn),
        "frames_refused": sum(not any(f.weight for f in frame) for frame in findings),
        "refusals": [{"reason": r, "frames": n} for r, n in refused.most_common(5)],
        "unsteadiness_px": _number(unsteadiness(before)),
        "unsteadiness_smoothed_px": _number(unsteadiness(after)),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)
