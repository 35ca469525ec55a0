"""Code generation for other systems: a module for each target, with calls of the target's schedulers, and complete programs.

A suggested call may be wrong: `laju.dialects.convert` evaluates each call with the target's dialect and keeps calls whose values
agree.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from laju.inspect.outline import Outline

TARGETS = ("laju", "torch", "transformers", "timm", "optax", "keras", "mxnet", "paddle")
"""Systems that code is written for."""


FEW = 12
"""Parts that are worth a call of their own each; more than that, laju's one line says better."""


@dataclass(frozen=True)
class Suggestion:
    """A call of a target's own scheduler in the dialect's syntax, and the optimizer's learning rate if the call needs a rate."""

    call: str
    lr: float | None = None


@dataclass(frozen=True)
class Setting:
    """Facts about the run of a generated program.

    Attributes:
        schedule: code of the laju schedule, such as `laju.parse("constant(0.1)")`.
        lr: the optimizer's learning rate.
        counts: code of the run's length, in epochs or updates.
        in_epochs: whether the scheduler is stepped once per epoch.
    """

    schedule: str
    lr: float
    counts: str
    in_epochs: bool


@dataclass(frozen=True)
class Writer:
    """Code generator for a target system.

    Attributes:
        title: the system's name as its authors write it.
        suggestions: function of an outline that yields calls of the system's own schedulers, best known first.
        own: function that returns the program with a call of the system's own scheduler.
        adapter: function that returns the program with laju's schedule.
        counts_epochs: whether the system's schedulers may be stepped once per epoch.
        single: whether the system computes values in float32.
        traps: pitfalls by a text in the call, such as "OneCycleLR("; "" for every call.
    """

    title: str
    suggestions: Callable[[Outline], Iterator[Suggestion]]
    own: Callable[[Suggestion, Setting], str]
    adapter: Callable[[Setting], str]
    counts_epochs: bool = False
    single: bool = False
    traps: Mapping[str, str] = field(default_factory=dict)


def writer(name: str) -> Writer:
    """Return the code generator of a target."""
    found: Writer = import_module(f"{__name__}.{name}").WRITER
    return found


# --- for the writers -------------------------------------------------------------------------------------------------


def text(name: str, *args: Any, **named: Any) -> str:
    """Return the text of a call without arguments that are None; a `Raw` string has no quotes."""
    parts = [*map(_text, args), *(f"{key}={_text(value)}" for key, value in named.items() if value is not None)]
    return f"{name}({', '.join(parts)})"


class Raw(str):
    """Text that is code and not a string literal, such as a call."""


def _text(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(k)}: {_text(v)}' for k, v in value.items())}}}"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def plain(value: float) -> float:
    """Return a quotient with few digits, if that is within the rounding error of the quotient.

    >>> plain(0.01 / 0.1)
    0.1
    """
    short = float(f"{value:.12g}")
    return short if abs(short - value) <= 4 * math.ulp(value) else value


def number(count: int) -> str:
    """Return a count as code, with underscores in large numbers.

    >>> number(9000), number(2000000)
    ('9000', '2_000_000')
    """
    return f"{count:_}" if count >= 10_000 else str(count)


def whole(value: float) -> int | None:
    """Return a whole length as an int, and None for a fraction."""
    return int(value) if value == int(value) else None


def called(call: str) -> list[str]:
    """Return the names of all functions in a call, each once, in alphabetical order."""
    return sorted({_name(node) for node in ast.walk(ast.parse(call, mode="eval")) if isinstance(node, ast.Call)})


def code(
    call: str,
    *,
    first: str | None = None,
    without: tuple[str, ...] = (),
    prefix: str = "",
    indent: int = 0,
    used: int = 0,
) -> str:
    """Return a call as code, broken into lines if the call is long.

    Args:
        call: the call in the dialect's syntax.
        first: argument that the system's schedulers take first, such as "optimizer".
        without: names of schedulers that do not take `first`.
        prefix: prefix of each function's name, such as "optax.".
        indent: indentation of the line of the call.
        used: number of characters before the call in the line.
    """

    def written(at: ast.expr, depth: int, used: int) -> str:
        flat = _flat(at, first, without, prefix)
        if depth + used + len(flat) <= 110:
            return flat
        inner = depth + 4
        if isinstance(at, ast.Call):
            own = [first] if first and _name(at) not in without else []
            items = [
                *own,
                *(written(a, inner, 0) for a in at.args),
                *(f"{k.arg}={written(k.value, inner, len(str(k.arg)) + 1)}" for k in at.keywords),
            ]
            opening, closing = f"{prefix}{_name(at)}(", ")"
        elif isinstance(at, ast.List):
            items, opening, closing = [written(a, inner, 0) for a in at.elts], "[", "]"
        elif isinstance(at, ast.Dict):
            pairs = zip(at.keys, at.values, strict=True)
            items = [f"{ast.unparse(k)}: {written(v, inner, 0)}" for k, v in pairs if k is not None]
            opening, closing = "{", "}"
        else:
            return flat
        lines = "".join(f"{' ' * inner}{item},\n" for item in items)
        return f"{opening}\n{lines}{' ' * depth}{closing}"

    return written(ast.parse(call, mode="eval").body, indent, used)


def _flat(at: ast.expr, first: str | None, without: tuple[str, ...], prefix: str) -> str:
    if isinstance(at, ast.Call):
        own = [first] if first and _name(at) not in without else []
        args = [_flat(a, first, without, prefix) for a in at.args]
        named = [f"{k.arg}={_flat(k.value, first, without, prefix)}" for k in at.keywords]
        return f"{prefix}{_name(at)}({', '.join([*own, *args, *named])})"
    if isinstance(at, ast.List):
        return f"[{', '.join(_flat(a, first, without, prefix) for a in at.elts)}]"
    if isinstance(at, ast.Constant) and isinstance(at.value, str):
        return f'"{at.value}"'
    return ast.unparse(at)


def _name(at: ast.Call) -> str:
    function = at.func
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def literal(spec: str, indent: int = 0) -> str:
    """Return a schedule's text as a string literal, broken into lines if the text is long."""
    if len(spec) <= 84:
        return _quoted(spec)
    pieces = []
    rest = spec
    while len(rest) > 90:
        at = max(rest.rfind(sep, 0, 90) + len(sep) for sep in (", ", ">> ", "* ", "+ "))
        at = at if at > 10 else 90
        pieces.append(rest[:at])
        rest = rest[at:]
    lines = "".join(f"{' ' * (indent + 4)}{_quoted(piece)}\n" for piece in (*pieces, rest))
    return f"\n{lines}{' ' * indent}"


def _quoted(piece: str) -> str:
    return repr(piece) if '"' in piece or "\\" in piece else f'"{piece}"'


def torch_loop(setting: Setting, step: str = "scheduler.step()", epoch_step: str | None = None) -> str:
    """Return a torch training loop that steps a scheduler after each update or after each epoch."""
    if not setting.in_epochs:
        return f"""
for update in range({setting.counts}):
    loss = model(torch.randn(8, 10)).square().mean()  # your batch
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    {step}
"""
    return f"""
for epoch in range({setting.counts}):
    for batch in torch.randn(2, 8, 10):  # your data
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    {epoch_step or step}
"""
