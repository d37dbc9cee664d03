"""Point tracks as TAP-Vid scores them (Doersch et al. 2022)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from counterpoint.benchmarks.metrics import Interval
from counterpoint.benchmarks.videos.mask_metrics import estimate, require_new
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH

TAP_THRESHOLDS = (1, 2, 4, 8, 16)
"""Distances, pixels of a video scaled to 256 x 256; nearer than each counts."""

TAP_SIDE = 256

QueryMode = Literal["first", "strided"]


@dataclass(frozen=True)
class Queries:
    """Which track is asked for from which frame.

    Attributes:
        tracks: (N,), rows of the annotation.
        frames: (N,), where each track's position is given.
    """

    tracks: Int[np.ndarray, " queries"]
    frames: Int[np.ndarray, " queries"]


def queries_of(
    occluded: Bool[np.ndarray, "tracks frames"], mode: QueryMode, stride: int = 5
) -> Queries:
    """TAP-Vid's queries: each track once, from its first visible frame; or in every fifth frame.

    Args:
        occluded: (tracks, frames).
        mode: "first"; or "strided": all tracks visible in frame 0, 5, 10, ...
        stride: of the latter.
    """
    visible = ~occluded
    if mode == "first":
        tracks = np.flatnonzero(visible.any(axis=1))
        return Queries(tracks, visible[tracks].argmax(axis=1))
    frames, tracks = np.nonzero(visible[:, ::stride].T)
    return Queries(tracks, frames * stride)


@dataclass(frozen=True)
class TapVidFigures:
    """TAP-Vid's figures, in per cent (Doersch et al. 2022).

    Attributes:
        average_jaccard: mean over the thresholds of true positives over true positives, false
            positives and false negatives.
        delta_avg: mean over the thresholds of the share of visible points found within it.
        occlusion_accuracy: how often visible or occluded is told right.
    """

    average_jaccard: float
    delta_avg: float
    occlusion_accuracy: float


@dataclass(frozen=True)
class TapVidScore:
    """Means over videos, as TAP-Vid reports them for DAVIS.

    Attributes:
        figures: the means.
        interval: of the average Jaccard, by bootstrap over videos.
        videos: how many.
        queries: over all videos.
    """

    figures: TapVidFigures
    interval: Interval
    videos: int
    queries: int


@dataclass(frozen=True)
class TapVid:
    """TAP-Vid's figures video by video.

    Attributes:
        mode: which frames count: those after the query's, or all but it.
        videos: name, figures and number of queries, in the order of names.
    """

    mode: QueryMode
    videos: tuple[tuple[str, TapVidFigures, int], ...] = ()

    def update(
        self,
        video: str,
        query_frames: Int[np.ndarray, " _"],
        predicted_px: Float[np.ndarray, "_ _ 2"],
        predicted_occluded: Bool[np.ndarray, "_ _"],
        true_px: Float[np.ndarray, "_ _ 2"],
        true_occluded: Bool[np.ndarray, "_ _"],
        size_wh: SizeWH,
    ) -> "TapVid":
        """With one more video.

        Args:
            video: its name.
            query_frames: in which frame each query's position was given.
            predicted_px: pixels of the video; where occluded they do not matter.
            predicted_occluded: what is said of visibility.
            true_px: pixels of the video.
            true_occluded: the truth.
            size_wh: of the video, which is scaled to 256 x 256 to measure distances.

        Raises:
            BadInput: no queries, shapes that differ, queries outside the video, nothing visible in
                the frames that count, or a video that is there already.
        """
        shape = true_occluded.shape
        shapes = {predicted_px.shape[:2], predicted_occluded.shape, true_px.shape[:2], shape}
        if len(shapes) > 1 or query_frames.shape != shape[:1] or 0 in shape:
            raise BadInput(
                f"expected queries of {video} as (queries, frames), of one shape and at least one; "
                f"got {sorted(shapes)} for {query_frames.shape}"
            )
        if query_frames.min() < 0 or query_frames.max() >= shape[1]:
            raise BadInput(f"expected queries in frames 0 to {shape[1] - 1} of {video}")
        frame = np.arange(shape[1])
        given = query_frames[:, None]
        counted = frame > given if self.mode == "first" else frame != given
        visible = ~true_occluded & counted
        if not visible.any():
            raise BadInput(f"expected visible points in the frames of {video} that count, got none")
        scale = TAP_SIDE / np.asarray(size_wh, dtype=np.float64)
        distance = np.linalg.norm((predicted_px - true_px) * scale, axis=2)
        # A missing position is a position nowhere.
        distance = np.where(np.isnan(distance), np.inf, distance)
        shown = ~predicted_occluded & counted
        within = [distance < threshold for threshold in TAP_THRESHOLDS]
        figures = TapVidFigures(
            average_jaccard=_percent(_jaccard(near, visible, shown) for near in within),
            delta_avg=_percent((near & visible).sum() / visible.sum() for near in within),
            occlusion_accuracy=_percent([(predicted_occluded == true_occluded)[counted].mean()]),
        )
        return self.joined(TapVid(self.mode, ((video, figures, shape[0]),)))

    def joined(self, other: "TapVid") -> "TapVid":
        """With what was scored elsewhere.

        Raises:
            BadInput: a video is in both, or the query modes differ.
        """
        if self.mode != other.mode:
            raise BadInput(f"expected scores of one query mode, got {self.mode} and {other.mode}")
        require_new({name for name, *_ in self.videos}, (name for name, *_ in other.videos))
        return TapVid(self.mode, tuple(sorted((*self.videos, *other.videos), key=lambda v: v[0])))

    def compute(self, seed: int = 0) -> TapVidScore:
        """Means over videos; ``seed`` is the bootstrap's.

        Raises:
            BadInput: no video yet.
        """
        if not self.videos:
            raise BadInput("expected at least one video to score, got none")
        table = np.array(
            [(f.average_jaccard, f.delta_avg, f.occlusion_accuracy) for _, f, _ in self.videos]
        )
        jaccard = estimate(lambda drawn: float(table[drawn, 0].mean()), len(table), seed)
        return TapVidScore(
            TapVidFigures(*(float(column) for column in table.mean(axis=0))),
            jaccard.interval,
            len(self.videos),
            sum(queries for *_, queries in self.videos),
        )


def _jaccard(
    near: Bool[np.ndarray, "q f"], visible: Bool[np.ndarray, "q f"], shown: Bool[np.ndarray, "q f"]
) -> float:
    """A point shown too far from a visible truth is a false positive and its truth a miss."""
    hits = (near & visible & shown).sum()
    false = (shown & ~(near & visible)).sum()
    return float(hits / (visible.sum() + false))


def _percent(shares: Iterable[float]) -> float:
    return 100 * float(np.mean(list(shares)))
