"""What a sweep found: a cell a setting, arranged to be read and kept."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from counterpoint.benchmarks.datasets.keypoints import plain
from counterpoint.benchmarks.metrics import Estimate
from counterpoint.benchmarks.sweep.rows import Row
from counterpoint.benchmarks.tables import Cells
from counterpoint.files import write_text

FORMAT = "counterpoint/sweep/1"


@dataclass(frozen=True)
class Cell:
    """The score of one setting, in per cent.

    Attributes:
        t: time step; None: no noise.
        tap: where features were read.
        ensemble: draws averaged.
        prompt: text condition.
        pairs: scored; fewer than the sweep's where dropped.
        points: of these.
        per_point: correct points over all (micro).
        per_image: mean over pairs.
        macro: mean over categories.
        dropped: given up after a few pairs, see `counterpoint.benchmarks.sweep.search`.
    """

    t: int | None
    tap: str
    ensemble: int
    prompt: str
    pairs: int
    points: int
    per_point: Estimate
    per_image: Estimate
    macro: Estimate
    dropped: bool


@dataclass(frozen=True)
class Sweep:
    """The result.

    Attributes:
        dataset: its name.
        protocol: its name.
        rule: when a point is correct.
        alpha: threshold.
        model: whose features.
        weights_sha256: of the model's weights.
        pairs: asked for.
        points: over all pairs.
        pictures: that occur in pairs.
        pairs_sha256: fingerprint of the list of pairs.
        seed: of the noise and the intervals.
        drop_after: pairs after which hopeless cells were dropped; None: none was.
        version: counterpoint's.
        cells: every one of the grid, rows first.
        settings: what was the same in all of them.
    """

    dataset: str
    protocol: str
    rule: str
    alpha: float
    model: str
    weights_sha256: str
    pairs: int
    points: int
    pictures: int
    pairs_sha256: str
    seed: int
    drop_after: int | None
    version: str
    cells: tuple[Cell, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return {"format": FORMAT, **plain(asdict(self))}

    @property
    def best(self) -> Cell:
        """The cell with the highest figure per point, of those that were not dropped."""
        return max((c for c in self.cells if not c.dropped), key=lambda c: c.per_point.value)

    @property
    def title(self) -> str:
        """One line that says what the figures are."""
        return (
            f"{self.model} on {self.dataset}: PCK@{self.alpha:g}, protocol {self.protocol} "
            f"({self.rule}), per point, in per cent ± half its 95 % interval; {self.pairs} pairs, "
            f"{self.points} points, {self.pictures} pictures, seed {self.seed}"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the table needs to know beside it."""
        best, dropped = self.best, sum(cell.dropped for cell in self.cells)
        setting = Row(best.t, best.ensemble, best.prompt).words
        found = [
            f"Best of {len(self.cells)} settings: {best.tap}, {setting}: {figure(best)}. Chosen "
            "on these very pairs: to report it, score it on others."
        ]
        if dropped:
            found.append(
                f"{MARK} {dropped} settings dropped after {self.drop_after} pairs, of which these "
                "figures are: their interval lay below the best one's."
            )
        return tuple(found)


MARK = "(dropped)"
"""Stands beside the figure of a cell that was dropped."""


def figure(cell: Cell) -> str:
    """A cell's figure with its interval, and its mark."""
    return cell.per_point.shown() + (f" {MARK}" if cell.dropped else "")


def cells(sweep: Sweep) -> Cells:
    """The figures, taps down and time steps across."""
    steps = list(dict.fromkeys(cell.t for cell in sweep.cells))
    lines: dict[tuple[str, str, str], dict[int | None, str]] = {}
    for cell in sweep.cells:
        key = (cell.tap, str(cell.ensemble), cell.prompt)
        lines.setdefault(key, {})[cell.t] = figure(cell)
    header = ("tap", "ensemble", "prompt", *(_step(t) for t in steps))
    rows = tuple((*key, *(line.get(t, "") for t in steps)) for key, line in lines.items())
    return Cells(header, rows)


def markdown(sweep: Sweep, pictures: Sequence[str] = ()) -> str:
    """The result as a page; ``pictures`` are figures' file names beside it."""
    parts = [sweep.title, cells(sweep).markdown().strip(), *sweep.notes]
    parts += [f"![{Path(name).stem}]({name})" for name in pictures]
    return "\n\n".join(parts) + "\n"


def write_sweep(sweep: Sweep, out: Path, pictures: Sequence[str] = ()) -> tuple[Path, ...]:
    """Write ``sweep.json`` and ``sweep.md``."""
    paths = out / "sweep.json", out / "sweep.md"
    write_text(paths[0], json.dumps(sweep.to_dict(), indent=2, allow_nan=False) + "\n")
    write_text(paths[1], markdown(sweep, pictures))
    return paths


def _step(t: int | None) -> str:
    return "no noise" if t is None else f"t={t}"
