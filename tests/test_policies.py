"""The policies: their values where these are known, in units, in other packages, and what they refuse."""

import inspect
import json
import math
import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

import laju
from laju import RunPlan, from_json, parse, policies
from laju.policies import (
    chebyshev,
    constant,
    cosine,
    cosine_restarts,
    exp_range,
    exponential,
    exponential_warmup,
    factor,
    flat_cosine,
    inverse_sqrt,
    inverse_time,
    knots,
    linear,
    linear_to_zero,
    multi_factor,
    natural_exponential,
    noam,
    one_cycle,
    one_cycle_momentum,
    piecewise_constant,
    poly,
    radam_warmup,
    rex,
    swa,
    swa_cyclic,
    tanh_decay,
    trapezoid,
    triangular,
    triangular2,
    untuned_exponential,
    untuned_linear,
    warmup,
    welling_teh,
    welling_teh_between,
    wsd,
    wsd_s,
)
from tests.conftest import scenarios

NAN, INF = math.nan, math.inf

# A call of every policy with all its arguments.
CALLS = {
    "chebyshev": {"low": 0.1, "peak": 1.0, "total": 8, "order": "fractal"},
    "constant": {"value": 0.3},
    "cosine": {
        "peak": 0.3,
        "total": 20,
        "final": 0.01,
        "warmup": 5,
        "start": 0.02,
        "exponent": 1.5,
        "k": 2.0,
        "first": False,
    },
    "cosine_restarts": {
        "peak": 0.3,
        "every": 10,
        "final": 0.01,
        "growth": 2.0,
        "decay": 0.8,
        "count": 3,
        "warmup": 3,
        "start": 0.02,
        "first": False,
    },
    "exp_range": {"start": 0.01, "peak": 0.3, "up": 4, "gamma": 0.9, "down": 6},
    "exponential": {"peak": 0.3, "final": 0.001, "total": 20, "warmup": 5, "start": 0.02, "first": False},
    "exponential_warmup": {"peak": 0.3, "timescale": 5, "first": True},
    "factor": {"base": 0.3, "factor": 0.5, "every": 4, "floor": 0.01},
    "flat_cosine": {"peak": 0.3, "total": 20, "flat": 12, "final": 0.01},
    "inverse_sqrt": {"peak": 0.3, "warmup": 5, "timescale": 7, "start": 0.02, "first": False},
    "inverse_time": {"base": 0.3, "rate": 0.5, "every": 4},
    "knots": {"points": [[0, 0.1], [5, 0.3], [12, 0.01]], "shape": "cosine"},
    "linear": {"start": 0.3, "final": 0.01, "total": 20},
    "linear_to_zero": {"peak": 0.3, "total": 20, "warmup": 5, "start": 0.02, "first": False},
    "multi_factor": {"base": 0.3, "milestones": [5, 9], "factor": 0.1},
    "natural_exponential": {"base": 0.3, "rate": 0.5, "every": 4},
    "noam": {"d_model": 512, "warmup": 5, "scale": 2.0},
    "one_cycle": {
        "peak": 0.3,
        "total": 20,
        "warmup": 6,
        "start": 0.02,
        "final": 0.001,
        "shape": "linear",
        "phases": 3,
        "first": False,
    },
    "one_cycle_momentum": {
        "total": 20,
        "warmup": 6,
        "start": 0.9,
        "low": 0.8,
        "shape": "linear",
        "phases": 3,
        "first": False,
    },
    "piecewise_constant": {"boundaries": [5, 9], "values": [0.1, 0.3, 0.01]},
    "poly": {
        "base": 0.3,
        "total": 20,
        "power": 2.0,
        "final": 0.01,
        "k": 3.0,
        "warmup": 5,
        "start": 0.02,
        "first": False,
    },
    "polynomial_decay": {"base": 0.3, "alpha": 0.5, "beta": 0.1},
    "radam_warmup": {"peak": 0.3, "beta2": 0.9},
    "rex": {"peak": 0.3, "total": 20, "final": 0.01, "beta": 0.7, "warmup": 5, "start": 0.02, "first": False},
    "square_root": {"base": 0.3},
    "swa": {"schedule": 0.3, "final": 0.01, "at": 10, "anneal": 5, "shape": "linear"},
    "swa_cyclic": {"schedule": 0.3, "peak": 0.1, "final": 0.01, "at": 10, "every": 3},
    "tanh_decay": {
        "peak": 0.3,
        "total": 20,
        "final": 0.01,
        "lower": -5.0,
        "upper": 2.0,
        "warmup": 5,
        "start": 0.02,
        "first": False,
    },
    "trapezoid": {"peak": 0.3, "total": 20, "warmup": 5, "cooldown": 6, "final": 0.01, "start": 0.02, "first": False},
    "triangular": {"start": 0.01, "peak": 0.3, "up": 4, "down": 6},
    "triangular2": {"start": 0.01, "peak": 0.3, "up": 4, "down": 6},
    "untuned_exponential": {"peak": 0.3, "beta2": 0.9},
    "untuned_linear": {"peak": 0.3, "beta2": 0.9},
    "warmup": {"schedule": 0.3, "length": 5, "start": 0.02, "how": "times", "shape": "cosine", "first": True},
    "welling_teh": {"a": 0.3, "b": 2.0, "gamma": 0.6},
    "welling_teh_between": {"start": 0.3, "final": 0.01, "total": 20, "gamma": 0.6, "endpoint": True},
    "wsd": {
        "peak": 0.3,
        "total": 20,
        "cooldown": 6,
        "warmup": 5,
        "final": 0.01,
        "start": 0.02,
        "shape": "1-sqrt",
        "first": True,
    },
    "wsd_s": {
        "peak": 0.3,
        "ends": [12, 20],
        "cooldown": 4,
        "warmup": 5,
        "final": 0.01,
        "start": 0.02,
        "shape": "1-square",
        "first": False,
    },
}


