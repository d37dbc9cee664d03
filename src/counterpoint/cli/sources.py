"""Where a command's feature maps come from: a model that runs, or files of `extract`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from counterpoint.cli.common import open_model
from counterpoint.errors import BadInput, FeatureFileError

if TYPE_CHECKING:
    from counterpoint.backbones.base import Backbone
    from counterpoint.features import FeatureMap
    from counterpoint.images import Picture
    from counterpoint.options import Options
    from counterpoint.store import FeatureFolder


class Source(Protocol):
    """Gives feature maps of pictures."""

    def stream(self, pictures: "Sequence[Picture]") -> "Iterator[FeatureMap]":
        """One map a picture, in their order."""
        ...


class Running:
    """A model with its options."""

    def __init__(self, model: "Backbone", options: "Options") -> None:
        self.model, self.options = model, options

    def stream(self, pictures: "Sequence[Picture]") -> "Iterator[FeatureMap]":
        """One map a picture, in their order."""
        return self.model.stream(pictures, self.options)


class Stored:
    """Files that `extract` wrote for these pictures."""

    def __init__(self, folder: "FeatureFolder") -> None:
        self.folder = folder

    def stream(self, pictures: "Sequence[Picture]") -> "Iterator[FeatureMap]":
        """One map a picture, in their order.

        Raises:
            BadInput: no file for a picture, or one of another picture.
        """
        return (self._load(picture) for picture in pictures)

    def _load(self, picture: "Picture") -> "FeatureMap":
        from counterpoint.features import FeatureMap

        path = self.folder.path_for(Path(picture.name))
        try:
            fmap = FeatureMap.load(path)
        except FeatureFileError as error:
            raise BadInput(f"{error} (asked for by --features)") from error
        if fmap.provenance.picture_sha256 != picture.content_hash:
            raise BadInput(f"{path} is of another picture than {picture.name}; extract it again")
        return fmap


def open_source(options: "Options", features: Path | None, paths: list[Path]) -> "Source":
    """The files below ``features``, or where none is given the model that the options name."""
    if features is None:
        return Running(open_model(options), options)
    from counterpoint.store import FeatureFolder

    if not features.is_dir():
        raise BadInput(f"expected a folder of feature files for --features, got {features}")
    return Stored(FeatureFolder.for_pictures(features, paths))


def geometric_source(options: "Options", features: Path | None, paths: list[Path]) -> "Source":
    """As `open_source`; where the options are silent, they are those for geometry."""
    source = open_source(options, features, paths)
    if isinstance(source, Running):
        from counterpoint.tasks.scenes.local_features import geometric_options

        return Running(source.model, geometric_options(source.model.spec, options))
    return source
