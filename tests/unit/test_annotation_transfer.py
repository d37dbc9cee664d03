"""Annotation transfer: votes, sides, calibration, masks, on feature maps made up."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from counterpoint.annotations import Annotations, Category, ImageEntry, Instance, Outline
from counterpoint.annotations.runs import box_of_mask
from counterpoint.errors import BadInput, StorageError
from counterpoint.features import FeatureMap
from counterpoint.geometry import PixelTransform
from counterpoint.images import Picture
from counterpoint.matching import Evidence, PreparedMap, unmirrored
from counterpoint.tasks.annotation.annotator import Annotator, Transfer
from counterpoint.tasks.annotation.calibration import leave_one_out
from counterpoint.tasks.annotation.journal import Journal, from_entry, to_entry
from counterpoint.tasks.annotation.masks import (
    CarriedMask,
    best_threshold,
    carry_mask,
    clean,
    overlap,
)
from counterpoint.tasks.annotation.results import (
    ByName,
    Result,
    collect,
    judge_results,
    review_rows,
    things_of,
)
from counterpoint.tasks.annotation.score import Judged, box_overlap, judge, score
from counterpoint.tasks.annotation.transfer import (
    Ballot,
    Reference,
    View,
    elect,
    geometric_median,
    left_and_right,
    likeness_weights,
    poll,
    transfer,
)
from counterpoint.tasks.annotation.views import (
    cut_out,
    longer_side_px,
    mask_on_cut,
    mask_on_whole,
)

SIDE, CELLS = 80, 20
VOTES = ["median", "medoid", "pooled", "placed"]


def texture(seed=0):
    """Features that tell every cell from every other."""
    made = torch.randn(16, CELLS, CELLS, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(made[None], 3, 1, 1)[0] * 3


def view(values, *, mirror=False, length=40.0):
    plain = FeatureMap(values, (SIDE, SIDE))
    turned = PreparedMap(unmirrored(replace(plain, values=values.flip(2)))) if mirror else None
    return View(PreparedMap(plain), turned, length)


def shifted(values, dx, dy):
    return values.roll((dy, dx), dims=(1, 2))


def cell_px(x, y):
    """The centre of a cell."""
    return 4 * x + 1.5, 4 * y + 1.5


def reference(values, cells, visible=None, mask=None):
    points = np.array([cell_px(*cell) for cell in cells], dtype=float).reshape(-1, 2)
    seen = np.ones(len(cells), bool) if visible is None else np.array(visible)
    return Reference(view(values), points, seen, mask)


@pytest.mark.parametrize("vote", VOTES)
def test_points_are_found(vote):
    base, noise = texture(), [0.3 * texture(i) for i in (1, 2, 3)]
    cells = [(5, 6), (12, 9)]
    references = [reference(base + some, cells) for some in noise]
    found = transfer(references, view(shifted(base, 2, 1)), vote)
    truth = [cell_px(7, 7), cell_px(14, 10)]
    assert np.abs(found.points_px - truth).max() <= 4
    assert found.agreeing.tolist() == found.voters.tolist() == [3, 3]
    assert (found.raw > 0.3).all()


def test_absent_points_have_no_voters():
    both = [reference(texture(), [(5, 6), (9, 9)], [True, False]) for _ in range(2)]
    found = transfer(both, view(texture()))
    assert found.voters.tolist() == [2, 0]
    assert found.raw[1] == 0


def ballot(places, confidence=None, weight=None):
    """Of one point: where each reference puts it; similarity maps that point there."""
    places = np.array(places, float)[:, None]
    count = len(places)
    cells = np.stack(np.meshgrid(np.arange(20), np.arange(20)), -1).reshape(-1, 2) * 5.0 + 2
    near = np.linalg.norm(cells - places, axis=2)[:, None]
    return Ballot(
        places_px=places,
        confidence=np.full((count, 1), 0.5) if confidence is None else confidence,
        cycle=np.zeros((count, 1)),
        similarity=np.exp(-near / 10),
        own_px=np.full((count, 1, 2), 50.0),
        likeness=np.zeros(count),
        weight=np.ones((count, 1)) if weight is None else weight,
        flipped=np.zeros(count, bool),
        cells_px=cells,
        stride_px=5.0,
        side_px=100,
    )


def test_a_minority_changes_nothing():
    at = [(20, 20), (21, 20), (20, 22), (90, 90)]
    found = elect(ballot(at), "medoid")
    assert np.linalg.norm(found.points_px - (20, 20)) < 2
    assert found.agreeing.tolist() == [3]
    # The mean would lie here, the median does not either.
    assert np.linalg.norm(elect(ballot(at), "median").points_px - (37.75, 38)) > 15
    sure = elect(ballot(at[:3]), "medoid")
    assert sure.raw[0] > found.raw[0]
    assert sure.evidence.values[0, 3] < found.evidence.values[0, 3]  # they disagree less
    assert sure.evidence.values[0, 1] > found.evidence.values[0, 1]  # and lead by more


def test_weights_decide():
    weight = np.array([[0.1], [0.1], [5.0]])
    found = elect(ballot([(20, 20), (21, 20), (80, 80)], weight=weight), "medoid")
    assert found.points_px.tolist() == [[80, 80]]
    assert likeness_weights(np.array([0.5, 0.5])).tolist() == [1, 1]
    rising = likeness_weights(np.array([0.1, 0.2, 0.3]))
    assert rising[2] == 1
    assert (np.diff(rising) > 0).all()


def test_references_like_the_target_weigh_more():
    both = [reference(texture(seed), [(5, 6)]) for seed in (1, 0)]
    weight = poll(both, view(texture())).weight[:, 0]
    assert weight[1] == 1
    assert weight[0] < 0.2


def test_places_decide_between_equals():
    two = ballot([(20, 20), (60, 52)])
    assert np.linalg.norm(elect(two, "placed").points_px - (60, 52)) < 8


def test_geometric_median_of_a_line():
    line = np.array([[0.0, 0], [1, 0], [10, 0]])
    assert np.allclose(geometric_median(line, np.ones(3)), (1, 0), atol=0.01)


def test_left_and_right():
    def swapped(*names):
        return left_and_right(names).tolist()

    assert swapped("left_eye", "right_eye") == [1, 0]
    assert swapped("leftEye", "rightEye", "nose") == [1, 0, 2]
    assert swapped("eye_l", "eye_r", "lip") == [1, 0, 2]
    assert swapped("L_F_Paw", "R_F_Paw", "L_B_Paw", "R_B_Paw") == [1, 0, 3, 2]
    assert swapped("left_eye", "tail") == [0, 1]  # without a partner
    assert swapped("cleft", "cright") == [0, 1]  # no word of its own


def test_mirrored_targets_swap_sides():
    base = texture()
    one = reference(base, [(4, 8), (15, 6)])
    sides = left_and_right(["left_eye", "right_eye"])
    turned = base.flip(2)
    blind = transfer([one], view(turned), "medoid", sides=sides)
    seeing = transfer([one], view(turned, mirror=True), "medoid", sides=sides)
    # Mirrored, the cell 4 lies at 15 and is the other eye.
    truth = np.array([cell_px(4, 6), cell_px(15, 8)])
    assert np.abs(seeing.points_px - truth).max() <= 2
    assert np.abs(blind.points_px - truth).max() > 10
    # A target that is not mirrored is left alone.
    same = transfer([one], view(base, mirror=True), "medoid", sides=sides)
    assert np.abs(same.points_px - one.points_px).max() <= 2


def test_bad_requests():
    with pytest.raises(BadInput, match="at least one annotated reference"):
        transfer([], view(texture()))
    with pytest.raises(BadInput, match="least confidence from 0 to 1"):
        Transfer(min_confidence=2)
    with pytest.raises(BadInput, match="box scale"):
        Transfer(box_scale=0.5)


def test_calibrated_on_the_references_themselves():
    base = texture()
    rng = np.random.default_rng(0)
    references = []
    for seed in range(8):  # the first point is easy, the second has another look everywhere
        values = base + 0.2 * texture(10 + seed)
        x, y = rng.integers(3, 17, 2).tolist()
        values[:, y, x] = torch.randn(16, generator=torch.Generator().manual_seed(seed))
        cells = [(3, 3), (9, 4), (x, y), (y, x)]
        references.append(reference(values, cells))
    test = leave_one_out(references, "medoid", alpha=0.1)
    assert test.calibration is not None
    assert len(test.correct) == 32
    assert test.correct.reshape(8, 4)[:, :2].all()
    assert test.pck == test.correct.mean()
    found = transfer(references, view(base), "medoid")
    easy, *_, hard = test.confidence(found)
    assert easy > 0.8
    assert hard < 0.5
    # Known nowhere: no confidence.
    assert test.confidence(replace(found, voters=np.zeros(4, int))).tolist() == [0] * 4


def test_what_cannot_be_calibrated_says_so():
    one = reference(texture(), [(5, 5)])
    alone = leave_one_out([one], "placed")
    assert alone.calibration is None
    assert "one reference cannot be held out" in alone.reason
    assert np.isnan(alone.pck)
    few = leave_one_out([one, one], "placed")
    assert few.calibration is None
    assert "at least 10 right and 10 wrong" in few.reason
    assert few.pck == 1
    found = transfer([one], view(texture()))
    assert (alone.confidence(found) == found.raw).all()


def test_distances_are_shares_of_the_thing():
    one = reference(texture(), [(5, 5)])
    other = replace(one, points_px=one.points_px + np.array([6.0, 0.0]))
    assert not leave_one_out([one, other], "placed").correct.any()
    long = [replace(each, view=view(texture(), length=80.0)) for each in (one, other)]
    assert leave_one_out(long, "placed").correct.all()


def test_points_that_are_absent_count_as_wrong():
    base = texture()
    here, gone = [reference(base, [(5, 5)], [seen]) for seen in (True, False)]
    test = leave_one_out([here, gone, here], "placed")
    assert test.correct.tolist() == [True, False, True]
    assert test.annotated.tolist() == [True, False, True]
    assert test.pck == 1


# --- masks


def blob(cx, cy, r=14):
    y, x = np.mgrid[:SIDE, :SIDE]
    return (x - cx) ** 2 + (y - cy) ** 2 <= r * r


def two_tone(mask, seed):
    """Features of one kind inside, of another outside."""
    inside = torch.from_numpy(mask[2::4, 2::4])
    values = 0.4 * torch.randn(8, CELLS, CELLS, generator=torch.Generator().manual_seed(seed))
    values[0] += torch.where(inside, 1.5, -1.5)
    return values


@pytest.mark.parametrize("placed", [True, False])
def test_masks_are_carried(placed):
    masks = [blob(30, 40), blob(45, 35), blob(40, 45)]
    references = [
        Reference(view(two_tone(m, i)), np.zeros((0, 2)), np.zeros(0, bool), m)
        for i, m in enumerate(masks)
    ]
    truth = blob(48, 44)
    threshold, expected = best_threshold(references, placed=placed)
    assert expected > 0.6
    found = carry_mask(references, view(two_tone(truth, 9)), placed=placed, threshold=threshold)
    assert overlap(found.mask, truth) > 0.7
    assert 0.5 < found.confidence <= 1
    with pytest.raises(BadInput, match="a reference with a mask"):
        carry_mask([reference(texture(), [(1, 1)])], view(texture()))
    assert best_threshold(references[:1])[0] == 0


def test_a_mirrored_mask_is_carried():
    mask = blob(25, 40)
    values = torch.cat([two_tone(mask, 0), texture()])
    one = Reference(view(values), np.zeros((0, 2)), np.zeros(0, bool), mask)
    found = carry_mask([one], view(values.flip(2), mirror=True))
    assert overlap(found.mask, mask[:, ::-1]) > 0.7


def test_masks_are_cleaned():
    mask = blob(40, 40)
    holed = mask & ~blob(40, 40, 3)
    holed[2:4, 2:4] = True
    assert overlap(clean(holed), mask) > 0.97
    assert not clean(holed)[:10, :10].any()
    assert not clean(mask & False).any()
    assert overlap(mask & False, mask & False) == 1


# --- whole pictures


class Fake:
    """Features that are the picture's own colours, 8 x 8 cells... of any picture."""

    def __init__(self):
        self.seen = []

    def extract(self, pictures, options):
        self.seen += pictures
        return [self._one(picture) for picture in pictures]

    def _one(self, picture):
        import cv2

        small = cv2.resize(picture.rgb, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        values = torch.from_numpy(small.astype(np.float32)).permute(2, 0, 1) / 255 - 0.5
        ones = torch.full((1, CELLS, CELLS), 0.1)
        return FeatureMap(torch.cat([values, ones]), picture.size_wh)


def painted(at, size_wh=(120, 90)):
    """Grey, with a red, a green and a blue dot from the place on."""
    rgb = np.full((size_wh[1], size_wh[0], 3), 128, np.uint8)
    for number in range(3):
        x, y = at[0] + 20 * number, at[1]
        rgb[y - 5 : y + 6, x - 5 : x + 6] = 0
        rgb[y - 5 : y + 6, x - 5 : x + 6, number] = 255
    return Picture(rgb)


KIND = Category(id=4, name="dots", keypoints=("red", "green", "blue"))


def annotated(at, key, **more):
    points = np.array([[at[0] + 20.0 * i, at[1]] for i in range(3)])
    box = (at[0] - 8.0, at[1] - 8.0, 56.0, 16.0)
    given = {"id": key, "image_id": key, "category_id": 4, "box": box}
    return Instance(**(given | {"keypoints_px": points, "visibility": np.full(3, 2)} | more))


def dots(*places):
    images = [ImageEntry(id=i, file_name=f"{i}.png", size_wh=(120, 90)) for i in range(len(places))]
    made = [annotated(at, i) for i, at in enumerate(places)]
    return Annotations(categories=(KIND,), images=tuple(images), instances=tuple(made))


def options():
    from counterpoint.options import Options

    return Options()


def annotator(given, places, how=None, **more):
    return Annotator(given, lambda image: painted(places[image.id]), Fake(), options(), how, **more)


def test_crops_are_where_they_say():
    picture = painted((30, 40), (800, 700))
    cut = cut_out(picture, (20.0, 30.0, 60.0, 20.0), 1.2)
    assert cut.picture.size_wh == (72, 72)
    [at] = np.round(cut.to_cut.apply([(30, 40)])).astype(int)
    assert cut.picture.rgb[at[1], at[0]].tolist() == [255, 0, 0]
    assert np.allclose(cut.onto_whole(cut.to_cut.apply([(3, 4)])), [(3, 4)])
    whole = cut_out(picture, None)
    assert max(whole.picture.size_wh) == 512
    assert np.allclose(
        whole.to_cut.apply([(30, 40)]),
        PixelTransform.resize((800, 700), (512, 448)).apply([(30, 40)]),
    )
    over = cut_out(picture, (-10.0, -10.0, 30.0, 30.0))
    assert over.onto_whole(np.array([(0.0, 0.0)])).tolist() == [[0, 0]]
    exact = cut_out(picture, (21.0, 31.0, 7.0, 5.0), 1)
    assert (exact.picture.size_wh, exact.to_cut) == ((7, 7), PixelTransform.crop(21, 30))
    large = cut_out(picture, (100.0, 50.0, 600.0, 600.0), 1.25)
    shrunk = PixelTransform.crop(25, -25).then(PixelTransform.resize((750, 750), (512, 512)))
    assert np.allclose(large.to_cut.apply([(30, 40)]), shrunk.apply([(30, 40)]))
    assert longer_side_px(large, (0.0, 0.0, 300.0, 600.0)) == pytest.approx(409.6)
    with pytest.raises(BadInput, match="a box on the picture"):
        cut_out(picture, (900.0, 0.0, 5.0, 5.0))


def test_masks_go_into_a_crop_and_back():
    cut = cut_out(painted((30, 40), (800, 700)), (100.0, 200.0, 101.0, 101.0), 1)
    mask = np.zeros((700, 800), bool)
    mask[220:280, 121:190] = True
    there = mask_on_cut(cut, Outline("rle", mask=mask))
    assert (there == mask[200:301, 100:201]).all()
    back = mask_on_whole(CarriedMask(np.where(there, 1.0, -1.0), 1.0), cut)
    assert box_of_mask(back) == (121, 220, 69, 60)


@pytest.mark.parametrize("crop", [True, False])
def test_pictures_are_annotated(crop):
    places = [(20, 30), (40, 50)]
    how = Transfer(crop=crop)
    made = annotator(dots(*places), places, how)
    target = painted((55, 60))
    things = [(4, (47.0, 52.0, 56.0, 16.0))] if crop else None
    [found] = made.annotate(target, things)
    truth = [(55, 60), (75, 60), (95, 60)]
    assert np.abs(found.instance.keypoints_px - truth).max() < 5
    assert found.category == KIND
    assert not found.calibrated
    if crop:
        assert found.instance.box == (47, 52, 56, 16)
    else:
        assert found.instance.box[2] > 30


def test_features_of_references_are_made_once():
    places = [(20, 30), (40, 50)]
    made = annotator(dots(*places), places, Transfer(flip=True))
    assert len(made._extractor.seen) == 4
    made.annotate(painted((55, 60)))
    made.annotate(painted((50, 60)))
    assert len(made._extractor.seen) == 8


def test_uncertain_points_are_hidden():
    places = [(20, 30), (40, 50)]
    made = annotator(dots(*places), places, Transfer(min_confidence=1))
    [found] = made.annotate(painted((50, 60)))
    assert found.instance.visibility.tolist() == [0, 0, 0]
    assert found.instance.keypoints_px.tolist() == [[0, 0]] * 3
    assert (found.confidence < 1).all()
    assert found.points_px.any()
    assert found.lowest == found.confidence.min()


@pytest.mark.parametrize("style", ["polygon", "rle", "counts"])
def test_outlines_come_as_they_were_given(style):
    place = (30, 40)
    mask = np.zeros((90, 120), bool)
    mask[35:46, 25:76] = True
    square = np.array([(24.5, 34.5), (75.5, 34.5), (75.5, 45.5), (24.5, 45.5)])
    outline = Outline("polygon", (square,)) if style == "polygon" else Outline(style, mask=mask)
    given = dots(place)
    given = replace(given, instances=(annotated(place, 0, outline=outline),))
    [found] = annotator(given, [place]).annotate(painted((40, 50)))
    assert found.instance.outline.style == style
    assert 0 < found.mask_confidence <= 1


def test_bad_references():
    places = [(20, 30), (40, 50)]
    given = dots(*places)
    wrong = replace(given, images=(replace(given.images[0], size_wh=(90, 120)), given.images[1]))
    with pytest.raises(BadInput, match=r"0.png to be 90 x 120.*got 120 x 90 \(turned by its EXIF"):
        annotator(wrong, places)
    told = []
    left = annotator(wrong, places, on_problem=told.append)
    assert len(left.kinds[4].references) == 1
    assert "0.png" in told[0]
    for nothing in (
        replace(given, instances=()),
        replace(given, instances=(annotated(places[0], 0, crowd=True),)),
        replace(given, instances=(annotated(places[0], 0, visibility=np.zeros(3, int)),)),
    ):
        with pytest.raises(BadInput, match="found none"):
            annotator(nothing, places)
    with pytest.raises(BadInput, match="got category 9"):
        left.annotate(painted((50, 60)), [(9, (1.0, 1.0, 5.0, 5.0))])


# --- results


def results():
    places = [(20, 30), (40, 50)]
    made = annotator(dots(*places), places)
    own = dots(*places).images[1]
    out = []
    for name, at, image in (("1.png", (50, 60), own), ("new/0.png", (55, 40), None)):
        out.append(Result(name, (120, 90), tuple(made.annotate(painted(at))), image))
    return out


def test_results_become_annotations():
    given = dots((20, 30), (40, 50))
    given = replace(given, instances=given.instances[:1], extra={"info": {"by": "us"}})
    found = collect(given, results())
    assert [image.id for image in found.images] == [1, 2]
    assert [image.file_name for image in found.images] == ["1.png", "new/0.png"]
    assert [(one.id, one.image_id) for one in found.instances] == [(1, 1), (2, 2)]
    assert found.extra == given.extra
    merged = collect(given, results(), merge=True)
    assert [image.id for image in merged.images] == [0, 1, 2]
    assert [one.image_id for one in merged.instances] == [0, 1, 2]
    assert len({one.id for one in merged.instances}) == 3


def test_the_worst_come_first():
    rows = review_rows(results())
    assert [row["rank"] for row in rows] == [1, 2]
    assert rows[0]["confidence"] <= rows[1]["confidence"]
    assert rows[0]["lowest"] in KIND.keypoints


def test_names_find_pictures():
    names = ["a/1.png", "b/1.png", "https://host/x/3.png?y=1"]
    images = tuple(ImageEntry(id=i, file_name=name) for i, name in enumerate(names))
    found = ByName(Annotations(images=images))
    assert found.find("b/1.png").id == 1
    assert found.find("root/a/1.png").id == 0
    assert found.find("3.png").id == 2
    assert found.find("1.png") is None
    assert found.find("4.png") is None


def test_boxes_go_by_the_names_of_kinds():
    given = dots((20, 30))
    other = replace(KIND, id=77)
    box = annotated((9, 9), 0, category_id=77)
    boxes = replace(given, categories=(other,), instances=(box, replace(box, crowd=True)))
    assert things_of(boxes, given, given.images[0]) == [(4, (1, 1, 56, 16))]
    named = replace(boxes, categories=(replace(other, name="thing"),))
    assert things_of(named, given, given.images[0])[0][0] == 4  # one kind on both sides
    two = replace(given, categories=(KIND, replace(KIND, id=5, name="b")))
    with pytest.raises(BadInput, match="expected boxes of dots, b, got one of 'thing'"):
        things_of(named, two, given.images[0])


def test_the_score_by_hand():
    judged = Judged(
        np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
        np.array([True, True, False, True, False]),
        np.array([True, True, True, True, False]),
    )
    found = score(judged, 0.1)
    assert (found.points, found.absent, found.pck, found.pck_confident_half) == (4, 1, 0.75, 1.0)
    assert np.allclose(found.risk, [0, 0, 1 / 3, 1 / 4, 2 / 5])
    assert found.saved(0.1) == 0.4
    assert found.saved(0.25) == 0.8
    # Five points in ten bins: each its own.
    assert np.isclose(found.calibration_error, np.mean([0.1, 0.2, 0.7, 0.4, 0.5]))
    with pytest.raises(BadInput, match="annotated key points in the truth"):
        score(Judged.joined([]), 0.1)
    assert box_overlap((0.0, 0.0, 2.0, 2.0), (1.0, 0.0, 2.0, 2.0)) == pytest.approx(1 / 3)


def test_points_are_judged_by_hand():
    truth = annotated((0, 0), 1, keypoints_px=np.zeros((3, 2)), visibility=np.array([2, 1, 0]))
    confidence, asked = np.array([0.1, 0.2, 0.3]), np.array([True, True, True])
    points = np.array([(10.0, 0), (8, 8), (0, 0)])
    found = judge(points, confidence, asked, truth, 100.0, 0.1)
    assert found.correct.tolist() == [True, False, False]
    assert found.annotated.tolist() == [True, True, False]
    some = judge(points, confidence, ~truth.visibility.astype(bool), truth, 100.0, 0.1)
    assert some.confidence.tolist() == [0.3]


def test_results_against_the_truth():
    one = annotated((50, 60), 1)
    crowd = replace(one, crowd=True, keypoints_px=np.zeros((3, 2)))
    truth = replace(dots((20, 30), (50, 60)), instances=(crowd, one))
    judged = judge_results(results(), truth, 0.1)
    assert judged.annotated.tolist() == judged.correct.tolist() == [True] * 3
    other = replace(truth, categories=(replace(KIND, keypoints=("a", "b", "c")),))
    with pytest.raises(BadInput, match="expected key points red, green, blue"):
        judge_results(results(), other, 0.1)


# --- the journal


def test_the_journal_keeps_everything(tmp_path):
    [found] = results()[0].found
    mask = np.zeros((90, 120), bool)
    mask[3:9, 4:30] = True
    for outline in (None, Outline("rle", mask=mask), Outline("polygon", (np.eye(3)[:, :2],))):
        given = replace(found, instance=replace(found.instance, outline=outline))
        again = from_entry(to_entry(given), KIND)
        assert np.allclose(again.points_px, found.points_px, atol=1e-3)
        assert np.allclose(again.confidence, found.confidence, atol=1e-6)
        assert again.instance.box == pytest.approx(found.instance.box)
        if outline is not None and outline.mask is not None:
            assert (again.instance.outline.mask == mask).all()
    with pytest.raises(BadInput, match="a thing found by annotate"):
        from_entry({}, KIND)


def test_a_stopped_run_goes_on(tmp_path):
    path = tmp_path / "out" / "journal.jsonl"
    about = {"references": "abc", "sizes": (1, 2)}
    journal = Journal(path, about)
    for name in "ab":
        journal.add({"target": name, "picture_sha256": name, "found": []})
    with path.open("a") as file:
        file.write('{"target": "c", "pict')  # the machine went off here
    again = Journal(path, about)
    assert again.find("a", "a")
    assert again.find("a", "other") is None
    assert again.find("c", "c") is None
    again.add({"target": "c", "picture_sha256": "c", "found": []})
    assert Journal(path, about).find("c", "c")
    with pytest.raises(StorageError, match="another references; choose another --out"):
        Journal(path, {**about, "references": "x"})
    assert Journal(path, {**about, "references": "x"}, overwrite=True).find("a", "a") is None
    path.write_text("something else\n")
    with pytest.raises(StorageError, match="got another file"):
        Journal(path, about)


def test_evidence_is_whole():
    found = transfer([reference(texture(), [(5, 5)])], view(texture()))
    assert isinstance(found.evidence, Evidence)
    assert found.evidence.known == ("similarity", "margin", "cycle", "disagreement")
    assert found.evidence.values[0, 0] == pytest.approx(1, abs=0.02)
