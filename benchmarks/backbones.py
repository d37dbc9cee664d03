"""Every model of the zoo at full size, without its weights: taps, parameters, work, memory, time.

    python benchmarks/backbones.py [--only NAME ...] [--no-run] [--write]

Writes a hollow checkpoint of each model (see `hollow`) to a temporary folder, and prints a table:

- parameters: of all networks that features need, the VAE's decoder included, text encoders left
  out; kept: those that are in memory for features at the default tap.
- GFLOPs: two for each multiply-add of one forward pass, one picture of the default size, up to the
  default tap; of the network and of the VAE's encoder. Counted on the meta device, where nothing
  is computed.
- peak and seconds: of a fresh process on the CPU in bfloat16, default size, one draw of noise. The
  peak is the largest resident set, with the pages of the weights' files that had been read. The
  seconds are the processor's, of one picture's features, reading the weights included.

``--write`` puts taps and parameters into the package's layouts.json and the table into
docs/backbones.md; what was not measured this time stays there as it was.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hollow import hollow
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from counterpoint.backbones import available, load_spec
from counterpoint.backbones.dit import DiffusionTransformer
from counterpoint.backbones.network import Batch, NetworkBackbone
from counterpoint.backbones.noise import KeyedNoise
from counterpoint.backbones.spec import ModelSpec
from counterpoint.backbones.weights import TensorFiles
from counterpoint.backbones.zoo import ZOO
from counterpoint.options import Options

ROOT = Path(__file__).resolve().parents[1]
LAYOUTS = ROOT / "src/counterpoint/backbones/layouts.json"
PAGE = ROOT / "docs/backbones.md"
BEGIN, END = "<!-- benchmarks/backbones.py begins -->", "<!-- benchmarks/backbones.py ends -->"
HEADINGS = (
    *("model", "parameters, M", "kept, M", "tap", "channels", "stride, px", "input, px"),
    *("GFLOPs, network", "GFLOPs, VAE", "peak, GB", "CPU seconds"),
)
MEASURED = 2
"""How many of the columns, the last, need a run."""
NOT_RUN = "not run"
TOO_LARGE = ("flux", "flux-schnell", "sd35-large")
"""More than 12 GB in bfloat16."""


@dataclass(frozen=True)
class Layout:
    """What layouts.json says of a model, and the table beside it."""

    entry: dict[str, Any]
    cells: tuple[str, ...]


def describe(name: str, folder: Path) -> Layout:
    """A model's taps, sizes and work; nothing is computed but for models without a file."""
    spec = hollow(name, folder)
    device = torch.device("meta" if spec.name != name else "cpu")
    with filled() as held:
        model = load_spec(spec, device, torch.float32)  # in which networks are built
        embed_prompt(model, spec)
        network, vae = work(model)
    parts = networks(model)
    parameters = sum(p.numel() for part in parts for p in part.parameters())
    kept = sum(held.values()) if held else parameters
    spec = model.spec
    tap = next(tap for tap in model.taps if tap.name == spec.tap)
    entry = {
        "taps": [[tap.name, tap.channels, tap.stride_px] for tap in model.taps],
        "multiple": model.multiple,
        "parameters": parameters,
        "kept": kept,
    }
    cells = (
        name,
        f"{parameters / 1e6:.1f}" if parameters else "",
        f"{kept / 1e6:.1f}" if parameters else "",
        f"`{tap.name}`",
        str(tap.channels),
        str(tap.stride_px),
        "{}x{}".format(*spec.size_wh),
        f"{network / 1e9:,.0f}" if parameters else "",
        f"{vae / 1e9:,.0f}" if vae else "",
    )
    return Layout(entry, cells)


def networks(model: NetworkBackbone) -> list[nn.Module]:
    """A model's networks, text encoders left out."""
    own = [getattr(model, name, None) for name in ("_net", "unet", "vae", "part")]
    found = [getattr(part, "network", part) for part in own]
    return list({id(net): net for net in found if isinstance(net, nn.Module)}.values())


@contextmanager
def filled() -> Iterator[dict[tuple[int, str], int]]:
    """Sizes of the parameters that would be given weights meanwhile, text encoders left out.

    Nothing is read: on the meta device there is no place for numbers.
    """
    sizes: dict[tuple[int, str], int] = {}
    original = TensorFiles.fill

    def fill(self: TensorFiles, root: nn.Module, prefixes: Iterable[str], *place: Any) -> None:
        if type(root).__name__.startswith("CLIPText"):
            return original(self, root, prefixes, *place)
        starts = tuple(f"{prefix}." for prefix in prefixes)
        for name, parameter in root.named_parameters():
            if f"{name}.".startswith(starts):
                if name not in self:
                    raise RuntimeError(f"the hollow checkpoint lacks {name}")
                sizes[id(root), name] = parameter.numel()
        return None

    TensorFiles.fill = fill
    try:
        yield sizes
    finally:
        TensorFiles.fill = original


