"""Conversion of an existing scheduler object to a schedule, by running a copy of the scheduler."""

from __future__ import annotations

import copy
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from laju.core.checks import shown, whole
from laju.core.pieces import Table
from laju.core.schedule import Schedule

Rates = Callable[[int], float]
"""A function that gives the rate of the next update, called for every update in order from the first on."""

_FOLLOW_A_METRIC = ("ReduceLROnPlateau", "ReduceOnPlateau", "PlateauLRScheduler", "ReduceOnPlateauLR", "LRFinder")


def trace(scheduler: Any, updates: int, *, start: int = 0, group: int = 0, key: str | None = None) -> Table:
    """Return the learning rates that a scheduler object gives in the next updates, as a `Table`, whose last value holds.

    The scheduler and its optimizer are copied without weights and optimizer state, and the copy is run, so the caller's objects
    are unchanged. The value of update t is, for

    - torch's `LRScheduler`, and any object with an `optimizer` and a `step()` (Transformers, MMEngine, DeepSpeed, …): the current
      learning rate of the optimizer, then the rate after each `step()`
    - timm's `Scheduler`: the current rate, then the rate after `step(t)` or `step_update(t)`, whichever method counts
    - ignite's parameter schedulers: the rate after each call
    - PaddlePaddle's `LRScheduler`: the current `get_lr()`, then `get_lr()` after each `step()`
    - MXNet's and GluonCV's `LRScheduler`: the value at t + 1, as in a `Trainer`
    - Keras' `LearningRateSchedule`, optax's schedules, and any function of the update: the value at t
    - Keras' `LearningRateScheduler`: the value at t and the previous rate, beginning with the rate of its model's optimizer
    - a laju schedule: the value at t

    Args:
        scheduler: the scheduler, of a kind listed above.
        updates: number of values; for a scheduler that is stepped once per epoch, number of epochs.
        start: t of the first value, for a scheduler that is called with t. A scheduler with its own counter continues from there.
        group: index of the optimizer's parameter group to read.
        key: hyper-parameter to read from the group; by default "lr", or the parameter that timm or ignite schedules.

    Raises:
        TypeError: if `scheduler` is not a scheduler, depends on a metric, or cannot be copied.
        ValueError: if the scheduler gives a value that is not a number or raises an error before the last update (the message
            names the update); if `start` is given for a scheduler with its own counter; if the group or key does not exist.

    >>> def halved(step):
    ...     return 0.1 * 0.5**step
    >>> trace(halved, 4)
    Table((0.1, 0.05, 0.025, 0.0125))
    """
    n, first = whole("updates", updates, least=1), whole("start", start)
    rates = _rates_of_scheduler(scheduler, first, whole("group", group), key)
    values: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as torch's warning of a step without an update
        for t in range(first, first + n):
            try:
                value = rates(t)
            except _Refused as refused:
                raise refused.error from None
            except Exception as error:
                raise ValueError(
                    f"the scheduler raised at update {t} ({type(error).__name__}: {error})"
                    + (f"; the scheduler gives at most updates={len(values)}" if values else "")
                ) from error
            if not math.isfinite(value):
                raise ValueError(f"the scheduler gives {value!r} at update {t}, which is no rate")
            values.append(value)
    return Table(tuple(values))


