"""Files of predictions: resumed, refused, damaged, finished."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from counterpoint import files
from counterpoint.benchmarks.datasets.keypoints import Skipped
from counterpoint.benchmarks.keypoints.predictions import (
    Origin,
    PredictionFile,
    read_prediction_header,
    read_predictions,
)
from counterpoint.errors import BadInput, StorageError
from counterpoint.provenance import Provenance

FEATURES = Provenance(model="small", weights_sha256="ab", tap="up:1", timesteps=(50,), version="1")
ORIGIN = Origin(
    method="small",
    features=FEATURES,
    matching="argmax",
    dataset="mini",
    request={"reader": "spair", "limit": None},
    pairs_sha256="cd",
)
POINTS = {
    "a": np.array([[1.0, 2.0], [3.5, 1 / 3]]),
    "b": np.array([[0.1, 0.2]]),
    "c": np.array([[7.0, 8.0], [9.0, 1.0], [2.0, 3.0]]),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out/mini.safetensors"


def same(found, expected):
    assert list(found) == list(expected)
    assert all(np.array_equal(found[i], expected[i]) for i in expected)


def some(*ids):
    return {identity: POINTS[identity] for identity in ids}


def test_written_once_read_bit_for_bit(path):
    file = PredictionFile.open(path, ORIGIN)
    file.add(some("c", "a"), [Skipped("d", "no picture")])
    file.add(some("b"))
    whole = file.finish(["a", "b", "c", "d"])
    found = read_predictions(path)
    same(found.points, POINTS)
    same(whole.points, POINTS)
    assert found.skipped == whole.skipped == (Skipped("d", "no picture"),)
    assert found.origin == ORIGIN
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_the_header_is_read_without_the_points(path):
    file = PredictionFile.open(path, ORIGIN)
    file.add(some("a", "b"))
    file.finish(["b", "a"])
    header = read_prediction_header(path)
    assert (header.origin, header.ids, header.skipped) == (ORIGIN, ("b", "a"), ())
    with safe_open(path, framework="pt") as opened:
        note = json.loads(opened.metadata()["counterpoint"])
    assert note["origin"]["features"]["model"] == "small"


def test_a_stopped_run_goes_on(path):
    PredictionFile.open(path, ORIGIN).add(some("a"))
    again = PredictionFile.open(path, ORIGIN)
    assert again.holds("a")
    assert not again.holds("b")
    with pytest.raises(BadInput, match="a is there already"):
        again.add(some("a"))
    with pytest.raises(BadInput, match="every pair before the end, b is not there yet"):
        again.finish(["a", "b"])
    again.add(some("b"))
    same(again.finish(["a", "b"]).points, some("a", "b"))
    done = PredictionFile.open(path, ORIGIN)
    stamp = path.stat().st_mtime_ns
    same(done.finish(["a", "b"]).points, some("a", "b"))
    assert path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("step", ["shard", "file"])
def test_killed_while_writing_nothing_half_written_stays(path, monkeypatch, step):
    file = PredictionFile.open(path, ORIGIN)
    file.add(some("a"))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        file.add(some("b")) if step == "shard" else file.finish(["a"])
    monkeypatch.undo()
    again = PredictionFile.open(path, ORIGIN)
    assert (again.holds("a"), again.holds("b")) == (True, False)
    again.add(some("b"))
    same(again.finish(["a", "b"]).points, some("a", "b"))


def test_killed_between_the_file_and_the_removal_of_its_shards(path, monkeypatch):
    file = PredictionFile.open(path, ORIGIN)
    file.add(some("a", "b"))
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    file.finish(["a", "b"])
    monkeypatch.undo()
    again = PredictionFile.open(path, ORIGIN)
    same(again.finish(["a", "b"]).points, some("a", "b"))
    assert not again.parts.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "small, untrained"}, "method = 'small', asked was 'small, untrained'"),
        ({"features": replace(FEATURES, timesteps=(100,))}, r"features.timesteps = \[50\], asked"),
        ({"features": replace(FEATURES, weights_sha256="ff")}, "features.weights_sha256 = 'ab'"),
        ({"pairs_sha256": "ee"}, "pairs_sha256 = 'cd', asked was 'ee'"),
        ({"matching": "window"}, "matching = 'argmax'"),
        ({"dataset": "maxi"}, "dataset = 'mini'"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_another_configuration_is_refused(path, changes, message, finished):
    file = PredictionFile.open(path, ORIGIN)
    file.add(some("a"))
    if finished:
        file.finish(["a"])
    with pytest.raises(StorageError, match=message) as caught:
        PredictionFile.open(path, replace(ORIGIN, **changes))
    assert "\n" not in str(caught.value)


def test_versions_and_places_are_only_notes(path):
    PredictionFile.open(path, ORIGIN).add(some("a"))
    later = replace(
        ORIGIN, features=replace(FEATURES, version="2"), request={"reader": "spair", "limit": 3}
    )
    assert PredictionFile.open(path, later).holds("a")


def test_damaged_shards_are_made_again_a_damaged_file_is_an_error(path):
    file = PredictionFile.open(path, ORIGIN)
    file.add(some("a"))
    [shard] = file.parts.iterdir()
    shard.write_bytes(shard.read_bytes()[:-5])
    again = PredictionFile.open(path, ORIGIN)
    assert not again.holds("a")
    again.add(some("a"))
    again.finish(["a"])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StorageError, match="expected a file of predictions, got .*remove it"):
        PredictionFile.open(path, ORIGIN)


def test_foreign_files(path, tmp_path):
    with pytest.raises(StorageError, match="no such file of predictions"):
        read_predictions(path)
    other = tmp_path / "other.safetensors"
    files.save_tensors(other, {}, {"counterpoint": json.dumps({"format": "else"})})
    with pytest.raises(StorageError, match="the format is 'else'"):
        read_predictions(other)
    files.save_tensors(other, {}, {})
    with pytest.raises(StorageError, match="expected a file of predictions"):
        read_prediction_header(other)
    with pytest.raises(StorageError, match="ends in .safetensors"):
        PredictionFile.open(tmp_path / "x.json", ORIGIN)


def test_nothing_to_add_is_nothing(path):
    file = PredictionFile.open(path, ORIGIN)
    file.add({})
    assert not file.parts.exists()
    file.add({}, [Skipped("a", "why")])
    assert file.finish(["a"]).points == {}
    assert read_predictions(path).skipped == (Skipped("a", "why"),)


@settings(max_examples=30, deadline=None)
@given(st.permutations(list("abcdefgh")), st.lists(st.integers(1, 7), max_size=4, unique=True))
def test_any_order_and_any_shards_give_the_same_file(tmp_path_factory, order, cuts):
    points = {name: np.full((i % 3 + 1, 2), float(i)) for i, name in enumerate("abcdefgh")}
    path = tmp_path_factory.mktemp("any") / "p.safetensors"
    for some_ids in np.split(np.array(order), sorted(cuts)):
        PredictionFile.open(path, ORIGIN).add({str(i): points[str(i)] for i in some_ids})
    PredictionFile.open(path, ORIGIN).finish(list("abcdefgh"))
    found = read_predictions(path).points
    assert list(found) == list("abcdefgh")
    same(found, points)
