"""What `counterpoint match` prints, writes as JSON and draws."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.cli.common import console

if TYPE_CHECKING:
    import numpy as np

    from counterpoint.geometry import Points
    from counterpoint.images import Picture
    from counterpoint.matching import Alignment, Calibration, Matches, PreparedMap

RANKING = (
    "confidence is a ranking here and no probability: there is no calibration for these features "
    "(counterpoint calibrate makes one)"
)


@dataclass(frozen=True, eq=False)
class Found:
    """Matches in one target.

    Attributes:
        matches: of all points.
        reasons: why a match does not count, "" where it does.
        source: the source's features.
        target: the features that were searched, of the target or its mirror image.
        asked_px: (N, 2), the points that were looked for, left and right perhaps exchanged.
        calibration: behind the confidence; None: it is a ranking.
        alignment: of the target and its mirror image; None: not asked for.
    """

    matches: "Matches"
    reasons: tuple[str, ...]
    source: "PreparedMap"
    target: "PreparedMap"
    asked_px: "Points"
    calibration: "Calibration | None"
    alignment: "Alignment | None"

    @property
    def accepted(self) -> "np.ndarray":
        """Which matches count, (N,)."""
        import numpy as np

        return np.array([not reason for reason in self.reasons], dtype=bool)


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown of one pair.

    Attributes:
        source: picture.
        target: picture.
        model: its name.
        found: the matches.
        given: the points were given one by one and are no grid.
    """

    source: "Picture"
    target: "Picture"
    model: str
    found: Found
    given: bool


def as_plain(shown: Shown, written: list[Path]) -> dict[str, object]:
    """For JSON: matches that count, and apart from them points without a match, and why."""
    found = shown.found
    every = found.matches.to_dict()
    kept: list[dict[str, object]] = []
    lost: list[dict[str, object]] = []
    for number, (row, reason) in enumerate(zip(every["matches"], found.reasons, strict=True), 1):
        if not reason:
            kept.append({"point": number, **row})
            continue
        guess = row.pop("target_px")
        lost.append({"point": number, **row, "rejected_px": guess, "reason": reason})
    plain: dict[str, object] = {
        "source": shown.source.name,
        "target": shown.target.name,
        "model": shown.model,
        "matches": {**every, "matches": kept},
        "no_match": lost,
        "calibration": _calibration(found.calibration),
        "pictures": [str(path) for path in written],
    }
    if found.alignment:
        fits = {"plain": found.alignment.plain, "mirrored": found.alignment.mirrored}
        plain["alignment"] = {"flip": found.alignment.flip, **fits}
    return plain


def _calibration(used: "Calibration | None") -> dict[str, object] | None:
    if used is None:
        return None
    note = used.note
    return {"meaning": note.meaning, "fitted_on": note.dataset, "points": note.points}


def print_table(shown: Shown, written: list[Path]) -> None:
    """A table of the matches; of given points those without one as well."""
    from rich.table import Table

    screen, found = console(), shown.found
    name = f"points in {shown.target.name}"
    if found.alignment and found.alignment.flip:
        name += ", searched in its mirror image"
    table = Table("#", "source x,y", "target x,y", title=name, title_justify="left")
    headings = ["confidence", "similarity", "margin", "cycle px"]
    headings += ["spread px"] if found.matches.disagreement_px is not None else []
    for heading in headings:
        table.add_column(heading, justify="right")
    for i, reason in enumerate(found.reasons):
        if shown.given or not reason:
            table.add_row(*_row(found, i))
    screen.print(table)
    for line in _notes(shown):
        screen.print(line)
    for path in written:
        screen.print(f"wrote {path}")


def _row(found: Found, i: int) -> list[str]:
    matches = found.matches
    place = "{:g}, {:g}".format(*matches.target_px[i].round(1))
    cells = [
        str(i + 1),
        "{:g}, {:g}".format(*matches.source_px[i].round(1)),
        "no match" if found.reasons[i] else place,
        f"{matches.confidence[i]:.2f}",
        f"{matches.similarity[i]:.3f}",
        f"{matches.margin[i]:.3f}",
        f"{matches.cycle_px[i]:.1f}",
    ]
    spread = matches.disagreement_px
    return cells if spread is None else [*cells, f"{spread[i]:.1f}"]


def _notes(shown: Shown) -> list[str]:
    """What the confidence is, and which points have no match."""
    found, used = shown.found, shown.found.calibration
    notes = [RANKING]
    if used is not None:
        notes = [
            f"confidence: probability that the match lies {used.note.meaning}, fitted on "
            f"{used.note.dataset or 'your own matches'}; other kinds of pictures may differ"
        ]
        if not used.serves(found.source.provenance, found.target.provenance, used.note.matching):
            notes.append("the calibration was fitted on other features: mistrust its probabilities")
    lost = [i for i, reason in enumerate(found.reasons) if reason]
    if shown.given:
        return notes + [f"no match for point {i + 1}: {found.reasons[i]}" for i in lost]
    return notes + ([f"no match: {len(lost)} of {len(found.reasons)} points"] if lost else [])


def draw(place: Path, shown: Shown) -> list[Path]:
    """The matches that count (of a grid the more confident half), and each given point's heat."""
    found = shown.found
    counted = found.matches.select(found.accepted)
    written = _draw_matches(place, shown, counted if shown.given else _more_confident_half(counted))
    return written + (_draw_heat(place, shown) if shown.given else [])


def _more_confident_half(matches: "Matches") -> "Matches":
    best_first = matches.confidence.argsort(kind="stable")[::-1]
    return matches.select(best_first[: -(-len(matches) // 2)])


def _stem(shown: Shown) -> str:
    return f"{Path(shown.source.name).stem}--{Path(shown.target.name).stem}"


def _draw_matches(place: Path, shown: Shown, matches: "Matches") -> list[Path]:
    from counterpoint.plots import draw_matches, save_png

    path = place / f"{_stem(shown)}.matches.png"
    return [save_png(draw_matches(shown.source, shown.target, matches), path)]


def _draw_heat(place: Path, shown: Shown) -> list[Path]:
    """For each point: where it is asked for, beside the target under its similarity map."""
    from counterpoint.matching import similarity_map
    from counterpoint.plots import draw_heat, draw_query, join_columns, save_png

    found = shown.found
    written: list[Path] = []
    for number, one in enumerate(found.matches, 1):
        asked = found.asked_px[number - 1]
        similarity = similarity_map(found.source, found.target, asked)
        panels = [
            draw_query(shown.source, (float(asked[0]), float(asked[1]))),
            draw_heat(shown.target, similarity, one.target_px),
        ]
        path = place / f"{_stem(shown)}.heat-{number}.png"
        written.append(save_png(join_columns(panels), path))
    return written
