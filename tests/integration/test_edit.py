"""`counterpoint edit`: stickers and edited copies on pictures, folders and videos."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

FAST = ("--model", "rgb", "--size", "96x72", "--count", "80")
"""Colours as features, on a picture whose places all have colours of their own."""


def scene():
    """Every place has a colour of its own, (144, 192, 3)."""
    y, x = np.indices((144, 192)).astype(np.float32)
    rgb = np.stack([40 + x * 0.9, 40 + y * 1.3, 230 - 0.5 * x - 0.6 * y], axis=-1)
    return np.clip(rgb, 0, 255).astype(np.uint8)


SHIFT = np.array([[1.0, 0.0, 14.0], [0.0, 1.0, -9.0], [0.0, 0.0, 1.0]])


def moved(rgb, matrix=SHIFT):
    return cv2.warpPerspective(
        rgb, matrix, (rgb.shape[1], rgb.shape[0]), borderMode=cv2.BORDER_REPLICATE
    )


def others():
    """A picture of which nothing is in the scene."""
    noise = np.random.default_rng(0).integers(0, 255, (18, 24, 3), np.uint8)
    return cv2.resize(noise, (192, 144), interpolation=cv2.INTER_NEAREST)


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(scene()).save(tmp_path / "source.png")
    targets = tmp_path / "targets"
    targets.mkdir()
    Image.fromarray(moved(scene())).save(targets / "a.png")
    Image.fromarray(others()).save(targets / "b.png")
    sticker = np.zeros((40, 60, 4), np.uint8)
    sticker[4:36, 4:56] = (255, 0, 255, 255)
    Image.fromarray(sticker).save(tmp_path / "s.png")
    return tmp_path


def magenta(path):
    """Where a picture is of the sticker's colour."""
    rgb = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return (np.abs(rgb - (255, 0, 255)) < 60).all(axis=2)


def box(mask):
    y, x = np.nonzero(mask)
    return x.min(), y.min(), x.max(), y.max()


def test_a_sticker_on_a_folder_of_targets(run, folder):
    out = folder / "out"
    sticker = ("--sticker", folder / "s.png", "--at", "90,80")
    asked = ("edit", folder / "source.png", folder / "targets", *sticker, *FAST)
    code, shown, _ = run(*asked, "--out", out)
    assert code == 1  # one of them was refused
    assert "a.png: similarity" in shown
    assert "b.png: left alone: " in shown
    assert "1 of 2 carried" in shown
    names = sorted(p.name for p in out.iterdir())
    assert names == [
        "a.png",
        "a.png.matches.png",
        "b.png.matches.png",
        "edit-sheet.png",
        "edit.json",
    ]
    assert np.allclose(box(magenta(out / "a.png")), (78, 55, 129, 86), atol=2)
    rows = json.loads((out / "edit.json").read_text())
    assert [row["carried"] for row in rows] == [True, False]
    [part] = rows[0]["parts"]
    assert np.allclose(np.array(part["matrix"])[:2, 2], (14, -9), atol=3)
    assert rows[1]["result"] is None
    assert rows[1]["reason"]
    drawing = np.asarray(Image.open(out / "a.png.matches.png"))
    assert drawing.shape[1] > 1000
    # What lies outside the sticker is untouched, bit for bit.
    same = (np.asarray(Image.open(out / "a.png")) == moved(scene())).all(axis=2)
    assert same[:45].all()
    assert same[:, :60].all()


def test_results_inside_the_folder_do_not_become_targets(run, folder):
    out = folder / "targets/done"
    asked = ("edit", folder / "targets/a.png", folder / "targets", "--sticker", folder / "s.png")
    asked = (*asked, "--at", "90,80", *FAST, "--out", out, "--json")
    _, first, _ = run(*asked)
    _, second, _ = run(*asked)
    assert [row["target"] for row in json.loads(first)] == [str(folder / "targets/b.png")]
    assert first == second


