"""Policies: functions that make schedules, known to texts by name, with results that print as the call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from laju.core import written
from laju.core.checks import nearest
from laju.core.node import FUNCTIONS
from laju.core.schedule import Schedule

P = ParamSpec("P")
S = TypeVar("S", bound=Schedule)


_ARGUMENTS_ELSEWHERE = {
    "total": (
        "T_max",
        "t_initial",
        "num_training_steps",
        "total_steps",
        "max_steps",
        "decay_steps",
        "max_update",
        "total_iters",
        "max_iters",
    ),
    "final": ("eta_min", "min_lr", "lr_min", "end_value", "final_lr"),
    "peak": ("max_lr", "base_lr", "lr", "learning_rate", "initial_learning_rate", "peak_value"),
    "base": ("base_lr", "lr", "learning_rate", "initial_learning_rate"),
    "value": ("lr", "learning_rate"),
    "warmup": ("num_warmup_steps", "warmup_steps", "warmup_t", "warmup_ratio", "warmup_epochs"),
    "every": ("step_size", "T_0", "decay_t"),
    "factor": ("gamma", "decay_rate"),
}
"""Names of the arguments of policies in other systems."""


def elsewhere(name: str, valid: list[str]) -> str:
    """The end of an error message: laju's name for an argument of another system, or the nearest valid name."""
    known = next((own for own, others in _ARGUMENTS_ELSEWHERE.items() if own in valid and name in others), None)
    return f"; in laju that is {known!r}" if known else nearest(name, valid)


def policy(function: Callable[P, S]) -> Callable[P, S]:
    """Register a function from numbers, lengths and texts to a schedule, and make its schedules print as the call.

    The function must depend on its arguments alone, since the schedule is saved as the call.

    Raises:
        ValueError: if another function has this name.
    """
    return _registered(function, lambda args, keywords: True)


def joint(function: Callable[P, S]) -> Callable[P, S]:
    """Register a function that joins schedules; the result prints as the call if any joined schedule prints as a call."""

    def says(args: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
        return any(isinstance(value, Schedule) and value.spoken for value in (*args, *keywords.values()))

    return _registered(function, says)


def _registered(function: Callable[P, S], says: Callable[[tuple[Any, ...], dict[str, Any]], bool]) -> Callable[P, S]:
    name = function.__name__

    @functools.wraps(function)
    def called(*args: P.args, **keywords: P.kwargs) -> S:
        try:
            made = function(*args, **keywords)
        except TypeError as error:
            valid = list(inspect.signature(function).parameters)
            unknown = next((word for word in keywords if word not in valid), None)
            if unknown is None:
                raise
            hint = elsewhere(unknown, valid)
            raise TypeError(f"{name} has no argument {unknown!r}{hint}; it takes {', '.join(valid)}") from error
        words = written.call(name, args, keywords) if says(args, keywords) else None
        return made if words is None else made.written_as(words)

    called.__doc__ = _with_units(function)
    # From the same module the name is taken over, as a module that is loaded again (in a notebook) registers its functions
    # anew.
    if FUNCTIONS.setdefault(name, called).__module__ != function.__module__:
        raise ValueError(f"a function named {name!r} is registered already, by {FUNCTIONS[name].__module__}")
    FUNCTIONS[name] = called
    return called


def _with_units(function: Callable[..., Schedule]) -> str | None:
    """The docstring of a policy, with a paragraph below its first sentence on how to write lengths."""
    lengths = [f"`{name}`" for name, kind in function.__annotations__.items() if "Span" in str(kind)]
    if function.__doc__ is None or not lengths:
        return function.__doc__
    told = (
        f'Lengths ({", ".join(lengths)}) are numbers of updates, or text with a unit: "5 epochs", "10%", "2e9 tokens".'
    )
    first, *rest = inspect.cleandoc(function.__doc__).split("\n\n")
    return "\n\n".join((first, told, *rest)) + "\n"
