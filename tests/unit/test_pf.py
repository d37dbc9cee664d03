"""The readers of PF-WILLOW and PF-PASCAL, on miniatures in their layouts."""

import builtins
import json

import numpy as np
import pytest
from scipy.io import savemat

from counterpoint.benchmarks.datasets.pf_pascal import read_pf_pascal
from counterpoint.benchmarks.datasets.pf_willow import read_pf_willow, willow_points
from counterpoint.benchmarks.keypoints.sets import read_again
from counterpoint.errors import BadInput, ImageError, MissingExtra, PointError, UnknownName
from support.tiny_datasets import MORE, POINTS, SIZES_WH, write_pascal, write_willow


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


class TestWillow:
    @pytest.fixture
    def mini(self, tmp_path):
        return write_willow(tmp_path / "PF-WILLOW")

    def test_reads_what_is_there(self, mini):
        willow = read_pf_willow(mini)
        assert willow.name == "PF-WILLOW, 12 of 900 pairs"
        assert (willow.points, len(willow.pictures)) == (120, 6)
        assert willow.categories == ("car(G)", "duck(S)")
        pair = willow.pairs[0]
        assert (pair.id, pair.noun) == ("pic_0-pic_1:car(G)", "car")
        assert (pair.source_size_wh, pair.target_size_wh) == (SIZES_WH[0], SIZES_WH[1])
        assert np.array_equal(pair.source_px, np.array([*POINTS[0], *MORE[0]]) + 0.25)
        assert np.array_equal(pair.target_px, np.array([*POINTS[1], *MORE[1]]) + 0.25)
        assert pair.keypoint_ids == tuple(str(i) for i in range(1, 11))
        assert (pair.source_box, pair.difficulty) == (None, None)

    def test_points_from_mat_files_are_the_same(self, mini, tmp_path):
        names = write_willow(tmp_path / "names", columns=False)
        assert read_pf_willow(names).fingerprint == read_pf_willow(mini).fingerprint
        assert willow_points(mini / "PF-dataset/car(G)/pic_0.mat").shape == (10, 2)

    def test_another_list_gives_another_name(self, tmp_path):
        root = write_willow(tmp_path, name="test_pairs_mine.csv")
        mine = read_pf_willow(root, categories=["duck(S)"], limit=4)
        assert mine.name == "PF-WILLOW test_pairs_mine, 4 pairs"
        (root / "test_pairs_yours.csv").write_text("imageA,imageB\n")
        with pytest.raises(BadInput, match="got test_pairs_mine.csv, test_pairs_yours.csv; say"):
            read_pf_willow(root)
        again = read_pf_willow(root, pairs=root / "test_pairs_mine.csv", limit=4)
        assert read_again(root, json.loads(json.dumps(again.request))).name == again.name

    def test_bad_mat_files(self, tmp_path):
        root = write_willow(tmp_path, columns=False)
        path = root / "PF-dataset/car(G)/pic_0.mat"
        for content, message in (
            ({"pts_coord": np.zeros((2, 9))}, r"expected 'pts_coord' of 2 x 10 in .*pic_0\.mat"),
            ({"points": np.zeros((2, 10))}, "expected a variable 'pts_coord'"),
            ({"pts_coord": np.full((2, 10), np.nan)}, "NaN"),
            (b"MATLAB 5.0 MAT-file, cut off", "expected a MATLAB file at"),
            (b"", "expected a MATLAB file at"),
            (None, r"no such file: .*pic_0\.mat; get PF-dataset\.zip"),
        ):
            if isinstance(content, dict):
                savemat(path, content)
            elif content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            with pytest.raises(BadInput, match=message) as caught:
                read_pf_willow(root)
            assert "\n" not in str(caught.value)
            left = read_pf_willow(root, skip_bad=True)
            assert (len(left.pairs), len(left.skipped)) == (8, 4)

    def test_scipy_is_needed_for_mat_files_only(self, mini, tmp_path, monkeypatch):
        real = builtins.__import__

        def without(name, *rest, **options):
            if name.startswith("scipy"):
                raise ImportError(name)
            return real(name, *rest, **options)

        names = write_willow(tmp_path / "names", columns=False)
        monkeypatch.setattr(builtins, "__import__", without)
        assert len(read_pf_willow(mini).pairs) == 12
        with pytest.raises(MissingExtra, match=r"counterpoint\[bench\]"):
            read_pf_willow(names)

    def test_bad_rows(self, mini):
        path = mini / "test_pairs_pf.csv"
        whole = path.read_text()
        change(path, "8.25", "eight")
        with pytest.raises(BadInput, match="expected numbers as coordinates in line 2"):
            read_pf_willow(mini)
        assert read_pf_willow(mini, skip_bad=True).skipped[0].id == "pic_0-pic_1:car(G)"
        path.write_text(whole.rsplit(",", 30)[0] + "\n")
        with pytest.raises(BadInput, match="in line 13"):
            read_pf_willow(mini)
        path.write_text(whole.replace("PF-dataset/car(G)/pic_0.png", "pic_0.png", 1))
        with pytest.raises(BadInput, match="expected a picture as PF-dataset/class/name.png"):
            read_pf_willow(mini)
        assert read_pf_willow(mini, skip_bad=True).skipped[0].id == "line 2"
        path.write_text("a,b\n1,2\n")
        with pytest.raises(BadInput, match="expected a column imageA"):
            read_pf_willow(mini)
        path.write_text("")
        with pytest.raises(BadInput, match="expected a header"):
            read_pf_willow(mini)

    def test_bad_pictures(self, mini):
        picture = mini / "PF-dataset/duck(S)/pic_1.png"
        picture.write_bytes(b"no picture")
        with pytest.raises(ImageError, match=r"expected a picture at .*pic_1\.png"):
            read_pf_willow(mini)
        picture.unlink()
        with pytest.raises(BadInput, match=r"no such file: .*pic_1\.png; get"):
            read_pf_willow(mini)
        left = read_pf_willow(mini, skip_bad=True)
        assert (len(left.pairs), len(left.skipped)) == (8, 4)

    def test_points_outside_and_unknown_classes(self, mini):
        change(mini / "test_pairs_pf.csv", "8.25", "66.25")
        with pytest.raises(PointError, match="64 x 48"):
            read_pf_willow(mini)
        with pytest.raises(UnknownName, match=r"'car\(M\)': did you mean 'car\(G\)'"):
            read_pf_willow(mini, categories=["car(M)"])

    def test_where_to_get_it(self, tmp_path):
        with pytest.raises(BadInput, match=r"no such file: .*test_pairs_pf\.csv; get PF-dataset"):
            read_pf_willow(tmp_path)


