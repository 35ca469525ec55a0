import time

import numpy as np
import pytest
import scipy.ndimage
import torch
from sklearn.datasets import load_digits

from laju.lab.trials.tasks import Digits
from laju.lab.trials.tasks.digits import _enlarged


@pytest.fixture(scope="module")
def task() -> Digits:
    return Digits()


def test_every_digit_is_in_exactly_one_of_the_two_sets(task):
    data = task.data()
    assert (len(data.train_labels), len(data.test_labels)) == (1437, 360)
    everything = _enlarged(load_digits().images.astype(np.int64)).reshape(1797, -1)
    assert (everything.min(), everything.max()) == (0, 1600)
    both = np.concatenate([data.train_inputs, data.test_inputs]).reshape(1797, -1)
    # Up to the mean image that was subtracted, and the order, they are the same.
    restored = np.rint((both + _mean_image()) * 1600).astype(np.int64)
    np.testing.assert_array_equal(np.unique(restored, axis=0), np.unique(everything, axis=0))


def _mean_image() -> np.ndarray:
    """The mean of the training images, found in another way than the task does."""
    digits = load_digits()
    chosen = np.concatenate([np.flatnonzero(digits.target == c) for c in range(10)])
    train = np.delete(chosen, np.arange(0, len(chosen), 5))
    return (_enlarged(digits.images.astype(np.int64))[train] / 1600).mean(axis=0).reshape(-1)


def test_the_mean_training_image_is_black(task):
    np.testing.assert_allclose(task.data().train_inputs.mean(axis=0, dtype=np.float64), 0, atol=1e-7)


def test_the_two_sets_hold_the_classes_in_the_same_shares(task):
    data = task.data()
    train, test = np.bincount(data.train_labels), np.bincount(data.test_labels)
    assert np.abs(test - (train + test) / 5).max() < 1


def test_enlarging_is_bilinear_with_pixels_as_areas():
    images = load_digits().images[:50]
    ours = _enlarged(images.astype(np.int64))[:, 0] / 1600
    by_scipy = scipy.ndimage.zoom(images / 16, (1, 2.5, 2.5), order=1, grid_mode=True, mode="nearest")
    by_torch = torch.nn.functional.interpolate(
        torch.from_numpy(images / 16)[:, None], size=(20, 20), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(ours[:, 4:-4, 4:-4], by_scipy, atol=1e-6)
    np.testing.assert_allclose(ours[:, 4:-4, 4:-4], by_torch[:, 0], atol=1e-6)


def test_a_digit_has_a_black_margin_of_four_pixels(task):
    images = task.data().train_inputs  # whose mean image is black there, too
    assert images.shape[1:] == (1, 28, 28)
    margin = images.copy()
    margin[:, :, 4:-4, 4:-4] = 0
    assert not margin.any()


def test_the_data_are_the_same_everywhere_and_for_ever(task):
    assert task.data().fingerprint == "1a0fda50370e320aa0012250ea36f094afcaaa4672435456a44b2177b7db1e2f"


def test_the_data_load_once_and_within_a_second(task):
    start = time.process_time()
    Digits().data()
    assert time.process_time() - start < 1
    assert task.data() is task.data()


def test_a_few_seconds_of_training_are_enough_to_learn_something(task):
    """Four epochs of plain SGD bring the loss well below guessing, so the task can tell schedules apart."""
    data, network = task.data(), task.model(seed=0)
    inputs, labels = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_labels)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    order = np.random.default_rng(0)
    for _ in range(4):
        for batch in np.array_split(order.permutation(task.train_size), task.train_size // task.batch_size):
            optimizer.zero_grad()
            task.loss(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        outputs = network(torch.from_numpy(data.test_inputs))
    targets = torch.from_numpy(data.test_labels)
    assert task.loss(outputs, targets).item() < task.chance_loss / 2
    assert task.correct(outputs, targets).item() > 0.7 * len(targets)
