"""Checks of a store's rows: a file may have been damaged, or changed by another program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import sqlalchemy as sa

from laju.lab.store import tables
from laju.lab.trials.trial import FRAMEWORKS, Status

INCOMPLETE = "incomplete"
"""The status of a trial in a recovered store whose records are not all present: such a trial is trained again."""

_CHOICES = {"status": get_args(Status), "framework": FRAMEWORKS}
_SHARES = ("train_accuracy", "test_accuracy")
_NOT_NEGATIVE = ("seed", "epochs", "batch_size", "diverged_at", "seconds", "update", "epoch", "size")


def fault(table: sa.Table, row: Mapping[Any, Any]) -> str | None:
    """The reason why laju cannot have written a row; None if there is no reason.

    >>> good = {"fingerprint": "ab", "content": "[1]", "written": "2026-11-30"}
    >>> fault(tables.results, good), fault(tables.results, good | {"content": None})
    (None, 'content is None')
    """
    for name, kind, optional in _COLUMNS[table.name]:
        value = row[name]
        if value is None:
            if optional:
                continue
            return f"{name} is None"
        if type(value) is not kind:
            return f"{name} is {_short(value)}"
        if name in _CHOICES and value not in _CHOICES[name]:
            return f"{name} is {_short(value)}"
        if (name in _NOT_NEGATIVE and not value >= 0) or (name in _SHARES and not 0 <= value <= 1):
            return f"{name} is {value!r}"
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:30]}…"


_COLUMNS = {
    name: [(column.name, column.type.python_type, bool(column.nullable)) for column in table.columns]
    for name, table in tables.metadata.tables.items()
}