def test_an_edited_copy_through_jpeg(run, folder):
    drawn = scene()
    cv2.circle(drawn, (60, 60), 18, (255, 255, 255), -1)
    cv2.rectangle(drawn, (120, 90), (150, 115), (0, 0, 0), -1)
    Image.fromarray(drawn).save(folder / "edited.jpg", quality=80)
    asked = ("edit", folder / "source.png", folder / "targets/a.png", *FAST, "--out", folder / "o")
    code, shown, _ = run(*asked, "--edited", folder / "edited.jpg", "--json")
    [row] = json.loads(shown)
    assert code == 0
    assert sorted(i for part in row["parts"] for i in part["islands"]) == [1, 2]
    result = np.asarray(Image.open(row["result"])).astype(int)
    assert (result[49:54, 70:78] > 235).all()
    assert (result[88:100, 140:160] < 25).all()
    mask = np.zeros((144, 192), np.uint8)
    mask[85:120, 115:155] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    masked = ("--edited", folder / "edited.jpg", "--mask", folder / "mask.png", "--json")
    code, shown, _ = run(*asked, *masked)
    assert code == 0
    [row] = json.loads(shown)
    assert (np.asarray(Image.open(row["result"]))[49:54, 70:78] < 235).any()


def test_a_mirrored_target_is_refused_unless_asked_for(run, folder):
    Image.fromarray(np.ascontiguousarray(moved(scene())[:, ::-1])).save(folder / "m.png")
    asked = ("edit", folder / "source.png", folder / "m.png", "--sticker", folder / "s.png")
    asked = (*asked, "--at", "90,80", *FAST, "--out", folder / "out")
    code, shown, _ = run(*asked)
    assert code == 1
    assert "mirrors the edit" in shown
    code, shown, _ = run(*asked, "--mirror")
    assert code == 0
    assert np.allclose(box(magenta(folder / "out/m.png")), (62, 55, 113, 86), atol=2)


def test_unreadable_targets_do_not_stop_the_others(run, folder):
    whole = (folder / "targets/a.png").read_bytes()
    (folder / "targets/broken.png").write_bytes(whole[: len(whole) // 2])
    sticker = ("--sticker", folder / "s.png", "--at", "90,80", "--out", folder / "out")
    code, shown, said = run(
        "edit", folder / "source.png", folder / "targets", folder / "none.png", *sticker, *FAST
    )
    assert code == 1
    assert "1 of 4 carried" in shown
    assert "broken.png: left alone: cannot decode" in shown
    assert "none.png: left alone: no such file" in shown
    assert said.count("counterpoint: skipped: ") == 2
    assert (folder / "out/targets/a.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected either --sticker or --edited, got neither"),
        (("--sticker", "s.png", "--edited", "source.png"), "got both"),
        (("--sticker", "s.png"), "expected --at X,Y"),
        (("--sticker", "s.png", "--at", "90"), "expected a point as X,Y"),
        (("--sticker", "s.png", "--at", "900,80"), "on the source picture \\(192 x 144\\)"),
        (("--sticker", "s.png", "--at", "-90,-80"), "on the source picture"),
        (("--sticker", "clear.png", "--at", "90,80"), "wholly transparent"),
        (("--sticker", "no.png", "--at", "90,80"), "no such file"),
        (("--sticker", "s.png", "--at", "90,80", "--width", "-4"), "width above 0"),
        (("--sticker", "s.png", "--at", "9,8", "--mask", "s.png"), "--mask with --edited only"),
        (("--sticker", "s.png", "--at", "90,80", "--opacity", "0"), "opacity above 0"),
        (("--sticker", "s.png", "--at", "90,80", "--count", "1"), "at least 4 points"),
        (("--sticker", "s.png", "--at", "90,80", "--warp", "mesh"), "mesh"),
        (("--edited", "source.png"), "found no difference beyond noise"),
        (("--edited", "s.png"), "source's size, 192 x 144, got 60 x 40"),
        (("--edited", "targets/b.png", "--mask", "black.png"), "got an empty one"),
        (("--edited", "targets/b.png", "--mask", "s.png"), "mask of the source's size"),
        (("--edited", "targets/b.png", "--at", "5,5"), "--at with --sticker only"),
    ],
)
def test_bad_input_is_one_line(run, folder, arguments, message):
    import re

    Image.new("RGBA", (9, 9)).save(folder / "clear.png")
    Image.new("L", (192, 144)).save(folder / "black.png")
    files = [folder / a if str(a).endswith(".png") else a for a in arguments]
    asked = ("edit", folder / "source.png", folder / "targets/a.png", "--out", folder / "out")
    code, shown, said = run(*asked, *FAST[:-2], *files)
    assert (code, shown) == (2, "")
    assert re.search(message, said), said
    assert said.count("\n") == 1
    assert not (folder / "out").exists()


