"""laju's Keras schedules beside Keras' own, in float32, over the whole horizon and past it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
keras = pytest.importorskip("keras")

import laju  # noqa: E402
from laju.core.schedule import Schedule  # noqa: E402
from laju.dialects import DialectError, NotASchedule, read, system  # noqa: E402
from laju.dialects import keras as dialect  # noqa: E402
from tests.dialects.drawn import calls, same_or_refused  # noqa: E402

N = 100
few = settings(max_examples=25, deadline=None, derandomize=True)
values = st.sampled_from([0.001, 0.1, 1.0])
steps = st.sampled_from([-1, 0, 1, 7, 30, 60])
rates = st.sampled_from([0.0, 0.1, 0.5, 0.96, 1.0, 1.1])
decay = {"initial_learning_rate": values, "decay_steps": steps, "decay_rate": rates, "staircase": st.booleans()}
CALLS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ExponentialDecay": st.fixed_dictionaries(decay),
    "PiecewiseConstantDecay": st.lists(st.integers(0, 60), unique=True, max_size=4).map(sorted).flatmap(
        lambda b: st.fixed_dictionaries(
            {"boundaries": st.just(b), "values": st.lists(values, min_size=len(b), max_size=len(b) + 1)}
        )
    ),
    "PolynomialDecay": st.fixed_dictionaries(
        {"initial_learning_rate": values, "decay_steps": steps, "end_learning_rate": st.sampled_from([0.0, 1e-4, 0.5]),
         "power": st.sampled_from([0.0, 0.5, 1.0, 2.0]), "cycle": st.booleans()}
    ),
    "InverseTimeDecay": st.fixed_dictionaries(decay),
    "CosineDecay": st.fixed_dictionaries(
        {"initial_learning_rate": values, "decay_steps": steps, "alpha": st.sampled_from([0.0, 0.1, 1.0]),
         "warmup_target": st.none() | values, "warmup_steps": st.integers(0, 20) | st.sampled_from([2.5, 0.5, 7.3])}
    ),
    "CosineDecayRestarts": st.fixed_dictionaries(
        {"initial_learning_rate": values, "first_decay_steps": st.sampled_from([-1, 0, 3, 7, 20]),
         "t_mul": st.sampled_from([1.0, 2.0, 1.5, 1.2]), "m_mul": st.sampled_from([1.0, 0.5]),
         "alpha": st.sampled_from([0.0, 0.1])}
    ),
}  # fmt: skip


def theirs(schedule: Any, n: int = N) -> np.ndarray:
    return np.array([float(keras.ops.convert_to_numpy(schedule(t))) for t in range(n)], np.float32)


def fails(call: Any) -> bool:
    try:
        call()
    except (ValueError, TypeError, ZeroDivisionError, IndexError):
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_the_real_schedule(name: str, parity: Any) -> None:
    @few
    @given(CALLS[name])
    def check(arguments: dict[str, Any]) -> None:
        def make(**more: Any) -> Schedule:
            return getattr(dialect, name)(**arguments, **more)

        real_kind = getattr(keras.optimizers.schedules, name)
        if fails(lambda: theirs(real_kind(**arguments))):
            with pytest.raises(DialectError):
                make()
            return
        real = theirs(real_kind(**arguments))
        if arguments.get("cycle"):
            ours = make()
            with pytest.raises(DialectError, match="give the number of updates"):
                ours.normal
        else:
            ours = make()
            assert laju.parse(str(ours)) == ours.normal
        mine = ours.values(N)
        if arguments.get("staircase") or name == "CosineDecayRestarts":
            # A division or a logarithm in float32 may fall short of a stair or a restart, for one update.
            late = ~np.isclose(real, mine, rtol=1e-4, atol=1e-6)
            assert late.sum() <= 5
            assert not (late[1:] & late[:-1]).any()
            mine = np.where(late, real, mine)
        # A rate far below those that its formula subtracts from one another has lost digits in float32.
        peak = max(float(np.abs(real).max()), abs(arguments.get("end_learning_rate", 0))) or 1.0
        parity(
            "keras",
            name,
            keras.__version__,
            real,
            mine,
            dtype=np.float32,
            of=peak,
            most=512 if name in ("ExponentialDecay", "CosineDecayRestarts") else 16,
        )

    check()


def test_text_and_what_is_refused() -> None:
    text = "keras.optimizers.schedules.CosineDecay(0.0, 90, warmup_target=1e-3, warmup_steps=10)"
    assert read("keras", text)(10) == 1e-3
    assert read("tf", "ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5, staircase=True)")(19) == 0.05
    assert set(CALLS) == set(system("keras").schedulers)
    with pytest.raises(NotASchedule, match="follows a metric"):
        read("keras", "ReduceLROnPlateau()")
    with pytest.raises(DialectError, match=r"must be a float, such as 0\.0, got 0: with an int, Keras"):
        dialect.CosineDecay(0, 90, warmup_target=1e-3, warmup_steps=10)
    with pytest.raises(DialectError, match="boundaries must have at least one update and must not decrease"):
        dialect.PiecewiseConstantDecay([5, 3], [1, 2, 3])


def decided_by_float32(name: str, kwargs: dict[str, Any], n: int) -> np.ndarray:
    """Where Keras' power overflows, or a stair or restart, whose place Keras rounds, falls on an update: either side is right."""
    first = abs(kwargs.get("decay_steps") or kwargs.get("first_decay_steps") or 1)
    cycles = np.arange(n) / first
    overflows = np.zeros(n, bool)
    if name == "ExponentialDecay" and kwargs["decay_rate"] > 1:
        overflows = cycles * np.log(kwargs["decay_rate"]) > np.log(float(np.finfo(np.float32).max))
    stepped = kwargs.get("staircase") or name == "CosineDecayRestarts"
    growth = kwargs.get("t_mul", 2.0 if name == "CosineDecayRestarts" else 1.0)
    if not stepped or (growth == 1 and float(np.float32(first)) == first):
        return overflows
    if growth > 1:
        cycles = np.log1p(cycles * (growth - 1)) / np.log(growth)
    return overflows | (np.abs(cycles - np.round(cycles)) < 1e-5 * np.maximum(cycles, 1))


@pytest.mark.parametrize("name", dialect.SYSTEM.schedulers)
def test_whatever_the_arguments_values_are_keras(name: str) -> None:
    n = 40

    @settings(few, max_examples=40)
    @given(kwargs=calls(getattr(dialect, name)))
    def check(kwargs: dict[str, Any]) -> None:
        if name == "PiecewiseConstantDecay":  # the backends differ on floats beside ints
            kwargs["values"] = [float(value) for value in (kwargs["values"] * 5 + [0.1] * 5)][
                : len(kwargs["boundaries"]) + 1
            ]
        either = decided_by_float32(name, kwargs, n)
        same_or_refused(
            lambda: np.where(either, 0.0, getattr(dialect, name)(**kwargs).values(n)),
            lambda: np.where(either, 0.0, theirs(getattr(keras.optimizers.schedules, name)(**kwargs), n)),
            most=2e-5,
            of=abs(kwargs.get("initial_learning_rate", 0)),
        )

    check()
