"""Schedule: a function of the number of completed updates, as an immutable value.

`s(t)` is the value that the next update uses after `t` completed updates. Pieces are half-open, the last value holds forever,
and calling has no side effect. Subclasses in `pieces`, `clocks` and `algebra` define the value; this file defines how a
schedule is called, combined, compared and printed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import numbers
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from inspect import Signature, signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from laju.core import limits, written
from laju.core.arrays import Namespace, counted, namespace
from laju.core.checks import SpecError, is_number, number, shown, whole
from laju.core.functions import importable_name
from laju.core.node import HOOKS, METHODS, NODES, Duration, Node, ScalarFunction
from laju.core.outline import Form, Part
from laju.core.units import Length, RunPlan, Scale, Span, UnresolvedError, nearest_update
from laju.core.written import Method, Operation, Written

VERSION = 1
"""The version of the JSON form."""


class Schedule(Node):
    """A value for each number of completed updates, from 0; immutable, comparable, and printed as written.

    A schedule called with an int gives a float; with an integer array of NumPy, torch or JAX, an array of that kind.

    >>> from laju import cosine
    >>> s = cosine(0.3, total=20, final=0.01, warmup=5)
    >>> s(0), s(5), s(20), s(1000)
    (0.0, 0.3, 0.01, 0.01)
    >>> s, s * 0.5 >> 0.001
    (cosine(0.3, total=20, final=0.01, warmup=5), cosine(0.3, total=20, final=0.01, warmup=5) * 0.5 >> 0.001)
    """

    _method: ClassVar[str | None] = None  # the normal form is printed as a method of the first field
    _operator: ClassVar[str | None] = None  # the normal form is printed between the parts
    _written: Written | None = None  # see `laju.core.written`
    monotone: ClassVar[bool] = False
    """Whether the values only rise or only fall."""

    __array_ufunc__ = None  # NumPy's numbers leave `number * schedule` to the schedule

    @classmethod
    def adopt(cls, made: type[Any]) -> None:
        """Add to `Schedule` the method under which a class of nodes is printed."""
        name = made._method
        METHODS[name] = made
        if hasattr(Schedule, name):
            return

        # A class outside the core cannot add its method to this file, so the method is made from the signature of the class.
        def called(self: Schedule, *args: Any, **keywords: Any) -> Schedule:
            return self._apply(name, *args, **keywords)

        child, *others = signature(made).parameters.values()
        called.__signature__ = Signature([child.replace(name="self"), *others])  # type: ignore[attr-defined]
        called.__name__, called.__doc__ = name, made.__doc__
        setattr(Schedule, name, called)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if "check" in field.metadata:
                value = field.metadata["check"](field.name, getattr(self, field.name))
                # Checks also bring values into canonical form ("5 epochs" becomes a `Length`), on which equality, hash and text
                # rely.
                object.__setattr__(self, field.name, value)
        self._check()
        depth, size = self._extent
        if depth > limits.DEPTH:
            raise ValueError(f"schedules may lie at most {limits.DEPTH} deep inside one another, got {depth}")
        if size > limits.ITEMS:
            raise ValueError(f"a schedule may be made of at most {limits.ITEMS:,} schedules, got {size:,}")

    def _check(self) -> None:
        """Check the fields together; each field has been checked by its own declaration before."""

    # --- calling -------------------------------------------------------------------------------------------------

    def __call__(self, t: Any = None) -> Any:
        # The hot path of a training loop: an exact test of the class is the cheapest, and excludes bool; all else is `_call`'s.
        if t.__class__ is int and t >= 0:
            try:
                return self._at(t)
            except OverflowError:
                raise _outside(self, t) from None
        return self._call(t)

    def _call(self, t: Any) -> Any:
        if t is None:  # Keras' optimizers call a rate without argument unless the rate is one of Keras' own schedules
            raise TypeError(
                "schedule(t) needs t, the number of completed updates, got NoneType; a Keras optimizer takes "
                "laju.frameworks.keras.LearningRate(schedule)"
            )
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
                # optax.join_schedules calls every schedule at every step, also before its start, and selects a value afterwards.
                hint = "; give optax's combinators laju.frameworks.jax.schedule(s)" if "optax" in sys.modules else ""
                raise ValueError(f"t must be 0 or more, got {shown(t)}: a schedule has no value before update 0{hint}")
            try:
                return self._at(t)
            except OverflowError:
                raise _outside(self, t) from None
        self.require_resolved()
        t, ns = namespace(t)
        if not ns.host:
            return self._array(t, ns)
        with np.errstate(all="ignore"):
            return self._finite(self._array(t, ns), t)

    def values(self, n: int, start: int = 0) -> npt.NDArray[np.float64]:
        """The values of `n` updates from `start` on: s(start) … s(start + n - 1), in float64.

        >>> from laju import linear
        >>> linear(1, 0, total=4).values(6)
        array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
        """
        n, start = whole("n", n), whole("start", start)
        if start + n > limits.POSITION:
            raise ValueError(f"start + n must be at most 2^63 - 1, got {shown(start)} + {shown(n)}")
        self.require_resolved()
        with np.errstate(all="ignore"):
            result: npt.NDArray[np.float64] = self._finite(self._range(start, start + n), start)
            return result

    @cached_property
    def _at(self) -> ScalarFunction:
        self.require_resolved()
        function = self._scalar()
        if self._bound() != math.inf:
            return function

        def checked_at(t: Any) -> float:
            try:
                value = function(t)
            except OverflowError:
                value = math.inf
            # True for infinity and NaN alike, without a call.
            if value - value != 0:
                raise _outside(self, t)
            return value

        return checked_at

    def _bound(self) -> float | None:
        """The bound on the size of the values: infinity where values may leave the floats, None for a user's function."""
        raise NotImplementedError  # every subclass has its own

    def _finite(self, values: Any, where: Any) -> Any:
        """The values, if all are finite; otherwise raise the error of a call at the first position that is not."""
        if self._bound() == math.inf and not np.isfinite(values).all():
            i = int(np.argmin(np.isfinite(np.ravel(values))))
            raise _outside(self, where + i if isinstance(where, int) else np.ravel(where)[i].item())
        return values

    def _scalar(self) -> ScalarFunction:
        """The value at a Python number as a closure, which is the quickest that Python can call."""
        raise NotImplementedError  # every subclass has its own

    def _formula(self, begin: Any, bind: Callable[[Any], str]) -> str:
        """The value as a Python expression in t, for a schedule that begins at `begin` of a longer schedule; valid for
        begin ≤ t < begin + length. `bind` gives an object its name in the expression."""
        return f"{bind(self._scalar())}(t - {begin!r})"

    def _array(self, t: Any, ns: Namespace) -> Any:
        """The values at an array of positions that are 0 or more."""
        raise NotImplementedError  # every subclass has its own

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """The values of consecutive updates; a composite computes each part only where the part is in force."""
        t, ns = counted(start, stop)
        result: npt.NDArray[np.float64] = self._array(t, ns)
        return result

    # --- structure, length and units -----------------------------------------------------------------------------

    if TYPE_CHECKING:  # some subclasses have it as a field, others compute it

        @property
        def length(self) -> Duration | None:
            """Updates until the last value is reached and holds; None when there is no end."""

    @cached_property
    def children(self) -> tuple[Schedule, ...]:
        """The schedules directly inside this schedule."""
        found: list[Schedule] = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            found.extend(v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Schedule))
        return tuple(found)

    @cached_property
    def _extent(self) -> tuple[int, int]:
        """(depth of nesting, number of schedules), this schedule included."""
        inside = [child._extent for child in self.children]
        return 1 + max((depth for depth, _ in inside), default=0), 1 + sum(size for _, size in inside)

    @cached_property
    def units(self) -> frozenset[str]:
        """The units that a `RunPlan` must turn into updates before the schedule has values; empty when resolved."""
        found: set[str] = set()
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Length):
                found.update(unit for unit, _ in value.terms if unit != "updates")
        return frozenset(found.union(*(child.units for child in self.children)))

    def require_resolved(self) -> None:
        """Raise `UnresolvedError` if any length is in a unit that only a `RunPlan` can turn into updates."""
        if self.units:
            raise UnresolvedError(
                f"{shown(self)} has no values yet: its lengths are in {', '.join(sorted(self.units))}. "
                "Say what the run is: schedule.resolve(RunPlan(samples=…, batch_size=…, epochs=…))"
            )

    def resolve(self, plan: RunPlan) -> Schedule:
        """The schedule with every length converted to updates of the planned run, and boundaries rounded to whole updates.

        >>> from laju import RunPlan, cosine
        >>> cosine(0.3, total="100%", warmup="5 epochs").resolve(RunPlan(samples=1000, batch_size=10, epochs=20))
        cosine(0.3, total=2000, warmup=500)
        """
        if not isinstance(plan, RunPlan):
            raise TypeError(f"plan must be a RunPlan, got {shown(plan)}")
        if plan.batch_ramp and self.units:
            on_data: Schedule = HOOKS["on_data"](self, plan)
            return on_data
        return self.in_updates(plan.scale)

    def in_updates(self, scale: Scale) -> Schedule:
        """The schedule with all lengths converted to updates by a scale, printed as written if that text gives the same."""
        if not self.units:
            return self
        # By identity, since equal schedules may be written differently. The table holds the schedule as well, so that its id is
        # not given to another object while the table lives.
        if id(self) not in scale.known:  # operands of what was written are also parts of the normal form
            result = self._in_updates(scale)
            if self._written is not None:
                # What was written is resolved by its own arguments, and kept only where that gives the schedule resolved part
                # by part: rounding `total` and `warmup` may move a boundary that is rounded within the run. Whole updates are
                # the nicer text, so they are tried first.
                for exact in (False, True):
                    again = self._again(lambda value, exact=exact: _in_updates(value, scale, exact))  # type: ignore[misc]
                    if again == result:
                        result = again
                        break
            scale.known[id(self)] = self, result
        found: Schedule = scale.known[id(self)][1]
        return found

    def _again(self, change: Callable[[Any], Any]) -> Schedule | None:
        """The schedule that the written form gives for changed arguments; None if the arguments are refused."""
        assert self._written is not None
        try:
            again: Schedule = self._written.again(change)
        except (TypeError, ValueError, ArithmeticError):
            return None
        return again

    def _in_updates(self, scale: Scale) -> Schedule:
        def resolved(value: Duration, kind: str) -> Duration:
            if not isinstance(value, Length):
                return value
            exact = scale.updates(value)
            if kind == "rounded":
                return nearest_update(exact)
            return int(exact) if exact.denominator == 1 else float(exact)

        return self.rebuild(lambda child: child.in_updates(scale), resolved)

    # --- outline -------------------------------------------------------------------------------------------------

    def outline(self, begin: float = 0, end: float = math.inf) -> Iterator[Part]:
        """The parts of the schedule in order: each piece, and the updates from `begin` to `end` at which the piece is in force.

        Parts are generated lazily, since a schedule without end may have parts without end.

        Args:
            begin, end: the parts that are in force anywhere in begin ≤ t < end; the first may begin and the last may end outside.

        Raises:
            UnresolvedError: if lengths are in units that need a plan.

        >>> from laju import cosine
        >>> [(part.begin, part.end, part.piece) for part in cosine(0.3, total=20, warmup=5).outline(end=20)]
        [(0, 5, Ramp(0.0, 0.3, 5)), (5, 20, Ramp(0.3, 0.0, 15, 'cosine'))]
        """
        self.require_resolved()
        for part in self._outline(begin, end):
            if part.begin >= end:
                return
            # A part that begins just before its end may be empty once it is moved.
            if max(part.begin, begin) < part.end:
                yield part

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        """As `outline`, with no gap; by default the schedule itself for its length, and then its last value."""
        length: Any = math.inf if self.length is None else self.length
        if begin < length:
            yield Part(0, length, self, 0, self)
        if length < end:
            yield Part(length, math.inf, self._constant(self._at(length)), length, self)

    def _constant(self, value: float) -> Schedule:
        constant: Schedule = NODES["Constant"](value)
        return constant

    @property
    def form(self) -> Form | None:
        """The formula in terms that every system has; None for compositions, and for formulas without a name elsewhere.

        >>> from laju import Ramp
        >>> Ramp(0, 1, 5).form
        Transition(start=0.0, final=1.0, length=5, shape='linear')
        """
        return None

    @property
    def level(self) -> float | None:
        """The value of a constant; None for any schedule that is not constant."""
        return None

    @property
    def begins(self) -> tuple[Any, ...]:
        """The position at which each child begins."""
        return (0,) * len(self.children)

    @property
    def opening(self) -> tuple[Schedule, ...]:
        """The children that are in force from the beginning, on the clock of this schedule."""
        return self.children

    def without(self, child: Schedule) -> Schedule:
        """The schedule without `child`, for schedules with at least two children."""
        rest = tuple(part for part in self.children if part is not child)
        return rest[0] if len(rest) == 1 else type(self)(rest)  # type: ignore[call-arg]

    def lasting(self, length: Duration) -> Schedule:
        """This schedule with another length: a piece with a `length` gets the new length, any other schedule is cut or holds."""
        if self.length == length:
            return self
        if any(field.name == "length" for field in dataclasses.fields(self)):  # type: ignore[arg-type]
            return self.with_fields(length=length)
        made: Schedule = METHODS["take"](self, length)
        return made

    def with_fields(self, **changes: Any) -> Self:
        """The same node with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def times(self, by: float, digits: int | None = None) -> Schedule:
        """The schedule times a number, which is multiplied into the values of pieces where possible.

        Args:
            by: the number.
            digits: significant digits to which each product is rounded; None, the default, does not round.

        >>> from laju import Ramp
        >>> Ramp(1, 0.1, 5).times(0.5)
        Ramp(0.5, 0.05, 5)
        """

        def change(value: float) -> float:
            return value * by if digits is None else float(f"{value * by:.{digits}g}")

        return self._times(change, by)

    def _times(self, change: Callable[[float], float], by: float) -> Schedule:
        """As `times`, where `change` gives each value times `by`."""
        fields = [field.name for field in dataclasses.fields(self) if field.metadata.get("scales")]  # type: ignore[arg-type]
        if fields:
            return self.with_fields(**{name: _changed(getattr(self, name), change) for name in fields})
        if self.children:
            return self.rebuild(lambda child: child._times(change, by))
        return _operation("*", self._constant(by), self)

    def _raised(self, by: float) -> Schedule | None:
        """The schedule plus a number, which is added to the values of pieces; None if that is not possible."""
        return None

    def rebuild(
        self, child: Callable[[Schedule], Schedule], length: Callable[[Duration, str], Duration] | None = None
    ) -> Self:
        """The same node with its children and lengths replaced.

        Args:
            child: function from each child to its replacement.
            length: function from each length, and "rounded" or "real", to the new length; by default lengths stay.
        """
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Schedule):
                changes[field.name] = child(value)
            elif isinstance(value, tuple) and value and isinstance(value[0], Schedule):
                changes[field.name] = tuple(child(part) for part in value)
            elif value is not None and length is not None and "time" in field.metadata:
                changes[field.name] = length(value, field.metadata["time"])
        return self.with_fields(**changes) if changes else self

    def _initial(self) -> float:
        """The value at t = 0, without a plan where no plan can change that value."""
        self.require_resolved()
        return self._at(0)

    # --- algebra -------------------------------------------------------------------------------------------------

    def then(self, other: Schedule | float) -> Schedule:
        """This schedule for its length, then `other` on its own clock; also written `a >> b`."""
        return _operation(">>", self, other)

    def __rshift__(self, other: Any) -> Schedule:
        return _operation(">>", self, other) if _combines(other) else NotImplemented

    def __rrshift__(self, other: Any) -> Schedule:
        return _operation(">>", other, self) if _combines(other) else NotImplemented

    def __mul__(self, other: Any) -> Schedule:
        return _operation("*", self, other) if _combines(other) else NotImplemented

    def __rmul__(self, other: Any) -> Schedule:
        return _operation("*", other, self) if _combines(other) else NotImplemented

    def __add__(self, other: Any) -> Schedule:
        return _operation("+", self, other) if _combines(other) else NotImplemented

    def __radd__(self, other: Any) -> Schedule:
        return _operation("+", other, self) if _combines(other) else NotImplemented

    def minimum(self, other: Schedule | float) -> Schedule:
        """The smaller of this schedule and `other` at every update."""
        return self._apply("minimum", other)

    def maximum(self, other: Schedule | float) -> Schedule:
        """The larger of this schedule and `other` at every update."""
        return self._apply("maximum", other)

    def scale(self, by: float) -> Schedule:
        """The schedule times a number: `by * schedule`."""
        return self * by

    def clip(self, low: float | None = None, high: float | None = None, relative: bool = False) -> Schedule:
        """The schedule limited to values from `low` to `high`; with `relative`, the bounds are fractions of its peak.

        >>> from laju import linear
        >>> linear(2, 0, total=4).clip(0.1, 0.75, relative=True).values(5)
        array([1.5, 1.5, 1. , 0.5, 0.2])
        """
        return self._apply("clip", low, high, relative)

    def take(self, length: Span) -> Schedule:
        """The first `length` updates of the schedule, after which the value at t = length holds: s(min(t, length)).

        >>> from laju import constant
        >>> (constant(0.5).take(3) >> 0.3).values(5)
        array([0.5, 0.5, 0.5, 0.3, 0.3])
        """
        return self._apply("take", length)

    def overlay(self, under: Schedule | float) -> Schedule:
        """This schedule for its length, then `under` on the same clock: under(t) for t from the length on."""
        return self._apply("overlay", under)

    def shift(self, by: int) -> Schedule:
        """The schedule delayed by `by` updates, during which its first value holds; a negative shift skips first updates."""
        return self._apply("shift", by)

    def stretch(self, by: float) -> Schedule:
        """The schedule `by` times as long: s(t / by)."""
        return self._apply("stretch", by)

    def staircase(self, every: Span) -> Schedule:
        """The schedule in steps, each value held for `every` updates: s(every·⌊t/every⌋)."""
        return self._apply("staircase", every)

    def reverse(self) -> Schedule:
        """The schedule backwards in time: s(length - t)."""
        return self._apply("reverse")

    def repeat(self, count: int | None = None, growth: float = 1, decay: float = 1, mirror: bool = False) -> Schedule:
        """The schedule repeated `count` times, or forever if `count` is None.

        Each cycle is `growth` times as long and `decay` times as high as the last; with `mirror`, every second runs backwards.

        >>> from laju import linear
        >>> linear(1, 0, total=2).repeat(decay=0.5).values(6)
        array([1.   , 0.5  , 0.5  , 0.25 , 0.25 , 0.125])
        """
        return self._apply("repeat", count, growth, decay, mirror)

    def per(self, unit: str, smooth: bool = False) -> Schedule:
        """Read this schedule's own clock in epochs (or another unit) instead of updates.

        The value of epoch e is in force during the whole epoch; with `smooth`, time runs continuously: s(t / updates per epoch).

        >>> from laju import RunPlan, linear
        >>> s = linear(1, 0, total=2).per("epoch").resolve(RunPlan(samples=6, batch_size=2, epochs=2))
        >>> s.values(7)
        array([1. , 1. , 1. , 0.5, 0.5, 0.5, 0. ])
        """
        return self._apply("per", unit, smooth)

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
        return self._apply("warmup", length, start, how=how, shape=shape, first=first)

    def _apply(self, name: str, *args: Any, **keywords: Any) -> Schedule:
        """The result of the named method, with the call as its written form where the operands have a written form."""
        made: Schedule = METHODS[name](self, *args, **keywords)
        if not any(isinstance(s, Schedule) and s.spoken for s in (self, *args)):
            return made  # pieces, which print as pieces
        call = written.call(name, *_given(name, args, keywords))
        return made if call is None else made.written_as(Method(self, call))

    # --- value semantics -----------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """A hash of the schedule's canonical JSON: the same in every process and on every machine.

        The hash is the SHA-256 of the tree, with sorted keys, no spaces and floats in their shortest form.
        """
        return fingerprint_of(self.tree())

    def tree(self) -> dict[str, Any]:
        """The normal form for JSON: {"kind": …, fields that differ from their defaults}.

        Raises:
            SpecError: if a function in the schedule cannot be imported by its name.
        """
        return {"kind": type(self).__name__, **{name: _json_of_field(value) for name, value in self._fields().items()}}

    def to_json(self) -> dict[str, Any]:
        """The schedule as a versioned JSON object, which `laju.from_json` reads.

        The object is {"laju": version, "schedule": the normal form, "written": the text, if different from the normal form}.

        Raises:
            SpecError: if a function in the schedule cannot be imported by its name.

        >>> from laju import linear
        >>> linear(1, 0, total=5).to_json()
        {'laju': 1, 'schedule': {'kind': 'Ramp', 'start': 1.0, 'final': 0.0, 'length': 5}, 'written': 'linear(1, 0, total=5)'}
        """
        found = {"laju": VERSION, "schedule": self.tree()}
        if self.spoken and len(text := repr(self)) <= limits.TEXT:
            found["written"] = text
        return found

    def written_as(self, words: Written) -> Self:
        """The same schedule, printed as `words`, whose evaluation must give this schedule."""
        depth = 1 + max((s.spoken for s in words.schedules), default=0)
        if depth > limits.DEPTH:
            return self
        # A copy without `__init__`: fields are checked already, and what was computed from them (`_at` above all) stays right,
        # as words change no value. Only `spoken` depends on the words.
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.__dict__.pop("spoken", None)
        new.__dict__["_written"] = words
        return new

    @cached_property
    def spoken(self) -> int:
        """The depth of the written form; 0 for a schedule made of pieces alone."""
        inside = self.children if self._written is None else self._written.schedules
        depth = max((s.spoken for s in inside), default=0)
        return depth + 1 if depth or self._written is not None else 0

    @property
    def operator(self) -> str | None:
        """The operator between the parts of the text; None if the text is not an operation."""
        if self._written is not None:
            return self._written.operator if isinstance(self._written, Operation) else None
        return self._operator if 2 <= len(self.children) <= 20 else None

    def _fields(self) -> Mapping[str, Any]:
        """The fields that differ from their defaults, in order."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        values = {field.name: getattr(self, field.name) for field in fields}
        return {
            f.name: values[f.name] for f in fields if f.default is dataclasses.MISSING or values[f.name] != f.default
        }

    def __repr__(self) -> str:
        if self._written is not None:
            return self._written.text()
        if self.operator is not None:
            return f" {self.operator} ".join(child._operand() for child in self.children)
        order = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        arguments = []
        for i, (name, value) in enumerate(self._fields().items()):
            if i or not self._method:
                text = _text_of_field(value)
                arguments.append(text if name == order[i] else f"{name}={text}")
        if self._method:
            return f"{self.children[0]._operand()}.{self._method}({', '.join(arguments)})"
        return f"{type(self).__name__}({', '.join(arguments)})"

    def _operand(self) -> str:
        return repr(self) if self.operator is None else f"({self!r})"

    __str__ = __repr__

    def _repr_html_(self) -> str | None:
        """The curve and the text, for notebooks."""
        html: str | None = HOOKS["html"](self)
        return html

    def __getstate__(self) -> dict[str, Any]:
        names = {"_written"}.union(field.name for field in dataclasses.fields(self))  # type: ignore[arg-type]
        return {name: value for name, value in vars(self).items() if name in names}  # what is cached stays behind


