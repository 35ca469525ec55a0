"""Langevin dynamics on many chains at once, with a schedule as its step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from laju.core.checks import shown, whole
from laju.core.schedule import Schedule
from laju.sampling.chains import Chains
from laju.sampling.preconditioned import RMSProp
from laju.sampling.steps import Diverged, Floats, read_steps, read_temperatures
from laju.sampling.targets import Target

_WATCH = 64  # updates between two looks at whether the chains diverge
_SUSPECT = 100  # times the gradients that were to be expected

Gradient = Callable[[torch.Tensor], torch.Tensor]


def sample(
    target: Target,
    start: torch.Tensor,
    step: Schedule | float,
    updates: int,
    *,
    temperature: Schedule | float = 1.0,
    preconditioner: RMSProp | None = None,
    burn_in: int = 0,
    every: int = 1,
    seed: int | torch.Generator = 0,
) -> Chains:
    """Sample from a log density by stochastic-gradient Langevin dynamics: gradient ascent with noise in every update.

    θ ← θ + (ε/2)·∇log p(θ) + √(ε·T)·N(0, 1), with ε = step(t) and T = temperature(t) at update t.

    With a constant step, the samples are from a somewhat wider distribution (`stationary_variance`); with steps that go to 0
    while their sum grows without bound (`laju.welling_teh`), from p itself. T = 0 is gradient descent with learning rate ε/2.

    Args:
        target: function from positions (chains, *shape) to log densities (chains,), such as a target of
            `laju.sampling.targets`; a `Posterior` draws mini-batches.
        start: first positions, a tensor of shape (chains, *shape) and a floating type; the run is computed on its device.
        step: ε, a schedule or a number, at least 0.
        updates: number of updates.
        temperature: T, a schedule or a number, at least 0; 1 samples from p, T from p^(1/T).
        preconditioner: scales ε per direction to its curvature.
        burn_in: updates at the beginning whose positions are not kept.
        every: after the burn-in, positions are kept every `every` updates.
        seed: seed of all randomness, or a generator on the device of `start`.

    Returns:
        The kept positions, with the update and the step size of each.

    Raises:
        TypeError: if `start` is not a tensor of a floating type.
        ValueError: if a step or temperature is below 0, `start` is not finite or has no chains, or `target` does not return a
            number for each chain.
        UnresolvedError: if a schedule's lengths are not in updates.
        Diverged: if a step is too large for the curvature.

    Source: Welling & Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", 2011.

    >>> import laju
    >>> from laju.sampling import Gaussian, stationary_variance
    >>> chains = sample(Gaussian(1.0), torch.zeros(500, 1), step=0.5, updates=200, burn_in=50)
    >>> chains.draws.shape
    (500, 150, 1)
    >>> abs(chains.variance()[0] / stationary_variance(0.5, precision=1.0) - 1) < 0.05
    np.True_
    """
    updates, burn_in = whole("updates", updates), whole("burn_in", burn_in)
    kept = np.zeros(updates, dtype=bool)
    kept[burn_in + whole("every", every, least=1) - 1 :: every] = True
    eps, temperatures = read_steps(step, updates), read_temperatures(temperature, updates)
    return run(target, start, eps, temperatures, kept, preconditioner=preconditioner, seed=seed)


def run(
    target: Target,
    start: torch.Tensor,
    eps: Floats,
    temperatures: Floats,
    kept: NDArray[np.bool_],
    *,
    preconditioner: RMSProp | None,
    seed: int | torch.Generator,
) -> Chains:
    """Run `sample` with arrays for every update: step, temperature, and whether the position after the update is kept."""
    if not isinstance(start, torch.Tensor) or not start.is_floating_point():
        found = start.dtype if isinstance(start, torch.Tensor) else shown(start)
        raise TypeError(f"start must be a tensor of a floating type, got {found}")
    if start.ndim < 1 or not start.numel() or not bool(start.isfinite().all()):
        raise ValueError(f"start must be finite and have a shape (chains, *shape), got {shown(start)}")
    generator = as_generator(seed, start.device)
    draw = getattr(target, "draw", None)
    at = start.detach().clone()
    squares = torch.zeros_like(at) if preconditioner is not None else None
    draws = torch.empty((int(kept.sum()), *at.shape), dtype=at.dtype, device=at.device)
    watch = _Watch(at)
    filled = 0
    for t, (e, temperature, keep) in enumerate(zip(eps.tolist(), temperatures.tolist(), kept.tolist(), strict=True)):
        now: Target = target if draw is None else draw(len(at), generator)
        gradient = gradient_of(now)
        slope = gradient(at)
        scale = None
        if preconditioner is not None and squares is not None:
            scale = preconditioner.observe(squares, slope, t)
        # The look reads values from the device, so it comes once in many updates.
        if t % _WATCH == 0 or t == len(eps) - 1:
            watch.look(t, e, temperature, at, slope, gradient, scale)
        watch.largest = max(watch.largest, e)
        at.add_(slope if scale is None else slope * scale, alpha=e / 2)
        if temperature and e:
            noise = torch.randn(at.shape, generator=generator, dtype=at.dtype, device=at.device)
            at.add_(noise if scale is None else noise.mul_(scale.sqrt()), alpha=(e * temperature) ** 0.5)
        if keep:
            draws[filled] = at
            filled += 1
    if not bool(at.isfinite().all()):
        watch.raise_at(len(eps) - 1)
    after = np.flatnonzero(kept)
    return Chains(draws.movedim(0, 1).cpu().numpy(), after + 1, eps[after])


def gradient_of(target: Target) -> Gradient:
    """The gradient function of a target: its method `gradient` if present, else by automatic differentiation."""
    own: Gradient | None = getattr(target, "gradient", None)
    if own is not None:
        return own

    def gradient(positions: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            at = positions.detach().requires_grad_(True)
            values = target(at)
            if not isinstance(values, torch.Tensor) or values.shape != at.shape[:1]:
                found = tuple(values.shape) if isinstance(values, torch.Tensor) else shown(values)
                raise ValueError(
                    f"target must return one log density per chain, a shape ({len(at)},), got {found} for positions "
                    f"{tuple(at.shape)}"
                )
            (slope,) = torch.autograd.grad(values.sum(), at)
        return slope

    return gradient


def as_generator(seed: int | torch.Generator, device: torch.device) -> torch.Generator:
    """A new generator on the device with the given seed, or the given generator."""
    if isinstance(seed, torch.Generator):
        if seed.device.type != device.type:
            raise ValueError(f"seed must be a generator on {device}, got one on {seed.device}")
        return seed
    return torch.Generator(device).manual_seed(whole("seed", seed))


class _Watch:
    """Looks now and then whether the chains diverge.

    A local curvature of Λ ≥ 4/ε alone is no divergence: on a mixture, such a curvature carries a chain from mode to mode. So only
    gradients that have grown out of all proportion are a reason to look at the curvature.
    """

    def __init__(self, at: torch.Tensor) -> None:
        self.before = at.clone()
        self.first: torch.Tensor | None = None
        self.gradient: Gradient | None = None
        self.scale: torch.Tensor | None = None
        self.largest = 0.0

    def look(
        self,
        t: int,
        step: float,
        temperature: float,
        at: torch.Tensor,
        slope: torch.Tensor,
        gradient: Gradient,
        scale: torch.Tensor | None,
    ) -> None:
        pull = slope if scale is None else slope * scale.sqrt()
        size = pull.flatten(1).norm(dim=1) if pull.ndim > 1 else pull.abs()
        if not bool(size.isfinite().all()):
            self.raise_at(t)
        self.gradient, self.scale = gradient, scale
        if self.first is None:
            self.first = size
        usual = (at[0].numel() * temperature / step) ** 0.5 if step else float("inf")
        far = size > _SUSPECT * (self.first + usual)
        if self.largest and bool(far.any()):
            curvature = largest_curvature(gradient, at[far], None if scale is None else scale[far])
            if curvature is not None and curvature * self.largest >= 4:
                raise Diverged(step=self.largest, curvature=curvature, update=t)
        self.before.copy_(at)
        self.largest = 0.0

    def raise_at(self, t: int) -> None:
        curvature = None if self.gradient is None else largest_curvature(self.gradient, self.before, self.scale)
        raise Diverged(step=self.largest, curvature=curvature, update=t)


def largest_curvature(gradient: Gradient, at: torch.Tensor, scale: torch.Tensor | None) -> float | None:
    """The largest eigenvalue of the Hessian of -log p over the chains, by power iteration on differences of gradients."""
    if not bool(at.isfinite().all()):
        return None
    try:
        base = gradient(at)
    except (RuntimeError, ValueError):  # a mini-batch drawn for all chains does not fit a part of the chains
        return None
    axes = tuple(range(1, at.ndim))

    def norm(x: torch.Tensor) -> torch.Tensor:
        return (x * x).sum(dim=axes, keepdim=True).sqrt() if axes else x.abs()

    # The square root of the precision balances rounding against curvature in a difference of gradients.
    reach = torch.finfo(at.dtype).eps ** 0.5 * (1 + norm(at))
    largest = torch.zeros_like(reach)
    for _ in range(2):  # the second time shifted by the eigenvalue that is largest in size, which may be negative
        shift = largest
        # A fixed start, so that the diagnosis draws no random numbers.
        direction = torch.ones_like(at) + 0.1 * torch.linspace(-1, 1, at.numel()).to(at).reshape(at.shape)
        for _ in range(30):
            direction = direction / norm(direction)
            moved = (base - gradient(at + direction * reach)) / reach
            direction = (moved if scale is None else moved * scale) + shift * direction
            largest = norm(direction)
            if not bool((largest.isfinite() & (largest > 0)).all()):
                return None
        largest = largest - shift
    return float(largest.max())
