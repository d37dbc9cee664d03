"""Parts on maps whose answer is known: k-means, foreground, votes, label maps, files."""

import numpy as np
import pytest
import torch
from PIL import Image

from counterpoint.errors import BadInput, FeatureFileError
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform
from counterpoint.images import Picture
from counterpoint.provenance import Provenance
from counterpoint.tasks.parts.components import outward_sign
from counterpoint.tasks.parts.kmeans import choose_k, kmeans, nearest, silhouette
from counterpoint.tasks.parts.pictures import COLOURS, overlay_parts, save_label_map
from counterpoint.tasks.parts.segmentation import (
    Segmenting,
    fit_parts,
    load_parts,
    shares,
)

STRIDE = 8


def animal(seed, rows=16, columns=20, at=(5, 4), legs=True, channels=12, stride=STRIDE):
    """A body, a head and maybe legs on a ground; and which cell is which (0 to 3)."""
    truth = np.zeros((rows, columns), int)
    y, x = at
    truth[y : y + 4, x : x + 8] = 1
    truth[y - 2 : y + 1, x + 7 : x + 10] = 2
    if legs:
        truth[y + 4 : y + 6, x + 1 : x + 7] = 3
    # Of foreground and background the directions are far apart, of parts less so.
    directions = torch.zeros(4, channels)
    directions[0, 0], directions[1:, 1] = 1, 1
    directions[1:, 2:5] = 0.7 * torch.eye(3)
    noise = torch.randn(rows, columns, channels, generator=torch.Generator().manual_seed(seed))
    values = directions[torch.from_numpy(truth)] + 0.03 * noise
    return FeatureMap(values.permute(2, 0, 1), (columns * stride, rows * stride)), truth


HERD = [animal(i, at=(5 + i % 3, 3 + i)) for i in range(5)]
MAPS = [fmap for fmap, _ in HERD]


def full(truth, stride=STRIDE):
    return truth.repeat(stride, axis=0).repeat(stride, axis=1)


def agreement(labels, truth):
    """Share of pixels whose part's most frequent true part is theirs."""
    joint = np.zeros((labels.max() + 1, truth.max() + 1))
    np.add.at(joint, (labels.ravel(), truth.ravel()), 1)
    return joint.max(axis=1).sum() / labels.size


class TestKMeans:
    def test_as_many_clusters_as_there_are(self):
        rng = np.random.default_rng(0)
        spots = np.array([[0, 0], [5, 0], [0, 5.0]])
        cells = (spots[[0] * 50 + [1] * 30 + [2] * 20] + rng.normal(0, 0.2, (100, 2))).astype("f4")
        centres = kmeans(cells, 3)
        assert np.abs(centres - spots).max() < 0.2  # largest first
        assert nearest(cells, centres).tolist() == [0] * 50 + [1] * 30 + [2] * 20
        assert choose_k(cells) == 3

    def test_the_seed_alone_decides(self):
        cells = np.random.default_rng(0).normal(size=(400, 5)).astype("f4")
        import cv2

        first = kmeans(cells, 6, seed=3)
        cv2.setRNGSeed(77)
        assert np.array_equal(first, kmeans(cells, 6, seed=3))

    def test_silhouette_by_hand(self):
        cells = np.array([[0.0], [1.0], [10.0], [12.0]])
        # a: 1, 1, 2, 2; b: 11, 10, 9.5, 11.5
        expected = np.mean([10 / 11, 9 / 10, 7.5 / 9.5, 9.5 / 11.5])
        found = silhouette(cells, np.array([[0.5], [11.0]]))
        assert found == pytest.approx(expected)

    def test_fewer_cells_than_clusters(self):
        with pytest.raises(BadInput, match="at least 3 different cells for 3 parts, got 2"):
            kmeans(np.array([[0.0], [0.0], [1.0]]), 3)
        with pytest.raises(BadInput, match="at least 1 part"):
            kmeans(np.zeros((3, 1)), 0)
        assert choose_k(np.zeros((5, 2))) == 1


