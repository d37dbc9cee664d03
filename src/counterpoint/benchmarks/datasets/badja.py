"""BADJA (Biggs et al. 2018): joints of animals in videos of DAVIS and of its own.

The folder is the one that holds ``joint_annotations``, a JSON file an animal. Joints are written as
(row, column) in the pictures of DAVIS' full resolution.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from counterpoint.benchmarks.datasets._tables import Origin, read_text
from counterpoint.errors import BadInput, UnknownName
from counterpoint.geometry import PixelTransform, Points, SizeWH

SIZE_WH: SizeWH = (1920, 1080)
"""Of the pictures that DAVIS' animals are annotated in, pixels."""

ORIGIN = Origin(
    archive="the repository BADJA",
    url="https://github.com/benjiebob/BADJA",
    folder="the folder that holds joint_annotations",
)


@dataclass(frozen=True, eq=False)
class AnnotatedFrame:
    """The joints of one frame.

    Attributes:
        picture: path of the picture, as the annotation has it.
        mask: path of the animal's mask.
        frame: its number in the video, from 0.
        joints_px: (joints, 2), (x, y), pixels of the full resolution; of no meaning where not
            visible.
        visible: (joints,).
    """

    picture: str
    mask: str
    frame: int
    joints_px: Float[np.ndarray, "joints 2"]
    visible: Bool[np.ndarray, " joints"]

    def joints_at(self, size_wh: SizeWH) -> Points:
        """The joints in the same picture resized, such as DAVIS' 854 x 480."""
        return PixelTransform.resize(SIZE_WH, size_wh).apply(self.joints_px)


def read_badja(
    root: Path | str, animals: Collection[str] | None = None
) -> dict[str, tuple[AnnotatedFrame, ...]]:
    """Read the annotations, by animal ("camel").

    Raises:
        BadInput: missing, or not such a file.
        UnknownName: no such animal.
    """
    folder = Path(root).expanduser() / "joint_annotations"
    paths = {path.stem: path for path in sorted(folder.glob("*.json"))}
    if not paths:
        raise ORIGIN.missing(folder / "camel.json")
    for animal in animals or ():
        if animal not in paths:
            raise UnknownName("animal of BADJA", animal, paths)
    return {
        animal: _frames(path)
        for animal, path in paths.items()
        if animals is None or animal in animals
    }


def _frames(path: Path) -> tuple[AnnotatedFrame, ...]:
    try:
        entries = json.loads(read_text(path, ORIGIN))
        return tuple(_frame(entry) for entry in entries)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, BadInput):
            raise
        reason = " ".join(str(error).split())
        raise BadInput(f"expected BADJA's annotations in {path}: {reason}") from error


def _frame(entry: dict[str, Any]) -> AnnotatedFrame:
    joints = np.asarray(entry["joints"], dtype=np.float64)
    visible = np.asarray(entry["visibility"], dtype=bool)
    if joints.shape != (len(visible), 2) or not np.isfinite(joints).all():
        raise ValueError(f"joints {joints.shape} for visibility {visible.shape}")
    return AnnotatedFrame(
        entry["image_path"],
        entry["segmentation_path"],
        int(Path(entry["image_path"]).stem),
        joints[:, ::-1].copy(),
        visible,
    )
