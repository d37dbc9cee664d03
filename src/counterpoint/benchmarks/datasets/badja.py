"""BADJA (Biggs et al. 2018): joints of animals in videos of DAVIS and of its own.

The folder is the one that holds ``joint_annotations``, a JSON file an animal. Joints are written as
(row, column) in the pictures of DAVIS' full resolution. Each annotation names its picture and mask
below that folder, where DAVIS lies in the original set-up; it may lie elsewhere, and at 480p, as
well.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from counterpoint.benchmarks.datasets import davis as davis_layout
from counterpoint.benchmarks.datasets._pictures import Pictures
from counterpoint.benchmarks.datasets._tables import Origin, files_in, read_any_json, require_file
from counterpoint.benchmarks.datasets.davis import Resolution, part_of, read_mask
from counterpoint.benchmarks.datasets.keypoints import SLACK_PX, Skipped, usable
from counterpoint.errors import BadInput, PointError, UnknownName
from counterpoint.geometry import PixelTransform, Points, SizeWH, inside
from counterpoint.images import Picture, load_picture

SIZE_WH: SizeWH = (1920, 1080)
"""Of the pictures that DAVIS' animals are annotated in, pixels."""

ORIGIN = Origin(
    archive="the repository BADJA",
    url="https://github.com/benjiebob/BADJA",
    folder="the folder that holds joint_annotations",
)


IN_DAVIS = ("bear", "camel", "cows", "dog", "dog-agility", "horsejump-high", "horsejump-low")
"""Animals whose videos are DAVIS'; those that papers report (PIPs, Harley et al. 2022)."""

ANIMALS = (*IN_DAVIS, "cat_jump", "impala0", "rs_dog", "tiger")
"""All that are annotated; the videos of cat_jump and tiger are not given away."""

WHOLE = len(IN_DAVIS)

_IN_DAVIS = "DAVIS"


@dataclass(frozen=True, eq=False)
class AnnotatedFrame:
    """The joints of one frame.

    Attributes:
        picture: path of the picture, as the annotation has it.
        mask: path of the animal's mask.
        frame: its number in the video, from 0.
        joints_px: (joints, 2), (x, y), pixels of the full resolution; of no meaning where not
            visible.
        visible: (joints,).
    """

    picture: str
    mask: str
    frame: int
    joints_px: Float[np.ndarray, "joints 2"]
    visible: Bool[np.ndarray, " joints"]

    def joints_at(self, size_wh: SizeWH) -> Points:
        """The joints in the same picture resized, such as DAVIS' 854 x 480."""
        return PixelTransform.resize(SIZE_WH, size_wh).apply(self.joints_px)


def read_badja(
    root: Path | str, animals: Collection[str] | None = None
) -> dict[str, tuple[AnnotatedFrame, ...]]:
    """Read the annotations, by animal ("camel").

    Raises:
        BadInput: missing, or not such a file.
        UnknownName: no such animal.
    """
    root = Path(root).expanduser()
    known = _known(root, animals)
    return {name: _frames(root, name) for name in known if animals is None or name in animals}


def _known(root: Path, asked: Collection[str] | None) -> list[str]:
    """Every animal that is annotated here, those asked for among them."""
    known = [path.stem for path in files_in(root / "joint_annotations", ".json")]
    if not known:
        raise ORIGIN.missing(root / "joint_annotations/camel.json")
    for animal in asked or ():
        if animal not in known:
            raise UnknownName("animal of BADJA", animal, known)
    return known


def _frames(root: Path, name: str) -> tuple[AnnotatedFrame, ...]:
    path = root / "joint_annotations" / f"{name}.json"
    entries = read_any_json(path, ORIGIN)
    try:
        return tuple(_frame(entry) for entry in entries)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"expected BADJA's annotations in {path}: {reason}") from error


def _frame(entry: dict[str, Any]) -> AnnotatedFrame:
    joints = np.asarray(entry["joints"], dtype=np.float64)
    visible = np.asarray(entry["visibility"], dtype=bool)
    if joints.shape != (len(visible), 2) or not np.isfinite(joints).all():
        raise ValueError(f"joints {joints.shape} for visibility {visible.shape}")
    return AnnotatedFrame(
        entry["image_path"],
        entry["segmentation_path"],
        int(Path(entry["image_path"]).stem),
        joints[:, ::-1].copy(),
        visible,
    )


