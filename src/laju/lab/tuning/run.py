"""The run of a search: asks Optuna for suggestions, trains the suggestions, and reports the outcomes to Optuna."""

from __future__ import annotations

import heapq
import math
import statistics
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laju.core.extras import needed_by
from laju.core.schedule import Schedule
from laju.lab.comparison.race import ERROR, MARGIN, level_of_tests, seed_counts, upper_bounds
from laju.lab.store import Store
from laju.lab.store.processes import this_process, works_on
from laju.lab.trials import Outcome, Trial
from laju.lab.trials.numerics import Numerics
from laju.lab.trials.progress import Channel
from laju.lab.tuning import storage
from laju.lab.tuning.job import MODEL, Job, Ran, pruner_of, work
from laju.lab.tuning.result import Evaluation, SearchResult
from laju.lab.tuning.search import BY_EPOCHS, Search
from laju.lab.tuning.search_space import Space
from laju.lab.tuning.storage import open_study
from laju.lab.workers import Display, Execution, Interrupts
from laju.lab.workers.display import DisplayThread
from laju.lab.workers.job import Work

if TYPE_CHECKING:
    import optuna

_COMPARED = 5
"""The number of best finished trials with which the pruner "seeds" compares a trial."""


@dataclass(eq=False)
class Suggestion:
    """An Optuna trial that is being trained: its schedule, and the outcomes of its seeds so far."""

    asked: optuna.Trial
    schedule: Schedule
    outcomes: dict[int, Outcome] = field(default_factory=dict)


