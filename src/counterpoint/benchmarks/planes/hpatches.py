"""Protocols `hpatches-dift` and `hpatches-exact`: homographies between pictures of a plane.

To the letter:

1. Pairs: picture 1 of each sequence with pictures 2 to 6; eight sequences are left out
   (`datasets.hpatches.LEFT_OUT`).
2. Key points: at most 1000 a picture, from files (SuperPoint's in papers); then
   ``np.unique(axis=0)``, which sorts them, and that order feeds the robust search. Where a detector
   finds them instead, the protocol's name says so: ``hpatches-exact/sift-keypoints``.
3. Descriptors: features of each picture once, sampled bilinearly at its key points.
   `hpatches-dift` does it as DIFT's code does, on a squashed input of 768 x 768
   (`scenes.local_features.descriptors`); `hpatches-exact` in this project's pixel convention, at
   the model's usual input for geometry.
4. Matches: mutual nearest neighbours, no ratio test; by cosine, or by Euclidean distance (ADM).
5. Homography: OpenCV's ``findHomography``, least median of squares, or RANSAC (ADM), at 3 px.
6. Score of a pair: the mean distance of picture 1's four corners under the found and the true
   homography, pixels of the other picture. A pair without homography counts as wrong.
7. Figures, means over pairs in per cent: accuracy, the share of pairs at most 1, 3, 5 px off; AUC
   up to 1, 3, 5, 10 px, the area under the share of pairs below an error: ``max(0, 1 - error /
   limit)`` averaged (papers join its steps by lines, which adds up to half a pair); matching
   accuracy, each pair's share of mutual matches at most 1, 3, 5 px from the truth (none: 0). With
   95 per cent bootstrap intervals over pairs; pairs of one sequence are not independent, so for
   other sequences they are too narrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from jaxtyping import Float

from counterpoint.backbones.base import Backbone
from counterpoint.backbones.keypoints import KeyPointNetwork
from counterpoint.benchmarks.datasets.hpatches import (
    OTHERS,
    Kind,
    PlanarSequence,
    read_keypoints,
)
from counterpoint.benchmarks.metrics import Estimate, bootstrap
from counterpoint.errors import BadInput, UnknownName
from counterpoint.geometry import Points
from counterpoint.images import Picture
from counterpoint.matching import Metric
from counterpoint.options import Options
from counterpoint.tasks.scenes.homography import (
    Method,
    NoEstimate,
    Robust,
    estimate,
    mean_corner_error,
    transfer_error,
)
from counterpoint.tasks.scenes.local_features import (
    MAX_KEYPOINTS,
    Detector,
    Sampling,
    detect,
    geometric_options,
)

Group = Literal["overall", "illumination", "viewpoint"]
PROTOCOLS: Mapping[str, Sampling] = {"hpatches-dift": "dift", "hpatches-exact": "exact"}
DETECTORS = ("sift", "grid")

WITHIN_PX = (1.0, 3.0, 5.0)
AUC_PX = (1.0, 3.0, 5.0, 10.0)
SQUASHED = 768
"""Side of the input in protocol `hpatches-dift`, pixels."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How matches and homographies are found.

    Attributes:
        protocol: "hpatches-dift" or "hpatches-exact".
        keypoints: "sift", "grid", a network from `load_detector`, or the folder of their files
            (`read_keypoints`).
        count: key points a picture, at most.
        metric: of the descriptors; None: "l2" for ADM, else "cosine".
        estimators: each a row of its own; empty: RANSAC for ADM, else least median of squares.
        threshold_px: of the search for the homography.
    """

    protocol: str = "hpatches-dift"
    keypoints: str | Path | KeyPointNetwork = "sift"
    count: int = MAX_KEYPOINTS
    metric: Metric | None = None
    estimators: tuple[Method, ...] = ()
    threshold_px: float = 3.0

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UnknownName("protocol", self.protocol, PROTOCOLS)
        if self.metric is not None and self.metric not in get_args(Metric):
            raise UnknownName("metric", self.metric, get_args(Metric))
        if self.count < 1:
            raise BadInput(f"expected at least 1 key point a picture, got {self.count}")
        for method in self.estimators:
            Robust(method=method, threshold_px=self.threshold_px)

    @property
    def detector(self) -> Detector | KeyPointNetwork | None:
        """What finds the key points; None: they come from files."""
        if isinstance(self.keypoints, KeyPointNetwork):
            return self.keypoints
        return cast("Detector", self.keypoints) if self.keypoints in DETECTORS else None

    @property
    def name(self) -> str:
        """The protocol's full name."""
        found = self.detector
        by = found.spec.family if isinstance(found, KeyPointNetwork) else found
        changed = [f"{by}-keypoints"] if by else []
        changed += [f"{self.count}-points"] if self.count != MAX_KEYPOINTS else []
        changed += [f"{self.threshold_px:g}px"] if self.threshold_px != 3.0 else []
        return "/".join([self.protocol, *changed])

    def metric_for(self, family: str) -> Metric:
        """The metric, or what the paper takes for such a model."""
        return self.metric or ("l2" if family == "adm" else "cosine")

    def estimators_for(self, family: str) -> tuple[Method, ...]:
        """The estimators, or the one that the paper takes for such a model."""
        return self.estimators or (("ransac",) if family == "adm" else ("lmeds",))

    def options_for(self, backbone: Backbone, options: Options) -> Options:
        """The options of a model's features, with what is usual where they are silent."""
        if PROTOCOLS[self.protocol] == "dift" and options.fit is None:
            options = options.but(size=options.size or SQUASHED, fit="squash")
        return geometric_options(backbone.spec, options)


