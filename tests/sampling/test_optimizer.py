import copy

import numpy as np
import pytest
import torch

import laju
from laju.frameworks.torch import Scheduler
from laju.sampling import Diverged, Gaussian, GaussianMixture, Langevin, RMSProp, sample, stages, stationary_variance


def energy(weights, precision=1.0):
    return (precision * weights**2).sum() / 2


def run(optimizer, weights, updates, scheduler=None, precision=1.0):
    for _ in range(updates):
        optimizer.zero_grad()
        energy(weights, precision).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


@pytest.mark.parametrize("preconditioner", [None, RMSProp(decay=0.9)])
def test_the_optimizer_and_the_sampler_are_the_same_dynamics(preconditioner):
    grid, step = GaussianMixture.grid(), laju.welling_teh(0.05, b=3)
    start = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = sample(grid, start, step, 25, temperature=0.7, preconditioner=preconditioner, seed=9).draws
    weights = torch.nn.Parameter(start.clone())
    optimizer = Langevin([weights], lr=0, temperature=0.7, preconditioner=preconditioner, seed=9)
    scheduler = Scheduler(optimizer, lr=step)
    for t in range(25):
        optimizer.zero_grad()
        (-grid(weights).sum()).backward()
        optimizer.step()
        scheduler.step()
        np.testing.assert_allclose(weights.detach().numpy(), drawn[:, t], rtol=1e-9)


def test_a_scheduler_drives_the_step_and_the_temperature():
    step = laju.cosine_restarts(0.5, every=10)
    weights = torch.nn.Parameter(torch.ones(3))
    optimizer = Langevin([weights], lr=0.0)
    found = stages(step, 20, explore=0.4)
    scheduler = Scheduler(optimizer, lr=step, temperature=found.temperature)
    before = weights.detach().clone()
    for t in range(20):
        run(optimizer, weights, 1, scheduler)
        cold = torch.allclose(weights.detach(), before * (1 - step(t) / 2), atol=1e-7)
        assert cold == (t % 10 < 4)
        before = weights.detach().clone()


def test_the_mean_loss_the_number_of_samples_and_the_prior_make_the_posterior():
    samples, prior = 40, 5.0
    data = torch.randn(samples, generator=torch.Generator().manual_seed(2))
    weights = torch.nn.Parameter(torch.zeros(4000))
    precision = samples + prior
    optimizer = Langevin([weights], lr=0.4 / precision, data_size=samples, prior_precision=prior, seed=3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (((data[:, None] - weights) ** 2) / 2).mean(dim=0).sum()  # every weight sees all data
        loss.backward()
        optimizer.step()
    drawn = weights.detach()
    assert float(drawn.mean()) == pytest.approx(float(data.sum()) / precision, abs=4 * (1 / precision / 4000) ** 0.5)
    assert float(drawn.var()) == pytest.approx(stationary_variance(0.4 / precision, precision), rel=0.1)


def test_a_resumed_run_equals_an_uninterrupted_one():
    def fresh():
        weights = torch.nn.Parameter(torch.ones(5))
        optimizer = Langevin([weights], lr=0.0, preconditioner=RMSProp(decay=0.8), seed=4)
        return weights, optimizer, Scheduler(optimizer, lr=laju.welling_teh(0.3, b=2))

    weights, optimizer, scheduler = fresh()
    run(optimizer, weights, 7, scheduler)
    saved = copy.deepcopy((weights.detach(), optimizer.state_dict(), scheduler.state_dict()))
    run(optimizer, weights, 6, scheduler)
    again, second, other = fresh()
    with torch.no_grad():
        again.copy_(saved[0])
    second.load_state_dict(saved[1])
    other.load_state_dict(saved[2])
    run(second, again, 6, other)
    assert torch.equal(again, weights)


def test_the_noise_is_its_own_and_leaves_the_callers_alone():
    before = torch.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        weights = torch.nn.Parameter(torch.zeros(4))
        run(Langevin([weights], lr=0.1, seed=seed), weights, 3)
        found.append(weights.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(before, torch.get_rng_state())


def test_groups_have_steps_of_their_own_and_weights_without_gradient_stay():
    moving, still, frozen = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = Langevin([{"params": [moving]}, {"params": [still], "lr": 0.0}, {"params": [frozen]}], lr=0.1)
    energy(torch.cat([moving, still])).backward()
    optimizer.step()
    assert (moving != 1).all()
    assert (still == 1).all()
    assert (frozen == 1).all()


def test_a_closure_is_called_and_its_loss_returned():
    weights = torch.nn.Parameter(torch.ones(2))

    def closure():
        loss = energy(weights)
        loss.backward()
        return loss

    assert Langevin([weights], lr=0.1).step(closure).item() == 1.0


def test_weights_that_are_no_longer_finite_are_noticed():
    weights = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(Diverged, match=r"step 30"):
        run(Langevin([weights], lr=30.0), weights, 2000)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lr": -0.1}, "lr must be a finite number of at least 0, got -0.1"),
        ({"temperature": -1}, "temperature must be a finite number of at least 0, got -1"),
        ({"data_size": 0}, "data_size must be a finite number above 0, got 0"),
        ({"prior_precision": -2}, "prior_precision must be a finite number of at least 0, got -2"),
    ],
)
def test_what_makes_no_sense_is_named(changes, said):
    with pytest.raises(ValueError, match=said):
        Langevin([torch.nn.Parameter(torch.zeros(1))], **{"lr": 0.1, **changes})


