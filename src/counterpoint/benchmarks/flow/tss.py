"""Protocol `tss`: dense correspondence of foreground pixels (Taniai et al. 2016).

To the letter:

1. Pairs: every pair of pictures of TSS, in both directions, 800 flows.
2. Features: of each picture once, at the model's own input size and setting unless others are
   given; models that take a prompt are given "a photo of a {category}".
3. Flow: each pixel of the true foreground (those whose true flow is known) to its exact match in
   the other picture at full resolution. With ``step`` K only every K-th pixel of every K-th row is
   matched and scored, and the protocol's name says so.
4. Mirrored pairs (``flip_gt.txt``): pictures are taken as they are. With ``mirror_known`` the other
   picture of such a pair is mirrored first, as CNNGeometric's evaluation does (Rocco et al. 2017);
   the protocol's name says so.
5. Score: the share of these pixels at most T pixels off (``<=``), where the picture that the flow
   leads into has a longer side of 100 (`flow.metrics`). A pixel without a prediction is wrong.
   Figures are means over directions: of each group, of the three groups' figures, over all, and
   without mirrored pairs, as the evaluation kit gives them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.backbones.base import Backbone, library_version
from counterpoint.benchmarks.controls import Tell, compared
from counterpoint.benchmarks.datasets.flo import Flow, read_flo, write_flo
from counterpoint.benchmarks.datasets.keypoints import Skipped
from counterpoint.benchmarks.datasets.tss import ORIGIN, TSS, Side, TSSPair
from counterpoint.benchmarks.flow.dense import dense_flow, every, kit_resized, same_position_flow
from counterpoint.benchmarks.flow.metrics import FlowAccuracy
from counterpoint.benchmarks.flow.report import TSSReport, TSSRow
from counterpoint.benchmarks.keypoints.prompts import prompt_for, with_prompt
from counterpoint.benchmarks.keypoints.report import slug
from counterpoint.benchmarks.keypoints.run import PRIOR
from counterpoint.benchmarks.made_by import BLANK, features_note, note_origin
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture
from counterpoint.matching import PreparedMap, mirrored
from counterpoint.options import Options

PROTOCOL = "tss"

SIDES: tuple[Side, Side] = (1, 2)

Flows = dict[Side, Flow]
"""Of one pair: from picture 1 to picture 2, and back."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How flow is found.

    Attributes:
        step: match and score every so many-th pixel of every so many-th row; 1: all.
        mirror_known: mirror the other picture of pairs that the data set says are mirrored.
        thresholds: T, pixels of a picture with a longer side of 100.
    """

    step: int = 1
    mirror_known: bool = False
    thresholds: tuple[float, ...] = FlowAccuracy().thresholds

    def __post_init__(self) -> None:
        if self.step < 1:
            raise BadInput(f"expected every 1st, 2nd, ... pixel, got {self.step}")
        if not self.thresholds or not all(0 < t < float("inf") for t in self.thresholds):
            raise BadInput(f"expected thresholds above 0, got {self.thresholds}")

    @property
    def name(self) -> str:
        """The protocol's full name."""
        changed = [f"every-{self.step}-pixels"] if self.step > 1 else []
        changed += ["mirrored-known"] if self.mirror_known else []
        return "/".join([PROTOCOL, *changed])


class FlowFolder:
    """A folder of flows in the layout of TSS' own results, that says what made them.

    Args:
        folder: where it is or will be.
        origin: what makes the flows.

    Raises:
        StorageError: flows are there that were made in another way.
    """

    def __init__(self, folder: Path, origin: Mapping[str, Any]) -> None:
        self.folder = folder
        note_origin(folder / "tss.json", origin)

    def read(self, pair: TSSPair, sizes: Mapping[Side, SizeWH]) -> Flows | None:
        """A pair's flows; None unless both are there and sound."""
        flows: Flows = {}
        for side in SIDES:
            try:
                flow = read_flo(self._path(pair, side), ORIGIN)
            except BadInput:
                return None
            if (flow.shape[1], flow.shape[0]) != sizes[side]:
                return None
            flows[side] = flow
        return flows

    def keep(self, pair: TSSPair, flows: Flows) -> None:
        """Write both flows of a pair."""
        for side, flow in flows.items():
            write_flo(self._path(pair, side), flow)

    def _path(self, pair: TSSPair, side: Side) -> Path:
        return self.folder / pair.id / f"flow{side}.flo"


