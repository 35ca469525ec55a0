"""Cyclical Langevin dynamics: every cycle of the step size searches for a mode without noise, then samples around the mode."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from laju.core.checks import number, shown, whole
from laju.core.joins import chain
from laju.core.outline import Cycle, Part
from laju.core.pieces import Constant
from laju.core.schedule import Schedule
from laju.sampling.chains import Chains
from laju.sampling.langevin import run
from laju.sampling.preconditioned import RMSProp
from laju.sampling.steps import read_steps, read_temperatures
from laju.sampling.targets import Target


@dataclass(frozen=True)
class Stages:
    """The first update of every cycle of a run, and of every cycle's sampling stage.

    Attributes:
        begins: first update of every cycle.
        samples: first update of every cycle's sampling stage; the cycle's earlier updates are the exploration stage.
        updates: number of updates of the run.
    """

    begins: tuple[int, ...]
    samples: tuple[int, ...]
    updates: int

    @property
    def sampling(self) -> NDArray[np.bool_]:
        """Whether each update belongs to a sampling stage, an array of shape (updates,)."""
        mask = np.zeros(self.updates, dtype=bool)
        for begin, end in zip(self.samples, (*self.begins[1:], self.updates), strict=True):
            mask[begin:end] = True
        return mask

    @property
    def temperature(self) -> Schedule:
        """A temperature schedule with the value 0 in exploration stages and 1 in sampling stages."""
        parts: list[Schedule] = []
        for begin, first, end in zip(self.begins, self.samples, (*self.begins[1:], self.updates), strict=True):
            parts += [Constant(0.0, first - begin)] if first > begin else []
            parts += [Constant(1.0, end - first)] if end > first else []
        return chain(*parts)


def stages(step: Schedule, updates: int, explore: float = 0.25) -> Stages:
    """Divide each cycle of the step-size schedule into an exploration stage, which comes first, and a sampling stage.

    Update u of a cycle of n updates explores if u/n < `explore`. The cycles are the repetitions in the schedule: of
    `cosine_restarts`, `triangular`, or any schedule with `.repeat()`, growing cycles included. An earlier part (a warmup)
    belongs to the first cycle.

    Args:
        step: ε, a schedule in updates that repeats.
        updates: number of updates of the run, at least 1.
        explore: β, the share of a cycle that explores, at least 0 and below 1.

    Raises:
        TypeError: if `step` is not a schedule.
        ValueError: if the schedule does not repeat, or its parts repeat in different ways.

    Source: Zhang et al., "Cyclical Stochastic Gradient MCMC for Bayesian Deep Learning", arXiv 1902.03932, algorithm 1.

    >>> import laju
    >>> stages(laju.cosine_restarts(0.1, every=4), updates=10)
    Stages(begins=(0, 4, 8), samples=(1, 5, 9), updates=10)
    >>> stages(laju.cosine_restarts(0.1, every=4), updates=10, explore=0.5).temperature.values(10)
    array([0., 0., 1., 1., 0., 0., 1., 1., 0., 0.])
    """
    if not isinstance(step, Schedule):
        raise TypeError(f"step must be a laju schedule, got {shown(step)}")
    updates = whole("updates", updates, least=1)
    share = number("explore", explore, least=0, below=1)
    step.require_resolved()
    found = _cycles(step, updates)
    if not found:
        raise ValueError(
            f"step must have cycles, such as laju.cosine_restarts or a schedule with .repeat(), got {shown(step)}"
        )
    if len(found) > 1:
        raise ValueError(
            f"step must have one sequence of cycles, got parts that repeat in different ways: {shown(step)}"
        )
    (ends,) = found
    begins = [0, *(end for end in ends[:-1] if end < updates)]
    samples = [min(begin + math.ceil(share * (end - begin)), updates) for begin, end in zip(begins, ends, strict=False)]
    return Stages(tuple(begins), tuple(samples), updates)


def cyclical(
    target: Target,
    start: torch.Tensor,
    step: Schedule,
    updates: int,
    *,
    explore: float = 0.25,
    temperature: Schedule | float = 1.0,
    preconditioner: RMSProp | None = None,
    every: int = 1,
    seed: int | torch.Generator = 0,
) -> Chains:
    """Cyclical stochastic-gradient Langevin dynamics: large steps find new modes, small steps sample around the modes.

    Each update is an update of `laju.sampling.sample`, with temperature 0 in the exploration stage of every cycle. Only
    positions of the sampling stages are kept.

    Args:
        target: the log density to sample from, as for `laju.sampling.sample`.
        start: first positions, a tensor of shape (chains, *shape).
        step: ε, a schedule in updates that repeats; `stages` finds its cycles. The step in Zhang et al. is ε/2.
        updates: number of updates.
        explore: β, the share of a cycle that explores; 0.25 by default.
        temperature: T in the sampling stages, a schedule or a number.
        preconditioner: scales ε per direction to its curvature.
        every: positions of the sampling stages are kept every `every` updates.
        seed: seed of all randomness, or a generator on the device of `start`.

    Returns:
        The kept positions, with the update and the step size of each.

    Raises:
        ValueError: if the schedule does not repeat, or for an invalid step, temperature, start or target.
        Diverged: if a step is too large for the curvature.

    Source: Zhang et al., arXiv 1902.03932.

    >>> import laju
    >>> from laju.sampling import GaussianMixture
    >>> grid = GaussianMixture.grid()  # 25 modes
    >>> start = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    >>> chains = cyclical(grid, start, laju.cosine_restarts(0.15, every=100), updates=1000)
    >>> chains.draws.shape
    (50, 750, 2)
    >>> int((grid.shares(chains.draws) > 0.002).sum())
    25
    """
    found = stages(step, updates, explore)
    sampling = found.sampling
    kept = np.zeros_like(sampling)
    kept[np.flatnonzero(sampling)[whole("every", every, least=1) - 1 :: every]] = True
    temperatures = read_temperatures(temperature, found.updates) * sampling
    eps = read_steps(step, found.updates)
    return run(target, start, eps, temperatures, kept, preconditioner=preconditioner, seed=seed)


def _cycles(schedule: Schedule, updates: int) -> set[tuple[int, ...]]:
    """The ends of the cycles of every repetition in a schedule, up to and with the first that is not before `updates`."""
    ends: dict[tuple[Any, ...], list[int]] = {}
    for part in schedule.outline(0, updates):
        for place, cycle, by in _outermost(part):
            found = ends.setdefault((place, cycle.since + by, cycle.until), [])
            end = math.ceil(cycle.end + by)
            # A cycle of several parts (a rise and a fall) is met with each of them, and ends once.
            if not found or found[-1] < end:
                found.append(end)
    return set(map(tuple, ends.values()))


def _outermost(part: Part, place: tuple[int, ...] = (), by: Any = 0) -> Iterator[tuple[tuple[int, ...], Cycle, Any]]:
    """(path, cycle, shift) of the outermost cycle in which a part lies; for combined parts, of the outermost cycle of each."""
    if part.cycles:
        yield place, part.cycles[-1], by
        return
    for i, inner in enumerate(part.inside):
        yield from _outermost(inner, (*place, i), by + part.origin)
