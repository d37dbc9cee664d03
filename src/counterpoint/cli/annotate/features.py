"""Features of references and targets: of a model that runs, or files of `extract`.

What is looked at is a part of a picture: all of it, shrunk where it is large, or a square around a
thing, each perhaps mirrored. A stored map is found by what it is of, the hash of the part's pixels.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from counterpoint.cli.common import open_model
from counterpoint.errors import BadInput, FeatureFileError

if TYPE_CHECKING:
    from counterpoint.backbones.base import Backbone
    from counterpoint.features import FeatureHeader, FeatureMap
    from counterpoint.images import ImageLike, Picture
    from counterpoint.options import Options


def open_extractor(
    options: "Options", features: Path | None, paths: list[Path]
) -> "RunningViews | StoredViews":
    """The files below ``features``, or where none is given the model that the options name."""
    if features is None:
        return RunningViews(open_model(options), options)
    return StoredViews(features, options, paths)


class RunningViews:
    """A model that runs."""

    def __init__(self, model: "Backbone", options: "Options") -> None:
        self._model, self._options = model, options

    @property
    def made(self) -> dict[str, Any]:
        """What must agree for two runs to have the same features."""
        weights = self._model.weights_sha256
        return {**asdict(self._options), "weights": weights, "device": None}

    @property
    def origin(self) -> dict[str, Any]:
        """What makes the features, for the report."""
        tap = self._options.tap or self._model.spec.tap
        return {"model": self._model.spec.name, "tap": tap, "stored": None}

    def extract(self, pictures: "list[ImageLike]", options: "Options") -> "list[FeatureMap]":
        """Maps of parts of pictures."""
        return self._model.extract(pictures, options)


class StoredViews:
    """Files that `extract` wrote for these pictures, or for parts of them."""

    def __init__(self, features: Path, options: "Options", paths: list[Path]) -> None:
        from counterpoint.cli.sources import Stored, feature_folder, refuse_making

        refuse_making(options)
        self._features = features
        self._stored = Stored(feature_folder(features, paths), options.device)

    @property
    def made(self) -> dict[str, Any]:
        """What must agree for two runs to have the same features; known once some were read."""
        from counterpoint.store import comparable

        assert self._stored.made is not None
        return {"stored": comparable(self._stored.made)}

    @property
    def origin(self) -> dict[str, Any]:
        """What made the features, for the report."""
        made = self._stored.made
        assert made is not None
        return {"model": made.model, "tap": made.tap, "stored": str(self._features)}

    def extract(
        self,
        pictures: "list[ImageLike]",
        options: "Options",  # noqa: ARG002
    ) -> "list[FeatureMap]":
        """Maps of parts of pictures, as the annotator cuts them out.

        Raises:
            BadInput: no file of one of them; says how to have it written.
        """
        return [self._one(part) for part in cast("Sequence[Picture]", pictures)]

    def _one(self, part: "Picture") -> "FeatureMap":
        from counterpoint.store import MIRRORED, part_of

        known = {part.content_hash, self._larger(part)}

        def fits(header: "FeatureHeader") -> bool:
            return header.provenance.picture_sha256 in known

        places = (part_of(part.content_hash), "", MIRRORED)
        try:
            path = self._stored.folder.find(part.name, fits, places)
        except BadInput as error:
            if isinstance(error.__cause__, FeatureFileError):  # it is there, and damaged
                raise
            raise BadInput(self._missing(part)) from error
        return _placed(self._stored.read(path), part)

    def _missing(self, part: "Picture") -> str:
        return (
            f"expected features of {part.name} as annotate looks at it ({{}} x {{}}".format(
                *part.size_wh
            )
            + f"), found none below {self._features}; write them by `extract --for annotate`, with "
            "--flip for mirror images, and for squares around things with --boxes and both "
            "annotation files, under the same --box-scale"
        )

    def _larger(self, part: "Picture") -> str:
        """Hash of the picture that a part is all of, only smaller, or of its mirror image; or "".

        Files that `extract` wrote of whole pictures serve for these as well.
        """
        from counterpoint.images import load_picture
        from counterpoint.matching import mirrored
        from counterpoint.tasks.annotation.views import VIEW_PX, cut_out

        if max(part.size_wh) < VIEW_PX:
            return ""
        whole = load_picture(part.name)
        small = cut_out(whole, None).picture
        if small.content_hash == part.content_hash:
            return whole.content_hash
        if mirrored(small).content_hash == part.content_hash:
            return mirrored(whole).content_hash
        return ""


def _placed(fmap: "FeatureMap", part: "Picture") -> "FeatureMap":
    """A map of a picture as one of the same picture at another size."""
    from counterpoint.geometry import PixelTransform

    if fmap.image_size_wh == part.size_wh:
        return fmap
    assert fmap.to_input is not None
    grow = PixelTransform.resize(part.size_wh, fmap.image_size_wh)
    return replace(fmap, image_size_wh=part.size_wh, to_input=grow.then(fmap.to_input))
