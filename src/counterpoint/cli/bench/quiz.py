"""Which pairs of which data set: what `ladder` and `calibrate` share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from counterpoint.errors import BadInput

if TYPE_CHECKING:
    from counterpoint.benchmarks.keypoints.asked import Quiz

Name = Literal["cub", "spair", "willow", "pascal", "ap10k"]
Half = Literal["even", "odd"]
Several = Parameter(negative="", consume_multiple=True)

PAIRS = 600
"""Of CUB's bird crops, as in protocol `cub-crops`."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which pairs.

    Attributes:
        data: the data set's folder, as for `counterpoint bench`.
        half: of cub: birds of even or odd index, to choose on one half and report on the other.
        split: of spair, pascal, ap10k.
        categories: only these; of cub, classes by name.
        limit: only the first so many pairs; of cub, so many drawn pairs instead of 600.
        crop: of cub: side of the bird crops, pixels.
        skip_bad: leave out pairs that cannot be used instead of stopping at the first.
    """

    data: Path
    half: Half | None = None
    split: Literal["trn", "val", "test"] | None = None
    categories: Annotated[list[str] | None, Several] = None
    limit: int | None = None
    crop: int = 64
    skip_bad: Annotated[bool, Parameter(negative="")] = False


Selected = Annotated[Selection, Parameter(name="*", group="Pairs")]


def read_quiz(
    name: Name,
    chosen: Selection,
    *,
    half: Half | None,
    split: str | None,
    seed: int,
    protocol: str | None = None,
) -> "Quiz":
    """The pairs, with all points that are asked for.

    Args:
        name: the data set's.
        chosen: which pairs; its ``half`` and ``split`` are not used.
        half: of cub.
        split: of the others.
        seed: of cub's pairs.
        protocol: says when a point is right; by default the first that papers use.
    """
    if name == "cub":
        if split is not None or protocol not in (None, "cub-crops"):
            raise BadInput("expected no --split and no --protocol but cub-crops for cub")
        return _crops(chosen, half, seed)
    if half is not None or (split is not None and name == "willow"):
        raise BadInput(f"expected no {'--half' if half else '--split'} for {name}")
    return _pairs(name, chosen, split, protocol)


def _crops(chosen: Selection, half: Half | None, seed: int) -> "Quiz":
    from counterpoint.benchmarks.birds.crops import prepare
    from counterpoint.benchmarks.datasets.cub import read_cub
    from counterpoint.benchmarks.keypoints.asked import ask_crops

    birds = read_cub(chosen.data, chosen.categories, skip_bad=chosen.skip_bad)
    birds = birds.half(half) if half else birds
    pairs = PAIRS if chosen.limit is None else chosen.limit
    drawn = prepare(birds, pairs=pairs, size_px=chosen.crop, seed=seed)
    quiz = ask_crops(drawn, birds.part_names)
    which = f", {half} birds" if half else ""
    name = f"{quiz.course.dataset.name}, {chosen.crop} px{which}"
    dataset = replace(quiz.course.dataset, name=name)
    return replace(quiz, course=replace(quiz.course, dataset=dataset))


def _pairs(name: str, chosen: Selection, split: str | None, protocol: str | None) -> "Quiz":
    from counterpoint.benchmarks.keypoints.asked import ask_pairs
    from counterpoint.benchmarks.keypoints.protocols import find_protocol, require_scorable
    from counterpoint.benchmarks.keypoints.sets import PAIR_SETS
    from counterpoint.benchmarks.sweep.rows import keypoint_course

    row = PAIR_SETS[name]
    which = {} if split is None else {"split": split}
    dataset = row.read(
        chosen.data,
        categories=chosen.categories,
        limit=chosen.limit,
        skip_bad=chosen.skip_bad,
        **which,
    )
    found = find_protocol(protocol or row.protocols[0])
    require_scorable(dataset, found)
    return ask_pairs(keypoint_course(dataset, found))
