"""Factors that a metric drives, as pure state machines: `rule.observe(state, metric)` is the next state.

A schedule stays a value; what a metric decided is a factor beside it, and the two multiply. A rule (`Plateau`, `Greedy`) is a
value too, and its state is small JSON, so a resumed run decides as an uninterrupted one. `Controller` holds a rule and its state
for a training loop; `simulate` and `record` say what a rule would have decided; what it did decide becomes a plain schedule.

Every rule shares these promises:

| question | answer |
| --- | --- |
| which factor does a run begin with | 1: until the first decision the schedule is what was written |
| what is better (mode "min") | metric < best - threshold·abs(best) ("rel"), or < best - threshold ("abs"); "max" is the mirror |
| patience | the observations in a row that are tolerated: the factor changes on the one after them |
| the first finite metric | becomes the best, and decides nothing by itself |
| NaN, an infinity, or beyond ±1e300 | counts as bad and is kept out of the best and of any average |
| during a pause | nothing is counted and both counts stay at 0, NaN included; a better metric still becomes the best |
| at a bound | no further decision and no new pause; bad observations go on being counted, which makes `exhausted` true |
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt

from laju.algebra import Chain
from laju.arguments import is_number, nearest, number, shown, updates, whole
from laju.pieces import Constant, Table
from laju.schedule import Schedule, put
from laju.units import Span

VERSION = 1
_FINITE = 1e300  # far from overflow, so that sums and differences of what passes are finite


class StateError(ValueError):
    """A saved state that does not belong to this controller, or is not one."""


@dataclasses.dataclass(frozen=True)
class State:
    """What a rule remembers between two observations: numbers only, which `to_json` writes as they are.

    Args:
        factor: what the schedule is multiplied by now.
        best: the best metric so far; None before the first finite one.
        bad: bad observations in a row that count.
        waiting: observations that are left of the pause after a change.
        exhausted: the factor is at its floor and more than `patience` bad observations in a row came since, so the rule would
            cut again and cannot: time to stop the run. It becomes false again with the next better metric.
    """

    factor: float = 1.0
    best: float | None = None
    bad: int = 0
    waiting: int = 0
    exhausted: bool = False

    def to_json(self) -> dict[str, Any]:
        """The state as a JSON object."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The state that `to_json` wrote.

        Raises:
            StateError: another class's state, or values that no state has.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(data, Mapping) or set(data) != set(names):
            raise StateError(f"a {cls.__name__} must be an object with {', '.join(names)}, got {shown(data)}")
        try:
            return cls(**{name: _read(name, data[name], getattr(cls, name)) for name in names})
        except (TypeError, ValueError) as error:
            raise StateError(f"a {cls.__name__} cannot have this: {error}") from None


def _read(name: str, value: Any, default: Any) -> Any:
    """A field of a state, checked to be of its default's kind."""
    if isinstance(default, bool):
        return _flag(name, value)
    if isinstance(default, int):
        return whole(name, value)
    if isinstance(default, tuple):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise TypeError(f"{name} must be a list of numbers, got {shown(value)}")
        return tuple(number(f"{name}[{i}]", v) for i, v in enumerate(value))
    if default is None:
        return None if value is None else number(name, value)
    return number(name, value, least=0 if name == "factor" else None)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return value


@dataclasses.dataclass(frozen=True)
class PlateauState(State):
    """The state of a `Plateau`: with the moving average of the metric, and the weight that its observations have in it."""

    average: float = 0.0
    weight: float = 0.0


@dataclasses.dataclass(frozen=True)
class GreedyState(State):
    """The state of a `Greedy`: with the good observations in a row, and the latest finite metrics."""

    good: int = 0
    recent: tuple[float, ...] = ()


S = TypeVar("S", bound=State)


class Rule(Generic[S]):
    """A state machine that a metric drives: a frozen dataclass with `initial()` and a pure `observe(state, metric)`."""

    def initial(self) -> S:
        """The state before the first observation, with factor 1."""
        raise NotImplementedError  # every rule has its own

    def observe(self, state: S, metric: Any) -> S:
        """The state after one more observation: a number, or an array or tensor of one."""
        raise NotImplementedError  # every rule has its own

    def to_json(self) -> dict[str, Any]:
        """The rule's name and parameters as a JSON object."""
        return {"kind": type(self).__name__, **vars(self)}

    def __repr__(self) -> str:
        fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(self)  # type: ignore[arg-type]
        arguments = [f"{f.name}={getattr(self, f.name)!r}" for f in fields if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(arguments)})"


