"""`counterpoint edit` on pictures: the edited picture, the drawing that shows why."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counterpoint.cli.edit.command import Job
    from counterpoint.images import Picture
    from counterpoint.plots import Canvas
    from counterpoint.tasks.edits.carry import CarriedEdit

DRAWN = 32
"""Matches in a drawing, at most."""

HEIGHT_PX = 360


def edit_picture(job: "Job", target: Path) -> dict[str, Any]:
    """Carry the edit to one picture; a row of the report."""
    from counterpoint.plots import save_png
    from counterpoint.tasks.edits.originals import load_original

    original = load_original(target)
    found = job.carry(original.picture, "objects")
    written: list[str] = []
    result = original
    if found.carried:
        overlays = found.overlays()
        if job.fitting.relight:
            overlays = [o.relit(relighting(job.source, original.picture, found)) for o in overlays]
        result = original.with_overlays(overlays)
        # The whole name is kept, so that a.jpg and a.png differ; its own ending stays last.
        ending = "" if target.suffix.lower() in _endings(original.suffix) else original.suffix
        written.append(str(result.save(job.place_for(target, ending))))
    drawing = draw_edit(job, original.picture, result.picture, found)
    pictures = [str(save_png(drawing, job.place_for(target, ".matches.png")))]
    row = {"target": str(target), "result": written[0] if written else None, **found.to_dict()}
    return {**row, "pictures": pictures}


def _endings(suffix: str) -> tuple[str, ...]:
    """Other spellings of an ending."""
    return {".jpg": (".jpg", ".jpeg"), ".tif": (".tif", ".tiff")}.get(suffix, (suffix,))


def draw_edit(job: "Job", target: "Picture", result: "Picture", found: "CarriedEdit") -> "Canvas":
    """The edited source, the matches that agree, the target; and beside it the result."""
    from counterpoint.images import Picture
    from counterpoint.plots import draw_matches, draw_strip, join_columns
    from counterpoint.tasks.edits.layers import blend

    shown = Picture(blend(job.source.rgb, job.edit.coverage), job.source.name)
    # Of an edit that was refused, what the matches that lead back say.
    agreeing = found.matches.select(found.inliers if found.carried else found.returns)
    text = caption(found) if found.carried else f"refused: {found.reason}"
    pair = draw_matches(shown, target, agreeing.thinned(DRAWN), height_px=HEIGHT_PX)
    return join_columns([pair, draw_strip([Picture(result.rgb, text)], height_px=HEIGHT_PX)])


def caption(found: "CarriedEdit") -> str:
    """A carried edit in few words."""
    kinds = " and ".join(part.fit.warp.kind for part in found.parts)
    return f"{kinds}: {int(found.inliers.sum())} of {len(found.matches)} agree"


def relighting(source: "Picture", target: "Picture", found: "CarriedEdit") -> Any:
    """By how much each colour grew from source to target at the matches that agree, (3,).

    The median ratio of blurred levels, between a half and twice.
    """
    import cv2
    import numpy as np

    def levels(picture: "Picture", points: Any) -> Any:
        blurred = cv2.GaussianBlur(picture.rgb.astype(np.float32), (0, 0), 3)
        x, y = np.round(points).astype(int).T
        return blurred[y, x] + 4  # black divides nothing

    matches = found.matches.select(found.inliers)
    ratio = levels(target, matches.target_px) / levels(source, matches.source_px)
    return np.median(ratio, axis=0).clip(0.5, 2)


def contact_sheet(job: "Job", rows: list[dict[str, Any]]) -> Path | None:
    """The results, or the targets left alone, each with what became of it; None without any."""
    import cv2

    from counterpoint.errors import ImageError
    from counterpoint.images import Picture, load_picture
    from counterpoint.plots import draw_strip, save_png
    from counterpoint.tasks.edits.layers import blend

    def small(picture: Picture, text: str) -> Picture:
        scale = min(1.0, 2 * HEIGHT_PX / max(picture.size_wh))
        size = [max(1, round(side * scale)) for side in picture.size_wh]
        return Picture(cv2.resize(picture.rgb, size, interpolation=cv2.INTER_AREA), text)

    tiles = [small(Picture(blend(job.source.rgb, job.edit.coverage)), "source, edited")]
    for row in rows:
        if "frames" in row:
            continue
        name = Path(row["target"]).name
        try:
            picture = load_picture(row.get("result") or row["target"])
        except ImageError:
            continue
        said = " and ".join(part["kind"] for part in row["parts"]) if row["carried"] else "refused"
        tiles.append(small(picture, f"{name}: {said}"))
    if len(tiles) < 2:
        return None
    return save_png(draw_strip(tiles, height_px=240, columns=5), job.out / "edit-sheet.png")
