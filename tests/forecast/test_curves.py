"""A curve says what is wrong with it when it is made, not when something is fitted to it."""

from __future__ import annotations

import numpy as np
import pytest

import laju
from laju import UnresolvedError
from laju.forecast import Curve, ForecastWarning

AT, LOSS = [10, 20, 30], [3.0, 2.5, 2.4]


def test_rates_are_a_schedule_or_one_number_an_update() -> None:
    schedule = laju.cosine(0.1, total=40, warmup=5)
    a, b = Curve(AT, LOSS, schedule), Curve(np.array(AT), np.array(LOSS), schedule.values(50).tolist())
    assert a.rates.tolist() == b.rates.tolist() == schedule.values(30).tolist()
    assert (len(a), a.peak) == (3, 0.1)
    assert "3 losses up to update 30" in repr(a)


@pytest.mark.parametrize(
    "schedule", [laju.cosine(0.3, total=1000), laju.wsd(0.3, total=1000, warmup=100, cooldown=300)]
)
def test_rates_of_the_rows_of_a_log_are_nearly_those_that_were_used(schedule: laju.Schedule) -> None:
    rows = np.arange(0, 1000, 50)
    logged = Curve(rows, 4 - rows / 1000, [schedule(n) for n in rows])
    assert logged.updates.tolist() == rows[1:].tolist()  # a loss before any training is left out, and its rate is not
    assert logged.loss[0] == 3.95
    assert np.abs(logged.rates - schedule.values(950)).max() < 0.002


def test_a_row_for_each_update_has_the_rates_of_the_updates_themselves() -> None:
    rates = laju.linear(0.3, 0, total=30).values(30)
    assert Curve(range(1, 31), np.linspace(4, 3, 30), rates).rates.tolist() == rates.tolist()


def test_a_warmup_before_the_first_row_is_given_or_assumed_with_a_warning() -> None:
    rows = np.arange(1000, 2001, 100)
    loss, rates = 4 - rows / 1000, np.full(len(rows), 0.3)
    known = laju.constant(0.3).warmup(900).values(2000)
    assert np.abs(Curve(rows, loss, rates, warmup=900).rates - known).max() < 1e-12
    assert Curve(rows, loss, rates, warmup=0).rates.tolist() == [0.3] * 2000
    with pytest.warns(ForecastWarning, match="run 7 has no learning rate before update 1,000; a linear rise") as caught:
        assumed = Curve(rows, loss, rates, "run 7")
    assert caught[0].filename == __file__
    assert assumed.rates[500] == pytest.approx(0.15)


def test_a_single_loss_is_a_curve() -> None:
    assert Curve([15000], [3.1], laju.constant(1e-3)).updates.tolist() == [15000]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"updates": [10, 20]}, "same length, got 2 and 3"),
        ({"updates": [10, 30, 20]}, "must increase, but 30 is followed by 20.*resumed"),
        ({"updates": [10, 10, 20]}, "must increase"),
        ({"updates": [-1, 10, 20]}, "0 or more"),
        ({"updates": [0], "loss": [3.0]}, "no losses after update 0"),
        ({"updates": [10.5, 20, 30]}, "whole numbers"),
        ({"updates": [10, float("nan"), 30]}, "whole numbers"),
        ({"updates": ["a", "b", "c"]}, "whole numbers"),
        ({"updates": [], "loss": []}, "no losses"),
        ({"loss": [3.0, float("nan"), 2.0]}, "positive numbers, got nan at update 20"),
        ({"loss": [3.0, -1.0, 2.0]}, "positive numbers, got -1.0 at update 20"),
        ({"loss": [3.0, 2.5, 9.0]}, "ends at 9, above the 3 that it began with: a run that diverged"),
        ({"loss": "low"}, "loss of curve must be a sequence of numbers, got 'low'"),
        ({"rates": [0.1] * 29}, "one for each of the 3 losses, or one for each of the 30 updates, got 29"),
        ({"rates": [0.1, float("nan"), 0.1]}, "must be finite"),
        ({"rates": [0.1, -0.1, 0.1]}, "not negative"),
        ({"rates": [0.0, 0.0, 0.0]}, "are 0 in all of the 30 updates"),
        ({"rates": [0.1, 0.1, 0.1], "warmup": -1}, "warmup must be"),
        ({"warmup": 5}, "known in every update, so leave warmup = 5 out"),
        ({"rates": laju.constant(0.1), "warmup": 0}, "known in every update"),
        ({"rates": [0.0] * 30}, "are 0 in all of the 30 updates"),
        ({"rates": [0.1] * 15 + [float("nan")] * 15}, "update 15 has nan"),
        ({"rates": [0.1] * 15 + [-0.1] * 15}, "update 15 has -0.1"),
        ({"rates": None}, "rates of curve must be a sequence of numbers"),
    ],
)
def test_what_is_no_curve_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Curve(**({"updates": AT, "loss": LOSS, "rates": [0.1] * 30} | change))


def test_a_schedule_of_epochs_needs_a_plan_first() -> None:
    with pytest.raises(UnresolvedError):
        Curve(AT, LOSS, laju.cosine(0.1, total=3).per("epoch"))


def test_errors_name_the_curve() -> None:
    with pytest.raises(ValueError, match="loss of run 7"):
        Curve(AT, [1.0, 0.0, 1.0], [0.1] * 30, name="run 7")
