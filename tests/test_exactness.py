"""Every policy against its formula at 50 digits: the error stays under 8 ulp, or under the bound that its docstring states."""

import itertools
import math
import random

import mpmath as mp
import numpy as np
import pytest
from mpmath import mpf

import laju
from laju import policies

mp.mp.dps = 50
LATE = [2**31 - 1, 2**31, 2**53 - 1, 2**53]


def fall(name, p):
    """1 at p = 0, 0 at p = 1."""
    return {
        "linear": lambda: 1 - p,
        "cosine": lambda: (1 + mp.cos(mp.pi * p)) / 2,
        "1-sqrt": lambda: 1 - mp.sqrt(p),
        "1-square": lambda: 1 - p**2,
    }[name]()


def decay(peak, total, final=0.0, warmup=0, start=0.0, curve=lambda p: 1 - p, end=None):
    """start → peak in a line, then final + (peak - final)·curve(p); `end` holds when it is not `final`."""
    peak, final, start = mpf(peak), mpf(final), mpf(start)
    top = final + (peak - final) * curve(mpf(0))

    def at(t):
        if t < warmup:
            return start + (top - start) * t / warmup
        if t >= total:
            return final if end is None else end
        return final + (peak - final) * curve(mpf(t - warmup) / (total - warmup))

    return at


def cosine(exponent=1.0, k=1.0):
    return lambda p: ((1 + mp.cos(mp.pi * p ** mpf(k))) / 2) ** mpf(exponent)


def poly(power, k=1.0):
    return lambda p: (1 - p ** mpf(k)) ** mpf(power)


def rex(beta):
    return lambda p: (1 - p) / (1 - mpf(beta) * p)


def geometric(peak, final, total, warmup=0):
    def at(t):
        if t < warmup:
            return mpf(peak) * t / warmup
        return mpf(peak) * (mpf(final) / mpf(peak)) ** min(mpf(t - warmup) / (total - warmup), mpf(1))

    return at


def tanh_curve(lower, upper):
    return lambda p: (1 - mp.tanh(mpf(lower) + (mpf(upper) - mpf(lower)) * p)) / 2


def tanh(peak, total, final, lower, upper, warmup=0):
    curve = tanh_curve(lower, upper)
    return decay(peak, total, final, warmup, 0.0, curve, end=mpf(final) + (mpf(peak) - mpf(final)) * curve(mpf(1)))


def inverse_sqrt(peak, warmup, tau):
    return lambda t: mpf(peak) * t / warmup if t < warmup else mpf(peak) * mp.sqrt(mpf(tau) / (tau + t - warmup))


def noam(d, warmup, scale):
    return lambda t: mpf(scale) / mp.sqrt(d) * min(1 / mp.sqrt(t + 1), (t + 1) * mpf(warmup) ** mpf("-1.5"))


def between(start, final, total, gamma):
    b = total / ((mpf(start) / mpf(final)) ** (1 / mpf(gamma)) - 1)
    a = mpf(start) * b ** mpf(gamma)
    return lambda t: a * (b + t) ** -mpf(gamma) if t < total else mpf(final)


def wsd(peak, total, cooldown, warmup=0, final=0.0, start=0.0, shape="linear", first=False):
    peak, final, start = mpf(peak), mpf(final), mpf(start)

    def at(t):
        if t < warmup:
            return start + (peak - start) * (t + first) / warmup
        if total is None or t < total - cooldown:
            return peak
        if t >= total:
            return final
        p = mpf(t + first - total + cooldown) / (cooldown + first)
        return peak * (final / peak) ** p if shape == "exponential" else final + (peak - final) * fall(shape, p)

    return at


def wsd_s(peak, ends, cooldown, warmup, final, shape):
    def at(t):
        if t >= ends[-1]:
            return mpf(final)
        i = sum(end <= t for end in ends)
        begin = ends[i - 1] if i else 0
        return wsd(peak, ends[i] - begin, cooldown, 0 if i else warmup, final, 0.0, shape)(t - begin)

    return at


