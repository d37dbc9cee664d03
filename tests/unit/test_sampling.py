"""Generating pictures: the sampler against one written by hand, features met on the way, twins."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from counterpoint.backbones import load
from counterpoint.backbones.noise import KeyedNoise
from counterpoint.backbones.sampling import Generated, Plan, _Run, generate, sampler_steps
from counterpoint.backbones.small import Small
from counterpoint.backbones.small_net import NetConfig
from counterpoint.benchmarks.generation import (
    MatchedPair,
    _known,
    _numbers,
    agreements,
    likeness,
)
from counterpoint.errors import BadInput, ModelError, UnknownName
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform
from counterpoint.images import Picture
from counterpoint.options import Options
from support.models import model_path

TINY = NetConfig(widths=(16, 32), attention=(False, True), head_dim=16, groups=8, train_size_px=16)


@pytest.fixture(scope="module")
def tiny():
    return Small.untrained(3, config=TINY)


def test_steps_fall_and_hold_those_asked_for():
    assert sampler_steps(1) == (999,)
    assert sampler_steps(4, [0, 499, 620]) == (999, 749, 620, 499, 249, 0)
    steps = sampler_steps(1000)
    assert (len(steps), steps[0], steps[-1]) == (1000, 999, 0)


@torch.inference_mode()
def by_hand(model, steps, keep):
    """Ho's closed form of DDIM, on one picture, with a plain hook."""
    state = KeyedNoise(5).draw("diffusion", "generated/0", 0, (3, 16, 16))[None]
    abar, kept = model._abar, {}
    net = model._net
    for t, after in zip(steps, (*steps[1:], None), strict=True):
        seen = []
        hook = net.unet.up_blocks[0].register_forward_hook(
            lambda m, i, o, seen=seen: seen.append(o)
        )
        clean = net(state, torch.tensor([t])).clamp(-1, 1)
        hook.remove()
        if t in keep:
            kept[t] = seen[0][0]
        if after is None:
            return clean[0], kept
        noise = (state - abar[t].sqrt() * clean) / (1 - abar[t]).sqrt()
        state = (abar[after].sqrt() * clean + (1 - abar[after]).sqrt() * noise).float()
    return None


def test_equals_a_sampler_written_by_hand(tiny):
    [made] = generate(tiny, Plan(count=1, steps=4), Options(t=(620, 50), tap="up:0", seed=5))
    clean, kept = by_hand(tiny, (999, 749, 620, 499, 249, 50), (620, 50))
    expected = (clean * 127.5 + 127.5).round().byte().permute(1, 2, 0).numpy()
    assert np.abs(made.picture.rgb.astype(int) - expected).max() <= 1
    assert list(made.maps) == [(620, "up:0"), (50, "up:0")]
    for t, values in kept.items():
        torch.testing.assert_close(made.maps[t, "up:0"].values, values, atol=1e-4, rtol=1e-4)


def test_the_same_seed_gives_the_same_alone_and_in_company(tiny):
    options = Options(t=50, tap="up:0", seed=1)
    three = generate(tiny, Plan(count=3, steps=3), options)
    [one] = generate(tiny, Plan(count=1, steps=3), options)
    assert np.array_equal(one.picture.rgb, three[0].picture.rgb)
    assert not np.array_equal(three[0].picture.rgb, three[1].picture.rgb)
    other = generate(tiny, Plan(count=1, steps=3), options.but(seed=2))
    assert not np.array_equal(one.picture.rgb, other[0].picture.rgb)


def test_provenance_says_that_the_features_were_met_on_the_way(tiny, tmp_path):
    made = generate(tiny, Plan(count=1, steps=2, twin="flip"), Options(t=50, tap="up:0", seed=9))
    notes = [next(iter(one.maps.values())).provenance for one in made]
    assert notes[0].noise == "sampler ddim, 2 steps, guidance 1, draw 0"
    assert notes[1].noise == "sampler ddim, 2 steps, guidance 1, draw 0, flip"
    assert [note.picture_sha256 for note in notes] == [one.picture.content_hash for one in made]
    made[0].maps[50, "up:0"].save(tmp_path / "f.safetensors")
    again = FeatureMap.load(tmp_path / "f.safetensors")
    assert again.provenance == notes[0]
    assert again.image_size_wh == made[0].picture.size_wh


