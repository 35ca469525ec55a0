"""The best schedules under the convex bound: for a whole run, for the rest of a run, and below a cap.

With X_k = η_{k+1} + … + η_T, the sum of the later learning rates, the bound is
Ω_T = D²/(2·X₀) + ½·[η_T·G_T² + Σ_{k<T} η_k²·G_k²/X_k].
Ω_T is convex in the learning rates, and the terms after D² are proportional to the scale of the learning rates. So the best split
of a given sum x over the updates k … T costs ½·c_k·x for any x, and each constant c_k follows from c_{k+1} (derived in
docs/forecast/bound.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from laju.core.checks import number, shown, whole
from laju.core.pieces import Table
from laju.core.schedule import Schedule
from laju.forecast.bound import Floats, best_rate, bound, norms_of, not_negative, numbers, positive, running_sum
from laju.policies import knots

_BLOCK = 1024
_LOOP = 5_000  # updates up to which a loop in Python is as quick as blocks
_GRID = 10_000  # points at which norms are smoothed, as in the paper's own code


@dataclass(frozen=True, eq=False)
class Plan:
    """Learning rates for the updates to come, and the bound of the whole run with these learning rates.

    Args:
        rates: a learning rate for each update.
        bound: Ω_T.
    """

    rates: Floats = field(repr=False)
    bound: float

    @property
    def updates(self) -> int:
        """The number of planned updates."""
        return len(self.rates)

    @property
    def peak(self) -> float:
        """The largest learning rate."""
        return float(self.rates.max())

    @property
    def plateau(self) -> int:
        """The number of updates, from the first planned update on, with the first planned learning rate."""
        same = self.rates == self.rates[0]
        return len(same) if same.all() else int(same.argmin())

    def schedule(self, peak: float | None = None, tolerance: float = 0.0) -> Schedule:
        """The plan as a laju schedule, on its own clock from 0.

        Args:
            peak: the largest learning rate after scaling, for a tuned peak that is known better than G and D; None to not scale.
            tolerance: 0 for a `Table` of every learning rate; above 0 for straight lines between few points, which stay within
                tolerance·peak of every learning rate and print in a line.

        >>> best_schedule(1000).schedule(peak=1.0, tolerance=0.01)
        knots([[0, 1.0], [999, 0.0098...]])
        """
        rates = self.rates if peak is None else self.rates * (number("peak", peak, above=0) / self.peak)
        if not number("tolerance", tolerance, least=0, below=1):
            return Table(tuple(rates.tolist()))
        kept = _corners(rates, tolerance * float(rates.max()))
        return knots([(t, float(rates[t])) for t in kept])


def best_schedule(updates: int, G: float | ArrayLike = 1.0, D: float = 1.0) -> Plan:
    """Find the schedule with the smallest `bound` of all schedules, in O(T).

    Backwards from c_T = G_T²: r_k = √(G_k² + c_{k+1}), c_k = 2·G_k·c_{k+1}/(r_k + G_k). Forwards from R₁ = D/√c₁, the sum of all
    learning rates η_k: η_k = R_k·c_{k+1}/(r_k·(r_k + G_k)), R_{k+1} = R_k·G_k/r_k, and at last η_T = R_T. The bound is D·√c₁.

    With equal norms the schedule is close to a linear decay to 0. With measured norms, which are larger at the start, the
    schedule also warms up. The last learning rate is larger, with equal norms 1 + √2 times the second-last: the point x_T of the
    bound does not depend on the last learning rate, which only minimises the bound.

    Args:
        updates: T.
        G: the norm of the gradients, a number or an array with a norm for each update (see `norms_per_update`).
        D: the distance between the start and the optimum (see `distance`).

    Raises:
        ValueError: if `updates` is below 1, norms or the distance are not above 0, or there is not a norm for each update.

    >>> best_schedule(100)
    Plan(bound=0.2001143...)
    >>> best_schedule(10).rates.round(3)
    array([0.248, 0.227, 0.207, 0.187, 0.167, 0.147, 0.128, 0.109, 0.091,
           0.219])
    """
    updates = whole("updates", updates, least=1)
    norms, D = norms_of(G, updates), number("D", D, above=0)
    costs = _costs(norms)
    sum_of_rates = D / math.sqrt(costs[0])
    return Plan(_spread(sum_of_rates, norms, costs), D * math.sqrt(costs[0]))


def best_continuation(prefix: ArrayLike, updates: int, G: float | ArrayLike = 1.0, D: float = 1.0) -> Plan:
    """Find the rest of a run with the smallest bound, given the learning rates so far; the plan has the remaining learning rates.

    If the remaining learning rates sum to x, the bound is D²/(2·(S_m + x)) + ½·Σ_{k≤m} η_k²·G_k²/(S_m - S_k + x) + ½·c_{m+1}·x,
    with S the running sum of the m learning rates so far and c as in `best_schedule`. The bound is convex in x.

    Args:
        prefix: the learning rates of the updates that were made.
        updates: T, the updates of the whole run, including the updates made.
        G: the norm of the gradients, a number or an array with a norm for each of the T updates.
        D: the distance between the start and the optimum.

    Raises:
        ValueError: if the prefix leaves no update to plan, or for arguments that `best_schedule` refuses.

    >>> from laju import constant
    >>> plan = best_continuation(constant(0.1).values(50), updates=100)
    >>> plan.updates, plan.peak, plan.bound
    (50, 0.0556..., 0.2108...)
    """
    updates = whole("updates", updates, least=1)
    if isinstance(prefix, Schedule):
        raise TypeError(f"prefix must be the learning rates that were used, schedule.values(n), got {shown(prefix)}")
    made = numbers("prefix", prefix, "an array of rates, one for each update that was made", least=0)
    not_negative("prefix", made)
    if len(made) >= updates:
        raise ValueError(f"prefix must be shorter than the {updates} updates of the whole run, got {len(made)} rates")
    norms, D = norms_of(G, updates), number("D", D, above=0)
    rest = norms[len(made) :]
    costs = _costs(rest)
    used = made > 0
    # From the last to the first, so that every S_m - S_k is a sum and no difference of large sums.
    high, low = running_sum(made[used][::-1])
    tails = np.concatenate([(high + low)[::-1], [0.0]])  # S_m, and S_m - S_k for every k
    weights = np.concatenate([[D], made[used] * norms[: len(made)][used]])
    x = _root(weights, tails, float(costs[0]))
    total = float(np.sum(weights * (weights / (tails + x)))) + float(costs[0]) * x
    return Plan(_spread(x, rest, costs), total / 2)


def best_under_cap(updates: int, cap: float, G: float | ArrayLike = 1.0, D: float = 1.0) -> Plan:
    """Find the schedule with the smallest bound that never exceeds a cap, such as the largest stable learning rate.

    With equal norms the schedule is a plateau at the cap and then the decay of `best_continuation`; `plan.plateau` is the number
    of updates at the cap. With measured norms, which may be small at any time, there can be several plateaus at the cap.

    Args:
        updates: T.
        cap: the largest learning rate that is allowed.
        G: the norm of the gradients, a number or an array with a norm for each update.
        D: the distance between the start and the optimum.

    Raises:
        ValueError: if the cap is not above 0, or for arguments that `best_schedule` refuses.

    >>> plan = best_under_cap(60, cap=best_schedule(60).peak / 2)
    >>> plan.bound, plan.plateau
    (0.270086..., 37)
    """
    cap = number("cap", cap, above=0)
    free = best_schedule(updates, G, D)
    if free.peak <= cap:
        return free
    norms, D = norms_of(G, free.updates), float(D)

    def excess(log_last: float) -> float:
        rates, multiplier = _capped(math.exp(log_last), cap, norms)
        return math.log(sum(rates) / D) + math.log(multiplier) / 2

    last = _increasing_root(excess, math.log(free.rates[-1]))
    rates = np.array(_capped(math.exp(last), cap, norms)[0][::-1])
    return Plan(rates, bound(rates, G=norms, D=D))


def refined_schedule(G: ArrayLike, D: float = 1.0) -> Plan:
    """Defazio's refined schedule from measured gradient norms, at its best scale: η_t ∝ w_t·Σ_{p>t} w_p with w_t = G_t^-2.

    The sum includes a point after the last update, with the last update's norm, so that no update has learning rate 0; equal
    norms give `linear(1, 0, T)`. `best_schedule(T, G)` has a smaller bound with the same norms.

    Source: Defazio et al., arXiv 2310.07831, algorithm 1. For Adam, the authors use w = 1/norm with l1 norms: pass the square
    roots of the l1 norms as G, and scale the result by `plan.schedule(peak=…)`.

    Args:
        G: the norm of the gradients at each update, smoothed (see `norms_per_update`).
        D: the distance between the start and the optimum.

    Raises:
        ValueError: if norms or the distance are not above 0.

    >>> import numpy as np
    >>> plan = refined_schedule(1 + 4 * np.exp(-np.arange(100) / 10))
    >>> plan.schedule(peak=1.0).values(100)[[0, 20, 40, 99]].round(2)
    array([0.06, 0.6 , 1.  , 0.02])
    """
    norms = numbers("G", G, "an array of norms, one for each update")
    positive("G", norms)
    weights = (norms.min() / norms) ** 2
    tails = np.cumsum(weights[::-1])[::-1]
    rates = weights * np.append(tails[1:] + weights[-1], weights[-1])
    best = best_rate(rates, G=norms, D=D)
    return Plan(best.factor * rates, best.bound)


def norms_per_update(at: ArrayLike, norms: ArrayLike, updates: int, smoothing: float = 0.1) -> Floats:
    """Convert measured gradient norms to G₁ … G_T: interpolate onto every update, and smooth by a median over a tenth of the run.

    Norms of single batches are too noisy to be followed by a schedule. The filter is the paper's, of width 2·⌊τT/2⌋ + 1, with the
    first value repeated before the start and the run mirrored after the end, on a grid of at most 10,000 points.

    Source: Defazio et al., arXiv 2310.07831, algorithm 1.

    Args:
        at: the updates at which norms were measured, increasing.
        norms: the norms at these updates.
        updates: T. Before the first and after the last measurement, the nearest measurement's value is used.
        smoothing: τ, width of the filter as a fraction of the run; 0 for no smoothing.

    Raises:
        ValueError: if `at` is not increasing, `at` and `norms` differ in length, or norms are not above 0.

    >>> norms_per_update([2, 4, 6], [3.0, 1.0, 1.0], updates=7, smoothing=0)
    array([3., 3., 2., 1., 1., 1., 1.])
    """
    times = numbers("at", at, "an array of the updates at which norms were measured")
    values = numbers("norms", norms, "an array of the norms that were measured")
    positive("norms", values)
    updates, smoothing = whole("updates", updates, least=1), number("smoothing", smoothing, least=0, most=1)
    if len(times) != len(values):
        raise ValueError(f"at and norms must have the same length, got {len(times)} and {len(values)}")
    back = ~(np.diff(times, prepend=-1.0) > 0)
    if back.any():
        i = int(back.argmax())
        raise ValueError(f"at must be 0 or later and increasing, got {times[i]:g} at index {i}")
    t = np.arange(1.0, updates + 1)
    grid = np.linspace(1, updates, min(updates, _GRID))
    if half := int(smoothing * len(grid)) // 2:
        times, values = grid, _median(np.interp(grid, times, values), half)
    result: Floats = np.interp(t, times, values)
    return result


def _median(values: Floats, half: int) -> Floats:
    padded = np.pad(np.pad(values, (0, half), "reflect"), (half, 0), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    # A few windows at a time: the median copies its windows.
    return np.concatenate([np.median(windows[i : i + 500], axis=1) for i in range(0, len(values), 500)])


# --- the recursion -------------------------------------------------------------------------------------------------


def _costs(norms: Floats) -> Floats:
    """c₁ … c_T, from the last to the first."""
    backwards = norms[::-1]
    last = _costs_one_by_one(backwards[:_LOOP].tolist())
    if len(norms) <= _LOOP:
        return np.array(last[::-1])
    return np.concatenate([last, _costs_in_blocks(backwards[_LOOP:], last[-1])])[::-1]


def _costs_one_by_one(norms: list[float]) -> list[float]:
    c = norms[0] ** 2
    costs, sqrt = [c], math.sqrt
    for g in norms[1:]:
        # √(g² + c) - g, without the cancellation of two numbers that are nearly equal once c is small beside g².
        part = c / (sqrt(g * g + c) + g)
        c -= part * part  # 2·G·c/(r + G), with fewer rounding errors
        costs.append(c)
    return costs


def _costs_in_blocks(norms: Floats, before: float) -> Floats:
    """The costs that follow on `before`, in √n blocks that step together.

    Newton's method makes the blocks' ends meet their starts: an end is a concave, increasing function of its start, so that after
    one step all starts are too large, and then the starts only fall, by the square of the error.
    """
    n = len(norms)
    size = math.isqrt(n)
    count = -(-n // size)
    g = np.pad(norms, (0, count * size - n), "edge").reshape(count, size).T.copy()
    squares = g * g
    # To second order an update adds 1/(4G²) - c/(16G⁴) to 1/c. Over a block, c is about ln(1/c)'s growth by 1/c's.
    gain, loss = np.sum(0.25 / squares, axis=0), np.sum((0.25 / squares) ** 2, axis=0)
    inverse = 1 / before + np.concatenate([[0.0], np.cumsum(gain)])
    gain = np.maximum(gain - loss * np.log(inverse[1:] / inverse[:-1]) / gain, gain / 4)
    starts = 1 / (1 / before + np.concatenate([[0.0], np.cumsum(gain)[:-1]]))
    steps, settled = np.empty_like(g), False
    # Each pass makes at least the next block exact, so count + 1 passes always suffice.
    for _ in range(count + 1):
        c, slope = starts.copy(), np.ones(count)
        for i in range(size):
            root = np.sqrt(squares[i] + c)
            c -= (c / (root + g[i])) ** 2
            slope *= g[i] / root
            steps[i] = c
        if settled:
            break
        met, change = [before], 0.0
        for end, tilt, start in zip(c.tolist(), slope.tolist(), starts.tolist(), strict=True):
            change = max(change, abs(met[-1] / start - 1))
            met.append(end + tilt * (met[-1] - start))
        # The next pass squares the error, to below rounding, and so is the last.
        starts, settled = np.array(met[:-1]), change < 1e-7
    return steps.T.ravel()[:n]


def _spread(total: float, norms: Floats, costs: Floats) -> Floats:
    """The best split of a given sum of rates over updates with the given norms."""
    here, later = norms[:-1], costs[1:]
    root = np.sqrt(here**2 + later)
    left = total * _running_product(np.concatenate([[1.0], here / root]))
    left[:-1] *= later / (root * (root + here))
    return left


def _running_product(values: Floats) -> Floats:
    """The running product, in two levels so that rounding errors stay few."""
    n = len(values)
    rows = -(-n // _BLOCK)
    table = np.cumprod(np.concatenate([values, np.ones(rows * _BLOCK - n)]).reshape(rows, _BLOCK), axis=1)
    table[1:] *= np.cumprod(table[:-1, -1:], axis=0)
    return table.ravel()[:n]


# --- one-dimensional searches ----------------------------------------------------------------------------------------


def _root(weights: Floats, tails: Floats, c: float) -> float:
    """The x with Σ (w/(x + τ))² = c, by Newton's method on Σ^-1/2, which is concave and increasing, so x comes from below."""
    x = float(np.max(weights / math.sqrt(c) - tails))  # no single term may exceed c
    for _ in range(100):
        ratio = weights / (tails + x)
        value, slope = float(np.sum(ratio**2)), float(np.sum(ratio**2 / (tails + x)))
        # Newton's step on f^-1/2: with f' = -2·slope, (c^-1/2 - f^-1/2) / (f^-1/2)' comes to f/slope·(√(f/c) - 1).
        step = value / slope * (math.sqrt(value / c) - 1)
        if not x + step > x:  # x comes from below, until the step is lost in rounding
            break
        x += step
    return x


