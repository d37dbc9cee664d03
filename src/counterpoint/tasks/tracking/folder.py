"""Where tracks are written as they are found, and in the end in the formats of the field.

While a run lasts, every frame adds a line to a log, a palette PNG, and what the tracker must
remember of it (soft labels; the last few frames only). A run that was killed goes on behind the
last line of the log; features of the frames still remembered are made again, which is cheaper than
keeping them. In the end the log is turned into tables.

::

    OUT/NAME.mp4                          the overlay (written by the caller)
    OUT/Annotations/480p/NAME/00000.png   masks in DAVIS' layout
    OUT/NAME.points.csv, .points.json     points
    OUT/NAME.tapvid.npz                   points in TAP-Vid's convention
    OUT/NAME.boxes.txt                    boxes in MOTChallenge's convention
    OUT/NAME.track.json                   what made them
    OUT/.NAME.track/                      the log, and memory while a run lasts
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from counterpoint.errors import ImageError, StorageError
from counterpoint.files import atomic_path, explain, save_tensors, write_text
from counterpoint.geometry import SizeWH, to_mot, to_tapvid
from counterpoint.tasks.masks import read_mask, write_mask
from counterpoint.tasks.tracking.prompts import Tracked
from counterpoint.tasks.tracking.tracker import Memory


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a folder of tracks is about.

    Attributes:
        name: of the video.
        size_wh: of its frames, pixels.
        names: of the points.
        limbs: pairs of points that belong together.
        numbers: of the objects, as their masks' file has them; empty without masks.
        boxes: how many.
    """

    name: str
    size_wh: SizeWH
    names: tuple[str, ...] = ()
    limbs: tuple[tuple[int, int], ...] = ()
    numbers: tuple[int, ...] = ()
    boxes: int = 0

    @property
    def table(self) -> np.ndarray:
        """The number written for each object of a mask, (256,)."""
        table = np.arange(256, dtype=np.uint8)
        if self.numbers and max(self.numbers) <= 255:
            table[1 : len(self.numbers) + 1] = self.numbers
        return table


@dataclass(frozen=True)
class Line:
    """A frame in the log: its number, time, and results but for the mask."""

    number: int
    time_s: float | None
    found: Tracked