def swa(peak, final, at, anneal, shape):
    return lambda t: (
        mpf(peak)
        if t < at
        else mpf(final) + (mpf(peak) - mpf(final)) * fall(shape, mpf(t - at) / anneal)
        if t < at + anneal
        else mpf(final)
    )


def swa_cyclic(value, peak, final, at, every):
    return lambda t: (
        mpf(value) if t < at else mpf(peak) + (mpf(final) - mpf(peak)) * (mpf((t - at) % every + 1) / every)
    )


def phases(shape, *corners):
    """Ramps through (update, value)."""

    def at(t):
        for (a, x), (b, y) in itertools.pairwise(corners):
            if t < b:
                return mpf(y) + (mpf(x) - mpf(y)) * fall(shape, mpf(max(t, a) - a) / (b - a))
        return mpf(corners[-1][1])

    return at


def triangle(start, peak, up, down, height=lambda t, cycle: 1):
    def at(t):
        cycle, u = divmod(t, up + down)
        x = mpf(u) / up if u < up else mpf(up + down - u) / down
        return mpf(start) + (mpf(peak) - mpf(start)) * x * height(t, cycle)

    return at


def restarts(peak, every, final=0.0, growth=1, decay=1.0, count=None, warmup=0, start=0.0):
    def at(t):
        i, begin, n = 0, 0, every
        if growth == 1:
            i = t // every
            begin = i * every
        else:
            while t >= begin + n:
                i, begin, n = i + 1, begin + n, n * growth
        if count is not None and i >= count:
            return mpf(final)
        u, w, top = t - begin, mpf(warmup) * growth**i, mpf(peak) * mpf(decay) ** i
        if u < w:
            return mpf(start) + (top - mpf(start)) * u / w
        return mpf(final) + (top - mpf(final)) * (1 + mp.cos(mp.pi * (u - w) / (n - w))) / 2

    return at


def untuned_linear(peak, beta2):
    return lambda t: mpf(peak) * min(mpf(1), (t + 1) * (1 - mpf(beta2)) / 2)


def radam(peak, beta2):
    beta2 = mpf(beta2)
    limit = 2 / (1 - beta2) - 1

    def rho(n):
        return limit - 2 * n * beta2**n / (1 - beta2**n)

    m = next(n for n in range(1, 100) if rho(n) > 4)

    def at(t):
        r = rho(t + m)
        return mpf(peak) * mp.sqrt((r - 4) * (r - 2) * limit / ((limit - 4) * (limit - 2) * r))

    return at


def chebyshev(low, peak, places):
    large, small = 1 / mpf(low), 1 / mpf(peak)
    total = len(places)

    def at(t):
        i = places[min(t, total - 1)]
        return 1 / ((large + small) / 2 - (large - small) / 2 * mp.cos((i - mpf("0.5")) * mp.pi / total))

    return at


def interpolated(shape, *points):
    def at(t):
        return mpf(points[0][1]) if t <= points[0][0] else phases(shape, *points)(t)

    return at


def of_scale(scale, ulps=4):
    """An error in ulp of a fixed size instead of the value's own."""
    return lambda t, exact: ulps * math.ulp(scale) / math.ulp(float(exact)) if exact else math.inf


