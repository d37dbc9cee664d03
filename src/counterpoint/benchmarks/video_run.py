"""Video benchmarks run and reported: predictions kept video by video, controls, tables.

Predictions lie in one folder with a note of what made them; a run that is killed goes on with the
video it was at, and nothing that was made otherwise is ever mixed in.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.backbones.base import Backbone, library_version
from counterpoint.benchmarks.datasets.davis import Davis, DavisSequence, Mask, read_mask, write_mask
from counterpoint.benchmarks.datasets.jhmdb import JHMDB, JOINTS, Clip
from counterpoint.benchmarks.datasets.keypoints import Skipped, plain
from counterpoint.benchmarks.joint_metrics import JointPCK
from counterpoint.benchmarks.metrics import Interval
from counterpoint.benchmarks.propagation import (
    DAVIS_SETTINGS,
    JHMDB_SETTINGS,
    Joints,
    Setting,
    Video,
    davis_input,
    jhmdb_input,
    setting_of,
    track_joints,
    track_masks,
)
from counterpoint.benchmarks.published import published_lines
from counterpoint.benchmarks.report import Cells
from counterpoint.benchmarks.video_metrics import JF, JFScore
from counterpoint.errors import BadInput, StorageError
from counterpoint.files import write_text
from counterpoint.geometry import SizeWH
from counterpoint.options import Options
from counterpoint.store import comparable

Tell = Callable[[str], None]
"""Hears what is being done now."""

PROTOCOLS = {"davis": "davis-2017", "jhmdb": "jhmdb"}
"""The protocol's name of each benchmark."""


class PredictionFolder:
    """A folder of predictions, video by video, that says once what made them.

    Args:
        folder: where it is or will be.
        benchmark: "davis", "jhmdb"; the note's file is named after it.
        origin: what makes the predictions.

    Raises:
        StorageError: predictions are there that were made in another way.
    """

    def __init__(self, folder: Path, benchmark: str, origin: Mapping[str, Any]) -> None:
        self.folder = folder
        note, asked = folder / f"{benchmark}.json", plain(origin)
        if note.exists():
            _require_same(note, asked)
        else:
            write_text(note, json.dumps(asked, indent=2) + "\n")

    def masks(self, sequence: DavisSequence) -> list[Mask] | None:
        """A sequence's masks; None unless all are there and sound."""
        paths = self._mask_paths(sequence)
        if not all(path.is_file() for path in paths):
            return None
        try:
            masks = [read_mask(path) for path in paths]
        except BadInput:
            return None
        return masks if all(m.shape == sequence.first_mask.shape for m in masks) else None

    def keep_masks(self, sequence: DavisSequence, masks: Sequence[Mask]) -> None:
        """Write a sequence's masks, as palette PNGs in DAVIS' layout."""
        for path, mask in zip(self._mask_paths(sequence), masks, strict=True):
            write_mask(path, mask)

    def joints(self, clip: Clip) -> Joints | None:
        """A clip's joints; None unless they are there and sound."""
        try:
            entries = json.loads(self._joints_path(clip).read_text())
            lost = [np.nan, np.nan]
            joints = np.array([[p or lost for p in row] for row in entries["joints_px"]], float)
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return joints if joints.shape == clip.joints_px.shape else None

    def keep_joints(self, clip: Clip, joints: Joints) -> None:
        """Write a clip's joints, (frames, joints, 2), null where lost."""
        listed = [[None if np.isnan(p[0]) else p.tolist() for p in frame] for frame in joints]
        write_text(self._joints_path(clip), json.dumps({"joints_px": listed}) + "\n")

    def _mask_paths(self, sequence: DavisSequence) -> list[Path]:
        return [self.folder / sequence.name / f"{path.stem}.png" for path in sequence.frames]

    def _joints_path(self, clip: Clip) -> Path:
        return self.folder / f"{clip.name}.json"


def _require_same(note: Path, asked: Mapping[str, Any]) -> None:
    try:
        there = _flat(json.loads(note.read_text()))
    except (OSError, ValueError, AttributeError) as error:
        raise StorageError(
            f"expected what made the predictions in {note}, which cannot be read; remove the folder"
        ) from error
    ours = _flat(asked)
    for name in sorted(there.keys() | ours.keys()):
        if there.get(name) != ours.get(name):
            raise StorageError(
                f"{note.parent} was made with {name} = {there.get(name)!r}, asked was "
                f"{ours.get(name)!r}; choose another --out, or remove the folder"
            )


