"""The handwritten digits that come with scikit-learn: real images, no download, at most minutes of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laju.lab.trials.models.lenet import COMMON, lenet, lenet_in
from laju.lab.trials.tasks.base import Data, Task

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Digits(Task):
    """1,797 handwritten digits (1,437 for training, 360 for testing), scaled to 28x28, with the LeNet of the chapter.

    Values 0 to 16 become [0, 1], and 8x8 pixels become 20x20 by bilinear interpolation, in the middle of a black 28x28
    image as in MNIST; then the mean training image is subtracted; without this subtraction LeNet's units die at the
    chapter's learning rates for many seeds. The split is the same for every seed: in the order of the classes, and within a class
    in the original order, every fifth image is a test image.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (its
    test part), as `sklearn.datasets.load_digits`.

    >>> task = Digits()
    >>> task.data().train_inputs.shape, task.data().test_inputs.shape
    ((1437, 1, 28, 28), (360, 1, 28, 28))
    """

    name = "digits"

    def model(self, seed: int) -> torch.nn.Module:
        return lenet(seed)

    def network(self, framework: str, seed: int) -> Any:
        return lenet_in(framework, seed)

    @property
    def description(self) -> str:
        return COMMON

    def load(self) -> Data:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images, labels = _enlarged(digits.images.astype(np.int64)), digits.target.astype(np.int64)
        test = np.zeros(len(labels), dtype=bool)
        test[np.argsort(labels, kind="stable")[::5]] = True
        # Sums of integers are exact, so the mean image is the same everywhere.
        centred = (images / _FULL - images[~test].sum(axis=0) / (_FULL * (~test).sum())).astype(np.float32)
        return Data(centred[~test], labels[~test], centred[test], labels[test], classes=10)


_FULL = 10 * 10 * 16
"""The value of a white pixel in an enlarged image."""


def _enlarged(images: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N, 8, 8) integers from 0 to 16 as (N, 1, 28, 28) integers from 0 to 1600.

    Pixels are areas: the middle of pixel i of 20 lies at (i + 1/2)·8/20 - 1/2 = (4i - 3)/10 of the 8, cut off at the
    outermost middles, so that the picture is neither shifted nor stretched (as `scipy.ndimage.zoom(grid_mode=True)` and
    `torch.nn.functional.interpolate(align_corners=False)` do). All weights are multiples of 1/10, so integers give the exact
    result, hence the same fingerprint on every machine.
    """
    place = np.clip(4 * np.arange(20) - 3, 0, 7 * 10)
    # The weight of source pixel j in tenths falls from 10 at j to 0 at its neighbours.
    weights = np.maximum(10 - np.abs(place[:, np.newaxis] - 10 * np.arange(8)), 0)
    framed: npt.NDArray[np.int64] = np.pad(weights @ images @ weights.T, ((0, 0), (4, 4), (4, 4)))
    return framed[:, np.newaxis]
