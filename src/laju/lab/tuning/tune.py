"""tune: search a policy's parameters on a task; every suggestion is trained as ordinary trials, and kept.

This process asks Optuna for suggestions and reports the outcomes; trials run in this process or in worker processes. Finished
trials are written to the storage and the store at once, so a search that was stopped or killed resumes from there.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from laju.core.checks import shown, whole
from laju.core.extras import needed_by
from laju.lab.comparison.arguments import read_seeds
from laju.lab.comparison.compare import Interrupted, Unfinished, compare
from laju.lab.comparison.grid import Grid
from laju.lab.comparison.race import LEAST_SEEDS
from laju.lab.engines import check
from laju.lab.live.displays import as_display
from laju.lab.store import Store
from laju.lab.trials import Optimizer, Trial
from laju.lab.trials.tasks import Task, read_task
from laju.lab.tuning.result import SearchResult
from laju.lab.tuning.run import SearchRun
from laju.lab.tuning.search import BY_EPOCHS, Search
from laju.lab.tuning.search_space import Space
from laju.lab.tuning.storage import as_storage_error, open_storage, quiet, storage_url
from laju.lab.workers import Display, Execution, Interrupts, TrialsLost
from laju.policies import constant

_KILLED = "a worker process died: it was killed, or the machine ran out of memory (fewer --jobs need less)"


class SearchInterrupted(KeyboardInterrupt):
    """The user stopped a search; `result` has the finished trials, and the same search resumes later."""

    def __init__(self, result: SearchResult) -> None:
        super().__init__("the search was interrupted")
        self.result = result


class SearchWorkerLost(RuntimeError):
    """A worker process died; `result` has the finished trials, and the same search resumes later."""

    def __init__(self, result: SearchResult, reason: str = _KILLED) -> None:
        super().__init__(f"{reason}. What was finished is kept; the same search later runs the rest")
        self.result = result


def tune(
    policy: str | Space,
    task: str | Task = "digits",
    space: str = "",
    *,
    seeds: int | Iterable[int] = 1,
    epochs: int = 30,
    batch_size: int | None = None,
    optimizer: Optimizer | None = None,
    jobs: int | None = None,
    search: Search | None = None,
    execution: Execution | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    display: Display | bool | None = None,
) -> SearchResult:
    """Search for the best parameters of a policy on a task, then train the best again with seeds that the search did not see.

    Args:
        policy: a name in `laju.policies`, or a `Space`, which knows its policy.
        task: "digits", "fashion-mnist", or a `Task` such as `get_task("fashion-mnist", FOLDER)`.
        space: the parameters that vary, such as "peak=1e-3..1 log, warmup=0%..20%"; see `Space.parse`.
        seeds: the seeds of every trial, as a number of seeds or a list; a trial's figure is the mean over its seeds.
        epochs: passes over the training data.
        batch_size: examples per update; by default that of the task.
        optimizer: the optimizer of every trial; plain SGD by default.
        jobs: as in `Execution`, if no `Execution` is given.
        search: how many trials, by which sampler and pruner, and where the search is kept.
        execution: how trials run, as in `compare`, but never several in a stack; a trial beyond the time limit counts as pruned.
        store: the file that keeps trials; a suggestion with a stored trial is not trained again. In memory by default.
        display: as in `laju.lab.compare`.

    Raises:
        ModuleNotFoundError: Optuna, a sampler's package, a framework or a database driver is not installed.
        SpaceError: the space cannot be read, contradicts itself or does not suit the policy and the run.
        StorageError: the storage cannot be reached, or holds another search under this name.
        SearchInterrupted: Ctrl-C; the exception has the finished trials.
        SearchWorkerLost: a worker process was killed; the exception has the finished trials.
        ValueError: an unknown task, no seeds, epochs below 1, the pruner "seeds" with fewer than three seeds, a `Space` together
            with the text of a space, an `Execution` together with `jobs`, or a pruner by epochs on a cluster.

    Warns:
        UserWarning: a pruner that compares trials at equal epochs.

    Source: Akiba et al., "Optuna", arXiv 1907.10902; Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011 (TPE).

    >>> found = tune("constant", "digits", "value=0.01..1 log", epochs=1, search=Search(2, confirm=0), jobs=1)
    >>> len(found.evaluations), sorted(found.best.parameters)
    (2, ['value'])
    """
    _need_optuna()
    search, execution = Search.of(search), Execution.of(execution, jobs)
    epochs = whole("epochs", epochs, least=1)
    batch_size = None if batch_size is None else whole("batch_size", batch_size, least=1)
    chosen, watcher = read_seeds(seeds), as_display(display)
    if search.pruner == "seeds" and len(chosen) < LEAST_SEEDS:
        raise ValueError(
            f"pruner 'seeds' needs {LEAST_SEEDS} seeds or more, got {len(chosen)}: with fewer, no trial can be pruned without "
            "guessing its end; use pruner='none'"
        )
    if execution.stack != 1:
        execution.refuse(
            "stack", why="a search trains its trials singly, so that each is known when the next is suggested"
        )
    if search.pruner in BY_EPOCHS:
        execution.refuse(
            "on",
            why=f"pruner {search.pruner!r} has workers write every epoch into the storage; use pruner='seeds' or 'none'",
        )
        warnings.warn(
            f"pruner {search.pruner!r} stops trials by their test accuracy at equal epochs, which favours schedules that decay "
            "early and punishes warmups and late decays; pruner 'seeds' compares ends",
            stacklevel=2,
        )
    if not isinstance(policy, Space):
        policy = Space.parse(policy, space)
    elif space:
        raise ValueError(f"space={shown(space)} and a Space with {shown(str(policy))} are both given; keep one")
    optimizer, task = Optimizer.of(optimizer), read_task(task)
    check(search.framework, task)
    execution.check()

    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        stack.enter_context(quiet())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="laju-tune-", ignore_cleanup_errors=True)))
        with interrupts.held():
            # Opened before the data are read, which may be a download.
            kept = store if isinstance(store, Store) else stack.enter_context(Store(store))
            url = storage_url(folder / "search.sqlite" if search.storage is None else search.storage)
            opened = open_storage(url)
            stack.callback(opened.engine.dispose)
        batch = task.batch_size if batch_size is None else batch_size
        numerics = execution.numerics
        model = Trial(task, constant(0), 0, epochs, batch, optimizer, search.framework, numerics=numerics)
        run = SearchRun(
            space=policy,
            model=model,
            seeds=chosen,
            search=search,
            execution=execution,
            url=url,
            study_name=search.study or f"{policy.policy} on {task.name}",
            store=kept,
            display=watcher,
            folder=folder,
            interrupts=interrupts,
        )
        policy.check(run.plan)
        try:
            run.open(opened)
            run.run()
        except KeyboardInterrupt:
            raise SearchInterrupted(run.result()) from None
        except BrokenExecutor as error:
            raise SearchWorkerLost(run.result()) from error
        except Exception as error:
            failure = as_storage_error(error, url)
            if failure is None:
                raise
            raise failure from error
        found = run.result()
        found = replace(found, storage=None) if search.storage is None else found
    if search.confirm and found.front:
        found = _confirmed(found, task, search.confirm, execution, store, watcher)
    return found


def _confirmed(
    found: SearchResult,
    task: Task,
    confirm: int,
    execution: Execution,
    store: Store | str | os.PathLike[str] | None,
    display: Display | None,
) -> SearchResult:
    """The best schedules, trained with the first seeds that the search did not use."""
    fresh = other_seeds(found.seeds, confirm)
    try:
        front = {f"trial {evaluation.number}": evaluation.schedule for evaluation in found.front}
        comparison = compare(
            Grid(front, fresh, found.plan.epochs, found.plan.batch_size, found.optimizer, found.framework),
            task,
            execution=execution,
            store=store,
            display=False if display is None else display,
        )
    except Interrupted:
        raise SearchInterrupted(found) from None
    except Unfinished as error:
        raise SearchWorkerLost(found, str(TrialsLost(error.reasons))) from error
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
