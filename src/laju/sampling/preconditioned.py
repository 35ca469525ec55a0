"""A diagonal preconditioner from the gradients' own size, so that a single step suits directions of different curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from laju.core.checks import number

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RMSProp:
    """The preconditioner of pSGLD: θ ← θ + (ε/2)·G·∇log p + √(εT·G)·N(0, 1), with

    G = 1/(λ + √V)        V ← V + max(1 - α, 1/t)·((∇log p/N)² - V)

    V is the mean of the squared gradients up to update 1/(1 - α), and from then on a moving mean; Li et al. begin with V = 0.
    A coordinate whose first gradients are almost 0 gets G ≈ 1/λ and hence much noise, so start where gradients have a typical
    size, not at a maximum, or raise λ.
    As in the experiments of Li et al., the term Γ = ∂G/∂θ, which needs second derivatives, is left out; the resulting error
    goes to 0 with 1 - α.

    Args:
        decay: α, at least 0 and below 1.
        damping: λ, above 0, in the units of a gradient over N.
        data_size: N, the number of samples whose log likelihoods add up in log p. N only sets the scale of ε: G is about N
            times as large as with N = 1.

    Source: Li, Chen, Carlson & Carin, "Preconditioned Stochastic Gradient Langevin Dynamics for Deep Neural Networks",
    arXiv 1512.07666.

    >>> RMSProp(decay=0.9)
    RMSProp(decay=0.9, damping=1e-05, data_size=1)
    """

    decay: float = 0.99
    damping: float = 1e-5
    data_size: float = 1

    def __post_init__(self) -> None:
        number("decay", self.decay, least=0, below=1)
        number("damping", self.damping, above=0)
        number("data_size", self.data_size, above=0)

    def observe(self, squares: torch.Tensor, gradient: torch.Tensor, t: int) -> torch.Tensor:
        """Update V (`squares`) in place with the gradient of update t = 0, 1, …, and return G; all have the same shape."""
        scaled = gradient / self.data_size
        squares.lerp_(scaled * scaled, max(1 - self.decay, 1 / (t + 1)))
        return (squares.sqrt() + self.damping).reciprocal_()
