"""`Controller` holds a rule and its state for a training loop, and returns the rule's decisions as a plain schedule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from laju.adaptive.rules import VERSION, Rule, State, StateError, one_number
from laju.core.algebra import Chain
from laju.core.checks import choice, number, shown, whole
from laju.core.pieces import Constant, Table
from laju.core.schedule import Schedule, as_schedule
from laju.core.units import Span, updates


def _rule(rule: Any) -> None:
    if not isinstance(rule, Rule):
        raise TypeError(f"rule must be a Plateau, a Greedy or a subclass of Rule, got {shown(rule)}")


class Controller:
    """A rule and its state, for a training loop: `observe(metric)` returns the factor on the schedule's value.

    Args:
        rule: `Plateau`, `Greedy`, or a custom subclass of `Rule`.
        reduce: function from the observed metric to the metric that the rule sees, such as the mean over all ranks; None,
            the default, passes the metric on.

    Every rank of a distributed run must observe the same number, or the ranks' learning rates diverge. With
    torch.distributed, if every rank calls `observe` at the same point:

        def of_all_ranks(metric):
            metrics = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(metrics, float(metric))
            return across_ranks(metrics, "mean")

        controller = Controller(Plateau(0.1, patience=2), reduce=of_all_ranks)

    `across_ranks` does not depend on the order of ranks, so all ranks compute the same float and stay in the same state.

    >>> from laju.adaptive import Plateau
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
        """The rule's current state, an immutable object that each observation replaces."""
        return self._state

    @property
    def factor(self) -> float:
        """The current factor on the schedule's value."""
        return self._state.factor

    @property
    def exhausted(self) -> bool:
        """Whether the factor is at its floor and the metric still does not improve, so that the loop can stop."""
        return self._state.exhausted

    def observe(self, metric: Any, at: int | None = None) -> float:
        """Observe a metric, and return the factor on the schedule's value from now on.

        Args:
            metric: a number, or an array or tensor with a single value; NaN counts as a bad observation.
            at: number of completed updates; the factor is in force from update `at` on. Only `recorded` needs `at`, in every
                observation.

        Raises:
            TypeError: if the metric is not a single number.
            ValueError: if `at` decreases, or is passed in some observations only.
        """
        if at is not None:
            at = whole("at", at)
            if self._decisions is None:
                raise ValueError(
                    f"at must be passed at every observation or at none, got {at} after an observation without at"
                )
            if self._at is not None and at < self._at:
                raise ValueError(f"at must not go backwards, got {at} after {self._at}")
        elif self._at is not None:
            raise ValueError(f"at must be passed at every observation or at none, got None after {self._at}")
        before = self.factor
        self._state = self._rule.observe(self._state, metric if self._reduce is None else self._reduce(metric))
        if at is None:
            # One observation without its update leaves a gap that no later one can close.
            self._decisions = None
        else:
            self._at = at
            if self._decisions is not None and self.factor != before:
                self._decisions.append((at, self.factor))
        return self.factor

    def recorded(self, schedule: Schedule | float = 1.0) -> Schedule:
        """The schedule times the factors of this run so far, as a plain schedule with exactly the values that the run used.

        Raises:
            ValueError: if observations were made without `at`.

        >>> from laju import cosine
        >>> from laju.adaptive import Plateau
        >>> controller = Controller(Plateau(0.1, patience=0))
        >>> for t in (10, 20, 30):
        ...     factor = controller.observe(1.0, at=t)
        >>> controller.recorded(cosine(0.3, total=40))
        cosine(0.3, total=40) * (Constant(1.0, 20) >> Constant(0.1, 10) >> Constant(0.010000000000000002))
        """
        if self._decisions is None:
            raise ValueError("recorded needs the updates of the decisions: call observe(metric, at=completed updates)")
        factors = dict([(0, 1.0), *self._decisions])  # of two decisions at the same update, the later is in force
        begins = list(factors)
        parts = [Constant(factors[a], b - a) for a, b in itertools.pairwise(begins)]
        last = Constant(factors[begins[-1]])
        return as_schedule(schedule, "schedule") * (Chain((*parts, last)) if parts else last)

    def state_dict(self) -> dict[str, Any]:
        """The rule and its state as a JSON object, which contains only numbers, texts, lists and objects."""
        decisions = None if self._decisions is None else [list(decision) for decision in self._decisions]
        return {
            "version": VERSION,
            "rule": self._rule.to_json(),
            "state": self._state.to_json(),
            "at": self._at,
            "decisions": decisions,
        }

    def load_state_dict(self, data: Mapping[str, Any]) -> None:
        """Continue from a saved state; after an error, the controller is unchanged.

        Raises:
            StateError: if the state is invalid, of an unknown version, or of a different rule or a rule with different
                parameters.
        """
        if not isinstance(data, Mapping) or "version" not in data:
            raise StateError(
                f"a controller's state must be an object with 'version', 'rule' and 'state', got {shown(data)}"
            )
        if data["version"] != VERSION:
            raise StateError(f"this state has version {shown(data['version'])}; this laju reads version {VERSION}")
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
        raise StateError(f"this state belongs to the rule {shown(kind)}; the controller's rule is {own['kind']!r}")
    names = [*own, *(name for name in saved if name not in own)]
    other = [
        f"{name} was {shown(saved.get(name))} and is {own.get(name)!r}"
        for name in names
        if own.get(name) != saved.get(name)
    ]
    if other:
        raise StateError(f"this state belongs to a {kind} with different parameters: {'; '.join(other)}")


