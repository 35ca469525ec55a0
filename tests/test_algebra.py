import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import laju
from laju import Chain, Constant, Exponential, Power, Ramp, Table, constant, cosine, linear, splice
from tests.strategies import finite, schedules

EXTENT = 150


def same(a, b):
    np.testing.assert_array_equal(a.values(EXTENT), b.values(EXTENT))
    assert [a(t) for t in range(EXTENT)] == [b(t) for t in range(EXTENT)]


@given(finite, finite, schedules)
def test_then_is_associative(a, b, c):
    same((a >> b) >> c, a >> (b >> c))
    assert (a >> b) >> c == a >> (b >> c)


@given(finite, schedules)
def test_after_a_chain_s_boundary_the_next_part_runs_on_its_own_clock(a, b):
    chain, n = a >> b, int(-(-a.length // 1))
    if a.length == n:
        assert [chain(n + u) for u in range(60)] == [b(u) for u in range(60)]
    assert [chain(t) for t in range(n)] == [a(t) for t in range(n)]


@given(schedules, schedules)
def test_products_and_sums_of_two_commute(a, b):
    # Three factors or more are multiplied in their order, which moves the last digit.
    np.testing.assert_allclose((a * b).values(EXTENT), (b * a).values(EXTENT), rtol=1e-14, atol=1e-300)
    scale = np.abs(a.values(EXTENT)).max() + np.abs(b.values(EXTENT)).max()
    np.testing.assert_allclose((a + b).values(EXTENT), (b + a).values(EXTENT), rtol=0, atol=1e-14 * scale)
    same(a.minimum(b), b.minimum(a))


@given(schedules)
def test_identities_change_nothing(s):
    same(s * 1, s)
    same(s + 0, s)
    same(s.stretch(1), s)
    same(s.shift(0), s)
    same(s.staircase(1), s)
    same(Constant(5, 0) >> s, s)


@given(finite, st.sampled_from([2, 3, 4]), st.sampled_from([2, 5]))
def test_stretching_twice_is_stretching_by_the_product(s, a, b):
    twice, once = s.stretch(a).stretch(b), s.stretch(a * b)
    assert twice.length == once.length
    np.testing.assert_allclose(twice.values(EXTENT), once.values(EXTENT), rtol=1e-12, atol=1e-12)


@given(schedules, st.sampled_from([2, 3, 7]))
def test_a_stretched_schedule_has_the_old_values_at_multiples(s, by):
    stretched = s.stretch(by)
    old = np.array([s(t) for t in range(40)])
    new = np.array([stretched(by * t) for t in range(40)])
    np.testing.assert_allclose(new, old, rtol=1e-11, atol=1e-11)


@given(finite)
def test_reversing_twice_gives_the_schedule_inside_its_length(s):
    n = int(s.length)
    twice = s.reverse().reverse()
    if n == s.length:
        assert [twice(t) for t in range(n + 1)] == [s(t) for t in range(n + 1)]


@given(finite.filter(lambda s: isinstance(s.length, int) and s.length), st.integers(0, 30))
def test_repeat_begins_again_at_every_multiple_of_its_length(s, i):
    period = s.length
    again = s.repeat()
    assert [again(i * period + u) for u in range(period)] == [s(u) for u in range(period)]
    np.testing.assert_array_equal(again.values(2 * period, start=i * period), np.tile(s.values(period), 2))


def test_repeat_edges_are_exact_where_float_logarithms_are_not():
    restarts = Ramp(1, 0, 1, "cosine").stretch(2).repeat(growth=3)
    begin = 0
    for i in range(30):
        assert restarts(begin) == 1.0, f"restart {i} at {begin}"
        assert restarts(begin - 1) < 1.0 if begin else True
        begin += 2 * 3**i
    big = Ramp(1, 0, 3).repeat()
    assert big(3 * 10**15) == 1.0
    assert big(3 * 10**15 - 1) == pytest.approx(1 / 3)


def test_repeat_counts_grows_decays_and_mirrors():
    s = linear(1, 0, total=2)
    assert s.repeat(2).values(6).tolist() == [1, 0.5, 1, 0.5, 0, 0]
    assert s.repeat(2, growth=2).values(8).tolist() == [1, 0.5, 1, 0.75, 0.5, 0.25, 0, 0]
    assert s.repeat(3, decay=0.5).values(7).tolist() == [1, 0.5, 0.5, 0.25, 0.25, 0.125, 0]
    assert s.repeat(mirror=True).values(6).tolist() == [1, 0.5, 0, 0.5, 1, 0.5]
    assert s.repeat(2, growth=1.5).length == 5


def test_take_overlay_splice_shift():
    s = linear(10, 0, total=10)
    assert s.take(3).values(5).tolist() == [10, 9, 8, 7, 7]
    assert constant(1).take(2).overlay(s).values(4).tolist() == [1, 1, 8, 7]
    assert splice(s, 0.5, at=2).values(4).tolist() == [10, 9, 0.5, 0.5]
    assert s.shift(2).values(4).tolist() == [10, 10, 10, 9]
    assert s.shift(-2).values(2).tolist() == [8, 7]
    assert s.shift(-2).length == 8


def test_clip_keeps_between_bounds_absolute_or_relative_to_the_peak():
    s = linear(2, 0, total=4)
    assert s.clip(0.5, 1.5).values(5).tolist() == [1.5, 1.5, 1, 0.5, 0.5]
    assert s.clip(high=0.5, relative=True).values(5).tolist() == [1, 1, 1, 0.5, 0]
    assert s.clip(low=0.25, relative=True).values(5).tolist() == [2, 1.5, 1, 0.5, 0.5]
    assert laju.parse("linear(2, 0, total=4).clip(0.5, 1.5).scale(2)") == s.clip(0.5, 1.5) * 2


def test_staircase_holds_and_ends_on_a_whole_step():
    s = linear(1, 0, total=5).staircase(2)
    assert s.values(8).tolist() == pytest.approx([1, 1, 0.6, 0.6, 0.2, 0.2, 0, 0])
    assert s.length == 6


def test_zero_lengths_are_skipped_but_the_last_value_holds():
    assert (Constant(9, 0) >> Ramp(3, 4, 0) >> constant(1)).values(2).tolist() == [1, 1]
    assert (Ramp(0, 1, 2) >> Ramp(7, 0.2, 0)).values(4).tolist() == [0, 0.5, 0.2, 0.2]
    assert Ramp(7, 0.2, 0)(0) == 0.2


def test_grids_of_a_ramp():
    assert Ramp(0, 1, 4).values(5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert Ramp(0, 1, 4, first=True).values(5).tolist() == [0.25, 0.5, 0.75, 1, 1]
    np.testing.assert_allclose(Ramp(2, 1, 5, endpoint=True).values(5), np.linspace(2, 1, 5), rtol=1e-15)
    assert Ramp(2, 1, 1, endpoint=True).values(2).tolist() == [2, 1]


def test_lengths_of_combinations():
    s = linear(1, 0, total=10)
    assert (0.1 * s).length == 10
    assert (s * linear(0, 1, total=20)).length == 20
    assert (s + Power(1, 0.5)).length is None
    assert constant(1).length is None
    assert (s >> constant(0)).length is None
    assert (s >> s).length == 20


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: constant(1) >> constant(2), "only the last part of a chain may be endless"),
        (lambda: Chain([]), "at least one"),
        (lambda: Chain(constant(1)), "sequence of schedules"),
        (lambda: Chain(["a"]), r"parts\[0\]"),
        (lambda: constant(1).reverse(), "has none"),
        (lambda: constant(1).repeat(), "has none"),
        (lambda: Constant(1, 0).repeat(), "at least one update"),
        (lambda: linear(1, 0, 5).repeat(growth=0.5), "growth must be a finite number of at least 1, got 0.5"),
        (lambda: linear(1, 0, 5).repeat(0), "count must be a whole number of at least 1, got 0"),
        (lambda: linear(1, 0, 5).stretch(0), "by must be a finite number above 0"),
        (lambda: linear(1, 0, 5).staircase(0), "every must be"),
        (lambda: linear(1, 0, 5).take(-1), "length must be"),
        (lambda: linear(1, 0, 5).per("updates"), "schedule itself"),
        (lambda: linear(1, 0, 5).per("epoc"), "unit must be one of"),
        (lambda: constant(1).overlay(linear(1, 0, 5)), "needs a schedule with an end"),
        (lambda: Ramp(0, 1, 5, "exponential"), "non-zero and of one sign"),
        (lambda: Ramp(0, 1, 5, "cosin"), "did you mean 'cosine'"),
        (lambda: Ramp(0, 1, 5, "power"), "must be written"),
        (lambda: Ramp(0, 1, 5, "power(-1)"), "k must be a finite number above 0"),
        (lambda: Ramp(0, 1, 5, first=True, endpoint=True), "leave endpoint out"),
        (lambda: Ramp(float("nan"), 1, 5), "start must be a finite number, got nan"),
        (lambda: Ramp(True, 1, 5), "start must be a finite number, got True"),
        (lambda: Ramp(0, 1, "5 parsecs"), "unknown unit 'parsecs'"),
        (lambda: Exponential(1, 0), "factor must be a finite number above 0"),
        (lambda: Power(1, 0.5, offset=0), "offset must be"),
        (lambda: Exponential(1, 0.5, None), "every must be"),
        (lambda: Power(1, 0.5, timescale=None), "timescale must be"),
        (lambda: Ramp(0, 1, None), "length must be"),
        (lambda: linear(1, 0, 5).clip(), "needs a bound"),
        (lambda: linear(1, 0, 5).clip(2, 1), "low must not be above high"),
        (lambda: constant(1).clip(0.5, relative=True), "has no end"),
        (lambda: Table([]), "at least one number"),
        (lambda: Table([1, "a"]), r"entries\[1\]"),
        (lambda: Table([1], interpolation="cubic"), "one of hold, linear"),
        (lambda: cosine(1, total=10, warmup=10), "warmup must be shorter than the total of 10, got 10"),
        (lambda: cosine(1, total=2.5), "total must be a whole number"),
        (lambda: laju.factor(0.1, 0.5, floor=0.2), "floor must be a finite number of at most 0.1"),
        (lambda: laju.multi_factor(1, [5, 3], 0.1), "milestones must increase"),
        (lambda: laju.multi_factor(1, [3, 3], 0.1), "milestones must increase"),
        (lambda: laju.warmup(0.1, 5, how="beside"), "how must be"),
        (lambda: laju.warmup(0.1, 5, shape="constant"), "start must be given"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_made(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()
