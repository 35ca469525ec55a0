"""laju's MXNet schedules beside MXNet's own: asked in turn, and as a `Trainer` really uses them."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

mx = pytest.importorskip("mxnet", reason="MXNet needs NumPy 1.23.5 and so an environment of its own: make test-mxnet")

from mxnet import autograd, gluon, lr_scheduler  # noqa: E402

import laju  # noqa: E402
from laju.dialects import DialectError, NotASchedule, read, system  # noqa: E402
from laju.dialects import mxnet as dialect  # noqa: E402
from tests.dialects.drawn import calls, same_or_refused  # noqa: E402

RELEASE = dialect.SYSTEM.releases[0]
N = 80
few = settings(max_examples=80, deadline=None, derandomize=True)

bases = st.sampled_from([0.0, 1e-9, 1e-3, 0.1, 0.3, 1.0])
warmups = {
    "base_lr": bases,
    "warmup_steps": st.integers(-1, 25),
    "warmup_begin_lr": st.sampled_from([0, 0.0, 1e-4, 0.05, 0.5]),
    "warmup_mode": st.sampled_from(["linear", "linear", "constant", "cubic"]),
}
factors = st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 1, 1.0, 1.5])
ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "FactorScheduler": {
        "step": st.integers(0, 20),
        "factor": factors,
        "stop_factor_lr": st.sampled_from([1e-8, 1e-3, 0.2, 0.0]),
        **warmups,
    },
    "MultiFactorScheduler": {
        "step": st.lists(st.integers(0, 60), max_size=4).map(sorted),
        "factor": factors,
        **warmups,
    },
    "PolyScheduler": {
        "max_update": st.integers(0, 50),
        "pwr": st.sampled_from([-1, 0, 0.5, 1, 2, 3.3]),
        "final_lr": bases,
        **warmups,
    },
    "CosineScheduler": {"max_update": st.integers(0, 50), "final_lr": bases, **warmups},
}


def asked(name: str, kwargs: dict[str, Any], counts: str, learning_rate: float | None = None) -> np.ndarray:
    scheduler = getattr(lr_scheduler, name)(**kwargs)
    if learning_rate is not None:
        scheduler.base_lr = learning_rate
    first = int(counts == "trainer")
    return np.array([float(scheduler(n)) for n in range(first, N + first)])


@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data())
@few
def test_values_are_its_own(name: str, data: st.DataObject, parity: Any) -> None:
    kwargs = {
        key: data.draw(strategy)
        for key, strategy in ARGUMENTS[name].items()
        if key in ("step", "max_update") or data.draw(st.integers(0, 2))
    }
    counts = data.draw(st.sampled_from(["trainer", "raw"]))
    learning_rate = data.draw(st.sampled_from([None, None, 0.001, 0.2]))
    ours = getattr(dialect, name)
    try:
        theirs = asked(name, kwargs, counts, learning_rate)
    except (AssertionError, ValueError, ZeroDivisionError):
        with pytest.raises(DialectError):
            ours(**kwargs, counts=counts)
        return
    schedule = ours(**kwargs, counts=counts, learning_rate=learning_rate)
    assert laju.parse(str(schedule)) == schedule.normal
    if "Factor" in name:
        parity("mxnet", name, RELEASE, theirs, schedule.values(N), most=2 * N)
    else:
        ends = [kwargs.get("base_lr", 0.01), kwargs.get("final_lr", 0.0), learning_rate or 0.0]
        parity("mxnet", name, RELEASE, theirs, schedule.values(N), of=ends)


@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data())
@few
def test_whatever_the_arguments_values_are_its_own(name: str, data: st.DataObject) -> None:
    kwargs = data.draw(calls(getattr(dialect, name), ("counts", "learning_rate")))
    counts = data.draw(st.sampled_from(["trainer", "raw"]))
    same_or_refused(
        lambda: getattr(dialect, name)(**kwargs, counts=counts).values(N),
        lambda: asked(name, kwargs, counts),
        of=abs(kwargs.get("base_lr", 0.01)),
    )


class Run:
    """A weight with gradient 1, whose change in an update is the rate."""

    def __init__(self, optimizer: str, arguments: dict[str, Any]) -> None:
        self.weight = gluon.Parameter("w", shape=(1,), init="zeros")
        self.weight.initialize()
        self.trainer = gluon.Trainer([self.weight], optimizer, arguments)

    def rates(self, updates: int) -> list[float]:
        used = []
        for _ in range(updates):
            self.weight.set_data(mx.nd.zeros((1,)))
            with autograd.record():
                loss = self.weight.data().sum()
            loss.backward()
            self.trainer.step(1)
            used.append(-float(self.weight.data().asscalar()))
        return used


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("FactorScheduler", {"step": 3, "factor": 0.5, "base_lr": 0.4}),
        ("MultiFactorScheduler", {"step": [2, 9], "factor": 0.1, "base_lr": 0.4, "warmup_steps": 5}),
        ("PolyScheduler", {"max_update": 12, "base_lr": 0.4, "warmup_steps": 3}),
        ("CosineScheduler", {"max_update": 12, "base_lr": 0.4, "warmup_steps": 3, "warmup_begin_lr": 0.1}),
    ],
)
def test_a_trainer_uses_these_rates(name: str, kwargs: dict[str, Any]) -> None:
    arguments = {"learning_rate": None, "lr_scheduler": getattr(lr_scheduler, name)(**kwargs)}
    used = Run("sgd", arguments).rates(20)
    np.testing.assert_array_equal(np.float32(used), np.float32(getattr(dialect, name)(**kwargs).values(20)))


@pytest.mark.parametrize("name", ["FactorScheduler", "CosineScheduler"])
def test_an_optimizers_own_rate_takes_the_place_of_the_base(name: str) -> None:
    kwargs = {"base_lr": 0.4, "warmup_steps": 3} | (
        {"step": 5, "factor": 0.5} if "Factor" in name else {"max_update": 12}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Run("sgd", {"learning_rate": 0.001, "lr_scheduler": getattr(lr_scheduler, name)(**kwargs)})
    ours = getattr(dialect, name)(**kwargs, learning_rate=0.001)
    np.testing.assert_array_equal(np.float32(run.rates(20)), np.float32(ours.values(20)))
    assert mx.optimizer.Adam(lr_scheduler=lr_scheduler.FactorScheduler(5, base_lr=0.4)).learning_rate == 0.001


def test_a_scheduler_that_is_first_asked_past_its_end_gives_the_base() -> None:
    assert lr_scheduler.CosineScheduler(10, base_lr=0.4)(11) == 0.4  # as the module's text says


@pytest.mark.parametrize("name", ARGUMENTS)
def test_names_and_defaults_are_its_own(name: str) -> None:
    theirs = inspect.signature(getattr(lr_scheduler, name).__init__).parameters
    ours = inspect.signature(getattr(dialect, name)).parameters
    own = {k: p.default for k, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert own == {k: p.default for k, p in theirs.items() if k != "self"}
    assert list(own) == [k for k in theirs if k != "self"]


def test_a_call_as_text_is_read() -> None:
    found = read("mxnet", "mx.lr_scheduler.FactorScheduler(step=2, factor=0.5, base_lr=1.0)")
    assert found.values(4).tolist() == [1.0, 1.0, 0.5, 0.5]
    with pytest.raises(NotASchedule, match="base class"):
        system("mxnet").scheduler("LRScheduler")
    with pytest.raises(DialectError, match="counts must be one of trainer, raw, got 'epochs'"):
        read("mxnet", "CosineScheduler(10, counts='epochs')")
