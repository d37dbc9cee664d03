"""Points that choose each other."""

from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import require_inside
from counterpoint.matching.find import match, neighbourhood_px, require_known
from counterpoint.matching.matches import Matches
from counterpoint.matching.prepared import PreparedMap, prepare
from counterpoint.matching.tables import fine_dtype

_ROWS = 1024  # descriptors at once where every pair is compared
Metric = Literal["cosine", "l2"]


def mutual_matches(
    source: FeatureMap | PreparedMap,
    target: FeatureMap | PreparedMap,
    source_points_px: ArrayLike | None = None,
    target_points_px: ArrayLike | None = None,
    *,
    metric: Metric = "cosine",
    tolerance_px: float | None = None,
    margin_radius: float = 0.1,
) -> Matches:
    """Points that choose each other.

    With points of both pictures, pairs whose features are each other's nearest among the given
    ones (their ``cycle_px`` is 0 and the margin is over the other target points). With points of
    the source only, those whose full-resolution match leads back to them at full resolution.

    Args:
        source: features of the source picture.
        target: features of the target picture.
        source_points_px: (N, 2) in the source picture; by default the centres of its cells.
        target_points_px: (M, 2) in the target picture; by default all its pixels.
        metric: "cosine", or "l2": Euclidean distance of the features as they are.
        tolerance_px: how near to its start the way back must end, in the source picture's pixels;
            by default the distance of its cells. Only without ``target_points_px``.
        margin_radius: as for `match`.

    >>> import torch
    >>> fmap = FeatureMap(torch.eye(4).reshape(4, 2, 2), image_size_wh=(8, 8))
    >>> mutual_matches(fmap, fmap, [(1, 1), (6, 6)], [(6, 6), (6, 1), (1, 1)]).target_px.tolist()
    [[1.0, 1.0], [6.0, 6.0]]

    Raises:
        PointError: a point outside its picture.
        BadInput: as `match`; "l2" without target points.
    """
    require_known("metric", metric, get_args(Metric))
    ready_source, ready_target = prepare(source), prepare(target)
    if source_points_px is None:
        source_points_px = ready_source.cells_px
    if target_points_px is not None:
        source_px = require_inside(source_points_px, ready_source.size_wh, "the source picture")
        target_px = require_inside(target_points_px, ready_target.size_wh, "the target picture")
        margin_px = neighbourhood_px(ready_target, margin_radius)
        return _mutual_among(ready_source, ready_target, source_px, target_px, metric, margin_px)
    if metric != "cosine":
        raise BadInput(f"expected target points with metric {metric!r}: pixels match by cosine")
    found = match(ready_source, ready_target, source_points_px, margin_radius=margin_radius)
    tolerance = max(ready_source.stride_px) if tolerance_px is None else tolerance_px
    return found.select(found.cycle_px <= tolerance)


def mutual_nearest(
    a: Float[Tensor, "n channels"] | Float[np.ndarray, "n channels"],
    b: Float[Tensor, "m others"] | Float[np.ndarray, "m others"],
    metric: Metric = "cosine",
    *,
    chunk: int = 1024,
) -> Int[np.ndarray, "pairs 2"]:
    """Pairs (i, j) of descriptors a[i] and b[j] that are each other's nearest, by rising i.

    In float64 where the device has it; of neighbours that tie exactly the first counts.

    Args:
        a: (N, channels) descriptors, not necessarily of unit length.
        b: (M, channels).
        metric: "cosine" or "l2".
        chunk: rows of distances held at once; the result does not depend on it.

    >>> import numpy as np
    >>> mutual_nearest(np.eye(3), np.eye(3)[[2, 0]]).tolist()
    [[0, 1], [2, 0]]

    Raises:
        BadInput: different channels, NaN or infinity.
        UnknownName: no such metric.
    """
    require_known("metric", metric, get_args(Metric))
    rows, columns = _descriptors(a), _descriptors(b)
    (n, channels), (m, others) = rows.shape, columns.shape
    if channels != others:
        raise BadInput(f"expected descriptors of one length, got {channels} and {others}")
    if 0 in (n, m):
        return np.zeros((0, 2), dtype=np.int64)
    best = torch.zeros(n, dtype=torch.long, device=rows.device)
    value = torch.full((m,), -torch.inf, dtype=fine_dtype(rows.device), device=rows.device)
    chosen = torch.zeros_like(value, dtype=torch.long)
    for first in range(0, n, chunk):
        nearness = _nearness(rows[first : first + chunk], columns, metric)
        best[first : first + chunk] = nearness.argmax(dim=1)
        near, index = nearness.max(dim=0)
        chosen = torch.where(near > value, index + first, chosen)
        value = torch.maximum(near, value)
    index = torch.arange(n, device=rows.device)
    mutual = chosen[best] == index
    return torch.stack([index[mutual], best[mutual]], dim=1).cpu().numpy()


def _nearness(
    a: Float[Tensor, "n channels"], b: Float[Tensor, "m channels"], metric: Metric
) -> Float[Tensor, "n m"]:
    """Cosines, or minus half the squared distances."""
    a, b = (x.to(fine_dtype(x.device)) for x in (a, b))
    if metric == "cosine":
        return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
    return a @ b.T - (a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)) / 2


def _descriptors(given: Tensor | np.ndarray) -> Float[Tensor, "n channels"]:
    array = given.detach() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if array.ndim != 2 or not array.is_floating_point() or not bool(torch.isfinite(array).all()):
        raise BadInput(
            "expected descriptors (N, channels) of finite floating point numbers, "
            f"got {array.dtype} {tuple(array.shape)}"
        )
    return array


def _mutual_among(
    source: PreparedMap,
    target: PreparedMap,
    source_px: Float[np.ndarray, "n 2"],
    target_px: Float[np.ndarray, "m 2"],
    metric: Metric,
    margin_px: float,
) -> Matches:
    a, b = source.vectors(source_px).to(target.device), target.vectors(target_px)
    of_a, of_b = mutual_nearest(a, b, metric).T
    cosine, rival = np.zeros(len(of_a)), np.zeros(len(of_a))
    for some in np.array_split(np.arange(len(of_a)), len(of_a) // _ROWS + 1):
        cosines = _nearness(a[of_a[some]], b, "cosine").double().cpu().numpy().clip(-1, 1)
        cosine[some] = cosines[np.arange(len(some)), of_b[some]]
        apart = np.linalg.norm(target_px - target_px[of_b[some], None], axis=2)
        rival[some] = np.where(apart > margin_px, cosines, -1).max(axis=1, initial=-1)
    ends = source_px[of_a], target_px[of_b]
    columns = cosine, cosine - rival, np.zeros(len(of_a))
    return Matches(*ends, *columns, source.size_wh, target.size_wh)
