"""Laws of loss curves: the loss after t updates as a function of the learning rates so far.

All laws have the same form, in units of a learning rate η_ref, a progress S_ref and a level ℓ of losses (chosen in `fitting`):

    L(t) = L0 + A·s^-α ± e·ℓ·x(t) + R·(s / s_first)^-2        s = S_t / S_ref,  S_t = Σ_{k<t} η_k

L0, A and R are linear parameters; α, the amplitude e and the law's own parameters are nonlinear. x(t) differs from law to law:
the loss that annealing has removed so far, or that noise has added, as a fraction of the total effect at the reference rate. So e
is the total effect as a share of the loss. R, only in the extended laws, is the amplitude of a transient of the first updates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from laju.forecast.blocks import Array, History


@dataclass(frozen=True)
class Prior:
    """Prior of a parameter: its logarithm is centred at ln `centre` with scale `spread`; `weight` is the prior's weight."""

    centre: float
    spread: float


class Law(ABC):
    """A law of loss curves, defined by its annealing term x(t) and the term's derivatives.

    `parameters` are the nonlinear parameters in order, each with its prior: α first, the amplitude e last.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    parameters: ClassVar[dict[str, Prior]]
    sign: ClassVar[int]
    """+1 if the term adds to the loss, -1 if the term is subtracted."""
    transient: ClassVar[bool] = False
    weight: ClassVar[float] = 1.0
    """Weight of the priors, relative to a residual of the size of the noise on every curve."""

    @abstractmethod
    def term(self, run: History, p: Array) -> tuple[Array, Array]:
        """x(t), shape (n,), at the parameters between α and e, and its derivatives by their logarithms, shape (n, len(p))."""


class Momentum(Law):
    """Momentum law, L0 + A·s^-α - B·Σ_k (η_{k-1} - η_k)·(1 - λ^(t-k)): a drop of the learning rate acts in 1/(1 - λ) updates.

    The result is the loss after t updates. S₂ of the paper is Σ_i Σ_{k≤i} (η_{k-1} - η_k)·λ^(i-k), the same up to the constant
    1/(1 - λ) in C. The parameter `memory` is -1/ln λ, in updates at the reference rate as a share of the reference progress.

    Source: Tissue, Wang and Wang, "Scaling Law with Learning Rate Annealing", arXiv 2408.11029.
    """

    name = "momentum"
    source = "arXiv 2408.11029"
    sign = -1
    parameters: ClassVar = {
        "alpha": Prior(0.5, 1.0),
        "memory": Prior(0.01, 0.7),
        "amplitude": Prior(0.05, 0.5),
    }

    def term(self, run: History, p: Array) -> tuple[Array, Array]:
        (tau,) = p
        drop = run.before - run.after
        z = run.ago / tau
        left = np.exp(-z)
        return (drop * (1 - left)).sum(axis=1), -(drop * left * z).sum(axis=1)[:, None]


class MultiPower(Law):
    """Multi-power law, L0 + A·s^-α - B·Σ_k (η_{k-1} - η_k)·[1 - (1 + C·η_k^-γ·(S_t - S_{k-1}))^-β].

    The result is the loss after t updates: each drop of the learning rate η takes effect by a power law.

    Source: Luo et al., "A Multi-Power Law for Loss Curve Prediction Across Learning Rate Schedules", arXiv 2503.12811. The priors
    are centred at the geometric means of the values that the paper prints for its models of 25M, 100M and 400M parameters.
    """

    name = "multi-power"
    source = "arXiv 2503.12811"
    sign = -1
    parameters: ClassVar = {
        "alpha": Prior(0.5, 1.0),
        "C": Prior(340.0, 2.0),
        "beta": Prior(0.6, 0.5),
        "gamma": Prior(0.58, 0.5),
        "amplitude": Prior(0.05, 0.1),
    }
    weight = 2.0

    def term(self, run: History, p: Array) -> tuple[Array, Array]:
        C, beta, gamma = p
        found, by = _drops(run, C, beta, gamma, 1.0)
        return found, by[:, :3]


class ExtendedMultiPower(MultiPower):
    """The multi-power law with drops of η^p instead of η, and a transient of the first updates.

    With p below 1 the first part of a decay gains less than the last part, as in curves of slow decays. p is laju's extension.
    """

    name = "extended multi-power"
    transient = True
    parameters: ClassVar = {
        **{k: v for k, v in MultiPower.parameters.items() if k != "amplitude"},
        "power": Prior(0.7, 0.5),
        "amplitude": MultiPower.parameters["amplitude"],
    }

    def term(self, run: History, p: Array) -> tuple[Array, Array]:
        C, beta, gamma, power = p
        return _drops(run, C, beta, gamma, power)


class Functional(Law):
    """Functional law, L0 + A·s^-α + B·Σ_k η_k²·(1 + C·(S_t - S_k))^-κ.

    The result is the loss after t updates: noise enters with every update, and is forgotten by a power law.

    Source: Li et al., "Functional Scaling Laws in Kernel Regression", arXiv 2509.19189. B is e·ℓ·C·κ here.
    """

    name = "functional"
    source = "arXiv 2509.19189"
    sign = 1
    parameters: ClassVar = {
        "alpha": Prior(0.5, 1.0),
        "C": Prior(360.0, 0.7),
        "kappa": Prior(1.7, 0.3),
        "amplitude": Prior(0.02, 0.7),
    }

    def term(self, run: History, p: Array) -> tuple[Array, Array]:
        C, kappa = p
        found, by = _noise(run, C, kappa, 1.0)
        return found, by[:, :2]


class ExtendedFunctional(Functional):
    """The functional law with noise of η^(1+p) instead of η², and a transient of the first updates; p is laju's extension."""

    name = "extended functional"
    transient = True
    parameters: ClassVar = {
        **{k: v for k, v in Functional.parameters.items() if k != "amplitude"},
        "power": Prior(1.0, 0.3),
        "amplitude": Functional.parameters["amplitude"],
    }

    def term(self, run: History, p: Array) -> tuple[Array, Array]:
        C, kappa, power = p
        return _noise(run, C, kappa, power)


