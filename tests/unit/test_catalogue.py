"""`counterpoint data`: the table, and what is said of miniatures and of parts."""

import importlib
import json

import pytest

from counterpoint.benchmarks.datasets.catalogue import CATALOGUE, DatasetEntry, Part, check
from counterpoint.errors import BadInput, UnknownName
from support.tiny_datasets import write_pascal, write_spair, write_willow
from support.tiny_tss import write_tss


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
    assert "pictures: 5 of 1800, 1 of its lists not there" in shown
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
    assert shown.count("missing ") == 10
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
    assert "masks: 7 of 800, 1 of its lists not there" in shown
    assert f"missing {root}/JODS/horse_01_02/mask1.png" in shown
