"""Protocol `cub-subsets`: lists of pictures, ACSM's crops, all ordered pairs; bad lists."""

import json

import numpy as np
import pytest
from PIL import Image

from counterpoint.backbones import load
from counterpoint.benchmarks.birds.crops import CubCrops
from counterpoint.benchmarks.birds.subsets import (
    PreparedSubset,
    named,
    prepare_subset,
    read_subsets,
    subset_report,
    tables,
)
from counterpoint.benchmarks.datasets.cub import BirdCrop, acsm_crop, read_cub
from counterpoint.cli.app import main
from counterpoint.errors import BadInput

SIZE_WH = (90, 70)
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
CLASS = "001.Red_Bird"
# Box x y width height; parts x y visible.
BIRDS = (
    ((20, 15, 40, 30), ((25, 20, 1), (50, 22, 1), (30, 40, 1))),
    ((10, 10, 60, 40), ((60, 15, 1), (20, 40, 1), (0, 0, 0))),
    ((30, 5, 30, 50), ((35, 10, 1), (0, 0, 0), (50, 50, 1))),
    ((5, 5, 50, 50), ((0, 0, 0), (15, 15, 1), (85, 65, 1))),
)


@pytest.fixture
def mini(tmp_path):
    """Four birds; the last one's third part lies outside its crop."""
    root = tmp_path / "CUB_200_2011"
    (root / f"images/{CLASS}").mkdir(parents=True)
    (root / "parts").mkdir()
    tables = {"classes": [f"1 {CLASS}"], "parts/parts": ["1 back", "2 beak", "3 tail"]}
    for number, (box, parts) in enumerate(BIRDS, 1):
        name = f"{CLASS}/bird_{number}.jpg"
        rgb = np.full((SIZE_WH[1], SIZE_WH[0], 3), 128, np.uint8)
        for (x, y, visible), colour in zip(parts, COLOURS, strict=True):
            if visible:
                rgb[y - 3 : y + 4, x - 3 : x + 4] = colour
        Image.fromarray(rgb).save(root / "images" / name, "PNG")
        for table, line in (
            ("images", name),
            ("image_class_labels", "1"),
            ("train_test_split", "1"),
            ("bounding_boxes", " ".join(f"{v:.1f}" for v in box)),
        ):
            tables.setdefault(table, []).append(f"{number} {line}")
        for part, (x, y, visible) in enumerate(parts, 1):
            tables.setdefault("parts/part_locs", []).append(f"{number} {part} {x} {y} {visible}")
    for name, lines in tables.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def lists(folder, *subsets):
    """Files as Neural Congealing names them; numbers of birds."""
    folder.mkdir()
    for i, subset in enumerate(subsets):
        lines = [f"CUB_200_2011/images/{CLASS}/bird_{n}.jpg" for n in subset]
        (folder / f"cub_subset_{i}_original_paths.txt").write_text("\n".join(lines) + "\n")
    return folder


class TestLists:
    def test_a_folder_and_a_file_say_the_same(self, tmp_path):
        folder = lists(tmp_path / "lists", *[(1, 2)] * 10, (3, 4))
        found = read_subsets(folder)
        assert len(found) == 11
        assert [subset.name for subset in found][
            -1
        ] == "cub_subset_10_original_paths"  # not after 1
        assert found[-1].pictures == (f"{CLASS}/bird_3.jpg", f"{CLASS}/bird_4.jpg")
        texts = [path.read_text() for path in sorted(folder.iterdir(), key=lambda p: len(p.name))]
        (tmp_path / "one.txt").write_text("\n".join(texts))
        alike = read_subsets(tmp_path / "one.txt")
        assert [subset.pictures for subset in alike] == [subset.pictures for subset in found]
        assert [subset.name for subset in alike][:2] == ["0", "1"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "expected lists of CUB's pictures"),
            ("a/b.jpg\n", "at least 2 pictures of subset 0"),
            ("a/b.jpg\na/b.jpg\n", "got 2, 1 of them different"),
            ("a/b.jpg\na/b.mat\n", "images/CLASS/NAME.jpg"),
            ("b.jpg\nc.jpg\n", "images/CLASS/NAME.jpg"),
        ],
    )
    def test_lists_that_are_none(self, tmp_path, text, message):
        (tmp_path / "l.txt").write_text(text)
        with pytest.raises(BadInput, match=message):
            read_subsets(tmp_path / "l.txt")

    def test_nothing_there(self, tmp_path):
        with pytest.raises(BadInput, match="expected lists of CUB's pictures in"):
            read_subsets(tmp_path)
        with pytest.raises(BadInput, match="a folder of lists, or a list"):
            read_subsets(tmp_path / "none")