@dataclass
class SearchRun:
    """A running search; every trial is the `model` with a new schedule and seed."""

    space: Space
    model: Trial
    seeds: tuple[int, ...]
    search: Search
    execution: Execution
    url: str
    study_name: str
    store: Store
    display: Display | None
    folder: Path
    interrupts: Interrupts
    study: optuna.Study | None = None
    trials: int = 0
    active: list[Suggestion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan, self.objectives = self.model.plan, self.search.objectives

    def open(self, storage: Any) -> None:
        """Open the study, and take back suggestions whose process has died."""
        from optuna.trial import TrialState

        facts = {
            "policy": self.space.policy,
            "space": str(self.space),
            "per": self.space.per,
            "task": self.model.task.name,
            "data": self.model.task.fingerprint[:16],
            "objectives": [str(o) for o in self.objectives],
            "epochs": self.model.epochs,
            "batch size": self.model.batch_size,
            "optimizer": str(self.model.optimizer),
            "framework": self.model.framework,
            "seeds": list(self.seeds),
        }
        if self.model.numerics != Numerics():  # searches of earlier storages had float32 on the CPU alone
            facts["numerics"] = str(self.model.numerics)
        with self.interrupts.held():
            self.study = open_study(
                storage, self.study_name, [o.direction for o in self.objectives], facts, url=self.url
            )
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if not works_on(trial.user_attrs.get("process")):
                    self._give_back(trial.number, trial.params)

    def run(self) -> None:
        """Ask, train and tell until the study has the requested number of finished trials."""
        assert self.study is not None
        trials = self.search.trials
        if self.search.sampler == "grid":
            trials = min(trials, math.prod(len(values) for values in self.space.grid(self.search.points).values()))
        self.study.pruner = pruner_of(self.search.pruner)
        self.trials = trials
        done = self._finished()
        if self.display is not None:
            at_once = min(self.execution.slots, max(trials - done, 1))
            self.display.start(max(trials, done) * len(self.seeds), done * len(self.seeds), at_once)
        try:
            with DisplayThread(Channel(self.folder), self.display):
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
        queue: deque[tuple[Suggestion, int]] = deque()
        pending: dict[Future[Ran], tuple[Suggestion, int]] = {}
        began: dict[Future[Ran], float] = {}
        # Optuna may suggest the same parameters twice, above all a grid or a rounded space; the training is shared by all that
        # ask for it.
        twins: dict[str, list[tuple[Suggestion, int]]] = {}
        pool = self.execution.place(self.folder, self.interrupts, trials * len(self.seeds))
        limit = self.execution.time_limit
        try:
            model = pool.share(Work.of({MODEL: self.model}, with_data=pool.remote))
            while True:
                slots = pool.slots  # counted anew, since workers of a cluster come and go
                while len(pending) < slots and (queue or self._ask(trials, queue)):
                    suggestion, seed = queue.popleft()
                    if suggestion not in self.active:  # given up, since another seed took too long
                        continue
                    trial = self._trial(suggestion, seed)
                    with self.interrupts.held():
                        found = self.store.get(trial)
                    if found is not None:
                        self._take(suggestion, seed, Ran(found, reported=False), queue)
                    elif trial.fingerprint in twins:  # the trial is being trained for another suggestion
                        twins[trial.fingerprint].append((suggestion, seed))
                    else:
                        twins[trial.fingerprint] = []
                        job = self._job(suggestion, seed, trial, None if pool.remote else self.folder)
                        future = pool.submit(work, model, job)
                        pending[future], began[future] = (suggestion, seed), time.monotonic()
                if not pending:
                    if not slots and (queue or self._ask(trials, queue)):  # a cluster that waits for workers
                        time.sleep(1.0)
                        continue
                    pool.close()
                    return
                patience = None
                if limit is not None:
                    patience = max(min(began[f] for f in pending) + limit - time.monotonic(), 0.0) + 0.05
                if pool.remote:
                    patience = 1.0 if patience is None else min(patience, 1.0)
                done, _ = wait(pending, timeout=patience, return_when=FIRST_COMPLETED)
                for future in sorted(
                    done, key=lambda f: f.exception() is not None
                ):  # results before an error that ends all
                    suggestion, seed = pending.pop(future)
                    ran = future.result()
                    trial = self._trial(suggestion, seed)
                    with self.interrupts.held():
                        if not ran.pruned:
                            self.store.put(trial, ran.outcome)
                        self._take(suggestion, seed, ran, queue)
                        for twin, _ in twins.pop(trial.fingerprint):
                            self._take(twin, seed, replace(ran, reported=False), queue)
                late = [
                    f for f in pending if limit is not None and time.monotonic() - began[f] > limit and not f.done()
                ]
                for future in late[:1]:
                    pool.stop(future)
                    # Jobs that were stopped along with the late one run again.
                    stopped = [f for f in pending if not f.done() or f.exception() is not None]
                    for other in [f for f in pending if f is future or (pool.together and f in stopped)]:
                        suggestion, seed = pending.pop(other)
                        again = [(suggestion, seed), *twins.pop(self._trial(suggestion, seed).fingerprint)]
                        if other is future:
                            self._give_up(suggestion for suggestion, _ in again)
                        else:
                            queue.extendleft(again)
        except BaseException:
            with self.interrupts.held():
                pool.close(kill=True)
            raise

    def _give_up(self, late: Iterable[Suggestion]) -> None:
        """Give up suggestions, without training their remaining seeds, because a trial took longer than the time limit."""
        from optuna.trial import TrialState

        assert self.study is not None
        with self.interrupts.held():
            for suggestion in late:
                if suggestion in self.active:
                    suggestion.asked.set_user_attr("late", True)
                    self.study.tell(suggestion.asked, state=TrialState.PRUNED)
                    self.active.remove(suggestion)

    def _ask(self, trials: int, queue: deque[tuple[Suggestion, int]]) -> bool:
        """Put the next suggestion's first seed into the queue; return False if there are enough suggestions."""
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
            # A sampler that gets no reports: after its last point, a grid's would stop Optuna's own loop, which does not run.
            self.study.sampler = RandomSampler()
            asked.set_user_attr("process", this_process())
            suggestion = Suggestion(asked, self.space.schedule(asked.params))
            asked.set_user_attr("schedule", self.space.spec(asked.params))
            self.active.append(suggestion)
        rounds = {"none": len(self.seeds), "seeds": self._rounds()[0]}
        queue.extend((suggestion, seed) for seed in self.seeds[: rounds.get(self.search.pruner, 1)])
        return True

    def _take(self, suggestion: Suggestion, seed: int, ran: Ran, queue: deque[tuple[Suggestion, int]]) -> None:
        """Take an outcome of a seed; after the last seed, report to Optuna."""
        from optuna.trial import TrialState

        assert self.study is not None
        if suggestion not in self.active:  # given up
            return
        asked = suggestion.asked
        suggestion.outcomes[seed] = ran.outcome
        first = seed == self.seeds[0]
        if first and not ran.reported and len(self.objectives) == 1:
            for step, value in self.objectives[0].course(ran.outcome.records):
                asked.report(value, step)
        if self.display is not None:
            name = f"trial {asked.number}" + (" (pruned)" if ran.pruned else "")
            self.display.finished(name, seed, ran.outcome)
        if ran.pruned or self._cannot_lead(suggestion):
            self.study.tell(asked, state=TrialState.PRUNED)
            self.active.remove(suggestion)
            return
        if len(suggestion.outcomes) == len(self.seeds):
            by_seed = [[o.value(suggestion.outcomes[s], self.plan) for s in self.seeds] for o in self.objectives]
            asked.set_user_attr("by seed", by_seed)
            asked.set_user_attr("status", [suggestion.outcomes[s].status for s in self.seeds])
            self.study.tell(asked, [sum(values) / len(values) for values in by_seed])
            self.active.remove(suggestion)
        elif first and self.search.pruner in BY_EPOCHS:  # not pruned, so the remaining seeds are worth their time
            queue.extend((suggestion, other) for other in self.seeds[1:])
        elif self.search.pruner == "seeds" and (count := len(suggestion.outcomes)) in self._rounds():
            following = self._rounds()[self._rounds().index(count) + 1]
            queue.extend((suggestion, other) for other in self.seeds[count:following])

    def _rounds(self) -> tuple[int, ...]:
        return seed_counts(len(self.seeds))

    def _cannot_lead(self, suggestion: Suggestion) -> bool:
        """Whether a trial cannot end above the best finished trial in the mean of all seeds, by the bound of a race."""
        from optuna.trial import TrialState

        count = len(suggestion.outcomes)
        if self.search.pruner != "seeds" or count == len(self.seeds) or count not in self._rounds():
            return False
        assert self.study is not None
        objective, first = self.objectives[0], self.seeds[:count]
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        finished = {t.number: [objective.better * x for x in t.user_attrs["by seed"][0]] for t in trials}
        best = heapq.nlargest(_COMPARED, finished, key=lambda number: statistics.fmean(finished[number]))
        if not best:
            return False
        scores = {str(number): finished[number][:count] for number in best}
        scores["asked"] = [objective.better * objective.value(suggestion.outcomes[seed], self.plan) for seed in first]
        is_accuracy = objective.target is None
        resolution = self.model.task.resolution if is_accuracy else self.plan.updates_per_epoch
        level = level_of_tests(ERROR, max(self.trials, len(finished) + 1))
        bounds = upper_bounds(scores, str(best[0]), len(self.seeds), level, resolution)
        return bounds["asked"] < (MARGIN if is_accuracy else 0.0)

    def _give_back(self, number: int, params: Mapping[str, Any]) -> None:
        """Give back a suggestion that is no longer trained: Optuna marks the trial as failed, and suggests the same again."""
        from optuna.trial import TrialState

        assert self.study is not None
        try:
            self.study.tell(number, state=TrialState.FAIL)
        except (ValueError, RuntimeError, KeyError):  # another process has taken the suggestion back
            return
        if set(params) == set(self.space.varied):
            self.study.enqueue_trial(dict(params))

    def _trial(self, suggestion: Suggestion, seed: int) -> Trial:
        return replace(self.model, schedule=suggestion.schedule, seed=seed)

    def _job(self, suggestion: Suggestion, seed: int, trial: Trial, folder: Path | None) -> Job:
        by_epochs = self.search.pruner in BY_EPOCHS and seed == self.seeds[0]
        return Job(
            folder=folder,
            name=f"trial {suggestion.asked.number}",
            schedule=suggestion.schedule,
            seed=seed,
            fingerprint=trial.fingerprint,
            study=(self.url, self.study_name, self.search.pruner, suggestion.asked._trial_id) if by_epochs else None,
            objective=self.objectives[0],
        )

    def _sampler(self, index: int) -> Any:
        from optuna import samplers

        seed = (self.search.seed * 1_000_003 + index) % 2**32
        match self.search.sampler:
            case "random":
                return samplers.RandomSampler(seed=seed)
            case "grid":  # the seed numbers the points, and so stays the same
                return samplers.GridSampler(self.space.grid(self.search.points), seed=self.search.seed % 2**32)
            case "gp":
                return samplers.GPSampler(seed=seed)
            case "cma":
                with needed_by("sampler 'cma'"):
                    import cmaes  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
                return samplers.CmaEsSampler(seed=seed)
        return samplers.TPESampler(seed=seed)

    def _finished(self) -> int:
        from optuna.trial import TrialState

        assert self.study is not None
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def result(self) -> SearchResult:
        """The present content of the study."""
        from optuna.trial import TrialState

        evaluations: list[Evaluation] = []
        importance: dict[str, float] = {}
        if self.study is not None:
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
                done = trial.state == TrialState.COMPLETE
                evaluations.append(
                    Evaluation(
                        number=trial.number,
                        schedule=self.space.schedule(trial.params),
                        spec=self.space.spec(trial.params),
                        parameters=self.space.values(trial.params),
                        suggested=dict(trial.params),
                        pruned=not done,
                        values=tuple(trial.values) if done else (),
                        by_seed=tuple(map(tuple, trial.user_attrs.get("by seed", ()))),
                        course=tuple(sorted(trial.intermediate_values.items())),
                        late=bool(trial.user_attrs.get("late")),
                    )
                )
            importance = _importance(self.study, evaluations, len(self.space.varied))
        return SearchResult(
            space=self.space,
            task=self.model.task.name,
            plan=self.plan,
            optimizer=self.model.optimizer,
            framework=self.model.framework,
            objectives=self.objectives,
            seeds=self.seeds,
            evaluations=tuple(evaluations),
            importance=importance,
            study=self.study_name,
            storage=storage.shown(self.url),
            resolution=self.model.task.resolution,
        )


def _importance(study: optuna.Study, evaluations: Sequence[Evaluation], parameters: int) -> dict[str, float]:
    """The share of the first objective's variance that each parameter explains, by fANOVA, if this can be computed."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    values = {t.values[0] for t in evaluations if t.values}
    if parameters < 2 or len(values) < 4:
        return {}
    found = get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(seed=0), target=lambda trial: float(trial.values[0])
    )
    return {name: float(share) for name, share in found.items()}
