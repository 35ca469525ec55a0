"""Convex theory for a schedule: a bound on the suboptimality of the last iterate, and the learning rate that minimises the bound.

With learning rates η₁ … η_T, bounds G_t on the gradient norms, a distance D from the start to the optimum and S_t = η₁ + … + η_t,
every term is positive and every difference of sums is itself a sum of rates, so nothing cancels:

    Ω_T = D²/(2·S_T) + ½·[η_T·G_T² + Σ_{k<T} η_k²·G_k²/(S_T - S_k)]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from laju.core.checks import number, shown, whole
from laju.core.schedule import Schedule

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BestRate:
    """The scale of a schedule that minimises its bound.

    Args:
        factor: the best multiplier of the schedule.
        peak: the largest learning rate of the scaled schedule over the run.
        bound: the bound of the scaled schedule.
    """

    factor: float
    peak: float
    bound: float


def bound(
    schedule: Schedule | ArrayLike, updates: int | None = None, G: float | ArrayLike = 1.0, D: float = 1.0
) -> float:
    """Bound the distance of the loss from its minimum at the last update of a run: E f(x_T) - f* ≤ Ω_T.

    Ω_T = D²/(2·S_T) + ½·[η_T·G_T² + Σ_{k<T} η_k²·G_k²/(S_T - S_k)], for convex f, x_{t+1} = x_t - η_t·g_t, learning rates η_t
    and S_t = η₁ + … + η_t. The cost is O(T), the relative error below 1e-13 for a hundred thousand updates. x_T is the point at
    which the gradient of update T is computed, so η_T affects only the bound, not x_T. Updates at learning rate 0 are left out.

    Source: Schaipp et al., arXiv 2501.18965, theorem 1, from Defazio et al., arXiv 2310.07831; there the last sum is written
    Σ_{k<T} η_k/(Σ_{s>k} η_s)·(Σ_{s≥k} η_s²·G_s²)/(Σ_{s≥k} η_s).

    Args:
        schedule: a laju schedule, with η_t = schedule(t - 1), or an array with a learning rate for each update.
        updates: T; by default the length of the schedule or array.
        G: the norm of the gradients, a number or an array with a norm for each update.
        D: the distance between the start and the optimum.

    Raises:
        ValueError: if learning rates are negative, not finite or all 0, norms or the distance are not above 0, or lengths differ.
        UnresolvedError: if the schedule has lengths in units other than updates, such as epochs.

    >>> from laju import constant, linear
    >>> bound(linear(0.1, 0, total=100), G=1, D=1), bound(constant(0.1), updates=100)
    (0.2036..., 0.3588...)
    """
    rates = rates_of(schedule, updates)
    distance_term, norm_terms = _terms(rates, norms_of(G, len(rates)), number("D", D, above=0))
    return distance_term + norm_terms


def best_rate(
    schedule: Schedule | ArrayLike, updates: int | None = None, G: float | ArrayLike = 1.0, D: float = 1.0
) -> BestRate:
    """Find the multiplier γ of a schedule that minimises its bound: γ = √(t₁/(t₂ + t₃)), at which Ω = 2·√(t₁·(t₂ + t₃)).

    t₁ = D²/(2·S_T), and t₂ + t₃ is the rest of the `bound` Ω_T, both for the schedule before scaling.

    Source: Schaipp et al., arXiv 2501.18965.

    Args:
        schedule: a laju schedule, or an array with a learning rate for each update.
        updates: T; by default the length of the schedule or array.
        G: the norm of the gradients, a number or an array with a norm for each update.
        D: the distance between the start and the optimum.

    Raises:
        ValueError: if learning rates are negative, not finite or all 0, norms or the distance are not above 0, or lengths differ.

    >>> from laju import cosine, wsd
    >>> best_rate(cosine(1, total=1000)).peak, best_rate(wsd(1, total=1000, cooldown=200)).peak
    (0.0306..., 0.0161...)
    """
    rates = rates_of(schedule, updates)
    distance_term, norm_terms = _terms(rates, norms_of(G, len(rates)), number("D", D, above=0))
    factor = math.sqrt(distance_term / norm_terms)
    return BestRate(factor, factor * float(rates.max()), 2 * math.sqrt(distance_term * norm_terms))


def transfer_rate(
    schedule: Schedule | ArrayLike,
    rate: float,
    to: Schedule | ArrayLike,
    updates: int | None = None,
    to_updates: int | None = None,
    G: float | ArrayLike = 1.0,
    to_G: float | ArrayLike | None = None,
) -> float:
    """Transfer a tuned peak learning rate to a second schedule or run length: rate·γ₂/γ₁.

    γ₁ and γ₂ are the peaks of `best_rate` for the first and the second schedule, so the schedules' own scales do not matter. D
    cancels, and so does a constant G.

    Source: Schaipp et al., arXiv 2501.18965.

    Args:
        schedule: the tuned schedule, or its learning rates.
        rate: the tuned peak learning rate of `schedule`.
        to: the second schedule, or its learning rates.
        updates: updates of the first run; by default the length of the schedule or array.
        to_updates: updates of the second run; by default `updates`, or the length of an array.
        G: the norm of the gradients, a number or an array with a norm for each update.
        to_G: the norm of the gradients in the second run; by default G.

    Raises:
        ValueError: if `rate` is not above 0, or for learning rates, norms or lengths that `bound` refuses.

    >>> from laju import cosine, wsd
    >>> transfer_rate(cosine(1, total=1000), 1e-3, wsd(1, total=1000, cooldown=200))
    0.00052...
    """
    rate = number("rate", rate, above=0)
    own = best_rate(schedule, updates, G)
    if to_updates is None and isinstance(to, Schedule):
        to_updates = updates
    return rate * best_rate(to, to_updates, G if to_G is None else to_G).peak / own.peak


def distance(schedule: Schedule | ArrayLike, updates: int | None = None, G: float | ArrayLike = 1.0) -> float:
    """Estimate the distance D from a tuned schedule: the D at which the tuned scale minimises the bound, 1/γ for D = 1.

    With this D, an empirically tuned learning rate calibrates the bound for planning further runs.

    Args:
        schedule: a laju schedule at its tuned scale, or an array with a learning rate for each update.
        updates: T; by default the length of the schedule or array.
        G: the norm of the gradients, a number or an array with a norm for each update.

    Raises:
        ValueError: if learning rates are negative, not finite or all 0, norms are not above 0, or lengths differ.

    >>> from laju import cosine
    >>> D = distance(cosine(3e-4, total=10_000))
    >>> best_rate(cosine(1, total=10_000), D=D).peak
    0.000299...
    """
    return 1 / best_rate(schedule, updates, G).factor


def anytime_bound(
    schedule: Schedule | ArrayLike, updates: int | None = None, G: float | ArrayLike = 1.0, D: float = 1.0
) -> Floats:
    """Bound the loss after each update of a run: the array Ω₁ … Ω_T, the loss curve that the theory predicts.

    The cost is about O(T·log T) instead of O(T²): the terms of the distant past, Σ η_k²·G_k²/(S_t - S_k), are approximated by a
    sum of exponentials, 1/x ≈ Σ_j w_j·exp(-λ_j·x), with a relative error below 1e-12. The bound is infinite before the first
    learning rate above 0, and constant while the learning rate is 0.

    Source: Schaipp et al., arXiv 2501.18965, for the bound; Beylkin & Monzón, "Approximation by exponential sums revisited",
    2010, for the exponentials.

    Args:
        schedule: a laju schedule, or an array with a learning rate for each update.
        updates: T; by default the length of the schedule or array.
        G: the norm of the gradients, a number or an array with a norm for each update.
        D: the distance between the start and the optimum.

    Raises:
        ValueError: if learning rates are negative, not finite or all 0, norms or the distance are not above 0, or lengths differ.

    >>> from laju import linear
    >>> anytime_bound(linear(0.1, 0, total=100))[[0, 49, 98, 99]].round(3)
    array([5.05 , 0.313, 0.204, 0.204])
    """
    rates = rates_of(schedule, updates)
    norms = norms_of(G, len(rates))
    D = number("D", D, above=0)
    used = rates > 0
    curve = np.concatenate([[np.inf], _bounds_over_run(rates[used], norms[used], D)])
    return curve[np.cumsum(used)]


# --- arguments -----------------------------------------------------------------------------------------------------


def rates_of(schedule: Any, updates: Any = None, name: str = "schedule") -> Floats:
    """The learning rates η₁ … η_T of a run, checked: not negative, and above 0 at some update."""
    if updates is not None:
        updates = whole("updates", updates, least=1)
    if isinstance(schedule, Schedule):
        schedule.require_resolved()
        if updates is None:
            if not schedule.length:
                raise ValueError(f"updates must be given for a schedule without an end, {shown(schedule)}")
            updates = math.ceil(schedule.length)
        rates = schedule.values(updates)
    else:
        rates = numbers(name, schedule, "a laju schedule or an array of rates, one for each update")
        if updates is not None and len(rates) != updates:
            raise ValueError(f"{name} must have one rate for each of the {updates} updates, got {len(rates)} rates")
    not_negative(name, rates)
    if not rates.any():
        raise ValueError(f"{name} must be above 0 at some update, got 0 at all {len(rates)}")
    return rates


def not_negative(name: str, rates: Floats) -> None:
    """Raise ValueError unless all learning rates are finite and 0 or more."""
    bad = ~((rates >= 0) & np.isfinite(rates))
    if bad.any():
        t = int(bad.argmax())
        raise ValueError(f"{name} must be finite and 0 or more at every update, got {float(rates[t])!r} at update {t}")


def norms_of(G: Any, updates: int) -> Floats:
    """The norms G₁ … G_T of a run's gradients."""
    if np.ndim(G) == 0:
        return np.full(updates, number("G", G, above=0))
    norms = numbers("G", G, "a number above 0, or an array with one for each update")
    if len(norms) != updates:
        raise ValueError(f"G must be one number, or one for each of the {updates} updates, got {len(norms)}")
    positive("G", norms)
    return norms


