"""How often agreement would come by chance: a number of false alarms."""

from math import lgamma, log, log10, pi
from typing import Literal

import numpy as np

from counterpoint.geometry import Points, SizeWH

Relation = Literal["homography", "fundamental", "essential"]
"""What ties two pictures of one scene."""


def share_near(relation: Relation, size_wh: SizeWH, threshold_px: float) -> float:
    """The share of a picture that lies within the threshold of a point, or of a line at most."""
    width, height = size_wh
    line = 2 * threshold_px * float(np.hypot(width, height))
    near = pi * threshold_px**2 if relation == "homography" else line
    return min(1.0, near / (width * height))


def log10_false_alarms(
    support: int, matches: int, sample: int, solutions: int, alpha: float
) -> float:
    """Logarithm, to base 10, of how often so much support would come by chance (Moisan and Stival).

    Args:
        support: matches that agree.
        matches: of how many.
        sample: matches that fix a model.
        solutions: models that a sample may have.
        alpha: the chance of one match to agree with a model that has nothing to do with it.
    """
    if support <= sample:
        return 0.0
    ways = _log_choose(matches, support) + _log_choose(support, sample)
    tests = log10(solutions * max(matches - sample, 1))
    return tests + ways / log(10) + (support - sample) * log10(alpha)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def distinct_places(points_px: Points, cell_px: float) -> int:
    """In how many cells of a grid, so wide, points (N, 2) lie."""
    return len(np.unique(np.floor(points_px / cell_px), axis=0))