def fingerprint_of(tree: Any) -> str:
    """The fingerprint of the schedule whose normal form is this tree."""
    canonical = json.dumps({"laju": VERSION, "schedule": tree}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _changed(value: Any, change: Callable[[float], float]) -> Any:
    return tuple(map(change, value)) if isinstance(value, tuple) else change(value)


def as_schedule(value: Schedule | float, name: str = "value") -> Schedule:
    """The value as a schedule: a number becomes a constant. `name` is the argument's name in errors."""
    if isinstance(value, Schedule):
        return value.normal  # type: ignore[no-any-return]
    if not is_number(value):
        raise TypeError(f"{name} must be a schedule or a finite number, got {shown(value)}")
    constant: Schedule = NODES["Constant"](number(name, value))
    return constant


def _outside(schedule: Schedule, t: Any) -> ValueError:
    return ValueError(f"the value of {shown(schedule)} at t = {shown(t)} is beyond what a float can hold")


def _given(name: str, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a method as a reader would write the call: without the defaults."""
    values = {**dict(zip(signature(getattr(Schedule, name)).parameters, (None, *args), strict=False)), **keywords}
    given: tuple[list[Any], dict[str, Any]] = [], {}
    for i, parameter in enumerate(list(signature(getattr(Schedule, name)).parameters.values())[1:]):
        value = values.get(parameter.name, parameter.default)
        if parameter.default is parameter.empty or (i == 0 and value != parameter.default):
            given[0].append(value)
        elif value != parameter.default:
            given[1][parameter.name] = value
    return given


def _combines(other: Any) -> bool:
    return isinstance(other, Schedule) or is_number(other)


_COMBINATIONS = {">>": "Chain", "*": "Product", "+": "Sum"}


def _operation(operator: str, a: Any, b: Any) -> Schedule:
    a, b = (value.normal if isinstance(value, Schedule) else value for value in (a, b))
    made: Schedule = NODES[_COMBINATIONS[operator]]((as_schedule(a), as_schedule(b)))
    if not any(isinstance(s, Schedule) and s.spoken for s in (a, b)):
        return made
    operands: list[Any] = []
    for value in (a, b):
        words = value._written if isinstance(value, Schedule) else None
        if isinstance(words, Operation) and words.operator == operator:
            operands.extend(words.operands)
        else:
            operands.append(written.plain(value))
    return made.written_as(Operation(operator, tuple(operands))) if len(operands) <= written.MOST else made


def _in_updates(value: Any, scale: Scale, exact: bool) -> Any:
    """An argument of the written form, with its lengths in updates."""
    if isinstance(value, Schedule):
        return value.in_updates(scale)
    if isinstance(value, tuple):
        return tuple(_in_updates(item, scale, exact) for item in value)
    length = written.length_of(value)
    if length is None:
        return value
    amount = scale.updates(length)
    return float(amount) if exact and amount.denominator != 1 else nearest_update(amount)


def _json_of_field(value: Any) -> Any:
    """The value of a field as JSON."""
    if isinstance(value, Schedule):
        return value.tree()
    if isinstance(value, Length):
        return str(value)
    if isinstance(value, tuple):
        return [_json_of_field(v) for v in value]
    if callable(value):
        try:
            return importable_name(value)
        except ValueError as error:
            raise SpecError(str(error)) from None
    return str(value) if isinstance(value, str) else value


def _text_of_field(value: Any) -> str:
    if isinstance(value, Length):
        return repr(str(value))
    if callable(value) and not isinstance(value, Schedule):
        try:
            return repr(importable_name(value))
        except ValueError:
            pass  # no text rebuilds a lambda, but a schedule with a lambda can still be printed
    return repr(value)
