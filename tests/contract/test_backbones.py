"""What every backbone must do."""

import math
import re

import cv2
import numpy as np
import pytest
import torch

from counterpoint.backbones import load
from counterpoint.backbones.network import NetworkBackbone
from counterpoint.errors import BadInput, UnknownName
from counterpoint.features import FeatureMap
from counterpoint.images import load_picture
from counterpoint.matching import match
from counterpoint.options import Options
from support.models import NAMES, model_path


@pytest.fixture(scope="module", params=NAMES)
def model(request, tmp_path_factory):
    return load(model_path(request.param, tmp_path_factory.mktemp("models")), device="cpu")


@pytest.fixture(scope="module")
def side_px(model):
    """Of the input: 64, or a little more where the network's patches do not divide it."""
    return -(-64 // model.multiple) * model.multiple


@pytest.fixture(scope="module")
def options(model, side_px):
    return Options(model=model.spec.name, size=side_px, ensemble=2)


@pytest.fixture(scope="module")
def crops(photo):
    return [photo[:200, :260], photo[40:300, 100:], photo[::2, ::2]]


def same(a: FeatureMap, b: FeatureMap) -> bool:
    return torch.allclose(a.values, b.values, rtol=1e-4, atol=1e-5 * float(a.values.abs().max()))


def test_shape_and_stride_are_what_the_tap_promises(model, options, side_px, photo):
    names = [tap.name for tap in model.taps]
    [maps] = model.extract_taps([photo], names, options)
    assert set(maps) == set(names)
    for tap in model.taps:
        fmap = maps[tap.name]
        side = side_px // tap.stride_px
        assert fmap.values.shape == (tap.channels, side, side)
        assert fmap.image_size_wh == (451, 300)
        assert fmap.stride_px == pytest.approx((451 / side, 300 / side))


def test_the_default_tap_exists(model):
    assert model.spec.tap in [tap.name for tap in model.taps]


def test_one_map_from_one_call_equals_several_taps_at_once(model, options, photo):
    names = [tap.name for tap in model.taps]
    [maps] = model.extract_taps([photo], names, options)
    for name in (names[0], names[-1]):
        [alone] = model.extract([photo], options.but(tap=name))
        assert same(alone, maps[name])


def test_a_batch_equals_single_pictures(model, options, crops):
    together = model.extract(crops, options)
    alone = [model.extract([crop], options)[0] for crop in crops]
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("micro_batch", [1, 2, 5])
def test_an_ensemble_in_chunks_equals_one_at_once(model, options, photo, micro_batch):
    five = options.but(ensemble=5)
    [at_once] = model.extract([photo], five)
    before, model.micro_batch = model.micro_batch, micro_batch
    [chunked] = model.extract([photo], five)
    model.micro_batch = before
    assert same(at_once, chunked)


def test_the_seed_decides(model, options, photo):
    [first] = model.extract([photo], options)
    torch.manual_seed(1)  # a global seed has no say
    [again] = model.extract([photo], options)
    assert torch.equal(first.values, again.values)
    [other] = model.extract([photo], options.but(seed=7))
    assert torch.equal(first.values, other.values) == (model.spec.t is None)


def test_any_kind_of_picture_gives_the_same(model, options, photo, tmp_path):
    picture = load_picture(photo)
    picture.pil().save(tmp_path / "cat.png")
    kinds = [photo, picture.pil(), tmp_path / "cat.png", torch.from_numpy(photo).permute(2, 0, 1)]
    maps = model.extract(kinds, options)
    assert all(same(maps[0], other) for other in maps[1:])


@pytest.mark.parametrize("fit", ["squash", "pad", "keep"])
def test_a_point_stays_on_its_object_under_every_fit(model, options, fit):
    """Where an object is put into a picture, there features change, by the map's geometry."""
    rng = np.random.default_rng(0)
    plain = rng.integers(90, 110, (240, 400, 3), dtype=np.uint8)
    spotted = plain.copy()
    spotted[130:170, 230:270] = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    still = options.but(fit=fit, t=0, ensemble=1, size=256, tap=model.taps[-1].name)
    [a], [b] = (
        model.extract_taps([picture], [still.tap], still, NoNoise()) for picture in (plain, spotted)
    )
    fmap = a[still.tap]
    change = (fmap.values - b[still.tap].values).norm(dim=0).numpy()
    weight = np.maximum(change - np.median(change), 0) ** 2
    rows, columns = np.indices(weight.shape)
    centre = [(columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()]
    x, y = fmap.to_grid.invert().apply([centre])[0]
    assert abs(x - 249.5) < 20
    assert abs(y - 149.5) < 20


def test_a_shifted_picture_has_shifted_features(model, options):
    """By whole strides: each cell looks like the one that saw the same part of the scene."""
    tap = next(tap for tap in model.taps if tap.name == model.spec.tap)
    shift = math.lcm(16, model.multiple, *(t.stride_px for t in model.taps))
    side = max(4 * shift, 256)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (side // 8, (side + shift) // 8, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (side + shift, side), interpolation=cv2.INTER_CUBIC)
    grey = np.full((side, side, 3), 128, np.uint8)  # what a place gives whatever is shown there
    still = options.but(fit="keep", t=0, ensemble=1, tap=tap.name)
    views = [scene[:, :side], scene[:, shift:], grey]
    left, right, place = (
        maps[tap.name].values.float()
        for maps in model.stream_taps(views, [tap.name], still, NoNoise())
    )
    left, right = (m - place - (m - place).mean((1, 2), keepdim=True) for m in (left, right))
    cells = shift // tap.stride_px
    cosine = torch.nn.CosineSimilarity(dim=0)
    inner = slice(left.shape[1] // 4, -left.shape[1] // 4)  # borders see themselves
    moved = cosine(left[:, inner, cells:], right[:, inner, :-cells])[:, cells:-cells].mean()
    stayed = cosine(left, right)[inner, inner].mean()
    assert moved > stayed + 0.1


class NoNoise:
    """Zeros: nothing but the pictures differs."""

    def draw(self, kind, picture_sha256, member, shape):
        return torch.zeros(tuple(shape))


def test_padding_is_marked(model, options, side_px, photo):
    [fmap] = model.extract([photo], options.but(fit="pad", size=2 * side_px))
    assert fmap.valid is not None
    rows, columns = fmap.valid.shape
    assert fmap.valid.any(dim=0).sum() == columns  # wide: padded below only
    assert fmap.valid.any(dim=1).sum() == pytest.approx(rows * 300 / 451, abs=1)


def test_odd_sizes_run(model, options, photo):
    for size in ("50x70", "33"):
        [fmap] = model.extract([photo], options.but(size=size))
        inside = fmap.to_grid.apply([(0, 0), (450, 299)])
        assert (inside >= -0.5).all()
        assert (inside <= np.asarray(fmap.grid_wh) - 0.5).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3, 3), (5, 2000, 3)])
@pytest.mark.parametrize("fit", ["squash", "pad", "keep"])
def test_extreme_pictures_run_and_match_themselves(model, options, shape, fit):
    [fmap] = model.extract([np.full(shape, 200, np.uint8)], options.but(fit=fit))
    assert torch.isfinite(fmap.values).all()
    assert len(match(fmap, fmap, [(0, 0)])) == 1


def test_provenance_is_complete(model, options, photo):
    [fmap] = model.extract([photo], options)
    note = fmap.provenance
    assert note == model.provenance(load_picture(photo), options)
    assert note.model == model.spec.name
    assert note.tap == model.spec.tap
    assert note.picture_sha256 == load_picture(photo).content_hash
    assert note.weights_sha256 == model.weights_sha256
    without = model.spec.family in ("rgb", "sift")
    assert re.fullmatch("" if without else r"[0-9a-f]{64}(\+[0-9a-f]{0,64})?", note.weights_sha256)
    assert note.version


def test_maps_survive_the_disk(model, options, photo, tmp_path):
    [fmap] = model.extract([photo], options.but(fit="pad"))
    fmap.save(tmp_path / "map.safetensors")
    back = FeatureMap.load(tmp_path / "map.safetensors")
    assert torch.equal(back.values, fmap.values)
    assert back.provenance == fmap.provenance
    assert back.to_grid == fmap.to_grid


def test_taps_concatenate(model, options, photo):
    chosen = dict.fromkeys([model.taps[0], model.taps[-1]])  # a tap named twice counts once
    tap = "+".join(tap.name for tap in chosen)
    [fmap] = model.extract([photo], options.but(tap=tap))
    assert fmap.channels == sum(tap.channels for tap in chosen)
    assert fmap.provenance.tap == tap
    assert fmap.provenance == model.provenance(load_picture(photo), options.but(tap=tap))


def test_taps_and_time_steps_average(model, options, photo):
    both = options.but(t=(20, 60), combine="mean")
    [fmap] = model.extract([photo], both)
    assert fmap.channels == next(t.channels for t in model.taps if t.name == model.spec.tap)
    assert fmap.provenance.timesteps == (() if model.spec.t is None else (20, 60))
    assert fmap.provenance == model.provenance(load_picture(photo), both)
    if model.spec.t is not None:
        [a], [b] = (model.extract([photo], options.but(t=t)) for t in (20, 60))
        assert torch.allclose(
            fmap.values, (a.normalised().values + b.normalised().values) / 2, atol=1e-4
        )


def test_several_time_steps_in_one_call_equal_one_after_the_other(model, options, photo):
    names = [tap.name for tap in model.taps][:2]
    [grid] = model.stream_grid([photo], names, options.but(t="20+60"))
    steps = [None] if model.spec.t is None else [20, 60]
    assert list(grid) == [(t, name) for t in steps for name in names]
    for t in steps:
        [alone] = model.extract_taps([photo], names, options.but(t=t))
        assert all(same(grid[t, name], alone[name]) for name in names)


def test_when_memory_runs_out_it_goes_on_in_smaller_chunks(
    model, options, crops, monkeypatch, caplog
):
    expected = model.extract(crops, options)
    before, model.micro_batch = model.micro_batch, 4
    inner = NetworkBackbone._in_chunks

    def short_of_memory(self, jobs, run):
        def limited(now):
            if len(now) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return run(now)

        return inner(self, jobs, limited)

    monkeypatch.setattr(NetworkBackbone, "_in_chunks", short_of_memory)
    found = model.extract(crops, options)
    shrunk, model.micro_batch = model.micro_batch, before
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    assert shrunk == 1
    assert "going on with 1 forward passes" in caplog.text


def test_an_unknown_tap_names_the_known_ones(model, options, photo):
    with pytest.raises(UnknownName, match="unknown tap .*'up:99'.*Known: "):
        model.extract([photo], options.but(tap="up:99"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close(model, options, photo, dtype):
    half = load(model.spec.name, device="cpu", dtype=dtype)
    [a], [b] = model.extract([photo], options), half.extract([photo], options)
    assert b.values.dtype == getattr(torch, dtype)
    cosine = torch.cosine_similarity(a.values.float(), b.values.float(), dim=0)
    assert cosine.median() > 0.98


def test_no_such_device():
    with pytest.raises(BadInput, match="expected a device of this machine, got 'cuda:99'"):
        load("rgb", device="cuda:99")
