"""`counterpoint bench hpatches`: homographies between pictures of a plane."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from counterpoint.cli.bench.parameters import Flag, Several
from counterpoint.cli.bench.results import write_report
from counterpoint.cli.common import DEFAULTS, ModelOptions, console, open_model, print_tables

if TYPE_CHECKING:
    from counterpoint.backbones.keypoints import KeyPointNetwork
    from counterpoint.benchmarks.planes.report import HPatchesReport


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which sequences.

    Attributes:
        sequences: only these, by name.
        kind: only those in which this changes.
        all_sequences: the eight that papers leave out for their size as well.
        limit: only the first so many.
        skip_bad: list sequences that cannot be used (missing or damaged files) beside the
            figures, instead of stopping at the first.
    """

    sequences: Annotated[list[str] | None, Several] = None
    kind: Literal["illumination", "viewpoint"] | None = None
    all_sequences: Annotated[bool, Flag] = False
    limit: int | None = None
    skip_bad: Annotated[bool, Flag] = False


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How pictures are matched.

    Attributes:
        keypoints: sift; grid (the same in all pictures, so it favours no motion); superpoint,
            aliked, disk, xfeat, or a folder or file of such a network's weights; or a folder of
            files SEQUENCE/1.npz (or 1.ppm.superpoint) with "keypoints" (N, 2) and, if they have
            them, "scores".
        count: key points a picture, at most.
        metric: of the descriptors; by default l2 for ADM, else cosine.
        estimator: of the homography, several for a row each; by default ransac for ADM, else
            lmeds.
        threshold: of the estimator, pixels.
    """

    keypoints: str = "sift"
    count: int = 1000
    metric: Literal["cosine", "l2"] | None = None
    estimator: Annotated[list[Literal["lmeds", "ransac", "usac", "magsac"]], Several] | None = None
    threshold: float = 3.0


Selected = Annotated[Selection, Parameter(name="*", group="Sequences")]
Matched = Annotated[Matching, Parameter(name="*", group="Matching")]

_ALL = Selection()
_USUAL = Matching()


def hpatches(
    *,
    data: Path,
    protocol: Literal["hpatches-dift", "hpatches-exact"] = "hpatches-dift",
    selection: Selected = _ALL,
    matching: Matched = _USUAL,
    no_controls: Annotated[bool, Flag] = False,
    json: Path | None = None,
    markdown: Path | None = None,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Homographies on HPatches or Oxford's sequences: corner accuracy, AUC, matching accuracy.

    Where the options for features are silent, they are those for geometry: the paper's for Stable
    Diffusion and ADM; the embedded model, colours and SIFT keep the pictures' own size.

    Parameters
    ----------
    data
        The folder that holds v_* and i_* (hpatches-sequences-release), or Oxford's sequences in
        their own layout (graf/img1.ppm, graf/H1to2p), or one sequence's folder.
    protocol
        hpatches-dift squashes to 768 x 768 and reads descriptors as DIFT's code does,
        hpatches-exact reads them where the key points are.
    no_controls
        Only the model, without same position, colours, dense SIFT and untrained.
    json
        Write all figures here, pair by pair too.
    markdown
        Write the tables here.
    """
    from counterpoint.benchmarks.datasets.hpatches import read_hpatches
    from counterpoint.benchmarks.planes.hpatches import Setting
    from counterpoint.benchmarks.planes.report import hpatches_report, tables

    setting = Setting(
        protocol=protocol,
        keypoints=_keypoints(matching.keypoints, options.device),
        count=matching.count,
        metric=matching.metric,
        estimators=tuple(dict.fromkeys(matching.estimator or ())),
        threshold_px=matching.threshold,
    )
    dataset = read_hpatches(
        data,
        sequences=selection.sequences,
        kind=selection.kind,
        all_sequences=selection.all_sequences,
        limit=selection.limit,
        skip_bad=selection.skip_bad,
    )
    backbone = open_model(options)
    with console().status("reading") as status:
        report = hpatches_report(
            backbone,
            dataset,
            options,
            setting,
            controls=not no_controls,
            skip_bad=selection.skip_bad,
            tell=lambda words: status.update(words),
        )
    lines = _left_out(report)
    print_tables(report.title, tables(report), lines)
    write_report(
        report.title, tables(report), lines, report.to_dict(), json=json, markdown=markdown
    )
    return 0


def _keypoints(word: str, device: str | None) -> "str | Path | KeyPointNetwork":
    """A detector's name, a network, or the folder of files."""
    from counterpoint.backbones.detectors import DETECTORS as LEARNED
    from counterpoint.backbones.detectors import detector_of, load_detector
    from counterpoint.benchmarks.planes.hpatches import DETECTORS
    from counterpoint.errors import BadInput

    if word in DETECTORS:
        return word
    if detector_of(word):
        return load_detector(word, device=device)
    folder = Path(word).expanduser()
    if not folder.is_dir():
        raise BadInput(
            f"expected --keypoints {', '.join((*DETECTORS, *LEARNED))} or a folder of their files, "
            f"got {word!r}"
        )
    return folder


def _left_out(report: "HPatchesReport") -> list[str]:
    lines = [f"skipped {bad.id}: {bad.reason}" for bad in report.skipped]
    if report.left_out:
        names = ", ".join(report.left_out)
        lines.append(f"left out, as papers do: {names}; --all-sequences takes them in")
    return lines
