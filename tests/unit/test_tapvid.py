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
    assert (video.size_wh, len(video), video.picture(5).size_wh) == ((96, 64), 6, (96, 64))
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
    [video] = read_tapvid(tmp_path / "t.pkl").videos
    assert video.size_wh == (96, 64)
    assert all(np.array_equal(video.picture(i).rgb, rgb) for i, rgb in enumerate(entry["video"]))
    video.check()


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


class Told:
    """Pickled, it is a call and a state, as arrays and dtypes are."""

    def __init__(self, call, arguments, state):
        self.whole = call, arguments, state

    def __reduce__(self):
        return self.whole


RECONSTRUCT = np.zeros(1).__reduce__()[0]
FLOAT = np.dtype("<f8")
PLAIN = (3, "<", None, None, None, -1, -1, 0)


def array_told(shape=(2,), data=bytes(16), kind=FLOAT):
    return Told(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, shape, kind, False, data))


def kind_told(state, kind="f8"):
    return Told(np.dtype, (kind, False, True), state)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        # numpy would take these states, and numbers in the file for addresses of objects.
        (kind_told((3, "|", None, ("a",), {"a": (np.dtype("f8"), 0)}, 8, 1, 27)), "plain numbers"),
        (kind_told((3, "<", (np.dtype("f8"), (2,)), None, None, -1, -1, 0)), "plain numbers"),
        (kind_told("state"), "plain numbers"),
        (kind_told(PLAIN, "O"), "a pickle of numbers, got an array of object"),
        (kind_told(PLAIN, "M8[s]"), "a pickle of numbers, got an array of datetime64"),
        (kind_told(PLAIN, "V8"), "a pickle of numbers"),
        (kind_told(PLAIN, "f8,O"), "a pickle of numbers"),
        (array_told(shape=(2**40,)), r"the bytes of an array \(1099511627776,\).*, got 16 bytes"),
        (array_told(shape=(-2,)), "the shape of an array"),
        (array_told(shape=("a",)), "the shape of an array"),
        (array_told(data=[{}, {}]), "an array's bytes in a pickle, got list"),
        (array_told(kind="f8"), "an array's bytes"),
        (Told(RECONSTRUCT, (np.ndarray, (0,), b"b"), {"a": 1}), "the state of an array"),
        (Runs(np.ndarray, (2**40,)), "expected a TAP-Vid pickle"),
    ],
)
def test_states_that_only_numpy_would_believe(tmp_path, told, said):
    path = tmp_path / "t.pkl"
    path.write_bytes(pickle.dumps({"a": {**tapvid_entry(), "points": told}}))
    with pytest.raises(BadInput, match=said) as error:
        read_tapvid(path)
    assert "\n" not in str(error.value)


def test_flags_of_a_dtype_are_not_heeded(tmp_path):
    """One bit says that the numbers are objects; plain numbers are read all the same."""
    kind = kind_told((3, "<", None, None, None, -1, -1, 63), "f4")
    entry = tapvid_entry()
    points = entry["points"]
    told = array_told(points.shape, points.tobytes(), kind)
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"a": {**entry, "points": told}}))
    [video] = read_tapvid(tmp_path / "t.pkl").videos
    assert np.allclose((video.points_px + 0.5) / video.size_wh, points, atol=1e-6)


def test_names_within_names(tmp_path):
    """A name with a dot would reach into what is allowed."""
    path = tmp_path / "t.pkl"
    for name in (b"ndarray.tofile", b"dtype.__class__", b"ndarray.__subclasses__"):
        size = bytes([len(name)])
        path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c" + size + name + b"\x93.")
        with pytest.raises(BadInput, match=f"arrays only, got numpy.{name.decode()}"):
            read_tapvid(path)
    path.write_bytes(b"\x80\x02P1\n.")  # an id that whoever reads must make sense of
    with pytest.raises(BadInput, match="expected a TAP-Vid pickle"):
        read_tapvid(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F", "K"])
def test_arrays_however_they_lie(tmp_path, protocol, kind, order):
    """Byte orders, columns first, axes swapped: what numpy writes is what is read."""
    entry = tapvid_entry()
    points = entry["points"].astype(kind)
    if order == "K":
        points = points.transpose(1, 2, 0).copy().transpose(2, 0, 1)
    points = np.asfortranarray(points) if order == "F" else points
    path = tmp_path / "t.pkl"
    path.write_bytes(pickle.dumps({"a": {**entry, "points": points}}, protocol=protocol))
    [video] = read_tapvid(path).videos
    assert np.allclose((video.points_px + 0.5) / video.size_wh, points.astype(float), atol=1e-6)


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
