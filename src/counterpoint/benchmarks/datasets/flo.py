"""Flow fields as Middlebury's ``.flo`` files have them.

``PIEH`` (202021.25 as a float), width and height (int32), then (u, v) of every pixel row by row
(float32), all little-endian. Numbers beyond 1e9, or NaN, stand for "unknown".
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from counterpoint.benchmarks.datasets._tables import Origin
from counterpoint.errors import BadInput
from counterpoint.files import write_bytes
from counterpoint.geometry import SizeWH

Flow = Float32[np.ndarray, "_ _ 2"]
"""(rows, columns, 2): how far each pixel moves, (x, y), pixels; NaN where unknown."""

MAGIC = b"PIEH"
UNKNOWN = 1e9
"""Larger numbers mean that a pixel's flow is not known."""

_HEADER = 12
_WRITTEN = 1e10  # for pixels whose flow is not known, as Middlebury's own code writes
_LONGEST = 16384


def read_flo(path: Path, origin: Origin) -> Flow:
    """A flow field; NaN where unknown.

    Raises:
        BadInput: missing (the error says where to get it), or not such a file.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise origin.missing(path) from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error}") from error
    w, h = _size(path, data, len(data))
    flow = np.frombuffer(data, "<f4", offset=_HEADER).reshape(h, w, 2).astype(np.float32)
    known = np.logical_and(*np.moveaxis(np.abs(flow) < UNKNOWN, 2, 0))  # false for NaN too
    flow[~known] = np.nan
    return flow


def flo_size(path: Path, origin: Origin) -> SizeWH:
    """Width and height of a flow field, from its header and the file's size alone.

    Raises:
        BadInput: missing, not such a file, or cut off.
    """
    try:
        with path.open("rb") as file:
            return _size(path, file.read(_HEADER), path.stat().st_size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise origin.missing(path) from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error}") from error


def write_flo(path: Path, flow: Flow) -> None:
    """Write a flow field, atomically.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    header = MAGIC + np.array(flow.shape[1::-1], "<i4").tobytes()
    numbers = np.nan_to_num(flow, nan=_WRITTEN).astype("<f4")
    write_bytes(path, header + numbers.tobytes())


def _size(path: Path, data: bytes, length: int) -> SizeWH:
    if len(data) < _HEADER or data[:4] != MAGIC:
        raise BadInput(
            f"expected a .flo file, which begins with {MAGIC.decode()} and its size, at {path}, "
            f"got {data[:4]!r}; unpack it again"
        )
    w, h = (int(side) for side in np.frombuffer(data, "<i4", 2, 4))
    if not (1 <= w <= _LONGEST and 1 <= h <= _LONGEST):
        raise BadInput(f"expected a flow of 1 to {_LONGEST} pixels a side in {path}, got {w} x {h}")
    if length != _HEADER + 8 * w * h:
        raise BadInput(
            f"expected {_HEADER + 8 * w * h} bytes of {w} x {h} vectors in {path}, got {length}; "
            "unpack it again"
        )
    return w, h