class TestPascal:
    @pytest.fixture
    def mini(self, tmp_path):
        return write_pascal(tmp_path / "PF-PASCAL")

    def test_reads_what_is_there(self, mini):
        pascal = read_pf_pascal(mini)
        assert pascal.name == "PF-PASCAL test, 2 of 299 pairs"
        assert pascal.categories == ("cat", "bird")
        first, second = pascal.pairs
        assert first.source_px.tolist() == [list(xy) for xy in POINTS[0]]
        assert second.target_px.tolist() == [list(xy) for xy in POINTS[0][:3]]
        assert (first.source_size_wh, first.source_box) == (SIZES_WH[0], None)
        assert [p.id for p in read_pf_pascal(mini, categories=["bird"]).pairs] == ["p_2-p_0:bird"]

    def test_boxes_where_the_annotations_are(self, tmp_path):
        root = write_pascal(tmp_path, boxes=True)
        pair = read_pf_pascal(root).pairs[0]
        assert (pair.source_box, pair.target_box) == ((5, 5, 55, 41), (5, 5, 45, 63))
        (root / "PF-dataset-PASCAL/Annotations/cat/p_1.mat").unlink()
        with pytest.raises(BadInput, match=r"no such file: .*cat/p_1\.mat"):
            read_pf_pascal(root)
        folder = root / "PF-dataset-PASCAL/Annotations/cat"
        savemat(folder / "p_1.mat", {"bbox": np.zeros((1, 3))})
        with pytest.raises(BadInput, match="expected 'bbox' of 4 numbers"):
            read_pf_pascal(root)

    def test_bad_rows(self, mini):
        path = mini / "PF-dataset-PASCAL/test_pairs_pf_pascal.csv"
        whole = path.read_text()
        for old, new, message in (
            (",8,", ",21,", "expected a class from 1 to 20 in line 2"),
            (",8,", ",x,", "expected a class from 1 to 20 in line 2"),
            ("8.0000;30.0000", "30.0000", "expected as many XA as YA in line 2"),
            ("8.0000;", "nan;", "points A of line 2"),
            ("8.0000;", ";", "expected numbers as coordinates in line 2"),
        ):
            path.write_text(whole)
            change(path, old, new)
            with pytest.raises(BadInput, match=message):
                read_pf_pascal(mini)
            left = read_pf_pascal(mini, skip_bad=True)
            assert (len(left.pairs), len(left.skipped)) == (1, 1)

    def test_split_and_list(self, mini):
        with pytest.raises(UnknownName, match="split of PF-PASCAL 'train'"):
            read_pf_pascal(mini, "train")
        with pytest.raises(BadInput, match=r"no such file: .*val_pairs_pf_pascal\.csv"):
            read_pf_pascal(mini, "val")