def test_twins_start_from_the_same_noise_moved():
    model = Small.untrained(3, config=TINY)
    starts, places = [], []
    plain = model._whole_pass

    def watch(noisy, t, prompt, taps):
        starts.append((t, noisy))
        return plain(noisy, t, prompt, taps)

    model._whole_pass = watch
    for twin, moved in (("shift", lambda x: x.roll(8, -1)), ("flip", lambda x: x.flip(-1))):
        starts.clear()
        made = generate(model, Plan(count=1, steps=1, twin=twin), Options(tap="up:0", size=32))
        first = next(noisy for t, noisy in starts if t == 999)
        assert torch.equal(moved(first[0]), first[1])
        assert [one.picture.name for one in made] == ["1", f"1-{twin}"]
        assert made[0].moved is None
        places.append(made[1].moved.apply([(0, 3)]).tolist())
    assert places == [[[8, 3]], [[31, 3]]]


@pytest.mark.parametrize("name", ["tiny-sd", "tiny-sdxl", "tiny-adm", "tiny-single-file"])
def test_other_families_generate_and_their_features_are_the_networks(name, tmp_path):
    model = load(model_path(name, tmp_path), device="cpu")
    options = Options(t=50, size=64, prompt=None if "adm" in name else "a cat", seed=1)
    plan = Plan(count=1, steps=2, guidance=None if "adm" in name else 2.0)
    states = []
    plain = model._whole_pass

    def watch(noisy, t, prompt, taps):
        if taps:
            states.append((noisy, t, prompt, taps))
        return plain(noisy, t, prompt, taps)

    model._whole_pass = watch
    [made] = generate(model, plan, options)
    assert made.picture.size_wh == (64, 64)
    [(noisy, t, prompt, taps)] = states
    found = model._denoise(noisy, t, prompt, taps)
    [(place, fmap)] = made.maps.items()
    assert place == (50, taps[0])
    torch.testing.assert_close(fmap.values, found[taps[0]][0], atol=1e-5, rtol=1e-5)


def test_stable_diffusion_equals_diffusers_own_ddim(tmp_path):
    model = load(model_path("tiny-sd", tmp_path), device="cpu")
    [made] = generate(model, Plan(count=1, steps=4, guidance=3.0), Options(prompt="a cat", size=64))
    steps = sampler_steps(4, [model.spec.t])
    scheduler, unet = model._scheduler, model.unet.network
    state = KeyedNoise(0).draw("diffusion", "generated/0", 0, (4, 8, 8))[None]
    with torch.inference_mode():
        for t, after in zip(steps, (*steps[1:], None), strict=True):
            with_, without = (
                unet(state, t, **model._conditions(state, text)).sample for text in ("a cat", "")
            )
            output = without + 3.0 * (with_ - without)
            scheduler.num_inference_steps = 1000 // (t - after) if after is not None else 1
            clean = scheduler.step(output, t, state, eta=0.0).pred_original_sample
            abar = scheduler.alphas_cumprod
            if after is None:
                state = clean
                break
            noise = (state - abar[t].sqrt() * clean) / (1 - abar[t]).sqrt()
            state = abar[after].sqrt() * clean + (1 - abar[after]).sqrt() * noise
        expected = model.shown(state[0], "by hand")
    assert np.abs(made.picture.rgb.astype(int) - expected.rgb.astype(int)).max() <= 1


