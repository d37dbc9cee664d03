"""What is marked in one frame, followed through a video: masks, points, boxes.

Everything is a soft label at the features' grid, and all labels are carried together by one
`LabelPropagator`: a mask's objects and their background, a small Gaussian a point, an ellipse a box
(`counterpoint.tasks.tracking.readout`). So the same look at the features serves all, boxes may
overlap, and memory does not grow with the video.

A point counts as visible while its label holds together (`Tracking.visible`). That is a statement
about the track, not about the scene: on BADJA's joints it tells tracks that are still right from
lost ones, and it is no detector of occlusion.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from counterpoint.backbones.base import Backbone
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, Points, SizeWH
from counterpoint.images import Picture
from counterpoint.options import Options
from counterpoint.tasks.masks import Mask
from counterpoint.tasks.tracking.prompts import Channels, Prompt, Tracked
from counterpoint.tasks.tracking.propagation import (
    LabelPropagator,
    Labels,
    Propagation,
    gaussian_labels,
    mask_of,
    one_hot_labels,
)
from counterpoint.tasks.tracking.readout import (
    box_labels,
    box_marks,
    moved_boxes,
    read_points,
    refine_points,
)
from counterpoint.tasks.tracking.temporal import resized, temporal_input
from counterpoint.videos import Frame, Video

VISIBLE = 0.012
"""From this hold on a point counts as visible. Fitted with the embedded model on the dog and the
camel of BADJA, to say whether a joint is both visible and in its place; docs/video.md has what it
gives."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """How things are followed.

    Attributes:
        propagation: of the labels.
        refine: a visible point is moved to where the features look most like its own, at most so
            many cells from where its label is.
        visible: the hold from which on a point counts as visible; 0: always.
        gone: a mask's object or a box whose label has its peak below this is gone; 0: never. Not
            fitted to anything.
    """

    propagation: Propagation = field(default_factory=Propagation)
    refine: int = 0
    visible: float | int = VISIBLE
    gone: float | int = 0.0

    def __post_init__(self) -> None:
        if self.refine < 0 or not 0 <= self.visible <= 1 or not 0 <= self.gone <= 1:
            raise BadInput(
                "expected refine of at least 0 cells, visible and gone from 0 to 1, got "
                f"{self.refine}, {self.visible}, {self.gone}"
            )


@dataclass(frozen=True, eq=False)
class Memory:
    """What a tracker must keep of a frame to go on from there; see `Tracker.recall`.

    Attributes:
        labels: soft labels of the frame, (labels, rows, columns).
        templates: each point's own feature, (points, channels).
        boxes_px: each box as last given, (M, 4).
        marks: of the labels it was given as, (M, 4).
    """

    labels: Labels
    templates: Float[Tensor, "points channels"]
    boxes_px: Float[Tensor, "boxes 4"]
    marks: Float[Tensor, "boxes 4"]


class Tracker:
    """Follows what is marked, frame by frame; its memory does not grow with the video.

    Args:
        prompts: what is known, by the frame's number; the first frame must have one. A later mask
            replaces the objects that it shows and leaves the others; a later point or box begins
            there, or is set right. What was found for them between the first frame and this one
            counts no more; what the first frame says does.
        settings: how.
        size_wh: of the video's frames, pixels; by default of the pictures that the features are of,
            which may have been resized.

    Raises:
        BadInput: nothing marked.
    """

    def __init__(
        self,
        prompts: Mapping[int, Prompt],
        settings: Tracking | None = None,
        size_wh: SizeWH | None = None,
    ) -> None:
        self.settings = settings or Tracking()
        self._prompts, self._size_wh = dict(sorted(prompts.items())), size_wh
        self._channels = Channels.of(prompts)
        if not self._channels.total:
            raise BadInput("expected a mask, points or boxes in the first frame, got nothing")
        self._propagator: LabelPropagator | None = None
        self._memory: Memory | None = None
        self._latest = -1  # number of the latest frame

    @property
    def memory(self) -> Memory:
        """Of the latest frame."""
        if self._memory is None:
            raise BadInput("expected a frame before its memory is asked for")
        return self._memory

    def step(self, fmap: FeatureMap, number: int | None = None) -> Tracked:
        """The next frame's results.

        Args:
            fmap: the frame's features.
            number: of the frame; by default one more than the last.

        Raises:
            BadInput: features that cannot be used, a prompt that does not fit the frame, or no
                frame for a prompt.
        """
        place = _Place.of(fmap, self._size_wh)
        prompt = self._prompt_of(self._latest + 1 if number is None else number)
        if self._propagator is None:
            memory = self._begun(fmap, place, prompt)
            self._propagator = LabelPropagator(fmap, memory.labels, self.settings.propagation)
        else:
            labels = self._propagator.step(fmap).cpu()
            memory = replace(self.memory, labels=labels)
            if prompt is not None:
                memory = self._prompted(memory, prompt, fmap, place)
                self._propagator.correct(memory.labels)
                self._propagator.forget(self._channels.told_by(prompt))
        self._memory = memory
        return self._read(memory, prompt, fmap, place)

    def resume(self, first: FeatureMap, number: int, skipped: int) -> None:
        """Begin to go on with a run that was stopped; `recall` follows.

        Args:
            first: features of the first frame.
            number: of that frame.
            skipped: how many frames came between it and those that are recalled.
        """
        memory = self._begun(first, _Place.of(first, self._size_wh), self._prompt_of(number))
        self._propagator = LabelPropagator(first, memory.labels, self.settings.propagation)
        self._propagator.skip(skipped)
        self._memory = memory

    def recall(self, fmap: FeatureMap, number: int, memory: Memory) -> None:
        """Take a frame as done, as it was; the last ``context`` ones, in order, and at least one.

        What follows is equal bit for bit to what would have followed without the stop.
        """
        if self._propagator is None:
            raise BadInput("expected `resume` before `recall`")
        self._propagator.add(fmap, memory.labels)
        self._memory, self._latest = memory, number

    def _prompt_of(self, number: int) -> Prompt | None:
        """A frame's prompt.

        Raises:
            BadInput: a frame out of order, or the frame of an earlier prompt never came.
        """
        if number <= self._latest:
            raise BadInput(f"expected frames in order, got {number} after {self._latest}")
        due = min((n for n in self._prompts if n > self._latest), default=number)
        if due < number or (self._propagator is None and due != number):
            raise BadInput(
                f"expected frame {due}, which is marked, got frame {number}: mark the first frame, "
                "and later only frames that are read"
            )
        self._latest = number
        return self._prompts.get(number)

    def _begun(self, fmap: FeatureMap, place: "_Place", prompt: Prompt | None) -> Memory:
        """The first frame's labels."""
        channels = self._channels
        nothing = Memory(
            torch.zeros(channels.total, *fmap.values.shape[1:]),
            torch.zeros(channels.points, fmap.channels),
            torch.full((channels.boxes, 4), torch.nan, dtype=torch.float64),
            torch.full((channels.boxes, 4), torch.nan, dtype=torch.float64),
        )
        if channels.objects:
            nothing.labels[0] = 1.0  # background
        return nothing if prompt is None else self._prompted(nothing, prompt, fmap, place)

    def _prompted(
        self, memory: Memory, prompt: Prompt, fmap: FeatureMap, place: "_Place"
    ) -> Memory:
        """The memory with what a prompt says of its frame."""
        prompt.check(place.size_wh)
        labels, templates = memory.labels.clone(), memory.templates.clone()
        boxes_px, marks = memory.boxes_px.clone(), memory.marks.clone()
        if prompt.mask is not None:
            masks = self._channels.masks
            labels[:masks] = _with_mask(labels[:masks], prompt.mask)
        if len(prompt.points_px):
            ids = list(prompt.point_ids or ())
            at = place.to_grid.apply(prompt.points_px)
            labels[self._channels.point(ids)] = gaussian_labels(at, fmap.grid_wh)
            templates[ids] = place.sample(prompt.points_px).float().cpu()
        if len(prompt.boxes_px):
            ids = list(prompt.box_ids or ())
            drawn = box_labels(prompt.boxes_px, place.to_grid, fmap.grid_wh)
            labels[self._channels.box(ids)] = drawn
            boxes_px[ids] = torch.from_numpy(np.asarray(prompt.boxes_px, dtype=np.float64))
            marks[ids] = torch.from_numpy(box_marks(drawn))
        return Memory(labels, templates, boxes_px, marks)

    def _read(
        self, memory: Memory, prompt: Prompt | None, fmap: FeatureMap, place: "_Place"
    ) -> Tracked:
        channels = self._channels
        points = self._read_points(memory, fmap, place)
        boxes, peak = self._read_boxes(memory, place)
        mask = None
        if channels.objects:
            mask = self._read_mask(memory.labels[: channels.masks], fmap, place)
        if prompt is not None:  # what is known is not read back, coarser
            ids = list(prompt.point_ids or ())
            points[0][ids], points[1][ids] = prompt.points_px, True
            boxes[list(prompt.box_ids or ())] = prompt.boxes_px
            mask = mask if prompt.mask is None else _merged(mask, prompt.mask)
        return Tracked(mask, *points, boxes, peak)

    def _read_points(
        self, memory: Memory, fmap: FeatureMap, place: "_Place"
    ) -> tuple[Points, Bool[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        some = memory.labels[self._channels.point(range(self._channels.points))]
        if not len(some):
            return np.zeros((0, 2)), np.zeros(0, bool), np.zeros(0)
        reading = read_points(some)
        shown = reading.hold >= self.settings.visible
        cells = reading.points_grid
        near = refine_points(cells, memory.templates, fmap.values, self.settings.refine)
        cells = np.where(shown[:, None], near, cells)
        points = np.full(cells.shape, np.nan)
        known = np.isfinite(cells).all(axis=1)
        points[known] = place.to_frame(cells[known])
        return points, known & shown, reading.hold

    def _read_boxes(
        self, memory: Memory, place: "_Place"
    ) -> tuple[Float[np.ndarray, "m 4"], Float[np.ndarray, " m"]]:
        some = memory.labels[self._channels.box(range(self._channels.boxes))]
        if not len(some):
            return np.zeros((0, 4)), np.zeros(0)
        peak = some.amax(dim=(1, 2)).double().numpy().clip(0, 1)
        given, before = memory.boxes_px.numpy(), memory.marks.numpy()
        boxes = moved_boxes(given, before, box_marks(some), place.to_grid)
        boxes[peak < self.settings.gone] = np.nan
        return boxes, peak

    def _read_mask(self, labels: Labels, fmap: FeatureMap, place: "_Place") -> Mask:
        peak = labels.amax(dim=(1, 2))
        peak[0] = 1.0
        kept = labels * (peak >= self.settings.gone)[:, None, None]
        return mask_of(kept, fmap.input_wh, place.size_wh)


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a frame's cells lie in the video's pixels.

    Attributes:
        fmap: the frame's features.
        size_wh: of the video's frames.
        resize: from these to the pictures that the features are of.
    """

    fmap: FeatureMap
    size_wh: SizeWH
    resize: PixelTransform

    @classmethod
    def of(cls, fmap: FeatureMap, size_wh: SizeWH | None) -> "_Place":
        size_wh = size_wh or fmap.image_size_wh
        return cls(fmap, size_wh, PixelTransform.resize(size_wh, fmap.image_size_wh))

    @property
    def to_grid(self) -> PixelTransform:
        return self.resize.then(self.fmap.to_grid)

    def sample(self, points_px: Points) -> Float[Tensor, "points channels"]:
        return self.fmap.sample(self.resize.apply(points_px))

    def to_frame(self, cells: Points) -> Points:
        # Cells at the border may have their centres half a pixel outside.
        return self.to_grid.invert().apply(cells).clip(0, np.asarray(self.size_wh) - 1)


def _with_mask(labels: Labels, mask: Mask) -> Labels:
    """Labels of background and objects, set right by a mask for the objects that it shows."""
    known = one_hot_labels(mask, (labels.shape[2], labels.shape[1]), len(labels))
    shown = torch.from_numpy(np.isin(np.arange(len(labels)), np.unique(mask[mask > 0])))
    free = known[:1]  # where the mask has nothing
    lost = (labels * shown[:, None, None]).sum(dim=0, keepdim=True)
    others = labels * free * ~shown[:, None, None]
    others[:1] += lost * free
    return others + known * shown[:, None, None]


def _merged(found: Mask | None, known: Mask) -> Mask:
    """What was found, with the known objects in place of theirs."""
    if found is None:
        return known
    rest = np.where(np.isin(found, np.unique(known[known > 0])), 0, found)
    return np.where(known > 0, known, rest).astype(np.uint8)


def track(
    features: Iterable[FeatureMap],
    prompts: Mapping[int, Prompt],
    settings: Tracking | None = None,
    size_wh: SizeWH | None = None,
) -> Iterator[Tracked]:
    """Follow what is marked through feature maps of a video's frames, one at a time.

    Args:
        features: of every frame; taken one by one, stored ones as well as new ones.
        prompts: what is known, by frame, from 0; see `Tracker`.
        settings: how.
        size_wh: of the video's frames, where the features are of resized ones.

    Raises:
        BadInput: nothing marked in frame 0, or what cannot be used.

    >>> ramp = torch.eye(16).reshape(16, 4, 4)
    >>> frames = [FeatureMap(ramp, (16, 16)), FeatureMap(ramp.roll(1, 2), (16, 16))]
    >>> start = Prompt(points_px=np.array([[5.5, 5.5]]))
    >>> [found.points_px.round(1).tolist() for found in track(frames, {0: start})]
    [[[5.5, 5.5]], [[9.3, 5.7]]]
    """
    tracker = Tracker(prompts, settings, size_wh)
    for fmap in features:
        yield tracker.step(fmap)


def frame_features(
    backbone: Backbone, picture: Picture, options: Options, input_wh: SizeWH
) -> FeatureMap:
    """Features of one frame, resized as on DAVIS.

    Frames are extracted one by one, so that a run that goes on has the very same features.

    Args:
        backbone: the model.
        picture: the frame.
        options: as `temporal.Setting.options` fills them.
        input_wh: the model's input.
    """
    [fmap] = backbone.extract([resized(picture, input_wh)], options)
    return fmap


def track_video(
    video: Video,
    backbone: Backbone,
    prompts: Mapping[int, Prompt],
    options: Options,
    settings: Tracking | None = None,
    *,
    start: int = 0,
    stop: int | None = None,
    every: int = 1,
) -> Iterator[tuple[Frame, Tracked]]:
    """Follow what is marked through a video, a frame at a time.

    Args:
        video: from `counterpoint.videos.open_video`.
        backbone: a loaded model.
        prompts: by the frame's number; the first frame's too.
        options: how features are extracted: `temporal.setting_of(backbone.spec,
            TEMPORAL).options(Options())` for what suits the model.
        settings: how things are followed.
        start: the first frame.
        stop: the first one that is left alone.
        every: 2 takes every second frame.
    """
    input_wh = options.size_wh or temporal_input(video.size_wh, backbone.multiple)
    tracker = Tracker(prompts, settings, video.size_wh)
    for frame in video.frames(start, stop, every):
        fmap = frame_features(backbone, frame.picture, options, input_wh)
        yield frame, tracker.step(fmap, frame.number)
