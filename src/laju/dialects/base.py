"""The base of every dialect: systems with their schedulers, and the reader of calls to a scheduler written as text.

A function of a dialect has the name, the arguments and the defaults of the system's scheduler, and returns a laju schedule with
the values that the system really gives, counted from 0: `schedule(t)` is the learning rate of update (or epoch) t if the
scheduler is stepped after every update (or epoch), as the system's documentation shows.
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from typing import Any, Literal, ParamSpec

from laju import plugins
from laju.core import limits
from laju.core.algebra import Product
from laju.core.checks import is_number, nearest, shown
from laju.core.pieces import Constant, Exponential, Table
from laju.core.schedule import Schedule
from laju.dialects.declared import DialectError as DialectError
from laju.dialects.declared import Made, SystemSchedule, declared

P = ParamSpec("P")
Dialect = Callable[..., Schedule]

# Values of the wrong kind raise these deep inside a dialect; a ValueError already has a clear message.
UNFIT = (TypeError, ArithmeticError, LookupError, AttributeError)


class NotASchedule(DialectError):
    """The scheduler depends on metrics or on how often the scheduler is called, so it is not a function of the update."""


@dataclass(frozen=True)
class System:
    """A system, such as PyTorch or timm, whose schedulers laju reads.

    Args:
        name: name of the module in `laju.dialects`, such as "timm".
        title: the system's name as its authors write it.
        package: name of the distribution on PyPI, or None if the system cannot be installed from there.
        releases: releases of the package that the dialect was compared with.
        counts: the unit in which schedulers count, such as "calls of step()".
        schedulers: the dialect's functions by the system's own names, in the order of declaration.
        refused: schedulers that are not functions of the update, with the reason and laju's alternative.
        aliases: alternative names of schedulers, such as "cosine" for "CosineLRScheduler".
        also: arguments that every scheduler takes last, with the only accepted value, such as last_epoch=-1.
        unit: unit of the count unless a call says otherwise; "either" if the program decides how often the scheduler is stepped.
    """

    name: str
    title: str
    package: str | None
    releases: tuple[str, ...]
    counts: str
    schedulers: dict[str, Callable[..., SystemSchedule]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, Any] = field(default_factory=dict)
    unit: Literal["update", "epoch", "either"] = "update"

    def declare(self, function: Callable[P, Schedule | Made]) -> Callable[P, SystemSchedule]:
        """Register the function of a scheduler and wrap the function: arguments are checked, and the result records the call."""
        self.schedulers[function.__name__] = scheduler = declared(self.name, function, self.also)
        return scheduler

    def declare_shared(self, function: Callable[..., Schedule | Made]) -> Callable[..., SystemSchedule]:
        """Register a function with a `Together` argument like `declare`; its signature is only known at run time."""
        return self.declare(function)

    def scheduler(self, name: str) -> Dialect:
        """Return the function of a scheduler, by the scheduler's name or an alias.

        Raises:
            NotASchedule: if the scheduler depends on metrics or on how often the scheduler is called.
            DialectError: if the name is unknown; the message has the nearest valid names.
        """
        own = self.aliases.get(name, name)
        if own in self.schedulers:
            return self.schedulers[own]
        if own in self.refused:
            raise NotASchedule(f"{self.title}'s {own} is not a schedule: {self.refused[own]}")
        known = [*self.schedulers, *self.aliases, *self.refused]
        if owners := [other for other in readable() if name in other.schedulers]:
            titles = ", ".join(other.title for other in owners)
            raise DialectError(
                f"{name!r} is not a scheduler of {self.title} but of {titles}: name the system "
                f"{' or '.join(repr(other.name) for other in owners)} instead"
            )
        raise DialectError(
            f"{name!r} is not a scheduler of {self.title} that laju knows{nearest(name, known)} (it knows: "
            f"{', '.join(self.schedulers)})"
        )


SYSTEMS = (
    "torch",
    "transformers",
    "timm",
    "optax",
    "keras",
    "ignite",
    "pytorch_warmup",
    "deepspeed",
    "megatron",
    "torchtitan",
    "composer",
    "mmengine",
    "fastai",
    "fvcore",
    "mxnet",
    "gluoncv",
    "paddle",
    "d2l",
)
"""Names of laju's dialects, which are modules of this package; other packages add dialects by entry points `laju.dialects`."""