class TrackFolder:
    """Results of one video; see the module.

    Args:
        out: the folder.
        subject: what it is about.
        origin: everything that makes the results, as plain JSON.
        kept: of how many frames the tracker needs its memory to go on.
        frame_name: what a frame's mask is called.

    Raises:
        StorageError: results are there that were made in another way.
    """

    def __init__(
        self,
        out: Path,
        subject: Subject,
        origin: Mapping[str, Any],
        kept: int,
        frame_name: Callable[[int], str] = "{:05}".format,
    ) -> None:
        self.out, self.subject, self._kept = out, subject, max(1, kept)
        self._name = frame_name
        self._state = out / f".{subject.name}.track"
        self._note = out / f"{subject.name}.track.json"
        self._origin = json.loads(json.dumps(origin))
        self._whole: list[int] | None = None  # frames of the video, frames here
        self._claim()
        self.done = self._sound()

    @property
    def masks(self) -> Path:
        """The folder of the masks."""
        return self.out / "Annotations" / f"{self.subject.size_wh[1]}p" / self.subject.name

    @property
    def video(self) -> Path:
        """The overlay's file."""
        return self.out / f"{self.subject.name}.mp4"

    def _claim(self) -> None:
        """Note what makes the results, or check that those there were made so."""
        if not self._note.exists():
            if self._state.exists():  # of a run whose note was removed by hand
                shutil.rmtree(self._state)
            self._write_note(None)
            return
        try:
            note = json.loads(self._note.read_text())
            there, self._whole = note["made_by"], note.get("complete")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise StorageError(
                f"expected what made the tracks in {self._note}, which cannot be read; remove it"
            ) from error
        for name in sorted(there.keys() | self._origin.keys()):
            if there.get(name) != self._origin.get(name):
                raise StorageError(
                    f"{self._note} was made with {name} = {_short(there.get(name))}, asked was "
                    f"{_short(self._origin.get(name))}; choose another --out, or remove it"
                )

    @property
    def _log(self) -> Path:
        return self._state / "log.jsonl"

    def _write_note(self, complete: list[int] | None) -> None:
        entries = {"made_by": self._origin, "complete": complete}
        write_text(self._note, json.dumps(entries, indent=2) + "\n")

    def complete(self, count: int | None) -> bool:
        """Whether a run over a video of so many frames has come to its end here."""
        return self._whole == [count, len(self.done)]

    def _sound(self) -> list[int]:
        """Numbers of the frames that are there with all that belongs to them."""
        done: list[int] = []
        # The last line may be cut off, or a mask gone: it goes on from there.
        with suppress(StorageError, ImageError):
            done.extend(line.number for line in self.lines())
        remembered = done[-self._kept :]
        return done if all(self._memory_path(number).is_file() for number in remembered) else []

    def lines(self) -> Iterator[Line]:
        """The log, line by line.

        Raises:
            StorageError: a line that is damaged.
            ImageError: a mask that is not there.
        """
        if not self._log.exists():
            return
        with self._log.open(encoding="utf-8", errors="replace") as log:
            for text in log:
                try:
                    line = self._line(json.loads(text))
                except (ValueError, LookupError, TypeError) as error:
                    if isinstance(error, ImageError):
                        raise
                    raise StorageError(f"cannot read {self._log}; remove {self._state}") from error
                yield line

    def _line(self, entry: dict[str, Any]) -> Line:
        number = int(entry["frame"])
        mask = self.mask_path(number) if self.subject.numbers else None
        if mask is not None and not mask.is_file():
            raise ImageError(f"no such file: {mask}")
        found = Tracked(
            None,
            _rows(entry["points"], 2, len(self.subject.names)),
            np.array(entry["visible"], dtype=bool),
            np.array(entry["hold"], dtype=float),
            _rows(entry["boxes"], 4, self.subject.boxes),
            np.array(entry["box_peak"], dtype=float),
        )
        return Line(number, entry["time_s"], found)

    def mask_path(self, number: int) -> Path:
        """A frame's mask."""
        return self.masks / f"{self._name(number)}.png"

    def _memory_path(self, number: int) -> Path:
        return self._state / f"{number}.safetensors"

    def read(self, line: Line) -> Tracked:
        """A frame's results, its mask with them.

        Raises:
            ImageError: the mask is damaged.
        """
        if not self.subject.numbers:
            return line.found
        written = read_mask(self.mask_path(line.number))
        back = np.zeros(256, np.uint8)
        objects = len(self.subject.numbers) + 1
        back[self.subject.table[:objects]] = np.arange(objects)
        return replace(line.found, mask=back[written])

    def memory(self, number: int) -> Memory:
        """What the tracker had to remember of a frame.

        Raises:
            StorageError: it is damaged.
        """
        path = self._memory_path(number)
        try:
            tensors = load_file(path)
            return Memory(**tensors)
        except (SafetensorError, OSError, TypeError) as error:
            raise StorageError(f"cannot read {path}; remove {self._state} to begin anew") from error

    def add(self, number: int, time_s: float | None, found: Tracked, memory: Memory) -> None:
        """Keep a frame. The log's line comes last: what it names is there.

        Raises:
            StorageError: the folder cannot be written, or the disk is full.
        """
        if found.mask is not None:
            write_mask(self.mask_path(number), self.subject.table[found.mask])
        tensors = {name: getattr(memory, name).contiguous() for name in _MEMORY}
        save_tensors(self._memory_path(number), tensors, {})
        self._append(number, time_s, found)
        self.done.append(number)
        if len(self.done) > self._kept:
            self._memory_path(self.done[-1 - self._kept]).unlink(missing_ok=True)

    def _append(self, number: int, time_s: float | None, found: Tracked) -> None:
        entry = _entry(Line(number, time_s, found))
        try:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise StorageError(explain(error, self._log)) from error

    def begin(self) -> None:
        """Cut the log behind its last sound line; without one, begin anew."""
        if not self.done and self._state.exists():
            shutil.rmtree(self._state)
        self._state.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._log) as beside, beside.open("w", encoding="utf-8") as kept:
            if self._log.exists():
                with self._log.open(encoding="utf-8") as log:
                    kept.writelines(islice(log, len(self.done)))

    def finish(self, count: int | None) -> list[Path]:
        """Write the tables, and note that all of a video's ``count`` frames are done.

        Returns:
            The tables.
        """
        self._write_note(None if count is None else [count, len(self.done)])
        written = [*self._points()] if self.subject.names else []
        return [*written, *([self._boxes()] if self.subject.boxes else [])]

    def _points(self) -> Iterator[Path]:
        stem = self.out / self.subject.name
        table, listed, arrays = (
            Path(f"{stem}{ending}") for ending in (".points.csv", ".points.json", ".tapvid.npz")
        )
        with atomic_path(table) as beside, beside.open("w", encoding="utf-8", newline="") as file:
            self._csv(file)
        with atomic_path(listed) as beside, beside.open("w", encoding="utf-8") as file:
            self._json(file)
        write_tapvid(arrays, self.lines(), self.subject)
        yield from (table, listed, arrays)

    def _csv(self, file: TextIO) -> None:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("frame", "time_s", "point", "x", "y", "visible", "hold"))
        for line in self.lines():
            time_s = "" if line.time_s is None else f"{line.time_s:.6f}"
            for name, row in zip(self.subject.names, _point_rows(line.found), strict=True):
                x, y = ("", "") if row[0] is None else (f"{v:.3f}" for v in row[0])
                table.writerow((line.number, time_s, name, x, y, int(row[1]), f"{row[2]:.5f}"))

    def _json(self, file: TextIO) -> None:
        """One object, its frames a line each: written as they are read."""
        head = {
            "video": self.subject.name,
            "size_wh": list(self.subject.size_wh),
            "names": list(self.subject.names),
            "limbs": [list(limb) for limb in self.subject.limbs],
        }
        file.write(json.dumps(head)[:-1] + ', "frames": [')
        for i, line in enumerate(self.lines()):
            file.write(("\n" if i == 0 else ",\n") + json.dumps(_entry(line, boxes=False)))
        file.write("\n]}\n")

    def _boxes(self) -> Path:
        path = self.out / f"{self.subject.name}.boxes.txt"
        with atomic_path(path) as beside, beside.open("w", encoding="utf-8") as file:
            for line in self.lines():
                for i, box in enumerate(to_mot(line.found.boxes_px)):
                    if np.isfinite(box).all():
                        sides = ",".join(f"{side:.2f}" for side in box)
                        peak = line.found.box_peak[i]
                        file.write(f"{line.number + 1},{i + 1},{sides},{peak:.4f},-1,-1,-1\n")
        return path


