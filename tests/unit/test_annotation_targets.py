"""Which pictures are targets, and what they are called, links included."""

import numpy as np
import pytest
from PIL import Image

from counterpoint.annotations import Annotations, ImageEntry, Instance
from counterpoint.errors import BadInput, ImageError
from counterpoint.tasks.annotation.targets import find_targets, picture_loader


@pytest.fixture
def photos(tmp_path):
    """Pictures in a store, and a folder of links to them; 0 is annotated."""
    (tmp_path / "store").mkdir()
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for i, place in enumerate(("a.png", "b.png", "sub/c.png")):
        stored = tmp_path / "store" / f"{i}{i}{i}.png"
        Image.fromarray(np.full((4, 5, 3), 40 * i, np.uint8)).save(stored)
        (tmp_path / "photos" / place).symlink_to(stored)
    return tmp_path / "photos"


GIVEN = Annotations(
    images=(ImageEntry(id=1, file_name="a.png"), ImageEntry(id=2, file_name="b.png")),
    instances=(Instance(id=1, image_id=1, category_id=1),),
)


def test_a_link_is_called_as_it_is(photos):
    found = find_targets(GIVEN, [photos], photos)
    assert list(found) == ["b.png", "sub/c.png"]
    assert [target.image for target in found.values()] == [GIVEN.images[1], None]
    assert found["b.png"].path == photos / "b.png"


def test_by_default_those_that_the_file_names(photos):
    assert list(find_targets(GIVEN, (), photos)) == ["b.png"]
    assert picture_loader(photos)(GIVEN.images[0]).size_wh == (5, 4)


def test_what_the_file_names_and_the_folder_lacks(photos):
    gone = ImageEntry(id=3, file_name="gone.png")
    given = Annotations(images=(*GIVEN.images, gone), instances=GIVEN.instances)
    with pytest.raises(
        ImageError, match=r"found all but 1, such as gone\.png; copy them there, or"
    ):
        find_targets(given, (), photos)
    told = []
    assert list(find_targets(given, (), photos, told.append)) == ["b.png"]
    assert told == [f"expected the picture gone.png below {photos}, found none"]
    assert list(find_targets(given, [photos / "b.png"], photos)) == ["b.png"]


def test_a_reference_is_no_target_by_any_path(photos, tmp_path):
    with pytest.raises(BadInput, match="without annotations in the references' file, found none"):
        find_targets(GIVEN, [tmp_path / "store/000.png", photos / "a.png"], photos)


def test_a_folder_reached_by_a_link(photos, tmp_path):
    (tmp_path / "alias").symlink_to(photos, target_is_directory=True)
    for targets, images in ((photos, tmp_path / "alias"), (tmp_path / "alias", photos)):
        found = find_targets(GIVEN, [targets / "b.png", targets / "sub/c.png"], images)
        assert set(found) == {"b.png", "sub/c.png"}


def test_names_elsewhere_are_below_what_the_targets_share(photos, tmp_path):
    other = tmp_path / "other"
    for place in ("x/1.png", "y/1.png"):
        (other / place).parent.mkdir(parents=True)
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(other / place)
    assert list(find_targets(GIVEN, [other], photos)) == ["x/1.png", "y/1.png"]
