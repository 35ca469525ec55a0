"""laju's fastai schedules beside fastai's own: its functions of progress, and a `Learner` that really trains."""

from __future__ import annotations

import inspect
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju.dialects import DialectError, NotASchedule, read, system
from laju.dialects import fastai as dialect
from tests.dialects.drawn import calls, same_or_refused

from .conftest import importable

torch = pytest.importorskip("torch")
SYSTEM = dialect.SYSTEM
RELEASE = SYSTEM.releases[0]
few = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def fastai(dialects_path: Path) -> Any:
    if not (dialects_path / "fastai").is_dir():
        pytest.skip(f"needs fastai {RELEASE} in {dialects_path}: make setup-dialects")
    with importable(dialects_path):
        from fastai import basics
        from fastai.callback import schedule
    return types.SimpleNamespace(**{**vars(basics), **vars(schedule)})


def trained(fastai: Any, name: str, batches: int, **kwargs: Any) -> np.ndarray:
    """The rates with which a `Learner` trains the last group of its parameters."""
    rates: list[float] = []

    class Rates(fastai.Callback):  # type: ignore[misc]
        order = 70

        def before_batch(self) -> None:
            if self.training:
                rates.append(float(self.opt.hypers[-1]["lr"]))

    items = [(torch.zeros(2), torch.zeros(1)) for _ in range(batches)]
    loader = fastai.DataLoader(items, bs=1)
    learner = fastai.Learner(
        fastai.DataLoaders(loader, loader, device="cpu"),
        torch.nn.Linear(2, 1),
        loss_func=torch.nn.MSELoss(),
        opt_func=fastai.SGD,
        cbs=Rates(),
    )
    with learner.no_bar(), learner.no_logging():
        getattr(learner, name)(**kwargs)
    return np.array(rates)


rates = st.sampled_from([1e-3, 0.1, 1.0])
shares = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.72, 0.75, 1.0])
FITS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "fit_one_cycle": st.fixed_dictionaries(
        {"n_epoch": st.integers(1, 6), "lr_max": rates, "pct_start": shares, "div": st.sampled_from([25.0, 1.0])}
    ),
    "fit_flat_cos": st.fixed_dictionaries({"n_epoch": st.integers(1, 6), "lr": rates, "pct_start": shares}),
    "fit_sgdr": st.fixed_dictionaries(
        {
            "n_cycles": st.integers(1, 4),
            "cycle_len": st.integers(1, 2),
            "lr_max": rates,
            "cycle_mult": st.sampled_from([2, 3]),
        }
    ),
    "fine_tune": st.fixed_dictionaries(
        {"epochs": st.integers(1, 4), "base_lr": rates, "freeze_epochs": st.integers(1, 2)}
    ),
}


@pytest.mark.parametrize("name", FITS)
@given(data=st.data())
@settings(max_examples=15, deadline=None, derandomize=True)
def test_a_learner_trains_with_these_rates(name: str, data: st.DataObject, fastai: Any, parity: Any) -> None:
    batches = data.draw(st.integers(1, 23))
    kwargs = data.draw(FITS[name])
    ours = getattr(dialect, name)
    try:
        theirs = trained(fastai, name, batches, **kwargs)
    except AssertionError:
        with pytest.raises(DialectError):
            ours(**kwargs, n_iter=batches)
        return
    n = len(theirs)
    schedule = ours(**kwargs, n_iter=batches)
    assert laju.parse(str(schedule)) == schedule.normal
    parity("fastai", name, RELEASE, theirs, schedule.values(n), dtype=np.float32, most=8, of=theirs)


