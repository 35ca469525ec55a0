"""Trials in TensorFlow: a Keras model and Keras' SGD with laju's `LearningRate`, in a single compiled update.

The momentum is Keras' own, in which the learning rate is part of the velocity: v ← μv - ηg, w ← w + v. Under a schedule this
differs from torch's v ← μv + g, w ← w - ηv: a change of the rate takes effect over some 1 / (1 - μ) updates. The weight decay is
torch's, added to the gradient; Keras' own decay is decoupled from the gradient.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.lab.engines.loop import EVALUATION_BATCH, Batch, Report, run
from laju.lab.trials import Outcome, Trial
from laju.lab.trials.environment import environment, quiet
from laju.lab.trials.models.keras_on_tensorflow import keras, tf

# Afterwards, because this module imports Keras, too.
from laju.frameworks.keras import LearningRate  # isort: skip


def train(trial: Trial, report: Report | None = None) -> Outcome:
    """Run a trial on the CPU, from its beginning, and return its records; the same trial gives the same outcome, bit by bit.

    TensorFlow fixes its threads when it starts, and the order of its sums depends on the threads. A
    TensorFlow that has not started in this process is set to a single thread; a `RuntimeWarning` reports a TensorFlow that has
    started with several threads.

    Args:
        trial: the trial to run.
        report: called with every new record.
    """
    _use_one_thread()
    with _own_randomness(), tf.device("/device:CPU:0"):
        return run(trial, Training(trial), report)


def _use_one_thread() -> None:
    threading = tf.config.threading
    if not threading.get_intra_op_parallelism_threads() and not threading.get_inter_op_parallelism_threads():
        with suppress(RuntimeError):  # TensorFlow has started
            threading.set_intra_op_parallelism_threads(1)
            threading.set_inter_op_parallelism_threads(1)
    if threading.get_intra_op_parallelism_threads() != 1:
        warnings.warn(
            "TensorFlow has been used in this process already, with another number of threads than one; a trial here may differ "
            "in the last digits from the same trial in another process",
            RuntimeWarning,
            stacklevel=3,
        )


@contextmanager
def _own_randomness() -> Iterator[None]:
    """The caller's random state, put back afterwards: Keras draws the seeds of initial weights and dropout from Python's."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


class Training:
    def __init__(self, trial: Trial) -> None:
        data = trial.task.data()
        # Afterwards, because the data are not read for every trial, and reading data may have drawn random numbers.
        random.seed(trial.seed)
        np.random.seed(trial.seed % 2**32)  # noqa: NPY002
        with environment(TF_CPP_MIN_LOG_LEVEL="1"), quiet():  # TensorFlow starts here
            self.inputs, self.labels = tf.constant(data.train_inputs), tf.constant(data.train_labels)
            self.test = tf.constant(data.test_inputs), tf.constant(data.test_labels)
        self.weight_decay = trial.optimizer.weight_decay
        self.model = trial.task.network("tensorflow", trial.seed)
        self.optimizer = keras.optimizers.SGD(
            LearningRate(trial.schedule.resolve(trial.plan)), momentum=float(trial.optimizer.momentum)
        )
        self.optimizer.build(self.model.trainable_variables)
        self.losses: list[Any] = []
        self.right = tf.Variable(0, dtype=tf.int64, trainable=False)
        # Each trial traces functions of its own, and TensorFlow warns of code that is traced often, but of no partial function.
        self.compiled_update = tf.function(partial(self._update), autograph=False)
        self.compiled_evaluate = tf.function(partial(self._evaluated), autograph=False)

    def rate(self) -> float:
        return float(self.optimizer.learning_rate)

    def update(self, batch: Batch) -> None:
        self.losses.append(self.compiled_update(tf.constant(batch)))

    def _update(self, batch: Any) -> Any:
        inputs, targets = tf.gather(self.inputs, batch), tf.gather(self.labels, batch)
        weights = self.model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = self.model(inputs, training=True)
            loss = _loss(outputs, targets)
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        if self.weight_decay:
            gradients = [g + self.weight_decay * w.value for g, w in zip(gradients, weights, strict=True)]
        self.optimizer.apply(gradients, weights)
        self.right.assign_add(_right(outputs, targets))
        return loss

    def read(self) -> tuple[npt.NDArray[np.float64], int]:
        losses, right = tf.stack(self.losses).numpy().astype(np.float64), int(self.right.numpy())
        self.losses.clear()
        self.right.assign(0)
        return losses, right

    def evaluate(self) -> tuple[float, float]:
        inputs, labels = self.test
        total, right = 0.0, 0
        for i in range(0, len(labels), EVALUATION_BATCH):
            part = slice(i, i + EVALUATION_BATCH)
            loss, hits = self.compiled_evaluate(inputs[part], labels[part])
            total += float(loss) * len(labels[part])
            right += int(hits)
        return total / len(labels), right / len(labels)

    def _evaluated(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        outputs = self.model(inputs, training=False)
        return _loss(outputs, targets), _right(outputs, targets)


def _loss(outputs: Any, targets: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs))


def _right(outputs: Any, targets: Any) -> Any:
    return tf.math.count_nonzero(tf.argmax(outputs, axis=1) == targets)
