"""The exponents that are compared are what they say, and one that stops too early loses."""

from __future__ import annotations

import numpy as np
import pytest

from laju.core.units import RunPlan
from laju.studies import Answer, Options, run
from laju.studies.exponents import Decay

pytestmark = pytest.mark.slow

PLAN = RunPlan(samples=640, batch_size=64, epochs=10)


@pytest.fixture(scope="module")
def answer() -> Answer:
    return run("exponents", Options(small=True, jobs=1))


def test_a_decay_without_an_end_is_the_power_of_the_epochs() -> None:
    values = Decay("α", 2.0).schedule(0.4).resolve(PLAN).values(100)
    np.testing.assert_allclose(values, 0.4 * (1 + np.arange(100) // 10.0) ** -2.0)


def test_a_decay_to_zero_is_the_power_of_what_is_left_of_the_run() -> None:
    values = Decay("p", 2.0).schedule(0.4).resolve(PLAN).values(100)
    np.testing.assert_allclose(values, 0.4 * (1 - np.arange(100) / 100) ** 2)


def test_an_exponent_of_zero_is_a_constant() -> None:
    assert set(Decay("α", 0.0).schedule(0.4).values(100)) == {0.4}


def test_a_decay_that_is_over_after_an_epoch_trains_worse_than_a_constant(answer: Answer) -> None:
    loss = {
        (trial["family"], trial["exponent"], trial["base"]): trial["train_loss"]["mean"]
        for trial in answer.figures["trials"]
        if trial["train_loss"] is not None
    }
    assert loss["α", 0.0, 0.3] < loss.get(("α", 6.0, 0.3), 2.3)
    assert answer.figures["best by test accuracy"]["best"] != "α = 6"


def test_each_exponent_is_shown_at_the_base_rate_that_is_best_for_it(answer: Answer) -> None:
    for name, base in answer.figures["tuned base"].items():
        means = {
            trial["base"]: trial["test_accuracy"]["mean"]
            for trial in answer.figures["trials"]
            if f"{trial['family']} = {trial['exponent']:g}" == name and trial["finished"] == 2
        }
        assert means[base] == max(means.values())


def test_the_text_says_the_figures_and_that_two_seeds_do_not_decide(answer: Answer) -> None:
    best = answer.figures["best by test accuracy"]
    assert f"**Ahead by test accuracy is {best['best']} (" in answer.text
    assert answer.verdict.startswith(f"No exponent is shown to be the best: ahead is {best['best']} (")
    assert answer.verdict.endswith("intervals begin with 3 seeds (laju study exponents … --seeds 5).")
    assert ", ".join(f"{value:.3f}" for value in best["value"]["values"]) in answer.text
    assert "2 seeds tell it from no other exponent" in answer.text
    assert "None" not in answer.text
    assert "nan" not in answer.text
