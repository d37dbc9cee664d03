"""The TSS reader, .flo files, flow accuracy and dense matching, by hand-worked cases."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from counterpoint.backbones import load
from counterpoint.benchmarks.datasets.flo import flo_size, read_flo, write_flo
from counterpoint.benchmarks.datasets.tss import ORIGIN, read_tss
from counterpoint.benchmarks.flow.dense import dense_flow, every, kit_resized, same_position_flow
from counterpoint.benchmarks.flow.metrics import FlowAccuracy
from counterpoint.benchmarks.flow.report import tables
from counterpoint.benchmarks.flow.tss import FlowFolder, _Given, _Model, _Seen, score_flows
from counterpoint.benchmarks.flow.tss import Setting as TSSSetting
from counterpoint.benchmarks.keypoints import prompts
from counterpoint.benchmarks.metrics import Interval
from counterpoint.errors import BadInput, UnknownName
from counterpoint.features import FeatureMap
from counterpoint.matching import match
from counterpoint.options import Options
from support.tiny_tss import PATCH, PLACES, SIZES_WH, write_pair, write_tss


def moved(size_wh=(8, 6), by=(1.0, 2.0)):
    return np.broadcast_to(np.array(by, np.float32), (size_wh[1], size_wh[0], 2)).copy()


class TestFlo:
    def test_there_and_back(self, tmp_path):
        flow = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
        flow[1, 2] = np.nan
        write_flo(tmp_path / "a.flo", flow)
        assert np.array_equal(read_flo(tmp_path / "a.flo", ORIGIN), flow, equal_nan=True)
        assert flo_size(tmp_path / "a.flo", ORIGIN) == (5, 3)
        data = (tmp_path / "a.flo").read_bytes()
        assert np.frombuffer(data, "<f4", 1)[0] == np.float32(202021.25)
        assert np.frombuffer(data, "<i4", 2, 4).tolist() == [5, 3]
        assert np.frombuffer(data, "<f4", offset=12)[2 * 7] == np.float32(1e10)

    def test_half_unknown_vectors_are_unknown(self, tmp_path):
        flow = moved((2, 1))
        flow[0, 0, 1] = 2e9
        write_flo(tmp_path / "a.flo", flow)
        assert np.isnan(read_flo(tmp_path / "a.flo", ORIGIN)).all(axis=2).tolist() == [
            [True, False]
        ]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda data: b"PIEG" + data[4:], "begins with PIEH and its size"),
            (lambda data: data[:7], "begins with PIEH and its size"),
            (lambda data: b"", "begins with PIEH and its size"),
            (lambda data: data[:-4], "expected 396 bytes of 8 x 6 vectors"),
            (lambda data: data + b"more", "got 400"),
            (lambda data: data[:4] + b"\xff\xff\xff\xff" + data[8:], "got -1 x 6"),
            (lambda data: data[:4] + b"\x00\x00\x00\x7f" + data[8:], "1 to 16384 pixels a side"),
        ],
    )
    def test_damage_is_named(self, tmp_path, change, message):
        path = tmp_path / "a.flo"
        write_flo(path, moved())
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(BadInput, match=message):
            read_flo(path, ORIGIN)


class TestReader:
    def test_pairs(self, tmp_path):
        tss = read_tss(write_tss(tmp_path))
        assert [pair.id for pair in tss.pairs] == [
            "FG3DCar/001_005",
            "FG3DCar/001_021",
            "JODS/horse_01_02",
            "PASCAL/bus_01_03",
        ]
        assert [pair.category for pair in tss.pairs] == ["car", "car", "horse", "bus"]
        assert [pair.flipped for pair in tss.pairs] == [False, False, False, True]
        first = tss.pairs[0]
        first.check()
        assert [first.picture(side).size_wh for side in (1, 2)] == list(SIZES_WH)
        truth = first.truth(1)
        (x, y), (u, v) = PLACES
        assert truth[y, x].tolist() == [u - x, v - y]
        assert np.isnan(truth[0, 0]).all()
        assert (~np.isnan(truth[..., 0])).sum() == first.foreground(1).sum() == PATCH**2
        assert tss.named(tss.pairs) == "TSS, pairs: 2 of 195 FG3DCar, 1 of 81 JODS, 1 of 124 PASCAL"

    def test_choices(self, tmp_path):
        root = write_tss(tmp_path / "TSS_CVPR2016").parent  # the folder around it serves too
        assert [p.id for p in read_tss(root, limit=1).pairs][:2] == [
            "FG3DCar/001_005",
            "JODS/horse_01_02",
        ]
        assert [p.id for p in read_tss(root, groups=["PASCAL"]).pairs] == ["PASCAL/bus_01_03"]
        assert [p.group for p in read_tss(root, categories=["horse"]).pairs] == ["JODS"]
        (root / "TSS_CVPR2016/JODS/horse_01_02/flip_gt.txt").unlink()
        assert not read_tss(root, groups=["JODS"]).pairs[0].flipped
        with pytest.raises(UnknownName, match="unknown group of TSS 'JOD'"):
            read_tss(root, groups=["JOD"])
        with pytest.raises(UnknownName, match="'cow'"):
            read_tss(root, categories=["cow"])
        with pytest.raises(BadInput, match="at least 1 pair"):
            read_tss(root, limit=0)

    def test_what_is_missing_is_named_or_listed(self, tmp_path):
        root = write_tss(tmp_path)
        (root / "JODS/horse_01_02/mask2.png").unlink()
        with pytest.raises(BadInput, match=r"horse_01_02/mask2\.png; get TSS_CVPR2016\.zip"):
            read_tss(root)
        tss = read_tss(root, skip_bad=True)
        assert [bad.id for bad in tss.skipped] == ["JODS/horse_01_02"]
        assert len(tss.pairs) == 3
        with pytest.raises(BadInput, match="1 skipped, the first: no such file"):
            read_tss(root, groups=["JODS"], skip_bad=True)
        shutil.rmtree(root / "JODS")
        with pytest.raises(BadInput, match="no such file: .*JODS"):
            read_tss(root, groups=["JODS"])
        with pytest.raises(BadInput, match="no such file: .*FG3DCar"):
            read_tss(tmp_path / "none")

    def test_other_sizes_and_other_files(self, tmp_path):
        pair = read_tss(write_tss(tmp_path)).pairs[0]
        write_flo(pair.folder / "flow2.flo", moved())
        with pytest.raises(BadInput, match=r"expected 36 x 26 pixels.*flow2\.flo, got 8 x 6"):
            pair.check()
        with pytest.raises(BadInput, match="got 8 x 6"):
            pair.truth(2)
        write_flo(pair.folder / "flow1.flo", np.full((22, 30, 2), np.nan, np.float32))
        with pytest.raises(BadInput, match="flow of some foreground pixels"):
            pair.truth(1)
        Image.new("L", (9, 9)).save(pair.folder / "mask1.png")
        with pytest.raises(BadInput, match=r"expected 30 x 22 .*mask1\.png, got 9 x 9"):
            pair.foreground(1)
        (pair.folder / "mask1.png").write_bytes(b"no picture")
        with pytest.raises(BadInput, match="cannot read the mask"):
            pair.foreground(1)
        (pair.folder / "flip_gt.txt").write_text("yes")
        with pytest.raises(BadInput, match="expected 0 or 1"):
            read_tss(tmp_path)


class TestAccuracy:
    def test_thresholds_are_shares_of_the_target(self):
        true = np.zeros((1, 2, 2), np.float32)
        found = np.array([[[5.0, 0.0], [0.0, 5.1]]], np.float32)
        small = FlowAccuracy((5.0,)).update("a", "JODS", found, true, (100, 60))
        assert small.compute()[0].mean.value == 50  # 5 px of 100: at most, not below
        large = FlowAccuracy((5.0,)).update("a", "JODS", found, true, (60, 200))
        assert large.compute()[0].mean.value == 100

    def test_averages(self):
        true, off = np.zeros((1, 4, 2), np.float32), np.full((1, 4, 2), 90, np.float32)
        half = np.where(np.arange(4)[None, :, None] < 2, true, off)
        accuracy = FlowAccuracy((5.0,))
        accuracy = accuracy.update("a", "JODS", true, true, (100, 100))
        accuracy = accuracy.update("a", "JODS", half, true, (100, 100))
        other = FlowAccuracy((5.0,)).update(
            "b", "PASCAL", off[:, :2], true[:, :2], (9, 9), flipped=True
        )
        [score] = accuracy.joined(other).compute()
        assert [(g.group, g.pairs, g.accuracy.value) for g in score.groups] == [
            ("JODS", 1, 75.0),
            ("PASCAL", 1, 0.0),
        ]
        assert score.mean.value == 37.5
        assert score.per_image.value == 50
        assert score.unflipped is not None and score.unflipped.value == 75
        assert score.per_pixel.value == 60
        assert (score.pairs, score.pixels, score.lost) == (2, 10, 0)

    def test_lost_pixels_are_wrong_and_counted(self):
        true = np.zeros((1, 4, 2), np.float32)
        found = true.copy()
        found[0, 1] = np.nan
        true[0, 3] = np.nan
        [score] = FlowAccuracy((5.0,)).update("a", "JODS", found, true, (9, 9)).compute()
        assert (score.pixels, score.lost) == (3, 1)
        assert score.mean.value == pytest.approx(200 / 3)

    def test_both_directions_of_a_pair_are_drawn_together(self):
        true = np.zeros((1, 4, 2), np.float32)
        one = FlowAccuracy((5.0,)).update("a", "JODS", true, true, (9, 9))
        one = one.update("a", "JODS", true + 90, true, (9, 9))
        [score] = one.compute()
        assert (score.mean.value, score.mean.interval) == (50, Interval(50.0, 50.0))
        for k in range(6):
            one = one.update(f"{k}", "JODS", true + 90 * (k % 2), true, (9, 9))
        [score], [other] = one.compute(seed=0), one.compute(seed=1)
        assert score.mean.interval.low < 50 < score.mean.interval.high
        assert (score.mean.value, score.mean.interval) != (other.mean.value, other.mean.interval)

    def test_refusals(self):
        true = np.zeros((1, 4, 2), np.float32)
        with pytest.raises(BadInput, match="flows of one size"):
            FlowAccuracy().update("a", "JODS", true[:, 1:], true, (9, 9))
        with pytest.raises(BadInput, match="known flow in a, got none"):
            FlowAccuracy().update("a", "JODS", true, true * np.nan, (9, 9))
        with pytest.raises(BadInput, match="at least one pair"):
            FlowAccuracy().compute()
        with pytest.raises(BadInput, match="one list of thresholds"):
            FlowAccuracy().joined(FlowAccuracy((1.0,)))


class TestDense:
    def maps(self):
        values = torch.randn(24, 6, 8, generator=torch.Generator().manual_seed(0))
        return FeatureMap(values, (40, 30)), FeatureMap(values.flip(2).contiguous(), (48, 36))

    def test_equals_single_matches_whatever_the_block(self):
        source, target = self.maps()
        wanted = every((40, 30), 7)
        flow = dense_flow(source, target, wanted, block=3)
        assert np.array_equal(flow, dense_flow(source, target, wanted), equal_nan=True)
        assert np.array_equal(~np.isnan(flow[..., 0]), wanted)
        for y, x in np.argwhere(wanted)[::5]:
            found = match(source, target, [(x, y)], cycle=False).target_px[0]
            assert (flow[y, x] + (x, y)).tolist() == found.tolist()

    def test_a_mirrored_target_leads_to_the_picture_as_it_is(self):
        source, target = self.maps()
        back = FeatureMap(target.values.flip(2).contiguous(), (48, 36))
        wanted = every((40, 30), 9)
        plain = dense_flow(source, back, wanted)
        ends = dense_flow(source, back, wanted, mirrored=True)
        x = np.arange(40)[None]
        assert (
            np.allclose((ends + plain)[..., 0] + 2 * x, 47, equal_nan=True)
            or np.nanmax(np.abs((ends[..., 0] + x) - (47 - (plain[..., 0] + x)))) < 1e-4
        )
        assert np.array_equal(ends[..., 1], plain[..., 1], equal_nan=True)

    def test_refusals(self):
        source, target = self.maps()
        with pytest.raises(BadInput, match="wanted pixels of a picture of 40 x 30"):
            dense_flow(source, target, np.ones((4, 4), bool))
        with pytest.raises(BadInput, match="every 1st"):
            every((4, 4), 0)

    def test_same_position(self):
        flow = same_position_flow((4, 2), (8, 2))
        assert flow[0, :, 0].tolist() == [0.5, 1.5, 2.5, 3.5]
        assert not flow[..., 1].any()

    def test_resized_as_the_kit_does(self):
        flow = moved((4, 4), (1.0, 0.0))
        assert kit_resized(flow, (4, 4), (8, 8), (8, 8)) is flow
        wide = kit_resized(flow, (8, 4), (4, 4), (8, 4))  # both pictures twice as wide
        assert wide.shape == (4, 8, 2)
        assert np.allclose(wide, (2, 0))
        flow[0, 0] = np.nan
        assert np.isnan(kit_resized(flow, (8, 4), (4, 4), (8, 4))[0, :2]).all()

    def test_resized_pictures_of_two_scales(self):
        """(x, y) of 8 x 12 px is (x / 2, y / 3) of 4 x 4; what it leads into grows from 4 x 5."""
        found = kit_resized(moved((4, 4), (1.0, -2.0)), (8, 12), (4, 5), (20, 10))
        assert found.shape == (12, 8, 2)
        assert found[0, 0].tolist() == [5, -4]
        assert np.allclose(found[9, 6], ((6 / 2 + 1) * 5 - 6, (9 / 3 - 2) * 2 - 9))
        same = kit_resized(moved((4, 4), (1.0, -2.0)), (4, 4), (4, 5), (20, 10))
        assert np.allclose(same[0, 0], (5, -4))  # only the other picture was resized


def watched(seen, setting):
    """What a model is given for a pair: pictures and prompt, call by call."""
    method, given = _Model(load("rgb", device="cpu"), Options(fit="keep"), setting, None), []
    stream = method.backbone.stream

    def watch(pictures, options):
        given.append((pictures, options.prompt))
        return stream(pictures, options)

    method.backbone.stream = watch
    method.run(seen)
    return given


class TestProtocol:
    """`tss_report` and `score_flows` on a single pair."""

    def folder(self, tmp_path, by, **kind):
        """The true flows of a pair, moved, in the layout of results."""
        tss = read_tss(write_pair(tmp_path / "JODS/a_1_2", **kind).parents[1])
        for side in (1, 2):
            flow = tss.pairs[0].truth(side) + np.array(by, np.float32)
            write_flo(tmp_path / f"flows/JODS/a_1_2/flow{side}.flo", flow)
        return tss, tmp_path / "flows"

    def test_the_threshold_is_a_share_of_the_picture_that_the_flow_leads_into(self, tmp_path):
        tss, flows = self.folder(tmp_path, (0, 1.6))  # 5 % of 36 px are 1.8, of 30 px 1.5
        report = score_flows(flows, tss)
        assert report.rows[0].scores[2].threshold == 5
        assert report.rows[0].scores[2].mean.value == 50
        assert [d.correct[2] for d in self.counts(tss, flows)] == [PATCH**2, 0]

    def counts(self, tss, flows):
        method = _Given(flows, TSSSetting())
        method.run(_Seen.of(tss.pairs[0]))
        return method.accuracy.directions

    def test_a_report_without_the_papers_threshold_begins_with_its_first(self, tmp_path):
        tss, flows = self.folder(tmp_path, (0, 1.6))
        report = score_flows(flows, tss, TSSSetting(thresholds=(3.0, 10.0)))
        assert report.to_dict()["rows"][0]["T=3 mean"]["value"] == 0
        assert [table.title for table in tables(report)] == ["T = 3", "Mean of the groups"]

    @pytest.mark.parametrize("flipped", [False, True])
    def test_only_pairs_known_to_be_mirrored_are_mirrored(self, tmp_path, flipped):
        root = write_pair(tmp_path / "JODS/a_1_2", flipped=flipped).parents[1]
        seen = _Seen.of(read_tss(root).pairs[0])
        assert [len(p) for p, _ in watched(seen, TSSSetting())] == [2]
        known = watched(seen, TSSSetting(mirror_known=True))
        assert [len(p) for p, _ in known] == [4 if flipped else 2]

    def test_models_that_take_a_prompt_are_told_the_pairs_category(self, tmp_path, monkeypatch):
        monkeypatch.setattr(prompts, "takes_prompt", lambda spec: True)
        root = write_pair(tmp_path / "JODS/horse_1_2").parents[1]
        [(_, prompt)] = watched(_Seen.of(read_tss(root).pairs[0]), TSSSetting())
        assert prompt == "a photo of a horse"

    def test_kept_flows_of_another_size_are_made_again(self, tmp_path):
        tss, flows = self.folder(tmp_path, (0, 0))
        pair, sizes = tss.pairs[0], dict(zip((1, 2), SIZES_WH, strict=True))
        kept = FlowFolder(flows, {"model": "x"})
        assert np.array_equal(kept.read(pair, sizes)[2], pair.truth(2), equal_nan=True)
        assert kept.read(pair, {1: SIZES_WH[0], 2: SIZES_WH[0]}) is None
        (flows / pair.id / "flow1.flo").unlink()
        assert kept.read(pair, sizes) is None


def test_the_miniature_is_what_it_says(tmp_path):
    """Following the true flow leads to the same colour, mirrored pairs too."""
    pair = read_tss(write_pair(tmp_path / "PASCAL/bus_1_2", flipped=True).parents[1]).pairs[0]
    flow, rgb = pair.truth(1), [pair.picture(side).rgb for side in (1, 2)]
    for y, x in np.argwhere(~np.isnan(flow[..., 0])):
        u, v = (flow[y, x] + (x, y)).astype(int)
        assert np.array_equal(rgb[0][y, x], rgb[1][v, u])
