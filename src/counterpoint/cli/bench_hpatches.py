"""`counterpoint bench hpatches`: homographies between pictures of a plane."""

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from counterpoint.cli.common import DEFAULTS, ModelOptions, console, open_model, print_tables

if TYPE_CHECKING:
    from counterpoint.benchmarks.hpatches_report import HPatchesReport

Several = Parameter(negative="", consume_multiple=True)
Flag = Parameter(negative="")


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
        keypoints: sift, grid (the same in all pictures, so it favours no motion), or a folder of
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
        The folder that holds v_* and i_*: hpatches-sequences-release.
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
    from counterpoint.benchmarks.hpatches_bench import DETECTORS, Setting
    from counterpoint.benchmarks.hpatches_report import hpatches_report

    points = matching.keypoints
    setting = Setting(
        protocol=protocol,
        keypoints=points if points in DETECTORS else _folder(points),
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
    _show(report)
    _write(report, json, markdown)
    return 0


def _folder(name: str) -> Path:
    from counterpoint.errors import BadInput

    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise BadInput(f"expected --keypoints sift, grid or a folder of their files, got {name!r}")
    return folder


def _show(report: "HPatchesReport") -> None:
    from counterpoint.benchmarks.hpatches_report import tables

    print_tables(report.title, tables(report), _left_out(report))


def _left_out(report: "HPatchesReport") -> list[str]:
    lines = [f"skipped {bad.id}: {bad.reason}" for bad in report.skipped]
    if report.left_out:
        names = ", ".join(report.left_out)
        lines.append(f"left out, as papers do: {names}; --all-sequences takes them in")
    return lines


def _write(report: "HPatchesReport", as_json: Path | None, as_markdown: Path | None) -> None:
    from counterpoint.benchmarks.hpatches_report import tables
    from counterpoint.files import write_text

    if as_json:
        text = json_format.dumps(report.to_dict(), indent=2, allow_nan=False)
        write_text(as_json, text + "\n")
    if as_markdown:
        parts = [report.title + "\n", *(table.markdown() for table in tables(report))]
        parts += [f"- {line}\n" for line in _left_out(report)]
        write_text(as_markdown, "\n".join(parts))
    for path in (as_json, as_markdown):
        if path:
            console().print(f"wrote {path}")
