"""The rungs of a ladder: one way to match each, what it is made of, and its counts on disk."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.accuracy.gallery import Gallery, Views
from counterpoint.benchmarks.keypoints.asked import Asked, Quiz
from counterpoint.benchmarks.keypoints.report import slug
from counterpoint.benchmarks.metrics import PCK
from counterpoint.benchmarks.taps import blocks
from counterpoint.errors import StorageError
from counterpoint.files import write_text
from counterpoint.matching import (
    Criterion,
    Matches,
    PreparedMap,
    Subpixel,
    align_target,
    match,
    swap_sides,
)
from counterpoint.options import TIMESTEPS, Options

FORMAT = "counterpoint/ladder-rung/1"

PLAIN = "argmax"
"""The rung that the others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way to match.

    Attributes:
        name: for the table.
        setting: which features, by the name of their `Setting`.
        subpixel: as `match` takes it.
        max_cycle: only matches whose way back ends within this share of the source picture's
            longer side; 0: within a cell of the grid (mutual); None: all.
        flip: by what a target may be mirrored; None: never.
    """

    name: str
    setting: str = "plain"
    subpixel: Subpixel = "argmax"
    max_cycle: float | None = None
    flip: Criterion | None = None


@dataclass(frozen=True, eq=False)
class Setting:
    """Which features are compared.

    Attributes:
        name: that rungs refer to.
        backbone: the model.
        options: of its features.
    """

    name: str
    backbone: Backbone
    options: Options

    @property
    def words(self) -> str:
        """What a person would type."""
        given = self.options
        default = self.backbone.spec
        tap = given.tap or default.tap
        steps = given.timesteps or (() if default.t is None else (default.t,))
        noise = f", t {'+'.join(map(str, steps))}" if default.t is not None else ""
        draws = given.ensemble or default.ensemble
        many = f", ensemble {draws}" if default.t is not None and draws > 1 else ""
        return f"{default.name}, {tap}{noise}{many}"


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What the rungs beyond the plain features are made of. None: a choice by the model.

    Attributes:
        timesteps: fused, such as (20, 50, 80); by default 0.4, 1 and 1.6 times the model's own.
        taps: fused, such as "up:0+up:1"; by default the model's own and the block before.
        ensemble: draws of noise averaged.
        fuse: another model that joins in (`load` of "MODEL+OTHER"); None: no such rung.
        max_cycle: of the cycle rung, as a share of the source picture's longer side.
    """

    timesteps: tuple[int, ...] | None = None
    taps: str | None = None
    ensemble: int = 8
    fuse: Backbone | None = None
    max_cycle: float = 0.05


def plan(
    backbone: Backbone, options: Options, steps: Steps | None = None
) -> tuple[tuple[Setting, ...], tuple[Rung, ...]]:
    """The settings and the rungs of a model's ladder; what the model cannot do is left out."""
    steps = steps or Steps()
    settings = [Setting("plain", backbone, options)]
    rungs = [
        Rung(name=PLAIN),
        Rung(name="window soft-argmax", subpixel="window"),
        Rung(name="grid-window soft-argmax", subpixel="grid-window"),
        Rung(name="mutual only", max_cycle=0.0),
        Rung(name=f"way back within {steps.max_cycle:g}", max_cycle=steps.max_cycle),
        Rung(name="flip, by similarity", flip="similarity"),
        Rung(name="flip, by mutual cells", flip="mutual"),
    ]
    best = options
    for name, better in _finer(backbone, options, steps):
        settings.append(Setting(name, backbone, better))
        rungs.append(Rung(name=name, setting=name))
        best = replace(best, t=better.t, tap=better.tap) if name != "ensemble" else best
    if steps.fuse is not None:
        settings.append(Setting("fusion", steps.fuse, _of_fusion(options, steps.fuse)))
        rungs.append(Rung(name="fusion", setting="fusion"))
    together = _together(settings, options)
    settings.append(together)
    rungs.append(Rung(name="all together", setting=together.name, subpixel="window", flip="mutual"))
    return tuple(settings), tuple(rungs)


def _finer(backbone: Backbone, options: Options, steps: Steps) -> Iterator[tuple[str, Options]]:
    own = backbone.spec.t
    if own is not None:
        base = options.timesteps[0] if options.timesteps else own
        several = steps.timesteps or tuple(round(f * base) for f in (0.4, 1, 1.6))
        several = tuple(dict.fromkeys(min(t, TIMESTEPS - 1) for t in several))
        if len(several) > 1:
            yield "several time steps", replace(options, t=several)
    taps = steps.taps or _two_taps(backbone, options)
    if taps and "+" in taps:
        yield "several layers", replace(options, tap=taps)
    if own is not None and steps.ensemble > (options.ensemble or backbone.spec.ensemble):
        yield "ensemble", replace(options, ensemble=steps.ensemble)


def _two_taps(backbone: Backbone, options: Options) -> str | None:
    """The model's own tap and the block before it."""
    own = options.tap or backbone.spec.tap
    names = list(blocks(backbone))
    if own not in names or names.index(own) == 0:
        return None
    return f"{names[names.index(own) - 1]}+{own}"


def _of_fusion(options: Options, fuse: Backbone) -> Options:
    """A model's options with another model joined in, which is read at its own tap."""
    if options.tap is None:
        return options
    other = fuse.spec.tap.rpartition(",")[2]
    return replace(options, tap="+".join(f"{tap},{other}" for tap in options.tap.split("+")))