def test_a_schedule_that_goes_below_zero_is_named_at_its_update():
    weights = torch.nn.Parameter(torch.ones(1))
    optimizer = Langevin([weights], lr=0.0)
    scheduler = Scheduler(optimizer, lr=laju.linear(0.1, -0.1, total=4))
    with pytest.raises(ValueError, match=r"lr must be a finite number of at least 0, got -0\.05"):
        run(optimizer, weights, 5, scheduler)
    with pytest.raises(TypeError, match=r"preconditioner must be a laju\.sampling.RMSProp or None, got 'rms'"):
        Langevin([weights], lr=0.1, preconditioner="rms")


def test_preconditioning_lets_one_step_suit_directions_of_different_curvature():
    precision, step = np.array([1.0, 100.0, 10_000.0]), 0.02
    sd = torch.from_numpy(precision) ** -0.5
    start = torch.randn(32, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * sd
    target = Gaussian(precision)
    plain = sample(target, start, 1e-4, 4000, burn_in=1000, seed=1)
    scaled = sample(target, start, step, 4000, burn_in=1000, preconditioner=RMSProp(decay=0.999), seed=1)
    assert plain.variance()[2] * precision[2] == pytest.approx(4 / 3, rel=0.05)  # the largest step that it can take
    assert scaled.ess()[0] > 5 * plain.ess()[0]
    # G settles at 1/(Λ·s), s the standard deviation, so that s²·Λ = σ² solves σ² = 1/(1 - ε·√Λ/(4σ)).
    half = step * precision**0.5 / 8
    assert scaled.variance() * precision == pytest.approx((half + np.sqrt(half**2 + 1)) ** 2, rel=0.15)


def test_the_preconditioner_is_the_inverse_of_the_gradients_size():
    own = RMSProp(decay=0.5, damping=0.1, data_size=10)
    squares = torch.zeros(2)
    first = own.observe(squares, torch.tensor([30.0, 0.0]), 0)
    assert first.tolist() == pytest.approx([1 / 3.1, 10.0])
    second = own.observe(squares, torch.tensor([10.0, 0.0]), 1)  # (9 + 1)/2
    assert second.tolist() == pytest.approx([1 / (5**0.5 + 0.1), 10.0])
    third = own.observe(squares, torch.tensor([10.0, 0.0]), 2)  # (5 + 1)/2
    assert third[0].item() == pytest.approx(1 / (3**0.5 + 0.1))
    for changes in ({"decay": 1.0}, {"damping": 0.0}, {"data_size": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(changes))} must be a finite number"):
            RMSProp(**changes)
