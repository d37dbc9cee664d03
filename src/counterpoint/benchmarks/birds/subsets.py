"""Protocol `cub-subsets`: the same part on another bird, in papers' 14 subsets of 25 pictures.

To the letter (Neural Congealing, Ofri-Amar et al. 2023, whose subsets and evaluation DIFT and more
use; pictures are prepared as for ACSM, Kulkarni et al. 2020, and GANgealing, Peebles et al. 2022):

1. Subsets: lists of pictures, published with Neural Congealing's code as
   ``cub_subset_0_original_paths.txt`` to ``cub_subset_13_original_paths.txt``, a line a picture
   ("CUB_200_2011/images/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg"). They are
   read from a folder of such files, or from one file in which a blank line ends a subset.
2. Crops: `acsm_crop`, 256 px, of the box in ``bounding_boxes.txt``. (The published code takes boxes
   from ACSM's own files, and counts key points from 1; CUB's are counted from 0 here, see
   `cub_to_pixels`.)
3. Pairs: all ordered pairs of different pictures of a subset; the parts visible in both. Parts that
   lie outside their crop cannot be read there and do not count; how many, the report says.
4. Match: as in `cub-crops`.
5. Score: PCK at alpha 0.1 (``<=``) of the crop's side, per point over a subset, then the mean over
   subsets, with a 95 per cent bootstrap interval over pairs within each subset.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from counterpoint.backbones.base import Backbone, library_version
from counterpoint.benchmarks.birds.crops import CubCrops, Pair, Row
from counterpoint.benchmarks.birds.report import crop_methods
from counterpoint.benchmarks.controls import Tell
from counterpoint.benchmarks.datasets._tables import read_text
from counterpoint.benchmarks.datasets.cub import CUB, ORIGIN, acsm_crop
from counterpoint.benchmarks.datasets.keypoints import Skipped, plain
from counterpoint.benchmarks.keypoints.prompts import PROMPT, with_prompt
from counterpoint.benchmarks.metrics import PCK, Estimate
from counterpoint.benchmarks.tables import Cells, Table, size_text
from counterpoint.benchmarks.taps import blocks, require_taps
from counterpoint.errors import BadInput
from counterpoint.options import Options

PROTOCOL = "cub-subsets"

SUBSETS, SIZE = 14, 25
"""In papers: subsets, and pictures in each."""

CROP_PX = 256


@dataclass(frozen=True)
class Subset:
    """A list of pictures.

    Attributes:
        name: of its file, or its number.
        pictures: "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg".
    """

    name: str
    pictures: tuple[str, ...]


def read_subsets(path: Path | str) -> tuple[Subset, ...]:
    """The lists of pictures: a folder's ``*.txt``, or one file with a blank line between them.

    Raises:
        BadInput: missing, a line that is no picture of CUB's, a picture twice, or fewer than two.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        files = sorted(path.glob("*.txt"), key=lambda file: (len(file.stem), file.stem))
        found = [(file.stem, file, read_text(file, ORIGIN).splitlines()) for file in files]
    elif path.is_file():
        parts = [part.splitlines() for part in read_text(path, ORIGIN).split("\n\n")]
        parts = [part for part in parts if any(line.strip() for line in part)]
        found = [(str(i), path, part) for i, part in enumerate(parts)]
    else:
        raise BadInput(f"expected a folder of lists, or a list, of CUB's pictures at {path}")
    if not found:
        raise BadInput(f"expected lists of CUB's pictures in {path}, found none")
    return tuple(Subset(name, _pictures(file, name, lines)) for name, file, lines in found)


