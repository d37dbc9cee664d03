"""Every backbone at a size for tests: tiny random networks in their real file formats."""

from collections.abc import Callable
from pathlib import Path

from support.tiny_adm import write_tiny_adm
from support.tiny_dit import write_tiny_flux, write_tiny_pixart, write_tiny_sd3
from support.tiny_sd import write_tiny_cleandift, write_tiny_sd, write_tiny_vae
from support.tiny_sdxl import write_tiny_sdxl
from support.tiny_single_file import write_tiny_single_file
from support.tiny_vit import write_tiny_vit

WRITERS: dict[str, Callable[[Path], Path]] = {
    "tiny-sd": lambda folder: write_tiny_sd(folder / "tiny-sd"),
    "tiny-sdxl": lambda folder: write_tiny_sdxl(folder / "tiny-sdxl"),
    "tiny-vae": lambda folder: write_tiny_vae(folder / "tiny-vae"),
    "tiny-cleandift": lambda folder: write_tiny_cleandift(folder / "tiny-cleandift"),
    "tiny-single-file": lambda folder: write_tiny_single_file(folder / "tiny-single-file"),
    "tiny-adm": lambda folder: write_tiny_adm(folder / "tiny-adm"),
    "tiny-dino": lambda folder: write_tiny_vit(folder / "tiny-dino", "dino"),
    "tiny-dinov2-reg": lambda folder: write_tiny_vit(folder / "tiny-dinov2-reg", "dinov2-reg"),
    "tiny-dinov3": lambda folder: write_tiny_vit(folder / "tiny-dinov3", "dinov3"),
    "tiny-clip": lambda folder: write_tiny_vit(folder / "tiny-clip", "clip"),
    "tiny-siglip": lambda folder: write_tiny_vit(folder / "tiny-siglip", "siglip"),
    "tiny-siglip2": lambda folder: write_tiny_vit(folder / "tiny-siglip2", "siglip2-naflex"),
    "tiny-sd3": lambda folder: write_tiny_sd3(folder / "tiny-sd3"),
    "tiny-flux": lambda folder: write_tiny_flux(folder / "tiny-flux"),
    "tiny-pixart": lambda folder: write_tiny_pixart(folder / "tiny-pixart"),
}
"""By name: writes weights into a folder, returns the path that `load` takes."""

NAMES = ("small", "rgb", "sift", "small+sift@0.3", *WRITERS)
"""What the contract is tested on; names without a writer need no files."""


def model_path(name: str, folder: Path) -> str:
    """What `load` takes for a name."""
    return str(WRITERS[name](folder)) if name in WRITERS else name
