"""The numbers in a schedule's text: the position and meaning of each, and the text with a changed number.

The rest of the text stays as the user wrote it: a change replaces the characters of a single number, or adds an argument to a
call.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from laju.core.checks import shown
from laju.core.node import FUNCTIONS, METHODS, NODES
from laju.core.schedule import Schedule
from laju.core.units import Length, RunPlan, as_length
from laju.text.spec import parse

Kind = Literal["length", "value", "number"]

VALUES = frozenset({"peak", "base", "final", "start", "value", "values", "low", "high", "floor", "under", "factors"})
"""Arguments that are values of the schedule, and not factors, powers or shares."""

_LENGTHS = frozenset({"warmup", "total", "length", "at", "every"})
_MOST = 400
"""The most numbers of a text that get a field: a table with thousands of numbers is edited as text."""


@dataclass(frozen=True)
class Spot:
    """A number of the text, or an argument that the text leaves at its default.

    Attributes:
        id: the index in the order of the text, which stays the same when a number changes.
        name: the name of the argument, with the index in a list: `warmup`, `milestones[0]`.
        call: the function or method that takes the argument.
        kind: a length in time, a value of the schedule, or any further number.
        written: whether the text has the number.
        begin, end: the positions of the number's characters; for a default, both are the position at which to add the argument.
        number: the number, a length in units, or None for a default that the function computes itself.
        origin: the update at which the part with this argument begins.
        scale: the number of updates per count of this part.
        until: the update at which the part ends; None for a part without an end.
        pair: for a point in a list of points, the id of the point's length.
    """

    id: str
    name: str
    call: str
    kind: Kind
    written: bool
    begin: int
    end: int
    number: int | float | Length | None
    origin: float = 0
    scale: float = 1
    until: float | None = None
    pair: str | None = None

    @property
    def text(self) -> str:
        """The number in the form in which a field shows it."""
        return (
            "" if self.number is None else str(self.number) if isinstance(self.number, Length) else plain(self.number)
        )


def plain(number: float) -> str:
    """A number in the fewest characters: 0.1, not 0.1000.

    >>> plain(0.30000000000000004), plain(1000.0), plain(2.5e-7)
    ('0.3', '1000', '2.5e-07')
    """
    if isinstance(number, int) or (number == int(number) and abs(number) < 1e15):
        return str(int(number))
    return f"{number:.12g}"


def spots(text: str, plan: RunPlan | None = None) -> list[Spot]:
    """The numbers of a text that `laju.parse` reads, in the order of the text.

    Args:
        text: the text of a schedule, on a single line.
        plan: the plan of the run, for lengths in units.

    Raises:
        SpecError, SyntaxError: the text is not a valid schedule.

    >>> [(spot.name, spot.text, spot.written) for spot in spots("cosine(0.3, total=100)")][:4]
    [('peak', '0.3', True), ('total', '100', True), ('final', '0', False), ('warmup', '0', False)]
    """
    source = text.strip()
    lead = len(text) - len(text.lstrip())
    walker = _Walker(source, plan)
    found = []
    for spot in walker.walk(ast.parse(source, mode="eval").body, 0.0, 1.0):
        found.append(replace(spot, begin=spot.begin + lead, end=spot.end + lead))
        if len(found) == _MOST:
            break
    return found


def changed(text: str, spot: Spot, number: str) -> str:
    """The text with a new number at a spot: a number, or a length such as "5 epochs", which is written in quotes.

    Raises:
        ValueError: neither a number nor a length.

    >>> [spot] = [s for s in spots("cosine(0.3, total=100)") if s.name == "warmup"]
    >>> changed("cosine(0.3, total=100)", spot, "5 epochs")
    "cosine(0.3, total=100, warmup='5 epochs')"
    """
    new = _literal(spot, number)
    if spot.written:
        return f"{text[: spot.begin]}{new}{text[spot.end :]}"
    before = text[: spot.begin].rstrip()
    between = "" if before.endswith("(") else " " if before.endswith(",") else ", "
    return f"{before}{between}{spot.name}={new}{text[spot.end :]}"


def _literal(spot: Spot, number: str) -> str:
    number = number.strip()
    try:
        value = float(number.replace(",", "").replace("_", "") if spot.kind == "length" else number)
    except ValueError:
        value = None
    if value is not None:
        return plain(value) if value == value and abs(value) != float("inf") else number
    if spot.kind != "length":
        raise ValueError(f"{spot.name} must be a number, got {shown(number)}")
    try:
        length = as_length(number)
    except ValueError as error:
        raise ValueError(
            f"{spot.name} must be a number of updates, or text such as '5 epochs' or '10%': {error}"
        ) from None
    return repr(str(length)) if isinstance(length, Length) else plain(length)


class _Walker:
    """Walks through a syntax tree that the parser of schedules has accepted."""

    def __init__(self, source: str, plan: RunPlan | None) -> None:
        self.source = source
        self.bytes = source.encode()
        self.plan = plan
        self.count = 0

    def column(self, offset: int) -> int:
        """The column in characters; Python's syntax trees count bytes."""
        return len(self.bytes[:offset].decode(errors="replace"))

    def of(self, at: ast.expr) -> str:
        return self.source[self.column(at.col_offset) : self.column(at.end_col_offset or 0)]

    def length(self, at: ast.expr, scale: float) -> float | None:
        """The number of updates of a part of the expression; None for a part without an end."""
        try:
            schedule: Schedule = parse(self.of(at))
            if schedule.units and self.plan is not None:
                schedule = schedule.resolve(self.plan)
            length = schedule.length
        except ValueError:
            return None
        return None if length is None or isinstance(length, Length) else float(length) * scale

    def updates_in(self, unit: str) -> float:
        """The number of updates per unit; 1 if no plan determines the unit."""
        try:
            assert self.plan is not None
            return float(self.plan.scale.updates(as_length(f"1 {unit}")))
        except (AssertionError, ValueError):
            return 1.0

    def walk(self, at: ast.expr, origin: float, scale: float) -> Iterator[Spot]:
        match at:
            # Numbers of the right part are on a clock that begins where the left part ends; where that has no end, the right
            # part never comes into force and has no handles.
            case ast.BinOp(op=ast.RShift()):
                yield from self.walk(at.left, origin, scale)
                before = self.length(at.left, scale)
                if before is not None:
                    yield from self.walk(at.right, origin + before, scale)
            case ast.BinOp():
                yield from self.walk(at.left, origin, scale)
                yield from self.walk(at.right, origin, scale)
            case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS or name in NODES:
                yield from self.call(at, name, FUNCTIONS.get(name) or NODES[name], origin, scale)
            case ast.Call(func=ast.Attribute(value=receiver, attr=name)) if name in METHODS:
                inner = scale
                if name == "per" and at.args and isinstance(at.args[0], ast.Constant):
                    inner = scale * self.updates_in(str(at.args[0].value))
                yield from self.walk(receiver, origin, inner)
                yield from self.call(at, name, METHODS[name], origin, scale, skip=1)
            case ast.Constant() | ast.UnaryOp() if (number := _number(at)) is not None:
                yield self.spot("value", "constant", "value", at, number, origin, scale, None)

    def call(
        self, at: ast.Call, name: str, function: Callable[..., Any], origin: float, scale: float, skip: int = 0
    ) -> Iterator[Spot]:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        several = [p for p in parameters if p.kind is p.VAR_POSITIONAL]
        written = {p.name: value for p, value in zip(parameters, at.args, strict=False) if p not in several}
        written |= {keyword.arg: keyword.value for keyword in at.keywords if keyword.arg}
        until: float | None = None
        if any(_kind(p) == "length" for p in parameters):
            found = self.length(at, scale)
            until = None if found is None else origin + found
        close = self.column(at.end_col_offset or 0) - 1
        if several:
            begin = origin
            for part in at.args:
                yield from self.walk(part, begin, scale)
                begin += (self.length(part, scale) or 0) if name in ("chain", "Chain") else 0
            return
        for parameter in parameters:
            kind = _kind(parameter)
            value = written.get(parameter.name)
            if value is None:
                default = parameter.default
                if kind is None or default is parameter.empty or isinstance(default, bool) or default is None:
                    continue
                if isinstance(default, int | float):
                    self.count += 1
                    yield Spot(
                        str(self.count), parameter.name, name, kind, False, close, close, default, origin, scale, until
                    )
                continue
            yield from self.argument(parameter.name, name, kind, value, origin, scale, until)

    def argument(
        self, name: str, call: str, kind: Kind | None, at: ast.expr, origin: float, scale: float, until: float | None
    ) -> Iterator[Spot]:
        number = _number(at)
        if isinstance(at, ast.List | ast.Tuple):
            for i, item in enumerate(at.elts):
                if isinstance(item, ast.List | ast.Tuple) and len(item.elts) == 2:  # a point
                    first = None
                    for part, of in zip(item.elts, ("length", "value"), strict=True):
                        value = _number(part)
                        if value is not None:
                            label = f"{name}[{i}] {'at' if of == 'length' else 'value'}"
                            spot = self.spot(label, call, of, part, value, origin, scale, until)  # type: ignore[arg-type]
                            yield replace(spot, pair=first)
                            first = first or spot.id
                    continue
                yield from self.argument(f"{name}[{i}]", call, kind, item, origin, scale, until)
        elif number is not None and kind is not None:
            yield self.spot(name, call, kind, at, number, origin, scale, until)
        elif isinstance(at, ast.Call | ast.BinOp):
            yield from self.walk(at, origin, scale)

    def spot(
        self,
        name: str,
        call: str,
        kind: Kind,
        at: ast.expr,
        number: Any,
        origin: float,
        scale: float,
        until: float | None,
    ) -> Spot:
        self.count += 1
        begin, end = self.column(at.col_offset), self.column(at.end_col_offset or 0)
        return Spot(str(self.count), name, call, kind, True, begin, end, number, origin, scale, until)


def _kind(parameter: inspect.Parameter) -> Kind | None:
    told = str(parameter.annotation)
    if "Span" in told or "Duration" in told or (parameter.name in _LENGTHS and "int" in told):
        return "length"
    if parameter.name in VALUES and "float" in told:
        return "value"
    return "number" if "float" in told or "int" in told else None


def _number(at: ast.expr) -> int | float | Length | None:
    """The number, or the length in units, that an expression represents; None for any further expression."""
    match at:
        case ast.Constant(value=bool()):
            return None
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Constant(value=str() as text):
            try:
                return as_length(text)
            except ValueError:
                return None
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    return None


def in_units(length: Length, scale: Callable[[Length], Fraction]) -> tuple[str, float] | None:
    """The unit of a length with a single unit, and the updates per unit."""
    if len(length.terms) != 1:
        return None
    unit = length.terms[0][0]
    return unit, float(scale(Length(((unit, Fraction(1)),))))