def _capped(last: float, cap: float, norms: Floats) -> tuple[list[float], float]:
    """Rates from the last to the first that are optimal below the cap for some distance D, and (D/their sum)².

    λ_k = (D/S)² + Σ_{j<k} (η_j·G_j/X_j)² is the gain of the earlier updates from a larger η_k: below the cap λ_k =
    2·η_k·G_k²/X_k. `last` is η_T; above the cap it stands for λ_T = G_T²·last/cap.
    """
    *earlier, g = norms.tolist()
    rates = [min(last, cap)]
    left, multiplier, sqrt = rates[0], g * g * max(1.0, last / cap), math.sqrt
    for g in reversed(earlier):
        part = multiplier / (sqrt(g * g + multiplier) + g)
        rate = left * part / g
        if rate <= cap:
            multiplier = 2 * g * part
        else:
            rate = cap
            multiplier -= (g * cap / left) ** 2
        rates.append(rate)
        left += rate
    return rates, multiplier


def _increasing_root(f: Callable[[float], float], start: float) -> float:
    """The root of an increasing function: a bracket around the root, then false position with Illinois' rule."""
    low = high = start
    at_low = at_high = f(start)
    step = 1.0
    while at_low > 0:
        high, at_high, low = low, at_low, low - step
        at_low, step = f(low), 2 * step
    while at_high < 0:
        low, at_low, high = high, at_high, high + step
        at_high, step = f(high), 2 * step
    side = 0
    for _ in range(200):
        if high - low <= 1e-15 * max(abs(low), abs(high)) or not at_high - at_low > 0:
            break
        x = (low * at_high - high * at_low) / (at_high - at_low)
        if not low < x < high:
            break
        y = f(x)
        if abs(y) < 1e-14:
            return x
        # Illinois' rule: an end that stays twice in a row counts half, or the bracket would shrink from one side only.
        if y < 0:
            low, at_low = x, y
            at_high = at_high / 2 if side < 0 else at_high
            side = -1
        else:
            high, at_high = x, y
            at_low = at_low / 2 if side > 0 else at_low
            side = 1
    return low if -at_low < at_high else high


def _corners(rates: Floats, tolerance: float) -> list[int]:
    """Points whose joining lines keep within the tolerance of every rate, by splitting at the worst point (Douglas & Peucker)."""
    kept, open_ = {0, len(rates) - 1}, [(0, len(rates) - 1)]
    while open_:
        a, b = open_.pop()
        off = np.abs(rates[a : b + 1] - np.linspace(rates[a], rates[b], b - a + 1))
        worst = a + int(off.argmax())
        if off[worst - a] > tolerance:
            kept.add(worst)
            open_ += [(a, worst), (worst, b)]
    return sorted(kept)
