import numpy as np
import pytest
import torch

import laju
from laju.sampling import Diverged, Posterior, RMSProp, moments, stationary_variance
from laju.sampling import sample as torch_sample

jax = pytest.importorskip("jax")
blackjax = pytest.importorskip("blackjax")
import jax.numpy as jnp  # noqa: E402

from laju.sampling.jax import sample  # noqa: E402


def gaussian(precision=1.0):
    return blackjax.sgld(lambda position, batch: -precision * position)


def test_the_stationary_variance_at_half_is_eight_sevenths():
    drawn = sample(gaussian(), jnp.zeros((4000, 1)), 0.5, 300, burn_in=100, every=4, seed=1)
    assert drawn.draws.shape == (4000, 50, 1)
    assert drawn.updates[:2].tolist() == [104, 108]
    assert drawn.variance()[0] == pytest.approx(stationary_variance(0.5, 1.0), rel=0.01)


@pytest.mark.parametrize(
    "step",
    [laju.welling_teh_between(1.0, 0.01, total=40), laju.cosine_restarts(1.5, every=9), laju.constant(0.3)],
    ids=str,
)
def test_the_same_schedule_gives_the_exact_moments(step):
    chains, updates = 20_000, 40
    heat = laju.linear(0.5, 1.5, total=updates)
    drawn = sample(gaussian(), jnp.full((chains, 1), 2.0), step, updates, temperature=heat, seed=2)
    exact = moments(step, updates, 1.0, mean=2.0, temperature=heat)
    means, variances = drawn.draws[:, :, 0].mean(axis=0), drawn.draws[:, :, 0].var(axis=0, ddof=1)
    assert np.abs((means - exact.mean[1:]) / np.sqrt(exact.variance[1:] / chains)).max() < 5
    assert np.abs(variances / exact.variance[1:] - 1).max() < 5 * (2 / chains) ** 0.5
    assert drawn.steps == pytest.approx(step.values(updates))


def test_mini_batches_widen_a_conjugate_posterior_by_exactly_their_gradients_variance():
    data = np.random.default_rng(3).normal(1.0, 1.0, 40).astype(np.float32)
    gradient = blackjax.sgmcmc.gradients.grad_estimator(
        lambda m: jnp.sum(-0.5 * m**2), lambda m, x: jnp.sum(-0.5 * (x - m) ** 2), len(data)
    )
    precision, batch = 41.0, 4
    step = 0.8 / precision
    drawn = sample(
        blackjax.sgld(gradient),
        jnp.zeros((4000, 1)),
        step,
        200,
        data=data,
        batch_size=batch,
        burn_in=100,
        every=4,
        seed=3,
    )
    expected = stationary_variance(step, precision, gradient_noise=40**2 / batch * data.var())
    assert expected * precision > 1.5
    assert drawn.variance()[0] == pytest.approx(expected, rel=0.02)
    assert drawn.mean()[0] == pytest.approx(data.sum() / precision, abs=0.01)


def test_the_contour_kernel_takes_the_schedule_too():
    # With zeta = 0 it is plain Langevin dynamics.
    algorithm = blackjax.csgld(
        lambda position, batch: -0.5 * jnp.sum(position**2),
        lambda position, batch: -position,
        zeta=0,
        num_partitions=50,
        energy_gap=0.5,
    )
    drawn = sample(
        algorithm,
        jnp.zeros((2000, 1)),
        laju.welling_teh(0.5, b=10),
        300,
        burn_in=200,
        step_size_stoch=laju.constant(1e-3),
        seed=4,
    )
    assert drawn.variance()[0] == pytest.approx(1, rel=0.05)


def logistic():
    rng = np.random.default_rng(5)
    inputs = np.c_[np.ones(80), rng.normal(size=(80, 2))]
    labels = (rng.random(80) < 1 / (1 + np.exp(-inputs @ np.array([0.5, 1.5, -1.0])))).astype(float)
    return inputs.astype(np.float32), labels.astype(np.float32)


@pytest.fixture(scope="module")
def by_nuts():
    """Mean and standard deviation of a logistic regression's weights under a N(0, 4) prior, by NUTS."""
    inputs, labels = logistic()

    def log_density(w):
        logits = inputs @ w
        return jnp.sum(labels * logits - jax.nn.softplus(logits)) - jnp.sum(w**2) / 8

    @jax.jit
    def everything(key):
        warm, *keys = jax.random.split(key, 5)
        adapted, _ = blackjax.window_adaptation(blackjax.nuts, log_density).run(warm, jnp.zeros(3), 300)
        nuts = blackjax.nuts(log_density, **adapted.parameters)

        def chain(key):
            def one(state, key):
                state, _ = nuts.step(key, state)
                return state, state.position

            return jax.lax.scan(one, adapted.state, jax.random.split(key, 1000))[1]

        return jax.vmap(chain)(jnp.stack(keys))

    draws = np.asarray(everything(jax.random.key(0)))[:, 100:].reshape(-1, 3)
    return draws.mean(axis=0), draws.std(axis=0)


