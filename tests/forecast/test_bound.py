import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import laju
from laju import Constant, constant, cosine, linear, linear_to_zero, wsd
from laju.forecast.bound import (
    anytime_bound,
    best_rate,
    bound,
    distance,
    exponentials,
    running_sum,
    transfer_rate,
)

SCHEDULES = {
    "constant": lambda n: constant(0.1),
    "linear": lambda n: linear(0.1, 0, n),
    "cosine": lambda n: cosine(3e-4, n),
    "warmup-stable-decay": lambda n: wsd(0.1, total=n, warmup=n // 20, cooldown=n // 5),
    "sixteen decades": lambda n: laju.exponential(1, 1e-16, n),
    "zeros, a jump, a restart": lambda n: Constant(0, 3) >> Constant(1e-9, 4) >> Constant(0, 2) >> cosine(1, n),
}

runs = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        *(st.lists(st.floats(1e-3, 1e3), min_size=n, max_size=n) for _ in range(2)), st.floats(1e-3, 1e3)
    )
)


def published(rates, norms, D):
    """Ω_T in the form of the paper, in extended precision."""
    with mpmath.workdps(40):
        rates, norms = [mpmath.mpf(float(r)) for r in rates], [mpmath.mpf(float(g)) for g in norms]
        result = last = mpmath.mpf(0)
        tail = squares = mpmath.mpf(0)
        for r, g in zip(reversed(rates), reversed(norms), strict=True):
            last = tail
            tail, squares = tail + r, squares + (r * g) ** 2
            if last:
                result += r / last * squares / tail / 2
        return result + mpmath.mpf(D) ** 2 / (2 * tail) + squares / (2 * tail)


def direct(rates, norms, D):
    """Ω₁ … Ω_T, each by itself."""
    n = len(rates)
    return np.array([bound(rates[:t], G=norms[:t], D=D) if rates[:t].any() else np.inf for t in range(1, n + 1)])


@pytest.mark.parametrize("updates", [1, 2, 50, 5000, 100_000])
@pytest.mark.parametrize("name", list(SCHEDULES)[:-1])
def test_the_bound_is_the_papers_to_thirteen_digits(name, updates):
    rates = SCHEDULES[name](max(updates, 30)).values(updates)
    rates = rates[rates > 0] if updates > 1 else np.array([0.1])  # the paper's form takes no zeros
    norms = np.random.default_rng(updates).uniform(0.5, 2, len(rates))
    assert abs(bound(rates, G=norms, D=2.0) / published(rates, norms, 2.0) - 1) < 1e-13


def test_the_last_iterate_of_a_real_descent_keeps_the_bound():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 10))
    for schedule in (constant(0.1), linear(0.3, 0, 200), wsd(0.2, total=200, warmup=20, cooldown=40)):
        start = x = rng.normal(size=10)
        norms, rates = [], schedule.values(200)
        for rate in rates:  # f(x) = max |row·x|, whose minimum is 0 at 0
            i = np.abs(rows @ x).argmax()
            gradient = rows[i] * np.sign(rows[i] @ x)
            norms.append(np.linalg.norm(gradient))
            last, x = x, x - rate * gradient
        assert np.abs(rows @ last).max() <= bound(schedule, 200, G=norms, D=np.linalg.norm(start))


@given(runs)
def test_the_bound_grows_with_distance_times_norm(run):
    rates, norms, D = np.array(run[0]), np.array(run[1]), run[2]
    scaled = bound(rates * (D / 3), G=3 * norms, D=D)
    assert scaled == pytest.approx(3 * D * bound(rates, G=norms), rel=1e-12)


@given(runs, st.data())
def test_updates_at_rate_zero_do_not_count(run, data):
    rates, norms, D = run
    where = sorted(data.draw(st.lists(st.integers(0, len(rates)), max_size=6)))
    with_zeros, with_norms = np.insert(rates, where, 0.0), np.insert(norms, where, 7.0)
    assert bound(with_zeros, G=with_norms, D=D) == bound(rates, G=norms, D=D)


@given(runs)
def test_the_best_rate_is_best_and_its_bound_is_that_of_the_scaled_schedule(run):
    rates, norms, D = run
    best = best_rate(rates, G=norms, D=D)
    rates = best.factor * np.array(rates)
    assert best.peak == pytest.approx(rates.max())
    assert best.bound == pytest.approx(bound(rates, G=norms, D=D), rel=1e-12)
    for factor in (0.9, 1.1):
        assert bound(factor * rates, G=norms, D=D) > best.bound
    assert distance(rates, G=norms) == pytest.approx(D)


def test_a_schedule_gives_the_bound_of_its_rates():
    s = cosine(0.1, total=100, warmup=10)
    assert bound(s) == bound(s, 100) == bound(s.values(100)) == bound(list(s.values(100)), 100, G=np.ones(100))


