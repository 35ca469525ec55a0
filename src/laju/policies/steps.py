"""Steps and points: values that change at given updates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from laju.core.algebra import Chain, Maximum
from laju.core.checks import choice, number, sequence, shown, whole
from laju.core.clocks import Staircase
from laju.core.pieces import Constant, Exponential, Power, Ramp, Table
from laju.core.policy import policy
from laju.core.schedule import Schedule
from laju.core.units import Span, span
from laju.policies._parts import gaps


@policy
def square_root(base: float) -> Schedule:
    """Inverse square-root decay: base·(t + 1)^-1/2.

    Source: Dive into Deep Learning, "Learning Rate Scheduling" (`SquareRootScheduler`). `inverse_sqrt` adds a warmup.

    >>> square_root(0.1)(3)
    0.05
    """
    return Power(number("base", base), 0.5)


@policy
def factor(base: float, factor: float, every: Span = 1, floor: float | None = None) -> Schedule:
    """Step decay, a multiplication by `factor` every `every` updates: max(base·factor^⌊t/every⌋, floor).

    Source: Dive into Deep Learning, "Learning Rate Scheduling" (`FactorScheduler`). Elsewhere: step; torch `StepLR` (`every`
    above 1) and `ExponentialLR` (every update), timm `StepLRScheduler`, MXNet `FactorScheduler`, Keras `ExponentialDecay` with
    `staircase=True`, Caffe "step".

    Args:
        base: value at t = 0.
        factor: factor of each drop, above 0 and at most 1.
        every: updates between two drops.
        floor: the smallest value, at most the base; None for no floor.

    >>> factor(1.0, 0.5, every=2, floor=0.2).values(7)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25, 0.2 ])
    """
    every, base = span("every", every), number("base", base)
    decay: Schedule = Exponential(base, number("factor", factor, above=0, most=1), every)
    if every != 1:
        decay = Staircase(decay, every)
    if floor is None:
        return decay
    return Maximum((decay, Constant(number("floor", floor, most=base))))


@policy
def multi_factor(base: float, milestones: Iterable[Span], factor: float) -> Schedule:
    """Step decay at milestones: base·factor^(number of milestones ≤ t).

    Source: Dive into Deep Learning, "Learning Rate Scheduling" (`MultiFactorScheduler`). Elsewhere: multi-step; torch
    `MultiStepLR`, timm `MultiStepLRScheduler` (which changes an update earlier), MXNet `MultiFactorScheduler`, Caffe
    "multistep".

    Args:
        base: value at t = 0.
        milestones: increasing updates at which the value changes; the new value is in force from the milestone on.
        factor: factor at each milestone, above 0.

    >>> multi_factor(0.5, milestones=[2, 4], factor=0.5).values(6)
    array([0.5  , 0.5  , 0.25 , 0.25 , 0.125, 0.125])
    """
    base, factor = number("base", base), number("factor", factor, above=0)
    at = [span(f"milestones[{i}]", m) for i, m in enumerate(sequence("milestones", milestones, "[15, 30]"))]
    parts = [Constant(base * factor**k, length) for k, length in enumerate(gaps("milestones", at))]
    last = Constant(base * factor ** len(at))
    return Chain((*parts, last)) if parts else last


@policy
def piecewise_constant(boundaries: Iterable[Span], values: Iterable[float]) -> Schedule:
    """A constant value between boundaries: values[number of boundaries ≤ t].

    Elsewhere: Keras `PiecewiseConstantDecay` (which changes an update later), Paddle `PiecewiseDecay`, optax
    `piecewise_constant_schedule` (whose values are factors).

    Args:
        boundaries: increasing updates at which the next value comes into force.
        values: the value before the first boundary, then a value for each boundary.

    >>> piecewise_constant([2, 4], [1.0, 0.3, 0.1]).values(6)
    array([1. , 1. , 0.3, 0.3, 0.1, 0.1])
    """
    at = [span(f"boundaries[{i}]", b) for i, b in enumerate(sequence("boundaries", boundaries, "[15, 30]"))]
    levels = [number(f"values[{i}]", v) for i, v in enumerate(sequence("values", values, "[1.0, 0.3, 0.1]"))]
    if len(levels) != len(at) + 1:
        raise ValueError(
            f"values must be one more than the boundaries, so {len(at) + 1}, got {len(levels)}: {shown(levels)}"
        )
    parts = [Constant(v, length) for v, length in zip(levels, gaps("boundaries", at), strict=False)]
    return Chain((*parts, Constant(levels[-1]))) if parts else Constant(levels[-1])


@policy
def knots(points: Iterable[Sequence[Span]], shape: str = "linear") -> Schedule:
    """A curve through points (t, value): ramps of the given shape between points, and the nearest point's value outside.

    Elsewhere: `numpy.interp`, optax `piecewise_interpolate_schedule` (whose values are factors), fastai `combine_scheds`.

    Args:
        points: pairs of an update, 0 or later and increasing, and the value there.
        shape: a name from `laju.core.shapes`, such as "linear" or "cosine".

    >>> knots([(0, 0.0), (2, 1.0), (6, 0.2)]).values(8)
    array([0. , 0.5, 1. , 0.8, 0.6, 0.4, 0.2, 0.2])
    """
    times, values = [], []
    for i, point in enumerate(sequence("points", points, "[(0, 0.1), (100, 1.0)]")):
        pair = sequence(f"points[{i}]", point, "(100, 1.0)")
        if len(pair) != 2:
            raise ValueError(f"points[{i}] must be an update and a value, got {shown(point)}")
        times.append(span(f"points[{i}][0]", pair[0], zero=not i))
        values.append(number(f"points[{i}][1]", pair[1]))
    if not times:
        raise ValueError("points must hold at least one pair of an update and a value, got none")
    # `gaps` counts from 0 and allows no empty gap, so that a first point at update 0 is left out.
    lead, *lengths = [times[0], *gaps("points", times)[1:]] if times[0] else [0, *gaps("points", times[1:])]
    ramps = [Ramp(a, b, n, shape) for a, b, n in zip(values, values[1:], lengths, strict=False)]
    if lead or not ramps:
        return Chain((Constant(values[0], lead), *ramps)) if ramps else Constant(values[0])
    return Chain(tuple(ramps)) if len(ramps) > 1 else ramps[0]


@policy
def chebyshev(
    low: float, peak: float, total: int, order: Literal["fractal", "falling", "rising"] = "fractal"
) -> Schedule:
    """Chebyshev steps: the inverses of the roots of the Chebyshev polynomial of degree `total` on [1/peak, 1/low].

    Step i of i = 1 … total, from the largest, is 1/((1/low + 1/peak)/2 - (1/low - 1/peak)/2·cos((i - 1/2)·π/total)); the steps
    minimise the error of gradient descent on quadratics with curvatures from 1/peak to 1/low. The fractal order
    σ₂ₙ = (σₙ(1), 2n + 1 - σₙ(1), σₙ(2), …) keeps the iterates from growing. Repeat the schedule for longer runs.

    Source: Young, 1953; Agarwal, Goel & Zhang, arXiv 2103.01338 (the fractal learning rate).

    Args:
        low: the inverse of the largest curvature, above 0.
        peak: the inverse of the smallest curvature, at least `low`.
        total: updates, at most 4096; a power of 2 for the fractal order.
        order: order of the steps: "fractal", "falling" or "rising".

    >>> chebyshev(0.1, 1.0, total=4).values(4).round(3)
    array([0.745, 0.104, 0.265, 0.138])
    """
    low = number("low", low, above=0)
    peak, total = number("peak", peak, least=low), whole("total", total, least=1)
    choice("order", order, ("fractal", "falling", "rising"))
    if total > 4096:
        raise ValueError(f"total must be at most 4096, got {total}: use chebyshev(…, total=…).repeat()")
    if order == "fractal" and total & (total - 1):
        raise ValueError(f"total must be a power of 2 for the fractal order, got {total}")
    places = [1]
    while len(places) < total and order == "fractal":
        places = [q for p in places for q in (p, 2 * len(places) + 1 - p)]
    if order != "fractal":
        places = list(range(1, total + 1))[:: 1 if order == "falling" else -1]
    # With the cosine as sin² of the half angle nothing cancels.
    risen = [math.sin((i - 0.5) * math.pi / (2 * total)) ** 2 for i in places]
    return Table([peak * (low / (low + (peak - low) * s)) for s in risen])  # type: ignore[arg-type]
