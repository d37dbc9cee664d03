"""How far single draws of noise disagree about where a point lies."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from counterpoint.errors import BadInput
from counterpoint.features import FeatureMap
from counterpoint.geometry import as_points
from counterpoint.matching.find import match
from counterpoint.matching.prepared import PreparedMap


def spread_px(
    source_members: Sequence[FeatureMap | PreparedMap],
    target_members: Sequence[FeatureMap | PreparedMap],
    points_px: ArrayLike,
    matched_px: ArrayLike,
) -> Float[np.ndarray, " n"]:
    """The mean distance of the members' matches from the match, in pixels of the target picture.

    Members are maps of the same two pictures made otherwise: with single draws of noise (other
    seeds, ``ensemble=1``), at other time steps or at other taps. Member i of the source is matched
    with member i of the target. Where noise decides about a match, they scatter.

    Args:
        source_members: M maps of the source picture, at least one.
        target_members: M of the target picture.
        points_px: (N, 2), of the source picture.
        matched_px: (N, 2), where the match is.

    Raises:
        BadInput: no members, or different numbers of them.
    """
    if len(source_members) != len(target_members) or not source_members:
        raise BadInput(
            "expected as many members of the source as of the target, at least one, "
            f"got {len(source_members)} and {len(target_members)}"
        )
    matched = as_points(matched_px)
    total = np.zeros(len(matched))
    for source, target in zip(source_members, target_members, strict=True):
        found = match(source, target, points_px, margin_radius=None, cycle=False, calibration=None)
        total += np.linalg.norm(found.target_px - matched, axis=1)
    return total / len(source_members)
