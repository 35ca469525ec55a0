"""Work is bounded by the size of what is read, and everything that cannot be read is one class of error."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju import Ramp, SpecError, constant, cosine, linear, parse
from laju.core import limits
from laju.dialects import convert
from tests.strategies import schedules

# Inputs that once did not end, or raised something else; each is refused or read at once.
BOMBS = [
    "linear(1,0,total=10)" + ".shift(1)" * 26,
    "linear(1,0,total=10)" + ".shift(1)" * 900,
    "(" * 300 + "1" + ")" * 300,
    "-" * 3000 + "1",
    "cosine(1, total=" + "9" * 5000 + ")",
    "cosine(1, total=" + "*".join(["1000000007"] * 500) + ")",
    "stretch(0.9, 5)",
    "clip(3, high=1)",
    "Ramp(1, 2, '" + "9" * 300 + " epochs')",
    "Table([" + "1," * 30_000 + "])",
    "constant(1).repeat(1000000000, growth=2)",
    "Chain([" + "constant(1).take(1)," * 2000 + "])",
]


def outcome(text: str) -> laju.Schedule | None:
    try:
        return parse(text)
    except SpecError:
        return None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", BOMBS, ids=range(len(BOMBS)))
def test_a_text_is_a_schedule_or_a_spec_error_at_once(text: str) -> None:
    schedule = outcome(text)
    if schedule is not None:
        assert parse(str(schedule)) == schedule


@pytest.mark.timeout(60)
def test_work_does_not_grow_with_the_numbers_in_a_text() -> None:
    tracemalloc.start()
    assert constant(1).take(5).repeat(10**9, growth=2).length == 2**63
    slow = linear(1, 0, total=10).repeat(growth=1.0000001)
    begin = slow.cycle_begin(slow.cycle_at(10**6))
    assert slow(10**6) == pytest.approx(1 - (10**6 - begin) / 10, abs=1e-3)
    assert cosine(1, total=10**10).staircase(10**10).values(12).tolist() == [1.0] * 12
    assert linear(1, 0, total=5).staircase(10**10).values(7).tolist() == [1.0] * 7
    assert laju.cosine_restarts(0.01, 5, growth=1e9, count=10)(np.arange(9)).shape == (9,)
    assert constant(1).take(10**19).values(5, start=2**62).tolist() == [1.0] * 5
    with pytest.raises(ValueError, match="at most 2\\^63"):
        constant(1).values(5, start=2**63)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


HUGE = 10**101


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: constant(1).take(HUGE), "length"),
        (lambda: constant(1).take(1e-101), "length"),
        (lambda: constant(1).take("1" + "0" * 101 + " epochs"), "the epochs of length"),
        (lambda: constant(1).take(laju.Length((("epochs", HUGE),))), "the epochs of length"),  # type: ignore[arg-type]
        (lambda: cosine(1, total=HUGE), "total"),
        (lambda: cosine(1, total=100, warmup=HUGE), "warmup"),
        (lambda: laju.Exponential(1, 0.5, HUGE), "every"),
        (lambda: laju.Power(1, 0.5, timescale=HUGE), "timescale"),
        (lambda: laju.Table([1, 2], HUGE), "every"),
        (lambda: linear(1, 0, 5).staircase(HUGE), "every"),
        (lambda: linear(1, 0, 5).shift(-HUGE), "by"),
        (lambda: laju.Stretch(linear(1, 0, 5), 1e-101), "by"),
        (lambda: linear(1, 0, 1e60).stretch(1e60), "length"),
        (lambda: linear(1, 0, 5).repeat(HUGE), "count"),
        (lambda: linear(1, 0, 5).repeat(growth=1e101), "growth"),
        (lambda: linear(1, 0, 1e60).repeat(1e60), "the length of all cycles"),
        (lambda: linear(1, 0, "1e30 epochs").repeat(1e80), "the length of all cycles"),
        (lambda: laju.Clock(linear(1, 0, 5), [(0, 0, HUGE)]), r"pace\[0\]\[2\]"),
        (lambda: laju.RunPlan(samples=HUGE, batch_size=1, epochs=1), "samples"),
        (lambda: laju.RunPlan(samples=2**62, batch_size=1, epochs=2), "a run may have at most"),
        (lambda: laju.piecewise_constant([HUGE], [1, 0.5]), r"boundaries\[0\]"),
    ],
)
def test_lengths_and_counts_beyond_what_floats_multiply_are_refused_by_name(make, argument: str) -> None:
    with pytest.raises(ValueError, match=argument):
        make()


def test_json_with_a_number_of_any_size_is_refused_by_name() -> None:
    child = {"kind": "Ramp", "start": 1, "final": 0, "length": 10**400}
    with pytest.raises(SpecError, match="length must be 0, or from 1e-100 to 1e100 in size"):
        laju.from_json({"laju": 1, "schedule": {"kind": "Repeat", "child": child}})


@pytest.mark.parametrize(
    "text",
    [
        f"Table([1, 2], {10**30}, 'linear')",
        f"Exponential(1, 0.5, {10**30})",
        f"linear(1, 0, {10**30})",
        f"linear(1, 0, {10**30}).staircase({10**29})",
        f"linear(1, 0, {10**30}).repeat()",
        "Exponential(1, 0.5).shift(-9223372036854775807)",
        f"cosine(1, {10**31}).shift(-{10**30})",
        f"Clock(linear(1, 0, {10**30}), [(0, 0, {10**29})])",
        "Clock(Exponential(1, 0.5), [(0, 0, 64)])",
        "linear(1, 0, 5).repeat(growth=1e100)",
        "linear(1, 0, 5).repeat(growth=2, decay=1e100)",
        "(Table([1, 2], 22.5) * Table([1, 2, 3, 4], 15).shift(-15)).repeat(decay=0.5)",
        "Ramp(1, 0, 7.5).repeat(decay=0.5)",
        "Exponential(0.75, 0.75, 3.3).staircase(0.1)",
        "Table([1, 2, 3], 0.1)",
        "Ramp(1, 2, 4, 'log(1e300)')",
    ],
)
def test_numbers_and_arrays_agree_where_an_integer_ends(text: str) -> None:
    schedule = parse(text)

    def asked(ask: Callable[[Any], Any], *at: float) -> list[float | None]:
        """The values, None where the value is refused as none that a float holds."""
        found: list[float | None] = []
        for t in at:
            try:
                found.append(float(ask(t)))
            except ValueError as error:
                if "beyond what a float can hold" not in str(error):
                    raise
                found.append(None)
        return found

    def same(ask: Callable[[Any], Any], *at: float) -> None:
        for value, number in zip(asked(ask, *at), asked(schedule, *at), strict=True):
            assert value == (None if number is None else pytest.approx(number, rel=1e-12, abs=1e-12))

    small, large = (0, 1, 3, 100, 10**6, 2**31 - 1), (2**62, 2**63 - 2)
    same(lambda t: schedule(np.array([t], np.int32))[0], *small)
    same(lambda t: schedule(np.array([t]))[0], *small, *large)
    same(lambda t: schedule.values(1, start=t)[0], *small, *large)
    same(lambda t: schedule(np.array([t]))[0], 0.5, 2.0**70, 1e300)


def test_what_waits_for_a_plan_or_counts_wrongly_is_no_clock() -> None:
    with pytest.raises(ValueError, match="waits for a plan"):
        laju.Clock(constant(1).take("5 epochs"), [(0, 0, 1)])
    with pytest.raises(ValueError, match=r"pace\[1\] must have 2 samples before it"):
        laju.Clock(constant(1), [(0, 0, 1), (2, 100, 1)])


@pytest.mark.timeout(60)
def test_what_lies_between_two_updates_is_passed_over() -> None:
    short = Ramp(1, 0, 1e-5).repeat()
    assert [
        part.begin for part in itertools.islice(laju.Clock(linear(1, 0, 57).repeat(), [(0, 0, 10**30)]).outline(), 5)
    ]
    assert [part.begin for part in itertools.islice(short.staircase(10**6).outline(end=10**7), 3)] == [
        0,
        10**6,
        2 * 10**6,
    ]
    steps = Ramp(1, 0.5, 19, "square", endpoint=True).staircase(1).repeat(16, 3, 0.5, True)
    assert laju.describe(laju.Clock(steps, [(0, 0, 64)]), 50).updates == 50
    assert convert(short, "laju", "timm", updates=50).updates == 50
    far = laju.Power(1, 0.6, 3.4, 5).take(2**62).reverse()
    assert str(far.clip(0.1, 0.5, relative=True)).startswith("Maximum(")
    with pytest.raises(ValueError, match="say how many"):
        laju.describe(cosine(1, total=10**30))
    assert laju.describe(cosine(1, total=10**30), 10).updates == 10
    clock = laju.Clock(laju.Table([1, 2]).shift(10**30).repeat(growth=2), [(0, 0, 64)])
    with pytest.raises(ValueError, match="beyond what a float can hold"):
        clock(1e300)
    # A cycle that is longer than 2^63 updates and stretched, so that the end of its outline is rounded.
    long = Ramp(0, 0.03, 10**31 - 3, "cosine", endpoint=True).repeat(1, 2, 0.5, True)
    clock = laju.Clock(laju.Table([1, 2, 3]) * laju.Stretch(long, 1.5), [(0, 0, 8), (10, 80, 16), (20, 240, 32)])
    assert laju.describe(clock).final == pytest.approx(0.09)


def test_growing_cycles_begin_where_exact_fractions_say() -> None:
    from fractions import Fraction

    for growth, period in ((2, 3), (1.5, 7), (1.1, 10), (1.0001, 13)):
        repeat = linear(1, 0, total=period).repeat(growth=growth)
        exact = Fraction(0)
        for i in range(60):
            assert repeat.cycle_begin(i) == int((exact + Fraction(1, 2)) // 1)
            exact += period * Fraction(growth) ** i
        for t in (0, 1, 17, 1000, 10**6):
            i = repeat.cycle_at(t)
            assert repeat.cycle_begin(i) <= t < repeat.cycle_begin(i + 1)
    assert Ramp(1, 0, 7.5, "cosine").repeat(growth=2).cycle_begin(1) == 7.5


@pytest.mark.parametrize(
    ("text", "t"),
    [
        ("Exponential(1, 2)", 1024),
        ("cosine_restarts(1, every=10, decay=2)", 10_240),
        ("Power(1, -400)", 10),
        ("constant(1e308) + constant(1e308)", 0),
        ("constant(1e308) * constant(1e308) * 0", 0),
    ],
)
def test_a_value_that_no_float_holds_is_the_same_error_for_a_number_and_an_array(text: str, t: int) -> None:
    schedule = parse(text)
    for ask in (lambda: schedule(t), lambda: schedule(np.array([t])), lambda: schedule.values(1, start=t)):
        with pytest.raises(ValueError, match="beyond what a float can hold"):
            ask()


def test_numbers_between_updates_and_arrays_agree_where_a_warmup_has_a_fractional_length() -> None:
    for text in (
        "untuned_linear(0.3, 0.97) >> 0.1",
        "untuned_linear(1, 0.1) >> 0.25",
        "constant(0.3).warmup(5, first=True)",
    ):
        schedule = parse(text)
        at = np.array([0, 0.5, 1, 4.5, 5, 5.5, 65.9, 66, 66.5, 67])
        np.testing.assert_allclose(schedule(at), [schedule(t) for t in at.tolist()], rtol=1e-15)
    assert parse("untuned_linear(0.3, 0.97) >> 0.1")(66) == 0.3
    assert Ramp(5e-324, 1e308, 10, "exponential")(3) == pytest.approx(
        Ramp(5e-324, 1e308, 10, "exponential").values(4)[3]
    )
    assert Ramp(2, 0.01, 0.5, endpoint=True)(0) == 2


def test_lengths_of_one_unit_compare() -> None:
    product = parse("cosine(1, total='5 epochs') * linear(1, 0.5, total='5 epochs')")
    assert str(product.length) == "5 epochs"
    assert str((product >> 0.1).units) == "frozenset({'epochs'})"
    assert str(laju.cosine_restarts(1, "5 epochs", 0.01, decay=1.5, count=2).length) == "10 epochs"


@pytest.mark.parametrize(
    "data",
    [
        '{"laju": 1, "laju": 1, "schedule": {"kind": "Constant", "value": 1}}',
        {"laju": True, "schedule": {"kind": "Constant", "value": 1}},
        {"laju": 1, "schedule": {"kind": "Minimum", 0: [[]]}},
        {"laju": 1, "schedule": {"kind": "Constant", "value": 10**400}},
        {"laju": 1, "schedule": {"kind": "Table", "entries": 5}},
        {"laju": 1, "schedule": {"kind": "Take", "child": 1, "length": 2}},
    ],
)
def test_json_that_is_none_is_a_spec_error(data: object) -> None:
    with pytest.raises(SpecError):
        laju.from_json(data)  # type: ignore[arg-type]


def deep(levels: int) -> dict:
    found: dict = {"kind": "Constant", "value": 1}
    for _ in range(levels):
        found = {"kind": "Shift", "child": found, "by": 1}
    return {"laju": 1, "schedule": found}


def test_depth_is_bounded_where_schedules_are_made() -> None:
    assert str(laju.from_json(deep(limits.DEPTH - 1))).endswith(".shift(1)")
    for levels in (limits.DEPTH, 900, 5000):
        with pytest.raises(SpecError):
            laju.from_json(deep(levels))


LETTERS = "().,'\"=>*+-/[]{}: 0123456789e_inftotalcosineRampfirstTrueNone%epochs\x00é\ud800"


def mutated(text: str, random_: random.Random) -> str:
    letters = list(text)
    for _ in range(random_.randint(1, 6)):
        i = random_.randrange(len(letters) + 1)
        match random_.randrange(4):
            case 0:
                letters.insert(i, random_.choice(LETTERS))
            case 1:
                del letters[i : i + random_.randint(1, 5)]
            case 2:
                j = random_.randrange(len(letters) + 1)
                letters[i:i] = letters[min(i, j) : max(i, j)][:40]
            case 3:
                letters[i : i + 1] = random_.choice(
                    ["1e308", "-1", "0", "None", "'5 epochs'", "[]", "cosine(1,9)", "9" * 30]
                )
        if not letters:
            letters = ["1"]
    return "".join(letters)


def attack(text: str, schedule: laju.Schedule, random_: random.Random) -> None:
    """Mutations of a text and of its JSON are schedules or spec errors; a schedule can be printed, described and asked."""
    found = outcome(mutated(text, random_))
    try:
        read = laju.from_json(mutated(json.dumps(schedule.to_json()), random_))
    except SpecError:
        read = None
    for made in (found, read):
        if made is not None:
            assert parse(str(made)) == made
            assert made.fingerprint
            for ask in (lambda made=made: made(3), lambda made=made: made.values(5)):
                with contextlib.suppress(ValueError):
                    ask()


TEXTS = [
    "cosine(0.3, total=20, warmup=5).per('epoch')",
    "wsd(0.1, 100, cooldown='20%')",
    "linear(1, 0, 4).repeat(3, growth=2) >> 0.1",
]


@pytest.mark.timeout(300)
@given(schedules, st.randoms(use_true_random=False))
def test_mutated_texts_and_json(schedule: laju.Schedule, random_: random.Random) -> None:
    attack(str(schedule), schedule, random_)
    text = random_.choice(TEXTS)
    attack(text, parse(text), random_)


# The same mutations in every run; others are drawn by LAJU_FUZZ=1 pytest --hypothesis-seed=7 tests/test_limits.py -k fifty
@pytest.mark.slow
@pytest.mark.timeout(3000)
@settings(max_examples=12_500, derandomize=not os.environ.get("LAJU_FUZZ"))
@given(schedules, st.randoms(use_true_random=False))
def test_fifty_thousand_mutated_texts_and_json(schedule: laju.Schedule, random_: random.Random) -> None:
    attack(str(schedule), schedule, random_)
    text = random_.choice(TEXTS)
    attack(text, parse(text), random_)