def documented(name):
    return inspect.getdoc(getattr(policies, name))


def call(name, **changes):
    return getattr(policies, name)(**CALLS[name] | changes)


def test_every_policy_and_argument_is_in_the_table_of_calls():
    assert sorted(CALLS) == policies.__all__
    for name, arguments in CALLS.items():
        assert list(inspect.signature(getattr(policies, name)).parameters) == list(arguments), name


def test_every_policy_is_a_public_name():
    assert set(policies.__all__) <= set(laju.__all__)
    assert all(getattr(laju, name) is getattr(policies, name) for name in policies.__all__)


# --- what a policy says of itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", policies.__all__)
def test_a_policy_s_docstring_has_its_source_or_other_names_its_arguments_and_an_example(name):
    function = getattr(policies, name)
    text = inspect.getdoc(function)
    assert "Source:" in text or "Elsewhere:" in text or name == "warmup"
    assert f">>> {name}(" in text or f" {name}(" in text.partition(">>>")[2]
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) > 1:
        described = text.partition("Args:")[2].partition(">>>")[0]
        assert [p for p in parameters if f"\n    {p}:" not in described] == []


# --- text, JSON, arrays, units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", policies.__all__)
def test_a_policy_is_written_and_read_as_text_and_json(name):
    schedule = call(name)
    text = f"{name}({', '.join(f'{k}={v!r}' for k, v in CALLS[name].items())})"
    for same in (
        parse(text),
        parse(str(schedule)),
        eval(repr(schedule), vars(laju)),
        from_json(json.dumps(schedule.to_json())),
    ):
        assert same == schedule
        assert same.fingerprint == schedule.fingerprint


@pytest.mark.parametrize("name", policies.__all__)
def test_numbers_arrays_and_torch_agree(name):
    schedule = call(name)
    one_by_one = [schedule(t) for t in range(80)]
    assert schedule.values(80).tolist() == pytest.approx(one_by_one, rel=4e-15, abs=1e-300)
    assert schedule(np.arange(80)).tolist() == pytest.approx(one_by_one, rel=4e-15, abs=1e-300)
    assert schedule(torch.arange(80)).tolist() == pytest.approx(one_by_one, rel=1e-14, abs=1e-300)


PLAN = RunPlan(samples=1000, batch_size=10, epochs=20)  # 100 updates an epoch, 2000 in all
LENGTHS = ("total", "warmup", "every", "up", "down", "timescale", "flat", "cooldown", "at", "anneal", "length")


@pytest.mark.parametrize("name", policies.__all__)
def test_lengths_in_epochs_are_those_in_updates(name):
    if name in ("chebyshev", "noam", "welling_teh_between"):
        pytest.skip("its values depend on how many updates there are, so it takes no units")
    in_updates, in_epochs = {}, {}
    for key, value in CALLS[name].items():
        if key in LENGTHS:
            in_updates[key], in_epochs[key] = value * 100, f"{value} epochs"
        elif key in ("milestones", "boundaries", "ends"):
            in_updates[key], in_epochs[key] = [100 * v for v in value], [f"{v} epochs" for v in value]
        elif key == "points":
            in_updates[key], in_epochs[key] = [[100 * t, v] for t, v in value], [[f"{t} epochs", v] for t, v in value]
    told = re.findall(
        r'^Lengths \((.+)\) are numbers of updates, or text with a unit: "5 epochs", "10%"', documented(name), re.M
    )
    assert told == ([", ".join(f"`{key}`" for key in in_epochs)] if in_epochs else [])
    schedule = call(name, **in_epochs)
    assert parse(str(schedule)) == schedule
    assert bool(schedule.units) == bool(in_epochs)
    np.testing.assert_allclose(schedule.resolve(PLAN).values(3000), call(name, **in_updates).values(3000), rtol=1e-14)


def test_percentages_and_updates_mix():
    schedule = wsd(1.0, total="100%", cooldown="20%", warmup=50)
    assert schedule.resolve(PLAN) == wsd(1.0, total=2000, cooldown=400, warmup=50)
    assert one_cycle(1.0, total="100%").resolve(PLAN) == one_cycle(1.0, total=2000)
    assert cosine(1.0, total="20 epochs", warmup="5%").resolve(PLAN) == cosine(1.0, total=2000, warmup=100)


