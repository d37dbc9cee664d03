"""The training recipe on a miniature: made-up pictures, a network of a few thousand weights."""

import errno
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from counterpoint import training
from counterpoint.backbones import small_net
from counterpoint.backbones.unet import attend_across
from counterpoint.cli.train import train as train_command
from counterpoint.errors import BadInput, ModelError, StorageError, UnknownName
from counterpoint.training import TrainConfig, recipe
from counterpoint.training.augment import random_crops
from counterpoint.training.objective import Objective
from counterpoint.training.optimizer import orthogonalised

MINI = training.preset("mini").but(pictures=48, score_pictures=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two mosaics of 3 x 4 and 5 tiles, 32 px, smooth colours, two classes."""
    folder = tmp_path_factory.mktemp("packed")
    rng = np.random.default_rng(0)
    labels: list[list[int]] = []
    for k, count in enumerate((12, 5)):
        small = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        mosaic = cv2.resize(small, (128, 96), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"mosaic_{k:02}.jpg"), mosaic[: 32 * -(-count // 4)])
        labels.append(rng.integers(0, 2, count).tolist())
    index = {"tile_px": 32, "tiles_per_row": 4, "wnids": ["n01", "n03"], "labels": labels}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_pictures_come_out_in_order(data: Path) -> None:
    packed = training.load_packed(data)
    assert packed.pixels.shape == (17, 3, 32, 32)
    mosaic = cv2.imread(str(data / "mosaic_00.jpg"))
    assert mosaic is not None
    sixth = mosaic[32:64, 32:64, ::-1].transpose(2, 0, 1)
    assert np.array_equal(packed.pixels[5].numpy(), sixth)


def test_a_choice_of_pictures_has_its_own_checksum(data: Path) -> None:
    everything, some = training.load_packed(data), training.load_packed(data, "n02")
    assert 0 < len(some) < len(everything)
    assert some.sha256 != everything.sha256
    assert training.load_packed(data).sha256 == everything.sha256


def test_bad_data_says_what_is_wrong(data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="found no index"):
        training.load_packed(tmp_path)
    index = json.loads((data / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match="2 mosaics"):
        training.load_packed(tmp_path)
    for k in range(2):
        (tmp_path / f"mosaic_{k:02}.jpg").write_bytes(b"")
    with pytest.raises(BadInput, match="cannot decode"):
        training.load_packed(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(BadInput, match="lacks"):
        training.load_packed(tmp_path)


def test_crops_stay_within_the_picture_and_its_values() -> None:
    ramp = torch.linspace(0, 255, 32).round().byte().expand(64, 3, 32, 32).contiguous()
    generator = torch.Generator().manual_seed(0)
    crops = random_crops(ramp, 16, generator, area=0.3, aspect=1.3)
    assert crops.shape == (64, 3, 16, 16)
    assert crops.min() >= -1
    assert crops.max() <= 1
    rising = (crops.diff(dim=-1) >= -1e-6).all(dim=(1, 2, 3))
    falling = (crops.diff(dim=-1) <= 1e-6).all(dim=(1, 2, 3))
    assert (rising | falling).all()
    assert 16 < rising.sum() < 48


@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v_prediction"])
def test_the_true_answer_has_no_loss(prediction: small_net.Prediction) -> None:
    net = replace(MINI.net, prediction=prediction)
    objective = Objective(MINI.but(net=net, t_low=300), torch.device("cpu"))
    clean = torch.rand(4, 3, 32, 32) * 2 - 1
    batch = objective.add_noise(clean, torch.Generator().manual_seed(1))
    signal_, sigma = batch.alpha.sqrt(), (1 - batch.alpha).sqrt()
    noise = (batch.noisy - signal_ * clean) / sigma
    v = signal_ * noise - sigma * clean
    answer = {"sample": clean, "epsilon": noise, "v_prediction": v}[prediction]
    assert objective.loss(answer, clean, batch) < 1e-8
    assert objective.loss(answer + 0.1, clean, batch) == pytest.approx(0.01, rel=1e-3)


def test_noise_has_the_schedules_variance() -> None:
    objective = Objective(MINI.but(t_low=400, t_high=400), torch.device("cpu"))
    batch = objective.add_noise(torch.zeros(64, 3, 32, 32), torch.Generator().manual_seed(0))
    expected = 1 - small_net.alphas_cumprod(MINI.net)[400]
    assert batch.noisy.var().item() == pytest.approx(expected.item(), rel=0.02)
    assert (batch.t == 400).all()


def test_attention_across_two_views() -> None:
    config = MINI.net
    torch.manual_seed(0)
    alone, across = small_net.build(config).eval(), small_net.build(config).eval()
    across.load_state_dict(alone.state_dict())
    attend_across(across)
    x, t = torch.randn(4, 3, 32, 32), torch.tensor([20, 600, 20, 600])
    other = x.clone()
    other[0] += 1
    with torch.inference_mode():
        changed = (across(x, t) - across(other, t)).abs().amax((1, 2, 3))
        twins = across(x[:1].expand(2, -1, -1, -1), t[:1].expand(2))
        torch.testing.assert_close(twins[0], alone(x[:1], t[:1])[0], atol=1e-4, rtol=1e-4)
    assert (changed[:2] > 1e-3).all()  # each sees the other
    assert (changed[2:] == 0).all()  # and nobody else


def test_a_second_view_has_its_own_time_steps(data: Path, tmp_path: Path) -> None:
    config = MINI.but(t_low=20, t_high=100, second_view=(600, 900), pictures=24)
    batch = Objective(config, torch.device("cpu")).add_noise(
        torch.zeros(200, 3, 8, 8), torch.Generator().manual_seed(0)
    )
    assert 20 <= batch.t[::2].min() <= batch.t[::2].max() <= 100
    assert 600 <= batch.t[1::2].min() <= batch.t[1::2].max() <= 900
    assert small_net.load(training.train(config, data, tmp_path)).network()
    for changes in ({"second_view": (900, 600)}, {"second_view": (600, 900), "batch": 7}):
        with pytest.raises(BadInput, match="second_view"):
            MINI.but(**changes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_orthogonalised_matrices_have_singular_values_near_one(dtype) -> None:
    for shape in ((20, 50), (50, 20)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        values = torch.linalg.svdvals(orthogonalised(matrix.to(dtype)).float())
        assert values.min() > 0.5
        assert values.max() < 1.4


def test_the_loss_falls_and_weights_load(data: Path, tmp_path: Path) -> None:
    reports: list[training.Report] = []
    config = MINI.but(pictures=160)
    path = training.train(config, data, tmp_path, on_progress=reports.append)
    losses = [r.loss for r in reports if r.event == "loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert reports[-1].event == "done"
    assert reports[-1].pictures == 160
    loaded = small_net.load(path)
    assert loaded.config == config.net
    (entry,) = loaded.history
    assert entry["pictures"] == 160
    assert entry["data_sha256"] == training.load_packed(data).sha256
    loaded.network()
    assert (tmp_path / "small-ema256.safetensors").exists()
    assert len((tmp_path / "curve.jsonl").read_text().splitlines()) == len(losses)


def test_the_seed_decides_the_weights(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        training.train(MINI.but(seed=seed), data, tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


class Killed(BaseException):
    """Stands for a kill: nothing in the recipe may catch it."""


@pytest.mark.parametrize("rates", [{}, {"muon_rate": 0.0}])
def test_resuming_gives_the_unbroken_runs_weights(
    data: Path, tmp_path: Path, rates: dict[str, float]
) -> None:
    config = MINI.but(checkpoint_seconds=1e-9, **rates)
    training.train(config, data, tmp_path / "whole", score=lambda _: {"pck": 1.0})

    for moment in (4, 6):  # each time, the last checkpoint is two steps behind

        def kill(report: training.Report, moment: int = moment) -> None:
            if report.event == "loss" and report.step == moment:
                raise Killed

        with pytest.raises(Killed):
            training.train(config, data, tmp_path / "broken", on_progress=kill)
    training.train(config, data, tmp_path / "broken")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))


SCRIPT = """
import sys
from counterpoint import training
config = training.preset("mini").but(pictures=80, checkpoint_seconds=1e-9)
training.train(config, sys.argv[1], sys.argv[2])
"""


def test_kill_9_at_any_moment_loses_nothing(data: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", SCRIPT, str(data)]
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    process = subprocess.Popen([*arguments, str(tmp_path / "killed")])
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    config = training.preset("mini").but(pictures=80)
    training.train(config, data, tmp_path / "killed")
    training.train(config, data, tmp_path / "whole")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_a_finished_run_resumes_to_itself(data: Path, tmp_path: Path) -> None:
    training.train(MINI, data, tmp_path)
    before = weights(tmp_path)
    training.train(MINI, data, tmp_path)
    assert same(before, weights(tmp_path))


def test_stopping_by_time_then_going_on(data: Path, tmp_path: Path) -> None:
    training.train(MINI.but(seconds=1e-9), data, tmp_path / "a")
    assert small_net.load(tmp_path / "a" / "small.safetensors").history[0]["steps"] == 1
    training.train(MINI, data, tmp_path / "a")
    training.train(MINI, data, tmp_path / "b")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_scores_come_from_the_average_and_change_nothing(data: Path, tmp_path: Path) -> None:
    seen: list[small_net.SmallNet] = []
    reports: list[training.Report] = []

    def score(net: small_net.SmallNet) -> dict[str, float]:
        seen.append(net)
        torch.rand(3)
        return {"pck": float(len(seen))}

    training.train(MINI, data, tmp_path / "a", score=score, on_progress=reports.append)
    training.train(MINI, data, tmp_path / "b")
    assert len(seen) == 3
    assert not seen[0].training
    assert [r.scores["pck"] for r in reports if r.event == "score"] == [1, 2, 3]
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_a_new_run_from_given_weights_carries_their_history(data: Path, tmp_path: Path) -> None:
    first = training.train(MINI, data, tmp_path / "a")
    second = training.train(
        MINI.but(seed=1, pictures=8, muon_rate=1e-9, rate=1e-9),
        data,
        tmp_path / "b",
        init_from=first,
    )
    assert [run["pictures"] for run in small_net.load(second).history] == [48, 8]
    start, end = small_net.load(first).tensors, small_net.load(second).tensors
    for name, value in start.items():
        torch.testing.assert_close(value, end[name], rtol=0.02, atol=1e-3)


def test_other_weights_recipes_and_pictures_are_refused(data: Path, tmp_path: Path) -> None:
    training.train(MINI, data, tmp_path / "a")
    with pytest.raises(BadInput, match=r"but batch, rate changed"):
        training.train(MINI.but(batch=4, rate=1e-4), data, tmp_path / "a")
    with pytest.raises(BadInput, match="these differ"):
        _train_on_a_changed_copy(data, tmp_path)
    other = MINI.but(net=replace(MINI.net, widths=(16, 16)))
    with pytest.raises(BadInput, match="expected weights of the network"):
        training.train(other, data, tmp_path / "c", init_from=tmp_path / "a" / "small.safetensors")


def _train_on_a_changed_copy(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    copy.mkdir()
    for path in data.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    index = copy / "index.json"
    index.write_text(index.read_text() + " ")
    training.train(MINI, copy, tmp_path / "a")


def test_a_truncated_checkpoint_is_named(data: Path, tmp_path: Path) -> None:
    training.train(MINI, data, tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot resume from"):
        training.train(MINI, data, tmp_path)


@pytest.mark.parametrize("bad", [float("nan"), 1e6])
def test_divergence_stops_and_keeps_the_last_good_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    config = MINI.but(report_steps=1, pictures=80, checkpoint_seconds=1e-9)
    sane = Objective.loss
    calls = 0

    def loss(self: Objective, *arguments: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return sane(self, *arguments) * (bad if calls > 7 else 1)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Objective, "loss", loss)
    with pytest.raises(training.Diverged, match="last good state"):
        training.train(config, data, tmp_path)
    tensors = weights(tmp_path)
    assert all(torch.isfinite(value).all() for value in tensors.values())
    monkeypatch.setattr(Objective, "loss", sane)
    training.train(config, data, tmp_path)
    training.train(config, data, tmp_path / "whole")
    assert same(weights(tmp_path), weights(tmp_path / "whole"))


def test_a_full_disk_is_said_in_one_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train(MINI, data, tmp_path)
    before = weights(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="disk is full") as caught:
        training.train(MINI.but(pictures=80), data, tmp_path)
    assert "\n" not in str(caught.value)
    assert same(before, weights(tmp_path))


def test_ctrl_c_saves_first(data: Path, tmp_path: Path) -> None:
    def stop(report: training.Report) -> None:
        if report.event == "loss":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(MINI, data, tmp_path, on_progress=stop)
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_global_settings_are_put_back(data: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    training.train(MINI.but(pictures=8), data, tmp_path)
    assert torch.get_num_threads() == threads


def test_order_sees_every_picture_once_an_epoch() -> None:
    order = recipe._Order(10, seed=3)
    seen = torch.cat([order.batch(step, 4) for step in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert sorted(seen[10:].tolist()) == list(range(10))
    assert torch.equal(recipe._Order(10, seed=3).batch(3, 4), seen[12:16])


def test_rates_rise_stay_and_fall() -> None:
    config = TrainConfig(batch=10, pictures=1000, warmup_pictures=100, cooldown=0.2)
    factors = [recipe.rate_factor(config, step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[20] == factors[79] == 1
    assert factors[99] == pytest.approx(0.05)


def test_configurations_that_cannot_be_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'small'"):
        training.preset("smal")
    for changes in ({"t_high": 1000}, {"batch": 0}, {"cooldown": 2.0}):
        with pytest.raises(BadInput, match="expected"):
            MINI.but(**changes)


def test_the_commands_options_reach_the_recipe(data: Path, tmp_path: Path) -> None:
    options = {"preset": "mini", "pictures": 8, "crop_area": 0.9, "second_view": (300, 900)}
    assert train_command(data, out=tmp_path, **options) == 0
    (run,) = small_net.load(tmp_path / "small.safetensors").history
    assert (run["recipe"]["crop_area"], run["recipe"]["second_view"]) == (0.9, [300, 900])
    with pytest.raises(BadInput, match="crop_area from 0 to 1, got 2.0"):
        train_command(data, out=tmp_path, preset="mini", crop_area=2.0)


def test_bfloat16_where_the_processor_has_it(data, tmp_path, monkeypatch) -> None:
    cpu = torch.device("cpu")
    for capabilities, there in (
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "aarch64", "bf16": True}, True),
        ({"avx512_bf16": False, "avx512_f": True}, False),
        ({}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c)
        assert recipe.computes_in_bf16(cpu) == there
        training.train(MINI.but(bf16=None, pictures=8), data, tmp_path, resume=False)
        (run,) = small_net.load(tmp_path / "small.safetensors").history
        assert run["bf16"] == there


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_recipe_runs_on_cuda(data: Path, tmp_path: Path) -> None:
    training.train(MINI.but(device="cuda", bf16=True, pictures=24), data, tmp_path / "a")
    training.train(MINI.but(device="cuda", bf16=True), data, tmp_path / "a")
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "a").values())
