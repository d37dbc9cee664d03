"""Every data set: what it looks like when unpacked, how much there is, terms, where to get it.

`check` counts what lies in a folder and names what its own lists name and is not there. It opens
lists, never pictures; the readers check contents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from counterpoint.benchmarks.datasets import _named as named
from counterpoint.benchmarks.datasets import (
    ap10k,
    badja,
    cub,
    davis,
    hpatches,
    jhmdb,
    pf_pascal,
    pf_willow,
    spair,
    tapvid,
    tss,
)
from counterpoint.benchmarks.datasets._tables import Origin
from counterpoint.errors import BadInput, UnknownName

NAMED = 10
"""Missing files that are named; the others are only counted."""


@dataclass(frozen=True)
class Part:
    """One kind of file.

    Attributes:
        what: "pictures", "pair lists".
        patterns: as `Path.glob` takes them, from the data set's folder.
        whole: how many the whole data set has; None: as many as its lists name, at least one.
        needs: files that the lists name.
    """

    what: str
    patterns: tuple[str, ...]
    whole: int | None = None
    needs: named.Needs | None = None


@dataclass(frozen=True)
class DatasetEntry:
    """A row of the catalogue.

    Attributes:
        name: what a person types.
        title: the data set's own name.
        reader: the module that reads it.
        origin: where to get it, and which folder to give.
        size: how much there is.
        licence: terms, in short.
        layout: what lies in the folder.
        marker: pattern of what tells the folder from others.
        parts: what is counted.
    """

    name: str
    title: str
    reader: str
    origin: Origin
    size: str
    licence: str
    layout: str
    marker: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class PartFound:
    """How much of one kind is there.

    Attributes:
        what: as in `Part`.
        found: files that are there.
        expected: of how many; None: unknown.
        missing: files that a list names and that are not there, in the list's order.
    """

    what: str
    found: int
    expected: int | None
    missing: tuple[Path, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return not self.missing and self.found >= (self.expected or 1)


@dataclass(frozen=True)
class Checked:
    """What a folder holds of a data set.

    Attributes:
        entry: of the catalogue.
        root: its folder; None: it is not there.
        parts: each kind of file.
        problems: lists that cannot be read.
    """

    entry: DatasetEntry
    root: Path | None
    parts: tuple[PartFound, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """complete, partial or absent."""
        if self.root is None:
            return "absent"
        whole = not self.problems and all(part.complete for part in self.parts)
        return "complete" if whole else "partial"


def find_entry(name: str) -> DatasetEntry:
    """The row of a name.

    Raises:
        UnknownName: no such data set.
    """
    if name not in CATALOGUE:
        raise UnknownName("data set", name, CATALOGUE)
    return CATALOGUE[name]


def check(folder: Path | str, name: str | None = None) -> tuple[Checked, ...]:
    """What lies in a folder, or in the folders in it (two levels deep).

    Args:
        folder: a data set's own, or one that holds several.
        name: look for this one only.

    Returns:
        Every data set that was recognised; of a named one always its state.

    Raises:
        BadInput: no such folder.
        UnknownName: no such data set.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise BadInput(f"expected a folder, got {root}")
    places = list(_places(root))
    wanted = [find_entry(name)] if name else CATALOGUE.values()
    found: list[Checked] = []
    for entry in wanted:
        there = [place for place in places if _any(place, entry.marker)]
        found += [_check(entry, place) for place in there]
        if name and not there:
            found.append(Checked(entry, None))
    return tuple(found)


def _places(root: Path, depth: int = 2) -> Iterator[Path]:
    yield root
    if depth:
        for path in sorted(root.iterdir()):
            if path.is_dir():
                yield from _places(path, depth - 1)


def _any(root: Path, pattern: str) -> bool:
    return next(root.glob(pattern), None) is not None


def _check(entry: DatasetEntry, root: Path) -> Checked:
    found: list[PartFound] = []
    problems: list[str] = []
    for part in entry.parts:
        there = sum(1 for pattern in part.patterns for _ in root.glob(pattern))
        needed: list[Path] = []
        try:
            needed = list(dict.fromkeys(part.needs(root) if part.needs else ()))
        except BadInput as error:
            problems.append(str(error))
        missing = tuple(path for path in needed if not path.exists())
        expected = max(part.whole or 0, len(needed)) or None
        found.append(PartFound(part.what, there, expected, missing))
    return Checked(entry, root, tuple(found), tuple(dict.fromkeys(problems)))


_VOC = "research; PASCAL VOC's and Flickr's terms"