@dataclass(frozen=True)
class _Seen:
    """One pair, read: what every method is given."""

    pair: TSSPair
    pictures: Mapping[Side, Picture]
    truths: Mapping[Side, Flow]

    @classmethod
    def of(cls, pair: TSSPair) -> "_Seen":
        pair.check()
        truths: dict[Side, Flow] = {side: pair.truth(side) for side in SIDES}
        pictures: dict[Side, Picture] = {side: pair.picture(side) for side in SIDES}
        return cls(pair, pictures, truths)

    @property
    def sizes(self) -> dict[Side, SizeWH]:
        return {side: picture.size_wh for side, picture in self.pictures.items()}


class _Method:
    """A way to find flow, and its counts so far."""

    def __init__(self, name: str, setting: Setting) -> None:
        self.name = name
        self.setting = setting
        self.accuracy = FlowAccuracy(setting.thresholds)

    def run(self, seen: _Seen) -> None:
        """Find both flows of a pair and score them."""
        flows, pair = self._flows(seen), seen.pair
        for side in SIDES:
            self.accuracy = self.accuracy.update(
                pair.id,
                pair.group,
                flows[side],
                seen.truths[side],
                seen.sizes[_other(side)],
                flipped=pair.flipped,
                counted=every(seen.sizes[side], self.setting.step),
            )

    def row(self, seed: int) -> TSSRow:
        return TSSRow(self.name, "", "", None, self.accuracy.compute(seed))

    def _flows(self, seen: _Seen) -> Flows:
        """The same position, or what a subclass finds."""
        sizes = seen.sizes
        return {side: same_position_flow(sizes[side], sizes[_other(side)]) for side in SIDES}


class _Model(_Method):
    """A model's flow, kept in a folder if one is given."""

    def __init__(
        self, backbone: Backbone, options: Options, setting: Setting, out: Path | None
    ) -> None:
        super().__init__(backbone.spec.name, setting)
        self.backbone = backbone
        self.options = with_prompt(backbone, options)
        self.made = features_note(backbone, BLANK, self.options)
        self.folder: FlowFolder | None = None
        if out:
            origin = {"features": self.made, "protocol": setting.name}
            self.folder = FlowFolder(out / slug(backbone.spec.name), origin)

    def row(self, seed: int) -> TSSRow:
        steps = "+".join(map(str, self.made["timesteps"]))
        size = self.made["size_wh"]
        scores = self.accuracy.compute(seed)
        return TSSRow(self.name, self.made["tap"], steps, size and tuple(size), scores)

    def _flows(self, seen: _Seen) -> Flows:
        kept = self.folder.read(seen.pair, seen.sizes) if self.folder else None
        if kept is not None:
            return kept
        flows = self._match(seen)
        if self.folder:
            self.folder.keep(seen.pair, flows)
        return flows

    def _match(self, seen: _Seen) -> Flows:
        facing_away = self.setting.mirror_known and seen.pair.flipped
        pictures = [seen.pictures[side] for side in SIDES]
        pictures += [mirrored(picture) for picture in pictures] if facing_away else []
        prompt = prompt_for(seen.pair.category, self.options.prompt)
        asked = replace(self.options, prompt=prompt or self.options.prompt)
        maps = [PreparedMap(fmap) for fmap in self.backbone.stream(pictures, asked)]
        targets = maps[-2:]  # the mirror images, where there are any
        flows: Flows = {}
        for side in SIDES:
            wanted = ~np.isnan(seen.truths[side][..., 0])
            wanted &= every(seen.sizes[side], self.setting.step)
            target = targets[_other(side) - 1]
            flows[side] = dense_flow(maps[side - 1], target, wanted, mirrored=facing_away)
        return flows


