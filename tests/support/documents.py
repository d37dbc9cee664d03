"""What the project's pages say, cut into pieces that can be checked: commands, links, names."""

import ast
import functools
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import counterpoint
from counterpoint.cli.app import app

ROOT = Path(__file__).parents[2]
PACKAGE = Path(counterpoint.__file__).parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FOLDERS = (
    "src",
    "benchmarks",
    "tests/contract",
    "tests/golden",
    "tests/integration",
    "tests/unit",
)
SOURCES = sorted(path for folder in _FOLDERS for path in (ROOT / folder).rglob("*.py"))
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
_SHELL, _PYTHON = ("", "sh", "bash"), "python"
_FILE = re.compile(r"(?<![\w./-])[\w-]+(?:/[\w.-]+)*\.(?:py|md|jsonl|toml|sh)\b(?!\w)")
_OURS = re.compile(r"(?<![\w./-])(?:benchmarks|docs|src|tests|tools)(?:/[\w-]+)+\.\w+")
_DOTTED = re.compile(r"(?<![\w./@-])counterpoint(?:\.[a-zA-Z_]\w*)+")


class Page:
    """One page of Markdown: its prose, its inline code, its shell lines and its Python.

    A block is between fences or indented by four spaces; lines that end in a backslash are one.
    """

    def __init__(self, text: str, path: Path = ROOT / "page.md") -> None:
        self.path, prose, blocks, fence = path, [], [], None
        for line in text.splitlines():
            if line.startswith("```"):
                fence = line[3:].strip() if fence is None else None
            elif fence is not None:
                blocks.append((fence, line))
            elif line.startswith("    "):
                blocks.append(("", line[4:]))
            else:
                prose.append(line)
        self.prose = "\n".join(prose)
        shell = "\n".join(line for kind, line in blocks if kind in _SHELL)
        self.shell = shell.replace("\\\n", " ").splitlines()
        self.python = "\n".join(line for kind, line in blocks if kind == _PYTHON)

    @property
    def inline(self) -> list[str]:
        """Code within a sentence; it may run on over a line's end."""
        return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", self.prose)]

    @property
    def anchors(self) -> set[str]:
        """Where `page.md#...` can lead: a heading without its marks, blanks as hyphens."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in headings}

    @property
    def links(self) -> list[str]:
        """Targets of links and pictures, those on the web left out."""
        found = re.findall(r"\]\(([^)\s]+)\)", self.prose)
        return [target for target in found if "://" not in target]


@functools.cache
def flags() -> dict[tuple[str, ...], frozenset[str]]:
    """Every command's own flags: ("bench", "cub") to {"--data", "--t", ...}."""
    found: dict[tuple[str, ...], frozenset[str]] = {(): frozenset({"--help", "--version"})}

    def walk(node: object, path: tuple[str, ...]) -> None:
        if node.default_command is not None:
            names = (name for one in node.assemble_argument_collection() for name in one.names)
            found[path] = frozenset(name for name in names if name.startswith("--")) | {"--help"}
        for name in node:
            if not name.startswith("-"):
                walk(node[name], (*path, name))

    walk(app, ())
    return found


def words(line: str) -> list[str]:
    """A shell line's words, without comment, brackets of what is optional, and `VAR=1 taskset`."""
    try:
        found = shlex.split(re.sub(r"\[(--[^]]*)]", r"\1", line), comments=True)
    except ValueError:  # a drawing with a quotation mark
        return []
    starts = [i for i, word in enumerate(found) if word in ("counterpoint", "python")]
    return found[starts[0] :] if starts else []


def abridged(code: str) -> list[str]:
    """Inline code that is a command, with or without `counterpoint` before it, else nothing."""
    found = words(code) if code.startswith(("counterpoint ", "python ")) else code.split()
    names = {path[0] for path in flags() if path}
    if found and found[0] in names and all(re.match(r"[\w*./-]+$", word) for word in found):
        return ["counterpoint", *found]
    return found if found and found[0] in ("counterpoint", "python") else []


def command_of(arguments: list[str]) -> tuple[str, ...]:
    """The longest known command that these words begin with."""
    return next(path for n in (2, 1, 0) if (path := tuple(arguments[:n])) in flags())


def unknown_flags(asked: list[str]) -> Iterator[str]:
    """Flags among a command's words that this command or script does not have."""
    if asked[0] == "counterpoint":
        known = flags()[command_of(asked[1:])]
    else:
        known = script_flags(ROOT / asked[1])
    for word in asked[1:]:
        if word.startswith("--") and word.split("=")[0] not in known:
            yield word


@functools.cache
def script_flags(script: Path) -> frozenset[str]:
    """What a script's argument parser knows; none if there is no such script."""
    if not script.is_file():
        return frozenset()
    quoted = re.findall(r"\"(--[a-z][a-z-]*)\"", script.read_text(encoding="utf-8"))
    return frozenset(quoted) | {"--help"}


@functools.cache
def _names(module: Path) -> frozenset[str]:
    """What a module defines, imports or lists at its top level, by reading it only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return frozenset(found)


def resolves(dotted: str) -> bool:
    """Whether `counterpoint.x.y` is a room, a file in it, or a name which that file has."""
    place, parts = PACKAGE, dotted.split(".")[1:]
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    if parts and (place / f"{parts[0]}.py").is_file():
        place /= f"{parts.pop(0)}.py"
    else:
        place /= "__init__.py"
    if not parts:
        return place.is_file()
    public = counterpoint.__all__ if place == PACKAGE / "__init__.py" else ()
    return place.is_file() and (parts[0] in public or parts[0] in _names(place))


def imported(python: str) -> Iterator[str]:
    """Dotted names of the project that a piece of Python imports or uses as `cp.name`."""
    for node in ast.walk(ast.parse(python)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("counterpoint"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cp":
            yield f"counterpoint.{node.attr}"


def files_named(code: str) -> list[str]:
    """Files of the project named in a piece of inline code: sources, tests, pages."""
    return _FILE.findall(code) if "*" not in code and " " not in code else []


def extras_named(text: str) -> set[str]:
    """Extras in every `counterpoint[a,b]` of a text."""
    groups = re.findall(r"\bcounterpoint\[([a-z,]+)\]", text)
    return {extra for group in groups for extra in group.split(",")}


@functools.cache
def extras() -> frozenset[str]:
    """What `pip install 'counterpoint[...]'` knows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return frozenset(project["optional-dependencies"])


def make_targets(page: Page) -> list[str]:
    """Targets of every `make TARGET` on a page."""
    shown = [*page.shell, *page.inline]
    return [line.split()[1] for line in shown if re.match(r"make [a-z]+\b", line)]


def our_files(text: str) -> list[str]:
    """Files of the project named anywhere in a source, by their folder."""
    return _OURS.findall(text)


def dotted_names(text: str) -> list[str]:
    """Every `counterpoint.x.y` in a text."""
    return _DOTTED.findall(text)
