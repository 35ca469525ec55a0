"""The pieces that schedules are made of, each a value over its own local time from 0."""

from __future__ import annotations

import decimal
import importlib
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from laju import shapes
from laju.arguments import number, shown, updates
from laju.arrays import Namespace, Scalar, counted
from laju.schedule import At, Duration, Schedule, compiled, node, put, time


@node
class Constant(Schedule):
    """The same value at every update, for `length` updates or without end.

    >>> Constant(0.1)(12)
    0.1
    """

    value: float
    length: Duration | None = time(default=None)

    def __post_init__(self) -> None:
        put(self, value=number("value", self.value), length=updates("length", self.length, real=True, optional=True))

    def _scalar(self) -> At:
        value = self.value
        return lambda t: value

    def _formula(self, begin: Any, bind: Callable[[Any], str]) -> str:
        return repr(self.value)

    def _array(self, t: Any, ns: Namespace) -> Any:
        return ns.full(t, self.value)

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        return np.full(stop - start, self.value)


@node
class Ramp(Schedule):
    """From `start` to `final` over `length` updates along a shape: start·fall(p) + final·rise(p) with p = t/length.

    At t = length the value is `final`, which then holds; the last update of the ramp, length - 1, is one short of it.

    Args:
        start: value at t = 0.
        final: value at t = length and ever after.
        length: updates, or text with a unit; 0 skips the ramp.
        shape: a name from `laju.shapes`, such as "linear", "cosine", "power(2)".
        first: p = (t+1)/length, so that no update is spent at `start` and the last one has `final`.
        endpoint: p = t/(length-1), so that the first update has `start` and the last one `final`, as in `numpy.linspace`.

    >>> Ramp(0, 1, 4).values(6), Ramp(0, 1, 4, first=True).values(4)
    (array([0.  , 0.25, 0.5 , 0.75, 1.  , 1.  ]), array([0.25, 0.5 , 0.75, 1.  ]))
    """

    start: float
    final: float
    length: Duration = time()
    shape: str = "linear"
    first: bool = False
    endpoint: bool = False

    def __post_init__(self) -> None:
        shape = shapes.shape(self.shape)
        put(
            self,
            start=number("start", self.start),
            final=number("final", self.final),
            length=updates("length", self.length, real=True),
            shape=shape.name,
        )
        for name in ("first", "endpoint"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {shown(getattr(self, name))}")
        if self.first and self.endpoint:
            raise ValueError("first=True already puts the final value on the last update; leave endpoint out")
        if shape.geometric and not self.start * self.final > 0:
            raise ValueError(
                f"start and final of an exponential ramp must be non-zero and of one sign, got {self.start!r} and {self.final!r}"
            )

    def _falls(self) -> bool:
        """Whether the value is written by the shape's fall, which is the accurate form when the larger end comes first."""
        return abs(self.start) >= abs(self.final)

    def _curve(self, done: Any, left: Any, n: Any, ns: Namespace) -> Any:
        """The values inside the ramp: exact at both ends, and without loss of digits near zero."""
        start, final, shape = self.start, self.final, shapes.shape(self.shape)
        if shape.geometric:
            return start * (final / start) ** (done / n)
        if self._falls():
            fall = shape.fall(done, left, n, ns)
            return start * fall + final * (1 - fall) if final else ns.scaled(fall, start)
        rise = shape.rise(done, left, n, ns)
        return start * (1 - rise) + final * rise if start else ns.scaled(rise, final)

    @property
    def _grid(self) -> tuple[int, Any]:
        """(lead, n) with p = (t + lead)/n."""
        return int(self.first), self.length - 1 if self.endpoint and self.length else self.length

    def _scalar(self) -> At:
        lead, n = self._grid
        start, final = self.start, self.final
        if n == 0:
            alone = 1 if self.length else 0  # endpoint=True with a single update: it is the start
            return lambda t: start if t < alone else final
        inside = replace(self, length=n, endpoint=False) if self.endpoint else self
        return compiled(lambda bind: f"{inside._formula(0, bind)} if t < {n - lead!r} else {final!r}")

    def _formula(self, begin: Any, bind: Callable[[Any], str]) -> str:
        """_curve for one number."""
        lead, n = self._grid
        start, final, shape = self.start, self.final, shapes.shape(self.shape)
        if self.endpoint or not n:  # which end before their length does
            return super()._formula(begin, bind)
        done, left = f"t - {begin - lead!r}" if begin != lead else "t", f"{begin - lead + n!r} - t"
        if shape.geometric:
            return f"{start!r} * {final / start!r} ** (({done}) / {n!r})"
        if self._falls():
            fall = f"{bind(shape.fall)}({done}, {left}, {n!r}, {bind(Scalar)})"
            if shape.name == "linear":
                fall = f"(({left}) / {n!r})"
            return f"{start!r} * (f := {fall}) + {final!r} * (1 - f)" if final else f"{start!r} * {fall}"
        rise = f"{bind(shape.rise)}({done}, {left}, {n!r}, {bind(Scalar)})"
        if shape.name == "linear":
            rise = f"(({done}) / {n!r})"
        return f"{start!r} * (1 - (r := {rise})) + {final!r} * r" if start else f"{final!r} * {rise}"

    def _array(self, t: Any, ns: Namespace) -> Any:
        lead, n = self._grid
        if n == 0:
            return ns.where(t < 1, ns.full(t, self.start if self.length else self.final), self.final)
        t = ns.upto(t, n - lead)
        done = ns.real(t) + lead if lead else ns.real(t)
        result = self._curve(done, ns.left(n - lead, t), float(n), ns)
        return ns.where(t >= n - lead, self.final, result) if ns.reaches(n) else result

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        lead, n = self._grid
        end = min(stop, max(start, int(-(-n // 1)) - lead))
        if n == 0 or end == start:
            return super()._range(start, stop) if n == 0 else np.full(stop - start, self.final)
        # Positions as floats are exact here up to 2^53, and spare NumPy a conversion of each.
        done = np.arange(start + lead, end + lead, dtype=np.float64 if end < 2**53 else np.int64)
        inside = self._curve(done, n - done, float(n), counted(0, 0)[1])
        if end == stop:
            return np.asarray(inside, dtype=np.float64)
        result = np.empty(stop - start)
        result[: end - start], result[end - start :] = inside, self.final
        return result


@node
class Exponential(Schedule):
    """start·factor^(t/every), without end.

    >>> Exponential(1.0, 0.5).values(4)
    array([1.   , 0.5  , 0.25 , 0.125])
    """

    start: float
    factor: float
    every: Duration = time(rounded=False, default=1)

    def __post_init__(self) -> None:
        put(
            self,
            start=number("start", self.start),
            factor=number("factor", self.factor, above=0),
            every=updates("every", self.every, zero=False, real=True),
        )

    length = None

    def _scalar(self) -> At:
        start, factor, every = self.start, self.factor, self.every
        if every == 1:
            return lambda t: start * factor**t
        return lambda t: start * factor ** (t / every)

    def _array(self, t: Any, ns: Namespace) -> Any:
        return self.start * self.factor ** (ns.real(t) / float(self.every))


@node
class Power(Schedule):
    """base·(offset + t/timescale)^-exponent, without end.

    >>> Power(1.0, 0.5).values(4)
    array([1.        , 0.70710678, 0.57735027, 0.5       ])
    """

    base: float
    exponent: float
    offset: float = 1.0
    timescale: Duration = time(rounded=False, default=1)

    def __post_init__(self) -> None:
        put(
            self,
            base=number("base", self.base),
            exponent=number("exponent", self.exponent),
            offset=number("offset", self.offset, above=0),
            timescale=updates("timescale", self.timescale, zero=False, real=True),
        )

    length = None

    def _scalar(self) -> At:
        base, exponent, offset, timescale = self.base, -self.exponent, self.offset, self.timescale
        if timescale == 1:
            return lambda t: base * (offset + t) ** exponent
        return lambda t: base * (offset + t / timescale) ** exponent

    def _array(self, t: Any, ns: Namespace) -> Any:
        return self.base * (self.offset + ns.real(t) / float(self.timescale)) ** -self.exponent


@node
class Table(Schedule):
    """Given values, one for every `every` updates, the last of which holds.

    `interpolation` "hold" keeps each value until the next; "linear" joins them by straight lines.

    >>> Table([1.0, 0.5, 0.1]).values(5), Table([1.0, 0.5], every=2, interpolation="linear").values(4)
    (array([1. , 0.5, 0.1, 0.1, 0.1]), array([1.  , 0.75, 0.5 , 0.5 ]))
    """

    entries: tuple[float, ...]
    every: Duration = time(rounded=False, default=1)
    interpolation: str = "hold"

    def __post_init__(self) -> None:
        if isinstance(self.entries, str) or not isinstance(self.entries, Iterable):
            raise TypeError(f"entries must be a sequence of numbers, got {shown(self.entries)}")
        entries = tuple(number(f"entries[{i}]", v) for i, v in enumerate(self.entries))
        if not entries:
            raise ValueError("entries must hold at least one number, got none")
        if self.interpolation not in ("hold", "linear"):
            raise ValueError(f"interpolation must be 'hold' or 'linear', got {shown(self.interpolation)}")
        put(self, entries=entries, every=updates("every", self.every, zero=False, real=True))

    @property
    def length(self) -> Duration:
        steps = len(self.entries) - (self.interpolation == "linear")
        return self.every * steps

    @cached_property
    def _numbers(self) -> npt.NDArray[np.float64]:
        return np.array(self.entries)

    def _scalar(self) -> At:
        entries, every, last = self.entries, self.every, len(self.entries) - 1
        if self.interpolation == "hold":
            return lambda t: entries[min(int(t // every), last)]

        def at(t: Any) -> float:
            i = int(t // every)
            if i >= last:
                return entries[last]
            x = (t - i * every) / every
            return float(entries[i] * (1 - x) + entries[i + 1] * x)

        return at

    def _array(self, t: Any, ns: Namespace) -> Any:
        every: Any = self.every
        last = len(self.entries) - 1
        i = ns.upto(ns.floor_divide(t, every), last)
        here = ns.take(self._numbers, i)
        if self.interpolation == "hold" or last == 0:
            return here
        x = ns.real(ns.upto(t, every * last) - i * every) / float(every)
        following = ns.take(self._numbers, ns.upto(i + 1, last))
        return ns.where(i >= last, here, here * (1 - x) + following * x)


@node
class Function(Schedule):
    """A function of one's own as a schedule: function(t), for `length` updates or without end.

    It is called with an int, or with an array inside JAX or torch. `function` may be its name, "module:name"; text, JSON and
    fingerprints need a function that can be imported by that. Reading a text with a function in it imports its module, so
    read only texts that you trust with that.

    >>> Function("math:sqrt")(9)
    3.0
    """

    function: Callable[[Any], Any] | str
    length: Duration | None = time(default=None)

    def __post_init__(self) -> None:
        if isinstance(self.function, str):
            put(self, function=_imported(self.function))
        if not callable(self.function):
            raise TypeError(f"function must be callable, or written 'module:name', got {shown(self.function)}")
        put(self, length=updates("length", self.length, real=True, optional=True))

    def _scalar(self) -> At:
        function: Any = self.function
        length = self.length
        if length is None:
            return lambda t: float(function(t))
        return lambda t: float(function(min(t, length)))

    def _array(self, t: Any, ns: Namespace) -> Any:
        if isinstance(t, np.ndarray | np.generic):
            at = self._at
            return np.array([at(i) for i in np.ravel(t).tolist()], dtype=np.float64).reshape(np.shape(t))
        function: Any = self.function
        return function(t if self.length is None else ns.upto(t, self.length))


@node
class Rectification(Schedule):
    """RAdam's factor for updates whose adaptive rate has too large a variance, from the first one for which it is finite.

    With n = t + m, where m is the smallest number with ρ(m) > 4:
    √((ρ(n) - 4)(ρ(n) - 2)ρ∞ / ((ρ∞ - 4)(ρ∞ - 2)ρ(n))), ρ(n) = ρ∞ - 2n·β₂ⁿ/(1 - β₂ⁿ), ρ∞ = 2/(1 - β₂) - 1.

    >>> Rectification(0.99)(0)
    0.054471...
    """

    beta2: float

    def __post_init__(self) -> None:
        put(self, beta2=number("beta2", self.beta2, above=0.6, below=1))

    length = None

    @cached_property
    def _constants(self) -> tuple[float, float, float, int]:
        """-ln β₂ / 2, ρ∞ + 2/ln β₂ (which cancel in floats), ρ∞, and m."""
        with decimal.localcontext(prec=50):
            beta2 = Decimal(repr(self.beta2))
            limit, rate = 2 / (1 - beta2) - 1, -beta2.ln()
            first = next(n for n in itertools.count(1) if limit - 2 * n * beta2**n / (1 - beta2**n) > 4)
            return float(rate / 2), float(limit - 2 / rate), float(limit), first

    def _factor(self, n: Any, x: Any, langevin: Any, sqrt: Any) -> Any:
        """ρ(n) is the sum of two terms without cancellation, with langevin = 1 - coth x + 1/x at x = n·(-ln β₂)/2."""
        _, rest, limit, _ = self._constants
        rho = rest + n * langevin
        return sqrt((rho - 4) / (limit - 4) * ((rho - 2) / (limit - 2)) * (limit / rho))

    def _scalar(self) -> At:
        rate, _, _, first = self._constants

        def at(t: Any) -> float:
            n = t + first
            x = n * rate
            return float(self._factor(n, x, _near(x) if x < 1 else _far(x, Scalar), math.sqrt))

        return at

    def _array(self, t: Any, ns: Namespace) -> Any:
        rate, _, _, first = self._constants
        n = ns.real(t) + first
        x = n * rate
        return self._factor(n, x, ns.where(x < 1, _near(x), _far(x, ns)), ns.xp.sqrt)


def _near(x: Any) -> Any:
    """1 - (coth x - 1/x) by Lambert's continued fraction, which has converged for x < 1."""
    fraction: Any = 0
    for k in range(17, 1, -2):
        fraction = x * x / (k + fraction)
    return 1 - fraction / x


def _far(x: Any, xp: Any) -> Any:
    return 1 / x + 2 * xp.exp(-2 * x) / xp.expm1(-2 * x)


def importable_name(function: Callable[..., Any]) -> str:
    """`module:name` of a function that can be imported again by it.

    Raises:
        ValueError: it cannot be, as a lambda or a function inside another cannot.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if module and name and module != "__main__" and "<" not in name:
        try:
            if _imported(f"{module}:{name}") is function:
                return f"{module}:{name}"
        except ValueError:
            pass
    # A NumPy ufunc has no qualified name in older releases.
    if isinstance(function, np.ufunc) and getattr(np, function.__name__, None) is function:
        return f"numpy:{function.__name__}"
    raise ValueError(
        f"{shown(function)} cannot be written down: only a function that can be imported by its name can be, "
        "so define it with def at the top level of a module"
    )


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    if not module or not path:
        raise ValueError(f"function must be written 'module:name', got {shown(name)}")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"function {name!r} cannot be imported: {error}") from None
    return found
