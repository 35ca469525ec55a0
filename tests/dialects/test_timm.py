"""laju's timm schedules beside timm's own, given every count over the whole horizon and past it."""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import laju  # noqa: E402
from laju.core.schedule import Schedule  # noqa: E402
from laju.dialects import DialectError, NotASchedule, read, system  # noqa: E402
from laju.dialects import timm as dialect  # noqa: E402
from tests.dialects.drawn import calls, same_or_refused  # noqa: E402

N = 150
few = settings(max_examples=60, deadline=None, derandomize=True)
warmup = {
    "warmup_t": st.sampled_from([0, 0, 1, 5, 12]), "warmup_lr_init": st.sampled_from([0.0, 1e-4]),
    "warmup_prefix": st.booleans(),
}  # fmt: skip
cycle = {
    "t_initial": st.integers(0, 40), "lr_min": st.sampled_from([0.0, 0.01, -0.1]),
    "cycle_mul": st.sampled_from([1.0, 1.0, 2.0, 1.5]), "cycle_decay": st.sampled_from([1.0, 0.5]),
    "cycle_limit": st.integers(0, 3), **warmup,
}  # fmt: skip
CALLS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "CosineLRScheduler": st.fixed_dictionaries({**cycle, "k_decay": st.sampled_from([1.0, 1.0, 0.5, 2.0])}),
    "PolyLRScheduler": st.fixed_dictionaries(
        {**cycle, "power": st.sampled_from([0.5, 1.0, 2.0]), "k_decay": st.sampled_from([1.0, 1.0, 0.5])}
    ),
    "TanhLRScheduler": st.fixed_dictionaries(
        {**cycle, "lb": st.sampled_from([-7.0, -4.0]), "ub": st.sampled_from([3.0, 4.0, -8.0])}
    ),
    "StepLRScheduler": st.fixed_dictionaries(
        {"decay_t": st.sampled_from([1, 3, 10, 7.5]), "decay_rate": st.sampled_from([1.0, 0.5, 0.1, 0.0]), **warmup}
    ),
    "MultiStepLRScheduler": st.fixed_dictionaries(
        {"decay_t": st.lists(st.integers(0, 60), max_size=4, unique=True).map(sorted),
         "decay_rate": st.sampled_from([1.0, 0.5, 0.1]), **warmup}
    ),
    "WSDLRScheduler": st.fixed_dictionaries(
        {"t_initial": st.integers(0, 60), "decay_t": st.integers(0, 30), "lr_min": st.sampled_from([0.0, 0.0, 1e-3, 0.2, -0.1]),
         "stable_fn": st.sampled_from(["constant", "constant", "rsqrt", "power", "log"]),
         "decay_fn": st.sampled_from(["linear", "1-sqrt", "cosine", "power", "exp", "square"]),
         "warmup_t": st.sampled_from([0, 1, 5]), "warmup_lr_init": st.sampled_from([0.0, 1e-4])},
        optional={
            "stable_timescale": st.sampled_from([0.0, 7.0, 20.5]), "stable_power": st.sampled_from([0.25, 1.0]),
            "decay_power": st.sampled_from([0.0, 0.7, 2.0]), "decay_ratio": st.sampled_from([0.01, 0.5, 1.0]),
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def timm() -> Any:
    folder = Path(os.environ.get("LAJU_VISION", Path(__file__).parents[2] / ".vision")) / "timm" / "scheduler"
    if not folder.is_dir():
        pytest.skip(f"needs timm {system('timm').releases[0]} in {folder.parent.parent}: make setup-vision")
    # The schedulers alone: the package itself loads torchvision.
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "timm"}
    for name in kept:
        del sys.modules[name]
    for name, place in (("timm", folder.parent), ("timm.scheduler", folder)):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(place)]
    names = {
        "CosineLRScheduler": "cosine_lr", "PolyLRScheduler": "poly_lr", "TanhLRScheduler": "tanh_lr",
        "StepLRScheduler": "step_lr", "MultiStepLRScheduler": "multistep_lr", "WSDLRScheduler": "wsd_lr",
    }  # fmt: skip
    try:
        found = {name: getattr(importlib.import_module(f"timm.scheduler.{file}"), name) for name, file in names.items()}
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
            del sys.modules[name]
        sys.modules.update(kept)
    return types.SimpleNamespace(**found)


def theirs(timm: Any, name: str, lr: float, arguments: dict[str, Any], in_epochs: bool) -> np.ndarray:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = getattr(timm, name)(optimizer, t_in_epochs=in_epochs, **arguments)
    values = []
    for t in range(N):
        values.append(optimizer.param_groups[0]["lr"])
        (scheduler.step if in_epochs else scheduler.step_update)(t + 1)
    return np.array(values, float)


def fails(call: Any) -> bool:
    try:
        call()
    except (ValueError, TypeError, AssertionError, ZeroDivisionError):
        return True
    return False


@pytest.mark.parametrize("name", CALLS)
def test_values_are_those_of_the_real_scheduler(timm: Any, name: str, parity: Any) -> None:
    @few
    @given(st.sampled_from([1e-3, 0.1, 1.0]), CALLS[name], st.booleans())
    def check(lr: float, arguments: dict[str, Any], in_epochs: bool) -> None:
        def make(**more: Any) -> Schedule:
            return getattr(dialect, name)(lr, **arguments, t_in_epochs=in_epochs, **more)

        if fails(lambda: theirs(timm, name, lr, arguments, in_epochs)):
            with pytest.raises(DialectError):
                make()
            return
        real = theirs(timm, name, lr, arguments, in_epochs)
        closed = make()
        assert laju.parse(str(closed)) == closed.normal
        parity("timm", name, system("timm").releases[0], real, closed.values(N), of=max(lr, 0.01), most=8)

    check()


def test_text_and_what_is_refused() -> None:
    text = "CosineLRScheduler(t_initial=300, warmup_t=5, warmup_lr_init=1e-6)"
    schedule = read("timm", text, lr=0.1)
    assert schedule.values(6).tolist() == pytest.approx(
        [1e-6, 0.0200008, 0.0400006, 0.0600004, 0.0800002, 0.0999314], rel=1e-5
    )
    assert set(CALLS) == set(system("timm").schedulers)
    with pytest.raises(NotASchedule, match="follows a metric"):
        read("timm", "PlateauLRScheduler(optimizer)", lr=0.1)
    with pytest.raises(DialectError, match="has no argument 'noise_pct'"):
        read("timm", "CosineLRScheduler(optimizer, t_initial=3, noise_pct=0.5)", lr=0.1)
    with pytest.raises(
        DialectError,
        match=r"cycle_mul must be a finite number of at least 1, got 0\.5: the number of ever shorter cycles",
    ):
        dialect.CosineLRScheduler(0.1, 10, cycle_mul=0.5)


@pytest.mark.parametrize("name", CALLS)
def test_whatever_the_arguments_values_are_timms(timm: Any, name: str) -> None:
    @settings(few, max_examples=100)
    @given(kwargs=calls(getattr(dialect, name), ("lr", "t_in_epochs")), lr=st.sampled_from([0.1, 1.0]))
    def check(kwargs: dict[str, Any], lr: float) -> None:
        same_or_refused(
            lambda: getattr(dialect, name)(lr, **kwargs).values(N),
            lambda: theirs(timm, name, lr, kwargs, in_epochs=True),
        )

    check()
