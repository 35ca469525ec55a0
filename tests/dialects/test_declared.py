"""A scheduler of another system is a value: equal calls are equal, behave alike, and stay so through pickles and copies."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import laju
from laju.dialects import SYSTEMS, DialectError, convert, read, system
from laju.dialects import keras as keras
from laju.dialects import torch as torch
from laju.dialects.declared import SystemSchedule
from tests.dialects.drawn import calls


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "composer"])
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(data=st.data())
def test_equal_calls_are_equal_and_behave_alike(name: str, data: st.DataObject) -> None:
    function = data.draw(st.sampled_from(list(system(name).schedulers.values())))
    try:
        schedule = function(**data.draw(calls(function)))
        values = schedule.values(20)
    except (ValueError, TypeError):
        return
    assert isinstance(schedule, SystemSchedule)
    for again in (pickle.loads(pickle.dumps(schedule)), copy.copy(schedule), copy.deepcopy(schedule)):
        assert again == schedule
        assert hash(again) == hash(schedule)
        assert repr(again) == repr(schedule)
        np.testing.assert_array_equal(again.values(20), values)


def test_a_scheduler_and_the_schedule_with_its_values_are_two_values() -> None:
    decay = torch.ExponentialLR(0.1, 0.9)
    assert decay == torch.ExponentialLR(lr=0.1, gamma=0.9)
    assert decay != torch.StepLR(0.1, 1, 0.9)
    assert decay.schedule == torch.StepLR(0.1, 1, 0.9).schedule == laju.parse(str(decay))
    assert decay != decay.schedule
    assert laju.from_json(decay.to_json()) == decay.schedule
    assert decay.fingerprint == decay.schedule.fingerprint
    with pytest.raises(AttributeError, match="immutable"):
        decay.rule = None


def test_copies_compose_as_their_originals_do() -> None:
    decay = torch.ExponentialLR(0.1, 0.9)
    kept = pickle.loads(pickle.dumps(decay))
    assert torch.SequentialLR(0.1, [kept, kept], [5]) == torch.SequentialLR(0.1, [decay, decay], [5])
    with pytest.raises(DialectError, match="not a schedule returned by a function of"):
        torch.SequentialLR(0.1, [decay, decay.schedule], [5])


def test_it_is_taken_wherever_a_schedule_is() -> None:
    decay = torch.StepLR(0.1, 3, 0.5)
    assert (decay.take(6) >> 0.01).values(8).tolist() == (decay.schedule.take(6) >> 0.01).values(8).tolist()
    for ours, plain in (
        (2 * decay, 2 * decay.schedule),
        (decay + 1, decay.schedule + 1),
        (decay.clip(0.05), decay.schedule.clip(0.05)),
    ):
        assert ours == plain
    assert laju.Product((decay, decay)) == laju.Product((decay.schedule, decay.schedule))
    assert [decay(t) for t in range(8)] == decay.values(8).tolist() == decay(np.arange(8)).tolist()


CHAINED = "ChainedScheduler([CosineAnnealingLR(optimizer, 10), StepLR(optimizer, 4)])"


def test_without_a_formula_the_values_are_computed_as_far_as_they_are_asked_for() -> None:
    chained = torch.ChainedScheduler([torch.CosineAnnealingLR(0.1, 10), torch.StepLR(0.1, 4)])
    values = chained.values(30)
    assert [chained(t) for t in (29, 3, 0)] == [values[29], values[3], values[0]]
    assert chained.over(30) == laju.Table(tuple(values.tolist())) == read("torch", CHAINED, lr=0.1, updates=30)
    for asked in (
        lambda: chained.schedule,
        lambda: chained >> 0.1,
        lambda: chained.to_json(),
        lambda: read("torch", CHAINED, lr=0.1),
    ):
        with pytest.raises(DialectError, match="give the number of updates of the run"):
            asked()
    found = convert(CHAINED, "torch", "laju", lr=0.1, updates=30)
    assert found.schedule.values(30).tolist() == values.tolist()
    cycle = keras.PolynomialDecay(1.0, 2, 0.0, cycle=True)
    assert cycle.values(5).tolist() == [1.0, 0.5, 0.0, 0.25, 0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: torch.StepLR(0.1, 0), "step_size must not be 0: torch divides by it"),
        (
            lambda: torch.LinearLR(0.1, start_factor=1.5),
            "start_factor must be .* of at most 1, got 1.5: torch requires it",
        ),
        (lambda: torch.StepLR(0.1, 30, last_epoch=4), "last_epoch must be -1, got 4: a schedule begins at 0"),
        (lambda: torch.CyclicLR(0.1, 1.0, mode="triangle"), "mode must be one of triangular, .*did you mean"),
        (lambda: torch.MultiStepLR(0.1, [3, "x"]), r"milestones\[1\] must be a finite number, got 'x'"),
    ],
)
def test_a_declared_argument_says_its_name_value_and_reason(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_the_default_of_another_system_may_be_spelled_out() -> None:
    text = "StepLR(optimizer, step_size=30, gamma=0.1, last_epoch=-1, verbose=False)"
    assert read("torch", text, lr=0.1) == read("torch", "StepLR(optimizer, 30, 0.1, -1)", lr=0.1)
    assert torch.StepLR(0.1, 30, last_epoch=-1) == torch.StepLR(0.1, 30)
