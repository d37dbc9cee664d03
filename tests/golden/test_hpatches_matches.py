"""Mutual nearest neighbours of protocol `dift` on HPatches, against the original evaluation's."""

import numpy as np
import pytest

from counterpoint.matching import mutual_nearest


@pytest.mark.parametrize("chunk", [64, 1024])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("number", range(4))
def test_mutual_matches_are_the_originals(shared, number, metric, chunk):
    case = np.load(shared / f"golden/hpatches/case{number}.npz")
    found = mutual_nearest(case["desc_a"], case["desc_b"], metric, chunk=chunk)
    assert np.array_equal(found, case[f"matches_{metric}"])
