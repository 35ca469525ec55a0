"""The differ's numbers are those of NumPy over all the values, and its picture shows both schedules."""

import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import laju
from laju import Function, RunPlan, Table, constant, cosine, linear
from laju.inspect import difference
from laju.inspect.difference import diff
from laju.view.difference import picture
from tests.strategies import schedules

runs = st.integers(1, 150)


@given(schedules, runs)
def test_a_schedule_is_equal_to_itself(a, n):
    found = diff(a, a, n)
    assert found.equal
    assert (found.largest, found.relative, found.area, found.relative_area) == (0, 0, 0, 0)
    assert str(found) == f"equal over {n} update{'s' if n > 1 else ''}"


@given(schedules, schedules, runs)
def test_the_numbers_are_those_of_all_the_values(a, b, n):
    found, x, y = diff(a, b, n, tolerance=0), a.values(n), b.values(n)
    apart = np.abs(x - y)
    assert found.equal == (x == y).all()
    if not found.equal:
        assert found.first == np.flatnonzero(x != y)[0]
        assert found.first_values == (x[found.first], y[found.first])
        matters = np.flatnonzero(np.abs(x - y) > 1e-3 * max(np.abs(x).max(), np.abs(y).max()))
        assert found.matters == (matters[0] if matters.size else None)
    assert (found.largest, found.largest_at) == (apart.max(), apart.argmax())
    assert found.area == pytest.approx(math.fsum(apart), rel=1e-12)
    assert found.relative_area <= 2 + 1e-12
    sizes = np.maximum(np.abs(x), np.abs(y))
    ratio = np.divide(apart, sizes, out=np.zeros(n), where=sizes > 0)
    assert found.relative == pytest.approx(ratio.max(), rel=1e-12)
    json.dumps(found.to_json(), allow_nan=False)


@given(schedules, schedules, runs)
def test_the_order_does_not_matter(a, b, n):
    one, other = diff(a, b, n), diff(b, a, n)
    assert (one.first, one.largest, one.largest_at, one.relative, one.area, one.relative_area) == (
        other.first,
        other.largest,
        other.largest_at,
        other.relative,
        other.area,
        other.relative_area,
    )


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_rounding_is_no_difference_unless_it_is_asked_for(size):
    a, b = constant(size), constant(math.nextafter(size, 0))
    assert diff(a, b, 5).equal
    assert diff(a, b, 5, tolerance=0).first == 0
    assert not diff(a, constant(size * (1 + 1e-11)), 5).equal
    assert diff(a, constant(size * 1.01), 5, tolerance=0.02).equal


def test_zero_is_different_from_any_other_value():
    found = diff(constant(0), constant(5e-324), 3)
    assert (found.first, found.relative) == (0, 1)


def test_the_run_is_the_longer_schedules_unless_it_is_said():
    assert diff(linear(1, 0, 5), linear(1, 0, 9)).updates == 9
    assert diff(linear(1, 0, 5), constant(1)).updates == 5
    assert diff(constant(2), constant(1), 3).updates == 3
    plan = RunPlan(samples=60, batch_size=10, epochs=4)
    found = diff(cosine(1, total="100%"), cosine(1, total=24), plan=plan)
    assert (found.updates, found.equal) == (24, True)


def test_a_long_run_is_compared_in_blocks():
    n = 3_000_000
    a = linear(1, 0, total=n)
    b = a >> 0.0
    spike = laju.splice(a, constant(0.5), n - 7)
    tracemalloc.start()
    assert diff(a, b, n + 5).equal
    found = diff(a, spike, n)
    assert (found.first, found.largest_at) == (n - 7, n - 1)
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()


def test_values_that_are_no_finite_numbers_are_different_from_all_that_are():
    nan, inf = Function(lambda t: math.nan if t == 2 else 1.0), Function(lambda t: math.inf if t > 308 else 1.0)
    found = diff(nan, constant(1), 5)
    assert (found.first, found.largest, found.relative) == (2, math.inf, 2)
    assert diff(nan, nan, 5).equal
    assert diff(inf, inf, 1000).equal
    found = diff(inf, constant(1), 1000)
    assert (found.first, found.largest) == (309, math.inf)


def test_the_text_tells_the_two_values_apart():
    found = diff(constant(0.1), Table([0.1, 0.1, 0.1 + 1e-9]), 4)
    assert str(found).splitlines()[:2] == [
        "different from update 2 on, by at most 1e-06% of the peak (0.1), over 4 updates",
        "  first     0.1 and 0.100000001 at update 2",
    ]


def test_the_first_difference_that_matters_is_told_before_smaller_ones():
    found = diff(Table([0.1, 0.1 - 1e-9, 0.1, 0.05, 0.02]), constant(0.1), 5)
    assert (found.first, found.matters, found.matters_values, found.peak) == (1, 3, (0.05, 0.1), 0.1)
    assert str(found).splitlines()[:3] == [
        "different from update 3 on, by more than 0.1% of the peak (0.1), over 5 updates",
        "  first     0.05 and 0.1 at update 3",
        "  smaller   0.099999999 and 0.1 at update 1",
    ]