LOG = math.log(1e5)
# (text, formula, bound in ulp or how to compute it, positions of interest)
CASES = [
    ("constant(0.3)", lambda t: mpf(0.3), 0, []),
    ("linear(0.3, 0.01, total=10_000)", decay(0.3, 10_000, 0.01), 8, [10_000]),
    ("linear(0, 7e-4, total=999_983)", lambda t: mpf(7e-4) * min(t, 999_983) / 999_983, 8, [999_983]),
    ("linear(-0.3, 0.7, total=10_007)", decay(-0.3, 10_007, 0.7), of_scale(0.7, 2), [3002, 3003, 10_007]),
    (f"linear(1, 0, total={2**53})", decay(1, 2**53), 8, [2**52]),
    ("linear_to_zero(3e-4, total=100_003, warmup=2000)", decay(3e-4, 100_003, 0, 2000), 8, [2000, 100_003]),
    (
        "linear_to_zero(3e-4, total=10_000, warmup=77, start=1e-5)",
        decay(3e-4, 10_000, 0, 77, 1e-5),
        8,
        [77, 10_000],
    ),
    ("poly(0.3, total=99_991, power=10, k=10)", decay(0.3, 99_991, curve=poly(10, 10)), 20, [99_991]),
    ("cosine(0.3, total=99_991, exponent=6)", decay(0.3, 99_991, curve=cosine(6)), 36, [99_991]),
    ("poly(0.3, total=10_000)", decay(0.3, 10_000), 8, [10_000]),
    ("poly(0.3, total=300_007, power=0.9, final=1e-4)", decay(0.3, 300_007, 1e-4, curve=poly(0.9)), 8, [300_007]),
    ("poly(1e-4, total=10_007, power=3, final=0.3)", decay(1e-4, 10_007, 0.3, curve=poly(3)), 8, [10_007]),
    ("poly(1e-4, total=10_007, power=0.3, final=0.3)", decay(1e-4, 10_007, 0.3, curve=poly(0.3)), 8, [10_007]),
    ("poly(0.3, total=10_007, k=3)", decay(0.3, 10_007, curve=poly(1, 3)), 8, [10_007]),
    (
        "poly(0.3, total=100_003, power=2, k=0.4, final=0.01, warmup=500)",
        decay(0.3, 100_003, 0.01, 500, curve=poly(2, 0.4)),
        8,
        [500, 100_003],
    ),
    (
        "poly(0.001, total=100_003, power=2, k=0.4, final=0.3)",
        decay(0.001, 100_003, 0.3, curve=poly(2, 0.4)),
        8,
        [100_003],
    ),
    (
        "cosine(0.3, total=10_000, final=0.01, warmup=500)",
        decay(0.3, 10_000, 0.01, 500, curve=cosine()),
        8,
        [500, 10_000],
    ),
    ("cosine(3e-4, total=999_983)", decay(3e-4, 999_983, curve=cosine()), 8, [999_983]),
    ("cosine(0.04, total=300_000, final=0.4)", decay(0.04, 300_000, 0.4, curve=cosine()), 8, [300_000]),
    (
        "cosine(0.3, total=10_007, exponent=2, warmup=100, start=0.1)",
        decay(0.3, 10_007, 0, 100, 0.1, cosine(2)),
        10,
        [100, 10_007],
    ),
    ("cosine(0, total=10_007, final=0.3, exponent=0.5)", decay(0, 10_007, 0.3, curve=cosine(0.5)), 8, [10_007]),
    ("cosine(0.3, total=10_007, k=2.5)", decay(0.3, 10_007, curve=cosine(1, 2.5)), 8, [10_007]),
    ("cosine(0.3, total=100_003, k=0.3, exponent=1.5)", decay(0.3, 100_003, curve=cosine(1.5, 0.3)), 8, [100_003]),
    (f"cosine(1, total={2**53})", decay(1, 2**53, curve=cosine()), 8, [2**52]),
    ("flat_cosine(0.3, total=10_007, flat=7_000)", swa(0.3, 0, 7000, 3007, "cosine"), 8, [7000, 10_007]),
    (
        "flat_cosine(3e-4, total=1_000_003, flat=10, final=1e-5)",
        swa(3e-4, 1e-5, 10, 999_993, "cosine"),
        8,
        [10, 1_000_003],
    ),
    ("exponential(0.3, 3e-6, total=10_007)", geometric(0.3, 0.3e-5, 10_007), 4 + LOG, [10_007]),
    (
        "exponential(3e-4, 3e-9, total=1_000_003, warmup=10_000)",
        geometric(3e-4, 3e-9, 1_000_003, 10_000),
        4 + LOG,
        [10_000, 1_000_003],
    ),
    (
        "natural_exponential(0.3, 1e-4)",
        lambda t: mpf(0.3) * mp.exp(-mpf(1e-4) * t),
        lambda t, exact: 4 + 3 * 1e-4 * t,
        [10**4, 10**6],
    ),
    (
        "natural_exponential(1, 0.3, every=1000)",
        lambda t: mp.exp(-mpf(0.3) * t / 1000),
        lambda t, exact: 4 + 3 * 0.3 * t / 1000,
        [10**5],
    ),
    ("inverse_time(0.3, 0.01)", lambda t: mpf(0.3) / (1 + mpf(0.01) * t), 8, []),
    ("inverse_time(0.1, 0.5, every=1000)", lambda t: mpf(0.1) / (1 + mpf(0.5) * t / 1000), 8, []),
    ("inverse_sqrt(3e-4, warmup=4000)", inverse_sqrt(3e-4, 4000, 4000), 8, [4000]),
    ("inverse_sqrt(0.3, warmup=100, timescale=10_000)", inverse_sqrt(0.3, 100, 10_000), 8, [100]),
    ("inverse_sqrt(0.3, timescale=7)", inverse_sqrt(0.3, 0, 7), 8, []),
    ("noam(512, warmup=4000)", noam(512, 4000, 1), 8, [3999]),
    ("noam(768, warmup=10_000, scale=2.5)", noam(768, 10_000, 2.5), 8, [9999]),
    ("tanh_decay(0.3, total=10_007)", tanh(0.3, 10_007, 0.0, -6, 3), 14, [10_007]),
    (
        "tanh_decay(3e-4, total=300_007, final=1e-5, lower=-4, upper=10, warmup=1000)",
        tanh(3e-4, 300_007, 1e-5, -4, 10, 1000),
        18,
        [1000, 300_007],
    ),
    ("tanh_decay(1e-4, total=10_007, final=0.3, lower=-9, upper=1)", tanh(1e-4, 10_007, 0.3, -9, 1), 26, [10_007]),
    ("rex(0.3, total=10_007)", decay(0.3, 10_007, curve=rex(0.5)), 8, [10_007]),
    (
        "rex(3e-4, total=999_983, final=1e-6, beta=0.9, warmup=1000)",
        decay(3e-4, 999_983, 1e-6, 1000, curve=rex(0.9)),
        8,
        [1000, 999_983],
    ),
    ("polynomial_decay(0.3, alpha=0.5, beta=0.1)", lambda t: mpf(0.3) * (1 + mpf(0.1) * t) ** mpf(-0.5), 8, []),
    ("polynomial_decay(0.3, alpha=2, beta=3)", lambda t: mpf(0.3) * (1 + mpf(3) * t) ** mpf(-2), 8, []),
    ("square_root(0.1)", lambda t: mpf(0.1) / mp.sqrt(t + 1), 8, []),
    ("square_root(3e-4)", lambda t: mpf(3e-4) / mp.sqrt(t + 1), 8, []),
    ("welling_teh(0.0158500742, 2.3104324)", lambda t: mpf(0.0158500742) * (mpf(2.3104324) + t) ** -mpf(0.55), 8, []),
    ("welling_teh(0.5, 1000, gamma=1)", lambda t: mpf(0.5) / (1000 + t), 8, []),
    ("welling_teh_between(0.01, 0.0001, 10_000)", between(0.01, 0.0001, 10_000, 0.55), 8 + 2 * math.log(100), [10_000]),
    (
        "welling_teh_between(0.1, 0.001, 1_000_000, gamma=0.9, endpoint=True)",
        between(0.1, 0.001, 999_999, 0.9),
        8 + 2 * math.log(100),
        [999_999],
    ),
    ("factor(0.5, 0.9, every=1000)", lambda t: mpf(0.5) * mpf(0.9) ** (t // 1000), 8, [1000, 10_000, 100_000]),
    ("factor(0.5, 0.9999, floor=0.01)", lambda t: max(mpf(0.01), mpf(0.5) * mpf(0.9999) ** t), 8, [10_000]),
    (
        "multi_factor(0.5, [15_000, 30_000], 0.1)",
        lambda t: mpf(0.5) * mpf(0.1) ** ((t >= 15_000) + (t >= 30_000)),
        8,
        [15_000, 30_000],
    ),
    ("multi_factor(3, [7], 1.7)", lambda t: mpf(3) * mpf(1.7) ** (t >= 7), 8, [7]),
    (
        "piecewise_constant([100, 10_000], [0.1, 0.3, 0.01])",
        lambda t: mpf([0.1, 0.3, 0.01][(t >= 100) + (t >= 10_000)]),
        0,
        [100, 10_000],
    ),
    ("piecewise_constant([], [0.3])", lambda t: mpf(0.3), 0, []),
    (
        "knots([[0, 0.01], [1000, 0.3], [10_007, 0.001]])",
        interpolated("linear", (0, 0.01), (1000, 0.3), (10_007, 0.001)),
        8,
        [1000, 10_007],
    ),
    (
        "knots([[50, 0.01], [1000, 0.3], [100_003, 0]], 'cosine')",
        interpolated("cosine", (50, 0.01), (1000, 0.3), (100_003, 0)),
        8,
        [50, 1000, 100_003],
    ),
    ("chebyshev(0.01, 10, total=8)", chebyshev(0.01, 10, [1, 8, 4, 5, 2, 7, 3, 6]), 8, [8]),
    (
        "chebyshev(0.001, 1, total=1000, order='falling')",
        chebyshev(0.001, 1, list(range(1, 1001))),
        8,
        list(range(1002)),
    ),
    (
        "chebyshev(0.001, 1, total=1001, order='rising')",
        chebyshev(0.001, 1, list(range(1001, 0, -1))),
        8,
        list(range(1002)),
    ),
    ("wsd(0.3, total=10_007, cooldown=2000, warmup=500)", wsd(0.3, 10_007, 2000, 500), 8, [500, 8007, 10_007]),
    (
        "wsd(3e-4, total=1_000_003, cooldown=200_000, warmup=500, final=1e-6, start=1e-7, shape='cosine', first=True)",
        wsd(3e-4, 1_000_003, 200_000, 500, 1e-6, 1e-7, "cosine", True),
        8,
        [500, 800_003, 1_000_003],
    ),
    (
        "wsd(0.3, total=10_007, cooldown=9000, warmup=1007, shape='1-sqrt', first=True)",
        wsd(0.3, 10_007, 9000, 1007, shape="1-sqrt", first=True),
        8,
        [1007, 10_007],
    ),
    (
        "wsd(0.3, total=10_007, cooldown=9000, shape='1-square')",
        wsd(0.3, 10_007, 9000, shape="1-square"),
        8,
        [1007, 10_007],
    ),
    (
        "wsd(0.3, total=10_007, cooldown=9000, final=3e-6, shape='exponential')",
        wsd(0.3, 10_007, 9000, final=3e-6, shape="exponential"),
        4 + LOG,
        [1007, 10_007],
    ),
    ("wsd(0.3, None, warmup=1000)", wsd(0.3, None, 0, 1000), 8, [1000]),
    (
        "trapezoid(0.3, total=10_007, warmup=100, cooldown=1000, final=0.1)",
        wsd(0.3, 10_007, 1000, 100, 0.1),
        8,
        [100, 9007, 10_007],
    ),
    ("trapezoid(0.3, total=10_007, warmup=7, cooldown=10_000)", wsd(0.3, 10_007, 10_000, 7), 8, [7, 10_007]),
    (
        "wsd_s(0.3, [1000, 3000, 10_007], cooldown=500, warmup=100, final=0.03, shape='1-sqrt')",
        wsd_s(0.3, [1000, 3000, 10_007], 500, 100, 0.03, "1-sqrt"),
        8,
        [100, 500, 1000, 2500, 3000, 9507, 10_007],
    ),
    (
        "wsd_s(0.3, [100_003], cooldown=500)",
        wsd_s(0.3, [100_003], 500, 0, 0, "linear"),
        8,
        [100_003],
    ),
    ("swa(0.3, 0.01, at=7000, anneal=3007)", swa(0.3, 0.01, 7000, 3007, "cosine"), 8, [7000, 10_007]),
    ("swa(0.3, 0.01, at=100_003, shape='linear')", swa(0.3, 0.01, 100_003, 0, "linear"), 8, [100_003]),
    ("swa_cyclic(0.3, 0.1, 0.001, at=7000, every=313)", swa_cyclic(0.3, 0.1, 0.001, 7000, 313), 8, [7000, 7312, 7313]),
    ("swa_cyclic(0.3, 0.1, 0.0, at=0, every=1)", swa_cyclic(0.3, 0.1, 0.0, 0, 1), 8, []),
    (
        "one_cycle(0.3, total=10_007)",
        phases("cosine", (0, 0.3 / 25), (3002, 0.3), (10_007, 0.3 / 25 / 10_000)),
        8,
        [3002, 10_007],
    ),
    (
        "one_cycle(3e-4, total=1_000_003, warmup=400_000, start=1e-5, final=0, shape='linear', phases=3)",
        phases("linear", (0, 1e-5), (400_000, 3e-4), (800_000, 1e-5), (1_000_003, 0.0)),
        8,
        [400_000, 800_000, 1_000_003],
    ),
    (
        "one_cycle_momentum(10_007)",
        phases("cosine", (0, 0.95), (3002, 0.85), (10_007, 0.95)),
        8,
        [3002, 10_007],
    ),
    (
        "one_cycle_momentum(10_007, warmup=3000, low=0.5, shape='linear', phases=3)",
        phases("linear", (0, 0.95), (3000, 0.5), (6000, 0.95)),
        8,
        [3000, 6000, 10_007],
    ),
    ("triangular(0.001, 0.3, up=2000)", triangle(0.001, 0.3, 2000, 2000), 8, [2000, 4000]),
    ("triangular(0.0, 0.3, up=7, down=1000)", triangle(0.0, 0.3, 7, 1000), 8, [7, 1007]),
    (
        "triangular2(0.001, 0.3, up=2000)",
        triangle(0.001, 0.3, 2000, 2000, lambda t, cycle: mpf(2) ** -cycle),
        8,
        [2000, 4000, 6000],
    ),
    (
        "triangular2(0, 0.3, up=1000, down=3003)",
        triangle(0, 0.3, 1000, 3003, lambda t, cycle: mpf(2) ** -cycle),
        8,
        [1000, 4003],
    ),
    (
        "exp_range(0.001, 0.3, up=2000, gamma=0.9999)",
        triangle(0.001, 0.3, 2000, 2000, lambda t, cycle: mpf(0.9999) ** t),
        8,
        [2000, 4000],
    ),
    (
        "exp_range(0.0, 0.3, up=2000, gamma=0.999, down=7)",
        triangle(0.0, 0.3, 2000, 7, lambda t, cycle: mpf(0.999) ** t),
        8,
        [2000, 2007],
    ),
    ("cosine_restarts(0.3, every=1000)", restarts(0.3, 1000), 8, [1000, 2000]),
    (
        "cosine_restarts(0.3, every=1000, final=0.001, growth=2, decay=0.8, warmup=100, start=0.01)",
        restarts(0.3, 1000, 0.001, 2, 0.8, None, 100, 0.01),
        8,
        [100, 1000, 1200, 3000, 3400, 1023_000],
    ),
    (
        "cosine_restarts(0.3, every=37, final=0.01, growth=3, count=6)",
        restarts(0.3, 37, 0.01, 3, 1, 6),
        8,
        [37, 148, 481, 37 * 364],
    ),
    ("exponential_warmup(0.3, 1000)", lambda t: mpf(0.3) * -mp.expm1(-mpf(t) / 1000), of_scale(0.3), []),
    (
        "exponential_warmup(3e-4, 77, first=True)",
        lambda t: mpf(3e-4) * -mp.expm1(-mpf(t + 1) / 77),
        of_scale(3e-4),
        [],
    ),
    ("untuned_linear(3e-4)", untuned_linear(3e-4, "0.999"), 8, [1998, 1999, 2000]),
    ("untuned_linear(beta2=0.98765)", untuned_linear(1, "0.98765"), 8, [160, 161, 162]),
    (
        "untuned_exponential(3e-4)",
        lambda t: mpf(3e-4) * -mp.expm1(-(1 - mpf("0.999")) * (t + 1)),
        of_scale(3e-4),
        [],
    ),
    (
        "untuned_exponential(beta2=0.9)",
        lambda t: -mp.expm1(-(1 - mpf("0.9")) * (t + 1)),
        of_scale(1.0),
        [],
    ),
    ("radam_warmup(3e-4)", radam(3e-4, "0.999"), 8, [*range(50), 999, 1999, 2001]),
    ("radam_warmup(beta2=0.7)", radam(1, "0.7"), 8, [*range(50)]),
    ("radam_warmup(beta2=0.99999)", radam(1, "0.99999"), 8, [*range(50), 10**5, 199_999, 200_001]),
    ("warmup(0.3, 1000, 0.1)", lambda t: mpf(0.1) + (mpf(0.3) - mpf(0.1)) * min(t, 1000) / 1000, 8, [1000]),
    (
        "warmup(linear(0.3, 0, total=10_007), 1000, how='times', first=True)",
        lambda t: mpf(0.3) * max(mpf(10_007 - t) / 10_007, 0) * min(t + 1, 1000) / 1000,
        8,
        [999, 1000, 10_007],
    ),
]


def positions(interesting):
    rng = random.Random(7)
    near = [e + d for e in [*interesting] for d in range(-3, 4)]
    spread = [rng.randrange(10 ** rng.randint(1, 6)) for _ in range(150)]
    return sorted({t for t in [*range(12), *near, *spread] if t >= 0}) + LATE


@pytest.mark.parametrize(("text", "formula", "bound", "interesting"), CASES, ids=[case[0] for case in CASES])
def test_a_policy_is_its_formula_within_the_stated_error(text, formula, bound, interesting):
    schedule = laju.parse(text)
    ts = positions(interesting)
    soon = [t for t in ts if t < 1_100_000]
    values = schedule.values(max(soon) + 1)
    called = schedule(np.array(ts, dtype=np.int64))
    worst = {"call": 0.0, "values": 0.0, "array": 0.0}
    for i, t in enumerate(ts):
        if isinstance(schedule.length, int) and t > schedule.length + 3 and t not in LATE:
            continue
        exact = formula(t)
        if abs(exact) < mpf(2) ** -1022:  # what is under the smallest normal number has fewer digits
            assert abs(schedule(t)) <= 2**-1022
            assert abs(called[i]) <= 2**-1022
            continue
        limit = bound(t, exact) if callable(bound) else bound
        got = {"call": schedule(t), "array": called[i]} | ({"values": values[t]} if t < len(values) else {})
        for how, value in got.items():
            error = float(abs(mpf(float(value)) - exact) / mpf(math.ulp(float(exact))))
            worst[how] = max(worst[how], error)
            assert error <= limit, f"{how} at {t}: {value!r} is {error:.1f} ulp from {mp.nstr(exact, 20)}"
    print(f"{text}: {worst}")


def test_every_policy_is_compared_with_its_formula_for_two_sets_of_parameters():
    for name in policies.__all__:
        assert sum(case[0].startswith(f"{name}(") for case in CASES) >= (1 if name == "constant" else 2), name