_MEMORY = ("labels", "templates", "boxes_px", "marks")


def _entry(line: Line, *, boxes: bool = True) -> dict[str, Any]:
    """A line as plain values; floats come back bit for bit."""
    found = line.found
    entry: dict[str, Any] = {
        "frame": line.number,
        "time_s": line.time_s,
        "points": _listed(found.points_px),
        "visible": found.visible.tolist(),
        "hold": found.hold.tolist(),
    }
    if boxes:
        entry |= {"boxes": _listed(found.boxes_px), "box_peak": found.box_peak.tolist()}
    return entry


def write_tapvid(path: Path, lines: Iterable[Line], subject: Subject) -> None:
    """Points as TAP-Vid's arrays: ``points`` (tracks, frames, 2), ``occluded`` (tracks, frames).

    ``frames`` adds which frames these are. Where a point has not begun it is occluded, at (0, 0).

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    kept = [(line.number, line.found.points_px, line.found.visible) for line in lines]
    frames, places, seen = zip(*kept, strict=True)
    points, occluded = np.stack(places, axis=1), ~np.stack(seen, axis=1)
    shares = np.nan_to_num(to_tapvid(points, subject.size_wh)).astype(np.float32)
    with atomic_path(path) as beside:
        np.savez_compressed(beside, points=shares, occluded=occluded, frames=np.array(frames))


def _point_rows(found: Tracked) -> Iterator[tuple[list[float] | None, bool, float]]:
    yield from zip(
        _listed(found.points_px), found.visible.tolist(), found.hold.tolist(), strict=True
    )


def _listed(rows: np.ndarray) -> list[list[float] | None]:
    """Rows as plain numbers, None for those that are not known."""
    return [row if np.isfinite(row).all() else None for row in rows.tolist()]


def _rows(listed: list[list[float] | None], width: int, count: int) -> np.ndarray:
    if len(listed) != count:
        raise ValueError(f"{len(listed)} rows for {count}")
    return np.array([row or [np.nan] * width for row in listed], dtype=float).reshape(-1, width)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
