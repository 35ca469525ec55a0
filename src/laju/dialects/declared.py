"""Declaration of other systems' schedulers: the signature of a function has the valid values of each argument.

    @SYSTEM.declare
    def StepLR(lr: Rate, step_size: Annotated[int, integer("torch divides by it", nonzero=True)], gamma: float = 0.1) -> Schedule:
        return powers(lr, gamma, abs(step_size))

The declared function takes the system's own arguments, checks every argument against its annotation and returns a
`SystemSchedule`: the schedule, the call that made the schedule, and the system's own rule, which composite schedulers need from
their parts. An invalid value is an error that names the argument and the reason; docstrings list only the remaining errors.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Annotated, Any, Literal, ParamSpec, Union, get_args, get_origin, get_type_hints

import numpy as np

from laju.core import checks, limits
from laju.core.checks import shown
from laju.core.node import set_fields
from laju.core.pieces import Table
from laju.core.schedule import Schedule

P = ParamSpec("P")
Check = Callable[[str, Any], Any]
"""(name, value) to the value in its canonical form, or an error that says what would be valid."""


class DialectError(ValueError):
    """The system or scheduler is unknown, or the system itself would refuse the call; the message has the valid alternatives."""


class NoClosedForm(DialectError):
    """The scheduler has no formula: each value can only be computed from the previous value, as the system does."""


# --- checks of arguments --------------------------------------------------------------------------------------------


def _hinted(check: Check, hint: str) -> Check:
    """Return a check that raises `DialectError` instead of ValueError, with the reason `hint`."""

    def checked(name: str, value: Any) -> Any:
        try:
            return check(name, value)
        except ValueError as error:
            raise DialectError(f"{error}: {hint}" if hint else str(error)) from None

    return checked


def real(hint: str = "", *, nonzero: bool = False, **bounds: float) -> Check:
    """Return a check for a finite number within the bounds `above`, `least`, `below`, `most`; errors give the reason `hint`."""

    def check(name: str, value: Any) -> float:
        found = checks.number(name, value, **bounds)
        if nonzero and found == 0:
            raise DialectError(f"{name} must not be 0")
        return found

    return _hinted(check, hint)


def integer(hint: str = "", *, least: int | None = None, nonzero: bool = False) -> Check:
    """Return a check for a whole number of any type, such as 3.0; errors give the reason `hint`."""

    def check(name: str, value: Any) -> int:
        if not checks.is_number(value):
            raise TypeError(f"{name} must be a whole number, got {shown(value)}")
        if not checks.is_finite(value) or value != int(value):
            raise DialectError(f"{name} must be a whole number, got {shown(value)}")
        if least is not None and value < least:
            raise DialectError(f"{name} must be a whole number of at least {least}, got {shown(value)}")
        if nonzero and value == 0:
            raise DialectError(f"{name} must not be 0")
        return int(value)

    return _hinted(check, hint)


def exactly(kind: type, hint: str = "", **bounds: float) -> Check:
    """Return a check for a number of exactly the type that the system requires: int or float."""
    article = "an int" if kind is int else "a float"

    def check(name: str, value: Any) -> Any:
        try:
            if isinstance(value, kind) and not isinstance(value, bool):
                checks.number(name, value, **bounds)
                return value
        except ValueError:
            pass
        limit = "".join(f" of at {word} {bounds[word]:g}" for word in ("least", "most") if word in bounds)
        raise DialectError(f"{name} must be {article}{limit}, got {shown(value)}")

    return _hinted(check, hint)


def fixed(valid: Any, hint: str) -> Check:
    """Return a check that accepts only the default; errors give the reason `hint`."""

    def check(name: str, value: Any) -> Any:
        if value != valid:
            raise DialectError(f"{name} must be {valid!r}, got {shown(value)}: {hint}")
        return value

    return check


def listed(item: Check | None, example: str = "[30, 60]") -> Check:
    """Return a check for a sequence, each item of which passes the check `item`; errors show `example`."""

    def check(name: str, values: Any) -> list[Any]:
        if isinstance(values, str | bytes | Mapping | Schedule) or not isinstance(values, collections.abc.Iterable):
            raise TypeError(f"{name} must be a list such as {example}, got {shown(values)}")
        return [value if item is None else item(f"{name}[{i}]", value) for i, value in enumerate(values)]

    return check


@dataclass(frozen=True)
class Together:
    """Annotation of an argument that stands for several arguments, which many schedulers of a system share.

    Args:
        make: function whose signature declares the shared arguments, and whose result the scheduler's function receives.
        first: the argument of `make` that comes first in the scheduler's signature, if the order differs.
    """

    make: Callable[..., Any]
    first: str = ""

    @property
    def parameters(self) -> list[inspect.Parameter]:
        found = list(inspect.signature(self.make).parameters.values())
        return sorted(found, key=lambda parameter: (parameter.kind, parameter.name != self.first))


Rate = Annotated[float, real(least=0)]
"""The optimizer's learning rate."""
From0 = Annotated[float, real(least=0)]
Above0 = Annotated[float, real(above=0)]
Count = Annotated[int, integer(least=0)]
Count1 = Annotated[int, integer(least=1)]


