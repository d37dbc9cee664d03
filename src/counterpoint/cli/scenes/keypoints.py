"""Which key points a command uses: a detector's or those of files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from counterpoint.errors import BadInput

if TYPE_CHECKING:
    from counterpoint.backbones.keypoints import KeyPointNetwork, KeyPoints
    from counterpoint.images import Picture

DETECTORS = ("sift", "orb", "grid")


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How the pictures are matched.

    Attributes:
        keypoints: where features are compared: sift, orb or grid (its points are sought among all
            pixels of the other picture); superpoint, aliked, disk or xfeat, or a folder or file of
            such a network's weights; or files of key points: an .npz a picture, a folder of them,
            or an .h5 as hloc's.
        count: key points a picture, at most.
        metric: of the features.
        detector_size: of a network: pictures whose longer side is longer are reduced to this for
            detection, pixels; 0: none is. By default 1024.
        nms: of a network: how far around a key point there is no other, pixels.
        min_score: of a network: what a key point scores at least.
    """

    keypoints: Annotated[
        list[str],
        Parameter(name=("--keypoints", "--detector"), negative="", consume_multiple=True),
    ] = field(default_factory=lambda: ["sift"])
    count: int = 1000
    metric: Literal["cosine", "l2"] = "cosine"
    detector_size: int | None = None
    nms: int | None = None
    min_score: float | None = None


class KeyPointFinder:
    """Finds a picture's key points.

    Args:
        matching: what was asked for: a detector's name or weights; one folder or HDF5 file of key
            points; or an npz for each picture, in order.
        pictures: how many there are.
        device: where a network runs; by default the best there is.

    Raises:
        BadInput: neither of these; says what came.
        MissingWeights: a network's weights are not on this machine.
        MissingExtra: nor is the library that runs it.
    """

    def __init__(self, matching: Matching, pictures: int, device: str | None = None) -> None:
        self.words, self.count = matching.keypoints, matching.count
        if self.count < 1:
            raise BadInput(f"expected --count of at least 1 key point, got {self.count}")
        self._network = _network(matching, device)
        if self._network or self.words in [[name] for name in DETECTORS]:
            return
        self._require_files(pictures)

    def _require_files(self, pictures: int) -> None:
        missing = [word for word in self.words if not Path(word).expanduser().exists()]
        if not self.words or missing:
            raise BadInput(
                f"expected --keypoints {', '.join(DETECTORS)}, {_learned()}, a folder or HDF5 file "
                f"of key points, or an npz a picture; got {missing[0] if missing else 'none'}"
            )
        alone = len(self.words) == 1 and not self._single(self.words[0])
        if not alone and len(self.words) != pictures:
            raise BadInput(
                f"expected one npz for each of {pictures} pictures, got {len(self.words)}; a "
                "folder of them serves as well"
            )

    @staticmethod
    def _single(word: str) -> bool:
        """Whether a file holds the key points of one picture."""
        from counterpoint.tasks.scenes.keypoint_files import HDF5

        path = Path(word).expanduser()
        return path.is_file() and path.suffix.lower() not in HDF5

    @property
    def grid(self) -> bool:
        """Whether points are those of a grid."""
        return self.words == ["grid"]

    def find(self, picture: "Picture", index: int) -> "KeyPoints":
        """Of the picture with this index."""
        from counterpoint.tasks.scenes.keypoint_files import read_keypoints
        from counterpoint.tasks.scenes.local_features import detect_scored

        if self._network or self.words[0] in DETECTORS:
            detector: Any = self._network or self.words[0]
            return detect_scored(picture, detector, self.count)
        word = self.words[0 if len(self.words) == 1 else index]
        return read_keypoints(word, picture.name, picture.size_wh, self.count)


def _network(matching: Matching, device: str | None) -> "KeyPointNetwork | None":
    """The network asked for, None where something else was."""
    from counterpoint.backbones.detectors import detector_of, load_detector

    asked = {
        "size_px": matching.detector_size,
        "nms_px": matching.nms,
        "min_score": matching.min_score,
    }
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    words = matching.keypoints
    learned = len(words) == 1 and words[0] not in DETECTORS and detector_of(words[0])
    if not learned:
        if given:
            raise BadInput(
                "expected --detector-size, --nms and --min-score with a network's key points "
                f"({_learned()}), got --keypoints {' '.join(words)}"
            )
        return None
    from counterpoint.backbones.keypoints import Detection

    return load_detector(words[0], device=device, detection=Detection(**given))


def _learned() -> str:
    from counterpoint.backbones.detectors import DETECTORS as LEARNED

    return ", ".join(LEARNED)
