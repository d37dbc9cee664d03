"""The `cub-crops` protocol and its hand-made controls on real birds."""

import numpy as np
import pytest

from counterpoint.backbones import load
from counterpoint.benchmarks.birds.crops import prepare, score_prior, score_taps
from counterpoint.benchmarks.datasets.cub import crop_bird, read_cub


@pytest.fixture(scope="module")
def cub(shared):
    folder = shared / "data/CUB_200_2011"
    if not folder.is_dir():
        pytest.skip("no CUB-200-2011 here")
    return read_cub(folder)


def test_the_tables(cub):
    first = cub.birds[1]
    assert len(cub.part_names) == 15
    assert (first.image_id, first.class_id) == (2, 1)
    assert first.box_xywh == (139, 30, 153, 264)
    assert first.parts_px[cub.part_names.index("back")].tolist() == [228, 138]
    assert all(bird.visible.any() for bird in cub.birds)


def test_eyes_are_dark_where_the_annotation_says(cub):
    """Coordinates count from 0: the eyes' dark centres do not lie a pixel up and to the left."""
    offsets = []
    for bird in cub.birds[::4]:
        crop = crop_bird(bird)
        whole = crop_bird(bird, size_px=crop.side_px).picture().rgb.mean(axis=2)
        for part in (cub.part_names.index("left eye"), cub.part_names.index("right eye")):
            if crop.bird.visible[part]:
                x, y = (bird.parts_px[part] - (crop.left, crop.top)).astype(int)
                offsets += dark_centre(whole, x, y)
    assert len(offsets) > 50
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.5


def dark_centre(grey, x, y, reach=4):
    patch = grey[y - reach : y + reach + 1, x - reach : x + reach + 1]
    if patch.shape != (2 * reach + 1, 2 * reach + 1):
        return []
    weight = np.clip(np.percentile(patch, 30) - patch, 0, None)
    across = np.arange(-reach, reach + 1)
    total = weight.sum()
    return [((weight * across).sum() / total, (weight.T * across).sum() / total)] if total else []


def test_controls_score_what_they_score(cub):
    """The figures of the first 60 pairs, so that a change of protocol or control is seen."""
    benchmark = prepare(cub, pairs=60)
    assert benchmark.points == 538
    figures = [score_prior(benchmark)]
    for name in ("rgb", "sift"):
        figures += score_taps(load(name, device="cpu"), benchmark)
    assert [row.pck.per_point for row in figures] == pytest.approx([12.5, 10.4, 16.0], abs=0.5)