def test_a_framework_s_scheduler_is_compared_and_stays_as_it_is():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    before = scheduler.state_dict()
    found = diff(scheduler, cosine(1, total=4), updates=9)
    assert (found.updates, found.first) == (9, 5)  # torch's cosine climbs again
    assert diff(cosine(1, total=4), scheduler).updates == 4
    assert diff(scheduler, cosine(1, total=4)).equal
    assert diff(scheduler, scheduler, 20).equal
    assert (scheduler.state_dict(), optimizer.param_groups[0]["lr"]) == (before, 1.0)
    assert diff(lambda t: 0.5**t, [1, 0.5, 0.25]).equal
    with pytest.raises(ValueError, match="a is a scheduler, which has no end, so say how many updates to compare"):
        diff(scheduler, constant(1))
    with pytest.raises(ValueError, match=r"b: the scheduler raised at update 3 .*gives at most updates=3"):
        diff(constant(1), [1.0, 0.5, 0.25].__getitem__, 5)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for wrong in (plateau, "cosine(1, total=4)", object(), type(scheduler)):
        with pytest.raises(TypeError, match=r"b must be a laju schedule, rates of updates .*, or a scheduler: "):
            diff(constant(1), wrong, 5)


def test_wrong_questions_are_refused():
    with pytest.raises(TypeError, match="b must be a laju schedule"):
        diff(constant(1), 1)
    with pytest.raises(ValueError, match="a and b have no end"):
        diff(constant(1), constant(2))
    with pytest.raises(laju.UnresolvedError):
        diff(constant(1), linear(1, 0, "5 epochs"), 10)
    with pytest.raises(ValueError, match="tolerance"):
        diff(constant(1), constant(2), 10, tolerance=-1)
    with pytest.raises(ValueError, match="updates"):
        diff(constant(1), constant(2), 0)


def test_the_picture_has_both_curves_and_below_them_the_difference():
    a, b = cosine(1, total=9), linear(1, 0, total=9)
    drawn = picture(a, b, 9, ("cosine", "$x_1$"))
    above, below = drawn.figure.axes
    assert [line.get_ydata()[:-1].tolist() for line in above.lines] == [a.values(9).tolist(), b.values(9).tolist()]
    assert below.lines[0].get_ydata()[:-1].tolist() == (b.values(9) - a.values(9)).tolist()
    assert (below.get_xlabel(), below.get_ylabel()) == ("update", "$x_1$ - cosine")
    assert drawn._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("cosine(1, total=100000)", "linear(1, 0, total=100000)"),
        ("cosine(1, total=100000, warmup=1000)", "cosine(1, total=100000, warmup=2000)"),
        ("constant(0.1)", "constant(0.1).take(54321) >> 0.01"),
        ("linear(1, 0, total=100000)", "linear(1, 0, total=100000).maximum(0.25)"),
        ("cosine(0.3, total=1000).repeat()", "cosine(0.3, total=1000).repeat(decay=0.999)"),
    ],
)
def test_a_long_run_is_compared_by_parts_as_by_updates(a, b, monkeypatch):
    a, b = laju.parse(a), laju.parse(b)
    every = diff(a, b, 100_000)
    monkeypatch.setattr(difference, "EACH", 0)
    monkeypatch.setattr("laju.core.measure.EACH", 0)
    parts = diff(a, b, 100_000)
    assert (parts.first, parts.first_values) == (every.first, every.first_values)
    assert parts.largest == pytest.approx(every.largest, rel=1e-9)
    assert parts.relative == pytest.approx(every.relative, rel=1e-3)
    assert parts.area == pytest.approx(every.area, rel=1e-6)
    assert parts.relative_area == pytest.approx(every.relative_area, rel=1e-6)


def test_two_schedules_of_ten_thousand_million_updates_are_compared_at_once():
    a = laju.cosine(0.3, total=10**10)
    assert diff(a, laju.cosine(0.3, total=10**10)).equal
    found = diff(a, a.take(7 * 10**9) >> 0.0)
    assert found.first == found.largest_at == 7 * 10**9


def test_rates_are_compared_as_a_schedule_is() -> None:
    schedule = laju.cosine(0.1, total=50)
    assert laju.diff(schedule, schedule.values(50), 50).equal
    assert laju.diff(schedule.values(50), schedule.values(50).tolist()).equal
    assert laju.diff(schedule, 2 * schedule.values(50), 50).first == 0
    with pytest.raises(TypeError, match=r"b must be a laju schedule, rates .* or a scheduler"):
        laju.diff(schedule, object())
