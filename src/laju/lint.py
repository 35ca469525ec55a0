"""What is probably not meant in a schedule: updates at rate 0, a peak that is never reached, lengths in the wrong unit.

Every finding has a stable code, says where it is and why it matters, and gives what to write instead.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt

from laju import algebra, clocks, pieces
from laju.arguments import is_number, nearest, number, shown, whole
from laju.inspect import breakpoints
from laju.schedule import Schedule
from laju.spec import parse
from laju.units import Length, RunPlan, UnresolvedError, nearest_update

CODES: dict[str, str] = {
    "LAJU001": "An update at rate 0",
    "LAJU002": "The peak is never reached",
    "LAJU003": "A jump at the end of the warmup",
    "LAJU004": "The value rises after the decay",
    "LAJU005": "The run is shorter than the schedule",
    "LAJU006": "The run is longer than the schedule",
    "LAJU007": "A boundary is never reached",
    "LAJU008": "The floor is above a group's base",
    "LAJU009": "The warmup is as long as the run",
    "LAJU010": "A piece of length 0",
    "LAJU011": "A momentum or beta outside [0, 1)",
    "LAJU012": "A negative value",
    "LAJU013": "A length that looks like another unit",
    "LAJU014": "A peak too large for the optimizer",
    "LAJU015": "A rate too small to change a weight",
    "LAJU016": "A schedule that does not fit the run",
    "LAJU017": "A value that is not a finite number",
}
"""The title of every code; each has a page in the documentation."""

_WHY = {
    "LAJU001": "an update at rate 0 costs as much as any other and leaves the weights as they are",
    "LAJU002": "the rate that was written, and perhaps tuned, is never trained with",
    "LAJU003": "a warmup is there to reach the rate gently; a jump at its end undoes that",
    "LAJU004": "a rate that climbs again undoes the convergence of the decay; in some libraries a decay that goes on past "
    "its end does so by accident",
    "LAJU005": "what comes last in the schedule is never trained with, and at the end of a decay that is where much of the "
    "gain is",
    "LAJU006": "the last value holds for the rest of the run, which may be far longer than it was meant to",
    "LAJU007": "a change that was written never happens",
    "LAJU008": "an absolute floor is the same for every group, so a group with a small rate is trained at a larger one "
    "instead of decaying",
    "LAJU009": "the whole run is spent on the way up: the peak and everything after it never happen",
    "LAJU010": "nothing is trained with it, so the run is not what the text seems to say",
    "LAJU011": "an average with such a weight does not forget, or changes sign: it diverges",
    "LAJU012": "the step goes uphill: it raises the loss, or makes weights grow instead of decay",
    "LAJU013": "laju counts optimizer updates wherever no unit is written",
    "LAJU014": "the peak is about as far as every single weight moves in one update of such an optimizer (Adam: Kingma & Ba, "
    "arXiv 1412.6980, section 2.1; Lion: Chen et al., arXiv 2302.06675)",
    "LAJU015": "float32 weights have 24 bits: a step below 6e-8 of a weight is rounded away",
    "LAJU016": "the lengths leave nothing, or less than nothing, for a part of the schedule in this run",
    "LAJU017": "from there on the weights are infinite or not a number, and stay so",
}

# Hyper-parameters by name, with what they may be.
_RATE, _DECAY, _AVERAGE = "rate", "decay", "average"
_PARAMETERS = {
    "lr": _RATE,
    "weight_decay": _DECAY,
    "momentum": _AVERAGE,
    **{f"beta{i}": _AVERAGE for i in ("", 1, 2, 3)},
    **{f"betas[{i}]": _AVERAGE for i in (0, 1, 2)},
}

# The largest peak that is in use with an optimizer whose step is about as long as its rate.
_ADAM, _LION = 0.01, 0.003
_LARGEST: dict[str, float] = {
    **dict.fromkeys(("adam", "adamw", "nadam", "nadamw", "radam", "adamax", "amsgrad", "adabelief", "adan"), _ADAM),
    "lion": _LION,
}
_OTHERS = (
    "adadelta", "adafactor", "adagrad", "asgd", "lamb", "lars", "lbfgs", "muon", "rmsprop", "rprop", "sgd", "shampoo", "sophia",
)  # fmt: skip

_SMALLEST = 1e-8
_ALL = 1 << 22
"""Updates of the longest run that is looked at one by one; of a longer one, a grid, all boundaries and both ends."""


@dataclass(frozen=True)
class Finding:
    """Something in a schedule that is probably not meant.

    Args:
        code: stable, such as "LAJU001"; `CODES` has its title.
        update: where it is, in completed updates.
        message: what it is, with its numbers.
        why: why it matters.
        instead: what to write; between backticks, the text of a schedule without the finding.
    """

    code: str
    update: int
    message: str
    why: str
    instead: str

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "title": CODES[self.code], **{k: v for k, v in asdict(self).items() if k != "code"}}

    def __str__(self) -> str:
        return f"{self.code} at update {self.update:,}: {self.message}\n  why: {self.why}\n  instead: {self.instead}"


def check(
    schedule: Schedule,
    plan: RunPlan | int | None = None,
    *,
    optimizer: Any = None,
    groups: Iterable[float] | None = None,
    parameter: str = "lr",
) -> list[Finding]:
    """What is probably not meant in a schedule, in the order of the updates; an empty list is a clean schedule.

    Args:
        schedule: in updates, or in units of the plan.
        plan: the run, or how many updates it has. Without it the schedule is looked at until its end (an endless one for
            twice its last boundary, at least 1,000 updates), and nothing is said about runs that are shorter or longer.
        optimizer: its name, such as "adamw", or the optimizer itself; for peaks that are too large for it.
        groups: the base rates of the parameter groups. A schedule whose peak is 1 is read as a factor of them.
        parameter: what is scheduled: "lr", "weight_decay", "momentum", "beta1", "betas[0]" …

    Raises:
        UnresolvedError: the schedule's lengths are in units that the plan does not know.
        ValueError: an unknown optimizer or parameter, base rates that are not positive.

    >>> from laju import cosine
    >>> for finding in check(cosine(0.3, total=100, warmup=5), 80):
    ...     print(finding.code, finding.update, finding.message)
    LAJU001 0 the warmup starts at 0, so update 0 changes nothing
    LAJU005 80 the run has 80 updates, the schedule 100: it stops at 0.0347 on its way to 0
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a laju schedule, got {shown(schedule)}")
    if parameter not in _PARAMETERS:
        raise ValueError(
            f"parameter must be one of {', '.join(_PARAMETERS)}, got {shown(parameter)}"
            f"{nearest(str(parameter), _PARAMETERS)}"
        )
    name = _optimizer_name(optimizer)
    bases = _bases(groups)
    if plan is not None and not isinstance(plan, RunPlan):
        if not is_number(plan):
            raise TypeError(f"plan must be a RunPlan or a number of updates, got {shown(plan)}")
        plan = whole("plan", plan, least=1)
    findings = _found(schedule, plan, name, bases, parameter)
    return [_proven(f, lambda fixed: _found(fixed, plan, name, bases, parameter)) for f in findings]


