"""Fashion-MNIST: 70,000 grey images of clothes in ten classes, the data of the chapter on learning-rate scheduling."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laju.lab.trials.models.lenet import COMMON, lenet, lenet_in
from laju.lab.trials.tasks.base import Data, DataError, Task
from laju.lab.trials.tasks.download import cache_folder, fetch
from laju.lab.trials.tasks.idx import read_idx

if TYPE_CHECKING:
    import torch

# The digests of the files whose MD5s the README of zalandoresearch/fashion-mnist publishes; SHA-256 because a mirror speaks plain
# HTTP only.
FILES = {
    "train-images-idx3-ubyte.gz": "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
CLASSES = 10


@dataclass(frozen=True)
class FashionMNIST(Task):
    """Fashion-MNIST with the LeNet of the chapter.

    The four official files are read from the folder `data_dir`, compressed (`train-images-idx3-ubyte.gz`, ...) or not
    (without `.gz`); fewer images than in the official files are allowed. Without a folder the files are downloaded, once, to
    the cache folder (`$LAJU_CACHE`, else the user's cache folder). Pixels 0 to 255 become values in
    [0, 1], of shape (N, 1, 28, 28).

    Raises `DataError` for a folder in which a file is missing and, when the data are first used, for files that
    are damaged or do not fit together; `DownloadError` if the files cannot be downloaded.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", 2017, arXiv:1708.07747.

    >>> FashionMNIST().name
    'fashion-mnist'
    """

    data_dir: str | os.PathLike[str] | None = None
    name = "fashion-mnist"

    def __post_init__(self) -> None:
        if self.data_dir is not None:
            # Absolute, because a task may be unpickled by a process in another folder.
            object.__setattr__(self, "data_dir", Path(self.data_dir).expanduser().absolute())
            self._files()

    @property
    def batch_size(self) -> int:
        """256, as in the chapter, for 20,000 training images or more; 64 for fewer images, to make enough updates."""
        return 256 if self.train_size >= 20_000 else 64

    def model(self, seed: int) -> torch.nn.Module:
        return lenet(seed)

    def network(self, framework: str, seed: int) -> Any:
        return lenet_in(framework, seed)

    @property
    def description(self) -> str:
        return COMMON

    def load(self) -> Data:
        train_images, train_labels, test_images, test_labels = self._files()
        return Data(
            *_images_and_labels(train_images, train_labels),
            *_images_and_labels(test_images, test_labels),
            classes=CLASSES,
        )

    def _files(self) -> list[Path]:
        """The four files, in the order of `FILES`."""
        if self.data_dir is None:
            return _downloaded()
        folder = Path(self.data_dir)
        if not folder.is_dir():
            raise DataError(f"data_dir: there is no folder {folder}")
        found = {name: _first_file(folder / name, folder / name.removesuffix(".gz")) for name in FILES}
        if missing := [name for name, path in found.items() if path is None]:
            raise DataError(f"data_dir: the folder {folder} lacks {', '.join(missing)} (with or without .gz)")
        return [path for path in found.values() if path is not None]


def _downloaded() -> list[Path]:
    folder = cache_folder() / "fashion-mnist"
    hint = (
        f"To do without a download, put {', '.join(FILES)} into a folder and give it: --data-dir FOLDER on the command "
        f'line, FashionMNIST("FOLDER") in Python.\n'
        f"The cache folder is {folder}; set the environment variable LAJU_CACHE to have another one."
    )
    sources = {name: [mirror + name for mirror in MIRRORS] for name in FILES}
    return [fetch(name, sources[name], checksum, folder, hint=hint) for name, checksum in FILES.items()]


def _first_file(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _images_and_labels(images_file: Path, labels_file: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise DataError(f"{images_file}: expected images of 28x28 bytes (N, 28, 28), found {_described(images)}")
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise DataError(f"{labels_file}: expected one byte a label (N,), found {_described(labels)}")
    if len(images) == 0:
        raise DataError(f"{images_file}: expected at least one image, found none")
    if len(labels) != len(images):
        raise DataError(
            f"{labels_file}: expected {len(images):,} labels, one for each image of {images_file.name}, "
            f"found {len(labels):,}"
        )
    if labels.max() >= CLASSES:
        at = int(np.argmax(labels >= CLASSES))
        raise DataError(f"{labels_file}: expected labels from 0 to {CLASSES - 1}, found {labels[at]} at position {at}")
    return images[:, np.newaxis].astype(np.float32) / np.float32(255), labels.astype(np.int64)


def _described(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"
