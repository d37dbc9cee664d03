"""Key points from files: SuperPoint's and other detectors', found elsewhere.

Two kinds, both with x and y in pixels of the picture, centres at whole numbers:

- npz with ``keypoints`` (N, 2) and, if it likes, ``scores`` (N,). In a folder, of a picture
  ``seq/1.ppm``: ``seq/1.npz``, ``seq/1.ppm.npz`` or, as SuperPoint's are published for HPatches,
  ``seq/1.ppm.superpoint``, and the same without ``seq/``.
- HDF5 in hloc's layout (Sarlin et al. 2019): a group for each picture by its name, relative to the
  folder of pictures, with ``keypoints`` and, if it likes, ``scores``; of half precision, too.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from counterpoint.errors import BadInput, MissingExtra
from counterpoint.geometry import SizeWH, as_points, inside, require_inside
from counterpoint.tasks.scenes.local_features import KeyPoints

ENDINGS = (".npz", ".superpoint")
HDF5 = (".h5", ".hdf5")

ROUNDING_PX = 1.0
"""How far beyond the picture a point may lie: half precision rounds so coarsely above 1,024."""


def read_keypoints(source: Path | str, name: str, size_wh: SizeWH, count: int) -> KeyPoints:
    """Key points of a picture, at most ``count``: the best by score, else the file's first.

    Args:
        source: an npz, a folder of such, or an HDF5 file.
        name: of the picture: a path, of which folders and HDF5 files know some last part.
        size_wh: of the picture, pixels; points within a pixel of it are moved onto it.
        count: how many at most.

    Raises:
        BadInput: missing, or not in this format.
        PointError: a point that is outside the picture or not finite.
        MissingExtra: an HDF5 file, and h5py is not installed.
    """
    source = Path(source).expanduser()
    if count < 1:
        raise BadInput(f"expected at least 1 key point, got {count}")
    if source.suffix.lower() in HDF5:
        return _checked(*_from_hdf5(source, name), source, size_wh, count)
    return read_npz(_file_for(source, name) if source.is_dir() else source, size_wh, count)


def read_npz(path: Path, size_wh: SizeWH, count: int) -> KeyPoints:
    """Key points of one npz, as `read_keypoints` has them."""
    return _checked(*_from_npz(path), path, size_wh, count)


def _checked(points: Any, scores: Any, source: Path, size_wh: SizeWH, count: int) -> KeyPoints:
    kind = "HDF5 file" if source.suffix.lower() in HDF5 else "npz"
    expected = f"expected an {kind} with keypoints (N, 2) [and scores (N,)] in {source}"
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "fiu":
        raise BadInput(f"{expected}, got keypoints {points.dtype} {points.shape}")
    if scores is None:
        scores = np.ones(len(points))
    if scores.shape != points.shape[:1] or scores.dtype.kind not in "fiu":
        raise BadInput(
            f"{expected}, got scores {scores.dtype} {scores.shape} of {len(points)} points"
        )
    for name, values in (("keypoints", points), ("scores", scores)):
        if not np.isfinite(values).all():
            raise BadInput(f"{expected}, all finite, got NaN or infinity among the {name}")
    best = np.argsort(-scores.astype(np.float64), kind="stable")[:count]
    places = as_points(points[best])
    near = inside(places, size_wh, slack_px=ROUNDING_PX)
    edge = np.asarray(size_wh) - 1.0
    places[near] = np.where(
        inside(places[near], size_wh)[:, None], places[near], places[near].clip(0, edge)
    )
    require_inside(places, size_wh, f"the picture of {source}")
    return KeyPoints(places, scores[best].astype(np.float64))


def _tails(name: str) -> Iterator[PurePosixPath]:
    """A path's last parts, the longest first: "a/b/c.jpg", "b/c.jpg", "c.jpg"."""
    parts = Path(name).parts
    return (PurePosixPath(*parts[first:]) for first in range(len(parts)))


def _file_for(folder: Path, name: str) -> Path:
    """The npz of a picture in a folder of them."""
    for tail in _tails(name):
        inner = tail.relative_to("/") if tail.is_absolute() else tail
        tried = [inner.with_suffix(".npz"), *(Path(f"{inner}{end}") for end in ENDINGS)]
        found = next((folder / one for one in tried if (folder / one).is_file()), None)
        if found:
            return found
    last = Path(name).name
    raise BadInput(
        f"no key points of {name} in {folder}: expected {Path(last).stem}.npz, {last}.npz or "
        f"{last}.superpoint"
    )


def _from_npz(path: Path) -> tuple[Any, Any]:
    if not path.is_file():
        raise BadInput(f"no such file of key points: {path}")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return file["keypoints"], file.get("scores")
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        # numpy takes what it does not know for pickled objects, and says how to run them.
        reason = "it is damaged or of another kind" if "pickle" in str(error) else error
        raise BadInput(
            f"expected an npz with keypoints (N, 2) [and scores (N,)] in {path}: {reason}; "
            "write it again"
        ) from error


def _from_hdf5(path: Path, name: str) -> tuple[Any, Any]:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra("colmap", "HDF5 files") from error
    if not path.is_file():
        raise BadInput(f"no such file of key points: {path}")
    try:
        with h5py.File(path, "r") as file:
            tails = [tail.as_posix() for tail in _tails(name)]
            group: Any = next((file[t] for t in tails if t.strip("/") and t in file), None)
            if group is None or "keypoints" not in group:
                raise BadInput(
                    f"no key points of {name} in {path}; its pictures are called like "
                    f"{', '.join(list(file)[:3]) or 'nothing: it is empty'}"
                )
            scores = group["scores"][()] if "scores" in group else None
            return group["keypoints"][()], scores
    except OSError as error:
        reason = " ".join(str(error).split())[:100]
        raise BadInput(f"expected an HDF5 file of key points, got {path}: {reason}") from error
