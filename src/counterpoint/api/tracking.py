"""`track`: what is marked in a video's first frame, followed through the others, in one call."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import ArrayLike

from counterpoint.api.extracting import opened
from counterpoint.backbones.base import Backbone
from counterpoint.errors import BadInput
from counterpoint.geometry import as_points
from counterpoint.images import ImageLike
from counterpoint.plots import distinct_colours
from counterpoint.tasks.masks import Mask, load_objects
from counterpoint.tasks.tracking.overlays import Overlay
from counterpoint.tasks.tracking.prompts import Prompt, Tracked
from counterpoint.tasks.tracking.temporal import TEMPORAL, setting_of
from counterpoint.tasks.tracking.tracker import Tracking, track_video
from counterpoint.videos import Frame, Video, open_video


def track(
    video: str | Path | Sequence[ImageLike] | np.ndarray | Video,
    model: str | Backbone = "small",
    *,
    mask: Any = None,
    points: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
    later: Mapping[int, Prompt] | None = None,
    how: Tracking | None = None,
    start: int = 0,
    stop: int | None = None,
    every: int = 1,
    **options: Any,
) -> Iterator[tuple[Frame, Tracked]]:
    """Follow what is marked in the first frame, a frame at a time.

    What `counterpoint track` does. Nothing is read before it is asked for, and memory does not
    grow with the video.

    Args:
        video: a file, a folder of pictures, a list of pictures in order (paths, arrays, ...), an
            array (frames, rows, columns, 3), or what `open_video` gave.
        model: a loaded model, or its name.
        mask: the objects in the first frame: an array (rows, columns), 0 for the background and
            objects from 1, or true and false; or the path of a label image.
        points: (N, 2), (x, y) in pixels of the first frame.
        boxes: (M, 4), (x, y, width, height) there.
        later: what is known of later frames, by their number: an object, point or box is set right
            or begins there.
        how: the propagation's parameters, how points are read; by default what suits the model.
        start: the first frame.
        stop: the first one that is left alone.
        every: 2 takes every second frame.
        options: as in `Options`; where they are silent, what suits video. ``size`` is of the
            frames' input, by default a short side of 480 pixels.

    Yields:
        Each frame, and everything found in it; `Tracked` says what that is.

    Raises:
        ImageError: no video, or a mask that cannot be read.
        BadInput: nothing marked, or marks that are not of the frame.

    >>> from skimage.data import chelsea
    >>> frames = [chelsea()[:200, 2 * i : 2 * i + 240] for i in range(3)]
    >>> for frame, found in track(frames, "sift", points=[(120, 80)], size=(240, 200)):
    ...     x, y = found.points_px[0].tolist()
    ...     print(frame.number, abs(x - 120 + 2 * frame.number) < 8, abs(y - 80) < 8)
    0 True True
    1 True True
    2 True True
    """
    film = video if isinstance(video, Video) else open_video(_listed(video))
    marked = Prompt(mask=_objects(mask), points_px=_columns(points, 2), boxes_px=_columns(boxes, 4))
    prompts = {start: marked, **(later or {})}
    for prompt in prompts.values():
        prompt.check(film.size_wh)
    backbone, chosen = opened(model, options)
    setting = setting_of(backbone.spec, TEMPORAL)
    how = how or Tracking(propagation=setting.propagation)
    filled = setting.options(chosen)
    return track_video(film, backbone, prompts, filled, how, start=start, stop=stop, every=every)


def draw_tracked(
    found: Iterable[tuple[Frame, Tracked]],
    *,
    limbs: Sequence[tuple[int, int]] = (),
    names: Sequence[str] = (),
    trail: int = 20,
) -> Iterator[UInt8[np.ndarray, "rows columns 3"]]:
    """Every frame with its masks, points and boxes on it, for `VideoWriter` or for looking at.

    Args:
        found: what `track` gives.
        limbs: pairs of points that are joined.
        names: of the points, written beside them.
        trail: over how many frames a point's way is drawn.
    """
    drawing: Overlay | None = None
    for frame, tracked in found:
        if drawing is None:
            counts = len(tracked.points_px), len(tracked.boxes_px)
            colours = [distinct_colours(count) for count in counts]
            drawing = Overlay(*colours, limbs=limbs, names=names, trail=trail)
        yield drawing.draw(frame.picture.rgb, tracked)


def _listed(video: Any) -> Any:
    return list(video) if isinstance(video, np.ndarray) else video


def _objects(mask: Any) -> Mask | None:
    """Objects numbered from 1, from an array or a label image."""
    if mask is None:
        return None
    if isinstance(mask, str | PathLike):
        return load_objects(Path(mask)).mask
    numbers = np.asarray(mask)
    fits = numbers.ndim == 2 and numbers.dtype.kind in "bui"
    if not fits or (numbers.size and not 0 <= numbers.min() <= numbers.max() <= 255):
        raise BadInput(
            "expected a mask (rows, columns) of whole numbers 0 to 255 or of bool, "
            f"got {numbers.dtype} {numbers.shape}"
        )
    return numbers.astype(np.uint8)


def _columns(rows: ArrayLike | None, count: int) -> np.ndarray:
    """Points or boxes as (N, count); one alone may come without its brackets."""
    if rows is None:
        return np.zeros((0, count))
    if count == 2:
        return as_points(rows)
    found = np.asarray(rows, dtype=np.float64)
    found = found[None] if found.ndim == 1 else found
    if found.ndim != 2 or found.shape[1] != count or not np.isfinite(found).all():
        raise BadInput(f"expected boxes (M, 4) as x, y, width, height, got shape {found.shape}")
    return found
