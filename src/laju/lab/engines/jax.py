"""Trials in JAX: compiled updates of `optax.sgd` with the schedule itself, and no read of a result before its record.

Momentum is optax's trace, which is torch's: v ← μv + g, w ← w - ηv. The weight decay is added to the gradient first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core.extras import needed_by
from laju.lab.engines.loop import EVALUATION_BATCH, Batch, Report, run
from laju.lab.trials import Outcome, Trial
from laju.lab.trials.environment import environment

with needed_by("training in JAX", "jax"):
    import jax
    import optax

try:
    from jax import enable_x64
except ImportError:  # JAX before 0.8
    from jax.experimental import enable_x64  # type: ignore[attr-defined,no-redef]

Apply = Callable[[Any, jax.Array], jax.Array]


def train(trial: Trial, report: Report | None = None) -> Outcome:
    """Run a trial on the CPU, from its beginning, and return its records; the same trial gives the same outcome, bit by bit.

    Args:
        trial: the trial to run.
        report: called with every new record.
    """
    with environment(NPROC="1"):  # read by XLA when it starts: a trial at a time has one thread, as in all engines
        cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu), enable_x64(False):
        return run(trial, Training(trial), report)


class Training:
    def __init__(self, trial: Trial) -> None:
        data = trial.task.data()
        self.inputs, self.labels = jax.device_put(data.train_inputs), jax.device_put(data.train_labels)
        self.test = jax.device_put(data.test_inputs), jax.device_put(data.test_labels)
        self.parameters, self.apply = trial.task.network("jax", trial.seed)
        schedule = trial.schedule.resolve(trial.plan)
        optimizer = optax.chain(
            optax.add_decayed_weights(trial.optimizer.weight_decay),
            optax.sgd(schedule, momentum=trial.optimizer.momentum or None),
        )
        self.state = optimizer.init(self.parameters)
        self.losses: list[jax.Array] = []
        self.right: list[jax.Array] = []

        # Apart from the gradient, which is long to compile and the same for every schedule.
        def step(parameters: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
            updates, state = optimizer.update(gradient, state, parameters)
            return optax.apply_updates(parameters, updates), state

        self.step = jax.jit(step)
        self.rate_at = jax.jit(schedule)

    def rate(self) -> float:
        # The optimizer's own count and not the loop's, so that the record shows the rate that optax will use.
        return float(self.rate_at(optax.tree_utils.tree_get(self.state, "count")))

    def update(self, batch: Batch) -> None:
        loss, right, gradient = _gradient(self.apply, self.parameters, self.inputs, self.labels, batch)
        self.parameters, self.state = self.step(self.parameters, self.state, gradient)
        self.losses.append(loss)
        self.right.append(right)

    def read(self) -> tuple[npt.NDArray[np.float64], int]:
        losses, right = jax.device_get((self.losses, self.right))
        self.losses, self.right = [], []
        return np.array(losses, dtype=np.float64), int(sum(right))

    def evaluate(self) -> tuple[float, float]:
        inputs, labels = self.test
        total, right = 0.0, 0
        for i in range(0, len(labels), EVALUATION_BATCH):
            part = slice(i, i + EVALUATION_BATCH)
            loss, hits = _evaluated(self.apply, self.parameters, inputs[part], labels[part])
            total += float(loss) * len(labels[part])
            right += int(hits)
        return total / len(labels), right / len(labels)


@partial(jax.jit, static_argnums=0)
def _gradient(
    apply: Apply, parameters: Any, inputs: jax.Array, labels: jax.Array, batch: jax.Array | Batch
) -> tuple[jax.Array, jax.Array, Any]:
    """The loss of a minibatch, the number of its examples classified correctly, and the gradient."""
    chosen, targets = inputs[batch], labels[batch]

    def loss(parameters: Any) -> tuple[jax.Array, jax.Array]:
        outputs = apply(parameters, chosen)
        return _loss(outputs, targets), outputs

    (value, outputs), gradient = jax.value_and_grad(loss, has_aux=True)(parameters)
    return value, _right(outputs, targets), gradient


@partial(jax.jit, static_argnums=0)
def _evaluated(apply: Apply, parameters: Any, inputs: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    outputs = apply(parameters, inputs)
    return _loss(outputs, targets), _right(outputs, targets)


def _loss(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    loss: jax.Array = optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()
    return loss


def _right(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return (outputs.argmax(axis=1) == targets).sum()
