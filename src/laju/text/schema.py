"""The JSON Schema of a schedule's JSON, for editors, programming languages and configuration files.

The schema is generated from the classes of the nodes: the declarations of their fields, and their docstrings. After a change to
a node, regenerate the schema: `python -m laju.text.schema src/laju/text/schema.json`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from laju.core import limits, shapes, units
from laju.core.node import NODES
from laju.core.schedule import VERSION, Schedule

ID = f"urn:laju:schedule:{VERSION}"
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the output of `laju.to_json`; `laju/text/schema.json` in the package is the same.

    All output of `to_json` is valid. Some JSON that is valid under the schema is still refused by laju, for rules that a schema
    cannot express: an endless part of a chain must be the last, and the ends of an exponential ramp must have the same sign.

    >>> schema = json_schema()
    >>> schema["$id"], schema["$defs"]["Constant"]["required"]
    ('urn:laju:schedule:1', ['kind', 'value'])
    """
    schema: dict[str, Any] = json.loads(files("laju.text").joinpath("schema.json").read_text(encoding="utf-8"))
    return schema


def generated() -> dict[str, Any]:
    """The schema of the registered classes, from the declarations of the fields and from docstrings."""
    kinds = sorted(NODES)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "A laju schedule",
        "description": "A learning-rate schedule, or that of another hyper-parameter, as laju.to_json writes it.",
        "type": "object",
        "properties": {
            "laju": {"const": VERSION, "description": "The version of this format."},
            "schedule": {"$ref": "#/$defs/schedule"},
            "written": {
                "description": "The text that makes the schedule, where it was written in other words than its pieces.",
                "type": "string",
                "maxLength": limits.TEXT,
            },
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
                "description": f"Such as '5 epochs', '2B tokens', '90 epochs - 500 updates'; units: {', '.join(units.UNITS)}.",
                "type": "string",
                "maxLength": 200,
                "pattern": _length_pattern(),
            },
            "shape": {
                "description": f"A curve on [0, 1]: {', '.join(_usage(name) for name in shapes.NAMES)}.",
                "type": "string",
                "pattern": f"^(?:{'|'.join(_shape_pattern(name) for name in shapes.NAMES)})$",
            },
            **{kind: _node(NODES[kind]) for kind in kinds},
        },
    }


def _length(bound: str, words: str) -> dict[str, Any]:
    return {
        "description": f"Updates, {words}, or text with a unit.",
        "anyOf": [{"type": "number", bound: 0}, {"$ref": "#/$defs/length_in_units"}],
    }


def _length_pattern() -> str:
    names = "|".join(sorted(map(re.escape, units.SYNONYMS), key=len, reverse=True))
    multiples = "".join(units.MULTIPLES)
    counted = "|".join(name for name in names.split("|") if units.SYNONYMS.get(name, "%") != "%")
    term = rf"{_NUMBER}(?:\s*(?:{names})|\s*[{multiples}]\s+(?:{counted}))?"
    return rf"^\s*[+-]?\s*{term}(?:\s*[+-]\s*{term})*\s*$"


def _usage(name: str) -> str:
    parameters = inspect.signature(shapes._SHAPES[name]).parameters.values()
    arguments = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default:g}" for p in parameters)
    return f"{name}({arguments})" if arguments else name


def _shape_pattern(name: str) -> str:
    """A name with its arguments; arguments without a default are required."""
    parameters = list(inspect.signature(shapes._SHAPES[name]).parameters.values())
    if not parameters:
        return name
    required = sum(p.default is p.empty for p in parameters)
    argument = rf"\s*[+-]?{_NUMBER}\s*"
    others = rf"(?:,{argument}){{{max(required, 1) - 1},{len(parameters) - 1}}}" if len(parameters) > 1 else ""
    return rf"{name}\({argument}{others}\)" if required else rf"{name}(?:\({argument}{others}\))?"


def _node(cls: type[Schedule]) -> dict[str, Any]:
    words = _words(cls)
    properties: dict[str, Any] = {"kind": {"const": cls.__name__}}
    required = ["kind"]
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(cls)  # type: ignore[arg-type]
    for field in fields:
        found = dict(field.metadata["schema"])
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


def _words(cls: type[Schedule]) -> dict[str, str]:
    """The docstring's first paragraph for the class (under "") and, from its Args, the text of each field."""
    text = inspect.getdoc(cls) or ""
    found = {"": " ".join(text.partition("\n\n")[0].split())}
    arguments = re.search(r"^Args:\n((?: +.*\n?)+)", text, re.MULTILINE)
    if arguments:
        for name, words in re.findall(r"^    (\w+): ((?:.*\n?)(?:^      +.*\n?)*)", arguments[1], re.MULTILINE):
            found[name] = " ".join(words.split())
    return found


def text() -> str:
    """The text of `schema.json`."""
    return json.dumps(generated(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m laju.text.schema FILE")
    Path(sys.argv[1]).write_text(text(), encoding="utf-8", newline="\n")
