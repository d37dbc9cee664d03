"""Figures of papers to compare with, each with the protocol that its paper scored by.

A figure stands beside a measured one only where data set, protocol and measure are the same; where
the measured one is of a part of the data set, that is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One figure of a paper.

    Attributes:
        dataset: full name, as reports have it.
        samples: how much that is.
        protocol: by name; "" where the paper does not say enough to name one.
        measure: "PCK@0.1 per image".
        method: the paper's.
        value: in the measure's unit, per cent if none is named.
        recalled: from memory, to be checked against the paper before it is quoted.
    """

    dataset: str
    samples: str
    protocol: str
    measure: str
    method: str
    value: float
    recalled: bool = False

    @property
    def text(self) -> str:
        """The figure, with a question mark where it was recalled."""
        return f"{self.value:g}{' (recalled)' if self.recalled else ''}"


_SPAIR = ("SPair-71k large test", "12234 pairs")
_HPATCHES = ("HPatches", "108 sequences", "hpatches-dift")
_DAVIS = ("DAVIS-2017 val", "30 sequences", "davis-2017", "J&F")
_WILLOW = ("PF-WILLOW", "900 pairs", "")
_JHMDB = ("JHMDB", "268 clips", "jhmdb")


def _several(where: Sequence[str], method: str, figures: dict[str, float]) -> tuple[Reference, ...]:
    dataset, samples, protocol = where
    return tuple(
        Reference(dataset, samples, protocol, measure, method, value, recalled=True)
        for measure, value in figures.items()
    )


def _dift(average: str, method: str, figures: dict[float, float]) -> tuple[Reference, ...]:
    """On SPair-71k by protocol dift, by threshold."""
    return tuple(
        Reference(*_SPAIR, "dift", f"PCK@{alpha:g} {average}", method, value)
        for alpha, value in figures.items()
    )


REFERENCES: tuple[Reference, ...] = (
    *_dift("per image", "DIFT, SD 2.1", {0.1: 52.9, 0.05: 39.7, 0.01: 7.2}),
    *_dift("per point", "DIFT, SD 2.1", {0.1: 59.5}),
    *_dift("macro", "DIFT, SD 2.1", {0.1: 57.7}),
    *_dift("per image", "DINO ViT-B/8", {0.1: 33.9}),
    *_dift("per image", "OpenCLIP ViT-H/14", {0.1: 38.4}),
    *_dift("per point", "CleanDIFT, SD 2.1", {0.1: 61.4}),
    Reference(*_SPAIR, "geoaware", "PCK@0.1 per point", "SD+DINO", 64.0),
    Reference(*_SPAIR, "geoaware", "PCK@0.1 per image", "SD+DINO, window soft-argmax", 64.9),
    Reference(*_SPAIR, "geoaware", "PCK@0.1 per image", "GeoAware-SC, zero-shot", 65.4),
    Reference(*_SPAIR, "", "PCK@0.1 per point", "DiTF, FLUX", 67.1),
    Reference(*_DAVIS, "DIFT, SD 2.1", 70.0),
    Reference(*_DAVIS, "DINO ViT-B/8", 71.4),
    Reference(*_DAVIS, "DIFT, ADM", 75.7),
    *_several(
        _HPATCHES,
        "DIFT, SD 2.1",
        {
            "overall accuracy @1 px": 45.6,
            "overall accuracy @3 px": 73.9,
            "overall accuracy @5 px": 83.1,
        },
    ),
    *_several(
        _HPATCHES,
        "DIFT, ADM",
        {
            "overall accuracy @1 px": 43.7,
            "overall accuracy @3 px": 73.1,
            "overall accuracy @5 px": 84.8,
        },
    ),
    *_several(_WILLOW, "DIFT, SD 2.1", {"PCK@0.05 per point": 58.1, "PCK@0.1 per point": 81.2}),
    *_several(_JHMDB, "DIFT, ADM", {"PCK@0.1": 63.4, "PCK@0.2": 84.3}),
    *_several(_JHMDB, "DIFT, SD 2.1", {"PCK@0.1": 61.1, "PCK@0.2": 81.8}),
)
"""Every figure (DIFT, Tang et al. 2023, and those that compare with it)."""

SPAIR_CATEGORIES: dict[str, float] = {
    "aeroplane": 63.5,
    "bicycle": 54.5,
    "bird": 80.8,
    "boat": 34.5,
    "bottle": 46.2,
    "bus": 52.7,
    "car": 48.3,
    "cat": 77.7,
    "chair": 39.0,
    "cow": 76.0,
    "dog": 54.9,
    "horse": 61.3,
    "motorbike": 53.3,
    "person": 46.0,
    "pottedplant": 57.8,
    "sheep": 57.1,
    "train": 71.1,
    "tvmonitor": 63.4,
}
"""PCK@0.1 per point of DIFT, SD 2.1, on SPair-71k large test, protocol dift."""


def references(dataset: str, protocol: str) -> tuple[Reference, ...]:
    """Figures on a data set or on all of that of which it is a part, under one protocol.

    Args:
        dataset: a report's, such as "SPair-71k large test, 65 of 12234 pairs".
        protocol: its protocol; references whose own is not known are given as well.
    """
    return tuple(
        one for one in REFERENCES if one.dataset in dataset and one.protocol in (protocol, "")
    )


def is_part(dataset: str, reference: Reference) -> bool:
    """Whether a report is of less (or other pairs) than the paper's figure."""
    return dataset != reference.dataset


def published_lines(dataset: str, protocol: str) -> tuple[str, ...]:
    """The figures of just this protocol in one line, to stand below a table; nothing if none."""
    known = [one for one in references(dataset, protocol) if one.protocol == protocol]
    if not known:
        return ()
    figures = "; ".join(f"{one.method}, {one.measure} {one.text}" for one in known)
    return (f"Published, on all {known[0].samples}: {figures}.",)
