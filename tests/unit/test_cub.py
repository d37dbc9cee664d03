"""The CUB reader, its crops and the `cub-crops` protocol, on a miniature in the same layout."""

import json

import numpy as np
import pytest

from counterpoint.backbones import load
from counterpoint.benchmarks.birds.crops import (
    draw_pairs,
    prepare,
    score_backbone,
    score_prior,
    score_taps,
)
from counterpoint.benchmarks.birds.report import cells, cub_report
from counterpoint.benchmarks.controls import with_untrained
from counterpoint.benchmarks.datasets.cub import crop_bird, cub_to_pixels, read_cub
from counterpoint.cli.app import main
from counterpoint.errors import BadInput, ImageError, PointError, UnknownName
from support.tiny_cub import CLASSES, COLOURS, PARTS, write_cub


@pytest.fixture
def mini(tmp_path):
    """A data set of three painted birds whose parts have colours of their own."""
    return write_cub(tmp_path / "CUB_200_2011")


def edit(root, table, old, new):
    path = root / table
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_reads_what_is_there(mini):
    cub = read_cub(mini)
    assert cub.part_names == PARTS
    assert cub.class_names == CLASSES[:2]
    assert [bird.image_id for bird in cub.birds] == [1, 2, 3]
    second = cub.birds[1]
    assert (second.class_id, second.class_name, second.for_training) == (1, CLASSES[0], False)
    assert second.box_xywh == (0, 0, 40, 30)
    assert second.visible.tolist() == [True, True, True, False]
    assert second.parts_px[:3].tolist() == [[35, 6], [6, 6], [6, 25]]


def test_chooses_classes_and_limits(mini):
    assert [bird.image_id for bird in read_cub(mini, classes=[2]).birds] == [3]
    assert [bird.image_id for bird in read_cub(mini, classes=[CLASSES[0]]).birds] == [1, 2]
    assert [bird.image_id for bird in read_cub(mini, limit=2).birds] == [1, 2]
    with pytest.raises(UnknownName, match=r"001\.Red_Bird"):
        read_cub(mini, classes=["001.Red_Brid"])
    with pytest.raises(BadInput, match="found none for the classes"):
        read_cub(mini, classes=[3])


def test_reads_no_picture_before_it_is_needed(mini):
    for picture in (mini / "images").rglob("*.png"):
        picture.unlink()
    crop = crop_bird(read_cub(mini).birds[0])
    assert crop.visible.all()
    with pytest.raises(BadInput, match=r"no such file: .*bird_1\.png; get CUB_200_2011\.tgz"):
        crop.picture()


def test_coordinates_count_from_zero_and_are_copied():
    given = np.array([[0.0, 3.0]])
    points = cub_to_pixels(given)
    assert points.tolist() == [[0, 3]]
    assert points is not given


def test_the_square_by_hand(mini):
    # Box x 10 to 40, y 8 to 28: centre (25, 18), side round(1.15 * 30) = 34 or 35.
    crop = crop_bird(read_cub(mini).birds[0], size_px=68)
    assert crop.side_px == round(1.15 * 30)
    assert crop.left == round(25 - (crop.side_px - 1) / 2)
    assert crop.top == round(18 - (crop.side_px - 1) / 2)
    scale = 68 / crop.side_px
    x = (14 - crop.left + 0.5) * scale - 0.5
    assert crop.parts_px[0, 0] == pytest.approx(x)


def test_the_parts_lie_on_their_colours(mini):
    for bird in read_cub(mini).birds:
        crop = crop_bird(bird, size_px=92)
        picture = crop.picture()
        assert picture.size_wh == (92, 92)
        for part in np.flatnonzero(crop.visible):
            x, y = np.round(crop.parts_px[part]).astype(int)
            assert np.abs(picture.rgb[y, x].astype(int) - COLOURS[part]).max() < 40


def test_beyond_the_picture_the_border_is_repeated(mini):
    # The second bird's square begins above the picture, where its first row goes on.
    crop = crop_bird(read_cub(mini).birds[1], size_px=46)
    assert (crop.side_px, crop.left, crop.top) == (46, -2, -8)
    rgb = crop.picture().rgb
    assert (rgb[:8] == rgb[8]).all()
    assert (rgb[:, :2] == rgb[:, 2:3]).all()


