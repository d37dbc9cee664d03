"""The documents keep up with the code: every command, flag, module, file and link in them exists.

Nothing is run: commands are given to the command line's own parser, modules are read.
"""

import ast

import cyclopts
import pytest

from counterpoint.cli.app import app
from support.documents import (
    PACKAGE,
    PAGES,
    ROOT,
    SCRIPTS,
    SOURCES,
    Page,
    abridged,
    dotted_names,
    extras,
    extras_named,
    files_named,
    flags,
    imported,
    make_targets,
    our_files,
    resolves,
    script_flags,
    unknown_flags,
    words,
)

PLACES = (ROOT, PACKAGE, PACKAGE / "backbones", ROOT / "benchmarks")
WRITES = {"journal.jsonl", "ladder.md"}  # files that commands write

pages = pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])


def read(path):
    return Page(path.read_text(encoding="utf-8"), path)


def shown(page):
    """Words of every command on a page: blocks, and code within sentences."""
    found = [*map(words, page.shell), *map(abridged, page.inline)]
    return [asked for asked in found if asked and asked[1:2] != ["-c"]]


def refused(page):
    """Lines that the command line would not take, with the reason."""
    for line in sorted(line for line in page.shell if words(line)[:1] == ["counterpoint"]):
        try:
            app.parse_args(words(line)[1:], exit_on_error=False, print_error=False)
        except cyclopts.CycloptsError as error:
            yield f"{line}: {error}"


def wrong_flags(page):
    """Flags of commands, and flags alone in a sentence, which no command shown there has."""
    for asked in shown(page):
        yield from (f"{' '.join(asked[:3])}: {flag}" for flag in unknown_flags(asked))
    known = {flag for asked in shown(page) for flag in _all_flags(asked)}
    alone = " ".join(code for code in page.inline if code.startswith("--"))
    yield from (word for word in alone.split() if word.startswith("--") and word not in known)


def _all_flags(asked):
    if asked[0] == "python":
        return script_flags(ROOT / asked[1])
    return {flag for path, own in flags().items() if path[:1] == (*asked[1:2],) for flag in own}


def missing_scripts(page):
    scripts = [asked[1] for asked in shown(page) if asked[0] == "python"]
    return [script for script in scripts if not (ROOT / script).is_file()]


def broken_links(page):
    for target in page.links:
        name, _, anchor = target.partition("#")
        other = page.path.parent / name
        there = not name or other.exists()
        if not there or (anchor and anchor not in (read(other) if name else page).anchors):
            yield target


def missing_files(page):
    named = {name for code in page.inline for name in files_named(code)} - WRITES
    places = (*PLACES, page.path.parent)
    return sorted(name for name in named if not any((place / name).exists() for place in places))


def missing_names(page):
    named = {*dotted_names("\n".join([page.prose, *page.shell])), *imported(page.python)}
    return sorted(name for name in named if not resolves(name))


@pages
def test_every_command_shown_is_one(path):
    page = read(path)
    assert list(refused(page)) == []
    assert missing_scripts(page) == []
    assert list(wrong_flags(page)) == []


@pages
def test_every_link_file_and_name_is_there(path):
    page = read(path)
    assert list(broken_links(page)) == []
    assert missing_files(page) == []
    assert missing_names(page) == []


@pages
def test_every_extra_and_target_is_there(path):
    page = read(path)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert extras_named("\n".join([page.prose, *page.shell])) <= extras()
    assert [name for name in make_targets(page) if f"\n{name}:" not in makefile] == []


def test_the_sources_name_what_is_there():
    wrong = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        missing = [name for name in our_files(text) if not (ROOT / name).exists()]
        missing += [name for name in dotted_names(text) if not resolves(name)]
        missing += extras_named(text) - extras()
        wrong += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(missing)]
    assert wrong == []


def test_scripts_have_the_flags_that_their_docstrings_show():
    for script in SCRIPTS:
        told = Page(ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "")
        assert (script.name, missing_scripts(told), list(wrong_flags(told))) == (
            script.name,
            [],
            [],
        )


WRONG = """# A page

See [there](nowhere.md), [here](#a-page), [not here](#another), [nor](video.md#nothing),
![no picture](figures/none.png). `bench cub --pears 3`, `--vanished 3`, `benchmarks/gone.py`,
`counterpoint.tasks.edit.carry`, `counterpoint.matching.find`, `counterpoint.matching.find.no`.

    counterpoint match a.jpg b.jpg --fit sqash    # a value that does not exist
    OMP_NUM_THREADS=1 counterpoint sweep cub \\
        --data CUB --hlaf odd
    counterpoint swep cub
    python benchmarks/matching.py [--chanels 3]
    python benchmarks/gone.py
    make haste && pip install 'counterpoint[vit,gold]'

```python
import counterpoint as cp
from counterpoint.tasks.tracking import nothing

cp.extract(), cp.extrude()
```
"""


def test_a_page_full_of_mistakes_is_found_out():
    page = Page(WRONG, ROOT / "docs" / "wrong.md")
    told = [line.split(":")[0].split("    ")[0] for line in refused(page)]
    assert [line.split()[:3] for line in told] == [
        ["OMP_NUM_THREADS=1", "counterpoint", "sweep"],
        ["counterpoint", "match", "a.jpg"],
        ["counterpoint", "swep", "cub"],
    ]
    assert missing_scripts(page) == ["benchmarks/gone.py"]
    assert make_targets(page) == ["haste"]
    assert extras_named("\n".join(page.shell)) - extras() == {"gold"}
    assert list(wrong_flags(page)) == [
        "counterpoint sweep cub: --hlaf",
        "python benchmarks/matching.py --chanels: --chanels",
        "counterpoint bench cub: --pears",
        "--vanished",
    ]
    assert set(broken_links(page)) == {
        "nowhere.md",
        "#another",
        "video.md#nothing",
        "figures/none.png",
    }
    assert missing_files(page) == ["benchmarks/gone.py"]
    assert missing_names(page) == [
        "counterpoint.extrude",
        "counterpoint.matching.find.no",
        "counterpoint.tasks.edit.carry",
        "counterpoint.tasks.tracking.nothing",
    ]
