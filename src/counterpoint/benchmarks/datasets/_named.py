"""Files that a data set's own lists name, by data set: what `catalogue.check` finds missing."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from counterpoint.benchmarks.datasets import (
    badja,
    cub,
    davis,
    jhmdb,
    pf_pascal,
    pf_willow,
    spair,
    tss,
)
from counterpoint.benchmarks.datasets._pair_lists import find_list, read_rows
from counterpoint.benchmarks.datasets._tables import files_in, read_lines
from counterpoint.errors import BadInput

Needs = Callable[[Path], Iterable[Path]]
"""From the folder to files that its lists name."""


def _spair_lists(root: Path) -> Iterator[tuple[str, str]]:
    for layout in spair.LAYOUTS:
        for path in files_in(root / "Layout" / layout, ".txt"):
            yield from ((path.stem, line) for _, line in read_lines(path, spair.ORIGIN))


def spair_tables(root: Path) -> list[Path]:
    """The lists themselves."""
    return [
        root / "Layout" / layout / f"{split}.txt"
        for layout in spair.LAYOUTS
        for split in spair.SPLITS
    ]


def spair_pairs(root: Path) -> Iterator[Path]:
    """Annotations of the pairs in the lists."""
    for split, line in _spair_lists(root):
        yield spair.annotation_of(root / "PairAnnotation" / split, line)


def spair_pictures(root: Path) -> Iterator[Path]:
    """Pictures of the pairs in the lists."""
    for _, line in _spair_lists(root):
        names, _, category = line.rpartition(":")
        for name in names.split("-")[1:3]:
            yield root / "JPEGImages" / category / f"{name}.jpg"


def cub_pictures(root: Path) -> Iterator[Path]:
    """Pictures that images.txt names."""
    for _, line in read_lines(root / "images.txt", cub.ORIGIN):
        yield root / "images" / line.partition(" ")[2]


def cub_tables(root: Path) -> list[Path]:
    """The tables themselves."""
    names = "images classes image_class_labels bounding_boxes train_test_split"
    names += " parts/parts parts/part_locs"
    return [root / f"{name}.txt" for name in names.split()]


def usual_list(names: tuple[str, ...], inner: str) -> Needs:
    """The list that papers use, under one of its names: others are other pairs."""

    def needs(root: Path) -> Iterator[Path]:
        paths = [folder / name for folder in (root, root / inner) for name in names]
        yield next((path for path in paths if path.is_file()), paths[0])

    return needs


def willow_pictures(root: Path) -> Iterator[Path]:
    """Pictures of the pair list."""
    folders = (root, root / "PF-dataset")
    path = find_list(folders, pf_willow.LISTS, "test_pairs*.csv", pf_willow.ORIGIN)
    for row in read_rows(path, pf_willow.ORIGIN):
        for side in "AB":
            written = row.path_of(f"image{side}")
            yield _placed(lambda w=written: pf_willow.picture_at(root, w), root / written)


def willow_points(root: Path) -> Iterator[Path]:
    """Key points of these pictures."""
    return (path.with_suffix(".mat") for path in willow_pictures(root))


def pascal_pictures(root: Path) -> Iterator[Path]:
    """Pictures of every pair list."""
    for folder in pf_pascal.list_folders(root):
        for path in (p for p in files_in(folder, ".csv") if "_pairs" in p.name):
            for row in read_rows(path, pf_pascal.ORIGIN):
                for side in ("source", "target"):
                    written = row.path_of(f"{side}_image")
                    yield _placed(lambda w=written: pf_pascal.picture_at(root, w), root / written)


def _placed(find: Callable[[], Path], otherwise: Path) -> Path:
    """Where a file lies, or where it should."""
    try:
        return find()
    except BadInput:
        return otherwise


def ap10k_animals(root: Path) -> Iterator[Path]:
    """Annotations of the pictures that pairs are named after, by number."""
    there = {path.stem for path in (root / "ImageAnnotation").glob("*/*/*.json")}
    for folder in sorted((root / "PairAnnotation").glob("*/")):
        for path in files_in(folder, ".json"):
            for number in path.stem.replace("_", ":").partition(":")[0].split("-"):
                if number not in there:
                    yield root / f"ImageAnnotation/*/*/{number}.json"


def ap10k_pictures(root: Path) -> Iterator[Path]:
    """A picture for every annotation."""
    for path in sorted((root / "ImageAnnotation").glob("*/*/*.json")):
        if not path.name.startswith("."):
            yield root / "JPEGImages" / path.parts[-3] / path.parts[-2] / f"{path.stem}.jpg"


def planar_pictures(root: Path) -> Iterator[Path]:
    """Six pictures a sequence."""
    for folder in sorted(root.glob("[iv]_*/")):
        yield from (folder / f"{number}.ppm" for number in range(1, 7))


def planar_matrices(root: Path) -> Iterator[Path]:
    """Five homographies a sequence."""
    for folder in sorted(root.glob("[iv]_*/")):
        yield from (folder / f"H_1_{number}" for number in range(2, 7))


def oxford_matrices(root: Path) -> Iterator[Path]:
    """Five homographies a sequence."""
    for path in sorted(root.glob("*/H1to*p")):
        yield from (path.with_name(f"H1to{number}p") for number in range(2, 7))


def badja_animals(root: Path) -> Iterator[Path]:
    """A file an animal."""
    return (root / f"joint_annotations/{name}.json" for name in badja.ANIMALS)


_DAVIS_LISTS = ("train", "val")


def davis_lists(year: str) -> Needs:
    """A year's lists; of 2016 in its own archive's place where they are there."""

    def needs(root: Path) -> Iterator[Path]:
        places = [year, "480p", "1080p"] if year == "2016" else [year]
        there = [place for place in places if (root / "ImageSets" / place).is_dir()]
        for name in _DAVIS_LISTS:
            yield root / "ImageSets" / (there or places)[0] / f"{name}.txt"

    return needs


def _davis_names(root: Path, year: str) -> Iterator[str]:
    for path in davis_lists(year)(root):
        if path.is_file():
            yield from davis.list_names(root, year, path.stem)


def davis_sequences(year: str) -> Needs:
    """Folders of a year's sequences, at each resolution that is there."""

    def needs(root: Path) -> Iterator[Path]:
        sizes = [size for size in davis.RESOLUTIONS if (root / "JPEGImages" / size).is_dir()]
        for size in sizes or davis.RESOLUTIONS[:1]:
            yield from (root / "JPEGImages" / size / name for name in _davis_names(root, year))

    return needs


def davis_masks(year: str) -> Needs:
    """A mask for every frame of a year's sequences."""

    def needs(root: Path) -> Iterator[Path]:
        for folder in davis_sequences(year)(root):
            for frame in files_in(folder, ".jpg", ".jpeg"):
                place = root / "Annotations" / folder.parent.name / folder.name
                yield place / f"{frame.stem}.png"

    return needs


def jhmdb_clips(folder: str, file: str = "") -> Needs:
    """A folder, or a file in it, for every clip of the splits."""

    def needs(root: Path) -> Iterator[Path]:
        for path in files_in(root / "splits", ".txt"):
            action, split, _ = path.name.partition("_test_split")
            for clip, _ in jhmdb.split_lines(path) if split else ():
                yield root / folder / action / clip / file

    return needs


def tss_files(file: str) -> Needs:
    """A file of each side of every pair."""

    def needs(root: Path) -> Iterator[Path]:
        for group in tss.GROUPS:
            for folder in sorted((root / group).glob("*/")):
                yield from (folder / file.format(side) for side in (1, 2))

    return needs
