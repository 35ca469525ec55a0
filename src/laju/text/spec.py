"""Schedules as text: the Python expression that `repr` prints.

The text is read from its syntax tree, never evaluated: only laju's own names, numbers, texts and lists are allowed.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import laju.policies  # noqa: F401 - registers the policies
from laju.core import limits
from laju.core.checks import SpecError, nearest, shown
from laju.core.functions import DataName
from laju.core.node import FUNCTIONS, METHODS, NODES
from laju.core.pieces import Constant, Function
from laju.core.policy import elsewhere
from laju.core.schedule import Schedule

REFUSED = (TypeError, ValueError, ArithmeticError, AttributeError, RecursionError, MemoryError)
"""The errors of a schedule's constructor for values from a text or from JSON."""


def parse(text: str, *, functions: bool = False) -> Schedule:
    """Read a schedule from its text, without evaluating the text as Python.

    Args:
        text: an expression of laju's policies, pieces, methods and the operators `>>`, `*` and `+`.
        functions: whether a `Function("module:name")` in the text may import its module when a value is needed. An import runs
            code, so allow functions only in a trusted text. By default, a schedule with a function can be printed and
            inspected, but has no values.

    Raises:
        SpecError: if the text is not such an expression; the message shows the column and proposes the nearest valid name.

    >>> parse("cosine(0.3, total=20, final=0.01, warmup=5).per('epoch')")
    cosine(0.3, total=20, final=0.01, warmup=5).per('epoch')
    """
    if not isinstance(text, str):
        raise SpecError(f"a schedule's text must be a str, got {type(text).__name__}")
    if len(text) > limits.TEXT:
        raise SpecError(f"a schedule's text must have at most {limits.TEXT:,} characters, got {len(text):,}")
    source = text.strip()
    if not source:
        raise SpecError("a schedule's text must not be empty; write for example 'cosine(0.3, total=20)'")
    try:
        # Python itself warns of some texts, such as an invalid escape, as if they were code of the caller's.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, mode="eval")
    except SyntaxError as error:
        column = max(0, (error.offset or 1) - 1) if error.lineno in (None, 1) else None
        percent = re.search(r"(\w+) *= *([\d.]+%)", source)
        hint = f"; a length in percent is text: {percent[1]}='{percent[2]}'" if percent else ""
        raise SpecError(f"this is not an expression: {error.msg}{hint}", source, column) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise SpecError(f"this is not an expression: {error or type(error).__name__}") from None
    reader = _Reader(source, functions)
    try:
        value = reader.read(tree.body)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = reader.call(Constant, "a constant", [value], {}, tree.body)
    except RecursionError:
        raise SpecError("this expression is nested too deeply") from None
    if not isinstance(value, Schedule):
        raise SpecError(f"this is {shown(value)}, not a schedule; write for example 'cosine(0.3, total=20)'", source, 0)
    return value


def _names() -> Mapping[str, Callable[..., Any]]:
    """Everything that can be called in a text."""
    return {**FUNCTIONS, **NODES}


_CALLED_ELSEWHERE = {
    "step": "factor(…, every=N), or multi_factor(…, milestones=[…])",
    "multistep": "multi_factor(…, milestones=[…])",
    "cosineannealing": "cosine",
    "cosinewithwarmup": "cosine(…, warmup=N)",
    "cosinewarmup": "cosine(…, warmup=N)",
    "warmupcosine": "cosine(…, warmup=N)",
    "linearwarmupcosine": "cosine(…, warmup=N)",
    "cosinewithrestarts": "cosine_restarts",
    "sgdr": "cosine_restarts",
    "linearwithwarmup": "linear_to_zero(…, warmup=N)",
    "constantwithwarmup": "warmup(constant(…), N)",
    "warmupstabledecay": "wsd",
    "cyclic": "triangular",
    "plateau": "laju.adaptive.Plateau, which follows a metric and stands in no text",
    "reduceonplateau": "laju.adaptive.Plateau, which follows a metric and stands in no text",
}
"""laju's names for names that several systems use, in lower case."""


def in_laju(name: str, names: Mapping[str, Any]) -> str:
    """The end of an error message: laju's name for a scheduler of another system, or else the nearest of `names`."""
    plain = name.lower().replace("_", "").removesuffix("scheduler").removesuffix("schedule").removesuffix("lr")
    known = _CALLED_ELSEWHERE.get(plain) or _CALLED_ELSEWHERE.get(plain.removesuffix("decay"))
    return f"; in laju that is {known}" if known else nearest(name, names)


