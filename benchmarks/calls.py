"""Calling a schedule against a hand-written function of the same formula: one update, and a million at once.

The peers are plain Python and plain NumPy as one would write them for one schedule. Medians of interleaved repeats.

    python benchmarks/calls.py [--repeats 15]
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

import laju

T, W, MILLION = 1_000_000, 50_000, 10**6


def py_constant(t):
    return 0.3


def np_constant(n):
    return np.full(n, 0.3)


def py_cosine(t):
    if t >= T:
        return 0.01
    return 0.01 + (0.3 - 0.01) * (1 + math.cos(math.pi * t / T)) / 2


def np_cosine(n):
    t = np.arange(n)
    return np.where(t < T, 0.01 + (0.3 - 0.01) * (1 + np.cos(np.pi * t / T)) / 2, 0.01)


def py_warm_cosine(t):
    if t < W:
        return 0.3 * t / W
    if t >= T:
        return 0.0
    return 0.3 * (1 + math.cos(math.pi * (t - W) / (T - W))) / 2


def np_warm_cosine(n):
    t = np.arange(n)
    return np.where(t < W, 0.3 * t / W, np.where(t < T, 0.3 * (1 + np.cos(np.pi * (t - W) / (T - W))) / 2, 0.0))


def py_linear(t):
    return 0.3 * (1 - t / T) if t < T else 0.0


def np_linear(n):
    return 0.3 * (1 - np.minimum(np.arange(n), T) / T)


def py_square_root(t):
    return 0.3 * (t + 1) ** -0.5


def np_square_root(n):
    return 0.3 * (np.arange(n) + 1.0) ** -0.5


def py_multi_factor(t):
    if t < 300_000:
        return 0.3
    if t < 600_000:
        return 0.03
    return 0.003


def np_multi_factor(n):
    return 0.3 * 0.1 ** np.searchsorted([300_000, 600_000], np.arange(n), side="right")


def py_wsd(t):
    if t < W:
        return 0.3 * t / W
    if t < 800_000:
        return 0.3
    if t < T:
        return 0.3 * (T - t) / 200_000
    return 0.0


def np_wsd(n):
    t = np.arange(n)
    return np.select([t < W, t < 800_000, t < T], [0.3 * t / W, 0.3, 0.3 * (T - t) / 200_000], 0.0)


CASES: dict[str, tuple[laju.Schedule, Callable, Callable]] = {
    "constant": (laju.constant(0.3), py_constant, np_constant),
    "cosine": (laju.cosine(0.3, T, final=0.01), py_cosine, np_cosine),
    "cosine with warmup": (laju.cosine(0.3, T, warmup=W), py_warm_cosine, np_warm_cosine),
    "linear": (laju.linear(0.3, 0, T), py_linear, np_linear),
    "square root": (laju.square_root(0.3), py_square_root, np_square_root),
    "multi-factor": (laju.multi_factor(0.3, [300_000, 600_000], 0.1), py_multi_factor, np_multi_factor),
    "warmup-stable-decay": (
        laju.linear(0, 0.3, W) >> laju.Constant(0.3, 750_000) >> laju.linear(0.3, 0, 200_000), py_wsd, np_wsd
    ),
}  # fmt: skip
POSITIONS = list(range(7, T, T // 400))


def one_by_one(f: Callable) -> float:
    begin = time.perf_counter()
    for t in POSITIONS:
        f(t)
    return (time.perf_counter() - begin) / len(POSITIONS)


def at_once(f: Callable) -> float:
    begin = time.perf_counter()
    f(MILLION)
    return time.perf_counter() - begin


def ratio(ours: Callable, theirs: Callable, measure: Callable, repeats: int) -> tuple[float, float, float]:
    """Median seconds of both, and the median of the ratios of neighbouring measurements."""
    pairs = [(measure(ours), measure(theirs)) for _ in range(repeats)]
    columns = zip(*((a, b, a / b) for a, b in pairs), strict=True)
    first, second, quotient = (statistics.median(column) for column in columns)
    return first, second, quotient


def import_times() -> tuple[float, float]:
    """Seconds for `import numpy` in a new process, and for `import laju` after it."""
    clock = "time.perf_counter()"
    code = f"import time; a = {clock}; import numpy; b = {clock}; import laju; print(b - a, {clock} - b)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    by_numpy, own = map(float, output.split())
    return by_numpy, own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    print(f"{'':22}{'one update':>24}{'10^6 updates':>30}")
    print(f"{'':22}{'laju':>8}{'by hand':>9}{'ratio':>7}{'laju':>12}{'by hand':>10}{'ratio':>8}")
    calls, arrays = [], []
    for name, (schedule, py, by_numpy) in CASES.items():
        np.testing.assert_allclose(schedule.values(MILLION), by_numpy(MILLION), rtol=1e-9, atol=1e-13)
        schedule(0)
        a, b, r = ratio(schedule, py, one_by_one, repeats * 20)
        c, d, q = ratio(schedule.values, by_numpy, at_once, repeats)
        calls.append(r)
        arrays.append(q)
        print(f"{name:22}{a * 1e9:5.0f} ns{b * 1e9:6.0f} ns{r:7.2f}{c * 1e3:9.2f} ms{d * 1e3:7.2f} ms{q:8.2f}")
    print(f"{'median':22}{'':17}{statistics.median(calls):7.2f}{'':22}{statistics.median(arrays):8.2f}")
    numpy_time, own = (statistics.median(column) for column in zip(*(import_times() for _ in range(9)), strict=True))
    print(f"\nimport laju: {own * 1e3:.0f} ms after NumPy's {numpy_time * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
