"""Feature maps of a data set's pictures at one setting: each made once, while memory lasts.

A gallery is a model with its options. It keeps maps as they are, of mirrored targets, and of single
draws of noise, and counts what they cost.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from counterpoint.backbones.base import Backbone
from counterpoint.benchmarks.datasets.keypoints import KeypointPair
from counterpoint.benchmarks.keypoints.asked import Asked
from counterpoint.benchmarks.keypoints.course import Course
from counterpoint.benchmarks.keypoints.maps import (
    CACHE_BYTES,
    Key,
    MapCache,
    keys_of,
    needed_by,
    size_bytes,
)
from counterpoint.benchmarks.keypoints.prompts import with_prompt
from counterpoint.benchmarks.made_by import BLANK
from counterpoint.errors import BadInput
from counterpoint.geometry import SizeWH
from counterpoint.images import Picture
from counterpoint.matching import PreparedMap, mirrored, unmirrored
from counterpoint.options import Options
from counterpoint.provenance import Provenance


@dataclass(frozen=True, eq=False)
class Views:
    """The maps that one pair needs.

    Attributes:
        source: of the source picture.
        target: of the target.
        mirror: of the mirrored target, placed on the target; None: not asked for.
        members: of single draws, (source, target) each.
    """

    source: PreparedMap
    target: PreparedMap
    mirror: PreparedMap | None = None
    members: tuple[tuple[PreparedMap, PreparedMap], ...] = ()


@dataclass(eq=False)
class Gallery:
    """A model and its options, at work on a data set.

    Attributes:
        backbone: the model.
        options: of the features; "{category}" in the prompt stands for each pair's own.
        course: the data set.
        mirror: targets mirrored as well.
        members: single draws of noise as well.
        cache_bytes: memory for maps that wait for their next pair, of each kind.
        seconds: spent on features as they are, so far.
        made: how many.
    """

    backbone: Backbone
    options: Options
    course: Course
    mirror: bool = False
    members: int = 0
    cache_bytes: int = CACHE_BYTES
    seconds: float = 0.0
    made: int = 0
    _caches: dict[str, MapCache[PreparedMap]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.options = with_prompt(self.backbone, self.options, self.course.prompt)
        if self.members and self.backbone.spec.t is None:
            raise BadInput(
                f"expected a model that sees noise for members, {self.backbone.spec.name} sees "
                "none: there is nothing to disagree about"
            )

    @property
    def provenance(self) -> Provenance:
        """What makes its maps, without a picture."""
        return self.backbone.provenance(BLANK, self.options).without_picture()

    @property
    def seconds_a_picture(self) -> float:
        """Of features, on the average; 0 before the first."""
        return self.seconds / self.made if self.made else 0.0

    def views(self, asked: Sequence[Asked]) -> list[Views]:
        """The maps of a few pairs, which should share pictures.

        Raises:
            ImageError: a picture that cannot be read.
        """
        pairs, prompt = [one.pair for one in asked], self.options.prompt
        both = needed_by(pairs, prompt)
        targets = {key: both[key] for key in (keys_of(pair, prompt)[1] for pair in pairs)}
        plain = self._maps("plain", both, self.options)
        flipped = self._maps("mirror", targets, self.options) if self.mirror else {}
        draws = [
            self._maps(f"member {i}", both, member_options(self.options, i))
            for i in range(self.members)
        ]
        return [self._pair_views(pair, plain, flipped, draws) for pair in pairs]

    def _pair_views(
        self,
        pair: KeypointPair,
        plain: Mapping[Key, PreparedMap],
        flipped: Mapping[Key, PreparedMap],
        draws: Iterable[Mapping[Key, PreparedMap]],
    ) -> Views:
        source, target = keys_of(pair, self.options.prompt)
        members = tuple((maps[source], maps[target]) for maps in draws)
        return Views(plain[source], plain[target], flipped.get(target), members)

    def _maps(
        self, kind: str, needed: Mapping[Key, SizeWH], options: Options
    ) -> dict[Key, PreparedMap]:
        cache = self._caches.setdefault(kind, MapCache(self.cache_bytes, size_bytes))

        def make(prompt: str, pictures: list[Picture]) -> list[PreparedMap]:
            return self._make(kind, pictures, replace(options, prompt=prompt or options.prompt))

        return cache.held_or_made(needed, self.course.picture, make)

    def _make(self, kind: str, pictures: list[Picture], options: Options) -> list[PreparedMap]:
        if kind == "mirror":
            found = self.backbone.stream([mirrored(picture) for picture in pictures], options)
            return [PreparedMap(unmirrored(fmap)) for fmap in found]
        start = time.perf_counter()
        made = [PreparedMap(fmap) for fmap in self.backbone.stream(pictures, options)]
        if kind == "plain":
            self.seconds += time.perf_counter() - start
            self.made += len(made)
        return made


def member_options(options: Options, number: int) -> Options:
    """Of a single draw of noise that is in no ensemble of these options."""
    return replace(options, ensemble=1, seed=options.seed + 1 + number)
