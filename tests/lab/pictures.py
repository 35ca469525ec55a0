"""A folder of small pictures in ImageNet's layout: shapes of any colour on any ground, told apart by their outline alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "cross", "square")


def picture(shape: str, seed: int, easy: bool = False) -> Image.Image:
    """One picture, of a size and shape of its own, with noise; when `easy` its colour tells what it is, too."""
    random = np.random.default_rng((seed, SHAPES.index(shape)))
    width, height = (int(n) for n in random.integers(36, 61, size=2))
    ground, ink = random.integers(0, 110, size=3), random.integers(140, 256, size=3)
    if easy:
        ground = np.roll([200, 20, 20], SHAPES.index(shape))
    image = Image.new("RGB", (width, height), tuple(ground.tolist()))
    draw = ImageDraw.Draw(image)
    r = int(random.integers(9, 13))
    x, y = (n // 2 + int(random.integers(-3, 4)) for n in (width, height))
    colour = tuple(ink.tolist())
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=4)
    elif shape == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), outline=colour, width=4)
    else:
        draw.line((x - r, y, x + r, y), fill=colour, width=5)
        draw.line((x, y - r, x, y + r), fill=colour, width=5)
    noise = random.normal(0, 12, size=(height, width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def write_folder(
    folder: Path, train: int = 8, test: int = 4, shapes: tuple[str, ...] = SHAPES, easy: bool = False
) -> Path:
    """`train` and `test` pictures of each class, as JPEG and PNG in turn."""
    for part, first, n in (("train", 0, train), ("val", 10_000, test)):
        for shape in shapes:
            place = folder / part / shape
            place.mkdir(parents=True)
            for i in range(n):
                suffix, options = ("jpg", {"quality": 90}) if i % 2 else ("PNG", {})
                picture(shape, first + i, easy).save(place / f"{i:04}.{suffix}", **options)
    return folder