def _found(
    schedule: Schedule, plan: RunPlan | int | None, optimizer: str | None, bases: tuple[float, ...], parameter: str
) -> list[Finding]:
    try:
        resolved = schedule.resolve(_plan_for(schedule, plan)) if schedule.units else schedule
    except UnresolvedError:
        raise
    except ValueError as error:
        return [_does_not_fit(schedule, plan, error)]
    updates = plan.updates if isinstance(plan, RunPlan) else plan
    run = _Run(schedule, resolved, plan if isinstance(plan, RunPlan) else None, updates, optimizer, bases, parameter)
    with np.errstate(all="ignore"):
        return sorted((f for rule in _RULES for f in rule(run)), key=lambda f: (f.update, f.code))


def _proven(finding: Finding, found: Callable[[Schedule], list[Finding]]) -> Finding:
    """The finding, whose corrected schedule stays only if it can be read and does not have the finding itself."""
    words, mark, text = finding.instead.partition(": `")
    if not mark:
        return finding
    try:
        if all(again.code != finding.code for again in found(parse(text[:-1]))):
            return finding
    except ValueError:  # a function of the user's without a name
        pass
    return dataclasses.replace(finding, instead=words)


def looked_at(schedule: Schedule) -> int:
    """The updates in which a schedule shows what it does: until its end, or twice its last boundary and at least 1,000."""
    length: Any = schedule.length
    if length is None:
        length = max(1000, 2 * max((b for b in _boundaries(schedule) if b < 2**50), default=0))
    end: int = math.ceil(length)
    return max(1, end)


def _plan_for(schedule: Schedule, plan: RunPlan | int | None) -> RunPlan:
    if plan is None or (not isinstance(plan, RunPlan) and schedule.units != {"%"}):
        schedule._need_resolved()
    if isinstance(plan, RunPlan):
        return plan
    assert plan is not None
    return RunPlan(samples=plan, batch_size=1, epochs=1)  # knows what 100% is


def _optimizer_name(optimizer: Any) -> str | None:
    if optimizer is None:
        return None
    if not isinstance(optimizer, str):  # an optimizer of any framework, or its class
        return (optimizer if isinstance(optimizer, type) else type(optimizer)).__name__.lower()
    name = optimizer.lower()
    if name not in _LARGEST and name not in _OTHERS:
        known = sorted({*_LARGEST, *_OTHERS})
        raise ValueError(f"optimizer must be one of {', '.join(known)}, got {shown(optimizer)}{nearest(name, known)}")
    return name


def _bases(groups: Any) -> tuple[float, ...]:
    if groups is None:
        return ()
    if isinstance(groups, str) or not isinstance(groups, Iterable):
        raise TypeError(f"groups must be base rates such as [1e-5, 1e-3], got {shown(groups)}")
    return tuple(number(f"groups[{i}]", base, above=0) for i, base in enumerate(groups))


# --- the run as the rules see it -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
    given: Schedule
    schedule: Schedule  # in updates
    plan: RunPlan | None
    updates: int | None  # None where the run is not known
    optimizer: str | None
    bases: tuple[float, ...]
    parameter: str

    @property
    def name(self) -> str:
        return "the rate" if self.kind == _RATE else self.parameter

    @property
    def kind(self) -> str:
        return _PARAMETERS[self.parameter]

    @cached_property
    def n(self) -> int:
        return looked_at(self.schedule) if self.updates is None else self.updates

    @cached_property
    def t(self) -> npt.NDArray[np.int64]:
        """The updates that are looked at: all of them, unless the run is very long."""
        n = min(self.n, 2**62)  # farther than an integer of 64 bits counts nothing is looked at
        if n <= _ALL:
            return np.arange(n, dtype=np.int64)
        points = list(itertools.islice(breakpoints(self.schedule, n), 10_000))
        near = [p + i for p in points for i in (-1, 0, 1)]
        grid = np.linspace(0, n - 1, 1 << 18, dtype=np.float64).astype(np.int64)
        both = np.arange(1 << 16, dtype=np.int64)
        t = np.concatenate([grid, both, n - 1 - both, np.array(near, dtype=np.int64)])
        return np.unique(t[(t >= 0) & (t < n)])

    @cached_property
    def every_value(self) -> npt.NDArray[np.float64]:
        if self.n <= _ALL:
            return self.schedule.values(self.n)
        values: npt.NDArray[np.float64] = self.schedule(self.t)
        return values

    @cached_property
    def v(self) -> npt.NDArray[np.float64]:
        """The values at `t`, up to the first one that is not finite."""
        bad = np.flatnonzero(~np.isfinite(self.every_value))
        return self.every_value[: bad[0]] if bad.size else self.every_value

    @cached_property
    def peak(self) -> float:
        return float(self.v.max()) if self.v.size else 0.0

    @cached_property
    def scale(self) -> float:
        """The largest size of a value, against which others are small."""
        return float(np.abs(self.v).max()) if self.v.size else 0.0

    @cached_property
    def end(self) -> int | None:
        """The first update of the last value, which then holds; None where nothing ends but a warmup."""
        length: Any = self.schedule.length
        if length is None or (self.warmup and self.warmup.length == length and self.warmup.after_all):
            return None
        return _end(length)

    @cached_property
    def warmup(self) -> _Warmup | None:
        return _warmup(self.schedule)

    @cached_property
    def factor(self) -> bool:
        """Whether the values are factors of the groups' bases."""
        return bool(self.bases) and math.isclose(self.peak, 1)

    @cached_property
    def mistaken(self) -> Finding | None:
        """The unit that a length was probably meant in."""
        return _another_unit(self)

    def write(self, words: str, make: Callable[[], Schedule]) -> str:
        """What to write, with the corrected schedule where there is one that is short enough to be read."""
        try:
            text = str(make())
        except (ValueError, TypeError, ArithmeticError):  # a remedy that this schedule refuses stays in words
            return words
        return f"{words}: `{text}`" if text != str(self.given) and len(text) <= 300 else words

    def finding(self, code: str, update: int, message: str, instead: str) -> Finding:
        return Finding(code, int(update), message, _WHY[code], instead)


