"""Video files and folders of pictures: frame by frame, upright, and what is wrong with them."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from counterpoint.errors import BadInput, ImageError, MissingExtra, StorageError, UnknownName
from counterpoint.videos import VideoWriter, natural_key, open_video, turned

av = pytest.importorskip("av")


def painted(i, size_wh=(64, 48)):
    """A frame that shows its own number as the brightness of its left half."""
    w, h = size_wh
    rgb = np.full((h, w, 3), 40, np.uint8)
    rgb[:, : w // 2] = 8 * i
    rgb[: h // 4, w // 2 :] = (200, 60, 30)
    return rgb


def number_of(picture):
    return round(picture.rgb[-6:, 2:8].mean() / 8)


def write(path, frames, *, codec="libx264", rate=25, pix="yuv420p", pts=None, gop=10, audio=False):
    """A file by PyAV itself, whatever its container."""
    with av.open(str(path), "w") as container:
        h, w, _ = frames[0].shape
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = w, h, pix
        stream.codec_context.gop_size = gop
        if pts:
            stream.codec_context.time_base = Fraction(1, 1000)
        if audio:
            sound = container.add_stream("aac", rate=8000)
        for i, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            if pts:
                frame.pts, frame.time_base = pts[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio:
            container.mux(sound.encode(silence()))
            container.mux(sound.encode())
    return path


def silence():
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.float32), "fltp", "mono")
    frame.sample_rate = 8000
    return frame


def film(path, count=20, **options):
    return write(path, [painted(i) for i in range(count)], **options)


# Files.


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi", "ts"])
def test_every_frame_in_order_whatever_the_container(tmp_path, suffix):
    video = open_video(film(tmp_path / f"clip.{suffix}", audio=suffix == "mp4"))
    assert (video.name, video.size_wh, video.fps) == ("clip", (64, 48), 25)
    assert video.count in (20, None)
    assert [number_of(picture) for picture in video] == list(range(20))
    assert [number_of(picture) for picture in video] == list(range(20))  # and again
    assert video.skipped == ()


def test_times_and_numbers(tmp_path):
    video = open_video(film(tmp_path / "clip.mp4"))
    frames = list(video.frames())
    assert [f.number for f in frames] == list(range(20))
    assert np.allclose([f.time_s for f in frames], np.arange(20) / 25)
    assert frames[3].picture.name.endswith("clip.mp4#3")
    assert video.frame_name(3) == "00003"


def test_start_stop_every(tmp_path):
    video = open_video(film(tmp_path / "clip.mp4"))
    chosen = list(video.frames(3, 14, 5))
    assert [f.number for f in chosen] == [3, 8, 13] == [number_of(f.picture) for f in chosen]
    assert list(video.frames(30)) == []
    for wrong in ((-1, None, 1), (4, 4, 1), (0, None, 0)):
        with pytest.raises(BadInput, match="expected frames from 0 on"):
            video.frames(*wrong)


def test_reading_is_lazy(tmp_path):
    path = film(tmp_path / "clip.mp4")
    video = open_video(path)
    frames = iter(video)
    assert number_of(next(frames)) == 0
    frames.close()
    path.unlink()
    with pytest.raises(ImageError, match=r"no such file: .*clip\.mp4"):
        next(iter(video))


def test_variable_frame_rate(tmp_path):
    pts = [0, 40, 200, 210, 1000]
    video = open_video(write(tmp_path / "vfr.mp4", [painted(i) for i in range(5)], pts=pts))
    frames = list(video.frames())
    assert [number_of(f.picture) for f in frames] == list(range(5))
    assert np.allclose([f.time_s for f in frames], np.array(pts) / 1000)


def test_frames_that_begin_late_count_from_the_first(tmp_path):
    pts = [5000 + 40 * i for i in range(20)]
    video = open_video(film(tmp_path / "late.ts", pts=pts))
    assert np.allclose([f.time_s for f in video.frames()], 0.04 * np.arange(20))


def turn_file(path, matrix):
    """Write a display matrix into an MP4's track header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((1, 0, 0, 1), lambda rgb: rgb),
        ((0, 1, -1, 0), lambda rgb: np.rot90(rgb, -1)),  # a phone held upright
        ((-1, 0, 0, -1), lambda rgb: np.rot90(rgb, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((0, 1, 1, 0), lambda rgb: rgb.transpose(1, 0, 2)),
    ],
)
def test_rotation_in_the_file(tmp_path, matrix, turn):
    rgb = painted(5)
    assert np.array_equal(turned(rgb, matrix), turn(rgb))
    path = write(tmp_path / "turned.mp4", [rgb] * 3)
    plain = open_video(path)
    expected = turn(next(iter(plain)).rgb)
    turn_file(path, matrix)
    video = open_video(path)
    found = next(iter(video))
    assert video.size_wh == (expected.shape[1], expected.shape[0]) == found.size_wh
    assert np.array_equal(found.rgb, expected)


