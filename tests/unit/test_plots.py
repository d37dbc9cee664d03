"""Drawings: their shapes, and that marks stand where the geometry says."""

import numpy as np
import pytest
import torch
from PIL import Image

from counterpoint import plots
from counterpoint.errors import BadInput, StorageError
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform
from counterpoint.images import Picture
from counterpoint.matching import Matches
from counterpoint.plots import (
    MARGIN_PX,
    distinct_colours,
    draw_components,
    draw_heat,
    draw_matches,
    draw_query,
    draw_strip,
    join_columns,
    save_png,
    stack_rows,
)

PAPER = np.array(plots._PAPER)


def flat(width, height, value=128, name="flat"):
    return Picture(np.full((height, width, 3), value, np.uint8), name)


def sure_matches(source, target, source_px, target_px, similarity=1.0):
    n = len(source_px)
    return Matches(
        np.array(source_px, float).reshape(n, 2),
        np.array(target_px, float).reshape(n, 2),
        np.full(n, similarity),
        np.full(n, 1.0),
        np.zeros(n),
        source.size_wh,
        target.size_wh,
    )


def is_canvas(canvas):
    return canvas.dtype == np.uint8 and canvas.ndim == 3 and canvas.shape[2] == 3


def like(canvas, colour, tolerance=3):
    """Which pixels have a colour."""
    return (np.abs(canvas.astype(int) - np.array(colour)) <= tolerance).all(axis=2)


def centre_of(mask):
    y, x = np.nonzero(mask)
    return np.array([x.mean(), y.mean()])