class TestSign:
    def test_the_inside_is_foreground(self):
        inner = torch.zeros(6, 8, dtype=torch.bool)
        inner[2:4, 2:6] = True
        valid = torch.ones_like(inner)
        assert outward_sign([inner], [valid]) == 1
        assert outward_sign([~inner], [valid]) == -1

    def test_a_subject_that_fills_its_pictures_is_still_foreground(self):
        """More than half of the border is subject, but of the inside still more is."""
        subject = torch.ones(8, 8, dtype=torch.bool)
        subject[:, 0], subject[0] = False, False
        valid = torch.ones_like(subject)
        assert subject[[0, -1]].float().mean() < 0.5 < subject.float().mean()
        assert outward_sign([subject], [valid]) == 1

    def test_padding_is_no_border(self):
        valid = torch.zeros(8, 8, dtype=torch.bool)
        valid[:5] = True
        subject = torch.zeros_like(valid)
        subject[1:4, 2:6] = True
        subject |= ~valid
        assert outward_sign([subject], [valid]) == 1


class TestParts:
    def test_body_head_and_legs(self):
        model = fit_parts(MAPS, Segmenting(k=3))
        assert model.salient.all()
        for fmap, truth in HERD:
            labels = model.labels(fmap)
            assert labels.shape == fmap.image_size_wh[::-1]
            assert agreement(labels, full(truth)) > 0.93
            assert ((labels > 0) == (full(truth) > 0)).mean() > 0.93
            grid = model.grid_labels(fmap)
            assert ((grid > 0) == (truth > 0)).all()
            assert agreement(grid, truth) == 1

    def test_labels_mean_the_same_everywhere(self):
        model = fit_parts(MAPS, Segmenting(k=3))
        grids = np.concatenate([model.grid_labels(f).ravel() for f in MAPS])
        truths = np.concatenate([truth.ravel() for _, truth in HERD])
        assert agreement(grids, truths) == 1

    def test_new_pictures_of_another_size(self):
        model = fit_parts(MAPS, Segmenting(k=3))
        fmap, truth = animal(99, rows=20, columns=31, at=(9, 12), stride=5)
        assert agreement(model.grid_labels(fmap), truth) == 1
        assert model.labels(fmap).shape == (100, 155)

    def test_auto(self):
        assert fit_parts(MAPS, Segmenting(k=None)).k == 3

    def test_labels_are_those_of_upsampled_features(self):
        """Scores are linear: upsampling them is upsampling the features."""
        fmap = FeatureMap(
            torch.randn(6, 7, 9, generator=torch.Generator().manual_seed(0)), (61, 47)
        )
        unit = torch.nn.functional.normalize(fmap.values, dim=0)
        model = fit_parts([fmap], Segmenting(k=4, foreground=False))
        every = torch.nn.functional.interpolate(unit[None], (47, 61), mode="bilinear")[0]
        cells = ((every.permute(1, 2, 0) - model.inner_mean) @ model.axes).numpy()
        expected = nearest(cells.reshape(-1, cells.shape[2]), model.centres.numpy()) + 1
        found = model.labels(fmap, all_parts=True)
        assert (found.ravel() == expected).mean() > 0.999

    def test_pictures_with_padding(self):
        """A wide picture at the top of a square input: labels keep to the picture."""
        fmap, truth = animal(7, rows=20, columns=20, at=(4, 5))
        valid = torch.zeros(20, 20, dtype=torch.bool)
        valid[:12] = True
        truth[12:] = 0
        values = fmap.values.clone()
        values[:, 12:] = values[:, 12:].flip(1) * 5
        padded = FeatureMap(values, (160, 96), (160, 160), PixelTransform(), valid)
        model = fit_parts([*MAPS, padded], Segmenting(k=3))
        assert agreement(model.labels(padded), full(truth[:12])) > 0.93
        assert (model.grid_labels(padded)[12:] == 0).all()

    def test_a_part_of_few_pictures_is_not_salient(self):
        herd = [animal(i, legs=i == 0)[0] for i in range(5)]
        model = fit_parts(herd, Segmenting(k=3))
        assert sorted(model.present) == pytest.approx([0.2, 1, 1])
        assert model.salient.tolist() == (model.present > 0.5).tolist()
        rare = int(np.argmin(model.present)) + 1
        assert rare not in np.unique(model.labels(herd[0]))
        assert rare in np.unique(model.labels(herd[0], all_parts=True))
        assert fit_parts(herd, Segmenting(k=3, votes=0.1)).salient.all()

    def test_a_margin_is_not_salient(self):
        """What zero padding inside a network does to the outermost cells."""
        maps = []
        for fmap, _ in HERD:
            values = fmap.values.clone()
            values[:, -1] = 0
            values[1, -1] = 0.8
            values[9, -1] = 0.8
            maps.append(FeatureMap(values, fmap.image_size_wh))
        model = fit_parts(maps, Segmenting(k=4, foreground=False))
        assert model.margin.sum() == 1
        assert not (model.salient & model.margin).any()
        number = int(np.argmax(model.margin)) + 1
        assert (model.grid_labels(maps[0])[-1] == number).all()
        assert number not in np.unique(model.labels(maps[0]))

    def test_masks_instead_of_the_first_component(self):
        masks = [full(truth) == 1 for _, truth in HERD]
        chosen = [f.masked(m) for f, m in zip(MAPS, masks, strict=True)]
        model = fit_parts(chosen, Segmenting(k=2, foreground=False))
        labels = model.labels(MAPS[0], masks[0])
        assert ((labels > 0) <= masks[0]).all()
        assert (labels > 0)[masks[0]].all()
        with pytest.raises(BadInput, match="expected a mask of the picture's size, 160 x 128"):
            model.labels(MAPS[0], masks[0][:-1])

    def test_one_picture(self):
        model = fit_parts(MAPS[:1], Segmenting(k=3))
        assert model.present.tolist() == [1, 1, 1]

    def test_shares(self):
        labels = np.array([[0, 1, 1, 3]], np.uint8)
        assert shares(labels, 3).tolist() == [0.5, 0, 0.25]

    def test_many_cells_are_sampled(self, monkeypatch):
        monkeypatch.setattr("counterpoint.tasks.parts.segmentation._MOST_CELLS", 500)
        model = fit_parts(MAPS, Segmenting(k=3))
        assert agreement(model.grid_labels(MAPS[0]), HERD[0][1]) == 1