def test_a_warmup_knows_the_first_value_of_what_follows_in_units():
    for schedule in (
        cosine_restarts(0.3, every="2 epochs"),
        factor(0.3, 0.5, every="2 epochs"),
        multi_factor(0.3, ["3 epochs"], 0.1),
        swa(0.3, 0.1, at="3 epochs", anneal="1 epoch"),
    ):
        warmed = warmup(schedule, "1 epoch").resolve(PLAN)
        assert warmed.values(101).tolist() == pytest.approx([0.3 * t / 100 for t in range(101)])
    with pytest.raises(laju.UnresolvedError, match="length must be in updates, got '1 epochs'"):
        warmup(cosine(0.3, total=2000), "1 epoch", how="overlay")


# --- values that are known --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (linear_to_zero(1, total=4, warmup=2), [0, 0.5, 1, 0.5, 0, 0]),
        (poly(1, 2, k=2), [1, 0.75, 0]),
        (poly(1, total=4, power=2, warmup=2, start=0.5), [0.5, 0.75, 1, 0.25, 0]),
        (cosine(1, total=2, exponent=2), [1, 0.25, 0]),
        (cosine(1, total=2, k=1), [1, 0.5, 0]),
        (flat_cosine(1, total=4, flat=2, final=0.2), [1, 1, 1, 0.6, 0.2, 0.2]),
        (flat_cosine(1, total=2, flat=0), [1, 0.5, 0]),
        (exponential(1, 0.25, total=2), [1, 0.5, 0.25, 0.25]),
        (exponential(-1, -0.25, total=2), [-1, -0.5, -0.25]),
        (natural_exponential(1, math.log(2)), [1, 0.5, 0.25]),
        (inverse_time(1, 1), [1, 1 / 2, 1 / 3, 1 / 4]),
        (inverse_sqrt(1, warmup=1), [0, 1, 2**-0.5, 3**-0.5, 0.5]),
        (inverse_sqrt(1, timescale=1), [1, 2**-0.5, 3**-0.5, 0.5]),
        (noam(4, warmup=1), [0.5, 0.5 * 2**-0.5, 0.5 * 3**-0.5, 0.25]),
        (noam(16, warmup=4, scale=8), [0.25, 0.5, 0.75, 1, 2 / 5**0.5]),
        (rex(1, total=2), [1, 2 / 3, 0]),
        (rex(1, total=2, beta=0), [1, 0.5, 0]),
        (welling_teh(2, 1, gamma=1), [2, 1, 2 / 3, 0.5]),
        (welling_teh_between(1, 0.25, total=3, gamma=1), [1, 0.5, 1 / 3, 0.25, 0.25]),
        (welling_teh_between(1, 0.25, total=4, gamma=1, endpoint=True), [1, 0.5, 1 / 3, 0.25, 0.25]),
        (piecewise_constant([1, 3], [1, 2, 3]), [1, 2, 2, 3, 3]),
        (knots([[1, 1], [3, 0]]), [1, 1, 0.5, 0, 0]),
        (knots([[0, 0.3]]), [0.3, 0.3]),
        (knots([[7, 0.3]]), [0.3, 0.3]),
        (knots([[0, 0], [2, 1], [4, 0]], "cosine"), [0, 0.5, 1, 0.5, 0]),
        (wsd(1, total=None), [1, 1]),
        (wsd(1, None, warmup=2), [0, 0.5, 1, 1]),
        (wsd(1, None, warmup=2, first=True), [0.5, 1, 1, 1]),
        (wsd(1, total=4, cooldown=4, shape="1-sqrt"), [1, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5, 0]),
        (wsd(1, total=2, cooldown=2, shape="1-square"), [1, 0.75, 0]),
        (wsd(1, total=2, cooldown=2, shape="cosine"), [1, 0.5, 0]),
        (wsd(1, total=2, cooldown=2, final=0.25, shape="exponential"), [1, 0.5, 0.25]),
        (wsd(1, total=5, cooldown=3, warmup=2, first=True), [0.5, 1, 0.75, 0.5, 0.25, 0]),
        (wsd_s(1, [4, 6], cooldown=2, warmup=2, final=0.5), [0, 0.5, 1, 0.75, 1, 0.75, 0.5, 0.5]),
        (trapezoid(1, total=4, warmup=1, cooldown=2), [0, 1, 1, 0.5, 0]),
        (swa(linear(1, 0, total=4), 0.1, at=2, anneal=2, shape="linear"), [1, 0.75, 0.5, 0.3, 0.1, 0.1]),
        (swa(1, 0.1, at=2), [1, 1, 0.1, 0.1]),
        (swa_cyclic(linear(1, 0, total=4), 0.5, 0.1, at=2, every=2), [1, 0.75, 0.3, 0.1, 0.3, 0.1]),
        (one_cycle(1, total=10, shape="linear")(0), 0.04),
        (one_cycle_momentum(4, warmup=1, start=0.9, low=0.8, shape="linear", phases=3), [0.9, 0.8, 0.9, 0.9, 0.9]),
        (triangular(1, 2, up=1, down=2), [1, 2, 1.5, 1, 2, 1.5]),
        (triangular2(1, 3, up=1), [1, 3, 1, 2, 1, 1.5]),
        (exp_range(1, 2, up=1, gamma=0.5), [1, 1.5, 1, 1.125]),
        (cosine_restarts(1, every=2, count=2), [1, 0.5, 1, 0.5, 0, 0]),
        (
            cosine_restarts(1, every=2, growth=2, count=2, decay=0.5, final=0.1),
            [1, 0.55, 0.5, None, 0.3, None, 0.1, 0.1],
        ),
        (cosine_restarts(1, every=4, warmup=2, decay=0.5), [0, 0.5, 1, 0.5, 0, 0.25, 0.5, 0.25, 0]),
        (cosine_restarts(1, every=4, warmup=2, decay=0.5, start=0.2)(4), 0.2),
        (untuned_linear(1, beta2=0.5), [0.25, 0.5, 0.75, 1, 1]),
        (untuned_linear(2, beta2=0), [1, 2, 2]),
        (untuned_exponential(1, beta2=0), [1 - math.exp(-1), 1 - math.exp(-2)]),
        (exponential_warmup(1, 1), [0, 1 - math.exp(-1)]),
        (chebyshev(0.5, 0.5, total=2), [0.5, 0.5, 0.5]),
        (chebyshev(1, 3, total=1), [1.5, 1.5]),
    ],
)
def test_first_last_and_boundary_values(schedule, expected):
    if isinstance(schedule, float):
        assert schedule == pytest.approx(expected, rel=1e-15)
        return
    for t, value in enumerate(expected):
        if value is not None:
            assert schedule(t) == pytest.approx(value, rel=1e-15, abs=1e-16), t