class TestMatches:
    @pytest.mark.parametrize(
        ("source_wh", "target_wh"),
        [((64, 48), (50, 80)), ((640, 480), (301, 99)), ((33, 9), (7, 7))],
    )
    def test_dots_land_where_the_geometry_says(self, source_wh, target_wh):
        source, target = flat(*source_wh), flat(*target_wh)
        at = [(source_wh[0] * 0.4, source_wh[1] * 0.6)]
        to = [(target_wh[0] * 0.7, target_wh[1] * 0.3)]
        canvas = draw_matches(source, target, sure_matches(source, target, at, to), lines=False)
        assert is_canvas(canvas)
        dots = like(canvas, distinct_colours(1)[0])
        _, panels = plots._side_by_side([source, target], 480)
        half = (panels[0].right + panels[1].left) // 2
        left, right = dots.copy(), dots.copy()
        left[:, half:], right[:, :half] = False, False
        for mask, point, size_wh, panel in (
            (left, at, source_wh, panels[0]),
            (right, to, target_wh, panels[1]),
        ):
            scale = (panel.right - panel.left + 1) / size_wh[0]
            expected = (np.array(point[0]) + 0.5) * scale - 0.5 + [panel.left, 0]
            np.testing.assert_allclose(centre_of(mask), expected, atol=0.75)

    def test_lines_join_them(self):
        source, target = flat(100, 100), flat(100, 100)
        matches = sure_matches(source, target, [(10, 50)], [(90, 50)])
        with_lines = draw_matches(source, target, matches)
        without = draw_matches(source, target, matches, lines=False)
        middle = with_lines[:, 480]
        assert abs(middle[241].astype(int) - 128).max() > 20
        assert (without[:, 480] == without[0, 480]).all()

    def test_sure_matches_are_opaque_and_unsure_ones_faint(self):
        source, target = flat(100, 100), flat(100, 100)
        colour = np.array(distinct_colours(1)[0])
        seen = []
        for similarity in (1.0, 0.5, 0.0):
            matches = sure_matches(source, target, [(50, 50)], [(50, 50)], similarity)
            canvas = draw_matches(source, target, matches, lines=False)
            seen.append(np.abs(canvas[242, 242] - colour.astype(float)).max())
        assert seen[0] <= 2
        assert seen[0] < seen[1] < seen[2]
        assert np.abs(canvas[242, 242].astype(int) - 128).max() > 20, "faint but there"

    @pytest.mark.parametrize("corner", [(0, 0), (99, 0), (99, 59), (0, 59), (-0.5, -0.5)])
    def test_labels_stay_inside_their_panel(self, corner):
        source, target = flat(100, 60, 0), flat(100, 60, 0)
        matches = sure_matches(source, target, [corner], [(50, 30)])
        canvas = draw_matches(source, target, matches, lines=False)
        _, panels = plots._side_by_side([source, target], 480)
        assert like(canvas[:, : panels[0].right - 8], (255, 255, 255)).sum() > 12  # the label
        gap = canvas[30:450, panels[0].right + 8 : panels[1].left]
        assert (gap == PAPER).all()

    def test_many_carry_no_labels(self):
        source = target = flat(100, 100, 0)
        points = [(x, y) for x in range(10, 100, 15) for y in range(10, 100, 15)]
        crowded = draw_matches(
            source, target, sure_matches(source, target, points, points), lines=False
        )
        few = sure_matches(source, target, points[:24], points[:24])
        labelled = draw_matches(source, target, few, lines=False)
        per_dot = [like(c, (255, 255, 255)).sum() / n for c, n in ((crowded, 36), (labelled, 24))]
        assert per_dot[1] > 1.3 * per_dot[0]

    def test_none(self):
        source, target = flat(64, 48), flat(50, 80)
        canvas = draw_matches(source, target, sure_matches(source, target, [], []))
        assert canvas.shape == (480, 640 + MARGIN_PX + 300, 3)
        assert set(np.unique(canvas)) <= {128, *PAPER.tolist()}

    def test_of_other_pictures(self):
        source, target = flat(64, 48), flat(50, 80)
        matches = sure_matches(source, target, [(1, 1)], [(1, 1)])
        with pytest.raises(BadInput, match="expected matches of pictures of"):
            draw_matches(target, source, matches)

    @pytest.mark.parametrize("wh", [(1, 1), (2000, 10), (10, 2000), (40_000, 2), (1, 500)])
    def test_pictures_of_absurd_shape(self, wh):
        strange, normal = flat(*wh), flat(64, 48)
        matches = sure_matches(strange, normal, [(wh[0] / 2, wh[1] / 2)], [(3, 3)])
        canvas = draw_matches(strange, normal, matches)
        assert is_canvas(canvas)
        assert canvas.shape[0] == 480
        assert canvas.shape[1] <= 4 * 480 + MARGIN_PX + 640

    @pytest.mark.parametrize("height_px", [40, 137, 900])
    def test_height(self, height_px):
        source, target = flat(64, 48), flat(50, 80)
        matches = sure_matches(source, target, [(3, 3)], [(4, 4)])
        assert draw_matches(source, target, matches, height_px=height_px).shape[0] == height_px

    def test_pictures_are_not_edited(self):
        source, target = flat(64, 48), flat(50, 80)
        draw_matches(source, target, sure_matches(source, target, [(3, 3)], [(4, 4)]))
        draw_query(source, (3, 3), height_px=48)
        assert (source.rgb == 128).all()
        assert (target.rgb == 128).all()


