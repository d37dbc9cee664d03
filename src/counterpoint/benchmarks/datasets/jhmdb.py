"""JHMDB (Jhuang et al. 2013) in its original layout: short clips, fifteen body joints a frame.

The folder is the one that holds ``Rename_Images`` (frames, a folder an action and clip),
``joint_positions`` (a MATLAB file a clip) and ``splits`` (two lists an action). Clips are listed at
once; joints and pictures are read when they are used.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from counterpoint.benchmarks.datasets._pair_lists import read_mat
from counterpoint.benchmarks.datasets._pictures import Pictures
from counterpoint.benchmarks.datasets._tables import (
    Origin,
    corrupt,
    files_in,
    read_lines,
    require_file,
)
from counterpoint.benchmarks.datasets.davis import part_of
from counterpoint.benchmarks.datasets.keypoints import Skipped, usable
from counterpoint.errors import BadInput, UnknownName
from counterpoint.geometry import SizeWH, from_matlab
from counterpoint.images import Picture, load_picture

JOINTS = (
    "neck",
    "belly",
    "face",
    "right shoulder",
    "left shoulder",
    "right hip",
    "left hip",
    "right elbow",
    "left elbow",
    "right knee",
    "left knee",
    "right wrist",
    "left wrist",
    "right ankle",
    "left ankle",
)

WHOLE = 268
"""Test clips of the first split."""

ORIGIN = Origin(
    archive="Rename_Images.tar.gz, joint_positions.zip and splits.zip",
    url="http://jhmdb.is.tue.mpg.de",
    folder="the folder that holds Rename_Images",
)

_TEST = "2"


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip.

    Attributes:
        name: "walk/Juno_walk_f_cm_np1_fr_med_8".
        frames: paths of its pictures, in order.
        joints_path: of the MATLAB file.
        limit_frames: only the first so many.
    """

    name: str
    frames: tuple[Path, ...]
    joints_path: Path
    limit_frames: int | None = None

    def __len__(self) -> int:
        return len(self.joints_px)

    def picture(self, frame: int) -> Picture:
        """A frame, decoded.

        Raises:
            ImageError: it cannot be read.
        """
        return load_picture(self.frames[frame])

    @cached_property
    def size_wh(self) -> SizeWH:
        """Width and height of the first frame, pixels."""
        return self.picture(0).size_wh

    def check(self) -> None:
        """Read joints and sizes, so that faults are said before anything is run.

        Raises:
            ImageError: a frame that is no picture, or is cut off.
            BadInput: joints that cannot be used, or a frame of another size than the first.
        """
        pictures = Pictures(ORIGIN)
        first = pictures.whole(self.frames[0])
        for path in self.frames[: len(self.joints_px)]:
            if pictures.whole(path) != first:
                raise BadInput(
                    "expected frames of one size in {}, {} x {} as the first, got {} x {} in "
                    "{}; unpack it again".format(self.name, *first, *pictures.of(path), path)
                )

    @cached_property
    def joints_px(self) -> Float[np.ndarray, "frames 15 2"]:
        """The joints, (x, y), pixels; they may lie outside the picture.

        Raises:
            BadInput: the file is missing, damaged or of another shape, or has more frames than
                there are pictures.
            MissingExtra: scipy is not installed.
        """
        table = read_mat(self.joints_path, "pos_img", ORIGIN)
        shape = np.shape(np.asarray(table))
        if len(shape) != 3 or shape[:2] != (2, len(JOINTS)) or not shape[2] >= 2:
            raise BadInput(
                f"expected joints (2, {len(JOINTS)}, frames) in {self.joints_path}, got {shape}"
            )
        if shape[2] > len(self.frames):
            raise ORIGIN.missing(self.frames[0].with_name(f"{len(self.frames) + 1:05}.png"))
        joints = from_matlab(np.asarray(table, dtype=np.float64).transpose(2, 1, 0))
        if not np.isfinite(joints).all():
            raise BadInput(f"expected finite joints in {self.joints_path}, got NaN or infinity")
        return joints[: self.limit_frames]


