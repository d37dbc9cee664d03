"""The same data however it was unpacked: on a Mac, on Windows, by links, in another's folders.

Whatever the way, a reader finds as much as in the archive's own layout, skips nothing, and the
pairs are the same.
"""

import json

import numpy as np
import pytest

from counterpoint.benchmarks.datasets.ap10k import read_ap10k
from counterpoint.benchmarks.datasets.catalogue import check
from counterpoint.benchmarks.datasets.davis import read_davis
from counterpoint.benchmarks.datasets.jhmdb import read_jhmdb
from counterpoint.benchmarks.datasets.pf_pascal import read_pf_pascal
from counterpoint.benchmarks.datasets.pf_willow import read_pf_willow
from counterpoint.benchmarks.datasets.spair import read_spair
from counterpoint.errors import BadInput
from support.tiny_datasets import (
    POINTS,
    edit_json,
    write_ap10k,
    write_pascal,
    write_spair,
    write_willow,
)
from support.tiny_readers import READERS
from support.tiny_video import write_davis, write_jhmdb

LISTS = (".txt", ".csv", ".json")
PICTURES = (".jpg", ".png")


def files(root, suffixes):
    return [path for path in sorted(root.rglob("*")) if path.suffix in suffixes and path.is_file()]


def by_a_mac(root):
    """Its own files beside every file, and folders of them."""
    for path in [path for path in sorted(root.rglob("*")) if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07Mac OS X")
        (path.parent / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
        (path.parent / ".AppleDouble").mkdir(exist_ok=True)
        (path.parent / ".AppleDouble" / path.name).write_bytes(b"\x00\x05\x16\x07")
    return root


def by_an_editor(root):
    """Lists with Windows' line ends and the mark of UTF-8 in front."""
    for path in files(root, LISTS):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    return root


def in_capitals(root):
    """Pictures that end in .JPG and .PNG."""
    for path in files(root, PICTURES):
        path.rename(path.with_suffix(path.suffix.upper()))
    return root


def by_links(root):
    """The folder and every file in it elsewhere."""
    store = root.with_name("store")
    store.mkdir()
    for number, path in enumerate(files(root, (*LISTS, *PICTURES, ".mat", ".flo", ".ppm"))):
        path.rename(store / str(number))
        path.symlink_to(store / str(number))
    link = root.with_name("link")
    link.symlink_to(root)
    return link


WAYS = [
    (name, way)
    for name in READERS
    for way in (by_a_mac, by_an_editor, in_capitals, by_links)
    if name != "tapvid"  # which is one file
    and not (way is in_capitals and name in ("tss", "hpatches"))  # whose names are no list's
]


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_as_much_as_in_the_archive(tmp_path, name, way):
    reader = READERS[name]
    root = way(reader.write(tmp_path / "data"))
    assert reader.read(root, False) == (reader.whole, [])


@pytest.mark.parametrize("way", [by_a_mac, by_an_editor, by_links])
@pytest.mark.parametrize(
    ("read", "write"),
    [
        (read_spair, write_spair),
        (read_pf_willow, write_willow),
        (read_pf_pascal, write_pascal),
        (read_ap10k, write_ap10k),
    ],
)
def test_the_pairs_are_the_same(tmp_path, read, write, way):
    plain = read(write(tmp_path / "a/data"))
    other = read(way(write(tmp_path / "b/data")))
    assert other.fingerprint == plain.fingerprint
    assert other.name == plain.name


def test_two_names_that_differ_in_case_alone_are_not_guessed_between(tmp_path):
    root = write_spair(tmp_path)
    path = root / "JPEGImages/cat/cat_0.jpg"
    path.with_suffix(".JPG").write_bytes(path.read_bytes())
    path.rename(path.with_suffix(".Jpg"))
    with pytest.raises(BadInput, match=r"no such file: .*cat_0\.jpg"):
        read_spair(root)


def test_a_file_that_comes_later_is_found(tmp_path):
    """What a folder holds is remembered only as long as the folder does not change."""
    root = write_spair(tmp_path)
    path = root / "JPEGImages/cat/cat_0.jpg"
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(BadInput, match="no such file"):
        read_spair(root)
    path.with_suffix(".JPG").write_bytes(data)
    assert read_spair(root).pairs[0].source.name == "cat_0.JPG"


class TestWindows:
    """No colon in names; other strokes in paths."""

    def test_spair(self, tmp_path):
        plain = read_spair(write_spair(tmp_path / "a"))
        root = write_spair(tmp_path / "b")
        for path in files(root / "PairAnnotation", [".json"]):
            path.rename(path.with_name(path.name.replace(":", "_")))
        assert read_spair(root).fingerprint == plain.fingerprint
        [found] = check(root, "spair")
        assert next(p.missing for p in found.parts if p.what == "pair annotations") == ()

    def test_ap10k(self, tmp_path):
        plain = read_ap10k(write_ap10k(tmp_path / "a"))
        root = write_ap10k(tmp_path / "b")
        for path in files(root / "PairAnnotation", [".json"]):
            pair = json.loads(path.read_text())
            edit_json(path, **{k: v.replace("/", "\\") for k, v in pair.items()})
            path.rename(path.with_name(path.name.replace(":", "_")))
        assert read_ap10k(root).fingerprint == plain.fingerprint
        assert read_ap10k(root, "cross-family").categories == ("all",)

    @pytest.mark.parametrize(("read", "write"), [(read_pf_willow, write_willow)])
    def test_lists(self, tmp_path, read, write):
        plain = read(write(tmp_path / "a"))
        root = write(tmp_path / "b")
        path = root / "test_pairs_pf.csv"
        path.write_text(path.read_text().replace("/", "\\"))
        assert read(root).fingerprint == plain.fingerprint

    def test_pascals_list(self, tmp_path):
        root = write_pascal(tmp_path)
        path = root / "PF-dataset-PASCAL/test_pairs_pf_pascal.csv"
        path.write_text(path.read_text().replace("/", "\\"))
        assert [pair.id for pair in read_pf_pascal(root).pairs] == ["p_0-p_1:cat", "p_2-p_0:bird"]

    def test_davis_lists_of_2016(self, tmp_path):
        root = write_davis(tmp_path, frames=4)
        (root / "ImageSets/2016").rename(root / "ImageSets/480p")
        line = "\\JPEGImages\\480p\\two\\00000.jpg \\Annotations\\480p\\two\\00000.png\n"
        (root / "ImageSets/480p/val.txt").write_text(line)
        assert [one.name for one in read_davis(root, "2016").sequences] == ["two"]


class TestProposalFlow:
    """Archives of others hold the same pictures without the outer folder."""

    @pytest.mark.parametrize("inside", [False, True])
    def test_willow_without_its_folder(self, tmp_path, inside):
        plain = read_pf_willow(write_willow(tmp_path / "a"))
        root = write_willow(tmp_path / "b")
        if inside:  # the folder itself is given, the list in it
            (root / "test_pairs_pf.csv").rename(root / "PF-dataset/test_pairs_pf.csv")
            root = root / "PF-dataset"
        else:  # DHPF's and CATs'
            for folder in (root / "PF-dataset").iterdir():
                folder.rename(root / folder.name)
            (root / "PF-dataset").rmdir()
            (root / "test_pairs_pf.csv").rename(root / "test_pairs.csv")
        found = read_pf_willow(root)
        assert (found.fingerprint, found.name) == (plain.fingerprint, plain.name)
        [checked] = check(root, "willow")
        counts = {part.what: (part.found, part.missing) for part in checked.parts}
        assert counts == {"pair lists": (1, ()), "pictures": (6, ()), "annotations": (6, ())}

    @pytest.mark.parametrize("inside", [False, True])
    def test_pascal_without_its_folder(self, tmp_path, inside):
        plain = read_pf_pascal(write_pascal(tmp_path / "a", boxes=True))
        root = write_pascal(tmp_path / "b", boxes=True)
        if inside:
            root = root / "PF-dataset-PASCAL"
        else:
            for path in (root / "PF-dataset-PASCAL").iterdir():
                path.rename(root / path.name)
            (root / "PF-dataset-PASCAL").rmdir()
            (root / "test_pairs_pf_pascal.csv").rename(root / "test_pairs.csv")
        found = read_pf_pascal(root)
        assert (found.fingerprint, found.name) == (plain.fingerprint, plain.name)
        assert found.pairs[0].source_box == plain.pairs[0].source_box is not None
        [checked] = check(root, "pascal")
        assert {part.what: part.missing for part in checked.parts} == {
            "pair lists": (),
            "pictures": (),
            "annotations": (),
        }

    def test_a_list_in_image_pairs(self, tmp_path):
        """Where NCNet keeps it."""
        root = write_pascal(tmp_path)
        (root / "image_pairs").mkdir()
        (root / "PF-dataset-PASCAL/test_pairs_pf_pascal.csv").rename(
            root / "image_pairs/test_pairs.csv"
        )
        assert len(read_pf_pascal(root).pairs) == 2

    def test_points_of_the_annotations(self, tmp_path):
        """Lists without points: those that both annotations show, in their order."""
        from scipy.io import savemat

        root = write_pascal(tmp_path, boxes=True, columns=False)
        table = np.array(POINTS[1], float)
        table[2] = np.nan
        path = root / "PF-dataset-PASCAL/Annotations/cat/p_1.mat"
        savemat(path, {"kps": table, "bbox": np.array([[1.0, 1, 40, 60]])})
        first, second = read_pf_pascal(root).pairs
        shown = [0, 1, 3, 4]
        assert first.source_px.tolist() == [list(POINTS[0][i]) for i in shown]
        assert first.target_px.tolist() == [list(POINTS[1][i]) for i in shown]
        assert len(second.source_px) == 5
        for broken, said in (
            ({"kps": table[:3]}, "as many 'kps' in both annotations of line 2"),
            ({"kps": table[:, :1]}, r"expected 'kps' as \(N, 2\)"),
            ({"other": 1}, "a variable 'kps'"),
        ):
            savemat(path, {"bbox": np.array([[1.0, 1, 40, 60]])} | broken)
            with pytest.raises(BadInput, match=said):
                read_pf_pascal(root)


class TestDavis:
    def test_its_full_resolution(self, tmp_path):
        root = write_davis(tmp_path, frames=4)
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / "480p").rename(root / kind / "Full-Resolution")
        assert len(read_davis(root, resolution="Full-Resolution").sequences) == 2
        with pytest.raises(BadInput, match=r"no such file: .*480p/one/00000\.jpg"):
            read_davis(root)
        [found] = check(root, "davis2017")
        counts = {part.what: (part.found, part.missing) for part in found.parts}
        assert counts["sequences"] == (2, ())
        assert counts["masks"] == (8, ())

    def test_2016s_own_archive(self, tmp_path):
        root = write_davis(tmp_path, frames=4)
        (root / "ImageSets/2017/val.txt").unlink()
        (root / "ImageSets/2016").rename(root / "ImageSets/1080p")
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / "480p").rename(root / kind / "1080p")
        lines = [f"/JPEGImages/1080p/{n}/00000.jpg /Annotations/1080p/{n}/00000.png" for n in "ab"]
        lines[0], lines[1] = lines[0].replace("/a/", "/one/"), lines[1].replace("/b/", "/two/")
        (root / "ImageSets/1080p/val.txt").write_text("\n".join(lines))
        davis = read_davis(root, "2016", resolution="1080p")
        assert [(one.name, one.objects) for one in davis.sequences] == [("one", 1), ("two", 1)]
        [found] = check(root)
        assert found.entry.name == "davis2016"
        assert {p.what: p.found for p in found.parts} == {
            "sequence lists": 1,
            "sequences": 2,
            "masks": 8,
        }


def test_jhmdb_names_with_blanks(tmp_path):
    """Clips are named after their films; what follows the last blank is the split's number."""
    root = write_jhmdb(tmp_path, ("climb_stairs/A film (part 2)", "walk/#1 Way!"))
    names = [clip.name for clip in read_jhmdb(root).clips]
    assert names == ["climb_stairs/A film (part 2)", "walk/#1 Way!"]
    (root / "splits/walk_test_split1.txt").write_text("elsewhere.avi 1\n#1 Way!.avi\t 2 \n")
    assert [clip.name for clip in read_jhmdb(root).clips] == names
    [found] = check(root, "jhmdb")
    missing = {part.what: [path.name for path in part.missing] for part in found.parts}
    assert missing["clips"] == ["elsewhere", "elsewhere"]