def _choice(name: str, value: Any, valid: tuple[str, ...]) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be {' or '.join(map(repr, valid))}, got {shown(value)}")
    if value not in valid:
        raise ValueError(f"{name} must be {' or '.join(map(repr, valid))}, got {shown(value)}{nearest(value, valid)}")


def _check(rule: Plateau | Greedy) -> None:
    """What both rules ask of their parameters."""
    _choice("threshold_mode", rule.threshold_mode, ("rel", "abs"))
    _choice("mode", rule.mode, ("min", "max"))
    put(
        rule,
        factor=number("factor", rule.factor, above=0, below=1),
        patience=whole("patience", rule.patience),
        threshold=number("threshold", rule.threshold, least=0, below=1 if rule.threshold_mode == "rel" else None),
        cooldown=whole("cooldown", rule.cooldown),
        floor=number("floor", rule.floor, least=0, below=1),
    )


def _finite(metric: Any) -> float | None:
    """The metric as a float; None for what counts as bad whatever the best is."""
    value = _one("metric", metric)
    return value if abs(value) <= _FINITE else None


def _one(name: str, metric: Any) -> float:
    """One number as a float, from a number or an array or tensor of one; too large is infinite."""
    value = metric
    if not is_number(value) and hasattr(value, "item"):
        # It has more than one number, or none.
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            value = value.item()
    if not is_number(value):
        raise TypeError(f"{name} must be one number, got {shown(metric)}")
    try:
        return float(value) + 0.0  # -0.0 becomes 0.0, so that equal states print alike
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _better(rule: Plateau | Greedy, metric: float | None, best: float | None) -> bool:
    if metric is None or best is None:
        return metric is not None
    sign = 1 if rule.mode == "max" else -1
    if rule.threshold_mode == "abs":
        edge = best + sign * rule.threshold
    else:
        # best ± threshold·|best| in one rounding: on the side of a negative best the margin is added, never taken off.
        edge = best * (1 + sign * math.copysign(rule.threshold, best))
    return metric > edge if rule.mode == "max" else metric < edge


