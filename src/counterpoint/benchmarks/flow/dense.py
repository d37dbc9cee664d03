"""Dense correspondence: where every wanted pixel of a picture lies in another.

Each pixel's match is the exact one (`counterpoint.match`), found block by block, so that memory
does not grow with the number of pixels beyond the flow field itself.
"""

import numpy as np
from jaxtyping import Bool

from counterpoint.benchmarks.datasets.flo import Flow
from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, Points, SizeWH
from counterpoint.matching import PreparedMap, match

BLOCK = 4096
"""Pixels matched at a time."""


def dense_flow(
    source: FeatureMap | PreparedMap,
    target: FeatureMap | PreparedMap,
    wanted: Bool[np.ndarray, "_ _"],
    *,
    mirrored: bool = False,
    block: int = BLOCK,
) -> Flow:
    """The flow from a picture's pixels to their matches in another.

    Args:
        source: features of the picture.
        target: features of the other; a `PreparedMap` where it is asked again.
        wanted: (rows, columns) of the source picture, the pixels to match.
        mirrored: the target's features are those of its mirror image; the flow leads to where the
            points are in the picture as it is.
        block: pixels matched at a time; the result does not depend on it.

    Returns:
        (rows, columns, 2), (x, y), pixels; NaN where not wanted.

    Raises:
        BadInput: a mask of another size than the source picture's.
    """
    ready, other = (m if isinstance(m, PreparedMap) else PreparedMap(m) for m in (source, target))
    w, h = ready.size_wh
    if wanted.shape != (h, w):
        raise BadInput(f"expected wanted pixels of a picture of {w} x {h}, got {wanted.shape}")
    to_target = PixelTransform.flip_x(other.size_wh[0]) if mirrored else PixelTransform()
    flow = np.full((h, w, 2), np.nan, dtype=np.float32)
    rows, columns = np.nonzero(wanted)
    for start in range(0, len(rows), block):
        row, column = rows[start : start + block], columns[start : start + block]
        points_px = np.stack([column, row], axis=1).astype(np.float64)
        found = match(ready, other, points_px, margin_radius=None, cycle=False)
        flow[row, column] = to_target.apply(found.target_px) - points_px
    return flow


def same_position_flow(source_wh: SizeWH, target_wh: SizeWH) -> Flow:
    """The flow of who looks at nothing: each pixel to the same share of width and height."""
    places = _pixels(source_wh)
    moved = PixelTransform.resize(source_wh, target_wh).apply(places) - places
    return moved.reshape(*source_wh[::-1], 2).astype(np.float32)


def every(size_wh: SizeWH, step: int) -> Bool[np.ndarray, "rows columns"]:
    """Every ``step``-th pixel of every ``step``-th row, from the middle of the first such square.

    >>> every((4, 3), 2).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    """
    if step < 1:
        raise BadInput(f"expected every 1st, 2nd, ... pixel, got {step}")
    chosen = np.zeros(size_wh[::-1], dtype=bool)
    chosen[step // 2 :: step, step // 2 :: step] = True
    return chosen


def kit_resized(flow: Flow, size_wh: SizeWH, target_wh: SizeWH, new_target_wh: SizeWH) -> Flow:
    """A flow between resized pictures as one between the pictures themselves, as TSS' kit has it.

    OpenCV's bilinear filter on the vectors' components; places scale without the half pixel. What
    borders on an unknown vector is unknown.

    Args:
        flow: between the resized pictures.
        size_wh: of the picture that the flow starts from.
        target_wh: of the resized picture that it leads into.
        new_target_wh: of that picture itself.
    """
    import cv2

    h, w = flow.shape[:2]
    if (w, h) == size_wh and target_wh == new_target_wh:
        return flow
    unknown = np.isnan(flow[..., 0])
    known = cv2.resize((~unknown).astype(np.float32), size_wh) == 1
    vectors = cv2.resize(np.where(unknown[..., None], 0, flow), size_wh)
    places = _pixels(size_wh)
    to_resized = PixelTransform((w / size_wh[0], h / size_wh[1]))
    to_target = PixelTransform((new_target_wh[0] / target_wh[0], new_target_wh[1] / target_wh[1]))
    ends = to_target.apply(to_resized.apply(places) + vectors.reshape(-1, 2))
    moved = (ends - places).reshape(vectors.shape)
    return np.where(known[..., None], moved, np.nan).astype(np.float32)


def _pixels(size_wh: SizeWH) -> Points:
    """Every pixel of a picture, row by row, (N, 2)."""
    w, h = size_wh
    return np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=-1).reshape(-1, 2).astype(float)
