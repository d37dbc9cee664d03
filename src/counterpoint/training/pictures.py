"""Packed training pictures: JPEG mosaics and an index, decoded once into one uint8 tensor."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from counterpoint.errors import BadInput


@dataclass(frozen=True)
class PackedPictures:
    """All training pictures in memory.

    Attributes:
        pixels: (pictures, 3, side, side), uint8 RGB.
        sha256: of the index and the mosaics they came from, and of the choice among them.
    """

    pixels: UInt8[Tensor, "pictures 3 side side"]
    sha256: str

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device) -> "PackedPictures":
        """The same, held on a device."""
        return PackedPictures(self.pixels.to(device), self.sha256)


def load_packed(folder: Path | str, below_wnid: str | None = None) -> PackedPictures:
    """Decode every ``mosaic_*.jpg`` of a folder, as its ``index.json`` lays them out.

    Args:
        folder: the mosaics and ``index.json``: ``tile_px``, ``tiles_per_row``, and per mosaic a
            list of ``labels``, indices into ``wnids``, as long as the mosaic has tiles.
        below_wnid: keep only pictures whose WordNet id sorts below this. Labels serve nothing else.

    Raises:
        BadInput: files missing, unreadable or at odds with the index; nothing is left.
    """
    folder = Path(folder)
    index, digest = _index(folder)
    mosaics = sorted(folder.glob("mosaic_*.jpg"))
    if not mosaics or len(mosaics) != len(index["labels"]):
        raise BadInput(
            f"expected {len(index['labels'])} mosaics in {folder} as its index.json says, "
            f"found {len(mosaics)}; copy the missing ones"
        )
    kept: list[np.ndarray] = []
    for path, labels in zip(mosaics, index["labels"], strict=True):
        data = path.read_bytes()
        digest.update(data)
        tiles = _tiles(path, data, index["tile_px"], index["tiles_per_row"], len(labels))
        wnids = [index["wnids"][label] for label in labels]
        kept.append(tiles[[below_wnid is None or wnid < below_wnid for wnid in wnids]])
    pixels = np.concatenate(kept)
    if not len(pixels):
        raise BadInput(f"expected pictures with ids below {below_wnid} in {folder}, found none")
    digest.update(str(below_wnid).encode())
    return PackedPictures(torch.from_numpy(pixels), digest.hexdigest())


def _index(folder: Path) -> tuple[dict[str, Any], Any]:
    path = folder / "index.json"
    try:
        text = path.read_bytes()
        index: dict[str, Any] = json.loads(text)
        missing = {"tile_px", "tiles_per_row", "labels", "wnids"} - index.keys()
    except FileNotFoundError as error:
        raise BadInput(
            f"expected packed pictures (index.json and mosaic_*.jpg) in {folder}, found no index"
        ) from error
    except (ValueError, AttributeError, OSError) as error:
        raise BadInput(f"expected an index of packed pictures in {path}, got {error}") from error
    if missing:
        raise BadInput(f"expected {path} to have {sorted(missing)}, which it lacks")
    return index, hashlib.sha256(text)


def _tiles(
    path: Path, data: bytes, tile_px: int, tiles_per_row: int, count: int
) -> UInt8[np.ndarray, "count 3 tile_px tile_px"]:
    """(count, 3, tile_px, tile_px), uint8 RGB, in row-major order."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise BadInput(f"expected a JPEG mosaic, cannot decode {path}; copy it again")
    rows = image.shape[0] // tile_px
    wide_enough = image.shape[1] == tiles_per_row * tile_px
    if not wide_enough or image.shape[0] % tile_px or count > rows * tiles_per_row:
        raise BadInput(
            f"expected {path} to hold {count} tiles of {tile_px} px, {tiles_per_row} a row; "
            f"it is {image.shape[1]}x{image.shape[0]}"
        )
    rgb = np.ascontiguousarray(image[..., ::-1])
    grid = rgb.reshape(rows, tile_px, tiles_per_row, tile_px, 3).transpose(0, 2, 4, 1, 3)
    return grid.reshape(-1, 3, tile_px, tile_px)[:count].copy()