@dataclasses.dataclass(frozen=True, repr=False)
class Plateau(Rule[PlateauState]):
    """Multiply by `factor` when the metric has not become better for more than `patience` observations in a row.

    factor ← max(factor·cut, floor) on the (patience+1)-th bad observation in a row; the next `cooldown` ones are a pause, in
    which bad ones are not counted. A metric that stays the same is cut every cooldown + patience + 1 observations.

    Args:
        factor: what a cut multiplies by, above 0 and below 1.
        patience: bad observations in a row that are tolerated.
        threshold: how much better than the best a metric must be, as a fraction of |best| ("rel") or absolute ("abs").
        threshold_mode: "rel" or "abs".
        mode: "min" when a smaller metric is better, "max" when a larger one is.
        cooldown: observations after a cut in which none is counted as bad.
        floor: the lowest factor, of which a cut never falls short. It is relative to the schedule.
        smoothing: β of an exponential moving average of the metric, m ← β·m + (1-β)·metric over its own weight, so that
            early averages are not drawn to 0; 0 is the metric itself. Metrics that are not finite stay out of it.

    Raises:
        TypeError, ValueError: a parameter outside its bounds, at construction; a metric that is not one number.

    Elsewhere, with patience 2, cooldown 2 and a constant metric:

    | | cuts at observations | because |
    | --- | --- | --- |
    | laju | 4, 9 | the cut comes on the third bad one; two are not counted |
    | torch `ReduceLROnPlateau` | 4, 9 | the same |
    | Keras `ReduceLROnPlateau` | 3, 6 | the cut comes on the second bad one; the last of the cooldown counts |
    | optax `contrib.reduce_on_plateau` | 3, 7 | the cut comes on the second bad one |

    - torch: "rel" is best·(1 - threshold), so a negative metric that becomes worse counts as better; an infinity of the good
      sign becomes the best for ever; a cut of the rate by 1e-8 or less is left out (`eps`); the floor is a rate (`min_lr`).
    - Keras: the threshold is absolute (`min_delta`); the floor is a rate (`min_lr`).
    - optax: torch's relative test (`rtol`) with an absolute margin besides (`atol`), in mode "min" only; decides on the mean of
      `accumulation_size` metrics; the floor is a factor (`min_scale`).

    >>> rule = Plateau(0.1, patience=2)
    >>> state = rule.initial()
    >>> for loss in [0.9, 0.8, 0.8, 0.8, 0.8]:
    ...     state = rule.observe(state, loss)
    >>> state.factor
    0.1
    >>> simulate(rule, [1.0] * 5)
    array([1. , 1. , 1. , 0.1, 0.1])
    """

    factor: float
    patience: int
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    mode: Literal["min", "max"] = "min"
    cooldown: int = 0
    floor: float = 0.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check(self)
        put(self, smoothing=number("smoothing", self.smoothing, least=0, below=1))

    def initial(self) -> PlateauState:
        return PlateauState()

    def observe(self, state: PlateauState, metric: Any) -> PlateauState:
        seen, average, weight = _finite(metric), state.average, state.weight
        if self.smoothing and seen is not None:
            weight = self.smoothing * weight + (1 - self.smoothing)
            # As a step towards the metric, a constant metric has exactly itself as average, and is never "better".
            average += (seen - average) * ((1 - self.smoothing) / weight)
            seen = average
        better = _better(self, seen, state.best)
        factor, waiting = state.factor, max(0, state.waiting - 1)
        bad = 0 if better or state.waiting else state.bad + 1
        if bad > self.patience and factor > self.floor:
            factor, bad, waiting = max(factor * self.factor, self.floor), 0, self.cooldown
        return PlateauState(
            factor, seen if better else state.best, bad, waiting, bad > self.patience, average=average, weight=weight
        )


@dataclasses.dataclass(frozen=True, repr=False)
class Greedy(Rule[GreedyState]):
    """Raise while the metric keeps becoming better, lower while it does not.

    factor ← min(factor/cut, ceiling) on the (patience+1)-th better observation in a row, factor ← max(factor·cut, floor) on the
    (patience+1)-th bad one. After a raise the next `warmup` observations are a pause, after a cut the next `cooldown` ones.
    A ceiling of 1 makes a plateau that recovers: it takes back its cuts and goes no higher than the schedule.

    Args:
        factor: what a cut multiplies by and a raise divides by, above 0 and below 1.
        patience: better or bad observations in a row that are tolerated.
        ceiling: the highest factor, 1 or more. It has no default: who lets a loss raise the rate should say how far.
        floor: the lowest factor.
        threshold: how much better than the best a metric must be, as a fraction of |best| ("rel") or absolute ("abs").
        threshold_mode: "rel" or "abs".
        mode: "min" when a smaller metric is better, "max" when a larger one is.
        cooldown: observations after a cut that are not counted.
        warmup: observations after a raise that are not counted.
        window: the metric is the mean of the latest so many finite ones; 1 is the metric itself.

    Raises:
        TypeError, ValueError: a parameter outside its bounds, at construction; a metric that is not one number.

    Source: Subramanian, Krishnamoorthy and Murthy, "Dynamic Learning Rate Scheduling based on Loss Changes Leads to Faster
    Convergence" (GreedyLR), arXiv 2512.14527. Its plain rule divides the rate by F when the loss fell and multiplies it by F when
    it did not; patience, bounds, pauses and the mean over a window guard it against noise.

    Elsewhere: Transformers `GreedyLR`, whose bounds are rates (`min_lr`, `max_lr`), whose first metric already counts as better,
    whose best stands still during pauses, whose relative test is torch's, and which begins anew after `reset_start` cuts at its
    floor, where laju says `exhausted`.

    >>> rule = Greedy(0.5, patience=1, ceiling=4)
    >>> simulate(rule, [1.0, 0.9, 0.8, 0.7, 0.6, 0.6, 0.6])
    array([1., 1., 2., 2., 4., 4., 2.])
    """

    factor: float
    patience: int
    ceiling: float
    floor: float = 0.0
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    mode: Literal["min", "max"] = "min"
    cooldown: int = 0
    warmup: int = 0
    window: int = 1

    def __post_init__(self) -> None:
        _check(self)
        put(
            self,
            ceiling=number("ceiling", self.ceiling, least=1),
            warmup=whole("warmup", self.warmup),
            window=whole("window", self.window, least=1),
        )

    def initial(self) -> GreedyState:
        return GreedyState()

    def observe(self, state: GreedyState, metric: Any) -> GreedyState:
        seen, recent = _finite(metric), state.recent
        if self.window > 1 and seen is not None:
            recent = (*recent, seen)[-self.window :]
            low = min(recent)
            seen = low + math.fsum(v - low for v in recent) / len(recent)  # exactly the metric when it is constant
        better = _better(self, seen, state.best)
        factor, waiting = state.factor, max(0, state.waiting - 1)
        bad = 0 if better or state.waiting else state.bad + 1
        good = state.good + 1 if better and state.best is not None and not state.waiting else 0
        if good > self.patience and factor < self.ceiling:
            factor, good, waiting = min(factor / self.factor, self.ceiling), 0, self.warmup
        elif bad > self.patience and factor > self.floor:
            factor, bad, waiting = max(factor * self.factor, self.floor), 0, self.cooldown
        return GreedyState(
            factor, seen if better else state.best, bad, waiting, bad > self.patience, good=good, recent=recent
        )