def _end(length: Any) -> int:
    """The first update after a length; one that was multiplied, such as 3.0000000000000004, ends where it was meant to."""
    end: int = math.ceil(length * (1 - 1e-12) if isinstance(length, float) else length)
    return end


def _value(schedule: Schedule, t: Any) -> float:
    try:
        return float(schedule(t))
    except (OverflowError, ZeroDivisionError):
        return math.inf


def _g(value: float) -> str:
    return f"{value:.3g}"


def _many(n: int, what: str = "update") -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _children(schedule: Schedule) -> Iterator[Schedule]:
    for field in dataclasses.fields(schedule):  # type: ignore[arg-type]
        value = getattr(schedule, field.name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Schedule):
                yield child


def _nodes(schedule: Schedule) -> Iterator[Schedule]:
    yield schedule
    for child in _children(schedule):
        yield from _nodes(child)


def _replaced(schedule: Schedule, old: Schedule, new: Schedule) -> Schedule:
    return new if schedule is old else schedule._rebuild(lambda child: _replaced(child, old, new))


def _scaled(schedule: Schedule, by: float) -> Schedule:
    """The schedule times a number, written into its values where it can be."""

    def short(value: float) -> float:
        return float(f"{value * by:.12g}")

    if isinstance(schedule, pieces.Constant):
        return dataclasses.replace(schedule, value=short(schedule.value))
    if isinstance(schedule, pieces.Ramp):
        return dataclasses.replace(schedule, start=short(schedule.start), final=short(schedule.final))
    if isinstance(schedule, pieces.Exponential):
        return dataclasses.replace(schedule, start=short(schedule.start))
    if isinstance(schedule, pieces.Power):
        return dataclasses.replace(schedule, base=short(schedule.base))
    if isinstance(schedule, pieces.Table):
        return dataclasses.replace(schedule, entries=tuple(short(entry) for entry in schedule.entries))
    if isinstance(schedule, algebra.Product):
        first, *rest = schedule.parts
        return algebra.Product((_scaled(first, by), *rest))
    if not any(True for _ in _children(schedule)):
        return schedule * by
    return schedule._rebuild(lambda child: _scaled(child, by))


def _fitted(schedule: Schedule, n: int) -> Schedule:
    """The schedule stretched to last n updates, with the boundaries of a chain at whole updates."""
    by = n / float(schedule.length)  # type: ignore[arg-type]
    if not isinstance(schedule, algebra.Chain) or not all(
        isinstance(part, pieces.Ramp | pieces.Constant) for part in schedule.parts
    ):
        fitted = algebra.stretch(schedule, by)
        if _end(fitted.length) != n:  # a staircase whose steps do not divide the run
            raise ValueError("it cannot be stretched to the run")
        return fitted
    starts: list[Any] = [0]
    for part in schedule.parts:
        starts.append(starts[-1] + part.length)
    ends = [round(at * n / starts[-1]) for at in starts]
    return algebra.Chain(
        tuple(algebra._lasting(p, b - a) for p, (a, b) in zip(schedule.parts, itertools.pairwise(ends), strict=True))
    )


# --- structure -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Warmup:
    """A rise at the beginning, before, over or as a factor of something else.

    It lasts `length` updates, heads for `target`, arrives at `arrives`, and `after` is the value in force then, which
    changes by `step` in the next update. `after_all`: what follows never ends.
    """

    length: Any
    target: float
    arrives: float
    after: float
    step: float
    after_all: bool = False


def _next(schedule: Schedule, t: Any) -> tuple[float, float]:
    """The value at t, and the size of its step to the next update."""
    here = _value(schedule, t)
    return here, abs(_value(schedule, t + 1) - here)


def _rises(schedule: Schedule) -> bool:
    return isinstance(schedule, pieces.Ramp) and bool(schedule.length) and schedule.final > schedule.start


@singledispatch
def _warmup(schedule: Schedule) -> _Warmup | None:
    return None


@_warmup.register
def _(schedule: algebra.Chain) -> _Warmup | None:
    _, parts = schedule._placed
    first: Any = parts[0]
    if len(parts) == 1 or not _rises(first):
        return _warmup(first)
    after, step = _next(parts[1], 0)
    return _Warmup(first.length, first.final, first.final, after, step)


@_warmup.register
def _(schedule: algebra.Overlay) -> _Warmup | None:
    top: Any = schedule.top
    if not _rises(top):
        return _warmup(top) if top.length else _warmup(schedule.bottom)
    after, step = _next(schedule.bottom, top.length)
    return _Warmup(top.length, max(top.final, _value(schedule.bottom, 0)), top.final, after, step)


