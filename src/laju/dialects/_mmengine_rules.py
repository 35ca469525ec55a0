"""MMEngine's schedulers in their windows, step by step, and schedules with the same values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from laju.core.algebra import Chain, Product
from laju.core.clocks import Take
from laju.core.outline import Level, Transition
from laju.core.pieces import Constant
from laju.core.schedule import Schedule
from laju.dialects import declared
from laju.dialects._torch_rules import Group
from laju.dialects.declared import Count1, DialectError, Made, NoClosedForm, fixed, integer

INF = 10**9
"""The `end` that MMEngine takes for none; here such a window has no end at all."""


@dataclass(frozen=True)
class Window:
    """Steps begin ≤ step < end in which a scheduler acts, and the iterations per step if converted to iterations."""

    begin: int
    end: int
    by_epoch: bool
    scale: int

    @property
    def last(self) -> int:
        """The last step of the window in MMEngine's arithmetic, counted from its begin."""
        return self.end - self.begin - 1

    @property
    def first(self) -> int:
        return max(self.begin, 0)

    @property
    def open(self) -> bool:
        return self.end >= INF

    def reaches(self, t: int) -> bool:
        """Return whether the window ends, and contains the scheduler's step t before its end."""
        return not self.open and self.first + t < self.end

    def within(self, t: int) -> bool:
        """Return whether the window has no step after t."""
        return not self.open and self.end - self.first <= t + 1


@dataclass(frozen=True)
class MMEngineRule:
    """The rule of an MMEngine scheduler.

    Attributes:
        name: MMEngine's name of the scheduler.
        lr: the optimizer's learning rate.
        window: the steps in which the scheduler acts.
        advance: function of the group, the base rate and the step in the window that returns the rate, in MMEngine's arithmetic.
        curve: function of the current rate and the base rate that returns the schedule of the window.
        factor: whether each step multiplies the rate, independent of further changes of the rate.
        bottom: function of the base rate that returns the end of the curve; up to step `until` each step multiplies the
            difference to that end.
        enters: change of the group when the scheduler is constructed.
    """

    name: str
    lr: float
    window: Window
    advance: Callable[[Group, float, int], float]
    curve: Callable[[float, float], Schedule]
    factor: bool = False
    bottom: Callable[[float], float] | None = None
    until: float = math.inf
    enters: Callable[[Group], None] | None = None

    def low(self, base: float) -> float | None:
        """Return the level such that each step multiplies the difference to the level; None for no such level."""
        return 0.0 if self.factor else self.bottom(base) if self.bottom else None


def bases_of(rules: Sequence[MMEngineRule], group: Group) -> list[float]:
    """Return the optimizer's rate that each scheduler reads when all are constructed in the given order."""
    bases = []
    for rule in rules:
        if rule.enters:
            rule.enters(group)
        if group.initial is None:
            group.initial = group.lr
        bases.append(group.initial)
    return bases


def _played(rules: Sequence[MMEngineRule], lr: float, each: int | None, n: int) -> list[float]:
    """Return the first n rates in MMEngine's own arithmetic, or fewer if MMEngine raises."""
    group = Group(lr)
    running: list[tuple[MMEngineRule, float]] = []
    steps = [-1] * len(rules)

    def step(k: int) -> None:
        steps[k] += 1
        rule, base = running[k]
        window = rule.window
        if window.first <= steps[k] and (steps[k] < window.end or window.open):
            group.lr = float(rule.advance(group, base, steps[k] - window.first))

    for k, rule in enumerate(rules):
        running.append((rule, bases_of([rule], group)[0]))
        step(k)
    values = [group.lr]
    # The Runner steps schedulers by iteration after every iteration, and schedulers by epoch at the epoch's end.
    ordered = [k for k, rule in enumerate(rules) if not rule.window.by_epoch]
    late = [k for k, rule in enumerate(rules) if rule.window.by_epoch]
    while len(values) < n:
        try:
            for k in ordered:
                step(k)
            if each and len(values) % each == 0:
                for k in late:
                    step(k)
        except DialectError:  # OneCycleLR's end
            break
        values.append(group.lr)
    return values


def _closed(rules: Sequence[MMEngineRule], lr: float, each: int | None) -> Schedule:
    if sum(rule.enters is not None for rule in rules) > 1:
        raise _no_formula("more than one OneCycleLR, whose rates the last one made decides,")
    bases = bases_of(rules, Group(lr))
    spans: list[tuple[float, float]] = []
    for rule in rules:
        window, every = rule.window, each if rule.window.by_epoch else 1
        if every:
            spans.append((window.first * every, math.inf if window.open else window.end * every))
        else:  # never stepped after being made
            spans.append((0, math.inf) if window.begin <= 0 < window.end else (0, 0))
    # From one cut to the next the same schedulers act.
    # MMEngine's schedulers change the optimizer's rate in place, so a schedule is what the acting ones make of the rate at
    # hand: the run is cut wherever a window begins or ends, and each stretch begins at the rate that the stretch before left.
    cuts = sorted({0, *(float(c) for span in spans for c in span if 0 <= c < math.inf)})
    parts: list[Schedule] = []
    wholes: list[Schedule] = []
    now = lr
    for a, b in zip(cuts, [*cuts[1:], math.inf], strict=True):
        acting = [k for k, (begin, end) in enumerate(spans) if begin <= a < end]
        part: Schedule = Constant(now)
        if acting:
            placed = []
            for k in acting:
                every = each if rules[k].window.by_epoch else 1
                placed.append((rules[k], bases[k], int(a - spans[k][0]), every))
            part = _one_acts(*placed[0], now) if len(placed) == 1 else _several_act(placed, now, b - a)
        if b < math.inf:
            now = float(part(int(b - a) - 1))
        parts.append(part if b == math.inf or part.length == b - a else Take(part, int(b - a)))
        wholes.append(part)
    # A cut at the end of the last window says nothing where the curve rests by then: the plain curve is the shorter text.
    if len(parts) > 1 and parts[-2] is not wholes[-2] and _holds(wholes[-2], parts[-2].length, parts[-1]):
        parts = [*parts[:-2], wholes[-2]]
    return Chain(tuple(parts)) if len(parts) > 1 else parts[0]