def test_deep_and_odd_pictures(tmp_path):
    frames = [painted(i, (51, 37)) for i in range(4)]
    video = open_video(write(tmp_path / "odd.mkv", frames, codec="ffv1", pix="yuv444p10le"))
    assert video.size_wh == (51, 37)
    assert [number_of(picture) for picture in video] == [0, 1, 2, 3]


def test_an_animated_gif(tmp_path):
    images = [Image.fromarray(painted(4 * i)) for i in range(4)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100)
    assert [number_of(picture) for picture in open_video(tmp_path / "a.gif")] == [0, 4, 8, 12]


# Damaged files.


def damaged(path, number=15):
    """With one packet's length and kind overwritten: x264's bits vary, their order does not."""
    with av.open(str(path)) as container:
        packets = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    data[packets[number] : packets[number] + 8] = b"\xff" * 8
    path.write_bytes(data)
    return path


def noisy(count=30):
    """Frames whose data fill the file, so that damage hits some."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return [np.roll(ground, i, axis=1) for i in range(count)]


def test_a_broken_frame_in_the_middle(tmp_path):
    path = damaged(write(tmp_path / "clip.mp4", noisy()))
    video = open_video(path)
    with pytest.raises(ImageError, match=r"cannot decode frame \d+ of .*clip\.mp4") as error:
        list(video)
    assert "\n" not in str(error.value)
    video = open_video(path, broken="skip")
    numbers = [f.number for f in video.frames()]
    assert len(video.skipped) >= 1
    assert sorted(numbers + [s.number for s in video.skipped]) == list(range(30))
    assert min(s.number for s in video.skipped) > 5
    list(video)
    assert len(numbers) + len(video.skipped) == 30  # counted anew with every pass


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_file_that_is_cut_off(tmp_path, suffix):
    path = write(tmp_path / f"clip.{suffix}", noisy())
    data = path.read_bytes()
    if suffix == "mp4":  # with its index in front, as on the web
        with VideoWriter(path, 25, (64, 48)) as writer:
            for rgb in noisy():
                writer.add(rgb)
        data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(ImageError, match="cannot decode frame"):
        list(open_video(path))
    video = open_video(path, broken="skip")
    assert 5 < len(list(video)) < 25
    assert video.skipped


def test_an_mp4_without_its_index(tmp_path):
    path = film(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ImageError, match="expected a video .* cut off, or no video"):
        open_video(path)


def test_a_changing_size(tmp_path):
    # Two streams of one codec behind each other, as from a recording that was switched.
    parts = []
    for i, size in enumerate(((64, 48), (32, 48))):
        path = write(tmp_path / f"{i}.h264", [painted(k, size) for k in range(4)])
        parts.append(path.read_bytes())
    path = tmp_path / "switched.h264"
    path.write_bytes(b"".join(parts))
    with pytest.raises(ImageError, match="frames of one size, 64 x 48 as the first, got 32 x 48"):
        list(open_video(path))
    skipping = open_video(path, resized="skip")
    assert len(list(skipping)) == len(skipping.skipped) == 4
    sizes = {picture.size_wh for picture in open_video(path, resized="resize")}
    assert sizes == {(64, 48)}


def test_audio_only_and_a_cover(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000)
        container.mux(sound.encode(silence()))
        container.mux(sound.encode())
    with pytest.raises(ImageError, match=r"expected a video stream in .*found audio only"):
        open_video(path)


def test_no_frames(tmp_path):
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(ImageError, match=r"none\.mkv"):
        open_video(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty file"), (b"hello, this is text", "expected a video"), (None, "no such file")],
)
def test_what_is_no_video(tmp_path, content, said):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=said) as error:
        open_video(path)
    assert "\n" not in str(error.value)


def test_nothing_is_fetched_from_a_network(tmp_path):
    for place in ("http://127.0.0.1:9/clip.mp4", "rtsp://127.0.0.1:9/clip"):
        with pytest.raises(ImageError, match="no such file"):
            open_video(place)
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    with pytest.raises(ImageError, match="got a playlist"):
        open_video(path)


def test_names_with_colons_and_percent_signs(tmp_path):
    path = film(tmp_path / "a:b %03d 'c'.mp4", 3)
    assert len(list(open_video(path))) == 3


def test_without_pyav(tmp_path, monkeypatch):
    path = film(tmp_path / "clip.mp4", 3)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtra, match=r"counterpoint\[video\]"):
        open_video(path)
    with pytest.raises(MissingExtra, match=r"counterpoint\[video\]"):
        VideoWriter(tmp_path / "new.mp4", 25, (8, 8)).__enter__()


# Folders and lists.


def save_all(folder, names):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(painted(i)).save(folder / name)
    return folder


def test_a_folder_is_sorted_naturally(tmp_path):
    folder = save_all(tmp_path / "camel", ["f1.png", "f2.png", "f10.png", "F11.PNG"])
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "inner").mkdir()
    save_all(folder / "inner", ["f3.png"])
    video = open_video(folder)
    assert (video.name, video.size_wh, video.fps, video.count) == ("camel", (64, 48), None, 4)
    assert [number_of(picture) for picture in video] == [0, 1, 2, 3]
    assert [video.frame_name(i) for i in range(4)] == ["f1", "f2", "f10", "F11"]
    assert next(video.frames()).time_s is None


def test_a_list_keeps_its_order(tmp_path):
    folder = save_all(tmp_path / "x", ["a.png", "b.png", "c.png"])
    video = open_video([folder / "c.png", folder / "a.png"])
    assert [number_of(picture) for picture in video] == [2, 0]
    assert (video.name, video.count) == ("x", 2)
    assert [number_of(p) for p in open_video(folder / "b.png")] == [1]
    with pytest.raises(ImageError, match="at least one picture"):
        open_video([])


def test_stems_that_repeat_become_numbers(tmp_path):
    folder = save_all(tmp_path / "x", ["a.bmp", "a.png"])
    assert [open_video(folder).frame_name(i) for i in range(2)] == ["00000", "00001"]


def test_a_folder_with_bad_pictures(tmp_path):
    folder = save_all(tmp_path / "x", ["0.png", "1.png", "2.png", "3.png"])
    (folder / "1.png").write_bytes(b"no picture")
    Image.fromarray(painted(2, (32, 48))).save(folder / "2.png")
    with pytest.raises(ImageError, match=r"got .*1\.png"):
        list(open_video(folder))
    video = open_video(folder, broken="skip", resized="skip")
    assert [f.number for f in video.frames()] == [0, 3]
    assert [s.number for s in video.skipped] == [1, 2]
    assert "64 x 48 as the first, got 32 x 48" in video.skipped[1].reason


def test_folders_without_pictures(tmp_path):
    with pytest.raises(ImageError, match="expected pictures in the folder"):
        open_video(tmp_path)
    (tmp_path / "0.png").write_bytes(b"x")
    with pytest.raises(ImageError, match="found none"):
        open_video(tmp_path, broken="skip")


def test_unknown_treatments(tmp_path):
    with pytest.raises(UnknownName, match="unknown treatment of broken frames 'skp'"):
        open_video(save_all(tmp_path / "x", ["a.png"]), broken="skp")


def test_natural_order_of_odd_names():
    names = ["10", "9", "a", "a1b", "a01b", "", "1"]
    assert sorted(names, key=natural_key) == ["", "1", "9", "10", "a", "a1b", "a01b"]


# Writing.


def test_what_is_written_is_h264_and_comes_back(tmp_path):
    path = tmp_path / "deep/new.mp4"
    colours = [(200, 30, 40), (20, 180, 60), (30, 60, 220), (240, 240, 240), (5, 5, 5)]
    with VideoWriter(path, 24000 / 1001, (64, 48)) as writer:
        for colour in colours:
            writer.add(np.full((48, 64, 3), colour, np.uint8))
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["new.mp4"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == Fraction(24000, 1001)
        assert stream.frames == 5
    for picture, colour in zip(open_video(path), colours, strict=True):
        assert np.abs(picture.rgb.astype(int) - colour).max() <= 4


def test_odd_sizes_are_padded(tmp_path):
    with VideoWriter(tmp_path / "odd.mp4", 10, (51, 37)) as writer:
        writer.add(painted(9, (51, 37)))
    video = open_video(tmp_path / "odd.mp4")
    assert video.size_wh == (52, 38)
    assert number_of(next(iter(video))) == 9


def test_written_times_are_kept(tmp_path):
    times = [0.0, 0.04, 0.2, 0.21, 1.0]
    with VideoWriter(tmp_path / "vfr.mp4", 25, (64, 48)) as writer:
        for i, time_s in enumerate(times):
            writer.add(painted(i), time_s)
    frames = list(open_video(tmp_path / "vfr.mp4").frames())
    assert np.allclose([f.time_s for f in frames], times, atol=1e-4)
    assert [number_of(f.picture) for f in frames] == list(range(5))


def test_nothing_half_written_stays(tmp_path):
    def attempt(error):
        with VideoWriter(tmp_path / "new.mp4", 25, (64, 48)) as writer:
            writer.add(painted(1))
            raise error

    for error in (RuntimeError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            attempt(error)
        assert not any(tmp_path.iterdir())
    with (
        pytest.raises(StorageError, match="at least one frame"),
        VideoWriter(tmp_path / "new.mp4", 25, (64, 48)),
    ):
        pass
    assert not any(tmp_path.iterdir())


def test_the_writer_refuses(tmp_path):
    path = tmp_path / "new.mp4"
    with pytest.raises(BadInput, match="frames a second"):
        VideoWriter(path, 0, (8, 8))
    with pytest.raises(BadInput, match="1 to 16384"):
        VideoWriter(path, 25, (0, 8))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        VideoWriter(tmp_path / "file/new.mp4", 25, (8, 8)).__enter__()
    with VideoWriter(path, 25, (64, 48)) as writer:
        writer.add(painted(0), 0.0)
        with pytest.raises(BadInput, match=r"expected a frame \(48, 64, 3\)"):
            writer.add(painted(0, (32, 48)), 0.1)
        with pytest.raises(BadInput, match="times with every frame"):
            writer.add(painted(1))
        with pytest.raises(BadInput, match="times that grow"):
            writer.add(painted(1), 0.0)
