"""`counterpoint sweep` end to end on miniatures: resumed, in several processes, with dropping."""

import json
from dataclasses import replace

import numpy as np
import pytest

from counterpoint.backbones import load
from counterpoint.benchmarks.birds.crops import prepare, score_taps
from counterpoint.benchmarks.datasets.cub import read_cub
from counterpoint.benchmarks.datasets.spair import read_spair
from counterpoint.benchmarks.keypoints.course import crop_course, keypoint_course
from counterpoint.benchmarks.keypoints.protocols import find_protocol, score
from counterpoint.benchmarks.keypoints.run import predict_pairs
from counterpoint.benchmarks.sweep import plan as plan_module
from counterpoint.benchmarks.sweep import rows as sweep_rows
from counterpoint.benchmarks.sweep.plan import make_grid, plan_sweep
from counterpoint.benchmarks.sweep.rows import NOT_COUNTED
from counterpoint.benchmarks.sweep.search import run_sweep
from counterpoint.errors import StorageError
from counterpoint.options import Options
from support.tiny_datasets import write_spair

TAPS = ("mid", "up:1")
STEPS = (20, 300)
SMALL = Options(size=32)


@pytest.fixture
def course(tmp_path):
    """9 pictures, 18 pairs: more pictures than one shard has."""
    names = ("cat", "dog", "cow")
    root = write_spair(tmp_path / "SPair-71k", categories=names)
    return keypoint_course(read_spair(root), find_protocol("dift"))


@pytest.fixture
def work(monkeypatch):
    """Counts pictures put through the network and matches made."""
    done = {"pictures": 0, "matches": 0}
    backbone, find_points = load("small", device="cpu"), sweep_rows.find_points
    denoise = backbone._denoise

    def counted_denoise(noisy, *rest):
        done["pictures"] += len(noisy)
        return denoise(noisy, *rest)

    def counted_find(*arguments):
        done["matches"] += 1
        return find_points(*arguments)

    monkeypatch.setattr(backbone, "_denoise", counted_denoise)
    monkeypatch.setattr(sweep_rows, "find_points", counted_find)
    return backbone, done


def figures(sweep):
    return [(c.t, c.tap, c.ensemble, c.per_point, c.per_image, c.macro) for c in sweep.cells]


def test_one_pass_a_picture_and_the_figures_of_bench(work, course, tmp_path):
    backbone, done = work
    grid = make_grid(backbone, course, timesteps=STEPS, taps=TAPS)
    plan = plan_sweep(backbone, course, grid, SMALL)
    found = run_sweep(backbone, course, grid, tmp_path / "out", SMALL)
    assert done == {"pictures": 9 * 2, "matches": 18 * 2 * 2}
    assert (plan.passes, plan.again, plan.pictures) == (18, 1, 9)
    assert [cell.t for cell in found.cells] == [20, 20, 300, 300]
    alone = predict_pairs(backbone, course.dataset, SMALL.but(t=300, tap="up:1"))
    expected = score(course.dataset, alone.points, course.protocol, [0.1])[0]
    last = found.cells[-1]
    assert (last.per_point, last.macro) == (expected.per_point, expected.macro)
    assert last.per_image == expected.per_image
    assert [p.name for p in (tmp_path / "out/rows").iterdir() if p.is_dir()] == []


def test_ensembles_and_joined_taps_are_those_of_bench(work, course, tmp_path):
    backbone, done = work
    few = replace(course, dataset=replace(course.dataset, pairs=course.dataset.pairs[:2]))
    taps = ["mid", "mid+up:1"]
    grid = make_grid(backbone, few, timesteps=[300], taps=taps, ensembles=[1, 2])
    found = run_sweep(backbone, few, grid, tmp_path / "out", SMALL)
    passes = len(few.dataset.pictures) * (1 + 2)
    assert done["pictures"] == plan_sweep(backbone, few, grid, SMALL).passes == passes
    for one in found.cells:
        options = SMALL.but(t=300, tap=one.tap, ensemble=one.ensemble)
        alone = predict_pairs(backbone, few.dataset, options)
        [expected] = score(few.dataset, alone.points, few.protocol, [0.1])
        assert one.per_point == expected.per_point


def _category(picture):
    return picture.name.rpartition("/")[2].partition("_")[0]


class Prompted:
    """`rgb` as a model that takes a prompt, and the prompts it was given."""

    def __init__(self, monkeypatch):
        self.model, self.asked = load("rgb", device="cpu"), []
        plain = self.model.stream_taps

        def stream_taps(pictures, names, options):
            self.asked += [(_category(picture), options.prompt) for picture in pictures]
            return plain(pictures, names, options)

        for module in (sweep_rows, plan_module):
            monkeypatch.setattr(module, "takes_prompt", lambda spec: True)
        monkeypatch.setattr(self.model, "stream_taps", stream_taps)


