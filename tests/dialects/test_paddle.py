"""laju's PaddlePaddle schedules beside Paddle's own, stepped over the whole run and past it."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

paddle = pytest.importorskip("paddle", reason="PaddlePaddle is not installed: make test-paddle")

from paddle.optimizer import lr as real  # noqa: E402

import laju  # noqa: E402
from laju.dialects import DialectError, NotASchedule, read, system  # noqa: E402
from laju.dialects import paddle as dialect  # noqa: E402
from tests.dialects.drawn import calls, same_or_refused  # noqa: E402

RELEASE = dialect.SYSTEM.releases[0]
N = 90
few = settings(max_examples=60, deadline=None, derandomize=True)

rates = st.sampled_from([0.0, 1e-3, 0.1, 0.3, 1.0, -0.1])
gammas = st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 1.0, 1.5])
steps = st.integers(0, 40)
ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "NoamDecay": {"d_model": st.integers(0, 600), "warmup_steps": st.integers(0, 50), "learning_rate": rates},
    "PiecewiseDecay": {
        "boundaries": st.lists(st.integers(-2, 50), max_size=4),
        "values": st.lists(st.sampled_from([0.0, 0.1, 1.0]), max_size=6),
    },
    "NaturalExpDecay": {"learning_rate": rates, "gamma": gammas},
    "InverseTimeDecay": {"learning_rate": rates, "gamma": gammas},
    "PolynomialDecay": {
        "learning_rate": rates,
        "decay_steps": steps,
        "end_lr": st.sampled_from([0.0, 1e-4, 0.2]),
        "power": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
        "cycle": st.booleans(),
    },
    "ExponentialDecay": {"learning_rate": rates, "gamma": gammas},
    "MultiStepDecay": {
        "learning_rate": rates,
        "milestones": st.lists(st.integers(-2, 60), max_size=4).map(sorted),
        "gamma": gammas,
    },
    "StepDecay": {"learning_rate": rates, "step_size": steps, "gamma": gammas},
    "CosineAnnealingDecay": {"learning_rate": rates, "T_max": steps, "eta_min": st.sampled_from([0, 1e-3, 0.2])},
    "OneCycleLR": {
        "max_learning_rate": rates,
        "total_steps": steps,
        "divide_factor": st.sampled_from([25.0, 1.0, 10]),
        "end_learning_rate": st.sampled_from([0, 1e-4, 0.05]),
        "phase_pct": st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 1]),
        "anneal_strategy": st.sampled_from(["cos", "linear"]),
        "three_phase": st.booleans(),
    },
    "CyclicLR": {
        "base_learning_rate": rates,
        "max_learning_rate": rates,
        "step_size_up": st.integers(0, 12),
        "step_size_down": st.none() | st.integers(0, 12),
        "mode": st.sampled_from(["triangular", "triangular2", "exp_range", "round"]),
        "exp_gamma": st.sampled_from([1.0, 0.99, 1]),
    },
    "LinearLR": {
        "learning_rate": rates,
        "total_steps": steps,
        "start_factor": st.sampled_from([1 / 3, 0.0, 0.1, 1.0]),
        "end_factor": st.sampled_from([1.0, 0.5, 0.0, 1.5]),
    },
    "CosineAnnealingWarmRestarts": {
        "learning_rate": rates,
        "T_0": st.integers(0, 20),
        "T_mult": st.integers(0, 3),
        "eta_min": st.sampled_from([0, 1e-3, 0.2]),
    },
}
"""Whatever is required, and the rest; some of which Paddle refuses."""
ADDS_UP = {
    "CosineAnnealingDecay": 4 * N,
    "LinearLR": 4 * N,
    "ExponentialDecay": N,
    "MultiStepDecay": 8,
    "StepDecay": N,
    "CyclicLR": 400,
}
"""Largest differences in ulp, where Paddle multiplies its value again and again, or subtracts cycles from the time."""


def stepped(scheduler: Any, n: int = N) -> np.ndarray:
    """Fewer values where it raises after its last step."""
    values = []
    for _ in range(n):
        values.append(float(scheduler()))
        try:
            scheduler.step()
        except ValueError:
            break
    return np.array(values)


def drawn(name: str, data: st.DataObject) -> dict[str, Any]:
    required = [k for k, p in inspect.signature(getattr(dialect, name)).parameters.items() if p.default is p.empty]
    return {
        key: data.draw(strategy, label=key)
        for key, strategy in ARGUMENTS[name].items()
        if key in required or data.draw(st.integers(0, 2))
    }


@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data())
@few
def test_values_are_its_own(name: str, data: st.DataObject, parity: Any) -> None:
    kwargs = drawn(name, data)
    ours = getattr(dialect, name)
    try:
        theirs = stepped(getattr(real, name)(**kwargs))
    except (AssertionError, TypeError, ValueError, ZeroDivisionError):
        with pytest.raises(DialectError):
            ours(**kwargs)
        return
    n = len(theirs)
    if kwargs.get("cycle"):
        assert ours(**kwargs).values(n).tolist() == theirs.tolist()
        parity("paddle", name, RELEASE, theirs, ours(**kwargs).values(n))
        return
    schedule = ours(**kwargs)
    assert laju.parse(str(schedule)) == schedule.normal
    peak = [*theirs, *(v for k, v in kwargs.items() if k.endswith(("learning_rate", "lr")))]
    parity("paddle", name, RELEASE, theirs, schedule.values(n), most=ADDS_UP.get(name, 4), of=peak)


@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data())
@few
def test_whatever_the_arguments_values_are_its_own(name: str, data: st.DataObject) -> None:
    kwargs = data.draw(calls(getattr(dialect, name)))
    same_or_refused(
        lambda: getattr(dialect, name)(**kwargs).values(60),
        lambda: stepped(getattr(real, name)(**kwargs), 60),
        of=abs(kwargs.get("max_learning_rate", 0.0)),
    )


@given(data=st.data())
@few
def test_a_warmup_into_any_of_them_is_its_own(data: st.DataObject, parity: Any) -> None:
    name = data.draw(st.sampled_from([None, *ARGUMENTS]))
    warmup = {
        "warmup_steps": data.draw(st.integers(0, 20)),
        "start_lr": data.draw(st.sampled_from([0.0, 0.01])),
        "end_lr": data.draw(st.sampled_from([0.0, 0.1, 1.0])),
    }
    kwargs = drawn(name, data) if name else {}
    after = data.draw(st.sampled_from([0.1, 1.0]))

    def ours() -> laju.Schedule:
        return dialect.LinearWarmup(getattr(dialect, name)(**kwargs) if name else after, **warmup)

    try:
        theirs = stepped(real.LinearWarmup(getattr(real, name)(**kwargs) if name else after, **warmup))
    except (AssertionError, TypeError, ValueError, ZeroDivisionError):
        with pytest.raises(DialectError):
            ours()
        return
    n = len(theirs)
    if kwargs.get("cycle") or kwargs.get("T_mult", 1) > 1:  # whose restarts Paddle finds by a logarithm here
        assert ours().values(n).tolist() == theirs.tolist()
        return
    peak = [*theirs, warmup["end_lr"], *(v for k, v in kwargs.items() if k.endswith(("learning_rate", "lr")))]
    parity("paddle", "LinearWarmup", RELEASE, theirs, ours().values(n), most=ADDS_UP.get(name or "", 4), of=peak)


@pytest.mark.parametrize("factors", [[1.0, 0.5, 0.2], [0.9] * 200, laju.linear(1, 0, total=20)])
def test_functions_of_the_epoch_are_its_own(factors: Any, parity: Any) -> None:
    listed = factors.values(N + 1) if isinstance(factors, laju.Schedule) else factors

    def f(epoch: int) -> float:
        return float(listed[min(epoch, len(listed) - 1)])

    theirs = stepped(real.LambdaDecay(0.3, f))
    parity("paddle", "LambdaDecay", RELEASE, theirs, dialect.LambdaDecay(0.3, factors).values(N))
    if not isinstance(factors, laju.Schedule):
        theirs = stepped(real.MultiplicativeDecay(0.3, lambda t: float(factors[t]) if t < len(factors) else 1.0))
        parity("paddle", "MultiplicativeDecay", RELEASE, theirs, dialect.MultiplicativeDecay(0.3, factors).values(N))


def test_an_optimizer_uses_these_rates() -> None:
    weight = paddle.create_parameter([1], "float64")
    scheduler = real.LinearWarmup(real.CosineAnnealingDecay(0.4, 10), 3, 0.0, 0.4)
    optimizer = paddle.optimizer.SGD(learning_rate=scheduler, parameters=[weight])
    used = []
    for _ in range(20):
        weight.set_value(np.zeros(1))
        weight.sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        scheduler.step()
        used.append(-float(weight.numpy()[0]))
    ours = dialect.LinearWarmup(dialect.CosineAnnealingDecay(0.4, 10), 3, 0.0, 0.4)
    np.testing.assert_allclose(np.float32(used), np.float32(ours.values(20)), rtol=2e-7, atol=1e-8)


def test_a_restart_after_a_warmup_can_fall_short() -> None:
    """As the module's text says: with T_mult=3 the logarithm of 27 is not 3."""
    scheduler = real.LinearWarmup(real.CosineAnnealingWarmRestarts(1.0, 2, 3), 1, 0.0, 1.0)
    found = [i - 1 for i, value in enumerate(stepped(scheduler, 300)) if i and value == 0.0]
    ours = dialect.LinearWarmup(dialect.CosineAnnealingWarmRestarts(1.0, 2, 3), 1, 0.0, 1.0).values(300)
    assert found
    assert found == [i - 1 for i, value in enumerate(ours) if i and value == 0.0]


