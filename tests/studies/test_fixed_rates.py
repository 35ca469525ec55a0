"""The boundary is found where it is, and the study's answer is that of its figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from laju.studies import Answer, Options, run
from laju.studies.fixed_rates import boundary

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def answer() -> Answer:
    return run("fixed-rates", Options(small=True, jobs=1))


def test_every_seed_fails_at_a_hundred_times_the_best_rate_and_none_at_the_best(answer: Answer) -> None:
    by_rate = {row["rate"]: row for row in answer.figures["rates"]}
    assert by_rate[30.0]["finished"] == 0
    assert by_rate[30.0]["diverged"] + by_rate[30.0]["collapsed"] == 2
    assert by_rate[float(answer.figures["best by test accuracy"]["best"])]["finished"] == 2


def test_the_boundary_lies_between_the_rates_that_all_and_no_seeds_survive(answer: Answer) -> None:
    edge = answer.figures["boundary"]
    by_rate = {row["rate"]: row for row in answer.figures["rates"]}
    assert edge["safe"] < edge["half"] < edge["fatal"]
    assert by_rate[edge["safe"]]["finished"] == 2
    assert by_rate[edge["fatal"]]["finished"] == 0


def test_rates_between_the_two_were_tried(answer: Answer) -> None:
    assert len([row for row in answer.figures["rates"] if 0.3 < row["rate"] < 30]) >= 1


def test_the_text_says_the_figures_and_that_two_seeds_do_not_decide(answer: Answer) -> None:
    best = answer.figures["best by test accuracy"]
    values = ", ".join(f"{value:.3f}" for value in best["value"]["values"])
    assert f"**Ahead by test accuracy is {best['best']}: {values}.**" in answer.text
    half = f"half of the seeds fail at {answer.figures['boundary']['half']:.2g} ("
    assert answer.verdict.startswith(f"No rate is shown to be the best: ahead is {best['best']} ({values}; ")
    assert half in answer.verdict
    assert answer.verdict.endswith("intervals begin with 3 seeds (laju study fixed-rates … --seeds 5).")
    assert f"half of the seeds at a rate of {answer.figures['boundary']['half']:.2g}" in answer.text
    assert "2 seeds tell it from no other rate" in answer.text
    assert "None" not in answer.text
    assert "nan" not in answer.text


def test_seeds_that_a_rate_tells_apart_completely_give_the_bracket() -> None:
    found = boundary({0.1: (0, 5), 0.2: (0, 5), 0.4: (5, 5), 0.8: (5, 5)})
    assert found is not None
    assert (found.safe, found.fatal) == (0.2, 0.4)
    assert 0.2 < found.half < 0.4
    assert found.half == pytest.approx(math.sqrt(0.2 * 0.4), rel=0.1)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.25 < 0.33 < found.high


def test_the_interval_holds_the_true_rate_about_as_often_as_it_says() -> None:
    random, rates, held = np.random.default_rng(0), np.geomspace(0.1, 1.6, 9), 0
    for _ in range(100):
        true = math.exp(random.uniform(math.log(0.3), math.log(0.6)))
        chances = 1 / (1 + (true / rates) ** 5)
        found = boundary({float(r): (int(random.binomial(5, p)), 5) for r, p in zip(rates, chances, strict=True)})
        held += found is None or ((found.low or 0) <= true <= (found.high or math.inf))
    assert 88 <= held <= 100


def test_the_interval_narrows_with_the_seeds() -> None:
    few = boundary({0.1: (0, 4), 0.2: (1, 4), 0.4: (3, 4), 0.8: (4, 4)})
    many = boundary({0.1: (0, 40), 0.2: (10, 40), 0.4: (30, 40), 0.8: (40, 40)})
    assert few is not None
    assert many is not None
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert few.half == pytest.approx(many.half, rel=0.02)
    assert many.high / many.low < few.high / few.low


@pytest.mark.parametrize("failed", [{0.1: (0, 3), 0.2: (0, 3)}, {0.1: (3, 3), 0.2: (3, 3)}])
def test_there_is_no_boundary_where_nothing_or_everything_fails(failed: dict[float, tuple[int, int]]) -> None:
    assert boundary(failed) is None