def systems() -> tuple[str, ...]:
    """Return the names of all systems: laju's own, then the systems of other packages."""
    return (*SYSTEMS, *(name for name in plugins.names("dialects") if _key(name) not in SYSTEMS))


def _key(name: str) -> str:
    key = name.strip().lower().replace("-", "_").replace(".", "_")
    return _OTHER_NAMES.get(key, key)


def system(name: str) -> System:
    """Return the system with a name such as "torch", "PyTorch" or "huggingface", or the system of another package.

    Raises:
        DialectError: if the name is unknown; the message has the nearest valid name.
        PluginError: if the system of another package cannot be loaded.

    >>> system("torch").title
    'PyTorch'
    """
    key = _key(name) if isinstance(name, str) else name
    found: System | None
    if key in SYSTEMS:
        found = import_module(f"laju.dialects.{key}").SYSTEM
    elif not isinstance(key, str) or (found := _of_another_package(key)) is None:
        known = systems()
        raise DialectError(
            f"{shown(name)} is not a system that laju knows{nearest(str(key), known)} ({', '.join(known)})"
        )
    return found


@cache
def _of_another_package(name: str) -> System | None:
    """The system of another package under that name, as entry points write it or with `_` for `-` and `.`."""
    for own in plugins.names("dialects"):
        if own.lower().replace("-", "_").replace(".", "_") == name:
            found: System = plugins.load("dialects", own, System, "a laju.dialects.System")
            return replace(found, name=name)  # by which the system is found again
    return None


def readable() -> Iterator[System]:
    """Yield every system that can be loaded; a broken package is an error only where its system is named."""
    for name in systems():
        with suppress(plugins.PluginError):
            yield system(name)


_OTHER_NAMES = {
    "pytorch": "torch", "torch_optim": "torch", "huggingface": "transformers", "hf": "transformers", "jax": "optax",
    "tf": "keras", "tensorflow": "keras",
    "pytorch_ignite": "ignite", "megatron_lm": "megatron", "megatron_core": "megatron", "warmup": "pytorch_warmup",
    "mosaicml": "composer", "openmmlab": "mmengine", "mmcv": "mmengine", "detectron2": "fvcore", "gluon": "mxnet",
    "paddlepaddle": "paddle",
}  # fmt: skip


def read(name: str, text: str, *, updates: int | None = None, **given: Any) -> Schedule:
    """Read the text of a call to a system's scheduler and return the schedule.

    The text is parsed and never executed: calls to the system's own schedulers, numbers, strings, lists and dicts are understood.
    A leading path such as `torch.optim.lr_scheduler.` and an argument `optimizer` are ignored.

    Args:
        name: name of the system, such as "torch".
        text: the call, such as "CosineAnnealingLR(T_max=100)".
        updates: number of updates of the run; needed for a scheduler without a closed form, which becomes a table of values.
        given: values for arguments that the text leaves out, such as `lr`, the optimizer's learning rate.

    Raises:
        DialectError: if the system or the scheduler is unknown, the text is not a call, or the scheduler does not take the
            arguments.

    >>> read("torch", "torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)", lr=0.1)(0)
    0.1
    """
    dialect = system(name)
    if not isinstance(text, str) or len(text) > limits.TEXT:
        raise DialectError(f"text must be a call of at most {limits.TEXT:,} characters, got {shown(text)}")
    try:
        value = _value_in_call(_expression(text), dialect, text, given)
    except SyntaxError as error:
        raise DialectError(f"{shown(text)} is not a call such as 'CosineAnnealingLR(T_max=100)': {error.msg}") from None
    except (RecursionError, MemoryError):
        raise DialectError(f"{shown(text)} is nested too deeply") from None
    except UNFIT as error:
        raise DialectError(f"{shown(text)} cannot be read: {error}") from error
    if not isinstance(value, Schedule):
        raise DialectError(f"{shown(text)} is not a call of a scheduler such as 'CosineAnnealingLR(T_max=100)'")
    return value.over(updates) if isinstance(value, SystemSchedule) else value


