"""hloc's files (Sarlin et al. 2019): local features, matches and the list of pairs.

``features.h5``: a group for each picture by its name ("sub/1.jpg" lies in group "sub") with
``keypoints`` (N, 2), x and y, pixel centres at whole numbers as hloc has them (it adds the half
pixel for COLMAP itself); ``descriptors`` (channels, N); ``scores`` (N,); ``image_size`` (width,
height). ``matches.h5``: groups NAME/NAME, slashes inside names turned into "-", with ``matches0``
(N,), for each key point of the first picture the index of its match or -1, and
``matching_scores0``. ``pairs.txt``: two names a line.

Key points are kept in single precision: hloc's own half precision rounds them to a pixel above
1,024.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.errors import BadInput, MissingExtra
from counterpoint.files import atomic_path, write_text
from counterpoint.tasks.scenes.views import View, ViewPair


def write_features(path: str | Path, views: Sequence[View]) -> Path:
    """Write every view's key points and descriptors, atomically.

    Raises:
        MissingExtra: h5py is not installed.
        StorageError: the file cannot be written.
    """
    h5py = _h5py()
    with atomic_path(path) as beside, h5py.File(beside, "w", libver="latest") as file:
        for view in views:
            group = file.create_group(view.name)
            points = group.create_dataset("keypoints", data=view.points_px.astype(np.float32))
            points.attrs["uncertainty"] = 1.0  # pixels; hloc's own where a detector says nothing
            half = view.descriptors.numpy().T.astype(np.float16)
            group.create_dataset("descriptors", data=half)
            scores = view.keypoints.scores.astype(np.float32)
            group.create_dataset("scores", data=scores)
            group.create_dataset("image_size", data=np.array(view.size_wh, dtype=np.int64))
    return Path(path)


def write_matches(
    path: str | Path, views: Sequence[View], pairs: Sequence[ViewPair], *, inliers: bool = False
) -> Path:
    """Write every pair's matches, atomically.

    Args:
        path: the file.
        views: all of them.
        pairs: of these views.
        inliers: only the matches that a pair's matrix explains; hloc verifies all by itself.

    Raises:
        BadInput: names that are alike once slashes are turned into "-".
        MissingExtra: h5py is not installed.
        StorageError: the file cannot be written.
    """
    h5py = _h5py()
    _require_different(views)
    with atomic_path(path) as beside, h5py.File(beside, "w", libver="latest") as file:
        for pair in pairs:
            a, b = views[pair.first], views[pair.second]
            group = file.create_group(pair_name(a.name, b.name))
            matches, scores = _columns(pair, len(a.keypoints), inliers)
            group.create_dataset("matches0", data=matches)
            group.create_dataset("matching_scores0", data=scores)
    return Path(path)


def _columns(pair: ViewPair, count: int, inliers: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each key point of the first view: its match or -1, and the match's score or 0.

    The score is the cosine, which hloc's thresholds expect from 0 to 1.
    """
    matches, scores = np.full(count, -1, np.int32), np.zeros(count, np.float32)
    rows, cosine = pair.matches, pair.cosine
    if inliers:
        rows, cosine = rows[pair.agreeing], cosine[pair.agreeing]
    matches[rows[:, 0]] = rows[:, 1]
    scores[rows[:, 0]] = cosine.clip(0, 1)
    return matches, scores


def write_pairs(path: str | Path, views: Sequence[View], pairs: Sequence[ViewPair]) -> Path:
    """Write the list of pairs, atomically.

    Raises:
        BadInput: a name with a space, which would read as two.
    """
    for view in views:
        if len(view.name.split()) != 1:
            raise BadInput(
                f"expected picture names without spaces for hloc and COLMAP's lists of pairs, "
                f"got {view.name!r}; rename it"
            )
    lines = (f"{views[pair.first].name} {views[pair.second].name}\n" for pair in pairs)
    write_text(path, "".join(lines))
    return Path(path)


def read_pairs(path: str | Path, names: Sequence[str]) -> list[tuple[int, int]]:
    """A list of pairs as indices of names; each pair once, whichever way round.

    Raises:
        BadInput: missing, a line that is not two names, a name that is not among ``names``, a
            picture paired with itself.
    """
    index = {name: i for i, name in enumerate(names)}
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read the list of pairs {path}: {error}") from error
    found: list[tuple[int, int]] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or words[0] not in index or words[1] not in index:
            raise BadInput(
                f"expected two of the pictures' names, like {names[0]!r}, in line {number} of "
                f"{path}, got {line[:80]!r}"
            )
        i, j = index[words[0]], index[words[1]]
        if i == j:
            raise BadInput(f"expected two different pictures in line {number} of {path}")
        if (i, j) not in found and (j, i) not in found:
            found.append((i, j))
    if not found:
        raise BadInput(f"expected pairs in {path}, got none")
    return found


def pair_name(first: str, second: str) -> str:
    """The group of a pair's matches.

    >>> pair_name("left/1.jpg", "2.jpg")
    'left-1.jpg/2.jpg'
    """
    return "/".join(name.replace("/", "-") for name in (first, second))


def _require_different(views: Sequence[View]) -> None:
    known: dict[str, str] = {}
    for view in views:
        other = known.setdefault(view.name.replace("/", "-"), view.name)
        if other != view.name:
            raise BadInput(
                f"expected names that stay different with '-' for '/', as hloc writes pairs, got "
                f"{other} and {view.name}; rename one"
            )


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra("colmap", "hloc's HDF5 files") from error
    return h5py