def test_ends_are_exact():
    for name in (
        "cosine",
        "poly",
        "rex",
        "linear",
        "exponential",
        "flat_cosine",
        "trapezoid",
        "wsd",
        "welling_teh_between",
    ):
        schedule = call(name)
        assert [schedule(t) for t in (20, 21, 10**9)] == [0.01 if name != "exponential" else 0.001] * 3, name
    for name in ("cosine", "poly", "rex", "exponential", "linear_to_zero", "inverse_sqrt"):
        assert call(name)(0) == 0.02, name
        assert call(name)(5) == 0.3, name


def test_warmup_stable_decay_without_a_wasted_update_is_the_shared_scenario():
    expected = [0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]  # B04
    for scenario in scenarios():
        assert scenario["id"] != "B04" or scenario["expected"] == expected
    schedule = wsd(1, total=10, cooldown=4, warmup=4, first=True)
    assert schedule.values(10).tolist() == pytest.approx(expected, rel=1e-15)
    assert schedule.length == 10


def test_the_published_constants_of_welling_and_teh_come_out():
    schedule = welling_teh_between(0.01, 0.0001, total=10_000, endpoint=True)
    published = welling_teh(0.0158500742, 2.3104324)
    np.testing.assert_allclose(schedule.values(10_000), published.values(10_000), rtol=1e-7)
    assert schedule(0) == 0.01
    assert schedule(9999) == 0.0001


def test_chebyshev_steps_solve_a_quadratic_as_their_polynomial_promises():
    curvatures = np.linspace(1.0, 10.0, 50)
    for order in ("fractal", "falling", "rising"):
        error = np.ones(50)
        for step in chebyshev(0.1, 1.0, total=16, order=order).values(16):
            error = error * (1 - step * curvatures)
        promised = 1 / np.cosh(16 * np.arccosh((10 + 1) / (10 - 1)))
        assert np.abs(error).max() == pytest.approx(promised, rel=0.05)


def test_the_fractal_order_is_the_paper_s():
    steps = chebyshev(0.1, 1.0, total=8, order="falling").values(8).tolist()
    assert [steps.index(v) + 1 for v in chebyshev(0.1, 1.0, total=8).values(8)] == [1, 8, 4, 5, 2, 7, 3, 6]


def test_restarts_keep_their_floor_while_their_peak_decays():
    schedule = cosine_restarts(1.0, every=10, growth=2, decay=0.5, final=0.01)
    for i, begin in enumerate((0, 10, 30, 70)):
        assert schedule(begin) == pytest.approx(0.5**i, rel=1e-15)
        assert begin == 0 or 0.01 < schedule(begin - 1) < 0.04


def test_radam_s_factor_is_the_one_that_radam_uses():
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.RAdam([weight], lr=1.0, betas=(0.0, 0.999), eps=0.0)
    taken = []
    for _ in range(60):
        before = weight.item()
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        taken.append(before - weight.item())
    # The gradient is 1, so every adaptive update is the factor itself; torch begins at ρ > 5, one update later.
    np.testing.assert_allclose(taken[5:], radam_warmup().values(60)[1:56], rtol=1e-9)


