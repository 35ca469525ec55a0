"""compare: train one task with several schedules and seeds, and keep what came out."""

from __future__ import annotations

import numbers
import os
import pickle
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast

import numpy as np

from laju.arguments import is_number, nearest, shown, whole
from laju.lab import base_rates
from laju.lab.comparison import Comparison
from laju.lab.engines import check, train
from laju.lab.equal_area import equal_area as scaled_to_equal_area
from laju.lab.progress import Channel, Running
from laju.lab.store import Store
from laju.lab.tasks import Task, get_task
from laju.lab.trials import FRAMEWORKS, Framework, Optimizer, Outcome, Record, Trial
from laju.pieces import Table
from laju.policies import constant
from laju.schedule import Schedule
from laju.spec import parse
from laju.units import RunPlan

Key = tuple[str, int]
Given = Schedule | str | float | Sequence[float] | Callable[[int], Any]


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


def compare(
    schedules: Mapping[str, Given],
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
    framework: str | Iterable[str] = "torch",
    equal_area: bool = False,
    tuned: bool | int = False,
) -> Comparison:
    """Train a task with every schedule and seed, the same initial weights and order of data for each.

    Args:
        schedules: by display name; a schedule, its text, a number for a constant, a list of the rates of all updates, or any
            function from the number of completed updates to a rate, such as an optax schedule. The first is the reference.
        task: "digits", "fashion-mnist", or a `Task` of your own.
        epochs: passes over the training data.
        seeds: how many (0, 1, …), or which.
        batch_size: examples an update; the task's own by default.
        optimizer: SGD's momentum and weight decay; plain SGD by default.
        data_dir: folder with a task's files.
        jobs: trials at once, one thread each; by default one for each core.
        store: file that keeps the trials; those that are in it already are not run again. In memory by default.
        display: told how it goes.
        framework: "torch", "tensorflow", "jax" or "mxnet"; of several, every schedule is trained in each.
        equal_area: scale each schedule so that the sum of its rates is that of the first; its name then says the factor.
        tuned: first find a factor from 1/10 to 10 on each schedule's rates, with a seed that the comparison does not use: True
            for 9 trials a schedule, or how many. Names then say the factor. Of several frameworks the first is tuned in.

    Raises:
        ModuleNotFoundError: a framework is not installed.
        Interrupted: Ctrl-C; carries what is finished.
        WorkerLost: a worker process was killed; carries what is finished.
        StoreError: the store cannot be opened or written.
        ValueError: no schedules, an unknown task, one without a model in a framework, no seeds, epochs below 1, a schedule that
            does not fit the run, `equal_area` and `tuned` together.

    >>> result = compare({"a": 0.1, "b": "cosine(0.3, total=1).per('epoch')"}, epochs=1, seeds=[7], jobs=1)
    >>> [(trial["schedule"], trial["seed"], trial["status"]) for trial in result.trials()]
    [('a', 7, 'finished'), ('b', 7, 'finished')]
    """
    given = _named(schedules)
    chosen = _seeds(seeds)
    frameworks = _frameworks(framework)
    epochs = whole("epochs", epochs, least=1)
    jobs = _cores() if jobs is None else whole("jobs", jobs, least=1)
    batch_size = None if batch_size is None else whole("batch_size", batch_size, least=1)
    rates = base_rates.TRIALS if tuned is True else whole("tuned", tuned, least=base_rates.LEAST) if tuned else 0
    if rates and equal_area:
        raise ValueError("tuned and equal_area both set the rates of a schedule; use one of them")
    if not isinstance(task, Task):
        if not isinstance(task, str):
            raise TypeError(f"task must be a name or a Task, got {shown(task)}")
        task = get_task(task, data_dir)
    elif data_dir is not None:
        raise ValueError(f"data_dir is for tasks given by name; {task!r} knows its own data")
    for home in frameworks:
        check(home, task)
    optimizer = optimizer or Optimizer()

    with ExitStack() as stack:
        interrupts = stack.enter_context(_Interrupts())
        # Opened before the data are read, which may be a download. An interrupt inside SQLAlchemy would print a traceback.
        with interrupts.held():
            kept = store if isinstance(store, Store) else stack.enter_context(Store(store))
        batch = task.batch_size if batch_size is None else batch_size
        plan = RunPlan(samples=task.train_size, batch_size=batch, epochs=epochs)
        if equal_area:
            fitting = {name: _fitting(name, schedule, plan) for name, schedule in given.items()}
            given = {**scaled_to_equal_area(fitting, plan)}
        notes: tuple[str, ...] = ()
        if rates:
            fitting = {name: _fitting(name, schedule, plan) for name, schedule in given.items()}
            model = Trial(task, constant(0), 0, epochs, batch, optimizer, frameworks[0])
            scaled, notes = _with_tuned_rates(fitting, rates, chosen, model, kept, jobs, display, interrupts)
            given = {**scaled}
        named: dict[str, Schedule] = {}
        homes: dict[str, Framework] = {}
        for (name, schedule), home in product(given.items(), frameworks):
            label = name if len(frameworks) == 1 else f"{name} ({home})"
            named[label] = _fitting(name, schedule, plan)
            homes[label] = home
        # Framework by framework, since a worker that has loaded several grows, and seed by seed, so that every schedule has some.
        trials = {
            (name, seed): Trial(task, schedule, seed, epochs, batch, optimizer, home)
            for home, seed, (name, schedule) in product(frameworks, chosen, named.items())
            if homes[name] == home
        }
        outcomes: dict[Key, Outcome] = {}

        def comparison() -> Comparison:
            guessing = task.chance_accuracy
            return Comparison(
                task.name, named, plan, optimizer, chosen, outcomes, bool(rates), dict(homes), guessing, notes
            )

        try:
            _finish(trials, outcomes, kept, jobs, display, interrupts)
        except KeyboardInterrupt:
            raise Interrupted(comparison()) from None
        except BrokenExecutor as error:
            raise WorkerLost(comparison()) from error
        return comparison()


