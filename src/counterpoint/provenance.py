"""What made a feature map, and what made one of several."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from counterpoint.geometry import SizeWH
from counterpoint.options import Combine


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made a feature map: enough to make it again.

    Attributes:
        model: the model's name.
        weights_sha256: of the weights' files ("" for models without weights).
        tap: where in the network.
        timesteps: diffusion time steps, one or several; empty for models without noise.
        prompt: the text condition.
        seed: of the noise.
        ensemble: draws averaged.
        noise: "" where noise of the time steps was added to the picture, or where the model sees
            none; "zero" and "none" as in `Options`; "sampler ..." where the features were met
            while the picture was generated.
        combine: how several taps or time steps became one map.
        parts: of a fusion of several models, what made each.
        fit: how the picture was brought to the input's size.
        size_wh: the input's size that was asked for; None where pictures keep theirs.
        dtype: of the network.
        picture_sha256: of the picture's pixels (`Picture.content_hash`).
        version: counterpoint's.
    """

    model: str
    weights_sha256: str = ""
    tap: str = ""
    timesteps: tuple[int, ...] = ()
    prompt: str = ""
    seed: int = 0
    ensemble: int = 1
    noise: str = ""
    combine: str = "concat"
    parts: tuple["Provenance", ...] = ()
    fit: str = "squash"
    size_wh: SizeWH | None = None
    dtype: str = "float32"
    picture_sha256: str = ""
    version: str = ""

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> "Provenance":
        """Back from `dataclasses.asdict` by way of JSON; entries of later versions are left out."""
        known = {f.name for f in fields(cls)}
        found = {name: value for name, value in entries.items() if name in known}
        for name in ("timesteps", "size_wh"):  # JSON has no tuples
            if found.get(name) is not None:
                found[name] = tuple(found[name])
        found["parts"] = tuple(cls.from_dict(part) for part in found.get("parts", ()))
        return cls(**found)

    def without_picture(self) -> "Provenance":
        """That of any picture's features by the same model and options."""
        parts = tuple(part.without_picture() for part in self.parts)
        return replace(self, picture_sha256="", parts=parts)

    def fused_with(self, other: "Provenance", weight: float) -> "Provenance":
        """That of this map concatenated with another of the same picture; see `concat`."""
        fused = replace(
            self,
            model=_both(self.model, other.model),
            weights_sha256=_both(self.weights_sha256, other.weights_sha256),
            tap=f"{self.tap}+{other.tap}" + ("" if weight == 0.5 else f"@{weight:g}"),
            timesteps=tuple(dict.fromkeys(self.timesteps + other.timesteps)),
        )
        if self.model == other.model:
            return fused
        return replace(fused, parts=(*(self.parts or (self,)), *(other.parts or (other,))))


def join_provenance(notes: Sequence[Provenance], combine: Combine = "concat") -> Provenance:
    """That of `join`'s result, given those of its maps; they differ in tap and time steps alone."""
    taps = "+".join(dict.fromkeys(note.tap for note in notes))
    steps = tuple(dict.fromkeys(step for note in notes for step in note.timesteps))
    columns = zip(*(note.parts for note in notes), strict=True)
    parts = tuple(join_provenance(column, combine) for column in columns)
    return replace(notes[0], tap=taps, timesteps=steps, combine=combine, parts=parts)


def _both(mine: str, theirs: str) -> str:
    return mine if mine == theirs else f"{mine}+{theirs}"