def test_a_twin_is_shifted_by_whole_cells_of_the_latent_and_its_picture_by_their_pixels(tmp_path):
    model = load(model_path("tiny-sd", tmp_path), device="cpu")
    run = _Run.of(model, Plan(twin="shift"), Options(size="256x64", prompt="a cat"), None)
    (dx, dy), shape = run.rolled, run.state_shape()
    assert (dx % 64, dy, shape[1:]) == (0, 0, (8, 32))
    start = run.start(0, shape)
    assert torch.equal(run.changed(start), start.roll(dx // 8, -1))
    assert run._moved().apply([(1, 2)]).tolist() == [[1 + dx, 2]]
    assert run.guidance == 7.5  # as in Stable Diffusion's pipeline, where there is a prompt
    assert _Run.of(model, Plan(), Options(size=64), None).guidance == 1
    assert _Run.of(model, Plan(guidance=3.0), Options(size=64, prompt="a"), None).guidance == 3


def made(values, moved=None):
    """A picture of 8 x 4 cells of 2 px with the features of its own generation."""
    rgb = values.mean(0).sub(values.mean(0).min()).mul(40).byte().numpy()
    picture = Picture(np.repeat(rgb.repeat(2, 0).repeat(2, 1)[..., None], 3, -1))
    return Generated(picture, {(50, "up:0"): FeatureMap(values, (16, 8))}, 0, moved)


def test_agreement_by_hand():
    """A twin rolled by two cells: right on the way, and all at the same place when looked at."""
    values = torch.randn(12, 4, 8, generator=torch.Generator().manual_seed(0))
    shift = PixelTransform.pad(4, 0)
    first, second = made(values), made(values.roll(2, -1), shift)
    same = FeatureMap(values, (16, 8))
    points = np.array([(x, y) for x in (0, 2, 4, 8) for y in (0, 4)], dtype=float)
    pair = MatchedPair(
        first.picture,
        second.picture,
        {"on the way": (first.maps, second.maps), "as real": ({(50, "up:0"): same},) * 2},
        points,
        shift,
    )
    met, real = agreements([pair], 0.1)
    assert [(one.way, one.points, one.pairs) for one in (met, real)] == [
        ("on the way", 8, 1),
        ("as real", 8, 1),
    ]
    assert (met.truth.value, real.truth.value) == (100, 0)
    assert met.shared.value == real.shared.value == 0  # 4 px apart, 1.6 are allowed
    assert real.cycle.value == met.cycle.value == 100
    assert [one.shared.value for one in agreements([pair], 0.25)] == [100, 100]  # 4 px of 16
    assert [one.truth for one in agreements([replace(pair, moved=None)], 0.1)] == [None, None]
    assert real.similarity == pytest.approx(1, abs=1e-5)


def test_likeness_compares_a_picture_with_its_twin_where_it_was_moved():
    values = torch.randn(12, 4, 8, generator=torch.Generator().manual_seed(0))
    shift = PixelTransform.pad(4, 0)
    first, twin, flat = made(values), made(values.roll(2, -1), shift), made(values * 0, shift)
    assert likeness([first, twin]) == pytest.approx(1)
    assert likeness([first, replace(twin, moved=PixelTransform.pad(2, 0))]) < 0.9
    assert likeness([first, flat]) == 0
    assert likeness([first, twin, first, flat]) == pytest.approx(0.5)
    assert likeness([first, first]) is None


def test_every_two_pictures_or_every_picture_with_its_twin():
    values = torch.randn(12, 4, 8, generator=torch.Generator().manual_seed(0))
    one, twin = made(values), made(values, PixelTransform.pad(4, 0))
    assert _numbers([one, one, one]) == [(0, 1), (0, 2), (1, 2)]
    assert _numbers([one, twin, one, twin]) == [(0, 1), (2, 3)]
    assert _numbers([one]) == []
    corners = np.array([(0, 0), (11, 3), (12, 3)], dtype=float)
    assert _known(corners, twin.moved, (16, 8)).tolist() == [[0, 0], [11, 3]]
    assert len(_known(corners, None, (16, 8))) == 3


def test_models_without_a_denoiser_and_sizes_that_do_not_fit_are_refused(tiny, tmp_path):
    with pytest.raises(BadInput, match="got rgb, which removes no noise"):
        generate(load("rgb", device="cpu"), Plan())
    with pytest.raises(ModelError, match="cannot be generated with .*tiny-pixart here"):
        generate(load(model_path("tiny-pixart", tmp_path), device="cpu"), Plan())
    with pytest.raises(BadInput, match="divisible by 8 px .* got 20 x 20"):
        generate(tiny, Plan(), Options(size=20, tap="up:0"))
    with pytest.raises(UnknownName, match="tap"):
        generate(tiny, Plan(), Options(tap="up:9"))
    with pytest.raises(BadInput, match="at least 16 px to shift"):
        generate(tiny, Plan(twin="shift"), Options(size="8x16", tap="up:0"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"count": 0}, "at least 1 picture"),
        ({"steps": 1001}, "1 to 1000 steps"),
        ({"guidance": -1}, "guidance of at least 0"),
    ],
)
def test_plans_are_checked(wrong, said):
    with pytest.raises(BadInput, match=said):
        Plan(**wrong)
