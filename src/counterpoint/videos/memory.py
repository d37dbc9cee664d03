"""Pictures in memory as a video."""

from collections.abc import Iterator, Sequence

from counterpoint.errors import ImageError
from counterpoint.images import ImageLike, load_picture
from counterpoint.videos.base import Broken, RawFrame, Resized, Video


class MemoryVideo(Video):
    """Arrays, PIL images, tensors or any other pictures, in order, as a video.

    >>> import numpy as np
    >>> video = MemoryVideo([np.zeros((4, 6, 3), np.uint8)] * 3)
    >>> video.size_wh, [frame.number for frame in video.frames(every=2)]
    ((6, 4), [0, 2])
    """

    def __init__(
        self,
        pictures: Sequence[ImageLike],
        fps: float | None = None,
        broken: Broken = "raise",
        resized: Resized = "raise",
    ) -> None:
        super().__init__(broken, resized)
        if not len(pictures):
            raise ImageError("expected at least one picture as a video, got none")
        self._pictures = pictures
        self.name, self.fps, self.count = "video", fps, len(pictures)
        self.size_wh = load_picture(pictures[0]).size_wh

    def decoded(self) -> Iterator[RawFrame]:
        """Every frame in order, its pixels not yet made."""
        for number, one in enumerate(self._pictures):
            time_s = None if self.fps is None else number / self.fps
            yield RawFrame(number, time_s, lambda one=one: load_picture(one))