def test_transferring_a_rate_forth_and_back_changes_nothing():
    a, b = cosine(1, total=1000), 17 * wsd(1, total=3000, cooldown=600)
    rate = transfer_rate(a, 1e-3, b)
    assert transfer_rate(b, rate, a) == pytest.approx(1e-3)
    assert transfer_rate(a, 1e-3, a) == 1e-3
    assert transfer_rate(a, 1e-3, 5 * a) == pytest.approx(1e-3)


def test_longer_runs_of_the_best_line_want_smaller_rates():
    # Ω of a line is ~2·D·G/√T, so its rate goes with 1/√T.
    assert transfer_rate(linear(1, 0, 10_000), 1e-3, linear(1, 0, 40_000)) == pytest.approx(5e-4, rel=1e-3)


@pytest.mark.parametrize("updates", [12, 127, 128, 129, 3000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_anytime_bound_is_the_bound_of_each_beginning(name, updates):
    rates = SCHEDULES[name](max(updates, 30)).values(updates)
    norms = np.random.default_rng(updates).uniform(0.5, 2, updates)
    np.testing.assert_allclose(anytime_bound(rates, G=norms, D=0.01), direct(rates, norms, 0.01), rtol=1e-12)


def test_the_anytime_bound_waits_for_the_first_rate_and_stays_at_a_rate_of_zero():
    assert anytime_bound([2.0]).tolist() == [bound([2.0])]
    curve = anytime_bound([0, 0, 1, 0, 0, 0.5])
    assert curve[:2].tolist() == [np.inf, np.inf]
    assert curve[2] == curve[3] == curve[4] == bound([1.0])
    assert curve[5] == bound([1.0, 0.5])


@pytest.mark.parametrize(("least", "most"), [(1, 1), (1e-3, 1e5), (1e-12, 1e8)])
def test_the_exponentials_are_one_over_x(least, most):
    x = np.geomspace(least, most, 4001)
    decay, weight = exponentials(least, most)
    assert np.abs(x * (np.exp(-x[:, None] * decay) @ weight) - 1).max() < 1e-12


def test_running_sums_lose_no_digits():
    values = np.random.default_rng(0).lognormal(0, 5, 10_000)
    high, low = running_sum(values)
    with mpmath.workdps(40):
        exact = mpmath.mpf(0)
        for i, value in enumerate(values.tolist()):
            exact += value
            assert abs((mpmath.mpf(float(high[i])) + float(low[i])) / exact - 1) < 1e-26


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bound(constant(1)), "updates must be given for a schedule without an end"),
        (lambda: bound(constant(1), 0), "updates must be a whole number of at least 1, got 0"),
        (lambda: bound(constant(1), 2.5), "updates must be a whole number"),
        (lambda: bound(constant(0), 5), "above 0 at some update, got 0 at all 5"),
        (lambda: bound(linear(1, -1, 10), 10), r"0 or more at every update, got -0.19\d* at update 6"),
        (lambda: bound([1, np.nan]), "finite and 0 or more at every update, got nan at update 1"),
        (lambda: bound([1, np.inf]), "got inf at update 1"),
        (lambda: bound([1, 2, 3], 4), "one rate for each of the 4 updates, got 3 rates"),
        (lambda: bound([]), r"one for each update, got an array of shape \(0,\)"),
        (lambda: bound([[1.0]]), r"got an array of shape \(1, 1\)"),
        (lambda: bound("cosine(1, 10)"), "laju schedule or an array of rates"),
        (lambda: bound([True, False]), "laju schedule or an array of rates"),
        (lambda: bound([1, 1], G=0), "G must be a finite number above 0, got 0"),
        (lambda: bound([1, 1], G=[1, 2, 3]), "G must be one number, or one for each of the 2 updates, got 3"),
        (lambda: bound([1, 1], G=[1, -2]), "G must be finite and above 0 everywhere, got -2.0 at index 1"),
        (lambda: bound([1, 1], G="big"), "G must be a finite number"),
        (lambda: bound([1, 1], D=0), "D must be a finite number above 0"),
        (lambda: anytime_bound([0, 0]), "got 0 at all 2"),
        (lambda: best_rate(linear_to_zero(1, total="10 epochs")), "RunPlan"),
        (lambda: transfer_rate([1.0], -1, [1.0]), "rate must be a finite number above 0"),
        (lambda: transfer_rate(constant(1), 1, constant(1)), "updates must be given"),
        (lambda: transfer_rate([1.0], 1, [1.0, 1.0], G=[1.0]), "each of the 2 updates, got 1"),
    ],
)
def test_what_makes_no_sense_is_refused(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()
