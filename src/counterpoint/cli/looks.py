"""What `extract` shows to a model, picture by picture, for each use of the features."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from counterpoint.cli.films import VIDEOS, films_in
from counterpoint.errors import BadInput, ImageError

if TYPE_CHECKING:
    from counterpoint.annotations import Annotations
    from counterpoint.backbones.base import Backbone
    from counterpoint.geometry import SizeWH
    from counterpoint.images import Picture
    from counterpoint.options import Options
    from counterpoint.tasks.annotation.results import ByName
    from counterpoint.videos import Video

Use = Literal["objects", "views", "annotate", "track"]


@dataclass(frozen=True, eq=False)
class Entry:
    """A picture, or a frame of a video.

    Attributes:
        name: its path; of a frame in a video file "clip.mp4#12".
        load: gives its pixels, or raises what is wrong with it.
        video_wh: size of the video's frames, where it is a frame.
    """

    name: str
    load: "Callable[[], Picture]"
    video_wh: "SizeWH | None" = None


class Entries:
    """Every picture and frame at some places, one in memory at a time.

    Args:
        places: pictures, videos, folders of both, glob patterns; to be tracked, each is one video:
            a file or a folder of frames.
        use: of the features.
        video: GIF, WebP and AVIF files are videos, too.

    Raises:
        ImageError: a place that holds nothing.
        MissingExtra: a video file, and PyAV is not installed.
    """

    def __init__(self, places: Sequence[str], use: Use, *, video: bool = False) -> None:
        self._films: dict[Path, Video | ImageError] = {}
        self._paths = self._tracked(places) if use == "track" else self._found(places, video=video)

    @cached_property
    def paths(self) -> list[Path]:
        """Of pictures and video files; of a folder that is a video those of its frames."""
        from counterpoint.videos import PictureVideo

        found: list[Path] = []
        for path in self._paths:
            film = self._films.get(path)
            found += film.paths if isinstance(film, PictureVideo) else [path]
        return found

    @property
    def count(self) -> int | None:
        """How many, where all videos say how many frames they have."""
        films = [self._films.get(path) for path in self._paths]
        counts = [1 if f is None or isinstance(f, ImageError) else f.count for f in films]
        return None if None in counts else sum(count or 0 for count in counts)

    def __iter__(self) -> Iterator[Entry]:
        """Each once, in order."""
        from counterpoint.images import load_picture

        for path in self._paths:
            film = self._films.get(path)
            if film is None:
                yield Entry(str(path), partial(load_picture, path))
            elif isinstance(film, ImageError):
                yield Entry(str(path), partial(_fail, film))
            else:
                yield from _frames(film)

    def _tracked(self, places: Sequence[str]) -> list[Path]:
        for place in places:
            self._open(Path(place))
        return list(self._films)

    def _found(self, places: Sequence[str], *, video: bool) -> list[Path]:
        from counterpoint.images import find_pictures
        from counterpoint.videos import MOVING

        endings = VIDEOS | MOVING if video else VIDEOS
        found: list[Path] = []
        for place in places:
            films = films_in(Path(place)) if Path(place).is_dir() else []
            try:
                found += find_pictures([place])
            except ImageError:
                if not films:
                    raise
            found += films
        found = list(dict.fromkeys(found))
        for path in found:
            if path.suffix.lower() in endings and path.is_file():
                self._open(path)
        return found

    def _open(self, path: Path) -> None:
        from counterpoint.videos import open_video

        try:
            self._films[path] = open_video(path, broken="skip", resized="skip")
        except ImageError as error:  # told of in its turn, as a picture that cannot be read
            self._films[path] = error


def _frames(film: "Video") -> Iterator[Entry]:
    """Of one video; what was passed over comes last."""
    for frame in film.frames():
        yield Entry(frame.picture.name, partial(_same, frame.picture), film.size_wh)
    for skip in film.skipped:
        yield Entry(f"{film.name}#{skip.number}", partial(_fail, ImageError(skip.reason)))


def _same(picture: "Picture") -> "Picture":
    return picture


def _fail(error: ImageError) -> "Picture":
    raise error


class Looks:
    """What the model is shown of each picture.

    Args:
        model: which.
        options: as given; filled up with what suits the use.
        use: of the features.
        flip: mirror images too.
        boxes: of things that are cut out as `annotate` does; without any, whole pictures.
        scale: side of these cuts, in longer sides of a box.

    Attributes:
        options: filled up.

    Raises:
        BadInput: what does not go together.
    """

    def __init__(
        self,
        model: "Backbone",
        options: "Options",
        use: Use,
        *,
        flip: bool,
        boxes: "Sequence[Annotations]",
        scale: float,
    ) -> None:
        self._model, self._use, self._flip, self._scale = model, use, flip, scale
        self._boxes = boxes
        self.options = self._filled(options)

    def of(self, entry: Entry, picture: "Picture") -> "Iterator[tuple[str, Picture]]":
        """Each with what its file is called beside the picture's name.

        Raises:
            ImageError: a picture that no file of boxes has a box for.
        """
        from counterpoint.matching import mirrored
        from counterpoint.store import MIRRORED, part_of

        for seen in self._plain(entry, picture):
            looked = [seen, mirrored(seen)] if self._flip else [seen]
            for one, whole in zip(looked, ("", MIRRORED), strict=False):
                yield (part_of(one.content_hash) if self._boxes else whole), one

    def _plain(self, entry: Entry, picture: "Picture") -> "list[Picture]":
        if self._use == "track":
            return [self._resized(entry, picture)]
        if self._use != "annotate":
            return [picture]
        from counterpoint.tasks.annotation.views import cut_out

        if not self._boxes:
            return [cut_out(picture, None).picture]
        try:
            cuts = [cut_out(picture, box, self._scale).picture for box in self._boxes_of(picture)]
        except ImageError:
            raise
        except BadInput as error:  # of another size than its file says, or a box outside it
            raise ImageError(str(error)) from error
        return list({cut.content_hash: cut for cut in cuts}.values())

    def _boxes_of(self, picture: "Picture") -> "list[tuple[float, float, float, float]]":
        from counterpoint.tasks.annotation.views import extent, require_size

        found: list[tuple[float, float, float, float]] = []
        for given, by_name in zip(self._boxes, self._by_name, strict=True):
            image = by_name.find(Path(picture.name).as_posix())
            if image is not None:
                require_size(picture, image)
                things = [one for one in given.of_image(image.id) if not one.crowd]
                found += [box for one in things if (box := extent(one, picture.size_wh))]
        if not found:
            raise ImageError(f"expected boxes of {picture.name} in --boxes, found none")
        return found

    @cached_property
    def _by_name(self) -> "list[ByName]":
        from counterpoint.tasks.annotation.results import ByName

        return [ByName(given) for given in self._boxes]

    def _filled(self, options: "Options") -> "Options":
        if self._use == "views":
            from counterpoint.tasks.scenes.local_features import geometric_options

            return geometric_options(self._model.spec, options)
        if self._use == "track":
            from counterpoint.tasks.tracking.temporal import TEMPORAL, setting_of

            return setting_of(self._model.spec, TEMPORAL).options(options)
        return options

    def _resized(self, entry: Entry, picture: "Picture") -> "Picture":
        from counterpoint.cli.track.frames import frame_input
        from counterpoint.tasks.tracking.temporal import resized

        video_wh = entry.video_wh or picture.size_wh
        return resized(picture, frame_input(self.options, video_wh, self._model.multiple))


def check_use(use: Use, *, flip: bool, boxes: bool) -> None:
    """That what is asked for goes together.

    Raises:
        BadInput: it does not.
    """
    if use == "track" and flip:
        raise BadInput("expected no --flip with --for track, which has no use for it")
    if use != "annotate" and boxes:
        raise BadInput("expected --boxes with --for annotate only, got it without")
