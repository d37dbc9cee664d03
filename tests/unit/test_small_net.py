"""The embedded model's network: shapes, taps, weights files."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from counterpoint.backbones import small_net
from counterpoint.backbones.small_net import NetConfig
from counterpoint.errors import BadInput, MissingWeights, ModelError, WeightsMismatch

TINY = NetConfig(widths=(16, 32), attention=(False, True), head_dim=16, groups=8, train_size_px=32)


@pytest.fixture
def net() -> small_net.SmallNet:
    torch.manual_seed(0)
    return small_net.build(TINY).eval()


def test_the_prediction_has_the_pictures_shape(net: small_net.SmallNet) -> None:
    for height, width in ((32, 32), (24, 40)):
        noisy = torch.randn(2, 3, height, width)
        assert net(noisy, torch.tensor([7])).shape == noisy.shape


def test_pictures_of_a_batch_do_not_mix(net: small_net.SmallNet) -> None:
    noisy, t = torch.randn(3, 3, 32, 32), torch.tensor([3, 500, 999])
    alone = torch.cat([net(noisy[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(noisy, t), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [TINY, NetConfig(), replace(TINY, layers=2)])
def test_taps_are_where_and_what_they_say(config: NetConfig) -> None:
    net = small_net.build(config).eval()
    seen: dict[str, tuple[int, ...]] = {}
    for tap in small_net.taps(config):

        def keep(_module: object, _inputs: object, out: torch.Tensor, name: str = tap.name) -> None:
            seen[name] = tuple(out.shape)

        net.get_submodule(tap.module).register_forward_hook(keep)
    size = 4 * config.multiple_px
    net(torch.zeros(1, 3, size, size), torch.tensor([10]))
    for tap in small_net.taps(config):
        cells = size // tap.stride_px
        assert seen[tap.name] == (1, tap.channels, cells, cells), tap


def test_tap_names_are_unique_and_count_layers_through() -> None:
    names = [tap.name for tap in small_net.taps(NetConfig())]
    assert len(set(names)) == len(names)
    assert [n for n in names if "layer" in n][-1] == "up:2.layer:7"


def test_the_schedule_is_the_linear_one() -> None:
    alphas = small_net.alphas_cumprod(TINY)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(alphas.double(), (1 - betas).cumprod(0), rtol=1e-4, atol=1e-7)


def test_weights_come_back_as_they_were_saved(net: small_net.SmallNet, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    history = ({"pictures": 12, "device": "CPU"},)
    small_net.save(path, TINY, net.state_dict(), history, torch.float32)
    back = small_net.load(path)
    assert back.config == TINY
    assert back.history == history
    noisy, t = torch.randn(1, 3, 32, 32), torch.tensor([20])
    assert torch.equal(back.network()(noisy, t), net(noisy, t))


def test_weights_are_small_and_bf16_by_default(tmp_path: Path) -> None:
    config = NetConfig()
    path = tmp_path / "w.safetensors"
    small_net.save(path, config, small_net.build(config).state_dict())
    assert path.stat().st_size < 30e6
    assert {v.dtype for v in small_net.load(path).tensors.values()} == {torch.bfloat16}


def test_nan_is_never_saved(net: small_net.SmallNet, tmp_path: Path) -> None:
    tensors = {name: torch.full_like(v, torch.nan) for name, v in net.state_dict().items()}
    with pytest.raises(ModelError, match="NaN"):
        small_net.save(tmp_path / "w.safetensors", TINY, tensors)
    assert not list(tmp_path.iterdir())


def test_bad_files_say_what_is_wrong(net: small_net.SmallNet, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(MissingWeights, match="no file"):
        small_net.load(path)
    path.write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot read weights"):
        small_net.load(path)
    small_net.save(path, TINY, net.state_dict())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot read weights"):
        small_net.load(path)
    small_net.save(path, replace(TINY, widths=(16, 16)), net.state_dict())
    with pytest.raises(WeightsMismatch, match="do not fit"):
        small_net.load(path).network()


def test_configurations_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadInput, match="one attention flag"):
        NetConfig(widths=(64, 128))
    with pytest.raises(BadInput, match="divisible by 16"):
        NetConfig(widths=(64, 120, 192))
    with pytest.raises(BadInput, match="training size"):
        NetConfig(train_size_px=60)
    with pytest.raises(BadInput, match="prediction"):
        NetConfig.from_json(TINY.to_json().replace('"sample"', '"eps"'))
    with pytest.raises(BadInput, match="JSON"):
        NetConfig.from_json('{"colour": 1}')


def test_configuration_goes_through_json() -> None:
    assert NetConfig.from_json(TINY.to_json()) == TINY