@dataclass(frozen=True, eq=False)
class BadjaVideo:
    """One animal's video, from its first annotated frame to its last.

    Attributes:
        name: "camel".
        frames: paths of the pictures, in order.
        annotated: the joints of some of the frames, the first among them.
        masks: paths of these frames' masks.
    """

    name: str
    frames: tuple[Path, ...]
    annotated: tuple[AnnotatedFrame, ...]
    masks: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def picture(self, frame: int) -> Picture:
        """A frame, decoded; 0 is the first annotated one.

        Raises:
            ImageError: it cannot be read.
        """
        return load_picture(self.frames[frame])

    @cached_property
    def size_wh(self) -> SizeWH:
        """Width and height of the first frame, pixels."""
        return Pictures(davis_layout.ORIGIN).of(self.frames[0])

    @property
    def indices(self) -> tuple[int, ...]:
        """Which frames are annotated, counted from the first."""
        return tuple(one.frame - self.annotated[0].frame for one in self.annotated)

    @cached_property
    def joints_px(self) -> Float[np.ndarray, "annotated joints 2"]:
        """Joints of the annotated frames, pixels of the frames; of no meaning where not visible."""
        if _IN_DAVIS in PurePosixPath(self.annotated[0].picture).parts:
            return np.stack([one.joints_at(self.size_wh) for one in self.annotated])
        return np.stack([one.joints_px for one in self.annotated])

    @property
    def visible(self) -> Bool[np.ndarray, "annotated joints"]:
        """Which joints are visible in the annotated frames."""
        return np.stack([one.visible for one in self.annotated])

    @cached_property
    def areas_px(self) -> Float[np.ndarray, " annotated"]:
        """Pixels of the animal in the annotated frames.

        Raises:
            BadInput: a mask is missing, damaged, empty, or of another size than the frames.
        """
        return np.array([self._area(path) for path in self.masks])

    def check(self) -> None:
        """Read masks and sizes, so that what cannot be used is said before anything is run.

        Raises:
            ImageError: a frame that is no picture, or is cut off.
            PointError: a visible joint outside its picture.
            BadInput: frames or masks of different sizes, a damaged or empty mask, or no joint to
                follow.
        """
        sizes = Pictures(davis_layout.ORIGIN)
        for path in self.frames:
            if sizes.whole(path) != self.size_wh:
                raise BadInput(
                    "expected frames of one size in {}, {} x {} as the first, got {} x {} in "
                    "{}; unpack it again".format(self.name, *self.size_wh, *sizes.of(path), path)
                )
        if len(self.annotated) < 2 or not self.visible[0].any():
            raise BadInput(
                f"expected at least 2 annotated frames of {self.name} and a visible joint in the "
                f"first, got {len(self.annotated)} and {int(self.visible[0].sum())}"
            )
        shown = self.joints_px[self.visible]
        outside = ~inside(shown, self.size_wh, slack_px=SLACK_PX)
        if outside.any():
            x, y = shown[int(np.argmax(outside))]
            w, h = self.size_wh
            raise PointError(
                f"expected joints of {self.name} inside its frames of {w} x {h} px, got "
                f"({x:g}, {y:g}); check its annotation, or the size of its frames"
            )
        _ = self.areas_px

    def _area(self, path: Path) -> float:
        mask = read_mask(path, single=True)
        if (mask.shape[1], mask.shape[0]) != self.size_wh:
            raise BadInput(
                "expected a mask of {} x {} px, as the frames of {}, got {} x {} in {}".format(
                    *self.size_wh, self.name, mask.shape[1], mask.shape[0], path
                )
            )
        if not mask.any():
            raise BadInput(f"expected an animal in the mask {path}, got an empty mask")
        return float(mask.sum())


