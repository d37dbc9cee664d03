"""`counterpoint scene`: many views of one scene, matched for structure from motion."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from counterpoint.cli.common import (
    DEFAULTS,
    ModelOptions,
    console,
    output_folder,
    print_json,
    progress,
)
from counterpoint.cli.scenes.align import Matched
from counterpoint.cli.scenes.exports import Exports, names_below, write_exports
from counterpoint.cli.scenes.keypoints import KeyPointFinder, Matching
from counterpoint.cli.shots import PictureShots
from counterpoint.cli.sources import geometric_source
from counterpoint.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

    from counterpoint.cli.sources import Source
    from counterpoint.features import FeatureMap
    from counterpoint.tasks.scenes.views import Pair, View, ViewPair

BATCH = 4
"""Pictures decoded at once."""

CameraModel = Literal["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"]


@dataclass(frozen=True, kw_only=True)
class Relating:
    """What ties two views.

    Attributes:
        relation: auto: an essential matrix where --focal says the focal length, else a fundamental
            one; of a plane, a homography.
        estimator: OpenCV's method.
        threshold: within which a match agrees, pixels.
    """

    relation: Literal["auto", "homography", "fundamental", "essential"] = "auto"
    estimator: Literal["lmeds", "ransac", "usac", "magsac"] = "magsac"
    threshold: float = 3.0


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """What is known of the cameras, for the database.

    Attributes:
        focal: focal length in pixels, of all pictures; by default EXIF's, else a guess.
        camera_mode: auto: pictures of one size and focal length share a camera.
        camera_model: COLMAP's.
    """

    focal: float | None = None
    camera_mode: Literal["auto", "single", "per-image"] = "auto"
    camera_model: CameraModel = "SIMPLE_RADIAL"


Related = Annotated[Relating, Parameter(name="*", group="Matrix")]
Known = Annotated[Cameras, Parameter(name="*", group="Cameras")]

_USUAL, _RELATING, _CAMERAS = Matching(), Relating(), Cameras()


def scene(
    *pictures: str,
    out: Path,
    pairs: str = "all",
    window: int = 10,
    export: Exports = None,
    features: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    matching: Matched = _USUAL,
    relating: Related = _RELATING,
    cameras: Known = _CAMERAS,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Match PICTURES of one scene pair by pair, and write them for hloc and COLMAP.

    Below OUT: database.db, a COLMAP database ready for mapping (cameras, key points, matches,
    two-view geometries); features.h5, matches.h5 and pairs.txt, as hloc has them; scene.json. Where
    the options for features are silent, they are those for geometry. Pictures that cannot be read
    are reported and skipped; the exit code is then 1, as where no two pictures go together.

    Parameters
    ----------
    pictures
        A folder of pictures, or pictures and quoted glob patterns.
    out
        The folder for the results.
    pairs
        all; sequential: each with the next few, in the order of their names; or a file with two
        names a line.
    window
        How many the next few are.
    export
        hloc, colmap; by default both.
    features
        The folder of `extract`'s files for these pictures: no model is run.
    json
        Print JSON.
    """
    from json import dumps

    from counterpoint.files import write_text
    from counterpoint.images import find_pictures

    if not pictures:
        raise BadInput("expected pictures, a folder or patterns; see scene --help")
    place = output_folder(out)
    shots = PictureShots(find_pictures(list(pictures)), [])
    only_folder = Path(pictures[0]) if len(pictures) == 1 and Path(pictures[0]).is_dir() else None
    root, names = names_below(shots.paths, only_folder)
    work = _Work(shots, names, matching, relating, cameras, options.device)
    work.see(geometric_source(options, features, shots.paths))
    work.match(_chosen_pairs(pairs, window, [view.name for view in work.views]))
    files = write_exports(
        place,
        work.views,
        work.pairs,
        export or ["hloc", "colmap"],
        work.paths,
        [cameras.focal] * len(work.views),
        cameras.camera_mode,
        cameras.camera_model,
    )
    result: dict[str, Any] = {
        "model": work.model,
        "image_path": str(root),
        "views": work.described(),
        "pairs": [work.summary(pair) for pair in work.pairs],
        "exported": [str(path) for path in files],
        "skipped": list(shots.skipped.values()),
    }
    write_text(place / "scene.json", dumps(result, indent=1) + "\n")
    if json:
        print_json(result)
    else:
        _print(result)
    return 1 if shots.skipped or not any(pair["inliers"] for pair in result["pairs"]) else 0


def _chosen_pairs(pairs: str, window: int, names: Sequence[str]) -> "list[Pair]":
    from counterpoint.interop.hloc import read_pairs
    from counterpoint.tasks.scenes.views import choose_pairs

    if len(names) < 2:
        raise BadInput(f"expected at least 2 pictures that can be read, got {len(names)}")
    if pairs in ("all", "sequential"):
        return choose_pairs(len(names), pairs, window)
    if not Path(pairs).is_file():
        raise BadInput(f"expected --pairs all, sequential or a file of pairs, got {pairs!r}")
    return read_pairs(pairs, names)


