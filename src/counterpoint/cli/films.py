"""Which files are videos."""

from pathlib import Path

VIDEOS = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"))
"""File endings that are taken for videos."""


def moves(path: Path) -> bool:
    """Whether a file is a video, by its ending, or a GIF of several frames."""
    from PIL import Image

    if path.suffix.lower() != ".gif":
        return path.suffix.lower() in VIDEOS
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except Exception:  # what is wrong with it is said where it is read
        return False


def films_in(folder: Path) -> list[Path]:
    """Videos below a folder, by their endings, sorted; hidden ones are passed over."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS)
    return [
        path
        for path in found
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]