def _together(settings: Sequence[Setting], options: Options) -> Setting:
    """Every finer feature at once: the fusion's model where there is one."""
    by_name = {one.name: one for one in settings}
    chosen = options
    for name, field in (("several time steps", "t"), ("several layers", "tap")):
        if name in by_name:
            chosen = replace(chosen, **{field: getattr(by_name[name].options, field)})
    if "ensemble" in by_name:
        chosen = replace(chosen, ensemble=by_name["ensemble"].options.ensemble)
    fused = by_name.get("fusion")
    if fused is not None:
        return Setting("all", fused.backbone, _of_fusion(chosen, fused.backbone))
    return Setting("all", settings[0].backbone, chosen)


@dataclass(frozen=True)
class RungCounts:
    """What a rung found, pair by pair, in the data set's order.

    Attributes:
        points: asked for.
        kept: of these.
        correct: of those kept, by threshold.
        flipped: pairs whose target was mirrored.
        match_seconds: of matching, all pairs together.
        picture_seconds: of a picture's features, on the average.
    """

    points: tuple[int, ...]
    kept: tuple[int, ...]
    correct: dict[str, tuple[int, ...]]
    flipped: int
    match_seconds: float
    picture_seconds: float

    def pck(self, alpha: float) -> PCK:
        """Counts of kept points, of the pairs that have any."""
        rows = zip(self.correct[f"{alpha:g}"], self.kept, strict=True)
        some = [(correct, kept) for correct, kept in rows if kept]
        correct, kept = zip(*some, strict=True) if some else ((), ())
        return PCK(alpha, False, tuple(correct), tuple(kept))


class Tally:
    """A rung at work: counts by pair."""

    def __init__(self, rung: Rung, alphas: Sequence[float]) -> None:
        self.rung = rung
        self.alphas = alphas
        self.seconds = 0.0
        self.flipped = 0
        self._rows: dict[str, tuple[int, int, tuple[int, ...]]] = {}

    def take(self, asked: Asked, views: Views, quiz: Quiz) -> None:
        """Match one pair's points and count."""
        start = time.perf_counter()
        matches, kept, flip = find(self.rung, asked, views)
        self.seconds += time.perf_counter() - start
        self.flipped += flip
        protocol = quiz.course.protocol
        found = [protocol.correct(asked.pair, matches.target_px, a) for a in self.alphas]
        correct = tuple(int((hit & kept).sum()) for hit in found)
        self._rows[asked.pair.id] = len(kept), int(kept.sum()), correct

    def counts(self, ids: Sequence[str], picture_seconds: float) -> RungCounts:
        """All counts, pairs in the order of their ids."""
        rows = [self._rows[identity] for identity in ids]
        correct = {
            f"{alpha:g}": tuple(row[2][i] for row in rows) for i, alpha in enumerate(self.alphas)
        }
        points, kept = tuple(row[0] for row in rows), tuple(row[1] for row in rows)
        return RungCounts(points, kept, correct, self.flipped, self.seconds, picture_seconds)


def find(rung: Rung, asked: Asked, views: Views) -> tuple[Matches, Bool[np.ndarray, " n"], bool]:
    """A rung's matches of the points that both pictures show, which are kept, whether mirrored."""
    target, points_px, flip = views.target, asked.points_px, False
    if rung.flip is not None and views.mirror is not None:
        flip = align_target(views.source, views.target, views.mirror, rung.flip).flip
        if flip:
            target, points_px = views.mirror, swap_sides(points_px, asked.sides)
    count = len(asked.pair.source_px)
    matches = match(
        views.source,
        target,
        points_px[:count],
        subpixel=rung.subpixel,
        margin_radius=None,
        cycle=rung.max_cycle is not None,
        calibration=None,
    )
    return matches, returned(matches, views.source, rung.max_cycle), flip


def returned(
    matches: Matches, source: PreparedMap, max_cycle: float | None
) -> Bool[np.ndarray, " n"]:
    """Which matches lead back to where they came from, as `Rung.max_cycle` says."""
    if max_cycle is None:
        return np.ones(len(matches), dtype=bool)
    cell_px = max(source.stride_px)
    limit_px = max_cycle * max(source.size_wh) if max_cycle else cell_px
    return matches.cycle_px <= limit_px


class RungFile:
    """A finished rung on disk."""

    def __init__(
        self,
        out: Path | None,
        quiz: Quiz,
        gallery: Gallery,
        rung: Rung,
        alphas: Sequence[float],
    ) -> None:
        self.path = out / "rungs" / f"{slug(rung.name)}.json" if out else None
        made_by = asdict(gallery.provenance)
        origin = [
            quiz.course.dataset.fingerprint,
            quiz.course.protocol.name,
            [list(one.sides) for one in quiz.asked.values()],
            made_by,
            asdict(rung),
            list(alphas),
        ]
        text = json.dumps(origin, sort_keys=True, default=str)
        self.origin = hashlib.sha256(text.encode()).hexdigest()

    def read(self) -> RungCounts | None:
        """What an earlier run found in the very same way; None: nothing."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            entries = json.loads(self.path.read_text())
            if (entries["format"], entries["origin"]) != (FORMAT, self.origin):
                return None
            held = entries["counts"]
            correct = {name: tuple(counts) for name, counts in held.pop("correct").items()}
            points, kept = (tuple(held.pop(name)) for name in ("points", "kept"))
            return RungCounts(points, kept, correct, **held)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                f"expected a finished rung at {self.path}, which is damaged; remove it"
            ) from error

    def write(self, counts: RungCounts) -> None:
        """Keep them, where there is a folder."""
        if self.path is not None:
            entries = {"format": FORMAT, "origin": self.origin, "counts": asdict(counts)}
            write_text(self.path, json.dumps(entries) + "\n")
