"""What a person marks for `counterpoint track`: masks, points, boxes, poses, of any frame."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from counterpoint.errors import BadInput, PointError

if TYPE_CHECKING:
    from counterpoint.tasks.masks import Objects
    from counterpoint.tasks.tracking.prompts import Prompt

_Several = Parameter(negative="", consume_multiple=True)


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What is followed. Each may be given for a later frame as N:..., N the frame's number.

    Attributes:
        mask: label images, of any number of objects: palette, grey, black and white, or a few
            colours. A later one sets the objects right that it shows.
        points: as X,Y or NAME=X,Y in pixels; a NAME again in a later frame sets that point right.
        boxes: as X,Y,W,H or NAME=X,Y,W,H in pixels, X,Y the first pixel inside.
        pose: JSON files of joints by name ({"nose": [120, 85], ...}), or of {"joints": ...,
            "limbs": [["nose", "neck"], ...]} to draw them joined.
    """

    mask: Annotated[list[str] | None, _Several] = None
    points: Annotated[list[str] | None, _Several] = None
    boxes: Annotated[list[str] | None, _Several] = None
    pose: Annotated[list[str] | None, _Several] = None


@dataclass(frozen=True)
class Marked:
    """The same, read.

    Attributes:
        prompts: by frame.
        numbers: of the objects in their files.
        names: of the points.
        boxes: names of the boxes.
        limbs: pairs of points.
    """

    prompts: "Mapping[int, Prompt]"
    numbers: tuple[int, ...]
    names: tuple[str, ...]
    boxes: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]


@dataclass
class _Gathered:
    """Points or boxes by frame and name, names in the order in which they come."""

    width: int
    names: list[str] = field(default_factory=list)
    by_frame: dict[int, dict[str, list[float]]] = field(default_factory=dict)

    def put(self, frame: int, name: str | None, numbers: list[float]) -> None:
        """One more; without a name it is a new one."""
        if name is None:
            taken = set(self.names)
            name = next(str(i) for i in range(1, len(taken) + 2) if str(i) not in taken)
        if name not in self.names:
            self.names.append(name)
        own = self.by_frame.setdefault(frame, {})
        if name in own:
            raise BadInput(f"expected {name!r} once in frame {frame}, got it twice")
        own[name] = numbers

    def of(self, frame: int) -> tuple[Any, tuple[int, ...]]:
        """Those of a frame: numbers (N, width), and which they are."""
        import numpy as np

        own = self.by_frame.get(frame, {})
        rows = np.array(list(own.values()), dtype=np.float64).reshape(-1, self.width)
        return rows, tuple(self.names.index(name) for name in own)


def read_marks(marks: Marks, start: int) -> Marked:
    """Read everything that is marked; what names no frame is of frame ``start``.

    Raises:
        BadInput: nothing marked, texts or files that cannot be used.
        ImageError: a mask that cannot be read, or shows nothing.
    """
    from counterpoint.tasks.tracking.prompts import Prompt

    points, boxes = _Gathered(2), _Gathered(4)
    for text in marks.points or ():
        _gather(points, text, start, "a point as X,Y (like 120,85)")
    limbs = _poses(points, marks.pose or (), start)
    for text in marks.boxes or ():
        _gather(boxes, text, start, "a box as X,Y,W,H (like 10,20,80,60)")
    masks, numbers = _masks(marks.mask or (), start)
    prompts: dict[int, Prompt] = {}
    for frame in sorted({*points.by_frame, *boxes.by_frame, *masks}):
        (at, ids), (around, box_ids) = points.of(frame), boxes.of(frame)
        prompts[frame] = Prompt(
            mask=masks.get(frame), points_px=at, point_ids=ids, boxes_px=around, box_ids=box_ids
        )
    if start not in prompts:
        raise BadInput(
            f"expected something marked in frame {start}, where tracking starts: --mask, --points, "
            "--boxes or --pose"
        )
    return Marked(prompts, numbers, tuple(points.names), tuple(boxes.names), limbs)


def of_frame(text: str, start: int) -> tuple[int, str]:
    """What N:TEXT is of, and TEXT; a file that has that very name is no such text.

    >>> of_frame("30:fix.png", 0), of_frame("fix.png", 7)
    ((30, 'fix.png'), (7, 'fix.png'))
    """
    match = re.match(r"(\d+):(.+)$", text)
    if match is None or Path(text).exists():
        return start, text
    return int(match[1]), match[2]


def _gather(into: _Gathered, text: str, start: int, expected: str) -> None:
    frame, rest = of_frame(text, start)
    name, equals, listed = rest.rpartition("=")
    try:
        numbers = [float(part) for part in listed.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != into.width or not all(abs(number) < 1e9 for number in numbers):
        raise PointError(f"expected {expected}, or NAME=... or FRAME:..., got {text!r}")
    into.put(frame, name if equals else None, numbers)


def _masks(texts: "list[str] | tuple[()]", start: int) -> tuple[dict[int, Any], tuple[int, ...]]:
    """Masks by frame with one numbering of objects over all of them, and their own numbers."""
    import numpy as np

    from counterpoint.tasks.masks import MAX_OBJECTS, load_objects

    read: dict[int, Objects] = {}
    for text in texts:
        frame, path = of_frame(text, start)
        if frame in read:
            raise BadInput(f"expected one mask for frame {frame}, got two; put them into one")
        read[frame] = load_objects(Path(path))
    numbers = sorted({number for objects in read.values() for number in objects.numbers})
    if len(numbers) > MAX_OBJECTS:
        raise BadInput(f"expected at most {MAX_OBJECTS} objects in all masks, got {len(numbers)}")
    masks: dict[int, Any] = {}
    for frame, objects in read.items():
        own = [0, *(numbers.index(number) + 1 for number in objects.numbers)]
        masks[frame] = np.array(own, dtype=np.uint8)[objects.mask]
    return masks, tuple(numbers)


def _poses(
    points: _Gathered, texts: "list[str] | tuple[()]", start: int
) -> tuple[tuple[int, int], ...]:
    limbs: dict[tuple[int, int], None] = {}
    for text in texts:
        frame, path = of_frame(text, start)
        joints, joined = _read_pose(Path(path))
        for name, at in joints.items():
            points.put(frame, name, at)
        for ends in joined:
            if not all(end in points.names for end in ends):
                raise BadInput(f"expected limbs between known joints in {path}, got {ends}")
            limbs[points.names.index(ends[0]), points.names.index(ends[1])] = None
    return tuple(limbs)


def _read_pose(path: Path) -> tuple[dict[str, list[float]], list[tuple[str, str]]]:
    """Joints by name, those that are null left out, and limbs."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        joints = entries.get("joints", entries)
        placed = {str(k): [float(x) for x in at] for k, at in joints.items() if at is not None}
        limbs = (
            [(str(a), str(b)) for a, b in entries.get("limbs", ())] if "joints" in entries else []
        )
    except FileNotFoundError as error:
        raise BadInput(f"no such file: {path}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(
            f'expected joints by name in {path}, like {{"nose": [120, 85]}}: '
            f"{' '.join(str(error).split())}"
        ) from error
    wrong = [name for name, at in placed.items() if len(at) != 2 or not all(map(_finite, at))]
    if wrong or not placed:
        got = f"{wrong[0]!r}: {placed[wrong[0]]}" if wrong else "none"
        raise BadInput(f"expected joints as [x, y] in {path}, got {got}")
    return placed, limbs


def _finite(number: float) -> bool:
    return abs(number) < 1e9