@pytest.mark.parametrize("name", FITS)
@given(data=st.data(), batches=st.integers(1, 9))
@few
def test_whatever_the_arguments_a_learner_trains_with_these_rates(
    name: str, data: st.DataObject, batches: int, fastai: Any
) -> None:
    ours = getattr(dialect, name)
    few_epochs = st.sampled_from([-1, 0, 1, 2, 3, 2.5])
    lengths = dict.fromkeys(("n_epoch", "epochs", "freeze_epochs", "n_cycles", "cycle_len"), few_epochs)
    lengths["cycle_mult"] = st.sampled_from([-1, 0, 1, 2, 3, 1.5])
    kwargs = data.draw(calls(ours, ("n_iter",), lengths))
    same_or_refused(
        lambda: ours(**kwargs, n_iter=batches).values(200),
        lambda: trained(fastai, name, batches, **kwargs)[:200],
        most=1e-5,
    )


ends = st.sampled_from([1e-3, 0.01, 0.3, 1.0])
CURVES: dict[str, st.SearchStrategy[tuple[float, ...]]] = {
    "SchedLin": st.tuples(ends, ends),
    "SchedCos": st.tuples(ends, ends),
    "SchedNo": st.tuples(ends, ends),
    "SchedExp": st.tuples(ends, ends),
    "SchedPoly": st.tuples(ends, ends, st.sampled_from([0, 0.5, 1, 2, 3.5])),
}


@pytest.mark.parametrize("name", CURVES)
@given(data=st.data())
@few
def test_curves_of_progress_are_its_own(name: str, data: st.DataObject, fastai: Any, parity: Any) -> None:
    arguments, n = data.draw(CURVES[name]), data.draw(st.integers(1, 200))
    real = getattr(fastai, name)(*arguments)
    theirs = np.array([float(real(t / n)) for t in range(n + 1)])
    ours = getattr(dialect, name)(*arguments, n_iter=n)
    assert laju.parse(str(ours)) == ours.normal
    # Near 0 of a falling curve both have lost the digits that their ends have.
    parity("fastai", name, RELEASE, theirs, ours.values(n + 1), of=[*arguments[:2]])


@pytest.mark.parametrize("name", CURVES)
@given(data=st.data())
@few
def test_whatever_the_arguments_values_are_its_own(name: str, data: st.DataObject, fastai: Any) -> None:
    kwargs, n = data.draw(calls(getattr(dialect, name), ("n_epoch", "n_iter"))), data.draw(st.integers(1, 60))
    same_or_refused(
        lambda: getattr(dialect, name)(**kwargs, n_iter=n).values(n + 1),
        lambda: [float(getattr(fastai, name)(**kwargs)(t / n)) for t in range(n + 1)],
        most=1e-12,
    )


@given(data=st.data(), n=st.integers(1, 60))
@few
def test_whatever_the_arguments_combined_curves_are_its_own(data: st.DataObject, n: int, fastai: Any) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(CURVES)), max_size=3))
    kwargs = [data.draw(calls(getattr(dialect, name), ("n_epoch", "n_iter"))) for name in names]
    shares = st.sampled_from([0, 0.1, 0.25, 0.5, 0.75, 1, 1.5, -0.5])
    pcts = data.draw(
        st.lists(shares, min_size=len(names), max_size=len(names)).map(lambda p: [*p[:-1], 1 - sum(p[:-1])][: len(p)])
    )

    def curves(system: Any) -> list[Any]:
        return [getattr(system, name)(**given) for name, given in zip(names, kwargs, strict=True)]

    progress = np.cumsum([0.0, *[1.0 / n] * (n - 1)])  # as a Learner adds it up
    same_or_refused(
        lambda: dialect.combine_scheds(pcts, curves(dialect), n_iter=n).values(n),
        lambda: [float(fastai.combine_scheds(pcts, curves(fastai))(p)) for p in progress],
        most=1e-5,
    )


