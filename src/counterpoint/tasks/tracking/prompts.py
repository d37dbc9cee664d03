"""What is marked in some frames of a video, and what is found in the others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from counterpoint.errors import BadInput
from counterpoint.geometry import Points, SizeWH, require_inside
from counterpoint.tasks.masks import Mask
from counterpoint.tasks.tracking.readout import Boxes, box_corners


@dataclass(frozen=True, eq=False, kw_only=True)
class Prompt:
    """What is known of one frame.

    Attributes:
        mask: (rows, columns), objects numbered from 1; None: nothing.
        points_px: (N, 2), (x, y), pixels of the frame.
        point_ids: which points these are, numbered from 0 over the whole video; by default in
            order.
        boxes_px: (M, 4), (x, y, width, height), x and y of the first pixel inside.
        box_ids: which boxes these are.

    In a later frame a mask replaces the objects that it shows and leaves the others; a point or box
    begins there, or is set right.
    """

    mask: Mask | None = None
    points_px: Points = field(default_factory=lambda: np.zeros((0, 2)))
    point_ids: tuple[int, ...] | None = None
    boxes_px: Boxes = field(default_factory=lambda: np.zeros((0, 4)))
    box_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for ids, things in (("point_ids", self.points_px), ("box_ids", self.boxes_px)):
            if getattr(self, ids) is None:
                object.__setattr__(self, ids, tuple(range(len(things))))
            numbers = getattr(self, ids)
            if len(set(numbers)) != len(things) or any(number < 0 for number in numbers):
                raise BadInput(f"expected {ids} from 0, one for each of {len(things)}: {numbers}")

    def check(self, size_wh: SizeWH) -> None:
        """Whether all of it lies on a frame of that size.

        Raises:
            BadInput: a mask of another size or without an object, an empty box, or one that is
                not inside.
            PointError: a point outside.
        """
        require_inside(self.points_px, size_wh, "the frame")
        if (self.boxes_px[:, 2:] <= 0).any():
            raise BadInput("expected boxes of some width and height as x,y,w,h, got an empty one")
        if len(self.boxes_px):
            require_inside(box_corners(self.boxes_px), size_wh, "the frame for a box's corners")
        if self.mask is None:
            return
        if self.mask.shape != size_wh[::-1]:
            h, w = self.mask.shape
            raise BadInput(
                f"expected a mask of the frame's size, {size_wh[0]} x {size_wh[1]}, got {w} x {h}"
            )
        if not self.mask.any():
            raise BadInput("expected an object in the mask, got only background")


@dataclass(frozen=True, eq=False)
class Tracked:
    """What has become of everything in one frame.

    Attributes:
        mask: (rows, columns) of the frame, objects from 1; None where no mask was given.
        points_px: (N, 2), (x, y), pixels of the frame; NaN before a point begins.
        visible: (N,).
        hold: (N,), 0 to 1: how well each point's label holds together.
        boxes_px: (M, 4), (x, y, width, height); NaN before a box begins, and where it is gone.
        box_peak: (M,), 0 to 1: the peak of each box's label.
    """

    mask: Mask | None
    points_px: Float[np.ndarray, "n 2"]
    visible: Bool[np.ndarray, " n"]
    hold: Float[np.ndarray, " n"]
    boxes_px: Float[np.ndarray, "m 4"]
    box_peak: Float[np.ndarray, " m"]

    def same_as(self, other: "Tracked") -> bool:
        """Whether all numbers are equal, bit for bit."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__]
        return all(
            a is b
            if a is None or b is None
            else np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            for a, b in pairs
        )


@dataclass(frozen=True)
class Channels:
    """Which label maps are whose: the mask's (background first), then points, then boxes."""

    objects: int
    points: int
    boxes: int

    @property
    def masks(self) -> int:
        """Maps of the mask."""
        return self.objects + 1 if self.objects else 0

    @property
    def total(self) -> int:
        """All maps."""
        return self.masks + self.points + self.boxes

    def point(self, ids: Iterable[int]) -> list[int]:
        """Maps of these points."""
        return [self.masks + i for i in ids]

    def box(self, ids: Iterable[int]) -> list[int]:
        """Maps of these boxes."""
        return [self.masks + self.points + i for i in ids]

    def told_by(self, prompt: Prompt) -> list[int]:
        """Maps that a prompt says something of."""
        shown = [] if prompt.mask is None else [int(n) for n in np.unique(prompt.mask) if n]
        return [*shown, *self.point(prompt.point_ids or ()), *self.box(prompt.box_ids or ())]

    @classmethod
    def of(cls, prompts: Mapping[int, Prompt]) -> "Channels":
        """As many as all prompts together ask for."""
        given = prompts.values()
        return cls(
            max((int(p.mask.max()) for p in given if p.mask is not None), default=0),
            max((i + 1 for p in given for i in p.point_ids or ()), default=0),
            max((i + 1 for p in given for i in p.box_ids or ()), default=0),
        )
