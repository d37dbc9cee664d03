"""What video, track and dense benchmarks write is found again by `counterpoint report`."""

import pytest

from counterpoint.benchmarks.collected import collect, page
from counterpoint.cli.app import main
from support.tiny_tss import write_tss
from support.tiny_video import write_badja, write_davis

FAST = ("--model", "rgb", "--device", "cpu")


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in arguments])
    return stopped.value.code


def test_one_page_of_all(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    results = tmp_path / "results"
    small = (*FAST, "--size", "24x16")
    davis, badja = write_davis(tmp_path / "DAVIS"), write_badja(tmp_path / "BADJA")
    tss = write_tss(tmp_path / "TSS")
    asked = ("bench", "davis", "--data", davis, *small, "--json", results / "davis.json")
    assert run(*asked) == 0
    asked = ("bench", "badja", "--data", badja, *small, "--json", results / "badja.json")
    assert run(*asked) == 0
    asked = ("bench", "tss", "--data", tss, *FAST, "--no-controls", "--step", 3)
    assert run(*asked, "--json", results / "tss.json") == 0
    found = collect([results])
    assert found.left_out == ()
    lines = {(line.source.name, line.method): line for line in found.lines}
    assert list(lines["davis.json", "rgb"].figures) == ["J&F"]
    assert lines["davis.json", "rgb"].samples == "2 videos"
    assert list(lines["badja.json", "rgb, nearest"].figures)[1] == "within 3 px"
    assert lines["badja.json", "left in place"].setting == ""
    assert "T=5 mean" in lines["tss.json", "rgb"].figures
    text = page(found)
    assert "## part of DAVIS-2017 val (videos: 2), protocol davis-2017" in text
    assert "*DIFT, SD 2.1*" in text  # the paper's figure, marked as of the whole data set
    assert "the papers' are on all of DAVIS-2017 val" in text
