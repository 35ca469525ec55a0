"""laju's optax schedules beside optax's own, in float32, over the whole horizon and past it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

optax = pytest.importorskip("optax")
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

import laju  # noqa: E402
from laju.core.schedule import Schedule  # noqa: E402
from laju.dialects import DialectError, NotASchedule, read, system  # noqa: E402
from laju.dialects import optax as dialect  # noqa: E402
from tests.dialects.drawn import LENGTHS, calls, changed, same_or_refused  # noqa: E402

RELEASE = optax.__version__
N = 130
few = settings(max_examples=40, deadline=None, derandomize=True)
values = st.sampled_from([0.0, 1e-4, 0.1, 0.5, 1.0, 3.0])
steps = st.integers(-1, 60)
scales = st.dictionaries(st.integers(0, 60), st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0]), max_size=4)
cosine = {
    "init_value": values, "peak_value": st.sampled_from([0.1, 1.0]), "warmup_steps": st.integers(0, 20),
    "decay_steps": st.integers(0, 60), "end_value": st.sampled_from([0.0, 0.01]),
    "exponent": st.sampled_from([1.0, 2.0, 0.5, 0.0]),
}  # fmt: skip
decay = {
    "transition_steps": steps, "decay_rate": st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 1.1]),
    "transition_begin": st.integers(-2, 20), "staircase": st.booleans(),
    "end_value": st.none() | st.sampled_from([0.01, 0.2, 2.0]),
}  # fmt: skip
CALLS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "constant_schedule": st.fixed_dictionaries({"value": values}),
    "polynomial_schedule": st.fixed_dictionaries(
        {"init_value": values, "end_value": values, "power": st.sampled_from([0, 0.5, 1, 2, 3.5]),
         "transition_steps": steps, "transition_begin": st.integers(-2, 20)}
    ),
    "linear_schedule": st.fixed_dictionaries(
        {"init_value": values, "end_value": values, "transition_steps": steps, "transition_begin": st.integers(-2, 20)}
    ),
    "piecewise_constant_schedule": st.fixed_dictionaries(
        {"init_value": values, "boundaries_and_scales": st.none() | scales}
    ),
    "piecewise_interpolate_schedule": st.fixed_dictionaries(
        {"interpolate_type": st.sampled_from(["linear", "cosine"]), "init_value": values,
         "boundaries_and_scales": scales.filter(bool)}
    ),
    "exponential_decay": st.fixed_dictionaries({"init_value": values, **decay}),
    "cosine_decay_schedule": st.fixed_dictionaries(
        {"init_value": values, "decay_steps": steps, "alpha": st.sampled_from([0.0, 0.1, 1.0]),
         "exponent": st.sampled_from([1.0, 2.0, 0.5, 0.0])}
    ),
    "linear_onecycle_schedule": st.fixed_dictionaries(
        {"transition_steps": st.integers(-1, 60), "peak_value": st.sampled_from([0.1, 1.0]),
         "pct_start": st.sampled_from([0.1, 0.3]), "pct_final": st.sampled_from([0.5, 0.85])}
    ),
    "cosine_onecycle_schedule": st.fixed_dictionaries(
        {"transition_steps": st.integers(-1, 60), "peak_value": st.sampled_from([0.1, 1.0]),
         "pct_start": st.sampled_from([0.1, 0.3]), "div_factor": st.sampled_from([10.0, 25.0])}
    ),
    "warmup_constant_schedule": st.fixed_dictionaries(
        {"init_value": values, "peak_value": values, "warmup_steps": steps}
    ),
    "warmup_cosine_decay_schedule": st.fixed_dictionaries(cosine),
    "warmup_exponential_decay_schedule": st.fixed_dictionaries(
        {"init_value": values, "peak_value": values, "warmup_steps": st.integers(0, 20), **decay}
    ),
    "sgdr_schedule": st.fixed_dictionaries(
        {"cosine_kwargs": st.lists(st.fixed_dictionaries({**cosine, "decay_steps": st.integers(15, 40),
                                                          "warmup_steps": st.integers(0, 10)}), max_size=3)}
    ),
}  # fmt: skip


def theirs(schedule: Any, n: int = N, compiled: bool = True) -> np.ndarray:
    if not compiled:
        return np.array([schedule(t) for t in range(n)], np.float32)
    return np.asarray(jnp.broadcast_to(jax.vmap(lambda t: jnp.asarray(schedule(t), jnp.float32))(jnp.arange(n)), (n,)))


def fails(call: Any) -> bool:
    try:
        call()
    except (ValueError, TypeError, ZeroDivisionError, IndexError):
        return True
    return False


def agree(parity: Any, name: str, real: np.ndarray, ours: Schedule, most: float = 16) -> None:
    assert laju.parse(str(ours)) == ours.normal
    peak = float(np.abs(real).max()) or 1.0
    # float32's own formula loses a few digits of the largest value where it subtracts from it.
    parity("optax", name, RELEASE, real, ours.values(len(real)), dtype=np.float32, of=peak, most=most)


@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_the_real_schedule(name: str, parity: Any) -> None:
    @few
    @given(CALLS[name])
    def check(arguments: dict[str, Any]) -> None:
        make = getattr(optax, name)
        if fails(lambda: theirs(make(**arguments))):
            with pytest.raises(DialectError):
                getattr(dialect, name)(**arguments)
            return
        # Compiled, a division by a length is a product with 1/length, which may fall short of a stair.
        real = theirs(make(**arguments), compiled=not arguments.get("staircase"))
        agree(parity, name, real, getattr(dialect, name)(**arguments))

    check()


@few
@given(st.lists(st.tuples(values, values, st.integers(1, 30)), min_size=1, max_size=4), st.data())
def check_join(parity: Any, parts: list[tuple[float, float, int]], data: st.DataObject) -> None:
    boundaries = data.draw(st.lists(st.integers(-5, 60), min_size=len(parts) - 1, max_size=len(parts) - 1))
    real = theirs(optax.join_schedules([optax.linear_schedule(*part) for part in parts], boundaries))
    agree(
        parity, "join_schedules", real, dialect.join_schedules([dialect.linear_schedule(*p) for p in parts], boundaries)
    )


def test_joined_schedules(parity: Any) -> None:
    check_join(parity)


def test_every_schedule_of_optax_is_known() -> None:
    known = {*system("optax").schedulers, *system("optax").refused}
    real = {
        name for name in dir(optax.schedules) if not name.startswith("_") and callable(getattr(optax.schedules, name))
    }
    assert {name for name in real if "schedule" in name or "decay" in name} <= known | {"Schedule"}
    assert set(CALLS) | {"join_schedules"} == set(system("optax").schedulers)


def test_text_and_what_is_refused() -> None:
    text = "optax.join_schedules([optax.linear_schedule(0, 1, 10), optax.cosine_decay_schedule(1.0, 90)], [10])"
    assert read("optax", text)(10) == 1.0
    assert read("jax", "optax.exponential_decay(0.1, 1000, 0.5)")(1000) == 0.05
    assert read("optax", "piecewise_constant_schedule(1.0, {10: 0.1})")(10) == 0.1
    with pytest.raises(NotASchedule, match="wraps an optimizer"):
        read("optax", "inject_hyperparams()")
    with pytest.raises(DialectError, match="did you mean 'cosine_decay_schedule'"):
        read("optax", "cosine_decay_shedule(1, 2)")
    with pytest.raises(DialectError, match="one fewer than the 1 schedules"):
        dialect.join_schedules([dialect.constant_schedule(1)], [3])


@pytest.mark.parametrize("name", [name for name in CALLS if name != "sgdr_schedule"])
def test_whatever_the_arguments_values_are_optaxs(name: str) -> None:
    make = getattr(dialect, name)

    @few
    @given(kwargs=calls(make) if name != "warmup_cosine_decay_schedule" else changed(CALLS[name], make))
    def check(kwargs: dict[str, Any]) -> None:
        same_or_refused(
            lambda: make(**kwargs).values(40),
            lambda: theirs(getattr(optax, name)(**kwargs), 40, compiled=False),
            most=2e-5,
            of=max([0.0, *(abs(kwargs[key]) for key in kwargs if key.endswith("value") and kwargs[key] is not None)]),
        )

    check()


lines = changed(CALLS["linear_schedule"], dialect.linear_schedule)
cosines = changed(CALLS["warmup_cosine_decay_schedule"], dialect.warmup_cosine_decay_schedule)


@few
@given(st.lists(cosines, max_size=3))
def test_whatever_the_arguments_restarts_are_optaxs(kwargs: list[dict[str, Any]]) -> None:
    same_or_refused(
        lambda: dialect.sgdr_schedule(kwargs).values(60),
        lambda: theirs(optax.sgdr_schedule(kwargs), 60, compiled=False),
        most=2e-5,
        of=40.0,
    )


@few
@given(st.lists(lines, max_size=4), st.lists(LENGTHS.filter(lambda n: n == int(n)), min_size=3, max_size=4))
def test_whatever_the_arguments_joined_schedules_are_optaxs(parts: list[dict[str, Any]], boundaries: list[int]) -> None:
    boundaries = boundaries[: max(0, len(parts) - 1)]
    same_or_refused(
        lambda: dialect.join_schedules([dialect.linear_schedule(**k) for k in parts], boundaries).values(60),
        lambda: theirs(
            optax.join_schedules([optax.linear_schedule(**k) for k in parts], boundaries), 60, compiled=False
        ),
        most=2e-5,
        of=40.0,
    )