class _Refused(Exception):
    """An error of ours, not of the scheduler."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _rates_of_scheduler(scheduler: Any, start: int, group: int, key: str | None) -> Rates:
    if isinstance(scheduler, Schedule):
        return scheduler
    kinds = list(_classes(scheduler))
    names = [name for _, name in kinds]
    if any(name in _FOLLOW_A_METRIC for name in names):
        raise TypeError(
            f"{type(scheduler).__name__} follows a metric and has no sequence of its own; laju.adaptive.simulate shows what "
            "laju.adaptive.Plateau makes of metrics"
        )
    if ("fvcore", "ParamScheduler") in kinds:
        raise TypeError(
            f"{type(scheduler).__name__} is a function of progress from 0 to 1; give lambda t: scheduler(t / total_updates)"
        )
    if ("mxnet", "LRScheduler") in kinds:
        asked = _copied(scheduler)
        return lambda t: _rate_at(asked(t + 1), t)
    if ("paddle", "LRScheduler") in kinds:
        return _counting(_copied(scheduler), start, lambda own: own.step(), lambda own: own.last_lr)
    if ("timm", "Scheduler") in kinds:
        return _timm(_copied(scheduler), group, key)
    if ("ignite", "BaseParamScheduler") in kinds:
        return _ignite(_copied(scheduler), start, group, key)
    if ("keras", "LearningRateScheduler") in kinds:
        return _keras_callback(scheduler)
    if ("keras", "LearningRateSchedule") in kinds:
        return lambda t: _rate_at(scheduler(t), t)
    if hasattr(scheduler, "step") and hasattr(_optimizer(scheduler), "param_groups"):
        own = _copied(scheduler)
        if ("laju", "Scheduler") in kinds:  # which counts the optimizer's updates, not the calls of step()
            return _positioned(own, start, group, key or "lr")
        _value_in_group(own, group, key or "lr")
        return _counting(own, start, lambda own: own.step(), lambda own: _value_in_group(own, group, key or "lr"))
    if isinstance(scheduler, type) or not callable(scheduler):
        kind = (
            "the class"
            if isinstance(scheduler, type)
            else "an object that neither steps an optimizer nor can be called:"
        )
        raise TypeError(
            "scheduler must be a scheduler of torch, timm, ignite, PaddlePaddle, MXNet or Keras, or a function from the update "
            f"to its rate, got {kind} {shown(scheduler)}"
        )
    function = _copied(scheduler)
    return lambda t: _rate_at(function(t), t)


def _classes(scheduler: Any) -> Iterator[tuple[str, str]]:
    """Yield (package, name) of each class of a scheduler, so that its kind is known without importing a package."""
    for kind in type(scheduler).__mro__:
        package = kind.__module__.partition(".")[0]
        yield ("keras" if package in ("tensorflow", "tf_keras") else package, kind.__name__)


def _copied(scheduler: Any) -> Any:
    """Return a copy that shares no state with the original, without weights, gradients and optimizer state.

    Raises:
        TypeError: if the scheduler cannot be copied.
    """
    memo: dict[int, Any] = {}
    for optimizer in _optimizers(scheduler):
        torch = sys.modules.get("torch")
        for parameters in optimizer.param_groups:
            for parameter in parameters["params"]:
                # `deepcopy` takes what its memo has for what is copied already, so a model of gigabytes is not copied: the
                # scheduler's optimizer gets weights of one number.
                memo[id(parameter)] = torch.nn.Parameter(torch.zeros(1)) if torch else None
        state = getattr(optimizer, "state", None)
        if state is not None:
            memo[id(state)] = type(state)(dict) if type(state).__name__ == "defaultdict" else {}
    try:
        return copy.deepcopy(scheduler, memo)
    except Exception as error:
        raise TypeError(
            f"{type(scheduler).__name__} cannot be copied ({type(error).__name__}: {error}), and without a copy tracing would "
            "change the scheduler; construct a second scheduler and trace a function: laju.trace(lambda t: ..., updates)"
        ) from error


def _optimizer(scheduler: Any) -> Any:
    return getattr(scheduler, "optimizer", None)


def _optimizers(scheduler: Any) -> Iterator[Any]:
    found = getattr(scheduler, "optimizers", None) or _optimizer(scheduler)  # laju's may have several
    for optimizer in found if isinstance(found, list | tuple) else [found]:
        if hasattr(optimizer, "param_groups"):
            yield optimizer
    for part in (*getattr(scheduler, "schedulers", ()), *getattr(scheduler, "_schedulers", ())):
        yield from _optimizers(part)


def _counting(own: Any, start: int, step: Callable[[Any], Any], read: Callable[[Any], Any]) -> Rates:
    if start:
        raise ValueError(
            f"start must be 0 for {type(own).__name__}, which counts its steps itself and goes on from there, got {start}"
        )

    def rate(t: int) -> float:
        if t:
            step(own)
        return _rate_at(read(own), t)

    return rate


def _positioned(own: Any, start: int, group: int, key: str) -> Rates:
    begin = own.position

    def at(t: int) -> float:
        own.set_position(begin + t)
        return _rate_at(_value_in_group(own, group, key), t)

    return at


def _value_in_group(own: Any, group: int, key: str) -> Any:
    groups = _optimizer(own).param_groups
    if group >= len(groups):
        raise ValueError(f"group must be below {len(groups)}, the optimizer's parameter groups, got {group}")
    if key not in groups[group]:
        raise ValueError(f"key must be one of {', '.join(k for k in groups[group] if k != 'params')}, got {key!r}")
    return groups[group][key]


def _timm(own: Any, group: int, key: str | None) -> Rates:
    field = key or own.param_group_field
    _value_in_group(own, group, field)
    step = own.step if own.t_in_epochs else own.step_update

    def rate(t: int) -> float:
        if t:
            step(t)
        return _rate_at(_value_in_group(own, group, field), t)

    return rate


def _ignite(own: Any, start: int, group: int, key: str | None) -> Rates:
    if start:
        raise ValueError(f"start must be 0 for {type(own).__name__}, which counts its events itself, got {start}")
    groups = _groups_of_ignite(own)
    field = key or getattr(own, "param_name", "lr")
    if group >= len(groups):
        raise ValueError(f"group must be below {len(groups)}, the optimizer's parameter groups, got {group}")

    def rate(t: int) -> float:
        own(None)
        return _rate_at(groups[group][field], t)

    return rate


def _groups_of_ignite(own: Any) -> Any:
    if hasattr(own, "optimizer_param_groups"):
        return own.optimizer_param_groups
    return next(_optimizers(own)).param_groups


def _keras_callback(callback: Any) -> Rates:
    model = getattr(callback, "model", None)
    optimizer = getattr(model, "optimizer", None)
    schedule = _copied(callback.schedule)
    now = None if optimizer is None else float(optimizer.learning_rate)

    def rate(t: int) -> float:
        nonlocal now
        try:
            found = schedule(t) if now is None else schedule(t, now)
        except TypeError as error:
            if now is None:
                raise _Refused(
                    ValueError(
                        "this LearningRateScheduler uses the previous rate, but has no model with an optimizer yet; "
                        f"call callback.set_model(model) first, or trace a function of the epoch ({error})"
                    )
                ) from error
            found = schedule(t)
        value = _rate_at(found, t)
        now = None if now is None else float(np.float32(value))  # the precision in which Keras keeps the rate
        return value

    return rate


def _rate_at(value: Any, t: int) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _Refused(ValueError(f"the scheduler gives {shown(value)} at update {t}, which is no number")) from None
