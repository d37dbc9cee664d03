"""PCK of animals' joints in videos, as BADJA is scored (Harley et al. 2022, PIPs).

A joint is found when it lies nearer to its true place than 0.2 times the square root of the
animal's area in that frame; or, as DINO-Tracker (Tumanyan et al. 2024) adds, than 3 pixels of a
video of 854 x 480. PIPs measures the former in frames squashed to 512 x 320. A video's figure is
the share over its joints and annotated frames, the first of which, where joints are given, does not
count; the data set's is the mean over videos.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from counterpoint.benchmarks.metrics import Estimate
from counterpoint.benchmarks.videos.mask_metrics import estimate, require_new
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH

AREA_SHARE = 0.2
"""Of the square root of the animal's area."""

NEAR_PX = 3.0
"""In a video of `AT_WH`."""

AT_WH: SizeWH = (854, 480)
"""The size that distances are measured at, pixels."""

MEASURES = ("PCK@0.2 of the area's root", "within 3 px")


@dataclass(frozen=True)
class AnimalCounts:
    """Counts of one video.

    Attributes:
        video: its name.
        correct: joints found by each of `MEASURES`.
        points: that count.
        lost: of these, how many have no prediction (they count as wrong).
        not_given: joints that are visible later but not in the first frame, so that nobody said
            where they are; in ``points`` only where `BadjaPCK.count_not_given`.
    """

    video: str
    correct: tuple[int, int]
    points: int
    lost: int
    not_given: int


@dataclass(frozen=True)
class BadjaScore:
    """One measure, in per cent.

    Attributes:
        measure: one of `MEASURES`.
        mean: over videos, with an interval by bootstrap over them.
        per_point: found joints over all joints.
        videos: how many.
        points: that count.
        lost: points without a prediction.
        not_given: joints that the first frame does not show.
    """

    measure: str
    mean: Estimate
    per_point: float
    videos: int
    points: int
    lost: int
    not_given: int


@dataclass(frozen=True)
class BadjaPCK:
    """BADJA's figures video by video; `update` gives a new one, nothing is changed.

    Attributes:
        count_not_given: count joints that the first frame does not show as wrong, as PIPs' code
            practically does, which follows them from the picture's corner.
        videos: counts, in the order of names.
    """

    count_not_given: bool = False
    videos: tuple[AnimalCounts, ...] = ()

    def update(
        self,
        video: str,
        predicted_px: Float[np.ndarray, "_ _ 2"],
        true_px: Float[np.ndarray, "_ _ 2"],
        visible: Bool[np.ndarray, "_ _"],
        areas_px: Float[np.ndarray, " _"],
        size_wh: SizeWH,
    ) -> "BadjaPCK":
        """With one more video.

        Args:
            video: its name.
            predicted_px: of the annotated frames, (frames, joints, 2), pixels of the video; NaN
                where lost.
            true_px: of no meaning where not visible.
            visible: (frames, joints).
            areas_px: of the animal in each frame, pixels of the video.
            size_wh: of the video, pixels.

        Raises:
            BadInput: shapes that differ, fewer than two frames, an empty animal, no joint that
                counts, or a video that is there already.
        """
        shapes = {predicted_px.shape[:2], true_px.shape[:2], visible.shape}
        if len(shapes) > 1 or len(visible) < 2 or areas_px.shape != visible.shape[:1]:
            raise BadInput(
                f"expected joints (frames, joints) of {video} of one shape, at least 2 frames, and "
                f"an area a frame; got {sorted(shapes)} and {areas_px.shape}"
            )
        if not (areas_px > 0).all():
            raise BadInput(f"expected an area above 0 in every annotated frame of {video}")
        shown, given = visible[1:], visible[0]
        counted = shown if self.count_not_given else shown & given
        if not counted.any():
            raise BadInput(f"expected joints of {video} that are visible again, got none")
        scale = np.asarray(AT_WH) / size_wh
        distance = np.linalg.norm((predicted_px - true_px)[1:] * scale, axis=2)
        distance[:, ~given] = np.nan
        limits = AREA_SHARE * np.sqrt(areas_px[1:, None] * scale.prod())
        hits = [((distance < limit) & counted).sum() for limit in (limits, NEAR_PX)]
        new = AnimalCounts(
            video,
            (int(hits[0]), int(hits[1])),
            int(counted.sum()),
            int((np.isnan(distance) & counted).sum()),
            int((shown & ~given).sum()),
        )
        return self.joined(BadjaPCK(self.count_not_given, (new,)))

    def joined(self, other: "BadjaPCK") -> "BadjaPCK":
        """With what was scored elsewhere.

        Raises:
            BadInput: a video is in both, or they count in different ways.
        """
        if self.count_not_given != other.count_not_given:
            raise BadInput("expected scores with the same rule for joints that are not given")
        require_new({v.video for v in self.videos}, (v.video for v in other.videos))
        everything = sorted((*self.videos, *other.videos), key=lambda v: v.video)
        return BadjaPCK(self.count_not_given, tuple(everything))

    def compute(self, seed: int = 0) -> tuple[BadjaScore, ...]:
        """The figures by each measure; ``seed`` is the bootstrap's.

        Raises:
            BadInput: no video yet.
        """
        if not self.videos:
            raise BadInput("expected at least one video to score, got none")
        points = np.array([v.points for v in self.videos])
        found: list[BadjaScore] = []
        for i, measure in enumerate(MEASURES):
            correct = np.array([v.correct[i] for v in self.videos])
            shares = 100 * correct / points
            found.append(
                BadjaScore(
                    measure,
                    estimate(lambda drawn, of=shares: float(of[drawn].mean()), len(shares), seed),
                    100 * float(correct.sum() / points.sum()),
                    len(self.videos),
                    int(points.sum()),
                    sum(v.lost for v in self.videos),
                    sum(v.not_given for v in self.videos),
                )
            )
        return tuple(found)
