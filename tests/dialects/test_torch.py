"""laju's torch schedulers beside torch's own, stepped over the whole horizon and past it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import laju  # noqa: E402
from laju.core.schedule import Schedule  # noqa: E402
from laju.dialects import DialectError, NotASchedule, read, system  # noqa: E402
from laju.dialects import torch as dialect  # noqa: E402
from tests.dialects.drawn import calls, same_or_refused  # noqa: E402

RELEASE = torch.__version__.split("+")[0]
few = settings(max_examples=40, deadline=None, derandomize=True)
Call = tuple[str, dict[str, Any]]


def optimizer(lr: float) -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


def real(of: Any, call: Call) -> Any:
    """torch's scheduler; parts of others are made in the order of the list."""
    name, kwargs = call
    cls = torch.optim.swa_utils.SWALR if name == "SWALR" else getattr(torch.optim.lr_scheduler, name)
    if name == "ChainedScheduler":
        return cls([real(of, part) for part in kwargs["schedulers"]])
    if name == "SequentialLR":
        return cls(of, [real(of, part) for part in kwargs["schedulers"]], kwargs["milestones"])
    if "lr_lambda" in kwargs:
        given = kwargs["lr_lambda"]
        kwargs = {"lr_lambda": (lambda epoch: given) if isinstance(given, float) else lambda epoch: given(epoch)}
    return cls(of, **kwargs)


def theirs(call: Call, lr: float, n: int, until_it_raises: bool = False) -> np.ndarray:
    of = optimizer(lr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = real(of, call)
        values = [of.param_groups[0]["lr"]]
        try:
            for _ in range(n - 1):
                of.step()
                scheduler.step()
                values.append(of.param_groups[0]["lr"])
        except (ValueError, ZeroDivisionError, NotImplementedError, IndexError):
            if not until_it_raises:
                raise
    return np.array(values, float)


def ours(call: Call, lr: float) -> Any:
    name, kwargs = call
    given: dict[str, Any] = dict(kwargs)
    if "schedulers" in given:
        given["schedulers"] = [ours(part, lr) for part in given["schedulers"]]
    if name not in ("CyclicLR", "OneCycleLR"):
        given["lr"] = lr
    return getattr(dialect, name)(**given)


def refuses(f: Callable[[], object]) -> bool:
    try:
        f()
    except (ValueError, TypeError, ZeroDivisionError, NotImplementedError, IndexError):
        return True
    return False


def survives(schedule: Schedule) -> None:
    assert laju.parse(str(schedule)) == schedule.normal
    assert laju.from_json(schedule.to_json()) == schedule.normal
    n = 50
    values = schedule.values(n)
    assert np.allclose(values, [schedule(t) for t in range(n)], rtol=1e-9, atol=1e-12 * np.abs(values).max())


rates = st.sampled_from([1e-5, 0.003, 0.1, 0.3, 1.0])
gammas = st.sampled_from([0.1, 0.5, 0.9, 0.97, 0.999, 1.0, 1.01])
lengths = st.integers(1, 60)

SINGLE: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "LambdaLR": st.fixed_dictionaries({"lr_lambda": st.builds(laju.linear, st.just(1), st.floats(0, 1), lengths)}),
    "MultiplicativeLR": st.fixed_dictionaries({"lr_lambda": gammas}),
    "StepLR": st.fixed_dictionaries({"step_size": st.integers(-40, 40).filter(bool), "gamma": gammas | st.just(0.0)}),
    "MultiStepLR": st.fixed_dictionaries({"milestones": st.lists(st.integers(-3, 60), max_size=6), "gamma": gammas}),
    "ConstantLR": st.fixed_dictionaries({"factor": st.floats(0.01, 1), "total_iters": st.integers(-2, 60)}),
    "LinearLR": st.fixed_dictionaries(
        {"start_factor": st.floats(0.01, 1), "end_factor": st.floats(0, 1), "total_iters": st.integers(-2, 60)}
    ),
    "ExponentialLR": st.fixed_dictionaries({"gamma": gammas | st.sampled_from([0.0, -0.5])}),
    "PolynomialLR": st.fixed_dictionaries(
        {"total_iters": st.integers(-2, 60), "power": st.sampled_from([0, 0.5, 0.9, 1.0, 2.0, 3.7])}
    ),
    "CosineAnnealingLR": st.fixed_dictionaries(
        {"T_max": st.integers(-60, 60).filter(bool), "eta_min": st.sampled_from([0.0, 1e-4, 0.05, 0.5])}
    ),
    "CosineAnnealingWarmRestarts": st.fixed_dictionaries(
        {"T_0": lengths, "T_mult": st.integers(1, 3), "eta_min": st.sampled_from([0.0, 1e-4, 0.05])}
    ),
    "CyclicLR": st.fixed_dictionaries(
        {
            "base_lr": st.sampled_from([0.0, 0.001, 0.1]),
            "max_lr": st.sampled_from([0.05, 0.5]),
            "step_size_up": lengths | st.sampled_from([2.5, 0.75]),
            "step_size_down": st.none() | st.integers(0, 60),
            "mode": st.sampled_from(["triangular", "triangular2", "exp_range"]),
            "gamma": gammas,
            "cycle_momentum": st.booleans(),
        }
    ),
    "SWALR": st.fixed_dictionaries(
        {
            "swa_lr": st.sampled_from([0.05, 0.001]),
            "anneal_epochs": st.integers(0, 30),
            "anneal_strategy": st.sampled_from(["cos", "linear"]),
        }
    ),
}


