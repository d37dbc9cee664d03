"""How two pictures of a pair differ, measured on their key points and boxes.

SPair-71k says for each pair how hard viewpoint, scale, truncation and occlusion are. Other data
sets say nothing of the kind; what their points and boxes show stands in for it: the change of size,
the rotation in the picture's plane, whether the thing faces the other way, and how much of the
points' arrangement no shift, rotation and scaling explains (another viewpoint or pose).
"""

from dataclasses import dataclass

import numpy as np

from counterpoint.benchmarks.datasets.keypoints import Box, KeypointPair
from counterpoint.geometry import Points

UNKNOWN = "not known"

_CLEAR = 0.05
"""By how much of the variance one of two fits must be better to say which way a thing faces."""


@dataclass(frozen=True)
class Change:
    """How the target differs from the source.

    Attributes:
        scale: sizes' ratio, the larger over the smaller, at least 1: of the boxes (square root of
            the area) where both are known, else of the key points' spread; None: of one point.
        rotation_deg: in the picture's plane, 0 to 180; None: fewer than two places.
        mirrored: it faces the other way: a mirrored arrangement fits better; None: not clear.
        shape: share of the target points' spread that the best shift, rotation and scaling (and
            mirroring, where mirrored) leaves unexplained, 0 to 1; None: fewer than three points.
    """

    scale: float | None
    rotation_deg: float | None
    mirrored: bool | None
    shape: float | None

    @property
    def words(self) -> dict[str, str]:
        """Each measure as one of a few levels."""
        facing = {None: UNKNOWN, False: "same", True: "mirrored"}[self.mirrored]
        return {
            "scale change": _level(self.scale, (1.25, 2), "x"),
            "rotation": _level(self.rotation_deg, (15, 45), "°"),
            "facing": facing,
            "shape change": _level(self.shape, (0.25, 0.5), ""),
        }

    @property
    def line(self) -> str:
        """The measures themselves, for a person."""
        parts = [
            "" if self.scale is None else f"scale x{self.scale:.2f}",
            "" if self.rotation_deg is None else f"rotation {self.rotation_deg:.0f}°",
            "mirrored" if self.mirrored else "",
            "" if self.shape is None else f"shape {self.shape:.2f}",
        ]
        return ", ".join(filter(None, parts))


LEVELS: dict[str, tuple[str, ...]] = {
    "scale change": ("below 1.25x", "1.25x to 2x", "2x and more", UNKNOWN),
    "rotation": ("below 15°", "15° to 45°", "45° and more", UNKNOWN),
    "facing": ("same", "mirrored", UNKNOWN),
    "shape change": ("below 0.25", "0.25 to 0.5", "0.5 and more", UNKNOWN),
}
"""The levels of `Change.words`, in their order."""


def _level(value: float | None, edges: tuple[float | int, float | int], unit: str) -> str:
    if value is None:
        return UNKNOWN
    low, high = (f"{edge:g}{unit}" for edge in edges)
    names = (f"below {low}", f"{low} to {high}", f"{high} and more")
    return names[int(np.searchsorted(edges, value, side="right"))]


def change_of(pair: KeypointPair) -> Change:
    """How a pair's target differs from its source.

    >>> import numpy as np
    >>> square = np.array([(0, 0), (9, 0), (9, 9), (0, 4.0)])
    >>> turned = 2 * square[:, ::-1] * (-1, 1) + 30
    >>> change = arrangement(square, turned)
    >>> round(change.scale, 2), round(change.rotation_deg), change.mirrored, round(change.shape, 2)
    (2.0, 90, False, 0.0)
    """
    found = arrangement(pair.source_px, pair.target_px)
    if pair.source_box is None or pair.target_box is None:
        return found
    sides = _box_side(pair.source_box), _box_side(pair.target_box)
    scale = max(sides) / min(sides)
    return Change(scale, found.rotation_deg, found.mirrored, found.shape)


def arrangement(source_px: Points, target_px: Points) -> Change:
    """The change that the points (N, 2) alone show; least squares over similarities."""
    p, q = (_centred(points) for points in (source_px, target_px))
    sizes = [float(np.sqrt((abs(z) ** 2).mean())) for z in (p, q)]
    if min(sizes) < 1e-9:
        return Change(None, None, None, None)
    scale = max(sizes) / min(sizes)
    # As complex numbers a rotation with scaling is one factor; a mirror image is the conjugate.
    fits = [complex((z.conj() * q).sum()) for z in (p, -p.conj())]
    shares = [abs(fit) ** 2 / float((abs(p) ** 2).sum() * (abs(q) ** 2).sum()) for fit in fits]
    enough = len(p) >= 3
    clear = enough and abs(shares[0] - shares[1]) > _CLEAR
    mirrored = bool(shares[1] > shares[0]) if clear else None
    best = 1 if mirrored else 0
    angle = abs(float(np.degrees(np.angle(fits[best]))))
    shape = float(np.sqrt(max(0.0, 1 - shares[best]))) if enough else None
    return Change(scale, angle, mirrored, shape)


def _centred(points_px: Points) -> np.ndarray:
    x, y = (points_px - points_px.mean(axis=0)).T
    return x + 1j * y


def _box_side(box: Box) -> float:
    left, top, right, bottom = box
    return float(np.sqrt((right - left) * (bottom - top)))