@pytest.mark.parametrize("name", dialect.SYSTEM.schedulers)
def test_names_and_defaults_are_its_own(name: str) -> None:
    theirs = inspect.signature(getattr(real, name).__init__).parameters
    ours = inspect.signature(getattr(dialect, name)).parameters
    own = [(k, p.default) for k, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert own == [(k, p.default) for k, p in theirs.items() if k != "self"]


def test_every_scheduler_of_paddle_is_known() -> None:
    known = {*dialect.SYSTEM.schedulers, *dialect.SYSTEM.refused, "LRScheduler"}
    assert {n for n, c in vars(real).items() if isinstance(c, type) and issubclass(c, real.LRScheduler)} == known


def test_a_call_as_text_is_read() -> None:
    found = read("paddlepaddle", "paddle.optimizer.lr.LinearWarmup(CosineAnnealingDecay(1.0, 4), 2, 0.0, 1.0)")
    np.testing.assert_allclose(found.values(7), [0, 0.5, 1, 0.853553, 0.5, 0.146447, 0], atol=1e-6)
    with pytest.raises(NotASchedule, match="Plateau"):
        system("paddle").scheduler("ReduceOnPlateau")
    with pytest.raises(DialectError, match="lambda"):
        read("paddle", "LambdaDecay(0.1, lambda t: 1 / t)")
