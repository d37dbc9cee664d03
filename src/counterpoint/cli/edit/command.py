"""`counterpoint edit`: carry an edit of one picture to others, and through videos."""

import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    console,
    output_folder,
    print_json,
)
from counterpoint.cli.edit.options import (
    EDIT,
    VIDEO,
    WARP,
    FittingOptions,
    Flag,
    MovingOptions,
    WhatOptions,
    build_edit,
    carrying,
)
from counterpoint.cli.films import VIDEOS, moves
from counterpoint.errors import CounterpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from counterpoint.cli.edit.features import EditSource
    from counterpoint.cli.edit.options import Fitting, Moving
    from counterpoint.images import Picture
    from counterpoint.store import FeatureFolder
    from counterpoint.tasks.edits.carry import CarriedEdit
    from counterpoint.tasks.edits.layers import Edit
    from counterpoint.tasks.edits.points import Carrying

SHEET = 24
"""Results on the contact sheet, at most."""


def edit(
    source: Path,
    /,
    *targets: str,
    out: Path,
    json: Annotated[bool, Flag] = False,
    features: Path | None = None,
    what: WhatOptions = EDIT,
    fitting: FittingOptions = WARP,
    moving: MovingOptions = VIDEO,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Carry an edit of SOURCE to each TARGET: where the matches say that it belongs.

    Points inside the edit are matched, a warp is fitted to the matches, and the edit is blended
    into the target at its full size and in its own kind of picture. A target whose matches do not
    support the edit is left alone, with the reason, and the exit code is then 1; so it is where a
    target cannot be read. The others are done.

    Parameters
    ----------
    source
        The picture that was edited, without the edit.
    targets
        Pictures, videos, folders (searched recursively) or quoted glob patterns.
    out
        A folder: the edited targets, a drawing of each with the matches that agree, a contact
        sheet, and edit.json.
    json
        Print JSON, the same as edit.json.
    features
        The folder of `extract`'s files for SOURCE and every target: no model is run. With --mirror,
        those of `extract --flip`.
    """
    from counterpoint.cli.edit.features import open_features
    from counterpoint.errors import BadInput
    from counterpoint.images import load_picture

    if not targets:
        raise BadInput("expected at least one TARGET after SOURCE; see edit --help")
    picture = load_picture(source)
    made = build_edit(picture, what)
    place = output_folder(out)
    ours = [source, what.sticker, what.edited, what.mask]
    found = _find(targets, moving.video, [path for path in ours if path], place)
    job = Job(picture, made, place, found, fitting, moving, carrying(fitting, options.seed))
    job.spare_targets()
    job.features = open_features(picture, options, features, fitting.across, [source, *found])
    rows = job.run()
    _finish(job, rows, json)
    return 0 if all(row["carried"] for row in rows) else 1


def _find(targets: "Sequence[str]", folders_move: bool, ours: list[Path], out: Path) -> list[Path]:
    """Every target, in order; in folders, not what this command reads or has written."""
    from counterpoint.errors import BadInput
    from counterpoint.images import find_pictures

    mine = {path.resolve() for path in ours}
    found: list[Path] = []
    for place in targets:
        path = Path(place)
        if moves(path) or (path.is_dir() and folders_move):
            found.append(path)
            continue
        pictures = find_pictures([place])
        if path.is_dir():
            pictures += sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEOS)
            pictures = [p for p in dict.fromkeys(pictures) if p.resolve() not in mine]
            pictures = [p for p in pictures if out.resolve() not in p.resolve().parents]
        found.extend(pictures)
    if not found:
        raise BadInput(f"expected targets beside the source, found none at {', '.join(targets)}")
    return list(dict.fromkeys(found))


@dataclass
class Job:
    """One run: an edit, its source's features, the targets.

    Attributes:
        source: the source picture.
        edit: over it.
        out: the folder for results.
        targets: pictures and videos.
        fitting: as asked.
        moving: as asked.
        how: as asked.
        features: of the source and every target.
    """

    source: "Picture"
    edit: "Edit"
    out: Path
    targets: list[Path]
    fitting: "Fitting"
    moving: "Moving"
    how: "Carrying"
    features: "EditSource" = field(init=False)

    def spare_targets(self) -> None:
        """Raise where a result would be written over its target."""
        from counterpoint.errors import BadInput

        for target in self.targets:
            if self.place_for(target, "").resolve() == target.resolve():
                raise BadInput(
                    f"expected --out to be another folder than the targets', got {self.out}: "
                    f"{target} would be written over"
                )

    def carry(self, target: "Picture", usual: str) -> "CarriedEdit":
        """Find the edit's place in a picture; with --mirror also in its mirror image."""
        from counterpoint.matching import mirrored
        from counterpoint.tasks.edits.carry import carry_edit

        across = self.fitting.across or usual
        looked = [target, mirrored(target)] if self.fitting.mirror else [target]
        source, maps = self.features.maps(looked, across)
        tries = [carry_edit(self.edit, source, fmap, self.how) for fmap in maps]
        best = max(range(len(tries)), key=lambda i: int(tries[i].inliers.sum()))
        return tries[best].mirrored() if best else tries[best]

    def run(self) -> list[dict[str, Any]]:
        """Every target; what goes wrong with one does not stop the others."""
        from counterpoint.cli.edit.pictures import edit_picture
        from counterpoint.cli.edit.videos import edit_video

        rows: list[dict[str, Any]] = []
        for target in self.targets:
            try:
                moving = moves(target) or target.is_dir()
                row = edit_video(self, target) if moving else edit_picture(self, target)
            except CounterpointError as error:
                if isinstance(error, OSError):  # the disk is full: all others would fail too
                    raise
                row = {"target": str(target), "carried": False, "reason": str(error)}
                sys.stderr.write(f"counterpoint: skipped: {error}\n")
            rows.append({"source": self.source.name, **self.features.origin, **row})
        return rows

    def place_for(self, target: Path, ending: str) -> Path:
        """Where a target's result goes: laid out as the targets are, its whole name kept."""
        return self._folder.path_for(target).with_name(f"{target.name}{ending}")

    @cached_property
    def _folder(self) -> "FeatureFolder":
        from counterpoint.store import FeatureFolder

        return FeatureFolder.for_pictures(self.out, self.targets)


def _finish(job: Job, rows: list[dict[str, Any]], json: bool) -> None:
    """The report's file, the contact sheet, and what is printed."""
    import json as json_format

    from counterpoint.cli.edit.pictures import contact_sheet
    from counterpoint.files import write_text

    sheet = contact_sheet(job, rows[:SHEET])
    report = job.out / "edit.json"
    write_text(report, json_format.dumps(rows, indent=2, allow_nan=False) + "\n")
    if json:
        print_json(rows)
        return
    shown = console()
    for row in rows:
        shown.print(f"{row['target']}: {_line(row)}", soft_wrap=True)
    done = sum(row["carried"] for row in rows)
    where = f"; {sheet}" if sheet else ""
    shown.print(f"{done} of {len(rows)} carried; report in {report}{where}", soft_wrap=True)


def _line(row: dict[str, Any]) -> str:
    """What became of one target."""
    if not row["carried"]:
        return f"left alone: {row['reason']}"
    if "frames" in row:
        return f"in {row['frames_with_edit']} of {row['frames']} frames; wrote {row['result']}"
    kinds = " and ".join(part["kind"] for part in row["parts"])
    kept = min(part["kept"] for part in row["parts"])
    drawn = "" if kept == 1 else f", {kept:.0%} of it drawn"
    missing = f"; left out: {row['reason']}" if row["reason"] else ""
    counts = f"{row['inliers']} of {row['points']} points agree"
    return f"{kinds}, {counts}{drawn}{missing}; wrote {row['result']}"
