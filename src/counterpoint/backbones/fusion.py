"""Two models as one: "A+B" (SD with DINO and the like; Zhang et al., A Tale of Two Features, 2023).

Each model sees the picture as it does alone. B's features are brought to the finer of the two grids
through geometry, every cell of both is normalised, and they are concatenated with a weight, so the
cosine of the fusion is the weighted mean of both cosines.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from counterpoint.backbones import load_spec
from counterpoint.backbones.base import Backbone, Place, Tap
from counterpoint.backbones.noise import NoiseSource
from counterpoint.backbones.recognise import spec_of
from counterpoint.errors import UnknownName
from counterpoint.features import FeatureMap
from counterpoint.images import ImageLike, Picture
from counterpoint.options import Options
from counterpoint.provenance import Provenance, join_provenance


class Fusion(Backbone):
    """Two models as one.

    A tap is a pair of taps, "up:1,vit:11.key": one of each model. `taps` lists every tap of one
    model beside the other's default. Options that are not given are each model's own: sizes may
    differ.
    """

    members: tuple[Backbone, ...] = ()

    def _build(self, download: bool) -> None:
        first, second = (
            load_spec(spec_of(name), self.device, self.dtype, download=download)
            for name in self.spec.members
        )
        self.members = (first, second)
        self.multiple = math.lcm(first.multiple, second.multiple)
        self._taps = (
            *(_pair(tap, _default(second)) for tap in first.taps),
            *(_pair(_default(first), t) for t in second.taps if t.name != second.spec.tap),
        )

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Pairs of taps; others than those listed serve as well."""
        return self._taps

    @property
    def weights_sha256(self) -> str:
        """Both models' SHA-256, with a plus between."""
        return "+".join(model.weights_sha256 for model in self.members)

    @property
    def micro_batch(self) -> int:
        """Forward passes at a time; the smaller of both models'."""
        return min(model.micro_batch for model in self.members)

    @micro_batch.setter
    def micro_batch(self, value: int) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        for model in self.members:
            model.micro_batch = value

    def stream_grid(
        self,
        pictures: Sequence[ImageLike],
        taps: Sequence[str],
        options: Options | None = None,
        noise: NoiseSource | None = None,
    ) -> Iterator[dict[Place, FeatureMap]]:
        """As `Backbone.stream_grid`; a model without noise gives the same at every time step."""
        options = options or Options()
        pairs = [self._names(tap) for tap in taps]
        columns = [tuple(dict.fromkeys(column)) for column in zip(*pairs, strict=True)]
        streams = [
            model.stream_grid(pictures, names, options, noise)
            for model, names in zip(self.members, columns, strict=True)
        ]
        for first, second in zip(*streams, strict=True):
            yield {
                (t, f"{a},{b}"): self._fuse(first[t_a, a], second[t_b, b])
                for t, t_a, t_b in self._steps(options)
                for a, b in pairs
            }

    def provenance(self, picture: Picture, options: Options) -> Provenance:
        """What `extract` would note for a picture, without running the networks."""
        notes: list[Provenance] = []
        for _, *steps in self._steps(options):
            for tap in (options.tap or self.spec.tap).split("+"):
                parts = [
                    model.provenance(picture, options.but(tap=name, t=t))
                    for model, name, t in zip(self.members, self._names(tap), steps, strict=True)
                ]
                notes.append(self._note(parts[0], parts[1]))
        return join_provenance(notes, options.combine)

    def _steps(self, options: Options) -> list[tuple[int | None, int | None, int | None]]:
        """Every time step asked for: as it is called, and as each model takes it."""
        asked = options.timesteps or (None,)
        a, b = (model.spec.t for model in self.members)
        rows: list[tuple[int | None, int | None, int | None]] = []
        for t in asked:
            mine, theirs = (None if own is None else own if t is None else t for own in (a, b))
            rows.append((theirs if mine is None else mine, mine, theirs))
        return list(dict.fromkeys(rows))

    def _names(self, tap: str) -> tuple[str, str]:
        names = tap.split(",")
        if len(names) != 2:
            raise UnknownName(f"tap of {self.spec.name}", tap, [t.name for t in self.taps])
        for model, name in zip(self.members, names, strict=True):
            known = [t.name for t in model.taps]
            if name not in known:
                raise UnknownName(f"tap of {model.spec.name}", name, known)
        return names[0], names[1]

    def _fuse(self, a: FeatureMap, b: FeatureMap) -> FeatureMap:
        fused = a.concat(b, self.spec.weight)
        return replace(fused, provenance=self._note(a.provenance, b.provenance))

    def _note(self, a: Provenance, b: Provenance) -> Provenance:
        both = a.fused_with(b, self.spec.weight)
        name, tap = self.spec.name, f"{a.tap},{b.tap}"
        ensemble = max(a.ensemble, b.ensemble)
        return replace(both, model=name, tap=tap, ensemble=ensemble, parts=(a, b))


def _default(model: Backbone) -> Tap:
    return next(tap for tap in model.taps if tap.name == model.spec.tap)


def _pair(a: Tap, b: Tap) -> Tap:
    """Both taps as one, on the finer grid (of inputs of one size)."""
    return Tap(f"{a.name},{b.name}", a.channels + b.channels, min(a.stride_px, b.stride_px))
