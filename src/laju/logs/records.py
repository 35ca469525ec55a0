"""Logs in JSON: lines of objects, a list of objects, columns, or Trainer's state."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from laju.logs.log import Format, LogError, Row

_TRAINER_BEFORE = Format("Transformers' Trainer", (0, -1), known=True)
# From 4.51 on (huggingface/transformers#36973) the rate of a row is that of the step that was made; the state of these releases
# has the key best_global_step.
_TRAINER = Format("Transformers' Trainer", (-1, 0), known=True)
_MMENGINE = Format("mmengine", (-1,), known=True)
_DETECTRON = Format("detectron2", (0,), known=True)
_LINES = Format("JSON lines")
_WHOLE = Format("JSON")


def line_rows(lines: Iterable[str], path: str, notes: list[str]) -> Iterator[Row]:
    """The rows of a file with a JSON object on each line.

    Raises:
        LogError: if a line is not a JSON object, except for a last line that is cut.
    """
    number, wrong = 0, ""
    for line in lines:
        number += 1
        text = line.strip()
        if not text:
            continue
        if wrong:
            raise LogError(wrong)
        try:
            found = json.loads(text)
        except ValueError as error:
            # Only the last line may be cut; a next line shows that this line was not the last.
            wrong = f"{path}, line {number} is no JSON object: {error}"
            continue
        if not isinstance(found, dict):
            raise LogError(f"{path}, line {number} is no JSON object: {text[:60]}")
        yield _row(number, found)
    if wrong:
        notes.append("the last line is cut, as of a file that is being written, and was left out")


def format_of(first: Mapping[str, Any]) -> Format:
    """The writer of JSON lines, recognised by the names in the first line."""
    if {"iteration", "total_loss"} <= first.keys() or {"iteration", "data_time"} <= first.keys():
        return _DETECTRON
    if {"iter", "step"} <= first.keys() or {"data_time", "lr", "epoch"} <= first.keys():
        return _MMENGINE
    return _LINES


def of_configuration(path: str) -> str:
    """Advice for a file that is a configuration instead of a log, for the end of an error message."""
    return f"The schedule of a configuration: laju convert --from config {shlex.quote(path)} --to laju"


def whole(text: str, path: str) -> tuple[Format, list[Row]]:
    """The rows of a JSON text that is a single value.

    Raises:
        LogError: if the text is not JSON, or the JSON is not a log.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise LogError(f"{path} is no log: its JSON is nested too deep") from None
    except ValueError as error:
        raise LogError(f"{path} begins like JSON and is none: {error}; was it cut while it was written?") from None
    if isinstance(found, dict) and isinstance(found.get("log_history"), list):
        rows = _records(found["log_history"], path, "log_history")
        return (_TRAINER if "best_global_step" in found else _TRAINER_BEFORE), rows
    if isinstance(found, list):
        return _WHOLE, _records(found, path, "the list")
    if isinstance(found, dict):
        lists = {name: value for name, value in found.items() if isinstance(value, list)}
        for name in ("metrics", "logs", "history", "values", "data", "rows"):
            if name in lists and lists[name] and all(isinstance(each, dict) for each in lists[name]):
                # trackio's `get metric --json`: the name of the values is a key beside the list.
                tag = found.get("metric", "value")
                named = [{tag if key == "value" else key: x for key, x in row.items()} for row in lists[name]]
                return _WHOLE, _records(named, path, name)
        history = found["history"] if isinstance(found.get("history"), dict) else lists
        columns = {name: value for name, value in history.items() if isinstance(value, list)}
        if columns and len({len(value) for value in columns.values()}) == 1:
            keys = tuple(columns)
            return _WHOLE, [Row(i + 1, keys, cells) for i, cells in enumerate(zip(*columns.values(), strict=True))]
        raise LogError(
            f"{path} is JSON and no log: it has no rows; its keys are {', '.join(map(repr, list(found)[:12])) or 'none'}. "
            + of_configuration(path)
        )
    raise LogError(f"{path} is JSON and no log: it is {type(found).__name__}")


def _records(items: list[Any], path: str, where: str) -> list[Row]:
    wrong = next((item for item in items if not isinstance(item, dict)), None)
    if wrong is not None:
        raise LogError(f"{path} is JSON and no log: {where} must have objects, got {str(wrong)[:40]!r}")
    if not items:
        raise LogError(f"{path} has no rows: {where} is empty")
    return [_row(i + 1, item) for i, item in enumerate(items)]


def _row(line: int, record: Mapping[str, Any]) -> Row:
    flat = dict(_flat(record))
    return Row(line, tuple(flat), list(flat.values()))


def _flat(record: Mapping[str, Any], prefix: str = "", depth: int = 8) -> Iterator[tuple[str, Any]]:
    """Cells by names such as `train/optimizer/lr`, for objects in objects."""
    for name, value in record.items():
        if isinstance(value, str) and value.startswith("{"):  # a cell of trackio's database
            with contextlib.suppress(ValueError):
                value = json.loads(value)
        if isinstance(value, dict) and depth:
            yield from _flat(value, f"{prefix}{name}/", depth - 1)
        else:
            yield f"{prefix}{name}", value
