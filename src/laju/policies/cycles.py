"""Cycles: a single rise and fall, or repeated cycles."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from laju.core.algebra import Product, Sum
from laju.core.checks import flag, number, shown
from laju.core.pieces import Constant, Exponential, Ramp
from laju.core.policy import policy
from laju.core.schedule import Schedule
from laju.core.shapes import shape as _shape
from laju.core.units import Length, Span, nearest_update, span
from laju.policies._parts import rest, warmed


@policy
def one_cycle(
    peak: float,
    total: Span,
    warmup: Span | None = None,
    start: float | None = None,
    final: float | None = None,
    shape: str = "cosine",
    phases: Literal[2, 3] = 2,
    first: bool = False,
) -> Schedule:
    """A single cycle: up to the peak, and down far below the start.

    In two phases: start → peak in `warmup` updates, peak → final in the rest of the total. In three: start → peak and
    peak → start in `warmup` updates each, start → final in the rest.

    Source: Smith & Topin, arXiv 1708.07120. Elsewhere: torch and Paddle `OneCycleLR` (which puts `final` on the last
    update), fastai `fit_one_cycle`, optax `cosine_onecycle_schedule` and `linear_onecycle_schedule`. The matching momentum is
    `one_cycle_momentum`.

    Args:
        peak: value at t = warmup.
        total: updates of all phases together.
        warmup: updates of the way up; by default 30% of the total.
        start: value at t = 0, at most the peak; by default peak/25.
        final: value at t = total and from then on, at most `start`; by default start/10⁴.
        shape: shape of every phase, such as "cosine" or "linear".
        phases: 2 or 3.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    >>> one_cycle(1.0, total=10, warmup=4, start=0.2, final=0.0, shape="linear").values(11).round(3)
    array([0.2  , 0.4  , 0.6  , 0.8  , 1.   , 0.833, 0.667, 0.5  , 0.333, 0.167, 0.   ])
    >>> one_cycle(1.0, total=10, warmup=4, start=0.2, final=0.0, shape="linear", phases=3).values(11).round(3)
    array([0.2, 0.4, 0.6, 0.8, 1. , 0.8, 0.6, 0.4, 0.2, 0.1, 0. ])
    """
    peak = number("peak", peak)
    start = peak / 25 if start is None else number("start", start, most=peak)
    final = start / 10_000 if final is None else number("final", final, most=start)
    shape, (up, down), first = _shape(shape).name, _phases(total, warmup, phases), flag("first", first)
    if phases == 2:
        return Ramp(start, peak, up, shape, first) >> Ramp(peak, final, down, shape)
    return Ramp(start, peak, up, shape, first) >> Ramp(peak, start, up, shape) >> Ramp(start, final, down, shape)


@policy
def one_cycle_momentum(
    total: Span,
    warmup: Span | None = None,
    start: float = 0.95,
    low: float = 0.85,
    shape: str = "cosine",
    phases: Literal[2, 3] = 2,
    first: bool = False,
) -> Schedule:
    """The momentum, or β₁, for a `one_cycle` learning rate: low while the learning rate is high.

    In two phases: start → low in `warmup` updates, low → start in the rest. In three: start → low and low → start in
    `warmup` updates each, then `start`.

    Source: Smith, arXiv 1803.09820. Elsewhere: torch `OneCycleLR` with `cycle_momentum`, fastai `moms`.

    Args:
        total: updates of all phases together; the same as for `one_cycle`.
        warmup: updates of the way down; by default 30% of the total.
        start: momentum at t = 0 and at the end, in [0, 1).
        low: momentum at t = warmup, at most `start`.
        shape: shape of every phase, such as "cosine" or "linear".
        phases: 2 or 3.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    >>> one_cycle_momentum(total=6, warmup=2, shape="linear").values(7)
    array([0.95 , 0.9  , 0.85 , 0.875, 0.9  , 0.925, 0.95 ])
    """
    start = number("start", start, least=0, below=1)
    low = number("low", low, least=0, most=start)
    shape, (up, down), first = _shape(shape).name, _phases(total, warmup, phases), flag("first", first)
    if phases == 2:
        return Ramp(start, low, up, shape, first) >> Ramp(low, start, down, shape)
    return Ramp(start, low, up, shape, first) >> Ramp(low, start, up, shape) >> Constant(start, down)


@policy
def triangular(start: float, peak: float, up: Span, down: Span | None = None) -> Schedule:
    """Endless cycles in straight lines: start → peak in `up` updates, peak → start in `down` updates.

    Source: Smith, "Cyclical Learning Rates", arXiv 1506.01186. Elsewhere: torch `CyclicLR` and Paddle `CyclicLR` with
    mode "triangular", TensorFlow Addons `TriangularCyclicalLearningRate`.

    Args:
        start: value at the beginning of every cycle, at most the peak.
        peak: value in the middle of every cycle.
        up: updates from `start` to the peak (the paper's stepsize).
        down: updates from the peak to `start`; by default as many as up.

    >>> triangular(0.0, 1.0, up=2).values(6)
    array([0. , 0.5, 1. , 0.5, 0. , 0.5])
    """
    start, peak, up, down = _cycle(start, peak, up, down)
    return (Ramp(start, peak, up) >> Ramp(peak, start, down)).repeat()


@policy
def triangular2(start: float, peak: float, up: Span, down: Span | None = None) -> Schedule:
    """Cycles in straight lines whose height halves with each cycle: start + (peak - start)·triangle(t)/2^cycle.

    Source: Smith, arXiv 1506.01186. Elsewhere: torch and Paddle `CyclicLR` with mode "triangular2".

    Args:
        start: value at the beginning of every cycle, at most the peak.
        peak: value in the middle of the first cycle.
        up: updates from `start` to the top of a cycle.
        down: updates from the top to `start`; by default as many as up.

    >>> triangular2(0.0, 1.0, up=2).values(8)
    array([0.  , 0.5 , 1.  , 0.5 , 0.  , 0.25, 0.5 , 0.25])
    """
    start, peak, up, down = _cycle(start, peak, up, down)
    return _above(start, _triangle(peak - start, up, down).repeat(decay=0.5))


@policy
def exp_range(start: float, peak: float, up: Span, gamma: float, down: Span | None = None) -> Schedule:
    """Cycles in straight lines whose height decays at every update: start + (peak - start)·triangle(t)·γᵗ.

    Source: Smith, arXiv 1506.01186. Elsewhere: torch and Paddle `CyclicLR` with mode "exp_range".

    Args:
        start: value at the beginning of every cycle, at most the peak.
        peak: value in the middle of the first cycle, before the factor γᵗ.
        up: updates from `start` to the top of a cycle.
        gamma: γ, the factor per update, above 0 and at most 1.
        down: updates from the top to `start`; by default as many as up.

    >>> exp_range(0.0, 1.0, up=2, gamma=0.5).values(5)
    array([0.    , 0.25  , 0.25  , 0.0625, 0.    ])
    """
    start, peak, up, down = _cycle(start, peak, up, down)
    gamma = number("gamma", gamma, above=0, most=1)
    # γᵗ is on the run's clock and the triangle on its cycle's, so that the factor stands outside of the repeat.
    return _above(start, Product((_triangle(peak - start, up, down).repeat(), Exponential(1.0, gamma))))


@policy
def cosine_restarts(
    peak: float,
    every: Span,
    final: float = 0.0,
    growth: float = 1.0,
    decay: float = 1.0,
    count: int | None = None,
    warmup: Span = 0,
    start: float = 0.0,
    first: bool = False,
) -> Schedule:
    """Cosine decay from the peak to `final` with warm restarts: in cycle i = 0, 1, …, after u of its n updates,

    final + (peak·decayⁱ - final)·(1 + cos(π·(u - w)/(n - w)))/2 with n = every·growthⁱ and w = warmup·growthⁱ, after
    start + (peak·decayⁱ - start)·u/w for u < w. Cycles begin at whole updates, the nearest.

    Source: Loshchilov & Hutter, "SGDR", arXiv 1608.03983. Elsewhere: torch `CosineAnnealingWarmRestarts` (growth is
    `T_mult`), optax `sgdr_schedule`, Keras `CosineDecayRestarts` (`t_mul`, `m_mul`), Transformers
    `cosine_with_restarts`, timm `CosineLRScheduler` (`cycle_mul`, `cycle_decay`).

    Args:
        peak: value that the first cycle comes down from.
        every: updates of the first cycle, its warmup included.
        final: value that every cycle goes down to.
        growth: length of each cycle as a multiple of the cycle before, at least 1.
        decay: height of each peak as a multiple of the peak before, above 0.
        count: number of cycles, after which `final` holds; None for no end.
        warmup: updates of the first cycle's warmup, which grows with the cycles; 0 for none.
        start: value at the beginning of every cycle that has a warmup.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    >>> cosine_restarts(1.0, every=2, growth=2, decay=0.5).values(6).round(3)
    array([1.   , 0.5  , 0.5  , 0.427, 0.25 , 0.073])
    """
    peak, final, start = number("peak", peak), number("final", final), number("start", start)
    every, warmup = span("every", every), span("warmup", warmup, zero=True)
    length = rest(every, warmup, "warmup")

    def cycle(start: float, peak: float, final: float) -> Schedule:
        return warmed(start, peak, warmup, Ramp(peak, final, length, "cosine"), first)

    if decay == 1 or (final == 0 and (start == 0 or not warmup)):
        return cycle(start, peak, final).repeat(count, growth, decay)
    # The peak decays, the floor does not.
    return Sum((cycle(start, 0.0, final).repeat(count, growth), cycle(0.0, peak, 0.0).repeat(count, growth, decay)))


def _phases(total: Any, warmup: Any, phases: Any) -> tuple[Any, Any]:
    """The lengths of the way up and of the last phase."""
    if isinstance(phases, bool) or phases not in (2, 3):
        raise ValueError(f"phases must be 2 or 3, got {shown(phases)}")
    total = span("total", total)
    if warmup is None:
        share = total * Fraction(3, 10)
        up = share if isinstance(share, Length) else nearest_update(share)
    else:
        up = span("warmup", warmup, zero=True)
    return up, rest(total, up * (phases - 1), "warmup" if phases == 2 else "twice the warmup")


def _cycle(start: Any, peak: Any, up: Any, down: Any) -> tuple[float, float, Any, Any]:
    start = number("start", start)
    up = span("up", up)
    return start, number("peak", peak, least=start), up, up if down is None else span("down", down)


def _triangle(height: float, up: Any, down: Any) -> Schedule:
    return Ramp(0.0, height, up) >> Ramp(height, 0.0, down)


def _above(start: float, schedule: Schedule) -> Schedule:
    return Sum((Constant(start), schedule)) if start else schedule
