import math

import numpy as np
import pytest
from hypothesis import given

import laju
from laju import Constant, Exponential, Ramp, Table, constant, cosine, factor, linear, multi_factor, square_root
from laju.inspect import Segment, breakpoints, describe, formula, jumps
from tests.strategies import schedules


def test_the_facts_of_a_cosine_with_warmup():
    facts = describe(cosine(0.3, total=20, final=0.01, warmup=5))
    assert (facts.updates, facts.duration, facts.first, facts.end) == (20, 20, 0.0, 0.01)
    assert (facts.peak, facts.peak_at, facts.lowest, facts.lowest_at) == (0.3, 5, 0.0, 0)
    assert facts.final > 0.01
    assert facts.breakpoints == (5,)
    assert facts.jumps == ()
    assert facts.monotone is None
    assert facts.segments == (
        Segment(0, 5, 0.0, 0.3, "linear 0.0 → 0.3"),
        Segment(5, 20, 0.3, 0.01, "cosine 0.3 → 0.01"),
    )


@given(schedules)
def test_sums_and_extremes_are_those_of_the_values(schedule):
    values, facts = schedule.values(130), describe(schedule, 130)
    assert facts.peak == values.max()
    assert schedule.values(130)[facts.peak_at] == facts.peak
    assert facts.lowest == values.min()
    scale = np.abs(values).max() + 1e-300
    assert facts.sum == pytest.approx(math.fsum(values), abs=1e-12 * scale * 130 + 1e-300)
    assert facts.sum_of_squares == pytest.approx(math.fsum(values**2), abs=1e-12 * scale**2 * 130 + 1e-300)


@given(schedules)
def test_between_breakpoints_there_is_no_jump(schedule):
    points = set(breakpoints(schedule, 130))
    assert sorted(points) == list(breakpoints(schedule, 130))
    values = schedule.values(130)
    scale = np.abs(values).max() + 1e-300
    for t in range(1, 130):
        if t not in points:
            # The number just before t is in the same formula, so its value is nearly that of t.
            assert abs(schedule(math.nextafter(t, 0)) - schedule(t)) <= 1e-9 * scale


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (multi_factor(1, [3, 5], 0.1), [3, 5]),
        (Ramp(0, 1, 4, first=True) >> 1.0, [3, 4]),
        (Constant(1, 3) >> Constant(1, 0) >> 2.0, [3]),
        (linear(1, 0, 4).repeat(), [4, 8, 12, 16]),
        (linear(1, 0, 4).repeat(2), [4, 8]),
        (linear(1, 0, 2).repeat(growth=2), [2, 6, 14]),
        (factor(1, 0.5, every=5), [5, 10, 15]),
        (Table([1, 2, 3], every=2), [2, 4]),
        (constant(1).take(3).overlay(linear(1, 0, 10)), [3, 10]),
        (linear(1, 0, 10).shift(2), [2, 12]),
        (linear(1, 0, 10).shift(-3), [7]),
        (linear(1, 0, 10).maximum(0.25), [8, 10]),
        ((linear(1, 0, 4) >> linear(2, 0, 6)).reverse(), [7, 10]),
        (Exponential(1, 0.9), []),
    ],
)
def test_breakpoints_are_where_another_formula_comes_into_force(schedule, expected):
    assert list(breakpoints(schedule, 17)) == expected


def test_a_minimum_that_is_over_before_its_shift_has_no_breakpoints_there():
    schedule = Ramp(0, 0, 0).minimum(Constant(0, 0)).shift(1).repeat(growth=2)
    assert describe(schedule, 130).peak == 0


def test_jumps_are_found_with_their_size():
    (jump,) = jumps(linear(0, 1, total=5) >> Constant(0.4, 3))
    assert (jump.at, jump.before, jump.after) == (5, pytest.approx(1), 0.4)
    assert jumps(cosine(1, total=10).repeat(3)) != []
    assert jumps(square_root(0.1), 100) == []


@pytest.mark.parametrize(
    ("schedule", "monotone"),
    [
        (constant(1), "constant"),
        (square_root(1), "falling"),
        (linear(0, 1, total=9), "rising"),
        (cosine(1, total=90, warmup=9), None),
        (cosine(1, total=10**5), "falling"),
    ],
)
def test_monotone_is_told(schedule, monotone):
    assert describe(schedule, 100 if schedule.length is None else None).monotone == monotone


def test_long_runs_are_looked_at_whole_and_staircases_are_cut():
    facts = describe(laju.factor(1, 0.999999, every=1).staircase(2), 3_000_000)
    assert facts.lowest_at == 2_999_998
    assert len(facts.breakpoints) == len(facts.segments) == 1_000
    assert facts.segments[-1].end == 2_000
    assert not facts.complete
    assert describe(cosine(1, total=10)).complete


def test_formulas_read_well():
    assert formula(cosine(0.3, total=20) * 2, 3) == "(cosine 0.3 → 0.0) × (constant 2.0)"
    assert formula(linear(1, 0, 4).repeat(), 6) == "linear 1.0 → 0.0 (cycle 2)"
    assert formula(linear(1, 0, 4), 9) == "constant 0.0"


def test_an_endless_or_unresolved_schedule_needs_to_know_the_run():
    with pytest.raises(ValueError, match="has no end"):
        describe(constant(1))
    with pytest.raises(laju.UnresolvedError):
        describe(linear(1, 0, "10%"))
    with pytest.raises(ValueError, match="updates must be"):
        describe(constant(1), 0)