def apply(schedule: Schedule | float, *controllers: Controller) -> Callable[[Any], Any]:
    """Return the function t -> schedule(t)·factor₁·factor₂…, with each controller's factor at the time of the call.

    The schedule and the controllers are not changed. `schedule * controller.factor`, in contrast, is a plain schedule that
    later observations do not change.

    >>> from laju import linear
    >>> from laju.adaptive import Plateau
    >>> plateau = Controller(Plateau(0.1, patience=0))
    >>> value = apply(linear(1, 0, total=4), plateau)
    >>> before = value(2)
    >>> for loss in (1.0, 1.0):
    ...     factor = plateau.observe(loss)
    >>> before, value(2)
    (0.5, 0.05)
    """
    schedule = as_schedule(schedule, "schedule")
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
    """The factor that the rule gives after each of the metrics, as a float64 array.

    >>> from laju.adaptive import Plateau
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
        rule: `Plateau`, `Greedy`, or a custom subclass of `Rule`.
        schedule: the schedule that the factors multiply.
        metrics: the observations in order.
        every: updates between observations, or text with a unit, such as "1 epoch".
        start: updates before the rule begins to observe. The first observation comes when start + every updates are complete,
            so its decision is in force from update start + every on.

    A warmup before a plateau (`start`) is cut only from the second observation on:

    >>> from laju import Ramp
    >>> from laju.adaptive import Plateau
    >>> record(Plateau(0.1, patience=0), Ramp(0.1, 1, 3), [1.0, 1.0, 1.0], start=3).values(7).round(3)
    array([0.1 , 0.4 , 0.7 , 1.  , 1.  , 0.1 , 0.01])
    """
    start = updates("start", start)
    if start is None:
        raise TypeError("start must be a number of updates, got None")
    if every is None:
        raise TypeError("every must be a number of updates, got None")
    table: Schedule = Table((1.0, *simulate(rule, metrics)), every)
    return as_schedule(schedule, "schedule") * (Constant(1.0, start) >> table if start else table)


def across_ranks(metrics: Iterable[Any], how: Literal["mean", "min", "max"] = "mean") -> float:
    """Combine the metrics of all ranks of a distributed run into a common metric, which every rank observes.

    NaN on any rank gives NaN. The result does not depend on the order of the ranks: the sum behind the mean is rounded once.

    Raises:
        ValueError: if there is no metric, or for an unknown `how`.

    >>> across_ranks([0.5, 0.75]), across_ranks([0.5, float("nan")], "max")
    (0.625, nan)
    """
    choice("how", how, ("mean", "min", "max"))
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f"metrics must be a sequence of numbers, one per rank, got {shown(metrics)}")
    values = [one_number(f"metrics[{i}]", metric) for i, metric in enumerate(metrics)]
    if not values:
        raise ValueError("metrics must hold one number per rank, got none")
    if any(math.isnan(v) for v in values):
        return math.nan
    if how != "mean":
        return min(values) if how == "min" else max(values)
    try:
        return math.fsum(values) / len(values)
    except (ValueError, OverflowError):  # infinities of both signs, or a sum that is too large: bad either way
        return math.nan
