"""`counterpoint ladder`: what each way to more accuracy without training gives on a data set."""

import json as json_format
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from counterpoint.cli.bench.courses import Name, Selected, read_quiz
from counterpoint.cli.bench.parameters import Flag
from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    console,
    open_model,
    output_folder,
    print_json,
    print_tables,
)
from counterpoint.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from counterpoint.backbones.base import Backbone
    from counterpoint.benchmarks.accuracy.calibrate import TrustReport
    from counterpoint.benchmarks.accuracy.ladder import Ladder
    from counterpoint.benchmarks.accuracy.rungs import Steps
    from counterpoint.benchmarks.keypoints.asked import Quiz
    from counterpoint.options import Options


def ladder(
    name: Name,
    /,
    *,
    selection: Selected,
    protocol: str | None = None,
    steps: str | None = None,
    layers: str | None = None,
    draws: int = 8,
    fuse: str | None = None,
    max_cycle: float = 0.05,
    members: int = 0,
    calibration: Path | None = None,
    memory: float = 2,
    out: Path | None = None,
    json: Annotated[bool, Flag] = False,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Climb from the plain argmax: each rung's PCK on the same pairs, and how far confidence holds.

    Rungs: the argmax; two window soft-argmaxes; only mutual matches; only those whose way back ends
    near; the better of the target and its mirror image; several time steps; several layers; an
    ensemble; another model joined in (--fuse); all together. Then the confidence of the plain
    matches: reliability, risk and coverage, and points that the target does not show.

    Parameters
    ----------
    name
        The data set: cub (bird crops), spair, willow, pascal, ap10k.
    protocol
        Says when a point is right; by default the first that papers use for the data set.
    steps
        Time steps of the rung that fuses several, such as 20+50+80; by default 0.4, 1 and 1.6
        times the model's own.
    layers
        Taps of the rung that fuses several, such as up:0+up:1; by default the model's own and the
        block before.
    draws
        Of noise, of the ensemble's rung.
    fuse
        Another model that joins in, such as dinov2-vitb14 or dinov2-vitb14@0.3.
    max_cycle
        Of the rung that filters by the way back, as a share of the source picture's longer side.
    members
        Single draws of noise whose disagreement counts as evidence for confidence.
    calibration
        Of confidence, a file of `counterpoint calibrate`; by default the package's own, where it
        has one for these very features.
    memory
        GiB for feature maps that wait for their next pair.
    out
        A folder for tables, numbers and charts; finished rungs found there are not run again.
    json
        Print JSON instead of tables.
    """
    from counterpoint.benchmarks.accuracy.ladder import run_ladder
    from counterpoint.benchmarks.accuracy.rungs import plan

    if not memory > 0 or not max_cycle > 0 or draws < 1 or members < 0:
        raise BadInput(
            "expected --memory and --max-cycle above 0, --draws of at least 1 and --members of at "
            f"least 0, got {memory}, {max_cycle}, {draws} and {members}"
        )
    quiz = read_quiz(
        name,
        selection,
        half=selection.half,
        split=selection.split,
        seed=options.seed,
        protocol=protocol,
    )
    place = output_folder(out) if out else None
    backbone = open_model(options)
    settings, rungs = plan(
        backbone, options, _steps(backbone, options, steps, layers, draws, fuse, max_cycle)
    )
    trust = _Trust(quiz, backbone, options, members, calibration)
    with console(quiet=json).status("reading") as status:
        climbed = run_ladder(
            quiz,
            settings,
            rungs,
            out=place,
            cache_bytes=round(memory * 2**30),
            seed=options.seed,
            tell=status.update,
        )
        trusted = trust.report(status.update)
    written = _write(climbed, trusted, place) if place else []
    _show(climbed, trusted, written, as_json=json)
    return 0


def _steps(
    backbone: "Backbone",
    options: "Options",
    steps: str | None,
    layers: str | None,
    draws: int,
    fuse: str | None,
    max_cycle: float,
) -> "Steps":
    from counterpoint.backbones import load
    from counterpoint.benchmarks.accuracy.rungs import Steps
    from counterpoint.benchmarks.taps import require_taps
    from counterpoint.options import Options as Parsed

    if layers is not None:
        require_taps(backbone, [layers])
    joined = f"{backbone.spec.name}+{fuse}" if fuse else None
    return Steps(
        timesteps=None if steps is None else Parsed(t=steps).timesteps,
        taps=layers,
        ensemble=draws,
        fuse=load(joined, device=options.device, dtype=options.dtype) if joined else None,
        max_cycle=max_cycle,
    )


class _Trust:
    """What confidence is worth; a calibration is read before the long work begins.

    Raises:
        BadInput: a calibration that is missing, or that needs what is not asked for.
    """

    def __init__(
        self,
        quiz: "Quiz",
        backbone: "Backbone",
        options: "Options",
        members: int,
        file: Path | None,
    ) -> None:
        from counterpoint.benchmarks.accuracy.calibrate import Matching, require_for
        from counterpoint.benchmarks.accuracy.gallery import Gallery
        from counterpoint.matching import Calibration

        self._quiz, self._seed = quiz, options.seed
        self._matching = Matching(Gallery(backbone, options, quiz.course, members=members))
        self._given = Calibration.load(file) if file else None
        if self._given is not None:
            require_for(self._given, self._matching)

    def report(self, update: Callable[[str], None]) -> "TrustReport":
        """Every pair matched and judged."""
        from counterpoint.benchmarks.accuracy.calibrate import judge, shipped_for, trust_report

        quiz, matching = self._quiz, self._matching
        judged = judge(quiz, matching, lambda done, of: update(f"confidence: {done} of {of} pairs"))
        fitted = self._given or shipped_for(judged, matching)
        return trust_report(quiz, judged, matching, fitted, seed=self._seed)


def _write(climbed: "Ladder", trusted: "TrustReport", place: Path) -> list[Path]:
    from counterpoint.benchmarks.accuracy.ladder import draw_ladder, ladder_tables
    from counterpoint.cli.bench.calibrate import draw_and_write
    from counterpoint.files import write_text

    text = json_format.dumps(climbed.to_dict(), indent=2, allow_nan=False) + "\n"
    write_text(place / "ladder.json", text)
    parts = [f"{climbed.title}\n", *(table.markdown() for table in ladder_tables(climbed))]
    write_text(place / "ladder.md", "\n".join(parts))
    written = [place / "ladder.json", place / "ladder.md"]
    with suppress(MissingExtra):  # the confidence's charts say so
        written.append(draw_ladder(climbed, place / "ladder.png"))
    return [*written, *draw_and_write(trusted, place)]


def _show(climbed: "Ladder", trusted: "TrustReport", written: list[Path], *, as_json: bool) -> None:
    from counterpoint.benchmarks.accuracy.ladder import ladder_tables

    if as_json:
        paths = [str(path) for path in written]
        print_json({"ladder": climbed.to_dict(), "confidence": trusted.to_dict(), "files": paths})
        return
    print_tables(climbed.title, ladder_tables(climbed))
    print_tables(trusted.title, trusted.tables)
    for path in written:
        console().print(f"wrote {path}")