def test_each_picture_is_described_by_its_own_category(course, tmp_path, monkeypatch):
    seen = Prompted(monkeypatch)
    grid = make_grid(seen.model, course)
    assert [row.prompt for row in grid.rows] == ["a photo of a {category}"]
    run_sweep(seen.model, course, grid, tmp_path / "a")
    assert {prompt for _, prompt in seen.asked} == {
        f"a photo of a {c}" for c in ("cat", "dog", "cow")
    }
    assert len(seen.asked) == 9
    assert all(category in prompt for category, prompt in seen.asked)
    grid = make_grid(seen.model, course, prompts=["x", "{category}!"])
    assert len(run_sweep(seen.model, course, grid, tmp_path / "b").cells) == 2
    assert [row.prompt for row in grid.rows] == ["x", "{category}!"]
    assert {prompt for _, prompt in seen.asked[9:]} == {"x", "cat!", "dog!", "cow!"}


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_stopped_sweep_goes_on_and_does_nothing_twice(work, course, tmp_path, stop_at):
    backbone, done = work
    grid = make_grid(backbone, course, timesteps=STEPS, taps=TAPS)
    told = []

    def stop(words):
        told.append(words)
        if len([word for word in told if ": 0 of" not in word]) == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(backbone, course, grid, tmp_path / "a", SMALL, tell=stop)
    before = done["matches"]
    assert 0 < before < 72
    found = run_sweep(backbone, course, grid, tmp_path / "a", SMALL)
    assert done["matches"] == 72
    assert 18 <= done["pictures"] <= 18 + 8  # those in memory when it was stopped
    assert figures(found) == figures(run_sweep(backbone, course, grid, tmp_path / "b", SMALL))
    seen = dict(done)
    run_sweep(backbone, course, grid, tmp_path / "a", SMALL)
    assert done == seen


def test_a_bounded_memory_changes_no_figure(work, course, tmp_path):
    backbone, done = work
    grid = make_grid(backbone, course, timesteps=[20], taps=TAPS)
    whole = run_sweep(backbone, course, grid, tmp_path / "a", SMALL)
    plan = plan_sweep(backbone, course, grid, SMALL, 1)
    once = done["pictures"]
    tight = run_sweep(backbone, course, grid, tmp_path / "b", SMALL, cache_bytes=1)
    assert figures(tight) == figures(whole)
    assert done["pictures"] - once == plan.passes > 9
    assert "--memory 1 would make it once" in plan.words


def test_more_may_be_asked_for_and_only_that_is_done(work, course, tmp_path):
    backbone, done = work
    out = tmp_path / "out"
    run_sweep(
        backbone, course, make_grid(backbone, course, timesteps=[20], taps=["mid"]), out, SMALL
    )
    first = done["matches"]
    more = make_grid(backbone, course, timesteps=[20, 300], taps=TAPS)
    found = run_sweep(backbone, course, more, out, SMALL)
    assert (first, done["matches"]) == (18, 72)
    assert figures(found) == figures(run_sweep(backbone, course, more, tmp_path / "b", SMALL))


def test_changed_settings_are_refused(work, course, tmp_path):
    backbone, _ = work
    grid = make_grid(backbone, course, timesteps=[20], taps=["mid"])
    out = tmp_path / "out"
    run_sweep(backbone, course, grid, out, SMALL)
    with pytest.raises(StorageError, match="made with size_wh = .*asked was"):
        run_sweep(backbone, course, grid, out, SMALL.but(size=64))
    with pytest.raises(StorageError, match="made with seed = 0, asked was 1"):
        run_sweep(backbone, course, grid, out, SMALL.but(seed=1))
    other = keypoint_course(course.dataset, find_protocol("geoaware"))
    with pytest.raises(StorageError, match="made with protocol = 'dift'"):
        run_sweep(backbone, other, grid, out, SMALL)
    with pytest.raises(StorageError, match=r"made with alpha = 0\.1, asked was 0\.05"):
        run_sweep(backbone, replace(course, alpha=0.05), grid, out, SMALL)
    fewer = replace(course, dataset=replace(course.dataset, pairs=course.dataset.pairs[1:]))
    with pytest.raises(StorageError, match="made with pairs_sha256 = "):
        run_sweep(backbone, fewer, grid, out, SMALL)
    row = next((out / "rows").glob("*.json"))
    entries = json.loads(row.read_text())
    row.write_text(json.dumps(entries | {"origin": "of another"}))
    with pytest.raises(StorageError, match="made with other settings"):
        run_sweep(backbone, course, grid, out, SMALL)
    row.write_text(row.read_text()[:40])
    with pytest.raises(StorageError, match="expected counts of a sweep"):
        run_sweep(backbone, course, grid, out, SMALL)