def test_parts_outside_the_crop_do_not_count(mini):
    edit(mini, "bounding_boxes.txt", "1 10.0 8.0 30.0 20.0", "1 10.0 8.0 12.0 8.0")
    assert crop_bird(read_cub(mini).birds[0]).visible.tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    "table",
    [
        "images.txt",
        "classes.txt",
        "image_class_labels.txt",
        "bounding_boxes.txt",
        "train_test_split.txt",
        "parts/parts.txt",
        "parts/part_locs.txt",
    ],
)
def test_a_missing_table_is_named(mini, table):
    (mini / table).unlink()
    with pytest.raises(BadInput) as error:
        read_cub(mini)
    message = str(error.value)
    assert message.startswith(f"no such file: {mini / table}")
    assert "CUB_200_2011.tgz" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("table", "old", "new", "said"),
    [
        ("images.txt", "2 001", "two 001", "'image_id path' in line 2"),
        ("images.txt", "2 001", "1 001", "an id that occurs once in line 2"),
        ("images.txt", "3 002.Blue_Bird/bird_3.png", "3", "'image_id path' in line 3"),
        ("image_class_labels.txt", "3 2", "3 9", "class 9 of image 3"),
        ("image_class_labels.txt", "3 2", "4 2", "same images, got image 3"),
        ("bounding_boxes.txt", "30.0 20.0", "30.0", "x y width height' in line 1"),
        ("bounding_boxes.txt", "30.0 20.0", "-30.0 20.0", "in line 1"),
        ("bounding_boxes.txt", "30.0 20.0", "nan 20.0", "in line 1"),
        ("train_test_split.txt", "1 1", "1 yes", "'image_id is_training' in line 1"),
        ("parts/part_locs.txt", "1 2 30.0 12.0 1", "1 2 30.0 12.0", "visible' in line 2"),
        ("parts/part_locs.txt", "1 2 30.0 12.0 1", "1 2 30.0 inf 1", "visible' in line 2"),
        ("parts/part_locs.txt", "1 2 30.0 12.0 1", "1 2 30.0 12.0 2", "0 or 1 in line 2"),
        ("parts/part_locs.txt", "1 2 30.0 12.0 1", "1 7 30.0 12.0 1", "a part"),
        ("parts/part_locs.txt", "1 2 30.0 12.0 1", "8 2 30.0 12.0 1", "an image"),
        ("parts/part_locs.txt", "1 2 30.0 12.0 1\n", "", "4 parts of image 1"),
    ],
)
def test_a_corrupt_line_is_named(mini, table, old, new, said):
    edit(mini, table, old, new)
    with pytest.raises(BadInput, match="expected") as error:
        read_cub(mini)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_part_or_box_outside_its_picture_is_an_error(mini):
    edit(mini, "parts/part_locs.txt", "1 2 30.0 12.0 1", "1 2 30.0 45.0 1")
    with pytest.raises(PointError, match=r"image 1 inside its 60 x 40 pixels, got \(30, 45\)"):
        crop_bird(read_cub(mini).birds[0]).picture()
    edit(mini, "bounding_boxes.txt", "2 0.0 0.0 40.0", "2 0.0 0.0 70.0")
    with pytest.raises(PointError, match="image 2"):
        crop_bird(read_cub(mini).birds[1]).picture()


def test_a_click_on_the_very_border_is_forgiven(mini):
    edit(mini, "parts/part_locs.txt", "1 2 30.0 12.0 1", "1 2 30.0 41.0 1")
    assert crop_bird(read_cub(mini).birds[0]).picture().size_wh == (64, 64)


def test_a_picture_that_is_none(mini):
    (mini / "images/001.Red_Bird/bird_1.png").write_text("not a picture")
    with pytest.raises(ImageError, match="bird_1"):
        crop_bird(read_cub(mini).birds[0]).picture()


def visible_table(n=12, parts=5, seed=3):
    return np.random.default_rng(seed).random((n, parts)) < 0.4


def test_pairs_are_different_ordered_and_share_their_parts():
    visible = visible_table()
    pairs = draw_pairs(visible, 40)
    assert len({(pair.source, pair.target) for pair in pairs}) == 40
    for pair in pairs:
        assert pair.source != pair.target
        assert pair.parts
        assert set(pair.parts) == set(np.flatnonzero(visible[pair.source] & visible[pair.target]))


def test_fewer_pairs_of_a_seed_begin_more_pairs_of_it():
    visible = visible_table()
    assert draw_pairs(visible, 40, seed=5)[:10] == draw_pairs(visible, 10, seed=5)
    assert draw_pairs(visible, 10, seed=5) != draw_pairs(visible, 10, seed=6)


