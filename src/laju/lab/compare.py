"""compare: train one task with several schedules and seeds, and keep what came out."""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

from laju.arguments import shown, whole
from laju.lab.comparison import Comparison
from laju.lab.progress import Channel, Running
from laju.lab.store import Store
from laju.lab.tasks import Task, get_task
from laju.lab.trial import Optimizer, Outcome, Record, Trial
from laju.schedule import Schedule
from laju.spec import parse
from laju.units import RunPlan

Key = tuple[str, int]


class Interrupted(KeyboardInterrupt):
    """The user stopped a comparison; `comparison` holds the trials that are finished, and the store keeps them."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__("the comparison was interrupted")
        self.comparison = comparison


class WorkerLost(RuntimeError):
    """A worker process died; `comparison` holds the trials that are finished, and the store keeps them."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__(
            "a worker process died: it was killed, or the machine ran out of memory (fewer --jobs need less). "
            "What was finished is kept; the same comparison later runs the rest"
        )
        self.comparison = comparison


class Display(Protocol):
    """Someone who watches: `compare` calls these as trials run."""

    def start(self, total: int, kept: int, jobs: int) -> None: ...
    def running(self, trials: list[Running]) -> None: ...
    def finished(self, name: str, seed: int, outcome: Outcome) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class _Job:
    """One trial on its way to a worker, with what the worker needs to tell how it goes."""

    key: Key
    trial: Trial
    folder: str


def compare(
    schedules: Mapping[str, Schedule | str | float],
    task: str | Task = "digits",
    *,
    epochs: int = 30,
    seeds: int | Iterable[int] = 3,
    batch_size: int | None = None,
    optimizer: Optimizer | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    display: Display | None = None,
) -> Comparison:
    """Train a task with every schedule and seed, the same initial weights and order of data for each.

    Args:
        schedules: by display name; a schedule, its text, or a number for a constant. The first is the reference.
        task: "digits", "fashion-mnist", or a `Task` of your own.
        epochs: passes over the training data.
        seeds: how many (0, 1, …), or which.
        batch_size: examples an update; the task's own by default.
        optimizer: SGD's momentum and weight decay; plain SGD by default.
        data_dir: folder with a task's files.
        jobs: trials at once, one thread each; by default one for each core.
        store: file that keeps the trials; those that are in it already are not run again. In memory by default.
        display: told how it goes.

    Raises:
        Interrupted: Ctrl-C; carries what is finished.
        ValueError: no schedules, an unknown task, no seeds, epochs below 1, a schedule that does not fit the run.

    >>> result = compare({"a": 0.1, "b": "cosine(0.3, total=1).per('epoch')"}, epochs=1, seeds=[7], jobs=1)
    >>> [(trial["schedule"], trial["seed"], trial["status"]) for trial in result.trials()]
    [('a', 7, 'finished'), ('b', 7, 'finished')]
    """
    named = _named(schedules)
    chosen = _seeds(seeds)
    epochs = whole("epochs", epochs, least=1)
    jobs = _cores() if jobs is None else whole("jobs", jobs, least=1)
    if not isinstance(task, Task):
        if not isinstance(task, str):
            raise TypeError(f"task must be a name or a Task, got {shown(task)}")
        task = get_task(task, data_dir)
    elif data_dir is not None:
        raise ValueError(f"data_dir is for tasks given by name; {task!r} knows its own data")
    batch = task.batch_size if batch_size is None else whole("batch_size", batch_size, least=1)
    plan = RunPlan(samples=task.train_size, batch_size=batch, epochs=epochs)
    optimizer = optimizer or Optimizer()
    trials = {
        (name, seed): Trial(task, schedule, seed, epochs, batch, optimizer)
        for seed, (name, schedule) in product(chosen, named.items())
    }
    for name, schedule in named.items():
        _check_fit(name, schedule, plan)

    def comparison(outcomes: dict[Key, Outcome]) -> Comparison:
        return Comparison(task.name, named, plan, optimizer, chosen, outcomes)

    opened = store if isinstance(store, Store) else Store(store)
    try:
        outcomes = {key: found for key, trial in trials.items() if (found := opened.get(trial)) is not None}
        missing = {key: trial for key, trial in trials.items() if key not in outcomes}
        if display is not None:
            display.start(len(trials), len(outcomes), min(jobs, len(missing)))
        try:
            for key, outcome in _run(missing, jobs, display):
                opened.put(trials[key], outcome)
                outcomes[key] = outcome
                if display is not None:
                    display.finished(*key, outcome)
        except KeyboardInterrupt:
            raise Interrupted(comparison(outcomes)) from None
        except BrokenExecutor as error:
            raise WorkerLost(comparison(outcomes)) from error
        finally:
            if display is not None:
                display.stop()
    finally:
        if opened is not store:
            opened.close()
    return comparison(outcomes)


