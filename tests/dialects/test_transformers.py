"""laju's Transformers schedules beside Transformers' own, stepped over the whole horizon and past it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import laju  # noqa: E402
from laju.dialects import DialectError, NotASchedule, read, system  # noqa: E402
from laju.dialects import transformers as dialect  # noqa: E402
from tests.dialects.drawn import calls, same_or_refused  # noqa: E402

RELEASE = transformers.__version__
few = settings(max_examples=40, deadline=None, derandomize=True)
rates = st.sampled_from([1e-5, 5e-5, 0.003, 0.1, 1.0])
warmups = st.integers(0, 20)
totals = st.integers(0, 80)
shares = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0])
cycles = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 0.3, -0.5])
kinds = st.sampled_from(["linear", "cosine", "1-sqrt"])

LENGTHS = {"num_warmup_steps": warmups, "num_training_steps": totals}
CALLS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "get_constant_schedule": st.just({}),
    "get_constant_schedule_with_warmup": st.fixed_dictionaries({"num_warmup_steps": warmups}),
    "get_linear_schedule_with_warmup": st.fixed_dictionaries(LENGTHS),
    "get_cosine_schedule_with_warmup": st.fixed_dictionaries({**LENGTHS, "num_cycles": cycles}),
    "get_cosine_with_hard_restarts_schedule_with_warmup": st.fixed_dictionaries(
        {**LENGTHS, "num_cycles": st.integers(0, 5)}
    ),
    "get_polynomial_decay_schedule_with_warmup": st.fixed_dictionaries(
        {
            **LENGTHS,
            "lr_end": st.sampled_from([0.0, 1e-7, 1e-6, 0.05]),
            "power": st.sampled_from([0, 0.5, 1.0, 2.0, 3.3]),
        }
    ),
    "get_inverse_sqrt_schedule": st.fixed_dictionaries(
        {"num_warmup_steps": warmups, "timescale": st.none() | st.sampled_from([1, 7, 100, 2.5])}
    ),
    "get_cosine_with_min_lr_schedule_with_warmup": st.fixed_dictionaries(
        {**LENGTHS, "num_cycles": cycles, "min_lr_rate": shares}
    ),
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": st.fixed_dictionaries(
        {**LENGTHS, "num_cycles": cycles, "min_lr_rate": shares, "warmup_lr_rate": st.none() | shares}
    ),
    "get_wsd_schedule": st.fixed_dictionaries(
        {
            "num_warmup_steps": warmups,
            "num_decay_steps": st.integers(0, 30),
            "num_training_steps": totals,
            "warmup_type": kinds,
            "decay_type": kinds,
            "min_lr_ratio": shares,
            "num_cycles": cycles,
        }
    ),
}


def theirs(name: str, lr: float, n: int, **arguments: Any) -> np.ndarray:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = getattr(transformers, name, None) or getattr(transformers.optimization, name)
        scheduler = scheduler(optimizer, **arguments)
        values = []
        for _ in range(n):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return np.array(values, float)


def fails(call: Any) -> bool:
    try:
        call()
    except (ValueError, TypeError, ZeroDivisionError):
        return True
    return False


@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_the_real_scheduler(name: str, parity: Any) -> None:
    @few
    @given(rates, CALLS[name])
    def check(lr: float, arguments: dict[str, Any]) -> None:
        n = 2 * (arguments.get("num_training_steps", 40) + 25)
        if fails(lambda: theirs(name, lr, n, **arguments)):
            with pytest.raises(DialectError):
                getattr(dialect, name)(lr, **arguments)
            return
        real = theirs(name, lr, n, **arguments)
        closed = getattr(dialect, name)(lr, **arguments)
        assert laju.parse(str(closed)) == closed.normal
        # A cosine and a power lose digits near their lowest value there, so the difference is in those of the highest rate.
        waves = abs(arguments.get("num_cycles", 0.5)) * n
        waves /= max(1, arguments.get("num_training_steps", 0) - arguments.get("num_warmup_steps", 0))
        parity("transformers", name, RELEASE, real, closed.values(n), of=lr, most=4 + 8 * waves)

    check()


@few
@given(rates, st.data())
def check_get_scheduler(parity: Any, lr: float, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(dialect.NAMES)))
    warmup, total = data.draw(st.integers(0, 20)), data.draw(st.integers(21, 60))
    more = {"cosine_with_min_lr": {"min_lr": 1e-6}, "cosine_warmup_with_min_lr": {"min_lr": 1e-6},
            "warmup_stable_decay": {"num_decay_steps": 10}}.get(name, {})  # fmt: skip
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = transformers.get_scheduler(name, optimizer, warmup, total, more)
    real = []
    for _ in range(80):
        real.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    ours = dialect.get_scheduler(lr, name, warmup, total, more).values(80)
    parity("transformers", "get_scheduler", RELEASE, real, ours, of=lr, most=16)


def test_get_scheduler_is_the_function_of_the_name(parity: Any) -> None:
    check_get_scheduler(parity)


def test_every_name_of_the_real_one_is_known() -> None:
    real = {kind.value for kind in transformers.SchedulerType}
    assert real == {*dialect.NAMES, *dialect._METRIC}
    assert set(CALLS) | {"get_scheduler"} == set(system("transformers").schedulers)


def test_text_with_the_systems_own_order_of_arguments() -> None:
    text = "transformers.get_scheduler('cosine', optimizer, num_warmup_steps=10, num_training_steps=100)"
    assert read("transformers", text, lr=3e-4) == dialect.get_cosine_schedule_with_warmup(3e-4, 10, 100).normal
    assert read("hf", "get_linear_schedule_with_warmup(optimizer, 10, 100)", lr=1.0)(10) == 1.0
    assert read("transformers", "linear(num_warmup_steps=0, num_training_steps=10)", lr=1.0)(5) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dialect.get_scheduler(1.0, "cosin", 1, 2), "did you mean 'cosine'"),
        (lambda: dialect.get_scheduler(1.0, "linear", None, 2), "needs num_warmup_steps"),
        (lambda: dialect.get_scheduler(1.0, "linear", 1), "needs num_training_steps"),
        (lambda: dialect.get_scheduler(1.0, "cosine", 1, 2, {"cycles": 3}), "do not suit 'cosine'"),
        (lambda: dialect.get_wsd_schedule(1.0, 1, 2), "num_training_steps or num_stable_steps"),
        (lambda: dialect.get_wsd_schedule(1.0, 1, 2, 9, decay_type="cosin"), "did you mean 'cosine'"),
        (lambda: dialect.get_cosine_with_min_lr_schedule_with_warmup(1.0, 1, 9), "either min_lr or min_lr_rate"),
        (lambda: dialect.get_polynomial_decay_schedule_with_warmup(1e-8, 1, 9), "lr_end must be smaller"),
        (lambda: dialect.get_linear_schedule_with_warmup(-1.0, 1, 9), "lr"),
        (lambda: dialect.get_linear_schedule_with_warmup(1.0, 1.5, 9), "num_warmup_steps must be a whole number"),
    ],
)
def test_bad_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["reduce_lr_on_plateau", "greedy"])
def test_what_follows_a_metric_is_refused(name: str) -> None:
    with pytest.raises(NotASchedule, match=r"laju\.adaptive"):
        dialect.get_scheduler(1.0, name)
    with pytest.raises(NotASchedule, match=r"laju\.adaptive"):
        read("transformers", f"{name}()", lr=1.0)


def test_a_call_that_is_none() -> None:
    with pytest.raises(DialectError, match="did you mean 'get_linear_schedule_with_warmup'"):
        read("transformers", "get_linear_schedule_with_warm(1, 2)", lr=1.0)


@pytest.mark.parametrize("name", dialect.NAMES.values())
def test_whatever_the_arguments_values_are_transformers(name: str) -> None:
    @settings(few, max_examples=60)
    @given(kwargs=calls(getattr(dialect, name), ("lr",)), lr=st.sampled_from([1e-4, 1.0]))
    def check(kwargs: dict[str, Any], lr: float) -> None:
        same_or_refused(lambda: getattr(dialect, name)(lr, **kwargs).values(60), lambda: theirs(name, lr, 60, **kwargs))

    check()