def _one_acts(rule: MMEngineRule, base: float, done: int, every: int | None, now: float) -> Schedule:
    """Return a rule's schedule from `done` updates after the start of its window on, beginning at the rate `now`."""
    if done:  # another acted in the window as well, and both multiply
        step = (done - 1) // every if every else 0
        if step >= rule.until:
            raise _no_formula(f"{rule.name} after another has acted in its window up to its minimum")
        # The rate at hand already has the factor that this rule had multiplied in by then; without it the curve would be scaled
        # twice.
        share = _share_at(rule, step)
        if share == 0:
            return Constant(now)
        now /= share
    return _paced(rule.curve(now, base), every, done)


def _several_act(placed: Sequence[tuple[MMEngineRule, float, int, int | None]], now: float, span: float) -> Schedule:
    """Return the product of schedulers that act at the same time."""
    rate = now
    factors: list[Schedule] = []
    for rule, base, done, every in placed:
        last = (done + span - 1) // every if every else 0
        if rule.low(base) != 0 or last > rule.until:
            others = next(other.name for other, *_ in placed if other is not rule)
            raise _no_formula(f"{rule.name} in a window that overlaps that of {others}")
    for rule, _, done, every in placed:
        if done:
            share = _share_at(rule, (done - 1) // every if every else 0)
            if share == 0:
                return Constant(now)
            rate /= share
        factors.append(_paced(_unit(rule), every, done))
    return Product((Constant(rate), *factors))


def _unit(rule: MMEngineRule) -> Schedule:
    """Return the factors of a rule that decays to 0."""
    return rule.curve(1.0, 1.0)


def _share_at(rule: MMEngineRule, step: int) -> float:
    return float(_unit(rule)(step))


def _paced(local: Schedule, every: int | None, done: int) -> Schedule:
    """Convert a schedule of steps to a schedule of updates, from `done` updates on."""
    if every is None:
        return Constant(local(0))
    if every > 1 and local.level is None:
        local = local.stretch(every).staircase(every)
    return local.shift(-done) if done else local


def _holds(before: Schedule, length: Any, after: Schedule) -> bool:
    """Return whether a schedule before a last constant becomes constant within `length`, so that no cut is needed."""
    match before.form:
        case Level(value):
            return before.length is None and value == after.level
        case Transition(_, final, over):
            return bool(over < length) and final == after.level
    return False


def alone(rule: MMEngineRule) -> Made:
    return made((rule,), rule.lr, 1, rule)


def made(rules: Sequence[MMEngineRule], lr: float, each: int | None, rule: MMEngineRule | None = None) -> Made:
    return declared.made(lambda: _closed(rules, lr, each), lambda n: _played(rules, lr, each, n), rule)


def window_of(
    begin: float = 0,
    end: float = INF,
    last_step: Annotated[int, fixed(-1, "a schedule begins at 0")] = -1,
    by_epoch: bool = True,
    verbose: bool = False,
    *,
    convert_to_iter_based: bool = False,
    epoch_length: Count1 | None = None,
) -> Window:
    """Return the window in which a scheduler acts.

    Args:
        begin, end: the scheduler acts in steps begin ≤ step < end; whole numbers, or fractions of epochs with
            `convert_to_iter_based`.
        last_step: must be -1.
        by_epoch: whether a step is an epoch (the default) or an iteration.
        verbose: no effect.
        convert_to_iter_based: whether epochs are converted to iterations, as the Runner does.
        epoch_length: iterations per epoch; only needed for the conversion.

    Raises:
        DialectError: if `end` is not after `begin`, or the conversion lacks by_epoch=True or `epoch_length`.
    """
    scale = 1
    if convert_to_iter_based:
        if not by_epoch:
            raise DialectError("convert_to_iter_based needs by_epoch=True, as MMEngine requires")
        if epoch_length is None:
            raise DialectError("convert_to_iter_based needs epoch_length, the number of iterations per epoch")
        scale = epoch_length
        begin, end = int(begin * scale), end if end == INF else int(end * scale)
    first, last = integer()("begin", begin), integer()("end", end)
    if last <= first:
        raise DialectError(f"end must be after begin, as MMEngine requires, got {first} and {last}")
    return Window(first, last, bool(by_epoch) and not convert_to_iter_based, scale)


def _no_formula(what: str) -> NoClosedForm:
    return NoClosedForm(f"{what} has no closed form")
