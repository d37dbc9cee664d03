"""Every data set: what it looks like when unpacked, how much there is, terms, where to get it."""

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
from counterpoint.benchmarks.datasets.checking import (
    NAMED,
    Checked,
    DatasetEntry,
    Part,
    PartFound,
    check_folder,
)
from counterpoint.errors import UnknownName

__all__ = [
    "CATALOGUE",
    "NAMED",
    "Checked",
    "DatasetEntry",
    "Part",
    "PartFound",
    "check",
    "find_entry",
]


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
    if root.suffix == ".pkl" and root.is_file():
        root = root.parent  # of TAP-Vid, which is one file
    wanted = [find_entry(name)] if name else list(CATALOGUE.values())
    found = check_folder(root, wanted)
    return found if found or not name else (Checked(wanted[0], None),)


_VOC = "research; PASCAL VOC's and Flickr's terms"


def _davis(year: str, sequences: int, listed: str, *markers: str) -> DatasetEntry:
    return DatasetEntry(
        name=f"davis{year}",
        title=f"DAVIS-{year}",
        reader=davis.__name__,
        origin=davis.ORIGIN,
        size=f"{sequences} sequences ({listed}), at 480p and in full resolution",
        licence="see davischallenge.org",
        layout="JPEGImages/{480p,Full-Resolution}/SEQUENCE, "
        f"Annotations/{{480p,Full-Resolution}}/SEQUENCE, ImageSets/{year}/val.txt",
        markers=(f"ImageSets/{year}/*.txt", *markers),
        parts=(
            Part("sequence lists", needs=named.davis_lists(year)),
            Part("sequences", (), sequences, named.davis_sequences(year)),
            Part("masks", needs=named.davis_masks(year)),
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
        markers=("Layout/*/*.txt", "PairAnnotation/*/??????-*.json"),
        parts=(
            Part("pair lists", needs=named.spair_tables),
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
        markers=("PF-dataset", "car(G)/*.png"),
        parts=(
            Part("pair lists", needs=named.usual_list(pf_willow.LISTS, "PF-dataset")),
            Part("pictures", ("PF-dataset/*/*.png", "*(*)/*.png"), 100, named.willow_pictures),
            Part("annotations", ("PF-dataset/*/*.mat", "*(*)/*.mat"), 100, named.willow_points),
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
        markers=("PF-dataset-PASCAL", "Annotations/*/*.mat"),
        parts=(
            Part(
                "pair lists",
                needs=named.usual_list(
                    ("test_pairs_pf_pascal.csv", "test_pairs.csv"), "PF-dataset-PASCAL"
                ),
            ),
            Part(
                "pictures",
                ("PF-dataset-PASCAL/JPEGImages/*.jpg", "JPEGImages/*.jpg"),
                None,
                named.pascal_pictures,
            ),
            Part("annotations", ("PF-dataset-PASCAL/Annotations/*/*.mat", "Annotations/*/*.mat")),
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
        markers=("image_class_labels.txt",),
        parts=(
            Part("tables", needs=named.cub_tables),
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
        markers=("*/*/flow1.flo",),
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
        markers=("ImageAnnotation/*/*/*.json",),
        parts=(
            Part("pair annotations", ("PairAnnotation/*/*.json",)),
            Part("picture annotations", ("ImageAnnotation/*/*/*.json",), None, named.ap10k_animals),
            Part("pictures", ("JPEGImages/*/*/*.jpg",), None, named.ap10k_pictures),
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
        markers=("[iv]_*/H_1_2",),
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
        markers=("*/H1to2p",),
        parts=(
            Part("pictures", ("*/img[1-6].p[gp]m",), 48),
            Part("homographies", ("*/H1to[2-6]p",), 40, named.oxford_matrices),
        ),
    ),
    _davis("2016", 50, "30 train, 20 val", "ImageSets/480p/*.txt", "ImageSets/1080p/*.txt"),
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
        markers=("joint_positions/*/*/joint_positions.mat", "Rename_Images"),
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
        markers=("tapvid_davis.pkl",),
        parts=(Part("annotations", needs=lambda root: [root / "tapvid_davis.pkl"]),),
    ),
    DatasetEntry(
        name="badja",
        title="BADJA",
        reader=badja.__name__,
        origin=badja.ORIGIN,
        size="11 videos of animals with joints; 7 of them are DAVIS'",
        licence="MIT (annotations)",
        layout="joint_annotations/ANIMAL.json",
        markers=("joint_annotations",),
        parts=(Part("annotations", needs=named.badja_animals),),
    ),
)

CATALOGUE: dict[str, DatasetEntry] = {entry.name: entry for entry in _ENTRIES}
"""Every data set."""
