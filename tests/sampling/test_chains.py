import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from laju.sampling import Chains, Gaussian, moments, sample


def chains_of(draws):
    kept = draws.shape[1]
    return Chains(draws, np.arange(1, kept + 1), np.ones(kept))


def test_independent_draws_are_worth_themselves_and_chains_that_disagree_are_seen():
    rng = np.random.default_rng(0)
    same = chains_of(rng.normal(size=(4, 1000, 2)))
    assert same.ess() == pytest.approx([4000, 4000], rel=0.25)
    assert same.ess("tail").shape == (2,)
    assert same.rhat().max() < 1.01
    apart = chains_of(rng.normal(size=(4, 1000, 2)) + np.array([[[0, 0]], [[0, 0]], [[0, 3]], [[0, 3]]]))
    assert apart.rhat()[0] < 1.01
    assert apart.rhat()[1] > 1.5


def test_the_effective_size_of_langevin_draws_is_that_of_their_autocorrelation():
    # AR(1) with coefficient 1 - ε/2: of n draws n·(1 - a)/(1 + a) count.
    step, kept = 0.4, 4000
    drawn = sample(Gaussian(1.0), torch.zeros(4, 1, dtype=torch.float64), step, kept + 100, burn_in=100, seed=1)
    a = 1 - step / 2
    assert drawn.ess("mean")[0] == pytest.approx(4 * kept * (1 - a) / (1 + a), rel=0.15)


def test_weights_are_the_steps():
    draws = np.array([[[0.0], [1.0]], [[2.0], [5.0]]])
    chains = Chains(draws, np.array([1, 2]), np.array([3.0, 1.0]))
    assert chains.mean()[0] == 2
    assert chains.mean(weighted=True)[0] == pytest.approx((3 * 1 + 1 * 3) / 4)
    assert chains.variance(weighted=True)[0] == pytest.approx((3 * (2.25 + 0.25) + 1 * (0.25 + 12.25)) / 2 / 4)
    assert moments(0.1, 1, 1.0).mean.shape == (2,)


def test_arviz_gets_the_draws_with_chains_and_draws_in_its_order():
    data = chains_of(np.arange(24.0).reshape(2, 4, 3)).to_arviz("weights")
    assert data.posterior["weights"].shape == (2, 4, 3)
    assert float(data.posterior["weights"][1, 2, 0]) == 18


def test_what_cannot_be_said_is_refused():
    with pytest.raises(ValueError, match=r"draws must have a shape \(chains, kept, \.\.\.\)"):
        Chains(np.zeros((2, 3)), np.arange(2), np.ones(3))
    with pytest.raises(ValueError, match="no draw was kept"):
        chains_of(np.zeros((2, 0, 1))).mean()
    with pytest.raises(ValueError, match="at least 2 chains, got 1"):
        chains_of(np.zeros((1, 10, 1))).rhat()
    with pytest.raises(ValueError, match="ess needs at least 4 draws per chain, got 3"):
        chains_of(np.zeros((2, 3, 1))).ess()
    with pytest.raises(ValueError, match="method must be 'bulk', 'tail' or 'mean', got 'fat'"):
        chains_of(np.zeros((2, 5, 1))).ess("fat")
    with pytest.raises(ValueError, match="all steps are 0"):
        Chains(np.zeros((2, 3)), np.arange(3), np.zeros(3)).mean(weighted=True)


def test_without_arviz_it_is_said_how_to_get_it_and_only_when_it_is_needed():
    code = """
import sys
sys.modules["arviz"] = None
import torch
from laju.sampling import Gaussian, sample
chains = sample(Gaussian(1.0), torch.zeros(2, 1), 0.1, 10)
assert "arviz" not in {name for name, module in sys.modules.items() if module}
try:
    chains.ess()
except ModuleNotFoundError as error:
    print(error, error.name)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("a diagnostic of chains needs the package arviz, which is not installed: ")
    assert re.search(r"pip install .*\[sampling\]'? arviz\n$", said)
