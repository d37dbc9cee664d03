"""Every example of docs/python.md gives what it says."""

import doctest
import re
from pathlib import Path

from support.tiny_datasets import write_spair

GUIDE = Path(__file__).parents[2] / "docs/python.md"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_BLOCK = re.compile(r"^```pycon\n(.*?)^```", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, list[tuple[int, str]]]:
    """Blocks with the line that each begins at, by section; "" before the first."""
    text = GUIDE.read_text(encoding="utf-8")
    found: dict[str, list[tuple[int, str]]] = {}
    for part in re.split(r"^(?=## )", text, flags=re.MULTILINE):
        title = part.splitlines()[0].lstrip("# ") if part.startswith("## ") else ""
        begin = text[: text.index(part)].count("\n")
        for block in _BLOCK.finditer(part):
            line = begin + part[: block.start(1)].count("\n")
            found.setdefault(title, []).append((line, block[1]))
    return found


SECTIONS = sections()


def run(blocks: list[tuple[int, str]], names: dict[str, object]) -> str:
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    for line, block in blocks:
        test = doctest.DocTestParser().get_doctest(block, names, GUIDE.name, str(GUIDE), line)
        runner.run(test, out=said.append, clear_globs=False)
        names.update(test.globs)
    return "".join(said)


def test_the_guide_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_spair(tmp_path / "SPair-71k")
    assert len(SECTIONS) > 10
    names: dict[str, object] = {}
    failed = {title: said for title, blocks in SECTIONS.items() if (said := run(blocks, names))}
    assert not failed, "\n".join(failed.values())


def test_a_wrong_line_is_found_out():
    assert "Expected:\n    5" in run([(1, ">>> 2 + 2\n5\n")], {})
