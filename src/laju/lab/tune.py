"""tune: search a policy's parameters on a task; every suggestion is trained as ordinary trials, and kept.

This process asks Optuna for suggestions and tells it what came out; trials run here or in worker processes. What is finished is
in the storage and the store at once, so a search that was stopped or killed goes on where it was.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laju.arguments import nearest, shown, whole
from laju.lab import search_storage
from laju.lab.arguments import cores, read_frameworks, read_seeds
from laju.lab.compare import Interrupted, Unfinished, compare
from laju.lab.engines import check, train
from laju.lab.objectives import Objective, read_objectives
from laju.lab.progress import Channel, Running
from laju.lab.running.interrupts import Interrupts
from laju.lab.running.places import Here, Processes, Shared
from laju.lab.running.watching import Display, Watching
from laju.lab.search_storage import open_storage, open_study, quiet, storage_url
from laju.lab.space import Space
from laju.lab.store import Store
from laju.lab.tasks import Task, get_task
from laju.lab.trials import Framework, Optimizer, Outcome, Record, Trial
from laju.lab.tuned import Tried, Tuned
from laju.schedule import Schedule
from laju.units import RunPlan

if TYPE_CHECKING:
    import optuna

SAMPLERS = {
    "tpe": "Tree-structured Parzen estimator, multi-variate (Optuna's default)",
    "gp": "Bayesian optimisation by a Gaussian process",
    "cma": "CMA-ES; numbers only, one objective; needs the package cmaes",
    "random": "independent draws",
    "grid": "all combinations of evenly spaced points",
}
PRUNERS = {
    "none": "every trial runs to its end",
    "median": "stopped when its best epoch is worse than the median of earlier trials at that epoch",
    "hyperband": "successive halving in brackets",
}


class SearchInterrupted(KeyboardInterrupt):
    """The user stopped a search; `tuned` holds what is finished, and the same search later goes on."""

    def __init__(self, tuned: Tuned) -> None:
        super().__init__("the search was interrupted")
        self.tuned = tuned


class SearchWorkerLost(RuntimeError):
    """A worker process died; `tuned` holds what is finished, and the same search later goes on."""

    def __init__(self, tuned: Tuned) -> None:
        super().__init__(
            "a worker process died: it was killed, or the machine ran out of memory (fewer --jobs need less). "
            "What was finished is kept; the same search later runs the rest"
        )
        self.tuned = tuned


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
    display: Display | None = None,
) -> Tuned:
    """Search the best parameters of a policy for a task, then train the best anew with seeds that the search did not see.

    Args:
        policy: one of `laju.policies`.
        task: "digits", "fashion-mnist", or a `Task` of your own.
        space: what varies, such as "peak=1e-3..1 log, warmup=0%..20%"; see `Space.parse`.
        trials: how many the study holds in the end, those of an earlier run included; a grid has no more than its points.
        objective: "accuracy" (of the test set, at the end), "updates-to=0.9" (updates until the test accuracy is that), or
            several, of which the search finds the Pareto front.
        epochs: passes over the training data.
        seeds: of every trial; its figure is their mean.
        confirm: how many other seeds the best is trained with afterwards, for its figures; 0 for none.
        batch_size: examples an update; the task's own by default.
        optimizer: SGD's momentum and weight decay; plain SGD by default.
        framework: "torch", "tensorflow", "jax" or "mxnet".
        data_dir: folder with a task's files.
        per: the unit that the policy counts in, such as "epoch"; updates by default.
        sampler: "tpe", "gp", "cma", "random" or "grid".
        pruner: "none", "median" or "hyperband": stops trials early by their test accuracy at the ends of epochs.
        points: of a grid, along each range that has no step.
        seed: of the sampler.
        jobs: trials at once, one thread each; by default one for each core.
        storage: keeps the search: a file for SQLite, or a URL such as "postgresql://user@host/database". Temporary by default.
        study: the search's name in the storage; "POLICY on TASK" by default.
        store: file that keeps trials; a suggestion that is in it already is not trained again. In memory by default.
        display: told how it goes.

    Raises:
        ModuleNotFoundError: Optuna, a sampler's package, a framework or a database driver is not installed.
        SpaceError: the space cannot be read, contradicts itself or does not suit the policy and the run.
        StorageError: the storage cannot be reached, or holds another search under this name.
        SearchInterrupted: Ctrl-C; carries what is finished.
        SearchWorkerLost: a worker process was killed; carries what is finished.
        ValueError: an unknown task, sampler, pruner or objective, a pruner with several objectives, no trials.

    Source: Akiba et al., "Optuna", arXiv 1907.10902; Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011 (TPE).

    >>> found = tune("constant", "digits", "value=0.01..1 log", trials=2, epochs=1, confirm=0, jobs=1)
    >>> len(found.tried), sorted(found.best.parameters)
    (2, ['value'])
    """
    _need_optuna()
    trials = whole("trials", trials, least=1)
    epochs = whole("epochs", epochs, least=1)
    confirm = whole("confirm", confirm)
    points = whole("points", points, least=2)
    jobs = cores() if jobs is None else whole("jobs", jobs, least=1)
    seed = whole("seed", seed)
    chosen = read_seeds(seeds)
    objectives = read_objectives(objective)
    _one_of("sampler", sampler, SAMPLERS)
    _one_of("pruner", pruner, PRUNERS)
    if len(objectives) > 1 and pruner != "none":
        raise ValueError(f"pruner {pruner!r} needs one objective, and there are {len(objectives)}; use pruner='none'")
    if len(objectives) > 1 and sampler == "cma":
        raise ValueError("sampler 'cma' needs one objective; use 'tpe' for several")
    if isinstance(space, Space):
        if space.policy != policy:
            raise ValueError(f"space is of policy {space.policy!r}, not {policy!r}")
    else:
        space = Space.parse(policy, space, per)
    (home,) = read_frameworks(framework)
    batch_size = None if batch_size is None else whole("batch_size", batch_size, least=1)
    if not isinstance(task, Task):
        if not isinstance(task, str):
            raise TypeError(f"task must be a name or a Task, got {shown(task)}")
        task = get_task(task, data_dir)
    elif data_dir is not None:
        raise ValueError(f"data_dir is for tasks given by name; {task!r} knows its own data")
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
        search = _Search(
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
            display=display,
            folder=folder,
            interrupts=interrupts,
        )
        space.check(search.plan)
        try:
            search.open(opened)
            search.run(trials)
        except KeyboardInterrupt:
            raise SearchInterrupted(search.tuned()) from None
        except BrokenExecutor as error:
            raise SearchWorkerLost(search.tuned()) from error
        except Exception as error:
            failure = search_storage.as_storage_error(error, url)
            if failure is None:
                raise
            raise failure from error
        found = search.tuned()
        temporary = storage is None
        found = replace(found, storage=None) if temporary else found
    if confirm and found.front:
        found = _confirmed(found, task, confirm, jobs, kept if isinstance(store, Store) else store, display)
    return found


def _confirmed(
    found: Tuned,
    task: Task,
    confirm: int,
    jobs: int,
    store: Store | str | os.PathLike[str] | None,
    display: Display | None,
) -> Tuned:
    """The best trained with the first seeds that the search did not use."""
    fresh = other_seeds(found.seeds, confirm)
    try:
        comparison = compare(
            {f"trial {tried.number}": tried.schedule for tried in found.front},
            task,
            epochs=found.plan.epochs,
            seeds=fresh,
            batch_size=found.plan.batch_size,
            optimizer=found.optimizer,
            jobs=jobs,
            store=store,
            display=display,
            framework=found.framework,
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
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'a search needs the package {error.name}: pip install "laju[tune]"', name=error.name
        ) from error


def _one_of(name: str, value: Any, valid: Mapping[str, str]) -> None:
    if value not in valid:
        raise ValueError(f"{name} {shown(value)} is not one of {', '.join(valid)}{nearest(str(value), valid)}")


# --- the search --------------------------------------------------------------------------------------------------------


@dataclass
class _Suggestion:
    """A trial of Optuna's that is being trained: its schedule, and the outcomes of its seeds so far."""

    asked: optuna.Trial
    schedule: Schedule
    outcomes: dict[int, Outcome] = field(default_factory=dict)