def _pictures(path: Path, name: str, lines: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    for line in filter(None, map(str.strip, lines)):
        parts = PurePosixPath(line.replace("\\", "/")).parts
        if len(parts) < 2 or not parts[-1].lower().endswith(".jpg"):
            raise BadInput(f"expected a picture as images/CLASS/NAME.jpg in {path}, got {line:.80}")
        names.append("/".join(parts[-2:]))
    if len(set(names)) != len(names) or len(names) < 2:
        raise BadInput(
            f"expected at least 2 pictures of subset {name} in {path}, each once, got "
            f"{len(names)}, {len(set(names))} of them different"
        )
    return tuple(names)


@dataclass(frozen=True, eq=False)
class PreparedSubset:
    """A subset, ready to score methods.

    Attributes:
        name: its own.
        crops: with all its pairs.
        outside: parts visible in their picture but outside their crop.
        bare: ordered pairs without a common part.
    """

    name: str
    crops: CubCrops
    outside: int
    bare: int


def prepare_subset(
    dataset: CUB, subset: Subset, alpha: float = 0.1, size_px: int = CROP_PX
) -> PreparedSubset:
    """Decode a subset's crops and pair each with each.

    Raises:
        BadInput: a picture that the data set here does not have, or no pair with a common part.
        ImageError: a picture that cannot be read.
    """
    birds = {"/".join(bird.path.parts[-2:]): bird for bird in dataset.birds}
    for name in subset.pictures:
        if name not in birds:
            raise BadInput(
                f"expected picture {name} of subset {subset.name} in CUB's tables, found none; "
                "give the whole data set"
            )
    crops = tuple(acsm_crop(birds[name], size_px) for name in subset.pictures)
    visible = np.stack([crop.visible for crop in crops])
    both = {(i, j): visible[i] & visible[j] for i, j in permutations(range(len(crops)), 2)}
    pairs = tuple(
        Pair(i, j, tuple(np.flatnonzero(parts).tolist()))
        for (i, j), parts in both.items()
        if parts.any()
    )
    if not pairs:
        raise BadInput(f"expected birds with a common part in subset {subset.name}, found none")
    pictures = {i: crop.picture() for i, crop in enumerate(crops)}
    outside = sum(int((crop.bird.visible & ~crop.visible).sum()) for crop in crops)
    made = CubCrops(crops, pairs, pictures, size_px, alpha, seed=0)
    return PreparedSubset(subset.name, made, outside, len(both) - len(pairs))


@dataclass(frozen=True)
class SubsetRow:
    """One method's score.

    Attributes:
        method: "small", "same position", ...
        tap: where its features were read; "" where there is nothing to choose.
        t: time step; None: no noise.
        input_wh: the model's input size, pixels; None: none.
        mean: over subsets of each one's PCK per point.
        subsets: each one's, per cent.
    """

    method: str
    tap: str
    t: int | None
    input_wh: tuple[int, int] | None
    mean: Estimate
    subsets: tuple[float, ...]


@dataclass(frozen=True)
class SubsetReport:
    """All rows of one run of protocol `cub-subsets`.

    Attributes:
        protocol: its name.
        dataset: how many subsets of how many pictures.
        model: whose table it is.
        subsets: their names.
        pairs: over all subsets.
        points: over all pairs.
        outside: parts that lie outside their crop and do not count.
        bare: pairs without a common part, which hold no point to score.
        alpha: PCK's threshold, as a share of the side.
        crop_px: side of the crops.
        seed: of noise, random weights and intervals.
        version: counterpoint's.
        rows: controls first.
        skipped: subsets that could not be used, and why.
    """

    protocol: str
    dataset: str
    model: str
    subsets: tuple[str, ...]
    pairs: int
    points: int
    outside: int
    bare: int
    alpha: float
    crop_px: int
    seed: int
    version: str
    rows: tuple[SubsetRow, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def title(self) -> str:
        """One line that says what the figures are."""
        skipped = f", {len(self.skipped)} subsets skipped" if self.skipped else ""
        return (
            f"Protocol {self.protocol}: {self.dataset}{skipped}; PCK@{self.alpha:g} of the crop's "
            f"side, per point, mean over subsets, in per cent ± half its 95 % interval; "
            f"{self.pairs} pairs, {self.points} points, {self.crop_px} px crops, seed {self.seed}"
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """What belongs below the table."""
        notes = [
            f"{self.outside} visible parts lie outside their crop and do not count; {self.bare} "
            "pairs have no common part."
        ]
        return (*notes, *(f"skipped subset {bad.id}: {bad.reason}" for bad in self.skipped))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        entries = asdict(self)
        for row in entries["rows"]:
            row[f"PCK@{self.alpha:g} mean over subsets"] = row.pop("mean")
        return plain(entries)


def subset_report(
    backbone: Backbone,
    dataset: CUB,
    subsets: Sequence[Subset],
    *,
    timesteps: Sequence[int] = (),
    taps: Sequence[str] | None = None,
    options: Options | None = None,
    alpha: float = 0.1,
    skip_bad: bool = False,
    tell: Tell | None = None,
) -> SubsetReport:
    """Score a model and its controls, one subset in memory at a time.

    Args:
        backbone: the model.
        dataset: from `read_cub`.
        subsets: from `read_subsets`.
        timesteps: by default the model's own.
        taps: by default the blocks of the network.
        options: the rest.
        alpha: PCK's threshold, as a share of the crop's side.
        skip_bad: list subsets that cannot be used instead of raising.
        tell: called with a few words before each part of the work.

    Raises:
        BadInput: a subset that cannot be used, or none that can.
        UnknownName: a tap that the model does not have.
    """
    options = with_prompt(backbone, options or Options(), PROMPT.replace("{category}", "bird"))
    names = require_taps(backbone, taps or blocks(backbone))
    methods = list(crop_methods(backbone, timesteps, names, options, options.seed))
    used: list[PreparedSubset] = []
    skipped: list[Skipped] = []
    found: dict[tuple[str, str, int | None], _Counts] = {}
    for subset in subsets:
        try:
            ready = prepare_subset(dataset, subset, alpha)
        except BadInput as error:
            if not skip_bad:
                raise
            skipped.append(Skipped(subset.name, str(error)))
            continue
        for words, method in methods:
            if tell:
                tell(f"subset {subset.name}, {words}")
            for row in method(ready.crops):
                found.setdefault((row.method, row.tap, row.t), _Counts()).add(ready.name, row)
        used.append(PreparedSubset(ready.name, _emptied(ready.crops), ready.outside, ready.bare))
    if not used:
        raise BadInput(f"expected a subset that can be used, got none: {skipped[0].reason}")
    return SubsetReport(
        protocol=PROTOCOL,
        dataset=named(used),
        model=backbone.spec.name,
        subsets=tuple(one.name for one in used),
        pairs=sum(len(one.crops.pairs) for one in used),
        points=sum(one.crops.points for one in used),
        outside=sum(one.outside for one in used),
        bare=sum(one.bare for one in used),
        alpha=alpha,
        crop_px=CROP_PX,
        seed=options.seed,
        version=library_version(),
        rows=tuple(counts.row(options.seed) for counts in found.values()),
        skipped=tuple(skipped),
    )


class _Counts:
    """One method's rows, subset by subset."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.names: list[str] = []

    def add(self, name: str, row: Row) -> None:
        self.rows.append(row)
        self.names += [name] * len(row.counts.points)

    def row(self, seed: int) -> SubsetRow:
        first = self.rows[0]
        counts = PCK(first.counts.alpha, first.counts.strict)
        for one in self.rows:
            counts = counts.joined(one.counts)
        shares = tuple(one.pck.per_point for one in self.rows)
        mean = counts.macro(self.names, seed)
        return SubsetRow(first.method, first.tap, first.t, first.input_wh, mean, shares)


def _emptied(crops: CubCrops) -> CubCrops:
    """The same without its pictures."""
    return CubCrops(crops.crops, crops.pairs, {}, crops.size_px, crops.alpha, crops.seed)


def named(used: Sequence[PreparedSubset]) -> str:
    """ "CUB-200-2011, 14 subsets of 25" as papers have them, or how they differ."""
    sizes = sorted({len(one.crops.crops) for one in used})
    if (len(used), sizes) == (SUBSETS, [SIZE]):
        return f"CUB-200-2011, {SUBSETS} subsets of {SIZE}"
    of = "-".join(map(str, (sizes[0], sizes[-1]))) if len(sizes) > 1 else str(sizes[0])
    return f"CUB-200-2011, {len(used)} subsets of {of}, not the {SUBSETS} of {SIZE}"


def tables(report: SubsetReport) -> tuple[Table, ...]:
    """The mean over subsets by method, then each subset of the last row."""
    header = ("method", "tap", "input", "t", "mean over subsets", "lowest", "highest")
    rows = tuple(
        (
            row.method,
            row.tap,
            size_text(row.input_wh),
            "" if row.t is None else str(row.t),
            row.mean.shown(),
            f"{min(row.subsets):.1f}",
            f"{max(row.subsets):.1f}",
        )
        for row in report.rows
    )
    return (Table("By method", Cells(header, rows)),)
