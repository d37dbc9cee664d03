"""Homographies and corner errors of the original evaluation on HPatches."""

import json

import numpy as np
import pytest

from counterpoint.matching import mutual_nearest
from counterpoint.tasks.scenes.homography import Robust, estimate, mean_corner_error


@pytest.mark.parametrize("method", ["lmeds", "ransac"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("number", range(4))
def test_homographies_are_the_originals(shared, number, metric, method):
    case = np.load(shared / f"golden/hpatches/case{number}.npz")
    [expected] = [
        entry
        for entry in json.loads((shared / "golden/hpatches/expected.json").read_text())
        if (entry["case"], entry["metric"], entry["mode"]) == (number, metric, method)
    ]
    rows = mutual_nearest(case["desc_a"], case["desc_b"], metric)
    assert len(rows) == expected["n_matches"]
    ends = case["kpts_a"][rows[:, 0]], case["kpts_b"][rows[:, 1]]
    found = estimate(*ends, "homography", Robust(method=method))
    # OpenCV's versions differ in the last digits.
    assert np.allclose(found.matrix, expected["H"], rtol=1e-4, atol=1e-5)
    size_wh = int(case["size_wh"][0]), int(case["size_wh"][1])
    error = mean_corner_error(found.matrix, case["H_gt"], size_wh)
    assert error == pytest.approx(expected["mean_corner_error_px"], abs=1e-3)
    exact = mean_corner_error(expected["H"], case["H_gt"], size_wh)
    assert exact == pytest.approx(expected["mean_corner_error_px"], abs=1e-9)