STEP = laju.welling_teh(0.02 * 50**0.55, b=50)  # εΛ is about .3 at first


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 20])
def test_a_logistic_regression_agrees_with_nuts(by_nuts, batch_size):
    mean, sd = by_nuts
    inputs, labels = (torch.from_numpy(part) for part in logistic())

    def log_likelihood(w, x, y):
        logits = (x * w[:, None]).sum(-1)
        return y * logits - torch.nn.functional.softplus(logits)

    target = Posterior(lambda w: -(w**2).sum(-1) / 8, log_likelihood, [inputs, labels], batch_size)
    drawn = torch_sample(target, torch.zeros(400, 3), STEP * 0.5, 1500, burn_in=700, every=10, seed=6)
    assert np.abs((drawn.mean(weighted=True) - mean) / sd).max() < 0.12
    assert np.sqrt(drawn.variance(weighted=True)) / sd == pytest.approx(np.ones(3), abs=0.08)


@pytest.mark.slow
def test_a_preconditioned_logistic_regression_agrees_with_nuts(by_nuts):
    mean, sd = by_nuts
    inputs, labels = (torch.from_numpy(part) for part in logistic())

    def log_likelihood(w, x, y):
        logits = (x * w[:, None]).sum(-1)
        return y * logits - torch.nn.functional.softplus(logits)

    target = Posterior(lambda w: -(w**2).sum(-1) / 8, log_likelihood, [inputs, labels])
    slow = RMSProp(decay=0.998, data_size=80)
    drawn = torch_sample(target, torch.zeros(300, 3), 2e-3, 2000, preconditioner=slow, burn_in=1000, every=20, seed=7)
    assert np.abs((drawn.mean() - mean) / sd).max() < 0.2
    assert np.sqrt(drawn.variance()) / sd == pytest.approx(np.ones(3), abs=0.2)


def test_blackjax_with_the_schedule_agrees_with_nuts(by_nuts):
    mean, sd = by_nuts

    def log_likelihood(w, sample):
        x, y = sample
        logit = x @ w
        return y * logit - jax.nn.softplus(logit)

    gradient = blackjax.sgmcmc.gradients.grad_estimator(lambda w: -jnp.sum(w**2) / 8, log_likelihood, 80)
    drawn = sample(
        blackjax.sgld(gradient),
        jnp.zeros((400, 3)),
        STEP * 0.5,
        1500,
        data=logistic(),
        batch_size=20,
        burn_in=700,
        every=10,
        seed=8,
    )
    assert np.abs((drawn.mean(weighted=True) - mean) / sd).max() < 0.12
    assert np.sqrt(drawn.variance(weighted=True)) / sd == pytest.approx(np.ones(3), abs=0.08)


def test_the_seed_decides_everything():
    a, b, c = (sample(gaussian(), jnp.zeros((3, 2)), 0.1, 10, seed=seed).draws for seed in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).all()


def test_a_divergence_is_found():
    with pytest.raises(Diverged, match="step 5"):
        sample(gaussian(), jnp.zeros((3, 1)), 5.0, 2000)


def test_what_makes_no_sense_is_named():
    start = jnp.zeros((2, 1))
    with pytest.raises(ValueError, match="step must be a finite number of at least 0, got -1"):
        sample(gaussian(), start, -1, 10)
    with pytest.raises(ValueError, match="temperature must be a finite number of at least 0, got -1"):
        sample(gaussian(), start, 0.1, 10, temperature=-1)
    with pytest.raises(TypeError, match=r"algorithm must be blackjax\.sgld"):
        sample(blackjax.sghmc(lambda position, batch: -position), start, 0.1, 10)
    with pytest.raises(ValueError, match="no parameter 'friction'"):
        sample(gaussian(), start, 0.1, 10, friction=1.0)
    with pytest.raises(ValueError, match="batch_size needs data, got batch_size=5 and data=None"):
        sample(gaussian(), start, 0.1, 10, batch_size=5)
    with pytest.raises(
        ValueError, match=r"arrays of data must have the same length and not be empty, got lengths \[3, 2\]"
    ):
        sample(gaussian(), start, 0.1, 10, data=(np.zeros(3), np.zeros(2)))
    with pytest.raises(ValueError, match=r"start must be an array \(chains, \*shape\)"):
        sample(gaussian(), jnp.zeros((2, 1), dtype=int), 0.1, 10)
