"""An ensemble of samples beside SGD: what is counted, what is chosen, what is kept, and what may be said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

import laju
from laju.lab import Data, HeldOut, Store
from laju.lab.engines import train
from laju.studies import STUDIES, Options, run, write
from laju.studies.sampling import ensembles, network
from laju.studies.sampling.ensembles import Findings
from laju.studies.sampling.network import METHODS, RATES, SAMPLES, SGD, Method, Runs, predict, run_methods, trial_of
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Explosion, Sides

EPOCHS = 8  # of 7 updates
POLYNOMIAL, CYCLICAL = Method("polynomial", 1.0), Method("cyclical", 1.0)


class Counted(Sides):
    """Counts the losses from which gradients are computed, and the examples of each."""

    sizes: list[int]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if outputs.requires_grad:
            self.sizes.append(len(targets))
        return super().loss(outputs, targets)


def counted() -> Counted:
    task = Counted()
    object.__setattr__(task, "sizes", [])
    return task


@pytest.fixture(scope="module")
def runs() -> Runs:
    return run_methods(Sides(), Options(epochs=EPOCHS, seeds=3, jobs=1))


# --- one training ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_computes_as_many_gradients_of_as_many_examples(method: Method) -> None:
    steps = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    task = counted()
    try:
        _, result = predict(trial_of(task, method, 0.1, 0, EPOCHS), method.name, "test")
    finally:
        hook.remove()
    assert result is not None
    assert task.sizes == [64, 64, 64, 64, 64, 64, 16] * EPOCHS
    assert len(steps) == result["updates"] == 7 * EPOCHS
    assert result["samples"] == (1 if method == SGD else SAMPLES)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_same_seed_gives_the_same_result_bit_by_bit_and_another_seed_another(method: Method) -> None:
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(np.random.default_rng().integers(1000))  # the caller's randomness has no part in it
        results.append(json.dumps(predict(trial_of(Sides(), method, 0.1, seed, EPOCHS), method.name, "test")[1]))
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("way", ["polynomial", "cyclical"])
def test_without_noise_it_is_the_gradient_descent_of_the_lab(way: str) -> None:
    method = Method(way, 0.0)
    trial = trial_of(Sides(), method, 0.3, 0, EPOCHS)
    langevin, descent = predict(trial, method.name, "test")[0], train(trial)
    for own, other in zip(langevin.records, descent.records, strict=True):
        assert own.rate == pytest.approx(other.rate, rel=1e-6)
        assert own.train_loss == pytest.approx(other.train_loss, rel=1e-4)


def test_sgd_predicts_by_the_last_weights_of_the_labs_own_trial() -> None:
    trial = trial_of(Sides(), SGD, 0.3, 0, EPOCHS)
    outcome, result = predict(trial, SGD.name, "test")
    assert outcome.records == train(trial).records
    assert result is not None
    assert result["ensemble"]["accuracy"] == outcome.records[-1].test_accuracy
    assert result["ensemble"]["nll"] == pytest.approx(outcome.records[-1].test_loss, rel=1e-6)
    assert {name: result["ensemble"][name] for name in result["single"]} == result["single"]


def test_noise_of_temperature_one_is_that_of_the_posterior() -> None:
    """A flat likelihood and a prior: weights become draws of the prior, however they began."""

    class Flat(Sides):
        def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return super().loss(outputs, targets) * 0

    # η = N/(5Λ₀), so εΛ₀ = .4: after 56 updates .8^56 of the start is left and the variance is 1/(Λ₀(1 - .4/4)) = 1.11.
    task, seen = Flat(), list[np.ndarray]()
    trial = trial_of(task, POLYNOMIAL, 0.2 * task.train_size, 0, EPOCHS)
    trial = replace(trial, schedule=laju.constant(0.2 * task.train_size))
    original = torch.nn.Module.eval

    def eval_(self: torch.nn.Module) -> Any:
        seen.append(torch.nn.utils.parameters_to_vector(self.parameters()).detach().numpy().copy())
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Sequential, "eval", eval_)
        predict(trial, POLYNOMIAL.name, "test")
    drawn = np.concatenate(seen[-6:])
    assert drawn.var() == pytest.approx(1 / 0.9, rel=0.2)
    assert abs(drawn.mean()) < 0.3


@pytest.mark.parametrize("updates", [48, 56, 69, 690, 1701])
def test_weights_are_sampled_late_and_where_there_is_noise(updates: int) -> None:
    for method in (POLYNOMIAL, CYCLICAL):
        schedule = method.schedule(0.1, updates)
        samples = method.samples(schedule, updates)
        assert len(set(samples)) == SAMPLES
        assert samples[-1] == updates
        temperature = method.temperatures(schedule, updates).values(updates)
        assert all(temperature[at - 1] == 1 for at in samples)
    assert min(POLYNOMIAL.samples(POLYNOMIAL.schedule(0.1, updates), updates)) > updates // 2
    ends = [at for at in range(1, updates) if schedule(at) > schedule(at - 1)] + [updates]
    assert set(ends) <= set(samples)
    assert len(ends) == network.CYCLES
    assert SGD.samples(SGD.schedule(0.1, updates), updates) == (updates,)


# --- all trainings -----------------------------------------------------------------------------------------------


def test_all_methods_run_with_every_seed_at_the_rate_that_was_best_on_the_validation_part(runs: Runs) -> None:
    assert list(runs.rates) == [method.name for method in METHODS]
    for method in METHODS:
        tried = runs.tried[method.name]
        assert tuple(tried) == RATES
        assert tried[runs.rates[method.name]] == min(nll for nll in tried.values() if nll is not None)
        trial = trial_of(HeldOut(Sides()), method, RATES[1], 3, EPOCHS)
        _, result = predict(trial, method.name, "validation")
        assert result is not None
        assert result["ensemble"]["nll"] == tried[RATES[1]]
        assert list(runs.results[method.name]) == [0, 1, 2]
        assert {result["updates"] for result in runs.results[method.name].values() if result} == {runs.updates}


def test_the_test_part_takes_no_part_in_choosing_a_rate(runs: Runs) -> None:
    class Mislabelled(Sides):
        def load(self) -> Data:
            data = super().load()
            return replace(data, test_labels=1 - data.test_labels)

    others = run_methods(Mislabelled(), Options(epochs=EPOCHS, seeds=3, jobs=1))
    assert others.tried == runs.tried
    assert others.results != runs.results


def test_a_stopped_study_goes_on_where_it_was(tmp_path: Path, runs: Runs) -> None:
    total, path = len(METHODS) * len(RATES), tmp_path / "a.sqlite"
    options = Options(epochs=EPOCHS, seeds=3, jobs=1, store=path)
    with pytest.raises(KeyboardInterrupt):
        run_methods(Sides(), replace(options, display=Watcher(interrupt_after=9)))
    with Store(path) as store:
        assert 9 <= len(store) < total
        kept = len(store)
    watcher = Watcher()
    assert run_methods(Sides(), replace(options, display=watcher)) == replace(runs, task=Sides())
    starts = [told[1:3] for told in watcher.told if told[0] == "start"]
    assert starts == [(total, kept), (3 * len(METHODS), 0)]
    again = Watcher()
    assert run_methods(Sides(), replace(options, display=again)) == replace(runs, task=Sides())
    assert [told[1:3] for told in again.told if told[0] == "start"] == [(total, total), (3 * len(METHODS),) * 2]


@pytest.mark.slow
def test_other_processes_give_the_same(runs: Runs) -> None:
    assert run_methods(Sides(), Options(epochs=EPOCHS, seeds=3, jobs=2)) == replace(runs, task=Sides())


def test_too_few_updates_for_the_cycles_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"epochs must be at least 7, for 4 cycles with 3 samples each, got 6"):
        run_methods(Sides(), Options(epochs=6, seeds=1, jobs=1))


def test_a_task_on_which_all_diverges_leaves_nothing_to_say_but_that() -> None:
    class Steep(Explosion):
        def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return super().loss(outputs, targets) * 1000

    findings = Findings(run_methods(Steep(), Options(epochs=30, seeds=1, jobs=1)))
    assert findings.methods == []
    assert findings.runs.rates == {}
    text = ensembles.text(findings)
    assert "Left out, because a training diverged or collapsed: SGD, polynomial T=1" in text
    assert "no ensemble can be set beside SGD" in ensembles.verdict(findings)
    assert ensembles.pictures(findings) == {}
    assert json.loads(json.dumps(ensembles.figures(findings), allow_nan=False))["runs"] == []


def test_a_method_that_lost_a_seed_is_left_out_and_named() -> None:
    findings = made(3, jitter)
    results = {name: dict(by_seed) for name, by_seed in findings.runs.results.items()}
    results["cyclical T=1"][1] = None
    left = Findings(replace(findings.runs, results=results))
    assert "Left out, because a training diverged or collapsed: cyclical T=1." in ensembles.text(left)
    assert "cyclical T=1" not in left.differences[ensembles.SCORES[0]]
    assert set(ensembles.pictures(left)) == {"sampling-the-network", "sampling-reliability"}
    results["SGD"][0] = None
    alone = Findings(replace(findings.runs, results=results))
    assert "no ensemble can be set beside SGD" in ensembles.verdict(alone)
    assert set(ensembles.pictures(alone)) == {"sampling-the-network", "sampling-reliability"}


# --- what may be said --------------------------------------------------------------------------------------------


def made(seeds: int, change: Callable[[str, str, int], float]) -> Findings:
    """Findings of runs whose scores are .5, with a change by method, score and seed."""

    def result(name: str, seed: int) -> dict[str, Any]:
        scores = {s.key: 0.5 + change(name, s.key, seed) for s in ensembles.SCORES} | {"error_by_chance": 0.02}
        bins = {key: [20.0] * 15 for key in ("counts", "confidence", "correct")}
        return {"updates": 690, "samples": 12, "ensemble": scores | {"reliability": bins}, "single": scores}

    names = [method.name for method in METHODS]
    results = {name: {seed: result(name, seed) for seed in range(seeds)} for name in names}
    tried: dict[str, Mapping[float, float | None]] = {name: {0.1: 0.4, 0.2: 0.3, 0.4: 0.5} for name in names}
    return Findings(Runs(Sides(), 30, 690, range(seeds), False, dict.fromkeys(names, 0.2), tried, results))


def jitter(name: str, score: str, seed: int) -> float:
    """Differences of no direction, the same at every call."""
    return float(np.random.default_rng([seed, *name.encode(), *score.encode()]).normal(0, 0.01))


def test_nothing_is_said_to_differ_where_no_interval_carries_it() -> None:
    findings = made(5, jitter)
    text, verdict = ensembles.text(findings), ensembles.verdict(findings)
    assert "Shown" not in text
    assert text.count("No difference to SGD is shown.") == 3
    assert "no ensemble is shown by 5 seeds to differ from the last weights of SGD" in verdict
    assert "laju study sampling … --seeds 10" in verdict


def test_a_difference_is_told_where_its_interval_carries_it_and_in_its_direction() -> None:
    def change(name: str, score: str, seed: int) -> float:
        gain = {("cyclical T=1", "nll"): -0.2, ("polynomial T=0", "nll"): 0.2, ("cyclical T=0", "accuracy"): 0.2}
        return jitter(name, score, seed) + gain.get((name, score), 0)

    findings = made(5, change)
    text, verdict = ensembles.text(findings), ensembles.verdict(findings)
    assert "Shown to be higher than SGD for cyclical T=0 (+0.2" in text
    assert "Shown to be lower than SGD for cyclical T=1 (-0.2" in text
    assert "and higher than SGD for polynomial T=0 (+0.1" in text
    assert verdict.startswith(
        "on sides ensembles are shown to have a higher accuracy (1 of 6), a lower negative log-likelihood (1 of 6) and a higher "
        "negative log-likelihood (1 of 6) than the last weights of SGD"
    )
    assert "Shown to be lower than at T=0 for polynomial T=1" in text


def test_two_seeds_show_nothing_however_far_apart() -> None:
    findings = made(2, lambda name, score, seed: 0.4 if name == "cyclical T=1" else 0.0)
    assert "Shown" not in ensembles.text(findings)
    assert "no ensemble is shown by 2 seeds" in ensembles.verdict(findings)


def test_many_methods_make_every_interval_wider() -> None:
    """With a spread of .01 and five seeds, a difference that one comparison would show and six do not."""

    def change(name: str, score: str, seed: int) -> float:
        return 0.015 + 0.01 * (seed - 2) / 2**0.5 if name == "cyclical T=1" else 0.0

    apart = made(5, change).differences[ensembles.SCORES[1]]["cyclical T=1"]
    assert 2.78 < apart.mean / (0.0112 / 5**0.5) < 4.6  # Student's t for 95 % and for 95 % of six
    assert not apart.excludes_zero


def test_a_rate_at_the_end_of_those_that_were_tried_is_told(runs: Runs) -> None:
    findings = made(3, jitter)
    assert "so a better one may lie beyond" not in ensembles.text(findings)
    edges = replace(findings.runs, rates={**findings.runs.rates, "SGD": 0.4})
    assert "The best base rate is the last of those tried for SGD (0.4)" in ensembles.text(Findings(edges))


# --- the whole answer --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_answer_is_made_of_its_figures_and_can_be_written(tmp_path: Path) -> None:
    answer = run("sampling", Options(small=True, jobs=1))
    assert answer.question == STUDIES["sampling"]
    files = write(answer, tmp_path)
    assert [file.name for file in files] == [
        "answer.md",
        "answer.html",
        "sampling-a-gaussian.png",
        "sampling-a-regression.png",
        "sampling-25-gaussians.png",
        "sampling-the-network.png",
        "sampling-reliability.png",
        "figures.json",
    ]
    assert all(file.stat().st_size > 1000 for file in files)
    figures, page = json.loads(files[-1].read_text()), files[0].read_text()
    assert f"{figures['gaussian']['constant 0.5']['variance_of_second_half']:.4f}" in page
    assert f"{figures['regression']['runs']['Welling & Teh']['sd_ratio']:.2f}" in page
    assert "**This size is a smoke run**" in page
    runs = figures["network"]["runs"]
    assert {run["result"]["updates"] for run in runs} == {figures["network"]["updates"]} == {92}
    for run_ in runs[:2]:
        assert f"{run_['result']['ensemble']['nll']:.3f}" in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 2}, "epochs must be at least 3, for 4 cycles"),
        ({"task": "digit"}, "unknown task 'digit'; did you mean 'digits'"),
    ],
)
def test_options_that_it_cannot_use_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run("sampling", replace(Options(small=True), **changes))
