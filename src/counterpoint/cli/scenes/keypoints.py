"""Which key points a command uses: a detector's or those of files."""

from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.errors import BadInput

if TYPE_CHECKING:
    from counterpoint.images import Picture
    from counterpoint.tasks.scenes.local_features import KeyPoints

DETECTORS = ("sift", "orb", "grid")


class KeyPointFinder:
    """Finds a picture's key points.

    Args:
        words: a detector's name; one folder or HDF5 file; or an npz for each picture, in order.
        count: key points a picture, at most.
        pictures: how many there are.

    Raises:
        BadInput: neither of these; says what came.
    """

    def __init__(self, words: list[str], count: int, pictures: int) -> None:
        self.words, self.count = words, count
        if words in [[name] for name in DETECTORS]:
            return
        missing = [word for word in words if not Path(word).expanduser().exists()]
        if not words or missing:
            raise BadInput(
                f"expected --keypoints {', '.join(DETECTORS)}, a folder or HDF5 file of key "
                f"points, or an npz a picture; got {missing[0] if missing else 'none'}"
            )
        if not (len(words) == 1 and not self._single(words[0])) and len(words) != pictures:
            raise BadInput(
                f"expected one npz for each of {pictures} pictures, got {len(words)}; a folder of "
                "them serves as well"
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

        if self.words[0] in DETECTORS:
            return detect_scored(picture, self.words[0], self.count)
        word = self.words[0 if len(self.words) == 1 else index]
        return read_keypoints(word, picture.name, picture.size_wh, self.count)