def one_cycles(most: int = 120) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "max_lr": st.sampled_from([0.1, 1.0]),
            "total_steps": st.integers(1, most),
            "pct_start": st.sampled_from([0.0, 0.1, 0.3, 0.45, 0.5, 0.75, 1.0]) | st.floats(0, 1),
            "anneal_strategy": st.sampled_from(["cos", "linear"]),
            "div_factor": st.sampled_from([25.0, 2.0, 1]),
            "final_div_factor": st.sampled_from([1e4, 1.0]),
            "three_phase": st.booleans(),
        }
    ).filter(lambda k: k["pct_start"] * k["total_steps"] != 1)


def allowed(name: str, kwargs: dict[str, Any], n: int, lr: float, values: np.ndarray) -> tuple[float, Any]:
    """How far the closed form may be from torch, in ulp, as the docstrings say, and of what."""
    t = n - 1
    if name == "StepLR":
        return t // abs(kwargs["step_size"]) + 2, None
    if name in ("ExponentialLR", "MultiplicativeLR"):
        return t + 2, None
    peak = np.max(np.abs(values))
    if name == "LinearLR":
        return 1 + max(kwargs["total_iters"], 0) / 2, peak
    if name == "PolynomialLR":
        return 2 * (1 + kwargs["power"]) * (2 + max(kwargs["total_iters"], 0)), peak
    if name == "CosineAnnealingLR":
        half = abs(kwargs["T_max"])
        return (4 + half) * (1 + 4 * (t // half)), max(lr, kwargs["eta_min"])
    if name == "SWALR":
        return 4 + 2 * kwargs["anneal_epochs"], peak
    if name == "CyclicLR":
        up = kwargs["step_size_up"]
        total = up + (up if kwargs["step_size_down"] is None else kwargs["step_size_down"])
        low, high = kwargs["base_lr"], kwargs["max_lr"]
        steepest = max(total / up, total / (total - up) if total > up else 1)
        growth = max(1, kwargs.get("gamma", 1)) ** t if kwargs.get("mode") == "exp_range" else 1
        return 4 + 2 * (2 + t / total) * steepest, max(abs(low), abs(high), abs(high - low) * growth)
    if name == "CosineAnnealingWarmRestarts":
        return 4, max(lr, kwargs.get("eta_min", 0))
    if name == "OneCycleLR":
        return 4, max(peak, kwargs["max_lr"])
    return 0, None  # the same arithmetic


def check(parity: Any, name: str, kwargs: dict[str, Any], lr: float, n: int) -> None:
    call = (name, kwargs)
    expected = theirs(call, lr, n)
    closed = ours(call, lr)
    most, of = allowed(name, kwargs, n, lr, expected)
    parity("torch", name, RELEASE, expected, closed.values(n), most=most, of=of)
    survives(closed)


@pytest.mark.parametrize("name", SINGLE)
def test_each_scheduler_is_torchs_over_its_horizon_and_past_it(name: str, parity: Any) -> None:
    @few
    @given(kwargs=SINGLE[name], lr=rates)
    def run(kwargs: dict[str, Any], lr: float) -> None:
        check(parity, name, kwargs, lr, 250)

    run()


def test_one_cycle_is_torchs_up_to_the_step_at_which_it_raises(parity: Any) -> None:
    @settings(few, max_examples=120)
    @given(kwargs=one_cycles())
    def run(kwargs: dict[str, Any]) -> None:
        steps = kwargs["total_steps"]
        for n in (steps + 1, steps):  # one value after the last is there, unless torch divides by 0 for it
            if not refuses(lambda n=n: theirs(("OneCycleLR", kwargs), 0.5, n)):
                check(parity, "OneCycleLR", kwargs, 0.5, n)
                break
        assert refuses(lambda: theirs(("OneCycleLR", kwargs), 0.5, n + 1))

    run()


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("ExponentialLR", {"gamma": 0.9999}),
        ("StepLR", {"step_size": 30, "gamma": 0.99}),
        ("LinearLR", {"start_factor": 0.001, "total_iters": 20_000}),
        ("PolynomialLR", {"total_iters": 20_000, "power": 2.0}),
        ("CosineAnnealingLR", {"T_max": 20_000, "eta_min": 1e-5}),
        ("CosineAnnealingLR", {"T_max": 7, "eta_min": 1e-5}),
        ("CosineAnnealingWarmRestarts", {"T_0": 10, "T_mult": 2}),
        ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.1, "step_size_up": 7, "step_size_down": None}),
        ("SWALR", {"swa_lr": 0.05, "anneal_epochs": 3_000}),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 19_999}),
    ],
)
def test_over_a_long_run_the_closed_form_keeps_its_bound(name: str, kwargs: dict[str, Any], parity: Any) -> None:
    check(parity, name, kwargs, 0.1, 20_000)


