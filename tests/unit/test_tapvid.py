"""The TAP-Vid reader: what it reads, and what it refuses to run."""

import builtins
import io
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from counterpoint.benchmarks.datasets.tapvid import read_tapvid
from counterpoint.benchmarks.videos.track_metrics import TapVid, queries_of
from counterpoint.errors import BadInput, UnknownName
from support.tiny_video import SIDE, places, tapvid_entry, write_tapvid


@pytest.mark.parametrize("protocol", range(2, 6))
def test_reads_every_protocol(tmp_path, protocol):
    path = write_tapvid(tmp_path / "tapvid_davis.pkl", protocol=protocol)
    videos = read_tapvid(path).videos
    assert [video.name for video in videos] == ["a", "b"]
    video = videos[0]
    assert (video.size_wh, video.rgb.shape) == ((96, 64), (6, 64, 96, 3))
    assert video.occluded.tolist() == [[False] * 6, [True] * 2 + [False] * 4]
    # The centre of a square of pixels, in pixels whose centres are whole numbers.
    expected = np.add(places(3)[0], (SIDE - 1) / 2)
    assert np.allclose(video.points_px[0, 3], expected, atol=1e-4)


def test_folders_lists_choices_and_limits(tmp_path):
    path = write_tapvid(tmp_path / "tapvid_davis.pkl")
    assert [v.name for v in read_tapvid(tmp_path, videos=["b"]).videos] == ["b"]
    assert [v.name for v in read_tapvid(path, limit=1).videos] == ["a"]
    with pytest.raises(UnknownName, match="'c'"):
        read_tapvid(path, videos=["c"])
    path.write_bytes(pickle.dumps([tapvid_entry(), tapvid_entry()]))
    assert [v.name for v in read_tapvid(path).videos] == ["0", "1"]


def test_frames_that_are_encoded(tmp_path):
    entry = tapvid_entry()
    frames = []
    for rgb in entry["video"]:
        Image.fromarray(rgb).save(file := io.BytesIO(), "png")
        frames.append(file.getvalue())
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"a": {**entry, "video": frames}}))
    assert np.array_equal(read_tapvid(tmp_path / "t.pkl").videos[0].rgb, entry["video"])


def test_perfect_tracks_score_perfectly(tmp_path):
    video = read_tapvid(write_tapvid(tmp_path / "t.pkl")).videos[0]
    for mode in ("first", "strided"):
        queries = queries_of(video.occluded, mode)
        points, hidden = video.points_px[queries.tracks], video.occluded[queries.tracks]
        args = (queries.frames, points, hidden, points, hidden, video.size_wh)
        figures = TapVid(mode).update("a", *args).compute().figures
        assert figures.average_jaccard == figures.occlusion_accuracy == 100


class Runs:
    """Pickled, it is a call."""

    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("call", "arguments", "named"),
    [
        (os.system, ("touch {}",), r"posix\.system"),
        (builtins.eval, ("open('{}', 'w')",), r"builtins\.eval"),
        (builtins.getattr, (np, "load"), r"builtins\.getattr"),
        (np.fromfile, ("{}",), r"numpy\.fromfile"),
    ],
)
def test_no_code_is_run(tmp_path, call, arguments, named):
    trace = tmp_path / "trace"
    filled = [a.format(trace) if isinstance(a, str) else a for a in arguments]
    filled = [a for a in filled if a is not np] if call is getattr else filled
    path = tmp_path / "t.pkl"
    path.write_bytes(pickle.dumps({"a": Runs(call, *filled)}))
    with pytest.raises(BadInput, match=f"arrays only, got {named}") as error:
        read_tapvid(path)
    assert not trace.exists()
    assert str(path) in str(error.value)


def test_arrays_of_objects_are_refused(tmp_path):
    path = tmp_path / "t.pkl"
    path.write_bytes(pickle.dumps({"a": np.array([{}], dtype=object)}))
    with pytest.raises(BadInput, match="a pickle of numbers, got an array of object"):
        read_tapvid(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"video": np.zeros((6, 64, 96), np.uint8)}, "uint8 of video a"),
        ({"video": np.zeros((6, 64, 96, 3), np.float32)}, "uint8 of video a"),
        ({"video": 3}, "got int"),
        ({"points": np.zeros((2, 5, 2), np.float32)}, r"points \(tracks, 6, 2\)"),
        ({"points": np.zeros((2, 6, 2), int)}, "got int64"),
        ({"points": np.full((2, 6, 2), np.nan, np.float32)}, "finite points"),
        ({"occluded": np.zeros((2, 6))}, "got float32"),
        ({"occluded": np.zeros((2, 5), bool)}, r"bool \(2, 5\)"),
    ],
)
def test_entries_that_do_not_fit(tmp_path, changes, said):
    path = tmp_path / "t.pkl"
    path.write_bytes(pickle.dumps({"a": {**tapvid_entry(), **changes}}))
    with pytest.raises(BadInput, match=said) as error:
        read_tapvid(path)
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path):
    path = tmp_path / "t.pkl"
    with pytest.raises(BadInput, match=r"no such file: .*t\.pkl; get tapvid_davis\.zip"):
        read_tapvid(path)
    for content in (b"", b"no pickle", pickle.dumps(tapvid_entry())[:500]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="expected a TAP-Vid pickle"):
            read_tapvid(path)
    for content, said in ((3, "a dictionary"), ({1: 2}, "a dictionary"), ({"a": {}}, "video, po")):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(BadInput, match=said):
            read_tapvid(path)
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(BadInput, match="found none"):
        read_tapvid(path)