def _rule(rule: Any) -> None:
    if not isinstance(rule, Rule):
        raise TypeError(f"rule must be a Plateau, a Greedy or another Rule, got {shown(rule)}")


def _base(schedule: Any) -> Schedule:
    if isinstance(schedule, Schedule):
        return schedule
    if not is_number(schedule):
        raise TypeError(f"schedule must be a schedule or a number, got {shown(schedule)}")
    return Constant(schedule)


class Controller:
    """A rule and its state, for a training loop: `observe(metric)` gives the factor that the schedule's value is multiplied by.

    Args:
        rule: `Plateau`, `Greedy`, or another `Rule`.
        reduce: what turns the metric that is observed here into the one that decides, such as its mean over all ranks.

    A run on several ranks needs one decision: every rank must observe the same number, for a rank that sees only its own loss
    goes its own way. With torch.distributed, where every rank calls `observe` at the same point:

        def of_all_ranks(metric):
            metrics = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(metrics, float(metric))
            return across_ranks(metrics, "mean")

        controller = Controller(Plateau(0.1, patience=2), reduce=of_all_ranks)

    `across_ranks` does not depend on the order of ranks, so all of them compute the same float and have the same state.

    >>> controller = Controller(Plateau(0.5, patience=0, floor=0.25))
    >>> [controller.observe(loss) for loss in [1.0, 1.0, 0.9, 0.9]], controller.exhausted
    ([1.0, 0.5, 0.5, 0.25], False)
    >>> controller.observe(0.9), controller.exhausted  # at the floor and still not better
    (0.25, True)
    """

    def __init__(self, rule: Rule[Any], reduce: Callable[[Any], Any] | None = None) -> None:
        _rule(rule)
        if reduce is not None and not callable(reduce):
            raise TypeError(f"reduce must be a function of the metric, got {shown(reduce)}")
        self._rule = rule
        self._reduce = reduce
        self._state: State = rule.initial()
        self._at: int | None = None
        self._decisions: list[tuple[int, float]] | None = []

    @property
    def rule(self) -> Rule[Any]:
        return self._rule

    @property
    def state(self) -> State:
        """The rule's state now: immutable, and one object per observation."""
        return self._state

    @property
    def factor(self) -> float:
        """What the schedule's value is multiplied by now."""
        return self._state.factor

    @property
    def exhausted(self) -> bool:
        """Whether the factor is at its floor and the metric is still bad, so that the loop may as well stop."""
        return self._state.exhausted

    def observe(self, metric: Any, at: int | None = None) -> float:
        """The factor after one more observation.

        Args:
            metric: one number, also as an array or tensor of one; NaN counts as bad.
            at: completed updates by now; the factor is in force from update `at` on. Only `recorded` needs it, and then it must
                be said at every observation.

        Raises:
            TypeError: the metric is not one number.
            ValueError: `at` goes backwards, or was left out before.
        """
        if at is not None:
            at = whole("at", at)
            if self._decisions is None:
                raise ValueError(f"at must be said at every observation or at none, got {at} after one without it")
            if self._at is not None and at < self._at:
                raise ValueError(f"at must not go backwards, got {at} after {self._at}")
        elif self._at is not None:
            raise ValueError(f"at must be said at every observation or at none, got none after {self._at}")
        before = self.factor
        self._state = self._rule.observe(self._state, metric if self._reduce is None else self._reduce(metric))
        if at is None:
            self._decisions = None
        else:
            self._at = at
            if self._decisions is not None and self.factor != before:
                self._decisions.append((at, self.factor))
        return self.factor

    def recorded(self, schedule: Schedule | float = 1.0) -> Schedule:
        """The schedule times the factors of this run so far, as a plain schedule with the very values that the run had.

        Raises:
            ValueError: observations that did not say `at` which update they came.

        >>> from laju import cosine
        >>> controller = Controller(Plateau(0.1, patience=0))
        >>> for t in (10, 20, 30):
        ...     factor = controller.observe(1.0, at=t)
        >>> controller.recorded(cosine(0.3, total=40))
        Ramp(0.3, 0.0, 40, 'cosine') * (Constant(1.0, 20) >> Constant(0.1, 10) >> Constant(0.010000000000000002))
        """
        if self._decisions is None:
            raise ValueError(
                "recorded needs to know when decisions were made: call observe(metric, at=completed updates)"
            )
        factors = dict([(0, 1.0), *self._decisions])  # of two decisions at one update the later is in force
        begins = list(factors)
        parts = [Constant(factors[a], b - a) for a, b in itertools.pairwise(begins)]
        last = Constant(factors[begins[-1]])
        return _base(schedule) * (Chain((*parts, last)) if parts else last)

    def state_dict(self) -> dict[str, Any]:
        """The rule and its state as a JSON object, with nothing in it but numbers, texts, lists and objects."""
        decisions = None if self._decisions is None else [list(decision) for decision in self._decisions]
        return {
            "version": VERSION,
            "rule": self._rule.to_json(),
            "state": self._state.to_json(),
            "at": self._at,
            "decisions": decisions,
        }

    def load_state_dict(self, data: Mapping[str, Any]) -> None:
        """Go on from a saved state, all of it or, with an error, none of it.

        Raises:
            StateError: of another version, of another rule, of the same rule with other parameters, or not a state.
        """
        if not isinstance(data, Mapping) or "version" not in data:
            raise StateError(
                f"a controller's state must be an object with 'version', 'rule' and 'state', got {shown(data)}"
            )
        if data["version"] != VERSION:
            raise StateError(f"this state is of version {shown(data['version'])}; this laju reads version {VERSION}")
        missing = {"rule", "state", "at", "decisions"} - set(data)
        if missing:
            raise StateError(f"this state lacks {', '.join(sorted(missing))}")
        _same_rule(self._rule.to_json(), data["rule"])
        state = type(self._rule.initial()).from_json(data["state"])
        try:
            at = None if data["at"] is None else whole("at", data["at"])
            decisions = data["decisions"]
            if decisions is not None:
                decisions = [(whole("decisions", t), number("decisions", f, least=0)) for t, f in decisions]
        except (TypeError, ValueError) as error:
            raise StateError(f"this state's decisions cannot be read: {error}") from None
        self._state, self._at, self._decisions = state, at, decisions

    def __repr__(self) -> str:
        return f"<Controller of {self._rule!r}, factor {self.factor!r}>"