def _check_of(hint: Any) -> Check | None:
    """Return the check of an annotation, or None for an annotation without a check."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *marks = get_args(hint)
        return next((mark for mark in marks if callable(mark)), None) or _check_of(inner)
    if origin is Literal:
        valid = get_args(hint)
        return lambda name, value: _hinted(lambda n, v: checks.choice(n, v, valid), "")(name, value)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        check = _check_of(kinds[0]) if len(kinds) == 1 else None
        return None if check is None else lambda name, value: None if value is None else check(name, value)
    if origin in (collections.abc.Sequence, collections.abc.Iterable, list):
        return listed(_check_of(get_args(hint)[0]))
    if hint is float:
        return real()
    if hint is int:
        return integer()
    return None


# --- the results of calls -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """Result of a declared function whose schedule needs a rule or a replay.

    Args:
        closed: the schedule; None if there is no closed form.
        rule: the rule that composite schedulers need from a part.
        replay: function of n that returns the first n values in the system's own arithmetic; fewer if the system raises.
        why: reason why there is no closed form.
    """

    closed: Schedule | None
    rule: Any = None
    replay: Callable[[int], Sequence[float]] | None = None
    why: str = ""


def made(closed: Callable[[], Schedule], replay: Callable[[int], Sequence[float]], rule: Any = None) -> Made:
    """Return the closed form, or the replayed values if there is no closed form.

    Args:
        closed: function that returns the schedule or raises `NoClosedForm`.
        replay, rule: see `Made`.
    """
    try:
        return Made(closed(), rule)
    except NoClosedForm as error:
        replay(1)  # a scheduler that cannot be constructed at all is refused now
        return Made(None, rule, replay, str(error))


def by_steps(why: str, at: Callable[[int], float], rule: Any = None) -> Made:
    """Return a result without a closed form: `at(t)` is the value at t, and `why` is the reason why there is no formula."""
    return Made(None, rule, lambda n: [at(t) for t in range(n)], why)


class SystemSchedule(Schedule):
    """A schedule made by a scheduler of another system: its values, the call, and the system's own rule.

    A `SystemSchedule` can be used wherever a schedule can, and as a part of its system's composite schedulers. Two system
    schedules are equal if their calls are equal; a plain schedule with the same values is not equal. Copies and pickles keep the
    call; text and JSON keep the schedule only.

    Args:
        system: name of the system, such as "torch".
        function: the declared function of the scheduler.
        arguments: arguments of the call, in canonical form, without arguments at their defaults.
        made: result of the scheduler's function.

    >>> from laju.dialects import torch
    >>> decay = torch.ExponentialLR(0.1, gamma=0.5)
    >>> decay, decay.schedule
    (torch.ExponentialLR(lr=0.1, gamma=0.5), Exponential(0.1, 0.5))
    >>> torch.SequentialLR(0.1, [decay, decay], milestones=[2]).values(4)
    array([0.1 , 0.05, 0.1 , 0.05])
    """

    system: str
    name: str
    function: Callable[..., SystemSchedule]
    arguments: Mapping[str, Any]
    closed: Schedule | None
    rule: Any
    made: Made
    _values: Any

    def __init__(
        self, system: str, function: Callable[..., SystemSchedule], arguments: Mapping[str, Any], made: Made
    ) -> None:
        closed = None if made.closed is None else made.closed.normal
        values = closed if closed is not None or made.replay is None else _Replayed(made.replay)
        set_fields(self, system=system, function=function, name=function.__name__)
        set_fields(self, arguments=dict(arguments), _values=values)
        set_fields(self, made=made, closed=closed, rule=made.rule)

    @property
    def schedule(self) -> Schedule:
        """The schedule made of laju's own pieces, without the call.

        Raises:
            DialectError: if the schedule has no closed form; `over` gives the values of a run.
        """
        if self.closed is None:
            raise DialectError(
                f"{self.made.why}: give the number of updates of the run, "
                "as in read(…, updates=1000), `.over(1000)` or --updates 1000"
            )
        return self.closed

    @property
    def normal(self) -> Schedule:
        return self.schedule

    def over(self, updates: int | None) -> Schedule:
        """Return the closed form, or a table of the values of the first `updates` updates if there is no closed form.

        >>> from laju.dialects import keras
        >>> keras.PolynomialDecay(1.0, 2, 0.0, cycle=True).over(5)
        Table((1.0, 0.5, 0.0, 0.25, 0.0))
        """
        if updates is None or self.closed is not None:
            return self.schedule
        return Table(tuple(self.values(checks.whole("updates", updates, least=1)).tolist()))

    def _key(self) -> tuple[Any, ...]:
        return self.system, self.name, _frozen(self.arguments)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, SystemSchedule) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a schedule is immutable: {name} cannot be set")

    def __reduce__(self) -> Any:
        # A copy is the same call once more: rules and replays are closures, which pickle does not take.
        return partial(self.function, **self.arguments), ()

    def __repr__(self) -> str:
        return f"{self.system}.{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"

    def __str__(self) -> str:
        return repr(self) if self.closed is None else str(self.schedule)


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple((key, _frozen(item)) for key, item in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _same(value: Any, default: Any) -> bool:
    return (
        type(value) is not bool and type(default) is not bool and _frozen(value) == _frozen(default)
    ) or value is default


class _Replayed(Schedule):
    """Values that a system computes each from the previous value, on demand; after the system's own end the last value holds."""

    units: Any = frozenset()
    children: Any = ()
    length = None
    replay: Callable[[int], Sequence[float]]
    known: Any
    ended: bool

    def __init__(self, replay: Callable[[int], Sequence[float]]) -> None:
        set_fields(self, replay=replay, known=np.empty(0), ended=False)

    def _first(self, n: int) -> Any:
        """Return the first n values, or fewer if the system ends earlier."""
        known = self.known
        if n > limits.ITEMS:
            raise DialectError(
                f"values without a closed form are computed up to update {limits.ITEMS:,}, got {shown(n)}"
            )
        # Known values grow by doubling. A replay begins at the first value each time, so one value more for each call would
        # cost the square of the run.
        if n > len(known) and not self.ended:
            try:  # twice as many as needed, so that reading the values one by one takes linear time
                known = np.array(self.replay(min(2 * n, limits.ITEMS)), float)
            except DialectError:
                known = np.array(self.replay(n), float)
            set_fields(self, known=known, ended=len(known) < n)
        return known

    def _bound(self) -> None:
        return None

    def _scalar(self) -> Any:
        return lambda t: float((known := self._first(int(t) + 1))[min(int(t), len(known) - 1)])

    def _array(self, t: Any, ns: Any) -> Any:
        at = np.asarray(t)
        known = self._first(int(at.max()) + 1 if at.size else 1)
        return known[np.minimum(at.astype(np.int64), len(known) - 1)]