@_warmup.register
def _(schedule: algebra.Product) -> _Warmup | None:
    moving = [part for part in schedule.parts if not isinstance(part, pieces.Constant)]
    by = math.prod(part.value for part in schedule.parts if isinstance(part, pieces.Constant))
    if len(moving) == 1 and (len(schedule.parts) == 1 or not _rises(moving[0])):
        inner = _warmup(moving[0])
        if inner is None or not by > 0:
            return None
        target, arrives, after, step = (by * x for x in (inner.target, inner.arrives, inner.after, inner.step))
        return dataclasses.replace(inner, target=target, arrives=arrives, after=after, step=step)
    rising = [part for part in moving if _rises(part) or (isinstance(part, algebra.Chain) and _to_constant(part))]
    if len(rising) != 1:
        return None
    ramp: Any = rising[0].parts[0] if isinstance(rising[0], algebra.Chain) else rising[0]
    rest = [part for part in schedule.parts if part is not rising[0]]
    under = math.prod(_value(part, 0) for part in rest)
    at_end = math.prod(_value(part, ramp.length) for part in rest)
    after, step = _next(schedule, ramp.length)
    alone = all(isinstance(part, pieces.Constant) for part in rest)
    return _Warmup(ramp.length, ramp.final * under, ramp.final * at_end, after, step, after_all=alone)


def _to_constant(chain: algebra.Chain) -> bool:
    return len(chain.parts) == 2 and _rises(chain.parts[0]) and isinstance(chain.parts[1], pieces.Constant)


@_warmup.register
def _(schedule: algebra.Minimum | algebra.Maximum) -> _Warmup | None:
    moving = [part for part in schedule.parts if not isinstance(part, pieces.Constant)]
    inner = _warmup(moving[0]) if len(moving) == 1 else None
    if inner is None:
        return None
    pick: Callable[[Any], float] = min if isinstance(schedule, algebra.Minimum) else max
    bounds = [part.value for part in schedule.parts if isinstance(part, pieces.Constant)]
    target, arrives, after = (pick([x, *bounds]) for x in (inner.target, inner.arrives, inner.after))
    return dataclasses.replace(inner, target=target, arrives=arrives, after=after)


@_warmup.register
def _(schedule: algebra.Take) -> _Warmup | None:
    inner = _warmup(schedule.child)
    return inner if inner and inner.length < schedule.length else None


@_warmup.register
def _(schedule: algebra.Staircase | algebra.Repeat) -> _Warmup | None:
    return _warmup(schedule.child)


@_warmup.register
def _(schedule: algebra.Stretch) -> _Warmup | None:
    inner = _warmup(schedule.child)
    return inner and dataclasses.replace(inner, length=inner.length * schedule.by)


@_warmup.register
def _(schedule: clocks.Clock) -> _Warmup | None:
    inner = _warmup(schedule.child)
    if inner is None:
        return None
    length = schedule.update_at(inner.length)
    _, step = _next(schedule, length)
    return dataclasses.replace(inner, length=length, step=step)


def _first_ramp(schedule: Schedule) -> pieces.Ramp | None:
    """The rising ramp that a schedule begins with, in units or not."""
    if isinstance(schedule, pieces.Ramp):
        return schedule if _rises(schedule) else None
    if isinstance(schedule, algebra.Chain):  # only the last part's length may depend on a run that is not known
        return _first_ramp(next((part for part in schedule.parts[:-1] if part.length), schedule.parts[-1]))
    if isinstance(schedule, algebra.Overlay):
        return _first_ramp(schedule.top)
    if isinstance(schedule, algebra.Product):
        found = [ramp for part in schedule.parts if (ramp := _first_ramp(part))]
        return found[0] if len(found) == 1 else None
    child = getattr(schedule, "child", None)
    if isinstance(child, Schedule) and not isinstance(schedule, algebra.Reverse | algebra.Shift):
        return _first_ramp(child)
    return None


@singledispatch
def _boundaries(schedule: Schedule) -> Iterator[Any]:
    """Where a schedule says that something changes; of cycles without end only the first one's end."""
    if schedule.length is not None:
        yield schedule.length


@_boundaries.register
def _(schedule: pieces.Constant) -> Iterator[Any]:
    return iter(())


@_boundaries.register
def _(schedule: algebra.Chain) -> Iterator[Any]:
    starts, parts = schedule._placed
    for i, (start, part) in enumerate(zip(starts, parts, strict=True)):
        if i:
            yield start
        if i == len(parts) - 1:
            yield from (start + at for at in _boundaries(part))


@_boundaries.register
def _(schedule: algebra.Take) -> Iterator[Any]:
    yield from (at for at in _boundaries(schedule.child) if at < schedule.length)
    yield schedule.length


@_boundaries.register
def _(schedule: algebra._Combination) -> Iterator[Any]:
    for part in schedule.parts:
        yield from _boundaries(part)


@_boundaries.register
def _(schedule: algebra.Overlay) -> Iterator[Any]:
    yield schedule.top.length
    yield from (at for at in _boundaries(schedule.bottom) if at > schedule.top.length)


@_boundaries.register
def _(schedule: algebra.Shift) -> Iterator[Any]:
    yield from (at + schedule.by for at in _boundaries(schedule.child) if at + schedule.by > 0)


@_boundaries.register
def _(schedule: algebra.Stretch) -> Iterator[Any]:
    yield from (at * schedule.by for at in _boundaries(schedule.child))