@given(data=st.data())
@few
def test_combined_curves_are_its_own(data: st.DataObject, fastai: Any, parity: Any) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(CURVES)), min_size=1, max_size=4))
    arguments = [data.draw(CURVES[name]) for name in names]
    weights = data.draw(st.lists(st.integers(0, 4), min_size=len(names), max_size=len(names)).filter(sum))
    pcts, n = [w / sum(weights) for w in weights], data.draw(st.integers(1, 200))

    def ours(**kwargs: Any) -> laju.Schedule:
        return dialect.combine_scheds(
            pcts, [getattr(dialect, name)(*a) for name, a in zip(names, arguments, strict=True)], **kwargs
        )

    try:
        real = fastai.combine_scheds(pcts, [getattr(fastai, m)(*a) for m, a in zip(names, arguments, strict=True)])
    except AssertionError:
        with pytest.raises(DialectError, match="exactly 1"):
            ours(n_iter=n)
        return
    progress = np.cumsum([0.0, *[1.0 / n] * (n - 1)])  # as a Learner adds it up
    theirs = np.array([float(real(p)) for p in progress])
    most = 4 / min(p for p in pcts if p)
    parity(
        "fastai", "combine_scheds", RELEASE, theirs, ours(n_iter=n).values(n), dtype=np.float32, most=most, of=theirs
    )


def test_two_cosines_are_its_own(fastai: Any, parity: Any) -> None:
    n = 97
    real = fastai.combined_cos(0.25, 0.1, 1.0, 0.0)
    theirs = np.array([float(real(p)) for p in np.cumsum([0.0, *[1.0 / n] * (n - 1)])])
    ours = dialect.combined_cos(0.25, 0.1, 1.0, 0.0, n_iter=n)
    parity("fastai", "combined_cos", RELEASE, theirs, ours.values(n), dtype=np.float32, of=theirs)


def test_names_and_defaults_are_its_own(fastai: Any) -> None:
    for name in (*FITS, *CURVES, "combine_scheds", "combined_cos"):
        theirs = getattr(fastai.Learner if name in FITS else fastai, name)
        if inspect.isclass(theirs):
            theirs = theirs.__init__
        wanted = {k: p for k, p in inspect.signature(theirs).parameters.items() if k not in ("self", "kwargs")}
        has = inspect.signature(getattr(dialect, name)).parameters
        for key, parameter in wanted.items():
            if key in has and parameter.default is not inspect.Parameter.empty and parameter.default is not None:
                assert has[key].default == parameter.default, (name, key)
        own = [k for k, p in has.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert own == [k for k in wanted if k in own], name


def test_a_call_as_text_is_read() -> None:
    found = read("fastai", "combine_scheds([0.5, 0.5], [SchedNo(1.0, 0.0), SchedLin(1.0, 0.0)], n_iter=8)")
    assert found.values(9).tolist() == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    assert read("fastai", "fit_one_cycle(2, 1.0)", n_iter=4) == dialect.fit_one_cycle(2, 1.0, n_iter=4).normal


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("fit_one_cycle(2, 1.0)", "n_iter, the number of batches per epoch"),
        ("fit_one_cycle(2, 1.0, div=0, n_iter=3)", "div must not be 0"),
        ("fit_one_cycle(2, 1.0, pct_start=1.5, n_iter=3)", "must not be negative"),
        ("fit_sgdr(2, 1, 1.0, cycle_mult=1, n_iter=3)", "cycle_mult must not be 1"),
        ("SchedExp(0, 1)", "must not be 0"),
        ("SchedLin(0, 1, n_epoch=2)", "without n_iter"),
        ("combine_scheds([0.5, 0.6], [SchedNo(1, 1), SchedNo(1, 1)])", "sum of exactly 1"),
        ("fit_one_cicle(2)", "did you mean 'fit_one_cycle'"),
    ],
)
def test_what_fastai_refuses_is_refused(call: str, message: str) -> None:
    with pytest.raises(DialectError, match=message):
        read("fastai", call)


def test_a_range_test_is_no_schedule() -> None:
    with pytest.raises(NotASchedule, match="laju find"):
        system("fastai").scheduler("LRFinder")
