"""Features of an edit's source and targets: of a model that runs, or files of `extract`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from counterpoint.cli.common import open_model
from counterpoint.errors import BadInput

if TYPE_CHECKING:
    from counterpoint.features import FeatureMap
    from counterpoint.images import Picture
    from counterpoint.matching import PreparedMap
    from counterpoint.options import Options

LARGEST_PX = 1_000_000
"""Pixels of a picture up to which it enters the network at its own size, where views suit."""

ALIKE = 2.25
"""Ratio of two pictures' areas up to which they are taken to be of one scale."""


class EditSource(Protocol):
    """Gives features of the source and of a target, so that they can be compared.

    Attributes:
        origin: what makes them, for the report.
    """

    @property
    def origin(self) -> dict[str, Any]:
        """The model's name, and where stored features were read."""
        ...

    def maps(
        self, looked: "Sequence[Picture]", across: str
    ) -> "tuple[PreparedMap, list[FeatureMap]]":
        """Those of the source, and those of a target, with its mirror image where asked for.

        Args:
            looked: the target, and its mirror image.
            across: "objects" or "views".
        """
        ...


def open_features(
    source: "Picture",
    options: "Options",
    features: Path | None,
    across: str | None,
    paths: list[Path],
) -> EditSource:
    """The files below ``features``, or where none is given the model that the options name.

    Args:
        source: the source picture.
        options: as given.
        features: the folder of `extract`'s files.
        across: as given; None: not.
        paths: of the source and the targets.
    """
    if features is None:
        return RunningEdit(source, options)
    if across:
        raise BadInput(
            f"expected no --across {across} with --features, whose files are made already; extract "
            f"them with --for {across}"
        )
    return StoredEdit(source, options, features, paths)


class RunningEdit:
    """A model; the source's features are made once for each size at which they are needed."""

    def __init__(self, source: "Picture", options: "Options") -> None:
        self._source, self._model, self._options = source, open_model(options), options
        self._sources: dict[Options, PreparedMap] = {}

    @property
    def origin(self) -> dict[str, Any]:
        """See `EditSource`."""
        return {"model": self._options.model}

    def maps(
        self, looked: "Sequence[Picture]", across: str
    ) -> "tuple[PreparedMap, list[FeatureMap]]":
        """See `EditSource`."""
        most_px = comparable_px(self._source.size_wh, looked[0].size_wh)
        first = self._source_map(across, most_px)
        return first, self._model.extract(looked, self._settings(across, looked[0], most_px))

    def _settings(self, across: str, picture: "Picture", most_px: float) -> "Options":
        """The options, and where they are silent what suits views of one scene.

        Where pictures would enter the network at their own size, larger ones than ``most_px`` are
        made smaller.
        """
        from counterpoint.tasks.scenes.local_features import geometric_options

        if across != "views":
            return self._options
        options = geometric_options(self._model.spec, self._options)
        width, height = picture.size_wh
        shrink = (most_px / (width * height)) ** 0.5
        if options.fit != "keep" or self._options.fit == "keep" or shrink >= 1:
            return options
        size = max(16, round(width * shrink / 16) * 16), max(16, round(height * shrink / 16) * 16)
        return options.but(size=size, fit="squash")

    def _source_map(self, across: str, most_px: float) -> "PreparedMap":
        from counterpoint.matching import PreparedMap

        settings = self._settings(across, self._source, most_px)
        if settings not in self._sources:
            [fmap] = self._model.extract([self._source], settings)
            self._sources[settings] = PreparedMap(fmap)
        return self._sources[settings]


class StoredEdit:
    """Files that `extract` wrote; what suits is what was asked for then."""

    def __init__(
        self, source: "Picture", options: "Options", features: Path, paths: list[Path]
    ) -> None:
        from counterpoint.cli.sources import Stored, feature_folder, refuse_making
        from counterpoint.matching import PreparedMap

        refuse_making(options, seed=True)
        self._stored = Stored(feature_folder(features, paths), options.device)
        fmap = self._stored.load(source)
        self._source, made = PreparedMap(fmap), fmap.provenance
        self._origin = {"model": made.model, "tap": made.tap, "features": str(features)}

    @property
    def origin(self) -> dict[str, Any]:
        """See `EditSource`."""
        return self._origin

    def maps(
        self,
        looked: "Sequence[Picture]",
        across: str,  # noqa: ARG002
    ) -> "tuple[PreparedMap, list[FeatureMap]]":
        """See `EditSource`."""
        return self._source, list(self._stored.stream(looked))


def comparable_px(source_wh: tuple[int, int], target_wh: tuple[int, int]) -> float:
    """Pixels up to which two pictures enter the network at their own size.

    Features of fine taps do not stand a change of scale: where one picture is far larger than the
    other, it is most often the same view by a better camera, and both are looked at alike.
    """
    areas = sorted(float(w * h) for w, h in (source_wh, target_wh))
    return min(LARGEST_PX, areas[0] if areas[1] > ALIKE * areas[0] else areas[1])
