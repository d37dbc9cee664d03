"""`counterpoint models`: what there is, what it needs, whether it is here."""

from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from counterpoint.cli.common import console, print_json
from counterpoint.options import Size

if TYPE_CHECKING:
    from counterpoint.backbones.layouts import Grid, NetworkLayout
    from counterpoint.backbones.spec import ModelSpec

app = cyclopts.App(help="List the models; fetch one's weights.", help_format="plaintext")


@app.default
def models(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List every known model: what it needs, its licence, whether its weights are here.

    Parameters
    ----------
    json
        Print JSON instead of a table.
    """
    from rich.table import Table

    from counterpoint.backbones import available
    from counterpoint.backbones.detectors import DETECTORS

    rows = available()
    if json:
        print_json([_as_dict(spec) for spec in rows])
        return 0
    table = Table("model", "weights", "what it is, its licence, what it needs", show_lines=True)
    for spec in rows:
        table.add_row(spec.name, _state(spec), _about(spec))
    console().print(table)
    console().print(
        "Folders in diffusers or transformers layout, hub ids, single files of Stable Diffusion "
        "and of guided diffusion work too, and any two as one: A+B."
    )
    console().print(
        "Key point detectors, for `align` and `scene`, are fetched like models: "
        f"{', '.join(DETECTORS)}."
    )
    return 0


@app.command
def show(
    name: str,
    /,
    *,
    size: Size | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show where a model's features can be read, without loading its weights.

    Parameters
    ----------
    name
        A model of the list, or a folder or file of weights.
    size
        Model input in pixels, such as 768 or 960x540; by default the model's own.
    json
        Print JSON instead of a table.
    """
    from rich.table import Table

    from counterpoint.backbones.layouts import grids, layout_of
    from counterpoint.backbones.recognise import spec_of
    from counterpoint.options import parse_size

    spec = spec_of(name)
    layout = layout_of(spec)
    found = grids(spec, None if size is None else parse_size(size))
    if json:
        print_json(_shown(spec, layout, found))
        return 0
    console().print(_about(spec))
    console().print(_defaults(spec, layout))
    if layout.parameters:
        console().print(
            f"parameters: {layout.parameters / 1e6:,.1f} million, "
            f"in memory for the default tap: {layout.kept / 1e6:,.1f} million"
        )
    inputs = dict.fromkeys("{}x{} px".format(*grid.input_wh) for grid in found)
    table = Table("tap", title=f"taps at an input of {' and '.join(inputs)}", title_justify="left")
    for heading in ("channels", "stride px", "grid"):
        table.add_column(heading, justify="right")
    for grid in found:
        tap, star = grid.tap, " *" if grid.tap.name == layout.tap else ""
        cells = "{}x{}".format(*grid.cells_wh)
        table.add_row(tap.name + star, str(tap.channels), str(tap.stride_px), cells)
    console().print(table)
    console().print("* the default")
    return 0


@app.command
def fetch(name: str, /) -> int:
    """Download a model's weights: the only command that uses the network.

    Parameters
    ----------
    name
        A model of the list, a hub id ("owner/name"), or two of them as "A+B"; or a key point
        detector: superpoint or its hub id, aliked, disk, xfeat.
    """
    from counterpoint.backbones.detectors import detector_of
    from counterpoint.backbones.recognise import spec_of
    from counterpoint.backbones.weights import resolve_weights

    if detector := detector_of(name):
        place = resolve_weights(detector, download=True)
        console().print(f"{name} is at {place}", soft_wrap=True)
        return 0
    spec = spec_of(name)
    for member in map(spec_of, spec.members or (name,)):
        if member.sources:
            place = resolve_weights(member, download=True)
            console().print(f"{member.name} is at {place}", soft_wrap=True)
        else:
            console().print(f"{member.name} needs no download")
    return 0


def _here(spec: "ModelSpec") -> bool:
    from counterpoint.backbones.recognise import spec_of
    from counterpoint.backbones.weights import find_weights

    if spec.members:
        return all(_here(spec_of(name)) for name in spec.members)
    if spec.name == "vae":
        from counterpoint.backbones.vae import PIPELINES

        return any(find_weights(spec_of(name)) for name in (spec.name, *PIPELINES))
    here = not spec.sources or find_weights(spec) is not None
    return here and (not spec.base or _here(spec_of(spec.base)))


def _state(spec: "ModelSpec") -> str:
    return "here" if _here(spec) else f"not here\n{spec.weights_mb / 1000:.1f} GB"


def _about(spec: "ModelSpec") -> str:
    lines = [spec.summary, f"licence: {spec.licence}"]
    if spec.sources:
        lines.append(f"from: {', '.join(spec.sources)}")
    if spec.extra:
        lines.append(f"needs: pip install 'counterpoint[{spec.extra}]'")
    if spec.note:
        lines.append(f"note: {spec.note}")
    return "\n".join(lines)


def _defaults(spec: "ModelSpec", layout: "NetworkLayout") -> str:
    noise = "no noise" if spec.t is None else f"t {spec.t}, ensemble {spec.ensemble}"
    size = "each model's own size" if spec.members else "{}x{} px".format(*spec.size_wh)
    return f"default: {layout.tap}, {noise}, {spec.fit} to {size}"


def _shown(spec: "ModelSpec", layout: "NetworkLayout", found: "list[Grid]") -> dict[str, object]:
    taps = [
        {
            "tap": grid.tap.name,
            "channels": grid.tap.channels,
            "stride_px": grid.tap.stride_px,
            "input_wh": grid.input_wh,
            "grid_wh": grid.cells_wh,
        }
        for grid in found
    ]
    sizes = {"parameters": layout.parameters, "kept": layout.kept}
    return {**_as_dict(spec), "tap": layout.tap, **sizes, "taps": taps}


def _as_dict(spec: "ModelSpec") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(spec), "weights_here": _here(spec)}
