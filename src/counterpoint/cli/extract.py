"""`counterpoint extract`: feature files for many pictures, resumable."""

import sys
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
from counterpoint.errors import CounterpointError, ImageError, StorageError

if TYPE_CHECKING:
    from counterpoint.backbones.base import Backbone
    from counterpoint.images import Picture
    from counterpoint.options import Options
    from counterpoint.store import FeatureFolder


def extract(
    *pictures: str,
    out: Path,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Write one feature file a picture below OUT, laid out as the pictures are.

    What is there and valid is not done again, so a stopped run goes on where it was. Pictures that
    cannot be read are reported and skipped; the exit code is then 1.

    Parameters
    ----------
    pictures
        Pictures, folders (searched recursively) or quoted glob patterns.
    out
        The folder for the feature files.
    overwrite
        Do every picture again.
    """
    from counterpoint.images import find_pictures
    from counterpoint.store import FeatureFolder

    if not pictures:
        raise ImageError("expected pictures, folders or patterns; see extract --help")
    paths = find_pictures(list(pictures))
    folder = FeatureFolder.for_pictures(output_folder(out), paths)
    model = open_model(options)
    done = _Tally()
    try:
        with progress(len(paths)) as advance:
            for path in paths:
                _one(path, folder, model, options, overwrite, done)
                advance(path.name)
    except KeyboardInterrupt:
        sys.stderr.write(f"counterpoint: stopped; {done}. Run the same command to go on.\n")
        return 130
    console().print(f"{done}; features in {out}")
    return 1 if done.failed else 0


class _Tally:
    """What has become of the pictures so far."""

    def __init__(self) -> None:
        self.written = self.kept = self.failed = 0

    def __str__(self) -> str:
        return f"{self.written} written, {self.kept} already there, {self.failed} failed"


def _one(
    path: Path,
    folder: "FeatureFolder",
    model: "Backbone",
    options: "Options",
    overwrite: bool,
    done: _Tally,
) -> None:
    from counterpoint.images import load_picture

    try:
        picture: Picture = load_picture(path)
        if not overwrite and folder.holds(path, model.provenance(picture, options)):
            done.kept += 1
            return
        [fmap] = model.extract([picture], options)
    except StorageError:
        raise  # other options in the same folder: every picture would fail alike
    except ImageError as error:
        done.failed += 1
        sys.stderr.write(f"counterpoint: skipped: {error}\n")
        return
    except CounterpointError:
        raise
    fmap.save(folder.path_for(path))
    done.written += 1
