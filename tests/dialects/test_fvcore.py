"""laju's fvcore schedules beside fvcore's own, asked for every update of the run and past it.

Detectron2 has no package that can be installed: its two classes are rebuilt here in a few lines over fvcore's real ones.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju.core.schedule import Schedule
from laju.dialects import DialectError, read
from laju.dialects import fvcore as dialect
from tests.dialects.drawn import calls, same_or_refused

from .conftest import importable

SYSTEM = dialect.SYSTEM
RELEASE = SYSTEM.releases[0]
few = settings(max_examples=60, deadline=None, derandomize=True)
Call = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def fvcore(dialects_path: Path) -> Any:
    if not (dialects_path / "fvcore").is_dir():
        pytest.skip(f"needs fvcore {RELEASE} in {dialects_path}: make setup-dialects")
    with importable(dialects_path):
        real = importlib.import_module("fvcore.common.param_scheduler")

    def warmup(scheduler: Any, warmup_factor: float, warmup_length: float, warmup_method: str = "linear",
               rescale_interval: bool = False) -> Any:  # fmt: skip
        first = warmup_factor * scheduler(0.0)
        last = scheduler(0.0 if rescale_interval else warmup_length)
        ways = {
            "linear": lambda: real.LinearParamScheduler(first, last),
            "constant": lambda: real.ConstantParamScheduler(first),
        }
        scaling = ["rescaled", "rescaled" if rescale_interval else "fixed"]
        return real.CompositeParamScheduler(
            [ways[warmup_method](), scheduler], [warmup_length, 1 - warmup_length], scaling
        )

    return types.SimpleNamespace(**vars(real), WarmupParamScheduler=warmup)


values = st.sampled_from([0.0, 1e-4, 0.01, 0.1, 0.5, 1.0])
positive = st.sampled_from([1e-3, 0.1, 0.3, 1.0])
lists = st.lists(values, min_size=1, max_size=5)
SIMPLE: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ConstantParamScheduler": st.fixed_dictionaries({"value": values}),
    "CosineParamScheduler": st.fixed_dictionaries({"start_value": values, "end_value": values}),
    "ExponentialParamScheduler": st.fixed_dictionaries({"start_value": values, "decay": positive}),
    "LinearParamScheduler": st.fixed_dictionaries({"start_value": values, "end_value": values}),
    "MultiStepParamScheduler": st.fixed_dictionaries(
        {
            "values": lists,
            "num_updates": st.none() | st.integers(0, 90),
            "milestones": st.none() | st.lists(st.integers(0, 90), max_size=5).map(sorted),
        }
    ),
    "PolynomialDecayParamScheduler": st.fixed_dictionaries(
        {"base_value": values, "power": st.sampled_from([0, 0.5, 0.9, 1, 2.0, 3])}
    ),
    "StepParamScheduler": st.fixed_dictionaries({"num_updates": st.sampled_from([0, 1, 90]), "values": lists}),
    "StepWithFixedGammaParamScheduler": st.fixed_dictionaries(
        {
            "base_value": positive | st.just(-1.0),
            "num_decays": st.integers(0, 4),
            "gamma": positive,
            "num_updates": st.integers(0, 9),
        }
    ),
}
simple: st.SearchStrategy[Call] = st.one_of(
    [kwargs.map(lambda k, name=name: (name, k)) for name, kwargs in SIMPLE.items()]  # type: ignore[misc]
)


@st.composite
def composites(draw: st.DrawFn, parts: st.SearchStrategy[Call] = simple) -> Call:
    n = draw(st.integers(1, 3))
    shares = {1: [[1.0]], 2: [[0.5, 0.5], [0.3, 0.7], [0.1, 0.9], [1 / 3, 2 / 3], [0.2999, 0.7], [0.45, 0.55], [0.5, 0.4]],
              3: [[0.1, 0.3, 0.6], [0.25, 0.25, 0.5], [1 / 7, 2 / 7, 4 / 7]]}[n]  # fmt: skip
    scaling = draw(st.lists(st.sampled_from(["rescaled", "fixed"]), min_size=n, max_size=n))
    return "CompositeParamScheduler", {
        "schedulers": draw(st.lists(parts, min_size=n, max_size=n)),
        "lengths": draw(st.sampled_from(shares)),
        "interval_scaling": scaling,
    }


@st.composite
def warmups(draw: st.DrawFn) -> Call:
    return "WarmupParamScheduler", {
        "scheduler": draw(simple | composites()),
        "warmup_factor": draw(values),
        "warmup_length": draw(st.sampled_from([0.0, 0.01, 0.1, 0.25, 1 / 3, 1000 / 90000])),
        "warmup_method": draw(st.sampled_from(["linear", "linear", "constant"])),
        "rescale_interval": draw(st.booleans()),
    }


CALLS = {**{name: kwargs.map(lambda k, name=name: (name, k)) for name, kwargs in SIMPLE.items()},  # type: ignore[misc]
         "CompositeParamScheduler": composites(simple | composites()), "WarmupParamScheduler": warmups()}  # fmt: skip


def built(system: Any, call: Call, **more: Any) -> Any:
    name, kwargs = call
    given = dict(kwargs)
    if "scheduler" in given:
        given["scheduler"] = built(system, given["scheduler"])
    if "schedulers" in given:
        given["schedulers"] = [built(system, part) for part in given["schedulers"]]
    if "lengths" in given:
        given["lengths"] = list(given["lengths"])
    return getattr(system, name)(**given, **more)


def theirs(scheduler: Any, n: int, horizon: int) -> np.ndarray:
    """The values of fvcore up to the update at which it raises, or is complex."""
    found = []
    for t in range(horizon):
        try:
            value = scheduler(t / n)
        except (RuntimeError, IndexError, ZeroDivisionError):
            break
        if isinstance(value, complex):
            break
        found.append(value)
    return np.array(found, float)


def refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except (ValueError, TypeError):
        return True
    return False


@pytest.mark.parametrize("name", CALLS)
def test_values_are_fvcores(fvcore: Any, name: str, parity: Any) -> None:
    checked = 0

    @few
    @given(CALLS[name], st.integers(1, 120))
    def check(call: Call, n: int) -> None:
        nonlocal checked
        try:
            real = built(fvcore, call)
        except (ValueError, TypeError, IndexError, RuntimeError, ZeroDivisionError):
            assert refuses(lambda: built(dialect, call, max_iter=n))
            return
        expected = theirs(real, n, 2 * n + 3)
        if len(expected) < n:  # it raises within the run
            return
        closed: Schedule = built(dialect, call, max_iter=n)
        assert laju.parse(str(closed)) == closed.normal
        assert laju.from_json(closed.to_json()) == closed.normal
        peak = max(np.abs(expected).max(), 1e-300)
        parity("fvcore", name, RELEASE, expected, closed.values(len(expected)), of=peak, most=16)
        checked += 1

    check()
    assert checked > 5


def test_one_part_inside_a_later_part_keeps_its_steps(fvcore: Any) -> None:
    """The outer boundary, 4.5 of 10 updates, is not at an update."""
    steps = ("MultiStepParamScheduler", {"values": [1.0, 0.1, 0.01], "num_updates": 100, "milestones": [33, 66]})
    inner = ("CompositeParamScheduler", {"schedulers": [steps], "lengths": [1.0], "interval_scaling": ["rescaled"]})
    outer = {"schedulers": [("ConstantParamScheduler", {"value": 1.0}), inner], "lengths": [0.45, 0.55]}
    call = ("CompositeParamScheduler", {**outer, "interval_scaling": ["rescaled"] * 2})
    ours = built(dialect, call, max_iter=10).values(10)
    assert ours.tolist() == [1.0] * 7 + [0.1, 0.1, 0.01] == theirs(built(fvcore, call), 10, 10).tolist()


def sound(call: Call) -> Call:
    name, kwargs = call
    if kwargs.get("milestones"):  # which are whole and in order, with one value more
        kwargs = {**kwargs, "num_updates": 41}
        kwargs["milestones"] = sorted({int(milestone) for milestone in kwargs["milestones"]})
        kwargs["values"] = (kwargs["values"] * 5 + [0.3, 0.2, 0.1] * 2)[: len(kwargs["milestones"]) + 1]
    return name, kwargs


ODD = {name: st.tuples(st.just(name), calls(getattr(dialect, name), ("max_iter",))).map(sound) for name in SIMPLE}
# None is above 0 and below the millionth of the run in which a part is asked for a time before its own beginning.
shares = st.sampled_from([0, 0.0, 0.1, 0.25, 0.5, 1, 1.0, 1.5, -0.5, 1e-5])


@st.composite
def odd_composites(draw: st.DrawFn, parts: st.SearchStrategy[Call]) -> Call:
    lengths = draw(st.lists(shares, min_size=1, max_size=3))
    lengths[-1] = draw(st.sampled_from([lengths[-1], 1 - sum(lengths[:-1])]))
    ways = draw(st.lists(st.sampled_from(["rescaled", "fixed"]), max_size=3))
    chosen = draw(st.lists(parts, min_size=len(lengths) - 1, max_size=len(lengths)))
    ways = [*ways, *["rescaled"] * 3][: len(lengths)]
    return "CompositeParamScheduler", {"schedulers": chosen, "lengths": lengths, "interval_scaling": ways}


ODD["CompositeParamScheduler"] = odd_composites(st.one_of(*ODD.values()))
ODD["WarmupParamScheduler"] = st.tuples(
    st.just("WarmupParamScheduler"),
    st.one_of(*ODD.values()).flatmap(
        lambda part: calls(
            dialect.WarmupParamScheduler, ("max_iter",), {"scheduler": st.just(part), "warmup_length": shares}
        )
    ),
)


@pytest.mark.parametrize("name", ODD)
def test_whatever_the_arguments_values_are_fvcores(fvcore: Any, name: str) -> None:
    @settings(few, max_examples=100)
    @given(ODD[name], st.integers(1, 60))
    def check(call: Call, n: int) -> None:
        same_or_refused(
            lambda: built(dialect, call, max_iter=n).values(n),
            lambda: theirs(built(fvcore, call), n, n),
            most=1e-12,
            of=0.0 if name in SIMPLE else 40.0,
        )

    check()


@pytest.mark.parametrize("name", SIMPLE)
def test_the_bound_of_one_curve_is_four_ulp(fvcore: Any, name: str, parity: Any) -> None:
    @few
    @given(SIMPLE[name], st.integers(1, 200))
    def check(kwargs: dict[str, Any], n: int) -> None:
        try:
            real = built(fvcore, (name, kwargs))
        except (ValueError, IndexError):
            return
        expected = theirs(real, n, n)
        closed = built(dialect, (name, kwargs), max_iter=n).values(len(expected))
        parity("fvcore", name, RELEASE, expected, closed, of=max(np.abs(expected).max(), 1e-300), most=4)

    check()


def test_progress_itself_can_be_the_time(fvcore: Any) -> None:
    for call in [
        ("CosineParamScheduler", {"start_value": 1.0, "end_value": 0.1}),
        ("MultiStepParamScheduler", {"values": [1.0, 0.5, 0.2], "milestones": [3, 7], "num_updates": 9}),
        ("StepParamScheduler", {"num_updates": 4, "values": [1.0, 0.5, 0.2]}),
    ]:
        ours, real = built(dialect, call), built(fvcore, call)
        for where in (0.0, 0.1, 1 / 3 - 2e-6, 1 / 3 - 5e-7, 1 / 3, 0.5, 0.7, 0.99):
            assert ours(where) == pytest.approx(real(where), rel=1e-12), (call, where)


def test_a_boundary_comes_a_millionth_of_the_run_early(fvcore: Any) -> None:
    n = 5_000_000
    call = ("StepParamScheduler", {"num_updates": n, "values": [1.0, 0.5]})
    real, ours = built(fvcore, call), built(dialect, call, max_iter=n)
    assert [real(t / n) for t in (n // 2 - 6, n // 2 - 5)] == [ours(n // 2 - 6), ours(n // 2 - 5)] == [1.0, 0.5]


def test_detectron2_multiplies_the_optimizers_rate(fvcore: Any, parity: Any) -> None:
    torch = pytest.importorskip("torch")

    class LRMultiplier(torch.optim.lr_scheduler.LRScheduler):  # type: ignore[misc, name-defined]
        def __init__(self, optimizer: Any, multiplier: Any, max_iter: int) -> None:
            self.multiplier, self.max_iter = multiplier, max_iter
            super().__init__(optimizer)

        def get_lr(self) -> list[float]:
            return [base * self.multiplier(self.last_epoch / self.max_iter) for base in self.base_lrs]

    @settings(few, max_examples=25)
    @given(st.sampled_from([0.02, 1e-4]), warmups() | composites(), st.integers(1, 90))
    def check(lr: float, call: Call, n: int) -> None:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
        expected = []
        try:
            scheduler = LRMultiplier(optimizer, built(fvcore, call), n)
            for _ in range(n):
                expected.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                if len(expected) < n:
                    scheduler.step()
        except (ValueError, RuntimeError, IndexError, ZeroDivisionError):
            return
        if any(isinstance(value, complex) for value in expected):
            return
        closed = dialect.LRMultiplier(lr, built(dialect, call), n)
        peak = max(np.abs(expected).max(), 1e-300)
        parity("fvcore", "LRMultiplier", RELEASE, expected, closed.values(n), of=peak, most=16)

    check()


def test_names_orders_and_defaults_are_fvcores(fvcore: Any) -> None:
    for name in SYSTEM.schedulers:
        if name == "LRMultiplier" or name.startswith("Warmup"):  # Detectron2's
            continue
        own = inspect.signature(getattr(fvcore, name).__init__).parameters
        real = [(p.name, p.default) for p in own.values()][1:]
        ours = [
            (p.name, p.default)
            for p in inspect.signature(getattr(dialect, name)).parameters.values()
            if p.kind is not p.KEYWORD_ONLY
        ]
        assert ours == real, name


def test_text_is_read() -> None:
    text = (
        "LRMultiplier(optimizer, WarmupParamScheduler(MultiStepParamScheduler([1, 0.1, 0.01], milestones=[60000, 80000], "
        "num_updates=90000), 0.001, 1000 / 90000), max_iter=90000)"
    )
    schedule = read("fvcore", text, lr=0.02)
    assert schedule.values(1)[0] == pytest.approx(2e-5)
    assert [schedule(t) for t in (1000, 59_999, 60_000, 89_999)] == pytest.approx([0.02, 0.02, 0.002, 0.0002])
    with pytest.raises(DialectError, match="has no argument 'end'"):
        read("fvcore", "CosineParamScheduler(1, end=0)")


def test_what_is_refused_says_why() -> None:
    with pytest.raises(TypeError, match=r"multiplier must be one of fvcore's schedulers, got 0\.1"):
        dialect.LRMultiplier(0.1, 0.1, 10)  # type: ignore[arg-type]
    with pytest.raises(DialectError, match="made by a function of laju's dialect of fvcore"):
        dialect.LRMultiplier(0.1, laju.linear(1, 0, total=3), 10)
    with pytest.raises(DialectError, match=r"sum of 1, as fvcore requires, got 0\.9"):
        dialect.CompositeParamScheduler([dialect.ConstantParamScheduler(1)], [0.9], ["fixed"])
    with pytest.raises(DialectError, match="warmup_method must be one of linear, constant"):
        dialect.WarmupParamScheduler(dialect.ConstantParamScheduler(1), 0, 0.1, "cosine")  # type: ignore[arg-type]