def test_nothing_to_do(run, folder):
    code, _, said = run("edit", folder / "source.png", "--out", folder / "out")
    assert code == 2
    assert "expected at least one TARGET" in said
    (folder / "empty").mkdir()
    sticker = ("--sticker", folder / "s.png", "--at", "90,80", "--out", folder / "out")
    code, _, said = run("edit", folder / "source.png", folder / "empty", *sticker)
    assert code == 2
    assert "found none" in said


def frames(count=8):
    for t in range(count):
        matrix = np.array([[1.0, 0, 3.0 * t - 10], [0, 1, 0], [0, 0, 1]])
        yield moved(scene(), matrix)


def test_a_video_file(run, folder):
    from counterpoint.videos import VideoWriter, open_video

    with VideoWriter(folder / "clip.mp4", 10, (192, 144)) as writer:
        for rgb in frames():
            writer.add(rgb)
    out = folder / "out"
    asked = ("edit", folder / "source.png", folder / "clip.mp4", "--sticker", folder / "s.png")
    code, shown, _ = run(*asked, "--at", "90,80", *FAST, "--across", "objects", "--out", out)
    assert code == 0
    assert "in 8 of 8 frames" in shown
    video = open_video(out / "clip.mp4")
    pictures = list(video)
    assert (len(pictures), video.size_wh) == (8, (192, 144))
    for t, picture in enumerate(pictures):
        y, x = np.nonzero((np.abs(picture.rgb.astype(int) - (255, 0, 255)) < 90).all(axis=2))
        assert np.allclose((x.mean(), y.mean()), (89.5 + 3 * t - 10, 79.5), atol=2.5)
    [row] = json.loads((out / "edit.json").read_text())
    assert row["frames"] == row["frames_with_edit"] == len(row["by_frame"]) == 8
    assert (out / "clip.mp4.frames.png").is_file()


def test_a_folder_as_a_video_with_a_broken_frame(run, folder):
    clip = folder / "clip"
    clip.mkdir()
    for t, rgb in enumerate(frames()):
        Image.fromarray(rgb).save(clip / f"f{t}.png")
    (clip / "f3.png").write_bytes(b"no picture")
    out = folder / "out"
    asked = ("edit", folder / "source.png", clip, "--video", "--sticker", folder / "s.png")
    asked = (*asked, "--at", "90,80", *FAST, "--across", "objects", "--out", out, "--json")
    _, shown, _ = run(*asked)
    [row] = json.loads(shown)
    assert row["frames"] == 7
    assert [skipped["frame"] for skipped in row["skipped"]] == [3]
    assert sorted(p.name for p in (out / "clip").iterdir()) == [
        f"f{t}.png" for t in (0, 1, 2, 4, 5, 6, 7)
    ]
    assert magenta(out / "clip/f5.png").sum() > 1200


def test_a_video_without_the_object_is_left_alone(run, folder):
    clip = folder / "clip"
    clip.mkdir()
    for t in range(3):
        Image.fromarray(np.roll(others(), 8 * t, axis=1)).save(clip / f"{t}.png")
    asked = ("edit", folder / "source.png", clip, "--video", "--sticker", folder / "s.png")
    code, shown, _ = run(
        *asked, "--at", "90,80", *FAST, "--across", "objects", "--out", folder / "o"
    )
    assert code == 1
    assert "left alone: " in shown
    assert not (folder / "o/clip").exists()


def test_the_embedded_model_on_two_real_views(run, tmp_path):
    from skimage.data import stereo_motorcycle

    left, right, disparity = stereo_motorcycle()
    crop = np.s_[180:340, 230:430]
    Image.fromarray(left[crop]).save(tmp_path / "left.png")
    Image.fromarray(right[crop]).save(tmp_path / "right.jpg")
    Image.fromarray(np.full((60, 60, 4), 255, np.uint8)).save(tmp_path / "s.png")
    asked = ("edit", tmp_path / "left.png", tmp_path / "right.jpg", "--sticker", tmp_path / "s.png")
    asked = (
        *asked,
        "--at",
        "90,110",
        "--across",
        "views",
        "--count",
        "80",
        "--out",
        tmp_path / "o",
    )
    code, shown, _ = run(*asked, "--json")
    assert code == 0
    [row] = json.loads(shown)
    assert row["result"].endswith("right.jpg")
    matrix = np.array(row["parts"][0]["matrix"])
    true = np.nanmedian(
        disparity[crop][80:140, 60:120][np.isfinite(disparity[crop][80:140, 60:120])]
    )
    centre = matrix @ (90, 110, 1)
    assert np.allclose(centre[:2] / centre[2], (90 - true, 110), atol=4)