class TestCrop:
    def test_by_hand(self, mini):
        """Box 20..59 x 15..44, widened by 2 and 1.5: 18..61 x 14(13.5)..46(45.5), 44 x 33."""
        crop = acsm_crop(read_cub(mini).birds[0])
        assert (crop.left, crop.side_px, crop.size_px) == (18, 44, 256)
        assert crop.top == 14 - 6  # (44 - 33) / 2 = 5.5, rounded up
        picture = crop.picture()
        assert picture.size_wh == (256, 256)
        x, y = np.round(crop.parts_px[0]).astype(int)
        assert picture.rgb[y, x].tolist() == [255, 0, 0]

    def test_the_filter_is_lanczos(self, mini):
        crop = acsm_crop(read_cub(mini).birds[0], size_px=32)
        other = BirdCrop(crop.bird, crop.left, crop.top, crop.side_px, 32)
        assert not np.array_equal(crop.picture().rgb, other.picture().rgb)


def test_every_ordered_pair_with_a_common_part(mini, tmp_path):
    [subset] = read_subsets(lists(tmp_path / "l", (1, 2, 3, 4)))
    ready = prepare_subset(read_cub(mini), subset)
    pairs = {(p.source + 1, p.target + 1): p.parts for p in ready.crops.pairs}
    assert pairs[1, 2] == pairs[2, 1] == (0, 1)
    assert pairs[2, 3] == (0,)
    assert pairs[1, 4] == (1,)
    assert (3, 4) not in pairs and (4, 3) not in pairs
    assert (len(pairs), ready.bare, ready.outside) == (10, 2, 1)


def test_the_mean_is_over_subsets(mini, tmp_path):
    """Three pairs' figures weigh as much as one's."""
    subsets = read_subsets(lists(tmp_path / "l", (1, 2, 3), (2, 4)))
    report = subset_report(load("rgb", device="cpu"), read_cub(mini), subsets)
    assert report.dataset == "CUB-200-2011, 2 subsets of 2-3, not the 14 of 25"
    assert [row.method for row in report.rows] == ["same position", "sift", "rgb"]
    assert (report.pairs, report.points) == (8, 12)
    for row in report.rows:
        assert row.mean.value == pytest.approx(np.mean(row.subsets))
    assert report.rows[-1].mean.value > report.rows[0].mean.value
    [table] = tables(report)
    assert table.cells.header[-3] == "mean over subsets"


def test_the_command(mini, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    folder = lists(tmp_path / "l", (1, 2), (1, 3))
    asked = ["bench", "cub", "--data", str(mini), "--subsets", str(folder), "--model", "rgb"]

    def run(*words):
        with pytest.raises(SystemExit) as stopped:
            main([*asked, *map(str, words)])
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    code, shown, _ = run("--json", tmp_path / "r.json")
    assert code == 0
    assert "Protocol cub-subsets: CUB-200-2011, 2 subsets of 2, not the 14 of 25" in shown
    assert "0 visible parts lie outside their crop" in shown
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["pairs"], found["points"]) == (4, 8)
    assert found["rows"][-1]["PCK@0.1 mean over subsets"]["value"] > 50
    code, _, said = run("--pairs", 3)
    assert code == 2
    assert "expected no --pairs" in said
    (mini / f"images/{CLASS}/bird_3.jpg").unlink()
    assert run()[0] == 2
    code, shown, _ = run("--skip-bad")
    assert code == 0
    assert "1 subsets skipped" in shown
    assert "skipped subset cub_subset_1_original_paths: no such file" in shown
    folder = lists(tmp_path / "m", (1, 9))
    asked[5] = str(folder)
    code, _, said = run("--skip-bad")
    assert code == 2
    assert "expected a subset that can be used, got none: expected picture" in said


def test_the_full_14_have_the_papers_name(mini, tmp_path):
    crop = acsm_crop(read_cub(mini).birds[0])
    full = PreparedSubset("0", CubCrops((crop,) * 25, (), {}, 256, 0.1, 0), 0, 0)
    assert named([full] * 14) == "CUB-200-2011, 14 subsets of 25"
    assert named([full] * 13) == "CUB-200-2011, 13 subsets of 25, not the 14 of 25"
