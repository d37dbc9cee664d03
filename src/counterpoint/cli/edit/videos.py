"""`counterpoint edit` on videos: every frame matched to the source, the warps made steady."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.cli.common import progress

if TYPE_CHECKING:
    from counterpoint.cli.edit.command import Job
    from counterpoint.tasks.edits.motion import FrameFinding, SteadyIsland
    from counterpoint.videos import Video

SHOWN = 6
"""Frames on a video's contact sheet."""


def edit_video(job: "Job", target: Path) -> dict[str, Any]:
    """Carry the edit through one video; a row of the report.

    The video is read twice: to find the edit in every frame, and to draw it. Only a few numbers a
    frame are held in between.
    """
    from counterpoint.tasks.edits.motion import Steadying, frame_findings, steady, track_summary
    from counterpoint.videos import open_video

    how = Steadying(sigma=job.moving.smooth, gap=job.moving.gap)
    video = open_video(target, broken="skip")
    findings: list[list[FrameFinding]] = []
    with progress(video.count, f"{target.name}: finding") as advance:
        for picture in video:
            findings.append(frame_findings(job.carry(picture, "views")))
            advance()
    skipped = [{"frame": s.number, "reason": s.reason} for s in video.skipped]
    drawn = steady(job.edit, findings, video.size_wh, how)
    summary = track_summary(job.edit, findings, drawn)
    carried = summary["frames_with_edit"] > 0
    row = {"target": str(target), "result": None, "carried": carried, **summary}
    row |= {"skipped": skipped, "by_frame": _by_frame(findings, drawn), "pictures": []}
    said = ", ".join(f"{r['reason']} ({r['frames']} frames)" for r in summary["refusals"])
    row["reason"] = said
    if not carried:
        return row
    result, sheet = _draw(job, target, video, drawn)
    return row | {"result": str(result), "pictures": [str(sheet)]}


def _by_frame(
    findings: "list[list[FrameFinding]]", drawn: "list[list[SteadyIsland]]"
) -> list[dict[str, Any]]:
    return [
        {
            "support": [round(finding.weight, 3) for finding in frame],
            "drawn": [
                {"island": d.island, "kind": d.warp.kind, "matrix": d.warp.matrix.tolist()}
                for d in placed
            ],
        }
        for frame, placed in zip(findings, drawn, strict=True)
    ]


def _draw(
    job: "Job", target: Path, video: "Video", drawn: "list[list[SteadyIsland]]"
) -> tuple[Path, Path]:
    """The video with the edit, and a sheet of some of its frames."""
    import numpy as np

    from counterpoint.images import Picture
    from counterpoint.plots import draw_strip, save_png
    from counterpoint.tasks.edits.layers import blend

    chosen = set(np.linspace(0, len(drawn) - 1, SHOWN).astype(int).tolist())
    tiles: list[Picture] = []
    with ExitStack() as open_files:
        place, add = open_files.enter_context(_writer(job, target, video))
        advance = open_files.enter_context(progress(len(drawn), f"{target.name}: drawing"))
        for index, (frame, islands) in enumerate(zip(video.frames(), drawn, strict=True)):
            rgb = frame.picture.rgb
            overlays = [island.overlay(job.edit, video.size_wh) for island in islands]
            for overlay in overlays:
                rgb = blend(rgb, overlay)
            add(frame, overlays, rgb)
            if index in chosen:
                tiles.append(Picture(rgb, f"frame {frame.number}"))
            advance()
    sheet = draw_strip(tiles, height_px=240, columns=3)
    return place, save_png(sheet, job.place_for(target, ".frames.png"))


@contextmanager
def _writer(
    job: "Job", target: Path, video: "Video"
) -> "Generator[tuple[Path, Callable[..., None]]]":
    """Where frames go: an MP4 file, or for a folder a folder, each picture in its own kind."""
    from counterpoint.tasks.edits.originals import load_original
    from counterpoint.videos import PictureVideo, VideoWriter

    if isinstance(video, PictureVideo) and target.is_dir():
        folder = job.place_for(target, "")

        def save(frame: Any, overlays: Any, rgb: Any) -> None:  # noqa: ARG001
            original = load_original(video.paths[frame.number])
            result = original.with_overlays(overlays)
            result.save(folder / f"{video.frame_name(frame.number)}{result.suffix}")

        yield folder, save
        return
    place = job.place_for(target, "" if target.suffix.lower() == ".mp4" else ".mp4")
    with VideoWriter(place, video.fps or 10.0, video.size_wh) as writer:

        def add(frame: Any, overlays: Any, rgb: Any) -> None:  # noqa: ARG001
            writer.add(rgb, frame.time_s)

        yield place, add
