import pytest

from laju import constant, cosine, linear
from laju.inspect import Jump
from laju.inspect.horizon import cooldown, extend, hold
from tests.conftest import scenarios

EXPECTED = {s["id"]: s["expected"] for s in scenarios()}
needs_scenarios = pytest.mark.skipif(
    not EXPECTED, reason="set LAJU_SHARED to the folder with conformance/scenarios.json"
)


@needs_scenarios
def test_h02_a_value_continuous_extension_jumps_nowhere():
    change = extend(linear(1, 0, total=10), total=20, at=5)
    assert [change.schedule(t) for t in range(5, 11)] == pytest.approx(EXPECTED["H02"], rel=1e-14)
    assert change.jumps == ()
    assert change.schedule.length == 20


@needs_scenarios
def test_h03_a_phase_continuous_extension_reports_its_jump():
    change = extend(linear(1, 0, total=10), total=20, keep="phase", at=5)
    assert [change.schedule(t) for t in range(5, 11)] == pytest.approx(EXPECTED["H03"], rel=1e-14)
    (jump,) = change.jumps
    assert (jump.at, jump.by) == (5, pytest.approx(0.25))
    assert "+0.25 at update 5" in str(change)


@needs_scenarios
def test_h04_cooldowns_branch_from_one_run_and_leave_each_other_alone():
    stable = linear(0, 1, total=2) >> constant(1)
    first = cooldown(stable, at=5, length=3).schedule
    before = first.values(10).tolist()
    second = cooldown(stable, at=7, length=3).schedule
    assert before == pytest.approx(EXPECTED["H04"], rel=1e-14)
    assert first.values(10).tolist() == before
    assert second.values(8).tolist() == pytest.approx([0, 0.5, 1, 1, 1, 1, 1, 1])


def test_what_was_run_stays_as_it_was():
    s = cosine(0.3, total=100, warmup=10)
    for change in (
        extend(s, 200, at=40), extend(s, 200, keep="phase", at=40), cooldown(s, 40, 20), hold(s, 40), extend(s, 60, at=40)
    ):  # fmt: skip
        assert change.schedule.values(40).tolist() == s.values(40).tolist()


def test_an_extension_before_the_run_is_a_stretch():
    assert extend(linear(1, 0, total=10), total=20).schedule == linear(1, 0, total=20)


def test_a_run_that_is_over_goes_on_at_its_last_value():
    change = extend(linear(1, 0.1, total=10), total=20, at=12)
    assert change.schedule(19) == 0.1
    assert change.jumps == ()


def test_a_shorter_run_still_arrives_at_the_end():
    change = extend(cosine(1, total=100), total=60, at=20)
    assert change.schedule(60) == 0
    assert change.jumps == ()


def test_a_hold_jumps_nowhere_and_a_cooldown_begins_where_the_run_is():
    assert hold(cosine(1, total=100), 30).jumps == ()
    assert cooldown(cosine(1, total=100), 30, 10, shape="sqrt").jumps == ()
    assert cooldown(linear(1, 0.5, total=10), 20, 5).schedule(20) == 0.5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: extend(constant(1), 20), "must have an end"),
        (lambda: extend(linear(1, 0, 10), 5, at=5), "above the 5 updates made already, got 5"),
        (lambda: extend(linear(1, 0, 10), 20, keep="both"), "'value' or 'phase'"),
        (lambda: extend(linear(1, 0, 10), 0), "total must be a whole number of at least 1"),
        (lambda: cooldown(linear(1, 0, 10), -1, 5), "at must be"),
        (lambda: cooldown(linear(1, 0, 10), 1, 0), "length must be"),
        (lambda: cooldown(linear(1, 0, "10%"), 1, 5), "RunPlan"),
        (lambda: hold("linear", 3), "laju schedule"),
    ],
)
def test_what_cannot_be_done_is_refused(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_jumps_compare_by_value():
    assert Jump(3, 1.0, 0.5).by == -0.5
