"""Where feature maps are kept: folders that mirror the pictures, and a cache by content."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from counterpoint.errors import BadInput, FeatureFileError, StorageError
from counterpoint.features import FeatureMap, read_header
from counterpoint.files import absolute, common_folder
from counterpoint.provenance import Provenance

SUFFIX = ".safetensors"


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

    def path_for(self, picture: Path) -> Path:
        """The feature file of a picture; the whole file name is kept, so a.jpg and a.png differ."""
        inside = absolute(picture).relative_to(self.root)
        return self.folder / inside.with_name(inside.name + SUFFIX)

    def holds(self, picture: Path, expected: Provenance) -> bool:
        """Whether a valid file made in just this way is there; damaged files do not count.

        Raises:
            StorageError: a file is there that was made in another way, or of another picture.
        """
        path = self.path_for(picture)
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