class _Work:
    """Sees every picture once, then matches pairs of what was seen.

    Attributes:
        views: what was seen, in the pictures' order.
        paths: of the same pictures.
        pairs: what was matched.
        model: whose features they are; of stored ones, what their files say.
    """

    def __init__(
        self,
        shots: PictureShots,
        names: Sequence[str],
        matching: Matching,
        relating: Relating,
        cameras: Cameras,
        device: str | None,
    ) -> None:
        if cameras.focal is not None and cameras.focal <= 0:
            raise BadInput(f"expected --focal above 0, got {cameras.focal:g}")
        if relating.relation == "essential" and cameras.focal is None:
            raise BadInput("expected --focal in pixels for an essential matrix")
        self._shots, self._names = shots, names
        self._matching, self._relating, self._cameras = matching, relating, cameras
        self._finder = KeyPointFinder(matching, shots.count, device)
        self._maps: list[FeatureMap] = []
        self.model = ""
        self.views: list[View] = []
        self.paths: list[Path] = []
        self.pairs: list[ViewPair] = []

    def see(self, source: "Source") -> None:
        """Every picture's key points and features; maps are kept for a grid alone."""
        from itertools import islice

        from counterpoint.tasks.scenes.views import view_of

        shots = self._shots.shots()
        with progress(self._shots.count) as advance:
            while batch := list(islice(shots, BATCH)):
                maps = source.stream([shot.picture for shot in batch])
                for shot, fmap in zip(batch, maps, strict=True):
                    self.model = fmap.provenance.model
                    found = self._finder.find(shot.picture, shot.index)
                    self.views.append(view_of(self._names[shot.index], fmap, found))
                    self.paths.append(self._shots.paths[shot.index])
                    if self._finder.grid:
                        self._maps.append(fmap)
                    advance(self.paths[-1].name)

    def match(self, pairs: "list[Pair]") -> None:
        """Pair by pair."""
        with progress(len(pairs)) as advance:
            for pair in pairs:
                self.pairs.append(self._matched(pair))
                advance(Path(self.views[pair[0]].name).name)

    def _matched(self, pair: "Pair") -> "ViewPair":
        from counterpoint.tasks.scenes.homography import Robust
        from counterpoint.tasks.scenes.views import match_grid, match_views

        robust = Robust(method=self._relating.estimator, threshold_px=self._relating.threshold)
        cameras = self._matrices(pair)
        if self._finder.grid:
            relation = self._relating.relation
            return match_grid(self.views, self._maps, pair, relation, robust, cameras=cameras)
        return match_views(
            self.views,
            pair,
            self._relating.relation,
            robust,
            metric=self._matching.metric,
            cameras=cameras,
        )

    def _matrices(self, pair: "Pair") -> "tuple[np.ndarray, np.ndarray] | None":
        from counterpoint.geometry import camera_matrix

        if self._cameras.focal is None:
            return None
        first, second = (camera_matrix(self._cameras.focal, self.views[i].size_wh) for i in pair)
        return first, second

    def described(self) -> list[dict[str, Any]]:
        """Each view; ``turned``: EXIF turns it, which COLMAP does not when it reads colours."""
        return [
            {"name": view.name, "keypoints": len(view.keypoints), "turned": _turned(path)}
            for view, path in zip(self.views, self.paths, strict=True)
        ]

    def summary(self, pair: "ViewPair") -> dict[str, Any]:
        """A pair in numbers."""
        from counterpoint.tasks.scenes.homography import NoEstimate

        found, reason = pair.found, ""
        if isinstance(found, NoEstimate):
            found, reason = None, found.reason
        return {
            "first": self.views[pair.first].name,
            "second": self.views[pair.second].name,
            "matches": len(pair.matches),
            "inliers": len(pair.inliers),
            "relation": found.relation if found else None,
            "matrix": found.matrix.tolist() if found else None,
            "reason": reason,
        }


def _turned(path: Path) -> bool:
    from PIL import Image

    from counterpoint.images import EXIF_ORIENTATION

    try:
        with Image.open(path) as image:
            return image.getexif().get(EXIF_ORIENTATION, 1) in range(2, 9)
    except Exception:  # damaged EXIF turns nothing
        return False


def _print(result: dict[str, Any]) -> None:
    shown = console()
    tied = [pair for pair in result["pairs"] if pair["inliers"]]
    kinds = [pair["relation"] for pair in tied]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "none"
    shown.print(f"{len(result['views'])} views, {len(result['pairs'])} pairs; related: {counted}")
    if tied:
        counts = sorted(pair["inliers"] for pair in tied)
        shown.print(
            f"inliers a pair: {counts[0]} to {counts[-1]}, median {counts[len(counts) // 2]}"
        )
    turned = [view["name"] for view in result["views"] if view["turned"]]
    if turned:
        shown.print(f"{len(turned)} turned by EXIF ({turned[0]}): give COLMAP upright copies")
    for path in result["exported"]:
        shown.print(f"wrote {path}", soft_wrap=True)
    shown.print(f"names are relative to {result['image_path']}", soft_wrap=True)
