"""Video benchmarks run: masks and joints propagated, video by video, beside their control.

Predictions lie in one folder with a note of what made them; a run that is killed goes on with the
video it was at, and nothing that was made otherwise is ever mixed in.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.controls import Tell
from counterpoint.benchmarks.datasets.davis import Davis, DavisSequence
from counterpoint.benchmarks.datasets.jhmdb import JHMDB, Clip
from counterpoint.benchmarks.datasets.keypoints import Skipped, usable
from counterpoint.benchmarks.made_by import features_note
from counterpoint.benchmarks.videos.files import PredictionFolder
from counterpoint.benchmarks.videos.joint_metrics import JointPCK
from counterpoint.benchmarks.videos.mask_metrics import JF
from counterpoint.benchmarks.videos.propagation import (
    DAVIS_SETTINGS,
    JHMDB_SETTINGS,
    davis_input,
    jhmdb_input,
    track_joints,
    track_masks,
)
from counterpoint.benchmarks.videos.report import COPIED, Metric, VideoRun
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture
from counterpoint.options import Options
from counterpoint.tasks.masks import Mask
from counterpoint.tasks.tracking.temporal import Setting, setting_of


@dataclass(frozen=True)
class Prepared:
    """What a video benchmark knows before its first video.

    Attributes:
        setting: of features and propagation.
        options: with what was not given filled from the setting.
        videos: those that can be used.
        skipped: the others, with their reasons.
        origin: what must agree for two predictions to be the same, whatever the video.
    """

    setting: Setting
    options: Options
    videos: tuple[Any, ...]
    skipped: tuple[Skipped, ...]
    origin: dict[str, Any]

    def folder(self, out: Path | None, benchmark: str) -> PredictionFolder | None:
        """Where predictions are kept.

        Raises:
            StorageError: ``out`` holds predictions that were made in another way.
        """
        return PredictionFolder(out, benchmark, self.origin) if out else None

    def outcome(
        self,
        benchmark: str,
        dataset: Any,
        scores: Mapping[str, Metric],
        input_whs: Iterable[SizeWH],
        seed: int,
        *,
        protocol: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> VideoRun:
        """What a run over all these videos has found.

        Args:
            benchmark: its name.
            dataset: that the videos are of.
            scores: by method.
            input_whs: sizes of the model's input that occurred, pixels.
            seed: of the intervals.
            protocol: its full name; by default the benchmark's.
            notes: for a reader of the tables.
        """
        return VideoRun(
            benchmark=benchmark,
            protocol=protocol or benchmark,
            dataset=dataset.named(len(self.videos)),
            origin=self.origin,
            scores=scores,
            frames=sum(len(video) for video in self.videos),
            input_whs=tuple(input_whs),
            skipped=(*dataset.skipped, *self.skipped),
            notes=notes,
            seed=seed,
        )

    def told(self, tell: Tell | None) -> Iterator[tuple[str, Any]]:
        """Every video, with words that say how far the run is."""
        for number, video in enumerate(self.videos, 1):
            words = f"{video.name} ({number} of {len(self.videos)})"
            if tell:
                tell(words)
            yield words, video


def prepare_run(
    backbone: Backbone,
    videos: Sequence[Any],
    check: Callable[[Any], None],
    settings: Mapping[str, Setting],
    options: Options,
    changes: Mapping[str, Any] | None,
    skip_bad: bool,
) -> Prepared:
    """Settle how videos are run, and which can be.

    Args:
        backbone: the model.
        videos: of the data set.
        check: raises `BadInput` for a video that cannot be used.
        settings: of features and propagation, by family.
        options: how features are extracted; what is not given is the setting's.
        changes: parameters of `Propagation` to change.
        skip_bad: list videos that cannot be used instead of raising.

    Raises:
        BadInput: a video that cannot be used, or none that can.
    """
    setting = setting_of(backbone.spec, settings, changes)
    filled = setting.options(options)
    found, unusable = usable_of(videos, check, skip_bad)
    origin = origin_of(backbone, found[0].picture(0), setting, filled)
    return Prepared(setting, filled, found, unusable, origin)


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
    how = prepare_run(
        backbone,
        dataset.sequences,
        DavisSequence.check,
        DAVIS_SETTINGS,
        options,
        changes,
        skip_bad,
    )
    if dataset.year != "2017":  # whose masks are others on the same videos
        how.origin["year"] = dataset.year
    kept = how.folder(out, "davis")
    model, control = JF(), JF()
    for words, one in how.told(tell):
        masks = kept.masks(one) if kept else None
        if masks is None:
            made = track_masks(backbone, one, how.setting, how.options)
            masks = list(_told(made, len(one), words, tell))
            if kept:
                kept.keep_masks(one, masks)
        true = [one.mask(i) for i in range(len(one))]
        model = model.update(one.name, masks, true)
        control = control.update(one.name, [one.first_mask] * len(one), true)
    asked = how.options.size_wh
    sizes = {asked or davis_input(one.size_wh, backbone.multiple): None for one in how.videos}
    scores = {COPIED: control, backbone.spec.name: model}
    protocol = f"davis-{dataset.year}"
    return how.outcome("davis", dataset, scores, sizes, options.seed, protocol=protocol)


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
    how = prepare_run(
        backbone, dataset.clips, Clip.check, JHMDB_SETTINGS, options, changes, skip_bad
    )
    kept = how.folder(out, "jhmdb")
    model, control = JointPCK(skip_lost=skip_lost), JointPCK(skip_lost=skip_lost)
    for _, clip in how.told(tell):
        joints = kept.joints(clip) if kept else None
        if joints is None:
            joints = track_joints(backbone, clip, how.setting, how.options)
            if kept:
                kept.keep_joints(clip, joints)
        true = clip.joints_px
        model = model.update(clip.name, joints, true)
        control = control.update(clip.name, np.broadcast_to(true[:1], true.shape), true)
    scores = {COPIED: control, backbone.spec.name: model}
    size = how.options.size_wh or jhmdb_input(backbone.multiple)
    return how.outcome("jhmdb", dataset, scores, [size], options.seed)


def usable_of(
    videos: Sequence[Any], check: Callable[[Any], None], skip_bad: bool
) -> tuple[tuple[Any, ...], tuple[Skipped, ...]]:
    """Those that pass the check, and the others with their reasons."""

    def checked(video: Any) -> Any:
        check(video)
        return video

    found, skipped = usable(((v.name, v) for v in videos), checked, skip_bad=skip_bad)
    if not found:
        raise BadInput(f"expected a video that can be used, got none: {skipped[0].reason}")
    return found, skipped


def _told(made: Iterator[Mask], frames: int, words: str, tell: Tell | None) -> Iterator[Mask]:
    for i, mask in enumerate(made, 1):
        if tell:
            tell(f"{words}: frame {i} of {frames}")
        yield mask


def origin_of(
    backbone: Backbone, picture: Picture, setting: Setting, options: Options
) -> dict[str, Any]:
    """What must agree for two predictions to be the same, whatever the video."""
    size = "protocol" if options.size_wh is None else "{}x{}".format(*options.size_wh)
    return {
        "features": features_note(backbone, picture, options),
        "input": size,
        "propagation": asdict(setting.propagation),
    }
