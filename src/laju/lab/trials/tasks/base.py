"""A task: images (or other inputs) with labels, a model to train, and a loss.

Every function that trains takes a `Task`; write a subclass to compare schedules on your own data and model.
"""

from __future__ import annotations

import abc
import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


Part = Literal["train", "test"]
Indices = npt.NDArray[np.int64]


class DataError(ValueError):
    """Data that are missing, damaged or do not fit together; the message names the file and its fault."""


@dataclass(frozen=True, eq=False)
class Data:
    """A labelled training set and test set in memory.

    `train_inputs` and `test_inputs` are float32 of shape (N, ...), with the same shape after N; images are (N, 1, 28, 28) with
    values in [0, 1]. `train_labels` and `test_labels` are int64 of shape (N,), each from 0 to `classes` - 1.

    Raises `DataError` if a shape, length, type or label violates this description, or an input is not finite.
    """

    train_inputs: npt.NDArray[np.float32]
    train_labels: npt.NDArray[np.int64]
    test_inputs: npt.NDArray[np.float32]
    test_labels: npt.NDArray[np.int64]
    classes: int

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise DataError(f"classes must be at least 2, got {self.classes!r}")
        for part in ("train", "test"):
            inputs, labels = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_labels")
            for name, array, dtype in (("inputs", inputs, np.float32), ("labels", labels, np.int64)):
                if not isinstance(array, np.ndarray) or array.dtype != dtype:
                    found = getattr(array, "dtype", type(array).__name__)
                    raise DataError(f"{part}_{name} must be a NumPy array of {np.dtype(dtype)}, got {found}")
            if inputs.ndim < 2:
                raise DataError(f"{part}_inputs must have a shape (N, ...) of two or more axes, got {inputs.shape}")
            if labels.ndim != 1:
                raise DataError(f"{part}_labels must have a shape (N,), got {labels.shape}")
            if len(inputs) != len(labels):
                raise DataError(f"{part}_inputs and {part}_labels differ in length: {len(inputs)} and {len(labels)}")
            if inputs.size == 0:
                raise DataError(f"{part}_inputs must not be empty, got the shape {inputs.shape}")
            if labels.min() < 0 or labels.max() >= self.classes:
                found = f"{labels.min()} to {labels.max()}"
                raise DataError(f"{part}_labels must lie in 0 to classes - 1 = {self.classes - 1}, got {found}")
            if not np.isfinite(inputs).all():
                raise DataError(f"{part}_inputs must be finite, got NaN or infinity")
        if self.train_inputs.shape[1:] != self.test_inputs.shape[1:]:
            shapes = f"{self.train_inputs.shape[1:]} and {self.test_inputs.shape[1:]}"
            raise DataError(f"train_inputs and test_inputs differ in the shape of one input: {shapes}")

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the shapes, types and bytes of the four arrays and the number of classes."""
        digest = hashlib.sha256(f"classes={self.classes}".encode())
        for name in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
            array = getattr(self, name)
            # Little-endian on every machine, so that the same data agree everywhere.
            array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()


@functools.lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, samples: int) -> Indices:
    """The order of the training examples in an epoch; the array is cached and must not be modified."""
    return np.random.default_rng((seed, epoch)).permutation(samples)


class Task(abc.ABC):
    """Something to train: data, a model and a loss, the same for every schedule that is compared.

    A subclass defines `name`, `load` and `model`; the subclass may also set `batch_size` and override `loss` and `correct`.
    `load` must return the same data every time; `data()` calls `load` once per process and keeps the result. `model` must
    depend on nothing but the seed. A task is pickled without its data and without cached properties
    (`functools.cached_property`), so keep large arrays of your own in a cached property.

    >>> from functools import cached_property
    >>> import torch
    >>> class Sides(Task):
    ...     "On which side of a line does a point lie?"
    ...
    ...     name = "sides"
    ...
    ...     def load(self):
    ...         points = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    ...         sides = (points.sum(axis=1) > 0).astype(np.int64)
    ...         return Data(points[:400], sides[:400], points[400:], sides[400:], classes=2)
    ...
    ...     def model(self, seed):
    ...         torch.manual_seed(seed)
    ...         return torch.nn.Linear(2, 2)
    >>> task = Sides()
    >>> task.train_size, task.batch_size
    (400, 64)
    >>> round(task.chance_loss, 2)
    0.69
    >>> outputs = task.model(seed=0)(torch.from_numpy(task.data().test_inputs))
    >>> task.loss(outputs, torch.from_numpy(task.data().test_labels)).shape
    torch.Size([])
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name of the task; with a new name, earlier results of the task no longer count."""

    @property
    def batch_size(self) -> int:
        """The default number of samples per update."""
        return 64

    @abc.abstractmethod
    def load(self) -> Data:
        """Read or generate the training set and the test set; the result must be the same every time."""

    @functools.cached_property
    def _data(self) -> Data:
        return self.load()

    def data(self) -> Data:
        """The training set and the test set; `load` runs at the first call."""
        return self._data

    @abc.abstractmethod
    def model(self, seed: int) -> torch.nn.Module:
        """A freshly initialised model, whose weights depend on nothing but `seed`."""

    def network(self, framework: str, seed: int) -> Any:
        """The same model, with the same weights, in a framework that is not torch.

        - "tensorflow": a built Keras model, from inputs in the form of `Data` to logits.
        - "jax": a pair (parameters, apply); `apply(parameters, inputs)` are logits.
        - "mxnet": a pair ("path of a Python file:function", arrays by name); MXNet runs in another process, which calls the
          function with the arrays and gets a Gluon block, from inputs to logits.

        The loss of these models is the mean cross-entropy. Raises `ValueError` if the task has no model in the framework; by
        default a task has none.
        """
        raise ValueError(
            f"task {self.name!r} has a model for torch alone, so it cannot be trained in {framework}; its class can give one "
            "by overriding network(framework, seed)"
        )

    def batches(self, seed: int, epoch: int, batch_size: int) -> list[Indices]:
        """The training examples of each update of an epoch: a permutation of all examples, cut into batches.

        The last batch may be smaller. The permutation depends only on `seed`, `epoch` and the number of examples, so the
        permutation is the same for every schedule and framework. A task with a different order of data overrides this method;
        each example must occur once per epoch.

        >>> from laju.lab import Digits
        >>> [len(batch) for batch in Digits().batches(seed=0, epoch=0, batch_size=500)]
        [500, 500, 437]
        """
        order = permutation(seed, epoch, self.train_size)
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]

    @property
    def description(self) -> str:
        """A sentence about the network and its initial weights, for reports; empty by default."""
        return ""

    def validation(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Inputs and labels of a separate validation part, in the form of `Data`; a rule decides by the loss on this part.

        Raises `ValueError` if the task has no validation part; by default a task has none.
        """
        raise ValueError(
            f"task {self.name!r} has no validation part; HeldOut(task) holds out some of its training examples"
        )

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy in nats of `outputs` (N, classes), logits, against `targets` (N,): a scalar tensor."""
        import torch

        return torch.nn.functional.cross_entropy(outputs, targets)

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The number of `outputs` (N, classes) that are largest at their target, as a scalar tensor."""
        return (outputs.argmax(dim=1) == targets).sum()

    @property
    def engine(self) -> str:
        """The trainer in torch: "torch" with all data in memory, or "accelerate", see `laju.lab.engines.accelerate`."""
        return "torch"

    def labels(self, part: Part) -> npt.NDArray[np.int64]:
        """The labels of a part, "train" or "test"."""
        return self.data().train_labels if part == "train" else self.data().test_labels

    def inputs(
        self, part: Part, indices: npt.NDArray[np.int64], drawn: tuple[int, int] | None = None
    ) -> npt.NDArray[np.float32]:
        """The inputs of some examples, in the form of `Data`; a task too large for memory reads files here, and has `labels`.

        Args:
            part: "train" or "test".
            indices: the indices of the examples within the part.
            drawn: (seed, epoch) for random effects in training inputs, which are then the same for every schedule.
        """
        data = self.data()
        return (data.train_inputs if part == "train" else data.test_inputs)[indices]

    @property
    def train_size(self) -> int:
        """The number of training samples."""
        return len(self.labels("train"))

    @property
    def chance_loss(self) -> float:
        """The loss of the best guess that ignores the inputs: the entropy -Σ pᵢ ln pᵢ of the training labels, in nats."""
        counts = np.bincount(self.labels("train"))
        shares = counts[counts > 0] / counts.sum()
        return float(-(shares * np.log(shares)).sum())

    @property
    def chance_accuracy(self) -> float:
        """The accuracy of the best guess that ignores the inputs: the share of the commonest training label."""
        counts = np.bincount(self.labels("train"))
        return float(counts.max() / counts.sum())

    @property
    def resolution(self) -> float:
        """The smallest difference of two test accuracies: 1 / (test examples); 0 if the number of test examples is unknown."""
        return 1 / len(self.labels("test"))

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the qualified name of the class, the name of the task and its data.

        Equal data have equal fingerprints, wherever the data were read from. The model and the loss do not enter the
        fingerprint: give the task a new `name` when you change the model or the loss.
        """
        # The class by its name without its module: a class that moves to another file keeps its stored trials.
        content = "\0".join((type(self).__qualname__, self.name, self.data().fingerprint))
        return hashlib.sha256(content.encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        cached = functools.cached_property
        return {k: v for k, v in vars(self).items() if not isinstance(getattr(type(self), k, None), cached)}