def _of(where: str, name: str) -> Any:
    return property(lambda self: getattr(getattr(self, where), name))


def _operator(name: str) -> Any:
    return lambda self, other: getattr(self.schedule, name)(other)


_EVALUATED = (
    "_call",
    "values",
    "_at",
    "_bound",
    "_finite",
    "_scalar",
    "_array",
    "_range",
    "require_resolved",
    "units",
    "length",
)
_OPERATORS = ("__rshift__", "__rrshift__", "__mul__", "__rmul__", "__add__", "__radd__")
# Every attribute of `Schedule` is passed on, by name: values go to the closed form or to the replayed values, everything else
# to the closed form alone. A method that `Schedule` gets later is passed on as well, which written-out methods would forget.
for _name in {*vars(Schedule), "length"} - {"adopt", "_method", "_abc_impl"}:
    if _name in _OPERATORS:
        setattr(SystemSchedule, _name, _operator(_name))
    elif not _name.startswith("__") and _name not in vars(SystemSchedule):
        setattr(SystemSchedule, _name, _of("_values" if _name in _EVALUATED else "schedule", _name))


def _together(function: Any, annotation: Any) -> Together | None:
    """Return the declaration of shared arguments behind the name of an alias; None for a plain argument."""
    hint = function.__globals__.get(annotation) if isinstance(annotation, str) else None
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((mark for mark in marks if isinstance(mark, Together)), None)


