"""`counterpoint generate`: pictures of the model's own, matched by the features met on the way."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from counterpoint.cli.common import console, open_model, output_folder, print_cells, print_json
from counterpoint.errors import BadInput
from counterpoint.options import Dtype, Options

if TYPE_CHECKING:
    from counterpoint.backbones.sampling import Generated
    from counterpoint.benchmarks.generation import GenerationReport, MatchedPair

Several = Parameter(negative="", consume_multiple=True)


def generate(
    *,
    out: Path = Path("out/generated"),
    model: str = "small",
    count: int = 2,
    steps: int = 50,
    t: Annotated[list[int] | None, Several] = None,
    tap: Annotated[list[str] | None, Several] = None,
    twin: Literal["none", "shift", "flip"] = "none",
    prompt: str | None = None,
    guidance: float | None = None,
    size: str | None = None,
    points: int = 64,
    alpha: float = 0.1,
    json: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 0,
    device: str | None = None,
    dtype: Dtype | None = None,
) -> int:
    """Generate pictures, and match them by the features met on the way (figure 2 of DIFT).

    Beside these matches stand those of the same pictures taken as real ones, noise added anew.
    OUT receives the pictures, the features met on the way, the drawing and the figures.

    Parameters
    ----------
    out
        Folder for all results.
    model
        A diffusion model that can generate: small, sd21 and its kin, sdxl, adm; or a folder.
    count
        How many pictures.
    steps
        Of the DDIM sampler; the time steps of --t come on top.
    t
        Time steps at which features are kept, for example: --t 50 150 400.
    tap
        Where features are read; "all" for the ends of the network's blocks. By default the model's
        own.
    twin
        Also each picture's twin, from the same first noise shifted by whole strides or mirrored:
        then the true matches are known, as far as the network follows the change.
    prompt
        What to show, for models that take one.
    guidance
        Weight of the prompt (classifier-free guidance), 1 for none; by default 7.5 with a prompt.
    size
        Of the pictures; by default what the network was trained to make.
    points
        About how many grid points are matched.
    alpha
        How near counts as the same place, as a share of the picture's longer side.
    json
        Print the figures as JSON.
    seed
        Of all noise.
    device
        cpu, cuda, mps; by default the best there is.
    dtype
        Of the network.
    """
    from counterpoint.backbones.base import check_t
    from counterpoint.backbones.sampling import Plan, require_generator
    from counterpoint.backbones.sampling import generate as make
    from counterpoint.benchmarks.generation import generation_report, pair_up
    from counterpoint.benchmarks.keypoints.prompts import takes_prompt
    from counterpoint.benchmarks.taps import blocks, require_taps

    plan = Plan(count=count, steps=steps, guidance=guidance, twin=twin)
    if count < 2 and twin == "none":
        raise BadInput("expected two pictures to match, or a twin; got --count 1 --twin none")
    kept = tuple(check_t(step) for step in t or [])
    folder = output_folder(out)
    backbone = require_generator(
        open_model(Options(model=model, device=device, dtype=dtype, seed=seed))
    )
    names = blocks(backbone) if tap == ["all"] else tuple(tap or [backbone.spec.tap])
    _require_prompt(prompt, guidance, model, takes=takes_prompt(backbone.spec))
    options = Options(
        model=model,
        t=kept or None,
        tap="+".join(require_taps(backbone, names)),
        prompt=prompt,
        size=size,
        seed=seed,
    )
    with console(quiet=json).status("generating") as status:
        generated = make(backbone, plan, options)
        status.update("matching")
        pairs = pair_up(backbone, generated, options, points)
        report = generation_report(backbone, generated, pairs, twin, alpha=alpha, seed=seed)
    written = _write(folder, generated, pairs, report, names)
    if json:
        print_json(report.to_dict() | {"files": [str(path) for path in written]})
    else:
        _show(report, written)
    return 0


def _require_prompt(prompt: str | None, guidance: float | None, model: str, *, takes: bool) -> None:
    if not takes and (prompt or guidance not in (None, 1)):
        raise BadInput(f"expected no --prompt and no --guidance for {model}, which takes no prompt")


def _write(
    folder: Path,
    generated: "Sequence[Generated]",
    pairs: "Sequence[MatchedPair]",
    report: "GenerationReport",
    taps: Sequence[str],
) -> list[Path]:
    """Pictures, features, drawings and figures; what was written, for a person the main things."""
    from json import dumps

    from counterpoint.benchmarks.generation import LEGEND, cells, draw_generation
    from counterpoint.files import write_text
    from counterpoint.plots import draw_strip, save_png

    for one in generated:
        save_png(one.picture.rgb, folder / f"{one.picture.name}.png")
        for (t, tap), fmap in one.maps.items():
            name = f"{one.picture.name}.t{t}.{tap.replace(':', '-')}.safetensors"
            fmap.save(folder / "features" / name)
    written = [save_png(draw_strip([one.picture for one in generated]), folder / "pictures.png")]
    for tap in taps:
        name = f"matches-{tap.replace(':', '-')}.png"
        written.append(save_png(draw_generation(pairs[0], tap, alpha=report.alpha), folder / name))
    text = dumps(report.to_dict(), indent=2, allow_nan=False)
    write_text(folder / "generation.json", text + "\n")
    write_text(
        folder / "generation.md", f"{report.title}\n\n{LEGEND}\n\n{cells(report).markdown()}"
    )
    return [*written, folder / "generation.json", folder / "generation.md", folder / "features"]


def _show(report: "GenerationReport", written: Sequence[Path]) -> None:
    from counterpoint.benchmarks.generation import LEGEND, cells

    shown = console()
    shown.print(report.title)
    print_cells(cells(report))
    shown.print(LEGEND)
    for path in written:
        shown.print(f"wrote {path}")