def filled(text: str, facts: Mapping[str, Any]) -> str:
    """Replace expressions in pasted code by their values, and return the text of the call.

    Args:
        text: the code, an expression or an assignment.
        facts: values by expression, such as {"len(train_loader)": 391}.

    Raises:
        DialectError: if a fact does not occur in the text or is not a Python expression.

    >>> filled("scheduler = StepLR(optimizer, 3 * len(train_loader))", {"len(train_loader)": 391})
    'StepLR(optimizer, 3 * 391)'
    """
    try:
        values = {ast.unparse(ast.parse(name.strip(), mode="eval")): (name, value) for name, value in facts.items()}
        tree = _expression(text)
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        if not facts:
            return text.strip()  # `read` reports the error
        raise DialectError(f"{shown(text)} with the facts {', '.join(facts)} cannot be read: {error}") from None
    if not facts:
        return (ast.get_source_segment(text.strip(), tree) or text).strip()
    met: set[str] = set()

    class Fill(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            name, value = values.get(ast.unparse(node), (None, None)) if isinstance(node, ast.expr) else (None, None)
            if name is None:
                found: ast.AST = super().visit(node)
                return found
            met.add(name)
            return ast.Constant(value)

    text = ast.unparse(Fill().visit(tree))
    for name in facts:
        if name not in met:
            raise DialectError(f"the fact {name!r} does not occur in {shown(text)}")
    return text


def _expression(text: str) -> ast.expr:
    """Return the syntax tree of an expression, or of the value of an assignment."""
    match ast.parse(text.strip()).body:
        case [ast.Expr(value=tree) | ast.Assign(value=tree) | ast.AnnAssign(value=ast.expr() as tree)]:
            return tree
    raise SyntaxError("it is not one expression")


def call(
    dialect: System, name: str, positional: list[Any], named: dict[str, Any], given: Mapping[str, Any]
) -> Schedule:
    """Call a system's scheduler by name, and return its schedule; errors name the scheduler and its arguments.

    Raises:
        DialectError: if the scheduler is unknown or does not take the arguments.
    """
    function = dialect.scheduler(name)
    signature = inspect.signature(function)
    takes = list(signature.parameters)
    room = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in signature.parameters.values())
    if takes and takes[0] in given and positional and takes[0] not in named and len(positional) < room:
        # The learning rate is the first argument in a dialect, in the position of the system's `optimizer`.
        positional = [given[takes[0]], *positional]
    named = {
        **{key: value for key, value in given.items() if key in takes and (key != takes[0] or not positional)},
        **named,
    }
    unknown = next((key for key in named if key not in takes), None)
    if unknown is not None and not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        raise DialectError(
            f"{dialect.title}'s {name} has no argument {unknown!r}{nearest(unknown, takes)} (it has: {', '.join(takes)})"
        )
    try:
        bound = signature.bind(*positional, **named)
    except TypeError as error:
        raise DialectError(f"{dialect.title}'s {name}: {error} (it has: {', '.join(takes)})") from None
    return function(*bound.args, **bound.kwargs)


