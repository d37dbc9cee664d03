"""k-means by OpenCV, from starts of this module's own drawing, and how many clusters to take."""

import cv2
import numpy as np
from jaxtyping import Float, Int

from counterpoint.errors import BadInput

Cells = Float[np.ndarray, "cells channels"]

STARTS = 4
"""Draws of initial centres; the most compact result counts."""

MOST_AUTO = 10
"""Clusters that `choose_k` tries at most."""

_COMPARED = 1500
"""Cells between which silhouettes are measured."""

_UNTIL = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 100, 1e-4)


def kmeans(cells: Cells, k: int, seed: int = 0) -> Float[np.ndarray, "k channels"]:
    """Centres of ``k`` clusters of cells, the largest cluster first.

    Starts are drawn by k-means++ (Arthur and Vassilvitskii 2007) from a generator of their own:
    OpenCV's would be a global one.

    Raises:
        BadInput: fewer different cells than clusters.

    >>> cells = np.array([[0.0], [1.0], [2.0], [50.0], [51.0]])
    >>> kmeans(cells, 2).ravel().tolist()
    [1.0, 50.5]
    """
    if k < 1:
        raise BadInput(f"expected at least 1 part, got {k}")
    different = len(np.unique(cells, axis=0)) if len(cells) < 64 * k else k
    if different < k:
        raise BadInput(f"expected at least {k} different cells for {k} parts, got {different}")
    data = np.ascontiguousarray(cells, dtype=np.float32)
    rng = np.random.default_rng(seed)
    best, centres, counts = np.inf, data[:k], np.zeros(k)
    for _ in range(STARTS):
        start = nearest(data, _spread(data, k, rng)).astype(np.int32)[:, None]
        flags = cv2.KMEANS_USE_INITIAL_LABELS
        compactness, labels, found = cv2.kmeans(data, k, start, _UNTIL, 1, flags)
        if compactness < best:
            best, centres, counts = compactness, found, np.bincount(labels[:, 0], minlength=k)
    return centres[np.argsort(-counts, kind="stable")].astype(np.float32)


def _spread(data: Cells, k: int, rng: np.random.Generator) -> Float[np.ndarray, "k channels"]:
    """Cells drawn with odds that rise with the squared distance to those already drawn."""
    chosen = [int(rng.integers(len(data)))]
    away = np.square(data - data[chosen[0]]).sum(axis=1, dtype=np.float64)
    for _ in range(k - 1):
        chosen.append(int(rng.choice(len(data), p=away / away.sum())))
        away = np.minimum(away, np.square(data - data[chosen[-1]]).sum(axis=1))
    return data[chosen]


def nearest(cells: Cells, centres: Float[np.ndarray, "k channels"]) -> Int[np.ndarray, " cells"]:
    """Which centre each cell is nearest to, (cells,)."""
    return (cells @ (2 * centres.T) - np.square(centres).sum(axis=1)).argmax(axis=1)


def choose_k(cells: Cells, seed: int = 0, most: int = MOST_AUTO) -> int:
    """How many clusters, 2 to ``most``, by the mean silhouette (Rousseeuw 1987).

    Measured between at most 1,500 cells drawn at random.

    >>> spots = np.random.default_rng(0).normal(0, 0.1, (90, 2)) + np.eye(3)[:, :2].repeat(30, 0)
    >>> choose_k(spots)
    3
    """
    rng = np.random.default_rng(seed)
    some = cells[rng.permutation(len(cells))[:_COMPARED]].astype(np.float32)
    most = min(most, len(np.unique(some, axis=0)) - 1)
    if most < 2:
        return 1
    apart = _distances(some)
    return max(range(2, most + 1), key=lambda k: silhouette(some, kmeans(some, k, seed), apart))


def silhouette(
    cells: Cells,
    centres: Float[np.ndarray, "k channels"],
    apart: Float[np.ndarray, "cells cells"] | None = None,
) -> float:
    """Mean over cells of ``(b - a) / max(a, b)``, -1 to 1.

    ``a`` is the mean distance to the cell's own cluster, ``b`` to the nearest other one; 0 for a
    cell alone in its cluster.
    """
    apart = _distances(cells) if apart is None else apart
    labels = nearest(cells, centres)
    members = np.eye(len(centres), dtype=apart.dtype)[labels]
    counts = members.sum(axis=0)
    sums, rows = apart @ members, np.arange(len(cells))
    own = sums[rows, labels] / np.maximum(counts[labels] - 1, 1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    means[rows, labels] = np.inf
    other = means.min(axis=1)
    if not np.isfinite(other).all():
        return 0.0
    widest = np.maximum(np.maximum(own, other), np.finfo(apart.dtype).tiny)
    return float(np.where(counts[labels] > 1, (other - own) / widest, 0).mean())


def _distances(cells: Cells) -> Float[np.ndarray, "cells cells"]:
    squares = np.square(cells).sum(axis=1)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * cells @ cells.T, 0))