def _named(schedules: Mapping[str, Schedule | str | float]) -> dict[str, Schedule]:
    if not isinstance(schedules, Mapping) or not schedules:
        raise ValueError(f"schedules must map at least one name to a schedule, got {shown(schedules)}")
    named: dict[str, Schedule] = {}
    for name, schedule in schedules.items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"schedules must have names that are not empty, got {shown(name)}")
        if isinstance(schedule, str):
            schedule = parse(schedule)
        elif not isinstance(schedule, Schedule):
            from laju.policies import constant

            schedule = constant(schedule)
        named[name] = schedule
    return named


def _seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        return tuple(range(whole("seeds", seeds, least=1)))
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise TypeError(f"seeds must be a number of seeds or a sequence of them, got {shown(seeds)}")
    chosen = tuple(whole("seeds", seed) for seed in seeds)
    if not chosen:
        raise ValueError("seeds must hold at least one seed, got none")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"seeds must differ from one another, got {shown(chosen)}")
    return chosen


def _check_fit(name: str, schedule: Schedule, plan: RunPlan) -> None:
    """What training would trip over after minutes is found now."""
    try:
        values = schedule.resolve(plan).values(plan.updates)
    except ValueError as error:
        raise ValueError(f"schedule {name!r} does not fit this run: {error}") from None
    if (values < 0).any():
        t = int((values < 0).argmax())
        raise ValueError(f"schedule {name!r} must not be negative, but update {t} has the rate {values[t]:g}")


def _cores() -> int:
    import joblib

    return int(joblib.cpu_count())


# --- running -----------------------------------------------------------------------------------------------------------

_tasks: dict[bytes, Task] = {}


def _run(missing: dict[Key, Trial], jobs: int, display: Display | None) -> Iterator[tuple[Key, Outcome]]:
    """The outcomes of trials as they end, trained in this process (one job) or in several."""
    if not missing:
        return
    import joblib

    with tempfile.TemporaryDirectory(prefix="laju-") as folder, _watching(Channel(folder), display):
        work = [joblib.delayed(_work)(_Job(key, trial, folder)) for key, trial in missing.items()]
        jobs = min(jobs, len(work))
        if jobs == 1:
            for function, args, kwargs in work:
                yield function(*args, **kwargs)
            return
        parallel = joblib.Parallel(
            n_jobs=jobs,
            backend="loky",
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch="all",
            inner_max_num_threads=1,
            initializer=_ignore_interrupts,
        )
        results = parallel(work)
        try:
            yield from results
        except BaseException:
            _kill_workers()
            raise


def _work(job: _Job) -> tuple[Key, Outcome]:
    from laju.lab.engines.torch import train

    # A worker runs many trials of one task: its data are read once.
    known = pickle.dumps(job.trial.task)
    task = _tasks.setdefault(known, job.trial.task)
    trial = Trial(**{**vars(job.trial), "task": task})
    channel, fingerprint = Channel(job.folder), trial.fingerprint

    def report(record: Record) -> None:
        channel.tell(fingerprint, Running(*job.key, updates=trial.plan.updates, record=record))

    try:
        return job.key, train(trial, report)
    finally:
        channel.done(fingerprint)


def _ignore_interrupts() -> None:
    """Ctrl-C goes to every process of the terminal; only the one that the user started shall answer it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _kill_workers() -> None:
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor(kill_workers=True, reuse=True).shutdown(wait=True, kill_workers=True)


class _watching:
    """Shows the running trials a few times a second while the block runs."""

    def __init__(self, channel: Channel, display: Display | None) -> None:
        self._show: Callable[[], Any] | None = None if display is None else lambda: display.running(channel.running())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="laju-progress", daemon=True)

    def _loop(self) -> None:
        while self._show is not None and not self._stop.wait(0.2):
            self._show()

    def __enter__(self) -> None:
        if self._show is not None:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._show is not None:
            self._thread.join()