def _flat(entries: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entries.items():
        inner = _flat(value, f"{before}{name}.") if isinstance(value, dict) else {}
        flat |= inner or {f"{before}{name}": value}
    return flat


@dataclass(frozen=True)
class VideoRun:
    """A benchmark's outcome.

    Attributes:
        benchmark: "davis", "jhmdb".
        dataset: its name, and how much of it.
        origin: what made the predictions.
        scores: by method, the control first.
        frames: over all videos, the given ones included.
        input_whs: sizes of the model's input that occurred, pixels.
        skipped: videos that could not be used, and why.
    """

    benchmark: str
    dataset: str
    origin: Mapping[str, Any]
    scores: Mapping[str, JF] | Mapping[str, JointPCK]
    frames: int
    input_whs: tuple[SizeWH, ...]
    skipped: tuple[Skipped, ...]

    @property
    def title(self) -> str:
        """What the figures are of."""
        sizes = ", ".join(f"{w}x{h}" for w, h in self.input_whs)
        features, how = self.origin["features"], self.origin["propagation"]
        steps = "+".join(map(str, features["timesteps"]))
        return (
            f"{self.benchmark}: {self.dataset}, {self.frames} frames, input {sizes}, "
            f"tap {features['tap']}, {f't {steps}, ' if steps else ''}"
            f"ensemble {features['ensemble']}, temperature {how['temperature']:g}, "
            f"topk {how['topk']}, radius {how['radius']}, context {how['context']} + 1"
        )

    @property
    def published(self) -> tuple[str, ...]:
        """Papers' figures on the whole data set, in words."""
        return published_lines(self.dataset, PROTOCOLS[self.benchmark])

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON; without the figures of single frames."""
        return plain(
            {
                "benchmark": self.benchmark,
                "dataset": self.dataset,
                "frames": self.frames,
                "input_whs": self.input_whs,
                "made_by": self.origin,
                "scores": {name: _plain_score(score) for name, score in self.scores.items()},
                "published": self.published,
                "skipped": [asdict(one) for one in self.skipped],
                "version": library_version(),
            }
        )


def _plain_score(score: JF | JointPCK) -> dict[str, Any]:
    if isinstance(score, JF):
        parts = {name: asdict(own) for name, own in score.by_sequence().items()}
        return {**asdict(score.compute()), "by_sequence": parts}
    return {"pck": [asdict(one) for one in score.compute()], "joints": JOINTS}


def tables(run: VideoRun) -> tuple[Cells, ...]:
    """The figures, in per cent, arranged to be read: all together, then by sequence or joint."""
    masks = {name: score for name, score in run.scores.items() if isinstance(score, JF)}
    joints = {name: score for name, score in run.scores.items() if isinstance(score, JointPCK)}
    return _mask_tables(masks) if masks else _joint_tables(joints)


def _mask_tables(scores: Mapping[str, JF]) -> tuple[Cells, ...]:
    header = ("method", "J&F", "95 %", "J", "recall", "decay", "F", "recall", "decay")
    whole = {name: score.compute() for name, score in scores.items()}
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
    return table, by_sequence


def _jf_cells(score: JFScore) -> tuple[str, ...]:
    region, edge = score.region, score.boundary
    figures = (region.mean, region.recall, region.decay, edge.mean, edge.recall, edge.decay)
    shown = _shown(score.both.interval) if score.sequences > 1 else ""
    return (f"{score.both.value:.1f}", shown, *(f"{figure:.1f}" for figure in figures))


def _joint_tables(scores: Mapping[str, JointPCK]) -> tuple[Cells, ...]:
    whole = {name: score.compute() for name, score in scores.items()}
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
    return table, by_joint


def _shown(interval: Interval) -> str:
    return f"{interval.low:.1f} to {interval.high:.1f}"


COPIED = "first frame copied"
"""The control's name."""


def run_davis(
    backbone: Backbone,
    dataset: Davis,
    options: Options,
    changes: Mapping[str, Any] | None = None,
    *,
    out: Path | None = None,
    skip_bad: bool = False,
    tell: Tell | None = None,
) -> VideoRun:
    """Propagate the first mask of every sequence, and score.

    Args:
        backbone: the model.
        dataset: from `read_davis`.
        options: how features are extracted; what is not given is the protocol's.
        changes: parameters of `Propagation` to change.
        out: write the masks here; sequences that are there already are not run again.
        skip_bad: list sequences that cannot be used instead of raising.
        tell: hears what is being done.

    Returns:
        `JF` by method.

    Raises:
        BadInput: a sequence that cannot be used, or none that can.
        StorageError: ``out`` holds predictions that were made in another way.
    """
    setting = setting_of(backbone.spec, DAVIS_SETTINGS, changes)
    filled = setting.options(options)
    usable, skipped = _usable(dataset.sequences, DavisSequence.check, skip_bad)
    origin = _origin(backbone, usable[0], setting, filled)
    kept = PredictionFolder(out, "davis", origin) if out else None
    model, control = JF(), JF()
    for number, one in enumerate(usable, 1):
        words = f"{one.name} ({number} of {len(usable)})"
        masks = kept.masks(one) if kept else None
        if masks is None:
            made = track_masks(backbone, one, setting, filled)
            masks = list(_told(made, len(one), words, tell))
            if kept:
                kept.keep_masks(one, masks)
        true = [one.mask(i) for i in range(len(one))]
        model = model.update(one.name, masks, true)
        control = control.update(one.name, [one.first_mask] * len(one), true)
    sizes = {filled.size_wh or davis_input(one.size_wh, backbone.multiple): None for one in usable}
    scores = {COPIED: control, backbone.spec.name: model}
    frames = sum(len(one) for one in usable)
    return VideoRun(
        "davis", dataset.named(len(usable)), origin, scores, frames, tuple(sizes), skipped
    )


def run_jhmdb(
    backbone: Backbone,
    dataset: JHMDB,
    options: Options,
    changes: Mapping[str, Any] | None = None,
    *,
    out: Path | None = None,
    skip_bad: bool = False,
    skip_lost: bool = False,
    tell: Tell | None = None,
) -> VideoRun:
    """Propagate the first joints of every clip, and score.

    Args:
        backbone: the model.
        dataset: from `read_jhmdb`.
        options: how features are extracted; what is not given is the protocol's.
        changes: parameters of `Propagation` to change.
        out: write the joints here; clips that are there already are not run again.
        skip_bad: list clips that cannot be used instead of raising.
        skip_lost: leave joints that were lost out of the figures (`JointPCK`).
        tell: hears what is being done.

    Returns:
        `JointPCK` by method.

    Raises:
        BadInput: a clip that cannot be used, or none that can.
        StorageError: ``out`` holds predictions that were made in another way.
    """
    setting = setting_of(backbone.spec, JHMDB_SETTINGS, changes)
    filled = setting.options(options)
    usable, unusable = _usable(dataset.clips, Clip.check, skip_bad)
    origin = _origin(backbone, usable[0], setting, filled)
    kept = PredictionFolder(out, "jhmdb", origin) if out else None
    model, control = JointPCK(skip_lost=skip_lost), JointPCK(skip_lost=skip_lost)
    for number, clip in enumerate(usable, 1):
        if tell:
            tell(f"{clip.name} ({number} of {len(usable)})")
        joints = kept.joints(clip) if kept else None
        if joints is None:
            joints = track_joints(backbone, clip, setting, filled)
            if kept:
                kept.keep_joints(clip, joints)
        true = clip.joints_px
        model = model.update(clip.name, joints, true)
        control = control.update(clip.name, np.broadcast_to(true[:1], true.shape), true)
    scores = {COPIED: control, backbone.spec.name: model}
    return VideoRun(
        "jhmdb",
        dataset.named(len(usable)),
        origin,
        scores,
        sum(len(clip.joints_px) for clip in usable),
        (filled.size_wh or jhmdb_input(backbone.multiple),),
        (*dataset.skipped, *unusable),
    )


def _usable(
    videos: Sequence[Any], check: Callable[[Any], None], skip_bad: bool
) -> tuple[list[Any], tuple[Skipped, ...]]:
    """Those that pass the check, and the others with their reasons."""
    usable: list[Any] = []
    skipped: list[Skipped] = []
    for video in videos:
        try:
            check(video)
            usable.append(video)
        except BadInput as error:
            if not skip_bad:
                raise
            skipped.append(Skipped(video.name, str(error)))
    if not usable:
        raise BadInput(f"expected a video that can be used, got none: {skipped[0].reason}")
    return usable, tuple(skipped)


def _told(made: Iterator[Mask], frames: int, words: str, tell: Tell | None) -> Iterator[Mask]:
    for i, mask in enumerate(made, 1):
        if tell:
            tell(f"{words}: frame {i} of {frames}")
        yield mask


def _origin(backbone: Backbone, video: Video, setting: Setting, options: Options) -> dict[str, Any]:
    """What must agree for two predictions to be the same, whatever the video."""
    made = comparable(backbone.provenance(video.picture(0), options))
    del made["picture_sha256"]
    size = "protocol" if options.size_wh is None else "{}x{}".format(*options.size_wh)
    return {"features": made, "input": size, "propagation": asdict(setting.propagation)}
