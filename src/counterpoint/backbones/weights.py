"""Finding weights on this machine, and reading just the tensors that are needed.

Nothing here touches the network unless the caller asks for a download.
"""

import functools
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.backbones.download import download_file
from counterpoint.backbones.spec import ModelSpec
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import MissingWeights, ModelError, WeightsMismatch
from counterpoint.files import write_text

MODELS_ENV = "COUNTERPOINT_MODELS"
"""Environment variable: a folder with one folder a model, looked at first."""

_UNWANTED = [
    *("*.ckpt", "*.msgpack", "*.onnx*", "*.bin", "*fp16*", "*non_ema*", "*openvino*"),
    "open_clip*",  # the same weights once more under other names
]


def cache_folder() -> Path:
    """Where counterpoint keeps what it can make again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "counterpoint"


def models_folder() -> Path:
    """Where people put models by hand: `$COUNTERPOINT_MODELS`, or a folder in the user's cache."""
    named = os.environ.get(MODELS_ENV)
    return Path(named).expanduser() if named else cache_folder() / "models"


def find_weights(spec: ModelSpec) -> Path | None:
    """Where a model's weights are on this machine, or None.

    A folder for the layouts "pipeline" and "model", a file for "file". Looked at in this order: the
    name itself as a path, `models_folder()`/name, the hub's cache.
    """
    named, kept = Path(spec.name).expanduser(), models_folder() / spec.name
    if spec.layout == "file":
        places = (named, kept / spec.filename, models_folder() / spec.filename)
        found = next((path for path in places if path.is_file()), None)
    else:
        found = next((path for path in (named, kept) if (path / spec.marker).is_file()), None)
    return found or _find_in_hub_cache(spec)


def _find_in_hub_cache(spec: ModelSpec) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for hub_id in spec.hub_ids:
        marker = try_to_load_from_cache(hub_id, spec.marker)
        if not isinstance(marker, str):
            continue
        path = Path(marker)
        # A download that was broken off is not there: the next one goes on with it.
        if spec.layout == "file" or _has_weights(path.parent, spec):
            return path if spec.layout == "file" else path.parent
    return None


def _has_weights(folder: Path, spec: ModelSpec) -> bool:
    parts = spec.weighted_components if spec.layout == "pipeline" else (".",)
    try:
        paths = [path for part in parts for path in weight_files(folder / part)]
    except MissingWeights:
        return False
    return all(path.is_file() for path in paths)


def resolve_weights(spec: ModelSpec, *, download: bool = False) -> Path:
    """Where a model's weights are, as `find_weights`; downloads them only when asked.

    Raises:
        MissingWeights: not on this machine; says what to put where.
    """
    found = find_weights(spec)
    if found is not None:
        return found
    folder = Path(spec.name).expanduser()
    if folder.is_dir():
        raise MissingWeights(
            f"expected {spec.marker} and weights in {folder}, found none; "
            f"point --model at the folder that holds {spec.marker}"
        )
    if download and spec.sources:
        if spec.base:
            resolve_weights(ZOO[spec.base], download=True)
        return _download(spec)
    ids = " or ".join(spec.sources)
    what = f"the file {spec.filename}" if spec.layout == "file" else "its folder"
    raise MissingWeights(
        f"the weights of {spec.name} are not on this machine: put {what} at "
        f"{models_folder() / spec.name}"
        + (f", or run `counterpoint models fetch {spec.name}` to download {ids}" if ids else "")
        + (f" ({spec.note})" if spec.note else "")
    )


def _download(spec: ModelSpec) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download

    reasons: list[str] = []
    for hub_id in spec.hub_ids:
        try:
            if spec.layout == "file":
                return Path(hf_hub_download(hub_id, spec.filename))
            return Path(
                snapshot_download(
                    hub_id, allow_patterns=list(spec.wanted_files), ignore_patterns=_UNWANTED
                )
            )
        except Exception as error:  # the hub's client raises many kinds, all mean "not here"
            reasons.append(f"{hub_id}: {str(error).splitlines()[0]}")
    if spec.url:
        target = models_folder() / spec.name / spec.filename
        return download_file(spec.url, target, sha256=spec.sha256)
    raise MissingWeights(f"cannot download {spec.name}: {'; '.join(reasons)}")


