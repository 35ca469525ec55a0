"""Langevin sampling: with noise in every update, the step-size schedule decides whether training converges or samples.

>>> import torch, laju
>>> from laju.sampling import Gaussian, sample
>>> chains = sample(Gaussian(1.0), torch.full((100, 1), 3.0), laju.welling_teh(0.5, b=10), updates=500, burn_in=100)
>>> abs(chains.mean(weighted=True)[0]) < 0.2
np.True_

`laju.sampling.jax` does the same with BlackJAX.
"""

from laju.core.extras import needed_by

with needed_by("laju.sampling", "sampling"):
    from laju.sampling.chains import Chains
    from laju.sampling.cycles import Stages, cyclical, stages
    from laju.sampling.exact import Moments, contraction, largest_step, moments, stationary_variance
    from laju.sampling.langevin import sample
    from laju.sampling.optimizer import Langevin
    from laju.sampling.preconditioned import RMSProp
    from laju.sampling.steps import Diverged
    from laju.sampling.targets import Gaussian, GaussianMixture, Posterior

__all__ = [
    "Chains",
    "Diverged",
    "Gaussian",
    "GaussianMixture",
    "Langevin",
    "Moments",
    "Posterior",
    "RMSProp",
    "Stages",
    "contraction",
    "cyclical",
    "largest_step",
    "moments",
    "sample",
    "stages",
    "stationary_variance",
]
