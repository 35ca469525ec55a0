"""Factors that depend on a metric, as pure state machines: `rule.observe(state, metric)` is the next state.

A schedule stays a value; the metric decides on a factor, which multiplies the schedule. A rule (`Plateau`,
`Greedy`) is a value too, and its state is small JSON, so a resumed run decides as an uninterrupted run does. `Controller` holds
a rule and its state for a training loop, and records the decisions as a plain schedule; `simulate` and `record` give the
decisions for known metrics.

Every rule shares these promises:

| question | answer |
| --- | --- |
| which factor does a run begin with | 1: until the first decision the schedule is unchanged |
| when is a metric better ("min") | metric < best - threshold·abs(best) ("rel"), or < best - threshold ("abs"); "max": mirrored |
| patience | the number of observations in a row that are tolerated: the factor changes on the next |
| the first finite metric | becomes the best, and changes no factor |
| NaN, an infinity, or beyond ±1e300 | counts as bad and is kept out of the best and of any average |
| during a pause | nothing is counted and both counts stay at 0, NaN included; a better metric still becomes the best |
| at a bound | no further decision and no new pause; bad observations go on being counted, which makes `exhausted` true |
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, Self, TypeVar

from laju.core.checks import is_number, nearest, number, shown, whole
from laju.core.node import set_fields

VERSION = 1
_FINITE = 1e300  # far from overflow, so that sums and differences of what passes are finite


class StateError(ValueError):
    """Error of a saved state that does not belong to this controller, or is invalid."""


@dataclasses.dataclass(frozen=True)
class State:
    """The memory of a rule between two observations: numbers only, which `to_json` writes unchanged.

    Args:
        factor: the current factor on the schedule.
        best: the best metric so far; None before the first finite metric.
        bad: number of consecutive bad observations that count.
        waiting: remaining observations of the pause after a change.
        exhausted: whether the factor is at its floor and more than `patience` consecutive bad observations followed, so that
            the rule would cut again but cannot: time to stop the run. The next better metric sets `exhausted` to False.
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
        """Read the state that `to_json` wrote.

        Raises:
            StateError: if the data is the state of a different class, or has invalid values.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(data, Mapping) or set(data) != set(names):
            raise StateError(f"a {cls.__name__} must be an object with {', '.join(names)}, got {shown(data)}")
        try:
            return cls(**{name: _checked_field(name, data[name], getattr(cls, name)) for name in names})
        except (TypeError, ValueError) as error:
            raise StateError(f"this {cls.__name__} is invalid: {error}") from None


def _checked_field(name: str, value: Any, default: Any) -> Any:
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
    """The state of a `Plateau`, with the moving average of the metric and the total weight of the averaged observations."""

    average: float = 0.0
    weight: float = 0.0


@dataclasses.dataclass(frozen=True)
class GreedyState(State):
    """The state of a `Greedy`, with the number of consecutive good observations and the latest finite metrics."""

    good: int = 0
    recent: tuple[float, ...] = ()


S = TypeVar("S", bound=State)


class Rule(abc.ABC, Generic[S]):
    """A state machine with a metric as its input: a frozen dataclass with `initial()` and a pure `observe(state, metric)`."""

    @abc.abstractmethod
    def initial(self) -> S:
        """The state before the first observation, with factor 1."""

    @abc.abstractmethod
    def observe(self, state: S, metric: Any) -> S:
        """The state after a further metric, which is a number, or an array or tensor with a single value."""

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
    """Check the parameters that both rules share."""
    _choice("threshold_mode", rule.threshold_mode, ("rel", "abs"))
    _choice("mode", rule.mode, ("min", "max"))
    set_fields(
        rule,
        factor=number("factor", rule.factor, above=0, below=1),
        patience=whole("patience", rule.patience),
        threshold=number("threshold", rule.threshold, least=0, below=1 if rule.threshold_mode == "rel" else None),
        cooldown=whole("cooldown", rule.cooldown),
        floor=number("floor", rule.floor, least=0, below=1),
    )


def _finite(metric: Any) -> float | None:
    """The metric as a float; None for a metric that counts as bad whatever the best is."""
    value = one_number("metric", metric)
    return value if abs(value) <= _FINITE else None


def one_number(name: str, metric: Any) -> float:
    """Convert a number, or an array or tensor with a single number, to a float; a number beyond the floats is infinite."""
    value = metric
    if not is_number(value) and hasattr(value, "item"):
        # An array with several numbers, or none, stays an array, and gets the error below.
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
        # best ± threshold·|best| in a single rounding: for a negative best the margin is added on the same side, never taken off.
        edge = best * (1 + sign * math.copysign(rule.threshold, best))
    return metric > edge if rule.mode == "max" else metric < edge


@dataclasses.dataclass(frozen=True, repr=False)
class Plateau(Rule[PlateauState]):
    """Cut the learning rate on a plateau: multiply by `factor` after more than `patience` observations without improvement.

    factor ← max(factor·cut, floor) on the (patience+1)-th bad observation in a row; in a pause of `cooldown` observations after
    the cut, no observation is counted. With a constant metric, a cut follows every cooldown + patience + 1 observations.

    Args:
        factor: the factor of a cut, above 0 and below 1.
        patience: number of consecutive bad observations that are tolerated.
        threshold: how much better than the best a metric must be, as a fraction of |best| ("rel") or absolute ("abs").
        threshold_mode: "rel" or "abs".
        mode: "min" if smaller metrics are better, "max" if larger metrics are better.
        cooldown: observations after a cut that are not counted.
        floor: the lowest factor.
        smoothing: β of an exponential moving average of the metric, m ← β·m + (1-β)·metric, with bias correction; 0 uses the
            metric itself. Metrics that are not finite are left out of the average.

    Raises:
        TypeError, ValueError: at construction, if a parameter is outside its bounds.
        TypeError: in `observe`, if the metric is not a single number.

    Elsewhere, with patience 2, cooldown 2 and a constant metric:

    | | cuts at observations | because |
    | --- | --- | --- |
    | laju | 4, 9 | the cut comes on the third bad observation; two are not counted |
    | torch `ReduceLROnPlateau` | 4, 9 | the same |
    | Keras `ReduceLROnPlateau` | 3, 6 | the cut comes on the second bad observation; the last of the cooldown counts |
    | optax `contrib.reduce_on_plateau` | 3, 7 | the cut comes on the second bad observation |

    - torch: "rel" is best·(1 - threshold), so a negative metric that becomes worse counts as better; an infinity of the good
      sign stays the best forever; a cut of the learning rate by 1e-8 or less is skipped (`eps`); the floor is a learning rate
      (`min_lr`).
    - Keras: the threshold is absolute (`min_delta`); the floor is a learning rate (`min_lr`).
    - optax: torch's relative test (`rtol`) plus an absolute margin (`atol`), in mode "min" only; decides on the mean of
      `accumulation_size` metrics; the floor is a factor (`min_scale`).

    >>> rule = Plateau(0.1, patience=2)
    >>> state = rule.initial()
    >>> for loss in [0.9, 0.8, 0.8, 0.8, 0.8]:
    ...     state = rule.observe(state, loss)
    >>> state.factor
    0.1
    >>> from laju.adaptive import simulate
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
        set_fields(self, smoothing=number("smoothing", self.smoothing, least=0, below=1))

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
    """Raise the factor while the metric keeps improving, and lower the factor while the metric does not improve.

    factor ← min(factor/cut, ceiling) on the (patience+1)-th better observation in a row, factor ← max(factor·cut, floor) on the
    (patience+1)-th bad observation. A raise is followed by a pause of `warmup` observations, a cut by a pause of `cooldown`.
    A ceiling of 1 makes a plateau that recovers: cuts are taken back, and the factor never exceeds the schedule.

    Args:
        factor: the factor of a cut and the divisor of a raise, above 0 and below 1.
        patience: number of consecutive better or bad observations before a change.
        ceiling: the highest factor, 1 or more; no default, since a rule that raises the learning rate needs a chosen limit.
        floor: the lowest factor.
        threshold: how much better than the best a metric must be, as a fraction of |best| ("rel") or absolute ("abs").
        threshold_mode: "rel" or "abs".
        mode: "min" if smaller metrics are better, "max" if larger metrics are better.
        cooldown: observations after a cut that are not counted.
        warmup: observations after a raise that are not counted.
        window: the metric is the mean of the latest `window` finite metrics; 1 is the metric itself.

    Raises:
        TypeError, ValueError: at construction, if a parameter is outside its bounds.
        TypeError: in `observe`, if the metric is not a single number.

    Source: Subramanian, Krishnamoorthy and Murthy, "Dynamic Learning Rate Scheduling based on Loss Changes Leads to Faster
    Convergence" (GreedyLR), arXiv 2512.14527. Its plain rule divides the learning rate by F if the loss fell and otherwise
    multiplies by F; patience, bounds, pauses and the mean over a window protect the rule from noise.

    Elsewhere: Transformers `GreedyLR`, whose bounds are learning rates (`min_lr`, `max_lr`), whose first metric already counts
    as better, whose best is not updated during pauses, whose relative test is torch's, and which resets after `reset_start`
    cuts at its floor, where laju's rule is `exhausted`.

    >>> rule = Greedy(0.5, patience=1, ceiling=4)
    >>> from laju.adaptive import simulate
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
        set_fields(
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
