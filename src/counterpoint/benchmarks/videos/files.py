"""Predictions of videos kept video by video, so that a run that is killed goes on where it was."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.benchmarks.datasets.davis import DavisSequence, read_mask, write_mask
from counterpoint.benchmarks.datasets.jhmdb import Clip
from counterpoint.benchmarks.made_by import note_origin
from counterpoint.benchmarks.videos.point_tracks import How, Tracks
from counterpoint.benchmarks.videos.propagation import Joints
from counterpoint.errors import BadInput
from counterpoint.files import atomic_path, write_text
from counterpoint.tasks.masks import Mask


class PredictionFolder:
    """A folder of predictions, video by video, that says once what made them.

    Args:
        folder: where it is or will be.
        benchmark: "davis", "jhmdb", "tapvid", "badja"; the note's file is named after it.
        origin: what makes the predictions.

    Raises:
        StorageError: predictions are there that were made in another way.
    """

    def __init__(self, folder: Path, benchmark: str, origin: Mapping[str, Any]) -> None:
        self.folder = folder
        note_origin(folder / f"{benchmark}.json", origin)

    def masks(self, sequence: DavisSequence) -> list[Mask] | None:
        """A sequence's masks; None unless all are there and sound."""
        paths = self._mask_paths(sequence)
        if not all(path.is_file() for path in paths):
            return None
        try:
            masks = [read_mask(path) for path in paths]
        except BadInput:
            return None
        return masks if all(m.shape == sequence.first_mask.shape for m in masks) else None

    def keep_masks(self, sequence: DavisSequence, masks: Sequence[Mask]) -> None:
        """Write a sequence's masks, as palette PNGs in DAVIS' layout."""
        for path, mask in zip(self._mask_paths(sequence), masks, strict=True):
            write_mask(path, mask)

    def joints(self, clip: Clip) -> Joints | None:
        """A clip's joints; None unless they are there and sound."""
        try:
            entries = json.loads(self._joints_path(clip).read_text())
            lost = [np.nan, np.nan]
            joints = np.array([[p or lost for p in row] for row in entries["joints_px"]], float)
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return joints if joints.shape == clip.joints_px.shape else None

    def keep_joints(self, clip: Clip, joints: Joints) -> None:
        """Write a clip's joints, (frames, joints, 2), null where lost."""
        listed = [[None if np.isnan(p[0]) else p.tolist() for p in frame] for frame in joints]
        write_text(self._joints_path(clip), json.dumps({"joints_px": listed}) + "\n")

    def tracks(self, video: str, how: How, shape: tuple[int, int]) -> Tracks | None:
        """A video's tracks of ``shape`` (points, frames); None unless they are there and sound."""
        try:
            with self._tracks_path(video, how).open("rb") as raw:
                file = np.load(raw, allow_pickle=False)
                points, occluded = file["points_px"], file["occluded"]
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile):
            return None
        sound = points.dtype == np.float64 and occluded.dtype == np.bool_
        if not sound or points.shape != (*shape, 2) or occluded.shape != shape:
            return None
        return Tracks(points, occluded)

    def keep_tracks(self, video: str, how: How, tracks: Tracks) -> None:
        """Write a video's tracks as an npz: ``points_px`` (points, frames, 2) and ``occluded``."""
        with atomic_path(self._tracks_path(video, how)) as beside, beside.open("wb") as file:
            np.savez_compressed(file, points_px=tracks.points_px, occluded=tracks.occluded)

    def _tracks_path(self, video: str, how: How) -> Path:
        return self.folder / how / f"{video}.npz"

    def _mask_paths(self, sequence: DavisSequence) -> list[Path]:
        return [self.folder / sequence.name / f"{path.stem}.png" for path in sequence.frames]

    def _joints_path(self, clip: Clip) -> Path:
        return self.folder / f"{clip.name}.json"