class _Reader:
    """Turns a syntax tree into a schedule, and knows where in the text each part stands."""

    def __init__(self, text: str, functions: bool) -> None:
        self.text = text
        self.functions = functions
        self.names = _names()

    def fail(self, message: str, at: ast.expr | ast.keyword, end: bool = False) -> SpecError:
        # Python counts columns in bytes of UTF-8; the caret of the message needs characters.
        column = at.end_col_offset if end else at.col_offset
        if at.lineno != 1 or column is None:
            return SpecError(message)
        return SpecError(message, self.text, len(self.text.encode()[:column].decode(errors="replace")))

    def read(self, at: ast.expr) -> Any:
        match at:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return self.bounded(value, at)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.read(item) for item in items]
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                value = self.read(operand)
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise self.fail(f"only a number can be negated, not {shown(value)}", at)
                return -value if isinstance(sign, ast.USub) else value
            case ast.BinOp():
                return self.operation(at)
            case ast.Call(func=ast.Name(id=name) as function):
                if name not in self.names:
                    raise self.fail(f"unknown policy {name!r}{in_laju(name, self.names)}", function)
                return self.call(self.names[name], name, *self.arguments(at, self.names[name], name), at)
            case ast.Call(func=ast.Attribute(value=receiver, attr=name) as function):
                schedule = self.read(receiver)
                if not isinstance(schedule, Schedule):
                    raise self.fail(f"{shown(schedule)} is not a schedule, so it has no method {name!r}", receiver)
                if name not in METHODS:
                    # The node of an attribute begins at its receiver; the caret belongs under the name.
                    column = (function.end_col_offset or 0) - len(name.encode())
                    function.col_offset = column
                    raise self.fail(
                        f"unknown method {name!r}{nearest(name, METHODS)}; methods are {', '.join(METHODS)}", function
                    )
                method = getattr(schedule, name)
                return self.call(method, name, *self.arguments(at, method, name), at)
            case ast.Name(id=name):
                if name in self.names:
                    raise self.fail(f"{name} needs its arguments: {_usage(self.names[name], name)}", at)
                raise self.fail(f"unknown name {name!r}{in_laju(name, self.names)}; put text in quotes", at)
        raise self.fail(
            "only laju's policies, methods, numbers, texts, lists and the operators >> * + are allowed here", at
        )

    def bounded(self, value: Any, at: ast.expr) -> Any:
        try:
            return limits.number(value)
        except ValueError as error:
            raise self.fail(str(error), at) from None

    def operation(self, at: ast.BinOp) -> Any:
        """A row of operations of the same kind, without a recursion per operand."""
        # `a >> b >> c` is a tree that leans to the left, so a text of many operands would exhaust Python's stack.
        operands: list[ast.expr] = []
        kind = type(at.op)
        left: ast.expr = at
        while isinstance(left, ast.BinOp) and type(left.op) is kind:
            operands.append(left.right)
            left = left.left
        operands.append(left)
        value = self.read(operands.pop())
        while operands:
            here = operands.pop()
            value = self.combine(kind, value, self.read(here), here)
        return value

    def combine(self, kind: type[ast.operator], a: Any, b: Any, at: ast.expr) -> Any:
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
        try:
            if any(isinstance(x, Schedule) for x in (a, b)):
                if kind is ast.RShift:
                    return a >> b
                if kind is ast.Mult:
                    return a * b
                if kind is ast.Add:
                    return a + b
            elif numbers:
                if kind is ast.Mult:
                    return self.bounded(a * b, at)
                if kind is ast.Add:
                    return a + b
                if kind is ast.Sub:
                    return a - b
                if kind is ast.Div:
                    return a / b
        except SpecError:
            raise
        except REFUSED as error:
            raise self.fail(str(error), at) from None
        raise self.fail("the operators are >> (then), * and + on schedules, and + - * / on numbers", at)

    def arguments(self, at: ast.Call, function: Callable[..., Any], name: str) -> tuple[list[Any], dict[str, Any]]:
        valid = list(inspect.signature(function).parameters)
        positional = []
        for argument in at.args:
            if isinstance(argument, ast.Starred):
                raise self.fail("arguments must be written individually, without * and **", argument)
            positional.append(self.read(argument))
        keywords: dict[str, Any] = {}
        for keyword in at.keywords:
            if keyword.arg is None:
                raise self.fail("arguments must be written individually, without * and **", keyword)
            if keyword.arg not in valid:
                raise self.fail(
                    f"{name} has no argument {keyword.arg!r}{elsewhere(keyword.arg, valid)}; it takes {_usage(function, name)}",
                    keyword,
                )
            keywords[keyword.arg] = self.read(keyword.value)
        return positional, keywords

    def call(
        self, function: Callable[..., Any], name: str, args: list[Any], kwargs: dict[str, Any], at: ast.expr
    ) -> Any:
        try:
            inspect.signature(function).bind(*args, **kwargs)
        except TypeError as error:
            raise self.fail(f"{name}: {error}; it takes {_usage(function, name)}", at) from None
        # A name from data stays a text that is never imported, so that reading a schedule runs no code.
        if function is Function and not self.functions:
            args = [DataName(value) if isinstance(value, str) and not i else value for i, value in enumerate(args)]
            kwargs = {k: DataName(v) if k == "function" and isinstance(v, str) else v for k, v in kwargs.items()}
        try:
            return function(*args, **kwargs)
        except SpecError as error:
            raise self.fail(str(error), at) from None
        except REFUSED as error:
            raise self.fail(f"{name}: {error}", at) from None


def _usage(function: Callable[..., Any], name: str) -> str:
    words = []
    for parameter in inspect.signature(function).parameters.values():
        text = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            text = f"*{text}"
        elif parameter.default is not parameter.empty and not dataclasses.is_dataclass(parameter.default):
            text += f"={parameter.default!r}"
        words.append(text)
    return f"{name}({', '.join(words)})"
