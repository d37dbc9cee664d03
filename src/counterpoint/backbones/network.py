"""Backbones that run a network: decoding, geometry, batching, ensembles, provenance, checks.

A family implements little more than "input to tap": `CleanBackbone._forward` where it sees the
clean picture, the four methods of `DiffusionBackbone` where it sees noise.
"""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from counterpoint.backbones.base import Backbone, Place, check_t, library_version
from counterpoint.backbones.noise import KeyedNoise, NoiseSource
from counterpoint.errors import ModelError, UnknownName
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform, SizeWH
from counterpoint.images import (
    FittedPicture,
    ImageLike,
    Picture,
    fit_picture,
    load_picture,
    to_unit_floats,
)
from counterpoint.options import Combine, Fit, Noise, Options
from counterpoint.provenance import Provenance

log = logging.getLogger(__name__)

T = TypeVar("T")

Taps = dict[str, Tensor]
"""Features by tap, each (batch, channels, rows, columns)."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Options with every default filled in.

    Attributes:
        timesteps: in the order asked for; (None,) for models that see no noise.
        taps: names of single taps to read, in one pass.
        ensemble: draws averaged.
        noise: what the network is shown, as in `Options`.
        combine: how several maps of one picture become one.
        prompt: text condition.
        size_wh: model input, pixels; not used by "keep".
        fit: how pictures are brought to it.
        seed: of the noise.
    """

    timesteps: tuple[int | None, ...]
    taps: tuple[str, ...]
    ensemble: int
    noise: Noise
    combine: Combine
    prompt: str
    size_wh: SizeWH
    fit: Fit
    seed: int


@dataclass(frozen=True)
class Batch:
    """Pictures of one input size, on the model's device.

    Attributes:
        pixels: (batch, 3, rows, columns), float32, 0 to 1.
        hashes: each picture's content hash.
    """

    pixels: Float[Tensor, "batch 3 rows columns"]
    hashes: tuple[str, ...]


