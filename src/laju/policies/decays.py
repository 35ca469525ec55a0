"""Decays: the value falls once, over `total` updates or without end."""

from __future__ import annotations

import math
from typing import Any

from laju.core.checks import flag, is_number, number, whole
from laju.core.clocks import Take
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.policy import policy
from laju.core.schedule import Schedule
from laju.core.shapes import shape as _shape
from laju.core.units import Length, Span, span
from laju.policies._parts import rest, warmed


@policy
def constant(value: float) -> Schedule:
    """The same value at every update: s(t) = value.

    Elsewhere: torch `ConstantLR` (with a factor), optax `constant_schedule`, Transformers `constant`.

    >>> constant(0.3)(1000)
    0.3
    """
    return Constant(value)


@policy
def linear(start: float, final: float, total: Span) -> Schedule:
    """A straight line: start + (final - start)·t/total.

    Near the zero of a line between values of opposite signs the error is 2 ulp of the larger end.

    Elsewhere: torch `LinearLR`, optax `linear_schedule`, Transformers `linear`, Paddle `LinearLR`.

    Args:
        start: value at t = 0.
        final: value at t = total and from then on.
        total: updates of the line.

    >>> linear(1, 0, total=4).values(5)
    array([1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    return Ramp(start, final, span("total", total))


@policy
def linear_to_zero(peak: float, total: Span, warmup: Span = 0, start: float = 0.0, first: bool = False) -> Schedule:
    """A linear warmup, then a straight line to 0: peak·(1 - (t - warmup)/(total - warmup)).

    Source: Bergsma et al., "Straight to Zero", arXiv 2502.15938 (D2Z). Elsewhere: Transformers `linear`, timm
    `PolyLRScheduler` with power 1, torch `LinearLR` twice in a `SequentialLR`.

    Args:
        peak: value at the end of the warmup.
        total: updates of warmup and decay together.
        warmup: updates of the warmup; 0 for none.
        start: value at t = 0 when there is a warmup.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    >>> linear_to_zero(1.0, total=6, warmup=2).values(7)
    array([0.  , 0.5 , 1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    return _decay(peak, total, 0.0, warmup, start, first, "linear")


@policy
def poly(
    base: float,
    total: Span,
    power: float = 1.0,
    final: float = 0.0,
    k: float = 1.0,
    warmup: Span = 0,
    start: float = 0.0,
    first: bool = False,
) -> Schedule:
    """Polynomial decay: final + (base - final)·(1 - pᵏ)^power with p = (t - warmup)/(total - warmup).

    The error is at most 8 ulp, or 2·power if that is larger.

    Source: k-decay is from Zhang & Li, arXiv 2004.05909; a larger k stays longer near the base. Elsewhere: torch
    `PolynomialLR` (final 0), Keras and Paddle `PolynomialDecay`, optax `polynomial_schedule`, Transformers `polynomial`, timm
    `PolyLRScheduler` (with `k_decay`), Caffe "poly", MXNet `PolyScheduler`.

    Args:
        base: value at the end of the warmup.
        total: updates of warmup and decay together.
        power: exponent, above 0.
        final: value at t = total and from then on.
        k: exponent of the time p, above 0.
        warmup: updates of the warmup; 0 for none.
        start: value at t = 0 when there is a warmup.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    >>> poly(1.0, total=4, power=2).values(5)
    array([1.    , 0.5625, 0.25  , 0.0625, 0.    ])
    >>> poly(1.0, total=4, k=2).values(5)
    array([1.    , 0.9375, 0.75  , 0.4375, 0.    ])
    """
    base = number("base", base)
    power, k = number("power", power, above=0), number("k", k, above=0)
    shape = f"k_decay({k!r}, {power!r})" if k != 1 else f"power({power!r})" if power != 1 else "linear"
    return _decay(base, total, final, warmup, start, first, _shape(shape).name)


@policy
def cosine(
    peak: float,
    total: Span,
    final: float = 0.0,
    warmup: Span = 0,
    start: float = 0.0,
    exponent: float = 1.0,
    k: float = 1.0,
    first: bool = False,
) -> Schedule:
    """Half a cosine from `peak` to `final`, after a linear warmup from `start`, `total` updates in all.

    final + (peak - final)·((1 + cos πpᵏ)/2)^exponent with p = (t - warmup)/(total - warmup). The error is at most 8 ulp, or
    6·exponent if that is larger.

    Source: Loshchilov & Hutter, arXiv 1608.03983; k-decay from Zhang & Li, arXiv 2004.05909. Elsewhere: half-cosine,
    half-cycle cosine; torch `CosineAnnealingLR`, optax `cosine_decay_schedule` and `warmup_cosine_decay_schedule`, Keras
    `CosineDecay` (whose `decay_steps` leaves out the warmup), Transformers `cosine`, timm `CosineLRScheduler` (with `k_decay`).

    Args:
        peak: value at the end of the warmup.
        total: updates of warmup and decay together.
        final: value at t = total and from then on.
        warmup: updates of the warmup; 0 for none.
        start: value at t = 0 when there is a warmup.
        exponent: exponent of the cosine term, above 0.
        k: exponent of the time p, above 0; with a larger k the value stays near the peak for longer.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    Raises:
        ValueError: if the warmup is not shorter than the total.

    >>> cosine(1.0, total=10, warmup=4).values(11).round(3)
    array([0.   , 0.25 , 0.5  , 0.75 , 1.   , 0.933, 0.75 , 0.5  , 0.25 , 0.067, 0.   ])
    """
    exponent, k = number("exponent", exponent, above=0), number("k", k, above=0)
    return _decay(peak, total, final, warmup, start, first, _shape(f"cosine({exponent!r}, {k!r})").name)


@policy
def flat_cosine(peak: float, total: Span, flat: Span, final: float = 0.0) -> Schedule:
    """The peak for `flat` updates, then half a cosine down to `final`.

    Elsewhere: fastai `fit_flat_cos` (whose `pct_start` is flat/total); the same with a warmup is `wsd` with `shape="cosine"`.

    Args:
        peak: value of the flat part.
        total: updates of both parts together.
        flat: updates before the decay begins; 0 for none.
        final: value at t = total and from then on.

    >>> flat_cosine(1.0, total=6, flat=2).values(7).round(3)
    array([1.   , 1.   , 1.   , 0.854, 0.5  , 0.146, 0.   ])
    """
    peak, total, flat = number("peak", peak), span("total", total), span("flat", flat, zero=True)
    decay = Ramp(peak, number("final", final), rest(total, flat, "flat"), "cosine")
    return Constant(peak, flat) >> decay if flat else decay


@policy
def exponential(
    peak: float, final: float, total: Span, warmup: Span = 0, start: float = 0.0, first: bool = False
) -> Schedule:
    """Geometric decay: peak·(final/peak)^p with p = (t - warmup)/(total - warmup).

    The error is at most 4 + |ln(final/peak)| ulp.

    Elsewhere: optax `exponential_decay` and Keras `ExponentialDecay` with decay_rate = final/peak, optax
    `warmup_exponential_decay_schedule`; torch `ExponentialLR` is `factor`.

    Args:
        peak: value at the end of the warmup; not 0.
        final: value at t = total and from then on; not 0 and of the peak's sign.
        total: updates of warmup and decay together.
        warmup: updates of the warmup; 0 for none.
        start: value at t = 0 when there is a warmup.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    >>> exponential(1.0, 0.0625, total=4).values(5)
    array([1.    , 0.5   , 0.25  , 0.125 , 0.0625])
    """
    peak, final = number("peak", peak), number("final", final)
    if peak == 0:
        raise ValueError("peak must be non-zero for a geometric decay, got 0.0")
    if not 0 < final / peak < math.inf:
        raise ValueError(f"final must be non-zero and of the peak's sign for a geometric decay, got {final!r}")
    return _decay(peak, total, final, warmup, start, first, "exponential")


@policy
def natural_exponential(base: float, rate: float, every: Span = 1) -> Schedule:
    """Exponential decay at a constant rate: base·e^(-rate·t/every).

    The error is at most 4 + 3·rate·t/every ulp, from the rounding of t/every.

    Elsewhere: Paddle `NaturalExpDecay`, TensorFlow 1 `natural_exp_decay`.

    Args:
        base: value at t = 0.
        rate: decay rate per `every` updates, above 0.
        every: the time to which `rate` refers, in updates or text with a unit.

    >>> natural_exponential(1.0, 0.5).values(3).round(3)
    array([1.   , 0.607, 0.368])
    """
    return Exponential(number("base", base), math.exp(-1), _per(rate, every))


@policy
def inverse_time(base: float, rate: float, every: Span = 1) -> Schedule:
    """Inverse-time decay: base/(1 + rate·t/every).

    Elsewhere: Keras `InverseTimeDecay` (`every` is `decay_steps`), Paddle `InverseTimeDecay`, Caffe "inv" with power 1;
    the general exponent is `polynomial_decay`.

    Args:
        base: value at t = 0.
        rate: growth of the divisor per `every` updates, above 0.
        every: the time to which `rate` refers, in updates or text with a unit.

    >>> inverse_time(1.0, 0.5).values(4)
    array([1.        , 0.66666667, 0.5       , 0.4       ])
    """
    return Power(number("base", base), 1.0, timescale=_per(rate, every))


@policy
def inverse_sqrt(
    peak: float, warmup: Span = 0, timescale: Span | None = None, start: float = 0.0, first: bool = False
) -> Schedule:
    """A linear warmup, then inverse square-root decay without end: peak·√(τ/(τ + t - warmup)).

    With the default timescale, τ = warmup, the decay is peak·√(warmup/t).

    Source: Vaswani et al., arXiv 1706.03762; the timescale from Zhai et al., arXiv 2106.04560. Elsewhere: Transformers
    and fairseq `inverse_sqrt`, big_vision "rsqrt".

    Args:
        peak: value at the end of the warmup.
        warmup: updates of the warmup; 0 for none, which needs a timescale.
        timescale: τ, the updates of decay after which the value is peak/√2; by default the warmup.
        start: value at t = 0 when there is a warmup.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    >>> inverse_sqrt(1.0, warmup=4).values(17)[[0, 2, 4, 16]]
    array([0. , 0.5, 1. , 0.5])
    """
    peak, warmup = number("peak", peak), span("warmup", warmup, zero=True)
    if timescale is None:
        if not warmup:
            raise ValueError("timescale must be given when there is no warmup to take it from, got None")
        timescale = warmup
    decay = Power(peak, 0.5, timescale=span("timescale", timescale))
    return warmed(start, peak, warmup, decay, first)


@policy
def noam(d_model: int, warmup: int, scale: float = 1.0) -> Schedule:
    """The Transformer's schedule: scale·d_model^-1/2·min(n^-1/2, n·warmup^-3/2) with n = t + 1.

    The peak, scale/√(d_model·warmup), is the value of update warmup - 1.

    Source: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762, eq. 3. Elsewhere: Paddle `NoamDecay`,
    OpenNMT "noam".

    Args:
        d_model: width of the model.
        warmup: updates of the warmup, as a number without unit, since the value depends on the number.
        scale: factor on all values.

    >>> noam(512, warmup=4000)(3999)
    0.00069877...
    """
    d_model, warmup = whole("d_model", d_model, least=1), whole("warmup", warmup, least=1)
    scale = number("scale", scale)
    rise = Ramp(0.0, scale / math.sqrt(d_model * warmup), warmup, first=True)
    return rise >> Power(scale / math.sqrt(d_model), 0.5, offset=warmup + 1)


@policy
def tanh_decay(
    peak: float,
    total: Span,
    final: float = 0.0,
    lower: float = -6.0,
    upper: float = 3.0,
    warmup: Span = 0,
    start: float = 0.0,
    first: bool = False,
) -> Schedule:
    """Hyperbolic-tangent decay: final + (peak - final)/2·(1 - tanh(L + (U - L)·p)) with p = (t - warmup)/(total - warmup).

    The curve begins slightly below the peak, and ends at (1 - tanh U)/2·(peak - final) above `final`, where the value holds.
    The error is at most 8 + 2·max(|L|, |U|) ulp.

    Source: Hsueh et al., arXiv 1806.01593 (HTD). Elsewhere: timm `TanhLRScheduler`.

    Args:
        peak: value that the curve comes down from.
        total: updates of warmup and decay together.
        final: value that the curve goes down to.
        lower: L, the tangent's argument at the beginning of the decay.
        upper: U, the tangent's argument at the end of the decay; above L.
        warmup: updates of the warmup; 0 for none.
        start: value at t = 0 when there is a warmup.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    >>> tanh_decay(1.0, total=6).values(7).round(4)
    array([1.    , 0.9999, 0.9975, 0.9526, 0.5   , 0.0474, 0.0025])
    """
    peak, final = number("peak", peak), number("final", final)
    lower = number("lower", lower, least=-300, most=300)
    upper = number("upper", upper, above=lower, most=300)
    shape = _shape(f"tanh({lower!r}, {upper!r})").name

    def value(x: float) -> float:
        # Each share by itself: 1 - tanh x is 0 from x = 20 on, where the share has all its digits still.
        high, low = 1 / (1 + math.exp(2 * x)), 1 / (1 + math.exp(-2 * x))  # (1 ∓ tanh x)/2
        return peak * high + final * low

    return _decay(value(lower), total, value(upper), warmup, start, first, shape)


@policy
def rex(
    peak: float,
    total: Span,
    final: float = 0.0,
    beta: float = 0.5,
    warmup: Span = 0,
    start: float = 0.0,
    first: bool = False,
) -> Schedule:
    """REX decay: final + (peak - final)·(1 - p)/(1 - β·p) with p = (t - warmup)/(total - warmup).

    Source: Chen, Wolfe & Kyrillidis, arXiv 2107.04197, with β = 1/2; β = 0 is linear, and towards 1 the curve stays longer
    near the peak.

    Args:
        peak: value at the end of the warmup.
        total: updates of warmup and decay together.
        final: value at t = total and from then on.
        beta: β, at least 0 and below 1.
        warmup: updates of the warmup; 0 for none.
        start: value at t = 0 when there is a warmup.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    >>> rex(1.0, total=4).values(5).round(3)
    array([1.   , 0.857, 0.667, 0.4  , 0.   ])
    """
    beta = number("beta", beta, least=0, below=1)
    return _decay(peak, total, final, warmup, start, first, _shape(f"rex({beta!r})").name)


@policy
def polynomial_decay(base: float, alpha: float = 0.5, beta: float = 1.0) -> Schedule:
    """Unbounded polynomial decay: base·(1 + β·t)^-α.

    Source: Dive into Deep Learning, "Stochastic Gradient Descent", dynamic learning rate. Elsewhere: Caffe "inv".

    Args:
        base: value at t = 0.
        alpha: α, above 0.
        beta: β, per update, above 0.

    >>> polynomial_decay(1.0, alpha=0.5, beta=0.1)(30)
    0.5
    """
    return Power(number("base", base), number("alpha", alpha, above=0), timescale=_per(beta, 1, "beta"))


@policy
def welling_teh(a: float, b: float, gamma: float = 0.55) -> Schedule:
    """Step sizes whose sum diverges and whose sum of squares does not: a·(b + t)^-γ.

    Source: Welling & Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", 2011, with γ in (1/2, 1].

    Args:
        a: scale factor.
        b: offset of the decay, in updates, above 0.
        gamma: γ, above 0.

    >>> welling_teh(1.0, b=4, gamma=0.5)(5)
    0.333333...
    """
    return Power(number("a", a), number("gamma", gamma, above=0), offset=number("b", b, above=0))


@policy
def welling_teh_between(
    start: float, final: float, total: int, gamma: float = 0.55, endpoint: bool = False
) -> Schedule:
    """Welling & Teh's polynomial a·(b + t)^-γ from `start` to `final`: start·(1 + t/b)^-γ for t < total, then `final`.

    b = total/((start/final)^(1/γ) - 1) and a = start·b^γ; with `endpoint`, total - 1 replaces the total.
    The error is at most 8 + 2·ln(start/final) ulp.

    Source: Welling & Teh, "Bayesian Learning via Stochastic Gradient Langevin Dynamics", 2011.

    Args:
        start: value at t = 0, above 0.
        final: value at t = total and from then on, above 0 and below `start`.
        total: updates of the decay, as a number without unit, since the total sets b.
        gamma: γ, above 0.
        endpoint: whether the last update, total - 1, already has the value `final`, as in `numpy.linspace`.

    >>> s = welling_teh_between(0.01, 0.0001, total=10_000, endpoint=True)
    >>> s(0), s(9_999), s.parts[0].child.timescale
    (0.01, 0.0001, 2.3104324...)
    """
    start = number("start", start, above=0)
    final, gamma = number("final", final, above=0, below=start), number("gamma", gamma, above=0)
    total = whole("total", total, least=2 if flag("endpoint", endpoint) else 1) - endpoint
    try:
        # expm1 keeps the digits of a ratio near 1.
        timescale = total / math.expm1(math.log(start / final) / gamma)
    except OverflowError:
        timescale = 0.0
    if timescale == 0:
        raise ValueError(f"gamma must be larger to come from {start!r} to {final!r} in {total} updates, got {gamma!r}")
    # The constant has no updates of its own: it is what holds from the total on, exactly `final`, where the power is a rounding
    # off.
    return Take(Power(start, gamma, timescale=timescale), total) >> Constant(final, 0)


def _decay(peak: float, total: Span, final: float, warmup: Span, start: float, first: bool, shape: str) -> Schedule:
    peak, final = number("peak", peak), number("final", final)
    total, warmup = span("total", total), span("warmup", warmup, zero=True)
    return warmed(start, peak, warmup, Ramp(peak, final, rest(total, warmup, "warmup"), shape), first)


def _per(rate: Any, every: Any, name: str = "rate") -> Any:
    """The time in which a quantity with a rate per `every` changes by 1: every/rate."""
    rate, every = number(name, rate, above=0), span("every", every)
    timescale = every * (1 / rate) if isinstance(every, Length) else every / rate
    if is_number(timescale) and not 0 < timescale < math.inf:
        raise ValueError(f"{name} must be {'smaller' if rate > 1 else 'larger'}, got {rate!r}")
    return timescale
