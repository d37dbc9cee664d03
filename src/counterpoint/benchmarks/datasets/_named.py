"""Files that a data set's own lists name, by data set: what `catalogue.check` finds missing."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from counterpoint.benchmarks.datasets import cub, davis, jhmdb, pf_pascal, pf_willow, spair, tss
from counterpoint.benchmarks.datasets._pair_lists import find_list, read_rows
from counterpoint.benchmarks.datasets._tables import read_lines

Needs = Callable[[Path], Iterable[Path]]
"""From the folder to files that its lists name."""


def _spair_lists(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((root / "Layout").glob("*/*.txt")):
        yield from ((path.stem, line) for _, line in read_lines(path, spair.ORIGIN))


def spair_pairs(root: Path) -> Iterator[Path]:
    """Annotations of the pairs in the lists."""
    for split, line in _spair_lists(root):
        yield root / "PairAnnotation" / split / f"{line}.json"


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
        yield from (root / row.get(f"image{side}") for side in "AB")


def willow_points(root: Path) -> Iterator[Path]:
    """Key points of these pictures."""
    return (path.with_suffix(".mat") for path in willow_pictures(root))


def pascal_pictures(root: Path) -> Iterator[Path]:
    """Pictures of every pair list."""
    for folder in (root, root / "PF-dataset-PASCAL"):
        for path in sorted(folder.glob("*_pairs*.csv")):
            for row in read_rows(path, pf_pascal.ORIGIN):
                yield from (root / row.get(f"{side}_image") for side in ("source", "target"))


def planar_pictures(root: Path) -> Iterator[Path]:
    """Six pictures a sequence."""
    for folder in sorted(root.glob("[iv]_*/")):
        yield from (folder / f"{number}.ppm" for number in range(1, 7))


def planar_matrices(root: Path) -> Iterator[Path]:
    """Five homographies a sequence."""
    for folder in sorted(root.glob("[iv]_*/")):
        yield from (folder / f"H_1_{number}" for number in range(2, 7))


def davis_sequences(year: str) -> Needs:
    """Folders of a year's sequences."""

    def needs(root: Path) -> Iterator[Path]:
        for path in sorted((root / "ImageSets" / year).glob("*.txt")):
            for _, line in read_lines(path, davis.ORIGIN):
                yield root / "JPEGImages/480p" / line

    return needs


def davis_masks(year: str) -> Needs:
    """A mask for every frame of a year's sequences."""

    def needs(root: Path) -> Iterator[Path]:
        for folder in davis_sequences(year)(root):
            for frame in sorted(folder.glob("*.jpg")):
                yield root / "Annotations/480p" / folder.name / f"{frame.stem}.png"

    return needs


def jhmdb_clips(folder: str, file: str = "") -> Needs:
    """A folder, or a file in it, for every clip of the splits."""

    def needs(root: Path) -> Iterator[Path]:
        for path in sorted((root / "splits").glob("*_test_split*.txt")):
            action = path.name.partition("_test_split")[0]
            for _, line in read_lines(path, jhmdb.ORIGIN):
                clip = line.partition(" ")[0].removesuffix(".avi")
                yield root / folder / action / clip / file

    return needs


def tss_files(file: str) -> Needs:
    """A file of each side of every pair."""

    def needs(root: Path) -> Iterator[Path]:
        for group in tss.GROUPS:
            for folder in sorted((root / group).glob("*/")):
                yield from (folder / file.format(side) for side in (1, 2))

    return needs
