"""The training loop: same on a CPU and on CUDA, resumable to the exact step."""

import json
import math
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from counterpoint.backbones import small_net
from counterpoint.backbones.base import pick_device
from counterpoint.backbones.small_net import SmallNet
from counterpoint.backbones.unet import attend_across
from counterpoint.errors import BadInput, ModelError
from counterpoint.files import write_text
from counterpoint.training.augment import random_crops
from counterpoint.training.checkpoint import Averages, Progress, RunState
from counterpoint.training.config import TrainConfig
from counterpoint.training.objective import Objective
from counterpoint.training.optimizer import Optimizer
from counterpoint.training.pictures import PackedPictures, load_packed

CHECKPOINT = "checkpoint.safetensors"
CURVE = "curve.jsonl"

Score = Callable[[SmallNet], dict[str, float]]
"""A held-out score of a network, by name."""


class Diverged(ModelError):
    """The loss became NaN, infinite or many times what it was; the last checkpoint is kept."""


@dataclass(frozen=True)
class Report:
    """What a run tells while it goes on.

    Attributes:
        step, steps: done, and in all.
        pictures: seen.
        seconds: of training, resumed parts included.
        loss: mean since the last report.
        pictures_per_second: since the last report.
        rate: AdamW's learning rate.
        scores: the latest held-out scores, by name.
        event: "loss", "score", "checkpoint" or "done".
    """

    step: int
    steps: int
    pictures: int
    seconds: float
    loss: float
    pictures_per_second: float
    rate: float
    scores: dict[str, float]
    event: str


OnProgress = Callable[[Report], None]


