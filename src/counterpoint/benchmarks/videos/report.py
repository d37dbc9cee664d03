"""The outcome of a video benchmark: figures by method, arranged to be read and kept."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from counterpoint.backbones.base import library_version
from counterpoint.benchmarks.datasets.jhmdb import JOINTS
from counterpoint.benchmarks.datasets.keypoints import Skipped, plain
from counterpoint.benchmarks.metrics import Estimate, Interval
from counterpoint.benchmarks.published import published_lines
from counterpoint.benchmarks.tables import Cells, Table
from counterpoint.benchmarks.videos.badja_metrics import BadjaPCK, BadjaScore
from counterpoint.benchmarks.videos.joint_metrics import JointPCK
from counterpoint.benchmarks.videos.mask_metrics import JF, JFScore
from counterpoint.benchmarks.videos.track_metrics import TapVid
from counterpoint.geometry import SizeWH

Metric = JF | JointPCK | TapVid | BadjaPCK

COPIED = "first frame copied"
"""The control of benchmarks of masks and joints."""

LEFT = "left in place"
"""The control of benchmarks of tracks."""


@dataclass(frozen=True)
class VideoRun:
    """A benchmark's outcome.

    Attributes:
        benchmark: "davis", "jhmdb", "tapvid", "badja".
        protocol: its full name.
        dataset: its name, and how much of it.
        origin: what made the predictions.
        scores: by method, the control first; all of one kind.
        frames: over all videos, the given ones included.
        input_whs: sizes of the model's input that occurred, pixels.
        skipped: videos that could not be used, and why.
        notes: what a reader of the tables needs to know beside them.
        seed: of the intervals.
    """

    benchmark: str
    protocol: str
    dataset: str
    origin: Mapping[str, Any]
    scores: Mapping[str, Metric]
    frames: int
    input_whs: tuple[SizeWH, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()
    seed: int = 0

    @property
    def title(self) -> str:
        """What the figures are of."""
        sizes = ", ".join(f"{w}x{h}" for w, h in self.input_whs)
        features, how = self.origin["features"], self.origin["propagation"]
        steps = "+".join(map(str, features["timesteps"]))
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"{self.benchmark}: {self.dataset}, {self.frames} frames, input {sizes}, "
            f"tap {features['tap']}, {f't {steps}, ' if steps else ''}"
            f"ensemble {features['ensemble']}, temperature {how['temperature']:g}, "
            f"topk {how['topk']}, radius {how['radius']}, context {how['context']} + 1{skipped}"
        )

    @property
    def published(self) -> tuple[str, ...]:
        """Papers' figures on the whole data set, in words."""
        return published_lines(self.dataset, self.protocol)

    @property
    def lines(self) -> tuple[str, ...]:
        """What belongs below the tables: notes, papers' figures, what was left out."""
        left_out = (f"skipped {one.id}: {one.reason}" for one in self.skipped)
        return (*self.notes, *self.published, *left_out)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON; without the figures of single frames."""
        features = self.origin["features"]
        steps = "+".join(map(str, features["timesteps"]))
        measures = {name: _measures(score, self.seed) for name, score in self.scores.items()}
        return plain(
            {
                "benchmark": self.benchmark,
                "protocol": self.protocol,
                "dataset": self.dataset,
                "videos": _videos(next(iter(self.scores.values()))),
                "frames": self.frames,
                "input_whs": self.input_whs,
                "made_by": self.origin,
                "scores": {name: _plain(score, self.seed) for name, score in self.scores.items()},
                "rows": [
                    {"method": name, "tap": "", "t": ""}
                    | _setting(name, features["tap"], steps)
                    | {measure: asdict(figure) for measure, figure in figures.items()}
                    for name, figures in measures.items()
                ],
                "notes": self.notes,
                "published": self.published,
                "skipped": [asdict(one) for one in self.skipped],
                "version": library_version(),
            }
        )


def _setting(method: str, tap: str, steps: str) -> dict[str, str]:
    return {} if method in (COPIED, LEFT) else {"tap": tap, "t": steps}


def _videos(score: Metric) -> list[str]:
    """Names of those that were scored."""
    if isinstance(score, JF):
        return list(dict.fromkeys(one.sequence for one in score.objects))
    if isinstance(score, TapVid):
        return [name for name, *_ in score.videos]
    return [one.video for one in score.videos]


def _measures(score: Metric, seed: int) -> dict[str, Estimate]:
    """A method's main figures, by the names that papers' figures have."""
    if isinstance(score, JF):
        return {"J&F": score.compute(seed).both}
    if isinstance(score, JointPCK):
        return {f"PCK@{one.alpha:g}": one.mean for one in score.compute(seed)}
    if isinstance(score, TapVid):
        found = score.compute(seed)
        return {"average Jaccard": Estimate(found.figures.average_jaccard, found.interval)}
    return {one.measure: one.mean for one in score.compute(seed)}


def _plain(score: Metric, seed: int) -> dict[str, Any]:
    if isinstance(score, JF):
        parts = {name: asdict(own) for name, own in score.by_sequence().items()}
        return {**asdict(score.compute(seed)), "by_sequence": parts}
    if isinstance(score, JointPCK):
        return {"pck": [asdict(one) for one in score.compute(seed)], "joints": JOINTS}
    if isinstance(score, TapVid):
        parts = {name: asdict(own) for name, own, _ in score.videos}
        return {**asdict(score.compute(seed)), "mode": score.mode, "by_video": parts}
    return {
        "pck": [asdict(one) for one in score.compute(seed)],
        "by_video": {one.video: asdict(one) for one in score.videos},
    }


def tables(run: VideoRun) -> tuple[Table, ...]:
    """The figures, in per cent: all together, then by sequence, joint or video."""
    masks = {name: s for name, s in run.scores.items() if isinstance(s, JF)}
    joints = {name: s for name, s in run.scores.items() if isinstance(s, JointPCK)}
    tracks = {name: s for name, s in run.scores.items() if isinstance(s, TapVid)}
    animals = {name: s for name, s in run.scores.items() if isinstance(s, BadjaPCK)}
    if masks:
        return _mask_tables(masks, run.seed)
    if joints:
        return _joint_tables(joints, run.seed)
    return _track_tables(tracks, run.seed) if tracks else _animal_tables(animals, run.seed)


def _mask_tables(scores: Mapping[str, JF], seed: int) -> tuple[Table, ...]:
    header = ("method", "J&F", "95 %", "J", "recall", "decay", "F", "recall", "decay")
    whole = {name: score.compute(seed) for name, score in scores.items()}
    table = Cells(header, tuple((name, *_jf_cells(score)) for name, score in whole.items()))
    parts = {name: score.by_sequence() for name, score in scores.items()}
    sequences = next(iter(parts.values()))
    by_sequence = Cells(
        ("sequence", "objects", "frames scored", *(f"J&F {name}" for name in parts)),
        tuple(
            (
                name,
                str(one.objects),
                str(one.frames),
                *(f"{of[name].both.value:.1f}" for of in parts.values()),
            )
            for name, one in sequences.items()
        ),
    )
    return Table("All", table), Table("By sequence", by_sequence)


def _jf_cells(score: JFScore) -> tuple[str, ...]:
    region, edge = score.region, score.boundary
    figures = (region.mean, region.recall, region.decay, edge.mean, edge.recall, edge.decay)
    shown = _shown(score.both.interval) if score.sequences > 1 else ""
    return (f"{score.both.value:.1f}", shown, *(f"{figure:.1f}" for figure in figures))


def _joint_tables(scores: Mapping[str, JointPCK], seed: int) -> tuple[Table, ...]:
    whole = {name: score.compute(seed) for name, score in scores.items()}
    alphas = [one.alpha for one in next(iter(whole.values()))]
    table = Cells(
        (
            "method",
            "clips",
            "lost",
            *(cell for alpha in alphas for cell in (f"PCK@{alpha:g}", "95 %")),
        ),
        tuple(
            (
                name,
                str(found[0].videos),
                str(found[0].lost),
                *(cell for s in found for cell in (f"{s.mean.value:.1f}", _shown(s.mean.interval))),
            )
            for name, found in whole.items()
        ),
    )
    by_joint = Cells(
        ("joint", *(f"@{alpha:g} {name}" for name in whole for alpha in alphas)),
        tuple(
            (joint, *(f"{s.per_joint[i]:.1f}" for found in whole.values() for s in found))
            for i, joint in enumerate(JOINTS)
        ),
    )
    return Table("All", table), Table("By joint", by_joint)


def _shown(interval: Interval) -> str:
    return f"{interval.low:.1f} to {interval.high:.1f}"


def _track_tables(scores: Mapping[str, TapVid], seed: int) -> tuple[Table, ...]:
    whole = {name: score.compute(seed) for name, score in scores.items()}
    first = next(iter(whole.values()))
    header = ("method", "average Jaccard", "95 %", "delta avg", "occlusion")
    rows = tuple(
        (
            name,
            f"{found.figures.average_jaccard:.1f}",
            _shown(found.interval) if found.videos > 1 else "",
            f"{found.figures.delta_avg:.1f}",
            f"{found.figures.occlusion_accuracy:.1f}",
        )
        for name, found in whole.items()
    )
    lines = tuple(
        (video, str(queries), *(f"{s.videos[i][1].average_jaccard:.1f}" for s in scores.values()))
        for i, (video, _, queries) in enumerate(next(iter(scores.values())).videos)
    )
    title = f"Mean over videos: {first.videos} videos, {first.queries} queries"
    by_video = Cells(("video", "queries", *scores), lines)
    return Table(title, Cells(header, rows)), Table("Average Jaccard by video", by_video)


def _animal_tables(scores: Mapping[str, BadjaPCK], seed: int) -> tuple[Table, ...]:
    whole = {name: score.compute(seed) for name, score in scores.items()}
    first = next(iter(whole.values()))[0]
    header = ("method", *(cell for name in ("PCK@0.2", "3 px") for cell in (name, "95 %")), "lost")
    rows = tuple(
        (name, *(cell for one in found for cell in _animal_cells(one)), str(found[0].lost))
        for name, found in whole.items()
    )
    title = f"Mean over videos: {first.videos} videos, {first.points} points"
    note = "PCK@0.2: of the root of the animal's area; 3 px: of a video of 854 x 480."
    lines = tuple(
        (
            video.video,
            str(video.points),
            *(f"{100 * s.videos[i].correct[0] / s.videos[i].points:.1f}" for s in scores.values()),
        )
        for i, video in enumerate(next(iter(scores.values())).videos)
    )
    by_video = Cells(("video", "points", *scores), lines)
    return Table(title, Cells(header, rows), (note,)), Table("PCK@0.2 by video", by_video)


def _animal_cells(one: BadjaScore) -> tuple[str, str]:
    return f"{one.mean.value:.1f}", _shown(one.mean.interval) if one.videos > 1 else ""
