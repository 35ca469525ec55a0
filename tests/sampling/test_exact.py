import numpy as np
import pytest
import torch

import laju
from laju.sampling import Diverged, Gaussian, contraction, largest_step, moments, sample, stationary_variance


def test_a_constant_step_settles_at_the_variance_of_the_formula():
    assert stationary_variance(0.5, 1.0) == pytest.approx(1.1428571428571428, rel=1e-15)
    assert stationary_variance(0.05, 10.0) == pytest.approx(1.1428571428571428 / 10, rel=1e-15)
    for step, precision in ((0.5, 1.0), (2.0, 1.5), (0.01, 300.0)):
        settled = moments(step, 5000, precision, mean=7.0, variance=3.0, gradient_noise=2.0)
        assert settled.variance[-1] == pytest.approx(
            stationary_variance(step, precision, gradient_noise=2.0), rel=1e-12
        )
        assert settled.mean[-1] == pytest.approx(0, abs=1e-12)


def test_wellings_and_tehs_step_has_their_constants():
    step = laju.welling_teh_between(0.01, 0.0001, total=10_000, gamma=0.55, endpoint=True)
    b = step.parts[0].child.timescale
    assert b == pytest.approx(2.3104324, abs=5e-8)
    assert 0.01 * b**0.55 == pytest.approx(0.0158500742, abs=5e-11)
    again = moments(laju.welling_teh(0.0158500742, 2.3104324), 10_000, 50.0, mean=1.0)
    ours = moments(step, 10_000, 50.0, mean=1.0)
    assert ours.variance[-1] == pytest.approx(again.variance[-1], rel=1e-8)


@pytest.mark.parametrize(
    "step",
    [
        laju.constant(0.5),
        laju.welling_teh(1.0, b=2),
        laju.cosine(1.5, total=60, warmup=10),
        laju.cosine_restarts(1.9, every=7, growth=2),
        laju.natural_exponential(0.9, 0.3),
        laju.triangular(0.0, 3.0, up=9),
    ],
    ids=str,
)
def test_chains_have_the_exact_moments_after_every_update_whatever_the_schedule(step):
    chains, updates, precision = 20_000, 60, np.array([0.3, 1.2])
    temperature = laju.linear(0.5, 1.5, total=60)
    start = torch.full((chains, 2), 2.0, dtype=torch.float64)
    drawn = sample(Gaussian(precision, [1.0, -1.0]), start, step, updates, temperature=temperature, seed=3).draws
    exact = moments(step, updates, precision, mean=2.0, target=[1.0, -1.0], temperature=temperature)
    variance = exact.variance[1:]
    off = (drawn.mean(axis=0) - exact.mean[1:]) / np.sqrt(np.maximum(variance, 1e-30) / chains)
    wide = (drawn.var(axis=0, ddof=1) - variance) / np.maximum(variance, 1e-30) / np.sqrt(2 / chains)
    moved = variance > 1e-20
    assert np.abs(off[moved]).max() < 5
    assert np.abs(wide[moved]).max() < 5


def test_a_step_whose_sum_is_finite_never_forgets_where_it_began():
    fast, slow = laju.natural_exponential(0.5, 0.5), laju.welling_teh(0.5, b=1)
    assert contraction(fast, 1000, 1.0) == pytest.approx(contraction(fast, 100_000, 1.0))
    assert contraction(fast, 100_000, 1.0) > 0.4
    assert contraction(slow, 100_000, 1.0) < 1e-12
    assert moments(fast, 2000, 1.0, mean=3.0).mean[-1] == pytest.approx(3 * contraction(fast, 2000, 1.0))


def test_without_noise_the_mean_is_gradient_descent_and_the_variance_goes_to_nothing():
    cold = moments(0.3, 500, 2.0, mean=1.0, variance=1.0, temperature=0.0)
    assert cold.mean[7] == pytest.approx((1 - 0.3) ** 7)
    assert cold.variance[-1] < 1e-100


def test_from_four_over_the_curvature_on_there_is_no_variance():
    assert stationary_variance(3.999, 1.0) > 1000
    for step, precision in ((4.0, 1.0), (0.5, [1.0, 8.0])):
        with pytest.raises(Diverged, match="from 4 on") as error:
            stationary_variance(step, precision)
        assert error.value.step * error.value.curvature >= 4
    assert moments(4.2, 20_000, 1.0, mean=1.0).variance[-1] == np.inf


def test_the_largest_step_has_the_bias_asked_for():
    for bias in (0.001, 0.1, 3.0):
        step = largest_step([0.1, 2.5], bias)
        assert stationary_variance(step, 2.5) * 2.5 == pytest.approx(1 + bias)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"step": -0.1}, "step must be a finite number of at least 0, got -0.1"),
        (
            {"step": laju.linear(0.1, -0.1, total=10)},
            "step must be finite and at least 0 at every update, got -0.02 at",
        ),
        ({"temperature": -1}, "temperature must be a finite number of at least 0, got -1"),
        ({"precision": 0.0}, "precision must be finite and above 0, got 0.0"),
        ({"variance": -1.0}, "variance must be finite and of at least 0, got -1.0"),
        ({"gradient_noise": np.nan}, "gradient_noise must be finite"),
        ({"updates": -3}, "updates must be a whole number"),
    ],
)
def test_what_makes_no_sense_is_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        moments(**{"step": 0.1, "updates": 20, "precision": 1.0, **arguments})


def test_a_step_that_is_no_number_and_no_schedule_is_refused():
    with pytest.raises(TypeError, match="step must be a laju schedule or a number, got 'fast'"):
        moments("fast", 10, 1.0)
    with pytest.raises(laju.UnresolvedError):
        moments(laju.cosine(0.1, total="3 epochs"), 10, 1.0)
