"""Which pairs of which data set: what `sweep`, `ladder` and `calibrate` share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from counterpoint.cli.bench.parameters import Flag, Half, Several
from counterpoint.errors import BadInput

if TYPE_CHECKING:
    from counterpoint.benchmarks.birds.crops import CubCrops
    from counterpoint.benchmarks.keypoints.asked import Quiz
    from counterpoint.benchmarks.keypoints.course import Course

Name = Literal["cub", "spair", "willow", "pascal", "ap10k"]

PAIRS = 600
"""Of CUB's bird crops, as in protocol `cub-crops`."""

ALPHA = 0.1
"""Of the crop's side, likewise."""


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
    skip_bad: Annotated[bool, Flag] = False


Selected = Annotated[Selection, Parameter(name="*", group="Pairs")]


def read_course(
    name: Name,
    chosen: Selection,
    *,
    half: Half | None,
    split: str | None,
    seed: int,
    protocol: str | None = None,
    alpha: float | None = None,
) -> "Course":
    """The pairs, and how they are scored.

    Args:
        name: the data set's.
        chosen: which pairs; its ``half`` and ``split`` are not used.
        half: of cub.
        split: of the others.
        seed: of cub's pairs.
        protocol: says when a point is right; by default the first that papers use.
        alpha: threshold; by default the protocol's first.
    """
    from counterpoint.benchmarks.keypoints.course import crop_course

    _require_for(name, half, split, protocol)
    if name == "cub":
        return crop_course(_draw(chosen, half, seed, alpha)[0])
    return _pairs(name, chosen, split, protocol, alpha)


def read_quiz(
    name: Name,
    chosen: Selection,
    *,
    half: Half | None,
    split: str | None,
    seed: int,
    protocol: str | None = None,
) -> "Quiz":
    """The pairs, with all points that are asked for; arguments as in `read_course`."""
    from counterpoint.benchmarks.keypoints.asked import ask_crops, ask_pairs

    _require_for(name, half, split, protocol)
    if name != "cub":
        return ask_pairs(_pairs(name, chosen, split, protocol, None))
    drawn, part_names = _draw(chosen, half, seed, None)
    quiz = ask_crops(drawn, part_names)
    which = f", {half} birds" if half else ""
    title = f"{quiz.course.dataset.name}, {chosen.crop} px{which}"
    dataset = replace(quiz.course.dataset, name=title)
    return replace(quiz, course=replace(quiz.course, dataset=dataset))


def _require_for(name: Name, half: Half | None, split: str | None, protocol: str | None) -> None:
    """An error if a data set knows no such choice."""
    if name == "cub":
        if split is not None or protocol not in (None, "cub-crops"):
            raise BadInput("expected no --split and no --protocol but cub-crops for cub")
    elif half is not None or (split is not None and name == "willow"):
        raise BadInput(f"expected no {'--half' if half else '--split'} for {name}")


def _draw(
    chosen: Selection, half: Half | None, seed: int, alpha: float | None
) -> "tuple[CubCrops, tuple[str, ...]]":
    """Pairs of bird crops, and what the birds' parts are called."""
    from counterpoint.benchmarks.birds.crops import prepare
    from counterpoint.benchmarks.datasets.cub import read_cub

    birds = read_cub(chosen.data, chosen.categories, skip_bad=chosen.skip_bad)
    birds = birds.half(half) if half else birds
    pairs = PAIRS if chosen.limit is None else chosen.limit
    share = ALPHA if alpha is None else alpha
    drawn = prepare(birds, pairs=pairs, size_px=chosen.crop, alpha=share, seed=seed)
    return drawn, birds.part_names


def _pairs(
    name: str, chosen: Selection, split: str | None, protocol: str | None, alpha: float | None
) -> "Course":
    from counterpoint.benchmarks.keypoints.course import keypoint_course
    from counterpoint.benchmarks.keypoints.protocols import find_protocol, require_scorable
    from counterpoint.benchmarks.keypoints.sets import PAIR_SETS

    row = PAIR_SETS[name]
    found = find_protocol(protocol or row.protocols[0])
    dataset = row.read(
        chosen.data,
        categories=chosen.categories,
        limit=chosen.limit,
        skip_bad=chosen.skip_bad,
        **({} if split is None else {"split": split}),
    )
    require_scorable(dataset, found)
    return keypoint_course(dataset, found, alpha)
