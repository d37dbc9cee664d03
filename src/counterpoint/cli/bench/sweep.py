"""`counterpoint sweep`: the best time step and layer, by search on a data set of pairs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from counterpoint.cli.bench.courses import Name, Selection, read_course
from counterpoint.cli.bench.parameters import Half, Several
from counterpoint.cli.common import console, open_model, output_folder, print_cells
from counterpoint.errors import BadInput, MissingExtra
from counterpoint.options import Dtype, Fit, Noise, Options

if TYPE_CHECKING:
    from counterpoint.benchmarks.sweep.result import Sweep


def sweep(
    name: Name,
    /,
    *,
    data: Path,
    out: Path,
    model: str = "small",
    t: Annotated[list[int] | None, Several] = None,
    tap: Annotated[list[str] | None, Several] = None,
    ensemble: Annotated[list[int] | None, Several] = None,
    prompt: Annotated[list[str] | None, Several] = None,
    noise: Noise = "added",
    limit: int | None = None,
    categories: Annotated[list[str] | None, Several] = None,
    half: Half | None = None,
    split: str | None = None,
    protocol: str | None = None,
    alpha: float | None = None,
    drop_after: int | None = None,
    jobs: int = 1,
    memory: float = 2,
    size: str | None = None,
    fit: Fit | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: Dtype | None = None,
) -> int:
    """Score a grid of time steps, taps, ensemble sizes and prompts on the same pairs.

    One forward pass a picture, time step and draw serves all taps. A sweep that was stopped goes on
    when the same command is given again. Tables, heat maps and curves are written to OUT.

    Parameters
    ----------
    name
        The data set: cub (bird crops), spair, willow, pascal, ap10k.
    data
        Its folder, as for `counterpoint bench`.
    out
        Folder for counts, tables and figures.
    model
        A name known to `counterpoint models`, a folder, a hub id, or a weights file.
    t
        Time steps, for example: --t 50 100 200. By default the model's own.
    tap
        Where features are read, "up:1+up:2" for two joined; "all" for every tap. By default the
        ends of the network's blocks.
    ensemble
        How many draws of noise are averaged, for example: --ensemble 1 8.
    prompt
        Text conditions, for models that take one; "{category}" stands for each pair's own.
    noise
        What the model is shown at t: the picture with noise (added), the same without its random
        part (zero: scaled down), or the picture as it is (none).
    limit
        Only the first so many pairs; of cub, so many drawn pairs instead of 600.
    categories
        Only these; of cub, classes by name.
    half
        Of cub: only birds of even or odd index, to choose on one half and report on the other.
    split
        Of spair, pascal, ap10k: which pairs, by default "test".
    protocol
        By default the first that papers use for the data set.
    alpha
        Threshold; by default the protocol's first.
    drop_after
        Give up hopeless settings after so many pairs: those whose interval lies below that of the
        best. They are marked.
    jobs
        Processes, a time step (and ensemble, prompt) at a time each.
    memory
        GiB of each process for feature maps that wait for their next pair.
    size
        Model input in pixels, such as 768 or 960x540; by default the model's own.
    fit
        squash, pad or keep; by default the model's own.
    seed
        Of the noise, the intervals and cub's pairs.
    device
        cpu, cuda, mps; by default the best there is.
    dtype
        Of the network.
    """
    from counterpoint.benchmarks.sweep.charts import draw_sweep
    from counterpoint.benchmarks.sweep.plan import make_grid, plan_sweep
    from counterpoint.benchmarks.sweep.result import write_sweep
    from counterpoint.benchmarks.sweep.search import run_sweep

    options = Options(
        model=model, size=size, fit=fit, noise=noise, seed=seed, device=device, dtype=dtype
    )
    if not memory > 0:
        raise BadInput(f"expected --memory above 0 GiB, got {memory}")
    cache_bytes = round(memory * 2**30)
    chosen = Selection(data=data, categories=categories, limit=limit)
    course = read_course(
        name, chosen, half=half, split=split, seed=seed, protocol=protocol, alpha=alpha
    )
    backbone = open_model(options)
    taps = [one.name for one in backbone.taps] if tap == ["all"] else tap or []
    grid = make_grid(
        backbone,
        course,
        timesteps=t or [],
        taps=taps,
        ensembles=ensemble or [],
        prompts=prompt or [],
    )
    out = output_folder(out)
    console().print(plan_sweep(backbone, course, grid, options, cache_bytes).words)
    with console().status("counting") as status:
        found = run_sweep(
            backbone,
            course,
            grid,
            out,
            options,
            jobs=jobs,
            drop_after=drop_after,
            cache_bytes=cache_bytes,
            tell=status.update,
        )
        status.update("drawing")
        try:
            drawn = draw_sweep(found, out)
        except MissingExtra as error:
            drawn = ()
            console().print(str(error))
    written = write_sweep(found, out, [path.name for path in drawn])
    _show(found)
    for path in (*written, *drawn):
        console().print(f"wrote {path}")
    return 0


def _show(found: "Sweep") -> None:
    from counterpoint.benchmarks.sweep.result import cells

    console().print(found.title)
    print_cells(cells(found))
    for note in found.notes:
        console().print(note)