class TestRefusals:
    def test_settings(self):
        for wrong in ({"k": 0}, {"k": 256}, {"votes": 1.5}, {"components": 0}):
            with pytest.raises(BadInput, match="expected"):
                Segmenting(**wrong)

    def test_no_maps_or_only_padding(self):
        with pytest.raises(BadInput, match="at least one feature map"):
            fit_parts([])
        valid = torch.zeros(3, 3, dtype=torch.bool)
        with pytest.raises(BadInput, match="only padding"):
            fit_parts([FeatureMap(torch.ones(2, 3, 3), (9, 9), valid=valid)])

    def test_maps_of_different_kinds(self):
        with pytest.raises(BadInput, match=r"got \[4, 12\] channels"):
            fit_parts([MAPS[0], FeatureMap(torch.ones(4, 3, 3), (9, 9))])
        other = FeatureMap(
            MAPS[0].values, MAPS[0].image_size_wh, provenance=Provenance(model="rgb", tap="x")
        )
        with pytest.raises(BadInput, match="got model 'unknown' and 'rgb'"):
            fit_parts([MAPS[0], other])
        with pytest.raises(BadInput, match="got model 'unknown' and 'rgb'"):
            fit_parts(MAPS, Segmenting(k=3)).labels(other)
        with pytest.raises(BadInput, match="expected maps of 12 channels"):
            fit_parts(MAPS, Segmenting(k=3)).labels(FeatureMap(torch.ones(4, 3, 3), (9, 9)))

    def test_the_picture_does_not_matter_for_the_kind(self):
        notes = [Provenance(model="m", picture_sha256=sha, version=sha) for sha in "ab"]
        maps = [
            FeatureMap(f.values, f.image_size_wh, provenance=note)
            for f, note in zip(MAPS, notes, strict=False)
        ]
        assert fit_parts(maps, Segmenting(k=3)).provenance.picture_sha256 == ""

    def test_one_tone(self):
        with pytest.raises(BadInput, match="expected features that differ"):
            fit_parts([FeatureMap(torch.ones(3, 8, 8), (64, 64))])

    def test_more_parts_than_cells(self):
        few = FeatureMap(torch.randn(5, 2, 3), (6, 4))
        with pytest.raises(BadInput, match="different cells for 8 parts"):
            fit_parts([few])

    def test_nan(self):
        values = MAPS[0].values.clone()
        values[0, 0, 0] = float("nan")
        with pytest.raises(BadInput, match="finite"):
            fit_parts([FeatureMap(values, (160, 128))])


