"""The range test itself, on your own torch loop or on a task of the lab."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from laju.core.checks import number, whole
from laju.core.schedule import Schedule
from laju.lab.comparison.arguments import read_seeds
from laju.lab.range_test.result import RangeTest, Sweep
from laju.lab.trials import Optimizer, Trial
from laju.lab.trials.tasks import Task, read_task
from laju.lab.workers.interrupts import Interrupts
from laju.policies import exponential

if TYPE_CHECKING:
    import torch

Report = Callable[[Sweep], None]
LEAST_UPDATES = 10


def range_test(
    model: torch.nn.Module,
    loss: Callable[..., torch.Tensor],
    data: Iterable[Any] | Callable[[], Iterable[Any]],
    optimizer: torch.optim.Optimizer,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    updates: int = 100,
    accumulate: int = 1,
    seeds: int | Iterable[int] = 3,
    scheduler: Any = None,
    smoothing: float = 0.15,
    divergence: float = 4.0,
    report: Report | None = None,
) -> RangeTest:
    """Train while the rate rises from `low` to `high`, then restore everything, bit by bit.

    Update t of n uses the rate low·(high/low)^(t/(n - 1)), so the first uses exactly `low` and the last exactly `high`; groups
    whose own rates differ keep their ratios to the largest. Every seed begins with the current model and optimizer, and has its
    own order of data and its own random numbers. Afterwards, also after an error or Ctrl-C, weights, buffers, gradients, modes,
    the optimizer's state and groups, schedulers, loaders and all random generators are restored.

    Args:
        model: a module, which is put into training mode; a module already in training mode keeps the modes of its parts.
        loss: a scalar from (outputs, targets) where a batch is a pair of inputs and targets, else from (model, batch).
        data: batches, something that can be iterated again and again such as a `DataLoader`, or a function that returns
            an iterator. Tensors are brought to the model's device.
        optimizer: of the model, any that needs no closure.
        low, high: the range of rates, above 0.
        updates: of a sweep, at least 10; a sweep that diverges makes fewer.
        accumulate: micro-batches whose mean gradient makes an update, and a single point of the curve.
        seeds: how many (0, 1, …), or which.
        scheduler: to be restored, too. This function never steps the scheduler, so give a scheduler only where a hook or the loss
            steps it.
        smoothing: standard deviation of the smoothing, in decades of the rate.
        divergence: a sweep stops where its loss is not finite, or where a mean of the past losses is above this multiple of its
            lowest value so far, and above the first.
        report: called with every finished sweep.

    Raises:
        ValueError: a range that is none, counts below their least, no data, data that can be iterated once only, an optimizer
            that needs a closure, parameters that are not initialised yet, or several processes.
        TypeError: `loss` returned no scalar tensor, or an argument is of another type.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186, section 3.3.

    >>> import torch
    >>> inputs = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    >>> batches = list(zip(inputs.split(8), (inputs.sum(1, keepdim=True)).split(8)))
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> result = range_test(model, torch.nn.functional.mse_loss, batches, optimizer, low=1e-4, high=100, seeds=2)
    >>> 0.001 < result.suggestions["steepest"].rate < 1
    True
    >>> optimizer.param_groups[0]["lr"], optimizer.state
    (0.1, defaultdict(<class 'dict'>, {}))
    """
    from laju.lab.range_test.state import Snapshot
    from laju.lab.range_test.sweep import check, passes, sweep

    schedule, updates = _schedule(low, high, updates)
    accumulate = whole("accumulate", accumulate, least=1)
    chosen = read_seeds(seeds)
    width, divergence = _width(schedule, updates, smoothing), number("divergence", divergence, above=1)
    check(model, loss, data, optimizer)
    batches = passes(data)
    runs = []
    with Interrupts() as interrupts:
        with interrupts.held():
            snapshot = Snapshot(model, loss, optimizer, scheduler, data=(data,))
        for seed in chosen:
            try:
                snapshot.seed(seed)
                runs.append(
                    sweep(model, loss, batches, optimizer, schedule, updates, accumulate, seed, width, divergence)
                )
            finally:
                with interrupts.held(whole=True):
                    snapshot.restore()
            if report is not None:
                report(runs[-1])
    return RangeTest(schedule, updates, tuple(runs))


def find(
    task: str | Task = "digits",
    *,
    low: float = 1e-5,
    high: float = 10.0,
    updates: int = 200,
    seeds: int | Iterable[int] = 3,
    batch_size: int | None = None,
    optimizer: Optimizer | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    smoothing: float = 0.15,
    divergence: float = 4.0,
    report: Report | None = None,
) -> RangeTest:
    """The range test of a task: each seed has the initial weights and the order of data that its trials in `compare` have.

    Args:
        task: "digits", "fashion-mnist", or a `Task` of your own.
        low, high, updates, seeds, smoothing, divergence, report: as in `range_test`.
        batch_size: examples an update; the task's own by default.
        optimizer: of the updates; plain SGD by default.
        data_dir: folder with a task's files.

    Raises:
        ValueError: an unknown task, a range that is none, counts below their least.

    >>> result = find(updates=40, seeds=[7])
    >>> result.low, result.high, len(result.sweeps)
    (1e-05, 10.0, 1)
    """
    schedule, updates = _schedule(low, high, updates)
    chosen = read_seeds(seeds)
    batch = None if batch_size is None else whole("batch_size", batch_size, least=1)
    width, divergence = _width(schedule, updates, smoothing), number("divergence", divergence, above=1)
    task = read_task(task, data_dir)
    import torch

    from laju.lab.engines.torch import Training, one_thread_and_own_randomness
    from laju.lab.range_test.sweep import sweep

    size = task.batch_size if batch is None else batch
    epochs = updates * size // task.train_size + 1
    runs = []
    with one_thread_and_own_randomness():
        for seed in chosen:
            trial = Training(Trial(task, schedule, seed, epochs, size, optimizer or Optimizer()))

            def batches(trial: Training = trial, seed: int = seed) -> Iterator[Any]:
                for epoch in range(epochs):
                    for part in map(torch.from_numpy, task.batches(seed, epoch, size)):
                        yield trial.inputs[part], trial.labels[part]

            runs.append(
                sweep(trial.model, task.loss, batches, trial.optimizer, schedule, updates, 1, seed, width, divergence)
            )
            if report is not None:
                report(runs[-1])
    return RangeTest(schedule, updates, tuple(runs))


def _schedule(low: float, high: float, updates: int) -> tuple[Schedule, int]:
    low, high = number("low", low, above=0), number("high", high, above=0)
    if not low < high:
        raise ValueError(f"low must be below high, got low={low!r} and high={high!r}")
    updates = whole("updates", updates, least=LEAST_UPDATES)
    return exponential(low, high, total=updates - 1), updates


def _width(schedule: Schedule, updates: int, smoothing: float) -> float:
    from math import log10

    decades = log10(schedule(updates - 1)) - log10(schedule(0))
    return number("smoothing", smoothing, above=0) * (updates - 1) / decades
