"""The pictures of docs/edits.md: stickers and an edited copy, carried by the real command.

    python benchmarks/edit_gallery.py --out docs/figures

All photographs are scikit-image's.
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from counterpoint.cli.app import main as command

FINE = 4
"""Stickers are drawn this much larger, then reduced: smooth edges."""


def star(path: Path, text: str = "7", side: int = 240) -> None:
    """A red seal with a number."""
    large = side * FINE
    image = Image.new("RGBA", (large, large), (0, 0, 0, 0))
    pen, middle = ImageDraw.Draw(image), large / 2

    def points(outer: float, inner: float) -> list[tuple[float, float]]:
        turns = [(math.pi * i / 10, middle * (inner if i % 2 else outer)) for i in range(20)]
        return [(middle + r * math.sin(a), middle - r * math.cos(a)) for a, r in turns]

    pen.polygon(points(0.96, 0.74), fill=(255, 255, 255, 255))
    pen.polygon(points(0.88, 0.68), fill=(225, 40, 40, 255))
    font = ImageFont.load_default(large * 0.42)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    at = middle - (left + right) / 2, middle - (top + bottom) / 2
    pen.text(at, text, font=font, fill=(255, 255, 255, 255))
    image.resize((side, side), Image.Resampling.LANCZOS).save(path)


def glasses(path: Path) -> None:
    """Sunglasses, a little transparent."""
    width, height = 400 * FINE, 150 * FINE
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    for x in (20, 220):
        box = [x * FINE, 20 * FINE, (x + 160) * FINE, 130 * FINE]
        red = (200, 30, 30, 255)
        pen.rounded_rectangle(box, 50 * FINE, (20, 20, 25, 235), red, width=10 * FINE)
    pen.rectangle([178 * FINE, 55 * FINE, 222 * FINE, 68 * FINE], fill=(200, 30, 30, 255))
    image.resize((400, 150), Image.Resampling.LANCZOS).save(path)


def edited(photo: Image.Image, path: Path) -> None:
    """A copy with a ring, a bar and a word on it, as JPEG of quality 75."""
    large = photo.resize((photo.width * FINE, photo.height * FINE))
    pen = ImageDraw.Draw(large)
    ring = [140 * FINE, 70 * FINE, 190 * FINE, 115 * FINE]
    pen.ellipse(ring, outline=(255, 60, 160), width=5 * FINE)
    bar = [225 * FINE, 180 * FINE, 330 * FINE, 150 * FINE]
    pen.line(bar, fill=(30, 90, 255), width=7 * FINE)
    font = ImageFont.load_default(34 * FINE)
    pen.text((60 * FINE, 200 * FINE), "Chelsea", font=font, fill=(255, 255, 80))
    large.resize(photo.size, Image.Resampling.LANCZOS).save(path, quality=75)


def write_pictures(folder: Path) -> None:
    left, right, _ = data.stereo_motorcycle()
    Image.fromarray(left).save(folder / "left.png")
    Image.fromarray(right).save(folder / "right.jpg", quality=92)
    Image.fromarray(data.coffee()).save(folder / "coffee.png")
    cat = Image.fromarray(data.chelsea())
    cat.save(folder / "chelsea.png")
    cats = folder / "cats"
    cats.mkdir()
    cat.crop((40, 20, 430, 290)).save(cats / "1-crop.jpg", quality=90)
    cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(cats / "2-flipped.png")
    cat.resize((338, 225), Image.Resampling.BICUBIC).convert("L").save(cats / "3-grey.png")
    cat.rotate(15, resample=Image.Resampling.BICUBIC, expand=True).save(cats / "4-turned-15.png")
    cat.rotate(90, expand=True).save(cats / "5-turned-90.png")
    Image.fromarray(data.astronaut()).save(cats / "6-astronaut.png")
    star(folder / "seal.png")
    glasses(folder / "glasses.png")
    edited(cat, folder / "edited.jpg")


def run(*arguments: str | Path) -> None:
    print("counterpoint", *(Path(a).name if isinstance(a, Path) else a for a in arguments))
    try:
        command([str(word) for word in arguments])
    except SystemExit as stopped:
        if stopped.code not in (0, 1):
            raise


def shrink(source: Path, target: Path, width: int = 1400) -> None:
    with Image.open(source) as image:
        canvas = image.convert("RGB")
    if canvas.width > width:
        canvas = canvas.resize((width, round(canvas.height * width / canvas.width)))
    target.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(target, quality=82)
    print(f"wrote {target}, {np.ceil(target.stat().st_size / 1000):.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--model", default="small")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder)
        views = ("--across", "views", "--model", asked.model)
        seal = ("--sticker", folder / "seal.png", "--at", "455,205", "--width", "70")
        run("edit", folder / "left.png", folder / "right.jpg", folder / "coffee.png", *seal, *views,
            "--out", folder / "a")  # fmt: skip
        shades = ("--sticker", folder / "glasses.png", "--at", "252,115", "--width", "230")
        run("edit", folder / "chelsea.png", folder / "cats", *shades, "--rotate", "11", "--mirror",
            *views, "--out", folder / "b")  # fmt: skip
        copy = ("--edited", folder / "edited.jpg")
        run("edit", folder / "chelsea.png", folder / "cats/1-crop.jpg", *copy, *views,
            "--out", folder / "c")  # fmt: skip
        shrink(folder / "a/right.jpg.matches.png", asked.out / "edit-views.jpg")
        shrink(folder / "b/edit-sheet.png", asked.out / "edit-sheet.jpg")
        shrink(folder / "c/1-crop.jpg.matches.png", asked.out / "edit-copy.jpg")


if __name__ == "__main__":
    main()
