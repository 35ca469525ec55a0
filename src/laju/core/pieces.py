"""The pieces that schedules are made of, each a value over its own local time from 0."""

from __future__ import annotations

import dataclasses
import decimal
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core import limits, shapes
from laju.core.arrays import Namespace, Scalar, counted
from laju.core.checks import number, shown
from laju.core.functions import DataName, checked_name, importable_name, imported
from laju.core.node import Duration, ScalarFunction, checked, choice, compile_expression, flag, node, real, span
from laju.core.outline import Form, Geometric, InversePower, Level, Part, Transition
from laju.core.schedule import Schedule
from laju.core.units import Length


@node
class Constant(Schedule):
    """The same value at every update, for `length` updates or without end.

    >>> Constant(0.1)(12)
    0.1
    """

    value: float = real(scales=True)
    length: Duration | None = span(default=None)

    @property
    def form(self) -> Form:
        return Level(self.value)

    @property
    def level(self) -> float:
        return self.value

    def _bound(self) -> float:
        return abs(self.value)

    def _initial(self) -> float:
        return self.value

    def _scalar(self) -> ScalarFunction:
        value = self.value
        return lambda t: value

    def _formula(self, begin: Any, bind: Callable[[Any], str]) -> str:
        return repr(self.value)

    def _array(self, t: Any, ns: Namespace) -> Any:
        return ns.full(t, self.value)

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        return np.full(stop - start, self.value)

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        yield Part(0, math.inf, self if self.length is None else Constant(self.value), 0, self)

    def _raised(self, by: float) -> Schedule:
        return Constant(self.value + by, self.length)


def _shape_name(name: str, value: Any) -> str:
    return shapes.shape(value).name