def test_a_factor_multiplies_any_schedule():
    schedule = untuned_linear(beta2=0.5) * constant(0.3)
    assert schedule.values(4).tolist() == pytest.approx([0.075, 0.15, 0.225, 0.3])


# --- other packages ---------------------------------------------------------------------------------------------------


def torch_values(make, n, lr=1.0, key="lr", **settings):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, **settings)
    scheduler = make(optimizer)
    values = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(n):
            values.append(optimizer.param_groups[0][key])
            optimizer.step()
            scheduler.step()
    return values


@pytest.mark.parametrize(
    ("make", "schedule", "n"),
    [
        (lambda o: lr_scheduler.StepLR(o, 7, 0.3), factor(1, 0.3, every=7), 50),
        (lambda o: lr_scheduler.MultiStepLR(o, [7, 30], 0.3), multi_factor(1, [7, 30], 0.3), 50),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.9), factor(1, 0.9), 50),
        (lambda o: lr_scheduler.LinearLR(o, 0.2, 0.7, 40), linear(0.2, 0.7, total=40), 50),
        (lambda o: lr_scheduler.PolynomialLR(o, 40, 0.9), poly(1, total=40, power=0.9), 50),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 40, 0.1), cosine(1, total=40, final=0.1), 41),
        (
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, 2, 0.1),
            cosine_restarts(1, every=10, growth=2, final=0.1),
            80,
        ),
        (
            lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, 7, 10, cycle_momentum=False),
            triangular(0.1, 1.0, up=7, down=10),
            60,
        ),
        (
            lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, 7, mode="triangular2", cycle_momentum=False),
            triangular2(0.1, 1.0, up=7),
            60,
        ),
        (
            lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, 7, mode="exp_range", gamma=0.98, cycle_momentum=False),
            exp_range(0.1, 1.0, up=7, gamma=0.98),
            60,
        ),
        (
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, 41, pct_start=13 / 41, cycle_momentum=False),
            one_cycle(1, total=40, warmup=12),
            41,
        ),
        (
            lambda o: lr_scheduler.OneCycleLR(
                o, 1.0, 41, pct_start=13 / 41, anneal_strategy="linear", three_phase=True, cycle_momentum=False
            ),
            one_cycle(1, total=40, warmup=12, shape="linear", phases=3),
            41,
        ),
        (lambda o: SWALR(o, 0.1, 10, "cos"), swa(1, 0.1, at=0, anneal=10), 20),
        (lambda o: SWALR(o, 0.1, 10, "linear"), swa(1, 0.1, at=0, anneal=10, shape="linear"), 20),
    ],
)
def test_torch_has_the_same_values(make, schedule, n):
    # torch goes by recursion in part of these, which gathers rounding errors.
    np.testing.assert_allclose(torch_values(make, n), schedule.values(n), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("three", [False, True])
def test_torch_has_the_same_momentum(three):
    values = torch_values(
        lambda o: lr_scheduler.OneCycleLR(o, 1.0, 41, pct_start=13 / 41, three_phase=three),
        41,
        1.0,
        "momentum",
        momentum=0.9,
    )
    expected = one_cycle_momentum(40, warmup=12, phases=3 if three else 2)
    np.testing.assert_allclose(values, expected.values(41), rtol=1e-12)


def test_optax_has_the_same_values():
    optax = pytest.importorskip("optax")
    pairs = [
        (optax.cosine_decay_schedule(0.3, 40, 0.1, exponent=1.0), cosine(0.3, total=40, final=0.03)),
        (optax.cosine_decay_schedule(0.3, 40, 0.1, exponent=2.0), cosine(0.3, total=40, final=0.03, exponent=2)),
        (optax.warmup_cosine_decay_schedule(0.01, 0.3, 7, 40), cosine(0.3, total=40, warmup=7, start=0.01)),
        (optax.polynomial_schedule(0.3, 0.01, 2.5, 40), poly(0.3, total=40, power=2.5, final=0.01)),
        (optax.exponential_decay(0.3, 40, 0.1, end_value=0.03), exponential(0.3, 0.03, total=40)),
        (
            optax.piecewise_constant_schedule(0.3, {10: 0.5, 30: 0.1}),
            piecewise_constant([10, 30], [0.3, 0.15, 0.015]),
        ),
        (
            optax.piecewise_interpolate_schedule("cosine", 0.3, {10: 2.0, 30: 0.1}),
            knots([[0, 0.3], [10, 0.6], [30, 0.06]], "cosine"),
        ),
        (
            optax.piecewise_interpolate_schedule("linear", 0.3, {10: 2.0, 30: 0.1}),
            knots([[0, 0.3], [10, 0.6], [30, 0.06]]),
        ),
        (
            optax.cosine_onecycle_schedule(40, 0.3, pct_start=0.25),
            one_cycle(0.3, total=40, warmup=10, start=0.3 / 25, final=0.3 / 25 / 1e4),
        ),
        (
            optax.sgdr_schedule(
                [
                    {"init_value": 0.0, "peak_value": 0.3 * 0.5**i, "decay_steps": 10 * 2**i, "warmup_steps": 2 * 2**i}
                    for i in range(3)
                ]
            ),
            cosine_restarts(0.3, every=10, growth=2, decay=0.5, count=3, warmup=2),
        ),
    ]
    for i, (theirs, ours) in enumerate(pairs):
        np.testing.assert_allclose(
            [float(theirs(t)) for t in range(60)], ours.values(60), rtol=2e-5, atol=1e-7, err_msg=str(i)
        )


# --- laws -------------------------------------------------------------------------------------------------------------

small, large = st.floats(1e-6, 0.09), st.floats(0.1, 10)
DRAWN = {
    **dict.fromkeys(("start", "low", "final", "floor"), small),
    **dict.fromkeys(("peak", "base", "scale", "value", "a", "schedule"), large),
    **dict.fromkeys(("factor", "gamma", "decay"), st.floats(0.05, 1)),
    **dict.fromkeys(("power", "exponent", "k", "alpha", "rate", "b"), st.floats(0.1, 5)),
    **dict.fromkeys(("up", "down", "timescale", "anneal", "length"), st.integers(1, 50)),
    **dict.fromkeys(("first", "endpoint"), st.booleans()),
    "beta": st.floats(0.01, 0.99),
    "beta2": st.floats(0.7, 0.9999),
    "growth": st.floats(1, 3),
    "count": st.none() | st.integers(1, 4),
    "total": st.integers(100, 5000),
    "every": st.integers(41, 300),
    "warmup": st.integers(0, 40),
    "flat": st.integers(0, 99),
    "cooldown": st.integers(1, 50),
    "at": st.integers(0, 500),
    "d_model": st.integers(1, 4096),
    "lower": st.floats(-9, 0),
    "upper": st.floats(0.1, 9),
    "shape": st.sampled_from(["linear", "cosine", "sqrt", "square", "power(3)", "exponential"]),
    "phases": st.sampled_from([2, 3]),
    "how": st.sampled_from(["then", "overlay", "times"]),
    "order": st.sampled_from(["falling", "rising"]),
    "milestones": st.lists(st.integers(1, 500), unique=True).map(sorted),
    "ends": st.lists(st.integers(1, 20), min_size=1, unique=True).map(lambda ends: [100 * e for e in sorted(ends)]),
}
OWN = {
    "chebyshev": {"total": st.integers(1, 64)},
    "noam": {"warmup": st.integers(1, 400)},
    "inverse_sqrt": {"timescale": st.integers(1, 400)},
    "one_cycle": {"start": st.floats(1e-2, 0.1), "final": st.floats(1e-6, 1e-2)},
    "one_cycle_momentum": {"start": st.floats(0.1, 0.99)},
    "linear": {"start": large},
    "welling_teh_between": {"start": large, "gamma": st.floats(0.3, 2)},
}


@st.composite
def calls(draw):
    name = draw(st.sampled_from(policies.__all__))
    if name == "piecewise_constant":
        boundaries = draw(DRAWN["milestones"])
        n = len(boundaries) + 1
        return name, {"boundaries": boundaries, "values": draw(st.lists(large, min_size=n, max_size=n))}
    if name == "knots":
        times = draw(st.lists(st.integers(0, 500), unique=True, min_size=1).map(sorted))
        return name, {"points": [[t, draw(large)] for t in times], "shape": draw(DRAWN["shape"])}
    strategies = DRAWN | OWN.get(name, {})
    return name, {p: draw(strategies[p]) for p in inspect.signature(getattr(policies, name)).parameters}


@given(calls())
def test_any_policy_is_read_back_from_its_text_and_counts_in_arrays_as_in_numbers(drawn):
    name, arguments = drawn
    schedule = getattr(policies, name)(**arguments)
    assert parse(str(schedule)) == schedule
    assert parse(f"{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})") == schedule
    one_by_one = np.array([schedule(t) for t in range(600)])
    assert np.isfinite(one_by_one).all()
    np.testing.assert_allclose(schedule.values(600), one_by_one, rtol=2e-14, atol=1e-15)
    np.testing.assert_allclose(schedule(np.arange(600)), one_by_one, rtol=2e-14, atol=1e-15)


@given(calls())
def test_any_policy_with_a_total_ends_there(drawn):
    name, arguments = drawn
    total = arguments.get("total")
    if total is None:
        return
    schedule = getattr(policies, name)(**arguments)
    assert schedule.length == total - arguments.get("endpoint", False)
    assert {schedule(total), schedule(total + 1), schedule(10**12)} == {schedule(total)}
    if "final" in arguments and name != "tanh_decay":
        assert schedule(total) == arguments["final"]


@given(calls().filter(lambda drawn: "final" in drawn[1] and "total" in drawn[1]))
def test_any_policy_stays_between_its_values(drawn):
    name, arguments = drawn
    values = getattr(policies, name)(**arguments).values(arguments["total"] + 2)
    named = [arguments[k] for k in ("start", "peak", "base", "final") if k in arguments]
    assert values.min() >= min(named) * (1 - 1e-14)
    assert values.max() <= max(named) * (1 + 1e-14)


# --- what is refused --------------------------------------------------------------------------------------------------

NUMBER = [NAN, INF, -INF, True, "x", None, [1], 10**400]
POSITIVE = [*NUMBER, 0, -1]
SPAN = [NAN, INF, -1, 0, 2.5, True, "x", "5 parsecs", "-5 epochs", "0 epochs", "", None, [1]]
SPAN_OR_0 = [bad for bad in SPAN if bad not in (0, "0 epochs")] + [-1]
WHOLE = [NAN, INF, -1, 2.5, True, "x", "5 epochs", None, [1]]
FLAG = [NAN, 0, 1, "x", None]
SHAPE = [NAN, True, 3, "x", "", None, "power(0)"]
SEQUENCE = [NAN, INF, True, 3, "x", None, [NAN], [True], ["x"], [None], [-1], [5, 5], [9, 5], [5, "x"]]
VALUES = [NAN, True, 3, "x", None, [], [1], [1, 2], [1, 2, 3, 4], [1, NAN, 3], [1, True, 3], [1, "x", 3], [1, INF, 3]]
BAD = {
    **dict.fromkeys(
        ("value", "start", "final", "base", "peak", "scale", "a", "floor", "lower", "upper", "low"), NUMBER
    ),
    **dict.fromkeys(
        ("power", "exponent", "k", "alpha", "rate", "b", "factor", "gamma", "decay", "beta", "growth"), POSITIVE
    ),
    **dict.fromkeys(("total", "every", "up", "down", "timescale", "cooldown"), SPAN),
    **dict.fromkeys(("warmup", "flat", "at", "anneal", "length"), SPAN_OR_0),
    **dict.fromkeys(("first", "endpoint"), FLAG),
    **dict.fromkeys(("milestones", "boundaries", "ends"), SEQUENCE),
    "values": VALUES,
    "shape": SHAPE,
    "order": [*SHAPE, "fractals"],
    "how": [*SHAPE, "them"],
    "phases": [NAN, True, 1, 4, "x", None],
    "d_model": [*WHOLE, 0],
    "count": [*WHOLE, 0],
    "beta2": [*POSITIVE, 1, 1.5],
    "schedule": NUMBER,
    "points": [
        NAN,
        True,
        3,
        "x",
        None,
        [],
        [1, 2],
        ["ab"],
        [[1]],
        [[1, 2, 3]],
        [[-1, 1]],
        [[0, NAN]],
        [[0, True]],
        [[0, 1], [0, 2]],
        [[5, 1], [3, 2]],
        [["x", 1]],
        [[None, 1]],
        [[0, None]],
    ],
}
# Where a value of the table is valid, or more of them are not.
EXCEPT = {
    ("rex", "beta"): [*NUMBER, -1, 1, 1.5],
    ("chebyshev", "low"): POSITIVE,
    ("chebyshev", "peak"): [*NUMBER, 0.01],
    ("chebyshev", "total"): [*WHOLE, 0, 6, 8192],
    ("noam", "warmup"): [*WHOLE, 0],
    ("welling_teh_between", "total"): [*WHOLE, 0, 1],
    ("welling_teh_between", "start"): POSITIVE,
    ("welling_teh_between", "final"): [*POSITIVE, 0.3, 0.4],
    ("welling_teh_between", "gamma"): [*POSITIVE, 1e-9],
    ("untuned_linear", "beta2"): [*NUMBER, -1, 1],
    ("untuned_exponential", "beta2"): [*NUMBER, -1, 1],
    ("radam_warmup", "beta2"): [*POSITIVE, 0.5, 1],
    ("factor", "factor"): [*POSITIVE, 1.5],
    ("factor", "floor"): [*NUMBER, 0.4],
    ("exponential", "peak"): POSITIVE,
    ("exponential", "final"): POSITIVE,
    ("exp_range", "gamma"): [*POSITIVE, 1.1],
    ("cosine_restarts", "growth"): [*POSITIVE, 0.9],
    ("cosine", "warmup"): [*SPAN_OR_0, 20, 21],
    ("cosine_restarts", "warmup"): [*SPAN_OR_0, 10],
    ("flat_cosine", "flat"): [*SPAN_OR_0, 20],
    ("one_cycle", "warmup"): [*SPAN_OR_0, 10],
    ("one_cycle_momentum", "warmup"): [*SPAN_OR_0, 10],
    ("one_cycle", "start"): [*NUMBER, 0.4],
    ("one_cycle", "final"): [*NUMBER, 0.03],
    ("one_cycle_momentum", "start"): [*NUMBER, 1.0, -0.1],
    ("one_cycle_momentum", "low"): [*NUMBER, 0.95, -0.1],
    ("swa_cyclic", "final"): [*NUMBER, 0.2],
    ("tanh_decay", "lower"): [*NUMBER, -1e3, 1e3],
    ("tanh_decay", "upper"): [*NUMBER, -6, 1e3],
    ("triangular", "peak"): [*NUMBER, 0.001],
    ("triangular2", "peak"): [*NUMBER, 0.001],
    ("exp_range", "peak"): [*NUMBER, 0.001],
    ("wsd", "warmup"): [*SPAN_OR_0, 15],
    ("wsd", "cooldown"): [*SPAN, 16],
    ("trapezoid", "cooldown"): [*SPAN, 16],
    ("wsd_s", "ends"): [*SEQUENCE, [], [8, 20], [12, 15]],
}
# None is a default with a meaning.
OPTIONAL = {
    ("cosine_restarts", "count"), ("exp_range", "down"), ("triangular", "down"), ("triangular2", "down"), ("factor", "floor"),
    ("one_cycle", "warmup"), ("one_cycle", "start"), ("one_cycle", "final"), ("one_cycle_momentum", "warmup"),
    ("inverse_sqrt", "timescale"), ("warmup", "start"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameter"), [pytest.param(n, p, id=f"{n}-{p}") for n, arguments in CALLS.items() for p in arguments]
)
def test_a_wrong_argument_is_refused_with_its_name(name, parameter):
    for bad in EXCEPT.get((name, parameter), BAD[parameter]):
        if bad is None and (name, parameter) in OPTIONAL:
            continue
        with pytest.raises((ValueError, TypeError), match=rf"\b{parameter}\b"):  # noqa: PT012
            call(name, **{parameter: bad})
            pytest.fail(f"{name} took {parameter}={bad!r}")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cosine(0.3, total=20, warmup=20), "warmup must be shorter than the total of 20, got 20"),
        (
            lambda: cosine(0.3, total="2 epochs", warmup="2 epochs"),
            "warmup must be shorter than the total of '2 epochs'",
        ),
        (
            lambda: wsd(1, total=10, cooldown=7, warmup=4),
            "warmup and cooldown together must be at most the total of 10, got 11",
        ),
        (lambda: wsd(1, total=None, cooldown=7), "cooldown must be left out when total is None"),
        (lambda: wsd(1, total=10), "cooldown must be given with total=10"),
        (lambda: wsd(1, total=10, cooldown=3, shape="exponential"), "final must be non-zero"),
        (lambda: wsd(1, total=10, cooldown=3, shape="cosin"), "did you mean 'cosine'"),
        (lambda: wsd_s(1, [], cooldown=3), "ends must hold at least one"),
        (lambda: wsd_s(1, [5, 7], cooldown=3), r"ends\[1\] must leave time for the cooldown of 3, got 7"),
        (lambda: inverse_sqrt(1), "timescale must be given"),
        (lambda: one_cycle(1, total=10, warmup=5, phases=3), "twice the warmup must be shorter than the total of 10"),
        (lambda: one_cycle(1, total=10, start=2), "start must be a finite number of at most 1, got 2"),
        (lambda: exponential(1, 0, total=5), "final must be non-zero"),
        (lambda: piecewise_constant([3, 5], [1, 2]), "values must be one more than the boundaries, so 3, got 2"),
        (lambda: piecewise_constant([5, 3], [1, 2, 3]), "boundaries must increase"),
        (lambda: multi_factor(1, ["3 epochs", "3 epochs"], 0.1), "milestones must increase, got"),
        (lambda: knots([[0, 1], [5]]), r"points\[1\] must be an update and a value"),
        (lambda: knots([[5, 1], [5, 2]]), "points must increase"),
        (lambda: chebyshev(0.1, 1, total=6), "total must be a power of 2 for the fractal order, got 6"),
        (lambda: chebyshev(0.1, 1, total=2**13), r"\.repeat\(\)"),
        (lambda: triangular(1, 0.5, up=3), "peak must be a finite number of at least 1, got 0.5"),
        (lambda: natural_exponential(1, 1e-320), "rate must"),
        (lambda: swa(cosine(1, total=10), 0.1, at="1 epoch"), "at must be in updates"),
        (lambda: radam_warmup(beta2=0.6), "beta2 must be a finite number above 0.6"),
        (lambda: tanh_decay(1, total=10, lower=1, upper=1), "upper must be a finite number above 1"),
    ],
)
def test_an_error_says_what_would_be_valid(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


@pytest.mark.parametrize("name", [name for name, values in CALLS.items() if values.get("first") is False])
def test_with_first_no_update_is_spent_at_the_start_of_a_warmup(name):
    plain, first = call(name), call(name, first=True)
    assert first(0) == pytest.approx(plain(1), rel=1e-12)
    assert first(0) != plain(0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"total_steps": 9},
            "cosine has no argument 'total_steps'; in laju that is 'total'; it takes peak, total, final",
        ),
        ({"total": 9, "eta_min": 0}, "no argument 'eta_min'; in laju that is 'final'"),
        ({"total": 9, "warmpu": 3}, "no argument 'warmpu'; did you mean 'warmup'"),
    ],
)
def test_an_argument_of_another_system_is_answered_with_laju_s_own(arguments, says):
    with pytest.raises(TypeError, match=says):
        laju.cosine(0.1, **arguments)
