"""Every backbone at a size for tests: tiny random networks in their real file formats."""

from collections.abc import Callable
from pathlib import Path

from support.tiny_sd import write_tiny_sd

WRITERS: dict[str, Callable[[Path], Path]] = {
    "tiny-sd": lambda folder: write_tiny_sd(folder / "tiny-sd"),
}
"""By name: writes weights into a folder, returns the path that `load` takes."""

NAMES = ("small", "rgb", "sift", *WRITERS)
"""What the contract is tested on; names without a writer need no files."""


def model_path(name: str, folder: Path) -> str:
    """What `load` takes for a name."""
    return str(WRITERS[name](folder)) if name in WRITERS else name