def _davis(year: str, sequences: int, listed: str) -> DatasetEntry:
    return DatasetEntry(
        name=f"davis{year}",
        title=f"DAVIS-{year}",
        reader=davis.__name__,
        origin=davis.ORIGIN,
        size=f"{sequences} sequences at 480p ({listed})",
        licence="see davischallenge.org",
        layout=f"JPEGImages/480p/SEQUENCE, Annotations/480p/SEQUENCE, ImageSets/{year}/val.txt",
        marker=f"ImageSets/{year}/*.txt",
        parts=(
            Part("sequence lists", (f"ImageSets/{year}/*.txt",), 2),
            Part("sequences", ("JPEGImages/480p/*/",), sequences, named.davis_sequences(year)),
            Part("masks", ("Annotations/480p/*/*.png",), None, named.davis_masks(year)),
        ),
    )


_ENTRIES = (
    DatasetEntry(
        name="spair",
        title="SPair-71k",
        reader=spair.__name__,
        origin=spair.ORIGIN,
        size=f"1800 pictures, 18 categories, {sum(spair.WHOLE.values())} pairs",
        licence=_VOC,
        layout="Layout/{large,small}/{trn,val,test}.txt, PairAnnotation/SPLIT/PAIR.json, "
        "ImageAnnotation/CATEGORY, JPEGImages/CATEGORY",
        marker="PairAnnotation/*/*:*.json",
        parts=(
            Part("pair lists", ("Layout/*/*.txt",), 6),
            Part(
                "pair annotations",
                ("PairAnnotation/*/*.json",),
                sum(spair.WHOLE.values()),
                named.spair_pairs,
            ),
            Part("pictures", ("JPEGImages/*/*.jpg",), 1800, named.spair_pictures),
            Part("picture annotations", ("ImageAnnotation/*/*.json",), 1800),
        ),
    ),
    DatasetEntry(
        name="willow",
        title="PF-WILLOW",
        reader=pf_willow.__name__,
        origin=pf_willow.ORIGIN,
        size=f"100 pictures, 10 classes, {pf_willow.WHOLE} pairs",
        licence="academic use",
        layout="PF-dataset/CLASS/*.{png,mat}, test_pairs_pf.csv",
        marker="PF-dataset",
        parts=(
            Part(
                "pair lists",
                ("test_pairs*.csv", "PF-dataset/test_pairs*.csv"),
                needs=named.usual_list(pf_willow.LISTS, "PF-dataset"),
            ),
            Part("pictures", ("PF-dataset/*/*.png",), 100, named.willow_pictures),
            Part("annotations", ("PF-dataset/*/*.mat",), 100, named.willow_points),
        ),
    ),
    DatasetEntry(
        name="pascal",
        title="PF-PASCAL",
        reader=pf_pascal.__name__,
        origin=pf_pascal.ORIGIN,
        size=f"20 classes, {pf_pascal.WHOLE} test pairs",
        licence=_VOC,
        layout="PF-dataset-PASCAL/JPEGImages, PF-dataset-PASCAL/Annotations/CLASS (for boxes), "
        "{val,test}_pairs_pf_pascal.csv",
        marker="PF-dataset-PASCAL",
        parts=(
            Part(
                "pair lists",
                ("*_pairs*.csv", "PF-dataset-PASCAL/*_pairs*.csv"),
                needs=named.usual_list(
                    ("test_pairs_pf_pascal.csv", "test_pairs.csv"), "PF-dataset-PASCAL"
                ),
            ),
            Part("pictures", ("PF-dataset-PASCAL/JPEGImages/*.jpg",), None, named.pascal_pictures),
            Part("annotations", ("PF-dataset-PASCAL/Annotations/*/*.mat",)),
        ),
    ),
    DatasetEntry(
        name="cub",
        title="CUB-200-2011",
        reader=cub.__name__,
        origin=cub.ORIGIN,
        size="11788 pictures, 200 classes, 15 parts; 1.1 GB",
        licence="non-commercial research and education",
        layout="images.txt and its tables, parts/part_locs.txt, images/CLASS",
        marker="image_class_labels.txt",
        parts=(
            Part("tables", ("*.txt", "parts/*.txt"), 7, named.cub_tables),
            Part("pictures", ("images/*/*",), 11788, named.cub_pictures),
        ),
    ),
    DatasetEntry(
        name="tss",
        title="TSS",
        reader=tss.__name__,
        origin=tss.ORIGIN,
        size=f"{sum(tss.WHOLE.values())} pairs in 3 groups, dense flow and masks",
        licence="research; see its page",
        layout="{FG3DCar,JODS,PASCAL}/PAIR/{image,mask}{1,2}.png, PAIR/flow{1,2}.flo, "
        "PAIR/flip_gt.txt",
        marker="*/*/flow1.flo",
        parts=(
            Part("pictures", ("*/*/image[12].png",), 800, named.tss_files("image{}.png")),
            Part("masks", ("*/*/mask[12].png",), 800, named.tss_files("mask{}.png")),
            Part("annotations", ("*/*/flow[12].flo",), 800, named.tss_files("flow{}.flo")),
        ),
    ),
    DatasetEntry(
        name="ap10k",
        title="AP-10K",
        reader=ap10k.__name__,
        origin=ap10k.ORIGIN,
        size="10015 pictures of 54 species; pairs as GeoAware-SC's notebook draws them",
        licence="CC-BY-4.0",
        layout="PairAnnotation/SPLIT/PAIR.json, ImageAnnotation/FAMILY/SPECIES, "
        "JPEGImages/FAMILY/SPECIES",
        marker="ImageAnnotation/*/*/*.json",
        parts=(
            Part("pair annotations", ("PairAnnotation/*/*.json",)),
            Part("picture annotations", ("ImageAnnotation/*/*/*.json",)),
            Part("pictures", ("JPEGImages/*/*/*.jpg",)),
        ),
    ),
    DatasetEntry(
        name="hpatches",
        title="HPatches sequences",
        reader=hpatches.__name__,
        origin=hpatches.ORIGIN,
        size="116 sequences of 6 pictures (papers use 108); 1.3 GB",
        licence="see its repository",
        layout="{v,i}_NAME/{1..6}.ppm, {v,i}_NAME/H_1_{2..6}",
        marker="[iv]_*/H_1_2",
        parts=(
            Part("pictures", ("[iv]_*/[1-6].ppm",), 116 * 6, named.planar_pictures),
            Part("homographies", ("[iv]_*/H_1_[2-6]",), 116 * 5, named.planar_matrices),
        ),
    ),
    DatasetEntry(
        name="oxford",
        title="Oxford affine covariant regions",
        reader=hpatches.__name__,
        origin=hpatches.OXFORD_ORIGIN,
        size="8 sequences of 6 pictures",
        licence="research",
        layout="{bark,bikes,boat,graf,leuven,trees,ubc,wall}/img{1..6}.{ppm,pgm}, "
        "SEQUENCE/H1to{2..6}p",
        marker="*/H1to2p",
        parts=(
            Part("pictures", ("*/img[1-6].p[gp]m",), 48),
            Part("homographies", ("*/H1to[2-6]p",), 40),
        ),
    ),
    _davis("2016", 50, "30 train, 20 val"),
    _davis("2017", 90, "60 train, 30 val"),
    DatasetEntry(
        name="jhmdb",
        title="JHMDB",
        reader=jhmdb.__name__,
        origin=jhmdb.ORIGIN,
        size=f"928 clips, 21 actions, 15 joints ({jhmdb.WHOLE} clips in the first test split)",
        licence="research; see its page",
        layout="Rename_Images/ACTION/CLIP, joint_positions/ACTION/CLIP/joint_positions.mat, "
        "splits/ACTION_test_split{1,2,3}.txt",
        marker="joint_positions/*/*/joint_positions.mat",
        parts=(
            Part("splits", ("splits/*_test_split*.txt",), 63),
            Part("clips", ("Rename_Images/*/*/",), 928, named.jhmdb_clips("Rename_Images")),
            Part(
                "annotations",
                ("joint_positions/*/*/joint_positions.mat",),
                928,
                named.jhmdb_clips("joint_positions", "joint_positions.mat"),
            ),
        ),
    ),
    DatasetEntry(
        name="tapvid",
        title="TAP-Vid-DAVIS",
        reader=tapvid.__name__,
        origin=tapvid.ORIGIN,
        size=f"{tapvid.WHOLE} videos with tracks of points",
        licence="see its README; the videos are DAVIS'",
        layout="tapvid_davis.pkl",
        marker="tapvid_davis.pkl",
        parts=(Part("annotations", ("tapvid_davis.pkl",), 1),),
    ),
    DatasetEntry(
        name="badja",
        title="BADJA",
        reader=badja.__name__,
        origin=badja.ORIGIN,
        size="11 videos of animals with joints; 7 of them are DAVIS'",
        licence="MIT (annotations)",
        layout="joint_annotations/ANIMAL.json",
        marker="joint_annotations",
        parts=(Part("annotations", ("joint_annotations/*.json",), 11),),
    ),
)

CATALOGUE: dict[str, DatasetEntry] = {entry.name: entry for entry in _ENTRIES}
"""Every data set."""
