"""A curve says what is wrong with it when it is made, not when something is fitted to it."""

from __future__ import annotations

import numpy as np
import pytest

import laju
from laju import UnresolvedError
from laju.forecast import Curve

AT, LOSS = [10, 20, 30], [3.0, 2.5, 2.4]


def test_rates_are_a_schedule_or_one_number_an_update() -> None:
    schedule = laju.cosine(0.1, total=40, warmup=5)
    a, b = Curve(AT, LOSS, schedule), Curve(np.array(AT), np.array(LOSS), schedule.values(50).tolist())
    assert a.rates.tolist() == b.rates.tolist() == schedule.values(30).tolist()
    assert (len(a), a.peak) == (3, 0.1)
    assert "3 losses up to update 30" in repr(a)


def test_a_single_loss_is_a_curve() -> None:
    assert Curve([15000], [3.1], laju.constant(1e-3)).updates.tolist() == [15000]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"updates": [10, 20]}, "equally many, got 2 and 3"),
        ({"updates": [10, 30, 20]}, "must rise, but 30 is followed by 20.*resumed"),
        ({"updates": [10, 10, 20]}, "must rise"),
        ({"updates": [0, 10, 20]}, "1 or more"),
        ({"updates": [10.5, 20, 30]}, "whole numbers"),
        ({"updates": [10, float("nan"), 30]}, "whole numbers"),
        ({"updates": ["a", "b", "c"]}, "whole numbers"),
        ({"updates": [], "loss": []}, "no losses"),
        ({"loss": [3.0, float("nan"), 2.0]}, "positive numbers, got nan at update 20"),
        ({"loss": [3.0, -1.0, 2.0]}, "positive numbers, got -1.0 at update 20"),
        ({"loss": [3.0, 2.5, 9.0]}, "ends at 9, above the 3 that it began with: a run that diverged"),
        ({"loss": "low"}, "loss of curve must be numbers in one row, got 'low'"),
        ({"rates": [0.1] * 29}, "one rate for each of the 30 updates, got 29"),
        ({"rates": [0.0] * 30}, "are 0 in all of the 30 updates"),
        ({"rates": [0.1] * 15 + [float("nan")] * 15}, "update 15 has nan"),
        ({"rates": [0.1] * 15 + [-0.1] * 15}, "update 15 has -0.1"),
        ({"rates": None}, "rates of curve must be numbers"),
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
