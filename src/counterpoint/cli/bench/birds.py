"""`counterpoint bench`: correspondence measured on real pictures, beside its controls."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts

from counterpoint.cli.bench.parameters import Flag, Half, Several
from counterpoint.cli.bench.results import Results, show_report
from counterpoint.cli.common import console, open_model, output_folder
from counterpoint.errors import BadInput
from counterpoint.options import Dtype, Noise, Options

if TYPE_CHECKING:
    from counterpoint.backbones.base import Backbone
    from counterpoint.benchmarks.birds.crops import CubCrops
    from counterpoint.benchmarks.birds.report import CubReport


bench = cyclopts.App(
    name="bench", help="Measure correspondence on a data set.", help_format="plaintext"
)
_PAIRS = {
    "spair": "Key points on SPair-71k.",
    "willow": "Key points on PF-WILLOW.",
    "pascal": "Key points on PF-PASCAL.",
    "ap10k": "Key points on pairs of AP-10K.",
}
for _name, _help in _PAIRS.items():
    bench.command(f"counterpoint.cli.bench.pairs:{_name}", name=_name, help=_help)
_VIDEOS = {
    "davis": "Masks carried through videos, DAVIS.",
    "jhmdb": "Body joints carried through videos, JHMDB.",
}
for _name, _help in _VIDEOS.items():
    bench.command(f"counterpoint.cli.bench.videos:{_name}", name=_name, help=_help)
_TRACKS = {
    "tapvid": "Points followed through videos, TAP-Vid.",
    "badja": "Animals' joints followed through videos, BADJA.",
}
for _name, _help in _TRACKS.items():
    bench.command(f"counterpoint.cli.bench.tracks:{_name}", name=_name, help=_help)
bench.command(
    "counterpoint.cli.bench.tss:tss", name="tss", help="Dense flow of foreground pixels on TSS."
)
bench.command(
    "counterpoint.cli.bench.hpatches:hpatches",
    name="hpatches",
    help="Homographies on HPatches or Oxford's sequences.",
)


@bench.command
def cub(
    *,
    data: Path,
    model: str = "small",
    t: Annotated[list[int] | None, Several] = None,
    tap: Annotated[list[str] | None, Several] = None,
    pairs: int | None = None,
    crop: int | None = None,
    subsets: Path | None = None,
    classes: Annotated[list[str] | None, Several] = None,
    half: Half | None = None,
    size: str | None = None,
    ensemble: int | None = None,
    noise: Noise = "added",
    prompt: str | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: Dtype | None = None,
    out: Path | None = None,
    json: Path | None = None,
    markdown: Path | None = None,
    skip_bad: Annotated[bool, Flag] = False,
) -> int:
    """The same part on another bird: PCK on CUB-200-2011 (protocol cub-crops, cub-subsets).

    Random pairs of square bird crops, exact nearest neighbours, PCK@0.1 of the crop's side, with
    the controls (same position, colours, dense SIFT, the network untrained) on the same pairs.
    With --subsets the published protocol: all ordered pairs of each list of pictures.

    Parameters
    ----------
    data
        The folder of CUB-200-2011 that holds images.txt.
    model
        A name known to `counterpoint models`, a folder, a hub id, or a weights file.
    t
        Time steps, for example: --t 50 100 200. By default the model's own.
    tap
        Where features are read, "up:1+up:2" for two joined; "all" for every tap. By default the
        ends of the network's blocks.
    pairs
        How many pairs; by default 600.
    crop
        Side of the bird crops, pixels; by default 64.
    subsets
        Lists of pictures: a folder of text files, as Neural Congealing publishes its 14
        (cub_subset_0_original_paths.txt), a line a picture; or one file in which a blank line ends
        a list. Papers report the mean over these.
    classes
        Only these classes, by name ("001.Black_footed_Albatross").
    half
        Only the birds of even or odd index: one half to choose settings on, the other to report.
    size
        Model input in pixels, such as 64 or 128x128; by default the model's own.
    ensemble
        How many draws of noise are averaged.
    noise
        What the model is shown at t: the picture with noise (added), the same without its random
        part (zero: scaled down), or the picture as it is (none).
    prompt
        Text condition, for models that take one.
    seed
        Of the pairs, the noise, and the random weights.
    device
        cpu, cuda, mps; by default the best there is.
    dtype
        Of the network.
    out
        Keep the model's predictions in this folder, at the first time step and tap asked for: for
        `counterpoint score` and `counterpoint failures`.
    json
        Write all figures here.
    markdown
        Write the table here.
    skip_bad
        List pictures that are missing or smaller than their annotations (with --subsets, subsets
        that have such a picture) beside the figures, instead of stopping at the first.
    """
    from counterpoint.backbones.base import check_t
    from counterpoint.benchmarks.birds.crops import prepare
    from counterpoint.benchmarks.birds.report import cub_report
    from counterpoint.benchmarks.datasets.cub import read_cub

    options = Options(
        model=model,
        size=size,
        ensemble=ensemble,
        noise=noise,
        prompt=prompt,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    steps = [check_t(step) for step in t or []]
    backbone = open_model(options)
    if subsets:
        if (pairs, crop, classes, half, out) != (None,) * 5:
            raise BadInput(
                "expected no --pairs, --crop, --classes, --half and --out with --subsets"
            )
        results = Results(json=json, markdown=markdown, skip_bad=skip_bad)
        return _subsets(backbone, data, subsets, steps, _taps(backbone, tap), options, results)
    birds = read_cub(data, classes, skip_bad=skip_bad)
    pairs, crop = 600 if pairs is None else pairs, 64 if crop is None else crop
    benchmark = prepare(birds.half(half) if half else birds, pairs=pairs, size_px=crop, seed=seed)
    with console().status("scoring") as status:
        report = cub_report(
            backbone,
            benchmark,
            timesteps=steps,
            taps=_taps(backbone, tap),
            options=options,
            skipped=birds.skipped,
            tell=lambda words: status.update(f"scoring {words}"),
        )
    _show(report)
    _write(report, json, markdown)
    if out:
        request = {"pairs": pairs, "crop": crop, "half": half, "seed": seed}
        request |= {"categories": classes, "skip_bad": skip_bad}
        first = options.but(t=steps[0] if steps else None, tap=tap[0] if tap else None)
        _keep_predictions(backbone, benchmark, birds.part_names, request, first, output_folder(out))
    return 0


def _subsets(
    backbone: "Backbone",
    data: Path,
    lists: Path,
    steps: Sequence[int],
    taps: Sequence[str] | None,
    options: Options,
    results: Results,
) -> int:
    """Protocol cub-subsets."""
    from counterpoint.benchmarks.birds.subsets import read_subsets, subset_report, tables
    from counterpoint.benchmarks.datasets.cub import read_cub

    subsets, birds = read_subsets(lists), read_cub(data)
    with console().status("scoring") as status:
        report = subset_report(
            backbone,
            birds,
            subsets,
            timesteps=steps,
            taps=taps,
            options=options,
            skip_bad=results.skip_bad,
            tell=lambda words: status.update(f"scoring {words}"),
        )
    show_report(report.title, tables(report), report.lines, report.to_dict(), results)
    return 0


def _keep_predictions(
    backbone: "Backbone",
    benchmark: "CubCrops",
    part_names: Sequence[str],
    request: dict[str, Any],
    options: Options,
    out: Path,
) -> None:
    """Predictions in a file, as the other key point benchmarks keep them."""
    from counterpoint.benchmarks.birds.keypoints import crops_as_pairs
    from counterpoint.benchmarks.keypoints.report import methods, slug

    dataset = crops_as_pairs(benchmark, part_names, **request)
    options = options.but(tap=None) if options.tap == "all" else options
    for made in methods(backbone, dataset, options, controls=False, out=out):
        name = slug(f"{dataset.name} {made.origin.method}")
        console().print(f"wrote {out / name}.safetensors")


@bench.command
def motorcycle(
    *,
    model: str = "small",
    t: Annotated[list[int] | None, Several] = None,
    tap: Annotated[list[str] | None, Several] = None,
    points: int = 400,
    size: str | None = None,
    seed: int = 0,
    device: str | None = None,
) -> int:
    """The same point in the other view: a real stereo pair (protocol motorcycle-grid).

    Parameters
    ----------
    model
        A name known to `counterpoint models`, a folder, a hub id, or a weights file.
    t
        Time steps. By default the model's own.
    tap
        Where features are read; "all" for every tap. By default the ends of the blocks.
    points
        About how many grid points.
    size
        Model input in pixels; by default the pictures' own.
    seed
        Of the noise.
    device
        cpu, cuda, mps; by default the best there is.
    """
    from rich.table import Table

    from counterpoint.backbones.base import check_t
    from counterpoint.benchmarks.stereo import motorcycle as pair
    from counterpoint.benchmarks.stereo import stereo_rows

    options = Options(model=model, size=size, seed=seed, device=device)
    steps = [check_t(step) for step in t or []]
    backbone, grid = open_model(options), pair(points)
    rows = stereo_rows(
        backbone,
        grid,
        timesteps=steps,
        taps=_taps(backbone, tap),
        options=options,
    )
    table = Table("method", "tap", "t", "input", "within 5 px, %", "median px")
    table.title = f"motorcycle-grid: {rows[0].points} points"
    for row in rows:
        size_text = "" if row.input_wh is None else "{}x{}".format(*row.input_wh)
        step = "" if row.t is None else str(row.t)
        figures = f"{row.share:.1f}", f"{row.median_px:.1f}"
        table.add_row(row.method, row.tap, step, size_text, *figures)
    console().print(table)
    return 0


def _taps(backbone: "Backbone", names: list[str] | None) -> list[str] | None:
    return [tap.name for tap in backbone.taps] if names == ["all"] else names


def _show(report: "CubReport") -> None:
    from rich.table import Table

    from counterpoint.benchmarks.birds.report import cells

    arranged = cells(report)
    table = Table(*arranged.header, title=report.title, title_justify="left")
    for row in arranged.rows:
        table.add_row(*row)
    console().print(table)
    for bad in report.skipped:
        console().print(f"skipped {bad.id}: {bad.reason}")


def _write(report: "CubReport", as_json: Path | None, as_markdown: Path | None) -> None:
    from counterpoint.benchmarks.birds.report import cells
    from counterpoint.files import write_text

    if as_json:
        write_text(as_json, json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
    if as_markdown:
        write_text(as_markdown, f"{report.title}\n\n{cells(report).markdown()}")
    for path in (as_json, as_markdown):
        if path:
            console().print(f"wrote {path}")