def _with_tuned_rates(
    schedules: dict[str, Schedule],
    trials: int,
    seeds: tuple[int, ...],
    model: Trial,
    kept: Store,
    jobs: int,
    display: Display | None,
    interrupts: _Interrupts,
) -> tuple[dict[str, Schedule], tuple[str, ...]]:
    """The schedules with the factor on their rates that was best with another seed, named after it, and what to say of them."""
    seed = next(s for s in range(len(seeds) + 1) if s not in seeds)

    def run(wanted: Mapping[Key, Schedule]) -> dict[Key, Outcome]:
        outcomes: dict[Key, Outcome] = {}
        work = {key: replace(model, schedule=schedule, seed=key[1]) for key, schedule in wanted.items()}
        _finish(work, outcomes, kept, jobs, display, interrupts)
        return outcomes

    def nothing() -> Comparison:
        return Comparison(model.task.name, schedules, model.plan, model.optimizer, seeds, {})

    try:
        found = base_rates.tune_base_rates(schedules, [seed], trials, run)
    except KeyboardInterrupt:
        raise Interrupted(nothing()) from None
    except BrokenExecutor as error:
        raise WorkerLost(nothing()) from error
    notes = [
        f"{name}: its best base rate lies at the end of those that were tried ({rate.factor:g} times the given one), so a "
        "better one may lie beyond; give it another rate."
        for name, rate in found.items()
        if rate.at_end
    ]
    tuned = {
        base_rates.tuned_name(name, found[name].factor): base_rates.scaled(schedule, found[name].factor)
        for name, schedule in schedules.items()
    }
    return tuned, tuple(notes)


def run_trials(
    trials: Mapping[Key, Trial],
    *,
    jobs: int | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    display: Display | None = None,
) -> dict[Key, Outcome]:
    """Run any trials as `compare` does, and return their outcomes: for what is no grid of schedules and seeds.

    Args:
        trials: by (display name, seed).
        jobs, store, display: as in `compare`.

    Raises:
        KeyboardInterrupt: Ctrl-C; what is finished is in the store.
        BrokenExecutor: a worker process was killed.
        StoreError: the store cannot be opened or written.

    >>> import laju
    >>> from laju.adaptive import Plateau
    >>> from laju.lab import HeldOut, Trial, get_task
    >>> task = HeldOut(get_task("digits"))
    >>> trial = Trial(task, laju.constant(0.1), seed=0, epochs=1, batch_size=64, rule=Plateau(0.5, patience=0))
    >>> run_trials({("plateau", 0): trial}, jobs=1)["plateau", 0].status
    'finished'
    """
    jobs = _cores() if jobs is None else whole("jobs", jobs, least=1)
    outcomes: dict[Key, Outcome] = {}
    with ExitStack() as stack:
        interrupts = stack.enter_context(_Interrupts())
        with interrupts.held():
            kept = store if isinstance(store, Store) else stack.enter_context(Store(store))
        _finish(dict(trials), outcomes, kept, jobs, display, interrupts)
    return outcomes


