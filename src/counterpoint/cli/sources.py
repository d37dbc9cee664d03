"""Where a command's feature maps come from: a model that runs, or files of `extract`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from counterpoint.cli.common import DEFAULTS, open_model
from counterpoint.errors import BadInput, FeatureFileError

if TYPE_CHECKING:
    from counterpoint.backbones.base import Backbone
    from counterpoint.features import FeatureHeader, FeatureMap
    from counterpoint.images import Picture
    from counterpoint.options import Options
    from counterpoint.provenance import Provenance
    from counterpoint.store import FeatureFolder

ALIKE = ("model", "weights_sha256", "tap", "timesteps", "noise", "combine")
"""What must agree for two pictures' features to be compared."""


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
    """Files that `extract` wrote for these pictures.

    Args:
        folder: where they are.
        device: where the maps go; None: they stay on the CPU.

    Attributes:
        made: what made the maps given so far, without their pictures; None before the first.
    """

    def __init__(self, folder: "FeatureFolder", device: str | None = None) -> None:
        self.folder, self.device = folder, device
        self.made: Provenance | None = None

    def stream(self, pictures: "Sequence[Picture]") -> "Iterator[FeatureMap]":
        """One map a picture, in their order.

        Raises:
            BadInput: no file for a picture, one of another picture, or maps made in different
                ways.
        """
        return (self.load(picture) for picture in pictures)

    def load(self, picture: "Picture") -> "FeatureMap":
        """The map of one picture, mirror images included; see `stream`."""
        from counterpoint.store import MIRRORED

        def fits(header: "FeatureHeader") -> bool:
            return header.provenance.picture_sha256 == picture.content_hash

        return self.read(self.folder.find(picture.name, fits, ("", MIRRORED)))

    def read(self, path: Path) -> "FeatureMap":
        """The map of a file, made as those before it."""
        from counterpoint.backbones.base import pick_device
        from counterpoint.features import FeatureMap

        try:
            fmap = FeatureMap.load(path)
        except FeatureFileError as error:
            raise BadInput(f"{error} (asked for by --features)") from error
        self._check_alike(path, fmap.provenance.without_picture())
        return fmap.to(pick_device(self.device)) if self.device else fmap

    def _check_alike(self, path: Path, made: "Provenance") -> None:
        if self.made is None:
            self.made = made
        for name in ALIKE:
            ours, theirs = getattr(self.made, name), getattr(made, name)
            if ours != theirs:
                raise BadInput(
                    f"expected features that were all made alike, got {name} = {theirs!r} in "
                    f"{path} and {ours!r} before; extract them again with the same options"
                )


def open_source(options: "Options", features: Path | None, paths: list[Path]) -> "Source":
    """The files below ``features``, or where none is given the model that the options name.

    Raises:
        BadInput: no folder of files; options that say how features are made, beside files.
    """
    if features is None:
        return Running(open_model(options), options)
    refuse_making(options, seed=True)
    return Stored(feature_folder(features, paths), options.device)


def feature_folder(features: Path, paths: Iterable[Path]) -> "FeatureFolder":
    """The folder of `extract`'s files for these pictures or videos.

    Raises:
        BadInput: it is not there, or no folder.
    """
    from counterpoint.store import FeatureFolder

    if not features.is_dir():
        raise BadInput(f"expected a folder of feature files for --features, got {features}")
    return FeatureFolder.for_pictures(features, list(paths))


def refuse_making(options: "Options", *, seed: bool = False) -> None:
    """That nothing is asked of stored features that only a running model can give.

    Args:
        options: as given; --device says where stored maps go.
        seed: whether the command has another use for it.

    Raises:
        BadInput: an option that says how features are made.
    """
    free = ("device", "seed") if seed else ("device",)
    names = [f.name for f in fields(options) if f.name not in free]
    given = [f"--{name}" for name in names if getattr(options, name) != getattr(DEFAULTS, name)]
    if given:
        raise BadInput(
            f"expected no {', '.join(given)} with --features, whose files are made already; leave "
            "it out, or extract them again with it"
        )


def geometric_source(options: "Options", features: Path | None, paths: list[Path]) -> "Source":
    """As `open_source`; where the options are silent, they are those for geometry."""
    source = open_source(options, features, paths)
    if isinstance(source, Running):
        from counterpoint.tasks.scenes.local_features import geometric_options

        return Running(source.model, geometric_options(source.model.spec, options))
    return source