def test_real_graffiti(run, shared, tmp_path):
    folder = shared / "data/HPatches/extra/v_oxford_graf"
    for number in (1, 2):
        small = cv2.resize(cv2.imread(str(folder / f"{number}.ppm")), (400, 320))
        cv2.imwrite(str(tmp_path / f"{number}.png"), small)
    Image.fromarray(np.full((90, 90, 4), 255, np.uint8)).save(tmp_path / "s.png")
    asked = ("edit", tmp_path / "1.png", tmp_path / "2.png", "--sticker", tmp_path / "s.png")
    code, shown, _ = run(
        *asked, "--at", "200,160", "--across", "views", "--count", "80", "--json",
        "--out", tmp_path / "o",
    )  # fmt: skip
    assert code == 0
    matrix = np.array(json.loads(shown)[0]["parts"][0]["matrix"])
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    true = half @ np.loadtxt(folder / "H_1_2") @ np.linalg.inv(half)
    corners = np.array([[155, 115, 1], [245, 115, 1], [245, 205, 1], [155, 205, 1]]).T
    ends = [m @ corners for m in (matrix, true)]
    off = ends[0][:2] / ends[0][2] - ends[1][:2] / ends[1][2]
    assert np.linalg.norm(off, axis=0).mean() < 6


def test_a_far_larger_target_is_edited_at_its_own_size(run, folder):
    large = cv2.resize(moved(scene()), None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    Image.fromarray(large).save(folder / "large.jpg", quality=95)
    asked = ("edit", folder / "source.png", folder / "large.jpg", "--sticker", folder / "s.png")
    code, shown, _ = run(*asked, "--at", "90,80", *FAST, "--out", folder / "out", "--json")
    assert code == 0, shown
    with Image.open(folder / "out/large.jpg") as result:
        assert result.size == (1152, 864)
    truth = (np.array([78, 55, 130, 87]) + 0.5) * 6 - 0.5 - (0, 0, 3, 3)
    assert np.allclose(box(magenta(folder / "out/large.jpg")), truth, atol=14)


def test_pictures_of_very_different_sizes_are_looked_at_alike():
    from counterpoint.cli.edit.features import LARGEST_PX, comparable_px

    assert comparable_px((400, 300), (400, 300)) == 120_000
    assert comparable_px((400, 300), (4000, 3000)) == 120_000
    assert comparable_px((500, 300), (400, 300)) == 150_000
    assert comparable_px((4000, 3000), (4000, 3000)) == LARGEST_PX


def test_a_gif_of_one_frame_is_a_picture_and_of_several_a_video(run, folder):
    shots = [Image.fromarray(rgb) for rgb in frames(3)]
    shots[0].save(folder / "one.gif")
    shots[0].save(folder / "many.gif", save_all=True, append_images=shots[1:], duration=100)
    asked = ("edit", folder / "source.png", folder / "one.gif", folder / "many.gif", "--sticker")
    asked = (*asked, folder / "s.png", "--at", "90,80", *FAST, "--across", "objects", "--json")
    _, shown, _ = run(*asked, "--out", folder / "out")
    one, many = json.loads(shown)
    assert one["result"].endswith("one.gif.png")
    assert many["frames"] == 3


def test_targets_are_never_written_over(run, folder):
    before = (folder / "targets/a.png").read_bytes()
    asked = ("edit", folder / "source.png", folder / "targets/a.png", "--sticker", folder / "s.png")
    code, _, said = run(*asked, "--at", "90,80", *FAST, "--out", folder / "targets")
    assert code == 2
    assert "a.png would be written over" in said
    assert (folder / "targets/a.png").read_bytes() == before