def _same_rule(own: Mapping[str, Any], saved: Any) -> None:
    kind = saved.get("kind") if isinstance(saved, Mapping) else None
    if kind != own["kind"]:
        raise StateError(f"this state is of {shown(kind)}; the controller's rule is {own['kind']!r}")
    names = [*own, *(name for name in saved if name not in own)]
    other = [
        f"{name} was {shown(saved.get(name))} and is {own.get(name)!r}"
        for name in names
        if own.get(name) != saved.get(name)
    ]
    if other:
        raise StateError(f"this state is of a {kind} with other parameters: {'; '.join(other)}")


def apply(schedule: Schedule | float, *controllers: Controller) -> Callable[[Any], Any]:
    """The schedule's value times the factor that each controller has at the moment: t -> schedule(t)·factor₁·factor₂…

    The schedule and the controllers stay as they are. `schedule * controller.factor` is the same product as a plain schedule
    that later observations do not change.

    >>> from laju import linear
    >>> plateau = Controller(Plateau(0.1, patience=0))
    >>> value = apply(linear(1, 0, total=4), plateau)
    >>> before = value(2)
    >>> for loss in (1.0, 1.0):
    ...     factor = plateau.observe(loss)
    >>> before, value(2)
    (0.5, 0.05)
    """
    schedule = _base(schedule)
    for i, controller in enumerate(controllers):
        if not isinstance(controller, Controller):
            raise TypeError(f"controllers[{i}] must be a Controller, got {shown(controller)}")

    def value(t: Any) -> Any:
        result = schedule(t)
        for controller in controllers:
            result = result * controller.factor
        return result

    return value


