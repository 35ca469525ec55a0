"""laju's GluonCV schedules beside GluonCV's own. The file with its schedulers is loaded alone: the package asks for much else."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("mxnet", reason="MXNet needs NumPy 1.23.5 and so an environment of its own: make test-mxnet")
package = importlib.util.find_spec("gluoncv")
if package is None or package.origin is None:
    pytest.skip("needs gluoncv: make setup-mxnet", allow_module_level=True)

import laju  # noqa: E402
from laju.dialects import DialectError, read  # noqa: E402
from laju.dialects import gluoncv as dialect  # noqa: E402
from tests.dialects.drawn import calls, same_or_refused  # noqa: E402

spec = importlib.util.spec_from_file_location(
    "gluoncv_schedulers", Path(package.origin).parent / "utils" / "lr_scheduler.py"
)
assert spec is not None
assert spec.loader is not None
real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)

RELEASE = version("gluoncv")
N = 90
few = settings(max_examples=150, deadline=None, derandomize=True)
bases = st.sampled_from([0.0, 1e-3, 0.1, 0.3, 1.0])
steps = st.none() | st.lists(st.integers(0, 40), max_size=4)
one = st.fixed_dictionaries(
    {"mode": st.sampled_from(["constant", "step", "linear", "poly", "cosine"])},
    optional={
        "base_lr": bases,
        "target_lr": bases,
        "niters": st.integers(0, 50),
        "nepochs": st.integers(0, 5),
        "iters_per_epoch": st.integers(0, 8),
        "offset": st.integers(-5, 20),
        "power": st.sampled_from([-1, 0, 0.9, 1, 2]),
        "step_iter": steps,
        "step_epoch": steps,
        "step_factor": st.sampled_from([0.1, 0.5, 2.0]),
        "baselr": bases,
        "targetlr": bases,
    },
)


def asked(scheduler: Any, counts: str) -> np.ndarray:
    first = int(counts == "trainer")
    return np.array([float(scheduler(n)) for n in range(first, N + first)])


@given(kwargs=one, counts=st.sampled_from(["trainer", "raw"]))
@few
def test_values_are_its_own(kwargs: dict[str, Any], counts: str, parity: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = asked(real.LRScheduler(**kwargs), counts)
        except (AssertionError, ZeroDivisionError):
            with pytest.raises(DialectError):
                dialect.LRScheduler(**kwargs, counts=counts)
            return
    schedule = dialect.LRScheduler(**kwargs, counts=counts)
    assert laju.parse(str(schedule)) == schedule.normal
    parity("gluoncv", "LRScheduler", RELEASE, theirs, schedule.values(N), of=[*theirs, kwargs.get("base_lr", 0.1)])


@given(kwargs=calls(dialect.LRScheduler, ("counts",)), counts=st.sampled_from(["trainer", "raw"]))
@few
def test_whatever_the_arguments_values_are_its_own(kwargs: dict[str, Any], counts: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same_or_refused(
            lambda: dialect.LRScheduler(**kwargs, counts=counts).values(N),
            lambda: asked(real.LRScheduler(**kwargs), counts),
            of=max(abs(kwargs.get(name) or 0.1) for name in ("base_lr", "target_lr", "baselr", "targetlr")),
        )


@given(parts=st.lists(calls(dialect.LRScheduler, ("counts",)), max_size=4), counts=st.sampled_from(["trainer", "raw"]))
@few
def test_whatever_the_arguments_sequences_are_its_own(parts: list[dict[str, Any]], counts: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same_or_refused(
            lambda: dialect.LRSequential([dialect.LRScheduler(**kwargs) for kwargs in parts], counts=counts).values(N),
            lambda: asked(real.LRSequential([real.LRScheduler(**kwargs) for kwargs in parts]), counts),
            of=40.0,
        )


@given(parts=st.lists(one, max_size=4), counts=st.sampled_from(["trainer", "raw"]))
@few
def test_sequences_are_its_own(parts: list[dict[str, Any]], counts: str, parity: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = asked(real.LRSequential([real.LRScheduler(**kwargs) for kwargs in parts]), counts)
        except (AssertionError, ZeroDivisionError):
            with pytest.raises(DialectError):
                dialect.LRSequential([dialect.LRScheduler(**kwargs) for kwargs in parts], counts=counts)
            return
    try:
        ours = [dialect.LRScheduler(**kwargs) for kwargs in parts]
    except (
        DialectError
    ):  # where GluonCV would divide by 0 if it ever asked that part, which test_values_are_its_own checks
        return
    schedule = dialect.LRSequential(ours, counts=counts)
    peak = [*theirs, *(kwargs.get("base_lr", 0.1) for kwargs in parts)]
    parity("gluoncv", "LRSequential", RELEASE, theirs, schedule.values(N), of=peak)


def test_names_and_defaults_are_its_own() -> None:
    theirs = inspect.signature(real.LRScheduler.__init__).parameters
    ours = inspect.signature(dialect.LRScheduler).parameters
    own = {k: p.default for k, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert list(own.items()) == [(k, p.default) for k, p in theirs.items() if k != "self"]


def test_a_call_as_text_is_read() -> None:
    text = "LRSequential([LRScheduler('linear', 0, 1.0, niters=3), LRScheduler('cosine', 1.0, niters=3)])"
    found = read("gluoncv", text)
    np.testing.assert_allclose(found.values(6), [0.5, 1, 1, 0.5, 0, 0], atol=1e-16)
    with pytest.raises(DialectError, match=r"schedulers\[0\] must be made by"):
        dialect.LRSequential([laju.constant(1.0)])
    with pytest.raises(DialectError, match="mode must be one of"):
        read("gluoncv", "LRScheduler('cubic')")
