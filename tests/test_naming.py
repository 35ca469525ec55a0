"""A schedule of pieces is named by the policy that makes it, and by nothing else."""

import pytest
from hypothesis import given, settings

import laju
from laju import Constant, Ramp, Table, from_json, parse
from laju.dialects import convert
from laju.recognition.naming import named
from tests.strategies import schedules

WRITTEN = [
    "cosine(0.3, total=20, final=0.01, warmup=5)",
    "cosine(0.3, total=20, warmup=5, first=True)",
    "wsd(0.1, total=100, cooldown=20, warmup=5)",
    "one_cycle(1, total=30, warmup=10, start=0.04, final=4e-06)",
    "factor(0.1, 0.5, every=10)",
    "cosine_restarts(0.1, every=10, warmup=2, growth=2.0)",
    "poly(1, total=30, power=2)",
    "inverse_sqrt(0.1, warmup=10)",
    "square_root(0.1)",
    "piecewise_constant([3, 5], [1, 0.5, 0.1])",
]


def pieces(schedule: laju.Schedule) -> laju.Schedule:
    """The schedule without the words that it was written in."""
    return from_json({"laju": 1, "schedule": schedule.tree()})


@pytest.mark.parametrize("text", WRITTEN)
def test_pieces_get_the_name_of_the_policy_that_makes_them(text):
    bare = pieces(parse(text))
    assert str(bare) != text
    assert str(named(bare)) == str(parse(text))


def test_operators_and_methods_of_pieces_are_printed_on_calls():
    bare = (Ramp(1, 0, 4) * 0.5).minimum(Table([0.3, 0.2])) >> 0.1
    assert str(named(bare)) == "Minimum((linear(1, 0.0, total=4) * constant(0.5), Table((0.3, 0.2)))) >> constant(0.1)"
    written = parse("poly(1, total=30, power=1)")
    assert named(written) is written


@settings(max_examples=200)
@given(schedules)
def test_a_name_changes_nothing_but_the_print(schedule):
    again = named(schedule)
    assert again == schedule
    assert again.fingerprint == schedule.fingerprint
    assert parse(str(again)) == schedule


def test_a_conversion_writes_the_name():
    conversion = convert(Ramp(0, 0.3, 5) >> Ramp(0.3, 0, 15, "cosine"), "laju", "laju", updates=20)
    assert conversion.spec == "cosine(0.3, total=20, warmup=5)"
    assert "laju.parse('cosine(0.3, total=20, warmup=5)')" in conversion.code.replace('"', "'")
    assert convert(Constant(0.1), "laju", "laju", updates=9).spec == "constant(0.1)"
