"""From annotated pictures to annotations of others: `Annotator`, picture by picture.

Things are cut out as squares around their boxes, references and targets alike, where the targets'
boxes are known; otherwise whole pictures are compared. The references' features are made once. The
targets go one at a time; of each is kept what was found in it, masks as run lengths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from counterpoint.annotations import Annotations, Category, ImageEntry, Instance, Outline
from counterpoint.annotations.model import Box, OutlineStyle
from counterpoint.annotations.runs import box_of_mask, box_of_points, mask_to_polygons
from counterpoint.errors import BadInput, CounterpointError
from counterpoint.features import Extractor
from counterpoint.geometry import Points
from counterpoint.images import ImageLike, Picture
from counterpoint.matching import PreparedMap, mirrored, unmirrored
from counterpoint.options import Options
from counterpoint.tasks.annotation.calibration import ALPHA, SelfTest, leave_one_out
from counterpoint.tasks.annotation.masks import best_threshold, carry_mask
from counterpoint.tasks.annotation.outlines import kept
from counterpoint.tasks.annotation.transfer import Reference, View, Vote, left_and_right, transfer
from counterpoint.tasks.annotation.views import (
    BOX_SCALE,
    Cut,
    cut_out,
    extent,
    longer_side_px,
    mask_on_cut,
    mask_on_whole,
    require_size,
)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How annotations are transferred.

    Attributes:
        crop: cut out things by boxes, of references and targets alike; otherwise whole pictures.
        vote: how several references become one place; None: "placed" for crops, else "medoid".
        flip: also look at the mirrored target, left and right names exchanged, and take the better.
        min_confidence: key points below are hidden: visibility 0 at (0, 0).
        box_scale: side of a crop in longer sides of the box.
        alpha: what calibrated confidence is the probability of: to be within this share of the
            thing's longer side.
    """

    crop: bool = False
    vote: Vote | None = None
    flip: bool = False
    min_confidence: float | int = 0.0
    box_scale: float | int = BOX_SCALE
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1 or not 0 < self.alpha <= 1:
            raise BadInput(
                "expected a least confidence from 0 to 1 and alpha above 0, at most 1, "
                f"got {self.min_confidence} and {self.alpha}"
            )
        if not 1 <= self.box_scale <= 10:
            raise BadInput(f"expected a box scale from 1 to 10, got {self.box_scale}")

    @property
    def chosen_vote(self) -> Vote:
        """The vote that is taken."""
        return self.vote or ("placed" if self.crop else "medoid")


@dataclass(frozen=True, eq=False)
class Found:
    """One thing annotated in a target.

    Attributes:
        instance: the annotation: points of the whole picture, hidden ones at (0, 0).
        category: of what kind.
        points_px: (K, 2), all points, those that are hidden too.
        confidence: (K,), 0 to 1.
        agreeing: (K,), references whose own match lies near.
        voters: (K,), references that have the point.
        calibrated: whether confidence is a probability.
        mask_confidence: of a mask, 0 to 1: how much the references agree on it, times the overlap
            with which their own masks are found from each other; None without one.
    """

    instance: Instance
    category: Category
    points_px: Points
    confidence: Float[np.ndarray, " k"]
    agreeing: Int[np.ndarray, " k"]
    voters: Int[np.ndarray, " k"]
    calibrated: bool
    mask_confidence: float | None = None

    @property
    def lowest(self) -> float:
        """What a person should look at first has the least of this, 0 to 1."""
        return min(_known(self.confidence[self.voters > 0], self.mask_confidence), default=0.0)


@dataclass(frozen=True, eq=False)
class Kind:
    """All references of one category, and what they say about themselves.

    Attributes:
        category: of what kind.
        references: annotated things.
        self_test: leave one out.
        style: how outlines are written; None without any.
        boxed: whether references have boxes.
        threshold: of masks.
        mask_overlap: mean overlap (IoU) of the references' masks found from each other; NaN:
            unknown.
    """

    category: Category
    references: tuple[Reference, ...]
    self_test: SelfTest
    style: OutlineStyle | None
    boxed: bool
    threshold: float
    mask_overlap: float

    @cached_property
    def sides(self) -> Int[np.ndarray, " k"]:
        """Each key point's other side."""
        return left_and_right(self.category.keypoints)


