"""`counterpoint train`: the recipe of the embedded model, live."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from counterpoint.cli.common import console

if TYPE_CHECKING:
    from rich.table import Table

    from counterpoint.training import Report, Score, TrainConfig

_SCORED = ("up:1.layer:3", "up:1.layer:4", "up:1")
"""Taps whose correspondence is watched."""


def train(
    data: Path,
    *,
    out: Path = Path("out/train"),
    preset: str = "small",
    pictures: int | None = None,
    seconds: float | None = None,
    batch: int | None = None,
    rate: float | None = None,
    muon_rate: float | None = None,
    crop_area: float | None = None,
    second_view: Annotated[tuple[int, int] | None, Parameter(negative="")] = None,
    seed: int | None = None,
    init_from: Path | None = None,
    resume: bool = True,
    held_out: Path | None = None,
    held_out_pairs: int = 200,
    score_pictures: int | None = None,
    checkpoint_seconds: float | None = None,
    device: str | None = None,
    compile_network: Annotated[bool | None, Parameter(name="--compile")] = None,
    bf16: bool | None = None,
    threads: int | None = None,
) -> int:
    """Train the embedded model on packed pictures; a stopped run goes on where it was.

    Parameters
    ----------
    data
        The folder with index.json and mosaic_*.jpg.
    out
        Gets checkpoint, weights and curve.
    preset
        The recipe: small; small-gpu (a larger network, for a GPU); mini (seconds long, to try).
    pictures
        How many to see in all; the learning rates fall to zero on the way.
    seconds
        Stop after this time.
    batch
        Pictures a step.
    rate
        AdamW's learning rate.
    muon_rate
        Muon's learning rate.
    crop_area
        The smallest share of a picture that a crop covers, 0 to 1.
    second_view
        Time steps, lowest and highest, of a second crop of each picture, seen together with the
        first.
    seed
        Of everything that is drawn.
    init_from
        Weights to start a new run from, such as the shipped ones.
    resume
        Go on from OUT's checkpoint where there is one.
    held_out
        A folder in CUB-200-2011's layout: watch correspondence on its birds of even index. They are
        not trained on; the others are left for reporting.
    held_out_pairs
        How many pairs of birds.
    score_pictures
        Pictures between held-out scores.
    checkpoint_seconds
        Time between checkpoints.
    device
        cpu or cuda; by default the best there is.
    compile_network
        Compile the network first: takes minutes, then runs faster.
    bf16
        Compute in bfloat16; by default where the processor does.
    threads
        CPU threads.
    """
    from counterpoint import training

    given = {
        "pictures": pictures,
        "seconds": seconds,
        "batch": batch,
        "rate": rate,
        "muon_rate": muon_rate,
        "crop_area": crop_area,
        "second_view": second_view,
        "seed": seed,
        "score_pictures": score_pictures,
        "checkpoint_seconds": checkpoint_seconds,
        "device": device,
        "compile": compile_network,
        "bf16": bf16,
        "threads": threads,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    config = training.preset(preset).but(**changes)
    score = _held_out(held_out, held_out_pairs) if held_out else None
    weights = _run(config, data, out, resume=resume, init_from=init_from, score=score)
    console().print(f"\nwrote {weights}")
    for figure in _figures(weights, data, out):
        console().print(f"wrote {figure}")
    return 0


def _run(config: "TrainConfig", data: Path, out: Path, **options: Any) -> Path:
    from rich.live import Live

    from counterpoint import training

    scored: list[Report] = []
    with Live(console=console(), refresh_per_second=2) as live:

        def show(report: "Report") -> None:
            if report.event == "score":
                scored.append(report)
            live.update(_table(report, scored))

        return training.train(config, data, out, on_progress=show, **options)


def _figures(weights: Path, data: Path, out: Path) -> list[Path]:
    """Samples of what the network makes of noisy pictures; the curve where it can be drawn."""
    from counterpoint import training
    from counterpoint.backbones.small_net import load
    from counterpoint.errors import MissingExtra
    from counterpoint.plots import save_png

    network = load(weights).network()
    some = training.load_packed(data).pixels[:6]
    written = [save_png(training.denoising_grid(network, some), out / "samples.png")]
    try:
        written.append(training.draw_curve(out / "curve.jsonl", out / "curve.png"))
    except MissingExtra as error:
        console().print(f"no curve drawn: {error}")
    return written


def _table(now: "Report", scored: list["Report"]) -> "Table":
    """What is going on, and the held-out scores so far."""
    from rich.table import Table

    title = (
        f"step {now.step:,} of {now.steps:,}   {now.pictures_per_second:,.0f} pictures/s   "
        f"rate {now.rate:.2g}   {now.seconds / 60:.1f} min"
    )
    table = Table(title=title, title_justify="left")
    names = sorted({name for report in scored for name in report.scores})
    for heading in ("pictures", "loss", *names):
        table.add_column(heading, justify="right")
    for report in scored[-12:]:
        figures = [f"{report.scores[name]:.1f}" for name in names]
        table.add_row(f"{report.pictures:,}", f"{report.loss:.4f}", *figures)
    table.add_row(f"{now.pictures:,}", f"{now.loss:.4f}", *[""] * len(names), style="bold")
    return table


def _held_out(folder: Path, pairs: int) -> "Score":
    """PCK per point on pairs of bird crops, by tap (protocol cub-crops)."""
    from counterpoint.backbones.small import Small
    from counterpoint.backbones.small_net import SmallNet, taps
    from counterpoint.benchmarks.birds.crops import prepare, score_backbone
    from counterpoint.benchmarks.datasets.cub import read_cub

    benchmark = prepare(read_cub(folder).half("even"), pairs=pairs)

    def score(net: SmallNet) -> dict[str, float]:
        device = next(net.parameters()).device
        watched = [tap.name for tap in taps(net.config) if tap.name in _SCORED]
        model = Small.from_network(net, device=str(device))
        found = score_backbone(model, benchmark, taps=watched)
        return {f"PCK {tap}": value for tap, value in found.items()}

    return score
