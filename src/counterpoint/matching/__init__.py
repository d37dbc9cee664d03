"""Exact matching at full resolution, without the full-resolution feature map.

The reference upsamples both maps bilinearly to their pictures' sizes, normalises every pixel's
vector, and takes the pixel of the largest cosine. A pixel p of the target has the vector
``v(p) = sum_i w_i v_i`` over the four cells around it, so for a unit source vector s

- the numerator of its cosine is ``sum_i w_i <s, v_i>``: upsampled scores of one matrix product;
- its squared norm is a quadratic form of the cells' inner products with themselves and with their
  right, lower and two diagonal neighbours: five Gram maps, once a picture.

Most pixels are never visited: see `counterpoint.matching.exact`. Nothing here is approximate.
"""

from counterpoint.matching.calibration import Calibration, Note
from counterpoint.matching.disagreement import spread_px
from counterpoint.matching.evidence import Evidence, evidence
from counterpoint.matching.find import Subpixel, match, similarity_map
from counterpoint.matching.matches import CYCLE_SCALE, MARGIN_SCALE, Match, Matches
from counterpoint.matching.mutual import Metric, mutual_matches, mutual_nearest
from counterpoint.matching.orientation import (
    Alignment,
    Criterion,
    Oriented,
    align_target,
    match_either,
    mirrored,
    swap_sides,
    unmirrored,
)
from counterpoint.matching.prepared import PreparedMap

__all__ = [
    "CYCLE_SCALE",
    "MARGIN_SCALE",
    "Alignment",
    "Calibration",
    "Criterion",
    "Evidence",
    "Match",
    "Matches",
    "Metric",
    "Note",
    "Oriented",
    "PreparedMap",
    "Subpixel",
    "align_target",
    "evidence",
    "match",
    "match_either",
    "mirrored",
    "mutual_matches",
    "mutual_nearest",
    "similarity_map",
    "spread_px",
    "swap_sides",
    "unmirrored",
]
