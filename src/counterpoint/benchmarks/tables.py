"""Tables of texts, as every report prints and writes them."""

from dataclasses import dataclass

from counterpoint.geometry import SizeWH


@dataclass(frozen=True)
class Cells:
    """A table of texts.

    Attributes:
        header: of the columns.
        rows: as long as the header each.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As a GitHub table, from the fourth column on to the right."""
        bars = ("---", "---", "---", *("---:" for _ in self.header[3:]))
        lines = [self.header, bars, *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


@dataclass(frozen=True)
class Table:
    """Cells with a line above and lines below."""

    title: str
    cells: Cells
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """As GitHub shows it."""
        return "\n\n".join([self.title, self.cells.markdown().strip(), *self.notes]) + "\n"


def size_text(input_wh: SizeWH | None, *, own: bool = False) -> str:
    """A model's input for a table's cell; None: none.

    Args:
        input_wh: pixels.
        own: where it is None, pictures keep their own size.

    >>> size_text((768, 512)), size_text(None), size_text(None, own=True)
    ('768x512', '', 'own')
    """
    if input_wh is None:
        return "own" if own else ""
    return "{}x{}".format(*input_wh)


def setting_text(tap: str, t: str) -> str:
    """Tap and time steps for a table's cell; "" where there is nothing to choose.

    >>> setting_text("up:1", "50+150"), setting_text("pixels", ""), setting_text("", "")
    ('up:1, t=50+150', 'pixels', '')
    """
    return tap + (f", t={t}" if t else "")