def test_the_rule_of_the_draw_is_pinned():
    # A change of these numbers is a change of the protocol: give it another name.
    pairs = draw_pairs(np.ones((282, 15), bool), 4)
    assert [(pair.source, pair.target) for pair in pairs] == PINNED


PINNED = [(238, 213), (118, 73), (144, 114), (221, 85)]


def test_every_pair_there_is_can_be_drawn_and_no_more():
    visible = np.array([[1, 0], [1, 1], [0, 1]], bool)
    assert {(p.source, p.target) for p in draw_pairs(visible, 4)} == {
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 1),
    }
    with pytest.raises(BadInput, match="1 to 4 pairs of 3 pictures, got 5"):
        draw_pairs(visible, 5)
    with pytest.raises(BadInput, match="got 0"):
        draw_pairs(visible, 0)


def test_colours_find_painted_parts_and_the_prior_does_not(mini):
    benchmark = prepare(read_cub(mini), pairs=6)
    assert (len(benchmark.pairs), len(benchmark.pictures)) == (6, 3)
    assert benchmark.points == 2 * (3 + 3 + 2)
    model = load("rgb", device="cpu")
    [row] = score_taps(model, benchmark)
    assert (row.method, row.tap, row.t, row.input_wh) == ("rgb", "pixels", None, (64, 64))
    assert row.pck.per_point == 100
    assert score_backbone(model, benchmark) == {"pixels": 100}
    prior = score_prior(benchmark)
    assert prior.pck.per_point < 50
    assert row.counts.lead_over(prior.counts).low > 0


def test_joined_taps_and_a_limit_on_sizes(mini):
    benchmark = prepare(read_cub(mini), pairs=2)
    scores = score_backbone(load("rgb", device="cpu"), benchmark, taps=["pixels+pixels"])
    assert scores == {"pixels+pixels": 100}
    with pytest.raises(BadInput, match="crops of at least 1 px"):
        prepare(read_cub(mini), pairs=2, size_px=0)


def test_the_report_holds_the_controls(mini):
    benchmark = prepare(read_cub(mini), pairs=6)
    heard = []
    report = cub_report(load("rgb", device="cpu"), benchmark, tell=heard.append)
    assert [row.method for row in report.rows] == ["same position", "sift", "rgb"]
    assert heard == ["same position", "sift", "rgb"]
    assert report.to_dict()["rows"][2]["pck"]["per_point"] == 100
    table = cells(report)
    assert table.header == ("method", "tap", "input", "no noise")
    assert table.rows[2] == ("rgb", "pixels", "64x64", "100.0 ± 0.0")
    assert table.markdown().splitlines()[4] == "| rgb | pixels | 64x64 | 100.0 ± 0.0 |"
    with pytest.raises(UnknownName, match="tap of rgb 'pixel'"):
        cub_report(load("rgb", device="cpu"), benchmark, taps=["pixel"], tell=heard.append)


def test_the_untrained_twin_has_the_same_taps_and_comes_first():
    model = load("small", device="cpu")
    twin, itself = with_untrained(model, seed=3)
    assert itself is model
    assert twin.spec.name == "small, untrained"
    assert twin.taps == model.taps
    assert [again.spec.name for again in with_untrained(load("rgb", device="cpu"))] == ["rgb"]


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in arguments])
    return stop.value.code


def test_the_command(mini, tmp_path, capsys):
    out = tmp_path / "out"
    places = ("--json", out / "cub.json", "--markdown", out / "cub.md")
    assert run("bench", "cub", "--data", mini, "--model", "rgb", "--pairs", 6, *places) == 0
    assert "100.0 ± 0.0" in capsys.readouterr().out
    report = json.loads((out / "cub.json").read_text())
    assert (report["protocol"], report["pairs"], report["seed"]) == ("cub-crops", 6, 0)
    text = (out / "cub.md").read_text()
    assert text.startswith("cub-crops: PCK@0.1 of the crop's side, per point")
    assert "| same position |" in text


def test_the_commands_bad_input(mini, tmp_path, capsys):
    assert run("bench", "cub", "--data", tmp_path, "--model", "rgb") == 2
    assert "images.txt; get CUB_200_2011.tgz" in capsys.readouterr().err
    assert run("bench", "cub", "--data", mini, "--model", "rgb", "--t", 1000) == 2
    assert "expected t from 0 to 999" in capsys.readouterr().err
    assert run("bench", "cub", "--data", mini, "--model", "rgb") == 2
    assert "expected 1 to 6 pairs of 3 pictures, got 600" in capsys.readouterr().err