def positive(name: str, values: Floats) -> None:
    """Raise ValueError unless all numbers are finite and above 0."""
    bad = ~((values > 0) & np.isfinite(values))
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"{name} must be finite and above 0 everywhere, got {float(values[i])!r} at index {i}")


def numbers(name: str, values: Any, wanted: str, *, least: int = 1) -> Floats:
    """A sequence of at least `least` numbers as a float64 array."""
    try:
        array = np.asarray(values)
        if array.size and array.dtype.kind not in "iuf":
            raise TypeError
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {wanted}, got {shown(values)}") from None
    if array.ndim != 1 or array.size < least:
        raise ValueError(f"{name} must be {wanted}, got an array of shape {array.shape}")
    return array.astype(np.float64)


# --- sums ----------------------------------------------------------------------------------------------------------


def running_sum(values: Floats) -> tuple[Floats, Floats]:
    """The running sum as high + low parts, which together compensate the rounding errors of all additions."""
    high = np.cumsum(values)
    before = np.concatenate([[0.0], high[:-1]])
    # Knuth's two-sum: the exact rounding error of each addition.
    part = high - before
    lost = (before - (high - part)) + (values - part)
    return high, np.cumsum(lost)


def _terms(rates: Floats, norms: Floats, D: float) -> tuple[float, float]:
    """The two parts of Ω_T: the first falls with the scale of the rates, the second grows."""
    used = rates > 0
    steps = rates[used] * norms[used]
    high, low = running_sum(rates[used][::-1])
    tails = (high + low)[::-1]  # tails[k] = η_k + … + η_T
    with np.errstate(over="ignore"):  # a last rate of 1e-310 makes the bound infinite
        rest = steps[-1] * norms[used][-1] + np.sum(steps[:-1] * (steps[:-1] / tails[1:]))
    return D * D / (2 * float(tails[0])), float(rest) / 2


