"""Work is bounded by the size of what is read, and everything that cannot be read is one class of error."""

from __future__ import annotations

import contextlib
import json
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju import Ramp, SpecError, constant, cosine, linear, parse
from laju.core import limits
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


@pytest.mark.slow
@pytest.mark.timeout(3000)
@settings(max_examples=12_500)
@given(schedules, st.randoms(use_true_random=False))
def test_fifty_thousand_mutated_texts_and_json(schedule: laju.Schedule, random_: random.Random) -> None:
    attack(str(schedule), schedule, random_)
    text = random_.choice(TEXTS)
    attack(text, parse(text), random_)
