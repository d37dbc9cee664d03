"""Protocol `cub-crops` as pairs of key points: predictions in files, scored again, failures shown.

The same pairs, pictures and figures as `counterpoint.benchmarks.birds.crops`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from counterpoint.benchmarks.birds.crops import CubCrops, prepare
from counterpoint.benchmarks.datasets.cub import Half, read_cub
from counterpoint.benchmarks.datasets.keypoints import KeypointPair, KeypointPairs, plain


def crops_as_pairs(
    benchmark: CubCrops, part_names: Sequence[str] = (), **request: Any
) -> KeypointPairs:
    """A prepared benchmark's pairs.

    Args:
        benchmark: from `prepare`.
        part_names: of the birds, in the order of the parts; by default they have no names.
        request: how to read the same again.
    """
    paths = [crop.bird.path for crop in benchmark.crops]
    pairs = tuple(
        KeypointPair(
            id=f"{pair.source}-{pair.target}",
            category="bird",
            source=paths[pair.source],
            target=paths[pair.target],
            source_size_wh=benchmark.crops[pair.source].size_wh,
            target_size_wh=benchmark.crops[pair.target].size_wh,
            source_px=benchmark.source_px(pair),
            target_px=benchmark.target_px(pair),
            keypoint_ids=tuple(part_names[part] for part in pair.parts) if part_names else None,
        )
        for pair in benchmark.pairs
    )
    return KeypointPairs(
        name=f"CUB-200-2011 bird crops, {len(pairs)} pairs drawn with seed {benchmark.seed}",
        root=Path(paths[0]).parent.parent,
        request={"reader": "cub", **plain(request)},
        pairs=pairs,
        crops={paths[index]: picture for index, picture in benchmark.pictures.items()},
    )


def read_cub_crops(
    root: Path | str,
    *,
    pairs: int = 600,
    crop: int = 64,
    half: Half | None = None,
    seed: int = 0,
    categories: Sequence[str] | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> KeypointPairs:
    """Draw the pairs of protocol `cub-crops`.

    Args:
        root: the folder that holds ``images.txt``.
        pairs: how many.
        crop: side of the crops, pixels.
        half: only birds of even or odd index.
        seed: of the pairs.
        categories: only these classes, by name.
        limit: the first so many pairs.
        skip_bad: leave pictures that cannot be used out, as `read_cub` does.

    Raises:
        BadInput: a table or picture is missing or damaged, or there are not so many pairs.
    """
    birds = read_cub(root, categories, skip_bad=skip_bad)
    birds = birds.half(half) if half else birds
    count = pairs if limit is None else min(pairs, limit)
    benchmark = prepare(birds, pairs=count, size_px=crop, seed=seed)
    request = {"pairs": pairs, "crop": crop, "half": half, "seed": seed, "limit": limit}
    request |= {"categories": categories and list(categories), "skip_bad": skip_bad}
    return crops_as_pairs(benchmark, birds.part_names, **request)
