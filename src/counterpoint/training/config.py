"""The recipe's configuration and its presets."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from counterpoint.backbones.small_net import TIMESTEPS, NetConfig
from counterpoint.errors import BadInput, UnknownName

_HOW_LONG = ("pictures", "seconds", "checkpoint_seconds", "score_pictures", "report_steps")
_MACHINE = ("device", "compile", "bf16", "threads")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the weights, and how long to go on.

    Attributes:
        net: the network.
        below_wnid: train only on pictures whose WordNet id sorts below this.
        t_low, t_high: time steps are drawn evenly from this range, both ends included.
        second_view: time steps, both ends included, of a second crop of each picture, which the
            attention sees together with the first (`backbones.unet.attend_across`); ``batch`` and
            ``pictures`` then count crops. None: one crop, by itself.
        crop_area: smallest share of a picture that a crop covers.
        crop_aspect: largest stretch of a crop.
        batch: pictures a step.
        rate: AdamW's learning rate, after the warm-up.
        weight_decay: AdamW's, of weights with two or more dimensions.
        muon_rate: Muon's learning rate for the inner matrices; 0: AdamW for all.
        muon_weight_decay: of those.
        warmup_pictures: over which the rates rise from zero.
        cooldown: share of ``pictures`` at the end over which the rates fall to zero.
        clip: largest gradient norm.
        ema_pictures: horizons of the averages of the weights, in pictures; the first is scored.
        seed: of the first weights, the order of the pictures, crops, time steps and noise.
        pictures: to see in all, those of the resumed part included.
        seconds: stop after this time, whatever was seen; None: no limit.
        checkpoint_seconds: between checkpoints.
        score_pictures: between held-out scores.
        report_steps: steps between reports of the loss, and checks that it is finite.
        device: "cpu", "cuda"; None: the best there is.
        compile: use torch.compile (minutes at the start, then faster).
        bf16: autocast to bfloat16; None: where the processor computes in it, since elsewhere it is
            several times slower than fp32.
        threads: CPU threads; two that share their cores with other work are slower than one.
    """

    net: NetConfig = field(default_factory=NetConfig)
    below_wnid: str | None = None
    t_low: int = 20
    t_high: int = 500
    second_view: tuple[int, int] | None = None
    crop_area: float = 0.35
    crop_aspect: float = 1.2
    batch: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.2
    muon_rate: float = 0.008
    muon_weight_decay: float = 0.5
    warmup_pictures: int = 6_400
    cooldown: float = 1.0
    clip: float = 1.0
    ema_pictures: tuple[int, ...] = (12_000, 48_000)
    seed: int = 0
    pictures: int = 80_000
    seconds: float | None = None
    checkpoint_seconds: float = 180.0
    score_pictures: int = 20_000
    report_steps: int = 20
    device: str | None = None
    compile: bool = False
    bf16: bool | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.t_low <= self.t_high < TIMESTEPS:
            raise BadInput(
                f"expected 0 <= t_low <= t_high < {TIMESTEPS}, got {self.t_low} and {self.t_high}"
            )
        if self.second_view:
            low, high = self.second_view
            if not 0 <= low <= high < TIMESTEPS or self.batch % 2:
                raise BadInput(
                    f"expected second_view as two rising time steps below {TIMESTEPS} and an even "
                    f"batch, got {self.second_view} and {self.batch}"
                )
        for name in ("batch", "rate", "pictures", "checkpoint_seconds", "score_pictures", "clip"):
            if getattr(self, name) <= 0:
                raise BadInput(f"expected {name} above 0, got {getattr(self, name)}")
        for name in ("crop_area", "cooldown"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"expected {name} from 0 to 1, got {getattr(self, name)}")
        if not self.ema_pictures:
            raise BadInput("expected at least one EMA horizon, got none")

    @property
    def steps(self) -> int:
        """Steps in all."""
        return -(-self.pictures // self.batch)

    def but(self, **changes: Any) -> "TrainConfig":
        """A copy with some fields changed."""
        return replace(self, **changes)

    def recipe(self) -> dict[str, Any]:
        """What decides the weights, as JSON's types: all but length and machine."""
        fields: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {name: v for name, v in fields.items() if name not in (*_HOW_LONG, *_MACHINE)}


def preset(name: str) -> TrainConfig:
    """A named recipe.

    "small" is the embedded model's; "small-gpu" is meant for 25 minutes of a data-centre GPU (twice
    the parameters, batches of 1024, a hundred times the pictures; not run so far); "mini" takes
    seconds, for tests.

    Raises:
        UnknownName: no such preset.
    """
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    return PRESETS[name]


PRESETS = {
    "small": TrainConfig(
        net=NetConfig(schedule="squaredcos_cap_v2"),
        t_high=300,
        second_view=(500, 950),
        pictures=200_000,
        score_pictures=40_000,
    ),
    "small-gpu": TrainConfig(
        net=NetConfig(widths=(96, 192, 256), schedule="squaredcos_cap_v2"),
        t_high=300,
        second_view=(500, 950),
        batch=1024,
        # With batches sixteen times as large, steps may be longer: by the square root of the
        # square root, which is a guess.
        muon_rate=0.016,
        rate=2e-3,
        warmup_pictures=200_000,
        ema_pictures=(200_000, 1_000_000),
        pictures=8_000_000,
        score_pictures=500_000,
        compile=True,
    ),
    "mini": TrainConfig(
        net=NetConfig(
            widths=(16, 32), attention=(False, True), head_dim=16, groups=8, train_size_px=32
        ),
        batch=8,
        muon_rate=0.02,
        warmup_pictures=32,
        ema_pictures=(64, 256),
        pictures=160,
        score_pictures=80,
        checkpoint_seconds=3600.0,
        report_steps=2,
        bf16=False,
    ),
}
