"""torch's schedulers step by step, single or several on an optimizer, and the schedules with the same learning rates."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from laju.core.algebra import Chain, Product
from laju.core.checks import shown
from laju.core.clocks import Take
from laju.core.schedule import Schedule
from laju.dialects import declared
from laju.dialects.declared import DialectError, Made, NoClosedForm, SystemSchedule


@dataclass
class Group:
    """A parameter group: its learning rate, the initial rate that schedulers read once any scheduler has been constructed, and
    the rates that `OneCycleLR` and `SWALR` write into the group, so that the scheduler constructed last decides for all.
    """

    lr: float
    initial: float | None = None
    high: float = 0.0
    bottom: float = 0.0
    swa: float = 0.0


@dataclass(frozen=True)
class TorchRule:
    """The rule of a torch scheduler.

    Attributes:
        name, lr: torch's name, and the optimizer's rate where that rate matters.
        advance: (the group, the base, the epoch, whether this is the step of making the scheduler) to the rate, in torch's
            arithmetic.
        closed: from the base to the schedule.
        zero: the first value as a later part of a sequence; None where `advance` gives that value.
        follows: the schedule of a later part, from its base and the rate before it; `closed` by default.
        multiplies: each step is a factor, whatever else changes the rate.
        sets: no step depends on the rate before.
        finds: the rule begins at the current rate, and counts its own steps instead of epochs.
        enters: the change that making the scheduler first does to the group.
        own: the rule's base, where different from the group's.
        end: the last epoch, for a scheduler that raises afterwards.
        direct: from the base and the epoch, torch's answer when the scheduler is asked for a rate but was never stepped.
    """

    name: str
    lr: float | None
    advance: Callable[[Group, float, int, bool], float]
    closed: Callable[[float], Schedule]
    zero: Callable[[float], float] | None = None
    follows: Callable[[float, float], Schedule] | None = None
    multiplies: bool = False
    sets: bool = False
    finds: bool = False
    enters: Callable[[Group], None] | None = None
    own: float | None = None
    end: int | None = None
    direct: Callable[[float, int], float] | None = None

    def make(self, group: Group) -> RunningRule:
        return RunningRule(self, group)

    def schedule(self) -> Schedule:
        return self.closed(self.own if self.own is not None else self.lr or 0.0)


class RunningRule:
    """A torch scheduler as run: made, then stepped."""

    def __init__(self, rule: TorchRule, group: Group) -> None:
        if rule.enters:
            rule.enters(group)
        # torch keeps the first rate as initial_lr, which schedulers that are made later take as their base.
        if group.initial is None:
            group.initial = group.lr
        self.rule, self.group, self.base, self.epoch, self.count = rule, group, group.initial, -1, 0
        self.begin()
        if rule.own is not None:
            self.base = rule.own

    def begin(self) -> None:
        self.count = 0
        self.step(initial=True)

    def step(self, initial: bool = False) -> None:
        self.epoch, self.count = self.epoch + 1, self.count + 1
        t = self.count - 1 if self.rule.finds else self.epoch
        self.group.lr = self.rule.advance(self.group, self.base, t, initial)

    def restart(self) -> None:
        """Begin as a later part of a sequence."""
        self.epoch = 0
        rule = self.rule
        self.group.lr = rule.zero(self.base) if rule.zero else rule.advance(self.group, self.base, 0, False)

    def undo(self) -> None:
        self.epoch -= 1


@dataclass(frozen=True)
class Composite:
    """Several rules for the same optimizer."""

    name: str
    lr: float | None
    rules: tuple[Any, ...]
    multiplies: bool = field(default=False, init=False)

    def _plain(self) -> tuple[list[TorchRule], list[RunningRule], Group]:
        """Return the rules, the schedulers constructed as in torch, and their parameter group."""
        nested = next((rule.name for rule in self.rules if not isinstance(rule, TorchRule)), None)
        if nested is not None:
            raise no_formula(f"a {nested} inside a {self.name}")
        for kind in ("OneCycleLR", "SWALR"):
            if sum(rule.name == kind for rule in self.rules) > 1:
                raise no_formula(f"a {self.name} of more than one {kind}, whose rates the last one made decides,")
        group = Group(0.0 if self.lr is None else self.lr)
        return list(self.rules), [rule.make(group) for rule in self.rules], group


@dataclass(frozen=True)
class InSequence(Composite):
    milestones: tuple[int, ...]

    def make(self, group: Group) -> RunningSequence:
        return RunningSequence([rule.make(group) for rule in self.rules], self.milestones, group)

    def schedule(self) -> Schedule:
        rules, made, group = self._plain()
        assert group.initial is not None
        # Several milestones at 0, or at the same step: torch looks a part up by `bisect_right`, so of parts that begin together
        # the last is in force.
        first = bisect_right(self.milestones, 0)
        parts: list[Schedule] = []
        begin = 0
        for k in range(first, len(rules)):
            end = self.milestones[k] if k < len(rules) - 1 else None
            if end == begin:  # the next part begins at the same step
                continue
            rule, base = rules[k], made[k].base
            if k == first:
                if not (rule.multiplies or rule.sets or rule.finds or base == group.initial):
                    raise no_formula(f"{rule.name} as the first part, where another part has changed the rate")
                part = rule.closed(base if rule.sets else group.initial)
            elif rule.follows:
                part = rule.follows(base, Chain(tuple(parts))(begin - 1))
            else:
                part = rule.closed(base)
            if end is not None and rule.end is not None and end - begin > rule.end + 1:
                raise DialectError(
                    f"torch's {rule.name} raises after its step {rule.end}, before the milestone at {end}"
                )
            parts.append(part if end is None else Take(part, end - begin))
            begin = end or begin
        return Chain(tuple(parts)) if len(parts) > 1 else parts[0]


class RunningSequence:
    def __init__(self, parts: list[Any], milestones: tuple[int, ...], group: Group) -> None:
        self.parts, self.milestones, self.epoch = parts, milestones, 0
        # As torch does: back to the optimizer's rate, undo the steps of making the parts, and begin with the part in force at 0.
        group.lr = group.initial if group.initial is not None else group.lr
        self.undo()
        parts[bisect_right(milestones, 0)].begin()

    def begin(self) -> None:
        self.step()

    def step(self) -> None:
        self.epoch += 1
        i = bisect_right(self.milestones, self.epoch)
        if i and self.milestones[i - 1] == self.epoch:
            self.parts[i].restart()
        else:
            self.parts[i].step()

    def restart(self) -> None:
        raise DialectError("torch cannot begin a SequentialLR as a later part of another: it has no rate of its own")

    def undo(self) -> None:
        for part in self.parts:
            part.undo()


@dataclass(frozen=True)
class InChain(Composite):
    def make(self, group: Group) -> RunningChain:
        return RunningChain([rule.make(group) for rule in self.rules])

    def schedule(self) -> Schedule:
        rules, _, _ = self._plain()
        if len(rules) == 1:
            return rules[0].schedule()
        if all(rule.multiplies for rule in rules):
            assert self.lr is not None
            # The first part has the rate, all later parts are factors.
            return Product((rules[0].closed(self.lr), *(rule.closed(1.0) for rule in rules[1:])))
        # A last part that sets the rate undoes the steps of all parts before.
        if rules[-1].sets and self.lr is not None and not any(rule.enters for rule in rules):
            return rules[-1].closed(self.lr)
        other = next(rule.name for rule in rules if not rule.multiplies)
        raise no_formula(f"a ChainedScheduler of {other} and others")


class RunningChain:
    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def begin(self) -> None:
        self.step()

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def restart(self) -> None:
        raise DialectError(
            "torch cannot begin a ChainedScheduler as a later part of a SequentialLR: it has no rate of its own"
        )

    def undo(self) -> None:
        for part in self.parts:
            part.undo()


def made(rule: Any) -> Made:
    """Return the schedule of a rule together with the rule, which composite schedulers need."""
    return declared.made(rule.schedule, lambda n: played(rule, n), rule)


def played(rule: Any, n: int) -> list[float]:
    """Return the first rates of a scheduler in torch's own arithmetic, or fewer if torch raises after its last step."""
    group = Group(0.0 if rule.lr is None else rule.lr)
    try:
        running = rule.make(group)
    except ZeroDivisionError as error:
        raise DialectError(f"torch's {rule.name} fails when it is made: {error}") from None
    # torch raises only when the step is made, and a run may end before. So the values up to there are right, and are returned.
    values = [float(group.lr)]
    while len(values) < n:
        try:
            running.step()
        except (ZeroDivisionError, DialectError) as error:
            if isinstance(rule, TorchRule):
                break
            raise DialectError(f"torch's {rule.name} fails at step {len(values)}: {error}") from None
        values.append(float(group.lr))
    return values


def rule_of(schedule: Schedule) -> Any:
    """Return the rule of a schedule that was made by laju.dialects.torch.

    Raises:
        DialectError: if the schedule was not made by laju.dialects.torch.
    """
    if not (isinstance(schedule, SystemSchedule) and schedule.system == "torch"):
        raise DialectError(
            f"{shown(schedule)} is not a schedule returned by a function of laju.dialects.torch; laju's own schedules are joined "
            "with >> and multiplied with *"
        )
    return schedule.rule


def no_formula(what: str) -> NoClosedForm:
    return NoClosedForm(f"{what} has no closed form")
