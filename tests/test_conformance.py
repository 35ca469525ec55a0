"""The shared scenarios: sequences that must come out, each built in the algebra."""

import pytest

from laju import Chain, Constant, Exponential, Ramp, constant, cosine, factor, multi_factor, warmup
from tests.conftest import scenarios

up = Ramp(0.1, 1, 2)
half_then = Constant(0.5, 2) >> 0.2
cosine_restarts = Ramp(1, 0, 4, "cosine").repeat()
drop = Constant(1, 2) >> 0.1

# Every expression of a scenario must give its sequence.
SCHEDULES = {
    "C01": [constant(0.5).take(3) >> 0.3, Constant(0.5, 3) >> Constant(0.3)],
    "C02": [0.1 * half_then, 0.1 * Chain([half_then]), 0.1 * (Constant(0.5, 2) >> (Constant(0.2, 1) >> 0.2))],
    "C03": [up >> (Constant(0.5, 2) >> Exponential(1, 0.9)), up >> Constant(0.5, 2) >> factor(1, 0.9)],
    "C04": [Ramp(0, 1, 0) >> Exponential(1, 0.9), Constant(7, 0) >> factor(1, 0.9)],
    "C05": [cosine_restarts * drop, drop * cosine_restarts],
    "C06": [Exponential(1, 0.5) * constant(1), constant(1) * Exponential(1, 0.5), Exponential(1, 0.5)],
    "C07": [up >> Exponential(1, 0.9), warmup(factor(1, 0.9), 2, 0.1)],
    "H01": [cosine(1, total=4)],
    "B01": [multi_factor(1, [3, 5], 0.1)],
    "B02": [warmup(cosine(1, total=4), 3), cosine(1, total=7, warmup=3)],
    "B03": [cosine(1, total=10, warmup=4)],
    "B04": [
        Ramp(0, 1, 4, first=True) >> Constant(1, 2) >> Ramp(1, 0, 5).shift(-1),
        Ramp(0, 1, 4, first=True) >> Constant(1, 1) >> Ramp(1, 0, 5),
    ],
    "D01": [warmup(constant(1), 0), Ramp(0, 1, 0) >> 1],
    "D02": [Constant(0, 3) >> 1],
}


def first_position(scenario: dict) -> int:
    """Where the sequence begins, from the words `t=5..9`."""
    words = scenario["what"].rpartition("t=")[2]
    return int(words.partition("..")[0])


cases = [
    pytest.param(scenario, schedule, id=f"{scenario['id']}-{i}")
    for scenario in scenarios()
    for i, schedule in enumerate(SCHEDULES.get(scenario["id"], []))
]


@pytest.mark.skipif(not cases, reason="set LAJU_SHARED to the folder with conformance/scenarios.json")
@pytest.mark.parametrize(("scenario", "schedule"), cases or [(None, None)])
def test_a_scenario_comes_out(scenario, schedule):
    begin = first_position(scenario)
    expected = scenario["expected"]
    got = [schedule(begin + i) for i in range(len(expected))]
    assert got == pytest.approx(expected, rel=1e-14, abs=1e-16)
    assert schedule.values(len(expected), start=begin).tolist() == pytest.approx(expected, rel=1e-14, abs=1e-16)


def test_no_scenario_of_these_groups_is_left_out():
    wanted = {s["id"] for s in scenarios() if s["id"][0] in "CBD" or s["id"] == "H01"}
    assert wanted <= set(SCHEDULES)
