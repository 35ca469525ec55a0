"""The range test itself, on your own torch loop or on a task of the lab."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laju.core.checks import whole
from laju.lab.comparison.arguments import read_seeds
from laju.lab.range_test.rates import RateRange
from laju.lab.range_test.result import RangeTest, Sweep
from laju.lab.trials import Optimizer, Trial
from laju.lab.trials.tasks import Task, read_task
from laju.lab.workers import Execution, TrialsLost
from laju.lab.workers.driver import loss_of
from laju.lab.workers.executors import Shared
from laju.lab.workers.interrupts import Interrupts

if TYPE_CHECKING:
    import torch

Report = Callable[[Sweep], None]


def range_test(
    model: torch.nn.Module,
    loss: Callable[..., torch.Tensor],
    data: Iterable[Any] | Callable[[], Iterable[Any]],
    optimizer: torch.optim.Optimizer,
    rates: RateRange | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    updates: int | None = None,
    seeds: int | Iterable[int] = 3,
    accumulate: int = 1,
    report: Report | None = None,
) -> RangeTest:
    """Train while the learning rate rises from `low` to `high`, then restore everything, bit by bit.

    Groups whose own rates differ keep their ratios to the largest. Every seed begins with the current model and optimizer, and
    has its own order of data and its own random numbers. Afterwards, also after an error or Ctrl-C, weights, buffers, gradients,
    modes, the optimizer's state and groups, schedulers, loaders and all random generators are restored.

    Args:
        model: a module, which is put into training mode; a module already in training mode keeps the modes of its parts.
        loss: a function that returns a scalar, of (outputs, targets) if a batch is a pair of inputs and targets, else of
            (model, batch).
        data: batches: an iterable that can be iterated repeatedly, such as a `DataLoader`, or a function that returns
            an iterator. Tensors are moved to the model's device.
        optimizer: the optimizer of the model; any optimizer that needs no closure.
        rates: the rates of a sweep, its smoothing and its end; `RateRange()` by default.
        low, high, updates: as in `RateRange`, if no `RateRange` is given.
        seeds: the number of seeds (0, 1, …), or a list of seeds.
        accumulate: micro-batches whose mean gradient makes an update, and a single point of the curve.
        report: called with every finished sweep.

    Raises:
        ValueError: an invalid range, counts below their minimum, a `RateRange` together with a keyword of the range, no data,
            data that can be iterated only once, an optimizer that needs a closure, parameters that are not initialised yet, or
            several processes.
        TypeError: `loss` did not return a scalar tensor, or an argument has a wrong type.

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

    rates = RateRange.of(rates, low=low, high=high, updates=updates)
    accumulate = whole("accumulate", accumulate, least=1)
    chosen = read_seeds(seeds)
    check(model, loss, data, optimizer)
    begin = passes(data)
    runs = []
    with Interrupts() as interrupts:
        with interrupts.held():
            snapshot = Snapshot(model, loss, optimizer, data=(data,))
        for seed in chosen:
            try:
                snapshot.seed(seed)
                runs.append(sweep(model, loss, begin, optimizer, rates, seed, accumulate))
            finally:
                with interrupts.held(whole=True):
                    snapshot.restore()
            if report is not None:
                report(runs[-1])
    return RangeTest(rates.schedule, rates.updates, tuple(runs))


def find(
    task: str | Task = "digits",
    rates: RateRange | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    updates: int | None = None,
    seeds: int | Iterable[int] = 3,
    batch_size: int | None = None,
    optimizer: Optimizer | None = None,
    jobs: int | None = None,
    execution: Execution | None = None,
    report: Report | None = None,
) -> RangeTest:
    """Run the range test on a task: each seed has the same initial weights and order of data as its trials in `compare`.

    Args:
        task: "digits", "fashion-mnist", or a `Task` of your own.
        rates, low, high, updates, seeds, report: as in `range_test`.
        batch_size: examples per update; by default that of the task.
        optimizer: the optimizer; plain SGD by default.
        jobs: the number of sweeps at once, each in a separate process; by default all sweeps run in turn in this process.
        execution: `jobs` and `device`; no further options of an `Execution` apply to a sweep.

    Raises:
        ValueError: an unknown task, an invalid range, counts below their minimum, a value together with a keyword of the value,
            or an option of the `Execution` that does not apply to a sweep.
        DeviceError: there is no GPU that torch can use.
        TrialsLost: the worker process of a sweep was killed.

    >>> result = find(updates=40, seeds=[7])
    >>> result.low, result.high, len(result.sweeps)
    (1e-05, 10.0, 1)
    """
    rates = RateRange.of(rates, low=low, high=high, updates=updates)
    chosen = read_seeds(seeds)
    batch = None if batch_size is None else whole("batch_size", batch_size, least=1)
    execution = Execution(jobs=1) if execution is None and jobs is None else Execution.of(execution, jobs)
    others = ("on", "precision", "channels_last", "stack", "time_limit", "share_prefixes")
    execution.refuse(*others, why="a sweep has jobs and device alone")
    execution.check()
    task = read_task(task)
    size = task.batch_size if batch is None else batch
    epochs = rates.updates * size // task.train_size + 1
    trial = Trial(task, rates.schedule, 0, epochs, size, Optimizer.of(optimizer))
    done: dict[int, Sweep] = {}
    pending: dict[Future[Sweep], int] = {}
    ready = deque(chosen)
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="laju-find-", ignore_cleanup_errors=True))
        place = execution.place(Path(folder), interrupts, len(chosen))
        try:
            shared = place.share((trial, rates, execution.device))
            while ready or pending:
                while ready and len(pending) < place.slots:
                    seed = ready.popleft()
                    pending[place.submit(_sweep, shared, seed)] = seed
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    seed = pending.pop(future)
                    if isinstance(error := future.exception(), BrokenExecutor):
                        # A pool of processes that loses a worker stops the others as well, and does not say whose worker it was.
                        lost = sorted([seed, *pending.values()]) if place.together else [seed]
                        raise TrialsLost({("range test", each): loss_of(error) or str(error) for each in lost})
                    done[seed] = future.result()
                    if report is not None:
                        report(done[seed])
            place.close()
        except BaseException:
            place.close(kill=True)
            raise
    return RangeTest(rates.schedule, rates.updates, tuple(done[seed] for seed in chosen))


def _sweep(shared: Shared, seed: int) -> Sweep:
    """The sweep of a seed, wherever the job runs."""
    import torch

    from laju.lab.engines.torch import Training, one_thread_and_own_randomness
    from laju.lab.range_test.sweep import sweep

    trial, rates, device = shared.get()
    trial = replace(trial, seed=seed)
    with one_thread_and_own_randomness(), torch.random.fork_rng(enabled=device == "cuda"):
        if device == "cuda":
            torch.cuda.manual_seed_all(seed)
        training = Training(trial)
        training.model.to(device)

        def batches() -> Iterator[Any]:
            for epoch in range(trial.epochs):
                for part in map(torch.from_numpy, trial.task.batches(seed, epoch, trial.batch_size)):
                    yield training.inputs[part], training.labels[part]

        return sweep(training.model, trial.task.loss, batches, training.optimizer, rates, seed)
