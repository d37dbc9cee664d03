"""`counterpoint models`: what there is, what it needs, whether it is here."""

from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from counterpoint.cli.common import console, print_json

if TYPE_CHECKING:
    from counterpoint.backbones.zoo import ModelSpec

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

    rows = available()
    if json:
        print_json([_as_dict(spec) for spec in rows])
        return 0
    table = Table("model", "weights", "what it is, its licence, what it needs", show_lines=True)
    for spec in rows:
        table.add_row(spec.name, _state(spec), _about(spec))
    console().print(table)
    console().print("Any diffusers folder or hub id of Stable Diffusion 1.x or 2.x works too.")
    return 0


@app.command
def fetch(name: str, /) -> int:
    """Download a model's weights from the hub: the only command that uses the network.

    Parameters
    ----------
    name
        A model of the list, or a hub id ("owner/name").
    """
    from counterpoint.backbones.weights import resolve_weights
    from counterpoint.backbones.zoo import spec_of

    spec = spec_of(name)
    if not spec.hub_ids:
        console().print(f"{name} needs no download")
        return 0
    console().print(f"{name} is at {resolve_weights(spec, download=True)}")
    return 0


def _here(spec: "ModelSpec") -> bool:
    from counterpoint.backbones.weights import find_weights

    return not spec.hub_ids or find_weights(spec) is not None


def _state(spec: "ModelSpec") -> str:
    return "here" if _here(spec) else f"not here\n{spec.weights_mb / 1000:.1f} GB"


def _about(spec: "ModelSpec") -> str:
    lines = [spec.summary, f"licence: {spec.licence}"]
    if spec.hub_ids:
        lines.append(f"hub: {', '.join(spec.hub_ids)}")
    if spec.extra:
        # The backslash keeps rich from taking the extra for markup.
        lines.append(f"needs: pip install 'counterpoint\\[{spec.extra}]'")
    if spec.note:
        lines.append(f"note: {spec.note}")
    return "\n".join(lines)


def _as_dict(spec: "ModelSpec") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(spec), "weights_here": _here(spec)}