def tss_report(
    backbone: Backbone,
    dataset: TSS,
    options: Options,
    setting: Setting | None = None,
    *,
    controls: bool = True,
    out: Path | None = None,
    skip_bad: bool = False,
    tell: Tell | None = None,
) -> TSSReport:
    """Score a model, after its controls, on the same pixels.

    Args:
        backbone: the model.
        dataset: from `read_tss`.
        options: of the model's features; controls run at their own best setting.
        setting: the protocol.
        controls: the same position, colours, dense SIFT and the network untrained as well.
        out: folder that keeps each method's flows, and from which a stopped run goes on.
        skip_bad: list pairs with unreadable files instead of raising.
        tell: called with a few words now and then.

    Raises:
        BadInput: no pair can be used.
        StorageError: ``out`` holds flows that were made in another way.
    """
    setting = setting or Setting()
    methods = list(_methods(backbone, options, setting, controls, out))
    skipped = list(dataset.skipped)
    used: list[TSSPair] = []
    for pair in dataset.pairs:
        try:
            seen = _Seen.of(pair)
        except BadInput as error:
            if not skip_bad:
                raise
            skipped.append(Skipped(pair.id, str(error)))
            continue
        used.append(pair)
        for method in methods:
            if tell:
                tell(f"{pair.id} ({len(used)} of {len(dataset.pairs)}): {method.name}")
            method.run(seen)
    if not used:
        raise BadInput(f"expected a pair that can be used, got none: {skipped[0].reason}")
    rows = tuple(method.row(options.seed) for method in methods)
    return TSSReport(
        protocol=setting.name,
        dataset=dataset.named(used),
        pairs=len(used),
        flipped=sum(pair.flipped for pair in used),
        pixels=rows[-1].scores[0].pixels,
        skipped=tuple(skipped),
        seed=options.seed,
        version=library_version(),
        rows=rows,
    )


def score_flows(
    folder: Path, dataset: TSS, setting: Setting | None = None, seed: int = 0
) -> TSSReport:
    """Score flows that lie in a folder in the layout of TSS' results, whoever made them.

    Args:
        folder: that holds ``FG3DCar/001_005/flow1.flo`` and so on. Of other sizes than their
            pictures they are resized as the evaluation kit does.
        dataset: from `read_tss`.
        setting: which pixels and thresholds.
        seed: of the intervals.

    Raises:
        BadInput: a flow is missing or damaged.
    """
    setting = setting or Setting()
    method = _Given(folder, setting)
    for pair in dataset.pairs:
        method.run(_Seen.of(pair))
    row = method.row(seed)
    return TSSReport(
        protocol=setting.name,
        dataset=dataset.named(dataset.pairs),
        pairs=len(dataset.pairs),
        flipped=sum(pair.flipped for pair in dataset.pairs),
        pixels=row.scores[0].pixels,
        skipped=dataset.skipped,
        seed=seed,
        version=library_version(),
        rows=(row,),
    )


class _Given(_Method):
    """Flows from files."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        super().__init__(_noted_model(folder) or folder.name, setting)
        self.folder = folder

    def _flows(self, seen: _Seen) -> Flows:
        given: Flows = {}
        for side in SIDES:
            path = self.folder / seen.pair.id / f"flow{side}.flo"
            if not path.is_file():
                raise BadInput(f"expected a flow at {path}, found none")
            given[side] = read_flo(path, ORIGIN)
        sizes = seen.sizes
        flows: Flows = {}
        for side in SIDES:
            other = _other(side)
            target_wh = (given[other].shape[1], given[other].shape[0])
            flows[side] = kit_resized(given[side], sizes[side], target_wh, sizes[other])
        return flows


def _noted_model(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "tss.json").read_text())["features"]["model"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _methods(
    backbone: Backbone, options: Options, setting: Setting, controls: bool, out: Path | None
) -> Iterator[_Method]:
    if controls:
        yield _Method(PRIOR, setting)
    for model, chosen in compared(backbone, options, controls=controls):
        yield _Model(model, chosen, setting, out)


def _other(side: Side) -> Side:
    return 2 if side == 1 else 1
