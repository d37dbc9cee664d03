"""Which key points are each other's mirror image: a left eye and a right eye.

CUB's and AP-10K's key points say it in their names. SPair-71k's are numbers; who mirrors whom is
fixed by its annotation, category by category, and written down here.
"""

from collections.abc import Mapping, Sequence

_SPAIR = {
    "aeroplane": "4-5 6-7 8-9 10-11 12-13 14-15 16-17 18-19 20-21",
    "bicycle": "2-3 6-7 9-10",
    "bird": "1-2 4-5 7-8 10-11 12-13 14-15",
    "boat": "1-2 3-4 5-6 7-8 9-10 11-12",
    "bottle": "0-1 2-3 4-5 6-7 8-9",
    "bus": "0-1 2-3 5-6 8-18 11-21 9-19 12-22 10-20 13-23 14-15 24-25 16-17 26-27",
    "car": "0-1 2-3 6-7 10-20 13-23 11-21 14-24 12-22 15-25 16-17 26-27 18-19 28-29",
    "cat": "0-1 2-3 4-5 6-7 9-10 11-12",
    "chair": "0-1 2-3 4-5 6-7 8-9 10-11 12-13",
    "cow": "0-1 2-3 4-5 6-7 9-10 11-12 15-16 17-18 19-20",
    "dog": "0-1 2-3 4-5 9-10 11-12",
    "horse": "0-1 2-3 4-5 6-7 10-11 12-13 16-17 18-19",
    "motorbike": "0-1 2-3",
    "person": "0-1 2-3 8-9 10-11 12-13 14-15 16-17 18-19",
    "pottedplant": "0-2 4-5 6-8",
    "sheep": "0-1 2-3 4-5 6-7 9-10 11-12 15-16 17-18 19-20",
    "train": "0-1 2-3 4-5 6-7 8-9 10-11 12-13 14-15 16-17",
    "tvmonitor": "0-2 4-6 3-7 8-10 12-14 11-15",
}
"""The same pairs that GeoAware-SC (Zhang et al. 2024) exchanges when it mirrors a picture."""


def sides(names: Sequence[str], partners: Mapping[str, str]) -> tuple[tuple[int, int], ...]:
    """Pairs of indices of key points that are both there and mirror each other.

    >>> sides(["beak", "left eye", "right eye", "left leg"], by_name(["left eye", "right eye"]))
    ((1, 2),)
    """
    where = {name: index for index, name in enumerate(names) if name in partners}
    found = ((i, where.get(partners[name], -1)) for name, i in where.items())
    return tuple((i, j) for i, j in found if i < j)


def by_name(names: Sequence[str]) -> dict[str, str]:
    """Partners among names that say "left" and "right"."""
    exchanged = {name: _other_side(name) for name in names}
    return {name: other for name, other in exchanged.items() if other in exchanged}


def of_spair(category: str) -> dict[str, str]:
    """Partners among the key point numbers of a category of SPair-71k; none of an unknown one."""
    pairs = [pair.split("-") for pair in _SPAIR.get(category, "").split()]
    return dict(pairs) | {b: a for a, b in pairs}


def _other_side(name: str) -> str:
    """Its mirror image's name; without a side "", which no key point is called."""
    for one, other in (("left", "right"), ("right", "left")):
        if one in name.lower():
            return name.lower().replace(one, other)
    return ""
