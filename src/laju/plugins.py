"""Additions of separate packages to laju's tables, found through entry points.

The groups are `laju.tasks`, `laju.engines`, `laju.dialects` and `laju.verbs`. Entry points are looked up only for a name that is
not laju's own, so an install that is broken or out of date loses none of laju's own.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from laju.core.checks import shown

Group = Literal["tasks", "engines", "dialects", "verbs"]


class PluginError(RuntimeError):
    """An addition of another package that cannot be loaded."""


def names(group: Group) -> tuple[str, ...]:
    """The names that packages add to a table, in alphabetical order."""
    return tuple(sorted({entry.name for entry in entry_points(group=f"laju.{group}")}))


def summaries(group: Group) -> dict[str, str]:
    """By name, the package of an addition and what the package says of itself; nothing is imported."""
    found: dict[str, str] = {}
    for entry in sorted(entry_points(group=f"laju.{group}"), key=lambda entry: entry.name):
        about: Any = {} if entry.dist is None else entry.dist.metadata
        summary = f": {about['Summary']}" if "Summary" in about else ""
        found.setdefault(entry.name, f"{_owner(entry)}{summary}")
    return found


def load(group: Group, name: str, kind: type[Any] = object, what: str = "") -> Any:
    """The addition of a package under a name; None where no package adds the name.

    Args:
        group: the table.
        name: in the table.
        kind: the class of an addition to this table.
        what: an addition of the class in words, such as "a click command".

    Raises:
        PluginError: the addition cannot be imported, or is of another class; the message names the package and the reason.
    """
    for entry in entry_points(group=f"laju.{group}", name=name):
        whose = f"{name!r} of the package {_owner(entry)} ({entry.value}, among laju.{group})"
        try:
            found = entry.load()
        except Exception as error:  # the code of a stranger
            raise PluginError(f"{whose} cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(found, kind):
            raise PluginError(f"{whose} must be {what}, got {shown(found)}")
        return found
    return None


def _owner(entry: EntryPoint) -> str:
    return entry.value if entry.dist is None else entry.dist.name
