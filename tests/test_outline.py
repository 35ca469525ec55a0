"""A schedule's outline says what the values say, and what is measured from it is what all the values come to."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju import Constant, Exponential, Power, Ramp, Schedule, Table, constant, cosine, linear, parse, square_root
from laju.core import measure, shapes
from laju.core.node import NODES, node, schedule
from laju.core.outline import stepwise
from laju.inspect import breakpoints, cooldown, describe, formula, jumps
from laju.inspect.lint import check
from tests.strategies import SHAPES, schedules

FAR = 10**10


@settings(max_examples=300)
@given(schedules, st.integers(0, 100))
def test_the_parts_lie_end_to_end_and_have_the_values_of_the_schedule(schedule, begin):
    values = schedule.values(150)
    scale = np.abs(values).max() + 1e-300
    for parts in (schedule.outline(begin, 150), stepwise(schedule.outline(begin, 150))):
        at = None
        for part in parts:
            assert part.begin < part.end
            assert part.begin <= begin if at is None else part.begin == at
            at = part.end
            inside = range(max(begin, math.ceil(part.begin)), min(150, math.ceil(min(part.end, 150))))
            if len(inside):
                t = np.array(inside)
                assert np.abs(part.at(t) - values[t]).max() <= 1e-9 * scale
                assert abs(part.at(inside[0]) - values[inside[0]]) <= 1e-9 * scale
        assert at >= 150


def test_an_outline_is_lazy_and_begins_anywhere():
    endless = cosine(1, total=7).repeat()
    first = next(iter(endless.outline(7 * 10**12)))
    assert (first.begin, first.end, first.cycles[0].number) == (7 * 10**12, 7 * 10**12 + 7, 10**12)
    assert [p.begin for p in itertools.islice(endless.outline(), 3)] == [0, 7, 14]


@pytest.mark.parametrize(
    "endless", [constant(1).take(20).repeat(growth=2), linear(1, 0, total=5).repeat(growth=3, decay=0.5)]
)
def test_an_outline_has_no_end_where_cycles_grow_beyond_what_is_counted(endless):
    for s in (endless, endless.minimum(0.9), endless * linear(1, 0.5, total=9)):
        parts = list(itertools.islice(s.outline(), 1000))
        assert len(parts) < 1000
        assert parts[-1].end == math.inf
        assert all(a.end == b.begin for a, b in itertools.pairwise(parts))


def test_a_part_says_where_it_came_from():
    warm, decay = Ramp(0, 0.3, 5, first=True), Ramp(0.3, 0, 15, "cosine")
    parts = list((warm >> decay).outline())
    assert [p.node for p in parts[:3]] == [warm, warm, decay]
    assert parts[0].piece == Ramp(0, 0.3, 5)
    assert parts[0].origin == -1
    scaled = next(iter((0.5 * (warm >> decay)).outline()))
    assert scaled.piece == Ramp(0, 0.15, 5)
    assert scaled.leaf is warm
    assert scaled.how == "×"


def test_steps_are_one_part_and_each_a_constant():
    (part,) = Exponential(1, 0.5).staircase(4).outline(0, 100)
    assert (part.piece, part.held) == (Exponential(1, 0.5), (0, 4))
    assert [(p.begin, p.piece) for p in itertools.islice(part.steps(), 2)] == [(0, Constant(1)), (4, Constant(0.0625))]


@pytest.mark.parametrize("length", [7, 1000, 10**6, 10**12])
def test_where_two_curves_cross_is_found_exactly(length):
    line = linear(1, 0, total=length)
    found = next(math.ceil(p.begin) for p in line.maximum(0.25).outline() if p.crosses)
    assert line(found) <= 0.25 <= line(found - 1)


def test_an_exponential_reaches_its_floor_however_late():
    s = Exponential(1, 1 - 1e-9).maximum(1e-3)
    (at,) = breakpoints(s, 10**11)
    assert Exponential(1, 1 - 1e-9)(at - 1) > 1e-3 >= Exponential(1, 1 - 1e-9)(at)


@pytest.mark.parametrize("name", [*SHAPES, "exponential", "tanh", "rex", "log(10)", "k_decay(2)", "rex(-3)"])
def test_every_shape_only_rises(name):
    n = 999
    rising = Ramp(0.1, 1, n, name).values(n + 1)
    assert (np.diff(rising) >= -1e-15).all()
    assert shapes.shape(name).name == name


@pytest.mark.parametrize(
    ("schedule", "n"),
    [
        (cosine(0.3, total=10**5, warmup=1000), 10**5),
        (Ramp(1, 0.1, 10**5, "power(0.5)"), 10**5),
        (Ramp(0.1, 1, 10**5, "sqrt"), 10**5),
        (square_root(0.1), 10**5),
        (Exponential(1, 0.9999), 10**5),
        (Exponential(1, 0.9).maximum(0.001), 10**5),
        (Power(1, 2, timescale=3), 10**5),
        (cosine(1, total=10**5) * linear(1, 0.1, total=10**5), 10**5),
        (cosine(1, total=10**5) + linear(0, 2, total=70_001), 10**5),
        (cosine(1, total=70).repeat(), 10**5),
        (cosine(1, total=71).repeat(decay=0.99, mirror=True), 10**5),
        (0.5 * linear(0.1, 1, total=9).repeat(5000), 10**5),
        (cosine(1, total=30).repeat(growth=1.5), 10**5),
        (linear(1, 0, total=10**5).staircase(30), 10**5),
        (constant(0.1).take(10) >> cosine(1, total=10**5).staircase(7).shift(3), 10**5),
        (laju.Rectification(0.999), 10**5),
        (Table([1, 3, 2], every=3000, interpolation="linear"), 10**4),
        (laju.Clock(cosine(1, total=300_000), [(0, 0, 1), (5000, 5000, 7)]), 10**5),
        (cosine(1, total=10**5).reverse(), 10**5),
        (Ramp(1, 0, 3, "cosine").repeat(20_000).shift(2), 10**5),
    ],
)
def test_what_is_measured_by_parts_is_what_all_the_values_come_to(schedule, n, monkeypatch):
    values = schedule.values(n)
    every = measure.measure(schedule, n)
    monkeypatch.setattr(measure, "EACH", 0)
    parts = measure.measure(schedule, n)
    assert parts.sum == pytest.approx(math.fsum(values), rel=1e-9)
    assert parts.squares == pytest.approx(math.fsum(values**2), rel=1e-9)
    assert parts.peak == pytest.approx(values.max(), rel=1e-12)
    assert parts.lowest == pytest.approx(values.min(), rel=1e-9, abs=1e-15)
    assert values[parts.peak_at] == pytest.approx(parts.peak, rel=1e-12)
    assert values[parts.lowest_at] == pytest.approx(parts.lowest, rel=1e-9, abs=1e-15)
    assert (parts.rises, parts.falls) == (every.rises, every.falls)


@settings(max_examples=150)
@given(schedules)
def test_any_schedule_is_measured_by_parts_as_by_updates(schedule):
    n = 3000
    with np.errstate(all="ignore"):
        values = measure.unchecked(schedule, n)
    if not np.isfinite(np.square(values)).all():
        return
    found = measure._by_parts(schedule, 0, n)
    scale = np.abs(values).max() + 1e-300
    assert found.sum == pytest.approx(math.fsum(values), abs=1e-9 * scale * n)
    assert found.peak == pytest.approx(values.max(), abs=1e-9 * scale)
    assert found.lowest == pytest.approx(values.min(), abs=1e-9 * scale)


class _Counted:
    """Counts positions at which a schedule computes values."""

    def __init__(self, monkeypatch):
        self.positions = 0
        for cls in NODES.values():
            monkeypatch.setattr(cls, "_array", self._wrapped(cls._array))
            monkeypatch.setattr(cls, "_range", self._ranged(cls._range))

    def _wrapped(self, array):
        def counted(node, t, ns):
            self.positions += np.size(t)
            return array(node, t, ns)

        return counted

    def _ranged(self, values):
        def counted(node, start, stop):
            self.positions += stop - start
            return values(node, start, stop)

        return counted


@pytest.mark.parametrize(
    "text",
    [
        "cosine(0.3, total=1e10)",
        "cosine(0.3, total=1e10, warmup=1000)",
        "cosine(0.3, total=1e10).clip(0.1, 0.9, relative=True)",
        "cosine(0.3, total=10).repeat(1000000000, growth=2)",
        "cosine(0.3, total=1000).staircase(10000000000)",
        "cosine(0.3, total=1e10) * linear(1, 0.5, total=1e10)",
        "linear(1, 0, total=1e10).maximum(0.1)",
        "factor(1, 0.5, every=1e9).take(10000000000)",
    ],
)
def test_the_work_is_bounded_however_long_a_run_is(text, monkeypatch):
    work = _Counted(monkeypatch)
    facts = describe(parse(text))
    assert facts.updates >= 1000
    assert facts.lowest <= facts.mean <= facts.peak
    assert len(facts.segments) < 100
    assert work.positions < 10**6


def test_many_cycles_are_a_series():
    facts = describe(cosine(0.3, total=10).repeat(10**9))
    assert facts.mean == pytest.approx(cosine(0.3, total=10).values(10).mean(), rel=1e-12)
    assert (facts.peak, facts.peak_at) == (0.3, 0)
    assert len(facts.breakpoints) == 1_000


def test_what_jumps_between_two_updates_is_told():
    assert [(j.at, j.before, j.after) for j in jumps(Constant(1, 2.5) >> 0.5, 9)] == [(3, 1.0, 0.5)]


def test_a_steep_end_is_no_jump():
    assert jumps(Ramp(1, 0, 5, "power(0.5)"), 9) == []
    assert describe(Ramp(1, 0, 5, "power(0.5)"), 9).segments[0].last == 0


def test_what_rounding_leaves_is_0():
    facts = describe(cosine(0.3, total=20, warmup=5) >> 0.0, 30)
    assert facts.jumps == ()
    assert [s.last for s in facts.segments] == [0.3, 0.0, 0.0]
    crossing = describe(Ramp(0, 0.05, 8, "cosine(2)").minimum(0.0), 9)
    assert crossing.jumps == ()
    assert {s.last for s in crossing.segments} == {0.0}
    both = cosine(0.3, total=20, warmup=5) * cosine(1, total=20)
    assert describe(both >> 0.0, 30).jumps == ()
    assert describe(both).segments[-1].last == 0
    assert cooldown(linear(0, 0.3, total=5) >> cosine(0.3, total=15), at=20, length=5).jumps == ()


@pytest.mark.parametrize(
    ("schedule", "t", "words"),
    [
        (Ramp(0.3, 0.5, 5, "sqrt").reverse(), 0, "reversed sqrt 0.3 → 0.5"),
        (Ramp(0.3, 0.5, 5, "sqrt").reverse(), 5, "constant 0.3"),
        (linear(1, 0, total=4).shift(3), 1, "constant 1.0"),
        (linear(1, 0, total=4).repeat(2), 8, "constant 0.0"),
        (Ramp(0.3, 0.1, 1, endpoint=True), 0, "constant 0.3"),
        (Table([1, 2], every=3), 4, "constant 2.0"),
        (Table([1, 2], every=3, interpolation="linear"), 1, "linear 1.0 → 2.0"),
        (Exponential(1, 0.5).staircase(2), 3, "constant 0.25"),
        (0.5 * linear(1, 0, total=4).repeat(), 5, "(constant 0.5) × (linear 1.0 → 0.0 (cycle 2))"),
        (laju.Clock(linear(1, 0, total=8), [(0, 0, 2)]), 1, "linear 1.0 → 0.0 (in samples)"),
    ],
)
def test_formulas_say_what_is_in_force(schedule, t, words):
    assert formula(schedule, t) == words


def test_a_new_node_needs_no_other_file():
    @node
    class Halved(Schedule):
        child: Schedule = schedule()

        def _bound(self):
            return self.child._bound()

        @property
        def length(self):
            return self.child.length

        def _scalar(self):
            value = self.child._scalar()
            return lambda t: value(t) / 2

        def _array(self, t, ns):
            return self.child._array(t, ns) / 2

    try:
        s = Halved(cosine(1, total=10))
        facts = describe(s)
        assert (facts.peak, facts.segments[0].formula) == (0.5, "halved")
        assert list(breakpoints(s, 20)) == [10]
        assert check(s, 10) == []
        assert isinstance(s.outline(), Iterator)
    finally:
        del NODES["Halved"]


def test_the_outline_of_a_product_goes_on_where_one_factor_was_turned_round():
    turned = laju.parse(
        "Table((0.0, 0.0, -6.9, 9.2, 9.0, 10.0, 0.0), interpolation='linear').reverse().reverse().repeat(growth=2.0)"
    )
    product = laju.Ramp(0.0, 1.0, 5) * turned
    for begin in range(0, 30, 5):
        parts = list(product.outline(begin, 40))
        assert parts[0].begin <= begin < parts[0].end
        assert parts[-1].end >= 40
        for part in parts:
            t = max(part.begin, begin)
            assert part.at(t) == pytest.approx(product(t), abs=1e-12)