# --- declaring ------------------------------------------------------------------------------------------------------


def _made_of(result: Any, system: str) -> Made:
    """Return the result of a function, also if the function returned the schedule of another scheduler."""
    if isinstance(result, SystemSchedule):
        return replace(result.made, rule=result.rule if result.system == system else None)
    return result if isinstance(result, Made) else Made(result.normal)


def declared(
    system: str, function: Callable[P, Schedule | Made], also: Mapping[str, Any]
) -> Callable[P, SystemSchedule]:
    """Return the public function of a scheduler, which checks its arguments and returns a `SystemSchedule`.

    Args:
        system: name of the system, such as "torch".
        function: function that makes the schedule from checked arguments.
        also: arguments that every scheduler of the system takes after its own, with the only accepted value of each.
    """
    own = list(inspect.signature(function).parameters.values())
    shared = {p.name: mark for p in own if (mark := _together(function, p.annotation)) is not None}
    if shared:
        own = [
            q.replace(kind=q.kind if p.name in shared else q.POSITIONAL_OR_KEYWORD)
            for p in own
            for q in (shared[p.name].parameters if p.name in shared else [p])
        ]
        own.sort(key=lambda parameter: parameter.kind)
    last = sum(parameter.kind is not parameter.KEYWORD_ONLY for parameter in own)
    more = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=also[name]) for name in also]
    signature = inspect.Signature([*own[:last], *more, *own[last:]], return_annotation="SystemSchedule")
    found: dict[str, Check] = {}

    def checks_of() -> dict[str, Check]:  # at the first call, since annotations are names of the whole module
        if not found:
            makers = [mark.make for mark in shared.values()]
            hints = {k: v for f in (*makers, function) for k, v in get_type_hints(f, include_extras=True).items()}
            found.update({p.name: c for p in own if (c := _check_of(hints.get(p.name))) is not None})
            found.setdefault("", lambda name, value: value)
        return found

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> SystemSchedule:
        bound = signature.bind(*args, **kwargs)
        given = dict(bound.arguments)
        for name in also.keys() & given.keys():
            if (value := given.pop(name)) is not None and value != also[name]:
                raise DialectError(f"{name} must be {also[name]!r}, got {shown(value)}: a schedule begins at 0")
        for name, check in checks_of().items():
            if name in given:
                given[name] = check(name, given[name])
        said = {name: value for name, value in given.items() if not _same(value, signature.parameters[name].default)}
        for name, mark in shared.items():
            given[name] = mark.make(**{p.name: given.pop(p.name) for p in mark.parameters if p.name in given})
        result = function(**given)  # type: ignore[call-arg]
        return SystemSchedule(system, call, said, _made_of(result, system))

    call.__signature__ = signature  # type: ignore[attr-defined]
    if function.__module__.startswith("laju.dialects."):  # some functions are written in private modules
        call.__module__ = f"laju.dialects.{system}"  # where pickles find the function
    return call
