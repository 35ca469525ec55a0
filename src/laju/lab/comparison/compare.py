"""compare: train a task with several schedules and seeds, and keep the outcomes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product

from laju.averaging import Average
from laju.core.checks import shown
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.lab.comparison import base_rates
from laju.lab.comparison.arguments import Averaged, Given, Read, fitted, read_frameworks, read_schedules, read_seeds
from laju.lab.comparison.comparison import Comparison
from laju.lab.comparison.equal_area import equal_area as scaled_to_equal_area
from laju.lab.comparison.grid import Grid, Selection, as_grid
from laju.lab.comparison.race import Race, check_race
from laju.lab.comparison.race import race as run_race
from laju.lab.engines import check
from laju.lab.live.displays import as_display
from laju.lab.store import Store
from laju.lab.trials import Framework, Optimizer, Outcome, Trial
from laju.lab.trials.numerics import Numerics
from laju.lab.trials.tasks import Task, read_task
from laju.lab.workers import Display, Driver, Execution, Interrupts, Key, TrialsLost
from laju.policies import constant


class Interrupted(KeyboardInterrupt):
    """The user stopped a comparison; `comparison` holds the finished trials, and the store keeps them."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__("the comparison was interrupted")
        self.comparison = comparison


class Unfinished(RuntimeError):
    """Some trials did not finish: `reasons` says why. `comparison` holds the finished trials, which the store keeps."""

    def __init__(self, comparison: Comparison, lost: TrialsLost) -> None:
        super().__init__(f"{lost}. What was finished is kept; the same comparison later runs the rest")
        self.comparison = comparison
        self.reasons = lost.reasons


