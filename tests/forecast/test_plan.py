import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from laju import constant, cosine, linear
from laju.forecast.bound import best_rate, bound
from laju.forecast.plan import (
    _costs,
    _costs_in_blocks,
    _costs_one_by_one,
    best_continuation,
    best_schedule,
    best_under_cap,
    norms_per_update,
    refined_schedule,
)

VALUES = {10: 0.57801295, 100: 0.20011436, 1000: 0.06332194, 10_000: 0.02000472}


def searched(updates, G, D, cap=math.inf, prefix=()):
    """The smallest bound that a numerical optimiser finds, over the logarithms of the rates."""
    n = updates - len(prefix)
    guess = np.full(n, math.log(min(cap, D / math.sqrt(updates) / np.mean(G))) - 0.01)
    result = minimize(
        lambda z: math.log(bound(np.concatenate([prefix, np.exp(z)]), G=G, D=D)),
        guess,
        method="L-BFGS-B",
        bounds=[(None, math.log(cap))] * n,
        options={"maxfun": 10**6, "maxiter": 10**4, "ftol": 1e-15, "gtol": 1e-9},
    )
    return math.exp(result.fun)


RNG = np.random.default_rng(5)
CASES = [
    pytest.param(*norms, id=f"{updates} {kind}")
    for updates in (1, 2, 3, 8, 20)
    for kind, norms in {
        "equal": (np.ones(updates), 1.0),
        "random": (RNG.lognormal(0, 1, updates), RNG.uniform(0.1, 9)),
    }.items()
]


@pytest.mark.parametrize(("updates", "value"), VALUES.items())
def test_the_best_bounds_have_the_known_values(updates, value):
    assert best_schedule(updates).bound == pytest.approx(value, abs=5e-9)


@pytest.mark.parametrize(("G", "D"), CASES)
def test_no_optimiser_finds_a_better_schedule(G, D):
    plan = best_schedule(len(G), G, D)
    assert bound(plan.rates, G=G, D=D) == pytest.approx(plan.bound, rel=1e-14)
    assert searched(len(G), G, D) == pytest.approx(plan.bound, rel=1e-9)


@pytest.mark.parametrize("fraction", [0.9, 0.5, 0.1])
@pytest.mark.parametrize(("G", "D"), CASES)
def test_no_optimiser_finds_a_better_schedule_under_a_cap(G, D, fraction):
    cap = best_schedule(len(G), G, D).peak * fraction
    plan = best_under_cap(len(G), cap, G, D)
    assert plan.peak <= cap
    assert searched(len(G), G, D, cap) == pytest.approx(plan.bound, rel=1e-9)


@pytest.mark.parametrize(("G", "D"), CASES)
def test_no_optimiser_finds_a_better_continuation(G, D):
    rng = np.random.default_rng(len(G))
    prefix = rng.uniform(0, 2 * best_schedule(len(G), G, D).peak, len(G) // 2)
    plan = best_continuation(prefix, len(G), G, D)
    assert bound(np.append(prefix, plan.rates), G=G, D=D) == pytest.approx(plan.bound, rel=1e-14)
    assert searched(len(G), G, D, prefix=prefix) == pytest.approx(plan.bound, rel=1e-9)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 10)), min_size=1, max_size=30), st.floats(0.01, 10))
def test_nothing_is_better_than_best(run, D):
    rates, norms = map(np.array, zip(*run, strict=True))
    if rates.any() and rates[-1]:
        assert bound(rates, G=norms, D=D) >= best_schedule(len(run), norms, D).bound * (1 - 1e-14)


@pytest.mark.parametrize(
    "norms",
    [
        np.ones(20_000),
        np.random.default_rng(0).lognormal(0, 1, 20_001),
        np.geomspace(1e-3, 1e3, 19_999),
        np.geomspace(1e3, 1e-3, 20_000),
    ],
)
def test_blocks_give_what_the_recursion_gives_one_by_one(norms):
    expected = _costs_one_by_one(norms.tolist())
    np.testing.assert_allclose(_costs(norms[::-1])[::-1], expected, rtol=1e-13)
    np.testing.assert_allclose(_costs_in_blocks(norms[3:], expected[2]), expected[3:], rtol=1e-13)


def test_a_long_schedule_reaches_its_own_bound():
    norms = 1 + np.exp(-np.arange(100_000) / 1000)
    plan = best_schedule(100_000, norms, 2.0)
    assert bound(plan.rates, G=norms, D=2.0) == pytest.approx(plan.bound, rel=1e-13)


def test_continuing_the_best_run_continues_the_best_schedule():
    whole = best_schedule(300)
    for made in (0, 1, 100, 299):
        plan = best_continuation(whole.rates[:made], 300)
        np.testing.assert_allclose(plan.rates, whole.rates[made:], rtol=1e-10)
        assert plan.bound == pytest.approx(whole.bound, rel=1e-14)


def test_updates_at_rate_zero_leave_the_whole_distance_to_go():
    plan = best_continuation(np.zeros(40), 100)
    np.testing.assert_allclose(plan.rates, best_schedule(60).rates, rtol=1e-13)


def test_under_a_cap_comes_a_plateau_and_then_the_best_continuation():
    cap = best_schedule(60).peak / 2
    plan = best_under_cap(60, cap)
    assert plan.bound == pytest.approx(0.27008680, abs=5e-9)
    assert plan.plateau == np.count_nonzero(plan.rates == cap) == 37
    np.testing.assert_allclose(plan.rates[37:], best_continuation(np.full(37, cap), 60).rates, rtol=1e-10)