def _finish(
    trials: dict[Key, Trial],
    outcomes: dict[Key, Outcome],
    kept: Store,
    jobs: int,
    display: Display | None,
    interrupts: _Interrupts,
) -> None:
    """Put the outcome of every trial into `outcomes`, from the store or from training it now."""
    with ExitStack() as stack:
        missing: dict[str, list[Key]] = {}
        for key, trial in trials.items():
            with interrupts.held():
                found = kept.get(trial)
            if found is not None:
                outcomes[key] = found
            else:  # two names may stand for one trial, which runs once
                missing.setdefault(trial.fingerprint, []).append(key)
        work = {keys[0]: trials[keys[0]] for keys in missing.values()}
        if display is not None:
            stack.callback(display.stop)
            display.start(len(trials), len(outcomes), min(jobs, len(work)))
        with closing(_run(work, jobs, display, interrupts)) as run:
            for first, outcome in run:
                with interrupts.held():
                    kept.put(trials[first], outcome)
                    for key in missing[trials[first].fingerprint]:
                        outcomes[key] = outcome
                        if display is not None:
                            display.finished(*key, outcome)


def _named(schedules: Mapping[str, Given]) -> dict[str, Schedule | Callable[[int], Any]]:
    if not isinstance(schedules, Mapping) or not schedules:
        raise ValueError(f"schedules must be a dict of at least one schedule by name, got {shown(schedules)}")
    named: dict[str, Schedule | Callable[[int], Any]] = {}
    for name, schedule in schedules.items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"schedules must have names that are not empty, got {shown(name)}")
        try:
            if isinstance(schedule, str):
                named[name] = parse(schedule)
            elif is_number(schedule):
                named[name] = constant(schedule)
            elif isinstance(schedule, Schedule) or callable(schedule):
                named[name] = schedule
            elif isinstance(schedule, Sequence | np.ndarray):
                named[name] = Table(tuple(cast(Iterable[float], schedule)))
            else:
                raise TypeError(
                    f"it must be a schedule, its text, a number, rates or a function, got {shown(schedule)}"
                )
        except (ValueError, TypeError) as error:
            raise type(error)(f"schedule {name!r}: {error}") from None
    return named


def _fitting(name: str, schedule: Schedule | Callable[[int], Any], plan: RunPlan) -> Schedule:
    sampled = _sampled(name, schedule, plan)
    _check_fit(name, sampled, plan)
    return sampled


def _sampled(name: str, schedule: Schedule | Callable[[int], Any], plan: RunPlan) -> Schedule:
    """A function as the table of its values, which is what a trial of it is known by."""
    if isinstance(schedule, Schedule):
        return schedule
    values = []
    for t in range(plan.updates):
        value = schedule(t)
        try:
            values.append(float(value))
        except (TypeError, ValueError):
            raise TypeError(
                f"schedule {name!r}: {shown(schedule)} gave {shown(value)} for update {t}, not a rate"
            ) from None
    return Table(tuple(values))


def _frameworks(framework: str | Iterable[str]) -> tuple[Framework, ...]:
    chosen = (framework,) if isinstance(framework, str) else tuple(framework)
    for name in chosen:
        if name not in FRAMEWORKS:
            raise ValueError(
                f"framework {shown(name)} is not one of {', '.join(FRAMEWORKS)}{nearest(str(name), FRAMEWORKS)}"
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"framework must be at least one of {', '.join(FRAMEWORKS)}, each once, got {shown(framework)}"
        )
    return cast(tuple[Framework, ...], chosen)


def _seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    if isinstance(seeds, numbers.Real):
        return tuple(range(whole("seeds", seeds, least=1)))
    if isinstance(seeds, str | bytes) or not isinstance(seeds, Iterable):
        raise TypeError(f"seeds must be a number of seeds or a sequence of them, got {shown(seeds)}")
    chosen = tuple(whole("a seed", seed) for seed in seeds)
    if not chosen:
        raise ValueError("seeds must hold at least one seed, got none")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"seeds must differ from one another, got {shown(chosen)}")
    if max(chosen) >= 2**63:
        raise ValueError(f"a seed must be less than 2**63, got {max(chosen)}")
    return chosen