def compare(
    schedules: Grid | Mapping[str, Given],
    task: str | Task = "digits",
    *,
    seeds: int | Iterable[int] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: Optimizer | None = None,
    jobs: int | None = None,
    execution: Execution | None = None,
    selection: Selection | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    display: Display | bool | None = None,
) -> Comparison:
    """Train a task with every schedule and seed, the same initial weights and order of data for each.

    Args:
        schedules: a `Grid`, or its schedules by display name.
        task: "digits", "fashion-mnist", or a `Task` of your own.
        seeds, epochs, batch_size, optimizer: as in `Grid`, if no `Grid` is given: 3 seeds and 30 epochs by default.
        jobs: as in `Execution`, if no `Execution` is given.
        execution: how trials run: how many at once, where, on which device, and for how long.
        selection: how schedules are chosen: a race, tuned base rates, equal areas. The result of a race excludes dropped
            schedules.
        store: the file that keeps the trials; trials that are already in the file are not run again. In memory by default.
        display: True shows curves of the running trials, on a terminal or in a notebook, and lines elsewhere. By default only a
            notebook shows curves; False shows nothing. A `Display` of your own is called with the progress.

    Raises:
        ModuleNotFoundError: a framework is not installed.
        Interrupted: Ctrl-C; the exception has the finished trials.
        Unfinished: the workers of some trials were killed repeatedly, or some trials took longer than the time limit; the
            exception has the finished trials.
        StoreError: the store cannot be opened or written.
        ValueError: no schedules, an unknown task, a task without a model in a framework, no seeds, epochs below 1, a schedule
            that does not fit the run, a race in several frameworks, of fewer than two schedules or with fewer than three seeds,
            a `Grid` together with a keyword of the grid, or an `Execution` together with `jobs`.

    >>> result = compare({"a": 0.1, "b": "cosine(0.3, total=1).per('epoch')"}, epochs=1, seeds=[7], jobs=1)
    >>> [(trial["schedule"], trial["seed"], trial["status"]) for trial in result.trials()]
    [('a', 7, 'finished'), ('b', 7, 'finished')]
    """
    grid = as_grid(schedules, seeds=seeds, epochs=epochs, batch_size=batch_size, optimizer=optimizer)
    execution, selection = Execution.of(execution, jobs), selection or Selection()
    if not isinstance(selection, Selection):
        raise TypeError(f"selection must be a Selection, got {shown(selection)}")
    given, chosen, frameworks = read_schedules(grid.schedules), read_seeds(grid.seeds), read_frameworks(grid.framework)
    execution.check()
    watcher = as_display(display)
    numerics, rates = execution.numerics, selection.factors
    if selection.race:
        if len(frameworks) > 1:
            raise ValueError(f"a race is run in one framework, got {', '.join(frameworks)}")
        check_race(tuple(given), chosen)
    task = read_task(task)
    for home in frameworks:
        check(home, task)
    optimizer = grid.optimizer or Optimizer()

    with ExitStack() as exits:
        interrupts = exits.enter_context(Interrupts())
        # Opened before the data are read, which may be a download. An interrupt inside SQLAlchemy would print a traceback.
        with interrupts.held():
            kept = store if isinstance(store, Store) else exits.enter_context(Store(store))
        lab = _Lab(kept, execution, watcher, interrupts)
        batch = task.batch_size if grid.batch_size is None else grid.batch_size
        plan = RunPlan(samples=task.train_size, batch_size=batch, epochs=grid.epochs)
        model = Trial(task, constant(0), 0, grid.epochs, batch, optimizer, frameworks[0], numerics=numerics)
        notes: tuple[str, ...] = () if numerics == Numerics() else (f"Computed on {numerics}.",)
        if selection.equal_area:
            given = {**scaled_to_equal_area(_all_fitted(given, plan), plan)}
        if rates:
            scaled, found = _with_tuned_rates(_all_fitted(given, plan), rates, chosen, model, lab)
            given, notes = {**scaled}, notes + found
        raced: Race | None = None
        if selection.race:
            entered = _all_fitted(given, plan)
            raced = _raced(entered, chosen, model, lab, selection.error)
            given = {name: entered[name] for name in raced.left}
        named: dict[str, Schedule] = {}
        homes: dict[str, Framework] = {}
        averages: dict[str, Average] = {}
        for (name, schedule), home in product(given.items(), frameworks):
            label = name if len(frameworks) == 1 else f"{name} ({home})"
            named[label] = fitted(name, schedule, plan)
            homes[label] = home
            if isinstance(schedule, Averaged):
                averages[label] = schedule.average
        if averages:
            notes += (
                "Rows with an average make the updates of their schedule's row; their test figures are of the averaged weights.",
            )
        # Framework by framework, since a worker that has loaded several grows, and seed by seed, so that every schedule has some.
        trials = {
            (name, seed): replace(model, schedule=schedule, seed=seed, framework=home, average=averages.get(name))
            for home, seed, (name, schedule) in product(frameworks, chosen, named.items())
            if homes[name] == home
        }
        outcomes: dict[Key, Outcome] = {}

        def comparison() -> Comparison:
            return Comparison(
                task.name,
                named,
                plan,
                optimizer,
                chosen,
                outcomes,
                tuned=bool(rates),
                frameworks=dict(homes),
                guessing=task.chance_accuracy,
                notes=notes,
                resolution=task.resolution,
                race=raced,
                description=task.description,
                data=task.fingerprint,
            )

        with _carrying(comparison):
            lab.finish(trials, outcomes)
        return comparison()


