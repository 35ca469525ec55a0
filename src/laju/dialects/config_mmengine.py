"""MMEngine's configurations: `param_scheduler`, with `optim_wrapper` and `train_cfg` beside it, as Python, JSON or YAML.

A Python file is read from its syntax tree and never run: assignments of literals, `dict(...)`, arithmetic and names assigned
before. `_base_` files are read first, and dicts merged into theirs, as MMEngine does; `_delete_=True` puts a dict in the place of
the base's.
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
from laju.dialects.configs import Configured, fact, mapping
from laju.dialects.mmengine import param_scheduler


class Unread:
    """Something in a Python file that cannot be known without running it."""

    def __init__(self, text: str, line: int) -> None:
        self.text, self.line = text, line

    def __repr__(self) -> str:
        return f"{self.text!r} in line {self.line}"


def is_one(content: Any) -> bool:
    """Whether it looks like a configuration of MMEngine, or like its list of schedulers."""
    if isinstance(content, list):
        return bool(content) and all(isinstance(item, Mapping) and "type" in item for item in content)
    return isinstance(content, Mapping) and "param_scheduler" in content


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """The schedule of iterations; of epochs where all schedulers step by epoch and `updates_per_epoch` is not given."""
    given = {"param_scheduler": content} if isinstance(content, list) else mapping(content, where)
    if "param_scheduler" not in given:
        raise DialectError(f"{where} has no param_scheduler: the optimizer's rate is constant")
    schedulers = given["param_scheduler"]
    if isinstance(schedulers, Mapping) and "type" in schedulers:
        schedulers = [schedulers]
    if not isinstance(schedulers, list):
        raise DialectError(f"param_scheduler must be a list of entries with a type, got {shown(schedulers)}")
    schedulers = [_entry(f"param_scheduler[{i}]", entry) for i, entry in enumerate(schedulers)]
    wrapper = mapping(given.get("optim_wrapper") or {}, "optim_wrapper")
    optimizer = mapping(wrapper.get("optimizer") or {}, "optim_wrapper.optimizer")
    lr = fact("lr", facts, _known("optim_wrapper.optimizer.lr", optimizer.get("lr")), what="the optimizer's rate")
    loop = mapping(given.get("train_cfg") or {}, "train_cfg")
    known: dict[str, Any] = {}
    for name in ("max_epochs", "max_iters"):
        value = facts.get(name, _known(f"train_cfg.{name}", loop.get(name)))
        if value is not None:
            known[name] = value
    each = facts.get("updates_per_epoch", facts.get("epoch_length"))
    if each is not None and "max_iters" not in known:
        known["epoch_length"] = each
    notes = []
    counts = wrapper.get("accumulative_counts")
    if isinstance(counts, int) and counts > 1:
        notes.append(f"the schedule counts iterations, of which accumulative_counts={counts} make an update")
    scaled = given.get("auto_scale_lr")
    if isinstance(scaled, Mapping) and scaled.get("enable"):
        notes.append("auto_scale_lr multiplies the rate by the real batch size over its base_batch_size: give lr=…")
    schedule = param_scheduler(lr, schedulers, **known)
    said = "".join(f", {key}={value!r}" for key, value in known.items())
    return Configured(schedule, "mmengine", f"param_scheduler({lr!r}, {schedulers!r}{said})", tuple(notes))


def python(path: Path, above: tuple[Path, ...] = (), files: list[Path] | None = None) -> dict[str, Any]:
    """What a Python configuration assigns, its bases included.

    Raises:
        DialectError: it is not Python, imports its base (`read_base()`), or is its own base.
        OSError: it, or a base, cannot be read.
    """
    if path.resolve() in above:
        raise DialectError(f"{path} is its own _base_")
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
                f"{path} imports its base with read_base(): write it out with mmengine's Config.dump, or give a dict of "
                "what it says"
            )
        if (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            try:
                own[statement.targets[0].id] = limits.size(_value(statement.value, own))
            except (ValueError, RecursionError) as error:
                raise DialectError(f"{path}, line {statement.lineno}: {error}") from None
    bases = own.pop("_base_", [])
    merged: dict[str, Any] = {}
    if not isinstance(bases, str | list | tuple):
        raise DialectError(f"{path}: _base_ must be paths beside the file, got {shown(bases)}")
    for base in [bases] if isinstance(bases, str) else bases:
        if not isinstance(base, str) or "::" in base:
            raise DialectError(f"{path}: _base_ must be paths beside the file, got {shown(base)}")
        merged = _merged(merged, python(path.parent / base, (*above, path.resolve()), files))
    return _merged(merged, own)


_OPERATIONS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip


def _value(at: ast.expr, known: Mapping[str, Any]) -> Any:
    match at:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [_value(item, known) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item, known) for item in items)
        case ast.Dict(keys=keys, values=values) if all(isinstance(key, ast.Constant) for key in keys):
            return {key.value: _value(v, known) for key, v in zip(keys, values, strict=True)}  # type: ignore[union-attr]
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=named) if all(k.arg for k in named):
            return {k.arg: _value(k.value, known) for k in named}
        case ast.Name(id=name):
            return known.get(name, name)  # such as a class that was imported
        case ast.Attribute(attr=name):
            return name
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _value(operand, known)
            if isinstance(value, int | float):
                return -value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            a, b = _value(left, known), _value(right, known)
            if isinstance(a, int | float) and isinstance(b, int | float):
                try:
                    return limits.number(_OPERATIONS[type(op)](a, b))
                except ArithmeticError:
                    pass
    return Unread(ast.unparse(at), at.lineno)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in own.items():
        if isinstance(value, Mapping):
            before = result.get(key)
            value = dict(value)
            replaces = value.pop("_delete_", False)
            result[key] = _merged(before, value) if isinstance(before, Mapping) and not replaces else value
        else:
            result[key] = value
    return result


def _known(name: str, value: Any) -> Any:
    if isinstance(value, Unread):
        raise DialectError(f"{name} is {value}, which is not known without running the file; give it by name")
    return value


def _entry(name: str, entry: Any) -> dict[str, Any]:
    if isinstance(entry, Unread) or not isinstance(entry, Mapping):
        raise DialectError(f"{name} must be an entry such as dict(type='LinearLR'), got {entry!r}")
    for key, value in entry.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            _known(f"{name}.{key}", item)
    return dict(entry)