def _check_fit(name: str, schedule: Schedule, plan: RunPlan) -> None:
    """What training would trip over after minutes is found now."""
    try:
        values = schedule.resolve(plan).values(plan.updates)
    except ValueError as error:
        raise ValueError(f"schedule {name!r} does not fit this run: {error}") from None
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        t = int(bad.argmax())
        raise ValueError(
            f"schedule {name!r} must have finite rates that are not negative, but update {t} has {values[t]:g}"
        )


def _cores() -> int:
    import joblib

    return int(joblib.cpu_count())


# --- running -----------------------------------------------------------------------------------------------------------


class _Interrupts:
    """Ctrl-C in the block raises KeyboardInterrupt once: not while it is held, and not again while all is cleared up."""

    def __init__(self) -> None:
        self._holding = self._waiting = self._raised = False

    def __enter__(self) -> _Interrupts:
        # Another handler than Python's own is somebody's wish, and only the main thread may change it.
        self._ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._ours:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._raised:
            return
        if self._holding and not self._waiting:  # who presses it twice does not want to wait
            self._waiting = True
            return
        self._raised = True
        raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is in the block is done as a whole; an interrupt is raised after it."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._waiting and not self._raised:
            self._raised = True
            raise KeyboardInterrupt


def _run(
    trials: dict[Key, Trial], jobs: int, display: Display | None, interrupts: _Interrupts
) -> Generator[tuple[Key, Outcome], None, None]:
    """The outcomes of trials as they end, trained in this process (one job) or in several."""
    jobs = min(jobs, len(trials))
    if not trials:
        return
    with tempfile.TemporaryDirectory(prefix="laju-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with _watching(Channel(folder), display):
            if jobs == 1:
                for key, trial in trials.items():
                    yield key, _train(key, trial, folder)
            else:
                yield from _run_in_workers(trials, jobs, folder, interrupts)


def _run_in_workers(
    trials: dict[Key, Trial], jobs: int, folder: Path, interrupts: _Interrupts
) -> Iterator[tuple[Key, Outcome]]:
    import cloudpickle
    import joblib

    # A worker that has grown by a framework's libraries is replaced between two trials, which is of no interest.
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
    # The trials travel together, in a file, so that they share one task and a worker reads its data once.
    try:
        (folder / _TRIALS).write_bytes(cloudpickle.dumps(list(trials.items())))
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise TypeError(f"the task cannot be sent to worker processes ({error}); jobs=1 does without them") from error
    parallel = joblib.Parallel(
        n_jobs=jobs,
        backend="loky",
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch="2 * n_jobs",  # no more than loky's queue holds, or killing its workers fails with a KeyError
        inner_max_num_threads=1,
        initializer=_become_worker,
        initargs=(os.getpid(),),
    )
    results = None
    try:
        with interrupts.held(), _sheltered():
            results = parallel(joblib.delayed(_work)(folder, i) for i in range(len(trials)))
        for result in results:  # noqa: UP028 - what `yield from` delegates to is closed before this is
            yield result
    except BaseException:
        with interrupts.held(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib warns that trials are lost, which is known
            if results is not None:
                results.close()
            _kill_workers()
        raise


def _train(key: Key, trial: Trial, folder: Path) -> Outcome:
    channel, fingerprint, updates = Channel(folder), trial.fingerprint, trial.plan.updates

    def report(record: Record) -> None:
        channel.tell(fingerprint, Running(*key, updates=updates, record=record))

    try:
        return train(trial, report)
    finally:
        channel.done(fingerprint)


# --- in a worker -------------------------------------------------------------------------------------------------------

_TRIALS = "trials.pickle"
_received: tuple[Path, list[tuple[Key, Trial]]] | None = None


def _work(folder: Path, i: int) -> tuple[Key, Outcome]:
    global _received
    if _received is None or _received[0] != folder:
        _received = folder, pickle.loads((folder / _TRIALS).read_bytes())
    key, trial = _received[1][i]
    return key, _train(key, trial, folder)


def _become_worker(parent: int) -> None:
    """A worker leaves Ctrl-C to the process that the user started, and ends when that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="laju-parent", daemon=True).start()


@contextmanager
def _sheltered() -> Iterator[None]:
    """Processes started in the block are deaf to Ctrl-C from their first moment."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Python's own helper process, which workers need, would take the mask off when it is started.
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
