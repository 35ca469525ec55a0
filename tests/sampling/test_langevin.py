import pickle

import numpy as np
import pytest
import torch

import laju
from laju.sampling import Diverged, Gaussian, GaussianMixture, Posterior, sample, stationary_variance


def standard(chains=2, directions=1, dtype=torch.float64):
    return torch.zeros(chains, directions, dtype=dtype)


def test_the_stationary_variance_at_half_is_eight_sevenths():
    precision = np.array([1.0, 4.0])
    drawn = sample(Gaussian(precision), standard(4000, 2), 0.125, 2000, burn_in=500, every=5, seed=1)
    expected = stationary_variance(0.125, precision)
    assert expected[1] == pytest.approx(1.1428571 / 4)
    assert drawn.variance() == pytest.approx(expected, rel=0.01)


def test_a_temperature_scales_the_variance():
    for temperature in (0.25, 4.0):
        drawn = sample(Gaussian(1.0), standard(5000), 0.5, 200, temperature=temperature, burn_in=50, seed=2)
        assert drawn.variance()[0] == pytest.approx(temperature * 8 / 7, rel=0.02)


def test_at_temperature_zero_it_is_gradient_descent_at_half_the_step():
    step = laju.cosine(0.4, total=30, warmup=5)
    target = GaussianMixture.grid()
    start = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = sample(target, start, step * 0.05, 30, temperature=0, seed=1).draws
    weights = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.SGD([weights], lr=0)
    for t in range(30):
        optimizer.param_groups[0]["lr"] = 0.05 * step(t) / 2
        optimizer.zero_grad()
        (-target(weights).sum()).backward()
        optimizer.step()
        np.testing.assert_allclose(drawn[:, t], weights.detach().numpy(), rtol=1e-12)


def test_automatic_gradients_and_those_of_the_target_give_the_same_chains():
    grid, start = GaussianMixture.grid(), standard(5, 2) + 0.3
    own = sample(grid, start, 0.01, 50, seed=4)
    automatic = sample(lambda x: grid(x), start, 0.01, 50, seed=4)
    np.testing.assert_allclose(own.draws, automatic.draws, rtol=1e-9)