class Annotator:
    """Annotates pictures as references are annotated.

    Args:
        references: annotated pictures; crowds and things without any annotation are left out.
        load: from an entry of the annotations to its picture.
        extractor: a model.
        options: for its features.
        how: how annotations are transferred.
        on_problem: takes a line for a reference that cannot be used; by default it raises.

    Raises:
        BadInput: no reference left, or one whose picture has another size than its file states.
        ImageError: a reference's picture cannot be read.
    """

    def __init__(
        self,
        references: Annotations,
        load: Callable[[ImageEntry], Picture],
        extractor: Extractor,
        options: Options,
        how: Transfer | None = None,
        on_problem: Callable[[str], object] | None = None,
    ) -> None:
        self.how = how or Transfer()
        self._extractor, self._options = extractor, options
        self._on_problem = on_problem
        made = self._references(references, load)
        self.kinds = {
            category.id: self._kind(category, made[category.id])
            for category in references.categories
            if made.get(category.id)
        }
        if not self.kinds:
            raise BadInput(
                "expected references with key points or outlines, found none (boxes alone say too "
                "little, crowds too much); annotate at least one picture"
            )

    def annotate(
        self, picture: Picture, things: Sequence[tuple[int, Box]] | None = None
    ) -> list[Found]:
        """Annotate one picture.

        Args:
            picture: the target.
            things: category ids and boxes of the things in it; None: one thing of every kind,
                somewhere.

        Raises:
            BadInput: a category without references, or a box outside the picture.
        """
        asked = [(key, None) for key in self.kinds] if things is None else list(things)
        unknown = [key for key, _ in asked if key not in self.kinds]
        if unknown:
            raise BadInput(f"expected things of kinds with references, got category {unknown[0]}")
        cuts = [self._cut(picture, box) for _, box in asked]
        views = self._views(
            cuts, [longer_side_px(cut, box) for cut, (_, box) in zip(cuts, asked, strict=True)]
        )
        return [
            self._found(self.kinds[key], cut, view, box)
            for (key, box), cut, view in zip(asked, cuts, views, strict=True)
        ]

    def _cut(self, picture: Picture, box: Box | None) -> Cut:
        return cut_out(picture, box if self.how.crop else None, self.how.box_scale)

    def _views(self, cuts: Sequence[Cut], lengths_px: Sequence[float]) -> list[View]:
        distinct = list({cut.picture.content_hash: cut.picture for cut in cuts}.values())
        wanted: list[ImageLike] = list(distinct)
        if self.how.flip:
            wanted += [mirrored(one) for one in distinct]
        maps = self._extractor.extract(wanted, self._options) if wanted else []
        keys = [one.content_hash for one in distinct]
        plain = {key: PreparedMap(one) for key, one in zip(keys, maps[: len(keys)], strict=True)}
        back = maps[len(keys) :]
        turned = {
            key: PreparedMap(unmirrored(one))
            for key, one in zip(keys if back else [], back, strict=True)
        }
        return [
            View(plain[key], turned.get(key), length)
            for key, length in zip((c.picture.content_hash for c in cuts), lengths_px, strict=True)
        ]

    def _references(
        self, given: Annotations, load: Callable[[ImageEntry], Picture]
    ) -> dict[int, list[tuple[Instance, Reference]]]:
        made: dict[int, list[tuple[Instance, Reference]]] = {}
        for image in given.images:
            own = [one for one in given.of_image(image.id) if _usable(one)]
            if not own:
                continue
            try:
                picture = load(image)
                require_size(picture, image)
                for one, reference in zip(own, self._of_picture(own, picture), strict=True):
                    made.setdefault(one.category_id, []).append((one, reference))
            except CounterpointError as error:
                if self._on_problem is None:
                    raise
                self._on_problem(f"{image.file_name}: {error}")
        return made

    def _of_picture(self, own: Sequence[Instance], picture: Picture) -> list[Reference]:
        boxes = [extent(one, picture.size_wh) for one in own]
        cuts = [self._cut(picture, box) for box in boxes]
        views = self._views(
            cuts, [longer_side_px(cut, box) for cut, box in zip(cuts, boxes, strict=True)]
        )
        return [
            Reference(
                view,
                cut.to_cut.apply(one.keypoints_px),
                one.visibility > 0,
                mask_on_cut(cut, one.outline),
                picture.name,
            )
            for one, cut, view in zip(own, cuts, views, strict=True)
        ]

    def _kind(self, category: Category, made: list[tuple[Instance, Reference]]) -> Kind:
        references = _padded(tuple(reference for _, reference in made), len(category.keypoints))
        sides = left_and_right(category.keypoints)
        vote, alpha = self.how.chosen_vote, self.how.alpha
        styles: list[OutlineStyle] = [
            one.outline.style for one, _ in made if one.outline is not None
        ]
        threshold, mask_overlap = best_threshold(references, placed=vote == "placed")
        return Kind(
            category,
            references,
            leave_one_out(references, vote, sides=sides, alpha=alpha),
            max(styles, key=styles.count) if styles else None,
            any(one.box is not None for one, _ in made),
            threshold,
            mask_overlap,
        )

    def _found(self, kind: Kind, cut: Cut, view: View, box: Box | None) -> Found:
        elected = transfer(kind.references, view, self.how.chosen_vote, sides=kind.sides)
        confidence = kind.self_test.confidence(elected)
        points_px = cut.onto_whole(elected.points_px)
        shown = (elected.voters > 0) & (confidence >= self.how.min_confidence)
        outline, sure, found_box = self._outlined(kind, cut, view)
        if box is None and kind.boxed:
            box = found_box or box_of_points(points_px[shown])
        known = _known(confidence[elected.voters > 0], sure)
        instance = Instance(
            id=0,
            image_id=0,
            category_id=kind.category.id,
            keypoints_px=np.where(shown[:, None], points_px, 0.0),
            visibility=np.where(shown, 2, 0),
            outline=outline,
            box=box,
            score=float(np.mean(known)) if known else 0.0,
            keypoint_scores=confidence,
        )
        return Found(
            instance,
            kind.category,
            points_px,
            confidence,
            elected.agreeing,
            elected.voters,
            kind.self_test.calibration is not None,
            sure,
        )

    def _outlined(
        self, kind: Kind, cut: Cut, view: View
    ) -> tuple[Outline | None, float | None, Box | None]:
        if kind.style is None:
            return None, None, None
        placed = self.how.chosen_vote == "placed"
        carried = carry_mask(kind.references, view, placed=placed, threshold=kind.threshold)
        mask = mask_on_whole(carried, cut)
        if kind.style == "polygon":
            outline = Outline("polygon", mask_to_polygons(mask))
        else:
            outline = kept(kind.style, mask)
        empty = not mask.any()
        # How well the references' masks are found from each other is what to expect at best.
        most = 1.0 if np.isnan(kind.mask_overlap) else kind.mask_overlap
        sure = 0.0 if empty else most * carried.confidence
        return None if empty else outline, sure, box_of_mask(mask)


def _usable(one: Instance) -> bool:
    annotated = bool((one.visibility > 0).any()) or one.outline is not None
    return annotated and not one.crowd


def _known(confidence: Float[np.ndarray, " n"], mask_confidence: float | None) -> list[float]:
    return [*confidence.tolist(), *([] if mask_confidence is None else [mask_confidence])]


def _padded(references: tuple[Reference, ...], count: int) -> tuple[Reference, ...]:
    """All with the category's key points: things with an outline alone have none visible."""
    none = np.zeros((count, 2)), np.zeros(count, dtype=bool)
    return tuple(
        one if len(one.points_px) == count else replace(one, points_px=none[0], visible=none[1])
        for one in references
    )
