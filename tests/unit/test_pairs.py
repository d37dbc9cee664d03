"""Running a model over pairs: features once, bounded memory, prompts, resuming, bad pictures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from counterpoint.backbones import load
from counterpoint.benchmarks.datasets.spair import read_spair
from counterpoint.benchmarks.keypoints.maps import MapCache, in_good_order, size_bytes
from counterpoint.benchmarks.keypoints.predictions import read_predictions
from counterpoint.benchmarks.keypoints.prompts import PROMPT, takes_prompt
from counterpoint.benchmarks.keypoints.protocols import find_protocol, score
from counterpoint.benchmarks.keypoints.report import methods, pair_report, slug, tables
from counterpoint.benchmarks.keypoints.run import origin_of, predict_pairs, predict_prior
from counterpoint.errors import BadInput, ImageError, StorageError
from counterpoint.features import FeatureMap
from counterpoint.matching import PreparedMap
from counterpoint.options import Options
from support.tiny_datasets import edit_json, write_spair


@pytest.fixture
def mini(tmp_path):
    return read_spair(write_spair(tmp_path / "SPair-71k"))


class Watched:
    """The model `rgb`, and what it was given to extract, with which prompts."""

    def __init__(self):
        self.model = load("rgb", device="cpu")
        self.names, self.prompts = [], []


@pytest.fixture
def watched(monkeypatch):
    seen = Watched()
    stream = seen.model.stream

    def watch(pictures, options):
        seen.names += [picture.name.rpartition("/")[2] for picture in pictures]
        seen.prompts += [options.prompt] * len(pictures)
        return stream(pictures, options)

    monkeypatch.setattr(seen.model, "stream", watch)
    return seen


def per_point(dataset, predictions):
    return score(dataset, predictions.points, find_protocol("dift"))[0].per_point.value


def test_colours_find_every_point_and_the_prior_does_not(mini):
    found = predict_pairs(load("rgb", device="cpu"), mini)
    assert list(found.points) == [pair.id for pair in mini.pairs]
    assert per_point(mini, found) == 100
    assert per_point(mini, predict_prior(mini)) < 50


def test_the_prior_is_the_same_share_of_the_picture(mini):
    pair = mini.pairs[0]
    assert (pair.source_size_wh, pair.target_size_wh) == ((64, 48), (50, 70))
    x, y = pair.source_px[0]
    predicted = predict_prior(mini).points[pair.id][0]
    assert predicted.tolist() == [(x + 0.5) * 50 / 64 - 0.5, (y + 0.5) * 70 / 48 - 0.5]


def test_each_picture_once(mini, watched):
    predict_pairs(watched.model, mini)
    assert sorted(watched.names) == sorted(path.name for path in mini.pictures)


def test_little_memory_gives_the_same_points(tmp_path, watched):
    mini = read_spair(write_spair(tmp_path, categories=("cat", "dog", "cow", "bus")))
    whole = predict_pairs(watched.model, mini)
    assert len(watched.names) == 12
    tight = predict_pairs(watched.model, mini, cache_bytes=0)
    assert 24 <= len(watched.names) <= 28  # a shard's pictures stay until it is done
    assert all(np.array_equal(whole.points[i], tight.points[i]) for i in whole.points)


def test_the_cache_drops_the_longest_unused():
    maps = [PreparedMap(FeatureMap(torch.ones(1, 2, 2) * i, (2, 2))) for i in range(4)]
    cache = MapCache(2 * size_bytes(maps[0]), size_bytes)
    keys = [(path, "") for path in map(Path, "abcd")]
    cache.put(keys[0], maps[0])
    cache.put(keys[1], maps[1])
    assert cache.get(keys[0]) is maps[0]
    cache.put(keys[2], maps[2])
    assert [cache.get(key) for key in keys[:3]] == [maps[0], None, maps[2]]
    assert cache.held_bytes == 2 * size_bytes(maps[0])
    small = MapCache(1, size_bytes)
    small.put(keys[3], maps[3])
    assert small.get(keys[3]) is maps[3]


def test_the_order_keeps_pictures_together(mini):
    pair = mini.pairs[0]
    n, held = 32, 8
    names = [pair.source.with_name(f"{i}.jpg") for i in range(n)]
    listed = [
        replace(pair, id=f"{i}-{j}", source=names[i], target=names[j])
        for i in range(n)
        for j in range(n)
        if i != j
    ]

    def misses(pairs):
        recent = []
        count = 0
        for one in pairs:
            for path in (one.source, one.target):
                count += path not in recent
                recent = [p for p in recent if p != path][-held + 1 :]
                recent.append(path)
        return count

    ordered = in_good_order(listed)
    assert sorted(p.id for p in ordered) == sorted(p.id for p in listed)
    assert misses(ordered) < misses(listed) / 2


def test_categories_follow_each_other(mini):
    shuffled = [mini.pairs[i] for i in (0, 7, 1, 8, 2, 9)]
    assert [pair.category for pair in in_good_order(shuffled)] == ["cat"] * 3 + ["dog"] * 3


def test_prompts_name_the_category(mini, watched, monkeypatch):
    model = watched.model
    monkeypatch.setattr(model, "spec", replace(model.spec, family="stable-diffusion"))
    assert origin_of(model, mini).features.prompt == PROMPT
    predict_pairs(model, mini)
    assert dict(zip(watched.names, watched.prompts, strict=True)) == {
        path.name: f"a photo of a {path.parent.name}" for path in mini.pictures
    }
    watched.prompts.clear()
    predict_pairs(model, mini, Options(prompt="{category}, side view"))
    assert set(watched.prompts) == {"cat, side view", "dog, side view"}
    watched.prompts.clear()
    predict_pairs(model, mini, Options(prompt=""))
    assert set(watched.prompts) == {""}


def test_models_without_prompts_are_given_none(mini, watched):
    assert not takes_prompt(watched.model.spec)
    assert origin_of(watched.model, mini, Options(prompt="a cat")).features.prompt == ""
    predict_pairs(watched.model, mini, Options(prompt="a cat"))
    assert set(watched.prompts) == {None}


def test_what_made_them_is_noted_without_any_picture(mini):
    origin = origin_of(load("rgb+sift", device="cpu"), mini, subpixel="window")
    assert origin.method == "rgb+sift"
    assert origin.features.picture_sha256 == ""
    assert [part.picture_sha256 for part in origin.features.parts] == ["", ""]
    assert (origin.matching, origin.dataset) == ("window", mini.name)
    assert origin.pairs_sha256 == mini.fingerprint
    assert origin.request == mini.request


def test_a_stopped_run_does_nothing_twice(watched, tmp_path):
    mini = read_spair(write_spair(tmp_path / "mini", categories=("cat", "dog", "cow", "bus")))
    path = tmp_path / "rgb.safetensors"
    heard = []

    def stop(done, of):
        heard.append((done, of))
        if len(heard) == 1:
            raise KeyboardInterrupt

    two = read_spair(mini.root, categories=["dog"])
    with pytest.raises(KeyboardInterrupt):
        predict_pairs(watched.model, mini, file=path, tell=stop)
    [(first, of)] = heard
    assert 0 < first < of == 24
    assert not path.exists()
    found = predict_pairs(watched.model, mini, file=path, tell=stop)
    assert heard[1][0] > first
    assert heard[-1] == (24, 24)
    whole = predict_pairs(watched.model, mini)
    assert list(found.points) == list(whole.points)
    assert all(np.array_equal(whole.points[i], found.points[i]) for i in whole.points)
    watched.names.clear()
    again = predict_pairs(watched.model, mini, file=path)
    assert watched.names == []
    assert list(again.points) == list(whole.points)
    with pytest.raises(StorageError, match="was made with dataset = 'SPair-71k large test, 24"):
        predict_pairs(watched.model, two, file=path)
    with pytest.raises(StorageError, match="matching = 'argmax', asked was 'window'"):
        predict_pairs(watched.model, mini, file=path, subpixel="window")


def test_a_damaged_picture_is_an_error_or_a_listed_skip(mini, tmp_path):
    broken = mini.root / "JPEGImages/cat/cat_1.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    model, path = load("rgb", device="cpu"), tmp_path / "rgb.safetensors"
    with pytest.raises(ImageError, match="cat_1"):
        predict_pairs(model, mini, file=path)
    found = predict_pairs(model, mini, file=path, skip_bad=True)
    assert len(found.points) == 8
    assert sorted(bad.id for bad in found.skipped) == [
        pair.id for pair in mini.pairs if broken in (pair.source, pair.target)
    ]
    assert read_predictions(path).skipped == found.skipped
    scored = score(mini, found.points, find_protocol("dift"), skipped=found.skipped)[0]
    assert (scored.pairs, len(scored.skipped)) == (8, 4)
    in_memory = predict_pairs(model, mini, skip_bad=True)
    assert in_memory.skipped == found.skipped
    with pytest.raises(BadInput, match=r"cat_1.*mend it and remove .*rgb\.safetensors"):
        predict_pairs(model, mini, file=path)


def test_a_picture_of_another_size_than_annotated(mini):
    path = mini.root / "JPEGImages/dog/dog_0.jpg"
    Image.new("RGB", (48, 64)).save(path, "PNG")
    with pytest.raises(BadInput, match=r"a picture of 64 x 48 px at .*dog_0.*got 48 x 64"):
        predict_pairs(load("rgb", device="cpu"), mini)


def test_a_click_just_beyond_the_picture_is_read_inside(mini):
    name = mini.pairs[0].id
    note = mini.root / f"PairAnnotation/test/{name}.json"
    edit_json(note, src_kps=[[64.9, 12], [10, 38], [33, 36]])
    [pair] = read_spair(mini.root, limit=1).pairs
    found = predict_pairs(load("rgb", device="cpu"), read_spair(mini.root, limit=1))
    assert found.points[pair.id].shape == (3, 2)


def test_the_report_holds_the_controls_first(mini, tmp_path):
    heard = []
    model = load("rgb", device="cpu")
    made = list(methods(model, mini, Options(), out=tmp_path, tell=heard.append))
    assert [one.origin.method for one in made] == ["same position", "sift", "rgb"]
    assert heard[0] == "sift: 0 of 12 pairs"
    assert heard[-1] == "rgb: 12 of 12 pairs"
    report = pair_report(mini, made, [find_protocol("dift"), find_protocol("geoaware")], [0.1])
    assert json.loads(json.dumps(report.to_dict()))["rows"][2]["scores"][0]["per_point"][
        "value"
    ] == pytest.approx(100)
    assert report.title.startswith("SPair-71k large test, 12 of 12234 pairs: 36 points, 6 pict")
    by_dift, by_geoaware, categories, flags, changes, keypoints = tables(report)
    assert by_dift.cells.header[3:] == ("@0.1 per image", "@0.1 per point", "@0.1 macro")
    assert by_dift.cells.rows[2] == ("rgb", "pixels", "64x64", *["100.0 ± 0.0"] * 3)
    assert "on all 12234 pairs: DIFT, SD 2.1, PCK@0.1 per image 52.9" in by_dift.notes[0]
    assert "SD+DINO, PCK@0.1 per point 64;" in by_geoaware.notes[0]
    assert "DIFT" not in by_geoaware.notes[0]
    assert by_geoaware.notes[-1].startswith("GeoAware-SC and SD+DINO, besides, pad pictures")
    assert not any("besides" in note for note in by_dift.notes)
    assert categories.cells.header == (
        "category",
        "pairs",
        "points",
        "same position",
        "sift",
        "rgb",
    )
    assert [row[:3] for row in categories.cells.rows] == [("cat", "6", "18"), ("dog", "6", "18")]
    assert flags.cells.rows[0][:3] == ("viewpoint: easy", "4", "12")
    assert [table.cells.header[0] for table in (changes, keypoints)] == ["change", "key point"]
    assert len(tables(report, keypoints=0)) == 5
    assert "| cat | 6 | 18 |" in categories.markdown()
    [alone] = methods(model, mini, Options(), controls=False)
    assert alone.origin.method == "rgb"


def test_the_untrained_twin_has_its_own_file(mini, tmp_path):
    two = read_spair(mini.root, limit=2)
    made = list(methods(load("small", device="cpu"), two, Options(size=32), out=tmp_path))
    assert [one.origin.method for one in made][-2:] == ["small, untrained", "small"]
    assert made[-1].origin.features.size_wh == made[-2].origin.features.size_wh == (32, 32)
    assert made[1].origin.features.size_wh == (64, 64)  # rgb keeps its own
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        f"spair-71k-large-test-2-of-12234-pairs-{name}.safetensors"
        for name in ("rgb", "sift", "small-untrained", "small")
    ]
    assert slug("/models/SD 2.1/") == "models-sd-2.1"
