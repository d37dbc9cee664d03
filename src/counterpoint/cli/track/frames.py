"""Features of a video's frames, one at a time: of a model that runs, or files of `extract`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from counterpoint.cli.common import open_model
from counterpoint.errors import BadInput, CounterpointError

if TYPE_CHECKING:
    from counterpoint.features import FeatureHeader, FeatureMap
    from counterpoint.geometry import SizeWH
    from counterpoint.options import Options
    from counterpoint.tasks.tracking.propagation import Propagation
    from counterpoint.videos import Frame, Video

log = logging.getLogger(__name__)


class FrameSource(Protocol):
    """Gives features of frames, and says what makes them.

    Attributes:
        model: the model's name.
        tap: where they are read.
        input_wh: of the model's input, pixels.
        propagation: of labels, with what suits the model.
        made: everything that must agree for two runs to have the same features.
    """

    model: str
    tap: str
    input_wh: "SizeWH"
    propagation: "Propagation"
    made: dict[str, Any]

    def features(self, frame: "Frame") -> "FeatureMap":
        """The map of one frame."""
        ...


def open_frames(
    video: "Video",
    first: "Frame",
    features: Path | None,
    options: "Options",
    changes: Mapping[str, Any],
) -> FrameSource:
    """The files below ``features``, or where none is given the model that the options name.

    Args:
        video: whose frames.
        first: the first of them that is followed.
        features: the folder of `extract`'s files.
        options: as given.
        changes: parameters of `Propagation` that were given.
    """
    if features is None:
        return RunningFrames(video, first, options, changes)
    return StoredFrames(video, first, features, options, changes)


class RunningFrames:
    """A model with its options, filled up with what suits video; see `FrameSource`."""

    def __init__(
        self, video: "Video", first: "Frame", options: "Options", changes: Mapping[str, Any]
    ) -> None:
        from counterpoint.store import comparable
        from counterpoint.tasks.tracking.temporal import TEMPORAL, setting_of

        self._model = open_model(options)
        setting = setting_of(self._model.spec, TEMPORAL, changes)
        self._options = setting.options(options)
        self.input_wh = frame_input(self._options, video.size_wh, self._model.multiple)
        self.propagation = setting.propagation
        self.model = self._model.spec.name
        self.tap = self._options.tap or self._model.spec.tap
        self.made = comparable(self._model.provenance(first.picture, self._options))

    def features(self, frame: "Frame") -> "FeatureMap":
        """The map of one frame."""
        from counterpoint.tasks.tracking.tracker import frame_features

        return frame_features(self._model, frame.picture, self._options, self.input_wh)


class StoredFrames:
    """Files that `extract` wrote for these frames, read one at a time; see `FrameSource`."""

    def __init__(
        self,
        video: "Video",
        first: "Frame",
        features: Path,
        options: "Options",
        changes: Mapping[str, Any],
    ) -> None:
        from counterpoint.cli.sources import Stored, feature_folder, refuse_making

        refuse_making(options)
        self._stored = Stored(feature_folder(features, _paths(video)), options.device)
        fmap = self._load(first)
        self._like = fmap.provenance.without_picture(), fmap.values.shape, fmap.input_wh
        self.input_wh, note = fmap.input_wh, fmap.provenance
        self.model, self.tap = note.model, note.tap
        self.propagation = _propagation(note.model, changes)
        self.made = made_for(note, first)

    def features(self, frame: "Frame") -> "FeatureMap":
        """The map of one frame.

        Raises:
            BadInput: no file of it, or one that was made in another way than the first.
        """
        fmap = self._load(frame)
        made, shape, input_wh = self._like
        if (fmap.values.shape, fmap.input_wh) != (shape, input_wh):
            raise BadInput(
                "expected features of every frame on one grid, (channels, rows, columns) = "
                f"{tuple(shape)} as of the first, got {tuple(fmap.values.shape)} of frame "
                f"{frame.number}; extract the frames with one --size"
            )
        if fmap.provenance.without_picture() != made:
            raise BadInput(
                "expected features of every frame made as of the first, got others of frame "
                f"{frame.number}; extract the frames with the same options"
            )
        return fmap

    def _load(self, frame: "Frame") -> "FeatureMap":
        from counterpoint.tasks.tracking.temporal import seen_as

        def fits(header: "FeatureHeader") -> bool:
            kinds = seen_as(frame.picture, header.image_size_wh)
            return header.provenance.picture_sha256 in kinds

        return self._stored.read(self._stored.folder.find(frame.picture.name, fits))


def made_for(note: Any, first: "Frame") -> dict[str, Any]:
    """What made a map, as a running model has it, whose notes name the frame as the video has it.

    So a run with stored features goes on where one with the model stopped, and the other way.
    """
    from dataclasses import replace

    from counterpoint.store import comparable

    frame = first.picture.content_hash
    parts = tuple(replace(part, picture_sha256=frame) for part in note.parts)
    return comparable(replace(note, picture_sha256=frame, parts=parts))


def frame_input(options: "Options", size_wh: "SizeWH", multiple: int) -> "SizeWH":
    """The model's input for a video's frames.

    Raises:
        BadInput: a size that the model cannot take.
    """
    from counterpoint.tasks.tracking.temporal import temporal_input

    input_wh = options.size_wh or temporal_input(size_wh, multiple)
    check_input(input_wh, multiple)
    return input_wh


def check_input(input_wh: "SizeWH", multiple: int) -> None:
    """That a model can take frames of a size without padding.

    Raises:
        BadInput: it cannot; says which size near it it can.
    """
    near = [max(multiple, round(side / multiple) * multiple) for side in input_wh]
    if near != list(input_wh):
        raise BadInput(
            f"expected --size in multiples of {multiple} for this model, got "
            f"{input_wh[0]}x{input_wh[1]}; try {near[0]}x{near[1]}"
        )


def _propagation(model: str, changes: Mapping[str, Any]) -> "Propagation":
    """What suits the family of the model that made stored features."""
    from counterpoint.backbones.recognise import spec_of
    from counterpoint.tasks.tracking.temporal import TEMPORAL, setting_for

    try:
        family = spec_of(model).family
    except CounterpointError:
        family = ""
        log.warning("the features are of %s, which is not known here: see --temperature", model)
    return setting_for(family, TEMPORAL, changes).propagation


def _paths(video: "Video") -> list[Path]:
    """Of the pictures, or of the file."""
    from counterpoint.videos import FileVideo, PictureVideo

    if isinstance(video, PictureVideo):
        return list(video.paths)
    assert isinstance(video, FileVideo)
    return [video.path]
