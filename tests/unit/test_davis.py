"""The DAVIS reader, on a miniature in the same layout."""

import numpy as np
import pytest
from PIL import Image

from counterpoint.benchmarks.datasets.davis import PALETTE, read_davis, read_mask, write_mask
from counterpoint.errors import BadInput, ImageError, UnknownName
from support.tiny_video import SIZE_WH, paint, save_mask, write_davis


@pytest.fixture
def mini(tmp_path):
    return write_davis(tmp_path / "DAVIS", frames=4)


def mask_path(root, frame=2, name="one"):
    return root / f"Annotations/480p/{name}/{frame:05}.png"


def test_reads_what_is_there(mini):
    davis = read_davis(mini)
    assert [s.name for s in davis.sequences] == ["one", "two"]
    one = davis.sequences[0]
    assert (len(one), one.size_wh, one.objects) == (4, SIZE_WH, 2)
    rgb, mask = paint(3)
    assert np.array_equal(one.mask(3), mask)
    assert np.abs(one.picture(3).rgb.astype(int) - rgb).mean() < 3
    one.check()
    assert davis.named(2) == "part of DAVIS-2017 val (videos: 2)"
    assert davis.named(30) == "DAVIS-2017 val"


def test_2016_has_one_object(mini):
    one = read_davis(mini, "2016").sequences[0]
    assert one.objects == 1
    assert np.array_equal(one.mask(1), paint(1)[1] > 0)


def test_2016s_own_lists_of_paths(mini):
    (mini / "ImageSets/2016/val.txt").unlink()
    lines = [f"/JPEGImages/480p/two/{i:05}.jpg /Annotations/480p/two/{i:05}.png" for i in range(4)]
    (mini / "ImageSets/480p").mkdir()
    (mini / "ImageSets/480p/val.txt").write_text("\n".join(lines))
    assert [s.name for s in read_davis(mini, "2016").sequences] == ["two"]


def test_chooses_and_limits(mini):
    assert [s.name for s in read_davis(mini, sequences=["two"]).sequences] == ["two"]
    assert [s.name for s in read_davis(mini, limit=1).sequences] == ["one"]
    short = read_davis(mini, limit_frames=3)
    assert [len(s) for s in short.sequences] == [3, 3]
    assert short.named(2) == "part of DAVIS-2017 val (videos: 2, frames: at most 3)"
    with pytest.raises(UnknownName, match="did you mean 'two'"):
        read_davis(mini, sequences=["twoo"])
    with pytest.raises(BadInput, match="at least 3 frames"):
        read_davis(mini, limit_frames=2)
    with pytest.raises(BadInput, match="found none"):
        read_davis(mini, limit=0)


def test_reads_no_picture_before_it_is_needed(mini):
    for path in (mini / "JPEGImages").rglob("*.jpg"):
        path.write_bytes(b"")
    one = read_davis(mini).sequences[0]
    with pytest.raises(ImageError, match=r"one/00000\.jpg"):
        one.picture(0)


@pytest.mark.parametrize(
    "gone",
    [
        "ImageSets/2017/val.txt",
        "JPEGImages/480p/two/00001.jpg",
        "JPEGImages/480p/two/00003.jpg",
        "Annotations/480p/one/00002.png",
    ],
)
def test_what_is_missing_is_named(mini, gone):
    (mini / gone).unlink()
    with pytest.raises(BadInput) as error:
        read_davis(mini)
    message = str(error.value)
    assert message.startswith(f"no such file: {mini / gone}; get DAVIS-2017-trainval-480p.zip")
    assert "\n" not in message


def test_a_listed_sequence_without_a_folder(mini):
    (mini / "ImageSets/2017/val.txt").write_text("one\nthree\n")
    with pytest.raises(BadInput, match=r"three/00000\.jpg; get"):
        read_davis(mini)


def test_a_mask_of_another_size(mini):
    save_mask(mask_path(mini), np.ones((10, 12), np.uint8))
    one = read_davis(mini).sequences[0]
    with pytest.raises(BadInput, match=r"96 x 64 as the first, got 12 x 10 in .*00002\.png"):
        one.check()
    save_mask(mask_path(mini, 0), np.ones((10, 12), np.uint8))
    one = read_davis(mini).sequences[0]
    with pytest.raises(BadInput, match=r"picture's size, 96 x 64, got 12 x 10 in .*00000\.png"):
        one.check()


def test_a_frame_of_another_size(mini):
    path = mini / "JPEGImages/480p/one/00001.jpg"
    Image.new("RGB", (10, 12)).save(path)
    with pytest.raises(BadInput, match=r"frames of one size.* got 10 x 12 in .*00001\.jpg"):
        read_davis(mini).sequences[0].check()
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"00001\.jpg"):
        read_davis(mini).sequences[0].check()


def test_more_objects_than_the_first_mask_had(mini):
    mask = paint(2)[1]
    mask[0, 0] = 3
    save_mask(mask_path(mini), mask)
    with pytest.raises(BadInput, match=r"objects 1 to 2.* of one, got 3 in .*00002\.png"):
        read_davis(mini).sequences[0].check()


def test_an_empty_first_mask(mini):
    save_mask(mask_path(mini, 0), np.zeros(SIZE_WH[::-1], np.uint8))
    with pytest.raises(BadInput, match=r"expected an object in the first mask.*00000\.png"):
        read_davis(mini).sequences[0].check()


def test_kinds_of_masks(tmp_path):
    path = tmp_path / "mask.png"
    square = np.zeros((4, 6), np.uint8)
    square[1:3, 1:3] = 255
    for image in (
        Image.fromarray(square),
        Image.fromarray(square > 0),
        Image.fromarray(square).convert("RGB"),
        Image.fromarray(square).convert("LA"),
    ):
        image.save(path)
        assert np.array_equal(read_mask(path), square > 0), image.mode
    square[0, 0] = 1
    Image.fromarray(square).save(path)
    with pytest.raises(BadInput, match="void pixels"):
        read_mask(path)
    assert np.array_equal(read_mask(path, single=True), square > 0)
    Image.fromarray(np.dstack([square, square, square * 0])).save(path)
    with pytest.raises(BadInput, match="got colours"):
        read_mask(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(BadInput, match="cannot read the mask"):
        read_mask(path)
    path.write_text("no picture")
    with pytest.raises(BadInput, match="cannot read the mask"):
        read_mask(path)


def test_masks_are_written_as_davis_has_them(tmp_path):
    path = tmp_path / "deep/00000.png"
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    write_mask(path, mask)
    assert np.array_equal(read_mask(path), mask)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert PALETTE[[0, 1, 2, 3, 4, 5, 8, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [64, 0, 0],
        [224, 224, 192],
    ]


def test_the_real_part_of_it(shared):
    davis = read_davis(shared / "data/DAVIS")
    assert [(s.name, len(s)) for s in davis.sequences] == [
        ("blackswan", 50),
        ("camel", 90),
        ("dog", 60),
    ]
    for sequence in davis.sequences:
        assert (sequence.size_wh, sequence.objects) == ((854, 480), 1)
        assert set(np.unique(sequence.mask(9))) == {0, 1}