@dataclass(frozen=True, eq=False)
class JHMDB:
    """The test clips of a split, or a part of them.

    Attributes:
        split: 1, 2 or 3.
        clips: by action, then in the order of the lists.
        skipped: clips that are listed but not here.
        limit_frames: how many frames of each there are at most; None: all.
    """

    split: int
    clips: tuple[Clip, ...]
    skipped: tuple[Skipped, ...] = ()
    limit_frames: int | None = None

    def named(self, used: int) -> str:
        """ "JHMDB test split 1" where all of it is used, else how much."""
        whole = f"JHMDB test split {self.split}"
        return part_of(whole, used, WHOLE if self.split == 1 else None, self.limit_frames)


def read_jhmdb(
    root: Path | str,
    split: int = 1,
    *,
    clips: Collection[str] | None = None,
    limit: int | None = None,
    limit_frames: int | None = None,
    skip_bad: bool = False,
) -> JHMDB:
    """List the test clips of JHMDB.

    Args:
        root: the folder that holds ``Rename_Images``.
        split: 1, 2 or 3; papers report the first.
        clips: only these, by name ("walk/Juno_walk_f_cm_np1_fr_med_8", or without the action), or
            all of an action ("walk").
        limit: only the first so many of them.
        limit_frames: only the first so many frames of each, at least 2.
        skip_bad: list clips whose pictures or joints are missing in `JHMDB.skipped` instead of
            raising.

    Raises:
        BadInput: a list, a folder or a file is missing.
        UnknownName: a clip that the lists do not have.
    """
    root = Path(root).expanduser()
    if limit_frames is not None and limit_frames < 2:
        raise BadInput(f"expected at least 2 frames, got a limit of {limit_frames}")
    chosen = _chosen(_test_clips(root, split), clips)[:limit]
    found, skipped = usable(
        [(name, name) for name in chosen],
        lambda name: _clip(root, name, limit_frames),
        skip_bad=skip_bad,
    )
    if not found:
        why = f"; {len(skipped)} skipped, the first: {skipped[0].reason}" if skipped else ""
        raise BadInput(f"expected test clips of split {split} at {root}, found none{why}")
    return JHMDB(split, found, skipped, limit_frames)


def _test_clips(root: Path, split: int) -> list[str]:
    """Names with their actions."""
    lists = [
        path
        for path in files_in(root / "splits", ".txt")
        if path.name.endswith(f"_test_split{split}.txt")
    ]
    if not lists:
        raise ORIGIN.missing(root / "splits" / f"walk_test_split{split}.txt")
    names: list[str] = []
    for path in lists:
        action = path.name.removesuffix(f"_test_split{split}.txt")
        names += [f"{action}/{clip}" for clip, use in split_lines(path) if use == _TEST]
    return names


def split_lines(path: Path) -> list[tuple[str, str]]:
    """The clips of a list, and what each is for: "1" training, "2" test, "0" neither.

    Raises:
        BadInput: missing, or a line that says something else.
    """
    found: list[tuple[str, str]] = []
    for number, line in read_lines(path, ORIGIN):
        *words, use = line.split() if line.split()[1:] else (line, "")
        clip = " ".join(words)
        if not clip.endswith(".avi") or use not in ("0", "1", _TEST):
            raise corrupt(path, number, line, "'clip.avi' and 1 (training) or 2 (test)")
        found.append((clip.removesuffix(".avi"), use))
    return found


def _chosen(names: list[str], wanted: Collection[str] | None) -> list[str]:
    if wanted is None:
        return names
    by_name: dict[str, set[str]] = {}
    for name in names:
        for known in (name, *name.split("/", 1)):  # with its action, its action, without
            by_name.setdefault(known, set()).add(name)
    for name in wanted:
        if name not in by_name:
            raise UnknownName("clip or action of JHMDB", name, by_name)
    kept = set[str]().union(*(by_name[name] for name in wanted))
    return [name for name in names if name in kept]


def _clip(root: Path, name: str, limit_frames: int | None) -> Clip:
    folder = root / "Rename_Images" / name
    frames = tuple(files_in(folder, ".png"))
    if not frames:
        raise ORIGIN.missing(folder / "00001.png")
    for i, path in enumerate(frames, 1):
        if path.stem != f"{i:05}":
            raise ORIGIN.missing(folder / f"{i:05}.png")
    joints = require_file(root / "joint_positions" / name / "joint_positions.mat", ORIGIN)
    return Clip(name, frames, joints, limit_frames)
