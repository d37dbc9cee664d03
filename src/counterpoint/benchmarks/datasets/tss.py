"""TSS (Taniai et al. 2016): pairs of pictures with the flow of every foreground pixel, both ways.

The folder is the one that holds ``FG3DCar`` (cars), ``JODS`` and ``PASCAL``. Each has a folder a
pair with ``image1.png``, ``image2.png``, ``mask1.png``, ``mask2.png``, ``flow1.flo`` (from picture
1 to picture 2, on the pixels of picture 1), ``flow2.flo`` (back) and ``flip_gt.txt`` ("1" where one
thing is the other's mirror image; without the file, it is not). Flow is known on the foreground
only. Flows of mirrored pairs lead to where the points are in the picture as it is.

What is there is listed at once; pictures and flows are read when they are used.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool
from PIL import Image

from counterpoint.benchmarks.datasets._pictures import Pictures
from counterpoint.benchmarks.datasets._tables import Origin, read_text
from counterpoint.benchmarks.datasets.flo import Flow, flo_size, read_flo
from counterpoint.benchmarks.datasets.keypoints import Skipped, plain, usable
from counterpoint.errors import BadInput, UnknownName
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture, load_picture

Side = Literal[1, 2]

GROUPS = ("FG3DCar", "JODS", "PASCAL")

WHOLE: Mapping[str, int] = {"FG3DCar": 195, "JODS": 81, "PASCAL": 124}
"""Pairs of each group."""

ORIGIN = Origin(
    archive="TSS_CVPR2016.zip",
    url="https://taniai.space/projects/cvpr16_dccs",
    folder="the folder that holds FG3DCar, JODS and PASCAL",
)

_FILES = ("image1.png", "image2.png", "mask1.png", "mask2.png", "flow1.flo", "flow2.flo")


@dataclass(frozen=True, eq=False)
class TSSPair:
    """Two pictures of one kind of thing.

    Attributes:
        id: "JODS/car_01_02".
        group: "JODS".
        category: what is seen, as its folder's name begins ("car").
        folder: that holds its files.
        flipped: whether one thing is the other's mirror image.
    """

    id: str
    group: str
    category: str
    folder: Path
    flipped: bool

    @property
    def name(self) -> str:
        """The same as `id`."""
        return self.id

    def path(self, side: Side) -> Path:
        """Of a picture."""
        return self.folder / f"image{side}.png"

    def picture(self, side: Side) -> Picture:
        """A picture, decoded.

        Raises:
            ImageError: it cannot be read.
        """
        return load_picture(self.path(side))

    def truth(self, side: Side) -> Flow:
        """From picture ``side`` to the other, on its foreground; NaN elsewhere.

        Raises:
            BadInput: missing, damaged, without a known pixel, or not of the picture's size.
        """
        path = self.folder / f"flow{side}.flo"
        flow = read_flo(path, ORIGIN)
        self._require_size(path, (flow.shape[1], flow.shape[0]), self._size_of(side))
        if np.isnan(flow).all():
            raise BadInput(f"expected the flow of some foreground pixels in {path}, got none")
        return flow

    def foreground(self, side: Side) -> Bool[np.ndarray, "rows columns"]:
        """The mask of a picture: whatever is not black.

        Raises:
            BadInput: missing or damaged, or not of the picture's size.
        """
        path = self.folder / f"mask{side}.png"
        try:
            with Image.open(path) as image:
                mask = np.array(image.convert("L")) > 0
        except FileNotFoundError as error:
            raise ORIGIN.missing(path) from error
        except (OSError, ValueError, SyntaxError) as error:
            reason = " ".join(str(error).split())
            raise BadInput(f"cannot read the mask {path}: {reason}") from error
        self._require_size(path, (mask.shape[1], mask.shape[0]), self._size_of(side))
        return mask

    def check(self) -> None:
        """Read headers and masks, so that what cannot be used is said before anything is run.

        Raises:
            ImageError: a picture that is none.
            BadInput: a file is missing, damaged, or of another size than its picture.
        """
        for side in (1, 2):
            size_wh = Pictures(ORIGIN).whole(self.path(side))
            path = self.folder / f"flow{side}.flo"
            self._require_size(path, flo_size(path, ORIGIN), size_wh)
            self.foreground(side)

    def _size_of(self, side: Side) -> SizeWH:
        return Pictures(ORIGIN).of(self.path(side))

    def _require_size(self, path: Path, found: SizeWH, expected: SizeWH) -> None:
        if found != expected:
            raise BadInput(
                "expected {} x {} pixels, its picture's size, in {}, got {} x {}; unpack it "
                "again".format(*expected, path, *found)
            )


@dataclass(frozen=True, eq=False)
class TSS:
    """The data set, or a part of it.

    Attributes:
        pairs: by group, then by name.
        request: what was asked for.
        skipped: pairs that were asked for and are not all here, with ``skip_bad`` only.
    """

    pairs: tuple[TSSPair, ...]
    request: Mapping[str, Any]
    skipped: tuple[Skipped, ...] = ()

    def named(self, used: Collection[TSSPair]) -> str:
        """ "TSS" where all of it is used, else how much of which groups."""
        counts = {group: sum(pair.group == group for pair in used) for group in GROUPS}
        if counts == dict(WHOLE):
            return "TSS"
        parts = [f"{n} of {WHOLE[group]} {group}" for group, n in counts.items() if n]
        return f"TSS, pairs: {', '.join(parts)}"


def read_tss(
    root: Path | str,
    *,
    groups: Collection[str] | None = None,
    categories: Collection[str] | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> TSS:
    """List the pairs of TSS.

    Args:
        root: the folder that holds ``FG3DCar``, ``JODS`` and ``PASCAL``, or some of them.
        groups: only these.
        categories: only these ("car").
        limit: only the first so many pairs of each group.
        skip_bad: list pairs that lack a file in `TSS.skipped` instead of raising.

    Raises:
        BadInput: no pair, or a file is missing.
        UnknownName: no such group or category.
    """
    root = Path(root).expanduser()
    inner = root / "TSS_CVPR2016"
    root = inner if inner.is_dir() else root
    for group in groups or ():
        if group not in GROUPS:
            raise UnknownName("group of TSS", group, GROUPS)
    if limit is not None and limit < 1:
        raise BadInput(f"expected a limit of at least 1 pair, got {limit}")
    folders = _folders(root, [g for g in GROUPS if groups is None or g in groups], groups)
    known = list(dict.fromkeys(_category(group, path) for group, path in folders))
    for category in categories or ():
        if category not in known:
            raise UnknownName(f"category of TSS at {root}", category, known)
    chosen = [
        (group, path)
        for group, path in folders
        if categories is None or _category(group, path) in categories
    ]
    chosen = [row for g in GROUPS for row in [row for row in chosen if row[0] == g][:limit]]
    pairs, skipped = _pairs(chosen, skip_bad)
    request = {"reader": "tss", "groups": groups and list(groups), "limit": limit}
    request |= {"categories": categories and list(categories), "skip_bad": skip_bad}
    return TSS(pairs, plain(request), skipped)


def _folders(
    root: Path, groups: Collection[str], asked: Collection[str] | None
) -> list[tuple[str, Path]]:
    """Every pair's folder; a group that was asked for by name must be there."""
    found: list[tuple[str, Path]] = []
    for group in groups:
        inside = sorted(p for p in (root / group).glob("*/") if not p.name.startswith("."))
        if not inside and asked is not None:
            raise ORIGIN.missing(root / group)
        found += [(group, path) for path in inside]
    if not found:
        raise ORIGIN.missing(root / GROUPS[0])
    return found


