"""All points that could be asked for, and which of them mirror each other."""

from dataclasses import replace

import numpy as np
import pytest

from counterpoint.benchmarks.birds.crops import prepare
from counterpoint.benchmarks.datasets.ap10k import KEYPOINTS, read_ap10k
from counterpoint.benchmarks.datasets.cub import read_cub
from counterpoint.benchmarks.datasets.spair import CATEGORIES, read_spair
from counterpoint.benchmarks.keypoints.asked import ask_crops, ask_pairs
from counterpoint.benchmarks.keypoints.course import keypoint_course
from counterpoint.benchmarks.keypoints.protocols import find_protocol
from counterpoint.benchmarks.keypoints.sides import by_name, of_spair, sides
from support.painted_birds import PARTS, write_birds
from support.tiny_datasets import POINTS, write_ap10k, write_spair


@pytest.fixture
def crops(tmp_path):
    return prepare(read_cub(write_birds(tmp_path / "CUB")), pairs=40)


def test_crops_are_asked_for_every_part_that_the_source_shows(crops):
    quiz = ask_crops(crops, PARTS)
    lost = 0
    for drawn, (identity, one) in zip(crops.pairs, quiz.asked.items(), strict=True):
        source, target = crops.crops[drawn.source], crops.crops[drawn.target]
        assert identity == f"{drawn.source}-{drawn.target}"
        assert len(one.points_px) == source.visible.sum()
        assert len(one.absent_px) == (source.visible & ~target.visible).sum()
        assert len(one.pair.source_px) == (source.visible & target.visible).sum()
        lost += len(one.absent_px)
    assert quiz.absent == lost > 0


def test_eyes_that_the_source_shows_are_each_others_sides(crops):
    quiz = ask_crops(crops, PARTS)
    left, right = PARTS.index("left eye"), PARTS.index("right eye")
    with_both = 0
    for drawn, one in zip(crops.pairs, quiz.asked.values(), strict=True):
        crop = crops.crops[drawn.source]
        both = crop.visible[left] and crop.visible[right]
        assert len(one.sides) == both
        if both:
            ends = one.points_px[list(one.sides[0])]
            wanted = crop.parts_px[[left, right]]
            assert sorted(ends.tolist()) == sorted(wanted.tolist())
            with_both += 1
    assert with_both


def test_other_pairs_tell_what_a_target_lacks(tmp_path):
    """Picture k of the miniature lacks point k, so of each pair one source point is absent."""
    dataset = read_spair(write_spair(tmp_path / "SPair-71k"))
    quiz = ask_pairs(keypoint_course(dataset, find_protocol("dift")))
    for one in quiz.asked.values():
        source, target = (int(path.stem[-1]) for path in (one.pair.source, one.pair.target))
        assert one.absent_px.tolist() == [list(map(float, POINTS[source][target]))]
        assert len(one.points_px) == 4
    single = replace(dataset, pairs=dataset.pairs[:1])
    assert ask_pairs(keypoint_course(single, find_protocol("dift"))).absent == 0


def test_points_without_a_name_have_no_side(tmp_path):
    """Pairs without key point ids beside such with: what only the former give has no name."""
    dataset = read_spair(write_spair(tmp_path / "SPair-71k"))
    first, *others = dataset.pairs
    bare = tuple(replace(pair, keypoint_ids=None) for pair in others)
    course = keypoint_course(replace(dataset, pairs=(first, *bare)), find_protocol("dift"))
    quiz = ask_pairs(course)
    one = quiz.asked[first.id]
    assert len(one.absent_px) == 1
    partners = of_spair(first.category)
    names = first.keypoint_ids
    wanted = {
        (i, j)
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i < j and partners.get(a) == b
    }
    assert set(one.sides) == wanted
    assert not any(other.sides for other in quiz.asked.values() if other is not one)
    assert sides(["", "beak", ""], by_name(["left eye", "right eye"])) == ()


def test_a_named_key_point_elsewhere_is_not_absent(tmp_path):
    dataset = read_spair(write_spair(tmp_path / "SPair-71k"))
    first, second, *_ = dataset.pairs
    assert first.source == second.source
    moved = replace(second, source_px=second.source_px + 0.5)
    course = keypoint_course(replace(dataset, pairs=(first, moved)), find_protocol("dift"))
    quiz = ask_pairs(course)
    ids = set(first.keypoint_ids), set(second.keypoint_ids)
    assert len(quiz.asked[first.id].absent_px) == len(ids[1] - ids[0])


def test_points_beyond_their_picture_are_asked_at_its_edge(tmp_path):
    dataset = read_spair(write_spair(tmp_path / "SPair-71k"))
    first = dataset.pairs[0]
    moved = replace(first, source_px=first.source_px - first.source_px.min(axis=0) - 1.5)
    quiz = ask_pairs(keypoint_course(replace(dataset, pairs=(moved,)), find_protocol("dift")))
    [one] = quiz.asked.values()
    assert one.points_px.min() == 0
    assert one.pair.source_px.min() == -1.5


def test_ap10ks_names_give_its_sides(tmp_path):
    dataset = read_ap10k(write_ap10k(tmp_path / "AP-10K"))
    quiz = ask_pairs(keypoint_course(dataset, find_protocol("geoaware")))
    for one in quiz.asked.values():
        names = list(one.pair.keypoint_ids)
        for i, j in one.sides:
            if max(i, j) < len(names):
                assert {names[i].split()[0], names[j].split()[0]} == {"left", "right"}
                assert names[i].split()[1:] == names[j].split()[1:]


def test_names_say_who_mirrors_whom():
    partners = by_name(KEYPOINTS)
    assert partners["left front paw"] == "right front paw"
    assert "nose" not in partners
    assert len(partners) == 14
    assert by_name(["left eye", "beak"]) == {}
    assert sides(["right eye", "beak", "left eye"], by_name(["right eye", "left eye"])) == ((0, 2),)


@pytest.mark.parametrize("category", CATEGORIES)
def test_spairs_sides_are_pairs(category):
    partners = of_spair(category)
    assert partners
    for name, other in partners.items():
        assert name != other
        assert partners[other] == name
        assert 0 <= int(name) < 30


def test_an_unknown_category_has_no_sides():
    assert of_spair("unicorn") == {}
    assert np.array(sides([], {})).size == 0
