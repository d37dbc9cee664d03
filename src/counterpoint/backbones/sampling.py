"""Generating pictures with a model's own network, and the features met on the way.

The DDIM sampler without added noise (Song et al. 2021, equation 12 with sigma = 0): from pure noise
down the time steps, each step to the state that the network's estimate of x_0 implies. Between
*generated* pictures the features of these very passes match well (DIFT, figure 2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from counterpoint.backbones.base import Backbone, Place
from counterpoint.backbones.network import DiffusionBackbone, Setting, Taps
from counterpoint.backbones.noise import KeyedNoise
from counterpoint.errors import BadInput, ModelError, UnknownName
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, SizeWH
from counterpoint.images import Picture
from counterpoint.options import TIMESTEPS, Options
from counterpoint.provenance import Provenance

Twin = Literal["none", "shift", "flip"]
"""How the first noise of a picture's twin differs from the picture's own: not at all (there is no
twin), rolled by whole strides of the coarsest tap, or mirrored."""

GUIDANCE = 7.5
"""Weight of classifier-free guidance where there is a prompt, as in Stable Diffusion's pipeline."""


@dataclass(frozen=True, eq=False)
class Generated:
    """A picture that a model made.

    Attributes:
        picture: 8-bit RGB.
        maps: features met on the way, by (time step, tap).
        draw: which first noise it came from, counted from 0.
        moved: from the picture without a change to this one, pixels; None: no twin.
    """

    picture: Picture
    maps: Mapping[Place, FeatureMap]
    draw: int
    moved: PixelTransform | None = None


@dataclass(frozen=True)
class Plan:
    """How pictures are generated.

    Attributes:
        count: of pictures, twins not counted.
        steps: of the sampler, evenly spaced; time steps whose features are kept come on top.
        guidance: of the prompt over none (classifier-free guidance); 1: none. By default `GUIDANCE`
            where there is a prompt.
        twin: also each picture's twin.
    """

    count: int = 2
    steps: int = 50
    guidance: float | int | None = None
    twin: Twin = "none"

    def __post_init__(self) -> None:
        if self.count < 1 or not 1 <= self.steps <= TIMESTEPS:
            raise BadInput(
                f"expected at least 1 picture and 1 to {TIMESTEPS} steps, "
                f"got {self.count} and {self.steps}"
            )
        if self.guidance is not None and not 0 <= self.guidance < float("inf"):
            raise BadInput(f"expected a guidance of at least 0, got {self.guidance}")
        if self.twin not in get_args(Twin):
            raise UnknownName("twin", self.twin, get_args(Twin))


def generate(
    backbone: Backbone,
    plan: Plan,
    options: Options | None = None,
    noise: KeyedNoise | None = None,
) -> tuple[Generated, ...]:
    """Pictures, each with the features that its own generation passed through.

    Args:
        backbone: a diffusion model with a denoiser.
        plan: how many, and how.
        options: t and tap say which features to keep (by default the model's own), size that of
            the pictures (by default what the network was trained to make), prompt and seed the
            rest. Model, device, dtype, fit, ensemble and noise are not used.
        noise: where the first noise comes from; by default keyed by the seed.

    Returns:
        The pictures, each followed by its twin where the plan has twins.

    Raises:
        BadInput: a model that removes no noise, or a size that does not fit its network.
        ModelError: a family that cannot generate here.
    """
    run = _Run.of(backbone, plan, options or Options(), noise)
    shape = run.state_shape()
    starts = [run.start(draw, shape) for draw in range(plan.count)]
    if run.rolled is not None:
        starts = [each for start in starts for each in (start, run.changed(start))]
    found: dict[int, Generated] = {}
    with torch.inference_mode():
        for rows, taps in run.backbone._in_chunks(
            range(len(starts)), lambda now: run.sample(torch.stack([starts[i] for i in now]))
        ):
            for row, i in enumerate(rows):
                found[i] = run.generated({name: v[row] for name, v in taps.items()}, i)
    return tuple(found[i] for i in range(len(starts)))