@_boundaries.register
def _(schedule: algebra.Staircase) -> Iterator[Any]:
    yield from (-(-at // schedule.every) * schedule.every for at in _boundaries(schedule.child))


@_boundaries.register
def _(schedule: clocks.Clock) -> Iterator[Any]:
    yield from (schedule.update_at(at) for at in _boundaries(schedule.child))


@_boundaries.register
def _(schedule: algebra.Repeat) -> Iterator[Any]:
    yield schedule.child.length if schedule.count is None else schedule.length


@singledispatch
def _cycles(schedule: Schedule) -> Iterator[tuple[Any, Any]]:
    """(begin, end) of where rises are written down as such: cycles, and tables of values."""
    for child in _children(schedule):
        yield from _cycles(child)


@_cycles.register
def _(schedule: algebra.Repeat | pieces.Table) -> Iterator[tuple[Any, Any]]:
    yield 0, math.inf if schedule.length is None else schedule.length


@_cycles.register
def _(schedule: algebra.Chain) -> Iterator[tuple[Any, Any]]:
    starts, parts = schedule._placed
    for start, end, part in zip(starts, [*starts[1:], math.inf], parts, strict=True):
        yield from ((start + a, min(start + b, end)) for a, b in _cycles(part) if start + a < end)


@_cycles.register
def _(schedule: algebra.Shift) -> Iterator[tuple[Any, Any]]:
    yield from ((a + schedule.by, b + schedule.by) for a, b in _cycles(schedule.child))


@_cycles.register
def _(schedule: algebra.Stretch) -> Iterator[tuple[Any, Any]]:
    yield from ((a * schedule.by, b * schedule.by) for a, b in _cycles(schedule.child))


@_cycles.register
def _(schedule: algebra.Reverse) -> Iterator[tuple[Any, Any]]:
    length: Any = schedule.length
    yield from ((max(0, length - b), length - a) for a, b in _cycles(schedule.child))


@_cycles.register
def _(schedule: clocks.Clock) -> Iterator[tuple[Any, Any]]:
    for a, b in _cycles(schedule.child):
        yield schedule.update_at(a), math.inf if b == math.inf else schedule.update_at(b)


def _empty(schedule: Schedule, begin: Any = 0) -> Iterator[tuple[Any, Schedule]]:
    """(update, part) of every part that lasts no update, the outermost of each."""
    if schedule.length == 0:
        yield begin, schedule
        return
    if isinstance(schedule, algebra.Chain):
        for part in schedule.parts:
            if not (part is schedule.parts[-1] and isinstance(part, pieces.Constant)):  # which names the end value
                yield from _empty(part, begin)
            begin += part.length or 0
        return
    for child in _children(schedule):
        yield from _empty(child, begin)


def _without_empty(schedule: Schedule) -> Schedule:
    if isinstance(schedule, algebra.Chain):
        last = schedule.parts[-1]
        parts = [p for p in schedule.parts if p.length != 0 or (p is last and isinstance(p, pieces.Constant))] or [last]
        schedule = parts[0] if len(parts) == 1 else algebra.Chain(tuple(parts))
    if isinstance(schedule, algebra.Overlay) and schedule.top.length == 0:
        schedule = schedule.bottom
    if schedule.length == 0:
        return pieces.Constant(_value(schedule, 0))
    return schedule._rebuild(_without_empty)


# --- the rules -------------------------------------------------------------------------------------------------------


def _finite(run: _Run) -> Iterator[Finding]:
    if run.v.size < run.every_value.size:
        at = int(run.t[run.v.size])
        found = float(run.every_value[run.v.size])
        message = f"the value is {_g(found)} at update {at:,}"
        bound = float(_g(10 * _value(run.schedule, 0)))
        bounded = run.given.maximum if found < 0 else run.given.minimum
        yield run.finding("LAJU017", at, message, run.write("a bound", lambda: bounded(bound)))


def _zero(run: _Run) -> Iterator[Finding]:
    if run.kind != _RATE or not run.v.size:
        return
    zero = np.flatnonzero(run.v == 0)
    ending = run.end
    if ending is not None and run.updates is not None and _value(run.schedule, ending) == 0:
        zero = zero[run.t[zero] < ending]  # the zeros after the end are those of LAJU006
    if not zero.size:
        return
    at = int(run.t[zero[0]])
    ramp = _first_ramp(run.given)
    more = f"; {_many(int(zero.size))} in all" if zero.size > 1 and run.n <= _ALL else ""
    if at == 0 and ramp is not None and ramp.start == 0 and not ramp.first:
        fixed = dataclasses.replace(ramp, first=True, endpoint=False)
        instead = run.write(
            "first=True in the warmup, so that it starts one step above 0",
            lambda: _replaced(run.given, ramp, fixed),
        )
        yield run.finding("LAJU001", at, f"the warmup starts at 0, so update 0 changes nothing{more}", instead)
        return
    floor = float(_g(run.peak / 100)) if run.peak > 0 else 0.0
    ends = [node for node in _nodes(run.given) if isinstance(node, pieces.Ramp) and (node.first or node.endpoint)]
    if not floor:
        instead = "a rate above 0"
    elif at == run.n - 1 and len(ends) == 1 and ends[0].final == 0:
        plain = dataclasses.replace(ends[0], first=False, endpoint=False)
        instead = run.write(
            "leave endpoint=True or first=True out, so that 0 comes after the last update",
            lambda: _replaced(run.given, ends[0], plain),
        )
    else:
        words = (
            "first=True in the warmup, or a floor" if at == 0 and zero.size == 1 and run.n > 1 else "a floor above 0"
        )
        instead = run.write(words, lambda: run.given.maximum(floor))
    yield run.finding("LAJU001", at, f"the rate is 0 at update {at:,}{more}", instead)


def _unreached_peak(run: _Run) -> Iterator[Finding]:
    warmup = run.warmup
    if warmup is None or not run.v.size or warmup.length >= run.n or not math.isfinite(warmup.target):
        return
    if warmup.target <= 0 or warmup.target - run.peak <= max(1e-3 * warmup.target, 1.01 * warmup.step):
        return
    at = int(run.t[run.v.argmax()])
    short = 100 * (1 - run.peak / warmup.target)
    message = (
        f"the highest value is {_g(run.peak)}, at update {at:,}: {_g(short)}% below the peak of {_g(warmup.target)}"
    )
    yield run.finding(
        "LAJU002",
        at,
        message,
        run.write("start the decay when the warmup ends", lambda: _then(run.given, warmup.target)),
    )


def _then(schedule: Schedule, target: float) -> Schedule:
    """The schedule with its warmup before the rest instead of over it or as its factor."""
    if isinstance(schedule, algebra.Overlay):
        top: Any = schedule.top
        before: Schedule = dataclasses.replace(top, final=_value(schedule.bottom, 0))
        return before >> _begun(schedule.bottom, top.length)
    if isinstance(schedule, algebra.Product):
        rising = [part for part in schedule.parts if _rises(part)]
        if len(rising) == 1:
            ramp: Any = rising[0]
            rest = [part for part in schedule.parts if part is not ramp]
            under = rest[0] if len(rest) == 1 else algebra.Product(tuple(rest))
            value = _value(under, 0)
            before = dataclasses.replace(ramp, start=ramp.start * value, final=ramp.final * value)
            return before >> _begun(under, ramp.length)
    if isinstance(schedule, algebra.Chain):
        first, second, *others = schedule.parts
        if isinstance(second, pieces.Ramp):
            return algebra.Chain((first, dataclasses.replace(second, start=target), *others))
    return schedule._rebuild(lambda child: child if isinstance(child, pieces.Constant) else _then(child, target))


def _begun(schedule: Schedule, used: Any) -> Schedule:
    """A decay that has `used` updates less, since a warmup takes them."""
    length: Any = schedule.length
    if length is None or isinstance(length, Length) or isinstance(used, Length) or length <= used:
        return schedule
    return algebra.stretch(schedule, float((length - used) / length))


def _jump_after_warmup(run: _Run) -> Iterator[Finding]:
    warmup = run.warmup
    if warmup is None or warmup.length >= run.n:
        return
    by = warmup.after - warmup.arrives
    size = max(abs(warmup.after), abs(warmup.arrives))
    if not math.isfinite(by) or abs(by) <= max(1e-9 * size, 1.01 * warmup.step):
        return
    at = math.ceil(warmup.length)
    message = f"the warmup arrives at {_g(warmup.arrives)}, and what follows begins at {_g(warmup.after)}"
    instead = run.write("let the warmup end where the rest begins", lambda: _joined(run.given))
    yield run.finding("LAJU003", at, message, instead)


def _joined(schedule: Schedule) -> Schedule:
    """The schedule with its warmup ending at the value that follows."""
    if isinstance(schedule, algebra.Overlay) and _rises(schedule.top):
        top: Any = schedule.top
        return algebra.Overlay(dataclasses.replace(top, final=_value(schedule.bottom, top.length)), schedule.bottom)
    if isinstance(schedule, algebra.Chain) and _rises(schedule.parts[0]):
        first: Any = schedule.parts[0]
        after = _begins_at(schedule.parts[1])
        return algebra.Chain((dataclasses.replace(first, final=after), *schedule.parts[1:]))
    return schedule._rebuild(_joined)


def _begins_at(schedule: Schedule) -> float:
    return schedule.start if isinstance(schedule, pieces.Ramp) and not schedule.first else float(schedule(0))


def _rise_after_decay(run: _Run) -> Iterator[Finding]:
    if run.kind != _RATE or run.v.size < 3:
        return
    steps, noise = np.diff(run.v), 1e-9 * run.scale
    begin = math.ceil(run.warmup.length) if run.warmup else -1
    falls = np.flatnonzero((steps < -noise) & (run.t[1 : run.v.size] > begin))
    if not falls.size:
        return
    rises = np.flatnonzero(steps > noise)
    rises = rises[rises > falls[0]]
    if rises.size:
        at = run.t[rises + 1]
        meant = np.zeros(at.size, dtype=bool)
        for a, b in _cycles(run.schedule):
            meant |= (at >= a) & (at <= b)
        # A part that begins higher and comes down again is a cycle that was written out.
        begins = {math.ceil(b) for b in itertools.islice(_boundaries(run.schedule), 10_000)}
        last_fall = int(np.flatnonzero(steps < -noise)[-1])
        meant |= np.isin(at, list(begins)) & (rises < last_fall)
        rises = rises[~meant]
    if not rises.size:
        return
    i = int(rises[0])
    stop = np.flatnonzero(steps[i:] < -noise)
    top = float(run.v[i : i + int(stop[0]) + 1].max() if stop.size else run.v[i:].max())
    at_low = int(run.t[i])
    message = f"the rate rises from {_g(float(run.v[i]))} to {_g(top)} after it had fallen"
    hold = at_low
    instead = run.write(
        "hold the value that the decay ends with, or write cycles that are meant with .repeat()",
        lambda: algebra.Take(run.schedule, hold),
    )
    yield run.finding("LAJU004", at_low + 1, message, instead)


def _shorter(run: _Run) -> Iterator[Finding]:
    end = run.end
    if run.updates is None or end is None or run.n >= end or run.mistaken:
        return
    stops, final = _value(run.schedule, run.n - 1), _value(run.schedule, end)
    rest = {_value(run.schedule, run.n + i * (end - run.n) // 64) for i in range(65)}
    if rest == {stops} or _incomplete(run, end - run.n):
        return  # what is missing is more of the same value
    message = f"the run has {_many(run.n)}, the schedule {end:,}: it stops at {_g(stops)} on its way to {_g(final)}"
    yield run.finding("LAJU005", run.n, message, _fit(run))


def _longer(run: _Run) -> Iterator[Finding]:
    end = run.end
    if run.updates is None or end is None or run.n <= end or run.mistaken or _ends_constant(run.schedule):
        return
    held = _value(run.schedule, end)
    rest = run.n - end
    if _incomplete(run, rest):
        return
    what = f"{run.name} is 0 in the other {rest:,}" if held == 0 else f"{_g(held)} holds for the other {rest:,}"
    message = f"the schedule has {_many(end)}, the run {run.n:,}: {what}"
    yield run.finding("LAJU006", end, message, _fit(run))


def _incomplete(run: _Run, gap: int) -> bool:
    """Whether the gap is that of incomplete batches, at most one an epoch, in a schedule that counts samples or tokens."""
    return run.plan is not None and bool(run.given.units & {"samples", "tokens"}) and gap <= run.plan.epochs


def _fit(run: _Run) -> str:
    plan, given = run.plan, run.given
    if isinstance(given, algebra.Per) and given.unit == "epoch" and plan and not (plan.batch_ramp or given.child.units):
        return run.write(
            "a total of all the epochs of the run",
            lambda: algebra.Per(_fitted(given.child, plan.epochs), "epoch", given.smooth),
        )
    if given.units:
        return 'lengths that add up to the whole run, such as total="100%"'
    return run.write(
        'a total of the whole run, which total="100%" is whatever its length', lambda: _fitted(run.given, run.n)
    )


def _ends_constant(schedule: Schedule) -> bool:
    """Whether the value that holds was in force before the end already."""
    if isinstance(schedule, algebra.Chain):
        return _ends_constant([part for part in schedule.parts if part.length != 0 or part is schedule.parts[0]][-1])
    if isinstance(schedule, algebra.Take | algebra.Staircase | algebra.Stretch | clocks.Clock):
        return _ends_constant(schedule.child)
    if isinstance(schedule, algebra._Combination):
        return all(_ends_constant(part) for part in schedule.parts)
    return isinstance(schedule, pieces.Constant)


def _unreached_boundary(run: _Run) -> Iterator[Finding]:
    if run.updates is None or run.end is not None or run.mistaken:
        return
    own = run.warmup.length if run.warmup else None  # that one is LAJU009's
    late = sorted({at for at in _boundaries(run.schedule) if at >= run.n and at != own})
    late = [at for at in late if at > run.n or _jumps_at(run.schedule, at)]
    if not late:
        return
    places = ", ".join(f"{math.ceil(at):,}" for at in late[:5]) + (" …" if len(late) > 5 else "")
    word = "boundaries" if len(late) > 1 else "boundary"
    message = f"the run ends after {_many(run.n)} and never reaches the {word} at update {places}"
    instead = 'boundaries before the end of the run, which percentages such as "50%" always are'
    yield run.finding("LAJU007", run.n, message, instead)


def _jumps_at(schedule: Schedule, at: Any) -> bool:
    before, after = _value(schedule, math.nextafter(at, 0)), _value(schedule, at)
    return abs(after - before) > 1e-9 * max(abs(before), abs(after))


def _floor_above_base(run: _Run) -> Iterator[Finding]:
    if run.kind != _RATE or not run.bases or not run.v.size or run.factor:
        return
    top = int(run.v.argmax())
    floor = float(run.v[top:].min())
    for i, base in enumerate(run.bases):
        if floor > base * (1 + 1e-9):
            at = top + int(run.v[top:].argmin())
            message = (
                f"the floor of {_g(floor)} is above the base rate {_g(base)} of group {i}, by {_g(floor / base)} times"
            )
            instead = run.write(
                "a schedule with peak 1, used as a factor of each group's own base",
                lambda: _scaled(run.given, 1 / run.peak),
            )
            yield run.finding("LAJU008", int(run.t[at]), message, instead)
            return


def _warmup_is_all(run: _Run) -> Iterator[Finding]:
    warmup = run.warmup
    if warmup is None or warmup.length < run.n or run.mistaken or not run.v.size:
        return
    message = (
        f"the warmup lasts {_many(math.ceil(warmup.length))} and the run {run.n:,}: "
        f"the highest value is {_g(run.peak)} of {_g(warmup.target)}"
    )
    ramp = _first_ramp(run.given)
    instead = 'a warmup of a small part of the run, such as warmup="5%"'
    # Only where the rest has a length of its own does a shorter warmup leave it time.
    if ramp is not None and not run.given.units and isinstance(run.given, algebra.Chain):
        shorter = max(1, run.n // 20)
        rest: Any = run.given.parts[-1]
        if run.n > 1 and len(run.given.parts) == 2 and run.given.parts[0] is ramp:
            instead = run.write(
                instead,
                lambda: (
                    dataclasses.replace(ramp, length=shorter)
                    >> (rest if rest.length is None else algebra._lasting(rest, run.n - shorter))
                ),
            )
    yield run.finding("LAJU009", run.n - 1, message, instead)


def _no_length(run: _Run) -> Iterator[Finding]:
    for at, part in itertools.islice(_empty(run.schedule), 1):
        if at >= run.n and run.warmup and run.warmup.length >= run.n:
            return
        name = shown(part, 60)
        rounded = " in this run" if run.given.units else ""
        instead = (
            "a length that is at least one update of the run"
            if run.given.units
            else run.write("leave it out", lambda: _without_empty(run.given))
        )
        yield run.finding("LAJU010", math.ceil(at), f"{name} lasts 0 updates{rounded}", instead)


def _outside_average(run: _Run) -> Iterator[Finding]:
    if run.kind != _AVERAGE:
        return
    bad = np.flatnonzero((run.v < 0) | (run.v >= 1))
    if bad.size:
        at = int(bad[0])
        message = f"{run.parameter} is {run.v[at]:.6g} at update {int(run.t[at]):,}, and must be at least 0 and below 1"
        instead = run.write("bound it", lambda: _bounded(run))
        yield run.finding("LAJU011", int(run.t[at]), message, instead)


def _bounded(run: _Run) -> Schedule:
    bounded = run.given
    if (run.v >= 1).any():
        bounded = bounded.minimum(0.999)
    return bounded.maximum(0.0) if (run.v < 0).any() else bounded


def _negative(run: _Run) -> Iterator[Finding]:
    if run.kind == _AVERAGE:
        return
    bad = np.flatnonzero(run.v < 0)
    if bad.size:
        at = int(bad[0])
        message = f"{run.name} is {_g(float(run.v[at]))} at update {int(run.t[at]):,}"
        floor = float(_g(run.peak / 100)) if run.kind == _RATE and run.peak > 0 else 0.0
        instead = run.write("a floor", lambda: run.given.maximum(floor))
        yield run.finding("LAJU012", int(run.t[at]), message, instead)


def _other_unit(run: _Run) -> Iterator[Finding]:
    if run.mistaken:
        yield run.mistaken


def _another_unit(run: _Run) -> Finding | None:
    if run.updates is None or run.given.units:
        return None
    n, plan = run.n, run.plan
    epochs = plan.epochs if plan is not None and n >= 10 * plan.epochs else 0
    decay = _vanishing(run.schedule, n, epochs) if epochs else None
    if decay is not None:
        at = min(n - 1, math.ceil(decay.every))
        message = (
            f"×{decay.factor:g} every {_many(decay.every)} leaves nothing of {run.name} long before the end of "
            f"{_many(n)}: it looks like {_many(decay.every, 'epoch')}"
        )
        return run.finding("LAJU013", at, message, run.write("the unit", lambda: run.given.per("epoch")))
    length = max(_boundaries(run.schedule), default=None) if run.end is None else run.end
    if not length or (run.warmup and run.warmup.length == length):
        return None
    cycle = run.schedule.length is None and any(isinstance(node, algebra.Repeat) for node in _nodes(run.schedule))
    what = "a cycle" if cycle else "the schedule"
    shown_length = f"{math.ceil(length):,}"
    held = "" if cycle else f"; {_g(_value(run.schedule, math.ceil(length)))} then holds"
    if length <= epochs:
        message = (
            f"{what} takes {shown_length} of {_many(n)}{held}: it looks like {_many(math.ceil(length), 'epoch')}, "
            f"of which the run has {plan.epochs if plan else 0:,}"
        )
        return run.finding("LAJU013", math.ceil(length), message, run.write("the unit", lambda: run.given.per("epoch")))
    if not cycle and (100 * length <= n or (length == 100 and 10 * length <= n)):
        percent = "percent of the run" if length == 100 else "another unit"
        message = f"{what} takes {shown_length} of {_many(n)}{held}: it looks like {percent}"
        words = 'a total of the whole run, which total="100%" is whatever its length'
        fitted = run.write(words, lambda: _fitted(run.given, n)) if run.end is not None else words
        return run.finding("LAJU013", math.ceil(length), message, fitted)
    if plan is None or length < 1.5 * n or cycle:
        return None
    for count, words in _counts(plan):
        if math.isclose(length, count, rel_tol=0.01):
            message = f"{what} takes {shown_length} updates, and the run has {n:,}: it looks like {words}"
            instead = run.write(
                'a total in updates, which total="100%" is whatever is counted', lambda: _fitted(run.given, n)
            )
            return run.finding("LAJU013", n, message, instead)
    return None


def _counts(plan: RunPlan) -> Iterator[tuple[int, str]]:
    """What other things there are in a run that are counted as its length by mistake."""
    all_samples = plan.samples * plan.epochs
    yield all_samples, "samples"
    yield plan.samples, "the samples of one epoch"
    if plan.tokens_per_sample:
        yield all_samples * plan.tokens_per_sample, "tokens"
    if not plan.batch_ramp:
        for accumulate, world, words in (
            (1, plan.world_size, "micro-batches, before accumulation"),
            (plan.accumulate, 1, "the updates of all processes"),
            (1, 1, "the micro-batches of all processes"),
        ):
            yield -(-plan.samples // (plan.batch_size * accumulate * world)) * plan.epochs, words


def _vanishing(schedule: Schedule, n: int, epochs: int) -> pieces.Exponential | None:
    """A decay every so many updates that is over long before the end, and would not be if it counted epochs."""
    for node in _nodes(schedule):
        if isinstance(node, pieces.Exponential) and node.factor < 1 and node.every <= epochs:
            digits = math.log10(node.factor) / float(node.every)
            if digits * n < -12 and digits * epochs >= -6:
                return node
    return None


def _large(run: _Run) -> Iterator[Finding]:
    most = _LARGEST.get(run.optimizer or "")
    if most is None or run.kind != _RATE or not run.v.size:
        return
    by = max(run.bases) if run.factor else 1.0
    peak = run.peak * by
    if peak > most:
        at = int(run.t[run.v.argmax()])
        message = f"the peak is {_g(peak)}, and {run.optimizer} is rarely trained above {_g(most)}"
        words = f"a peak that was tuned for {run.optimizer}, such as {most / 10:g}"
        instead = run.write(words, lambda: _scaled(run.given, most / 10 / peak)) if not run.factor else words
        yield run.finding("LAJU014", at, message, instead)


def _tiny(run: _Run) -> Iterator[Finding]:
    if run.kind == _RATE and run.v.size and 0 < run.scale < _SMALLEST:
        at = int(run.t[np.abs(run.v).argmax()])
        message = f"the highest value of the run is {_g(run.peak)}"
        instead = run.write("a larger peak", lambda: _scaled(run.given, float(_g(1e-3)) / run.peak))
        yield run.finding("LAJU015", at, message, instead)


def _does_not_fit(schedule: Schedule, plan: RunPlan | int | None, error: ValueError) -> Finding:
    """The finding for a schedule whose lengths leave a part nothing in this run."""
    n = plan.updates if isinstance(plan, RunPlan) else int(plan or 0)
    ramp, length = _first_ramp(schedule), None
    if ramp is not None and isinstance(plan, RunPlan) and not plan.batch_ramp:
        try:
            length = nearest_update(plan.scale.updates(ramp.length))
        except UnresolvedError:
            length = None
    if length is not None and length >= n:
        message = f"the warmup lasts {_many(length)} and the run {n:,}"
        return Finding(
            "LAJU009", n - 1, message, _WHY["LAJU009"], 'a warmup of a small part of the run, such as warmup="5%"'
        )
    return Finding(
        "LAJU016",
        0,
        f"in a run of {_many(n)}, {error}",
        _WHY["LAJU016"],
        "lengths that add up in this run, such as percentages of it",
    )


_RULES: tuple[Callable[[_Run], Iterator[Finding]], ...] = (
    _finite, _zero, _unreached_peak, _jump_after_warmup, _rise_after_decay, _shorter, _longer, _unreached_boundary,
    _floor_above_base, _warmup_is_all, _no_length, _outside_average, _negative, _other_unit, _large, _tiny,
)  # fmt: skip