def train(
    config: TrainConfig,
    data: Path | str,
    out: Path | str,
    *,
    resume: bool = True,
    init_from: Path | str | None = None,
    score: Score | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Train, and write weights and a checkpoint into a folder.

    Args:
        config: the recipe.
        data: folder of packed pictures, see `load_packed`.
        out: gets ``checkpoint.safetensors``, ``small.safetensors`` (the first average),
            ``small-emaN.safetensors`` (the others) and ``curve.jsonl``.
        resume: go on from ``out``'s checkpoint where there is one.
        init_from: weights to start a new run from; their history is carried on.
        score: held-out score, called every ``config.score_pictures`` with the first average.
        on_progress: told of every report.

    Returns:
        The path of ``small.safetensors``.

    Raises:
        BadInput: no pictures, or a checkpoint of another recipe.
        Diverged: the loss is no longer sane.
        StorageError: the disk is full.
    """
    out = Path(out)
    device = _device(config.device)
    pictures = load_packed(data, config.below_wnid)
    with _settings(config):
        run = _Run(config, pictures.to(device), out, device, on_progress)
        run.start(resume, Path(init_from) if init_from else None)
        try:
            run.go(score)
        except KeyboardInterrupt:
            if not run.updating:  # else the weights are between two steps; the last one stands
                run.checkpoint()
            raise
        run.checkpoint()
    run.tell("done")
    return out / "small.safetensors"


class _Run:
    def __init__(
        self,
        config: TrainConfig,
        pictures: PackedPictures,
        out: Path,
        device: torch.device,
        on_progress: OnProgress | None,
    ) -> None:
        self.config, self.pictures, self.out, self.device = config, pictures, out, device
        self.on_progress = on_progress
        self.bf16 = computes_in_bf16(device) if config.bf16 is None else config.bf16
        self.objective = Objective(config, device)
        self.order = _Order(len(pictures), config.seed)
        self.loss, self.speed, self.scores = math.nan, 0.0, dict[str, float]()
        self.updating = False

    def start(self, resume: bool, init_from: Path | None) -> None:
        """Fresh, shipped or resumed weights."""
        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            net = small_net.build(config.net).to(self.device).train()
        progress = Progress()
        if init_from:
            given = small_net.load(init_from)
            if _shape(given.config) != _shape(config.net):
                raise BadInput(
                    f"expected weights of the network {config.net}, got {given.config} "
                    f"from {init_from}; choose the preset that they were made with"
                )
            net.load_state_dict(given.tensors)
            progress.before = list(given.history)
        if config.second_view:
            attend_across(net)
        averages = Averages(net, config.ema_pictures, config.batch)
        self.state = RunState(net, Optimizer(net, config, bf16=self.bf16), averages, progress)
        if resume and (self.out / CHECKPOINT).exists():
            self.state.restore(self.out / CHECKPOINT, config.recipe(), self.pictures.sha256)
        if config.compile:
            net.unet.compile()

    def go(self, score: Score | None) -> None:
        """Steps until the pictures or the seconds are used up."""
        progress, config = self.state.progress, self.config
        began = last_report = last_save = time.monotonic()
        earlier = progress.seconds
        losses: list[Tensor] = []
        while progress.step < config.steps:
            losses.append(self._step())
            now = time.monotonic()
            progress.seconds = earlier + now - began
            out_of_time = config.seconds is not None and now - began >= config.seconds
            if len(losses) >= config.report_steps or out_of_time or self._last():
                self._check(losses)
                self.speed = len(losses) * config.batch / max(now - last_report, 1e-9)
                losses, last_report = [], now
                self.tell("loss")
            if score and self._crosses(config.score_pictures):
                self._score(score)
                last_report = time.monotonic()
            if not losses and time.monotonic() - last_save >= config.checkpoint_seconds:
                self.checkpoint()
                last_save = last_report = time.monotonic()
            if out_of_time:
                return

    def _step(self) -> Tensor:
        state, config = self.state, self.config
        generator = _generator(config.seed, state.progress.step, self.device)
        views = 2 if config.second_view else 1
        index = self.order.batch(state.progress.step, config.batch // views)
        index = index.repeat_interleave(views).to(self.device)
        clean = random_crops(
            self.pictures.pixels[index],
            config.net.train_size_px,
            generator,
            area=config.crop_area,
            aspect=config.crop_aspect,
        )
        batch = self.objective.add_noise(clean, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            predicted = state.net(batch.noisy, batch.t)
        loss = self.objective.loss(predicted.float(), clean, batch)
        state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), config.clip)
        self._update()
        return loss.detach()

    def _update(self) -> None:
        state, config = self.state, self.config
        self.updating = True
        state.optimizer.step(rate_factor(config, state.progress.step))
        state.progress.step += 1
        state.progress.pictures += config.batch
        state.averages.update(state.net, state.progress.step)
        self.updating = False

    def _last(self) -> bool:
        return self.state.progress.step == self.config.steps

    def _crosses(self, every: int) -> bool:
        now = self.state.progress.pictures
        return now // every > (now - self.config.batch) // every

    def _check(self, losses: list[Tensor]) -> None:
        progress = self.state.progress
        before = [entry["loss"] for entry in progress.curve[-20:] if "loss" in entry]
        self.loss = float(torch.stack(losses).mean())
        usual = sorted(before)[len(before) // 2] if len(before) >= 5 else math.inf
        if not math.isfinite(self.loss) or self.loss > 10 * usual:
            raise Diverged(
                f"expected a loss near {usual:.4g}, got {self.loss:.4g} at step {progress.step}; "
                f"the last good state is in {self.out}: go on from it in another folder, "
                "with --init-from and lower rates"
            )
        entry = {"pictures": progress.pictures, "seconds": progress.seconds, "loss": self.loss}
        progress.curve.append(entry)

    def _score(self, score: Score) -> None:
        average = small_net.build(self.config.net).to(self.device)
        average.load_state_dict(self.state.averages.values[self.config.ema_pictures[0]])
        self.scores = dict(score(average.eval().requires_grad_(False)))
        progress = self.state.progress
        progress.curve.append(
            {"pictures": progress.pictures, "seconds": progress.seconds, "scores": self.scores}
        )
        self.tell("score")

    def checkpoint(self) -> None:
        """The state, the averages as weights files, and the curve; each written atomically."""
        config, progress = self.config, self.state.progress
        self.state.save(self.out / CHECKPOINT, config.recipe(), self.pictures.sha256)
        for i, horizon in enumerate(config.ema_pictures):
            name = f"small-ema{horizon}.safetensors" if i else "small.safetensors"
            weights = self.state.averages.values[horizon]
            history = (*progress.before, self._history(horizon))
            small_net.save(self.out / name, config.net, weights, history)
        write_text(self.out / CURVE, json_lines(progress.curve))
        self.tell("checkpoint")

    def _history(self, horizon: int) -> dict[str, Any]:
        progress = self.state.progress
        return {
            "pictures": progress.pictures,
            "steps": progress.step,
            "seconds": round(progress.seconds, 1),
            "device": _device_name(self.device),
            "threads": self.config.threads,
            "ema_pictures": horizon,
            "data_sha256": self.pictures.sha256,
            "bf16": self.bf16,
            "torch": torch.__version__,
            "recipe": self.config.recipe(),
        }

    def tell(self, event: str) -> None:
        """Report to whoever listens."""
        if self.on_progress is None:
            return
        progress, config = self.state.progress, self.config
        self.on_progress(
            Report(
                step=progress.step,
                steps=config.steps,
                pictures=progress.pictures,
                seconds=progress.seconds,
                loss=self.loss,
                pictures_per_second=self.speed,
                rate=config.rate * rate_factor(config, progress.step),
                scores=self.scores,
                event=event,
            )
        )


class _Order:
    """The order of the pictures: a fresh permutation per epoch, keyed by the seed and the epoch."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.long)

    def batch(self, step: int, size: int) -> Tensor:
        """Indices of the pictures of a step; batches run on over the ends of epochs."""
        parts: list[Tensor] = []
        at, end = step * size, (step + 1) * size
        while at < end:
            epoch, row = divmod(at, self._count)
            part = self._of(epoch)[row : row + end - at]
            parts.append(part)
            at += len(part)
        return torch.cat(parts)

    def _of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = _generator(self._seed + 1, epoch, torch.device("cpu"))
            self._permutation = torch.randperm(self._count, generator=generator)
            self._epoch = epoch
        return self._permutation


def rate_factor(config: TrainConfig, step: int) -> float:
    """What the learning rates are multiplied by: a linear rise, a plateau, a linear fall."""
    warm = min(1.0, (step + 1) * config.batch / max(config.warmup_pictures, 1))
    left = 1 - step / config.steps
    cool = min(1.0, left / config.cooldown) if config.cooldown else 1.0
    return warm * cool


def computes_in_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Of a torch that cannot say, fp32 is the safer choice.
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(there is True for name, there in known.items() if "bf16" in name)


def json_lines(entries: list[dict[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def _generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Keyed by (seed, step), so that a resumed run draws what an unbroken one would."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9) & (2**63 - 1)
    return torch.Generator(device).manual_seed(mixed)


def _device(name: str | None) -> torch.device:
    """The named one, else CUDA or the CPU: the recipe is not known to hold elsewhere."""
    return pick_device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {os.cpu_count()} cores"


def _shape(net: small_net.NetConfig) -> dict[str, Any]:
    return {k: v for k, v in asdict(net).items() if k not in ("schedule", "train_size_px")}


@contextmanager
def _settings(config: TrainConfig) -> Generator[None]:
    """torch's global settings for the run, put back at its end."""
    threads, tf32 = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32
    torch.set_num_threads(config.threads)
    torch.set_flush_denormal(True)
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=True):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
        torch.backends.cuda.matmul.allow_tf32 = tf32
