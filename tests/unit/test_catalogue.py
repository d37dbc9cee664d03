"""`counterpoint data`: the table, and what is said of miniatures and of parts."""

import importlib
import json

import pytest

from counterpoint.benchmarks.datasets.catalogue import CATALOGUE, DatasetEntry, Part, check
from counterpoint.errors import BadInput, UnknownName
from support.tiny_datasets import write_ap10k, write_pascal, write_spair, write_willow
from support.tiny_tss import write_tss
from support.tiny_video import write_badja, write_davis, write_tapvid


def test_every_data_set_is_listed_and_every_reader_is_there(run):
    names = "spair willow pascal cub tss ap10k hpatches oxford davis2016 davis2017 jhmdb tapvid"
    assert list(CATALOGUE) == [*names.split(), "badja"]
    for entry in CATALOGUE.values():
        assert importlib.import_module(entry.reader)
        assert entry.origin.url.startswith("http")
    code, shown, _ = run("data")
    assert code == 0
    assert all(entry.title.split()[0] in shown for entry in CATALOGUE.values())
    code, shown, _ = run("data", "--json")
    listed = json.loads(shown)
    assert all(row["reader"].startswith("counterpoint.benchmarks.datasets.") for row in listed)


def test_counts_and_missing_files_named(run, tmp_path):
    root = write_spair(tmp_path / "SPair-71k")
    lost = root / "JPEGImages/cat/cat_0.jpg"
    [found] = check(tmp_path)
    parts = {part.what: part for part in found.parts}
    assert (found.entry.name, found.root, found.state) == ("spair", root, "partial")
    assert (parts["pictures"].found, parts["pictures"].expected) == (6, 1800)
    assert parts["pictures"].missing == ()
    lost.unlink()
    [found] = check(root, "spair")
    assert [part.missing for part in found.parts if part.what == "pictures"] == [(lost,)]
    code, shown, _ = run("data", "check", root, "--name", "spair")
    assert code == 1
    assert "pictures: 5 of 1800; 1 missing or empty" in shown
    assert f"missing {lost}" in shown


def test_a_complete_set_gives_exit_code_0(run, tmp_path, monkeypatch):
    root = write_willow(tmp_path / "PF-WILLOW")
    willow = CATALOGUE["willow"]
    parts = tuple(Part(p.what, p.patterns, None, p.needs) for p in willow.parts)
    entries = {name: getattr(willow, name) for name in DatasetEntry.__dataclass_fields__}
    monkeypatch.setitem(CATALOGUE, "willow", DatasetEntry(**entries | {"parts": parts}))
    code, shown, _ = run("data", "check", root)
    assert code == 0
    assert "PF-WILLOW: complete" in shown
    (root / "test_pairs_pf.csv").rename(root / "test_pairs_mine.csv")
    code, shown, _ = run("data", "check", root, "--json")
    assert code == 1
    [found] = json.loads(shown)
    assert found["parts"][0]["missing"] == [str(root / "test_pairs_pf.csv")]


def test_no_more_than_ten_are_named(run, tmp_path):
    root = write_pascal(tmp_path)
    table = root / "PF-dataset-PASCAL/test_pairs_pf_pascal.csv"
    lines = table.read_text().splitlines()
    lines += [lines[1].replace("p_0.jpg", f"lost_{i}.jpg") for i in range(12)]
    table.write_text("\n".join(lines) + "\n")
    code, shown, _ = run("data", "check", root)
    assert code == 1
    assert shown.count("    missing ") == 10
    assert "and 2 more" in shown


def test_what_is_absent_unknown_or_damaged(run, tmp_path):
    code, shown, _ = run("data", "check", tmp_path, "--name", "cub")
    assert code == 1
    assert "CUB-200-2011: absent" in shown
    assert "get CUB_200_2011.tgz from https://" in shown
    assert run("data", "check", tmp_path)[0] == 1
    with pytest.raises(UnknownName, match="did you mean 'spair'"):
        check(tmp_path, "spiar")
    with pytest.raises(BadInput, match="expected a folder"):
        check(tmp_path / "none")
    root = write_willow(tmp_path / "willow")
    (root / "test_pairs_pf.csv").write_text("")
    [found] = check(root)
    assert "expected a header of at least two columns" in found.problems[0]
    assert found.state == "partial"


def test_tss_says_which_of_a_pairs_files_is_missing(run, tmp_path):
    root = write_tss(tmp_path / "TSS_CVPR2016")
    [found] = check(tmp_path)
    assert (found.entry.name, found.root, found.state) == ("tss", root, "partial")
    counts = {part.what: (part.found, part.expected) for part in found.parts}
    assert counts == dict.fromkeys(("pictures", "masks", "annotations"), (8, 800))
    (root / "JODS/horse_01_02/mask1.png").unlink()
    code, shown, _ = run("data", "check", root)
    assert code == 1
    assert "masks: 7 of 800; 1 missing or empty" in shown
    assert f"missing {root}/JODS/horse_01_02/mask1.png" in shown


