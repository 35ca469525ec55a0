"""The JSON Schema of a schedule's JSON, for editors, other languages and configuration files.

It is generated from the classes of the nodes: their fields, types and defaults, the bounds that their constructors check, and
their docstrings. After a change of a node, write it anew: `python -m laju.schema src/laju/schema.json`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import sys
import textwrap
import types
import typing
from importlib.resources import files
from pathlib import Path
from typing import Any

from laju import shapes, units
from laju.schedule import Schedule
from laju.spec import _NODES, VERSION

ID = f"urn:laju:schedule:{VERSION}"
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_KEYWORDS = {"above": "exclusiveMinimum", "least": "minimum", "below": "exclusiveMaximum", "most": "maximum"}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of what `laju.to_json` writes; `laju/schema.json` in the package is the same.

    It accepts all that `to_json` writes. Some of what it accepts laju still refuses, because a schema cannot say it: that an
    endless part of a chain must be the last one, or that the ends of an exponential ramp must be of one sign.

    >>> schema = json_schema()
    >>> schema["$id"], schema["$defs"]["Constant"]["required"]
    ('urn:laju:schedule:1', ['kind', 'value'])
    """
    schema: dict[str, Any] = json.loads(files("laju").joinpath("schema.json").read_text(encoding="utf-8"))
    return schema


def generated() -> dict[str, Any]:
    """The schema from the classes as they are now; it reads their source."""
    kinds = sorted(_NODES)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "A laju schedule",
        "description": "A learning-rate schedule, or that of another hyper-parameter, as laju.to_json writes it.",
        "type": "object",
        "properties": {
            "laju": {"const": VERSION, "description": "The version of this format."},
            "schedule": {"$ref": "#/$defs/schedule"},
        },
        "required": ["laju", "schedule"],
        "additionalProperties": False,
        "$defs": {
            "schedule": {
                "description": "A value for each number of completed optimizer updates; its kind says which fields it has.",
                "type": "object",
                "properties": {"kind": {"enum": kinds}},
                "required": ["kind"],
                # Not oneOf: a validator would try every kind at every level, and report the failures of all of them.
                "allOf": [
                    {
                        "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                        "then": {"$ref": f"#/$defs/{kind}"},
                    }
                    for kind in kinds
                ],
            },
            "length": _length("minimum", "0 or more"),
            "positive_length": _length("exclusiveMinimum", "above 0"),
            "length_in_units": {
                "description": f"Text such as '5 epochs' or '90 epochs - 500 updates'; units are {', '.join(units.UNITS)}.",
                "type": "string",
                "maxLength": 200,
                "pattern": _length_pattern(),
            },
            "shape": {
                "description": f"A curve on [0, 1]: {', '.join(_usage(name) for name in shapes.NAMES)}.",
                "type": "string",
                "pattern": f"^(?:{'|'.join(_shape_pattern(name) for name in shapes.NAMES)})$",
            },
            **{kind: _node(_NODES[kind]) for kind in kinds},
        },
    }


def _length(bound: str, words: str) -> dict[str, Any]:
    return {
        "description": f"Updates, {words}, or text with a unit.",
        "anyOf": [{"type": "number", bound: 0}, {"$ref": "#/$defs/length_in_units"}],
    }


def _length_pattern() -> str:
    names = "|".join(sorted(map(re.escape, units._SYNONYMS), key=len, reverse=True))
    term = rf"{_NUMBER}(?:\s*(?:{names}))?"
    return rf"^\s*[+-]?\s*{term}(?:\s*[+-]\s*{term})*\s*$"


def _usage(name: str) -> str:
    parameters = inspect.signature(shapes._SHAPES[name]).parameters.values()
    arguments = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default:g}" for p in parameters)
    return f"{name}({arguments})" if arguments else name


def _shape_pattern(name: str) -> str:
    """A name with its arguments, those without a default being required."""
    parameters = list(inspect.signature(shapes._SHAPES[name]).parameters.values())
    if not parameters:
        return name
    required = sum(p.default is p.empty for p in parameters)
    argument = rf"\s*[+-]?{_NUMBER}\s*"
    others = rf"(?:,{argument}){{{max(required, 1) - 1},{len(parameters) - 1}}}" if len(parameters) > 1 else ""
    return rf"{name}\({argument}{others}\)" if required else rf"{name}(?:\({argument}{others}\))?"


