"""The convex bound: its error against extended precision, and the times of the best schedule and of the any-time curve.

The peers are the formula as it is published, in NumPy, and for the best schedule SciPy's L-BFGS-B with the exact gradient, which
is how the papers look for it.

    python benchmarks/forecast_bound.py [--repeats 7]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import mpmath
import numpy as np
from scipy.optimize import minimize

import laju
from laju.forecast import anytime_bound, best_continuation, best_schedule, best_under_cap, bound

T, MILLION = 100_000, 1_000_000
SCHEDULES = {
    "constant": laju.constant(0.1),
    "linear": laju.linear(0.1, 0, T),
    "cosine": laju.cosine(0.1, T),
    "warmup-stable-decay": laju.wsd(0.1, total=T, warmup=T // 50, cooldown=T // 5) + 1e-9,
}


def published(rates: np.ndarray) -> float:
    """The formula of arXiv 2501.18965 for D = G = 1, by running sums."""
    sums, squares = np.cumsum(rates), np.cumsum(rates**2)
    tails = sums[-1] - np.concatenate([[0.0], sums])
    square_tails = squares[-1] - np.concatenate([[0.0], squares])
    nested = rates[:-1] / tails[1:-1] * square_tails[:-2] / tails[:-2]
    return (1 + squares[-1]) / (2 * sums[-1]) + nested.sum() / 2


def error(value: float, rates: np.ndarray) -> float:
    """The relative error of a bound, against the same formula with forty digits."""
    with mpmath.workdps(40):
        result = later = tail = squares = mpmath.mpf(0)
        for rate in map(mpmath.mpf, reversed(rates.tolist())):
            later, tail, squares = tail, tail + rate, squares + rate**2
            if later:
                result += rate / later * squares / tail
        return abs(float(2 * value / (result + (1 + squares) / tail) - 1))


def searched(updates: int) -> float:
    """The best bound for D = G = 1 that L-BFGS-B finds from a constant rate."""

    def objective(logs: np.ndarray) -> tuple[float, np.ndarray]:
        rates = np.exp(logs)
        tails = np.cumsum(rates[::-1])[::-1]
        parts = rates[:-1] / tails[1:]
        falls = np.cumsum(np.concatenate([[1 / tails[0] ** 2], parts**2]))
        gradient = (np.append(2 * parts, 1.0) - falls) / 2
        return (1 / tails[0] + rates[-1] + np.sum(parts * rates[:-1])) / 2, gradient * rates

    options = {"maxiter": 100_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-12}
    start = np.full(updates, -np.log(updates) / 2)
    return float(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).fun)


def seconds(f: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        f()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats

    print(f"relative error of the bound, T = {T:,}")
    for name, schedule in SCHEDULES.items():
        rates = schedule.values(T)
        ours, theirs = error(bound(rates), rates), error(published(rates), rates)
        print(f"  {name:22} laju {ours:.1e}   as published, NumPy {theirs:.1e}")

    print("\nthe any-time curve")
    linear = SCHEDULES["linear"].values(T)
    n = T // 10
    ours, theirs = (
        seconds(lambda: anytime_bound(linear[:n]), repeats),
        seconds(lambda: [published(linear[:t]) for t in range(1, n + 1)], 1),
    )
    print(
        f"  T = {n:,}: {ours * 1e3:.1f} ms; as published, O(T²) in NumPy, {theirs:.2f} s: {theirs / ours:.0f}× faster"
    )
    for name, schedule in SCHEDULES.items():
        rates = schedule.values(T)
        took = seconds(lambda rates=rates: anytime_bound(rates), repeats)
        at = np.unique(np.geomspace(1, T, 200).astype(int))
        off = np.abs(anytime_bound(rates)[at - 1] / [bound(rates[:t]) for t in at] - 1).max()
        print(f"  T = {T:,}, {name:20} {took * 1e3:4.0f} ms, relative error {off:.1e}")

    print("\nthe best schedule")
    begin = time.perf_counter()
    found = searched(T)
    theirs = time.perf_counter() - begin
    ours = seconds(lambda: best_schedule(T), repeats)
    excess = found / best_schedule(T).bound - 1
    print(f"  T = {T:,}: {ours * 1e3:.0f} ms; L-BFGS-B {theirs:.2f} s, {excess:.1e} above: {theirs / ours:.0f}× faster")
    measured = 0.2 + np.exp(-np.arange(MILLION) / 20_000)
    for name, norms in (("equal norms", 1.0), ("norms for each update", measured)):
        took = seconds(lambda norms=norms: best_schedule(MILLION, norms), repeats)
        plan = best_schedule(MILLION, norms)
        off = abs(bound(plan.rates, G=norms) / plan.bound - 1)
        print(f"  T = {MILLION:,}, {name}: {took * 1e3:.0f} ms; its bound against that of its rates: {off:.1e}")
    prefix, cap = SCHEDULES["cosine"].values(T // 2), best_schedule(T).peak / 2
    print(
        f"  continuation of {T // 2:,} to {T:,}: {seconds(lambda: best_continuation(prefix, T), repeats) * 1e3:.0f} ms"
    )
    print(f"  under a cap, T = {T:,}: {seconds(lambda: best_under_cap(T, cap), repeats) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
