"""Every data set in miniature with its reader, for tests that ask the same of all of them."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from counterpoint.benchmarks.datasets.ap10k import read_ap10k
from counterpoint.benchmarks.datasets.badja import BadjaVideo, read_badja_videos
from counterpoint.benchmarks.datasets.davis import DavisSequence, read_davis
from counterpoint.benchmarks.datasets.hpatches import read_hpatches
from counterpoint.benchmarks.datasets.jhmdb import Clip, read_jhmdb
from counterpoint.benchmarks.datasets.pf_pascal import read_pf_pascal
from counterpoint.benchmarks.datasets.pf_willow import read_pf_willow
from counterpoint.benchmarks.datasets.spair import read_spair
from counterpoint.benchmarks.datasets.tapvid import TrackedVideo, read_tapvid
from counterpoint.benchmarks.datasets.tss import TSSPair, read_tss
from counterpoint.benchmarks.videos.run import usable_of
from support.tiny_datasets import write_ap10k, write_pascal, write_spair, write_willow
from support.tiny_hpatches import write_hpatches
from support.tiny_tss import write_tss
from support.tiny_video import write_badja, write_davis, write_jhmdb, write_tapvid

Read = Callable[..., tuple[int, list[str]]]
"""From a folder and ``skip_bad`` to how much can be used and what is skipped."""


@dataclass(frozen=True)
class Reader:
    """A data set in miniature.

    Attributes:
        write: makes it in a folder.
        read: reads it and checks it, as its benchmark does before it runs anything.
        whole: how much there is, undamaged.
    """

    write: Callable
    read: Read
    whole: int


def pairs_of(read, **choices) -> Read:
    def found(root, skip_bad):
        data = read(root, skip_bad=skip_bad, **choices)
        return len(data.pairs), [bad.id for bad in data.skipped]

    return found


def checked(read, videos, check) -> Read:
    def found(root, skip_bad):
        data = read(root, skip_bad=skip_bad)
        usable, bad = usable_of(getattr(data, videos), check, skip_bad)
        return len(usable), [one.id for one in (*data.skipped, *bad)]

    return found


def _planes(root, skip_bad):
    data = read_hpatches(root, skip_bad=skip_bad)
    return len(data.sequences), [bad.id for bad in data.skipped]


READERS = {
    "spair": Reader(write_spair, pairs_of(read_spair), 12),
    "willow": Reader(write_willow, pairs_of(read_pf_willow), 12),
    "willow by .mat": Reader(
        lambda root: write_willow(root, columns=False), pairs_of(read_pf_willow), 12
    ),
    "pascal": Reader(lambda root: write_pascal(root, boxes=True), pairs_of(read_pf_pascal), 2),
    "ap10k": Reader(lambda root: add_ap10k(write_ap10k(root)), pairs_of(read_ap10k), 3),
    "hpatches": Reader(write_hpatches, _planes, 2),
    "tss": Reader(write_tss, checked(read_tss, "pairs", TSSPair.check), 4),
    "davis": Reader(write_davis, checked(read_davis, "sequences", DavisSequence.check), 2),
    "jhmdb": Reader(write_jhmdb, checked(read_jhmdb, "clips", Clip.check), 2),
    "tapvid": Reader(
        lambda root: write_tapvid(root / "tapvid_davis.pkl").parent,
        checked(read_tapvid, "videos", TrackedVideo.check),
        2,
    ),
    "badja": Reader(
        lambda root: write_badja(root, ("camel", "dog")),
        checked(read_badja_videos, "videos", BadjaVideo.check),
        2,
    ),
}


def add_ap10k(root):
    """Two more pairs, one without the first animal, so that some are left when it is bad."""
    folder = root / "PairAnnotation/test"
    [path] = folder.glob("*.json")
    pair = json.loads(path.read_text())
    first, second = pair["src_json_path"], pair["trg_json_path"]
    other = second.replace("Felidae/cat/000000000002", "Bovidae/cow/000000000004")
    for name, source, target in (("2-1", second, first), ("2-4", second, other)):
        entries = {"src_json_path": source, "trg_json_path": target}
        (folder / f"{name}:cat.json").write_text(json.dumps(entries))
    return root