def test_a_listed_factor_for_each_step(parity: Any) -> None:
    listed = [0.7, 0.5, 1.5, 0.9]
    table = laju.Table(tuple(listed))
    expected = theirs(("LambdaLR", {"lr_lambda": table}), 0.3, 12)
    parity("torch", "LambdaLR", RELEASE, expected, dialect.LambdaLR(0.3, listed).values(12), most=0)
    factors = laju.Table((*listed, 1.0))  # after the last, none
    expected = theirs(("MultiplicativeLR", {"lr_lambda": factors}), 0.3, 12)
    parity("torch", "MultiplicativeLR", RELEASE, expected, dialect.MultiplicativeLR(0.3, listed).values(12), most=0)


def test_a_schedule_of_factors_has_products_but_no_closed_form() -> None:
    factors = laju.linear(0.5, 1.1, total=9)
    with pytest.raises(DialectError, match="give the number of updates"):
        dialect.MultiplicativeLR(0.3, factors).normal
    expected = theirs(("MultiplicativeLR", {"lr_lambda": factors}), 0.3, 30)
    assert (dialect.MultiplicativeLR(0.3, factors).values(30) == expected).all()


# --- schedulers made of others ------------------------------------------------------------------------------------

parts = st.one_of(*(st.tuples(st.just(name), kwargs) for name, kwargs in SINGLE.items() if name != "SWALR"))
parts = st.one_of(parts, st.tuples(st.just("SWALR"), SINGLE["SWALR"]), st.tuples(st.just("OneCycleLR"), one_cycles()))


