"""Schedule: a function of the number of completed updates, as an immutable value.

`s(t)` is the value that the next update uses after `t` completed ones. Pieces are half-open, the last value holds for ever,
and calling has no side effect. Subclasses in `pieces` and `algebra` say what the value is; this file says how a schedule is
called, combined and compared.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, dataclass_transform

import numpy as np
import numpy.typing as npt

from laju.arguments import is_number, shown, whole
from laju.arrays import Namespace, counted, namespace
from laju.units import Length, RunPlan, Scale, Span, UnresolvedError, nearest_update

if TYPE_CHECKING:
    from laju.algebra import Chain, Product, Sum

At = Callable[[Any], float]
Duration = Any
"""A length of a schedule: whole updates (a real number where a stretch made it so), or a `Length` in units. Constructors take
text as well, which type checkers could not tell from what the field then holds."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def node(cls: type[T]) -> type[T]:
    """A schedule class: a frozen dataclass whose text is its expression."""
    return dataclasses.dataclass(frozen=True, repr=False)(cls)


def time(*, rounded: bool = True, default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field that is a length of time; `rounded` to whole updates when a plan resolves it."""
    return dataclasses.field(default=default, metadata={"time": "rounded" if rounded else "real"})


class Schedule:
    """A value for each number of completed updates, from 0; immutable, comparable, and printed as the text that makes it.

    Call it with an int for a float, or with an integer array of NumPy, torch or JAX for an array of that kind.

    >>> from laju import cosine
    >>> s = cosine(0.3, total=20, final=0.01, warmup=5)
    >>> s(0), s(5), s(20), s(1000)
    (0.0, 0.3, 0.01, 0.01)
    >>> s
    Ramp(0.0, 0.3, 5) >> Ramp(0.3, 0.01, 15, 'cosine')
    """

    _method: ClassVar[str | None] = None  # printed as a method of the first field
    _operator: ClassVar[str | None] = None  # printed between the parts

    __array_ufunc__ = None  # NumPy's numbers leave `number * schedule` to the schedule

    # --- calling -------------------------------------------------------------------------------------------------

    def __call__(self, t: Any) -> Any:
        if t.__class__ is int and t >= 0:
            return self._at(t)
        return self._call(t)

    def _call(self, t: Any) -> Any:
        if isinstance(t, bool):
            raise TypeError(f"t must be a number of completed updates, got {t!r}")
        if isinstance(t, numbers.Real):
            if isinstance(t, numbers.Integral):
                t = int(t)
            else:
                t = float(t)
                if not math.isfinite(t):
                    raise ValueError(f"t must be finite, got {t!r}")
            if t < 0:
                raise ValueError(f"t must be 0 or more, got {t!r}: a schedule has no value before update 0")
            return self._at(t)
        self._need_resolved()
        t, ns = namespace(t)
        with np.errstate(divide="ignore"):
            return self._array(t, ns)

    def values(self, n: int, start: int = 0) -> npt.NDArray[np.float64]:
        """The values of `n` updates from `start` on: s(start) … s(start + n - 1), in float64.

        >>> from laju import linear
        >>> linear(1, 0, total=4).values(6)
        array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
        """
        n, start = whole("n", n), whole("start", start)
        self._need_resolved()
        with np.errstate(divide="ignore"):
            return self._range(start, start + n)

    @cached_property
    def _at(self) -> At:
        self._need_resolved()
        return self._scalar()

    def _scalar(self) -> At:
        """The value at one Python number as a closure, which is the quickest that Python can call."""
        raise NotImplementedError  # every subclass has its own

    def _formula(self, begin: Any, bind: Callable[[Any], str]) -> str:
        """The value as a Python expression in t, for a schedule that begins at `begin` of a longer one; right for
        begin ≤ t < begin + length. `bind` names an object in it."""
        return f"{bind(self._scalar())}(t - {begin!r})"

    def _array(self, t: Any, ns: Namespace) -> Any:
        """The values at an array of positions that are 0 or more."""
        raise NotImplementedError  # every subclass has its own

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """The values of consecutive updates; composites compute each part only where it is in force."""
        t, ns = counted(start, stop)
        result: npt.NDArray[np.float64] = self._array(t, ns)
        return result

    # --- length and units ----------------------------------------------------------------------------------------

    if TYPE_CHECKING:  # some subclasses have it as a field, others compute it

        @property
        def length(self) -> Duration | None:
            """Updates until the last value is reached and holds; None when there is no end."""

    @cached_property
    def units(self) -> frozenset[str]:
        """The units that a `RunPlan` must turn into updates before the schedule has values; empty when resolved."""
        found: set[str] = set()
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Length):
                found.update(unit for unit, _ in value.terms if unit != "updates")
            for child in value if isinstance(value, tuple) else (value,):
                if isinstance(child, Schedule):
                    found |= child.units
        return frozenset(found)

    def _need_resolved(self) -> None:
        if self.units:
            raise UnresolvedError(
                f"{shown(self)} has no values yet: its lengths are in {', '.join(sorted(self.units))}. "
                "Say what the run is: schedule.resolve(RunPlan(samples=…, batch_size=…, epochs=…))"
            )

    def resolve(self, plan: RunPlan) -> Schedule:
        """The schedule with every length in updates of that run; boundaries are rounded to the nearest update.

        >>> from laju import RunPlan, cosine
        >>> cosine(0.3, total="100%", warmup="5 epochs").resolve(RunPlan(samples=1000, batch_size=10, epochs=20))
        Ramp(0.0, 0.3, 500) >> Ramp(0.3, 0.0, 1500, 'cosine')
        """
        if not isinstance(plan, RunPlan):
            raise TypeError(f"plan must be a RunPlan, got {shown(plan)}")
        if plan.batch_ramp and self.units:
            from laju.clocks import on_data

            return on_data(self, plan)
        return self._resolve(plan.scale)

    def _resolve(self, scale: Scale) -> Schedule:
        def resolved(value: Duration, kind: str) -> Duration:
            if not isinstance(value, Length):
                return value
            exact = scale.updates(value)
            if kind == "rounded":
                return nearest_update(exact)
            return int(exact) if exact.denominator == 1 else float(exact)

        return self._rebuild(lambda child: child._resolve(scale), resolved) if self.units else self

    def _rebuild(
        self, child: Callable[[Schedule], Schedule], length: Callable[[Duration, str], Duration] | None = None
    ) -> Self:
        """The same expression with other children and lengths."""
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Schedule):
                changes[field.name] = child(value)
            elif isinstance(value, tuple) and value and isinstance(value[0], Schedule):
                changes[field.name] = tuple(child(part) for part in value)
            elif value is not None and length is not None and "time" in field.metadata:
                changes[field.name] = length(value, field.metadata["time"])
        return dataclasses.replace(self, **changes) if changes else self  # type: ignore[type-var]

    # --- algebra -------------------------------------------------------------------------------------------------

    def then(self, other: Schedule | float) -> Chain:
        """This schedule for its length, then the other one on its own clock; also written `a >> b`."""
        from laju.algebra import Chain

        return Chain((self, _schedule(other)))

    def __rshift__(self, other: Any) -> Chain:
        return self.then(other) if isinstance(other, Schedule) or is_number(other) else NotImplemented

    def __rrshift__(self, other: Any) -> Chain:
        return _schedule(other).then(self) if is_number(other) else NotImplemented

    def __mul__(self, other: Any) -> Product:
        from laju.algebra import Product

        return Product((self, _schedule(other))) if isinstance(other, Schedule) or is_number(other) else NotImplemented

    def __rmul__(self, other: Any) -> Product:
        return _schedule(other) * self if is_number(other) else NotImplemented

    def __add__(self, other: Any) -> Sum:
        from laju.algebra import Sum

        return Sum((self, _schedule(other))) if isinstance(other, Schedule) or is_number(other) else NotImplemented

    def __radd__(self, other: Any) -> Sum:
        return _schedule(other) + self if is_number(other) else NotImplemented

    def minimum(self, other: Schedule | float) -> Schedule:
        """The smaller of the two at every update."""
        from laju.algebra import Minimum

        return Minimum((self, _schedule(other)))

    def maximum(self, other: Schedule | float) -> Schedule:
        """The larger of the two at every update."""
        from laju.algebra import Maximum

        return Maximum((self, _schedule(other)))

    def scale(self, by: float) -> Schedule:
        """The schedule times a number: `by * schedule`."""
        return self * by

    def clip(self, low: float | None = None, high: float | None = None, relative: bool = False) -> Schedule:
        """The value kept between two bounds, which are absolute or, with `relative`, fractions of the schedule's peak.

        >>> from laju import linear
        >>> linear(2, 0, total=4).clip(0.1, 0.75, relative=True).values(5)
        array([1.5, 1.5, 1. , 0.5, 0.2])
        """
        from laju.algebra import clip

        return clip(self, low, high, relative)

    def take(self, length: Span) -> Schedule:
        """Only the first `length` updates, after which the value there holds: s(min(t, length)).

        >>> from laju import constant
        >>> (constant(0.5).take(3) >> 0.3).values(5)
        array([0.5, 0.5, 0.5, 0.3, 0.3])
        """
        from laju.algebra import Take

        return Take(self, length)

    def overlay(self, under: Schedule | float) -> Schedule:
        """This schedule for its length; then `under`, which has been running underneath on the same clock."""
        from laju.algebra import Overlay

        return Overlay(self, _schedule(under))

    def shift(self, by: int) -> Schedule:
        """The schedule `by` updates later, its first value held until then; a negative shift skips its first updates."""
        from laju.algebra import Shift

        return Shift(self, by)

    def stretch(self, by: float) -> Schedule:
        """The schedule `by` times as long: s(t / by)."""
        from laju.algebra import stretch

        return stretch(self, by)

    def staircase(self, every: Span) -> Schedule:
        """The value held for `every` updates at a time: s(every·⌊t/every⌋)."""
        from laju.algebra import Staircase

        return Staircase(self, every)

    def reverse(self) -> Schedule:
        """The schedule backwards in time: s(length - t)."""
        from laju.algebra import Reverse

        return Reverse(self)

    def repeat(self, count: int | None = None, growth: float = 1, decay: float = 1, mirror: bool = False) -> Schedule:
        """The schedule over and over: `count` times or for ever, each time `growth` times as long and `decay` times as high.

        >>> from laju import linear
        >>> linear(1, 0, total=2).repeat(decay=0.5).values(6)
        array([1.   , 0.5  , 0.5  , 0.25 , 0.25 , 0.125])
        """
        from laju.algebra import Repeat

        return Repeat(self, count, growth, decay, mirror)

    def per(self, unit: str, smooth: bool = False) -> Schedule:
        """Read this schedule's own clock in epochs (or another unit) instead of updates.

        The value of epoch e is in force during the whole epoch; with `smooth`, time runs continuously: s(t / updates per epoch).

        >>> from laju import RunPlan, linear
        >>> s = linear(1, 0, total=2).per("epoch").resolve(RunPlan(samples=6, batch_size=2, epochs=2))
        >>> s.values(7)
        array([1. , 1. , 1. , 0.5, 0.5, 0.5, 0. ])
        """
        from laju.algebra import Per

        return Per(self, unit, smooth)

    def warmup(
        self,
        length: Span,
        start: float | None = None,
        *,
        how: Literal["then", "overlay", "times"] = "then",
        shape: str = "linear",
        first: bool = False,
    ) -> Schedule:
        """A warmup of `length` updates before (`then`), over (`overlay`) or as a factor of (`times`) this schedule.

        See `laju.policies.warmup`.
        """
        from laju.policies import warmup

        return warmup(self, length, start, how=how, shape=shape, first=first)

    # --- value semantics -----------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """A hash of the schedule's canonical JSON: the same in every process and on every machine."""
        from laju.spec import fingerprint

        return fingerprint(self)

    def to_json(self) -> dict[str, Any]:
        """The schedule as a versioned JSON object, which `laju.from_json` reads."""
        from laju.spec import to_json

        return to_json(self)

    def _fields(self) -> Mapping[str, Any]:
        """The fields that differ from their defaults, in order."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        values = {field.name: getattr(self, field.name) for field in fields}
        return {
            f.name: values[f.name] for f in fields if f.default is dataclasses.MISSING or values[f.name] != f.default
        }

    def __repr__(self) -> str:
        if self._operator:
            parts: tuple[Schedule, ...] = self.parts  # type: ignore[attr-defined]
            if 2 <= len(parts) <= 20:
                return f" {self._operator} ".join(part._operand() for part in parts)
        order = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        arguments = []
        for i, (name, value) in enumerate(self._fields().items()):
            text = _text(value)
            arguments.append(text if name == order[i] else f"{name}={text}")
        if self._method:
            receiver = self.child._operand()  # type: ignore[attr-defined]
            return f"{receiver}.{self._method}({', '.join(arguments[1:])})"
        return f"{type(self).__name__}({', '.join(arguments)})"

    def _operand(self) -> str:
        text = repr(self)
        return f"({text})" if self._operator and 2 <= len(self.parts) <= 20 else text  # type: ignore[attr-defined]

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """The curve and the text, for notebooks."""
        from laju.notebook import html

        return html(self)

    def __getstate__(self) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in vars(self).items() if name in names}  # what is cached stays behind


def _text(value: Any) -> str:
    if isinstance(value, Length):
        return repr(str(value))
    if callable(value) and not isinstance(value, Schedule):
        from laju.pieces import importable_name

        try:
            return repr(importable_name(value))
        except ValueError:
            pass  # it has no text that rebuilds it, but it can still be looked at
    return repr(value)


def compiled(formula: Callable[[Callable[[Any], str]], str]) -> At:
    """A function of t from its expression: parts that are put together as text cost no call each."""
    names: dict[str, Any] = {}

    def bind(value: Any) -> str:
        name = f"_{len(names)}"
        names[name] = value
        return name

    function: At = eval(f"lambda t: {formula(bind)}", names)
    return function


def put(self: object, **values: Any) -> None:
    """Set fields of a frozen node while it is being made."""
    for name, value in values.items():
        object.__setattr__(self, name, value)


def _schedule(value: Schedule | float) -> Schedule:
    """A number is a constant schedule."""
    from laju.pieces import Constant

    return value if isinstance(value, Schedule) else Constant(value)
