"""tune: search a policy's parameters on a task; every suggestion is trained as ordinary trials, and kept.

This process asks Optuna for suggestions and reports the outcomes; trials run here or in worker processes. Finished trials are in
the storage and the store at once, so a search that was stopped or killed goes on from there.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laju.core.checks import nearest, shown, whole
from laju.core.extras import needed_by
from laju.lab.comparison.arguments import read_frameworks, read_seeds
from laju.lab.comparison.compare import Interrupted, Unfinished, compare
from laju.lab.comparison.grid import Grid
from laju.lab.comparison.race import LEAST_SEEDS
from laju.lab.engines import check
from laju.lab.live.displays import as_display
from laju.lab.store import Store
from laju.lab.trials import Optimizer
from laju.lab.trials.tasks import Task, read_task
from laju.lab.tuning.objectives import read_objectives
from laju.lab.tuning.result import SearchResult
from laju.lab.tuning.search import BY_EPOCHS, Search
from laju.lab.tuning.search_space import Space
from laju.lab.tuning.storage import as_storage_error, open_storage, quiet, storage_url
from laju.lab.workers.display import Display
from laju.lab.workers.executors import cores
from laju.lab.workers.interrupts import Interrupts

if TYPE_CHECKING:
    pass

SAMPLERS = {
    "tpe": "Tree-structured Parzen estimator, multi-variate (Optuna's default)",
    "gp": "Bayesian optimisation by a Gaussian process",
    "cma": "CMA-ES; numbers only, one objective; needs the package cmaes",
    "random": "independent draws",
    "grid": "all combinations of evenly spaced points",
}
PRUNERS = {
    "none": "every trial runs to its end",
    "seeds": "left without its other seeds when it cannot end above the best, as in a race",
    "median": "stopped when its best epoch is worse than the median of earlier trials at that epoch",
    "hyperband": "successive halving in brackets",
}


class SearchInterrupted(KeyboardInterrupt):
    """The user stopped a search; `result` holds the finished trials, and the same search later goes on."""

    def __init__(self, result: SearchResult) -> None:
        super().__init__("the search was interrupted")
        self.result = result


class SearchWorkerLost(RuntimeError):
    """A worker process died; `result` holds the finished trials, and the same search later goes on."""

    def __init__(self, result: SearchResult) -> None:
        super().__init__(
            "a worker process died: it was killed, or the machine ran out of memory (fewer --jobs need less). "
            "What was finished is kept; the same search later runs the rest"
        )
        self.result = result


def tune(
    policy: str,
    task: str | Task = "digits",
    space: str | Space = "",
    *,
    trials: int = 30,
    objective: str | Sequence[str] = "accuracy",
    epochs: int = 30,
    seeds: int | Iterable[int] = 1,
    confirm: int = 3,
    batch_size: int | None = None,
    optimizer: Optimizer | None = None,
    framework: str = "torch",
    data_dir: str | os.PathLike[str] | None = None,
    per: str | None = None,
    sampler: str = "tpe",
    pruner: str = "none",
    points: int = 5,
    seed: int = 0,
    jobs: int | None = None,
    storage: str | os.PathLike[str] | None = None,
    study: str | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    display: Display | bool | None = None,
) -> SearchResult:
    """Search the best parameters of a policy for a task, then train the best anew with seeds that the search did not see.

    Args:
        policy: a name in `laju.policies`.
        task: "digits", "fashion-mnist", or a `Task` of your own.
        space: the parameters that vary, such as "peak=1e-3..1 log, warmup=0%..20%"; see `Space.parse`.
        trials: how many the study holds in the end, trials of an earlier run included; a grid has no more than its points.
        objective: "accuracy" (of the test set, at the end), "updates-to=0.9" (updates until the test accuracy is that), or
            several, of which the search finds the Pareto front.
        epochs: passes over the training data.
        seeds: of every trial; its figure is their mean.
        confirm: how many new seeds the best is trained with afterwards, for its figures; 0 for none.
        batch_size: examples an update; the task's own by default.
        optimizer: SGD's momentum and weight decay; plain SGD by default.
        framework: "torch", "tensorflow", "jax" or "mxnet".
        data_dir: folder with a task's files.
        per: the unit that the policy counts in, such as "epoch"; updates by default.
        sampler: "tpe", "gp", "cma", "random" or "grid".
        pruner: "none"; "seeds", which trains a trial's seeds in rounds and leaves out the others of a trial that cannot end
            above the best finished trial (an error of 5 % a search, see `laju.lab.comparison.race.race`); "median" or
            "hyperband", Optuna's own, which stop trials by test accuracy at equal epochs and so favour early decays.
        points: of a grid, along each range that has no step.
        seed: of the sampler.
        jobs: trials at once, a single thread each; by default as many as cores.
        storage: keeps the search: a file for SQLite, or a URL such as "postgresql://user@host/database". Temporary by default.
        study: the search's name in the storage; "POLICY on TASK" by default.
        store: file that keeps trials; a suggestion with a stored trial is not trained again. In memory by default.
        display: as in `laju.lab.compare`.

    Raises:
        ModuleNotFoundError: Optuna, a sampler's package, a framework or a database driver is not installed.
        SpaceError: the space cannot be read, contradicts itself or does not suit the policy and the run.
        StorageError: the storage cannot be reached, or holds another search under this name.
        SearchInterrupted: Ctrl-C; carries the finished trials.
        SearchWorkerLost: a worker process was killed; carries the finished trials.
        ValueError: an unknown task, sampler, pruner or objective, a pruner with several objectives or, by seeds,
            with fewer than three seeds, no trials.

    Warns:
        UserWarning: a pruner that compares trials at equal epochs.

    Source: Akiba et al., "Optuna", arXiv 1907.10902; Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011 (TPE).

    >>> found = tune("constant", "digits", "value=0.01..1 log", trials=2, epochs=1, confirm=0, jobs=1)
    >>> len(found.evaluations), sorted(found.best.parameters)
    (2, ['value'])
    """
    _need_optuna()
    trials = whole("trials", trials, least=1)
    epochs = whole("epochs", epochs, least=1)
    confirm = whole("confirm", confirm)
    points = whole("points", points, least=2)
    jobs = cores() if jobs is None else whole("jobs", jobs, least=1)
    seed = whole("seed", seed)
    watcher = as_display(display)
    chosen = read_seeds(seeds)
    objectives = read_objectives(objective)
    _one_of("sampler", sampler, SAMPLERS)
    _one_of("pruner", pruner, PRUNERS)
    if len(objectives) > 1 and pruner != "none":
        raise ValueError(f"pruner {pruner!r} needs one objective, and there are {len(objectives)}; use pruner='none'")
    if pruner == "seeds" and len(chosen) < LEAST_SEEDS:
        raise ValueError(
            f"pruner 'seeds' needs {LEAST_SEEDS} seeds or more, got {len(chosen)}: with fewer, no trial can be pruned without "
            "guessing its end; use pruner='none'"
        )
    if pruner in BY_EPOCHS:
        warnings.warn(
            f"pruner {pruner!r} stops trials by their test accuracy at equal epochs, which favours schedules that decay early "
            "and punishes warmups and late decays; pruner 'seeds' compares ends",
            stacklevel=2,
        )
    if len(objectives) > 1 and sampler == "cma":
        raise ValueError("sampler 'cma' needs one objective; use 'tpe' for several")
    if isinstance(space, Space):
        if space.policy != policy:
            raise ValueError(f"space is of policy {space.policy!r}, not {policy!r}")
    else:
        space = Space.parse(policy, space, per)
    (home,) = read_frameworks(framework)
    batch_size = None if batch_size is None else whole("batch_size", batch_size, least=1)
    task = read_task(task, data_dir)
    check(home, task)

    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        stack.enter_context(quiet())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="laju-tune-", ignore_cleanup_errors=True)))
        with interrupts.held():
            # Opened before the data are read, which may be a download.
            kept = store if isinstance(store, Store) else stack.enter_context(Store(store))
            url = storage_url(folder / "search.sqlite" if storage is None else storage)
            opened = open_storage(url)
            stack.callback(opened.engine.dispose)
        search = Search(
            space=space,
            task=task,
            epochs=epochs,
            batch_size=task.batch_size if batch_size is None else batch_size,
            optimizer=optimizer or Optimizer(),
            framework=home,
            objectives=objectives,
            seeds=chosen,
            sampler=sampler,
            pruner=pruner,
            points=points,
            seed=seed,
            jobs=jobs,
            url=url,
            study_name=study or f"{policy} on {task.name}",
            store=kept,
            display=watcher,
            folder=folder,
            interrupts=interrupts,
        )
        space.check(search.plan)
        try:
            search.open(opened)
            search.run(trials)
        except KeyboardInterrupt:
            raise SearchInterrupted(search.result()) from None
        except BrokenExecutor as error:
            raise SearchWorkerLost(search.result()) from error
        except Exception as error:
            failure = as_storage_error(error, url)
            if failure is None:
                raise
            raise failure from error
        found = search.result()
        temporary = storage is None
        found = replace(found, storage=None) if temporary else found
    if confirm and found.front:
        found = _confirmed(found, task, confirm, jobs, kept if isinstance(store, Store) else store, watcher)
    return found


def _confirmed(
    found: SearchResult,
    task: Task,
    confirm: int,
    jobs: int,
    store: Store | str | os.PathLike[str] | None,
    display: Display | None,
) -> SearchResult:
    """The best trained with the first seeds that the search did not use."""
    fresh = other_seeds(found.seeds, confirm)
    try:
        front = {f"trial {evaluation.number}": evaluation.schedule for evaluation in found.front}
        comparison = compare(
            Grid(front, fresh, found.plan.epochs, found.plan.batch_size, found.optimizer, found.framework),
            task,
            jobs=jobs,
            store=store,
            display=False if display is None else display,
        )
    except Interrupted:
        raise SearchInterrupted(found) from None
    except Unfinished as error:
        raise SearchWorkerLost(found) from error
    return replace(found, confirmation=replace(comparison, tuned=True))


def other_seeds(used: Iterable[int], many: int) -> tuple[int, ...]:
    """The first `many` seeds that are not used.

    >>> other_seeds([0, 2], 3)
    (1, 3, 4)
    """
    taken, found = set(used), list[int]()
    candidate = 0
    while len(found) < many:
        if candidate not in taken:
            found.append(candidate)
        candidate += 1
    return tuple(found)


def _need_optuna() -> None:
    with needed_by("a search", "tune"):
        import optuna  # noqa: F401


def _one_of(name: str, value: Any, valid: Mapping[str, str]) -> None:
    if value not in valid:
        raise ValueError(f"{name} {shown(value)} is not one of {', '.join(valid)}{nearest(str(value), valid)}")
