"""Label propagation against the original evaluation's soft labels and masks."""

import numpy as np
import pytest
import torch

from counterpoint.tasks.tracking.propagation import (
    LabelPropagator,
    Propagation,
    mask_of,
    one_hot_labels,
)


@pytest.mark.parametrize("case", ["sd", "small"])
@pytest.mark.parametrize("tile", [None, (4, 7), (15, 26)])
def test_every_mask_is_the_originals(shared, case, tile):
    golden = np.load(shared / f"golden/davis/{case}.npz")
    settings = Propagation(
        temperature=float(golden["temperature"]),
        topk=int(golden["topk"]),
        radius=int(golden["size_mask_neighborhood"]),
        context=int(golden["n_last_frames"]),
    )
    features = torch.from_numpy(golden["features"])
    (rows, columns), (height, width) = features.shape[2:], golden["first_mask"].shape
    labels = one_hot_labels(golden["first_mask"], (columns, rows))
    propagator = LabelPropagator(features[0], labels, settings, tile=tile)
    assert len(golden["soft"]) == len(features) - 1
    for frame, soft, mask in zip(features[1:], golden["soft"], golden["masks"], strict=True):
        found = propagator.step(frame)
        assert np.abs(found.numpy() - soft).max() < 1e-6
        assert np.array_equal(mask_of(found, (width, height)), mask)