class NetworkBackbone(Backbone):
    """A backbone that runs one network on batches of prepared pictures."""

    @abstractmethod
    def _features(self, batch: Batch, setting: Setting, noise: NoiseSource) -> dict[Place, Tensor]:
        """Features at every place of the setting, each (batch, channels, rows, columns)."""

    def stream_grid(
        self,
        pictures: Sequence[ImageLike],
        taps: Sequence[str],
        options: Options | None = None,
        noise: NoiseSource | None = None,
    ) -> Iterator[dict[Place, FeatureMap]]:
        """As `Backbone.stream_grid`, with only a batch of pictures in memory."""
        setting = self._setting(options or Options(), taps)
        noise = noise or KeyedNoise(setting.seed)
        group = max(1, self.micro_batch // setting.ensemble)
        for start in range(0, len(pictures), group):
            loaded = [load_picture(p) for p in pictures[start : start + group]]
            yield from self._maps(loaded, setting, noise)

    def provenance(self, picture: Picture, options: Options) -> Provenance:
        """What `extract` would note for a picture, without running the network."""
        setting = self._setting(options, (options.tap or self.spec.tap).split("+"))
        return self._provenance(setting, "+".join(setting.taps), setting.timesteps, picture)

    def _setting(self, options: Options, taps: Sequence[str]) -> Setting:
        known = [tap.name for tap in self.taps]
        for name in taps:
            if name not in known:
                raise UnknownName(f"tap of {self.spec.name}", name, known)
        spec = self.spec
        steps = options.timesteps or (spec.t,)
        drawn = spec.t is not None and options.noise == "added"
        return Setting(
            timesteps=(None,) if spec.t is None else steps,
            taps=tuple(dict.fromkeys(taps)),
            ensemble=(options.ensemble or spec.ensemble) if drawn else 1,
            noise=options.noise if spec.t is not None else "added",
            combine=options.combine,
            prompt=spec.prompt if options.prompt is None else options.prompt,
            size_wh=options.size_wh or spec.size_wh,
            fit=options.fit or spec.fit,
            seed=options.seed,
        )

    def _maps(
        self, pictures: list[Picture], setting: Setting, noise: NoiseSource
    ) -> Iterator[dict[Place, FeatureMap]]:
        fitted = [fit_picture(p, setting.size_wh, setting.fit, self.multiple) for p in pictures]
        for run in _runs_of_one_size(fitted):
            pixels = np.stack([to_unit_floats(fitted[i].rgb) for i in run])
            hashes = tuple(pictures[i].content_hash for i in run)
            batch = Batch(torch.from_numpy(pixels).to(self.device), hashes)
            with torch.inference_mode():
                features = self._features(batch, setting, noise)
            places = [(t, tap) for t in setting.timesteps for tap in setting.taps]
            for row, i in enumerate(run):
                yield {
                    place: self._map(features[place][row], place, pictures[i], fitted[i], setting)
                    for place in places
                }

    def _in_chunks(
        self, jobs: Sequence[T], run: Callable[[Sequence[T]], Taps]
    ) -> Iterator[tuple[Sequence[T], Taps]]:
        """Run jobs ``micro_batch`` at a time; when memory runs out, again in smaller chunks."""
        while jobs:
            now = jobs[: self.micro_batch]
            try:
                found = run(now)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                self._shrink()
                continue
            yield now, found
            jobs = jobs[len(now) :]

    def _shrink(self) -> None:
        if self.micro_batch == 1:
            raise ModelError(
                f"out of memory on {self.device} with one picture at a time; "
                "try a smaller --size or --dtype bfloat16"
            ) from None
        self.micro_batch //= 2
        log.warning("out of memory: going on with %d forward passes at a time", self.micro_batch)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _map(
        self,
        values: Tensor,
        place: Place,
        picture: Picture,
        fitted: FittedPicture,
        setting: Setting,
    ) -> FeatureMap:
        t, tap = place
        if not torch.isfinite(values).all():
            raise ModelError(
                f"{self.spec.name} gave NaN or infinity at {tap} in {self.dtype_name}; "
                "try --dtype float32 or bfloat16"
            )
        input_wh = (fitted.rgb.shape[1], fitted.rgb.shape[0])
        grid_wh = (values.shape[2], values.shape[1])
        provenance = self._provenance(setting, tap, (t,), picture)
        # A copy: a view would keep the whole batch's memory alive.
        return FeatureMap(
            values.to(self.dtype).clone(),
            picture.size_wh,
            input_wh,
            fitted.to_input,
            _valid_cells(fitted.valid, input_wh, grid_wh),
            provenance,
        )

    def _provenance(
        self, setting: Setting, tap: str, timesteps: tuple[int | None, ...], picture: Picture
    ) -> Provenance:
        return Provenance(
            model=self.spec.name,
            weights_sha256=self.weights_sha256,
            tap=tap,
            timesteps=tuple(t for t in timesteps if t is not None),
            prompt=setting.prompt,
            seed=setting.seed,
            ensemble=setting.ensemble,
            noise="" if setting.noise == "added" else setting.noise,
            combine=setting.combine,
            fit=setting.fit,
            size_wh=None if setting.fit == "keep" else setting.size_wh,
            dtype=self.dtype_name,
            picture_sha256=picture.content_hash,
            version=library_version(),
        )


class CleanBackbone(NetworkBackbone):
    """A backbone that sees pictures without noise."""

    @abstractmethod
    def _forward(self, batch: Batch, setting: Setting) -> Taps:
        """Features of a batch at every tap of the setting."""

    def _features(
        self,
        batch: Batch,
        setting: Setting,
        noise: NoiseSource,  # noqa: ARG002
    ) -> dict[Place, Tensor]:
        def run(rows: Sequence[int]) -> Taps:
            part = slice(rows[0], rows[-1] + 1)
            return self._forward(Batch(batch.pixels[part], batch.hashes[part]), setting)

        chunks = [taps for _, taps in self._in_chunks(range(len(batch.hashes)), run)]
        return {(None, tap): torch.cat([taps[tap] for taps in chunks]) for tap in setting.taps}


class DiffusionBackbone(NetworkBackbone):
    """A backbone that adds noise to the picture first: equation 2 of the DIFT paper."""

    @abstractmethod
    def _encode(self, pixels: Float[Tensor, "batch 3 rows columns"]) -> "Posterior":
        """From pixels in -1 to 1 to the space the network works in, once a picture."""

    @abstractmethod
    def _add_noise(self, clean: Tensor, noise: Tensor, t: int) -> Tensor:
        """The forward diffusion: ``sqrt(abar_t) * clean + sqrt(1 - abar_t) * noise``."""

    @abstractmethod
    def _denoise(self, noisy: Tensor, t: int, prompt: str, taps: tuple[str, ...]) -> Taps:
        """One pass of the network, up to the last tap and no further."""

    @abstractmethod
    def decode(
        self, state: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """From the network's space back to pixels in -1 to 1."""

    def _whole_pass(
        self,
        noisy: Tensor,  # noqa: ARG002
        t: int,  # noqa: ARG002
        prompt: str,  # noqa: ARG002
        taps: tuple[str, ...],  # noqa: ARG002
    ) -> tuple[Taps, Tensor]:
        """One pass to the network's end: what taps gave on the way, and its estimate of x_0.

        Families that can generate pictures (`counterpoint.backbones.sampling`) say how.
        """
        raise ModelError(f"{self.spec.name} cannot generate pictures here; small, sd21 and adm can")

    @property
    def generates(self) -> bool:
        """Whether this family can generate pictures here."""
        return type(self)._whole_pass is not DiffusionBackbone._whole_pass

    @property
    def native_wh(self) -> SizeWH:
        """The size of the pictures that the network was trained to make, pixels."""
        return self.spec.size_wh

    def shown(self, state: Float[Tensor, "channels rows columns"], name: str) -> Picture:
        """A state of the network's space as a picture of 8 bits."""
        rgb = self.decode(state[None])[0].float().clamp(-1, 1) * 127.5 + 127.5
        return Picture(rgb.round().byte().permute(1, 2, 0).cpu().numpy(), name)

    def noisy(
        self, picture: ImageLike, timesteps: Sequence[int], options: Options | None = None
    ) -> list[Picture]:
        """What the network sees of a picture at each time step, as pictures of the input's size.

        Latent models' noisy latents are decoded by the VAE (figure 9 of the DIFT paper).
        """
        setting = self._setting(options or Options(), ())
        noise = KeyedNoise(setting.seed)
        loaded = load_picture(picture)
        fitted = fit_picture(loaded, setting.size_wh, setting.fit, self.multiple)
        pixels = torch.from_numpy(to_unit_floats(fitted.rgb))[None].to(self.device)
        seen: list[Picture] = []
        with torch.inference_mode():
            posterior = self._encode((pixels * 2 - 1).to(self.dtype))
            for t in timesteps:
                member = (0, loaded.content_hash, 0)
                state = self._draw(posterior, *member, check_t(t), noise, setting.noise)
                seen.append(self.shown(state, f"t = {t}"))
        return seen

    def _features(self, batch: Batch, setting: Setting, noise: NoiseSource) -> dict[Place, Tensor]:
        posterior = self._encode((batch.pixels * 2 - 1).to(self.dtype))
        means: dict[Place, Tensor] = {}
        for t in setting.timesteps:
            assert t is not None
            for tap, values in self._means(posterior, batch, t, setting, noise).items():
                means[t, tap] = values
        return means

    def _means(
        self, posterior: "Posterior", batch: Batch, t: int, setting: Setting, noise: NoiseSource
    ) -> Taps:
        """Features at one time step, averaged over the ensemble."""
        jobs = [(i, m) for m in range(setting.ensemble) for i in range(len(batch.hashes))]

        def run(now: Sequence[tuple[int, int]]) -> Taps:
            states = [
                self._draw(posterior, i, batch.hashes[i], m, t, noise, setting.noise)
                for i, m in now
            ]
            return self._denoise(torch.stack(states), t, setting.prompt, setting.taps)

        mean: Taps = {}
        for now, found in self._in_chunks(jobs, run):
            for tap, values in found.items():
                _add_to_mean(mean, tap, values, [i for i, _ in now], len(batch.hashes), setting)
        return mean

    def _draw(
        self,
        posterior: "Posterior",
        i: int,
        sha256: str,
        member: int,
        t: int,
        noise: NoiseSource,
        shown: Noise,
    ) -> Tensor:
        """The state of picture ``i`` that the network is shown, for one ensemble member."""
        clean = posterior.mean[i]
        if shown != "added":
            clean = clean * posterior.scale
            return clean if shown == "none" else self._add_noise(clean, torch.zeros_like(clean), t)
        if posterior.std is not None:
            eps = noise.draw("posterior", sha256, member, clean.shape)
            clean = clean + posterior.std[i] * eps.to(clean)
        clean = clean * posterior.scale
        eps = noise.draw("diffusion", sha256, member, clean.shape)
        return self._add_noise(clean, eps.to(clean), t)


@dataclass(frozen=True)
class Posterior:
    """The clean state of pictures before any noise.

    Attributes:
        mean: (batch, channels, rows, columns).
        std: of the VAE's posterior, the same shape; None in pixel space.
        scale: what the drawn state is multiplied by (the VAE's scaling factor).
    """

    mean: Float[Tensor, "batch channels rows columns"]
    std: Float[Tensor, "batch channels rows columns"] | None = None
    scale: float = 1.0


def _add_to_mean(
    mean: Taps, tap: str, values: Tensor, rows: list[int], batch: int, setting: Setting
) -> None:
    """Add ensemble members to a running mean, in float32, so memory does not grow with them."""
    if tap not in mean:
        mean[tap] = values.new_zeros((batch, *values.shape[1:]), dtype=torch.float32)
    index = torch.tensor(rows, device=values.device)
    mean[tap].index_add_(0, index, values.float(), alpha=1 / setting.ensemble)


def _runs_of_one_size(fitted: list[FittedPicture]) -> Iterator[list[int]]:
    """Indices of neighbouring pictures whose inputs have one size."""
    run: list[int] = []
    for i, picture in enumerate(fitted):
        if run and picture.rgb.shape != fitted[run[-1]].rgb.shape:
            yield run
            run = []
        run.append(i)
    if run:
        yield run


def _valid_cells(
    valid: Bool[np.ndarray, "rows columns"] | None, input_wh: SizeWH, grid_wh: SizeWH
) -> Bool[Tensor, "grid_rows grid_columns"] | None:
    """Which cells have their centre on the picture, given which input pixels are.

    Padding lies right and below. The first row and column always count: a picture may be smaller
    than half a cell.
    """
    if valid is None:
        return None
    ends = np.repeat(np.arange(max(grid_wh)), 2).reshape(-1, 2)
    centres = PixelTransform.resize(grid_wh, input_wh).apply(ends).round().astype(int)
    columns, rows = valid[0][centres[: grid_wh[0], 0]], valid[:, 0][centres[: grid_wh[1], 1]]
    columns[0] = rows[0] = True
    return torch.from_numpy(rows[:, None] & columns)


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether an error is any device's way to say that memory is short."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return "out of memory" in str(error) or "can't allocate memory" in str(error)
