"""`counterpoint parts`: the parts that pictures share, or those of a video."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from itertools import islice
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
from counterpoint.cli.shots import PictureShots, evenly, open_shots
from counterpoint.cli.sources import open_source

if TYPE_CHECKING:
    import numpy as np

    from counterpoint.cli.shots import Shot, Shots
    from counterpoint.cli.sources import Source
    from counterpoint.features import FeatureMap
    from counterpoint.images import Picture
    from counterpoint.options import Options
    from counterpoint.provenance import Provenance
    from counterpoint.tasks.parts.segmentation import PartModel, Segmenting

MODEL_FILE, RESULT_FILE, SHEET_FILE = "parts.safetensors", "parts.json", "contact.jpg"

ON_SHEET = 48
"""Pictures on the contact sheet, at most; of more, so many at even distances."""

SHEET_PX = 240
"""Height of a picture there."""

BATCH = 4
"""Pictures in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How parts are found.

    Attributes:
        k: how many parts, or auto: by the silhouette.
        foreground: look for parts in the foreground alone, found by the first component.
        votes: a part counts if at least this share of the pictures has it.
        sample: pictures or frames that are fitted on, at even distances; the rest are labelled.
        kmeans_seed: of the starts of k-means.
    """

    k: int | Literal["auto"] = 8
    foreground: bool = True
    votes: float = 0.5
    sample: int = 64
    kmeans_seed: int = 0


Found = Annotated[Finding, Parameter(name="*", group="Parts")]
_USUAL = Finding()


def parts(
    *pictures: str,
    out: Path = Path("out/parts"),
    mask: Annotated[list[Path] | None, Parameter(negative="", consume_multiple=True)] = None,
    fitted: Path | None = None,
    features: Path | None = None,
    video: Annotated[bool, Parameter(negative="")] = False,
    fps: float | None = None,
    all_parts: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    finding: Found = _USUAL,
    options: ModelOptions = DEFAULTS,
) -> int:
    """Find the parts that PICTURES share, in the same colours everywhere.

    Below OUT: labels/ (palette PNGs of the pictures' sizes, 0 where there is no part), overlays/
    (of a video: one video), a contact sheet, parts.json, and the fitted model, which labels other
    pictures with --fitted. Pictures that cannot be read are reported and skipped; the exit code is
    then 1, as where no picture has any part.

    Parameters
    ----------
    pictures
        Pictures, folders, quoted glob patterns; or one video file.
    out
        The folder for the results.
    mask
        Masks (or a folder of them), one a picture in their order: parts lie where they are not
        black. The first component is then not asked.
    fitted
        A fitted model: label with it instead of fitting one. Features are then made as for it.
    features
        The folder of `extract`'s files for these pictures: no model is run.
    video
        PICTURES is one folder of a video's frames.
    fps
        Frames a second of the video written; by default those of the video, or 24.
    all_parts
        Also label parts that too few pictures have.
    json
        Print JSON.
    """
    from json import dumps

    from counterpoint.files import write_text
    from counterpoint.tasks.parts.segmentation import load_parts

    place = output_folder(out)
    settings = _settings(finding, bool(mask))
    shots = open_shots(list(pictures), mask or [], video=video)
    given = load_parts(fitted) if fitted else None
    chosen = _options_of(given[1], options) if given else options
    asked = options if features else chosen
    source = open_source(asked, features, getattr(shots, "paths", []))
    kept: dict[int, FeatureMap] = {}
    model = given[0] if given else _fit(shots, source, settings, finding.sample, kept)
    job = _Job(shots, source, model, place, all_parts, kept)
    job.run(fps)
    if not given:
        model.save(place / MODEL_FILE, _remade(model.provenance) if features else _note(chosen))
    result = job.result(model.provenance.model, fitted)
    write_text(place / RESULT_FILE, dumps(result, indent=1) + "\n")
    if json:
        print_json(result)
    else:
        _print(result, place)
    return 1 if shots.skipped or not any(entry["parts"] for entry in result["pictures"]) else 0


def _note(options: "Options") -> dict[str, Any]:
    """Options as plain JSON; where and how precisely is of the machine, not of the features."""
    entries = {name: value for name, value in asdict(options).items() if value is not None}
    kept = {name: value for name, value in entries.items() if name not in ("device", "dtype")}
    return {"options": kept}


def _remade(made: "Provenance") -> dict[str, Any]:
    """Options that make features as stored ones were made; none of a fusion, whose taps are one."""
    if made.parts:
        return {}
    known: dict[str, Any] = {"tap": made.tap, "size": made.size_wh, "prompt": made.prompt or None}
    if made.timesteps:
        known |= {"t": made.timesteps, "ensemble": made.ensemble, "seed": made.seed}
        known |= {"noise": made.noise or "added"}
    return _note(DEFAULTS.but(model=made.model, combine=made.combine, fit=made.fit, **known))


def _options_of(note: dict[str, Any], given: "Options") -> "Options":
    """The options a model was fitted with, but for those of the machine; or those given."""
    from counterpoint.options import Options

    local = {"device": given.device, "dtype": given.dtype}
    if replace(given, device=None, dtype=None) != DEFAULTS or "options" not in note:
        return given
    known = {entry.name for entry in fields(Options)}
    stored = {name: value for name, value in note["options"].items() if name in known}
    for name in ("t", "size"):
        if isinstance(stored.get(name), list):
            stored[name] = tuple(stored[name])
    return Options(**stored).but(**local)


def _settings(finding: Finding, masked: bool) -> "Segmenting":
    from counterpoint.errors import BadInput
    from counterpoint.tasks.parts.segmentation import Segmenting

    if finding.sample < 1:
        raise BadInput(f"expected a sample of at least 1 picture, got {finding.sample}")
    return Segmenting(
        k=None if finding.k == "auto" else finding.k,
        foreground=finding.foreground and not masked,
        votes=finding.votes,
        seed=finding.kmeans_seed,
    )


def _fit(
    shots: "Shots",
    source: "Source",
    settings: "Segmenting",
    sample: int,
    kept: "dict[int, FeatureMap]",
) -> "PartModel":
    """Fitted on a sample, whose maps are kept: they are needed again."""
    from counterpoint.errors import BadInput
    from counterpoint.tasks.parts.segmentation import fit_parts

    fitting: list[FeatureMap] = []
    for shot, fmap in _extracted(shots.shots(evenly(shots.count, sample)), source, {}):
        kept[shot.index] = fmap
        fitting.append(fmap if shot.mask is None else fmap.masked(shot.mask))
    if not fitting:
        raise BadInput("expected pictures that can be read, got none")
    return fit_parts(fitting, settings)


def _extracted(
    shots: "Iterator[Shot]", source: "Source", kept: "dict[int, FeatureMap]"
) -> "Iterator[tuple[Shot, FeatureMap]]":
    """Shots with their maps, in order; those kept are taken out of there."""
    while batch := list(islice(shots, BATCH)):
        maps = source.stream([shot.picture for shot in batch if shot.index not in kept])
        for shot in batch:
            yield shot, kept.pop(shot.index) if shot.index in kept else next(iter(maps))


@dataclass(eq=False)
class _Job:
    """Labels every picture, writes what comes of it, one picture at a time."""

    shots: "Shots"
    source: "Source"
    model: "PartModel"
    place: Path
    all_parts: bool
    kept: "dict[int, FeatureMap]"
    entries: list[dict[str, Any]] = field(default_factory=list)
    sheet: "list[Picture]" = field(default_factory=list)

    def run(self, fps: float | None) -> None:
        """Label, draw and write every picture; then the contact sheet."""
        with ExitStack() as open_files:
            show = self._shower(fps, open_files)
            advance = open_files.enter_context(progress(self.shots.count))
            for shot, fmap in _extracted(self.shots.shots(), self.source, self.kept):
                show(shot, self._label(shot, fmap))
                advance(Path(shot.stem).name)
        self._save_sheet()

    def _shower(
        self, fps: float | None, open_files: ExitStack
    ) -> "Callable[[Shot, np.ndarray], None]":
        """What becomes of an overlay: a frame of a video, or a picture."""
        if isinstance(self.shots, PictureShots):
            return lambda shot, rgb: _save_jpeg(rgb, self.place / "overlays" / f"{shot.stem}.jpg")
        from counterpoint.videos import VideoWriter

        video = self.shots.video
        path = self.place / f"{video.name}.parts.mp4"
        writer = VideoWriter(path, fps or video.fps or 24, video.size_wh)
        open_files.enter_context(writer)
        return lambda _, rgb: writer.add(rgb)

    def _label(self, shot: "Shot", fmap: "FeatureMap") -> "np.ndarray":
        """A picture's labels, written and counted; the picture under them."""
        from counterpoint.tasks.parts.pictures import overlay_parts, save_label_map
        from counterpoint.tasks.parts.segmentation import shares

        labels = self.model.labels(fmap, shot.mask, all_parts=self.all_parts)
        path = save_label_map(labels, self.place / "labels" / f"{shot.stem}.png")
        share = shares(labels, self.model.k)
        found = {str(i + 1): round(float(share[i]), 5) for i in share.nonzero()[0]}
        entry = {"name": shot.picture.name, "labels": str(path.relative_to(self.place))}
        self.entries.append({**entry, "share": round(float(share.sum()), 5), "parts": found})
        overlay = overlay_parts(shot.picture, labels)
        if shot.index in self._shown:
            self.sheet.append(_small(overlay, shot.stem))
        return overlay

    @cached_property
    def _shown(self) -> set[int]:
        return evenly(self.shots.count, ON_SHEET)

    def _save_sheet(self) -> None:
        from counterpoint.plots import draw_strip

        if self.sheet:
            _save_jpeg(draw_strip(self.sheet, height_px=SHEET_PX), self.place / SHEET_FILE)

    def result(self, model: str, fitted: Path | None) -> dict[str, Any]:
        """Everything that was found, ready for JSON."""
        from counterpoint.tasks.parts.pictures import COLOURS

        rows = zip(self.model.present, self.model.salient, self.model.margin, strict=True)
        return {
            "model": model,
            "fitted": str(fitted or self.place / MODEL_FILE),
            "parts": [
                {
                    "id": number,
                    "colour": COLOURS[number].tolist(),
                    "salient": bool(salient),
                    "present_in": round(float(present), 4),
                    "margin": bool(margin),
                }
                for number, (present, salient, margin) in enumerate(rows, 1)
            ],
            "pictures": self.entries,
            "skipped": list(self.shots.skipped.values()),
        }


def _save_jpeg(rgb: "np.ndarray", path: Path) -> None:
    from PIL import Image

    from counterpoint.files import atomic_path

    with atomic_path(path) as beside:
        Image.fromarray(rgb).save(beside, format="JPEG", quality=90)


def _small(rgb: "np.ndarray", name: str) -> "Picture":
    """For the contact sheet: shrunk at once, so that it holds no large pictures."""
    import cv2

    from counterpoint.images import Picture

    height, width = rgb.shape[:2]
    scale = min(1.0, SHEET_PX / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Picture(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), name)


def _print(result: dict[str, Any], place: Path) -> None:
    from rich.table import Table

    shown = console()
    table = Table("part", "colour", "in pictures", "kept")
    for part in result["parts"]:
        swatch = "[on rgb({},{},{})]      [/]".format(*part["colour"])
        why = "a margin of the pictures" if part["margin"] else "in too few pictures"
        kept = "yes" if part["salient"] else f"no: {why}"
        table.add_row(str(part["id"]), swatch, f"{part['present_in']:.0%}", kept)
    shown.print(table)
    covered = [entry["share"] for entry in result["pictures"]]
    empty = sum(share == 0 for share in covered)
    mean = sum(covered) / max(len(covered), 1)
    shown.print(f"{len(covered)} pictures, parts on {mean:.0%} of their area; none in {empty}")
    shown.print(f"wrote {place}")