def replayed(first: float, step: Callable[[int, float], float], n: int) -> Table:
    """Table of the first `n` values of a scheduler that computes each value from the previous value, in its own arithmetic.

    Args:
        first: value at t = 0.
        step: function of t and the value at t - 1 that returns the value at t, for t = 1, 2, …
        n: number of values.

    >>> replayed(1.0, lambda t, value: value * 0.5, 4).values(4)
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    values = [float(first)]
    for t in range(1, n):
        values.append(float(step(t, values[-1])))
    return Table(tuple(values))


def powers(start: float, gamma: float, every: int = 1) -> Schedule:
    """Schedule start·γ^⌊t/every⌋ at step t, for any γ including 0 and negative values."""
    if gamma == 0:
        return Constant(start, every) >> 0.0
    size: Schedule = Exponential(start, abs(gamma), every)
    size = size.staircase(every) if every > 1 else size
    return size if gamma > 0 else Product((size, Table((1.0, -1.0), every).repeat()))


def integer(name: str, value: Any) -> int:
    """Return a whole number of any type, such as 3.0, as an int."""
    if not is_number(value):
        raise TypeError(f"{name} must be a whole number, got {shown(value)}")
    if not math.isfinite(value) or value != int(value):
        raise DialectError(f"{name} must be a whole number, got {shown(value)}")
    return int(value)


def _value_in_call(at: ast.expr, dialect: System, text: str, given: Mapping[str, Any]) -> Any:
    # Text of a program is read and never run: literals, arithmetic of numbers, and calls of the system's own functions. All
    # else is refused by name, at the end.
    match at:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.List(elts=items) | ast.Set(elts=items):
            return [_value_in_call(item, dialect, text, given) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value_in_call(item, dialect, text, given) for item in items)
        case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
            pairs = zip(keys, values, strict=True)
            return {
                _value_in_call(k, dialect, text, given): _value_in_call(v, dialect, text, given)
                for k, v in pairs
                if k is not None
            }
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = _value_in_call(operand, dialect, text, given)
            if isinstance(number, int | float):
                return -number if isinstance(sign, ast.USub) else number
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            a, b = _value_in_call(left, dialect, text, given), _value_in_call(right, dialect, text, given)
            # `[0.1] * 30` is common in lists of rates; the bounds keep a short text from a list that fills the memory.
            if isinstance(op, ast.Mult) and isinstance(a, list) and isinstance(b, int) and 0 <= b <= 1000:
                if len(a) * b > limits.ITEMS:
                    raise DialectError(f"{ast.unparse(at)} has more than {limits.ITEMS:,} items")
                return a * b
            if isinstance(a, int | float) and isinstance(b, int | float):
                try:
                    return limits.number(_OPERATIONS[type(op)](a, b))
                except (ArithmeticError, ValueError) as error:
                    raise DialectError(f"{ast.unparse(at)} cannot be computed: {error}") from None
        case ast.Call(func=ast.Name() | ast.Attribute() as function, args=args, keywords=keywords) if not (
            isinstance(function, ast.Name) and function.id in _OF_PYTHON
        ):
            name = function.id if isinstance(function, ast.Name) else function.attr
            positional = [_value_in_call(a, dialect, text, given) for a in args if not _is_optimizer(a)]
            named = {
                k.arg: _value_in_call(k.value, dialect, text, given)
                for k in keywords
                if k.arg not in (None, "optimizer") and not _is_optimizer(k.value)
            }
            return call(dialect, name, positional, {k: v for k, v in named.items() if k is not None}, given)
    if isinstance(at, ast.Lambda):
        raise DialectError(
            f"in {shown(text)}, a lambda is not executed; give a laju schedule or a list of factors from Python"
        )
    raise DialectError(
        f"in {shown(text)}, {ast.unparse(at)!r} is neither a number, text or list nor a call of one of {dialect.title}'s "
        f"schedulers; what only the run knows is a fact: facts={{{ast.unparse(at)!r}: …}}, or on the command line "
        f"--fact '{ast.unparse(at)}=…'"
    )


def _is_optimizer(at: ast.expr) -> bool:
    name = at.id if isinstance(at, ast.Name) else at.attr if isinstance(at, ast.Attribute) else ""
    return name.lower() in ("optimizer", "opt", "optim")


_OF_PYTHON = ("abs", "float", "int", "len", "max", "min", "round", "sum")

_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Pow: limits.power,
}