class TensorFiles:
    """The tensors of one component (a folder in diffusers or transformers layout), read one by one.

    Reads `.safetensors`, whole or sharded, and falls back to `.bin` (weights only, memory-mapped).

    Args:
        folder: for example ``.../unet``; or one file of weights.
        rename: from a stored tensor's name to the one the network uses.

    Raises:
        MissingWeights: no weights file in the folder.
    """

    def __init__(self, folder: Path, rename: Callable[[str], str] = str) -> None:
        self.paths = weight_files(folder)
        self._rename = rename
        self._where: dict[str, tuple[Path, str]] = {}
        self._bins: dict[Path, dict[str, Tensor]] = {}
        for path in self.paths:
            for key in self._keys(path):
                self._where[rename(key)] = (path, key)

    def _keys(self, path: Path) -> list[str]:
        if path.suffix != ".safetensors":
            self._bins[path] = load_pickle(path)
            return list(self._bins[path])
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                return list(file.keys())
        except SafetensorError as error:
            raise ModelError(
                f"expected safetensors weights, got {path}, which is damaged or cut off "
                f"({error}); fetch it again"
            ) from error

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's shape, without its numbers."""
        from safetensors import safe_open

        found: dict[str, tuple[int, ...]] = {}
        with ExitStack() as stack:
            opened: dict[Path, Any] = {
                path: stack.enter_context(safe_open(path, "pt"))
                for path in self.paths
                if path not in self._bins
            }
            for name, (path, key) in self._where.items():
                if path in opened:
                    found[name] = tuple(opened[path].get_slice(key).get_shape())
                else:
                    found[name] = tuple(self._bins[path][key].shape)
        return found

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """The named tensors, one at a time, on the CPU."""
        from safetensors import safe_open

        with ExitStack() as stack:
            opened: dict[Path, Any] = {}
            for name in names:
                path, key = self._where[name]
                if path in self._bins:
                    yield name, self._bins[path][key]
                    continue
                if path not in opened:
                    opened[path] = stack.enter_context(safe_open(path, "pt"))
                yield name, opened[path].get_tensor(key)

    def fill(
        self, root: nn.Module, prefixes: Iterable[str], device: torch.device, dtype: torch.dtype
    ) -> None:
        """Give the parameters of ``root`` that lie on ``meta`` below the prefixes their values.

        Args:
            root: the network.
            prefixes: names of its modules, or of single parameters.
            device: where the values go.
            dtype: in what precision.

        Raises:
            WeightsMismatch: keys missing or of another shape; names them.
        """
        starts = tuple(f"{prefix}." for prefix in prefixes)
        wanted = {
            name: tensor
            for name, tensor in root.state_dict(keep_vars=True).items()
            if f"{name}.".startswith(starts) and tensor.is_meta
        }
        missing = [name for name in wanted if name not in self]
        if missing:
            raise WeightsMismatch(_listing("the checkpoint lacks", missing, self.paths))
        wrong: list[str] = []
        for name, stored in self.read(wanted):
            shape = wanted[name].shape
            if stored.numel() != shape.numel():
                wrong.append(f"{name} {tuple(stored.shape)}, expected {tuple(shape)}")
                continue
            # 1 x 1 convolutions and linear layers are stored as either, by age of the checkpoint.
            value = stored.reshape(shape).to(device=device, dtype=dtype, copy=True)
            _assign(root, name, value)
        if wrong:
            raise WeightsMismatch(_listing("other shapes in the checkpoint:", wrong, self.paths))


def _assign(root: nn.Module, name: str, value: Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    module = root.get_submodule(parent)
    if leaf in module._parameters:
        module._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    else:
        module._buffers[leaf] = value


def _listing(what: str, items: list[str], paths: list[Path]) -> str:
    more = f" and {len(items) - 4} more" if len(items) > 4 else ""
    return f"{paths[0].parent}: {what} {', '.join(items[:4])}{more}; is it for another network?"


def load_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict in PyTorch's own format, memory-mapped where it allows that.

    Raises:
        WeightsMismatch: damaged, without tensors, or asking for code, which is never run.
    """
    try:
        # Only the format of torch 1.6 and later, a zip archive, can be memory-mapped.
        mapped = zipfile.is_zipfile(path)
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # garbage makes the unpickler raise nearly anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        found = f"asks to run {code[1]} (refused)" if code else "is damaged, cut off or foreign"
        raise WeightsMismatch(
            f"expected a state dict of PyTorch, got {path}, which {found}; fetch it again"
        ) from error
    found = stored if isinstance(stored, dict) else {}
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsMismatch(
            f"expected a state dict of PyTorch, got {path}, which holds no tensors by name"
        )
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """The weights of a component: one file, or all the shards that its index names.

    Raises:
        MissingWeights: none in the folder.
    """
    if folder.is_file():
        return [folder]
    names = ("diffusion_pytorch_model", "model", "pytorch_model")
    for suffix in (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin"):
        for name in names:
            index = folder / f"{name}{suffix}.index.json"
            if index.is_file():
                shards: dict[str, str] = json.loads(index.read_text())["weight_map"]
                return [folder / shard for shard in sorted(set(shards.values()))]
            if (folder / f"{name}{suffix}").is_file():
                return [folder / f"{name}{suffix}"]
    raise MissingWeights(
        f"expected weights (diffusion_pytorch_model.safetensors or the like) in {folder}, "
        "found none; is the download complete?"
    )


def joint_sha256(paths: Iterable[Path]) -> str:
    """One SHA-256 for several files: that of their digests, in the order given."""
    return hashlib.sha256("".join(map(file_sha256, paths)).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; taken from the hub cache's file name, or remembered by size and time."""
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return blob.name
    stat = blob.stat()
    note = cache_folder() / "sha256" / _short(f"{blob}/{stat.st_size}/{stat.st_mtime_ns}")
    if note.is_file():
        return note.read_text()
    with blob.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if stat.st_size > 50_000_000:  # small files are quicker to hash than to remember
        try:
            write_text(note, digest)
        except OSError:
            return digest
    return digest


@functools.cache
def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]
