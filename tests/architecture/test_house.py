"""The house's rules: who may import whom, what is public, what importing costs."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import counterpoint

PUBLIC = """
CounterpointError FeatureMap Matches Options Picture Provenance align annotate available
draw_components draw_heat draw_matches draw_strip edit extract fit_parts joint_pca load load_picture
match mutual_matches save_png similarity_map track
""".split()

HEAVY = ("torch", "diffusers", "transformers", "cv2", "numpy", "PIL")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_layers():
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 kept, 0 broken" in done.stdout


def test_public_names():
    assert sorted(counterpoint.__all__) == sorted(PUBLIC)
    assert all(getattr(counterpoint, name) for name in PUBLIC)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        counterpoint.nothing


@pytest.mark.parametrize(
    "code",
    [
        "import counterpoint",
        "from counterpoint.cli.app import app; app(['--help'], result_action='return_value')",
        "from counterpoint.backbones import available; available()",
        "from counterpoint.cli.app import app\n"
        "for c in ('match', 'extract', 'pca', 'noise', 'models', 'bench', 'train', 'demo',\n"
        "          'align', 'edit', 'sweep', 'ladder', 'calibrate', 'score', 'report', 'data',\n"
        "          'generate', 'failures',\n"
        "          'annotate', 'parts', 'scene', 'track'):\n"
        "    app([c, '--help'], result_action='return_value')",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    out = python(f"{code}\nimport sys; print('LOADED', [m for m in {HEAVY} if m in sys.modules])")
    assert out.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_model_libraries_load_inside_backbones_only(package):
    from pathlib import Path

    root = Path(counterpoint.__file__).parent
    users = {
        path.relative_to(root).parts[0]
        for path in root.rglob("*.py")
        if f"import {package}" in path.read_text() or f"from {package}" in path.read_text()
    }
    assert users == {"backbones"}


def test_the_command_is_installed():
    assert [e.value for e in entry_points(group="console_scripts", name="counterpoint")]
