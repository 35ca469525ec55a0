"""Langevin dynamics on the weights of the task's network: an ensemble of samples beside the last weights of SGD, at equal cost.

All methods descend the same negative log posterior, -Σ ln p(label | image, θ) + Λ₀·|θ|²/2, by the same mini-batches of the same
seed and in equally many updates. SGD with a cosine predicts by its last weights. Langevin dynamics with the polynomial of Welling
& Teh or with cycles (Zhang et al., arXiv 1902.03932) predicts by the mean of the class probabilities of several samples. A
temperature of 1 samples from the posterior, a temperature between 0 and 1 from a "cold" posterior, and 0 adds no noise at all, so
T = 0 shows the effect of averaging alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.core.schedule import Schedule
from laju.lab.trials import Optimizer, Outcome, Trial
from laju.lab.trials.tasks import HeldOut, Task
from laju.lab.workers import Key
from laju.policies import constant, cosine, cosine_restarts, welling_teh_between
from laju.studies.base import Options
from laju.studies.instrumented import run_instrumented
from laju.studies.sampling.calibration import Scores

if TYPE_CHECKING:
    from laju.lab.engines.loop import Batch, Report

PRIOR = 1.0
"""Λ₀, the precision of the Gaussian prior of every weight; for SGD the weight decay Λ₀/N."""
RATES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""The base rates that are tried with every method."""
COLD = 0.01
"""The temperature T of a cold posterior."""
CYCLES, SAMPLES = 4, 12
"""Cycles of a run, and samples of an ensemble: equally many of each cycle."""
_EXPLORE = 0.5  # share of a cycle without noise and without samples
_FALL = 5  # the polynomial falls to a fifth of the base rate
_EVALUATION = 1000
_RECIPE = 1  # raised when a result would come out differently