_BLOCK = 128
_STEP = 0.3  # of the trapezoid rule, whose relative error is 2·|Γ(1 + 2πi/step)| = 1.2e-13


def _bounds_over_run(rates: Floats, norms: Floats, D: float) -> Floats:
    """Ω₁ … Ω_T for rates above 0: blocks of the past are summed exactly when near, by exponentials when not."""
    n = len(rates)
    high, low = running_sum(rates)
    squares = (rates * norms) ** 2
    past = np.zeros(n)
    firsts = rates[_BLOCK::_BLOCK]  # the smallest distance between a block and the past before the block
    decay, weight = exponentials(float(firsts.min()), float(high[-1])) if firsts.size else (np.empty(0), np.empty(0))
    memory = np.zeros_like(decay)
    # An infinite gap for an update and those after it: 1/gap is 0, and only the past is summed.
    ahead_of_itself = np.triu(np.full((_BLOCK, _BLOCK), np.inf))
    for begin in range(0, n, _BLOCK):
        end = min(begin + _BLOCK, n)
        top, rest, own = high[begin:end], low[begin:end], squares[begin:end]
        gaps = (top[:, None] - top) + (rest[:, None] - rest) + ahead_of_itself[: end - begin, : end - begin]
        past[begin:end] = (1 / gaps) @ own
        if begin:
            ahead = (top - high[begin - 1]) + (rest - low[begin - 1])
            past[begin:end] += np.exp(-ahead[:, None] * decay) @ (weight * memory)
            # exp(-λ·x) of a sum of gaps is the product of the gaps' own, so the whole past is carried on as one number for each
            # λ.
            memory *= np.exp(-ahead[-1] * decay)
        behind = (top[-1] - top) + (rest[-1] - rest)
        memory += own @ np.exp(-behind[:, None] * decay)
    return D * D / (2 * (high + low)) + (rates * norms**2 + past) / 2


def exponentials(least: float, most: float) -> tuple[Floats, Floats]:
    """Rates λ and weights w with 1/x = Σ_j w_j·exp(-λ_j·x) for least ≤ x ≤ most, to a relative error below 1e-12.

    The sum is the trapezoid rule for 1/x = ∫ exp(u - x·eᵘ) du; its infinite lower tail is summed into a single exponential with
    the same weight and mean rate.
    """
    lower, upper = math.log(1e-4 / most), math.log(32 / least)
    u = np.arange(lower, upper + _STEP, _STEP)
    decay = np.exp(u)
    q = math.exp(-_STEP)
    rest = decay[0] * q
    return (
        np.concatenate([[rest * (1 - q) / (1 - q * q)], decay]),
        np.concatenate([[_STEP * rest / (1 - q)], _STEP * decay]),
    )
