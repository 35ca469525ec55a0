"""Targets of sampling: log densities of many positions at once, exact densities to check samplers, and posteriors of data.

A target is a function from positions (chains, *shape) to log densities (chains,), up to a constant. A target may have a method
`gradient`, from positions to gradients of the same shape, which replaces automatic differentiation; and a method
`draw(chains, generator)`, which returns the target of a single update: an estimate from a mini-batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from laju.core.checks import number, shown, whole

Target = Callable[[torch.Tensor], torch.Tensor]


class Gaussian:
    """A Gaussian with independent directions: log p(θ) = -Σ Λ_i·(θ_i - μ_i)²/2.

    Args:
        precision: Λ, above 0, of shape (directions,) or a number for a single direction.
        mean: μ, of the same shape as the precision, or a number for all directions; 0 by default.

    >>> Gaussian([1.0, 4.0])(torch.tensor([[1.0, 1.0]]))
    tensor([-2.5000])
    """

    def __init__(self, precision: ArrayLike, mean: ArrayLike = 0.0) -> None:
        array = np.atleast_1d(np.asarray(precision, dtype=float))
        if array.ndim != 1 or not np.isfinite(array).all() or array.min() <= 0:
            raise ValueError(
                f"precision must be finite and above 0, a number or one per direction, got {shown(precision)}"
            )
        self.precision = torch.from_numpy(array)
        self.mean = torch.from_numpy(np.broadcast_to(np.asarray(mean, dtype=float), array.shape).copy())

    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        away = positions - self.mean.to(positions)
        return -(away * away * self.precision.to(positions)).sum(-1) / 2

    def gradient(self, positions: torch.Tensor) -> torch.Tensor:
        return (self.mean.to(positions) - positions) * self.precision.to(positions)


class GaussianMixture:
    """A mixture of Gaussians with equal weights and variances: log p(θ) = log Σ_k exp(-|θ - μ_k|²/(2v)).

    Args:
        means: μ, of shape (modes, directions).
        variance: v, the variance of every Gaussian in each direction, above 0.

    >>> GaussianMixture.grid().means.shape
    torch.Size([25, 2])
    """

    def __init__(self, means: ArrayLike, variance: float) -> None:
        array = np.asarray(means, dtype=float)
        if array.ndim != 2 or not array.size or not np.isfinite(array).all():
            raise ValueError(f"means must be finite and have a shape (modes, directions), got {shown(means)}")
        self.means = torch.from_numpy(array)
        self.variance = number("variance", variance, above=0)

    @classmethod
    def grid(cls, side: int = 5, spacing: float = 2.0, variance: float = 0.03) -> GaussianMixture:
        """A grid of side × side Gaussians in the plane; by default the 25 Gaussians of Zhang et al., arXiv 1902.03932."""
        side, spacing = whole("side", side, least=1), number("spacing", spacing, above=0)
        at = [spacing * (i - (side - 1) / 2) for i in range(side)]
        return cls(list(itertools.product(at, at)), variance)

    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(-self._squares(positions) / (2 * self.variance), dim=-1)

    def gradient(self, positions: torch.Tensor) -> torch.Tensor:
        nearness = torch.softmax(self._squares(positions) / (-2 * self.variance), dim=-1)
        return (nearness @ self.means.to(positions) - positions) / self.variance

    def _squares(self, positions: torch.Tensor) -> torch.Tensor:
        away = positions.unsqueeze(-2) - self.means.to(positions)
        return (away * away).sum(-1)

    def shares(self, draws: ArrayLike) -> NDArray[np.float64]:
        """The share of draws that belong to each mode, of shape (modes,): to the nearest mean within 3 standard deviations.

        The remaining draws lie between the modes; for exact draws in the plane, their share is exp(-9/2) = 0.011.

        Args:
            draws: positions, of shape (..., directions).
        """
        points = torch.as_tensor(np.asarray(draws, dtype=float)).reshape(-1, self.means.shape[1])
        if not len(points):
            raise ValueError("draws must not be empty")
        counts = np.zeros(len(self.means))
        for part in points.split(65_536):
            squares, nearest = self._squares(part).min(dim=-1)
            counts += np.bincount(nearest[squares < 9 * self.variance].numpy(), minlength=len(counts))
        return counts / len(points)


class Posterior:
    """The posterior of data, estimated from a mini-batch at every update: log p(θ) + (N/n)·Σ log p(x_i | θ) over n of N samples.

    Every chain has a mini-batch of its own, drawn with replacement, so that chains stay independent.

    Args:
        log_prior: function from positions (chains, *shape) to log densities (chains,).
        log_likelihood: function from positions, and a tensor (chains, n, ...) for each tensor of `data`, to the samples' log
            likelihoods (chains, n).
        data: tensors of shape (N, ...), all with the same N.
        batch_size: n; None, the default, for all data in every update.

    Raises:
        ValueError: if there are no data, the tensors have different lengths, or the batch size is not at least 1.

    >>> heights = torch.tensor([1.2, 0.7, 1.6])
    >>> posterior = Posterior(lambda m: -m[:, 0]**2 / 2, lambda m, x: -(x - m)**2 / 2, [heights])
    >>> posterior(torch.zeros(1, 1))
    tensor([-2.2450])
    """

    def __init__(
        self,
        log_prior: Target,
        log_likelihood: Callable[..., torch.Tensor],
        data: Sequence[torch.Tensor],
        batch_size: int | None = None,
    ) -> None:
        if not len(data) or not all(isinstance(part, torch.Tensor) and part.ndim for part in data):
            raise ValueError(f"data must be tensors of shape (N, ...), got {shown(data)}")
        lengths = [len(part) for part in data]
        if len(set(lengths)) > 1 or not lengths[0]:
            raise ValueError(f"tensors of data must have the same length and not be empty, got lengths {lengths}")
        self.log_prior, self.log_likelihood, self.data = log_prior, log_likelihood, tuple(data)
        self.size = lengths[0]
        self.batch_size = None if batch_size is None else whole("batch_size", batch_size, least=1)

    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        """The log density of each position, computed from all data."""
        return self._on(positions, [part.expand(len(positions), *part.shape) for part in self.data], 1.0)

    def draw(self, chains: int, generator: torch.Generator) -> Target:
        """Draw a mini-batch for each chain, and return the log density estimated from the mini-batches."""
        n = self.batch_size
        if n is None:
            return self
        chosen = torch.randint(self.size, (chains, n), generator=generator, device=generator.device)
        batch: list[Any] = [part[chosen.to(part.device)] for part in self.data]
        return lambda positions: self._on(positions, batch, self.size / n)

    def _on(self, positions: torch.Tensor, batch: Sequence[torch.Tensor], scale: float) -> torch.Tensor:
        likelihoods = self.log_likelihood(positions, *batch)
        if likelihoods.ndim != 2 or len(likelihoods) != len(positions):
            raise ValueError(
                f"log_likelihood must return a shape (chains, n) = ({len(positions)}, {batch[0].shape[1]}), got "
                f"{tuple(likelihoods.shape)}"
            )
        return self.log_prior(positions) + scale * likelihoods.sum(1)
