"""PCK of body joints in videos, as JHMDB is scored (Jhuang et al. 2013; Li et al. 2019, UVC)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from counterpoint.benchmarks.metrics import Estimate
from counterpoint.benchmarks.videos.mask_metrics import estimate, require_new
from counterpoint.errors import BadInput

JOINT_BOX = 0.6
"""The length that thresholds are shares of: so much of the diagonal of the joints' box."""

Values = Float[np.ndarray, " frames"]


@dataclass(frozen=True)
class VideoJoints:
    """Counts of one video, joint by joint.

    Attributes:
        video: its name.
        correct: at each threshold, of each joint.
        points: of each joint.
        lost: predictions that are missing.
    """

    video: str
    correct: tuple[tuple[int, ...], ...]
    points: tuple[int, ...]
    lost: int


@dataclass(frozen=True)
class JointScore:
    """PCK of body joints at one threshold, in per cent.

    Attributes:
        alpha: threshold, in 0.6 diagonals of the box around the joints.
        mean: over the joints, with an interval by bootstrap over videos.
        per_joint: each joint's share of correct points over all videos and frames.
        videos: how many.
        points: over all joints.
        lost: points without a prediction.
    """

    alpha: float
    mean: Estimate
    per_joint: tuple[float, ...]
    videos: int
    points: int
    lost: int


@dataclass(frozen=True)
class JointPCK:
    """JHMDB's PCK: distance at most ``alpha`` times 0.6 diagonals of the true joints' box.

    The first frame, whose joints are given, does not count.

    Attributes:
        alphas: thresholds.
        skip_lost: leave missing predictions out of the figures and of the boxes, as the code that
            papers used does; by default they count as wrong.
        videos: counts, in the order of names.
    """

    alphas: tuple[float, ...] = (0.1, 0.2)
    skip_lost: bool = False
    videos: tuple[VideoJoints, ...] = ()

    def update(self, video: str, predicted_px: ArrayLike, true_px: ArrayLike) -> "JointPCK":
        """With one more video.

        Args:
            video: its name.
            predicted_px: (frames, joints, 2), (x, y), pixels of the video; NaN where lost.
            true_px: (frames, joints, 2).

        Raises:
            BadInput: other shapes, fewer than two frames, true joints that are not finite or all
                in one place, or a video that is there already.
        """
        mine, theirs = (np.asarray(p, dtype=np.float64) for p in (predicted_px, true_px))
        if mine.shape != theirs.shape or mine.ndim != 3 or mine.shape[2] != 2 or len(mine) < 2:
            raise BadInput(
                f"expected joints (frames, joints, 2) of at least 2 frames of {video}, "
                f"got {mine.shape} and {theirs.shape}"
            )
        if not np.isfinite(theirs).all():
            raise BadInput(f"expected finite joints of {video}, got NaN or infinity")
        found = np.asarray(np.isfinite(mine[1:]).all(axis=2))
        counted = np.logical_or(found, not self.skip_lost)
        length = JOINT_BOX * _diagonals(video, theirs[1:], counted)
        distance = np.linalg.norm(mine[1:] - theirs[1:], axis=2)
        near = [found & (distance <= alpha * length[:, None]) for alpha in self.alphas]
        new = VideoJoints(
            video,
            tuple(tuple(hits.sum(axis=0).tolist()) for hits in near),
            tuple(counted.sum(axis=0).tolist()),
            int((~found).sum()),
        )
        return self.joined(JointPCK(self.alphas, self.skip_lost, (new,)))

    def joined(self, other: "JointPCK") -> "JointPCK":
        """With what was scored elsewhere.

        Raises:
            BadInput: a video is in both, or the two are scored in different ways.
        """
        if (self.alphas, self.skip_lost) != (other.alphas, other.skip_lost):
            raise BadInput("expected scores with the same thresholds and rule for lost joints")
        require_new({v.video for v in self.videos}, (v.video for v in other.videos))
        everything = sorted((*self.videos, *other.videos), key=lambda v: v.video)
        if len({len(v.points) for v in everything}) > 1:
            raise BadInput("expected videos of one number of joints")
        return JointPCK(self.alphas, self.skip_lost, tuple(everything))

    def compute(self, seed: int = 0) -> tuple[JointScore, ...]:
        """The figures at each threshold; ``seed`` is the bootstrap's.

        Raises:
            BadInput: no video yet, or a joint that was always lost and is not to count.
        """
        if not self.videos:
            raise BadInput("expected at least one video to score, got none")
        points = np.array([v.points for v in self.videos])
        if not points.sum(axis=0).all():
            raise BadInput("expected every joint to be found somewhere, got one that never was")
        return tuple(
            self._score(alpha, np.array([v.correct[i] for v in self.videos]), points, seed)
            for i, alpha in enumerate(self.alphas)
        )

    def _score(
        self,
        alpha: float,
        correct: Int[np.ndarray, "videos joints"],
        points: Int[np.ndarray, "videos joints"],
        seed: int,
    ) -> JointScore:
        def mean(drawn: Int[np.ndarray, " drawn"]) -> float:
            of: np.ndarray = points[drawn].sum(axis=0)
            shares = correct[drawn].sum(axis=0)[of > 0] / of[of > 0]
            return 100 * float(shares.mean())

        per_joint = 100 * correct.sum(axis=0) / points.sum(axis=0)
        return JointScore(
            alpha=alpha,
            mean=estimate(mean, len(self.videos), seed),
            per_joint=tuple(per_joint.tolist()),
            videos=len(self.videos),
            points=int(points.sum()),
            lost=sum(v.lost for v in self.videos),
        )


def _diagonals(
    video: str, joints_px: Float[np.ndarray, "frames joints 2"], counted: Bool[np.ndarray, "f j"]
) -> Values:
    """Of each frame's box around the joints that count."""
    low = np.where(counted[..., None], joints_px, np.inf).min(axis=1)
    high = np.where(counted[..., None], joints_px, -np.inf).max(axis=1)
    some = counted.any(axis=1)
    diagonals = np.ones(len(joints_px))
    diagonals[some] = np.linalg.norm(high[some] - low[some], axis=1)
    if not (diagonals > 0).all():
        raise BadInput(f"expected joints of some extent in every frame of {video}, got one place")
    return diagonals
