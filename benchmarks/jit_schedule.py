"""laju schedules under jit against optax's own of the same shape: one call, a scan of training steps, and how exact they are.

Every row is a laju schedule and the optax schedule that is nearest to it. Times are medians of interleaved repeats; a ratio
below 1 means that laju is quicker. The error is the largest relative one in float32 over the run, against float64.

    python benchmarks/jit_schedule.py [--repeats 41]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import laju

T, W, CALLS, STEPS = 10_000, 500, 200, 10_000
DROPS = [3_000, 6_000, 9_000]

CASES: dict[str, tuple[laju.Schedule, Callable]] = {
    "constant": (laju.constant(0.3), optax.constant_schedule(0.3)),
    "linear": (laju.linear(0.3, 0, T), optax.linear_schedule(0.3, 0.0, T)),
    "cosine": (laju.cosine(0.3, T), optax.cosine_decay_schedule(0.3, T)),
    "cosine with warmup": (laju.cosine(0.3, T, warmup=W), optax.warmup_cosine_decay_schedule(0.0, 0.3, W, T)),
    "polynomial": (laju.poly(0.3, T, power=2), optax.polynomial_schedule(0.3, 0.0, 2, T)),
    "3 drops": (
        laju.multi_factor(0.3, DROPS, 0.1),
        optax.piecewise_constant_schedule(0.3, dict.fromkeys(DROPS, 0.1)),
    ),
    "30 drops": (
        laju.multi_factor(0.3, list(range(300, 9_300, 300)), 0.8),
        optax.piecewise_constant_schedule(0.3, dict.fromkeys(range(300, 9_300, 300), 0.8)),
    ),
    "exponential steps": (laju.factor(0.3, 0.9, every=500), optax.exponential_decay(0.3, 500, 0.9, staircase=True)),
    "warmup, stable, decay": (
        laju.linear(0, 0.3, W) >> laju.Constant(0.3, 7_500) >> laju.linear(0.3, 0, 2_000),
        optax.join_schedules(
            [optax.linear_schedule(0, 0.3, W), optax.constant_schedule(0.3), optax.linear_schedule(0.3, 0, 2_000)],
            [W, 8_000],
        ),
    ),
}


def call(schedule: Callable) -> Callable[[], float]:
    """Seconds of one call of the compiled schedule."""
    compiled = jax.jit(schedule)
    counts = [jnp.int32(i) for i in range(0, T, T // CALLS)]
    jax.block_until_ready(compiled(counts[0]))

    def measure() -> float:
        begin = time.perf_counter()
        for count in counts:
            value = compiled(count)
        jax.block_until_ready(value)
        return (time.perf_counter() - begin) / len(counts)

    return measure


def training(schedule: Callable) -> Callable[[], float]:
    """Seconds of one step of gradient descent with momentum on a hundred weights, many steps in one compiled loop."""
    optimizer = optax.sgd(schedule, momentum=0.9)
    target = jnp.linspace(-1.0, 1.0, 100)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        weights, state = carry
        updates, state = optimizer.update(weights - target, state, weights)
        return (optax.apply_updates(weights, updates), state), None

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, length=STEPS)[0])
    carry = (jnp.zeros(100), optimizer.init(jnp.zeros(100)))
    jax.block_until_ready(run(carry))

    def measure() -> float:
        begin = time.perf_counter()
        jax.block_until_ready(run(carry))
        return (time.perf_counter() - begin) / STEPS

    return measure


def ratio(ours: Callable, theirs: Callable, repeats: int) -> tuple[float, float, float]:
    """Median seconds of both, and the median of the ratios of neighbouring measurements, which take turns in being first."""
    pairs = []
    for i in range(repeats):
        if i % 2:
            b, a = theirs(), ours()
        else:
            a, b = ours(), theirs()
        pairs.append((a, b, a / b))
    first, second, quotient = (statistics.median(column) for column in zip(*pairs, strict=True))
    return first, second, quotient


def error(schedule: Callable, exact: np.ndarray) -> float:
    values = np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(len(exact), dtype=jnp.int32)), dtype=np.float64)
    where = exact > 0
    return float(np.max(np.abs(values[where] / exact[where] - 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=41)
    repeats = parser.parse_args().repeats
    print(f"{'':22}{'one call, µs':>24}{'one step of training, ns':>32}{'largest error':>20}")
    print(f"{'':22}{'laju':>8}{'optax':>8}{'ratio':>8}{'laju':>14}{'optax':>9}{'ratio':>9}{'laju':>11}{'optax':>9}")
    calls, steps = [], []
    for name, (schedule, peer) in CASES.items():
        exact = schedule.values(T)
        np.testing.assert_allclose(jax.vmap(peer)(jnp.arange(T)), exact, rtol=1e-2, atol=1e-6)
        a, b, r = ratio(call(schedule), call(peer), repeats)
        c, d, q = ratio(training(schedule), training(peer), repeats)
        calls.append(r)
        steps.append(q)
        print(
            f"{name:22}{a * 1e6:8.2f}{b * 1e6:8.2f}{r:8.2f}{c * 1e9:14.0f}{d * 1e9:9.0f}{q:9.2f}"
            f"{error(schedule, exact):11.0e}{error(peer, exact):9.0e}"
        )
    print(f"{'median':22}{'':16}{statistics.median(calls):8.2f}{'':23}{statistics.median(steps):9.2f}")


if __name__ == "__main__":
    main()