@st.composite
def sequences(draw: st.DrawFn) -> Call:
    chosen = draw(st.lists(parts, min_size=1, max_size=4))
    ends = draw(st.lists(st.integers(-1, 50), min_size=len(chosen) - 1, max_size=len(chosen) - 1))
    return "SequentialLR", {"schedulers": chosen, "milestones": sorted(ends)}


def same(parity: Any, call: Call, lr: float, n: int) -> None:
    """Both refuse, or the closed form is close, and the values are torch's bit by bit where there is none."""
    name = call[0]
    if refuses(lambda: theirs(call, lr, n, until_it_raises=True)):
        with pytest.raises(DialectError):
            ours(call, lr).values(n)
        return
    expected = theirs(call, lr, n, until_it_raises=True)
    if refuses(lambda: ours(call, lr).values(len(expected))):  # which has to be a step at which torch raises
        assert len(expected) < n
        return
    closed, n = ours(call, lr), len(expected)
    if closed.closed is None:
        parity("torch", f"{name} (stepped)", RELEASE, expected, closed.values(n), most=0)
        return
    parity("torch", name, RELEASE, expected, closed.values(n), most=4000, of=[1.0])  # a part's peak may be elsewhere
    survives(closed)


def test_sequences_are_torchs_whatever_their_parts(parity: Any) -> None:
    @settings(few, max_examples=200)
    @given(call=sequences(), lr=rates)
    def run(call: Call, lr: float) -> None:
        same(parity, call, lr, 70)

    run()


def test_chains_are_torchs_whatever_their_parts(parity: Any) -> None:
    @settings(few, max_examples=200)
    @given(chosen=st.lists(parts, min_size=1, max_size=4), lr=rates)
    def run(chosen: list[Call], lr: float) -> None:
        same(parity, ("ChainedScheduler", {"schedulers": chosen}), lr, 70)

    run()


def test_nested_ones_are_torchs_bit_by_bit(parity: Any) -> None:
    chains = st.tuples(
        st.just("ChainedScheduler"), st.fixed_dictionaries({"schedulers": st.lists(parts, min_size=1, max_size=2)})
    )

    @settings(few, max_examples=50)
    @given(inner=st.lists(parts | chains | sequences(), min_size=1, max_size=3), lr=rates, data=st.data())
    def run(inner: list[Call], lr: float, data: st.DataObject) -> None:
        ends = data.draw(st.lists(st.integers(0, 40), min_size=len(inner) - 1, max_size=len(inner) - 1))
        same(parity, ("SequentialLR", {"schedulers": inner, "milestones": sorted(ends)}), lr, 60)
        same(parity, ("ChainedScheduler", {"schedulers": inner}), lr, 60)

    run()


def test_a_part_that_torch_cannot_ask_for_its_first_rate_again_is_refused() -> None:
    inner: Call = ("ChainedScheduler", {"schedulers": [("PolynomialLR", {"total_iters": 0})]})
    call = ("SequentialLR", {"schedulers": [inner], "milestones": []})
    with pytest.raises(ZeroDivisionError):
        theirs(call, 0.1, 3)
    with pytest.raises(DialectError, match="fails when it is made"):
        ours(call, 0.1)


def test_a_chain_after_one_that_sets_the_rate_has_only_its_last_step() -> None:
    """The surprise that the docstring tells of: not 0.9 to the t."""
    call = (
        "ChainedScheduler",
        {"schedulers": [("CosineAnnealingWarmRestarts", {"T_0": 10}), ("ExponentialLR", {"gamma": 0.9})]},
    )
    cosine = dialect.CosineAnnealingWarmRestarts(0.1, T_0=10).values(9)
    assert theirs(call, 0.1, 9)[1:] == pytest.approx(0.9 * cosine[1:])
    assert (ours(call, 0.1).values(9) == theirs(call, 0.1, 9)).all()