@dataclass(frozen=True, eq=False)
class Badja:
    """Videos with joints.

    Attributes:
        videos: by name.
        skipped: videos that were asked for and are not all here, with ``skip_bad`` only.
        limit_frames: how many frames of each there are at most; None: all.
    """

    videos: tuple[BadjaVideo, ...]
    skipped: tuple[Skipped, ...] = ()
    limit_frames: int | None = None

    def named(self, used: int) -> str:
        """ "BADJA" where all videos of DAVIS are used, else how much."""
        return part_of("BADJA", used, WHOLE, self.limit_frames)


def read_badja_videos(
    root: Path | str,
    davis: Path | str | None = None,
    *,
    resolution: Resolution = "480p",
    animals: Collection[str] | None = None,
    limit: int | None = None,
    limit_frames: int | None = None,
    skip_bad: bool = False,
) -> Badja:
    """List BADJA's videos with their frames.

    Args:
        root: the folder that holds ``joint_annotations``.
        davis: the folder of DAVIS that holds ``JPEGImages``; by default ``DAVIS`` in the root.
        resolution: of DAVIS, a folder's name.
        animals: only these; by default those whose videos are DAVIS' (what papers report), of
            these the ones that are annotated here.
        limit: only the first so many of them.
        limit_frames: only the first so many frames of each, at least 2.
        skip_bad: list videos that lack a file in `Badja.skipped` instead of raising.

    Raises:
        BadInput: a file is missing or not what it should be, or no video is left.
        UnknownName: no such animal.
    """
    root = Path(root).expanduser()
    if limit_frames is not None and limit_frames < 2:
        raise BadInput(f"expected at least 2 frames, got a limit of {limit_frames}")
    known = _known(root, animals)
    wanted = IN_DAVIS if animals is None else animals
    names = [name for name in known if name in wanted][:limit]
    place = Path(davis).expanduser() if davis else root / _IN_DAVIS
    videos, skipped = usable(
        [(name, name) for name in names],
        lambda name: _video(root, place, resolution, name, limit_frames),
        skip_bad=skip_bad,
    )
    if not videos:
        why = f"; {skipped[0].reason}" if skipped else ""
        raise BadInput(f"expected videos of BADJA at {root}, found none{why}")
    return Badja(videos, skipped, limit_frames)


def _video(
    root: Path,
    davis: Path,
    resolution: Resolution,
    name: str,
    limit_frames: int | None,
) -> BadjaVideo:
    annotated = _frames(root, name)
    if not annotated:
        raise BadInput(f"expected annotated frames of {name}, got none")
    first = annotated[0].frame
    if [one.frame for one in annotated] != sorted({one.frame for one in annotated}):
        raise BadInput(f"expected annotated frames of {name} in order, each once")
    if len({one.joints_px.shape for one in annotated}) > 1:
        raise BadInput(f"expected as many joints in every frame of {name}")
    end = annotated[-1].frame + 1 if limit_frames is None else first + limit_frames
    annotated = tuple(one for one in annotated if one.frame < end)
    start = _here(root, davis, resolution, annotated[0].picture)
    frames = tuple(
        start.with_name(f"{i:0{len(start.stem)}}{start.suffix}")
        for i in range(first, annotated[-1].frame + 1)
    )
    masks = tuple(_here(root, davis, resolution, one.mask) for one in annotated)
    origin = _origin_of(annotated[0])
    return BadjaVideo(
        name,
        tuple(require_file(path, origin) for path in frames),
        annotated,
        tuple(require_file(path, origin) for path in masks),
    )


def _here(root: Path, davis: Path, resolution: Resolution, written: str) -> Path:
    """A path of the annotations, where it lies here."""
    parts = PurePosixPath(written).parts
    if not parts or ".." in parts or PurePosixPath(written).is_absolute():
        raise BadInput(f"expected a path below the folder of BADJA, got {written[:80]!r}")
    if parts[0] != _IN_DAVIS or len(parts) != 5:  # DAVIS / kind / resolution / video / file
        return root.joinpath(*parts)
    return davis / parts[1] / resolution / parts[3] / parts[4]


def _origin_of(frame: AnnotatedFrame) -> Origin:
    if not frame.picture.startswith(_IN_DAVIS):
        return ORIGIN
    found = davis_layout.ORIGIN
    return Origin(found.archive, found.url, "it with --davis: the folder that holds JPEGImages")
