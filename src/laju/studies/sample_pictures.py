"""A folder of pictures from data that come with scikit-learn, for a first look at a study that needs larger images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

# The photographs show these in such boxes (left, top, right, bottom); training and test pictures have no pixel in common.
_PLACES = {
    "leaves": ("flower.jpg", (0, 0, 170, 427), (455, 0, 640, 380)),
    "pavilion": ("china.jpg", (90, 100, 240, 330), (240, 100, 320, 330)),
    "petals": ("flower.jpg", (190, 110, 320, 340), (320, 110, 425, 340)),
    "sky": ("china.jpg", (330, 0, 520, 120), (520, 0, 640, 120)),
    "trees": ("china.jpg", (370, 300, 540, 427), (540, 300, 640, 427)),
}
_SIDES = 40, 120
TRAIN, TEST = 24, 12
"""The numbers of training and validation pictures of each class."""


def write(folder: Path) -> Path:
    """Write pictures of five classes, parts of the photographs china.jpg and flower.jpg, as `train/CLASS` and `val/CLASS`.

    A picture is a crop with a side of 40 to 120 pixels, enlarged by a factor of 1 to 2, mirrored with probability 1/2, lighter or
    darker. Every call writes the same pictures.

    >>> import tempfile
    >>> folder = write(Path(tempfile.mkdtemp()) / "pictures")
    >>> sorted(path.name for path in (folder / "val").iterdir())
    ['leaves', 'pavilion', 'petals', 'sky', 'trees']
    """
    from PIL import Image
    from sklearn.datasets import load_sample_image

    random = np.random.default_rng(0)
    photographs = {name: Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")}
    for label, (photograph, *boxes) in _PLACES.items():
        for part, count, box in zip(("train", "val"), (TRAIN, TEST), boxes, strict=True):
            place = folder / part / label
            place.mkdir(parents=True)
            for i in range(count):
                _picture(photographs[photograph].crop(box), random).save(place / f"{i:02}.jpg", quality=90)
    return folder


def _picture(scene: Image.Image, random: np.random.Generator) -> Image.Image:
    from PIL import Image, ImageEnhance

    least, most = _SIDES
    width, height = (int(random.integers(least, min(side, most) + 1)) for side in scene.size)
    left, top = (int(random.integers(a - b + 1)) for a, b in zip(scene.size, (width, height), strict=True))
    picture = scene.crop((left, top, left + width, top + height))
    picture = ImageEnhance.Brightness(picture).enhance(random.uniform(0.5, 1.4))
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = random.uniform(1, 2)
    return picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