@dataclass(frozen=True)
class Method:
    """How a network is trained, and which weights predict.

    Attributes:
        way: "SGD" with a cosine, "polynomial" or "cyclical".
        temperature: T of Langevin dynamics; None for SGD, which predicts by its last weights.
    """

    way: str
    temperature: float | None = None

    @property
    def name(self) -> str:
        return "SGD" if self.temperature is None else f"{self.way} T={self.temperature:g}"

    def schedule(self, rate: float, updates: int) -> Schedule:
        """The rate η on the mean loss; the step of Langevin dynamics on N examples is ε = 2η/N."""
        if self.way == "SGD":
            return cosine(rate, total=updates)
        if self.way == "polynomial":
            return welling_teh_between(rate, rate / _FALL, total=updates)
        return cosine_restarts(rate, every=-(-updates // CYCLES))

    def temperatures(self, schedule: Schedule, updates: int) -> Schedule:
        """T of every update: 0 while a cycle explores."""
        from laju.sampling import stages

        assert self.temperature is not None
        if self.way == "polynomial":
            return constant(self.temperature)
        return stages(schedule, updates, _EXPLORE).temperature * self.temperature

    def samples(self, schedule: Schedule, updates: int) -> tuple[int, ...]:
        """The updates after which the network predicts: evenly over the second half of the run or each cycle, or the last."""
        from laju.sampling import stages

        if self.way == "SGD":
            return (updates,)
        if self.way == "polynomial":
            begins, ends, each = [updates // 2], [updates], SAMPLES
        else:
            cycles = stages(schedule, updates, _EXPLORE)
            begins, ends, each = list(cycles.samples), [*cycles.begins[1:], updates], SAMPLES // CYCLES
        parts = (np.linspace(begin, end, each + 1)[1:] for begin, end in zip(begins, ends, strict=True))
        return tuple(int(at) for at in np.concatenate(list(parts)).round())


SGD = Method("SGD")
METHODS = (SGD, *(Method(way, t) for way in ("polynomial", "cyclical") for t in (1.0, COLD, 0.0)))
"""The methods in the order of tables; small runs leave out the cold posteriors."""
_BY_NAME = {method.name: method for method in METHODS}


@dataclass(frozen=True)
class Runs:
    """The runs of all methods.

    Attributes:
        task, epochs, updates, seeds: the settings of every run.
        small: whether the size shows only certain results.
        rates: the base rate of each method, by name; a method that failed at every rate has none.
        tried: validation NLL by method and base rate; None for a run that diverged or collapsed.
        results: the scores that `predict` returns, by method and seed; None for a run that failed.
    """

    task: Task
    epochs: int
    updates: int
    seeds: Sequence[int]
    small: bool
    rates: Mapping[str, float]
    tried: Mapping[str, Mapping[float, float | None]]
    results: Mapping[str, Mapping[int, dict[str, Any] | None]]


def trial_of(task: Task, method: Method, rate: float, seed: int, epochs: int) -> Trial:
    """The trial of a method; its schedule is the rate on the mean loss, its weight decay the prior."""
    plain = Trial(task, constant(rate), seed, epochs, task.batch_size, Optimizer(weight_decay=PRIOR / task.train_size))
    return replace(plain, schedule=method.schedule(rate, plain.plan.updates))


def predict(trial: Trial, name: str, part: str, report: Report | None = None) -> tuple[Outcome, dict[str, Any] | None]:
    """Train with a method and score its ensemble; the score is None if training diverged or collapsed.

    Args:
        trial: a trial from `trial_of`.
        name: the name of the method.
        part: the examples to predict, "test" or "validation".
        report: called with every new record.

    Returns:
        The outcome, and a value for `json.dumps`: "updates", the number of computed gradients; "samples"; the scores of the
        "ensemble", with "reliability"; and the mean scores of a "single" sample.
    """
    import torch

    from laju.frameworks.torch import Scheduler
    from laju.lab.engines.loop import run
    from laju.lab.engines.torch import Training, one_thread_and_own_randomness
    from laju.sampling import Diverged, Langevin

    method, task = _BY_NAME[name], trial.task
    schedule, size = trial.schedule.resolve(trial.plan), task.train_size
    samples = frozenset(method.samples(schedule, trial.plan.updates))
    inputs, labels = task.validation() if part == "validation" else (task.data().test_inputs, task.data().test_labels)

    class Sampling(Training):
        def __init__(self, trial: Trial) -> None:
            super().__init__(trial)
            self.updates = 0
            self.predicted: list[torch.Tensor] = []
            if method.temperature is not None:
                prior = trial.optimizer.weight_decay * size
                self.optimizer = Langevin(
                    self.model.parameters(), lr=0.0, data_size=size, prior_precision=prior, seed=trial.seed
                )
                temperatures = method.temperatures(schedule, trial.plan.updates)
                self.scheduler = Scheduler(self.optimizer, lr=schedule * (2 / size), temperature=temperatures)

        def rate(self) -> float:
            return super().rate() * (1 if method.temperature is None else size / 2)

        def update(self, batch: Batch) -> None:
            super().update(batch)
            self.updates += 1
            if self.updates in samples:
                self.predicted.append(self.probabilities())

        def probabilities(self) -> torch.Tensor:
            self.model.eval()
            with torch.inference_mode():
                parts = torch.from_numpy(np.ascontiguousarray(inputs)).split(_EVALUATION)
                found = torch.cat([self.model(x).double().softmax(dim=1) for x in parts])
            self.model.train()
            return found

    begin = time.perf_counter()
    with one_thread_and_own_randomness():
        training = Sampling(trial)
        try:
            outcome = run(trial, training, report)
        except Diverged as error:
            return Outcome("diverged", (), time.perf_counter() - begin, error.update), None
        if outcome.status != "finished":
            return outcome, None
        predicted = torch.stack(training.predicted).numpy()
    singles = [_plain(Scores.of(each, labels)) for each in predicted]
    return outcome, {
        "updates": training.updates,
        "samples": len(predicted),
        "ensemble": _plain(Scores.of(predicted.mean(axis=0), labels)),
        "single": {
            score: float(np.mean([each[score] for each in singles])) for score in singles[0] if score != "reliability"
        },
    }


def _plain(scores: Scores) -> dict[str, Any]:
    bins = {name: values.tolist() for name, values in vars(scores.reliability).items()}
    return {**vars(scores), "reliability": bins}


def run_methods(task: Task, options: Options) -> Runs:
    """Find the base rate of every method, then run all methods with every seed.

    The base rate is the rate with the lowest NLL on a held-out tenth of the training examples, with a separate seed.

    Raises:
        ValueError: too few updates for the cycles and their samples.
    """
    epochs, seeds = options.size(small=(4, 2), full=(30, 5))
    rates = RATES[2:4] if options.small else RATES
    methods = [m for m in METHODS if not options.small or m.temperature in (None, 0, 1)]
    updates = trial_of(task, SGD, rates[0], 0, epochs).plan.updates
    if updates < 4 * SAMPLES:
        raise ValueError(
            f"epochs must be at least {-(-4 * SAMPLES * epochs // updates)}, for {CYCLES} cycles with "
            f"{SAMPLES // CYCLES} samples each, got {epochs}"
        )
    held, own_seed = HeldOut(task), len(seeds)
    tuning = {
        (f"{method.name}, rate {rate:g}", own_seed): (trial_of(held, method, rate, own_seed, epochs), method.name)
        for method in methods
        for rate in rates
    }
    tried: dict[str, dict[float, float | None]] = {method.name: {} for method in methods}
    for (_, name), result, rate in zip(
        tuning.values(), _run(tuning, "validation", options).values(), rates * len(methods), strict=True
    ):
        tried[name][rate] = None if result is None else result["ensemble"]["nll"]
    chosen: dict[str, float] = {}
    for name, by_rate in tried.items():
        trained = {rate: nll for rate, nll in by_rate.items() if nll is not None}
        if trained:
            chosen[name] = min(trained, key=trained.__getitem__)
    trials = {
        (name, seed): (trial_of(task, _BY_NAME[name], rate, seed, epochs), name)
        for seed in seeds
        for name, rate in chosen.items()
    }
    results = _run(trials, "test", options)
    by_method = {name: {seed: results[name, seed] for seed in seeds} for name in chosen}
    return Runs(task, epochs, updates, seeds, options.small, chosen, tried, by_method)


def _run(trials: Mapping[Key, tuple[Trial, str]], part: str, options: Options) -> dict[Key, dict[str, Any] | None]:
    found = run_instrumented(
        predict,
        {key: (*arguments, part) for key, arguments in trials.items()},
        recipe=f"study sampling, {_RECIPE}, prior {PRIOR}",
        **options.running,
    )
    return {key: result for key, (_, result) in found.items()}