@contextmanager
def _carrying(comparison: Callable[[], Comparison]) -> Iterator[None]:
    """Attach the comparison so far to an exception that stops the block."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(comparison()) from None
    except TrialsLost as lost:
        raise Unfinished(comparison(), lost) from None


def _all_fitted(schedules: Mapping[str, Read], plan: RunPlan) -> dict[str, Schedule]:
    if averaged := [name for name, schedule in schedules.items() if isinstance(schedule, Averaged)]:
        raise ValueError(
            f"schedule {averaged[0]!r} is of averaged weights, which go with no race, tuned rates or equal areas; leave these out"
        )
    return {name: fitted(name, schedule, plan) for name, schedule in schedules.items()}


def _with_tuned_rates(
    schedules: dict[str, Schedule], trials: int, seeds: tuple[int, ...], model: Trial, lab: _Lab
) -> tuple[dict[str, Schedule], tuple[str, ...]]:
    """The schedules with their best factors, found with a separate seed and shown in the names, and notes on the tuning."""
    # A seed that the comparison does not use: a factor chosen at one of its seeds would profit from that seed's chance.
    seed = next(s for s in range(len(seeds) + 1) if s not in seeds)

    def run(wanted: Mapping[Key, Schedule]) -> dict[Key, Outcome]:
        return lab.run({key: replace(model, schedule=schedule, seed=key[1]) for key, schedule in wanted.items()})

    with _carrying(lambda: Comparison(model.task.name, schedules, model.plan, model.optimizer, seeds, {})):
        found = base_rates.tune_base_rates(schedules, [seed], trials, run)
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


def _raced(schedules: dict[str, Schedule], seeds: tuple[int, ...], model: Trial, lab: _Lab, error: float) -> Race:
    """Race the schedules; return the remaining schedules, and the reasons for dropped schedules."""

    def run(wanted: Mapping[Key, Schedule]) -> dict[Key, Outcome]:
        outcomes = lab.run({key: replace(model, schedule=schedule, seed=key[1]) for key, schedule in wanted.items()})
        finished.update(outcomes)
        return outcomes

    task, finished = model.task, dict[Key, Outcome]()
    with _carrying(lambda: Comparison(task.name, schedules, model.plan, model.optimizer, seeds, finished)):
        return run_race(
            schedules,
            seeds,
            model.epochs,
            run,
            error=error,
            guessing=task.chance_accuracy,
            resolution=task.resolution,
        )


def run_trials(
    trials: Mapping[Key, Trial],
    *,
    jobs: int | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    display: Display | bool | None = None,
    execution: Execution | None = None,
) -> dict[Key, Outcome]:
    """Run an arbitrary set of trials and return their outcomes. Use `compare` for a grid of schedules and seeds.

    Args:
        trials: by (display name, seed).
        jobs, store, display, execution: as in `compare`; each trial has its own device and arithmetic, which `execution` does not
            change.

    Raises:
        KeyboardInterrupt: Ctrl-C; finished trials are in the store.
        TrialsLost: the workers of some trials were killed repeatedly, or some trials took longer than `time_limit`; finished
            trials are stored.
        StoreError: the store cannot be opened or written.

    >>> import laju
    >>> from laju.adaptive import Plateau
    >>> from laju.lab import HeldOut, Trial, get_task
    >>> task = HeldOut(get_task("digits"))
    >>> trial = Trial(task, laju.constant(0.1), seed=0, epochs=1, batch_size=64, rule=Plateau(0.5, patience=0))
    >>> run_trials({("plateau", 0): trial}, jobs=1)["plateau", 0].status
    'finished'
    """
    execution = Execution.of(execution, jobs)
    watcher = as_display(display)
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        with interrupts.held():
            kept = store if isinstance(store, Store) else stack.enter_context(Store(store))
        return _Lab(kept, execution, watcher, interrupts).run(trials)


@dataclass(frozen=True)
class _Lab:
    """The environment of trials: the store that keeps outcomes, the place to run, and the display."""

    kept: Store
    execution: Execution
    display: Display | None
    interrupts: Interrupts

    def run(self, trials: Mapping[Key, Trial]) -> dict[Key, Outcome]:
        """The outcome of every trial.

        Raises:
            TrialsLost: some trials have no outcome; all finished trials are stored.
        """
        outcomes: dict[Key, Outcome] = {}
        self.finish(trials, outcomes)
        return outcomes

    def finish(self, trials: Mapping[Key, Trial], outcomes: dict[Key, Outcome]) -> None:
        """Put the outcome of every trial into `outcomes`, from the store or from training.

        Raises:
            TrialsLost: some trials have no outcome, although all the rest do.
        """
        display = self.display
        with ExitStack() as stack:
            same: dict[str, list[Key]] = {}  # two names may stand for the same trial, which runs once
            for key, trial in trials.items():
                same.setdefault(trial.fingerprint, []).append(key)
            with self.interrupts.held():
                found = self.kept.get_many([trials[keys[0]] for keys in same.values()])
            for fingerprint, outcome in found.items():
                outcomes.update(dict.fromkeys(same[fingerprint], outcome))
            work = {keys[0]: trials[keys[0]] for fingerprint, keys in same.items() if fingerprint not in found}
            if display is not None:
                stack.callback(display.stop)
                display.start(len(trials), len(outcomes), min(self.execution.slots, len(work)))

            def finished(first: Key, outcome: Outcome) -> None:
                for key in same[trials[first].fingerprint]:
                    outcomes[key] = outcome
                    if display is not None:
                        display.finished(*key, outcome)

            driver = Driver(work, self.kept, self.execution, self.interrupts, finished, display)
            driver.run()
        if driver.reasons:
            raise TrialsLost(driver.reasons)