def _pairs(
    chosen: Collection[tuple[str, Path]], skip_bad: bool
) -> tuple[tuple[TSSPair, ...], tuple[Skipped, ...]]:
    pairs, skipped = usable(
        [(f"{group}/{folder.name}", (group, folder)) for group, folder in chosen],
        lambda row: _pair(*row),
        skip_bad=skip_bad,
    )
    if not pairs:
        why = f"; {len(skipped)} skipped, the first: {skipped[0].reason}" if skipped else ""
        raise BadInput(f"expected pairs of TSS, found none{why}")
    return pairs, skipped


def _pair(group: str, folder: Path) -> TSSPair:
    for name in _FILES:
        if not (folder / name).is_file():
            raise ORIGIN.missing(folder / name)
    path = folder / "flip_gt.txt"
    flip = read_text(path, ORIGIN).strip() if path.exists() else "0"
    if flip not in ("0", "1"):
        raise BadInput(f"expected 0 or 1 in {path}, got {flip[:40]!r}")
    identity = f"{group}/{folder.name}"
    return TSSPair(identity, group, _category(group, folder), folder, flip == "1")


def _category(group: str, folder: Path) -> str:
    """FG3DCar's folders are numbered; the others' names begin with what is seen."""
    return "car" if group == "FG3DCar" else re.split(r"[_\d]", folder.name)[0] or folder.name
