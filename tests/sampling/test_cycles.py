import numpy as np
import pytest
import torch

import laju
from laju.sampling import Diverged, GaussianMixture, cyclical, sample, stages


def test_a_cycle_finds_the_modes_of_the_grid_that_a_decay_does_not():
    grid, updates = GaussianMixture.grid(), 8000
    start = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    peak = 0.15
    restarts = cyclical(grid, start, laju.cosine_restarts(peak, every=100), updates, explore=0.5, seed=1)
    decay = sample(grid, start, laju.welling_teh_between(peak, peak / 100, total=updates), updates, seed=1)
    constant = sample(grid, start, 0.01, updates, seed=1)

    def found(chains):
        return [int((grid.shares(draws) > 0.002).sum()) for draws in chains.draws]

    assert min(found(restarts)) >= 15
    assert (grid.shares(restarts.draws) > 0.002).sum() == 25
    assert max(found(decay)) <= 3
    assert max(found(constant)) <= 3
    assert max(restarts.rhat()) < 1.1 < max(decay.rhat())


def test_only_the_sampling_stages_are_kept_and_the_others_have_no_noise():
    step = laju.cosine_restarts(0.05, every=10)
    grid, start = GaussianMixture.grid(), torch.full((2, 2), 0.3, dtype=torch.float64)
    chains = cyclical(grid, start, step, 25, explore=0.3, seed=3)
    assert chains.updates.tolist() == [4, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 19, 20, 24, 25]
    cold = sample(grid, start, step, 3, temperature=0).draws[:, -1]
    hot = sample(grid, torch.from_numpy(cold), laju.Table(tuple(step.values(7, start=3))), 7, seed=3).draws
    np.testing.assert_allclose(chains.draws[:, :7], hot, rtol=1e-12)
    assert cyclical(grid, start, step, 25, explore=0.3, every=4).updates.tolist() == [7, 14, 18, 25]


@pytest.mark.parametrize(
    ("step", "begins"),
    [
        (laju.cosine_restarts(1.0, every=5), (0, 5, 10, 15)),
        (laju.cosine_restarts(1.0, every=5, final=0.1, decay=0.5, warmup=2), (0, 5, 10, 15)),
        (laju.cosine_restarts(1.0, every=3, growth=2), (0, 3, 9)),
        (laju.cosine_restarts(1.0, every=5, count=2), (0, 5)),
        (laju.triangular(0.0, 1.0, up=4), (0, 8, 16)),
        (laju.exp_range(0.1, 1.0, up=4, gamma=0.9), (0, 8, 16)),
        (0.5 * laju.cosine_restarts(1.0, every=6) + 0.1, (0, 6, 12)),
        (laju.cosine_restarts(1.0, every=6).clip(0.2, 0.8), (0, 6, 12)),
        (laju.cosine_restarts(1.0, every=6).warmup(4), (0, 10, 16)),
        (
            laju.cosine_restarts(1.0, every=2).per("epoch").resolve(laju.RunPlan(samples=6, batch_size=2, epochs=9)),
            (0, 6, 12),
        ),
    ],
    ids=str,
)
def test_the_cycles_are_those_that_the_schedule_is_written_in(step, begins):
    found = stages(step, 18, explore=0.5)
    assert found.begins == begins
    mask = found.sampling
    assert (found.temperature.values(18) == mask).all()
    for begin, end in zip(begins, (*begins[1:], 18), strict=True):
        assert not mask[begin]
        assert (np.diff(mask[begin:end].astype(int)) >= 0).all()


def test_the_share_of_exploration_is_that_of_the_paper():
    # Update u of a cycle of n explores if u/n < β.
    for share in (0.0, 0.25, 0.3, 0.9):
        explores = ~stages(laju.cosine_restarts(1.0, every=7), 21, explore=share).sampling
        assert explores.tolist() == [u / 7 < share for u in [*range(7)] * 3]


def test_schedules_without_cycles_are_refused():
    with pytest.raises(ValueError, match=r"step must have cycles, such as laju\.cosine_restarts"):
        stages(laju.cosine(1.0, total=10), 10)
    with pytest.raises(ValueError, match="parts that repeat in different ways"):
        stages(laju.cosine_restarts(1.0, every=3) * laju.cosine_restarts(1.0, every=4), 10)
    with pytest.raises(TypeError, match=r"step must be a laju schedule, got 0\.1"):
        stages(0.1, 10)
    for explore in (-0.1, 1.0):
        with pytest.raises(ValueError, match="explore must be a finite number of at least 0 and below 1"):
            stages(laju.cosine_restarts(1.0, every=3), 10, explore=explore)
    with pytest.raises(laju.UnresolvedError):
        stages(laju.cosine_restarts(1.0, every="2 epochs"), 10)


def test_a_chain_that_leaves_the_grid_for_good_is_a_divergence_with_the_modes_own_curvature():
    grid = GaussianMixture.grid(side=1)
    with pytest.raises(Diverged) as error:
        cyclical(grid, torch.zeros(3, 2, dtype=torch.float64) + 0.01, laju.cosine_restarts(0.2, every=500), 2000)
    assert error.value.curvature == pytest.approx(1 / 0.03, rel=1e-3)
