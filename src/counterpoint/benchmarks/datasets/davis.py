"""DAVIS (Perazzi et al. 2016; Pont-Tuset et al. 2017) in its original layout.

The folder is the one that holds ``JPEGImages``, ``Annotations`` and ``ImageSets``. What is there is
listed at once; pictures and masks are read when they are used. Masks are palette pictures that
number the objects from 1, or black and white with one object (all of 2016). A part of the data set
serves as well: lists cut to some sequences. The archive of 2016 has its lists in
``ImageSets/{480p,1080p}``, a picture and its mask a line, and its full resolution in ``1080p``.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image

from counterpoint.benchmarks.datasets._pictures import Pictures
from counterpoint.benchmarks.datasets._tables import Origin, files_in, find_file, read_lines
from counterpoint.benchmarks.datasets.keypoints import Skipped, usable
from counterpoint.errors import BadInput, UnknownName
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture, load_picture
from counterpoint.tasks.masks import PALETTE, Mask, write_mask

__all__ = ["PALETTE", "Davis", "DavisSequence", "part_of", "read_davis", "read_mask", "write_mask"]

Year = Literal["2016", "2017"]
Resolution = Literal["480p", "Full-Resolution", "1080p"]
RESOLUTIONS: tuple[Resolution, ...] = ("480p", "Full-Resolution", "1080p")

ORIGIN = Origin(
    archive="DAVIS-2017-trainval-480p.zip",
    url="https://davischallenge.org/davis2017/code.html",
    folder="the folder that holds JPEGImages",
)


@dataclass(frozen=True, eq=False)
class DavisSequence:
    """One video.

    Attributes:
        name: "blackswan".
        frames: paths of the pictures, in order.
        masks: paths of their annotations.
        single: whatever is not background is one object, as in DAVIS-2016.
    """

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]
    single: bool = False

    def __len__(self) -> int:
        return len(self.frames)

    def picture(self, frame: int) -> Picture:
        """A frame, decoded.

        Raises:
            ImageError: it cannot be read.
        """
        return load_picture(self.frames[frame])

    def mask(self, frame: int) -> Mask:
        """A frame's annotation: 0 for the background, objects from 1.

        Raises:
            BadInput: it cannot be read, or is not of the first mask's size.
        """
        mask = read_mask(self.masks[frame], single=self.single)
        if (mask.shape[1], mask.shape[0]) != self.size_wh:
            w, h = self.size_wh
            raise BadInput(
                f"expected masks of one size in {self.name}, {w} x {h} as the first, got "
                f"{mask.shape[1]} x {mask.shape[0]} in {self.masks[frame]}; unpack it again"
            )
        return mask

    @cached_property
    def first_mask(self) -> Mask:
        """The first frame's annotation.

        Raises:
            BadInput: it is empty, cannot be read, or is not of its picture's size.
        """
        mask = read_mask(self.masks[0], single=self.single)
        if not mask.any():
            raise BadInput(f"expected an object in the first mask of a video: {self.masks[0]}")
        mine, theirs = (mask.shape[1], mask.shape[0]), self.picture(0).size_wh
        if mine != theirs:
            raise BadInput(
                f"expected a mask of its picture's size, {theirs[0]} x {theirs[1]}, got "
                f"{mine[0]} x {mine[1]} in {self.masks[0]}; unpack it again"
            )
        return mask

    @property
    def size_wh(self) -> SizeWH:
        """Width and height of every frame, pixels."""
        return self.first_mask.shape[1], self.first_mask.shape[0]

    @property
    def objects(self) -> int:
        """How many objects the first mask numbers."""
        return int(self.first_mask.max())

    def check(self) -> None:
        """Read every mask and size, so that what cannot be used is said before anything is run.

        Raises:
            ImageError: a frame that is no picture, or is cut off.
            BadInput: a mask that cannot be read, or has an object that the first does not have; a
                frame or mask of another size.
        """
        sizes = Pictures(ORIGIN)
        for path in self.frames:
            if sizes.whole(path) != self.size_wh:
                raise BadInput(
                    "expected frames of one size in {}, {} x {} as the first, got {} x {} in "
                    "{}; unpack it again".format(self.name, *self.size_wh, *sizes.of(path), path)
                )
        for frame, path in enumerate(self.masks):
            most = int(self.mask(frame).max())
            if most > self.objects:
                raise BadInput(
                    f"expected objects 1 to {self.objects}, those of the first mask of "
                    f"{self.name}, got {most} in {path}"
                )

    def first(self, frames: int) -> "DavisSequence":
        """Only the first so many frames."""
        return replace(self, frames=self.frames[:frames], masks=self.masks[:frames])


@dataclass(frozen=True, eq=False)
class Davis:
    """The data set, or a part of it.

    Attributes:
        year: 2017 has several objects, 2016 one.
        split: "val", "train".
        sequences: in the order of the list.
        limit_frames: how many frames of each there are at most; None: all.
        skipped: sequences that are listed but not all here, with ``skip_bad`` only.
    """

    year: Year
    split: str
    sequences: tuple[DavisSequence, ...]
    limit_frames: int | None = None
    skipped: tuple[Skipped, ...] = ()

    def named(self, used: int) -> str:
        """ "DAVIS-2017 val" where all of it is used, else how much."""
        whole = f"DAVIS-{self.year} {self.split}"
        return part_of(whole, used, _WHOLE.get((self.year, self.split)), self.limit_frames)


def part_of(whole: str, used: int, of: int | None, limit_frames: int | None) -> str:
    """A data set's name, and what part of it is used unless it is all.

    >>> part_of("JHMDB", 268, 268, None), part_of("JHMDB", 2, 268, 25)
    ('JHMDB', 'part of JHMDB (videos: 2, frames: at most 25)')
    """
    if used == of and limit_frames is None:
        return whole
    frames = "" if limit_frames is None else f", frames: at most {limit_frames}"
    return f"part of {whole} (videos: {used}{frames})"


_WHOLE = {("2016", "train"): 30, ("2016", "val"): 20, ("2017", "train"): 60, ("2017", "val"): 30}


def read_davis(
    root: Path | str,
    year: Year = "2017",
    split: str = "val",
    *,
    sequences: Collection[str] | None = None,
    limit: int | None = None,
    limit_frames: int | None = None,
    resolution: Resolution = "480p",
    skip_bad: bool = False,
) -> Davis:
    """List the sequences of DAVIS.

    Args:
        root: the folder that holds ``JPEGImages``.
        year: which lists, and how masks are read.
        split: a list's name: "val", "train".
        sequences: only these.
        limit: only the first so many of them.
        limit_frames: only the first so many frames of each, at least 3 (the first and the last are
            not scored).
        resolution: a folder's name.
        skip_bad: list sequences that lack a file in `Davis.skipped` instead of raising.

    Raises:
        BadInput: a list, a folder, a frame or a mask is missing.
        UnknownName: a sequence that the list does not have.
    """
    root = Path(root).expanduser()
    names = list_names(root, year, split)
    for name in sequences or ():
        if name not in names:
            raise UnknownName(f"sequence of DAVIS-{year} {split}", name, names)
    if limit_frames is not None and limit_frames < 3:
        raise BadInput(f"expected at least 3 frames, got a limit of {limit_frames}")
    chosen = [name for name in names if sequences is None or name in sequences][:limit]
    if not chosen:
        raise BadInput(f"expected sequences in DAVIS-{year} {split} at {root}, found none")
    found, skipped = usable(
        [(name, name) for name in chosen],
        lambda name: _sequence(root, name, resolution, single=year == "2016"),
        skip_bad=skip_bad,
    )
    if not found:
        raise BadInput(f"expected a sequence that is all here, got none: {skipped[0].reason}")
    kept = found if limit_frames is None else tuple(one.first(limit_frames) for one in found)
    return Davis(year, split, kept, limit_frames, skipped)


def list_names(root: Path, year: str, split: str) -> list[str]:
    """The sequences of a list.

    Raises:
        BadInput: there is no such list.
    """
    path = root / "ImageSets" / year / f"{split}.txt"
    for folder in ("480p", "1080p") if year == "2016" and not path.exists() else ():
        pairs = root / "ImageSets" / folder / f"{split}.txt"
        if pairs.exists():
            lines = (line.split()[0] for _, line in read_lines(pairs, ORIGIN))
            names = (PurePosixPath(line.replace("\\", "/")).parent.name for line in lines)
            return list(dict.fromkeys(names))
    return list(dict.fromkeys(line for _, line in read_lines(path, ORIGIN)))


def _sequence(root: Path, name: str, resolution: Resolution, *, single: bool) -> DavisSequence:
    folder = root / "JPEGImages" / resolution / name
    frames = tuple(files_in(folder, ".jpg", ".jpeg"))
    if not frames:
        raise ORIGIN.missing(folder / "00000.jpg")
    for i, path in enumerate(frames):
        if path.stem != f"{i:05}":
            raise ORIGIN.missing(folder / f"{i:05}.jpg")
    place = root / "Annotations" / resolution / name
    return DavisSequence(name, frames, _masks(place, frames), single)


def _masks(place: Path, frames: tuple[Path, ...]) -> tuple[Path, ...]:
    """A mask for every frame, and a frame for every mask."""
    masks: list[Path] = []
    for frame in frames:
        found = find_file(place / f"{frame.stem}.png")
        if found is None:
            raise ORIGIN.missing(place / f"{frame.stem}.png")
        masks.append(found)
    for path in files_in(place, ".png"):
        if path not in masks:
            raise ORIGIN.missing(frames[0].with_name(f"{path.stem}.jpg"))
    return tuple(masks)


def read_mask(path: Path, *, single: bool = False) -> Mask:
    """A mask's numbers: 0 for the background, objects from 1.

    Args:
        path: a palette picture, whose indices count; or a grey one, whose values count, 255 as 1
            where there is nothing else but 0.
        single: whatever is not black is object 1.

    Raises:
        BadInput: missing, damaged, coloured, or 255 beside other numbers (void pixels).
    """
    try:
        with Image.open(path) as image:
            numbers = _numbers(image, path)
    except FileNotFoundError as error:
        raise ORIGIN.missing(path) from error
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"cannot read the mask {path}: {' '.join(str(error).split())}") from error
    if single or set(np.unique(numbers)) <= {0, 255}:
        return (numbers > 0).astype(np.uint8)
    if numbers.max() == 255:
        raise BadInput(
            f"expected objects numbered from 1, got void pixels (255) in {path}; take the masks of "
            "the semi-supervised task"
        )
    return numbers


def _numbers(image: Image.Image, path: Path) -> Mask:
    if image.mode in ("P", "L"):
        return np.array(image)
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    channels = np.asarray(image.convert("RGB"))
    if (channels != channels[..., :1]).any():
        raise BadInput(f"expected a palette or grey picture as a mask, got colours in {path}")
    return channels[..., 0].copy()