def embed_prompt(model: NetworkBackbone, spec: ModelSpec) -> None:
    """Give a diffusion transformer its prompt; T5's mask cannot be made on the meta device."""
    if isinstance(model, DiffusionTransformer):
        real: Any = load_spec(spec, torch.device("cpu"), torch.float32)
        condition = real._condition(spec.prompt)
        tensors = {name: value for name, value in vars(condition).items() if value is not None}
        moved = {name: value.to(model.device) for name, value in tensors.items()}
        model._conditions[spec.prompt] = replace(condition, **moved)


def work(model: NetworkBackbone) -> tuple[int, int]:
    """Floating-point operations of one pass: of the network to the default tap, of the VAE."""
    width, height = (-(-s // model.multiple) * model.multiple for s in model.spec.size_wh)
    pixels = torch.zeros(1, 3, height, width, device=model.device)
    batch, noise = Batch(pixels, ("0" * 64,)), KeyedNoise(0)
    setting = model._setting(Options(ensemble=1), (model.spec.tap,))
    with torch.inference_mode():
        features: Callable[[], Any] = lambda: model._features(batch, setting, noise)  # noqa: E731
        features()  # the prompt is embedded once
        whole = count(features)
        vae = getattr(model, "vae", None)
        encoder = count(lambda: vae.encode(pixels.to(vae.dtype))) if vae else 0
    return whole - encoder, encoder


def count(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def measure(spec: ModelSpec, results: Any) -> None:
    """Peak and seconds of features in this process, which must be fresh."""
    from skimage.data import chelsea

    model = load_spec(spec, torch.device("cpu"), torch.bfloat16)
    began = time.process_time()
    model.extract([chelsea()], Options(ensemble=1))
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    held = sum(p.numel() for net in networks(model) for p in net.parameters() if not p.is_meta)
    results.put((held, f"{peak:.1f}", f"{seconds:.1f}"))


def run(name: str, folder: Path, kept: int) -> tuple[str, str]:
    """Cells of the table that need a run."""
    fresh = multiprocessing.get_context("spawn")
    results = fresh.Queue()
    process = fresh.Process(target=measure, args=(hollow(name, folder), results))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the run ended with {process.exitcode}")
    held, peak, seconds = results.get()
    if held != kept:
        raise RuntimeError(f"{held} parameters were in memory, expected {kept}")
    return peak, seconds


def table(rows: dict[str, tuple[str, ...]]) -> str:
    order = [name for name in ZOO if name in rows]
    left = {0, 3}
    rule = ["---" if i in left else "---:" for i in range(len(HEADINGS))]
    lines = [HEADINGS, rule, *(rows[name] for name in order)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def former_rows() -> dict[str, tuple[str, ...]]:
    """The table in the page, by model."""
    if not PAGE.is_file() or BEGIN not in PAGE.read_text():
        return {}
    text = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    return {cells[0]: cells for cells in rows if len(cells) == len(HEADINGS)}


def write(name: str, layout: Layout, rows: dict[str, tuple[str, ...]]) -> None:
    """Put one model into layouts.json, and all rows into the page."""
    entries: dict[str, Any] = json.loads(LAYOUTS.read_text()) | {name: layout.entry}
    lines = [f"{json.dumps(name)}: {json.dumps(entries[name])}" for name in ZOO if name in entries]
    LAYOUTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table(rows)}\n{END}{rest.partition(END)[2]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*ZOO])
    parser.add_argument("--no-run", action="store_true", help="no memory and no seconds")
    parser.add_argument("--write", action="store_true", help="layouts.json and docs/backbones.md")
    options = parser.parse_args()
    former = former_rows()
    rows = dict(former)
    failed: list[str] = []
    for name in options.only or [spec.name for spec in available()]:
        try:
            with tempfile.TemporaryDirectory() as folder:
                layout = describe(name, Path(folder) / "described")
                measured = former.get(name, (NOT_RUN,) * len(HEADINGS))[-MEASURED:]
                if name in TOO_LARGE:
                    measured = (NOT_RUN, NOT_RUN)
                elif not options.no_run:
                    measured = run(name, Path(folder) / "run", layout.entry["kept"])
        except Exception as error:  # one model that fails must not hide the others
            failed.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[:1]}")
            print(failed[-1], file=sys.stderr, flush=True)
            continue
        rows[name] = (*layout.cells, *measured)
        print(f"| {' | '.join(rows[name])} |", flush=True)
        if options.write:
            write(name, layout, rows)
    if failed:
        sys.exit(f"{len(failed)} failed")


if __name__ == "__main__":
    main()