def test_a_cap_out_of_reach_changes_nothing_and_a_tiny_one_is_held():
    assert best_under_cap(50, 1e6).rates.tolist() == best_schedule(50).rates.tolist()
    assert best_under_cap(50, 1e-9).rates.tolist() == [1e-9] * 50


def test_equal_norms_refine_to_the_line():
    plan = refined_schedule(np.full(50, 3.0), D=2.0)
    np.testing.assert_allclose(plan.rates / plan.peak, linear(1, 0, 50).values(50), rtol=1e-13)


def test_refining_is_the_papers_formula_on_one_point_more():
    norms = np.random.default_rng(0).lognormal(0, 0.5, 30)
    weights = np.append(norms, norms[-1]) ** -2.0
    expected = weights * (weights.sum() - np.cumsum(weights))
    plan = refined_schedule(norms, D=0.5)
    np.testing.assert_allclose(plan.rates / plan.peak, (expected / expected.max())[:-1], rtol=1e-10)
    assert plan.bound == pytest.approx(bound(plan.rates, G=norms, D=0.5))


def test_smoothing_is_a_median_mirrored_at_the_end():
    ndimage = pytest.importorskip("scipy.ndimage")
    norms = np.random.default_rng(0).lognormal(0, 0.5, 400)
    width = 2 * (int(0.1 * 400) // 2) + 1
    expected = ndimage.median_filter(np.pad(norms, (0, 2 * width), "reflect"), size=width, mode="nearest")[: -2 * width]
    np.testing.assert_allclose(norms_per_update(np.arange(1, 401), norms, 400), expected)


def test_one_wild_batch_moves_no_smoothed_norm():
    norms = np.ones(200)
    norms[70] = 1000
    assert norms_per_update(50 * np.arange(1, 201), norms, 10_000).tolist() == [1.0] * 10_000


@pytest.mark.parametrize("name", ["constant-1e-3", "cosine-to-0-1e-3"])
def test_measured_norms_make_schedules_that_warm_up_and_beat_the_cosine(shared, name):
    table = np.genfromtxt(
        shared / "data" / "loss-curves" / "llama-124m" / f"grad-norm-{name}.csv", delimiter=",", names=True
    )
    _, first = np.unique(table["update"], return_index=True)  # a resumed run has one update twice
    G = norms_per_update(table["update"][first], table["grad_norm"][first], 50_000)
    refined, best = refined_schedule(G), best_schedule(50_000, G)
    assert best.bound < refined.bound < best_rate(cosine(1, 50_000, warmup=300), G=G).bound
    assert bound(best.rates, G=G) == pytest.approx(best.bound, rel=1e-12)
    for plan in (refined, best):
        assert plan.rates[0] < 0.05 * plan.peak
        assert 2000 < plan.rates.argmax() < 10_000
    np.testing.assert_allclose(refined.rates[:40_000], best.rates[:40_000], rtol=0.01)


def test_a_plan_is_a_schedule():
    plan = best_schedule(500)
    assert plan.schedule().values(500).tolist() == plan.rates.tolist()
    rough = plan.schedule(peak=0.1, tolerance=0.01)
    assert len(str(rough)) < 200
    np.testing.assert_allclose(rough.values(500), plan.rates * (0.1 / plan.peak), atol=0.0010001)
    assert best_schedule(1).schedule(tolerance=0.1)(0) == 1.0
    assert (constant(0.3).take(2) >> plan.schedule())(2) == plan.rates[0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: best_schedule(0), "updates must be a whole number of at least 1, got 0"),
        (lambda: best_schedule(5, G=[1, 2]), "one for each of the 5 updates, got 2"),
        (lambda: best_schedule(5, G=-1), "G must be a finite number above 0, got -1"),
        (lambda: best_schedule(5, D=math.nan), "D must be a finite number above 0, got nan"),
        (lambda: best_continuation([1, 2], 2), "prefix must be shorter than the 2 updates of the whole run, got 2"),
        (lambda: best_continuation([1, -2], 9), "prefix must be finite and 0 or more at every update, got -2.0"),
        (lambda: best_continuation(constant(1), 9), r"schedule.values\(n\), got constant\(1\)"),
        (lambda: best_continuation([[1]], 9), "prefix must be an array of rates"),
        (lambda: best_under_cap(9, 0), "cap must be a finite number above 0, got 0"),
        (lambda: best_schedule(9).schedule(peak=0), "peak must be a finite number above 0"),
        (lambda: best_schedule(9).schedule(tolerance=1), "tolerance must be"),
        (lambda: refined_schedule([1, 0, 1]), "G must be finite and above 0 everywhere, got 0.0 at index 1"),
        (lambda: refined_schedule(1.0), "G must be an array of norms"),
        (lambda: norms_per_update([50, 50], [1, 1], 100), "at must be 0 or later and increasing, got 50 at index 1"),
        (lambda: norms_per_update([50], [1, 1], 100), "same length, got 1 and 2"),
        (lambda: norms_per_update([50, 100], [1, np.nan], 100), "norms must be finite and above 0 everywhere, got nan"),
        (lambda: norms_per_update([50, 100], [1, 1], 100, smoothing=2), "smoothing must be"),
    ],
)
def test_what_cannot_be_planned_is_refused(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()