def test_swalr_takes_over_as_torchs_documentation_has_it() -> None:
    of = optimizer(0.1)
    before = torch.optim.lr_scheduler.CosineAnnealingLR(of, T_max=100)
    swa, used = torch.optim.swa_utils.SWALR(of, swa_lr=0.05), []
    for epoch in range(40):
        used.append(of.param_groups[0]["lr"])
        of.step()
        (swa if epoch > 16 else before).step()
    cosine = dialect.CosineAnnealingLR(0.1, T_max=100)
    whole = cosine.take(17) >> dialect.SWALR(cosine(17), swa_lr=0.05)
    assert whole.values(40) == pytest.approx(used, rel=1e-13)


# --- what is refused ----------------------------------------------------------------------------------------------

BAD: dict[str, list[dict[str, Any]]] = {
    "StepLR": [{"step_size": 0}],
    "ConstantLR": [{"factor": f, "total_iters": n} for f in (-0.1, 0.0, 0.5, 1.0, 1.1) for n in (-1, 0, 1, 5)],
    "LinearLR": [{"start_factor": s, "end_factor": e} for s in (-1.0, 0.0, 1.0, 1.5) for e in (-0.1, 0.0, 1.0, 1.1)],
    "PolynomialLR": [{"power": p, "total_iters": n} for p in (-2.0, -0.5, 0.0, 1.0) for n in (-1, 0, 3)],
    "CosineAnnealingLR": [{"T_max": 0}, {"T_max": 3}, {"T_max": 7.5}],
    "CosineAnnealingWarmRestarts": [{"T_0": a, "T_mult": b} for a in (0, -1, 2.0, 3) for b in (0, 1, 1.5, 2)],
    "CyclicLR": [
        {"base_lr": 0.1, "max_lr": 0.2, "step_size_up": a, "step_size_down": b, "mode": mode}
        for a in (0, 3)
        for b in (None, 0, 3)
        for mode in ("triangular", "triangle")
        if (a, b) != (0, 3)
    ],
    "OneCycleLR": [
        {"max_lr": 0.1, **steps, "pct_start": share, "three_phase": three}
        for steps in (
            {}, {"total_steps": 0}, {"total_steps": 10}, {"total_steps": 4}, {"total_steps": 10.0}, {"epochs": 2},
            {"epochs": 2, "steps_per_epoch": 0}, {"epochs": 2, "steps_per_epoch": 5}, {"total_steps": -1, "epochs": 2},
        )
        for share in (-0.1, 0.0, 0.1, 0.25, 0.3, 1.0, 1, 1.1)
        for three in (False, True)
    ]
    + [{"max_lr": 0.1, "total_steps": 9, "div_factor": 0}, {"max_lr": 0.1, "total_steps": 9, "final_div_factor": 0.0}]
    + [{"max_lr": 0.1, "total_steps": 9, "anneal_strategy": s} for s in ("cos", "linear", "cosine")],
    "SWALR": [
        {"swa_lr": 0.1, "anneal_epochs": n, "anneal_strategy": s} for n in (-1, 0, 2.0) for s in ("cos", "linear", "x")
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_both_refuse_the_same_arguments(name: str) -> None:
    for kwargs in BAD[name]:
        run = kwargs.get("total_steps", 10)
        n = run if name == "OneCycleLR" and isinstance(run, int) and run > 0 else 10
        call = (name, kwargs)
        assert refuses(lambda call=call, n=n: theirs(call, 0.1, n)) == refuses(lambda call=call: ours(call, 0.1)), (
            kwargs
        )


def test_a_negative_rate_is_refused_as_the_optimizer_does() -> None:
    assert refuses(lambda: optimizer(-0.1))
    with pytest.raises(ValueError, match=r"lr must be a finite number of at least 0, got -0\.1"):
        dialect.StepLR(-0.1, 30)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dialect.SequentialLR(0.1, [], []), "at least one scheduler"),
        (
            lambda: dialect.SequentialLR(0.1, [dialect.StepLR(0.1, 3)], [5]),
            "one fewer than the schedulers, so 0, got 1",
        ),
        (
            lambda: dialect.SequentialLR(0.2, [dialect.StepLR(0.1, 3)], []),
            "share one optimizer and so one lr, got 0.1, 0.2",
        ),
        (lambda: dialect.SequentialLR(0.1, [dialect.StepLR(0.1, 3)] * 3, [5, 4]), "must not decrease"),
        (lambda: dialect.ChainedScheduler([2 * dialect.StepLR(0.1, 3)]), "joined with >>"),
        (lambda: dialect.LambdaLR(0.1, math.sqrt), "Function"),  # type: ignore[arg-type]
        (lambda: dialect.CyclicLR(0.1, 1.0, scale_fn=math.sqrt), "a Python function is not accepted"),  # type: ignore[arg-type]
        (lambda: dialect.StepLR(0.1, 10.5), "whole number, got 10.5"),  # type: ignore[arg-type]
    ],
)
def test_errors_say_what_would_be_valid(call: Callable[[], object], message: str) -> None:
    with pytest.raises((DialectError, ValueError), match=message):
        call()


