"""Every data set of key point pairs by name: its reader, and the protocols that papers use for it.

Importing this reads nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.benchmarks.birds.keypoints import read_cub_crops
from counterpoint.benchmarks.datasets.ap10k import read_ap10k
from counterpoint.benchmarks.datasets.keypoints import KeypointPairs
from counterpoint.benchmarks.datasets.pf_pascal import read_pf_pascal
from counterpoint.benchmarks.datasets.pf_willow import read_pf_willow
from counterpoint.benchmarks.datasets.spair import read_spair
from counterpoint.benchmarks.keypoints.predictions import Origin
from counterpoint.errors import BadInput, UnknownName


@dataclass(frozen=True)
class PairSet:
    """A data set of key point pairs.

    Attributes:
        name: what a person types.
        title: the data set's own name.
        read: its reader: the folder first, choices by keyword.
        protocols: what its predictions are scored under by default, the first foremost.
    """

    name: str
    title: str
    read: Callable[..., KeypointPairs]
    protocols: tuple[str, ...]


_SETS = (
    PairSet("spair", "SPair-71k", read_spair, ("dift", "geoaware")),
    PairSet(
        "willow", "PF-WILLOW", read_pf_willow, ("willow-target-extent", "willow-source-extent")
    ),
    PairSet("pascal", "PF-PASCAL", read_pf_pascal, ("pf-pascal", "pf-pascal-geoaware")),
    PairSet("ap10k", "AP-10K", read_ap10k, ("geoaware",)),
    PairSet("cub", "CUB-200-2011, bird crops", read_cub_crops, ("cub-crops",)),
)

PAIR_SETS: dict[str, PairSet] = {row.name: row for row in _SETS}
"""Every data set of key point pairs."""


def read_again(root: Path | str, request: Mapping[str, Any]) -> KeypointPairs:
    """Read what a `KeypointPairs.request` asks for, from a folder that may have moved.

    Raises:
        UnknownName: no such reader.
        BadInput: as the reader does.
    """
    choices = dict(request)
    reader = str(choices.pop("reader", ""))
    if reader not in PAIR_SETS:
        raise UnknownName("data set of key point pairs", reader, PAIR_SETS)
    return PAIR_SETS[reader].read(root, **choices)


def read_same(root: Path | str, origin: Origin, file: Path) -> KeypointPairs:
    """The pairs that predictions were made of, from a folder that may have moved.

    Raises:
        BadInput: the pairs there are others; as the reader does.
    """
    dataset = read_again(root, origin.request)
    if origin.pairs_sha256 != dataset.fingerprint:
        raise BadInput(
            f"expected predictions of the pairs at {root} ({dataset.name}), got {file}, made of "
            f"others ({origin.dataset}); give the folder that they were made from"
        )
    return dataset