@dataclass
class _Search:
    space: Space
    task: Task
    epochs: int
    batch_size: int
    optimizer: Optimizer
    framework: Framework
    objectives: tuple[Objective, ...]
    seeds: tuple[int, ...]
    sampler: str
    pruner: str
    points: int
    seed: int
    jobs: int
    url: str
    study_name: str
    store: Store
    display: Display | None
    folder: Path
    interrupts: Interrupts
    study: optuna.Study | None = None
    active: list[_Suggestion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan = RunPlan(samples=self.task.train_size, batch_size=self.batch_size, epochs=self.epochs)

    def open(self, storage: Any) -> None:
        """Open the study, and take back suggestions whose process has died."""
        from optuna.trial import TrialState

        facts = {
            "policy": self.space.policy,
            "space": str(self.space),
            "per": self.space.per,
            "task": self.task.name,
            "data": self.task.fingerprint[:16],
            "objectives": [str(o) for o in self.objectives],
            "epochs": self.epochs,
            "batch size": self.batch_size,
            "optimizer": str(self.optimizer),
            "framework": self.framework,
            "seeds": list(self.seeds),
        }
        with self.interrupts.held():
            self.study = open_study(
                storage, self.study_name, [o.direction for o in self.objectives], facts, url=self.url
            )
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if not _is_alive(trial.user_attrs.get("process")):
                    self._give_back(trial.number, trial.params)

    def run(self, trials: int) -> None:
        """Ask, train and tell until the study holds so many trials that are finished."""
        assert self.study is not None
        if self.sampler == "grid":
            sizes = [len(values) for values in self.space.grid(self.points).values()]
            total = 1
            for size in sizes:
                total *= size
            trials = min(trials, total)
        self.study.pruner = _pruner(self.pruner)
        done = self._finished()
        if self.display is not None:
            self.display.start(
                max(trials, done) * len(self.seeds), done * len(self.seeds), min(self.jobs, max(trials - done, 1))
            )
        try:
            with Watching(Channel(self.folder), self.display):
                self._loop(trials)
        except BaseException:
            with self.interrupts.held():
                for suggestion in self.active:
                    self._give_back(suggestion.asked.number, suggestion.asked.params)
            raise
        finally:
            if self.display is not None:
                self.display.stop()

    def _loop(self, trials: int) -> None:
        queue: deque[tuple[_Suggestion, int]] = deque()
        flying: dict[Future[_Ran], tuple[_Suggestion, int]] = {}
        twins: dict[str, list[tuple[_Suggestion, int]]] = {}
        pool = Here() if self.jobs == 1 else Processes(self.jobs, self.folder, self.interrupts)
        task = pool.share(self.task)
        try:
            while True:
                while len(flying) < self.jobs and (queue or self._ask(trials, queue)):
                    suggestion, seed = queue.popleft()
                    trial = self._trial(suggestion, seed)
                    with self.interrupts.held():
                        found = self.store.get(trial)
                    if found is not None:
                        self._landed(suggestion, seed, _Ran(found, reported=False), queue)
                    elif trial.fingerprint in twins:  # it is being trained for another suggestion
                        twins[trial.fingerprint].append((suggestion, seed))
                    else:
                        twins[trial.fingerprint] = []
                        flying[pool.submit(_work, task, self._job(suggestion, seed, trial))] = suggestion, seed
                if not flying:
                    pool.close()
                    return
                done, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in done:
                    suggestion, seed = flying.pop(future)
                    ran = future.result()
                    trial = self._trial(suggestion, seed)
                    with self.interrupts.held():
                        if not ran.pruned:
                            self.store.put(trial, ran.outcome)
                        self._landed(suggestion, seed, ran, queue)
                        for twin, _ in twins.pop(trial.fingerprint):
                            self._landed(twin, seed, replace(ran, reported=False), queue)
        except BaseException:
            with self.interrupts.held():
                pool.close(kill=True)
            raise

    def _ask(self, trials: int, queue: deque[tuple[_Suggestion, int]]) -> bool:
        """Put the next suggestion's first seed into the queue; False when there are enough."""
        from optuna.samplers import RandomSampler
        from optuna.trial import TrialState

        assert self.study is not None
        begun = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        with self.interrupts.held():
            index = len(self.study.get_trials(deepcopy=False, states=begun))
            if index >= trials:
                return False
            # A sampler of its own for every suggestion: the i-th is the same whether or not the search was interrupted.
            self.study.sampler = self._sampler(index)
            asked = self.study.ask({name: kind.distribution() for name, kind in self.space.varied.items()})
            # One that is told nothing: a grid's would try to stop Optuna's own loop, which does not run, after its last point.
            self.study.sampler = RandomSampler()
            asked.set_user_attr("process", _process())
            suggestion = _Suggestion(asked, self.space.schedule(asked.params))
            asked.set_user_attr("schedule", self.space.spec(asked.params))
            self.active.append(suggestion)
        first = self.seeds if self.pruner == "none" else self.seeds[:1]
        queue.extend((suggestion, seed) for seed in first)
        return True

    def _landed(self, suggestion: _Suggestion, seed: int, ran: _Ran, queue: deque[tuple[_Suggestion, int]]) -> None:
        """Take an outcome of one seed; after the last one, tell Optuna."""
        from optuna.trial import TrialState

        assert self.study is not None
        asked = suggestion.asked
        suggestion.outcomes[seed] = ran.outcome
        first = seed == self.seeds[0]
        if first and not ran.reported and len(self.objectives) == 1:
            for step, value in self.objectives[0].course(ran.outcome.records):
                asked.report(value, step)
        if self.display is not None:
            name = f"trial {asked.number}" + (" (pruned)" if ran.pruned else "")
            self.display.finished(name, seed, ran.outcome)
        if ran.pruned:
            self.study.tell(asked, state=TrialState.PRUNED)
            self.active.remove(suggestion)
            return
        if len(suggestion.outcomes) == len(self.seeds):
            by_seed = [[o.value(suggestion.outcomes[s], self.plan) for s in self.seeds] for o in self.objectives]
            asked.set_user_attr("by seed", by_seed)
            asked.set_user_attr("status", [suggestion.outcomes[s].status for s in self.seeds])
            self.study.tell(asked, [sum(values) / len(values) for values in by_seed])
            self.active.remove(suggestion)
        elif first and self.pruner != "none":  # it survived, so its other seeds are worth their time
            queue.extend((suggestion, other) for other in self.seeds[1:])

    def _give_back(self, number: int, params: Mapping[str, Any]) -> None:
        """A suggestion that nobody trains any more: it failed, and the next to ask gets it again."""
        from optuna.trial import TrialState

        assert self.study is not None
        try:
            self.study.tell(number, state=TrialState.FAIL)
        except (ValueError, RuntimeError, KeyError):  # somebody else has taken it back
            return
        if set(params) == set(self.space.varied):
            self.study.enqueue_trial(dict(params))

    def _trial(self, suggestion: _Suggestion, seed: int) -> Trial:
        return Trial(self.task, suggestion.schedule, seed, self.epochs, self.batch_size, self.optimizer, self.framework)

    def _job(self, suggestion: _Suggestion, seed: int, trial: Trial) -> _Job:
        watched = self.pruner != "none" and seed == self.seeds[0]
        return _Job(
            folder=self.folder,
            name=f"trial {suggestion.asked.number}",
            fields={
                "schedule": suggestion.schedule,
                "seed": seed,
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "optimizer": self.optimizer,
                "framework": self.framework,
            },
            fingerprint=trial.fingerprint,
            watch=(self.url, self.study_name, self.pruner, suggestion.asked._trial_id) if watched else None,
            objective=self.objectives[0],
        )

    def _sampler(self, index: int) -> Any:
        from optuna import samplers

        seed = (self.seed * 1_000_003 + index) % 2**32
        match self.sampler:
            case "random":
                return samplers.RandomSampler(seed=seed)
            case "grid":  # its seed numbers the points, so it stays the same
                return samplers.GridSampler(self.space.grid(self.points), seed=self.seed % 2**32)
            case "gp":
                return samplers.GPSampler(seed=seed)
            case "cma":
                try:
                    import cmaes  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
                except ModuleNotFoundError as error:
                    raise ModuleNotFoundError(
                        "sampler 'cma' needs the package cmaes: pip install cmaes", name=error.name
                    ) from error
                return samplers.CmaEsSampler(seed=seed)
        return samplers.TPESampler(seed=seed)

    def _finished(self) -> int:
        from optuna.trial import TrialState

        assert self.study is not None
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def tuned(self) -> Tuned:
        """What the study holds now."""
        from optuna.trial import TrialState

        tried: list[Tried] = []
        importance: dict[str, float] = {}
        if self.study is not None:
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
                done = trial.state == TrialState.COMPLETE
                tried.append(
                    Tried(
                        number=trial.number,
                        schedule=self.space.schedule(trial.params),
                        spec=self.space.spec(trial.params),
                        parameters=self.space.values(trial.params),
                        suggested=dict(trial.params),
                        pruned=not done,
                        values=tuple(trial.values) if done else (),
                        by_seed=tuple(map(tuple, trial.user_attrs.get("by seed", ()))),
                        course=tuple(sorted(trial.intermediate_values.items())),
                    )
                )
            importance = _importance(self.study, tried, len(self.space.varied))
        return Tuned(
            space=self.space,
            task=self.task.name,
            plan=self.plan,
            optimizer=self.optimizer,
            framework=self.framework,
            objectives=self.objectives,
            seeds=self.seeds,
            tried=tuple(tried),
            importance=importance,
            study=self.study_name,
            storage=search_storage.shown(self.url),
        )


def _importance(study: optuna.Study, tried: Sequence[Tried], parameters: int) -> dict[str, float]:
    """How much of the variance of the first objective each parameter explains, by fANOVA, where that can be told."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    values = {t.values[0] for t in tried if t.values}
    if parameters < 2 or len(values) < 4:
        return {}
    found = get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(seed=0), target=lambda trial: float(trial.values[0])
    )
    return {name: float(share) for name, share in found.items()}


def _pruner(name: str) -> Any:
    from optuna import pruners

    match name:
        case "median":
            return pruners.MedianPruner(n_startup_trials=4)
        case "hyperband":
            return pruners.HyperbandPruner()
    return pruners.NopPruner()


# --- whose suggestion it is --------------------------------------------------------------------------------------------


def _process() -> str:
    """This process, such that a later one with the same number is not taken for it."""
    return json.dumps([socket.gethostname(), os.getpid(), _begin(os.getpid())])


def _begin(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _is_alive(process: str | None) -> bool:
    """Whether another process still works on it; of another machine that is not known, so it is left alone."""
    if process is None:
        return False
    host, pid, begin = json.loads(process)
    if host != socket.gethostname():
        return True
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return begin is None or begin == _begin(pid)


# --- running -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    folder: Path
    name: str
    fields: dict[str, Any]
    fingerprint: str
    watch: tuple[str, str, str, int] | None
    objective: Objective


@dataclass(frozen=True)
class _Ran:
    """An outcome; of a trial that was pruned, the records until then. `reported`: the study has its course already."""

    outcome: Outcome
    pruned: bool = False
    reported: bool = True


_studies: dict[tuple[str, str], optuna.Study] = {}


class _Pruned(Exception):
    pass


def _work(task: Shared, job: _Job) -> _Ran:
    """Train one trial, here or in a worker; with a study to watch, report every epoch to it and stop when it says so."""
    trial = Trial(task.get(), **job.fields)
    channel, updates, records = Channel(job.folder), trial.plan.updates, list[Record]()
    watching = None if job.watch is None else _watched(*job.watch)
    begin = time.perf_counter()

    def report(record: Record) -> None:
        records.append(record)
        channel.tell(job.fingerprint, Running(job.name, trial.seed, updates=updates, record=record))
        if watching is not None and record.test_accuracy is not None:
            with quiet():
                watching.report(job.objective.step(record), round(record.epoch))
                if record.update < updates and watching.should_prune():
                    raise _Pruned

    try:
        return _Ran(train(trial, report), reported=watching is not None)
    except _Pruned:
        return _Ran(Outcome("finished", tuple(records), time.perf_counter() - begin), pruned=True)
    finally:
        channel.done(job.fingerprint)


def _watched(url: str, name: str, pruner: str, trial: int) -> optuna.Trial:
    import optuna

    with quiet():
        study = _studies.get((url, name))
        if study is None:
            _studies.clear()
            # The sampler is never asked here; a random one does nothing on its own.
            study = _studies[url, name] = optuna.load_study(
                study_name=name, storage=open_storage(url), sampler=optuna.samplers.RandomSampler()
            )
        study.pruner = _pruner(pruner)
        return optuna.Trial(study, trial)