def test_ap10k_is_not_taken_for_spair(tmp_path):
    """Both have a PairAnnotation whose files are named alike."""
    root = write_ap10k(tmp_path / "ap-10k")
    [found] = check(tmp_path)
    assert found.entry.name == "ap10k"
    assert [(part.found, part.missing) for part in found.parts] == [(3, ()), (4, ()), (4, ())]
    assert found.state == "complete"
    (root / "JPEGImages/Felidae/lion/000000000003.jpg").unlink()
    (root / "ImageAnnotation/Bovidae/cow/000000000004.json").unlink()
    [found] = check(tmp_path)
    assert [path.name for part in found.parts for path in part.missing] == [
        "000000000004.json",
        "000000000003.jpg",
    ]
    assert found.state == "partial"


def test_a_stopped_download_leaves_empty_files(run, tmp_path):
    root = write_spair(tmp_path)
    path = root / "JPEGImages/cat/cat_1.jpg"
    path.write_bytes(b"")
    code, shown, _ = run("data", "check", root)
    assert code == 1
    assert "pictures: 6 of 1800; 1 missing or empty" in shown
    assert f"missing {path}" in shown
    assert "get SPair-71k.tar.gz from https://" in shown


def test_links_and_what_a_mac_leaves(tmp_path):
    """A set that several links lead to is one; hidden files and folders count for nothing."""
    root = write_willow(tmp_path / "sets/PF-WILLOW")
    (tmp_path / "sets/again").symlink_to(root)
    (root / "loop").symlink_to(tmp_path / "sets")
    (tmp_path / "sets/.Trash").mkdir()
    write_spair(tmp_path / "sets/.Trash/SPair-71k")
    for path in sorted((root / "PF-dataset").glob("*/*.png")):
        path.with_name("._" + path.name).write_bytes(b"Mac OS X")
    [found] = check(tmp_path / "sets")
    assert found.entry.name == "willow"
    assert {part.what: part.found for part in found.parts}["pictures"] == 6


def test_files_in_a_folders_place(run, tmp_path):
    archive = tmp_path / "SPair-71k.tar.gz"
    archive.write_bytes(b"\x1f\x8b")
    code, _, said = run("data", "check", archive)
    assert code == 2
    assert "expected a folder, got the file" in said
    assert "unpack archives first" in said
    path = write_tapvid(tmp_path / "tapvid_davis.pkl")
    code, shown, _ = run("data", "check", path)
    assert (code, "TAP-Vid-DAVIS: complete" in shown) == (0, True)
    path.write_bytes(b"")
    assert run("data", "check", path)[0] == 1


def test_what_is_missing_of_videos(tmp_path):
    davis = write_davis(tmp_path / "DAVIS", frames=4)
    (davis / "Annotations/480p/one/00002.png").unlink()
    [found] = check(davis, "davis2017")
    missing = {part.what: [path.name for path in part.missing] for part in found.parts}
    assert missing == {"sequence lists": ["train.txt"], "sequences": [], "masks": ["00002.png"]}
    badja = write_badja(tmp_path / "BADJA")
    [found] = check(badja, "badja")
    assert (found.parts[0].found, found.parts[0].expected) == (1, 11)
    assert badja / "joint_annotations/tiger.json" in found.parts[0].missing


def test_the_real_parts(shared):
    """What lies there is what its README says, and nothing is called complete."""
    found = {(one.entry.name, one.root.name): one for one in check(shared / "data")}
    assert {name for name, _ in found} == {
        *("spair", "willow", "pascal", "cub", "hpatches", "davis2016", "davis2017"),
        *("jhmdb", "badja"),
    }
    counts = {
        name: {part.what: part.found for part in one.parts} for (name, _), one in found.items()
    }
    assert counts["spair"]["pair annotations"] == 126
    assert counts["willow"]["pictures"] == 100
    assert counts["cub"] == {"tables": 7, "pictures": 282}
    assert counts["davis2017"] == {"sequence lists": 1, "sequences": 3, "masks": 200}
    assert counts["jhmdb"] == {"splits": 2, "clips": 2, "annotations": 2}
    assert {one.state for one in found.values()} == {"partial"}


def test_names_are_shown_as_they_are(run, tmp_path):
    """Neither markup nor pictures are made of what looks like it."""
    root = write_spair(tmp_path / "[old] sets :cat: here")
    (root / "JPEGImages/cat/cat_0.jpg").unlink()
    _, shown, _ = run("data", "check", root)
    assert f"missing {root}/JPEGImages/cat/cat_0.jpg" in shown
    code, shown, _ = run("bench", "spair", "--data", root, "--model", "rgb", "--skip-bad")
    assert code == 0
    assert "skipped 000001-cat_0-cat_1:cat: no such file" in shown
