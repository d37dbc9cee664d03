"""Where feature files go, when they count as done, and the cache."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from counterpoint.errors import BadInput, StorageError
from counterpoint.features import FeatureMap
from counterpoint.provenance import Provenance
from counterpoint.store import MIRRORED, FeatureCache, FeatureFolder, comparable, part_of

MADE = Provenance(
    model="small",
    weights_sha256="ab",
    tap="up:1",
    timesteps=(261,),
    size_wh=(64, 64),
    picture_sha256="cd",
    version="1",
)
FMAP = FeatureMap(torch.arange(8.0).reshape(2, 2, 2), (16, 16), provenance=MADE)
OTHERS = {
    "model": "sd21",
    "weights_sha256": "ef",
    "tap": "up:2",
    "timesteps": (101,),
    "prompt": "a bird",
    "seed": 1,
    "ensemble": 8,
    "noise": "zero",
    "combine": "mean",
    "parts": (Provenance(model="small"), Provenance(model="sift")),
    "fit": "pad",
    "size_wh": None,
    "dtype": "float16",
}


class TestPlaces:
    def test_mirror_the_pictures(self, tmp_path):
        pictures = [tmp_path / "a" / "x.jpg", tmp_path / "b" / "c" / "x.jpg"]
        folder = FeatureFolder.for_pictures(tmp_path / "out", pictures)
        assert [folder.path_for(p).relative_to(tmp_path).as_posix() for p in pictures] == [
            "out/a/x.jpg.safetensors",
            "out/b/c/x.jpg.safetensors",
        ]

    def test_keep_the_whole_name_so_that_endings_do_not_collide(self, tmp_path):
        pictures = [tmp_path / name for name in ("a.jpg", "a.png", "a", "a.tar.png", ".hidden")]
        folder = FeatureFolder.for_pictures("out", pictures)
        places = [folder.path_for(p) for p in pictures]
        assert len(set(places)) == len(pictures)
        assert [p.name for p in places] == [f"{p.name}.safetensors" for p in pictures]

    def test_one_picture_lies_at_the_top(self, tmp_path):
        picture = tmp_path / "deep" / "x.jpg"
        folder = FeatureFolder.for_pictures(tmp_path / "out", [picture])
        assert folder.path_for(picture) == tmp_path / "out" / "x.jpg.safetensors"

    def test_do_not_depend_on_the_working_folder_or_on_dots(self, tmp_path, monkeypatch):
        picture = tmp_path / "a" / "x.jpg"
        folder = FeatureFolder.for_pictures("out", [picture, tmp_path / "y.jpg"])
        monkeypatch.chdir(tmp_path)
        for same in (Path("a/x.jpg"), Path("./a/../a/x.jpg"), picture):
            assert folder.path_for(same) == Path("out/a/x.jpg.safetensors")

    def test_links_are_not_followed(self, tmp_path):
        """Pictures linked together from everywhere stay beside each other."""
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "x.jpg").touch()
        (tmp_path / "links").mkdir()
        pictures = [tmp_path / "links" / "1.jpg", tmp_path / "links" / "2.jpg"]
        for link, name in zip(pictures, ("one", "two"), strict=True):
            link.symlink_to(tmp_path / name / "x.jpg")
        folder = FeatureFolder.for_pictures("out", pictures)
        assert [folder.path_for(p).as_posix() for p in pictures] == [
            "out/1.jpg.safetensors",
            "out/2.jpg.safetensors",
        ]

    def test_of_no_pictures(self):
        assert FeatureFolder.for_pictures("out", []).folder == Path("out")

    def test_names_beyond_ascii(self, tmp_path):
        picture = tmp_path / "grün ☺" / "ä b.jpg"
        folder = FeatureFolder.for_pictures(tmp_path / "out", [picture, tmp_path / "z.png"])
        FMAP.save(folder.path_for(picture))
        assert folder.holds(picture, MADE)


class TestHolds:
    @pytest.fixture
    def picture(self, tmp_path):
        return tmp_path / "x.jpg"

    @pytest.fixture
    def folder(self, tmp_path, picture):
        folder = FeatureFolder.for_pictures(tmp_path / "out", [picture])
        FMAP.save(folder.path_for(picture))
        return folder

    def test_what_was_made_in_the_same_way(self, folder, picture):
        assert folder.holds(picture, MADE) is True

    def test_not_what_is_missing(self, folder, tmp_path):
        assert folder.holds(tmp_path / "y.jpg", MADE) is False

    def test_not_of_a_picture_that_has_changed(self, folder, picture):
        with pytest.raises(StorageError, match="is of another picture than .*--overwrite"):
            folder.holds(picture, replace(MADE, picture_sha256="99"))

    def test_whatever_the_librarys_version(self, folder, picture):
        assert folder.holds(picture, replace(MADE, version="2")) is True

    @pytest.mark.parametrize("name", OTHERS)
    def test_refuses_to_mix_options(self, folder, picture, name):
        with pytest.raises(StorageError) as error:
            folder.holds(picture, replace(MADE, **{name: OTHERS[name]}))
        text = str(error.value)
        assert f"was made with {name} = {getattr(MADE, name)!r}, asked was" in text
        assert "choose another --out, or --overwrite" in text
        assert "\n" not in text

    def test_every_option_is_compared(self):
        assert set(comparable(MADE)) == {*OTHERS, "picture_sha256"}

    @pytest.mark.parametrize("keep", [0, 1, 8, 100, -1])
    def test_not_what_is_damaged(self, folder, picture, keep):
        path = folder.path_for(picture)
        path.write_bytes(path.read_bytes()[:keep])
        assert folder.holds(picture, MADE) is False

    def test_not_a_folder_of_that_name(self, folder, picture):
        path = folder.path_for(picture)
        path.unlink()
        path.mkdir()
        assert folder.holds(picture, MADE) is False


class TestCache:
    @pytest.fixture
    def cache(self, tmp_path):
        return FeatureCache(tmp_path / "cache")

    def test_gives_back_what_was_put(self, cache):
        assert cache.get(MADE) is None
        path = cache.put(FMAP)
        assert path.is_file()
        back = cache.get(MADE)
        assert torch.equal(back.values, FMAP.values)
        assert back.provenance == MADE

    @pytest.mark.parametrize("name", [*OTHERS, "picture_sha256"])
    def test_tells_everything_apart(self, cache, name):
        cache.put(FMAP)
        assert cache.get(replace(MADE, **{name: OTHERS.get(name, "99")})) is None

    def test_a_new_version_of_the_library_finds_old_maps(self, cache):
        cache.put(FMAP)
        assert cache.get(replace(MADE, version="9")) is not None

    def test_a_damaged_file_counts_as_absent_and_makes_way(self, cache):
        path = cache.put(FMAP)
        path.write_bytes(path.read_bytes()[:-3])
        assert cache.get(MADE) is None
        assert not path.exists()
        cache.put(FMAP)
        assert cache.get(MADE) is not None

    def test_may_be_deleted_at_any_time(self, cache):
        path = cache.put(FMAP)
        path.unlink()
        path.parent.rmdir()
        assert cache.get(MADE) is None

    def test_putting_twice_is_one_file(self, cache):
        assert cache.put(FMAP) == cache.put(FMAP)
        assert len([p for p in cache.folder.rglob("*") if p.is_file()]) == 1

    def test_two_caches_on_one_folder_share(self, cache):
        cache.put(FMAP)
        assert FeatureCache(str(cache.folder)).get(MADE) is not None

    def test_refuses_a_map_that_does_not_say_what_picture_it_is_of(self, cache):
        """All such maps would share one place, and answer for each other."""
        with pytest.raises(BadInput, match="expected a map whose provenance names its picture"):
            cache.put(FeatureMap(torch.zeros(1, 1, 1), (2, 2)))


class TestFinding:
    """Files are found by what they are of, from whatever folder they were laid out."""

    @staticmethod
    def of(sha256):
        return lambda header: header.provenance.picture_sha256 == sha256

    @staticmethod
    def stored(path, sha256):
        replace(FMAP, provenance=replace(MADE, picture_sha256=sha256)).save(path)
        return path

    def test_by_ever_more_of_the_path(self, tmp_path):
        picture = tmp_path / "photos" / "a" / "x.jpg"
        folder = FeatureFolder.for_pictures(tmp_path / "out", [picture])
        deep = self.stored(tmp_path / "out/photos/a/x.jpg.safetensors", "mine")
        assert folder.find(picture, self.of("mine")) == deep
        other = self.stored(tmp_path / "out/x.jpg.safetensors", "theirs")
        assert folder.find(picture, self.of("mine")) == deep
        assert folder.find(picture, self.of("theirs")) == other
        elsewhere = tmp_path / "elsewhere" / "x.jpg"
        assert folder.find(elsewhere, self.of("theirs")) == other
        with pytest.raises(BadInput, match="x.jpg.safetensors is of another picture than"):
            folder.find(picture, self.of("nobody's"))
        with pytest.raises(BadInput, match=r"no such feature file: .*out/y.jpg.safetensors"):
            folder.find(tmp_path / "y.jpg", self.of("mine"))

    def test_parts_and_mirror_images_lie_beside_the_whole(self, tmp_path):
        picture = tmp_path / "x.jpg"
        folder = FeatureFolder.for_pictures(tmp_path / "out", [picture])
        part = part_of("ab" * 32)
        names = [folder.path_for(picture, p).name for p in ("", MIRRORED, part)]
        assert names == [
            "x.jpg.safetensors",
            "x.jpg.mirrored.safetensors",
            "x.jpg.part-abababababababab.safetensors",
        ]
        path = self.stored(folder.path_for(picture, MIRRORED), "turned")
        assert folder.find(picture, self.of("turned"), ("", MIRRORED)) == path
        assert folder.holds(picture, replace(MADE, picture_sha256="turned"), MIRRORED)
        assert not folder.holds(picture, replace(MADE, picture_sha256="turned"))

    def test_frames_lie_below_their_video(self, tmp_path):
        film = tmp_path / "my#1.mp4"
        film.touch()
        folder = FeatureFolder.for_pictures(tmp_path / "out", [film])
        path = folder.path_for(f"{film}#12")
        assert path == tmp_path / "out/my#1.mp4/00012.safetensors"
        self.stored(path, "frame")
        assert folder.find(f"{film}#12", self.of("frame")) == path
        odd = tmp_path / "photo#3"  # no frame: a picture of that name
        odd.touch()
        assert folder.path_for(odd).name == "photo#3.safetensors"

    def test_a_damaged_file_is_told_of(self, tmp_path):
        picture = tmp_path / "x.jpg"
        folder = FeatureFolder.for_pictures(tmp_path / "out", [picture])
        path = self.stored(folder.path_for(picture), "mine")
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(BadInput, match="damaged, cut off or foreign"):
            folder.find(picture, self.of("mine"))
