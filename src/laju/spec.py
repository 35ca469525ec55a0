"""Schedules as text and as JSON, and the fingerprint.

The text is the Python expression that `repr` prints. It is read from its syntax tree, never evaluated: only laju's own names,
numbers, texts and lists mean anything.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import inspect
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from laju import algebra, clocks, pieces, policies
from laju.arguments import nearest, shown
from laju.schedule import Schedule
from laju.units import Length

VERSION = 1
_LIMIT = 100_000

_POLICIES: dict[str, Callable[..., Schedule]] = {name: getattr(policies, name) for name in policies.__all__}
_NODES: dict[str, type[Schedule]] = {
    name: cls
    for module in (pieces, algebra, clocks)
    for name, cls in vars(module).items()
    if inspect.isclass(cls) and issubclass(cls, Schedule) and dataclasses.is_dataclass(cls)
}
_NAMES: dict[str, Callable[..., Any]] = {
    **_POLICIES,
    **_NODES,
    "chain": algebra.chain,
    "product": algebra.product,
    "clip": algebra.clip,
    "splice": algebra.splice,
    "stretch": algebra.stretch,
}
_METHODS = (
    "then", "scale", "clip", "minimum", "maximum", "take", "overlay", "shift", "stretch", "staircase", "reverse", "repeat",
    "per", "warmup",
)  # fmt: skip


class SpecError(ValueError):
    """A text or JSON that is not a schedule; the message points at the place."""

    def __init__(self, message: str, text: str = "", column: int | None = None) -> None:
        self.column = column
        if column is not None:
            line = text.replace("\n", " ")
            begin = max(0, column - 60)
            message = f"{message}\n  {line[begin : begin + 110]}\n  {' ' * (column - begin)}^"
        super().__init__(message)


def parse(text: str) -> Schedule:
    """Read a schedule from its text, without evaluating it as Python.

    Args:
        text: an expression of laju's policies, pieces, methods and the operators `>>`, `*` and `+`.

    Raises:
        SpecError: anything else; it points at the column and proposes the nearest valid name.

    >>> parse("cosine(0.3, total=20, final=0.01, warmup=5).per('epoch')")
    (Ramp(0.0, 0.3, 5) >> Ramp(0.3, 0.01, 15, 'cosine')).per('epoch')
    """
    if not isinstance(text, str):
        raise SpecError(f"a schedule's text must be a str, got {type(text).__name__}")
    if len(text) > _LIMIT:
        raise SpecError(f"a schedule's text must have at most {_LIMIT} characters, got {len(text)}")
    source = text.strip()
    if not source:
        raise SpecError("a schedule's text must not be empty; write for example 'cosine(0.3, total=20)'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, mode="eval")
    except SyntaxError as error:
        column = max(0, (error.offset or 1) - 1) if error.lineno in (None, 1) else None
        raise SpecError(f"this is not an expression: {error.msg}", source, column) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise SpecError(f"this is not an expression: {error or type(error).__name__}") from None
    try:
        value = _Reader(source).read(tree.body)
    except RecursionError:
        raise SpecError("this expression is nested too deeply") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = _Reader(source).call(pieces.Constant, "a constant", [value], {}, tree.body)
    if not isinstance(value, Schedule):
        raise SpecError(f"this is {shown(value)}, not a schedule; write for example 'cosine(0.3, total=20)'", source, 0)
    return value


class _Reader:
    """Turns a syntax tree into a schedule, and knows where in the text each part stands."""

    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, message: str, at: ast.expr | ast.keyword, end: bool = False) -> SpecError:
        column = at.end_col_offset if end else at.col_offset
        if at.lineno != 1 or column is None:
            return SpecError(message)
        return SpecError(message, self.text, len(self.text.encode()[:column].decode(errors="replace")))

    def read(self, at: ast.expr) -> Any:
        match at:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return value
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
                if name not in _NAMES:
                    raise self.fail(f"unknown policy {name!r}{nearest(name, _NAMES)}", function)
                return self.call(_NAMES[name], name, *self.arguments(at, _NAMES[name], name), at)
            case ast.Call(func=ast.Attribute(value=receiver, attr=name) as function):
                schedule = self.read(receiver)
                if not isinstance(schedule, Schedule):
                    raise self.fail(f"{shown(schedule)} is not a schedule, so it has no method {name!r}", receiver)
                if name not in _METHODS:
                    column = (function.end_col_offset or 0) - len(name.encode())
                    function.col_offset = column
                    raise self.fail(
                        f"unknown method {name!r}{nearest(name, _METHODS)}; methods are {', '.join(_METHODS)}", function
                    )
                method = getattr(schedule, name)
                return self.call(method, name, *self.arguments(at, method, name), at)
            case ast.Name(id=name):
                if name in _NAMES:
                    raise self.fail(f"{name} needs its arguments: {_usage(_NAMES[name], name)}", at)
                raise self.fail(f"unknown name {name!r}{nearest(name, _NAMES)}; put text in quotes", at)
        raise self.fail(
            "only laju's policies, methods, numbers, texts, lists and the operators >> * + can stand here", at
        )

    def operation(self, at: ast.BinOp) -> Any:
        """A row of operations of one kind, without a recursion per operand."""
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
                    return a * b
                if kind is ast.Add:
                    return a + b
                if kind is ast.Sub:
                    return a - b
                if kind is ast.Div:
                    return a / b
        except (TypeError, ValueError, ArithmeticError) as error:
            raise self.fail(str(error), at) from None
        raise self.fail("the operators are >> (then), * and + on schedules, and + - * / on numbers", at)

    def arguments(self, at: ast.Call, function: Callable[..., Any], name: str) -> tuple[list[Any], dict[str, Any]]:
        valid = list(inspect.signature(function).parameters)
        positional = []
        for argument in at.args:
            if isinstance(argument, ast.Starred):
                raise self.fail("arguments are written out one by one", argument)
            positional.append(self.read(argument))
        keywords: dict[str, Any] = {}
        for keyword in at.keywords:
            if keyword.arg is None:
                raise self.fail("arguments are written out one by one", keyword)
            if keyword.arg not in valid:
                raise self.fail(
                    f"{name} has no argument {keyword.arg!r}{nearest(keyword.arg, valid)}; it takes {_usage(function, name)}",
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
        try:
            return function(*args, **kwargs)
        except SpecError as error:
            raise self.fail(str(error), at) from None
        except (TypeError, ValueError, ArithmeticError) as error:
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


# --- JSON --------------------------------------------------------------------------------------------------------------


def to_json(schedule: Schedule) -> dict[str, Any]:
    """The schedule as JSON: {"laju": version, "schedule": {"kind": …, fields that differ from their defaults}}.

    Raises:
        SpecError: a function in it cannot be imported by its name.

    >>> from laju import linear
    >>> to_json(linear(1, 0, total=5))
    {'laju': 1, 'schedule': {'kind': 'Ramp', 'start': 1.0, 'final': 0.0, 'length': 5}}
    """
    return {"laju": VERSION, "schedule": _tree(schedule)}


def _tree(value: Any) -> Any:
    if isinstance(value, Schedule):
        return {"kind": type(value).__name__, **{k: _tree(v) for k, v in value._fields().items()}}
    if isinstance(value, Length):
        return str(value)
    if isinstance(value, tuple):
        return [_tree(v) for v in value]
    if callable(value):
        try:
            return pieces.importable_name(value)
        except ValueError as error:
            raise SpecError(str(error)) from None
    return value


def from_json(data: Mapping[str, Any] | str) -> Schedule:
    """The schedule that `to_json` wrote, from the object or its JSON text.

    Raises:
        SpecError: another version, an unknown kind or field, or values that the schedule refuses.

    >>> from laju import linear
    >>> from_json(linear(1, 0, total=5).to_json())
    Ramp(1.0, 0.0, 5)
    """
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"this is not JSON: {error}") from None
    if not isinstance(data, Mapping) or "schedule" not in data:
        raise SpecError(f"a schedule's JSON must be an object with 'laju' and 'schedule', got {shown(data)}")
    if data.get("laju") != VERSION:
        raise SpecError(f"this JSON is of version {shown(data.get('laju'))}; this laju reads version {VERSION}")
    try:
        return _schedule(data["schedule"], "schedule")
    except RecursionError:
        raise SpecError("this JSON is nested too deeply") from None


def _schedule(tree: Any, where: str) -> Schedule:
    if not isinstance(tree, Mapping) or not isinstance(tree.get("kind"), str):
        raise SpecError(f"{where} must be an object with a 'kind', got {shown(tree)}")
    kind = tree["kind"]
    if kind not in _NODES:
        raise SpecError(f"{where}: unknown kind {kind!r}{nearest(kind, _NODES)}")
    cls = _NODES[kind]
    fields = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if name == "kind":
            continue
        if name not in fields:
            raise SpecError(f"{where}: {kind} has no field {name!r}{nearest(name, fields)}")
        if isinstance(value, Mapping):
            value = _schedule(value, f"{where}.{name}")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            value = [_schedule(part, f"{where}.{name}[{i}]") for i, part in enumerate(value)]
        values[name] = value
    try:
        return cls(**values)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise SpecError(f"{where}: {kind}: {error}") from None


def fingerprint(schedule: Schedule) -> str:
    """SHA-256 of the canonical JSON: keys sorted, no spaces, floats in their shortest form."""
    canonical = json.dumps(to_json(schedule), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