# Fields that say more, or less, than their annotation.
_FIELDS: dict[tuple[str, str], dict[str, Any]] = {
    ("Function", "function"): {"type": "string", "pattern": "^[^:]+:[^:]+$"},
    ("Per", "unit"): {"enum": [name for name, unit in units._SYNONYMS.items() if unit != "updates"]},
    ("Ramp", "shape"): {"$ref": "#/$defs/shape"},
    ("Shift", "by"): {"type": "number"},
    ("Clock", "pace"): {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "array",
            "prefixItems": [{"type": "integer", "minimum": least} for least in (0, 0, 1)],
            "minItems": 3,
            "maxItems": 3,
        },
    },
}


def _node(cls: type[Schedule]) -> dict[str, Any]:
    hints, bounds, words = typing.get_type_hints(cls), _checks(cls), _words(cls)
    properties: dict[str, Any] = {"kind": {"const": cls.__name__}}
    required = ["kind"]
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(cls)  # type: ignore[arg-type]
    for field in fields:
        checks = bounds.get(field.name, {})
        if "time" in field.metadata:
            found: dict[str, Any] = {
                "$ref": "#/$defs/positive_length" if checks.get("zero") is False else "#/$defs/length"
            }
            if "None" in str(field.type):
                found = {"anyOf": [found, {"type": "null"}]}
        elif (cls.__name__, field.name) in _FIELDS:
            found = dict(_FIELDS[cls.__name__, field.name])
        else:
            found = _type(hints[field.name], {_KEYWORDS.get(k, k): v for k, v in checks.items()})
        if field.name in words:
            found["description"] = words[field.name]
        if field.default is dataclasses.MISSING:
            required.append(field.name)
        else:
            found["default"] = field.default
        properties[field.name] = found
    return {
        "description": words[""],
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _type(hint: Any, checks: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; the checks belong to the numbers and texts in it."""
    arguments = typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Schedule):
        return {"$ref": "#/$defs/schedule"}
    if hint in (float, int, bool, str):
        return {"type": {float: "number", int: "integer", bool: "boolean", str: "string"}[hint], **checks}
    if typing.get_origin(hint) is tuple and arguments[-1:] == (...,):
        return {"type": "array", "items": _type(arguments[0], checks), "minItems": 1}
    if typing.get_origin(hint) is tuple:
        items = [_type(argument, checks) for argument in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if typing.get_origin(hint) is typing.Literal:
        return {"enum": list(arguments)}
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if a is types.NoneType else _type(a, checks) for a in arguments]}
    raise TypeError(f"the schema has no form for a field of type {hint}; add the field to laju.schema._FIELDS")


def _checks(cls: type[Schedule]) -> dict[str, dict[str, Any]]:
    """The bounds and choices by field that a node's constructor checks, read from its source: the only place they stand at."""
    found: dict[str, dict[str, Any]] = {}
    if "__post_init__" not in vars(cls):
        return found
    for part in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(vars(cls)["__post_init__"])))):
        match part:
            case ast.Call(
                func=ast.Name(id="number" | "whole" | "updates" as check),
                args=[ast.Constant(value=str(name)), *_],
                keywords=keywords,
            ):
                bounds: dict[str, Any] = {"least": 0} if check == "whole" else {}
                bounds.update((k.arg or "", k.value.value) for k in keywords if isinstance(k.value, ast.Constant))
                found[name] = bounds
            case ast.Compare(
                left=ast.Attribute(value=ast.Name(id="self"), attr=name),
                ops=[ast.NotIn()],
                comparators=[ast.Tuple() as choices],
            ):
                found[name] = {"enum": list(ast.literal_eval(choices))}
    return found


def _words(cls: type[Schedule]) -> dict[str, str]:
    """What the docstring says of the class (under "") and, in its Args, of each field."""
    text = inspect.getdoc(cls) or ""
    found = {"": " ".join(text.partition("\n\n")[0].split())}
    arguments = re.search(r"^Args:\n((?: +.*\n?)+)", text, re.MULTILINE)
    if arguments:
        for name, words in re.findall(r"^    (\w+): ((?:.*\n?)(?:^      +.*\n?)*)", arguments[1], re.MULTILINE):
            found[name] = " ".join(words.split())
    return found


def text() -> str:
    """What `schema.json` holds."""
    return json.dumps(generated(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m laju.schema FILE")
    Path(sys.argv[1]).write_text(text(), encoding="utf-8", newline="\n")