class TestHeat:
    def peak(self, w=90, h=60, x=70, y=20):
        grid_y, grid_x = np.mgrid[:h, :w]
        return np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / 200).astype(np.float32)

    def test_is_brightest_at_the_peak_and_crossed_there(self):
        canvas = draw_heat(flat(90, 60), self.peak())
        assert canvas.shape == (480, 720, 3)
        expected = (np.array([70, 20]) + 0.5) * 8 - 0.5
        np.testing.assert_allclose(centre_of(like(canvas, (255, 255, 255))), expected, atol=1)
        around = canvas.astype(int).sum(axis=2)
        assert around[150:180, 550:580].mean() > 2 * around[300:, :200].mean()

    def test_the_cross_goes_where_it_is_told(self):
        canvas = draw_heat(flat(90, 60, 0), self.peak(), (10, 50))
        expected = (np.array([10, 50]) + 0.5) * 8 - 0.5
        np.testing.assert_allclose(centre_of(like(canvas, (255, 255, 255))), expected, atol=1)

    def test_takes_tensors(self):
        array = self.peak()
        assert (
            draw_heat(flat(90, 60), torch.from_numpy(array)) == draw_heat(flat(90, 60), array)
        ).all()

    @pytest.mark.parametrize("value", [0.0, -1.0, 0.7])
    def test_a_flat_map(self, value):
        assert is_canvas(draw_heat(flat(9, 6), np.full((6, 9), value, np.float32), (0, 0)))

    def test_padding_does_not_wash_out_the_rest(self):
        """-1 stands where no cell is near; the cosines of the others lie close together."""
        plain = 0.9 + 0.1 * self.peak()
        padded = plain.copy()
        padded[:, :30] = -1
        a, b = (draw_heat(flat(90, 60), m, (70, 20)) for m in (plain, padded))
        assert np.abs(a[:, 300:].astype(int) - b[:, 300:]).max() <= 3

    def test_a_map_of_another_picture(self):
        with pytest.raises(BadInput, match=r"expected a map of shape \(60, 90\), got \(90, 60\)"):
            draw_heat(flat(90, 60), self.peak().T.copy())

    def test_a_map_with_nan(self):
        with pytest.raises(BadInput, match="expected a finite similarity map"):
            draw_heat(flat(2, 1), np.array([[np.nan, 1.0]], np.float32))

    def test_query(self):
        canvas = draw_query(flat(90, 60, 0), (30, 40))
        expected = (np.array([30, 40]) + 0.5) * 8 - 0.5
        np.testing.assert_allclose(centre_of(like(canvas, (255, 255, 255))), expected, atol=1)


class TestComponents:
    def test_cells_are_blocks_below_their_pictures(self):
        pictures = [flat(60, 40), flat(30, 40)]
        cells = [np.zeros((2, 3, 3)), np.ones((4, 3, 3))]
        cells[0][1, 2] = (1, 0, 0)
        canvas = draw_components(pictures, cells, height_px=320)
        assert canvas.shape == (640 + MARGIN_PX, 480 + MARGIN_PX + 240, 3)
        below = canvas[320 + MARGIN_PX :]
        red = like(below, (255, 0, 0), 0)
        assert red[160:, 320:480].all()
        assert red.sum() == 160 * 160
        assert (below[:, 480 + MARGIN_PX :] == 255).all()

    def test_takes_tensors(self):
        assert is_canvas(draw_components([flat(8, 8)], [torch.rand(2, 2, 3)]))

    def test_where_the_input_was_padded_cells_lie_on_what_they_saw(self):
        """A 60 x 40 picture in a 64 x 64 input of 8 x 8 cells: the last rows are padding."""
        fmap = FeatureMap(
            torch.zeros(1, 8, 8),
            (60, 40),
            (64, 64),
            to_input=PixelTransform((1.0, 1.0), (0.0, 0.0)),
        )
        cells = np.zeros((8, 8, 3))
        cells[4, 3] = (0, 1, 0)  # input pixels 24..31, 32..39
        cells[5:] = (1, 0, 0)  # padding
        canvas = draw_components([flat(60, 40)], [cells], maps=[fmap], height_px=400)
        below = canvas[400 + MARGIN_PX :]
        assert not like(below, (255, 0, 0), 0).any()
        green = like(below, (0, 255, 0), 0)
        assert green[320:, 240:320].all()
        assert green.sum() == 80 * 80

    def test_half_a_cell_of_padding_does_not_show(self):
        """A 60 x 40 picture in a 64 x 48 input of 16-pixel cells: row 2's centre is on padding."""
        valid = torch.ones(3, 4, dtype=torch.bool)
        valid[2] = False
        fmap = FeatureMap(torch.zeros(1, 3, 4), (60, 40), (64, 48), PixelTransform(), valid)
        cells = np.ones((3, 4, 3))
        cells[2] = 0
        below = draw_components([flat(60, 40)], [cells], maps=[fmap], height_px=400)[-400:]
        assert (below == 255).all()

    def test_cells_land_where_sampling_finds_them(self):
        fmap = FeatureMap(
            torch.rand(3, 5, 7),
            (61, 43),
            (96, 64),
            to_input=PixelTransform.resize((61, 43), (90, 63)),
        )
        cells = fmap.values.permute(1, 2, 0).numpy()
        below = draw_components([flat(61, 43)], [cells], maps=[fmap], height_px=430)[-430:]
        for x, y in [(0, 0), (30, 20), (60, 42), (13, 37)]:
            u, v = PixelTransform.resize((61, 43), (610, 430)).apply((x, y))[0].round().astype(int)
            column, row = fmap.to_grid.apply((x, y))[0].round().astype(int).clip(0, [6, 4])
            np.testing.assert_allclose(below[v, u] / 255, cells[row, column], atol=0.01)

    def test_none(self):
        with pytest.raises(BadInput, match="expected at least one picture to draw, got none"):
            draw_components([], [])


