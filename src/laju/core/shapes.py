"""Curves on [0, 1]: how a ramp gets from its start to its final value.

A shape has a `rise`, which goes from 0 to 1, and a `fall`, which is 1 - rise; each is written in the form that keeps its
relative accuracy, because 1 - rise would lose every digit where the fall is small. Both take the time that is `done`, the
time that is `left`, the length n = done + left, and the namespace of these numbers.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from laju.core.arrays import Scalar
from laju.core.checks import nearest, number, shown

_HALF_PI = math.pi / 2

Curve = Callable[[Any, Any, Any, Any], Any]
"""(done, left, n, namespace) -> value in [0, 1]."""


@dataclass(frozen=True)
class Shape:
    """A curve on [0, 1] by its canonical name, with p = done/n: `rise` goes from 0 to 1 and `fall` is 1 - rise.

    `geometric` marks the only shape that multiplies instead of adding: start·(final/start)^p.
    """

    name: str
    rise: Curve
    fall: Curve
    geometric: bool = False


def _log(a: Any, b: Any, xp: Any) -> Any:
    """log a for a + b = 1, from whichever of the two has the digits."""
    if xp is Scalar:
        return xp.log1p(-b) if b < a else xp.log(a) if a else -math.inf
    return xp.where(b < a, xp.log1p(-b), xp.log(a))


def _less_power(k: float, done: Any, left: Any, n: Any, xp: Any) -> Any:
    """1 - pᵏ."""
    return -xp.expm1(k * _log(done / n, left / n, xp))


def _raised(exponent: float, rise: Curve, fall: Curve) -> tuple[Curve, Curve]:
    """The curve whose fall is the given fall to a power."""

    def raised(done: Any, left: Any, n: Any, xp: Any) -> Any:
        return -xp.expm1(exponent * _log(fall(done, left, n, xp), rise(done, left, n, xp), xp))

    return raised, lambda done, left, n, xp: fall(done, left, n, xp) ** exponent


def linear() -> tuple[Curve, Curve]:
    """rise = p."""
    return (lambda done, left, n, xp: done / n), (lambda done, left, n, xp: left / n)


def cosine(exponent: float = 1.0, k: float = 1.0) -> tuple[Curve, Curve]:
    """fall = ((1 + cos πpᵏ)/2)^exponent (Loshchilov & Hutter, arXiv 1608.03983; k: Zhang & Li, arXiv 2004.05909)."""
    exponent, k = number("exponent", exponent, above=0), number("k", k, above=0)

    # sin²(πx/2) is (1 - cos πx)/2 without its cancellation near 0.
    curves: tuple[Curve, Curve] = (
        (lambda done, left, n, xp: (s := xp.sin(_HALF_PI * (done / n))) * s),
        (lambda done, left, n, xp: (s := xp.sin(_HALF_PI * (left / n))) * s),
    )
    if k != 1:
        curves = (
            (lambda done, left, n, xp: (s := xp.sin(_HALF_PI * (done / n) ** k)) * s),
            (lambda done, left, n, xp: (s := xp.sin(_HALF_PI * _less_power(k, done, left, n, xp))) * s),
        )
    return curves if exponent == 1 else _raised(exponent, *curves)


def quarter_cosine() -> tuple[Curve, Curve]:
    """fall = cos(πp/2): flat at the start, steep at the end."""

    def rise(done: Any, left: Any, n: Any, xp: Any) -> Any:
        s = xp.sin(xp.pi / 4 * (done / n))
        return 2 * s * s

    return rise, (lambda done, left, n, xp: xp.sin(xp.pi / 2 * (left / n)))


def power(k: float) -> tuple[Curve, Curve]:
    """fall = (1 - p)ᵏ: polynomial decay."""
    return _raised(number("k", k, above=0), *linear())


def rising_power(k: float) -> tuple[Curve, Curve]:
    """rise = pᵏ, so that a decay is 1 - pᵏ."""
    k = number("k", k, above=0)
    return (lambda done, left, n, xp: (done / n) ** k), (lambda done, left, n, xp: _less_power(k, done, left, n, xp))


def k_decay(k: float, exponent: float = 1.0) -> tuple[Curve, Curve]:
    """fall = (1 - pᵏ)^exponent (Zhang & Li, arXiv 2004.05909)."""
    exponent = number("exponent", exponent, above=0)
    return rising_power(k) if exponent == 1 else _raised(exponent, *rising_power(k))


def sqrt() -> tuple[Curve, Curve]:
    """fall = 1 - √p, the cooldown of Hägele et al., arXiv 2405.18392."""
    return (
        lambda done, left, n, xp: xp.sqrt(done / n),
        lambda done, left, n, xp: left / n / (1 + xp.sqrt(done / n)),
    )


def square() -> tuple[Curve, Curve]:
    """fall = 1 - p²."""
    return (
        lambda done, left, n, xp: (done / n) * (done / n),
        lambda done, left, n, xp: (left / n) * (1 + done / n),
    )


def tanh(lower: float = -6.0, upper: float = 3.0) -> tuple[Curve, Curve]:
    """fall = (tanh U - tanh x)/(tanh U - tanh L) with x = L + (U - L)·p (Hsueh et al., arXiv 1806.01593)."""
    lower = number("lower", lower, least=-300, most=300)
    upper = number("upper", upper, above=lower, most=300)
    span, whole = upper - lower, math.expm1(-2 * (upper - lower))

    # By tanh a - tanh b = sinh(a - b)/(cosh a·cosh b), in which the exponentials of the two sides cancel.
    def rise(done: Any, left: Any, n: Any, xp: Any) -> Any:
        d = span * (done / n)
        return xp.expm1(-2 * d) / whole * ((1 + math.exp(-2 * upper)) / (1 + xp.exp(-2 * (lower + d))))

    def fall(done: Any, left: Any, n: Any, xp: Any) -> Any:
        d = span * (left / n)
        return xp.expm1(-2 * d) / whole * ((1 + math.exp(2 * lower)) / (1 + xp.exp(2 * (upper - d))))

    return rise, fall


def rex(beta: float = 0.5) -> tuple[Curve, Curve]:
    """fall = (1 - p)/(1 - β·p) (Chen et al., arXiv 2107.04197)."""
    rest = 1 - number("beta", beta, below=1)
    return (
        lambda done, left, n, xp: rest * done / (left + rest * done),
        lambda done, left, n, xp: left / (left + rest * done),
    )


def log(base: float) -> tuple[Curve, Curve]:
    """rise = log(1 + (base - 1)·p)/log(base): steep at first, the warmup of DeepSpeed."""
    more, whole = number("base", base, above=1) - 1, math.log(base)
    return (
        lambda done, left, n, xp: xp.log1p(more * (done / n)) / whole,
        lambda done, left, n, xp: -_log(done / n + left / n / base, more / base * (left / n), xp) / whole,
    )


def exponential() -> tuple[Curve, Curve]:
    """start·(final/start)^p: a straight line on a logarithmic axis; both ends must be non-zero and of the same sign."""
    return linear()


_CURVES = (linear, cosine, quarter_cosine, power, rising_power, k_decay, sqrt, square, tanh, rex, log, exponential)
_SHAPES: dict[str, Callable[..., tuple[Curve, Curve]]] = {f.__name__: f for f in _CURVES}
NAMES = tuple(_SHAPES)
_TEXT = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\((.*)\))?\s*")


@lru_cache(maxsize=256)
def _shape_of(text: str) -> Shape:
    match = _TEXT.fullmatch(text)
    name = match[1] if match else text
    if match is None or name not in _SHAPES:
        raise ValueError(f"unknown shape {shown(text)}; shapes are {', '.join(NAMES)}{nearest(name, NAMES)}")
    make = _SHAPES[name]
    parameters = list(inspect.signature(make).parameters.values())
    texts = [part for part in (match[2] or "").split(",") if part.strip()]
    if len(texts) > len(parameters) or any(p.default is p.empty for p in parameters[len(texts) :]):
        usage = f"{name}({', '.join(p.name for p in parameters)})" if parameters else name
        raise ValueError(f"shape {shown(text)} must be written {usage!r}")
    try:
        values = [float(part) for part in texts]
    except ValueError:
        raise ValueError(f"shape {shown(text)} must have numbers as arguments") from None
    try:
        rise, fall = make(*values)
    except ValueError as error:
        raise ValueError(f"shape {shown(text)}: {error}") from None
    while values and values[-1] == parameters[len(values) - 1].default:
        values.pop()
    canonical = name + (f"({', '.join(repr(v) if v != int(v) else str(int(v)) for v in values)})" if values else "")
    return Shape(canonical, rise, fall, geometric=name == "exponential")


def shape(text: str | Shape) -> Shape:
    """The shape with this name and these arguments: `shape("cosine")`, `shape("power(2)")`.

    Raises:
        ValueError: for an unknown name (the message proposes the nearest), or arguments that the shape does not take.

    >>> shape("power(2.0)").name
    'power(2)'
    """
    if isinstance(text, Shape):
        return text
    if not isinstance(text, str):
        raise TypeError(f"shape must be a text such as 'cosine' or 'power(2)', got {shown(text)}")
    return _shape_of(text)