@node
class Ramp(Schedule):
    """A ramp from `start` to `final` over `length` updates along a shape: start·fall(p) + final·rise(p) with p = t/length.

    The value reaches `final` at t = length and stays there; update length - 1 is the last before `final`.

    Args:
        start: value at t = 0.
        final: value at t = length and from then on.
        length: updates, or text with a unit; 0 skips the ramp.
        shape: a name from `laju.core.shapes`, such as "linear", "cosine", "power(2)".
        first: use p = (t+1)/length, so that no update is spent at `start` and the last update has `final`.
        endpoint: use p = t/(length-1), so that the first update has `start` and the last `final`, as in `numpy.linspace`.

    >>> Ramp(0, 1, 4).values(6), Ramp(0, 1, 4, first=True).values(4)
    (array([0.  , 0.25, 0.5 , 0.75, 1.  , 1.  ]), array([0.25, 0.5 , 0.75, 1.  ]))
    """

    start: float = real(scales=True)
    final: float = real(scales=True)
    length: Duration = span()
    shape: str = checked(_shape_name, {"$ref": "#/$defs/shape"}, default="linear")
    first: bool = flag(default=False)
    endpoint: bool = flag(default=False)
    monotone = True

    @property
    def form(self) -> Form:
        return Transition(self.start, self.final, self.length, self.shape)

    def _check(self) -> None:
        if self.first and self.endpoint:
            raise ValueError("first=True already puts the final value on the last update; leave endpoint out")
        start, final = self.start, self.final
        if shapes.shape(self.shape).geometric and (start == 0 or final == 0 or (start > 0) != (final > 0)):
            raise ValueError(
                f"start and final of an exponential ramp must be non-zero and of one sign, got {start!r} and {final!r}"
            )

    def _bound(self) -> float:
        return max(abs(self.start), abs(self.final))

    def _initial(self) -> float:
        return self.start if self.length and not self.first else super()._initial()

    def _falls(self) -> bool:
        """Whether the value is written by the shape's fall, which is the accurate form when the larger end comes first."""
        return abs(self.start) >= abs(self.final)

    def _curve(self, done: Any, left: Any, n: Any, ns: Namespace) -> Any:
        """The values inside the ramp: exact at both ends, and without loss of digits near zero."""
        start, final, shape = self.start, self.final, shapes.shape(self.shape)
        if shape.geometric:
            ratio = final / start
            if not 0 < ratio < math.inf:  # the ratio leaves the floats, although no value does
                return start * ns.exp((math.log(abs(final)) - math.log(abs(start))) * (done / n))
            return start * ratio ** (done / n)
        if self._falls():
            fall = shape.fall(done, left, n, ns)
            return start * fall + final * (1 - fall) if final else ns.scaled(fall, start)
        rise = shape.rise(done, left, n, ns)
        return start * (1 - rise) + final * rise if start else ns.scaled(rise, final)

    @property
    def grid(self) -> tuple[int, Any]:
        """(lead, n) with p = (t + lead)/n."""
        if self.endpoint and self.length:
            return 0, self.length - 1 if isinstance(self.length, Length) else max(self.length - 1, 0)
        return int(self.first), self.length

    def _scalar(self) -> ScalarFunction:
        lead, n = self.grid
        start, final = self.start, self.final
        if n == 0:
            alone = 1 if self.length else 0  # endpoint=True with a single update: the value is `start`
            return lambda t: start if t < alone else final
        return compile_expression(lambda bind: f"{self._inside(0, bind)} if t < {n - lead!r} else {final!r}")

    def _formula(self, begin: Any, bind: Callable[[Any], str]) -> str:
        lead, n = self.grid
        if self.endpoint or not n:
            return super()._formula(begin, bind)
        inside = self._inside(begin, bind)
        # With first=True the curve is over one update before the length is, which numbers between two updates see.
        return f"({inside} if t < {begin + n - lead!r} else {self.final!r})" if lead else inside

    def _inside(self, begin: Any, bind: Callable[[Any], str]) -> str:
        """`_curve` for a number, as an expression in t of a ramp that begins at `begin`."""
        lead, n = self.grid
        start, final, shape = self.start, self.final, shapes.shape(self.shape)
        done, left = f"t - {begin - lead!r}" if begin != lead else "t", f"{begin - lead + n!r} - t"
        if shape.geometric:
            if not 0 < final / start < math.inf:
                rate = math.log(abs(final)) - math.log(abs(start))
                return f"{start!r} * {bind(math.exp)}({rate!r} * (({done}) / {n!r}))"
            return f"{start!r} * {final / start!r} ** (({done}) / {n!r})"
        # `f` and `r` are local to the compiled lambda, and a branch of a chain sets its own before it reads it, so parts may
        # share the names. By name, the shape is computed once though used twice.
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
        lead, n = self.grid
        if n == 0:
            return ns.where(t < 1, ns.full(t, self.start if self.length else self.final), self.final)
        t = ns.upto(t, n - lead)
        done = ns.real(t) + lead if lead else ns.real(t)
        result = self._curve(done, ns.left(n - lead, t), float(n), ns)
        return ns.where(t >= ns.whole(n - lead), self.final, result) if ns.reaches(n) else result

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        lead, n = self.grid
        end = min(stop, max(start, int(-(-n // 1)) - lead))
        if n == 0 or end == start:
            return super()._range(start, stop) if n == 0 else np.full(stop - start, self.final)
        if end >= 2**53:
            return super()._range(start, stop)
        # Positions as floats are exact up to 2^53, and spare NumPy a conversion of each.
        done = np.arange(start + lead, end + lead, dtype=np.float64)
        inside = self._curve(done, n - done, float(n), counted(0, 0)[1])
        if end == stop:
            return np.asarray(inside, dtype=np.float64)
        result = np.empty(stop - start)
        result[: end - start], result[end - start :] = inside, self.final
        return result

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        lead, n = self.grid
        stop = n - lead if n else 1 if self.length else 0
        if not n:
            yield from [Part(0, 1, Constant(self.start), 0, self)] if stop else []
        elif begin < stop:
            plain = self if not lead and n == self.length else Ramp(self.start, self.final, n, self.shape)
            yield Part(0, stop, plain, -lead, self)
        if stop < end:
            yield Part(stop, math.inf, Constant(self.final), stop, self)

    def _times(self, change: Callable[[float], float], by: float) -> Schedule:
        return Constant(0.0, self.length) if by == 0 else super()._times(change, by)

    def _raised(self, by: float) -> Schedule | None:
        if shapes.shape(self.shape).geometric:
            return None
        return dataclasses.replace(self, start=self.start + by, final=self.final + by)


@node
class Exponential(Schedule):
    """Geometric decay or growth without end: start·factor^(t/every).

    >>> Exponential(1.0, 0.5).values(4)
    array([1.   , 0.5  , 0.25 , 0.125])
    """

    start: float = real(scales=True)
    factor: float = real(above=0)
    every: Duration = span(zero=False, rounded=False, default=1)

    length = None
    monotone = True

    @property
    def form(self) -> Form:
        return Geometric(self.start, self.factor, self.every)

    def _bound(self) -> float:
        return abs(self.start) if self.factor <= 1 else math.inf

    def _initial(self) -> float:
        return self.start

    def _scalar(self) -> ScalarFunction:
        start, factor, every = self.start, self.factor, self.every
        if every == 1:
            return lambda t: start * factor**t
        return lambda t: start * factor ** (t / every)

    def _array(self, t: Any, ns: Namespace) -> Any:
        if ns.single:
            # float32 has 8 digits of the base, and 10^6 updates leave 2 of these; so the logarithm comes in two parts.
            rate = math.log(self.factor) / float(self.every)
            high = float(np.float32(rate))
            return self.start * ns.exp(ns.real(t) * high + ns.real(t) * (rate - high))
        return self.start * self.factor ** (ns.real(t) / float(self.every))


@node
class Power(Schedule):
    """Inverse-power decay without end: base·(offset + t/timescale)^-exponent.

    >>> Power(1.0, 0.5).values(4)
    array([1.        , 0.70710678, 0.57735027, 0.5       ])
    """

    base: float = real(scales=True)
    exponent: float = real()
    offset: float = real(default=1.0, above=0)
    timescale: Duration = span(zero=False, rounded=False, default=1)

    length = None
    monotone = True

    @property
    def form(self) -> Form:
        return InversePower(self.base, self.exponent, self.offset, self.timescale)

    def _bound(self) -> float:
        if self.exponent < 0:
            return math.inf
        try:
            return float(abs(self.base * self.offset**-self.exponent))
        except OverflowError:
            return math.inf

    def _scalar(self) -> ScalarFunction:
        base, exponent, offset, timescale = self.base, -self.exponent, self.offset, self.timescale
        if timescale == 1:
            return lambda t: base * (offset + t) ** exponent
        return lambda t: base * (offset + t / timescale) ** exponent

    def _array(self, t: Any, ns: Namespace) -> Any:
        return self.base * (self.offset + ns.real(t) / float(self.timescale)) ** -self.exponent


def _entries(name: str, values: Any) -> tuple[float, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of numbers, got {shown(values)}")
    found = tuple(itertools.islice(values, limits.ITEMS + 1))
    if not found:
        raise ValueError(f"{name} must hold at least one number, got none")
    if len(found) > limits.ITEMS:
        raise ValueError(f"{name} must hold at most {limits.ITEMS:,} numbers, got more")
    if all(value.__class__ is float for value in found) and np.isfinite(found).all():
        return found
    return tuple(number(f"{name}[{i}]", value) for i, value in enumerate(found))


@node
class Table(Schedule):
    """A table of values, a value for every `every` updates; the last value holds from then on.

    The `interpolation` "hold" keeps each value until the next value; "linear" joins the values by straight lines.

    >>> Table([1.0, 0.5, 0.1]).values(5), Table([1.0, 0.5], every=2, interpolation="linear").values(4)
    (array([1. , 0.5, 0.1, 0.1, 0.1]), array([1.  , 0.75, 0.5 , 0.5 ]))
    """

    entries: tuple[float, ...] = checked(
        _entries, {"type": "array", "items": {"type": "number"}, "minItems": 1}, scales=True
    )
    every: Duration = span(zero=False, rounded=False, default=1)
    interpolation: str = choice("hold", "linear", default="hold")

    def _bound(self) -> float:
        return float(np.abs(self._numbers).max())

    @property
    def length(self) -> Duration:
        steps = len(self.entries) - (self.interpolation == "linear")
        return self.every * steps

    @cached_property
    def _numbers(self) -> npt.NDArray[np.float64]:
        return np.array(self.entries)

    def _scalar(self) -> ScalarFunction:
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
        every: Any = ns.whole(self.every)
        last = len(self.entries) - 1
        i = ns.upto(ns.floor_divide(t, every), last)
        here = ns.take(self._numbers, i)
        if self.interpolation == "hold" or last == 0:
            return here
        # Where an entry outlasts the counter, only the first entry is ever reached.
        done = ns.upto(t, every * last) - i * every if ns.reaches(every) else t
        x = ns.real(done) / float(every)
        following = ns.take(self._numbers, ns.upto(i + 1, last))
        return ns.where(i >= last, here, here * (1 - x) + following * x)

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        entries, every, last = self.entries, self.every, len(self.entries) - 1
        hold = self.interpolation == "hold"
        for i in range(min(int(begin // every), last), last):
            if i * every >= end:
                return
            a, b = entries[i], entries[i + 1]
            piece = Constant(a) if hold or a == b else Ramp(a, b, every)
            yield Part(i * every, (i + 1) * every, piece, i * every, self, how="listed")
        yield Part(last * every, math.inf, Constant(entries[last]), last * every, self, how="listed")


def _function(name: str, value: Any) -> Any:
    """A function by its importable name where possible, so that both ways to write the function give equal schedules."""
    if isinstance(value, str):
        return value if isinstance(value, DataName) and checked_name(value) else checked_name(value)
    if not callable(value):
        raise TypeError(f"{name} must be callable, or written 'module:name', got {shown(value)}")
    try:
        return importable_name(value)
    except ValueError:  # a lambda, say, which has values but no text
        return value


@node
class Function(Schedule):
    """A user's function as a schedule: function(t), for `length` updates or without end.

    The function is called with an int, or with an array inside JAX or torch. A function given by its name, "module:name", is
    imported for the first value. Text, JSON and fingerprints need a function that can be imported by its name. A name that was
    read from a text, JSON or a checkpoint is never imported, unless the reader was called with `functions=True`.

    Raises:
        ValueError: at the first value, if the name cannot be imported, or was read from data.

    >>> Function("math:sqrt")(9)
    3.0
    """

    function: Callable[[Any], Any] | str = checked(
        _function, {"type": "string", "pattern": r"^[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*$"}
    )
    length: Duration | None = span(default=None)

    def _bound(self) -> None:
        return None

    @cached_property
    def _called(self) -> Callable[[Any], Any]:
        name: Any = self.function
        if isinstance(name, DataName):
            raise ValueError(
                f"the function {name!r} was read from data, and is not imported: if you trust it with that, read it with "
                "laju.parse(text, functions=True) or laju.from_json(data, functions=True), --functions on the command line"
            )
        found: Any = imported(name) if isinstance(name, str) else name
        if not callable(found):
            raise ValueError(f"function must name something that can be called, but {name!r} is {shown(found)}")
        return found  # type: ignore[no-any-return]

    def _scalar(self) -> ScalarFunction:
        function = self._called
        length = self.length
        if length is None:
            return lambda t: float(function(t))
        return lambda t: float(function(min(t, length)))

    def _array(self, t: Any, ns: Namespace) -> Any:
        if isinstance(t, np.ndarray | np.generic):
            at = self._at
            return np.array([at(i) for i in np.ravel(t).tolist()], dtype=np.float64).reshape(np.shape(t))
        return self._called(t if self.length is None else ns.upto(t, self.length))


def calls_functions(schedule: Schedule) -> bool:
    """Whether the schedule contains a `Function`, so that values come from a user's function."""
    return isinstance(schedule, Function) or any(map(calls_functions, schedule.children))


@node
class Rectification(Schedule):
    """RAdam's rectification of the adaptive rate's variance, a factor, from the first update at which the factor is finite.

    With n = t + m, where m is the smallest number with ρ(m) > 4:
    √((ρ(n) - 4)(ρ(n) - 2)ρ∞ / ((ρ∞ - 4)(ρ∞ - 2)ρ(n))), ρ(n) = ρ∞ - 2n·β₂ⁿ/(1 - β₂ⁿ), ρ∞ = 2/(1 - β₂) - 1.

    >>> Rectification(0.99)(0)
    0.054471...
    """

    beta2: float = real(above=0.6, below=1)

    length = None
    monotone = True

    def _bound(self) -> float:
        return 1.0

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

    def _scalar(self) -> ScalarFunction:
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
