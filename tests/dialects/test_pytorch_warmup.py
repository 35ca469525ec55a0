"""laju's warmup factors beside pytorch_warmup's own, around schedulers of torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import laju  # noqa: E402
from laju.dialects import DialectError, pytorch_warmup, read  # noqa: E402
from laju.dialects import torch as dialect  # noqa: E402
from tests.dialects import test_torch as torch_tests  # noqa: E402
from tests.dialects.conftest import importable  # noqa: E402
from tests.dialects.drawn import FLOATS, calls, same_or_refused  # noqa: E402

RELEASE = "0.2.0"
few = settings(max_examples=30, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def package(dialects_path: Path) -> Any:
    with importable(dialects_path):
        return pytest.importorskip(
            "pytorch_warmup", reason=f"pytorch_warmup is not in {dialects_path}: make setup-dialects"
        )


def used(
    package: Any,
    name: str,
    lr: float,
    n: int,
    inner: torch_tests.Call | None = None,
    beta2: float = 0.999,
    **kwargs: Any,
) -> Any:
    """The rates of a loop as the package's documentation has it."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr, betas=(0.9, float(beta2)))
    values = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = None if inner is None else torch_tests.real(optimizer, inner)
        warmup = getattr(package, name)(optimizer, **kwargs)
        for _ in range(n):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            with warmup.dampening():
                if scheduler:
                    scheduler.step()
    return np.array(values)


@pytest.mark.parametrize("name", ["LinearWarmup", "ExponentialWarmup"])
def test_a_given_period(name: str, package: Any, parity: Any) -> None:
    @few
    @given(lr=st.sampled_from([1e-4, 0.1, 1.0]), period=st.integers(1, 400), gamma=st.none() | st.floats(0.9, 1))
    def run(lr: float, period: int, gamma: float | None) -> None:
        inner = None if gamma is None else ("ExponentialLR", {"gamma": gamma})
        expected = used(package, name, lr, 300, inner, warmup_period=period)
        ours = getattr(pytorch_warmup, name)(lr if gamma is None else dialect.ExponentialLR(lr, gamma), period)
        # torch's own errors add up, within t + 2 ulp.
        parity("pytorch_warmup", name, RELEASE, expected, ours.values(300), most=2 if gamma is None else 304, of=[lr])
        assert laju.parse(str(ours)) == ours.normal
        assert laju.from_json(ours.to_json()) == ours.normal

    run()


@pytest.mark.parametrize("name", ["UntunedLinearWarmup", "UntunedExponentialWarmup"])
def test_an_untuned_period(name: str, package: Any, parity: Any) -> None:
    @few
    @given(lr=st.sampled_from([1e-4, 0.1]), beta2=st.floats(0, 0.9999) | st.sampled_from([0.9, 0.98, 0.99, 0.999]))
    def run(lr: float, beta2: float) -> None:
        expected = used(package, name, lr, 400, beta2=beta2)
        ours = getattr(pytorch_warmup, name)(lr, beta2)
        parity("pytorch_warmup", name, RELEASE, expected, ours.values(400), most=2, of=[lr])
        assert laju.parse(str(ours)) == ours.normal

    run()


@pytest.mark.parametrize("name", pytorch_warmup.SYSTEM.schedulers)
def test_whatever_the_arguments_rates_are_its_own(name: str, package: Any) -> None:
    ours = getattr(pytorch_warmup, name)

    @settings(few, max_examples=100)
    @given(kwargs=calls(ours, ("last_step",), {"lr": FLOATS}), inner=st.none() | torch_tests.parts)
    def check(kwargs: dict[str, Any], inner: torch_tests.Call | None) -> None:
        lr, n = kwargs["lr"], min(60, (inner or ("", {}))[1].get("total_steps", 60))
        same_or_refused(
            lambda: ours(**{**kwargs, "lr": torch_tests.ours(inner, lr) if inner else lr}).values(n),
            lambda: used(package, name, n=n, inner=inner, **kwargs),
            of=1.0,
        )

    check()


def test_the_untuned_period_is_cut_to_1999_at_the_default(package: Any) -> None:
    assert used(package, "UntunedLinearWarmup", 1.0, 1999)[-1] == 1.0
    assert pytorch_warmup.UntunedLinearWarmup(1.0)(1998) == 1.0


def test_rectification(package: Any, parity: Any) -> None:
    @few
    @given(lr=st.sampled_from([1e-4, 1.0]), beta2=st.floats(0.61, 0.9999) | st.sampled_from([0.9, 0.98, 0.99, 0.999]))
    def run(lr: float, beta2: float) -> None:
        expected = used(package, "RAdamWarmup", lr, 400, beta2=beta2)
        ours = pytorch_warmup.RAdamWarmup(lr, beta2)
        parity(
            "pytorch_warmup", "RAdamWarmup", RELEASE, expected, ours.values(400), most=100 + 4 / (1 - beta2), of=[lr]
        )
        assert laju.parse(str(ours)) == ours.normal

    run()


def test_close_to_1_rectification_begins_with_nothing_but_error(package: Any) -> None:
    expected = used(package, "RAdamWarmup", 1.0, 10, beta2=0.999999)
    assert abs(pytorch_warmup.RAdamWarmup(1.0, 0.999999).values(10) / expected - 1).max() > 0.5


def test_made_but_left_out_it_dampens_for_ever(package: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 100)
    package.LinearWarmup(optimizer, 10)
    for _ in range(50):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("period", [0, -1, 2.0, "3", None, [0]])
@pytest.mark.parametrize("name", ["LinearWarmup", "ExponentialWarmup"])
def test_both_refuse_the_same_periods(name: str, period: Any, package: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        used(package, name, 0.1, 3, warmup_period=period)
    with pytest.raises(DialectError, match="warmup_period must be an int of at least 1"):
        getattr(pytorch_warmup, name)(0.1, period)


@pytest.mark.parametrize("beta2", [-0.1, 0.3, 0.6, 1.0])
def test_both_refuse_the_same_beta2(beta2: float, package: Any) -> None:
    with pytest.raises(ValueError, match=r"beta2|beta parameter"):
        used(package, "RAdamWarmup", 0.1, 3, beta2=beta2)
    with pytest.raises(ValueError, match="beta2 must be"):
        pytorch_warmup.RAdamWarmup(0.1, beta2)


def test_text_is_read() -> None:
    assert read("pytorch_warmup", "warmup.LinearWarmup(optimizer, warmup_period=4)", lr=0.1) == (
        pytorch_warmup.LinearWarmup(0.1, 4).normal
    )