@dataclass(frozen=True)
class PairResult:
    """One pair's outcome.

    Attributes:
        sequence: its name.
        kind: what changes in it.
        number: of the picture that picture 1 is matched to.
        keypoints: in both pictures.
        matches: mutual nearest neighbours.
        correct: of these, at most 1, 3 and 5 px from the truth.
        corner_px: mean corner error, pixels; None: no homography.
        reason: why there is none.
    """

    sequence: str
    kind: Kind
    number: int
    keypoints: tuple[int, int]
    matches: int
    correct: tuple[int, ...]
    corner_px: float | None
    reason: str = ""


@dataclass(frozen=True)
class GroupScore:
    """Means over the pairs of one kind, in per cent.

    Attributes:
        group: which pairs.
        pairs: how many.
        without: of these, how many have no homography (they count as wrong).
        accuracy: shares of pairs at most 1, 3, 5 px off.
        auc: up to 1, 3, 5, 10 px.
        matching: accuracy of the matches at 1, 3, 5 px.
    """

    group: Group
    pairs: int
    without: int
    accuracy: tuple[Estimate, ...]
    auc: tuple[Estimate, ...]
    matching: tuple[Estimate, ...]


@dataclass(frozen=True)
class CornerScore:
    """Results pair by pair; `update` gives a new one, nothing is changed.

    Attributes:
        results: so far.

    >>> pair = PairResult("v_a", "viewpoint", 2, (9, 9), 9, (9, 9, 9), corner_px=2.0)
    >>> none = PairResult("v_a", "viewpoint", 3, (9, 9), 0, (0, 0, 0), corner_px=None)
    >>> [overall, viewpoint] = CornerScore().update(pair).update(none).compute()
    >>> [one.value for one in overall.accuracy], overall.auc[3].value
    ([0.0, 50.0, 50.0], 40.0)
    """

    results: tuple[PairResult, ...] = ()

    def update(self, result: PairResult) -> "CornerScore":
        """With one more pair."""
        return CornerScore((*self.results, result))

    def joined(self, other: "CornerScore") -> "CornerScore":
        """Two shards as one, this one's pairs first."""
        return CornerScore(self.results + other.results)

    def compute(self, seed: int = 0) -> tuple[GroupScore, ...]:
        """Overall and by kind; kinds without pairs are left out.

        Raises:
            BadInput: no pair yet.
        """
        if not self.results:
            raise BadInput("expected at least one pair to score, got none")
        groups = {
            group: [one for one in self.results if group in ("overall", one.kind)]
            for group in get_args(Group)
        }
        return tuple(_score(name, some, seed) for name, some in groups.items() if some)


def _score(group: Group, results: Sequence[PairResult], seed: int) -> GroupScore:
    errors = np.array([np.inf if r.corner_px is None else r.corner_px for r in results])
    hits = np.array([r.correct for r in results]) / np.array([[max(r.matches, 1)] for r in results])

    def mean(shares: Float[np.ndarray, " pairs"]) -> Estimate:
        interval = bootstrap(shares, np.ones(len(shares), dtype=int), seed=seed)
        return Estimate(100 * float(shares.mean()), interval)

    return GroupScore(
        group,
        len(results),
        int(np.isinf(errors).sum()),
        tuple(mean((errors <= px).astype(float)) for px in WITHIN_PX),
        tuple(mean(np.clip(1 - errors / px, 0, None)) for px in AUC_PX),
        tuple(mean(column) for column in hits.T),
    )


@dataclass(frozen=True, eq=False)
class View:
    """A picture and its key points, (N, 2), sorted and without doubles, in its pixels."""

    picture: Picture
    keypoints_px: Points


def find_views(sequence: PlanarSequence, setting: Setting) -> list[View]:
    """The six pictures and their key points.

    Raises:
        BadInput: a picture or a file of key points that cannot be read.
    """
    views: list[View] = []
    for number in (1, *OTHERS):
        picture = sequence.picture(number)
        if setting.detector is not None:
            points = detect(picture, setting.detector, setting.count)
        else:
            folder = cast("str | Path", setting.keypoints)
            points = read_keypoints(folder, sequence, number, picture, setting.count)
        views.append(View(picture, np.unique(points, axis=0)))
    return views


def score_pair(
    sequence: PlanarSequence,
    number: int,
    first: View,
    other: View,
    matches: np.ndarray,
    robust: Robust,
) -> PairResult:
    """The outcome of one pair.

    Args:
        sequence: whose homography is the truth.
        number: of the other picture.
        first: picture 1.
        other: picture ``number``.
        matches: (M, 2), rows of both pictures' key points.
        robust: how the homography is found.
    """
    source, target = first.keypoints_px[matches[:, 0]], other.keypoints_px[matches[:, 1]]
    truth = sequence.homography(number)
    distance = transfer_error(truth, source, target)
    found = estimate(source, target, "homography", robust)
    none = isinstance(found, NoEstimate)
    error = None if none else mean_corner_error(found.matrix, truth, first.picture.size_wh)
    return PairResult(
        sequence.name,
        sequence.kind,
        number,
        (len(first.keypoints_px), len(other.keypoints_px)),
        len(matches),
        tuple(int((distance <= px).sum()) for px in WITHIN_PX),
        error if error is not None and np.isfinite(error) else None,
        found.reason if none else "" if np.isfinite(error or 0) else "a corner goes to infinity",
    )
