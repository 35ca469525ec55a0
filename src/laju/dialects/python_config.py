"""Reader of configurations in Python, such as MMEngine's, from the syntax tree of a file, which is never executed.

The reader understands assignments of literals, `dict(...)`, arithmetic and previously assigned names. `_base_` files are read
first, and dicts are merged into the dicts of the base, as in MMEngine; `_delete_=True` replaces the dict of the base.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laju.core import limits
from laju.core.checks import shown
from laju.dialects.base import DialectError


class Unread:
    """A value in a file that is not known without executing the file."""

    def __init__(self, text: str, line: int | None = None) -> None:
        self.text, self.line = text, line

    def __repr__(self) -> str:
        return f"{self.text!r}" + (f" in line {self.line}" if self.line else "")


def python(path: Path, above: tuple[Path, ...] = (), files: list[Path] | None = None) -> dict[str, Any]:
    """Return the assignments of a Python configuration, including its bases.

    Raises:
        DialectError: if the file is not Python, imports its base (`read_base()`), or is its own base.
        OSError: if the file or a base cannot be read.
    """
    if path.resolve() in above:
        raise DialectError(f"{path} is its own _base_")
    # One list for the whole tree of bases: two bases that each name two more, and so on, would be read 2ⁿ times without being a
    # circle.
    files = [] if files is None else files
    files.append(path)
    if len(files) > limits.FILES:
        raise DialectError(f"{path}: a configuration may be made of at most {limits.FILES} files, its bases counted")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, RecursionError, MemoryError, ValueError) as error:
        raise DialectError(f"{path} cannot be read as Python: {error}") from None
    except SyntaxError as error:
        raise DialectError(f"{path} cannot be read as Python: {error.msg} in line {error.lineno}") from None
    own: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.With) and "read_base" in ast.unparse(statement):
            raise DialectError(
                f"{path} imports its base with read_base(): write the whole configuration with mmengine's Config.dump, or give "
                "a dict of its content"
            )
        if (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            try:
                own[statement.targets[0].id] = limits.size(_value_in_config(statement.value, own))
            except (ValueError, RecursionError) as error:
                raise DialectError(f"{path}, line {statement.lineno}: {error}") from None
    bases = own.pop("_base_", [])
    under: dict[str, Any] = {}
    if not isinstance(bases, str | list | tuple):
        raise DialectError(f"{path}: _base_ must be paths beside the file, got {shown(bases)}")
    for base in [bases] if isinstance(bases, str) else bases:
        if not isinstance(base, str) or "::" in base:
            raise DialectError(f"{path}: _base_ must be paths beside the file, got {shown(base)}")
        under = merged(under, python(path.parent / base, (*above, path.resolve()), files))
    return merged(under, own)


_OPERATIONS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip


def _value_in_config(at: ast.expr, known: Mapping[str, Any]) -> Any:
    match at:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [_value_in_config(item, known) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value_in_config(item, known) for item in items)
        case ast.Dict(keys=keys, values=values) if all(isinstance(key, ast.Constant) for key in keys):
            return {key.value: _value_in_config(v, known) for key, v in zip(keys, values, strict=True)}  # type: ignore[union-attr]
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=named) if all(k.arg for k in named):
            return {k.arg: _value_in_config(k.value, known) for k in named}
        case ast.Name(id=name):
            return known.get(name, name)  # such as a class that was imported
        case ast.Attribute(attr=name):
            return name
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _value_in_config(operand, known)
            if isinstance(value, int | float):
                return -value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            a, b = _value_in_config(left, known), _value_in_config(right, known)
            if isinstance(a, int | float) and isinstance(b, int | float):
                try:
                    return limits.number(_OPERATIONS[type(op)](a, b))
                except ArithmeticError:
                    pass
    return Unread(ast.unparse(at), at.lineno)


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the keys of a file into its base, recursively; `_delete_` replaces the mapping of the base."""
    result = dict(base)
    for key, value in own.items():
        if isinstance(value, Mapping):
            before = result.get(key)
            value = dict(value)
            replaces = value.pop("_delete_", False)
            result[key] = merged(before, value) if isinstance(before, Mapping) and not replaces else value
        else:
            result[key] = value
    return result