class TestStrip:
    def test_rows_of_tiles_with_names(self):
        canvas = draw_strip([flat(32, 32, name=f"t = {t}") for t in range(5)], columns=3)
        assert canvas.shape == (2 * (256 + 24) + MARGIN_PX, 3 * 256 + 2 * MARGIN_PX, 3)
        caption = canvas[256:280, :256]
        assert (caption < 100).any(), "ink"
        assert (caption[:, 120:] == PAPER).all()

    def test_long_names_keep_their_end(self):
        path = "/a/path/" + "deep/" * 30 + "cat.png"
        long, short = (draw_strip([flat(32, 32, name=n)]) for n in (path, "x" + path))
        assert (long == short).all(), "both end alike"
        assert (long[256:, -4:] == PAPER).all(), "and are not cut"

    @pytest.mark.parametrize("name", ["", "größe ☺ 猫.png", "a\nb", "x" * 3000])
    def test_names_of_every_kind(self, name):
        assert draw_strip([flat(32, 32, name=name), flat(1, 900, name=name)]).shape[0] == 280

    def test_none(self):
        with pytest.raises(BadInput, match="expected at least one picture"):
            draw_strip([])


class TestPaper:
    def test_panels_beside_and_below_each_other(self):
        a, b = np.zeros((10, 20, 3), np.uint8), np.full((30, 5, 3), 9, np.uint8)
        row = join_columns([a, b])
        assert row.shape == (30, 25 + MARGIN_PX, 3)
        assert (row[10:, :20] == PAPER).all()
        assert (row[:, 20 : 20 + MARGIN_PX] == PAPER).all()
        column = stack_rows([a, b])
        assert column.shape == (40 + MARGIN_PX, 20, 3)
        assert (column[-30:, :5] == 9).all()
        assert (column[-30:, 5:] == PAPER).all()

    def test_one_panel_is_itself(self):
        panel = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
        assert (join_columns([panel]) == panel).all()
        assert (stack_rows([panel]) == panel).all()


class TestColours:
    @pytest.mark.parametrize("count", [1, 2, 7, 24, 90, 180, 500])
    def test_as_many_as_asked(self, count):
        colours = distinct_colours(count)
        assert len(colours) == count
        assert all(0 <= v <= 255 and isinstance(v, int) for c in colours for v in c)

    @pytest.mark.parametrize("count", [2, 8, 24])
    def test_are_told_apart(self, count):
        colours = np.array(distinct_colours(count), float)
        apart = np.linalg.norm(colours[:, None] - colours[None], axis=2)
        assert apart[~np.eye(count, dtype=bool)].min() > 30

    def test_none(self):
        assert distinct_colours(0) == []


class TestSavePng:
    def test_comes_back_exactly(self, tmp_path):
        canvas = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
        path = save_png(canvas, tmp_path / "new" / "x.png")
        assert (np.asarray(Image.open(path)) == canvas).all()

    @pytest.mark.parametrize("name", ["x", "x.jpg", "x.PNG"])
    def test_is_png_whatever_the_name(self, tmp_path, name):
        path = save_png(np.zeros((2, 2, 3), np.uint8), str(tmp_path / name))
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_is_all_or_nothing(self, tmp_path, monkeypatch):
        path = save_png(np.zeros((2, 2, 3), np.uint8), tmp_path / "x.png")
        before = path.read_bytes()

        def interrupted(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr(Image.Image, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save_png(np.ones((2, 2, 3), np.uint8), path)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["x.png"]

    def test_where_it_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match="^cannot write"):
            save_png(np.zeros((2, 2, 3), np.uint8), tmp_path / "file" / "x.png")
