"""What a newcomer meets: help, mistakes, shells."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from counterpoint.cli.app import _COMMANDS, app
from counterpoint.cli.helptexts import EXAMPLES, epilogue, paragraphs

LINES = [(path, line) for path, lines in EXAMPLES.items() for line in lines]


def subcommands():
    for name in _COMMANDS:
        yield name
        yield from (f"{name} {inner}" for inner in app[name] if not inner.startswith("-"))


def help_of(command, run):
    code, out, err = run(*command.split(), "--help")
    assert (code, err) == (0, "")
    return out


@pytest.mark.parametrize("command", list(subcommands()))
def test_every_command_has_an_example_and_its_whole_help(command, run):
    out = help_of(command, run)
    assert epilogue(command) in out
    assert "--empty-" not in out
    assert "[default: False]" not in out
    function = app
    for word in command.split():
        function = function[word]
    doc = function.default_command.__doc__ if function.default_command else function.help
    about = paragraphs(doc.split("Parameters\n")[0]).split("\n\n")
    flat = " ".join(out.split())
    assert all(" ".join(part.split()) in flat for part in about)


@pytest.mark.parametrize(("path", "line"), LINES)
def test_examples_are_commands_that_can_be_typed(path, line):
    words = shlex.split(line.split(" > ")[0])
    if words[0] == "COMMAND":
        return
    assert line.startswith(path)
    app.parse_args(words, exit_on_error=False, print_error=False)


def test_commands_are_listed_in_groups(run):
    code, out, _ = run("--help")
    assert code == 0
    places = [out.index(title) for title in ("─ Use ─", "─ Measure ─", "─ Models, data")]
    assert places == sorted(places)
    assert places[0] < out.index("│ track") < places[1] < out.index("│ sweep") < places[2]
    assert "counterpoint match cat.jpg dog.jpg --at 120,85" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["matsch", "a", "b"], "unknown command 'matsch': did you mean 'match'"),
        (["models", "shwo"], "unknown command of models 'shwo': did you mean 'show'"),
        (["match"], "SOURCE requires an argument; see counterpoint match --help"),
        (["match", "a", "b", "--att", "1,2"], "see counterpoint match --help"),
        (["noise", "my", "cat.jpg"], "unexpected 'cat.jpg'; quote names with spaces"),
        (["match", "a.jpg", "b.jpg", "--grid", "many"], "see counterpoint match --help"),
        (["bench", "spare"], "did you mean 'spair'"),
    ],
)
def test_slips_are_answered_in_one_line(words, said, run):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert err.startswith("counterpoint: ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_know_commands_and_options(shell, run):
    code, out, err = run("completion", shell)
    assert (code, err) == (0, "")
    assert "annotate" in out
    assert "min-confidence" in out


def test_bash_takes_its_completions(run):
    _, script, _ = run("completion", "bash")
    asked = "COMP_WORDS=(counterpoint tr); COMP_CWORD=1; _counterpoint; echo ${COMPREPLY[*]}"
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=False
    )
    assert sorted(done.stdout.split()) == ["track", "train"], done.stderr


@pytest.fixture
def cat(tmp_path, photo) -> Path:
    path = tmp_path / "cat.png"
    Image.fromarray(photo[:120, :160]).save(path)
    return path


@pytest.mark.parametrize("name", ["my cat.png", "猫 é.png", "two\nlines.png", "-dash.png"])
def test_odd_names_are_names(name, cat, run, monkeypatch):
    monkeypatch.chdir(cat.parent)
    cat.rename(cat.with_name(name))
    code, out, _ = run(
        "match", f"./{name}", f"./{name}", "--at", "30,40", "--model", "rgb", "--json"
    )
    assert code == 0
    assert json.loads(out)[0]["matches"]["matches"][0]["target_px"] == [30, 40]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic", "HEIC cannot be read; convert it to JPEG or PNG"),
        ("a.svg", b"<svg/>", "SVG cannot be read; draw it as PNG"),
        ("a.pdf", b"%PDF-1.4", "PDF cannot be read"),
        ("a.mp4", b"\0\0\0\x18ftypisom", "a video"),
        ("a.txt", b"hello", "expected a picture (JPEG, PNG, TIFF, ...), got"),
    ],
)
def test_files_of_other_kinds_say_what_to_do(name, content, said, cat, run):
    other = cat.with_name(name)
    other.write_bytes(content)
    code, out, err = run("match", cat, other, "--at", "3,3", "--model", "rgb")
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("columns", [40, 90])
def test_help_fits_its_terminal(columns):
    code = "from counterpoint.cli.app import main; main(['match', '--help'])"
    env = {**os.environ, "COLUMNS": str(columns)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    panels = done.stdout.split("\nExamples:")[0]
    assert 0.8 * columns < max(map(len, panels.splitlines())) <= columns


def test_no_colour_where_nobody_looks(cat):
    code = "from counterpoint.cli.app import main; main()"
    words = [sys.executable, "-c", code, "match", str(cat), str(cat), "--at", "3,3"]
    done = subprocess.run(
        [*words, "--model", "rgb"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color"},
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
