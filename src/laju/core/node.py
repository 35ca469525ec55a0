"""The nodes of a schedule: frozen dataclasses whose fields declare the valid values, known by name to text and JSON.

    @node
    class Ramp(Schedule):
        start: float = real()
        length: Duration = span()

The declaration of a field is the only place for its bounds: the constructor and the schema both read the declaration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar, dataclass_transform

from laju.core import checks
from laju.core.units import updates

Duration = Any
"""A length of a schedule: whole updates (a real number where a stretch made it so), or a `Length` in units. Constructors take
text as well; the type does not say so, since type checkers could not distinguish the argument from the field."""

ScalarFunction = Callable[[Any], float]
"""A function from a Python number to the value there."""

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Node:
    """Base class of `Schedule`, with the part that the modules below `schedule` need."""

    @property
    def normal(self) -> Any:
        """The schedule as nodes of the core: the node itself, unless a package above the core has wrapped the node."""
        return self


NODES: dict[str, type[Any]] = {}
"""Every class of nodes by its name, which is the `kind` in JSON and a name in texts."""

FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""Every function by its name that makes schedules in texts: policies, and the functions of the algebra."""

METHODS: dict[str, Callable[..., Any]] = {}
"""The functions behind methods of `Schedule`, by name: the class does not know its subclasses."""

HOOKS: dict[str, Callable[..., Any]] = {}
"""The functions above the core that a schedule calls, by name: "on_data" for runs with a batch ramp, "html" for notebooks."""

_MISSING = dataclasses.MISSING


def checked(check: Callable[[str, Any], Any], schema: dict[str, Any], default: Any = _MISSING, **metadata: Any) -> Any:
    """Declare a field of a node.

    Args:
        check: function of (name, value) that returns the value in canonical form, or raises an error with the valid values.
        schema: the JSON Schema of the field.
        default: the field's default; without a default, the field is required.
        metadata: further properties of the field that the algebra reads, such as `time`.
    """
    return dataclasses.field(default=default, metadata={"check": check, "schema": schema, **metadata})


_KEYWORDS = {"above": "exclusiveMinimum", "least": "minimum", "below": "exclusiveMaximum", "most": "maximum"}


def real(*, default: Any = _MISSING, scales: bool = False, **bounds: float) -> Any:
    """A field that holds a finite number, bounded by `above`, `least`, `below` and `most`.

    Args:
        default: the field's default; without a default, the field is required.
        scales: whether multiplying all fields with `scales` multiplies the schedule's values.
        bounds: `above`, `least`, `below` and `most`, as in `checks.number`.
    """
    schema = {"type": "number", **{_KEYWORDS[name]: bound for name, bound in bounds.items()}}
    return checked(partial(checks.number, **bounds), schema, default=default, scales=scales)  # type: ignore[arg-type]


def integer(*, default: Any = _MISSING, least: int = 0) -> Any:
    """A field that holds a whole number; None if that is the default."""

    def check(name: str, value: Any) -> int | None:
        return None if value is None and default is None else checks.whole(name, value, least=least)

    schema: dict[str, Any] = {"type": "integer", "minimum": least}
    return checked(check, {"anyOf": [schema, {"type": "null"}]} if default is None else schema, default=default)


def span(*, default: Any = _MISSING, zero: bool = True, rounded: bool = True) -> Any:
    """A field that holds a length: updates, or text with a unit; None if that is the default.

    Args:
        default: the field's default; without a default, the field is required.
        zero: whether 0 is a valid length.
        rounded: whether a plan that resolves the length rounds the length to whole updates.
    """
    optional = default is None
    schema = {"$ref": "#/$defs/length" if zero else "#/$defs/positive_length"}
    return checked(
        partial(updates, zero=zero, real=True, optional=optional),
        {"anyOf": [schema, {"type": "null"}]} if optional else schema,
        default=default,
        time="rounded" if rounded else "real",
    )


def flag(*, default: Any = _MISSING) -> Any:
    """A field that is True or False."""
    return checked(checks.flag, {"type": "boolean"}, default=default)


def choice(*valid: str, default: Any = _MISSING) -> Any:
    """A field that holds a text in `valid`."""
    return checked(partial(checks.choice, valid=valid), {"type": "string", "enum": list(valid)}, default=default)


def _is_node(name: str, value: Any) -> Node:
    if not isinstance(value, Node):
        raise TypeError(f"{name} must be a schedule, got {checks.shown(value)}")
    return value.normal  # type: ignore[no-any-return]


def schedule() -> Any:
    """A field that holds a schedule."""
    return checked(_is_node, {"$ref": "#/$defs/schedule"})


def _are_nodes(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, Node) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence of schedules, got {checks.shown(values)}")
    found = []
    for i, value in enumerate(values):
        if not isinstance(value, Node) and not checks.is_number(value):
            raise TypeError(f"{name}[{i}] must be a schedule or a number, got {checks.shown(value)}")
        found.append(value.normal if isinstance(value, Node) else NODES["Constant"](value))
    if not found:
        raise ValueError(f"{name} must hold at least one schedule, got none")
    return tuple(found)


def schedules() -> Any:
    """A field that holds schedules, at least one; a number becomes a constant."""
    return checked(_are_nodes, {"type": "array", "items": {"$ref": "#/$defs/schedule"}, "minItems": 1})


@dataclass_transform(
    frozen_default=True, field_specifiers=(checked, real, integer, span, flag, choice, schedule, schedules)
)
def node(cls: type[T]) -> type[T]:
    """A class of schedules: a frozen dataclass that text, JSON and schema know by its name.

    Raises:
        ValueError: if another node has this name.
    """
    made = dataclasses.dataclass(frozen=True, repr=False)(cls)
    known = NODES.setdefault(cls.__name__, made)
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(f"a node named {cls.__name__!r} is registered already, by {known.__module__}")
    NODES[cls.__name__] = made
    if cls.__dict__.get("_method") is not None:
        made.adopt(made)  # type: ignore[attr-defined]
    return made


def method(name: str) -> Callable[[F], F]:
    """Register a function as the method `name` of schedules; the schedule is its first argument."""

    def register(function: F) -> F:
        METHODS[name] = function
        return function

    return register


def compile_expression(formula: Callable[[Callable[[Any], str]], str]) -> ScalarFunction:
    """A function of t from the text of its expression.

    A chain of ramps called through closures costs a call for each part and shape; compiled as an expression, the whole costs
    a single call. The text is laju's own: `formula` writes numbers by `repr` and gets a name for everything else from `bind`.
    """
    # A float's repr is its shortest text that reads back as the same float, so constants lose nothing in the text. Only checked
    # numbers enter the text; a user's names and functions come by `bind`, so `eval` never sees foreign code.
    names: dict[str, Any] = {"inf": float("inf"), "nan": float("nan")}  # the names that repr gives these floats

    def bind(value: Any) -> str:
        name = f"_{len(names)}"
        names[name] = value
        return name

    function: ScalarFunction = eval(f"lambda t: {formula(bind)}", names)
    return function


def set_fields(self: object, **values: Any) -> None:
    """Set fields of a frozen node during its construction."""
    for name, value in values.items():
        object.__setattr__(self, name, value)
