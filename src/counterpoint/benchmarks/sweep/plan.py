"""Before a sweep: its settings, and how many forward passes and how much memory they take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.keypoints.course import Course
from counterpoint.benchmarks.keypoints.maps import CACHE_BYTES, needed_by
from counterpoint.benchmarks.keypoints.prompts import takes_prompt
from counterpoint.benchmarks.made_by import BLANK
from counterpoint.benchmarks.sweep.rows import Row, passes_a_row
from counterpoint.benchmarks.taps import blocks, require_taps
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH
from counterpoint.options import Options


@dataclass(frozen=True)
class Grid:
    """Every setting of a sweep.

    Attributes:
        rows: what forward passes depend on.
        taps: where features are read in each, "up:1+up:2" for two joined.
    """

    rows: tuple[Row, ...]
    taps: tuple[str, ...]


def make_grid(
    backbone: Backbone,
    course: Course,
    *,
    timesteps: Sequence[int] = (),
    taps: Sequence[str] = (),
    ensembles: Sequence[int] = (),
    prompts: Sequence[str] = (),
) -> Grid:
    """Every combination; what is not given is the model's own, taps the ends of its blocks.

    Raises:
        UnknownName: no such tap.
        BadInput: a time step or ensemble for a model without noise, a prompt for one without text.
    """
    own = backbone.provenance(BLANK, Options())
    if not own.timesteps and (timesteps or ensembles):
        name = backbone.spec.name
        raise BadInput(f"expected no --t and --ensemble for {name}, which sees no noise")
    if prompts and not takes_prompt(backbone.spec):
        raise BadInput(f"expected no --prompt for {backbone.spec.name}, which takes none")
    steps: Sequence[int | None] = [*timesteps] or [*own.timesteps] or [None]
    usual = course.prompt if course.prompt and takes_prompt(backbone.spec) else own.prompt
    for t in steps:
        for n in ensembles:
            Options(t=t, ensemble=n)  # says what is wrong with them
    rows = [
        Row(t, n, prompt)
        for prompt in prompts or [usual]
        for n in ensembles or [own.ensemble]
        for t in steps
    ]
    names = require_taps(backbone, tuple(taps) or blocks(backbone))
    return Grid(tuple(dict.fromkeys(rows)), tuple(dict.fromkeys(names)))


@dataclass(frozen=True)
class Plan:
    """What a sweep will take, said before it starts.

    Attributes:
        rows: of the grid.
        taps: of each.
        passes: forward passes in all, a batch of one each.
        pictures: of the data set.
        all_bytes: of the maps of every picture at every tap of a row.
        held_bytes: how many of them are kept.
        again: how often a picture goes through the network in a row, on average.
    """

    rows: int
    taps: int
    passes: int
    pictures: int
    all_bytes: int
    held_bytes: int
    again: float

    @property
    def words(self) -> str:
        """In one or two sentences."""
        text = (
            f"{self.rows} rows x {self.taps} taps, {self.pictures} pictures: {self.passes} forward "
            f"passes; the maps of a row take {self.all_bytes / 2**30:.2f} GiB"
        )
        if self.again > 1:
            text += (
                f", of which {self.held_bytes / 2**30:.3g} GiB are held: each picture goes through "
                f"{self.again:.1f} times a row; --memory {ceil(self.all_bytes / 2**30)} would "
                "make it once"
            )
        return text


def plan_sweep(
    backbone: Backbone,
    course: Course,
    grid: Grid,
    options: Options,
    cache_bytes: int = CACHE_BYTES,
) -> Plan:
    """How many forward passes and how much memory, if nothing is done yet."""
    asked = backbone.provenance(BLANK, replace(options, t=None, tap=None)).size_wh
    taps = {tap.name: tap for tap in backbone.taps}

    def picture_bytes(size_wh: SizeWH) -> int:
        w, h = asked or size_wh
        total = 0
        for name in grid.taps:
            parts = [taps[single] for single in name.split("+")]
            cells = max(ceil(w / p.stride_px) * ceil(h / p.stride_px) for p in parts)
            channels = sum(part.channels for part in parts)
            total += 4 * cells * (channels + 64) + 4 * size_wh[0] * size_wh[1]
        return total

    sizes = needed_by(course.dataset.pairs, "")
    passes = passes_a_row(course, picture_bytes, cache_bytes)
    return Plan(
        rows=len(grid.rows),
        taps=len(grid.taps),
        passes=passes * sum(row.ensemble for row in grid.rows),
        pictures=len(sizes),
        all_bytes=sum(picture_bytes(size_wh) for size_wh in sizes.values()),
        held_bytes=cache_bytes,
        again=passes / len(sizes),
    )
