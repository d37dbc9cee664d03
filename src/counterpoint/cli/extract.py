"""`counterpoint extract`: feature files for many pictures and videos, resumable."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    console,
    open_model,
    output_folder,
    progress,
)
from counterpoint.cli.looks import Use, check_use
from counterpoint.errors import BadInput, ImageError, StorageError

if TYPE_CHECKING:
    from counterpoint.annotations import Annotations
    from counterpoint.backbones.base import Backbone
    from counterpoint.cli.looks import Entry, Looks
    from counterpoint.store import FeatureFolder

Flag = Parameter(negative="")


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What the features are for.

    Attributes:
        use: objects: the same part of other objects, as match, parts, edit and annotate have it;
            views: views of one scene, as align, scene and edit --across views; annotate: what
            annotate looks at, large pictures shrunk, with --boxes squares around things; track:
            what track looks at, frames of a short side of 480.
        flip: mirror images too, for match and annotate --flip and for edit --mirror.
        boxes: annotation files with boxes of the things in the pictures: of the targets, and the
            references themselves.
        box_scale: as in annotate.
        video: take GIF, WebP and AVIF files for videos.
    """

    use: Annotated[Use, Parameter(name="--for")] = "objects"
    flip: Annotated[bool, Flag] = False
    boxes: Annotated[list[Path], Parameter(negative="", consume_multiple=True)] = field(
        default_factory=list[Path]
    )
    box_scale: float = 1.25
    video: Annotated[bool, Flag] = False


Purposeful = Annotated[Purpose, Parameter(name="*", group="Use")]

_ANY = Purpose()


def extract(
    *pictures: str,
    out: Path,
    overwrite: Annotated[bool, Flag] = False,
    purpose: Purposeful = _ANY,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Write one feature file a picture or frame below OUT, laid out as the pictures are.

    Of a video file, frame 12 goes to OUT/clip.mp4/00012.safetensors. What is there and valid is not
    done again, so a stopped run goes on where it was. What cannot be read is reported and skipped;
    the exit code is then 1. Commands read the files with --features.

    Parameters
    ----------
    pictures
        Pictures, videos, folders (searched recursively) or quoted glob patterns. With --for track,
        each is one video: a file, or a folder of frames.
    out
        The folder for the feature files.
    overwrite
        Do every picture again.
    """
    from counterpoint.cli.looks import Entries, Looks
    from counterpoint.store import FeatureFolder

    if not pictures:
        raise ImageError("expected pictures, videos, folders or patterns; see extract --help")
    check_use(purpose.use, flip=purpose.flip, boxes=bool(purpose.boxes))
    entries = Entries(pictures, purpose.use, video=purpose.video)
    boxes = _read_boxes(purpose)
    folder = FeatureFolder.for_pictures(output_folder(out), entries.paths)
    model = open_model(options)
    looks = Looks(
        model, options, purpose.use, flip=purpose.flip, boxes=boxes, scale=purpose.box_scale
    )
    work = _Work(folder, model, looks, overwrite)
    try:
        with progress(entries.count) as advance:
            for entry in entries:
                work.do(entry)
                advance(Path(entry.name).name)
    except KeyboardInterrupt:
        sys.stderr.write(f"counterpoint: stopped; {work}. Run the same command to go on.\n")
        return 130
    console().print(f"{work}; features in {out}")
    return 1 if work.failed else 0


def _read_boxes(purpose: Purpose) -> "list[Annotations]":
    from counterpoint.annotations import read_annotations
    from counterpoint.tasks.annotation.outlines import lightened

    if not 1 <= purpose.box_scale <= 10:
        raise BadInput(f"expected a box scale from 1 to 10, got {purpose.box_scale}")
    return [lightened(read_annotations(path)) for path in purpose.boxes]


@dataclass
class _Work:
    """Does pictures and frames, and says what has become of them so far.

    Attributes:
        folder: where files go.
        model: what is run.
        looks: what it is shown.
        overwrite: whether files that are there are made again.
    """

    folder: "FeatureFolder"
    model: "Backbone"
    looks: "Looks"
    overwrite: bool
    written: int = 0
    kept: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return f"{self.written} written, {self.kept} already there, {self.failed} failed"

    def do(self, entry: "Entry") -> None:
        """One picture or frame; what cannot be read is told of.

        Raises:
            StorageError: files made with other options are there; every picture would fail alike.
        """
        try:
            self._do(entry)
        except StorageError:
            raise
        except ImageError as error:
            self.failed += 1
            sys.stderr.write(f"counterpoint: skipped: {error}\n")

    def _do(self, entry: "Entry") -> None:
        options = self.looks.options
        for part, picture in self.looks.of(entry, entry.load()):
            made = self.model.provenance(picture, options)
            if not self.overwrite and self.folder.holds(entry.name, made, part):
                self.kept += 1
                continue
            [fmap] = self.model.extract([picture], options)
            fmap.save(self.folder.path_for(entry.name, part))
            self.written += 1