def test_damaged_shards_are_counted_again(work, course, tmp_path):
    backbone, _ = work
    grid = make_grid(backbone, course, timesteps=[20], taps=["mid"])

    def stop(words):
        if ": 0 of" not in words:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(backbone, course, grid, tmp_path / "a", SMALL, tell=stop)
    [shard] = (tmp_path / "a/rows").glob("*.parts/*.json")
    shard.write_text(shard.read_text()[:30])
    (shard.parent / ".beside.tmp-1.json").write_text("{")
    found = run_sweep(backbone, course, grid, tmp_path / "a", SMALL)
    assert figures(found) == figures(run_sweep(backbone, course, grid, tmp_path / "b", SMALL))


def test_two_processes_find_the_same(course, tmp_path):
    backbone = load("small", device="cpu")
    grid = make_grid(backbone, course, timesteps=STEPS, taps=TAPS, ensembles=[1, 2])
    options = SMALL.but(device="cpu")
    told = []
    one = run_sweep(backbone, course, grid, tmp_path / "one", options)
    two = run_sweep(backbone, course, grid, tmp_path / "two", options, jobs=2, tell=told.append)
    assert figures(two) == figures(one)
    assert [words[:9] for words in told] == [f"{i} of 4 ro" for i in (1, 2, 3, 4)]


def planted(source, target, pair):
    """One tap finds everything, the other nothing."""
    channels = source.values.shape[0]  # 192 at mid, 128 at up:1
    return pair.target_px if channels == 192 else pair.target_px + 1000


def test_hopeless_cells_are_dropped_and_marked(work, course, tmp_path, monkeypatch, run):
    backbone, done = work
    monkeypatch.setattr(sweep_rows, "find_points", planted)
    grid = make_grid(backbone, course, timesteps=STEPS, taps=TAPS)
    found = run_sweep(backbone, course, grid, tmp_path / "out", SMALL, drop_after=10)
    assert [(c.tap, c.pairs, c.dropped) for c in found.cells] == [
        ("mid", 18, False),
        ("up:1", 10, True),
    ] * 2
    counts = json.loads(next((tmp_path / "out/rows").glob("t20*.json")).read_text())["correct"]
    counted = np.flatnonzero(np.array(counts["up:1"]) != NOT_COUNTED)
    assert counted.tolist() == [0, 1, 3, 5, 7, 9, 10, 12, 14, 16]  # spread over all 18
    assert found.best.tap == "mid"
    assert "2 settings dropped after 10 pairs" in found.notes[-1]
    seen = dict(done)
    again = run_sweep(backbone, course, grid, tmp_path / "out", SMALL, drop_after=10)
    assert (again, done) == (found, seen)
    data, out = course.dataset.root, tmp_path / "cli"
    asked = ("--t", 20, 300, "--tap", *TAPS, "--size", 32, "--drop-after", 10, "--device", "cpu")
    code, shown, _ = run("sweep", "spair", "--data", data, "--out", out, *asked)
    assert code == 0
    assert shown.count("(dropped)") == 3
    assert (out / "sweep.md").read_text().count("(dropped)") == 3
    assert {p.name for p in out.glob("*.png")} == {
        "heat-map.png",
        "against-t.png",
        "against-layer.png",
    }


def test_bird_crops_as_bench_has_them(shared, tmp_path):
    folder = shared / "data/CUB_200_2011"
    if not folder.is_dir():
        pytest.skip("no CUB-200-2011 here")
    benchmark = prepare(read_cub(folder, classes=[1]), pairs=20)
    backbone = load("rgb", device="cpu")
    course = crop_course(benchmark)
    [cell] = run_sweep(backbone, course, make_grid(backbone, course), tmp_path).cells
    [row] = score_taps(backbone, benchmark)
    assert (cell.per_point.value, cell.per_point.interval) == (row.pck.per_point, row.pck.interval)
    assert cell.t is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tap", "up:7"), "unknown tap of small 'up:7'"),
        (("--t", "1000"), "expected t from 0 to 999"),
        (("--ensemble", "0"), "expected an ensemble of at least 1"),
        (("--prompt", "a cat"), "expected no --prompt for small"),
        (("--model", "rgb", "--t", "20"), "expected no --t and --ensemble for rgb"),
        (("--drop-after", "3"), "at least 1 job and 10 pairs before dropping, got 1 and 3"),
        (("--jobs", "0"), "got 0 and None"),
        (("--memory", "0"), "expected --memory above 0 GiB"),
        (("--half", "even"), "expected no --half for spair"),
        (("--protocol", "difft"), "did you mean 'dift'"),
    ],
)
def test_bad_arguments(run, course, tmp_path, arguments, message):
    data = course.dataset.root
    code, _, said = run("sweep", "spair", "--data", data, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert message in said
    assert len(said.strip().splitlines()) == 1