LAWS: dict[str, Law] = {
    law.name: law for law in (Momentum(), MultiPower(), Functional(), ExtendedMultiPower(), ExtendedFunctional())
}
AVERAGE = {"extended multi-power": 0.75, "extended functional": 0.25}
"""The laws and weights of the default law, a weighted mean."""


def _drops(run: History, C: float, beta: float, gamma: float, power: float) -> tuple[Array, Array]:
    """Σ (before^p - after^p)·[1 - (1 + z)^-β], z = C·η^-γ·distance; and by ln C, ln β, ln γ, ln p."""
    from_, to = run.before**power, run.after**power
    drop = from_ - to  # a block's drops add up to the difference between its ends
    # The rate may be almost 0 at the end of a cooldown, and its negative power beyond the floats; a drop has had its full
    # effect long before exp(300).
    z = C * np.exp(np.minimum(-gamma * run.rate_then, 300.0)) * run.changed
    log = np.log1p(z)
    left = np.exp(-beta * log)
    by_z = drop * beta * left * z / (1 + z)
    slope = _times_log(from_, run.before, power) - _times_log(to, run.after, power)
    by = (by_z, drop * left * beta * log, -by_z * gamma * run.rate_then, slope * (1 - left))
    return (drop * (1 - left)).sum(axis=1), np.stack([part.sum(axis=1) for part in by], axis=1)


def _times_log(raised: Array, x: Array, power: float) -> Array:
    """d x^p / d ln p = x^p·p·ln x, with 0 at 0."""
    return raised * power * np.log(np.where(x > 0, x, 1.0))


def _noise(run: History, C: float, kappa: float, power: float) -> tuple[Array, Array]:
    """Σ weight·η^p·(1 + C·distance)^-κ·Cκ, and by ln C, ln κ, ln p."""
    z = C * run.distance
    log = np.log1p(z)
    each = run.weight * np.exp(power * run.rate - kappa * log) * C * kappa
    by = (each * (1 - kappa * z / (1 + z)), each * (1 - kappa * log), each * power * run.rate)
    return each.sum(axis=1), np.stack([part.sum(axis=1) for part in by], axis=1)