def sampler_steps(steps: int, kept: Sequence[int] = ()) -> tuple[int, ...]:
    """The time steps of a sampler, falling: ``steps`` even ones from 999 on, and those kept.

    >>> sampler_steps(4), sampler_steps(4, [50])
    ((999, 749, 499, 249), (999, 749, 499, 249, 50))
    """
    even = {round(TIMESTEPS * (i + 1) / steps) - 1 for i in range(steps)}
    return tuple(sorted(even | set(kept), reverse=True))


@dataclass(frozen=True, eq=False)
class _Run:
    """Everything that a generation needs, defaults filled in."""

    backbone: DiffusionBackbone
    setting: Setting
    plan: Plan
    guidance: float | int
    steps: tuple[int, ...]
    rolled: tuple[int, int] | None
    noise: KeyedNoise

    @classmethod
    def of(
        cls, backbone: Backbone, plan: Plan, options: Options, noise: KeyedNoise | None
    ) -> "_Run":
        model = require_generator(backbone)
        taps = (options.tap or model.spec.tap).split("+")
        setting = model._setting(replace(options, ensemble=1, noise="added"), taps)
        size_wh = options.size_wh or model.native_wh
        stride = _coarsest_px(model)
        if size_wh[0] % stride or size_wh[1] % stride:
            raise BadInput(
                f"expected sides divisible by {stride} px for {model.spec.name}, got "
                f"{size_wh[0]} x {size_wh[1]}"
            )
        setting = replace(setting, size_wh=size_wh, fit="squash")
        rolled = None if plan.twin == "none" else _roll_px(plan.twin, size_wh, stride)
        usual = GUIDANCE if setting.prompt else 1.0
        guidance = usual if plan.guidance is None else plan.guidance
        kept = [t for t in setting.timesteps if t is not None]
        steps = sampler_steps(plan.steps, kept)
        source = noise or KeyedNoise(setting.seed)
        return cls(model, setting, plan, guidance, steps, rolled, source)

    def start(self, draw: int, shape: tuple[int, ...]) -> Tensor:
        """Pure noise of a picture's size, float32."""
        drawn = self.noise.draw("diffusion", f"generated/{draw}", 0, shape)
        return drawn.to(self.backbone.device)

    def state_shape(self) -> tuple[int, ...]:
        """Of a picture in the network's space; takes a pass through the encoder."""
        w, h = self.setting.size_wh
        model = self.backbone
        blank = torch.zeros(1, 3, h, w, device=model.device, dtype=model.dtype)
        with torch.inference_mode():
            return tuple(model._encode(blank).mean.shape[1:])

    def changed(self, start: Tensor) -> Tensor:
        """The first noise of the twin."""
        if self.plan.twin == "flip":
            return start.flip(-1)
        assert self.rolled is not None
        (w, h), (rows, columns) = self.setting.size_wh, start.shape[-2:]
        dx, dy = self.rolled[0] * columns // w, self.rolled[1] * rows // h
        return start.roll((dy, dx), (-2, -1))

    def sample(self, state: Float[Tensor, "batch channels rows columns"]) -> Taps:
        """From noise to the clean "state"; features on the way as "T/TAP"."""
        kept: Taps = {}
        for t, after in zip(self.steps, (*self.steps[1:], None), strict=True):
            wanted = self.setting.taps if t in self.setting.timesteps else ()
            taps, clean = self._estimate(state, t, wanted)
            kept |= {f"{t}/{tap}": values.float() for tap, values in taps.items()}
            state = clean if after is None else self._step(state, clean, t, after)
        return kept | {"state": state}

    def _estimate(self, state: Tensor, t: int, taps: tuple[str, ...]) -> tuple[Taps, Tensor]:
        """Features, and x_0 with the prompt pushed away from x_0 without one."""
        model, prompt = self.backbone, self.setting.prompt
        given = state.to(model.dtype)
        found, clean = model._whole_pass(given, t, prompt, taps)
        if self.guidance != 1:
            _, without = model._whole_pass(given, t, "", ())
            clean = without + self.guidance * (clean - without)
        return found, clean.float()

    def _step(self, state: Tensor, clean: Tensor, t: int, after: int) -> Tensor:
        """The state at an earlier time step: the same noise, less of it."""
        signal, sigma = self._levels(t)
        signal_after, sigma_after = self._levels(after)
        epsilon = (state - signal * clean) / sigma
        return signal_after * clean + sigma_after * epsilon

    def _levels(self, t: int) -> tuple[float, float]:
        """What the picture and the noise are multiplied by at a time step."""
        one, none = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
        add = self.backbone._add_noise
        return float(add(one, none, t)), float(add(none, one, t))

    def generated(self, values: Taps, number: int) -> Generated:
        """A picture and its maps, from what `sample` found for it."""
        twins = self.plan.twin != "none"
        draw, is_twin = divmod(number, 2) if twins else (number, 0)
        state = values["state"]
        if not bool(torch.isfinite(state).all()):
            raise ModelError(
                f"{self.backbone.spec.name} generated NaN or infinity in "
                f"{self.backbone.dtype_name}; try --dtype float32 or bfloat16"
            )
        name = f"{draw + 1}-{self.plan.twin}" if is_twin else str(draw + 1)
        picture = self.backbone.shown(state.to(self.backbone.dtype), name)
        maps: dict[Place, FeatureMap] = {
            (t, tap): self._map(values[f"{t}/{tap}"], t, tap, picture, draw, is_twin)
            for t in self.setting.timesteps
            for tap in self.setting.taps
            if t is not None
        }
        return Generated(picture, maps, draw, self._moved() if is_twin else None)

    def _map(
        self, values: Tensor, t: int, tap: str, picture: Picture, draw: int, is_twin: int
    ) -> FeatureMap:
        note: Provenance = self.backbone._provenance(self.setting, tap, (t,), picture)
        words = f"sampler ddim, {self.plan.steps} steps, guidance {self.guidance:g}, draw {draw}"
        if is_twin:
            words += f", {self.plan.twin}" + (
                f" {self.rolled}" if self.plan.twin == "shift" else ""
            )
        return FeatureMap(
            values.to(self.backbone.dtype).clone(),
            picture.size_wh,
            provenance=replace(note, noise=words),
        )

    def _moved(self) -> PixelTransform:
        assert self.rolled is not None
        if self.plan.twin == "flip":
            return PixelTransform.flip_x(self.setting.size_wh[0])
        return PixelTransform.pad(*self.rolled)


def require_generator(backbone: Backbone) -> DiffusionBackbone:
    """The model, if pictures can be generated with it.

    Raises:
        BadInput: it removes no noise.
        ModelError: its family cannot generate here.
    """
    if not isinstance(backbone, DiffusionBackbone):
        raise BadInput(
            f"expected a diffusion model, which can generate pictures, got {backbone.spec.name}, "
            "which removes no noise; small, sd21, sdxl and adm can"
        )
    if not backbone.generates:
        raise ModelError(
            f"pictures cannot be generated with {backbone.spec.name} here; with small, Stable "
            "Diffusion 1.x, 2.x and XL, and adm they can"
        )
    return backbone


def _coarsest_px(backbone: DiffusionBackbone) -> int:
    return max(backbone.multiple, *(tap.stride_px for tap in backbone.taps))


def _roll_px(twin: Twin, size_wh: SizeWH, stride: int) -> tuple[int, int]:
    """About a quarter of the picture, in whole strides of the coarsest tap; along x alone."""
    if twin == "flip":
        return 0, 0
    if size_wh[0] < 2 * stride:
        raise BadInput(f"expected a width of at least {2 * stride} px to shift, got {size_wh[0]}")
    return stride * max(1, round(size_wh[0] / 4 / stride)), 0