def test_plateau_is_no_schedule() -> None:
    with pytest.raises(NotASchedule, match=r"laju\.adaptive\.Plateau"):
        read("torch", "ReduceLROnPlateau(optimizer, patience=3)", lr=0.1)


def test_text_is_read_as_it_stands_in_a_program() -> None:
    text = """SequentialLR(
        optimizer,
        [LinearLR(optimizer, start_factor=0.1, total_iters=5), torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 95)],
        milestones=[5],
    )"""
    call = ("SequentialLR", {"schedulers": [("LinearLR", {"start_factor": 0.1, "total_iters": 5}),
                                            ("CosineAnnealingLR", {"T_max": 95})], "milestones": [5]})  # fmt: skip
    assert read("torch", text, lr=0.1) == ours(call, 0.1).normal
    assert read("torch", "OneCycleLR(optimizer, 0.1, total_steps=50)", lr=7.0) == dialect.OneCycleLR(0.1, 50).normal
    assert read("torch", "ChainedScheduler([StepLR(optimizer, 3), ExponentialLR(optimizer, 0.9)])", lr=0.1)(3) == (
        pytest.approx(0.01 * 0.9**3)
    )


def test_every_name_of_torchs_module_is_known() -> None:
    names = set(torch.optim.lr_scheduler.__all__) - {"LRScheduler"} | {"SWALR"}
    known = system("torch")
    assert names == set(known.schedulers) | set(known.refused)
    assert RELEASE in known.releases


# CyclicLR loses digits with every cycle, so that tiny cycles lose all.
@pytest.mark.parametrize("name", [n for n in SINGLE if n != "CyclicLR"])
def test_whatever_the_arguments_values_are_torchs(name: str) -> None:
    without = (
        "cycle_momentum",
        "base_momentum",
        "max_momentum",
        "scale_fn",
        "scale_mode",
        "lr",
        "epochs",
        "steps_per_epoch",
    )

    @settings(few, max_examples=100)
    @given(kwargs=calls(getattr(dialect, name), without), lr=rates, factor=gammas)
    def run(kwargs: dict[str, Any], lr: float, factor: float) -> None:
        if name in ("LambdaLR", "MultiplicativeLR"):
            kwargs = (
                {"lr_lambda": factor} if name == "MultiplicativeLR" else {"lr_lambda": laju.linear(factor, 0, total=7)}
            )
        call = (name, kwargs)
        same_or_refused(
            lambda: ours(call, lr).values(60),
            lambda: theirs(call, lr, 60, until_it_raises=True),
            of=kwargs.get("max_lr", 0.0),
        )

    run()
