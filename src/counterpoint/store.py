"""Where feature maps are kept: folders that mirror the pictures, and a cache by content."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from counterpoint.errors import BadInput, FeatureFileError, StorageError
from counterpoint.features import FeatureHeader, FeatureMap, read_header
from counterpoint.files import absolute, common_folder
from counterpoint.provenance import Provenance

SUFFIX = ".safetensors"

MIRRORED = ".mirrored"
"""Between a picture's name and the ending: features of its mirror image."""

_FRAME = re.compile(r"(.+)#(\d+)")


@dataclass(frozen=True)
class FeatureFolder:
    """A folder of feature files, one a picture, laid out as the pictures are.

    Attributes:
        folder: where the files go.
        root: the folder that the pictures' paths are taken relative to.
    """

    folder: Path
    root: Path

    @classmethod
    def for_pictures(cls, folder: str | Path, pictures: Sequence[Path]) -> "FeatureFolder":
        """A feature folder for these pictures, relative to the deepest folder that holds all."""
        return cls(Path(folder), common_folder(pictures) if pictures else Path.cwd())

    def path_for(self, picture: Path | str, part: str = "") -> Path:
        """The feature file of a picture; the whole file name is kept, so a.jpg and a.png differ.

        Args:
            picture: its path; of a video's frame its name, "clip.mp4#12", which goes to
                clip.mp4/00012.safetensors.
            part: what of the picture, where it is not all of it as it is: `MIRRORED`, or
                `part_of`.
        """
        inside = absolute(_file_of(picture)).relative_to(self.root)
        return self.folder / inside.with_name(inside.name + part + SUFFIX)

    def holds(self, picture: Path | str, expected: Provenance, part: str = "") -> bool:
        """Whether a valid file made in just this way is there; damaged files do not count.

        Raises:
            StorageError: a file is there that was made in another way, or of another picture.
        """
        path = self.path_for(picture, part)
        try:
            found = read_header(path).provenance
        except FeatureFileError:
            return False
        theirs, ours = comparable(found), comparable(expected)
        for name, value in ours.items():
            if theirs[name] != value:
                differs = (
                    f"is of another picture than {picture}"
                    if name == "picture_sha256"
                    else f"was made with {name} = {theirs[name]!r}, asked was {value!r}"
                )
                raise StorageError(f"{path} {differs}; choose another --out, or --overwrite")
        return True

    def find(
        self,
        picture: Path | str,
        fits: Callable[[FeatureHeader], bool],
        parts: Sequence[str] = ("",),
    ) -> Path:
        """The file of a picture that is what is looked for, wherever the folder was laid out from.

        Below the folder may lie more of the picture's path than below ``root``, or less: what
        counts is what the file says that it is of.

        Args:
            picture: its path, or a frame's name.
            fits: whether it is the file, by its header.
            parts: as in `path_for`, each tried.

        Raises:
            BadInput: no file, none that fits, or a damaged one.
        """
        there = [path for path in self._places(picture, parts) if path.is_file()]
        for path in there:
            try:
                if fits(read_header(path)):
                    return path
            except FeatureFileError as error:
                raise BadInput(f"{error} (asked for by --features)") from error
        if there:
            raise BadInput(f"{there[0]} is of another picture than {picture}; extract it again")
        raise BadInput(
            f"no such feature file: {next(self._places(picture, parts))}, for {picture}; extract it"
        )

    def _places(self, picture: Path | str, parts: Sequence[str]) -> Iterator[Path]:
        """Where a picture's files may lie: as `path_for` has it, then by ever more of its path."""
        whole = absolute(_file_of(picture))
        names = [whole.relative_to(self.root)] if whole.is_relative_to(self.root) else []
        steps = range(len(whole.parts) - 1, 0, -1)
        names += [Path(*whole.parts[start:]) for start in steps]
        for name in dict.fromkeys(names):
            for part in parts:
                yield self.folder / name.with_name(name.name + part + SUFFIX)


def part_of(sha256: str) -> str:
    """What stands between a picture's name and the ending for a part of it, by that part's hash."""
    return f".part-{sha256[:16]}"


def _file_of(picture: Path | str) -> Path:
    """A picture's path; of a video's frame a path below the video's, as if that were a folder."""
    found = _FRAME.fullmatch(str(picture))
    if found and not Path(picture).exists() and Path(found[1]).is_file():
        return Path(found[1]) / f"{int(found[2]):05}"
    return Path(picture)


class FeatureCache:
    """Feature maps by what made them: the same picture, model and options are never run twice.

    Args:
        folder: where the cache lives; it may be deleted at any time.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path_for(self, provenance: Provenance) -> Path:
        """The file for this provenance, spread over 256 folders."""
        key = json.dumps(comparable(provenance), sort_keys=True)
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:]}{SUFFIX}"

    def get(self, provenance: Provenance) -> FeatureMap | None:
        """The cached map, or None; a damaged file counts as absent."""
        path = self.path_for(provenance)
        try:
            return FeatureMap.load(path) if path.is_file() else None
        except FeatureFileError:
            path.unlink(missing_ok=True)
            return None

    def put(self, fmap: FeatureMap) -> Path:
        """Keep a map under its own provenance; returns its file.

        Raises:
            BadInput: the provenance does not say which picture the map is of.
        """
        if not fmap.provenance.picture_sha256:
            raise BadInput("expected a map whose provenance names its picture, got none; save it")
        path = self.path_for(fmap.provenance)
        fmap.save(path)
        return path


def comparable(provenance: Provenance) -> dict[str, object]:
    """What must agree for two maps to be the same; the library's version is only a note."""
    entries = asdict(provenance)
    for made in (entries, *entries["parts"]):
        del made["version"]
    return entries
