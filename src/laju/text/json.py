"""Schedules from JSON: the tree that `Schedule.to_json` writes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from laju.core.checks import SpecError, nearest, shown
from laju.core.functions import DataName
from laju.core.node import NODES
from laju.core.pieces import Function
from laju.core.schedule import VERSION, Schedule
from laju.text.spec import REFUSED, parse


def from_json(data: Mapping[str, Any] | str, *, functions: bool = False) -> Schedule:
    """Read the schedule that `to_json` wrote, from the JSON object or its text.

    Args:
        data: {"laju": version, "schedule": tree}, and optionally "written": the text that makes the same schedule.
        functions: whether a function in the JSON, "module:name", may be imported when a value is needed. An import runs code,
            so allow functions only in trusted JSON.

    Raises:
        SpecError: for an unknown version, kind or field, or invalid values of a field.

    >>> from laju import linear
    >>> from_json(linear(1, 0, total=5).to_json())
    linear(1, 0, total=5)
    """
    if isinstance(data, str):
        try:
            data = json.loads(data, object_pairs_hook=_without_doubles)
        except (ValueError, RecursionError, MemoryError) as error:
            raise SpecError(f"this is not JSON: {error}") from None
    if not isinstance(data, Mapping) or "schedule" not in data:
        raise SpecError(f"a schedule's JSON must be an object with 'laju' and 'schedule', got {shown(data)}")
    version = data.get("laju")
    if isinstance(version, bool) or version != VERSION:
        raise SpecError(f"this JSON has version {shown(version)}; this laju reads version {VERSION}")
    try:
        schedule = _schedule_of_tree(data["schedule"], "schedule", functions)
    except RecursionError:
        raise SpecError("this JSON is nested too deeply") from None
    text = data.get("written")
    if isinstance(text, str):
        try:
            again = parse(text, functions=functions)
        except SpecError:  # the text of a later release, say: the tree is what counts
            return schedule
        # The tree counts. A text that somebody has edited, or that a later laju reads as other values, is dropped without a
        # word: nothing about the values depends on it.
        return again if again == schedule else schedule
    return schedule


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        double = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"the key {double!r} occurs twice in one object")
    return found


def _schedule_of_tree(tree: Any, where: str, functions: bool) -> Schedule:
    if not isinstance(tree, Mapping) or not isinstance(tree.get("kind"), str):
        raise SpecError(f"{where} must be an object with a 'kind', got {shown(tree)}")
    kind = tree["kind"]
    if kind not in NODES:
        raise SpecError(f"{where}: unknown kind {kind!r}{nearest(kind, NODES)}")
    cls = NODES[kind]
    fields = [field.name for field in dataclasses.fields(cls)]
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if name == "kind":
            continue
        if name not in fields:
            named = nearest(name, fields) if isinstance(name, str) else ""
            raise SpecError(f"{where}: {kind} has no field {shown(name)}{named}")
        if isinstance(value, Mapping):
            value = _schedule_of_tree(value, f"{where}.{name}", functions)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            value = [_schedule_of_tree(part, f"{where}.{name}[{i}]", functions) for i, part in enumerate(value)]
        elif cls is Function and isinstance(value, str) and not functions:
            value = DataName(value) if name == "function" else value
        values[name] = value
    try:
        schedule: Schedule = cls(**values)
    except REFUSED as error:
        raise SpecError(f"{where}: {kind}: {error}") from None
    return schedule
