"""A schedule prints as it was written, everywhere, and nothing else of it depends on how it was written."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import laju
from laju import RunPlan, constant, cosine, linear, parse, wsd
from laju.core import limits
from tests.strategies import schedules

TEXTS = [
    "cosine(0.3, total=1000, warmup=50)",
    "cosine(peak=0.3, total='100%', warmup='5 epochs')",
    "linear(1, 0, total=4) * 0.5 >> constant(0.01)",
    "0.5 * linear(1, 0, total=4)",
    "(cosine(1, total=5) >> 0.1) * 2",
    "cosine(1, total=5) + linear(1, 0, total=5) * 2",
    "cosine(1, total=5).per('epoch')",
    "cosine(1, total=5).repeat(3, growth=2, decay=0.5)",
    "cosine(1, total=5).clip(0.1, relative=True)",
    "cosine(1, total=5).minimum(0.7).maximum(linear(0, 1, total=3))",
    "cosine(1, total=50).warmup(5, how='overlay', first=True)",
    "cosine(1, total=50).warmup(5, start=0.1).stretch(2).take(30)",
    "cosine(1, total=50).overlay(0.1)",
    "warmup(0.3, 5)",
    "multi_factor(0.5, [15, 30], 0.5)",
    "multi_factor(0.5, ['2 epochs', '4 epochs'], factor=0.5)",
    "knots([[0, 0.0], [20, 1.0]], shape='cosine')",
    "wsd(0.1, total=100, cooldown='20%', shape='1-sqrt')",
    "swa(cosine(1, total=50), final=0.1, at=40)",
    "splice(cosine(1, total=50), 0.1, 20)",
    "Ramp(0.0, 1.0, 5) >> cosine(1, total=10)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_was_written_is_what_prints(text: str) -> None:
    schedule = parse(text)
    assert str(schedule) == repr(schedule) == text
    assert parse(str(schedule)) == schedule
    for other in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule), copy.copy(schedule)):
        assert (other, str(other)) == (schedule, text)
    data = json.loads(json.dumps(schedule.to_json()))
    assert str(laju.from_json(data)) == text
    del data["written"]
    assert laju.from_json(data) == schedule


def test_a_call_in_python_prints_as_the_call_with_its_defaults_left_out() -> None:
    assert str(cosine(0.3, total=1000, warmup=50)) == "cosine(0.3, total=1000, warmup=50)"
    assert str(cosine(0.3, 20) * 0.5 >> constant(0.01)) == "cosine(0.3, 20) * 0.5 >> constant(0.01)"
    assert str(cosine(1, 5).repeat(growth=1.0, decay=0.5)) == "cosine(1, 5).repeat(decay=0.5)"


def test_words_are_no_part_of_equality_hash_or_fingerprint() -> None:
    a, b = wsd(0.1, total=10, cooldown=4), constant(0.1).take(6) >> linear(0.1, 0, total=4)
    c = laju.Constant(0.1, 6) >> laju.Ramp(0.1, 0, 4)
    assert a == c
    assert hash(a) == hash(c)
    assert a.fingerprint == c.fingerprint
    assert str(c) == "Constant(0.1, 6) >> Ramp(0.1, 0.0, 4)"  # where nothing but pieces was written, the pieces
    assert str(b) == "constant(0.1).take(6) >> linear(0.1, 0, total=4)"


def test_a_resolved_call_has_its_lengths_in_updates() -> None:
    plan = RunPlan(samples=1000, batch_size=10, epochs=20)
    resolved = cosine(0.3, total="100%", warmup="5 epochs").resolve(plan)
    assert str(resolved) == "cosine(0.3, total=2000, warmup=500)"
    assert resolved == cosine(0.3, total=2000, warmup=500)
    steps = laju.multi_factor(0.5, ["2 epochs", "10%"][:1], 0.1) * 2
    assert str(steps.resolve(plan)) == "multi_factor(0.5, [200], 0.1) * 2"


@given(st.integers(1, 400), st.integers(1, 90), st.integers(1, 9), st.integers(1, 40))
def test_a_call_is_printed_only_where_it_makes_this_very_schedule(
    samples: int, percent: int, warm: int, epochs: int
) -> None:
    plan = RunPlan(samples=samples, batch_size=7, epochs=epochs)
    one = cosine(0.3, total="50%", warmup=f"{warm}%") >> linear(0.1, 0.0, total=f"{percent / 3:.3f}%")
    try:
        resolved = one.resolve(plan)
    except ValueError:
        return
    assert parse(str(resolved)) == resolved


@given(schedules, schedules)
def test_text_reads_back_whatever_was_combined(a: laju.Schedule, b: laju.Schedule) -> None:
    written = cosine(0.3, total=20, warmup=5) * 0.5
    for schedule in (a, written >> a, written * a + b, (written + a).maximum(b), written.take(5) >> b):
        assert parse(str(schedule)) == schedule


def test_a_loop_that_joins_for_ever_prints_in_bounded_time() -> None:
    schedule = cosine(1, total=5)
    for _ in range(3000):
        schedule = schedule.warmup(1)
    assert len(str(schedule)) < 100 * 3000
    assert parse(str(schedule)) == schedule
    deep = linear(1, 0, total=10)
    for _ in range(limits.DEPTH - 2):
        deep = deep.shift(1)
    assert len(str(deep)) < 20 * limits.DEPTH
    with pytest.raises(ValueError, match="at most 100 deep"):
        deep.shift(1).shift(1).shift(1)


def test_json_whose_words_say_something_else_means_its_tree() -> None:
    data = cosine(1, total=5).to_json() | {"written": "linear(1, 0, total=5)"}
    assert str(laju.from_json(data)) == "Ramp(1.0, 0.0, 5, 'cosine')"
    data["written"] = "of_a_later_release(1)"
    assert laju.from_json(data) == cosine(1, total=5)


def test_a_policy_and_a_node_of_ones_own_are_one_registration_each() -> None:
    from laju.core.node import FUNCTIONS, METHODS, NODES, node, real
    from laju.core.node import schedule as a_schedule
    from laju.core.policy import policy

    @policy
    def halved_for_a_test(peak: float, total: int) -> laju.Schedule:
        return linear(peak, peak / 2, total)

    @node
    class TimesForATest(laju.Schedule):
        """A schedule times a number."""

        child: laju.Schedule = a_schedule()
        by: float = real(above=0)
        _method = "times_for_a_test"

        @property
        def length(self):  # type: ignore[no-untyped-def]
            return self.child.length

        def _bound(self):  # type: ignore[no-untyped-def]
            return None

        def _scalar(self):  # type: ignore[no-untyped-def]
            child = self.child._scalar()
            return lambda t: child(t) * self.by

        def _array(self, t, ns):  # type: ignore[no-untyped-def]
            return self.child._array(t, ns) * self.by

    try:
        text = "halved_for_a_test(1, total=4).times_for_a_test(3.0)"
        schedule = parse(text)
        assert str(schedule) == text
        assert schedule.values(3).tolist() == [3.0, 2.625, 2.25]
        assert laju.from_json(schedule.to_json()) == schedule
        with pytest.raises(ValueError, match="by must be a finite number above 0, got -1"):
            parse("constant(1).times_for_a_test(-1)")
    finally:
        del FUNCTIONS["halved_for_a_test"], NODES["TimesForATest"], METHODS["times_for_a_test"]
        del laju.Schedule.times_for_a_test  # type: ignore[attr-defined]