class TestFiles:
    @pytest.mark.parametrize("foreground", [True, False])
    def test_there_and_back(self, tmp_path, foreground):
        model = fit_parts(MAPS, Segmenting(k=4, foreground=foreground))
        path = tmp_path / "parts.safetensors"
        model.save(path, {"options": {"model": "small", "t": 50}})
        again, note = load_parts(path)
        assert note == {"options": {"model": "small", "t": 50}}
        assert again.provenance == model.provenance
        assert np.array_equal(again.salient, model.salient)
        for fmap in MAPS:
            assert np.array_equal(again.labels(fmap), model.labels(fmap))
        assert [p.name for p in tmp_path.iterdir()] == ["parts.safetensors"]

    def test_foreign_files(self, tmp_path):
        path = tmp_path / "x.safetensors"
        with pytest.raises(FeatureFileError, match="no such file of fitted parts"):
            load_parts(path)
        path.write_bytes(b"not at all")
        with pytest.raises(FeatureFileError, match="damaged or foreign"):
            load_parts(path)
        MAPS[0].save(path)
        with pytest.raises(FeatureFileError, match="expected format counterpoint/parts/1"):
            load_parts(path)
        fit_parts(MAPS, Segmenting(k=3)).save(path)
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(FeatureFileError, match="damaged or foreign"):
            load_parts(path)


class TestPictures:
    def test_label_maps_are_palette_pngs(self, tmp_path):
        labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
        path = save_label_map(labels, tmp_path / "deep/labels.png")
        with Image.open(path) as image:
            assert image.mode == "P"
            assert np.array_equal(np.array(image), labels)
            assert np.array_equal(np.array(image.convert("RGB")), COLOURS[labels])

    def test_colours_differ(self):
        assert len(np.unique(COLOURS[:32], axis=0)) == 32
        assert COLOURS[0].tolist() == [0, 0, 0]
        apart = np.abs(COLOURS[1:9, None].astype(int) - COLOURS[1:9]).sum(axis=2)
        assert apart[~np.eye(8, dtype=bool)].min() > 60

    def test_overlay(self):
        picture = Picture(np.full((40, 60, 3), 200, np.uint8))
        labels = np.zeros((40, 60), np.uint8)
        labels[10:30, 20:40] = 1
        shown = overlay_parts(picture, labels)
        assert shown[20, 30].tolist() == ((200 + COLOURS[1].astype(int)) // 2).tolist()
        assert shown[2, 2].tolist() == [100, 100, 100]
        assert shown[10, 30].tolist() == [20, 20, 20]
        with pytest.raises(BadInput, match="expected labels of shape"):
            overlay_parts(picture, labels[1:])
