"""Fixtures for every test, and shapes checked at run time."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent
CHECKED = (
    "annotations api backbones benchmarks charts features files geometry images interop matching"
    " options plots provenance store tasks training"
)
# ArrayLike is for static checkers; checked at run time it refuses tuples.
numpy.typing.ArrayLike = Any
install_import_hook([f"counterpoint.{name}" for name in CHECKED.split()], "beartype.beartype")
sys.path.insert(0, str(ROOT / "tests"))  # for `support`
sys.path.append(str(ROOT / "benchmarks"))  # for the published configurations


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden values and real pictures that lies beside a developer's checkout."""
    folder = Path(os.environ.get("COUNTERPOINT_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the golden values and real pictures are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion pipeline on disk."""
    from support.tiny_sd import write_tiny_sd

    return write_tiny_sd(tmp_path_factory.mktemp("models") / "tiny-sd")


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A real photograph, (300, 451, 3)."""
    from skimage.data import chelsea

    return chelsea()


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Any, str, str]]:
    """The command line: words in; exit code, standard output and standard error back."""
    from rich.console import Console

    from counterpoint.cli.app import app, main

    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(app, "_console", Console())  # the last one is as wide as another's terminal

    def _run(*words: object) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return _run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither read nor write the user's caches, and never the network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("COUNTERPOINT_MODELS", raising=False)