def conjugate(samples=50, noise=2.0, prior=0.1, batch_size=None):
    """Samples of N(θ, noise²) with the prior N(0, 1/prior), and the posterior's precision and mean."""
    data = torch.randn(samples, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * noise + 1.5
    target = Posterior(
        lambda m: -prior * (m**2).sum(-1) / 2, lambda m, x: -((x - m) ** 2) / (2 * noise**2), [data], batch_size
    )
    precision = prior + samples / noise**2
    return data, target, precision, float(data.sum()) / noise**2 / precision


def test_the_posterior_of_a_conjugate_gaussian_comes_out():
    _, target, precision, mean = conjugate()
    step = laju.welling_teh(0.5 / precision * 5**0.55, b=5, gamma=0.55)
    drawn = sample(target, standard(4000), step, 300, burn_in=200, every=10, seed=6)
    assert drawn.mean(weighted=True)[0] == pytest.approx(mean, abs=0.03 / precision**0.5)
    assert drawn.variance(weighted=True)[0] == pytest.approx(1 / precision, rel=0.04)


def test_mini_batches_widen_the_posterior_by_exactly_their_gradients_variance():
    batch = 5
    data, target, precision, mean = conjugate(batch_size=batch)
    noise = len(data) ** 2 / batch * float(data.var(unbiased=False)) / 2.0**4
    step = 0.8 / precision
    expected = stationary_variance(step, precision, gradient_noise=noise)
    assert expected * precision > 1.5  # far from the posterior's own
    drawn = sample(target, standard(4000), step, 200, burn_in=100, every=4, seed=7)
    assert drawn.variance()[0] == pytest.approx(expected, rel=0.02)
    assert drawn.mean()[0] == pytest.approx(mean, abs=0.03 / precision**0.5)


def test_a_batch_of_every_chain_is_its_own():
    _, target, precision, _ = conjugate(batch_size=1)
    drawn = sample(target, standard(2), 0.1 / precision, 1, temperature=0, seed=0).draws
    assert drawn[0, 0, 0] != drawn[1, 0, 0]


def test_the_seed_decides_everything_and_nothing_else_is_random():
    _, target, _, _ = conjugate(batch_size=3)
    before = torch.get_rng_state()
    a, b, c = (sample(target, standard(3), 0.01, 20, seed=seed).draws for seed in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()
    assert torch.equal(before, torch.get_rng_state())
    generator = torch.Generator().manual_seed(1)
    assert (sample(target, standard(3), 0.01, 20, seed=generator).draws == a).all()
    start = standard(3)
    sample(target, start, 0.01, 20)
    assert not start.any()


def test_kept_positions_say_after_how_many_updates_and_with_which_step():
    step = laju.linear(0.1, 0, total=10)
    everything = sample(Gaussian(1.0), standard(2), step, 10)
    some = sample(Gaussian(1.0), standard(2), step, 10, burn_in=3, every=3)
    assert some.updates.tolist() == [6, 9]
    assert some.steps == pytest.approx([step(5), step(8)])
    assert (some.draws == everything.draws[:, [5, 8]]).all()
    assert sample(Gaussian(1.0), standard(2), step, 10, burn_in=20).draws.shape == (2, 0, 1)


def test_a_step_of_zero_stays_where_it_is():
    assert not sample(Gaussian(1.0), standard(4), 0.0, 10).draws.any()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("precision", "step"), [([1.0], 4.2), ([0.01, 50.0, 3.0], 0.1), ([1e-4], 5e4)])
def test_a_divergence_is_found_and_its_reason_said(precision, step, temperature):
    start = standard(3, len(precision)) + 1e-3
    with pytest.raises(Diverged, match="the chains diverge, noticed at update") as error:
        sample(Gaussian(precision), start, step, 3000, temperature=temperature)
    assert error.value.curvature == pytest.approx(max(precision), rel=1e-3)
    assert error.value.step == step
    assert f"{4 / max(precision):.4g}" in str(error.value)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_just_below_the_bound_nothing_is_called_a_divergence():
    drawn = sample(Gaussian([1.0, 0.1]), standard(100, 2) + 30.0, 3.9, 3000, seed=8)
    assert np.isfinite(drawn.draws).all()


def test_a_step_that_becomes_too_large_in_the_middle_is_named_with_its_size():
    step = laju.constant(0.1).take(500) >> laju.constant(0.9)
    with pytest.raises(Diverged) as error:
        sample(lambda x: -5 * (x * x).sum(-1) / 2, standard(3, 2) + 1, step, 2000)
    assert error.value.step == 0.9
    assert error.value.update > 500
    assert error.value.curvature == pytest.approx(5, rel=1e-3)


def test_a_density_that_is_not_finite_is_a_divergence_too():
    with pytest.raises(Diverged, match="no longer finite"):
        sample(lambda x: x.sum(-1) * torch.nan, standard(2), 0.1, 10)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"step": -1.0}, ValueError, "step must be a finite number of at least 0, got -1"),
        ({"step": laju.linear(1, -1, total=4)}, ValueError, "got -0.5 at update 3"),
        ({"temperature": -0.5}, ValueError, "temperature must be a finite number of at least 0, got -0.5"),
        ({"start": torch.zeros(2, 1, dtype=torch.int64)}, TypeError, "floating type, got torch.int64"),
        ({"start": torch.zeros(0, 1)}, ValueError, "start must be finite and have a shape"),
        ({"start": torch.full((2, 1), torch.inf)}, ValueError, "start must be finite"),
        ({"start": [0.0]}, TypeError, "start must be a tensor"),
        ({"target": lambda x: -(x * x).sum()}, ValueError, r"a shape \(2,\), got \(\) for positions \(2, 1\)"),
        ({"updates": 1.5}, ValueError, "updates must be a whole number"),
        ({"every": 0}, ValueError, "every must be a whole number of at least 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_what_makes_no_sense_is_named(changes, kind, said):
    arguments = {"target": Gaussian(1.0), "start": standard(), "step": 0.1, "updates": 5, **changes}
    with pytest.raises(kind, match=said):
        sample(**arguments)


def test_targets_refuse_what_they_cannot_be():
    with pytest.raises(ValueError, match="precision must be finite and above 0"):
        Gaussian([1.0, -1.0])
    with pytest.raises(ValueError, match=r"means must be finite and have a shape \(modes, directions\)"):
        GaussianMixture([1.0], 1.0)
    with pytest.raises(ValueError, match="variance must be a finite number above 0, got 0"):
        GaussianMixture.grid(variance=0)
    with pytest.raises(ValueError, match=r"same length and not be empty, got lengths \[3, 2\]"):
        Posterior(lambda m: m, lambda m, x, y: m, [torch.zeros(3), torch.zeros(2)])
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, got 0"):
        Posterior(lambda m: m, lambda m, x: m, [torch.zeros(3)], batch_size=0)
    wrong = Posterior(lambda m: -(m[:, 0] ** 2), lambda m, x: (x - m).sum(1), [torch.zeros(3)])
    with pytest.raises(ValueError, match=r"log_likelihood must return a shape \(chains, n\) = \(2, 3\), got \(2,\)"):
        sample(wrong, torch.zeros(2, 1), 0.1, 1)


def test_exact_draws_of_the_grid_have_even_shares():
    rng = np.random.default_rng(0)
    grid = GaussianMixture.grid()
    draws = grid.means.numpy()[rng.integers(25, size=50_000)] + rng.normal(0, 0.03**0.5, (50_000, 2))
    assert grid.shares(draws) == pytest.approx(np.full(25, 0.04), abs=0.005)
    assert 1 - grid.shares(draws).sum() == pytest.approx(np.exp(-4.5), abs=0.002)
    assert grid.shares(np.full((10, 2), 1.0)).sum() == 0
