"""The written form: the call, the method or the operators that made a schedule, kept beside its normal form.

`cosine(0.3, total=1000, warmup=50)` is two ramps inside, and prints as written. The written form is no part of a schedule's
equality, hash, fingerprint or values. Evaluating the written form gives the schedule again, because the functions that make
schedules depend on nothing but their arguments.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from laju.core import limits
from laju.core.node import FUNCTIONS, Node
from laju.core.units import Length, as_length

_PRECEDENCE = {">>": 1, "+": 2, "*": 3}
_METHOD = 4
MOST = 1000
"""The most items of a sequence that is kept: pieces describe a longer sequence as well."""


class Written(Protocol):
    """How a schedule was made."""

    def text(self) -> str:
        """The Python expression."""

    def again(self, change: Callable[[Any], Any]) -> Any:
        """The schedule that the same expression makes of changed arguments."""

    @property
    def schedules(self) -> Iterator[Any]:
        """The schedules in the expression."""


@dataclass(frozen=True)
class Call:
    """`name(…)`, a function that makes schedules."""

    name: str
    args: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]

    def text(self) -> str:
        return f"{self.name}({self.arguments()})"

    def arguments(self) -> str:
        return ", ".join([*map(argument, self.args), *(f"{name}={argument(value)}" for name, value in self.keywords)])

    def again(self, change: Callable[[Any], Any]) -> Any:
        return FUNCTIONS[self.name](*map(change, self.args), **{name: change(value) for name, value in self.keywords})

    @property
    def schedules(self) -> Iterator[Any]:
        values = [*self.args, *(value for _, value in self.keywords)]
        return (value for value in values if isinstance(value, Node))


@dataclass(frozen=True)
class Method:
    """`receiver.name(…)`, a method of schedules."""

    receiver: Any
    call: Call

    def text(self) -> str:
        return f"{operand(self.receiver, _METHOD)}.{self.call.text()}"

    def again(self, change: Callable[[Any], Any]) -> Any:
        keywords = {name: change(value) for name, value in self.call.keywords}
        return getattr(change(self.receiver), self.call.name)(*map(change, self.call.args), **keywords)

    @property
    def schedules(self) -> Iterator[Any]:
        yield self.receiver
        yield from self.call.schedules


@dataclass(frozen=True)
class Operation:
    """`a >> b`, `a * b` or `a + b`, with two or more operands."""

    operator: str
    operands: tuple[Any, ...]

    def text(self) -> str:
        level = _PRECEDENCE[self.operator]
        return f" {self.operator} ".join(operand(value, level) for value in self.operands)

    def again(self, change: Callable[[Any], Any]) -> Any:
        first, *others = (change(value) for value in self.operands)
        for other in others:
            match self.operator:
                case ">>":
                    first = first >> other
                case "*":
                    first = first * other
                case "+":
                    first = first + other
        return first

    @property
    def schedules(self) -> Iterator[Any]:
        return (value for value in self.operands if isinstance(value, Node))


def plain(value: Any) -> Any:
    """An argument in the form that is kept: numbers of Python, texts, lengths, schedules, and short sequences of these, copied.

    Raises:
        ValueError: if no text can reproduce the argument.
    """
    if value is None or isinstance(value, bool | str):
        if isinstance(value, str) and len(value) > limits.TEXT:
            raise ValueError("a text that is too long")
        return value
    if isinstance(value, Node):
        return value.normal
    if isinstance(value, Length):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    # A copy: the caller may change the array afterwards, and the text must go on saying what the schedule is.
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Sequence) and len(value) <= MOST:
        return tuple(map(plain, value))
    raise ValueError(f"a {type(value).__name__} has no text")


def call(name: str, args: Sequence[Any], keywords: Mapping[str, Any]) -> Call | None:
    """The call with these arguments; None if an argument has no text."""
    try:
        return Call(name, tuple(map(plain, args)), tuple((k, plain(v)) for k, v in keywords.items()))
    except ValueError:
        return None


def argument(value: Any) -> str:
    """The text of an argument."""
    if isinstance(value, Length):
        return repr(str(value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(argument, value))}]"
    return repr(value)


def operand(value: Any, level: int) -> str:
    """The text of an operand, in parentheses if its operator binds less tightly than the operator around the operand."""
    operator = value.operator if isinstance(value, Node) else None  # type: ignore[attr-defined]
    text = repr(value)
    return f"({text})" if operator is not None and _PRECEDENCE[operator] < level else text


def length_of(value: Any) -> Any:
    """The `Length` of an argument, given as a `Length` or as text; else None."""
    if isinstance(value, str):
        try:
            value = as_length(value)
        except ValueError:
            return None
    return value if isinstance(value, Length) else None