def simulate(rule: Rule[Any], metrics: Iterable[Any]) -> npt.NDArray[np.float64]:
    """The factor after each of these observations, in float64.

    >>> simulate(Plateau(0.5, patience=1, floor=0.3), [3, 2, 2, 2, float("nan"), 2])
    array([1. , 1. , 1. , 0.5, 0.5, 0.3])
    """
    _rule(rule)
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f"metrics must be a sequence of numbers, got {shown(metrics)}")
    state, factors = rule.initial(), []
    for metric in metrics:
        state = rule.observe(state, metric)
        factors.append(state.factor)
    return np.array(factors, dtype=np.float64)


def record(
    rule: Rule[Any], schedule: Schedule | float, metrics: Iterable[Any], every: Span = 1, start: Span = 0
) -> Schedule:
    """The schedule times the factors that the rule gives for these metrics, as a plain schedule: schedule * Table(…).

    Args:
        rule: `Plateau`, `Greedy`, or another `Rule`.
        schedule: what the factors multiply.
        metrics: the observations in order.
        every: updates from one observation to the next, or text with a unit, such as "1 epoch".
        start: updates before the rule begins to observe. The first observation comes when start + every updates are complete,
            so its decision is in force from update start + every on.

    A warmup with a plateau that begins after it (`start`) is cut only from the second observation on:

    >>> from laju import Ramp
    >>> record(Plateau(0.1, patience=0), Ramp(0.1, 1, 3), [1.0, 1.0, 1.0], start=3).values(7).round(3)
    array([0.1 , 0.4 , 0.7 , 1.  , 1.  , 0.1 , 0.01])
    """
    start = updates("start", start)
    if start is None:
        raise TypeError("start must be a number of updates, got None")
    if every is None:
        raise TypeError("every must be a number of updates, got None")
    table: Schedule = Table((1.0, *simulate(rule, metrics)), every)
    return _base(schedule) * (Constant(1.0, start) >> table if start else table)


def across_ranks(metrics: Iterable[Any], how: Literal["mean", "min", "max"] = "mean") -> float:
    """One metric of the metrics that the ranks of a distributed run have, for all of them to observe.

    NaN on any rank is NaN. The result does not depend on the order of the ranks: the sum behind the mean is rounded once.

    Raises:
        ValueError: no metric, or another `how`.

    >>> across_ranks([0.5, 0.75]), across_ranks([0.5, float("nan")], "max")
    (0.625, nan)
    """
    _choice("how", how, ("mean", "min", "max"))
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f"metrics must be a sequence of numbers, one of each rank, got {shown(metrics)}")
    values = [_one(f"metrics[{i}]", metric) for i, metric in enumerate(metrics)]
    if not values:
        raise ValueError("metrics must hold one number of each rank, got none")
    if any(math.isnan(v) for v in values):
        return math.nan
    if how != "mean":
        return min(values) if how == "min" else max(values)
    try:
        return math.fsum(values) / len(values)
    except (ValueError, OverflowError):  # infinities of both signs, or a sum that is too large: bad either way
        return math.nan


__all__ = [
    "Controller", "Greedy", "GreedyState", "Plateau", "PlateauState", "Rule", "State", "StateError", "across_ranks", "apply",
    "record", "simulate",
]  # fmt: skip
